//! What the sends of a run, or of one process of it, came to.
//! Kind: machine

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lane::Slot;
use crate::latency::Latency;
use crate::refusals::Refusals;
use crate::timeline::Timeline;
use crate::window::Window;

/// What the sends of a run came to. Counts are of messages, however many share a request.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendTally {
    /// From the intended send time; only an open loop has one of its own.
    pub corrected: Latency,
    /// From the actual send time.
    pub uncorrected: Latency,
    /// Messages acknowledged within the window, and their bodies.
    pub acked: u64,
    pub body_bytes: u64,
    /// When the last of them was.
    pub last_ack_ns: u64,
    /// Messages sent and acknowledged from the start to the end of the run.
    pub sent_in_all: u64,
    pub acked_in_all: u64,
    pub refusals: Refusals,
    /// Answers to questions that nobody asked, or asked once and had answered.
    pub unknown_answers: u64,
    /// Messages that were dropped because there was no slot for them in time.
    pub given_up: u64,
    /// Messages whose connection ended before their answer came: nobody knows their outcome.
    pub cut_off: u64,
    /// Connections that ended, by reason.
    pub closed: BTreeMap<String, u64>,
    /// All of the run, second by second.
    pub timeline: Timeline,
}

impl SendTally {
    /// Nothing so far, of a run that begins at `began_ns`.
    pub fn new(began_ns: u64, window: Window) -> SendTally {
        SendTally {
            corrected: Latency::new(),
            uncorrected: Latency::new(),
            acked: 0,
            body_bytes: 0,
            last_ack_ns: window.start_ns,
            sent_in_all: 0,
            acked_in_all: 0,
            refusals: Refusals::default(),
            unknown_answers: 0,
            given_up: 0,
            cut_off: 0,
            closed: BTreeMap::new(),
            timeline: Timeline::new(began_ns),
        }
    }

    /// What went wrong so far.
    pub fn error_count(&self) -> u64 {
        self.refusals.total() + self.unknown_answers + self.cut_off + self.given_up
    }

    /// Adds that of another process of the same run. Exact, also the percentiles.
    pub fn merge(&mut self, other: SendTally) {
        self.corrected.merge(&other.corrected);
        self.uncorrected.merge(&other.uncorrected);
        self.acked += other.acked;
        self.body_bytes += other.body_bytes;
        self.last_ack_ns = self.last_ack_ns.max(other.last_ack_ns);
        self.sent_in_all += other.sent_in_all;
        self.acked_in_all += other.acked_in_all;
        self.refusals.merge(other.refusals);
        self.unknown_answers += other.unknown_answers;
        self.given_up += other.given_up;
        self.cut_off += other.cut_off;
        for (reason, count) in other.closed {
            *self.closed.entry(reason).or_default() += count;
        }
        self.timeline.merge(other.timeline);
    }

    /// A request with so many messages was stored.
    pub fn acknowledge(&mut self, slot: &Slot, count: u64, window: Window, now_ns: u64) {
        self.acked_in_all += count;
        if window.counts(slot.intended_ns, now_ns) {
            self.acked += count;
            self.body_bytes += slot.body_bytes;
            self.last_ack_ns = now_ns;
        }
        // A message belongs to the window it was meant for, however late its answer.
        if window.contains(slot.intended_ns) {
            self.corrected.record_many(now_ns - slot.intended_ns, count);
            self.uncorrected.record_many(now_ns - slot.sent_ns, count);
        }
    }
}
