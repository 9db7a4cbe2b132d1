//! The page of one run.

use std::fmt::Write as _;

use serde_json::Value;

use super::chart::Chart;
use super::html::{Unit, escape, flatten, number, page, pairs};
use super::plots::{self, Latencies, Times};
use crate::report::{Distribution, Report};

/// Columns of the table of latencies: heading and name in the JSON.
const LATENCY_COLUMNS: [(&str, &str); 9] = [
    ("messages", "count"),
    ("least", "min_us"),
    ("mean", "mean_us"),
    ("50 %", "p50_us"),
    ("90 %", "p90_us"),
    ("99 %", "p99_us"),
    ("99.9 %", "p99_9_us"),
    ("99.99 %", "p99_99_us"),
    ("greatest", "max_us"),
];

/// Figures at the top: name, place in the JSON and unit. Those that a run does not have are left out.
const CARDS: [(&str, &str, Unit); 10] = [
    ("messages/s acknowledged", "/results/send/messages_per_second", Unit::Count),
    ("messages/s received", "/results/receive/messages_per_second", Unit::Count),
    ("messages/s offered", "/results/overload/offered_per_second", Unit::Count),
    ("messages/s in time (goodput)", "/results/overload/goodput_per_second", Unit::Count),
    ("of bodies sent", "/results/send/body_bytes_per_second", Unit::MbPerSecond),
    ("CPU s of the server a million", "/results/server/cpu_seconds_per_million", Unit::Thousandths),
    ("of the server resident", "/results/server/resident_bytes", Unit::Mib),
    ("of the server at its peak", "/results/server/resident_peak_bytes", Unit::Mib),
    ("of a core by the generator", "/results/client/busiest_share", Unit::Percent),
    ("differences", "/results/check/differences", Unit::Count),
];

/// What came to nothing: name and place in the JSON.
const FAILURES: [(&str, &str); 7] = [
    ("unanswered", "/results/send/unanswered"),
    ("answers to no request of ours", "/results/send/unknown_answers"),
    ("given up: no connection had room in time", "/results/send/given_up"),
    ("of unknown outcome: their connection ended", "/results/send/cut_off"),
    ("lost", "/results/check/lost"),
    ("late in their queue", "/results/check/late"),
    ("received although never acknowledged", "/results/check/unasked"),
];

/// The whole page. `json` is the report as it is written beside it.
pub fn html(report: &Report, json: &Value) -> String {
    let command = command(&report.settings);
    let title = format!("ringmq-bench {command}");
    let mut body = format!("<h1>{}</h1>\n", escape(&title));
    body += &format!("<p class=\"sub\">{}</p>\n", escape(&subtitle(report)));
    for note in &report.results.notes {
        body += &format!("<p class=\"note\">{}</p>\n", escape(note));
    }
    body += &cards(json, &report.distribution);
    body += &charts(report);
    body += "<h2>Latency</h2>\n";
    body += &latencies(json, &report.distribution);
    body += "<h2>Errors and refusals</h2>\n";
    body += &failures(report, json);
    body += "<h2>Cost</h2>\n";
    body += &cost(json);
    body += "<h2>Settings</h2>\n";
    body += &settings(&report.settings);
    body += "<h2>Machine</h2>\n";
    body += &machine(json);
    page(&title, &body)
}

/// Name of the command that was run.
pub fn command(settings: &Value) -> &str {
    let fields = settings.as_object();
    fields.and_then(|fields| fields.keys().next()).map_or("run", String::as_str)
}

fn subtitle(report: &Report) -> String {
    let seconds = report.made_ms / 1000;
    let (date, time) = (civil_date(seconds / 86_400), seconds % 86_400);
    format!(
        "{date} {:02}:{:02} UTC, {:.2} s measured, by ringmq-bench {}",
        time / 3600,
        time / 60 % 60,
        report.results.wall_seconds,
        report.version
    )
}

