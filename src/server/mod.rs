//! `ringmq server`: NameServer and broker in one process, from start to stop.
//! Kind: shell

pub mod control;
pub mod core;
pub mod files;
pub mod messages;
pub mod name_server;
pub mod recovery;
pub mod runs;
pub mod space;
pub mod store;
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
use runtime::mesh::{SleepFlag, pair};
use runtime::placement::Placement;
use runtime::{ParkingRing, ReactorConfig, memory_limit, probe, socket};

use self::control::{ControlParts, Ready, StopFlag};
use self::core::{CoreConfig, CoreParts};
use self::files::ShardFiles;
use self::name_server::files::{KeptError, KeptFiles};
use self::recovery::OpenShard;
use self::runs::ShardPlace;
use self::store::{Store, StoreError, StoreSettings};
use self::upkeep::Upkeep;
use crate::broker::registration::BrokerIdentity;
use crate::broker::{Broker, BrokerSettings};
use crate::config::{self, ServerConfig};
use crate::namesrv::Beginning;
use crate::router::Router;

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
    /// More than one shard or core is asked for, or found.
    #[error(
        "one shard on one core is what this version runs: its router does not cross cores yet; leave --shards and --cores out"
    )]
    OneShard,
    /// A port cannot be listened on.
    #[error("listen on {address} for {what}: {source}{}", port_advice(source))]
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

fn port_advice(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program has the port, stop it or choose another with --broker-port and --namesrv-port"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "; the address is not one of this machine's, see --listen"
        }
        _ => "",
    }
}

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
    config: ServerConfig,
    files: S,
    make_ring: impl FnOnce(ReactorConfig) -> std::io::Result<R> + Send + 'static,
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
    if config.shard_count.is_some_and(|count| count != 1) || config.core_count != 1 {
        return Err(ServerError::OneShard);
    }
    // Ports before the store: a second start by mistake must not touch anything.
    let (listener, broker_address) = listen(config.listen, config.broker_port, "the broker")?;
    let (name_listener, name_address) =
        listen(config.listen, config.namesrv_port, "the NameServer")?;
    let (lock, store) = store::open(&files, &store_settings(&config))?;
    if store.shards.len() != 1 {
        return Err(ServerError::OneShard);
    }
    let kept = kept_files(&config, files.clone())?;
    let (key_values, overrides) = kept.load()?;
    let fixed = shown_settings(&config, &kept, name_address);
    let beginning = Beginning { config: config.name_server.clone(), fixed, key_values, overrides };
    let advertised = SocketAddr::new(config.advertise, broker_address.port());
    let settings = broker_settings(&config, advertised);
    let lines = banner(&config, &store, broker_address, name_address, advertised, started);
    let stop = watch_signals()?;
    let limits = name_server::ConnectionLimits {
        connections_max: config.connections_max,
        idle_ms: config.connection_idle_ms,
    };
    let io_error = |source| ServerError::Io { operation: "make an eventfd", source };
    let name_server = name_server::Parts {
        listener: name_listener,
        beginning,
        files: kept,
        limits,
        doorbell: EventFd::new().map_err(io_error)?,
        stop: StopFlag::default(),
    };
    let seam = (files, make_ring);
    let served =
        serve(config, settings, seam, store, listener, name_server, name_address, lines, stop);
    drop(lock);
    served
}

fn listen(ip: IpAddr, port: u16, what: &'static str) -> Result<(OwnedFd, SocketAddr), ServerError> {
    let address = SocketAddr::new(ip, port);
    let failed = |source| ServerError::Listen { address, what, source };
    let listener = socket::listen(address).map_err(failed)?;
    let bound = socket::local_address(&listener).map_err(failed)?;
    Ok((listener, bound))
}

