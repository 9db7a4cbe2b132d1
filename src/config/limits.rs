//! What a configuration may cost to read, and the relations that its sizes must keep.

/// Longest configuration file in bytes. RocketMQ's own reference with every key is 40 KiB.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Most mistakes of a file that are told: nobody mends more at once, and each unknown key is
/// compared with all that there are.
pub const MISTAKES_MAX: usize = 100;

/// Characters of a value that a message repeats.
pub const SHOWN_CHARS_MAX: usize = 80;

/// Longest unknown key in bytes for which a nearest key is looked for; every key of the table is
/// shorter, and the comparison costs the product of both lengths.
pub const NEAREST_KEY_BYTES_MAX: usize = 64;

/// Longest name of a broker, a cluster, a region or a topic in bytes: RocketMQ's limit for topics
/// (`TopicValidator.TOPIC_MAX_LENGTH`); the broker's and the cluster's name become topics.
pub const NAME_BYTES_MAX: usize = 127;

/// Most NameServers to register with; each costs a connection and a registration per period.
pub const NAME_SERVERS_MAX: usize = 16;

/// Upper end of the bytes of one pull answer: the last message may be as long as any, and all of
/// them have to fit a frame.
pub const PULL_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(
    PULL_BYTES_MAX + engine::limits::PAYLOAD_BYTES_MAX as usize <= proto::limits::FRAME_BYTES_MAX
);
