//! Query: 12 messages by key, 33 one by its position, 321 entries of a ConsumeQueue.
//! Kind: machine
//!
//! Source: QueryMessageProcessor and AdminBrokerProcessor.queryConsumeQueue of 5.3.3.

use engine::consumequeue::{QueueEntry, QueueKey};
use engine::shard::{EntriesRead, KeyQuery, Lookup};
use proto::body::{ConsumeQueueData, QueryConsumeQueueResponseBody, SubscriptionData};
use proto::code::response;
use proto::command::Command;
use proto::dialect::{Style, Writer};
use proto::header::{QueryConsumeQueueHeader, QueryMessageHeader, ViewMessageHeader};
use proto::ids::{LogOffset, Position};
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, answer, answer_body, here};
use super::super::limits::{ENTRIES_PER_ANSWER_MAX, QUERY_BYTES_MAX};
use super::super::membership::Subscription;
use super::super::parked::Request;
use super::super::queries::answer_nothing_found;
use super::super::{Asker, Broker, Refusal};
use crate::net::outbox::Outboxes;

/// A position whose message is wanted.
#[derive(Clone, Copy, Debug)]
pub(in crate::broker) struct ViewQuestion {
    position: Position,
}

/// Entries that are wanted of a queue of a shard, by its place.
#[derive(Clone, Debug)]
pub(in crate::broker) struct EntriesQuestion {
    place: usize,
    queue: QueueKey,
    to: u64,
    /// Those read so far.
    entries: Vec<QueueEntry>,
    /// Where to go on.
    next: u64,
    /// What else is answered.
    body: QueryConsumeQueueResponseBody,
}

impl Broker {
    pub(in crate::broker) fn query_message(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = QueryMessageHeader::parse(command)?;
        let (begin, end) = (u64::try_from(header.begin_ms), u64::try_from(header.end_ms));
        let asked = usize::try_from(header.count_max).unwrap_or(0);
        let asked = match header.is_unique_key {
            true => self.settings.unique_query_messages_max,
            false => asked,
        };
        let topic = self.catalog.topic(&header.topic.to_cow()).map(|topic| topic.incarnation);
        // What is before 1970 begins with it; what ends before is never.
        let (Some(topic), Ok(end_ms), 1..) = (topic, end, asked) else {
            answer_nothing_found(asker, outboxes);
            return Ok(());
        };
        let query = KeyQuery {
            topic,
            key: header.key.to_cow().as_bytes().to_vec(),
            begin_ms: begin.unwrap_or(0),
            end_ms,
            count_max: asked.min(self.settings.query_messages_max),
            bytes_max: QUERY_BYTES_MAX,
        };
        self.ask_by_key(asker, query)
    }

    pub(in crate::broker) fn view_message(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = ViewMessageHeader::parse(command)?;
        let position = Position::from_i64(header.offset);
        let position = position.ok_or_else(|| no_message(header.offset))?;
        if usize::from(position.shard().0) >= self.router.shard_count() {
            return Err(no_message(header.offset));
        }
        here(self.router.of_position(position))?;
        self.try_or_park(now, asker, Request::View(ViewQuestion { position }), outboxes)
    }

    /// `false`: the message is being read.
    pub(in crate::broker) fn try_view(
        &mut self,
        asker: &Asker,
        question: &ViewQuestion,
        outboxes: &mut Outboxes,
    ) -> Result<bool, Stop> {
        let owner = here(self.router.of_position(question.position))?;
        let mut record = std::mem::take(&mut self.scratch.record);
        record.clear();
        let looked = self.shards[owner].lookup(question.position.offset().bytes(), &mut record);
        if looked == Lookup::Found {
            answer(asker, response::SUCCESS, None, None, &record, outboxes);
        }
        self.scratch.record = record;
        match looked {
            Lookup::Found => Ok(true),
            Lookup::Cold => Ok(false),
            Lookup::None => Err(no_message(question.position.to_i64())),
            Lookup::Failed(reason) => Err(Refusal::unreadable("the message", &reason).into()),
        }
    }

