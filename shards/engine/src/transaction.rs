//! Transactions: half messages that wait for their producer's word (RocketMQ's
//! TransactionalMessageService). They lie in the shard's queue of RMQ_SYS_TRANS_HALF_TOPIC.
//! Owns: which of them are open, how often the producer was asked and when it is asked next.
//! Lives on: every shard
//! Kind: machine
//!
//! A clock that was ahead leaves store times that it reaches much later: one like this counts as stored when
//! it was seen first. When the clock is set back, or was between two starts, what was to be checked at a time of
//! its own keeps its wait.
//! Invariants:
//!   one is closed only with a record in the log that says so, together with the message it became
//!   whoever has a time of its own is in `due` with it, and nobody else is
//!   everything below `cursor` that is open has a time of its own

mod endings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use crate::consumequeue::QueueKey;
use crate::limits::CLOCK_SLACK_MS;
pub use endings::{Checked, Endings, Outcome, write_checked, write_ended};

/// The incarnation of RMQ_SYS_TRANS_HALF_TOPIC: a queue of it exists in each shard, always.
pub const HALF_TOPIC_INCARNATION: u32 = 2;

/// The incarnation of TRANS_CHECK_MAX_TIME_TOPIC: the same.
pub const CHECK_MAX_TIME_TOPIC_INCARNATION: u32 = 3;

/// The half messages of one shard. See the module's first lines.
#[derive(Debug)]
pub struct Transactions {
    /// After how long the producer is asked for the first time, ms.
    timeout_ms: u64,
    /// By queue offset.
    open: BTreeMap<u64, Open>,
    /// Those with a time of their own, by it.
    due: BTreeSet<(u64, u64)>,
    cursor: u64,
    /// The first that has no time of its own, as far as it was looked for.
    head: Option<(u64, Head)>,
    /// Half messages on their way to being confirmed that have a time of their own: queue offset and
    /// when it is, ms.
    expected: VecDeque<(u64, u64)>,
    /// Settled, and not confirmed yet: log offset behind the record that says so, queue offset.
    ending: VecDeque<(u64, u64)>,
    /// No check in this time; a clock that is set back ends it.
    postponed: Range<u64>,
    /// The clock as it was seen last, ms.
    clock_ms: u64,
}

/// Of an open half message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Open {
    /// Next check, ms; 0: the first one, [`Transactions::timeout_ms`] after it was stored.
    due_ms: u64,
    /// Checks so far.
    checks: u32,
}

/// When the head was stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Head {
    Stored(u64),
    /// To be looked up: treated as due.
    Unknown,
}

const _: () = assert!(size_of::<(u64, Open)>() <= 40);

impl Transactions {
    /// None is open. Producers are asked for the first time `timeout_ms` after the half message came.
    /// `clock_ms` is the latest store time there is: 0 of a new log.
    pub fn new(timeout_ms: u64, clock_ms: u64) -> Transactions {
        Transactions {
            timeout_ms,
            open: BTreeMap::new(),
            due: BTreeSet::new(),
            cursor: 0,
            head: None,
            expected: VecDeque::new(),
            ending: VecDeque::new(),
            postponed: 0..0,
            clock_ms,
        }
    }

    /// The queue of half messages of a shard.
    pub fn half_queue(shard: u8) -> QueueKey {
        QueueKey { topic: HALF_TOPIC_INCARNATION, queue: u32::from(shard) }
    }

    /// The queue of half messages of a shard whose producers never answered.
    pub fn given_up_queue(shard: u8) -> QueueKey {
        QueueKey { topic: CHECK_MAX_TIME_TOPIC_INCARNATION, queue: u32::from(shard) }
    }

    /// A half message found at a start, in rising order, with what its last check said.
    pub fn restore(&mut self, queue_offset: u64, checked: Option<Checked>) {
        let Checked { due_ms, checks } = checked.unwrap_or_default();
        assert!(self.open.last_key_value().is_none_or(|(last, _)| *last < queue_offset));
        self.open.insert(queue_offset, Open { due_ms, checks });
        if due_ms > 0 {
            self.due.insert((due_ms, queue_offset));
        } else if self.head.is_none() {
            (self.head, self.cursor) = (Some((queue_offset, Head::Unknown)), queue_offset);
        }
    }

