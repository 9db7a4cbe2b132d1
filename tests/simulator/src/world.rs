//! One run: lives of a broker on one disk, each ended by a crash, from a seed.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;

use engine::commitlog::FlushMode;
use engine::retention::Retention;
use engine::shard::SealLimits;
use fastrand::Rng;
use ringmq::broker::{Broker, BrokerSettings};
use ringmq::router::Router;
use ringmq::server::core::{Core, CoreConfig, CoreParts};
use ringmq::server::messages::{ToControl, ToCore};
use ringmq::server::runs::ShardPlace;
use ringmq::server::space::zero_range;
use ringmq::server::split;
use ringmq::server::store::{StoreSettings, open_files};
use ringmq::server::upkeep::{Upkeep, perform};
use runtime::DirectBuffer;
use runtime::clock::Now;
use runtime::eventfd::EventFd;
use runtime::mesh::{Inbox, Peer, SleepFlag, pair};

use crate::client::{Answered, Asked, Client, QUEUES, queue_of};
use crate::disk::{Crash, Disk, DiskFile};
use crate::ledger::{Ledger, MessageKey, Outcome, body_of};
use crate::ring::{Bug, SimRing};

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
    /// A number that two runs of one seed share.
    pub trace: u64,
}

/// What was changed.
#[derive(Clone, Debug, Default)]
struct Flips {
    /// Bytes of the log.
    log: usize,
    /// Bytes of STORE and EPOCHS.
    documents: usize,
    places: Vec<(PathBuf, u64)>,
}

/// What a run of corruptions did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Corruptions {
    /// The damaged store was served, what was damaged left out.
    pub started: u64,
    /// The start was refused.
    pub refused: u64,
    /// Messages that were damaged and therefore gone.
    pub gone: u64,
}

/// Bytes of a disk block, and of what the log is padded to.
const BLOCK_BYTES: u64 = 4096;

/// Longest time that answers may take once nothing fails any more, in steps.
const QUIET_STEPS_MAX: u32 = 20_000;

struct Life {
    core: Core<SimRing>,
    to_core: Peer<ToCore<DiskFile>>,
    from_core: Inbox<ToControl>,
    places: Vec<ShardPlace>,
    wanted: VecDeque<(usize, std::ops::Range<u64>)>,
    upkeeps: VecDeque<(usize, Upkeep)>,
    is_serving: bool,
    producers: Vec<Option<Client>>,
    consumer: Option<Client>,
}

/// See the module's first lines.
pub struct World {
    rng: Rng,
    plan: Plan,
    disk: Disk,
    zeros: DirectBuffer,
    now: Now,
    ledger: Ledger,
    /// Next number of each producer.
    sequences: Vec<u32>,
    /// Where the consumer is in each queue; it never goes back, so committed offsets do not either.
    next: Vec<u64>,
    summary: Summary,
}

