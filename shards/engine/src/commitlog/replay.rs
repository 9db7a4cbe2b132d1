//! Reads a log from its start and finds where it ends (recovery, docs/decisions/0001-store-format.md).
//! Owns: a window of the log's bytes that the driver supplies.
//! Kind: machine
//! Invariants:
//!   a record is given out only if its checksum, its body's checksum and its epoch are right
//!   the end lies before an unfinished group; its records are given out before that is known, and whoever
//!   takes them keeps them until the group is whole (see `ReplayEnd::end`, `Opening::record`)
//!   damage (a valid later record, or `Epochs`, knows the place to be durable) is told from a torn tail

use std::ops::Range;

use proto::record;

use super::prefix::{
    ALIGNMENT, FLAG_CONTINUES, FLAG_MORE, GAP_BOUNDARY, Kind, PREFIX_BYTES, Prefix, carried,
    checksum, record_start,
};
use super::{Epochs, LogShape};
use crate::limits::{PAYLOAD_BYTES_MAX, UNWRITTEN_BYTES_MAX};

/// Bytes asked for at a time.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// How far behind the last byte that is not zero the search for a later record goes on: what can have been
/// in flight.
const SEARCH_ZEROS_MAX: u64 = UNWRITTEN_BYTES_MAX;

/// What to do next.
#[derive(Debug)]
pub enum ReplayStep<'a> {
    /// Supply bytes from here on (any number of them; none: the log's files end).
    Need {
        /// Log offset, on a block boundary.
        offset: u64,
        /// How many are wanted.
        bytes: usize,
    },
    /// A valid record.
    Record {
        /// Log offset of its prefix.
        offset: u64,
        /// Its prefix.
        prefix: Prefix,
        /// Its payload (empty for fillers).
        payload: &'a [u8],
    },
    /// Bytes that were durable are no records any more; the log goes on behind them.
    Damaged {
        /// Log offsets.
        range: Range<u64>,
        /// They are a message that only lacks its body: its prefix, and its payload with a wrong body.
        bodiless: Option<(Prefix, &'a [u8])>,
    },
    /// The log ends.
    End(ReplayEnd),
}

/// Where and how a log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayEnd {
    /// Log offset behind the last record that counts. Records given out at or above it (an unfinished
    /// group) do not count.
    pub end: u64,
    /// The shard had been stopped cleanly: nothing was in flight.
    pub clean: bool,
    /// Behind `end`, bytes up to here are not all zero: what was in flight, and is to be wiped.
    pub dirty_end: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Looking at the record at `at`.
    Records,
    /// Looking for a later record that knows better.
    Search(Search),
    Ended(ReplayEnd),
}

#[derive(Clone, Copy, Debug)]
struct Search {
    /// Where nothing valid is.
    from: u64,
    /// Behind the last byte seen that is not zero.
    dirty_end: u64,
    /// The first record behind `from` that is whole.
    first_valid: Option<u64>,
    /// Before it, from `from` on, the first message that only lacks its body.
    first_bodiless: Option<(u64, u64)>,
    /// However many zeros there are, the search goes on to here: something is behind them.
    until: u64,
    /// The search gave up here, and looks at a block of each further MiB: a hole that is longer than what
    /// can have been in flight has the log behind it.
    gave_up: Option<u64>,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Replay {
    shape: LogShape,
    epochs: Epochs,
    /// Below there is no torn tail.
    durable: u64,
    /// Nor below this, of what lies before a record that says so.
    seen_durable: u64,
    phase: Phase,
    at: u64,
    group_start: Option<u64>,
    clean: bool,
    window: Vec<u8>,
    window_start: u64,
    files_end: bool,
}

impl Replay {
    /// Replays the log from `start`, where a record starts.
    pub fn new(shape: LogShape, epochs: Epochs, start: u64) -> Replay {
        Replay {
            shape,
            durable: epochs.durable(),
            seen_durable: epochs.durable(),
            epochs,
            phase: Phase::Records,
            at: start,
            group_start: None,
            clean: false,
            window: Vec::with_capacity(READ_BYTES * 2),
            window_start: start / shape.block_bytes * shape.block_bytes,
            files_end: false,
        }
    }

    /// How far the replay is, a log offset.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Bytes from the offset that was asked for; none: the log's files end there.
    pub fn supply(&mut self, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        self.files_end = bytes.is_empty();
    }

