//! What the clients of a life do: producers, consumers, somebody who makes topics; each over a network
//! that delays, cuts and ends what they write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use fastrand::Rng;
use proto::code::response;
use proto::frame::Encoding;
use runtime::ConnectionId;

use crate::client::{Answer, Answered, Asked, Check, Client};
use crate::ledger::{Found, Intent, Item, Ledger, MessageKey, Outcome, Stored, Verdict, body_of};
use crate::marks::FILTERS;
use crate::place::{
    AUTO_QUEUES, CONFIGURED_GROUP, LONG_DELAY_MS, MADE_QUEUES_MAX, MADE_TOPICS, Place, RETRIES_MAX,
    Topic,
};
use crate::world::{Finding, Life, World};

const PRODUCERS: usize = 3;

/// The auditor sends, too.
const AUDITOR: usize = PRODUCERS;

const ADMINS: usize = 2;

/// Producers of half messages, all of one group.
const TRANSACTORS: usize = 2;

/// Consumers: two of one group that share its queues, and another group's only one.
const CONSUMERS: [(u8, Share); 3] = [(0, Share::Even), (0, Share::Odd), (1, Share::All)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Even,
    Odd,
    All,
}

/// Requests that a client has waiting at the most …
const WAITING_MAX: usize = 16;

/// … and one that does not read its answers.
const DEAF_WAITING_MAX: usize = 200;

/// Commits that nobody waits for, all at once: several records of the log.
const FLOOD_COMMITS: u32 = 900;

/// What clients remember, across the lives of the broker.
#[derive(Clone)]
pub struct Memory {
    /// Next number of each producer.
    sequences: [u32; PRODUCERS + 1 + TRANSACTORS],
    /// Where a consumer is in a queue; it never goes back, so committed offsets do not either.
    next: BTreeMap<(usize, Place), u64>,
    /// What a consumer is going to send back, and where its record is.
    backs: [VecDeque<(Item, Place, i64)>; CONSUMERS.len()],
    /// Half messages whose producers may say a word.
    halves: VecDeque<Item>,
    /// Checks that were read and not answered.
    checks: VecDeque<Check>,
    /// What is going to be called back.
    recalls: VecDeque<(Item, Place, u64)>,
    /// What was chosen to be sent back, once each.
    chosen: BTreeSet<Item>,
    /// An operator has set how many retries a group has that does not say so itself.
    pub is_configured: bool,
}

/// Clients of a life.
pub struct Actors {
    producers: [Option<Client>; PRODUCERS],
    consumers: [Option<Client>; CONSUMERS.len()],
    admins: [Option<Client>; ADMINS],
    transactors: [Option<Client>; TRANSACTORS],
    /// Bodies are large: the log needs new space soon.
    pub is_heavy: bool,
}

impl Memory {
    /// A queue begins anew.
    pub fn forget_queue(&mut self, place: Place) {
        self.next.retain(|(_, other), _| *other != place);
    }

    /// Nothing is sent back that was going to be.
    pub fn forget_backs(&mut self) {
        self.backs.iter_mut().for_each(VecDeque::clear);
    }

    /// Nothing happened yet.
    pub fn new() -> Memory {
        Memory {
            sequences: [0; PRODUCERS + 1 + TRANSACTORS],
            next: BTreeMap::new(),
            backs: Default::default(),
            halves: VecDeque::new(),
            checks: VecDeque::new(),
            recalls: VecDeque::new(),
            chosen: BTreeSet::new(),
            is_configured: false,
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::new()
    }
}

impl Actors {
    /// Nobody is connected yet.
    pub fn new(rng: &mut Rng) -> Actors {
        Actors {
            producers: Default::default(),
            consumers: Default::default(),
            admins: Default::default(),
            transactors: Default::default(),
            is_heavy: rng.u8(..16) == 0,
        }
    }

