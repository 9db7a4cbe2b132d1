//! Transact: a half message is appended, found again, and ends together with the message it became.
//! Kind: machine

use proto::record::Record;

use super::append::{AppendRefused, NewMessage};
use super::read::NotNow;
use super::{Lookup, Shard};
use crate::commitlog::{Entry, FLAG_CONTINUES, FLAG_MORE, Kind, record_bytes};
use crate::consumequeue::{QueueEntry, QueueKey};
use crate::limits::OPEN_TRANSACTIONS_MAX;
use crate::ticket::Ticket;
use crate::transaction::{Endings, Outcome, Transactions, write_ended};

/// What a producer's word is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Half {
    /// It waits for this word; its producer was asked so often. Its record is there.
    Open {
        /// Checks so far.
        checks: u32,
    },
    /// Another message is at that position, or a half message that was settled. Its record is there.
    NotOpen,
    /// It is being settled, and that is not confirmed yet: come again.
    Ending,
    /// Its record is being read: try again when cold reads have completed.
    Cold,
    /// Nothing is there.
    None,
    /// The disk does not give it: why. Later it may.
    Failed(String),
}

impl Shard {
    /// Appends a half message; `own_ms`: its producer is to be asked so long after it was stored, ms.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    ///
    /// # Panics
    /// When the message is for another queue than that of half messages.
    pub fn append_half(
        &mut self,
        now_ms: u64,
        message: &NewMessage<'_>,
        own_ms: Option<u64>,
        ticket: Option<Ticket>,
    ) -> Result<u64, AppendRefused> {
        assert_eq!(message.queue, self.half_queue());
        if self.transactions.len() >= OPEN_TRANSACTIONS_MAX {
            return Err(AppendRefused::TransactionsFull);
        }
        let end = self.append_message(now_ms, message, ticket)?;
        if let Some(own_ms) = own_ms {
            let slot = self.queues.slot(message.queue);
            let due_ms = now_ms.saturating_add(own_ms);
            self.transactions.expect(self.queues.queue(slot).next() - 1, due_ms);
        }
        Ok(end)
    }

    /// The half message of a queue offset and position (a payload's log offset), with its record in
    /// `record` (cleared before).
    pub fn half(&mut self, queue_offset: u64, payload: u64, record: &mut Vec<u8>) -> Half {
        if let Some(checks) = self.transactions.checks(queue_offset) {
            match self.half_record(queue_offset, record) {
                Ok(true) if is_of_position(record, self.index.0, payload) => {
                    return Half::Open { checks };
                }
                Ok(_) => {}
                Err(NotNow::Wanted) => return Half::Cold,
                Err(NotNow::Failed(reason)) => return Half::Failed(reason),
            }
        }
        record.clear();
        match self.lookup(payload, record) {
            Lookup::Found => {
                self.transactions.confirmed(self.log.confirmed());
                let is_ending = self.transactions.is_ending(queue_offset);
                if is_ending { Half::Ending } else { Half::NotOpen }
            }
            Lookup::Cold => Half::Cold,
            Lookup::None => Half::None,
            Lookup::Failed(reason) => Half::Failed(reason),
        }
    }

    /// Ends an open half message, together with the message it becomes, if any, in one group; the
    /// ticket comes back when that is confirmed.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then.
    ///
    /// # Panics
    /// When it is not open.
    pub fn end_half(
        &mut self,
        now_ms: u64,
        queue_offset: u64,
        outcome: Outcome,
        message: Option<&NewMessage<'_>>,
        ticket: Option<Ticket>,
    ) -> Result<(), AppendRefused> {
        let note = write_ended(outcome, queue_offset);
        let message_bytes = message.map_or(0, |message| record_bytes(message.record_bytes()));
        self.check_room(message_bytes as usize + note.len())?;
        let first = self.line.len();
        if let Some(message) = message {
            self.put(now_ms, message, FLAG_MORE, None);
        }
        let flags = if message.is_some() { FLAG_CONTINUES } else { 0 };
        let entry = Entry { kind: Kind::Ended, flags, topic: 0, queue: 0 };
        let end = self.put_own(entry, &note, ticket);
        self.line.range_mut(first..).for_each(|waiting| waiting.visible_at = end);
        let queue = self.half_queue();
        self.carrying.carried.remove((queue, queue_offset));
        self.transactions.confirmed(self.log.confirmed());
        let queue = self.queues.find(queue);
        self.transactions.end(queue_offset, end, |at| Some(queue?.entry(at)?.stored_ms));
        Ok(())
    }

