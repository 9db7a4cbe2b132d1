//! An operator with tools, who changes what a broker keeps besides messages: its configuration, what groups may
//! read, their offsets (committed, set back by time, taken from another group). He asks one change at a
//! time, or the same one twice at once over two connections, as whoever doubts that he was heard.
//!
//! What must hold: a change that was answered with success is there on every core at once, and after
//! every crash until the next one; it is shown by each way to ask for it, and does what it says; of one that was
//! refused for what it says nothing is there. Offsets go where they were told to, in all queues.

mod act;

use proto::body::{
    ConsumerOffsetSerializeWrapper, GroupForbidden, MessageQueue, QueryCorrectionOffsetBody,
    ResetOffsetBody,
};
use proto::code::{request, response};
use proto::record::Record;

use self::act::Act;
use crate::client::BROKER_NAME;
use crate::fact::Fact;
use crate::ledger::key_of;
use crate::link::{Arrived, Link};
use crate::world::{Finding, Life, World};

/// The topic whose queues his groups consume.
const TOPIC: &str = "SimKept";

/// Who sends all that is sent to it, in keys.
const PRODUCER: u32 = 1_001;

const GROUPS: usize = 3;

/// More than there are shards, now and then.
const QUEUES: usize = 4;

/// Messages of a queue: one pull brings them all.
const MESSAGES_MAX: usize = 30;

const LINKS: usize = 2;

/// What `broker.conf` says of the keys that he changes.
pub const CONFIGURED: [(&str, &str); 2] = [(TRACE, "true"), (POLLING, "1000")];

/// Told in each answer to a send, by the core that has the queue.
const TRACE: &str = "traceOn";

/// Nobody here polls in short intervals: it is a number that is kept, and no more.
const POLLING: &str = "shortPollingTimeMills";

fn group_name(group: usize) -> String {
    format!("SimKeeper{group}")
}

/// Whether a group is to hear that an offset of its was set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Told {
    #[default]
    Nothing,
    /// It must, of this.
    Must(u64),
    /// It may.
    May,
}

#[derive(Debug, Default)]
struct Seat {
    link: Option<Link>,
    asked: Option<(i32, Act)>,
    /// Over this connection he is a member of his groups.
    has_joined: bool,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Operator {
    seats: [Seat; LINKS],
    /// Lives of the broker so far.
    life: u32,
    has_topic: bool,
    has_group: [bool; GROUPS],
    is_traced: Fact<bool>,
    polling_ms: Fact<u64>,
    is_readable: [Fact<bool>; GROUPS],
    offsets: [[Fact<Option<u64>>; QUEUES]; GROUPS],
    told: [[Told; QUEUES]; GROUPS],
    /// Of each queue's messages, as far as they were read, when they were stored.
    stored_ms: [Vec<u64>; QUEUES],
    /// Messages of each queue, at least.
    sent: [usize; QUEUES],
    /// There may be more than these.
    may_grow: [bool; QUEUES],
    numbers: u32,
    /// A change was on its way when its connection broke, and may yet arrive: in this life he asks nothing else …
    is_stuck: bool,
    /// … but this, once more.
    again: Option<Act>,
}

impl Default for Operator {
    fn default() -> Self {
        Operator {
            seats: Default::default(),
            life: 1,
            has_topic: false,
            has_group: Default::default(),
            is_traced: Fact::new(true),
            polling_ms: Fact::new(1_000),
            is_readable: std::array::from_fn(|_| Fact::new(true)),
            offsets: Default::default(),
            told: Default::default(),
            stored_ms: Default::default(),
            sent: Default::default(),
            may_grow: Default::default(),
            numbers: 0,
            is_stuck: false,
            again: None,
        }
    }
}

impl Operator {
    /// Whether an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        self.seats.iter().any(|seat| seat.asked.is_some())
    }

