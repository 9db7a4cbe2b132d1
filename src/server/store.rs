//! The store on disk: found or made, locked, its logs replayed and repaired (blocking, at start only).
//! Kind: shell
//!
//! Formats: docs/decisions/0001-store-format.md.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::files::SHARDS_PER_CORE_MAX;
use super::recovery::{Go, OpenShard, Replayed, Unreadable, open_shard, replay};
use super::runs::{Comparison, DamagedFile, ShardPlace};
use engine::catalog::Catalog;
use engine::commitlog::{Epoch, Epochs, EpochsError, FlushMode, LogShape, ReplayEnd};
use engine::limits::SEGMENT_BYTES_MIN;
use engine::page::FileIdentity;
use engine::shard::{Nameless, OpenError, SealLimits};
use runtime::file::{
    FileLock, FileSystem, OpenMode, StoreFile, direct_io_block_bytes, replace_file,
};
use runtime::probe;
use serde::{Deserialize, Serialize};

/// Version of the formats of docs/decisions/0001-store-format.md.
pub(super) const FORMAT: u32 = 1;

/// Unit of writes of a new store; a disk that wants more gets more.
const BLOCK_BYTES: u64 = 4096;

/// A shard's file that says where its log ended, if it was stopped cleanly.
pub(super) const CLEAN: &str = "CLEAN";

/// See [`KnownDamage`].
const DAMAGE: &str = "DAMAGE";

/// A file whose space is given up when the disk is full, so that a store can still be opened.
const SPARE: &str = "SPARE";

/// Bytes of it: what a start writes, several times over.
const SPARE_BYTES: u64 = 1024 * 1024;

