//! Clients of the simulated broker: one connection, requests by number, answers as they come.

use std::collections::BTreeMap;

use proto::batch::BatchRecord;
use proto::body::{LockBatchRequestBody, LockBatchResponseBody, MessageQueue};
use proto::code::{request, response};
use proto::command::{Command, FLAG_ONEWAY};
use proto::frame::{Encoding, Scan, scan};
use proto::header::{PullAnswer, SendAnswer};
use proto::ids::OffsetMessageId;
use proto::limits::FRAME_BYTES_MAX;
use proto::properties::{self, name};
use proto::recall::RecallHandle;
use proto::record::{Record, sys_flag};
use proto::reply::{
    PullRequest, RequestHead, SendRequest, write_pull_request, write_request, write_send_request,
};
use runtime::ConnectionId;

use crate::ledger::{Found, Item, MessageKey, Stored, key_of};
use crate::marks::{self, FILTERS, Wanted, flag_of, unique_key};
use crate::place::{
    AUTO_QUEUES, CONFIGURED_GROUP, ORDERLY_GROUP, Place, RETRIES_MAX, Topic, group_name,
};
use crate::requests::{plain_pull, plain_send};

/// What a request was for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Asked {
    /// Messages are to be stored: one, or a batch of several that follow each other.
    Send {
        /// The first.
        first: MessageKey,
        /// How many.
        count: u32,
        /// To here.
        place: Place,
        /// They wait first.
        is_delayed: bool,
        /// It is a half message.
        is_half: bool,
        /// So long, ms, instead of a level's time.
        timer_ms: Option<u64>,
    },
    /// A message is to be called back.
    Recall {
        /// Which one.
        item: Item,
        /// Where it is to come.
        place: Place,
        /// When.
        due_ms: u64,
    },
    /// A producer's word on a half message.
    End {
        /// Which one.
        item: Item,
        /// Where it waits.
        half: Stored,
        /// The word.
        is_commit: bool,
        /// It answers a check.
        from_check: bool,
    },
    /// The client produces for a group of half messages.
    Produce,
    /// A message is to come again, or is given up.
    SendBack {
        /// What is to come.
        item: Item,
        /// To here.
        place: Place,
        /// Where the record is that is sent back.
        position: i64,
    },
    /// Messages of a queue from an offset on.
    Pull {
        /// For this group.
        group: u8,
        /// The queue.
        place: Place,
        /// From here.
        from: u64,
        /// An offset to commit by the way.
        commit: Option<u64>,
        /// May be held so long, ms.
        suspend_ms: u64,
        /// Those that this filter takes, by its number; `None`: all.
        filter: Option<u8>,
    },
    /// An offset is to be committed.
    Commit {
        /// For this group.
        group: u8,
        /// Of this queue.
        place: Place,
        /// This one.
        offset: u64,
    },
    /// The committed offset.
    Query {
        /// Of this group.
        group: u8,
        /// Of this queue.
        place: Place,
    },
    /// The messages of this place's topic that have a key.
    Find {
        /// A message that has it.
        key: MessageKey,
        /// Which of its keys.
        wanted: Wanted,
        /// The topic.
        place: Place,
        /// Stored from then to then, ms.
        between: (u64, u64),
    },
    /// The message at a position.
    View {
        /// Of this topic.
        place: Place,
        /// The position.
        position: i64,
    },
    /// The offset of a time.
    Search {
        /// In this queue.
        place: Place,
        /// The time, ms.
        time_ms: u64,
        /// The last one then or before, not the first one then or later.
        is_upper: bool,
    },
    /// A member of the orderly group wants queues of the topic that is made by sends, a bit each …
    Lock {
        /// Which member.
        member: u8,
        /// Which queues.
        queues: u8,
    },
    /// … and gives one up.
    Unlock {
        /// Which member.
        member: u8,
        /// Which queue.
        queue: u32,
    },
    /// A group has so many retries.
    MakeGroup {
        /// The group.
        group: u8,
        /// Its retries.
        retries: u32,
    },
    /// A topic is to have so many queues.
    MakeTopic {
        /// This one.
        topic: Topic,
        /// So many.
        queues: u32,
    },
}

