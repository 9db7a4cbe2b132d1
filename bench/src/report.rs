//! What a run found: text for people, JSON for programs, .hgrm for HdrHistogram's tools.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::arguments::{Command, Output};
use crate::checker::Findings;
use crate::error::Error;
use crate::folder;
use crate::latency::{Latency, Summary};
use crate::measure::{ClientCost, ServerCost};
use crate::refusals::Refusal;
use crate::timeline::Point;
use crate::usage::{self, Machine};

/// All that is written to the JSON file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    /// When the report was made, ms since 1970.
    pub made_ms: u64,
    /// The command and its settings, as [`Command`] writes them.
    pub settings: Value,
    pub machine: Machine,
    pub results: Results,
    pub distribution: Distribution,
    /// Seconds of the timeline before anything was measured.
    pub warm_up_seconds: f64,
    pub timeline: Vec<Point>,
}

/// The latencies that the run was about, whole.
#[derive(Debug, Serialize, Deserialize)]
pub struct Distribution {
    /// From what to what, for people.
    pub of: String,
    /// From the intended send time; absent in a closed loop, which intends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected: Option<Latency>,
    /// From the actual send time.
    pub uncorrected: Latency,
}

impl Distribution {
    /// The one to look at: free of coordinated omission if there is one that is.
    pub fn main(&self) -> &Latency {
        self.corrected.as_ref().unwrap_or(&self.uncorrected)
    }
}

/// What a run found beside its figures.
#[derive(Debug)]
pub struct Found {
    pub results: Results,
    pub distribution: Distribution,
    pub warm_up_seconds: f64,
    pub timeline: Vec<Point>,
}

/// What was measured. Rates are those of acknowledged or received messages over wall time.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub wall_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<SendResults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive: Option<ReceiveResults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckResults>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientCost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerCost>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overload: Option<OverloadResults>,
    /// What has to be known to believe the figures.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What a server did with more than it can take.
#[derive(Debug, Serialize, Deserialize)]
pub struct OverloadResults {
    /// What it took at its peak, and what it was offered, in messages a second.
    pub peak_per_second: f64,
    pub offered_per_second: f64,
    /// Acknowledged in time: within the time after which a client gives up.
    pub in_time: u64,
    pub goodput_per_second: f64,
}

/// The sending side.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendResults {
    /// Acknowledged within the measured window.
    pub messages: u64,
    pub messages_per_second: f64,
    pub body_bytes: u64,
    pub body_bytes_per_second: f64,
    /// Of one request, header and body; of the longest one.
    pub frame_bytes: usize,
    /// Of the whole run, warm-up and drain included.
    pub sent_in_all: u64,
    pub acknowledged_in_all: u64,
    pub unanswered: u64,
    pub unknown_answers: u64,
    pub refused: Vec<Refusal>,
    /// Dropped by us, since no connection had room in time.
    #[serde(default)]
    pub given_up: u64,
    /// Of unknown outcome, since their connection ended.
    #[serde(default)]
    pub cut_off: u64,
    /// Connections that ended, by reason.
    #[serde(default)]
    pub closed: BTreeMap<String, u64>,
    pub acknowledgement: Latencies,
}

/// The receiving side.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReceiveResults {
    pub messages: u64,
    pub messages_per_second: f64,
    pub body_bytes: u64,
    pub body_bytes_per_second: f64,
    /// Of the whole run, warm-up and what came late included.
    pub received_in_all: u64,
    /// Pulls that brought messages, and others that were answered, in the whole run.
    pub pulls_found: u64,
    pub pulls_empty: u64,
    pub refused: Vec<Refusal>,
    /// Of pulls that brought messages, from request to answer.
    pub pull: Summary,
    /// From send to receipt; only end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<Latencies>,
}