/// Why a store cannot be opened: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An operation on a file failed.
    #[error("{operation} {}: {source}{}", path.display(), file_advice(path, source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the store {} is in use by process {holder}; stop that process or choose another directory with --store", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
        /// Its process id.
        holder: String,
    },
    /// The file system cannot do direct I/O.
    #[error("the file system of {} knows no O_DIRECT (tmpfs and some network file systems do not); choose a directory on ext4 or xfs with --store", path.display())]
    NoDirectIo {
        /// The store.
        path: PathBuf,
    },
    /// STORE or EPOCHS is not what was written.
    #[error("{} is damaged: {reason}; restore it from a copy, without it the store's messages cannot be told from other bytes", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is not RingMQ's.
    #[error("{} holds a store of Apache RocketMQ ({found}), which RingMQ does not read: its own is another one; choose another directory with --store, and let consumers read the old one from Apache's broker first (docs/operating.md)", path.display())]
    OfApache {
        /// The directory.
        path: PathBuf,
        /// What is in it that is Apache's.
        found: &'static str,
    },
    /// Another version made it.
    #[error("the store {} has format {found}, this program reads format {FORMAT}; use the version that made it", path.display())]
    OtherFormat {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It was moved to a disk with larger blocks.
    #[error("the store {} was made with blocks of {store_bytes} bytes, its disk needs {disk_bytes}; move it back, or start with an empty directory and let consumers read the old store first", path.display())]
    LargerBlocks {
        /// The store.
        path: PathBuf,
        /// Its block size.
        store_bytes: u64,
        /// The disk's.
        disk_bytes: u64,
    },
    /// It has more shards.
    #[error("the store {} has {found} shards, --shards asks for {asked}: shards can be added, not taken away, because their messages would be lost; leave --shards out", path.display())]
    FewerShards {
        /// The store.
        path: PathBuf,
        /// How many it has.
        found: u16,
        /// How many are asked for.
        asked: u16,
    },
    /// More shards than the cores have room for.
    #[error("the store {} would have {shards} shards on {cores} core(s), a core takes {SHARDS_PER_CORE_MAX} at the most; take {} cores with --cores, or fewer shards with --shards if it does not have them yet", path.display(), shards.div_ceil(SHARDS_PER_CORE_MAX))]
    TooManyShards {
        /// The store.
        path: PathBuf,
        /// How many it has or is to have.
        shards: u16,
        /// Threads that run them.
        cores: u16,
    },
    /// A segment is not there.
    #[error("the segment {} is missing{}; restore it from a copy", path.display(), found_instead(found.as_deref()))]
    SegmentMissing {
        /// Where it should be.
        path: PathBuf,
        /// What is there instead, if anything comes behind it.
        found: Option<PathBuf>,
    },
    /// The log's first segments are gone, and nothing says what they held.
    #[error("the log in {} begins at {start}, and no snapshot says what was before; restore its snapshot files (snapshot-…) or its first segments from a copy", path.display())]
    SnapshotMissing {
        /// The shard's directory.
        path: PathBuf,
        /// Where its log begins.
        start: u64,
    },
    /// A whole record says what cannot be.
    #[error("the log in {}: {source}", path.display())]
    Open {
        /// The shard's directory.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
}

fn file_advice(path: &Path, source: &io::Error) -> String {
    if probe::is_want_of_descriptors(source) {
        return format!("; {}", probe::OPEN_FILES_ADVICE);
    }
    let is_denied = source.kind() == io::ErrorKind::PermissionDenied;
    match probe::other_owner(path).filter(|_| is_denied) {
        Some((owner, own)) => format!(
            "; it belongs to uid {owner}, this runs as uid {own}: chown -R {own} the store, or start as its owner"
        ),
        None => String::new(),
    }
}

fn found_instead(found: Option<&Path>) -> String {
    found.map_or_else(String::new, |found| format!(" (found {} instead)", found.display()))
}

/// What the configuration says of the store.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Its directory.
    pub directory: PathBuf,
    /// Bytes of a segment, for a new store.
    pub segment_bytes: u64,
    /// Shards; more than the store has are added. `None`: those that it has.
    pub shard_count: Option<u16>,
    /// Threads that run shards; a new store for which no number is asked has as many.
    pub core_count: u16,
    /// When a message counts as stored.
    pub flush: FlushMode,
    /// With SYNC_FLUSH, how long a send waits for the disk, ms.
    pub sync_flush_timeout_ms: u64,
    /// Bytes of the log's tail in memory, per shard.
    pub write_buffer_bytes: u64,
    /// Bytes of the cold-read cache, per shard.
    pub read_cache_bytes: u64,
    /// Whether keys of messages are noted, so that they are found by them.
    pub message_index: bool,
    /// Delay levels, ms.
    pub delay_levels_ms: Vec<u64>,
    /// `transactionTimeOut`, ms.
    pub transaction_timeout_ms: u64,
    /// When queue entries go into a run.
    pub seal: SealLimits,
}

/// An opened store.
#[derive(Debug)]
pub struct Store<F> {
    /// Shape of all logs.
    pub shape: LogShape,
    /// The shards, ready to go on.
    pub shards: Vec<OpenShard<F>>,
    /// Topics and groups.
    pub catalog: Catalog,
}

#[derive(Serialize, Deserialize, Debug)]
struct About {
    format: u32,
    store_id: String,
    seed: u32,
    block_bytes: u64,
    segment_bytes: u64,
    shards: u16,
    /// So many of them have been open: what belongs to them must be there. Stores made before this was noted
    /// have it from their next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened: Option<u16>,
}

impl About {
    fn run_identity(&self, shard: u8) -> Result<FileIdentity, StoreError> {
        let store_id = u128::from_str_radix(&self.store_id, 16).map_err(|error| {
            let reason = format!("store_id: {error}");
            StoreError::Damaged { path: PathBuf::from("STORE"), reason }
        })?;
        Ok(FileIdentity { store_id, shard, seed: self.seed })
    }

    fn shape(&self) -> LogShape {
        LogShape {
            seed: self.seed,
            block_bytes: self.block_bytes,
            segment_bytes: self.segment_bytes,
        }
    }
}

#[derive(Serialize, Deserialize, Debug)]
struct EpochsFile {
    /// Where the log begins.
    start: u64,
    epochs: Vec<EpochEntry>,
}

