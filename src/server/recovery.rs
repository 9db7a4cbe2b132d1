//! A shard is opened: its snapshot, runs and the log behind them are read, the log's tail repaired
//! (blocking, at start only).
//! Kind: shell
//!
//! What it costs depends on what no run holds, not on the log: docs/decisions/0006-runs-and-snapshots.md.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use engine::catalog::Catalog;
use engine::commitlog::{
    CommitLog, Epochs, FlushMode, LogShape, Prefix, Replay, ReplayEnd, ReplayStep, SegmentIdentity,
};
use engine::consumequeue::{EncodedRun, RunHead};
use engine::limits::{ODD_WRITE_BUFFER_BYTES_MIN, WRITE_BUFFER_BYTES_MIN};
use engine::messageindex::{IndexDraft, MessageIndex};
use engine::shard::{OpenError, Opening, OpeningSettings, SealLimits, Shard, Slice, Snapshot};
use proto::ids::ShardIndex;
use runtime::file::{FileSystem, OpenMode, StoreFile};
use runtime::limits::DIRECT_ALIGNMENT;
use runtime::{DirectBuffer, WriteBuffer, probe};

use super::index;
use super::runs::{self, ShardPlace};
use super::space::write_zeros;
use super::store::{
    FORMAT, StoreError, StoreSettings, check_reaches, check_segments, io_error, list_segments,
    note_damage, read_clean_end, read_epochs, segment_path, short_segments, write_epochs,
};
use super::supervisor;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// Bytes read to see whether a segment begins with a record: the largest block.
const PROBE_BYTES: usize = 64 * 1024;

/// Reads of single blocks of a log that may fail before its disk is given up: each may take seconds.
const UNREADABLE_MAX: u32 = 256;

/// Space made ready before the store opens; the rest follows while it runs.
const FIRST_SPACE_BYTES: u64 = 16 * 1024 * 1024;

/// An opened shard with its files.
#[derive(Debug)]
pub struct OpenShard<F> {
    /// Its state.
    pub shard: Shard,
    /// Where its files are.
    pub place: ShardPlace,
    /// Its segments, by first log offset, rising.
    pub segments: Vec<(u64, F)>,
    /// Its runs, by address: how long each is, and its file.
    pub runs: Vec<(u64, u64, F)>,
    /// Its index files, as its runs.
    pub indexes: Vec<(u64, u64, F)>,
    /// Runs for which the disk had no space: to be written, in this order.
    pub unwritten: Vec<EncodedRun>,
    /// Some of the log that was replayed is damaged, and more than the bodies of messages: own records may be gone.
    pub is_damaged: bool,
}

/// What the replay of a log comes upon.
#[derive(Debug)]
pub enum Replayed<'a> {
    /// A whole record.
    Record {
        /// Its log offset.
        offset: u64,
        /// What is before its payload.
        prefix: Prefix,
        /// The payload.
        payload: &'a [u8],
    },
    /// Bytes that were durable and are not what was written.
    Damage {
        /// Log offsets.
        range: Range<u64>,
        /// They are a message that only lacks its body: what is before its payload, and that with a wrong body.
        bodiless: Option<(Prefix, &'a [u8])>,
    },
}

/// Whether a replay goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Go {
    /// It does.
    On,
    /// What it came upon last is not wanted, nor what follows.
    Stop,
}

