//! What a process has used, and the machine it ran on, as /proc tells.

use std::fs;
use std::io;

use serde::Serialize;

use crate::error::Error;

/// CPU time and memory of a process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub user_seconds: f64,
    pub system_seconds: f64,
    pub resident_bytes: u64,
    pub resident_peak_bytes: u64,
}

/// Reads what a process has used so far, all of its threads together.
///
/// # Errors
/// [`Error::Process`]: there is no such process, or it is somebody else's.
pub fn of_process(pid: u32) -> Result<Usage, Error> {
    let read = |what: &'static str| {
        fs::read_to_string(format!("/proc/{pid}/{what}")).map_err(|source| Error::Process {
            what,
            pid,
            source,
        })
    };
    let stat = read("stat")?;
    let (user_ticks, system_ticks) = cpu_ticks(&stat).ok_or_else(|| Error::Process {
        what: "stat",
        pid,
        source: io::ErrorKind::InvalidData.into(),
    })?;
    let status = read("status")?;
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(Usage {
        user_seconds: user_ticks as f64 / ticks_per_second,
        system_seconds: system_ticks as f64 / ticks_per_second,
        resident_bytes: kibibytes(&status, "VmRSS:") * 1024,
        resident_peak_bytes: kibibytes(&status, "VmHWM:") * 1024,
    })
}

/// Fields 14 and 15 of proc_pid_stat(5); the name in field 2 may hold blanks and brackets.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// What figures are worth nothing without.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cpu_model: String,
    pub core_count: usize,
    pub kernel: String,
    pub memory_bytes: u64,
}

/// The machine this runs on.
pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    Machine {
        cpu_model: model.unwrap_or_default().trim_matches([' ', '\t', ':']).to_owned(),
        core_count: std::thread::available_parallelism().map_or(0, |count| count.get()),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        memory_bytes: kibibytes(&read("/proc/meminfo"), "MemTotal:") * 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 9 0 0 0 1234 567 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some((1234, 567)));
        assert_eq!(cpu_ticks("42 (a"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = of_process(std::process::id()).expect("this process runs");
        assert!(usage.resident_bytes > 0);
        assert!(usage.resident_peak_bytes >= usage.resident_bytes);
        assert!(matches!(of_process(u32::MAX), Err(Error::Process { pid: u32::MAX, .. })));
    }
}
