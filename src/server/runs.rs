//! Runs and snapshots as files beside the segments: found (with index files), written, folded, made again.
//! Kind: shell
//!
//! Blocking: at a start, or on a thread for it. Bytes: docs/decisions/0006-runs-and-snapshots.md.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use engine::commitlog::{Kind, LogShape, PREFIX_BYTES, Prefix};
use engine::consumequeue::{
    ENTRIES_PER_PAGE, EncodedRun, QueueEntry, QueueKey, RunHead, read_page,
};
use engine::messageindex::{IndexEntry, key_hash, keys_of};
use engine::page::{FileError, FileIdentity, PAGE_BYTES};
use engine::shard::{Snapshot, SnapshotError};
use proto::record::{self, Record};
use runtime::file::{FileSystem, OpenMode, StoreFile, replace_file};
use runtime::{DirectBuffer, probe};

use super::store::StoreError;
use super::{index, recovery, store};

/// Where a shard's files are, and whose they are.
#[derive(Clone, Debug)]
pub struct ShardPlace {
    /// The shard's directory.
    pub directory: PathBuf,
    /// The shape of its log.
    pub shape: LogShape,
    /// What its runs and snapshots carry.
    pub identity: FileIdentity,
}

/// Bytes of a run written at a time.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;

/// Bytes of a run's head read at a time: hundreds of runs are opened at a start, few with many queues.
const HEAD_BYTES: usize = 16 * 1024;

/// Snapshots that are kept: the newest, and one to fall back on.
const SNAPSHOTS_KEPT: usize = 2;

const RUN_PREFIX: &str = "queues-";
const SNAPSHOT_PREFIX: &str = "snapshot-";
const INDEX_PREFIX: &str = "index-";

/// The end of the names of files that are being written.
pub(super) const ASIDE: &str = "new";

/// Why a run, an index file or a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunFailure {
    /// It cannot be opened or read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error(transparent)]
    Damaged(#[from] FileError),
    /// It is not the snapshot that was written.
    #[error(transparent)]
    DamagedSnapshot(#[from] SnapshotError),
}

impl RunFailure {
    /// The failure, if the file is of no use and something else takes its place: it is damaged, or the disk
    /// does not give it.
    ///
    /// # Errors
    /// It may be whole, and must stay: descriptors, memory or a permission were lacking.
    pub(super) fn of_file(self, path: &Path) -> Result<RunFailure, StoreError> {
        self.unless_whole().map_err(store::io_error("open", path))
    }

    /// The same with the bare reason.
    fn unless_whole(self) -> io::Result<RunFailure> {
        match self {
            RunFailure::Io(source) if !probe::is_disk_failure(&source) => Err(source),
            failure => Ok(failure),
        }
    }
}

impl ShardPlace {
    /// Path of the run of a part of the log.
    pub(super) fn run_path(&self, range: &Range<u64>) -> PathBuf {
        self.directory.join(format!("{RUN_PREFIX}{:020}-{:020}", range.start, range.end))
    }

    /// Path of the index file of a part of the log.
    pub(super) fn index_path(&self, range: &Range<u64>) -> PathBuf {
        self.directory.join(format!("{INDEX_PREFIX}{:020}-{:020}", range.start, range.end))
    }

    /// Path of the snapshot at a log offset.
    pub fn snapshot_path(&self, at: u64) -> PathBuf {
        self.directory.join(format!("{SNAPSHOT_PREFIX}{at:020}"))
    }
}

/// What is in a shard's directory beside segments, by the names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Slices of runs, in order of their starts.
    pub runs: Vec<Range<u64>>,
    /// Parts of the log of index files, in order of their starts.
    pub indexes: Vec<Range<u64>>,
    /// Log offsets of snapshots, rising.
    pub snapshots: Vec<u64>,
    /// Files that were being written when the process ended.
    pub unfinished: Vec<PathBuf>,
}

