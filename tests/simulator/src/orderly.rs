//! Two members of a group that consume queues in order: each locks queues, asks how far the group is, goes on
//! from there, commits, and gives queues up, falls silent or dies.
//!
//! What must hold: a queue has one owner at a time; it is free for the other when it was given up or its
//! lock ran out, and not before; who takes a queue over goes on where the group's last acknowledged
//! commit was, so that the group sees its messages in their order and passes over none.

use proto::frame::Encoding;
use ringmq::broker::locks::LOCK_MS_MAX;

use crate::client::{Answer, Answered, Asked, Client};
use crate::place::{AUTO_QUEUES, ORDERLY_GROUP, Place, Topic};
use crate::world::{Finding, Life, World};

const MEMBERS: usize = 2;
const QUEUES: usize = AUTO_QUEUES as usize;

/// How long a client trusts a lock that it has not renewed, ms: as Java's.
const TRUSTED_MS: u64 = 30_000;

/// What is known of a member's lock of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    /// It holds it for certain from an answer on: when that was asked for.
    asked_ms: Option<u64>,
    /// It may hold it until then.
    may_until_ms: Option<u64>,
    /// The last request that may have locked it.
    sent: u64,
}

#[derive(Debug, Default)]
struct Member {
    client: Option<Client>,
    /// When it asked what it waits for, ms, and which request of all it was.
    asked_ms: u64,
    asked_number: u64,
    /// What the other held for certain then, and what it could not hold.
    others_then: [bool; QUEUES],
    free_then: [bool; QUEUES],
    holds: [Hold; QUEUES],
    /// Where it goes on.
    next: [Option<u64>; QUEUES],
    /// A request was on its way when its connection broke: it does nothing more in this life.
    is_stuck: bool,
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Orderly {
    members: [Member; MEMBERS],
    number: u64,
    /// Queues for which a commit may still be on its way, from a connection that broke.
    strays: [bool; QUEUES],
    /// Owner changes that were seen.
    pub changes: u64,
    last_owner: [Option<usize>; QUEUES],
}

fn place_of(queue: usize) -> Place {
    Place { topic: Topic::Auto, queue: queue as u32 }
}

impl Orderly {
    /// Whether an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        self.members.iter().any(|it| it.client.as_ref().is_some_and(|it| it.waiting() > 0))
    }

    /// The broker's life ends, and its locks with it.
    pub fn ends(&mut self) {
        self.members = Default::default();
        self.strays = [false; QUEUES];
    }

    fn loses_connection(&mut self, member: usize) {
        let Some(client) = self.members[member].client.take() else { return };
        for asked in client.abandon() {
            self.members[member].is_stuck = true;
            if let Asked::Commit { place, .. } = asked {
                self.strays[place.queue as usize] = true;
            }
            // A lock may still come, or go.
            for hold in &mut self.members[member].holds {
                *hold = Hold { asked_ms: None, may_until_ms: Some(u64::MAX), ..*hold };
            }
        }
    }

    /// A commit of this queue is on its way, another member's perhaps.
    fn is_committing(&self, queue: usize) -> bool {
        let waits = self.members.iter().filter_map(|it| it.client.as_ref()?.waits_for());
        let is_it = |asked: Asked| matches!(asked, Asked::Commit { place, .. } if place.queue as usize == queue);
        self.strays[queue] || waits.into_iter().any(is_it)
    }

    fn asks(&mut self, number: usize, asked: Asked, now_ms: u64) {
        self.number += 1;
        let count = self.number;
        let other = self.members[1 - number].holds;
        let member = &mut self.members[number];
        (member.asked_ms, member.asked_number) = (now_ms, count);
        member.others_then = other.map(|it| it.asked_ms.is_some());
        member.free_then = other.map(|it| it.may_until_ms.is_none_or(|until| until < now_ms));
        match asked {
            Asked::Lock { queues, .. } => {
                for (queue, hold) in member.holds.iter_mut().enumerate() {
                    if queues & 1 << queue != 0 {
                        (hold.may_until_ms, hold.sent) = (Some(u64::MAX), count);
                    }
                }
            }
            Asked::Unlock { queue, .. } => {
                member.holds[queue as usize].asked_ms = None;
                member.next[queue as usize] = None;
            }
            _ => {}
        }
    }

    /// A lock was answered.
    fn locked(&mut self, number: usize, wanted: u8, held: u8, now_ms: u64) -> Result<(), Finding> {
        if held & !wanted != 0 {
            return Err(format!("orderly: asked to lock {wanted:#b}, answered {held:#b}"));
        }
        let (asked_ms, asked_number) = {
            let member = &self.members[number];
            (member.asked_ms, member.asked_number)
        };
        for queue in (0..QUEUES).filter(|queue| wanted & 1 << queue != 0) {
            let other = self.members[1 - number].holds[queue];
            let member = &mut self.members[number];
            let hold = &mut member.holds[queue];
            if held & 1 << queue == 0 {
                (hold.asked_ms, hold.may_until_ms) = (None, None);
                member.next[queue] = None;
                if member.free_then[queue] && other.sent < asked_number {
                    return Err(format!(
                        "orderly: queue {queue} is not locked for {number} at {now_ms}, and nobody else has it: {other:?}"
                    ));
                }
                continue;
            }
            (hold.asked_ms, hold.may_until_ms) = (Some(asked_ms), Some(now_ms + LOCK_MS_MAX));
            if let Some(other_ms) = other.asked_ms.filter(|_| member.others_then[queue])
                && now_ms <= other_ms + LOCK_MS_MAX
            {
                return Err(format!(
                    "orderly: queue {queue} is locked for {number} at {now_ms}, and for the other since {other_ms}"
                ));
            }
            // Whoever had it before has not: it does not know yet.
            self.members[1 - number].holds[queue].asked_ms = None;
            if self.last_owner[queue].replace(number).is_some_and(|last| last != number) {
                self.changes += 1;
                self.members[number].next[queue] = None;
            }
        }
        Ok(())
    }
}

