//! What a configuration may cost to read, and the relations that its sizes must keep.

/// Longest configuration file in bytes. RocketMQ's own reference with every key is 40 KiB.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Longest unknown key in bytes for which a nearest key is looked for; every key of the table is
/// shorter, and the comparison costs the product of both lengths.
pub const NEAREST_KEY_BYTES_MAX: usize = 64;

/// Longest name of a broker, a cluster, a region or a topic in bytes: RocketMQ's limit for topics
/// (`TopicValidator.TOPIC_MAX_LENGTH`); the broker's and the cluster's name become topics.
pub const NAME_BYTES_MAX: usize = 127;

/// Most delay levels: RocketMQ ships 18; each is a queue of SCHEDULE_TOPIC_XXXX in every shard.
pub const DELAY_LEVELS_MAX: usize = 64;

/// Most NameServers to register with; each costs a connection and a registration per period.
pub const NAME_SERVERS_MAX: usize = 16;

/// Longest frame on RocketMQ's wire in bytes (`com.rocketmq.remoting.frameMaxLength`).
const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a frame or a record holds beside the body: the command header, at most 32 KiB of
/// properties, topic and fixed fields.
pub const RECORD_OVERHEAD_BYTES: u64 = 64 * 1024;

/// Upper end of `maxMessageSize` in bytes.
pub const MESSAGE_BYTES_MAX: u64 = 16 * 1024 * 1024 - RECORD_OVERHEAD_BYTES;

/// Upper end of the bytes of one pull answer, so that the last message still fits a frame.
pub const PULL_BYTES_MAX: u64 = 8 * 1024 * 1024;

const _: () = assert!(MESSAGE_BYTES_MAX + RECORD_OVERHEAD_BYTES <= FRAME_BYTES_MAX);
const _: () = assert!(PULL_BYTES_MAX < FRAME_BYTES_MAX);
