//! What a broker is told, as its handlers need it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use engine::catalog::Catalog;

use crate::config::Program;
use crate::config::keys;
use crate::config::value::{Value, Wrong};

/// Settings of a broker. Those in [`CHANGEABLE`] change while it runs, by 25 UPDATE_BROKER_CONFIG.
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
    /// `filterSupportRetry`.
    pub filter_retries: bool,
    /// `ringmqCheckMessageType`.
    pub check_message_type: bool,
    /// `shortPollingTimeMills`.
    pub short_polling_ms: u64,
    /// `channelExpiredTimeout`.
    pub consumer_expired_ms: u64,
    /// The same of producers, which has no key.
    pub producer_expired_ms: u64,
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
    /// The configuration as 26 GET_BROKER_CONFIG shows it.
    pub shown: Arc<BTreeMap<&'static str, String>>,
}

/// How a key's value is set.
type Set = fn(&mut BrokerSettings, &Value);

/// The keys that 25 changes: those that handlers read anew for each request, so that from one request to the
/// next nothing is left of the old value. Whoever reaches the port may ask: no path, address, or size of
/// memory is among them.
#[rustfmt::skip] // A table: one row a key.
const CHANGEABLE: &[(&str, Set)] = &[
    ("allowRecallWhenBrokerNotWriteable", |it, value| it.recall_when_read_only = truth(value)),
    ("autoCreateSubscriptionGroup", |it, value| it.auto_create_group = truth(value)),
    ("autoCreateTopicEnable", |it, value| it.auto_create_topic = truth(value)),
    ("brokerPermission", |it, value| it.permission = number(value) as i32),
    ("defaultQueryMaxNum", |it, value| it.unique_query_messages_max = number(value) as usize),
    ("enableMixedMessageType", |it, value| it.mixed_message_type = truth(value)),
    ("enablePropertyFilter", |it, value| it.property_filter = truth(value)),
    ("filterSupportRetry", |it, value| it.filter_retries = truth(value)),
    ("longPollingEnable", |it, value| it.long_polling = truth(value)),
    ("maxMessageSize", |it, value| it.message_bytes_max = number(value) as usize),
    ("maxMsgsNumBatch", |it, value| it.query_messages_max = number(value) as usize),
    ("maxTransferBytesOnMessageInMemory", |it, value| it.pull_bytes_max = number(value) as u32),
    ("maxTransferCountOnMessageInMemory", |it, value| it.pull_messages_max = number(value) as u32),
    ("recallMessageEnable", |it, value| it.recall = truth(value)),
    ("rejectTransactionMessage", |it, value| it.transactions.rejects = truth(value)),
    ("ringmqCheckMessageType", |it, value| it.check_message_type = truth(value)),
    ("shortPollingTimeMills", |it, value| it.short_polling_ms = number(value)),
    ("storeReplyMessageEnable", |it, value| it.store_replies = truth(value)),
    ("timerMaxDelaySec", |it, value| it.timer_delay_ms_max = number(value) * 1000),
    ("traceOn", |it, value| it.trace_on = truth(value)),
    ("transactionCheckInterval", |it, value| it.transactions.check_interval_ms = number(value)),
    ("transactionCheckMax", |it, value| it.transactions.checks_max = number(value) as u32),
    ("useServerSideResetOffset", |it, value| it.reset_at_server = truth(value)),
    ("validateSystemTopicWhenUpdateTopic", |it, value| it.validate_system_topic = truth(value)),
];

fn truth(value: &Value) -> bool {
    matches!(value, Value::Boolean(true))
}

/// Ranges of the keys leave no negative number, and none too large for its field.
fn number(value: &Value) -> u64 {
    match value {
        Value::Integer(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

/// Why a setting is not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingRefused {
    /// The key is honoured, at start.
    #[error("it holds from the start on, so set it in broker.conf and restart")]
    Fixed,
    /// The key has no effect, or is none.
    #[error("there is no such key, or it has no effect here")]
    Unknown,
    /// The value.
    #[error("{found} is no value of it, {expected} is expected")]
    Value {
        /// What was given.
        found: String,
        /// What it takes.
        expected: String,
    },
}

impl BrokerSettings {
    /// Whether a key can be changed while the broker runs.
    pub fn can_change(&self, key: &str) -> bool {
        CHANGEABLE.iter().any(|(name, _)| *name == key)
    }

    /// Changes a key; its value as it is written from now on.
    ///
    /// # Errors
    /// [`SettingRefused`]; nothing changed then.
    pub fn change(&mut self, key: &str, text: &str) -> Result<String, SettingRefused> {
        let Some((_, set)) = CHANGEABLE.iter().find(|(name, _)| *name == key) else {
            let is_known = self.shown.contains_key(key);
            return Err(if is_known { SettingRefused::Fixed } else { SettingRefused::Unknown });
        };
        let kind = keys::find(Program::Server, key).expect("a test finds every key").kind;
        let value = Value::parse(kind, text).map_err(|wrong| {
            let (Wrong::Type(expected) | Wrong::Range(expected)) = wrong;
            SettingRefused::Value { found: text.chars().take(64).collect(), expected }
        })?;
        set(self, &value);
        Ok(value.to_string())
    }

    /// These settings with what operators set while the broker ran. What this version does not take any more
    /// has no effect.
    #[must_use]
    pub fn with(&self, catalog: &Catalog) -> BrokerSettings {
        let mut settings = self.clone();
        for (key, value) in catalog.settings() {
            if let Err(refused) = settings.change(key, value) {
                tracing::warn!(key, value, %refused, "what was set before has no effect");
            }
        }
        settings
    }
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

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use crate::config::keys::{Class, Fallback};

    #[test]
    fn every_key_that_can_be_changed_is_honoured_and_takes_its_default() {
        let mut settings = settings();
        for (name, _) in CHANGEABLE {
            let key = keys::find(Program::Broker, name).expect("a key");
            assert_eq!(key.class, Class::Honoured, "{name}");
            let Fallback::Fixed(default) = key.default else { panic!("{name} is computed") };
            assert_eq!(settings.change(name, default), Ok(default.to_owned()));
        }
        assert!(CHANGEABLE.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn what_is_not_taken_changes_nothing() {
        let mut settings = settings();
        settings.shown = Arc::new([("listenPort", "1".to_owned())].into());
        assert_eq!(settings.change("brokerPermission", "4"), Ok("4".to_owned()));
        assert_eq!(settings.change("listenPort", "2"), Err(SettingRefused::Fixed));
        assert_eq!(settings.change("whatever", "2"), Err(SettingRefused::Unknown));
        let wrong = settings.change("brokerPermission", "8");
        assert!(matches!(wrong, Err(SettingRefused::Value { .. })), "{wrong:?}");
        assert_eq!(settings.permission, 4);
        let mut catalog = Catalog::default();
        let changes = [("brokerPermission", Some("2")), ("old", Some("x"))];
        catalog.set(1, changes.into_iter(), &mut Vec::new());
        assert_eq!((settings.with(&catalog).permission, settings.permission), (2, 4));
    }
}
