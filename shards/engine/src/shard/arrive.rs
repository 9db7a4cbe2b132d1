//! Arrive: what passed `confirmed` becomes visible, wakes who waits, and is answered.
//! Kind: machine
//!
//! It runs because a watermark moved, not on a polling thread; in log order, one record at a time.

use proto::ids::ShardIndex;
use proto::record;

use super::{AnsweredKey, Shard, Waiting, WaitingMessage};
use crate::consumequeue::QueueEntry;
use crate::ticket::Ticket;
use crate::transaction::HALF_TOPIC_INCARNATION;

/// Something that is confirmed and whose request waits for an answer.
#[derive(Debug)]
pub enum Confirmed<'a> {
    /// A message or a batch is stored.
    Sent {
        /// Whom to answer.
        ticket: Ticket,
        /// The shard whose log it is in.
        shard: ShardIndex,
        /// Number of the (first) message in its queue.
        queue_offset: u64,
        /// Log offsets of the records, in order: one, or a batch's.
        payloads: &'a [u64],
        /// Value of the (last) message's UNIQ_KEY, empty without one.
        unique_key: &'a [u8],
        /// When the (last) message was appended, ms.
        stored_ms: u64,
    },
    /// A record of our own is stored.
    Done {
        /// Whom to answer.
        ticket: Ticket,
    },
    /// The log failed: the outcome is unknown, the connection is to be closed.
    Unknown {
        /// Who waited.
        ticket: Ticket,
    },
}

impl Shard {
    /// The next confirmed record whose request waits; makes everything before it visible.
    pub fn next_confirmed(&mut self) -> Option<Confirmed<'_>> {
        let confirmed = self.log.confirmed();
        loop {
            let first = *self.line.front()?;
            if first.visible_at > confirmed {
                return self.next_failed();
            }
            self.line.pop_front();
            self.log.records_confirmed(first.end);
            match first.what {
                Waiting::Request(ticket) => {
                    // The note behind a delivered message ends its group, which nobody is answered.
                    self.group.clear();
                    if let Some(ticket) = ticket {
                        return Some(Confirmed::Done { ticket });
                    }
                }
                Waiting::Message(message) => {
                    self.prefetch_ahead();
                    self.show(&message);
                    self.group.push(message.payload);
                    let group_ends = first.end == first.visible_at;
                    if group_ends && let Some(ticket) = message.ticket {
                        return Some(self.sent(&message, ticket));
                    }
                    if group_ends {
                        self.group.clear();
                    }
                }
            }
        }
    }

    /// Messages of many queues find the memory of each cold: it is asked for some messages before.
    fn prefetch_ahead(&self) {
        const QUEUE_AHEAD: usize = 8;
        const ENTRY_AHEAD: usize = 4;
        let slot = |ahead: usize| match self.line.get(ahead)?.what {
            Waiting::Message(WaitingMessage { slot, .. }) => Some(slot),
            Waiting::Request(_) => None,
        };
        if let Some(slot) = slot(QUEUE_AHEAD) {
            self.queues.prefetch_slot(slot);
        }
        if let Some(slot) = slot(ENTRY_AHEAD) {
            self.queues.prefetch_end(slot);
        }
    }

    /// Makes a confirmed message visible in its queue.
    pub(super) fn show(&mut self, message: &WaitingMessage) {
        let entry = QueueEntry {
            payload: message.payload,
            size_bytes: message.size_bytes,
            tag: message.tag,
            stored_ms: message.stored_ms,
        };
        self.queues.arrive(message.slot, message.queue_offset, entry);
        let size_bytes = message.size_bytes as usize;
        self.held.arrive(message.queue, message.tag, || {
            record::properties(self.log.tail_bytes(message.payload, size_bytes)?)
        });
        self.delays.arrive(message.queue, message.stored_ms);
        if message.queue.topic == HALF_TOPIC_INCARNATION {
            self.transactions.arrive(message.queue_offset, message.stored_ms);
        }
    }

    fn sent(&mut self, message: &WaitingMessage, ticket: Ticket) -> Confirmed<'_> {
        // Emptied when the next group begins: the answer borrows it.
        self.sent.clear();
        std::mem::swap(&mut self.sent, &mut self.group);
        self.sent_group(message, ticket)
    }

    /// The answer to the group whose payloads are in `sent` and whose last message this is.
    pub(super) fn sent_group(&mut self, message: &WaitingMessage, ticket: Ticket) -> Confirmed<'_> {
        let first = message.queue_offset + 1 - self.sent.len() as u64;
        self.answered_key = message.unique_key;
        let AnsweredKey { start, len, copy } = &self.answered_key;
        let unique_key = copy.get(..usize::from(*len)).unwrap_or_else(|| {
            self.log
                .tail_bytes(message.payload + u64::from(*start), usize::from(*len))
                .expect("unconfirmed records stay in the tail's memory")
        });
        Confirmed::Sent {
            ticket,
            shard: self.index,
            queue_offset: first,
            payloads: &self.sent,
            unique_key,
            stored_ms: message.stored_ms,
        }
    }

    /// After the log failed, what was in line fails once.
    fn next_failed(&mut self) -> Option<Confirmed<'static>> {
        self.log.poisoned()?;
        while let Some(waiting) = self.line.pop_front() {
            if let Waiting::Message(message) = &waiting.what {
                self.failed_from = self.failed_from.min(message.payload);
            }
            let ticket = match waiting.what {
                Waiting::Message(message) => message.ticket,
                Waiting::Request(ticket) => ticket,
            };
            if let Some(ticket) = ticket {
                return Some(Confirmed::Unknown { ticket });
            }
        }
        None
    }
}