    /// The half message that is appended next wants to be checked at this time first, ms.
    pub fn expect(&mut self, queue_offset: u64, due_ms: u64) {
        self.expected.push_back((queue_offset, due_ms));
    }

    /// A half message is confirmed.
    pub fn arrive(&mut self, queue_offset: u64, stored_ms: u64) {
        let mut due_ms = 0;
        while let Some((of, own_ms)) = self.expected.pop_front_if(|(of, _)| *of <= queue_offset) {
            if of == queue_offset {
                due_ms = own_ms.max(1);
                self.due.insert((due_ms, queue_offset));
            }
        }
        let before = self.open.insert(queue_offset, Open { due_ms, checks: 0 });
        assert!(before.is_none(), "a queue offset arrives once");
        if self.head.is_none() && due_ms == 0 {
            self.head = Some((queue_offset, Head::Stored(stored_ms)));
        }
    }

    /// How often the producer of a half message was asked; `None`: it is not open.
    pub fn checks(&self, queue_offset: u64) -> Option<u32> {
        self.open.get(&queue_offset).map(|open| open.checks)
    }

    /// Whether a half message is open.
    pub fn is_open(&self, queue_offset: u64) -> bool {
        self.open.contains_key(&queue_offset)
    }

    /// The first open half message at or behind a queue offset.
    pub fn first_open(&self, from: u64) -> Option<u64> {
        self.open.range(from..).next().map(|(queue_offset, _)| *queue_offset)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// A half message is settled by a record that ends at log offset `end`. `stored_ms` says when a half
    /// message was stored whose queue entry is in memory.
    ///
    /// # Panics
    /// When it is not open.
    pub fn end(&mut self, queue_offset: u64, end: u64, stored_ms: impl Fn(u64) -> Option<u64>) {
        let open = self.open.remove(&queue_offset).expect("it is open");
        if open.due_ms > 0 {
            self.due.remove(&(open.due_ms, queue_offset));
        }
        self.ending.push_back((end, queue_offset));
        if self.head.is_some_and(|(head, _)| head == queue_offset) {
            self.look_for_head(stored_ms);
        }
    }

    /// Everything below a log offset is confirmed.
    pub fn confirmed(&mut self, to: u64) {
        while self.ending.pop_front_if(|(end, _)| *end <= to).is_some() {}
    }

    /// Whether a half message was settled and that is not confirmed yet.
    pub fn is_ending(&self, queue_offset: u64) -> bool {
        self.ending.iter().any(|(_, of)| *of == queue_offset)
    }

    /// The half message that is to be checked next, if one is due.
    pub fn due(&self, now_ms: u64) -> Option<u64> {
        if self.postponed.contains(&now_ms) {
            return None;
        }
        let (due_ms, queue_offset) = self.first_due()?;
        (due_ms <= now_ms).then_some(queue_offset)
    }

    /// When the first one is due, ms.
    pub fn wake_at_ms(&self, now_ms: u64) -> Option<u64> {
        let due_ms = match self.stored_ahead(now_ms) {
            Some(_) => now_ms,
            None => self.first_due()?.0,
        };
        let is_postponed = self.postponed.contains(&now_ms);
        Some(if is_postponed { due_ms.max(self.postponed.end) } else { due_ms })
    }

    /// A half message that has no time of its own, and a store time far ahead: it is to get one.
    pub fn stored_ahead(&self, now_ms: u64) -> Option<u64> {
        let ahead_ms = now_ms.saturating_add(CLOCK_SLACK_MS);
        match self.head {
            Some((queue_offset, Head::Stored(stored_ms))) if stored_ms > ahead_ms => {
                Some(queue_offset)
            }
            _ => None,
        }
    }

    /// When the producer is asked for the first time that sends a half message now.
    pub fn first_check_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(self.timeout_ms)
    }