/// What the checker found.
#[derive(Debug, Serialize, Deserialize)]
pub struct CheckResults {
    pub differences: u64,
    pub lost: u64,
    /// Messages behind later ones of the same producer and queue.
    pub late: u64,
    /// Messages of other runs.
    pub foreign: u64,
    /// Messages that came without having been acknowledged, where only those that were must come.
    #[serde(default)]
    pub unasked: u64,
    /// The first differences.
    pub examples: Vec<String>,
}

impl From<&Findings> for CheckResults {
    fn from(findings: &Findings) -> CheckResults {
        CheckResults {
            differences: findings.count,
            lost: findings.lost,
            late: findings.late,
            foreign: findings.foreign,
            unasked: findings.unasked,
            examples: findings.examples.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Both ways to see a latency.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latencies {
    /// From the intended send time; absent in a closed loop, which intends nothing.
    pub corrected: Option<Summary>,
    /// From the actual send time.
    pub uncorrected: Summary,
}

impl Report {
    /// A report of this machine.
    pub fn new(settings: &Command, output: &Output, found: Found) -> Report {
        let Found { results, distribution, warm_up_seconds, timeline } = found;
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_ms: crate::clock::wall_ms(),
            settings: serde_json::to_value(settings).expect("settings have text keys only"),
            machine: usage::machine(output.server_store.as_deref()),
            results,
            distribution,
            warm_up_seconds,
            timeline,
        }
    }

    /// Prints it, and writes the files that are wanted.
    ///
    /// # Errors
    /// [`Error::Write`]
    pub fn publish(&self, output: &Output) -> Result<(), Error> {
        print!("{}", self.text());
        if let Some(path) = &output.json {
            write_file(path, self.json().as_bytes())?;
        }
        if let Some(path) = &output.hgrm {
            self.write_hgrm(path)?;
        }
        output.report.as_deref().map_or(Ok(()), |directory| folder::write(directory, self))
    }

    /// The report for programs.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report has text keys only");
        text.push('\n');
        text
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.results.write(&mut text).expect("a String takes everything");
        text
    }

    /// Writes the percentile files: in an open loop the corrected one to `path`, the other beside it.
    pub fn write_hgrm(&self, path: &Path) -> Result<(), Error> {
        let Distribution { corrected, uncorrected, .. } = &self.distribution;
        let Some(corrected) = corrected else { return write_one_hgrm(path, uncorrected) };
        write_one_hgrm(path, corrected)?;
        write_one_hgrm(&path.with_extension("uncorrected.hgrm"), uncorrected)
    }
}

/// Writes a file whole.
///
/// # Errors
/// [`Error::Write`]
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn write_one_hgrm(path: &Path, latency: &Latency) -> Result<(), Error> {
    let mut text = Vec::new();
    latency.write_hgrm(&mut text).expect("memory takes everything");
    write_file(path, &text)
}

impl Results {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        if let Some(send) = &self.send {
            send.write(out, self.wall_seconds)?;
        }
        if let Some(receive) = &self.receive {
            receive.write(out, self.wall_seconds)?;
        }
        if let Some(client) = &self.client {
            let ClientCost { cpu_seconds, cpu_ns_per_message, processes, busiest_share } = client;
            let percent = busiest_share * 100.0;
            let many =
                if *processes > 1 { format!(", {processes} processes") } else { String::new() };
            writeln!(
                out,
                "client     {cpu_seconds:.2} CPU s ({percent:.0} % of a core{many}), \
                 {cpu_ns_per_message:.0} ns a message"
            )?;
        }
        if let Some(server) = &self.server {
            let ServerCost { user_seconds, system_seconds, cpu_seconds_per_million, .. } = server;
            let cores = (user_seconds + system_seconds) / self.wall_seconds;
            writeln!(
                out,
                "server     {user_seconds:.2} user + {system_seconds:.2} system CPU s ({cores:.2} cores), \
                 {cpu_seconds_per_million:.3} CPU s a million messages"
            )?;
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (now, peak) = (mib(server.resident_bytes), mib(server.resident_peak_bytes));
            writeln!(out, "           {now:.0} MiB resident, {peak:.0} MiB at its peak")?;
        }
        if let Some(overload) = &self.overload {
            let OverloadResults { peak_per_second, offered_per_second, in_time, .. } = overload;
            writeln!(
                out,
                "overload   {offered_per_second:.0} messages/s offered, {:.1} times the peak of \
                 {peak_per_second:.0}",
                offered_per_second / peak_per_second
            )?;
            writeln!(
                out,
                "           goodput {:.0} messages/s: {in_time} acknowledged in time",
                overload.goodput_per_second
            )?;
        }
        if let Some(check) = &self.check {
            check.write(out)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "note       {note}"))
    }
}

