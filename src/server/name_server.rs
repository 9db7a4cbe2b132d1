//! The NameServer's loop: the same reactor and connection code as a core, on a thread of its own.
//! It sleeps until a request, a broker's expiry, an idle connection or a written file.
//! Owns: the ring, intakes and outboxes of the NameServer's connections.
//! Lives on: the NameServer's thread
//! Kind: shell
//! Invariants:
//! - a connection with much to read is not asked further, and not read from while requests of it are held;
//! - frames that arrived in part and requests that are held take no more than the limit, one event aside.

pub mod files;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proto::command::Command;
use runtime::clock::{Clock, Now};
use runtime::eventfd::EventFd;
use runtime::file::{FileSystem, SharedFiles};
use runtime::rare::RareLine;
use runtime::{ConnectionId, Events, NetEvent, Reactor, ReactorConfig, Received, Ring};

use self::files::{KeptFiles, Saver};
use super::control::StopFlag;
use crate::namesrv::{Beginning, ConnectionKey, NameServer, Save};
use crate::net::connected::{self, Connected};
use crate::net::flush::flush;
use crate::net::intake::Frames;
use crate::net::outbox::Outboxes;
use crate::observe::{NameServerFigures, Pulse};

/// The turn of a NameServer over its ring. See the module's first lines.
pub struct Loop<R: Ring> {
    ring: R,
    events: Events,
    outboxes: Outboxes,
    connections: Vec<Connected>,
    name_server: NameServer,
    limits: ConnectionLimits,
    /// Connections whose requests wait until their answers were taken; some may be closed.
    held: Vec<ConnectionId>,
    /// Bytes of frames that arrived in part and of requests that are held.
    assembling_bytes: usize,
    /// Closed because there are too many of those.
    over_limit: RareLine,
    /// Not after the first connection is idle for too long; `None` without connections.
    idle_at_ms: Option<u64>,
    /// Frames that were handled.
    requests: u64,
}

/// Limits of the NameServer's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// So many at the most.
    pub connections_max: u32,
    /// Those silent for longer are closed, ms.
    pub idle_ms: u64,
    /// One that brings more than so many bytes of frames in part, all connections together, is closed.
    pub assembling_bytes_max: usize,
}

/// What came of looking at received bytes.
#[derive(Debug)]
enum Looked {
    /// All frames were handled; the beginning of one may wait for its rest.
    All,
    /// The client does not read its answers: the frame at this place has to wait until it does.
    Full { at: usize },
    /// These bytes are no requests.
    Failed(String),
}

/// What a NameServer's thread is given to start.
#[derive(Debug)]
pub struct Parts<S: FileSystem> {
    /// Where its connections come from.
    pub listener: OwnedFd,
    /// What it starts from.
    pub beginning: Beginning,
    /// Where what operators set is kept.
    pub files: KeptFiles<S>,
    /// Of its connections.
    pub limits: ConnectionLimits,
    /// Wakes it.
    pub doorbell: EventFd,
    /// Whether a stop was asked for.
    pub stop: StopFlag,
    /// Who asks how it is.
    pub pulse: Arc<Pulse>,
}

/// Serves until `stop` is set and `doorbell` rung.
///
/// # Errors
/// The ring cannot be made or is broken, or the thread that writes files cannot be started.
pub async fn run<S: SharedFiles>(parts: Parts<S>) -> io::Result<()> {
    let Parts { listener, beginning, files, limits, doorbell, stop, pulse } = parts;
    let saver = Saver::start(files, doorbell.try_clone()?)?;
    let mut reactor =
        Reactor::new(ReactorConfig { core: 0, connections_max: limits.connections_max })?;
    reactor.watch(doorbell);
    reactor.listen(listener);
    let mut server = Loop::new(reactor, Clock.now(), beginning, limits);
    while !stop.load(Ordering::Acquire) {
        let now = Clock.now();
        let mut has_news = server.step(now)?;
        // Behind the poll, which takes the doorbell's ring: what it was rung for is there now.
        if let Some(outcome) = saver.outcome() {
            server.saved(now, outcome);
            has_news = true;
        }
        pulse.answer(|| server.figures(now));
        if let Some(save) = server.next_save() {
            saver.save(save);
        }
        if !has_news && !stop.load(Ordering::Acquire) {
            if let Some(at_ms) = server.due_at_ms() {
                server.ring.wake_at(at_ms.saturating_mul(1_000_000));
            }
            server.ring.wait()?;
        }
    }
    saver.finish();
    Ok(())
}

impl<R: Ring> std::fmt::Debug for Loop<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loop").field("name_server", &self.name_server).finish_non_exhaustive()
    }
}

impl<R: Ring> Loop<R> {
    /// A NameServer that knows nobody, over a ring that listens.
    pub fn new(ring: R, now: Now, beginning: Beginning, limits: ConnectionLimits) -> Loop<R> {
        Loop {
            ring,
            events: Events::default(),
            outboxes: Outboxes::default(),
            connections: Vec::new(),
            name_server: NameServer::new(now.monotonic_ms(), beginning),
            limits,
            held: Vec::new(),
            assembling_bytes: 0,
            over_limit: RareLine::default(),
            idle_at_ms: None,
            requests: 0,
        }
    }

