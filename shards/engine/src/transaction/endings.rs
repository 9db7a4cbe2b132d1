//! Endings: what the log's records say of half messages, for recovery, runs and snapshots.
//! Owns: ranges of queue offsets that are settled, and the last check of those that are not.
//! Kind: machine
//! Invariants: ranges neither overlap nor touch; nothing settled has a last check

use std::collections::BTreeMap;
use std::ops::Range;

use crate::limits::{CHECKED_PER_NOTE_MAX, ENDED_PER_NOTE_MAX};

/// How a half message ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// Its message is in its real queue.
    Committed = 1,
    /// It is nowhere.
    RolledBack = 2,
    /// Its producer was asked often enough: it is in TRANS_CHECK_MAX_TIME_TOPIC.
    GivenUp = 3,
    /// It cannot be read any more, or its topic is no more.
    Dropped = 4,
}

/// The last check of a half message.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Checked {
    /// When it is checked next, ms of the wall clock.
    pub due_ms: u64,
    /// Checks so far.
    pub checks: u32,
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Endings {
    /// First queue offset of a range to the one behind its last.
    ended: BTreeMap<u64, u64>,
    checked: BTreeMap<u64, Checked>,
}

/// Bytes before the ranges of a record.
const HEAD_BYTES: usize = 8;

/// Bytes of a range.
const RANGE_BYTES: usize = 16;

/// Bytes of a check.
const CHECK_BYTES: usize = 24;

/// The payload of a settlement: outcome u8, 7 × 0, from u64, to u64; little endian.
pub fn write_ended(outcome: Outcome, queue_offset: u64) -> [u8; HEAD_BYTES + RANGE_BYTES] {
    let mut payload = [0; HEAD_BYTES + RANGE_BYTES];
    payload[0] = outcome as u8;
    payload[8..16].copy_from_slice(&queue_offset.to_le_bytes());
    payload[16..24].copy_from_slice(&(queue_offset + 1).to_le_bytes());
    payload
}

/// The payload of a check: queue offset u64, next check u64, checks u32, 0 u32; little endian.
pub fn write_checked(queue_offset: u64, checked: Checked) -> [u8; CHECK_BYTES] {
    let mut payload = [0; CHECK_BYTES];
    payload[0..8].copy_from_slice(&queue_offset.to_le_bytes());
    payload[8..16].copy_from_slice(&checked.due_ms.to_le_bytes());
    payload[16..20].copy_from_slice(&checked.checks.to_le_bytes());
    payload
}

impl Endings {
    /// Applies a settlement, or the ranges of a note. The ranges, to forget what else is known of
    /// them; `None`: it is malformed.
    pub fn replay_ended(&mut self, payload: &[u8]) -> Option<Vec<Range<u64>>> {
        let (head, ranges) = payload.split_at_checked(HEAD_BYTES)?;
        if head[0] > Outcome::Dropped as u8 || head[1..].iter().any(|byte| *byte != 0) {
            return None;
        }
        let ranges: Vec<_> = exact(ranges)?
            .map(|range: &[u8; RANGE_BYTES]| long(range, 0)..long(range, 8))
            .collect();
        if ranges.iter().any(Range::is_empty) {
            return None;
        }
        ranges.iter().for_each(|range| self.end(range.clone()));
        Some(ranges)
    }

    /// Applies checks. `false`: they are malformed.
    pub fn replay_checked(&mut self, payload: &[u8]) -> bool {
        let Some(checks) = exact(payload) else { return false };
        for check in checks {
            let check: &[u8; CHECK_BYTES] = check;
            let queue_offset = long(check, 0);
            let count = u32::from_le_bytes(check[16..20].try_into().expect("4 bytes"));
            if !self.is_ended(queue_offset) {
                let checked = Checked { due_ms: long(check, 8), checks: count };
                self.checked.insert(queue_offset, checked);
            }
        }
        true
    }

    /// The queue offset behind the last that is known of.
    pub fn end_of_known(&self) -> u64 {
        let ended = self.ended.last_key_value().map_or(0, |(_, to)| *to);
        let checked = self.checked.last_key_value().map_or(0, |(at, _)| at + 1);
        ended.max(checked)
    }

    /// Whether a half message is settled.
    pub fn is_ended(&self, queue_offset: u64) -> bool {
        let before = self.ended.range(..=queue_offset).next_back();
        before.is_some_and(|(_, to)| *to > queue_offset)
    }

    /// The last check of a half message.
    pub fn last_check(&self, queue_offset: u64) -> Option<Checked> {
        self.checked.get(&queue_offset).copied()
    }

