//! What this system gives and denies: io_uring, locked memory, open files, direct I/O on the store.
//! Kind: shell (asks the system) around parsers of text.
//!
//! Each finding says what, where and what to do. Fatal ones end the start, the others are warnings.

use std::fmt;
use std::io;
use std::path::Path;

use io_uring::IoUring;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

pub use finding::Finding;
pub use store::{AlignSource, DIRECT_ALIGN_ASSUMED, StoreReport};

mod finding;
mod store;

/// The oldest kernel with all we use: provided buffer rings 5.19, multishot receive 6.0, SINGLE_ISSUER
/// 6.0, DEFER_TASKRUN 6.1. Not the number is asked but the newest of them, DEFER_TASKRUN, is tried:
/// distributions carry newer io_uring in older kernels, and always as a whole.
pub const KERNEL_MIN: &str = "6.1";

/// What glommio 0.9 wants as RLIMIT_MEMLOCK before it makes an executor, even with CAP_IPC_LOCK.
pub const EXECUTOR_MEMLOCK_BYTES: u64 = 512 << 10;

/// Descriptors we want at least: connections, segments, rings and eventfds. With fewer the broker
/// runs, and refuses connections early.
pub const OPEN_FILES_WANTED: u64 = 65_536;

/// How to raise RLIMIT_NOFILE.
pub const OPEN_FILES_ADVICE: &str =
    "raise the limit of open files: systemd LimitNOFILE=65536, docker --ulimit nofile=65536";

/// CAP_IPC_LOCK: with it no memory is charged to RLIMIT_MEMLOCK (linux/capability.h).
const CAP_IPC_LOCK: u32 = 14;

/// The calling thread's: seccomp filters and capabilities are a thread's, /proc/self is the first one's.
const STATUS_PATH: &str = "/proc/thread-self/status";

/// What a process is about to need of the system.
#[derive(Debug, Clone)]
pub struct Needs<'a> {
    /// Where the store is or will be; none for a NameServer alone.
    pub store_dir: Option<&'a Path>,
    /// Bytes of buffers to be registered with rings, of all cores together, glommio's included.
    pub registered_bytes: u64,
    /// Descriptors to be open at once.
    pub open_files: u64,
}

impl Default for Needs<'_> {
    fn default() -> Self {
        Needs { store_dir: None, registered_bytes: 0, open_files: OPEN_FILES_WANTED }
    }
}

/// What the system gives.
#[derive(Debug)]
pub struct Report {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// RLIMIT_MEMLOCK: how much memory this user's processes may pin.
    pub memlock: Limit,
    /// Whether the process has CAP_IPC_LOCK, so that the limit does not count for it.
    pub ipc_lock: bool,
    /// RLIMIT_NOFILE: descriptors this process may have open.
    pub open_files: Limit,
    /// The store's file system, if a store was asked for.
    pub store: Option<StoreReport>,
    /// What is worse than it should be, though the program can run.
    pub warnings: Vec<Finding>,
}

/// A soft and a hard limit; none is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// Up to where the process may raise it.
    pub hard: Option<u64>,
}

