//! Read: messages of a queue for a pull, or one record by its position.
//! Kind: machine
//!
//! Status and limits follow DefaultMessageStore.getMessage (5.3.3); its limit of 8 messages for reads
//! from disk is not kept (design, *Semantics kept on purpose*).

use proto::record;

use super::Shard;
use crate::coldread::Cold;
use crate::commitlog::{Kind, PREFIX_BYTES, Prefix, verify};
use crate::consumequeue::{ENTRIES_PER_PAGE, Entries, Place, QueueEntry, QueueKey, read_page};
use crate::filter::MessageFilter;
use crate::hold::{HeldPull, Scanned};
use crate::limits::{
    ENTRY_WINDOW, PAYLOAD_BYTES_MAX, SCANNED_BYTES_MAX, SCANNED_COST_MAX, SCANNED_ENTRIES_MAX,
};
use crate::page::PAGE_BYTES;

/// What a pull asks for, checked by the broker.
#[derive(Clone, Copy, Debug)]
pub struct PullRequest<'a> {
    /// The queue.
    pub queue: QueueKey,
    /// First queue offset wanted.
    pub from: u64,
    /// Messages at the most; 0 acts like 1.
    pub count_max: u32,
    /// Bytes at the most; the first message always fits.
    pub bytes_max: u32,
    /// What is wanted.
    pub filter: &'a MessageFilter,
    /// How far it has looked before.
    pub scanned: Scanned,
}

/// GetMessageStatus of RocketMQ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullStatus {
    /// At least one message.
    Found,
    /// Scanned, none wanted.
    NoMatchedMessage,
    /// The messages scanned are gone.
    MessageWasRemoving,
    /// From below the queue's minimum.
    OffsetTooSmall,
    /// From the queue's maximum: nothing new.
    OffsetOverflowOne,
    /// From above the maximum.
    OffsetOverflowBadly,
    /// The queue is empty.
    NoMessageInQueue,
    /// The driver says where to go on: the group was reset.
    OffsetReset,
}

/// What a pull is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// How it went.
    pub status: PullStatus,
    /// Where to go on.
    pub next_begin: u64,
    /// The queue's bounds.
    pub min: u64,
    /// The queue's bounds.
    pub max: u64,
}

/// What became of a pull.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pulled {
    /// Answer it.
    Answered(Answer),
    /// Its messages are being read: park it with [`Shard::wait_cold`], and how far it has looked.
    Cold(ColdRange, Scanned),
    /// Its messages cannot be read now: the operating system's words.
    Failed(String),
}

/// Bytes that are to be read from disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ColdRange {
    /// Log offsets.
    Log(std::ops::Range<u64>),
    /// Addresses of runs.
    Runs(std::ops::Range<u64>),
}

/// What became of a search in a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Searched {
    /// The answer.
    Found(u64),
    /// Entries are being read: try again when cold reads have completed.
    Cold,
    /// The disk does not give them: why.
    Failed(String),
}

/// What became of a look at entries of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntriesRead {
    /// They are all there.
    All,
    /// Some are being read: try again when cold reads have completed.
    Cold,
    /// The disk does not give them: why.
    Failed(String),
}

/// What became of a look at queue entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fetched {
    /// They were appended, at least one.
    Copied,
    /// They are being read.
    Wanted(ColdRange),
    /// They cannot be read now.
    Failed(String),
    /// There are none.
    Nowhere,
}

/// Why there is no entry now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotNow {
    /// It is being read.
    Wanted,
    /// It cannot be read now: why.
    Failed(String),
}

impl From<NotNow> for Searched {
    fn from(not_now: NotNow) -> Searched {
        match not_now {
            NotNow::Wanted => Searched::Cold,
            NotNow::Failed(reason) => Searched::Failed(reason),
        }
    }
}

pub(super) const RUN_IS_MADE_AGAIN: &str =
    "the queue entries of this part of the log are damaged and are being made again from the log";

/// A record of a reply that lies in the tail's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Log offset of the RocketMQ record.
    pub payload: u64,
    /// Its bytes.
    pub size_bytes: u32,
}

/// Records of one reply: pieces to gather, or bytes that were copied from disk blocks.
#[derive(Debug, Default)]
pub struct Replies {
    /// Records in the tail's memory.
    pub pieces: Vec<Piece>,
    /// Records from disk, one after the other.
    pub bytes: Vec<u8>,
    /// Bytes in all.
    pub total_bytes: usize,
    /// Messages in all.
    pub message_count: usize,
}

impl Replies {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.bytes.clear();
        self.total_bytes = 0;
        self.message_count = 0;
    }
}

