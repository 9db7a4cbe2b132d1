//! Damage of a stopped store: what is served afterwards is right, only what was damaged is gone, and the
//! program says so: a line of its log, `ringmq inspect verify`, or a refusal to start.
//!
//! `RINGMQ_DAMAGES=200 cargo test --release --test damage` tries more places than the usual few;
//! `RINGMQ_DAMAGE_SEED` chooses others.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use engine::commitlog::{Kind, PREFIX_BYTES};
use fastrand::Rng;
use proto::record::Record;
use ringmq::server::recovery::Replayed;
use ringmq::server::store::inspect;
use runtime::file::SystemFiles;
use support::load::{Extent, Ledger, Load, Message, Producers, QUEUES};
use support::{Client, Server, records, write_config};

const LOAD: Load =
    Load { topic: "DamagedTopic", in_flight: 64, body_bytes_max: 9000, may_refuse: false };

const SEGMENT_BYTES: u64 = 16 << 20;

/// Sends acknowledged before the store is stopped: the log reaches its third segment.
const SENDS: u64 = 8500;

/// Bytes changed in one place, at the most.
const CHANGED_BYTES_MAX: u64 = 128 * 1024;

/// Where a segment's files are.
fn segment(store: &Path, number: u64) -> PathBuf {
    store.join(format!("shard-000/{:020}", number * SEGMENT_BYTES))
}

/// A record of a log that is whole.
struct Stored {
    /// Its bytes that a checksum covers, as log offsets.
    checked: Range<u64>,
    kind: Kind,
    /// The end of a record that it knows to be durable.
    durable: u64,
    /// Queue, queue offset and message, if it is one.
    message: Option<((i32, i64), Message)>,
}

/// A stopped store that is whole.
struct Whole {
    folder: tempfile::TempDir,
    flags: Vec<String>,
    stop: Stop,
    records: Vec<Stored>,
    end: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    Clean,
    Killed,
}

impl Whole {
    /// A store that was under load when it was stopped.
    fn make(stop: Stop) -> Whole {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let config = write_config(folder.path(), SEGMENT_BYTES, "");
        let flags = ["-c", &config, "--log-level", "info"].map(str::to_owned).to_vec();
        let mut whole = Whole { folder, flags, stop, records: Vec::new(), end: 0 };
        let store = whole.store();
        let server = whole.start(&store).expect("a new store");
        let mut client = Client::connect(server.broker);
        client.create_topic(LOAD.topic, QUEUES);
        client.pull(LOAD.topic, 0, 0);
        let producers = Producers::start(server.broker, LOAD, 2, 0);
        producers.wait_until("enough sends", |it| it.acknowledged() >= SENDS);
        let mut ledger = Ledger::default();
        match stop {
            Stop::Clean => {
                producers.finish(&mut ledger);
                server.stop();
            }
            Stop::Killed => {
                server.kill();
                producers.finish(&mut ledger);
            }
        }
        // Most of what is prepared ahead only takes time to copy; a segment behind the last stays.
        whole.read_layout();
        let used = whole.end.div_ceil(SEGMENT_BYTES);
        for number in used + 1.. {
            if fs::remove_file(segment(&store, number)).is_err() {
                break;
            }
        }
        let copy = whole.copy();
        let server = whole.start(&copy).expect("a whole store");
        let stored = ledger.verify(server.broker, LOAD.topic, Extent::Whole);
        let messages = whole.records.iter().filter(|it| it.message.is_some()).count();
        assert_eq!(stored, messages as u64);
        server.stop();
        whole
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("whole")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn start(&self, store: &Path) -> Result<Server, i32> {
        fs::remove_file(self.log()).ok();
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        Server::start_logged(store, &flags, &self.log())
            .map_err(|status| status.code().expect("it was not killed"))
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).expect("a log")
    }

