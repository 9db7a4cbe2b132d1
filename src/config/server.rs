//! The configuration of each program: plain data, and the relations that its values keep.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Place};
use super::host::{Host, NAME_SERVERS_VARIABLE};
use super::program::Program;
use crate::broker::TransactionSettings;
use engine::retention::Retention;

use super::keys::{self, Class};
use super::notice::Notice;
use super::settings::{Effective, Settings};
use super::value::{Endpoint, Value};
use crate::namesrv::NameServerConfig;
use crate::router::limits::CORES_MAX;

/// When a send is acknowledged, and what that survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// `SYNC_FLUSH`: durable; survives a loss of power.
    Sync,
    /// `ASYNC_FLUSH`: written; survives a crash of the process.
    Async,
    /// `ASYNC_FLUSH` with `transientStorePoolEnable`: appended in memory; survives nothing.
    Memory,
}

/// A NameServer on a thread of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServerOptions {
    /// Where it accepts connections.
    pub listen: IpAddr,
    /// Its port; 0 takes a free one.
    pub port: u16,
    /// `ringmqConnectionsMax`.
    pub connections_max: u32,
    /// `serverChannelMaxIdleTimeSeconds`.
    pub connection_idle_ms: u64,
    /// `kvConfigPath`: the file of its key-value configuration.
    pub key_values_path: PathBuf,
    /// The file of what is set at it over the wire.
    pub settings_path: PathBuf,
    /// What it does.
    pub settings: NameServerConfig,
}

