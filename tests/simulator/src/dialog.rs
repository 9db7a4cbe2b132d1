//! Request and reply: clients that asked something over messages, and others that reply to them. A reply goes to the
//! broker, which passes it on to the connection of whoever asked, and keeps it like any message.
//!
//! What must hold: a reply reaches the client that its properties name, over the connection that this client
//! registered last, once, with what was sent; who replied is told of success if and only if the other took it,
//! and in time; a reply that was kept, as that answer says, is there after every crash.

use std::collections::BTreeMap;
use std::rc::Rc;

use proto::code::{request, response};
use proto::properties::{self, name};
use proto::record::Record;
use proto::reply::SendRequest;

use crate::ledger::{MessageKey, body_of, key_of};
use crate::link::{Arrived, Link};
use crate::marks;
use crate::requests::{plain_pull, plain_send};
use crate::world::{Finding, Life, World};

const ASKERS: usize = 2;
const REPLIERS: usize = 2;

/// Connections of one asker at the same time: it connects again before it notices that the other one is dead.
const LINKS_MAX: usize = 2;

/// Replies that a replier waits for at the most.
const WAITING_MAX: usize = 4;

/// Where replies are kept, with their queues: where Apache's clients send them, and a topic that the first one makes.
const TOPICS: [(&str, u32); 2] = [("DefaultCluster_REPLY_TOPIC", 1), ("SimReplies", 2)];

/// Who sends all replies, in keys.
const PRODUCER: u32 = 1_003;

/// How long the broker waits for a client to take a reply, ms (`Broker2Client.callClient`).
const CALL_MS: u64 = 10_000;

/// Whom a reply is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Named {
    Asker(usize),
    /// Nobody has this name.
    Stranger,
    /// It does not say.
    Nobody,
}

/// A connection of an asker.
#[derive(Debug)]
struct Seat {
    link: Link,
    /// Which of the asker's connections it is, from 1.
    number: u32,
    /// The heartbeat that waits for its answer.
    joining: Option<i32>,
}

#[derive(Debug, Default)]
struct Asker {
    seats: Vec<Seat>,
    connected: u32,
    /// The last connection whose heartbeat was answered.
    newest: u32,
    /// A connection broke before its heartbeat was answered: it may arrive after that of a later one.
    is_uncertain: bool,
    /// It takes nothing for the time being.
    is_silent: bool,
    /// What it has not taken yet: the connection's number, the call and the reply.
    untaken: Vec<(u32, i32, u32)>,
}

#[derive(Debug)]
struct Reply {
    named: Named,
    body: Rc<[u8]>,
    topic: usize,
    queue: u32,
    /// The asker's newest connection when the reply was sent; it is there if `is_certain`.
    newest: u32,
    is_certain: bool,
    sent_ms: u64,
    /// The connection that it came over, and whether the asker took it.
    pushed: Option<u32>,
    taken: Option<bool>,
    /// Where it is kept, the broker says.
    kept_at: Option<u64>,
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Dialog {
    askers: [Asker; ASKERS],
    repliers: [Option<Link>; REPLIERS],
    /// What each replier waits for.
    waiting: [BTreeMap<i32, u32>; REPLIERS],
    replies: BTreeMap<u32, Reply>,
    numbers: u32,
    /// Replies that were taken.
    pub taken: u64,
}

impl Reply {
    fn name(&self) -> Option<String> {
        match self.named {
            Named::Asker(asker) => Some(asker_name(asker)),
            Named::Stranger => Some("stranger".to_owned()),
            Named::Nobody => None,
        }
    }
}

fn asker_name(asker: usize) -> String {
    format!("asker-{asker}")
}

fn correlation_id(number: u32) -> String {
    format!("correlation-{number}")
}

impl Asker {
    /// The connection that replies go to for certain.
    fn certain(&self) -> Option<&Seat> {
        let is_joining = self.seats.iter().any(|seat| seat.joining.is_some());
        let newest = self.seats.iter().find(|seat| seat.number == self.newest);
        newest.filter(|_| !is_joining && !self.is_uncertain)
    }

