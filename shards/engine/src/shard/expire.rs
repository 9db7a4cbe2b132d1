//! Expire: the oldest segments go. What they said lives on in snapshots and runs' notes; what they held
//! and is still wanted keeps them.
//! Kind: machine

use super::Shard;
use crate::retention::{DiskLook, FullSegment, Retention};

impl Shard {
    /// Segments below this log offset may go: two snapshots hold what they said.
    pub fn snapshots_hold(&mut self, safe_below: u64) {
        self.safe_below = self.safe_below.max(safe_below);
    }

    /// The files below the log's start are gone.
    pub fn removed(&mut self) {
        self.is_removing = false;
    }

    /// Forgets the oldest part of the log if it is to go: where the log begins from now on. The driver
    /// removes the files below, and says so before more goes: until then the disk looks as full as before.
    pub fn expire(&mut self, now_ms: u64, retention: &Retention, look: &DiskLook) -> Option<u64> {
        if self.is_removing {
            return None;
        }
        if self.expiring.is_none() {
            let new_start = self.expired(now_ms, retention, look);
            let is_more = new_start > self.start;
            // Delayed messages below count as delivered or copied: it goes once that is durable.
            self.expiring = is_more.then(|| (new_start, self.log.appended()));
        }
        let (new_start, _) = self.expiring.take_if(|(_, at)| *at <= self.log.durable())?;
        self.start = new_start;
        self.is_removing = true;
        self.damaged_run.take_if(|run| run.end <= new_start);
        self.queues.expire(new_start);
        self.timers.expire(new_start);
        self.expired_index.extend(self.keys.expire(new_start));
        tracing::info!(shard = self.index.0, log_start = new_start, "old segments are removed");
        Some(new_start)
    }

    /// Where the log would begin, were all gone that may go now.
    fn expired(&mut self, now_ms: u64, retention: &Retention, look: &DiskLook) -> u64 {
        let segment_bytes = self.log.shape().segment_bytes;
        let start = self.start;
        // What was cut and is in no run yet, on a full disk, is known only to memory and the log.
        let full_end = self.unsealed.from().min(self.queues.in_runs_below());
        let full_end = full_end / segment_bytes * segment_bytes;
        let segment = |index: u64| {
            let first = start + index * segment_bytes;
            let runs = self.queues.runs().skip_while(move |run| run.range.end <= first);
            let inside = runs.take_while(move |run| run.range.start < first + segment_bytes);
            let newest_ms = inside.map(|run| run.stored_ms.1).max().unwrap_or(0);
            FullSegment { bytes: segment_bytes, newest_ms }
        };
        let full = full_end.saturating_sub(start) / segment_bytes;
        let log_bytes = self.log.appended() - start;
        let count = retention.expired(now_ms, look, log_bytes, (0..full).map(segment));
        let wanted = start + count as u64 * segment_bytes;
        let safe = wanted.min(self.safe_below / segment_bytes * segment_bytes);
        if safe <= start {
            return start;
        }
        let pending = self.pending_from() / segment_bytes * segment_bytes;
        if pending < safe {
            self.begin_carrying(now_ms, pending, safe);
        }
        safe.min(pending)
    }

    /// Looks whether the disk counts as full: messages are refused then.
    pub fn look_at_disk(&mut self, retention: &Retention, look: &DiskLook) {
        let was_full = self.disk_full.is_some();
        if retention.is_full(look, was_full) == was_full {
            return;
        }
        if was_full {
            tracing::info!(shard = self.index.0, "the disk has room again, sends are taken");
            self.disk_full = None;
            return;
        }
        let reason = format!(
            "{:.1} % of the disk are used, above diskSpaceWarningLevelRatio {}; sends are taken again at diskSpaceCleanForciblyRatio {}",
            look.used_percent, retention.full_percent, retention.writable_percent
        );
        tracing::error!(shard = self.index.0, reason, "sends are refused (code 14), pulls go on");
        self.disk_full = Some(reason);
    }

