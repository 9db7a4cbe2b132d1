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

    /// Its length.
    pub fn seconds(&self) -> f64 {
        (self.end_ns - self.start_ns) as f64 / 1e9
    }
}
