//! Carry: what waits in a segment that is to go is appended again at the tail.
//! Kind: machine
//!
//! The copy and the note that says where it is are one group. Queues stay as they are: the note gives a
//! queue offset another place. The segment may go once all of that is durable.

use std::collections::VecDeque;

use super::read::NotNow;
use super::{AppendRefused, Lookup, Shard};
use crate::carried::{Carried, MOVED_BYTES, WaitingKey, write_moved};
use crate::commitlog::{Entry, FLAG_CONTINUES, FLAG_MORE, Kind, record_bytes};
use crate::consumequeue::{QueueEntry, QueueKey};
use crate::delay::Delays;
use crate::limits::{CARRIED_BYTES_PER_TURN, CARRIED_LOOKS_PER_TURN, CARRIED_MAX, KEPT_RETRY_MS};
use crate::transaction::HALF_TOPIC_INCARNATION;

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Carrying {
    /// What has left its first place.
    pub carried: Carried,
    /// Copies that are not confirmed yet: log offset behind the group.
    unconfirmed: VecDeque<(u64, WaitingKey, QueueEntry)>,
    pass: Option<Pass>,
    /// Nothing below waits at its first place any more.
    done_to: u64,
    /// A segment that is kept because too much waits in it, and when it was looked at, ms.
    kept: Option<(u64, u64)>,
    /// A segment whose messages could not be carried, as was told.
    told: Option<u64>,
    record: Vec<u8>,
}

/// A way through everything that waits below a log offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// When it began, wall clock, ms.
    begun_ms: u64,
    /// Where the segment begins, and where it ends or what may go does.
    from: u64,
    to: u64,
    /// Earlier copies were looked at up to here.
    position: u64,
    /// The level that is looked through, from 1; behind the last come half messages.
    level: usize,
    /// Its next queue offset.
    next: u64,
    bytes: u64,
    bytes_max: u64,
}

/// A message that waits below the end of a pass.
#[derive(Clone, Copy, Debug)]
struct Found {
    key: WaitingKey,
    entry: QueueEntry,
    /// [`Kind::Message`] at its first place, [`Kind::Carried`] if it was carried before.
    kind: Kind,
}

impl Pass {
    /// Where it ends.
    pub fn to(&self) -> u64 {
        self.to
    }

    /// Whether so many bytes more may be appended.
    pub fn has_budget(&self, bytes: u64) -> bool {
        self.bytes + bytes <= self.bytes_max
    }

    /// So many were.
    pub fn spent(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Goes on behind a message, for which so many bytes were appended.
    fn on(&mut self, found: &Found, bytes: u64) -> Step {
        match found.kind {
            Kind::Carried => self.position = found.entry.payload + 1,
            _ => self.next = found.key.1 + 1,
        }
        self.bytes += bytes;
        Step::On(bytes)
    }
}

pub(super) enum Step {
    /// One was looked at: bytes appended for it.
    On(u64),
    /// Something is being read, or the log takes nothing now.
    Later,
    /// All is carried.
    Done,
    /// Too much waits.
    Kept,
    /// It cannot be read or appended; the next look at the disk begins anew.
    Failed(String),
}

impl Carrying {
    pub fn new(carried: Carried) -> Carrying {
        Carrying { carried, ..Carrying::default() }
    }
}

impl Shard {
    /// No message that waits for its time lies below this log offset, if what is appended stays: its
    /// delivery, or its copy.
    pub(super) fn pending_from(&mut self) -> u64 {
        self.take_copies();
        let levels = (1..=self.delays.levels())
            .filter(|level| self.delays.has_pending(*level))
            .filter_map(|level| {
                let queue = Delays::queue(level);
                let (min, max) = self.queues.bounds(queue)?;
                let from = self.delays.cursor(level).max(min);
                // One that is in no run and not in memory is damaged; who comes behind it is not known.
                (from < max).then(|| self.queues.position_below(queue, from).unwrap_or(self.start))
            })
            .min()
            .unwrap_or(u64::MAX);
        let carrying = &self.carrying;
        let copies = carrying.carried.first_in(0..u64::MAX).map(|(_, entry)| entry.payload);
        let halves = self.open_halves_from().unwrap_or(u64::MAX);
        let timers = self.timers.first_pending_run(self.start).map_or(u64::MAX, |run| run.start);
        levels.min(halves).max(carrying.done_to).min(copies.unwrap_or(u64::MAX)).min(timers)
    }

