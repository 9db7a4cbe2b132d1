//! The auditor's book: what was sent, what was answered, what was seen, and whether these agree.
//!
//! What must hold, whatever fails: an acknowledged message is there, once, at the offset that was
//! answered, with the bytes that were sent; offsets have no gaps; a producer's messages are in its order;
//! a batch is there whole or not at all; what was refused is nowhere; what was seen once stays; a delayed
//! message comes once, not before its time; a half message is seen once, in its queue if its producer
//! said so, or given up after exactly the configured checks, and its producer is not asked for what was settled
//! in an earlier life; messages with times of their own come in their order; what was called back never
//! comes; a message that was sent back comes once more; committed
//! offsets do not go back; store timestamps do not either.

mod losses;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use engine::limits::CLOCK_SLACK_MS;
use proto::ids::Position;

use crate::marks::{FILTERS, flag_of};
use crate::place::{Place, TRANSACTIONS, Topic};
use crate::{mortal, resumer};
use losses::{Again, Gone};

/// A message by its producer and its number there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MessageKey {
    /// The producer.
    pub producer: u32,
    /// Its count, from 0.
    pub sequence: u32,
}

/// A message that a producer sent, or that a group sent back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Item {
    /// Which one.
    pub key: MessageKey,
    /// How often it was sent back; 0: it is the producer's own.
    pub times: u32,
    /// The group that sent it back, 0 before.
    pub group: u8,
}

impl Item {
    /// What a producer sends.
    pub fn sent(key: MessageKey) -> Item {
        Item { key, times: 0, group: 0 }
    }

    /// What a group sends back when it sends back this.
    pub fn sent_back(self, group: u8) -> Item {
        Item { times: self.times + 1, group, ..self }
    }
}

/// What a client knows of its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Sent, not answered yet.
    Waits,
    /// Stored, the broker says, and where if it does.
    Stored(Option<Stored>),
    /// Not stored, the broker says.
    Refused,
    /// The connection ended first, or the broker said that it may not be durable.
    Unknown,
}

/// Where a message is stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stored {
    /// Number in its queue.
    pub offset: u64,
    /// What its id says.
    pub position: i64,
}

/// What a message is to become.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Where consumers are to find it.
    pub place: Place,
    /// It waits first, for its time or for its producer's word.
    pub is_delayed: bool,
    /// It waits for this word.
    pub half: Option<Verdict>,
    /// It waits for a time of its own.
    pub is_timer: bool,
    /// It may make its topic. Of such sends those in flight at the same time may change places if
    /// there are several cores: the first ones go over the home core, later ones directly.
    pub is_early: bool,
    /// There are several cores: if its connection breaks, it may still be on its way between two of them
    /// when its producer sends on over another connection.
    pub crosses: bool,
    /// Its place in its batch and how many that has; (0, 1) without one.
    pub batch: (u32, u32),
    /// Its bytes.
    pub body: Rc<[u8]>,
}

/// What a producer knows of its half message, now and when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is to be seen.
    Commit,
    /// It is not.
    RollBack,
    /// The producer never knows.
    Silent,
}

/// What became of a half message.
#[derive(Clone, Copy, Default, Debug)]
struct HalfState {
    /// The producer said its word.
    is_told: bool,
    /// The broker took the word, in this life.
    ended_in: Option<u32>,
    /// The producer was asked at least so often.
    checks_least: u32,
    /// Its checks of the newest life in which it was asked, a bit each.
    checked_in: u32,
    checks_here: u32,
    /// Where it is given up.
    given_up_at: Option<u64>,
}

/// Whether a message was called back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Recall {
    No,
    /// It may have been.
    Asked,
    /// The broker says that it was.
    Done,
}

#[derive(Clone, Debug)]
struct Sent {
    intent: Intent,
    outcome: Outcome,
    /// Offset and store time where delayed messages wait.
    scheduled: Option<(u64, u64)>,
    /// Of a message with a time of its own: where its record is while it waits.
    waits_at: Option<i64>,
    recall: Recall,
    seen_at: Option<u64>,
    half: HalfState,
    again: Again,
}

impl Sent {
    /// Where it went first, which is what an answer speaks of.
    fn first_place(&self, stored: Stored) -> Place {
        let shard = Position::from_i64(stored.position).map_or(0, |position| position.shard().0);
        match (self.intent.is_delayed, self.intent.half) {
            (_, Some(_)) => Place::half(shard),
            _ if self.intent.is_timer => Place::wheel(shard),
            (true, None) => Place::schedule(shard),
            (false, None) => self.intent.place,
        }
    }
}

