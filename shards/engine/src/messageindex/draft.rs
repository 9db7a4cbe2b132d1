//! A draft: what memory has of a sealed slice, on its way into a file.

use std::ops::Range;
use std::sync::Arc;

use super::file::{IndexEntry, IndexHead, IndexWriter};
use super::recent::Chunk;
use crate::consumequeue::RunIdentity;

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

    /// Nothing, of a slice whose messages have no keys or are gone.
    pub fn empty(range: Range<u64>) -> IndexDraft {
        IndexDraft { range, chunks: Arc::new([]) }
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
    pub fn encode(&self, identity: &RunIdentity) -> EncodedIndex {
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

/// Bits that one pass of [`sort`] looks at: 2048 counters stay in the nearest cache.
const DIGIT_BITS: u32 = 11;

/// Sorts by the hash, leaving the order of equals, which is that of the log: three passes, whatever the
/// keys are.
pub(super) fn sort(entries: &mut Vec<IndexEntry>) {
    let mut other = vec![IndexEntry::default(); entries.len()];
    for shift in [0, DIGIT_BITS, 2 * DIGIT_BITS] {
        let digit = |entry: &IndexEntry| (entry.hash >> shift) as usize & ((1 << DIGIT_BITS) - 1);
        let mut places = [0usize; 1 << DIGIT_BITS];
        for entry in entries.iter() {
            places[digit(entry)] += 1;
        }
        let mut at = 0;
        for place in &mut places {
            at += std::mem::replace(place, at);
        }
        for entry in entries.iter() {
            let place = &mut places[digit(entry)];
            other[*place] = *entry;
            *place += 1;
        }
        std::mem::swap(entries, &mut other);
    }
}
