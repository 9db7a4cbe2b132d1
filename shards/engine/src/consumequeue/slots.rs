//! Slots: where each queue's state is, found by topic and queue id.
//!
//! Two arrays instead of one hash table: with 10,000 topics the first fits the CPU's nearer caches, the second
//! is a few bytes a queue, and neither is searched. The first has four bytes for each incarnation ever given,
//! 16 with its second array.

use super::QueueKey;

/// There is no queue.
const NONE: u32 = u32::MAX;

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// By incarnation, then by queue id.
    topics: Vec<Box<[u32]>>,
}

impl Slots {
    /// The slot of a queue.
    pub fn get(&self, key: QueueKey) -> Option<u32> {
        let slot = *self.topics.get(key.topic as usize)?.get(key.queue as usize)?;
        (slot != NONE).then_some(slot)
    }

    /// Gives a queue that has none a slot.
    pub fn insert(&mut self, key: QueueKey, slot: u32) {
        let (topic, queue) = (key.topic as usize, key.queue as usize);
        if self.topics.len() <= topic {
            self.topics.resize_with(topic + 1, Box::default);
        }
        let queues = &mut self.topics[topic];
        if queues.len() <= queue {
            // Queues are first used one after the other, and a topic has often 4, 8 or 16.
            let count = (queue + 1).next_power_of_two().max(4);
            let mut more = std::mem::take(queues).into_vec();
            more.resize(count, NONE);
            *queues = more.into_boxed_slice();
        }
        assert_eq!(queues[queue], NONE, "one slot for each queue");
        queues[queue] = slot;
    }

    /// Takes the slots of all queues of a topic.
    pub fn remove_topic(&mut self, topic: u32) -> impl Iterator<Item = u32> + use<> {
        let queues = self.topics.get_mut(topic as usize).map(std::mem::take).unwrap_or_default();
        queues.into_vec().into_iter().filter(|slot| *slot != NONE)
    }

    /// Topics that have queues, by incarnation.
    pub fn topics(&self) -> impl Iterator<Item = u32> + '_ {
        let topics = (0..).zip(&self.topics);
        topics.filter(|(_, queues)| !queues.is_empty()).map(|(topic, _)| topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_found_once_it_has_a_slot() {
        let mut slots = Slots::default();
        let key = |topic, queue| QueueKey { topic, queue };
        for (slot, key) in [key(70, 0), key(3, 9), key(70, 5), key(70, 4)].into_iter().enumerate() {
            assert_eq!(slots.get(key), None);
            slots.insert(key, slot as u32);
        }
        assert_eq!(slots.get(key(70, 0)), Some(0));
        assert_eq!(slots.get(key(3, 9)), Some(1));
        assert_eq!(slots.get(key(70, 5)), Some(2));
        assert_eq!(slots.get(key(70, 4)), Some(3));
        assert_eq!(slots.topics().collect::<Vec<_>>(), [3, 70]);
        assert_eq!(slots.remove_topic(70).collect::<Vec<_>>(), [0, 3, 2]);
        assert_eq!(slots.remove_topic(900).count(), 0);
        assert_eq!(slots.get(key(70, 0)), None);
        assert_eq!(slots.topics().collect::<Vec<_>>(), [3]);
        for none in [key(70, 1), key(3, 0), key(71, 0), key(u32::MAX, u32::MAX)] {
            assert_eq!(slots.get(none), None);
        }
    }
}
