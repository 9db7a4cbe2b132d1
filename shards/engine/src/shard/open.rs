//! Open: a shard is rebuilt from a snapshot, runs and the records of its log behind them.
//! Kind: machine
//!
//! The driver goes through the log from its start, in order: a run where there is one, the records
//! themselves where there is none, the snapshot when it comes to where that was made. Below the
//! snapshot only queue entries matter, what else the records say is in it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use proto::ids::ShardIndex;
use proto::record::RECORD_BYTES_MIN;
use proto::{properties, record};

use super::append::Wanting;
use super::carry::Carrying;
use super::damage::Damages;
use super::facts::{Facts, Snapshot, level_queue};
use super::fire::TimersLooked;
use super::forget::Forgetting;
use super::seal::{SealLimits, Slice, Unsealed, timer_run};
use super::{AnsweredKey, Shard};
use crate::catalog::{Catalog, CatalogError, FIRST_INCARNATION};
use crate::coldread::ColdReads;
use crate::commitlog::{
    CommitLog, FLAG_CONTINUES, FLAG_MORE, Kind, PREFIX_BYTES, Prefix, record_bytes,
};
use crate::consumequeue::{
    ConsumeQueue, ConsumeQueues, ENTRIES_PER_PAGE, QueueEntry, QueueKey, RunHead,
};
use crate::delay::{Delays, Head};
use crate::hold::HeldPulls;
use crate::limits::{DELAY_LEVELS_MAX, GAP_ENTRIES_MAX, INDEX_CACHE_BLOCKS, INDEX_READ_BYTES};
use crate::messageindex::{IndexDraft, IndexHead, IndexWork, MessageIndex, keys_of};
use crate::timer::{TIMER_TOPIC_INCARNATION, Timer, TimerKey, Timers};
use crate::transaction::Transactions;

/// Something whole in the store that says what cannot be.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A record of our own cannot be read.
    #[error(
        "the {kind:?} record at log offset {offset} is whole but malformed: it was written by another version"
    )]
    Malformed {
        /// Its kind.
        kind: Kind,
        /// Where it is.
        offset: u64,
    },
    /// A message has a queue offset that another one before it has.
    #[error(
        "the message at log offset {offset} has queue offset {queue_offset} of queue {} of the topic with incarnation {}, which an earlier one has: a segment was restored from a copy after the broker had gone on without it; put back the segment that was there before", queue.queue, queue.topic
    )]
    NumberTwice {
        /// Where it is.
        offset: u64,
        /// Its queue.
        queue: QueueKey,
        /// Its number there.
        queue_offset: u64,
    },
    /// A catalog record does not fit what came before.
    #[error("the catalog record at log offset {offset} cannot be applied: {source}")]
    Catalog {
        /// Where it is.
        offset: u64,
        /// Why.
        source: CatalogError,
    },
    /// Notes of a run or snapshot cannot be read.
    #[error(
        "the notes of the run or snapshot at log offset {at} are whole but malformed: they were written by another version"
    )]
    UnknownNote {
        /// Where it is.
        at: u64,
    },
}

/// What the configuration says of an opened shard.
#[derive(Clone, Debug)]
pub struct OpeningSettings {
    /// Delay levels, ms.
    pub delays_ms: Vec<u64>,
    /// After how long the producer of a half message is asked, ms.
    pub transaction_timeout_ms: u64,
    /// Bytes of the cache for cold reads of the log.
    pub read_cache_bytes: u64,
}

/// Damage of which nobody knows which messages it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Nameless {
    /// Log offset where it begins.
    pub from: u64,
    /// Log offset behind all of it.
    pub end: u64,
    /// So many messages, at the most.
    pub messages: u64,
}

impl Nameless {
    fn and(self, range: &Range<u64>) -> Nameless {
        let messages = (range.end - range.start).div_ceil(record_bytes(RECORD_BYTES_MIN));
        let from = if self.messages == 0 { range.start } else { self.from };
        Nameless { from, end: range.end, messages: self.messages + messages }
    }
}

/// What was found so far; becomes a [`Shard`].
#[derive(Debug)]
pub struct Opening {
    start: u64,
    queues: ConsumeQueues,
    timers: Timers,
    facts: Facts,
    unsealed: Unsealed,
    keys: MessageIndex,
    stored_ms: u64,
    messages: u64,
    /// What own records below say is in the snapshot.
    facts_from: u64,
    group: Vec<(u64, Prefix, Vec<u8>)>,
    /// What nobody knows of this damage.
    nameless: Nameless,
    /// So many messages earlier starts lacked that nobody knows.
    nameless_before: u64,
}

