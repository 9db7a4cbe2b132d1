//! An index file: the keys' hashes of a part of the log, sorted, in pages (docs/decisions/0008-index.md has
//! the bytes).

use std::ops::Range;

use crate::page::{
    FileError, FileIdentity, FirstPage, PAGE_BYTES, PAGE_HEAD_BYTES, open_page, seal_page, u32_at,
    u64_at,
};

const MAGIC: [u8; 8] = *b"RINGIDX\x01";
const ENTRY_BYTES: usize = 12;

/// Entries of one page.
pub const ENTRIES_PER_INDEX_PAGE: usize = (PAGE_BYTES - PAGE_HEAD_BYTES) / ENTRY_BYTES;

/// Pages above this are not an index file's: a segment has fewer keys.
const PAGES_MAX: u64 = 1 << 24;

/// A key of a message.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IndexEntry {
    /// Of topic and key.
    pub hash: u32,
    /// Where the message's payload is, in units of [`IndexEntry::PLACE_BYTES`] from the range's start.
    pub place: u32,
    /// When it was stored, ms after the oldest message of the file; `u32::MAX` is that or later.
    pub after_ms: u32,
}

impl IndexEntry {
    /// Records begin on multiples of it.
    pub const PLACE_BYTES: u64 = 8;
}

/// What an index file says before its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexHead {
    /// The part of the log.
    pub range: Range<u64>,
    /// Store timestamps of the oldest and newest message that has a key, ms; (0, 0) without any.
    pub stored_ms: (u64, u64),
    /// Number of entries.
    pub entries: u64,
    /// The hash that each page begins with.
    pub directory: Vec<u32>,
}

/// Bytes before the pages of a file with so many of them.
fn pages_start(pages: u64) -> u64 {
    PAGE_BYTES as u64 + (pages * 4).next_multiple_of(PAGE_BYTES as u64)
}

impl IndexHead {
    /// Bytes of the head of a file whose first page this is: what [`IndexHead::read`] wants.
    ///
    /// # Errors
    /// It is no index file of this shard.
    pub fn measure(identity: &FileIdentity, page: &[u8]) -> Result<u64, FileError> {
        Ok(pages_start(Sizes::read(identity, page)?.pages()))
    }

    /// Reads a head; `bytes` may go on behind it.
    ///
    /// # Errors
    /// [`FileError`]: it is not the index file of this range.
    pub fn read(
        identity: &FileIdentity,
        range: &Range<u64>,
        bytes: &[u8],
    ) -> Result<IndexHead, FileError> {
        let sizes = Sizes::read(identity, bytes)?;
        if sizes.first.range != *range {
            return Err(FileError::Foreign);
        }
        let end = PAGE_BYTES + sizes.pages() as usize * 4;
        let directory = bytes.get(PAGE_BYTES..end).ok_or(FileError::Short(bytes.len()))?;
        if identity.sum(directory) != sizes.directory_sum {
            return Err(FileError::Checksum("directory"));
        }
        let directory: Vec<u32> = directory.chunks_exact(4).map(|item| u32_at(item, 0)).collect();
        if !directory.is_sorted() {
            return Err(FileError::Numbers);
        }
        let Sizes { first: FirstPage { range, stored_ms }, entries, .. } = sizes;
        Ok(IndexHead { range, stored_ms, entries, directory })
    }

    /// Bytes of the file before its pages.
    pub fn pages_start(&self) -> u64 {
        pages_start(self.directory.len() as u64)
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.pages_start() + (self.directory.len() * PAGE_BYTES) as u64
    }

    /// Entries of a page.
    pub fn entries_of(&self, page: u64) -> usize {
        let before = page * ENTRIES_PER_INDEX_PAGE as u64;
        self.entries.saturating_sub(before).min(ENTRIES_PER_INDEX_PAGE as u64) as usize
    }

    /// What the file begins with: everything before its pages.
    pub fn write(&self, identity: &FileIdentity) -> Vec<u8> {
        let mut bytes = vec![0; self.pages_start() as usize];
        for (index, hash) in self.directory.iter().enumerate() {
            let at = PAGE_BYTES + index * 4;
            bytes[at..at + 4].copy_from_slice(&hash.to_le_bytes());
        }
        let directory_end = PAGE_BYTES + self.directory.len() * 4;
        let directory_sum = identity.sum(&bytes[PAGE_BYTES..directory_end]);
        let page = &mut bytes[..PAGE_BYTES];
        page[64..72].copy_from_slice(&self.entries.to_le_bytes());
        page[72..76].copy_from_slice(&directory_sum.to_le_bytes());
        let first = FirstPage { range: self.range.clone(), stored_ms: self.stored_ms };
        first.write(&MAGIC, identity, page);
        bytes
    }
}

