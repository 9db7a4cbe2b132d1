//! Bodies of tools that belong nowhere else.

use std::collections::BTreeMap;

use super::json::json_object;
use super::subscription::SubscriptionData;

json_object! {
    /// A table of texts: answer to 28, 103, 219. `remoting/protocol/body/KVTable`.
    #[derive(Eq)]
    pub struct KVTable up to TABLE_VALUES_MAX values {
        /// The entries.
        "table" table: BTreeMap<String, String>,
    }
}

json_object! {
    /// Answer to 345. `remoting/protocol/body/QuerySubscriptionResponseBody`.
    #[derive(Eq)]
    pub struct QuerySubscriptionResponseBody {
        /// Name of the group.
        "group" group: Option<String>,
        /// Its subscription, if it is online and has one.
        "subscriptionData" subscription_data: Option<SubscriptionData>,
        /// Name of the topic.
        "topic" topic: Option<String>,
    }
}

json_object! {
    /// One slave as its master sees it. `HARuntimeInfo.HAConnectionRuntimeInfo`.
    #[derive(Eq)]
    pub struct HAConnectionRuntimeInfo {
        /// Its address.
        "addr" addr: Option<String>,
        /// Bytes it is behind.
        "diff" diff: i64,
        /// Whether it counts as in sync.
        "inSync" in_sync: bool,
        /// What it confirmed.
        "slaveAckOffset" slave_ack_offset: i64,
        /// What is sent next.
        "transferFromWhere" transfer_from_where: i64,
        /// Rate.
        "transferredByteInSecond" transferred_byte_in_second: i64,
    }
}

json_object! {
    /// A slave as it sees itself. `HARuntimeInfo.HAClientRuntimeInfo`.
    #[derive(Eq)]
    pub struct HAClientRuntimeInfo {
        /// Last read from its master, ms.
        "lastReadTimestamp" last_read_timestamp: i64,
        /// Last write to its master, ms.
        "lastWriteTimestamp" last_write_timestamp: i64,
        /// Its master.
        "masterAddr" master_addr: Option<String>,
        /// What its master flushed.
        "masterFlushOffset" master_flush_offset: i64,
        /// End of its log.
        "maxOffset" max_offset: i64,
        /// Rate.
        "transferredByteInSecond" transferred_byte_in_second: i64,
    }
}

json_object! {
    /// State of replication: answer to 907. `remoting/protocol/body/HARuntimeInfo`.
    #[derive(Eq)]
    pub struct HARuntimeInfo {
        /// For a slave.
        "haClientRuntimeInfo" ha_client_runtime_info: HAClientRuntimeInfo,
        /// For a master, its slaves.
        "haConnectionInfo" ha_connection_info: Vec<HAConnectionRuntimeInfo>,
        /// For a master, slaves in sync.
        "inSyncSlaveNums" in_sync_slave_nums: i32,
        /// Whether this is a master.
        "master" master: bool,
        /// For a master, the end of its log.
        "masterCommitLogMaxOffset" master_commit_log_max_offset: i64,
    }
}