    /// What the log holds, by the reader of `ringmq inspect`. It is compared with what producers were
    /// told before anything is damaged.
    fn read_layout(&mut self) {
        let mut stored = Vec::new();
        let inspected = inspect(&SystemFiles, &self.store(), |_, _, found| {
            let Replayed::Record { offset, prefix, payload } = found else {
                panic!("{found:?} in a whole store")
            };
            let message = (prefix.kind == Kind::Message).then(|| {
                let (record, _) = Record::decode(payload).expect("whole");
                let fields = record.fields();
                let message = Message::of(fields.body).expect("sent by a producer");
                ((fields.queue_id, fields.queue_offset), message)
            });
            let bytes = match prefix.kind {
                Kind::Filler => 0,
                _ => u64::from(prefix.len),
            };
            let checked = offset..offset + PREFIX_BYTES as u64 + bytes;
            stored.push(Stored { checked, kind: prefix.kind, durable: prefix.durable, message });
        });
        self.records = stored;
        self.end = inspected.expect("a whole store").shards[0].end.end;
        assert!(self.end > 2 * SEGMENT_BYTES + SEGMENT_BYTES / 4, "{}", self.end);
        assert!(self.end < 6 * SEGMENT_BYTES, "{}", self.end);
    }

    /// A copy to be damaged, in the place of the one before. Zeros become holes.
    fn copy(&self) -> PathBuf {
        let copy = self.folder.path().join("copy");
        fs::remove_dir_all(&copy).ok();
        fs::create_dir_all(copy.join("shard-000")).expect("a folder");
        for folder in ["", "shard-000"] {
            for entry in fs::read_dir(self.store().join(folder)).expect("it was listed before") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    let name = path.file_name().expect("a file has one");
                    copy_sparse(&path, &copy.join(folder).join(name));
                }
            }
        }
        copy
    }
}

fn copy_sparse(from: &Path, to: &Path) {
    const PIECE: usize = 256 * 1024;
    let (mut from, to) = (File::open(from).expect("a file"), File::create(to).expect("a file"));
    let (mut piece, zeros, mut at) = (vec![0; PIECE], vec![0; PIECE], 0);
    loop {
        let count = from.read(&mut piece).expect("readable");
        if count == 0 {
            break;
        }
        if piece[..count] != zeros[..count] {
            to.write_all_at(&piece[..count], at).expect("room");
        }
        at += count as u64;
    }
    to.set_len(at).expect("room");
}

/// What `ringmq inspect verify` says, and its exit status.
fn verify(store: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["inspect", "verify", "--store"])
        .arg(store)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it exits"), String::from_utf8_lossy(&text).into_owned())
}

/// Reads a topic as far as it goes, over gaps.
fn read_all(server: &Server) -> BTreeMap<(i32, i64), Message> {
    let mut client = Client::connect(server.broker);
    let mut found = BTreeMap::new();
    for queue in 0..QUEUES {
        let mut next = 0;
        loop {
            let reply = client.pull(LOAD.topic, queue, next);
            match reply.code {
                0 => {}
                17 | 19 => break,
                20 | 21 => {
                    let further = reply.number("nextBeginOffset");
                    if further <= next {
                        break;
                    }
                    next = further;
                    continue;
                }
                code => panic!("queue {queue} at {next}: code {code} {}", reply.remark),
            }
            for (offset, body) in records(&reply.body) {
                assert!(offset >= next, "{offset} from {next}");
                let message = Message::of(&body);
                let message = message.unwrap_or_else(|| panic!("bytes nobody sent at {offset}"));
                found.insert((queue, offset), message);
                next = offset + 1;
            }
            assert!(reply.number("nextBeginOffset") >= next);
            next = reply.number("nextBeginOffset");
        }
    }
    found
}

/// How a damaged store is to be taken.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    /// No checksum covers what was changed.
    Unharmed,
    /// The place is known to be durable: these messages are gone, and it is said.
    Gone(BTreeSet<(i32, i64)>),
    /// As if it had been in flight: everything from here on may be cut.
    Cut(u64),
}

impl Whole {
    fn expected(&self, changed: &Range<u64>) -> Expected {
        // An empty change (zeros over zeros) touches nothing, wherever it lies.
        let is_hit = |it: &&Stored| {
            !changed.is_empty() && it.checked.start < changed.end && changed.start < it.checked.end
        };
        let hit: Vec<_> = self.records.iter().filter(is_hit).collect();
        let Some(first) = hit.first().map(|it| it.checked.start) else {
            return Expected::Unharmed;
        };
        // After a clean stop it is known where the log ended.
        let is_known = self.stop == Stop::Clean
            || self.records.iter().any(|it| {
                it.checked.start > first
                    && it.durable > first
                    && !hit.iter().any(|hit| hit.checked.start == it.checked.start)
            });
        match is_known {
            true => Expected::Gone(hit.iter().filter_map(|it| Some(it.message?.0)).collect()),
            false => Expected::Cut(first),
        }
    }

