//! Carried: delayed and half messages that wait longer than the segment that held them is kept, and where their
//! copies are.
//! Owns: for each of them the queue entry of its copy.
//! Lives on: every shard
//! Kind: machine
//! Invariants: a message that was delivered or settled is not in it; a later copy takes the place of an earlier one

use std::collections::BTreeMap;
use std::ops::Range;

use crate::consumequeue::{QueueEntry, QueueKey};

/// A message of a level's queue, or a half message, by its queue offset.
pub type WaitingKey = (QueueKey, u64);

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Carried {
    entries: BTreeMap<WaitingKey, QueueEntry>,
    /// The same by where they lie, to find what the oldest segment holds.
    keys: BTreeMap<u64, WaitingKey>,
}

impl Carried {
    /// The newest copy of a message.
    pub fn insert(&mut self, key: WaitingKey, entry: QueueEntry) {
        if let Some(old) = self.entries.insert(key, entry) {
            self.keys.remove(&old.payload);
        }
        self.keys.insert(entry.payload, key);
    }

    /// Where a message's copy is; `None`: it was not carried.
    pub fn get(&self, key: WaitingKey) -> Option<QueueEntry> {
        self.entries.get(&key).copied()
    }

    /// Messages of a queue below a queue offset were delivered.
    pub fn settle(&mut self, queue: QueueKey, cursor: u64) {
        self.remove_range(queue, 0..cursor);
    }

    /// A message was delivered or settled, or is to be forgotten.
    pub fn remove(&mut self, key: WaitingKey) {
        if let Some(entry) = self.entries.remove(&key) {
            self.keys.remove(&entry.payload);
        }
    }

    /// Messages of a queue with queue offsets in a range were settled.
    pub fn remove_range(&mut self, queue: QueueKey, queue_offsets: Range<u64>) {
        let keys = (queue, queue_offsets.start)..(queue, queue_offsets.end);
        while let Some((key, _)) = self.entries.range(keys.clone()).next() {
            self.remove(*key);
        }
    }

    /// The queue of a topic, of which a shard has one, if something of it is here.
    pub fn queue_of(&self, topic: u32) -> Option<QueueKey> {
        let first = (QueueKey { topic, queue: 0 }, 0);
        let ((queue, _), _) = self.entries.range(first..).next()?;
        (queue.topic == topic).then_some(*queue)
    }

    /// The first copy in a range of log offsets.
    pub fn first_in(&self, positions: Range<u64>) -> Option<(WaitingKey, QueueEntry)> {
        let (_, key) = self.keys.range(positions).next()?;
        Some((*key, self.entries[key]))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (WaitingKey, QueueEntry)> {
        self.entries.iter().map(|(key, entry)| (*key, *entry))
    }
}

/// Bytes of a note that a message was carried.
pub const MOVED_BYTES: usize = 40;

/// Layout of the note: topic u32, queue u32, queue offset u64, log offset of the copy's payload u64,
/// store timestamp u64, bytes u32, tag i32; little endian.
pub fn write_moved((queue, queue_offset): WaitingKey, entry: &QueueEntry) -> [u8; MOVED_BYTES] {
    let mut note = [0; MOVED_BYTES];
    note[0..4].copy_from_slice(&queue.topic.to_le_bytes());
    note[4..8].copy_from_slice(&queue.queue.to_le_bytes());
    note[8..16].copy_from_slice(&queue_offset.to_le_bytes());
    note[16..24].copy_from_slice(&entry.payload.to_le_bytes());
    note[24..32].copy_from_slice(&entry.stored_ms.to_le_bytes());
    note[32..36].copy_from_slice(&entry.size_bytes.to_le_bytes());
    note[36..40].copy_from_slice(&entry.tag.to_le_bytes());
    note
}

/// Reads what [`write_moved`] wrote; `None`: it is malformed.
pub fn read_moved(note: &[u8]) -> Option<(WaitingKey, QueueEntry)> {
    let note: &[u8; MOVED_BYTES] = note.try_into().ok()?;
    let word = |at: usize| u32::from_le_bytes(note[at..at + 4].try_into().expect("4 bytes"));
    let long = |at: usize| u64::from_le_bytes(note[at..at + 8].try_into().expect("8 bytes"));
    let entry = QueueEntry {
        payload: long(16),
        stored_ms: long(24),
        size_bytes: word(32),
        tag: word(36).cast_signed(),
    };
    Some(((QueueKey { topic: word(0), queue: word(4) }, long(8)), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueKey = QueueKey { topic: 1, queue: 2 };

    fn entry(payload: u64) -> QueueEntry {
        QueueEntry { payload, size_bytes: 100, tag: -7, stored_ms: payload + 1 }
    }

    #[test]
    fn the_newest_copy_counts_until_the_message_is_delivered() {
        let mut carried = Carried::default();
        carried.insert((QUEUE, 5), entry(1000));
        carried.insert((QUEUE, 6), entry(2000));
        carried.insert((QUEUE, 5), entry(3000));
        assert_eq!(carried.get((QUEUE, 5)), Some(entry(3000)));
        assert_eq!(carried.first_in(0..5000), Some(((QUEUE, 6), entry(2000))));
        assert_eq!(carried.first_in(2001..3000), None);
        carried.settle(QueueKey { queue: 3, ..QUEUE }, 100);
        assert_eq!(carried.len(), 2);
        carried.settle(QUEUE, 6);
        assert_eq!(carried.iter().collect::<Vec<_>>(), [((QUEUE, 6), entry(2000))]);
        assert_eq!(carried.first_in(2001..5000), None);
    }

    #[test]
    fn a_note_is_read_back() {
        let note = write_moved((QUEUE, 9), &entry(77));
        assert_eq!(read_moved(&note), Some(((QUEUE, 9), entry(77))));
        assert_eq!(read_moved(&note[1..]), None);
    }
}
