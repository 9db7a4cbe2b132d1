//! Calls: requests of the broker to its clients, and what their answers are for.
//! Owns: calls that wait for an answer.        Lives on: the home core
//! Kind: machine
//! Invariants:
//!   each call ends once: by its answer, by the end of its connection or when its time is up
//!   an answer counts only if it comes from the connection that was called
//!
//! A client answers to its own core, which sends every answer on to here. Source: Broker2Client of 5.3.3.

use std::collections::{BTreeMap, VecDeque};

use proto::body::GetConsumerStatusBody;
use proto::code::response;
use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use proto::reply::{RequestHead, ResponseHead, write_request, write_response};
use runtime::ConnectionId;
use runtime::clock::Now;

use super::dispatch::{Handled, Stop, answer_body, refuse};
use super::handlers::is_readable;
use super::limits::{CALL_BYTES_MAX, CALLS_MAX};
use super::{Asker, Broker, Flow, Onward, Refusal};
use crate::net::outbox::Outboxes;
use crate::router::Origin;

/// How long a client may work on a call, ms (`Broker2Client.callClient`).
pub(super) const CALL_MS: u64 = 10_000;

/// How long it may take to say how far it is, ms (`Broker2Client.getConsumeStatus`).
pub(super) const STATUS_MS: u64 = 5_000;

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: BTreeMap<i32, Call>,
    /// Bytes of answers that are kept for what is called.
    bytes: usize,
    last: i32,
    /// Who asked for the status of several members.
    statuses: BTreeMap<u64, Status>,
    statuses_so_far: u64,
    /// Replies that were pushed and are to be stored.
    to_store: VecDeque<Onward>,
    /// When the first may be late, monotonic ms; not later than that.
    due_ms: Option<u64>,
}

/// A request to a client.
pub(super) struct Calling<'a> {
    /// Whom to call.
    pub connection: u64,
    /// Request code.
    pub code: i32,
    /// Fields.
    pub ext: &'a [(&'a str, &'a str)],
    /// Body.
    pub body: &'a [u8],
    /// How long to wait, ms.
    pub wait_ms: u64,
}

#[derive(Debug)]
struct Call {
    connection: u64,
    asker: Asker,
    until_ms: u64,
    then: Called,
}

/// What the answer to a call is for.
#[derive(Debug)]
pub(super) enum Called {
    /// It is the answer to who asked: 307, 309.
    Relay {
        /// The group that was asked for.
        group: String,
        /// The member.
        client_id: String,
    },
    /// How far a member is: 221 for 223.
    Status {
        /// Who asked, by number.
        id: u64,
        /// The member.
        client_id: String,
    },
    /// A reply was pushed: 326 for 324 and 325.
    Reply {
        /// The member.
        client_id: String,
        /// The whole frame, if the reply is to be stored.
        frame: Vec<u8>,
    },
}

/// Answers of several members for one asker.
#[derive(Debug)]
struct Status {
    asker: Asker,
    left: usize,
    table: GetConsumerStatusBody,
    /// Bytes of the answers in it.
    bytes: usize,
    /// Why some answers found no room.
    refused: Option<Refusal>,
}

/// How a call ended.
enum Ended<'c, 'a> {
    Answered(&'c Command<'a>, &'c [u8]),
    Closed,
    Late,
}

impl Calls {
    /// Whether nothing is called and nothing is to be stored.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.to_store.is_empty()
    }

    /// When a call may be late, monotonic ms.
    pub fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Nobody is waited for any more.
    pub fn hurry(&mut self) {
        self.waiting.values_mut().for_each(|call| call.until_ms = 0);
        self.due_ms = (!self.waiting.is_empty()).then_some(0);
    }

    /// Keeps the place for answers of several members.
    pub fn gather(&mut self, asker: &Asker, left: usize) -> u64 {
        self.statuses_so_far += 1;
        let table = GetConsumerStatusBody::default();
        let status = Status { asker: *asker, left, table, bytes: 0, refused: None };
        self.statuses.insert(self.statuses_so_far, status);
        self.statuses_so_far
    }
}

impl Called {
    fn kept_bytes(&self) -> usize {
        match self {
            Called::Reply { frame, .. } => frame.len(),
            Called::Relay { .. } | Called::Status { .. } => 0,
        }
    }
}

