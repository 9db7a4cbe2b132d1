//! Limits of connections, each with its unit and reason.

/// Bytes of a frame with its length word (`com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_BYTES_MAX: usize = proto::limits::FRAME_BYTES_MAX;

/// Above this many unsent bytes a connection is not read from any more: who does not take its
/// answers gets no further requests in.
pub const BACKLOG_BYTES_PAUSE: usize = 1024 * 1024;

/// Above this many received bytes that have to wait a connection is not read from any more: less is what
/// a consumer asks for at once, and not worth the stop.
pub const HELD_BYTES_PAUSE: usize = 64 * 1024;

/// Above this many unsent bytes a connection is closed: pulls that were held may still be answered
/// after reading stopped, and one answer may hold a message of 4 MiB.
pub const BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of answers for one other core's connections in a turn: they are copied, records and all.
pub const REMOTE_BYTES_PER_TURN: usize = 4 * 1024 * 1024;

/// Memory that an idle connection keeps for its next replies; what grew beyond is given back.
pub const OUTBOX_BYTES_KEPT: usize = 256 * 1024;
