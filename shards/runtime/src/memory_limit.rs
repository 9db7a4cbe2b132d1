//! How much memory and how many CPUs this process may use: the machine's, or less by its cgroups.
//! Kind: shell (reads /proc and /sys) around parsers of text.
//!
//! A limit holds for a cgroup and all below it, so the way is walked from the process' own cgroup up to
//! the root, and the least counts. Version 2 and 1 may be mounted side by side; both are asked.

use std::io;
use std::path::{Path, PathBuf};

use crate::placement;

/// Memory that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// In bytes.
    pub bytes: u64,
    /// Whose limit it is.
    pub source: LimitSource,
}

/// CPUs that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuLimit {
    /// Threads that can run all the time: the least of affinity and quota, at least 1.
    pub count: usize,
    /// Whose limit it is.
    pub source: LimitSource,
}

/// Where a limit comes from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitSource {
    /// The machine: MemTotal, or the CPUs of the affinity mask.
    Machine,
    /// This file of a cgroup.
    Cgroup(PathBuf),
}

/// The limits of this process could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// No memory size.
    #[error("read the memory size from {}: {source} (is /proc mounted?)", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// No affinity.
    #[error("read the cpu affinity: {source}")]
    Affinity {
        /// What the kernel said.
        source: io::Error,
    },
}

/// The memory this process may use: the least of the machine's and of its cgroups' limits.
///
/// # Errors
/// /proc/meminfo cannot be read. A cgroup file that cannot is taken for no limit.
pub fn usable_memory() -> Result<MemoryLimit, LimitError> {
    memory_under(Path::new("/"))
}

/// The CPUs this process may use: the least of its affinity and of its cgroups' quotas. A quota of
/// 2.5 CPUs counts as 2: three busy threads would all stand still for part of each period.
///
/// # Errors
/// The kernel does not tell the affinity. A cgroup file that cannot be read is taken for no limit.
pub fn usable_cpus() -> Result<CpuLimit, LimitError> {
    let allowed = placement::allowed_cpus().map_err(|source| LimitError::Affinity { source })?;
    Ok(cpus_under(Path::new("/"), allowed.len()))
}

fn memory_under(root: &Path) -> Result<MemoryLimit, LimitError> {
    let path = root.join("proc/meminfo");
    let total = std::fs::read_to_string(&path).and_then(|text| parse_total(&text));
    let total = total.map_err(|source| LimitError::Memory { path, source })?;
    let machine = MemoryLimit { bytes: total, source: LimitSource::Machine };
    let limits = cgroup_dirs(root, "memory").into_iter().filter_map(|dir| {
        let file = match dir.version {
            Version::V2 => "memory.max",
            Version::V1 => "memory.limit_in_bytes",
        };
        let path = dir.path.join(file);
        let bytes = parse_memory_max(&std::fs::read_to_string(&path).ok()?)?;
        Some(MemoryLimit { bytes, source: LimitSource::Cgroup(path) })
    });
    // On equal values the machine comes first and stays.
    Ok(std::iter::once(machine)
        .chain(limits)
        .min_by_key(|limit| limit.bytes)
        .expect("there is one"))
}

fn cpus_under(root: &Path, allowed_count: usize) -> CpuLimit {
    let machine = CpuLimit { count: allowed_count.max(1), source: LimitSource::Machine };
    let quotas = cgroup_dirs(root, "cpu").into_iter().filter_map(|dir| {
        let (path, count) = match dir.version {
            Version::V2 => {
                let path = dir.path.join("cpu.max");
                let count = parse_cpu_max(&std::fs::read_to_string(&path).ok()?)?;
                (path, count)
            }
            Version::V1 => {
                let path = dir.path.join("cpu.cfs_quota_us");
                let quota = std::fs::read_to_string(&path).ok()?;
                let period = std::fs::read_to_string(dir.path.join("cpu.cfs_period_us")).ok()?;
                let count = parse_cpu_max(&format!("{} {}", quota.trim(), period.trim()))?;
                (path, count)
            }
        };
        Some(CpuLimit { count, source: LimitSource::Cgroup(path) })
    });
    std::iter::once(machine).chain(quotas).min_by_key(|limit| limit.count).expect("there is one")
}

fn parse_total(meminfo: &str) -> io::Result<u64> {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok()?.checked_mul(1024))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no MemTotal in it"))
}