    /// Goes on.
    pub fn step(&mut self) -> ReplayStep<'_> {
        loop {
            match self.phase {
                Phase::Ended(end) => return ReplayStep::End(end),
                Phase::Records => match self.look() {
                    Look::Short => {
                        if self.files_end {
                            self.nothing_here();
                        } else {
                            return self.need();
                        }
                    }
                    Look::Nothing => self.nothing_here(),
                    Look::Bodiless(prefix) => {
                        let offset = self.at;
                        if offset + prefix.record_bytes() > self.seen_durable {
                            self.nothing_here();
                            continue;
                        }
                        self.step_over(offset + prefix.record_bytes());
                        let payload = self.payload(offset, &prefix);
                        let range = offset..offset + prefix.record_bytes();
                        return ReplayStep::Damaged { range, bodiless: Some((prefix, payload)) };
                    }
                    Look::Valid(prefix) => {
                        let offset = self.at;
                        self.accept(&prefix);
                        let payload = match prefix.kind {
                            Kind::Filler => &[][..],
                            _ => self.payload(offset, &prefix),
                        };
                        return ReplayStep::Record { offset, prefix, payload };
                    }
                },
                Phase::Search(search) => {
                    if let Some(step) = self.search(search) {
                        return match step {
                            Found::Need => self.need(),
                            Found::Damage(range) => ReplayStep::Damaged { range, bodiless: None },
                        };
                    }
                }
            }
        }
    }

    fn index(&self, offset: u64) -> usize {
        usize::try_from(offset - self.window_start).expect("inside the window")
    }

    /// The bytes of the window from `offset` on.
    fn bytes(&self, offset: u64) -> &[u8] {
        self.window.get(self.index(offset)..).unwrap_or(&[])
    }

    /// The payload of the record at `offset`, which was looked at.
    fn payload(&self, offset: u64, prefix: &Prefix) -> &[u8] {
        &self.bytes(offset)[PREFIX_BYTES..][..prefix.len as usize]
    }

