//! `ringmq inspect`: what a stopped store holds, and whether it is whole. Changes nothing.
//! Kind: shell
//!
//! Exit status: 0 the store is whole, 1 something in it is damaged (or what was asked for is not there),
//! 2 it cannot be read at all.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use engine::commitlog::{Kind, LogShape, PREFIX_BYTES, Prefix};
use proto::ids::{LogOffset, OffsetMessageId, Position, ShardIndex};
use proto::properties;
use proto::record::Record;
use runtime::file::{FileLock, ReadOnlyFiles};

use crate::server::recovery::Replayed;
use crate::server::store::{self, Inspected, StoreError, segment_path, shard_directory};

/// Flags of `ringmq inspect`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 if the store is whole, 1 if something in it is damaged or what \
                        was asked for is not in it, 2 if it cannot be read or the command line is wrong."
)]
pub struct InspectFlags {
    /// Directory of the store
    #[arg(long, value_name = "DIR", default_value = "./ringmq-store", global = true)]
    store: PathBuf,

    /// What to look at
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read everything, compare every checksum, list what is damaged
    Verify,
    /// Explain the record at a position: a physical offset or an offsetMsgId
    Position {
        /// A number, or 32 (IPv4) or 56 (IPv6) hexadecimal digits
        position: String,
    },
    /// The messages of a queue: how many, from when to when, what is gone
    Queue {
        /// Name of the topic
        topic: String,
        /// Id of the queue
        queue: i32,
    },
    /// The records of a segment by kind
    Segment {
        /// Name of the segment: the log offset that it begins with
        name: String,
        /// The shard that it belongs to
        #[arg(long, default_value_t = 0)]
        shard: usize,
    },
}

/// Damaged bytes that are looked at, whether they were a filler: padding to a block or a segment's end.
const FILLER_BYTES_MAX: u64 = 64 << 20;

/// Nothing was wrong.
const WHOLE: u8 = 0;
/// Something is damaged, or not there.
const DAMAGED: u8 = 1;
/// The store cannot be read.
const UNREADABLE: u8 = 2;

/// Runs it and prints to stdout; the progress goes to stderr.
pub fn run(flags: &InspectFlags) -> ExitCode {
    let code = match inspect(flags) {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("ringmq: {reason}");
            UNREADABLE
        }
    };
    ExitCode::from(code)
}

fn inspect(flags: &InspectFlags) -> Result<u8, String> {
    if !flags.store.join("STORE").exists() && !shard_directory(&flags.store, 0).exists() {
        return Err(format!(
            "{} is no store: it has no file STORE; name the directory with --store",
            flags.store.display()
        ));
    }
    let _lock = lock(&flags.store)?;
    match &flags.what {
        What::Verify => verify(&flags.store),
        What::Position { position } => explain(&flags.store, position),
        What::Queue { topic, queue } => queue_of(&flags.store, topic, *queue),
        What::Segment { name, shard } => segment(&flags.store, name, *shard),
    }
}

/// The store's lock, if it can be had; in a copy it may be missing, or not be writable.
fn lock(store: &Path) -> Result<Option<FileLock>, String> {
    let path = store.join("LOCK");
    // Not made where it is missing: nothing is changed.
    let missing = || std::io::Error::new(ErrorKind::NotFound, "it is missing");
    let taken = if path.exists() { FileLock::take(&path) } else { Err(missing()) };
    let taken = taken.or_else(|error| match error.kind() {
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            FileLock::take_unwritten(&path)
        }
        _ => Err(error),
    });
    match taken {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(format!(
            "the store {} is in use by process {error}; stop that process first",
            store.display()
        )),
        Err(error) => {
            eprintln!(
                "ringmq: {}: {error}; read without the lock: no process must run on this store meanwhile",
                path.display()
            );
            Ok(None)
        }
    }
}

