//! What a run costs while it is measured, and the live line that says how it goes.

use std::io::{IsTerminal, Write};

use serde::{Deserialize, Serialize};

use crate::clock::{self, SECOND_NS};
use crate::error::Error;
use crate::usage::{self, Usage};
use crate::wire::Idle;

/// From this share of a core on the load generator may have been what was measured.
const BUSY_FROM: f64 = 0.9;

/// From this share of all cores on generator and server may have waited for each other.
const FULL_FROM: f64 = 0.9;

/// CPU time and memory at the start of the measured window.
pub struct Cost {
    began_ns: u64,
    own_cpu_ns: u64,
    server: Option<(u32, Usage)>,
}

/// What the load generator itself used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClientCost {
    pub cpu_seconds: f64,
    pub cpu_ns_per_message: f64,
    /// Processes that sent, one thread each.
    pub processes: u32,
    /// What the busiest of them used of a core, from 0 to 1.
    pub busiest_share: f64,
}

/// What the server used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ServerCost {
    pub pid: u32,
    pub user_seconds: f64,
    pub system_seconds: f64,
    pub cpu_seconds_per_million: f64,
    pub resident_bytes: u64,
    pub resident_peak_bytes: u64,
}

impl ClientCost {
    /// That of all processes together.
    pub fn merge(&mut self, other: ClientCost, messages: u64) {
        self.cpu_seconds += other.cpu_seconds;
        self.cpu_ns_per_message = self.cpu_seconds * 1e9 / messages.max(1) as f64;
        self.processes += other.processes;
        self.busiest_share = self.busiest_share.max(other.busiest_share);
    }

    /// What has to be known of the generator to believe its figures.
    pub fn notes(&self, server: Option<&ServerCost>, wall_seconds: f64, idle: Idle) -> Vec<String> {
        let mut notes = Vec::new();
        let percent = self.busiest_share * 100.0;
        if idle == Idle::Spin {
            notes.push(
                "the generator polled without a break (--spin), so its CPU time does not tell whether \
                 it was the bottleneck"
                    .to_owned(),
            );
        } else if self.busiest_share >= BUSY_FROM {
            notes.push(format!(
                "the generator used {percent:.0} % of a core: its figures are a lower bound (more \
                 --processes tell, if there are free cores)"
            ));
        }
        let core_count = usage::core_count() as f64;
        let used = server.map_or(0.0, |it| it.user_seconds + it.system_seconds) + self.cpu_seconds;
        if server.is_some() && used >= FULL_FROM * core_count * wall_seconds {
            notes.push(format!(
                "generator and server together used {:.2} of this machine's {core_count} cores: each \
                 took time from the other, the server alone could do more",
                used / wall_seconds
            ));
        }
        notes
    }
}

impl Cost {
    /// Begins to count.
    ///
    /// # Errors
    /// [`Error::Process`]
    pub fn begin(server_pid: Option<u32>) -> Result<Cost, Error> {
        let server = server_pid.map(|pid| Ok((pid, usage::of_process(pid)?))).transpose()?;
        Ok(Cost { began_ns: clock::monotonic_ns(), own_cpu_ns: clock::own_cpu_ns(), server })
    }

    /// What was used since, for so many messages.
    ///
    /// # Errors
    /// [`Error::Process`]: the server died.
    pub fn end(&self, messages: u64) -> Result<(ClientCost, Option<ServerCost>), Error> {
        let per_message = |amount: f64| if messages == 0 { 0.0 } else { amount / messages as f64 };
        let own_cpu_ns = (clock::own_cpu_ns() - self.own_cpu_ns) as f64;
        let client = ClientCost {
            cpu_seconds: own_cpu_ns / 1e9,
            cpu_ns_per_message: per_message(own_cpu_ns),
            processes: 1,
            busiest_share: own_cpu_ns / (clock::monotonic_ns() - self.began_ns).max(1) as f64,
        };
        let Some((pid, before)) = self.server else { return Ok((client, None)) };
        let after = usage::of_process(pid)?;
        let user_seconds = after.user_seconds - before.user_seconds;
        let system_seconds = after.system_seconds - before.system_seconds;
        let server = ServerCost {
            pid,
            user_seconds,
            system_seconds,
            cpu_seconds_per_million: per_message((user_seconds + system_seconds) * 1e6),
            resident_bytes: after.resident_bytes,
            resident_peak_bytes: after.resident_peak_bytes,
        };
        Ok((client, Some(server)))
    }
}

impl ServerCost {
    /// The same for so many messages.
    pub fn per(self, messages: u64) -> ServerCost {
        let cpu_seconds = self.user_seconds + self.system_seconds;
        let cpu_seconds_per_million = cpu_seconds * 1e6 / messages.max(1) as f64;
        ServerCost { cpu_seconds_per_million, ..self }
    }
}

/// One line a second on stderr.
pub struct Progress {
    began_ns: u64,
    next_ns: u64,
    last_ns: u64,
    last_count: u64,
    is_quiet: bool,
    is_live: bool,
}

impl Progress {
    /// The first line comes in a second.
    pub fn new(now_ns: u64, is_quiet: bool) -> Progress {
        Progress {
            began_ns: now_ns,
            next_ns: now_ns + SECOND_NS,
            last_ns: now_ns,
            last_count: 0,
            is_quiet,
            is_live: std::io::stderr().is_terminal(),
        }
    }

    /// When the next line is due.
    pub fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Whether it is now.
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.next_ns
    }

    /// Writes a line. `count` is that of messages since the start of the run.
    pub fn write(&mut self, now_ns: u64, phase: &str, count: u64, p99_ns: u64, errors: u64) {
        let seconds = (now_ns - self.last_ns) as f64 / 1e9;
        let rate = (count - self.last_count) as f64 / seconds;
        (self.last_ns, self.last_count) = (now_ns, count);
        while self.next_ns <= now_ns {
            self.next_ns += SECOND_NS;
        }
        if self.is_quiet {
            return;
        }
        let elapsed = (now_ns - self.began_ns) / SECOND_NS;
        let p99_ms = p99_ns as f64 / 1e6;
        let line = format!(
            "{elapsed:4} s {phase:8} {rate:10.0} msg/s  p99 {p99_ms:9.3} ms  errors {errors}"
        );
        let (start, end) = if self.is_live { ("\r\x1b[K", "") } else { ("", "\n") };
        // Whether anybody reads the live line does not matter to the measurement.
        write!(std::io::stderr(), "{start}{line}{end}").ok();
    }

    /// Leaves the live line.
    pub fn end(&self) {
        if self.is_live && !self.is_quiet {
            eprintln!();
        }
    }
}
