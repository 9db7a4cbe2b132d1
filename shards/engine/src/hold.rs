//! Held pulls: requests that wait for a message (long polling, RocketMQ's PullRequestHoldService).
//! Owns: the held requests by queue and by connection, and their deadlines.
//! Lives on: the shard of the queue
//! Kind: machine
//! Invariants:
//!   every held request is given back exactly once: by an arrival, a deadline, its connection's end or
//!   the end of the shard
//!   each is in one queue's list and in one connection's, and no empty list is kept
//!   what giving one back costs does not grow with how many are held: many connections end at once

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

/// No slot.
const NONE: u32 = u32::MAX;

/// A slot's neighbours in the list of its connection.
#[derive(Clone, Copy, Debug)]
struct Links {
    previous: u32,
    next: u32,
}

/// Which slots a connection has: chained, because most have a pull or two, which come and go.
#[derive(Debug, Default)]
struct ByConnection {
    first: HashMap<u64, u32, RandomState>,
    /// For each slot; of a free one they say nothing.
    links: Vec<Links>,
}

/// All held pulls of a shard. See the module's first lines.
#[derive(Debug, Default)]
pub struct HeldPulls {
    slots: Vec<Option<HeldPull>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    by_queue: HashMap<QueueKey, Vec<u32>, RandomState>,
    /// Where a slot is in its queue's list; of a free one it says nothing.
    in_queue: Vec<u32>,
    by_connection: ByConnection,
    deadlines: BinaryHeap<Reverse<(u64, u32, u32)>>,
    woken: Vec<HeldPull>,
}

impl ByConnection {
    fn add(&mut self, connection: u64, slot: u32) {
        let next = self.first.insert(connection, slot).unwrap_or(NONE);
        if next != NONE {
            self.links[next as usize].previous = slot;
        }
        self.links[slot as usize] = Links { previous: NONE, next };
    }