    fn slots(&mut self) -> impl Iterator<Item = &mut Option<Client>> {
        let asked = self.producers.iter_mut().chain(&mut self.consumers);
        asked.chain(&mut self.admins).chain(&mut self.transactors)
    }

    /// Everybody who is connected leaves.
    pub fn take_all(&mut self) -> Vec<Client> {
        self.slots().filter_map(Option::take).collect()
    }

    /// Requests that wait for an answer.
    pub fn waiting(&mut self) -> usize {
        self.slots().flatten().map(|client| client.waiting()).sum()
    }

    /// A request that waits for its answer.
    pub fn waited_for(&mut self) -> Option<Asked> {
        self.slots().flatten().find_map(|client| client.waits_for())
    }

    /// Who did not read does now, and those who read slowly read as fast as they can.
    pub fn listen(&mut self) -> Vec<ConnectionId> {
        let mut listening = Vec::new();
        for client in self.slots().flatten() {
            client.is_deaf = false;
            listening.push(client.connection);
        }
        listening
    }
}

impl World {
    /// A client connects, if somebody listens.
    pub(crate) fn connect(&mut self, life: &mut Life) -> Option<Client> {
        let peer = SocketAddr::from(([127, 0, 0, 1], self.rng.u16(1024..)));
        let is_deaf = self.rng.u8(..24) == 0;
        let small = self.rng.u8(..4) == 0 || is_deaf;
        let window = if small { self.rng.usize(256..5_000) } else { 1 << 20 };
        let encoding = match self.rng.u8(..4) {
            0 => Encoding::Binary,
            1 => Encoding::Flat,
            _ => Encoding::Json,
        };
        let connection = life.any_ring(&mut self.rng).connect(peer, window)?;
        let mut client = Client::new(connection, encoding);
        client.is_deaf = is_deaf;
        Some(client)
    }

    /// What may happen to a connection besides what its client asks. `None`: it ended.
    fn trouble(&mut self, life: &mut Life, client: Client) -> Result<Option<Client>, Finding> {
        let mut client = client;
        match self.rng.u8(..150) {
            0 | 1 => {
                let reset = self.rng.bool().then(|| std::io::ErrorKind::ConnectionReset.into());
                life.ring(client.connection).client_closes(client.connection, reset);
                return self.forget(client).map(|()| None);
            }
            2 => {
                client.is_leaving = true;
                life.ring(client.connection).client_half_closes(client.connection);
            }
            3..6 => life.ring(client.connection).delay(client.connection, self.rng.u32(1..60)),
            _ => {}
        }
        Ok(Some(client))
    }

    fn may_ask(client: &Client) -> bool {
        let most = if client.is_deaf { DEAF_WAITING_MAX } else { WAITING_MAX };
        !client.is_leaving && client.waiting() < most
    }

    fn ask_from(&mut self, life: &mut Life, client: &mut Client, asked: Asked, bodies: &[&[u8]]) {
        let is_there = asked.place().is_some_and(|place| self.ledger.must_exist(place));
        let bytes = client.ask(asked, is_there, bodies);
        life.ring(client.connection).client_writes(client.connection, &bytes);
    }

    // ---- producers ------------------------------------------------------------------------------

    pub(crate) fn produce(&mut self, life: &mut Life) -> Result<(), Finding> {
        let producer = self.rng.usize(..PRODUCERS);
        let Some(client) = life.actors.producers[producer].take() else {
            life.actors.producers[producer] = self.connect(life);
            return Ok(());
        };
        let Some(mut client) = self.trouble(life, client)? else { return Ok(()) };
        if Self::may_ask(&client) {
            for _ in 0..self.rng.u32(1..6) {
                self.send(life, &mut client, producer);
            }
            if let Some((item, place, due_ms)) = self.memory.recalls.pop_front() {
                self.ledger.recalls(item);
                self.ask_from(life, &mut client, Asked::Recall { item, place, due_ms }, &[]);
            }
        }
        life.actors.producers[producer] = Some(client);
        Ok(())
    }

