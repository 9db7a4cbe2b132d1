//! The index files of a shard: their directories in memory, their entries on disk.
//!
//! As runs, they have addresses of their own, so that one cache of blocks serves all of them.

use std::collections::VecDeque;
use std::ops::Range;

use super::file::{ENTRIES_PER_INDEX_PAGE, IndexHead};
use crate::limits::{INDEX_DIRECTORY_PAGES_MAX, INDEX_READ_BYTES};
use crate::page::PAGE_BYTES;

/// An index file on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// The part of the log.
    pub range: Range<u64>,
    /// Store timestamps of its oldest and newest message, ms.
    pub stored_ms: (u64, u64),
    /// Address of its first byte.
    pub address: u64,
    pages_start: u64,
    entries: u64,
    pages: u64,
    /// The hash that every `step`-th page begins with.
    directory: Vec<u32>,
    step: u64,
}

/// All index files, in the log's order. See the module's first lines.
#[derive(Debug, Default)]
pub struct IndexFiles {
    files: VecDeque<Located>,
    next_address: u64,
    directory_pages: usize,
    generation: u64,
}

impl Located {
    /// Pages, from first to last, that may hold entries with a hash.
    pub fn pages_of(&self, hash: u32) -> Option<(u64, u64)> {
        let behind = self.directory.partition_point(|first| *first <= hash) as u64;
        let last = behind.checked_sub(1)?;
        let before = self.directory.partition_point(|first| *first < hash) as u64;
        let end = (last + 1) * self.step;
        Some((before.saturating_sub(1) * self.step, end.min(self.pages) - 1))
    }

    /// Addresses of a page.
    pub fn addresses(&self, page: u64) -> Range<u64> {
        let start = self.address + self.pages_start + page * PAGE_BYTES as u64;
        start..start + PAGE_BYTES as u64
    }

    /// Entries of a page.
    pub fn entries_of(&self, page: u64) -> usize {
        let before = page * ENTRIES_PER_INDEX_PAGE as u64;
        self.entries.saturating_sub(before).min(ENTRIES_PER_INDEX_PAGE as u64) as usize
    }

    /// Keeps every other page of the directory.
    fn thin(&mut self) {
        let kept = self.directory.iter().copied().step_by(2).collect();
        self.directory = kept;
        self.step *= 2;
    }
}

impl IndexFiles {
    /// The files, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Located> {
        self.files.iter()
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Moves whenever a file is not where it was.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Pages of all directories in memory, 4 bytes each.
    pub fn directory_pages(&self) -> usize {
        self.directory_pages
    }

    /// The file at an address.
    pub fn at(&self, address: u64) -> Option<&Located> {
        self.files.iter().find(|file| file.address == address)
    }

    /// Whether one file holds all of a range.
    pub fn holds(&self, range: &Range<u64>) -> bool {
        let behind = self.files.partition_point(|file| file.range.start <= range.start);
        let file = behind.checked_sub(1).and_then(|index| self.files.get(index));
        file.is_some_and(|file| file.range.end >= range.end)
    }

    /// Whether files together hold all of a range.
    pub fn covers(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        for file in self.files.iter().filter(|file| file.range.end > range.start) {
            if file.range.start > at || at >= range.end {
                break;
            }
            at = file.range.end;
        }
        at >= range.end
    }

    /// Adds a file, which takes the place of those inside its range: its address, and theirs.
    pub fn add(&mut self, head: &IndexHead) -> (u64, Vec<u64>) {
        let address = self.next_address;
        self.next_address += head.file_bytes().next_multiple_of(INDEX_READ_BYTES as u64);
        let mut replaced = Vec::new();
        self.files.retain(|file| {
            let is_inside =
                head.range.start <= file.range.start && file.range.end <= head.range.end;
            if is_inside {
                replaced.push(file.address);
            }
            !is_inside
        });
        let at = self.files.partition_point(|file| file.range.start < head.range.start);
        let file = Located {
            range: head.range.clone(),
            stored_ms: head.stored_ms,
            address,
            pages_start: head.pages_start(),
            entries: head.entries,
            pages: head.directory.len() as u64,
            directory: head.directory.clone(),
            step: 1,
        };
        self.files.insert(at, file);
        self.changed();
        (address, replaced)
    }

    /// Removes a file: the address that it had.
    pub fn remove(&mut self, range: &Range<u64>) -> Option<u64> {
        let index = self.files.iter().position(|file| file.range == *range)?;
        let removed = self.files.remove(index)?;
        self.changed();
        Some(removed.address)
    }

    /// Forgets files below `start`: their addresses.
    pub fn expire(&mut self, start: u64) -> Vec<u64> {
        let mut gone = Vec::new();
        while let Some(file) = self.files.pop_front_if(|file| file.range.end <= start) {
            gone.push(file.address);
        }
        self.changed();
        gone
    }

    #[cfg(test)]
    pub(super) fn thin_all(&mut self) {
        self.files.iter_mut().for_each(Located::thin);
    }

    fn changed(&mut self) {
        self.generation += 1;
        self.directory_pages = self.files.iter().map(|file| file.directory.len()).sum();
        while self.directory_pages > INDEX_DIRECTORY_PAGES_MAX {
            // A question reads one page more for each halving; the largest gives most.
            let Some(largest) = self.files.iter_mut().max_by_key(|file| file.directory.len())
            else {
                return;
            };
            if largest.directory.len() < 2 {
                return;
            }
            let before = largest.directory.len();
            largest.thin();
            self.directory_pages -= before - largest.directory.len();
        }
    }

    /// Files that follow each other in one segment that is full and could be one, at most so many; those
    /// of a segment of which something `is_missing` wait for it.
    pub(super) fn mergeable(
        &self,
        segment_bytes: u64,
        files_max: usize,
        is_missing: impl Fn(&Range<u64>) -> bool,
    ) -> Option<Vec<Range<u64>>> {
        let segment_of = |file: &Located| file.range.start / segment_bytes;
        let mut at = self.files.len();
        while at > 0 {
            let segment = segment_of(&self.files[at - 1]);
            let first = self.files.partition_point(|file| segment_of(file) < segment);
            let files = || self.files.range(first..at);
            let whole = segment * segment_bytes..(segment + 1) * segment_bytes;
            if at - first > 1 && self.covers(&whole) && !is_missing(&whole) {
                return Some(files().take(files_max).map(|file| file.range.clone()).collect());
            }
            at = first;
        }
        None
    }
}
