//! Settle: a delayed message that is due moves to its real queue, together with the note that it did.
//! Kind: machine
//!
//! What the disk does not give holds up its level, in which it is the next, and no other: it may be
//! readable again, and it is known to the log by a cursor that cannot leave it out.

use super::append::{AppendRefused, NewMessage};
use super::facts::write_settled;
use super::read::NotNow;
use super::{Lookup, Shard};
use crate::commitlog::{Entry, FLAG_CONTINUES, FLAG_MORE, Kind, record_bytes};
use crate::delay::{Delays, Head};
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
        loop {
            let max = |queue| self.queues.bounds(queue).map_or(0, |(_, max)| max);
            self.delays.look(now_ms, max);
            let level = self.delays.due(now_ms)?;
            let due = Due { level, queue_offset: self.delays.cursor(level) };
            record.clear();
            self.take_copies();
            let copy = self.carrying.carried.get((Delays::queue(level), due.queue_offset));
            let kind = if copy.is_some() { Kind::Carried } else { Kind::Message };
            let fetched = match copy {
                Some(entry) => Ok(Some(entry)),
                None => self.fetch_one(Delays::queue(level), due.queue_offset),
            };
            let entry = match fetched {
                Ok(Some(entry)) => entry,
                Ok(None) => return Some(due), // gone: go on behind it
                Err(NotNow::Wanted) => return None,
                Err(NotNow::Failed(reason)) => {
                    self.due_failed(now_ms, due, &reason);
                    continue;
                }
            };
            if !self.delays.looked_up(level, entry.stored_ms, now_ms) {
                continue; // it was not known when it was stored
            }
            if entry.size_bytes == 0 {
                return Some(due); // damaged: go on behind it
            }
            match self.record_at(entry.payload, kind, record) {
                Lookup::Found | Lookup::None => return Some(due),
                Lookup::Cold => return None,
                Lookup::Failed(reason) => {
                    self.tell_unreadable(entry.payload, &reason);
                    self.delays.postpone_level(level, now_ms + DELAY_RETRY_MS);
                }
            }
        }
    }

    fn due_failed(&mut self, now_ms: u64, due: Due, reason: &str) {
        tracing::error!(
            shard = self.index.0,
            level = due.level,
            queue_offset = due.queue_offset,
            reason,
            "the queue entry of a delayed message cannot be read from disk, it is tried again"
        );
        self.delays.postpone_level(due.level, now_ms + DELAY_RETRY_MS);
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
        let note = write_settled(due.level as u64, cursor);
        let first = self.line.len();
        if let Some(message) = message {
            self.put(now_ms, message, FLAG_MORE, None);
        }
        let flags = if message.is_some() { FLAG_CONTINUES } else { 0 };
        let entry = Entry { kind: Kind::Settled, flags, topic: 0, queue: 0 };
        let end = self.put_own(entry, &note, None);
        self.line.range_mut(first..).for_each(|waiting| waiting.visible_at = end);
        let level_queue = Delays::queue(due.level);
        let head = match self.queues.find(level_queue) {
            Some(queue) if cursor < queue.max() => {
                queue.entry(cursor).map_or(Head::Unknown, |entry| Head::Stored(entry.stored_ms))
            }
            _ => Head::None,
        };
        self.carrying.carried.settle(level_queue, cursor);
        self.delays.settle(due.level, cursor, head);
        Ok(())
    }

    /// Delay levels, for figures.
    pub fn delays(&self) -> &Delays {
        &self.delays
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DELAY_MS, complete, message, shard};
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_once_holds_back_no_delayed_message() {
        let mut shard = shard();
        shard.append_message(1 << 40, &message(), None).expect("room");
        let delayed = NewMessage { queue: Delays::queue(1), ..message() };
        shard.append_message(1000, &delayed, None).expect("room");
        shard.append_message(1000, &delayed, None).expect("room");
        complete(&mut shard);
        assert!(shard.next_confirmed().is_none(), "nobody waits");
        let mut record = Vec::new();
        assert_eq!(shard.due_at_ms(1000), Some(1000), "it is to be looked at");
        assert_eq!(shard.next_due(1000, &mut record), None);
        assert_eq!(shard.due_at_ms(1000), Some(1000 + DELAY_MS));
        assert_eq!(shard.next_due(999 + DELAY_MS, &mut record), None);
        for queue_offset in 0..2 {
            let due = shard.next_due(1000 + DELAY_MS, &mut record).expect("it is due");
            assert_eq!(due.queue_offset, queue_offset);
            shard.settle(1000 + DELAY_MS, due, Some(&message())).expect("room");
        }
        assert_eq!(shard.due_at_ms(1000 + DELAY_MS), None);
    }
}
