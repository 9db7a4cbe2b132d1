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

/// Smallest write buffer whose size does not divide the size of a segment: a segment may end shortly before
/// it wraps, and before each of them may be a filler as long as a group.
pub const ODD_WRITE_BUFFER_BYTES_MIN: u64 = 2 * WRITE_BUFFER_BYTES_MIN;

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

/// Entries of messages that are gone and that a start leaves in queues because groups are behind them.
pub const GAP_ENTRIES_MAX: u64 = 1 << 16;

/// Queue entries that no run holds, at the most: appends wait (384 MiB of memory, in case that the disk
/// takes no runs).
pub const UNSEALED_ENTRIES_MAX: usize = 1 << 24;

/// Keys noted after which a slice is sealed, too: 12 MiB. Messages with one UNIQ_KEY and seven KEYS each
/// are sealed by their number.
pub const SEAL_INDEX_ENTRIES: usize = 1 << 20;

/// Keys in memory that no index file holds, at the most: 384 MiB, in case that the disk takes no files.
/// Those beyond are found again when a file is made from the log.
pub const INDEX_UNWRITTEN_ENTRIES_MAX: usize = 1 << 25;

/// Keys that are kept together in memory: 48 KiB.
pub const INDEX_CHUNK_ENTRIES: usize = 4096;

/// Pages whose first hash a shard has in memory: 32 MiB, enough for 2.8 thousand million keys. With more a
/// question reads a page or two more of the largest files.
pub const INDEX_DIRECTORY_PAGES_MAX: usize = 1 << 23;

/// Bytes of an index file read at a time: a page and its neighbours cost no more than a page.
pub const INDEX_READ_BYTES: usize = 16 * 1024;

/// Blocks of the cache for index files: 4 MiB a shard.
pub const INDEX_CACHE_BLOCKS: usize = 256;

/// Index files merged at a time: the files of a usual segment, and 1 MiB of buffers.
pub const INDEX_MERGED_FILES_MAX: usize = 64;

/// Index files that a question reads from at a time: as many as there are reads in flight.
pub const FIND_FILES_AT_ONCE: usize = COLD_READS_IN_FLIGHT_MAX;

/// Keys in memory that a question looks at in one turn: some 0.3 ms.
pub const FIND_SCANNED_PER_TURN: usize = 1 << 18;

/// Pages of index files that one question looks at in one shard, at the most: as many files as a log of
/// 32 TiB has. What it found until then is the answer.
pub const FIND_PAGES_MAX: usize = 1 << 15;

/// Records that one question looks at in one shard, at the most: hashes of 32 bits seldom meet, so only
/// somebody's intent reaches it.
pub const FIND_RECORDS_MAX: usize = 1024;

/// How often a question begins again because the files it reads from were merged meanwhile.
pub const FIND_RESTARTS_MAX: u32 = 16;

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

/// Bytes of such a record's payload: each has the name of its group.
pub const OFFSETS_RECORD_BYTES_MAX: usize = OFFSETS_PER_RECORD_MAX * 300;

/// Held pulls per shard. Above it a pull is answered at once instead of held.
pub const HELD_PULLS_MAX: usize = 1 << 20;

/// Bytes of one block of the cold-read cache: 256 KiB reads are near the disk's best.
pub const READ_BLOCK_BYTES: usize = 256 * 1024;

/// Damaged messages that are told one by one in a second; of more only the number: a segment that is
/// lost has a million.
pub const DAMAGES_TOLD_PER_SECOND: u64 = 16;

/// Cold reads in flight per shard.
pub const COLD_READS_IN_FLIGHT_MAX: usize = 16;

/// Pulls of a shard that wait for the disk; one more is refused.
pub const COLD_PULLS_MAX: usize = 1 << 16;

/// How long a delayed message that is due and cannot be delivered (its record cannot be read, the log
/// takes nothing) waits until it is tried again, ms.
pub const DELAY_RETRY_MS: u64 = 1000;

/// Most delay levels: RocketMQ ships 18; each is a queue of SCHEDULE_TOPIC_XXXX in every shard.
pub const DELAY_LEVELS_MAX: usize = 64;

/// A store time further ahead of the clock than this is no time: a clock was ahead, and store times never
/// fall. What waits since then counts as stored when it was seen first. Less is waited for, ms.
pub const CLOCK_SLACK_MS: u64 = 60_000;

/// Half messages with such store times that are given another time in a turn: some 0.3 ms.
pub const SEEN_PER_TURN_MAX: usize = 1024;

/// How long a message that waits and that the disk does not give is stepped over until it is tried again,
/// ms: a try is a read of a device that may take seconds to say no.
pub const UNREADABLE_RETRY_MS: u64 = 60_000;