impl SendResults {
    fn write(&self, out: &mut String, wall_seconds: f64) -> std::fmt::Result {
        writeln!(
            out,
            "sent       {} messages acknowledged in {wall_seconds:.2} s: {:.0} messages/s, {:.1} MB/s of bodies",
            self.messages,
            self.messages_per_second,
            self.body_bytes_per_second / 1e6
        )?;
        let refused: u64 = self.refused.iter().map(|refusal| refusal.count).sum();
        writeln!(
            out,
            "           {} sent and {} acknowledged in all, {refused} refused, {} unanswered",
            self.sent_in_all, self.acknowledged_in_all, self.unanswered
        )?;
        write_refusals(out, &self.refused)?;
        if self.given_up + self.cut_off > 0 {
            writeln!(
                out,
                "           {} given up for lack of room in time, {} cut off with their connection",
                self.given_up, self.cut_off
            )?;
        }
        self.closed.iter().try_for_each(|(reason, count)| {
            writeln!(out, "           {count} connections closed: {reason}")
        })?;
        if self.unknown_answers > 0 {
            writeln!(out, "           {} answers to no request of ours", self.unknown_answers)?;
        }
        self.acknowledgement.write(out, "ack")
    }
}

impl ReceiveResults {
    fn write(&self, out: &mut String, wall_seconds: f64) -> std::fmt::Result {
        writeln!(
            out,
            "received   {} messages in {wall_seconds:.2} s: {:.0} messages/s, {:.1} MB/s of bodies",
            self.messages,
            self.messages_per_second,
            self.body_bytes_per_second / 1e6
        )?;
        let each = self.received_in_all as f64 / self.pulls_found.max(1) as f64;
        writeln!(
            out,
            "           {} pulls with {each:.1} messages each, {} without",
            self.pulls_found, self.pulls_empty
        )?;
        write_refusals(out, &self.refused)?;
        write_head(out, "pull")?;
        self.pull.write_row(out, " as sent")?;
        self.end_to_end.iter().try_for_each(|latencies| latencies.write(out, "end to end"))
    }
}

impl CheckResults {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { differences, lost, late, foreign, unasked, examples } = self;
        let verdict = if *differences == 0 { "as sent" } else { "NOT AS SENT" };
        writeln!(
            out,
            "checked    {verdict}: {differences} differences, {lost} messages lost, {late} late, \
             {foreign} of other runs"
        )?;
        if *unasked > 0 {
            writeln!(out, "           {unasked} came whose acknowledgement did not")?;
        }
        examples.iter().try_for_each(|example| writeln!(out, "           {example}"))
    }
}

fn write_refusals(out: &mut String, refusals: &[Refusal]) -> std::fmt::Result {
    refusals.iter().try_for_each(|Refusal { code, name, count, remark }| {
        writeln!(out, "           {count} times code {code} {name}: '{remark}'")
    })
}

fn write_head(out: &mut String, name: &str) -> std::fmt::Result {
    write!(out, "{:15}", format!("{name} µs"))?;
    let columns = ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"];
    columns.iter().try_for_each(|column| write!(out, " {column:>10}"))?;
    writeln!(out)
}

