//! Latencies: corrected for coordinated omission, and as a client that waits would see them.
//!
//! In an open loop every message has a time at which it should be sent. Corrected latency counts
//! from then, so that a stall is seen by all messages it delays, not only by those that were lucky
//! enough to be sent before it; uncorrected latency counts from the moment the message was sent.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// The least latency told apart from another; 64 ns, the power of two below, is its step.
const LEAST_NS: u64 = 100;

/// The greatest latency; what is above counts as this. No run waits longer for an answer.
const GREATEST_NS: u64 = 100_000_000_000;

/// Digits that a value keeps: an error of at most 0.1 %.
const DIGITS: u8 = 3;

/// Lines of an .hgrm file for each halving of the distance to 100 %, as HdrHistogram's tools write.
const TICKS_PER_HALF: u32 = 5;

/// A histogram that is collected in intervals. Its text form is what HdrHistogram's tools exchange:
/// V2, deflated, in base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Latency {
    total: Histogram<u64>,
    interval: Histogram<u64>,
}

impl Latency {
    /// Nothing so far.
    pub fn new() -> Latency {
        let empty = Histogram::new_with_bounds(LEAST_NS, GREATEST_NS, DIGITS)
            .expect("the bounds are constants in order");
        Latency { total: empty.clone(), interval: empty }
    }

    /// Counts one latency.
    pub fn record(&mut self, latency_ns: u64) {
        self.interval.saturating_record(latency_ns);
    }

    /// Counts the latency of as many messages.
    pub fn record_many(&mut self, latency_ns: u64, count: u64) {
        self.interval.saturating_record_n(latency_ns, count);
    }

    /// What was recorded since the last interval ended, in ns.
    pub fn interval(&self) -> &Histogram<u64> {
        &self.interval
    }

    /// What was recorded until the last interval ended, in ns.
    pub fn total(&self) -> &Histogram<u64> {
        &self.total
    }

    /// Ends an interval and returns its 99th percentile in ns, 0 if it was empty.
    pub fn end_interval(&mut self) -> u64 {
        let p99_ns = self.interval.value_at_quantile(0.99);
        self.total.add(&self.interval).expect("both have the same bounds");
        self.interval.reset();
        p99_ns
    }

    /// Adds what another process or run found. Exact: both have the same buckets.
    pub fn merge(&mut self, other: &Latency) {
        self.total.add(&other.total).expect("both have the same bounds");
        self.interval.add(&other.interval).expect("both have the same bounds");
    }

    /// The figures of all intervals that ended.
    pub fn summary(&self) -> Summary {
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile: f64| us(self.total.value_at_quantile(quantile));
        Summary {
            count: self.total.len(),
            mean_us: self.total.mean() / 1000.0,
            min_us: us(self.total.min()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            max_us: us(self.total.max()),
        }
    }

    /// Writes the percentile distribution in milliseconds, as HdrHistogram's
    /// `outputPercentileDistribution` does and its plotter reads.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_hgrm(&self, out: &mut impl Write) -> io::Result<()> {
        let ms = |ns: u64| ns as f64 / 1e6;
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut count = 0;
        for step in self.total.iter_quantiles(TICKS_PER_HALF) {
            count += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            write!(out, "{:>12.6} {quantile:>14.12} {count:>10}", ms(step.value_iterated_to()))?;
            if quantile < 1.0 {
                writeln!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
            } else {
                writeln!(out)?;
            }
        }
        let (mean, deviation) = (self.total.mean() / 1e6, self.total.stdev() / 1e6);
        writeln!(out, "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]")?;
        let (max, len) = (ms(self.total.max()), self.total.len());
        writeln!(out, "#[Max     = {max:>12.6}, Total count    = {len:>12}]")?;
        let sub_buckets = 2 * 10usize.pow(u32::from(DIGITS)).next_power_of_two();
        let buckets = self.total.distinct_values() / (sub_buckets / 2) - 1;
        writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]")
    }
}

impl From<Latency> for String {
    fn from(mut latency: Latency) -> String {
        latency.end_interval();
        encode(&latency.total)
    }
}