/// Reads the store and shows how far it is, if somebody watches.
fn read(
    directory: &Path,
    mut visit: impl FnMut(&LogShape, usize, Replayed<'_>),
) -> Result<Inspected, StoreError> {
    let is_watched = std::io::stderr().is_terminal();
    let (begun, mut told) = (Instant::now(), Instant::now());
    let inspected = store::inspect(&ReadOnlyFiles, directory, |shape, shard, found| {
        if is_watched
            && told.elapsed() > Duration::from_millis(200)
            && let Replayed::Record { offset, .. } = &found
        {
            told = Instant::now();
            let mib = offset >> 20;
            let rate = mib as f64 / begun.elapsed().as_secs_f64();
            eprint!("\rshard {shard}: {mib} MiB read, {rate:.0} MiB/s ");
            std::io::stderr().flush().ok();
        }
        visit(shape, shard, found);
    });
    if is_watched {
        eprint!("\r{:60}\r", "");
    }
    inspected
}

/// Records of each kind, by its name.
#[derive(Default)]
struct Counts(BTreeMap<&'static str, (u64, u64)>);

impl Counts {
    fn add(&mut self, prefix: &Prefix) {
        let name = match prefix.kind {
            Kind::Message => "messages",
            Kind::Filler => "fillers",
            Kind::Segment => "segment heads",
            Kind::Offsets => "records of consumer offsets",
            Kind::Catalog => "changes of topics and groups",
            Kind::Settled => "notes of delivered delays",
            Kind::End => "clean stops",
            Kind::Carried => "copies of messages that wait",
            Kind::Moved => "notes where a copy is",
            Kind::Ended => "notes of settled half messages",
            Kind::Checked => "notes of checked half messages",
            Kind::Fired => "notes of fired timers",
            Kind::Recalled => "timers called back",
        };
        let (count, bytes) = self.0.entry(name).or_default();
        *count += 1;
        *bytes += prefix.record_bytes();
    }

    fn print(&self) {
        for (name, (count, bytes)) in &self.0 {
            println!("  {count:>12} {name}, {bytes} bytes");
        }
    }
}

/// Which messages of a queue are there.
#[derive(Default)]
struct QueueState {
    count: u64,
    next: u64,
    gone: Vec<Range<u64>>,
    stored_ms: Option<(i64, i64)>,
}

impl QueueState {
    fn add(&mut self, queue_offset: u64, stored_ms: i64) {
        self.skip_to(queue_offset);
        self.next = self.next.max(queue_offset + 1);
        self.count += 1;
        let (first, _) = self.stored_ms.unwrap_or((stored_ms, stored_ms));
        self.stored_ms = Some((first, stored_ms));
    }

    /// A message was there and is not any more.
    fn lose(&mut self, queue_offset: u64) {
        self.skip_to(queue_offset);
        let end = queue_offset + 1;
        match self.gone.last_mut() {
            // What is missing from 0 on may have been removed.
            Some(gone) if gone.end == queue_offset && gone.start > 0 => gone.end = end,
            _ if queue_offset >= self.next => self.gone.push(queue_offset..end),
            _ => {}
        }
        self.next = self.next.max(end);
    }

    fn skip_to(&mut self, queue_offset: u64) {
        if queue_offset > self.next {
            self.gone.push(self.next..queue_offset);
        }
    }
}

/// The key of a message's queue and its place there.
fn place_of(payload: &[u8]) -> Option<((String, i32), u64, i64)> {
    let (record, _) = Record::decode(payload).ok()?;
    let fields = record.fields();
    let topic = String::from_utf8_lossy(fields.topic).into_owned();
    let offset = u64::try_from(fields.queue_offset).ok()?;
    Some(((topic, fields.queue_id), offset, fields.store_timestamp))
}

fn verify(directory: &Path) -> Result<u8, String> {
    let mut counts: BTreeMap<usize, Counts> = BTreeMap::new();
    let mut damage: Vec<(usize, Range<u64>)> = Vec::new();
    let mut queues: BTreeMap<(String, i32), QueueState> = BTreeMap::new();
    let inspected = read(directory, |_, shard, found| match found {
        Replayed::Record { prefix, payload, .. } => {
            counts.entry(shard).or_default().add(&prefix);
            if prefix.kind == Kind::Message
                && let Some((key, offset, stored_ms)) = place_of(payload)
            {
                queues.entry(key).or_default().add(offset, stored_ms);
            }
        }
        Replayed::Damage { range, bodiless } => {
            if let Some((key, offset, _)) = bodiless.and_then(|(_, payload)| place_of(payload)) {
                queues.entry(key).or_default().lose(offset);
            }
            damage.push((shard, range));
        }
    })
    .map_err(|error| error.to_string())?;
    println!(
        "store {}, format {}, id {}, segments of {} MiB",
        directory.display(),
        inspected.format,
        inspected.store_id,
        inspected.shape.segment_bytes >> 20
    );
    for (number, shard) in inspected.shards.iter().enumerate() {
        let end = &shard.end;
        println!(
            "shard {number}: log from {} to {}, opened {} times",
            shard.start, end.end, shard.lives
        );
        counts.remove(&number).unwrap_or_default().print();
        if end.clean || shard.ended.is_some() {
            println!("  stopped cleanly");
        } else if end.dirty_end > end.end {
            println!(
                "  not stopped cleanly: {} bytes behind {} were in flight and were never acknowledged; the next start cuts them",
                end.dirty_end - end.end,
                end.end
            );
        } else {
            println!("  not stopped cleanly, nothing was in flight");
        }
    }
    for (shard, range) in &damage {
        let segment = range.start / inspected.shape.segment_bytes * inspected.shape.segment_bytes;
        let path = segment_path(&inspected.shards[*shard].directory, segment);
        println!(
            "DAMAGED: shard {shard}, log offsets {}..{} ({} bytes), in {} from byte {}{}",
            range.start,
            range.end,
            range.end - range.start,
            path.display(),
            range.start - segment,
            if is_filler(&path, segment, range) { ": a filler, no message was in it" } else { "" }
        );
    }
    let mut short_segments = 0;
    for file in inspected.shards.iter().flat_map(|shard| &shard.short) {
        short_segments += 1;
        println!("DAMAGED: {}: {}", file.path.display(), file.reason);
    }
    let mut damaged_files = 0;
    for file in inspected.shards.iter().flat_map(|shard| &shard.damaged) {
        damaged_files += 1;
        println!(
            "DAMAGED: {}: {}; the next start makes it again or does without it",
            file.path.display(),
            file.reason
        );
    }
    let log_starts_at_0 = inspected.shards.iter().all(|shard| shard.start == 0);
    for ((topic, queue), state) in &queues {
        // What was before the oldest segment was removed, not lost.
        for gone in state.gone.iter().filter(|gone| gone.start > 0 || log_starts_at_0) {
            println!("GONE: topic {topic}, queue {queue}, {}", offsets_of(gone));
        }
    }
    if damage.is_empty() && short_segments == 0 {
        println!("{}", if damaged_files == 0 { "whole" } else { "the log is whole" });
        return Ok(if damaged_files == 0 { WHOLE } else { DAMAGED });
    }
    println!(
        "{} damaged places. The broker serves what is whole and leaves these out; to get them back, restore the segment from a copy",
        damage.len() + short_segments
    );
    Ok(DAMAGED)
}

/// Queue offsets, as an operator reads them.
fn offsets_of(gone: &Range<u64>) -> String {
    let count = gone.end - gone.start;
    let messages = if count == 1 { "message" } else { "messages" };
    format!("offsets {} to {} ({count} {messages})", gone.start, gone.end - 1)
}

/// Whether damaged bytes of a segment were a filler: its prefix still says so, and behind it are zeros,
/// which a message has none of.
fn is_filler(path: &Path, segment: u64, range: &Range<u64>) -> bool {
    let size = range.end - range.start;
    if size > FILLER_BYTES_MAX {
        return false;
    }
    let mut bytes = vec![0; usize::try_from(size).expect("seen above")];
    let read = std::fs::File::open(path)
        .and_then(|file| file.read_exact_at(&mut bytes, range.start - segment));
    let Some((head, rest)) = bytes.split_at_checked(PREFIX_BYTES) else { return false };
    read.is_ok()
        && Prefix::read(head).is_some_and(|prefix| prefix.kind == Kind::Filler)
        && rest.iter().all(|byte| *byte == 0)
}

fn parse_position(text: &str) -> Result<Position, String> {
    if text.len() >= 32 {
        let id = OffsetMessageId::decode(text.as_bytes());
        return id.map(|id| id.position).map_err(|error| format!("{text}: {error}"));
    }
    let number = text.parse::<i64>().ok().and_then(Position::from_i64);
    number.ok_or_else(|| {
        format!("{text} is neither a position (a number) nor an offsetMsgId (32 or 56 hexadecimal digits)")
    })
}

fn explain(directory: &Path, position: &str) -> Result<u8, String> {
    let position = parse_position(position)?;
    let (wanted_shard, wanted) = (usize::from(position.shard().0), position.offset().bytes());
    let mut answer = None;
    let inspected = read(directory, |_, shard, found| {
        if shard != wanted_shard {
            return;
        }
        match found {
            Replayed::Record { offset, prefix, payload } => {
                if (offset..offset + prefix.record_bytes()).contains(&wanted) {
                    answer = Some((WHOLE, describe(shard, offset, &prefix, payload)));
                }
            }
            Replayed::Damage { range, bodiless } if range.contains(&wanted) => {
                let mut text = format!("damaged bytes, log offsets {}..{}", range.start, range.end);
                if let Some((prefix, payload)) = bodiless {
                    let whole = describe(shard, range.start, &prefix, payload);
                    text +=
                        &format!("\nonly the body is not what was written; the rest is\n{whole}");
                }
                answer = Some((DAMAGED, text));
            }
            Replayed::Damage { .. } => {}
        }
    })
    .map_err(|error| error.to_string())?;
    let (code, text) = answer.unwrap_or_else(|| {
        let text = match inspected.shards.get(wanted_shard) {
            Some(shard) => format!("the log of shard {wanted_shard} ends at {}", shard.end.end),
            None => format!("there is no shard {wanted_shard}"),
        };
        (DAMAGED, format!("nothing: {text}"))
    });
    println!("{text}");
    Ok(code)
}

fn describe(shard: usize, offset: u64, prefix: &Prefix, payload: &[u8]) -> String {
    let mut text = format!(
        "shard {shard}, log offset {offset}, {} bytes, {:?}, epoch {}, knew the log to be durable up to {}",
        prefix.record_bytes(),
        prefix.kind,
        prefix.epoch,
        prefix.durable
    );
    if prefix.kind != Kind::Message {
        return text;
    }
    let Ok((record, _)) = Record::decode(payload) else { return text };
    let fields = record.fields();
    let shard = ShardIndex(u8::try_from(shard).unwrap_or(u8::MAX));
    let position =
        LogOffset::new(offset + PREFIX_BYTES as u64).map(|offset| Position::new(shard, offset));
    text += &format!(
        "\nmessage: topic {}, queue {}, queue offset {}, stored at {} ms by {}, born at {} ms on {}, {} bytes of body",
        String::from_utf8_lossy(fields.topic),
        fields.queue_id,
        fields.queue_offset,
        fields.store_timestamp,
        fields.store_host,
        fields.born_timestamp,
        fields.born_host,
        fields.body.len()
    );
    if let Some(position) = position {
        let id = OffsetMessageId { host: fields.store_host, position }.encode();
        text += &format!("\noffsetMsgId: {}", String::from_utf8_lossy(id.as_bytes()));
    }
    for property in properties::iter(fields.properties) {
        text += &format!(
            "\n  {} = {}",
            property.name.escape_ascii(),
            String::from_utf8_lossy(property.value).escape_debug()
        );
    }
    text
}

fn queue_of(directory: &Path, topic: &str, queue: i32) -> Result<u8, String> {
    let mut state = QueueState::default();
    read(directory, |_, _, found| {
        let (is_whole, payload) = match found {
            Replayed::Record { prefix, payload, .. } if prefix.kind == Kind::Message => {
                (true, payload)
            }
            Replayed::Damage { bodiless: Some((_, payload)), .. } => (false, payload),
            _ => return,
        };
        let Some(((found_topic, found_queue), offset, stored_ms)) = place_of(payload) else {
            return;
        };
        if found_topic != topic || found_queue != queue {
            return;
        }
        match is_whole {
            true => state.add(offset, stored_ms),
            false => state.lose(offset),
        }
    })
    .map_err(|error| error.to_string())?;
    match state.stored_ms {
        Some((first_ms, last_ms)) => println!(
            "topic {topic}, queue {queue}: {} messages, offsets up to {}, stored from {first_ms} to {last_ms} ms",
            state.count, state.next
        ),
        None => println!("topic {topic}, queue {queue}: no messages"),
    }
    for gone in &state.gone {
        println!("GONE: {}", offsets_of(gone));
    }
    let is_whole = state.stored_ms.is_some() && state.gone.is_empty();
    Ok(if is_whole { WHOLE } else { DAMAGED })
}

/// Refuses a segment that is not there, before the whole log is read.
fn check_segment(store: &Path, shard: usize, first: u64) -> Result<(), String> {
    let is_there = |shard| shard_directory(store, shard).is_dir();
    let Some(number) = u16::try_from(shard).ok().filter(|shard| is_there(*shard)) else {
        let count = (0..256).take_while(|shard| is_there(*shard)).count();
        return Err(format!("there is no shard {shard}; there are {count}, numbered from 0"));
    };
    let directory = shard_directory(store, number);
    if segment_path(&directory, first).is_file() {
        return Ok(());
    }
    let entries = std::fs::read_dir(&directory);
    let entries = entries.map_err(|error| format!("list {}: {error}", directory.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_segment = |name: &String| name.len() == 20 && name.parse::<u64>().is_ok();
    let mut names: Vec<_> = names.filter(is_segment).collect();
    names.sort_unstable();
    let there = match (names.first(), names.last()) {
        (Some(first), Some(last)) => format!("there are {}, {first} to {last}", names.len()),
        _ => "there is none".to_owned(),
    };
    Err(format!("there is no segment {first:020} in shard {shard}; {there}"))
}

fn segment(directory: &Path, name: &str, wanted_shard: usize) -> Result<u8, String> {
    let first: u64 = name
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| {
            format!("{name} is no segment: its name is the log offset it begins with")
        })?;
    check_segment(directory, wanted_shard, first)?;
    let mut counts = Counts::default();
    let mut damage = Vec::new();
    let inspected = read(directory, |shape, shard, found| {
        let within = first..first + shape.segment_bytes;
        match found {
            _ if shard != wanted_shard => {}
            Replayed::Record { offset, prefix, .. } if within.contains(&offset) => {
                counts.add(&prefix);
            }
            Replayed::Damage { range, .. } if range.end > first && range.start < within.end => {
                damage.push(range);
            }
            _ => {}
        }
    })
    .map_err(|error| error.to_string())?;
    let end = first + inspected.shape.segment_bytes;
    println!("segment {first:020} of shard {wanted_shard}: log offsets {first}..{end}");
    counts.print();
    for range in &damage {
        println!("DAMAGED: log offsets {}..{}", range.start, range.end);
    }
    Ok(if damage.is_empty() { WHOLE } else { DAMAGED })
}
