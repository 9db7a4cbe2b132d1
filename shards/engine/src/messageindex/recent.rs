//! What no file holds: hashes and places in the order of the log, in chunks.

use std::collections::VecDeque;

use super::file::IndexEntry;
use super::probe::Wanted;
use crate::limits::INDEX_CHUNK_ENTRIES;

/// Entries that follow each other in the log; places and times count from the first.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Log offset of the first payload.
    pub base: u64,
    /// When it was stored, ms.
    pub oldest_ms: u64,
    /// When the last one was.
    pub newest_ms: u64,
    pub entries: Vec<IndexEntry>,
}

impl Chunk {
    fn new(base: u64, ms: u64) -> Chunk {
        let entries = Vec::with_capacity(INDEX_CHUNK_ENTRIES);
        Chunk { base, oldest_ms: ms, newest_ms: ms, entries }
    }

    pub fn payload(&self, entry: &IndexEntry) -> u64 {
        self.base + u64::from(entry.place) * IndexEntry::PLACE_BYTES
    }

    pub fn ms(&self, entry: &IndexEntry) -> u64 {
        self.oldest_ms + u64::from(entry.after_ms)
    }

    /// Counts from the first entry again, after those before were taken.
    fn rebase(&mut self) {
        let Some(first) = self.entries.first().copied() else { return };
        self.base = self.payload(&first);
        self.oldest_ms = self.ms(&first);
        for entry in &mut self.entries {
            entry.place -= first.place;
            entry.after_ms -= first.after_ms;
        }
    }

    /// What a new entry would be; `None`: it begins a chunk of its own.
    fn entry(&self, hash: u32, payload: u64, ms: u64) -> Option<IndexEntry> {
        let place = u32::try_from((payload - self.base) / IndexEntry::PLACE_BYTES).ok()?;
        let after_ms = u32::try_from(ms - self.oldest_ms).ok()?;
        // All keys of a message are in one chunk: a search that goes on does so below a message.
        let is_new = self.entries.last().is_none_or(|last| last.place != place);
        let is_full = self.entries.len() >= INDEX_CHUNK_ENTRIES && is_new;
        (!is_full).then_some(IndexEntry { hash, place, after_ms })
    }
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Recent {
    chunks: VecDeque<Chunk>,
    len: usize,
}

impl Recent {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = &Chunk> {
        self.chunks.iter()
    }

    pub fn push(&mut self, hash: u32, payload: u64, ms: u64) {
        self.len += 1;
        if let Some(chunk) = self.chunks.back_mut()
            && let Some(entry) = chunk.entry(hash, payload, ms)
        {
            chunk.newest_ms = ms;
            chunk.entries.push(entry);
            return;
        }
        let mut chunk = Chunk::new(payload, ms);
        chunk.entries.push(IndexEntry { hash, place: 0, after_ms: 0 });
        self.chunks.push_back(chunk);
    }

    /// Takes what lies below `to`.
    pub fn cut(&mut self, to: u64) -> Vec<Chunk> {
        let mut taken = Vec::new();
        while let Some(chunk) = self.chunks.front_mut().filter(|chunk| chunk.base < to) {
            let count = chunk.entries.partition_point(|entry| {
                chunk.base + u64::from(entry.place) * IndexEntry::PLACE_BYTES < to
            });
            if count == chunk.entries.len() {
                taken.extend(self.chunks.pop_front());
                continue;
            }
            let (base, oldest_ms) = (chunk.base, chunk.oldest_ms);
            let mut below = Chunk { base, oldest_ms, newest_ms: oldest_ms, entries: Vec::new() };
            below.entries = chunk.entries.drain(..count).collect();
            if let Some(last) = below.entries.last() {
                below.newest_ms = oldest_ms + u64::from(last.after_ms);
            }
            taken.push(below);
            chunk.rebase();
            break;
        }
        self.len -= taken.iter().map(|chunk| chunk.entries.len()).sum::<usize>();
        taken
    }
}

/// See [`super::MessageIndex::scan`]; `chunks` from the newest on.
pub(super) fn scan<'a>(
    chunks: impl Iterator<Item = &'a Chunk>,
    wanted: &Wanted,
    below: &mut u64,
    budget: &mut usize,
    hits: &mut Vec<u64>,
) -> bool {
    for chunk in chunks.filter(|chunk| !chunk.entries.is_empty()) {
        if chunk.base >= *below || chunk.oldest_ms > wanted.end_ms {
            continue;
        }
        if chunk.newest_ms < wanted.begin_ms {
            return true; // and so is all that is older
        }
        if *budget < chunk.entries.len() {
            return false;
        }
        *budget -= chunk.entries.len();
        for entry in chunk.entries.iter().rev().filter(|entry| entry.hash == wanted.hash) {
            let payload = chunk.payload(entry);
            if payload >= *below || !wanted.is_in_time(chunk.ms(entry)) {
                continue;
            }
            hits.push(payload);
            *below = payload; // a message that has a key twice is one
            if hits.len() >= wanted.hits_max {
                return false;
            }
        }
        *below = (*below).min(chunk.base);
    }
    true
}
