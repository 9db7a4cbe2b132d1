//! What a core counts while it works, and what it answers when it is asked.
//! Owns: the counters of one core, in plain fields.          Lives on: every core
//! Kind: machine
//! Invariants:
//!   a counter only grows; a table that is full counts what else comes together, under no name
//!   what a held pull has as its number stays the number of its group and topic

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};

use super::histogram::{FINISH_S, Histogram, RPC_MS};
use super::limits::{CODES_COUNTED_MAX, CONSUMERS_COUNTED_MAX, TOPICS_COUNTED_MAX};
use super::samples::{Counter, Course, Growth, RATES_MS, Samples, Span, Totals};

/// What kind of message a producer sent (`TopicMessageType`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageType {
    /// No other.
    Normal,
    /// With a sharding key.
    Fifo,
    /// With a delay level.
    Delay,
    /// A half message, and what it became.
    Transaction,
}

impl MessageType {
    /// In the order of their counters.
    pub const ALL: [MessageType; 4] =
        [MessageType::Normal, MessageType::Fifo, MessageType::Delay, MessageType::Transaction];

    /// The value of the label `message_type`.
    pub fn name(self) -> &'static str {
        match self {
            MessageType::Normal => "normal",
            MessageType::Fifo => "fifo",
            MessageType::Delay => "delay",
            MessageType::Transaction => "transaction",
        }
    }
}

/// Messages and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
}

impl Traffic {
    /// Some more.
    pub fn add(&mut self, messages: usize, bytes: usize) {
        self.messages += messages as u64;
        self.bytes += bytes as u64;
    }

    /// Both together.
    pub fn merge(&mut self, other: Traffic) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// What became of a topic's half messages.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ended {
    /// Committed, by how long after they were born, s.
    pub committed: Histogram,
    /// Rolled back.
    pub rolled_back: u64,
}

/// What was answered, of which the time is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// A message is stored.
    Send,
    /// A message is stored and perhaps not durable: its time was up.
    SendOverdue,
    /// A batch is stored.
    Batch,
    /// The same of a batch.
    BatchOverdue,
}

impl Answered {
    /// In the order of their histograms.
    pub const ALL: [Answered; 4] =
        [Answered::Send, Answered::SendOverdue, Answered::Batch, Answered::BatchOverdue];

    /// The labels `request_code` and `response_code`.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Answered::Send => ("SEND_MESSAGE_V2", "SUCCESS"),
            Answered::SendOverdue => ("SEND_MESSAGE_V2", "FLUSH_DISK_TIMEOUT"),
            Answered::Batch => ("SEND_BATCH_MESSAGE", "SUCCESS"),
            Answered::BatchOverdue => ("SEND_BATCH_MESSAGE", "FLUSH_DISK_TIMEOUT"),
        }
    }
}

/// A core's counters. See the module's first lines.
#[derive(Debug)]
pub struct Tally {
    /// Slots by topics' incarnations, 0 without one.
    topics: Vec<u32>,
    /// By slot, then by [`MessageType`]; slot 0 is all for which there was no place.
    incoming: Vec<[Traffic; MessageType::ALL.len()]>,
    /// The topic that was counted last, and its slot.
    last: Option<u32>,
    slot: u32,
    numbers: HashMap<Consumer, u32, RandomState>,
    /// By number; 0 is all for which there was no place.
    consumers: Vec<Traffic>,
    refusals: Vec<(i32, u64)>,
    pulls_found: u64,
    pulls_missed: u64,
    timers_in: u64,
    timers_out: u64,
    /// By slot, as far as one was needed.
    ended: Vec<Ended>,
    /// By [`Answered`].
    answered: [Histogram; Answered::ALL.len()],
    samples: Samples,
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct Consumer {
    topic: u32,
    group: Box<str>,
}

#[derive(Hash)]
struct ConsumerRef<'a> {
    topic: u32,
    group: &'a str,
}

impl Equivalent<Consumer> for ConsumerRef<'_> {
    fn equivalent(&self, key: &Consumer) -> bool {
        self.topic == key.topic && *self.group == *key.group
    }
}

