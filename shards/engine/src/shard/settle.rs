//! Settle: a delayed message that is due moves to its real queue, together with the note that it did.
//! Kind: machine

use super::append::{AppendRefused, NewMessage};
use super::{Lookup, Shard};
use crate::commitlog::{Entry, FLAG_CONTINUES, FLAG_MORE, Kind, record_bytes};
use crate::consumequeue::ConsumeQueue;
use crate::delay::Delays;
use crate::limits::DELAY_RETRY_MS;

/// A delayed message that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Due {
    /// Its level, from 1.
    pub level: usize,
    /// Its queue offset in the level's queue.
    pub queue_offset: u64,
}

impl Shard {
    /// The next delayed message that is due, with its record, if the record is in memory. When it is
    /// not, it is being read, and the same call gives it later.
    pub fn next_due(&mut self, now_ms: u64, record: &mut Vec<u8>) -> Option<Due> {
        let level = self.delays.due(now_ms)?;
        let due = Due { level, queue_offset: self.delays.cursor(level) };
        let queue = self.queues.find(Delays::queue(level));
        let entry = queue.and_then(|queue| queue.entry(due.queue_offset));
        let Some(entry) = entry.filter(|entry| entry.size_bytes > 0) else {
            // Damaged or gone: go on behind it.
            record.clear();
            return Some(due);
        };
        record.clear();
        match self.lookup(entry.payload, record) {
            Lookup::Found => Some(due),
            Lookup::Cold => None,
            Lookup::None => Some(due),
            Lookup::Failed(reason) => {
                tracing::error!(
                    shard = self.index.0,
                    level = due.level,
                    queue_offset = due.queue_offset,
                    reason,
                    "a delayed message cannot be read from disk, it is tried again"
                );
                self.postpone_due(now_ms);
                None
            }
        }
    }

    /// What is due cannot be delivered now; it is tried again after [`DELAY_RETRY_MS`].
    pub fn postpone_due(&mut self, now_ms: u64) {
        self.delays.postpone(now_ms + DELAY_RETRY_MS);
    }

    /// Delivers a due message as `message` and notes it, in one group; `None`: it is gone, only note.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then, and it is still due.
    pub fn settle(
        &mut self,
        now_ms: u64,
        due: Due,
        message: Option<&NewMessage<'_>>,
    ) -> Result<(), AppendRefused> {
        const NOTE_BYTES: usize = 16;
        let message_bytes = message.map_or(0, |message| record_bytes(message.record_bytes()));
        self.check_room(message_bytes as usize + NOTE_BYTES)?;
        let cursor = due.queue_offset + 1;
        let mut note = [0; NOTE_BYTES];
        note[0..8].copy_from_slice(&(due.level as u64).to_le_bytes());
        note[8..16].copy_from_slice(&cursor.to_le_bytes());
        let first = self.line.len();
        if let Some(message) = message {
            self.put(now_ms, message, FLAG_MORE, None);
        }
        let flags = if message.is_some() { FLAG_CONTINUES } else { 0 };
        let entry = Entry { kind: Kind::Settled, flags, topic: 0, queue: 0 };
        let end = self.put_own(entry, &note, None);
        self.line.range_mut(first..).for_each(|waiting| waiting.visible_at = end);
        let next = self
            .queues
            .find(Delays::queue(due.level))
            .and_then(|queue: &ConsumeQueue| queue.entry(cursor))
            .map(|entry| entry.stored_ms);
        self.delays.settle(due.level, cursor, next);
        Ok(())
    }

    /// Reads a note of the log (recovery). `false`: malformed.
    pub(super) fn replay_settled(&mut self, payload: &[u8]) -> bool {
        let (Some((level, rest)), true) = (payload.split_first_chunk(), payload.len() == 16) else {
            return false;
        };
        let Some((cursor, _)) = rest.split_first_chunk() else { return false };
        let level = u64::from_le_bytes(*level) as usize;
        self.delays.settle(level, u64::from_le_bytes(*cursor), None);
        true
    }

    /// Delay levels, for figures.
    pub fn delays(&self) -> &Delays {
        &self.delays
    }
}
