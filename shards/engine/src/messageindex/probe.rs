//! A probe: the search for a hash in one index file, page by page, the newest entries first.

use std::ops::Range;

use super::file::IndexEntry;
use super::files::Located;

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Of topic and key.
    pub hash: u32,
    /// Stored then or later, ms.
    pub begin_ms: u64,
    /// Stored then or before, ms.
    pub end_ms: u64,
    /// Hits that are enough for now.
    pub hits_max: usize,
}

impl Wanted {
    /// Whether a store timestamp is wanted.
    pub fn is_in_time(&self, ms: u64) -> bool {
        (self.begin_ms..=self.end_ms).contains(&ms)
    }
}

/// See the module's first lines.
///
/// First the last page is found whose first entry is not behind what is wanted, by halving; then pages
/// are gone through from there backwards. All entries of one hash are in the log's order, so also in
/// that of time.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Which file.
    pub address: u64,
    range: Range<u64>,
    oldest_ms: u64,
    first: u64,
    last: u64,
    is_narrow: bool,
    is_done: bool,
    /// Log offsets of payloads, the newest first, not taken yet.
    pub hits: Vec<u64>,
    /// Entries at or above were looked at, in the page that is looked at.
    below: u64,
}

impl Probe {
    /// A search in a file; `None`: it cannot hold anything wanted.
    pub fn new(file: &Located, wanted: &Wanted) -> Option<Probe> {
        if file.stored_ms.1 < wanted.begin_ms || file.stored_ms.0 > wanted.end_ms {
            return None;
        }
        let (first, last) = file.pages_of(wanted.hash)?;
        Some(Probe {
            address: file.address,
            range: file.range.clone(),
            oldest_ms: file.stored_ms.0,
            first,
            last,
            is_narrow: false,
            is_done: false,
            hits: Vec::new(),
            below: u64::MAX,
        })
    }

    /// The file's part of the log.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Whether there is nothing left in the file.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// The page to look at next; `None`: there is none, or there are hits enough for now.
    pub fn next_page(&self, wanted: &Wanted) -> Option<u64> {
        if self.is_done || self.hits.len() >= wanted.hits_max {
            return None;
        }
        if !self.is_narrow && self.first < self.last {
            return Some(self.last - (self.last - self.first) / 2);
        }
        Some(self.last)
    }

    /// The oldest and newest that the time of an entry can mean, ms.
    fn times(&self, entry: &IndexEntry) -> (u64, u64) {
        let ms = self.oldest_ms.saturating_add(u64::from(entry.after_ms));
        (ms, if entry.after_ms == u32::MAX { u64::MAX } else { ms })
    }

    /// Looks at the page of [`Probe::next_page`].
    pub fn look(
        &mut self,
        wanted: &Wanted,
        page: u64,
        entries: impl DoubleEndedIterator<Item = IndexEntry> + Clone,
    ) {
        if !self.is_narrow && self.first < self.last {
            let is_before = entries.clone().next().is_some_and(|entry| {
                let (oldest, _) = self.times(&entry);
                entry.hash < wanted.hash || entry.hash == wanted.hash && oldest <= wanted.end_ms
            });
            if is_before {
                self.first = page;
            } else {
                self.last = page - 1;
            }
            return;
        }
        if !self.is_narrow {
            // Backwards from here, as far as entries go.
            self.is_narrow = true;
            self.first = 0;
        }
        for entry in entries.rev() {
            if entry.hash > wanted.hash {
                continue;
            }
            let (oldest, newest) = self.times(&entry);
            if entry.hash < wanted.hash || newest < wanted.begin_ms {
                self.is_done = true;
                return;
            }
            let payload = self.range.start + u64::from(entry.place) * IndexEntry::PLACE_BYTES;
            if payload >= self.below || oldest > wanted.end_ms {
                continue;
            }
            self.hits.push(payload);
            self.below = payload;
            if self.hits.len() >= wanted.hits_max {
                return; // the page is looked at again for more
            }
        }
        match self.last.checked_sub(1) {
            Some(before) => self.last = before,
            None => self.is_done = true,
        }
    }
}
