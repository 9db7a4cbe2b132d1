//! Check: producers are asked what became of half messages that wait for their word
//! (TransactionalMessageServiceImpl.check and DefaultTransactionalMessageCheckListener, 5.3.3).
//! Kind: machine

use std::net::SocketAddr;

use engine::limits::CLOCK_SLACK_MS;
use engine::shard::{Checked, DueCheck, NewMessage, Outcome, Transactions};
use proto::code::request;
use proto::command::FLAG_ONEWAY;
use proto::frame::{self, Encoding, Frame};
use proto::ids::{OffsetMessageId, Position};
use proto::limits::PROPERTIES_BYTES_MAX;
use proto::names;
use proto::properties::{self, name};
use proto::record::{Record, RecordFields};
use proto::reply::{RequestHead, write_request};
use runtime::ConnectionId;
use runtime::clock::Now;

use super::dispatch::Stop;
use super::limits::PARKED_REQUESTS_MAX;
use super::settings::TransactionSettings;
use super::{Broker, Onward};
use crate::net::outbox::Outboxes;
use crate::router::Origin;

/// Half messages checked per shard and turn, so that a heap of due ones does not delay the others.
const PER_TURN_MAX: usize = 64;

/// Bytes of their records per shard and turn.
const BYTES_PER_TURN: usize = 256 * 1024;

impl Broker {
    /// Checks the half messages that are due. Whether some are left for the next turn.
    pub fn check_due(&mut self, now: Now, outboxes: &mut Outboxes) -> bool {
        let mut record = std::mem::take(&mut self.scratch.record);
        let mut is_left = false;
        for owner in 0..self.shards.len() {
            let (mut count, mut bytes) = (0, 0);
            while let Some(due) = self.shards[owner].next_check(now.wall_ms, &mut record) {
                match self.check(now, owner, due, &record, outboxes) {
                    Ok(()) => {}
                    Err(Stop::Refuse(refusal)) => {
                        tracing::warn!(reason = refusal.remark, "checks of half messages wait");
                        let retry_ms = engine::limits::CHECK_RETRY_MS;
                        self.shards[owner].postpone_checks(now.wall_ms, retry_ms);
                        break;
                    }
                    Err(_) => break,
                }
                (count, bytes) = (count + 1, bytes + record.len());
                if count == PER_TURN_MAX || bytes >= BYTES_PER_TURN {
                    is_left = true;
                    break;
                }
            }
        }
        self.scratch.record = record;
        is_left
    }

    fn check(
        &mut self,
        now: Now,
        owner: usize,
        due: DueCheck,
        record: &[u8],
        outboxes: &mut Outboxes,
    ) -> Result<(), Stop> {
        let DueCheck { queue_offset, checks, stored_ms } = due;
        let Ok((message, _)) = Record::decode(record) else {
            tracing::error!(queue_offset, "a half message is gone: its bytes are damaged");
            let shard = &mut self.shards[owner];
            return Ok(shard.end_half(now.wall_ms, queue_offset, Outcome::Dropped, None, None)?);
        };
        let fields = *message.fields();
        let rules = self.settings.transactions;
        if checks >= rules.checks_max || now.wall_ms.saturating_sub(stored_ms) > rules.reserved_ms {
            return self.give_up(now, owner, due, &fields);
        }
        // Of a store time that is far ahead nothing follows: the shard knows when it was seen.
        let is_known = stored_ms <= now.wall_ms.saturating_add(CLOCK_SLACK_MS);
        let own_ms = own_check_ms_of(fields.properties, &rules).filter(|_| checks == 0 && is_known);
        let first_ms = own_ms.map_or(0, |own_ms| stored_ms.saturating_add(own_ms));
        if first_ms > now.wall_ms {
            self.shards[owner].check_later(queue_offset, first_ms);
            return Ok(());
        }
        if self.onward.len() >= PARKED_REQUESTS_MAX {
            return Err(Stop::Wait);
        }
        let checked = Checked { due_ms: now.wall_ms + rules.check_interval_ms, checks: checks + 1 };
        self.shards[owner].note_check(queue_offset, checked)?;
        self.ask(now, &fields, checked.checks, outboxes);
        Ok(())
    }

    /// Its producer was asked often enough: it goes where an operator may find it (`resolveDiscardMsg`).
    fn give_up(
        &mut self,
        now: Now,
        owner: usize,
        due: DueCheck,
        fields: &RecordFields<'_>,
    ) -> Result<(), Stop> {
        let mut text = Vec::new();
        write_checks(&mut text, fields.properties, due.checks);
        let shard = &mut self.shards[owner];
        let queue = Transactions::given_up_queue(shard.index().0);
        let target = (names::TRANS_CHECK_MAX_TIME_TOPIC, queue);
        let given_up = NewMessage::again(fields, target, self.settings.advertised, &text);
        let (queue_offset, outcome) = (due.queue_offset, Outcome::GivenUp);
        shard.end_half(now.wall_ms, queue_offset, outcome, Some(&given_up), None)?;
        if let Some(left_out) = self.given_up.take(now.monotonic_ms()) {
            tracing::warn!(
                queue_offset,
                checks = due.checks,
                left_out,
                "a half message was checked too often or is too old, it is in TRANS_CHECK_MAX_TIME_TOPIC now"
            );
        }
        Ok(())
    }

