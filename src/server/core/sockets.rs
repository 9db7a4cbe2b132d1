//! A core and its connections: what arrives, what has to wait, what goes out, what is closed.
//! Kind: shell

use std::io;
use std::net::SocketAddr;

use runtime::clock::Now;
use runtime::{ConnectionId, NetEvent, Received, Ring};

use super::Core;
use super::life::Phase;
use crate::broker::{Broker, Flow, HomeCopy};
use crate::net::connected::{self, Connected};
use crate::net::flush::{Unsendable, flush};
use crate::net::intake::Frames;
use crate::net::limits::HELD_BYTES_PAUSE;
use crate::net::outbox::Outboxes;
use crate::router::Origin;
use crate::router::exchange::{Exchange, ToPeer};
use crate::router::limits::CROSSING_PULLS_MAX;

/// How often idle connections are looked for, ms.
const IDLE_SCAN_MS: u64 = 10_000;

/// Received bytes that wait because the log has no room.
#[derive(Debug)]
pub(super) struct Stalled {
    connection: ConnectionId,
    received: Received,
    at: usize,
}

impl<R: Ring> Core<R> {
    pub(super) fn net_event(&mut self, now: Now, event: NetEvent) {
        match event {
            NetEvent::Accepted { connection, peer, .. } => self.accept(now, connection, peer),
            NetEvent::Received { connection, received } => {
                if !self.stalled.is_empty() || self.phase != Phase::Serving {
                    self.stalled.push_back(Stalled { connection, received, at: 0 });
                } else if let Some(stalled) = self.receive(now, connection, received, 0) {
                    self.stalled.push_back(stalled);
                }
            }
            NetEvent::Closed { connection, error } => {
                if let Some(error) = error.filter(|it| it.kind() != io::ErrorKind::ConnectionReset)
                {
                    let peer = self.connections[connection.index()].peer;
                    tracing::debug!(?peer, %error, "connection failed");
                }
                self.forget(connection);
            }
            NetEvent::Writable { connection } => {
                // With this turn's answers: what they rest on must have left before.
                self.outboxes.of(connection);
            }
            NetEvent::Deadline => {}
        }
    }

    /// Gives a new connection to the core that has the fewest.
    fn accept(&mut self, now: Now, connection: ConnectionId, peer: SocketAddr) {
        let own = self.broker.router().core();
        self.connection_counts[own] = self.ring.open_connections().saturating_sub(1);
        let open: u32 = self.connection_counts.iter().sum();
        if open >= self.config.connections_max {
            if let Some(left_out) = self.turned_away.take(now.monotonic_ms()) {
                tracing::warn!(
                    connections_max = self.config.connections_max,
                    %peer,
                    left_out,
                    "connection closed: as many as allowed are open (ringmqConnectionsMax)"
                );
            }
            drop(self.ring.take_socket(connection));
            return;
        }
        let cores = self.connection_counts.iter().enumerate();
        let (core, _) = cores.min_by_key(|(_, count)| **count).expect("there is this one");
        if core == own || !self.config.accepts_for_all {
            self.open(now, connection, peer);
            return;
        }
        self.connection_counts[core] += 1;
        let socket = self.ring.take_socket(connection);
        self.exchange.tell(core, ToPeer::Connection { socket, peer });
    }

    pub(super) fn open(&mut self, now: Now, connection: ConnectionId, peer: SocketAddr) {
        self.outboxes.open(connection);
        connected::open(&mut self.connections, connection, peer, now.monotonic_ms());
    }

    /// Frames that waited for room in the log, in order.
    pub(super) fn resume_stalled(&mut self, now: Now) {
        while self.phase != Phase::Starting
            && let Some(stalled) = self.stalled.pop_front()
        {
            let Stalled { connection, received, at } = stalled;
            if let Some(stalled) = self.receive(now, connection, received, at) {
                self.stalled.push_front(stalled);
                return;
            }
        }
    }

