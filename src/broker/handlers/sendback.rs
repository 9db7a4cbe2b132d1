//! Send-back: 36 CONSUMER_SEND_MSG_BACK, a message that a consumer could not use comes again later or
//! becomes a dead letter.
//! Kind: machine
//!
//! Source: AbstractSendMessageProcessor.consumerSendMsgBack of 5.3.3.

use engine::consumequeue::QueueKey;
use engine::shard::{Lookup, NewMessage, SCHEDULE_TOPIC_INCARNATION};
use proto::code::{request, response};
use proto::command::{Command, FLAG_ONEWAY};
use proto::header::SendBackHeader;
use proto::ids::{OffsetMessageId, Position};
use proto::limits::PROPERTIES_BYTES_MAX;
use proto::names::{self, perm};
use proto::properties::{self, name};
use proto::record::Record;
use proto::reply::{RequestHead, write_request};
use proto::version;
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, answer, here};
use super::super::limits::PARKED_REQUESTS_MAX;
use super::super::parked::Request;
use super::super::{Asker, Broker, Onward, Refusal};
use super::send::delay_properties;
use super::timer::TIMES;
use crate::net::outbox::Outboxes;
use crate::router::Origin;
use crate::router::exchange::CROSSINGS_MAX;

/// A send-back that was checked.
#[derive(Clone, Debug)]
pub(in crate::broker) struct SendBack {
    position: Position,
    group: String,
    delay_level: i32,
    max_reconsume_times: i32,
    /// `retryQueueNums` of the group, from 1 on.
    retry_queues: i32,
}