impl Opening {
    /// Nothing found yet, of a log that begins at `start`; what own records below `facts_from` say will
    /// come with [`Opening::restore`].
    pub fn new(seal: SealLimits, segment_bytes: u64, start: u64, facts_from: u64) -> Opening {
        Opening {
            start,
            queues: ConsumeQueues::default(),
            timers: Timers::new(start, ENTRIES_PER_PAGE),
            facts: Facts::default(),
            unsealed: Unsealed::new(seal, segment_bytes, start),
            keys: MessageIndex::new(0, segment_bytes, false),
            stored_ms: 0,
            messages: 0,
            facts_from,
            group: Vec::new(),
            nameless: Nameless::default(),
            nameless_before: 0,
        }
    }

    /// With this index of the messages' keys.
    pub fn with_index(self, keys: MessageIndex) -> Opening {
        Opening { keys, ..self }
    }

    /// An index file, before all runs and records. The address of its bytes.
    pub fn index_file(&mut self, head: &IndexHead) -> u64 {
        self.keys.found_file(head)
    }

    /// What is noted of the keys of the slice that was cut last.
    pub fn index_draft(&mut self) -> Option<IndexDraft> {
        match self.keys.next_work()? {
            IndexWork::Write(draft) => Some(draft),
            _ => None,
        }
    }

    /// Damage so far of which nobody knows which messages it was.
    pub fn nameless(&self) -> Nameless {
        self.nameless
    }

    /// Runs hold damage of which nobody knows which messages it was: so many at the most, what was found now
    /// included.
    pub fn lacked(&mut self, messages: u64) {
        self.nameless_before = messages;
    }

    /// Messages replayed so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The snapshot made where the log has come to.
    pub fn restore(&mut self, snapshot: Snapshot) {
        for (key, next) in snapshot.nexts {
            let slot = self.queues.slot(key);
            if self.queues.queue(slot).max() < next {
                self.queues.restore(key, next);
            }
        }
        self.facts = snapshot.facts;
        self.stored_ms = self.stored_ms.max(snapshot.stored_ms);
    }

    /// A run where the log has come to; it goes on behind it. The address of its bytes.
    ///
    /// # Errors
    /// [`OpenError`]: the store was written by another version.
    pub fn run(&mut self, run: &RunHead) -> Result<u64, OpenError> {
        if run.range.start >= self.facts_from {
            self.facts.apply_notes(run)?;
        }
        for queue in &run.queues {
            self.facts.catalog.saw_incarnation(queue.key.topic);
        }
        self.stored_ms = self.stored_ms.max(run.stored_ms.1);
        self.unsealed.skip(run.range.end);
        self.keys.sealed_before(run.range.clone());
        let address = self.queues.found_run(run);
        if let Some(timers) = timer_run(run, address) {
            self.timers.run_found(timers);
        }
        Ok(address)
    }

    /// Applies one record. Records of a group are kept until it is whole.
    ///
    /// # Errors
    /// [`OpenError`]: the store was written by another version.
    pub fn record(&mut self, offset: u64, prefix: Prefix, payload: &[u8]) -> Result<(), OpenError> {
        // They lie inside a group that goes on behind a segment's end or the buffer's wrap.
        if matches!(prefix.kind, Kind::Filler | Kind::Segment) {
            return Ok(());
        }
        if prefix.flags & FLAG_CONTINUES == 0 {
            self.group.clear(); // an unfinished group of an earlier life
        }
        if prefix.flags & FLAG_MORE != 0 {
            self.group.push((offset, prefix, payload.to_vec()));
            return Ok(());
        }
        let end = offset + prefix.record_bytes();
        for (offset, prefix, payload) in std::mem::take(&mut self.group) {
            self.apply(offset, end, prefix, &payload)?;
        }
        self.apply(offset, end, prefix, payload)
    }

    /// A group is cut short, by damage or because a run holds its rest. It had been confirmed as a
    /// whole: what was read of it counts.
    ///
    /// # Errors
    /// As [`Opening::record`].
    pub fn close_group(&mut self) -> Result<(), OpenError> {
        for (offset, prefix, payload) in std::mem::take(&mut self.group) {
            let end = offset + prefix.record_bytes();
            self.apply(offset, end, prefix, &payload)?;
        }
        Ok(())
    }

