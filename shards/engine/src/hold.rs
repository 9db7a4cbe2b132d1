//! Held pulls: requests that wait for a message (long polling, RocketMQ's PullRequestHoldService).
//! Owns: the held requests by queue, and their deadlines.
//! Lives on: the shard of the queue
//! Kind: machine
//! Invariants: every held request is given back exactly once: by an arrival, a deadline, its
//! connection's end or the end of the shard

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::consumequeue::QueueKey;
use crate::filter::MessageFilter;
use crate::limits::HELD_PULLS_MAX;
use crate::ticket::Ticket;

/// How far a pull has looked for what it wants without finding any.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Scanned {
    /// The next queue offset to look at, if it is above the pull's own.
    pub next: u64,
    /// Bytes of records that were looked at on disk.
    pub bytes: u64,
}

/// A pull that waits.
#[derive(Clone, Debug)]
pub struct HeldPull {
    /// Whom to answer.
    pub ticket: Ticket,
    /// The queue it reads.
    pub queue: QueueKey,
    /// The queue offset it wants.
    pub from: u64,
    /// How many messages it takes.
    pub count_max: u32,
    /// What it wants.
    pub filter: MessageFilter,
    /// How far it has looked in vain, when it had to wait for the disk.
    pub scanned: Scanned,
    /// When it is answered with nothing, monotonic ms.
    pub deadline_ms: u64,
    /// It was not held before, so it may be: a pull is held once at the most.
    pub is_first: bool,
    /// Under which number the driver counts who pulls.
    pub tally: u32,
}

/// All held pulls of a shard. See the module's first lines.
#[derive(Debug, Default)]
pub struct HeldPulls {
    slots: Vec<Option<HeldPull>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    by_queue: HashMap<QueueKey, Vec<u32>, RandomState>,
    deadlines: BinaryHeap<Reverse<(u64, u32, u32)>>,
    woken: Vec<HeldPull>,
}

