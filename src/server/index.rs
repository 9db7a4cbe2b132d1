//! Index files beside the segments: found, written, made again, merged.
//! Kind: shell
//!
//! Blocking: at a start, or on a thread for it. Bytes: docs/decisions/0008-index.md.

use std::io;
use std::ops::Range;

use engine::messageindex::{
    EncodedIndex, IndexEntry, IndexHead, IndexWork, Merge, MergeStep, read_entries,
};
use engine::page::{FileError, PAGE_BYTES};
use runtime::DirectBuffer;
use runtime::file::{FileSystem, OpenMode, StoreFile};

use super::recovery;
use super::runs::{ASIDE, CHUNK_BYTES, RunFailure, ShardPlace, read_head};
use super::store::{self, StoreError};

/// Bytes of a file's pages read at a time while files are merged: 64 of them have 8 MiB of entries.
const MERGE_READ_BYTES: usize = 128 * 1024;

/// Why a piece of work was not done.
#[derive(Debug)]
pub enum IndexFailure {
    /// This file is damaged.
    Damaged(Range<u64>, String),
    /// It may be tried again: why.
    Failed(String),
}

impl From<StoreError> for IndexFailure {
    fn from(error: StoreError) -> IndexFailure {
        IndexFailure::Failed(error.to_string())
    }
}

impl From<io::Error> for IndexFailure {
    fn from(error: io::Error) -> IndexFailure {
        IndexFailure::Failed(error.to_string())
    }
}

/// Does a piece of work: the file that is there then.
///
/// # Errors
/// [`IndexFailure`].
pub fn perform<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    work: &IndexWork,
) -> Result<(IndexHead, F::File), IndexFailure> {
    match work {
        IndexWork::Write(draft) => write(files, place, draft.encode(&place.identity)),
        IndexWork::Make(range) => {
            let draft = recovery::replay_keys(files, place, range)?;
            write(files, place, draft.encode(&place.identity))
        }
        IndexWork::Merge(ranges) => merge(files, place, ranges),
    }
}

/// Writes a file: aside, synced, renamed, its directory synced.
fn write<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    encoded: EncodedIndex,
) -> Result<(IndexHead, F::File), IndexFailure> {
    let EncodedIndex { bytes, head } = encoded;
    let aside = place.index_path(&head.range).with_extension(ASIDE);
    let file = files.open(&aside, OpenMode::OrCreate)?;
    let mut buffer = DirectBuffer::new(CHUNK_BYTES)?;
    write_at(&file, &mut buffer, &bytes, 0)?;
    finish(files, place, head, file)
}

fn write_at(
    file: &impl StoreFile,
    buffer: &mut DirectBuffer,
    bytes: &[u8],
    mut at: u64,
) -> io::Result<()> {
    for chunk in bytes.chunks(CHUNK_BYTES) {
        buffer.bytes_mut()[..chunk.len()].copy_from_slice(chunk);
        file.write_at(buffer, chunk.len(), at)?;
        at += chunk.len() as u64;
    }
    Ok(())
}

fn finish<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    head: IndexHead,
    file: F::File,
) -> Result<(IndexHead, F::File), IndexFailure> {
    file.sync_data()?;
    let path = place.index_path(&head.range);
    files.rename(&path.with_extension(ASIDE), &path)?;
    files.sync_directory(&place.directory)?;
    Ok((head, file))
}

