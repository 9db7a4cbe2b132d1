//! Delay levels: messages that wait in SCHEDULE_TOPIC_XXXX until they are due (RocketMQ's
//! ScheduleMessageService). Each level is a queue in order of arrival, so its head is due first.
//! Owns: for each level the next queue offset to deliver, and when its head is due.
//! Lives on: every shard
//! Kind: machine
//!
//! A clock that was ahead leaves store times that it reaches much later. A head like this counts as stored
//! when it was seen first, and so does all that was in its queue then: never too early, and late by at most
//! one delay more (RocketMQ delivers at once: ScheduleMessageService.correctDeliverTimestamp, 5.3.3).
//! Invariants: a cursor moves only with a record in the log that says so, together with the message
//! it delivered (one group)

use crate::consumequeue::QueueKey;
use crate::limits::{CLOCK_SLACK_MS, DELAY_RETRY_MS};

/// The incarnation of SCHEDULE_TOPIC_XXXX: it exists once per shard, always.
pub const SCHEDULE_TOPIC_INCARNATION: u32 = 1;

/// Delay levels of one shard. See the module's first lines.
#[derive(Debug)]
pub struct Delays {
    levels: Vec<Level>,
    /// Nothing is due before: what was due could not be delivered.
    postponed_until_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    delay_ms: u64,
    /// Next queue offset to deliver.
    cursor: u64,
    head: Head,
    seen: Seen,
    /// Nothing of it is due before: its head could not be read.
    postponed_until_ms: u64,
}

/// When messages with store times far ahead were seen.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    /// Those before this queue offset …
    to: u64,
    /// … were there at this time, ms.
    at_ms: u64,
}

/// The message at a level's cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// There is none.
    None,
    /// It was stored at this time, ms.
    Stored(u64),
    /// There is one, when it was stored is to be looked up: treated as due.
    Unknown,
}

impl Delays {
    /// Levels 1, 2, … with these delays in ms.
    pub fn new(delays_ms: &[u64]) -> Delays {
        let levels = delays_ms.iter().map(|delay_ms| Level {
            delay_ms: *delay_ms,
            cursor: 0,
            head: Head::None,
            seen: Seen::default(),
            postponed_until_ms: 0,
        });
        Delays { levels: levels.collect(), postponed_until_ms: 0 }
    }

    /// Number of levels.
    pub fn levels(&self) -> usize {
        self.levels.len()
    }

    /// The queue of a level, 1-based (`ScheduleMessageService.delayLevel2QueueId`).
    pub fn queue(level: usize) -> QueueKey {
        QueueKey { topic: SCHEDULE_TOPIC_INCARNATION, queue: level as u32 - 1 }
    }

    /// A message is visible in a queue; matters if the queue is a level's.
    pub fn arrive(&mut self, queue: QueueKey, stored_ms: u64) {
        if queue.topic != SCHEDULE_TOPIC_INCARNATION {
            return;
        }
        if let Some(level) = self.levels.get_mut(queue.queue as usize)
            && level.head == Head::None
        {
            level.head = Head::Stored(stored_ms);
        }
    }

    /// Heads whose store times are far ahead are seen; `max` gives the end of a level's queue. Comes
    /// before [`Delays::due`].
    pub fn look(&mut self, now_ms: u64, max: impl Fn(QueueKey) -> u64) {
        for (index, level) in self.levels.iter_mut().enumerate() {
            if level.is_to_be_seen(now_ms) {
                level.seen = Seen { to: max(Delays::queue(index + 1)), at_ms: now_ms };
            }
        }
    }

    /// The level whose head is due now, if any.
    pub fn due(&self, now_ms: u64) -> Option<usize> {
        if is_postponed(self.postponed_until_ms, now_ms) {
            return None;
        }
        let due = |level: &Level| {
            !is_postponed(level.postponed_until_ms, now_ms)
                && level.due_at_ms(now_ms).is_some_and(|due_ms| due_ms <= now_ms)
        };
        self.levels.iter().position(due).map(|index| index + 1)
    }

