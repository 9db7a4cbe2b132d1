//! The CommitLog of a shard: the only journal, written once, forward.
//! Owns: the tail in memory, the watermarks, the writes in flight, the space prepared ahead.
//! Lives on: every shard
//! Kind: machine
//! Invariants:
//!   durable ≤ written ≤ submitted ≤ appended ≤ prepared
//!   submitted, written and durable lie on block boundaries (or at the log's start)
//!   a block that was submitted is never submitted again
//!   after a failed write or sync nothing moves any more (poisoned)

mod epochs;
mod prefix;
mod replay;

use std::collections::VecDeque;
use std::ops::Range;

pub use epochs::{Epoch, Epochs, EpochsError};
pub use prefix::{
    ALIGNMENT, FLAG_CONTINUES, FLAG_MORE, Kind, PREFIX_BYTES, Prefix, carried, checksum,
    record_bytes, record_start,
};
pub use replay::{Replay, ReplayEnd, ReplayStep, verify};
use runtime::WriteBuffer;

use crate::limits::{
    GROUP_PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX, PIPELINED_WRITE_BYTES_MIN, PREPARED_AHEAD_BYTES,
    UNWRITTEN_BYTES_MAX,
};

/// When a message counts as stored (design: *Watermarks*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushMode {
    /// `SYNC_FLUSH`: when it is durable.
    Sync,
    /// `ASYNC_FLUSH`: when the device has it; durable within the flush interval.
    Async,
    /// `ASYNC_FLUSH` with `transientStorePoolEnable`: when it is in memory.
    Memory,
}

/// What a log is on disk: fixed when the store is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogShape {
    /// Start of every checksum, random per store.
    pub seed: u32,
    /// Unit of writes in bytes, a power of two.
    pub block_bytes: u64,
    /// Bytes of a segment, a multiple of 1 MiB.
    pub segment_bytes: u64,
}

/// Why a shard acknowledges nothing any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{operation} of the log at offset {offset} failed: {reason}; restart the broker to recover"
)]
pub struct Poison {
    /// `write` or `sync`.
    pub operation: &'static str,
    /// Log offset where it failed.
    pub offset: u64,
    /// The operating system's words.
    pub reason: String,
}

/// A write the driver is to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogWrite {
    /// First log offset of the segment that holds the range.
    pub segment: u64,
    /// The log offsets to write, whole blocks within one region.
    pub range: Range<u64>,
    /// Whether the write must be durable when it completes.
    pub durable: bool,
}

/// Segments the driver is to sync: all that hold bytes of the range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogSync {
    /// Log offsets that become durable.
    pub range: Range<u64>,
}

/// Whether a record can be appended now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// Yes.
    Ready,
    /// Writes must complete or space must be prepared first: stop reading, come again.
    Wait,
    /// The disk has no space; appends are refused until it has.
    Full,
}

/// What the caller says of a record to append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// [`FLAG_MORE`], [`FLAG_CONTINUES`].
    pub flags: u8,
    /// The topic's incarnation, 0 for none.
    pub topic: u32,
    /// The queue id, 0 where there is none.
    pub queue: u32,
}

/// Where a record went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Log offset of its payload: what a position points at.
    pub payload: u64,
    /// Log offset behind the record.
    pub end: u64,
}

#[derive(Debug)]
struct SyncInFlight {
    end: u64,
    records: u64,
}

#[derive(Debug)]
struct WriteInFlight {
    range: Range<u64>,
    done: bool,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct CommitLog {
    shape: LogShape,
    mode: FlushMode,
    identity: SegmentIdentity,
    epoch: u32,
    buffer: WriteBuffer,
    prepared: u64,
    requested: u64,
    /// Why space could not be prepared, until it could.
    no_space: Option<String>,
    submitted: u64,
    written: u64,
    durable: u64,
    // Ends of records, never in the middle of one, unlike the watermarks above.
    confirmed_records: u64,
    durable_records: u64,
    // In memory mode records are confirmed before they are written: the newest end that is known to be written, and the
    // next that will be.
    written_records: u64,
    next_records: u64,
    writes: VecDeque<WriteInFlight>,
    sync: Option<SyncInFlight>,
    depth: usize,
    poison: Option<Poison>,
}

/// What the first record of each segment says: a segment found alone can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentIdentity {
    /// Version of the store's format.
    pub format: u32,
    /// The store.
    pub store_id: u128,
    /// The shard.
    pub shard: u8,
}

