//! What a core does for one shard, told in verbs: append, arrive, read, settle, tick, open.
//! Owns: the shard's log, queues, offsets, held pulls, delays, timers, transactions and cold reads.
//! Lives on: every shard
//! Kind: machine
//! Invariants:
//!   a message is visible only when it is confirmed, whole groups at once, in log order
//!   a ticket given in comes out exactly once: confirmed, or failed when the log is poisoned
//!   nothing below `pinned_from` leaves the tail's memory before `turn_ended`

mod append;
mod arrive;
mod carry;
mod carry_timers;
mod check;
mod damage;
mod expire;
mod facts;
mod find;
mod fire;
mod forget;
mod open;
mod overdue;
mod read;
mod seal;
mod settle;
#[cfg(test)]
mod testing;
mod tick;
mod transact;

use std::collections::VecDeque;

pub use append::{AppendRefused, FoundBy, NewMessage};
pub use arrive::Confirmed;
pub use check::DueCheck;
pub use facts::{Snapshot, SnapshotError};
pub use find::{Finding, Found, FoundMessage, KeyQuery};
pub use fire::{DueTimer, DueTimers, Recalled};
pub use open::{Nameless, OpenError, Opening, OpeningSettings};
use proto::ids::{ShardIndex, UniqueKey};
pub use read::{
    Answer, ColdRange, EntriesRead, Lookup, Piece, PullRequest, PullStatus, Pulled, Replies,
    Searched,
};
pub use seal::{SealLimits, Slice};
pub use settle::Due;
pub use transact::Half;

use crate::catalog::FIRST_INCARNATION;
use crate::coldread::ColdReads;
use crate::commitlog::CommitLog;
use crate::consumequeue::{ConsumeQueues, QueueEntry, QueueKey, QueueSlot};
use crate::delay::Delays;
pub use crate::delay::SCHEDULE_TOPIC_INCARNATION;
use crate::hold::{HeldPull, HeldPulls};
use crate::limits::LINE_RECORDS_MAX;
use crate::messageindex::MessageIndex;
use crate::offsets::ConsumerOffsets;
use crate::ticket::Ticket;
use crate::timer::Timers;
pub use crate::timer::{TIMER_QUEUE, TIMER_TOPIC_INCARNATION};
pub use crate::transaction::{
    CHECK_MAX_TIME_TOPIC_INCARNATION, Checked, HALF_TOPIC_INCARNATION, Outcome, Transactions,
};
use append::Wanting;
use carry::Carrying;
use damage::Damages;
use fire::TimersLooked;
use forget::Forgetting;
use overdue::Mark;
use seal::Unsealed;

// Topics that exist once per shard each have a number of their own, for ever (docs/decisions/0001-store-format.md).
const _: () = assert!(
    SCHEDULE_TOPIC_INCARNATION == 1
        && HALF_TOPIC_INCARNATION == 2
        && CHECK_MAX_TIME_TOPIC_INCARNATION == 3
        && TIMER_TOPIC_INCARNATION == 4
        && TIMER_TOPIC_INCARNATION < FIRST_INCARNATION
);

/// One shard. See the module's first lines.
#[derive(Debug)]
pub struct Shard {
    index: ShardIndex,
    log: CommitLog,
    queues: ConsumeQueues,
    offsets: ConsumerOffsets,
    held: HeldPulls,
    delays: Delays,
    transactions: Transactions,
    timers: Timers,
    timers_looked: TimersLooked,
    /// Reads of the log.
    cold: ColdReads,
    /// Reads of runs.
    cold_runs: ColdReads,
    /// Reads of index files.
    cold_index: ColdReads,
    unsealed: Unsealed,
    /// By which keys messages are found.
    keys: MessageIndex,
    /// A page of an index file that is looked at.
    page: Vec<u8>,
    /// Addresses of index files that are of no use any more.
    expired_index: Vec<u64>,
    /// Messages at or above failed with the log.
    failed_from: u64,
    /// Where the log begins.
    start: u64,
    /// Where it may begin once it is durable up to a log offset.
    expiring: Option<(u64, u64)>,
    /// Files below the start are being removed.
    is_removing: bool,
    /// Snapshots hold what segments below said.
    safe_below: u64,
    /// Why the disk counts as full, while it does: messages are refused, before there is none left for
    /// offsets and deliveries.
    disk_full: Option<String>,
    carrying: Carrying,
    forgetting: Forgetting,
    /// Entries that a pull looks at.
    window: Vec<QueueEntry>,
    /// A run that was found damaged: to be made again.
    damaged_run: Option<std::ops::Range<u64>>,
    is_remake_delayed: bool,
    is_damage_told: bool,
    /// The log that was replayed is damaged, and may come back with a copy of its segment: the next start is to
    /// look again.
    may_be_restored: bool,
    damages: Damages,
    line: VecDeque<InLine>,
    /// Payloads of the group that is being confirmed.
    group: Vec<u64>,
    /// Payloads of the group that was answered last.
    sent: Vec<u64>,
    answered_key: AnsweredKey,
    stored_ms: u64,
    pinned_from: u64,
    wanting: Wanting,
    scratch: Vec<u8>,
    flush_timeout_ms: Option<u64>,
    marks: VecDeque<Mark>,
    /// What ends up to here has waited too long …
    overdue: u64,
    /// … and up to here the clients were told.
    told_overdue: u64,
    ticked_ms: u64,
}