/// What was answered.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answered {
    /// To a send: stored at this offset of its queue, perhaps not durable (code 10).
    Stored {
        /// Response code, 0 or 10.
        code: i32,
        /// Offset in the queue.
        offset: u64,
        /// Where the records are.
        positions: Vec<i64>,
        /// When it is due, by the handle to call it back.
        due_ms: Option<u64>,
    },
    /// To a pull: messages with their offsets, and where to go on.
    Messages {
        /// Response code.
        code: i32,
        /// What came.
        messages: Vec<Found>,
        /// The next offset to ask for.
        next: u64,
    },
    /// To a query, and to a search by time.
    Offset(u64),
    /// To a lock: the queues that are locked, a bit each.
    Locked {
        /// Those.
        queues: u8,
    },
    /// Anything else.
    Code {
        /// Response code.
        code: i32,
        /// It is not known whether what was asked is durable.
        is_unknown: bool,
    },
}

/// An answer and what it is to.
#[derive(Debug)]
pub struct Answer {
    /// What was asked.
    pub asked: Asked,
    /// Whether the queue was known to be there when it was asked.
    pub was_there: bool,
    /// What was answered.
    pub answered: Answered,
}

/// What a broker asked a producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Check {
    /// Which half message.
    pub item: Item,
    /// Where it waits.
    pub half: Stored,
    /// How often it was asked, this time included.
    pub checks: u32,
}

/// The group that half messages are produced for.
pub const PRODUCER_GROUP: &str = "SimTransactions";

/// A connection of a client.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub connection: ConnectionId,
    /// It does not read what comes for it.
    pub is_deaf: bool,
    /// It writes no more, and waits for its answers.
    pub is_leaving: bool,
    encoding: Encoding,
    /// What the broker asked of it.
    pub checks: Vec<Check>,
    received: Vec<u8>,
    asked: BTreeMap<i32, (Asked, bool)>,
    opaque: i32,
}

impl Asked {
    /// The queue that it is about.
    pub fn place(&self) -> Option<Place> {
        match *self {
            Asked::Send { place, .. }
            | Asked::Recall { place, .. }
            | Asked::SendBack { place, .. }
            | Asked::Pull { place, .. }
            | Asked::Commit { place, .. }
            | Asked::Find { place, .. }
            | Asked::View { place, .. }
            | Asked::Search { place, .. }
            | Asked::Query { place, .. } => Some(place),
            Asked::MakeTopic { .. } | Asked::MakeGroup { .. } => None,
            Asked::Lock { .. } | Asked::Unlock { .. } => None,
            Asked::End { .. } | Asked::Produce => None,
        }
    }

    /// The position of the record that is looked up.
    pub fn position(&self) -> Option<i64> {
        match *self {
            Asked::SendBack { position, .. } | Asked::View { position, .. } => Some(position),
            Asked::End { half, .. } => Some(half.position),
            _ => None,
        }
    }
}

impl Client {
    /// A client on a connection that was just made.
    pub fn new(connection: ConnectionId, encoding: Encoding) -> Client {
        Client {
            connection,
            is_deaf: false,
            is_leaving: false,
            encoding,
            checks: Vec::new(),
            received: Vec::new(),
            asked: BTreeMap::new(),
            opaque: 0,
        }
    }

    /// Requests that wait for their answers.
    pub fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// A request that waits for its answer.
    pub fn waits_for(&self) -> Option<Asked> {
        self.asked.values().map(|(asked, _)| *asked).next()
    }

    /// The connection ended: what waited for an answer, in the order in which it was asked.
    pub fn abandon(self) -> impl Iterator<Item = Asked> {
        self.asked.into_values().map(|(asked, _)| asked)
    }

