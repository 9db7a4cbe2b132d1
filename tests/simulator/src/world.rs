//! One run: lives of a broker on one disk, each ended by a crash, from a seed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::commitlog::FlushMode;
use engine::retention::{DiskLook, Retention};
use engine::shard::{SealLimits, Shard};
use fastrand::Rng;
use ringmq::broker::{Broker, BrokerSettings};
use ringmq::router::Router;
use ringmq::router::exchange::Exchange;
use ringmq::server::SplitShards;
use ringmq::server::core::{Core, CoreConfig, CoreParts};
use ringmq::server::messages::{Lack, ToControl, ToCore};
use ringmq::server::recovery::Replayed;
use ringmq::server::runs::ShardPlace;
use ringmq::server::space::zero_range;
use ringmq::server::store::{InspectedShard, StoreSettings, inspect, open_files};
use ringmq::server::upkeep::{Upkeep, close, perform};
use runtime::clock::Now;
use runtime::eventfd::EventFd;
use runtime::mesh::{Inbox, Peer, SleepFlag, mesh, pair};
use runtime::{ConnectionId, DirectBuffer};

use crate::client::{Answered, Asked};
use crate::corruption::FileKind;
use crate::dialog::Dialog;
use crate::disk::{Crash, Disk, DiskFile};
use crate::ledger::Ledger;
use crate::mortal::Mortal;
use crate::names::Names;
use crate::operator::{self, Operator};
use crate::orderly::Orderly;
use crate::place::{CONFIGURED_GROUP, DELAY_MS, LONG_DELAY_MS, RETRIES_MAX, TRANSACTIONS};
use crate::resumer::Resumer;
use crate::ring::{Bug, SimRing};
use crate::workload::{Actors, Memory};

/// What a run is to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When a message counts as stored.
    pub flush: FlushMode,
    /// How lives end.
    pub crash: Crash,
    /// How many of them.
    pub lives: u32,
    /// Steps of a life, at the most.
    pub steps_max: u32,
    /// Something that the driver does wrong.
    pub bug: Option<Bug>,
    /// Whether writes and syncs fail now and then.
    pub disk_fails: bool,
    /// Shards of the store.
    pub shards: u16,
    /// Cores that run them.
    pub cores: usize,
    /// Large messages, and a budget that their old segments go by.
    pub retains: bool,
}

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Crashes, those during a start included.
    pub crashes: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages seen by a consumer.
    pub seen: u64,
    /// Of these, messages that were delayed or sent back.
    pub came: u64,
    /// Messages that went with their segments.
    pub removed: u64,
    /// A number that two runs of one seed share.
    pub trace: u64,
}

/// The store's directory.
pub(crate) const STORE: &str = "/store";

/// Bytes of a segment.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 20;

/// Bytes of a disk block, and of what the log is padded to.
const BLOCK_BYTES: u64 = 4096;

/// Longest time that answers may take once nothing fails any more, in steps.
pub(crate) const QUIET_STEPS_MAX: u32 = 20_000;

/// A broker between its start and its crash, and who is connected to it.
pub(crate) struct Life {
    pub(crate) cores: Vec<Core<SimRing>>,
    /// Control's ends of the rings to and from each core.
    control: Vec<(Peer<ToCore<DiskFile>>, Inbox<ToControl>)>,
    /// Cores that have said that they serve, and that they are drained.
    serving: usize,
    drained: usize,
    places: Vec<ShardPlace>,
    wanted: VecDeque<(usize, std::ops::Range<u64>)>,
    upkeeps: VecDeque<(usize, Upkeep)>,
    pub(crate) actors: Actors,
    /// The disk has no space now …
    pub(crate) is_full: bool,
    /// … or had none before: sends may be refused.
    pub(crate) was_full: bool,
    /// It was told to stop: requests may be turned away.
    pub(crate) is_stopping: bool,
    /// The control thread does nothing for so many steps.
    pub(crate) control_is_late: u32,
    /// Reads failed: pulls may be refused.
    pub(crate) reads_failed: bool,
    /// Old segments go, and messages with them.
    pub(crate) retains: bool,
}

