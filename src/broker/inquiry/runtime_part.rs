//! How a core is and what it counted, for 28 GET_BROKER_RUNTIME_INFO and its like.
//! Kind: machine

use engine::delay::Delays;
use engine::shard::{Shard, TIMER_QUEUE};
use proto::names;
use runtime::clock::Now;

use super::super::Broker;
use crate::observe::{Growth, RATES_MS, Totals};

/// What a core says.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    /// Its shards.
    pub shards: Vec<ShardRuntime>,
    /// What it counted since the start.
    pub totals: Totals,
    /// The same at the last two midnights, the newer one first.
    pub midnights: [Totals; 2],
    /// The same some time ago.
    pub growth: [Growth; RATES_MS.len()],
    /// Requests that wait for the disk: queries, words on half messages.
    pub parked: usize,
}

/// What it says of a shard. Positions are log offsets.
#[derive(Clone, Debug, Default)]
pub struct ShardRuntime {
    /// Its number in the store.
    pub number: usize,
    /// Where the log begins.
    pub start: u64,
    /// See ARCHITECTURE.md, "What always holds".
    pub appended: u64,
    /// See there.
    pub durable: u64,
    /// See there.
    pub confirmed: u64,
    /// When its oldest message was stored, ms.
    pub oldest_ms: Option<u64>,
    /// Records that wait for the disk.
    pub waiting_records: usize,
    /// Of each delay level the next queue offset to deliver, and that behind the newest message.
    pub levels: Vec<(u64, u64)>,
    /// Messages that wait for a time of their own.
    pub timers: u64,
    /// Of those the first is due then, ms; `None`: none waits.
    pub timers_from_ms: Option<u64>,
    /// All that ever waited: the end of their queue.
    pub timers_end: u64,
    /// Half messages that are open.
    pub half_messages: usize,
}

impl Broker {
    pub(super) fn runtime(&self, now: Now) -> Runtime {
        let now_ms = now.monotonic_ms();
        let shards = self.shards.iter().enumerate();
        Runtime {
            shards: shards.map(|(place, it)| of_shard(self.router.number(place), it)).collect(),
            totals: self.tally.totals(|topic| self.is_own_topic(topic)),
            midnights: self.tally.midnights(),
            growth: self.tally.growth(now_ms),
            parked: self.parked.len() + self.queries.len(),
        }
    }

    /// Whether a topic's incarnation is one of the broker's own (`TopicValidator.isSystemTopic`).
    pub(in crate::broker) fn is_own_topic(&self, topic: u32) -> bool {
        self.catalog.topic_name(topic).is_some_and(names::is_system_topic)
    }
}

fn of_shard(number: usize, shard: &Shard) -> ShardRuntime {
    let (log, delays, timers) = (shard.log(), shard.delays(), shard.timers());
    let level = |level: usize| {
        let (_, max) = shard.queues().bounds(Delays::queue(level)).unwrap_or((0, 0));
        (delays.cursor(level), max)
    };
    let first_ms = timers.pending_from_ms();
    ShardRuntime {
        number,
        start: shard.start(),
        appended: log.appended(),
        durable: log.durable(),
        confirmed: log.confirmed(),
        oldest_ms: shard.queues().oldest_stored_ms(),
        waiting_records: shard.waiting_records(),
        levels: (1..=delays.levels()).map(level).collect(),
        timers: timers.waiting(),
        timers_from_ms: (first_ms < u64::MAX).then_some(first_ms),
        timers_end: shard.queues().bounds(TIMER_QUEUE).map_or(0, |(_, max)| max),
        half_messages: shard.transactions().len(),
    }
}
