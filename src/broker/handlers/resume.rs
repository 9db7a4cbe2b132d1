//! 323 RESUME_CHECK_HALF_MESSAGE: a half message whose producer was asked too often waits again.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor.resumeCheckHalfMessage of 5.3.3, which puts back whatever message it is
//! told.

use engine::shard::{Lookup, NewMessage, Transactions};
use proto::code::response;
use proto::command::Command;
use proto::header::ResumeCheckHeader;
use proto::ids::{OffsetMessageId, Position};
use proto::limits::PROPERTIES_BYTES_MAX;
use proto::names;
use proto::properties::{self, name};
use proto::record::Record;
use runtime::clock::Now;

use super::super::check::own_check_ms_of;
use super::super::dispatch::{Handled, Stop, here};
use super::super::parked::Request;
use super::super::{Asker, Broker, Refusal};
use super::form;
use crate::net::outbox::Outboxes;
use crate::router::Owner;

/// A half message that is to wait again, once it is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) struct Resume {
    position: Position,
}

impl Broker {
    pub(in crate::broker) fn resume_check(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let id = ResumeCheckHeader::parse(command)?.message_id;
        let id = id.and_then(|id| OffsetMessageId::decode(id.to_cow().as_bytes()).ok());
        let is_here = |position: &Position| self.router.of_position(*position) != Owner::Nobody;
        let Some(position) = id.map(|id| id.position).filter(is_here) else {
            return Err(not_given_up().into());
        };
        here(self.router.of_position(position))?;
        self.try_or_park(now, asker, Request::Resume(Resume { position }), outboxes)
    }

    /// `false`: the message is being read.
    pub(in crate::broker) fn try_resume(
        &mut self,
        now: Now,
        asker: &Asker,
        resume: Resume,
    ) -> Result<bool, Stop> {
        let owner = here(self.router.of_position(resume.position))?;
        let mut record = std::mem::take(&mut self.scratch.record);
        record.clear();
        let looked = self.shards[owner].lookup(resume.position.offset().bytes(), &mut record);
        let resumed = match looked {
            Lookup::Found => self.put_back(now, asker, owner, &record).map(|()| true),
            Lookup::Cold => Ok(false),
            Lookup::None => Err(not_given_up().into()),
            Lookup::Failed(reason) => Err(Refusal::unreadable("the half message", &reason).into()),
        };
        self.scratch.record = record;
        resumed
    }

    fn put_back(&mut self, now: Now, asker: &Asker, owner: usize, record: &[u8]) -> Handled {
        let decoded = Record::decode(record).ok().map(|(record, _)| *record.fields());
        let given_up = names::TRANS_CHECK_MAX_TIME_TOPIC.as_bytes();
        let Some(fields) = decoded.filter(|fields| fields.topic == given_up) else {
            return Err(not_given_up().into());
        };
        let mut text = fields.properties.to_vec();
        properties::set(&mut text, name::TRANSACTION_CHECK_TIMES, b"0");
        if text.len() > PROPERTIES_BYTES_MAX {
            return Err(self.too_large(&format!("properties of {} bytes", text.len())));
        }
        let shard = &mut self.shards[owner];
        let queue = Transactions::half_queue(shard.index().0);
        let target = (names::TRANS_HALF_TOPIC, queue);
        let message = NewMessage::again(&fields, target, self.settings.advertised, &text);
        let own_ms = own_check_ms_of(&text, &self.settings.transactions);
        let ticket = (!asker.is_oneway).then(|| asker.ticket(form::PLAIN));
        shard.append_half(now.wall_ms, &message, own_ms, ticket)?;
        tracing::info!(peer = %asker.peer, "a half message that was given up waits again");
        Ok(())
    }
}

/// Only what was given up comes back: anything else would be a half message that no producer sent.
fn not_given_up() -> Refusal {
    Refusal::new(
        response::SYSTEM_ERROR,
        "Exception was thrown when putting message back to RMQ_SYS_TRANS_HALF_TOPIC.",
    )
}