impl Life {
    /// Where the shards' segments are.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(|place| &*place.directory)
    }

    /// Whether a write or sync failed: nothing is acknowledged any more.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.shards().any(|shard| shard.log().poisoned().is_some())
    }

    /// A shard, by its number.
    pub(crate) fn shard(&self, number: usize) -> &Shard {
        let cores = self.cores.len();
        &self.cores[number % cores].broker().shards[number / cores]
    }

    /// All shards, in the order of their numbers.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        (0..self.places.len()).map(|number| self.shard(number))
    }

    /// The broker of the core that makes topics.
    pub(crate) fn home(&self) -> &Broker {
        self.cores[0].broker()
    }

    /// The ring that has a connection.
    pub(crate) fn ring(&mut self, connection: ConnectionId) -> &mut SimRing {
        self.cores[connection.core()].ring()
    }

    /// The ring of any core.
    pub(crate) fn any_ring(&mut self, rng: &mut Rng) -> &mut SimRing {
        let core = any_core(self.cores.len(), rng);
        self.cores[core].ring()
    }

    pub(crate) fn serves(&self) -> bool {
        self.is_serving() && !self.is_stopping
    }

    pub(crate) fn stops(&self) -> bool {
        self.is_stopping
    }

    pub(crate) fn was_full(&self) -> bool {
        self.was_full
    }

    pub(crate) fn has_failed_reads(&self) -> bool {
        self.reads_failed
    }

    fn is_serving(&self) -> bool {
        self.serving == self.cores.len()
    }

    fn tell(&mut self, shard: usize, message: ToCore<DiskFile>) {
        let core = shard % self.cores.len();
        self.control[core].0.send(message).ok();
    }

    /// Control says that the disk has room. What a fault delayed is tried again then.
    pub(crate) fn looks_at_disk(&mut self) {
        let look = DiskLook { used_percent: 10.0, size_bytes: 1 << 40, hour: 0 };
        self.tell_all(|| ToCore::Disk(look));
    }

    fn tell_all(&mut self, message: impl Fn() -> ToCore<DiskFile>) {
        for (to_core, _) in &mut self.control {
            to_core.send(message()).ok();
        }
    }
}

/// One of so many cores. With one there is nothing to choose, and nothing is drawn.
fn any_core(count: usize, rng: &mut Rng) -> usize {
    if count == 1 { 0 } else { rng.usize(..count) }
}

/// See the module's first lines.
pub struct World {
    pub(crate) rng: Rng,
    pub(crate) plan: Plan,
    /// Delay of the only level.
    delay_ms: u64,
    pub(crate) disk: Disk,
    zeros: DirectBuffer,
    pub(crate) now: Now,
    pub(crate) ledger: Ledger,
    pub(crate) memory: Memory,
    pub(crate) names: Names,
    pub(crate) mortal: Mortal,
    pub(crate) orderly: Orderly,
    pub(crate) operator: Operator,
    pub(crate) resumer: Resumer,
    pub(crate) dialog: Dialog,
    /// Those who ask what few ask are there.
    pub(crate) has_rare_clients: bool,
    /// The latest time that the wall clock ever showed, ms.
    pub(crate) latest_ms: u64,
    /// Index files were lost or damaged: what they had is found a while later.
    pub(crate) has_lost_indexes: bool,
    /// Runs, snapshots or index files were damaged: pulls may be refused until runs are made again.
    pub(crate) has_damaged_runs: bool,
    /// Records of the log were damaged: queues have gaps.
    pub(crate) is_damaged: bool,
    /// No runs are made of what is written.
    pub(crate) seals_late: bool,
    pub(crate) summary: Summary,
}

/// A run that found something: what, and in which life.
pub type Finding = String;

