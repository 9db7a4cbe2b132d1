//! Offsets and rates of queues, topics and groups, for tools (202, 208, 303, 315, 317, 321).

use std::collections::BTreeMap;

use super::json::json_object;
use super::queue::MessageQueue;
use super::subscription::SubscriptionData;

json_object! {
    /// Bounds of one queue. `remoting/protocol/admin/TopicOffset`.
    #[derive(Eq)]
    pub struct TopicOffset {
        /// Store time of the last message, ms.
        "lastUpdateTimestamp" last_update_timestamp: i64,
        /// Next offset to be written.
        "maxOffset" max_offset: i64,
        /// Lowest offset kept.
        "minOffset" min_offset: i64,
    }
}

json_object! {
    /// Bounds of a topic's queues: answer to 202. `remoting/protocol/admin/TopicStatsTable`.
    pub struct TopicStatsTable {
        /// Queue to bounds.
        "offsetTable" offset_table: BTreeMap<MessageQueue, TopicOffset>,
        /// Messages a second.
        "topicPutTps" topic_put_tps: f64,
    }
}

json_object! {
    /// How far a group is in one queue. `remoting/protocol/admin/OffsetWrapper`.
    #[derive(Eq)]
    pub struct OffsetWrapper {
        /// Next offset to be written.
        "brokerOffset" broker_offset: i64,
        /// Committed offset.
        "consumerOffset" consumer_offset: i64,
        /// Store time of the last consumed message, ms.
        "lastTimestamp" last_timestamp: i64,
        /// Next offset to be pulled.
        "pullOffset" pull_offset: i64,
    }
}

json_object! {
    /// How far a group is: answer to 208. `remoting/protocol/admin/ConsumeStats`.
    pub struct ConsumeStats {
        /// Messages a second.
        "consumeTps" consume_tps: f64,
        /// Queue to progress.
        "offsetTable" offset_table: BTreeMap<MessageQueue, OffsetWrapper>,
    }
}

json_object! {
    /// How far every group is: answer to 317. `remoting/protocol/body/ConsumeStatsList`.
    pub struct ConsumeStatsList up to TABLE_VALUES_MAX values {
        /// The broker.
        "brokerAddr" broker_addr: Option<String>,
        /// Maps of one group each.
        "consumeStatsList" consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
        /// Messages not consumed.
        "totalDiff" total_diff: i64,
        /// Messages pulled and not consumed.
        "totalInflightDiff" total_inflight_diff: i64,
    }
}

json_object! {
    /// A counter over some time. `remoting/protocol/body/BrokerStatsItem`.
    pub struct BrokerStatsItem {
        /// Average per event.
        "avgpt" avgpt: f64,
        /// Total.
        "sum" sum: i64,
        /// Events a second.
        "tps" tps: f64,
    }
}

json_object! {
    /// A counter over three times: answer to 315. `remoting/protocol/body/BrokerStatsData`.
    pub struct BrokerStatsData {
        /// The last day.
        "statsDay" stats_day: BrokerStatsItem,
        /// The last hour.
        "statsHour" stats_hour: BrokerStatsItem,
        /// The last minute.
        "statsMinute" stats_minute: BrokerStatsItem,
    }
}

json_object! {
    /// Times in one queue, ms and as text `2026-01-31#10:05:11:650` in the broker's time zone,
    /// which Java derives when writing and ignores when reading.
    /// `remoting/protocol/body/QueueTimeSpan`.
    #[derive(Eq)]
    pub struct QueueTimeSpan {
        /// Store time of the last consumed message.
        "consumeTimeStamp" consume_time_stamp: i64,
        /// The same as text.
        "consumeTimeStampStr" consume_time_stamp_str: Option<String>,
        /// How far consumption is behind.
        "delayTime" delay_time: i64,
        /// Store time of the last message.
        "maxTimeStamp" max_time_stamp: i64,
        /// The same as text.
        "maxTimeStampStr" max_time_stamp_str: Option<String>,
        /// The queue.
        "messageQueue" message_queue: MessageQueue,
        /// Store time of the first message.
        "minTimeStamp" min_time_stamp: i64,
        /// The same as text.
        "minTimeStampStr" min_time_stamp_str: Option<String>,
    }
}

json_object! {
    /// Times in every queue: answer to 303. `remoting/protocol/body/QueryConsumeTimeSpanBody`.
    #[derive(Eq)]
    pub struct QueryConsumeTimeSpanBody {
        /// The queues.
        "consumeTimeSpanSet" consume_time_span_set: Vec<QueueTimeSpan>,
    }
}

json_object! {
    /// One consume queue entry. `remoting/protocol/body/ConsumeQueueData`.
    #[derive(Eq)]
    pub struct ConsumeQueueData {
        /// Bit map of the filter, if any.
        "bitMap" bit_map: Option<String>,
        /// Whether the filter lets it pass.
        "eval" eval: bool,
        /// Extension of the entry.
        "extendDataJson" extend_data_json: Option<String>,
        /// What went wrong.
        "msg" msg: Option<String>,
        /// Position in the commit log.
        "physicOffset" physic_offset: i64,
        /// Size of the record, bytes.
        "physicSize" physic_size: i32,
        /// Hash of the tag.
        "tagsCode" tags_code: i64,
    }
}

json_object! {
    /// Consume queue entries: answer to 321.
    /// `remoting/protocol/body/QueryConsumeQueueResponseBody`.
    #[derive(Eq)]
    pub struct QueryConsumeQueueResponseBody {
        /// The SQL filter as text; the text `null` without one.
        "filterData" filter_data: Option<String>,
        /// Next offset to be written.
        "maxQueueIndex" max_queue_index: i64,
        /// Lowest offset kept.
        "minQueueIndex" min_queue_index: i64,
        /// The entries.
        "queueData" queue_data: Vec<ConsumeQueueData>,
        /// The group's subscription.
        "subscriptionData" subscription_data: Option<SubscriptionData>,
    }
}
