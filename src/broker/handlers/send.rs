//! Sends: 10 SEND_MESSAGE, 310 SEND_MESSAGE_V2, 320 SEND_BATCH_MESSAGE.
//! Kind: machine
//!
//! Order of checks and codes: SendMessageProcessor, HookUtils and MessageExtEncoder of 5.3.3.

mod made;

use engine::catalog::SendTarget;
use engine::consumequeue::QueueKey;
use engine::shard::{FoundBy, NewMessage, SCHEDULE_TOPIC_INCARNATION, TIMER_QUEUE, Transactions};
use engine::ticket::Ticket;
pub(in crate::broker) use made::delay_properties;
use made::{Half, is_true, parse_delay};
use proto::batch::BatchRecords;
use proto::code::response;
use proto::header::{HeaderError, SendHeader};
use proto::limits::{PROPERTIES_BYTES_MAX, TOPIC_BYTES_MAX};
use proto::names::{self, perm};
use proto::properties::{self, WellKnown, name};
use proto::record::sys_flag::TRANSACTION_MASK;
use proto::reply::{SendReply, write_send_response};
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, flow_of};
use super::super::{Asker, Broker, Flow, Refusal};
use super::form;
use super::timer::Timed;
use crate::net::outbox::Outboxes;
use crate::observe::MessageType;
use crate::router::Owner;

impl Broker {
    pub(in crate::broker) fn send(
        &mut self,
        now: Now,
        asker: &Asker,
        header: Result<&SendHeader<'_>, &HeaderError>,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Flow {
        let header = header.map_err(|error| Stop::from(error.clone()));
        let handled = header.and_then(|header| self.try_send(now, asker, header, body));
        flow_of(asker, handled).unwrap_or_else(|refusal| {
            self.refuse_send(asker, &refusal, outboxes);
            Flow::Done
        })
    }

    /// A failed send carries the region and the trace switch too, which clients read.
    pub(super) fn refuse_send(
        &mut self,
        asker: &Asker,
        refusal: &Refusal,
        outboxes: &mut Outboxes,
    ) {
        self.tally.refused(refusal.code);
        if asker.is_oneway {
            return;
        }
        let Some(outbox) = outboxes.of(asker.connection) else { return };
        let reply = SendReply {
            opaque: asker.opaque,
            code: refusal.code,
            remark: Some(&refusal.remark),
            stored: None,
            region: &self.settings.region_id,
            trace_on: self.settings.trace_on,
        };
        write_send_response(outbox.bytes(), asker.encoding, &reply);
    }

