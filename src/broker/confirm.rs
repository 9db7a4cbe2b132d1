//! Confirm: what the logs confirmed is answered, in the order of each log.
//! Kind: machine

use engine::shard::Confirmed;
use engine::ticket::Ticket;
use proto::code::response;
use proto::frame::Encoding;
use proto::ids::{LogOffset, OffsetMessageId, Position};
use proto::reply::{ResponseHead, SendReply, Stored, write_response, write_send_response};
use runtime::ConnectionId;

use super::Broker;
use super::handlers::form;
use crate::net::outbox::Outboxes;

impl Broker {
    /// Answers everything that is confirmed by now.
    pub fn answer_confirmed(&mut self, outboxes: &mut Outboxes) {
        for owner in 0..self.shards.len() {
            loop {
                let index = self.shards[owner].index();
                let Some(confirmed) = self.shards[owner].next_confirmed() else { break };
                match confirmed {
                    Confirmed::Sent { ticket, queue: _, queue_offset, payloads, unique_key }
                        if ticket.form == form::SEND || ticket.form == form::SEND_BATCH =>
                    {
                        let host = self.settings.advertised;
                        let is_batch = ticket.form == form::SEND_BATCH;
                        let batch_key = if is_batch {
                            self.batch_keys[owner].pop_front().unwrap_or_default()
                        } else {
                            Vec::new()
                        };
                        let connection = ConnectionId::from_bits(ticket.connection);
                        let Some(outbox) = outboxes.of(connection) else { continue };
                        let ids = &mut self.scratch.ids;
                        ids.clear();
                        for payload in payloads {
                            let offset = LogOffset::new(*payload).expect("below 2^55");
                            let position = Position::new(index, offset);
                            if !ids.is_empty() {
                                ids.push(b',');
                            }
                            let id = OffsetMessageId { host, position }.encode();
                            ids.extend_from_slice(id.as_bytes());
                        }
                        let stored = Stored {
                            message_id: ids,
                            queue_id: ticket.queue_id,
                            queue_offset: queue_offset as i64,
                            transaction_id: if is_batch { &batch_key } else { unique_key },
                            recall_handle: None,
                        };
                        let reply = SendReply {
                            opaque: ticket.opaque,
                            code: response::SUCCESS,
                            remark: None,
                            stored: Some(stored),
                            region: &self.settings.region_id,
                            trace_on: self.settings.trace_on,
                        };
                        write_send_response(outbox.bytes(), encoding_of(&ticket), &reply);
                    }
                    Confirmed::Sent { ticket, .. } | Confirmed::Done { ticket } => {
                        if ticket.form != form::REGISTERED || !self.await_registration(ticket) {
                            answer_plain(&ticket, outboxes);
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

    /// The NameServers know the topics of the changes up to `number`, or cannot be reached.
    pub fn registered(&mut self, number: u64, outboxes: &mut Outboxes) {
        self.registered = self.registered.max(number);
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.awaiting_registration)
            .into_iter()
            .partition(|(of, _)| *of <= number);
        self.awaiting_registration = waiting;
        for (_, ticket) in done {
            answer_plain(&ticket, outboxes);
        }
    }
}

fn answer_plain(ticket: &Ticket, outboxes: &mut Outboxes) {
    let connection = ConnectionId::from_bits(ticket.connection);
    let Some(outbox) = outboxes.of(connection) else { return };
    let head = ResponseHead { opaque: ticket.opaque, code: response::SUCCESS, remark: None };
    write_response(outbox.bytes(), encoding_of(ticket), &head, None, &[]);
}

/// The encoding a ticket's answer is to have.
pub(super) fn encoding_of(ticket: &Ticket) -> Encoding {
    Encoding::from_code(ticket.encoding).expect("tickets are made from an encoding")
}
