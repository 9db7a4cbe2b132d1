//! Pulls: 11 PULL_MESSAGE, 361 LITE_PULL_MESSAGE; held, woken and answered.
//! Kind: machine
//!
//! Order of checks and codes: PullMessageProcessor of 5.3.3.

use std::sync::Arc;

use engine::consumequeue::QueueKey;
use engine::filter::{MessageFilter, SqlError, TagFilter};
use engine::hold::{HeldPull, Scanned};
use engine::shard::{Answer, PullRequest, PullStatus, Pulled, Replies};
use proto::body::{SQL92, SubscriptionData, SubscriptionError, TAG};
use proto::code::response;
use proto::command::Command;
use proto::header::PullHeader;
use proto::names::{self, perm};
use proto::reply::{PullReply, write_pull_response};
use runtime::ConnectionId;
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, refuse};
use super::super::limits::SUSPEND_MS_MAX;
use super::super::membership::GroupFilter;
use super::super::{Asker, Broker, ForbiddenType, Refusal};
use super::form;
use crate::net::outbox::Outboxes;
use engine::limits::COLD_PULLS_MAX;

impl Broker {
    pub(in crate::broker) fn pull(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let header = PullHeader::parse(command)?;
        let group = header.consumer_group.to_cow();
        let topic = header.topic.to_cow();
        let (owner, queue) = self.check_pull(now, asker, &header, &group, &topic)?;
        let filter = self.pull_filter(&header, &group, &topic)?;
        let filter = self.retry_filter(filter, &topic);
        let reset = self.take_reset(&group, queue);
        // What was committed before a reset would undo it.
        if header.commits() && header.commit_offset >= 0 && reset.is_none() {
            self.commit(now, owner, &group, queue, header.commit_offset as u64)?;
        }
        if asker.is_oneway {
            return Ok(()); // nobody waits for messages
        }
        let suspend_ms = match (header.may_suspend(), self.settings.long_polling) {
            (false, _) => 0,
            (true, true) => (header.suspend_timeout_ms.max(0) as u64).min(SUSPEND_MS_MAX),
            (true, false) => self.settings.short_polling_ms,
        };
        let pull = HeldPull {
            ticket: asker.ticket(form::PULL),
            queue,
            from: header.queue_offset.max(0) as u64,
            count_max: header.message_count_max.max(1) as u32,
            filter,
            scanned: Scanned::default(),
            deadline_ms: now.monotonic_ms() + suspend_ms,
            is_first: true,
            tally: self.tally.number(queue.topic, &group),
        };
        if let Some(next_begin) = reset {
            let (min, max) = self.shards[owner].queues().bounds(queue).unwrap_or((0, 0));
            let answer = Answer { status: PullStatus::OffsetReset, next_begin, min, max };
            self.answer_pull(owner, &pull, &answer, &Replies::default(), outboxes);
            return Ok(());
        }
        if header.queue_offset < 0 {
            let answer = self.below_queue(owner, queue);
            // Not at its offset: an empty queue answers 21 then, not 19.
            let pull = HeldPull { from: u64::MAX, ..pull };
            self.answer_pull(owner, &pull, &answer, &Replies::default(), outboxes);
            return Ok(());
        }
        self.execute_pull(owner, pull, suspend_ms > 0, outboxes);
        Ok(())
    }

    /// Where a group was reset to in a queue, if it has not heard of it.
    fn take_reset(&mut self, group: &str, queue: QueueKey) -> Option<u64> {
        if self.resets.is_empty() {
            return None;
        }
        self.resets.remove(&(group.into(), queue))
    }

    /// The answer to a pull from below offset 0.
    fn below_queue(&self, owner: usize, queue: QueueKey) -> Answer {
        let (min, max) = self.shards[owner].queues().bounds(queue).unwrap_or((0, 0));
        let status =
            if max == 0 { PullStatus::NoMessageInQueue } else { PullStatus::OffsetTooSmall };
        Answer { status, next_begin: min, min, max }
    }