    fn remove(&mut self, connection: u64, slot: u32) {
        let Links { previous, next } = self.links[slot as usize];
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        if previous != NONE {
            self.links[previous as usize].next = next;
        } else if next != NONE {
            self.first.insert(connection, next);
        } else {
            self.first.remove(&connection);
        }
    }
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
            self.in_queue.push(0);
            self.by_connection.links.push(Links { previous: NONE, next: NONE });
            self.slots.len() as u32 - 1
        });
        self.deadlines.push(Reverse((pull.deadline_ms, slot, self.generations[slot as usize])));
        let held = self.by_queue.entry(pull.queue).or_default();
        self.in_queue[slot as usize] = held.len() as u32;
        held.push(slot);
        self.by_connection.add(pull.ticket.connection, slot);
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
                self.by_connection.remove(pull.ticket.connection, slot as u32);
                take_out(held, &mut self.in_queue, index);
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

    /// A connection ended: its pulls are dropped.
    pub fn connection_closed(&mut self, connection: u64) {
        while let Some(slot) = self.by_connection.first.get(&connection).copied() {
            self.release(slot);
        }
    }

    fn release(&mut self, slot: u32) -> HeldPull {
        let pull = self.slots[slot as usize].take().expect("a held pull");
        self.generations[slot as usize] = self.generations[slot as usize].wrapping_add(1);
        self.free.push(slot);
        self.by_connection.remove(pull.ticket.connection, slot);
        if let Some(held) = self.by_queue.get_mut(&pull.queue) {
            let index = self.in_queue[slot as usize] as usize;
            take_out(held, &mut self.in_queue, index);
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

/// Takes a slot out of its queue's list; the last one takes its place.
fn take_out(held: &mut Vec<u32>, in_queue: &mut [u32], index: usize) {
    held.swap_remove(index);
    if let Some(moved) = held.get(index) {
        in_queue[*moved as usize] = index as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

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

    impl HeldPulls {
        /// Both lists have each held pull once, where its slot says; how many there are.
        fn check_lists(&self) -> usize {
            let held = |slot: u32| self.slots[slot as usize].as_ref().expect("held");
            let mut listed = Vec::new();
            for (queue, slots) in &self.by_queue {
                assert!(!slots.is_empty(), "an empty list is kept");
                for (index, slot) in slots.iter().enumerate() {
                    assert_eq!(
                        (held(*slot).queue, self.in_queue[*slot as usize]),
                        (*queue, index as u32)
                    );
                }
                listed.extend(slots);
            }
            let mut chained = Vec::new();
            for (connection, first) in &self.by_connection.first {
                let (mut before, mut slot) = (NONE, *first);
                while slot != NONE {
                    let Links { previous, next } = self.by_connection.links[slot as usize];
                    assert_eq!((held(slot).ticket.connection, previous), (*connection, before));
                    chained.push(slot);
                    assert!(chained.len() <= self.slots.len(), "a chain has an end");
                    (before, slot) = (slot, next);
                }
            }
            listed.sort_unstable();
            chained.sort_unstable();
            let all =
                (0..self.slots.len() as u32).filter(|slot| self.slots[*slot as usize].is_some());
            let all: Vec<u32> = all.collect();
            assert_eq!((&listed, &chained), (&all, &all));
            assert_eq!(self.len(), all.len());
            all.len()
        }
    }

    /// A step of a random play.
    #[derive(Clone, Debug)]
    enum Step {
        /// Of a connection, for a queue of a topic, a tag and until a time from now.
        Hold(u64, QueueKey, i32, u64),
        Arrive(QueueKey, i32),
        WakeTopic(u32),
        /// So much time passes.
        Tick(u64),
        Close(u64),
        WakeAll,
    }

    impl Step {
        /// Whether a pull that wants a tag wakes by it.
        fn wakes(&self, pull: &HeldPull, wanted: i32, now_ms: u64) -> bool {
            match self {
                Step::Hold(..) | Step::Close(_) => false,
                Step::Arrive(queue, tag) => pull.queue == *queue && wanted == *tag,
                Step::WakeTopic(topic) => pull.queue.topic == *topic,
                Step::Tick(_) => pull.deadline_ms <= now_ms,
                Step::WakeAll => true,
            }
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let queue = || (0..2u32, 0..3u32).prop_map(|(topic, queue)| QueueKey { topic, queue });
        let hold = (0..6u64, queue(), 0..3i32, 1..40u64)
            .prop_map(|(connection, queue, tag, ms)| Step::Hold(connection, queue, tag, ms));
        let step = prop_oneof![
            20 => hold,
            6 => (queue(), 0..3i32).prop_map(|(queue, tag)| Step::Arrive(queue, tag)),
            1 => (0..2u32).prop_map(Step::WakeTopic),
            4 => (0..10u64).prop_map(Step::Tick),
            3 => (0..6u64).prop_map(Step::Close),
            1 => Just(Step::WakeAll),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        /// A list of pulls, told apart by their `from`, is the model.
        #[test]
        fn lists_agree_with_each_other_and_with_a_naive_model(steps in steps()) {
            let mut held = HeldPulls::default();
            let mut model: Vec<(HeldPull, i32)> = Vec::new();
            let (mut now_ms, mut number) = (0, 0);
            for step in steps {
                match step.clone() {
                    Step::Hold(connection, queue, tag, ms) => {
                        number += 1;
                        let pull = pull(connection, now_ms + ms, tags([tag]));
                        let pull = HeldPull { queue, from: number, ..pull };
                        held.hold(pull.clone()).expect("room");
                        model.push((pull, tag));
                    }
                    Step::Arrive(queue, tag) => held.arrive(queue, tag, || None),
                    Step::WakeTopic(topic) => held.wake_topic(topic),
                    Step::Tick(ms) => {
                        now_ms += ms;
                        held.tick(now_ms);
                    }
                    Step::Close(connection) => {
                        held.connection_closed(connection);
                        model.retain(|(pull, _)| pull.ticket.connection != connection);
                    }
                    Step::WakeAll => held.wake_all(),
                }
                let wakes = |(pull, tag): &mut (HeldPull, i32)| step.wakes(pull, *tag, now_ms);
                let expected: Vec<u64> =
                    model.extract_if(.., wakes).map(|(pull, _)| pull.from).collect();
                let mut woken: Vec<u64> =
                    std::iter::from_fn(|| held.next_woken()).map(|pull| pull.from).collect();
                woken.sort_unstable();
                prop_assert_eq!(woken, expected);
                prop_assert_eq!(held.check_lists(), model.len());
            }
        }
    }

    #[test]
    fn a_connection_that_ends_costs_what_it_has() {
        let mut held = HeldPulls::default();
        let connections = 1 << 16;
        for number in 0..2 * connections {
            held.hold(pull(number % connections, 100, MessageFilter::ALL)).expect("room");
        }
        // With all slots gone through for each of them, or the queue's list for each of their pulls, this
        // were 10^10 looks.
        for connection in 0..connections {
            held.connection_closed(connection);
        }
        assert_eq!(held.check_lists(), 0);
        assert!(held.by_queue.is_empty() && held.by_connection.first.is_empty());
        assert_eq!((held.wake_at_ms(), woken(&mut held)), (None, Vec::new()));
    }
}