/// `max` is no limit; neither is what version 1 writes for none, which is above any machine's total.
fn parse_memory_max(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `quota period` in microseconds, `max` or a negative quota for none.
fn parse_cpu_max(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    let quota: usize = quota.parse().ok()?;
    let period: usize = period.parse().ok()?;
    quota.checked_div(period).map(|count| count.max(1))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

#[derive(Debug)]
struct CgroupDir {
    version: Version,
    path: PathBuf,
}

/// The directories of this process' cgroups that may limit `controller`: its own first, then each
/// parent up to the mount.
fn cgroup_dirs(root: &Path, controller: &str) -> Vec<CgroupDir> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let (cgroups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut dirs = Vec::new();
    for (version, cgroup) in own_cgroups(&cgroups, controller) {
        let Some(mount) = find_mount(&mounts, version, controller) else { continue };
        // A container without a cgroup namespace sees the host's path in /proc/self/cgroup, but under
        // its mount only what lies below the mount's root.
        let below = cgroup.strip_prefix(&mount.root).unwrap_or(Path::new(""));
        let below = below.strip_prefix("/").unwrap_or(below);
        for parent in below.ancestors() {
            dirs.push(CgroupDir { version, path: in_root(root, &mount.point).join(parent) });
        }
    }
    dirs
}

fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The lines of /proc/self/cgroup that matter for `controller`: `0::/path` is version 2,
/// `4:memory:/path` and `3:cpu,cpuacct:/path` are version 1.
fn own_cgroups<'a>(text: &'a str, controller: &str) -> Vec<(Version, &'a Path)> {
    let mut cgroups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            cgroups.push((Version::V2, Path::new(path)));
        } else if controllers.split(',').any(|name| name == controller) {
            cgroups.push((Version::V1, Path::new(path)));
        }
    }
    cgroups
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// What of the hierarchy is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

/// From /proc/self/mountinfo: `36 35 98:0 /root /point options … - type source super-options`.
fn find_mount(text: &str, version: Version, controller: &str) -> Option<Mount> {
    text.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let matches = match (version, file_system.next()?) {
            (Version::V2, "cgroup2") => true,
            (Version::V1, "cgroup") => {
                file_system.nth(1)?.split(',').any(|option| option == controller)
            }
            _ => false,
        };
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        matches.then(|| Mount { root: root.into(), point: point.into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16384000 kB\nMemFree:         1000 kB\n";
    const TOTAL: u64 = 16_384_000 * 1024;
    const V2_MOUNT: &str =
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNTS: &str = "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";

    /// Lays out a root file system of these files.
    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/meminfo", MEMINFO)].iter().chain(files) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn check(files: &[(&str, &str)], memory: (u64, &str), cpus: (usize, &str)) {
        let root = root_with(files);
        let source = |path: &str| match path {
            "" => LimitSource::Machine,
            path => LimitSource::Cgroup(root.path().join(path)),
        };
        let expect = MemoryLimit { bytes: memory.0, source: source(memory.1) };
        assert_eq!(memory_under(root.path()).unwrap(), expect);
        let expect = CpuLimit { count: cpus.0, source: source(cpus.1) };
        assert_eq!(cpus_under(root.path(), 8), expect);
    }

    #[test]
    fn without_cgroups_the_machine_is_the_limit() {
        check(&[], (TOTAL, ""), (8, ""));
        let unlimited = [
            ("proc/self/cgroup", "0::/service\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/service/memory.max", "max\n"),
            ("sys/fs/cgroup/service/cpu.max", "max 100000\n"),
        ];
        check(&unlimited, (TOTAL, ""), (8, ""));
    }

    #[test]
    fn the_tightest_cgroup_on_the_way_up_counts() {
        let files = [
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/a/b/memory.max", "4294967296\n"),
            ("sys/fs/cgroup/a/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n"),
            ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
        ];
        check(&files, (1 << 30, "sys/fs/cgroup/a/memory.max"), (2, "sys/fs/cgroup/a/b/cpu.max"));
    }

    #[test]
    fn a_container_sees_its_limit_at_the_mount() {
        // With a namespace the path is `/`; without one it is the host's, cut by the mount's root.
        for (cgroup, mount_root) in [("/", "/"), ("/docker/abc", "/docker/abc")] {
            let cgroup = format!("0::{cgroup}\n");
            let mounts = V2_MOUNT.replacen(" / ", &format!(" {mount_root} "), 1);
            let files = [
                ("proc/self/cgroup", cgroup.as_str()),
                ("proc/self/mountinfo", mounts.as_str()),
                ("sys/fs/cgroup/memory.max", "536870912\n"),
                ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ];
            check(&files, (512 << 20, "sys/fs/cgroup/memory.max"), (1, "sys/fs/cgroup/cpu.max"));
        }
    }

    #[test]
    fn version_1_is_understood_beside_version_2() {
        let files = [
            ("proc/self/cgroup", "4:memory:/svc\n3:cpu,cpuacct:/svc\n0::/\n"),
            ("proc/self/mountinfo", V1_MOUNTS),
            ("sys/fs/cgroup/memory/svc/memory.limit_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu,cpuacct/svc/cpu.cfs_quota_us", "300000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/svc/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ];
        check(
            &files,
            (2 << 30, "sys/fs/cgroup/memory/svc/memory.limit_in_bytes"),
            (3, "sys/fs/cgroup/cpu,cpuacct/svc/cpu.cfs_quota_us"),
        );
    }

    #[test]
    fn nonsense_in_a_file_is_no_limit() {
        let files = [
            ("proc/self/cgroup", "\n::\n0:\n0::/x\n"),
            ("proc/self/mountinfo", &format!("- -\n - cgroup2\n{V2_MOUNT}")),
            ("sys/fs/cgroup/x/memory.max", "many\n"),
            ("sys/fs/cgroup/x/cpu.max", "100000 0\n"),
        ];
        check(&files, (TOTAL, ""), (8, ""));
    }

    #[test]
    fn this_machine_has_limits() {
        assert!(usable_memory().unwrap().bytes > 0);
        assert!(usable_cpus().unwrap().count > 0);
    }
}
