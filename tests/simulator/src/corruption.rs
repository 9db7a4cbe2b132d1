//! Changed bytes in a store that was stopped cleanly: copies of it are damaged and started, and their lives go
//! on to another end and start.
//!
//! What must hold: what is damaged is told; who starts it serves everything else, as if the damaged records
//! had never been written, but for the numbers of their messages, which are not given again; and what was
//! acknowledged after the damage is as safe as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use engine::commitlog::{Kind, PREFIX_BYTES};
use proto::ids::{LogOffset, Position, ShardIndex};
use proto::record::Record;
use ringmq::server::recovery::Replayed;
use ringmq::server::runs::DamagedFile;
use ringmq::server::store::{inspect, segment_path, shard_directory};
use runtime::clock::Now;

use crate::client::Asked;
use crate::disk::Disk;
use crate::ledger::Ledger;
use crate::mortal::{self, Mortal};
use crate::names::Names;
use crate::place::{MADE_TOPICS, Place, RETRIES_MAX, Topic, all_places};
use crate::workload::Memory;
use crate::world::{Finding, Life, SEGMENT_BYTES, STORE, World};

/// Steps of a life that goes on after the damage, at the most.
const STEPS_MAX: u32 = 300;

/// A group of which nobody commits anything later.
const READER: u8 = 9;

/// What was changed.
#[derive(Clone, Debug, Default)]
struct Flips {
    /// Bytes of records.
    records: usize,
    /// Bytes of the log that no record needs: padding, what a filler skips, space ahead.
    free: usize,
    /// Bytes of runs, index files and snapshots.
    derived: usize,
    /// Bytes of STORE and EPOCHS.
    documents: usize,
    /// Bytes of CLEAN.
    ends: usize,
    places: Vec<(PathBuf, u64)>,
    /// Records that were hit: their shards, which they are there, and what they are.
    hits: BTreeMap<(usize, usize), Kind>,
    /// Of these, messages that still say where they belong: only their bodies were hit.
    bodiless: BTreeSet<(usize, usize)>,
}

impl Flips {
    /// Files of a kind that were changed.
    fn files(&self, kind: FileKind) -> usize {
        let files: BTreeSet<_> = self.places.iter().map(|(path, _)| path).collect();
        files.into_iter().filter(|path| FileKind::of(path) == kind).count()
    }
}

/// Kinds of files, by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    Segment,
    Run,
    Index,
    Snapshot,
    Document,
    End,
}

impl FileKind {
    pub fn of(path: &Path) -> FileKind {
        match path.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
            name if name.len() == 20 => FileKind::Segment,
            name if name.starts_with("queues-") => FileKind::Run,
            name if name.starts_with("index-") => FileKind::Index,
            name if name.starts_with("snapshot-") => FileKind::Snapshot,
            "CLEAN" => FileKind::End,
            _ => FileKind::Document,
        }
    }

    /// Its bytes are in pages, not a small file's text.
    fn has_pages(self) -> bool {
        matches!(self, FileKind::Segment | FileKind::Run | FileKind::Index)
    }
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
    /// Stores of which only runs or snapshots were damaged.
    pub derived: u64,
    /// Stores of which only free space was changed.
    pub free: u64,
    /// Messages acknowledged when their lives went on.
    pub acknowledged: u64,
    /// Of the second ends, those that were clean.
    pub stopped: u64,
    /// Numbers of damaged messages that were given to others, because nothing whole told of them.
    pub given_again: u64,
}

/// A record of the whole store.
struct UsedRecord {
    /// Log offsets that hold what it says: not padding, nor what a filler skips.
    range: Range<u64>,
    kind: Kind,
    payload: Box<[u8]>,
}

/// A message by its record.
struct StoredMessage {
    place: Place,
    offset: u64,
    position: i64,
}

impl UsedRecord {
    /// `None`: it is no message, or one of a topic that others tell of.
    fn message(&self, shard: usize) -> Option<StoredMessage> {
        if self.kind != Kind::Message {
            return None;
        }
        let (record, _) = Record::decode(&self.payload).expect("it was whole");
        let fields = record.fields();
        let topic = Topic::of_name(std::str::from_utf8(fields.topic).ok()?)?;
        let is_of_shard = Place { topic, queue: 0 }.is_internal();
        let queue = if is_of_shard { shard as u32 } else { fields.queue_id as u32 };
        let start = LogOffset::new(self.range.start + PREFIX_BYTES as u64).expect("of a log");
        Some(StoredMessage {
            place: Place { topic, queue },
            offset: fields.queue_offset as u64,
            position: Position::new(ShardIndex(shard as u8), start).to_i64(),
        })
    }