    pub(super) fn try_send(
        &mut self,
        now: Now,
        asker: &Asker,
        header: &SendHeader<'_>,
        body: &[u8],
    ) -> Handled {
        let topic = header.topic.to_cow();
        // Before anything is made for it.
        check_takes_messages(&topic)?;
        let target = match self.catalog.send_target(&topic) {
            // A retry topic may be longer; only messages sent back come there.
            Some(_) if topic.len() > TOPIC_BYTES_MAX => {
                let error = names::TopicNameError::TooLong;
                return Err(Refusal::new(response::INVALID_PARAMETER, error.to_string()).into());
            }
            Some(found) => found,
            None => {
                let default = header.default_topic.to_cow();
                let count = header.default_topic_queue_count;
                self.ensure_topic_for_send(now, &topic, &default, count)?;
                self.catalog.send_target(&topic).expect("made sure above")
            }
        };
        if target.is_ordered && !perm::writable(self.settings.permission) {
            let ip = self.settings.advertised.ip();
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the broker[{ip}] sending message is forbidden"),
            )
            .into());
        }
        let queue = self.choose_queue(asker, header, &topic, &target)?;
        if self.is_dead_letter(now, header, &topic)? {
            let (_, _, place) = self.dead_letter_queue(now, &topic)?;
            return self.send_single(now, asker, header, &topic, (place, queue), true, body);
        }
        let place = self.place_to_append(queue, target.placement)?;
        self.shards[place].prefetch(queue);
        let flagged;
        let mut header = header;
        if target.has_multi_tags {
            let sys_flag = header.sys_flag | proto::record::sys_flag::MULTI_TAGS;
            flagged = SendHeader { sys_flag, ..*header };
            header = &flagged;
        }
        if header.batch {
            return self.send_batch(now, asker, header, &topic, (place, queue), body);
        }
        self.send_single(now, asker, header, &topic, (place, queue), false, body)
    }

    /// Whether a topic that is there has the queue that is asked for.
    pub(super) fn check_queue(
        &mut self,
        asker: &Asker,
        header: &SendHeader<'_>,
        topic: &str,
    ) -> Result<(), Stop> {
        let target = self.catalog.send_target(topic).expect("made sure before");
        self.choose_queue(asker, header, topic, &target).map(drop)
    }

    /// The queue that is asked for.
    fn choose_queue(
        &mut self,
        asker: &Asker,
        header: &SendHeader<'_>,
        topic: &str,
        target: &SendTarget,
    ) -> Result<QueueKey, Stop> {
        let count = target.write_queue_count.max(target.read_queue_count);
        if header.queue_id >= count {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!(
                    "request queueId[{}] is illegal, topicConfig=[{topic}], readQueueNums[{}], writeQueueNums[{}], producer: {}",
                    header.queue_id, target.read_queue_count, target.write_queue_count, asker.peer
                ),
            )
            .into());
        }
        let queue = u32::try_from(header.queue_id)
            .unwrap_or_else(|_| self.any_queue(target, asker.crossings > 0));
        Ok(QueueKey { topic: target.incarnation, queue })
    }

    /// One queue after the other; for a send that came for one of this core's, one of these.
    fn any_queue(&mut self, target: &SendTarget, is_here: bool) -> u32 {
        let count = u32::try_from(target.write_queue_count).unwrap_or(0).max(1);
        self.queue_choice = self.queue_choice.wrapping_add(1);
        let first = (self.queue_choice % u64::from(count)) as u32;
        let mut choices = (first..count).chain(0..first);
        let own = choices.find(|queue| {
            let owner = self.router.of_queue(target.placement, *queue);
            !is_here || matches!(owner, Owner::Here(_))
        });
        own.unwrap_or(first)
    }

    #[allow(clippy::too_many_arguments, reason = "what a send is made of, each used once")]
    fn send_single(
        &mut self,
        now: Now,
        asker: &Asker,
        header: &SendHeader<'_>,
        topic: &str,
        (place, queue): (usize, QueueKey),
        is_dead_letter: bool,
        body: &[u8],
    ) -> Handled {
        self.check_body(body)?;
        let queue_id = queue.queue as i32;
        let mut text = std::mem::take(&mut self.scratch.properties);
        text.clear();
        let made = self.make_properties(now, header, topic, (queue_id, is_dead_letter), &mut text);
        let stored = made.and_then(|made| {
            // A type is what the proxy takes it for: a delay comes before a key of order.
            let is_late = made.delay_level.is_some() || made.timed.is_some();
            let expected = if is_late { MessageType::Delay } else { made.kind };
            self.check_message_type(topic, expected)?;
            let form = if made.timed.is_some() { form::SEND_TIMER } else { form::SEND };
            let ticket = self.send_ticket(asker, form, queue);
            let mut target = (std::borrow::Cow::Borrowed(topic), queue);
            if made.half.is_some() {
                let half_queue = Transactions::half_queue(self.shards[place].index().0);
                target = (names::TRANS_HALF_TOPIC.into(), half_queue);
            } else if let Some(level) = made.delay_level {
                let schedule =
                    QueueKey { topic: SCHEDULE_TOPIC_INCARNATION, queue: level as u32 - 1 };
                target = (names::SCHEDULE_TOPIC.into(), schedule);
            } else if made.timed.is_some() {
                target = (names::WHEEL_TIMER_TOPIC.into(), TIMER_QUEUE);
            } else if is_dead_letter {
                let (name, queue, _) = self.dead_letter_queue(now, topic)?;
                target = (name.into(), queue);
            }
            let message = NewMessage {
                queue: target.1,
                topic: target.0.as_bytes(),
                flag: header.flag,
                sys_flag: header.sys_flag & !TRANSACTION_MASK,
                born_timestamp: header.born_timestamp,
                born_host: asker.peer,
                store_host: self.settings.advertised,
                reconsume_times: header.reconsume_times,
                prepared_transaction_offset: 0,
                body,
                body_crc: None,
                properties: &text,
                found_by: made.found_by,
            };
            let counted = if made.half.is_some() { message.queue } else { queue };
            match (made.half, made.timed) {
                (Some(Half { own_ms }), _) => {
                    self.shards[place].append_half(now.wall_ms, &message, own_ms, ticket)?;
                }
                (None, Some(timed)) => {
                    self.send_timer(now, place, &message, (topic, timed), ticket)?;
                }
                (None, None) => {
                    self.shards[place].append_message(now.wall_ms, &message, ticket)?;
                }
            }
            self.tally.came_in(counted.topic, made.kind, 1, message.record_bytes());
            self.is_stored(now, queue, ticket);
            Ok(())
        });
        self.scratch.properties = text;
        stored
    }

    /// Whom to answer for a send to a queue, if anybody waits for it.
    fn send_ticket(&self, asker: &Asker, form: u8, queue: QueueKey) -> Option<Ticket> {
        let is_first = self.announcements.is_first_send(queue.topic);
        let form = if is_first { form | form::WHEN_ANNOUNCED } else { form };
        let ticket = Ticket { queue_id: queue.queue as i32, ..asker.ticket(form) };
        (!asker.is_oneway).then_some(ticket)
    }

    /// The send of a ticket was appended.
    fn is_stored(&mut self, now: Now, queue: QueueKey, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket.filter(form::is_when_announced) {
            self.announcements.keep_first_send(now, queue.topic, &ticket);
        }
    }

    /// Appends a message that waits for its time in the shard of its queue.
    fn send_timer(
        &mut self,
        now: Now,
        place: usize,
        message: &NewMessage<'_>,
        (topic, timed): (&str, Timed),
        ticket: Option<Ticket>,
    ) -> Handled {
        self.check_timer(place, timed.due_ms)?;
        if timed.is_cancel {
            let name = properties::find(message.properties, name::TIMER_DEL_UNIQKEY);
            let recalled = self.shards[place].append_recalling_timer(
                now.wall_ms,
                message,
                timed.due_ms,
                name.unwrap_or_default(),
                ticket,
            )?;
            self.not_recalled(recalled)?;
        } else {
            self.shards[place].append_timer(now.wall_ms, message, timed.due_ms, ticket)?;
        }
        self.tally.timer_came_in();
        if let Some(ticket) = ticket {
            let (start, len) = message.found_by.unique_key;
            let key = &message.properties[start..start + len];
            let handle = self.recall_handle(topic, ticket.queue_id, timed.due_ms, key);
            self.batch_keys[place].push_back(handle);
        }
        Ok(())
    }

    fn check_body(&self, body: &[u8]) -> Result<(), Stop> {
        if body.is_empty() {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                "the request has no body, and a message needs one",
            )
            .into());
        }
        if body.len() > self.settings.message_bytes_max {
            return Err(self.too_large(&format!("body of {} bytes", body.len())));
        }
        Ok(())
    }

    pub(super) fn too_large(&self, what: &str) -> Stop {
        illegal(format!(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit {}B, msg properties length limit 32KB. ({what})",
            self.settings.message_bytes_max
        ))
    }

    /// Whether a send to a retry topic has been retried too often (`handleRetryAndDLQ`).
    fn is_dead_letter(
        &mut self,
        now: Now,
        header: &SendHeader<'_>,
        topic: &str,
    ) -> Result<bool, Stop> {
        let Some(group) = names::group_of_retry_topic(topic) else { return Ok(false) };
        let Some(rules) = self.ensure_group(now, group)? else {
            return Err(Refusal::new(
                response::SUBSCRIPTION_GROUP_NOT_EXIST,
                format!("subscription group not exist, {group}"),
            )
            .into());
        };
        let max = header.max_reconsume_times.unwrap_or(rules.retry_max_times);
        // A consumer in order that sends to its retry topic has given up.
        let gave_up = self.copies.is_locked(now.monotonic_ms(), group);
        Ok(header.reconsume_times > max || gave_up)
    }

    /// Queue 0 of the dead-letter topic that belongs to a retry topic, and the place of its shard here.
    pub(in crate::broker) fn dead_letter_queue(
        &mut self,
        now: Now,
        retry_topic: &str,
    ) -> Result<(String, QueueKey, usize), Stop> {
        let group = names::group_of_retry_topic(retry_topic).unwrap_or(retry_topic);
        let name = names::dlq_topic(group);
        self.ensure_group_topic(now, &name, 1)?;
        let topic = self.catalog.topic(&name).expect("made sure above");
        let (incarnation, placement) = (topic.incarnation, topic.placement);
        let queue = QueueKey { topic: incarnation, queue: 0 };
        let place = self.place_to_append(queue, placement)?;
        Ok((name, queue, place))
    }

    fn send_batch(
        &mut self,
        now: Now,
        asker: &Asker,
        header: &SendHeader<'_>,
        topic: &str,
        (owner, queue): (usize, QueueKey),
        body: &[u8],
    ) -> Handled {
        self.check_body(body)?;
        if names::is_retry_topic(topic) {
            return Err(illegal(format!("batch request does not support retry group {topic}")));
        }
        let mut common = Vec::new();
        let known = WellKnown::unescape(header.properties, &mut common)
            .map_err(|error| illegal(format!("the properties are not text: {error}")))?;
        if header.sys_flag & TRANSACTION_MASK != 0
            || known.transaction.is_some_and(|it| is_true(it, &common))
        {
            return Err(illegal("a batch cannot be a transaction".to_owned()));
        }
        let delay = known.delay.map(|delay| parse_delay(delay.value(&common))).transpose()?;
        if delay.unwrap_or(0) > 0 || known.timer.is_some() {
            return Err(illegal("a batch cannot be delayed".to_owned()));
        }
        // A 5.x client puts a UNIQ_KEY of the whole batch here. Appended to each record, as Apache
        // does, it would hide the record's own key, and no query would find the ids clients show.
        let batch_key = known.unique_key.map(|key| key.value(&common).to_vec());
        properties::remove_all(&mut common, &[name::UNIQ_KEY, name::POP_CK]);
        properties::terminate(&mut common);
        self.append_own_properties(&mut common);
        let records = BatchRecords::new(body);
        let count = records.count_checked().map_err(|error| illegal(error.to_string()))?;
        assert!(count > 0, "a body that is not empty holds a message, or is no batch");
        let mut texts = Vec::with_capacity(count);
        for record in BatchRecords::new(body) {
            let record = record.map_err(|error| illegal(error.to_string()))?;
            let mut text = record.properties.to_vec();
            properties::terminate(&mut text);
            text.extend_from_slice(&common);
            if text.len() > PROPERTIES_BYTES_MAX {
                return Err(self.too_large(&format!("properties of {} bytes", text.len())));
            }
            texts.push((record.flag, record.body, text));
        }
        let messages: Vec<_> = texts
            .iter()
            .map(|(flag, body, text)| NewMessage {
                queue,
                topic: topic.as_bytes(),
                flag: *flag,
                sys_flag: header.sys_flag,
                born_timestamp: header.born_timestamp,
                born_host: asker.peer,
                store_host: self.settings.advertised,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body,
                body_crc: None,
                properties: text,
                found_by: FoundBy::read(text),
            })
            .collect();
        let kind = known.sharding_key.map_or(MessageType::Normal, |_| MessageType::Fifo);
        self.check_message_type(topic, kind)?;
        let ticket = self.send_ticket(asker, form::SEND_BATCH, queue);
        self.shards[owner].append_batch(now.wall_ms, &messages, ticket)?;
        let bytes = messages.iter().map(NewMessage::record_bytes).sum();
        self.tally.came_in(queue.topic, kind, messages.len(), bytes);
        if ticket.is_some() {
            self.batch_keys[owner].push_back(batch_key.unwrap_or_default());
        }
        self.is_stored(now, queue, ticket);
        Ok(())
    }
}

/// Whether clients may send to a topic, sends and replies alike.
pub(super) fn check_takes_messages(topic: &str) -> Result<(), Stop> {
    if names::is_not_allowed_send_topic(topic) || topic == names::WHEEL_TIMER_TOPIC {
        let remark = format!("Sending message to topic[{topic}] is forbidden.");
        return Err(Refusal::new(response::NO_PERMISSION, remark).into());
    }
    Ok(())
}

fn illegal(remark: String) -> Stop {
    Refusal::new(response::MESSAGE_ILLEGAL, remark).into()
}
