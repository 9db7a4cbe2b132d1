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

    /// When the message is due that has `ahead` others before it.
    pub fn nth_ns(&self, ahead: u64) -> u64 {
        let parts = u128::from(ahead) * u128::from(SECOND_NS) + u128::from(self.rest);
        self.next_ns + (parts / u128::from(self.rate)) as u64
    }

    /// Takes `count` messages from 1 on and returns when the last of them was due.
    pub fn take_many(&mut self, count: u64) -> u64 {
        if count == 1 {
            return self.take();
        }
        let last_ns = self.nth_ns(count - 1);
        let parts = u128::from(count) * u128::from(SECOND_NS) + u128::from(self.rest);
        self.next_ns += (parts / u128::from(self.rate)) as u64;
        self.rest = (parts % u128::from(self.rate)) as u64;
        last_ns
    }

    /// Drops `count` messages at a time, as long as all of them were due before `ns`; how many.
    pub fn drop_before(&mut self, ns: u64, count: u64) -> u64 {
        let mut dropped = 0;
        while self.nth_ns(count - 1) < ns {
            self.take_many(count);
            dropped += count;
        }
        dropped
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

    proptest! {
        #[test]
        fn many_are_taken_as_one_after_the_other(
            rate in 1u64..10_000_000,
            counts in prop::collection::vec(1u64..50, 1..20),
        ) {
            let (mut many, mut single) = (Schedule::new(7, rate), Schedule::new(7, rate));
            for count in counts {
                prop_assert_eq!(many.nth_ns(0), many.next_ns());
                let last = (0..count).map(|_| single.take()).last().expect("at least one");
                prop_assert_eq!(many.nth_ns(count - 1), last);
                prop_assert_eq!(many.take_many(count), last);
                prop_assert_eq!(many.next_ns(), single.next_ns());
            }
        }
    }

    #[test]
    fn what_is_too_old_is_dropped_in_whole_requests() {
        let mut schedule = Schedule::new(0, 10);
        assert_eq!(schedule.drop_before(SECOND_NS, 4), 8);
        assert_eq!(schedule.next_ns(), SECOND_NS * 8 / 10);
        assert_eq!(schedule.drop_before(SECOND_NS, 1), 2);
        assert_eq!(schedule.drop_before(SECOND_NS, 1), 0);
    }

    #[test]
    fn nothing_is_due_early() {
        assert_eq!(Schedule::new(100, 10).due(99), 0);
        assert_eq!(Schedule::new(100, 10).due(100), 1);
    }
}
