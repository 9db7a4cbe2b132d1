//! The numbers in a command's `code`: what a request asks for and how a response ends.
//!
//! Read from Apache's `RequestCode`, `ResponseCode` and `RemotingSysResponseCode`
//! (`remoting/protocol`, 5.3.3). C is a client, B a broker, N a NameServer, A an admin tool,
//! K a controller; "5.3.3 handles it nowhere" means that such a request is answered with
//! [`response::REQUEST_CODE_NOT_SUPPORTED`].

/// One table gives the constants, [`request::name`] and [`request::ALL`], so that they cannot
/// differ.
macro_rules! codes {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub const $name: i32 = $value;
        )*

        /// Every code with its name, in ascending order.
        pub const ALL: &[(i32, &str)] = &[$(($value, stringify!($name)),)*];

        /// Apache's name of `code`, or `None` if 5.3.3 does not know it.
        pub fn name(code: i32) -> Option<&'static str> {
            let index = ALL.binary_search_by_key(&code, |entry| entry.0).ok()?;
            ALL.get(index).map(|entry| entry.1)
        }
    };
}

/// What a request asks for.
pub mod request {
    codes! {
        SEND_MESSAGE = 10, "C→B: send one message, long header names.";
        PULL_MESSAGE = 11, "C→B: pull a batch from one queue, long polling.";
        QUERY_MESSAGE = 12, "C/A→B: find messages by key or unique key through the index.";
        QUERY_BROKER_OFFSET = 13, "5.3.3 handles it nowhere.";
        QUERY_CONSUMER_OFFSET = 14, "C→B: read a committed offset.";
        UPDATE_CONSUMER_OFFSET = 15, "C→B: commit an offset, usually oneway.";
        UPDATE_AND_CREATE_TOPIC = 17, "A/C→B: create or change one topic.";
        UPDATE_AND_CREATE_TOPIC_LIST = 18, "A→B: create or change several topics.";
        GET_ALL_TOPIC_CONFIG = 21, "A/B→B: all topic configurations.";
        GET_TOPIC_CONFIG_LIST = 22, "5.3.3 handles it nowhere.";
        GET_TOPIC_NAME_LIST = 23, "5.3.3 handles it nowhere.";
        UPDATE_BROKER_CONFIG = 25, "A→B: change configuration at run time.";
        GET_BROKER_CONFIG = 26, "A→B: the configuration as properties text.";
        TRIGGER_DELETE_FILES = 27, "5.3.3 handles it nowhere.";
        GET_BROKER_RUNTIME_INFO = 28, "A→B: the table of run-time figures.";
        SEARCH_OFFSET_BY_TIMESTAMP = 29, "C/A→B: queue offset by store time.";
        GET_MAX_OFFSET = 30, "C/A→B: next offset to be written in a queue.";
        GET_MIN_OFFSET = 31, "C/A→B: lowest offset kept in a queue.";
        GET_EARLIEST_MSG_STORETIME = 32, "C/A→B: store time of a queue's first message.";
        VIEW_MESSAGE_BY_ID = 33, "C/A→B: read the message at a commit log offset.";
        HEART_BEAT = 34, "C→B: register producers and consumers.";
        UNREGISTER_CLIENT = 35, "C→B: leave.";
        CONSUMER_SEND_MSG_BACK = 36, "C→B: retry a message later, or move it to the dead letters.";
        END_TRANSACTION = 37, "C→B: commit or roll back a half message, oneway.";
        GET_CONSUMER_LIST_BY_GROUP = 38, "C→B: client ids of a group, for rebalance in the client.";
        CHECK_TRANSACTION_STATE = 39, "B→C, oneway: ask a producer for a transaction's state.";
        NOTIFY_CONSUMER_IDS_CHANGED = 40, "B→C, oneway: rebalance now.";
        LOCK_BATCH_MQ = 41, "C→B, B→B: lock queues for orderly consumption.";
        UNLOCK_BATCH_MQ = 42, "C→B, B→B: unlock them.";
        GET_ALL_CONSUMER_OFFSET = 43, "B→B, A→B: all consumer offsets.";
        GET_ALL_DELAY_OFFSET = 45, "B→B: progress of every delay level.";
        CHECK_CLIENT_CONFIG = 46, "C→B: check a filter expression before a consumer starts.";
        GET_CLIENT_CONFIG = 47, "5.3.3 handles it nowhere.";
        GET_TIMER_CHECK_POINT = 60, "B→B: the timer's checkpoint.";
        GET_TIMER_METRICS = 61, "B→B: the timer's metrics.";
        PUT_KV_CONFIG = 100, "A→N: set a key of a namespace.";
        GET_KV_CONFIG = 101, "A/C→N: read a key of a namespace.";
        DELETE_KV_CONFIG = 102, "A→N: delete a key of a namespace.";
        REGISTER_BROKER = 103, "B→N: full or incremental registration.";
        UNREGISTER_BROKER = 104, "B→N: leave.";
        GET_ROUTEINFO_BY_TOPIC = 105, "C/A/B→N: the route of a topic.";
        GET_BROKER_CLUSTER_INFO = 106, "A/C→N: all clusters and brokers.";
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200, "A→B: create or change one group.";
        GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201, "A/B→B: all group configurations.";
        GET_TOPIC_STATS_INFO = 202, "A→B: lowest and highest offset of each queue of a topic.";
        GET_CONSUMER_CONNECTION_LIST = 203, "A→B: who consumes in a group.";
        GET_PRODUCER_CONNECTION_LIST = 204, "A→B: who produces in a group.";
        WIPE_WRITE_PERM_OF_BROKER = 205, "A→N: take the write permission from a broker's topics.";
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206, "A/C→N: the names of all topics.";
        DELETE_SUBSCRIPTIONGROUP = 207, "A→B: delete a group.";
        GET_CONSUME_STATS = 208, "A→B: how far a group is behind, per queue.";
        SUSPEND_CONSUMER = 209, "5.3.3 handles it nowhere.";
        RESUME_CONSUMER = 210, "5.3.3 handles it nowhere.";
        RESET_CONSUMER_OFFSET_IN_CONSUMER = 211, "5.3.3 handles it nowhere.";
        RESET_CONSUMER_OFFSET_IN_BROKER = 212, "5.3.3 handles it nowhere.";
        ADJUST_CONSUMER_THREAD_POOL = 213, "5.3.3 handles it nowhere.";
        WHO_CONSUME_THE_MESSAGE = 214, "5.3.3 handles it nowhere.";
        DELETE_TOPIC_IN_BROKER = 215, "A→B: delete a topic.";
        DELETE_TOPIC_IN_NAMESRV = 216, "A→N: forget a topic's route.";
        REGISTER_TOPIC_IN_NAMESRV = 217, "B→N: register the queues of one topic.";
        GET_KVLIST_BY_NAMESPACE = 219, "A→N: all keys of a namespace.";
        RESET_CONSUMER_CLIENT_OFFSET = 220, "B→C, oneway: new offsets for a consumer.";
        GET_CONSUMER_STATUS_FROM_CLIENT = 221, "B→C: the offsets a consumer holds.";
        INVOKE_BROKER_TO_RESET_OFFSET = 222, "A→B: reset a group's offsets.";
        INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223, "A→B: ask consumers for their offsets.";
        GET_TOPICS_BY_CLUSTER = 224, "A→N: the topics of a cluster.";
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225, "A→B: create or change several groups.";
        QUERY_TOPIC_CONSUME_BY_WHO = 300, "A→B: the groups that consume a topic.";
        REGISTER_FILTER_SERVER = 301, "Removed in 5.x: handled nowhere.";
        REGISTER_MESSAGE_FILTER_CLASS = 302, "Removed in 5.x: handled nowhere.";
        QUERY_CONSUME_TIME_SPAN = 303, "A→B: first, last and consumed times of each queue.";
        GET_SYSTEM_TOPIC_LIST_FROM_NS = 304, "A→N: cluster and broker names, which are topics too.";
        GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305, "A→B: system topics.";
        CLEAN_EXPIRED_CONSUMEQUEUE = 306, "A→B: delete expired consume queues now.";
        GET_CONSUMER_RUNNING_INFO = 307, "A→B→C: what a consumer is doing, relayed.";
        QUERY_CORRECTION_OFFSET = 308, "A→B: lowest offset of other groups, per queue.";
        CONSUME_MESSAGE_DIRECTLY = 309, "A→B→C: consume one message now, relayed.";
        SEND_MESSAGE_V2 = 310, "C→B: send one message, one-letter header names.";
        GET_UNIT_TOPIC_LIST = 311, "A→N: unit topics.";
        GET_HAS_UNIT_SUB_TOPIC_LIST = 312, "A→N: topics with unit subscriptions.";
        GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313, "A→N: those of them that are not unit topics.";
        CLONE_GROUP_OFFSET = 314, "A→B: copy offsets from one group to another.";
        VIEW_BROKER_STATS_DATA = 315, "A→B: one counter over a minute, an hour, a day.";
        CLEAN_UNUSED_TOPIC = 316, "A→B: delete the data of topics that no longer exist.";
        GET_BROKER_CONSUME_STATS = 317, "A→B: how far every group is behind.";
        UPDATE_NAMESRV_CONFIG = 318, "A→N: change configuration at run time.";
        GET_NAMESRV_CONFIG = 319, "A→N: the configuration as properties text.";
        SEND_BATCH_MESSAGE = 320, "C→B: send several messages, one-letter header names.";
        QUERY_CONSUME_QUEUE = 321, "A→B: raw consume queue entries.";
        QUERY_DATA_VERSION = 322, "B→N: is my registration current? Also a heartbeat.";
        RESUME_CHECK_HALF_MESSAGE = 323, "A→B: check a given-up half message again.";
        SEND_REPLY_MESSAGE = 324, "C→B: answer a request message, long header names.";
        SEND_REPLY_MESSAGE_V2 = 325, "C→B: answer a request message, one-letter header names.";
        PUSH_REPLY_MESSAGE_TO_CLIENT = 326, "B→C: deliver such an answer.";
        ADD_WRITE_PERM_OF_BROKER = 327, "A→N: give a broker's topics the write permission back.";
        GET_ALL_PRODUCER_INFO = 328, "A→B: all producers.";
        DELETE_EXPIRED_COMMITLOG = 329, "A→B: delete expired commit log files now.";
        QUERY_TOPICS_BY_CONSUMER = 343, "A→B: the topics a group has offsets for.";
        QUERY_SUBSCRIPTION_BY_CONSUMER = 345, "A→B: a group's subscription to a topic.";
        GET_TOPIC_CONFIG = 351, "A→B, B→B: one topic configuration.";
        GET_SUBSCRIPTIONGROUP_CONFIG = 352, "A→B: one group configuration.";
        UPDATE_AND_GET_GROUP_FORBIDDEN = 353, "A→B: forbid or allow a group to read a topic.";
        CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354, "A→B: compare RocksDB's consume queues with files.";
        EXPORT_ROCKSDB_CONFIG_TO_JSON = 355, "A→B: export configuration kept in RocksDB.";
        LITE_PULL_MESSAGE = 361, "C→B: as PULL_MESSAGE, in a thread pool of its own.";
        RECALL_MESSAGE = 370, "C→B: cancel a timer message.";
        QUERY_ASSIGNMENT = 400, "C→B: rebalance in the broker, for POP consumers.";
        SET_MESSAGE_REQUEST_MODE = 401, "A→B: PULL or POP for a topic and group.";
        GET_ALL_MESSAGE_REQUEST_MODE = 402, "B→B: all such modes.";
        UPDATE_AND_CREATE_STATIC_TOPIC = 513, "A→B: create or change a static topic.";
        GET_BROKER_MEMBER_GROUP = 901, "B→N: the replicas of one broker name.";
        ADD_BROKER = 902, "A→broker container: start a broker.";
        REMOVE_BROKER = 903, "A→broker container: stop a broker.";
        BROKER_HEARTBEAT = 904, "B→N, B→K: still alive.";
        NOTIFY_MIN_BROKER_ID_CHANGE = 905, "N→B, oneway: the smallest live broker id changed.";
        EXCHANGE_BROKER_HA_INFO = 906, "B→B: addresses and offsets for replication.";
        GET_BROKER_HA_STATUS = 907, "A→B: state of replication.";
        RESET_MASTER_FLUSH_OFFSET = 908, "A→B: set the flush offset of a slave's master.";
        CONTROLLER_ALTER_SYNC_STATE_SET = 1001, "B→K: change the set of replicas in sync.";
        CONTROLLER_ELECT_MASTER = 1002, "B/A→K: elect a master.";
        CONTROLLER_REGISTER_BROKER = 1003, "B→K: register.";
        CONTROLLER_GET_REPLICA_INFO = 1004, "B→K: who is master.";
        CONTROLLER_GET_METADATA_INFO = 1005, "B/A→K: who leads the controllers.";
        CONTROLLER_GET_SYNC_STATE_DATA = 1006, "A→K: replicas in sync.";
        GET_BROKER_EPOCH_CACHE = 1007, "A→B: master epochs and where they begin.";
        NOTIFY_BROKER_ROLE_CHANGED = 1008, "K→B: be master or slave.";
        UPDATE_CONTROLLER_CONFIG = 1009, "A→K: change configuration at run time.";
        GET_CONTROLLER_CONFIG = 1010, "A→K: the configuration as properties text.";
        CLEAN_BROKER_DATA = 1011, "A→K: forget a broker.";
        CONTROLLER_GET_NEXT_BROKER_ID = 1012, "B→K: the next free broker id.";
        CONTROLLER_APPLY_BROKER_ID = 1013, "B→K: claim a broker id.";
        BROKER_CLOSE_CHANNEL_REQUEST = 1014, "K→K: a broker's connection closed (jRaft).";
        CHECK_NOT_ACTIVE_BROKER_REQUEST = 1015, "K→K: look for silent brokers (jRaft).";
        GET_BROKER_LIVE_INFO_REQUEST = 1016, "K→K: which brokers live (jRaft).";
        GET_SYNC_STATE_DATA_REQUEST = 1017, "K→K: replicas in sync (jRaft).";
        RAFT_BROKER_HEART_BEAT_EVENT_REQUEST = 1018, "K→K: a broker's heartbeat (jRaft).";
        UPDATE_COLD_DATA_FLOW_CTR_CONFIG = 2001, "A→B: limit a group's reads of cold data.";
        REMOVE_COLD_DATA_FLOW_CTR_CONFIG = 2002, "A→B: remove such a limit.";
        GET_COLD_DATA_FLOW_CTR_INFO = 2003, "A→B: the limits and how they are used.";
        SET_COMMITLOG_READ_MODE = 2004, "A→B: read-ahead advice for the commit log.";
        AUTH_CREATE_USER = 3001, "A→B: create a user.";
        AUTH_UPDATE_USER = 3002, "A→B: change a user.";
        AUTH_DELETE_USER = 3003, "A→B: delete a user.";
        AUTH_GET_USER = 3004, "A→B: one user.";
        AUTH_LIST_USER = 3005, "A→B: all users.";
        AUTH_CREATE_ACL = 3006, "A→B: create an access rule.";
        AUTH_UPDATE_ACL = 3007, "A→B: change an access rule.";
        AUTH_DELETE_ACL = 3008, "A→B: delete an access rule.";
        AUTH_GET_ACL = 3009, "A→B: the access rules of a subject.";
        AUTH_LIST_ACL = 3010, "A→B: all access rules.";
        POP_MESSAGE = 200050, "C→B: take messages. Too large for the binary header.";
        ACK_MESSAGE = 200051, "C→B: acknowledge one popped message.";
        PEEK_MESSAGE = 200052, "C→B: read without taking.";
        CHANGE_MESSAGE_INVISIBLETIME = 200053, "C→B: keep a popped message for longer.";
        NOTIFICATION = 200054, "C→B: long poll for \"is there something to pop\".";
        POLLING_INFO = 200055, "A→B: how many pop requests wait.";
        POP_ROLLBACK = 200056, "A→B: move pop records from the key-value store back to files.";
        BATCH_ACK_MESSAGE = 200151, "C→B: acknowledge many popped messages.";
    }
}