    fn check_pull(
        &mut self,
        now: Now,
        asker: &Asker,
        header: &PullHeader<'_>,
        group: &str,
        topic: &str,
    ) -> Result<(usize, QueueKey), Stop> {
        let host = self.settings.advertised;
        if !perm::readable(self.settings.permission) {
            let remark = format!("the broker[{host}] pulling message is forbidden");
            return Err(forbidden(ForbiddenType::Broker, remark));
        }
        match self.ensure_group(now, group) {
            Ok(Some(rules)) if rules.consume_enable => {}
            Ok(Some(_)) => {
                let remark = format!("subscription group no permission, {group}");
                return Err(forbidden(ForbiddenType::Group, remark));
            }
            Ok(None) => {
                return Err(Refusal::new(
                    response::SUBSCRIPTION_GROUP_NOT_EXIST,
                    format!("subscription group [{group}] does not exist"),
                )
                .into());
            }
            // The log takes nothing now (full disk, failed write), and pulls go on all the same: a
            // group that may be created counts as if it were, a later pull creates it.
            Err(Stop::Refuse(refusal)) if refusal.code == response::SERVICE_NOT_AVAILABLE => {}
            // The home core let it pass for that reason.
            Err(Stop::Elsewhere(_)) if asker.crossings > 1 => {}
            Err(stop) => return Err(stop),
        }
        let Some(found) = self.catalog.topic(topic) else {
            return Err(Refusal::no_topic(topic, host).into());
        };
        if !perm::readable(found.config.perm) {
            let remark = format!("the topic[{topic}] pulling message is forbidden");
            return Err(forbidden(ForbiddenType::Topic, remark));
        }
        let count = found.config.read_queue_nums;
        let illegal = || {
            let remark = format!(
                "queueId[{}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{count}] consumer:[{}]",
                header.queue_id, asker.peer
            );
            Stop::from(Refusal::new(response::INVALID_PARAMETER, remark))
        };
        if !(0..count).contains(&header.queue_id) {
            return Err(illegal());
        }
        // Of topics that each shard has a queue of, what the catalog says does not count.
        self.queue_here(topic, header.queue_id)?.ok_or_else(illegal)
    }

    fn pull_filter(
        &mut self,
        header: &PullHeader<'_>,
        group: &str,
        topic: &str,
    ) -> Result<MessageFilter, Stop> {
        if header.has_subscription() {
            return self.own_filter(header, topic);
        }
        let Some(consumers) = self.copies.wants(group) else {
            return Err(Refusal::new(
                response::SUBSCRIPTION_NOT_EXIST,
                "the consumer's group info not exist",
            )
            .into());
        };
        let config = self.catalog.group(group);
        if consumers.is_broadcasting && config.is_some_and(|it| !it.consume_broadcast_enable) {
            let remark = format!("the consumer group[{group}] can not consume by broadcast way");
            return Err(forbidden(ForbiddenType::Broadcasting, remark));
        }
        if self.catalog.is_forbidden(group, topic) {
            let remark = format!("the consumer group[{group}] is forbidden for topic[{topic}]");
            return Err(forbidden(ForbiddenType::Subscription, remark));
        }
        let Some(subscription) = consumers.subscription(topic) else {
            return Err(Refusal::new(
                response::SUBSCRIPTION_NOT_EXIST,
                "the consumer's subscription not exist",
            )
            .into());
        };
        if subscription.version < header.subscription_version {
            return Err(Refusal::new(
                response::SUBSCRIPTION_NOT_LATEST,
                "the consumer's subscription not latest",
            )
            .into());
        }
        let compiled = match &subscription.filter {
            GroupFilter::Tags(tags) => return Ok(MessageFilter::Tags(tags.clone())),
            GroupFilter::Sql(compiled) => compiled.as_ref(),
        };
        let Some(compiled) = compiled else {
            return Err(Refusal::new(
                response::FILTER_DATA_NOT_EXIST,
                "The broker's consumer filter data is not exist!Your expression may be wrong!",
            )
            .into());
        };
        if compiled.version < header.subscription_version {
            return Err(Refusal::new(
                response::FILTER_DATA_NOT_LATEST,
                "the consumer's consumer filter data not latest",
            )
            .into());
        }
        self.check_property_filter(&subscription.data.expression_type)?;
        Ok(MessageFilter::Sql(Arc::clone(&compiled.filter)))
    }

