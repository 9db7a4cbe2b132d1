//! A core: the turn that moves bytes between its ring, its broker and its shards.
//! Owns: the ring, connections' intakes and outboxes, segment files, the rings to control.
//! Lives on: every core
//! Kind: shell
//! Invariants: log completions before received bytes, or back-pressure deadlocks; received bytes of a
//! connection in order; nothing a turn refers to moves before its outboxes were flushed

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use engine::coldread::ColdReads;
use engine::retention::{DiskLook, Retention};
use engine::shard::{AppendRefused, Shard};
use proto::frame::{Scan, scan};
use runtime::clock::{Clock, Now};
use runtime::mesh::{Inbox, Peer, SleepFlag};
use runtime::{
    ConnectionId, Events, FileEvent, NetEvent, ParkingRing, Reactor, ReactorConfig, Received, Ring,
    WriteSync,
};

use super::files::{Files, ShardFiles};
use super::messages::{ToControl, ToCore};
use crate::broker::{Broker, Flow, HomeCopy, Onward};
use crate::net::connected::{self, Connected};
use crate::net::flush::{Unsendable, flush};
use crate::net::intake::Frames;
use crate::net::outbox::Outboxes;
use crate::observe::{Ask, CoreFigures};
use crate::router::Origin;
use crate::router::exchange::{Arrived, CROSSINGS_MAX, Exchange, Incoming, ToPeer};
use crate::router::limits::CROSSING_PULLS_MAX;
use crate::router::parcel;

/// What a core is given to start.
#[derive(Debug)]
pub struct CoreParts<R: Ring> {
    /// Everything but the shards' files.
    pub broker: Broker,
    /// For each shard its files, in the broker's order.
    pub files: Vec<ShardFiles<R::File>>,
    /// The broker's listening sockets: on the accepting core, none elsewhere.
    pub listeners: Vec<R::Listener>,
    /// To and from the other cores.
    pub exchange: Exchange<R::Socket, HomeCopy>,
    /// To the control thread.
    pub control: Peer<ToControl>,
    /// From the control thread.
    pub inbox: Inbox<ToCore<R::File>>,
    /// This core's sleeping flag and eventfd.
    pub sleep: SleepFlag,
    /// Settings.
    pub config: CoreConfig,
}

/// Settings of a core.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Connections of all cores together, at the most.
    pub connections_max: u32,
    /// Whether this core accepts connections for all, and gives each to the core with the fewest.
    pub accepts_for_all: bool,
    /// How long a core without work looks for some before it parks, µs.
    pub spin_us: u64,
    /// Connections that have sent nothing for longer are closed, ms.
    pub idle_ms: u64,
    /// Bytes of requests that have arrived in part, of all connections.
    pub assembling_bytes_max: usize,
    /// Background sync of ASYNC_FLUSH, ms.
    pub flush_interval_ms: u64,
    /// For messages about the store.
    pub store: PathBuf,
    /// Which segments may go.
    pub retention: Retention,
}

/// How often idle connections are looked for, ms.
const IDLE_SCAN_MS: u64 = 10_000;

/// At a clean stop, how long clients may take to read their last answers, ms.
const DRAIN_MS_MAX: u64 = 3_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The system topics are being made; the listener is not open yet.
    Starting,
    Serving,
    /// No new frames from clients; answers in progress are finished until the deadline.
    Draining {
        until_ns: u64,
    },
    /// What this core was asked is answered; others may still ask.
    Drained,
    /// What only memory had is in the log and must be durable before the end mark, which says so.
    Flushing,
    /// The end mark is in the log and must be confirmed.
    Ending,
    Stopped,
}

impl Phase {
    /// Whether clients' requests are taken no more.
    fn is_stopping(self) -> bool {
        !matches!(self, Phase::Starting | Phase::Serving)
    }
}

/// Received bytes that wait because the log has no room.
#[derive(Debug)]
struct Stalled {
    connection: ConnectionId,
    received: Received,
    at: usize,
}