    /// When the first head is due, ms.
    pub fn wake_at_ms(&self, now_ms: u64) -> Option<u64> {
        let first = self.levels.iter().filter_map(|level| level.wake_at_ms(now_ms)).min()?;
        let is_postponed = is_postponed(self.postponed_until_ms, now_ms);
        Some(if is_postponed { first.max(self.postponed_until_ms) } else { first })
    }

    /// What is due cannot be delivered now: not before this time (wall clock, ms), at the most
    /// [`DELAY_RETRY_MS`] from now; a clock that was set back ends it.
    pub fn postpone(&mut self, until_ms: u64) {
        self.postponed_until_ms = until_ms;
    }

    /// The head of a level cannot be read now: the same, and the others go on.
    pub fn postpone_level(&mut self, level: usize, until_ms: u64) {
        self.levels[level - 1].postponed_until_ms = until_ms;
    }

    /// Next queue offset to deliver of a level.
    pub fn cursor(&self, level: usize) -> u64 {
        self.levels[level - 1].cursor
    }

    /// Whether a message of a level's queue was delivered.
    pub fn was_delivered(&self, queue: QueueKey, queue_offset: u64) -> bool {
        self.levels.get(queue.queue as usize).is_some_and(|level| level.cursor > queue_offset)
    }

    /// Whether a message of a level waits.
    pub fn has_pending(&self, level: usize) -> bool {
        self.levels[level - 1].head != Head::None
    }

    /// The next message to deliver is the one at `cursor`.
    pub fn settle(&mut self, level: usize, cursor: u64, head: Head) {
        if let Some(level) = level.checked_sub(1).and_then(|index| self.levels.get_mut(index)) {
            level.cursor = cursor;
            level.head = head;
        }
    }

    /// The message at the cursor was looked up: when it was stored. Whether it is due.
    pub fn looked_up(&mut self, level: usize, stored_ms: u64, now_ms: u64) -> bool {
        let level = &mut self.levels[level - 1];
        level.head = Head::Stored(stored_ms);
        level.due_at_ms(now_ms).is_some_and(|due_ms| due_ms <= now_ms)
    }
}

impl Level {
    fn due_ms(&self) -> Option<u64> {
        match self.head {
            Head::None => None,
            Head::Stored(stored_ms) => Some(stored_ms + self.delay_ms),
            Head::Unknown => Some(0),
        }
    }

    /// When its head is due as the clock is now.
    fn due_at_ms(&self, now_ms: u64) -> Option<u64> {
        let due_ms = self.due_ms()?;
        let seen = self.was_seen(now_ms).then(|| self.seen.at_ms + self.delay_ms);
        Some(seen.map_or(due_ms, |seen_ms| due_ms.min(seen_ms)))
    }

    fn was_seen(&self, now_ms: u64) -> bool {
        self.cursor < self.seen.to && self.seen.at_ms <= now_ms.saturating_add(CLOCK_SLACK_MS)
    }

    fn is_to_be_seen(&self, now_ms: u64) -> bool {
        let is_far = |stored_ms: u64| stored_ms > now_ms.saturating_add(CLOCK_SLACK_MS);
        matches!(self.head, Head::Stored(stored_ms) if is_far(stored_ms)) && !self.was_seen(now_ms)
    }

    /// When there is something to do.
    fn wake_at_ms(&self, now_ms: u64) -> Option<u64> {
        let due_ms = if self.is_to_be_seen(now_ms) { now_ms } else { self.due_at_ms(now_ms)? };
        let is_postponed = is_postponed(self.postponed_until_ms, now_ms);
        Some(if is_postponed { due_ms.max(self.postponed_until_ms) } else { due_ms })
    }
}

