//! Limits of a core, each with its unit and reason.

use std::time::Duration;

/// Bytes of one receive buffer. Larger ones waste memory, 16 KiB cost 30 % more CPU per frame.
pub const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// Receive buffers of a core: 4 MiB. A power of two, as the kernel's buffer ring wants.
pub const RECEIVE_BUFFERS: u16 = 64;

/// Receive buffers that the kernel has to choose from, unless it runs out: 1 MiB, which stays in a
/// core's second-level cache.
pub const RECEIVE_BUFFERS_HOT: u16 = 16;

/// Submission entries: what one turn may start before it enters the kernel.
pub const RING_ENTRIES: u32 = 1024;

/// Completion entries: multishot operations complete more often than they are submitted.
pub const COMPLETION_ENTRIES: u32 = 8192;

/// Operations on files in flight per core (log writes, cold reads, syncs) that there is room for from the start;
/// with many shards it grows to what they bound theirs to.
pub const FILE_OPERATIONS: usize = 1024;

/// Slots of the ring's file table for files in use: open segments of all shards of a core.
pub const FILE_SLOTS: u32 = 256;

/// Slots beyond these, as far as RLIMIT_NOFILE allows: a file that is detached keeps its own as long as
/// an operation on it is in flight. As many as the shards of a core, one file of each kind, may have in flight.
pub const FILE_SLOTS_LINGERING_MAX: u32 = 6 * 1024;

/// One descriptor of so many is for files and nothing else: while a socket has a number in the last
/// quarter of RLIMIT_NOFILE it is closed at once, so that connections never keep a segment from being
/// made. A log needs one more for each segment, a run or an index file now and then.
pub const FILES_PART: u64 = 4;

/// How long nobody is accepted after that failed for want of descriptors or memory: short enough for
/// clients that wait, long enough to cost nothing.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A log write neither crosses a boundary of this many bytes nor is larger: one registered buffer.
/// Between 64 KiB and 1 MiB the disk is at its best.
pub const WRITE_REGION_BYTES: u64 = 1024 * 1024;

/// Slots of the ring's buffer table, one per region: the kernel allows 16 Ki, that is 16 GiB.
pub const REGION_SLOTS: u32 = 1 << 14;

/// Writes of one write buffer in flight: more than the device profits from.
pub const WRITES_IN_FLIGHT_MAX: usize = 16;

/// Slices one send gathers (IOV_MAX of Linux).
pub const SLICES_PER_SEND_MAX: usize = 1024;

/// Alignment of memory that goes to or comes from O_DIRECT: the page, which no disk exceeds.
pub const DIRECT_ALIGNMENT: usize = 4096;

const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());
const _: () = assert!(WRITE_REGION_BYTES.is_multiple_of(DIRECT_ALIGNMENT as u64));