/// Opens a shard: the shard, and the catalog that its log holds. One that `was_open` must be there.
///
/// # Errors
/// [`StoreError`].
pub fn open_shard<F: FileSystem>(
    files: &F,
    settings: &StoreSettings,
    place: ShardPlace,
    was_open: bool,
) -> Result<(OpenShard<F::File>, Catalog), StoreError> {
    let started = Instant::now();
    let directory = place.directory.clone();
    let shape = place.shape;
    let epochs_path = directory.join("EPOCHS");
    let mut epochs = read_epochs(files, &epochs_path)?;
    if was_open && epochs.newest().is_none() {
        // A disk that is not mounted is no new shard.
        return Err(StoreError::Damaged { path: epochs_path, reason: "it is missing".to_owned() });
    }
    files.create_directory(&directory).map_err(io_error("create directory", &directory))?;
    let damaged_end = read_clean_end(files, &directory, &mut epochs)?;
    if let Some(damaged) = &damaged_end {
        tracing::error!(
            file = %damaged.path.display(),
            reason = damaged.reason,
            "the note where the log ended is damaged; the store is opened as after a crash, damage of the log's last records would look like a torn tail"
        );
    }
    let mut segments = list_segments(files, &directory, shape.segment_bytes)?;
    let start = epochs.start();
    let gone = segments.iter().take_while(|(first, _)| *first < start).count();
    if gone > 0 {
        // A crash came before they were removed.
        let gone: Vec<_> = segments.drain(..gone).map(|(first, _)| first).collect();
        runs::remove_below(files, &place, &gone, start)
            .map_err(io_error("remove old segments of", &directory))?;
    }
    check_segments(&directory, &epochs, &segments, shape.segment_bytes)?;
    let unreadable = Unreadable::stepped_over();
    let mut recovery =
        Recovery::new(files, settings, &place, &epochs, (&segments, &unreadable), start)?;
    recovery.follow_runs()?;
    let tail = recovery.opening.unsealed_from();
    let end = recovery.replay_tail()?;
    for short in short_segments(shape, &segments, end.end)? {
        let (file, reason) = (short.path.display(), short.reason);
        tracing::error!(%file, reason, "a segment is too short; what it held is gone, the rest is served");
    }
    let found = recovery.opening.nameless();
    recovery.opening.lacked(note_damage(files, &directory, start, found)?);
    let Recovery { opening, runs, indexes, unwritten, is_damaged, .. } = recovery;
    let (safe_below, damaged_snapshots) = (recovery.safe_below, recovery.damaged_snapshots);
    repair(files, shape, &segments, &directory, tail, &end)?;
    let was_clean = epochs.ended().is_some() || end.clean || end.end == 0;
    let life = epochs.raise(end.end, shape.block_bytes);
    write_epochs(files, &epochs_path, &epochs)?;
    // The store is open without them: nobody is to be told of them again.
    let damaged_snapshots = damaged_snapshots.iter().map(|at| place.snapshot_path(*at));
    for path in damaged_snapshots.chain(damaged_end.map(|damaged| damaged.path)) {
        files.remove(&path).map_err(io_error("remove", &path))?;
    }
    let prepared = prepare_first_space(files, shape, &directory, &mut segments, life.first);
    let buffer = WriteBuffer::new(buffer_bytes(settings, &place), life.first)
        .map_err(io_error("allocate the write buffer of", &directory))?;
    let identity = SegmentIdentity {
        format: FORMAT,
        store_id: place.identity.store_id,
        shard: place.identity.shard,
    };
    let mut log = CommitLog::new(shape, settings.flush, identity, life, buffer);
    match prepared {
        Ok(prepared) => log.space_found(prepared),
        // A store on a full disk is opened, so that it can be read.
        Err(StoreError::Io { operation, path, source })
            if source.kind() == io::ErrorKind::StorageFull =>
        {
            let reason = format!("{operation} {}: {source}", path.display());
            tracing::error!(
                shard = identity.shard,
                reason,
                "no space for the log: sends are refused (code 14) until there is, pulls go on"
            );
            log.space_delayed(reason);
        }
        Err(error) => return Err(error),
    }
    let replayed = opening.messages();
    let opening_settings = OpeningSettings {
        delays_ms: settings.delay_levels_ms.clone(),
        transaction_timeout_ms: settings.transaction_timeout_ms,
        read_cache_bytes: settings.read_cache_bytes,
    };
    let index = ShardIndex(identity.shard);
    let (mut shard, catalog) = opening.finish(index, log, &opening_settings);
    shard.snapshots_hold(safe_below);
    if settings.flush == FlushMode::Sync {
        shard.set_flush_timeout(settings.sync_flush_timeout_ms);
    }
    tracing::info!(
        shard = identity.shard,
        log_start = start,
        log_end = end.end,
        runs = runs.len(),
        replayed_from = tail,
        replayed_messages = replayed,
        epoch = life.number,
        clean = was_clean,
        ms = started.elapsed().as_millis() as u64,
        "shard opened"
    );
    Ok((OpenShard { shard, place, segments, runs, indexes, unwritten, is_damaged }, catalog))
}