impl SegmentIdentity {
    /// Bytes of its payload.
    pub const BYTES: usize = 24;

    fn write(&self, to: &mut [u8]) {
        to[0..4].copy_from_slice(&self.format.to_le_bytes());
        to[4..20].copy_from_slice(&self.store_id.to_le_bytes());
        to[20..24].copy_from_slice(&u32::from(self.shard).to_le_bytes());
    }
}

impl CommitLog {
    /// A log that goes on with `life`; what the disk holds before it is durable.
    ///
    /// # Panics
    /// When `buffer` does not start there, or sizes do not fit each other.
    pub fn new(
        shape: LogShape,
        mode: FlushMode,
        identity: SegmentIdentity,
        life: Epoch,
        buffer: WriteBuffer,
    ) -> CommitLog {
        assert!(shape.block_bytes.is_power_of_two());
        assert!(shape.segment_bytes.is_multiple_of(prefix::GAP_BOUNDARY));
        assert!(life.first.is_multiple_of(shape.block_bytes));
        assert!(buffer.tail() == life.first);
        let start = life.first;
        let depth = match mode {
            FlushMode::Sync => 2,
            FlushMode::Async | FlushMode::Memory => 4,
        };
        CommitLog {
            shape,
            mode,
            identity,
            epoch: life.number,
            buffer,
            prepared: start,
            requested: start,
            no_space: None,
            submitted: start,
            written: start,
            durable: start,
            confirmed_records: start,
            durable_records: start,
            written_records: start,
            next_records: start,
            writes: VecDeque::with_capacity(depth),
            sync: None,
            depth,
            poison: None,
        }
    }

    // ---- append ---------------------------------------------------------------------------------

    /// Whether payloads of `payload_bytes` together fit now. `oldest_needed` is the oldest log offset
    /// whose bytes in the tail's memory somebody still needs.
    pub fn room(&self, payload_bytes: usize, oldest_needed: u64) -> Room {
        assert!(payload_bytes <= GROUP_PAYLOAD_BYTES_MAX);
        let end = self.buffer.tail() + self.bytes_needed(payload_bytes);
        let oldest = oldest_needed.min(self.written);
        // With nothing to be written waiting would not make room.
        let is_idle = self.buffer.tail() <= self.written;
        let is_much_unwritten = !is_idle && end - self.written > UNWRITTEN_BYTES_MAX;
        if end - oldest > self.buffer.size_bytes() || is_much_unwritten {
            return Room::Wait;
        }
        match (end > self.prepared, &self.no_space) {
            (false, _) => Room::Ready,
            (true, None) => Room::Wait,
            (true, Some(_)) => Room::Full,
        }
    }

    /// Bytes the log grows by at the most when a payload of this size is appended: a gap or fillers to
    /// boundaries it does not fit before, a segment's first record, itself, padding to a block.
    fn bytes_needed(&self, payload_bytes: usize) -> u64 {
        // Records of a group may end shortly before boundaries that leave a gap.
        let gaps = (payload_bytes as u64 / prefix::GAP_BOUNDARY + 2) * PREFIX_BYTES as u64;
        let record = record_bytes(SegmentIdentity::BYTES) + record_bytes(payload_bytes) + gaps;
        let mut filler = 0;
        // An end of a segment and a wrap may lie closer together than it is long; ends of segments do
        // not, and wraps do not.
        for _ in 0..2 {
            let before = self.bytes_before_boundary(self.buffer.tail() + filler);
            filler += if record > before { before } else { 0 };
        }
        filler + record + 2 * self.shape.block_bytes
    }

