//! What a NameServer can be told.

/// RocketMQ's `NamesrvConfig`, as far as it is honoured; the default is RocketMQ's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServerConfig {
    /// `scanNotActiveBrokerInterval`: time between looks for brokers that have gone silent.
    pub scan_interval_ms: u64,
    /// `orderMessageEnable`: put `orderTopicConf` in routes.
    pub order_in_routes: bool,
    /// `returnOrderTopicConfigToBroker`: answer a registration with the ordered topics.
    pub order_to_brokers: bool,
    /// `deleteTopicWithBrokerRegistration`: forget topics that a registration leaves out.
    pub registration_deletes_topics: bool,
    /// `supportActingMaster`: show the smallest replica of a masterless broker as id 0.
    pub acting_master: bool,
    /// `enableAllTopicList`: answer request code 206.
    pub lists_all_topics: bool,
    /// `enableTopicList`: answer request codes 224, 311, 312 and 313.
    pub lists_topics: bool,
    /// `needWaitForService`: no routes for the first `wait_for_service_ms`.
    pub waits_for_service: bool,
    /// `waitSecondsForService`, here in milliseconds.
    pub wait_for_service_ms: u64,
}

impl Default for NameServerConfig {
    fn default() -> Self {
        Self {
            scan_interval_ms: 5000,
            order_in_routes: false,
            order_to_brokers: true,
            registration_deletes_topics: false,
            acting_master: false,
            lists_all_topics: true,
            lists_topics: true,
            waits_for_service: false,
            wait_for_service_ms: 45_000,
        }
    }
}