/// Lists runs, index files and snapshots.
///
/// # Errors
/// What the file system says.
pub fn find(files: &impl FileSystem, place: &ShardPlace) -> io::Result<Found> {
    let mut found = Found::default();
    for name in files.list(&place.directory)? {
        if name.rsplit_once('.').is_some_and(|(_, end)| end == ASIDE) {
            found.unfinished.push(place.directory.join(name));
        } else if let Some(range) = name.strip_prefix(RUN_PREFIX) {
            found.runs.extend(range_of(range));
        } else if let Some(range) = name.strip_prefix(INDEX_PREFIX) {
            found.indexes.extend(range_of(range));
        } else if let Some(at) = name.strip_prefix(SNAPSHOT_PREFIX) {
            found.snapshots.extend(at.parse::<u64>());
        }
    }
    found.runs.sort_unstable_by_key(|run| (run.start, run.end));
    found.indexes.sort_unstable_by_key(|index| (index.start, index.end));
    found.snapshots.sort_unstable();
    Ok(found)
}

fn range_of(text: &str) -> Option<Range<u64>> {
    let (start, end) = text.split_once('-')?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

/// Writes a run: aside, synced, renamed, its directory synced.
///
/// # Errors
/// What the file system says; nothing is there then under the run's name, and it can be tried again.
pub fn write_run<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    encoded: &EncodedRun,
) -> io::Result<F::File> {
    let path = place.run_path(&encoded.head.range);
    let aside = path.with_extension(ASIDE);
    let file = files.open(&aside, OpenMode::OrCreate)?;
    let mut buffer = DirectBuffer::new(CHUNK_BYTES)?;
    for (index, chunk) in encoded.bytes.chunks(CHUNK_BYTES).enumerate() {
        buffer.bytes_mut()[..chunk.len()].copy_from_slice(chunk);
        file.write_at(&buffer, chunk.len(), (index * CHUNK_BYTES) as u64)?;
    }
    file.sync_data()?;
    files.rename(&aside, &path)?;
    files.sync_directory(&place.directory)?;
    Ok(file)
}

/// Makes a run again from the log, which holds its slice as durable records.
///
/// # Errors
/// What is wrong with the log or the disk.
pub fn remake_run<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    range: &Range<u64>,
) -> Result<(RunHead, F::File), StoreError> {
    let encoded = recovery::replay_slice(files, place, range)?.encode(&place.identity);
    let file = write_run(files, place, &encoded)
        .map_err(store::io_error("write a run to", &place.directory))?;
    Ok((encoded.head, file))
}

/// Opens a run and reads what is before its entries.
///
/// # Errors
/// [`RunFailure`].
pub fn open_run<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    range: &Range<u64>,
) -> Result<(RunHead, F::File), RunFailure> {
    let file = files.open(&place.run_path(range), OpenMode::Existing)?;
    let bytes = read_head(&file, |page| RunHead::measure(&place.identity, page))?;
    Ok((RunHead::read(&place.identity, range, &bytes)?, file))
}

/// What a file begins with, of which its first page says how many bytes it is: less from a file that is
/// too short.
///
/// # Errors
/// [`RunFailure`].
pub(super) fn read_head(
    file: &impl StoreFile,
    measure: impl Fn(&[u8]) -> Result<u64, FileError>,
) -> Result<Vec<u8>, RunFailure> {
    let mut buffer = DirectBuffer::new(HEAD_BYTES)?;
    let mut bytes = Vec::new();
    let mut wanted = PAGE_BYTES as u64;
    while (bytes.len() as u64) < wanted {
        let got = file.read_at(&mut buffer, bytes.len() as u64)?;
        bytes.extend_from_slice(&buffer.bytes()[..got]);
        if bytes.len() < PAGE_BYTES || got == 0 {
            break;
        }
        wanted = measure(&bytes)?;
        if !bytes.len().is_multiple_of(PAGE_BYTES) {
            break; // a file that ends within a page
        }
    }
    Ok(bytes)
}