impl Broker {
    /// Whether so many more calls may be made.
    pub(super) fn check_calls(&self, count: usize) -> Result<(), Refusal> {
        if self.calls.waiting.len() + count > CALLS_MAX || self.calls.bytes > CALL_BYTES_MAX {
            return Err(busy());
        }
        Ok(())
    }

    /// Calls a client on behalf of a request.
    pub(super) fn call(
        &mut self,
        now: Now,
        asker: &Asker,
        calling: &Calling<'_>,
        then: Called,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_calls(1)?;
        let calls = &mut self.calls;
        // Those that wait are fewer than the numbers there are.
        while calls.waiting.contains_key(&calls.last) {
            calls.last = calls.last.wrapping_add(1) & i32::MAX;
        }
        let opaque = calls.last;
        calls.last = opaque.wrapping_add(1) & i32::MAX;
        let until_ms = now.monotonic_ms() + calling.wait_ms;
        calls.bytes += then.kept_bytes();
        calls.due_ms = Some(calls.due_ms.map_or(until_ms, |due_ms| due_ms.min(until_ms)));
        let connection = calling.connection;
        calls.waiting.insert(opaque, Call { connection, asker: *asker, until_ms, then });
        if let Some(outbox) = outboxes.of(ConnectionId::from_bits(connection)) {
            let head = RequestHead { code: calling.code, opaque, flag: 0 };
            // JSON, whatever the client speaks: every client reads it.
            let ext = Some(calling.ext);
            write_request(outbox.bytes(), Encoding::Json, &head, ext, calling.body);
        }
        Ok(())
    }

    /// A client's answer to a call.
    pub(super) fn called_back(
        &mut self,
        from: ConnectionId,
        command: &Command<'_>,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) {
        let call = self.calls.waiting.get(&command.opaque);
        if call.is_some_and(|call| call.connection == from.to_bits()) {
            self.end_call(command.opaque, &Ended::Answered(command, body), outboxes);
        }
    }

    /// A connection is no more: it answers nothing.
    pub(super) fn calls_closed(&mut self, connection: u64, outboxes: &mut Outboxes) {
        let calls = self.calls.waiting.iter();
        let ended = calls.filter(|(_, call)| call.connection == connection);
        for opaque in ended.map(|(opaque, _)| *opaque).collect::<Vec<_>>() {
            self.end_call(opaque, &Ended::Closed, outboxes);
        }
    }

    /// Ends calls whose time is up and stores replies.
    pub fn attend_calls(&mut self, now: Now, outboxes: &mut Outboxes) {
        if self.calls.due_ms.is_some_and(|due_ms| due_ms <= now.monotonic_ms()) {
            let calls = self.calls.waiting.iter();
            let late = calls.filter(|(_, call)| call.until_ms <= now.monotonic_ms());
            for opaque in late.map(|(opaque, _)| *opaque).collect::<Vec<_>>() {
                self.end_call(opaque, &Ended::Late, outboxes);
            }
            self.calls.due_ms = self.calls.waiting.values().map(|call| call.until_ms).min();
        }
        while let Some(reply) = self.calls.to_store.pop_front() {
            let frame = match scan(&reply.bytes, reply.bytes.len()) {
                Ok(Scan::Frame { frame, .. }) => frame,
                other => unreachable!("made here as a whole frame: {other:?}"),
            };
            match self.handle(now, reply.origin, &frame, outboxes) {
                Ok(Flow::Done) => {}
                Ok(Flow::To { core, .. }) => self.onward.push_back(Onward { core, ..reply }),
                Ok(Flow::Wait) => {
                    self.calls.to_store.push_front(reply);
                    return; // what makes room begins a turn
                }
                Err(error) => unreachable!("made here with a whole header: {error}"),
            }
        }
    }

    fn end_call(&mut self, opaque: i32, ended: &Ended<'_, '_>, outboxes: &mut Outboxes) {
        let call = self.calls.waiting.remove(&opaque).expect("it waits");
        self.calls.bytes -= call.then.kept_bytes();
        match call.then {
            Called::Relay { group, client_id } => {
                relay(&call.asker, ended, (&group, &client_id), outboxes);
            }
            Called::Status { id, client_id } => self.add_status(id, client_id, ended, outboxes),
            Called::Reply { client_id, frame } => {
                let is_taken = matches!(ended, Ended::Answered(command, _) if command.code == response::SUCCESS);
                self.reply_pushed(&call.asker, (is_taken, &client_id), frame, outboxes);
            }
        }
    }