    /// What waits in the segment that begins at `from` is to leave it, as far as it lies below `to`.
    pub(super) fn begin_carrying(&mut self, now_ms: u64, from: u64, to: u64) {
        let segment_bytes = self.log.shape().segment_bytes;
        let carrying = &mut self.carrying;
        // Most of it may have come since; a clock that was set ends the wait, too.
        let is_kept = carrying
            .kept
            .is_some_and(|(kept, at_ms)| kept == from && now_ms.abs_diff(at_ms) < KEPT_RETRY_MS);
        if carrying.pass.is_some() || !carrying.unconfirmed.is_empty() || is_kept {
            return;
        }
        let to = to.min(from + segment_bytes);
        // Half of what is freed, or the log would be busy with copies of copies.
        let bytes_max = segment_bytes / 2;
        let begun_ms = now_ms;
        let pass = Pass { begun_ms, from, to, position: 0, level: 1, next: 0, bytes: 0, bytes_max };
        carrying.pass = Some(pass);
    }

    /// Goes on with what [`Shard::expire`] began. Whether there is more to do at once.
    pub fn carry(&mut self) -> bool {
        let Some(mut pass) = self.carrying.pass.take() else { return false };
        let mut record = std::mem::take(&mut self.carrying.record);
        let (mut step, mut bytes) = (Step::On(0), 0);
        for _ in 0..CARRIED_LOOKS_PER_TURN {
            step = self.carry_next(&mut pass, &mut record);
            let Step::On(copied) = step else { break };
            bytes += copied;
            if bytes >= CARRIED_BYTES_PER_TURN {
                break;
            }
        }
        self.carrying.record = record;
        let is_more = matches!(step, Step::On(_));
        match step {
            Step::On(_) | Step::Later => self.carrying.pass = Some(pass),
            Step::Done => {
                self.carrying.done_to = pass.to;
                if pass.bytes > 0 {
                    tracing::info!(
                        shard = self.index.0,
                        segment = pass.from,
                        bytes = pass.bytes,
                        "messages that wait in an old segment are at the log's end now"
                    );
                }
            }
            Step::Kept => {
                self.carrying.kept = Some((pass.from, pass.begun_ms));
                tracing::warn!(
                    shard = self.index.0,
                    segment = pass.from,
                    "a segment is kept beyond its time: too many delayed and half messages in it still wait"
                );
            }
            // Every look at the disk tries again; it is told once.
            Step::Failed(reason) => {
                if self.carrying.told.replace(pass.from) != Some(pass.from) {
                    tracing::warn!(
                        shard = self.index.0,
                        segment = pass.from,
                        reason,
                        "what waits in an old segment cannot be appended again, it is kept until they can"
                    );
                }
            }
        }
        is_more
    }