    /// Whether a change would hit the record of a topic or group.
    fn hits_catalog(&self, changed: &Range<u64>) -> bool {
        self.records.iter().any(|it| {
            it.kind == Kind::Catalog
                && it.checked.start < changed.end
                && changed.start < it.checked.end
        })
    }

    /// Inspects and starts a damaged copy, and compares what they say and serve with what is expected.
    fn check(&self, copy: &Path, changed: &Range<u64>, what: &str) {
        let expected = self.expected(changed);
        let (code, text) = verify(copy);
        match &expected {
            Expected::Unharmed => assert!(code == 0 && text.ends_with("whole\n"), "{what}: {text}"),
            Expected::Gone(_) => {
                assert_eq!(code, 1, "{what}: {text}");
                let is_called_whole =
                    text.contains("never acknowledged") || text.ends_with("whole\n");
                assert!(self.stop == Stop::Killed || !is_called_whole, "{what}: {text}");
                assert!(names_a_range_at(&text, changed), "{what} at {changed:?}: {text}");
            }
            Expected::Cut(_) => assert!(code == 0 || code == 1, "{what}: {text}"),
        }
        let server = self
            .start(copy)
            .unwrap_or_else(|code| panic!("{what}: refused with {code}: {}", self.said()));
        let served = read_all(&server);
        self.compare(&expected, &served, what);
        self.goes_on(&server, &served);
        // The log is whole when the process has ended.
        server.stop();
        let said = self.said();
        match &expected {
            Expected::Unharmed => {}
            Expected::Gone(_) => {
                // By the start, if it read the place, else when it was read for a consumer.
                let is_said = said.contains("that were durable are damaged")
                    || said.contains("a message on disk is damaged");
                let costs_messages = matches!(&expected, Expected::Gone(gone) if !gone.is_empty());
                assert!(is_said || !costs_messages, "{what}: {said}");
            }
            Expected::Cut(from) => {
                let is_said = said.contains("it is cut")
                    || self
                        .records
                        .iter()
                        .all(|it| it.checked.start < *from || it.message.is_none());
                assert!(is_said, "{what}: {said}");
            }
        }
    }

    fn compare(&self, expected: &Expected, served: &BTreeMap<(i32, i64), Message>, what: &str) {
        let mut here = 0;
        for stored in &self.records {
            let Some((place, message)) = stored.message else { continue };
            let Some(found) = served.get(&place) else {
                let may_be_gone = match expected {
                    Expected::Unharmed => false,
                    Expected::Gone(gone) => gone.contains(&place),
                    Expected::Cut(from) => stored.checked.start >= *from,
                };
                assert!(may_be_gone, "{what}: {place:?} is gone, {expected:?}");
                continue;
            };
            assert_eq!(*found, message, "{what}: another message at {place:?}");
            here += 1;
        }
        assert_eq!(here, served.len(), "{what}: messages that never were there");
    }

    /// The queue offset behind a queue's last message.
    fn next_offset(&self, queue: i32) -> i64 {
        let places = self.records.iter().filter_map(|it| Some(it.message?.0));
        places.filter(|place| place.0 == queue).map(|place| place.1 + 1).max().unwrap_or(0)
    }

    /// The store takes messages and serves them. A clean stop made runs of all of them: numbers of damaged ones
    /// are not given again.
    fn goes_on(&self, server: &Server, served: &BTreeMap<(i32, i64), Message>) {
        let mut client = Client::connect(server.broker);
        for queue in 0..QUEUES {
            let newest = served.range((queue, 0)..(queue + 1, 0)).next_back();
            let body = Message { producer: 1000, number: queue.cast_unsigned() }.body(100);
            client.write_send(LOAD.topic, queue, &body).expect("it listens");
            let reply = client.read().expect("an answer");
            assert_eq!(reply.code, 0, "{}", reply.remark);
            let offset = reply.number("queueOffset");
            assert!(newest.is_none_or(|((_, newest), _)| offset > *newest), "{offset} twice");
            if self.stop == Stop::Clean {
                assert_eq!(offset, self.next_offset(queue), "queue {queue}");
            }
            let reply = client.pull(LOAD.topic, queue, offset);
            assert_eq!(records(&reply.body), [(offset, body)]);
        }
    }
}

