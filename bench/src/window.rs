//! The part of a run that is measured: behind the warm-up, before the end.

/// A span of monotonic time.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    pub start_ns: u64,
    /// `u64::MAX` while a count of messages decides.
    pub end_ns: u64,
}

impl Window {
    /// Whether a moment lies in it.
    pub fn contains(&self, ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&ns)
    }

    /// Whether a message of this intended time, acknowledged now, counts for the rate. While a count
    /// decides, those that were in flight when the window opened are not among what is counted.
    pub fn counts(&self, intended_ns: u64, now_ns: u64) -> bool {
        let is_counting = self.end_ns == u64::MAX;
        self.contains(now_ns) && (!is_counting || self.contains(intended_ns))
    }

    /// Its length.
    pub fn seconds(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e9
    }
}
