//! Consumer offsets: dumps for slaves and tools, resets.

use std::collections::{BTreeMap, BTreeSet};

use super::json::json_object;
use super::queue::MessageQueue;
use super::version::DataVersion;

json_object! {
    /// All consumer offsets: answer to 43. `remoting/protocol/body/ConsumerOffsetSerializeWrapper`,
    /// plus the group table that `ConsumerOffsetManager`, whose own encoding the broker sends, has
    /// besides.
    #[derive(Eq)]
    pub struct ConsumerOffsetSerializeWrapper up to TABLE_VALUES_MAX values {
        /// Version of the table.
        "dataVersion" data_version: DataVersion,
        /// Group name to topic names: derived from the offsets, ignored by readers.
        "groupTopicMap" group_topic_map: BTreeMap<String, BTreeSet<String>>,
        /// `topic@group` to queue id to offset.
        "offsetTable" offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    }
}

json_object! {
    /// Progress of delay levels: answer to 45. `broker/schedule/DelayOffsetSerializeWrapper`.
    #[derive(Eq)]
    pub struct DelayOffsetSerializeWrapper {
        /// Version of the table.
        "dataVersion" data_version: DataVersion,
        /// Level to next offset of its queue.
        "offsetTable" offset_table: BTreeMap<i32, i64>,
    }
}

json_object! {
    /// Messages of a topic that wait for a time of their own. `store/timer/TimerMetrics.Metric`.
    #[derive(Eq)]
    pub struct TimerMetric {
        /// How many.
        "count" count: i64,
        /// When that changed, ms.
        "timeStamp" time_stamp: i64,
    }
}

json_object! {
    /// Answer to 61. `store/timer/TimerMetrics.TimerMetricsSerializeWrapper`.
    #[derive(Eq)]
    pub struct TimerMetricsSerializeWrapper {
        /// Version of the table.
        "dataVersion" data_version: DataVersion,
        /// By topic.
        "timingCount" timing_count: BTreeMap<String, TimerMetric>,
    }
}

json_object! {
    /// New offsets: answer to 222, body of 220. `remoting/protocol/body/ResetOffsetBody`.
    #[derive(Eq)]
    pub struct ResetOffsetBody {
        /// Queue to offset.
        "offsetTable" offset_table: BTreeMap<MessageQueue, i64>,
    }
}

json_object! {
    /// A queue and its new offset. `common/message/MessageQueueForC`.
    #[derive(Eq, PartialOrd, Ord)]
    pub struct MessageQueueForC {
        /// Name of the broker.
        "brokerName" broker_name: String,
        /// The offset.
        "offset" offset: i64,
        /// Number of the queue.
        "queueId" queue_id: i32,
        /// Name of the topic.
        "topic" topic: String,
    }
}

json_object! {
    /// New offsets without object keys: body of 220 when the admin's request said language CPP.
    /// `remoting/protocol/body/ResetOffsetBodyForC`.
    #[derive(Eq)]
    pub struct ResetOffsetBodyForC {
        /// The offsets.
        "offsetTable" offset_table: Vec<MessageQueueForC>,
    }
}

impl From<&ResetOffsetBody> for ResetOffsetBodyForC {
    fn from(body: &ResetOffsetBody) -> Self {
        let row = |(queue, offset): (&MessageQueue, &i64)| MessageQueueForC {
            broker_name: queue.broker_name.clone(),
            offset: *offset,
            queue_id: queue.queue_id,
            topic: queue.topic.clone(),
        };
        Self { offset_table: body.offset_table.iter().map(row).collect() }
    }
}

json_object! {
    /// Offsets that clients hold: answer to 221 (one client) and 223 (all).
    /// `remoting/protocol/body/GetConsumerStatusBody`.
    #[derive(Eq)]
    pub struct GetConsumerStatusBody {
        /// Client id to queue to offset.
        "consumerTable" consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
        /// Queue to offset.
        "messageQueueTable" message_queue_table: BTreeMap<MessageQueue, i64>,
    }
}

json_object! {
    /// Lowest offsets of other groups: answer to 308.
    /// `remoting/protocol/body/QueryCorrectionOffsetBody`.
    #[derive(Eq)]
    pub struct QueryCorrectionOffsetBody {
        /// Queue id to offset.
        "correctionOffsets" correction_offsets: BTreeMap<i32, i64>,
    }
}