    /// Where the log begins.
    pub fn start(&self) -> u64 {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewMessage;
    use super::super::testing::{DELAY_MS, QUEUE, SHAPE, complete, message, shard, start_writes};
    use super::*;
    use crate::consumequeue::RunDraft;
    use crate::delay::Delays;
    use crate::limits::KEPT_RETRY_MS;
    use crate::page::FileIdentity;

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

    fn confirm(shard: &mut Shard) {
        complete(shard);
        assert!(shard.next_confirmed().is_none(), "nobody waits");
    }

    /// The log goes on to the segment after this one; runs and snapshots hold what is before.
    fn fill_segment(shard: &mut Shard) {
        let body = vec![b'x'; 1 << 20];
        let end = (shard.log().appended() + 1).next_multiple_of(SHAPE.segment_bytes);
        while shard.log().appended() <= end {
            let large = NewMessage { body: &body, ..message() };
            shard.append_message(1, &large, None).expect("room");
            confirm(shard);
        }
        let identity = FileIdentity { store_id: 7, shard: 0, seed: SHAPE.seed };
        while let Some(slice) = shard.next_slice() {
            let encoded = slice.encode(&identity);
            shard.run_written(&encoded.head).expect("wanted");
        }
        shard.snapshots_hold(end);
    }

    /// A shard whose first segment is full and begins with a delayed message.
    fn shard_with_a_delayed_message() -> Shard {
        let mut shard = shard();
        let delayed = NewMessage { queue: Delays::queue(1), ..message() };
        shard.append_message(1, &delayed, None).expect("room");
        fill_segment(&mut shard);
        shard
    }

    #[test]
    fn a_delivery_that_is_not_durable_keeps_its_segment() {
        let mut shard = shard_with_a_delayed_message();
        // The tail's memory still has it.
        let mut record = Vec::new();
        let due = shard.next_due(1 + DELAY_MS, &mut record).expect("it is due");
        shard.settle(1 + DELAY_MS, due, Some(&message())).expect("room");
        let writes = start_writes(&mut shard);
        assert_eq!(shard.expire(1, &retention(), &LOOK), None);
        assert_eq!(shard.expire(1, &retention(), &LOOK), None);
        for write in writes {
            shard.log_mut().write_completed(&write.range, Ok(()));
        }
        assert_eq!(shard.expire(1, &retention(), &LOOK), Some(SHAPE.segment_bytes));
        assert_eq!(shard.start(), SHAPE.segment_bytes);
    }

    /// A run that was made again has the highest address and the lowest place in the log: the files of the others
    /// stay open when it goes.
    #[test]
    fn only_runs_that_are_of_no_use_are_closed() {
        let mut shard = shard();
        fill_segment(&mut shard);
        fill_segment(&mut shard);
        let address = |shard: &Shard, index| shard.queues().runs().nth(index).map(|it| it.address);
        let first = shard.queues().runs().next().expect("a full segment").range.clone();
        let kept: Vec<_> = shard.queues().runs().skip(1).map(|run| run.address).collect();
        assert!(first.end == SHAPE.segment_bytes && !kept.is_empty());
        assert!(shard.take_expired_runs().is_empty());

        let before = address(&shard, 0).expect("seen above");
        let identity = FileIdentity { store_id: 7, shard: 0, seed: SHAPE.seed };
        let again = RunDraft::new(first).encode(&identity, Vec::new());
        let after = shard.run_written(&again.head).expect("wanted");
        assert_eq!((address(&shard, 0), shard.take_expired_runs()), (Some(after), vec![before]));
        assert!(kept.iter().all(|kept| *kept < after));

        let two = Retention { bytes_max: Some(2 * SHAPE.segment_bytes), ..retention() };
        assert_eq!(shard.expire(1, &two, &LOOK), Some(SHAPE.segment_bytes));
        assert_eq!(shard.take_expired_runs(), [after]);
        assert_eq!(shard.queues().runs().map(|run| run.address).collect::<Vec<_>>(), kept);
        assert!(shard.take_expired_runs().is_empty());
    }

    #[test]
    fn what_waits_is_copied_before_its_segment_goes() {
        let mut shard = shard_with_a_delayed_message();
        assert_eq!(shard.expire(1, &retention(), &LOOK), None, "a message waits in it");
        while shard.carry() {}
        assert_eq!(shard.expire(1, &retention(), &LOOK), None, "its copy is not durable");
        confirm(&mut shard);
        assert_eq!(shard.expire(1, &retention(), &LOOK), Some(SHAPE.segment_bytes));
        shard.removed();
        assert_eq!(shard.queues().bounds(Delays::queue(1)), Some((1, 1)), "the queue has nothing");
        let mut record = Vec::new();
        assert_eq!(shard.next_due(DELAY_MS, &mut record), None);
        let due = shard.next_due(1 + DELAY_MS, &mut record).expect("it is due");
        assert_eq!((due.level, due.queue_offset), (1, 0));
        assert!(record.ends_with(b"UNIQ_KEY\x01key\x02"), "the copy has come");
        let (_, before) = shard.queues().bounds(QUEUE).expect("used");
        shard.settle(1 + DELAY_MS, due, Some(&message())).expect("room");
        confirm(&mut shard);
        assert_eq!(shard.queues().bounds(QUEUE).expect("used").1, before + 1);
        assert_eq!(shard.next_due(1 + DELAY_MS, &mut record), None, "it came once");
    }

    #[test]
    fn a_segment_that_is_mostly_waiting_is_kept() {
        let mut shard = shard();
        let body = vec![b'x'; 1 << 20];
        for _ in 0..9 {
            let delayed = NewMessage { queue: Delays::queue(1), body: &body, ..message() };
            shard.append_message(1, &delayed, None).expect("room");
            confirm(&mut shard);
        }
        fill_segment(&mut shard);
        for _ in 0..3 {
            assert_eq!(shard.expire(1, &retention(), &LOOK), None);
            while shard.carry() {
                confirm(&mut shard);
            }
        }
        let copied = shard.log().appended();
        assert!(copied < 2 * SHAPE.segment_bytes + (8 << 20), "half of it, once: {copied}");
        // Later the rest leaves it, too.
        for (now_ms, start) in [(KEPT_RETRY_MS, None), (1 + KEPT_RETRY_MS, None)] {
            assert_eq!(shard.expire(now_ms, &retention(), &LOOK), start);
            while shard.carry() {
                confirm(&mut shard);
            }
            assert_eq!(shard.log().appended() > copied, now_ms > KEPT_RETRY_MS);
        }
        confirm(&mut shard);
        let start = shard.expire(1 + KEPT_RETRY_MS, &retention(), &LOOK);
        assert_eq!(start, Some(SHAPE.segment_bytes));
    }
}
