//! A topic that is deleted and made again, over and over, by one client that asks one thing at a time, and
//! so always knows what must be there.
//!
//! What must hold: a deleted topic is gone on every core and stays gone, one that was made again has
//! nothing of those before it, and loses nothing of its own: messages, their offsets, committed offsets and
//! those that an operator reset, of which its group hears once.
//!
//! It is deleted with timers and half messages open. They go by the topic's name, as in Apache: what is due while
//! there is none is dropped, another one of that name may get what is due later; in any case once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proto::code::{request, response};
use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::ids::OffsetMessageId;
use proto::limits::FRAME_BYTES_MAX;
use proto::properties::{self, name};
use proto::record::{Record, sys_flag};
use proto::reply::{
    RequestHead, SendRequest, write_pull_request, write_request, write_send_request,
};
use runtime::ConnectionId;

use crate::ledger::{MessageKey, key_of};
use crate::marks;
use crate::requests::{plain_pull, plain_send, topic_fields};
use crate::world::{Finding, Life, QUIET_STEPS_MAX, World};

/// The topic.
pub const TOPIC: &str = "SimMortal";
const GROUP: &str = "SimMortalGroup";

/// More than there are shards, now and then.
const QUEUES: usize = 3;

/// Messages of a queue in one life of the topic: one pull brings them all.
const MESSAGES_MAX: usize = 30;

/// Who sends all that is sent to it, in keys.
const PRODUCER: u32 = 1_000;

/// How long its timers wait at the most, ms.
const DELAY_MS_MAX: u64 = 3_000;

/// What the client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Make,
    Delete,
    Send {
        queue: usize,
        number: u32,
    },
    /// A message that waits first: so long, ms, or for a word.
    Wait {
        queue: usize,
        number: u32,
        delay_ms: Option<u64>,
    },
    /// A word: where the half message is.
    End {
        number: u32,
        offset: u64,
        position: i64,
        is_commit: bool,
    },
    Commit {
        queue: usize,
        offset: u64,
    },
    /// An operator's.
    Reset {
        queue: usize,
        offset: u64,
    },
    Read {
        queue: usize,
        from: usize,
    },
    Query {
        queue: usize,
    },
}

/// What was answered.
#[derive(Debug)]
struct Said {
    code: i32,
    offset: Option<u64>,
    /// Of a send: where the record is.
    position: Option<i64>,
    /// Of a pull: what is behind the queue's newest message, and where to go on.
    max: Option<usize>,
    next: Option<u64>,
    numbers: Vec<u32>,
}

/// What the topic holds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Held {
    /// `None`: something came there that was not read yet.
    messages: [Vec<Option<u32>>; QUEUES],
    committed: [Option<u64>; QUEUES],
    /// Where offsets were reset to of which the group has not heard.
    resets: [Option<u64>; QUEUES],
}

/// A message that may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Coming {
    queue: usize,
    what: What,
    /// Of which of the topics of that name it is.
    of: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// It was sent, and nobody knows whether it is there.
    Sent,
    /// It waits for its time: if it was acknowledged it must come.
    Timer { is_stored: bool },
    /// A half message, and where it waits if that is known.
    Half(Option<(u64, i64)>),
    /// A word was said. If it was acknowledged it must be there.
    Ended { is_known: bool },
}

/// See the module's first lines.
#[derive(Clone, Debug, Default)]
pub struct Mortal {
    /// `None`: there is no such topic.
    held: Option<Held>,
    /// The topics of that name so far.
    topics: u32,
    /// What may come, by its number.
    coming: BTreeMap<u32, Coming>,
    /// What came of this nobody knows.
    doubt: Option<Act>,
    /// Its connection broke, and it may still be on its way: nothing more in this life of the broker.
    is_stuck: bool,
    /// What its topic holds was damaged: it does nothing any more.
    is_out: bool,
    /// The topic was made: it is there on every core at once.
    moves: bool,
    asked: Option<(i32, Act)>,
    connection: Option<ConnectionId>,
    received: Vec<u8>,
    opaque: i32,
    numbers: u32,
    /// Messages that the last answer brought.
    brought: usize,
}

impl Mortal {
    /// Whether it goes on over another connection at once.
    pub fn moves(&self) -> bool {
        self.moves
    }

