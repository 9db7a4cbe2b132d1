//! Confirm: what the logs confirmed is answered, in the order of each log.
//! Kind: machine

use std::collections::VecDeque;

use engine::shard::Confirmed;
use engine::ticket::Ticket;
use proto::code::response;
use proto::frame::Encoding;
use proto::ids::{LogOffset, OffsetMessageId, Position};
use proto::properties::name;
use proto::reply::{ResponseHead, SendReply, Stored, write_response, write_send_response};
use runtime::ConnectionId;
use runtime::clock::Now;

use super::handlers::form;
use super::{Broker, BrokerSettings};
use crate::net::outbox::{Outbox, Outboxes};
use crate::observe::Answered;

impl Broker {
    /// Answers everything that is confirmed by now.
    pub fn answer_confirmed(&mut self, now: Now, outboxes: &mut Outboxes) {
        self.copy_confirmed();
        while let Some((connection, answer)) = self.announcements.next_due(now) {
            put(connection, &answer, outboxes);
        }
        for owner in 0..self.shards.len() {
            while let Some(confirmed) = self.shards[owner].next_confirmed() {
                match confirmed {
                    Confirmed::Sent { ticket, stored_ms, .. } if is_send(&ticket) => {
                        let took_ms = now.wall_ms.saturating_sub(stored_ms);
                        self.tally.answered(answered(&ticket, false), took_ms);
                        let mut answers = SendAnswers {
                            settings: &self.settings,
                            batch_keys: &mut self.batch_keys[owner],
                            ids: &mut self.scratch.ids,
                            outboxes,
                        };
                        if form::is_when_announced(&ticket) {
                            let mut answer = Vec::new();
                            answers.write_to(Some(&mut answer), response::SUCCESS, &confirmed);
                            self.answer_when_announced(&ticket, answer, outboxes);
                        } else {
                            answers.write(response::SUCCESS, &confirmed);
                        }
                    }
                    Confirmed::Done { ticket } if ticket.form == form::RECALL => {
                        let message_id = self.recalled_keys[owner].pop_front().unwrap_or_default();
                        answer_recall(&ticket, &message_id, &self.settings.region_id, outboxes);
                    }
                    Confirmed::Sent { ticket, .. } | Confirmed::Done { ticket } => {
                        if form::is_when_announced(&ticket) {
                            self.announcements.keep_back(&ticket);
                            let mut answer = Vec::new();
                            write_plain(&mut answer, &ticket, response::SUCCESS, None);
                            self.answer_when_announced(&ticket, answer, outboxes);
                        } else {
                            answer_ticket(&ticket, response::SUCCESS, None, outboxes);
                        }
                    }
                    Confirmed::Unknown { ticket } => {
                        // The outcome is unknown: only a closed connection says so to every client.
                        self.closing.push(ConnectionId::from_bits(ticket.connection));
                    }
                }
            }
        }
    }

    /// Sends an answer when the NameServers were told of what it is about.
    fn answer_when_announced(&mut self, ticket: &Ticket, answer: Vec<u8>, outboxes: &mut Outboxes) {
        if let Some(answer) = self.announcements.offer(ticket, answer) {
            put(ticket.connection, &answer, outboxes);
        }
    }

    /// Tells senders whose messages wait for the disk too long that they are stored, but perhaps not
    /// durable (`FLUSH_DISK_TIMEOUT`).
    pub fn answer_overdue(&mut self, now: Now, outboxes: &mut Outboxes) {
        for owner in 0..self.shards.len() {
            let mut count = 0;
            while let Some(overdue) = self.shards[owner].next_overdue() {
                count += 1;
                let mut answers = SendAnswers {
                    settings: &self.settings,
                    batch_keys: &mut self.batch_keys[owner],
                    ids: &mut self.scratch.ids,
                    outboxes,
                };
                match overdue {
                    Confirmed::Sent { ticket, stored_ms, .. } if is_send(&ticket) => {
                        let took_ms = now.wall_ms.saturating_sub(stored_ms);
                        self.tally.answered(answered(&ticket, true), took_ms);
                        answers.write(response::FLUSH_DISK_TIMEOUT, &overdue);
                    }
                    // A message sent back. Success would promise what is not known yet (source:
                    // AbstractSendMessageProcessor.consumerSendMsgBack); the client sends it itself.
                    Confirmed::Sent { ticket, .. }
                    | Confirmed::Done { ticket }
                    | Confirmed::Unknown { ticket } => {
                        let remark = Some("FLUSH_DISK_TIMEOUT");
                        answer_ticket(&ticket, response::SYSTEM_ERROR, remark, outboxes);
                    }
                }
            }
            if count > 0 {
                tracing::warn!(
                    shard = owner,
                    count,
                    "the disk is slow: sends waited for it longer than syncFlushTimeout and were answered code 10"
                );
            }
        }
    }
}

