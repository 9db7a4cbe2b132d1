//! How far topics and groups are: 202 GET_TOPIC_STATS_INFO, 208 GET_CONSUME_STATS,
//! 300 QUERY_TOPIC_CONSUME_BY_WHO, 303 QUERY_CONSUME_TIME_SPAN, 308 QUERY_CORRECTION_OFFSET,
//! 343 QUERY_TOPICS_BY_CONSUMER.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor of 5.3.3.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::body::{
    ConsumeStats, GroupList, MessageQueue, OffsetWrapper, QueryConsumeTimeSpanBody,
    QueryCorrectionOffsetBody, QueueTimeSpan, TopicList, TopicOffset, TopicStatsTable,
};
use proto::code::response;
use proto::command::Command;
use proto::header::{
    ConsumerHeader, CorrectionOffsetHeader, GroupHeader, HeaderError, TopicHeader,
};
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, answer_body, answer_body_with};
use super::super::inquiry::{
    Part, Question, QueueFacts, QueueQuestion, ResetOffsets, Times, names_in, queues_in,
};
use super::super::limits::QUEUES_TOLD_MAX;
use super::super::{Asker, Broker, Refusal};
use crate::net::outbox::Outboxes;

/// What is done when all cores have answered.
#[derive(Debug)]
pub(in crate::broker) enum Then {
    /// 202.
    TopicStats(Arc<QueueQuestion>),
    /// 208 of all topics of a group: their names are there.
    ConsumeStatsOf(Arc<str>),
    /// 208.
    ConsumeStats(Arc<QueueQuestion>),
    /// 303.
    TimeSpan(Arc<QueueQuestion>),
    /// 343.
    TopicNames,
    /// 300: the topic, for groups that are online.
    GroupNames(Arc<str>),
    /// 308: the groups that have offsets are there.
    CorrectionOf(Correction),
    /// 308: offsets of one group after the other.
    Correction(Correction),
    /// 314 of all topics of a group: their names are there.
    CloneOf(super::reset::Cloning),
    /// 222 at the broker.
    Reset(Arc<ResetOffsets>),
    /// 222 by telling the members: where to is there.
    Push(super::reset::Push),
    /// 28, 45, 60, 61.
    Runtime(super::runtime::Told),
    /// 43.
    AllOffsets,
    /// 317: the groups and their topics are there.
    AllStatsOf {
        /// Only ordered topics.
        is_order: bool,
    },
    /// 317: offsets of one group after the other.
    AllStats(super::all_groups::AllStats),
    /// 315.
    Counted(super::counted::Viewed),
    /// 353: the group and the topic.
    Forbidden(Arc<str>, Arc<str>),
    /// It is done.
    Done,
}

/// See [`Then::CorrectionOf`].
#[derive(Debug)]
pub(in crate::broker) struct Correction {
    topic: Arc<str>,
    compared: Arc<str>,
    left_out: BTreeSet<String>,
    /// Groups to ask for yet.
    groups: Vec<Arc<str>>,
    /// Of the compared group.
    compare: BTreeMap<u32, u64>,
    lowest: BTreeMap<u32, u64>,
}

