//! What a run found: text for people, JSON for programs, .hgrm for HdrHistogram's tools.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::arguments::{Command, Output};
use crate::checker::Findings;
use crate::error::Error;
use crate::latency::{Latency, Summary};
use crate::measure::{ClientCost, ServerCost};
use crate::refusals::Refusal;
use crate::usage::{self, Machine};

/// All that is written to the JSON file.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub settings: Command,
    pub machine: Machine,
    pub results: Results,
}

/// What was measured. Rates are those of acknowledged or received messages over wall time.
#[derive(Debug, Default, Serialize)]
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
}

/// The sending side.
#[derive(Debug, Serialize)]
pub struct SendResults {
    /// Acknowledged within the measured window.
    pub messages: u64,
    pub messages_per_second: f64,
    pub body_bytes: u64,
    pub body_bytes_per_second: f64,
    /// Of one request, header and body.
    pub frame_bytes: usize,
    /// Of the whole run, warm-up and drain included.
    pub sent_in_all: u64,
    pub acknowledged_in_all: u64,
    pub unanswered: u64,
    pub unknown_answers: u64,
    pub refused: Vec<Refusal>,
    pub acknowledgement: Latencies,
}

/// The receiving side.
#[derive(Debug, Serialize)]
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
#[derive(Debug, Serialize)]
pub struct CheckResults {
    pub differences: u64,
    pub lost: u64,
    /// Messages behind later ones of the same producer and queue.
    pub late: u64,
    /// Messages of other runs.
    pub foreign: u64,
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
            examples: findings.examples.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Both ways to see a latency.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latencies {
    /// From the intended send time; absent in a closed loop, which intends nothing.
    pub corrected: Option<Summary>,
    /// From the actual send time.
    pub uncorrected: Summary,
}

impl Report {
    /// A report of this machine.
    pub fn new(settings: Command, results: Results) -> Report {
        let version = env!("CARGO_PKG_VERSION");
        Report { version, settings, machine: usage::machine(), results }
    }

    /// Writes the JSON file, if one is wanted.
    ///
    /// # Errors
    /// [`Error::Write`]
    pub fn write_json(&self, output: &Output) -> Result<(), Error> {
        let Some(path) = &output.json else { return Ok(()) };
        let mut text = serde_json::to_string_pretty(self).expect("a report has text keys only");
        text.push('\n');
        fs::write(path, text).map_err(|source| Error::Write { path: path.clone(), source })
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.results.write(&mut text).expect("a String takes everything");
        text
    }
}

/// Writes the percentile files, if they are wanted. `corrected` comes from an open loop only.
///
/// # Errors
/// [`Error::Write`]
pub fn write_hgrm(
    output: &Output,
    corrected: Option<&Latency>,
    uncorrected: &Latency,
) -> Result<(), Error> {
    let Some(path) = &output.hgrm else { return Ok(()) };
    let Some(corrected) = corrected else { return write_one_hgrm(path, uncorrected) };
    write_one_hgrm(path, corrected)?;
    write_one_hgrm(&path.with_extension("uncorrected.hgrm"), uncorrected)
}

fn write_one_hgrm(path: &Path, latency: &Latency) -> Result<(), Error> {
    let mut text = Vec::new();
    latency
        .write_hgrm(&mut text)
        .and_then(|()| fs::write(path, text))
        .map_err(|source| Error::Write { path: path.to_owned(), source })
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
            let ClientCost { cpu_seconds, cpu_ns_per_message } = client;
            let cores = cpu_seconds / self.wall_seconds;
            writeln!(
                out,
                "client     {cpu_seconds:.2} CPU s ({cores:.2} cores), {cpu_ns_per_message:.0} ns a message"
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
        if let Some(check) = &self.check {
            check.write(out)?;
        }
        Ok(())
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
        let Self { differences, lost, late, foreign, examples } = self;
        let verdict = if *differences == 0 { "as sent" } else { "NOT AS SENT" };
        writeln!(
            out,
            "checked    {verdict}: {differences} differences, {lost} messages lost, {late} late, \
             {foreign} of other runs"
        )?;
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
