//! A merge: the entries of index files that follow each other, as those of one.
//!
//! Hashes are gone through in ranges small enough to be sorted in the CPU's caches: every file gives its
//! entries of a range, in the log's order of files, and the sort leaves the order of equals.

use std::ops::Range;

use super::draft::{SORTED_BITS_MAX, sort_part};
use super::file::{IndexEntry, IndexHead, IndexWriter, read_entries};
use crate::page::{FileError, FileIdentity, PAGE_BYTES};

/// Entries that are sorted at a time: they and their copies take 192 KiB.
const BATCH_ENTRIES: u64 = 1 << 13;

/// Why files cannot be merged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the index of log offsets {}..{}: {source}", range.start, range.end)]
pub struct MergeError {
    /// The file's part of the log.
    pub range: Range<u64>,
    /// What is wrong with it.
    pub source: FileError,
}

/// One of the files.
#[derive(Debug)]
struct Input {
    head: IndexHead,
    /// The page that comes next.
    page: u64,
    entries: std::collections::VecDeque<IndexEntry>,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Merge {
    identity: FileIdentity,
    inputs: Vec<Input>,
    writer: IndexWriter,
    start: u64,
    oldest_ms: u64,
    bits: u32,
    /// The range of hashes that is gathered.
    next: u64,
    batch: Vec<IndexEntry>,
    other: Vec<IndexEntry>,
}

/// What a merge wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeStep {
    /// Pages of this file from this one on, given by [`Merge::supply`].
    Need {
        /// Which file, in the order given.
        file: usize,
        /// The first page.
        page: u64,
    },
    /// Some pages were appended.
    Made,
    /// That was all.
    Done,
}

impl Merge {
    /// A merge of files that follow each other.
    ///
    /// # Panics
    /// When they do not, or there are none.
    pub fn new(identity: FileIdentity, heads: Vec<IndexHead>) -> Merge {
        assert!(heads.windows(2).all(|pair| pair[0].range.end == pair[1].range.start));
        let (first, last) = (heads.first().expect("some"), heads.last().expect("some"));
        let range = first.range.start..last.range.end;
        let filled = || heads.iter().filter(|head| head.entries > 0);
        let oldest_ms = filled().map(|head| head.stored_ms.0).min().unwrap_or(0);
        let newest_ms = filled().map(|head| head.stored_ms.1).max().unwrap_or(0);
        let total: u64 = heads.iter().map(|head| head.entries).sum();
        let start = range.start;
        let writer = IndexWriter::new(identity, range, (oldest_ms, newest_ms), total as usize);
        let bits = (total / BATCH_ENTRIES + 1).next_power_of_two().trailing_zeros();
        let bits = bits.max(32 - SORTED_BITS_MAX);
        let input = |head| Input { head, page: 0, entries: std::collections::VecDeque::new() };
        let inputs = heads.into_iter().map(input).collect();
        let (batch, other) = (Vec::new(), Vec::new());
        Merge { identity, inputs, writer, start, oldest_ms, bits, next: 0, batch, other }
    }

    /// Bytes of the file before its pages.
    pub fn pages_start(&self) -> u64 {
        self.writer.pages_start()
    }

    /// Goes on; pages that are made are appended to `out`.
    pub fn step(&mut self, out: &mut Vec<u8>) -> MergeStep {
        if self.next >> self.bits > 0 {
            return MergeStep::Done;
        }
        let is_in = |entry: &IndexEntry| (u64::from(entry.hash) << self.bits) >> 32 <= self.next;
        for (file, input) in self.inputs.iter_mut().enumerate() {
            let from_ms = (input.head.stored_ms.0, self.oldest_ms);
            let from = (input.head.range.start - self.start) / IndexEntry::PLACE_BYTES;
            while let Some(entry) = input.entries.pop_front_if(|entry| is_in(entry)) {
                self.batch.push(moved(entry, from, from_ms));
            }
            let has_more = input.page < input.head.directory.len() as u64;
            if input.entries.is_empty() && has_more {
                let first = input.head.directory[input.page as usize];
                if (u64::from(first) << self.bits) >> 32 <= self.next {
                    // What was gathered of this file so far comes first: it is asked again from where it is.
                    return MergeStep::Need { file, page: input.page };
                }
            }
        }
        self.other.resize(self.batch.len(), IndexEntry::default());
        sort_part(&mut self.batch, &mut self.other, 32 - self.bits);
        for entry in self.batch.drain(..) {
            self.writer.push(entry, out);
        }
        self.next += 1;
        MergeStep::Made
    }

    /// Whole pages that [`MergeStep::Need`] asked for, as many as there are.
    ///
    /// # Errors
    /// One is damaged.
    pub fn supply(&mut self, file: usize, bytes: &[u8]) -> Result<(), MergeError> {
        let input = &mut self.inputs[file];
        let left = input.head.directory.len() as u64 - input.page;
        let failed = |source| MergeError { range: input.head.range.clone(), source };
        let mut given = 0;
        for page in bytes.chunks_exact(PAGE_BYTES).take(left as usize) {
            let (seed, start) = (self.identity.seed, input.head.range.start);
            let count = input.head.entries_of(input.page);
            let entries = read_entries(seed, start, input.page, count, page).map_err(failed)?;
            input.entries.extend(entries);
            input.page += 1;
            given += 1;
        }
        if given == 0 { Err(failed(FileError::Short(bytes.len()))) } else { Ok(()) }
    }

    /// All was made: the last page is finished in `out`; what the file begins with.
    pub fn finish(self, out: &mut Vec<u8>) -> IndexHead {
        self.writer.finish(out)
    }
}

/// An entry of a file, as one of the merged file.
fn moved(entry: IndexEntry, from: u64, (oldest_ms, merged_ms): (u64, u64)) -> IndexEntry {
    let place = u64::from(entry.place) + from;
    let after_ms = u64::from(entry.after_ms) + (oldest_ms - merged_ms);
    let is_open = entry.after_ms == u32::MAX;
    IndexEntry {
        hash: entry.hash,
        place: u32::try_from(place).expect("a segment has at most 2 GiB"),
        after_ms: if is_open { u32::MAX } else { u32::try_from(after_ms).unwrap_or(u32::MAX) },
    }
}