/// Everything that `ringmq server` and `ringmq broker` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// `brokerName`.
    pub broker_name: String,
    /// `brokerClusterName`.
    pub cluster_name: String,
    /// `regionId`.
    pub region_id: String,
    /// Where broker and NameServer accept connections.
    pub listen: IpAddr,
    /// What clients are told to connect to; never unspecified.
    pub advertise: IpAddr,
    /// Port of the broker; 0 takes a free one.
    pub broker_port: u16,
    /// The NameServer in this process, if there is one.
    pub name_server: Option<NameServerOptions>,
    /// NameServers to register with; not the one in this process.
    pub name_servers: Vec<Endpoint>,
    /// `registerNameServerPeriod`.
    pub register_period_ms: u64,
    /// Most topics in one registration: `splitRegistrationSize`; `None` without
    /// `enableSplitRegistration`.
    pub registration_topics_max: Option<usize>,

    /// Directory of the store, as given.
    pub store: PathBuf,
    /// Shards of a new store; `None` leaves it to the number of cores.
    pub shard_count: Option<u16>,
    /// Threads that run shards.
    pub core_count: u16,
    /// How long a core without work looks for some before it parks, µs.
    pub spin_us: u64,
    /// Size of a segment; a multiple of 1 MiB.
    pub segment_bytes: u64,
    /// When a send is acknowledged.
    pub flush: FlushMode,
    /// `flushIntervalCommitLog`.
    pub flush_interval_ms: u64,
    /// `syncFlushTimeout`.
    pub sync_flush_timeout_ms: u64,
    /// In-memory tail of each shard's log; a power of two.
    pub write_buffer_bytes: u64,
    /// Read cache of each core; a multiple of 1 MiB.
    pub read_cache_bytes: u64,

    /// `maxMessageSize`.
    pub message_bytes_max: usize,
    /// Delay of level 1, level 2 and so on; never empty.
    pub delay_levels_ms: Vec<u64>,
    /// `rejectTransactionMessage`, `transactionTimeOut` and what else is about half messages.
    pub transactions: TransactionSettings,
    /// `timerWheelEnable`.
    pub timer_wheel: bool,
    /// `timerMaxDelaySec`, ms.
    pub timer_delay_ms_max: u64,
    /// `recallMessageEnable`.
    pub recall: bool,
    /// `allowRecallWhenBrokerNotWriteable`.
    pub recall_when_read_only: bool,
    /// Most messages of a pull answer.
    pub pull_messages_max: u32,
    /// Most bytes of a pull answer, unless its first message is longer.
    pub pull_bytes_max: u32,
    /// `messageIndexEnable`.
    pub message_index: bool,
    /// `maxMsgsNumBatch`.
    pub query_messages_max: usize,
    /// `defaultQueryMaxNum`.
    pub unique_query_messages_max: usize,
    /// `enablePropertyFilter`.
    pub property_filter: bool,
    /// `filterSupportRetry`.
    pub filter_retries: bool,
    /// `ringmqCheckMessageType`.
    pub check_message_type: bool,
    /// `longPollingEnable`.
    pub long_polling: bool,
    /// `shortPollingTimeMills`.
    pub short_polling_ms: u64,

    /// `autoCreateTopicEnable`.
    pub auto_create_topic: bool,
    /// `validateSystemTopicWhenUpdateTopic`.
    pub validate_system_topic: bool,
    /// `enableMixedMessageType`.
    pub mixed_message_type: bool,
    /// `storeReplyMessageEnable`.
    pub store_replies: bool,
    /// `useServerSideResetOffset`.
    pub reset_at_server: bool,
    /// `autoCreateSubscriptionGroup`.
    pub auto_create_group: bool,
    /// `defaultTopicQueueNums`.
    pub default_topic_queue_count: i32,
    /// `brokerPermission`: a sum of 4 read, 2 write, 1 inherit.
    pub broker_permission: i32,
    /// `traceTopicEnable`.
    pub trace_topic: bool,
    /// `msgTraceTopicName`.
    pub trace_topic_name: String,
    /// `traceOn`.
    pub trace_on: bool,

    /// `serverChannelMaxIdleTimeSeconds`.
    pub connection_idle_ms: u64,
    /// `channelExpiredTimeout`.
    pub consumer_expired_ms: u64,
    /// `notifyConsumerIdsChangedEnable`.
    pub notify_consumer_ids_changed: bool,
    /// Which segments may go: `fileReservedTime` and what belongs to it.
    pub retention: Retention,
    /// `ringmqConnectionsMax`.
    pub connections_max: u32,
    /// `ringmqInFlightBytesPerCore`.
    pub in_flight_bytes_per_core: u64,
    /// Where health and metrics are asked for: `ringmqHttpPort`, and what `metricsExporterType=PROM`
    /// asks for.
    pub http_addresses: Vec<SocketAddr>,
    /// `ringmqLogLevel`.
    pub log_level: tracing::Level,

    /// Every key as it holds.
    pub effective: Vec<Effective>,
    /// What the operator should hear at start.
    pub notices: Vec<Notice>,
}

/// Everything that `ringmq namesrv` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesrvConfig {
    /// The NameServer.
    pub name_server: NameServerOptions,
    /// Where health and metrics are asked for: `ringmqHttpPort`.
    pub http_address: Option<SocketAddr>,
    /// `ringmqLogLevel`.
    pub log_level: tracing::Level,
    /// Every key as it holds.
    pub effective: Vec<Effective>,
    /// What the operator should hear at start.
    pub notices: Vec<Notice>,
}

impl ServerConfig {
    /// Judges the settings together and makes plain data of them.
    pub fn resolve(mut settings: Settings, host: &Host) -> Result<Self, Vec<ConfigError>> {
        name_broker(&mut settings, host);
        find_name_servers(&mut settings, host);
        advertise(&mut settings, host);
        find_metrics_host(&mut settings);
        keep_commit_log_path(&mut settings);
        if settings.program().has_name_server() {
            place_key_values(&mut settings, host);
        }
        keep_ports(&mut settings);
        if settings.has_errors() {
            return Err(settings.into_errors());
        }
        Ok(build(&settings, host))
    }
}

