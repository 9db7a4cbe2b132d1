//! Retention: which of the oldest segments may go: by age, by how full the disk is, by a budget.
//! Kind: machine
//!
//! Source: DefaultMessageStore.CleanCommitLogService of 5.3.3. Beyond it: the budget; no more goes than
//! the disk needs; and age is that of a segment's newest message, not of its file, which a copy or a
//! backup changes.

use crate::limits::EXPIRE_SEGMENTS_MAX;

/// What the configuration says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retention {
    /// `fileReservedTime` in ms: older segments go when it is time for it.
    pub reserved_ms: u64,
    /// `deleteWhen`: hours of the day, local time, at which it is.
    pub hours: Vec<u8>,
    /// `diskMaxUsedSpaceRatio`: above it it is always time, percent.
    pub delete_percent: u8,
    /// `diskSpaceCleanForciblyRatio`, with `cleanFileForciblyEnable`: above it age does not matter.
    pub force_percent: Option<u8>,
    /// `diskSpaceWarningLevelRatio`: above it sends are refused until it is no more than
    /// `writable_percent`.
    pub full_percent: u8,
    /// `diskSpaceCleanForciblyRatio`.
    pub writable_percent: u8,
    /// `ringmqLogBytesMax`: bytes of the log of a shard; the oldest go above it.
    pub bytes_max: Option<u64>,
}

/// A look at the disk and the clock.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DiskLook {
    /// Used part of the file system, percent of what users who are not root may use.
    pub used_percent: f64,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// Hour of the day, local time.
    pub hour: u8,
}

/// A segment that is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FullSegment {
    /// Its bytes.
    pub bytes: u64,
    /// Store timestamp of its newest message, ms; 0 without any.
    pub newest_ms: u64,
}

impl Retention {
    /// How many of the oldest full segments are to go. `log_bytes`: the log with the segment that is
    /// being written.
    pub fn expired(
        &self,
        now_ms: u64,
        look: &DiskLook,
        log_bytes: u64,
        segments: impl Iterator<Item = FullSegment>,
    ) -> usize {
        let is_time =
            self.hours.contains(&look.hour) || look.used_percent > f64::from(self.delete_percent);
        let mut to_free = self.bytes_to_free(look);
        let mut left = log_bytes;
        let mut count = 0;
        for segment in segments.take(EXPIRE_SEGMENTS_MAX) {
            let is_old = is_time && segment.newest_ms.saturating_add(self.reserved_ms) <= now_ms;
            let is_over = self.bytes_max.is_some_and(|bytes_max| left > bytes_max);
            if !is_old && !is_over && to_free == 0 {
                break;
            }
            to_free = to_free.saturating_sub(segment.bytes);
            left = left.saturating_sub(segment.bytes);
            count += 1;
        }
        count
    }

    fn bytes_to_free(&self, look: &DiskLook) -> u64 {
        let over = self.force_percent.map_or(0.0, |force| look.used_percent - f64::from(force));
        if over > 0.0 { (over / 100.0 * look.size_bytes as f64).ceil() as u64 } else { 0 }
    }

    /// Whether the disk counts as full, given whether it did.
    pub fn is_full(&self, look: &DiskLook, was_full: bool) -> bool {
        let limit = if was_full { self.writable_percent } else { self.full_percent };
        look.used_percent > f64::from(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn retention() -> Retention {
        Retention {
            reserved_ms: 72 * HOUR_MS,
            hours: vec![4],
            delete_percent: 75,
            force_percent: Some(85),
            full_percent: 90,
            writable_percent: 85,
            bytes_max: None,
        }
    }

    fn segments(ages_hours: &[u64], now_ms: u64) -> impl Iterator<Item = FullSegment> {
        ages_hours
            .iter()
            .map(move |age| FullSegment { bytes: 100, newest_ms: now_ms - age * HOUR_MS })
    }

    fn expired(retention: &Retention, used_percent: f64, hour: u8, ages_hours: &[u64]) -> usize {
        let now_ms = 1000 * HOUR_MS;
        let look = DiskLook { used_percent, size_bytes: 10_000, hour };
        let log_bytes = ages_hours.len() as u64 * 100 + 50;
        retention.expired(now_ms, &look, log_bytes, segments(ages_hours, now_ms))
    }

    #[test]
    fn old_segments_go_at_their_hour_or_when_the_disk_fills() {
        let ages = [100, 80, 72, 71, 90];
        assert_eq!(expired(&retention(), 10.0, 3, &ages), 0);
        assert_eq!(expired(&retention(), 10.0, 4, &ages), 3, "up to the first that is young");
        assert_eq!(expired(&retention(), 75.0, 3, &ages), 0);
        assert_eq!(expired(&retention(), 75.1, 3, &ages), 3);
    }

    #[test]
    fn a_disk_that_is_nearly_full_takes_what_it_needs() {
        let ages = [5, 4, 3, 2, 1];
        assert_eq!(expired(&retention(), 85.0, 3, &ages), 0);
        assert_eq!(expired(&retention(), 85.5, 3, &ages), 1);
        assert_eq!(expired(&retention(), 88.0, 3, &ages), 3);
        assert_eq!(expired(&retention(), 99.0, 3, &[1; 40]), EXPIRE_SEGMENTS_MAX);
        let gentle = Retention { force_percent: None, ..retention() };
        assert_eq!(expired(&gentle, 99.0, 3, &ages), 0);
    }

    #[test]
    fn a_budget_holds_whatever_the_age() {
        let budget = Retention { bytes_max: Some(300), ..retention() };
        assert_eq!(expired(&budget, 10.0, 3, &[1; 5]), 3);
        assert_eq!(expired(&budget, 10.0, 3, &[1; 2]), 0);
    }

    #[test]
    fn a_full_disk_is_full_until_it_has_room() {
        let look = |used_percent| DiskLook { used_percent, size_bytes: 1, hour: 0 };
        assert!(!retention().is_full(&look(90.0), false));
        assert!(retention().is_full(&look(90.1), false));
        assert!(retention().is_full(&look(85.1), true));
        assert!(!retention().is_full(&look(85.0), true));
    }
}
