//! The ConsumeQueues of a shard: for each queue, where its messages lie in the log.
//! Owns: recent entries in memory, older ones in runs on disk; the next queue offset of each queue.
//! Lives on: every shard
//! Kind: machine
//! Invariants:
//!   a queue's entries are [min, max), those from `first` on in memory; numbers below `next` were given
//!   entries leave memory only when a run on disk holds them
//!   derived from the log: it can be thrown away and rebuilt, and is never believed over the log

mod run;
mod runs;
mod slots;

use std::collections::VecDeque;
use std::ops::Range;

pub use run::{ENTRIES_PER_PAGE, EncodedRun, RunDraft, RunHead, RunQueue, RunTimers, read_page};
use runs::Runs;
pub use runs::{Place, Run};
use slots::Slots;

use crate::limits::QUEUE_CHUNK_ENTRIES;

/// A queue of a topic's incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct QueueKey {
    /// The topic's incarnation.
    pub topic: u32,
    /// RocketMQ's queue id.
    pub queue: u32,
}

/// Where one message lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueEntry {
    /// Log offset of the RocketMQ record.
    pub payload: u64,
    /// Bytes of the RocketMQ record. 0: the message is gone (damaged).
    pub size_bytes: u32,
    /// Java's hash of the tag, 0 without one.
    pub tag: i32,
    /// The store timestamp, ms: searches by time need not read the log.
    pub stored_ms: u64,
}

/// One queue. Two cache lines: with many queues each message finds its own one cold.
#[derive(Debug)]
#[repr(align(64))]
pub struct ConsumeQueue {
    key: QueueKey,
    /// The oldest queue offset that is kept, here or in a run.
    min: u64,
    next: u64,
    /// Queue offset of the first entry in memory; `max` when there is none.
    first: u64,
    len: u64,
    /// The first queue offset that no run holds.
    unsealed: u64,
    /// It is in the list of queues with entries that no run holds.
    is_listed: bool,
    /// Whole chunks before the newest one.
    older: VecDeque<Vec<QueueEntry>>,
    /// The chunk that grows.
    newest: Vec<QueueEntry>,
    /// Entries at the start of the first chunk that do not count any more.
    skipped: usize,
}

const _: () = assert!(size_of::<ConsumeQueue>() == 128);

impl ConsumeQueue {
    fn new(key: QueueKey) -> ConsumeQueue {
        ConsumeQueue {
            key,
            min: 0,
            next: 0,
            first: 0,
            len: 0,
            unsealed: 0,
            is_listed: false,
            older: VecDeque::new(),
            newest: Vec::new(),
            skipped: 0,
        }
    }

    fn chunk(&self, index: usize) -> &Vec<QueueEntry> {
        self.older.get(index).unwrap_or(&self.newest)
    }

    /// Asks for the memory that its next entry goes to.
    fn prefetch_end(&self) {
        if let Some(last) = self.newest.last() {
            runtime::cache::prefetch(last);
        }
    }

    /// The queue offset behind the newest confirmed message.
    pub fn max(&self) -> u64 {
        self.first + self.len
    }

    /// The queue offset that the next message gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The entry of a queue offset, if it is in memory.
    pub fn entry(&self, queue_offset: u64) -> Option<QueueEntry> {
        let index = queue_offset.checked_sub(self.first)?;
        if index >= self.len {
            return None;
        }
        let index = usize::try_from(index).expect("fits memory") + self.skipped;
        Some(self.chunk(index / QUEUE_CHUNK_ENTRIES)[index % QUEUE_CHUNK_ENTRIES])
    }

    fn push(&mut self, entry: QueueEntry) {
        if self.newest.len() == QUEUE_CHUNK_ENTRIES {
            // A queue's first chunk grows with it; a busy queue's next ones are whole at once.
            let next = Vec::with_capacity(QUEUE_CHUNK_ENTRIES);
            self.older.push_back(std::mem::replace(&mut self.newest, next));
        }
        self.newest.push(entry);
        self.len += 1;
    }

    /// The next entry is that of this queue offset; none is in memory any more.
    fn jump(&mut self, queue_offset: u64) {
        if self.min == self.max() {
            self.min = queue_offset;
        }
        self.evict(u64::MAX);
        assert!(self.len == 0 && queue_offset >= self.first);
        self.first = queue_offset;
        self.unsealed = queue_offset;
        self.next = self.next.max(queue_offset);
    }

