//! Histogram: how often a figure was how large, in a few buckets.
//! Owns: a counter for each bucket, in plain fields.
//! Lives on: the core that counts
//! Kind: machine
//! Invariants: to count is some comparisons and two additions; nothing is allocated, nothing is shared

/// Buckets of each, the one without bound included.
pub const BUCKETS: usize = 10;

/// How long requests took, ms (`RemotingMetricsManager.getMetricsView`).
pub const RPC_MS: &[u64] = &[1, 3, 5, 7, 10, 100, 1000, 2000, 3000];

/// How long half messages waited for their commit, s (`BrokerMetricsManager`, `commitLatencyBuckets`).
pub const FINISH_S: &[u64] = &[5, 60, 600, 3600, 12 * 3600, 24 * 3600];

const _: () = assert!(RPC_MS.len() < BUCKETS && FINISH_S.len() < BUCKETS);

/// See the module's first lines.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum: u64,
}

impl Histogram {
    /// One more; `bounds` are the buckets' upper ends, rising, always the same.
    pub fn record(&mut self, bounds: &[u64], value: u64) {
        debug_assert!(bounds.len() < BUCKETS);
        // Few, and most values are in the first.
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Both together.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, more)| *sum += more);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many are in a bucket or in those before it.
    pub fn up_to(&self, bucket: usize) -> u64 {
        self.counts.iter().take(bucket + 1).sum()
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3000, 3001, u64::MAX] {
            histogram.record(RPC_MS, value);
        }
        let up_to = [0, 1, 7, 8, 9].map(|bucket| histogram.up_to(bucket));
        assert_eq!(up_to, [2, 3, 3, 4, 6]);
        assert_eq!((histogram.count(), histogram.sum()), (6, u64::MAX));
        let mut both = Histogram::default();
        both.record(FINISH_S, 61);
        both.merge(&both.clone());
        assert_eq!((both.count(), both.sum(), both.up_to(1), both.up_to(2)), (2, 122, 0, 2));
    }
}