    /// Damage. A message of which only the body is hit has its place in its queue, as if it had been hit later.
    ///
    /// # Errors
    /// As [`Opening::record`].
    pub fn damage(
        &mut self,
        range: &Range<u64>,
        bodiless: Option<(Prefix, &[u8])>,
    ) -> Result<(), OpenError> {
        self.close_group()?;
        let Some((prefix, payload)) = bodiless else {
            self.nameless = self.nameless.and(range);
            return Ok(());
        };
        match self.message(range.start, prefix, payload) {
            // Its number was given again. This one is gone anyway.
            Err(OpenError::NumberTwice { .. }) => Ok(()),
            result => result,
        }
    }

    fn apply(
        &mut self,
        offset: u64,
        end: u64,
        prefix: Prefix,
        payload: &[u8],
    ) -> Result<(), OpenError> {
        if prefix.kind == Kind::Message {
            return self.message(offset, prefix, payload);
        }
        if prefix.kind == Kind::Carried && prefix.topic == TIMER_TOPIC_INCARNATION {
            let malformed = || OpenError::Malformed { kind: prefix.kind, offset };
            let (copy, _) = record::Record::decode(payload).map_err(|_| malformed())?;
            self.timers.add(timer_of(copy.fields(), offset, prefix, true));
            return Ok(());
        }
        if offset >= self.facts_from {
            self.facts.apply(offset, prefix.kind, prefix.topic, payload)?;
        }
        self.unsealed.note(end, prefix.kind, prefix.topic, payload);
        Ok(())
    }

    fn message(&mut self, offset: u64, prefix: Prefix, payload: &[u8]) -> Result<(), OpenError> {
        let malformed = || OpenError::Malformed { kind: prefix.kind, offset };
        let (message, _) = record::Record::decode(payload).map_err(|_| malformed())?;
        let fields = message.fields();
        let tag = properties::find(fields.properties, properties::name::TAGS)
            .map_or(0, proto::ids::java_hash);
        let queue = QueueKey { topic: prefix.topic, queue: prefix.queue };
        let slot = self.queues.slot(queue);
        let queue_offset = u64::try_from(fields.queue_offset).map_err(|_| malformed())?;
        let stored_ms = u64::try_from(fields.store_timestamp).map_err(|_| malformed())?;
        if queue_offset < self.queues.queue(slot).max() {
            return Err(OpenError::NumberTwice { offset, queue, queue_offset });
        }
        let entry = QueueEntry {
            payload: offset + PREFIX_BYTES as u64,
            size_bytes: prefix.len,
            tag,
            stored_ms,
        };
        self.queues.arrive(slot, queue_offset, entry);
        if prefix.topic == TIMER_TOPIC_INCARNATION {
            self.timers.add(timer_of(fields, offset, prefix, false));
        }
        if self.keys.is_enabled() {
            let (unique_key, keys) = keys_of(fields.properties);
            self.stored_ms = self.stored_ms.max(stored_ms);
            self.keys.note(prefix.topic, unique_key, keys, entry.payload, self.stored_ms);
        }
        self.facts.catalog.saw_incarnation(prefix.topic);
        self.stored_ms = self.stored_ms.max(stored_ms);
        self.messages += 1;
        Ok(())
    }

    /// Cuts what was replayed into a slice: everything below `to`, which is durable and where no group
    /// is open.
    pub fn cut(&mut self, to: u64) -> Slice {
        self.unsealed.cut(to, &mut self.queues, &mut self.timers, &mut self.keys)
    }

    /// Where the next slice begins.
    pub fn unsealed_from(&self) -> u64 {
        self.unsealed.from()
    }

    /// The run of a cut slice is on disk. The address of its bytes.
    pub fn run_written(&mut self, head: &RunHead) -> u64 {
        self.unsealed.written();
        let address = self.queues.add_run(head);
        if let Some(timers) = timer_run(head, address) {
            self.timers.run_written(timers);
        }
        address
    }