/// Reads a snapshot.
///
/// # Errors
/// [`RunFailure`].
pub fn read_snapshot(
    files: &impl FileSystem,
    place: &ShardPlace,
    at: u64,
) -> Result<Snapshot, RunFailure> {
    let bytes = files.read(&place.snapshot_path(at))?;
    Ok(Snapshot::read(&place.identity, at, &bytes)?)
}

/// Makes a snapshot of the newest one and the runs behind it, and removes those that are not needed
/// any more. The log offset up to which segments may go: where the oldest snapshot is that is kept; 0 when there
/// is nothing to begin with.
///
/// # Errors
/// What the file system says; what was there is still there. Not that the disk does not give a snapshot: that
/// may never end, and runs wait behind this.
pub fn fold(files: &impl FileSystem, place: &ShardPlace) -> io::Result<u64> {
    let found = find(files, place)?;
    let (newest, damaged) = readable_snapshot(files, place, &found.snapshots)?;
    let begins_at_0 = found.runs.first().is_some_and(|run| run.start == 0);
    if newest.is_none() && !begins_at_0 {
        tracing::error!(
            directory = %place.directory.display(),
            "no snapshot can be read, and what they say is nowhere else: segments are kept from now on, and the next start is refused; restore the snapshot files (snapshot-…) from a copy, or let consumers read everything before the broker is stopped"
        );
        return Ok(0);
    }
    let mut snapshot = newest.unwrap_or_default();
    let before = snapshot.at();
    for range in found.runs.iter().filter(|range| range.start >= before) {
        if range.start != snapshot.at() {
            break; // one is damaged or being made again: the next time
        }
        let Ok((head, _)) = open_run(files, place, range) else { break };
        snapshot.add_run(&head).map_err(|error| io::Error::other(error.to_string()))?;
    }
    let mut kept: Vec<u64> = found.snapshots.iter().copied().filter(|at| *at <= before).collect();
    if snapshot.at() > before {
        replace_file(files, &place.snapshot_path(snapshot.at()), &snapshot.write(&place.identity))?;
        kept.push(snapshot.at());
    }
    for at in damaged.iter().filter(|at| **at != snapshot.at()) {
        files.remove(&place.snapshot_path(*at))?;
    }
    while kept.len() > SNAPSHOTS_KEPT {
        files.remove(&place.snapshot_path(kept.remove(0)))?;
    }
    Ok(if kept.len() < SNAPSHOTS_KEPT { 0 } else { kept[0] })
}

/// The newest snapshot that can be read, and where damaged ones are behind it. One that the disk does not give
/// is neither: it may give it later.
///
/// # Errors
/// A snapshot cannot be opened for a reason that says nothing of what is in it.
fn readable_snapshot(
    files: &impl FileSystem,
    place: &ShardPlace,
    ats: &[u64],
) -> io::Result<(Option<Snapshot>, Vec<u64>)> {
    let mut damaged = Vec::new();
    for at in ats.iter().rev() {
        match read_snapshot(files, place, *at) {
            Ok(snapshot) => return Ok((Some(snapshot), damaged)),
            Err(failure) => {
                let failure = failure.unless_whole()?;
                let path = place.snapshot_path(*at);
                let is_damaged = !matches!(failure, RunFailure::Io(_));
                tracing::error!(
                    snapshot = %path.display(),
                    error = %failure,
                    "a snapshot cannot be read; the one before it is used instead"
                );
                damaged.extend(is_damaged.then_some(*at));
            }
        }
    }
    Ok((None, damaged))
}

/// The log begins at `start` from now on, which EPOCHS says first.
///
/// # Errors
/// What the disk says; it can be tried again.
pub fn expire(files: &impl FileSystem, place: &ShardPlace, start: u64) -> Result<(), StoreError> {
    let path = place.directory.join("EPOCHS");
    let mut epochs = store::read_epochs(files, &path)?;
    if epochs.start() >= start {
        return Ok(());
    }
    epochs.expire(start);
    store::write_epochs(files, &path, &epochs)
}