    fn add_status(
        &mut self,
        id: u64,
        client_id: String,
        ended: &Ended<'_, '_>,
        outboxes: &mut Outboxes,
    ) {
        let status = self.calls.statuses.get_mut(&id).expect("it waits for this call");
        status.left -= 1;
        if let Ended::Answered(command, body) = ended
            && command.code == response::SUCCESS
            && let Ok(parsed) = GetConsumerStatusBody::parse(body)
        {
            let bytes = body.len();
            if status.bytes + bytes > FRAME_BYTES_MAX {
                let remark = "what the members answer together is longer than an answer may be";
                status.refused = Some(Refusal::new(response::SYSTEM_ERROR, remark));
            } else if self.calls.bytes + bytes > CALL_BYTES_MAX {
                status.refused = Some(busy());
            } else {
                status.bytes += bytes;
                self.calls.bytes += bytes;
                status.table.consumer_table.insert(client_id, parsed.message_queue_table);
            }
        }
        if status.left == 0 {
            let status = self.calls.statuses.remove(&id).expect("it was there");
            self.calls.bytes -= status.bytes;
            let told = match status.refused {
                Some(refusal) => Err(refusal.into()),
                None => answer_body(&status.asker, |body| status.table.write(body), outboxes),
            };
            if let Err(Stop::Refuse(refusal)) = told {
                refuse(&status.asker, &refusal, outboxes);
            }
        }
    }

    /// Stores a reply that was pushed, or could not be.
    pub(super) fn store_reply(&mut self, asker: &Asker, bytes: Vec<u8>) {
        let Asker { connection, peer, crossings, .. } = *asker;
        let origin = Origin { connection, peer, crossings, has_record: true };
        let core = self.router.core();
        self.calls.to_store.push_back(Onward { core, origin, bytes });
    }
}

fn busy() -> Refusal {
    let remark = format!("{CALLS_MAX} calls to clients wait for answers already, try again");
    Refusal::new(response::SYSTEM_BUSY, remark)
}

/// Passes a client's answer on as it came (`AdminBrokerProcessor.callConsumer`).
fn relay(
    asker: &Asker,
    ended: &Ended<'_, '_>,
    (group, client_id): (&str, &str),
    outboxes: &mut Outboxes,
) {
    let (command, body) = match ended {
        Ended::Answered(command, body) => (command, body),
        Ended::Late => {
            let remark =
                format!("consumer <{group}> <{client_id}> Timeout: no answer in {CALL_MS} ms");
            refuse(asker, &Refusal::new(response::CONSUME_MSG_TIMEOUT, remark), outboxes);
            return;
        }
        Ended::Closed => {
            let remark = format!(
                "invoke consumer <{group}> <{client_id}> Exception: it closed its connection"
            );
            refuse(asker, &Refusal::new(response::SYSTEM_ERROR, remark), outboxes);
            return;
        }
    };
    let Some(outbox) = outboxes.of(asker.connection).filter(|_| !asker.is_oneway) else { return };
    let fields: Vec<_> =
        command.ext.iter().map(|(key, value)| (key.to_cow(), value.to_cow())).collect();
    let ext: Vec<_> = fields.iter().map(|(key, value)| (&**key, &**value)).collect();
    let remark = command.remark.map(|remark| remark.to_cow());
    let head = ResponseHead { opaque: asker.opaque, code: command.code, remark: remark.as_deref() };
    let mut bytes = Vec::new();
    write_response(&mut bytes, asker.encoding, &head, Some(&ext), body);
    if is_readable(&bytes) {
        outbox.bytes().extend_from_slice(&bytes);
        return;
    }
    // Not every encoding takes what another one does.
    let remark = format!("the answer of consumer <{group}> <{client_id}> cannot be passed on");
    refuse(asker, &Refusal::new(response::SYSTEM_ERROR, remark), outboxes);
}