    /// Whether an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// The broker's life ends: whatever was on its way is not any more.
    pub fn ends(&mut self) {
        self.lose_connection();
        self.is_stuck = self.is_out;
        // What the group was to hear is forgotten.
        if let Some(held) = &mut self.held {
            held.resets = Default::default();
        }
    }

    /// Records of its topic were damaged: who knows what is there.
    pub fn gives_up(&mut self) {
        (self.is_out, self.is_stuck) = (true, true);
    }

    /// Something that was stored and neither came nor is dropped with its topic. Who reads nothing more in this
    /// life of the broker has not seen what came.
    pub fn awaited(&self) -> Option<u32> {
        if self.is_stuck {
            return None;
        }
        let is_missed = |coming: &Coming| {
            coming.of == self.topics && coming.what == (What::Timer { is_stored: true })
        };
        self.held.as_ref()?;
        self.coming.iter().find(|(_, coming)| is_missed(coming)).map(|(number, _)| *number)
    }

    /// Everything was read: what was committed must have been there, unless it was given up before, and what
    /// was given up must not.
    fn is_wrong(&self, given_up: &BTreeSet<u32>) -> Option<u32> {
        let held = self.held.as_ref()?;
        let is_missed = |(number, coming): &(&u32, &Coming)| {
            coming.of == self.topics
                && coming.what == (What::Ended { is_known: true })
                && !given_up.contains(number)
        };
        let missed = self.coming.iter().find(is_missed).map(|(number, _)| number);
        let mut came = held.messages.iter().flatten().flatten();
        missed.or_else(|| came.find(|number| given_up.contains(number))).copied()
    }

    /// It is not known what came of something.
    fn doubts(&mut self, act: Act) {
        let of = self.topics;
        match act {
            Act::Send { queue, number } => {
                self.coming.insert(number, Coming { queue, what: What::Sent, of });
            }
            Act::Wait { queue, number, delay_ms } => {
                let what = match delay_ms {
                    Some(_) => What::Timer { is_stored: false },
                    None => What::Half(None),
                };
                self.coming.insert(number, Coming { queue, what, of });
            }
            Act::End { number, is_commit: true, .. } => {
                if let Some(coming) = self.coming.get_mut(&number) {
                    coming.what = What::Ended { is_known: false };
                }
            }
            // Rolled back or open: it never comes.
            Act::End { number, .. } => _ = self.coming.remove(&number),
            // The group may have heard of a reset, whose answer nobody read.
            Act::Read { queue, .. }
                if self.held.as_ref().is_some_and(|held| held.resets[queue].is_some()) => {}
            Act::Read { .. } | Act::Query { .. } => return,
            Act::Make | Act::Delete | Act::Commit { .. } | Act::Reset { .. } => {
                assert_eq!(self.doubt, None);
                self.doubt = Some(act);
            }
        }
        self.is_stuck = true;
    }

    /// The topic is there, or is not.
    fn is_there(&mut self, is_there: bool) {
        if is_there && self.held.is_none() {
            (self.held, self.topics) = (Some(Held::default()), self.topics + 1);
        }
        if !is_there {
            self.held = None;
            // What was in its log is gone; what waits may come to another one.
            self.coming.retain(|_, coming| coming.what != What::Sent);
        }
    }

    /// A half message whose word may be said.
    fn half(&self, choice: usize) -> Option<(u32, u64, i64)> {
        let open = self.coming.iter().filter_map(|(number, coming)| match coming.what {
            What::Half(Some((offset, position))) => Some((*number, offset, position)),
            _ => None,
        });
        let open: Vec<_> = open.collect();
        (!open.is_empty()).then(|| open[choice % open.len()])
    }