    /// The bytes of a request; `bodies` are those of its messages, `is_there` says whether the queue is
    /// known to exist.
    pub fn ask(&mut self, asked: Asked, is_there: bool, bodies: &[&[u8]]) -> Vec<u8> {
        self.opaque += 1;
        self.asked.insert(self.opaque, (asked, is_there));
        let (encoding, opaque) = (self.encoding, self.opaque);
        let head = |code| RequestHead { code, opaque, flag: 0 };
        let mut bytes = Vec::new();
        let mut plain = |code, ext: &[(&str, &str)]| {
            write_request(&mut bytes, encoding, &head(code), Some(ext), b"");
        };
        match asked {
            Asked::Send { first, count, place, is_delayed, timer_ms, is_half } => {
                let (body, own) = match count {
                    1 => (bodies[0].to_vec(), properties_of(first, is_delayed, timer_ms, is_half)),
                    _ => (batch_of(first, bodies), Vec::new()),
                };
                let topic = place.topic.name();
                let mut request = send_request(&topic, place, &own, count > 1);
                request.flag = if count > 1 { 0 } else { flag_of(first) };
                if is_half {
                    request.sys_flag = sys_flag::TRANSACTION_PREPARED;
                }
                let code = if count > 1 { request::SEND_BATCH_MESSAGE } else { SEND };
                write_send_request(&mut bytes, encoding, &head(code), &request, body.len());
                bytes.extend_from_slice(&body);
            }
            Asked::Recall { item, place, due_ms } => {
                let topic = place.topic.name();
                let handle = RecallHandle {
                    topic: topic.clone(),
                    broker_name: BROKER_NAME.to_owned(),
                    due_ms: Some(due_ms as i64),
                    unique_key: unique_key(item.key),
                    queue_id: Some(place.queue as i32),
                };
                let handle = handle.encode().expect("no blanks");
                let ext = [("producerGroup", "p"), ("topic", &*topic), ("recallHandle", &*handle)];
                plain(request::RECALL_MESSAGE, &ext);
            }
            Asked::Pull { group, place, from, commit, suspend_ms, filter } => {
                let (group, topic) = (group_name(group), place.topic.name());
                let suspends = if suspend_ms > 0 { 2 } else { 0 };
                // Both take everything: by SQL92 each record is looked at.
                let (kind, text) = match filter {
                    Some(number) => {
                        let filter = FILTERS[usize::from(number)];
                        (filter.kind, filter.text)
                    }
                    None if from % 2 == 0 => ("TAG", "*"),
                    None => ("SQL92", EVERYTHING),
                };
                let request = PullRequest {
                    sys_flag: 4 | suspends | i32::from(commit.is_some()),
                    commit_offset: commit.unwrap_or(0) as i64,
                    suspend_timeout_ms: suspend_ms as i64,
                    subscription: Some(text),
                    expression_type: Some(kind),
                    ..plain_pull(&group, &topic, place.queue, from)
                };
                let head = head(request::PULL_MESSAGE);
                write_pull_request(&mut bytes, encoding, &head, &request);
            }
            Asked::Commit { group, place, offset } => {
                let (group, topic) = (group_name(group), place.topic.name());
                let (queue, offset) = (place.queue.to_string(), offset.to_string());
                let ext = [
                    ("consumerGroup", &*group),
                    ("topic", &*topic),
                    ("queueId", &*queue),
                    ("commitOffset", &*offset),
                ];
                plain(request::UPDATE_CONSUMER_OFFSET, &ext);
            }
            Asked::Query { group, place } => {
                let (group, topic) = (group_name(group), place.topic.name());
                let queue = place.queue.to_string();
                let ext = [
                    ("consumerGroup", &*group),
                    ("topic", &*topic),
                    ("queueId", &*queue),
                    ("setZeroIfNotFound", "false"),
                ];
                plain(request::QUERY_CONSUMER_OFFSET, &ext);
            }
            Asked::Find { key, wanted, place, between } => {
                let (topic, key) = (place.topic.name(), wanted.text(key));
                let is_unique = wanted == Wanted::Unique { is_said: true };
                let (begin, end) = (between.0.to_string(), between.1.to_string());
                let ext = [
                    ("topic", &*topic),
                    ("key", &*key),
                    ("maxNum", "64"),
                    ("beginTimestamp", &*begin),
                    ("endTimestamp", &*end),
                    ("_UNIQUE_KEY_QUERY", if is_unique { "true" } else { "false" }),
                ];
                plain(request::QUERY_MESSAGE, &ext);
            }
            Asked::View { place, position } => {
                let (topic, position) = (place.topic.name(), position.to_string());
                let ext = [("topic", &*topic), ("offset", &*position)];
                plain(request::VIEW_MESSAGE_BY_ID, &ext);
            }
            Asked::Search { place, time_ms, is_upper } => {
                let (topic, queue) = (place.topic.name(), place.queue.to_string());
                let time_ms = time_ms.to_string();
                let ext = [
                    ("topic", &*topic),
                    ("queueId", &*queue),
                    ("timestamp", &*time_ms),
                    ("boundaryType", if is_upper { "UPPER" } else { "LOWER" }),
                ];
                plain(request::SEARCH_OFFSET_BY_TIMESTAMP, &ext);
            }
            Asked::Lock { member, queues } => {
                let body = lock_body(member, |queue| queues & 1 << queue != 0);
                let head = head(request::LOCK_BATCH_MQ);
                write_request(&mut bytes, encoding, &head, Some(&[]), &body);
            }
            Asked::Unlock { member, queue } => {
                let body = lock_body(member, |it| it == queue);
                let head = head(request::UNLOCK_BATCH_MQ);
                write_request(&mut bytes, encoding, &head, Some(&[]), &body);
            }
            Asked::MakeGroup { group, retries } => {
                let group = group_name(group);
                let body = format!(r#"{{"groupName":"{group}","retryMaxTimes":{retries}}}"#);
                let head = head(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
                write_request(&mut bytes, encoding, &head, Some(&[]), body.as_bytes());
            }
            Asked::SendBack { item, place, position } => {
                let (group, position) = (group_name(item.group), position.to_string());
                let is_given_up = matches!(place.topic, Topic::Dead(_));
                let level = if is_given_up && item.times <= RETRIES_MAX { "-1" } else { "0" };
                let times = RETRIES_MAX.to_string();
                let ext = [
                    ("offset", &*position),
                    ("group", &*group),
                    ("delayLevel", level),
                    ("unitMode", "false"),
                    ("maxReconsumeTimes", &*times),
                ];
                // Others leave it to what their group has.
                let says = item.group != CONFIGURED_GROUP;
                plain(request::CONSUMER_SEND_MSG_BACK, &ext[..if says { 5 } else { 4 }]);
            }
            Asked::End { half, is_commit, from_check, .. } => {
                let (offset, position) = (half.offset.to_string(), half.position.to_string());
                let word = match is_commit {
                    true => sys_flag::TRANSACTION_COMMIT,
                    false => sys_flag::TRANSACTION_ROLLBACK,
                };
                let ext = [
                    ("producerGroup", PRODUCER_GROUP),
                    ("tranStateTableOffset", &*offset),
                    ("commitLogOffset", &*position),
                    ("commitOrRollback", &*word.to_string()),
                    ("fromTransactionCheck", if from_check { "true" } else { "false" }),
                    ("msgId", "id"),
                ];
                plain(request::END_TRANSACTION, &ext);
            }
            Asked::Produce => {
                let body = format!(
                    r#"{{"clientID":"sim","consumerDataSet":[],"producerDataSet":[{{"groupName":"{PRODUCER_GROUP}"}}]}}"#
                );
                let head = head(request::HEART_BEAT);
                write_request(&mut bytes, encoding, &head, Some(&[]), body.as_bytes());
            }
            Asked::MakeTopic { topic, queues } => {
                let (topic, queues) = (topic.name(), queues.to_string());
                let ext = [
                    ("topic", &*topic),
                    ("defaultTopic", "TBW102"),
                    ("readQueueNums", &*queues),
                    ("writeQueueNums", &*queues),
                    ("perm", "6"),
                    ("topicFilterType", "SINGLE_TAG"),
                    ("topicSysFlag", "0"),
                    ("order", "false"),
                ];
                plain(request::UPDATE_AND_CREATE_TOPIC, &ext);
            }
        }
        bytes
    }

    /// The bytes of commits of so many queues that nobody has, whose answers nobody wants.
    pub fn flood(&mut self, group: u8, count: u32) -> Vec<u8> {
        let (group, topic) = (group_name(group), Topic::Auto.name());
        let mut bytes = Vec::new();
        for queue in 0..count {
            self.opaque += 1;
            let queue = (FLOODED_QUEUES + queue).to_string();
            let ext = [
                ("consumerGroup", &*group),
                ("topic", &*topic),
                ("queueId", &*queue),
                ("commitOffset", &*queue),
            ];
            let (code, flag) = (request::UPDATE_CONSUMER_OFFSET, FLAG_ONEWAY);
            let head = RequestHead { code, opaque: self.opaque, flag };
            write_request(&mut bytes, self.encoding, &head, Some(&ext), b"");
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
    pub fn next_answer(&mut self) -> Result<Option<Answer>, String> {
        let (frame, size) = match scan(&self.received, FRAME_BYTES_MAX) {
            Ok(Scan::Frame { frame, size_bytes }) => (frame, size_bytes),
            Ok(Scan::Incomplete { .. }) => return Ok(None),
            Err(error) => return Err(format!("the broker wrote no frame: {error}")),
        };
        let command = Command::decode(&frame).map_err(|error| format!("an answer: {error}"))?;
        if !command.is_response() {
            let check = check_of(&command, frame.body)?;
            self.checks.push(check);
            self.received.drain(..size);
            return self.next_answer();
        }
        let opaque = command.opaque;
        let (asked, was_there) = self.asked.remove(&opaque).ok_or_else(|| {
            format!("an answer to {opaque}, which nobody asked or which was answered")
        })?;
        let answered = match (asked, command.code) {
            (Asked::Send { place, .. }, response::SUCCESS | response::FLUSH_DISK_TIMEOUT) => {
                let answer = SendAnswer::parse(&command).map_err(|error| error.to_string())?;
                if answer.queue_id != place.queue as i32 {
                    return Err(format!("{asked:?} went to queue {}", answer.queue_id));
                }
                let ids = answer.message_id.to_cow();
                let positions = ids.split(',').map(position_of).collect::<Result<_, _>>()?;
                let offset = answer.queue_offset as u64;
                let handle = answer.recall_handle.map(|handle| handle.to_cow().into_owned());
                let due_ms = handle.and_then(|handle| RecallHandle::decode(&handle)?.due_ms);
                let due_ms = due_ms.map(|due_ms| due_ms as u64);
                Answered::Stored { code: command.code, offset, positions, due_ms }
            }
            (Asked::Pull { place, .. }, 0 | 19 | 20 | 21) => {
                let answer = PullAnswer::parse(&command).map_err(|error| error.to_string())?;
                let next = answer.next_begin_offset as u64;
                let messages = records(place.topic, Some(place.queue), frame.body)?;
                Answered::Messages { code: command.code, messages, next }
            }
            (Asked::Find { place, .. }, code @ (response::SUCCESS | response::QUERY_NOT_FOUND)) => {
                let messages = records(place.topic, None, frame.body)?;
                Answered::Messages { code, messages, next: 0 }
            }
            (Asked::View { place, .. }, code @ response::SUCCESS) => {
                let messages = records(place.topic, None, frame.body)?;
                Answered::Messages { code, messages, next: 0 }
            }
            (Asked::Query { .. } | Asked::Search { .. }, response::SUCCESS) => {
                let offset = command.ext.get("offset").and_then(|it| it.parse_i64().ok());
                Answered::Offset(offset.ok_or("an answer without offset")? as u64)
            }
            (Asked::Lock { .. }, response::SUCCESS) => {
                let locked = LockBatchResponseBody::parse(frame.body);
                let locked = locked.map_err(|error| format!("what is locked: {error}"))?;
                let topic = Topic::Auto.name();
                let is_known = |it: &&MessageQueue| {
                    it.topic == topic && (0..AUTO_QUEUES as i32).contains(&it.queue_id)
                };
                if let Some(other) = locked.lock_ok_mq_set.iter().find(|it| !is_known(it)) {
                    return Err(format!("{other:?} is locked, which nobody wanted"));
                }
                let bits = locked.lock_ok_mq_set.iter().map(|it| 1 << it.queue_id);
                Answered::Locked { queues: bits.fold(0, |all, bit: u8| all | bit) }
            }
            (_, code) => {
                let remark = command.remark.as_ref().map(|text| text.to_cow());
                let is_unknown = remark.is_some_and(|text| text == "FLUSH_DISK_TIMEOUT");
                Answered::Code { code, is_unknown }
            }
        };
        self.received.drain(..size);
        Ok(Some(Answer { asked, was_there, answered }))
    }
}

/// The first of the queues that nobody has.
const FLOODED_QUEUES: u32 = 1_000;

/// `brokerName`.
pub const BROKER_NAME: &str = "sim";

/// What single messages are sent with.
const SEND: i32 = request::SEND_MESSAGE_V2;

fn send_request<'a>(
    topic: &'a str,
    place: Place,
    properties: &'a [u8],
    batch: bool,
) -> SendRequest<'a> {
    SendRequest {
        // Topics that are made by request are not made by a send.
        default_topic: if place.topic == Topic::Auto { "TBW102" } else { "NoSuchTopic" },
        default_topic_queue_count: 4,
        batch,
        ..plain_send("SimProducer", topic, place.queue, properties)
    }
}

/// True of every message that a client here makes.
const EVERYTHING: &str =
    "UNIQ_KEY IS NOT NULL AND nothing IS NULL AND (DELAY IS NULL OR DELAY < 99)";

fn properties_of(
    key: MessageKey,
    is_delayed: bool,
    timer_ms: Option<u64>,
    is_half: bool,
) -> Vec<u8> {
    let mut text = Vec::new();
    marks::append(&mut text, key);
    if is_half {
        properties::append(&mut text, name::TRAN_MSG, b"true");
        properties::append(&mut text, name::PGROUP, PRODUCER_GROUP.as_bytes());
        // Now and then one with a time of its own.
        if key.sequence.is_multiple_of(5) {
            properties::append(&mut text, name::CHECK_IMMUNITY_TIME_IN_SECONDS, b"1");
        }
    } else if let Some(timer_ms) = timer_ms {
        properties::append(&mut text, name::TIMER_DELAY_MS, timer_ms.to_string().as_bytes());
    } else if is_delayed {
        properties::append(&mut text, name::DELAY, b"1");
    }
    text
}

fn lock_body(member: u8, has: impl Fn(u32) -> bool) -> Vec<u8> {
    let topic = Topic::Auto.name();
    let queue = |queue: u32| MessageQueue::new(&topic, BROKER_NAME, queue as i32);
    let request = LockBatchRequestBody {
        client_id: format!("member-{member}"),
        consumer_group: group_name(ORDERLY_GROUP),
        mq_set: (0..AUTO_QUEUES).filter(|it| has(*it)).map(queue).collect(),
        only_this_broker: false,
    };
    let mut body = Vec::new();
    request.write(&mut body);
    body
}

fn batch_of(first: MessageKey, bodies: &[&[u8]]) -> Vec<u8> {
    let mut batch = Vec::new();
    for (sequence, body) in (first.sequence..).zip(bodies) {
        let key = MessageKey { sequence, ..first };
        let properties = properties_of(key, false, None, false);
        BatchRecord { flag: flag_of(key), body, properties: &properties }.encode(&mut batch);
    }
    batch
}

fn position_of(id: &str) -> Result<i64, String> {
    match OffsetMessageId::decode(id.as_bytes()) {
        Ok(id) => Ok(id.position.to_i64()),
        Err(error) => Err(format!("the message id {id}: {error}")),
    }
}

/// The messages of an answer, all of one topic, and of one queue if it is given.
fn records(topic: Topic, queue: Option<u32>, mut body: &[u8]) -> Result<Vec<Found>, String> {
    let is_schedule = matches!(topic, Topic::Schedule | Topic::Wheel);
    let is_internal = Place { topic, queue: 0 }.is_internal();
    let mut messages = Vec::new();
    while !body.is_empty() {
        let (record, size) =
            Record::decode(body).map_err(|error| format!("messages of an answer: {error}"))?;
        if !record.is_body_intact() {
            return Err("an answer holds a body with a wrong checksum".to_owned());
        }
        let fields = record.fields();
        // A delayed message's record has its level.
        let queue = queue.map(|queue| if is_schedule { 0 } else { queue as i32 });
        let is_elsewhere = queue.is_some_and(|queue| queue != fields.queue_id);
        if fields.topic != topic.name().as_bytes() || is_elsewhere {
            let found = String::from_utf8_lossy(fields.topic);
            let queue = fields.queue_id;
            return Err(format!("{} gives a message of {found} queue {queue}", topic.name()));
        }
        messages.push(Found {
            offset: fields.queue_offset as u64,
            position: fields.physic_offset,
            size_bytes: size as u32,
            stored_ms: fields.store_timestamp as u64,
            times: fields.reconsume_times as u32,
            flag: fields.flag,
            meant_for: if is_internal { meant_for(fields.properties) } else { None },
            checks: checks_of(fields.properties),
            prepared: fields.prepared_transaction_offset,
            due_ms: number(fields.properties, name::TIMER_OUT_MS).map(|out_ms| out_ms + 1),
            fired_ms: number(fields.properties, name::TIMER_DEQUEUE_MS),
            body: fields.body.to_vec(),
        });
        body = &body[size..];
    }
    Ok(messages)
}

fn number(text: &[u8], name: &str) -> Option<u64> {
    properties::find(text, name).and_then(proto::text::parse_i64).map(|number| number as u64)
}

fn meant_for(text: &[u8]) -> Option<(String, u32)> {
    let text_of = |name| Some(std::str::from_utf8(properties::find(text, name)?).ok()?.to_owned());
    Some((text_of(name::REAL_TOPIC)?, text_of(name::REAL_QID)?.parse().ok()?))
}

fn checks_of(text: &[u8]) -> u32 {
    let value = properties::find(text, name::TRANSACTION_CHECK_TIMES);
    value.and_then(proto::text::parse_i64).map_or(0, |checks| checks as u32)
}

fn check_of(command: &Command<'_>, body: &[u8]) -> Result<Check, String> {
    let number = |key| command.ext.get(key).and_then(|it| it.parse_i64().ok());
    let (record, size) =
        Record::decode(body).map_err(|error| format!("what a producer is asked: {error}"))?;
    let fields = record.fields();
    let (offset, position) = (number("tranStateTableOffset"), number("commitLogOffset"));
    let is_whole = command.code == request::CHECK_TRANSACTION_STATE
        && size == body.len()
        && record.is_body_intact()
        && offset == Some(fields.queue_offset)
        && position == Some(fields.physic_offset)
        && properties::find(fields.properties, name::PGROUP) == Some(PRODUCER_GROUP.as_bytes());
    if !is_whole {
        return Err(format!("a producer is asked {} at {offset:?} {position:?}", command.code));
    }
    let key = key_of(fields.body).ok_or("a producer is asked for a message of nobody")?;
    let half = Stored { offset: fields.queue_offset as u64, position: fields.physic_offset };
    Ok(Check { item: Item::sent(key), half, checks: checks_of(fields.properties) })
}
