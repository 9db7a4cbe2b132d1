//! `ringmq-bench compare`: several reports on one page.
//!
//! Runs of one scenario and name are put together: histograms are added up, other figures have a
//! minimum, a median and a maximum.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::arguments::Compare;
use crate::error::Error;
use crate::folder;
use crate::latency::Latency;
use crate::page::comparison;
use crate::report::{Report, write_file};

/// Bytes of a scenario's or a run's name: what fits a table's heading.
const NAME_BYTES_MAX: usize = 80;

/// Everything on the page, as it is written beside it.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub version: &'static str,
    pub title: String,
    pub scenarios: Vec<Scenario>,
}

/// Runs that did the same.
#[derive(Debug, Serialize)]
pub struct Scenario {
    /// Empty if none was given.
    pub name: String,
    pub subjects: Vec<Subject>,
}

/// Runs of one thing.
#[derive(Debug, Serialize)]
pub struct Subject {
    pub name: String,
    pub runs: Vec<String>,
    pub figures: Vec<Figure>,
    /// Of all its runs together.
    pub latency: Latency,
    /// The run whose rate is the median.
    #[serde(skip)]
    pub median: usize,
    #[serde(skip)]
    pub reports: Vec<(Report, Value)>,
}

/// One figure of a subject; absent where no run has it.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub min: Option<f64>,
    pub median: Option<f64>,
    pub max: Option<f64>,
}

/// Where a figure lies in a report: the first of these places that has a number.
struct Place {
    name: &'static str,
    places: &'static [&'static str],
}

/// The figure that the others are ordered by.
pub const RATE: &str = "messages_per_second";

const PLACES: [Place; 8] = [
    Place {
        name: RATE,
        places: &["/results/receive/messages_per_second", "/results/send/messages_per_second"],
    },
    Place { name: "goodput_per_second", places: &["/results/overload/goodput_per_second"] },
    Place { name: "cpu_seconds_per_million", places: &["/results/server/cpu_seconds_per_million"] },
    Place { name: "resident_bytes", places: &["/results/server/resident_bytes"] },
    Place { name: "busiest_share", places: &["/results/client/busiest_share"] },
    Place { name: "unanswered", places: &["/results/send/unanswered"] },
    Place { name: "given_up", places: &["/results/send/given_up"] },
    Place { name: "differences", places: &["/results/check/differences"] },
];

const LATENCIES: [(&str, f64); 4] =
    [("p50_us", 0.5), ("p99_us", 0.99), ("p99_9_us", 0.999), ("max_us", 1.0)];

/// Reads the reports and writes the page and its figures.
///
/// # Errors
/// [`Error::Read`], [`Error::Write`]
pub fn run(arguments: &Compare) -> Result<(), Error> {
    let mut loaded = Vec::new();
    for text in &arguments.runs {
        let named = Named::parse(text)
            .map_err(|reason| Error::Read { path: text.into(), reason: reason.to_owned() })?;
        let report = folder::read(Path::new(&named.directory))?;
        loaded.push((named, report));
    }
    let comparison = compare(arguments.title.clone(), loaded);
    let mut json = serde_json::to_string_pretty(&comparison).expect("names are text");
    json.push('\n');
    let value: Value = serde_json::from_str(&json).expect("it was just written");
    write_file(&arguments.report, comparison::html(&comparison, &value).as_bytes())?;
    write_file(&arguments.report.with_extension("json"), json.as_bytes())?;
    println!("{} reports on {}", arguments.runs.len(), arguments.report.display());
    Ok(())
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    scenario: String,
    name: String,
    directory: String,
}

impl Named {
    /// `DIR`, `NAME=DIR` or `SCENARIO/NAME=DIR`.
    fn parse(text: &str) -> Result<Named, &'static str> {
        let Some((label, directory)) = text.split_once('=') else {
            let last = Path::new(text).file_name().and_then(|name| name.to_str());
            let name = last.unwrap_or(text).to_owned();
            return Ok(Named { scenario: String::new(), name, directory: text.to_owned() });
        };
        let (scenario, name) = label.rsplit_once('/').unwrap_or(("", label));
        if name.is_empty() || label.len() > NAME_BYTES_MAX {
            return Err("a label is SCENARIO/NAME= or NAME= of at most 80 characters");
        }
        let (scenario, name) = (scenario.to_owned(), name.to_owned());
        Ok(Named { scenario, name, directory: directory.to_owned() })
    }
}

