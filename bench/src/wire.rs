//! The connections of a run on one ring.
//! Owns: the reactor, the bytes of frames that are not complete, the bytes that sockets did not take.
//! Kind: shell
//! Invariants:
//!   frames of a link come out in the order in which they arrived
//!   bytes of a link are sent in the order in which they were given
//!   unsent bytes are bounded by what the caller keeps in flight

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::time::Duration;

use proto::frame::{Frame, Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use runtime::{ConnectionId, Events, NetEvent, Reactor, ReactorConfig};

use crate::clock;
use crate::error::Error;

/// How long a connection may take to be made.
pub const CONNECT_SECONDS: u64 = 5;

/// A connection, by its number from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkIndex(pub usize);

/// What the thread does while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It sleeps in the kernel.
    Park,
    /// It asks again at once: lower latency for a CPU of its own.
    Spin,
}

/// What it means that a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endings {
    /// The run cannot go on.
    Fail,
    /// It is told by [`Wire::take_ended`]; until [`Wire::reopen`] its bytes go nowhere.
    Note,
}

/// See the module's first lines.
pub struct Wire {
    endings: Endings,
    /// Connections that ended, and why.
    ended: Vec<(LinkIndex, String)>,
    reactor: Reactor,
    events: Events,
    links: Vec<Link>,
    /// The link of a connection's slot in the reactor.
    link_of: Vec<LinkIndex>,
    idle: Idle,
}

struct Link {
    connection: ConnectionId,
    address: SocketAddr,
    is_open: bool,
    /// The beginning of a frame whose end has not arrived.
    partial: Vec<u8>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
}

impl Wire {
    /// A wire without connections.
    ///
    /// # Errors
    /// [`Error::Ring`]
    pub fn new(idle: Idle) -> Result<Wire, Error> {
        let ring = |source| Error::Ring { source };
        let reactor = Reactor::new(ReactorConfig { core: 0, connections_max: 0 }).map_err(ring)?;
        let events = Events::default();
        let (endings, ended, links, link_of) = (Endings::Fail, vec![], vec![], vec![]);
        Ok(Wire { endings, ended, reactor, events, links, link_of, idle })
    }

    /// What is done about connections that end from now on.
    pub fn set_endings(&mut self, endings: Endings) {
        self.endings = endings;
    }

    /// Connections that ended since the last call, and why.
    pub fn take_ended(&mut self) -> Vec<(LinkIndex, String)> {
        std::mem::take(&mut self.ended)
    }

    /// Connects once more to an address.
    ///
    /// # Errors
    /// [`Error::Connect`]
    pub fn connect(&mut self, address: SocketAddr) -> Result<LinkIndex, Error> {
        let socket = TcpStream::connect_timeout(&address, Duration::from_secs(CONNECT_SECONDS))
            .map_err(|source| Error::Connect { address: address.to_string(), source })?;
        let connection = self.reactor.adopt(OwnedFd::from(socket), address);
        let link = LinkIndex(self.links.len());
        let (partial, unsent) = (Vec::new(), Vec::new());
        self.links.push(Link { connection, address, is_open: true, partial, unsent });
        self.name(connection, link);
        Ok(link)
    }

    /// A link that ended goes on over this connection.
    pub fn reopen(&mut self, link: LinkIndex, socket: TcpStream) {
        let it = &mut self.links[link.0];
        assert!(!it.is_open);
        it.connection = self.reactor.adopt(OwnedFd::from(socket), it.address);
        it.is_open = true;
        let connection = it.connection;
        self.name(connection, link);
    }

    fn name(&mut self, connection: ConnectionId, link: LinkIndex) {
        if self.link_of.len() <= connection.index() {
            self.link_of.resize(connection.index() + 1, link);
        }
        self.link_of[connection.index()] = link;
    }

    /// Sends bytes, now or as soon as the socket takes them.
    ///
    /// # Errors
    /// [`Error::Send`]: the socket is broken.
    pub fn send(&mut self, link: LinkIndex, bytes: &[u8]) -> Result<(), Error> {
        let Link { connection, address, unsent, is_open, .. } = &mut self.links[link.0];
        if !*is_open {
            return Ok(());
        }
        if !unsent.is_empty() {
            unsent.extend_from_slice(bytes);
            return Ok(());
        }
        let sent = match self.reactor.send(*connection, &[IoSlice::new(bytes)]) {
            Ok(sent) => sent,
            // Its end follows as an event.
            Err(_) if self.endings == Endings::Note => return Ok(()),
            Err(source) => return Err(Error::Send { address: address.to_string(), source }),
        };
        if sent < bytes.len() {
            unsent.extend_from_slice(&bytes[sent..]);
            self.reactor.await_writable(*connection);
        }
        Ok(())
    }