    /// How it is, for who asks.
    pub fn figures(&self, now: Now) -> NameServerFigures {
        let (brokers, topics, is_waiting) = self.name_server.figures(now.monotonic_ms());
        NameServerFigures {
            brokers: brokers as u64,
            topics: topics as u64,
            connections: u64::from(self.ring.open_connections()),
            requests: self.requests,
            is_waiting,
        }
    }

    /// The ring under it.
    pub fn ring(&mut self) -> &mut R {
        &mut self.ring
    }

    /// When there is something to do at the latest, monotonic ms; `None`: when somebody comes.
    pub fn due_at_ms(&self) -> Option<u64> {
        self.name_server.tick_at_ms().into_iter().chain(self.idle_at_ms).min()
    }

    /// A file to be written, see [`NameServer::next_save`].
    pub fn next_save(&mut self) -> Option<Save> {
        self.name_server.next_save()
    }

    /// The outcome of a save, or why it failed: answers those who wait for it.
    pub fn saved(&mut self, now: Now, outcome: Result<(), String>) {
        for answer in self.name_server.saved(outcome) {
            // Its connection may be gone.
            if let Some(outbox) = self.outboxes.of(ConnectionId::from_bits(answer.connection.0)) {
                outbox.bytes().extend_from_slice(&answer.frame);
            }
        }
        self.flush_all(now);
    }

    /// Collects what came and takes one turn over it. Whether anything came or is left to be done; if not,
    /// the thread may park until the ring has something or [`due_at_ms`](Self::due_at_ms) has come.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn step(&mut self, now: Now) -> io::Result<bool> {
        self.ring.poll(&mut self.events)?;
        let has_news = !self.events.is_empty();
        self.turn(now);
        // Of those that are full the ring tells when they can be written to.
        let goes_on = self.held.iter().any(|connection| !self.outboxes.is_full(*connection));
        Ok(has_news || goes_on)
    }

    fn turn(&mut self, now: Now) {
        let mut net = std::mem::take(&mut self.events.net);
        for event in net.drain(..) {
            self.net_event(now, event);
        }
        self.events.net = net;
        self.resume_held(now);
        for key in self.name_server.tick(now.monotonic_ms()) {
            self.close(now, ConnectionId::from_bits(key.0));
        }
        self.close_idle(now);
        self.flush_all(now);
    }

    fn flush_all(&mut self, now: Now) {
        while let Some(connection) = self.outboxes.next_dirty() {
            self.flush(now, connection);
        }
    }

    /// Closes connections that have asked nothing for `serverChannelMaxIdleTimeSeconds`.
    fn close_idle(&mut self, now: Now) {
        let now_ms = now.monotonic_ms();
        if self.idle_at_ms.is_none_or(|at_ms| now_ms < at_ms) {
            return;
        }
        let oldest = now_ms.saturating_sub(self.limits.idle_ms);
        for connection in connected::silent_since(&self.connections, oldest) {
            self.close(now, connection);
        }
        let open = self.connections.iter().filter(|connected| connected.id.is_some());
        self.idle_at_ms = open.map(|connected| connected.active_ms + self.limits.idle_ms + 1).min();
    }

    fn net_event(&mut self, now: Now, event: NetEvent) {
        match event {
            NetEvent::Accepted { connection, peer, .. } => {
                self.outboxes.open(connection);
                let now_ms = now.monotonic_ms();
                connected::open(&mut self.connections, connection, peer, now_ms);
                // Later than that of any other, unless there is none.
                self.idle_at_ms.get_or_insert(now_ms + self.limits.idle_ms + 1);
            }
            NetEvent::Received { connection, received } => {
                self.receive(now, connection, &received);
                self.ring.release(received);
            }
            NetEvent::Closed { connection, .. } => self.forget(now, connection),
            NetEvent::Writable { connection } => self.flush(now, connection),
            NetEvent::Deadline => {}
        }
    }

    /// Handles the frames in received bytes; holds those that must wait.
    fn receive(&mut self, now: Now, connection: ConnectionId, received: &Received) {
        let connected = &mut self.connections[connection.index()];
        if connected.id != Some(connection) {
            return;
        }
        connected.active_ms = now.monotonic_ms();
        let bytes = self.ring.bytes(received);
        let looked = if connected.held.is_empty() {
            let mut handler = FrameHandler {
                name_server: &mut self.name_server,
                outboxes: &mut self.outboxes,
                assembling_bytes: &mut self.assembling_bytes,
                requests: &mut self.requests,
            };
            handler.handle(now, connected, bytes)
        } else {
            Looked::Full { at: 0 }
        };
        match looked {
            Looked::All => {}
            Looked::Full { at } => {
                // The receive buffer goes back: others need it.
                connected.held.extend_from_slice(&bytes[at..]);
                self.assembling_bytes += bytes.len() - at;
                if !std::mem::replace(&mut connected.is_held, true) {
                    self.held.push(connection);
                }
                // Not only when the socket is full: who reads slowly could bring more than he is given.
                if !std::mem::replace(&mut connected.is_paused, true) {
                    self.ring.pause(connection);
                }
            }
            Looked::Failed(reason) => return self.refuse_connection(now, connection, &reason),
        }
        let limit = self.limits.assembling_bytes_max;
        if self.assembling_bytes > limit {
            let peer = self.connections[connection.index()].peer;
            if let Some(left_out) = self.over_limit.take(now.monotonic_ms()) {
                tracing::warn!(
                    ?peer,
                    limit,
                    left_out,
                    "connection to the NameServer closed: requests that arrived in part take more \
                     bytes than the limit"
                );
            }
            self.close(now, connection);
        }
    }

    fn refuse_connection(&mut self, now: Now, connection: ConnectionId, reason: &str) {
        let peer = self.connections[connection.index()].peer;
        tracing::warn!(
            ?peer,
            reason,
            "connection to the NameServer closed: what it sent is no RocketMQ frame"
        );
        self.close(now, connection);
    }

    /// Looks at what was held back of connections whose clients have read since, and reads on from those
    /// of which nothing is left.
    fn resume_held(&mut self, now: Now) {
        let mut refused = Vec::new();
        let mut held = std::mem::take(&mut self.held);
        held.retain(|connection| {
            let connected = &mut self.connections[connection.index()];
            if connected.id != Some(*connection) {
                return false;
            }
            if self.outboxes.is_full(*connection) {
                return true;
            }
            let bytes = std::mem::take(&mut connected.held);
            self.assembling_bytes -= bytes.len();
            // It has not been silent: it was not read from.
            connected.active_ms = now.monotonic_ms();
            let mut handler = FrameHandler {
                name_server: &mut self.name_server,
                outboxes: &mut self.outboxes,
                assembling_bytes: &mut self.assembling_bytes,
                requests: &mut self.requests,
            };
            match handler.handle(now, connected, &bytes) {
                Looked::Full { at } => {
                    connected.held.extend_from_slice(&bytes[at..]);
                    self.assembling_bytes += connected.held.len();
                    return true;
                }
                Looked::All => {}
                Looked::Failed(reason) => refused.push((*connection, reason)),
            }
            connected.is_held = false;
            // If it is full it has something to send, and reads on when that is sent.
            if !self.outboxes.is_full(*connection) {
                connected.is_paused = false;
                self.ring.resume(*connection);
            }
            false
        });
        self.held = held;
        for (connection, reason) in refused {
            self.refuse_connection(now, connection, &reason);
        }
    }

    fn flush(&mut self, now: Now, connection: ConnectionId) {
        let connected = &mut self.connections[connection.index()];
        let peer = connected.peer;
        let sent = flush(&mut self.ring, &mut self.outboxes, &[], connection, connected);
        if let Err(reason) = sent {
            tracing::debug!(?peer, ?reason, "connection closed");
            self.close(now, connection);
        }
    }

    fn close(&mut self, now: Now, connection: ConnectionId) {
        self.ring.close(connection);
        self.forget(now, connection);
    }

    fn forget(&mut self, now: Now, connection: ConnectionId) {
        let connected = &mut self.connections[connection.index()];
        if connected.id == Some(connection) {
            self.assembling_bytes -= connected.intake.waiting_bytes() + connected.held.len();
            *connected = Connected::default();
            self.outboxes.close(connection);
            let key = ConnectionKey(connection.to_bits());
            self.name_server.connection_closed(now.monotonic_ms(), key);
        }
    }
}

