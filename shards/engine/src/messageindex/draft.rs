//! A draft: what memory has of a sealed slice, on its way into a file.

use std::ops::Range;
use std::sync::Arc;

use super::file::{IndexEntry, IndexHead, IndexWriter};
use super::recent::Chunk;
use crate::page::FileIdentity;

/// See the module's first lines. Shared with the thread that writes it: until the file is there questions
/// are answered from it.
#[derive(Clone, Debug)]
pub struct IndexDraft {
    range: Range<u64>,
    chunks: Arc<[Chunk]>,
}

/// An index file's content.
#[derive(Debug)]
pub struct EncodedIndex {
    /// All bytes, whole pages.
    pub bytes: Vec<u8>,
    /// What they begin with.
    pub head: IndexHead,
}

impl IndexDraft {
    pub(super) fn new(range: Range<u64>, chunks: Arc<[Chunk]>) -> IndexDraft {
        IndexDraft { range, chunks }
    }

    /// The slice of the log.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.entries.len()).sum()
    }

    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The file's content. Takes a while: not on a core.
    pub fn encode(&self, identity: &FileIdentity) -> EncodedIndex {
        let filled = || self.chunks.iter().filter(|chunk| !chunk.entries.is_empty());
        let oldest_ms = filled().map(|chunk| chunk.oldest_ms).min().unwrap_or(0);
        let newest_ms = filled().map(|chunk| chunk.newest_ms).max().unwrap_or(0);
        let mut entries = Vec::with_capacity(self.entries());
        for chunk in filled() {
            entries.extend(chunk.entries.iter().map(|entry| {
                let place = (chunk.payload(entry) - self.range.start) / IndexEntry::PLACE_BYTES;
                IndexEntry {
                    hash: entry.hash,
                    place: u32::try_from(place)
                        .expect("a slice lies in a segment, of 2 GiB at most"),
                    after_ms: u32::try_from(chunk.ms(entry) - oldest_ms).unwrap_or(u32::MAX),
                }
            }));
        }
        sort(&mut entries);
        let mut bytes = Vec::new();
        let mut writer =
            IndexWriter::new(*identity, self.range.clone(), (oldest_ms, newest_ms), entries.len());
        bytes.reserve_exact(writer.file_bytes() as usize);
        bytes.resize(writer.pages_start() as usize, 0);
        for entry in &entries {
            writer.push(*entry, &mut bytes);
        }
        let head = writer.finish(&mut bytes);
        let first = head.write(identity);
        bytes[..first.len()].copy_from_slice(&first);
        EncodedIndex { bytes, head }
    }
}

/// Bits that one pass looks at: 2048 counters stay in the nearest cache.
const DIGIT_BITS: u32 = 11;

/// Entries that are sorted together where the keys spread: they and their copies stay in the CPU's caches.
const PART_ENTRIES: usize = 1 << 12;

/// Sorts by the hash, leaving the order of equals, which is that of the log: dealt by the highest bits into
/// parts, each of which is sorted by the others. As many steps whatever the keys are.
fn sort(entries: &mut Vec<IndexEntry>) {
    let bits = (entries.len() / PART_ENTRIES + 1).ilog2().clamp(32 - 2 * DIGIT_BITS, DIGIT_BITS);
    let shift = 32 - bits;
    let mut other = vec![IndexEntry::default(); entries.len()];
    let mut ends = deal(entries, &mut other, |hash| (hash >> shift) as usize);
    ends.truncate(1 << bits);
    let mut start = 0;
    for end in ends {
        sort_part(&mut other[start..end], &mut entries[start..end], shift);
        start = end;
    }
    std::mem::swap(entries, &mut other);
}

/// Sorts by so many of the lowest bits of the hash, at most [`SORTED_BITS_MAX`]; equals stay in order.
pub(super) fn sort_part(entries: &mut [IndexEntry], other: &mut [IndexEntry], bits: u32) {
    assert!(bits <= SORTED_BITS_MAX);
    if entries.len() < DEALT_ENTRIES_MIN {
        // Places are in the order of equals.
        entries.sort_unstable_by_key(|it| u64::from(it.hash) << 32 | u64::from(it.place));
        return;
    }
    let mask = (1 << DIGIT_BITS) - 1;
    deal(entries, other, |hash| hash as usize & mask);
    deal(other, entries, |hash| (hash >> DIGIT_BITS) as usize & mask);
}

/// Fewer are compared: the counters cost more.
const DEALT_ENTRIES_MIN: usize = 1 << 10;

/// What two passes look at.
pub(super) const SORTED_BITS_MAX: u32 = 2 * DIGIT_BITS;

/// Deals entries to their places by a digit of the hash; where those of each digit end.
fn deal(from: &[IndexEntry], to: &mut [IndexEntry], digit: impl Fn(u32) -> usize) -> Vec<usize> {
    let mut places = vec![0usize; 1 << DIGIT_BITS];
    for entry in from {
        places[digit(entry.hash)] += 1;
    }
    let mut at = 0;
    for place in &mut places {
        at += std::mem::replace(place, at);
    }
    for entry in from {
        let place = &mut places[digit(entry.hash)];
        to[*place] = *entry;
        *place += 1;
    }
    places
}