/// Whether what is due has to wait still; a clock that was set back ends it.
fn is_postponed(until_ms: u64, now_ms: u64) -> bool {
    let left_ms = until_ms.saturating_sub(now_ms);
    (1..=DELAY_RETRY_MS).contains(&left_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_level_is_due_first() {
        let mut delays = Delays::new(&[1000, 5000]);
        assert_eq!(delays.wake_at_ms(0), None);
        delays.arrive(Delays::queue(2), 100);
        delays.arrive(Delays::queue(2), 200);
        delays.arrive(QueueKey { topic: 77, queue: 1 }, 1);
        assert_eq!(delays.wake_at_ms(0), Some(5100));
        assert_eq!(delays.due(5099), None);
        assert_eq!(delays.due(5100), Some(2));
        delays.settle(2, 1, Head::Stored(200));
        assert_eq!((delays.due(5100), delays.wake_at_ms(0)), (None, Some(5200)));
        delays.settle(2, 2, Head::None);
        assert_eq!((delays.cursor(2), delays.wake_at_ms(0)), (2, None));
        delays.settle(2, 3, Head::Unknown);
        assert_eq!(delays.due(0), Some(2), "to be looked up");
        assert!(!delays.looked_up(2, 1000, 5999));
        assert_eq!((delays.due(5999), delays.due(6000)), (None, Some(2)));
    }

    #[test]
    fn a_level_whose_head_cannot_be_read_holds_up_no_other() {
        let mut delays = Delays::new(&[1000, 5000]);
        delays.arrive(Delays::queue(1), 0);
        delays.arrive(Delays::queue(2), 0);
        delays.postpone_level(1, 6000);
        assert_eq!((delays.due(5000), delays.wake_at_ms(5000)), (Some(2), Some(5000)));
        delays.settle(2, 1, Head::None);
        assert_eq!((delays.due(5999), delays.due(6000)), (None, Some(1)));
    }

    #[test]
    fn a_clock_that_was_ahead_holds_nothing_back_and_nothing_comes_early() {
        const AHEAD_MS: u64 = 1 << 40;
        let mut delays = Delays::new(&[5000]);
        delays.arrive(Delays::queue(1), AHEAD_MS);
        assert_eq!((delays.wake_at_ms(100), delays.due(100)), (Some(100), None));
        delays.look(100, |_| 2);
        assert_eq!((delays.wake_at_ms(100), delays.due(5099)), (Some(5100), None));
        delays.look(5100, |_| 3);
        assert_eq!(delays.due(5100), Some(1));
        assert!(delays.looked_up(1, AHEAD_MS, 5100));
        delays.settle(1, 1, Head::Stored(AHEAD_MS));
        delays.look(5100, |_| 3);
        assert_eq!(delays.due(5100), Some(1), "it was there, too");
        delays.settle(1, 2, Head::Stored(AHEAD_MS));
        delays.look(5200, |_| 3);
        assert_eq!((delays.due(10_199), delays.due(10_200)), (None, Some(1)), "it came later");
        delays.look(AHEAD_MS - CLOCK_SLACK_MS, |_| 3);
        assert_eq!(delays.due(AHEAD_MS - CLOCK_SLACK_MS), Some(1));
        // Set back once more, and far.
        delays.settle(1, 3, Head::Stored(AHEAD_MS));
        delays.look(1_000_000, |_| 4);
        delays.look(0, |_| 4);
        assert_eq!((delays.due(4_999), delays.due(5_000)), (None, Some(1)));
        // A little is waited for.
        let mut delays = Delays::new(&[5000]);
        delays.arrive(Delays::queue(1), CLOCK_SLACK_MS);
        delays.look(0, |_| 1);
        assert_eq!(delays.wake_at_ms(0), Some(CLOCK_SLACK_MS + 5000));
    }

    #[test]
    fn a_clock_that_is_set_back_ends_what_was_postponed() {
        let mut delays = Delays::new(&[1000, 5000]);
        delays.arrive(Delays::queue(1), 0);
        let until_ms = 9_000_000 + DELAY_RETRY_MS;
        for is_one_level in [false, true] {
            match is_one_level {
                true => delays.postpone_level(1, until_ms),
                false => delays.postpone(until_ms),
            }
            assert_eq!((delays.due(until_ms - 1), delays.due(until_ms)), (None, Some(1)));
            assert_eq!(delays.wake_at_ms(until_ms - 1), Some(until_ms));
            assert_eq!((delays.due(2000), delays.wake_at_ms(2000)), (Some(1), Some(1000)));
        }
    }
}