    /// Bytes from a log offset to the next place no record crosses: end of the segment, wrap of the buffer.
    fn bytes_before_boundary(&self, offset: u64) -> u64 {
        let before = |size: u64| size - offset % size;
        before(self.shape.segment_bytes).min(before(self.buffer.size_bytes()))
    }

    /// Appends a record whose payload `fill` writes; `fill` also says which part of the payload has a
    /// checksum of its own (an empty range: none) and is told the log offset of the payload.
    ///
    /// # Panics
    /// When there is no room (the caller asked [`CommitLog::room`]) or the log is poisoned.
    pub fn append(
        &mut self,
        entry: Entry,
        payload_bytes: usize,
        fill: impl FnOnce(&mut [u8], u64) -> Range<usize>,
    ) -> Appended {
        assert!(payload_bytes <= PAYLOAD_BYTES_MAX as usize);
        assert!(self.poison.is_none());
        let record = record_bytes(payload_bytes);
        loop {
            self.skip_gap();
            if self.buffer.tail().is_multiple_of(self.shape.segment_bytes) {
                self.append_identity();
            }
            let before = self.bytes_before_boundary(self.buffer.tail());
            if record <= before {
                break;
            }
            self.append_filler(before);
        }
        let appended = self.append_record(entry, payload_bytes, fill);
        assert!(self.buffer.tail() <= self.prepared);
        appended
    }

    fn append_identity(&mut self) {
        let identity = self.identity;
        let first = Entry { kind: Kind::Segment, flags: 0, topic: 0, queue: 0 };
        self.append_record(first, SegmentIdentity::BYTES, |payload, _| {
            identity.write(payload);
            0..0
        });
    }

    fn append_record(
        &mut self,
        entry: Entry,
        payload_bytes: usize,
        fill: impl FnOnce(&mut [u8], u64) -> Range<usize>,
    ) -> Appended {
        let offset = self.buffer.tail();
        let payload_offset = offset + PREFIX_BYTES as u64;
        let prefix = Prefix {
            len: u32::try_from(payload_bytes).expect("below PAYLOAD_BYTES_MAX"),
            kind: entry.kind,
            flags: entry.flags,
            epoch: self.epoch,
            durable: self.durable_records,
            topic: entry.topic,
            queue: entry.queue,
        };
        let seed = self.shape.seed;
        let total = usize::try_from(prefix.record_bytes()).expect("small");
        self.buffer.append(total, |memory| {
            let (record, padding) = memory.split_at_mut(PREFIX_BYTES + payload_bytes);
            padding.fill(0);
            prefix.write(&mut record[..PREFIX_BYTES]);
            let body = fill(&mut record[PREFIX_BYTES..], payload_offset);
            let body = body.start + PREFIX_BYTES..body.end + PREFIX_BYTES;
            prefix::seal(seed, offset, record, body);
        });
        Appended { payload: payload_offset, end: self.buffer.tail() }
    }

    /// Fills `bytes` with one filler that is skipped as a whole.
    fn append_filler(&mut self, bytes: u64) {
        let offset = self.buffer.tail();
        let total = usize::try_from(bytes).expect("at most a write buffer");
        assert!(total >= PREFIX_BYTES);
        let prefix = Prefix {
            len: u32::try_from(total - PREFIX_BYTES).expect("at most a write buffer"),
            kind: Kind::Filler,
            flags: 0,
            epoch: self.epoch,
            durable: self.durable_records,
            topic: 0,
            queue: 0,
        };
        let seed = self.shape.seed;
        self.buffer.append(total, |memory| {
            memory.fill(0);
            prefix.write(&mut memory[..PREFIX_BYTES]);
            prefix::seal(seed, offset, &mut memory[..PREFIX_BYTES], 0..0);
        });
    }

    fn skip_gap(&mut self) {
        let tail = self.buffer.tail();
        let gap = usize::try_from(record_start(tail) - tail).expect("less than a prefix");
        if gap > 0 {
            self.buffer.append(gap, |memory| memory.fill(0));
        }
    }