    /// With `filterSupportRetry` an expression on a retry topic is another one for each topic that messages
    /// came from: what the group has for it. Clients' own subscriptions of it are `*`, and stay so.
    fn retry_filter(&self, filter: MessageFilter, topic: &str) -> MessageFilter {
        let group = names::group_of_retry_topic(topic).filter(|_| self.settings.filter_retries);
        let (Some(group), MessageFilter::Sql(_)) = (group, &filter) else { return filter };
        let wants = self.copies.wants(group);
        let expressions = wants.into_iter().flat_map(|wants| wants.expressions());
        let by_topic = expressions.map(|(topic, sql)| (topic.as_bytes().into(), Arc::clone(sql)));
        MessageFilter::Retried(Arc::new(by_topic.collect()))
    }

    /// The filter that a pull brings with it.
    fn own_filter(&mut self, header: &PullHeader<'_>, topic: &str) -> Result<MessageFilter, Stop> {
        let text = header.subscription.map(|text| text.to_cow()).unwrap_or_default();
        let kind = header.expression_type.map(|kind| kind.to_cow()).unwrap_or_default();
        if kind.is_empty() || kind == TAG {
            let tags = SubscriptionData::tags(topic, &text, 0).map_err(|error| no_parse(&error))?;
            return Ok(MessageFilter::Tags(TagFilter::from_codes(tags.code_set)));
        }
        if text.is_empty() {
            return Err(no_parse(&SubscriptionError::Empty).into());
        }
        self.check_property_filter(&kind)?;
        check_expression_type(&kind)?;
        let compiled = self.expressions.compiled(&text).map_err(|error| no_expression(&error))?;
        Ok(MessageFilter::Sql(compiled))
    }

    /// Whether expressions on properties are allowed.
    pub(super) fn check_property_filter(&self, expression_type: &str) -> Result<(), Stop> {
        if self.settings.property_filter {
            return Ok(());
        }
        let remark =
            format!("The broker does not support consumer to filter message by {expression_type}");
        Err(Refusal::new(response::SYSTEM_ERROR, remark).into())
    }

    /// Looks for messages and answers, holds or has them read.
    fn execute_pull(
        &mut self,
        owner: usize,
        pull: HeldPull,
        may_hold: bool,
        outboxes: &mut Outboxes,
    ) {
        let request = PullRequest {
            queue: pull.queue,
            from: pull.from,
            count_max: pull.count_max.min(self.settings.pull_messages_max),
            bytes_max: self.settings.pull_bytes_max,
            filter: &pull.filter,
            scanned: pull.scanned,
        };
        let mut replies = std::mem::take(&mut self.scratch.replies);
        match self.shards[owner].pull(&request, &mut replies) {
            Pulled::Cold(range, scanned) => {
                let pull = HeldPull { scanned, ..pull };
                if let Err(pull) = self.shards[owner].wait_cold(pull, range) {
                    let remark = format!("more than {COLD_PULLS_MAX} pulls wait for the disk");
                    let refusal = Refusal::new(response::SYSTEM_BUSY, remark);
                    refuse(&self.asker_of(&pull), &refusal, outboxes);
                }
            }
            Pulled::Failed(reason) => {
                let refusal = Refusal::unreadable("the messages", &reason);
                refuse(&self.asker_of(&pull), &refusal, outboxes);
            }
            Pulled::Answered(answer) => {
                let is_new = pull_code(&answer, pull.from) == response::PULL_NOT_FOUND;
                let held = may_hold && is_new;
                let pull = if held { self.shards[owner].hold(pull).err() } else { Some(pull) };
                if let Some(pull) = pull {
                    if replies.message_count > 0 {
                        let (count, bytes) = (replies.message_count, replies.total_bytes);
                        self.tally.went_out(pull.tally, count, bytes);
                    } else {
                        self.tally.missed();
                    }
                    self.answer_pull(owner, &pull, &answer, &replies, outboxes);
                }
            }
        }
        replies.clear();
        self.scratch.replies = replies;
    }

    /// The topic of a pull was deleted while it waited.
    fn refuse_deleted(&self, pull: &HeldPull, outboxes: &mut Outboxes) {
        let remark = "the topic was deleted while the pull waited";
        let refusal = Refusal::new(response::TOPIC_NOT_EXIST, remark);
        refuse(&self.asker_of(pull), &refusal, outboxes);
    }

