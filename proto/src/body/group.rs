//! Consumer group configurations.

use std::collections::BTreeMap;

use super::BodyError;
use super::json::{Json, defaulting, json_enum, json_object, nullable};
use super::version::DataVersion;
use crate::dialect::{Value, Writer};

json_enum! {
    /// Which delays a retry takes. `remoting/protocol/subscription/GroupRetryPolicyType`.
    #[derive(Default)]
    pub enum GroupRetryPolicyType {
        /// Growing by a factor.
        Exponential = "EXPONENTIAL",
        /// From a list.
        #[default]
        Customized = "CUSTOMIZED",
    }
}
defaulting!(GroupRetryPolicyType);

json_object! {
    /// Delays that grow by a factor, ms. `remoting/protocol/subscription/ExponentialRetryPolicy`.
    #[derive(Eq)]
    pub struct ExponentialRetryPolicy {
        /// The first.
        "initial" initial: i64 = 5_000,
        /// The longest.
        "max" max: i64 = 7_200_000,
        /// The factor.
        "multiplier" multiplier: i64 = 2,
    }
}
nullable!(ExponentialRetryPolicy);

json_object! {
    /// Delays from a list, ms. `remoting/protocol/subscription/CustomizedRetryPolicy`.
    #[derive(Eq)]
    pub struct CustomizedRetryPolicy {
        /// The delays; by default those of the delay levels.
        "next" next: Vec<i64> = crate::names::DELAY_LEVELS_MS.to_vec(),
    }
}
nullable!(CustomizedRetryPolicy);

json_object! {
    /// How POP and the proxy space retries. `remoting/protocol/subscription/GroupRetryPolicy`.
    #[derive(Eq)]
    pub struct GroupRetryPolicy {
        /// The list, if `type` says so.
        "customizedRetryPolicy" customized_retry_policy: Option<CustomizedRetryPolicy>,
        /// The growth, if `type` says so.
        "exponentialRetryPolicy" exponential_retry_policy: Option<ExponentialRetryPolicy>,
        /// Which of the two.
        "type" kind: GroupRetryPolicyType,
    }
}

json_object! {
    /// A static subscription. `remoting/protocol/subscription/SimpleSubscriptionData`.
    #[derive(Eq)]
    pub struct SimpleSubscriptionData {
        /// The expression's text.
        "expression" expression: Option<String>,
        /// `TAG` or `SQL92`.
        "expressionType" expression_type: Option<String>,
        /// Name of the topic.
        "topic" topic: Option<String>,
        /// When it was made.
        "version" version: i64,
    }
}

json_object! {
    /// Configuration of a consumer group. `remoting/protocol/subscription/SubscriptionGroupConfig`;
    /// in 200, 201, 225, 352.
    #[derive(Eq)]
    pub struct SubscriptionGroupConfig {
        /// Attributes; 5.3.3 defines none.
        "attributes" attributes: BTreeMap<String, String>,
        /// Which broker id members should pull from.
        "brokerId" broker_id: i64,
        /// Broadcasting allowed.
        "consumeBroadcastEnable" consume_broadcast_enable: bool = true,
        /// Consumption allowed.
        "consumeEnable" consume_enable: bool = true,
        /// Consumption from the lowest offset allowed.
        "consumeFromMinEnable" consume_from_min_enable: bool = true,
        /// FIFO, for the proxy.
        "consumeMessageOrderly" consume_message_orderly: bool,
        /// How long the client may work on a message, min.
        "consumeTimeoutMinute" consume_timeout_minute: i32 = 15,
        /// Name of the group.
        "groupName" group_name: String,
        /// How POP and the proxy space retries.
        "groupRetryPolicy" group_retry_policy: GroupRetryPolicy,
        /// Unit flags.
        "groupSysFlag" group_sys_flag: i32,
        /// Tell members when membership changes.
        "notifyConsumerIdsChangedEnable" notify_consumer_ids_changed_enable: bool = true,
        /// Retries before a message is a dead letter.
        "retryMaxTimes" retry_max_times: i32 = 16,
        /// Queues of the retry topic; 0 drops what is sent back.
        "retryQueueNums" retry_queue_nums: i32 = 1,
        /// Static subscriptions.
        "subscriptionDataSet" subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
        /// Which broker id to pull from when far behind.
        "whichBrokerWhenConsumeSlowly" which_broker_when_consume_slowly: i64 = 1,
    }
}
nullable!(Vec<SimpleSubscriptionData>);

json_object! {
    /// Body of 225. `remoting/protocol/body/SubscriptionGroupList`.
    #[derive(Eq)]
    pub struct SubscriptionGroupList up to TABLE_VALUES_MAX values {
        /// The configurations.
        "groupConfigList" group_config_list: Vec<SubscriptionGroupConfig>,
    }
}

json_object! {
    /// Answer to 201. `remoting/protocol/body/SubscriptionGroupWrapper`, plus the forbidden table
    /// of `SubscriptionGroupManager`, whose own encoding the broker sends.
    #[derive(Eq)]
    pub struct SubscriptionGroupWrapper up to TABLE_VALUES_MAX values {
        /// Version of the table.
        "dataVersion" data_version: DataVersion,
        /// Group name to topic name to a bit set of what is forbidden; bit 2 is reading.
        "forbiddenTable" forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
        /// Group name to configuration.
        "subscriptionGroupTable" subscription_group_table:
            BTreeMap<String, SubscriptionGroupConfig>,
    }
}

json_object! {
    /// Answer to 353. `remoting/protocol/subscription/GroupForbidden`.
    #[derive(Eq)]
    pub struct GroupForbidden {
        /// Name of the group.
        "group" group: Option<String>,
        /// Whether the group may read the topic.
        "readable" readable: Option<bool>,
        /// Name of the topic.
        "topic" topic: Option<String>,
    }
}