/// Removes the files of the log below `start`: the oldest segment first, each made durable before the
/// next, so that a crash leaves no hole; then runs and index files that lie below.
///
/// # Errors
/// What the file system says; it can be tried again.
pub fn remove_below(
    files: &impl FileSystem,
    place: &ShardPlace,
    segments: &[u64],
    start: u64,
) -> io::Result<()> {
    for first in segments {
        match files.remove(&super::store::segment_path(&place.directory, *first)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => files.sync_directory(&place.directory)?,
        }
    }
    let found = find(files, place)?;
    for range in found.runs.iter().filter(|range| range.end <= start) {
        files.remove(&place.run_path(range))?;
    }
    for range in found.indexes.iter().filter(|range| range.end <= start) {
        files.remove(&place.index_path(range))?;
    }
    // It may have been given up for EPOCHS, on a disk that was full.
    store::keep_spare(files, place.directory.parent().unwrap_or(&place.directory));
    Ok(())
}

/// Removes a run that was found not to be one.
///
/// # Errors
/// What the file system says.
pub fn remove_run(
    files: &impl FileSystem,
    place: &ShardPlace,
    range: &Range<u64>,
) -> io::Result<()> {
    files.remove(&place.run_path(range))
}

/// A file that is not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Up to where runs say that the log was durable: to the end of the last whole one; 0 without any.
pub(super) fn durable(files: &impl FileSystem, place: &ShardPlace, runs: &[Range<u64>]) -> u64 {
    let mut whole = runs.iter().rev().filter_map(|range| open_run(files, place, range).ok());
    whole.next().map_or(0, |(head, _)| head.range.end)
}

/// Compares runs, index files and snapshots with their checksums, and the first two with the log as it is
/// read from its start.
#[derive(Debug)]
pub struct Comparison<'a, F> {
    files: &'a F,
    place: &'a ShardPlace,
    /// Runs to come, the next one last.
    ranges: Vec<Range<u64>>,
    open: Option<(RunHead, Vec<QueueEntry>)>,
    /// Index files to come, the next one last.
    indexes: Vec<Range<u64>>,
    open_index: Option<(Range<u64>, Vec<IndexEntry>)>,
    damaged: Vec<DamagedFile>,
    durable: u64,
}

