//! Consumer offsets: the next queue offset that a group will read of a queue.
//! Owns: committed offsets, and which of them the log does not hold yet.
//! Lives on: the shard of the queue
//! Kind: machine
//! Invariants:
//!   an offset is in the table as soon as it was committed; it is durable when the record that carries it
//!     is (within OFFSETS_DELAY_MS for commits that nobody waits for). The same holds of one that is removed
//!   `queues` has exactly the queues that `committed` has

use foldhash::fast::{FixedState, RandomState};
use hashbrown::{HashMap, HashSet};

use crate::consumequeue::QueueKey;
use crate::limits::{
    OFFSETS_DELAY_MS, OFFSETS_GONE_THROUGH_MAX, OFFSETS_MAX, OFFSETS_PER_RECORD_MAX,
};

/// What a record says instead of an offset when the offset was removed. No queue gets that far.
const REMOVED: u64 = u64::MAX;

/// Committed offsets of one shard. See the module's first lines.
#[derive(Debug)]
pub struct ConsumerOffsets {
    /// How many there may be.
    count_max: usize,
    groups: HashMap<Box<str>, u32, RandomState>,
    /// By number; one that is free has no name.
    names: Vec<Box<str>>,
    free: Vec<u32>,
    /// By a group's number: the queues of each topic that it committed an offset for.
    queues: Vec<HashMap<u32, Vec<u32>, RandomState>>,
    committed: HashMap<(u32, QueueKey), u64, RandomState>,
    /// In an order that only what happened decides: with more than a record holds, which come first.
    dirty: HashSet<(u32, QueueKey), FixedState>,
    /// Removed offsets that no record says so of yet.
    removed: HashSet<(Box<str>, QueueKey), RandomState>,
    /// What is replayed goes on to another table: removals are kept for it.
    keeps_removed: bool,
    /// Commits whose answer waits for the record: they are in the next one.
    awaited: Vec<(u32, QueueKey)>,
    due_ms: Option<u64>,
}

/// The table of offsets is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("consumer offsets are kept for {0} queues at most")]
pub struct OffsetsFull(usize);

impl Default for ConsumerOffsets {
    fn default() -> Self {
        ConsumerOffsets::with_room_for(OFFSETS_MAX)
    }
}

impl ConsumerOffsets {
    /// A table that takes so many offsets: a shard's takes [`OFFSETS_MAX`], which are too many for a test.
    pub fn with_room_for(count_max: usize) -> ConsumerOffsets {
        ConsumerOffsets {
            count_max,
            groups: HashMap::default(),
            names: Vec::new(),
            free: Vec::new(),
            queues: Vec::new(),
            committed: HashMap::default(),
            dirty: HashSet::default(),
            removed: HashSet::default(),
            keeps_removed: false,
            awaited: Vec::new(),
            due_ms: None,
        }
    }

    /// The offset a group committed for a queue.
    pub fn committed(&self, group: &str, queue: QueueKey) -> Option<u64> {
        let group = *self.groups.get(group)?;
        self.committed.get(&(group, queue)).copied()
    }

    /// Commits an offset, lower ones too (RocketMQ's ConsumerOffsetManager overwrites).
    ///
    /// # Errors
    /// The table is full.
    pub fn commit(
        &mut self,
        now_ms: u64,
        group: &str,
        queue: QueueKey,
        offset: u64,
    ) -> Result<(), OffsetsFull> {
        if self.committed.len() >= self.count_max && self.committed(group, queue).is_none() {
            return Err(OffsetsFull(self.count_max));
        }
        let key = (self.number(group), queue);
        if self.insert(key, offset) != Some(offset) {
            self.dirty.insert(key);
            self.due_ms.get_or_insert(now_ms + OFFSETS_DELAY_MS);
        }
        Ok(())
    }

    /// Removes a group's offset for a queue, if it has one.
    pub fn remove(&mut self, now_ms: u64, group: &str, queue: QueueKey) {
        let Some(number) = self.groups.get(group).copied() else { return };
        if self.take(number, queue) {
            self.removed.insert((group.into(), queue));
            self.due_ms.get_or_insert(now_ms + OFFSETS_DELAY_MS);
        }
        self.release(number);
    }

    /// Removes all offsets of a group.
    pub fn remove_group(&mut self, now_ms: u64, group: &str) {
        let Some(number) = self.groups.get(group).copied() else { return };
        for (topic, queues) in std::mem::take(&mut self.queues[number as usize]) {
            for queue in queues {
                let queue = QueueKey { topic, queue };
                self.forget((number, queue));
                self.removed.insert((group.into(), queue));
            }
        }
        if !self.removed.is_empty() {
            self.due_ms.get_or_insert(now_ms + OFFSETS_DELAY_MS);
        }
        self.release(number);
    }