impl World {
    fn monotonic_ms(&self) -> u64 {
        self.now.monotonic_ns / 1_000_000
    }

    /// A member does something, or loses its connection.
    pub(crate) fn orderly_acts(&mut self, life: &mut Life) -> Result<(), Finding> {
        let number = self.rng.usize(..MEMBERS);
        if self.orderly.members[number].is_stuck || !life.serves() {
            return Ok(());
        }
        let Some(client) = &self.orderly.members[number].client else {
            let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 997));
            let connection = life.any_ring(&mut self.rng).connect(peer, 1 << 20);
            let client = connection.map(|it| Client::new(it, Encoding::Json));
            self.orderly.members[number].client = client;
            return Ok(());
        };
        let (connection, is_waiting) = (client.connection, client.waiting() > 0);
        if self.rng.u8(..60) == 0 {
            life.ring(connection).client_closes(connection, None);
            self.orderly.loses_connection(number);
            return Ok(());
        }
        if is_waiting {
            return Ok(());
        }
        let now_ms = self.monotonic_ms();
        let asked = self.choose_orderly(number, now_ms);
        if let Asked::Commit { group, place, offset } = asked {
            self.ledger.commits(group, place, offset);
        }
        self.orderly.asks(number, asked, now_ms);
        let is_there = asked.place().is_some_and(|place| self.ledger.must_exist(place));
        let client = self.orderly.members[number].client.as_mut().expect("connected above");
        let bytes = client.ask(asked, is_there, &[]);
        life.ring(connection).client_writes(connection, &bytes);
        Ok(())
    }

    fn choose_orderly(&mut self, number: usize, now_ms: u64) -> Asked {
        let queue = self.rng.usize(..QUEUES);
        let (member, place) = (&self.orderly.members[number], place_of(queue));
        let is_trusted = |hold: &Hold| hold.asked_ms.is_some_and(|it| now_ms < it + TRUSTED_MS);
        let lock = |queues| Asked::Lock { member: number as u8, queues };
        if !is_trusted(&member.holds[queue]) {
            // Now and then it gives up what it does not have: the other's stays the other's.
            if self.rng.u8(..6) == 0 {
                return Asked::Unlock { member: number as u8, queue: queue as u32 };
            }
            return lock(1 << queue | self.rng.u8(..1 << QUEUES));
        }
        let Some(next) = member.next[queue] else {
            return Asked::Query { group: ORDERLY_GROUP, place };
        };
        match self.rng.u8(..12) {
            0 => lock(1 << queue),
            1 | 2 => Asked::Unlock { member: number as u8, queue: queue as u32 },
            3..6 if !self.orderly.is_committing(queue) => {
                Asked::Commit { group: ORDERLY_GROUP, place, offset: next }
            }
            _ => Asked::Pull {
                group: ORDERLY_GROUP,
                place,
                from: next,
                commit: None,
                suspend_ms: 0,
                filter: None,
            },
        }
    }

    /// Members read what came for them.
    pub(crate) fn orderly_reads(&mut self, life: &mut Life) -> Result<(), Finding> {
        for number in 0..MEMBERS {
            let Some(client) = &mut self.orderly.members[number].client else { continue };
            match life.ring(client.connection).client_reads(client.connection) {
                Some(bytes) => client.receive(&bytes),
                None if life.is_poisoned() || life.stops() => {
                    self.orderly.loses_connection(number);
                    continue;
                }
                None => return Err("the broker closed an orderly member's connection".to_owned()),
            }
            while let Some(client) = &mut self.orderly.members[number].client
                && let Some(answer) = client.next_answer()?
            {
                self.answered(life, &answer)?;
                self.orderly_learns(number, &answer)?;
            }
        }
        Ok(())
    }

    fn orderly_learns(&mut self, number: usize, answer: &Answer) -> Result<(), Finding> {
        let now_ms = self.monotonic_ms();
        let member = &mut self.orderly.members[number];
        match (answer.asked, &answer.answered) {
            (Asked::Lock { queues, .. }, Answered::Locked { queues: held }) => {
                return self.orderly.locked(number, queues, *held, now_ms);
            }
            (Asked::Unlock { queue, .. }, Answered::Code { code: 0, .. }) => {
                member.holds[queue as usize].may_until_ms = None;
            }
            (Asked::Query { place, .. }, Answered::Offset(offset)) => {
                member.next[place.queue as usize] = Some(*offset);
            }
            (Asked::Query { place, .. }, Answered::Code { code: 22, .. }) => {
                member.next[place.queue as usize] = Some(0);
            }
            (Asked::Pull { place, .. }, Answered::Messages { next, .. }) => {
                member.next[place.queue as usize] = Some(*next);
            }
            _ => {}
        }
        Ok(())
    }
}