    /// Fills the rest of the tail's block, so that it can be written and never again.
    fn pad_to_block(&mut self) {
        self.skip_gap();
        let bytes = self.padded_tail() - self.buffer.tail();
        if bytes > 0 {
            self.append_filler(bytes);
        }
    }

    /// Where the log ends when its tail's block has been padded.
    fn padded_tail(&self) -> u64 {
        let tail = record_start(self.buffer.tail());
        let end = tail.next_multiple_of(self.shape.block_bytes);
        if (1..PREFIX_BYTES as u64).contains(&(end - tail)) {
            // Not at a gap boundary, so the next block lies in the same region, segment and lap.
            return end + self.shape.block_bytes;
        }
        end
    }

    // ---- write ----------------------------------------------------------------------------------

    /// The next write to start, until there is none. Whole blocks under load; what is there, padded,
    /// when nothing is in flight. Nothing waits for a batch to fill.
    pub fn next_write(&mut self) -> Option<LogWrite> {
        if self.poison.is_some() || self.writes.len() >= self.depth {
            return None;
        }
        if self.writes.is_empty() && self.buffer.tail() > self.submitted {
            self.pad_to_block();
        }
        let whole = self.buffer.tail() / self.shape.block_bytes * self.shape.block_bytes;
        let region = (self.submitted + 1).next_multiple_of(prefix::GAP_BOUNDARY);
        let end = whole.min(region);
        if end <= self.submitted {
            return None;
        }
        let bytes = end - self.submitted;
        if !self.writes.is_empty() && end != region && bytes < PIPELINED_WRITE_BYTES_MIN {
            return None;
        }
        let range = self.submitted..end;
        self.submitted = end;
        self.writes.push_back(WriteInFlight { range: range.clone(), done: false });
        Some(LogWrite {
            segment: range.start / self.shape.segment_bytes * self.shape.segment_bytes,
            range,
            durable: self.mode == FlushMode::Sync,
        })
    }

    /// A write ended. `Err` poisons the log.
    pub fn write_completed(&mut self, range: &Range<u64>, result: Result<(), String>) {
        let write = self.writes.iter_mut().find(|write| write.range == *range);
        write.expect("only started writes complete").done = true;
        if let Err(reason) = result {
            self.poison("write", range.start, reason);
        }
        if self.poison.is_some() {
            return;
        }
        while let Some(first) = self.writes.pop_front_if(|first| first.done) {
            self.written = first.range.end;
        }
        if self.mode == FlushMode::Sync {
            self.durable = self.written;
        }
        if self.next_records <= self.written {
            self.written_records = self.next_records;
            self.next_records = self.confirmed_records;
        }
    }

    /// Records up to `end` are confirmed: what later records say of the durable part of the log, so
    /// that recovery can tell damage from a torn tail. It must be the end of a record, because a
    /// watermark may lie inside one whose second half was lost.
    pub fn records_confirmed(&mut self, end: u64) {
        assert!(end >= self.confirmed_records);
        assert!(end <= self.confirmed());
        self.confirmed_records = end;
        if self.mode == FlushMode::Sync {
            self.durable_records = end;
        }
    }

    /// The next background sync to start (not in SYNC_FLUSH), unless one is in flight.
    pub fn next_sync(&mut self) -> Option<LogSync> {
        if self.poison.is_some() || self.sync.is_some() || self.written == self.durable {
            return None;
        }
        let is_written = self.confirmed_records <= self.written;
        let records = if is_written { self.confirmed_records } else { self.written_records };
        self.sync = Some(SyncInFlight { end: self.written, records });
        Some(LogSync { range: self.durable..self.written })
    }

    /// All segments of a sync were synced, or one failed. `Err` poisons the log.
    pub fn sync_completed(&mut self, result: Result<(), String>) {
        let sync = self.sync.take().expect("only a started sync completes");
        match result {
            Ok(()) => {
                self.durable = sync.end;
                // Never the watermark itself, which may lie inside a record; and what was durable stays so.
                self.durable_records = self.durable_records.max(sync.records);
            }
            Err(reason) => self.poison("sync", self.durable, reason),
        }
        assert!(self.durable <= self.written);
    }

