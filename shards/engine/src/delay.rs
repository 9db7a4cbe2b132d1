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
    /// When the message at the cursor is due; `None`: there is none.
    head_due_ms: Option<u64>,
}

impl Delays {
    /// Levels 1, 2, … with these delays in ms.
    pub fn new(delays_ms: &[u64]) -> Delays {
        let levels = delays_ms.iter().map(|delay_ms| Level {
            delay_ms: *delay_ms,
            cursor: 0,
            head_due_ms: None,
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
        if let Some(level) = self.levels.get_mut(queue.queue as usize) {
            level.head_due_ms.get_or_insert(stored_ms + level.delay_ms);
        }
    }

    /// The level whose head is due now, if any.
    pub fn due(&self, now_ms: u64) -> Option<usize> {
        if now_ms < self.postponed_until_ms {
            return None;
        }
        let due = |level: &Level| level.head_due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        self.levels.iter().position(due).map(|index| index + 1)
    }

    /// When the first head is due, ms.
    pub fn wake_at_ms(&self) -> Option<u64> {
        let first = self.levels.iter().filter_map(|level| level.head_due_ms).min()?;
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

    /// The message at the cursor was delivered; `next_stored_ms` is the store time of the one behind it.
    pub fn settle(&mut self, level: usize, cursor: u64, next_stored_ms: Option<u64>) {
        if let Some(level) = level.checked_sub(1).and_then(|index| self.levels.get_mut(index)) {
            level.cursor = cursor;
            level.head_due_ms = next_stored_ms.map(|stored_ms| stored_ms + level.delay_ms);
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
        delays.settle(2, 1, Some(200));
        assert_eq!((delays.due(5100), delays.wake_at_ms()), (None, Some(5200)));
        delays.settle(2, 2, None);
        assert_eq!((delays.cursor(2), delays.wake_at_ms()), (2, None));
    }
}
