//! The time of a run.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds since an unnamed start, the same for all processes of a machine.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Milliseconds since 1970.
pub fn wall_ms() -> u64 {
    nanoseconds(ClockId::Realtime) / 1_000_000
}

/// CPU time that this process has used, in nanoseconds.
pub fn own_cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}
