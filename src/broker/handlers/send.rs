//! Sends: 10 SEND_MESSAGE, 310 SEND_MESSAGE_V2, 320 SEND_BATCH_MESSAGE.
//! Kind: machine
//!
//! Order of checks and codes: SendMessageProcessor, HookUtils and MessageExtEncoder of 5.3.3.

use engine::catalog::{Placement, Topic};
use engine::consumequeue::QueueKey;
use engine::shard::{
    CHECK_MAX_TIME_TOPIC_INCARNATION, FoundBy, HALF_TOPIC_INCARNATION, NewMessage,
    SCHEDULE_TOPIC_INCARNATION, TIMER_QUEUE, TIMER_TOPIC_INCARNATION, Transactions,
};
use engine::ticket::Ticket;
use proto::batch::BatchRecords;
use proto::body::TopicFilterType;
use proto::code::response;
use proto::header::{HeaderError, SendHeader};
use proto::ids::UniqueKey;
use proto::limits::{PROPERTIES_BYTES_MAX, TOPIC_BYTES_MAX};
use proto::names::{self, perm};
use proto::properties::{self, Known, WellKnown, name};
use proto::record::sys_flag::TRANSACTION_MASK;
use proto::reply::{SendReply, write_send_response};
use runtime::clock::Now;