    /// Handles the frames in received bytes from `at` on; gives back what must wait for the log.
    fn receive(
        &mut self,
        now: Now,
        connection: ConnectionId,
        received: Received,
        at: usize,
    ) -> Option<Stalled> {
        let connected = &mut self.connections[connection.index()];
        if connected.id != Some(connection) {
            self.ring.release(received);
            return None;
        }
        connected.active_ms = now.monotonic_ms();
        let bytes = &self.ring.bytes(&received)[at..];
        let looked = if connected.held.is_empty() {
            let mut handler = FrameHandler {
                broker: &mut self.broker,
                outboxes: &mut self.outboxes,
                exchange: &mut self.exchange,
                assembling_bytes: &mut self.assembling_bytes,
                is_stopping: self.phase.is_stopping(),
            };
            handler.handle(now, connected, bytes)
        } else {
            Looked::Full { at: 0 }
        };
        match looked {
            Looked::All => {}
            Looked::Wait { at: taken } => {
                return Some(Stalled { connection, received, at: at + taken });
            }
            Looked::Full { at } => {
                // The receive buffer goes back: others need it.
                if !std::mem::replace(&mut connected.is_held, true) {
                    self.held.push(connection);
                }
                connected.held.extend_from_slice(&bytes[at..]);
                self.assembling_bytes += bytes.len() - at;
                // Not only when the socket is full: pulls that other cores have not handled hold it, too.
                if connected.held.len() > HELD_BYTES_PAUSE
                    && !std::mem::replace(&mut connected.is_paused, true)
                {
                    self.ring.pause(connection);
                }
            }
            Looked::Failed(reason) => {
                self.ring.release(received);
                self.refuse_connection(connection, &reason);
                return None;
            }
        }
        self.ring.release(received);
        if self.assembling_bytes > self.config.assembling_bytes_max {
            self.refuse_connection(
                connection,
                &too_many_assembling(self.config.assembling_bytes_max),
            );
        }
        None
    }

    fn refuse_connection(&mut self, connection: ConnectionId, reason: &str) {
        let peer = self.connections[connection.index()].peer;
        tracing::warn!(?peer, reason, "connection closed: its requests cannot be taken");
        self.close(connection);
    }

    /// Looks at what was held back of connections whose clients have read since. Whether any was.
    pub(super) fn resume_held(&mut self, now: Now) -> bool {
        if self.phase == Phase::Starting || !self.stalled.is_empty() {
            return false;
        }
        let mut worked = false;
        let mut refused = Vec::new();
        let mut held = std::mem::take(&mut self.held);
        held.retain(|connection| {
            let connected = &mut self.connections[connection.index()];
            if connected.id != Some(*connection) {
                return false;
            }
            if self.outboxes.is_full(*connection) || connected.crossing_pulls >= CROSSING_PULLS_MAX
            {
                return true;
            }
            let bytes = std::mem::take(&mut connected.held);
            self.assembling_bytes -= bytes.len();
            // It has not been silent: it was not read from.
            connected.active_ms = now.monotonic_ms();
            let mut handler = FrameHandler {
                broker: &mut self.broker,
                outboxes: &mut self.outboxes,
                exchange: &mut self.exchange,
                assembling_bytes: &mut self.assembling_bytes,
                is_stopping: self.phase.is_stopping(),
            };
            match handler.handle(now, connected, &bytes) {
                Looked::All => worked = true,
                looked @ (Looked::Wait { at } | Looked::Full { at }) => {
                    // Full by an answer of this turn: the next one goes on, whatever happens.
                    worked |= at > 0 || matches!(looked, Looked::Full { .. });
                    connected.held = bytes;
                    connected.held.drain(..at);
                    self.assembling_bytes += connected.held.len();
                    return true;
                }
                Looked::Failed(reason) => refused.push((*connection, reason)),
            }
            connected.is_held = false;
            // If it is full it has something to send, and reads on when that is sent.
            if connected.is_paused && !self.outboxes.is_full(*connection) {
                connected.is_paused = false;
                self.ring.resume(*connection);
            }
            false
        });
        held.append(&mut self.held);
        self.held = held;
        for (connection, reason) in refused {
            self.refuse_connection(connection, &reason);
        }
        worked
    }

    pub(super) fn flush_outboxes(&mut self) {
        for core in self.exchange.others() {
            let exchange = &mut self.exchange;
            let memory = || exchange.empty_answers(core);
            let answers = self.outboxes.take_remote(core, &self.broker.shards, memory);
            if let Some(answers) = answers {
                self.exchange.tell(core, ToPeer::Answers(answers));
            }
        }
        self.exchange.flush();
        while let Some(connection) = self.outboxes.next_dirty() {
            self.flush(connection);
        }
    }

    fn flush(&mut self, connection: ConnectionId) {
        let connected = &mut self.connections[connection.index()];
        let peer = connected.peer;
        let shards = &self.broker.shards;
        let flushed = flush(&mut self.ring, &mut self.outboxes, shards, connection, connected);
        match flushed {
            Ok(()) => return,
            Err(Unsendable::TooMuchWaits(bytes)) => {
                tracing::warn!(?peer, bytes, "connection closed: it does not read its answers");
            }
            Err(Unsendable::Broken(error)) => {
                tracing::debug!(?peer, %error, "connection closed: sending failed");
            }
        }
        self.close(connection);
    }