    /// Messages of a queue were read.
    fn reads(&mut self, queue: usize, from: usize, said: &Said) -> Result<(), &'static str> {
        let messages = &mut self.held.as_mut().expect("is read").messages[queue];
        let max = said.max.filter(|max| *max >= messages.len()).ok_or("messages are gone")?;
        messages.resize(max, None);
        if said.numbers.is_empty() && from < max || from + said.numbers.len() > max {
            return Err("too few or too many");
        }
        for (known, number) in messages[from..].iter_mut().zip(&said.numbers) {
            match known {
                Some(known) if known == number => {}
                Some(_) => return Err("other messages"),
                None => {
                    let coming =
                        self.coming.remove(number).ok_or("a message that is not to come")?;
                    if coming.queue != queue {
                        return Err("a message of another queue");
                    }
                    *known = Some(*number);
                }
            }
        }
        let unknown = messages.iter().filter(|it| it.is_none()).count();
        let coming = self.coming.values().filter(|it| it.queue == queue).count();
        if unknown > coming { Err("more messages than were to come") } else { Ok(()) }
    }

    fn lose_connection(&mut self) {
        self.connection = None;
        self.received.clear();
        if let Some((_, act)) = self.asked.take() {
            self.doubts(act);
        }
    }

    fn write(&mut self, act: Act) -> Vec<u8> {
        self.opaque += 1;
        self.asked = Some((self.opaque, act));
        let head = |code| RequestHead { code, opaque: self.opaque, flag: 0 };
        let mut bytes = Vec::new();
        let mut plain = |code, ext: &[(&str, &str)]| {
            write_request(&mut bytes, Encoding::Json, &head(code), Some(ext), b"");
        };
        match act {
            Act::Make => {
                let queues = QUEUES.to_string();
                let ext = topic_fields(TOPIC, &queues);
                plain(request::UPDATE_AND_CREATE_TOPIC, &ext);
            }
            Act::Delete => plain(request::DELETE_TOPIC_IN_BROKER, &[("topic", TOPIC)]),
            Act::Commit { queue, offset } => {
                let (queue, offset) = (queue.to_string(), offset.to_string());
                let ext = [
                    ("consumerGroup", GROUP),
                    ("topic", TOPIC),
                    ("queueId", &*queue),
                    ("commitOffset", &*offset),
                ];
                plain(request::UPDATE_CONSUMER_OFFSET, &ext);
            }
            Act::Query { queue } => {
                let queue = queue.to_string();
                let ext = [
                    ("consumerGroup", GROUP),
                    ("topic", TOPIC),
                    ("queueId", &*queue),
                    ("setZeroIfNotFound", "false"),
                ];
                plain(request::QUERY_CONSUMER_OFFSET, &ext);
            }
            Act::Reset { queue, offset } => {
                let (queue, offset) = (queue.to_string(), offset.to_string());
                let ext = [
                    ("group", GROUP),
                    ("topic", TOPIC),
                    ("queueId", &*queue),
                    ("offset", &*offset),
                    ("timestamp", "-1"),
                    ("isForce", "true"),
                ];
                plain(request::INVOKE_BROKER_TO_RESET_OFFSET, &ext);
            }
            Act::End { offset, position, is_commit, .. } => {
                let (offset, position) = (offset.to_string(), position.to_string());
                let word = match is_commit {
                    true => sys_flag::TRANSACTION_COMMIT,
                    false => sys_flag::TRANSACTION_ROLLBACK,
                };
                let ext = [
                    ("producerGroup", GROUP),
                    ("tranStateTableOffset", &*offset),
                    ("commitLogOffset", &*position),
                    ("commitOrRollback", &*word.to_string()),
                    ("fromTransactionCheck", "false"),
                    ("msgId", "id"),
                ];
                plain(request::END_TRANSACTION, &ext);
            }
            Act::Send { queue, number } | Act::Wait { queue, number, .. } => {
                let key = MessageKey { producer: PRODUCER, sequence: number };
                let mut text = Vec::new();
                marks::append(&mut text, key);
                let mut sys_flag = 0;
                match act {
                    Act::Wait { delay_ms: Some(delay_ms), .. } => {
                        let delay_ms = delay_ms.to_string();
                        properties::append(&mut text, name::TIMER_DELAY_MS, delay_ms.as_bytes());
                    }
                    Act::Wait { .. } => {
                        sys_flag = sys_flag::TRANSACTION_PREPARED;
                        properties::append(&mut text, name::TRAN_MSG, b"true");
                        properties::append(&mut text, name::PGROUP, GROUP.as_bytes());
                    }
                    _ => {}
                }
                // Nothing makes the topic but a request.
                let send =
                    SendRequest { sys_flag, ..plain_send(GROUP, TOPIC, queue as u32, &text) };
                let head = head(request::SEND_MESSAGE_V2);
                write_send_request(&mut bytes, Encoding::Json, &head, &send, 8);
                bytes.extend_from_slice(&PRODUCER.to_be_bytes());
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Act::Read { queue, from } => {
                let pull = plain_pull(GROUP, TOPIC, queue as u32, from as u64);
                write_pull_request(&mut bytes, Encoding::Json, &head(request::PULL_MESSAGE), &pull);
            }
        }
        bytes
    }

    /// The next answer, and what was asked.
    fn next_answer(&mut self) -> Result<Option<(Act, Said)>, Finding> {
        let (frame, size) = match scan(&self.received, FRAME_BYTES_MAX) {
            Ok(Scan::Frame { frame, size_bytes }) => (frame, size_bytes),
            Ok(Scan::Incomplete { .. }) => return Ok(None),
            Err(error) => return Err(format!("the broker wrote no frame: {error}")),
        };
        let command = Command::decode(&frame).map_err(|error| format!("an answer: {error}"))?;
        let Some((_, act)) = self.asked.take_if(|(opaque, _)| *opaque == command.opaque) else {
            return Err(format!("mortal: an answer to {}, which is not asked", command.opaque));
        };
        let number = |key: &str| command.ext.get(key).and_then(|it| it.parse_i64().ok());
        let offset = number("queueOffset").or_else(|| number("offset")).map(|it| it as u64);
        let (mut numbers, mut body) = (Vec::new(), frame.body);
        while !body.is_empty() && matches!(act, Act::Read { .. }) {
            let (record, size) =
                Record::decode(body).map_err(|error| format!("mortal: a record: {error}"))?;
            let fields = record.fields();
            let from = if let Act::Read { from, .. } = act { from } else { 0 };
            if fields.queue_offset != (from + numbers.len()) as i64 {
                return Err(format!("mortal: offset {} is not next", fields.queue_offset));
            }
            let key = key_of(fields.body).filter(|key| key.producer == PRODUCER);
            numbers.push(key.ok_or("mortal: a body that nobody sent")?.sequence);
            body = &body[size..];
        }
        let max = number("maxOffset").map(|it| it as usize);
        let next = number("nextBeginOffset").map(|it| it as u64);
        let id = command.ext.get("msgId").map(|id| id.to_cow());
        let id = id.and_then(|id| OffsetMessageId::decode(id.as_bytes()).ok());
        let position = id.map(|id| id.position.to_i64());
        let said = Said { code: command.code, offset, position, max, next, numbers };
        self.brought = said.numbers.len();
        self.received.drain(..size);
        Ok(Some((act, said)))
    }

    /// Compares an answer with what must be there, and learns from it.
    fn learn(&mut self, life: &Life, act: Act, said: &Said) -> Result<(), Finding> {
        let before = self.held.clone();
        let finding = |what: &str| {
            Err(format!("mortal: {what}: {act:?} is answered {said:?}, held {before:?}"))
        };
        let is_refused = match said.code {
            response::SERVICE_NOT_AVAILABLE => life.was_full() || life.is_poisoned(),
            response::GO_AWAY => true,
            // A half message is read when it ends.
            response::SYSTEM_ERROR => {
                matches!(act, Act::Read { .. } | Act::End { .. }) && life.has_failed_reads()
            }
            response::SUBSCRIPTION_GROUP_NOT_EXIST => {
                matches!(act, Act::Commit { .. } | Act::Reset { .. })
            }
            _ => false,
        };
        if is_refused {
            // All cores are asked: one whose log failed refuses, and another one has done it.
            if matches!(act, Act::Reset { .. }) && life.is_poisoned() && self.doubt.is_none() {
                self.doubts(act);
            }
            return Ok(());
        }
        if let Some(doubt) = self.doubt {
            self.settle(doubt, act, said);
        }
        let is_known = said.code != response::TOPIC_NOT_EXIST;
        let is_stored = said.code == 0;
        if said.code == response::FLUSH_DISK_TIMEOUT
            && matches!(act, Act::Send { .. } | Act::Wait { .. } | Act::End { .. })
        {
            self.doubts(act);
            return Ok(());
        }
        let of = self.topics;
        match (act, &mut self.held) {
            (Act::Make, _) if is_stored => {
                self.is_there(true);
                self.moves = true;
            }
            (Act::Delete, _) if is_stored => self.is_there(false),
            (Act::Send { queue, number }, Some(held)) if is_stored => {
                let messages = &mut held.messages[queue];
                let offset = said.offset.map_or(0, |offset| offset as usize);
                let coming = self.coming.values().filter(|it| it.queue == queue).count();
                if offset < messages.len() || offset > messages.len() + coming {
                    return finding("another offset");
                }
                messages.resize(offset, None);
                messages.push(Some(number));
            }
            (Act::Wait { queue, number, delay_ms }, Some(_)) if is_stored => {
                let what = match (delay_ms, said.offset.zip(said.position)) {
                    (Some(_), _) => What::Timer { is_stored },
                    (None, None) => return finding("a half message without its place"),
                    (None, half) => What::Half(half),
                };
                self.coming.insert(number, Coming { queue, what, of });
            }
            // Its topic was deleted, or is another one: then it may be dropped.
            (Act::End { number, is_commit, .. }, _) if is_stored => match is_commit {
                true => {
                    let coming = self.coming.get_mut(&number).expect("it waits");
                    coming.what = What::Ended { is_known: true };
                }
                false => _ = self.coming.remove(&number),
            },
            (Act::Commit { queue, offset }, Some(held)) if is_stored => {
                // A group that has not heard of a reset commits nothing.
                if held.resets[queue].is_none() {
                    held.committed[queue] = Some(offset);
                }
            }
            (Act::Reset { queue, offset }, Some(held)) if is_stored => {
                held.committed[queue] = Some(offset);
                held.resets[queue] = Some(offset);
            }
            (Act::Read { .. }, None) if !is_known => {}
            (Act::Read { queue, from }, Some(held)) if is_known => {
                if let Some(offset) = held.resets[queue].take() {
                    if said.code != response::PULL_OFFSET_MOVED
                        || said.next != Some(offset)
                        || !said.numbers.is_empty()
                    {
                        return finding("the group does not hear of a reset");
                    }
                    return Ok(());
                }
                if let Err(what) = self.reads(queue, from, said) {
                    return finding(what);
                }
            }
            (Act::Query { queue }, held) => {
                let expect = held.as_ref().and_then(|held| held.committed[queue]);
                let is_code_right = match expect {
                    Some(_) => said.code == 0,
                    None => said.code == response::QUERY_NOT_FOUND,
                };
                if !is_code_right || expect.is_some() && expect != said.offset {
                    return finding("another committed offset");
                }
            }
            _ => return finding("not as it must be"),
        }
        Ok(())
    }

    /// What was in doubt is seen in an answer to [`Mortal::resolving`].
    fn settle(&mut self, doubt: Act, act: Act, said: &Said) {
        let is_there = said.code != response::TOPIC_NOT_EXIST;
        let is_resolved = match (doubt, act) {
            (Act::Make | Act::Delete, Act::Read { .. }) => {
                self.is_there(is_there);
                true
            }
            (
                Act::Commit { queue, offset } | Act::Reset { queue, offset },
                Act::Query { queue: read },
            ) if queue == read => {
                if said.offset == Some(offset)
                    && let Some(held) = &mut self.held
                {
                    held.committed[queue] = Some(offset);
                }
                true
            }
            _ => false,
        };
        if is_resolved {
            self.doubt = None;
        }
    }

    /// What tells what came of something.
    fn resolving(doubt: Act) -> Act {
        match doubt {
            Act::Commit { queue, .. } | Act::Reset { queue, .. } => Act::Query { queue },
            _ => Act::Read { queue: 0, from: 0 },
        }
    }
}

