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
        let segment_bytes = self.log.shape().segment_bytes;
        let start = self.start;
        let full_end = self.unsealed.from() / segment_bytes * segment_bytes;
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
        let pending = self.pending_from() / segment_bytes * segment_bytes;
        if pending < safe {
            self.begin_carrying(pending, safe);
        }
        let new_start = safe.min(pending);
        if new_start <= start {
            return None;
        }
        self.start = new_start;
        self.is_removing = true;
        self.queues.expire(new_start);
        tracing::info!(shard = self.index.0, log_start = new_start, "old segments are removed");
        Some(new_start)
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
