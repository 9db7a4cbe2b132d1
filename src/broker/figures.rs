//! Figures: what the broker of a core says of itself when somebody asks.
//! Kind: machine
//!
//! The work is bounded: it is done between messages.

use std::collections::BTreeMap;

use engine::shard::Shard;
use proto::body::ConsumeType;
use proto::language::Language;
use proto::version;
use runtime::clock::Now;

use super::Broker;
use super::limits::{CLIENTS_TOLD_MAX, LAGS_LOOKED_AT_MAX};
use super::membership::Client;
use crate::observe::{
    Ask, Clients, ConsumerFigures, CoreFigures, Depth, Lag, ShardFigures, TopicFigures,
    TransactionFigures,
};

impl Broker {
    /// What an answer says of the broker; the driver adds what it counts itself.
    pub fn figures(&mut self, now: Now, ask: Ask) -> CoreFigures {
        let shards = self.shards.iter_mut().enumerate();
        let router = self.router;
        let shards = shards.map(|(place, shard)| shard_figures(now, router.number(place), shard));
        let mut figures = CoreFigures {
            round: ask.round,
            is_whole: ask.depth == Depth::Whole,
            shards: shards.collect(),
            ..CoreFigures::default()
        };
        if figures.is_whole {
            self.add_traffic(&mut figures);
            self.add_lags(now, &mut figures);
            if self.router.is_home() {
                self.add_clients(&mut figures);
            }
        }
        figures
    }

    fn add_traffic(&self, figures: &mut CoreFigures) {
        let name = |topic: u32| self.catalog.topic_name(topic).map(str::to_owned);
        let topics = self.tally.topics().filter_map(|(topic, traffic)| {
            Some(TopicFigures { topic: name(topic)?, traffic: *traffic })
        });
        figures.topics = topics.collect();
        let consumers = self.tally.consumers().filter_map(|(group, topic, traffic)| {
            Some(ConsumerFigures { topic: name(topic)?, group: group.to_owned(), traffic })
        });
        figures.consumers = consumers.collect();
        let transactions = self.tally.transactions().filter_map(|(topic, ended)| {
            Some(TransactionFigures { topic: name(topic)?, ended: *ended })
        });
        figures.transactions = transactions.collect();
        figures.answered = *self.tally.answers();
        figures.timers = self.tally.timers();
        figures.permission = self.router.is_home().then_some(self.settings.permission);
        figures.others = self.tally.others();
        figures.refusals = self.tally.refusals().to_vec();
        figures.parked_requests = self.parked.len() + self.queries.len();
    }

    fn add_lags(&self, now: Now, figures: &mut CoreFigures) {
        let mut lags = BTreeMap::<(&str, u32), (u64, u64)>::new();
        let mut left = LAGS_LOOKED_AT_MAX;
        for shard in &self.shards {
            let (offsets, first_out) = shard.offsets().of_whole_groups(left);
            left -= offsets.len();
            figures.lags_left_out += shard.offsets().len() - offsets.len();
            if let Some(group) = first_out {
                let before = figures.lags_below.take().filter(|before| **before < *group);
                figures.lags_below = Some(before.unwrap_or_else(|| group.to_owned()));
            }
            for (group, queue, committed) in offsets {
                let (min, max) = shard.queues().bounds(queue).unwrap_or((0, 0));
                let next = committed.max(min);
                let messages = max.saturating_sub(next);
                let stored_ms = (messages > 0).then(|| shard.queues().stored_ms_about(queue, next));
                let stored_ms = stored_ms.flatten().unwrap_or(now.wall_ms);
                let sum = lags.entry((group, queue.topic)).or_default();
                *sum = (sum.0 + messages, sum.1.max(now.wall_ms.saturating_sub(stored_ms)));
            }
        }
        let lags = lags.into_iter().filter_map(|((group, topic), (messages, latency_ms))| {
            let topic = self.catalog.topic_name(topic)?.to_owned();
            Some(Lag { group: group.to_owned(), topic, messages, latency_ms })
        });
        figures.lags = lags.collect();
    }

    fn add_clients(&self, figures: &mut CoreFigures) {
        figures.topic_count = self.catalog.topics().count();
        figures.group_count = self.catalog.groups().count();
        let mut counts = BTreeMap::<_, u64>::new();
        for client in self.membership.all_producers() {
            *counts.entry(("", client.language, client.version, "")).or_default() += 1;
        }
        figures.producers = alike(counts);
        let mut counts = BTreeMap::<_, u64>::new();
        for (name, group) in self.membership.groups() {
            let mode = match &group.consume_type {
                Some(ConsumeType::ConsumeActively) => "pull",
                Some(ConsumeType::ConsumePop) => "pop",
                _ => "push",
            };
            for (_, Client { language, version, .. }) in group.members() {
                *counts.entry((name, *language, *version, mode)).or_default() += 1;
            }
        }
        figures.consumer_clients = alike(counts);
    }
}

fn shard_figures(now: Now, number: usize, shard: &mut Shard) -> ShardFigures {
    let buffer_bytes = shard.log_mut().buffer_mut().size_bytes();
    let log = shard.log();
    ShardFigures {
        shard: number,
        refuses: shard.refuses(),
        start: shard.start(),
        prepared: log.prepared(),
        appended: log.appended(),
        written: log.written(),
        durable: log.durable(),
        confirmed: log.confirmed(),
        buffer_bytes,
        waiting_records: shard.waiting_records(),
        held_pulls: shard.held_pulls(),
        cold_reads: shard.cold_reads_completed(),
        runs: shard.queues().runs().count(),
        unsealed_bytes: shard.unsealed_bytes(),
        safe_below: shard.safe_below(),
        half_messages: shard.transactions().len() as u64,
        timers: shard.timers().waiting(),
        timers_late_ms: now.wall_ms.saturating_sub(shard.timers().pending_from_ms()),
    }
}

/// Group, language, version and way of consuming, with how many connections are like that.
type Counts<'a> = BTreeMap<(&'a str, Option<Language>, i32, &'static str), u64>;

fn alike(counts: Counts<'_>) -> Vec<Clients> {
    let clients = counts.into_iter().take(CLIENTS_TOLD_MAX);
    let clients = clients.map(|((group, language, version, consume_mode), count)| Clients {
        group: group.to_owned(),
        language: language.map_or("unknown", Language::name).to_lowercase(),
        version: version::describe(version).to_lowercase(),
        consume_mode,
        count,
    });
    clients.collect()
}