    /// Whether a log offset is in the body of a message.
    fn is_body(&self, offset: u64) -> bool {
        let record = Record::decode(&self.payload).ok().filter(|_| self.kind == Kind::Message);
        let at = (offset - self.range.start) as usize;
        let body = record.map(|(record, _)| record.body_range());
        body.is_some_and(|body| (body.start..body.end).contains(&at.wrapping_sub(PREFIX_BYTES)))
    }

    /// It is of the topic that others tell of.
    fn is_mortal(&self) -> bool {
        let name = mortal::TOPIC.as_bytes();
        self.payload.windows(name.len()).any(|window| window == name)
    }
}

/// The store as it was stopped, and what was known of it.
struct Whole {
    disk: Disk,
    used: Vec<Vec<UsedRecord>>,
    ledger: Ledger,
    memory: Memory,
    mortal: Mortal,
    now: Now,
    latest_ms: u64,
}

/// The record that a byte of a segment belongs to, its shard, and which it is there, and the byte's log offset.
fn record_at(used: &[Vec<UsedRecord>], path: &Path, place: u64) -> Option<((usize, usize), u64)> {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let name = path.file_name().and_then(|name| name.to_str());
    let shard = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let shard = number(shard.and_then(|name| name.strip_prefix("shard-"))).unwrap_or(0) as usize;
    let offset = number(name).expect("a segment") + place;
    let records = &used[shard];
    let at = records.partition_point(|record| record.range.start <= offset).checked_sub(1)?;
    records[at].range.contains(&offset).then_some(((shard, at), offset))
}

/// What a damaged store cannot say any more.
#[derive(Default)]
struct Lost {
    /// Records: their shards, and which they are there.
    records: BTreeSet<(usize, usize)>,
    /// Of these, those that look like a torn tail.
    cut: BTreeSet<(usize, usize)>,
    /// Some of them say which topics and groups there are.
    topics: bool,
}

impl Lost {
    fn of(used: &[Vec<UsedRecord>], flips: &Flips, ends: &[u64]) -> Lost {
        let mut lost = Lost { records: flips.hits.keys().copied().collect(), ..Lost::default() };
        for (shard, (records, end)) in used.iter().zip(ends).enumerate() {
            let behind = records.partition_point(|record| record.range.start < *end);
            lost.cut.extend((behind..records.len()).map(|at| (shard, at)));
        }
        lost.records.extend(&lost.cut);
        // Deletions of other shards have no name.
        let of_others = |record: &UsedRecord| !record.is_mortal() && record.payload.len() > 4;
        let mut records = lost.records.iter().map(|&(shard, at)| &used[shard][at]);
        lost.topics = records.any(|it| it.kind == Kind::Catalog && of_others(it));
        lost
    }
}

/// The log offsets in the name of a run or snapshot.
fn numbers_of(path: &Path) -> Vec<u64> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('-').filter_map(|text| text.parse().ok()).collect()
}

impl World {
    /// Fills a store, stops it cleanly, and then starts copies of it with some bytes changed.
    ///
    /// # Errors
    /// The finding: a body that nobody sent, more messages gone than records were changed, no answer, or
    /// whatever lives that go on find.
    pub fn run_corruptions(mut self, count: u32) -> Result<Corruptions, Finding> {
        // A start reads only what no run holds: all of it, half the time …
        self.seals_late = self.rng.bool();
        // What is lost of theirs nobody enters.
        self.has_rare_clients = false;
        let mut life = self.start()?;
        self.serve(&mut life)?;
        self.configure_groups(&mut life)?;
        for _ in 0..self.plan.steps_max {
            self.step(&mut life, true)?;
        }
        self.quiet(&mut life)?;
        if life.is_poisoned() {
            self.end(life);
            life = self.start()?;
            self.serve(&mut life)?;
            self.quiet(&mut life)?;
        }
        self.deliver_all(&mut life)?;
        self.commit_ends(&mut life)?;
        self.stop(&mut life)?;
        self.ledger.stopped_cleanly();
        self.end(life);
        if self.seals_late {
            // … as if the disk had been full when it was stopped.
            self.lose_runs();
        }
        self.seals_late = false;
        let whole = Whole {
            disk: self.disk.clone(),
            used: self.used_records()?,
            ledger: self.ledger.clone(),
            memory: self.memory.clone(),
            mortal: self.mortal.clone(),
            now: self.now,
            latest_ms: self.latest_ms,
        };
        let mut done = Corruptions::default();
        for number in 0..count {
            self.take(&whole);
            let flips = self.corrupt(&whole.used);
            let outcome = self.corrupted(&whole.used, &flips, &mut done);
            outcome.map_err(|finding| format!("corruption {number}, {flips:?}: {finding}"))?;
        }
        Ok(done)
    }

