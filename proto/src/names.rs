//! Names that mean something to RocketMQ: system topics and groups, prefixes, permissions, limits.
//!
//! Apache 5.3.3: `common/topic/TopicValidator`, `common/MixAll`, `common/constant/PermName`,
//! `client/Validators`, `store/config/MessageStoreConfig`.

use crate::limits::{GROUP_BYTES_MAX, TOPIC_BYTES_MAX};

/// Template of topics created on first use.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Messages that wait for a delay level; queue id = level - 1.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// For measuring; 1024 queues.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Half messages.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Which half messages are done.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages whose producer never answered.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Message traces of clients.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Pulls that left the range of their queue.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Offsets kept in RocksDB.
pub const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";
/// Messages that wait for an arbitrary time (`TimerMessageStore.TIMER_TOPIC`).
pub const WHEEL_TIMER_TOPIC: &str = "rmq_sys_wheel_timer";

/// Every topic that begins so is a system topic.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Plus the cluster name: checkpoints and acknowledgements of POP (`PopAckConstants`).
pub const REVIVE_TOPIC_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
/// Plus the broker name: changes of a replica group.
pub const SYNC_BROKER_MEMBER_TOPIC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// Before the group: its retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Before the group: its dead letters.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// Before the name: a light message queue.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// After the cluster name: answers to request messages.
pub const REPLY_TOPIC_SUFFIX: &str = "_REPLY_TOPIC";
/// Every group that begins so is a system group.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// Keeps the progress of transaction checks.
pub const TRANS_GROUP: &str = "CID_RMQ_SYS_TRANS";

/// Groups that every broker has (`SubscriptionGroupManager.init`).
pub const DEFAULT_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    TRANS_GROUP,
];

/// Groups that `MixAll.isPredefinedGroup` knows.
const PREDEFINED_GROUPS: [&str; 14] = [
    "DEFAULT_CONSUMER",
    "DEFAULT_PRODUCER",
    "TOOLS_CONSUMER",
    "SCHEDULE_CONSUMER",
    "FILTERSRV_CONSUMER",
    "__MONITOR_CONSUMER",
    "CLIENT_INNER_PRODUCER",
    "SELF_TEST_P_GROUP",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PULL",
    TRANS_GROUP,
];

/// Topics that every broker keeps for itself (`TopicValidator.SYSTEM_TOPIC_SET`).
pub const SYSTEM_TOPICS: [&str; 10] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    CHECKPOINT_TOPIC,
];

/// Namespace of the NameServer's key-value store that marks order topics.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Delay levels 1 to 18 as configured by default (`messageDelayLevel`).
pub const DELAY_LEVELS: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
/// The same in milliseconds; level n is at index n - 1.
pub const DELAY_LEVELS_MS: [i64; 18] = [
    1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 180_000, 240_000, 300_000, 360_000, 420_000,
    480_000, 540_000, 600_000, 1_200_000, 1_800_000, 3_600_000, 7_200_000,
];

/// Permission bits of a topic or broker (`PermName`).
pub mod perm {
    /// The queue's content is inherited on auto creation.
    pub const INHERIT: i32 = 1;
    /// Clients may send.
    pub const WRITE: i32 = 1 << 1;
    /// Clients may pull.
    pub const READ: i32 = 1 << 2;
    /// Unused by 5.3.3.
    pub const PRIORITY: i32 = 1 << 3;

    /// Read permission.
    pub const fn readable(perm: i32) -> bool {
        perm & READ != 0
    }

    /// Write permission.
    pub const fn writable(perm: i32) -> bool {
        perm & WRITE != 0
    }

    /// May serve as a template of new topics.
    pub const fn inherited(perm: i32) -> bool {
        perm & INHERIT != 0
    }

    /// Only bits that a configuration may set (`PermName.isValid`).
    pub const fn valid(perm: i32) -> bool {
        0 <= perm && perm < PRIORITY
    }

