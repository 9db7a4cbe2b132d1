//! Which epoch wrote which part of the log.
//!
//! Every recovery raises the epoch, so that bytes of an earlier life behind the cut are never taken
//! for records of this one.

/// One life of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// Its number, rising.
    pub number: u32,
    /// Where the log of the epochs before it ends, a log offset.
    pub previous_end: u64,
    /// Where its own first record starts; the bytes between hold nothing.
    pub first: u64,
}

/// All epochs whose records the log may still hold, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    lives: Vec<Epoch>,
    start: u64,
    /// Where the newest one ended, if that is known: it was stopped cleanly.
    ended: Option<u64>,
}

/// Why a table of epochs is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EpochsError {
    /// Numbers or offsets do not rise.
    #[error("epoch {number} does not rise above the one before it")]
    OutOfOrder {
        /// The first entry that is out of order.
        number: u32,
    },
}

impl Epochs {
    /// Checks a table read from disk, of a log that begins at `start`.
    ///
    /// # Errors
    /// Numbers or offsets do not rise.
    pub fn new(lives: Vec<Epoch>, start: u64) -> Result<Epochs, EpochsError> {
        for pair in lives.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if after.number <= before.number
                || after.first < before.first
                || after.first < after.previous_end
                || after.previous_end < before.first
            {
                return Err(EpochsError::OutOfOrder { number: after.number });
            }
        }
        Ok(Epochs { lives, start, ended: None })
    }

    /// Where the log begins: what was before was removed.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Oldest first.
    pub fn lives(&self) -> &[Epoch] {
        &self.lives
    }

    /// The newest, if the log was ever open.
    pub fn newest(&self) -> Option<Epoch> {
        self.lives.last().copied()
    }

    /// The life of this number was stopped cleanly, with the log up to `end`. Whether it is the newest one:
    /// of an earlier one that says nothing any more.
    pub fn stopped(&mut self, number: u32, end: u64) -> bool {
        let is_newest = self.newest().is_some_and(|newest| newest.number == number);
        if is_newest {
            self.ended = Some(end);
        }
        is_newest
    }

    /// Where the log ended when it was stopped cleanly, if that was its last stop.
    pub fn ended(&self) -> Option<u64> {
        self.ended
    }

    /// Everything below is durable, whatever records say: an earlier life's part was made so before the
    /// next one began, and the newest one's before its clean stop was marked.
    pub fn durable(&self) -> u64 {
        let previous_end = self.newest().map_or(0, |newest| newest.previous_end);
        previous_end.max(self.ended.unwrap_or(0))
    }

    /// The epoch that records at `offset` must carry.
    pub fn number_at(&self, offset: u64) -> Option<u32> {
        self.lives.iter().rev().find(|life| offset >= life.first).map(|life| life.number)
    }

    /// Where a later epoch begins, if the log before it ends at or before `offset` and behind `from`.
    pub fn jump(&self, offset: u64) -> Option<u64> {
        self.lives
            .iter()
            .find(|life| life.previous_end <= offset && offset < life.first)
            .map(|life| life.first)
    }

    /// Forgets lives of which the log holds nothing any more, because it begins at `start` now.
    pub fn expire(&mut self, start: u64) {
        self.start = self.start.max(start);
        let kept = self.lives.iter().rposition(|life| life.first <= start).unwrap_or(0);
        self.lives.drain(..kept);
    }

    /// Begins a new life behind `end`, on the next multiple of `block_bytes`.
    pub fn raise(&mut self, end: u64, block_bytes: u64) -> Epoch {
        let number = self.newest().map_or(1, |newest| newest.number + 1);
        let first = end.next_multiple_of(block_bytes);
        // A life that never wrote anything leaves nothing to tell apart. The gap before it stays: what
        // lies there is no record, or a cut group would be found again and taken for damage.
        let silent = self.lives.iter().find(|other| other.first >= first);
        let previous_end = silent.map_or(end, |silent| silent.previous_end.min(end));
        let life = Epoch { number, previous_end, first };
        self.lives.retain(|other| other.first < first);
        self.lives.push(life);
        self.ended = None;
        life
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offset_has_the_epoch_that_wrote_it() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.raise(0, 4096).number, 1);
        assert_eq!(epochs.raise(5000, 4096), Epoch { number: 2, previous_end: 5000, first: 8192 });
        assert_eq!(epochs.number_at(0), Some(1));
        assert_eq!(epochs.number_at(8191), Some(1));
        assert_eq!(epochs.number_at(8192), Some(2));
        assert_eq!(epochs.jump(4992), None);
        assert_eq!(epochs.jump(5000), Some(8192));
        assert_eq!(epochs.jump(8192), None);
    }

    #[test]
    fn lives_go_with_their_part_of_the_log() {
        let mut epochs = Epochs::default();
        epochs.raise(0, 4096);
        epochs.raise(5000, 4096);
        epochs.raise(20_000, 4096);
        epochs.expire(8191);
        assert_eq!(epochs.lives().len(), 3);
        epochs.expire(8192);
        assert_eq!((epochs.number_at(8192), epochs.number_at(8191)), (Some(2), None));
        epochs.expire(1 << 30);
        assert_eq!(epochs.number_at(1 << 30), Some(3));
        assert_eq!(epochs.raise(1 << 30, 4096).number, 4);
    }

    #[test]
    fn a_life_without_records_is_forgotten() {
        let mut epochs = Epochs::default();
        epochs.raise(0, 4096);
        epochs.raise(0, 4096);
        assert_eq!(epochs.raise(0, 4096).number, 3);
        assert_eq!(epochs.lives().len(), 1);
        assert_eq!(epochs.number_at(0), Some(3));
    }

    #[test]
    fn the_gap_before_a_life_without_records_stays() {
        let mut epochs = Epochs::default();
        epochs.raise(0, 4096);
        epochs.raise(5000, 4096);
        // Nothing was written: the replay jumped over the gap and found nothing behind it.
        let again = epochs.raise(8192, 4096);
        assert_eq!(again, Epoch { number: 3, previous_end: 5000, first: 8192 });
        assert_eq!(epochs.jump(5000), Some(8192));
    }

    #[test]
    fn a_clean_stop_says_something_of_the_newest_life_only() {
        let mut epochs = Epochs::default();
        assert!(!epochs.stopped(1, 100));
        epochs.raise(0, 4096);
        assert!(epochs.stopped(1, 9000) && !epochs.stopped(2, 1 << 30));
        assert_eq!((epochs.ended(), epochs.durable()), (Some(9000), 9000));
        epochs.raise(9000, 4096);
        assert!(!epochs.stopped(1, 1 << 30));
        assert_eq!((epochs.ended(), epochs.durable()), (None, 9000));
    }

    #[test]
    fn disorder_is_refused() {
        let life = |number, previous_end, first| Epoch { number, previous_end, first };
        let new = |lives| Epochs::new(lives, 0);
        let refused = new(vec![life(1, 0, 0), life(1, 10, 16)]);
        assert_eq!(refused, Err(EpochsError::OutOfOrder { number: 1 }));
        assert!(new(vec![life(1, 0, 0), life(3, 10, 16)]).is_ok());
        assert!(new(vec![life(1, 0, 0), life(3, 20, 16)]).is_err());
    }
}