/// What handling a connection's frames needs of a NameServer.
struct FrameHandler<'a> {
    name_server: &'a mut NameServer,
    outboxes: &'a mut Outboxes,
    assembling_bytes: &'a mut usize,
    requests: &'a mut u64,
}

impl FrameHandler<'_> {
    /// Handles the frames in `bytes`, which arrived behind what the connection's intake has.
    fn handle(&mut self, now: Now, connected: &mut Connected, bytes: &[u8]) -> Looked {
        let connection = connected.id.expect("it is open");
        let peer = connected.peer.expect("set with the id");
        let key = ConnectionKey(connection.to_bits());
        *self.assembling_bytes -= connected.intake.waiting_bytes();
        let mut frames = Frames::new(&mut connected.intake, bytes, 0);
        let looked = loop {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    frames.finish(&mut connected.intake);
                    break Looked::All;
                }
                Err(error) => return Looked::Failed(error.to_string()),
            };
            if self.outboxes.is_full(connection) {
                break Looked::Full { at: frames.put_back(&mut connected.intake) };
            }
            let command = match Command::decode(&frame) {
                Ok(command) => command,
                Err(error) => return Looked::Failed(error.to_string()),
            };
            let outbox = self.outboxes.of(connection).expect("it lasts as long as the connection");
            *self.requests += 1;
            let now_ms = now.monotonic_ms();
            self.name_server.handle(now_ms, key, peer, &command, frame.body, outbox.bytes());
        };
        *self.assembling_bytes += connected.intake.waiting_bytes();
        looked
    }
}

#[cfg(test)]
mod tests;