impl NamesrvConfig {
    /// Judges the settings together and makes plain data of them.
    pub fn resolve(mut settings: Settings, host: &Host) -> Result<Self, Vec<ConfigError>> {
        place_key_values(&mut settings, host);
        keep_apart(&mut settings, "listenPort", "ringmqHttpPort", HTTP_PORT);
        if settings.has_errors() {
            return Err(settings.into_errors());
        }
        Ok(Self {
            name_server: name_server(&settings, "listenPort"),
            http_address: own_http_address(&settings),
            log_level: log_level(&settings),
            effective: settings.effective(),
            notices: without_effect(&settings),
        })
    }
}

/// A variable that perhaps means others must not send the server of a single machine to them.
fn find_name_servers(settings: &mut Settings, host: &Host) {
    if settings.program() == Program::Broker
        && let Some(text) = &host.name_servers
    {
        settings.set_from_environment("namesrvAddr", NAME_SERVERS_VARIABLE, text);
    }
}

fn name_broker(settings: &mut Settings, host: &Host) {
    if settings.get("brokerName").is_some() || !settings.are_good(&["brokerName"]) {
        return;
    }
    settings.compute("brokerName", host.name.as_deref().unwrap_or_default());
}

/// An address that clients can dial: the one given, else the one listened on, else the way out.
fn advertise(settings: &mut Settings, host: &Host) {
    if !settings.are_good(&["brokerIP1", "bindAddress"]) {
        return;
    }
    let listen = address(settings, "bindAddress");
    if let Some(setting) = settings.get("brokerIP1") {
        let given = address(settings, "brokerIP1");
        if given.is_unspecified() || given.is_multicast() {
            let reason = "nobody can connect to it; give an address of this machine".to_owned();
            let (place, found) = (setting.place.clone(), given.to_string());
            settings.refuse(ConfigError::Conflict { place, key: "brokerIP1", found, reason });
        }
        return;
    }
    match host.outward {
        _ if !listen.is_unspecified() => settings.compute("brokerIP1", &listen.to_string()),
        Some(outward) => settings.compute("brokerIP1", &outward.to_string()),
        None => settings.refuse(ConfigError::Conflict {
            place: settings.place("bindAddress"),
            key: "bindAddress",
            found: listen.to_string(),
            reason: "this machine has no route to others to take an address from; say with \
                     --advertise (brokerIP1) which address clients connect to"
                .to_owned(),
        }),
    }
}

fn find_metrics_host(settings: &mut Settings) {
    let key = "metricsPromExporterHost";
    if settings.get(key).is_none() && settings.are_good(&[key, "bindAddress"]) {
        settings.compute(key, &address(settings, "bindAddress").to_string());
    }
}

/// Where `ringmqHttpPort` says; 0 is nowhere.
fn own_http_address(settings: &Settings) -> Option<SocketAddr> {
    let port = integer(settings, "ringmqHttpPort");
    let port = u16::try_from(port).expect("the range of the key fits");
    (port != 0).then(|| SocketAddr::new(address(settings, "bindAddress"), port))
}

fn http_addresses(settings: &Settings) -> Vec<SocketAddr> {
    let port = |name| u16::try_from(integer(settings, name)).expect("the range of the key fits");
    let mut addresses: Vec<_> = own_http_address(settings).into_iter().collect();
    let host = address(settings, "metricsPromExporterHost");
    let exporter = SocketAddr::new(host, port("metricsPromExporterPort"));
    let is_prometheus = text(settings, "metricsExporterType") == "PROM";
    if is_prometheus && !addresses.contains(&exporter) {
        addresses.push(exporter);
    }
    addresses
}

/// As many as asked for; 0: all CPUs that this process may use but one, which the control thread has.
fn core_count(asked: u16, host: &Host) -> u16 {
    if asked > 0 {
        return asked;
    }
    u16::try_from(host.cpus.saturating_sub(1).clamp(1, CORES_MAX)).expect("at most 64")
}

