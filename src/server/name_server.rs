//! The NameServer's loop: the same reactor and connection code as a core, on a thread of its own.
//! Owns: the ring, intakes and outboxes of the NameServer's connections.
//! Lives on: the NameServer's thread
//! Kind: shell

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use proto::command::Command;
use runtime::clock::{Clock, Now};
use runtime::eventfd::EventFd;
use runtime::{ConnectionId, Events, NetEvent, Reactor, ReactorConfig, Received, Ring};

use super::control::StopFlag;
use crate::namesrv::{ConnectionKey, NameServer, NameServerConfig};
use crate::net::connected::{self, Connected};
use crate::net::flush::flush;
use crate::net::intake::Frames;
use crate::net::outbox::Outboxes;

/// How often silent brokers are looked for at the most.
const TICK_NS: u64 = 1_000_000_000;

/// The turn of a NameServer over its ring. See the module's first lines.
pub struct Loop<R: Ring> {
    ring: R,
    events: Events,
    outboxes: Outboxes,
    connections: Vec<Connected>,
    name_server: NameServer,
    ticked_ns: u64,
    idle_ms: u64,
}

/// Limits of the NameServer's connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// So many at the most.
    pub connections_max: u32,
    /// Those silent for longer are closed, ms.
    pub idle_ms: u64,
}

/// Serves until `stop` is set and `doorbell` rung.
///
/// # Errors
/// The ring cannot be made or is broken.
pub async fn run(
    listener: OwnedFd,
    config: NameServerConfig,
    limits: ConnectionLimits,
    doorbell: EventFd,
    stop: StopFlag,
) -> io::Result<()> {
    let mut reactor =
        Reactor::new(ReactorConfig { core: 0, connections_max: limits.connections_max })?;
    reactor.watch(doorbell);
    reactor.listen(listener);
    let mut server = Loop::new(reactor, Clock.now(), config, limits);
    while !stop.load(Ordering::Acquire) {
        let now = Clock.now();
        if !server.step(now)? {
            server.ring.wake_at(now.monotonic_ns + TICK_NS);
            server.ring.wait()?;
        }
    }
    Ok(())
}

impl<R: Ring> std::fmt::Debug for Loop<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loop").field("name_server", &self.name_server).finish_non_exhaustive()
    }
}

impl<R: Ring> Loop<R> {
    /// A NameServer that knows nobody, over a ring that listens.
    pub fn new(ring: R, now: Now, config: NameServerConfig, limits: ConnectionLimits) -> Loop<R> {
        Loop {
            ring,
            events: Events::default(),
            outboxes: Outboxes::default(),
            connections: Vec::new(),
            name_server: NameServer::new(now.monotonic_ms(), config),
            ticked_ns: now.monotonic_ns,
            idle_ms: limits.idle_ms,
        }
    }

    /// The ring under it.
    pub fn ring(&mut self) -> &mut R {
        &mut self.ring
    }

    /// Collects what came and takes one turn over it. Whether anything came; if not, the thread may
    /// park until the ring has something or a second has passed.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn step(&mut self, now: Now) -> io::Result<bool> {
        self.ring.poll(&mut self.events)?;
        let has_news = !self.events.is_empty();
        self.turn(now);
        Ok(has_news)
    }

    fn turn(&mut self, now: Now) {
        let mut net = std::mem::take(&mut self.events.net);
        for event in net.drain(..) {
            self.net_event(now, event);
        }
        self.events.net = net;
        if now.monotonic_ns >= self.ticked_ns + TICK_NS {
            self.ticked_ns = now.monotonic_ns;
            for key in self.name_server.tick(now.monotonic_ms()) {
                self.close(now, ConnectionId::from_bits(key.0));
            }
            self.close_idle(now);
        }
        while let Some(connection) = self.outboxes.next_dirty() {
            self.flush(now, connection);
        }
    }

    /// Closes connections that have asked nothing for `serverChannelMaxIdleTimeSeconds`.
    fn close_idle(&mut self, now: Now) {
        let oldest = now.monotonic_ms().saturating_sub(self.idle_ms);
        for connection in connected::silent_since(&self.connections, oldest) {
            self.close(now, connection);
        }
    }

    fn net_event(&mut self, now: Now, event: NetEvent) {
        match event {
            NetEvent::Accepted { connection, peer, .. } => {
                self.outboxes.open(connection);
                let now_ms = now.monotonic_ms();
                connected::open(&mut self.connections, connection, peer, now_ms);
            }
            NetEvent::Received { connection, received } => {
                let failure = self.receive(now, connection, &received);
                self.ring.release(received);
                if let Some(reason) = failure {
                    let peer = self.connections[connection.index()].peer;
                    tracing::warn!(
                        ?peer,
                        reason,
                        "connection to the NameServer closed: what it sent is no RocketMQ frame"
                    );
                    self.close(now, connection);
                }
            }
            NetEvent::Closed { connection, .. } => self.forget(now, connection),
            NetEvent::Writable { connection } => self.flush(now, connection),
            NetEvent::Deadline => {}
        }
    }

    /// Handles the frames in received bytes; says why if they are none.
    fn receive(
        &mut self,
        now: Now,
        connection: ConnectionId,
        received: &Received,
    ) -> Option<String> {
        let connected = &mut self.connections[connection.index()];
        if connected.id != Some(connection) {
            return None;
        }
        connected.active_ms = now.monotonic_ms();
        let peer = connected.peer.expect("set with the id");
        let mut frames = Frames::new(&mut connected.intake, self.ring.bytes(received), 0);
        let key = ConnectionKey(connection.to_bits());
        loop {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    frames.finish(&mut connected.intake);
                    return None;
                }
                Err(error) => return Some(error.to_string()),
            };
            let command = match Command::decode(&frame) {
                Ok(command) => command,
                Err(error) => return Some(error.to_string()),
            };
            let outbox = self.outboxes.of(connection)?;
            let now_ms = now.monotonic_ms();
            self.name_server.handle(now_ms, key, peer, &command, frame.body, outbox.bytes());
        }
    }

    fn flush(&mut self, now: Now, connection: ConnectionId) {
        let connected = &mut self.connections[connection.index()];
        let peer = connected.peer;
        let is_paused = &mut connected.is_paused;
        let sent = flush(&mut self.ring, &mut self.outboxes, &[], connection, is_paused);
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
            *connected = Connected::default();
            self.outboxes.close(connection);
            let key = ConnectionKey(connection.to_bits());
            self.name_server.connection_closed(now.monotonic_ms(), key);
        }
    }
}