    /// A topic is no more, as a record of the catalog says: its offsets go without one of their own.
    pub fn forget_topic(&mut self, topic: u32) {
        for number in 0..self.queues.len() {
            let Some(queues) = self.queues[number].remove(&topic) else { continue };
            let number = u32::try_from(number).expect("bounded by OFFSETS_MAX");
            for queue in queues {
                self.forget((number, QueueKey { topic, queue }));
            }
            self.release(number);
        }
        self.removed.retain(|(_, queue)| queue.topic != topic);
    }

    /// Takes an offset out of the table and out of `queues`. Whether it was there.
    fn take(&mut self, group: u32, key: QueueKey) -> bool {
        if !self.forget((group, key)) {
            return false;
        }
        let topics = &mut self.queues[group as usize];
        let queues = topics.get_mut(&key.topic).expect("it has what `committed` has");
        queues.retain(|queue| *queue != key.queue);
        if queues.is_empty() {
            topics.remove(&key.topic);
        }
        true
    }

    fn forget(&mut self, key: (u32, QueueKey)) -> bool {
        self.dirty.remove(&key);
        self.awaited.retain(|awaited| *awaited != key);
        self.committed.remove(&key).is_some()
    }

    /// A group without offsets gives its number back.
    fn release(&mut self, number: u32) {
        let index = number as usize;
        if self.queues[index].is_empty() && self.groups.remove(&self.names[index]).is_some() {
            self.names[index] = "".into();
            self.free.push(number);
        }
    }

    fn insert(&mut self, key: (u32, QueueKey), offset: u64) -> Option<u64> {
        let old = self.committed.insert(key, offset);
        if old.is_none() {
            let (group, QueueKey { topic, queue }) = key;
            self.queues[group as usize].entry(topic).or_default().push(queue);
            if !self.removed.is_empty() {
                self.removed.remove(&(self.names[group as usize].clone(), key.1));
            }
        }
        old
    }

    /// A commit's answer waits until the log holds it: it goes into the next record, even if it changed
    /// nothing, because the record that holds the same offset may not be durable yet.
    pub fn await_written(&mut self, group: &str, queue: QueueKey) {
        let Some(number) = self.groups.get(group).copied() else { return };
        let key = (number, queue);
        if self.committed.contains_key(&key) {
            self.dirty.remove(&key);
            // It comes again when the log had no room.
            if !self.awaited.contains(&key) {
                self.awaited.push(key);
            }
        }
    }

    fn number(&mut self, group: &str) -> u32 {
        if let Some(number) = self.groups.get(group) {
            return *number;
        }
        let next = u32::try_from(self.names.len()).expect("bounded by OFFSETS_MAX");
        let number = self.free.pop().unwrap_or(next);
        if number == next {
            self.names.push(group.into());
            self.queues.push(HashMap::default());
        } else {
            self.names[number as usize] = group.into();
        }
        self.groups.insert(group.into(), number);
        number
    }

    /// They cannot be written now: not before some time has passed.
    pub fn postpone(&mut self, now_ms: u64) {
        if self.due_ms.is_some() {
            self.due_ms = Some(now_ms + OFFSETS_DELAY_MS);
        }
    }