/// Example files name the directory that RocketMQ takes by default; ours is called the same.
fn keep_commit_log_path(settings: &mut Settings) {
    let Some(setting) = settings.get("storePathCommitLog") else { return };
    let Value::Text(found) = setting.value.clone() else { return };
    if !settings.are_good(&["storePathRootDir"]) || found.is_empty() {
        return;
    }
    let root = path(settings, "storePathRootDir");
    let expected = root.join("commitlog");
    if Path::new(&found) != expected {
        settings.refuse(ConfigError::NotThere {
            place: settings.place("storePathCommitLog"),
            key: "storePathCommitLog",
            found,
            expected: expected.display().to_string(),
            reason: "the commit log lies under storePathRootDir",
        });
    }
}

/// In the store, or, of a NameServer without one, where RocketMQ has it.
fn place_key_values(settings: &mut Settings, host: &Host) {
    if !settings.are_good(&["kvConfigPath", "storePathRootDir"]) {
        return;
    }
    if settings.get("kvConfigPath").is_none() {
        let root = match settings.program().has_broker() {
            true => Some(path(settings, "storePathRootDir")),
            false => host.home.clone(),
        };
        let Some(root) = root else {
            settings.refuse(ConfigError::Conflict {
                place: Place::Default,
                key: "kvConfigPath",
                found: "~/namesrv/kvConfig.json".to_owned(),
                reason: "this user has no home directory (HOME); give the path of a file"
                    .to_owned(),
            });
            return;
        };
        settings.compute("kvConfigPath", &root.join("namesrv/kvConfig.json").to_string_lossy());
    }
    let key_values = path(settings, "kvConfigPath");
    if key_values == name_server_settings_path(settings) {
        settings.refuse(ConfigError::Conflict {
            place: settings.place("kvConfigPath"),
            key: "kvConfigPath",
            found: key_values.display().to_string(),
            reason: "what is set at the NameServer over the wire is kept there; give another name"
                .to_owned(),
        });
    }
}

/// Never the operator's own file, over which RocketMQ writes (`configStorePath`).
fn name_server_settings_path(settings: &Settings) -> PathBuf {
    if settings.program().has_broker() {
        return path(settings, "storePathRootDir").join("namesrv/namesrv.properties");
    }
    path(settings, "kvConfigPath").with_file_name("namesrv.properties")
}

fn keep_ports(settings: &mut Settings) {
    let (broker, namesrv, http) = ("listenPort", "ringmqNamesrvPort", "ringmqHttpPort");
    if settings.program().has_name_server() {
        keep_apart(settings, broker, namesrv, "broker and NameServer need a port each");
        keep_apart(settings, namesrv, http, HTTP_PORT);
    }
    keep_apart(settings, broker, http, HTTP_PORT);
    let (kind, host) = ("metricsExporterType", "metricsPromExporterHost");
    if !settings.are_good(&[kind, host, "bindAddress"]) || text(settings, kind) != "PROM" {
        return;
    }
    let (exporter, listen) = (address(settings, host), address(settings, "bindAddress"));
    let is_same = exporter == listen;
    if !is_same && !exporter.is_unspecified() && !listen.is_unspecified() {
        return;
    }
    let prometheus = "metricsPromExporterPort";
    if settings.program().has_name_server() {
        keep_apart(settings, namesrv, prometheus, HTTP_PORT);
    }
    keep_apart(settings, broker, prometheus, HTTP_PORT);
    if !is_same {
        // On one address it is one port, which answers both.
        keep_apart(
            settings,
            http,
            prometheus,
            "one of two addresses holds the other, see bindAddress",
        );
    }
}

/// Why health and metrics cannot have the port of another listener.
const HTTP_PORT: &str = "health and metrics need a port of their own";