/// Bytes of the write buffer: as configured, unless a group would find no room in it behind a segment's
/// end that lies shortly before a wrap. A store keeps its segment size, whatever is configured now.
fn buffer_bytes(settings: &StoreSettings, place: &ShardPlace) -> u64 {
    let asked = settings.write_buffer_bytes.max(WRITE_BUFFER_BYTES_MIN).next_power_of_two();
    let segment_bytes = place.shape.segment_bytes;
    if segment_bytes.is_multiple_of(asked) || asked >= ODD_WRITE_BUFFER_BYTES_MIN {
        return asked;
    }
    tracing::info!(
        shard = place.identity.shard,
        asked,
        taken = ODD_WRITE_BUFFER_BYTES_MIN,
        segment_bytes,
        "a larger write buffer is taken: the store's segments are no multiple of the one asked for (ringmqWriteBufferBytes)"
    );
    ODD_WRITE_BUFFER_BYTES_MIN
}

/// A shard on its way to be open: goes through its log from the start, in order.
struct Recovery<'a, F: FileSystem> {
    files: &'a F,
    place: &'a ShardPlace,
    epochs: &'a Epochs,
    segments: &'a [(u64, F::File)],
    unreadable: &'a Unreadable,
    found: Vec<(RunHead, F::File)>,
    snapshot: Option<Snapshot>,
    opening: Opening,
    runs: Vec<(u64, u64, F::File)>,
    indexes: Vec<(u64, u64, F::File)>,
    unwritten: Vec<EncodedRun>,
    /// Segments below may go.
    safe_below: u64,
    /// Where snapshots are that are none, and were not needed.
    damaged_snapshots: Vec<u64>,
    /// As [`OpenShard::is_damaged`].
    is_damaged: bool,
}