    /// The first unsealed queue offset whose record does not lie below a log offset.
    fn unsealed_end(&self, to: u64) -> u64 {
        let (mut low, mut high) = (self.unsealed, self.max());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle).expect("unsealed entries are in memory").payload < to {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Appends the entries of a range that is in memory.
    fn copy(&self, range: Range<u64>, out: &mut Vec<QueueEntry>) {
        let mut at = (range.start - self.first) as usize + self.skipped;
        let end = (range.end - self.first) as usize + self.skipped;
        while at < end {
            let chunk = self.chunk(at / QUEUE_CHUNK_ENTRIES);
            let from = at % QUEUE_CHUNK_ENTRIES;
            let to = chunk.len().min(from + end - at);
            out.extend_from_slice(&chunk[from..to]);
            at += to - from;
        }
    }

    /// Frees whole chunks of entries that a run holds and whose records lie below a log offset.
    fn evict(&mut self, below: u64) {
        let is_old = |chunk: &Vec<QueueEntry>| chunk.last().is_some_and(|it| it.payload < below);
        if self.unsealed == self.max() && is_old(&self.newest) {
            self.first = self.max();
            self.len = 0;
            self.skipped = 0;
            self.older = VecDeque::new();
            self.newest = Vec::new();
            return;
        }
        while self.first + self.first_chunk_entries() <= self.unsealed
            && self.older.front().is_some_and(is_old)
        {
            self.skip(self.first_chunk_entries());
        }
    }

    fn first_chunk_entries(&self) -> u64 {
        (QUEUE_CHUNK_ENTRIES - self.skipped) as u64
    }

    /// Forgets entries whose records lie below a log offset, because the log begins there now.
    fn expire(&mut self, start: u64) {
        self.evict(start);
        while self.len > 0 && self.entry(self.first).is_some_and(|entry| entry.payload < start) {
            self.skip(1);
        }
    }

    /// Forgets entries of the first chunk.
    fn skip(&mut self, count: u64) {
        self.first += count;
        self.len -= count;
        self.skipped += count as usize;
        if self.skipped == QUEUE_CHUNK_ENTRIES {
            if self.older.pop_front().is_none() {
                self.newest.clear();
            }
            self.skipped = 0;
        }
    }
}

/// All queues of a shard. See the module's first lines.
#[derive(Debug, Default)]
pub struct ConsumeQueues {
    slots: Slots,
    queues: Vec<ConsumeQueue>,
    /// Slots that no queue has any more.
    free: Vec<u32>,
    runs: Runs,
    /// Queues with entries that no run holds.
    listed: Vec<u32>,
    unsealed_entries: usize,
    /// When the first of them was stored, ms; not later.
    unsealed_stored_ms: u64,
}

/// A queue's place in memory, for as long as the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct QueueSlot(u32);

/// Where entries of a queue are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entries {
    /// They were appended to the caller's.
    Copied,
    /// In a run: these of its entries.
    InRun(Place),
    /// Nowhere: neither in memory nor in a run.
    Nowhere,
}

impl ConsumeQueues {
    /// The slot of a queue, made at its first use.
    pub fn slot(&mut self, key: QueueKey) -> QueueSlot {
        if let Some(slot) = self.slots.get(key) {
            return QueueSlot(slot);
        }
        let next = u32::try_from(self.queues.len()).expect("topics and queues are bounded");
        let slot = self.free.pop().unwrap_or(next);
        if slot == next {
            self.queues.push(ConsumeQueue::new(key));
        } else {
            self.queues[slot as usize] = ConsumeQueue::new(key);
        }
        self.slots.insert(key, slot);
        QueueSlot(slot)
    }

    /// A message for this queue is about to be appended: asks for the queue's memory.
    pub fn prefetch(&self, key: QueueKey) {
        if let Some(slot) = self.slots.get(key) {
            runtime::cache::prefetch(&self.queues[slot as usize]);
        }
    }

    /// A message is about to arrive here: asks for the queue's memory.
    pub fn prefetch_slot(&self, slot: QueueSlot) {
        runtime::cache::prefetch(&self.queues[slot.0 as usize]);
    }

    /// A message is about to arrive here, and the queue itself is in the caches: asks for the memory that
    /// its entry goes to.
    pub fn prefetch_end(&self, slot: QueueSlot) {
        self.queues[slot.0 as usize].prefetch_end();
    }

    /// Topics that have queues here, by incarnation.
    pub fn topics(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.topics()
    }