    pub(in crate::broker) fn query_consume_queue(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = QueryConsumeQueueHeader::parse(command)?;
        let topic = header.topic.to_cow();
        let found = self.queue_here(&topic, header.queue_id)?;
        let bounds = |(place, queue): (usize, QueueKey)| {
            let (min, max) = self.shards[place].queues().bounds(queue)?;
            Some((place, queue, min, max))
        };
        let Some((place, queue, min, max)) = found.and_then(bounds) else {
            let remark = format!("{}@{topic} is not exist!", header.queue_id);
            return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        };
        let from = u64::try_from(header.index).ok().filter(|from| (min..max).contains(from));
        let Some(from) = from else {
            // Code 0 without a body, as there.
            let (index, id) = (header.index, header.queue_id);
            let remark = format!("Index {index} of {id}@{topic} is not exist!");
            answer(asker, response::SUCCESS, Some(&remark), None, &[], outboxes);
            return Ok(());
        };
        let mut body = QueryConsumeQueueResponseBody {
            max_queue_index: max as i64,
            min_queue_index: min as i64,
            ..<_>::default()
        };
        if let Some(group) = header.consumer_group.map(|group| group.to_cow()) {
            let wants = self.copies.wants(&group);
            let subscription = wants.and_then(|wants| wants.subscription(&topic));
            body.subscription_data = subscription.map(|it| it.data.clone());
            body.filter_data = Some(match subscription {
                Some(subscription) => filter_data(&group, subscription),
                None => format!("{group}@{topic} is not online!"),
            });
        }
        let count = u64::try_from(header.count).unwrap_or(0).min(ENTRIES_PER_ANSWER_MAX);
        let to = from.saturating_add(count).min(max);
        let entries = Vec::new();
        let question = EntriesQuestion { place, queue, to, entries, next: from, body };
        self.try_or_park(now, asker, Request::Entries(Box::new(question)), outboxes)
    }

    /// `false`: entries are being read.
    pub(in crate::broker) fn try_entries(
        &mut self,
        asker: &Asker,
        question: &mut EntriesQuestion,
        outboxes: &mut Outboxes,
    ) -> Result<bool, Stop> {
        let shard = &mut self.shards[question.place];
        let EntriesQuestion { queue, to, entries, next, .. } = question;
        match shard.read_entries(*queue, next, *to, entries) {
            EntriesRead::All => {}
            EntriesRead::Cold => return Ok(false),
            EntriesRead::Failed(reason) => {
                return Err(Refusal::unreadable("the queue", &reason).into());
            }
        }
        let index = shard.index();
        let data = question.entries.iter().map(|entry| {
            let offset = LogOffset::new(entry.payload).expect("the log stays below 2^55");
            let is_gone = entry.size_bytes == 0;
            ConsumeQueueData {
                physic_offset: Position::new(index, offset).to_i64(),
                physic_size: i32::try_from(entry.size_bytes).unwrap_or(i32::MAX),
                tags_code: i64::from(entry.tag),
                msg: is_gone.then(|| "the message was damaged on disk and is gone".to_owned()),
                ..<_>::default()
            }
        });
        question.body.queue_data = data.collect();
        answer_body(asker, |body| question.body.write(body), outboxes)?;
        Ok(true)
    }
}

fn no_message(offset: i64) -> Stop {
    let remark = format!("can not find message by the offset, {offset}");
    Refusal::new(response::SYSTEM_ERROR, remark).into()
}

/// What fastjson prints, prettily, of a group's filter: one of SQL, of tags Java's null (`ConsumerFilterData`;
/// there are no Bloom filters here, and nobody keeps when it was made or would die).
fn filter_data(group: &str, subscription: &Subscription) -> String {
    let Some(compiled) = subscription.compiled() else { return "null".to_owned() };
    let text = |text: &str| {
        let mut json = Vec::new();
        Writer::new(&mut json, Style::Plain).text(text);
        String::from_utf8_lossy(&json).into_owned()
    };
    let SubscriptionData { topic, expression_type, .. } = &subscription.data;
    let (group, topic) = (text(group), text(topic));
    let (expression, kind) = (text(compiled.filter.text()), text(expression_type));
    let version = compiled.version;
    format!(
        "{{\n\t\"clientVersion\":{version},\n\t\"consumerGroup\":{group},\n\t\"dead\":false,\n\t\"deadTime\":0,\n\t\"expression\":{expression},\n\t\"expressionType\":{kind},\n\t\"topic\":{topic}\n}}"
    )
}