impl Tally {
    /// Nothing is counted yet; `now_ms` is monotonic, as in all that follows.
    pub fn new(now_ms: u64) -> Tally {
        Tally {
            topics: Vec::new(),
            incoming: Vec::new(),
            last: None,
            slot: 0,
            numbers: HashMap::default(),
            consumers: Vec::new(),
            refusals: Vec::new(),
            pulls_found: 0,
            pulls_missed: 0,
            timers_in: 0,
            timers_out: 0,
            ended: Vec::new(),
            answered: Default::default(),
            samples: Samples::new(now_ms),
        }
    }

    /// Messages of a topic's incarnation were appended.
    pub fn came_in(&mut self, topic: u32, kind: MessageType, messages: usize, bytes: usize) {
        self.find_slot(topic);
        if let Some(by_type) = self.incoming.get_mut(self.slot as usize) {
            by_type[kind as usize].add(messages, bytes);
        }
    }

    fn find_slot(&mut self, topic: u32) {
        // Most messages are of the topic of the one before, so it is not looked up again.
        if self.last != Some(topic) {
            self.slot = match self.topics.get(topic as usize) {
                None | Some(0) => self.new_slot(topic),
                Some(slot) => *slot,
            };
            self.last = Some(topic);
        }
    }

    fn ended(&mut self, topic: u32) -> &mut Ended {
        self.find_slot(topic);
        let slot = self.slot as usize;
        self.ended.resize(self.ended.len().max(slot + 1), Ended::default());
        &mut self.ended[slot]
    }

    /// A half message of a topic's incarnation was committed so long after it was born.
    pub fn committed(&mut self, topic: u32, after_ms: u64) {
        self.ended(topic).committed.record(FINISH_S, after_ms / 1000);
    }

    /// A half message of a topic's incarnation was rolled back.
    pub fn rolled_back(&mut self, topic: u32) {
        self.ended(topic).rolled_back += 1;
    }

    /// A request was answered after so long, ms.
    pub fn answered(&mut self, what: Answered, took_ms: u64) {
        self.answered[what as usize].record(RPC_MS, took_ms);
    }

    /// By [`Answered`], how long that took.
    pub fn answers(&self) -> &[Histogram; Answered::ALL.len()] {
        &self.answered
    }

    /// Topics' incarnations with what became of their half messages.
    pub fn transactions(&self) -> impl Iterator<Item = (u32, &Ended)> {
        let slots = (0..).zip(&self.topics).filter(|(_, slot)| **slot > 0);
        let ended =
            slots.filter_map(|(topic, slot)| Some((topic, self.ended.get(*slot as usize)?)));
        ended.filter(|(_, ended)| **ended != Ended::default())
    }

    /// Messages that began to wait for a time of their own, and those whose time came.
    pub fn timers(&self) -> (u64, u64) {
        (self.timers_in, self.timers_out)
    }

    fn new_slot(&mut self, topic: u32) -> u32 {
        let next = self.incoming.len().max(1);
        let slot = if next <= TOPICS_COUNTED_MAX { next } else { 0 };
        self.incoming.resize(self.incoming.len().max(slot + 1), Default::default());
        let slot = u32::try_from(slot).expect("few are counted");
        if slot > 0 {
            let topic = topic as usize;
            self.topics.resize(self.topics.len().max(topic + 1), 0);
            self.topics[topic] = slot;
        }
        slot
    }

    /// The number of a group that pulls from a topic's incarnation.
    pub fn number(&mut self, topic: u32, group: &str) -> u32 {
        if let Some(number) = self.numbers.get(&ConsumerRef { topic, group }) {
            return *number;
        }
        let number = self.consumers.len().max(1);
        if number > CONSUMERS_COUNTED_MAX {
            return 0;
        }
        self.consumers.resize(number + 1, Traffic::default());
        let number = u32::try_from(number).expect("few are counted");
        self.numbers.insert(Consumer { topic, group: group.into() }, number);
        number
    }