/// A message as a pull brought it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Found {
    /// Number in its queue.
    pub offset: u64,
    /// Where its record is.
    pub position: i64,
    /// Bytes of its record.
    pub size_bytes: u32,
    /// When it was stored.
    pub stored_ms: u64,
    /// How often it was sent back.
    pub times: u32,
    /// What its application says of it.
    pub flag: i32,
    /// The place it is meant for, if it waits for its time.
    pub meant_for: Option<(String, u32)>,
    /// How often its producer was asked.
    pub checks: u32,
    /// Position of the half message that it was, 0 if it was none.
    pub prepared: i64,
    /// When it is or was due, if it waited for a time of its own …
    pub due_ms: Option<u64>,
    /// … and when it came.
    pub fired_ms: Option<u64>,
    /// Its bytes.
    pub body: Vec<u8>,
}

impl Found {
    /// It waits for a topic that others tell of: which one.
    fn others_topic(&self) -> Option<&'static str> {
        let (found, _) = self.meant_for.as_ref()?;
        [mortal::TOPIC, resumer::TOPIC].into_iter().find(|topic| topic == found)
    }
}

/// The book.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    sent: HashMap<Item, Sent>,
    /// For each queue what must be at an offset: because it was acknowledged or seen.
    queues: BTreeMap<Place, BTreeMap<u64, Item>>,
    /// Where queues begin whose older messages were removed with their segments.
    starts: BTreeMap<Place, u64>,
    /// For each queue the offsets of which it was ever known what they hold.
    known: BTreeMap<Place, BTreeSet<u64>>,
    /// How long messages wait that are to.
    delay_ms: u64,
    /// Store times that were far ahead of the clock when it had been set back: above, and up to. Of a message
    /// stored then nobody knows when that was.
    ahead: Vec<(u64, u64)>,
    /// Every record seen: where it belongs, and when it was stored.
    positions: BTreeMap<i64, (Place, u64, u64)>,
    /// For each group and queue the committed offset: at least, and at the most.
    committed: BTreeMap<(u8, Place), (u64, u64)>,
    /// Queues of topics made by request: at least, and at the most.
    made: BTreeMap<Topic, (u32, u32)>,
    /// Numbers of queues whose messages were damaged, and where their records were.
    gone: BTreeMap<Place, BTreeMap<u64, Gone>>,
    gone_positions: BTreeSet<i64>,
    /// Such numbers that were given again because nothing told of them.
    pub given_again: u64,
    /// Half messages for the mortal topic that were given up.
    pub mortals_given_up: BTreeSet<u32>,
    /// Lives so far.
    life: u32,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages that consumers saw.
    pub seen: u64,
    /// Messages that went with their segments.
    pub removed: u64,
    /// Delayed messages and messages sent back that came.
    pub came: u64,
    /// Messages called back.
    pub recalled: u64,
}

/// Bytes at the start of a body: its key.
const KEY_BYTES: usize = 8;

/// The body of a message: its key, then bytes that follow from it.
pub fn body_of(key: MessageKey, len: usize) -> Rc<[u8]> {
    let mut body = Vec::with_capacity(len.max(KEY_BYTES));
    body.extend_from_slice(&key.producer.to_be_bytes());
    body.extend_from_slice(&key.sequence.to_be_bytes());
    let mut state = u64::from(key.producer) << 32 | u64::from(key.sequence) | 1;
    while body.len() < len {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let left = (len - body.len()).min(8);
        body.extend_from_slice(&state.to_le_bytes()[..left]);
    }
    body.into()
}

/// The key that a body begins with.
pub fn key_of(body: &[u8]) -> Option<MessageKey> {
    let word = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
    Some(MessageKey { producer: word(0)?, sequence: word(4)? })
}

impl Ledger {
    /// Nothing was sent yet; messages that are to wait do so for so long.
    pub fn new(delay_ms: u64) -> Ledger {
        Ledger { delay_ms, ..Ledger::default() }
    }

    /// The clock as it is, and the latest time that it ever showed.
    pub fn clock(&mut self, now_ms: u64, latest_ms: u64) {
        let above = now_ms + CLOCK_SLACK_MS;
        if above >= latest_ms {
            return;
        }
        match self.ahead.last_mut() {
            Some(last) if last.1 == latest_ms => last.0 = last.0.min(above),
            _ => self.ahead.push((above, latest_ms)),
        }
    }