    /// Everything is as when the whole store was stopped.
    fn take(&mut self, whole: &Whole) {
        self.disk = whole.disk.fork();
        self.ledger = whole.ledger.clone();
        self.memory = whole.memory.clone();
        self.mortal = whole.mortal.clone();
        self.names = Names::new();
        (self.now, self.latest_ms) = (whole.now, whole.latest_ms);
        (self.has_lost_indexes, self.has_damaged_runs, self.is_damaged) = (false, false, false);
    }

    /// A group has read all of some queues.
    fn commit_ends(&mut self, life: &mut Life) -> Result<(), Finding> {
        let mut client = self.connect_auditor(life)?;
        let asked = Asked::MakeGroup { group: READER, retries: RETRIES_MAX };
        let answer = self.ask(life, &mut client, asked, &[])?;
        self.answered(life, &answer)?;
        for place in all_places(self.plan.shards) {
            if place.is_internal() || self.rng.bool() {
                continue;
            }
            let messages = self.read_queue(life, place, false, None)?.unwrap_or_default();
            let Some(offset) = messages.last().map(|last| last.offset + 1) else { continue };
            self.ledger.commits(READER, place, offset);
            let asked = Asked::Commit { group: READER, place, offset };
            let answer = self.ask(life, &mut client, asked, &[])?;
            self.answered(life, &answer)?;
        }
        life.ring(client.connection).client_closes(client.connection, None);
        Ok(())
    }

    /// What a stop made of the log is not there.
    fn lose_runs(&self) {
        for (path, _) in self.disk.used() {
            if matches!(FileKind::of(&path), FileKind::Run | FileKind::Index) {
                self.disk.lose(&path);
            }
        }
    }

    /// The records of each shard, in their order.
    fn used_records(&self) -> Result<Vec<Vec<UsedRecord>>, Finding> {
        let mut used: Vec<Vec<_>> = Vec::new();
        used.resize_with(usize::from(self.plan.shards), Vec::new);
        let inspected = inspect(&self.disk, Path::new(STORE), |_, shard, found| {
            let Replayed::Record { offset, prefix, payload } = found else { return };
            let end = offset + (PREFIX_BYTES + payload.len()) as u64;
            used[shard].push(UsedRecord {
                range: offset..end,
                kind: prefix.kind,
                payload: payload.into(),
            });
        });
        let inspected = inspected.map_err(|error| error.to_string())?;
        match inspected.shards.iter().find(|shard| !shard.damaged.is_empty()) {
            Some(shard) => Err(format!("a whole store is called damaged: {:?}", shard.damaged)),
            None => Ok(used),
        }
    }