impl<'a, F: FileSystem> Recovery<'a, F> {
    fn new(
        files: &'a F,
        settings: &StoreSettings,
        place: &'a ShardPlace,
        epochs: &'a Epochs,
        (segments, unreadable): (&'a [(u64, F::File)], &'a Unreadable),
        start: u64,
    ) -> Result<Recovery<'a, F>, StoreError> {
        let directory = &place.directory;
        let found = runs::find(files, place).map_err(io_error("list", directory))?;
        for path in &found.unfinished {
            files.remove(path).map_err(io_error("remove", path))?;
        }
        let (snapshot, safe_below, damaged_snapshots) =
            newest_snapshot(files, place, &found.snapshots)?;
        let snapshot = snapshot.filter(|snapshot| snapshot.at() >= start);
        if snapshot.is_none() && start > 0 {
            return Err(StoreError::SnapshotMissing { path: directory.clone(), start });
        }
        let facts_from = snapshot.as_ref().map_or(start, Snapshot::at);
        // Before anything is removed or made again for want of what is in it.
        let durable = runs::durable(files, place, &found.runs).max(facts_from);
        check_reaches(directory, segments, start..durable, place.shape.segment_bytes)?;
        let (seed, segment_bytes) = (place.shape.seed, place.shape.segment_bytes);
        let keys = MessageIndex::new(seed, segment_bytes, settings.message_index);
        let opening = Opening::new(settings.seal, segment_bytes, start, facts_from);
        let mut recovery = Recovery {
            files,
            place,
            epochs,
            segments,
            unreadable,
            found: Vec::new(),
            snapshot,
            opening: opening.with_index(keys),
            runs: Vec::new(),
            indexes: Vec::new(),
            unwritten: Vec::new(),
            safe_below,
            damaged_snapshots,
            is_damaged: false,
        };
        for (head, file) in index::open_all(files, place, &found.indexes, start)? {
            let address = recovery.opening.index_file(&head);
            recovery.indexes.push((address, head.file_bytes(), file));
        }
        recovery.open_runs(&found.runs, start, facts_from)?;
        Ok(recovery)
    }

    /// Opens runs that can be used; damaged ones are removed and made again from the log.
    fn open_runs(
        &mut self,
        ranges: &[Range<u64>],
        start: u64,
        facts_from: u64,
    ) -> Result<(), StoreError> {
        let mut at = start;
        for range in ranges {
            let remove = || {
                let removed = runs::remove_run(self.files, self.place, range);
                removed.map_err(io_error("remove a run in", &self.place.directory))
            };
            let holds_snapshot = range.start < facts_from && facts_from < range.end;
            if range.start < at || range.end <= range.start || holds_snapshot {
                remove()?; // of segments that are gone, or overtaken by another one
                continue;
            }
            match runs::open_run(self.files, self.place, range) {
                Ok(found) => {
                    at = range.end;
                    self.found.push(found);
                }
                Err(failure) => {
                    let error = failure.of_file(&self.place.run_path(range))?;
                    tracing::error!(
                        directory = %self.place.directory.display(),
                        from = range.start,
                        to = range.end,
                        %error,
                        "the queue entries of this part of the log are damaged on disk; they are made again from the log"
                    );
                    remove()?;
                }
            }
        }
        Ok(())
    }

    /// Takes run after run; where there is none the log is replayed and a run made of it.
    fn follow_runs(&mut self) -> Result<(), StoreError> {
        for (head, file) in std::mem::take(&mut self.found) {
            self.fill_gap(head.range.start)?;
            if !self.unwritten.is_empty() {
                // What memory holds must come behind all runs.
                let full = io::Error::from(io::ErrorKind::StorageFull);
                return Err(io_error("write a run to", &self.place.directory)(full));
            }
            let unusable = |source| unusable(self.place, source);
            let address = self.opening.run(&head).map_err(unusable)?;
            self.runs.push((address, head.file_bytes(), file));
        }
        // A snapshot behind all runs: they were lost.
        if let Some(at) = self.snapshot.as_ref().map(Snapshot::at) {
            self.fill_gap(at)?;
        }
        Ok(())
    }

    /// Goes on to `to`, where a run begins.
    fn fill_gap(&mut self, to: u64) -> Result<(), StoreError> {
        let from = self.opening.unsealed_from();
        match self.snapshot.as_ref().map(Snapshot::at) {
            Some(at) if from <= at && at <= to => {
                self.make_run(at)?;
                self.opening.restore(self.snapshot.take().expect("seen above"));
                self.make_run(to)
            }
            _ => self.make_run(to),
        }
    }

    /// Replays the log up to `to` and makes a run of it.
    fn make_run(&mut self, to: u64) -> Result<(), StoreError> {
        let from = self.opening.unsealed_from();
        if from >= to {
            return Ok(());
        }
        tracing::warn!(
            directory = %self.place.directory.display(),
            from,
            to,
            "queue entries of the log are made again"
        );
        let end = self.replay(from, to)?.end;
        if end < to {
            self.opening.damage(&(end..to), None).map_err(|source| unusable(self.place, source))?;
            self.is_damaged = true;
            tracing::error!(
                directory = %self.place.directory.display(),
                from = end,
                to,
                "bytes of the log that were durable are gone; their messages are gone, the others are served"
            );
        }
        self.opening.close_group().map_err(|source| unusable(self.place, source))?;
        self.write_run(to, false)
    }

    fn write_run(&mut self, to: u64, is_tail: bool) -> Result<(), StoreError> {
        let encoded = self.opening.cut(to).encode(&self.place.identity);
        let may_be_refused = is_tail && self.unreadable.is_any();
        if self.unwritten.is_empty() && !may_be_refused {
            match runs::write_run(self.files, self.place, &encoded) {
                Ok(file) => {
                    let address = self.opening.run_written(&encoded.head);
                    self.runs.push((address, encoded.head.file_bytes(), file));
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                Err(error) => {
                    return Err(io_error("write a run to", &self.place.directory)(error));
                }
            }
        }
        // A store on a full disk is opened, so that it can be read: its entries stay in memory. So do those of
        // a log that the disk does not give whole, until the start is not refused for it.
        self.unwritten.push(encoded);
        Ok(())
    }

    /// Replays what no run holds, up to the log's end.
    fn replay_tail(&mut self) -> Result<ReplayEnd, StoreError> {
        self.replay(self.opening.unsealed_from(), u64::MAX)
    }

    fn replay(&mut self, from: u64, to: u64) -> Result<ReplayEnd, StoreError> {
        let Recovery { place, epochs, segments, unreadable, .. } = *self;
        let segment_bytes = place.shape.segment_bytes;
        let mut failed = None;
        let log = (segments, &*place.directory, unreadable);
        let end = replay(place.shape, epochs, log, from, |found| {
            // Whole segments that are known to be durable leave memory as they pass.
            if let Replayed::Record { offset, prefix, .. } = &found
                && *offset < to
            {
                let segment_end =
                    (self.opening.unsealed_from() + 1).next_multiple_of(segment_bytes);
                let is_sealed = prefix.durable >= segment_end && *offset >= segment_end;
                if is_sealed && let Err(error) = self.write_run(segment_end, to == u64::MAX) {
                    failed = Some(error);
                    return Ok(Go::Stop);
                }
            }
            self.is_damaged |= matches!(found, Replayed::Damage { bodiless: None, .. });
            apply(&mut self.opening, to, found)
        });
        failed.map_or(end, Err)
    }
}