#[derive(Serialize, Deserialize, Debug, Clone, Copy)]
struct EpochEntry {
    number: u32,
    previous_end: u64,
    first: u64,
}

/// Where the log of a life ended that was stopped cleanly: the file CLEAN of a shard.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanEnd {
    /// The life's number. The next one has another, so that nothing needs to be removed then.
    pub epoch: u32,
    /// Log offset. Everything below is durable.
    pub end: u64,
}

/// Damage of a shard's log of which nobody knows which messages it was: the file DAMAGE. Runs that were made of what was
/// left do not say it.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
struct KnownDamage {
    /// Log offset behind all of it.
    end: u64,
    /// So many messages, at the most.
    messages: u64,
}

/// A document with a checksum over its own text.
#[derive(Serialize, Deserialize, Debug)]
struct Checked<T> {
    content: T,
    crc32: u32,
}

pub(super) fn io_error<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { operation, path: path.to_owned(), source }
}

/// Takes the store's lock and opens the store, or makes it.
///
/// # Errors
/// [`StoreError`], as of [`open_files`].
pub fn open<F: FileSystem>(
    files: &F,
    settings: &StoreSettings,
) -> Result<(FileLock, Store<F::File>), StoreError> {
    let directory = &settings.directory;
    if let Some(found) = found_of_apache(directory) {
        return Err(StoreError::OfApache { path: directory.clone(), found });
    }
    std::fs::create_dir_all(directory).map_err(io_error("create directory", directory))?;
    let lock_path = directory.join("LOCK");
    let lock = FileLock::take(&lock_path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            StoreError::InUse { path: directory.clone(), holder: error.to_string() }
        }
        _ => StoreError::Io { operation: "lock", path: lock_path.clone(), source: error },
    })?;
    let disk_bytes = direct_io_block_bytes(directory).map_err(|source| match source.kind() {
        io::ErrorKind::Unsupported => StoreError::NoDirectIo { path: directory.clone() },
        _ => StoreError::Io {
            operation: "open a file for direct I/O in",
            path: directory.clone(),
            source,
        },
    })?;
    let store = open_files(files, settings, disk_bytes, draw_random)?;
    Ok((lock, store))
}

/// What says that a directory without a store of ours has one of Apache RocketMQ's.
fn found_of_apache(directory: &Path) -> Option<&'static str> {
    let is_there = |name: &str| directory.join(name).exists();
    let names = ["commitlog", "consumequeue", "config/topics.json"];
    names.into_iter().find(|name| is_there(name) && !is_there("STORE"))
}

/// Opens the store in these files, or makes it; replays its logs and repairs their tails. `random`
/// fills bytes with randomness for a new store.
///
/// # Errors
/// [`StoreError`]; nothing was changed then, but for a torn tail that may already be wiped.
pub fn open_files<F: FileSystem>(
    files: &F,
    settings: &StoreSettings,
    disk_bytes: u64,
    random: impl FnMut(&mut [u8]) -> io::Result<()>,
) -> Result<Store<F::File>, StoreError> {
    let directory = &settings.directory;
    let about = find_or_make(files, settings, disk_bytes, random)?;
    let shape = about.shape();
    let mut catalog = Catalog::default();
    let mut shards = Vec::new();
    for number in 0..about.shards {
        let identity = about.run_identity(number as u8)?;
        let directory = shard_directory(directory, number);
        let place = ShardPlace { directory, shape, identity };
        let was_open = about.opened.is_some_and(|opened| number < opened);
        let (shard, its_catalog) = open_shard(files, settings, place, was_open)?;
        shards.push(shard);
        if number == 0 {
            catalog = its_catalog;
        } else {
            // A power cut may have taken the record that made a topic, and left messages of it.
            catalog.saw_incarnation(its_catalog.next_incarnation().saturating_sub(1));
        }
    }
    // A topic whose record is damaged may come back with a copy of the segment: nothing of it is given up before.
    if !shards[0].is_damaged {
        for shard in &mut shards {
            shard.shard.forget_unknown(|topic| catalog.topic_name(topic).is_some());
        }
    }
    keep_spare(files, &settings.directory);
    if about.opened != Some(about.shards) {
        let about = About { opened: Some(about.shards), ..about };
        match write_checked(files, &settings.directory.join("STORE"), &about) {
            // A store on a full disk is opened, so that it can be read.
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "that all shards were open is noted at the next start");
            }
            written => written?,
        }
    }
    Ok(Store { shape, shards, catalog })
}

