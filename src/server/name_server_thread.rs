//! A NameServer as a thread: beside a broker in `ringmq server`, alone in `ringmq namesrv`.
//! Kind: shell

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

use runtime::eventfd::EventFd;
use runtime::executor::{CoreHandle, CoreOptions, spawn_core};
use runtime::placement::Placement;
use runtime::probe;

use super::control::StopFlag;
use super::name_server::{self, ConnectionLimits};
use super::{ServerError, listen, watch_signals};
use crate::config::NameServerOptions;

/// A NameServer whose port is taken and whose thread has not started.
#[derive(Debug)]
pub struct BoundNameServer {
    options: NameServerOptions,
    listener: OwnedFd,
    address: SocketAddr,
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
pub fn run(options: NameServerOptions) -> Result<(), ServerError> {
    let started = Instant::now();
    probe::raise_soft_limits();
    let report = probe::probe(None).map_err(ServerError::Probe)?;
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    let bound = BoundNameServer::listen(options)?;
    let address = bound.address;
    let (stop, doorbell) = watch_signals()?;
    let handle = bound.spawn(doorbell, stop)?;
    println!("NameServer  {address}");
    println!("ready after {} ms", started.elapsed().as_millis());
    handle.join()?;
    tracing::info!("stopped");
    Ok(())
}

impl BoundNameServer {
    /// Takes the port.
    ///
    /// # Errors
    /// [`ServerError::Listen`].
    pub fn listen(options: NameServerOptions) -> Result<BoundNameServer, ServerError> {
        let (listener, address) = listen(options.listen, options.port, "the NameServer")?;
        Ok(BoundNameServer { options, listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts its thread.
    ///
    /// # Errors
    /// The machine gives no eventfd or no thread.
    pub fn start(self) -> Result<NameServerThread, ServerError> {
        let io_error = |source| ServerError::Io { operation: "make an eventfd", source };
        let doorbell = EventFd::new().map_err(io_error)?;
        let stop: StopFlag = StopFlag::default();
        let handle = self.spawn(doorbell.try_clone().map_err(io_error)?, StopFlag::clone(&stop))?;
        Ok(NameServerThread { handle, stop, doorbell })
    }

    fn spawn(self, doorbell: EventFd, stop: StopFlag) -> Result<CoreHandle<()>, ServerError> {
        let BoundNameServer { options, listener, .. } = self;
        let limits = ConnectionLimits {
            connections_max: options.connections_max,
            idle_ms: options.connection_idle_ms,
        };
        let settings = options.settings;
        let serve = move || name_server::run(listener, settings, limits, doorbell, stop);
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