    /// Changes bytes anywhere in what is used, most of them in the log.
    fn corrupt(&mut self, used: &[Vec<UsedRecord>]) -> Flips {
        let mut flips = Flips::default();
        let files = self.disk.used();
        // Now and then nothing is hit that anybody is to miss.
        let (kinds, is_free) = match self.rng.u8(..10) {
            0 => (5..8, false),
            1 => (0..5, true),
            _ => (0..10, false),
        };
        let wanted_flips = self.rng.usize(1..4);
        for _ in 0..if is_free { 64 } else { wanted_flips } {
            if flips.places.len() == wanted_flips {
                break;
            }
            let wanted = match self.rng.u8(kinds.clone()) {
                0..5 => FileKind::Segment,
                5 => FileKind::Run,
                6 => FileKind::Index,
                7 => FileKind::Snapshot,
                8 => FileKind::End,
                _ => FileKind::Document,
            };
            let files: Vec<_> =
                files.iter().filter(|(path, _)| FileKind::of(path) == wanted).collect();
            let Some((path, places)) = self.rng.choice(files) else { continue };
            let Some(place) = self.rng.choice(places) else { continue };
            let place = place + if wanted.has_pages() { self.rng.u64(..4096) } else { 0 };
            let (path, place) = match self.rng.u8(..6) {
                // Now and then the log's end, of which nothing behind it tells …
                0 if wanted == FileKind::Segment => self.near_the_end(used),
                // … or a record of any kind: most bytes are those of messages …
                1 | 2 if wanted == FileKind::Segment => self.of_any_kind(used),
                // … or the newest message of a queue, whose number nothing later in it tells.
                3 if wanted == FileKind::Segment => self.newest_of_a_queue(used),
                _ => (path.clone(), place),
            };
            let path = &path;
            if is_free && record_at(used, path, place).is_some() {
                continue;
            }
            if flips.places.iter().any(|(other, at)| other == path && *at == place) {
                continue; // the same bit twice would change nothing
            }
            let bit = 1 << self.rng.u8(..8);
            if wanted.has_pages() {
                self.disk.corrupt(path, place, |byte| byte ^ bit).expect("a place in use");
            } else {
                self.disk.corrupt_text(path, place as usize, |byte| byte ^ bit);
            }
            match wanted {
                FileKind::Segment => match record_at(used, path, place) {
                    Some((hit, offset)) => {
                        flips.records += 1;
                        let record = &used[hit.0][hit.1];
                        let is_first = flips.hits.insert(hit, record.kind).is_none();
                        if !record.is_body(offset) {
                            flips.bodiless.remove(&hit);
                        } else if is_first {
                            flips.bodiless.insert(hit);
                        }
                    }
                    None => flips.free += 1,
                },
                FileKind::Run | FileKind::Index | FileKind::Snapshot => flips.derived += 1,
                FileKind::Document => flips.documents += 1,
                FileKind::End => flips.ends += 1,
            }
            flips.places.push((path.clone(), place));
        }
        flips
    }

    /// A byte of one of the last two records of a log: the mark of its end, and the padding behind it.
    fn near_the_end(&mut self, used: &[Vec<UsedRecord>]) -> (PathBuf, u64) {
        let shard = self.rng.usize(..used.len());
        let last = used[shard].iter().rev().nth(self.rng.usize(..2)).expect("a log of records");
        self.within(shard, &last.range)
    }

    /// A byte of a record of any kind that there is.
    fn of_any_kind(&mut self, used: &[Vec<UsedRecord>]) -> (PathBuf, u64) {
        let shard = self.rng.usize(..used.len());
        let records = self.some_of(shard, &used[shard]);
        let kinds: BTreeSet<u8> = records.iter().map(|record| record.kind as u8).collect();
        let kind = self.rng.choice(kinds).expect("a log of records");
        let records = records.iter().filter(|record| record.kind as u8 == kind);
        let record = self.rng.choice(records.collect::<Vec<_>>()).expect("it has that kind");
        self.within(shard, &record.range)
    }

    /// A byte of the newest message of a queue.
    fn newest_of_a_queue(&mut self, used: &[Vec<UsedRecord>]) -> (PathBuf, u64) {
        let shard = self.rng.usize(..used.len());
        let mut newest = BTreeMap::new();
        for record in self.some_of(shard, &used[shard]) {
            if let Some(message) = record.message(shard) {
                newest.insert(message.place, &record.range);
            }
        }
        match self.rng.choice(newest) {
            Some((_, range)) => self.within(shard, range),
            None => self.near_the_end(used),
        }
    }

