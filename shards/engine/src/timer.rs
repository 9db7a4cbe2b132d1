//! Timers: messages that wait in rmq_sys_wheel_timer for a time of their own (RocketMQ's
//! TimerMessageStore; docs/decisions/0010-timers.md).
//! Owns: which timers are settled, those in memory, directories of those in runs, recalls.
//! Lives on: every shard
//! Kind: machine
//! Invariants:
//!   timers fire in the order of their keys (due, position), those aside that the disk did not give
//!   every timer that is not settled is in `fresh`, `near` or `aside`, or in a run at its barrier or
//!     behind it
//!   what is in `aside` is held in the cursors
//!   `fresh` has what no run on disk holds; `unsealed` has what no run was cut for, fired or not

mod cursors;
mod recalls;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::ops::Range;

pub use cursors::Cursors;
pub use recalls::{Recalls, read_recalled, write_recalled};

use crate::consumequeue::{QueueEntry, QueueKey};
use crate::limits::{
    DELAY_RETRY_MS, TIMER_AHEAD_MS, TIMERS_ASIDE_MAX, TIMERS_NEAR_MAX, UNREADABLE_RETRY_MS,
    UNREADABLE_TRIES,
};
use crate::page::PAGE_BYTES;

/// The incarnation of rmq_sys_wheel_timer: it exists once per shard, always.
pub const TIMER_TOPIC_INCARNATION: u32 = 4;

/// The queue in which a shard's timers wait.
pub const TIMER_QUEUE: QueueKey = QueueKey { topic: TIMER_TOPIC_INCARNATION, queue: 0 };

/// What timers fire in the order of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimerKey {
    /// Wall clock, ms.
    pub due_ms: u64,
    /// Log offset of the RocketMQ record.
    pub payload: u64,
}

impl TimerKey {
    /// Nothing is before it.
    pub const MIN: TimerKey = TimerKey { due_ms: 0, payload: 0 };
    /// Nothing is behind it.
    pub const MAX: TimerKey = TimerKey { due_ms: u64::MAX, payload: u64::MAX };

    /// The first key behind this one.
    pub fn next(self) -> TimerKey {
        TimerKey { payload: self.payload + 1, ..self }
    }
}

/// A message that waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timer {
    /// When, and where it is.
    pub key: TimerKey,
    /// Bytes of the RocketMQ record.
    pub size_bytes: u32,
    /// It was carried out of a segment that went.
    pub is_copy: bool,
}

impl Timer {
    /// As an entry of a run: its due time is in the place of the store timestamp.
    pub fn entry(&self) -> QueueEntry {
        QueueEntry {
            payload: self.key.payload,
            size_bytes: self.size_bytes,
            tag: i32::from(self.is_copy),
            stored_ms: self.key.due_ms,
        }
    }

    /// Of such an entry.
    pub fn of(entry: &QueueEntry) -> Timer {
        Timer {
            key: TimerKey { due_ms: entry.stored_ms, payload: entry.payload },
            size_bytes: entry.size_bytes,
            is_copy: entry.tag != 0,
        }
    }
}

/// A run's timers, as its head tells of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimerRun {
    /// The slice of the log.
    pub range: Range<u64>,
    /// How many.
    pub count: u64,
    /// For each page its first key.
    pub firsts: Vec<TimerKey>,
    /// The last of all.
    pub last: TimerKey,
    /// Address of the first page, which has this number in its run.
    pub address: u64,
    /// See `address`.
    pub page: u64,
}

#[derive(Debug)]
struct Known {
    run: TimerRun,
    /// The first page of which some timers may not be in memory …
    next_page: usize,
    /// … namely those from this key on.
    from: TimerKey,
}

impl Known {
    fn barrier(&self) -> Option<TimerKey> {
        let first = self.run.firsts.get(self.next_page)?;
        Some((*first).max(self.from))
    }

    /// Goes to the page of a key.
    fn seek(&mut self, from: TimerKey) {
        self.from = from;
        let firsts = &self.run.firsts;
        self.next_page = firsts.partition_point(|first| *first <= from).saturating_sub(1);
        if self.run.last < from {
            self.next_page = firsts.len();
        }
    }
}