impl World {
    /// A world that has not begun.
    pub fn new(seed: u64, plan: Plan) -> World {
        let disk = Disk::default();
        match plan.bug {
            Some(Bug::SyncsLie) => disk.let_syncs_lie(),
            Some(Bug::DirectorySyncsLie) => disk.let_directory_syncs_lie(),
            _ => {}
        }
        let mut rng = Rng::with_seed(seed);
        let waits_long = plan.retains && rng.bool();
        let delay_ms = if waits_long { LONG_DELAY_MS } else { DELAY_MS };
        World {
            rng,
            plan,
            delay_ms,
            disk,
            zeros: DirectBuffer::new(1 << 20).expect("memory"),
            now: Now { wall_ms: 1_795_341_911_000, monotonic_ns: 1_000_000_000 },
            ledger: Ledger::new(delay_ms),
            memory: Memory::new(),
            names: Names::new(),
            mortal: Mortal::default(),
            orderly: Orderly::default(),
            operator: Operator::default(),
            resumer: Resumer::default(),
            dialog: Dialog::default(),
            has_rare_clients: true,
            latest_ms: 0,
            has_lost_indexes: false,
            has_damaged_runs: false,
            is_damaged: false,
            seals_late: false,
            summary: Summary::default(),
        }
    }

    /// Runs all lives.
    ///
    /// # Errors
    /// The finding.
    pub fn run(mut self) -> Result<Summary, Finding> {
        for number in 0..self.plan.lives {
            let ends = number + 1 == self.plan.lives;
            self.live(ends).map_err(|finding| format!("life {number}: {finding}"))?;
        }
        self.close().map_err(|finding| format!("last start: {finding}"))?;
        self.summary.acknowledged = self.ledger.acknowledged;
        self.summary.seen = self.ledger.seen;
        self.summary.came = self.ledger.came;
        self.summary.removed = self.ledger.removed;
        Ok(self.summary)
    }

    /// A clean stop.
    pub(crate) fn stop(&mut self, life: &mut Life) -> Result<(), Finding> {
        life.is_stopping = true;
        life.tell_all(|| ToCore::Stop);
        for _ in 0..QUIET_STEPS_MAX {
            self.step(life, false)?;
            if life.cores.iter().all(Core::is_stopped) {
                self.control(life); // notes where the logs ended
                for (shard, upkeep) in std::mem::take(&mut life.upkeeps) {
                    if upkeep.is_due_at_stop() {
                        perform(&self.disk, &life.places[shard], shard, upkeep);
                    }
                }
                return Ok(());
            }
        }
        Err("the core does not stop".to_owned())
    }

    /// One life, from start to crash (or to a clean stop, for the last one).
    fn live(&mut self, is_last: bool) -> Result<(), Finding> {
        if !is_last {
            self.die_in_starts();
        }
        if self.rng.u8(..10) == 0 {
            self.lose_indexes();
        }
        let mut life = self.start()?;
        self.audit_open(&life)?;
        self.serve(&mut life)?;
        self.audit(&mut life)?;
        self.configure_groups(&mut life)?;
        for _ in 0..self.rng.u32(..self.plan.steps_max) {
            self.step(&mut life, true)?;
        }
        if is_last || self.rng.u8(..8) == 0 {
            self.quiet(&mut life)?;
            if !life.is_poisoned() {
                self.audit(&mut life)?;
            }
        }
        if self.rng.u8(..12) == 0 {
            self.stop_for_good(&mut life)?;
        }
        self.end(life);
        Ok(())
    }

    /// A clean stop after which nothing is forgotten.
    pub(crate) fn stop_for_good(&mut self, life: &mut Life) -> Result<(), Finding> {
        self.stop(life)?;
        self.ledger.stopped_cleanly();
        self.leave_names()
    }

    /// The process may die in its start, and again in the next one, or find the disk full.
    pub(crate) fn die_in_starts(&mut self) {
        while self.rng.u8(..6) == 0 {
            let is_full = self.rng.u8(..8) == 0;
            self.disk.fill(is_full);
            self.disk.die_after(Some(self.rng.u32(..40)).filter(|_| !is_full));
            let started = self.start();
            self.disk.die_after(None);
            self.disk.fill(false);
            if let Ok(life) = started {
                self.end(life);
            } else {
                self.disk.crash(self.plan.crash, &mut self.rng);
                self.summary.crashes += 1;
            }
        }
    }

