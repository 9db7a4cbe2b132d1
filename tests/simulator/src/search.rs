//! Ways to find messages, audited: by filters, by keys, by their ids, by the time at which they were stored.
//!
//! What must hold, whatever crashed: a filter brings what it takes and nothing else; every message that is in a
//! queue is found by each of its keys, with all that share it, within a range of times those of that
//! range, and none that does not have it; an id names its message, and what is no message's beginning
//! names none; a queue's entries are those of its messages, with their tags; a time names the first message of a queue then or later, or the last then or before. Index
//! files that were lost or damaged are made again.

use std::collections::BTreeMap;

use proto::body::{ConsumeQueueData, QueryConsumeQueueResponseBody};
use proto::code::{request, response};
use proto::ids::java_hash;

use crate::client::{Answered, Asked};
use crate::ledger::{Found, MessageKey, key_of};
use crate::marks::{FILTERS, Wanted, tag_of};
use crate::place::{Place, Topic};
use crate::world::{Finding, Life, QUIET_STEPS_MAX, World};

/// Keys that are looked for in an audit: a question each.
const INDEX_LOOKS: usize = 40;

/// Ids and times that are looked for in an audit.
const OTHER_LOOKS: usize = 6;

/// Steps between two looks for what a lost index had.
const REMAKING_STEPS: u32 = 50;

/// A message that an audit read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    key: MessageKey,
    offset: u64,
    position: i64,
    size_bytes: u32,
    stored_ms: u64,
}

impl Seen {
    /// Which one it is.
    pub fn key(&self) -> MessageKey {
        self.key
    }

    pub fn of(found: &Found) -> Result<Seen, Finding> {
        let key = key_of(&found.body).ok_or("a body without its key")?;
        let Found { offset, position, size_bytes, stored_ms, .. } = *found;
        Ok(Seen { key, offset, position, size_bytes, stored_ms })
    }
}

impl World {
    /// A queue that was just read is read again with a filter, now and then.
    pub(crate) fn audit_filter(
        &mut self,
        life: &mut Life,
        place: Place,
        all: &[Seen],
    ) -> Result<(), Finding> {
        if place.is_internal() || all.is_empty() || self.rng.u8(..3) > 0 {
            return Ok(());
        }
        let number = self.rng.u8(..FILTERS.len() as u8);
        let filter = FILTERS[usize::from(number)];
        let found = self.read_queue(life, place, true, Some(number))?.unwrap_or_default();
        // More may have come, and the oldest may have gone.
        let start = self.ledger.start_of(place);
        let end = all.last().map_or(0, |last| last.offset + 1);
        let expected = all.iter().filter(|it| it.offset >= start && (filter.takes)(it.key));
        let found = found.iter().filter(|it| it.offset < end).map(|it| (it.offset, it.position));
        let found: Vec<_> = found.collect();
        let expected: Vec<_> = expected.map(|it| (it.offset, it.position)).collect();
        if found != expected {
            return Err(format!("{place}: {} brings {found:?}, not {expected:?}", filter.text));
        }
        Ok(())
    }

    /// Messages are found by their keys: some of those that were read.
    pub(crate) fn audit_index(
        &mut self,
        life: &mut Life,
        read: &[(Place, Vec<Seen>)],
    ) -> Result<(), Finding> {
        if life.is_poisoned() {
            return Ok(());
        }
        // What a fault delayed may be done now.
        life.looks_at_disk();
        let mut steps = 0;
        while life.shards().any(|shard| shard.message_index().unwritten() > 0) {
            if steps == QUIET_STEPS_MAX {
                return Err(format!("index files are not made in {steps} steps"));
            }
            steps += 1;
            self.step(life, false)?;
        }
        let mut by_key: BTreeMap<(Topic, MessageKey), Vec<Seen>> = BTreeMap::new();
        for (place, seen) in read {
            for seen in seen {
                by_key.entry((place.topic, seen.key)).or_default().push(*seen);
            }
        }
        let step = by_key.len() / INDEX_LOOKS + 1;
        let some: Vec<_> = by_key.keys().copied().step_by(step).collect();
        for (topic, key) in some {
            let wanted = match self.rng.u8(..4) {
                0 => Wanted::Unique { is_said: true },
                1 => Wanted::Unique { is_said: false },
                which => Wanted::Shared(which - 2),
            };
            // Neighbours may have it, too.
            let near = |sequence| (topic, MessageKey { sequence, ..key });
            let (from, to) = (key.sequence.saturating_sub(4), key.sequence + 4);
            let all = by_key.range(near(from)..near(to));
            let mut expected: Vec<Seen> = all
                .filter(|((_, other), _)| wanted.is_of(key, *other))
                .flat_map(|(_, seen)| seen)
                .copied()
                .collect();
            let mut between = (0, i64::MAX as u64);
            if self.rng.u8(..3) == 0 {
                let some = self.rng.usize(..expected.len());
                between = (expected[some].stored_ms, expected[some].stored_ms);
                expected.retain(|it| it.stored_ms == between.0);
            }
            let place = Place { topic, queue: 0 };
            self.audit_key(life, Asked::Find { key, wanted, place, between }, &expected)?;
        }
        let nobody = MessageKey { producer: 99, sequence: 0 };
        let place = Place { topic: Topic::Auto, queue: 0 };
        let between = (0, i64::MAX as u64);
        self.audit_key(
            life,
            Asked::Find { key: nobody, wanted: Wanted::Shared(0), place, between },
            &[],
        )
    }

