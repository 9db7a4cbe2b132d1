//! The ConsumeQueues of a shard: for each queue, where its messages lie in the log.
//! Owns: entries from the oldest kept to the newest confirmed message of each queue.
//! Lives on: every shard
//! Kind: machine
//! Invariants:
//!   min ≤ max ≤ next: entries exist for [min, max), numbers below `next` were given to messages
//!   derived from the log: it can be thrown away and rebuilt

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::limits::QUEUE_CHUNK_ENTRIES;

/// A queue of a topic's incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct QueueKey {
    /// The topic's incarnation.
    pub topic: u32,
    /// RocketMQ's queue id.
    pub queue: u32,
}

/// Where one message lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueEntry {
    /// Log offset of the RocketMQ record.
    pub payload: u64,
    /// Bytes of the RocketMQ record. 0: the message is gone (damaged).
    pub size_bytes: u32,
    /// Java's hash of the tag, 0 without one.
    pub tag: i32,
    /// The store timestamp, ms: searches by time need not read the log.
    pub stored_ms: u64,
}

/// Entries of one queue.
#[derive(Debug, Default)]
pub struct ConsumeQueue {
    min: u64,
    next: u64,
    len: u64,
    first_chunk_start: usize,
    chunks: VecDeque<Vec<QueueEntry>>,
}

impl ConsumeQueue {
    /// The oldest queue offset that is kept.
    pub fn min(&self) -> u64 {
        self.min
    }

    /// The queue offset behind the newest confirmed message.
    pub fn max(&self) -> u64 {
        self.min + self.len
    }

    /// The queue offset that the next message gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The entry of a queue offset.
    pub fn entry(&self, queue_offset: u64) -> Option<QueueEntry> {
        let index = queue_offset.checked_sub(self.min)?;
        if index >= self.len {
            return None;
        }
        let index = usize::try_from(index).expect("fits memory") + self.first_chunk_start;
        Some(self.chunks[index / QUEUE_CHUNK_ENTRIES][index % QUEUE_CHUNK_ENTRIES])
    }

    fn push(&mut self, entry: QueueEntry) {
        let full = self.chunks.back().is_none_or(|chunk| chunk.len() == QUEUE_CHUNK_ENTRIES);
        if full {
            // A queue's first chunk grows with it; a busy queue's next ones are whole at once.
            let capacity = if self.chunks.is_empty() { 0 } else { QUEUE_CHUNK_ENTRIES };
            self.chunks.push_back(Vec::with_capacity(capacity));
        }
        self.chunks.back_mut().expect("pushed above").push(entry);
        self.len += 1;
    }
}

/// All queues of a shard. See the module's first lines.
#[derive(Debug, Default)]
pub struct ConsumeQueues {
    slots: HashMap<QueueKey, u32, RandomState>,
    queues: Vec<ConsumeQueue>,
}

/// A queue's place in memory, for as long as the process runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct QueueSlot(u32);

impl ConsumeQueues {
    /// The slot of a queue, made at its first use.
    pub fn slot(&mut self, key: QueueKey) -> QueueSlot {
        let next = u32::try_from(self.queues.len()).expect("topics and queues are bounded");
        let slot = *self.slots.entry(key).or_insert(next);
        if slot == next {
            self.queues.push(ConsumeQueue::default());
        }
        QueueSlot(slot)
    }

    /// A queue that was used before.
    pub fn find(&self, key: QueueKey) -> Option<&ConsumeQueue> {
        self.slots.get(&key).map(|slot| &self.queues[*slot as usize])
    }

    /// The queue of a slot.
    pub fn queue(&self, slot: QueueSlot) -> &ConsumeQueue {
        &self.queues[slot.0 as usize]
    }

    /// Gives the next queue offset of a queue to a message that is being appended.
    pub fn assign(&mut self, slot: QueueSlot) -> u64 {
        let queue = &mut self.queues[slot.0 as usize];
        queue.next += 1;
        queue.next - 1
    }

    /// A confirmed message becomes visible at its queue offset. Numbers that are missing before it
    /// (their messages were damaged) become entries of size 0.
    ///
    /// # Panics
    /// When the queue offset was visible before.
    pub fn arrive(&mut self, slot: QueueSlot, queue_offset: u64, entry: QueueEntry) {
        let queue = &mut self.queues[slot.0 as usize];
        assert!(queue_offset >= queue.max());
        if queue.len == 0 {
            queue.min = queue_offset;
        }
        while queue.max() < queue_offset {
            queue.push(QueueEntry { size_bytes: 0, tag: 0, ..entry });
        }
        queue.push(entry);
        queue.next = queue.next.max(queue_offset + 1);
        assert!(queue.max() <= queue.next);
    }

    /// Number of queues in use.
    pub fn len(&self) -> usize {
        self.queues.len()
    }

    /// Whether no queue was ever used.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// The first queue offset whose message `is_at_or_after` (monotonic over the queue), or `max`.
    pub fn partition_point(
        queue: &ConsumeQueue,
        mut is_before: impl FnMut(QueueEntry) -> bool,
    ) -> u64 {
        let (mut low, mut high) = (queue.min(), queue.max());
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(queue.entry(middle).expect("between min and max")) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: QueueKey = QueueKey { topic: 1, queue: 0 };

    fn entry(number: u64) -> QueueEntry {
        QueueEntry { payload: number * 8, size_bytes: 100, tag: number as i32, stored_ms: number }
    }

    #[test]
    fn numbers_are_given_before_messages_are_visible() {
        let mut queues = ConsumeQueues::default();
        let slot = queues.slot(KEY);
        assert_eq!(queues.slot(KEY), slot);
        assert_eq!((queues.assign(slot), queues.assign(slot)), (0, 1));
        assert_eq!(queues.queue(slot).max(), 0);
        queues.arrive(slot, 0, entry(0));
        assert_eq!((queues.queue(slot).max(), queues.queue(slot).next()), (1, 2));
        assert_eq!(queues.find(QueueKey { topic: 2, queue: 0 }).map(ConsumeQueue::max), None);
    }

    #[test]
    fn damaged_messages_leave_empty_entries() {
        let mut queues = ConsumeQueues::default();
        let slot = queues.slot(KEY);
        queues.arrive(slot, 5, entry(5));
        queues.arrive(slot, 8, entry(8));
        let queue = queues.queue(slot);
        assert_eq!((queue.min(), queue.max(), queue.next()), (5, 9, 9));
        assert_eq!(queue.entry(6).map(|entry| entry.size_bytes), Some(0));
        assert_eq!(queue.entry(4), None);
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(count in 0u64..20_000, probe in 0u64..20_000) {
            let mut queues = ConsumeQueues::default();
            let slot = queues.slot(KEY);
            for number in 0..count {
                queues.arrive(slot, number, entry(number));
            }
            let queue = queues.queue(slot);
            prop_assert_eq!(queue.max(), count);
            prop_assert_eq!(queue.entry(probe), (probe < count).then(|| entry(probe)));
            let found = ConsumeQueues::partition_point(queue, |entry| entry.payload < probe * 8);
            prop_assert_eq!(found, probe.min(count));
        }
    }
}
