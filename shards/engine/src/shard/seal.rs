//! Seal: what is durable leaves memory as a slice, its queue entries and own records, for a run.
//! Kind: machine
//!
//! A slice ends where a group ends, and with its segment at the latest: runs go with their segments.

use std::collections::VecDeque;
use std::ops::Range;

use super::Shard;
use super::facts::{OwnRecord, compact};
use crate::commitlog::Kind;
use crate::consumequeue::{ConsumeQueues, EncodedRun, RunDraft, RunHead};
use crate::limits::{SEAL_ENTRIES, SEAL_INDEX_ENTRIES, SEAL_LOG_BYTES, SEAL_NOTE_BYTES};
use crate::messageindex::{IndexHead, IndexWork, MessageIndex};
use crate::page::{FileIdentity, PAGE_BYTES};
use crate::timer::{TimerKey, TimerRun, Timers};

/// When a slice is cut: as soon as one of these is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealLimits {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Queue entries.
    pub entries: usize,
    /// Bytes of own records.
    pub note_bytes: usize,
}

impl Default for SealLimits {
    fn default() -> Self {
        SealLimits { log_bytes: SEAL_LOG_BYTES, entries: SEAL_ENTRIES, note_bytes: SEAL_NOTE_BYTES }
    }
}

/// A slice of the log on its way to a run.
#[derive(Debug)]
pub struct Slice {
    run: RunDraft,
    notes: Vec<OwnRecord>,
}

impl Slice {
    /// The log offsets.
    pub fn range(&self) -> Range<u64> {
        self.run.range()
    }

    /// The content of its run. Takes a while: not on a core.
    pub fn encode(self, identity: &FileIdentity) -> EncodedRun {
        let notes = compact(self.run.range().end, &self.notes);
        self.run.encode(identity, notes)
    }
}

/// What no run holds yet.
#[derive(Debug)]
pub(super) struct Unsealed {
    limits: SealLimits,
    segment_bytes: u64,
    from: u64,
    notes: VecDeque<OwnRecord>,
    note_bytes: usize,
    is_in_flight: bool,
}

impl Unsealed {
    pub fn new(limits: SealLimits, segment_bytes: u64, from: u64) -> Unsealed {
        Unsealed {
            limits,
            segment_bytes,
            from,
            notes: VecDeque::new(),
            note_bytes: 0,
            is_in_flight: false,
        }
    }

    /// Where the next slice begins.
    pub fn from(&self) -> u64 {
        self.from
    }

    pub fn note(&mut self, end: u64, kind: Kind, topic: u32, payload: &[u8]) {
        if says_something(kind) {
            self.note_bytes += payload.len();
            self.notes.push_back(OwnRecord { end, kind, topic, payload: payload.into() });
        }
    }

    /// Cuts the next slice if one is due and none is on its way. All below `durable` is, and groups
    /// end there.
    pub fn next_slice(
        &mut self,
        durable: u64,
        queues: &mut ConsumeQueues,
        timers: &mut Timers,
        keys: &mut MessageIndex,
    ) -> Option<Slice> {
        let segment_end = (self.from + 1).next_multiple_of(self.segment_bytes);
        let to = durable.min(segment_end);
        let is_due = to == segment_end
            || to.saturating_sub(self.from) >= self.limits.log_bytes
            || queues.unsealed_entries() >= self.limits.entries
            || self.note_bytes >= self.limits.note_bytes
            || keys.recent_entries() >= SEAL_INDEX_ENTRIES;
        if !is_due || self.is_in_flight || to <= self.from {
            return None;
        }
        Some(self.cut(to, queues, timers, keys))
    }

    pub fn cut(
        &mut self,
        to: u64,
        queues: &mut ConsumeQueues,
        timers: &mut Timers,
        keys: &mut MessageIndex,
    ) -> Slice {
        let mut run = queues.cut(self.from..to);
        run.set_timers(timers.cut(to));
        keys.seal(self.from..to);
        let mut notes = Vec::new();
        while let Some(note) = self.notes.pop_front_if(|note| note.end <= to) {
            self.note_bytes -= note.payload.len();
            notes.push(note);
        }
        self.from = to;
        self.is_in_flight = true;
        Slice { run, notes }
    }

    pub fn written(&mut self) {
        self.is_in_flight = false;
    }

    /// Begins behind what runs hold.
    pub fn skip(&mut self, to: u64) {
        debug_assert!(self.notes.is_empty());
        self.from = to;
    }
}

/// Whether a start has to know what a record of this kind says.
fn says_something(kind: Kind) -> bool {
    match kind {
        Kind::Offsets
        | Kind::Catalog
        | Kind::Settled
        | Kind::Fired
        | Kind::Recalled
        | Kind::Moved => true,
        Kind::Ended | Kind::Checked => true,
        Kind::Message | Kind::Filler | Kind::Segment | Kind::End | Kind::Carried => false,
    }
}

impl Shard {
    /// The next slice to write as a run, when one is due. One at a time: the next comes after
    /// [`Shard::run_written`].
    pub fn next_slice(&mut self) -> Option<Slice> {
        let durable = self.log.durable_records();
        self.unsealed.next_slice(durable, &mut self.queues, &mut self.timers, &mut self.keys)
    }

