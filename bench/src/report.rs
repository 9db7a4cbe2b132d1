//! What a run found: text for people, JSON for programs, .hgrm for HdrHistogram's tools.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::arguments::{Command, Output};
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
        for Refusal { code, name, count, remark } in &self.refused {
            writeln!(out, "           {count} times code {code} {name}: '{remark}'")?;
        }
        if self.unknown_answers > 0 {
            writeln!(out, "           {} answers to no request of ours", self.unknown_answers)?;
        }
        self.acknowledgement.write(out, "ack")
    }
}

impl Latencies {
    /// Writes a table of both, in µs.
    pub fn write(&self, out: &mut String, name: &str) -> std::fmt::Result {
        writeln!(
            out,
            "{:10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            format!("{name} µs"),
            "p50",
            "p90",
            "p99",
            "p99.9",
            "p99.99",
            "max",
            "mean"
        )?;
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
            "{name:10} {:10.1} {:10.1} {:10.1} {:10.1} {:10.1} {:10.1} {:10.1}",
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