/// How often a timer cannot be read in a row, [`DELAY_RETRY_MS`] apart, until it is stepped over: a read that
/// fails once changes no order.
pub const UNREADABLE_TRIES: u32 = 3;

/// Timers that are stepped over at the same time, at the most: each adds 48 bytes to every record that
/// says what fired. One more holds up those behind it.
pub const TIMERS_ASIDE_MAX: usize = 64;

/// Delayed messages that are carried out of segments that are to go, at the most: 32 MiB of memory. With
/// more of them segments are kept.
pub const CARRIED_MAX: usize = 1 << 18;

/// How long a segment is kept in which too much waits until it is looked at again, ms: each time half a
/// segment may be copied.
pub const KEPT_RETRY_MS: u64 = 3_600_000;

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

/// Timers of a run enter memory when they are due within this, ms: time enough for a slow disk.
pub const TIMER_AHEAD_MS: u64 = 5_000;

/// Timers that entered memory ahead of their time, at the most: 24 MiB, and a page for each run when
/// all are due at once.
pub const TIMERS_NEAR_MAX: usize = 1 << 20;

/// Pages of timers that enter memory in a turn: 170 timers each.
pub const TIMER_PAGES_PER_TURN: usize = 64;

/// Pages of timers that are waited for at the same time.
pub const TIMER_PAGES_WANTED_MAX: usize = 8;

/// Timers that fire in one group of the log …
pub const FIRED_PER_GROUP_MAX: usize = 64;

/// … and bytes of their records, a single one aside.
pub const FIRED_BYTES_PER_GROUP: usize = 256 * 1024;

/// Timers behind one whose record is being read that are asked for, too.
pub const TIMERS_LOOKED_AHEAD: usize = 16;

/// Spans of the log with a cursor of their own: each needs a clock that was set back while timers wait.
pub const TIMER_SPANS_MAX: usize = 32;

/// Messages called back whose time has not come, at the most: some 30 MiB of memory.
pub const RECALLS_MAX: usize = 1 << 18;

/// Recalls of times that have passed are forgotten this often, ms: each time is a record in the log.
pub const RECALLS_FORGOTTEN_EVERY_MS: u64 = 1_000;

/// Consumer offsets a shard keeps, at the most (group × topic × queue).
pub const OFFSETS_MAX: usize = 1 << 22;

/// Consumer offsets that a question about all groups goes through between two turns: some ns each, as
/// long as nothing is looked up for them. A shard with more gives no answer.
pub const OFFSETS_GONE_THROUGH_MAX: usize = 1 << 18;

const _: () = assert!(PAYLOAD_BYTES_MAX as usize <= GROUP_PAYLOAD_BYTES_MAX);
const _: () = assert!(CATALOG_BYTES_MAX <= PAYLOAD_BYTES_MAX as usize);
// A group and the filler before it fit an empty log, or a send would wait for ever.
// Of these a group and the fillers before it fit any log with nothing to write, wherever its segments end.
const _: () = assert!(ODD_WRITE_BUFFER_BYTES_MIN > 3 * GROUP_PAYLOAD_BYTES_MAX as u64 + 64 * 1024);
const _: () = assert!(SEGMENT_BYTES_MIN > 2 * GROUP_PAYLOAD_BYTES_MAX as u64);
const _: () = assert!(UNWRITTEN_BYTES_MAX > 2 * GROUP_PAYLOAD_BYTES_MAX as u64 + 64 * 1024);
const _: () = assert!(UNWRITTEN_BYTES_MAX < WRITE_BUFFER_BYTES_MIN);
const _: () = assert!(WRITE_BUFFER_BYTES_MIN.is_power_of_two());
const _: () = assert!(FIND_FILES_AT_ONCE <= INDEX_CACHE_BLOCKS);
const _: () = assert!(INDEX_CHUNK_ENTRIES <= FIND_SCANNED_PER_TURN);

/// Topics of a broker. A route and a registration stay below a frame's 16 MiB well beyond 50,000;
/// registrations are split before that matters.
pub const TOPICS_MAX: usize = 1 << 20;

/// Bytes of one change of the catalog in the log: a group with the longest expressions for a few topics. It
/// is in memory on every core, and in answers that have to fit a frame.
pub const CATALOG_BYTES_MAX: usize = 64 * 1024;

/// Consumer groups of a broker.
pub const GROUPS_MAX: usize = 1 << 20;

/// Topics that groups may not read: operators forbid them one by one. Some 300 bytes each on every core.
pub const FORBIDDEN_MAX: usize = 1 << 16;