    /// `RWX` with a dash for each missing one (`PermName.perm2String`).
    pub const fn text(perm: i32) -> &'static str {
        match (readable(perm), writable(perm), inherited(perm)) {
            (false, false, false) => "---",
            (false, false, true) => "--X",
            (false, true, false) => "-W-",
            (false, true, true) => "-WX",
            (true, false, false) => "R--",
            (true, false, true) => "R-X",
            (true, true, false) => "RW-",
            (true, true, true) => "RWX",
        }
    }
}

/// Why a topic name is refused. Displays as the remark that Apache's broker sends with code 29.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// Empty or white space only.
    #[error("The specified topic is blank.")]
    Blank,
    /// A character outside `^[%|a-zA-Z0-9_-]+$`.
    #[error("The specified topic contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacter,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("The specified topic is longer than topic max length.")]
    TooLong,
}

/// Why a group name is refused. Displays as the text of Apache's `Validators.checkGroup`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupNameError {
    /// Empty or white space only.
    #[error("the specified group is blank")]
    Blank,
    /// Longer than [`GROUP_BYTES_MAX`].
    #[error("the specified group is longer than group max length 255.")]
    TooLong,
    /// A character outside `^[%|a-zA-Z0-9_-]+$`.
    #[error(
        "the specified group[{group}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
    )]
    IllegalCharacter {
        /// The refused name.
        group: String,
    },
}

/// Checks a topic name as a broker does (`TopicValidator.validateTopic`).
///
/// # Errors
/// The first rule that the name breaks, in Apache's order: blank, characters, length.
pub fn validate_topic(topic: &str) -> Result<(), TopicNameError> {
    if is_blank(topic) {
        return Err(TopicNameError::Blank);
    }
    if !topic.bytes().all(is_name_byte) {
        return Err(TopicNameError::IllegalCharacter);
    }
    if topic.len() > TOPIC_BYTES_MAX {
        return Err(TopicNameError::TooLong);
    }
    Ok(())
}

/// Checks a group name as a client does (`Validators.checkGroup`).
///
/// # Errors
/// The first rule that the name breaks, in Apache's order: blank, length, characters.
pub fn validate_group(group: &str) -> Result<(), GroupNameError> {
    if is_blank(group) {
        return Err(GroupNameError::Blank);
    }
    if group.encode_utf16().count() > GROUP_BYTES_MAX {
        return Err(GroupNameError::TooLong);
    }
    if !group.bytes().all(is_name_byte) {
        return Err(GroupNameError::IllegalCharacter { group: group.to_owned() });
    }
    Ok(())
}

/// Whether a broker keeps this topic for itself (`TopicValidator.isSystemTopic`, without the
/// cluster and broker names that a broker adds at start).
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_TOPIC_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Whether clients must not send to this topic (`TopicValidator.isNotAllowedSendTopic`).
pub fn is_not_allowed_send_topic(topic: &str) -> bool {
    matches!(
        topic,
        SCHEDULE_TOPIC
            | TRANS_HALF_TOPIC
            | TRANS_OP_HALF_TOPIC
            | TRANS_CHECK_MAX_TIME_TOPIC
            | SELF_TEST_TOPIC
            | OFFSET_MOVED_EVENT
    )
}

/// Whether this is one of RocketMQ's own groups by its prefix (`MixAll.isSysConsumerGroup`).
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX)
}

/// Whether this is a group that RocketMQ's own programs use (`MixAll.isPredefinedGroup`).
pub fn is_predefined_group(group: &str) -> bool {
    PREDEFINED_GROUPS.contains(&group)
}

/// The topic through which a group gets messages again.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The topic of messages that a group gave up.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// The topic of answers to request messages.
pub fn reply_topic(cluster: &str) -> String {
    format!("{cluster}{REPLY_TOPIC_SUFFIX}")
}

/// The topic of a cluster's POP checkpoints.
pub fn revive_topic(cluster: &str) -> String {
    format!("{REVIVE_TOPIC_PREFIX}{cluster}")
}

