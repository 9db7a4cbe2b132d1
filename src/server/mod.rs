//! `ringmq server` and `ringmq broker`: a broker, with or without a NameServer beside it, from
//! start to stop.
//! Kind: shell

pub mod control;
pub mod core;
pub mod descriptors;
pub mod files;
mod index;
pub mod messages;
pub mod name_server;
pub mod name_server_thread;
pub mod recovery;
pub mod runs;
pub mod space;
pub mod store;
pub mod supervisor;
pub mod upkeep;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use engine::commitlog::FlushMode;
use engine::shard::{SealLimits, Shard};
use runtime::clock::Clock;
use runtime::eventfd::EventFd;
use runtime::executor::{CoreError, CoreOptions, spawn_core};
use runtime::file::{SharedFiles, StoreFile, SystemFiles};
use runtime::mesh::{SleepFlag, mesh, pair};
use runtime::placement::Placement;
use runtime::{ParkingRing, ReactorConfig, memory_limit, probe, socket};

use self::control::{ControlParts, Ready, StopFlag};
use self::core::{CoreConfig, CoreParts};
use self::descriptors::{Connections, FewerConnections};
use self::files::ShardFiles;
use self::name_server::files::KeptError;
use self::name_server_thread::{BoundNameServer, LoadedNameServer, NameServerThread};
use self::recovery::OpenShard;
use self::runs::ShardPlace;
use self::store::{Store, StoreError, StoreSettings};
use self::upkeep::Upkeep;
use crate::broker::membership::PRODUCER_EXPIRED_MS;
use crate::broker::registration::BrokerIdentity;
use crate::broker::{Broker, BrokerSettings};
use crate::config::{self, ServerConfig};
use crate::observe::{About, ControlThread};
use crate::router::Router;
use crate::router::exchange::Exchange;
use crate::router::limits::RING_MESSAGES;

/// Messages under way between a core and the control thread.
const CONTROL_RING: usize = 256;

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The machine lacks something.
    #[error("{0}")]
    Probe(probe::ProbeError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the NameServer keeps cannot be read.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// A port cannot be listened on.
    #[error("listen on {address} for {what}: {source}{}", port_advice(what, source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Broker or NameServer.
        what: &'static str,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// A thread did not start or failed.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// Something small at start.
    #[error("{operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The operating system's words.
        source: std::io::Error,
    },
}

fn port_advice(what: &str, source: &std::io::Error) -> String {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            let setting = match what {
                HEALTH => "ringmqHttpPort or metricsPromExporterPort",
                NAME_SERVER => "--namesrv-port (listenPort of ringmq namesrv)",
                _ => "--broker-port (listenPort)",
            };
            format!("; another program has the port, stop it or choose another with {setting}")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "; the address is not one of this machine's, see --listen".to_owned()
        }
        _ => String::new(),
    }
}

/// What is listened for, in the words of [`ServerError::Listen`].
const HEALTH: &str = "health and metrics";
const NAME_SERVER: &str = "the NameServer";

/// Runs the server until SIGINT or SIGTERM.
///
/// # Errors
/// [`ServerError`]: what, where and what to do.
pub fn run(config: ServerConfig) -> Result<(), ServerError> {
    run_on(config, SystemFiles, core::new_reactor)
}

