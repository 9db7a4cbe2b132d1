//! Transactions: 37 END_TRANSACTION, a producer's word on a half message.
//! Kind: machine
//!
//! Order of checks and codes: EndTransactionProcessor of 5.3.3.

use std::borrow::Cow;

use engine::consumequeue::QueueKey;
use engine::shard::{FoundBy, Half, NewMessage, Outcome};
use proto::code::response;
use proto::command::Command;
use proto::header::EndTransactionHeader;
use proto::ids::Position;
use proto::names;
use proto::properties::WellKnown;
use proto::record::{Record, RecordFields, sys_flag};
use runtime::clock::Now;

use super::super::check::{own_check_ms, write_checks};
use super::super::dispatch::{Handled, Stop, answer, here};
use super::super::parked::Request;
use super::super::{Asker, Broker, Refusal};
use crate::net::outbox::Outboxes;
use crate::observe::MessageType;
use crate::router::Owner;

/// A producer's word, as far as it was checked.
#[derive(Clone, Debug)]
pub(in crate::broker) struct EndTransaction<'a> {
    position: Position,
    /// As the client names it; none is negative.
    queue_offset: i64,
    group: Cow<'a, [u8]>,
    is_commit: bool,
    from_check: bool,
}

impl Broker {
    pub(in crate::broker) fn end_transaction(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = EndTransactionHeader::parse(command)?;
        let is_commit = match header.sys_flag {
            // It does not know yet, and is asked later. RocketMQ answers nothing.
            0 => return Ok(()),
            sys_flag::TRANSACTION_COMMIT => true,
            sys_flag::TRANSACTION_ROLLBACK => false,
            _ => {
                let remark = "commitOrRollback field wrong";
                return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
            }
        };
        let position = Position::from_i64(header.half_position);
        let Some(position) = position.filter(|it| self.router.of_position(*it) != Owner::Nobody)
        else {
            return self.wrong_word(now, asker, "Find prepared transaction message failed");
        };
        here(self.router.of_position(position))?;
        let end = EndTransaction {
            position,
            queue_offset: header.half_queue_offset,
            group: match header.producer_group.to_cow() {
                Cow::Borrowed(group) => Cow::Borrowed(group.as_bytes()),
                Cow::Owned(group) => Cow::Owned(group.into_bytes()),
            },
            is_commit,
            from_check: header.from_check,
        };
        if self.try_end_transaction(now, asker, &end, outboxes)? {
            return Ok(());
        }
        let end = EndTransaction { group: end.group.into_owned().into(), ..end };
        self.park(asker, Request::EndTransaction(end))
    }

    /// `false`: the half message is being read.
    pub(in crate::broker) fn try_end_transaction(
        &mut self,
        now: Now,
        asker: &Asker,
        end: &EndTransaction<'_>,
        outboxes: &mut Outboxes,
    ) -> Result<bool, Stop> {
        let owner = here(self.router.of_position(end.position))?;
        let mut record = std::mem::take(&mut self.scratch.record);
        // Nothing is open at a negative one.
        let queue_offset = u64::try_from(end.queue_offset).unwrap_or(u64::MAX);
        let payload = end.position.offset().bytes();
        let ended = match self.shards[owner].half(queue_offset, payload, &mut record) {
            Half::Open { checks } => {
                let open = Some((queue_offset, checks));
                self.end_found(now, asker, end, (owner, open), &record, outboxes).map(|()| true)
            }
            Half::NotOpen => {
                self.end_found(now, asker, end, (owner, None), &record, outboxes).map(|()| true)
            }
            Half::Cold => Ok(false),
            // Said once it is confirmed, or never if the log failed.
            Half::Ending => self.shards[owner].has_room(0).map_err(Stop::from).and(Err(Stop::Wait)),
            Half::None => self
                .wrong_word(now, asker, "Find prepared transaction message failed")
                .map(|()| true),
            Half::Failed(reason) => Err(Refusal::unreadable("the half message", &reason).into()),
        };
        self.scratch.record = record;
        ended
    }