    /// Half messages, for figures.
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// The record of an open half message into `record` (cleared before), from its first place or
    /// from where it was carried. `false`: it is damaged or gone.
    pub(super) fn half_record(
        &mut self,
        queue_offset: u64,
        record: &mut Vec<u8>,
    ) -> Result<bool, NotNow> {
        record.clear();
        let Some((entry, kind)) = self.half_entry(queue_offset)? else { return Ok(false) };
        if entry.size_bytes == 0 {
            return Ok(false);
        }
        match self.record_at(entry.payload, kind, record) {
            Lookup::Found => Ok(true),
            Lookup::None => Ok(false),
            Lookup::Cold => Err(NotNow::Wanted),
            Lookup::Failed(reason) => Err(NotNow::Failed(reason)),
        }
    }

    /// Where an open half message is now.
    pub(super) fn half_entry(
        &mut self,
        queue_offset: u64,
    ) -> Result<Option<(QueueEntry, Kind)>, NotNow> {
        self.take_copies();
        let queue = self.half_queue();
        if let Some(copy) = self.carrying.carried.get((queue, queue_offset)) {
            return Ok(Some((copy, Kind::Carried)));
        }
        let entry = self.fetch_one(queue, queue_offset)?;
        Ok(entry.map(|entry| (entry, Kind::Message)))
    }

    /// The first open half message of the queue at or behind a queue offset; those whose segments are
    /// gone were carried and are not meant.
    pub(super) fn first_open_half(&self, from: u64) -> Option<(QueueKey, u64)> {
        let queue = self.half_queue();
        let (min, _) = self.queues.bounds(queue)?;
        Some((queue, self.transactions.first_open(from.max(min))?))
    }

    /// No open half message lies at its first place below this log offset.
    pub(super) fn open_halves_from(&self) -> Option<u64> {
        let (queue, queue_offset) = self.first_open_half(0)?;
        // One that is in no run and not in memory is damaged; who comes behind it is not known.
        Some(self.queues.position_below(queue, queue_offset).unwrap_or(self.start))
    }

    /// What is open after a start: all that is in the queue, or was carried out of it, and did not end.
    pub(super) fn restore_transactions(&mut self, endings: &Endings) {
        let queue = self.half_queue();
        let (min, max) = self.queues.bounds(queue).unwrap_or_default();
        let copies = self.carrying.carried.iter();
        let carried = copies.filter(|((of, at), _)| *of == queue && *at < min);
        for queue_offset in carried.map(|((_, at), _)| at).chain(endings.open(min..max)) {
            self.transactions.restore(queue_offset, endings.last_check(queue_offset));
        }
    }

    fn half_queue(&self) -> QueueKey {
        Transactions::half_queue(self.index.0)
    }
}

/// Whether a record was written at this place of its shard first.
fn is_of_position(record: &[u8], shard: u8, payload: u64) -> bool {
    let position = Record::decode(record)
        .ok()
        .and_then(|(record, _)| proto::ids::Position::from_i64(record.fields().physic_offset));
    position.is_some_and(|it| it.shard().0 == shard && it.offset().bytes() == payload)
}

#[cfg(test)]
mod tests {
    use super::super::Confirmed;
    use super::super::testing::{
        DELAY_MS, QUEUE, TIMEOUT_MS, complete, message, shard, start_writes,
    };
    use super::*;
    use crate::transaction::Checked;