/// As [`run`], on other files and another ring than the kernel's: the seam at which a test's driver
/// holds back what was not synced.
///
/// # Errors
/// As of [`run`].
pub fn run_on<S, R>(
    mut config: ServerConfig,
    files: S,
    make_ring: impl Fn(ReactorConfig) -> std::io::Result<R> + Clone + Send + 'static,
) -> Result<(), ServerError>
where
    S: SharedFiles,
    R: ParkingRing<File = S::File, Listener = OwnedFd> + 'static,
{
    let started = Instant::now();
    probe::raise_soft_limits();
    std::fs::create_dir_all(&config.store).map_err(|source| StoreError::Io {
        operation: "create directory",
        path: config.store.clone(),
        source,
    })?;
    let report = probe::probe(Some(&config.store)).map_err(ServerError::Probe)?;
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    // Ports before the store: a second start by mistake must not touch anything.
    let (listener, broker_address) = listen(config.listen, config.broker_port, "the broker")?;
    let mut listeners = vec![listener];
    listeners.extend(listen_vip(config.listen, config.broker_port));
    let name_server = config.name_server.clone().map(BoundNameServer::listen).transpose()?;
    let (control, http_addresses) = start_control(&config)?;
    supervisor::tell_opening(&config.store);
    let (lock, store) = store::open(&files, &store_settings(&config))?;
    let mut name_server = name_server.map(|bound| bound.load(files.clone())).transpose()?;
    let allowed = limit_connections(Connections {
        broker: config.connections_max,
        name_server: name_server.as_ref().map_or(0, LoadedNameServer::connections_max),
    });
    config.connections_max = allowed.broker;
    name_server.iter_mut().for_each(|it| it.limit_connections(allowed.name_server));
    let advertised = SocketAddr::new(config.advertise, broker_address.port());
    let settings = broker_settings(&config, advertised);
    let name_address = name_server.as_ref().map(LoadedNameServer::address);
    let lines = banner(&config, &store, broker_address, name_address, advertised, started);
    let http = http_addresses.iter().map(|address| format!("http        {address}"));
    let lines = http.chain(lines).collect();
    let stop = watch_signals()?;
    let seam = (files, make_ring);
    let served = serve(config, settings, seam, store, listeners, name_server, control, lines, stop);
    drop(lock);
    served
}

/// As many of these connections as the limit of open files leaves room for. To be called when the store
/// is open: its files count.
fn limit_connections(configured: Connections) -> Connections {
    let Some(limit) = probe::open_files().soft else { return configured };
    let allowed = configured.within(limit, probe::descriptors_open());
    if allowed != configured {
        tracing::warn!("{}", FewerConnections { limit, configured, allowed });
    }
    allowed
}

fn listen(ip: IpAddr, port: u16, what: &'static str) -> Result<(OwnedFd, SocketAddr), ServerError> {
    let address = SocketAddr::new(ip, port);
    let failed = |source| ServerError::Listen { address, what, source };
    let listener = socket::listen(address).map_err(failed)?;
    let bound = socket::local_address(&listener).map_err(failed)?;
    Ok((listener, bound))
}

/// The control thread, which answers about health from now on, and where.
fn start_control<S: SharedFiles>(
    config: &ServerConfig,
) -> Result<(ControlThread<S>, Vec<SocketAddr>), ServerError> {
    let io_error = |source| ServerError::Io { operation: "make an eventfd", source };
    let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
    for address in &config.http_addresses {
        let (listener, address) = listen(address.ip(), address.port(), HEALTH)?;
        tracing::info!(%address, "/health/live, /health/ready and /metrics are served");
        listeners.push(listener);
        addresses.push(address);
    }
    let about = About {
        cluster: config.cluster_name.clone(),
        broker: config.broker_name.clone(),
        permission: config.broker_permission,
        store: config.store.clone(),
    };
    let is_given = EventFd::new().map_err(io_error)?;
    let told = is_given.try_clone().map_err(io_error)?;
    Ok((ControlThread::start(listeners, about, is_given, told)?, addresses))
}

/// The port for clients that ask for the "VIP channel": two below the broker's (`fastListenPort`). It is
/// no other than the broker's own, which has no queues to jump. Only a port that was chosen has one.
fn listen_vip(ip: IpAddr, broker_port: u16) -> Option<OwnedFd> {
    let port = broker_port.checked_sub(2).filter(|port| *port > 0)?;
    match socket::listen(SocketAddr::new(ip, port)) {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::warn!(
                port,
                %error,
                "the VIP port (listenPort - 2) cannot be listened on: clients with vipChannelEnabled=true, by default those before 4.5.1, cannot send"
            );
            None
        }
    }
}

