//! Which messages were acknowledged and which came: a bit each, so that hundreds of millions fit.
//! Owns: the bits of every producer in every queue of one topic.
//! Kind: machine
//! Invariants: a message is counted as lost if and only if it was acknowledged and never seen.

use std::collections::BTreeMap;

/// Messages whose bits are kept, over all streams: 2 GiB of bits for both sides.
pub const MESSAGES_MAX: u64 = 8 << 30;

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By producer and queue.
    streams: BTreeMap<(u32, u32), Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    acknowledged: Bits,
    seen: Bits,
}

/// A set of numbers from 0, dense.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
}

/// Consecutive messages of one producer and queue that were acknowledged and never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub producer: u32,
    pub queue_id: u32,
    pub first: u64,
    pub last: u64,
}

impl Ledger {
    /// `count` messages from `first` on were acknowledged.
    pub fn acknowledge(&mut self, producer: u32, queue_id: u32, first: u64, count: u64) {
        assert!(first + count <= MESSAGES_MAX);
        let stream = self.streams.entry((producer, queue_id)).or_default();
        (first..first + count).for_each(|number| {
            stream.acknowledged.insert(number);
        });
    }

    /// A message came; false if it came before. One that was never acknowledged may come too.
    pub fn see(&mut self, producer: u32, queue_id: u32, number: u64) -> bool {
        // A body that passed its CRC was made by us: its numbers can be trusted up to the limit.
        assert!(number < MESSAGES_MAX);
        self.streams.entry((producer, queue_id)).or_default().seen.insert(number)
    }

    /// Messages that were acknowledged.
    pub fn acknowledged_count(&self) -> u64 {
        self.streams.values().map(|stream| stream.acknowledged.count()).sum()
    }

    /// Messages that came without having been acknowledged: their answer was lost or said no.
    pub fn unasked_count(&self) -> u64 {
        self.streams.values().map(|stream| stream.seen.without(&stream.acknowledged)).sum()
    }

    /// What is lost, in order.
    pub fn gaps(&self) -> impl Iterator<Item = Gap> + '_ {
        self.streams.iter().flat_map(|(&(producer, queue_id), stream)| {
            let lost = stream.acknowledged.missing_in(&stream.seen);
            lost.map(move |(first, last)| Gap { producer, queue_id, first, last })
        })
    }
}

impl Bits {
    /// False if the number was there.
    fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// How many numbers of these are not in `other`.
    fn without(&self, other: &Bits) -> u64 {
        let words = self.words.iter().enumerate();
        words.map(|(index, word)| u64::from((word & !other.word(index)).count_ones())).sum()
    }

    /// First and last number of each run of numbers of these that are not in `other`.
    fn missing_in<'a>(&'a self, other: &'a Bits) -> impl Iterator<Item = (u64, u64)> + 'a {
        let is_missing = |number: u64| {
            (self.word((number / 64) as usize) & !other.word((number / 64) as usize))
                >> (number % 64)
                & 1
                == 1
        };
        let end = self.words.len() as u64 * 64;
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < end {
                if at % 64 == 0
                    && self.word((at / 64) as usize) & !other.word((at / 64) as usize) == 0
                {
                    at += 64;
                } else if is_missing(at) {
                    let first = at;
                    while at < end && is_missing(at) {
                        at += 1;
                    }
                    return Some((first, at - 1));
                } else {
                    at += 1;
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_lost_was_acknowledged_and_never_seen(
            acknowledged in prop::collection::btree_set(0u64..300, 0..200),
            seen in prop::collection::vec(0u64..300, 0..200),
        ) {
            let mut ledger = Ledger::default();
            for number in &acknowledged {
                ledger.acknowledge(1, 2, *number, 1);
            }
            let mut known = BTreeSet::new();
            for number in seen {
                prop_assert_eq!(ledger.see(1, 2, number), known.insert(number));
            }
            let lost: Vec<u64> = ledger.gaps().flat_map(|gap| gap.first..=gap.last).collect();
            let expect: Vec<u64> = acknowledged.difference(&known).copied().collect();
            prop_assert_eq!(lost, expect);
            prop_assert_eq!(ledger.acknowledged_count(), acknowledged.len() as u64);
            prop_assert_eq!(ledger.unasked_count(), known.difference(&acknowledged).count() as u64);
        }
    }

    #[test]
    fn gaps_are_whole_and_by_stream() {
        let mut ledger = Ledger::default();
        ledger.acknowledge(1, 0, 10, 200);
        ledger.acknowledge(2, 0, 0, 1);
        assert!(ledger.see(1, 0, 100));
        let gap = |producer, first, last| Gap { producer, queue_id: 0, first, last };
        let found: Vec<Gap> = ledger.gaps().collect();
        assert_eq!(found, [gap(1, 10, 99), gap(1, 101, 209), gap(2, 0, 0)]);
    }
}