/// The turn of one core over its ring. See the module's first lines.
pub struct Core<R: Ring> {
    ring: R,
    events: Events,
    broker: Broker,
    outboxes: Outboxes,
    connections: Vec<Connected>,
    stalled: VecDeque<Stalled>,
    /// Connections with received bytes that wait until their clients have read.
    held: Vec<ConnectionId>,
    files: Vec<ShardFiles<R::File>>,
    listeners: Vec<R::Listener>,
    exchange: Exchange<R::Socket, HomeCopy>,
    arrived: Vec<Arrived<R::Socket, HomeCopy>>,
    /// On the accepting core: how many connections each core has.
    connection_counts: Vec<u32>,
    control: Peer<ToControl>,
    unsent: VecDeque<ToControl>,
    inbox: Inbox<ToCore<R::File>>,
    config: CoreConfig,
    syncs: Vec<SyncInFlight>,
    phase: Phase,
    ticked_ms: u64,
    next_sync_ms: u64,
    next_idle_ms: u64,
    /// For each shard, whether its failure was told.
    poison_told: Vec<bool>,
    /// All cores are drained.
    is_to_end: bool,
    /// Bytes of frames that have arrived in part, of all connections.
    assembling_bytes: usize,
    turns: u64,
    parks: u64,
}

#[derive(Debug)]
struct SyncInFlight {
    shard: usize,
    left: usize,
    failure: Option<String>,
}

impl<R: Ring> std::fmt::Debug for Core<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// The kernel's ring for a core.
///
/// # Errors
/// As of [`Reactor::new`].
pub fn new_reactor(config: ReactorConfig) -> io::Result<Reactor> {
    let reactor = Reactor::new(config)?;
    if reactor.fallbacks().plain_ring {
        tracing::warn!("the kernel has no DEFER_TASKRUN (Linux 6.1): each frame costs more");
    }
    Ok(reactor)
}

/// Runs a core on a ring until it is told to stop. To be called on the core's own thread, which makes
/// the ring.
///
/// # Errors
/// The ring cannot be made or is broken.
pub async fn run<R: ParkingRing>(
    parts: CoreParts<R>,
    make_ring: impl FnOnce(ReactorConfig) -> io::Result<R>,
) -> io::Result<()> {
    let sleep = parts.sleep.clone();
    let core = u8::try_from(parts.broker.router().core()).expect("at most 64");
    let config = ReactorConfig { core, connections_max: parts.config.connections_max };
    let mut ring = make_ring(config)?;
    ring.watch(sleep.event().try_clone()?);
    let mut core = Core::new(ring, parts);
    let spin_ns = core.config.spin_us * 1_000;
    let mut worked_ns = 0;
    loop {
        let now = Clock.now();
        let worked = core.step(now)?;
        if core.is_stopped() {
            return Ok(());
        }
        if worked {
            worked_ns = now.monotonic_ns;
        }
        if worked || now.monotonic_ns < worked_ns + spin_ns {
            // Never yielded to the executor: it has no other task here, and one that yields under
            // load was left asleep while it could run (docs/decisions/0004-parking.md).
            continue;
        }
        core.arm_deadline(now);
        sleep.prepare_to_sleep();
        core.ring.poll(&mut core.events)?;
        if core.events.is_empty() && !core.has_messages() {
            core.parks += 1;
            core.ring.wait()?;
        }
        sleep.wake_up();
        if !core.events.is_empty() {
            core.turn(now)?;
        }
    }
}

impl<R: Ring> Core<R> {
    /// A core that has not taken its first turn.
    pub fn new(ring: R, parts: CoreParts<R>) -> Core<R> {
        let router = parts.broker.router();
        let (core, core_count) = (router.core(), router.core_count());
        let shard_count = parts.broker.shards.len();
        Core {
            ring,
            events: Events::default(),
            broker: parts.broker,
            outboxes: Outboxes::new(core, core_count),
            connections: Vec::new(),
            stalled: VecDeque::new(),
            held: Vec::new(),
            files: parts.files,
            listeners: parts.listeners,
            exchange: parts.exchange,
            arrived: Vec::new(),
            connection_counts: vec![0; core_count],
            control: parts.control,
            unsent: VecDeque::new(),
            inbox: parts.inbox,
            config: parts.config,
            syncs: Vec::new(),
            phase: Phase::Starting,
            ticked_ms: 0,
            next_sync_ms: 0,
            next_idle_ms: 0,
            poison_told: vec![false; shard_count],
            is_to_end: false,
            assembling_bytes: 0,
            turns: 0,
            parks: 0,
        }
    }

