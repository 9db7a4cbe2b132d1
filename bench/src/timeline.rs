//! How a run went: messages, errors and latencies of each second.
//! Kind: machine
//! Invariants: the slots are equally long and begin with the run; a run of any length fits their number.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::SECOND_NS;
use crate::latency::{decode, encode};

/// Slots that are kept; a longer run has longer ones. As many as a chart has points to show, and
/// 13 MiB of histograms.
const SLOTS_MAX: usize = 600;

/// Digits that a latency keeps here: a chart shows no more.
const DIGITS: u8 = 2;

const LEAST_NS: u64 = 1000;
const GREATEST_NS: u64 = 100_000_000_000;

/// Slots from the start of a run on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Text", try_from = "Text")]
pub struct Timeline {
    began_ns: u64,
    slot_ns: u64,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone)]
struct Slot {
    messages: u64,
    errors: u64,
    latencies: Histogram<u64>,
}

/// What a report says of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its end, in seconds since the run began.
    pub end_seconds: f64,
    pub messages_per_second: f64,
    pub errors: u64,
    /// Of the messages that were answered or received in it; 0 if there were none.
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// The slots of a timeline that two processes exchange.
#[derive(Serialize, Deserialize)]
struct Text {
    began_ns: u64,
    slot_ns: u64,
    slots: Vec<(u64, u64, String)>,
}

impl Slot {
    fn new() -> Slot {
        let latencies = Histogram::new_with_bounds(LEAST_NS, GREATEST_NS, DIGITS);
        let latencies = latencies.expect("the bounds are constants in order");
        Slot { messages: 0, errors: 0, latencies }
    }

    fn add(&mut self, messages: u64, errors: u64, latencies: &Histogram<u64>) {
        self.messages += messages;
        self.errors += errors;
        for step in latencies.iter_recorded() {
            let count = step.count_since_last_iteration();
            self.latencies.saturating_record_n(step.value_iterated_to(), count);
        }
    }
}

impl Timeline {
    /// Of a run that begins at `began_ns`, monotonic.
    pub fn new(began_ns: u64) -> Timeline {
        Timeline { began_ns, slot_ns: SECOND_NS, slots: Vec::new() }
    }

    /// Counts what came about since the last call; it belongs to the slot that `now_ns` ends.
    pub fn add(&mut self, now_ns: u64, messages: u64, errors: u64, latencies: &Histogram<u64>) {
        let index = self.slot_before(now_ns);
        self.slots[index].add(messages, errors, latencies);
    }

    /// The slot that ends at `now_ns`, or about then: a call comes at the second or soon behind it.
    fn slot_before(&mut self, now_ns: u64) -> usize {
        loop {
            let since_ns = now_ns.saturating_sub(self.began_ns).max(1);
            let late_ns = SECOND_NS / 2;
            let index = (since_ns.saturating_sub(late_ns) / self.slot_ns) as usize;
            if index < SLOTS_MAX {
                if self.slots.len() <= index {
                    self.slots.resize_with(index + 1, Slot::new);
                }
                return index;
            }
            self.halve();
        }
    }

    /// Makes slots twice as long.
    fn halve(&mut self) {
        self.slot_ns *= 2;
        let old = std::mem::take(&mut self.slots);
        for (index, slot) in old.into_iter().enumerate() {
            if index % 2 == 0 {
                self.slots.push(slot);
            } else {
                let last = self.slots.last_mut().expect("one was pushed before");
                last.add(slot.messages, slot.errors, &slot.latencies);
            }
        }
    }

    /// Adds that of another process, which began at the same time.
    pub fn merge(&mut self, mut other: Timeline) {
        while self.slot_ns < other.slot_ns {
            self.halve();
        }
        while other.slot_ns < self.slot_ns {
            other.halve();
        }
        if self.slots.len() < other.slots.len() {
            self.slots.resize_with(other.slots.len(), Slot::new);
        }
        for (mine, slot) in self.slots.iter_mut().zip(&other.slots) {
            mine.add(slot.messages, slot.errors, &slot.latencies);
        }
    }