const PRODUCERS: usize = 3;

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
        World {
            rng: Rng::with_seed(seed),
            plan,
            disk,
            zeros: DirectBuffer::new(1 << 20).expect("memory"),
            now: Now { wall_ms: 1_795_341_911_000, monotonic_ns: 1_000_000_000 },
            ledger: Ledger::default(),
            sequences: vec![0; PRODUCERS],
            next: vec![0; QUEUES as usize],
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
        self.summary.acknowledged = self.ledger.acknowledged;
        self.summary.seen = self.ledger.seen;
        Ok(self.summary)
    }

    /// Fills a store, stops it cleanly, and then starts copies of it with some bytes changed.
    ///
    /// # Errors
    /// The finding: a body that nobody sent, more messages gone than bytes were changed, no answer.
    pub fn run_corruptions(mut self, count: u32) -> Result<Corruptions, Finding> {
        let mut life = self.start()?;
        self.serve(&mut life)?;
        for _ in 0..self.plan.steps_max {
            self.step(&mut life, true)?;
        }
        self.quiet(&mut life)?;
        self.audit(&mut life)?;
        self.stop(&mut life)?;
        self.end(life);
        let whole = self.disk.clone();
        let mut done = Corruptions::default();
        for number in 0..count {
            self.disk = whole.fork();
            let flips = self.corrupt();
            let outcome = self.corrupted(&flips, &mut done);
            outcome.map_err(|finding| format!("corruption {number}, {flips:?}: {finding}"))?;
        }
        Ok(done)
    }

    /// Changes bytes anywhere in what is used, most of them in the log.
    fn corrupt(&mut self) -> Flips {
        let mut flips = Flips::default();
        let (log, documents): (Vec<_>, Vec<_>) = self
            .disk
            .used()
            .into_iter()
            .partition(|(path, _)| path.file_name().is_some_and(|name| name.len() == 20));
        for _ in 0..self.rng.u32(1..4) {
            let is_log = self.rng.u8(..5) > 0;
            let files = if is_log { &log } else { &documents };
            let Some((path, places)) = self.rng.choice(files) else { continue };
            let Some(place) = self.rng.choice(places) else { continue };
            let place = if is_log { place + self.rng.u64(..4096) } else { *place };
            if flips.places.iter().any(|(other, at)| other == path && *at == place) {
                continue; // the same bit twice would change nothing
            }
            let bit = 1 << self.rng.u8(..8);
            if is_log {
                self.disk.corrupt(path, place, |byte| byte ^ bit).expect("a place in use");
                flips.log += 1;
            } else {
                self.disk.corrupt_text(path, place as usize, |byte| byte ^ bit);
                flips.documents += 1;
            }
            flips.places.push((path.clone(), place));
        }
        flips
    }

    fn corrupted(&mut self, flips: &Flips, done: &mut Corruptions) -> Result<(), Finding> {
        let mut life = match self.start() {
            Ok(life) => life,
            Err(_) if flips.documents > 0 => {
                done.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if flips.documents > 0 {
            return Err("a damaged document was taken for a whole one".to_owned());
        }
        self.serve(&mut life)?;
        let mut gone = 0;
        for queue in 0..QUEUES {
            let bodies = self.read_queue(&mut life, queue, true)?;
            gone += self.ledger.audits_damaged(queue, &bodies)?;
        }
        if gone > flips.log {
            return Err(format!("{} bytes were changed and {gone} messages are gone", flips.log));
        }
        done.started += 1;
        done.gone += gone as u64;
        self.end(life);
        Ok(())
    }

    /// A clean stop.
    fn stop(&mut self, life: &mut Life) -> Result<(), Finding> {
        life.to_core.send(ToCore::Stop).ok();
        for _ in 0..QUIET_STEPS_MAX {
            self.step(life, false)?;
            if life.core.is_stopped() {
                return Ok(());
            }
        }
        Err("the core does not stop".to_owned())
    }

    /// One life, from start to crash (or to a clean stop, for the last one).
    fn live(&mut self, is_last: bool) -> Result<(), Finding> {
        // The process may die in its start, and again in the next one.
        while !is_last && self.rng.u8(..6) == 0 {
            self.disk.die_after(Some(self.rng.u32(..40)));
            let started = self.start();
            self.disk.die_after(None);
            if let Ok(life) = started {
                self.end(life);
            } else {
                self.disk.crash(self.plan.crash, &mut self.rng);
                self.summary.crashes += 1;
            }
        }
        let mut life = self.start()?;
        self.serve(&mut life)?;
        self.audit(&mut life)?;
        for _ in 0..self.rng.u32(..self.plan.steps_max) {
            self.step(&mut life, true)?;
        }
        if is_last || self.rng.u8(..8) == 0 {
            self.quiet(&mut life)?;
            if life.core.broker().shards.iter().all(|shard| shard.log().poisoned().is_none()) {
                self.audit(&mut life)?;
            }
        }
        self.end(life);
        Ok(())
    }

    /// The crash: requests without an answer have an unknown outcome.
    fn end(&mut self, mut life: Life) {
        let clients =
            life.producers.iter_mut().filter_map(Option::take).chain(life.consumer.take());
        for client in clients {
            self.forget(client).expect("an outcome that nobody knew");
        }
        life.core.ring().crash(self.plan.crash, &mut self.rng);
        self.disk.crash(self.plan.crash, &mut self.rng);
        self.summary.crashes += 1;
    }

    fn forget(&mut self, client: Client) -> Result<(), Finding> {
        for asked in client.abandon() {
            if let Asked::Send(key) = asked {
                self.ledger.learns(key, Outcome::Unknown)?;
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<Life, Finding> {
        self.now.monotonic_ns += 1_000_000_000;
        // Clocks jump, both ways.
        let jump_ms = self.rng.i64(-5_000..60_000);
        self.now.wall_ms = self.now.wall_ms.saturating_add_signed(jump_ms);
        let directory = PathBuf::from("/store");
        let settings = StoreSettings {
            directory: directory.clone(),
            segment_bytes: 16 << 20,
            shard_count: Some(1),
            flush: self.plan.flush,
            sync_flush_timeout_ms: 5_000,
            write_buffer_bytes: 16 << 20,
            read_cache_bytes: 8 << 20,
            delay_levels_ms: vec![1_000],
            seal: self.seal_limits(),
        };
        let mut random = Rng::with_seed(self.rng.u64(..));
        let store = open_files(&self.disk, &settings, BLOCK_BYTES, |bytes| {
            random.fill(bytes);
            Ok(())
        });
        let mut store = store.map_err(|error| format!("the store does not open: {error}"))?;
        store.catalog.opened(self.now.wall_ms);
        let (shards, files, places) = split(store.shards);
        let flag = || SleepFlag::new(EventFd::new().expect("an eventfd"));
        let (core_sleep, control_sleep) = (flag(), flag());
        let (to_control, from_core) = pair(&core_sleep, &control_sleep, 256);
        let (to_core, inbox) = pair(&control_sleep, &core_sleep, 256);
        let router = Router::new(0, 1, shards.len());
        let broker = Broker::new(broker_settings(), router, shards, store.catalog, self.now);
        let config = CoreConfig {
            connections_max: 100,
            idle_ms: 3_600_000,
            assembling_bytes_max: 64 << 20,
            flush_interval_ms: 500,
            store: directory,
            retention: retention(),
        };
        let parts = CoreParts {
            broker,
            files,
            listener: (),
            control: to_control,
            inbox,
            sleep: core_sleep,
            config,
        };
        Ok(Life {
            core: Core::new(SimRing::new(self.plan.bug), parts),
            to_core,
            from_core,
            places,
            wanted: VecDeque::new(),
            upkeeps: VecDeque::new(),
            is_serving: false,
            producers: (0..PRODUCERS).map(|_| None).collect(),
            consumer: None,
        })
    }

    /// Steps until the broker accepts connections.
    fn serve(&mut self, life: &mut Life) -> Result<(), Finding> {
        for _ in 0..QUIET_STEPS_MAX {
            if life.is_serving {
                return Ok(());
            }
            self.step(life, false)?;
        }
        Err("the broker does not begin to serve".to_owned())
    }

    /// Something happens, then the core takes its turn.
    fn step(&mut self, life: &mut Life, with_load: bool) -> Result<(), Finding> {
        match self.rng.u8(..100) {
            0..25 => {
                life.core.ring().deliver(&mut self.rng);
            }
            25..55 => {
                if self.plan.disk_fails && with_load && self.rng.u16(..400) == 0 {
                    life.core.ring().fail(&mut self.rng);
                } else {
                    life.core.ring().complete(&mut self.rng);
                }
            }
            55..65 => self.control(life),
            65..75 => {
                let ms = if self.rng.u8(..10) == 0 { 700 } else { self.rng.u64(..3) };
                self.now.wall_ms += ms;
                self.now.monotonic_ns += ms * 1_000_000 + self.rng.u64(..1_000_000);
                let now_ns = self.now.monotonic_ns;
                life.core.ring().pass_time(now_ns);
            }
            75..90 if with_load => self.produce(life)?,
            90..100 if with_load => self.consume(life)?,
            _ => {}
        }
        self.turn(life)?;
        self.read_answers(life)
    }

    fn turn(&mut self, life: &mut Life) -> Result<(), Finding> {
        let worked = life.core.step(self.now).map_err(|error| error.to_string())?;
        if !worked {
            life.core.arm_deadline(self.now);
        }
        Ok(())
    }

    /// The control thread's part.
    fn control(&mut self, life: &mut Life) {
        while let Some(message) = life.from_core.pop() {
            match message {
                ToControl::PrepareSpace { shard, range } => life.wanted.push_back((shard, range)),
                ToControl::RegisterTopics { number: Some(number), .. } => {
                    life.to_core.send(ToCore::Registered { number }).ok();
                }
                ToControl::WriteRun { shard, slice } => {
                    life.upkeeps.push_back((shard, Upkeep::WriteRun(slice)));
                }
                ToControl::RemoveBelow { shard, segments, start } => {
                    life.upkeeps.push_back((shard, Upkeep::RemoveBelow(segments, start)));
                }
                ToControl::RemakeRun { shard, range } => {
                    life.upkeeps.push_back((shard, Upkeep::RemakeRun(range)));
                }
                ToControl::Serving => life.is_serving = true,
                ToControl::RegisterTopics { .. } | ToControl::Stopped => {}
            }
        }
        // Space is zeroed no earlier than it will soon be needed: the rest would only cost time.
        let log = life.core.broker().shards[0].log();
        let is_needed = log.prepared() < log.appended() + (4 << 20);
        if is_needed && let Some((shard, range)) = life.wanted.pop_front() {
            let zeroed = zero_range(&self.disk, &self.zeros, &life.places[shard], range.clone());
            let message = match zeroed {
                Ok(segment) => ToCore::SpacePrepared { shard, range, segment },
                Err(error) => {
                    life.wanted.push_front((shard, range));
                    ToCore::SpaceDelayed { shard, reason: error.to_string() }
                }
            };
            life.to_core.send(message).ok();
        }
        if let Some((shard, upkeep)) = life.upkeeps.pop_front() {
            let done = perform(&self.disk, &life.places[shard], shard, upkeep);
            for message in done.messages {
                life.to_core.send(message).ok();
            }
            life.upkeeps.extend(done.again.map(|again| (shard, again)));
        }
    }

    /// Small, so that a life makes several runs, now and then many.
    fn seal_limits(&mut self) -> SealLimits {
        let entries =
            if self.rng.u8(..4) == 0 { self.rng.usize(1..8) } else { self.rng.usize(8..200) };
        SealLimits { log_bytes: 1 << self.rng.u32(12..21), entries, note_bytes: 1 << 12 }
    }

    fn connect(&mut self, life: &mut Life) -> Option<Client> {
        let peer = SocketAddr::from(([127, 0, 0, 1], self.rng.u16(1024..)));
        let window = if self.rng.u8(..4) == 0 { self.rng.usize(256..5_000) } else { 1 << 20 };
        life.core.ring().connect(peer, window).map(Client::new)
    }

    fn produce(&mut self, life: &mut Life) -> Result<(), Finding> {
        let producer = self.rng.usize(..PRODUCERS);
        let Some(mut client) = life.producers[producer].take() else {
            life.producers[producer] = self.connect(life);
            return Ok(());
        };
        if self.rng.u8(..100) == 0 {
            let reset = self.rng.bool().then(|| std::io::ErrorKind::ConnectionReset.into());
            life.core.ring().client_closes(client.connection, reset);
            return self.forget(client);
        }
        if client.waiting() < 16 {
            for _ in 0..self.rng.u32(1..6) {
                let sequence = self.sequences[producer];
                self.sequences[producer] += 1;
                let key = MessageKey { producer: producer as u32, sequence };
                let len = match self.rng.u8(..50) {
                    0 => self.rng.usize(..300_000),
                    1..10 => self.rng.usize(..9_000),
                    _ => self.rng.usize(..400),
                };
                let body = body_of(key, len);
                let bytes = client.ask(Asked::Send(key), &body, 0);
                self.ledger.sends(key, queue_of(key), body);
                life.core.ring().client_writes(client.connection, &bytes);
            }
        }
        life.producers[producer] = Some(client);
        Ok(())
    }

    fn consume(&mut self, life: &mut Life) -> Result<(), Finding> {
        let Some(mut client) = life.consumer.take() else {
            life.consumer = self.connect(life);
            return Ok(());
        };
        if self.rng.u8(..100) == 0 {
            life.core.ring().client_closes(client.connection, None);
            return self.forget(client);
        }
        if client.waiting() < 4 {
            let queue = self.rng.u32(..QUEUES);
            let from = self.next[queue as usize];
            let (asked, suspend_ms) = match self.rng.u8(..10) {
                0 => {
                    self.ledger.commits(queue, from);
                    (Asked::Commit { queue, offset: from }, 0)
                }
                1..5 => (Asked::Pull { queue, from }, 1_000),
                _ => (Asked::Pull { queue, from: self.rng.u64(..=from) }, 0),
            };
            let bytes = client.ask(asked, b"", suspend_ms);
            life.core.ring().client_writes(client.connection, &bytes);
        }
        life.consumer = Some(client);
        Ok(())
    }

    /// Clients read what came for them.
    fn read_answers(&mut self, life: &mut Life) -> Result<(), Finding> {
        for producer in 0..PRODUCERS {
            let Some(client) = life.producers[producer].take() else { continue };
            life.producers[producer] = self.read(life, client)?;
        }
        if let Some(client) = life.consumer.take() {
            life.consumer = self.read(life, client)?;
        }
        Ok(())
    }

    /// `None`: the connection is gone.
    fn read(&mut self, life: &mut Life, mut client: Client) -> Result<Option<Client>, Finding> {
        match life.core.ring().client_reads(client.connection) {
            Some(bytes) => client.receive(&bytes),
            None => return self.forget(client).map(|()| None),
        }
        while let Some((asked, answered)) = client.next_answer()? {
            self.answered(asked, answered)?;
        }
        Ok(Some(client))
    }

    fn answered(&mut self, asked: Asked, answered: Answered) -> Result<(), Finding> {
        self.note(&asked, &answered);
        match (asked, answered) {
            (Asked::Send(key), Answered::Stored { code: 0, offset }) => {
                self.ledger.learns(key, Outcome::Stored(offset))
            }
            (Asked::Send(key), Answered::Stored { .. }) => {
                self.ledger.learns(key, Outcome::Unknown)
            }
            (Asked::Send(key), Answered::Code(_)) => self.ledger.learns(key, Outcome::Refused),
            (Asked::Pull { queue, from }, Answered::Messages { messages, .. }) => {
                for (expected, (offset, body)) in (from..).zip(&messages) {
                    if *offset != expected {
                        return Err(format!("queue {queue}: asked from {from}, got {offset}"));
                    }
                    self.ledger.sees(queue, *offset, body)?;
                }
                let next = &mut self.next[queue as usize];
                *next = (*next).max(from + messages.len() as u64);
                Ok(())
            }
            (Asked::Commit { queue, offset }, Answered::Code(0)) => {
                self.ledger.committed(queue, offset);
                Ok(())
            }
            (Asked::Commit { .. }, Answered::Code(_)) => Ok(()),
            (Asked::Query { queue }, Answered::Offset(offset)) => {
                self.ledger.reads_committed(queue, Some(offset))
            }
            (Asked::Query { queue }, Answered::Code(_)) => self.ledger.reads_committed(queue, None),
            (Asked::Pull { .. }, Answered::Code(_)) => Ok(()),
            (asked, answered) => Err(format!("{asked:?} is answered {answered:?}")),
        }
    }

    fn note(&mut self, asked: &Asked, answered: &Answered) {
        let mut hasher = DefaultHasher::new();
        (self.summary.trace, asked, answered).hash(&mut hasher);
        self.summary.trace = hasher.finish();
    }

    /// Nothing fails and nobody asks any more: everybody must get an answer.
    fn quiet(&mut self, life: &mut Life) -> Result<(), Finding> {
        for _ in 0..QUIET_STEPS_MAX {
            self.step(life, false)?;
            let mut clients = life.producers.iter().flatten().chain(&life.consumer);
            if clients.all(|client| client.waiting() == 0) {
                return Ok(());
            }
        }
        Err(format!(
            "no answer in {QUIET_STEPS_MAX} steps; a send: {:?}",
            self.ledger.anybody_waits()
        ))
    }

    /// All messages of a queue, from its start to its end.
    fn read_queue(
        &mut self,
        life: &mut Life,
        queue: u32,
        has_gaps: bool,
    ) -> Result<Vec<(u64, Vec<u8>)>, Finding> {
        let mut client = self.connect_auditor(life)?;
        let (mut bodies, mut from) = (Vec::new(), 0);
        loop {
            match self.ask(life, &mut client, Asked::Pull { queue, from })? {
                Answered::Messages { code: 0, messages, next } => {
                    from = if has_gaps { next } else { from + messages.len() as u64 };
                    bodies.extend(messages);
                }
                // A damaged message, or one below the first: there is more behind it.
                Answered::Messages { next, .. } if has_gaps && next > from => from = next,
                Answered::Messages { .. } => break,
                // The topic does not exist before the first send.
                Answered::Code(17) => break,
                other => return Err(format!("queue {queue} from {from}: {other:?}")),
            }
        }
        life.core.ring().client_closes(client.connection, None);
        Ok(bodies)
    }

    fn connect_auditor(&mut self, life: &mut Life) -> Result<Client, Finding> {
        let window = 1 << 26;
        let peer = SocketAddr::from(([127, 0, 0, 1], 999));
        let connection = life.core.ring().connect(peer, window).ok_or("nobody listens")?;
        Ok(Client::new(connection))
    }

    /// Reads all queues from their start, and the committed offsets.
    fn audit(&mut self, life: &mut Life) -> Result<(), Finding> {
        for queue in 0..QUEUES {
            let bodies = self.read_queue(life, queue, false)?;
            self.ledger.audits(queue, &bodies)?;
            let mut client = self.connect_auditor(life)?;
            let answered = self.ask(life, &mut client, Asked::Query { queue })?;
            self.answered(Asked::Query { queue }, answered)?;
            life.core.ring().client_closes(client.connection, None);
        }
        Ok(())
    }

    /// Asks and waits.
    fn ask(
        &mut self,
        life: &mut Life,
        client: &mut Client,
        asked: Asked,
    ) -> Result<Answered, Finding> {
        let bytes = client.ask(asked, b"", 0);
        life.core.ring().client_writes(client.connection, &bytes);
        for _ in 0..QUIET_STEPS_MAX {
            self.step(life, false)?;
            match life.core.ring().client_reads(client.connection) {
                Some(bytes) => client.receive(&bytes),
                None => return Err(format!("the connection of {asked:?} was closed")),
            }
            if let Some((_, answered)) = client.next_answer()? {
                return Ok(answered);
            }
        }
        Err(format!("{asked:?} is not answered"))
    }
}

fn retention() -> Retention {
    Retention {
        reserved_ms: 72 * 3_600_000,
        hours: Vec::new(),
        delete_percent: 75,
        force_percent: Some(85),
        full_percent: 90,
        writable_percent: 85,
        bytes_max: None,
    }
}

fn broker_settings() -> BrokerSettings {
    BrokerSettings {
        broker_name: "sim".to_owned(),
        cluster_name: "DefaultCluster".to_owned(),
        region_id: "DefaultRegion".to_owned(),
        trace_on: true,
        trace_topic: None,
        advertised: SocketAddr::from(([127, 0, 0, 1], 10911)),
        permission: 6,
        message_bytes_max: 4 << 20,
        auto_create_topic: true,
        auto_create_group: true,
        default_topic_queue_count: 8,
        pull_messages_max: 32,
        pull_bytes_max: 256 * 1024,
        long_polling: true,
        short_polling_ms: 1_000,
        consumer_expired_ms: 120_000,
        notify_consumer_ids_changed: true,
        delay_levels_ms: vec![1_000],
        memory_bytes: 8 << 30,
        process_tag: 1,
    }
}
