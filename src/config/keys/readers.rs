//! Who reads a key: the broker, unless it stands here; and whose value is shown.

use crate::config::Program;

/// Keys that only a NameServer reads: `NamesrvConfig` without what `BrokerConfig` has as well.
const NAMESRV: &[&str] = &[
    "clientRequestThreadPoolNums",
    "clientRequestThreadPoolQueueCapacity",
    "clusterTest",
    "configStorePath",
    "defaultThreadPoolNums",
    "defaultThreadPoolQueueCapacity",
    "deleteTopicWithBrokerRegistration",
    "enableAllTopicList",
    "enableControllerInNamesrv",
    "enableTopicList",
    "kvConfigPath",
    "needWaitForService",
    "notifyMinBrokerIdChanged",
    "orderMessageEnable",
    "productEnvName",
    "returnOrderTopicConfigToBroker",
    "scanNotActiveBrokerInterval",
    "supportActingMaster",
    "unRegisterBrokerQueueCapacity",
    "waitSecondsForService",
    // Of the controller in a NameServer: `ControllerConfig`, `JraftConfig`.
    "controllerType",
    "controllerDLegerGroup",
    "controllerDLegerPeers",
    "controllerDLegerSelfId",
    "controllerStorePath",
    "controllerThreadPoolNums",
    "controllerRequestThreadPoolQueueCapacity",
    "mappedFileSize",
    "electMasterMaxRetryCount",
    "enableElectUncleanMaster",
    "processReadEvent",
    "notifyBrokerRoleChanged",
    "scanInactiveMasterInterval",
    "jRaftElectionTimeoutMs",
    "jRaftScanWaitTimeoutMs",
    "jRaftSnapshotIntervalSecs",
    "jRaftGroupId",
    "jRaftServerId",
    "jRaftInitConf",
    "jRaftControllerRPCAddr",
];

/// Keys that both read: what is in `NamesrvConfig` and `BrokerConfig`, then `NettyServerConfig`,
/// then `NettyClientConfig`, then ours. Those that begin with `tls.` are read by both, too.
const BOTH: &[&str] = &[
    "rocketmqHome",
    "configBlackList",
    "bindAddress",
    "listenPort",
    "serverWorkerThreads",
    "serverSelectorThreads",
    "serverOnewaySemaphoreValue",
    "serverCallbackExecutorThreads",
    "serverAsyncSemaphoreValue",
    "serverChannelMaxIdleTimeSeconds",
    "serverSocketSndBufSize",
    "serverSocketRcvBufSize",
    "serverSocketBacklog",
    "serverPooledByteBufAllocatorEnable",
    "serverNettyWorkerGroupEnable",
    "useEpollNativeSelector",
    "writeBufferLowWaterMark",
    "writeBufferHighWaterMark",
    "enableShutdownGracefully",
    "shutdownWaitTimeSeconds",
    "clientCloseSocketIfTimeout",
    "clientWorkerThreads",
    "clientOnewaySemaphoreValue",
    "connectTimeoutMillis",
    "clientCallbackExecutorThreads",
    "channelNotActiveInterval",
    "clientAsyncSemaphoreValue",
    "clientChannelMaxIdleTimeSeconds",
    "clientSocketSndBufSize",
    "clientSocketRcvBufSize",
    "clientPooledByteBufAllocatorEnable",
    "disableCallbackExecutor",
    "disableNettyWorkerGroup",
    "maxReconnectIntervalTimeSeconds",
    "enableReconnectForGoAway",
    "scanAvailableNameSrv",
    "socksProxyConfig",
    "useTLS",
    "tlsEnable",
    "ringmqConnectionsMax",
    "ringmqHttpPort",
    "ringmqLogLevel",
];

/// The one key that needs both in one process.
const SERVER: &str = "ringmqNamesrvPort";

/// RocketMQ's `@ImportantField`s, which `-m` prints; beside them all of ours.
const IMPORTANT: &[&str] = &[
    "brokerName",
    "brokerClusterName",
    "brokerId",
    "namesrvAddr",
    "listenPort",
    "brokerIP1",
    "recoverConcurrently",
    "autoCreateTopicEnable",
    "autoCreateSubscriptionGroup",
    "msgTraceTopicName",
    "traceTopicEnable",
    "rejectTransactionMessage",
    "fetchNameSrvAddrByDnsLookup",
    "fetchNamesrvAddrByAddressServer",
    "transactionTimeOut",
    "transactionCheckMax",
    "transactionCheckInterval",
    "aclEnable",
    "storePathRootDir",
    "storePathCommitLog",
    "storePathDLedgerCommitLog",
    "storePathEpochFile",
    "storePathBrokerIdentity",
    "disappearTimeAfterStart",
    "storeType",
    "flushIntervalCommitLog",
    "commitIntervalCommitLog",
    "flushCommitLogTimed",
    "deleteWhen",
    "fileReservedTime",
    "deleteFileBatchMax",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInMemory",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferCountOnMessageInDisk",
    "accessMessageInMemoryMaxRatio",
    "messageIndexEnable",
    "messageIndexSafe",
    "haMasterAddress",
    "brokerRole",
    "flushDiskType",
    "cleanFileForciblyEnable",
    "transientStorePoolEnable",
    "dispatchFromSenderThread",
    "wakeCommitWhenPutMessage",
    "wakeFlushWhenPutMessage",
    "enableCleanExpiredOffset",
    "totalReplicas",
    "inSyncReplicas",
    "minInSyncReplicas",
    "allAckInSyncStateSet",
    "enableAutoInSyncReplicas",
    "haFlowControlEnable",
];

/// Keys whose values are nobody's business who reads a log.
const SECRET: &[&str] = &[
    "initAuthenticationUser",
    "innerClientAuthenticationCredentials",
    "metricsGrpcExporterHeader",
    "tls.client.keyPassword",
    "tls.server.keyPassword",
];

/// Whether a program reads a key of the table.
pub(super) fn reads(program: Program, key: &str) -> bool {
    if key == SERVER {
        program == Program::Server
    } else if NAMESRV.contains(&key) {
        program.has_name_server()
    } else {
        program.has_broker() || BOTH.contains(&key) || key.starts_with("tls.")
    }
}

/// The file that a key belongs to.
pub(super) fn home(key: &str) -> &'static str {
    match key {
        SERVER => "the configuration of ringmq server; ringmq namesrv has listenPort",
        _ if NAMESRV.contains(&key) => "namesrv.conf",
        _ => "broker.conf",
    }
}

/// Whether `-m` prints a key.
pub(super) fn is_important(key: &str) -> bool {
    IMPORTANT.contains(&key) || key.starts_with("ringmq")
}

/// Whether the value of a key stays out of logs and messages.
pub(super) fn is_secret(key: &str) -> bool {
    SECRET.contains(&key)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::find;
    use super::*;

    #[test]
    fn every_name_here_is_a_key_and_stands_in_a_list_once() {
        let mut readers = HashSet::new();
        for name in NAMESRV.iter().chain(BOTH).chain(&[SERVER]) {
            assert!(find(Program::Server, name).is_some(), "{name}");
            assert!(readers.insert(name), "{name} stands twice");
        }
        for name in IMPORTANT.iter().chain(SECRET) {
            assert!(find(Program::Broker, name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_server_reads_what_broker_and_name_server_read() {
        for key in super::super::of(Program::Server) {
            let alone = [Program::Broker, Program::Namesrv];
            let is_read = alone.iter().any(|program| find(*program, key.name).is_some());
            assert!(is_read || key.name == SERVER, "{}", key.name);
        }
    }
}