/// Sends a frame that was made before.
fn put(connection: u64, answer: &[u8], outboxes: &mut Outboxes) {
    if let Some(outbox) = outboxes.of(ConnectionId::from_bits(connection)) {
        outbox.bytes().extend_from_slice(answer);
    }
}

fn is_send(ticket: &Ticket) -> bool {
    matches!(form::of(ticket), form::SEND | form::SEND_BATCH | form::SEND_TIMER)
}

/// Which of the answers whose time is counted it is.
fn answered(ticket: &Ticket, is_overdue: bool) -> Answered {
    match (form::of(ticket) == form::SEND_BATCH, is_overdue) {
        (false, false) => Answered::Send,
        (false, true) => Answered::SendOverdue,
        (true, false) => Answered::Batch,
        (true, true) => Answered::BatchOverdue,
    }
}

/// What the answer to a send is made of.
struct SendAnswers<'a> {
    settings: &'a BrokerSettings,
    batch_keys: &'a mut VecDeque<Vec<u8>>,
    ids: &'a mut Vec<u8>,
    outboxes: &'a mut Outboxes,
}

impl SendAnswers<'_> {
    /// Answers the send of a message or batch that is in the log.
    fn write(&mut self, code: i32, sent: &Confirmed<'_>) {
        self.write_to(None, code, sent);
    }

    /// The same; the answer goes to `bytes`, if given, not to the client.
    fn write_to(&mut self, bytes: Option<&mut Vec<u8>>, code: i32, sent: &Confirmed<'_>) {
        let Confirmed::Sent { ticket, shard, queue_offset, payloads, unique_key, .. } = sent else {
            return;
        };
        let form = form::of(ticket);
        let batch_key = match form {
            form::SEND_BATCH | form::SEND_TIMER => self.batch_keys.pop_front().unwrap_or_default(),
            _ => Vec::new(),
        };
        let connection = ConnectionId::from_bits(ticket.connection);
        let outbox = self.outboxes.of(connection).map(Outbox::bytes);
        let Some(bytes) = bytes.or(outbox) else { return };
        self.ids.clear();
        for payload in *payloads {
            let offset = LogOffset::new(*payload).expect("below 2^55");
            let position = Position::new(*shard, offset);
            if !self.ids.is_empty() {
                self.ids.push(b',');
            }
            let id = OffsetMessageId { host: self.settings.advertised, position }.encode();
            self.ids.extend_from_slice(id.as_bytes());
        }
        let stored = Stored {
            message_id: self.ids,
            queue_id: ticket.queue_id,
            queue_offset: *queue_offset as i64,
            transaction_id: if form == form::SEND_BATCH { &batch_key } else { unique_key },
            recall_handle: (form == form::SEND_TIMER && !batch_key.is_empty())
                .then(|| std::str::from_utf8(&batch_key).expect("made of text")),
        };
        let reply = SendReply {
            opaque: ticket.opaque,
            code,
            remark: None,
            stored: Some(stored),
            region: &self.settings.region_id,
            trace_on: self.settings.trace_on,
        };
        write_send_response(bytes, encoding_of(ticket), &reply);
    }
}

/// Source: RecallMessageProcessor of 5.3.3, whose answers keep the remark they begin with.
fn answer_recall(ticket: &Ticket, message_id: &[u8], region: &str, outboxes: &mut Outboxes) {
    let connection = ConnectionId::from_bits(ticket.connection);
    let Some(outbox) = outboxes.of(connection) else { return };
    let remark = Some("not set any response code");
    let head = ResponseHead { opaque: ticket.opaque, code: response::SUCCESS, remark };
    let message_id = String::from_utf8_lossy(message_id);
    let ext = [("msgId", &*message_id), (name::MSG_REGION, region)];
    write_response(outbox.bytes(), encoding_of(ticket), &head, Some(&ext), &[]);
}

fn answer_ticket(ticket: &Ticket, code: i32, remark: Option<&str>, outboxes: &mut Outboxes) {
    let connection = ConnectionId::from_bits(ticket.connection);
    let Some(outbox) = outboxes.of(connection) else { return };
    write_plain(outbox.bytes(), ticket, code, remark);
}

fn write_plain(bytes: &mut Vec<u8>, ticket: &Ticket, code: i32, remark: Option<&str>) {
    let head = ResponseHead { opaque: ticket.opaque, code, remark };
    write_response(bytes, encoding_of(ticket), &head, None, &[]);
}

/// The encoding a ticket's answer is to have.
pub(super) fn encoding_of(ticket: &Ticket) -> Encoding {
    Encoding::from_code(ticket.encoding).expect("tickets are made from an encoding")
}