impl Broker {
    pub(in crate::broker) fn send_back(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = SendBackHeader::parse(command)?;
        let group = header.group.to_cow().into_owned();
        let Some(rules) = self.ensure_group(now, &group)? else {
            return Err(Refusal::new(
                response::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("subscription group not exist, {group}"),
            )
            .into());
        };
        if !perm::writable(self.settings.permission) {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the broker[{}] sending message is forbidden", self.settings.advertised),
            )
            .into());
        }
        if rules.retry_queue_nums <= 0 {
            answer(asker, response::SUCCESS, None, None, &[], outboxes);
            return Ok(());
        }
        let retry_topic = names::retry_topic(&group);
        self.ensure_group_topic(now, &retry_topic, rules.retry_queue_nums)?;
        let made = self.catalog.topic(&retry_topic);
        if made.is_some_and(|topic| !perm::writable(topic.config.perm)) {
            let remark = format!("the topic[{retry_topic}] sending message is forbidden");
            return Err(Refusal::new(response::NO_PERMISSION, remark).into());
        }
        let asked_max = header.max_reconsume_times.filter(|_| asker.version >= version::V3_4_9);
        let Some(position) = Position::from_i64(header.offset) else {
            return Err(not_found(header.offset));
        };
        let send_back = SendBack {
            position,
            group,
            delay_level: header.delay_level,
            max_reconsume_times: asked_max.unwrap_or(rules.retry_max_times),
            retry_queues: rules.retry_queue_nums,
        };
        if asker.has_record {
            // The owner of the message read it; here is the queue that it comes to.
            return self.append_send_back(now, asker, &send_back, body);
        }
        if let Err(elsewhere) = here(self.router.of_position(position)) {
            self.check_copied(&retry_topic)?;
            return Err(elsewhere);
        }
        self.try_or_park(now, asker, Request::SendBack(send_back), outboxes)
    }

    /// `false`: the message is being read.
    pub(in crate::broker) fn try_send_back(
        &mut self,
        now: Now,
        asker: &Asker,
        send_back: &SendBack,
    ) -> Result<bool, Stop> {
        let wire = send_back.position.to_i64();
        let owner = here(self.router.of_position(send_back.position))?;
        let mut record = std::mem::take(&mut self.scratch.record);
        record.clear();
        let offset = send_back.position.offset().bytes();
        let found = match self.shards[owner].lookup(offset, &mut record) {
            Lookup::Found => {
                let appended = match self.append_send_back(now, asker, send_back, &record) {
                    Err(Stop::Elsewhere(core)) => self.hand_on(core, asker, send_back, &record),
                    appended => appended,
                };
                appended.map(|()| true)
            }
            Lookup::Cold => Ok(false),
            Lookup::None => Err(not_found(wire)),
            Lookup::Failed(reason) => Err(Refusal::unreadable("the message", &reason).into()),
        };
        self.scratch.record = record;
        found
    }

    /// Sends the message, as it was read here, on to the core of the queue that it comes to.
    fn hand_on(
        &mut self,
        core: usize,
        asker: &Asker,
        send_back: &SendBack,
        record: &[u8],
    ) -> Handled {
        if asker.crossings >= CROSSINGS_MAX {
            return Err(Stop::Elsewhere(core));
        }
        if self.onward.len() >= PARKED_REQUESTS_MAX {
            return Err(Stop::Wait);
        }
        let head = RequestHead {
            code: request::CONSUMER_SEND_MSG_BACK,
            opaque: asker.opaque,
            flag: if asker.is_oneway { FLAG_ONEWAY } else { 0 },
        };
        let ext = [
            ("offset", &*send_back.position.to_i64().to_string()),
            ("group", &*send_back.group),
            ("delayLevel", &*send_back.delay_level.to_string()),
            ("maxReconsumeTimes", &*send_back.max_reconsume_times.to_string()),
        ];
        let mut bytes = Vec::new();
        write_request(&mut bytes, asker.encoding, &head, Some(&ext), record);
        let Asker { connection, peer, crossings, .. } = *asker;
        self.onward.push_back(Onward {
            core,
            origin: Origin { connection, peer, crossings, has_record: true },
            bytes,
        });
        Ok(())
    }

    fn append_send_back(
        &mut self,
        now: Now,
        asker: &Asker,
        send_back: &SendBack,
        record: &[u8],
    ) -> Handled {
        let Ok((message, _)) = Record::decode(record) else {
            return Err(not_found(send_back.position.to_i64()));
        };
        let fields = *message.fields();
        let retry_topic = names::retry_topic(&send_back.group);
        let mut text = fields.properties.to_vec();
        if properties::find(&text, name::RETRY_TOPIC).is_none() {
            properties::set(&mut text, name::RETRY_TOPIC, fields.topic);
        }
        properties::set(&mut text, name::WAIT, b"false");
        if properties::find(&text, name::ORIGIN_MESSAGE_ID).is_none() {
            let id =
                OffsetMessageId { host: fields.store_host, position: send_back.position }.encode();
            properties::set(&mut text, name::ORIGIN_MESSAGE_ID, id.as_bytes());
        }
        properties::remove_all(&mut text, &TIMES);
        let is_dead =
            send_back.delay_level < 0 || fields.reconsume_times >= send_back.max_reconsume_times;
        let (topic, queue, place) = if is_dead {
            properties::set(&mut text, name::DELAY, b"0");
            self.dead_letter_queue(now, &retry_topic)?
        } else {
            let (queue_id, place) = self.retry_queue(&retry_topic, send_back)?;
            let level = match send_back.delay_level {
                0 => 3 + i64::from(fields.reconsume_times),
                level => i64::from(level),
            };
            let levels = self.settings.delay_levels_ms.len();
            // A producer may have said any number of times, one below 0 among them.
            let level = usize::try_from(level.max(1)).map_or(levels, |level| level.min(levels));
            properties::set(&mut text, name::DELAY, level.to_string().as_bytes());
            delay_properties(&mut text, level, level as i64, &retry_topic, queue_id);
            let queue = QueueKey { topic: SCHEDULE_TOPIC_INCARNATION, queue: level as u32 - 1 };
            (names::SCHEDULE_TOPIC.to_owned(), queue, place)
        };
        if text.len() > PROPERTIES_BYTES_MAX {
            return Err(self.too_large(&format!("properties of {} bytes", text.len())));
        }
        let again = NewMessage {
            reconsume_times: fields.reconsume_times.saturating_add(1),
            ..NewMessage::again(&fields, (&topic, queue), self.settings.advertised, &text)
        };
        let ticket = (!asker.is_oneway).then(|| asker.ticket(super::form::PLAIN));
        self.shards[place].append_message(now.wall_ms, &again, ticket)?;
        Ok(())
    }

    /// The queue of the group's retry topic that a message sent back comes to when its time has come, and the
    /// place of its shard. RocketMQ takes any; here every core takes the same for the same message, and none
    /// that the topic does not have.
    fn retry_queue(
        &mut self,
        retry_topic: &str,
        send_back: &SendBack,
    ) -> Result<(i32, usize), Stop> {
        let Some(topic) = self.catalog.topic(retry_topic) else {
            return Err(Refusal::no_topic(retry_topic, self.settings.advertised).into());
        };
        let queues = send_back.retry_queues.min(topic.config.write_queue_nums).max(1);
        // Positions are multiples of eight, and equal messages are equally far from each other.
        let mixed = (send_back.position.to_i64() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let queue = (mixed % queues as u64) as u32;
        let (key, placement) = (QueueKey { topic: topic.incarnation, queue }, topic.placement);
        Ok((queue as i32, self.place_to_append(key, placement)?))
    }
}

fn not_found(offset: i64) -> Stop {
    Refusal::new(response::SYSTEM_ERROR, format!("look message by offset failed, {offset}")).into()
}