/// Keeps some space for the next start, in case that the disk is full then.
pub(super) fn keep_spare(files: &impl FileSystem, directory: &Path) {
    let made = files.open(&directory.join(SPARE), OpenMode::OrCreate);
    if let Err(error) = made.and_then(|file| file.allocate(SPARE_BYTES)) {
        tracing::warn!(%error, "no space could be kept for a start on a full disk ({SPARE})");
    }
}

/// STORE, if there is one: of our format, and its sizes fit each other.
fn read_about(files: &impl FileSystem, directory: &Path) -> Result<Option<About>, StoreError> {
    let path = directory.join("STORE");
    let Some(about) = read_checked::<About>(files, &path)? else { return Ok(None) };
    if about.format != FORMAT {
        let path = directory.to_owned();
        return Err(StoreError::OtherFormat { path, found: about.format });
    }
    let sizes_hold = about.block_bytes.is_power_of_two()
        && about.segment_bytes.is_multiple_of(about.block_bytes)
        && about.segment_bytes >= SEGMENT_BYTES_MIN
        && (1..=256).contains(&about.shards);
    if !sizes_hold {
        let reason = "its sizes do not fit each other".to_owned();
        return Err(StoreError::Damaged { path, reason });
    }
    Ok(Some(about))
}

/// A shard's directory.
pub fn shard_directory(store: &Path, shard: u16) -> PathBuf {
    store.join(format!("shard-{shard:03}"))
}

fn find_or_make(
    files: &impl FileSystem,
    settings: &StoreSettings,
    disk_bytes: u64,
    mut random: impl FnMut(&mut [u8]) -> io::Result<()>,
) -> Result<About, StoreError> {
    let path = settings.directory.join("STORE");
    match read_about(files, &settings.directory)? {
        Some(about) => {
            let store = settings.directory.clone();
            if about.block_bytes < disk_bytes {
                let store_bytes = about.block_bytes;
                return Err(StoreError::LargerBlocks { path: store, store_bytes, disk_bytes });
            }
            let asked = settings.shard_count.unwrap_or(about.shards);
            if asked < about.shards {
                return Err(StoreError::FewerShards { path: store, found: about.shards, asked });
            }
            check_shards_fit(settings, asked)?;
            if about.segment_bytes != settings.segment_bytes {
                tracing::info!(
                    store_bytes = about.segment_bytes,
                    "the store keeps the segment size it was made with (mappedFileSizeCommitLog)"
                );
            }
            if asked > about.shards {
                tracing::info!(before = about.shards, now = asked, "the store gets more shards");
                let about = About { shards: asked, ..about };
                write_checked(files, &path, &about)?;
                return Ok(about);
            }
            Ok(about)
        }
        // A shard without it: a new seed would make nothing of all records.
        None if files
            .list(&shard_directory(&settings.directory, 0))
            .is_ok_and(|it| !it.is_empty()) =>
        {
            Err(StoreError::Damaged { path, reason: "it is missing".to_owned() })
        }
        None => {
            let shards = settings.shard_count.unwrap_or(settings.core_count);
            check_shards_fit(settings, shards)?;
            let (mut store_id, mut seed) = ([0; 16], [0; 4]);
            random(&mut store_id)
                .and_then(|()| random(&mut seed))
                .map_err(io_error("draw random bytes for", &path))?;
            let about = About {
                format: FORMAT,
                store_id: format!("{:032x}", u128::from_le_bytes(store_id)),
                seed: u32::from_le_bytes(seed),
                block_bytes: disk_bytes.max(BLOCK_BYTES),
                segment_bytes: settings.segment_bytes,
                shards,
                opened: None,
            };
            write_checked(files, &path, &about)?;
            Ok(about)
        }
    }
}