    /// Index files are gone when the broker starts, or have a changed byte.
    fn lose_indexes(&mut self) {
        let mut files = self.disk.used();
        files.retain(|(path, _)| FileKind::of(path) == FileKind::Index);
        let Some((path, places)) = self.rng.choice(files) else { return };
        self.has_lost_indexes = true;
        let place = self.rng.choice(places).map(|place| place + self.rng.u64(..4096));
        match place.filter(|_| self.rng.bool()) {
            Some(place) => _ = self.disk.corrupt(&path, place, |byte| byte ^ 1),
            None => self.disk.lose(&path),
        }
    }

    /// An operator says how many retries a group has that leaves it to him; once, for all lives.
    pub(crate) fn configure_groups(&mut self, life: &mut Life) -> Result<(), Finding> {
        if self.memory.is_configured {
            return Ok(());
        }
        let mut client = self.connect_auditor(life)?;
        let asked = Asked::MakeGroup { group: CONFIGURED_GROUP, retries: RETRIES_MAX };
        let answer = self.ask(life, &mut client, asked, &[])?;
        life.ring(client.connection).client_closes(client.connection, None);
        self.memory.is_configured = matches!(answer.answered, Answered::Code { code: 0, .. });
        self.answered(life, &answer)
    }

    /// Once more, without faults: everything that waited for its time must come.
    pub(crate) fn close(&mut self) -> Result<(), Finding> {
        let mut life = self.start()?;
        self.audit_open(&life)?;
        self.serve(&mut life)?;
        self.audit(&mut life)?;
        self.quiet(&mut life)?;
        self.deliver_all(&mut life)?;
        self.stop(&mut life)?;
        self.end(life);
        self.audit_stopped()
    }

    /// A store that was stopped cleanly is whole, and says where it ended.
    pub(crate) fn audit_stopped(&self) -> Result<(), Finding> {
        let mut damage = Vec::new();
        let inspected = inspect(&self.disk, Path::new(STORE), |_, shard, found| {
            if let Replayed::Damage { range, .. } = found {
                damage.push((shard, range));
            }
        });
        let inspected = inspected.map_err(|error| error.to_string())?;
        if !damage.is_empty() && !self.is_damaged {
            return Err(format!("a whole log is called damaged: {damage:?}"));
        }
        let is_right = |shard: &InspectedShard| shard.ended == Some(shard.end.end);
        match inspected.shards.iter().find(|shard| !is_right(shard)) {
            Some(shard) => Err(format!("{:?}, noted as {:?}", shard.end, shard.ended)),
            None => Ok(()),
        }
    }

    /// The crash: requests without an answer have an unknown outcome.
    pub(crate) fn end(&mut self, mut life: Life) {
        for client in life.actors.take_all() {
            self.forget(client).expect("an outcome that nobody knew");
        }
        self.mortal.ends();
        self.orderly.ends();
        self.operator.ends();
        self.resumer.ends();
        self.dialog.ends();
        self.disk.fill(false);
        self.names.broker_ends(self.plan.crash, &mut self.rng);
        for core in &mut life.cores {
            core.ring().crash(self.plan.crash, &mut self.rng);
        }
        self.disk.crash(self.plan.crash, &mut self.rng);
        self.summary.crashes += 1;
    }