    /// A message leaves its client.
    pub fn sends(&mut self, item: Item, intent: Intent) {
        let sent = Sent {
            intent,
            outcome: Outcome::Waits,
            scheduled: None,
            waits_at: None,
            recall: Recall::No,
            seen_at: None,
            half: HalfState::default(),
            again: Again::default(),
        };
        assert!(self.sent.insert(item, sent).is_none());
    }

    /// Whether something like this was ever sent.
    pub fn knows(&self, item: Item) -> bool {
        self.sent.contains_key(&item)
    }

    /// The bytes of a message that was sent.
    pub fn body(&self, item: Item) -> Rc<[u8]> {
        Rc::clone(&self.sent[&item].intent.body)
    }

    /// The client learns what became of it.
    ///
    /// # Errors
    /// The finding.
    pub fn learns(&mut self, item: Item, outcome: Outcome) -> Result<(), String> {
        let sent = self.sent.get_mut(&item).expect("was sent");
        if sent.outcome != Outcome::Waits {
            return Err(format!(
                "{item:?} is answered twice: {:?}, then {outcome:?}",
                sent.outcome
            ));
        }
        sent.outcome = outcome;
        let was_seen = match sent.intent.is_delayed {
            true => sent.scheduled.map(|(offset, _)| offset),
            false => sent.seen_at,
        };
        match outcome {
            Outcome::Stored(stored) => {
                self.acknowledged += 1;
                let Some(stored) = stored else { return Ok(()) };
                if was_seen.is_some_and(|seen| seen != stored.offset) {
                    return Err(format!("{item:?}: answered {stored:?}, was seen at {was_seen:?}"));
                }
                let place = sent.first_place(stored);
                self.check_position(item, place, stored)?;
                self.put(place, stored.offset, item)
            }
            Outcome::Refused if sent.seen_at.is_some() || sent.scheduled.is_some() => {
                Err(format!("{item:?} is refused and was seen"))
            }
            _ => Ok(()),
        }
    }

