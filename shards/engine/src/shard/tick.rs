//! Tick: deadlines of the shard.
//! Kind: machine

use super::Shard;

impl Shard {
    /// Deadlines have come: held pulls wake, offsets that nobody waits for are written. The time is
    /// the monotonic one, so that a clock that is set wakes nobody and holds nobody.
    pub fn tick(&mut self, now_ms: u64) {
        self.held.tick(now_ms);
        self.damages.tick(now_ms, self.index);
        self.evict_entries();
        self.forget_due();
        self.mark_time(now_ms);
        if self.offsets.due_ms().is_some_and(|due_ms| due_ms <= now_ms) && self.offsets.is_dirty() {
            // The log has no room now or is poisoned: they stay dirty, and are tried again later.
            if self.append_offsets(None).is_err() {
                self.offsets.postpone(now_ms);
            }
        }
    }

    /// When `tick` has something to do, monotonic ms; `None`: not before something happens.
    pub fn tick_at_ms(&mut self) -> Option<u64> {
        [self.held.wake_at_ms(), self.offsets.due_ms(), self.overdue_at_ms()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When `next_due`, `due_timers` or `next_check` has something to do, wall-clock ms; `None`: not before
    /// something happens.
    pub fn due_at_ms(&self, now_ms: u64) -> Option<u64> {
        let delays = [self.delays.wake_at_ms(now_ms), self.timers.wake_at_ms(now_ms)];
        delays.into_iter().chain([self.transactions.wake_at_ms(now_ms)]).flatten().min()
    }
}
