//! Static topics: queues with one number across brokers.

use std::collections::BTreeMap;

use super::BodyError;
use super::json::{Json, json_object, nullable};
use crate::dialect::{Value, Writer};

/// The scope of every mapping that 5.3.3 makes (`MixAll.METADATA_SCOPE_GLOBAL`).
pub const SCOPE_GLOBAL: &str = "__global__";

json_object! {
    /// What the NameServer and routes hold of a mapping.
    /// `remoting/protocol/statictopic/TopicQueueMappingInfo`; in 103, 105.
    #[derive(Eq)]
    pub struct TopicQueueMappingInfo {
        /// The broker that holds it.
        "bname" bname: Option<String>,
        /// Global queue id to the broker's own.
        "currIdMap" curr_id_map: BTreeMap<i32, i32>,
        /// Not to be trusted.
        "dirty" dirty: bool,
        /// Greater replaces less, ms.
        "epoch" epoch: i64,
        /// Scope.
        "scope" scope: String = SCOPE_GLOBAL.to_owned(),
        /// Name of the topic.
        "topic" topic: Option<String>,
        /// Queues across all brokers.
        "totalQueues" total_queues: i32,
    }
}

json_object! {
    /// One stretch of a queue. `remoting/protocol/statictopic/LogicQueueMappingItem`.
    #[derive(Eq)]
    pub struct LogicQueueMappingItem {
        /// The broker that holds it.
        "bname" bname: Option<String>,
        /// End of the broker's offsets, exclusive; -1 while open.
        "endOffset" end_offset: i64 = -1,
        /// Generation.
        "gen" generation: i32,
        /// Where it begins in the global queue; -1 while undecided.
        "logicOffset" logic_offset: i64,
        /// The broker's queue id.
        "queueId" queue_id: i32,
        /// Where it begins in the broker's queue.
        "startOffset" start_offset: i64,
        /// Reserved.
        "timeOfEnd" time_of_end: i64 = -1,
        /// Reserved.
        "timeOfStart" time_of_start: i64 = -1,
    }
}

json_object! {
    /// A whole mapping. `remoting/protocol/statictopic/TopicQueueMappingDetail`; in 21, 103, 351,
    /// 513.
    #[derive(Eq)]
    pub struct TopicQueueMappingDetail {
        /// The broker that holds it.
        "bname" bname: Option<String>,
        /// Global queue id to the broker's own.
        "currIdMap" curr_id_map: BTreeMap<i32, i32>,
        /// Not to be trusted.
        "dirty" dirty: bool,
        /// Greater replaces less, ms.
        "epoch" epoch: i64,
        /// Global queue id to its stretches.
        "hostedQueues" hosted_queues: BTreeMap<i32, Vec<LogicQueueMappingItem>>,
        /// Scope.
        "scope" scope: String = SCOPE_GLOBAL.to_owned(),
        /// Name of the topic.
        "topic" topic: Option<String>,
        /// Queues across all brokers.
        "totalQueues" total_queues: i32,
    }
}
nullable!(TopicQueueMappingDetail);
nullable!(BTreeMap<String, TopicQueueMappingInfo>);