/// The numbers of a file's first page.
struct Sizes {
    first: FirstPage,
    entries: u64,
    directory_sum: u32,
}

impl Sizes {
    fn read(identity: &FileIdentity, bytes: &[u8]) -> Result<Sizes, FileError> {
        let (first, page) = FirstPage::read(&MAGIC, identity, bytes)?;
        let sizes = Sizes { first, entries: u64_at(page, 64), directory_sum: u32_at(page, 72) };
        let FirstPage { range, stored_ms } = &sizes.first;
        let is_sane =
            sizes.pages() <= PAGES_MAX && range.start < range.end && stored_ms.0 <= stored_ms.1;
        if is_sane { Ok(sizes) } else { Err(FileError::Numbers) }
    }

    fn pages(&self) -> u64 {
        self.entries.div_ceil(ENTRIES_PER_INDEX_PAGE as u64)
    }
}

/// Makes pages of entries that come in order, and in the end the head.
#[derive(Debug)]
pub(super) struct IndexWriter {
    identity: FileIdentity,
    head: IndexHead,
    expected: u64,
    /// Entries of the page that is being filled.
    in_page: usize,
}

impl IndexWriter {
    /// A file of exactly so many entries.
    pub fn new(
        identity: FileIdentity,
        range: Range<u64>,
        stored_ms: (u64, u64),
        entries: usize,
    ) -> IndexWriter {
        let head = IndexHead { range, stored_ms, entries: 0, directory: Vec::new() };
        IndexWriter { identity, head, expected: entries as u64, in_page: 0 }
    }

    /// Bytes of the file before its pages.
    pub fn pages_start(&self) -> u64 {
        pages_start(self.expected.div_ceil(ENTRIES_PER_INDEX_PAGE as u64))
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        let pages = self.expected.div_ceil(ENTRIES_PER_INDEX_PAGE as u64);
        self.pages_start() + pages * PAGE_BYTES as u64
    }

    /// Adds an entry to the last page of `out`, or begins one; a page that is full is finished.
    pub fn push(&mut self, entry: IndexEntry, out: &mut Vec<u8>) {
        if self.in_page == 0 {
            self.head.directory.push(entry.hash);
            out.extend_from_slice(&[0; PAGE_HEAD_BYTES]);
        }
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0..4].copy_from_slice(&entry.hash.to_le_bytes());
        bytes[4..8].copy_from_slice(&entry.place.to_le_bytes());
        bytes[8..12].copy_from_slice(&entry.after_ms.to_le_bytes());
        out.extend_from_slice(&bytes);
        self.in_page += 1;
        self.head.entries += 1;
        if self.in_page == ENTRIES_PER_INDEX_PAGE {
            self.finish_page(out);
        }
    }

    fn finish_page(&mut self, out: &mut Vec<u8>) {
        let used = PAGE_HEAD_BYTES + self.in_page * ENTRY_BYTES;
        out.resize(out.len() + PAGE_BYTES - used, 0);
        let start = out.len() - PAGE_BYTES;
        let number = self.head.directory.len() as u64 - 1;
        seal_page(self.identity.seed, self.head.range.start, number, &mut out[start..]);
        self.in_page = 0;
    }

    /// Finishes the last page: what the file begins with.
    pub fn finish(mut self, out: &mut Vec<u8>) -> IndexHead {
        if self.in_page > 0 {
            self.finish_page(out);
        }
        assert_eq!(self.head.entries, self.expected, "as many as were announced");
        self.head
    }
}

/// The entries of a page, the `page`-th of a file whose range begins at `start`.
///
/// # Errors
/// The page is damaged.
pub fn read_entries(
    seed: u32,
    start: u64,
    page: u64,
    count: usize,
    bytes: &[u8],
) -> Result<impl DoubleEndedIterator<Item = IndexEntry> + Clone, FileError> {
    let entries = open_page(seed, start, page, bytes)?.chunks_exact(ENTRY_BYTES).take(count);
    Ok(entries.map(|item| IndexEntry {
        hash: u32_at(item, 0),
        place: u32_at(item, 4),
        after_ms: u32_at(item, 8),
    }))
}
