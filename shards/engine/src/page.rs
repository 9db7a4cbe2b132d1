//! What the files beside the log have in common: a first page that says whose they are, and pages that
//! are verified one at a time (docs/decisions/0006-runs-and-snapshots.md, 0008-index.md).

use std::ops::Range;

use crc32fast::Hasher;

/// Unit of the files.
pub const PAGE_BYTES: usize = 4096;

/// Bytes of a page before its entries: the checksum of the rest, and four of nothing.
pub const PAGE_HEAD_BYTES: usize = 8;

/// Whose files they are: one of another store or shard, or in another place, is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileIdentity {
    /// The store.
    pub store_id: u128,
    /// The shard.
    pub shard: u8,
    /// Start of every checksum.
    pub seed: u32,
}

impl FileIdentity {
    /// The checksum of a part of a file.
    pub fn sum(&self, bytes: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.seed);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// Why a file is not what it should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileError {
    /// It is too short for what it says of itself.
    #[error("it ends after {0} bytes")]
    Short(usize),
    /// The checksum of a part is wrong.
    #[error("the checksum of its {0} is wrong")]
    Checksum(&'static str),
    /// It is whole, but of another store, shard or slice.
    #[error("it belongs to another store, shard or place of the log")]
    Foreign,
    /// Its numbers do not fit each other.
    #[error("its numbers do not fit each other")]
    Numbers,
}

/// What each first page says; behind [`FirstPage::BYTES`] a kind of file has numbers of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirstPage {
    /// The slice of the log.
    pub range: Range<u64>,
    /// Store timestamps of the oldest and newest message in the file, ms; (0, 0) without any.
    pub stored_ms: (u64, u64),
}

impl FirstPage {
    /// Bytes of it.
    pub const BYTES: usize = 64;

    /// Writes it; the page's own numbers stand behind it already.
    ///
    /// ```text
    /// 0 magic | 8 checksum of 12.. | 12 shard | 16 store id | 32 range | 48 oldest, newest ms | 64
    /// ```
    pub fn write(&self, magic: &[u8; 8], identity: &FileIdentity, page: &mut [u8]) {
        page[0..8].copy_from_slice(magic);
        page[12..16].copy_from_slice(&u32::from(identity.shard).to_le_bytes());
        page[16..32].copy_from_slice(&identity.store_id.to_le_bytes());
        page[32..40].copy_from_slice(&self.range.start.to_le_bytes());
        page[40..48].copy_from_slice(&self.range.end.to_le_bytes());
        page[48..56].copy_from_slice(&self.stored_ms.0.to_le_bytes());
        page[56..64].copy_from_slice(&self.stored_ms.1.to_le_bytes());
        let sum = identity.sum(&page[12..PAGE_BYTES]);
        page[8..12].copy_from_slice(&sum.to_le_bytes());
    }

    /// Verifies the first page of a file: what it says, and the whole page.
    ///
    /// # Errors
    /// [`FileError`]: it is no first page of this kind, store and shard.
    pub fn read<'a>(
        magic: &[u8; 8],
        identity: &FileIdentity,
        bytes: &'a [u8],
    ) -> Result<(FirstPage, &'a [u8]), FileError> {
        let page = bytes.get(..PAGE_BYTES).ok_or(FileError::Short(bytes.len()))?;
        if page[0..8] != *magic || u32_at(page, 8) != identity.sum(&page[12..]) {
            return Err(FileError::Checksum("first page"));
        }
        let store_id = u128::from_le_bytes(page[16..32].try_into().expect("16 bytes"));
        if u32_at(page, 12) != u32::from(identity.shard) || store_id != identity.store_id {
            return Err(FileError::Foreign);
        }
        let range = u64_at(page, 32)..u64_at(page, 40);
        Ok((FirstPage { range, stored_ms: (u64_at(page, 48), u64_at(page, 56)) }, page))
    }
}

/// Writes the checksum of the `number`-th page of a file whose slice of the log begins at `start`.
pub fn seal_page(seed: u32, start: u64, number: u64, page: &mut [u8]) {
    let sum = page_sum(seed, start, number, page);
    page[0..4].copy_from_slice(&sum.to_le_bytes());
}

/// What a page holds behind its head, verified.
///
/// # Errors
/// The page is damaged, or not the `number`-th of the file whose slice of the log begins at `start`.
pub fn open_page(seed: u32, start: u64, number: u64, bytes: &[u8]) -> Result<&[u8], FileError> {
    let page = bytes.get(..PAGE_BYTES).ok_or(FileError::Short(bytes.len()))?;
    if u32_at(page, 0) != page_sum(seed, start, number, page) {
        return Err(FileError::Checksum("page"));
    }
    Ok(&page[PAGE_HEAD_BYTES..])
}

/// A page's checksum knows where it belongs.
fn page_sum(seed: u32, start: u64, number: u64, page: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(&start.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(&page[4..PAGE_BYTES]);
    hasher.finalize()
}

/// A little-endian number in these bytes.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// A little-endian number in these bytes.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