impl Broker {
    pub(in crate::broker) fn go_on(
        &mut self,
        now: Now,
        asker: &Asker,
        parts: Vec<Part>,
        then: Then,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let mut body = Vec::new();
        match then {
            Then::TopicStats(question) => self.topic_stats_of(&question, parts).write(&mut body),
            Then::ConsumeStatsOf(group) => {
                let topics = names_in(parts).collect();
                return self.ask_consume_stats(asker, &group, topics, outboxes);
            }
            Then::ConsumeStats(question) => self.stats_of(&question, parts).write(&mut body),
            Then::TimeSpan(question) => self.time_span_of(now, &question, parts).write(&mut body),
            Then::TopicNames => {
                let topic_list = names_in(parts).map(|name| name.to_string()).collect();
                let broker_addr = Some(self.settings.advertised.to_string());
                TopicList { broker_addr, topic_list }.write(&mut body);
            }
            Then::GroupNames(topic) => {
                let online = self.membership.groups();
                let online = online.filter(|(_, group)| group.subscription(&topic).is_some());
                let mut group_list: BTreeSet<_> = online.map(|(name, _)| name.to_owned()).collect();
                group_list.extend(names_in(parts).map(|name| name.to_string()));
                GroupList { group_list }.write(&mut body);
            }
            Then::CorrectionOf(mut correction) => {
                let groups: BTreeSet<_> = names_in(parts).collect();
                let groups = groups.into_iter();
                correction.groups =
                    groups.filter(|it| !correction.left_out.contains(&**it)).collect();
                return self.ask_correction(asker, correction, outboxes);
            }
            Then::Correction(correction) => {
                return self.go_on_correction(asker, correction, parts, outboxes);
            }
            Then::CloneOf(cloning) => {
                let topics: BTreeSet<_> = names_in(parts).collect();
                return self.ask_clone(asker, &cloning, topics.into_iter().collect());
            }
            Then::Reset(reset) => self.reset_body(&reset, &queues_in(parts)).write(&mut body),
            Then::Push(push) => {
                return self.push_reset(asker, &push, &queues_in(parts), outboxes);
            }
            Then::Runtime(told) => return self.tell_runtime(now, asker, told, parts, outboxes),
            Then::AllOffsets => return self.tell_all_offsets(now, asker, parts, outboxes),
            Then::AllStatsOf { is_order } => {
                return self.ask_all_stats(asker, is_order, parts, outboxes);
            }
            Then::AllStats(all) => return self.go_on_all_stats(asker, all, parts, outboxes),
            Then::Counted(viewed) => return self.tell_counted(asker, &viewed, parts, outboxes),
            Then::Forbidden(group, topic) => {
                self.tell_forbidden(asker, &group, &topic, outboxes);
                return Ok(());
            }
            Then::Done => {}
        }
        answer_body_with(asker, None, &body, outboxes)
    }

    fn topic_is_there(&self, topic: &str) -> Result<&proto::body::TopicConfig, Stop> {
        self.catalog.topic(topic).map(|topic| &topic.config).ok_or_else(|| {
            let remark = format!("topic[{topic}] not exist");
            Refusal::new(response::TOPIC_NOT_EXIST, remark).into()
        })
    }

    pub(in crate::broker) fn topic_stats(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        self.check_home()?;
        let topic = TopicHeader::parse(command)?.topic.to_cow();
        let config = self.topic_is_there(&topic)?;
        let count = config.read_queue_nums.max(config.write_queue_nums);
        let topics = vec![(Arc::from(&*topic), u32::try_from(count).unwrap_or(0))];
        let question = QueueQuestion { group: "".into(), topics, times: Times::Newest };
        let question = Arc::new(question);
        self.ask_all(asker, Question::Queues(Arc::clone(&question)), Then::TopicStats(question))
    }

    pub(super) fn queue(&self, question: &QueueQuestion, facts: &QueueFacts) -> MessageQueue {
        let (topic, _) = &question.topics[facts.topic];
        MessageQueue::new(topic, &self.settings.broker_name, facts.queue as i32)
    }

    fn topic_stats_of(&self, question: &QueueQuestion, parts: Vec<Part>) -> TopicStatsTable {
        let row = |facts: QueueFacts| {
            // -1: it had messages, and has none left.
            let none_ms = if facts.max > 0 { -1 } else { 0 };
            let offset = TopicOffset {
                last_update_timestamp: facts.newest_ms.map_or(none_ms, wire),
                max_offset: wire(facts.max),
                min_offset: wire(facts.min),
            };
            (self.queue(question, &facts), offset)
        };
        let offset_table = queues_in(parts).into_iter().map(row).collect();
        TopicStatsTable { offset_table, topic_put_tps: 0.0 }
    }