/// Where the NameServer keeps what is set at it.
fn kept_files<S>(config: &ServerConfig, files: S) -> Result<KeptFiles<S>, ServerError> {
    let absolute = |path: &std::path::Path| {
        std::path::absolute(path)
            .map_err(|source| ServerError::Io { operation: "find the current directory", source })
    };
    let settings = absolute(&config.store.join("namesrv/namesrv.properties"))?;
    Ok(KeptFiles { files, key_values: absolute(&config.key_values_path)?, settings })
}

/// What 319 shows beside what 318 can set; it holds as long as the program runs.
fn shown_settings<S>(
    config: &ServerConfig,
    kept: &KeptFiles<S>,
    address: SocketAddr,
) -> Vec<(&'static str, String)> {
    vec![
        ("bindAddress", address.ip().to_string()),
        ("configStorePath", kept.settings.display().to_string()),
        ("kvConfigPath", kept.key_values.display().to_string()),
        ("listenPort", address.port().to_string()),
        ("serverChannelMaxIdleTimeSeconds", (config.connection_idle_ms / 1000).to_string()),
    ]
}

fn store_settings(config: &ServerConfig) -> StoreSettings {
    StoreSettings {
        directory: config.store.clone(),
        segment_bytes: config.segment_bytes,
        shard_count: config.shard_count,
        flush: flush_mode(config.flush),
        sync_flush_timeout_ms: config.sync_flush_timeout_ms,
        write_buffer_bytes: config.write_buffer_bytes,
        read_cache_bytes: config.read_cache_bytes,
        delay_levels_ms: config.delay_levels_ms.clone(),
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
        auto_create_group: config.auto_create_group,
        default_topic_queue_count: config.default_topic_queue_count,
        pull_messages_max: config.pull_messages_max,
        pull_bytes_max: config.pull_bytes_max,
        long_polling: config.long_polling,
        short_polling_ms: config.short_polling_ms,
        consumer_expired_ms: config.consumer_expired_ms,
        notify_consumer_ids_changed: config.notify_consumer_ids_changed,
        delay_levels_ms: config.delay_levels_ms.clone(),
        memory_bytes,
        process_tag: std::process::id() << 16 ^ (Clock.now().wall_ms as u32),
    }
}