    fn need(&mut self) -> ReplayStep<'static> {
        let block = self.shape.block_bytes;
        let keep = (self.at / block * block).max(self.window_start);
        let consumed = self.index(keep).min(self.window.len());
        self.window.drain(..consumed);
        if self.window.is_empty() {
            // A filler may have carried us far ahead of what was read.
            self.window_start = self.at / block * block;
        } else {
            self.window_start = keep;
        }
        let probes = matches!(self.phase, Phase::Search(Search { gave_up: Some(_), .. }));
        let block_bytes = usize::try_from(self.shape.block_bytes).expect("a block fits memory");
        let bytes = if probes { block_bytes } else { READ_BYTES };
        ReplayStep::Need { offset: self.window_start + self.window.len() as u64, bytes }
    }

    /// What stands at `at`, after skipping a gap.
    fn look(&mut self) -> Look {
        self.at = record_start(self.at);
        if let Some(first) = self.epochs.jump(self.at) {
            self.at = first;
            self.group_start = None;
        }
        self.examine(self.at)
    }

    fn examine(&self, at: u64) -> Look {
        if at >= self.window_start + self.window.len() as u64 {
            return Look::Short;
        }
        let bytes = self.bytes(at);
        let Some(head) = bytes.get(..PREFIX_BYTES) else { return Look::Short };
        let Some(prefix) = Prefix::read(head) else { return Look::Nothing };
        if self.epochs.number_at(at) != Some(prefix.epoch) || prefix.durable > at {
            return Look::Nothing;
        }
        let segment_end = (at + 1).next_multiple_of(self.shape.segment_bytes);
        if at + prefix.record_bytes() > segment_end {
            return Look::Nothing;
        }
        if prefix.kind == Kind::Filler {
            let valid = carried(head) == checksum(self.shape.seed, at, head, 0..0);
            return if valid { Look::Valid(prefix) } else { Look::Nothing };
        }
        if prefix.len > PAYLOAD_BYTES_MAX {
            return Look::Nothing;
        }
        let Some(whole) = bytes.get(..PREFIX_BYTES + prefix.len as usize) else {
            return Look::Short;
        };
        match wholeness(self.shape.seed, at, &prefix, whole) {
            Wholeness::Whole => Look::Valid(prefix),
            Wholeness::Bodiless => Look::Bodiless(prefix),
            Wholeness::Damaged => Look::Nothing,
        }
    }

    fn accept(&mut self, prefix: &Prefix) {
        if prefix.kind != Kind::Filler && prefix.kind != Kind::Segment {
            if prefix.flags & FLAG_CONTINUES == 0 {
                self.group_start = (prefix.flags & FLAG_MORE != 0).then_some(self.at);
            } else if prefix.flags & FLAG_MORE == 0 {
                self.group_start = None;
            }
            self.clean = prefix.kind == Kind::End;
        }
        self.at += prefix.record_bytes();
    }

    /// No record at `at`: the end, a torn tail or damage.
    fn nothing_here(&mut self) {
        let (from, dirty_end) = (self.at, self.at);
        let until = self.durable;
        let (first_valid, first_bodiless) = (None, None);
        let search = Search { from, dirty_end, first_valid, first_bodiless, until, gave_up: None };
        self.phase = Phase::Search(search);
    }

    /// Looks at the next places of the grid; `None`: the phase changed.
    fn search(&mut self, mut search: Search) -> Option<Found> {
        let from = search.from;
        loop {
            if let Some(gave_up) = search.gave_up {
                match self.probe() {
                    Probe::Need => {
                        self.phase = Phase::Search(search);
                        return Some(Found::Need);
                    }
                    Probe::FilesEnd => {
                        self.end(from, search.dirty_end);
                        return None;
                    }
                    Probe::Zeros => self.go_to(self.at + GAP_BOUNDARY),
                    Probe::Bytes => {
                        search.gave_up = None;
                        search.until = self.at + self.shape.block_bytes;
                        self.go_to(gave_up);
                    }
                }
                continue;
            }
            let zeros = leading_zeros(self.bytes_at_or_empty());
            let grid = zeros as u64 / ALIGNMENT * ALIGNMENT;
            self.at += grid;
            let searched_enough =
                self.at >= search.until && self.at - search.dirty_end.max(from) > SEARCH_ZEROS_MAX;
            let at_end = self.bytes_at_or_empty().len() < PREFIX_BYTES;
            let is_over = self.at >= self.durable || at_end && self.files_end;
            if from < self.durable && is_over {
                return Some(self.damage(from..self.durable));
            }
            if at_end && self.files_end {
                self.end(from, search.dirty_end);
                return None;
            }
            if searched_enough {
                let block = self.shape.block_bytes;
                search.gave_up = Some(self.at / block * block);
                self.go_to((self.at + 1).next_multiple_of(GAP_BOUNDARY));
                continue;
            }
            if at_end {
                self.phase = Phase::Search(search);
                return Some(Found::Need);
            }
            match self.examine(self.at) {
                Look::Valid(prefix) if prefix.durable.max(self.durable) > from => {
                    self.seen_durable = self.seen_durable.max(prefix.durable);
                    // What is whole goes on behind the damage; records of the same write as what is
                    // damaged do not know yet that it is durable.
                    let whole = search.first_valid.unwrap_or(self.at);
                    let is_known = |end: &u64| *end <= self.seen_durable;
                    let bodiless = search.first_bodiless.filter(|(_, end)| is_known(end));
                    let next = bodiless.map_or(whole, |(at, _)| at);
                    if next == from {
                        self.step_over(from);
                        return None;
                    }
                    return Some(self.damage(from..next));
                }
                Look::Bodiless(prefix) => {
                    let end = self.at + prefix.record_bytes();
                    if end <= self.seen_durable {
                        return Some(self.damage(from..self.at));
                    }
                    if search.first_valid.is_none() {
                        search.first_bodiless.get_or_insert((self.at, end));
                    }
                    self.at += ALIGNMENT;
                    search.dirty_end = self.at;
                }
                Look::Valid(prefix) => {
                    search.first_valid.get_or_insert(self.at);
                    self.at += prefix.record_bytes();
                    search.dirty_end = self.at;
                }
                Look::Short if !self.files_end => {
                    self.phase = Phase::Search(search);
                    return Some(Found::Need);
                }
                _ => {
                    self.at += ALIGNMENT;
                    search.dirty_end = self.at;
                }
            }
        }
    }

    /// The log goes on behind bytes that were durable.
    fn damage(&mut self, range: Range<u64>) -> Found {
        self.step_over(range.end);
        Found::Damage(range)
    }

    /// Continues with the records from `to` on; what is before is damaged.
    fn step_over(&mut self, to: u64) {
        self.go_back(to);
        self.group_start = None;
        self.clean = false;
        self.phase = Phase::Records;
    }

    /// Whether there is anything in the block that begins here.
    fn probe(&self) -> Probe {
        if (self.bytes_at_or_empty().len() as u64) < self.shape.block_bytes {
            return if self.files_end { Probe::FilesEnd } else { Probe::Need };
        }
        let block = &self.bytes_at_or_empty()[..self.shape.block_bytes as usize];
        if leading_zeros(block) == block.len() { Probe::Zeros } else { Probe::Bytes }
    }

    /// Continues at the start of a block, whose bytes are asked for.
    fn go_to(&mut self, to: u64) {
        self.at = to;
        self.window.clear();
        self.window_start = to;
        self.files_end = false;
    }

    /// Continues at a place near by, whose bytes are asked for again if they are not here any more.
    fn go_back(&mut self, to: u64) {
        self.at = to;
        if to < self.window_start {
            self.window.clear();
            self.window_start = to / self.shape.block_bytes * self.shape.block_bytes;
            self.files_end = false;
        }
    }

    fn bytes_at_or_empty(&self) -> &[u8] {
        if self.at < self.window_start { &[] } else { self.bytes(self.at) }
    }

    fn end(&mut self, from: u64, dirty_end: u64) {
        let end = self.group_start.unwrap_or(from);
        let clean = self.clean && self.group_start.is_none();
        let dirty_end = if dirty_end > from || end < from { dirty_end.max(from) } else { end };
        self.phase = Phase::Ended(ReplayEnd { end, clean, dirty_end });
    }
}