/// Whether one of the ranges that are reported touches what was changed.
fn names_a_range_at(text: &str, changed: &Range<u64>) -> bool {
    let ranges = text.lines().filter_map(|line| {
        let range = line.strip_prefix("DAMAGED: shard 0, log offsets ")?.split(' ').next()?;
        let (from, to) = range.split_once("..")?;
        Some(from.parse::<u64>().ok()?..to.parse::<u64>().ok()?)
    });
    ranges.into_iter().any(|it| it.start < changed.end && changed.start < it.end)
}

/// A change of bytes of a log.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// One bit.
    Flip,
    /// Zeros over some bytes to some blocks.
    Zeros,
    /// Random bytes over some bytes to some blocks.
    Garbage,
}

impl Change {
    /// Changes bytes of the copy's log at `at`; the log offsets from the first byte that differs to the
    /// last.
    fn make(self, copy: &Path, at: u64, rng: &mut Rng) -> Range<u64> {
        let number = at / SEGMENT_BYTES;
        let mut file =
            File::options().read(true).write(true).open(segment(copy, number)).expect("a segment");
        let inside = at % SEGMENT_BYTES;
        let magnitude = rng.u32(..CHANGED_BYTES_MAX.ilog2());
        let size = match self {
            Change::Flip => 1,
            Change::Zeros | Change::Garbage => 1 + rng.u64(..1 << magnitude),
        };
        let size = size.min(SEGMENT_BYTES - inside) as usize;
        let mut before = vec![0; size];
        file.seek(SeekFrom::Start(inside)).expect("seek");
        file.read_exact(&mut before).expect("inside the segment");
        let after: Vec<u8> = match self {
            Change::Flip => vec![before[0] ^ 1 << rng.u8(..8)],
            Change::Zeros => vec![0; size],
            Change::Garbage => (0..size).map(|_| rng.u8(..)).collect(),
        };
        file.seek(SeekFrom::Start(inside)).expect("seek");
        file.write_all(&after).expect("written");
        let differs = |index: &usize| before[*index] != after[*index];
        let Some(first) = (0..size).find(differs) else { return at..at };
        let last = (0..size).rfind(differs).expect("found from the other side");
        at + first as u64..at + last as u64 + 1
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn changed_bytes(stop: Stop) {
    let count = from_environment("RINGMQ_DAMAGES", 6);
    let seed = from_environment("RINGMQ_DAMAGE_SEED", 1);
    let whole = Whole::make(stop);
    let mut rng = Rng::with_seed(seed ^ stop as u64);
    let (mut harmed, mut cut) = (0, 0);
    for number in 0..count {
        let change =
            [Change::Flip, Change::Zeros, Change::Flip, Change::Garbage][number as usize % 4];
        let copy = whole.copy();
        let changed = loop {
            // Topics and groups are a case of their own: a topic is written once.
            // Every third where the last writes went.
            let from = if number % 3 == 2 { whole.end - CHANGED_BYTES_MAX } else { 0 };
            let at = rng.u64(from..whole.end);
            if !whole.hits_catalog(&(at..at + CHANGED_BYTES_MAX)) {
                break change.make(&copy, at, &mut rng);
            }
        };
        match whole.expected(&changed) {
            Expected::Unharmed => {}
            Expected::Gone(_) => harmed += 1,
            Expected::Cut(_) => cut += 1,
        }
        whole.check(&copy, &changed, &format!("{stop:?}, seed {seed}, {number}: {change:?}"));
    }
    println!("{stop:?}: {count} changes, {harmed} reported as damage, {cut} cut off the tail");
}

#[test]
fn changed_bytes_cost_only_themselves_after_a_clean_stop() {
    changed_bytes(Stop::Clean);
}

#[test]
fn changed_bytes_cost_only_themselves_after_a_kill() {
    changed_bytes(Stop::Killed);
}

/// Names and contents of all files but LOCK, which every start writes.
fn contents(store: &Path) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    for folder in [store.to_owned(), store.join("shard-000")] {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() && !path.ends_with("LOCK") {
                let bytes = fs::read(&path).expect("readable");
                found.insert(path, crc32fast::hash(&bytes));
            }
        }
    }
    found
}