/// Applies what a replay came upon, if it lies below `to`.
fn apply(opening: &mut Opening, to: u64, found: Replayed<'_>) -> Result<Go, OpenError> {
    match found {
        Replayed::Record { offset, .. } if offset >= to => return Ok(Go::Stop),
        Replayed::Record { offset, prefix, payload } => opening.record(offset, prefix, payload)?,
        Replayed::Damage { range, .. } if range.start >= to => return Ok(Go::Stop),
        Replayed::Damage { range, bodiless } => opening.damage(&range, bodiless)?,
    }
    Ok(Go::On)
}

/// Replays a slice of the log whose records are known to be durable.
///
/// # Errors
/// [`StoreError`].
pub(super) fn replay_slice(
    files: &impl FileSystem,
    place: &ShardPlace,
    range: &Range<u64>,
) -> Result<Slice, StoreError> {
    Ok(replay_part(files, place, range, false)?.cut(range.end))
}

/// Replays a slice of the log for the keys of its messages.
///
/// # Errors
/// [`StoreError`].
pub(super) fn replay_keys(
    files: &impl FileSystem,
    place: &ShardPlace,
    range: &Range<u64>,
) -> Result<IndexDraft, StoreError> {
    let mut opening = replay_part(files, place, range, true)?;
    opening.cut(range.end);
    Ok(opening.index_draft().expect("the slice was cut, and nothing of it left out"))
}

fn replay_part(
    files: &impl FileSystem,
    place: &ShardPlace,
    range: &Range<u64>,
    with_keys: bool,
) -> Result<Opening, StoreError> {
    let segment_bytes = place.shape.segment_bytes;
    let epochs = read_epochs(files, &place.directory.join("EPOCHS"))?;
    let mut segments = list_segments(files, &place.directory, segment_bytes)?;
    // With the one behind the slice: where that begins, the slice has ended, and what is missing there is no damage.
    segments.retain(|(first, _)| *first <= range.end && first + segment_bytes > range.start);
    // Only queue entries are wanted as values: what own records say goes into the notes as it is.
    let seal = SealLimits::default();
    // Nothing is left out: a file that lacks keys would count as whole.
    let keys = MessageIndex::new(place.shape.seed, segment_bytes, with_keys).without_limit();
    let opening = Opening::new(seal, segment_bytes, range.start, u64::MAX);
    let mut opening = opening.with_index(keys);
    // What is made from a part of the log is for good: not without what another try may give.
    let unreadable = Unreadable::refused();
    let log = (&*segments, &*place.directory, &unreadable);
    replay(place.shape, &epochs, log, range.start, |found| apply(&mut opening, range.end, found))?;
    opening.close_group().map_err(|source| unusable(place, source))?;
    Ok(opening)
}

fn unusable(place: &ShardPlace, source: OpenError) -> StoreError {
    StoreError::Open { path: place.directory.clone(), source }
}

/// The newest snapshot that is whole, where the one before it is (0 without one), and where damaged ones are.
fn newest_snapshot(
    files: &impl FileSystem,
    place: &ShardPlace,
    ats: &[u64],
) -> Result<(Option<Snapshot>, u64, Vec<u64>), StoreError> {
    let (mut newest, mut before, mut damaged) = (None, 0, Vec::new());
    for at in ats {
        match runs::read_snapshot(files, place, *at) {
            Ok(snapshot) => {
                before = newest.replace(snapshot).map_or(0, |older| older.at());
            }
            Err(failure) => {
                let path = place.snapshot_path(*at);
                let error = failure.of_file(&path)?;
                tracing::error!(
                    snapshot = %path.display(),
                    %error,
                    "a snapshot is damaged; the one before it and the log are used instead"
                );
                damaged.push(*at);
            }
        }
    }
    Ok((newest, before, damaged))
}

