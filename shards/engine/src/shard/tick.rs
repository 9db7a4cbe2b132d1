//! Tick: deadlines of the shard.
//! Kind: machine

use super::Shard;

impl Shard {
    /// Deadlines have come: held pulls wake, offsets that nobody waits for are written.
    pub fn tick(&mut self, now_ms: u64) {
        self.held.tick(now_ms);
        if self.offsets.due_ms().is_some_and(|due_ms| due_ms <= now_ms) && self.offsets.is_dirty() {
            // Refused: the log has no room now or is poisoned; they stay dirty and due.
            self.append_offsets(None).ok();
        }
    }

    /// When `tick` or `next_due` have something to do, ms; `None`: not before something happens.
    pub fn wake_at_ms(&mut self) -> Option<u64> {
        [self.held.wake_at_ms(), self.offsets.due_ms(), self.delays.wake_at_ms()]
            .into_iter()
            .flatten()
            .min()
    }
}
