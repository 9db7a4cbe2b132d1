//! The time: read once per turn of a core's loop, then handed on as plain data.
//! Owns: nothing.          Lives on: every core
//! Kind: shell
//! Invariants: `monotonic_ns` never goes back; `wall_ms` follows the system's clock and may.

use rustix::time::{ClockId, Timespec, clock_gettime};

const NS_PER_MS: u64 = 1_000_000;
const MS_PER_SECOND: u64 = 1_000;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// One reading of the clocks. The engine takes it as an argument and reads no clock itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970-01-01 UTC: what messages carry and people read. May jump both ways
    /// when the system's clock is set.
    pub wall_ms: u64,
    /// Nanoseconds since an unnamed start, never going back: for deadlines and durations. It stands
    /// still while the machine is suspended.
    pub monotonic_ns: u64,
}

impl Now {
    /// The monotonic reading in ms.
    pub fn monotonic_ms(self) -> u64 {
        self.monotonic_ns / 1_000_000
    }
}

/// Reads the system's clocks: the only place that does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

impl Clock {
    /// Reads both clocks: two calls of the vDSO, about 50 ns together, so once per turn.
    ///
    /// # Panics
    /// If the system's clock stands before 1970: no time stamp could be written.
    pub fn now(self) -> Now {
        let wall = clock_gettime(ClockId::Realtime);
        let monotonic = clock_gettime(ClockId::Monotonic);
        let (wall_seconds, wall_ns) = split(wall);
        let (monotonic_seconds, monotonic_ns) = split(monotonic);
        Now {
            wall_ms: wall_seconds * MS_PER_SECOND + wall_ns / NS_PER_MS,
            monotonic_ns: monotonic_seconds * NS_PER_SECOND + monotonic_ns,
        }
    }
}

fn split(time: Timespec) -> (u64, u64) {
    let seconds = u64::try_from(time.tv_sec).expect("the clock stands at or after 1970");
    let ns = u64::try_from(time.tv_nsec).expect("the kernel gives 0..1e9 nanoseconds");
    (seconds, ns)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn monotonic_time_never_goes_back() {
        let mut last = Clock.now();
        for _ in 0..100_000 {
            let now = Clock.now();
            assert!(now.monotonic_ns >= last.monotonic_ns);
            last = now;
        }
    }

    #[test]
    fn wall_time_is_unix_milliseconds() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let now = u128::from(Clock.now().wall_ms);
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(before <= now);
        assert!(now <= after);
    }
}
