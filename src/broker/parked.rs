//! Parked: requests that wait for something to be read from disk, as values.
//! Kind: machine
//! Invariants: each is tried again when cold reads have ended, until it is answered or refused

use proto::code::response;
use runtime::clock::Now;

use super::dispatch::{Handled, Stop, flow_of, refuse};
use super::handlers::{
    Direct, EndTransaction, EntriesQuestion, Resume, SendBack, TimeQuestion, ViewQuestion,
};
use super::limits::PARKED_REQUESTS_MAX;
use super::{Asker, Broker, Refusal};
use crate::net::outbox::Outboxes;

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub asker: Asker,
    pub request: Request,
}

/// What waits.
#[derive(Clone, Debug)]
pub(super) enum Request {
    SendBack(SendBack),
    Time(TimeQuestion),
    EndTransaction(EndTransaction<'static>),
    View(ViewQuestion),
    Entries(Box<EntriesQuestion>),
    Direct(Direct),
    Resume(Resume),
}

impl Broker {
    /// Tries a request; one whose bytes are being read is parked.
    pub(super) fn try_or_park(
        &mut self,
        now: Now,
        asker: &Asker,
        request: Request,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let mut parked = Parked { asker: *asker, request };
        if self.try_parked(now, &mut parked, outboxes)? {
            return Ok(());
        }
        self.park(asker, parked.request)
    }

    /// Keeps a request until what it needs is read.
    pub(super) fn park(&mut self, asker: &Asker, request: Request) -> Handled {
        if self.parked.len() >= PARKED_REQUESTS_MAX {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("{PARKED_REQUESTS_MAX} requests wait for the disk already, try again"),
            )
            .into());
        }
        self.parked.push(Parked { asker: *asker, request });
        Ok(())
    }

    /// `false`: something is being read.
    fn try_parked(
        &mut self,
        now: Now,
        parked: &mut Parked,
        outboxes: &mut Outboxes,
    ) -> Result<bool, Stop> {
        match &mut parked.request {
            Request::SendBack(send_back) => self.try_send_back(now, &parked.asker, send_back),
            Request::EndTransaction(end) => {
                self.try_end_transaction(now, &parked.asker, end, outboxes)
            }
            Request::Resume(resume) => self.try_resume(now, &parked.asker, *resume),
            Request::Direct(direct) => self.try_direct(&parked.asker, direct),
            Request::Time(question) => self.try_time(&parked.asker, question, outboxes),
            Request::View(question) => self.try_view(&parked.asker, question, outboxes),
            Request::Entries(question) => self.try_entries(&parked.asker, question, outboxes),
        }
    }

    /// Tries parked requests again when cold reads have ended since.
    pub fn retry_parked(&mut self, now: Now, outboxes: &mut Outboxes) {
        let completed = self.shards.iter().map(|shard| shard.cold_reads_completed()).sum();
        if self.parked.is_empty() || completed == self.cold_reads_seen {
            return;
        }
        self.cold_reads_seen = completed;
        for mut parked in std::mem::take(&mut self.parked) {
            match self.try_parked(now, &mut parked, outboxes) {
                Ok(true) => {}
                Ok(false) => self.parked.push(parked),
                Err(Stop::Wait) => {
                    self.cold_reads_seen = u64::MAX; // come again in the next turn
                    self.parked.push(parked);
                }
                Err(stop) => match flow_of(&parked.asker, Err(stop)) {
                    Ok(_) => unreachable!("it was here when it was parked, and does not move"),
                    Err(refusal) => refuse(&parked.asker, &refusal, outboxes),
                },
            }
        }
    }
}