    fn send(&mut self, life: &mut Life, client: &mut Client, producer: usize) {
        let (count, is_delayed, is_timer) = match self.rng.u8(..20) {
            0 | 1 => (self.rng.u32(2..9), false, false),
            2 | 3 => (1, true, false),
            4 | 5 => (1, true, true),
            _ => (1, false, false),
        };
        let timer_ms = is_timer.then(|| self.choose_delay_ms());
        let first = self.take_keys(producer, count);
        let place = self.choose_place(first);
        let crosses = self.plan.cores > 1;
        let is_early = crosses && !self.ledger.must_exist(place);
        let intents: Vec<Intent> = (0..count)
            .map(|index| {
                let key = MessageKey { sequence: first.sequence + index, ..first };
                // Large batches span several writes.
                let is_large = life.actors.is_heavy && count > 1;
                let len = match is_large {
                    true => self.rng.usize(..200_000),
                    false => self.choose_len(life.actors.is_heavy),
                };
                let (batch, body) = ((index, count), body_of(key, len));
                Intent { place, is_delayed, is_timer, half: None, is_early, crosses, batch, body }
            })
            .collect();
        let bodies: Vec<&[u8]> = intents.iter().map(|intent| &*intent.body).collect();
        let asked = Asked::Send { first, count, place, is_delayed, timer_ms, is_half: false };
        self.ask_from(life, client, asked, &bodies);
        for (index, intent) in (0..).zip(intents) {
            let key = MessageKey { sequence: first.sequence + index, ..first };
            self.ledger.sends(Item::sent(key), intent);
        }
    }

    fn choose_delay_ms(&mut self) -> u64 {
        match self.rng.u8(..8) {
            0 if self.plan.retains => LONG_DELAY_MS,
            0 | 1 => self.rng.u64(1..60_000),
            2 => 1,
            // Several are due at one time, of which one may be called back.
            3 | 4 => 2_000,
            _ => self.rng.u64(1..3_000),
        }
    }

    fn take_keys(&mut self, producer: usize, count: u32) -> MessageKey {
        let sequence = self.memory.sequences[producer];
        self.memory.sequences[producer] += count;
        MessageKey { producer: producer as u32, sequence }
    }

    fn choose_place(&mut self, key: MessageKey) -> Place {
        let topic = Topic::Made(self.rng.u8(..MADE_TOPICS));
        let (_, most) = self.ledger.queues_of(topic);
        let odds = if most == 0 { 20 } else { 3 };
        if self.rng.u8(..odds) == 0 {
            // Now and then a queue that the topic may not have yet.
            return Place { topic, queue: self.rng.u32(..=most).min(MADE_QUEUES_MAX - 1) };
        }
        Place { topic: Topic::Auto, queue: (key.producer + key.sequence) % AUTO_QUEUES }
    }

    fn choose_len(&mut self, is_heavy: bool) -> usize {
        match self.rng.u8(..50) {
            0..40 if self.plan.retains => self.rng.usize(..500_000),
            0 => self.rng.usize(..300_000),
            1..5 if is_heavy => self.rng.usize(..500_000),
            1..10 => self.rng.usize(..9_000),
            _ => self.rng.usize(..400),
        }
    }

    // ---- half messages --------------------------------------------------------------------------

    pub(crate) fn transact(&mut self, life: &mut Life) -> Result<(), Finding> {
        let number = self.rng.usize(..TRANSACTORS);
        let Some(client) = life.actors.transactors[number].take() else {
            let mut client = self.connect(life);
            if let Some(client) = &mut client {
                self.ask_from(life, client, Asked::Produce, &[]);
            }
            life.actors.transactors[number] = client;
            return Ok(());
        };
        let Some(mut client) = self.trouble(life, client)? else { return Ok(()) };
        if Self::may_ask(&client) {
            for _ in 0..self.rng.u32(1..4) {
                self.transact_with(life, &mut client, number);
            }
        }
        life.actors.transactors[number] = Some(client);
        Ok(())
    }