    fn loses(&mut self, at: usize) {
        let seat = self.seats.remove(at);
        self.is_uncertain |= seat.joining.is_some();
        self.untaken.retain(|(number, ..)| *number != seat.number);
    }
}

impl Dialog {
    /// Whether an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        let mut seats = self.askers.iter().flat_map(|asker| &asker.seats);
        self.waiting.iter().any(|it| !it.is_empty()) || seats.any(|seat| seat.joining.is_some())
    }

    /// The broker's life ends: nothing is on its way any more.
    pub fn ends(&mut self) {
        self.askers = Default::default();
        self.repliers = Default::default();
        self.waiting = Default::default();
    }

    /// Who took nothing does now.
    pub fn listen(&mut self) {
        self.askers.iter_mut().for_each(|asker| asker.is_silent = false);
    }

    /// The broker passed a reply on. Which one it is.
    fn is_pushed(&mut self, asker: usize, seat: u32, arrived: &Arrived) -> Result<u32, Finding> {
        let finding =
            |what: &str| Err(format!("dialog: {what}: {asker}, connection {seat}: {arrived:?}"));
        let number = key_of(&arrived.body).filter(|key| key.producer == PRODUCER);
        let Some(number) = number.map(|key| key.sequence) else {
            return finding("nobody's reply");
        };
        let Some(reply) = self.replies.get_mut(&number) else {
            return finding("a reply that was never sent");
        };
        let text = arrived.ext.get("properties").map_or("", String::as_str).as_bytes();
        let property = |name| properties::find(text, name).map(String::from_utf8_lossy);
        let is_whole = arrived.code == request::PUSH_REPLY_MESSAGE_TO_CLIENT
            && *reply.body == *arrived.body
            && arrived.ext.get("topic").is_some_and(|it| it == TOPICS[reply.topic].0)
            && arrived.number("queueId") == Some(i64::from(reply.queue))
            && arrived.number("flag") == Some(i64::from(number))
            && property(name::CORRELATION_ID).is_some_and(|it| it == correlation_id(number))
            && property(name::PUSH_REPLY_TIME).is_some_and(|it| it.parse::<u64>().is_ok());
        if !is_whole {
            return finding("not what was sent");
        }
        if reply.named != Named::Asker(asker)
            || property(name::REPLY_TO_CLIENT) != Some(asker_name(asker).into())
        {
            return finding("it is not for this client");
        }
        if let Some(before) = reply.pushed.replace(seat) {
            return finding(&format!("it came over connection {before} before"));
        }
        if seat < reply.newest && !self.askers[asker].is_uncertain {
            return finding(&format!("its client had connection {} by then", reply.newest));
        }
        Ok(number)
    }

    /// A reply was answered.
    fn learns(
        &mut self,
        life: &Life,
        now_ms: u64,
        number: u32,
        arrived: &Arrived,
    ) -> Result<(), Finding> {
        let reply = self.replies.get_mut(&number).expect("it was sent");
        let finding = |what: &str, reply: &Reply| {
            Err(format!("dialog: {what}: {number} is answered {arrived:?} at {now_ms}: {reply:?}"))
        };
        match arrived.code {
            response::SUCCESS | response::FLUSH_DISK_TIMEOUT => {
                if reply.taken != Some(true) {
                    return finding("nobody took it", reply);
                }
                self.taken += 1;
                let id = arrived.ext.get("msgId").map(String::as_str);
                if id == Some("0") && !life.was_full() && !life.is_poisoned() && !life.stops() {
                    return finding("it is not kept", reply);
                }
                let offset = arrived.number("queueOffset").filter(|_| id != Some("0"));
                if arrived.code == response::SUCCESS {
                    reply.kept_at = offset.map(|offset| offset as u64);
                }
                Ok(())
            }
            response::SYSTEM_ERROR => {
                let Named::Asker(asker) = reply.named else { return Ok(()) };
                let newest = self.askers[asker].certain().map(|seat| seat.number);
                let is_there = reply.is_certain && newest == Some(reply.newest);
                let is_late = now_ms >= reply.sent_ms + CALL_MS;
                if is_there && !is_late && reply.taken != Some(false) && !life.stops() {
                    return finding("its client is there", reply);
                }
                Ok(())
            }
            response::SERVICE_NOT_AVAILABLE if life.was_full() || life.is_poisoned() => Ok(()),
            response::GO_AWAY if life.stops() => Ok(()),
            _ => finding("not as it must be", reply),
        }
    }