    /// When commits that are only in memory are to be written.
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Whether any commit or removal is only in memory.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.awaited.is_empty() || !self.removed.is_empty()
    }

    /// Writes commits and removals that are only in memory into `payload` (cleared before), as many as one
    /// record holds. They count as written: the caller appends the record.
    ///
    /// Layout, n times: topic u32, queue u32, offset u64 (all bits set: removed), group length u16, group;
    /// little endian.
    pub fn take_dirty(&mut self, payload: &mut Vec<u8>) {
        payload.clear();
        let awaited = std::mem::take(&mut self.awaited);
        let left = OFFSETS_PER_RECORD_MAX.saturating_sub(awaited.len());
        let removed = self.removed.extract_if(|_| true).take(left);
        let removed: Vec<_> = removed.collect();
        removed.iter().for_each(|(group, queue)| encode(group, *queue, REMOVED, payload));
        let left = left - removed.len();
        let others = self.dirty.iter().take(left).copied();
        let taken: Vec<_> = awaited.into_iter().chain(others).collect();
        for key in taken {
            self.dirty.remove(&key);
            self.encode(key, payload);
        }
        if self.dirty.is_empty() && self.removed.is_empty() {
            self.due_ms = None;
        }
    }

    /// A table for what a part of the log says: what it removes may have been committed before that part,
    /// so [`ConsumerOffsets::write_all`] says it again.
    pub fn of_part() -> ConsumerOffsets {
        ConsumerOffsets { keeps_removed: true, ..ConsumerOffsets::default() }
    }

    /// Everything as payloads of records, each as much as one record holds.
    pub fn write_all(&self, mut emit: impl FnMut(&[u8])) {
        let mut keys: Vec<_> = self.committed.keys().copied().collect();
        // The same offsets are always the same bytes.
        keys.sort_unstable_by(|one, other| {
            (&self.names[one.0 as usize], one.1).cmp(&(&self.names[other.0 as usize], other.1))
        });
        let mut payload = Vec::new();
        for keys in keys.chunks(OFFSETS_PER_RECORD_MAX) {
            payload.clear();
            keys.iter().for_each(|key| self.encode(*key, &mut payload));
            emit(&payload);
        }
        let mut removed: Vec<_> = self.removed.iter().collect();
        removed.sort_unstable();
        for removed in removed.chunks(OFFSETS_PER_RECORD_MAX) {
            payload.clear();
            removed.iter().for_each(|(group, queue)| encode(group, *queue, REMOVED, &mut payload));
            emit(&payload);
        }
    }

    fn encode(&self, key: (u32, QueueKey), payload: &mut Vec<u8>) {
        encode(&self.names[key.0 as usize], key.1, self.committed[&key], payload);
    }

    /// Applies a record of the log (recovery). `false`: the payload is malformed.
    pub fn replay(&mut self, mut payload: &[u8]) -> bool {
        while !payload.is_empty() {
            let Some((entry, rest)) = split_entry(payload) else { return false };
            payload = rest;
            let (queue, offset, group) = entry;
            if offset != REMOVED {
                let number = self.number(group);
                self.insert((number, queue), offset);
                continue;
            }
            if let Some(number) = self.groups.get(group).copied() {
                self.take(number, queue);
                self.release(number);
            }
            if self.keeps_removed {
                self.removed.insert((group.into(), queue));
            }
        }
        true
    }

    /// Every committed offset with its queue, in any order.
    pub fn all(&self) -> impl Iterator<Item = (QueueKey, u64)> + '_ {
        self.committed.iter().map(|((_, queue), at)| (*queue, *at))
    }

    /// Committed offsets with group and queue, of whole groups only: all, or if there are more than
    /// `count_max` those of the first groups by name that have no more together, and the first group
    /// that is left out. Of a table that is too long to go through none.
    pub fn of_whole_groups(&self, count_max: usize) -> (Vec<(&str, QueueKey, u64)>, Option<&str>) {
        let name = |group: u32| &*self.names[group as usize];
        let all = self.committed.iter();
        if self.committed.len() <= count_max {
            return (all.map(|((group, queue), at)| (name(*group), *queue, *at)).collect(), None);
        }
        if self.committed.len() > OFFSETS_GONE_THROUGH_MAX {
            return (Vec::new(), Some(""));
        }
        let mut counts = vec![0; self.names.len()];
        self.committed.keys().for_each(|(group, _)| counts[*group as usize] += 1);
        let mut groups: Vec<u32> = self.groups.values().copied().collect();
        groups.sort_unstable_by_key(|group| name(*group));
        let (mut left, mut first_out) = (count_max, None);
        let mut is_told = vec![false; self.names.len()];
        for group in groups {
            let count = counts[group as usize];
            if count > left {
                first_out = Some(name(group));
                break;
            }
            left -= count;
            is_told[group as usize] = true;
        }
        let told = all.filter(|((group, _), _)| is_told[*group as usize]);
        (told.map(|((group, queue), at)| (name(*group), *queue, *at)).collect(), first_out)
    }

    /// Numbers that groups have or had: all are below.
    pub fn group_numbers(&self) -> usize {
        self.names.len()
    }

    /// The group of a number; `None`: there is none now.
    pub fn group_of(&self, number: usize) -> Option<&str> {
        self.names.get(number).map(|name| &**name).filter(|name| !name.is_empty())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.committed.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    /// Groups that committed an offset for a queue of this topic.
    pub fn groups_of(&self, topic: u32) -> impl Iterator<Item = &str> {
        let groups = self.queues.iter().zip(&self.names);
        groups.filter(move |(topics, _)| topics.contains_key(&topic)).map(|(_, name)| &**name)
    }

    /// Topics for whose queues a group committed an offset.
    pub fn topics_of(&self, group: &str) -> impl Iterator<Item = u32> + '_ {
        let topics = self.groups.get(group).map(|number| &self.queues[*number as usize]);
        topics.into_iter().flat_map(HashMap::keys).copied()
    }

    /// A group's committed offsets of a topic.
    pub fn of_topic(&self, group: &str, topic: u32) -> impl Iterator<Item = (QueueKey, u64)> + '_ {
        let number = self.groups.get(group).copied().unwrap_or(u32::MAX);
        let queues = self.queues.get(number as usize).and_then(|topics| topics.get(&topic));
        queues.into_iter().flatten().map(move |queue| {
            let queue = QueueKey { topic, queue: *queue };
            (queue, self.committed[&(number, queue)])
        })
    }

    /// Every topic that has an offset, some more than once.
    pub fn topics(&self) -> impl Iterator<Item = u32> + '_ {
        self.queues.iter().flat_map(HashMap::keys).copied()
    }
}