    fn transact_with(&mut self, life: &mut Life, client: &mut Client, number: usize) {
        if let Some(Check { item, half, .. }) = self.memory.checks.pop_front() {
            self.tell(life, client, item, half, true);
        } else if self.rng.bool() {
            self.send_half(life, client, number);
        } else if let Some(item) = self.memory.halves.pop_front()
            && let Some((_, half)) = self.ledger.half(item)
        {
            self.tell(life, client, item, half, false);
            // Some words are said twice, much later perhaps.
            if self.rng.u8(..4) == 0 {
                self.memory.halves.push_back(item);
            }
        }
    }

    fn send_half(&mut self, life: &mut Life, client: &mut Client, number: usize) {
        let first = self.take_keys(PRODUCERS + 1 + number, 1);
        let place = self.choose_place(first);
        let crosses = self.plan.cores > 1;
        let is_early = crosses && !self.ledger.must_exist(place);
        let body = body_of(first, self.choose_len(life.actors.is_heavy));
        let half = Some(match self.rng.u8(..10) {
            0..6 => Verdict::Commit,
            6..9 => Verdict::RollBack,
            _ => Verdict::Silent,
        });
        let batch = (0, 1);
        let intent = Intent {
            place,
            is_delayed: true,
            is_timer: false,
            half,
            is_early,
            crosses,
            batch,
            body,
        };
        let asked =
            Asked::Send { first, count: 1, place, is_delayed: true, timer_ms: None, is_half: true };
        self.ask_from(life, client, asked, &[&intent.body]);
        self.ledger.sends(Item::sent(first), intent);
        self.memory.halves.push_back(Item::sent(first));
    }

    fn tell(
        &mut self,
        life: &mut Life,
        client: &mut Client,
        item: Item,
        half: Stored,
        from_check: bool,
    ) {
        let is_commit = match self.ledger.verdict(item) {
            Some(Verdict::Commit) => true,
            Some(Verdict::RollBack) => false,
            _ => return,
        };
        self.ledger.tells(item);
        self.ask_from(life, client, Asked::End { item, half, is_commit, from_check }, &[]);
    }

    /// Producers read what they are asked; some they never answer.
    fn take_checks(&mut self, client: &mut Client) -> Result<(), Finding> {
        for check in std::mem::take(&mut client.checks) {
            self.ledger.is_checked(check.item, check.half, check.checks)?;
            if self.rng.u8(..4) > 0 {
                self.memory.checks.push_back(check);
            }
        }
        Ok(())
    }

    // ---- topics ---------------------------------------------------------------------------------

    pub(crate) fn administer(&mut self, life: &mut Life) -> Result<(), Finding> {
        let number = self.rng.usize(..ADMINS);
        let Some(mut client) = life.actors.admins[number].take() else {
            life.actors.admins[number] = self.connect(life);
            return Ok(());
        };
        if self.rng.u8(..20) == 0 {
            life.ring(client.connection).client_closes(client.connection, None);
            return self.forget(client);
        }
        let topic = Topic::Made(self.rng.u8(..MADE_TOPICS));
        let (_, most) = self.ledger.queues_of(topic);
        // It grows only while nobody else's older request may still arrive and shrink it again.
        let is_alone = client.waiting() == 0
            && life.actors.admins.iter().flatten().all(|it| it.waiting() == 0);
        let grows = most == 0 || (is_alone && self.rng.bool());
        let queues = if grows { (most + 1).min(MADE_QUEUES_MAX) } else { most };
        if client.waiting() < 4 {
            self.ledger.makes(topic, queues);
            self.ask_from(life, &mut client, Asked::MakeTopic { topic, queues }, &[]);
        }
        life.actors.admins[number] = Some(client);
        Ok(())
    }

    // ---- consumers ------------------------------------------------------------------------------

