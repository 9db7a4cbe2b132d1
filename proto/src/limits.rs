//! Limits of the wire formats, each with its unit and its reason.

/// Longest frame in bytes, the 4-byte length included.
/// Apache's `NettyDecoder` has the same default (`com.rocketmq.remoting.frameMaxLength`);
/// a longer frame closes the connection.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest header in bytes: `mark` has 24 bits for it.
pub const HEADER_BYTES_MAX: usize = (1 << 24) - 1;

/// Longest header in bytes that is read. The largest that clients send, properties of 32 KiB with each byte
/// escaped, is a tenth of it, and a key-value of a NameServer may take half; and an answer that repeats what it
/// was asked still fits its own `mark` when each byte became an escape of six.
pub const READ_HEADER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most entries of one header's `extFields`. The busiest official request (a send of the 5.x Java
/// client with signing and namespaces) has 22; one more entry than this is a decoding error.
pub const EXT_FIELDS_MAX: usize = 64;

/// Deepest nesting of a value that we skip in a JSON header. Official headers nest two levels.
/// The open brackets are one bit each of a u64.
pub const JSON_DEPTH_MAX: usize = 64;

/// Longest body of one message in bytes (`maxMessageSize`).
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest properties text in bytes: its length travels as an i16.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// Longest topic in bytes on a send; a longer one (a retry topic) makes a V2 record.
pub const TOPIC_BYTES_MAX: usize = 127;

/// Longest retry topic in bytes that a store takes.
pub const RETRY_TOPIC_BYTES_MAX: usize = 255;

/// Longest consumer or producer group name in bytes.
pub const GROUP_BYTES_MAX: usize = 255;

/// What a stored record may be longer than its body (`maxMessageSize` + 64 KiB).
pub const RECORD_EXTRA_BYTES_MAX: usize = 64 * 1024;

/// Longest stored record in bytes.
pub const RECORD_BYTES_MAX: usize = BODY_BYTES_MAX + RECORD_EXTRA_BYTES_MAX;

const _: () = assert!(FRAME_BYTES_MAX <= i32::MAX as usize);
const _: () = assert!(7 * READ_HEADER_BYTES_MAX < HEADER_BYTES_MAX);
const _: () = assert!(RECORD_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(JSON_DEPTH_MAX <= u64::BITS as usize);
const _: () = assert!(PROPERTIES_BYTES_MAX + RETRY_TOPIC_BYTES_MAX < RECORD_EXTRA_BYTES_MAX);
