//! How much a NameServer remembers. Whoever can connect can register, so nothing is unbounded.

/// Most broker names. Apache's largest known installation has some hundreds.
pub const BROKER_NAMES_MAX: usize = 4096;

/// Most replicas of one broker name.
pub const REPLICAS_MAX: usize = 16;

/// Most topics, as many as a broker takes; one costs about 200 bytes. (A list of all their names
/// fits an answer up to some 130 000 names of 120 bytes, and is refused beyond.)
pub const TOPICS_MAX: usize = engine::limits::TOPICS_MAX;

/// Most pairs of a topic and a broker that serves it; one costs 32 bytes.
pub const ROUTES_MAX: usize = 1 << 21;

/// Most static mappings, that is pairs of a static topic and a broker.
pub const MAPPINGS_MAX: usize = 4096;

/// Most queues in one static mapping.
pub const MAPPED_QUEUES_MAX: usize = 1024;

/// Longest name of a broker, cluster or zone and longest address in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest topic in bytes: `%RETRY%` and a group of 255.
pub const TOPIC_BYTES_MAX: usize = 7 + 255;

/// Most bytes of all namespaces, keys and values of the key-value configuration, so that one
/// namespace always fits a frame, escaped as JSON too.
pub const KEY_VALUE_BYTES_MAX: usize = 1 << 20;

/// Most changes of key-values and settings that wait to be saved, and most bytes of them. They wait
/// while the ones before are written, some milliseconds; more are told to come again.
pub const CHANGES_WAITING_MAX: usize = 1024;

/// See [`CHANGES_WAITING_MAX`].
pub const CHANGES_WAITING_BYTES_MAX: usize = 2 * KEY_VALUE_BYTES_MAX;

/// Longest body of a 318 in bytes; there are nine keys with short values.
pub const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of frames that arrived in part and of requests that wait until their answers are read, all
/// connections together; the connection that brings more is closed. Sixteen of the longest frames, as
/// `ringmqInFlightBytesPerCore` is by default: a registration of ten thousand topics has some megabytes.
pub const ASSEMBLING_BYTES_MAX: usize = 256 << 20;

/// Most filter servers of a broker; brokers of 5.x have none.
pub const FILTER_SERVERS_MAX: usize = 64;

/// Range of `scanNotActiveBrokerInterval` in milliseconds.
pub const SCAN_INTERVAL_MS_MIN: u64 = 100;

/// See [`SCAN_INTERVAL_MS_MIN`].
pub const SCAN_INTERVAL_MS_MAX: u64 = 600_000;

/// Largest `waitSecondsForService`.
pub const WAIT_FOR_SERVICE_SECONDS_MAX: u64 = 3600;

/// Silence after which a registration expires if the broker does not say, in milliseconds
/// (`DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`).
pub const BROKER_EXPIRED_MS: u64 = 120_000;

/// Longest silence that a broker can ask for in milliseconds; Apache has no limit.
pub const BROKER_EXPIRED_MS_MAX: u64 = 3_600_000;

/// What an answer's header may take of a frame in bytes: it repeats a topic in its remark.
pub const ANSWER_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Longest body of an answer in bytes; a longer one is refused, because no client could read it.
pub const ANSWER_BODY_BYTES_MAX: usize = proto::limits::FRAME_BYTES_MAX - ANSWER_HEADER_BYTES_MAX;

const _: () = assert!(6 * KEY_VALUE_BYTES_MAX <= ANSWER_BODY_BYTES_MAX);
const _: () = assert!(CHANGES_WAITING_BYTES_MAX >= KEY_VALUE_BYTES_MAX + NAME_BYTES_MAX);
const _: () = assert!(TOPICS_MAX <= ROUTES_MAX);
const _: () = assert!(ASSEMBLING_BYTES_MAX >= 16 * proto::limits::FRAME_BYTES_MAX);
const _: () = assert!(BROKER_EXPIRED_MS <= BROKER_EXPIRED_MS_MAX);