/// Refuses two keys of one port; 0 is any that is free.
fn keep_apart(settings: &mut Settings, first: &'static str, second: &'static str, why: &str) {
    if !settings.are_good(&[first, second]) {
        return;
    }
    let port = integer(settings, first);
    if port == 0 || port != integer(settings, second) {
        return;
    }
    // To be changed is what somebody set, not a default.
    let (key, other) = match settings.get(first) {
        Some(_) => (first, second),
        None => (second, first),
    };
    settings.refuse(ConfigError::Conflict {
        place: settings.place(key),
        key,
        found: port.to_string(),
        reason: format!("{other} is the same ({}); {why}", settings.place(other)),
    });
}

fn build(settings: &Settings, host: &Host) -> ServerConfig {
    let flag = |name| boolean(settings, name);
    let number = |name| integer(settings, name);
    let small = |name| u32::try_from(number(name)).expect("the range of the key fits");
    let small_signed = |name| i32::try_from(number(name)).expect("the range of the key fits");
    let port = |name| u16::try_from(number(name)).expect("the range of the key fits");
    let word = |name| text(settings, name);
    let shard_count = Some(port("ringmqShards")).filter(|count| *count != 0);
    let has_name_server = settings.program().has_name_server();
    ServerConfig {
        broker_name: word("brokerName"),
        cluster_name: word("brokerClusterName"),
        region_id: word("regionId"),
        listen: address(settings, "bindAddress"),
        advertise: address(settings, "brokerIP1"),
        broker_port: port("listenPort"),
        name_server: has_name_server.then(|| name_server(settings, "ringmqNamesrvPort")),
        name_servers: name_servers(settings),
        register_period_ms: number("registerNameServerPeriod"),
        registration_topics_max: flag("enableSplitRegistration")
            .then(|| small("splitRegistrationSize") as usize),
        store: path(settings, "storePathRootDir"),
        shard_count,
        core_count: core_count(port("ringmqCores"), host),
        spin_us: integer(settings, "ringmqSpinMicros"),
        segment_bytes: number("mappedFileSizeCommitLog"),
        flush: flush_mode(settings),
        flush_interval_ms: number("flushIntervalCommitLog"),
        sync_flush_timeout_ms: number("syncFlushTimeout"),
        write_buffer_bytes: number("ringmqWriteBufferBytes"),
        read_cache_bytes: number("ringmqReadCacheBytes"),
        message_bytes_max: small("maxMessageSize") as usize,
        delay_levels_ms: delays(settings, "messageDelayLevel"),
        transactions: TransactionSettings {
            rejects: flag("rejectTransactionMessage"),
            timeout_ms: number("transactionTimeOut"),
            check_interval_ms: number("transactionCheckInterval"),
            checks_max: small("transactionCheckMax"),
            reserved_ms: number("fileReservedTime") * 3_600_000,
        },
        timer_wheel: flag("timerWheelEnable"),
        timer_delay_ms_max: number("timerMaxDelaySec") * 1000,
        recall: flag("recallMessageEnable"),
        recall_when_read_only: flag("allowRecallWhenBrokerNotWriteable"),
        pull_messages_max: small("maxTransferCountOnMessageInMemory"),
        pull_bytes_max: small("maxTransferBytesOnMessageInMemory"),
        message_index: flag("messageIndexEnable"),
        query_messages_max: small("maxMsgsNumBatch") as usize,
        unique_query_messages_max: small("defaultQueryMaxNum") as usize,
        long_polling: flag("longPollingEnable"),
        property_filter: flag("enablePropertyFilter"),
        filter_retries: flag("filterSupportRetry"),
        check_message_type: flag("ringmqCheckMessageType"),
        short_polling_ms: number("shortPollingTimeMills"),
        auto_create_topic: flag("autoCreateTopicEnable"),
        validate_system_topic: flag("validateSystemTopicWhenUpdateTopic"),
        mixed_message_type: flag("enableMixedMessageType"),
        store_replies: flag("storeReplyMessageEnable"),
        reset_at_server: flag("useServerSideResetOffset"),
        auto_create_group: flag("autoCreateSubscriptionGroup"),
        default_topic_queue_count: small_signed("defaultTopicQueueNums"),
        broker_permission: small_signed("brokerPermission"),
        trace_topic: flag("traceTopicEnable"),
        trace_topic_name: word("msgTraceTopicName"),
        trace_on: flag("traceOn"),
        connection_idle_ms: number("serverChannelMaxIdleTimeSeconds") * 1000,
        consumer_expired_ms: number("channelExpiredTimeout"),
        notify_consumer_ids_changed: flag("notifyConsumerIdsChangedEnable"),
        connections_max: small("ringmqConnectionsMax"),
        in_flight_bytes_per_core: number("ringmqInFlightBytesPerCore"),
        http_addresses: http_addresses(settings),
        log_level: log_level(settings),
        effective: settings.effective(),
        retention: retention(settings),
        notices: notices(settings),
    }
}