/// Zeros before the first other byte. Tens of MiB of them are looked at in each start.
fn leading_zeros(bytes: &[u8]) -> usize {
    const BLOCK: usize = 4096;
    let blocks = bytes.chunks_exact(BLOCK).take_while(|block| **block == [0; BLOCK]).count();
    let rest = &bytes[blocks * BLOCK..];
    blocks * BLOCK + rest.iter().take_while(|byte| **byte == 0).count()
}

enum Look {
    /// More bytes are needed to tell.
    Short,
    Nothing,
    /// A message of which only the body is damaged, or was in flight.
    Bodiless(Prefix),
    Valid(Prefix),
}

enum Probe {
    Need,
    FilesEnd,
    Zeros,
    Bytes,
}

enum Found {
    Need,
    Damage(Range<u64>),
}

/// Whether a record is whole: its own checksum, and its body's if it has one.
pub fn verify(seed: u32, offset: u64, prefix: &Prefix, record: &[u8]) -> bool {
    wholeness(seed, offset, prefix, record) == Wholeness::Whole
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wholeness {
    Whole,
    /// A message whose own checksum is right, and its body's is not.
    Bodiless,
    Damaged,
}

fn wholeness(seed: u32, offset: u64, prefix: &Prefix, record: &[u8]) -> Wholeness {
    let whole_if = |it| if it { Wholeness::Whole } else { Wholeness::Damaged };
    if prefix.kind != Kind::Message {
        return whole_if(carried(record) == checksum(seed, offset, record, 0..0));
    }
    let Ok((message, _)) = record::Record::decode(&record[PREFIX_BYTES..]) else {
        return Wholeness::Damaged;
    };
    let body = message.body_range();
    let body = body.start + PREFIX_BYTES..body.end + PREFIX_BYTES;
    match carried(record) == checksum(seed, offset, record, body) {
        true if !message.is_body_intact() => Wholeness::Bodiless,
        is_whole => whole_if(is_whole),
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;
    use proptest::prelude::*;
    use runtime::WriteBuffer;

    const SHAPE: LogShape =
        LogShape { seed: 0x5EED, block_bytes: 4096, segment_bytes: 16 * 1024 * 1024 };
    const IDENTITY: SegmentIdentity = SegmentIdentity { format: 1, store_id: 7, shard: 0 };
    const BUFFER_BYTES: u64 = 16 * 1024 * 1024;

    /// Records (end, payload), damage, end.
    type Replayed = (Vec<(u64, Vec<u8>)>, Vec<Range<u64>>, ReplayEnd);

    /// A log and its disk: bytes by log offset.
    struct Rig {
        log: CommitLog,
        epochs: Epochs,
        disk: Vec<u8>,
        records: Vec<(u64, Vec<u8>)>,
    }

    impl Rig {
        fn open(mode: FlushMode, disk: Vec<u8>, mut epochs: Epochs, end: u64) -> Rig {
            let life = epochs.raise(end, SHAPE.block_bytes);
            let buffer = WriteBuffer::new(BUFFER_BYTES, life.first).expect("memory");
            let mut log = CommitLog::new(SHAPE, mode, IDENTITY, life, buffer);
            log.space_found(1 << 40);
            Rig { log, epochs, disk, records: Vec::new() }
        }

        fn append(&mut self, len: usize, flags: u8) -> bool {
            if self.log.room(len, u64::MAX) != Room::Ready {
                return false;
            }
            let byte = self.records.len() as u8;
            let entry = Entry { kind: Kind::Offsets, flags, topic: 3, queue: 4 };
            let appended = self.log.append(entry, len, |payload, _| {
                payload.fill(byte);
                0..0
            });
            self.records.push((appended.end, vec![byte; len]));
            true
        }

        /// Appends a message to queue 4 of topic 3. Its record, and where its body is, in log offsets.
        fn append_message(&mut self, queue_offset: i64) -> (Range<u64>, Range<u64>) {
            assert_eq!(self.log.room(300, u64::MAX), Room::Ready);
            let body = [queue_offset as u8; 100];
            let host = "127.0.0.1:1".parse().expect("an address");
            let fields = record::RecordFields {
                queue_id: 4,
                flag: 0,
                queue_offset,
                physic_offset: 0,
                sys_flag: 0,
                born_timestamp: 1,
                born_host: host,
                store_timestamp: 1,
                store_host: host,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: &body,
                body_crc: record::body_crc(&body),
                topic: b"topic",
                properties: b"",
            };
            let entry = Entry { kind: Kind::Message, flags: 0, topic: 3, queue: 4 };
            let (mut body, mut at) = (0..0, 0);
            let appended = self.log.append(entry, fields.encoded_bytes(), |payload, offset| {
                fields.encode(payload);
                let (message, _) = record::Record::decode(payload).expect("just written");
                (body, at) = (message.body_range(), offset);
                body.clone()
            });
            let body = at + body.start as u64..at + body.end as u64;
            self.records.push((appended.end, Vec::new()));
            (at - PREFIX_BYTES as u64..appended.end, body)
        }

        /// Performs a write on the disk.
        fn write(&mut self, write: &LogWrite) {
            let end = write.range.end as usize;
            if self.disk.len() < end {
                self.disk.resize(end, 0);
            }
            let len = (write.range.end - write.range.start) as usize;
            let bytes = self.log.tail_bytes(write.range.start, len).expect("in memory");
            self.disk[write.range.start as usize..end].copy_from_slice(bytes);
        }

        fn complete(&mut self, write: &LogWrite) {
            self.write(write);
            self.log.write_completed(&write.range, Ok(()));
            let confirmed = self.log.confirmed();
            let ends = self.records.iter().map(|(end, _)| *end);
            if let Some(end) = ends.take_while(|end| *end <= confirmed).last() {
                self.log.records_confirmed(end);
            }
        }

        fn flush(&mut self) {
            while let Some(write) = self.log.next_write() {
                self.complete(&write);
            }
        }

        fn replay(&self) -> Replayed {
            replay_disk(&self.disk, &self.epochs)
        }
    }

    fn replay_disk(disk: &[u8], epochs: &Epochs) -> Replayed {
        let mut replay = Replay::new(SHAPE, epochs.clone(), 0);
        let (mut records, mut damage) = (Vec::new(), Vec::new());
        loop {
            match replay.step() {
                ReplayStep::Need { offset, bytes } => {
                    let from = (offset as usize).min(disk.len());
                    let to = (from + bytes).min(disk.len());
                    replay.supply(&disk[from..to]);
                }
                ReplayStep::Record { offset, prefix, payload } => {
                    if prefix.kind == Kind::Offsets {
                        records.push((offset + prefix.record_bytes(), payload.to_vec()));
                    }
                }
                ReplayStep::Damaged { range, .. } => damage.push(range),
                ReplayStep::End(end) => {
                    records.retain(|(record_end, _)| *record_end <= end.end);
                    return (records, damage, end);
                }
            }
        }
    }

    #[test]
    fn an_empty_log_ends_at_its_start() {
        let (records, damage, end) = replay_disk(&[], &Epochs::default());
        assert!(records.is_empty() && damage.is_empty());
        assert_eq!(end, ReplayEnd { end: 0, clean: false, dirty_end: 0 });
    }

    #[test]
    fn what_was_written_comes_back_over_segments_and_laps() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        for turn in 0..400 {
            assert!(rig.append(100_000 + turn * 37, 0));
            if turn % 3 == 0 {
                rig.flush();
            }
        }
        rig.flush();
        assert_eq!(rig.log.durable(), rig.log.appended());
        let (records, damage, end) = rig.replay();
        assert_eq!(records, rig.records);
        assert_eq!(damage, []);
        assert!(end.end <= rig.log.appended());
        assert!(!end.clean);
    }

    #[test]
    fn an_unfinished_group_does_not_count() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        rig.append(100, 0);
        rig.append(100, FLAG_MORE);
        rig.append(100, FLAG_MORE | FLAG_CONTINUES);
        rig.flush();
        let (records, _, end) = rig.replay();
        assert_eq!(records, rig.records[..1]);
        assert_eq!(end.end, rig.records[0].0);
        rig.append(100, FLAG_CONTINUES);
        rig.flush();
        assert_eq!(rig.replay().0, rig.records);
    }

    /// Found by the simulator: the others of the write did not know yet that it was durable, and went
    /// with the damaged one.
    #[test]
    fn damage_takes_only_the_record_it_hits() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        for write in 0..3 {
            for _ in 0..10 {
                rig.append(3000 + write, 0);
            }
            rig.flush();
        }
        for hit in 0..20 {
            let mut disk = rig.disk.clone();
            let start = if hit == 0 { 0 } else { rig.records[hit - 1].0 };
            let end = rig.records[hit].0;
            disk[end as usize - 100] ^= 4;
            let (records, damage, _) = replay_disk(&disk, &rig.epochs);
            let mut expected = rig.records.clone();
            expected.remove(hit);
            assert_eq!(records, expected, "record {hit}");
            assert_eq!(damage.len(), 1);
            assert!(damage[0].start >= start && damage[0].end < end + 4096, "{damage:?}");
        }
    }

    /// What is found of messages: their records, and whether they are whole.
    fn messages_of(disk: &[u8], epochs: &Epochs) -> Vec<(Range<u64>, Option<bool>)> {
        let mut replay = Replay::new(SHAPE, epochs.clone(), 0);
        let mut found = Vec::new();
        loop {
            match replay.step() {
                ReplayStep::Need { offset, bytes } => {
                    let from = (offset as usize).min(disk.len());
                    replay.supply(&disk[from..(from + bytes).min(disk.len())]);
                }
                ReplayStep::Record { offset, prefix, .. } if prefix.kind == Kind::Message => {
                    found.push((offset..offset + prefix.record_bytes(), Some(true)));
                }
                ReplayStep::Record { .. } => {}
                ReplayStep::Damaged { range, bodiless } => {
                    let is_bodiless = bodiless.map(|(prefix, payload)| {
                        assert_eq!((prefix.topic, prefix.queue), (3, 4), "{range:?}");
                        assert!(record::queue_offset(payload).is_some());
                        false
                    });
                    found.push((range, is_bodiless));
                }
                ReplayStep::End(_) => return found,
            }
        }
    }

    #[test]
    fn a_message_that_lacks_only_its_body_says_where_it_belonged() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        let mut messages = Vec::new();
        for write in 0..4 {
            messages.extend((0..3).map(|at| rig.append_message(write * 3 + at)));
            rig.flush();
        }
        let mut ended = rig.epochs.clone();
        assert!(ended.stopped(1, rig.log.appended()));
        // Bodies of some, headers of others; the last write is known to be durable only after a clean stop.
        for bodiless in 0..1 << 9 {
            let headless = (bodiless * 37 % 512) & !bodiless;
            let mut disk = rig.disk.clone();
            let mut expected = Vec::new();
            for (number, (record, body)) in messages.iter().enumerate() {
                let found = match (bodiless >> number & 1, headless >> number & 1) {
                    (0, 0) => Some(true),
                    (1, _) => Some(false),
                    _ => None,
                };
                let hit = if found.is_none() { record.start + 40 } else { body.start + 7 };
                if found != Some(true) {
                    disk[hit as usize] ^= 1;
                }
                expected.push((record.clone(), found));
            }
            for epochs in [&rig.epochs, &ended] {
                let mut found = messages_of(&disk, epochs);
                // Neighbours that say nothing are one place, padding of their blocks with them.
                found.retain(|(_, found)| found.is_some());
                let named: Vec<_> = expected.iter().filter(|it| it.1.is_some()).cloned().collect();
                assert_eq!(found, named, "{bodiless:b} {headless:b}");
            }
        }
    }

    #[test]
    fn a_body_that_was_in_flight_is_a_torn_tail() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        let (first, _) = rig.append_message(0);
        rig.flush();
        let (_, body) = rig.append_message(1);
        rig.append_message(2);
        rig.flush();
        rig.disk[body.start as usize] ^= 1;
        assert_eq!(messages_of(&rig.disk, &rig.epochs), [(first, Some(true))]);
    }

    #[test]
    fn an_old_life_is_not_resurrected() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        for index in 0..20 {
            rig.append(5000, 0);
            if index != 18 {
                rig.flush();
            }
        }
        // The crash tears a record in the middle and keeps the one behind, which was in flight with
        // it, so that nothing knows it to have been durable (the damage test has the other case).
        let mut disk = rig.disk.clone();
        let cut = rig.records[18].0;
        disk[(cut - 2000) as usize..cut as usize].fill(0);
        let (records, damage, end) = replay_disk(&disk, &rig.epochs);
        assert_eq!(damage, []);
        assert_eq!(records, rig.records[..18]);
        assert!(end.dirty_end > end.end);
        let kept = rig.records[..18].to_vec();
        let mut next = Rig::open(FlushMode::Sync, disk, rig.epochs, end.end);
        next.append(300, 0);
        next.flush();
        let (records, damage, _) = next.replay();
        assert_eq!(damage, []);
        assert_eq!(records, [kept, next.records].concat());
    }

    #[test]
    fn a_hole_longer_than_what_can_be_in_flight_is_damage() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        while rig.log.appended() < 70 << 20 {
            rig.append(100_000, 0);
            rig.flush();
        }
        let hole = 4 << 20..4 + SEARCH_ZEROS_MAX as usize + (4 << 20) + (4 << 20);
        rig.disk[hole.clone()].fill(0);
        let (records, damage, end) = rig.replay();
        let is_whole = |end: u64| end <= hole.start as u64 || end > hole.end as u64 + 100_100;
        let kept = rig.records.iter().filter(|(end, _)| is_whole(*end));
        assert_eq!(records, kept.cloned().collect::<Vec<_>>());
        assert_eq!(damage.len(), 1);
        assert!(end.end > 69 << 20);
        // All that follows is zeros: that is the end, not a hole.
        let last = rig.records[9].0;
        rig.disk[last as usize..].fill(0);
        let (records, damage, end) = rig.replay();
        assert_eq!((records.len(), damage.len(), end.end), (10, 0, last));
    }

    #[test]
    fn damage_is_told_from_a_torn_tail() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        for _ in 0..20 {
            rig.append(5000, 0);
            rig.flush();
        }
        let start = rig.records[5].0 - 5000;
        rig.disk[start as usize + 40] ^= 1;
        let (records, damage, _) = rig.replay();
        assert_eq!(damage.len(), 1);
        assert!(damage[0].contains(&(start + 40)));
        assert_eq!(records.len(), 19);
        assert_eq!(records[..5], rig.records[..5]);
        assert_eq!(records[5..], rig.records[6..]);
    }

    /// Nothing behind it says so, but where the log ended was noted.
    #[test]
    fn damage_of_the_end_is_told_after_a_clean_stop() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        for index in 0..20 {
            rig.append(5000, 0);
            if index < 10 {
                rig.flush();
            }
        }
        rig.flush();
        let end = rig.log.appended();
        let start = |record: usize| rig.records[record].0 as usize - 5000;
        let cases = [
            (start(1)..start(1) + 1, 19),
            (start(12)..start(12) + 1, 19),
            (start(19)..start(19) + 1, 19),
            (start(4)..end as usize, 4),
            (PREFIX_BYTES..end as usize, 0),
        ];
        for (hit, left) in cases {
            let mut disk = rig.disk.clone();
            disk[hit.clone()].iter_mut().for_each(|byte| *byte ^= 1);
            let mut zeros = rig.disk.clone();
            zeros[hit.clone()].fill(0);
            let cut = rig.disk[..hit.start].to_vec();
            let mut epochs = rig.epochs.clone();
            assert!(epochs.stopped(1, end));
            for disk in [disk, zeros, cut] {
                let (records, damage, found) = replay_disk(&disk, &epochs);
                let before = |it: &&(u64, Vec<u8>)| it.0 <= disk.len() as u64;
                let left = left.min(rig.records.iter().filter(before).count());
                assert_eq!(records.len(), left, "{hit:?}");
                assert_eq!((found.end, found.dirty_end), (end, end), "{hit:?}");
                assert!(damage[0].start <= hit.start as u64, "{damage:?}");
                // The next life, too, before it has written anything.
                epochs.raise(found.end, SHAPE.block_bytes);
                let again = replay_disk(&disk, &epochs);
                assert_eq!((again.0, again.1), (records, damage), "{hit:?}");
                epochs = rig.epochs.clone();
                assert!(epochs.stopped(1, end));
            }
        }
    }

    #[test]
    fn a_full_disk_refuses_until_there_is_space() {
        let mut epochs = Epochs::default();
        let life = epochs.raise(0, SHAPE.block_bytes);
        let buffer = WriteBuffer::new(BUFFER_BYTES, life.first).expect("memory");
        let mut log = CommitLog::new(SHAPE, FlushMode::Sync, IDENTITY, life, buffer);
        assert_eq!(log.room(100, u64::MAX), Room::Wait, "space was asked for");
        let wanted = log.next_space().expect("a new log needs space");
        log.space_delayed("no space left on device".to_owned());
        assert_eq!(log.room(100, u64::MAX), Room::Full);
        log.space_prepared(wanted.end);
        assert_eq!(log.room(100, u64::MAX), Room::Ready);
        assert_eq!(log.no_space(), None);
    }

    #[test]
    fn a_failed_write_stops_everything() {
        let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
        rig.append(100, 0);
        let write = rig.log.next_write().expect("a write");
        rig.log.write_completed(&write.range, Err("input/output error".to_owned()));
        assert_eq!(rig.log.confirmed(), 0);
        assert_eq!(rig.log.next_write(), None);
        assert_eq!(rig.log.poisoned().map(|poison| poison.operation), Some("write"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Writes complete in any order, some never: what was confirmed is there, in order, and what
        /// is there is a prefix of what was appended.
        #[test]
        fn confirmed_survives_a_crash(
            steps in prop::collection::vec((0usize..60_000, 0u8..6), 1..120),
            lost in any::<u16>(),
        ) {
            let mut rig = Rig::open(FlushMode::Sync, Vec::new(), Epochs::default(), 0);
            let mut flying: Vec<LogWrite> = Vec::new();
            for (len, action) in steps {
                rig.append(len, 0);
                match action {
                    0..3 => while let Some(write) = rig.log.next_write() { flying.push(write) },
                    3 | 4 if !flying.is_empty() => {
                        let write = flying.remove(len % flying.len());
                        rig.complete(&write);
                    }
                    _ => {}
                }
            }
            // The crash: each write in flight reached the disk or did not.
            for (index, write) in flying.iter().enumerate() {
                if lost >> (index % 16) & 1 == 0 {
                    rig.write(write);
                }
            }
            let (records, damage, end) = rig.replay();
            prop_assert_eq!(damage, []);
            prop_assert!(end.end <= rig.log.appended());
            prop_assert_eq!(&records[..], &rig.records[..records.len()]);
            let confirmed = rig.records.iter().take_while(|(end, _)| *end <= rig.log.confirmed());
            prop_assert!(records.len() >= confirmed.count());
        }
    }
}
