//! The keys that do what they say.

use engine::limits::{BODY_BYTES_MAX, SEGMENT_BYTES_MIN, WRITE_BUFFER_BYTES_MIN};

use super::super::limits::PULL_BYTES_MAX;
use super::{Class, Fallback, Key, Kind, Section, Step, Unit};
use crate::broker::limits::QUERY_MESSAGES_MAX;
use crate::namesrv::limits::{
    SCAN_INTERVAL_MS_MAX, SCAN_INTERVAL_MS_MIN, WAIT_FOR_SERVICE_SECONDS_MAX,
};

const MIB: i64 = 1024 * 1024;
const GIB: i64 = 1024 * MIB;
const HOUR_MS: i64 = 3_600_000;

const PORT: Kind = integer(0, 65_535, Unit::None);

const SCAN_INTERVAL: Kind =
    integer(SCAN_INTERVAL_MS_MIN as i64, SCAN_INTERVAL_MS_MAX as i64, Unit::Milliseconds);

const WAIT_FOR_SERVICE: Kind = integer(0, WAIT_FOR_SERVICE_SECONDS_MAX as i64, Unit::Seconds);

const fn integer(min: i64, max: i64, unit: Unit) -> Kind {
    Kind::Integer { min, max, step: Step::One, unit }
}

const fn bytes(min: u64, max: i64, step: Step) -> Kind {
    Kind::Integer { min: min as i64, max, step, unit: Unit::Bytes }
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, class: Class::Honoured, kind, default: Fallback::Fixed(default), doc }
}

const fn computed(name: &'static str, kind: Kind, how: &'static str, doc: &'static str) -> Key {
    Key { name, class: Class::Honoured, kind, default: Fallback::Computed(how), doc }
}

/// Keys that mean something else where there is no broker.
pub(super) const NAMESRV_ALONE: &[Key] = &[
    key("listenPort", PORT, "9876", "TCP port of the NameServer; 0 takes a free one"),
    computed(
        "kvConfigPath",
        Kind::Path,
        "namesrv/kvConfig.json in the home directory, as RocketMQ's",
        "file of the key-value configuration; beside it namesrv.properties, what is set over the wire",
    ),
];