fn log_level(settings: &Settings) -> tracing::Level {
    text(settings, "ringmqLogLevel").parse().expect("the choices are tracing's levels")
}

fn name_server(settings: &Settings, port: &str) -> NameServerOptions {
    let number = |name| integer(settings, name);
    NameServerOptions {
        listen: address(settings, "bindAddress"),
        port: u16::try_from(number(port)).expect("the range of the key fits"),
        connections_max: u32::try_from(number("ringmqConnectionsMax"))
            .expect("the range of the key fits"),
        connection_idle_ms: number("serverChannelMaxIdleTimeSeconds") * 1000,
        key_values_path: path(settings, "kvConfigPath"),
        settings_path: name_server_settings_path(settings),
        settings: name_server_settings(settings),
    }
}

fn name_server_settings(settings: &Settings) -> NameServerConfig {
    NameServerConfig {
        scan_interval_ms: integer(settings, "scanNotActiveBrokerInterval"),
        order_in_routes: boolean(settings, "orderMessageEnable"),
        order_to_brokers: boolean(settings, "returnOrderTopicConfigToBroker"),
        registration_deletes_topics: boolean(settings, "deleteTopicWithBrokerRegistration"),
        acting_master: boolean(settings, "supportActingMaster"),
        lists_all_topics: boolean(settings, "enableAllTopicList"),
        lists_topics: boolean(settings, "enableTopicList"),
        waits_for_service: boolean(settings, "needWaitForService"),
        wait_for_service_ms: integer(settings, "waitSecondsForService") * 1000,
    }
}

fn flush_mode(settings: &Settings) -> FlushMode {
    let transient = boolean(settings, "transientStorePoolEnable");
    match (text(settings, "flushDiskType").as_str(), transient) {
        ("SYNC_FLUSH", _) => FlushMode::Sync,
        (_, false) => FlushMode::Async,
        (_, true) => FlushMode::Memory,
    }
}

/// The NameServers given, each once, and without the one inside: the broker registers with that
/// anyway.
fn name_servers(settings: &Settings) -> Vec<Endpoint> {
    let Value::Endpoints(endpoints) = settings.value("namesrvAddr") else {
        unreachable!("the table says endpoints")
    };
    let mut name_servers: Vec<Endpoint> = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        if !is_inside(settings, &endpoint) && !name_servers.contains(&endpoint) {
            name_servers.push(endpoint);
        }
    }
    name_servers
}

fn is_inside(settings: &Settings, endpoint: &Endpoint) -> bool {
    if !settings.program().has_name_server() {
        return false;
    }
    let (listen, advertise) = (address(settings, "bindAddress"), address(settings, "brokerIP1"));
    let is_here = match endpoint.host.parse::<IpAddr>() {
        Ok(host) => host.is_loopback() || host == listen || host == advertise,
        Err(_) => endpoint.host == "localhost",
    };
    u64::from(endpoint.port) == integer(settings, "ringmqNamesrvPort") && is_here
}

