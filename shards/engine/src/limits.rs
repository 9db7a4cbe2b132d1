//! Limits of a shard, each with its unit and reason.

/// Bytes of one message's body, the ceiling of `maxMessageSize`: what clients and frames allow.
pub const BODY_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// Bytes of a whole RocketMQ record beyond its body: topic, properties and fixed fields
/// (RocketMQ allows `maxMessageSize` + 64 KiB; MessageExtEncoder 5.3.3).
pub const RECORD_OVERHEAD_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of a payload in the log. A length above it is no record.
pub const PAYLOAD_BYTES_MAX: u32 = BODY_BYTES_MAX + RECORD_OVERHEAD_BYTES_MAX;

/// Smallest write buffer: a few of the largest messages fit, with one being filled.
pub const WRITE_BUFFER_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Smallest segment: a largest batch and its filler fit.
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Bytes appended but not yet written, at the most. Recovery need not look further than this behind
/// a torn tail. Below the smallest write buffer, where acknowledgements find their records.
pub const UNWRITTEN_BYTES_MAX: u64 = WRITE_BUFFER_BYTES_MIN * 7 / 8;

/// A write that joins others in flight is at least this large: the device is at its best from here.
pub const PIPELINED_WRITE_BYTES_MIN: u64 = 128 * 1024;

/// Space prepared ahead of the tail, in bytes, that the shard asks for.
pub const PREPARED_AHEAD_BYTES: u64 = 128 * 1024 * 1024;

/// Records that wait for confirmation, at the most: twice what the write buffer holds of small ones.
pub const LINE_RECORDS_MAX: usize = 1 << 18;

/// Entries of a consume queue that are kept together in memory: 12 KiB.
pub const QUEUE_CHUNK_ENTRIES: usize = 512;

/// Bytes of the log after which its queue entries go into a run: what a start replays, and how often
/// the core copies entries.
pub const SEAL_LOG_BYTES: u64 = 64 * 1024 * 1024;

/// Queue entries after which they go into a run: 3 MiB are copied in one turn.
pub const SEAL_ENTRIES: usize = 1 << 17;

/// Bytes of the log's own records (offsets, catalog) after which a run is made.
pub const SEAL_NOTE_BYTES: usize = 4 << 20;

/// Queue entries that no run holds, at the most: appends wait (384 MiB of memory, in case that the disk
/// takes no runs).
pub const UNSEALED_ENTRIES_MAX: usize = 1 << 24;

/// Segments that go at a time (`deleteFileBatchMax`), so that a full disk is looked at again between.
pub const EXPIRE_SEGMENTS_MAX: usize = 10;

/// Entries that a pull looks at before it fetches more.
pub const ENTRY_WINDOW: usize = 64;

/// Entries of a consume queue that one pull looks at, whatever the filter
/// (`maxFilterMessageSize` 16000 bytes of 20-byte entries; DefaultMessageStore 5.3.3).
pub const SCANNED_ENTRIES_MAX: usize = 800;

/// Bytes of records that one pull looks at on disk in vain, whatever their number. Above it the client is
/// told where to go on: each byte is read and verified for nothing.
pub const SCANNED_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What the expressions of one pull may cost between two pulls of others, in bytes looked at
/// (`SqlFilter::cost`): some milliseconds. The usual 800 messages cost a fourth of a megabyte.
pub const SCANNED_COST_MAX: usize = 8 * 1024 * 1024;

/// Bytes of an SQL92 expression: a list of thousands of ids. Apache has no limit but the request's.
pub const SQL_TEXT_BYTES_MAX: usize = 32 * 1024;

/// Conditions of an SQL92 expression that are nested in each other: parser and evaluation recurse, some
/// hundred bytes of stack each time.
pub const SQL_DEPTH_MAX: usize = 128;

/// Different properties that an SQL92 expression names. Their values are found before it is evaluated,
/// 16 bytes of stack each.
pub const SQL_NAMES_MAX: usize = 64;

/// Bytes that the payloads of one group (a batch) take together, each rounded up with its prefix.
/// A batch of tiny messages grows when each gets the fixed fields of a record; above this it is
/// refused like a message that is too large.
pub const GROUP_PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Uncommitted consumer offsets are written at the latest after this many ms.
pub const OFFSETS_DELAY_MS: u64 = 500;

/// Consumer offsets in one record of the log.
pub const OFFSETS_PER_RECORD_MAX: usize = 512;

/// Held pulls per shard. Above it a pull is answered at once instead of held.
pub const HELD_PULLS_MAX: usize = 1 << 20;

/// Bytes of one block of the cold-read cache: 256 KiB reads are near the disk's best.
pub const READ_BLOCK_BYTES: usize = 256 * 1024;

/// Damaged messages that are told one by one in a second; of more only the number: a segment that is
/// lost has a million.
pub const DAMAGES_TOLD_PER_SECOND: u32 = 16;

/// Cold reads in flight per shard.
pub const COLD_READS_IN_FLIGHT_MAX: usize = 16;

/// Pulls of a shard that wait for the disk; one more is refused.
pub const COLD_PULLS_MAX: usize = 1 << 16;

/// How long a delayed message that is due and cannot be delivered (its record cannot be read, the log
/// takes nothing) waits until it is tried again, ms.
pub const DELAY_RETRY_MS: u64 = 1000;

/// Delayed messages that are carried out of segments that are to go, at the most: 32 MiB of memory. With
/// more of them segments are kept.
pub const CARRIED_MAX: usize = 1 << 18;

/// Delayed messages that are looked at in a turn, carried or not.
pub const CARRIED_LOOKS_PER_TURN: usize = 256;

/// Bytes carried in a turn before others have theirs.
pub const CARRIED_BYTES_PER_TURN: u64 = 256 * 1024;

/// Half messages of a shard that are open, at the most: some 100 MiB of memory. One more is refused.
pub const OPEN_TRANSACTIONS_MAX: usize = 1 << 20;

/// How long checks of half messages that are due and cannot be made (the record cannot be read, the log
/// takes nothing) wait until they are tried again, ms.
pub const CHECK_RETRY_MS: u64 = 1000;

/// Ranges of settled half messages in one note: 64 KiB.
pub const ENDED_PER_NOTE_MAX: usize = 4096;

/// Checked half messages in one note: 96 KiB.
pub const CHECKED_PER_NOTE_MAX: usize = 4096;

/// Consumer offsets a shard keeps, at the most (group × topic × queue).
pub const OFFSETS_MAX: usize = 1 << 22;

/// Consumer offsets that a question about all groups goes through between two turns: some ns each, as
/// long as nothing is looked up for them. A shard with more gives no answer.
pub const OFFSETS_GONE_THROUGH_MAX: usize = 1 << 18;

const _: () = assert!(PAYLOAD_BYTES_MAX as usize <= GROUP_PAYLOAD_BYTES_MAX);
// A group and the filler before it fit an empty log, or a send would wait for ever.
const _: () = assert!(UNWRITTEN_BYTES_MAX > 2 * GROUP_PAYLOAD_BYTES_MAX as u64 + 64 * 1024);
const _: () = assert!(UNWRITTEN_BYTES_MAX < WRITE_BUFFER_BYTES_MIN);
const _: () = assert!(WRITE_BUFFER_BYTES_MIN.is_power_of_two());

/// Topics of a broker. A route and a registration stay below a frame's 16 MiB well beyond 50,000;
/// registrations are split before that matters.
pub const TOPICS_MAX: usize = 1 << 20;

/// Consumer groups of a broker.
pub const GROUPS_MAX: usize = 1 << 20;