    fn poison(&mut self, operation: &'static str, offset: u64, reason: String) {
        if self.poison.is_none() {
            self.poison = Some(Poison { operation, offset, reason });
        }
    }

    // ---- space ----------------------------------------------------------------------------------

    /// Log offsets that the driver is to prepare (allocate, zero, sync), if there are any to ask for.
    pub fn next_space(&mut self) -> Option<Range<u64>> {
        let wanted = self.buffer.tail() + PREPARED_AHEAD_BYTES;
        let step = PREPARED_AHEAD_BYTES / 8;
        if self.poison.is_some() || self.requested + step > wanted {
            return None;
        }
        let segment_end = (self.requested + 1).next_multiple_of(self.shape.segment_bytes);
        let range = self.requested..(self.requested + step).min(segment_end);
        self.requested = range.end;
        Some(range)
    }

    /// Space up to `end` is zeroed and durable. Ranges are prepared in the order asked for.
    pub fn space_prepared(&mut self, end: u64) {
        assert!(end >= self.prepared);
        assert!(end <= self.requested.max(self.prepared));
        self.prepared = end;
        self.no_space = None;
    }

    /// Space that was asked for cannot be prepared now; it is tried again.
    pub fn space_delayed(&mut self, reason: String) {
        self.no_space = Some(reason);
    }

    /// Why space cannot be prepared, if so.
    pub fn no_space(&self) -> Option<&str> {
        self.no_space.as_deref()
    }

    /// Space up to `end` was prepared before the log was opened.
    pub fn space_found(&mut self, end: u64) {
        assert!(self.requested == self.prepared);
        self.prepared = end;
        self.requested = end;
    }

    // ---- watermarks and reads -------------------------------------------------------------------

    /// Everything below was appended.
    pub fn appended(&self) -> u64 {
        self.buffer.tail()
    }

    /// Everything below is on the device.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Everything below survives a power cut.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Every record that ends here or before survives a power cut, and groups end here.
    pub fn durable_records(&self) -> u64 {
        self.durable_records
    }

    /// Space up to here is ready.
    pub fn prepared(&self) -> u64 {
        self.prepared
    }

    /// Everything below may be acknowledged and shown: the one place that says so from the flush mode.
    pub fn confirmed(&self) -> u64 {
        match self.mode {
            FlushMode::Sync => self.durable,
            FlushMode::Async => self.written,
            FlushMode::Memory => self.buffer.tail(),
        }
    }

    /// The configured mode.
    pub fn mode(&self) -> FlushMode {
        self.mode
    }

    /// The shape on disk.
    pub fn shape(&self) -> LogShape {
        self.shape
    }

    /// This life's number.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Why nothing is acknowledged any more, if so.
    pub fn poisoned(&self) -> Option<&Poison> {
        self.poison.as_ref()
    }

    /// Writes in flight.
    pub fn writes_in_flight(&self) -> usize {
        self.writes.len()
    }