impl Whole {
    /// A start is refused, names the file and what to do, and changes nothing; `inspect` agrees.
    fn refuses(&self, copy: &Path, what: &str, names: &Path) {
        let before = contents(copy);
        let named = names.to_str().expect("text");
        let (code, text) = verify(copy);
        assert!(code == 2 && text.contains(named), "{what}: {code} {text}");
        let started = self.start(copy).map(Server::kill);
        assert_eq!(started, Err(1), "{what}: {}", self.said());
        let said = self.said();
        assert!(said.contains(named) && said.contains("restore it from a copy"), "{what}: {said}");
        assert!(contents(copy) == before, "{what}: a refused start changed the store");
    }
}

#[test]
fn a_missing_segment_refuses_the_start() {
    let whole = Whole::make(Stop::Clean);
    let copy = whole.copy();
    fs::remove_file(segment(&copy, 1)).expect("removed");
    whole.refuses(&copy, "a segment is missing", &segment(&copy, 1));
}

/// After a kill only runs say how far the log went.
#[test]
fn a_missing_last_segment_refuses_the_start() {
    let whole = Whole::make(Stop::Killed);
    let copy = whole.copy();
    let durable = durable_ranges(&copy, "queues-").last().expect("there are runs").end;
    let last = (durable - 1) / SEGMENT_BYTES;
    for number in last.. {
        if fs::remove_file(segment(&copy, number)).is_err() {
            break;
        }
    }
    whole.refuses(&copy, "the last segment is missing", &segment(&copy, last));
    // Nothing is made anew for want of the segment, which may come back.
    let [.., damaged, _] = &*durable_ranges(&copy, "queues-") else { panic!("two runs") };
    let path = copy.join(format!("shard-000/queues-{:020}-{:020}", damaged.start, damaged.end));
    let file = File::options().write(true).open(path).expect("a run");
    file.write_all_at(b"changed", 100).expect("written");
    whole.refuses(&copy, "a run is damaged, too", &segment(&copy, last));
}