    /// A topic is no more: its queues are forgotten. Entries in runs stay there until their segments go.
    ///
    /// # Panics
    /// When an entry is in no run.
    pub fn forget_topic(&mut self, topic: u32) {
        for slot in self.slots.remove_topic(topic) {
            let queue = &mut self.queues[slot as usize];
            assert!(queue.unsealed == queue.max());
            assert!(!queue.is_listed);
            *queue = ConsumeQueue::new(queue.key);
            self.free.push(slot);
        }
    }

    /// A queue that was used before.
    pub fn find(&self, key: QueueKey) -> Option<&ConsumeQueue> {
        self.slots.get(key).map(|slot| &self.queues[slot as usize])
    }

    /// The queue of a slot.
    pub fn queue(&self, slot: QueueSlot) -> &ConsumeQueue {
        &self.queues[slot.0 as usize]
    }

    /// A queue's oldest kept queue offset, and the one behind its newest confirmed message.
    pub fn bounds(&self, key: QueueKey) -> Option<(u64, u64)> {
        let queue = self.find(key)?;
        Some((queue.min, queue.max()))
    }

    /// A log offset at or below the message of a queue offset, no further from it than a run is long;
    /// `None`: it is not kept.
    pub fn position_below(&self, key: QueueKey, queue_offset: u64) -> Option<u64> {
        let in_memory = self.find(key)?.entry(queue_offset).map(|entry| entry.payload);
        in_memory.or_else(|| Some(self.runs.place(key, queue_offset, 1)?.run.start))
    }

    /// Gives the next queue offset of a queue to a message that is being appended.
    pub fn assign(&mut self, slot: QueueSlot) -> u64 {
        let queue = &mut self.queues[slot.0 as usize];
        queue.next += 1;
        queue.next - 1
    }

    /// A confirmed message becomes visible at its queue offset. Numbers that are missing before it
    /// (their messages were damaged) become entries of size 0.
    ///
    /// # Panics
    /// When the queue offset was visible before.
    pub fn arrive(&mut self, slot: QueueSlot, queue_offset: u64, entry: QueueEntry) {
        let queue = &mut self.queues[slot.0 as usize];
        assert!(queue_offset >= queue.max());
        if queue.len == 0 && queue.max() == 0 {
            queue.jump(queue_offset);
        }
        while queue.max() < queue_offset {
            queue.push(QueueEntry { size_bytes: 0, tag: 0, ..entry });
            self.unsealed_entries += 1;
        }
        queue.push(entry);
        if self.unsealed_entries == 0 {
            self.unsealed_stored_ms = entry.stored_ms;
        }
        self.unsealed_entries += 1;
        queue.next = queue.next.max(queue_offset + 1);
        assert!(queue.max() <= queue.next);
        if !queue.is_listed {
            queue.is_listed = true;
            self.listed.push(slot.0);
        }
    }

    /// Appends the entries from a queue offset on that lie together, as many as `count_max`, or says
    /// where they are.
    pub fn entries(
        &self,
        key: QueueKey,
        from: u64,
        count_max: usize,
        out: &mut Vec<QueueEntry>,
    ) -> Entries {
        let Some(queue) = self.find(key) else { return Entries::Nowhere };
        if from >= queue.first {
            let end = queue.max().min(from.saturating_add(count_max as u64));
            if from >= end {
                return Entries::Nowhere;
            }
            queue.copy(from..end, out);
            return Entries::Copied;
        }
        match self.runs.place(key, from, count_max) {
            Some(place) => Entries::InRun(place),
            None => Entries::Nowhere,
        }
    }

    /// When the message of a queue offset was stored, ms. Of one that only a run holds the oldest time
    /// in that run, so that nothing has to be read; `None`: it is not kept.
    pub fn stored_ms_about(&self, key: QueueKey, queue_offset: u64) -> Option<u64> {
        if let Some(entry) = self.find(key)?.entry(queue_offset) {
            return Some(entry.stored_ms);
        }
        let place = self.runs.place(key, queue_offset, 1)?;
        self.runs.iter().find(|run| run.range == place.run).map(|run| run.stored_ms.0)
    }

    /// When the oldest message that is kept was stored, ms, to within a slice of the log; `None`: none is.
    pub fn oldest_stored_ms(&self) -> Option<u64> {
        let mut in_runs = self.runs.iter().filter(|run| run.stored_ms != (0, 0));
        let in_memory = (self.unsealed_entries > 0).then_some(self.unsealed_stored_ms);
        in_runs.next().map(|run| run.stored_ms.0).or(in_memory)
    }