fn store_settings(config: &ServerConfig) -> StoreSettings {
    StoreSettings {
        directory: config.store.clone(),
        segment_bytes: config.segment_bytes,
        shard_count: config.shard_count,
        core_count: config.core_count,
        flush: flush_mode(config.flush),
        sync_flush_timeout_ms: config.sync_flush_timeout_ms,
        write_buffer_bytes: config.write_buffer_bytes,
        read_cache_bytes: config.read_cache_bytes,
        message_index: config.message_index,
        delay_levels_ms: config.delay_levels_ms.clone(),
        transaction_timeout_ms: config.transactions.timeout_ms,
        seal: SealLimits::default(),
    }
}

fn flush_mode(flush: config::FlushMode) -> FlushMode {
    match flush {
        config::FlushMode::Sync => FlushMode::Sync,
        config::FlushMode::Async => FlushMode::Async,
        config::FlushMode::Memory => FlushMode::Memory,
    }
}

fn broker_settings(config: &ServerConfig, advertised: SocketAddr) -> BrokerSettings {
    let memory_bytes = memory_limit::usable_memory().map_or(0, |limit| limit.bytes);
    BrokerSettings {
        broker_name: config.broker_name.clone(),
        cluster_name: config.cluster_name.clone(),
        region_id: config.region_id.clone(),
        trace_on: config.trace_on,
        trace_topic: config.trace_topic.then(|| config.trace_topic_name.clone()),
        advertised,
        permission: config.broker_permission,
        message_bytes_max: config.message_bytes_max,
        auto_create_topic: config.auto_create_topic,
        validate_system_topic: config.validate_system_topic,
        mixed_message_type: config.mixed_message_type,
        store_replies: config.store_replies,
        reset_at_server: config.reset_at_server,
        auto_create_group: config.auto_create_group,
        default_topic_queue_count: config.default_topic_queue_count,
        pull_messages_max: config.pull_messages_max,
        pull_bytes_max: config.pull_bytes_max,
        long_polling: config.long_polling,
        query_messages_max: config.query_messages_max,
        unique_query_messages_max: config.unique_query_messages_max,
        property_filter: config.property_filter,
        filter_retries: config.filter_retries,
        check_message_type: config.check_message_type,
        short_polling_ms: config.short_polling_ms,
        consumer_expired_ms: config.consumer_expired_ms,
        producer_expired_ms: PRODUCER_EXPIRED_MS,
        notify_consumer_ids_changed: config.notify_consumer_ids_changed,
        delay_levels_ms: config.delay_levels_ms.clone(),
        transactions: config.transactions,
        timer_wheel: config.timer_wheel,
        timer_delay_ms_max: config.timer_delay_ms_max,
        recall: config.recall,
        recall_when_read_only: config.recall_when_read_only,
        memory_bytes,
        process_tag: std::process::id() << 16 ^ (Clock.now().wall_ms as u32),
        shown: Arc::new(config::shown(&config.effective)),
    }
}

fn banner<F>(
    config: &ServerConfig,
    store: &Store<F>,
    broker: SocketAddr,
    name_server: Option<SocketAddr>,
    advertised: SocketAddr,
    started: Instant,
) -> Vec<String> {
    let flush = match config.flush {
        config::FlushMode::Sync => "SYNC_FLUSH: acknowledged messages survive a power cut",
        config::FlushMode::Async => {
            "ASYNC_FLUSH: acknowledged messages survive a crash of the process, not a power cut"
        }
        config::FlushMode::Memory => {
            "ASYNC_FLUSH + transientStorePoolEnable: acknowledged messages survive nothing"
        }
    };
    let others: Vec<_> = config.name_servers.iter().map(config::Endpoint::to_string).collect();
    let registers = match (name_server, others.is_empty()) {
        (_, false) => Some(others.join(", ")),
        (Some(_), true) => None,
        (None, true) => Some("nowhere: clients find a broker by a NameServer, see -n".to_owned()),
    };
    let name_server = name_server.map(|address| format!("NameServer  {address}"));
    let registers = registers.map(|at| format!("registers   {at}"));
    let lines = [
        format!("broker      {broker}, advertised as {advertised}"),
        format!(
            "store       {}, {} shard(s), segments of {} MiB",
            config.store.display(),
            store.shards.len(),
            store.shape.segment_bytes >> 20
        ),
        format!("flush       {flush}"),
        "not yet     replication, ACL, TLS, POP, gRPC".to_owned(),
        format!("ready after {} ms", started.elapsed().as_millis()),
    ];
    name_server.into_iter().chain(registers).chain(lines).collect()
}