impl TryFrom<String> for Latency {
    type Error = String;

    fn try_from(text: String) -> Result<Latency, String> {
        let mut latency = Latency::new();
        let total = decode(&text)?;
        let (found, ours) = (&total, &latency.total);
        // Another shape would be resampled, and the sum no longer exact.
        if (found.low(), found.high(), found.sigfig()) != (ours.low(), ours.high(), ours.sigfig()) {
            return Err("a histogram with other bounds than this program's".to_owned());
        }
        latency.total.add(&total).map_err(|error| error.to_string())?;
        Ok(latency)
    }
}

/// A histogram in HdrHistogram's V2 form, deflated, in base64.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    written.expect("memory takes everything, and counts are below 2^63");
    STANDARD.encode(bytes)
}

/// The inverse of [`encode`].
///
/// # Errors
/// A text that is none of these, for people.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    Deserializer::new().deserialize(&mut &bytes[..]).map_err(|error| error.to_string())
}

/// The figures of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub p99_99_us: f64,
    pub max_us: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found_us: f64, expect_us: f64) {
        assert!(
            (found_us - expect_us).abs() <= expect_us * 0.001 + 0.064,
            "{found_us} {expect_us}"
        );
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latency = Latency::new();
        for us in 1..=10_000u64 {
            latency.record(us * 1000);
            if us % 3000 == 0 {
                close(latency.end_interval() as f64 / 1000.0, us as f64 - 30.0);
            }
        }
        latency.end_interval();
        let summary = latency.summary();
        assert_eq!(summary.count, 10_000);
        close(summary.min_us, 1.0);
        close(summary.p50_us, 5_000.0);
        close(summary.p90_us, 9_000.0);
        close(summary.p99_us, 9_900.0);
        close(summary.p99_9_us, 9_990.0);
        close(summary.p99_99_us, 9_999.0);
        close(summary.max_us, 10_000.0);
    }

    #[test]
    fn hgrm_has_the_columns_and_the_end_that_tools_read() {
        let mut latency = Latency::new();
        (1..=1000u64).for_each(|ms| latency.record(ms * 1_000_000));
        latency.end_interval();
        let mut out = Vec::new();
        latency.write_hgrm(&mut out).expect("memory");
        let text = String::from_utf8(out).expect("ASCII");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("1/(1-Percentile)"));
        assert_eq!(lines[1], "");
        let rows: Vec<Vec<f64>> = lines[2..]
            .iter()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|cell| cell.parse().expect("number")).collect())
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        let median = rows.iter().find(|row| row[1] >= 0.5).expect("a median");
        assert!((median[0] - 500.0).abs() < 1.0, "{median:?}");
        let last = rows.last().expect("rows");
        assert_eq!((last[1], last[2]), (1.0, 1000.0));
        assert!(text.contains("Total count    =         1000]"));
    }

    proptest! {
        #[test]
        fn merged_in_text_form_is_as_recorded_in_one(
            values in prop::collection::vec((1u64..200_000_000_000, 1u64..100, 0usize..4), 0..300),
        ) {
            let mut one = Latency::new();
            let mut parts = vec![Latency::new(); 4];
            for (value, count, part) in values {
                one.record_many(value, count);
                parts[part].record_many(value, count);
            }
            one.end_interval();
            let mut merged = Latency::new();
            for part in parts {
                let text = String::from(part);
                merged.merge(&Latency::try_from(text).expect("a histogram"));
            }
            prop_assert_eq!(merged.total(), one.total());
            prop_assert_eq!(merged.summary(), one.summary());
        }
    }

    #[test]
    fn what_is_no_histogram_of_ours_is_refused() {
        let other = Histogram::new_with_bounds(1, 1000, 2).expect("bounds");
        for text in ["", "!", "SEk=", &encode(&other)] {
            assert!(Latency::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_impossible_is_counted_as_the_greatest() {
        let mut latency = Latency::new();
        latency.record(u64::MAX);
        latency.end_interval();
        assert_eq!(latency.summary().count, 1);
        assert!(latency.summary().max_us >= 100e6);
    }
}
