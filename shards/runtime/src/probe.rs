//! What this system gives and denies: io_uring, locked memory, open files, direct I/O on the store.
//! Kind: shell (asks the system) around parsers of text.
//!
//! Each finding says what, where and what to do. Fatal ones end the start, the others are warnings.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use io_uring::IoUring;
use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

/// The oldest kernel with all we use: provided buffer rings 5.19, multishot receive 6.0, SINGLE_ISSUER
/// 6.0, DEFER_TASKRUN 6.1. Not the number is asked but the newest of them, DEFER_TASKRUN, is tried:
/// distributions carry newer io_uring in older kernels, and always as a whole.
pub const KERNEL_MIN: &str = "6.1";

/// What glommio 0.9 wants as RLIMIT_MEMLOCK before it makes an executor, even with CAP_IPC_LOCK.
pub const EXECUTOR_MEMLOCK_BYTES: u64 = 512 << 10;

/// Descriptors we want at least: connections, segments, rings and eventfds. With fewer the broker
/// runs, and refuses connections early.
pub const OPEN_FILES_WANTED: u64 = 65_536;

/// Alignment for direct I/O where nobody tells: the largest logical block in use.
pub const DIRECT_ALIGN_ASSUMED: u32 = 4096;

/// CAP_IPC_LOCK: with it no memory is charged to RLIMIT_MEMLOCK (linux/capability.h).
const CAP_IPC_LOCK: u32 = 14;

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

/// Where the store lies and how direct I/O must be aligned there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReport {
    /// The directory that was looked at: the store's, or its nearest parent that exists.
    pub path: PathBuf,
    /// The file system's type, as in /proc/mounts.
    pub file_system: String,
    /// Alignment of memory, in bytes.
    pub memory_align: u32,
    /// Alignment of file positions and sizes, in bytes: the block that is written whole or not at all.
    pub offset_align: u32,
    /// Who told.
    pub align_source: AlignSource,
}

/// Where the alignment of direct I/O comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlignSource {
    /// statx with STATX_DIOALIGN: the file system itself.
    FileSystem,
    /// The logical block size of the block device below it.
    Device,
    /// Nobody tells: [`DIRECT_ALIGN_ASSUMED`], which a write has confirmed.
    Assumed,
}

