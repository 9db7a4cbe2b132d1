//! When each message of an open loop is to be sent.
//! Kind: machine
//! Invariants: the n-th message is due n / rate seconds after the first, rounded down, for ever.

use crate::clock::SECOND_NS;

/// A fixed rate that does not wait for anybody.
#[derive(Debug, Clone)]
pub struct Schedule {
    next_ns: u64,
    step_ns: u64,
    /// What `step_ns` is too short, and how much of it has added up, in parts of 1 / rate ns.
    step_rest: u64,
    rest: u64,
    rate: u64,
}

impl Schedule {
    /// `rate` messages a second, the first one at `first_ns`.
    ///
    /// # Panics
    /// If `rate` is 0.
    pub fn new(first_ns: u64, rate: u64) -> Schedule {
        assert!(rate > 0);
        let step_ns = SECOND_NS / rate;
        Schedule { next_ns: first_ns, step_ns, step_rest: SECOND_NS % rate, rest: 0, rate }
    }

    /// When the next message is due.
    pub fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// How many messages are due at `now_ns`, the next one included; one more or less by rounding.
    pub fn due(&self, now_ns: u64) -> u64 {
        match now_ns.checked_sub(self.next_ns) {
            // 584 000 seconds at the highest rate of 10 million a second.
            Some(late_ns) => {
                let parts = u128::from(late_ns) * u128::from(self.rate) + u128::from(self.rest);
                (parts / u128::from(SECOND_NS)) as u64 + 1
            }
            None => 0,
        }
    }

    /// Takes the next message off the schedule and returns when it was due.
    pub fn take(&mut self) -> u64 {
        let due_ns = self.next_ns;
        self.next_ns += self.step_ns;
        self.rest += self.step_rest;
        if self.rest >= self.rate {
            self.rest -= self.rate;
            self.next_ns += 1;
        }
        due_ns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_due_at_multiples_of_the_interval(
            first in 0u64..1 << 60,
            rate in 1u64..10_000_000,
            count in 1u64..2000,
        ) {
            let mut schedule = Schedule::new(first, rate);
            for index in 0..count {
                let exact = u128::from(index) * u128::from(SECOND_NS) / u128::from(rate);
                prop_assert_eq!(schedule.next_ns(), first + exact as u64);
                prop_assert_eq!(schedule.take(), first + exact as u64);
            }
        }

        #[test]
        fn due_counts_what_take_would_give(
            rate in 1u64..10_000_000,
            taken in 0u64..100,
            late_ns in 0u64..10_000_000,
        ) {
            let mut schedule = Schedule::new(7, rate);
            for _ in 0..taken {
                schedule.take();
            }
            let now_ns = schedule.next_ns() + late_ns;
            let due = schedule.due(now_ns);
            let mut counted = 0;
            while schedule.next_ns() <= now_ns {
                schedule.take();
                counted += 1;
            }
            prop_assert!(due.abs_diff(counted) <= 1, "{} {}", due, counted);
        }
    }

    #[test]
    fn nothing_is_due_early() {
        assert_eq!(Schedule::new(100, 10).due(99), 0);
        assert_eq!(Schedule::new(100, 10).due(100), 1);
    }
}