impl World {
    /// The client asks something, or loses its connection.
    pub(crate) fn mortal_acts(&mut self, life: &mut Life) -> Result<(), Finding> {
        if self.plan.retains || self.mortal.is_stuck || !life.serves() {
            return Ok(()); // what is removed with its segment is others' to tell
        }
        if std::mem::take(&mut self.mortal.moves)
            && !self.mortal.is_waiting()
            && let Some(connection) = self.mortal.connection.take()
        {
            life.ring(connection).client_closes(connection, None);
            self.mortal.received.clear();
            let peer = SocketAddr::from(([127, 0, 0, 1], 998));
            self.mortal.connection = life.any_ring(&mut self.rng).connect(peer, 1 << 20);
        }
        let Some(connection) = self.mortal.connection else {
            let peer = SocketAddr::from(([127, 0, 0, 1], 998));
            self.mortal.connection = life.any_ring(&mut self.rng).connect(peer, 1 << 20);
            return Ok(());
        };
        if self.rng.u8(..30) == 0 {
            life.ring(connection).client_closes(connection, None);
            self.mortal.lose_connection();
            return Ok(());
        }
        if self.mortal.is_waiting() {
            return Ok(());
        }
        let queue = self.rng.usize(..QUEUES);
        let half = self.mortal.half(self.rng.usize(..16));
        let end = |(number, offset, position), is_commit| Act::End {
            number,
            offset,
            position,
            is_commit,
        };
        let act = match (self.mortal.doubt, &self.mortal.held) {
            (Some(doubt), _) => Mortal::resolving(doubt),
            // Of a topic that is no more.
            (None, None) if half.is_some() && self.rng.u8(..4) == 0 => {
                end(half.expect("looked at"), self.rng.u8(..3) > 0)
            }
            (None, None) if self.rng.bool() => Act::Make,
            (None, None) => Act::Read { queue, from: 0 },
            (None, Some(held)) => match self.rng.u8(..26) {
                0 | 1 => Act::Delete,
                20 => {
                    Act::Reset { queue, offset: self.rng.u64(..=held.messages[queue].len() as u64) }
                }
                21..24 => {
                    self.mortal.numbers += 1;
                    let delay_ms = self.rng.bool().then(|| self.rng.u64(1..DELAY_MS_MAX));
                    Act::Wait { queue, number: self.mortal.numbers, delay_ms }
                }
                24 | 25 if half.is_some() => end(half.expect("looked at"), self.rng.u8(..3) > 0),
                2..5 => Act::Read { queue, from: self.rng.usize(..=held.messages[queue].len()) },
                5..7 => Act::Query { queue },
                7..11 => Act::Commit {
                    queue,
                    offset: self.rng.u64(..=held.messages[queue].len() as u64),
                },
                _ if held.messages[queue].len() >= MESSAGES_MAX => Act::Delete,
                _ => {
                    self.mortal.numbers += 1;
                    Act::Send { queue, number: self.mortal.numbers }
                }
            },
        };
        let bytes = self.mortal.write(act);
        life.ring(connection).client_writes(connection, &bytes);
        Ok(())
    }