    /// What is due was looked up: when it was stored. Whether that is news, so that another one may be
    /// due now, or none.
    pub fn looked_up(&mut self, queue_offset: u64, stored_ms: u64) -> bool {
        if self.head != Some((queue_offset, Head::Unknown)) {
            return false;
        }
        self.head = Some((queue_offset, Head::Stored(stored_ms)));
        true
    }

    /// The next check of a half message is at this time, after so many. `stored_ms` as of
    /// [`Transactions::end`].
    ///
    /// # Panics
    /// When it is not open.
    pub fn schedule(
        &mut self,
        queue_offset: u64,
        checked: Checked,
        stored_ms: impl Fn(u64) -> Option<u64>,
    ) {
        let open = self.open.get_mut(&queue_offset).expect("it is open");
        if open.due_ms > 0 {
            self.due.remove(&(open.due_ms, queue_offset));
        }
        let due_ms = checked.due_ms.max(1);
        *open = Open { due_ms, checks: checked.checks };
        self.due.insert((due_ms, queue_offset));
        if self.head.is_some_and(|(head, _)| head == queue_offset) {
            self.look_for_head(stored_ms);
        }
    }

    /// Nothing is checked from now for so long, ms, unless the clock is set back.
    pub fn postpone(&mut self, now_ms: u64, for_ms: u64) {
        self.postponed = now_ms..now_ms.saturating_add(for_ms);
    }

    /// The clock is looked at. What has a time of its own would wait for one that was far ahead and was set
    /// right; half messages that are asked early have their wait looked up then.
    pub fn clock_is(&mut self, now_ms: u64) {
        let back_ms = self.clock_ms.saturating_sub(now_ms);
        self.clock_ms = now_ms;
        if back_ms <= CLOCK_SLACK_MS {
            return;
        }
        let earlier = |due_ms: u64| due_ms.saturating_sub(back_ms).max(1);
        self.expected.iter_mut().for_each(|(_, due_ms)| *due_ms = earlier(*due_ms));
        for open in self.open.values_mut().filter(|open| open.due_ms > 0) {
            open.due_ms = earlier(open.due_ms);
        }
        self.due = self.due.iter().map(|(due_ms, of)| (earlier(*due_ms), *of)).collect();
    }

    fn first_due(&self) -> Option<(u64, u64)> {
        let own = self.due.first().copied();
        let head = self.head.map(|(queue_offset, head)| match head {
            Head::Stored(stored_ms) => (stored_ms.saturating_add(self.timeout_ms), queue_offset),
            Head::Unknown => (0, queue_offset),
        });
        own.into_iter().chain(head).min()
    }

