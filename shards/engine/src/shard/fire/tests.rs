//! A shard with timers against the plain map of what is pending, through runs and restarts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proto::ids::ShardIndex;
use runtime::WriteBuffer;

use super::super::testing::{QUEUE, SHAPE, complete, message};
use super::super::{Opening, OpeningSettings, SealLimits, Snapshot};
use super::*;
use crate::commitlog::{CommitLog, Epochs, FlushMode, SegmentIdentity};
use crate::consumequeue::EncodedRun;
use crate::delay::Delays;
use crate::limits::{TIMERS_ASIDE_MAX, UNREADABLE_RETRY_MS, UNREADABLE_TRIES};
use crate::page::FileIdentity;
use crate::retention::{DiskLook, Retention};
use crate::timer::TIMER_QUEUE;
use crate::transaction::{Checked, Transactions};

const IDENTITY: FileIdentity = FileIdentity { store_id: 7, shard: 0, seed: SHAPE.seed };

/// Slices are cut as soon as anything is durable.
const SEAL: SealLimits = SealLimits { log_bytes: 1, entries: usize::MAX, note_bytes: usize::MAX };

/// A shard, its disk played by hand, and what must be pending.
struct World {
    shard: Shard,
    epochs: Epochs,
    /// The log's bytes up to the last start.
    log: Vec<u8>,
    runs: Vec<(u64, EncodedRun)>,
    now_ms: u64,
    sent: u64,
    /// By key: the number in the body.
    pending: BTreeMap<TimerKey, u64>,
    /// Of all that were sent: when they are due.
    due_ms: BTreeMap<u64, u64>,
    /// The disk does not give what is at this log offset.
    bad: Option<u64>,
}

fn open(log: Vec<u8>, epochs: &mut Epochs, opening: Opening) -> (Shard, Vec<u8>) {
    let life = epochs.raise(log.len() as u64, SHAPE.block_bytes);
    let mut log = log;
    log.resize(life.first as usize, 0);
    let buffer = WriteBuffer::new(64 << 20, life.first).expect("memory");
    let identity = SegmentIdentity { format: 1, store_id: 7, shard: 0 };
    let mut commit_log = CommitLog::new(SHAPE, FlushMode::Sync, identity, life, buffer);
    commit_log.space_found(1 << 40);
    let settings = OpeningSettings {
        delays_ms: vec![1000, 2000],
        read_cache_bytes: 64 << 20,
        transaction_timeout_ms: 6000,
    };
    (opening.finish(ShardIndex(0), commit_log, &settings).0, log)
}

impl World {
    fn new() -> World {
        let mut epochs = Epochs::default();
        let opening = Opening::new(SEAL, SHAPE.segment_bytes, 0, 0);
        let (shard, log) = open(Vec::new(), &mut epochs, opening);
        World {
            shard,
            epochs,
            log,
            runs: Vec::new(),
            now_ms: 1_000_000,
            sent: 0,
            pending: BTreeMap::new(),
            due_ms: BTreeMap::new(),
            bad: None,
        }
    }

    fn send(&mut self, delay_ms: u64) {
        self.send_sized(delay_ms, 8);
    }

    fn send_sized(&mut self, delay_ms: u64, body_bytes: usize) {
        let due_ms = self.now_ms + 1 + delay_ms;
        if !self.shard.takes_timer(due_ms) {
            return;
        }
        let number = self.sent;
        self.sent += 1;
        let mut body = vec![0; body_bytes];
        body[..8].copy_from_slice(&number.to_le_bytes());
        let mut text = Vec::new();
        properties::append(&mut text, name::UNIQ_KEY, number.to_string().as_bytes());
        properties::append(&mut text, name::TIMER_OUT_MS, (due_ms - 1).to_string().as_bytes());
        properties::append(&mut text, name::REAL_TOPIC, b"T");
        let timer = NewMessage { queue: TIMER_QUEUE, body: &body, properties: &text, ..message() };
        self.shard.append_timer(self.now_ms, &timer, due_ms, None).expect("room");
        let Some(super::super::Waiting::Message(stored)) = self.shard.line.back().map(|it| it.what)
        else {
            unreachable!("just appended")
        };
        self.pending.insert(TimerKey { due_ms, payload: stored.payload }, number);
        self.due_ms.insert(number, due_ms);
    }

    fn confirm(&mut self) {
        complete(&mut self.shard);
        assert!(self.shard.next_confirmed().is_none(), "nobody waits");
    }

