//! The charts of a run: which numbers they show of a histogram and of a timeline.

use hdrhistogram::Histogram;

use super::chart::{Axis, Chart, Mark, Scale, Series};
use super::html::Unit;
use crate::timeline::Point;

/// Bars for each power of ten of a latency.
const BARS_PER_DECADE: i32 = 10;

/// Points of a percentile curve for each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 5;

/// Latencies of one thing, in ns.
pub struct Latencies<'a> {
    pub name: String,
    pub histogram: &'a Histogram<u64>,
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn range_ms(all: &[Latencies<'_>]) -> (f64, f64) {
    let some = || all.iter().filter(|it| !it.histogram.is_empty());
    let least = some().map(|it| ms(it.histogram.min())).fold(f64::INFINITY, f64::min);
    let greatest = some().map(|it| ms(it.histogram.max())).fold(0.0, f64::max);
    if least.is_finite() { (least.max(0.001), greatest) } else { (0.1, 1.0) }
}

/// How many messages had which latency: bars for one thing, lines for several.
pub fn histogram(id: &str, of: &str, all: &[Latencies<'_>]) -> Chart {
    let (least, greatest) = range_ms(all);
    let from = (least.log10() * f64::from(BARS_PER_DECADE)).floor() as i32;
    let to = (greatest.log10() * f64::from(BARS_PER_DECADE)).floor() as i32 + 1;
    let edge = |step: i32| 10f64.powf(f64::from(step) / f64::from(BARS_PER_DECADE));
    let mark = if all.len() == 1 { Mark::Bars } else { Mark::Line };
    let series: Vec<Series> = all
        .iter()
        .map(|Latencies { name, histogram }| {
            let mut counts = vec![0u64; (to - from) as usize + 1];
            for step in histogram.iter_recorded() {
                let value = ms(step.value_iterated_to());
                let index = (value.log10() * f64::from(BARS_PER_DECADE)).floor() as i32 - from;
                let index = index.clamp(0, to - from) as usize;
                counts[index] += step.count_since_last_iteration();
            }
            let total = histogram.len().max(1) as f64;
            let point = |(index, count): (usize, &u64)| {
                (edge(from + index as i32), *count as f64 / total * 100.0)
            };
            Series {
                name: name.clone(),
                mark,
                points: counts.iter().enumerate().map(point).collect(),
            }
        })
        .collect();
    let highest = series.iter().flat_map(|it| &it.points).map(|(_, y)| *y).fold(0.0, f64::max);
    Chart {
        id: id.to_owned(),
        title: "Distribution of latencies".to_owned(),
        description: format!("Latency {of}. {} Logarithmic from left to right.", summary(all)),
        x: Axis::decades("ms", edge(from), edge(to)),
        y: Axis::from_zero("% of messages", highest),
        series,
        shade: None,
    }
}

/// Latency by percentile: to the right each step is a tenth of the rest.
pub fn percentiles(id: &str, of: &str, all: &[Latencies<'_>]) -> Chart {
    let longest = all.iter().map(|it| it.histogram.len()).max().unwrap_or(0).max(10) as f64;
    let decades = longest.log10().ceil().clamp(1.0, 9.0) as i32;
    let x_max = 10f64.powi(decades);
    let curve = |Latencies { name, histogram }: &Latencies<'_>| {
        let mut points = Vec::new();
        let end = (histogram.len().max(1) as f64).min(x_max);
        for step in histogram.iter_quantiles(TICKS_PER_HALF) {
            let rest = 1.0 - step.quantile_iterated_to();
            let x = if rest > 0.0 { (1.0 / rest).min(end) } else { end };
            points.push((x, ms(step.value_iterated_to())));
        }
        Series { name: name.clone(), mark: Mark::Line, points }
    };
    let tick = |decade: i32| {
        let text = match decade {
            0 => "0".to_owned(),
            1 => "90".to_owned(),
            2 => "99".to_owned(),
            // Where they are many and long, every second one has room.
            4.. if decades > 5 && (decades - decade) % 2 == 1 => String::new(),
            _ => format!("99.{}", "9".repeat(decade as usize - 2)),
        };
        (10f64.powi(decade), text)
    };
    let (least, greatest) = range_ms(all);
    Chart {
        id: id.to_owned(),
        title: format!("Latency {of} by percentile"),
        description: format!("{} Both axes are logarithmic.", summary(all)),
        x: Axis {
            label: "percentile, %".to_owned(),
            scale: Scale::Log,
            min: 1.0,
            max: x_max,
            ticks: (0..=decades).map(tick).collect(),
        },
        y: Axis::decades("ms", least, greatest),
        series: all.iter().map(curve).collect(),
        shade: None,
    }
}

fn summary(all: &[Latencies<'_>]) -> String {
    let of_one = |Latencies { name, histogram }: &Latencies<'_>| {
        let at = |quantile: f64| Unit::Ms.show(histogram.value_at_quantile(quantile) as f64 / 1e3);
        format!(
            "{name}: half of {} messages within {} ms, 99 % within {} ms, 99.9 % within {} ms, all \
             within {} ms.",
            Unit::Count.show(histogram.len() as f64),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        )
    };
    all.iter().map(of_one).collect::<Vec<_>>().join(" ")
}

/// The timeline of one thing, in seconds since its run began.
pub struct Times<'a> {
    pub name: String,
    pub warm_up_seconds: f64,
    pub points: &'a [Point],
}

/// Messages a second, from the start of the runs.
pub fn throughput(id: &str, all: &[Times<'_>]) -> Chart {
    over_time(id, all, "Throughput over time", "messages/s", |point| {
        Some(point.messages_per_second)
    })
}

/// The 99th percentile of each second.
pub fn latency_over_time(id: &str, all: &[Times<'_>]) -> Chart {
    // Nothing is measured while the run warms up.
    let ms = |point: &Point| (point.p99_us > 0.0).then_some(point.p99_us / 1000.0);
    over_time(id, all, "99th percentile over time", "ms", ms)
}

fn over_time(
    id: &str,
    all: &[Times<'_>],
    title: &str,
    unit: &str,
    value: impl Fn(&Point) -> Option<f64>,
) -> Chart {
    let line = |times: &Times<'_>| Series {
        name: times.name.clone(),
        mark: Mark::Line,
        points: times.points.iter().filter_map(|it| Some((it.end_seconds, value(it)?))).collect(),
    };
    let series: Vec<Series> = all.iter().map(line).collect();
    let points = || series.iter().flat_map(|it| &it.points);
    let (right, top) =
        points().fold((0.0f64, 0.0f64), |max, it| (max.0.max(it.0), max.1.max(it.1)));
    let of_one = |series: &Series| {
        let values = || series.points.iter().map(|(_, y)| *y);
        let least = values().fold(f64::INFINITY, f64::min);
        let greatest = values().fold(0.0, f64::max);
        if least.is_finite() {
            format!("{}: from {least:.3} to {greatest:.3} {unit}.", series.name)
        } else {
            format!("{}: nothing.", series.name)
        }
    };
    let warm_up = all.iter().map(|times| times.warm_up_seconds).fold(0.0, f64::max);
    Chart {
        id: id.to_owned(),
        title: title.to_owned(),
        description: series.iter().map(of_one).collect::<Vec<_>>().join(" "),
        x: Axis { max: right.max(1.0), ..Axis::from_zero("seconds", right) }.without_beyond(),
        y: Axis::from_zero(unit, top),
        series,
        shade: (warm_up > 0.0).then(|| (0.0, warm_up, "warm-up".to_owned())),
    }
}

impl Axis {
    /// Without the ticks that lie behind its end.
    fn without_beyond(mut self) -> Axis {
        self.ticks.retain(|(tick, _)| *tick <= self.max);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latency;

    fn latency(values: impl Iterator<Item = u64>) -> Latency {
        let mut latency = Latency::new();
        values.for_each(|value| latency.record(value));
        latency.end_interval();
        latency
    }

    #[test]
    fn bars_hold_all_messages() {
        let latency = latency((1..=1000).map(|ms| ms * 1_000_000));
        let all = [Latencies { name: "x".to_owned(), histogram: latency.total() }];
        let chart = histogram("h", "of x", &all);
        let sum: f64 = chart.series[0].points.iter().map(|(_, share)| share).sum();
        assert!((sum - 100.0).abs() < 1e-6, "{sum}");
    }

    #[test]
    fn the_curve_rises_to_the_greatest() {
        let latency = latency((1..=10_000).map(|us| us * 1000));
        let all = [Latencies { name: "x".to_owned(), histogram: latency.total() }];
        let chart = percentiles("p", "of x", &all);
        let points = &chart.series[0].points;
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        let last = points.last().expect("points");
        assert_eq!(last.0, 10_000.0);
        assert!((last.1 - 10.0).abs() < 0.02, "{last:?}");
        let labels: Vec<&str> = chart.x.ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(labels, ["0", "90", "99", "99.9", "99.99"]);
    }

    #[test]
    fn nothing_measured_is_drawn_as_nothing() {
        let latency = Latency::new();
        let all = || [Latencies { name: "x".to_owned(), histogram: latency.total() }];
        let times = [Times { name: "x".to_owned(), warm_up_seconds: 0.0, points: &[] }];
        for chart in
            [histogram("a", "", &all()), percentiles("b", "", &all()), throughput("c", &times)]
        {
            let html = chart.html();
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }
}