    /// A queue of replies was read from its start.
    fn compare(
        &self,
        topic: usize,
        queue: u32,
        kept: &[(u32, Vec<u8>, String)],
    ) -> Result<(), Finding> {
        let (name, _) = TOPICS[topic];
        let mut offsets = BTreeMap::new();
        for (offset, (number, body, correlation)) in (0..).zip(kept) {
            let is_right = self.replies.get(number).is_some_and(|reply| {
                *reply.body == **body
                    && (reply.topic, reply.queue) == (topic, queue)
                    && *correlation == correlation_id(*number)
            });
            if !is_right || offsets.insert(*number, offset).is_some() {
                return Err(format!("dialog: {name} queue {queue} holds {number} at {offset}"));
            }
        }
        let here = self.replies.iter().filter(|(_, it)| (it.topic, it.queue) == (topic, queue));
        let mut lost = here.filter(|(number, reply)| {
            reply.kept_at.is_some_and(|offset| offsets.get(number) != Some(&offset))
        });
        match lost.next() {
            Some((number, reply)) => {
                let found = offsets.get(number);
                Err(format!(
                    "dialog: {number} is at {found:?} of {name}, not as it was kept: {reply:?}"
                ))
            }
            None => Ok(()),
        }
    }
}

impl World {
    /// Somebody connects, leaves, falls silent or replies.
    pub(crate) fn dialog_acts(&mut self, life: &mut Life) -> Result<(), Finding> {
        if !life.serves() {
            return Ok(());
        }
        match self.rng.u8(..10) {
            0 | 1 => self.asker_connects(life),
            2 => {
                let asker = &mut self.dialog.askers[self.rng.usize(..ASKERS)];
                if self.rng.u8(..4) == 0 && !asker.seats.is_empty() {
                    let at = self.rng.usize(..asker.seats.len());
                    let connection = asker.seats[at].link.connection;
                    asker.loses(at);
                    life.ring(connection).client_closes(connection, None);
                } else {
                    asker.is_silent = self.rng.u8(..3) == 0;
                }
            }
            _ => self.somebody_replies(life),
        }
        Ok(())
    }

    fn asker_connects(&mut self, life: &mut Life) {
        let number = self.rng.usize(..ASKERS);
        let asker = &self.dialog.askers[number];
        // The next one only when nothing of the one before is on its way.
        let is_joining = asker.seats.iter().any(|seat| seat.joining.is_some());
        if is_joining
            || asker.seats.len() == LINKS_MAX
            || !asker.seats.is_empty() && self.rng.bool()
        {
            return;
        }
        let Some(mut link) = self.connect_link(life) else { return };
        let body = format!(
            r#"{{"clientID":"{}","consumerDataSet":[],"producerDataSet":[{{"groupName":"SimAskers"}}]}}"#,
            asker_name(number)
        );
        let bytes = link.request(request::HEART_BEAT, &[], body.as_bytes());
        life.ring(link.connection).client_writes(link.connection, &bytes);
        let asker = &mut self.dialog.askers[number];
        asker.connected += 1;
        let joining = Some(link.last());
        asker.seats.push(Seat { link, number: asker.connected, joining });
    }