/// A flag that SIGINT and SIGTERM set, with the eventfd that announces it.
fn watch_signals() -> Result<(StopFlag, EventFd), ServerError> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let io_error = |operation| move |source| ServerError::Io { operation, source };
    let stop: StopFlag = Arc::new(AtomicBool::new(false));
    let event = EventFd::new().map_err(io_error("make an eventfd"))?;
    let announce = event.try_clone().map_err(io_error("copy an eventfd"))?;
    let flag = Arc::clone(&stop);
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .map_err(io_error("watch for signals"))?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                flag.store(true, Ordering::Release);
                announce.signal();
            }
        })
        .map_err(io_error("start the thread for signals"))?;
    Ok((stop, event))
}

#[allow(clippy::too_many_arguments, reason = "called once; a struct would only name them twice")]
fn serve<S, R>(
    config: ServerConfig,
    settings: BrokerSettings,
    (files, make_ring): (S, impl Fn(ReactorConfig) -> std::io::Result<R> + Clone + Send + 'static),
    store: Store<S::File>,
    mut listeners: Vec<OwnedFd>,
    name_server: Option<LoadedNameServer<S>>,
    control: ControlThread<S>,
    lines: Vec<String>,
    (stop, stop_event): (StopFlag, EventFd),
) -> Result<(), ServerError>
where
    S: SharedFiles,
    R: ParkingRing<File = S::File, Listener = OwnedFd> + 'static,
{
    let control_sleep = SleepFlag::new(stop_event);
    let name_address = name_server.as_ref().map(LoadedNameServer::address);
    let Store { shards: opened, mut catalog, .. } = store;
    let now = Clock.now();
    catalog.opened(now.wall_ms);
    // A core without a shard would only pass on what it receives.
    let core_count = usize::from(config.core_count).min(opened.len());
    let shard_count = opened.len();
    let SplitShards { cores: dealt, places, due } = SplitShards::new(opened, core_count);
    let advertised = settings.advertised;
    let identity = BrokerIdentity {
        cluster: settings.cluster_name.clone(),
        name: settings.broker_name.clone(),
        id: 0,
        address: advertised.to_string(),
        ha_address: SocketAddr::new(advertised.ip(), advertised.port().wrapping_add(1)).to_string(),
    };
    let core_config = CoreConfig {
        accepts_for_all: true,
        connections_max: config.connections_max,
        spin_us: config.spin_us,
        idle_ms: config.connection_idle_ms,
        assembling_bytes_max: usize::try_from(config.in_flight_bytes_per_core)
            .unwrap_or(usize::MAX),
        flush_interval_ms: config.flush_interval_ms,
        store: config.store.clone(),
        retention: config.retention.clone(),
    };
    let make_sleep = || EventFd::new().map(SleepFlag::new);
    let sleeps = (0..core_count).map(|_| make_sleep()).collect::<Result<Vec<_>, _>>();
    let sleeps =
        sleeps.map_err(|source| ServerError::Io { operation: "make an eventfd", source })?;
    let ports = mesh(&sleeps, RING_MESSAGES);
    let (mut core_parts, mut lines_of_control) = (Vec::new(), Vec::new());
    for ((core, (dealt, sleep)), port) in dealt.into_iter().zip(sleeps).enumerate().zip(ports) {
        let (to_control, from_core) = pair(&sleep, &control_sleep, CONTROL_RING);
        let (to_core, from_control) = pair(&control_sleep, &sleep, CONTROL_RING);
        lines_of_control.push((to_core, from_core));
        let router = Router::new(core, core_count, shard_count);
        core_parts.push(CoreParts {
            broker: Broker::new(settings.clone(), router, dealt.shards, catalog.clone(), now),
            files: dealt.files,
            listeners: std::mem::take(&mut listeners), // the first core accepts
            exchange: Exchange::new(port),
            control: to_control,
            inbox: from_control,
            sleep,
            config: core_config.clone(),
        });
    }
    let control_parts = ControlParts {
        files,
        identity,
        name_servers: name_servers(name_address, &config.name_servers),
        register_period_ms: config.register_period_ms,
        registration_topics_max: config
            .registration_topics_max
            .unwrap_or(crate::broker::limits::REGISTRATION_TOPICS_MAX),
        store: config.store.clone(),
        places,
        due,
        cores: lines_of_control,
        sleep: control_sleep,
        stop,
        ready: Ready { lines, advertised },
    };
    let options = CoreOptions::new(Placement::Free);
    let name_server = name_server.map(LoadedNameServer::start).transpose()?;
    let mut cores = Vec::new();
    for (core, parts) in core_parts.into_iter().enumerate() {
        let make_ring = make_ring.clone();
        let name = format!("core-{core}");
        cores.push(spawn_core(&name, options.clone(), move || core::run(parts, make_ring))?);
    }
    let control = control.give(control_parts);
    let cores: Vec<_> = cores.into_iter().map(|core| core.join()).collect();
    let control = control.join();
    // Last: the broker unregisters on its way out.
    let name_server = name_server.map_or(Ok(()), NameServerThread::stop);
    cores.into_iter().collect::<Result<(), _>>()?;
    control?;
    name_server?;
    tracing::info!("stopped, the store is closed");
    Ok(())
}

/// Opened shards, as what the cores take of them and what the control thread takes.
#[derive(Debug)]
pub struct SplitShards<F> {
    /// Each core's.
    pub cores: Vec<CoreShards<F>>,
    /// Where each shard's files are.
    pub places: Vec<ShardPlace>,
    /// What the start left to do, with the shard's number.
    pub due: Vec<(usize, Upkeep)>,
}

/// What a core takes of its shards.
#[derive(Debug)]
pub struct CoreShards<F> {
    /// Their state.
    pub shards: Vec<Shard>,
    /// Their open files.
    pub files: Vec<ShardFiles<F>>,
}

impl<F: StoreFile> SplitShards<F> {
    /// Deals them over cores, as [`Router`] says.
    pub fn new(opened: Vec<OpenShard<F>>, core_count: usize) -> SplitShards<F> {
        let count = opened.len().div_ceil(core_count);
        let empty = || CoreShards { shards: Vec::new(), files: Vec::new() };
        let cores = (0..core_count).map(|_| empty()).collect();
        let mut split = SplitShards { cores, places: Vec::new(), due: Vec::new() };
        for (index, opened) in opened.into_iter().enumerate() {
            let mut files = ShardFiles::new(count);
            for (first, file) in opened.segments {
                files.log.add(first, opened.place.shape.segment_bytes, file);
            }
            for (address, bytes, file) in opened.runs {
                files.runs.add(address, bytes, file);
            }
            for (address, bytes, file) in opened.indexes {
                files.indexes.add(address, bytes, file);
            }
            let runs = opened.unwritten.into_iter().map(Upkeep::WriteEncoded);
            split.due.extend(runs.map(|run| (index, run)));
            let core = &mut split.cores[index % core_count];
            core.shards.push(opened.shard);
            core.files.push(files);
            split.places.push(opened.place);
        }
        split
    }
}

/// The NameServer inside, as it can be dialled from here, and the others.
fn name_servers(own: Option<SocketAddr>, others: &[config::Endpoint]) -> Vec<String> {
    let own = own.map(|own| {
        let ip = match own.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        SocketAddr::new(ip, own.port()).to_string()
    });
    own.into_iter().chain(others.iter().map(ToString::to_string)).collect()
}