    fn recall(&mut self, number: u64) {
        let Some(due_ms) = self.due_ms.get(&number).copied() else { return };
        if due_ms <= self.now_ms {
            return; // the broker refuses it
        }
        let recalled = self.shard.recall(due_ms, format!("T+{number}").as_bytes(), None);
        match recalled.expect("room") {
            Recalled::Appended => self.pending.retain(|_, it| *it != number),
            Recalled::TooLate => {}
            Recalled::TooMany => panic!("few"),
        }
    }

    fn seal(&mut self) {
        while let Some(slice) = self.shard.next_slice() {
            let encoded = slice.encode(&IDENTITY);
            let address = self.shard.run_written(&encoded.head).expect("wanted");
            self.runs.push((address, encoded));
        }
    }

    /// Reads that were asked for end.
    fn read(&mut self) {
        while let Some(mut read) = self.shard.cold_runs.next_read() {
            let (address, run) =
                self.runs.iter().rev().find(|(at, _)| *at <= read.offset).expect("a run's");
            let bytes = &run.bytes[(read.offset - address) as usize..];
            let count = bytes.len().min(read.buffer.size());
            read.buffer.bytes_mut()[..count].copy_from_slice(&bytes[..count]);
            self.shard.cold_runs.read_completed(read.offset, read.buffer, Ok(count));
        }
        while let Some(mut read) = self.shard.cold.next_read() {
            let end = read.offset + read.buffer.size() as u64;
            if self.bad.is_some_and(|bad| (read.offset..end).contains(&bad)) {
                let failed = Err("bad sector".to_owned());
                self.shard.cold.read_completed(read.offset, read.buffer, failed);
                continue;
            }
            // What was written since the start is not here: it is read ahead only, the tail has it.
            let bytes = self.log.get(read.offset as usize..).unwrap_or_default();
            let (count, size) = (bytes.len().min(read.buffer.size()), read.buffer.size());
            read.buffer.bytes_mut()[..count].copy_from_slice(&bytes[..count]);
            read.buffer.bytes_mut()[count..].fill(0);
            self.shard.cold.read_completed(read.offset, read.buffer, Ok(size));
        }
    }

    /// The first segment of the log is full, and of no more use but for what waits in it.
    fn fill_segment(&mut self) {
        let body = vec![b'x'; 1 << 20];
        while self.shard.log().appended() <= SHAPE.segment_bytes {
            let large = NewMessage { body: &body, ..message() };
            self.shard.append_message(self.now_ms, &large, None).expect("room");
            self.confirm();
        }
        self.seal();
        self.shard.snapshots_hold(SHAPE.segment_bytes);
    }

    /// What waits in the first segment is carried, and the segment goes.
    fn leave_segment(&mut self) {
        let expire = |world: &mut World| world.shard.expire(world.now_ms, &retention(), &LOOK);
        assert_eq!(expire(self), None, "timers wait in it");
        for _ in 0..16 {
            while self.shard.carry() {}
            self.read();
        }
        assert_eq!(expire(self), None, "not durable");
        self.confirm();
        assert_eq!(expire(self), Some(SHAPE.segment_bytes));
        self.shard.removed();
    }

    /// Everything that is due fires: in order, nothing else, nothing early.
    fn fire(&mut self) {
        let mut due = DueTimers::default();
        let mut idle = 0;
        // What cannot be read is tried again, and passed.
        let (idle_max, pause_ms) =
            if self.bad.is_some() { (16, DELAY_RETRY_MS / 2) } else { (4, 0) };
        while idle < idle_max {
            self.shard.due_timers(self.now_ms, &mut due);
            if due.is_empty() {
                self.read();
                self.now_ms += pause_ms;
                idle += 1;
                continue;
            }
            idle = 0;
            let mut messages = Vec::new();
            for timer in due.iter() {
                let (record, _) = Record::decode(timer.record).expect("whole");
                let number = u64::from_le_bytes(record.fields().body[..8].try_into().expect("8"));
                assert!(timer.due_ms <= self.now_ms, "early");
                messages
                    .push((!timer.is_recalled).then_some(NewMessage { queue: QUEUE, ..message() }));
                if timer.is_recalled {
                    continue;
                }
                let first = self.pending.pop_first().map(|(key, it)| (key.due_ms, it));
                assert_eq!(first, Some((timer.due_ms, number)));
            }
            self.shard.fire(self.now_ms, &due, &messages).expect("room");
            self.confirm();
        }
        let left = self.pending.first_key_value();
        assert!(left.is_none_or(|(key, _)| key.due_ms > self.now_ms), "{left:?} was due");
    }