    /// What the report says.
    pub fn points(&self) -> Vec<Point> {
        let seconds = self.slot_ns as f64 / SECOND_NS as f64;
        let point = |(index, slot): (usize, &Slot)| {
            let us = |ns: u64| ns as f64 / 1000.0;
            Point {
                end_seconds: (index + 1) as f64 * seconds,
                messages_per_second: slot.messages as f64 / seconds,
                errors: slot.errors,
                p50_us: us(slot.latencies.value_at_quantile(0.5)),
                p99_us: us(slot.latencies.value_at_quantile(0.99)),
                max_us: us(slot.latencies.max()),
            }
        };
        self.slots.iter().enumerate().map(point).collect()
    }
}

impl From<Timeline> for Text {
    fn from(timeline: Timeline) -> Text {
        let Timeline { began_ns, slot_ns, slots } = timeline;
        let text = |slot: &Slot| (slot.messages, slot.errors, encode(&slot.latencies));
        Text { began_ns, slot_ns, slots: slots.iter().map(text).collect() }
    }
}

impl TryFrom<Text> for Timeline {
    type Error = String;

    fn try_from(text: Text) -> Result<Timeline, String> {
        let Text { began_ns, slot_ns, slots } = text;
        if slots.len() > SLOTS_MAX || slot_ns == 0 {
            return Err(format!("a timeline with {} slots of {slot_ns} ns", slots.len()));
        }
        let slot = |(messages, errors, latencies): (u64, u64, String)| {
            let mut slot = Slot::new();
            slot.add(messages, errors, &decode(&latencies)?);
            Ok::<Slot, String>(slot)
        };
        let slots = slots.into_iter().map(slot).collect::<Result<_, _>>()?;
        Ok(Timeline { began_ns, slot_ns, slots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(values: &[u64]) -> Histogram<u64> {
        let mut histogram = Slot::new().latencies;
        values.iter().for_each(|value| histogram.saturating_record(*value));
        histogram
    }

    #[test]
    fn a_second_is_a_slot_even_if_told_late() {
        let mut timeline = Timeline::new(5 * SECOND_NS);
        timeline.add(6 * SECOND_NS, 10, 0, &latencies(&[1_000_000; 10]));
        timeline.add(7 * SECOND_NS + 3000, 20, 1, &latencies(&[2_000_000; 20]));
        timeline.add(9 * SECOND_NS + 100_000_000, 5, 0, &latencies(&[]));
        let points = timeline.points();
        let rates: Vec<f64> = points.iter().map(|point| point.messages_per_second).collect();
        assert_eq!(rates, [10.0, 20.0, 0.0, 5.0]);
        assert_eq!((points[1].errors, points[1].end_seconds), (1, 2.0));
        assert!((points[1].p50_us - 2000.0).abs() < 20.0);
        assert_eq!(points[3].p99_us, 0.0);
    }

    #[test]
    fn any_length_fits_and_nothing_is_forgotten() {
        let mut timeline = Timeline::new(0);
        for second in 1..=5000 {
            timeline.add(second * SECOND_NS, 3, 1, &latencies(&[5000]));
        }
        let points = timeline.points();
        assert!(points.len() <= SLOTS_MAX);
        assert_eq!(points.iter().map(|point| point.errors).sum::<u64>(), 5000);
        assert!(points.iter().take(100).all(|point| point.messages_per_second == 3.0));
    }

    #[test]
    fn processes_add_up_in_text_form() {
        let mut one = Timeline::new(0);
        let mut other = Timeline::new(0);
        one.add(SECOND_NS, 10, 0, &latencies(&[1_000_000; 10]));
        other.add(SECOND_NS, 30, 2, &latencies(&[9_000_000; 30]));
        other.add(2 * SECOND_NS, 1, 0, &latencies(&[]));
        let text = serde_json::to_string(&other).expect("a text");
        one.merge(serde_json::from_str(&text).expect("a timeline"));
        let points = one.points();
        assert_eq!(points.len(), 2);
        assert_eq!((points[0].messages_per_second, points[0].errors), (40.0, 2));
        assert!((points[0].p50_us - 9000.0).abs() < 90.0);
    }
}