    pub(crate) fn start(&mut self) -> Result<Life, Finding> {
        self.ledger.begins_life();
        self.now.monotonic_ns += 1_000_000_000;
        // Clocks jump, both ways.
        let jump_ms = self.rng.i64(-5_000..60_000);
        self.now.wall_ms = self.now.wall_ms.saturating_add_signed(jump_ms);
        let directory = PathBuf::from(STORE);
        let settings = StoreSettings {
            directory: directory.clone(),
            segment_bytes: SEGMENT_BYTES,
            shard_count: Some(self.plan.shards),
            core_count: u16::try_from(self.plan.cores).expect("a few"),
            flush: self.plan.flush,
            sync_flush_timeout_ms: 5_000,
            write_buffer_bytes: 16 << 20,
            read_cache_bytes: 8 << 20,
            message_index: true,
            delay_levels_ms: vec![self.delay_ms],
            transaction_timeout_ms: TRANSACTIONS.timeout_ms,
            seal: self.seal_limits(),
        };
        let mut random = Rng::with_seed(self.rng.u64(..));
        let store = open_files(&self.disk, &settings, BLOCK_BYTES, |bytes| {
            random.fill(bytes);
            Ok(())
        });
        let mut store = store.map_err(|error| format!("the store does not open: {error}"))?;
        store.catalog.opened(self.now.wall_ms);
        let shard_count = store.shards.len();
        let core_count = self.plan.cores;
        let SplitShards { cores: dealt, places, due } = SplitShards::new(store.shards, core_count);
        let flag = || SleepFlag::new(EventFd::new().expect("an eventfd"));
        let control_sleep = flag();
        let sleeps: Vec<_> = (0..core_count).map(|_| flag()).collect();
        let config = CoreConfig {
            accepts_for_all: false, // clients connect to the core they like
            connections_max: 100,
            spin_us: 0,
            idle_ms: 3_600_000,
            assembling_bytes_max: 64 << 20,
            flush_interval_ms: 500,
            store: directory,
            retention: retention(self.plan.retains),
        };
        let (mut cores, mut control) = (Vec::new(), Vec::new());
        // Small rings between cores, so that they are full now and then.
        for (core, (dealt, port)) in dealt.into_iter().zip(mesh(&sleeps, 4)).enumerate() {
            let sleep = sleeps[core].clone();
            let (to_control, from_core) = pair(&sleep, &control_sleep, 256);
            let (to_core, inbox) = pair(&control_sleep, &sleep, 256);
            control.push((to_core, from_core));
            let router = Router::new(core, core_count, shard_count);
            let settings = broker_settings(self.delay_ms);
            let catalog = store.catalog.clone();
            let parts = CoreParts {
                broker: Broker::new(settings, router, dealt.shards, catalog, self.now),
                files: dealt.files,
                listeners: vec![()],
                exchange: Exchange::new(port),
                control: to_control,
                inbox,
                sleep,
                config: config.clone(),
            };
            cores.push(Core::new(SimRing::new(core as u8, self.plan.bug), parts));
        }
        Ok(Life {
            cores,
            control,
            serving: 0,
            drained: 0,
            places,
            wanted: VecDeque::new(),
            upkeeps: due.into(),
            actors: Actors::new(&mut self.rng),
            is_full: false,
            was_full: false,
            is_stopping: false,
            control_is_late: 0,
            reads_failed: self.has_damaged_runs,
            retains: self.plan.retains,
        })
    }

    /// Steps until the broker accepts connections.
    pub(crate) fn serve(&mut self, life: &mut Life) -> Result<(), Finding> {
        for _ in 0..QUIET_STEPS_MAX {
            if life.is_serving() {
                return Ok(());
            }
            self.step(life, false)?;
        }
        Err("the broker does not begin to serve".to_owned())
    }