    /// A pull was answered with messages.
    pub fn went_out(&mut self, number: u32, messages: usize, bytes: usize) {
        self.pulls_found += 1;
        if let Some(traffic) = self.consumers.get_mut(number as usize) {
            traffic.add(messages, bytes);
        }
    }

    /// A pull was answered without messages.
    pub fn missed(&mut self) {
        self.pulls_missed += 1;
    }

    /// A message began to wait for a time of its own.
    pub fn timer_came_in(&mut self) {
        self.timers_in += 1;
    }

    /// Messages' times came.
    pub fn timers_went_out(&mut self, count: usize) {
        self.timers_out += count as u64;
    }

    /// A send was refused.
    pub fn refused(&mut self, code: i32) {
        let has_place = self.refusals.len() < CODES_COUNTED_MAX;
        match self.refusals.iter_mut().find(|(of, _)| *of == code) {
            Some((_, count)) => *count += 1,
            None if has_place => self.refusals.push((code, 1)),
            None => {}
        }
    }

    /// Topics' incarnations with what came in, by [`MessageType`].
    pub fn topics(&self) -> impl Iterator<Item = (u32, &[Traffic; MessageType::ALL.len()])> {
        let slots = (0..).zip(&self.topics).filter(|(_, slot)| **slot > 0);
        slots.filter_map(|(topic, slot)| Some((topic, self.incoming.get(*slot as usize)?)))
    }

    /// Groups with the topics' incarnations that they pulled from, and what went out.
    pub fn consumers(&self) -> impl Iterator<Item = (&str, u32, Traffic)> {
        let traffic = |number: u32| self.consumers.get(number as usize).copied();
        self.numbers.iter().map(move |(consumer, number)| {
            (&*consumer.group, consumer.topic, traffic(*number).unwrap_or_default())
        })
    }

    /// What came in and went out under no name.
    pub fn others(&self) -> (Traffic, Traffic) {
        let mut incoming = Traffic::default();
        self.incoming.first().into_iter().flatten().for_each(|traffic| incoming.merge(*traffic));
        (incoming, self.consumers.first().copied().unwrap_or_default())
    }

    /// Sends refused, by code.
    pub fn refusals(&self) -> &[(i32, u64)] {
        &self.refusals
    }

    // ---- over time ------------------------------------------------------------------------------

    /// Samples what was counted, if it is time; `hour` is that of the day, local time. `is_own` says of
    /// which topics' incarnations the broker is the user.
    pub fn sample(&mut self, now_ms: u64, hour: u8, is_own: impl Fn(u32) -> bool) {
        if !self.samples.is_due(now_ms, hour) {
            return;
        }
        let totals = self.totals(is_own);
        let topics = self.incoming.iter().map(sum_of);
        let consumers = self.consumers.iter().copied();
        self.samples.sample(now_ms, hour, totals, topics, consumers);
    }

    /// Everything together. See [`Tally::sample`].
    pub fn totals(&self, is_own: impl Fn(u32) -> bool) -> Totals {
        let mut totals = Totals {
            pulls_found: self.pulls_found,
            pulls_missed: self.pulls_missed,
            timers_in: self.timers_in,
            timers_out: self.timers_out,
            ..Totals::default()
        };
        self.incoming.iter().for_each(|by_type| totals.put.merge(sum_of(by_type)));
        self.consumers.iter().for_each(|traffic| totals.got.merge(*traffic));
        let own_in: u64 =
            self.topics().filter(|it| is_own(it.0)).map(|it| sum_of(it.1).messages).sum();
        let own_out: u64 = self.consumers().filter(|it| is_own(it.1)).map(|it| it.2.messages).sum();
        totals.put_by_users = totals.put.messages - own_in;
        totals.got_by_users = totals.got.messages - own_out;
        totals
    }

    /// How far back rates are told, and what was counted by then.
    pub fn growth(&self, now_ms: u64) -> [Growth; RATES_MS.len()] {
        self.samples.growth(now_ms)
    }

    /// The totals at the last two midnights, the newer one first.
    pub fn midnights(&self) -> [Totals; 2] {
        self.samples.midnights()
    }