/// How a response ends.
pub mod response {
    codes! {
        RPC_TIME_OUT = -1006, "Broker-to-broker call: no answer in time. Never on the wire.";
        RPC_SEND_TO_CHANNEL_FAILED = -1004, "Broker-to-broker call: not sent. Never on the wire.";
        RPC_ADDR_IS_NULL = -1002, "Broker-to-broker call: no address known. Never on the wire.";
        RPC_UNKNOWN = -1000, "Broker-to-broker call: anything else. Never on the wire.";
        SUCCESS = 0, "Done.";
        SYSTEM_ERROR = 1, "Generic failure; also what an exception in a handler becomes.";
        SYSTEM_BUSY = 2, "Flow control: clients retry.";
        REQUEST_CODE_NOT_SUPPORTED = 3, "Nobody handles this request code.";
        TRANSACTION_FAILED = 4, "Unused.";
        FLUSH_DISK_TIMEOUT = 10, "Stored, but not synced in time; counts as sent.";
        SLAVE_NOT_AVAILABLE = 11, "Sent to a slave; on a send: stored, but no slave has it.";
        FLUSH_SLAVE_TIMEOUT = 12, "Stored, but no slave confirmed in time; counts as sent.";
        MESSAGE_ILLEGAL = 13, "Too large, or a forbidden combination. Final.";
        SERVICE_NOT_AVAILABLE = 14, "The store takes no writes: shut down, slave, disk full.";
        VERSION_NOT_SUPPORTED = 15, "Unused.";
        NO_PERMISSION = 16, "Broker, topic or group lacks the permission.";
        TOPIC_NOT_EXIST = 17, "No route at the NameServer, or no configuration at the broker.";
        TOPIC_EXIST_ALREADY = 18, "Unused.";
        PULL_NOT_FOUND = 19, "No new message at that offset.";
        PULL_RETRY_IMMEDIATELY = 20, "Nothing matched the filter: pull again at nextBeginOffset.";
        PULL_OFFSET_MOVED = 21, "Offset outside the queue, or reset: take nextBeginOffset.";
        QUERY_NOT_FOUND = 22, "No consumer offset, key or message.";
        SUBSCRIPTION_PARSE_FAILED = 23, "The filter expression does not compile.";
        SUBSCRIPTION_NOT_EXIST = 24, "No heartbeat brought a subscription to this topic.";
        SUBSCRIPTION_NOT_LATEST = 25, "The broker's subscription is older than the pull's.";
        SUBSCRIPTION_GROUP_NOT_EXIST = 26, "No configuration of this group.";
        FILTER_DATA_NOT_EXIST = 27, "SQL filter not registered.";
        FILTER_DATA_NOT_LATEST = 28, "SQL filter older than the pull's.";
        INVALID_PARAMETER = 29, "Illegal topic name, queue id out of range, and the like. Final.";
        TRANSACTION_SHOULD_COMMIT = 200, "Unused.";
        TRANSACTION_SHOULD_ROLLBACK = 201, "Unused.";
        TRANSACTION_STATE_UNKNOW = 202, "Unused.";
        TRANSACTION_STATE_GROUP_WRONG = 203, "Unused.";
        NO_BUYER_ID = 204, "Unused by servers.";
        NOT_IN_CURRENT_UNIT = 205, "Unused by servers.";
        CONSUMER_NOT_ONLINE = 206, "No member of the group is connected.";
        CONSUME_MSG_TIMEOUT = 207, "A call from the broker to a client got no answer in time.";
        NO_MESSAGE = 208, "Acknowledged offset outside the queue, or an empty batch.";
        POLLING_FULL = 209, "Too many pop requests wait already.";
        POLLING_TIMEOUT = 210, "A pop ended without a message.";
        BROKER_NOT_EXIST = 211, "No such broker.";
        BROKER_DISPATCH_NOT_COMPLETE = 212, "Consume queues do not cover the log yet.";
        BROADCAST_CONSUMPTION = 213, "Not for a broadcasting group; used inside tools.";
        FLOW_CONTROL = 215, "The proxy's flow control.";
        NOT_LEADER_FOR_QUEUE = 501, "Static topic: the queue is led elsewhere.";
        ILLEGAL_OPERATION = 604, "Commit after the immunity time, or a bad recall handle.";
        GO_AWAY = 1500, "Graceful shutdown; Java clients from 5.3.2 reconnect and retry once.";
        CONTROLLER_FENCED_MASTER_EPOCH = 2000, "Controller: master epoch out of date.";
        CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH = 2001, "Controller: sync-state epoch out of date.";
        CONTROLLER_INVALID_MASTER = 2002, "Controller: not the master.";
        CONTROLLER_INVALID_REPLICAS = 2003, "Controller: unknown replicas.";
        CONTROLLER_MASTER_NOT_AVAILABLE = 2004, "Controller: no master.";
        CONTROLLER_INVALID_REQUEST = 2005, "Controller: malformed request.";
        CONTROLLER_BROKER_NOT_ALIVE = 2006, "Controller: broker not alive.";
        CONTROLLER_NOT_LEADER = 2007, "Controller: not the leading controller.";
        CONTROLLER_BROKER_METADATA_NOT_EXIST = 2008, "Controller: broker unknown.";
        CONTROLLER_INVALID_CLEAN_BROKER_METADATA = 2009, "Controller: broker cannot be forgotten.";
        CONTROLLER_BROKER_NEED_TO_BE_REGISTERED = 2010, "Controller: register first.";
        CONTROLLER_MASTER_STILL_EXIST = 2011, "Controller: the master lives.";
        CONTROLLER_ELECT_MASTER_FAILED = 2012, "Controller: no master could be elected.";
        CONTROLLER_ALTER_SYNC_STATE_SET_FAILED = 2013, "Controller: replicas in sync not changed.";
        CONTROLLER_BROKER_ID_INVALID = 2014, "Controller: broker id taken.";
        CONTROLLER_JRAFT_INTERNAL_ERROR = 2015, "Controller: jRaft failed.";
        CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS = 2016, "Controller: broker never seen alive.";
        USER_NOT_EXIST = 3001, "No such user.";
        POLICY_NOT_EXIST = 3002, "No such access rule.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_apaches() {
        assert_eq!(request::name(request::SEND_MESSAGE_V2), Some("SEND_MESSAGE_V2"));
        assert_eq!(request::name(200151), Some("BATCH_ACK_MESSAGE"));
        assert_eq!(request::name(9999), None);
        assert_eq!(response::name(-1006), Some("RPC_TIME_OUT"));
        assert_eq!(response::name(29), Some("INVALID_PARAMETER"));
        assert_eq!(response::name(30), None);
    }

    /// `name` searches by halving, which an unsorted table would break silently.
    #[test]
    fn tables_ascend() {
        for table in [request::ALL, response::ALL] {
            assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
