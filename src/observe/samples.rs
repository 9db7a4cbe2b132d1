//! Samples: what a core had counted some time ago, so that it can tell rates.
//! Owns: counters as they were at some moments of the last minute, hour and day, and at the last two
//! midnights.
//! Lives on: every core
//! Kind: machine
//! Invariants:
//!   it is called twice a second and samples every ten seconds: a message costs nothing
//!   what was counted over a time goes up to now, not up to the last sample
//!
//! Source: StatsItem (minute, hour, day), StoreStatsService (10 s, 60 s, 600 s) and BrokerStats (midnights)
//! of 5.3.3.

use std::collections::VecDeque;

use super::figures::Traffic;

/// A time that was counted over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// The last minute.
    Minute,
    /// The last hour.
    Hour,
    /// The last day.
    Day,
}

impl Span {
    /// In the order of their samples.
    pub const ALL: [Span; 3] = [Span::Minute, Span::Hour, Span::Day];

    /// How often it is sampled, ms, and where its samples lie (`StatsItem` keeps one more, which here is now).
    const fn cycle(self) -> (u64, usize, usize) {
        match self {
            Span::Minute => (10_000, 0, 6),
            Span::Hour => (600_000, 6, 6),
            Span::Day => (3_600_000, 12, 24),
        }
    }
}

/// Samples of one counter: 576 bytes, so that a core that counts as much as it may keeps 9 MiB.
const PLACES: usize = 36;

type Past = [Traffic; PLACES];

/// Samples of the totals: of ten minutes, and one before.
const TOTALS_MAX: usize = 62;

/// The times over which the totals' rates are told, ms.
pub const RATES_MS: [u64; 3] = [10_000, 60_000, 600_000];

/// What was counted over a time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Course {
    /// Messages and their bytes.
    pub traffic: Traffic,
    /// How long that took, ms.
    pub took_ms: u64,
}

/// Everything that a core counted, together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Messages that came in.
    pub put: Traffic,
    /// Those of topics that are not the broker's own.
    pub put_by_users: u64,
    /// Messages that pulls were answered with.
    pub got: Traffic,
    /// Those of topics that are not the broker's own.
    pub got_by_users: u64,
    /// Pulls that were answered with messages.
    pub pulls_found: u64,
    /// Pulls that were answered without.
    pub pulls_missed: u64,
    /// Messages that began to wait for a time of their own.
    pub timers_in: u64,
    /// Those whose time came.
    pub timers_out: u64,
}

/// How much the totals grew over a time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Growth {
    /// At its beginning.
    pub from: Totals,
    /// How long it took, ms.
    pub took_ms: u64,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Samples {
    at_ms: [u64; PLACES],
    /// Samples taken, of each span. The first is of the start, when nothing was counted.
    taken: [u64; Span::ALL.len()],
    topics: Vec<Past>,
    consumers: Vec<Past>,
    totals: VecDeque<(u64, Totals)>,
    /// At the last midnight, and at the one before.
    midnights: [Totals; 2],
    hour: u8,
}

/// What has samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counter {
    /// What came in for the topic of this slot.
    Topic(usize),
    /// What a group pulled from a topic, by their number.
    Consumer(usize),
}

impl Samples {
    /// Nothing is counted yet.
    pub fn new(now_ms: u64) -> Samples {
        Samples {
            at_ms: [now_ms; PLACES],
            taken: [1; Span::ALL.len()],
            topics: Vec::new(),
            consumers: Vec::new(),
            totals: VecDeque::from([(now_ms, Totals::default())]),
            midnights: [Totals::default(); 2],
            hour: 0,
        }
    }

    /// Whether it is time to sample. `hour` is that of the day, local time.
    pub fn is_due(&self, now_ms: u64, hour: u8) -> bool {
        let (_, last) = self.last(Span::Minute);
        now_ms.saturating_sub(last) >= Span::Minute.cycle().0 || hour != self.hour
    }

    /// Keeps what is counted by now, where it is time.
    pub fn sample(
        &mut self,
        now_ms: u64,
        hour: u8,
        totals: Totals,
        topics: impl ExactSizeIterator<Item = Traffic> + Clone,
        consumers: impl ExactSizeIterator<Item = Traffic> + Clone,
    ) {
        // Midnight is past; a clock that is set back by an hour is not.
        if self.hour > hour && self.hour - hour > 12 {
            self.midnights = [totals, self.midnights[0]];
        }
        self.hour = hour;
        if self.totals.back().is_none_or(|(at_ms, _)| now_ms >= at_ms + RATES_MS[0]) {
            self.totals.push_back((now_ms, totals));
            if self.totals.len() > TOTALS_MAX {
                self.totals.pop_front();
            }
        }
        self.topics.resize(self.topics.len().max(topics.len()), [Traffic::default(); PLACES]);
        self.consumers
            .resize(self.consumers.len().max(consumers.len()), [Traffic::default(); PLACES]);
        for span in Span::ALL {
            let (period_ms, first, count) = span.cycle();
            let (_, last_ms) = self.last(span);
            if now_ms.saturating_sub(last_ms) < period_ms {
                continue;
            }
            let taken = &mut self.taken[span as usize];
            let place = first + (*taken % count as u64) as usize;
            *taken += 1;
            self.at_ms[place] = now_ms;
            self.topics.iter_mut().zip(topics.clone()).for_each(|(past, now)| past[place] = now);
            let consumers = consumers.clone();
            self.consumers.iter_mut().zip(consumers).for_each(|(past, now)| past[place] = now);
        }
    }