fn check_shards_fit(settings: &StoreSettings, shards: u16) -> Result<(), StoreError> {
    let cores = settings.core_count;
    if shards.div_ceil(cores) > SHARDS_PER_CORE_MAX {
        let path = settings.directory.clone();
        return Err(StoreError::TooManyShards { path, shards, cores });
    }
    Ok(())
}

fn draw_random(bytes: &mut [u8]) -> io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes))
}

pub(super) fn list_segments<F: FileSystem>(
    files: &F,
    directory: &Path,
    segment_bytes: u64,
) -> Result<Vec<(u64, F::File)>, StoreError> {
    let mut firsts = Vec::new();
    for name in files.list(directory).map_err(io_error("list", directory))? {
        if name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()) {
            firsts.extend(name.parse::<u64>().ok());
        }
    }
    firsts.sort_unstable();
    let mut segments: Vec<(u64, F::File)> = Vec::new();
    for first in firsts {
        let path = segment_path(directory, first);
        let aligned = first / segment_bytes * segment_bytes;
        let expected = segments.last().map_or(aligned, |(last, _)| last + segment_bytes);
        if first != expected {
            let missing = segment_path(directory, expected);
            return Err(StoreError::SegmentMissing { path: missing, found: Some(path) });
        }
        let file = files.open(&path, OpenMode::Existing).map_err(io_error("open", &path))?;
        segments.push((first, file));
    }
    Ok(segments)
}

/// The segments are there that the log must have.
pub(super) fn check_segments<F>(
    directory: &Path,
    epochs: &Epochs,
    segments: &[(u64, F)],
    segment_bytes: u64,
) -> Result<(), StoreError> {
    let Some(newest) = epochs.newest() else {
        if segments.is_empty() {
            return Ok(());
        }
        // Without it every record would be taken for one of another life, and wiped.
        let path = directory.join("EPOCHS");
        return Err(StoreError::Damaged { path, reason: "it is missing".to_owned() });
    };
    let missing = |expected, found: Option<u64>| {
        let found = found.map(|first| segment_path(directory, first));
        Err(StoreError::SegmentMissing { path: segment_path(directory, expected), found })
    };
    let needed = newest.first.max(epochs.durable());
    match (segments.first(), segments.last()) {
        // The first one is made after the epoch began.
        (None, _) if needed == epochs.start() => Ok(()),
        (None, _) => missing(epochs.start(), None),
        (Some((first, _)), _) if *first > epochs.start() => missing(epochs.start(), Some(*first)),
        (_, Some((last, _))) if last + segment_bytes < needed => {
            missing(last + segment_bytes, None)
        }
        _ => Ok(()),
    }
}

/// Checks that the segments reach as far as runs and snapshots say that the log was durable.
///
/// # Errors
/// [`StoreError::SegmentMissing`].
pub(super) fn check_reaches<F>(
    directory: &Path,
    segments: &[(u64, F)],
    durable: Range<u64>,
    segment_bytes: u64,
) -> Result<(), StoreError> {
    let needed = durable.end.saturating_sub(1) / segment_bytes * segment_bytes;
    if durable.is_empty() || segments.last().is_some_and(|(last, _)| *last >= needed) {
        return Ok(());
    }
    Err(StoreError::SegmentMissing { path: segment_path(directory, needed), found: None })
}

/// Path of the segment that begins at a log offset.
pub fn segment_path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}"))
}

/// What a store says of itself, and how its logs end, without changing anything.
#[derive(Debug)]
pub struct Inspected {
    /// Its format.
    pub format: u32,
    /// Its id.
    pub store_id: String,
    /// Shape of all logs.
    pub shape: LogShape,
    /// For each shard its lives so far and how its log ends.
    pub shards: Vec<InspectedShard>,
}

