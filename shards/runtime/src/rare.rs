//! Rare lines: what peers can cause as often as they like is logged once a second, with a count of what
//! was left out.
//! Kind: machine

/// A kind of line, ms of the monotonic clock.
#[derive(Clone, Copy, Default, Debug)]
pub struct RareLine {
    next_ms: u64,
    left_out: u64,
}

/// Least time between two lines of a kind, ms.
const INTERVAL_MS: u64 = 1_000;

impl RareLine {
    /// How many were left out since the last line, if one may be logged now.
    pub fn take(&mut self, now_ms: u64) -> Option<u64> {
        if now_ms < self.next_ms {
            self.left_out += 1;
            return None;
        }
        self.next_ms = now_ms + INTERVAL_MS;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_were_left_out() {
        let mut line = RareLine::default();
        assert_eq!(line.take(5_000), Some(0));
        assert_eq!([line.take(5_001), line.take(5_999)], [None, None]);
        assert_eq!(line.take(6_000), Some(2));
        assert_eq!(line.take(9_000), Some(0));
    }
}