use super::super::check::own_check_ms;
use super::super::dispatch::{Handled, Stop, flow_of, here};
use super::super::{Asker, Broker, Flow, Refusal};
use super::form;
use super::timer::{Timed, timer_properties};
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

    fn try_send(
        &mut self,
        now: Now,
        asker: &Asker,
        header: &SendHeader<'_>,
        body: &[u8],
    ) -> Handled {
        let topic = header.topic.to_cow();
        // Before anything is made for it.
        if names::is_not_allowed_send_topic(&topic) || topic == names::WHEEL_TIMER_TOPIC {
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("Sending message to topic[{topic}] is forbidden."),
            )
            .into());
        }
        let target = match self.catalog.topic(&topic) {
            // A retry topic may be longer; only messages sent back come there.
            Some(_) if topic.len() > TOPIC_BYTES_MAX => {
                let error = names::TopicNameError::TooLong;
                return Err(Refusal::new(response::INVALID_PARAMETER, error.to_string()).into());
            }
            Some(found) => Target::of(found),
            None => {
                let default = header.default_topic.to_cow();
                let count = header.default_topic_queue_count;
                self.ensure_topic_for_send(now, &topic, &default, count)?;
                Target::of(self.catalog.topic(&topic).expect("made sure above"))
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
        let target = Target::of(self.catalog.topic(topic).expect("made sure before"));
        self.choose_queue(asker, header, topic, &target).map(drop)
    }

    /// The queue that is asked for.
    fn choose_queue(
        &mut self,
        asker: &Asker,
        header: &SendHeader<'_>,
        topic: &str,
        target: &Target,
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
    fn any_queue(&mut self, target: &Target, is_here: bool) -> u32 {
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
            let form = if made.timed.is_some() { form::SEND_TIMER } else { form::SEND };
            let ticket = Ticket { queue_id, ..asker.ticket(form) };
            let ticket = (!asker.is_oneway).then_some(ticket);
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
            Ok(())
        });
        self.scratch.properties = text;
        stored
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
            self.shards[place].recall(timed.due_ms, name.unwrap_or_default(), None)?;
        }
        self.shards[place].append_timer(now.wall_ms, message, timed.due_ms, ticket)?;
        if let Some(ticket) = ticket {
            let (start, len) = message.found_by.unique_key;
            let key = &message.properties[start..start + len];
            let handle = self.recall_handle(topic, ticket.queue_id, timed.due_ms, key);
            self.batch_keys[place].push_back(handle);
        }
        Ok(())
    }

    /// A topic's queue and the place here of the shard that owns it; `None`: there is no such topic or
    /// the id is negative.
    pub(in crate::broker) fn queue_here(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> Result<Option<(usize, QueueKey)>, Stop> {
        let (Some(topic), Ok(queue)) = (self.catalog.topic(topic), u32::try_from(queue_id)) else {
            return Ok(None);
        };
        match topic.incarnation {
            SCHEDULE_TOPIC_INCARNATION => return self.schedule_queue_here(queue),
            HALF_TOPIC_INCARNATION | CHECK_MAX_TIME_TOPIC_INCARNATION => {
                return self.queue_of_shard_here(topic.incarnation, queue);
            }
            _ => {}
        }
        if topic.incarnation == TIMER_TOPIC_INCARNATION {
            return self.timer_queue_here(queue);
        }
        let place = self.place_of(topic.placement, queue)?;
        Ok(Some((place, QueueKey { topic: topic.incarnation, queue })))
    }

    /// A queue of SCHEDULE_TOPIC_XXXX, which exists once per shard: those of the second shard follow
    /// those of the first.
    fn schedule_queue_here(&self, queue: u32) -> Result<Option<(usize, QueueKey)>, Stop> {
        let levels = u32::try_from(self.settings.delay_levels_ms.len()).expect("few levels");
        let (Some(shard), Some(level)) = (queue.checked_div(levels), queue.checked_rem(levels))
        else {
            return Ok(None);
        };
        let Ok(shard) = u8::try_from(shard) else { return Ok(None) };
        if usize::from(shard) >= self.router.shard_count() {
            return Ok(None);
        }
        let place = here(self.router.of_shard(shard))?;
        Ok(Some((place, QueueKey { topic: SCHEDULE_TOPIC_INCARNATION, queue: level })))
    }

    /// A queue of a topic that has one in each shard.
    fn queue_of_shard_here(
        &self,
        topic: u32,
        queue: u32,
    ) -> Result<Option<(usize, QueueKey)>, Stop> {
        let shard = u8::try_from(queue).ok();
        let Some(shard) = shard.filter(|it| usize::from(*it) < self.router.shard_count()) else {
            return Ok(None);
        };
        let place = here(self.router.of_shard(shard))?;
        Ok(Some((place, QueueKey { topic, queue })))
    }

    /// A queue of rmq_sys_wheel_timer: each shard has one.
    fn timer_queue_here(&self, queue: u32) -> Result<Option<(usize, QueueKey)>, Stop> {
        let Ok(shard) = u8::try_from(queue) else { return Ok(None) };
        if usize::from(shard) >= self.router.shard_count() {
            return Ok(None);
        }
        Ok(Some((here(self.router.of_shard(shard))?, TIMER_QUEUE)))
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

    fn too_large(&self, what: &str) -> Stop {
        illegal(format!(
            "the message is illegal, maybe msg body or properties length not matched. msg body length limit {}B, msg properties length limit 32KB. ({what})",
            self.settings.message_bytes_max
        ))
    }

    /// Fills `text` with the message's properties and the broker's additions, and reads what matters.
    fn make_properties(
        &mut self,
        now: Now,
        header: &SendHeader<'_>,
        topic: &str,
        (queue_id, is_dead_letter): (i32, bool),
        text: &mut Vec<u8>,
    ) -> Result<Made, Stop> {
        let known = WellKnown::unescape(header.properties, text)
            .map_err(|error| illegal(format!("the properties are not text: {error}")))?;
        if known.transaction.is_some_and(|it| is_true(it, text)) {
            let is_retry = header.reconsume_times > 0 && has_delay(&known, text);
            // A client before 4.6.1 that sends a committed message back leaves the property on it.
            if !is_dead_letter && !is_retry {
                return self.make_half_properties(now, (topic, queue_id), text);
            }
        } else if header.sys_flag & TRANSACTION_MASK != 0 {
            return Err(illegal("transaction bits without the property TRAN_MSG".to_owned()));
        }
        // They stay where they are unless something is taken out of the text below.
        let mut found_by = FoundBy::of(&known, text);
        let delay =
            known.delay.map(|delay| parse_delay(delay.value(text))).transpose()?.unwrap_or(0);
        let has_receipt = known.pop_receipt.is_some();
        if has_receipt {
            properties::remove(text, name::POP_CK);
        }
        properties::terminate(text);
        let has_timer = known.timer.is_some();
        let mut timed = None;
        if has_timer && delay > 0 {
            for timer in [name::TIMER_DELIVER_MS, name::TIMER_DELAY_SEC, name::TIMER_DELAY_MS] {
                properties::remove(text, timer); // the level counts
            }
        } else if has_timer && !is_dead_letter {
            timed = self.timed(now, text)?;
        }
        if known.unique_key.is_none() {
            let key = self.next_unique_key(now);
            found_by.unique_key = (text.len() + name::UNIQ_KEY.len() + 1, key.len());
            properties::append(text, name::UNIQ_KEY, &key);
        }
        self.append_own_properties(text);
        let levels = self.settings.delay_levels_ms.len();
        let delay_level = (delay > 0 && !is_dead_letter)
            .then(|| usize::try_from(delay).map_or(levels, |it| it.min(levels)));
        if is_dead_letter {
            properties::set(text, name::DELAY, b"-1");
        }
        if let Some(level) = delay_level {
            delay_properties(text, level, delay, topic, queue_id);
        }
        if let Some(timed) = timed {
            timer_properties(text, timed.due_ms, topic, queue_id);
        }
        if text.len() > PROPERTIES_BYTES_MAX {
            return Err(self.too_large(&format!("properties of {} bytes", text.len())));
        }
        if has_receipt || has_timer || is_dead_letter || delay_level.is_some() {
            found_by = FoundBy::read(text);
        }
        let kind = match (known.sharding_key, known.delay.or(known.timer)) {
            (Some(_), _) => MessageType::Fifo,
            (None, Some(_)) => MessageType::Delay,
            (None, None) => MessageType::Normal,
        };
        Ok(Made { delay_level, half: None, timed, found_by, kind })
    }

    /// The same for a half message, which waits in RMQ_SYS_TRANS_HALF_TOPIC
    /// (`TransactionalMessageBridge.parseHalfMessageInner`).
    fn make_half_properties(
        &mut self,
        now: Now,
        (topic, queue_id): (&str, i32),
        text: &mut Vec<u8>,
    ) -> Result<Made, Stop> {
        let rules = self.settings.transactions;
        if rules.rejects {
            let ip = self.settings.advertised.ip();
            return Err(Refusal::new(
                response::NO_PERMISSION,
                format!("the broker[{ip}] sending transaction message is forbidden"),
            )
            .into());
        }
        if properties::find(text, name::PGROUP).is_none() {
            return Err(illegal(
                "a half message needs the property PGROUP: nobody could commit it".to_owned(),
            ));
        }
        // It cannot wait for a time and for its producer; Java clients take the level out themselves.
        for removed in [
            name::POP_CK,
            name::DELAY,
            name::TIMER_DELIVER_MS,
            name::TIMER_DELAY_SEC,
            name::TIMER_DELAY_MS,
        ] {
            properties::remove(text, removed);
        }
        properties::terminate(text);
        let own_key = properties::find(text, name::UNIQ_KEY).map(<[u8]>::to_vec);
        if let Some(key) = own_key {
            properties::set(text, name::TRANSACTION_ID, &key);
        } else {
            let key = self.next_unique_key(now);
            properties::append(text, name::UNIQ_KEY, &key);
            properties::set(text, name::TRANSACTION_ID, &key);
        }
        self.append_own_properties(text);
        properties::set(text, name::REAL_TOPIC, topic.as_bytes());
        properties::set(text, name::REAL_QID, queue_id.to_string().as_bytes());
        if text.len() > PROPERTIES_BYTES_MAX {
            return Err(self.too_large(&format!("properties of {} bytes", text.len())));
        }
        Ok(Made {
            delay_level: None,
            timed: None,
            half: Some(Half { own_ms: own_check_ms(text, rules.timeout_ms) }),
            found_by: FoundBy::read(text),
            kind: MessageType::Transaction,
        })
    }

    /// What the broker says of itself in each message.
    fn append_own_properties(&self, text: &mut Vec<u8>) {
        let trace = if self.settings.trace_on { "true" } else { "false" };
        properties::append(text, name::MSG_REGION, self.settings.region_id.as_bytes());
        properties::append(text, name::TRACE_ON, trace.as_bytes());
        properties::append(text, name::CLUSTER, self.settings.cluster_name.as_bytes());
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

    /// A key like the ones clients make (`MessageClientIDSetter`), unique to this process.
    pub(in crate::broker) fn next_unique_key(&mut self, now: Now) -> [u8; UniqueKey::CHARACTERS] {
        self.unique_keys += 1;
        let std::net::IpAddr::V4(ip) = self.settings.advertised.ip().to_canonical() else {
            return self.unique_key(now, std::net::Ipv4Addr::UNSPECIFIED);
        };
        self.unique_key(now, ip)
    }

    fn unique_key(&self, now: Now, ip: std::net::Ipv4Addr) -> [u8; UniqueKey::CHARACTERS] {
        UniqueKey {
            ip,
            pid: (self.settings.process_tag >> 16) as u16,
            generator: self.settings.process_tag,
            month_ms: UniqueKey::month_ms(now.wall_ms),
            counter: self.unique_keys as u16,
        }
        .encode()
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
        properties::remove(&mut common, name::UNIQ_KEY);
        properties::remove(&mut common, name::POP_CK);
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
                properties: text,
                found_by: FoundBy::read(text),
            })
            .collect();
        let ticket = Ticket { queue_id: queue.queue as i32, ..asker.ticket(form::SEND_BATCH) };
        let ticket = (!asker.is_oneway).then_some(ticket);
        self.shards[owner].append_batch(now.wall_ms, &messages, ticket)?;
        let bytes = messages.iter().map(NewMessage::record_bytes).sum();
        let kind = known.sharding_key.map_or(MessageType::Normal, |_| MessageType::Fifo);
        self.tally.came_in(queue.topic, kind, messages.len(), bytes);
        if ticket.is_some() {
            self.batch_keys[owner].push_back(batch_key.unwrap_or_default());
        }
        Ok(())
    }
}