/// Parts of the log that files with this beginning of their names are of, rising.
fn durable_ranges(store: &Path, begin: &str) -> Vec<Range<u64>> {
    let names = fs::read_dir(store.join("shard-000")).expect("a folder");
    let names = names.map(|it| it.expect("an entry").file_name().into_string().expect("ASCII"));
    let range = |name: String| {
        let (from, to) = name.strip_prefix(begin)?.split_once('-')?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    let mut ranges: Vec<Range<u64>> = names.filter_map(range).collect();
    ranges.sort_by_key(|range| range.start);
    ranges
}

#[test]
fn swapped_segments_cost_only_themselves() {
    let whole = Whole::make(Stop::Clean);
    let copy = whole.copy();
    let (one, two, aside) = (segment(&copy, 1), segment(&copy, 2), copy.join("aside"));
    for (from, to) in [(&one, &aside), (&two, &one), (&aside, &two)] {
        fs::rename(from, to).expect("renamed");
    }
    // Neither holds a record in its place.
    let changed = SEGMENT_BYTES..3 * SEGMENT_BYTES;
    whole.check(&copy, &changed, "two segments are swapped");
}

#[test]
fn damaged_store_and_epochs_files_refuse_the_start() {
    let whole = Whole::make(Stop::Clean);
    for name in ["STORE", "shard-000/EPOCHS"] {
        let mut rng = Rng::with_seed(from_environment("RINGMQ_DAMAGE_SEED", 1));
        for _ in 0..3 {
            let copy = whole.copy();
            let path = copy.join(name);
            let mut bytes = fs::read(&path).expect("a small file");
            let places: Vec<_> =
                (0..bytes.len()).filter(|at| !bytes[*at].is_ascii_whitespace()).collect();
            let at = places[rng.usize(..places.len())];
            bytes[at] ^= 1 << rng.u8(..8);
            fs::write(&path, &bytes).expect("written");
            whole.refuses(&copy, &format!("a bit of {name} is flipped at {at}"), &path);
        }
        let copy = whole.copy();
        let path = copy.join(name);
        let bytes = fs::read(&path).expect("a small file");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
        whole.refuses(&copy, &format!("{name} is cut short"), &path);
    }
}

#[test]
fn a_missing_first_segment_refuses_the_start() {
    let whole = Whole::make(Stop::Clean);
    let copy = whole.copy();
    fs::remove_file(segment(&copy, 0)).expect("removed");
    whole.refuses(&copy, "the first segment is missing", &copy.join("shard-000"));
}

#[test]
fn a_missing_store_file_refuses_the_start() {
    let whole = Whole::make(Stop::Clean);
    let copy = whole.copy();
    fs::remove_file(copy.join("STORE")).expect("removed");
    whole.refuses(&copy, "STORE is missing", &copy.join("STORE"));
}

#[test]
fn a_missing_epochs_file_refuses_the_start() {
    let whole = Whole::make(Stop::Clean);
    let copy = whole.copy();
    fs::remove_file(copy.join("shard-000/EPOCHS")).expect("removed");
    whole.refuses(&copy, "EPOCHS is missing", &copy.join("shard-000/EPOCHS"));
}

/// A disk that is not mounted, or a copy that lacks a folder: not a new shard, whose queues would begin at 0
/// and, were it the first, would have the others forget all topics.
#[test]
fn a_missing_shard_refuses_the_start() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let config = write_config(folder.path(), SEGMENT_BYTES, "");
    let store = folder.path().join("store");
    let flags = ["-c", &*config, "--shards", "2"];
    let start = || Server::start(&store, &flags);
    let server = start();
    let mut client = Client::connect(server.broker);
    client.create_topic("kept", 2);
    client.pull("kept", 0, 0);
    client.commit("test", "kept", 1, 7);
    server.stop();
    for shard in ["shard-001", "shard-000"] {
        let (there, away) = (store.join(shard), folder.path().join("away"));
        fs::rename(&there, &away).expect("moved");
        for is_mount_point in [false, true] {
            if is_mount_point {
                fs::create_dir(&there).expect("a folder");
            }
            let log = folder.path().join("log");
            let refused = Server::start_logged(&store, &flags, &log).err();
            let told = fs::read_to_string(&log).expect("a log");
            assert!(refused.is_some_and(|status| !status.success()), "{shard}: {told}");
            assert!(
                told.contains(&format!("{shard}/EPOCHS")) && told.contains("missing"),
                "{told}"
            );
            assert_eq!(there.exists(), is_mount_point);
        }
        fs::remove_dir(&there).expect("it is empty still");
        fs::rename(&away, &there).expect("moved back");
    }
    let server = start();
    let mut client = Client::connect(server.broker);
    let ext = [("consumerGroup", "test"), ("topic", "kept"), ("queueId", "1")];
    let committed = client.ask(14, &ext, &[]);
    assert_eq!((committed.code, committed.field("offset")), (0, Some("7")));
    server.stop();
}

/// The record that made a topic is damaged in the first shard, and is there again: what others know of the
/// topic was kept meanwhile.
#[test]
fn a_topic_whose_record_is_restored_has_its_offsets() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let config = write_config(folder.path(), SEGMENT_BYTES, "");
    let store = folder.path().join("store");
    let flags = ["-c", &*config, "--shards", "2"];
    let server = Server::start(&store, &flags);
    let mut client = Client::connect(server.broker);
    client.create_topic("damaged", 2);
    for queue in 0..2 {
        client.pull("damaged", queue, 0);
        client.commit("test", "damaged", queue, 7);
    }
    server.kill(); // a stop would make runs, which say it, too
    let path = segment(&store, 0);
    let bytes = fs::read(&path).expect("a segment");
    let at = bytes.windows(7).position(|window| window == b"damaged").expect("its record");
    let file = File::options().write(true).open(&path).expect("a segment");
    file.write_all_at(b"D", at as u64).expect("changed");
    let server = Server::start(&store, &flags);
    let mut client = Client::connect(server.broker);
    assert_eq!(client.pull("damaged", 0, 0).code, 17, "it is gone");
    client.create_topic("other", 2);
    for queue in 0..2 {
        client.write_send("other", queue, b"body").expect("open");
        assert_eq!(client.read().expect("an answer").code, 0);
    }
    // No run of what may be restored.
    server.stop();
    file.write_all_at(b"d", at as u64).expect("restored");
    let server = Server::start(&store, &flags);
    let mut client = Client::connect(server.broker);
    for queue in ["0", "1"] {
        let ext = [("consumerGroup", "test"), ("topic", "damaged"), ("queueId", queue)];
        let committed = client.ask(14, &ext, &[]);
        assert_eq!((committed.code, committed.field("offset")), (0, Some("7")), "{queue}");
    }
    server.stop();
}