impl Latencies {
    /// Writes a table of both, in µs.
    pub fn write(&self, out: &mut String, name: &str) -> std::fmt::Result {
        write_head(out, name)?;
        if let Some(corrected) = &self.corrected {
            corrected.write_row(out, " corrected")?;
        }
        self.uncorrected.write_row(out, " as sent")
    }
}

impl Summary {
    /// Writes a line of figures in µs.
    pub fn write_row(&self, out: &mut String, name: &str) -> std::fmt::Result {
        writeln!(
            out,
            "{name:15} {:10.1} {:10.1} {:10.1} {:10.1} {:10.1} {:10.1} {:10.1}",
            self.p50_us,
            self.p90_us,
            self.p99_us,
            self.p99_9_us,
            self.p99_99_us,
            self.max_us,
            self.mean_us
        )
    }
}

/// A report with something in every part, for tests. `remark` is a refusal's.
#[cfg(test)]
pub fn example(remark: &str) -> Report {
    let mut corrected = Latency::new();
    let mut uncorrected = Latency::new();
    for message in 1..=10_000u64 {
        corrected.record(message * message * 10);
        uncorrected.record(message * 500);
    }
    corrected.end_interval();
    uncorrected.end_interval();
    let latencies =
        Latencies { corrected: Some(corrected.summary()), uncorrected: uncorrected.summary() };
    let refused = vec![Refusal {
        code: 2,
        name: "SYSTEM_BUSY".to_owned(),
        count: 17,
        remark: remark.to_owned(),
    }];
    let point = |second: u32| Point {
        end_seconds: f64::from(second),
        messages_per_second: 340_000.0 + f64::from(second * 1000),
        errors: 0,
        p50_us: 900.0,
        p99_us: 4000.0 + f64::from(second),
        max_us: 9000.0,
    };
    Report {
        version: "0.1.0".to_owned(),
        made_ms: 1_795_400_000_000,
        settings: serde_json::json!({"produce": {"target": {"topic": remark}, "rate": 350_000}}),
        machine: Machine {
            cpu_model: "AMD EPYC".to_owned(),
            core_count: 2,
            kernel: "6.18".to_owned(),
            memory_bytes: 24 << 30,
            file_system: Some("ext4".to_owned()),
        },
        results: Results {
            wall_seconds: 10.0,
            send: Some(SendResults {
                messages: 3_480_688,
                messages_per_second: 348_068.8,
                body_bytes: 3_480_688 * 1024,
                body_bytes_per_second: 356_422_451.2,
                frame_bytes: 1442,
                sent_in_all: 4_000_000,
                acknowledged_in_all: 3_999_000,
                unanswered: 3,
                unknown_answers: 0,
                refused,
                given_up: 900,
                cut_off: 80,
                closed: BTreeMap::from([("Connection reset by peer/~".to_owned(), 2)]),
                acknowledgement: latencies,
            }),
            client: Some(ClientCost {
                cpu_seconds: 9.8,
                cpu_ns_per_message: 2800.0,
                processes: 2,
                busiest_share: 0.98,
            }),
            server: Some(ServerCost {
                pid: 42,
                user_seconds: 3.88,
                system_seconds: 2.5,
                cpu_seconds_per_million: 1.7064,
                resident_bytes: 193_212_416,
                resident_peak_bytes: 193_212_416,
            }),
            overload: Some(OverloadResults {
                peak_per_second: 120_000.0,
                offered_per_second: 360_000.0,
                in_time: 3_000_000,
                goodput_per_second: 300_000.0,
            }),
            notes: vec!["the generator used 98 % of a core".to_owned()],
            ..Results::default()
        },
        distribution: Distribution {
            of: "from send to acknowledgement".to_owned(),
            corrected: Some(corrected),
            uncorrected,
        },
        warm_up_seconds: 2.0,
        timeline: (1..=12).map(point).collect(),
    }
}