    /// The process ends; the next one has runs only.
    fn restart(&mut self) {
        self.confirm();
        self.seal();
        let from = self.log.len() as u64;
        let len = (self.shard.log().appended() - from) as usize;
        self.log.extend_from_slice(self.shard.log().tail_bytes(from, len).expect("in the tail"));
        let start = self.shard.start();
        // Half of the starts have a snapshot.
        let mut snapshot = Snapshot::default();
        let has_snapshot = self.sent.is_multiple_of(2) || start > 0;
        if has_snapshot {
            for (_, run) in &self.runs {
                snapshot.add_run(&run.head).expect("whole");
            }
            let bytes = snapshot.write(&IDENTITY);
            snapshot = Snapshot::read(&IDENTITY, snapshot.at(), &bytes).expect("whole");
        }
        let facts_from = if has_snapshot { snapshot.at() } else { start };
        let mut opening = Opening::new(SEAL, SHAPE.segment_bytes, start, facts_from);
        for (address, run) in self.runs.iter_mut().filter(|(_, run)| run.head.range.end > start) {
            let read = crate::consumequeue::RunHead::read(&IDENTITY, &run.head.range, &run.bytes);
            *address = opening.run(&read.expect("whole")).expect("whole");
        }
        if has_snapshot {
            opening.restore(snapshot);
        }
        let log = std::mem::take(&mut self.log);
        (self.shard, self.log) = open(log, &mut self.epochs, opening);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Send(u64),
    Burst(u16),
    Confirm,
    Seal,
    Pass(u64),
    Back(u64),
    Recall(u64),
    Fire,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..30_000u64).prop_map(Op::Send),
        1 => (1..400u16).prop_map(Op::Burst),
        3 => Just(Op::Confirm),
        2 => Just(Op::Seal),
        3 => (0..8_000u64).prop_map(Op::Pass),
        1 => (0..20_000u64).prop_map(Op::Back),
        2 => (0..40u64).prop_map(Op::Recall),
        4 => Just(Op::Fire),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn timers_fire_as_the_model_says(ops in prop::collection::vec(op(), 1..50)) {
        let mut world = World::new();
        for op in ops {
            match op {
                Op::Send(delay_ms) => world.send(delay_ms),
                Op::Burst(count) => (0..u64::from(count)).for_each(|it| world.send(it * 37 % 9_000)),
                Op::Confirm => world.confirm(),
                Op::Seal => {
                    world.confirm();
                    world.seal();
                }
                Op::Pass(ms) => world.now_ms += ms,
                Op::Back(ms) => world.now_ms -= ms,
                Op::Recall(number) => world.recall(number),
                Op::Fire => {
                    world.confirm();
                    world.fire();
                }
                Op::Restart => world.restart(),
            }
        }
        world.confirm();
        world.now_ms += 1_000_000;
        world.fire();
        prop_assert!(world.pending.is_empty());
        // Recalls of times that have passed are forgotten.
        world.now_ms += 5_000;
        world.fire();
        prop_assert!(world.shard.timers().recalls().is_empty());
    }
}

#[test]
fn nothing_fires_past_a_timer_that_is_not_confirmed() {
    let mut world = World::new();
    world.send(50);
    world.confirm();
    world.send(10);
    world.now_ms += 100;
    let mut due = DueTimers::default();
    world.shard.due_timers(world.now_ms, &mut due);
    assert!(due.is_empty(), "the first is not in the log's confirmed part");
    world.confirm();
    world.fire();
    assert!(world.pending.is_empty());
}

#[test]
fn memory_holds_what_is_due_soon() {
    let mut world = World::new();
    for number in 0..40_000u64 {
        world.send(number * 7919 % 3_600_000);
        if number % 1_000 == 0 {
            world.confirm();
        }
    }
    world.confirm();
    world.seal();
    assert!(world.shard.timers().in_memory() < 100);
    world.fire();
    for _ in 0..30 {
        world.now_ms += 2 * 60_000;
        world.fire();
        assert!(world.shard.timers().in_memory() < 40_000 / 8, "a part of them");
    }
    assert!(world.pending.is_empty());
    assert_eq!(world.shard.timers().wake_at_ms(world.now_ms), None);
}

#[test]
fn a_damaged_page_is_made_again_and_nothing_is_lost() {
    let mut world = World::new();
    (0..1_000).for_each(|number| world.send(number));
    world.confirm();
    world.seal();
    world.restart();
    let whole = world.runs[0].1.bytes.clone();
    let pages = world.runs[0].1.head.pages_start + world.runs[0].1.head.pages * 4096;
    world.runs[0].1.bytes[pages as usize + 4096 + 100] ^= 1;
    world.now_ms += 2_000;
    let mut due = DueTimers::default();
    for _ in 0..3 {
        world.shard.due_timers(world.now_ms, &mut due);
        world.shard.put_back_timers(&mut due);
        world.read();
    }
    assert_eq!(world.shard.next_damaged_run(), Some(world.runs[0].1.head.range.clone()));
    world.runs[0].1.bytes = whole;
    let head = world.runs[0].1.head.clone();
    let address = world.shard.run_written(&head).expect("wanted");
    let (_, run) = world.runs.remove(0);
    world.runs.push((address, run));
    world.now_ms += 2 * DELAY_RETRY_MS;
    world.fire();
    assert!(world.pending.is_empty());
}

