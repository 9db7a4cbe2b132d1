//! A core: the turn that moves bytes between its ring, its broker and its shards.
//! Owns: the ring, connections' intakes and outboxes, segment files, the rings to control.
//! Lives on: every core
//! Kind: shell
//! Invariants: log completions before received bytes, or back-pressure deadlocks; received bytes of a
//! connection in order; nothing a turn refers to moves before its outboxes were flushed

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use engine::coldread::ColdReads;
use engine::retention::{DiskLook, Retention};
use engine::shard::{AppendRefused, Shard};
use runtime::clock::{Clock, Now};
use runtime::mesh::{Inbox, Peer, SleepFlag};
use runtime::{
    ConnectionId, Events, FileEvent, NetEvent, ParkingRing, Reactor, ReactorConfig, Received, Ring,
    WriteSync,
};

use super::files::{Files, ShardFiles};
use super::messages::{ToControl, ToCore};
use crate::broker::{Broker, Flow};
use crate::net::connected::{self, Connected};
use crate::net::flush::{Unsendable, flush};
use crate::net::intake::Frames;
use crate::net::outbox::Outboxes;

/// What a core is given to start.
#[derive(Debug)]
pub struct CoreParts<R: Ring> {
    /// Everything but the shards' files.
    pub broker: Broker,
    /// For each shard its files, in the broker's order.
    pub files: Vec<ShardFiles<R::File>>,
    /// The broker's listening socket.
    pub listener: R::Listener,
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
    /// Connections at the most.
    pub connections_max: u32,
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
    /// No new frames; answers in progress are finished until the deadline.
    Draining {
        until_ns: u64,
    },
    /// What only memory had is in the log and must be durable before the end mark, which says so.
    Flushing,
    /// The end mark is in the log and must be confirmed.
    Ending,
    Stopped,
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
    files: Vec<ShardFiles<R::File>>,
    listener: Option<R::Listener>,
    control: Peer<ToControl>,
    unsent: VecDeque<ToControl>,
    inbox: Inbox<ToCore<R::File>>,
    config: CoreConfig,
    syncs: Vec<SyncInFlight>,
    phase: Phase,
    ticked_ms: u64,
    next_sync_ms: u64,
    next_idle_ms: u64,
    poison_told: bool,
    /// Bytes of frames that have arrived in part, of all connections.
    assembling_bytes: usize,
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
    let config = ReactorConfig { connections_max: parts.config.connections_max };
    let mut ring = make_ring(config)?;
    ring.watch(sleep.event().try_clone()?);
    let mut core = Core::new(ring, parts);
    loop {
        let now = Clock.now();
        let worked = core.step(now)?;
        if core.is_stopped() {
            return Ok(());
        }
        if worked {
            // Never yielded to the executor: it has no other task here, and one that yields under
            // load was left asleep while it could run (docs/decisions/0004-parking.md).
            continue;
        }
        core.arm_deadline(now);
        sleep.prepare_to_sleep();
        core.ring.poll(&mut core.events)?;
        if core.events.is_empty() && core.inbox.is_empty() && !core.control_has_room_again() {
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
        Core {
            ring,
            events: Events::default(),
            broker: parts.broker,
            outboxes: Outboxes::default(),
            connections: Vec::new(),
            stalled: VecDeque::new(),
            files: parts.files,
            listener: Some(parts.listener),
            control: parts.control,
            unsent: VecDeque::new(),
            inbox: parts.inbox,
            config: parts.config,
            syncs: Vec::new(),
            phase: Phase::Starting,
            ticked_ms: 0,
            next_sync_ms: 0,
            next_idle_ms: 0,
            poison_told: false,
            assembling_bytes: 0,
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

    /// Whether messages that did not fit the ring to control fit now.
    fn control_has_room_again(&self) -> bool {
        !self.unsent.is_empty() && self.control.has_room_again()
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
        let mut worked = !self.events.is_empty();
        let files = std::mem::take(&mut self.events.files);
        for event in files {
            self.file_event(event);
        }
        worked |= self.take_messages(now);
        self.broker.answer_confirmed(&mut self.outboxes);
        self.broker.retry_parked(now, &mut self.outboxes);
        self.resume_stalled(now);
        let mut net = std::mem::take(&mut self.events.net);
        for event in net.drain(..) {
            self.net_event(now, event);
        }
        self.events.net = net;
        if now.monotonic_ms() != self.ticked_ms {
            self.ticked_ms = now.monotonic_ms();
            self.broker.tick(now);
            self.broker.answer_overdue(&mut self.outboxes);
            self.close_idle(now);
        }
        if matches!(self.phase, Phase::Starting | Phase::Serving) {
            // Not behind the end mark.
            worked |= self.broker.deliver_due(now);
            for shard in &mut self.broker.shards {
                worked |= shard.carry();
            }
        }
        self.broker.answer_woken(now, &mut self.outboxes);
        self.pump(now)?;
        // In the memory mode what was appended in this turn is confirmed already.
        self.broker.answer_confirmed(&mut self.outboxes);
        self.broker.answer_woken(now, &mut self.outboxes);
        self.flush_outboxes();
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
            if !self.poison_told
                && let Some(poison) = shard.log().poisoned()
            {
                self.poison_told = true;
                let store = self.config.store.display();
                tracing::error!(shard = index, %store, %poison, "sends are refused from now on");
            }
        }
        Ok(())
    }

    fn start_cold_reads(&mut self) -> io::Result<()> {
        for (index, shard) in self.broker.shards.iter_mut().enumerate() {
            for kind in [ReadKind::Log, ReadKind::Runs] {
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
            NetEvent::Accepted { connection, peer, .. } => {
                self.outboxes.open(connection);
                let now_ms = now.monotonic_ms();
                connected::open(&mut self.connections, connection, peer, now_ms);
            }
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

    /// Frames that waited for room in the log, in order.
    fn resume_stalled(&mut self, now: Now) {
        if matches!(self.phase, Phase::Draining { .. } | Phase::Flushing | Phase::Ending) {
            // Not answered, so their senders do not count them as stored.
            while let Some(stalled) = self.stalled.pop_front() {
                self.ring.release(stalled.received);
            }
            return;
        }
        while self.phase == Phase::Serving
            && let Some(stalled) = self.stalled.pop_front()
        {
            let Stalled { connection, received, at } = stalled;
            if let Some(stalled) = self.receive(now, connection, received, at) {
                self.stalled.push_front(stalled);
                return;
            }
        }
    }

    /// Handles the frames in received bytes from `at` on; gives back what must wait.
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
        let peer = connected.peer.expect("set with the id");
        self.assembling_bytes -= connected.intake.waiting_bytes();
        let bytes = self.ring.bytes(&received);
        let mut frames = Frames::new(&mut connected.intake, bytes, at);
        let failure = loop {
            let frame = match frames.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    frames.finish(&mut connected.intake);
                    self.assembling_bytes += connected.intake.waiting_bytes();
                    if self.assembling_bytes > self.config.assembling_bytes_max {
                        break too_many_assembling(self.config.assembling_bytes_max);
                    }
                    self.ring.release(received);
                    return None;
                }
                Err(error) => break error.to_string(),
            };
            match self.broker.handle(now, connection, peer, &frame, &mut self.outboxes) {
                Ok(Flow::Done) => {}
                Ok(Flow::Wait) => {
                    let at = frames.put_back(&mut connected.intake);
                    self.assembling_bytes += connected.intake.waiting_bytes();
                    return Some(Stalled { connection, received, at });
                }
                Err(error) => break error.to_string(),
            }
        };
        self.ring.release(received);
        tracing::warn!(%peer, reason = failure, "connection closed: its requests cannot be taken");
        self.close(connection);
        None
    }

    fn flush_outboxes(&mut self) {
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
            self.assembling_bytes -= connected.intake.waiting_bytes();
            *connected = Connected::default();
            self.outboxes.close(connection);
            self.broker.closed(connection, &mut self.outboxes);
        }
    }

    fn close_wanted(&mut self) {
        while let Some(connection) = self.broker.next_closing() {
            if self.connections.get(connection.index()).is_some_and(|it| it.id == Some(connection))
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

    // ---- control --------------------------------------------------------------------------------

    fn take_messages(&mut self, now: Now) -> bool {
        let mut worked = false;
        while let Some(message) = self.inbox.pop() {
            worked = true;
            match message {
                ToCore::SpacePrepared { shard, range, segment } => {
                    let segment_bytes = self.broker.shards[shard].log().shape().segment_bytes;
                    if let Some(file) = segment {
                        self.files[shard].log.add(range.start, segment_bytes, file);
                    }
                    let log = self.broker.shards[shard].log_mut();
                    if log.no_space().is_some() {
                        tracing::info!(shard, "the disk has space again, sends are taken");
                    }
                    log.space_prepared(range.end);
                }
                ToCore::SpaceDelayed { shard, reason } => {
                    let log = self.broker.shards[shard].log_mut();
                    if log.no_space().is_none() {
                        tracing::error!(
                            shard,
                            reason,
                            "no space for the log: sends are refused (code 14) until there is, pulls go on"
                        );
                    }
                    log.space_delayed(reason);
                }
                ToCore::RunWritten { shard, head, file } => {
                    let address = self.broker.shards[shard].run_written(&head);
                    self.files[shard].runs.add(address, head.file_bytes(), file);
                }
                ToCore::Snapshot { shard, safe_below } => {
                    self.broker.shards[shard].snapshots_hold(safe_below);
                }
                ToCore::Removed { shard } => self.broker.shards[shard].removed(),
                ToCore::Disk(look) => self.look_at_disk(now, &look),
                ToCore::Registered { number } => self.broker.registered(number, &mut self.outboxes),
                ToCore::OrderedTopics { names } => self.broker.order_topics(now, &names),
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
            }
        }
        worked
    }

    /// Lets go of segments whose time has come.
    fn look_at_disk(&mut self, now: Now, look: &DiskLook) {
        for (index, shard) in self.broker.shards.iter_mut().enumerate() {
            shard.look_at_disk(&self.config.retention, look);
            let before = shard.start();
            let Some(start) = shard.expire(now.wall_ms, &self.config.retention, look) else {
                continue;
            };
            let runs_from = shard.queues().runs().next().map_or(u64::MAX, |run| run.address);
            let files = &mut self.files[index];
            let expired = files.log.expire(&mut self.ring, start);
            if let Err(error) = expired.and_then(|()| files.runs.expire(&mut self.ring, runs_from))
            {
                tracing::warn!(shard = index, %error, "a file that is removed stays open");
            }
            let step = shard.log().shape().segment_bytes;
            let segments = (before..start).step_by(usize::try_from(step).unwrap_or(usize::MAX));
            let segments = segments.collect();
            self.unsent.push_back(ToControl::RemoveBelow { shard: index, segments, start });
        }
    }

    fn ask_control(&mut self) {
        for (shard, owner) in self.broker.shards.iter_mut().enumerate() {
            while let Some(range) = owner.log_mut().next_space() {
                self.unsent.push_back(ToControl::PrepareSpace { shard, range });
            }
            if let Some(slice) = owner.next_slice() {
                self.unsent.push_back(ToControl::WriteRun { shard, slice });
            }
            if let Some(range) = owner.next_damaged_run() {
                self.unsent.push_back(ToControl::RemakeRun { shard, range });
            }
        }
        if self.phase != Phase::Starting
            && let Some(changes) = self.broker.next_topic_changes()
        {
            self.unsent.push_back(ToControl::RegisterTopics {
                topics: changes.topics,
                version: changes.version,
                number: Some(changes.number),
                is_full: false,
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
                if self.broker.create_system_topics(now)
                    && let Some(listener) = self.listener.take()
                {
                    self.ring.listen(listener);
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
                let is_quiet =
                    self.outboxes.is_empty() && self.broker.shards.iter().all(Shard::is_settled);
                let is_late = now.monotonic_ns > until_ns;
                if (is_quiet || is_late) && self.append_each(append_offsets) {
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
}

impl ReadKind {
    fn reads(self, shard: &mut Shard) -> &mut ColdReads {
        match self {
            ReadKind::Log => shard.cold_mut(),
            ReadKind::Runs => shard.cold_runs_mut(),
        }
    }

    fn files<F>(self, files: &mut ShardFiles<F>) -> &mut Files<F> {
        match self {
            ReadKind::Log => &mut files.log,
            ReadKind::Runs => &mut files.runs,
        }
    }
}

/// Cold reads start on multiples of this; keeps their offsets below 47 bits of a token.
const READ_UNIT: u64 = engine::limits::READ_BLOCK_BYTES as u64;

fn read_token(shard: usize, kind: ReadKind, offset: u64) -> u64 {
    ((shard as u64) << 48) | (u64::from(kind == ReadKind::Runs) << 47) | (offset / READ_UNIT)
}

fn read_of(token: u64) -> (usize, ReadKind, u64) {
    let kind = if token >> 47 & 1 == 1 { ReadKind::Runs } else { ReadKind::Log };
    ((token >> 48) as usize, kind, (token & ((1 << 47) - 1)) * READ_UNIT)
}