    /// Something happens, then the core takes its turn.
    pub(crate) fn step(&mut self, life: &mut Life, with_load: bool) -> Result<(), Finding> {
        if with_load {
            self.disturb(life)?;
        }
        if life.is_serving() && self.rng.u8(..8) == 0 {
            self.mind_names(life)?;
        }
        match self.rng.u8(..100) {
            0..25 => {
                // A receive is 64 KiB at the most; who sends much fills several at once.
                for _ in 0..if life.actors.is_heavy { 6 } else { 1 } {
                    life.any_ring(&mut self.rng).deliver(&mut self.rng);
                }
            }
            25..55 => {
                if self.plan.disk_fails && with_load && self.rng.u16(..400) == 0 {
                    life.reads_failed |= life.any_ring(&mut self.rng).fail(&mut self.rng);
                } else {
                    life.any_ring(&mut self.rng).complete(&mut self.rng);
                }
            }
            55..65 if with_load && life.control_is_late > 0 => {}
            55..65 => self.control(life),
            65..75 => {
                let ms = if self.rng.u8(..10) == 0 { 700 } else { self.rng.u64(..3) };
                self.now.wall_ms += ms;
                let ns = ms * 1_000_000 + self.rng.u64(..1_000_000);
                self.pass_time(life, ns);
            }
            75..85 if with_load => self.produce(life)?,
            85..95 if with_load => self.consume(life)?,
            95..99 if with_load => self.transact(life)?,
            99.. if with_load => self.administer(life)?,
            _ => {}
        }
        if with_load && (self.mortal.moves() || self.rng.u8(..10) == 0) {
            self.mortal_acts(life)?;
        }
        if with_load && self.rng.u8(..8) == 0 {
            self.orderly_acts(life)?;
        }
        if with_load && self.has_rare_clients {
            self.rare_acts(life)?;
        }
        self.latest_ms = self.latest_ms.max(self.now.wall_ms);
        self.ledger.clock(self.now.wall_ms, self.latest_ms);
        self.turn(life)?;
        self.mortal_reads(life)?;
        self.orderly_reads(life)?;
        self.operator_reads(life)?;
        self.resumer_reads(life)?;
        self.dialog_reads(life)?;
        self.read_answers(life)
    }

    /// Clients that ask what few ask.
    fn rare_acts(&mut self, life: &mut Life) -> Result<(), Finding> {
        match self.rng.u8(..36) {
            0..4 => self.operator_acts(life)?,
            4..6 => self.resumer_acts(life)?,
            6..8 => self.dialog_acts(life)?,
            _ => return Ok(()),
        }
        // What they write delays nobody else.
        if self.rng.bool() {
            life.any_ring(&mut self.rng).deliver(&mut self.rng);
        }
        Ok(())
    }

    fn turn(&mut self, life: &mut Life) -> Result<(), Finding> {
        let core = any_core(life.cores.len(), &mut self.rng);
        let core = &mut life.cores[core];
        core.collect().map_err(|error| error.to_string())?;
        let worked = core.turn(self.now).map_err(|error| error.to_string())?;
        if !worked {
            core.arm_deadline(self.now);
        }
        Ok(())
    }

    /// The control thread's part.
    fn control(&mut self, life: &mut Life) {
        let messages = life
            .control
            .iter_mut()
            .flat_map(|(_, from_core)| std::iter::from_fn(|| from_core.pop()).collect::<Vec<_>>());
        for message in messages.collect::<Vec<_>>() {
            match message {
                ToControl::PrepareSpace { shard, range } => life.wanted.push_back((shard, range)),
                ToControl::RegisterTopics { number: Some(number), .. } => {
                    life.tell(0, ToCore::Registered { number });
                }
                ToControl::WriteRun { shard, slice } => {
                    life.upkeeps.push_back((shard, Upkeep::WriteRun(slice)));
                }
                ToControl::RemoveBelow { shard, segments, start } => {
                    life.upkeeps.push_back((shard, Upkeep::RemoveBelow(segments, start)));
                }
                ToControl::KeepIndex { shard, work } => {
                    life.upkeeps.push_back((shard, Upkeep::KeepIndex(work)));
                }
                ToControl::RemakeRun { shard, range } => {
                    life.upkeeps.push_back((shard, Upkeep::RemakeRun(range)));
                }
                ToControl::Serving => life.serving += 1,
                ToControl::Drained => {
                    life.drained += 1;
                    if life.drained == life.cores.len() {
                        life.tell_all(|| ToCore::End);
                    }
                }
                ToControl::Stopped(ends) => {
                    for end in ends {
                        let shard = end.shard;
                        let rest = close(&self.disk, &life.places[shard], end);
                        life.upkeeps.extend(rest.into_iter().map(|upkeep| (shard, upkeep)));
                    }
                }
                ToControl::RegisterTopics { .. } | ToControl::Figures(_) => {}
            }
        }
        // Space is zeroed no earlier than it will soon be needed: the rest would only cost time.
        let needed = life.wanted.iter().position(|(shard, _)| {
            let log = life.shard(*shard).log();
            log.prepared() < log.appended() + (4 << 20)
        });
        if let Some((shard, range)) = needed.and_then(|at| life.wanted.remove(at)) {
            let zeroed = zero_range(&self.disk, &self.zeros, &life.places[shard], range.clone());
            let message = match zeroed {
                Ok(segment) => ToCore::SpacePrepared { shard, range, segment },
                Err(error) => {
                    // Other shards' space is tried meanwhile.
                    life.wanted.push_front((shard, range));
                    life.wanted.make_contiguous().sort_by_key(|(waiting, _)| *waiting == shard);
                    ToCore::SpaceDelayed {
                        shard,
                        lack: Lack::of(&error),
                        reason: error.to_string(),
                    }
                }
            };
            life.tell(shard, message);
        }
        if self.plan.retains && self.rng.u8(..4) == 0 {
            life.looks_at_disk();
        }
        if let Some((shard, upkeep)) = life.upkeeps.pop_front() {
            let done = perform(&self.disk, &life.places[shard], shard, upkeep);
            for message in done.messages {
                life.tell(shard, message);
            }
            life.upkeeps.extend(done.again.map(|(again, _)| (shard, again)));
        }
    }