    /// The client reads what came for it.
    pub(crate) fn mortal_reads(&mut self, life: &mut Life) -> Result<(), Finding> {
        let Some(connection) = self.mortal.connection else { return Ok(()) };
        match life.ring(connection).client_reads(connection) {
            Some(bytes) => self.mortal.received.extend_from_slice(&bytes),
            None if life.is_poisoned() || life.stops() => self.mortal.lose_connection(),
            None => return Err("the broker closed the mortal client's connection".to_owned()),
        }
        while let Some((act, said)) = self.mortal.next_answer()? {
            self.mortal.learn(life, act, &said)?;
        }
        Ok(())
    }

    /// Everything of the topic is read, over connections to any core.
    pub(crate) fn audit_mortal(&mut self, life: &mut Life) -> Result<(), Finding> {
        if self.plan.retains || self.mortal.is_stuck {
            return Ok(());
        }
        if let Some(doubt) = self.mortal.doubt {
            self.ask_mortal(life, Mortal::resolving(doubt))?;
        }
        for queue in 0..QUEUES {
            if self.mortal.held.as_ref().is_some_and(|held| held.resets[queue].is_some()) {
                self.ask_mortal(life, Act::Read { queue, from: 0 })?;
            }
            let mut from = 0;
            loop {
                let brought = self.ask_mortal(life, Act::Read { queue, from })?;
                from += brought;
                if brought == 0 {
                    break;
                }
            }
            self.ask_mortal(life, Act::Query { queue })?;
        }
        match self.mortal.is_wrong(&self.ledger.mortals_given_up) {
            Some(number) => Err(format!(
                "mortal: {number} was committed and is nowhere, or given up and there: {:?}",
                self.mortal
            )),
            None => Ok(()),
        }
    }

    /// Asks and waits; how many messages came.
    fn ask_mortal(&mut self, life: &mut Life, act: Act) -> Result<usize, Finding> {
        if let Some(connection) = self.mortal.connection.take() {
            life.ring(connection).client_closes(connection, None);
        }
        self.mortal.received.clear();
        let peer = SocketAddr::from(([127, 0, 0, 1], 998));
        let connection = life.any_ring(&mut self.rng).connect(peer, 1 << 20);
        let connection = connection.ok_or("nobody listens")?;
        self.mortal.connection = Some(connection);
        let bytes = self.mortal.write(act);
        life.ring(connection).client_writes(connection, &bytes);
        for _ in 0..QUIET_STEPS_MAX {
            self.step(life, false)?;
            if !self.mortal.is_waiting() {
                return Ok(self.mortal.brought);
            }
        }
        Err(format!("mortal: {act:?} is not answered"))
    }
}