    pub(in crate::broker) fn consume_stats(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = ConsumerHeader::parse(command)?;
        let group: Arc<str> = Arc::from(&*header.group.to_cow());
        if let Some(list) = header.topic_list {
            let list = list.to_cow();
            // Named one by one: what the group subscribes to does not matter.
            let topics = list.split(';').filter(|name| !name.is_empty()).map(Arc::from).collect();
            return self.ask_queues_of(asker, &group, topics, outboxes);
        }
        if let Some(topic) = header.topic {
            return self.ask_consume_stats(asker, &group, vec![topic.to_cow().into()], outboxes);
        }
        self.ask_all(asker, Question::TopicsOf(Arc::clone(&group)), Then::ConsumeStatsOf(group))
    }

    /// Of topics that the group subscribes to, if it subscribes to any now.
    fn ask_consume_stats(
        &mut self,
        asker: &Asker,
        group: &Arc<str>,
        mut topics: Vec<Arc<str>>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        topics.retain(|topic| self.may_consume(group, topic));
        self.ask_queues_of(asker, group, topics, outboxes)
    }

    /// Whether a group subscribes to a topic, or is not online and so may.
    pub(in crate::broker) fn may_consume(&self, group: &str, topic: &str) -> bool {
        let online = self.membership.group(group);
        online.is_none_or(|online| {
            online.subscriptions().next().is_none() || online.subscription(topic).is_some()
        })
    }

    fn ask_queues_of(
        &mut self,
        asker: &Asker,
        group: &Arc<str>,
        mut topics: Vec<Arc<str>>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        topics.sort_unstable();
        topics.dedup();
        let count = |name: &Arc<str>| {
            let config = &self.catalog.topic(name)?.config;
            Some((Arc::clone(name), u32::try_from(config.read_queue_nums).unwrap_or(0)))
        };
        let topics: Vec<_> = topics.iter().filter_map(count).collect();
        check_count(&topics)?;
        if topics.is_empty() {
            return answer_body(asker, |body| ConsumeStats::default().write(body), outboxes);
        }
        let question = QueueQuestion { group: Arc::clone(group), topics, times: Times::Consumed };
        let question = Arc::new(question);
        self.ask_all(asker, Question::Queues(Arc::clone(&question)), Then::ConsumeStats(question))
    }

    fn stats_of(&self, question: &QueueQuestion, parts: Vec<Part>) -> ConsumeStats {
        let row = |facts: QueueFacts| {
            let consumed = wire(facts.committed.unwrap_or(0));
            let offset = OffsetWrapper {
                broker_offset: wire(facts.max),
                consumer_offset: consumed,
                last_timestamp: wire(facts.consumed_ms.unwrap_or(0)),
                // What members have pulled and not committed is theirs to know.
                pull_offset: consumed,
            };
            (self.queue(question, &facts), offset)
        };
        let offset_table = queues_in(parts).into_iter().map(row).collect();
        ConsumeStats { consume_tps: 0.0, offset_table }
    }

    pub(in crate::broker) fn consume_time_span(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        self.check_home()?;
        let header = GroupHeader::parse(command)?;
        let topic = header.topic.ok_or(HeaderError::Missing { field: "topic" })?.to_cow();
        let count = self.topic_is_there(&topic)?.write_queue_nums;
        let topics = vec![(Arc::from(&*topic), u32::try_from(count).unwrap_or(0))];
        let group = Arc::from(&*header.group.to_cow());
        let question = Arc::new(QueueQuestion { group, topics, times: Times::Span });
        self.ask_all(asker, Question::Queues(Arc::clone(&question)), Then::TimeSpan(question))
    }

    fn time_span_of(
        &self,
        now: Now,
        question: &QueueQuestion,
        parts: Vec<Part>,
    ) -> QueryConsumeTimeSpanBody {
        let time = |ms: Option<u64>| ms.map_or(-1, wire);
        let row = |facts: QueueFacts| {
            let consumed = facts.committed.filter(|offset| *offset > 0).and(facts.consumed_ms);
            QueueTimeSpan {
                consume_time_stamp: time(consumed.or(facts.oldest_ms)),
                delay_time: facts.next_ms.map_or(0, |next| wire(now.wall_ms.saturating_sub(next))),
                max_time_stamp: time(facts.newest_ms),
                min_time_stamp: time(facts.oldest_ms),
                message_queue: self.queue(question, &facts),
                ..QueueTimeSpan::default()
            }
        };
        let consume_time_span_set = queues_in(parts).into_iter().map(row).collect();
        QueryConsumeTimeSpanBody { consume_time_span_set }
    }