/// Makes one file of several that follow each other, and removes them.
fn merge<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    ranges: &[Range<u64>],
) -> Result<(IndexHead, F::File), IndexFailure> {
    let mut heads = Vec::new();
    let mut inputs = Vec::new();
    for range in ranges {
        let (head, file) = open(files, place, range).map_err(|failure| match failure {
            RunFailure::Io(error) if error.kind() != io::ErrorKind::NotFound => {
                IndexFailure::Failed(error.to_string())
            }
            other => IndexFailure::Damaged(range.clone(), other.to_string()),
        })?;
        inputs.push((head.pages_start(), file));
        heads.push(head);
    }
    let mut merge = Merge::new(place.identity, heads);
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return Err(IndexFailure::Failed("nothing to merge".to_owned()));
    };
    let aside = place.index_path(&(first.start..last.end)).with_extension(ASIDE);
    let output = files.open(&aside, OpenMode::OrCreate)?;
    let mut read = DirectBuffer::new(MERGE_READ_BYTES)?;
    let mut buffer = DirectBuffer::new(CHUNK_BYTES)?;
    let (mut pages, mut at) = (Vec::new(), merge.pages_start());
    loop {
        match merge.step(&mut pages) {
            MergeStep::Need { file, page } => {
                let (start, input) = &inputs[file];
                let got = input.read_at(&mut read, start + page * PAGE_BYTES as u64)?;
                let supplied = merge.supply(file, &read.bytes()[..got]);
                supplied.map_err(|it| IndexFailure::Damaged(it.range.clone(), it.to_string()))?;
            }
            MergeStep::Made if pages.len() >= CHUNK_BYTES => {
                let whole = pages.len() / CHUNK_BYTES * CHUNK_BYTES;
                write_at(&output, &mut buffer, &pages[..whole], at)?;
                at += whole as u64;
                pages.drain(..whole);
            }
            MergeStep::Made => {}
            MergeStep::Done => break,
        }
    }
    let head = merge.finish(&mut pages);
    write_at(&output, &mut buffer, &pages, at)?;
    write_at(&output, &mut buffer, &head.write(&place.identity), 0)?;
    let merged = finish(files, place, head, output)?;
    for range in ranges {
        files.remove(&place.index_path(range))?;
    }
    Ok(merged)
}

/// Opens an index file and reads what is before its entries.
///
/// # Errors
/// [`RunFailure`].
pub fn open<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    range: &Range<u64>,
) -> Result<(IndexHead, F::File), RunFailure> {
    let file = files.open(&place.index_path(range), OpenMode::Existing)?;
    let bytes = read_head(&file, |page| IndexHead::measure(&place.identity, page))?;
    Ok((IndexHead::read(&place.identity, range, &bytes)?, file))
}

/// All entries of an index file, in their order.
///
/// # Errors
/// [`RunFailure`].
pub fn read_all(
    files: &impl FileSystem,
    place: &ShardPlace,
    range: &Range<u64>,
) -> Result<Vec<IndexEntry>, RunFailure> {
    let (head, file) = open(files, place, range)?;
    let mut buffer = DirectBuffer::new(PAGE_BYTES)?;
    let mut entries = Vec::new();
    for page in 0..head.directory.len() as u64 {
        let at = head.pages_start() + page * PAGE_BYTES as u64;
        if file.read_at(&mut buffer, at)? < PAGE_BYTES {
            return Err(FileError::Short(at as usize).into());
        }
        let count = head.entries_of(page);
        let seed = place.identity.seed;
        let found = read_entries(seed, range.start, page, count, buffer.bytes())?;
        entries.extend(found);
    }
    Ok(entries)
}

/// Opens the index files that a shard begins with, from `start` on: the log's order, none inside another.
/// Those that are of no use, or damaged, are removed: what they held is made again while the broker runs.
///
/// # Errors
/// A file cannot be removed, or be opened for a reason that says nothing of what is in it.
pub fn open_all<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    ranges: &[Range<u64>],
    start: u64,
) -> Result<Vec<(IndexHead, F::File)>, StoreError> {
    let mut opened = Vec::new();
    let mut at = start;
    let mut ranges = ranges.to_vec();
    // The larger of two that begin together was made of the others.
    ranges.sort_unstable_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    for range in &ranges {
        let path = place.index_path(range);
        let is_useful = range.start >= at && range.end > range.start;
        match if is_useful { open(files, place, range).map(Some) } else { Ok(None) } {
            Ok(Some(found)) => {
                at = range.end;
                opened.push(found);
                continue;
            }
            Ok(None) => {}
            Err(failure) => {
                let error = failure.of_file(&path)?;
                tracing::error!(
                    directory = %place.directory.display(),
                    from = range.start,
                    to = range.end,
                    %error,
                    "the index of keys of this part of the log is damaged on disk; it is made again from the log"
                );
            }
        }
        files.remove(&path).map_err(store::io_error("remove", &path))?;
    }
    Ok(opened)
}