/// One thing about this system that we cannot, or would rather not, run with.
#[derive(Debug, thiserror::Error)]
pub enum Finding {
    /// io_uring is there but too old.
    #[error(
        "linux {release} has an io_uring without DEFER_TASKRUN: run linux {KERNEL_MIN} or newer"
    )]
    KernelTooOld {
        /// `uname -r`.
        release: String,
    },
    /// There is no io_uring.
    #[error(
        "linux {release} has no io_uring (io_uring_setup: ENOSYS): run linux {KERNEL_MIN} or newer \
         built with CONFIG_IO_URING; under gVisor or a seccomp filter that answers ENOSYS, run outside \
         of it"
    )]
    IoUringAbsent {
        /// `uname -r`.
        release: String,
    },
    /// The system's administrator switched io_uring off.
    #[error("io_uring is switched off by sysctl kernel.io_uring_disabled={setting}{}", sysctl_advice(*setting, *group))]
    IoUringDisabled {
        /// 1: only for kernel.io_uring_group and CAP_SYS_ADMIN; 2: for everybody.
        setting: u32,
        /// kernel.io_uring_group, -1 if none.
        group: i64,
    },
    /// A seccomp filter stands before it: the default in Docker, containerd and Podman.
    #[error(
        "a seccomp filter denies io_uring_setup ({errno}), as the default profile of containers does: \
         allow io_uring_setup, io_uring_enter and io_uring_register (docker: --security-opt \
         seccomp=profile.json; kubernetes: securityContext.seccompProfile of type Localhost)"
    )]
    IoUringFiltered {
        /// What io_uring_setup answered.
        errno: Errno,
    },
    /// Something else denies it: SELinux, AppArmor, a sandbox.
    #[error(
        "io_uring_setup is denied ({errno}), neither by kernel.io_uring_disabled nor by seccomp: look \
         for a security policy (SELinux: ausearch -m avc; AppArmor: dmesg) and allow io_uring"
    )]
    IoUringDenied {
        /// What io_uring_setup answered.
        errno: Errno,
    },
    /// It failed for want of memory or descriptors.
    #[error(
        "io_uring_setup failed: {source} (memory of the process or its cgroup, or the limit of open \
         files)"
    )]
    IoUringFailed {
        /// What io_uring_setup answered.
        source: io::Error,
    },
    /// glommio makes no executor.
    #[error(
        "the limit of locked memory (RLIMIT_MEMLOCK) is {} KiB, an executor needs {} KiB, with \
         CAP_IPC_LOCK too: {}",
        kib(*found_bytes), kib(*needed_bytes), MemlockAdvice(*needed_bytes)
    )]
    MemlockBelowExecutor {
        /// The soft limit.
        found_bytes: u64,
        /// What must be allowed.
        needed_bytes: u64,
    },
    /// Not all buffers can be registered.
    #[error(
        "the limit of locked memory (RLIMIT_MEMLOCK) is {} KiB, registered buffers need {} KiB: \
         without them writes cost 10-15 % more cpu; {}, or give the process CAP_IPC_LOCK",
        kib(*found_bytes), kib(*needed_bytes), MemlockAdvice(*needed_bytes)
    )]
    MemlockBelowBuffers {
        /// The soft limit.
        found_bytes: u64,
        /// What all processes of this user together want to pin, as far as we know: ours.
        needed_bytes: u64,
    },
    /// Few connections fit.
    #[error(
        "the limit of open files (RLIMIT_NOFILE) is {found}, {needed} are wanted: systemd \
         LimitNOFILE={needed}, docker --ulimit nofile={needed}, elsewhere \"* - nofile {needed}\" in \
         /etc/security/limits.conf"
    )]
    OpenFilesLow {
        /// The soft limit.
        found: u64,
        /// What is wanted.
        needed: u64,
    },
    /// The store cannot be looked at or written to.
    #[error("{action} {}: {source} (the user that runs this must own the store)", path.display())]
    StoreUnusable {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store's file system takes no O_DIRECT.
    #[error(
        "{} lies on {file_system}, which takes no direct writes (O_DIRECT): put the store on ext4 or \
         xfs; in a container on a volume or a bind mount, not in the container's own layers",
        path.display()
    )]
    NoDirectIo {
        /// The directory.
        path: PathBuf,
        /// Its file system.
        file_system: String,
    },
    /// The store's file system is memory.
    #[error(
        "{} lies on {file_system}, which is memory: all messages are lost when the machine or the \
         container stops; put the store on ext4 or xfs",
        path.display()
    )]
    StoreInMemory {
        /// The directory.
        path: PathBuf,
        /// Its file system.
        file_system: String,
    },
}

impl Finding {
    /// Whether the program cannot run with it.
    pub fn is_fatal(&self) -> bool {
        match self {
            Finding::MemlockBelowBuffers { .. }
            | Finding::OpenFilesLow { .. }
            | Finding::StoreInMemory { .. } => false,
            Finding::KernelTooOld { .. }
            | Finding::IoUringAbsent { .. }
            | Finding::IoUringDisabled { .. }
            | Finding::IoUringFiltered { .. }
            | Finding::IoUringDenied { .. }
            | Finding::IoUringFailed { .. }
            | Finding::MemlockBelowExecutor { .. }
            | Finding::StoreUnusable { .. }
            | Finding::NoDirectIo { .. } => true,
        }
    }
}

fn sysctl_advice(setting: u32, group: i64) -> String {
    let unlock = "sysctl -w kernel.io_uring_disabled=0, and the same line in /etc/sysctl.d/";
    match (setting, group) {
        (1, 0..) => format!(" for all but group {group}: add this user to it, or {unlock}"),
        (1, _) => format!(" for all without CAP_SYS_ADMIN: {unlock}"),
        _ => format!(": {unlock}"),
    }
}

fn kib(bytes: u64) -> u64 {
    bytes.div_ceil(1024)
}

/// Each way to raise the limit of locked memory, in the unit that it wants.
struct MemlockAdvice(u64);

