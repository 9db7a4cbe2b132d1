//! Delay levels: messages that wait in SCHEDULE_TOPIC_XXXX until they are due (RocketMQ's
//! ScheduleMessageService). Each level is a queue in order of arrival, so its head is due first.
//! Owns: for each level the next queue offset to deliver, and when its head is due.
//! Lives on: every shard
//! Kind: machine
//! Invariants: a cursor moves only with a record in the log that says so, together with the message
//! it delivered (one group)

use crate::consumequeue::QueueKey;

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

    /// The level whose head is due now, if any.
    pub fn due(&self, now_ms: u64) -> Option<usize> {
        if now_ms < self.postponed_until_ms {
            return None;
        }
        let due = |level: &Level| level.due_ms().is_some_and(|due_ms| due_ms <= now_ms);
        self.levels.iter().position(due).map(|index| index + 1)
    }

    /// When the first head is due, ms.
    pub fn wake_at_ms(&self) -> Option<u64> {
        let first = self.levels.iter().filter_map(Level::due_ms).min()?;
        Some(first.max(self.postponed_until_ms))
    }

    /// What is due cannot be delivered now: not before this time (wall clock, ms).
    pub fn postpone(&mut self, until_ms: u64) {
        self.postponed_until_ms = until_ms;
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
        level.due_ms().is_some_and(|due_ms| due_ms <= now_ms)
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_level_is_due_first() {
        let mut delays = Delays::new(&[1000, 5000]);
        assert_eq!(delays.wake_at_ms(), None);
        delays.arrive(Delays::queue(2), 100);
        delays.arrive(Delays::queue(2), 200);
        delays.arrive(QueueKey { topic: 77, queue: 1 }, 1);
        assert_eq!(delays.wake_at_ms(), Some(5100));
        assert_eq!(delays.due(5099), None);
        assert_eq!(delays.due(5100), Some(2));
        delays.settle(2, 1, Head::Stored(200));
        assert_eq!((delays.due(5100), delays.wake_at_ms()), (None, Some(5200)));
        delays.settle(2, 2, Head::None);
        assert_eq!((delays.cursor(2), delays.wake_at_ms()), (2, None));
        delays.settle(2, 3, Head::Unknown);
        assert_eq!(delays.due(0), Some(2), "to be looked up");
        assert!(!delays.looked_up(2, 1000, 5999));
        assert_eq!((delays.due(5999), delays.due(6000)), (None, Some(2)));
    }
}