fn compare(title: String, loaded: Vec<(Named, (Report, Value))>) -> Comparison {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for (Named { scenario, name, directory }, report) in loaded {
        let at = scenarios.iter().position(|it| it.name == scenario).unwrap_or_else(|| {
            scenarios.push(Scenario { name: scenario, subjects: Vec::new() });
            scenarios.len() - 1
        });
        let subjects = &mut scenarios[at].subjects;
        let at = subjects.iter().position(|it| it.name == name).unwrap_or_else(|| {
            subjects.push(Subject::new(name));
            subjects.len() - 1
        });
        subjects[at].add(directory, report);
    }
    scenarios.iter_mut().flat_map(|it| &mut it.subjects).for_each(Subject::finish);
    Comparison { version: env!("CARGO_PKG_VERSION"), title, scenarios }
}

impl Subject {
    fn new(name: String) -> Subject {
        let (runs, figures, reports) = (Vec::new(), Vec::new(), Vec::new());
        Subject { name, runs, figures, latency: Latency::new(), median: 0, reports }
    }

    fn add(&mut self, directory: String, report: (Report, Value)) {
        self.latency.merge(report.0.distribution.main());
        self.runs.push(directory);
        self.reports.push(report);
    }

    fn finish(&mut self) {
        let jsons = || self.reports.iter().map(|(_, json)| json);
        let first = |json: &Value, places: &[&str]| {
            places.iter().find_map(|place| json.pointer(place).and_then(Value::as_f64))
        };
        let of_place = |it: &Place| {
            Figure::of(it.name, jsons().filter_map(|json| first(json, it.places)).collect())
        };
        let of_latency = |(name, quantile): (&'static str, f64)| {
            let latencies = self.reports.iter().map(|(report, _)| {
                report.distribution.main().total().value_at_quantile(quantile) as f64 / 1000.0
            });
            Figure::of(name, latencies.collect())
        };
        let [rate, rest @ ..] = &PLACES;
        let figures = [of_place(rate)].into_iter().chain(LATENCIES.map(of_latency));
        let figures: Vec<Figure> = figures.chain(rest.iter().map(of_place)).collect();
        let rates = jsons().map(|json| first(json, rate.places).unwrap_or(0.0));
        let mut rates: Vec<(f64, usize)> = rates.zip(0..).collect();
        rates.sort_by(|one, other| one.0.total_cmp(&other.0));
        self.median = rates.get((rates.len() - 1) / 2).map_or(0, |(_, index)| *index);
        self.figures = figures;
    }
}

impl Figure {
    fn of(name: &'static str, mut values: Vec<f64>) -> Figure {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        };
        Figure { name, min: values.first().copied(), median, max: values.last().copied() }
    }
}

/// A comparison of two subjects, of which the first has two runs, for tests.
#[cfg(test)]
pub fn example() -> Comparison {
    let one = |label: &str, rate: f64| {
        let mut report = crate::report::example("busy");
        report.results.send.as_mut().expect("it sends").messages_per_second = rate;
        let json = serde_json::from_str(&report.json()).expect("JSON");
        (Named::parse(&format!("{label}=somewhere")).expect("a label"), (report, json))
    };
    let all = vec![one("send/<ours>", 100.0), one("send/theirs", 50.0), one("send/<ours>", 200.0)];
    compare("Ours & theirs".to_owned(), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_say_scenario_and_name() {
        let parse = |text: &str| {
            Named::parse(text).map(|it| [it.scenario, it.name, it.directory]).map_err(|_| ())
        };
        let expect = |parts: [&str; 3]| Ok(parts.map(str::to_owned));
        assert_eq!(parse("a/b"), expect(["", "b", "a/b"]));
        assert_eq!(parse("x=a/b"), expect(["", "x", "a/b"]));
        assert_eq!(parse("s/x=a=b"), expect(["s", "x", "a=b"]));
        assert_eq!(parse("=a"), Err(()));
        assert_eq!(parse(&format!("{}=a", "x".repeat(81))), Err(()));
    }

    #[test]
    fn runs_of_one_name_are_put_together() {
        let comparison = example();
        let [scenario] = &comparison.scenarios[..] else { panic!("one scenario") };
        let [ours, theirs] = &scenario.subjects[..] else { panic!("two subjects") };
        assert_eq!((ours.reports.len(), theirs.reports.len()), (2, 1));
        let rate = &ours.figures[0];
        assert_eq!((rate.min, rate.median, rate.max), (Some(100.0), Some(150.0), Some(200.0)));
        assert_eq!(ours.latency.total().len(), 2 * theirs.latency.total().len());
        let none = ours.figures.iter().find(|it| it.name == "differences").expect("listed");
        assert_eq!(none.median, None);
    }
}
