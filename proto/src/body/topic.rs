//! Topic configurations and lists of names.

use std::collections::{BTreeMap, BTreeSet};

use super::BodyError;
use super::json::{Json, defaulting, json_enum, json_object, nullable};
use super::static_topic::{TopicQueueMappingDetail, TopicQueueMappingInfo};
use super::version::DataVersion;
use crate::dialect::{Value, Writer};
use crate::names::perm;

json_enum! {
    /// Tags per message. `common/TopicFilterType`. 5.3.3 does not look at it.
    #[derive(Default)]
    pub enum TopicFilterType {
        /// One.
        #[default]
        SingleTag = "SINGLE_TAG",
        /// Several.
        MultiTag = "MULTI_TAG",
    }
}
defaulting!(TopicFilterType);

json_object! {
    /// Configuration of a topic. `common/TopicConfig`; in 17 (as header), 18, 21, 103.
    #[derive(Eq)]
    pub struct TopicConfig {
        /// Attributes such as `message.type`, without signs.
        "attributes" attributes: BTreeMap<String, String>,
        /// An order topic.
        "order" order: bool,
        /// Bits of [`perm`].
        "perm" perm: i32 = perm::READ | perm::WRITE,
        /// Queues that consumers see.
        "readQueueNums" read_queue_nums: i32 = 16,
        /// Tags per message.
        "topicFilterType" topic_filter_type: TopicFilterType,
        /// Name of the topic.
        "topicName" topic_name: String,
        /// Bit 0: unit; bit 1: has a unit subscription.
        "topicSysFlag" topic_sys_flag: i32,
        /// Queues that producers see.
        "writeQueueNums" write_queue_nums: i32 = 16,
    }
}
nullable!(TopicConfig);

json_object! {
    /// Answer to 351: a configuration with its static mapping.
    /// `remoting/protocol/statictopic/TopicConfigAndQueueMapping`, a subclass of `TopicConfig`.
    #[derive(Eq)]
    pub struct TopicConfigAndQueueMapping {
        /// As in [`TopicConfig`].
        "attributes" attributes: BTreeMap<String, String>,
        /// Static mapping, if there is one.
        "mappingDetail" mapping_detail: Option<TopicQueueMappingDetail>,
        /// As in [`TopicConfig`].
        "order" order: bool,
        /// As in [`TopicConfig`].
        "perm" perm: i32 = perm::READ | perm::WRITE,
        /// As in [`TopicConfig`].
        "readQueueNums" read_queue_nums: i32 = 16,
        /// As in [`TopicConfig`].
        "topicFilterType" topic_filter_type: TopicFilterType,
        /// As in [`TopicConfig`].
        "topicName" topic_name: String,
        /// As in [`TopicConfig`].
        "topicSysFlag" topic_sys_flag: i32,
        /// As in [`TopicConfig`].
        "writeQueueNums" write_queue_nums: i32 = 16,
    }
}

impl From<TopicConfig> for TopicConfigAndQueueMapping {
    fn from(config: TopicConfig) -> Self {
        Self {
            attributes: config.attributes,
            mapping_detail: None,
            order: config.order,
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            topic_filter_type: config.topic_filter_type,
            topic_name: config.topic_name,
            topic_sys_flag: config.topic_sys_flag,
            write_queue_nums: config.write_queue_nums,
        }
    }
}

json_object! {
    /// Body of 18. `remoting/protocol/body/CreateTopicListRequestBody`.
    #[derive(Eq)]
    pub struct CreateTopicListRequestBody up to TABLE_VALUES_MAX values {
        /// The configurations.
        "topicConfigList" topic_config_list: Vec<TopicConfig>,
    }
}

json_object! {
    /// Topics with their version. `remoting/protocol/body/TopicConfigSerializeWrapper`: body of 103
    /// from brokers older than 3.0.11.
    #[derive(Eq)]
    pub struct TopicConfigSerializeWrapper up to TABLE_VALUES_MAX values {
        /// Version of the table.
        "dataVersion" data_version: DataVersion,
        /// Topic name to configuration.
        "topicConfigTable" topic_config_table: BTreeMap<String, TopicConfig>,
    }
}

json_object! {
    /// Topics and static mappings: answer to 21, part of 103.
    /// `remoting/protocol/body/TopicConfigAndMappingSerializeWrapper`.
    #[derive(Eq)]
    pub struct TopicConfigAndMappingSerializeWrapper up to TABLE_VALUES_MAX values {
        /// Version of the table.
        "dataVersion" data_version: DataVersion,
        /// Version of the mappings.
        "mappingDataVersion" mapping_data_version: DataVersion,
        /// Topic name to configuration.
        "topicConfigTable" topic_config_table: BTreeMap<String, TopicConfig>,
        /// Topic name to the whole mapping.
        "topicQueueMappingDetailMap" topic_queue_mapping_detail_map:
            BTreeMap<String, TopicQueueMappingDetail>,
        /// Topic name to what the NameServer needs of it.
        "topicQueueMappingInfoMap" topic_queue_mapping_info_map:
            BTreeMap<String, TopicQueueMappingInfo>,
    }
}

json_object! {
    /// Topic names: answer to 206, 224, 304, 305, 311 to 313, 343.
    /// `remoting/protocol/body/TopicList`.
    #[derive(Eq)]
    pub struct TopicList up to TABLE_VALUES_MAX values {
        /// Some broker's address for 304, the answering broker's for 343.
        "brokerAddr" broker_addr: Option<String>,
        /// The names.
        "topicList" topic_list: BTreeSet<String>,
    }
}

json_object! {
    /// Names of groups: answer to 300. `remoting/protocol/body/GroupList`.
    #[derive(Eq)]
    pub struct GroupList {
        /// The names.
        "groupList" group_list: BTreeSet<String>,
    }
}