/// What became of a look at one position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// The record was appended to the caller's bytes.
    Found,
    /// It is being read: try again when cold reads have completed.
    Cold,
    /// There is no message at that position, or its bytes are damaged.
    None,
    /// The disk does not give it: why. Later it may.
    Failed(String),
}

impl Shard {
    /// Looks for messages of a queue; records go into `replies` (cleared before).
    pub fn pull(&mut self, request: &PullRequest<'_>, replies: &mut Replies) -> Pulled {
        replies.clear();
        let Some((min, max)) = self.queues.bounds(request.queue) else {
            return Pulled::Answered(Answer::outside(PullStatus::NoMessageInQueue, 0, 0, 0));
        };
        let outside = |status, next| Pulled::Answered(Answer::outside(status, next, min, max));
        if max == 0 {
            return outside(PullStatus::NoMessageInQueue, 0);
        }
        if request.from < min {
            return outside(PullStatus::OffsetTooSmall, min);
        }
        if request.from == max {
            return outside(PullStatus::OffsetOverflowOne, max);
        }
        if request.from > max {
            return outside(PullStatus::OffsetOverflowBadly, max);
        }
        self.scan(request, min, max, replies)
    }

    fn scan(
        &mut self,
        request: &PullRequest<'_>,
        min: u64,
        max: u64,
        replies: &mut Replies,
    ) -> Pulled {
        let mut window = std::mem::take(&mut self.window);
        let pulled = self.scan_entries(request, min, max, replies, &mut window);
        self.window = window;
        pulled
    }

    fn scan_entries(
        &mut self,
        request: &PullRequest<'_>,
        min: u64,
        max: u64,
        replies: &mut Replies,
        window: &mut Vec<QueueEntry>,
    ) -> Pulled {
        let count_max = request.count_max.max(1) as usize;
        let scan_end = request.from + (SCANNED_ENTRIES_MAX.max(count_max)) as u64;
        let floor = self.log.tail_floor();
        let mut scanned = request.scanned;
        let mut next = request.from.max(scanned.next);
        let mut cost = 0;
        let mut found = 0;
        let mut was_damaged = false;
        let mut fetched_from = next;
        window.clear();
        while next < scan_end.min(max) && found < count_max {
            if next == fetched_from + window.len() as u64 {
                fetched_from = next;
                let wanted = ENTRY_WINDOW.min((scan_end.min(max) - next) as usize);
                match self.fetch(request.queue, next, wanted, window) {
                    Fetched::Copied => {}
                    Fetched::Nowhere => {
                        window.clear();
                        was_damaged = true;
                        next += 1;
                        fetched_from = next;
                        continue;
                    }
                    Fetched::Wanted(_) | Fetched::Failed(_) if found > 0 => break,
                    Fetched::Wanted(range) => {
                        return Pulled::Cold(range, Scanned { next, ..scanned });
                    }
                    Fetched::Failed(reason) => return Pulled::Failed(reason),
                }
            }
            let entry = window[(next - fetched_from) as usize];
            if entry.size_bytes == 0 {
                was_damaged = true;
                next += 1;
                continue;
            }
            if !request.filter.may_want(entry.tag) {
                next += 1;
                continue;
            }
            if found > 0
                && replies.total_bytes + entry.size_bytes as usize > request.bytes_max as usize
            {
                break;
            }
            let start = entry.payload - PREFIX_BYTES as u64;
            if start >= floor {
                if !replies.bytes.is_empty() {
                    break; // a reply is gathered or copied, not both
                }
                let record = || self.log.tail_bytes(entry.payload, entry.size_bytes as usize);
                if !wants(request.filter, || record().unwrap_or_default(), &mut cost) {
                    next += 1;
                    if cost > SCANNED_COST_MAX {
                        break;
                    }
                    continue;
                }
                self.pinned_from = self.pinned_from.min(start);
                replies.pieces.push(Piece { payload: entry.payload, size_bytes: entry.size_bytes });
            } else {
                let before = replies.bytes.len();
                match self.copy_cold(request.queue, next, &entry, &mut replies.bytes) {
                    Cold::Copied if replies.bytes.len() == before => {
                        was_damaged = true;
                        next += 1;
                        continue;
                    }
                    Cold::Copied
                        if !wants(request.filter, || &replies.bytes[before..], &mut cost) =>
                    {
                        replies.bytes.truncate(before);
                        next += 1;
                        scanned.bytes += u64::from(entry.size_bytes);
                        if cost > SCANNED_COST_MAX || scanned.bytes > SCANNED_BYTES_MAX {
                            break;
                        }
                        continue;
                    }
                    Cold::Copied => {}
                    Cold::Wanted if found > 0 => {
                        replies.bytes.truncate(before);
                        break;
                    }
                    Cold::Wanted => {
                        let end = entry.payload + u64::from(entry.size_bytes);
                        let scanned = Scanned { next, ..scanned };
                        return Pulled::Cold(ColdRange::Log(start..end), scanned);
                    }
                    Cold::Failed(_) if found > 0 => break,
                    Cold::Failed(reason) => return Pulled::Failed(reason),
                }
            }
            replies.total_bytes += entry.size_bytes as usize;
            replies.message_count += 1;
            found += 1;
            next += 1;
        }
        let status = match (found, was_damaged) {
            (1.., _) => PullStatus::Found,
            (0, true) => PullStatus::MessageWasRemoving,
            (0, false) => PullStatus::NoMatchedMessage,
        };
        Pulled::Answered(Answer { status, next_begin: next, min, max })
    }