    /// A group is behind a message of which nothing else is left to tell: another one with its number would be
    /// behind that group, too, and never be seen by it. Further behind than messages are damaged it is of itself.
    fn leave_gaps(&mut self, shard: ShardIndex) {
        let nameless_max = self.nameless_before.max(self.nameless.messages);
        let max = |queue| self.queues.find(queue).map_or(0, ConsumeQueue::max);
        let lacking = |(queue, committed): &(QueueKey, u64)| {
            let missing = committed.saturating_sub(max(*queue));
            // Of what shards write to by themselves other records tell.
            queue.topic >= FIRST_INCARNATION && (1..=nameless_max).contains(&missing)
        };
        // Queues in their own order: that of the offsets depends on chance.
        let mut gaps = BTreeMap::new();
        for (queue, committed) in self.facts.offsets.all().filter(lacking) {
            let below = gaps.entry(queue).or_insert(committed);
            *below = committed.max(*below);
        }
        let mut left = GAP_ENTRIES_MAX;
        for (queue, below) in gaps {
            let missing = below - self.queues.find(queue).map_or(0, ConsumeQueue::max);
            let Some(still_left) = left.checked_sub(missing) else {
                tracing::error!(
                    shard = shard.0,
                    topic_incarnation = queue.topic,
                    queue = queue.queue,
                    committed = below,
                    missing,
                    "a group committed far behind the end of a queue whose messages may be damaged; if it had read them it does not see as many of the next ones: reset its offset (mqadmin resetOffsetByTime)"
                );
                continue;
            };
            left = still_left;
            self.queues.leave_gap(queue, below, self.unsealed.from(), self.stored_ms);
        }
    }

    /// The shard, open, with the log that goes on, and the catalog that its log holds.
    pub fn finish(
        mut self,
        index: ShardIndex,
        log: CommitLog,
        settings: &OpeningSettings,
    ) -> (Shard, Catalog) {
        self.leave_gaps(index);
        let mut shard = Shard {
            index,
            log,
            queues: self.queues,
            offsets: self.facts.offsets,
            held: HeldPulls::default(),
            delays: Delays::new(&settings.delays_ms),
            transactions: Transactions::new(settings.transaction_timeout_ms, self.stored_ms),
            timers: self.timers,
            timers_looked: TimersLooked::default(),
            cold: ColdReads::new(settings.read_cache_bytes),
            cold_runs: ColdReads::new(0),
            cold_index: ColdReads::of_pages(INDEX_READ_BYTES, INDEX_CACHE_BLOCKS),
            unsealed: self.unsealed,
            keys: self.keys,
            page: Vec::new(),
            expired_index: Vec::new(),
            failed_from: u64::MAX,
            start: self.start,
            expiring: None,
            is_removing: false,
            safe_below: 0,
            disk_full: None,
            carrying: Carrying::new(self.facts.carried),
            forgetting: Forgetting::default(),
            window: Vec::new(),
            damaged_run: None,
            is_remake_delayed: false,
            is_damage_told: false,
            may_be_restored: self.nameless.messages > 0,
            damages: Damages::default(),
            line: VecDeque::with_capacity(4096),
            group: Vec::new(),
            sent: Vec::new(),
            answered_key: AnsweredKey::default(),
            stored_ms: self.stored_ms,
            pinned_from: u64::MAX,
            wanting: Wanting::default(),
            scratch: Vec::new(),
            flush_timeout_ms: None,
            marks: VecDeque::new(),
            overdue: 0,
            told_overdue: 0,
            ticked_ms: 0,
        };
        shard.timers.restore(self.facts.fired, self.facts.recalls);
        // Runs end where they end, and the file system says if there is less.
        shard.cold_runs.written(u64::MAX);
        shard.cold_index.written(u64::MAX);
        // The last message of a queue may be damaged whose end is known: its number is not another one's.
        for (level, cursor) in &self.facts.cursors {
            shard.queues.numbers_given(level_queue(*level), *cursor);
        }
        let known = self.facts.endings.end_of_known();
        if known > 0 {
            shard.queues.numbers_given(Transactions::half_queue(index.0), known);
        }
        for level in 1..=shard.delays.levels() {
            let cursor = self.facts.cursors.get(&(level as u64)).copied().unwrap_or(0);
            let max = shard.queues.find(Delays::queue(level)).map_or(0, |queue| queue.max());
            let head = if cursor < max { Head::Unknown } else { Head::None };
            shard.delays.settle(level, cursor, head);
        }
        for (level, waiting) in shard.waiting_without_level(&self.facts.cursors) {
            tracing::warn!(
                shard = index.0,
                level,
                waiting,
                "delayed messages wait whose level messageDelayLevel does not have any more: they are delivered when it has it again, and expire with their segments"
            );
        }
        shard.restore_transactions(&self.facts.endings);
        (shard, self.facts.catalog)
    }
}