/// Queue, consumer offset, group.
type Entry<'a> = (QueueKey, u64, &'a str);

fn encode(group: &str, queue: QueueKey, offset: u64, payload: &mut Vec<u8>) {
    payload.extend_from_slice(&queue.topic.to_le_bytes());
    payload.extend_from_slice(&queue.queue.to_le_bytes());
    payload.extend_from_slice(&offset.to_le_bytes());
    let len = u16::try_from(group.len()).expect("group names are short");
    payload.extend_from_slice(&len.to_le_bytes());
    payload.extend_from_slice(group.as_bytes());
}

fn split_entry(payload: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (topic, rest) = payload.split_first_chunk()?;
    let (queue, rest) = rest.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let key = QueueKey { topic: u32::from_le_bytes(*topic), queue: u32::from_le_bytes(*queue) };
    Some(((key, u64::from_le_bytes(*offset), std::str::from_utf8(name).ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(topic: u32) -> QueueKey {
        QueueKey { topic, queue: 1 }
    }

    #[test]
    fn commits_are_seen_at_once_and_written_soon() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit(1000, "g", key(1), 5).expect("room");
        assert_eq!(offsets.committed("g", key(1)), Some(5));
        assert_eq!(offsets.committed("g", key(2)), None);
        assert_eq!(offsets.due_ms(), Some(1000 + OFFSETS_DELAY_MS));
        let mut payload = vec![9];
        offsets.take_dirty(&mut payload);
        assert_eq!(offsets.due_ms(), None);
        offsets.commit(2000, "g", key(1), 5).expect("room");
        assert!(!offsets.is_dirty(), "nothing changed");
        let mut again = ConsumerOffsets::default();
        assert!(again.replay(&payload));
        assert_eq!(again.committed("g", key(1)), Some(5));
        offsets.commit(3000, "g", key(2), 6).expect("room");
        offsets.postpone(4000);
        assert_eq!(offsets.due_ms(), Some(4000 + OFFSETS_DELAY_MS));
        assert!(!again.replay(&payload[1..]));
    }

    #[test]
    fn groups_are_told_whole_or_not_at_all() {
        let mut offsets = ConsumerOffsets::default();
        for (group, queues) in [("c", 3), ("a", 2), ("b", 4)] {
            for queue in 0..queues {
                offsets.commit(0, group, key(queue), 7).expect("room");
            }
        }
        let told = |count_max| {
            let (told, first_out) = offsets.of_whole_groups(count_max);
            let mut groups: Vec<_> = told.iter().map(|(group, ..)| *group).collect();
            groups.sort_unstable();
            (groups.concat(), first_out)
        };
        assert_eq!(told(9), ("aabbbbccc".to_owned(), None));
        assert_eq!(told(8), ("aabbbb".to_owned(), Some("c")));
        assert_eq!(told(5), ("aa".to_owned(), Some("b")));
        assert_eq!(told(1), (String::new(), Some("a")));
    }

    #[test]
    fn a_commit_whose_answer_waits_is_in_the_next_record() {
        let mut offsets = ConsumerOffsets::default();
        for topic in 0..2 * OFFSETS_PER_RECORD_MAX as u32 {
            offsets.commit(1000, "g", key(topic), 1).expect("room");
        }
        let mut payload = Vec::new();
        offsets.commit(1000, "waits", key(7), 3).expect("room");
        offsets.await_written("waits", key(7));
        offsets.take_dirty(&mut payload);
        let mut again = ConsumerOffsets::default();
        assert!(again.replay(&payload));
        assert_eq!(again.committed("waits", key(7)), Some(3));
        while offsets.is_dirty() {
            offsets.take_dirty(&mut payload);
        }
        // The same again: the record before may not be durable yet.
        offsets.commit(1000, "waits", key(7), 3).expect("room");
        assert!(!offsets.is_dirty());
        offsets.await_written("waits", key(7));
        assert!(offsets.is_dirty());
        offsets.take_dirty(&mut payload);
        assert!(again.replay(&payload) && !offsets.is_dirty());
    }

    #[test]
    fn a_group_that_is_removed_gives_its_number_back() {
        let mut offsets = ConsumerOffsets::default();
        offsets.commit(0, "one", key(1), 1).expect("room");
        offsets.commit(0, "one", key(2), 1).expect("room");
        offsets.commit(0, "other", key(1), 7).expect("room");
        assert_eq!(offsets.groups_of(1).collect::<Vec<_>>(), ["one", "other"]);
        offsets.remove_group(0, "one");
        assert_eq!(offsets.groups_of(1).collect::<Vec<_>>(), ["other"]);
        offsets.commit(0, "third", key(3), 3).expect("room");
        assert_eq!(offsets.names.len(), 2);
        assert_eq!(offsets.committed("other", key(1)), Some(7));
        assert_eq!(offsets.committed("third", key(1)), None);
        offsets.forget_topic(3);
        offsets.forget_topic(1);
        assert!(offsets.is_empty() && offsets.groups.is_empty());
    }

    proptest! {
        /// A naive model: what was done last to a queue of a group counts. Who reads the records knows the
        /// same, and so does who reads parts of them made shorter, as runs have them.
        #[test]
        fn removed_offsets_stay_removed(
            steps in prop::collection::vec((0u8..8, 0u8..4, 0u32..4, 0u64..9), 0..300),
        ) {
            let mut model = std::collections::BTreeMap::new();
            let mut offsets = ConsumerOffsets::default();
            let (mut replayed, mut of_parts) = <(ConsumerOffsets, ConsumerOffsets)>::default();
            let mut part = ConsumerOffsets::of_part();
            let mut payload = Vec::new();
            for (what, group, topic, offset) in steps {
                let group = format!("g{group}");
                match what {
                    0..=3 => {
                        offsets.commit(0, &group, key(topic), offset).expect("room");
                        model.insert((group, key(topic)), offset);
                    }
                    4 => {
                        offsets.remove(0, &group, key(topic));
                        model.remove(&(group, key(topic)));
                    }
                    5 => {
                        offsets.remove_group(0, &group);
                        model.retain(|(of, _), _| *of != group);
                    }
                    6 => {
                        offsets.take_dirty(&mut payload);
                        prop_assert!(replayed.replay(&payload) && part.replay(&payload));
                    }
                    _ => {
                        let part = std::mem::replace(&mut part, ConsumerOffsets::of_part());
                        part.write_all(|payload| assert!(of_parts.replay(payload)));
                    }
                }
            }
            while offsets.is_dirty() {
                offsets.take_dirty(&mut payload);
                prop_assert!(replayed.replay(&payload) && part.replay(&payload));
            }
            part.write_all(|payload| assert!(of_parts.replay(payload)));
            for table in [&offsets, &replayed, &of_parts] {
                let all = table.of_whole_groups(usize::MAX).0.into_iter();
                let all: std::collections::BTreeMap<_, _> =
                    all.map(|(group, queue, at)| ((group.to_owned(), queue), at)).collect();
                prop_assert_eq!(&all, &model);
                for ((group, queue), at) in &model {
                    let of_topic: Vec<_> = table.of_topic(group, queue.topic).collect();
                    prop_assert_eq!(of_topic, [(*queue, *at)]);
                }
            }
        }

        #[test]
        fn replayed_offsets_are_the_committed_ones(
            commits in prop::collection::vec((0u8..20, 0u32..10, any::<u64>()), 0..2000),
        ) {
            let mut offsets = ConsumerOffsets::default();
            let mut again = ConsumerOffsets::default();
            let mut payload = Vec::new();
            for (index, (group, topic, offset)) in commits.iter().enumerate() {
                offsets.commit(0, &format!("group-{group}"), key(*topic), *offset).expect("room");
                if index % 7 == 0 {
                    offsets.take_dirty(&mut payload);
                    prop_assert!(again.replay(&payload));
                }
            }
            while offsets.is_dirty() {
                offsets.take_dirty(&mut payload);
                prop_assert!(again.replay(&payload));
            }
            for (group, topic, _) in commits {
                let group = format!("group-{group}");
                prop_assert_eq!(again.committed(&group, key(topic)), offsets.committed(&group, key(topic)));
            }
        }

        #[test]
        fn hostile_payloads_are_refused(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            ConsumerOffsets::default().replay(&payload);
        }
    }
}