    /// Entries of a queue from a queue offset on into `out` (cleared before), from memory or a run.
    pub(super) fn fetch(
        &mut self,
        queue: QueueKey,
        from: u64,
        count_max: usize,
        out: &mut Vec<QueueEntry>,
    ) -> Fetched {
        out.clear();
        let place = match self.queues.entries(queue, from, count_max, out) {
            Entries::Copied => return Fetched::Copied,
            Entries::Nowhere => return Fetched::Nowhere,
            Entries::InRun(place) => place,
        };
        if self.damaged_run.as_ref() == Some(&place.run) {
            return Fetched::Failed(RUN_IS_MADE_AGAIN.to_owned());
        }
        let mut pages = std::mem::take(&mut self.scratch);
        pages.clear();
        let fetched = match self.cold_runs.copy(place.addresses.clone(), &mut pages) {
            Cold::Copied => self.read_pages(&place, &pages, out),
            Cold::Wanted => Fetched::Wanted(ColdRange::Runs(place.addresses)),
            Cold::Failed(reason) => {
                self.report_run(&place.run, &reason);
                Fetched::Failed(reason)
            }
        };
        self.scratch = pages;
        fetched
    }

    /// The entry of one queue offset; `None`: there is none.
    pub(super) fn fetch_one(
        &mut self,
        queue: QueueKey,
        queue_offset: u64,
    ) -> Result<Option<QueueEntry>, NotNow> {
        let mut entries = std::mem::take(&mut self.window);
        let fetched = self.fetch(queue, queue_offset, 1, &mut entries);
        let entry = entries.first().copied();
        self.window = entries;
        match fetched {
            Fetched::Copied => Ok(entry),
            Fetched::Nowhere => Ok(None),
            Fetched::Wanted(_) => Err(NotNow::Wanted),
            Fetched::Failed(reason) => Err(NotNow::Failed(reason)),
        }
    }

    fn read_pages(&mut self, place: &Place, pages: &[u8], out: &mut Vec<QueueEntry>) -> Fetched {
        let per_page = ENTRIES_PER_PAGE;
        for (index, page) in pages.chunks(PAGE_BYTES).enumerate() {
            let skipped = index as u64 * per_page;
            let from = place.entries.start.max(skipped) - skipped;
            let to = place.entries.end.min(skipped + per_page) - skipped;
            let number = place.page + index as u64;
            let seed = self.log.shape().seed;
            let wanted = from as usize..to as usize;
            if let Err(error) = read_page(seed, place.run.start, number, page, wanted, out) {
                self.report_run(&place.run, &error.to_string());
                return Fetched::Failed(RUN_IS_MADE_AGAIN.to_owned());
            }
        }
        Fetched::Copied
    }

    /// Appends the entries of a queue from `next` to before `to`, which moves on with them. Those that are
    /// not kept any more are left out.
    pub fn read_entries(
        &mut self,
        queue: QueueKey,
        next: &mut u64,
        to: u64,
        out: &mut Vec<QueueEntry>,
    ) -> EntriesRead {
        let mut window = std::mem::take(&mut self.window);
        let read = loop {
            if *next >= to {
                break EntriesRead::All;
            }
            let wanted = ENTRY_WINDOW.min((to - *next) as usize);
            match self.fetch(queue, *next, wanted, &mut window) {
                Fetched::Copied => {
                    *next += window.len() as u64;
                    out.extend_from_slice(&window);
                }
                Fetched::Nowhere => *next += 1,
                Fetched::Wanted(_) => break EntriesRead::Cold,
                Fetched::Failed(reason) => break EntriesRead::Failed(reason),
            }
        };
        self.window = window;
        read
    }