    fn audit_key(
        &mut self,
        life: &mut Life,
        asked: Asked,
        expected: &[Seen],
    ) -> Result<(), Finding> {
        let Asked::Find { key, wanted, between, .. } = asked else { unreachable!("is a find") };
        let mut steps = 0;
        loop {
            let messages = match self.ask_once(life, asked)? {
                Answered::Messages { messages, .. } => messages,
                Answered::Code { code: response::SYSTEM_ERROR, .. } if life.has_failed_reads() => {
                    return Ok(());
                }
                other => return Err(format!("{asked:?}: {other:?}")),
            };
            let is_right = |it: &Found| {
                key_of(&it.body).is_some_and(|other| wanted.is_of(key, other))
                    && (between.0..=between.1).contains(&it.stored_ms)
            };
            if let Some(other) = messages.iter().find(|it| !is_right(it)) {
                return Err(format!("{asked:?} finds the message at {}", other.position));
            }
            let is_found = |seen: &Seen| messages.iter().any(|it| it.position == seen.position);
            let Some(lost) = expected.iter().find(|it| !is_found(it)) else { return Ok(()) };
            // Segments go, and what waits in them has a copy, which is not looked for.
            if self.plan.retains {
                return Ok(());
            }
            if !self.has_lost_indexes || steps > QUIET_STEPS_MAX {
                return Err(format!("{asked:?} does not find {lost:?}"));
            }
            steps += REMAKING_STEPS;
            for _ in 0..REMAKING_STEPS {
                self.step(life, false)?;
            }
        }
    }

    /// Messages are found by their ids and times: a few of those that were read.
    pub(crate) fn audit_times(
        &mut self,
        life: &mut Life,
        read: &[(Place, Vec<Seen>)],
    ) -> Result<(), Finding> {
        let read: Vec<_> = read.iter().filter(|(_, seen)| !seen.is_empty()).collect();
        if read.is_empty() || self.plan.retains {
            return Ok(());
        }
        for _ in 0..OTHER_LOOKS {
            let (place, seen) = read[self.rng.usize(..read.len())];
            let some = seen[self.rng.usize(..seen.len())];
            self.audit_id(life, *place, some)?;
            let (is_upper, apart) = (self.rng.bool(), self.rng.u64(..3));
            let time_ms = some.stored_ms + apart - 1;
            self.audit_time(life, *place, seen, time_ms, is_upper)?;
        }
        let (place, seen) = read[self.rng.usize(..read.len())];
        self.audit_entries(life, *place, seen)
    }

