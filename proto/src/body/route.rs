//! Routes and clusters: what a NameServer answers.

use std::collections::{BTreeMap, BTreeSet};

use super::json::{Json, json_object};
use super::static_topic::TopicQueueMappingInfo;
use crate::dialect::{Style, Writer};
use crate::version::V4_9_4;

json_object! {
    /// Queues of a topic on one broker. `remoting/protocol/route/QueueData`.
    #[derive(Eq)]
    pub struct QueueData {
        /// Name of the broker.
        "brokerName" broker_name: String,
        /// Bits of [`crate::names::perm`].
        "perm" perm: i32,
        /// Queues that consumers see.
        "readQueueNums" read_queue_nums: i32,
        /// Bit 0: unit; bit 1: has a unit subscription.
        "topicSysFlag" topic_sys_flag: i32,
        /// Queues that producers see.
        "writeQueueNums" write_queue_nums: i32,
    }
}

json_object! {
    /// Replicas of one broker name. `remoting/protocol/route/BrokerData`.
    #[derive(Eq)]
    pub struct BrokerData {
        /// Broker id to address; 0 is the master.
        "brokerAddrs" broker_addrs: BTreeMap<i64, String>,
        /// Name of the broker.
        "brokerName" broker_name: String,
        /// Name of the cluster.
        "cluster" cluster: String,
        /// A slave may act as master.
        "enableActingMaster" enable_acting_master: bool,
        /// Zone, if the broker said one.
        "zoneName" zone_name: Option<String>,
    }
}

json_object! {
    /// Route of a topic: answer to 105, body of 217. `remoting/protocol/route/TopicRouteData`.
    ///
    /// [`TopicRouteData::write`] is the form for clients before 4.9.4; use
    /// [`TopicRouteData::write_for`] for answers.
    #[derive(Eq)]
    pub struct TopicRouteData {
        /// The brokers.
        "brokerDatas" broker_datas: Vec<BrokerData>,
        /// Broker address to filter servers: gone, but must be there as `{}`.
        "filterServerTable" filter_server_table: BTreeMap<String, Vec<String>>,
        /// Order topic configuration, `broker-a:4;broker-b:4`.
        "orderTopicConf" order_topic_conf: Option<String>,
        /// Their queues.
        "queueDatas" queue_datas: Vec<QueueData>,
        /// Broker name to static mapping. Leave out where there is none.
        "topicQueueMappingByBroker" topic_queue_mapping_by_broker:
            Option<BTreeMap<String, TopicQueueMappingInfo>>,
    }
}

impl TopicRouteData {
    /// Appends the answer to 105 as `ClientRequestProcessor.getRouteInfoByTopic` encodes it for a
    /// client of this version: broker ids quoted from 4.9.4 on or if the request's
    /// `acceptStandardJsonOnly` is true, else not. Go clients before 2.1.2 read a quoted id as 0.
    pub fn write_for(&self, client_version: i32, standard_json_only: bool, out: &mut Vec<u8>) {
        let style = if client_version >= V4_9_4 || standard_json_only {
            Style::BrowserCompatible
        } else {
            Style::Plain
        };
        self.emit(&mut Writer::new(out, style));
    }
}

json_object! {
    /// All clusters and brokers: answer to 106. `remoting/protocol/body/ClusterInfo`.
    #[derive(Eq)]
    pub struct ClusterInfo up to TABLE_VALUES_MAX values {
        /// Broker name to replicas.
        "brokerAddrTable" broker_addr_table: BTreeMap<String, BrokerData>,
        /// Cluster name to broker names.
        "clusterAddrTable" cluster_addr_table: BTreeMap<String, BTreeSet<String>>,
    }
}

json_object! {
    /// Replicas of one broker name. `remoting/protocol/body/BrokerMemberGroup`.
    #[derive(Eq)]
    pub struct BrokerMemberGroup {
        /// Broker id to address.
        "brokerAddrs" broker_addrs: BTreeMap<i64, String>,
        /// Name of the broker.
        "brokerName" broker_name: String,
        /// Name of the cluster.
        "cluster" cluster: String,
    }
}

json_object! {
    /// Answer to 901. `remoting/protocol/body/GetBrokerMemberGroupResponseBody`.
    #[derive(Eq)]
    pub struct GetBrokerMemberGroupResponseBody {
        /// The replicas.
        "brokerMemberGroup" broker_member_group: BrokerMemberGroup,
    }
}