    /// A run is not what was written: it is made again from the log.
    pub(super) fn report_run(&mut self, run: &std::ops::Range<u64>, reason: &str) {
        if self.damaged_run.is_none() {
            tracing::error!(
                shard = self.index.0,
                from = run.start,
                to = run.end,
                reason,
                "the queue entries of this part of the log are damaged on disk; they are made again from the log, pulls that need them fail until then"
            );
            self.damaged_run = Some(run.clone());
            self.is_damage_told = false;
            self.is_remake_delayed = false;
        }
    }

    /// A run that was found damaged: the driver has it made again, once.
    pub fn next_damaged_run(&mut self) -> Option<std::ops::Range<u64>> {
        let run = self.damaged_run.clone().filter(|_| !self.is_damage_told)?;
        self.is_damage_told = true;
        Some(run)
    }

    /// The first queue offset of a queue whose message was stored at a time or later, ms; with
    /// `is_upper` the last at it or before (`ConsumeQueue.getOffsetInQueueByTime`, 5.3.3).
    pub fn search_time(&mut self, queue: QueueKey, time_ms: u64, is_upper: bool) -> Searched {
        let Some((min, max)) = self.queues.bounds(queue) else { return Searched::Found(0) };
        let (mut low, mut high) = (min, max);
        while low < high {
            let middle = low + (high - low) / 2;
            let stored_ms = match self.fetch_one(queue, middle) {
                Ok(Some(entry)) => entry.stored_ms,
                Ok(None) => break,
                Err(not_now) => return not_now.into(),
            };
            if stored_ms < time_ms || is_upper && stored_ms == time_ms {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Searched::Found(if is_upper { low.saturating_sub(1).max(min) } else { low })
    }

    /// When the message of a queue offset was stored, ms, as `Found`; 0 if it is not kept.
    pub fn time_of(&mut self, queue: QueueKey, queue_offset: u64) -> Searched {
        match self.fetch_one(queue, queue_offset) {
            Ok(entry) => Searched::Found(entry.map_or(0, |entry| entry.stored_ms)),
            Err(not_now) => not_now.into(),
        }
    }

    /// When the oldest message of a queue was stored, ms, as `Found`; `None`: it has none.
    pub fn oldest_time(&mut self, queue: QueueKey) -> Option<Searched> {
        let (min, _) = self.queues.bounds(queue).filter(|(min, max)| min < max)?;
        match self.fetch_one(queue, min) {
            Ok(entry) => Some(Searched::Found(entry?.stored_ms)),
            Err(not_now) => Some(not_now.into()),
        }
    }

    /// Copies a record from disk blocks and verifies it; nothing is added when it is damaged.
    fn copy_cold(
        &mut self,
        queue: QueueKey,
        queue_offset: u64,
        entry: &QueueEntry,
        out: &mut Vec<u8>,
    ) -> Cold {
        let start = entry.payload - PREFIX_BYTES as u64;
        let end = entry.payload + u64::from(entry.size_bytes);
        let before = out.len();
        self.cold.written(self.log.written());
        let cold = self.cold.copy(start..end, out);
        self.cold.read_ahead(end);
        if cold != Cold::Copied {
            return cold;
        }
        let record = &out[before..];
        // The log is believed, not the entry: it must be this queue's message of this number.
        let whole = Prefix::read(record).is_some_and(|prefix| {
            prefix.kind == Kind::Message
                && prefix.len == entry.size_bytes
                && (QueueKey { topic: prefix.topic, queue: prefix.queue }) == queue
                && record::queue_offset(&record[PREFIX_BYTES..]) == Some(queue_offset as i64)
                && verify(self.log.shape().seed, start, &prefix, record)
        });
        if whole {
            out.drain(before..before + PREFIX_BYTES);
        } else {
            self.damages.found(self.index, start, end - start);
            out.truncate(before);
        }
        Cold::Copied
    }

    /// Parks a pull until the log bytes it needs were read.
    ///
    /// # Errors
    /// The pull, when as many as allowed wait already.
    pub fn wait_cold(&mut self, pull: HeldPull, range: ColdRange) -> Result<(), HeldPull> {
        match range {
            ColdRange::Log(range) => self.cold.wait(pull, range),
            ColdRange::Runs(range) => self.cold_runs.wait(pull, range),
        }
    }

    /// Appends the message whose record is at a payload's log offset, verified, to `out`.
    pub fn lookup(&mut self, payload: u64, out: &mut Vec<u8>) -> Lookup {
        self.record_at(payload, Kind::Message, out)
    }

    /// As [`Shard::lookup`], for a record of a kind.
    pub(super) fn record_at(&mut self, payload: u64, kind: Kind, out: &mut Vec<u8>) -> Lookup {
        let before = out.len();
        let found = self.whole_record_at(payload, kind, out);
        if found == Lookup::Found {
            out.drain(before..before + PREFIX_BYTES);
        }
        found
    }

    /// As [`Shard::record_at`], with what is before the payload.
    pub(super) fn whole_record_at(
        &mut self,
        payload: u64,
        kind: Kind,
        out: &mut Vec<u8>,
    ) -> Lookup {
        let Some(start) = payload.checked_sub(PREFIX_BYTES as u64) else { return Lookup::None };
        let is_there = (self.start..self.log.confirmed()).contains(&payload);
        if !is_there || !start.is_multiple_of(crate::commitlog::ALIGNMENT) {
            return Lookup::None;
        }
        let before = out.len();
        let prefix = match self.bytes_at(start..payload, out) {
            Cold::Copied => Prefix::read(&out[before..]),
            Cold::Wanted => return Lookup::Cold,
            Cold::Failed(reason) => return Lookup::Failed(reason),
        };
        out.truncate(before);
        let Some(prefix) =
            prefix.filter(|prefix| prefix.kind == kind && prefix.len <= PAYLOAD_BYTES_MAX)
        else {
            return Lookup::None;
        };
        let end = payload + u64::from(prefix.len);
        if end > self.log.confirmed() {
            return Lookup::None;
        }
        match self.bytes_at(start..end, out) {
            Cold::Copied => {}
            Cold::Wanted => return Lookup::Cold,
            Cold::Failed(reason) => return Lookup::Failed(reason),
        }
        if verify(self.log.shape().seed, start, &prefix, &out[before..]) {
            Lookup::Found
        } else {
            out.truncate(before);
            Lookup::None
        }
    }

    fn bytes_at(&mut self, range: std::ops::Range<u64>, out: &mut Vec<u8>) -> Cold {
        let len = usize::try_from(range.end - range.start).expect("a record");
        if let Some(bytes) = self.log.tail_bytes(range.start, len) {
            out.extend_from_slice(bytes);
            return Cold::Copied;
        }
        self.cold.written(self.log.written());
        self.cold.copy(range, out)
    }
}

/// Whether a record's properties are wanted; what asking costs is added up.
fn wants<'a>(filter: &MessageFilter, record: impl FnOnce() -> &'a [u8], cost: &mut usize) -> bool {
    if !filter.reads_properties() {
        return true;
    }
    let properties = record::properties(record()).unwrap_or_default();
    let (wants, costs) = filter.wants(properties);
    *cost += costs;
    wants
}

impl Answer {
    fn outside(status: PullStatus, next_begin: u64, min: u64, max: u64) -> Answer {
        Answer { status, next_begin, min, max }
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewMessage;
    use super::super::testing::{QUEUE, complete, message, shard, start_writes};
    use super::*;
    use crate::filter::TagFilter;

    /// What a turn's answers refer to stays until its end, though its last block is padded meanwhile.
    #[test]
    fn what_an_answer_refers_to_outlives_the_padding_of_the_tail() {
        let mut shard = shard();
        let body = [7; 1000];
        let send = |shard: &mut Shard| {
            let sent = shard.append_message(1, &NewMessage { body: &body, ..message() }, None);
            sent.expect("there is room");
        };
        let settle = |shard: &mut Shard| {
            complete(shard);
            while shard.next_confirmed().is_some() {}
            shard.turn_ended();
        };
        while shard.log().tail_floor() < 1 << 20 {
            (0..1000).for_each(|_| send(&mut shard));
            settle(&mut shard);
        }

        let mut oldest = 0;
        let mut replies = Replies::default();
        for _ in 0..1000 {
            send(&mut shard);
            // The oldest message that the tail's memory has.
            loop {
                let request = PullRequest {
                    queue: QUEUE,
                    from: oldest,
                    count_max: 1,
                    bytes_max: 1,
                    filter: &MessageFilter::Tags(TagFilter::All),
                    scanned: Scanned::default(),
                };
                match shard.pull(&request, &mut replies) {
                    Pulled::Cold(..) => oldest += 1,
                    pulled => break assert!(matches!(pulled, Pulled::Answered(_)), "{pulled:?}"),
                }
            }
            let writes = start_writes(&mut shard);
            for piece in &replies.pieces {
                let record = shard.piece(piece.payload, piece.size_bytes);
                assert_eq!(record::queue_offset(record), Some(oldest as i64));
            }
            assert_eq!(replies.pieces.len(), 1);
            for write in writes {
                shard.log_mut().write_completed(&write.range, Ok(()));
            }
            settle(&mut shard);
        }
    }
}