/// One shard of [`Inspected`].
#[derive(Debug)]
pub struct InspectedShard {
    /// Its directory.
    pub directory: PathBuf,
    /// How often it was opened.
    pub lives: usize,
    /// Where its log begins.
    pub start: u64,
    /// Files that are damaged and can be done without: runs, index files, snapshots, CLEAN.
    pub damaged: Vec<DamagedFile>,
    /// Segments whose files do not have a segment's size.
    pub short: Vec<DamagedFile>,
    /// Where its log ended, if its last stop was a clean one.
    pub ended: Option<u64>,
    /// Where its log ends, and how.
    pub end: ReplayEnd,
}

/// Reads a store from its start to its end; `visit` gets what is found, with the shard.
///
/// # Errors
/// [`StoreError`]; nothing is changed, whatever comes.
pub fn inspect<F: FileSystem>(
    files: &F,
    directory: &Path,
    mut visit: impl FnMut(&LogShape, usize, Replayed<'_>),
) -> Result<Inspected, StoreError> {
    let about = read_about(files, directory)?.ok_or_else(|| StoreError::Damaged {
        path: directory.join("STORE"),
        reason: "it is missing".to_owned(),
    })?;
    let shape = about.shape();
    let mut shards = Vec::new();
    for shard in 0..usize::from(about.shards) {
        let directory = shard_directory(directory, shard as u16);
        let mut epochs = read_epochs(files, &directory.join("EPOCHS"))?;
        let damaged_end = read_clean_end(files, &directory, &mut epochs)?;
        let mut segments = list_segments(files, &directory, shape.segment_bytes)?;
        let start = epochs.start();
        segments.retain(|(first, _)| *first >= start);
        check_segments(&directory, &epochs, &segments, shape.segment_bytes)?;
        let identity = about.run_identity(shard as u8)?;
        let place = ShardPlace { directory, shape, identity };
        let comparison = Comparison::new(files, &place);
        let mut comparison = comparison.map_err(io_error("list", &place.directory))?;
        let durable = start..comparison.durable();
        check_reaches(&place.directory, &segments, durable, shape.segment_bytes)?;
        let unreadable = Unreadable::stepped_over();
        let log = (&*segments, &*place.directory, &unreadable);
        let end = replay(shape, &epochs, log, start, |found| {
            if let Replayed::Record { offset, prefix, payload } = &found {
                comparison.record(*offset, prefix, payload);
            }
            visit(&shape, shard, found);
            Ok(Go::On)
        })?;
        let mut damaged = comparison.finish();
        damaged.extend(damaged_end);
        let short = short_segments(shape, &segments, end.end)?;
        let (lives, ended) = (epochs.lives().len(), epochs.ended());
        let directory = place.directory;
        shards.push(InspectedShard { directory, lives, start, damaged, short, ended, end });
    }
    Ok(Inspected { format: about.format, store_id: about.store_id, shape, shards })
}

/// Segments that the log up to `end` needs and whose files do not hold all of a segment.
pub(super) fn short_segments(
    shape: LogShape,
    segments: &[(u64, impl StoreFile)],
    end: u64,
) -> Result<Vec<DamagedFile>, StoreError> {
    let mut short = Vec::new();
    // One behind the end may have been on its way to be made.
    for (_, file) in segments.iter().filter(|(first, _)| *first < end) {
        let found = file.size_bytes().map_err(io_error("look at", file.path()))?;
        if found != shape.segment_bytes {
            let reason = format!("it has {found} bytes, a segment has {}", shape.segment_bytes);
            short.push(DamagedFile { path: file.path().to_owned(), reason });
        }
    }
    Ok(short)
}

/// Adds to `epochs` where the log ended, if its last stop was a clean one. What is wrong with the file that
/// says so: a store without it is taken as after a crash.
///
/// # Errors
/// It cannot be read.
pub(super) fn read_clean_end(
    files: &impl FileSystem,
    directory: &Path,
    epochs: &mut Epochs,
) -> Result<Option<DamagedFile>, StoreError> {
    match read_checked::<CleanEnd>(files, &directory.join(CLEAN)) {
        Ok(Some(CleanEnd { epoch, end })) => {
            epochs.stopped(epoch, end);
            Ok(None)
        }
        Ok(None) => Ok(None),
        Err(StoreError::Damaged { path, reason }) => Ok(Some(DamagedFile { path, reason })),
        Err(error) => Err(error),
    }
}

/// Adds damage that a start found to what is noted of earlier ones, of a log that begins at `start`. How many messages
/// nobody knows, at the most.
///
/// # Errors
/// The note cannot be read, or written for another reason than a full disk.
pub(super) fn note_damage(
    files: &impl FileSystem,
    directory: &Path,
    start: u64,
    found: Nameless,
) -> Result<u64, StoreError> {
    let path = directory.join(DAMAGE);
    let noted = match read_checked::<KnownDamage>(files, &path) {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(%error, "the note of earlier damage is made again of what this start finds");
            None
        }
        noted => noted?.filter(|noted| noted.end > start),
    };
    if found.messages == 0 {
        return Ok(noted.map_or(0, |noted| noted.messages));
    }
    let messages = match noted {
        Some(noted) if noted.end <= found.from => noted.messages + found.messages,
        Some(noted) => noted.messages.max(found.messages),
        None => found.messages,
    };
    let known = KnownDamage { end: found.end.max(noted.map_or(0, |noted| noted.end)), messages };
    if noted != Some(known) {
        match write_checked(files, &path, &known) {
            Err(error) if is_full(&error) => {
                tracing::warn!(%error, "which damage was found could not be noted");
            }
            written => written?,
        }
    }
    Ok(messages)
}