    /// The broker's life ends: nothing is on its way any more, and what groups were to hear is forgotten.
    pub fn ends(&mut self) {
        (0..LINKS).for_each(|seat| self.loses_connection(seat));
        self.told = Default::default();
        self.life += 1;
        (self.is_stuck, self.again) = (false, None);
    }

    fn loses_connection(&mut self, seat: usize) {
        match std::mem::take(&mut self.seats[seat]).asked {
            Some((_, act)) if act.is_change() => {
                (self.is_stuck, self.again) = (true, Some(act));
            }
            Some((_, Act::Send { queue, .. })) => {
                (self.is_stuck, self.may_grow[queue]) = (true, true);
            }
            // The group may have heard of a reset, whose answer nobody read.
            Some((_, Act::Read { group, queue, .. } | Act::PullAsMember { group, queue, .. }))
                if self.told[group][queue] != Told::Nothing =>
            {
                (self.is_stuck, self.told[group][queue]) = (true, Told::May);
            }
            _ => {}
        }
    }

    /// Where a reset takes a queue's offset, if all its messages are known.
    fn target(&self, queue: usize, time_ms: Option<u64>) -> u64 {
        let stored_ms = &self.stored_ms[queue];
        let at_time = |time_ms| stored_ms.partition_point(|stored_ms| *stored_ms < time_ms);
        time_ms.map_or(stored_ms.len(), at_time) as u64
    }

    fn is_known(&self, queue: usize) -> bool {
        !self.may_grow[queue] && self.stored_ms[queue].len() == self.sent[queue]
    }

    /// Something is asked for.
    fn asks(&mut self, act: Act) {
        let life = self.life;
        match act {
            Act::Set { is_traced, polling_ms } => {
                is_traced.into_iter().for_each(|it| self.is_traced.asks(it, life));
                polling_ms.into_iter().for_each(|it| self.polling_ms.asks(it, life));
            }
            Act::Forbid { group, is_readable } => self.is_readable[group].asks(is_readable, life),
            Act::Commit { group, queue, offset } => {
                self.offsets[group][queue].asks(Some(offset), life);
            }
            Act::Reset { group, queue: only, time_ms } => {
                for queue in (0..QUEUES).filter(|queue| only.is_none_or(|only| only == *queue)) {
                    let target = self.target(queue, time_ms);
                    self.offsets[group][queue].asks(Some(target), life);
                    self.told[group][queue] = Told::May;
                }
            }
            Act::Clone { source, target, .. } => {
                for (queue, offset) in self.cloned(source).into_iter().flatten().enumerate() {
                    self.offsets[target][queue].asks(offset, life);
                }
            }
            _ => {}
        }
    }

    /// What a group gets that gets the offsets of another one: all of them, or nothing changes if that has none.
    fn cloned(&self, source: usize) -> Option<[Option<u64>; QUEUES]> {
        let offsets = self.offsets[source].each_ref().map(|it| it.sure().copied().flatten());
        offsets.iter().any(Option::is_some).then_some(offsets)
    }

    fn is_sure(&self, group: usize) -> bool {
        self.offsets[group].iter().all(|it| it.sure().is_some())
    }