    /// All records of a shard, or those that no run holds: a start reads these only.
    fn some_of<'a>(&mut self, shard: usize, records: &'a [UsedRecord]) -> &'a [UsedRecord] {
        let directory = shard_directory(Path::new(STORE), shard as u16);
        let files = self.disk.used();
        let runs = files.iter().map(|(path, _)| path).filter(|path| {
            path.parent() == Some(&directory) && FileKind::of(path) == FileKind::Run
        });
        let held = runs.filter_map(|path| numbers_of(path).last().copied()).max().unwrap_or(0);
        let tail = &records[records.partition_point(|record| record.range.start < held)..];
        if tail.is_empty() || self.rng.u8(..3) == 0 { records } else { tail }
    }

    fn within(&mut self, shard: usize, range: &Range<u64>) -> (PathBuf, u64) {
        let at = self.rng.u64(range.clone());
        let first = at / SEGMENT_BYTES * SEGMENT_BYTES;
        let directory = shard_directory(Path::new(STORE), shard as u16);
        (segment_path(&directory, first), at - first)
    }

    fn corrupted(
        &mut self,
        used: &[Vec<UsedRecord>],
        flips: &Flips,
        done: &mut Corruptions,
    ) -> Result<(), Finding> {
        let ends = self.check_inspection(flips)?;
        self.is_damaged = flips.records > 0;
        (self.has_lost_indexes, self.has_damaged_runs) = (flips.derived > 0, flips.derived > 0);
        let lost = Lost::of(used, flips, &ends);
        let mut gone = self.enter(used, flips, &lost);
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
        self.audit_open(&life)?;
        self.serve(&mut life)?;
        let mut is_clear = true;
        if lost.topics {
            let mut topics_gone = BTreeSet::new();
            for place in all_places(self.plan.shards) {
                if self.read_queue(&mut life, place, true, None)?.is_some() {
                    continue;
                }
                match self.ledger.vanishes(place) {
                    Some(true) => _ = topics_gone.insert(place.topic),
                    Some(false) => {}
                    None => is_clear = false,
                }
                self.memory.forget_queue(place);
            }
            for topic in (0..MADE_TOPICS).map(Topic::Made) {
                let topic_there = life.home().catalog().topic(&topic.name());
                let queues = topic_there.map_or(0, |it| it.config.write_queue_nums);
                self.ledger.keeps_queues(topic, queues as u32);
            }
            gone += topics_gone.len();
        }
        if gone > lost.records.len() {
            return Err(format!("{} records are lost and {gone} messages", lost.records.len()));
        }
        done.started += 1;
        done.gone += gone as u64;
        let is_only = |count| count > 0 && count == flips.places.len();
        done.derived += u64::from(is_only(flips.derived));
        done.free += u64::from(is_only(flips.free));
        if !is_clear {
            self.end(life);
            return Ok(());
        }
        self.audit(&mut life)?;
        self.go_on(life, done)
    }

    /// The life goes on, ends, and another one follows.
    fn go_on(&mut self, mut life: Life, done: &mut Corruptions) -> Result<(), Finding> {
        let before = self.ledger.acknowledged;
        self.configure_groups(&mut life)?;
        for _ in 0..self.rng.u32(..STEPS_MAX) {
            self.step(&mut life, true)?;
        }
        if self.rng.u8(..4) == 0 {
            self.quiet(&mut life)?;
            if !life.is_poisoned() {
                self.audit(&mut life)?;
            }
        }
        if self.rng.bool() {
            self.stop_for_good(&mut life)?;
            done.stopped += 1;
        }
        self.end(life);
        done.acknowledged += self.ledger.acknowledged - before;
        self.die_in_starts();
        self.close().map_err(|finding| format!("second start: {finding}"))?;
        done.given_again += self.ledger.given_again;
        Ok(())
    }

    /// What was lost is entered in the book. How many messages it knew.
    fn enter(&mut self, used: &[Vec<UsedRecord>], flips: &Flips, lost: &Lost) -> usize {
        let mut known = 0;
        for &(shard, at) in &lost.records {
            let record = &used[shard][at];
            if let Some(StoredMessage { place, offset, position }) = record.message(shard) {
                let is_free = lost.cut.contains(&(shard, at))
                    || !self.is_told(used, flips, lost, (shard, at));
                known += usize::from(self.ledger.loses(place, offset, position, is_free));
            }
            match record.kind {
                Kind::Offsets => self.ledger.forgets_commits(),
                Kind::Settled => self.ledger.forgets_deliveries(),
                Kind::Fired => self.ledger.forgets_firings(),
                Kind::Recalled => self.ledger.forgets_recall(&record.payload),
                Kind::Ended => {
                    for range in record.payload[8..].chunks_exact(16) {
                        let number = |at: usize| {
                            u64::from_le_bytes(range[at..at + 8].try_into().expect("8 bytes"))
                        };
                        self.ledger.forgets_endings(shard as u8, number(0)..number(8));
                    }
                }
                _ => {}
            }
            let is_of_all = matches!(record.kind, Kind::Offsets | Kind::Ended | Kind::Fired);
            if is_of_all || record.is_mortal() {
                self.mortal.gives_up();
            }
        }
        if lost.topics {
            self.mortal.gives_up();
            self.ledger.forgets_commits();
            self.memory.is_configured = false;
            self.memory.forget_backs();
        }
        self.ledger.keeps_committed_numbers();
        known
    }

    /// Whoever looks at the stopped store is told of every changed byte that matters, and of no other. Where
    /// logs end now.
    fn check_inspection(&self, flips: &Flips) -> Result<Vec<u64>, Finding> {
        let mut damaged_records = 0;
        let inspected = inspect(&self.disk, Path::new(STORE), |_, _, found| {
            damaged_records += usize::from(matches!(found, Replayed::Damage { .. }));
        });
        let inspected = match inspected {
            Ok(inspected) if flips.documents == 0 => inspected,
            Err(_) if flips.documents > 0 => return Ok(Vec::new()),
            Ok(_) => return Err("a damaged document is called whole".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let damaged_files = inspected.shards.iter().map(|shard| shard.damaged.len()).sum::<usize>();
        let is_end = |file: &DamagedFile| FileKind::of(&file.path) == FileKind::End;
        let all_damaged = inspected.shards.iter().flat_map(|shard| &shard.damaged);
        if all_damaged.filter(|file| is_end(file)).count() != flips.files(FileKind::End) {
            return Err("a note where the log ended is damaged and not reported".to_owned());
        }
        // Without that note, damage of the log's last record is a torn tail.
        let may_be_torn = flips.ends > 0 && flips.records > 0;
        if (damaged_records > 0) != (flips.records > 0) && !may_be_torn {
            return Err(format!(
                "{} bytes of records were changed, {damaged_records} places are reported",
                flips.records
            ));
        }
        // Padding within them is nobody's, but nothing else is reported.
        if damaged_files > flips.files(FileKind::End) && flips.derived == 0 && flips.records == 0 {
            return Err(format!("{damaged_files} whole files are called damaged"));
        }
        Ok(inspected.shards.iter().map(|shard| shard.end.end).collect())
    }

    /// Whether something whole still says that the number of a lost message was given: all of it but its body, a
    /// later message of its queue, a run, a snapshot, or what settled it. (So does a group that committed behind it:
    /// the ledger knows that.)
    fn is_told(
        &self,
        used: &[Vec<UsedRecord>],
        flips: &Flips,
        lost: &Lost,
        which: (usize, usize),
    ) -> bool {
        let (shard, at) = which;
        let record = &used[shard][at];
        let Some(this) = record.message(shard) else { return true };
        if flips.bodiless.contains(&which) {
            return true;
        }
        let is_lost = |kind| lost.records.iter().any(|&(shard, at)| used[shard][at].kind == kind);
        let is_settled = match this.place.topic {
            Topic::Schedule => !is_lost(Kind::Settled),
            Topic::Half => !is_lost(Kind::Ended),
            _ => false,
        };
        let is_later = |at: usize| {
            let later = used[shard][at].message(shard);
            later.is_some_and(|it| it.place == this.place && it.offset > this.offset)
        };
        let mut behind =
            (at + 1..used[shard].len()).filter(|at| !lost.records.contains(&(shard, *at)));
        let directory = shard_directory(Path::new(STORE), shard as u16);
        let holds = |path: &PathBuf| {
            let is_whole = !flips.places.iter().any(|(other, _)| other == path);
            let numbers = numbers_of(path);
            let offset = record.range.start;
            is_whole
                && path.parent() == Some(&directory)
                && match (FileKind::of(path), &numbers[..]) {
                    (FileKind::Run, [from, to]) => (*from..*to).contains(&offset),
                    (FileKind::Snapshot, [at]) => offset < *at,
                    _ => false,
                }
        };
        is_settled || behind.any(is_later) || self.disk.used().iter().any(|(path, _)| holds(path))
    }
}