/// Year, month and day of a day since 1970 (Howard Hinnant's civil_from_days).
pub fn civil_date(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn cards(json: &Value, distribution: &Distribution) -> String {
    let mut out = "<div class=\"cards\">\n".to_owned();
    let mut card = |name: &str, pointer: &str, unit: Unit| {
        if let Some(value) = number(json, pointer, unit) {
            let unit = unit.name().trim_start_matches(", ");
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            let _ =
                writeln!(out, "<div class=\"card\"><b>{value}{unit}</b><span>{name}</span></div>");
        }
    };
    for (name, pointer, unit) in CARDS {
        card(name, pointer, unit);
    }
    let summary = main_summary(json, distribution);
    for (name, field) in [("50 %", "p50_us"), ("99 %", "p99_us"), ("99.9 %", "p99_9_us")] {
        card(&format!("{name} within"), &format!("{summary}/{field}"), Unit::Ms);
    }
    out + "</div>\n"
}

/// Where the JSON has the figures of the latencies that the run is about.
fn main_summary(json: &Value, distribution: &Distribution) -> String {
    let side = if distribution.corrected.is_some() { "corrected" } else { "uncorrected" };
    let places = ["/results/receive/end_to_end", "/results/send/acknowledgement"];
    let place = places.iter().find(|place| json.pointer(place).is_some_and(|it| !it.is_null()));
    place.map_or("/results/receive/pull".to_owned(), |place| format!("{place}/{side}"))
}

/// Both sides of a distribution, named.
pub fn sides(distribution: &Distribution) -> Vec<Latencies<'_>> {
    let corrected = distribution
        .corrected
        .as_ref()
        .map(|latency| Latencies { name: "corrected".to_owned(), histogram: latency.total() });
    let uncorrected =
        Latencies { name: "as sent".to_owned(), histogram: distribution.uncorrected.total() };
    corrected.into_iter().chain([uncorrected]).collect()
}

fn charts(report: &Report) -> String {
    let of = &report.distribution.of;
    let all = sides(&report.distribution);
    let times = [Times {
        name: "run".to_owned(),
        warm_up_seconds: report.warm_up_seconds,
        points: &report.timeline,
    }];
    let charts = [
        plots::throughput("throughput", &times),
        plots::percentiles("percentiles", of, &all),
        plots::histogram("histogram", of, &all[..1]),
        plots::latency_over_time("p99", &times),
    ];
    charts.iter().map(Chart::html).collect()
}

fn latencies(json: &Value, distribution: &Distribution) -> String {
    let rows = [
        ("send to acknowledgement, corrected", "/results/send/acknowledgement/corrected"),
        ("send to acknowledgement, as sent", "/results/send/acknowledgement/uncorrected"),
        ("pull", "/results/receive/pull"),
        ("send to receipt, corrected", "/results/receive/end_to_end/corrected"),
        ("send to receipt, as sent", "/results/receive/end_to_end/uncorrected"),
    ];
    let mut out = "<div class=\"wide\"><table>\n<tr><th>ms</th>".to_owned();
    for (heading, _) in LATENCY_COLUMNS {
        out += &format!("<th class=\"n\" scope=\"col\">{heading}</th>");
    }
    out += "</tr>\n";
    for (name, place) in rows {
        if json.pointer(place).is_none_or(Value::is_null) {
            continue;
        }
        out += &format!("<tr><th scope=\"row\">{name}</th>");
        for (_, field) in LATENCY_COLUMNS {
            let unit = if field == "count" { Unit::Count } else { Unit::Ms };
            let value = number(json, &format!("{place}/{field}"), unit).unwrap_or_default();
            out += &format!("<td class=\"n\">{value}</td>");
        }
        out += "</tr>\n";
    }
    out += "</table></div>\n";
    if distribution.corrected.is_some() {
        out += "<p><b>Corrected</b> counts from the time at which the schedule wanted the message \
                sent, so a stall is seen by all messages it delays; <b>as sent</b> from when it left.</p>\n";
    } else if json.pointer("/results/send").is_some() {
        out += "<p>A closed loop: each connection sends when it gets an answer, so a stall is seen by \
                the messages in flight only. For latencies as users see them use <code>--rate</code>.</p>\n";
    }
    out
}

fn failures(report: &Report, json: &Value) -> String {
    let mut rows = Vec::new();
    for (name, pointer) in FAILURES {
        if json.pointer(pointer).and_then(Value::as_u64).is_some_and(|count| count > 0) {
            rows.push((format!("messages {name}"), number(json, pointer, Unit::Count)));
        }
    }
    let results = &report.results;
    let sides = [
        ("send", results.send.as_ref().map(|it| &it.refused)),
        ("receive", results.receive.as_ref().map(|it| &it.refused)),
    ];
    for (side, refused) in sides {
        for (index, refusal) in refused.into_iter().flatten().enumerate() {
            let name = format!("code {} {}: {}", refusal.code, refusal.name, refusal.remark);
            let pointer = format!("/results/{side}/refused/{index}/count");
            rows.push((name, number(json, &pointer, Unit::Count)));
        }
    }
    for reason in results.send.iter().flat_map(|send| send.closed.keys()) {
        // RFC 6901: these two have another meaning in a pointer.
        let key = reason.replace('~', "~0").replace('/', "~1");
        let count = number(json, &format!("/results/send/closed/{key}"), Unit::Count);
        rows.push((format!("connections closed: {reason}"), count));
    }
    for example in results.check.iter().flat_map(|check| &check.examples) {
        rows.push(("difference".to_owned(), Some(escape(example))));
    }
    if rows.is_empty() {
        return "<p>None.</p>\n".to_owned();
    }
    pairs(rows.iter().map(|(name, value)| (name.as_str(), value.clone().unwrap_or_default())))
}