    fn half_message() -> NewMessage<'static> {
        NewMessage { queue: Transactions::half_queue(0), ..message() }
    }

    fn append_half(shard: &mut Shard, now_ms: u64) {
        shard.append_half(now_ms, &half_message(), None, None).expect("room");
        complete(shard);
        assert!(shard.next_confirmed().is_none(), "nobody waits");
    }

    /// Log offset of the half message of a queue offset.
    fn payload(shard: &mut Shard, queue_offset: u64) -> u64 {
        shard.half_entry(queue_offset).expect("in memory").expect("it is there").0.payload
    }

    fn visible(shard: &Shard) -> u64 {
        shard.queues.bounds(QUEUE).map_or(0, |(_, max)| max)
    }

    #[test]
    fn a_commit_is_seen_and_answered_when_it_is_durable_and_once() {
        let mut shard = shard();
        append_half(&mut shard, 1);
        let at = payload(&mut shard, 0);
        let mut record = Vec::new();
        assert_eq!(shard.half(0, at, &mut record), Half::Open { checks: 0 });
        assert!(!record.is_empty());
        assert_eq!(shard.half(1, at, &mut record), Half::NotOpen, "another queue offset");
        assert_eq!(shard.half(0, at + 8, &mut record), Half::None);
        let ticket = Some(Ticket { opaque: 7, ..Ticket::default() });
        shard.end_half(2, 0, Outcome::Committed, Some(&message()), ticket).expect("room");
        assert_eq!(shard.half(0, at, &mut record), Half::Ending, "a second word waits");
        let writes = start_writes(&mut shard);
        assert!(shard.next_confirmed().is_none());
        assert_eq!(visible(&shard), 0);
        for write in writes {
            shard.log_mut().write_completed(&write.range, Ok(()));
        }
        let answered = shard
            .next_confirmed()
            .map(|it| matches!(it, Confirmed::Done { ticket } if ticket.opaque == 7));
        assert_eq!(answered, Some(true));
        assert_eq!(visible(&shard), 1);
        assert_eq!(shard.half(0, at, &mut record), Half::NotOpen);
        assert!(shard.next_check(u64::MAX, &mut record).is_none());
    }

    #[test]
    fn a_send_behind_a_commit_is_answered_with_its_own_place() {
        let mut shard = shard();
        append_half(&mut shard, 1);
        shard.end_half(2, 0, Outcome::Committed, Some(&message()), None).expect("room");
        let ticket = Some(Ticket { opaque: 9, ..Ticket::default() });
        shard.append_message(2, &message(), ticket).expect("room");
        complete(&mut shard);
        match shard.next_confirmed() {
            Some(Confirmed::Sent { ticket, queue_offset, payloads, .. }) => {
                assert_eq!((ticket.opaque, queue_offset, payloads.len()), (9, 1, 1));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_says_nothing_is_asked_again_and_again() {
        let mut shard = shard();
        append_half(&mut shard, 100);
        let mut record = Vec::new();
        assert_eq!(shard.due_at_ms(0), Some(100 + TIMEOUT_MS));
        assert_eq!(shard.next_check(99 + TIMEOUT_MS, &mut record), None);
        let due = shard.next_check(100 + TIMEOUT_MS, &mut record).expect("it is due");
        assert_eq!((due.queue_offset, due.checks, due.stored_ms), (0, 0, 100));
        let checked = Checked { due_ms: 20_000, checks: 1 };
        shard.note_check(0, checked).expect("room");
        assert_eq!(shard.next_check(19_999, &mut record), None);
        assert_eq!(shard.next_check(20_000, &mut record).map(|due| due.checks), Some(1));
        shard.end_half(20_000, 0, Outcome::RolledBack, None, None).expect("room");
        assert_eq!((shard.due_at_ms(0), DELAY_MS > 0), (None, true));
    }

    #[test]
    fn a_clock_that_was_ahead_once_holds_back_no_check() {
        let mut shard = shard();
        shard.append_message(1 << 40, &message(), None).expect("room");
        append_half(&mut shard, 100);
        append_half(&mut shard, 100);
        shard.append_half(100, &half_message(), Some(60_000), None).expect("room");
        complete(&mut shard);
        assert!(shard.next_confirmed().is_none(), "nobody waits");
        let mut record = Vec::new();
        assert_eq!(shard.due_at_ms(200), Some(200), "they are to be looked at");
        assert_eq!(shard.next_check(200, &mut record), None);
        assert_eq!(shard.due_at_ms(200), Some(200 + TIMEOUT_MS));
        for queue_offset in 0..2 {
            assert_eq!(shard.next_check(199 + TIMEOUT_MS, &mut record), None);
            let due = shard.next_check(200 + TIMEOUT_MS, &mut record).expect("it is due");
            assert_eq!((due.queue_offset, due.checks), (queue_offset, 0));
            shard.end_half(201, queue_offset, Outcome::RolledBack, None, None).expect("room");
        }
        assert_eq!(shard.due_at_ms(200), Some(60_100), "it has a time of its own");
    }

    #[test]
    fn as_many_as_allowed_are_open_and_one_more_is_refused() {
        let mut shard = shard();
        for queue_offset in 0..OPEN_TRANSACTIONS_MAX as u64 - 1 {
            shard.transactions.restore(1_000_000_000 + queue_offset, None);
        }
        append_half(&mut shard, 1);
        let before = shard.log().appended();
        let refused = shard.append_half(1, &half_message(), None, None);
        assert_eq!(refused, Err(AppendRefused::TransactionsFull));
        assert_eq!(shard.log().appended(), before, "nothing was stored");
        shard.append_message(1, &message(), None).expect("other messages are taken");
        shard.end_half(1, 0, Outcome::RolledBack, None, None).expect("room");
        shard.append_half(1, &half_message(), None, None).expect("one was settled");
    }
}