    fn asker_of(&self, pull: &HeldPull) -> Asker {
        Asker {
            connection: ConnectionId::from_bits(pull.ticket.connection),
            peer: self.settings.advertised,
            opaque: pull.ticket.opaque,
            encoding: super::super::confirm::encoding_of(&pull.ticket),
            is_oneway: false,
            version: 0,
            crossings: 0,
            has_record: false,
        }
    }

    fn answer_pull(
        &self,
        owner: usize,
        pull: &HeldPull,
        answer: &Answer,
        replies: &Replies,
        outboxes: &mut Outboxes,
    ) {
        let asker = self.asker_of(pull);
        let Some(outbox) = outboxes.of(asker.connection) else { return };
        let topic = self.catalog.topic_name(pull.queue.topic).and_then(|it| self.catalog.topic(it));
        let reply = PullReply {
            code: pull_code(answer, pull.from),
            remark: Some(status_name(answer.status)),
            opaque: asker.opaque,
            suggest_which_broker_id: 0,
            next_begin_offset: answer.next_begin as i64,
            min_offset: answer.min as i64,
            max_offset: answer.max as i64,
            topic_sys_flag: topic.map_or(0, |topic| topic.config.topic_sys_flag),
            group_sys_flag: 0,
        };
        write_pull_response(outbox.bytes(), asker.encoding, &reply, replies.total_bytes);
        outbox.bytes().extend_from_slice(&replies.bytes);
        for piece in &replies.pieces {
            outbox.piece(owner, *piece);
        }
    }

    /// Executes pulls again whose message arrived, whose time is up or whose blocks were read. Whether
    /// some are left for the next turn.
    pub fn answer_woken(&mut self, now: Now, outboxes: &mut Outboxes) -> bool {
        for owner in 0..self.shards.len() {
            loop {
                if outboxes.is_any_remote_full() {
                    return true;
                }
                let Some(pull) = self.shards[owner].next_woken() else { break };
                if self.catalog.topic_name(pull.queue.topic).is_none() {
                    self.refuse_deleted(&pull, outboxes);
                    continue;
                }
                // A pull that was woken from a cold read may still be held, one that was held not.
                let may_hold = pull.deadline_ms > now.monotonic_ms() && pull.is_first;
                self.execute_pull(owner, pull, may_hold, outboxes);
            }
        }
        false
    }
}

fn pull_code(answer: &Answer, from: u64) -> i32 {
    match answer.status {
        PullStatus::Found => response::SUCCESS,
        PullStatus::NoMatchedMessage | PullStatus::MessageWasRemoving => {
            response::PULL_RETRY_IMMEDIATELY
        }
        PullStatus::OffsetOverflowOne => response::PULL_NOT_FOUND,
        PullStatus::NoMessageInQueue if from == 0 => response::PULL_NOT_FOUND,
        PullStatus::NoMessageInQueue
        | PullStatus::OffsetTooSmall
        | PullStatus::OffsetReset
        | PullStatus::OffsetOverflowBadly => response::PULL_OFFSET_MOVED,
    }
}

/// Name of the GetMessageStatus, which clients get as remark.
fn status_name(status: PullStatus) -> &'static str {
    match status {
        PullStatus::Found => "FOUND",
        PullStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        PullStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
        PullStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        PullStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        PullStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        PullStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        PullStatus::OffsetReset => "OFFSET_RESET",
    }
}

fn forbidden(by: ForbiddenType, remark: String) -> Stop {
    Refusal::new(response::NO_PERMISSION, remark).by(by).into()
}

/// There are TAG and SQL92.
pub(super) fn check_expression_type(expression_type: &str) -> Result<(), Stop> {
    if expression_type == SQL92 {
        return Ok(());
    }
    let remark = format!("there is no expression type {expression_type}, only TAG and SQL92");
    Err(Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, remark).into())
}

fn no_parse(error: &SubscriptionError) -> Refusal {
    let remark = format!("parse the consumer's subscription failed: {error}");
    Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, remark)
}

/// An expression that cannot be compiled: where and why.
pub(super) fn no_expression(error: &SqlError) -> Refusal {
    let remark = format!("Invalid MessageSelector. {error}");
    Refusal::new(response::SUBSCRIPTION_PARSE_FAILED, remark)
}
