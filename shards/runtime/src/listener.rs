//! A listening socket for tasks of an executor: what is rare (health, metrics) is accepted there, not
//! in a core's ring.
//! Kind: shell

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use glommio::net::TcpListener;

/// The executor's listener on a socket that was opened before the executor was there, so that a port
/// that is taken is known before anything else happens. glommio's own `bind` would share the port
/// with another process that has it (SO_REUSEPORT).
///
/// # Panics
/// Outside a glommio executor.
pub fn listener_of(socket: OwnedFd) -> TcpListener {
    // SAFETY: the descriptor is open and nobody else's: `into_raw_fd` gave up its one owner, and the
    // listener closes it.
    unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) }
}
