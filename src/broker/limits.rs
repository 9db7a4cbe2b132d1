//! Limits of the broker, each with its unit and reason.

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

/// Answers that wait for a registration, at the most.
pub const AWAITING_REGISTRATION_MAX: usize = 16 * 1024;

/// Log offsets further from the tail than this share of RAM count as "not in memory"
/// (`accessMessageInMemoryMaxRatio` 40, protocol fact 3.4).
pub const IN_MEMORY_RAM_PERCENT: u64 = 40;

/// Committed offsets that one question for figures looks at on one core: a few look-ups in tables each
/// (0.4 µs without optimisation), so no message waits for it longer than some milliseconds.
pub const LAGS_LOOKED_AT_MAX: usize = 8192;

/// Kinds of clients (group, language, version) that figures tell of, at the most.
pub const CLIENTS_TOLD_MAX: usize = 8192;

/// Bytes of properties that the broker itself may add to a message: UNIQ_KEY, MSG_REGION, TRACE_ON,
/// CLUSTER, REAL_TOPIC, REAL_QID.
pub const ADDED_PROPERTIES_BYTES_MAX: usize = 1024;