fn banner<F>(
    config: &ServerConfig,
    store: &Store<F>,
    broker: SocketAddr,
    name_server: SocketAddr,
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
    vec![
        format!("NameServer  {name_server}"),
        format!("broker      {broker}, advertised as {advertised}"),
        format!(
            "store       {}, {} shard(s), segments of {} MiB",
            config.store.display(),
            store.shards.len(),
            store.shape.segment_bytes >> 20
        ),
        format!("flush       {flush}"),
        "not yet     replication, ACL, TLS, POP, gRPC, transactions, timer messages".to_owned(),
        format!("ready after {} ms", started.elapsed().as_millis()),
    ]
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
    (files, make_ring): (S, impl FnOnce(ReactorConfig) -> std::io::Result<R> + Send + 'static),
    store: Store<S::File>,
    listener: OwnedFd,
    name_server: name_server::Parts<S>,
    name_address: SocketAddr,
    lines: Vec<String>,
    (stop, stop_event): (StopFlag, EventFd),
) -> Result<(), ServerError>
where
    S: SharedFiles,
    R: ParkingRing<File = S::File, Listener = OwnedFd> + 'static,
{
    let control_sleep = SleepFlag::new(stop_event);
    let core_event = EventFd::new()
        .map_err(|source| ServerError::Io { operation: "make an eventfd", source })?;
    let core_sleep = SleepFlag::new(core_event);
    let (to_control, from_core) = pair(&core_sleep, &control_sleep, CONTROL_RING);
    let (to_core, from_control) = pair(&control_sleep, &core_sleep, CONTROL_RING);
    let Store { shards: opened, mut catalog, .. } = store;
    let now = Clock.now();
    catalog.opened(now.wall_ms);
    let SplitShards { shards, files: shard_files, places, due } = SplitShards::new(opened);
    let advertised = settings.advertised;
    let identity = BrokerIdentity {
        cluster: settings.cluster_name.clone(),
        name: settings.broker_name.clone(),
        id: 0,
        address: advertised.to_string(),
        ha_address: SocketAddr::new(advertised.ip(), advertised.port().wrapping_add(1)).to_string(),
    };
    let router = Router::new(0, 1, shards.len());
    let core_parts = CoreParts {
        broker: Broker::new(settings, router, shards, catalog, now),
        files: shard_files,
        listener,
        control: to_control,
        inbox: from_control,
        sleep: core_sleep,
        config: CoreConfig {
            connections_max: config.connections_max,
            idle_ms: config.connection_idle_ms,
            assembling_bytes_max: usize::try_from(config.in_flight_bytes_per_core)
                .unwrap_or(usize::MAX),
            flush_interval_ms: config.flush_interval_ms,
            store: config.store.clone(),
            retention: config.retention.clone(),
        },
    };
    let control_parts = ControlParts {
        files,
        identity,
        name_servers: name_servers(name_address, &config.further_name_servers),
        register_period_ms: config.register_period_ms,
        registration_topics_max: config
            .registration_topics_max
            .unwrap_or(crate::broker::limits::REGISTRATION_TOPICS_MAX),
        store: config.store.clone(),
        places,
        due,
        core: to_core,
        inbox: from_core,
        sleep: control_sleep,
        stop,
        ready: Ready { lines, advertised },
    };
    let options = CoreOptions::new(Placement::Free);
    let end_name_server = name_server
        .doorbell
        .try_clone()
        .map_err(|source| ServerError::Io { operation: "copy an eventfd", source })?;
    let name_server_stopping = Arc::clone(&name_server.stop);
    let name_server =
        spawn_core("namesrv", options.clone(), move || name_server::run(name_server))?;
    let core = spawn_core("core-0", options.clone(), move || core::run(core_parts, make_ring))?;
    let control = spawn_core("control", options, move || control::run(control_parts))?;
    let core = core.join();
    let control = control.join();
    // Last: the broker unregisters on its way out.
    name_server_stopping.store(true, Ordering::Release);
    end_name_server.signal();
    let name_server = name_server.join();
    core?;
    control?;
    name_server?;
    tracing::info!("stopped, the store is closed");
    Ok(())
}

/// Opened shards, as what a core takes of them and what the control thread takes.
#[derive(Debug)]
pub struct SplitShards<F> {
    /// Their state.
    pub shards: Vec<Shard>,
    /// Their open files.
    pub files: Vec<ShardFiles<F>>,
    /// Where their files are.
    pub places: Vec<ShardPlace>,
    /// What the start left to do, by the shard's place.
    pub due: Vec<(usize, Upkeep)>,
}

impl<F: StoreFile> SplitShards<F> {
    /// Splits them.
    pub fn new(opened: Vec<OpenShard<F>>) -> SplitShards<F> {
        let count = opened.len();
        let (shards, files, places, due) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut split = SplitShards { shards, files, places, due };
        for (index, opened) in opened.into_iter().enumerate() {
            let mut files = ShardFiles::new(count);
            for (first, file) in opened.segments {
                files.log.add(first, opened.place.shape.segment_bytes, file);
            }
            for (address, bytes, file) in opened.runs {
                files.runs.add(address, bytes, file);
            }
            let runs = opened.unwritten.into_iter().map(Upkeep::WriteEncoded);
            split.due.extend(runs.map(|run| (index, run)));
            split.shards.push(opened.shard);
            split.files.push(files);
            split.places.push(opened.place);
        }
        split
    }
}

/// The NameServer inside, as it can be dialled from here, and those further ones.
fn name_servers(own: SocketAddr, further: &[config::Endpoint]) -> Vec<String> {
    let ip = match own.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let own = SocketAddr::new(ip, own.port()).to_string();
    std::iter::once(own).chain(further.iter().map(ToString::to_string)).collect()
}
