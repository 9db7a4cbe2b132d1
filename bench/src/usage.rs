//! What a process has used, and the machine it ran on, as /proc tells.

use std::fs;
use std::io;

use std::path::Path;

use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cpu_model: String,
    pub core_count: usize,
    pub kernel: String,
    pub memory_bytes: u64,
    /// Of the server's store, if it was named and lies on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
}

/// CPUs that this process may use.
pub fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get())
}

/// The file system that a directory lies on, by the longest mount point above it.
fn file_system(directory: &Path, mounts: &str) -> Option<String> {
    let directory = fs::canonicalize(directory).ok()?;
    // proc_pid_mountinfo(5): field 5 is the mount point, the type follows a lone hyphen.
    let mount = |line: &str| {
        let point = line.split(' ').nth(4)?.to_owned();
        let kind = line.split_once(" - ")?.1.split(' ').next()?.to_owned();
        directory.starts_with(&point).then_some((point.len(), kind))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// The machine this runs on, and the file system of the server's store.
pub fn machine(store: Option<&Path>) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    Machine {
        cpu_model: model.unwrap_or_default().trim_matches([' ', '\t', ':']).to_owned(),
        core_count: core_count(),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        memory_bytes: kibibytes(&read("/proc/meminfo"), "MemTotal:") * 1024,
        file_system: store.and_then(|store| file_system(store, &read("/proc/self/mountinfo"))),
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
    fn the_nearest_mount_point_says_the_file_system() {
        let mounts =
            "21 1 8:1 / / rw - ext4 /dev/a rw\n22 21 0:5 / /proc rw shared:5 - proc proc rw\n";
        assert_eq!(file_system(Path::new("/proc"), mounts).as_deref(), Some("proc"));
        assert_eq!(file_system(Path::new("/"), mounts).as_deref(), Some("ext4"));
        assert_eq!(file_system(Path::new("/no such directory"), mounts), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let usage = of_process(std::process::id()).expect("this process runs");
        assert!(usage.resident_bytes > 0);
        assert!(usage.resident_peak_bytes >= usage.resident_bytes);
        assert!(matches!(of_process(u32::MAX), Err(Error::Process { pid: u32::MAX, .. })));
    }
}