    /// The entries of a queue, some of them, are those of its messages.
    fn audit_entries(
        &mut self,
        life: &mut Life,
        place: Place,
        seen: &[Seen],
    ) -> Result<(), Finding> {
        let (from, count) = (self.rng.usize(..seen.len()), self.rng.usize(1..100));
        let expected = &seen[from..seen.len().min(from + count)];
        let arrived = self.ask_over_link(life, |link| {
            let ext = [
                ("topic", &*place.topic.name()),
                ("queueId", &*place.queue.to_string()),
                ("index", &*expected[0].offset.to_string()),
                ("count", &*count.to_string()),
            ];
            link.request(request::QUERY_CONSUME_QUEUE, &ext, b"")
        })?;
        if arrived.code == response::SYSTEM_ERROR && life.has_failed_reads() {
            return Ok(());
        }
        let found = QueryConsumeQueueResponseBody::parse(&arrived.body);
        let found = found.map_err(|error| format!("{place}: {error}: {arrived:?}"))?;
        let end = seen.last().map_or(0, |last| last.offset + 1);
        // More may have come meanwhile; of what is damaged there may be entries that nobody sees.
        let is_first = match self.is_damaged {
            false => found.min_queue_index == seen[0].offset as i64,
            true => found.min_queue_index <= seen[0].offset as i64,
        };
        let is_bounded = is_first
            && found.max_queue_index >= end as i64
            && (expected.len()..=count).contains(&found.queue_data.len());
        let is_of = |(entry, seen): (&ConsumeQueueData, &Seen)| {
            // What waits has no tag that anybody filters by.
            let tag = tag_of(seen.key).map_or(0, |tag| java_hash(tag.as_bytes()));
            (entry.physic_offset, entry.physic_size) == (seen.position, seen.size_bytes as i32)
                && (place.is_internal() || entry.tags_code == i64::from(tag))
        };
        let all: BTreeMap<_, _> = seen.iter().map(|seen| (seen.offset, seen)).collect();
        let mut entries = (expected[0].offset..).zip(&found.queue_data);
        let are_all = entries.all(|(offset, entry)| match all.get(&offset) {
            Some(seen) => is_of((entry, seen)),
            None => self.is_damaged || offset >= end,
        });
        if !is_bounded || !are_all {
            return Err(format!(
                "{place} from {}: {found:?}, not {expected:?}",
                expected[0].offset
            ));
        }
        Ok(())
    }

    fn audit_id(&mut self, life: &mut Life, place: Place, seen: Seen) -> Result<(), Finding> {
        let position = seen.position;
        match self.ask_once(life, Asked::View { place, position })? {
            Answered::Messages { messages, .. } if messages.len() == 1 => {
                let found = Seen::of(&messages[0])?;
                if (found.key, found.offset, found.position) != (seen.key, seen.offset, position) {
                    return Err(format!("{place}: the id of {seen:?} names {found:?}"));
                }
            }
            Answered::Code { code: response::SYSTEM_ERROR, .. } if life.has_failed_reads() => {}
            other => return Err(format!("{place}: the id of {seen:?} is answered {other:?}")),
        }
        let position = position + self.rng.i64(1..40);
        match self.ask_once(life, Asked::View { place, position })? {
            Answered::Code { code: response::SYSTEM_ERROR, .. } => Ok(()),
            other => Err(format!("{place}: {position}, within {seen:?}, is answered {other:?}")),
        }
    }

    fn audit_time(
        &mut self,
        life: &mut Life,
        place: Place,
        seen: &[Seen],
        time_ms: u64,
        is_upper: bool,
    ) -> Result<(), Finding> {
        let offset = match self.ask_once(life, Asked::Search { place, time_ms, is_upper })? {
            Answered::Offset(offset) => offset,
            Answered::Code { code: response::SYSTEM_ERROR, .. } if life.has_failed_reads() => {
                return Ok(());
            }
            other => return Err(format!("{place}: the time {time_ms} is answered {other:?}")),
        };
        let expected = match is_upper {
            true => seen.iter().rev().find(|it| it.stored_ms <= time_ms).or(seen.first()),
            false => seen.iter().find(|it| it.stored_ms >= time_ms),
        };
        // Entries of damaged messages have their times, too.
        let is_gone = |from, to| self.ledger.skips_gone(place, from, to) == to;
        let is_just_before = |it: &Seen| offset <= it.offset && is_gone(offset, it.offset);
        let is_right = match expected {
            Some(expected) if is_just_before(expected) => true,
            // Behind the last that was read more may have come.
            Some(last) if is_upper && seen.last().is_some_and(|it| it.offset == last.offset) => {
                offset >= last.offset
            }
            Some(expected) => {
                is_upper && offset > expected.offset && is_gone(expected.offset + 1, offset + 1)
            }
            None => seen.last().is_none_or(|last| offset > last.offset),
        };
        match is_right {
            true => Ok(()),
            false => Err(format!(
                "{place}: the time {time_ms} (upper: {is_upper}) is offset {offset}, not that of {expected:?}"
            )),
        }
    }

    fn ask_once(&mut self, life: &mut Life, asked: Asked) -> Result<Answered, Finding> {
        let mut client = self.connect_auditor(life)?;
        let answer = self.ask(life, &mut client, asked, &[])?;
        life.ring(client.connection).client_closes(client.connection, None);
        Ok(answer.answered)
    }
}