    fn somebody_replies(&mut self, life: &mut Life) {
        let replier = self.rng.usize(..REPLIERS);
        if self.dialog.repliers[replier].is_none() {
            self.dialog.repliers[replier] = self.connect_link(life);
            return;
        }
        if self.rng.u8(..40) == 0 {
            let link = self.dialog.repliers[replier].take().expect("looked at above");
            life.ring(link.connection).client_closes(link.connection, None);
            self.dialog.waiting[replier].clear();
            return;
        }
        if self.dialog.waiting[replier].len() == WAITING_MAX {
            return;
        }
        self.dialog.numbers += 1;
        let number = self.dialog.numbers;
        let named = match self.rng.u8(..20) {
            0 => Named::Stranger,
            1 => Named::Nobody,
            _ => Named::Asker(self.rng.usize(..ASKERS)),
        };
        let (newest, is_certain) = match named {
            Named::Asker(asker) => {
                let asker = &self.dialog.askers[asker];
                (asker.newest, asker.certain().is_some())
            }
            _ => (0, false),
        };
        let topic = self.rng.usize(..TOPICS.len());
        let key = MessageKey { producer: PRODUCER, sequence: number };
        let reply = Reply {
            named,
            body: body_of(key, self.rng.usize(..3_000)),
            topic,
            queue: self.rng.u32(..TOPICS[topic].1),
            newest,
            is_certain,
            sent_ms: self.now.monotonic_ms(),
            pushed: None,
            taken: None,
            kept_at: None,
        };
        let has_long_names = self.rng.bool();
        let link = self.dialog.repliers[replier].as_mut().expect("looked at above");
        let bytes = write(link, number, &reply, has_long_names);
        let (connection, opaque) = (link.connection, link.last());
        life.ring(connection).client_writes(connection, &bytes);
        self.dialog.waiting[replier].insert(opaque, number);
        self.dialog.replies.insert(number, reply);
    }

    /// Everybody reads what came for him.
    pub(crate) fn dialog_reads(&mut self, life: &mut Life) -> Result<(), Finding> {
        for asker in 0..ASKERS {
            self.asker_reads(life, asker)?;
        }
        for replier in 0..REPLIERS {
            let Some(link) = &mut self.dialog.repliers[replier] else { continue };
            match life.ring(link.connection).client_reads(link.connection) {
                Some(bytes) => link.receive(&bytes),
                None if life.is_poisoned() || life.stops() => {
                    self.dialog.repliers[replier] = None;
                    self.dialog.waiting[replier].clear();
                    continue;
                }
                None => return Err("the broker closed a replier's connection".to_owned()),
            }
            while let Some(link) = &mut self.dialog.repliers[replier]
                && let Some(arrived) = link.next_frame()?
            {
                let number = self.dialog.waiting[replier].remove(&arrived.opaque);
                let Some(number) = number.filter(|_| arrived.is_answer) else {
                    return Err(format!("dialog: nobody asked for {arrived:?}"));
                };
                self.dialog.learns(life, self.now.monotonic_ms(), number, &arrived)?;
            }
        }
        Ok(())
    }

    fn asker_reads(&mut self, life: &mut Life, number: usize) -> Result<(), Finding> {
        let mut at = 0;
        while let Some(seat) = self.dialog.askers[number].seats.get_mut(at) {
            match life.ring(seat.link.connection).client_reads(seat.link.connection) {
                Some(bytes) => seat.link.receive(&bytes),
                None if life.is_poisoned() || life.stops() => {
                    self.dialog.askers[number].loses(at);
                    continue;
                }
                None => return Err("the broker closed an asker's connection".to_owned()),
            }
            while let Some(arrived) = self.dialog.askers[number].seats[at].link.next_frame()? {
                let seat = &mut self.dialog.askers[number].seats[at];
                let which = seat.number;
                if arrived.is_answer {
                    if seat.joining.take() != Some(arrived.opaque) {
                        return Err(format!("dialog: nobody asked for {arrived:?}"));
                    }
                    let asker = &mut self.dialog.askers[number];
                    match arrived.code {
                        response::SUCCESS => asker.newest = which,
                        response::GO_AWAY if life.stops() => asker.is_uncertain = true,
                        _ => return Err(format!("dialog: {arrived:?} to a heartbeat")),
                    }
                    continue;
                }
                let reply = self.dialog.is_pushed(number, which, &arrived)?;
                self.dialog.askers[number].untaken.push((which, arrived.opaque, reply));
            }
            at += 1;
        }
        self.asker_takes(life, number);
        Ok(())
    }

