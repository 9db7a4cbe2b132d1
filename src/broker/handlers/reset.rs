//! Offsets of a group set by a tool: 222 INVOKE_BROKER_TO_RESET_OFFSET, 314 CLONE_GROUP_OFFSET;
//! 220 to the members.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor.resetOffset and cloneGroupOffset, Broker2Client.resetOffset of 5.3.3.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::body::{MessageQueue, ResetOffsetBody, ResetOffsetBodyForC};
use proto::code::{request, response};
use proto::command::{Command, FLAG_ONEWAY};
use proto::frame::Encoding;
use proto::header::{CloneOffsetHeader, ResetOffsetHeader};
use proto::language::Language;
use proto::names;
use proto::reply::{RequestHead, write_request};
use proto::version;
use runtime::ConnectionId;

use super::super::dispatch::{Handled, Stop, answer_body};
use super::super::inquiry::{CloneOffsets, Question, QueueFacts, ResetOffsets, Target};
use super::super::{Asker, Broker, Refusal};
use super::Then;
use crate::net::outbox::Outboxes;

/// A reset that the members are told of.
#[derive(Debug)]
pub(in crate::broker) struct Push {
    reset: Arc<ResetOffsets>,
    /// As it was asked for, ms.
    timestamp: i64,
    /// Forward, too.
    is_force: bool,
    /// The tool's language decides of the body, as there.
    is_c: bool,
}

/// Offsets that are to be cloned.
#[derive(Debug)]
pub(in crate::broker) struct Cloning {
    source: Arc<str>,
    target: Arc<str>,
    /// Of this topic only.
    only: Option<Arc<str>>,
    offline: bool,
}