/// Time enough for one more try to read what is due.
fn fail_once(world: &mut World) {
    let mut due = DueTimers::default();
    for _ in 0..8 {
        world.shard.due_timers(world.now_ms, &mut due);
        world.shard.put_back_timers(&mut due);
        world.read();
    }
    world.now_ms += DELAY_RETRY_MS;
}

#[test]
fn the_others_pass_a_timer_that_cannot_be_read_and_it_fires_when_it_can() {
    let mut world = World::new();
    (0..6).for_each(|number| world.send_sized(number, 600 << 10));
    world.restart();
    let (key, number) = world.pending.iter().nth(2).map(|(key, it)| (*key, *it)).expect("six");
    world.pending.remove(&key);
    world.bad = Some(key.payload + (300 << 10));
    for _ in 0..3 {
        world.now_ms += 70_000;
        world.send_sized(0, 600 << 10);
        world.restart();
        world.now_ms += 10;
        world.fire();
        assert!(world.pending.is_empty(), "the others came");
        world.recall(0);
        world.now_ms += UNREADABLE_RETRY_MS;
        world.fire();
        assert_eq!(world.shard.timers().in_memory(), 1, "it still waits");
    }
    world.bad = None;
    world.pending.insert(key, number);
    let mut due = DueTimers::default();
    world.shard.due_timers(world.now_ms, &mut due);
    assert!(due.is_empty() && world.pending.len() == 1, "not yet");
    world.now_ms += UNREADABLE_RETRY_MS;
    world.fire();
    assert!(world.pending.is_empty());
    world.send(0);
    world.restart();
    world.now_ms += 10;
    world.fire();
    assert!(world.pending.is_empty());
    assert_eq!(world.shard.timers().cursors().len(), 1, "one cursor again");
}

#[test]
fn what_cannot_be_read_holds_up_no_other_level_and_no_other_check() {
    let mut world = World::new();
    let body = vec![b'x'; 600 << 10];
    let half = Transactions::half_queue(0);
    let mut places = Vec::new();
    for queue in [Delays::queue(1), Delays::queue(2), half, half] {
        let large = NewMessage { queue, body: &body, ..message() };
        places.push(world.shard.log().appended() + (300 << 10));
        match queue {
            _ if queue == half => world.shard.append_half(world.now_ms, &large, None, None),
            _ => world.shard.append_message(world.now_ms, &large, None),
        }
        .expect("room");
    }
    world.restart();
    let mut record = Vec::new();
    world.bad = Some(places[0]);
    world.now_ms += 10_000;
    let due = (0..9).find_map(|_| {
        world.read();
        world.shard.next_due(world.now_ms, &mut record)
    });
    assert_eq!(due.map(|due| due.level), Some(2));
    world.shard.settle(world.now_ms, due.expect("just seen"), None).expect("room");
    world.bad = Some(places[2]);
    let mut next_check = |world: &mut World| {
        (0..9).find_map(|_| {
            world.read();
            world.shard.next_check(world.now_ms, &mut record).map(|due| due.queue_offset)
        })
    };
    assert_eq!(next_check(&mut world), Some(1));
    let checked = Checked { due_ms: u64::MAX, checks: 1 };
    world.shard.note_check(1, checked).expect("room");
    world.now_ms += UNREADABLE_RETRY_MS - 1;
    assert_eq!(next_check(&mut world), None, "the first waits");
    world.bad = None;
    world.now_ms += 1;
    assert_eq!(next_check(&mut world), Some(0));
    let due = (0..9).find_map(|_| {
        world.read();
        world.shard.next_due(world.now_ms, &mut record)
    });
    assert_eq!(due.map(|due| due.level), Some(1));
}

#[test]
fn a_clock_that_is_set_back_ends_what_was_postponed() {
    let mut world = World::new();
    world.send(0);
    world.confirm();
    world.now_ms += 3_600_000;
    let mut due = DueTimers::default();
    world.shard.postpone_timers(world.now_ms, &mut due);
    world.shard.due_timers(world.now_ms, &mut due);
    assert!(due.is_empty());
    world.now_ms -= 3_000_000;
    world.shard.due_timers(world.now_ms, &mut due);
    assert_eq!(due.len(), 1);
}