/// A page of a run's timers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimerPage {
    /// The run's slice of the log.
    pub run: Range<u64>,
    /// Address of its first byte.
    pub address: u64,
    /// Its number in its run.
    pub page: u64,
    /// Timers in it.
    pub count: usize,
    /// The first key behind it in the run, the greatest of all keys if there is none.
    pub next: TimerKey,
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Timers {
    cursors: Cursors,
    recalls: Recalls,
    fresh: BinaryHeap<Reverse<Timer>>,
    near: BinaryHeap<Reverse<Timer>>,
    unsealed: VecDeque<Timer>,
    /// The disk did not give them: the others pass, and they are tried again …
    aside: Vec<Timer>,
    /// … at this time, ms.
    aside_until_ms: u64,
    /// Log offsets of those that were aside and are tried again.
    suspects: Vec<u64>,
    /// The timer that could not be read last, and how often in a row.
    failed: (u64, u32),
    runs: BTreeMap<u64, Known>,
    /// For each run that is not in memory to its end: its barrier, and where its slice begins.
    barriers: BTreeSet<(TimerKey, u64)>,
    log_start: u64,
    now_ms: u64,
    /// Nothing is due before: what was due could not be delivered.
    postponed_until_ms: u64,
    /// Timers of one page of a run, counted once.
    per_page: u64,
}

impl Timers {
    /// None, in runs of so many timers a page.
    pub fn new(log_start: u64, per_page: u64) -> Timers {
        Timers { log_start, per_page, ..Timers::default() }
    }

    // ---- what is settled --------------------------------------------------------------------------

    /// Which timers are settled.
    pub fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// What was called back.
    pub fn recalls(&self) -> &Recalls {
        &self.recalls
    }

    /// What was called back.
    pub fn recalls_mut(&mut self) -> &mut Recalls {
        &mut self.recalls
    }

    /// What own records said when the shard is opened.
    pub fn restore(&mut self, cursors: Cursors, recalls: Recalls) {
        self.cursors = cursors;
        self.recalls = recalls;
        let fresh = std::mem::take(&mut self.fresh).into_vec();
        self.fresh = fresh.into_iter().filter(|it| !self.is_settled(it.0.key)).collect();
        self.barriers.clear();
        let ranges: Vec<_> = self.runs.values().map(|known| known.run.range.clone()).collect();
        for range in ranges {
            self.seek(range.start, self.cursors.below_in(&range));
        }
    }

    fn is_settled(&self, key: TimerKey) -> bool {
        key.payload < self.log_start || self.cursors.is_settled(key)
    }

    /// Timers from a position on begin anew: the clock was set back.
    pub fn begin_span(&mut self, from: u64) {
        self.cursors.begin(from);
    }

    /// Everything below a key is settled.
    pub fn settled_below(&mut self, below: TimerKey) {
        self.cursors.raise(below);
        let below_ms = self.cursors.below_all().due_ms;
        self.recalls.forget_before(below_ms);
    }

    /// Everything below a key in a run is settled: it was carried.
    pub fn carried_below(&mut self, range: &Range<u64>, below: TimerKey) {
        self.cursors.raise_in(range, below);
    }

    /// The log begins at a position.
    pub fn expire(&mut self, start: u64) {
        self.log_start = start;
        while let Some(first) = self.runs.first_entry().filter(|it| it.get().run.range.end <= start)
        {
            let (run_start, known) = first.remove_entry();
            if let Some(barrier) = known.barrier() {
                self.barriers.remove(&(barrier, run_start));
            }
        }
        self.cursors.expire(start);
        self.aside.retain(|timer| timer.key.payload >= start);
    }

    /// The first run with timers that are not settled, from a position on: its slice.
    pub fn first_pending_run(&self, from: u64) -> Option<Range<u64>> {
        let runs = self.runs.range(from..).map(|(_, known)| &known.run);
        let mut pending = runs.filter(|run| self.cursors.below_in(&run.range) <= run.last);
        pending.next().map(|run| run.range.clone())
    }

    // ---- in and out of memory -----------------------------------------------------------------------

    /// A timer was appended, or found in the log when the shard is opened.
    pub fn add(&mut self, timer: Timer) {
        debug_assert!(self.unsealed.back().is_none_or(|it| it.key.payload < timer.key.payload));
        self.unsealed.push_back(timer);
        self.fresh.push(Reverse(timer));
    }

    /// Takes the timers below a log offset for a run, as its entries. They stay in memory, too.
    pub fn cut(&mut self, to: u64) -> Vec<QueueEntry> {
        let count = self.unsealed.partition_point(|timer| timer.key.payload < to);
        self.unsealed.drain(..count).map(|timer| timer.entry()).collect()
    }