impl Broker {
    pub(in crate::broker) fn reset_offset(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        self.check_home()?;
        let header = ResetOffsetHeader::parse(command)?;
        let (group, topic) = (header.group.to_cow(), header.topic.to_cow());
        let is_done = self.settings.reset_at_server;
        let Some(found) = self.catalog.topic(&topic) else {
            let remark = if is_done {
                format!("Topic {topic} does not exist")
            } else {
                format!(
                    "[reset-offset] reset offset failed, no topic in this broker. topic={topic}"
                )
            };
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark).into());
        };
        let (read, write) = (found.config.read_queue_nums, found.config.write_queue_nums);
        let at_time = match u64::try_from(header.timestamp) {
            Ok(time_ms) => Target::Time(time_ms),
            Err(_) => Target::End,
        };
        let only = u32::try_from(header.queue_id).ok().filter(|_| is_done);
        if only.is_some_and(|queue| i64::from(queue) >= i64::from(read.max(write))) {
            let remark = format!("the topic[{topic}] has no queue {}", header.queue_id);
            return Err(Refusal::new(response::INVALID_PARAMETER, remark).into());
        }
        let reset = Arc::new(ResetOffsets {
            group: Arc::from(&*group),
            topic: Arc::from(&*topic),
            queues: u32::try_from(if is_done { read } else { write }).unwrap_or(0),
            only,
            target: header.offset.filter(|_| only.is_some()).map_or(at_time, Target::Offset),
            is_done,
        });
        let question = Question::Reset(Arc::clone(&reset));
        if !is_done {
            let is_c = command.language == Some(Language::Cpp);
            let (timestamp, is_force) = (header.timestamp, header.is_force);
            let push = Push { reset, timestamp, is_force, is_c };
            return self.ask_all(asker, question, Then::Push(push));
        }
        if self.catalog.group(&group).is_none() {
            let remark = format!("Group {group} does not exist");
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark).into());
        }
        if reset.queues == 0 && only.is_none() {
            return Err(Refusal::new(response::SYSTEM_ERROR, "No queues to reset.").into());
        }
        tracing::info!(topic = &*topic, group = &*group, target = ?reset.target, queue = ?only,
            peer = %asker.peer, "offsets of a group are reset");
        self.ask_all(asker, question, Then::Reset(reset))
    }

    /// Where each queue's offset goes.
    pub(in crate::broker) fn reset_body(
        &self,
        reset: &ResetOffsets,
        queues: &[QueueFacts],
    ) -> ResetOffsetBody {
        let broker = &self.settings.broker_name;
        let row = |facts: &QueueFacts| {
            let queue = MessageQueue::new(&reset.topic, broker, facts.queue as i32);
            (queue, i64::try_from(facts.target).unwrap_or(i64::MAX))
        };
        ResetOffsetBody { offset_table: queues.iter().map(row).collect::<BTreeMap<_, _>>() }
    }

    /// Tells all members where to go on.
    pub(in crate::broker) fn push_reset(
        &mut self,
        asker: &Asker,
        push: &Push,
        queues: &[QueueFacts],
        outboxes: &mut Outboxes,
    ) -> Handled {
        let Push { reset, timestamp, is_force, is_c } = push;
        let ResetOffsets { group, topic, .. } = &**reset;
        if queues.iter().any(|facts| facts.committed.is_none()) {
            let remark = format!("THe consumer group <{group}> not exist");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        }
        let queues: Vec<_> = queues
            .iter()
            .map(|facts| {
                let committed = facts.committed.expect("looked at above");
                let is_moved = *is_force || facts.target < committed;
                QueueFacts { target: if is_moved { facts.target } else { committed }, ..*facts }
            })
            .collect();
        let all = self.reset_body(reset, &queues);
        let mut told = Vec::new();
        match is_c {
            true => ResetOffsetBodyForC::from(&all).write(&mut told),
            false => all.write(&mut told),
        }
        let Some(online) = self.membership.group(group) else {
            let remark = format!(
                "Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {timestamp}"
            );
            return Err(Refusal::new(response::CONSUMER_NOT_ONLINE, remark).into());
        };
        if let Some((_, old)) =
            online.members().find(|(_, it)| it.version < version::V3_0_7_SNAPSHOT)
        {
            return Err(too_old(old.version));
        }
        let timestamp = timestamp.to_string();
        let ext = [
            ("topic", &**topic),
            ("group", &**group),
            ("timestamp", &*timestamp),
            ("isForce", "false"),
            ("queueId", "-1"),
        ];
        let head = RequestHead {
            code: request::RESET_CONSUMER_CLIENT_OFFSET,
            opaque: 0,
            flag: FLAG_ONEWAY,
        };
        for (member, _) in online.members() {
            if let Some(outbox) = outboxes.of(ConnectionId::from_bits(member)) {
                write_request(outbox.bytes(), Encoding::Json, &head, Some(&ext), &told);
            }
        }
        answer_body(asker, |body| all.write(body), outboxes)
    }

    pub(in crate::broker) fn clone_offset(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        self.check_home()?;
        let header = CloneOffsetHeader::parse(command)?;
        let source: Arc<str> = Arc::from(&*header.source_group.to_cow());
        let target: Arc<str> = Arc::from(&*header.target_group.to_cow());
        // The group need not exist, but what is stored of it has a name that a group may have.
        names::validate_group(&target)
            .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
        let only = header.topic.map(|topic| Arc::from(&*topic.to_cow()));
        // No shard knows whether the source has offsets of a topic in another one.
        let question = Question::TopicsOf(Arc::clone(&source));
        let cloning = Cloning { source, target, only, offline: header.offline };
        self.ask_all(asker, question, Then::CloneOf(cloning))
    }

    pub(in crate::broker) fn ask_clone(
        &mut self,
        asker: &Asker,
        cloning: &Cloning,
        mut topics: Vec<Arc<str>>,
    ) -> Handled {
        let Cloning { source, target, only, offline } = cloning;
        topics.retain(|topic| {
            let is_meant = only.as_ref().is_none_or(|only| only == topic);
            is_meant && (*offline || self.may_consume(source, topic))
        });
        let (source, target) = (Arc::clone(source), Arc::clone(target));
        let question = Question::Clone(Arc::new(CloneOffsets { source, target, topics }));
        self.ask_all(asker, question, Then::Done)
    }
}

/// A client that does not know what it would be told.
pub(super) fn too_old(found: i32) -> Stop {
    let version = version::describe(found);
    let remark = format!("the client does not support this feature. version={version}");
    Refusal::new(response::SYSTEM_ERROR, remark).into()
}