/// The group of a retry topic.
pub fn group_of_retry_topic(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

/// Whether this is a group's retry topic.
pub fn is_retry_topic(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

/// Whether this is a group's dead letters.
pub fn is_dlq_topic(topic: &str) -> bool {
    topic.starts_with(DLQ_PREFIX)
}

/// Java's `Character.isWhitespace`, which unlike Rust's leaves out the no-break spaces and takes
/// the four separators 0x1C to 0x1F.
fn is_blank(name: &str) -> bool {
    name.chars().all(|c| match c {
        '\u{1c}'..='\u{1f}' => true,
        '\u{85}' | '\u{a0}' | '\u{2007}' | '\u{202f}' => false,
        _ => c.is_whitespace(),
    })
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_checked_in_apaches_order() {
        let check = |topic: &str, expect| assert_eq!(validate_topic(topic), expect, "{topic}");
        check("%RETRY%group|a-B_9", Ok(()));
        check("", Err(TopicNameError::Blank));
        check(" \t\u{1c}\u{3000}", Err(TopicNameError::Blank));
        check("\u{a0}", Err(TopicNameError::IllegalCharacter));
        check("a b", Err(TopicNameError::IllegalCharacter));
        check("a/b", Err(TopicNameError::IllegalCharacter));
        check("主题", Err(TopicNameError::IllegalCharacter));
        check(&"t".repeat(127), Ok(()));
        check(&"t".repeat(128), Err(TopicNameError::TooLong));
        check(&" a".repeat(128), Err(TopicNameError::IllegalCharacter));
    }

    #[test]
    fn groups_are_checked_in_apaches_order() {
        let check = |group: &str, expect: &str| {
            let found =
                validate_group(group).map_or_else(|error| error.to_string(), |()| "ok".into());
            assert_eq!(found, expect, "{group}");
        };
        check("g", "ok");
        check(&"g".repeat(255), "ok");
        check("  ", "the specified group is blank");
        check(&"%%!".repeat(128), "the specified group is longer than group max length 255.");
        let illegal = "the specified group[a.b] contains illegal characters, allowing only ";
        check("a.b", &format!("{illegal}^[%|a-zA-Z0-9_-]+$"));
    }

    #[test]
    fn system_names_are_known() {
        assert!(is_system_topic("TBW102"));
        assert!(is_system_topic(WHEEL_TIMER_TOPIC));
        assert!(!is_system_topic("%RETRY%TBW102"));
        assert!(is_not_allowed_send_topic(SELF_TEST_TOPIC));
        assert!(!is_not_allowed_send_topic(AUTO_CREATE_TOPIC));
        assert!(is_system_group(TRANS_GROUP));
        assert!(is_predefined_group("DEFAULT_PRODUCER"));
        assert_eq!(retry_topic("g"), "%RETRY%g");
        assert_eq!(dlq_topic("g"), "%DLQ%g");
        assert_eq!(reply_topic("c"), "c_REPLY_TOPIC");
        assert_eq!(group_of_retry_topic("%RETRY%g"), Some("g"));
    }

    #[test]
    fn delay_levels_agree_with_their_text() {
        let parsed: Vec<i64> = DELAY_LEVELS
            .split(' ')
            .map(|level| {
                let (number, unit) = level.split_at(level.len() - 1);
                let unit_ms = match unit {
                    "s" => 1_000,
                    "m" => 60_000,
                    _ => 3_600_000,
                };
                number.parse::<i64>().expect("a number before the unit") * unit_ms
            })
            .collect();
        assert_eq!(parsed, DELAY_LEVELS_MS);
    }

    #[test]
    fn permissions_read_as_text() {
        assert_eq!(perm::text(6), "RW-");
        assert_eq!(perm::text(7), "RWX");
        assert_eq!(perm::text(1), "--X");
        assert_eq!(perm::text(-1), "RWX");
        assert!(perm::valid(7));
        assert!(!perm::valid(8));
        assert!(!perm::valid(-1));
    }
}