/// A record that waits for confirmation.
#[derive(Clone, Copy, Debug)]
struct InLine {
    /// It is confirmed when everything below is: the end of its group.
    visible_at: u64,
    /// The end of the record itself.
    end: u64,
    what: Waiting,
}

#[derive(Clone, Copy, Debug)]
enum Waiting {
    Message(WaitingMessage),
    /// A record of our own whose request waits.
    Request(Option<Ticket>),
}

#[derive(Clone, Copy, Debug)]
struct WaitingMessage {
    slot: QueueSlot,
    queue: QueueKey,
    queue_offset: u64,
    payload: u64,
    size_bytes: u32,
    tag: i32,
    stored_ms: u64,
    unique_key: AnsweredKey,
    ticket: Option<Ticket>,
}

/// The value of UNIQ_KEY for the answer. The usual one waits here: its record has left the CPU's caches
/// by the time that it is confirmed. A longer one is read from the record.
#[derive(Clone, Copy, Debug, Default)]
struct AnsweredKey {
    /// Where in the record.
    start: u32,
    len: u16,
    copy: [u8; UniqueKey::CHARACTERS],
}

impl Shard {
    /// Which shard this is.
    pub fn index(&self) -> ShardIndex {
        self.index
    }

    /// The log, for the driver: writes, space, watermarks.
    pub fn log(&self) -> &CommitLog {
        &self.log
    }

    /// The log, for the driver.
    pub fn log_mut(&mut self) -> &mut CommitLog {
        &mut self.log
    }

    /// The queues, for questions about bounds.
    pub fn queues(&self) -> &ConsumeQueues {
        &self.queues
    }

    /// Consumer offsets.
    pub fn offsets(&self) -> &ConsumerOffsets {
        &self.offsets
    }

    /// Consumer offsets. Commits become durable by [`Shard::append_offsets`].
    pub fn offsets_mut(&mut self) -> &mut ConsumerOffsets {
        &mut self.offsets
    }

    /// Holds a pull until a message arrives or its deadline comes; gives it back when it cannot.
    ///
    /// # Errors
    /// The pull, when as many as allowed are held: answer it now.
    pub fn hold(&mut self, pull: HeldPull) -> Result<(), HeldPull> {
        self.held.hold(pull)
    }

    /// The next held or cold pull to execute again, without holding it any more.
    pub fn next_woken(&mut self) -> Option<HeldPull> {
        self.held
            .next_woken()
            .or_else(|| self.cold.next_woken_pull())
            .or_else(|| self.cold_runs.next_woken_pull())
    }

    /// Number of pulls held.
    pub fn held_pulls(&self) -> usize {
        self.held.len()
    }

    /// Cold reads of the log, for the driver.
    pub fn cold_mut(&mut self) -> &mut ColdReads {
        &mut self.cold
    }

    /// Cold reads of runs, for the driver: their offsets are addresses of runs.
    pub fn cold_runs_mut(&mut self) -> &mut ColdReads {
        &mut self.cold_runs
    }

    /// Cold reads of index files, for the driver: as those of runs.
    pub fn cold_index_mut(&mut self) -> &mut ColdReads {
        &mut self.cold_index
    }

    /// The index of keys, for questions about it.
    pub fn message_index(&self) -> &MessageIndex {
        &self.keys
    }

    /// Cold reads that ended so far: who looked in vain tries again when this has moved.
    pub fn cold_reads_completed(&self) -> u64 {
        self.cold.completed() + self.cold_runs.completed() + self.cold_index.completed()
    }

    /// A connection ended: nobody waits on it any more.
    pub fn connection_closed(&mut self, connection: u64) {
        self.held.connection_closed(connection);
        self.cold.connection_closed(connection);
        self.cold_runs.connection_closed(connection);
    }

    /// Every held pull is woken: the shard is about to stop, or some of them are not to read.
    pub fn wake_held(&mut self) {
        self.held.wake_all();
    }

    /// Replies made in this turn were sent or copied: the tail's memory may move on.
    pub fn turn_ended(&mut self) {
        self.pinned_from = u64::MAX;
        self.forget_wanting();
    }

    /// Bytes of a record that a reply of this turn refers to.
    pub fn piece(&self, payload: u64, size_bytes: u32) -> &[u8] {
        self.log.tail_bytes(payload, size_bytes as usize).expect("pinned until the turn ends")
    }

    /// Records that wait for confirmation.
    pub fn waiting_records(&self) -> usize {
        self.line.len()
    }

    /// Bytes of the log that no run holds: what a start after a crash replays.
    pub fn unsealed_bytes(&self) -> u64 {
        self.log.appended().saturating_sub(self.unsealed.from())
    }

    /// Snapshots hold what segments below this log offset said: they may be removed.
    pub fn safe_below(&self) -> u64 {
        self.safe_below
    }

    /// Why messages are refused now, if they are: a failed write, or no room on the disk.
    pub fn refuses(&self) -> Option<String> {
        let poison = self.log.poisoned().map(ToString::to_string);
        poison.or_else(|| self.disk_full.clone()).or_else(|| self.log.no_space().map(str::to_owned))
    }

    /// Whether nothing waits for confirmation.
    pub fn is_settled(&self) -> bool {
        self.line.is_empty()
    }

    fn line_is_full(&self) -> bool {
        self.line.len() >= LINE_RECORDS_MAX
    }
}