#[test]
fn as_many_as_allowed_are_passed() {
    let mut world = World::new();
    (0..TIMERS_ASIDE_MAX as u64 + 2).for_each(|number| world.send(number));
    world.restart();
    world.bad = Some(world.pending.keys().next().expect("many").payload);
    world.now_ms += 1_000;
    let mut due = DueTimers::default();
    for _ in 0..UNREADABLE_TRIES {
        fail_once(&mut world);
    }
    for _ in 0..4 * TIMERS_ASIDE_MAX {
        world.shard.due_timers(world.now_ms, &mut due);
        assert!(due.is_empty());
        world.read();
    }
    world.bad = None;
    world.now_ms += 2 * DELAY_RETRY_MS;
    world.shard.due_timers(world.now_ms, &mut due);
    world.read();
    world.shard.due_timers(world.now_ms, &mut due);
    assert_eq!(due.len(), 2, "those that were not passed");
    world.shard.put_back_timers(&mut due);
    world.now_ms += UNREADABLE_RETRY_MS;
    world.fire();
    assert!(world.pending.is_empty());
}

const LOOK: DiskLook = DiskLook { used_percent: 1.0, size_bytes: 1 << 40, hour: 0 };

/// The log may have one segment and the one that is written.
fn retention() -> Retention {
    Retention {
        reserved_ms: u64::MAX,
        hours: Vec::new(),
        delete_percent: 75,
        force_percent: None,
        full_percent: 90,
        writable_percent: 85,
        bytes_max: Some(SHAPE.segment_bytes),
    }
}

#[test]
fn timers_leave_a_segment_that_goes() {
    let mut world = World::new();
    for number in 0..300 {
        world.send(60_000 + number * 331 % 10_000);
    }
    world.send(0);
    world.confirm();
    world.recall(7);
    world.seal();
    world.now_ms += 10;
    world.fire();
    world.fill_segment();
    world.leave_segment();
    // In the model they have moved, too: the order of what is due at one time is theirs.
    let moved: Vec<_> = world.pending.iter().map(|(key, it)| (*key, *it)).collect();
    world.pending =
        (0..).zip(moved).map(|(at, (key, it))| (TimerKey { payload: at, ..key }, it)).collect();
    world.seal();
    world.now_ms += 64_000;
    world.fire();
    world.restart();
    world.now_ms += 20_000;
    world.fire();
    assert!(world.pending.is_empty());
}

/// The copy of what the others passed is not passed by: whether this process set it aside, or the one before.
#[test]
fn a_timer_that_was_set_aside_leaves_a_segment_that_goes() {
    for restarts in [false, true] {
        let mut world = World::new();
        (0..4).for_each(|number| world.send_sized(number, 600 << 10));
        world.restart();
        let (key, number) = world.pending.pop_first().expect("four");
        world.bad = Some(key.payload + (300 << 10));
        world.now_ms += 10_000;
        world.send(0);
        world.confirm();
        world.now_ms += 10;
        world.fire();
        assert_eq!(world.shard.timers().in_memory(), 1, "it waits, the others came");
        // One that is due later than all that fired shares its group.
        world.send(3_600_000);
        world.confirm();
        world.fill_segment();
        world.bad = None;
        if restarts {
            world.restart();
            world.shard.snapshots_hold(SHAPE.segment_bytes);
        }
        world.leave_segment();
        world.pending.insert(key, number);
        world.now_ms += UNREADABLE_RETRY_MS;
        world.fire();
        world.restart();
        world.now_ms += 4_000_000;
        world.fire();
        assert!(world.pending.is_empty());
        world.send(0);
        world.confirm();
        world.now_ms += 10;
        world.fire();
        assert_eq!(world.shard.timers().cursors().len(), 1, "one cursor again");
    }
}

#[test]
fn a_segment_that_is_mostly_timers_is_kept() {
    let mut world = World::new();
    (0..10).for_each(|number| world.send_sized(60_000 + number, 1 << 20));
    world.fill_segment();
    for _ in 0..3 {
        assert_eq!(world.shard.expire(world.now_ms, &retention(), &LOOK), None);
        for _ in 0..40 {
            world.shard.carry();
            world.confirm();
            world.read();
        }
    }
    assert!(world.shard.log().appended() < 2 * SHAPE.segment_bytes + (8 << 20), "half, once");
    world.now_ms += 70_000;
    world.fire();
    assert_eq!(world.shard.expire(world.now_ms, &retention(), &LOOK), Some(SHAPE.segment_bytes));
}