    /// Bytes from the tail's memory, if they are still there.
    pub fn tail_bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.buffer.slice(offset, len)
    }

    /// The oldest log offset that the tail's memory still holds when the tail's block has been padded,
    /// which may happen later in the turn and asks nobody for room.
    pub fn tail_floor(&self) -> u64 {
        let overrun = self.padded_tail().saturating_sub(self.buffer.size_bytes());
        self.buffer.floor().max(overrun)
    }

    /// The memory, for the driver that writes it.
    pub fn buffer_mut(&mut self) -> &mut WriteBuffer {
        &mut self.buffer
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::ODD_WRITE_BUFFER_BYTES_MIN;

    /// Ends of segments lie 4 MiB before and behind wraps, and nearer.
    const SHAPE: LogShape = LogShape { seed: 5, block_bytes: 4096, segment_bytes: 20 << 20 };

    fn log() -> CommitLog {
        let mut epochs = Epochs::default();
        let life = epochs.raise(0, SHAPE.block_bytes);
        let buffer = WriteBuffer::new(ODD_WRITE_BUFFER_BYTES_MIN, life.first).expect("memory");
        let identity = SegmentIdentity { format: 1, store_id: 7, shard: 0 };
        let mut log = CommitLog::new(SHAPE, FlushMode::Sync, identity, life, buffer);
        log.space_found(1 << 40);
        log
    }

    fn write_all(log: &mut CommitLog) {
        while let Some(write) = log.next_write() {
            log.write_completed(&write.range, Ok(()));
        }
    }

    fn append(log: &mut CommitLog, payload_bytes: usize) {
        let entry = Entry { kind: Kind::Message, flags: 0, topic: 9, queue: 0 };
        log.append(entry, payload_bytes, |_, _| 0..0);
    }

    /// The last record of a group does not fit before a segment's end, because records before it left gaps
    /// at MiB boundaries.
    #[test]
    fn gaps_inside_a_group_count() {
        const MIB: u64 = prefix::GAP_BOUNDARY;
        // Record sizes, prefix included: each but the last ends 24 bytes before a boundary.
        let to_gap =
            |from: u64| usize::try_from(MIB - from % MIB - 24).expect("small") - PREFIX_BYTES;
        for slack in (0..=192_u64).step_by(8) {
            let mut log = log();
            append(&mut log, 4096);
            let start = SHAPE.segment_bytes - 5 * MIB - 8;
            while log.buffer.tail() < start {
                let left = usize::try_from(start - log.buffer.tail()).expect("small");
                let most = (512 << 10).min(left.max(64) - PREFIX_BYTES);
                append(&mut log, most / 8 * 8);
                write_all(&mut log);
            }
            let tail = log.buffer.tail();
            let first = to_gap(tail);
            let middle = to_gap(0);
            let records = [first, middle, middle, middle];
            let used: u64 = records.iter().map(|bytes| record_bytes(*bytes)).sum();
            let before = SHAPE.segment_bytes - tail;
            // With the gaps it does not fit, by so little.
            let last =
                usize::try_from(before - used - 2 * PREFIX_BYTES as u64 - slack).expect("small");
            let all = records.iter().chain([&last]);
            let payloads: u64 = all.clone().map(|bytes| record_bytes(*bytes)).sum();
            let end = tail + log.bytes_needed(payloads as usize);
            all.for_each(|bytes| append(&mut log, *bytes));
            assert!(log.padded_tail() <= end, "{} too many", log.padded_tail() - end);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Groups of any size wherever segments end and the buffer wraps: a log with nothing to write takes
        /// each, and it takes no more than was said.
        #[test]
        fn there_is_room_for_a_group_wherever_a_segment_ends(
            groups in proptest::collection::vec((0..=GROUP_PAYLOAD_BYTES_MAX, 1..4_usize), 1..40),
        ) {
            let mut log = log();
            for (bytes, count) in groups {
                let record = (bytes / count).min(PAYLOAD_BYTES_MAX as usize);
                let payloads = record_bytes(record) * count as u64;
                let payload_bytes = (payloads as usize).min(GROUP_PAYLOAD_BYTES_MAX);
                let written = log.written;
                prop_assert_eq!(log.room(payload_bytes, written), Room::Ready);
                let end = log.buffer.tail() + log.bytes_needed(payload_bytes);
                (0..count).for_each(|_| append(&mut log, record));
                prop_assert!(log.buffer.tail() <= end, "{} of {end}", log.buffer.tail());
                write_all(&mut log);
            }
        }
    }

    #[test]
    fn two_fillers_lie_before_what_is_longer_than_the_way_between_two_boundaries() {
        let mut log = log();
        // To the end of the third segment there are 2 MiB, and from it to the wrap 4.
        for _ in 0..58 {
            append(&mut log, (1 << 20) - PREFIX_BYTES - 64);
            write_all(&mut log);
        }
        let before = log.buffer.tail();
        assert!((57 << 20..59 << 20).contains(&before), "{before}");
        append(&mut log, (4 << 20) + 1000);
        let tail = log.buffer.tail();
        assert!(tail > 68 << 20, "behind the wrap: {tail}");
    }
}