/// Notes where the log of a shard ended, when it was stopped cleanly: a start that finds less knows that the
/// rest was durable.
pub(super) fn mark_clean_end(files: &impl FileSystem, directory: &Path, end: CleanEnd) {
    if let Err(error) = write_checked(files, &directory.join(CLEAN), &end) {
        tracing::warn!(
            %error,
            "where the log ended could not be noted; the next start takes this stop for a crash"
        );
    }
}

pub(super) fn read_epochs(files: &impl FileSystem, path: &Path) -> Result<Epochs, StoreError> {
    let Some(file) = read_checked::<EpochsFile>(files, path)? else { return Ok(Epochs::default()) };
    let lives = file.epochs.into_iter().map(|entry| Epoch {
        number: entry.number,
        previous_end: entry.previous_end,
        first: entry.first,
    });
    Epochs::new(lives.collect(), file.start).map_err(|error: EpochsError| StoreError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
}

/// Writes EPOCHS; on a full disk with the space that was kept for it.
pub(super) fn write_epochs(
    files: &impl FileSystem,
    path: &Path,
    epochs: &Epochs,
) -> Result<(), StoreError> {
    let start = epochs.start();
    let epochs = epochs.lives().iter().map(|life| EpochEntry {
        number: life.number,
        previous_end: life.previous_end,
        first: life.first,
    });
    let content = EpochsFile { start, epochs: epochs.collect() };
    match write_checked(files, path, &content) {
        Err(error) if is_full(&error) => {
            let store = path.parent().and_then(Path::parent).unwrap_or(Path::new("."));
            files.remove(&store.join(SPARE)).map_err(|_| error)?;
            write_checked(files, path, &content)
        }
        written => written,
    }
}

fn read_checked<T: for<'a> Deserialize<'a> + Serialize>(
    files: &impl FileSystem,
    path: &Path,
) -> Result<Option<T>, StoreError> {
    let text = match files.read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    let checked: Checked<T> =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if checked.crc32 != crc_of(&checked.content) {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    Ok(Some(checked.content))
}

fn write_checked<T: Serialize>(
    files: &impl FileSystem,
    path: &Path,
    content: &T,
) -> Result<(), StoreError> {
    let checked = Checked { crc32: crc_of(content), content };
    let mut text = serde_json::to_vec_pretty(&checked).expect("plain data");
    text.push(b'\n');
    replace_file(files, path, &text).map_err(io_error("write", path))
}

fn crc_of<T: Serialize>(content: &T) -> u32 {
    crc32fast::hash(&serde_json::to_vec(content).expect("plain data"))
}

#[cfg(test)]
mod tests {
    use runtime::file::SystemFiles;

    use super::*;

    fn settings(directory: &Path) -> StoreSettings {
        StoreSettings {
            directory: directory.to_owned(),
            segment_bytes: SEGMENT_BYTES_MIN,
            shard_count: None,
            core_count: 1,
            flush: FlushMode::Sync,
            sync_flush_timeout_ms: 5_000,
            write_buffer_bytes: 16 << 20,
            read_cache_bytes: 8 << 20,
            message_index: true,
            delay_levels_ms: vec![1_000],
            transaction_timeout_ms: 6_000,
            seal: SealLimits::default(),
        }
    }

    #[test]
    fn damage_is_known_until_its_segments_are_gone() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let note = |start, from: u64, messages| {
            let found = Nameless { from, end: from + messages * 128, messages };
            note_damage(&SystemFiles, folder.path(), start, found).unwrap()
        };
        assert_eq!(note(0, 0, 0), 0);
        assert!(!folder.path().join(DAMAGE).exists());
        assert_eq!(note(0, 1 << 20, 3), 3);
        assert_eq!(note(0, 0, 0), 3, "a run holds it now");
        assert_eq!(note(0, 1 << 20, 3), 3, "the same once more");
        assert_eq!(note(0, 2 << 20, 5), 8, "and more behind it");
        assert_eq!(note((2 << 20) + 5 * 128, 0, 0), 0, "it is gone with its segments");
        std::fs::write(folder.path().join(DAMAGE), b"{").unwrap();
        assert_eq!(note(0, 1 << 20, 2), 2, "what cannot be read is made again");
    }

    #[test]
    fn a_write_buffer_is_large_enough_for_the_segments_that_the_store_was_made_with() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let buffer_bytes = |segment_bytes, write_buffer_bytes| {
            let default = settings(directory.path());
            let settings = StoreSettings { segment_bytes, write_buffer_bytes, ..default };
            let mut store = open_files(&SystemFiles, &settings, 4096, draw_random).unwrap();
            assert_eq!(store.shape.segment_bytes, 21 << 20);
            store.shards[0].shard.log_mut().buffer_mut().size_bytes()
        };
        assert_eq!(buffer_bytes(21 << 20, 16 << 20), 32 << 20);
        assert_eq!(buffer_bytes(1 << 30, 16 << 20), 32 << 20, "the store keeps its segments");
        assert_eq!(buffer_bytes(1 << 30, 64 << 20), 64 << 20);
    }

    #[test]
    fn more_shards_than_the_cores_have_room_for_are_refused() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let open = |shard_count, core_count| {
            let settings = StoreSettings { shard_count, core_count, ..settings(directory.path()) };
            open_files(&SystemFiles, &settings, 4096, draw_random).map(|store| store.shards.len())
        };
        let refused = |shards, cores| {
            let error = open(shards, cores).unwrap_err().to_string();
            error.split_once(" would have ").expect("the refusal").1.to_owned()
        };
        let advice = "or fewer shards with --shards if it does not have them yet";
        let expect = format!(
            "86 shards on 1 core(s), a core takes 85 at the most; take 2 cores with --cores, {advice}"
        );
        assert_eq!(refused(Some(86), 1), expect);
        assert_eq!(open(None, 1).unwrap(), 1);
        assert_eq!(refused(Some(86), 1), expect);
        assert_eq!(open(None, 1).unwrap(), 1, "none was added");
        // One that has more than its cores may run now.
        let path = directory.path().join("STORE");
        let about: About = read_checked(&SystemFiles, &path).unwrap().unwrap();
        write_checked(&SystemFiles, &path, &About { shards: 256, ..about }).unwrap();
        assert!(refused(None, 3).starts_with("256 shards on 3 core(s)"));
    }
}