    pub(crate) fn consume(&mut self, life: &mut Life) -> Result<(), Finding> {
        let number = self.rng.usize(..CONSUMERS.len());
        let Some(client) = life.actors.consumers[number].take() else {
            life.actors.consumers[number] = self.connect(life);
            return Ok(());
        };
        let Some(mut client) = self.trouble(life, client)? else { return Ok(()) };
        if Self::may_ask(&client) {
            self.consume_with(life, &mut client, number);
        }
        life.actors.consumers[number] = Some(client);
        Ok(())
    }

    fn consume_with(&mut self, life: &mut Life, client: &mut Client, number: usize) {
        let group = CONSUMERS[number].0;
        if self.rng.u16(..500) == 0 {
            self.flood(life, client, number);
            return;
        }
        if let Some((item, place, position)) = self.memory.backs[number].pop_front() {
            let is_delayed = matches!(place.topic, Topic::Retry(_));
            let body = self.ledger.body(Item::sent(item.key));
            let crosses = self.plan.cores > 1;
            self.ledger.sends(
                item,
                Intent {
                    place,
                    is_delayed,
                    is_timer: false,
                    half: None,
                    is_early: false,
                    crosses,
                    batch: (0, 1),
                    body,
                },
            );
            self.ask_from(life, client, Asked::SendBack { item, place, position }, &[]);
            return;
        }
        let place = self.choose_queue(number);
        let next = self.memory.next.get(&(number, place)).copied().unwrap_or(0);
        let asked = match self.rng.u8(..10) {
            0 => {
                self.ledger.commits(group, place, next);
                Asked::Commit { group, place, offset: next }
            }
            1..5 => {
                let commit = self.rng.bool().then_some(next);
                if let Some(offset) = commit {
                    self.ledger.commits(group, place, offset);
                }
                Asked::Pull { group, place, from: next, commit, suspend_ms: 1_000, filter: None }
            }
            5 | 6 => {
                // From near its end now and then, so that it waits for what its filter takes.
                let from = if self.rng.bool() { next } else { self.rng.u64(..=next) };
                let suspend_ms = if self.rng.bool() { 1_000 } else { 0 };
                let filter = Some(self.rng.u8(..FILTERS.len() as u8));
                Asked::Pull { group, place, from, commit: None, suspend_ms, filter }
            }
            _ => {
                let from = self.rng.u64(..=next);
                Asked::Pull { group, place, from, commit: None, suspend_ms: 0, filter: None }
            }
        };
        self.ask_from(life, client, asked, &[]);
    }

    /// More commits than a record of offsets holds, and one that waits: that must be in the first.
    fn flood(&mut self, life: &mut Life, client: &mut Client, number: usize) {
        let group = CONSUMERS[number].0;
        let bytes = client.flood(group, FLOOD_COMMITS);
        life.ring(client.connection).client_writes(client.connection, &bytes);
        let place = self.choose_queue(number);
        let offset = self.memory.next.get(&(number, place)).copied().unwrap_or(0);
        self.ledger.commits(group, place, offset);
        self.ask_from(life, client, Asked::Commit { group, place, offset }, &[]);
    }

    fn choose_queue(&mut self, number: usize) -> Place {
        let (group, share) = CONSUMERS[number];
        let parity = match share {
            Share::Even => Some(0),
            Share::Odd => Some(1),
            Share::All => None,
        };
        let topics =
            [Topic::Auto, Topic::Auto, Topic::Made(0), Topic::Made(1), Topic::Retry(group)];
        let shards = self.plan.shards;
        let places = topics.into_iter().flat_map(|topic| topic.places(shards));
        let own: Vec<_> =
            places.filter(|place| parity.is_none_or(|parity| place.queue % 2 == parity)).collect();
        self.rng.choice(own).expect("each has queues")
    }

