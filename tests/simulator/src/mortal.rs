//! A topic that is deleted and made again, over and over, by one client that asks one thing at a time, and
//! so always knows what must be there.
//!
//! What must hold: a deleted topic is gone on every core and stays gone, one that was made again has
//! nothing of those before it, and loses nothing of its own: messages, their offsets, committed offsets.

use std::net::SocketAddr;

use proto::code::{request, response};
use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use proto::record::Record;
use proto::reply::{
    PullRequest, RequestHead, SendRequest, write_pull_request, write_request, write_send_request,
};
use runtime::ConnectionId;

use crate::world::{Finding, Life, QUIET_STEPS_MAX, World};

const TOPIC: &str = "SimMortal";
const GROUP: &str = "SimMortalGroup";

/// More than there are shards, now and then.
const QUEUES: usize = 3;

/// Messages of a queue in one life of the topic: one pull brings them all.
const MESSAGES_MAX: usize = 30;

/// What the client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Make,
    Delete,
    Send { queue: usize, number: u32 },
    Commit { queue: usize, offset: u64 },
    Read { queue: usize, from: usize },
    Query { queue: usize },
}

/// What was answered.
#[derive(Debug)]
struct Said {
    code: i32,
    offset: Option<u64>,
    /// Of a pull: what is behind the queue's newest message.
    max: Option<usize>,
    numbers: Vec<u32>,
}

/// What the topic holds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Held {
    messages: [Vec<u32>; QUEUES],
    committed: [Option<u64>; QUEUES],
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Mortal {
    /// `None`: there is no such topic.
    held: Option<Held>,
    /// What came of this nobody knows.
    doubt: Option<Act>,
    /// Its connection broke, and it may still be on its way: nothing more in this life of the broker.
    is_stuck: bool,
    asked: Option<(i32, Act)>,
    connection: Option<ConnectionId>,
    received: Vec<u8>,
    opaque: i32,
    numbers: u32,
    /// Messages that the last answer brought.
    brought: usize,
}

impl Mortal {
    /// Whether an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// The broker's life ends: whatever was on its way is not any more.
    pub fn ends(&mut self) {
        self.lose_connection();
        self.is_stuck = false;
    }

    fn lose_connection(&mut self) {
        self.connection = None;
        self.received.clear();
        if let Some((_, act)) = self.asked.take()
            && !matches!(act, Act::Read { .. } | Act::Query { .. })
        {
            assert_eq!(self.doubt, None);
            self.doubt = Some(act);
            self.is_stuck = true;
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
                let ext = [
                    ("topic", TOPIC),
                    ("defaultTopic", "TBW102"),
                    ("readQueueNums", &*queues),
                    ("writeQueueNums", &*queues),
                    ("perm", "6"),
                    ("topicFilterType", "SINGLE_TAG"),
                    ("order", "false"),
                ];
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
            Act::Send { queue, number } => {
                let send = SendRequest {
                    producer_group: GROUP,
                    topic: TOPIC,
                    // Nothing makes it but a request.
                    default_topic: "none",
                    default_topic_queue_count: 1,
                    queue_id: queue as i32,
                    sys_flag: 0,
                    born_timestamp: 1,
                    flag: 0,
                    properties: b"",
                    reconsume_times: 0,
                    unit_mode: false,
                    max_reconsume_times: None,
                    batch: false,
                    broker_name: None,
                };
                let head = head(request::SEND_MESSAGE_V2);
                write_send_request(&mut bytes, Encoding::Json, &head, &send, 4);
                bytes.extend_from_slice(&number.to_be_bytes());
            }
            Act::Read { queue, from } => {
                let pull = PullRequest {
                    consumer_group: GROUP,
                    topic: TOPIC,
                    queue_id: queue as i32,
                    queue_offset: from as i64,
                    message_count_max: 32,
                    sys_flag: 4,
                    commit_offset: 0,
                    suspend_timeout_ms: 0,
                    subscription: Some("*"),
                    subscription_version: 0,
                    expression_type: Some("TAG"),
                    message_bytes_max: None,
                    broker_name: None,
                };
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
            let number = fields.body.try_into().map(u32::from_be_bytes);
            numbers.push(number.map_err(|_| "mortal: a body that nobody sent".to_owned())?);
            body = &body[size..];
        }
        let max = number("maxOffset").map(|it| it as usize);
        let said = Said { code: command.code, offset, max, numbers };
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
            response::SYSTEM_ERROR => matches!(act, Act::Read { .. }) && life.has_failed_reads(),
            response::SUBSCRIPTION_GROUP_NOT_EXIST => matches!(act, Act::Commit { .. }),
            _ => false,
        };
        if is_refused {
            return Ok(());
        }
        if let Some(doubt) = self.doubt {
            self.settle(doubt, act, said);
        }
        let is_known = said.code != response::TOPIC_NOT_EXIST;
        match (act, &mut self.held) {
            (Act::Make, held) if said.code == 0 => *held = Some(Held::default()),
            (Act::Delete, held) if said.code == 0 => *held = None,
            (Act::Send { queue, number }, Some(held)) if said.code == 0 => {
                if said.offset != Some(held.messages[queue].len() as u64) {
                    return finding("another offset");
                }
                held.messages[queue].push(number);
            }
            (Act::Send { .. }, Some(_)) if said.code == response::FLUSH_DISK_TIMEOUT => {
                self.doubt = Some(act);
                self.is_stuck = true;
            }
            (Act::Commit { queue, offset }, Some(held)) if said.code == 0 => {
                held.committed[queue] = Some(offset);
            }
            (Act::Read { .. }, None) if !is_known => {}
            (Act::Read { queue, from }, Some(held)) if is_known => {
                let expect = &held.messages[queue];
                // A pull may bring a part: those that lie together.
                let is_some = !said.numbers.is_empty() || from == expect.len();
                if said.max != Some(expect.len())
                    || !is_some
                    || !expect[from..].starts_with(&said.numbers)
                {
                    return finding("other messages");
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
            (Act::Make, Act::Read { .. }) => {
                self.held = is_there.then(Held::default);
                true
            }
            (Act::Delete, Act::Read { .. }) => {
                self.held.take_if(|_| !is_there);
                true
            }
            (Act::Send { queue, number }, Act::Read { queue: read, .. }) if queue == read => {
                let messages = self.held.as_mut().map(|held| &mut held.messages[queue]);
                if let Some(messages) = messages
                    && said.max == Some(messages.len() + 1)
                {
                    messages.push(number);
                }
                true
            }
            (Act::Commit { queue, offset }, Act::Query { queue: read }) if queue == read => {
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
            Act::Send { queue, .. } => Act::Read { queue, from: 0 },
            Act::Commit { queue, .. } => Act::Query { queue },
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
        let act = match (self.mortal.doubt, &self.mortal.held) {
            (Some(doubt), _) => Mortal::resolving(doubt),
            (None, None) if self.rng.bool() => Act::Make,
            (None, None) => Act::Read { queue, from: 0 },
            (None, Some(held)) => match self.rng.u8(..20) {
                0 | 1 => Act::Delete,
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
        Ok(())
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