    /// Hands every frame that arrived to `on_frame`, with the time at which it was found; waits for
    /// one until `until_ns` if there is none yet.
    ///
    /// # Errors
    /// A connection ended or carries no frames, or what `on_frame` says.
    pub fn turn(
        &mut self,
        until_ns: u64,
        mut on_frame: impl FnMut(LinkIndex, &Frame<'_>, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let broken = |source| Error::Wait { source };
        if self.idle == Idle::Park {
            // Submitted by the poll that follows, as is all that the last turn started.
            self.reactor.wake_at(until_ns);
        }
        self.reactor.poll(&mut self.events).map_err(broken)?;
        if self.events.is_empty() && self.idle == Idle::Park {
            self.reactor.wait().map_err(broken)?;
            self.reactor.poll(&mut self.events).map_err(broken)?;
        }
        if self.events.is_empty() {
            return Ok(());
        }
        let now_ns = clock::monotonic_ns();
        let mut events = std::mem::take(&mut self.events.net);
        for event in events.drain(..) {
            self.handle(event, now_ns, &mut on_frame)?;
        }
        self.events.net = events;
        Ok(())
    }

    fn handle(
        &mut self,
        event: NetEvent,
        now_ns: u64,
        on_frame: &mut impl FnMut(LinkIndex, &Frame<'_>, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match event {
            NetEvent::Received { connection, received } => {
                let index = self.link_of[connection.index()];
                let link = &mut self.links[index.0];
                let bytes = self.reactor.bytes(&received);
                link.take(bytes, |frame| on_frame(index, frame, now_ns))?;
                self.reactor.release(received);
            }
            NetEvent::Writable { connection } => {
                let index = self.link_of[connection.index()];
                let unsent = std::mem::take(&mut self.links[index.0].unsent);
                self.send(index, &unsent)?;
            }
            NetEvent::Closed { connection, error } => {
                let index = self.link_of[connection.index()];
                let link = &mut self.links[index.0];
                let reason = error.map_or("in order".to_owned(), |error| error.to_string());
                if self.endings == Endings::Fail {
                    return Err(Error::Closed { address: link.address.to_string(), reason });
                }
                link.is_open = false;
                link.partial.clear();
                link.unsent.clear();
                self.ended.push((index, reason));
            }
            NetEvent::Deadline | NetEvent::Accepted { .. } => {}
        }
        Ok(())
    }
}

impl Link {
    /// Hands on the frames that are complete with these bytes and keeps the rest.
    fn take(
        &mut self,
        bytes: &[u8],
        mut on_frame: impl FnMut(&Frame<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rest = bytes;
        while !(rest.is_empty() && self.partial.is_empty()) {
            let is_partial = !self.partial.is_empty();
            let input: &[u8] = if is_partial { &self.partial } else { rest };
            let scanned = scan(input, FRAME_BYTES_MAX)
                .map_err(|source| Error::Frame { address: self.address.to_string(), source })?;
            match scanned {
                Scan::Frame { frame, size_bytes } => {
                    on_frame(&frame)?;
                    if is_partial {
                        self.partial.clear();
                    } else {
                        rest = &rest[size_bytes..];
                    }
                }
                Scan::Incomplete { .. } if rest.is_empty() => break,
                Scan::Incomplete { needed_bytes } => {
                    let missing_bytes = needed_bytes - self.partial.len();
                    let (next, behind) = rest.split_at(missing_bytes.min(rest.len()));
                    self.partial.extend_from_slice(next);
                    rest = behind;
                }
            }
        }
        Ok(())
    }
}

/// The first address of `host:port`.
///
/// # Errors
/// [`Error::Resolve`]
pub fn resolve(address: &str) -> Result<SocketAddr, Error> {
    let failed = |source| Error::Resolve { address: address.to_owned(), source };
    let mut found = address.to_socket_addrs().map_err(failed)?;
    found.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::frame::Encoding;
    use proto::reply::{RequestHead, write_request};

    use super::*;

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            cuts in prop::collection::vec(1usize..200, 1..50),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                let head = RequestHead { code: 1, opaque: 2, flag: 0 };
                write_request(&mut stream, Encoding::Binary, &head, None, body);
            }
            let mut link = Link {
                connection: ConnectionId::from_bits(0),
                address: "127.0.0.1:1".parse().expect("address"),
                is_open: true,
                partial: Vec::new(),
                unsent: Vec::new(),
            };
            let mut found: Vec<Vec<u8>> = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (next, behind) = rest.split_at((*cut).min(rest.len()));
                rest = behind;
                link.take(next, |frame| {
                    found.push(frame.body.to_vec());
                    Ok(())
                }).expect("frames");
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(found, bodies);
            prop_assert!(link.partial.is_empty());
        }
    }
}
