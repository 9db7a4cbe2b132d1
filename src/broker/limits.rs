//! Limits of the broker, each with its unit and reason.

/// Requests that wait for something to be read from disk (send-backs, searches by time), at the most.
/// Above it a client is told to try again; Java clients send a message back themselves on any error.
pub const PARKED_REQUESTS_MAX: usize = 1024;

/// A held pull waits at most this long, ms: old Go clients ask for nanoseconds, and a client's own
/// timeout is 30 s.
pub const SUSPEND_MS_MAX: u64 = 60_000;

/// Queues of a topic, at the most, per direction: a mistyped number must not make a million queues.
pub const QUEUES_PER_TOPIC_MAX: i32 = 65_536;

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

/// Compiled expressions of pulls that bring their own, kept on a core (Apache keeps 100).
pub const EXPRESSIONS_MAX: usize = 128;

/// Bytes of their texts; programs take up to 24 times as many (`SqlFilter::MEMORY_PER_TEXT_BYTE`).
pub const EXPRESSIONS_TEXT_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(engine::limits::SQL_TEXT_BYTES_MAX <= EXPRESSIONS_TEXT_BYTES_MAX);
