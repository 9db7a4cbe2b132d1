//! What damage of the log takes from the book: the records that it hit, and what only they said.
//!
//! What must hold after it: a damaged message comes nowhere, its number is not given to another one, all
//! others are where they were; what a damaged record said is as if it had never been said, once: what it
//! settled may come once more, and no other.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;

use super::{HalfState, Item, Ledger, Recall, Sent};
use crate::marks::unique_key;
use crate::place::{Place, Topic};

/// A number of a queue whose message was damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    /// `None`: it is in nobody's book, or in others'.
    pub item: Option<Item>,
    /// Nothing that is whole says that the number was given.
    is_free: bool,
    /// So it was given again.
    is_taken: bool,
}

/// What may come once more, because what settled it was damaged.
#[derive(Clone, Default, Debug)]
pub(super) struct Again {
    may_come: bool,
    may_be_given_up: bool,
    /// Where it came besides.
    at: Vec<u64>,
    given_up_at: Vec<u64>,
}

impl Again {
    /// Whether what was seen elsewhere may be here, too.
    pub fn comes(&mut self, offset: u64) -> bool {
        comes(&mut self.may_come, &mut self.at, offset)
    }

    pub fn is_given_up(&mut self, offset: u64) -> bool {
        comes(&mut self.may_be_given_up, &mut self.given_up_at, offset)
    }

    /// Whether it is here once more.
    pub fn is_here(&self, offset: u64) -> bool {
        self.at.contains(&offset)
    }

    /// Whether its settlement was damaged: it may have been seen and been given up.
    pub fn is_settled_twice(&self) -> bool {
        self.may_be_given_up || !self.given_up_at.is_empty()
    }
}

fn comes(may: &mut bool, at: &mut Vec<u64>, offset: u64) -> bool {
    if at.contains(&offset) {
        return true;
    }
    let comes = std::mem::take(may);
    if comes {
        at.push(offset);
    }
    comes
}

impl Ledger {
    /// The record of a message was damaged. Whether the book knew of it.
    pub fn loses(&mut self, place: Place, offset: u64, position: i64, is_free: bool) -> bool {
        let item = self.queues.get_mut(&place).and_then(|queue| queue.remove(&offset));
        self.positions.remove(&position);
        self.gone_positions.insert(position);
        self.gone.entry(place).or_default().insert(offset, Gone { item, is_free, is_taken: false });
        item.is_some()
    }

    /// All losses and lost commits are entered: what a group is still known to be behind is not given again.
    pub fn keeps_committed_numbers(&mut self) {
        for ((_, place), (least, _)) in &self.committed {
            let gone = self.gone.get_mut(place);
            let below = gone.into_iter().flat_map(|gone| gone.range_mut(..*least));
            below.for_each(|(_, gone)| gone.is_free = false);
        }
    }

    /// Whether the record at a position was damaged.
    pub fn is_gone(&self, position: i64) -> bool {
        self.gone_positions.contains(&position)
    }

    /// The first offset from `from` on, up to `to`, whose message was not damaged.
    pub fn skips_gone(&self, place: Place, from: u64, to: u64) -> u64 {
        let Some(gone) = self.gone.get(&place) else { return from };
        let is_there = |at: &u64| gone.get(at).is_none_or(|gone| gone.is_taken);
        (from..to).find(is_there).unwrap_or(from.max(to))
    }

    /// Whether a queue may end below an offset that it had: of its last messages nothing told.
    pub fn may_end_below(&self, place: Place, offset: u64) -> bool {
        let gone = self.gone.get(&place);
        gone.is_some_and(|gone| gone.range(..offset).any(|(_, gone)| gone.is_free))
    }

    /// Messages of these offsets that were damaged, of those that the book knew.
    pub(super) fn items_gone(&self, place: Place, offsets: Range<u64>) -> Vec<Item> {
        let Some(gone) = self.gone.get(&place) else { return Vec::new() };
        gone.range(offsets).filter_map(|(_, gone)| gone.item).collect()
    }

    /// A number of a queue is another message's.
    pub(super) fn takes_number(
        &mut self,
        place: Place,
        offset: u64,
        who: &dyn Debug,
    ) -> Result<(), String> {
        let Some(gone) = self.gone.get_mut(&place) else { return Ok(()) };
        match gone.get_mut(&offset) {
            Some(Gone { is_free: false, item, .. }) => Err(format!(
                "{place} offset {offset} is given to {who:?}: it was that of {item:?}, whose record is damaged"
            )),
            Some(gone) => {
                self.given_again += u64::from(!std::mem::replace(&mut gone.is_taken, true));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A topic is not there any more, or not with this queue, because the record that said so was damaged. If
    /// that is not of the same topic, it begins anew. Whether something of it is in the book; `None`: nobody can
    /// say what is in it when it is back.
    pub fn vanishes(&mut self, place: Place) -> Option<bool> {
        let queue = self.queues.remove(&place).unwrap_or_default();
        self.known.remove(&place);
        let is_clear = self.gone.get(&place).is_none_or(BTreeMap::is_empty);
        is_clear.then_some(!queue.is_empty())
    }

    /// Queues of a topic made by request that are still there.
    pub fn keeps_queues(&mut self, topic: Topic, queues: u32) {
        if let Some((least, _)) = self.made.get_mut(&topic) {
            *least = (*least).min(queues);
        }
    }

    /// A record of committed offsets was damaged: they are as before it.
    pub fn forgets_commits(&mut self) {
        self.committed.values_mut().for_each(|(least, _)| *least = 0);
    }

    /// A record that says up to where delayed messages were delivered was damaged.
    pub fn forgets_deliveries(&mut self) {
        self.come_again(|sent| !sent.intent.is_timer);
    }

    /// A record that says which timers fired was damaged.
    pub fn forgets_firings(&mut self) {
        self.come_again(|sent| sent.intent.is_timer);
    }

    fn come_again(&mut self, may: impl Fn(&Sent) -> bool) {
        let waited = |sent: &&mut Sent| sent.intent.is_delayed && sent.intent.half.is_none();
        for sent in self.sent.values_mut().filter(waited).filter(|sent| may(sent)) {
            sent.again.may_come = true;
        }
    }

    /// A record that says of half messages that they are settled was damaged.
    pub fn forgets_endings(&mut self, shard: u8, offsets: Range<u64>) {
        let Some(queue) = self.queues.get(&Place::half(shard)) else { return };
        for item in queue.range(offsets).map(|(_, item)| item) {
            let sent = self.sent.get_mut(item).expect("is in a queue");
            sent.half = HalfState {
                is_told: sent.half.is_told,
                given_up_at: sent.half.given_up_at,
                ..HalfState::default()
            };
            sent.again.may_come = true;
            sent.again.may_be_given_up = true;
        }
    }

    /// A record that says that a message was called back was damaged: it ends with its unique key.
    pub fn forgets_recall(&mut self, record: &[u8]) {
        let recalled = |(item, sent): &(&Item, &mut Sent)| {
            sent.recall == Recall::Done && record.ends_with(unique_key(item.key).as_bytes())
        };
        for (_, sent) in self.sent.iter_mut().filter(recalled) {
            sent.recall = Recall::Asked;
        }
    }
}