    /// Queue offsets in a range that are not settled.
    pub fn open(&self, range: Range<u64>) -> impl Iterator<Item = u64> {
        let before = self.ended.range(..=range.start).next_back().map(|(_, to)| *to);
        let mut from = range.start.max(before.unwrap_or(0));
        let ended = self.ended.range(from..range.end.max(from));
        let ends = ended.map(|(from, to)| (*from, *to)).chain([(range.end, range.end)]);
        ends.flat_map(move |(next, to)| std::mem::replace(&mut from, to)..next)
    }

    /// Everything as notes, as few as it takes: whether it is one of settlements, and its payload.
    pub fn write_all(&self, mut emit: impl FnMut(bool, &[u8])) {
        let mut payload = Vec::new();
        let ended: Vec<_> = self.ended.iter().collect();
        for ranges in ended.chunks(ENDED_PER_NOTE_MAX) {
            payload.clear();
            payload.extend_from_slice(&[0; HEAD_BYTES]);
            for (from, to) in ranges {
                payload.extend_from_slice(&from.to_le_bytes());
                payload.extend_from_slice(&to.to_le_bytes());
            }
            emit(true, &payload);
        }
        let checked: Vec<_> = self.checked.iter().collect();
        for checks in checked.chunks(CHECKED_PER_NOTE_MAX) {
            payload.clear();
            checks.iter().for_each(|(queue_offset, checked)| {
                payload.extend_from_slice(&write_checked(**queue_offset, **checked));
            });
            emit(false, &payload);
        }
    }

    fn end(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        while let Some((queue_offset, _)) = self.checked.range(start..end).next() {
            let queue_offset = *queue_offset;
            self.checked.remove(&queue_offset);
        }
        if let Some((from, to)) = self.ended.range(..=start).next_back()
            && *to >= start
        {
            (start, end) = (*from, end.max(*to));
        }
        while let Some((from, to)) = self.ended.range(start..=end).next() {
            let (from, to) = (*from, *to);
            end = end.max(to);
            self.ended.remove(&from);
        }
        self.ended.insert(start, end);
    }
}

/// Pieces of one size; `None`: something is left, or there are none.
fn exact<const SIZE: usize>(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8; SIZE]>> {
    let (pieces, rest) = bytes.as_chunks::<SIZE>();
    (rest.is_empty() && !pieces.is_empty()).then(|| pieces.iter())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against sets, and notes give the same again.
        #[test]
        fn ranges_are_sets(steps in proptest::collection::vec((0..40u64, 1..6u64, any::<bool>()), 0..60)) {
            let mut endings = Endings::default();
            let (mut ended, mut checked) = (BTreeSet::new(), BTreeMap::new());
            for (at, count, is_end) in steps {
                if is_end {
                    endings.end(at..at + count);
                    ended.extend(at..at + count);
                    checked.retain(|at, _| !ended.contains(at));
                } else {
                    let check = Checked { due_ms: count * 7, checks: count as u32 };
                    prop_assert!(endings.replay_checked(&write_checked(at, check)));
                    if !ended.contains(&at) {
                        checked.insert(at, check);
                    }
                }
            }
            let mut again = Endings::default();
            endings.write_all(|is_ended, payload| {
                let is_whole = match is_ended {
                    true => again.replay_ended(payload).is_some(),
                    false => again.replay_checked(payload),
                };
                assert!(is_whole);
            });
            for endings in [endings, again] {
                for from in [0, 3, 17, 50] {
                    let open: Vec<_> = endings.open(from..50).collect();
                    let expected: Vec<_> = (from..50).filter(|at| !ended.contains(at)).collect();
                    prop_assert_eq!(open, expected);
                }
                for at in 0..50 {
                    prop_assert_eq!(endings.is_ended(at), ended.contains(&at));
                    prop_assert_eq!(endings.last_check(at), checked.get(&at).copied());
                }
                let touching = endings.ended.iter().zip(endings.ended.iter().skip(1));
                prop_assert!(touching.into_iter().all(|((_, to), (from, _))| to < from));
            }
        }
    }

    #[test]
    fn malformed_records_are_none() {
        let mut endings = Endings::default();
        let whole = write_ended(Outcome::Committed, 5);
        let ranges = endings.replay_ended(&whole).expect("whole");
        assert_eq!(ranges.as_slice(), std::slice::from_ref(&(5..6)));
        for bad in [&whole[..23], &whole[..8], &[]] {
            assert_eq!(endings.replay_ended(bad), None);
        }
        for (at, byte) in [(0, 5), (1, 1), (16, 5)] {
            let mut bad = whole;
            bad[at] = byte;
            assert_eq!(endings.replay_ended(&bad), None, "byte {at}");
        }
        assert!(!endings.replay_checked(&write_checked(1, Checked::default())[1..]));
        assert!(!endings.replay_checked(&[]));
    }
}