    fn check_position(&self, item: Item, place: Place, stored: Stored) -> Result<(), String> {
        match self.positions.get(&stored.position) {
            Some((found_place, offset, _)) if (*found_place, *offset) != (place, stored.offset) => {
                Err(format!("{item:?}: its id names what is at {found_place} offset {offset}"))
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, place: Place, offset: u64, item: Item) -> Result<(), String> {
        self.takes_number(place, offset, &item)?;
        self.known.entry(place).or_default().insert(offset);
        match self.queues.entry(place).or_default().insert(offset, item) {
            Some(other) if other != item => {
                Err(format!("{place} offset {offset} holds {item:?} and {other:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Which message was found at a place.
    ///
    /// # Errors
    /// It is none that may be there.
    pub fn item_of(&self, place: Place, found: &Found) -> Result<Item, String> {
        let at = format!("{place} offset {}", found.offset);
        let key = key_of(&found.body)
            .ok_or_else(|| format!("{at}: a body of {} bytes", found.body.len()))?;
        let topic = match &found.meant_for {
            Some((name, _)) => {
                Topic::of_name(name).ok_or_else(|| format!("{at}: meant for topic {name}"))?
            }
            None => place.topic,
        };
        let group = topic.group().unwrap_or(0);
        let item = Item { key, times: found.times, group };
        if !self.sent.contains_key(&item) {
            return Err(format!("{at}: {item:?} was never sent"));
        }
        Ok(item)
    }

    /// A consumer sees a message at a place. Which one it is.
    ///
    /// # Errors
    /// The finding.
    pub fn sees(&mut self, place: Place, found: &Found) -> Result<Item, String> {
        let item = self.item_of(place, found)?;
        let at = format!("{place} offset {}", found.offset);
        self.check_record(place, found)?;
        let sent = self.sent.get_mut(&item).expect("looked up above");
        if *sent.intent.body != *found.body {
            return Err(format!("{at}: {item:?} has another body than was sent"));
        }
        if found.flag != flag_of(item.key) {
            return Err(format!("{at}: {item:?} has the flag {}", found.flag));
        }
        let meant_for = match &found.meant_for {
            Some((name, queue)) => {
                Place { topic: Topic::of_name(name).expect("looked up above"), queue: *queue }
            }
            None => place,
        };
        let is_of_halves = matches!(place.topic, Topic::Half | Topic::GivenUp);
        let waits_wrongly = place.is_waiting() && !sent.intent.is_delayed
            || place.is_internal() && is_of_halves != sent.intent.half.is_some()
            || (place.topic == Topic::Wheel) != (place.is_schedule() && sent.intent.is_timer);
        if sent.intent.place != meant_for || waits_wrongly {
            return Err(format!("{at}: {item:?} was sent to {}", sent.intent.place));
        }
        if sent.outcome == Outcome::Refused {
            return Err(format!("{at}: {item:?} was refused"));
        }
        if place.topic == Topic::GivenUp {
            return self.sees_given_up(place, found, item).map(|()| item);
        }
        if let Some(verdict) = sent.intent.half.filter(|_| !place.is_waiting()) {
            check_half(sent, verdict, found)
                .map_err(|finding| format!("{at}: {item:?} {finding}"))?;
        }
        if let Outcome::Stored(Some(stored)) = sent.outcome
            && place.is_waiting() == sent.intent.is_delayed
            && (stored.offset, stored.position) != (found.offset, found.position)
        {
            return Err(format!(
                "{at}, position {}: {item:?} was acknowledged as {stored:?}",
                found.position
            ));
        }
        if place.topic == Topic::Wheel {
            sent.waits_at = Some(found.position);
        }
        if !place.is_schedule() && sent.intent.is_timer {
            let (Some(due_ms), Some(fired_ms)) = (found.due_ms, found.fired_ms) else {
                return Err(format!("{at}: {item:?} does not say when it was due"));
            };
            if fired_ms < due_ms {
                return Err(format!("{at}: {item:?} came {} ms early", due_ms - fired_ms));
            }
            if sent.recall == Recall::Done {
                return Err(format!("{at}: {item:?} was called back"));
            }
        }
        let before = match place.is_waiting() {
            true => sent.scheduled.replace((found.offset, found.stored_ms)).map(|it| it.0),
            false => sent.seen_at.replace(found.offset),
        };
        if let Some(first) = before.filter(|before| *before != found.offset) {
            if place.is_waiting() || !sent.again.comes(found.offset) {
                return Err(format!("{at}: {item:?} was seen at {before:?} too"));
            }
            sent.seen_at = Some(first);
        }
        if !place.is_waiting() {
            if let Some((_, scheduled_ms)) =
                sent.scheduled.filter(|_| sent.intent.half.is_none() && !sent.intent.is_timer)
                && found.stored_ms < scheduled_ms + self.delay_ms
                && !self.ahead.iter().any(|it| (it.0 + 1..=it.1).contains(&scheduled_ms))
            {
                return Err(format!(
                    "{at}: {item:?} came {} ms after it was stored, not {}",
                    found.stored_ms.saturating_sub(scheduled_ms),
                    self.delay_ms
                ));
            }
            self.seen += u64::from(before.is_none());
            self.came += u64::from(before.is_none() && sent.intent.is_delayed);
        }
        self.put(place, found.offset, item)?;
        Ok(item)
    }

    /// A record belongs to one queue, and was not stored before what lies before it in its log.
    fn check_record(&mut self, place: Place, found: &Found) -> Result<(), String> {
        const SHARD: i64 = 1 << 55;
        let this = (place, found.offset, found.stored_ms);
        match self.positions.insert(found.position, this) {
            Some(before) if before == this => return Ok(()),
            Some(before) => {
                return Err(format!("position {}: {before:?}, now {this:?}", found.position));
            }
            None => {}
        }
        let shard = found.position / SHARD * SHARD;
        let before = self.positions.range(shard..found.position).next_back();
        let after = self.positions.range(found.position + 1..shard + SHARD).next();
        let is_late = before.is_some_and(|(_, before)| before.2 > found.stored_ms);
        let is_early = after.is_some_and(|(_, after)| after.2 < found.stored_ms);
        if is_late || is_early {
            return Err(format!("store times fall: {before:?}, then {this:?}, then {after:?}"));
        }
        Ok(())
    }

    /// A whole queue was read from its start: everything that must be there was, in the producers'
    /// order, batches whole.
    ///
    /// # Errors
    /// The finding.
    pub fn audits(&mut self, place: Place, messages: &[Found]) -> Result<(), String> {
        let mut order = Order::default();
        let start = self.starts.get(&place).copied().unwrap_or(0);
        let mut is_cut = start > 0;
        self.check_timers(place, messages)?;
        let mut end = start;
        for found in messages {
            let expected = std::mem::replace(&mut end, found.offset + 1);
            if self.skips_gone(place, expected, found.offset) != found.offset {
                return Err(format!("{place}: offset {} follows {expected}", found.offset));
            }
            for item in self.items_gone(place, expected..found.offset + 1) {
                is_cut &= self.sent[&item].intent.batch.0 > 0;
                if !is_cut {
                    order.next(item, &self.sent[&item], place)?;
                }
            }
            if let Some(topic) = found.others_topic() {
                self.takes_number(place, found.offset, &"another client's message")?;
                self.check_record(place, found)?;
                let checks =
                    if place.topic == Topic::GivenUp { TRANSACTIONS.checks_max } else { 0 };
                if found.checks != checks {
                    return Err(format!("{place}: {found:?} says {} checks", found.checks));
                }
                if place.topic == Topic::GivenUp && topic == mortal::TOPIC {
                    let key = key_of(&found.body).ok_or("a body without its key")?;
                    self.mortals_given_up.insert(key.sequence);
                }
                continue;
            }
            let item = self.sees(place, found)?;
            // The first part of a batch may have gone with its segment.
            is_cut &= self.sent[&item].intent.batch.0 > 0;
            if is_cut || self.sent[&item].again.is_here(found.offset) {
                continue;
            }
            order.next(item, &self.sent[&item], place).map_err(|finding| {
                format!("{place} offset {}: {item:?} {finding}", found.offset)
            })?;
        }
        for item in self.items_gone(place, end..u64::MAX) {
            order.next(item, &self.sent[&item], place)?;
        }
        order.end().map_err(|finding| format!("{place}: {finding}"))?;
        let lost = self.queues.entry(place).or_default().range(end..).next();
        if let Some((offset, item)) = lost {
            let outcome = self.sent[item].outcome;
            return Err(format!(
                "{place} ends at {end}, {item:?} ({outcome:?}) was at {offset}: lost"
            ));
        }
        Ok(())
    }

    /// A pull with a filter was answered: what came is what the filter takes, and nothing that it takes
    /// was passed over.
    ///
    /// # Errors
    /// The finding.
    pub fn filtered(
        &mut self,
        place: Place,
        filter: u8,
        from: u64,
        next: u64,
        messages: &[Found],
    ) -> Result<(), String> {
        let filter = FILTERS[usize::from(filter)];
        let mut at = from;
        for found in messages {
            if !(at..next).contains(&found.offset) {
                let finding = format!(
                    "{place}: {} from {from} to {next} brings offset {}",
                    filter.text, found.offset
                );
                return Err(finding);
            }
            at = found.offset + 1;
            let item = self.sees(place, found)?;
            if !(filter.takes)(item.key) {
                return Err(format!("{place}: {} brings {item:?}", filter.text));
            }
        }
        let Some(queue) = self.queues.get(&place) else { return Ok(()) };
        let known = queue.range(from..next.max(from));
        let mut taken = known.filter(|(_, item)| (filter.takes)(item.key));
        let is_found = |offset: u64| messages.iter().any(|found| found.offset == offset);
        match taken.find(|(offset, _)| !is_found(**offset)) {
            Some((offset, item)) => {
                Err(format!("{place}: {} passes over {item:?} at {offset}", filter.text))
            }
            None => Ok(()),
        }
    }

    /// Messages with times of their own come in the order of these, but for those that were sent when a
    /// later one had come already: the clock was set back.
    fn check_timers(&self, place: Place, messages: &[Found]) -> Result<(), String> {
        if place.is_internal() {
            return Ok(());
        }
        let mut before: Vec<(u64, i64)> = Vec::new();
        for found in messages {
            let item = self.item_of(place, found)?;
            let sent = &self.sent[&item];
            let is_first =
                sent.intent.is_timer && sent.seen_at.is_none_or(|seen| seen == found.offset);
            let Some(due_ms) = found.due_ms.filter(|_| is_first) else { continue };
            let stored_at = match sent.outcome {
                Outcome::Stored(Some(stored)) => Some(stored.position),
                _ => sent.waits_at,
            };
            if let Some(stored_at) = stored_at
                && let Some((later_ms, at)) =
                    before.iter().find(|(due, at)| *due > due_ms && *at > stored_at)
            {
                return Err(format!(
                    "{place} offset {}: {item:?}, due at {due_ms}, comes behind one that was due at {later_ms} and came to {at}",
                    found.offset
                ));
            }
            before.push((due_ms, found.position));
        }
        Ok(())
    }

    /// A client calls a message back.
    pub fn recalls(&mut self, item: Item) {
        self.sent.get_mut(&item).expect("was sent").recall = Recall::Asked;
    }

    /// The broker says that it will not come.
    ///
    /// # Errors
    /// It has.
    pub fn recalled(&mut self, item: Item) -> Result<(), String> {
        let sent = self.sent.get_mut(&item).expect("was sent");
        sent.recall = Recall::Done;
        self.recalled += 1;
        match sent.seen_at {
            Some(offset) => Err(format!("{item:?} is called back and was seen at {offset}")),
            None => Ok(()),
        }
    }

    /// The broker says that it comes nevertheless.
    pub fn not_recalled(&mut self, item: Item) {
        self.sent.get_mut(&item).expect("was sent").recall = Recall::No;
    }

    /// A queue begins at an offset, and each shard's log at one of `log_starts`: what was before must have been
    /// below that of its shard.
    ///
    /// # Errors
    /// The finding.
    pub fn begins(&mut self, place: Place, start: u64, log_starts: &[u64]) -> Result<(), String> {
        let queue = self.queues.entry(place).or_default();
        let kept = queue.split_off(&start);
        self.removed += queue.len() as u64;
        for (offset, item) in std::mem::replace(queue, kept) {
            let sent = &self.sent[&item];
            if let Outcome::Stored(Some(stored)) = sent.outcome
                && place.is_waiting() == sent.intent.is_delayed
                && let Some(position) = Position::from_i64(stored.position)
                && let log_start = log_starts[usize::from(position.shard().0)]
                && position.offset().bytes() >= log_start
            {
                return Err(format!(
                    "{place} begins at {start}, {item:?} was at {offset}, and the log of its shard begins at {log_start}: lost"
                ));
            }
        }
        // A crash before the files were removed gives it back.
        self.starts.insert(place, start);
        Ok(())
    }

    /// What waits for its time, or was sent back with success, and has not come yet.
    pub fn awaited(&self) -> Option<Item> {
        let is_due = |sent: &Sent| {
            let is_stored = matches!(sent.outcome, Outcome::Stored(_));
            sent.intent.is_delayed
                && sent.intent.half.is_none()
                && sent.recall == Recall::No
                && sent.seen_at.is_none()
                && (is_stored || sent.scheduled.is_some())
        };
        let mut missed: BTreeMap<Place, BTreeSet<Item>> = BTreeMap::new();
        for (item, sent) in self.sent.iter().filter(|(_, sent)| is_due(sent)) {
            missed.entry(sent.intent.place).or_default().insert(*item);
        }
        let lost = missed.iter().find(|(place, items)| items.len() as u64 > self.unknown(**place));
        lost.and_then(|(_, items)| items.first().copied())
    }

    // ---- half messages --------------------------------------------------------------------------

    /// The broker starts.
    pub fn begins_life(&mut self) {
        self.life += 1;
    }

    /// It was stopped: everything that it did is durable.
    pub fn stopped_cleanly(&mut self) {
        // What was asked before a crash may be forgotten with it.
        let halves = self.sent.values_mut().map(|sent| &mut sent.half);
        for half in halves.filter(|half| half.checked_in == self.life) {
            half.checks_least = half.checks_here.checked_ilog2().unwrap_or(0);
        }
    }

    /// What the producer of a half message knows of it, and where it waits, if that was answered.
    pub fn half(&self, item: Item) -> Option<(Verdict, Stored)> {
        let sent = &self.sent[&item];
        match sent.outcome {
            Outcome::Stored(Some(stored)) => Some((sent.intent.half?, stored)),
            _ => None,
        }
    }

    /// What the producer of a half message knows of it.
    pub fn verdict(&self, item: Item) -> Option<Verdict> {
        self.sent[&item].intent.half
    }

    /// A producer says its word.
    pub fn tells(&mut self, item: Item) {
        self.sent.get_mut(&item).expect("was sent").half.is_told = true;
    }

    /// The word was answered with success.
    pub fn ended(&mut self, item: Item) {
        let half = &mut self.sent.get_mut(&item).expect("was sent").half;
        half.ended_in.get_or_insert(self.life);
    }

    /// A producer is asked. What it knows.
    ///
    /// # Errors
    /// The finding.
    pub fn is_checked(
        &mut self,
        item: Item,
        place: Stored,
        checks: u32,
    ) -> Result<Verdict, String> {
        let life = self.life;
        let Some(sent) = self.sent.get_mut(&item) else {
            return Err(format!("a producer is asked for {item:?}, which was never sent"));
        };
        let Some(verdict) = sent.intent.half else {
            return Err(format!("a producer is asked for {item:?}, which is no half message"));
        };
        let is_other = matches!(sent.outcome, Outcome::Stored(Some(stored)) if stored != place);
        if is_other || sent.outcome == Outcome::Refused {
            return Err(format!("a producer is asked for {item:?} at {place:?}: {sent:?}"));
        }
        let half = &mut sent.half;
        if half.ended_in.is_some_and(|ended_in| ended_in < life) {
            return Err(format!("a producer is asked for {item:?}, which was settled before"));
        }
        if half.checked_in < life {
            (half.checked_in, half.checks_here) = (life, 0);
        }
        // Two producers read what they were asked in any order, each check once.
        let (least, this) = (half.checks_least, 1 << checks.min(31));
        if checks <= least || checks > TRANSACTIONS.checks_max || half.checks_here & this != 0 {
            let finding =
                format!("{item:?} is checked for the {checks}. time: {half:?}, life {life}");
            return Err(finding);
        }
        half.checks_here |= this;
        Ok(verdict)
    }

    fn sees_given_up(&mut self, place: Place, found: &Found, item: Item) -> Result<(), String> {
        let at = format!("{place} offset {}", found.offset);
        let sent = self.sent.get_mut(&item).expect("looked up above");
        if found.checks != TRANSACTIONS.checks_max {
            return Err(format!("{at}: {item:?} is given up after {} checks", found.checks));
        }
        if let Some(seen) = sent.seen_at.filter(|_| !sent.again.is_settled_twice()) {
            return Err(format!("{at}: {item:?} is given up and was seen at {seen}"));
        }
        let before = *sent.half.given_up_at.get_or_insert(found.offset);
        if before != found.offset && !sent.again.is_given_up(found.offset) {
            return Err(format!("{at}: {item:?} was given up at {before:?} too"));
        }
        self.put(place, found.offset, item)
    }

    /// After the last half message was given up: one that was stored and was neither seen nor given up
    /// nor is to be nowhere.
    pub fn awaited_half(&self) -> Option<Item> {
        let is_missed = |sent: &Sent| {
            let Some(verdict) = sent.intent.half else { return false };
            let is_stored = matches!(sent.outcome, Outcome::Stored(_)) || sent.scheduled.is_some();
            let is_nowhere = verdict == Verdict::RollBack && sent.half.is_told;
            let is_found = sent.seen_at.is_some() || sent.half.given_up_at.is_some();
            // What went with its segment before anybody saw it.
            let may_be_gone = self.starts.values().any(|start| *start > 0);
            is_stored && !is_nowhere && !is_found && !may_be_gone
        };
        let mut missed = self.sent.iter().filter(|(_, sent)| is_missed(sent));
        missed.next().map(|(item, _)| *item)
    }

    /// Where a queue begins whose older messages were removed.
    pub fn start_of(&self, place: Place) -> u64 {
        self.starts.get(&place).copied().unwrap_or(0)
    }

    /// How many messages of a queue came and went with their segments before anybody saw them.
    fn unknown(&self, place: Place) -> u64 {
        let Some(start) = self.starts.get(&place) else { return 0 };
        let known = self.known.get(&place).map_or(0, |known| known.range(..start).count());
        start - known as u64
    }

    /// A consumer asks to commit an offset.
    pub fn commits(&mut self, group: u8, place: Place, offset: u64) {
        let (_, most) = self.committed.entry((group, place)).or_default();
        *most = (*most).max(offset);
    }

    /// The commit was answered with success.
    pub fn committed(&mut self, group: u8, place: Place, offset: u64) {
        let (least, _) = self.committed.entry((group, place)).or_default();
        *least = (*least).max(offset);
    }

    /// Groups and queues for which an offset was committed.
    pub fn commits_known(&self) -> Vec<(u8, Place)> {
        self.committed.keys().copied().collect()
    }

    /// A consumer asked for the committed offset.
    ///
    /// # Errors
    /// The finding.
    pub fn reads_committed(
        &mut self,
        group: u8,
        place: Place,
        offset: Option<u64>,
    ) -> Result<(), String> {
        let (least, most) = self.committed.get(&(group, place)).copied().unwrap_or_default();
        let found = offset.unwrap_or(0);
        if found < least || found > most {
            return Err(format!(
                "{place}, group {group}: the committed offset is {offset:?}, between {least} and {most} were committed"
            ));
        }
        Ok(())
    }

    /// Somebody asks for a topic with so many queues.
    pub fn makes(&mut self, topic: Topic, queues: u32) {
        let (_, most) = self.made.entry(topic).or_default();
        *most = (*most).max(queues);
    }

    /// The request was answered with success.
    pub fn made(&mut self, topic: Topic, queues: u32) {
        let (least, _) = self.made.entry(topic).or_default();
        *least = (*least).max(queues);
    }

    /// Queues that a topic made by request has: at least, and at the most.
    pub fn queues_of(&self, topic: Topic) -> (u32, u32) {
        self.made.get(&topic).copied().unwrap_or_default()
    }

    /// Whether a queue must be there: something of it, or of its topic if that has all its queues from
    /// its start, was acknowledged or seen.
    pub fn must_exist(&self, place: Place) -> bool {
        match place.topic {
            Topic::Schedule | Topic::Half | Topic::Wheel | Topic::GivenUp => true,
            Topic::Made(_) => {
                let has_messages = self.queues.get(&place).is_some_and(|items| !items.is_empty());
                has_messages || place.queue < self.queues_of(place.topic).0
            }
            Topic::Auto | Topic::Retry(_) | Topic::Dead(_) => self
                .queues
                .iter()
                .any(|(other, items)| other.topic == place.topic && !items.is_empty()),
        }
    }

    /// Whether a message waits for its answer.
    pub fn anybody_waits(&self) -> Option<Item> {
        let waits =
            |(item, sent): (&Item, &Sent)| (sent.outcome == Outcome::Waits).then_some(*item);
        self.sent.iter().filter_map(waits).min()
    }
}

/// The order of a queue's messages as it is read.
#[derive(Default)]
struct Order {
    /// For each producer and way the last that came.
    last_of: HashMap<(u32, bool), u64>,
    /// The batch that is being read: what comes next, and how many it has.
    batch: Option<(MessageKey, u32, u32)>,
}

/// Whether what was a half message may be seen so.
fn check_half(sent: &Sent, verdict: Verdict, found: &Found) -> Result<(), String> {
    if verdict != Verdict::Commit || !sent.half.is_told {
        return Err(format!("is seen, its producer knows {verdict:?}: {sent:?}"));
    }
    if let Some(given_up) = sent.half.given_up_at.filter(|_| !sent.again.is_settled_twice()) {
        return Err(format!("is seen and was given up at {given_up}"));
    }
    match sent.outcome {
        Outcome::Stored(Some(stored)) if stored.position != found.prepared => {
            Err(format!("says that it was prepared at {}, not {stored:?}", found.prepared))
        }
        _ => Ok(()),
    }
}

impl Order {
    fn next(&mut self, item: Item, sent: &Sent, place: Place) -> Result<(), String> {
        let (index, count) = sent.intent.batch;
        match self.batch.take() {
            Some((key, expected, _)) if key != item.key || expected != index => {
                return Err(format!("comes in the middle of a batch, before {key:?}"));
            }
            None if index > 0 && item.times == 0 => {
                return Err(format!("is number {index} of a batch whose start is not before it"));
            }
            _ => {}
        }
        if item.times > 0 {
            return Ok(()); // clients send back in any order
        }
        if index + 1 < count {
            let key = MessageKey { sequence: item.key.sequence + 1, ..item.key };
            self.batch = Some((key, index + 1, count));
        }
        let is_late = sent.intent.crosses && sent.outcome == Outcome::Unknown;
        if sent.intent.is_early || is_late {
            return Ok(());
        }
        if sent.intent.half.is_some() && !place.is_waiting() {
            return Ok(()); // in the order of words
        }
        // Messages that waited come in the order in which they waited.
        let waited = sent.intent.is_delayed && !place.is_waiting();
        if waited && sent.intent.is_timer {
            return Ok(()); // in another order
        }
        let number = match sent.scheduled.filter(|_| waited) {
            Some((offset, _)) => offset,
            None if waited => return Ok(()),
            None => u64::from(item.key.sequence),
        };
        match self.last_of.insert((item.key.producer, waited), number) {
            Some(last) if last >= number => Err(format!("comes after {last}")),
            _ => Ok(()),
        }
    }

    fn end(&self) -> Result<(), String> {
        match self.batch {
            Some((key, index, count)) => {
                Err(format!("ends in a batch, before {key:?}, number {index} of {count}"))
            }
            None => Ok(()),
        }
    }
}