#[test]
fn a_truncated_segment_costs_only_itself() {
    let whole = Whole::make(Stop::Clean);
    for number in 0..2 {
        let copy = whole.copy();
        let at = SEGMENT_BYTES / 2 + 4096 * number + 100 * number;
        let file = File::options().write(true).open(segment(&copy, number)).expect("a segment");
        file.set_len(at).expect("cut");
        let changed = number * SEGMENT_BYTES + at..(number + 1) * SEGMENT_BYTES;
        whole.check(&copy, &changed, &format!("segment {number} ends at {at}"));
    }
}

/// The record that made the newest topic is damaged: its messages are not to become another topic's.
#[test]
fn the_messages_of_a_damaged_topic_are_no_other_topics() {
    let whole = Whole::make(Stop::Clean);
    let copy = whole.copy();
    let path = segment(&copy, 0);
    let mut bytes = fs::read(&path).expect("a segment");
    let made = whole.records.iter().find(|it| {
        let record = &bytes[it.checked.start as usize..it.checked.end as usize];
        let name = LOAD.topic.as_bytes();
        it.kind == Kind::Catalog && record.windows(name.len()).any(|window| window == name)
    });
    let made = made.expect("the topic was created").checked.clone();
    bytes[made.start as usize + PREFIX_BYTES + 20] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let (code, text) = verify(&copy);
    assert!(code == 1 && names_a_range_at(&text, &made), "{text}");
    let server = whole.start(&copy).expect("it starts");
    let mut client = Client::connect(server.broker);
    client.create_topic("AnotherTopic", QUEUES);
    let reply = client.pull("AnotherTopic", 0, 0);
    assert_eq!(reply.code, 19, "a new topic has no messages: {:?}", records(&reply.body).first());
    server.stop();
}

/// As above, while the record is in the part of the log that a start reads.
#[test]
fn the_messages_of_a_topic_damaged_in_the_tail_are_no_other_topics() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (store, log) = (folder.path().join("store"), folder.path().join("log"));
    let config = write_config(folder.path(), SEGMENT_BYTES, "");
    let flags = ["-c", config.as_str()];
    let server = Server::start_logged(&store, &flags, &log).expect("a new store");
    let mut client = Client::connect(server.broker);
    client.create_topic(LOAD.topic, 1);
    for number in 0..20 {
        client.write_send(LOAD.topic, 0, &Message { producer: 1, number }.body(100)).expect("open");
        assert_eq!(client.read().expect("an answer").code, 0);
    }
    server.kill();
    let mut bytes = fs::read(segment(&store, 0)).expect("a segment");
    let name = format!("\"topicName\":\"{}\"", LOAD.topic).into_bytes();
    let at = bytes.windows(name.len()).position(|it| it == name).expect("the topic was created");
    bytes[at + 20] ^= 1;
    fs::write(segment(&store, 0), &bytes).expect("written");
    let server = Server::start_logged(&store, &flags, &log).expect("it starts");
    let mut client = Client::connect(server.broker);
    client.create_topic("AnotherTopic", 1);
    let reply = client.pull("AnotherTopic", 0, 0);
    assert_eq!(reply.code, 19, "a new topic has no messages: {:?}", records(&reply.body).first());
    server.stop();
}