    /// Collects what completed and takes one turn over it. Whether anything was done; if not, the
    /// thread may park until the ring has something, a deadline passes or a message comes.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn step(&mut self, now: Now) -> io::Result<bool> {
        self.ring.poll(&mut self.events)?;
        self.turn(now)
    }

    /// Whether it stopped, after it was told to.
    pub fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// Whether there are messages to take, or room for those that found none.
    fn has_messages(&self) -> bool {
        let control_has_room = !self.unsent.is_empty() && self.control.has_room_again();
        !self.inbox.is_empty() || control_has_room || self.exchange.has_work()
    }

    /// The ring under it.
    pub fn ring(&mut self) -> &mut R {
        &mut self.ring
    }

    /// The broker on it.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// One turn over the events of the last poll. Whether anything was done.
    fn turn(&mut self, now: Now) -> io::Result<bool> {
        self.turns += 1;
        let mut worked = !self.events.is_empty();
        let files = std::mem::take(&mut self.events.files);
        for event in files {
            self.file_event(event);
        }
        worked |= self.take_messages(now);
        // Before any request of this turn: who was told of a change finds it made on every core.
        worked |= self.take_arrived(now);
        self.broker.answer_confirmed(&mut self.outboxes);
        self.broker.retry_parked(now, &mut self.outboxes);
        worked |= self.take_incoming(now);
        self.resume_stalled(now);
        worked |= self.resume_held(now);
        let mut net = std::mem::take(&mut self.events.net);
        for event in net.drain(..) {
            self.net_event(now, event);
        }
        self.events.net = net;
        worked |= self.broker.answer_queries(now, &mut self.outboxes);
        if now.monotonic_ms() != self.ticked_ms {
            self.ticked_ms = now.monotonic_ms();
            self.broker.tick(now);
            self.broker.answer_overdue(&mut self.outboxes);
            self.close_idle(now);
        }
        if matches!(self.phase, Phase::Starting | Phase::Serving) {
            // Not behind the end mark.
            worked |= self.broker.deliver_due(now);
            worked |= self.broker.check_due(now, &mut self.outboxes);
            worked |= self.broker.fire_timers(now);
            for shard in &mut self.broker.shards {
                worked |= shard.carry();
            }
        }
        worked |= self.broker.answer_woken(now, &mut self.outboxes);
        self.pump(now)?;
        // In the memory mode what was appended in this turn is confirmed already.
        self.broker.answer_confirmed(&mut self.outboxes);
        worked |= self.broker.answer_woken(now, &mut self.outboxes);
        worked |= self.broker.inquire(now, &mut self.outboxes);
        self.broker.attend_calls(now, &mut self.outboxes);
        self.send_onward();
        if self.exchange.send_copies(self.broker.copies_to_send()) {
            self.flush_outboxes();
        } else {
            self.copy_waiting_answers();
        }
        for shard in &mut self.broker.shards {
            shard.turn_ended();
        }
        self.start_cold_reads()?;
        self.ask_control();
        self.close_wanted();
        worked |= self.advance_phase(now);
        Ok(worked)
    }

    // ---- files ----------------------------------------------------------------------------------

    fn file_event(&mut self, event: FileEvent) {
        match event {
            FileEvent::Wrote { token, range, result } => {
                let shard = &mut self.broker.shards[token as usize];
                shard.log_mut().buffer_mut().thaw(&range);
                let result = result.map_err(|error| error.to_string());
                shard.log_mut().write_completed(&range, result);
            }
            FileEvent::Read { token, buffer, result } => {
                let (shard, kind, offset) = read_of(token);
                let shard = &mut self.broker.shards[shard];
                let result = result.map_err(|error| error.to_string());
                kind.reads(shard).read_completed(offset, buffer, result);
            }
            FileEvent::Synced { token, result } => self.synced(token as usize, result),
        }
    }

    fn synced(&mut self, shard: usize, result: io::Result<()>) {
        let Some(index) = self.syncs.iter().position(|sync| sync.shard == shard) else { return };
        let sync = &mut self.syncs[index];
        sync.left -= 1;
        if let Err(error) = result {
            sync.failure.get_or_insert(error.to_string());
        }
        if sync.left == 0 {
            let sync = self.syncs.swap_remove(index);
            let result = sync.failure.map_or(Ok(()), Err);
            self.broker.shards[shard].log_mut().sync_completed(result);
        }
    }

    /// Starts the writes and syncs that are due.
    fn pump(&mut self, now: Now) -> io::Result<()> {
        let sync_now = now.monotonic_ms() >= self.next_sync_ms;
        if sync_now {
            self.next_sync_ms = now.monotonic_ms() + self.config.flush_interval_ms;
        }
        let router = *self.broker.router();
        for index in 0..self.broker.shards.len() {
            let shard = &mut self.broker.shards[index];
            while let Some(write) = shard.log_mut().next_write() {
                let place = self.files[index].log.slot(&mut self.ring, write.range.start)?;
                let (slot, at) = place.expect("space is prepared before it is written to");
                let sync = if write.durable { WriteSync::Durable } else { WriteSync::Written };
                let buffer = shard.log_mut().buffer_mut();
                self.ring.write_log(slot, at, buffer, write.range, sync, index as u64);
            }
            if sync_now && let Some(sync) = shard.log_mut().next_sync() {
                let segment_bytes = shard.log().shape().segment_bytes;
                let mut left = 0;
                let mut at = sync.range.start / segment_bytes * segment_bytes;
                while at < sync.range.end {
                    let place = self.files[index].log.slot(&mut self.ring, at)?;
                    let (slot, _) = place.expect("written segments exist");
                    self.ring.sync_file(slot, index as u64);
                    left += 1;
                    at += segment_bytes;
                }
                self.syncs.push(SyncInFlight { shard: index, left, failure: None });
            }
            if !self.poison_told[index]
                && let Some(poison) = shard.log().poisoned()
            {
                self.poison_told[index] = true;
                let store = self.config.store.display();
                let shard = router.number(index);
                tracing::error!(shard, %store, %poison, "sends are refused from now on");
            }
        }
        Ok(())
    }

    fn start_cold_reads(&mut self) -> io::Result<()> {
        for (index, shard) in self.broker.shards.iter_mut().enumerate() {
            for kind in [ReadKind::Log, ReadKind::Runs, ReadKind::Indexes] {
                while let Some(read) = kind.reads(shard).next_read() {
                    let place =
                        kind.files(&mut self.files[index]).slot(&mut self.ring, read.offset);
                    match place? {
                        Some((slot, at)) => {
                            let token = read_token(index, kind, read.offset);
                            self.ring.read_file(slot, at, read.buffer, token);
                        }
                        None => {
                            let gone = Err("the file does not exist any more".to_owned());
                            kind.reads(shard).read_completed(read.offset, read.buffer, gone);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    // ---- sockets --------------------------------------------------------------------------------

    fn net_event(&mut self, now: Now, event: NetEvent) {
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
                self.flush(connection);
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
            tracing::warn!(
                connections_max = self.config.connections_max,
                %peer,
                "connection closed: as many as allowed are open (ringmqConnectionsMax)"
            );
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

    fn open(&mut self, now: Now, connection: ConnectionId, peer: SocketAddr) {
        self.outboxes.open(connection);
        connected::open(&mut self.connections, connection, peer, now.monotonic_ms());
    }

    /// Frames that waited for room in the log, in order.
    fn resume_stalled(&mut self, now: Now) {
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
    fn resume_held(&mut self, now: Now) -> bool {
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
            connected.is_held = false;
            let bytes = std::mem::take(&mut connected.held);
            self.assembling_bytes -= bytes.len();
            let mut handler = FrameHandler {
                broker: &mut self.broker,
                outboxes: &mut self.outboxes,
                exchange: &mut self.exchange,
                assembling_bytes: &mut self.assembling_bytes,
                is_stopping: self.phase.is_stopping(),
            };
            let at = match handler.handle(now, connected, &bytes) {
                Looked::All => {
                    worked = true;
                    return false;
                }
                Looked::Wait { at } | Looked::Full { at } => at,
                Looked::Failed(reason) => {
                    refused.push((*connection, reason));
                    return false;
                }
            };
            worked |= at > 0;
            connected.held.extend_from_slice(&bytes[at..]);
            self.assembling_bytes += connected.held.len();
            connected.is_held = true;
            true
        });
        held.append(&mut self.held);
        self.held = held;
        for (connection, reason) in refused {
            self.refuse_connection(connection, &reason);
        }
        worked
    }

    fn flush_outboxes(&mut self) {
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
        let flushed = flush(
            &mut self.ring,
            &mut self.outboxes,
            &self.broker.shards,
            connection,
            &mut connected.is_paused,
        );
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

    fn close(&mut self, connection: ConnectionId) {
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

    fn close_wanted(&mut self) {
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

    fn close_idle(&mut self, now: Now) {
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

    // ---- other cores ----------------------------------------------------------------------------

    /// Empties the inboxes from other cores. Whether anything came.
    fn take_arrived(&mut self, now: Now) -> bool {
        self.exchange.take(&mut self.arrived);
        let mut arrived = std::mem::take(&mut self.arrived);
        let worked = !arrived.is_empty();
        for arrived in arrived.drain(..) {
            match arrived {
                Arrived::Connection(from, socket, peer) => {
                    let connection = self.ring.adopt(socket, peer);
                    self.open(now, connection, peer);
                    self.connections[connection.index()].accepted_by = Some(from);
                }
                Arrived::ConnectionEnded(core) => self.connection_counts[core] -= 1,
                Arrived::Answers(core, mut answers) => {
                    for (connection, bytes) in answers.pieces() {
                        if let Some(outbox) = self.outboxes.of(connection) {
                            outbox.bytes().extend_from_slice(bytes);
                        }
                    }
                    answers.clear();
                    self.exchange.tell(core, ToPeer::Sent(answers));
                }
                Arrived::Close(connection) => {
                    let slot = self.connections.get(connection.index());
                    if slot.is_some_and(|it| it.id == Some(connection)) {
                        self.close(connection);
                    }
                }
                Arrived::Copy(copy) => self.broker.apply_copy(copy),
                Arrived::Letter(from, letter) => self.broker.take_letter(from, letter),
                Arrived::PullHandled(connection) => {
                    let connected = &mut self.connections[connection.index()];
                    if connected.id == Some(connection) {
                        connected.crossing_pulls -= 1;
                    }
                }
            }
        }
        self.arrived = arrived;
        worked
    }

    /// Handles what other cores sent on, each line until it has to wait. Whether there was anything.
    fn take_incoming(&mut self, now: Now) -> bool {
        let mut worked = false;
        if matches!(self.phase, Phase::Flushing | Phase::Ending | Phase::Stopped) {
            return false; // behind the end mark is nothing
        }
        for from in self.exchange.others() {
            // Those that crossed most often first: they hold room of every number.
            for crossings in (1..=CROSSINGS_MAX).rev() {
                while let Some(incoming) = self.exchange.next_incoming(from, crossings) {
                    match incoming {
                        Incoming::Ended(connection) => {
                            self.broker.closed(connection, &mut self.outboxes);
                        }
                        Incoming::Frames { frames, next } => {
                            let at = self.handle_frames(now, (from, crossings), &frames, next);
                            if at < frames.len() {
                                // With too much to answer the next turn goes on, whatever happens.
                                worked |= at > next || self.outboxes.is_remote_full(from);
                                self.exchange.put_back(from, crossings, frames, at);
                                break;
                            }
                            self.exchange.handled(from, crossings, frames);
                        }
                    }
                    worked = true;
                }
            }
        }
        worked
    }

    /// Handles frames of other cores' connections from `next` on, and returns the first that has to wait.
    fn handle_frames(
        &mut self,
        now: Now,
        (from, crossings): (usize, usize),
        frames: &parcel::Frames,
        next: usize,
    ) -> usize {
        for at in next..frames.len() {
            if self.outboxes.is_remote_full(from) {
                return at;
            }
            let (asked, frame) = frames.frame(at);
            let parcel::Asked { connection, peer, has_record, .. } = asked;
            let origin = Origin { connection, peer, crossings, has_record };
            let is_taken = match self.broker.handle(now, origin, &frame, &mut self.outboxes) {
                Ok(Flow::Done) => true,
                Ok(Flow::Wait) => false,
                Ok(Flow::To { core, is_pull }) => {
                    self.exchange.send_on(core, origin, &frame, is_pull)
                }
                // It was decoded where it came from.
                Err(error) => {
                    tracing::error!(peer = %asked.peer, %error, "connection closed");
                    self.exchange.tell(asked.connection.core(), ToPeer::Close(asked.connection));
                    true
                }
            };
            if !is_taken {
                return at;
            }
        }
        frames.len()
    }

    /// Sends on what the broker made for other cores, as far as there is room.
    fn send_onward(&mut self) {
        while let Some((core, letter)) = self.broker.next_letter() {
            self.exchange.tell(core, ToPeer::Letter(letter));
        }
        let home = self.broker.router().home();
        while let Some(part) = self.broker.next_part() {
            self.exchange.tell(home, ToPeer::Copy(part));
        }
        while let Some(onward) = self.broker.next_onward() {
            let Onward { core, origin, bytes } = &onward;
            let frame = match scan(bytes, bytes.len()) {
                Ok(Scan::Frame { frame, .. }) => frame,
                other => unreachable!("the broker made a whole frame: {other:?}"),
            };
            if !self.exchange.send_on(*core, *origin, &frame, false) {
                self.broker.put_back_onward(onward);
                return;
            }
        }
    }

    /// Copies do not fit another core's ring, so this turn's answers wait: records among them are copied,
    /// because their memory is only this turn's.
    fn copy_waiting_answers(&mut self) {
        self.outboxes.keep(&self.broker.shards);
    }

    // ---- control --------------------------------------------------------------------------------

    fn take_messages(&mut self, now: Now) -> bool {
        let mut worked = false;
        while let Some(message) = self.inbox.pop() {
            worked = true;
            let router = *self.broker.router();
            let place_of = |shard| router.place_of(shard);
            match message {
                ToCore::SpacePrepared { shard: number, range, segment } => {
                    let shard = place_of(number);
                    let segment_bytes = self.broker.shards[shard].log().shape().segment_bytes;
                    if let Some(file) = segment {
                        self.files[shard].log.add(range.start, segment_bytes, file);
                    }
                    let log = self.broker.shards[shard].log_mut();
                    if log.no_space().is_some() {
                        tracing::info!(shard = number, "the disk has space again, sends are taken");
                    }
                    log.space_prepared(range.end);
                }
                ToCore::SpaceDelayed { shard: number, reason } => {
                    let log = self.broker.shards[place_of(number)].log_mut();
                    if log.no_space().is_none() {
                        tracing::error!(
                            shard = number,
                            reason,
                            "no space for the log: sends are refused (code 14) until there is, pulls go on"
                        );
                    }
                    log.space_delayed(reason);
                }
                ToCore::RunWritten { shard, head, file } => {
                    let shard = place_of(shard);
                    let address = self.broker.shards[shard].run_written(&head);
                    self.files[shard].runs.add(address, head.file_bytes(), file);
                }
                ToCore::IndexWritten { shard, head, file } => {
                    let shard = place_of(shard);
                    if let Some((address, old)) = self.broker.shards[shard].index_written(&head) {
                        self.files[shard].indexes.add(address, head.file_bytes(), file);
                        self.close_indexes(shard, old);
                    }
                }
                ToCore::IndexDelayed { shard, reason } => {
                    if self.broker.shards[place_of(shard)].index_delayed() {
                        tracing::warn!(
                            shard,
                            reason,
                            "an index of keys cannot be made now; nothing is lost by it, it is tried again"
                        );
                    }
                }
                ToCore::IndexDamaged { shard, range } => {
                    let shard = place_of(shard);
                    let old = self.broker.shards[shard].index_failed(&range);
                    self.close_indexes(shard, old);
                }
                ToCore::Snapshot { shard, safe_below } => {
                    self.broker.shards[place_of(shard)].snapshots_hold(safe_below);
                }
                ToCore::Removed { shard } => self.broker.shards[place_of(shard)].removed(),
                ToCore::Disk(look) => self.look_at_disk(now, &look),
                ToCore::Registered { number } => self.broker.registered(number, &mut self.outboxes),
                ToCore::OrderedTopics { names } => self.broker.order_topics(now, &names),
                ToCore::Figures(ask) => self.answer_figures(now, ask),
                ToCore::SendAllTopics => {
                    let (topics, version) = self.broker.registered_topics();
                    let number = None;
                    self.unsent.push_back(ToControl::RegisterTopics {
                        topics,
                        version,
                        number,
                        is_full: true,
                    });
                }
                ToCore::Stop => {
                    tracing::info!("stopping");
                    self.ring.stop_listening();
                    self.broker.drain();
                    let until_ns = now.monotonic_ns + DRAIN_MS_MAX * 1_000_000;
                    self.phase = Phase::Draining { until_ns };
                }
                ToCore::End => self.is_to_end = true,
            }
        }
        worked
    }

    /// Closes index files, by their addresses, that were removed or are damaged.
    fn close_indexes(&mut self, shard: usize, addresses: impl IntoIterator<Item = u64>) {
        for address in addresses {
            if let Err(error) = self.files[shard].indexes.remove(&mut self.ring, address) {
                let shard = self.broker.router().number(shard);
                tracing::warn!(shard, %error, "a file that is removed stays open");
            }
        }
    }

    /// Somebody asks how this core is.
    fn answer_figures(&mut self, now: Now, ask: Ask) {
        let crossed = self.exchange.crossed();
        let figures = CoreFigures {
            connections: self.ring.open_connections(),
            turns: self.turns,
            parks: self.parks,
            crossed_out: crossed.out,
            crossed_in: crossed.into,
            ..self.broker.figures(now, ask)
        };
        self.unsent.push_back(ToControl::Figures(Box::new(figures)));
    }

    /// Lets go of segments whose time has come.
    fn look_at_disk(&mut self, now: Now, look: &DiskLook) {
        let router = *self.broker.router();
        for (index, shard) in self.broker.shards.iter_mut().enumerate() {
            shard.look_at_disk(&self.config.retention, look);
            shard.try_index_again();
            let before = shard.start();
            let Some(start) = shard.expire(now.wall_ms, &self.config.retention, look) else {
                continue;
            };
            let runs_from = shard.queues().runs().next().map_or(u64::MAX, |run| run.address);
            let files = &mut self.files[index];
            let expired = files.log.expire(&mut self.ring, start);
            if let Err(error) = expired.and_then(|()| files.runs.expire(&mut self.ring, runs_from))
            {
                let shard = router.number(index);
                tracing::warn!(shard, %error, "a file that is removed stays open");
            }
            let step = shard.log().shape().segment_bytes;
            let segments = (before..start).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            let segments = segments.collect();
            let shard = router.number(index);
            self.unsent.push_back(ToControl::RemoveBelow { shard, segments, start });
        }
    }

    fn ask_control(&mut self) {
        let router = *self.broker.router();
        for place in 0..self.broker.shards.len() {
            let old = self.broker.shards[place].take_expired_index();
            self.close_indexes(place, old);
            let owner = &mut self.broker.shards[place];
            let shard = router.number(place);
            while let Some(range) = owner.log_mut().next_space() {
                self.unsent.push_back(ToControl::PrepareSpace { shard, range });
            }
            if let Some(slice) = owner.next_slice() {
                self.unsent.push_back(ToControl::WriteRun { shard, slice });
            }
            if let Some(work) = owner.next_index_work() {
                self.unsent.push_back(ToControl::KeepIndex { shard, work });
            }
            if let Some(range) = owner.next_damaged_run() {
                self.unsent.push_back(ToControl::RemakeRun { shard, range });
            }
        }
        if self.phase != Phase::Starting
            && router.is_home()
            && let Some(changes) = self.broker.next_topic_changes()
        {
            self.unsent.push_back(ToControl::RegisterTopics {
                topics: changes.topics,
                version: changes.version,
                number: Some(changes.number),
                is_full: changes.is_full,
            });
        }
        if !self.unsent.is_empty() {
            self.control.push_batch(&mut self.unsent);
            self.control.flush();
        }
    }

    // ---- life -----------------------------------------------------------------------------------

    /// Starting → serving → draining → ending → stopped. Whether the phase changed.
    fn advance_phase(&mut self, now: Now) -> bool {
        let before = self.phase;
        if matches!(before, Phase::Flushing | Phase::Ending) {
            self.next_sync_ms = 0; // the stop waits for the sync, not for its time
        }
        match self.phase {
            Phase::Starting => {
                let is_home = self.broker.router().is_home();
                // All cores know the topics that every broker has before anybody can ask.
                if !is_home || self.broker.create_system_topics(now) && self.broker.is_copied() {
                    for listener in self.listeners.drain(..) {
                        self.ring.listen(listener);
                    }
                    // Registered as a whole by the control thread's first request.
                    if let Some(changes) = self.broker.next_topic_changes() {
                        self.broker.registered(changes.number, &mut self.outboxes);
                    }
                    self.unsent.push_back(ToControl::Serving);
                    self.control.push_batch(&mut self.unsent);
                    self.control.flush();
                    self.phase = Phase::Serving;
                }
            }
            Phase::Draining { until_ns } => {
                let is_quiet = self.outboxes.is_empty()
                    && self.exchange.is_quiet()
                    && self.broker.has_nothing_parked()
                    && self.broker.shards.iter().all(Shard::is_settled);
                let is_late = now.monotonic_ns > until_ns;
                if is_quiet || is_late {
                    self.unsent.push_back(ToControl::Drained);
                    self.control.push_batch(&mut self.unsent);
                    self.control.flush();
                    self.phase = Phase::Drained;
                }
            }
            Phase::Drained => {
                if self.is_to_end && self.append_each(append_offsets) {
                    self.phase = Phase::Flushing;
                }
            }
            Phase::Flushing => {
                if self.is_durable() && self.append_each(Shard::append_end) {
                    self.phase = Phase::Ending;
                }
            }
            Phase::Ending => {
                if self.is_durable() {
                    self.unsent.push_back(ToControl::Stopped);
                    self.control.push_batch(&mut self.unsent);
                    self.control.flush();
                    self.phase = Phase::Stopped;
                }
            }
            Phase::Serving | Phase::Stopped => {}
        }
        before != self.phase
    }

    /// Whether all that was appended survives a power cut, or never will.
    fn is_durable(&self) -> bool {
        let is_done = |shard: &Shard| {
            shard.is_settled() && shard.log().durable() == shard.log().appended()
                || shard.log().poisoned().is_some()
        };
        self.broker.shards.iter().all(is_done)
    }

    /// Appends to each shard. `false`: no room yet. A shard that takes nothing any more (poisoned, disk
    /// full) stops without; its next start replays as after a crash.
    fn append_each(&mut self, append: impl Fn(&mut Shard) -> Result<(), AppendRefused>) -> bool {
        for shard in &mut self.broker.shards {
            match append(shard) {
                Ok(()) => {}
                Err(AppendRefused::Wait) => return false,
                Err(refused) => tracing::warn!(?refused, "stopped without an end mark"),
            }
        }
        true
    }

    /// Sets the ring's deadline to when the next turn has something to do.
    pub fn arm_deadline(&mut self, now: Now) {
        let now_ms = now.monotonic_ms();
        let mut wake_ms = self.broker.wake_in_ms(now).map(|in_ms| now_ms + in_ms);
        let mut earlier = |at_ms: u64| {
            wake_ms = Some(wake_ms.map_or(at_ms, |wake_ms| wake_ms.min(at_ms)));
        };
        if self.broker.shards.iter().any(|shard| shard.log().durable() < shard.log().written()) {
            earlier(self.next_sync_ms);
        }
        if self.ring.open_connections() > 0 {
            earlier(self.next_idle_ms);
        }
        if !matches!(self.phase, Phase::Serving) {
            earlier(now_ms + 10);
        }
        if let Some(wake_ms) = wake_ms {
            let delay_ns = wake_ms.saturating_sub(now_ms) * 1_000_000;
            self.ring.wake_at(now.monotonic_ns + delay_ns.max(1_000_000));
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
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
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

/// Appends the offsets that only memory has.
fn append_offsets(shard: &mut Shard) -> Result<(), AppendRefused> {
    while shard.offsets().is_dirty() {
        shard.append_offsets(None)?;
    }
    Ok(())
}

/// What a cold read reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReadKind {
    Log,
    Runs,
    Indexes,
}

impl ReadKind {
    fn reads(self, shard: &mut Shard) -> &mut ColdReads {
        match self {
            ReadKind::Log => shard.cold_mut(),
            ReadKind::Runs => shard.cold_runs_mut(),
            ReadKind::Indexes => shard.cold_index_mut(),
        }
    }

    fn files<F>(self, files: &mut ShardFiles<F>) -> &mut Files<F> {
        match self {
            ReadKind::Log => &mut files.log,
            ReadKind::Runs => &mut files.runs,
            ReadKind::Indexes => &mut files.indexes,
        }
    }
}

/// Cold reads start on multiples of this; keeps their offsets below 46 bits of a token.
const READ_UNIT: u64 = engine::limits::INDEX_READ_BYTES as u64;

const _: () = assert!((engine::limits::READ_BLOCK_BYTES as u64).is_multiple_of(READ_UNIT));

fn read_token(shard: usize, kind: ReadKind, offset: u64) -> u64 {
    let kind = match kind {
        ReadKind::Log => 0,
        ReadKind::Runs => 1,
        ReadKind::Indexes => 2,
    };
    ((shard as u64) << 48) | (kind << 46) | (offset / READ_UNIT)
}

fn read_of(token: u64) -> (usize, ReadKind, u64) {
    let kind = match token >> 46 & 3 {
        0 => ReadKind::Log,
        1 => ReadKind::Runs,
        _ => ReadKind::Indexes,
    };
    ((token >> 48) as usize, kind, (token & ((1 << 46) - 1)) * READ_UNIT)
}