    /// Place and time of a span's last sample.
    fn last(&self, span: Span) -> (usize, u64) {
        let (_, first, count) = span.cycle();
        let place = first + ((self.taken[span as usize] - 1) % count as u64) as usize;
        (place, self.at_ms[place])
    }

    /// What was counted over a span, up to `value` now.
    pub fn over(&self, now_ms: u64, span: Span, counter: Counter, value: Traffic) -> Course {
        let (_, first, count) = span.cycle();
        let taken = self.taken[span as usize];
        let oldest = if taken <= count as u64 { 0 } else { taken % count as u64 };
        let place = first + oldest as usize;
        let past = match counter {
            Counter::Topic(slot) => self.topics.get(slot),
            Counter::Consumer(number) => self.consumers.get(number),
        };
        let before = past.map_or(Traffic::default(), |past| past[place]);
        let traffic = Traffic {
            messages: value.messages.saturating_sub(before.messages),
            bytes: value.bytes.saturating_sub(before.bytes),
        };
        Course { traffic, took_ms: now_ms.saturating_sub(self.at_ms[place]) }
    }

    /// The totals at the beginning of each of [`RATES_MS`], as far back as they are known.
    pub fn growth(&self, now_ms: u64) -> [Growth; RATES_MS.len()] {
        RATES_MS.map(|rate_ms| {
            let mut old = self.totals.iter().rev();
            let found = old.find(|(at_ms, _)| at_ms + rate_ms <= now_ms);
            let first = found.or_else(|| self.totals.front());
            let (at_ms, from) = first.copied().unwrap_or((now_ms, Totals::default()));
            Growth { from, took_ms: now_ms.saturating_sub(at_ms) }
        })
    }

    /// The totals at the last midnight, and at the one before; none if it started later.
    pub fn midnights(&self) -> [Totals; 2] {
        self.midnights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(messages: u64) -> Traffic {
        Traffic { messages, bytes: messages * 100 }
    }

    fn totals(messages: u64) -> Totals {
        Totals { put: traffic(messages), ..Totals::default() }
    }

    /// One message a second, looked at twice a second, for some time.
    fn counted(from_ms: u64, for_ms: u64) -> Samples {
        let mut samples = Samples::new(from_ms);
        for now_ms in (from_ms..=from_ms + for_ms).step_by(500) {
            let count = (now_ms - from_ms) / 1000;
            if samples.is_due(now_ms, 12) {
                let all = [traffic(count)];
                samples.sample(now_ms, 12, totals(count), all.into_iter(), all.into_iter());
            }
        }
        samples
    }

    #[test]
    fn a_span_is_as_long_as_it_says_once_there_was_so_much() {
        for (for_s, expect_s) in
            [(5, [5, 5, 5]), (300, [60, 300, 300]), (90_000, [60, 3600, 86_400])]
        {
            let samples = counted(7_000, for_s * 1000);
            let now_ms = 7_000 + for_s * 1000;
            for (span, expect_s) in Span::ALL.into_iter().zip(expect_s) {
                let course = samples.over(now_ms, span, Counter::Topic(0), traffic(for_s));
                let (period_ms, ..) = span.cycle();
                let seconds = course.took_ms / 1000;
                assert!(
                    seconds <= expect_s && seconds + period_ms / 1000 >= expect_s,
                    "{course:?}"
                );
                assert_eq!(course.traffic.messages, seconds, "one a second");
                assert_eq!(course.traffic.bytes, 100 * seconds);
            }
        }
    }

    #[test]
    fn what_came_after_the_last_sample_counts_at_once() {
        let samples = Samples::new(1_000);
        let course = samples.over(1_000, Span::Minute, Counter::Consumer(9), traffic(3));
        assert_eq!((course.traffic.messages, course.took_ms), (3, 0));
    }

    #[test]
    fn rates_are_over_ten_seconds_a_minute_and_ten_minutes() {
        let took = |for_s: u64| counted(0, for_s * 1000).growth(for_s * 1000).map(|it| it.took_ms);
        assert_eq!(took(4), [4_000; 3]);
        let [short, minute, long] = took(2_000);
        assert!((10_000..20_000).contains(&short));
        assert!((60_000..70_000).contains(&minute));
        assert!((600_000..=610_000).contains(&long));
    }

    #[test]
    fn midnight_is_when_the_hour_falls_by_more_than_a_clock_is_set_back() {
        let mut samples = Samples::new(0);
        let mut at = |hour, count| {
            assert!(samples.is_due(count, hour));
            samples.sample(count, hour, totals(count), [].into_iter(), [].into_iter());
            samples.midnights().map(|it| it.put.messages)
        };
        assert_eq!(at(3, 1), [0, 0]);
        assert_eq!(at(2, 2), [0, 0], "set back");
        assert_eq!(at(23, 3), [0, 0]);
        assert_eq!(at(0, 4), [4, 0]);
        assert_eq!(at(23, 5), [4, 0]);
        assert_eq!(at(0, 6), [6, 4]);
    }
}