    // ---- runs -----------------------------------------------------------------------------------

    /// Entries that no run holds.
    pub fn unsealed_entries(&self) -> usize {
        self.unsealed_entries
    }

    /// Takes the entries of a slice of the log for a run. They stay in memory, too; what was taken is
    /// not taken again.
    pub fn cut(&mut self, range: Range<u64>) -> RunDraft {
        let mut draft = RunDraft::new(range.clone());
        for slot in std::mem::take(&mut self.listed) {
            let queue = &mut self.queues[slot as usize];
            let end = queue.unsealed_end(range.end);
            if end > queue.unsealed {
                draft.add(queue.key, queue.unsealed, |out| queue.copy(queue.unsealed..end, out));
                self.unsealed_entries -= (end - queue.unsealed) as usize;
                queue.unsealed = end;
            }
            queue.is_listed = end < queue.max();
            if queue.is_listed {
                self.listed.push(slot);
            }
        }
        draft
    }

    /// A run is on disk: behind all others, or in the place of the one with the same range.
    ///
    /// # Panics
    /// When it is neither.
    pub fn add_run(&mut self, head: &RunHead) -> u64 {
        self.runs.add(head)
    }

    /// A run found on disk when the shard is opened: its queues go on behind it.
    pub fn found_run(&mut self, head: &RunHead) -> u64 {
        for run in &head.queues {
            let slot = self.slot(run.key);
            let queue = &mut self.queues[slot.0 as usize];
            let min = if queue.min == queue.max() { run.first } else { queue.min };
            queue.jump(run.first + run.count);
            queue.min = min;
        }
        self.runs.add(head)
    }

    /// A queue goes on at a queue offset at least (a snapshot says so).
    pub fn restore(&mut self, key: QueueKey, next: u64) {
        let held = self.in_runs_below();
        let slot = self.slot(key);
        let queue = &mut self.queues[slot.0 as usize];
        if queue.newest.last().is_some_and(|it| it.payload >= held) {
            queue.next = queue.next.max(next); // only memory has its entries
        } else {
            queue.jump(next);
        }
    }

    /// Queue offsets below this one were given, and their messages are gone: they become entries of size 0, as if
    /// they had been at this log offset, or behind those in memory, and stored at this time.
    ///
    /// # Panics
    /// When one of them is visible.
    pub fn leave_gap(&mut self, key: QueueKey, below: u64, payload: u64, stored_ms: u64) {
        let slot = self.slot(key);
        let last = self.queue(slot).newest.last();
        let payload = last.map_or(payload, |last| payload.max(last.payload));
        self.arrive(slot, below - 1, QueueEntry { payload, size_bytes: 0, tag: 0, stored_ms });
    }

    /// Queue offsets below this one were given, though their messages may be gone: they are not given again.
    pub fn numbers_given(&mut self, key: QueueKey, below: u64) {
        let slot = self.slot(key);
        let queue = &mut self.queues[slot.0 as usize];
        queue.next = queue.next.max(below);
    }

    /// The log offset below which runs on disk hold all entries.
    pub fn in_runs_below(&self) -> u64 {
        self.runs.iter().next_back().map_or(0, |run| run.range.end)
    }

    /// Frees entries that runs hold and whose records lie below `floor`.
    pub fn evict(&mut self, floor: u64) {
        // What was cut and is not written yet is in no run.
        let floor = floor.min(self.in_runs_below());
        while let Some(keys) = self.runs.next_to_evict(floor) {
            for key in keys {
                if let Some(slot) = self.slots.get(key) {
                    self.queues[slot as usize].evict(floor);
                }
            }
        }
    }

    /// The runs, oldest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    /// Forgets the runs of the log below `start`, which is gone, and entries in memory with them.
    pub fn expire(&mut self, start: u64) {
        for key in self.runs.expire(start) {
            if let Some(slot) = self.slots.get(key) {
                let queue = &mut self.queues[slot as usize];
                queue.expire(start);
                queue.min = self.runs.oldest(key).unwrap_or(queue.first);
            }
        }
    }

    /// Addresses of runs that are of no use any more, for the driver to close: made again, they have others,
    /// which are not in the log's order.
    pub fn take_expired_runs(&mut self) -> Vec<u64> {
        self.runs.take_expired()
    }

    /// Number of queues in use.
    pub fn len(&self) -> usize {
        self.queues.len() - self.free.len()
    }