    /// A consumer saw a message and may not like it.
    fn choose_back(&mut self, number: usize, place: Place, item: Item, found: &Found) {
        let group = CONSUMERS[number].0;
        if group == CONFIGURED_GROUP && !self.memory.is_configured {
            return;
        }
        let back = item.sent_back(group);
        let is_often = matches!(place.topic, Topic::Retry(_));
        if self.rng.u8(..if is_often { 3 } else { 60 }) > 0 || !self.memory.chosen.insert(back) {
            return;
        }
        let is_dead = item.times >= RETRIES_MAX || self.rng.u8(..4) == 0;
        let topic = if is_dead { Topic::Dead(group) } else { Topic::Retry(group) };
        self.memory.backs[number].push_back((back, Place { topic, queue: 0 }, found.position));
    }

    // ---- answers --------------------------------------------------------------------------------

    /// Clients read what came for them.
    pub(crate) fn read_answers(&mut self, life: &mut Life) -> Result<(), Finding> {
        for number in 0..PRODUCERS {
            let Some(client) = life.actors.producers[number].take() else { continue };
            life.actors.producers[number] = self.read(life, client, None)?;
        }
        for number in 0..CONSUMERS.len() {
            let Some(client) = life.actors.consumers[number].take() else { continue };
            life.actors.consumers[number] = self.read(life, client, Some(number))?;
        }
        for number in 0..TRANSACTORS {
            let Some(client) = life.actors.transactors[number].take() else { continue };
            life.actors.transactors[number] = self.read(life, client, None)?;
        }
        for number in 0..ADMINS {
            let Some(client) = life.actors.admins[number].take() else { continue };
            life.actors.admins[number] = self.read(life, client, None)?;
        }
        Ok(())
    }

    /// `None`: the connection is gone.
    fn read(
        &mut self,
        life: &mut Life,
        mut client: Client,
        consumer: Option<usize>,
    ) -> Result<Option<Client>, Finding> {
        if client.is_deaf && life.ring(client.connection).is_connected(client.connection) {
            return Ok(Some(client));
        }
        match life.ring(client.connection).client_reads(client.connection) {
            Some(bytes) => client.receive(&bytes),
            None if client.is_leaving || life.is_poisoned() => {
                return self.forget(client).map(|()| None);
            }
            None => return Err("the broker closed a connection for no reason".to_owned()),
        }
        while let Some(answer) = client.next_answer()? {
            self.answered(life, &answer)?;
            if let (Some(number), Asked::Pull { place, from, filter: None, .. }) =
                (consumer, answer.asked)
                && let Answered::Messages { messages, .. } = &answer.answered
            {
                self.consumed(number, place, from, messages)?;
            }
        }
        self.take_checks(&mut client)?;
        Ok(Some(client))
    }

    fn consumed(
        &mut self,
        number: usize,
        place: Place,
        from: u64,
        messages: &[Found],
    ) -> Result<(), Finding> {
        let next = self.memory.next.entry((number, place)).or_default();
        let reached = messages.last().map_or(from, |found| found.offset + 1);
        *next = (*next).max(self.ledger.skips_gone(place, reached, u64::MAX));
        for found in messages {
            let item = self.ledger.item_of(place, found)?;
            self.choose_back(number, place, item, found);
        }
        Ok(())
    }