    /// What came in for a topic's incarnation over the last minute, hour and day; `None`: it is not counted
    /// by itself.
    pub fn topic_over(&self, now_ms: u64, topic: u32) -> Option<[Course; Span::ALL.len()]> {
        let slot = *self.topics.get(topic as usize).filter(|slot| **slot > 0)? as usize;
        let value = sum_of(self.incoming.get(slot)?);
        let over = |span| self.samples.over(now_ms, span, Counter::Topic(slot), value);
        Some(Span::ALL.map(over))
    }

    /// The same of what a group pulled from a topic's incarnation.
    pub fn consumer_over(
        &self,
        now_ms: u64,
        topic: u32,
        group: &str,
    ) -> Option<[Course; Span::ALL.len()]> {
        let number = *self.numbers.get(&ConsumerRef { topic, group })? as usize;
        let value = *self.consumers.get(number)?;
        let over = |span| self.samples.over(now_ms, span, Counter::Consumer(number), value);
        Some(Span::ALL.map(over))
    }

    /// The same of everything that came in, or went out.
    pub fn all_over(&self, now_ms: u64, is_incoming: bool) -> [Course; Span::ALL.len()] {
        let (counters, values): (fn(usize) -> Counter, Vec<Traffic>) = match is_incoming {
            true => (Counter::Topic, self.incoming.iter().map(sum_of).collect()),
            false => (Counter::Consumer, self.consumers.clone()),
        };
        Span::ALL.map(|span| {
            let mut sum = Course::default();
            for (slot, value) in values.iter().enumerate() {
                let course = self.samples.over(now_ms, span, counters(slot), *value);
                sum.traffic.merge(course.traffic);
                sum.took_ms = course.took_ms;
            }
            sum
        })
    }
}

/// Of all types together.
fn sum_of(by_type: &[Traffic; MessageType::ALL.len()]) -> Traffic {
    let mut sum = Traffic::default();
    by_type.iter().for_each(|traffic| sum.merge(*traffic));
    sum
}

/// A core's answer.
#[derive(Clone, Debug, Default)]
pub struct CoreFigures {
    /// Of the question.
    pub round: u64,
    /// Whether it is all there is, or how its shards are only.
    pub is_whole: bool,
    /// Its shards.
    pub shards: Vec<ShardFigures>,
    /// Open connections.
    pub connections: u32,
    /// Turns with something to do or to look for.
    pub turns: u64,
    /// How often it slept.
    pub parks: u64,
    /// Frames that it gave to other cores.
    pub crossed_out: u64,
    /// Frames of other cores that it handled.
    pub crossed_in: u64,
    /// Requests that wait for the disk: send-backs, searches.
    pub parked_requests: usize,
    /// What came in.
    pub topics: Vec<TopicFigures>,
    /// What went out.
    pub consumers: Vec<ConsumerFigures>,
    /// What came in and went out without a name, because too many had one.
    pub others: (Traffic, Traffic),
    /// What became of half messages.
    pub transactions: Vec<TransactionFigures>,
    /// How long requests took, by [`Answered`].
    pub answered: [Histogram; Answered::ALL.len()],
    /// Messages that began to wait for a time of their own, and those whose time came.
    pub timers: (u64, u64),
    /// What clients may do here, as it is now: the home core's.
    pub permission: Option<i32>,
    /// Sends refused, by code.
    pub refusals: Vec<(i32, u64)>,
    /// How far groups are behind.
    pub lags: Vec<Lag>,
    /// Offsets (group and queue) that were not looked at, because there are too many.
    pub lags_left_out: usize,
    /// Then only groups below this name were looked at in all their queues here.
    pub lags_below: Option<String>,
    /// Connections of producers, by language and version; the home core's.
    pub producers: Vec<Clients>,
    /// The same of consumers, by group.
    pub consumer_clients: Vec<Clients>,
    /// Topics and groups there are; the home core's.
    pub topic_count: usize,
    /// See `topic_count`.
    pub group_count: usize,
}