    /// Small, so that a life makes several runs, now and then many.
    fn seal_limits(&mut self) -> SealLimits {
        if self.seals_late {
            return SealLimits::default();
        }
        let entries =
            if self.rng.u8(..4) == 0 { self.rng.usize(1..8) } else { self.rng.usize(8..200) };
        SealLimits { log_bytes: 1 << self.rng.u32(12..21), entries, note_bytes: 1 << 12 }
    }
}

/// A full segment and the one that is written, when old ones are to go.
const RETAINED_BYTES: u64 = 20 << 20;

fn retention(retains: bool) -> Retention {
    Retention {
        reserved_ms: 72 * 3_600_000,
        hours: Vec::new(),
        delete_percent: 75,
        force_percent: Some(85),
        full_percent: 90,
        writable_percent: 85,
        bytes_max: retains.then_some(RETAINED_BYTES),
    }
}

fn broker_settings(delay_ms: u64) -> BrokerSettings {
    BrokerSettings {
        broker_name: crate::client::BROKER_NAME.to_owned(),
        cluster_name: "DefaultCluster".to_owned(),
        region_id: "DefaultRegion".to_owned(),
        trace_on: true,
        trace_topic: None,
        advertised: SocketAddr::from(([127, 0, 0, 1], 10911)),
        permission: 6,
        message_bytes_max: 4 << 20,
        auto_create_topic: true,
        validate_system_topic: true,
        mixed_message_type: false,
        store_replies: true,
        reset_at_server: true,
        auto_create_group: true,
        default_topic_queue_count: 8,
        pull_messages_max: 32,
        pull_bytes_max: 256 * 1024,
        long_polling: true,
        query_messages_max: 64,
        unique_query_messages_max: 32,
        property_filter: true,
        filter_retries: false,
        check_message_type: false,
        short_polling_ms: 1_000,
        // Longer than all pauses of a life: who does not say that it lives is disconnected.
        consumer_expired_ms: 3_600_000,
        producer_expired_ms: 3_600_000,
        notify_consumer_ids_changed: true,
        delay_levels_ms: vec![delay_ms],
        transactions: TRANSACTIONS,
        timer_wheel: true,
        timer_delay_ms_max: 2 * LONG_DELAY_MS,
        recall: true,
        recall_when_read_only: true,
        memory_bytes: 8 << 30,
        process_tag: 1,
        shown: Arc::new(operator::CONFIGURED.map(|(key, value)| (key, value.to_owned())).into()),
    }
}
