//! Consumer offsets: the next queue offset that a group will read of a queue.
//! Owns: committed offsets, and which of them the log does not hold yet.
//! Lives on: the shard of the queue
//! Kind: machine
//! Invariants: an offset is in the table as soon as it was committed; it is durable when the record
//! that carries it is (within OFFSETS_DELAY_MS for commits that nobody waits for)

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use crate::consumequeue::QueueKey;
use crate::limits::{
    OFFSETS_DELAY_MS, OFFSETS_GONE_THROUGH_MAX, OFFSETS_MAX, OFFSETS_PER_RECORD_MAX,
};

/// Committed offsets of one shard. See the module's first lines.
#[derive(Debug, Default)]
pub struct ConsumerOffsets {
    groups: HashMap<Box<str>, u32, RandomState>,
    names: Vec<Box<str>>,
    committed: HashMap<(u32, QueueKey), u64, RandomState>,
    dirty: HashSet<(u32, QueueKey), RandomState>,
    /// Commits whose answer waits for the record: they are in the next one.
    awaited: Vec<(u32, QueueKey)>,
    due_ms: Option<u64>,
}

/// The table of offsets is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("consumer offsets are kept for {OFFSETS_MAX} queues at most")]
pub struct OffsetsFull;

impl ConsumerOffsets {
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
        let key = (self.number(group), queue);
        if !self.committed.contains_key(&key) && self.committed.len() >= OFFSETS_MAX {
            return Err(OffsetsFull);
        }
        if self.committed.insert(key, offset) != Some(offset) {
            self.dirty.insert(key);
            self.due_ms.get_or_insert(now_ms + OFFSETS_DELAY_MS);
        }
        Ok(())
    }

    /// A commit's answer waits until the log holds it: it goes into the next record, even if it changed
    /// nothing, because the record that holds the same offset may not be durable yet.
    pub fn await_written(&mut self, group: &str, queue: QueueKey) {
        let key = (self.number(group), queue);
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
        let number = u32::try_from(self.names.len()).expect("bounded by OFFSETS_MAX");
        self.groups.insert(group.into(), number);
        self.names.push(group.into());
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

    /// Whether any commit is only in memory.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.awaited.is_empty()
    }

    /// Writes commits that are only in memory into `payload` (cleared before), as many as one record
    /// holds. They count as written: the caller appends the record.
    ///
    /// Layout, n times: topic u32, queue u32, offset u64, group length u16, group; little endian.
    pub fn take_dirty(&mut self, payload: &mut Vec<u8>) {
        payload.clear();
        let awaited = std::mem::take(&mut self.awaited);
        let left = OFFSETS_PER_RECORD_MAX.saturating_sub(awaited.len());
        let others = self.dirty.iter().take(left).copied();
        let taken: Vec<_> = awaited.into_iter().chain(others).collect();
        for key in taken {
            self.dirty.remove(&key);
            self.encode(key, payload);
        }
        if self.dirty.is_empty() {
            self.due_ms = None;
        }
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
    }

    fn encode(&self, key: (u32, QueueKey), payload: &mut Vec<u8>) {
        let name = self.names[key.0 as usize].as_bytes();
        payload.extend_from_slice(&key.1.topic.to_le_bytes());
        payload.extend_from_slice(&key.1.queue.to_le_bytes());
        payload.extend_from_slice(&self.committed[&key].to_le_bytes());
        let len = u16::try_from(name.len()).expect("group names are short");
        payload.extend_from_slice(&len.to_le_bytes());
        payload.extend_from_slice(name);
    }

    /// Applies a record of the log (recovery). `false`: the payload is malformed.
    pub fn replay(&mut self, mut payload: &[u8]) -> bool {
        while !payload.is_empty() {
            let Some((entry, rest)) = split_entry(payload) else { return false };
            payload = rest;
            let number = self.number(entry.2);
            self.committed.insert((number, entry.0), entry.1);
        }
        true
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
        let mut numbers: Vec<u32> = self
            .committed
            .keys()
            .filter(|(_, queue)| queue.topic == topic)
            .map(|(group, _)| *group)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().map(|number| &*self.names[number as usize])
    }
}

/// Queue, consumer offset, group.
type Entry<'a> = (QueueKey, u64, &'a str);

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

    proptest! {
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