    /// A run is on disk, for the first time or again: its timers that are not due soon leave memory.
    pub fn run_written(&mut self, run: TimerRun) {
        let start = run.range.start;
        if let Some(known) = self.runs.get_mut(&start) {
            let from = known.from;
            if let Some(barrier) = known.barrier() {
                self.barriers.remove(&(barrier, start));
            }
            known.run = run;
            self.seek(start, from);
            return;
        }
        let keep = TimerKey { due_ms: self.now_ms.saturating_add(TIMER_AHEAD_MS), payload: 0 };
        let fresh = std::mem::take(&mut self.fresh).into_vec();
        let (inside, outside): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|it| it.0.key.payload < run.range.end);
        self.fresh = outside.into();
        self.near.extend(inside.into_iter().filter(|it| it.0.key < keep));
        self.runs.insert(start, Known { run, next_page: 0, from: keep });
        self.seek(start, keep);
    }

    /// A run found when the shard is opened.
    pub fn run_found(&mut self, run: TimerRun) {
        let start = run.range.start;
        self.runs.insert(start, Known { run, next_page: 0, from: TimerKey::MIN });
        self.seek(start, TimerKey::MIN);
    }

    /// Gives a run that has no barrier now its barrier.
    fn seek(&mut self, start: u64, from: TimerKey) {
        let known = self.runs.get_mut(&start).expect("a run that is known");
        known.seek(from);
        if let Some(barrier) = known.barrier() {
            self.barriers.insert((barrier, start));
        }
    }

    /// Pages that are to enter memory now, the most urgent first.
    pub fn wanted_pages(&self, now_ms: u64, count_max: usize, out: &mut Vec<TimerPage>) {
        out.clear();
        let soon_ms = now_ms.saturating_add(TIMER_AHEAD_MS);
        let is_full = self.near.len() >= TIMERS_NEAR_MAX;
        // The first in memory, if it is due, fires only when nothing is before it.
        let until = match self.first() {
            _ if !is_full => TimerKey { due_ms: soon_ms, payload: u64::MAX },
            Some(first) => first.key,
            None => TimerKey::MAX,
        };
        for (barrier, start) in self.barriers.iter().take(count_max) {
            if *barrier > until {
                return;
            }
            out.push(self.page(*start, self.runs[start].next_page));
        }
    }

    /// A page of a run.
    fn page(&self, start: u64, index: usize) -> TimerPage {
        let run = &self.runs[&start].run;
        let before = index as u64 * self.per_page;
        TimerPage {
            run: run.range.clone(),
            address: run.address + (index * PAGE_BYTES) as u64,
            page: run.page + index as u64,
            count: (run.count - before).min(self.per_page) as usize,
            next: run.firsts.get(index + 1).copied().unwrap_or(TimerKey::MAX),
        }
    }

    /// The page of a run that holds the first timer which is not settled; `None`: all are.
    pub fn first_pending_page(&self, start: u64) -> Option<TimerPage> {
        let run = &self.runs.get(&start)?.run;
        let below = self.cursors.below_in(&run.range);
        let index = run.firsts.partition_point(|first| *first <= below).saturating_sub(1);
        (below <= run.last).then(|| self.page(start, index))
    }

    /// The timers of a page that [`Timers::wanted_pages`] gave.
    pub fn loaded(&mut self, page: &TimerPage, entries: &[QueueEntry]) {
        let start = page.run.start;
        let Some(known) = self.runs.get(&start) else { return };
        let from = known.from;
        for timer in entries.iter().map(Timer::of) {
            // After the clock was set back a page may hold what is aside.
            let is_aside = self.aside.contains(&timer);
            if timer.key >= from && !is_aside && !self.is_settled(timer.key) {
                self.near.push(Reverse(timer));
            }
        }
        let known = self.runs.get_mut(&start).expect("found above");
        if let Some(barrier) = known.barrier() {
            self.barriers.remove(&(barrier, start));
        }
        known.next_page += 1;
        known.from = page.next.max(from);
        if let Some(barrier) = known.barrier() {
            self.barriers.insert((barrier, start));
        }
    }

    // ---- firing -------------------------------------------------------------------------------------

    fn first(&self) -> Option<Timer> {
        let tops = [self.fresh.peek(), self.near.peek()];
        tops.into_iter().flatten().map(|top| top.0).min()
    }

    /// Takes the next timer that is due, if nothing that is not in memory is before it.
    pub fn take_due(&mut self, now_ms: u64) -> Option<Timer> {
        self.now_ms = now_ms;
        loop {
            let first = self.first()?;
            let is_barred = self.barriers.first().is_some_and(|(barrier, _)| *barrier <= first.key);
            let is_settled = self.is_settled(first.key);
            if !is_settled && (is_barred || first.key.due_ms > now_ms) {
                return None;
            }
            let heap = match self.fresh.peek() {
                Some(top) if top.0 == first => &mut self.fresh,
                _ => &mut self.near,
            };
            heap.pop();
            if !is_settled {
                return Some(first);
            }
        }
    }

    /// A timer that was taken does not fire yet.
    pub fn put_back(&mut self, timer: Timer) {
        // Which heap it came from matters when its run is written: what a run holds is in `near`.
        let is_sealed = self
            .runs
            .last_key_value()
            .is_some_and(|(_, known)| timer.key.payload < known.run.range.end);
        let heap = if is_sealed { &mut self.near } else { &mut self.fresh };
        heap.push(Reverse(timer));
    }

    /// A timer that was taken cannot be read: the others pass it. `false`: too many are aside, or it is to
    /// be tried again first.
    pub fn set_aside(&mut self, timer: Timer, now_ms: u64) -> bool {
        let payload = timer.key.payload;
        let before = if self.failed.0 == payload { self.failed.1 } else { 0 };
        self.failed = (payload, before.saturating_add(1));
        let is_known = !self.aside.is_empty() || self.suspects.contains(&payload);
        if !is_known && self.failed.1 < UNREADABLE_TRIES || self.aside.len() == TIMERS_ASIDE_MAX {
            return false;
        }
        if self.aside.is_empty() {
            self.aside_until_ms = now_ms + UNREADABLE_RETRY_MS;
        }
        self.cursors.hold(payload);
        self.aside.push(timer);
        true
    }

    /// Those that were set aside a while ago are the next again.
    pub fn try_aside(&mut self, now_ms: u64) {
        if self.aside.is_empty() || self.waits_aside(now_ms) {
            return;
        }
        self.cursors.release();
        self.suspects.clear();
        for timer in std::mem::take(&mut self.aside) {
            self.suspects.push(timer.key.payload);
            self.put_back(timer);
        }
    }

    /// Whether those aside have to wait still; a clock that was set back ends it.
    fn waits_aside(&self, now_ms: u64) -> bool {
        let left_ms = self.aside_until_ms.saturating_sub(now_ms);
        (1..=UNREADABLE_RETRY_MS).contains(&left_ms)
    }

    /// Whether anything may be due, as far as is known without looking further.
    pub fn is_quiet(&self, now_ms: u64) -> bool {
        self.wake_at_ms(now_ms).is_none_or(|at_ms| at_ms > now_ms)
    }

    /// When there is something to do: a timer is due, or a page is to be read.
    pub fn wake_at_ms(&self, now_ms: u64) -> Option<u64> {
        let first = self.first().map(|timer| timer.key.due_ms);
        let barrier =
            self.barriers.first().map(|(key, _)| key.due_ms - TIMER_AHEAD_MS.min(key.due_ms));
        let is_aside = !self.aside.is_empty();
        let aside =
            is_aside.then(|| if self.waits_aside(now_ms) { self.aside_until_ms } else { now_ms });
        let at_ms = first.into_iter().chain(barrier).chain(aside).min()?;
        let is_postponed = self.is_postponed(now_ms);
        Some(if is_postponed { at_ms.max(self.postponed_until_ms) } else { at_ms })
    }

    /// Nothing that is not settled is due before this time, ms: neither in memory nor in a run.
    pub fn pending_from_ms(&self) -> u64 {
        let aside = self.aside.iter().map(|timer| timer.key.due_ms);
        let first = self.first().map(|timer| timer.key.due_ms);
        let first = aside.chain(first).min().unwrap_or(u64::MAX);
        self.barriers.first().map_or(first, |(barrier, _)| barrier.due_ms.min(first))
    }

    /// What is due cannot be delivered now: not before this time (wall clock, ms).
    pub fn postpone(&mut self, until_ms: u64) {
        self.postponed_until_ms = until_ms;
    }

    /// Whether what is due has to wait still; a clock that was set back ends it.
    pub fn is_postponed(&self, now_ms: u64) -> bool {
        let left_ms = self.postponed_until_ms.saturating_sub(now_ms);
        (1..=DELAY_RETRY_MS).contains(&left_ms)
    }

    /// Timers in memory.
    pub fn in_memory(&self) -> usize {
        self.fresh.len() + self.near.len() + self.aside.len()
    }

    /// Timers that wait: in memory exactly, in each run to within a page.
    pub fn waiting(&self) -> u64 {
        let in_run =
            |known: &Known| known.run.count.saturating_sub(known.next_page as u64 * self.per_page);
        self.in_memory() as u64 + self.runs.values().map(in_run).sum::<u64>()
    }

    /// Bytes of memory that timers take, about.
    pub fn memory_bytes(&self) -> usize {
        let timers = self.fresh.capacity() + self.near.capacity() + self.unsealed.capacity();
        let firsts: usize = self.runs.values().map(|it| it.run.firsts.capacity()).sum();
        timers * size_of::<Timer>() + firsts * size_of::<TimerKey>()
    }
}