    pub(super) fn close(&mut self, connection: ConnectionId) {
        self.ring.close(connection);
        self.forget(connection);
    }

    fn forget(&mut self, connection: ConnectionId) {
        let connected = &mut self.connections[connection.index()];
        if connected.id == Some(connection) {
            self.assembling_bytes -= connected.intake.waiting_bytes() + connected.held.len();
            if connected.crossed {
                self.exchange.ended(connection);
            }
            if let Some(core) = connected.accepted_by {
                self.exchange.tell(core, ToPeer::ConnectionEnded);
            }
            *connected = Connected::default();
            self.outboxes.close(connection);
            self.broker.closed(connection, &mut self.outboxes);
        }
    }

    pub(super) fn close_wanted(&mut self) {
        while let Some(connection) = self.broker.next_closing() {
            if connection.core() != self.broker.router().core() {
                self.exchange.tell(connection.core(), ToPeer::Close(connection));
            } else if self
                .connections
                .get(connection.index())
                .is_some_and(|it| it.id == Some(connection))
            {
                self.close(connection);
            }
        }
    }

    pub(super) fn close_idle(&mut self, now: Now) {
        if now.monotonic_ms() < self.next_idle_ms {
            return;
        }
        self.next_idle_ms = now.monotonic_ms() + IDLE_SCAN_MS;
        let oldest = now.monotonic_ms().saturating_sub(self.config.idle_ms);
        for connection in connected::silent_since(&self.connections, oldest) {
            let peer = self.connections[connection.index()].peer;
            tracing::debug!(?peer, "connection closed: idle");
            self.close(connection);
        }
    }
}

/// What came of looking at received bytes.
#[derive(Debug)]
enum Looked {
    /// All frames were handled; the beginning of one may wait for its rest.
    All,
    /// The log or another core has no room: the frame at this place has to wait.
    Wait { at: usize },
    /// The client does not read its answers: the frame at this place has to wait until it does.
    Full { at: usize },
    /// These bytes are no requests.
    Failed(String),
}

/// What handling a connection's frames needs of a core.
struct FrameHandler<'a, S> {
    broker: &'a mut Broker,
    outboxes: &'a mut Outboxes,
    exchange: &'a mut Exchange<S, HomeCopy>,
    assembling_bytes: &'a mut usize,
    is_stopping: bool,
}

impl<S> FrameHandler<'_, S> {
    /// Handles the frames in `bytes`, which arrived behind what the connection's intake has.
    fn handle(&mut self, now: Now, connected: &mut Connected, bytes: &[u8]) -> Looked {
        let connection = connected.id.expect("it is open");
        let peer = connected.peer.expect("set with the id");
        let origin = Origin { connection, peer, crossings: 0, has_record: false };
        *self.assembling_bytes -= connected.intake.waiting_bytes();
        let mut frames = Frames::new(&mut connected.intake, bytes, 0);
        let looked = loop {
            let frame = match frames.next_with_rest() {
                Ok(Some((frame, rest))) => {
                    self.broker.prefetch_for(rest);
                    frame
                }
                Ok(None) => {
                    frames.finish(&mut connected.intake);
                    break Looked::All;
                }
                Err(error) => return Looked::Failed(error.to_string()),
            };
            if self.is_stopping {
                self.broker.turn_away(origin, &frame, self.outboxes);
                continue;
            }
            if self.outboxes.is_full(connection) {
                break Looked::Full { at: frames.put_back(&mut connected.intake) };
            }
            let is_taken = match self.broker.handle(now, origin, &frame, self.outboxes) {
                Ok(Flow::Done) => true,
                Ok(Flow::Wait) => false,
                Ok(Flow::To { is_pull: true, .. })
                    if connected.crossing_pulls >= CROSSING_PULLS_MAX =>
                {
                    break Looked::Full { at: frames.put_back(&mut connected.intake) };
                }
                Ok(Flow::To { core, is_pull }) => {
                    connected.crossed = true;
                    let is_sent = self.exchange.send_on(core, origin, &frame, is_pull);
                    connected.crossing_pulls += u32::from(is_sent && is_pull);
                    is_sent
                }
                Err(error) => return Looked::Failed(error.to_string()),
            };
            if !is_taken {
                break Looked::Wait { at: frames.put_back(&mut connected.intake) };
            }
        };
        *self.assembling_bytes += connected.intake.waiting_bytes();
        looked
    }
}

fn too_many_assembling(limit: usize) -> String {
    format!(
        "requests that arrived in part take more than {limit} bytes (ringmqInFlightBytesPerCore)"
    )
}
