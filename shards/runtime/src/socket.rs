//! TCP listeners and the options RocketMQ's sockets have.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Connections the kernel queues before they are accepted, as in RocketMQ (NettyServerConfig).
const BACKLOG: i32 = 1024;

/// How long a port may be in use: the kernel takes the ring of a program that ended down in the
/// background, and what it accepted from listens until then. Who starts again at once would fail.
const IN_USE_MAX: Duration = Duration::from_secs(2);

/// How often it is tried meanwhile.
const IN_USE_RETRY: Duration = Duration::from_millis(10);

/// Opens a listening socket on `address` (port 0: the kernel chooses one). Blocks up to 2 s while the
/// port is in use.
///
/// # Errors
/// AddrInUse when another program has the port, PermissionDenied below 1024, AddrNotAvailable when
/// the address is not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let begun = Instant::now();
    loop {
        match try_listen(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < IN_USE_MAX =>
            {
                std::thread::sleep(IN_USE_RETRY);
            }
            done => return done,
        }
    }
}

fn try_listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The address a socket is bound to.
///
/// # Errors
/// What getsockname says.
pub fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::ErrorKind::Unsupported.into())
}

/// The address of a connection's other end.
pub(crate) fn peer_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = rustix::net::getpeername(socket)?.ok_or(io::ErrorKind::NotConnected)?;
    SocketAddr::try_from(address).map_err(|_| io::ErrorKind::Unsupported.into())
}

/// Replies leave at once: the reactor gathers them itself.
pub(crate) fn set_no_delay(socket: &OwnedFd) -> io::Result<()> {
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_becomes_free_is_taken() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = other.local_addr().expect("bound");
        assert_eq!(try_listen(address).expect_err("it is taken").kind(), io::ErrorKind::AddrInUse);
        let leaves = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(other);
        });
        let socket = listen(address).expect("it is free soon");
        assert_eq!(local_address(&socket).expect("bound"), address);
        leaves.join().expect("no panic");
    }
}