    pub(in crate::broker) fn topic_consumers(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        let topic: Arc<str> = Arc::from(&*TopicHeader::parse(command)?.topic.to_cow());
        self.ask_all(asker, Question::GroupsOf(Arc::clone(&topic)), Then::GroupNames(topic))
    }

    pub(in crate::broker) fn topics_of_consumer(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        let group = Arc::from(&*GroupHeader::parse(command)?.group.to_cow());
        self.ask_all(asker, Question::TopicsOf(group), Then::TopicNames)
    }

    // ---- 308 ------------------------------------------------------------------------------------

    /// For each queue the lowest offset of any group, but for queues where the compared group is below
    /// it: there the largest number. Groups that do not count are left out; Apache deletes their offsets.
    pub(in crate::broker) fn correction_offset(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        let header = CorrectionOffsetHeader::parse(command)?;
        let left_out = header.filter_groups.map(|text| text.to_cow().into_owned());
        let left_out = left_out.unwrap_or_default();
        let topic: Arc<str> = Arc::from(&*header.topic.to_cow());
        let correction = Correction {
            topic: Arc::clone(&topic),
            compared: Arc::from(&*header.compare_group.to_cow()),
            left_out: left_out.split(',').map(str::to_owned).collect(),
            groups: Vec::new(),
            compare: BTreeMap::new(),
            lowest: BTreeMap::new(),
        };
        self.ask_all(asker, Question::GroupsOf(topic), Then::CorrectionOf(correction))
    }

    fn ask_correction(
        &mut self,
        asker: &Asker,
        mut correction: Correction,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let config = self.catalog.topic(&correction.topic).map(|topic| &topic.config);
        let count = config.map_or(0, |it| it.read_queue_nums.max(it.write_queue_nums));
        if let Some(group) = correction.groups.pop() {
            let topics = vec![(Arc::clone(&correction.topic), u32::try_from(count).unwrap_or(0))];
            let question =
                QueueQuestion { group: Arc::clone(&group), topics, times: Times::Nothing };
            correction.groups.push(group);
            let question = Question::Queues(Arc::new(question));
            return self.ask_all(asker, question, Then::Correction(correction));
        }
        let Correction { compare, lowest, .. } = correction;
        let correction_offsets = lowest.into_iter().map(|(queue, lowest)| {
            let is_ahead = compare.get(&queue).is_some_and(|offset| lowest > *offset);
            (queue as i32, if is_ahead { i64::MAX } else { wire(lowest) })
        });
        answer_body(
            asker,
            |body| {
                QueryCorrectionOffsetBody { correction_offsets: correction_offsets.collect() }
                    .write(body)
            },
            outboxes,
        )
    }

    fn go_on_correction(
        &mut self,
        asker: &Asker,
        mut correction: Correction,
        parts: Vec<Part>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let group = correction.groups.pop().expect("it was asked for");
        for facts in queues_in(parts) {
            let Some(offset) = facts.committed else { continue };
            if group == correction.compared {
                correction.compare.insert(facts.queue, offset);
            }
            if offset >= facts.min {
                let lowest = correction.lowest.entry(facts.queue).or_insert(offset);
                *lowest = offset.min(*lowest);
            }
        }
        self.ask_correction(asker, correction, outboxes)
    }
}

/// An answer about so many queues fits a frame.
fn check_count(topics: &[(Arc<str>, u32)]) -> Result<(), Stop> {
    let count: u64 = topics.iter().map(|(_, count)| u64::from(*count)).sum();
    if count <= QUEUES_TOLD_MAX as u64 {
        return Ok(());
    }
    let remark = format!(
        "the group consumes {count} queues, and an answer tells of {QUEUES_TOLD_MAX} at the most: name a topic"
    );
    Err(Refusal::new(response::SYSTEM_ERROR, remark).into())
}

/// Offsets and times stay far below the largest number.
pub(super) fn wire(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