impl<'a, F: FileSystem> Comparison<'a, F> {
    /// Begins: snapshots are read at once.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn new(files: &'a F, place: &'a ShardPlace) -> io::Result<Comparison<'a, F>> {
        let found = find(files, place)?;
        let mut damaged = Vec::new();
        let mut durable = durable(files, place, &found.runs);
        for at in found.snapshots {
            match read_snapshot(files, place, at) {
                Ok(_) => durable = durable.max(at),
                Err(error) => {
                    let reason = error.to_string();
                    damaged.push(DamagedFile { path: place.snapshot_path(at), reason });
                }
            }
        }
        let ranges = found.runs.into_iter().rev().collect();
        let indexes = found.indexes.into_iter().rev().collect();
        let (open, open_index) = (None, None);
        Ok(Comparison { files, place, ranges, open, indexes, open_index, damaged, durable })
    }

    /// Up to where runs and snapshots say that the log was durable.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// The next record of the log.
    pub fn record(&mut self, offset: u64, prefix: &Prefix, payload: &[u8]) {
        while self.ranges.last().is_some_and(|next| next.start <= offset) {
            self.open_next();
        }
        while self.indexes.last().is_some_and(|next| next.start <= offset) {
            self.open_next_index();
        }
        if prefix.kind == Kind::Message {
            self.compare_entry(offset, prefix, payload);
            self.compare_keys(offset, prefix, payload);
        }
    }

    fn compare_entry(&mut self, offset: u64, prefix: &Prefix, payload: &[u8]) {
        let Some((head, entries)) = &self.open else { return };
        if !head.range.contains(&offset) {
            return;
        }
        let key = QueueKey { topic: prefix.topic, queue: prefix.queue };
        let position = offset + PREFIX_BYTES as u64;
        let entry = record::queue_offset(payload)
            .and_then(|queue_offset| u64::try_from(queue_offset).ok())
            .and_then(|queue_offset| head.index(key, queue_offset))
            .and_then(|index| entries.get(index as usize));
        if entry.is_none_or(|it| it.payload != position || it.size_bytes != prefix.len) {
            let path = self.place.run_path(&head.range);
            let reason = format!("it does not say what the log holds at offset {offset}");
            self.damaged.push(DamagedFile { path, reason });
            self.open = None;
        }
    }

    /// Every key of the message is in the index file of its part of the log.
    fn compare_keys(&mut self, offset: u64, prefix: &Prefix, payload: &[u8]) {
        let Some((range, entries)) = &self.open_index else { return };
        let Ok((record, _)) = Record::decode(payload) else { return };
        if !range.contains(&offset) {
            return;
        }
        let place = (offset + PREFIX_BYTES as u64 - range.start) / IndexEntry::PLACE_BYTES;
        let (unique_key, keys) = keys_of(record.fields().properties);
        let mut all = keys.split(|byte| *byte == b' ').chain([unique_key]);
        let is_missing = all.any(|key| {
            let hash = key_hash(self.place.shape.seed, prefix.topic, key);
            let order = |entry: &IndexEntry| (entry.hash, u64::from(entry.place));
            !key.is_empty() && entries.binary_search_by_key(&(hash, place), order).is_err()
        });
        if is_missing {
            let path = self.place.index_path(range);
            let reason = format!("it lacks a key of the message at offset {offset}");
            self.damaged.push(DamagedFile { path, reason });
            self.open_index = None;
        }
    }

    fn open_next_index(&mut self) {
        let Some(range) = self.indexes.pop() else { return };
        // One that lies in another was merged into it; a crash came before it was removed.
        let is_inside = |(open, _): &(Range<u64>, Vec<IndexEntry>)| open.end >= range.end;
        let read = index::read_all(self.files, self.place, &range);
        match read {
            Ok(_) if self.open_index.as_ref().is_some_and(is_inside) => {}
            Ok(entries) => self.open_index = Some((range, entries)),
            Err(error) => {
                let path = self.place.index_path(&range);
                self.damaged.push(DamagedFile { path, reason: error.to_string() });
            }
        }
    }

    fn open_next(&mut self) {
        let Some(range) = self.ranges.pop() else { return };
        self.open = match self.read_run(&range) {
            Ok(run) => Some(run),
            Err(error) => {
                let path = self.place.run_path(&range);
                self.damaged.push(DamagedFile { path, reason: error.to_string() });
                None
            }
        };
    }

    fn read_run(&self, range: &Range<u64>) -> Result<(RunHead, Vec<QueueEntry>), RunFailure> {
        let (head, file) = open_run(self.files, self.place, range)?;
        let mut buffer = DirectBuffer::new(PAGE_BYTES)?;
        let mut entries = Vec::new();
        let count: u64 = head.queues.iter().map(|queue| queue.count).sum();
        for page in 0..head.pages {
            let at = head.pages_start + page * PAGE_BYTES as u64;
            if file.read_at(&mut buffer, at)? < PAGE_BYTES {
                return Err(FileError::Short(at as usize).into());
            }
            let here = (count - page * ENTRIES_PER_PAGE).min(ENTRIES_PER_PAGE) as usize;
            let seed = self.place.identity.seed;
            read_page(seed, range.start, page, buffer.bytes(), 0..here, &mut entries)?;
        }
        Ok((head, entries))
    }

    /// The log ends: what was found.
    pub fn finish(mut self) -> Vec<DamagedFile> {
        while !self.ranges.is_empty() {
            self.open_next();
        }
        while !self.indexes.is_empty() {
            self.open_next_index();
        }
        self.damaged
    }
}

#[cfg(test)]
mod tests;