    /// An asker takes what came for it, or says that it cannot.
    fn asker_takes(&mut self, life: &mut Life, number: usize) {
        if self.dialog.askers[number].is_silent {
            return;
        }
        for (which, opaque, reply) in std::mem::take(&mut self.dialog.askers[number].untaken) {
            let is_taken = self.rng.u8(..10) > 0;
            let code = if is_taken { response::SUCCESS } else { response::SYSTEM_ERROR };
            let seats = &self.dialog.askers[number].seats;
            let seat = seats.iter().find(|seat| seat.number == which).expect("it goes with it");
            let bytes = seat.link.answer(opaque, code);
            life.ring(seat.link.connection).client_writes(seat.link.connection, &bytes);
            self.dialog.replies.get_mut(&reply).expect("it was sent").taken = Some(is_taken);
        }
    }

    /// Replies that were kept are read.
    pub(crate) fn audit_dialog(&mut self, life: &mut Life) -> Result<(), Finding> {
        if self.plan.retains {
            return Ok(()); // what is removed with its segment is others' to tell
        }
        for (topic, (name, queues)) in TOPICS.into_iter().enumerate() {
            for queue in 0..queues {
                let (mut kept, mut end) = (Vec::new(), 1);
                while kept.len() < end {
                    let from = kept.len();
                    let pull = plain_pull("SimReadsReplies", name, queue, from as u64);
                    let write = |link: &mut Link| link.pull(request::PULL_MESSAGE, &pull);
                    let arrived = self.ask_over_link(life, write)?;
                    match arrived.code {
                        response::SYSTEM_ERROR if life.has_failed_reads() => return Ok(()),
                        response::TOPIC_NOT_EXIST if from == 0 => break,
                        response::SUCCESS => {
                            end = arrived.number("maxOffset").map_or(0, |end| end as usize);
                            read_kept(&arrived.body, &mut kept)?;
                        }
                        response::PULL_NOT_FOUND => break,
                        _ => return Err(format!("dialog: {name} at {from}: {arrived:?}")),
                    }
                }
                self.dialog.compare(topic, queue, &kept)?;
            }
        }
        Ok(())
    }
}

fn read_kept(mut body: &[u8], kept: &mut Vec<(u32, Vec<u8>, String)>) -> Result<(), Finding> {
    while !body.is_empty() {
        let (record, size) = Record::decode(body).map_err(|error| error.to_string())?;
        let fields = record.fields();
        let key = key_of(fields.body).filter(|key| key.producer == PRODUCER);
        let key = key.ok_or("dialog: nobody's reply is kept")?;
        if fields.queue_offset != kept.len() as i64 {
            return Err(format!("dialog: offset {} is not next", fields.queue_offset));
        }
        let correlation = properties::find(fields.properties, name::CORRELATION_ID);
        let correlation = String::from_utf8_lossy(correlation.unwrap_or_default()).into_owned();
        kept.push((key.sequence, fields.body.to_vec(), correlation));
        body = &body[size..];
    }
    Ok(())
}

fn write(link: &mut Link, number: u32, reply: &Reply, has_long_names: bool) -> Vec<u8> {
    let mut text = Vec::new();
    marks::append(&mut text, MessageKey { producer: PRODUCER, sequence: number });
    properties::append(&mut text, name::CORRELATION_ID, correlation_id(number).as_bytes());
    if let Some(client_id) = reply.name() {
        properties::append(&mut text, name::REPLY_TO_CLIENT, client_id.as_bytes());
    }
    let (topic, queues) = TOPICS[reply.topic];
    if has_long_names {
        let text = String::from_utf8(text).expect("made of text");
        let ext = [
            ("producerGroup", "SimRepliers"),
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("defaultTopicQueueNums", &*queues.to_string()),
            ("queueId", &*reply.queue.to_string()),
            ("sysFlag", "0"),
            ("bornTimestamp", "1"),
            ("flag", &*number.to_string()),
            ("properties", &*text),
            ("reconsumeTimes", "0"),
            ("unitMode", "false"),
        ];
        return link.request(request::SEND_REPLY_MESSAGE, &ext, &reply.body);
    }
    let send = SendRequest {
        default_topic: "TBW102",
        default_topic_queue_count: queues as i32,
        flag: number as i32,
        ..plain_send("SimRepliers", topic, reply.queue, &text)
    };
    link.send(request::SEND_REPLY_MESSAGE_V2, &send, &reply.body)
}