    /// Compares an answer with what must be there, and learns from it.
    fn learns(&mut self, life: &Life, act: Act, arrived: &Arrived) -> Result<(), Finding> {
        let finding =
            |what: &str| Err(format!("operator: {what}: {act:?} is answered {arrived:?}"));
        if is_refused(life, act, arrived) {
            return Ok(());
        }
        let (code, now) = (arrived.code, self.life);
        match act {
            Act::SetWrong { is_forbidden, .. } => {
                let expected = match is_forbidden {
                    true => response::NO_PERMISSION,
                    false => response::SYSTEM_ERROR,
                };
                return if code == expected { Ok(()) } else { finding("it is taken") };
            }
            Act::PullAsMember { group, .. } => {
                if !self.is_readable[group].may_be(&(code != response::NO_PERMISSION)) {
                    return finding("what it may read is otherwise");
                }
                if code == response::NO_PERMISSION {
                    return Ok(());
                }
            }
            Act::Query { .. } if code == response::QUERY_NOT_FOUND => {}
            Act::Read { .. } => {}
            Act::Send { queue, .. } if code == response::FLUSH_DISK_TIMEOUT => {
                // It is on its way to the disk.
                (self.is_stuck, self.may_grow[queue]) = (true, true);
                return Ok(());
            }
            _ if code == response::SUCCESS => {}
            _ => return finding("not as it must be"),
        }
        match act {
            Act::MakeTopic => self.has_topic = true,
            Act::MakeGroup { group } => self.has_group[group] = true,
            Act::Join | Act::SetWrong { .. } => {}
            Act::Set { is_traced, polling_ms } => {
                is_traced.into_iter().for_each(|it| self.is_traced.is(it));
                polling_ms.into_iter().for_each(|it| self.polling_ms.is(it));
            }
            Act::ShowSettings => {
                let text = String::from_utf8_lossy(&arrived.body);
                let value = |key: &str| {
                    let mut lines = text.lines().filter_map(|line| line.split_once('='));
                    Some(lines.find(|(found, _)| *found == key)?.1.to_owned())
                };
                let is_traced = value(TRACE).and_then(|it| it.parse().ok());
                let polling_ms = value(POLLING).and_then(|it| it.parse().ok());
                let is_right = is_traced.is_some_and(|it| self.is_traced.reads(it, now))
                    && polling_ms.is_some_and(|it| self.polling_ms.reads(it, now));
                if !is_right {
                    return finding(&format!("{:?} {:?}", self.is_traced, self.polling_ms));
                }
            }
            Act::Forbid { group, .. } | Act::AskForbidden { group } => {
                let found = GroupForbidden::parse(&arrived.body).ok().and_then(|it| it.readable);
                let Some(found) = found else { return finding("no body") };
                let is_right = match act {
                    Act::Forbid { is_readable, .. } => {
                        self.is_readable[group].is(is_readable);
                        found == is_readable
                    }
                    _ => self.is_readable[group].reads(found, now),
                };
                if !is_right {
                    return finding(&format!("{:?}", self.is_readable[group]));
                }
            }
            Act::Send { queue, .. } => {
                let is_traced = arrived.ext.get("TRACE_ON").map(|it| it == "true");
                if !is_traced.is_some_and(|it| self.is_traced.may_be(&it)) {
                    return finding("its core has another configuration");
                }
                let offset = arrived.number("queueOffset").map_or(0, |offset| offset as usize);
                if offset < self.sent[queue] || offset > self.sent[queue] && !self.may_grow[queue] {
                    return finding("another offset");
                }
                self.sent[queue] = offset + 1;
            }
            Act::Read { group, queue, from } | Act::PullAsMember { group, queue, from } => {
                if let Err(what) = self.reads(group, queue, from, arrived) {
                    return finding(&what);
                }
            }
            Act::Commit { group, queue, offset } => self.offsets[group][queue].is(Some(offset)),
            Act::Reset { group, queue: only, time_ms } => {
                let found = ResetOffsetBody::parse(&arrived.body).map_err(|it| it.to_string())?;
                let mut found = found.offset_table;
                for queue in (0..QUEUES).filter(|queue| only.is_none_or(|only| only == *queue)) {
                    let target = self.target(queue, time_ms);
                    let told = found.remove(&MessageQueue::new(TOPIC, BROKER_NAME, queue as i32));
                    if told != Some(target as i64) {
                        return finding(&format!("queue {queue} has to go to {target}"));
                    }
                    self.offsets[group][queue].is(Some(target));
                    self.told[group][queue] = Told::Must(target);
                }
                if !found.is_empty() {
                    return finding("more queues than were meant");
                }
            }
            Act::Clone { source, target, .. } => {
                for (queue, offset) in self.cloned(source).into_iter().flatten().enumerate() {
                    self.offsets[target][queue].is(offset);
                }
            }
            Act::Query { group, queue } => {
                let found = arrived.number("offset").map(|offset| offset as u64);
                if !self.offsets[group][queue].reads(found, now) {
                    return finding(&format!("{:?}", self.offsets[group][queue]));
                }
            }
            Act::AllOffsets => {
                let found = ConsumerOffsetSerializeWrapper::parse(&arrived.body);
                let found = found.map_err(|error| error.to_string())?.offset_table;
                for (group, offsets) in self.offsets.iter_mut().enumerate() {
                    let queues = found.get(&format!("{TOPIC}@{}", group_name(group)));
                    for (queue, offset) in offsets.iter_mut().enumerate() {
                        let found = queues.and_then(|it| it.get(&(queue as i32)));
                        if !offset.reads(found.map(|it| *it as u64), now) {
                            return finding(&format!("group {group}, queue {queue}: {offset:?}"));
                        }
                    }
                }
            }
            Act::Lowest { left_out } => {
                let found = QueryCorrectionOffsetBody::parse(&arrived.body);
                let found = found.map_err(|error| error.to_string())?.correction_offsets;
                let counted = (0..GROUPS).filter(|group| left_out != Some(*group));
                let rows: Vec<_> = counted.map(|group| &self.offsets[group]).collect();
                for queue in 0..QUEUES {
                    if rows.iter().any(|row| row[queue].sure().is_none()) {
                        continue;
                    }
                    let offsets = rows.iter().filter_map(|row| row[queue].sure().copied()?);
                    let lowest = offsets.min().map(|lowest| lowest as i64);
                    if found.get(&(queue as i32)).copied() != lowest {
                        return finding(&format!("queue {queue}: the lowest is {lowest:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A queue was read for a group, which may hear instead that its offset was set.
    fn reads(
        &mut self,
        group: usize,
        queue: usize,
        from: usize,
        arrived: &Arrived,
    ) -> Result<(), String> {
        let told = self.told[group][queue];
        if !self.is_stuck {
            self.told[group][queue] = Told::Nothing;
        }
        if arrived.code == response::PULL_OFFSET_MOVED {
            let next = arrived.number("nextBeginOffset").map(|next| next as u64);
            let is_right = match told {
                Told::Nothing => false,
                Told::Must(target) => next == Some(target),
                Told::May => self.offsets[group][queue].may_be(&next),
            };
            return if is_right { Ok(()) } else { Err(format!("it was told {told:?}")) };
        }
        if let Told::Must(target) = told {
            return Err(format!("it does not hear that it was set to {target}"));
        }
        let expected = [response::SUCCESS, response::PULL_NOT_FOUND];
        if !expected.contains(&arrived.code) {
            return Err("not as it must be".to_owned());
        }
        let max = arrived.number("maxOffset").map_or(0, |max| max as usize);
        let known = &mut self.stored_ms[queue];
        let (mut at, mut body) = (from, &arrived.body[..]);
        while !body.is_empty() {
            let (record, size) = Record::decode(body).map_err(|error| error.to_string())?;
            let fields = record.fields();
            let is_ours = key_of(fields.body).is_some_and(|key| key.producer == PRODUCER);
            if fields.queue_offset != at as i64 || !is_ours || !record.is_body_intact() {
                return Err(format!("at {at} is {fields:?}"));
            }
            let stored_ms = fields.store_timestamp as u64;
            match known.get(at) {
                Some(before) if *before != stored_ms => {
                    return Err(format!("{at} was stored at {before}, now {stored_ms}"));
                }
                Some(_) => {}
                None => known.push(stored_ms),
            }
            at += 1;
            body = &body[size..];
        }
        if max < self.sent[queue] || max > self.sent[queue] && !self.may_grow[queue] {
            return Err(format!("{} were sent, it ends at {max}", self.sent[queue]));
        }
        if at == from && from < max || at > max {
            return Err("too few or too many messages".to_owned());
        }
        self.sent[queue] = max;
        // What was unknown before is there, or will never be: but not while it may still be on its way.
        if at == max && !self.is_stuck {
            self.may_grow[queue] = false;
        }
        Ok(())
    }
}

/// Whether there is a reason for a refusal.
fn is_refused(life: &Life, act: Act, arrived: &Arrived) -> bool {
    match arrived.code {
        response::SERVICE_NOT_AVAILABLE => life.was_full() || life.is_poisoned(),
        response::GO_AWAY => life.stops(),
        response::SYSTEM_ERROR if arrived.remark == "FLUSH_DISK_TIMEOUT" => true,
        // Times of messages are read from the queue.
        response::SYSTEM_ERROR => {
            let reads =
                matches!(act, Act::Read { .. } | Act::PullAsMember { .. } | Act::Reset { .. });
            reads && life.has_failed_reads()
        }
        _ => false,
    }
}

impl World {
    /// He asks something, or loses a connection.
    pub(crate) fn operator_acts(&mut self, life: &mut Life) -> Result<(), Finding> {
        if !life.serves() {
            return Ok(());
        }
        let seat = self.rng.usize(..LINKS);
        let Some(link) = &self.operator.seats[seat].link else {
            self.operator.seats[seat].link = self.connect_link(life);
            return Ok(());
        };
        let connection = link.connection;
        if self.rng.u8(..40) == 0 {
            life.ring(connection).client_closes(connection, None);
            self.operator.loses_connection(seat);
            return Ok(());
        }
        if self.operator.is_waiting() {
            return Ok(());
        }
        let act = self.choose_operation(seat);
        self.operator.asks(act);
        let is_twice = act.is_change() && self.rng.u8(..3) == 0;
        for number in (0..LINKS).filter(|number| *number == seat || is_twice) {
            let Some(link) = &mut self.operator.seats[number].link else { continue };
            let bytes = act.write(link);
            self.operator.seats[number].asked = Some((link.last(), act));
            life.ring(link.connection).client_writes(link.connection, &bytes);
        }
        Ok(())
    }

    fn choose_operation(&mut self, seat: usize) -> Act {
        let (group, queue) = (self.rng.usize(..GROUPS), self.rng.usize(..QUEUES));
        let it = &self.operator;
        if !it.has_topic {
            return Act::MakeTopic;
        }
        if let Some(group) = it.has_group.iter().position(|has_group| !has_group) {
            return Act::MakeGroup { group };
        }
        if !it.seats[seat].has_joined && self.rng.u8(..4) == 0 {
            return Act::Join;
        }
        let shows = match self.rng.u8(..12) {
            0 | 1 => Act::ShowSettings,
            2 | 3 => Act::AskForbidden { group },
            4..9 => Act::Query { group, queue },
            9 => Act::AllOffsets,
            _ => {
                Act::Lowest { left_out: Some(self.rng.usize(..GROUPS)).filter(|_| self.rng.bool()) }
            }
        };
        if it.is_stuck {
            return it.again.filter(|_| self.rng.bool()).unwrap_or(shows);
        }
        let (known, is_told) = (it.stored_ms[queue].len(), it.told[group][queue] != Told::Nothing);
        let from = if self.rng.bool() { known } else { self.rng.usize(..=known) };
        let all_known = (0..QUEUES).all(|queue| it.is_known(queue));
        let has_messages = !self.plan.retains; // what is removed with its segment is others' to tell
        match self.rng.u8(..24) {
            0..3 => {
                let is_traced = self.rng.bool().then(|| self.rng.bool());
                let polling_ms = self.rng.bool().then(|| self.rng.u64(998..1_003));
                Act::Set { is_traced, polling_ms }
            }
            3 => Act::SetWrong { is_traced: self.rng.bool(), is_forbidden: self.rng.bool() },
            4..6 => Act::Forbid { group, is_readable: self.rng.bool() },
            6..9 if it.seats[seat].has_joined => Act::PullAsMember { group, queue, from },
            // A group that has not heard of a reset commits nothing.
            9..12 if !is_told => {
                Act::Commit { group, queue, offset: self.rng.u64(..MESSAGES_MAX as u64) }
            }
            12..14 => {
                let target = (group + self.rng.usize(1..GROUPS)) % GROUPS;
                let is_told = it.told[target].iter().any(|told| *told != Told::Nothing);
                match it.is_sure(group) && !is_told {
                    true => Act::Clone { source: group, target, names_topic: self.rng.bool() },
                    false => shows,
                }
            }
            14..16 if has_messages && all_known => {
                let around = it.stored_ms[queue].get(self.rng.usize(..MESSAGES_MAX)).copied();
                let time_ms = around.map(|around| around + self.rng.u64(..3) - 1);
                let only = self.rng.bool().then_some(queue);
                Act::Reset { group, queue: only, time_ms }
            }
            16..18 if has_messages && it.sent[queue] < MESSAGES_MAX => {
                self.operator.numbers += 1;
                Act::Send { queue, number: self.operator.numbers }
            }
            18..22 => {
                let unknown = (0..QUEUES).find(|queue| !it.is_known(*queue));
                let queue = unknown.unwrap_or(queue);
                let from = if unknown.is_some() { it.stored_ms[queue].len() } else { from };
                Act::Read { group, queue, from }
            }
            _ => shows,
        }
    }

    /// He reads what came for him.
    pub(crate) fn operator_reads(&mut self, life: &mut Life) -> Result<(), Finding> {
        for seat in 0..LINKS {
            let Some(link) = &mut self.operator.seats[seat].link else { continue };
            match life.ring(link.connection).client_reads(link.connection) {
                Some(bytes) => link.receive(&bytes),
                None if life.is_poisoned() || life.stops() => {
                    self.operator.loses_connection(seat);
                    continue;
                }
                None => return Err("the broker closed the operator's connection".to_owned()),
            }
            while let Some(link) = &mut self.operator.seats[seat].link
                && let Some(arrived) = link.next_frame()?
            {
                if !arrived.is_answer && arrived.code == request::NOTIFY_CONSUMER_IDS_CHANGED {
                    continue;
                }
                let asked = &mut self.operator.seats[seat].asked;
                let asked = asked.take_if(|(opaque, _)| *opaque == arrived.opaque);
                let Some((_, act)) = asked.filter(|_| arrived.is_answer) else {
                    return Err(format!("operator: nobody asked for {arrived:?}"));
                };
                self.operator.learns(life, act, &arrived)?;
                if act == Act::Join && arrived.code == response::SUCCESS {
                    self.operator.seats[seat].has_joined = true;
                }
            }
        }
        Ok(())
    }

    /// Everything that he ever changed is asked for, over connections to any core.
    pub(crate) fn audit_operator(&mut self, life: &mut Life) -> Result<(), Finding> {
        if !self.operator.has_topic || self.operator.has_group.contains(&false) {
            return Ok(());
        }
        let (group, queue) = (self.rng.usize(..GROUPS), self.rng.usize(..QUEUES));
        let mut acts = vec![Act::ShowSettings, Act::AskForbidden { group }];
        acts.push(match self.rng.u8(..4) {
            0 => Act::AllOffsets,
            1 => Act::Lowest { left_out: None },
            _ => Act::Query { group, queue },
        });
        for act in acts {
            self.ask_operation(life, act)?;
        }
        while let Some(queue) = (0..QUEUES).find(|queue| !self.operator.is_known(*queue))
            && !self.operator.is_stuck
        {
            let before = self.operator.stored_ms[queue].len();
            self.ask_operation(life, Act::Read { group, queue, from: before })?;
            if self.operator.stored_ms[queue].len() == before {
                break; // a read failed, or the group heard of a reset
            }
        }
        Ok(())
    }

    fn ask_operation(&mut self, life: &mut Life, act: Act) -> Result<(), Finding> {
        let arrived = self.ask_over_link(life, |link| act.write(link))?;
        self.operator.learns(life, act, &arrived)
    }
}