    /// An answer is entered in the book.
    pub(crate) fn answered(&mut self, life: &Life, answer: &Answer) -> Result<(), Finding> {
        self.note(answer);
        if let Answered::Code { code, is_unknown } = answer.answered
            && code != response::SUCCESS
            && !is_unknown
            && !may_refuse(life, &self.ledger, answer, code)
        {
            return Err(format!("{:?} is refused with code {code}", answer.asked));
        }
        match (answer.asked, &answer.answered) {
            (
                Asked::Send { first, count, place, .. },
                Answered::Stored { code, offset, positions, due_ms },
            ) => {
                if let Some(due_ms) = due_ms
                    && self.rng.u8(..4) == 0
                {
                    self.memory.recalls.push_back((Item::sent(first), place, *due_ms));
                }
                let is_known = *code == response::SUCCESS;
                self.stored(first, count, *offset, positions, is_known)
            }
            (Asked::Recall { item, .. }, Answered::Code { code: 0, .. }) => {
                self.ledger.recalled(item)
            }
            (
                Asked::Recall { due_ms, .. },
                Answered::Code { code: response::ILLEGAL_OPERATION, .. },
            ) if due_ms > self.latest_ms => {
                Err(format!("{:?} is too late, the clock never was there", answer.asked))
            }
            (Asked::Recall { item, .. }, Answered::Code { is_unknown, .. }) => {
                if !is_unknown {
                    self.ledger.not_recalled(item);
                }
                Ok(())
            }
            (Asked::Send { first, count, .. }, Answered::Code { .. }) => {
                let keys = (0..count)
                    .map(|index| MessageKey { sequence: first.sequence + index, ..first });
                let mut items = keys.map(Item::sent);
                items.try_for_each(|item| self.ledger.learns(item, Outcome::Refused))
            }
            (Asked::SendBack { item, .. }, Answered::Code { code, is_unknown }) => {
                let outcome = match (*code, *is_unknown) {
                    (response::SUCCESS, _) => Outcome::Stored(None),
                    (_, true) => Outcome::Unknown,
                    (_, false) => Outcome::Refused,
                };
                self.ledger.learns(item, outcome)
            }
            (
                Asked::Pull { place, from, .. },
                Answered::Messages { code: response::PULL_OFFSET_MOVED, .. },
            ) if !self.plan.retains
                && self.ledger.skips_gone(place, from, from + 1) == from
                && !self.ledger.may_end_below(place, from) =>
            {
                Err(format!("{place}: nothing was removed, and {from} is no offset of it"))
            }
            (
                Asked::Pull { place, from, filter: Some(filter), .. },
                Answered::Messages { code, messages, next },
            ) => match *code {
                response::PULL_OFFSET_MOVED => Ok(()),
                _ => self.ledger.filtered(place, filter, from, *next, messages),
            },
            (Asked::Pull { place, from, .. }, Answered::Messages { messages, .. }) => {
                let mut next = from;
                for found in messages {
                    let expected = std::mem::replace(&mut next, found.offset + 1);
                    if self.ledger.skips_gone(place, expected, found.offset) != found.offset {
                        return Err(format!("{place}: asked from {from}, got {}", found.offset));
                    }
                    self.ledger.sees(place, found)?;
                }
                Ok(())
            }
            (Asked::Commit { group, place, offset }, Answered::Code { code: 0, .. }) => {
                self.ledger.committed(group, place, offset);
                Ok(())
            }
            (Asked::End { item, .. }, Answered::Code { code: 0, .. }) => {
                self.ledger.ended(item);
                Ok(())
            }
            (Asked::MakeTopic { topic, queues }, Answered::Code { code: 0, .. }) => {
                self.ledger.made(topic, queues);
                Ok(())
            }
            (Asked::Query { group, place }, Answered::Offset(offset)) => {
                self.ledger.reads_committed(group, place, Some(*offset))
            }
            (
                Asked::Query { group, place },
                Answered::Code {
                    code: response::QUERY_NOT_FOUND | response::TOPIC_NOT_EXIST, ..
                },
            ) => self.ledger.reads_committed(group, place, None),
            (Asked::Query { .. }, Answered::Code { .. }) => Ok(()), // it is being stopped
            (
                Asked::Pull { .. }
                | Asked::Commit { .. }
                | Asked::MakeTopic { .. }
                | Asked::MakeGroup { .. }
                | Asked::Lock { .. }
                | Asked::Unlock { .. }
                | Asked::End { .. }
                | Asked::Produce,
                Answered::Code { .. },
            )
            | (Asked::Lock { .. }, Answered::Locked { .. }) => Ok(()),
            (asked, answered) => Err(format!("{asked:?} is answered {answered:?}")),
        }
    }