    /// Whether no queue was ever used.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{FileIdentity, PAGE_BYTES};
    use proptest::prelude::*;

    const KEY: QueueKey = QueueKey { topic: 1, queue: 0 };
    const IDENTITY: FileIdentity = FileIdentity { store_id: 1, shard: 0, seed: 3 };

    fn entry(number: u64) -> QueueEntry {
        QueueEntry { payload: number * 8, size_bytes: 100, tag: number as i32, stored_ms: number }
    }

    fn memory(queues: &ConsumeQueues, from: u64, count: usize) -> Option<Vec<QueueEntry>> {
        let mut out = Vec::new();
        let found = queues.entries(KEY, from, count, &mut out);
        (found == Entries::Copied).then_some(out)
    }

    #[test]
    fn numbers_are_given_before_messages_are_visible() {
        let mut queues = ConsumeQueues::default();
        let slot = queues.slot(KEY);
        assert_eq!(queues.slot(KEY), slot);
        assert_eq!((queues.assign(slot), queues.assign(slot)), (0, 1));
        assert_eq!(queues.bounds(KEY), Some((0, 0)));
        queues.arrive(slot, 0, entry(0));
        assert_eq!(queues.bounds(KEY), Some((0, 1)));
        assert_eq!(queues.queue(slot).next(), 2);
        assert_eq!(queues.bounds(QueueKey { topic: 2, queue: 0 }), None);
    }

    #[test]
    fn damaged_messages_leave_empty_entries() {
        let mut queues = ConsumeQueues::default();
        let slot = queues.slot(KEY);
        queues.arrive(slot, 5, entry(5));
        queues.arrive(slot, 8, entry(8));
        assert_eq!(queues.bounds(KEY), Some((5, 9)));
        assert_eq!(queues.queue(slot).next(), 9);
        assert_eq!(queues.queue(slot).entry(6).map(|entry| entry.size_bytes), Some(0));
        assert_eq!(queues.queue(slot).entry(4), None);
    }

    /// A full disk takes no runs while the log goes on into the space that it has.
    #[test]
    fn what_was_cut_stays_in_memory_until_its_run_is_written() {
        let mut queues = ConsumeQueues::default();
        let slot = queues.slot(KEY);
        (0..1000).for_each(|number| queues.arrive(slot, number, entry(number)));
        let first = queues.cut(0..500 * 8).encode(&IDENTITY, Vec::new());
        queues.add_run(&first.head);
        let second = queues.cut(500 * 8..1000 * 8).encode(&IDENTITY, Vec::new());
        queues.evict(1000 * 8);
        assert_eq!(memory(&queues, 500, 500), Some((500..1000).map(entry).collect()));
        queues.add_run(&second.head);
        queues.evict(1000 * 8);
        assert_eq!(memory(&queues, 999, 1), None, "in a run");
    }

    #[test]
    fn entries_leave_memory_when_a_run_holds_them_and_the_tail_has_gone_on() {
        let mut queues = ConsumeQueues::default();
        let slot = queues.slot(KEY);
        for number in 0..1000 {
            queues.arrive(slot, number, entry(number));
        }
        let draft = queues.cut(0..600 * 8);
        assert_eq!((draft.entries(), queues.unsealed_entries()), (600, 400));
        assert_eq!(queues.bounds(KEY), Some((0, 1000)), "the run is on its way");
        let run = draft.encode(&IDENTITY, Vec::new());
        queues.add_run(&run.head);
        queues.evict(599 * 8);
        assert_eq!(memory(&queues, 0, 1000).map(|all| all.len()), Some(1000), "still in the tail");
        queues.evict(600 * 8);
        assert_eq!(memory(&queues, 599, 10), Some((599..609).map(entry).collect()));
        let first = QUEUE_CHUNK_ENTRIES as u64;
        let mut out = Vec::new();
        let Entries::InRun(place) = queues.entries(KEY, first - 10, 50, &mut out) else {
            panic!("evicted")
        };
        let page = place.addresses.start as usize..place.addresses.end as usize;
        let wanted = place.entries.start as usize..place.entries.end as usize;
        assert!(page.len() == PAGE_BYTES || wanted.end > 170, "{place:?}");
        let bytes = &run.bytes[page][..PAGE_BYTES];
        let here = wanted.start..wanted.end.min(170);
        read_page(IDENTITY.seed, 0, place.page, bytes, here.clone(), &mut out).expect("whole");
        let expected = first - 10..first - 10 + here.len() as u64;
        assert_eq!(out, expected.map(entry).collect::<Vec<_>>());
        let rest = queues.cut(600 * 8..1000 * 8).encode(&IDENTITY, Vec::new());
        queues.add_run(&rest.head);
        queues.evict(u64::MAX);
        assert_eq!(memory(&queues, 999, 1), None);
        assert_eq!((queues.bounds(KEY), queues.unsealed_entries()), (Some((0, 1000)), 0));
        queues.expire(600 * 8);
        assert_eq!(queues.bounds(KEY), Some((600, 1000)));
        assert_eq!(queues.entries(KEY, 5, 1, &mut out), Entries::Nowhere);
        queues.expire(1000 * 8);
        assert_eq!(queues.bounds(KEY), Some((1000, 1000)), "the queue goes on where it was");
        assert_eq!(queues.assign(slot), 1000);
    }