impl HeldPulls {
    /// Holds a pull; gives it back when as many as allowed are held.
    ///
    /// # Errors
    /// The pull.
    pub fn hold(&mut self, mut pull: HeldPull) -> Result<(), HeldPull> {
        if self.len() >= HELD_PULLS_MAX {
            return Err(pull);
        }
        pull.is_first = false;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            self.slots.len() as u32 - 1
        });
        self.deadlines.push(Reverse((pull.deadline_ms, slot, self.generations[slot as usize])));
        self.by_queue.entry(pull.queue).or_default().push(slot);
        self.slots[slot as usize] = Some(pull);
        Ok(())
    }

    /// Number of pulls held.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A message is visible in the queue: pulls that want it wake. Its properties text is asked for if
    /// an expression needs it; without one (`None`) such pulls wake, to look for themselves.
    pub fn arrive<'a>(
        &mut self,
        queue: QueueKey,
        tag: i32,
        properties: impl Fn() -> Option<&'a [u8]>,
    ) {
        if self.by_queue.is_empty() {
            return;
        }
        let Some(held) = self.by_queue.get_mut(&queue) else { return };
        let wants = |filter: &MessageFilter| {
            filter.may_want(tag)
                && (!filter.reads_properties()
                    || properties().is_none_or(|text| filter.wants(text).0))
        };
        let mut index = 0;
        while index < held.len() {
            let slot = held[index] as usize;
            let pull = self.slots[slot].as_ref().expect("listed pulls are held");
            if wants(&pull.filter) {
                held.swap_remove(index);
                self.generations[slot] = self.generations[slot].wrapping_add(1);
                self.free.push(slot as u32);
                self.woken.extend(self.slots[slot].take());
            } else {
                index += 1;
            }
        }
        if held.is_empty() {
            self.by_queue.remove(&queue);
        }
    }

    /// Pulls of a topic wake.
    pub fn wake_topic(&mut self, topic: u32) {
        let queues = self.by_queue.iter().filter(|(queue, _)| queue.topic == topic);
        let slots: Vec<u32> = queues.flat_map(|(_, slots)| slots.iter().copied()).collect();
        for slot in slots {
            let pull = self.release(slot);
            self.woken.push(pull);
        }
    }

    /// Pulls whose deadline has come wake.
    pub fn tick(&mut self, now_ms: u64) {
        while let Some(Reverse((deadline, slot, generation))) = self.deadlines.peek().copied() {
            if self.generations[slot as usize] != generation {
                self.deadlines.pop();
            } else if deadline <= now_ms {
                self.deadlines.pop();
                let pull = self.release(slot);
                self.woken.push(pull);
            } else {
                break;
            }
        }
    }

    /// Wakes all pulls of a connection's end; they are dropped.
    pub fn connection_closed(&mut self, connection: u64) {
        for slot in 0..self.slots.len() as u32 {
            let held = self.slots[slot as usize].as_ref();
            if held.is_some_and(|pull| pull.ticket.connection == connection) {
                self.release(slot);
            }
        }
    }

    fn release(&mut self, slot: u32) -> HeldPull {
        let pull = self.slots[slot as usize].take().expect("a held pull");
        self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
        self.free.push(slot);
        if let Some(held) = self.by_queue.get_mut(&pull.queue) {
            held.retain(|other| *other != slot);
            if held.is_empty() {
                self.by_queue.remove(&pull.queue);
            }
        }
        pull
    }

    /// The next pull to execute again, without holding.
    pub fn next_woken(&mut self) -> Option<HeldPull> {
        self.woken.pop()
    }

    /// When the next deadline comes, ms.
    pub fn wake_at_ms(&mut self) -> Option<u64> {
        while let Some(Reverse((deadline, slot, generation))) = self.deadlines.peek().copied() {
            if self.generations[slot as usize] == generation {
                return Some(deadline);
            }
            self.deadlines.pop();
        }
        None
    }

    /// All pulls wake: the shard ends.
    pub fn wake_all(&mut self) {
        for slot in 0..self.slots.len() as u32 {
            if self.slots[slot as usize].is_some() {
                let pull = self.release(slot);
                self.woken.push(pull);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::filter::{SqlFilter, TagFilter};

    const QUEUE: QueueKey = QueueKey { topic: 1, queue: 2 };

    fn pull(connection: u64, deadline_ms: u64, filter: MessageFilter) -> HeldPull {
        let ticket = Ticket { connection, ..Ticket::default() };
        HeldPull {
            ticket,
            queue: QUEUE,
            from: 0,
            count_max: 32,
            filter,
            scanned: Scanned::default(),
            deadline_ms,
            is_first: true,
            tally: 0,
        }
    }

    fn tags(codes: [i32; 1]) -> MessageFilter {
        MessageFilter::Tags(TagFilter::from_codes(codes))
    }

    fn woken(held: &mut HeldPulls) -> Vec<u64> {
        let mut all: Vec<u64> =
            std::iter::from_fn(|| held.next_woken()).map(|pull| pull.ticket.connection).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn arrivals_wake_who_wants_the_tag() {
        let mut held = HeldPulls::default();
        held.hold(pull(1, 100, MessageFilter::ALL)).expect("room");
        held.hold(pull(2, 100, tags([65]))).expect("room");
        held.hold(pull(3, 100, tags([66]))).expect("room");
        held.arrive(QueueKey { topic: 1, queue: 3 }, 65, || None);
        assert_eq!(woken(&mut held), []);
        held.arrive(QUEUE, 65, || None);
        assert_eq!(woken(&mut held), [1, 2]);
        held.arrive(QUEUE, 65, || None);
        assert_eq!(woken(&mut held), []);
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn arrivals_wake_whose_expression_they_make_true() {
        let sql = |text| MessageFilter::Sql(Arc::new(SqlFilter::compile(text).expect(text)));
        let mut held = HeldPulls::default();
        held.hold(pull(1, 100, sql("a > 5"))).expect("room");
        held.hold(pull(2, 100, sql("a IS NULL"))).expect("room");
        held.hold(pull(3, 100, tags([66]))).expect("room");
        held.arrive(QUEUE, 65, || Some(b"a\x015\x02"));
        assert_eq!(woken(&mut held), []);
        held.arrive(QUEUE, 65, || Some(b"a\x016\x02"));
        assert_eq!(woken(&mut held), [1]);
        held.arrive(QUEUE, 66, || Some(b""));
        assert_eq!(woken(&mut held), [2, 3]);
        held.hold(pull(4, 100, tags([66]))).expect("room");
        held.arrive(QUEUE, 65, || panic!("a tag says enough"));
        assert_eq!(woken(&mut held), []);
    }

    #[test]
    fn what_cannot_be_looked_at_wakes() {
        let sql = SqlFilter::compile("a > 5").expect("an expression");
        let mut held = HeldPulls::default();
        held.hold(pull(1, 100, MessageFilter::Sql(Arc::new(sql)))).expect("room");
        held.hold(pull(2, 100, tags([66]))).expect("room");
        held.arrive(QUEUE, 65, || None);
        assert_eq!(woken(&mut held), [1]);
    }

    #[test]
    fn each_is_given_back_once() {
        let mut held = HeldPulls::default();
        held.hold(pull(1, 100, MessageFilter::ALL)).expect("room");
        held.hold(pull(2, 200, MessageFilter::ALL)).expect("room");
        held.hold(pull(3, 300, MessageFilter::ALL)).expect("room");
        assert_eq!(held.wake_at_ms(), Some(100));
        held.tick(99);
        assert_eq!(woken(&mut held), []);
        held.tick(100);
        assert_eq!(woken(&mut held), [1]);
        held.connection_closed(2);
        assert_eq!(held.wake_at_ms(), Some(300));
        held.hold(pull(4, 250, MessageFilter::ALL)).expect("room");
        held.tick(260);
        assert_eq!(woken(&mut held), [4]);
        held.wake_topic(QUEUE.topic + 1);
        assert_eq!(woken(&mut held), []);
        held.wake_topic(QUEUE.topic);
        assert_eq!(woken(&mut held), [3]);
        held.hold(pull(5, 400, MessageFilter::Tags(TagFilter::All))).expect("room");
        held.wake_all();
        assert_eq!(woken(&mut held), [5]);
        assert!(held.is_empty());
        assert_eq!(held.wake_at_ms(), None);
    }
}