/// Reads the log from `start` to its end, or until `apply` stops it.
///
/// # Errors
/// [`StoreError`].
pub(super) fn replay(
    shape: LogShape,
    epochs: &Epochs,
    (segments, directory, unreadable): (&[(u64, impl StoreFile)], &Path, &Unreadable),
    start: u64,
    mut apply: impl FnMut(Replayed<'_>) -> Result<Go, OpenError>,
) -> Result<ReplayEnd, StoreError> {
    let memory =
        |bytes| DirectBuffer::new(bytes).map_err(io_error("allocate memory to read", directory));
    let (mut large, mut small) = (memory(CHUNK_BYTES)?, memory(PROBE_BYTES)?);
    let mut replay = Replay::new(shape, epochs.clone(), start);
    let unusable = |source| StoreError::Open { path: directory.to_owned(), source };
    let mut told = Instant::now();
    loop {
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            let total = segments.last().map_or(0, |(first, _)| first + shape.segment_bytes);
            tracing::info!(at = replay.position(), of = total, "replaying the log");
            supervisor::tell_replaying(replay.position(), total);
        }
        match replay.step() {
            ReplayStep::Need { offset, bytes } => {
                let buffer = if bytes <= PROBE_BYTES { &mut small } else { &mut large };
                let got = read_log(shape, segments, offset, buffer, unreadable)?;
                replay.supply(&buffer.bytes()[..got.min(bytes)]);
            }
            ReplayStep::Record { offset, prefix, payload } => {
                let found = Replayed::Record { offset, prefix, payload };
                if apply(found).map_err(unusable)? == Go::Stop {
                    return Ok(ReplayEnd { end: offset, clean: false, dirty_end: offset });
                }
            }
            ReplayStep::Damaged { range, bodiless } => {
                let first = range.start / shape.segment_bytes * shape.segment_bytes;
                tracing::error!(
                    file = %segment_path(directory, first).display(),
                    from = range.start,
                    to = range.end,
                    "bytes of the log that were durable are damaged; their messages are gone, the others are served; if there is a copy of the store, stop, and restore the segment from it before anything new is sent"
                );
                let from = range.start;
                if apply(Replayed::Damage { range, bodiless }).map_err(unusable)? == Go::Stop {
                    return Ok(ReplayEnd { end: from, clean: false, dirty_end: from });
                }
            }
            ReplayStep::End(end) => {
                if epochs.ended() != Some(end.end) {
                    unreadable.check(end.end)?;
                }
                if end.dirty_end > end.end {
                    tracing::warn!(
                        directory = %directory.display(),
                        end = end.end,
                        bytes = end.dirty_end - end.end,
                        "the log's tail was in flight when the process or the machine stopped; it is cut"
                    );
                }
                return Ok(end);
            }
        }
    }
}

/// Reads log bytes; fewer than the buffer holds at the end of a segment, none behind the last.
fn read_log(
    shape: LogShape,
    segments: &[(u64, impl StoreFile)],
    offset: u64,
    buffer: &mut DirectBuffer,
    unreadable: &Unreadable,
) -> Result<usize, StoreError> {
    let first = offset / shape.segment_bytes * shape.segment_bytes;
    let Some((_, file)) = segments.iter().find(|(start, _)| *start == first) else { return Ok(0) };
    let got = match file.read_at(buffer, offset - first) {
        Err(error) if probe::is_disk_failure(&error) => {
            unreadable.read_around(shape, file, first, offset - first, buffer)?
        }
        got => got.map_err(io_error("read", file.path()))?,
    };
    let left = usize::try_from(first + shape.segment_bytes - offset).unwrap_or(usize::MAX);
    let is_last = segments.last().is_some_and(|(start, _)| *start == first);
    if is_last {
        // A file that was cut within a block: the next read begins at the block behind.
        let whole = got.next_multiple_of(DIRECT_ALIGNMENT);
        buffer.bytes_mut()[got..whole].fill(0);
        return Ok(whole.min(left));
    }
    // The log goes on in the next segment: what a file lacks that was cut short is damage, not its end.
    buffer.bytes_mut()[got..].fill(0);
    Ok(buffer.size().min(left))
}

/// Blocks of the log that the disk does not give. Stepped over they count as zeros: as damage where something
/// behind says that they were durable.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// So many more are stepped over.
    left: Cell<u32>,
    /// Log offset behind the last of them, and why it cannot be read.
    last: RefCell<Option<(u64, StoreError)>>,
}

impl Unreadable {
    /// They are stepped over, unless the log might end there.
    pub(super) fn stepped_over() -> Unreadable {
        Unreadable { left: Cell::new(UNREADABLE_MAX), last: RefCell::new(None) }
    }