    /// Asks a producer of the half message's group: the home core knows them (`sendCheckMessage`).
    fn ask(&mut self, now: Now, half: &RecordFields<'_>, checks: u32, outboxes: &mut Outboxes) {
        let bytes = self.check_frame(half, checks);
        if !self.router.is_home() {
            // Nobody is answered: it is no connection's request.
            let connection = ConnectionId::from_bits(0);
            let peer = SocketAddr::from(([0, 0, 0, 0], 0));
            let origin = Origin { connection, peer, crossings: 0, has_record: true };
            self.onward.push_back(Onward { core: self.router.home(), origin, bytes });
            return;
        }
        match frame::scan(&bytes, bytes.len()) {
            Ok(frame::Scan::Frame { frame, .. }) => self.ask_producer(now, &frame, outboxes),
            other => unreachable!("it was just made: {other:?}"),
        }
    }

    fn check_frame(&self, half: &RecordFields<'_>, checks: u32) -> Vec<u8> {
        let text_of = |name| properties::find(half.properties, name).unwrap_or_default();
        let mut text = Vec::new();
        write_checks(&mut text, half.properties, checks);
        let queue_id = proto::text::parse_i64(text_of(name::REAL_QID)).unwrap_or(0);
        let record = RecordFields {
            topic: text_of(name::REAL_TOPIC),
            queue_id: i32::try_from(queue_id).unwrap_or(0),
            properties: &text,
            ..*half
        };
        let mut body = vec![0; record.encoded_bytes()];
        record.encode(&mut body);
        let key = String::from_utf8_lossy(text_of(name::UNIQ_KEY));
        let position = Position::from_i64(half.physic_offset).expect("our own record");
        let id = OffsetMessageId { host: half.store_host, position }.encode();
        let ext = [
            ("topic", names::TRANS_HALF_TOPIC),
            ("tranStateTableOffset", &*half.queue_offset.to_string()),
            ("commitLogOffset", &*half.physic_offset.to_string()),
            ("msgId", &*key),
            ("transactionId", &*key),
            ("offsetMsgId", id.as_str()),
            ("bname", &*self.settings.broker_name),
        ];
        let head =
            RequestHead { code: request::CHECK_TRANSACTION_STATE, opaque: 0, flag: FLAG_ONEWAY };
        let mut bytes = Vec::new();
        // JSON, whatever the client speaks: every client reads it.
        write_request(&mut bytes, Encoding::Json, &head, Some(&ext), &body);
        bytes
    }

    /// Passes a check on to one of the producers of its group, which take turns
    /// (`ProducerManager.getAvailableChannel`). On the home core.
    pub(super) fn ask_producer(&mut self, now: Now, frame: &Frame<'_>, outboxes: &mut Outboxes) {
        let Ok((record, _)) = Record::decode(frame.body) else { return };
        let group = properties::find(record.fields().properties, name::PGROUP).unwrap_or_default();
        let group = String::from_utf8_lossy(group);
        let core = self.router.core();
        let takes_more = |connection: u64| {
            let connection = ConnectionId::from_bits(connection);
            connection.core() != core || !outboxes.is_full(connection)
        };
        let producer = self.membership.next_producer(&group, takes_more);
        let outbox = producer.and_then(|it| outboxes.of(ConnectionId::from_bits(it)));
        let Some(outbox) = outbox else {
            if let Some(left_out) = self.nobody_to_ask.take(now.monotonic_ms()) {
                let group = &*group;
                tracing::warn!(
                    group,
                    left_out,
                    "a half message waits for its producer, and none of its group is connected"
                );
            }
            return;
        };
        let bytes = outbox.bytes();
        let mark = frame::begin(bytes);
        bytes.extend_from_slice(frame.header);
        frame::finish(bytes, mark, frame.encoding, frame.body.len());
        bytes.extend_from_slice(frame.body);
    }
}

/// A half message's properties, and in them how often its producer was asked, unless they are as long as they may be.
pub(super) fn write_checks(out: &mut Vec<u8>, properties: &[u8], checks: u32) {
    out.clear();
    out.extend_from_slice(properties);
    if checks > 0 {
        properties::set(out, name::TRANSACTION_CHECK_TIMES, checks.to_string().as_bytes());
    }
    if out.len() > PROPERTIES_BYTES_MAX {
        out.clear();
        out.extend_from_slice(properties);
    }
}

/// After how long a half message with this CHECK_IMMUNITY_TIME_IN_SECONDS is checked, ms
/// (`TransactionalMessageServiceImpl.getImmunityTime`: no number, or -1, is the usual time). Not after the time
/// at which it is given up.
pub(super) fn own_check_ms(seconds: &[u8], rules: &TransactionSettings) -> u64 {
    let seconds = proto::text::parse_i64(seconds).filter(|seconds| *seconds != -1);
    let own_ms = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    seconds.map_or(rules.timeout_ms, |seconds| own_ms(seconds).min(rules.reserved_ms))
}

/// The same of a half message's properties; `None`: it has no time of its own.
pub(super) fn own_check_ms_of(text: &[u8], rules: &TransactionSettings) -> Option<u64> {
    let seconds = properties::find(text, name::CHECK_IMMUNITY_TIME_IN_SECONDS)?;
    Some(own_check_ms(seconds, rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_its_own_is_read_as_rocketmq_does() {
        let rules = TransactionSettings::default();
        let own_ms = |value: &str| {
            let mut text = Vec::new();
            properties::append(&mut text, name::CHECK_IMMUNITY_TIME_IN_SECONDS, value.as_bytes());
            own_check_ms_of(&text, &rules)
        };
        assert_eq!(own_check_ms_of(b"TAGS\x01a\x02", &rules), None);
        assert_eq!([own_ms("1"), own_ms("60")], [Some(1_000), Some(60_000)]);
        assert_eq!([own_ms("-1"), own_ms("soon"), own_ms("1.5")], [Some(6_000); 3]);
        assert_eq!(own_ms("-2"), Some(0));
        assert_eq!(own_ms("9223372036854775807"), Some(72 * 3_600_000), "given up by then");
    }
}