    /// Goes on to the first half message that has no time of its own.
    fn look_for_head(&mut self, stored_ms: impl Fn(u64) -> Option<u64>) {
        let mut rest = self.open.range(self.cursor..);
        let Some((queue_offset, _)) = rest.find(|(_, open)| open.due_ms == 0) else {
            self.head = None;
            // What comes has greater offsets.
            if let Some((last, _)) = self.open.last_key_value() {
                self.cursor = self.cursor.max(last + 1);
            }
            return;
        };
        self.cursor = *queue_offset;
        let head = stored_ms(*queue_offset).map_or(Head::Unknown, Head::Stored);
        self.head = Some((*queue_offset, head));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT_MS: u64 = 6_000;

    fn unknown(_: u64) -> Option<u64> {
        None
    }

    #[test]
    fn the_oldest_is_asked_first_and_again_after_its_own_time() {
        let mut halves = Transactions::new(TIMEOUT_MS, 0);
        assert_eq!((halves.wake_at_ms(0), halves.due(u64::MAX)), (None, None));
        halves.arrive(0, 100);
        halves.expect(1, 1_150);
        halves.arrive(1, 150);
        halves.arrive(2, 200);
        assert_eq!(halves.wake_at_ms(0), Some(1_150), "its own time is shorter");
        assert_eq!(halves.due(1_149), None);
        assert_eq!(halves.due(1_150), Some(1));
        halves.schedule(1, Checked { due_ms: 31_150, checks: 1 }, unknown);
        assert_eq!((halves.due(6_099), halves.due(6_100)), (None, Some(0)));
        halves.end(0, 5_000, |queue_offset| (queue_offset == 2).then_some(200));
        assert_eq!((halves.due(6_199), halves.due(6_200)), (None, Some(2)));
        halves.end(2, 6_000, unknown);
        assert_eq!((halves.wake_at_ms(0), halves.checks(1)), (Some(31_150), Some(1)));
        halves.postpone(32_000, 8_000);
        assert_eq!((halves.wake_at_ms(32_000), halves.due(39_999)), (Some(40_000), None));
        assert_eq!(halves.due(40_000), Some(1));
        let set_back = (halves.wake_at_ms(31_999), halves.due(31_999));
        assert_eq!(set_back, (Some(31_150), Some(1)), "a clock that was set back ends it");
        assert!(halves.is_ending(2) && !halves.is_open(2));
        halves.confirmed(5_999);
        assert!(!halves.is_ending(0) && halves.is_ending(2));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_what_is_noted_waiting_as_long_as_before() {
        const AHEAD_MS: u64 = 86_400_000;
        let mut halves = Transactions::new(TIMEOUT_MS, 0);
        halves.clock_is(AHEAD_MS);
        for queue_offset in 0..3 {
            halves.arrive(queue_offset, AHEAD_MS);
        }
        for (queue_offset, wait_ms) in [(0, 30_000), (1, 31_000)] {
            let due_ms = AHEAD_MS + wait_ms;
            halves.schedule(queue_offset, Checked { due_ms, checks: 1 }, unknown);
        }
        halves.expect(3, AHEAD_MS + 32_000);
        halves.end(2, 1, unknown);
        halves.clock_is(AHEAD_MS - CLOCK_SLACK_MS);
        assert_eq!(halves.wake_at_ms(0), Some(AHEAD_MS + 30_000), "a little is waited for");
        halves.clock_is(AHEAD_MS);
        halves.clock_is(0);
        halves.arrive(3, AHEAD_MS);
        for (queue_offset, due_ms) in [(0, 30_000), (1, 31_000), (3, 32_000)] {
            assert_eq!((halves.due(due_ms - 1), halves.due(due_ms)), (None, Some(queue_offset)));
            halves.end(queue_offset, 2, unknown);
        }
        assert!(halves.is_empty() && halves.due.is_empty());
    }

    #[test]
    fn what_a_start_finds_is_looked_up_before_it_is_asked() {
        let mut halves = Transactions::new(TIMEOUT_MS, 0);
        halves.restore(3, Some(Checked { due_ms: 50_000, checks: 2 }));
        halves.restore(7, None);
        halves.restore(9, None);
        assert_eq!(halves.due(0), Some(7), "nobody knows when it was stored");
        assert!(halves.looked_up(7, 1_000));
        assert_eq!((halves.due(6_999), halves.due(7_000)), (None, Some(7)));
        assert_eq!(
            (halves.checks(3), halves.checks(7), halves.checks(8)),
            (Some(2), Some(0), None)
        );
        assert_eq!((halves.first_open(4), halves.len()), (Some(7), 3));
    }

    #[test]
    fn those_with_a_time_of_their_own_are_gone_through_once() {
        let mut halves = Transactions::new(TIMEOUT_MS, 0);
        for queue_offset in 0..100 {
            halves.expect(queue_offset, 50_000);
            halves.arrive(queue_offset, 100);
        }
        halves.arrive(100, 100);
        halves.end(100, 5_000, unknown);
        assert_eq!((halves.head, halves.cursor), (None, 100), "not again from the first");
        halves.arrive(101, 200);
        halves.arrive(102, 300);
        halves.end(101, 6_000, |_| Some(300));
        assert_eq!((halves.head, halves.cursor), (Some((102, Head::Stored(300))), 102));
    }

    /// What a half message is, kept without any order.
    #[derive(Clone, Copy, Debug)]
    struct Naive {
        queue_offset: u64,
        due_ms: u64,
        checks: u32,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arrive(Option<u64>),
        End(usize),
        Check(u64),
        Pass(u64),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => proptest::option::weighted(0.3, 0..20_000u64).prop_map(Step::Arrive),
            3 => (0..64usize).prop_map(Step::End),
            4 => (1..40_000u64).prop_map(Step::Check),
            3 => (0..5_000u64).prop_map(Step::Pass),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Against a list that is searched: what is due when, how often it was asked, what is open.
        #[test]
        fn it_does_what_a_list_does(steps in proptest::collection::vec(step(), 1..120)) {
            let mut halves = Transactions::new(TIMEOUT_MS, 0);
            let mut naive: Vec<Naive> = Vec::new();
            let (mut now_ms, mut next, mut stored) = (1_000, 0, Vec::new());
            for step in steps {
                match step {
                    Step::Arrive(own_ms) => {
                        if let Some(after_ms) = own_ms {
                            halves.expect(next, now_ms + after_ms);
                        }
                        halves.arrive(next, now_ms);
                        let due_ms = now_ms + own_ms.unwrap_or(TIMEOUT_MS);
                        naive.push(Naive { queue_offset: next, due_ms, checks: 0 });
                        stored.push(now_ms);
                        next += 1;
                    }
                    Step::End(index) if !naive.is_empty() => {
                        let gone = naive.swap_remove(index % naive.len());
                        // Now and then the entry is not in memory.
                        let known = |at: u64| (!at.is_multiple_of(3)).then(|| stored[at as usize]);
                        halves.end(gone.queue_offset, next, known);
                    }
                    Step::Check(interval_ms) => {
                        let Some(found) = due(&mut halves, now_ms, &stored) else {
                            prop_assert!(naive.iter().all(|it| it.due_ms > now_ms));
                            continue;
                        };
                        let first_ms = naive.iter().map(|it| it.due_ms).min();
                        let it = naive.iter_mut().find(|it| it.queue_offset == found);
                        let it = it.expect("only open ones are due");
                        prop_assert!(Some(it.due_ms) == first_ms && it.due_ms <= now_ms);
                        it.due_ms = now_ms + interval_ms;
                        it.checks += 1;
                        let checked = Checked { due_ms: it.due_ms, checks: it.checks };
                        halves.schedule(found, checked, |at| Some(stored[at as usize]));
                    }
                    Step::Restart => {
                        let mut again = Transactions::new(TIMEOUT_MS, 0);
                        naive.sort_unstable_by_key(|it| it.queue_offset);
                        for it in &mut naive {
                            let Naive { due_ms, checks, .. } = *it;
                            let checked = (checks > 0).then_some(Checked { due_ms, checks });
                            // A first time of its own is in the record only.
                            if checks == 0 {
                                it.due_ms = stored[it.queue_offset as usize] + TIMEOUT_MS;
                            }
                            again.restore(it.queue_offset, checked);
                        }
                        halves = again;
                    }
                    Step::Pass(ms) => now_ms += ms,
                    Step::End(_) => {}
                }
                prop_assert_eq!(halves.len(), naive.len());
                for it in &naive {
                    prop_assert_eq!(halves.checks(it.queue_offset), Some(it.checks));
                }
                let first = naive.iter().map(|it| it.queue_offset).min();
                prop_assert_eq!(halves.first_open(0), first);
                if let Some(first_ms) = naive.iter().map(|it| it.due_ms).min() {
                    let wake_ms = halves.wake_at_ms(now_ms).expect("one is open");
                    prop_assert!(wake_ms <= first_ms, "{wake_ms} is too late for {first_ms}");
                }
            }
        }
    }

    /// What is due, with looking up what is not known.
    fn due(halves: &mut Transactions, now_ms: u64, stored: &[u64]) -> Option<u64> {
        loop {
            let found = halves.due(now_ms)?;
            if !halves.looked_up(found, stored[found as usize]) {
                return Some(found);
            }
        }
    }
}