    /// The first one ends it.
    fn refused() -> Unreadable {
        Unreadable { left: Cell::new(0), last: RefCell::new(None) }
    }

    fn is_any(&self) -> bool {
        self.left.get() < UNREADABLE_MAX
    }

    /// Reads block by block what cannot be read at once. How many bytes there are.
    fn read_around(
        &self,
        shape: LogShape,
        file: &impl StoreFile,
        first: u64,
        from: u64,
        buffer: &mut DirectBuffer,
    ) -> Result<usize, StoreError> {
        let failed = |error| io_error("read", file.path())(error);
        let block_bytes = usize::try_from(shape.block_bytes).expect("some KiB");
        let mut block = DirectBuffer::new(block_bytes).map_err(failed)?;
        for at in (0..buffer.size()).step_by(block_bytes) {
            let offset = from + at as u64;
            let got = match file.read_at(&mut block, offset) {
                Ok(got) => got,
                Err(error) if self.left.get() > 0 && probe::is_disk_failure(&error) => {
                    tracing::error!(file = %file.path().display(), offset, %error, "the disk does not give a block of the log");
                    block.bytes_mut().fill(0);
                    self.left.set(self.left.get() - 1);
                    self.last.replace(Some((first + offset + shape.block_bytes, failed(error))));
                    block_bytes
                }
                Err(error) => return Err(failed(error)),
            };
            let there = got.min(buffer.size() - at);
            buffer.bytes_mut()[at..at + there].copy_from_slice(&block.bytes()[..there]);
            if got < block_bytes {
                return Ok(at + there);
            }
        }
        Ok(buffer.size())
    }

