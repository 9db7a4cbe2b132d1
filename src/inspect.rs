//! `ringmq inspect`: what a stopped store holds, and whether it is whole. Changes nothing.
//! Kind: shell
//!
//! Exit status: 0 the store is whole, 1 something in it is damaged (or what was asked for is not there),
//! 2 it cannot be read at all.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use engine::commitlog::{Kind, LogShape, PREFIX_BYTES, Prefix};
use proto::ids::{LogOffset, OffsetMessageId, Position, ShardIndex};
use proto::properties;
use proto::record::Record;
use runtime::file::{FileLock, SystemFiles};

use crate::server::recovery::Replayed;
use crate::server::store::{self, Inspected, StoreError, segment_path};

/// Flags of `ringmq inspect`.
#[derive(Debug, Args)]
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
    let lock_path = flags.store.join("LOCK");
    if !lock_path.exists() {
        return Err(format!(
            "{} is no store: it has no file LOCK; name the directory with --store",
            flags.store.display()
        ));
    }
    let _lock = FileLock::take(&lock_path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => format!(
            "the store {} is in use by process {error}; stop that process first",
            flags.store.display()
        ),
        _ => format!("lock {}: {error}", lock_path.display()),
    })?;
    match &flags.what {
        What::Verify => verify(&flags.store),
        What::Position { position } => explain(&flags.store, position),
        What::Queue { topic, queue } => queue_of(&flags.store, topic, *queue),
        What::Segment { name, shard } => segment(&flags.store, name, *shard),
    }
}

/// Reads the store and shows how far it is, if somebody watches.
fn read(
    directory: &Path,
    mut visit: impl FnMut(&LogShape, usize, Replayed<'_>),
) -> Result<Inspected, StoreError> {
    let is_watched = std::io::stderr().is_terminal();
    let (begun, mut told) = (Instant::now(), Instant::now());
    let inspected = store::inspect(&SystemFiles, directory, |shape, shard, found| {
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
        if queue_offset > self.next {
            self.gone.push(self.next..queue_offset);
        }
        self.next = self.next.max(queue_offset + 1);
        self.count += 1;
        let (first, _) = self.stored_ms.unwrap_or((stored_ms, stored_ms));
        self.stored_ms = Some((first, stored_ms));
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
        Replayed::Damage(range) => damage.push((shard, range)),
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
        if end.clean {
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
        println!(
            "DAMAGED: shard {shard}, log offsets {}..{} ({} bytes), in {} from byte {}",
            range.start,
            range.end,
            range.end - range.start,
            segment_path(&inspected.shards[*shard].directory, segment).display(),
            range.start - segment
        );
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
            println!("GONE: topic {topic}, queue {queue}, offsets {}..{}", gone.start, gone.end);
        }
    }
    if damage.is_empty() {
        println!("{}", if damaged_files == 0 { "whole" } else { "the log is whole" });
        return Ok(if damaged_files == 0 { WHOLE } else { DAMAGED });
    }
    println!(
        "{} damaged places. The broker serves what is whole and leaves these out; to get them back, restore the segment from a copy",
        damage.len()
    );
    Ok(DAMAGED)
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
            Replayed::Damage(range) if range.contains(&wanted) => {
                let text = format!("damaged bytes, log offsets {}..{}", range.start, range.end);
                answer = Some((DAMAGED, text));
            }
            Replayed::Damage(_) => {}
        }
    })
    .map_err(|error| error.to_string())?;
    let (code, text) = answer.unwrap_or_else(|| {
        let end = inspected.shards.get(wanted_shard).map_or(0, |shard| shard.end.end);
        (DAMAGED, format!("nothing: the log of shard {wanted_shard} ends at {end}"))
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
        if let Replayed::Record { prefix, payload, .. } = found
            && prefix.kind == Kind::Message
            && let Some(((found_topic, found_queue), offset, stored_ms)) = place_of(payload)
            && (found_topic == topic && found_queue == queue)
        {
            state.add(offset, stored_ms);
        }
    })
    .map_err(|error| error.to_string())?;
    let Some((first_ms, last_ms)) = state.stored_ms else {
        println!("topic {topic}, queue {queue}: no messages");
        return Ok(DAMAGED);
    };
    println!(
        "topic {topic}, queue {queue}: {} messages, offsets up to {}, stored from {first_ms} to {last_ms} ms",
        state.count, state.next
    );
    for gone in &state.gone {
        println!("GONE: offsets {}..{}", gone.start, gone.end);
    }
    Ok(if state.gone.is_empty() { WHOLE } else { DAMAGED })
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
    let mut counts = Counts::default();
    let mut damage = Vec::new();
    let inspected = read(directory, |shape, shard, found| {
        let within = first..first + shape.segment_bytes;
        match found {
            _ if shard != wanted_shard => {}
            Replayed::Record { offset, prefix, .. } if within.contains(&offset) => {
                counts.add(&prefix);
            }
            Replayed::Damage(range) if range.end > first && range.start < within.end => {
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