fn notices(settings: &Settings) -> Vec<Notice> {
    let mut notices = Vec::new();
    let (listen, advertise) = (address(settings, "bindAddress"), address(settings, "brokerIP1"));
    if listen.is_loopback() && !advertise.is_loopback() {
        notices.push(Notice::OnlyLocal { advertise, listen });
    }
    if boolean(settings, "transientStorePoolEnable") && flush_mode(settings) == FlushMode::Sync {
        notices.push(Notice::TransientPoolUnused);
    }
    let name_servers = name_servers(settings);
    if name_servers.is_empty() && !settings.program().has_name_server() {
        notices.push(Notice::NoNameServer);
    }
    if advertise.is_loopback()
        && let Some(name_server) = name_servers.into_iter().find(|it| !is_loopback(it))
    {
        notices.push(Notice::LocalAddressElsewhere { advertise, name_server });
    }
    if let Some(setting) = settings.get("metricsExporterType")
        && let value = setting.value.to_string()
        && matches!(value.as_str(), "OTLP_GRPC" | "LOG")
    {
        let (place, key) = (setting.place.clone(), setting.key.name);
        let reason = "not yet: metrics go to Prometheus only (PROM)";
        notices.push(Notice::WithoutEffect { place, key, value, reason });
    }
    notices.extend(without_effect(settings));
    notices
}

fn is_loopback(endpoint: &Endpoint) -> bool {
    match endpoint.host.parse::<IpAddr>() {
        Ok(host) => host.is_loopback(),
        Err(_) => endpoint.host == "localhost",
    }
}

fn without_effect(settings: &Settings) -> Vec<Notice> {
    let mut notices = Vec::new();
    for setting in settings.all() {
        let (Class::Harmless(reason) | Class::NotYet(reason)) = setting.key.class else { continue };
        let (place, key) = (setting.place.clone(), setting.key.name);
        let value = keys::shown(key, &setting.value.to_string());
        notices.push(Notice::WithoutEffect { place, key, value, reason });
    }
    notices
}

fn retention(settings: &Settings) -> Retention {
    let percent = |name| u8::try_from(integer(settings, name)).expect("below 100 in the table");
    let Value::Hours(hours) = settings.value("deleteWhen") else {
        unreachable!("the table says hours")
    };
    let force = percent("diskSpaceCleanForciblyRatio");
    let full = percent("diskSpaceWarningLevelRatio");
    Retention {
        reserved_ms: integer(settings, "fileReservedTime") * 3_600_000,
        hours,
        delete_percent: percent("diskMaxUsedSpaceRatio"),
        force_percent: boolean(settings, "cleanFileForciblyEnable").then_some(force),
        full_percent: full,
        // Else it would be full and writable at once.
        writable_percent: force.min(full),
        bytes_max: Some(integer(settings, "ringmqLogBytesMax")).filter(|bytes| *bytes > 0),
    }
}

// The table says which type a key has; a test builds a configuration from every default.

fn boolean(settings: &Settings, name: &str) -> bool {
    let Value::Boolean(value) = settings.value(name) else { unreachable!("{name} is a boolean") };
    value
}

fn integer(settings: &Settings, name: &str) -> u64 {
    let Value::Integer(value) = settings.value(name) else { unreachable!("{name} is a number") };
    u64::try_from(value).expect("the range of the key has no negative numbers")
}

fn text(settings: &Settings, name: &str) -> String {
    let Value::Text(value) = settings.value(name) else { unreachable!("{name} is a text") };
    value
}

fn address(settings: &Settings, name: &str) -> IpAddr {
    let Value::Address(value) = settings.value(name) else { unreachable!("{name} is an address") };
    value
}

fn path(settings: &Settings, name: &str) -> PathBuf {
    let Value::Path(value) = settings.value(name) else { unreachable!("{name} is a path") };
    value
}

fn delays(settings: &Settings, name: &str) -> Vec<u64> {
    let Value::Delays(value) = settings.value(name) else { unreachable!("{name} are delays") };
    value
}