    /// The log ends at `end`, as far as can be read.
    ///
    /// # Errors
    /// Perhaps it does not: what is behind cannot be read, and it would be cut off.
    fn check(&self, end: u64) -> Result<(), StoreError> {
        match self.last.take() {
            Some((to, error)) if to > end => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes what was read durable, and wipes what was in flight behind the cut.
fn repair(
    files: &impl FileSystem,
    shape: LogShape,
    segments: &[(u64, impl StoreFile)],
    directory: &Path,
    tail: u64,
    end: &ReplayEnd,
) -> Result<(), StoreError> {
    // What a reader sees may still be in a volatile cache: made durable before anybody sees it. Runs
    // hold only what was durable.
    for (_, file) in segments.iter().filter(|(first, _)| first + shape.segment_bytes > tail) {
        file.sync_data().map_err(io_error("sync", file.path()))?;
    }
    files.sync_directory(directory).map_err(io_error("sync directory", directory))?;
    let from = end.end.next_multiple_of(shape.block_bytes);
    let to = end.dirty_end.next_multiple_of(shape.block_bytes);
    for (first, file) in segments {
        let from = from.max(*first);
        let to = to.min(first + shape.segment_bytes);
        if from < to {
            zero(file, from - first, to - first)?;
        }
    }
    Ok(())
}

/// Writes zeros and makes them durable.
fn zero(file: &impl StoreFile, from: u64, to: u64) -> Result<(), StoreError> {
    let zeros =
        DirectBuffer::new(1024 * 1024).map_err(io_error("allocate zeros for", file.path()))?;
    write_zeros(file, &zeros, from..to).map_err(io_error("write zeros to", file.path()))
}

/// Prepares the space that the first records go to. Returns up to where.
fn prepare_first_space<F: FileSystem>(
    files: &F,
    shape: LogShape,
    directory: &Path,
    segments: &mut Vec<(u64, F::File)>,
    from: u64,
) -> Result<u64, StoreError> {
    let first = from / shape.segment_bytes * shape.segment_bytes;
    // Whole MiB, as the preparation goes on.
    let end = (from + FIRST_SPACE_BYTES).next_multiple_of(1 << 20).min(first + shape.segment_bytes);
    if !segments.iter().any(|(start, _)| *start == first) {
        segments.push((first, create_segment(files, directory, first, shape.segment_bytes)?));
    }
    let (_, file) = segments.iter().find(|(start, _)| *start == first).expect("pushed above");
    if file.size_bytes().map_err(io_error("look at", file.path()))? < shape.segment_bytes {
        // A crash came before that, or it was cut short.
        file.allocate(shape.segment_bytes)
            .map_err(io_error("reserve the space of", file.path()))?;
    }
    zero(file, from - first, end - first)?;
    Ok(end)
}

/// Creates a segment with all of its space reserved.
///
/// # Errors
/// What the file system says; ENOSPC when the disk is full.
fn create_segment<F: FileSystem>(
    files: &F,
    directory: &Path,
    first: u64,
    segment_bytes: u64,
) -> Result<F::File, StoreError> {
    let path = segment_path(directory, first);
    let file = files.open(&path, OpenMode::OrCreate).map_err(io_error("create", &path))?;
    file.allocate(segment_bytes).map_err(io_error("reserve the space of", &path))?;
    file.sync_data().map_err(io_error("sync", &path))?;
    files.sync_directory(directory).map_err(io_error("sync directory", directory))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const BLOCK: usize = 4096;
    const SHAPE: LogShape = LogShape { seed: 5, block_bytes: 4096, segment_bytes: 16 << 20 };
    const FIRST: u64 = 16 << 20;

    /// A file of blocks that each hold their number; some cannot be read.
    struct Bad {
        path: PathBuf,
        blocks: usize,
        bad: Vec<usize>,
    }

    impl StoreFile for Bad {
        fn path(&self) -> &Path {
            &self.path
        }

        fn size_bytes(&self) -> io::Result<u64> {
            Ok((self.blocks * BLOCK) as u64)
        }

        fn allocate(&self, _: u64) -> io::Result<()> {
            unreachable!("it is only read")
        }

        fn read_at(&self, buffer: &mut DirectBuffer, offset: u64) -> io::Result<usize> {
            let first = offset as usize / BLOCK;
            let count = (buffer.size() / BLOCK).min(self.blocks.saturating_sub(first));
            if self.bad.iter().any(|bad| (first..first + count).contains(bad)) {
                return Err(rustix::io::Errno::IO.into());
            }
            for number in 0..count {
                buffer.bytes_mut()[number * BLOCK..][..BLOCK].fill((first + number) as u8 + 1);
            }
            Ok(count * BLOCK)
        }

        fn write_at(&self, _: &DirectBuffer, _: usize, _: u64) -> io::Result<()> {
            unreachable!("it is only read")
        }

        fn sync_data(&self) -> io::Result<()> {
            unreachable!("it is only read")
        }
    }

    /// What is read of 16 blocks from the third on: the first byte of each.
    fn read(bad: &[usize], unreadable: &Unreadable) -> Result<Vec<u8>, StoreError> {
        let file = Bad { path: "segment".into(), blocks: 10, bad: bad.to_vec() };
        let mut buffer = DirectBuffer::new(16 * BLOCK).expect("memory");
        let segments = [(FIRST, file)];
        let got = read_log(SHAPE, &segments, FIRST + 2 * 4096, &mut buffer, unreadable)?;
        Ok(buffer.bytes()[..got].iter().step_by(BLOCK).copied().collect())
    }

    #[test]
    fn blocks_that_cannot_be_read_are_zeros_and_the_others_what_they_are() {
        let unreadable = Unreadable::stepped_over();
        assert_eq!(read(&[], &unreadable).expect("whole"), [3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(!unreadable.is_any());
        assert_eq!(
            read(&[0, 2, 5, 9], &unreadable).expect("stepped over"),
            [0, 4, 5, 0, 7, 8, 9, 0]
        );
        assert!(unreadable.is_any());
    }

    #[test]
    fn a_log_does_not_end_before_a_block_that_cannot_be_read() {
        let bad_to = FIRST + 6 * 4096;
        for (end, is_refused) in [(bad_to - 1, true), (bad_to, false)] {
            let unreadable = Unreadable::stepped_over();
            read(&[3, 5], &unreadable).expect("stepped over");
            let checked = unreadable.check(end).map_err(|error| error.to_string());
            let expect = "read segment: Input/output error (os error 5)".to_owned();
            assert_eq!(checked, if is_refused { Err(expect) } else { Ok(()) }, "{end}");
        }
    }

    #[test]
    fn a_disk_that_gives_nothing_is_given_up_and_what_is_made_for_good_lacks_nothing() {
        let unreadable = Unreadable::stepped_over();
        let all: Vec<usize> = (0..10).collect();
        for _ in 0..UNREADABLE_MAX / 8 {
            assert_eq!(read(&all, &unreadable).expect("stepped over"), [0; 8]);
        }
        assert!(read(&all, &unreadable).is_err());
        assert!(read(&[5], &Unreadable::refused()).is_err());
    }
}
