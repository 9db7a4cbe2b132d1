//! A core's life: from its start to a clean stop, and when it wakes.
//! Kind: shell

use engine::shard::{AppendRefused, Shard};
use runtime::Ring;
use runtime::clock::Now;

use super::Core;
use crate::server::messages::ShardEnd;
use crate::server::messages::ToControl;
use crate::server::store::CleanEnd;

/// At a clean stop, how long clients may take to read their last answers, ms.
pub(super) const DRAIN_MS_MAX: u64 = 3_000;

/// Where a core is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The system topics are being made; the listener is not open yet.
    Starting,
    Serving,
    /// No new frames from clients; answers in progress are finished until the deadline.
    Draining {
        until_ns: u64,
    },
    /// What this core was asked is answered; others may still ask.
    Drained,
    /// What only memory had is in the log and must be durable before the end mark, which says so.
    Flushing,
    /// The end mark is in the log and must be confirmed.
    Ending,
    Stopped,
}

impl Phase {
    /// Whether clients' requests are taken no more.
    pub(super) fn is_stopping(self) -> bool {
        !matches!(self, Phase::Starting | Phase::Serving)
    }

    /// Whether nothing may be appended any more but the end mark.
    pub(super) fn is_closing(self) -> bool {
        matches!(self, Phase::Flushing | Phase::Ending | Phase::Stopped)
    }
}

impl<R: Ring> Core<R> {
    /// Starting → serving → draining → ending → stopped. Whether the phase changed.
    pub(super) fn advance_phase(&mut self, now: Now) -> bool {
        let before = self.phase;
        if matches!(before, Phase::Flushing | Phase::Ending) {
            self.next_sync_ms = 0; // the stop waits for the sync, not for its time
        }
        match self.phase {
            Phase::Starting => {
                let is_home = self.broker.router().is_home();
                // All cores know the topics that every broker has before anybody can ask.
                if !is_home || self.broker.create_system_topics(now) && self.broker.is_copied() {
                    for listener in self.listeners.drain(..) {
                        self.ring.listen(listener);
                    }
                    // Registered as a whole by the control thread's first request.
                    if let Some(changes) = self.broker.next_topic_changes() {
                        self.broker.announced(changes.number);
                    }
                    self.unsent.push_back(ToControl::Serving);
                    self.control.push_batch(&mut self.unsent);
                    self.control.flush();
                    self.phase = Phase::Serving;
                }
            }
            Phase::Draining { until_ns } => {
                let is_quiet = self.outboxes.is_empty()
                    && self.exchange.is_quiet()
                    && self.broker.has_nothing_parked()
                    && self.broker.shards.iter().all(Shard::is_settled);
                let is_late = now.monotonic_ns > until_ns;
                if is_quiet || is_late {
                    self.unsent.push_back(ToControl::Drained);
                    self.control.push_batch(&mut self.unsent);
                    self.control.flush();
                    self.phase = Phase::Drained;
                }
            }
            Phase::Drained => {
                if self.is_to_end && self.append_each(append_offsets) {
                    self.phase = Phase::Flushing;
                }
            }
            Phase::Flushing => {
                if self.is_durable() && self.append_each(Shard::append_end) {
                    self.phase = Phase::Ending;
                }
            }
            Phase::Ending => {
                if self.is_durable() {
                    let ends = self.clean_ends();
                    self.unsent.push_back(ToControl::Stopped(ends));
                    self.control.push_batch(&mut self.unsent);
                    self.control.flush();
                    self.phase = Phase::Stopped;
                }
            }
            Phase::Serving | Phase::Stopped => {}
        }
        before != self.phase
    }

    /// Whether all that was appended survives a power cut, or never will.
    fn is_durable(&self) -> bool {
        let is_done = |shard: &Shard| {
            shard.is_settled() && shard.log().durable() == shard.log().appended()
                || shard.log().poisoned().is_some()
        };
        self.broker.shards.iter().all(is_done)
    }

    /// How those shards end whose logs are durable as a whole.
    fn clean_ends(&mut self) -> Vec<ShardEnd> {
        let whole = self.broker.shards.iter_mut().filter(|shard| shard.log().poisoned().is_none());
        let ends = whole.map(|shard| {
            let end = CleanEnd { epoch: shard.log().epoch(), end: shard.log().durable() };
            let slices = shard.last_slices();
            let keys = shard.last_index_work();
            ShardEnd { shard: usize::from(shard.index().0), end, slices, keys }
        });
        ends.collect()
    }

    /// Appends to each shard. `false`: no room yet. A shard that takes nothing any more (poisoned, disk
    /// full) stops without; its next start replays as after a crash.
    fn append_each(&mut self, append: impl Fn(&mut Shard) -> Result<(), AppendRefused>) -> bool {
        for shard in &mut self.broker.shards {
            match append(shard) {
                Ok(()) => {}
                Err(AppendRefused::Wait) => return false,
                Err(refused) => tracing::warn!(?refused, "stopped without an end mark"),
            }
        }
        true
    }

    /// Sets the ring's deadline to when the next turn has something to do.
    pub fn arm_deadline(&mut self, now: Now) {
        let now_ms = now.monotonic_ms();
        let mut wake_ms = self.broker.wake_in_ms(now).map(|in_ms| now_ms.saturating_add(in_ms));
        let mut earlier = |at_ms: u64| {
            wake_ms = Some(wake_ms.map_or(at_ms, |wake_ms| wake_ms.min(at_ms)));
        };
        if self.broker.shards.iter().any(|shard| shard.log().durable() < shard.log().written()) {
            earlier(self.next_sync_ms);
        }
        if self.ring.open_connections() > 0 {
            earlier(self.next_idle_ms);
        }
        if !matches!(self.phase, Phase::Serving) {
            earlier(now_ms + 10);
        }
        if let Some(wake_ms) = wake_ms {
            let delay_ns = wake_ms.saturating_sub(now_ms).saturating_mul(1_000_000);
            self.ring.wake_at(now.monotonic_ns.saturating_add(delay_ns.max(1_000_000)));
        }
    }
}

/// Appends the offsets that only memory has.
fn append_offsets(shard: &mut Shard) -> Result<(), AppendRefused> {
    while shard.offsets().is_dirty() {
        shard.append_offsets(None)?;
    }
    Ok(())
}
