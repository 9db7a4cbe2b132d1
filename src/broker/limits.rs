//! Limits of the broker, each with its unit and reason.

/// Longest remark of a refusal in bytes: names and values of a request that are told in it may be as long as the
/// request.
pub const REMARK_BYTES_MAX: usize = 4096;

/// Requests that wait for something to be read from disk (send-backs, searches by time), at the most.
/// Above it a client is told to try again; Java clients send a message back themselves on any error.
pub const PARKED_REQUESTS_MAX: usize = 1024;

/// A held pull waits at most this long, ms: old Go clients ask for nanoseconds, and a client's own
/// timeout is 30 s.
pub const SUSPEND_MS_MAX: u64 = 60_000;

/// Queues of a topic, at the most, per direction: a mistyped number must not make a million queues.
pub const QUEUES_PER_TOPIC_MAX: i32 = 65_536;

/// Questions to all cores at the same time, at the most: they come from tools. One holds some
/// megabytes for a topic with as many queues as allowed.
pub const INQUIRIES_MAX: usize = 64;

/// Queues that one question may be about: its answer fits a frame.
pub const QUEUES_TOLD_MAX: usize = 65_536;

/// Queues that a core looks at in a turn for such questions: 1 µs each, so that no message waits long.
pub const FACTS_PER_TURN: usize = 1024;

/// Committed offsets that one core tells of at once: some 60 bytes of memory and 10 of an answer each.
pub const OFFSETS_TOLD_MAX: usize = 1 << 18;

/// Looks at the disk, two a second, for which 329 lets old segments go at any hour: 10 s, in which some go
/// with each look (`manualDeleteFileSeveralTimes` is 20 there).
pub const CLEAN_LOOKS: u32 = 20;

/// Queues of groups that were reset and have not heard of it, on one core; a group that never comes
/// back is forgotten with its topic, by its deletion or a restart. 100 bytes each.
pub const RESETS_MAX: usize = 1 << 20;

const _: () = assert!(QUEUES_PER_TOPIC_MAX as usize <= QUEUES_TOLD_MAX);

/// Calls to clients that wait for an answer, at the most; each ends within 10 s. Replies to request
/// messages are such calls, so this bounds their rate if requesters are slow.
pub const CALLS_MAX: usize = 16 * 1024;

/// Memory of the replies among them: no more are taken while these have more bytes than that.
pub const CALL_BYTES_MAX: usize = 64 << 20;

/// Registrations that wait for one NameServer while it is slow, at the most. Those beyond are left out
/// there, and its next one is of the whole table.
pub const REGISTRATIONS_WAITING_MAX: usize = 64;

/// Topics in one registration unless `enableSplitRegistration` sets fewer: all. What does not fit a
/// frame is split in any case.
pub const REGISTRATION_TOPICS_MAX: usize = engine::limits::TOPICS_MAX;

/// Answers that wait until the NameServers were told, at the most; those beyond do not wait.
pub const ANSWERS_KEPT_BACK_MAX: usize = 16 * 1024;

/// How long the answer to a send that made its topic waits for them, ms: clients give up after 3 s.
pub const FIRST_SEND_KEPT_BACK_MS: u64 = 1_000;

/// Log offsets further from the tail than this share of RAM count as "not in memory"
/// (`accessMessageInMemoryMaxRatio` 40, protocol fact 3.4).
pub const IN_MEMORY_RAM_PERCENT: u64 = 40;

/// Committed offsets that one question for figures looks at on one core: a few look-ups in tables each
/// (0.4 µs without optimisation), so no message waits for it longer than some milliseconds.
pub const LAGS_LOOKED_AT_MAX: usize = 8192;

/// Kinds of clients (group, language, version) that figures tell of, at the most.
pub const CLIENTS_TOLD_MAX: usize = 8192;

/// Questions by key that one core asks all shards at a time; others wait for their turn. Each may bring
/// [`QUERY_BYTES_MAX`] from every core.
pub const QUERIES_AT_ONCE: usize = 16;

/// Questions by key that wait for their turn on one core; one more is refused.
pub const QUERIES_WAITING_MAX: usize = 1024;

/// Bytes of the messages in one answer to a question by key, unless the newest alone is longer: half of
/// what a client takes in a frame.
pub const QUERY_BYTES_MAX: usize = 8 << 20;

/// How long a question by key may take, ms: Java's client waits for 18 s.
pub const QUERY_MS_MAX: u64 = 15_000;

/// Messages in one answer to a question by key, the ceiling of `maxMsgsNumBatch` and
/// `defaultQueryMaxNum`: each is read from a place of its own.
pub const QUERY_MESSAGES_MAX: i64 = 1024;

/// Entries of a ConsumeQueue in one answer: some 700 KiB of JSON. RocketMQ gives what is left of a file, up
/// to 300,000.
pub const ENTRIES_PER_ANSWER_MAX: u64 = 8192;

/// Compiled expressions of pulls that bring their own, kept on a core (Apache keeps 100).
pub const EXPRESSIONS_MAX: usize = 128;

/// Bytes of their texts; programs take up to 24 times as many (`SqlFilter::MEMORY_PER_TEXT_BYTE`).
pub const EXPRESSIONS_TEXT_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(engine::limits::SQL_TEXT_BYTES_MAX <= EXPRESSIONS_TEXT_BYTES_MAX);