impl fmt::Display for MemlockAdvice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        write!(
            f,
            "systemd LimitMEMLOCK={bytes}, docker --ulimit memlock={bytes}, elsewhere \
             \"* - memlock {}\" in /etc/security/limits.conf",
            kib(bytes)
        )
    }
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
    let status = read_text("/proc/self/status");
    let mut report = Report {
        kernel: kernel_release(),
        memlock: limit(Resource::Memlock),
        ipc_lock: has_capability(&status, CAP_IPC_LOCK),
        open_files: limit(Resource::Nofile),
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
        match probe_store(store_dir) {
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
        &read_text("/proc/self/status"),
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

/// The value of `Name:` in /proc/self/status.
fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

fn has_capability(status: &str, capability: u32) -> bool {
    status_field(status, "CapEff")
        .and_then(|bits| u64::from_str_radix(bits, 16).ok())
        .is_some_and(|bits| bits >> capability & 1 == 1)
}

/// One block for the trial write: aligned for every device.
#[repr(align(4096))]
struct Block([u8; DIRECT_ALIGN_ASSUMED as usize]);

/// What the store's file system takes: tried out on a file of its own, because neither its name nor
/// its flags tell (an overlay is what lies below it, tmpfs takes O_DIRECT since 6.6 and ignores it).
fn probe_store(store_dir: &Path) -> Result<(StoreReport, Option<Finding>), Finding> {
    let path = nearest_existing(store_dir);
    let unusable = |action, error: Errno| Finding::StoreUnusable {
        action,
        path: path.to_owned(),
        source: error.into(),
    };
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), mask)
        .map_err(|error| unusable("look at", error))?;
    let mounts = read_text("/proc/self/mountinfo");
    let file_system = file_system_of(&mounts, stat.stx_mnt_id).unwrap_or("an unknown file system");
    let no_direct_io =
        || Finding::NoDirectIo { path: path.to_owned(), file_system: file_system.to_owned() };
    let file = match open_direct(path) {
        Ok(file) => file,
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Err(no_direct_io()),
        Err(error) => return Err(unusable("create a file in", error)),
    };
    let stat = rustix::fs::statx(
        &file,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN,
    )
    .map_err(|error| unusable("look at a file in", error))?;
    let (memory_align, offset_align, align_source) =
        direct_align(&stat).ok_or_else(no_direct_io)?;
    let block = Box::new(Block([0; DIRECT_ALIGN_ASSUMED as usize]));
    match rustix::io::pwrite(&file, &block.0, 0) {
        Ok(_) => {}
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Err(no_direct_io()),
        Err(error) => return Err(unusable("write a file in", error)),
    }
    let in_memory = matches!(file_system, "tmpfs" | "ramfs").then(|| Finding::StoreInMemory {
        path: path.to_owned(),
        file_system: file_system.to_owned(),
    });
    let file_system = file_system.to_owned();
    let path = path.to_owned();
    Ok((StoreReport { path, file_system, memory_align, offset_align, align_source }, in_memory))
}

/// The path itself, or the nearest parent that is there: a store is probed before it is made.
fn nearest_existing(path: &Path) -> &Path {
    let parents = path.ancestors().filter(|parent| !parent.as_os_str().is_empty());
    parents.into_iter().find(|parent| parent.exists()).unwrap_or(Path::new("."))
}

/// Opens a new file without a name for direct I/O; where the file system has none such, one with a
/// name that is removed at once.
fn open_direct(dir: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(dir, flags | OFlags::TMPFILE, mode) {
        Ok(file) => return Ok(file.into()),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    let path = dir.join(format!(".direct-io-probe.{}", std::process::id()));
    let opened = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode);
    // Even a refused O_DIRECT may leave the file behind (fs/open.c checks after creating it).
    let _ = rustix::fs::unlink(&path);
    opened.map(File::from)
}

/// Alignment of memory, of positions, and who told; none if the file takes no direct I/O.
fn direct_align(stat: &Statx) -> Option<(u32, u32, AlignSource)> {
    if stat.stx_mask & StatxFlags::DIOALIGN.bits() != 0 {
        let (memory, offset) = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
        return (memory != 0 && offset != 0).then_some((memory, offset, AlignSource::FileSystem));
    }
    match logical_block_bytes(stat.stx_dev_major, stat.stx_dev_minor) {
        Some(bytes) => Some((bytes, bytes, AlignSource::Device)),
        None => Some((DIRECT_ALIGN_ASSUMED, DIRECT_ALIGN_ASSUMED, AlignSource::Assumed)),
    }
}

/// What the ioctl BLKSSZGET tells, from sysfs: reading it there needs no right on the device.
fn logical_block_bytes(major: u32, minor: u32) -> Option<u32> {
    let device = format!("/sys/dev/block/{major}:{minor}");
    // A partition has no queue of its own: its disk, one level up, has.
    ["queue/logical_block_size", "../queue/logical_block_size"].iter().find_map(|file| {
        std::fs::read_to_string(format!("{device}/{file}")).ok()?.trim().parse().ok()
    })
}

/// The type of the mount with this id, from /proc/self/mountinfo:
/// `36 35 98:0 /root /mount options optional-fields - type source super-options`
fn file_system_of(mountinfo: &str, mount_id: u64) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let id: u64 = mount.split(' ').next()?.parse().ok()?;
        (id == mount_id).then(|| file_system.split(' ').next())?
    })
}