    /// `open`: queue offset and number of checks, if it waits for this word.
    fn end_found(
        &mut self,
        now: Now,
        asker: &Asker,
        end: &EndTransaction<'_>,
        (owner, open): (usize, Option<(u64, u32)>),
        record: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        let decoded = Record::decode(record).ok().map(|(record, _)| *record.fields());
        let half = decoded.filter(|it| it.topic == names::TRANS_HALF_TOPIC.as_bytes());
        let Some(half) = half else {
            return self.wrong_word(now, asker, "Find prepared transaction message failed");
        };
        let known = WellKnown::collect(half.properties);
        if !end.from_check && self.is_too_late(now, &half, &known) {
            return Err(Refusal::new(response::ILLEGAL_OPERATION, String::new()).into());
        }
        let group = known.producer_group.map(|it| it.value(half.properties));
        if group != Some(&*end.group) {
            return self.wrong_word(now, asker, "The producer group wrong");
        }
        if half.queue_offset != end.queue_offset {
            return self.wrong_word(now, asker, "The transaction state table offset wrong");
        }
        let Some((queue_offset, checks)) = open else {
            self.log_wrong_word(now, asker, "it was settled before");
            answer(asker, response::SUCCESS, None, None, &[], outboxes);
            return Ok(());
        };
        let ticket = (!asker.is_oneway).then(|| asker.ticket(super::form::PLAIN));
        if !end.is_commit {
            let (shard, outcome) = (&mut self.shards[owner], Outcome::RolledBack);
            shard.end_half(now.wall_ms, queue_offset, outcome, None, ticket)?;
            if let Some((_, queue)) = self.final_queue(owner, &half, &known) {
                self.tally.rolled_back(queue.topic);
            }
            return Ok(());
        }
        let Some((topic, queue)) = self.final_queue(owner, &half, &known) else {
            tracing::warn!(
                queue_offset,
                "a half message was committed whose topic was deleted, it is dropped"
            );
            let (shard, outcome) = (&mut self.shards[owner], Outcome::Dropped);
            return Ok(shard.end_half(now.wall_ms, queue_offset, outcome, None, ticket)?);
        };
        let mut text = std::mem::take(&mut self.scratch.properties);
        let (properties, found_by) = if checks == 0 {
            (half.properties, FoundBy::of(&known, half.properties))
        } else {
            write_checks(&mut text, half.properties, checks);
            (&text[..], FoundBy::read(&text))
        };
        let host = self.settings.advertised;
        let message = NewMessage {
            sys_flag: half.sys_flag & !sys_flag::TRANSACTION_MASK | sys_flag::TRANSACTION_COMMIT,
            prepared_transaction_offset: end.position.to_i64(),
            ..NewMessage::again_found_by(&half, (topic, queue), host, (properties, found_by))
        };
        let (shard, outcome) = (&mut self.shards[owner], Outcome::Committed);
        let ended = shard.end_half(now.wall_ms, queue_offset, outcome, Some(&message), ticket);
        let bytes = message.record_bytes();
        self.scratch.properties = text;
        ended?;
        self.tally.came_in(queue.topic, MessageType::Transaction, 1, bytes);
        let born_ms = u64::try_from(half.born_timestamp).unwrap_or(0);
        self.tally.committed(queue.topic, now.wall_ms.saturating_sub(born_ms));
        Ok(())
    }

    /// Whether a word that nobody asked for comes later than the half message's own time allows: its
    /// producer is asked then (`EndTransactionProcessor.rejectCommitOrRollback`).
    fn is_too_late(&self, now: Now, half: &RecordFields<'_>, known: &WellKnown) -> bool {
        let rules = &self.settings.transactions;
        let Some(seconds) = known.check_immunity else { return false };
        let own_ms = own_check_ms(seconds.value(half.properties), rules);
        let born_ms = u64::try_from(half.born_timestamp).unwrap_or(0);
        now.wall_ms.saturating_sub(born_ms) > own_ms.max(rules.timeout_ms)
    }

    /// Where a half message of this shard goes; `None`: its topic is no more, or another one of that name.
    fn final_queue<'a>(
        &self,
        owner: usize,
        half: &RecordFields<'a>,
        known: &WellKnown,
    ) -> Option<(&'a str, QueueKey)> {
        let topic = std::str::from_utf8(known.real_topic?.value(half.properties)).ok()?;
        let queue_id = known.real_queue?.value(half.properties);
        let queue_id = i32::try_from(proto::text::parse_i64(queue_id)?).ok()?;
        let (place, queue) = self.queue_here(topic, queue_id).ok().flatten()?;
        (place == owner).then_some((topic, queue))
    }

    fn wrong_word(&mut self, now: Now, asker: &Asker, remark: &str) -> Handled {
        self.log_wrong_word(now, asker, remark);
        Err(Refusal::new(response::SYSTEM_ERROR, remark).into())
    }

    /// Most clients do not wait for an answer.
    fn log_wrong_word(&mut self, now: Now, asker: &Asker, reason: &str) {
        if let Some(left_out) = self.wrong_words.take(now.monotonic_ms()) {
            let peer = asker.peer;
            tracing::warn!(%peer, reason, left_out, "END_TRANSACTION changes nothing");
        }
    }
}