    fn carry_next(&mut self, pass: &mut Pass, record: &mut Vec<u8>) -> Step {
        let found = match self.next_to_carry(pass) {
            Ok(Some(found)) => found,
            Ok(None) => return self.carry_timers(pass, record),
            Err(step) => return step,
        };
        let Found { key: (queue, queue_offset), entry, kind } = found;
        record.clear();
        match self.record_at(entry.payload, kind, record) {
            Lookup::Found => {}
            // Damaged: it is told when it is due.
            Lookup::None => return pass.on(&found, 0),
            Lookup::Cold => return Step::Later,
            Lookup::Failed(reason) => return Step::Failed(reason),
        }
        let bytes = record_bytes(record.len()) + record_bytes(MOVED_BYTES);
        if pass.bytes + bytes > pass.bytes_max || self.carrying.carried.len() >= CARRIED_MAX {
            return Step::Kept;
        }
        match self.check_room(record.len() + MOVED_BYTES) {
            Ok(()) => {}
            Err(AppendRefused::Wait) => return Step::Later,
            Err(AppendRefused::NoSpace(reason)) => return Step::Failed(reason),
            Err(refused) => return Step::Failed(format!("{refused:?}")),
        }
        let copy =
            Entry { kind: Kind::Carried, flags: FLAG_MORE, topic: queue.topic, queue: queue.queue };
        let appended = self.log.append(copy, record.len(), |memory, _| {
            memory.copy_from_slice(record);
            0..0
        });
        let entry = QueueEntry { payload: appended.payload, ..entry };
        let note = write_moved((queue, queue_offset), &entry);
        let moved = Entry { kind: Kind::Moved, flags: FLAG_CONTINUES, topic: 0, queue: 0 };
        let end = self.put_own(moved, &note, None);
        self.carrying.unconfirmed.push_back((end, (queue, queue_offset), entry));
        pass.on(&found, bytes)
    }

    /// The next message that waits below the end of the pass: first what was carried before.
    fn next_to_carry(&mut self, pass: &mut Pass) -> Result<Option<Found>, Step> {
        if let Some((key, entry)) = self.carrying.carried.first_in(pass.position..pass.to) {
            return Ok(Some(Found { key, entry, kind: Kind::Carried }));
        }
        pass.position = pass.to;
        while let Some((queue, from)) = self.waits_next(pass) {
            pass.next = from;
            let entry = match self.fetch_one(queue, pass.next) {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    pass.next += 1;
                    return Err(Step::On(0));
                }
                Err(NotNow::Wanted) => return Err(Step::Later),
                Err(NotNow::Failed(reason)) => return Err(Step::Failed(reason)),
            };
            if entry.payload >= pass.to {
                (pass.level, pass.next) = (pass.level + 1, 0);
                continue;
            }
            let key = (queue, pass.next);
            if entry.size_bytes == 0 || self.carrying.carried.get(key).is_some() {
                pass.next += 1;
                return Err(Step::On(0));
            }
            return Ok(Some(Found { key, entry, kind: Kind::Message }));
        }
        Ok(None)
    }

    /// The next message that waits in its queue, and maybe in the pass's segment; goes on to the next
    /// queue where there is none.
    fn waits_next(&self, pass: &mut Pass) -> Option<(QueueKey, u64)> {
        while pass.level <= self.delays.levels() {
            let queue = Delays::queue(pass.level);
            let (min, max) = self.queues.bounds(queue).unwrap_or_default();
            let from = pass.next.max(self.delays.cursor(pass.level)).max(min);
            if from < max {
                return Some((queue, from));
            }
            (pass.level, pass.next) = (pass.level + 1, 0);
        }
        let is_of_halves = pass.level == self.delays.levels() + 1;
        let (queue, from) = self.first_open_half(pass.next).filter(|_| is_of_halves)?;
        Some((queue, from))
    }

    /// Copies that are confirmed now take the place of what they are copies of.
    pub(super) fn take_copies(&mut self) {
        let confirmed = self.log.confirmed();
        let carrying = &mut self.carrying;
        while let Some((_, key, entry)) =
            carrying.unconfirmed.pop_front_if(|(end, ..)| *end <= confirmed)
        {
            let still_waits = match key.0.topic {
                HALF_TOPIC_INCARNATION => self.transactions.is_open(key.1),
                _ => !self.delays.was_delivered(key.0, key.1),
            };
            if still_waits {
                carrying.carried.insert(key, entry);
            }
        }
    }
}