    #[test]
    fn what_memory_still_has_of_a_segment_that_is_gone_does_not_count() {
        let mut queues = ConsumeQueues::default();
        let slot = queues.slot(KEY);
        for number in 0..1000 {
            queues.arrive(slot, number, entry(number));
        }
        let run = queues.cut(0..700 * 8).encode(&IDENTITY, Vec::new());
        queues.add_run(&run.head);
        queues.expire(700 * 8);
        assert_eq!(queues.bounds(KEY), Some((700, 1000)));
        assert_eq!(memory(&queues, 700, 500), Some((700..1000).map(entry).collect()));
        queues.arrive(slot, 1000, entry(1000));
        let rest = queues.cut(700 * 8..1001 * 8).encode(&IDENTITY, Vec::new());
        queues.add_run(&rest.head);
        queues.evict(1000 * 8);
        assert_eq!(memory(&queues, 1000, 1), Some(vec![entry(1000)]));
        assert_eq!(queues.bounds(KEY), Some((700, 1001)));
    }

    #[test]
    fn a_queue_goes_on_behind_what_was_found_on_disk() {
        let mut made = ConsumeQueues::default();
        let slot = made.slot(KEY);
        for number in 0..10 {
            made.arrive(slot, number, entry(number));
        }
        let run = made.cut(0..80).encode(&IDENTITY, Vec::new());
        let mut queues = ConsumeQueues::default();
        queues.found_run(&run.head);
        assert_eq!(queues.bounds(KEY), Some((0, 10)));
        queues.restore(KEY, 15);
        assert_eq!(queues.bounds(KEY), Some((0, 15)));
        let slot = queues.slot(KEY);
        queues.arrive(slot, 17, entry(17));
        assert_eq!(memory(&queues, 16, 5).map(|all| all.len()), Some(2), "16 was damaged");
        assert_eq!(queues.assign(slot), 18);
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(
            steps in prop::collection::vec((1u64..900, any::<bool>()), 1..30),
            probe in any::<prop::sample::Index>(),
        ) {
            let mut queues = ConsumeQueues::default();
            let slot = queues.slot(KEY);
            let (mut count, mut cut) = (0, 0);
            let mut sealed = Vec::new();
            for (more, seal) in steps {
                for number in count..count + more {
                    queues.arrive(slot, number, entry(number));
                }
                count += more;
                if seal {
                    let run = queues.cut(cut * 8..count * 8).encode(&IDENTITY, Vec::new());
                    queues.add_run(&run.head);
                    queues.evict(count * 8 - more * 4);
                    sealed.push((cut, run));
                    cut = count;
                }
            }
            prop_assert_eq!(queues.bounds(KEY), Some((0, count)));
            let at = probe.index(count as usize) as u64;
            let mut out = Vec::new();
            match queues.entries(KEY, at, 1, &mut out) {
                Entries::Copied => {}
                Entries::InRun(place) => {
                    let (_, run) = sealed.iter().rfind(|(from, _)| *from <= at).expect("sealed");
                    prop_assert_eq!(&place.run, &run.head.range);
                    let file = run.head.pages_start as usize + place.page as usize * PAGE_BYTES;
                    let bytes = &run.bytes[file..file + PAGE_BYTES];
                    let wanted = place.entries.start as usize..place.entries.end as usize;
                    read_page(3, place.run.start, place.page, bytes, wanted, &mut out).expect("whole");
                }
                Entries::Nowhere => prop_assert!(false, "{} is nowhere", at),
            }
            prop_assert_eq!(out, [entry(at)]);
        }
    }
}
