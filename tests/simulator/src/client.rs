//! Clients of the simulated broker: one connection, requests by number, answers as they come.

use std::collections::BTreeMap;

use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::header::{PullAnswer, SendAnswer};
use proto::limits::FRAME_BYTES_MAX;
use proto::record::Record;
use proto::reply::{
    PullRequest, RequestHead, SendRequest, write_pull_request, write_request, write_send_request,
};
use runtime::ConnectionId;

use crate::ledger::MessageKey;

/// Topic of all messages.
pub const TOPIC: &str = "SimTopic";

/// Group of the consumer.
pub const GROUP: &str = "SimGroup";

/// What a request was for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Asked {
    /// A message is to be stored.
    Send(MessageKey),
    /// Messages of a queue from an offset on.
    Pull {
        /// The queue.
        queue: u32,
        /// From here.
        from: u64,
    },
    /// An offset is to be committed.
    Commit {
        /// Of this queue.
        queue: u32,
        /// This one.
        offset: u64,
    },
    /// The committed offset.
    Query {
        /// Of this queue.
        queue: u32,
    },
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answered {
    /// To a send: stored at this offset of its queue, perhaps not durable (code 10).
    Stored {
        /// Response code, 0 or 10.
        code: i32,
        /// Offset in the queue.
        offset: u64,
    },
    /// To a pull: messages with their offsets, and where to go on.
    Messages {
        /// Response code.
        code: i32,
        /// What came.
        messages: Vec<(u64, Vec<u8>)>,
        /// The next offset to ask for.
        next: u64,
    },
    /// To a query.
    Offset(u64),
    /// Anything else: the code.
    Code(i32),
}

/// A connection of a client.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub connection: ConnectionId,
    received: Vec<u8>,
    asked: BTreeMap<i32, Asked>,
    opaque: i32,
}

impl Client {
    /// A client on a connection that was just made.
    pub fn new(connection: ConnectionId) -> Client {
        Client { connection, received: Vec::new(), asked: BTreeMap::new(), opaque: 0 }
    }

    /// Requests that wait for their answers.
    pub fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// The connection ended: what waited for an answer, in the order in which it was asked.
    pub fn abandon(self) -> impl Iterator<Item = Asked> {
        self.asked.into_values()
    }

    /// The bytes of a request.
    pub fn ask(&mut self, asked: Asked, body: &[u8], suspend_ms: i64) -> Vec<u8> {
        self.opaque += 1;
        self.asked.insert(self.opaque, asked);
        let head = |code| RequestHead { code, opaque: self.opaque, flag: 0 };
        let mut bytes = Vec::new();
        match asked {
            Asked::Send(key) => {
                let properties =
                    format!("UNIQ_KEY\u{1}{:016X}{:016X}\u{2}", key.producer, key.sequence);
                let request = SendRequest {
                    producer_group: "SimProducer",
                    topic: TOPIC,
                    default_topic: "TBW102",
                    default_topic_queue_count: 4,
                    queue_id: queue_of(key) as i32,
                    sys_flag: 0,
                    born_timestamp: 1,
                    flag: 0,
                    properties: properties.as_bytes(),
                    reconsume_times: 0,
                    unit_mode: false,
                    max_reconsume_times: None,
                    batch: false,
                    broker_name: None,
                };
                write_send_request(&mut bytes, Encoding::Json, &head(310), &request, body.len());
                bytes.extend_from_slice(body);
            }
            Asked::Pull { queue, from } => {
                let request = PullRequest {
                    consumer_group: GROUP,
                    topic: TOPIC,
                    queue_id: queue as i32,
                    queue_offset: from as i64,
                    message_count_max: 32,
                    sys_flag: if suspend_ms > 0 { 6 } else { 4 },
                    commit_offset: 0,
                    suspend_timeout_ms: suspend_ms,
                    subscription: Some("*"),
                    subscription_version: 0,
                    expression_type: Some("TAG"),
                    message_bytes_max: None,
                    broker_name: None,
                };
                write_pull_request(&mut bytes, Encoding::Json, &head(11), &request);
            }
            Asked::Commit { queue, offset } => {
                let (queue, offset) = (queue.to_string(), offset.to_string());
                let ext = [
                    ("consumerGroup", GROUP),
                    ("topic", TOPIC),
                    ("queueId", &*queue),
                    ("commitOffset", &*offset),
                ];
                write_request(&mut bytes, Encoding::Json, &head(15), Some(&ext), b"");
            }
            Asked::Query { queue } => {
                let queue = queue.to_string();
                let ext = [
                    ("consumerGroup", GROUP),
                    ("topic", TOPIC),
                    ("queueId", &*queue),
                    ("setZeroIfNotFound", "false"),
                ];
                write_request(&mut bytes, Encoding::Json, &head(14), Some(&ext), b"");
            }
        }
        bytes
    }

    /// Bytes came.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next whole answer.
    ///
    /// # Errors
    /// What the broker wrote is no answer to anything that was asked.
    pub fn next_answer(&mut self) -> Result<Option<(Asked, Answered)>, String> {
        let (frame, size) = match scan(&self.received, FRAME_BYTES_MAX) {
            Ok(Scan::Frame { frame, size_bytes }) => (frame, size_bytes),
            Ok(Scan::Incomplete { .. }) => return Ok(None),
            Err(error) => return Err(format!("the broker wrote no frame: {error}")),
        };
        let command = Command::decode(&frame).map_err(|error| format!("an answer: {error}"))?;
        let opaque = command.opaque;
        let asked = self.asked.remove(&opaque).ok_or_else(|| {
            format!("an answer to {opaque}, which nobody asked or which was answered")
        })?;
        let answered = match (asked, command.code) {
            (Asked::Send(_), 0 | 10) => {
                let answer = SendAnswer::parse(&command).map_err(|error| error.to_string())?;
                Answered::Stored { code: command.code, offset: answer.queue_offset as u64 }
            }
            (Asked::Pull { .. }, 0 | 19 | 20 | 21) => {
                let answer = PullAnswer::parse(&command).map_err(|error| error.to_string())?;
                let next = answer.next_begin_offset as u64;
                Answered::Messages { code: command.code, messages: records(frame.body)?, next }
            }
            (Asked::Query { .. }, 0) => {
                let offset = command.ext.get("offset").and_then(|it| it.parse_i64().ok());
                Answered::Offset(offset.ok_or("an answer without offset")? as u64)
            }
            (_, code) => Answered::Code(code),
        };
        self.received.drain(..size);
        Ok(Some((asked, answered)))
    }
}

/// Queue of a message: each producer uses all of them in turn.
pub fn queue_of(key: MessageKey) -> u32 {
    (key.producer + key.sequence) % QUEUES
}

/// Queues of the topic.
pub const QUEUES: u32 = 4;

fn records(mut body: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let (record, size) =
            Record::decode(body).map_err(|error| format!("a pull answer: {error}"))?;
        if !record.is_body_intact() {
            return Err("a pull answer holds a body with a wrong checksum".to_owned());
        }
        let fields = record.fields();
        messages.push((fields.queue_offset as u64, fields.body.to_vec()));
        body = &body[size..];
    }
    Ok(messages)
}