/// A shard's state. Positions are log offsets in bytes.
#[derive(Clone, Debug, Default)]
pub struct ShardFigures {
    /// Its number in the store.
    pub shard: usize,
    /// Why sends are refused, if they are.
    pub refuses: Option<String>,
    /// Where the log begins.
    pub start: u64,
    /// Zeros are on disk up to here.
    pub prepared: u64,
    /// See ARCHITECTURE.md, "What always holds".
    pub appended: u64,
    /// See there.
    pub written: u64,
    /// See there.
    pub durable: u64,
    /// See there.
    pub confirmed: u64,
    /// Size of the log's tail in memory, bytes.
    pub buffer_bytes: u64,
    /// Records that wait for confirmation.
    pub waiting_records: usize,
    /// Pulls that wait for messages.
    pub held_pulls: usize,
    /// Blocks read from disk for those behind the tail.
    pub cold_reads: u64,
    /// Runs on disk.
    pub runs: usize,
    /// Bytes of the log that no run holds.
    pub unsealed_bytes: u64,
    /// Snapshots hold what is below.
    pub safe_below: u64,
    /// Half messages that are open.
    pub half_messages: u64,
    /// Messages that wait for a time of their own.
    pub timers: u64,
    /// For how long the first of them is due, ms.
    pub timers_late_ms: u64,
}

/// What came in for a topic.
#[derive(Clone, Debug)]
pub struct TopicFigures {
    /// Its name.
    pub topic: String,
    /// By [`MessageType`].
    pub traffic: [Traffic; MessageType::ALL.len()],
}

/// What became of a topic's half messages.
#[derive(Clone, Debug)]
pub struct TransactionFigures {
    /// Its name.
    pub topic: String,
    /// On one core.
    pub ended: Ended,
}

/// What a group pulled from a topic.
#[derive(Clone, Debug)]
pub struct ConsumerFigures {
    /// The topic.
    pub topic: String,
    /// The group.
    pub group: String,
    /// What went out.
    pub traffic: Traffic,
}

/// How far a group is behind in a topic, in the queues of one core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Messages above its committed offsets.
    pub messages: u64,
    /// Age of the oldest of them, ms.
    pub latency_ms: u64,
}

/// Connections of clients that are alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Clients {
    /// The consumer group; empty for producers.
    pub group: String,
    /// Their language, lower case.
    pub language: String,
    /// Their version, lower case.
    pub version: String,
    /// `push`, `pull` or `pop`; empty for producers.
    pub consume_mode: &'static str,
    /// How many.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_only_grow_and_full_tables_count_together() {
        let mut tally = Tally::new(0);
        for topic in 0..TOPICS_COUNTED_MAX as u32 + 10 {
            tally.came_in(topic, MessageType::Normal, 1, 10);
        }
        tally.came_in(3, MessageType::Delay, 2, 20);
        assert_eq!(tally.topics().count(), TOPICS_COUNTED_MAX);
        assert_eq!(tally.others().0, Traffic { messages: 10, bytes: 100 });
        let third = tally.topics().find(|(topic, _)| *topic == 3).expect("counted").1;
        assert_eq!((third[0].messages, third[2].bytes), (1, 20));
    }

    #[test]
    fn a_consumer_keeps_its_number() {
        let mut tally = Tally::new(0);
        let first = tally.number(7, "group");
        assert_ne!(first, 0);
        for topic in 0..2 * CONSUMERS_COUNTED_MAX as u32 {
            let number = tally.number(topic, "others");
            tally.went_out(number, 1, 1);
        }
        assert_eq!(tally.number(7, "group"), first);
        tally.went_out(first, 3, 30);
        let found = tally.consumers().find(|it| it.0 == "group").expect("counted");
        assert_eq!((found.1, found.2), (7, Traffic { messages: 3, bytes: 30 }));
        let (_, others) = tally.others();
        assert_eq!(others.messages as usize, CONSUMERS_COUNTED_MAX + 1);
    }

    #[test]
    fn refusals_are_counted_by_code() {
        let mut tally = Tally::new(0);
        [14, 13, 14].into_iter().for_each(|code| tally.refused(code));
        assert_eq!(tally.refusals(), [(14, 2), (13, 1)]);
    }
}
