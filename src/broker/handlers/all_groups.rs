//! How far all groups are: 43 GET_ALL_CONSUMER_OFFSET, 317 GET_BROKER_CONSUME_STATS.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor and ConsumerOffsetManager of 5.3.3.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::body::{
    ConsumeStats, ConsumeStatsList, ConsumerOffsetSerializeWrapper, DataVersion, OffsetWrapper,
};
use proto::code::response;
use proto::command::Command;
use proto::header::BrokerConsumeStatsHeader;
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, answer_body};
use super::super::inquiry::{CommittedOffset, Part, Question, QueueQuestion, Times, queues_in};
use super::super::limits::QUEUES_TOLD_MAX;
use super::super::{Asker, Broker, Refusal};
use super::Then;
use super::stats::wire;
use crate::net::outbox::Outboxes;

/// 317 on its way: one group is asked for after the other.
#[derive(Debug)]
pub(in crate::broker) struct AllStats {
    /// Groups to ask for yet, with their topics, the last first.
    groups: Vec<(Arc<str>, Vec<Arc<str>>)>,
    /// What is asked now.
    asked: Option<Arc<QueueQuestion>>,
    told: ConsumeStatsList,
}

impl Broker {
    pub(in crate::broker) fn all_offsets(&mut self, asker: &Asker) -> Handled {
        self.ask_all(asker, Question::Offsets, Then::AllOffsets)
    }

    pub(super) fn tell_all_offsets(
        &self,
        now: Now,
        asker: &Asker,
        parts: Vec<Part>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let timestamp = wire(now.wall_ms);
        let mut table = ConsumerOffsetSerializeWrapper {
            data_version: DataVersion { timestamp, ..DataVersion::default() },
            ..ConsumerOffsetSerializeWrapper::default()
        };
        for CommittedOffset { group, topic, queue, offset } in offsets_in(parts) {
            let queues = table.offset_table.entry(format!("{topic}@{group}")).or_default();
            queues.insert(queue as i32, wire(offset));
            table.group_topic_map.entry(group.to_string()).or_default().insert(topic.to_string());
        }
        answer_body(asker, |body| table.write(body), outboxes)
    }

    pub(in crate::broker) fn broker_consume_stats(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        let is_order = BrokerConsumeStatsHeader::parse(command)?.is_order;
        self.ask_all(asker, Question::Offsets, Then::AllStatsOf { is_order })
    }

    /// The groups and their topics are there.
    pub(super) fn ask_all_stats(
        &mut self,
        asker: &Asker,
        is_order: bool,
        parts: Vec<Part>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let mut topics = BTreeMap::<Arc<str>, BTreeSet<Arc<str>>>::new();
        for CommittedOffset { group, topic, .. } in offsets_in(parts) {
            let is_wanted = |broker: &Broker| {
                let config = broker.catalog.topic(&topic).map(|topic| &topic.config);
                config.is_some_and(|config| config.order || !is_order)
                    && broker.may_consume(&group, &topic)
            };
            if is_wanted(self) {
                topics.entry(group).or_default().insert(topic);
            }
        }
        let names: BTreeSet<Arc<str>> =
            self.catalog.groups().map(|group| Arc::from(group.group_name.as_str())).collect();
        let of_group = |group: Arc<str>| {
            let topics = topics.remove(&group).unwrap_or_default();
            (group, topics.into_iter().collect())
        };
        let groups = names.into_iter().rev().map(of_group).collect();
        let told = ConsumeStatsList {
            broker_addr: Some(self.settings.advertised.to_string()),
            ..ConsumeStatsList::default()
        };
        self.ask_next_stats(asker, AllStats { groups, asked: None, told }, outboxes)
    }

    fn ask_next_stats(
        &mut self,
        asker: &Asker,
        mut all: AllStats,
        outboxes: &mut Outboxes,
    ) -> Handled {
        while let Some((group, topics)) = all.groups.pop() {
            let count = |name: &Arc<str>| {
                let config = &self.catalog.topic(name)?.config;
                Some((Arc::clone(name), u32::try_from(config.write_queue_nums).unwrap_or(0)))
            };
            let topics: Vec<_> = topics.iter().filter_map(count).collect();
            if topics.is_empty() {
                let nothing = BTreeMap::from([(group.to_string(), Vec::new())]);
                all.told.consume_stats_list.push(nothing);
                continue;
            }
            let question = Arc::new(QueueQuestion { group, topics, times: Times::Consumed });
            all.asked = Some(Arc::clone(&question));
            return self.ask_all(asker, Question::Queues(question), Then::AllStats(all));
        }
        answer_body(asker, |body| all.told.write(body), outboxes)
    }

    /// How far one group is, is there.
    pub(super) fn go_on_all_stats(
        &mut self,
        asker: &Asker,
        mut all: AllStats,
        parts: Vec<Part>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        let question = all.asked.take().expect("it was asked");
        let mut stats = vec![ConsumeStats::default(); question.topics.len()];
        for facts in queues_in(parts) {
            let consumed = wire(facts.committed.unwrap_or(0));
            let offset = OffsetWrapper {
                broker_offset: wire(facts.max),
                consumer_offset: consumed,
                last_timestamp: wire(facts.consumed_ms.unwrap_or(0)),
                pull_offset: consumed,
            };
            let behind = offset.broker_offset.saturating_sub(consumed);
            all.told.total_diff = all.told.total_diff.saturating_add(behind);
            stats[facts.topic].offset_table.insert(self.queue(&question, &facts), offset);
        }
        let group = question.group.to_string();
        all.told.consume_stats_list.push(BTreeMap::from([(group, stats)]));
        check_told(&all.told)?;
        self.ask_next_stats(asker, all, outboxes)
    }
}

/// What a frame could not hold is not gathered.
fn check_told(told: &ConsumeStatsList) -> Result<(), Stop> {
    let groups = told.consume_stats_list.iter().flat_map(BTreeMap::values).flatten();
    let count: usize = groups.map(|stats| stats.offset_table.len()).sum();
    if count <= QUEUES_TOLD_MAX {
        return Ok(());
    }
    let remark = format!(
        "all groups together consume more than {QUEUES_TOLD_MAX} queues, as many as an answer tells of: ask for one group"
    );
    Err(Refusal::new(response::SYSTEM_ERROR, remark).into())
}

fn offsets_in(parts: Vec<Part>) -> impl Iterator<Item = CommittedOffset> {
    let offsets = parts.into_iter().map(|part| match part {
        Part::Offsets(offsets) => offsets,
        _ => Vec::new(),
    });
    offsets.flatten()
}