/// All that keeps this program from running here, one finding a line.
#[derive(Debug)]
pub struct ProbeError {
    /// The fatal ones; at least one.
    pub findings: Vec<Finding>,
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ProbeError {}

/// Looks whether a process with a store in `store_dir` (none: without one) can run here.
///
/// # Errors
/// Everything that forbids it, at once.
pub fn probe(store_dir: Option<&Path>) -> Result<Report, ProbeError> {
    probe_for(&Needs { store_dir, ..Needs::default() })
}

/// Looks whether a process with these needs can run here. Writes and removes one file in the store.
///
/// # Errors
/// Everything that forbids it, at once.
pub fn probe_for(needs: &Needs<'_>) -> Result<Report, ProbeError> {
    let status = read_text(STATUS_PATH);
    let mut report = Report {
        kernel: kernel_release(),
        memlock: limit(Resource::Memlock),
        ipc_lock: has_capability(&status, CAP_IPC_LOCK),
        open_files: open_files(),
        store: None,
        warnings: Vec::new(),
    };
    let mut findings = Vec::new();
    findings.extend(check_executor_memlock(report.memlock).err());
    findings.extend(check_io_uring().err());
    findings.extend(
        check_buffer_memlock(report.memlock, report.ipc_lock, needs.registered_bytes).err(),
    );
    findings.extend(check_open_files(report.open_files, needs.open_files).err());
    if let Some(store_dir) = needs.store_dir {
        match store::probe_store(store_dir) {
            Ok((store, warning)) => {
                report.store = Some(store);
                findings.extend(warning);
            }
            Err(finding) => findings.push(finding),
        }
    }
    let (fatal, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(Finding::is_fatal);
    report.warnings = warnings;
    if fatal.is_empty() { Ok(report) } else { Err(ProbeError { findings: fatal }) }
}

/// Raises the soft limits of locked memory and open files to the hard ones, which every process may.
/// systemd's default is 1024 open files of 524 288 allowed. To be called before the probe.
pub fn raise_soft_limits() {
    for resource in [Resource::Memlock, Resource::Nofile] {
        let Limit { soft, hard } = limit(resource);
        if soft != hard {
            // Refused only by a security policy; then the probe reports the soft limit as it is.
            let _ = rustix::process::setrlimit(resource, Rlimit { current: hard, maximum: hard });
        }
    }
}

/// What must hold before glommio is asked for an executor: it panics where io_uring is denied.
///
/// # Errors
/// The finding that forbids it.
pub fn check_executor() -> Result<(), Finding> {
    check_executor_memlock(limit(Resource::Memlock))?;
    check_io_uring()
}

fn check_executor_memlock(memlock: Limit) -> Result<(), Finding> {
    match memlock.soft {
        Some(found_bytes) if found_bytes < EXECUTOR_MEMLOCK_BYTES => {
            let needed_bytes = EXECUTOR_MEMLOCK_BYTES;
            Err(Finding::MemlockBelowExecutor { found_bytes, needed_bytes })
        }
        _ => Ok(()),
    }
}

fn check_buffer_memlock(memlock: Limit, ipc_lock: bool, needed_bytes: u64) -> Result<(), Finding> {
    match memlock.soft {
        Some(found_bytes) if !ipc_lock && found_bytes < needed_bytes => {
            Err(Finding::MemlockBelowBuffers { found_bytes, needed_bytes })
        }
        _ => Ok(()),
    }
}

fn check_open_files(open_files: Limit, needed: u64) -> Result<(), Finding> {
    match open_files.soft {
        Some(found) if found < needed => Err(Finding::OpenFilesLow { found, needed }),
        _ => Ok(()),
    }
}

/// Makes a small ring with the flags we use, and explains it if that fails.
fn check_io_uring() -> Result<(), Finding> {
    let attempt: io::Result<IoUring> =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(2);
    let Err(error) = attempt else { return Ok(()) };
    Err(explain_io_uring(
        error,
        kernel_release(),
        &read_text(STATUS_PATH),
        &read_text("/proc/sys/kernel/io_uring_disabled"),
        &read_text("/proc/sys/kernel/io_uring_group"),
    ))
}

fn explain_io_uring(
    error: io::Error,
    release: String,
    status: &str,
    disabled: &str,
    group: &str,
) -> Finding {
    match Errno::from_io_error(&error) {
        // Flags it does not know.
        Some(Errno::INVAL) => Finding::KernelTooOld { release },
        Some(Errno::NOSYS) => Finding::IoUringAbsent { release },
        Some(errno @ (Errno::PERM | Errno::ACCESS)) => {
            let setting = disabled.trim().parse().unwrap_or(0);
            if errno == Errno::PERM && setting > 0 {
                let group = group.trim().parse().unwrap_or(-1);
                Finding::IoUringDisabled { setting, group }
            } else if status_field(status, "Seccomp").is_some_and(|mode| mode != "0") {
                Finding::IoUringFiltered { errno }
            } else {
                Finding::IoUringDenied { errno }
            }
        }
        _ => Finding::IoUringFailed { source: error },
    }
}

/// RLIMIT_NOFILE: descriptors this process may have open.
pub fn open_files() -> Limit {
    limit(Resource::Nofile)
}

/// Whether something failed because as many files are open as the process or the system may have.
pub fn is_want_of_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Whether the disk or its file system does not give what is in a file: trying again later is no use, and who
/// has the same elsewhere goes on without the file. Any other failure says nothing of what is in it.
pub fn is_disk_failure(error: &io::Error) -> bool {
    // Blocks that cannot be read or are not what was written (blk_errors in the kernel), then file systems.
    let is_of_blocks =
        |it| matches!(it, Errno::IO | Errno::NODATA | Errno::REMOTEIO | Errno::ILSEQ);
    let is_of_files = |it| matches!(it, Errno::UCLEAN | Errno::BADMSG);
    Errno::from_io_error(error).is_some_and(|it| is_of_blocks(it) || is_of_files(it))
}

/// Whose a file is, and who this process is, when permission is denied for that (uids). Of a file that is
/// not there, its directory counts.
pub fn other_owner(path: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let found = path.ancestors().find_map(|it| std::fs::metadata(it).ok())?;
    let own = rustix::process::geteuid().as_raw();
    (found.uid() != own).then_some((found.uid(), own))
}

/// Descriptors that this process has open now; none where there is no /proc.
pub fn descriptors_open() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

fn limit(resource: Resource) -> Limit {
    let Rlimit { current, maximum } = rustix::process::getrlimit(resource);
    Limit { soft: current, hard: maximum }
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// A file of /proc, empty where there is none: each caller has an answer for that.
fn read_text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of `Name:` in a thread's status.
fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

fn has_capability(status: &str, capability: u32) -> bool {
    status_field(status, "CapEff")
        .and_then(|bits| u64::from_str_radix(bits, 16).ok())
        .is_some_and(|bits| bits >> capability & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::{CoreOptions, spawn_core};
    use crate::placement::Placement;

    const STATUS: &str =
        "Name:\tringmq\nCapEff:\t0000000000004000\nSeccomp:\t2\nSeccomp_filters:\t1\n";
    const STATUS_OPEN: &str = "CapEff:\t0000000000000000\nSeccomp:\t0\n";

    fn check_denied(error: Errno, status: &str, disabled: &str, group: &str, expect: &str) {
        let finding =
            explain_io_uring(error.into(), "5.15.0-91-generic".to_owned(), status, disabled, group);
        assert!(finding.is_fatal());
        let message = finding.to_string();
        assert!(message.starts_with(expect), "{message:?} starts with {expect:?}");
        assert!(!message.ends_with('.'));
    }

    #[test]
    fn each_way_to_deny_io_uring_is_told_from_the_others() {
        let (old, absent) = ("linux 5.15.0-91-generic has an", "linux 5.15.0-91-generic has no");
        check_denied(Errno::INVAL, STATUS, "0\n", "-1\n", old);
        check_denied(Errno::NOSYS, STATUS, "", "", absent);
        let off = "io_uring is switched off by sysctl kernel.io_uring_disabled";
        check_denied(Errno::PERM, STATUS, "2\n", "-1\n", &format!("{off}=2: sysctl -w"));
        check_denied(
            Errno::PERM,
            STATUS,
            "1\n",
            "991\n",
            &format!("{off}=1 for all but group 991"),
        );
        check_denied(Errno::PERM, STATUS, "1\n", "-1\n", &format!("{off}=1 for all without CAP"));
        check_denied(Errno::PERM, STATUS, "0\n", "-1\n", "a seccomp filter denies");
        check_denied(Errno::PERM, STATUS, "", "", "a seccomp filter denies");
        check_denied(Errno::PERM, STATUS_OPEN, "0\n", "-1\n", "io_uring_setup is denied");
        check_denied(Errno::ACCESS, STATUS_OPEN, "2\n", "-1\n", "io_uring_setup is denied");
        check_denied(Errno::MFILE, STATUS, "0\n", "-1\n", "io_uring_setup failed: Too many open");
    }

    #[test]
    fn capabilities_are_read_from_the_status() {
        assert!(has_capability(STATUS, CAP_IPC_LOCK));
        assert!(!has_capability(STATUS, CAP_IPC_LOCK + 1));
        assert!(!has_capability(STATUS_OPEN, CAP_IPC_LOCK));
        assert!(!has_capability("", CAP_IPC_LOCK));
        assert!(!has_capability("CapEff:\tno number\n", CAP_IPC_LOCK));
    }

    #[test]
    fn too_little_locked_memory_is_told_with_the_numbers() {
        let limit = |bytes| Limit { soft: bytes, hard: None };
        let message = check_executor_memlock(limit(Some(65_536))).unwrap_err().to_string();
        assert!(message.contains("is 64 KiB, an executor needs 512 KiB"), "{message}");
        assert!(message.contains("LimitMEMLOCK=infinity,"), "{message}");
        assert!(message.contains("\"* - memlock unlimited\""), "{message}");
        assert!(check_executor_memlock(limit(Some(EXECUTOR_MEMLOCK_BYTES))).is_ok());
        assert!(check_executor_memlock(limit(None)).is_ok());

        let needed_bytes = 64 << 20;
        let finding = check_buffer_memlock(limit(Some(8 << 20)), false, needed_bytes).unwrap_err();
        assert!(!finding.is_fatal(), "{finding}");
        assert!(check_buffer_memlock(limit(Some(8 << 20)), true, needed_bytes).is_ok());
        assert!(check_buffer_memlock(limit(Some(needed_bytes)), false, needed_bytes).is_ok());
    }

    #[test]
    fn few_open_files_are_a_warning() {
        let limit = Limit { soft: Some(1024), hard: Some(1024) };
        let finding = check_open_files(limit, OPEN_FILES_WANTED).unwrap_err();
        assert!(!finding.is_fatal());
        assert!(finding.to_string().contains("LimitNOFILE=65536"), "{finding}");
        assert!(check_open_files(limit, 1024).is_ok());
    }

    #[test]
    fn every_reason_not_to_start_is_a_line() {
        let error = ProbeError {
            findings: vec![
                Finding::KernelTooOld { release: "5.4".to_owned() },
                Finding::OpenFilesLow { found: 1, needed: 2 },
            ],
        };
        assert_eq!(error.to_string().lines().count(), 2);
    }

    #[test]
    fn this_system_runs_executors() {
        let report = probe(None).unwrap();
        assert!(!report.kernel.is_empty());
        assert_eq!(report.store, None);
        check_executor().unwrap();
    }

    /// Denies io_uring_setup to the calling thread and those it starts, as a container's profile does.
    fn deny_io_uring() {
        let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        let equals = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        let answer = (libc::BPF_RET | libc::BPF_K) as u16;
        let instruction = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
        let mut program = [
            // The number of the system call is the first field of seccomp_data.
            instruction(load, 0, 0),
            instruction(equals, libc::SYS_io_uring_setup as u32, 1),
            instruction(answer, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0),
            instruction(answer, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let filter = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        // SAFETY: takes numbers only; a thread without new privileges may filter itself.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        assert!(result == 0, "{}", io::Error::last_os_error());
        // SAFETY: the filter and its program outlive the call, which copies them.
        let result =
            unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) };
        assert!(result == 0, "{}", io::Error::last_os_error());
    }

    /// And not with a panic: that is what glommio does when it is denied.
    #[test]
    fn a_core_that_is_denied_io_uring_says_why() {
        let error = std::thread::spawn(|| {
            deny_io_uring();
            let options = CoreOptions::new(Placement::Free);
            spawn_core("core-0", options, || async { Ok::<_, io::Error>(()) }).unwrap_err()
        })
        .join()
        .unwrap();
        let expect = "start the executor of core-0: a seccomp filter denies io_uring_setup";
        assert!(error.to_string().starts_with(expect), "{error}");
    }
}
