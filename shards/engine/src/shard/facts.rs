//! Facts: what the log's own records say, applied one after the other: catalog, consumer offsets,
//! settlements, carried messages, timers, what became of half messages. The same whether they come from
//! the log, the notes of a run or a snapshot.
//! Kind: machine

use std::collections::BTreeMap;

use proto::state::{Note, QueueNext, State, StateHead, write_state};

use super::open::OpenError;
use crate::carried::{Carried, WaitingKey, read_moved, write_moved};
use crate::catalog::{Catalog, is_deletion};
use crate::commitlog::Kind;
use crate::consumequeue::{QueueKey, RunHead};
use crate::delay::Delays;
use crate::offsets::ConsumerOffsets;
use crate::page::FileIdentity;
use crate::timer::{Cursors, Recalls, read_recalled};
use crate::transaction::{Endings, HALF_TOPIC_INCARNATION};

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub catalog: Catalog,
    pub offsets: ConsumerOffsets,
    /// Next queue offset to deliver of each delay level.
    pub cursors: BTreeMap<u64, u64>,
    pub carried: Carried,
    /// Half messages.
    pub endings: Endings,
    /// Which timers are settled.
    pub fired: Cursors,
    pub recalls: Recalls,
    /// Topics that are no more, since this was emptied.
    pub deleted: Vec<u32>,
}

/// A record of the log's own kinds that a run does not hold yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OwnRecord {
    /// Log offset behind its group.
    pub end: u64,
    pub kind: Kind,
    pub topic: u32,
    pub payload: Box<[u8]>,
}

impl Facts {
    /// Applies a record; `offset` is where it is, for the message. Other kinds say nothing.
    pub fn apply(
        &mut self,
        offset: u64,
        kind: Kind,
        topic: u32,
        payload: &[u8],
    ) -> Result<(), OpenError> {
        let malformed = OpenError::Malformed { kind, offset };
        match kind {
            Kind::Offsets if !self.offsets.replay(payload) => Err(malformed),
            Kind::Settled => {
                let (level, cursor) = read_settled(payload).ok_or(malformed)?;
                self.cursors.insert(level, cursor);
                self.carried.settle(level_queue(level), cursor);
                Ok(())
            }
            Kind::Moved => {
                let (key, entry) = read_moved(payload).ok_or(malformed)?;
                if self.still_waits(key) {
                    self.carried.insert(key, entry);
                }
                Ok(())
            }
            Kind::Ended => {
                let ended = self.endings.replay_ended(payload).ok_or(malformed)?;
                if let Some(queue) = self.carried.queue_of(HALF_TOPIC_INCARNATION) {
                    ended.into_iter().for_each(|range| self.carried.remove_range(queue, range));
                }
                Ok(())
            }
            Kind::Checked if !self.endings.replay_checked(payload) => Err(malformed),
            Kind::Fired => {
                self.fired = Cursors::read(payload).ok_or(malformed)?;
                self.recalls.forget_before(self.fired.below_all().due_ms);
                Ok(())
            }
            Kind::Recalled => {
                let (due_ms, name) = read_recalled(payload).ok_or(malformed)?;
                self.recalls.insert(due_ms, name);
                Ok(())
            }
            Kind::Catalog => {
                if is_deletion(payload) {
                    self.offsets.forget_topic(topic);
                    self.deleted.push(topic);
                }
                let replayed = self.catalog.replay(topic, payload);
                replayed.map_err(|source| OpenError::Catalog { offset, source })
            }
            _ => Ok(()),
        }
    }

    /// Whether a message that was carried is to be kept: not delivered, not settled.
    fn still_waits(&self, (queue, queue_offset): WaitingKey) -> bool {
        if queue.topic == HALF_TOPIC_INCARNATION {
            return !self.endings.is_ended(queue_offset);
        }
        let cursor = self.cursors.get(&(u64::from(queue.queue) + 1)).copied();
        cursor.unwrap_or(0) <= queue_offset
    }

    fn apply_note(&mut self, at: u64, note: &Note<'_>) -> Result<(), OpenError> {
        let kind = Kind::from_byte(note.kind).ok_or(OpenError::UnknownNote { at })?;
        self.apply(at, kind, note.topic, note.payload)
    }

    /// Applies the notes of a run.
    pub fn apply_notes(&mut self, run: &RunHead) -> Result<(), OpenError> {
        if run.notes.is_empty() {
            return Ok(());
        }
        let at = run.range.start;
        let state = State::read(&run.notes).map_err(|_| OpenError::UnknownNote { at })?;
        state.notes().try_for_each(|note| self.apply_note(at, &note))
    }

    /// Everything as notes, as few as it takes.
    fn notes(&self) -> Vec<OwnRecord> {
        let mut notes = Vec::new();
        let mut add = |kind, topic, payload: &[u8]| {
            notes.push(OwnRecord { end: 0, kind, topic, payload: payload.into() });
        };
        self.catalog.write_all(|topic, payload| add(Kind::Catalog, topic, payload));
        self.offsets.write_all(|payload| add(Kind::Offsets, 0, payload));
        for (level, cursor) in &self.cursors {
            add(Kind::Settled, 0, &write_settled(*level, *cursor));
        }
        self.endings.write_all(|is_ended, payload| {
            add(if is_ended { Kind::Ended } else { Kind::Checked }, 0, payload);
        });
        for (key, entry) in self.carried.iter() {
            add(Kind::Moved, 0, &write_moved(key, &entry));
        }
        if !self.fired.is_empty() {
            add(Kind::Fired, 0, &self.fired.write());
        }
        self.recalls.payloads().for_each(|payload| add(Kind::Recalled, 0, &payload));
        notes
    }
}

