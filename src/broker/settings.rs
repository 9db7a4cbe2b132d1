//! What a broker is told, as its handlers need it.

use std::net::SocketAddr;

/// Settings of a broker that do not change while it runs.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// `brokerName`.
    pub broker_name: String,
    /// `brokerClusterName`.
    pub cluster_name: String,
    /// `regionId`.
    pub region_id: String,
    /// `traceOn`.
    pub trace_on: bool,
    /// `traceTopicEnable`: the topic to create, if any.
    pub trace_topic: Option<String>,
    /// Address that clients dial, in routes, records and message ids.
    pub advertised: SocketAddr,
    /// `brokerPermission`.
    pub permission: i32,
    /// `maxMessageSize`, bytes.
    pub message_bytes_max: usize,
    /// `autoCreateTopicEnable`.
    pub auto_create_topic: bool,
    /// `validateSystemTopicWhenUpdateTopic`: system topics are not changed or deleted.
    pub validate_system_topic: bool,
    /// `enableMixedMessageType`: a topic's `message.type` may be MIXED.
    pub mixed_message_type: bool,
    /// `storeReplyMessageEnable`.
    pub store_replies: bool,
    /// `useServerSideResetOffset`.
    pub reset_at_server: bool,
    /// `autoCreateSubscriptionGroup`.
    pub auto_create_group: bool,
    /// `defaultTopicQueueNums`.
    pub default_topic_queue_count: i32,
    /// Messages of a pull answer.
    pub pull_messages_max: u32,
    /// Bytes of a pull answer.
    pub pull_bytes_max: u32,
    /// `longPollingEnable`.
    pub long_polling: bool,
    /// `maxMsgsNumBatch`: messages of an answer to a question by key.
    pub query_messages_max: usize,
    /// `defaultQueryMaxNum`: of one by unique key.
    pub unique_query_messages_max: usize,
    /// `enablePropertyFilter`.
    pub property_filter: bool,
    /// `shortPollingTimeMills`.
    pub short_polling_ms: u64,
    /// `channelExpiredTimeout`.
    pub consumer_expired_ms: u64,
    /// `notifyConsumerIdsChangedEnable`.
    pub notify_consumer_ids_changed: bool,
    /// Delay levels, ms.
    pub delay_levels_ms: Vec<u64>,
    /// How half messages are treated.
    pub transactions: TransactionSettings,
    /// `timerWheelEnable`.
    pub timer_wheel: bool,
    /// `timerMaxDelaySec`, ms.
    pub timer_delay_ms_max: u64,
    /// `recallMessageEnable`.
    pub recall: bool,
    /// `allowRecallWhenBrokerNotWriteable`.
    pub recall_when_read_only: bool,
    /// Memory of the machine (or container), bytes.
    pub memory_bytes: u64,
    /// Four bytes that make this process's unique keys its own.
    pub process_tag: u32,
}

/// How half messages are treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionSettings {
    /// `rejectTransactionMessage`: none is taken.
    pub rejects: bool,
    /// `transactionTimeOut`: after how long its producer is asked, ms.
    pub timeout_ms: u64,
    /// `transactionCheckInterval`: how long until it is asked again, ms.
    pub check_interval_ms: u64,
    /// `transactionCheckMax`: after so many checks it is given up.
    pub checks_max: u32,
    /// `fileReservedTime`: after so long it is given up, ms.
    pub reserved_ms: u64,
}

impl Default for TransactionSettings {
    fn default() -> Self {
        TransactionSettings {
            rejects: false,
            timeout_ms: 6_000,
            check_interval_ms: 30_000,
            checks_max: 15,
            reserved_ms: 72 * 3_600_000,
        }
    }
}