#[test]
fn a_long_hole_costs_only_itself() {
    let whole = Whole::make(Stop::Clean);
    let copy = whole.copy();
    let mut changed = 4 << 20..4 << 20;
    while changed.end < 34 << 20 {
        let file = File::options().write(true).open(segment(&copy, changed.end / SEGMENT_BYTES));
        let file = file.expect("a segment");
        file.write_all_at(&[0; 1 << 20], changed.end % SEGMENT_BYTES).expect("written");
        changed.end += 1 << 20;
    }
    whole.check(&copy, &changed, "30 MiB are zeros");
}

/// Bytes at the end of a log that was stopped cleanly are gone: no record behind them says so.
#[test]
fn a_lost_tail_is_damage_after_a_clean_stop() {
    let whole = Whole::make(Stop::Clean);
    let last = (whole.end - 1) / SEGMENT_BYTES;
    let open = |copy: &Path, number| {
        let path = segment(copy, number);
        File::options().read(true).write(true).open(path).expect("a segment")
    };
    let still_told = |copy: &Path, what: &str| {
        let (code, text) = verify(copy);
        assert!(code == 1 && text.contains("DAMAGED: shard 0, log offsets"), "{what}: {text}");
    };

    let copy = whole.copy();
    let at = (whole.end - last * SEGMENT_BYTES) / 2 + 100;
    open(&copy, last).set_len(at).expect("cut");
    let (code, text) = verify(&copy);
    let size = format!("it has {at} bytes, a segment has {SEGMENT_BYTES}");
    assert!(code == 1 && text.contains(&size), "{text}");
    whole.check(&copy, &(last * SEGMENT_BYTES + at..whole.end), "the last segment is cut short");
    still_told(&copy, "the last segment is cut short");

    for lost in [1 << 20, 15 << 20] {
        let copy = whole.copy();
        let what = format!("the last {lost} bytes are zeros");
        let changed = whole.end - lost..whole.end;
        for number in 0..=last {
            let first = number * SEGMENT_BYTES;
            let (from, to) = (changed.start.max(first), changed.end.min(first + SEGMENT_BYTES));
            if from < to {
                let zeros = vec![0; (to - from) as usize];
                open(&copy, number).write_all_at(&zeros, from - first).expect("written");
            }
        }
        whole.check(&copy, &changed, &what);
        still_told(&copy, &what);
    }

    let copy = whole.copy();
    let from = (whole.end - (64 << 10)).max(last * SEGMENT_BYTES);
    let mut bytes = vec![0; (whole.end - from) as usize];
    let file = open(&copy, last);
    file.read_exact_at(&mut bytes, from - last * SEGMENT_BYTES).expect("inside the segment");
    bytes.iter_mut().for_each(|byte| *byte ^= 0xFF);
    file.write_all_at(&bytes, from - last * SEGMENT_BYTES).expect("written");
    whole.check(&copy, &(from..whole.end), "the last 64 KiB are flipped");
    still_told(&copy, "the last 64 KiB are flipped");
}

/// What a start can do without is told once.
#[test]
fn a_damaged_note_or_snapshot_is_told_once_and_costs_nothing() {
    let whole = Whole::make(Stop::Clean);
    let copy = whole.copy();
    let entries = fs::read_dir(copy.join("shard-000")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").path());
    let is_snapshot = |path: &PathBuf| path.to_string_lossy().contains("/snapshot-");
    let snapshot = names.filter(is_snapshot).max().expect("two segments were filled");
    for (path, said) in [
        (copy.join("shard-000/CLEAN"), "where the log ended is damaged"),
        (snapshot, "a snapshot is damaged"),
    ] {
        let mut bytes = fs::read(&path).expect("a small file");
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&path, &bytes).expect("written");
        let (code, text) = verify(&copy);
        assert!(code == 1 && text.contains(path.to_str().expect("text")), "{text}");
        assert!(text.ends_with("the log is whole\n"), "{text}");
        let server = whole.start(&copy).expect("it starts");
        whole.compare(&Expected::Unharmed, &read_all(&server), said);
        server.stop();
        assert!(whole.said().contains(said), "{}", whole.said());
        let (code, text) = verify(&copy);
        assert!(code == 0 && text.ends_with("whole\n"), "{text}");
        whole.start(&copy).expect("it starts").stop();
        assert!(!whole.said().contains("ERROR"), "{}", whole.said());
    }
}