fn cost(json: &Value) -> String {
    let rows = [
        ("server: user CPU, s", "/results/server/user_seconds", Unit::Thousandths),
        ("server: system CPU, s", "/results/server/system_seconds", Unit::Thousandths),
        (
            "server: CPU a million messages, s",
            "/results/server/cpu_seconds_per_million",
            Unit::Thousandths,
        ),
        ("server: resident, MiB", "/results/server/resident_bytes", Unit::Mib),
        ("server: resident at its peak, MiB", "/results/server/resident_peak_bytes", Unit::Mib),
        ("generator: CPU, s", "/results/client/cpu_seconds", Unit::Thousandths),
        ("generator: CPU a message, ns", "/results/client/cpu_ns_per_message", Unit::Count),
        ("generator: processes", "/results/client/processes", Unit::Count),
        ("generator: busiest process, % of a core", "/results/client/busiest_share", Unit::Percent),
    ];
    let found = rows.into_iter();
    pairs(found.filter_map(|(name, pointer, unit)| Some((name, number(json, pointer, unit)?))))
}

/// Settings as a table.
pub fn settings(settings: &Value) -> String {
    let command = command(settings);
    let rows = flatten(settings.get(command).unwrap_or(settings));
    pairs(rows.iter().map(|(name, value)| (name.as_str(), escape(value))))
}

/// The machine as a table; `json` is a whole report.
pub fn machine(json: &Value) -> String {
    let text = |pointer: &str| {
        json.pointer(pointer).and_then(Value::as_str).filter(|it| !it.is_empty()).map(escape)
    };
    let rows = [
        ("CPU", text("/machine/cpu_model")),
        ("cores", number(json, "/machine/core_count", Unit::Count)),
        ("memory, MiB", number(json, "/machine/memory_bytes", Unit::Mib)),
        ("kernel", text("/machine/kernel")),
        ("file system of the store", text("/machine/file_system")),
    ];
    pairs(rows.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::wellformed;
    use crate::report::example;

    #[test]
    fn days_have_their_dates() {
        let dates = [0, 59, 11_016, 19_782, 20_780].map(civil_date);
        assert_eq!(dates, ["1970-01-01", "1970-03-01", "2000-02-29", "2024-02-29", "2026-11-23"]);
    }

    #[test]
    fn every_number_of_the_page_is_that_of_the_json() {
        let report = example("<i>nasty</i> & \"x\"");
        let json: Value = serde_json::from_str(&report.json()).expect("JSON");
        let elements = wellformed::check(&html(&report, &json)).expect("well-formed");
        let mut count = 0;
        for element in elements.iter().filter(|it| it.name == "data") {
            let pointer = element.attribute("data-json").expect("a place");
            let value: f64 =
                element.attribute("value").and_then(|it| it.parse().ok()).expect("number");
            assert_eq!(json.pointer(pointer).and_then(Value::as_f64), Some(value), "{pointer}");
            count += 1;
        }
        assert!(count > 40, "{count}");
        assert!(elements.iter().all(|it| it.name != "i" && it.name != "script"));
        for id in ["throughput-title", "percentiles-desc", "histogram-title", "p99-desc"] {
            assert!(elements.iter().any(|it| it.attribute("id") == Some(id)), "{id}");
        }
        let outside = ["src", "href", "onload", "onclick"];
        assert!(elements.iter().all(|it| outside.iter().all(|key| it.attribute(key).is_none())));
        let all: String = elements.iter().map(|it| it.text.as_str()).collect::<Vec<_>>().join("\n");
        for text in ["<i>nasty</i> & \"x\"", "SYSTEM_BUSY", "348,069", "Connection reset", "ext4"] {
            assert!(all.contains(text), "{text}");
        }
    }
}
