//! A NameServer as a thread: beside a broker in `ringmq server`, alone in `ringmq namesrv`.
//! Kind: shell

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use runtime::eventfd::EventFd;
use runtime::executor::{CoreHandle, CoreOptions, spawn_core};
use runtime::file::{SharedFiles, SystemFiles};
use runtime::placement::Placement;
use runtime::probe;

use super::control::StopFlag;
use super::descriptors::Connections;
use super::name_server::files::KeptFiles;
use super::name_server::{self, ConnectionLimits, Parts};
use super::{HEALTH, NAME_SERVER, ServerError, limit_connections, listen, watch_signals};
use crate::config::NameServerOptions;
use crate::namesrv::Beginning;
use crate::namesrv::limits::ASSEMBLING_BYTES_MAX;
use crate::observe::{HealthError, HealthThread, Pulse};

/// A NameServer whose port is taken and whose files are not read.
#[derive(Debug)]
pub struct BoundNameServer {
    options: NameServerOptions,
    listener: OwnedFd,
    address: SocketAddr,
}

/// A NameServer that lacks nothing but its thread.
#[derive(Debug)]
pub struct LoadedNameServer<S> {
    listener: OwnedFd,
    address: SocketAddr,
    limits: ConnectionLimits,
    files: KeptFiles<S>,
    beginning: Beginning,
}

/// A NameServer that serves.
#[derive(Debug)]
pub struct NameServerThread {
    handle: CoreHandle<()>,
    stop: StopFlag,
    doorbell: EventFd,
}

/// Runs a NameServer alone until SIGINT or SIGTERM.
///
/// # Errors
/// [`ServerError`]: what, where and what to do.
pub fn run(options: NameServerOptions, http: Option<SocketAddr>) -> Result<(), ServerError> {
    let started = Instant::now();
    probe::raise_soft_limits();
    let report = probe::probe(None).map_err(ServerError::Probe)?;
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    let mut name_server = BoundNameServer::listen(options)?.load(SystemFiles)?;
    let configured = Connections { broker: 0, name_server: name_server.connections_max() };
    name_server.limit_connections(limit_connections(configured).name_server);
    let address = name_server.address;
    let (stop, doorbell) = watch_signals()?;
    let pulse = Arc::new(Pulse::default());
    let health = http.map(|http| start_health(http, address, &pulse, &doorbell)).transpose()?;
    let handle = name_server.spawn(doorbell, stop, pulse)?;
    println!("NameServer  {address}");
    println!("ready after {} ms", started.elapsed().as_millis());
    handle.join()?;
    health.map(HealthThread::stop).transpose()?;
    tracing::info!("stopped");
    Ok(())
}

/// The thread that answers about health and figures.
fn start_health(
    http: SocketAddr,
    address: SocketAddr,
    pulse: &Arc<Pulse>,
    doorbell: &EventFd,
) -> Result<HealthThread, ServerError> {
    let io_error = |source| ServerError::Io { operation: "make an eventfd", source };
    let (listener, http) = listen(http.ip(), http.port(), HEALTH)?;
    tracing::info!(address = %http, "/health/live, /health/ready and /metrics are served");
    let doorbell = doorbell.try_clone().map_err(io_error)?;
    HealthThread::start(listener, address.to_string(), Arc::clone(pulse), doorbell).map_err(
        |error| match error {
            HealthError::Io(source) => io_error(source),
            HealthError::Core(error) => error.into(),
        },
    )
}

impl BoundNameServer {
    /// Takes the port.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn listen(options: NameServerOptions) -> Result<BoundNameServer, ServerError> {
        let (listener, address) = listen(options.listen, options.port, NAME_SERVER)?;
        Ok(BoundNameServer { options, listener, address })
    }

    /// Reads what operators set at it before.
    ///
    /// # Errors
    /// [`ServerError::Kept`].
    pub fn load<S: SharedFiles>(self, files: S) -> Result<LoadedNameServer<S>, ServerError> {
        let BoundNameServer { options, listener, address } = self;
        let files = KeptFiles {
            files,
            key_values: absolute(&options.key_values_path)?,
            settings: absolute(&options.settings_path)?,
        };
        let (key_values, overrides) = files.load()?;
        let fixed = shown_settings(&options, &files, address);
        let limits = ConnectionLimits {
            connections_max: options.connections_max,
            idle_ms: options.connection_idle_ms,
            assembling_bytes_max: ASSEMBLING_BYTES_MAX,
        };
        let beginning = Beginning { config: options.settings, fixed, key_values, overrides };
        Ok(LoadedNameServer { listener, address, limits, files, beginning })
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ServerError> {
    std::path::absolute(path)
        .map_err(|source| ServerError::Io { operation: "find the current directory", source })
}

/// What 319 shows beside what 318 can set; it holds as long as the program runs.
fn shown_settings<S>(
    options: &NameServerOptions,
    files: &KeptFiles<S>,
    address: SocketAddr,
) -> Vec<(&'static str, String)> {
    vec![
        ("bindAddress", address.ip().to_string()),
        ("configStorePath", files.settings.display().to_string()),
        ("kvConfigPath", files.key_values.display().to_string()),
        ("listenPort", address.port().to_string()),
        ("serverChannelMaxIdleTimeSeconds", (options.connection_idle_ms / 1000).to_string()),
    ]
}

impl<S: SharedFiles> LoadedNameServer<S> {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it takes at the most.
    pub fn connections_max(&self) -> u32 {
        self.limits.connections_max
    }

    /// Takes so many at the most.
    pub fn limit_connections(&mut self, connections_max: u32) {
        self.limits.connections_max = connections_max;
    }

    /// Starts its thread.
    ///
    /// # Errors
    /// The machine gives no eventfd or no thread.
    pub fn start(self) -> Result<NameServerThread, ServerError> {
        let io_error = |source| ServerError::Io { operation: "make an eventfd", source };
        let doorbell = EventFd::new().map_err(io_error)?;
        let stop: StopFlag = StopFlag::default();
        // The broker's control thread answers about the process.
        let pulse = Arc::default();
        let own = doorbell.try_clone().map_err(io_error)?;
        let handle = self.spawn(own, StopFlag::clone(&stop), pulse)?;
        Ok(NameServerThread { handle, stop, doorbell })
    }

    fn spawn(
        self,
        doorbell: EventFd,
        stop: StopFlag,
        pulse: Arc<Pulse>,
    ) -> Result<CoreHandle<()>, ServerError> {
        let LoadedNameServer { listener, limits, files, beginning, .. } = self;
        let parts = Parts { listener, beginning, files, limits, doorbell, stop, pulse };
        let serve = move || name_server::run(parts);
        Ok(spawn_core::<(), io::Error, _, _>("namesrv", CoreOptions::new(Placement::Free), serve)?)
    }
}

impl NameServerThread {
    /// Ends it and waits until it has ended.
    ///
    /// # Errors
    /// What it failed with.
    pub fn stop(self) -> Result<(), ServerError> {
        self.stop.store(true, Ordering::Release);
        self.doorbell.signal();
        Ok(self.handle.join()?)
    }
}