/// The notes of a run: own records of its slice, those that a later one replaces left out. Empty when
/// there are none.
pub(super) fn compact(to: u64, records: &[OwnRecord]) -> Vec<u8> {
    if records.is_empty() {
        return Vec::new();
    }
    // Changes of the catalog build on each other and on what came before: they stay as they are.
    let offsets = ConsumerOffsets::of_part();
    let (mut facts, mut notes) = (Facts { offsets, ..Facts::default() }, Vec::new());
    for record in records {
        match record.kind {
            Kind::Catalog => {
                if is_deletion(&record.payload) {
                    facts.offsets.forget_topic(record.topic);
                }
                notes.push(record.clone());
            }
            kind => facts
                .apply(record.end, kind, record.topic, &record.payload)
                .expect("records of this process are whole"),
        }
    }
    notes.extend(facts.notes());
    let head = StateHead { at: to, ..StateHead::default() };
    write_state(&head, &[], notes.iter().map(OwnRecord::as_note))
}

impl OwnRecord {
    fn as_note(&self) -> Note<'_> {
        Note { kind: self.kind as u8, topic: self.topic, payload: &self.payload }
    }
}

/// Layout of a settlement: level u64, next queue offset u64; little endian.
pub(super) fn write_settled(level: u64, cursor: u64) -> [u8; 16] {
    let mut payload = [0; 16];
    payload[0..8].copy_from_slice(&level.to_le_bytes());
    payload[8..16].copy_from_slice(&cursor.to_le_bytes());
    payload
}

fn read_settled(payload: &[u8]) -> Option<(u64, u64)> {
    let (level, rest) = payload.split_first_chunk()?;
    let (level, cursor) = (u64::from_le_bytes(*level), rest.try_into().ok()?);
    (1..=u64::from(u32::MAX)).contains(&level).then_some((level, u64::from_le_bytes(cursor)))
}

pub(super) fn level_queue(level: u64) -> QueueKey {
    Delays::queue(usize::try_from(level).expect("read_settled checks it"))
}

/// What a shard's log amounts to up to an offset: what a start begins with instead of the log's start.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(super) at: u64,
    pub(super) stored_ms: u64,
    pub(super) facts: Facts,
    pub(super) nexts: BTreeMap<QueueKey, u64>,
}

const MAGIC: [u8; 8] = *b"RINGSNP\x01";
const HEAD_BYTES: usize = 40;

/// Why a file is not the snapshot it should be.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Bytes are missing or changed.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is whole, but of another store, shard or place of the log.
    #[error("it belongs to another store, shard or place of the log")]
    Foreign,
    /// It is whole and cannot be read.
    #[error("it was written by another version: {0}")]
    Content(String),
}

impl Snapshot {
    /// Log offset: everything before it is in here.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Goes on with the run that begins where it ends.
    ///
    /// # Errors
    /// The notes of the run cannot be read.
    ///
    /// # Panics
    /// When the run begins elsewhere.
    pub fn add_run(&mut self, run: &RunHead) -> Result<(), OpenError> {
        assert_eq!(run.range.start, self.at);
        self.facts.apply_notes(run)?;
        for queue in &run.queues {
            self.facts.catalog.saw_incarnation(queue.key.topic);
            self.nexts.insert(queue.key, queue.first + queue.count);
        }
        // Nothing of them comes behind the record that says so, and this run has that record.
        for topic in std::mem::take(&mut self.facts.deleted) {
            self.nexts.retain(|key, _| key.topic != topic);
        }
        self.stored_ms = self.stored_ms.max(run.stored_ms.1);
        self.at = run.range.end;
        Ok(())
    }

    /// The content of its file: magic, CRC-32 of what follows it, shard, store id, 0, state.
    pub fn write(&self, identity: &FileIdentity) -> Vec<u8> {
        let head = StateHead {
            at: self.at,
            stored_ms: self.stored_ms,
            catalog_changes: self.facts.catalog.changes(),
            next_incarnation: self.facts.catalog.next_incarnation(),
        };
        let queues: Vec<_> = self
            .nexts
            .iter()
            .map(|(key, next)| QueueNext { topic: key.topic, queue: key.queue, next: *next })
            .collect();
        let notes = self.facts.notes();
        let state = write_state(&head, &queues, notes.iter().map(OwnRecord::as_note));
        let mut bytes = Vec::with_capacity(HEAD_BYTES + state.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&u32::from(identity.shard).to_le_bytes());
        bytes.extend_from_slice(&identity.store_id.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&state);
        let sum = identity.sum(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the snapshot at a log offset.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn read(identity: &FileIdentity, at: u64, bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
        let (head, state) = bytes.split_at_checked(HEAD_BYTES).ok_or(SnapshotError::Checksum)?;
        if head[0..8] != MAGIC || head[8..12] != identity.sum(&bytes[12..]).to_le_bytes() {
            return Err(SnapshotError::Checksum);
        }
        let whose =
            [&u32::from(identity.shard).to_le_bytes()[..], &identity.store_id.to_le_bytes()];
        if head[12..32] != whose.concat() {
            return Err(SnapshotError::Foreign);
        }
        let content = |error: &dyn std::fmt::Display| SnapshotError::Content(error.to_string());
        let state = State::read(state).map_err(|error| content(&error))?;
        let numbers = state.head();
        if numbers.at != at {
            return Err(SnapshotError::Foreign);
        }
        let mut facts = Facts::default();
        for note in state.notes() {
            facts.apply_note(at, &note).map_err(|error| content(&error))?;
        }
        facts.catalog.restore(numbers.catalog_changes, numbers.next_incarnation);
        let nexts =
            state.queues().map(|it| (QueueKey { topic: it.topic, queue: it.queue }, it.next));
        Ok(Snapshot { at, stored_ms: numbers.stored_ms, facts, nexts: nexts.collect() })
    }
}