    fn stored(
        &mut self,
        first: MessageKey,
        count: u32,
        offset: u64,
        positions: &[i64],
        is_known: bool,
    ) -> Result<(), Finding> {
        if positions.len() != count as usize || !positions.is_sorted() {
            return Err(format!("{first:?} and {count} in all are answered with {positions:?}"));
        }
        for (index, position) in (0..count).zip(positions) {
            let item = Item::sent(MessageKey { sequence: first.sequence + index, ..first });
            let stored = Stored { offset: offset + u64::from(index), position: *position };
            let outcome = if is_known { Outcome::Stored(Some(stored)) } else { Outcome::Unknown };
            self.ledger.learns(item, outcome)?;
        }
        Ok(())
    }

    fn note(&mut self, answer: &Answer) {
        let mut hasher = DefaultHasher::new();
        (self.summary.trace, &answer.asked, &answer.answered).hash(&mut hasher);
        self.summary.trace = hasher.finish();
    }

    /// A connection ended: nobody knows what became of what waited on it.
    pub(crate) fn forget(&mut self, client: Client) -> Result<(), Finding> {
        for asked in client.abandon() {
            match asked {
                Asked::Send { first, count, .. } => {
                    for index in 0..count {
                        let key = MessageKey { sequence: first.sequence + index, ..first };
                        self.ledger.learns(Item::sent(key), Outcome::Unknown)?;
                    }
                }
                Asked::SendBack { item, .. } => self.ledger.learns(item, Outcome::Unknown)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A message of the auditor's own, to see whether the broker takes some: where it is to go.
    pub(crate) fn probe(&mut self) -> (Asked, Intent) {
        let first = self.take_keys(AUDITOR, 1);
        let place = Place { topic: Topic::Auto, queue: first.sequence % AUTO_QUEUES };
        let asked = Asked::Send {
            first,
            count: 1,
            place,
            is_delayed: false,
            timer_ms: None,
            is_half: false,
        };
        let body = body_of(first, 100);
        let crosses = self.plan.cores > 1;
        (
            asked,
            Intent {
                place,
                is_delayed: false,
                is_timer: false,
                half: None,
                is_early: false,
                crosses,
                batch: (0, 1),
                body,
            },
        )
    }
}

/// Whether there is a reason for a refusal.
fn may_refuse(life: &Life, ledger: &Ledger, answer: &Answer, code: i32) -> bool {
    let asked = &answer.asked;
    match code {
        response::SERVICE_NOT_AVAILABLE => life.was_full || life.is_poisoned(),
        response::GO_AWAY => life.is_stopping,
        response::SYSTEM_ERROR => {
            let looks_up = matches!(asked, Asked::SendBack { .. } | Asked::End { .. });
            let reads = matches!(asked, Asked::Pull { .. }) || looks_up;
            let is_gone = looks_up && life.retains;
            let is_damaged = asked.position().is_some_and(|position| ledger.is_gone(position));
            reads && life.reads_failed || is_gone || is_damaged
        }
        response::TOPIC_NOT_EXIST => asked.place().is_some() && !answer.was_there,
        response::INVALID_PARAMETER => {
            let is_made = asked.place().is_some_and(|it| matches!(it.topic, Topic::Made(_)));
            is_made && !answer.was_there
        }
        // Half messages with a time of their own are of 1970, so their producers are asked.
        response::ILLEGAL_OPERATION => {
            // A recall: its time has come.
            matches!(asked, Asked::Recall { .. } | Asked::End { from_check: false, .. })
        }
        response::QUERY_NOT_FOUND => matches!(asked, Asked::Query { .. }),
        // Groups come with the first pull, whose record nobody waits for.
        response::SUBSCRIPTION_GROUP_NOT_EXIST => matches!(asked, Asked::Commit { .. }),
        _ => false,
    }
}
