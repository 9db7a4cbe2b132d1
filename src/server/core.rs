//! A core: the turn that moves bytes between its ring, its broker and its shards.
//! Owns: the ring, connections' intakes and outboxes, segment files, the rings to control.
//! Lives on: every core
//! Kind: shell
//! Invariants: log completions before received bytes, or back-pressure deadlocks; received bytes of a
//! connection in order; nothing a turn refers to moves before its outboxes were flushed

mod control;
mod disk;
mod life;
mod peers;
mod sockets;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use disk::SyncInFlight;
use engine::retention::Retention;
use life::Phase;
use runtime::clock::{Clock, Now};
use runtime::mesh::{Inbox, Peer, SleepFlag};
use runtime::rare::RareLine;
use runtime::{ConnectionId, Events, ParkingRing, Reactor, ReactorConfig, Ring};
use sockets::Stalled;

use super::files::ShardFiles;
use super::messages::{ToControl, ToCore};
use crate::broker::{Broker, HomeCopy};
use crate::net::connected::Connected;
use crate::net::outbox::Outboxes;
use crate::router::exchange::{Arrived, Exchange};

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
    turned_away: RareLine,
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
        core.collect()?;
        let now = Clock.now();
        let worked = core.turn(now)?;
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
            core.take_from_peers();
            core.turn(Clock.now())?;
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
            turned_away: RareLine::default(),
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

    /// Collects what completed and what other cores sent, for the next turn.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn collect(&mut self) -> io::Result<()> {
        self.ring.poll(&mut self.events)?;
        // After the ring: who was told of a change finds it made on every core.
        self.take_from_peers();
        Ok(())
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

    /// One turn over what was collected. Whether anything was done; if not, the thread may park until
    /// the ring has something, a deadline passes or a message comes.
    ///
    /// `now` is read after collecting: a message stamped before it was sent would, with a delay, come
    /// early by the difference.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn turn(&mut self, now: Now) -> io::Result<bool> {
        self.turns += 1;
        let mut worked = !self.events.is_empty();
        let files = std::mem::take(&mut self.events.files);
        for event in files {
            self.file_event(event);
        }
        worked |= self.take_messages(now);
        // Before any request of this turn, as collected.
        worked |= self.handle_arrived(now);
        self.broker.answer_confirmed(now, &mut self.outboxes);
        if !self.phase.is_closing() {
            self.broker.retry_parked(now, &mut self.outboxes);
        }
        // In turns: what one of them leaves of a log's room is little when much is asked for.
        if self.turns.is_multiple_of(2) {
            worked |= self.take_incoming(now);
            self.resume_stalled(now);
        } else {
            self.resume_stalled(now);
            worked |= self.take_incoming(now);
        }
        worked |= self.resume_held(now);
        let mut net = std::mem::take(&mut self.events.net);
        for event in net.drain(..) {
            self.net_event(now, event);
        }
        self.events.net = net;
        worked |= self.broker.answer_queries(now, &mut self.outboxes);
        if now.monotonic_ms() != self.ticked_ms {
            self.ticked_ms = now.monotonic_ms();
            if !self.phase.is_closing() {
                self.broker.tick(now);
            }
            self.broker.answer_overdue(now, &mut self.outboxes);
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
        self.broker.answer_confirmed(now, &mut self.outboxes);
        worked |= self.broker.answer_woken(now, &mut self.outboxes);
        if !self.phase.is_closing() {
            worked |= self.broker.inquire(now, &mut self.outboxes);
            self.broker.attend_calls(now, &mut self.outboxes);
        }
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
}
