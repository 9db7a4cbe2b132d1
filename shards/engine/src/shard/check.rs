//! Check: half messages whose producers are to be asked.
//! Kind: machine
//!
//! One that the disk does not give is stepped over: only memory knows when it is asked for next, so it
//! gets another time there.

use super::Shard;
use super::append::AppendRefused;
use super::read::NotNow;
use crate::commitlog::{Entry, Kind};
use crate::limits::{CHECK_RETRY_MS, SEEN_PER_TURN_MAX, UNREADABLE_RETRY_MS};
use crate::transaction::{Checked, Transactions, write_checked};

/// A half message that is to be checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DueCheck {
    /// Its queue offset.
    pub queue_offset: u64,
    /// Checks so far.
    pub checks: u32,
    /// When it was stored, ms.
    pub stored_ms: u64,
}

impl Shard {
    /// The next half message that is to be checked, with its record, if the record is in memory. When
    /// it is not, it is being read, and the same call gives it later. An empty record: it is gone.
    pub fn next_check(&mut self, now_ms: u64, record: &mut Vec<u8>) -> Option<DueCheck> {
        self.transactions.clock_is(now_ms);
        loop {
            record.clear();
            self.see_stored_ahead(now_ms);
            let queue_offset = self.transactions.due(now_ms)?;
            let checks = self.transactions.checks(queue_offset).expect("only open ones are due");
            let found = self.half_entry(queue_offset);
            let found = match found {
                Ok(found) => found,
                Err(not_now) => return self.check_failed(now_ms, queue_offset, not_now),
            };
            let stored_ms = found.map_or(0, |(entry, _)| entry.stored_ms);
            if self.transactions.looked_up(queue_offset, stored_ms) {
                continue; // it was not known when it was stored
            }
            match self.half_record(queue_offset, record) {
                Ok(true) => {}
                Ok(false) => record.clear(),
                Err(NotNow::Failed(reason)) => {
                    self.tell_unreadable(found.map_or(0, |(entry, _)| entry.payload), &reason);
                    let due_ms = now_ms + UNREADABLE_RETRY_MS;
                    self.schedule_check(queue_offset, Checked { due_ms, checks });
                    continue;
                }
                Err(not_now) => return self.check_failed(now_ms, queue_offset, not_now),
            }
            return Some(DueCheck { queue_offset, checks, stored_ms });
        }
    }

    /// Half messages whose store times are far ahead get a time of their own: each once.
    fn see_stored_ahead(&mut self, now_ms: u64) {
        for _ in 0..SEEN_PER_TURN_MAX {
            let Some(queue_offset) = self.transactions.stored_ahead(now_ms) else { return };
            let due_ms = self.transactions.first_check_ms(now_ms);
            self.schedule_check(queue_offset, Checked { due_ms, checks: 0 });
        }
    }

    fn check_failed(
        &mut self,
        now_ms: u64,
        queue_offset: u64,
        not_now: NotNow,
    ) -> Option<DueCheck> {
        if let NotNow::Failed(reason) = not_now {
            tracing::error!(
                shard = self.index.0,
                queue_offset,
                reason,
                "a half message cannot be read from disk, it is tried again"
            );
            self.postpone_checks(now_ms, CHECK_RETRY_MS);
        }
        None
    }

    /// No half message is checked from now for so long, wall clock, ms.
    pub fn postpone_checks(&mut self, now_ms: u64, for_ms: u64) {
        self.transactions.postpone(now_ms, for_ms);
    }

    /// A half message is checked at this time first, ms; only memory knows.
    pub fn check_later(&mut self, queue_offset: u64, due_ms: u64) {
        self.schedule_check(queue_offset, Checked { due_ms, checks: 0 });
    }

    /// Notes that a half message's producer is asked now, so often so far, and when it is next.
    ///
    /// # Errors
    /// [`AppendRefused`]; nothing changed then, and it is still due.
    pub fn note_check(&mut self, queue_offset: u64, checked: Checked) -> Result<(), AppendRefused> {
        let note = write_checked(queue_offset, checked);
        self.check_room(note.len())?;
        let entry = Entry { kind: Kind::Checked, flags: 0, topic: 0, queue: 0 };
        self.put_own(entry, &note, None);
        self.schedule_check(queue_offset, checked);
        Ok(())
    }

    fn schedule_check(&mut self, queue_offset: u64, checked: Checked) {
        let queue = self.queues.find(Transactions::half_queue(self.index.0));
        self.transactions.schedule(queue_offset, checked, |at| Some(queue?.entry(at)?.stored_ms));
    }
}