#[rustfmt::skip] // A table: one row a key, its sentence below.
pub(super) const SECTIONS: &[Section] = &[
    Section { title: "Names and addresses", keys: &[
    computed("brokerName", Kind::Name, "the host name",
        "name under which clients know this broker; part of every route"),
    key("brokerClusterName", Kind::Name, "DefaultCluster",
        "name of the cluster that the broker belongs to"),
    key("regionId", Kind::Name, "DefaultRegion",
        "region told to producers with every send (MSG_REGION)"),
    key("bindAddress", Kind::Address, "127.0.0.1",
        "address to accept connections on, 0.0.0.0 for all (RocketMQ: 0.0.0.0)"),
    computed("brokerIP1", Kind::Address, "bindAddress; for 0.0.0.0 the address of the way out",
        "address that clients are told to connect to"),
    key("listenPort", PORT, "10911",
        "TCP port of the broker; 0 takes a free one"),
    key("ringmqNamesrvPort", PORT, "9876",
        "TCP port of the NameServer inside; 0 takes a free one"),
    key("namesrvAddr", Kind::Endpoints, "",
        "NameServers to register with beside the one inside; ringmq broker: if empty, NAMESRV_ADDR"),
    key("registerNameServerPeriod", integer(10_000, 60_000, Unit::Milliseconds), "30000",
        "time between registrations with the NameServers"),
    key("enableSplitRegistration", Kind::Boolean, "false",
        "register in parts; not with NameServers that have deleteTopicWithBrokerRegistration"),
    key("splitRegistrationSize", integer(2, 100_000, Unit::None), "800",
        "topics in one registration if enableSplitRegistration; what fits no frame is split anyway"),
    ] },

    Section { title: "The store", keys: &[
    key("storePathRootDir", Kind::Path, "./ringmq-store",
        "directory of the store (RocketMQ: ~/store)"),
    key("storePathCommitLog", Kind::Text, "",
        "the directory commitlog of storePathRootDir; any other refuses the start"),
    key("ringmqShards", integer(0, 256, Unit::None), "0",
        "shards: more can be added, none taken away; 0 is what there is, a new store's one per core"),
    key("ringmqCores", integer(0, 64, Unit::None), "0",
        "threads that run shards; 0 is all CPUs but one, which the control thread has"),
    key("ringmqSpinMicros", integer(0, 1000, Unit::Microseconds), "0",
        "how long a core without work looks for some before it sleeps; where the CPUs are its own"),
    key("mappedFileSizeCommitLog", bytes(SEGMENT_BYTES_MIN, 2 * GIB, Step::Of(MIB)), "1073741824",
        "size of a segment of the commit log"),
    key("flushDiskType", Kind::Choice(&["SYNC_FLUSH", "ASYNC_FLUSH"]), "SYNC_FLUSH",
        "whether a send is acknowledged after it is durable or before (RocketMQ: ASYNC_FLUSH)"),
    key("flushIntervalCommitLog", integer(1, 60_000, Unit::Milliseconds), "500",
        "with ASYNC_FLUSH, longest time that an acknowledged message is not durable"),
    key("syncFlushTimeout", integer(1, HOUR_MS, Unit::Milliseconds), "5000",
        "with SYNC_FLUSH, how long a send waits for the disk before it is answered code 10"),
    key("transientStorePoolEnable", Kind::Boolean, "false",
        "with ASYNC_FLUSH, acknowledge what is in memory only: a crash loses it"),
    key("ringmqWriteBufferBytes", bytes(WRITE_BUFFER_BYTES_MIN, 64 * GIB, Step::PowerOfTwo),
        "67108864",
        "size of the in-memory tail of each shard's commit log; consumers near the tail read it"),
    key("ringmqReadCacheBytes", bytes(8 << 20, 1024 * GIB, Step::Of(MIB)), "67108864",
        "size of each core's cache for consumers behind the tail"),
    ] },

    Section { title: "What is removed, and when", keys: &[
    key("fileReservedTime", integer(1, 1_000_000, Unit::Hours), "72",
        "age at which a segment may be removed: that of its newest message"),
    key("deleteWhen", Kind::Hours, "04",
        "hours of the day, local time, at which old segments are removed; as 04;16"),
    key("diskMaxUsedSpaceRatio", integer(10, 95, Unit::Percent), "75",
        "use of the disk above which old segments are removed at any hour"),
    key("diskSpaceCleanForciblyRatio", integer(30, 85, Unit::Percent), "85",
        "use of the disk above which the oldest segments are removed whatever their age"),
    key("cleanFileForciblyEnable", Kind::Boolean, "true",
        "whether they are; if not, the disk fills and sends are refused"),
    key("diskSpaceWarningLevelRatio", integer(35, 90, Unit::Percent), "90",
        "use of the disk above which sends get code 14, until it is at diskSpaceCleanForciblyRatio"),
    key("ringmqLogBytesMax", bytes(0, 1 << 50, Step::One), "0",
        "size of a shard's log above which its oldest segments are removed; 0 is no limit"),
    ] },

    Section { title: "Messages", keys: &[
    key("maxMessageSize", bytes(1024, BODY_BYTES_MAX as i64, Step::One), "4194304",
        "longest message body; a longer one is answered code 13"),
    key("messageDelayLevel", Kind::Delays,
        "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h",
        "delay of each level, from level 1"),
    key("rejectTransactionMessage", Kind::Boolean, "false",
        "refuse half messages with code 16"),
    key("transactionTimeOut", integer(1, 24 * HOUR_MS, Unit::Milliseconds), "6000",
        "how long a half message may wait for its producer's word before the producer is asked"),
    key("transactionCheckInterval", integer(10, 24 * HOUR_MS, Unit::Milliseconds), "30000",
        "how long until it is asked again, and after a start until anybody is asked"),
    key("transactionCheckMax", integer(1, 1_000_000, Unit::None), "15",
        "after so many checks a half message goes to TRANS_CHECK_MAX_TIME_TOPIC"),
    key("timerWheelEnable", Kind::Boolean, "true",
        "take messages that wait for a time of their own; if not, they are answered code 1"),
    key("timerMaxDelaySec", integer(1, 366 * 86_400, Unit::Seconds), "259200",
        "how far away that time may be; one beyond is answered code 13"),
    key("recallMessageEnable", Kind::Boolean, "false",
        "let producers call such messages back before their time"),
    key("allowRecallWhenBrokerNotWriteable", Kind::Boolean, "true",
        "also while brokerPermission forbids to write"),
    key("maxTransferCountOnMessageInMemory", integer(1, 1024, Unit::None), "32",
        "most messages of one pull answer"),
    key("maxTransferBytesOnMessageInMemory", bytes(4096, PULL_BYTES_MAX as i64, Step::One),
        "262144", "most bytes of one pull answer, unless its first message is longer"),
    key("messageIndexEnable", Kind::Boolean, "true",
        "note the keys of messages, so that they are found by them"),
    key("maxMsgsNumBatch", integer(1, QUERY_MESSAGES_MAX, Unit::None), "64",
        "most messages of an answer to a query by key"),
    key("defaultQueryMaxNum", integer(1, QUERY_MESSAGES_MAX, Unit::None), "32",
        "most messages of an answer to a query by unique key, and no more than maxMsgsNumBatch"),
    key("longPollingEnable", Kind::Boolean, "true",
        "let a pull wait for messages as long as its client asks"),
    key("shortPollingTimeMills", integer(1, 60_000, Unit::Milliseconds), "1000",
        "how long a pull waits when longPollingEnable is false"),
    key("enablePropertyFilter", Kind::Boolean, "true",
        "let consumers filter by SQL92 on the properties of messages (RocketMQ: false)"),
    key("filterSupportRetry", Kind::Boolean, "false",
        "filter messages sent back by what their group has for the topic that they came from"),
    key("ringmqCheckMessageType", Kind::Boolean, "false",
        "refuse messages that are not of their topic's message.type, as RocketMQ's proxy does"),
    ] },

    Section { title: "Topics and groups", keys: &[
    key("autoCreateTopicEnable", Kind::Boolean, "true",
        "create a topic when the first message for it arrives"),
    key("autoCreateSubscriptionGroup", Kind::Boolean, "true",
        "create a group when its first consumer arrives"),
    key("validateSystemTopicWhenUpdateTopic", Kind::Boolean, "true",
        "refuse to change or delete topics that every broker has"),
    key("enableMixedMessageType", Kind::Boolean, "false",
        "allow message.type=MIXED as attribute of a topic"),
    key("storeReplyMessageEnable", Kind::Boolean, "true",
        "store answers to request messages, beside pushing them to who asked"),
    key("useServerSideResetOffset", Kind::Boolean, "true",
        "reset offsets at the broker, whether consumers are online or not; otherwise by telling them"),
    key("defaultTopicQueueNums", integer(1, 1024, Unit::None), "8",
        "most queues of a topic that is created by sending to it"),
    key("brokerPermission", integer(0, 7, Unit::None), "6",
        "what clients may do here: 4 read, 2 write, 6 both"),
    key("traceTopicEnable", Kind::Boolean, "false",
        "create the topic for message traces"),
    key("msgTraceTopicName", Kind::Name, "RMQ_SYS_TRACE_TOPIC",
        "topic for message traces"),
    key("traceOn", Kind::Boolean, "true",
        "tell producers to write traces (TRACE_ON)"),
    ] },

    Section { title: "Connections and clients", keys: &[
    key("serverChannelMaxIdleTimeSeconds", integer(1, 86_400, Unit::Seconds), "120",
        "close a connection on which nothing happened for so long"),
    key("channelExpiredTimeout", integer(1000, 24 * HOUR_MS, Unit::Milliseconds), "120000",
        "forget a consumer that has sent no heartbeat for so long"),
    key("notifyConsumerIdsChangedEnable", Kind::Boolean, "true",
        "tell the members of a group when one comes or goes"),
    key("ringmqConnectionsMax", integer(1, 1_000_000, Unit::None), "10000",
        "most connections; one more is closed at once"),
    key("ringmqInFlightBytesPerCore", bytes(1 << 24, 64 * GIB, Step::One), "268435456",
        "bytes of requests arrived in part above which a connection that brings more is closed"),
    key("ringmqHttpPort", PORT, "0",
        "TCP port of bindAddress for /health/live, /health/ready and /metrics; 0 is none"),
    key("metricsExporterType", Kind::Choice(&["DISABLE", "PROM", "OTLP_GRPC", "LOG"]), "DISABLE",
        "PROM: the same on metricsPromExporterPort, for Prometheus; the last two export nothing yet"),
    key("metricsPromExporterPort", PORT, "5557",
        "with PROM, its TCP port; 0 takes a free one"),
    computed("metricsPromExporterHost", Kind::Address, "bindAddress (RocketMQ: brokerIP1)",
        "with PROM, the address to accept connections on"),
    key("ringmqLogLevel", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), "info",
        "how much to log"),
    ] },

    Section { title: "The NameServer", keys: &[
    key("scanNotActiveBrokerInterval", SCAN_INTERVAL, "5000",
        "time between looks for brokers that have gone silent"),
    key("orderMessageEnable", Kind::Boolean, "false",
        "put the order configuration of a topic in its route"),
    key("returnOrderTopicConfigToBroker", Kind::Boolean, "true",
        "answer a registration with the topics that are ordered"),
    key("deleteTopicWithBrokerRegistration", Kind::Boolean, "false",
        "forget the topics that a registration leaves out; harmful with brokers of 5.x"),
    key("supportActingMaster", Kind::Boolean, "false",
        "show the smallest replica of a broker without master as id 0"),
    key("enableAllTopicList", Kind::Boolean, "true",
        "answer request code 206"),
    key("enableTopicList", Kind::Boolean, "true",
        "answer request codes 224, 311, 312 and 313"),
    key("needWaitForService", Kind::Boolean, "false",
        "answer route requests with code 1 for the first waitSecondsForService"),
    key("waitSecondsForService", WAIT_FOR_SERVICE, "45",
        "how long needWaitForService holds"),
    computed("kvConfigPath", Kind::Path, "namesrv/kvConfig.json in storePathRootDir",
        "file of the NameServer's key-value configuration (RocketMQ: ~/namesrv/kvConfig.json)"),
    ] },
];
