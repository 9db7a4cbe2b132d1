//! The page of several runs beside each other.

use serde_json::Value;

use super::html::{Unit, escape, number, page};
use super::plots::{self, Latencies, Times};
use super::run;
use crate::compare::{Comparison, RATE, Scenario, Subject};
use crate::usage::Machine;

/// Headings of figures by their name in the JSON, in the order in which they are shown.
const FIGURES: [(&str, &str, Unit); 12] = [
    (RATE, "messages/s", Unit::Count),
    ("goodput_per_second", "goodput, messages/s", Unit::Count),
    ("p50_us", "latency: 50 % within, ms", Unit::Ms),
    ("p99_us", "99 % within, ms", Unit::Ms),
    ("p99_9_us", "99.9 % within, ms", Unit::Ms),
    ("max_us", "greatest, ms", Unit::Ms),
    ("cpu_seconds_per_million", "server: CPU s a million messages", Unit::Thousandths),
    ("resident_bytes", "server: resident, MiB", Unit::Mib),
    ("busiest_share", "generator: % of a core", Unit::Percent),
    ("unanswered", "unanswered messages", Unit::Count),
    ("given_up", "messages given up", Unit::Count),
    ("differences", "differences", Unit::Count),
];

/// The whole page. `json` is the comparison as it is written beside it.
pub fn html(comparison: &Comparison, json: &Value) -> String {
    let mut body = format!("<h1>{}</h1>\n", escape(&comparison.title));
    body += "<p class=\"sub\">Minimum / median / maximum where there are several runs.</p>\n";
    body += &machines(comparison);
    for (index, scenario) in comparison.scenarios.iter().enumerate() {
        let name = if scenario.name.is_empty() { "Figures" } else { scenario.name.as_str() };
        body += &format!("<h2>{}</h2>\n", escape(name));
        body += &notes(scenario);
        body += &table(scenario, json, index);
        body += &charts(scenario, index);
        body += &settings(scenario);
    }
    page(&comparison.title, &body)
}

fn subjects(comparison: &Comparison) -> impl Iterator<Item = &Subject> {
    comparison.scenarios.iter().flat_map(|scenario| &scenario.subjects)
}

fn machines(comparison: &Comparison) -> String {
    let mut reports = subjects(comparison).flat_map(|subject| &subject.reports);
    let Some((first, json)) = reports.next() else { return String::new() };
    let mut out = run::machine(json);
    // Not every run is told where the store lies.
    let bare = |machine: &Machine| Machine { file_system: None, ..machine.clone() };
    if reports.any(|(report, _)| bare(&report.machine) != bare(&first.machine)) {
        out += "<p class=\"note\">The runs are of different machines: this one is that of the first.</p>\n";
    }
    out
}

/// What has to be known to believe the figures, once for each subject.
fn notes(scenario: &Scenario) -> String {
    let mut out = String::new();
    for subject in &scenario.subjects {
        let report = &subject.reports[subject.median].0;
        for note in &report.results.notes {
            let text = format!("{}: {note}", subject.name);
            out += &format!("<p class=\"note\">{}</p>\n", escape(&text));
        }
    }
    out
}

fn table(scenario: &Scenario, json: &Value, index: usize) -> String {
    let mut out = "<div class=\"wide\"><table>\n<tr><th></th>".to_owned();
    for subject in &scenario.subjects {
        let runs = match subject.runs.len() {
            1 => String::new(),
            count => format!(" ({count} runs)"),
        };
        out += &format!("<th class=\"n\" scope=\"col\">{}{runs}</th>", escape(&subject.name));
    }
    out += "</tr>\n";
    for (name, heading, unit) in FIGURES {
        let cells: Vec<String> = (0..scenario.subjects.len())
            .map(|subject| cell(scenario, json, [index, subject], name, unit))
            .collect();
        if cells.iter().all(String::is_empty) {
            continue;
        }
        out += &format!("<tr><th scope=\"row\">{}</th>", escape(heading));
        cells.iter().for_each(|cell| out += &format!("<td class=\"n\">{cell}</td>"));
        out += "</tr>\n";
    }
    out + "</table></div>\n"
}

/// `at`: index of the scenario and of the subject in it.
fn cell(scenario: &Scenario, json: &Value, at: [usize; 2], name: &str, unit: Unit) -> String {
    let [index, subject] = at;
    let figures = &scenario.subjects[subject].figures;
    let Some(figure) = figures.iter().position(|figure| figure.name == name) else {
        return String::new();
    };
    let place = format!("/scenarios/{index}/subjects/{subject}/figures/{figure}");
    let values = ["min", "median", "max"]
        .map(|which| number(json, &format!("{place}/{which}"), unit).unwrap_or_default());
    let [min, median, max] = &values;
    let is_one = scenario.subjects[subject].runs.len() == 1;
    if is_one || median.is_empty() { median.clone() } else { format!("{min} / {median} / {max}") }
}

fn charts(scenario: &Scenario, index: usize) -> String {
    let of = scenario
        .subjects
        .first()
        .map_or("", |subject| subject.reports[subject.median].0.distribution.of.as_str());
    let latencies: Vec<Latencies<'_>> = scenario
        .subjects
        .iter()
        .map(|it| Latencies { name: it.name.clone(), histogram: it.latency.total() })
        .collect();
    let times: Vec<Times<'_>> = scenario
        .subjects
        .iter()
        .map(|subject| {
            let report = &subject.reports[subject.median].0;
            Times {
                name: subject.name.clone(),
                warm_up_seconds: report.warm_up_seconds,
                points: &report.timeline,
            }
        })
        .collect();
    let id = |name: &str| format!("s{index}-{name}");
    [
        plots::percentiles(&id("percentiles"), of, &latencies),
        plots::histogram(&id("histogram"), of, &latencies),
        plots::throughput(&id("throughput"), &times),
    ]
    .iter()
    .map(super::chart::Chart::html)
    .collect()
}

fn settings(scenario: &Scenario) -> String {
    let mut out = String::new();
    for subject in &scenario.subjects {
        let settings = &subject.reports[subject.median].0.settings;
        let summary = format!("Settings: {} {}", subject.name, run::command(settings));
        let table = run::settings(settings);
        out += &format!("<details><summary>{}</summary>\n{table}</details>\n", escape(&summary));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare;
    use crate::page::wellformed;

    #[test]
    fn every_number_of_the_page_is_that_of_the_json() {
        let comparison = compare::example();
        let text = serde_json::to_string(&comparison).expect("JSON");
        let json: Value = serde_json::from_str(&text).expect("JSON");
        let elements = wellformed::check(&html(&comparison, &json)).expect("well-formed");
        let in_table = |it: &&wellformed::Element| {
            it.attribute("data-json").is_some_and(|place| place.starts_with("/scenarios"))
        };
        let mut count = 0;
        for element in elements.iter().filter(in_table) {
            let pointer = element.attribute("data-json").expect("a place");
            let value: f64 =
                element.attribute("value").and_then(|it| it.parse().ok()).expect("number");
            assert_eq!(json.pointer(pointer).and_then(Value::as_f64), Some(value), "{pointer}");
            count += 1;
        }
        assert!(count > 20, "{count}");
        let headings: Vec<&str> = elements
            .iter()
            .filter(|it| it.attribute("scope") == Some("col"))
            .map(|it| it.text.as_str())
            .collect();
        assert_eq!(headings, ["<ours> (2 runs)", "theirs"]);
    }
}
