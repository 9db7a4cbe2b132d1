//! Limits of what is on its way between cores.

/// Bytes of frames on their way to one core in one class, at the most; one frame goes whatever its
/// size. What a core has read off its sockets in a turn or two: more would only wait there.
pub const CROSSING_BYTES_MAX: usize = 1 << 20;

/// Pulls of one connection on their way to other cores, at the most: until they come back as handled
/// nobody knows how much the client will have to read.
pub const CROSSING_PULLS_MAX: u32 = 16;

/// Emptied parcels that are kept for each core.
pub const PARCELS_KEPT: usize = 16;

/// Bytes of memory that an emptied parcel keeps.
pub const PARCEL_BYTES_KEPT: usize = 256 * 1024;

/// Messages in the ring between two cores. A turn sends a handful.
pub const RING_MESSAGES: usize = 256;

/// Cores of a process, at the most.
pub const CORES_MAX: usize = 64;

const _: () = assert!(CORES_MAX <= 1 << 8, "a connection's id has 8 bits for its core");
