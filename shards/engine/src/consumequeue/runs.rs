//! The runs of a shard: their directories in memory, their entries on disk.
//!
//! Runs have addresses of their own, so that one cache of blocks serves all of them: each begins on a
//! multiple of [`READ_BLOCK_BYTES`], and no address is used twice.

use std::collections::VecDeque;
use std::ops::Range;

use super::QueueKey;
use super::run::{ENTRIES_PER_PAGE, RunHead, RunQueue, find_queue};
use crate::limits::READ_BLOCK_BYTES;
use crate::page::PAGE_BYTES;

/// A run on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The slice of the log.
    pub range: Range<u64>,
    /// Store timestamps of its oldest and newest message, ms; (0, 0) without any.
    pub stored_ms: (u64, u64),
    /// Address of its first byte.
    pub address: u64,
    pages_start: u64,
    queues: Vec<RunQueue>,
    is_evicted: bool,
}

/// Entries in a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The run's slice of the log.
    pub run: Range<u64>,
    /// Addresses of the whole pages that hold them.
    pub addresses: Range<u64>,
    /// Number of the first of these pages in its run.
    pub page: u64,
    /// Which entries, counted from the first of these pages on.
    pub entries: Range<u64>,
}

/// All runs, in the log's order. See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: VecDeque<Run>,
    next_address: u64,
    /// Addresses of runs that are gone.
    expired: Vec<u64>,
}

impl Run {
    fn find(&self, key: QueueKey) -> Option<&RunQueue> {
        find_queue(&self.queues, key)
    }
}

impl Runs {
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    pub(super) fn add(&mut self, head: &RunHead) -> u64 {
        let address = self.next_address;
        self.next_address += head.file_bytes().next_multiple_of(READ_BLOCK_BYTES as u64);
        let mut run = Run {
            range: head.range.clone(),
            stored_ms: head.stored_ms,
            address,
            pages_start: head.pages_start,
            queues: head.queues.clone(),
            is_evicted: false,
        };
        if let Some(old) = self.runs.iter_mut().find(|old| old.range == head.range) {
            run.is_evicted = old.is_evicted;
            self.expired.push(old.address);
            *old = run;
            return address;
        }
        assert!(self.runs.back().is_none_or(|last| last.range.end == head.range.start));
        self.runs.push_back(run);
        address
    }

    /// The oldest queue offset of a queue in any run.
    pub(super) fn oldest(&self, key: QueueKey) -> Option<u64> {
        self.runs.iter().find_map(|run| Some(run.find(key)?.first))
    }

    pub(super) fn place(&self, key: QueueKey, from: u64, count_max: usize) -> Option<Place> {
        let (run, queue) = self.runs.iter().rev().find_map(|run| {
            let queue = run.find(key).filter(|queue| queue.first <= from)?;
            Some((run, queue))
        })?;
        let end = (queue.first + queue.count).min(from.saturating_add(count_max as u64));
        if from >= end {
            return None;
        }
        let (start, end) = (queue.start + from - queue.first, queue.start + end - queue.first);
        let (page, page_end) = (start / ENTRIES_PER_PAGE, end.div_ceil(ENTRIES_PER_PAGE));
        let address = |page: u64| run.address + run.pages_start + page * PAGE_BYTES as u64;
        let skipped = page * ENTRIES_PER_PAGE;
        Some(Place {
            run: run.range.clone(),
            addresses: address(page)..address(page_end),
            page,
            entries: start - skipped..end - skipped,
        })
    }

    /// The keys of the next run whose records all lie below `floor` and that was not given yet.
    pub(super) fn next_to_evict(&mut self, floor: u64) -> Option<Vec<QueueKey>> {
        // Evicted ones are at the front, but for those that were made again.
        let run = self.runs.iter_mut().rev().take_while(|run| !run.is_evicted).last()?;
        if run.range.end > floor {
            return None;
        }
        run.is_evicted = true;
        Some(run.queues.iter().map(|queue| queue.key).collect())
    }

    /// Addresses of runs that were forgotten, or made again at another one.
    pub(super) fn take_expired(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.expired)
    }

    /// Forgets runs below `start`; the keys in them, each once.
    pub(super) fn expire(&mut self, start: u64) -> Vec<QueueKey> {
        let mut keys = Vec::new();
        while let Some(run) = self.runs.pop_front_if(|run| run.range.end <= start) {
            self.expired.push(run.address);
            keys.extend(run.queues.iter().map(|queue| queue.key));
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}
