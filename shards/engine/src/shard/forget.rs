//! Forget: a topic is no more; what the shard knows of it goes.
//! Owns: topics that are being forgotten.        Lives on: every shard
//! Kind: machine
//! Invariants:
//!   a topic is forgotten only when its deletion is durable in shard 0's log: a power cut cannot bring it
//!     back with a part of what it had
//!   nothing of the topic is appended any more, its incarnation is never used again
//!   queue entries stay until a run holds them: a run says exactly what its slice of the log says
//!
//! Its consumer offsets go at once, its queues when everything of them is in runs, which go with their
//! segments. In shard 0 the record that deletes the topic says so, in the others one without a name, so
//! that snapshots do not carry dead queues on for ever.

use std::collections::VecDeque;

use super::Shard;
use crate::catalog::{FIRST_INCARNATION, NO_MORE};

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    /// Topics for which the log has no room yet.
    unsaid: Vec<u32>,
    /// Behind which log offset which topic has nothing, in order.
    said: VecDeque<(u64, u32)>,
}

impl Shard {
    /// A topic is no more, and its deletion is durable. Shard 0's log says so already.
    pub fn forget_topic(&mut self, topic: u32) {
        self.offsets.forget_topic(topic);
        if self.index.0 == 0 {
            self.forgetting.said.push_back((self.log.appended(), topic));
        } else {
            self.forgetting.unsaid.push(topic);
        }
        self.forget_due();
    }

    /// The shard was opened: what it has of topics that do not exist is forgotten. A crash came between a
    /// deletion and its end, or took the record that made a topic.
    pub fn forget_unknown(&mut self, exists: impl Fn(u32) -> bool) {
        let mut topics: Vec<u32> = self.queues.topics().chain(self.offsets.topics()).collect();
        topics.sort_unstable();
        topics.dedup();
        for topic in topics {
            if topic >= FIRST_INCARNATION && !exists(topic) {
                self.forget_topic(topic);
            }
        }
    }

    /// Goes on with what is being forgotten.
    pub(super) fn forget_due(&mut self) {
        while let Some(topic) = self.forgetting.unsaid.last().copied() {
            // A log that takes nothing: the next start finds what is left of the topic.
            if self.append_catalog(topic, &NO_MORE, None).is_err() {
                break;
            }
            self.forgetting.unsaid.pop();
            self.forgetting.said.push_back((self.log.appended(), topic));
        }
        let sealed = self.unsealed.from();
        while let Some((_, topic)) = self.forgetting.said.pop_front_if(|(end, _)| *end <= sealed) {
            self.queues.forget_topic(topic);
        }
    }

    /// Held pulls of a topic wake: it is no more, or not to be read.
    pub fn wake_topic(&mut self, topic: u32) {
        self.held.wake_topic(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, QUEUE, complete, message};
    use crate::consumequeue::QueueKey;
    use crate::ticket::Ticket;

    #[test]
    fn offsets_go_at_once_and_queues_when_runs_hold_them() {
        let mut shard = testing::shard();
        shard.append_message(1, &message(), Some(Ticket::default())).expect("room");
        complete(&mut shard);
        while shard.next_confirmed().is_some() {}
        shard.offsets_mut().commit(0, "g", QUEUE, 1).expect("room");
        shard.forget_topic(QUEUE.topic);
        assert_eq!(shard.offsets().committed("g", QUEUE), None);
        assert_eq!(shard.queues().bounds(QUEUE), Some((0, 1)), "no run holds its entry");
        let end = shard.log().appended();
        let cut = shard.unsealed.cut(end, &mut shard.queues, &mut shard.timers, &mut shard.keys);
        assert_eq!(cut.range().end, end);
        shard.forget_due();
        assert_eq!(shard.queues().bounds(QUEUE), None);
        assert_eq!(shard.queues().topics().count(), 0);
        shard.append_message(2, &message(), None).expect("room");
        assert_eq!(shard.queues().len(), 1, "the slot is used again");
    }

    #[test]
    fn what_no_catalog_knows_is_forgotten() {
        let mut shard = testing::shard();
        let own = QueueKey { topic: super::FIRST_INCARNATION - 1, queue: 0 };
        let (kept, gone) = (QueueKey { topic: 70, queue: 0 }, QueueKey { topic: 71, queue: 0 });
        for queue in [own, kept, gone] {
            shard.offsets_mut().commit(0, "g", queue, 1).expect("room");
        }
        shard.forget_unknown(|topic| topic == kept.topic);
        let left = [own, kept, gone].map(|queue| shard.offsets().committed("g", queue));
        assert_eq!(left, [Some(1), Some(1), None]);
    }
}