impl Shard {
    /// Delay levels that are not configured, and how many messages of theirs wait.
    fn waiting_without_level<'a>(
        &'a self,
        cursors: &'a BTreeMap<u64, u64>,
    ) -> impl Iterator<Item = (usize, u64)> + 'a {
        (self.delays.levels() + 1..=DELAY_LEVELS_MAX).filter_map(|level| {
            let (min, max) = self.queues.bounds(Delays::queue(level))?;
            let cursor = cursors.get(&(level as u64)).copied().unwrap_or(0);
            let waiting = max.saturating_sub(cursor.max(min));
            (waiting > 0).then_some((level, waiting))
        })
    }
}

/// A timer as its record says. One that does not say when is due at once.
fn timer_of(
    fields: &record::RecordFields<'_>,
    offset: u64,
    prefix: Prefix,
    is_copy: bool,
) -> Timer {
    let out_ms = properties::find(fields.properties, properties::name::TIMER_OUT_MS)
        .and_then(proto::text::parse_i64)
        .and_then(|out_ms| u64::try_from(out_ms).ok());
    Timer {
        key: TimerKey {
            due_ms: out_ms.map_or(0, |out_ms| out_ms + 1),
            payload: offset + PREFIX_BYTES as u64,
        },
        size_bytes: prefix.len,
        is_copy,
    }
}

#[cfg(test)]
mod tests {
    use proto::record::RecordFields;

    use super::super::facts::write_settled;
    use super::super::{NewMessage, testing};
    use super::*;
    use crate::commitlog::FlushMode;
    use crate::offsets::ConsumerOffsets;
    use crate::page::FileIdentity;
    use crate::transaction::{Outcome, write_ended};

    const QUEUE: QueueKey = QueueKey { topic: 70, queue: 0 };
    const IDENTITY: FileIdentity = FileIdentity { store_id: 1, shard: 0, seed: 5 };

    fn prefix(kind: Kind, flags: u8, len: usize) -> Prefix {
        let QueueKey { topic, queue } = QUEUE;
        Prefix { len: len as u32, kind, flags, epoch: 1, durable: 0, topic, queue }
    }

    fn message(queue_offset: i64) -> Vec<u8> {
        let host = "127.0.0.1:1".parse().expect("an address");
        let fields = RecordFields {
            queue_id: 0,
            flag: 0,
            queue_offset,
            physic_offset: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_timestamp: 1,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"body",
            body_crc: record::body_crc(b"body"),
            topic: b"topic",
            properties: b"",
        };
        let mut bytes = vec![0; fields.encoded_bytes()];
        fields.encode(&mut bytes);
        bytes
    }

    /// Replays messages of a queue whose last one is damaged, and a record that knows of it.
    fn with_damaged_last(queue: QueueKey, kind: Kind, known: &[u8]) -> Shard {
        let mut opening = Opening::new(SealLimits::default(), 16 << 20, 0, 0);
        let first = message(0);
        let of_queue = Prefix {
            topic: queue.topic,
            queue: queue.queue,
            ..prefix(Kind::Message, 0, first.len())
        };
        opening.record(0, of_queue, &first).expect("well formed");
        opening.record(4096, prefix(kind, 0, known.len()), known).expect("well formed");
        testing::open(opening, FlushMode::Sync)
    }

    #[test]
    fn the_number_of_a_damaged_delayed_message_is_not_given_again() {
        let queue = Delays::queue(1);
        // The second one was delivered.
        let mut shard = with_damaged_last(queue, Kind::Settled, &write_settled(1, 2));
        let sent = NewMessage { queue, ..testing::message() };
        shard.append_message(1_000, &sent, None).expect("room");
        testing::complete(&mut shard);
        while shard.next_confirmed().is_some() {}
        let mut record = Vec::new();
        let due = shard.next_due(1_000 + testing::DELAY_MS, &mut record).expect("it is due");
        assert_eq!(due.queue_offset, 2);
        assert!(!record.is_empty(), "and it is there");
    }

    #[test]
    fn the_number_of_a_damaged_half_message_is_not_given_again() {
        let queue = Transactions::half_queue(0);
        // The second one was settled.
        let ended = write_ended(Outcome::Dropped, 1);
        let mut shard = with_damaged_last(queue, Kind::Ended, &ended);
        let sent = NewMessage { queue, ..testing::message() };
        shard.append_half(1_000, &sent, None, None).expect("room");
        testing::complete(&mut shard);
        while shard.next_confirmed().is_some() {}
        assert!(shard.transactions.is_open(2), "another start would take the second for settled");
    }