/// What a send needs to know of its topic.
struct Target {
    incarnation: u32,
    placement: Placement,
    read_queue_count: i32,
    write_queue_count: i32,
    is_ordered: bool,
    /// Its records say that they may have several tags (`topicFilterType` MULTI_TAG).
    has_multi_tags: bool,
}

impl Target {
    fn of(topic: &Topic) -> Target {
        Target {
            incarnation: topic.incarnation,
            placement: topic.placement,
            read_queue_count: topic.config.read_queue_nums,
            write_queue_count: topic.config.write_queue_nums,
            is_ordered: topic.config.order,
            has_multi_tags: topic.config.topic_filter_type == TopicFilterType::MultiTag,
        }
    }
}

/// What was found in and made of a message's properties.
struct Made {
    half: Option<Half>,
    delay_level: Option<usize>,
    timed: Option<Timed>,
    found_by: FoundBy,
    kind: MessageType,
}

/// A half message.
struct Half {
    /// After how long its producer is to be asked, if it says so itself, ms.
    own_ms: Option<u64>,
}

/// What a message gets that waits in SCHEDULE_TOPIC_XXXX (`HookUtils.transformDelayLevelMessage`).
pub(in crate::broker) fn delay_properties(
    text: &mut Vec<u8>,
    level: usize,
    asked: i64,
    topic: &str,
    queue_id: i32,
) {
    if asked != level as i64 {
        properties::set(text, name::DELAY, level.to_string().as_bytes());
    }
    properties::set(text, name::REAL_TOPIC, topic.as_bytes());
    properties::set(text, name::REAL_QID, queue_id.to_string().as_bytes());
}

fn illegal(remark: String) -> Stop {
    Refusal::new(response::MESSAGE_ILLEGAL, remark).into()
}

fn parse_delay(value: &[u8]) -> Result<i64, Stop> {
    proto::text::parse_i64(value).ok_or_else(|| {
        let found = String::from_utf8_lossy(value).into_owned();
        Refusal::new(response::SYSTEM_ERROR, format!("DELAY is no number: {found}")).into()
    })
}

fn has_delay(known: &WellKnown, text: &[u8]) -> bool {
    known.delay.is_some_and(|delay| delay.value(text) != b"0")
}

/// As `Boolean.parseBoolean`.
fn is_true(value: Known, text: &[u8]) -> bool {
    value.value(text).eq_ignore_ascii_case(b"true")
}