    /// What no run holds, for some: the log has come to its end. None, if nothing of it is in a queue, or if it is
    /// damaged and may be restored.
    pub fn last_slices(&mut self) -> Vec<Slice> {
        let mut slices = Vec::new();
        let durable = self.log.durable_records();
        while !self.may_be_restored && self.queues.unsealed_entries() > 0 {
            let from = self.unsealed.from();
            let to = durable.min((from + 1).next_multiple_of(self.log.shape().segment_bytes));
            if from >= to {
                break;
            }
            let Shard { unsealed, queues, timers, keys, .. } = self;
            slices.push(unsealed.cut(to, queues, timers, keys));
        }
        slices
    }

    /// Keys in memory that nobody is writing, for index files: the log has come to its end.
    pub fn last_index_work(&self) -> Vec<IndexWork> {
        self.keys.last_work()
    }

    /// A run is durable. The address at which the driver finds its bytes for reads; `None`: it was made again while its
    /// part of the log went, and nobody wants it.
    pub fn run_written(&mut self, head: &RunHead) -> Option<u64> {
        if head.range.end == self.unsealed.from() {
            self.unsealed.written();
        }
        if head.range.end <= self.start {
            return None;
        }
        if self.damaged_run.as_ref() == Some(&head.range) {
            self.damaged_run = None;
        }
        let address = self.queues.add_run(head);
        if let Some(run) = timer_run(head, address) {
            self.timers.run_written(run);
        }
        self.evict_entries();
        Some(address)
    }

    /// A damaged run cannot be made again now: nothing is asked for until [`Shard::try_again`]. Whether this is
    /// the first time.
    pub fn run_delayed(&mut self) -> bool {
        !std::mem::replace(&mut self.is_remake_delayed, true)
    }

    /// What is to be done with index files, one piece at a time: the next comes after
    /// [`Shard::index_written`] or [`Shard::index_failed`].
    pub fn next_index_work(&mut self) -> Option<IndexWork> {
        self.keys.next_work()
    }

    /// An index file is durable. The address at which the driver finds its bytes, and those of files that
    /// it takes the place of; `None`: nobody wants it any more.
    pub fn index_written(&mut self, head: &IndexHead) -> Option<(u64, Vec<u64>)> {
        self.keys.file_written(head)
    }

    /// A piece of work on index files cannot be done, because this one is damaged: the address that it
    /// had, if it was still there.
    pub fn index_failed(&mut self, damaged: &Range<u64>) -> Option<u64> {
        self.keys.work_failed();
        self.keys.damaged(damaged, self.queues.runs().map(|run| run.range.clone()))
    }

    /// A piece of work on index files cannot be done now: nothing is asked for until
    /// [`Shard::try_again`]. Whether this is the first time since one was done.
    pub fn index_delayed(&mut self) -> bool {
        self.keys.work_delayed()
    }

    /// Some time has passed since work on index files, or on a damaged run, was delayed.
    pub fn try_again(&mut self) {
        self.keys.try_again();
        if self.is_remake_delayed {
            self.is_damage_told = false;
        }
    }

    /// Addresses of index files that are of no use any more, for the driver to close.
    pub fn take_expired_index(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.expired_index)
    }

    /// Addresses of runs that are of no use any more, for the driver to close.
    pub fn take_expired_runs(&mut self) -> Vec<u64> {
        self.queues.take_expired_runs()
    }

    /// Frees queue entries that runs hold and that have left the tail with their records.
    pub(super) fn evict_entries(&mut self) {
        self.queues.evict(self.log.tail_floor());
    }
}

/// What the machine of timers needs to know of a run; `None`: there are none in it.
pub(super) fn timer_run(head: &RunHead, address: u64) -> Option<TimerRun> {
    let timers = &head.timers;
    let key = |(due_ms, payload): (u64, u64)| TimerKey { due_ms, payload };
    (timers.count > 0).then(|| TimerRun {
        range: head.range.clone(),
        count: timers.count,
        firsts: timers.firsts.iter().copied().map(key).collect(),
        last: key(timers.last),
        address: address + head.pages_start + head.pages * PAGE_BYTES as u64,
        page: head.pages,
    })
}

#[cfg(test)]
mod tests {
    use super::super::NewMessage;
    use super::super::testing::{message, shard_in, start_writes};
    use crate::commitlog::FlushMode;

    /// What is durable is said, and cut into slices, by whole records, also where they are confirmed before they
    /// are written and a write ends inside one.
    #[test]
    fn durable_records_end_where_a_record_ends() {
        for mode in [FlushMode::Sync, FlushMode::Async, FlushMode::Memory] {
            let mut shard = shard_in(mode);
            let body = vec![b'x'; 3001];
            let mut ends = vec![0];
            let mut append = |shard: &mut super::Shard| {
                for _ in 0..100 {
                    let message = NewMessage { body: &body, ..message() };
                    ends.push(shard.append_message(1, &message, None).expect("room"));
                }
                while shard.next_confirmed().is_some() {}
                ends.contains(&shard.log().durable_records())
            };
            for round in 0..50 {
                assert!(append(&mut shard), "{mode:?} {round}");
                let mut writes = start_writes(&mut shard);
                assert!(append(&mut shard), "{mode:?} {round}");
                // Beside the first only whole blocks.
                writes.extend(start_writes(&mut shard));
                for write in writes {
                    shard.log_mut().write_completed(&write.range, Ok(()));
                }
                if let Some(_sync) = shard.log_mut().next_sync() {
                    shard.log_mut().sync_completed(Ok(()));
                }
            }
            assert!(append(&mut shard) && shard.log().durable_records() > 1 << 20, "{mode:?}");
        }
    }
}