    /// Replays message 0 of [`QUEUE`], damage, and that a group has committed this.
    fn with_damage(bodiless: Option<&[u8]>, committed: u64) -> Shard {
        let mut opening = Opening::new(SealLimits::default(), 16 << 20, 0, 0);
        let first = message(0);
        opening.record(0, prefix(Kind::Message, 0, first.len()), &first).expect("well formed");
        let lost = bodiless.map(|bytes| (prefix(Kind::Message, 0, bytes.len()), bytes));
        opening.damage(&(4096..4096 + 128), lost).expect("well formed");
        let (mut offsets, mut record) = (ConsumerOffsets::default(), Vec::new());
        offsets.commit(0, "group", QUEUE, committed).expect("room");
        offsets.take_dirty(&mut record);
        let of_record = prefix(Kind::Offsets, 0, record.len());
        opening.record(8192, of_record, &record).expect("well formed");
        testing::open(opening, FlushMode::Sync)
    }

    #[test]
    fn a_message_without_its_body_keeps_its_number() {
        let shard = with_damage(Some(&message(1)), 0);
        assert_eq!(shard.queues.bounds(QUEUE), Some((0, 2)));
        let entry = shard.queues.find(QUEUE).and_then(|queue| queue.entry(1));
        assert_eq!(entry.map(|entry| entry.payload), Some(4096 + PREFIX_BYTES as u64));
    }

    #[test]
    fn a_number_that_a_group_is_behind_is_not_given_again() {
        let bounds = |committed| with_damage(None, committed).queues.bounds(QUEUE);
        assert_eq!(bounds(0), Some((0, 1)));
        assert_eq!(bounds(1), Some((0, 1)));
        assert_eq!(bounds(2), Some((0, 2)), "one may have been there");
        assert_eq!(bounds(3), Some((0, 1)), "no two have room in 128 bytes");
        let mut shard = with_damage(None, 2);
        let gap = shard.queues.find(QUEUE).and_then(|queue| queue.entry(1)).expect("an entry");
        assert_eq!((gap.size_bytes, gap.payload), (0, PREFIX_BYTES as u64));
        // So it is in the next run, too, from which the next start may read it.
        assert_eq!(shard.queues.cut(0..4096).encode(&IDENTITY, Vec::new()).head.queues[0].count, 2);
    }

    #[test]
    fn what_waits_in_a_level_that_is_not_configured_is_counted() {
        let mut opening = Opening::new(SealLimits::default(), 16 << 20, 0, 0);
        let level = 2; // of one
        let QueueKey { topic, queue } = Delays::queue(level);
        for number in 0..3 {
            let waiting = message(number);
            let prefix = Prefix { topic, queue, ..prefix(Kind::Message, 0, waiting.len()) };
            opening.record(number as u64 * 4096, prefix, &waiting).expect("well formed");
        }
        let settled = write_settled(level as u64, 1);
        let settled_prefix = prefix(Kind::Settled, 0, settled.len());
        opening.record(3 * 4096, settled_prefix, &settled).expect("well formed");
        let cursors = opening.facts.cursors.clone();
        let shard = testing::open(opening, FlushMode::Sync);
        assert_eq!(shard.waiting_without_level(&cursors).collect::<Vec<_>>(), [(level, 2)]);
    }

    #[test]
    fn a_segment_that_was_restored_too_late_is_called_that() {
        let mut opening = Opening::new(SealLimits::default(), 16 << 20, 0, 0);
        let again = message(0);
        let prefix = prefix(Kind::Message, 0, again.len());
        opening.record(0, prefix, &again).expect("well formed");
        let error = opening.record(4096, prefix, &again).expect_err("it is there").to_string();
        let expect = "the message at log offset 4096 has queue offset 0 of queue 0 of the topic with incarnation 70, which";
        assert!(error.starts_with(expect), "{error}");
    }

    #[test]
    fn a_group_goes_on_behind_the_end_of_its_segment() {
        let mut opening = Opening::new(SealLimits::default(), 16 << 20, 0, 0);
        let (first, second) = (message(0), message(1));
        let records = [
            (prefix(Kind::Message, FLAG_MORE, first.len()), &first[..]),
            (prefix(Kind::Filler, 0, 100), &[]),
            (prefix(Kind::Segment, 0, 24), &[0; 24]),
            (prefix(Kind::Message, FLAG_CONTINUES, second.len()), &second),
        ];
        for (at, (prefix, payload)) in (0..).zip(records) {
            opening.record(at * 4096, prefix, payload).expect("well formed");
        }
        assert_eq!(opening.messages(), 2);
    }
}
