//! What can be wrong with a system, each with what to do about it.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::KERNEL_MIN;

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
         allow io_uring_setup, io_uring_enter and io_uring_register with deploy/container/seccomp.json \
         (docker: --security-opt seccomp=FILE; kubernetes: securityContext.seccompProfile of type \
         Localhost)"
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
        kib(*found_bytes), kib(*needed_bytes), MEMLOCK_ADVICE
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
        kib(*found_bytes), kib(*needed_bytes), MEMLOCK_ADVICE
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
    #[error(
        "{action} {}: {source} (the store's directory must be there, or able to be made, and writable \
         for the user that runs this)",
        path.display()
    )]
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
    /// The device's block is larger than our buffers are aligned.
    #[error(
        "{} wants direct writes aligned to {align_bytes} bytes, at most {align_bytes_max} are supported: \
         put the store on a device with a smaller logical block",
        path.display()
    )]
    DirectBlockTooLarge {
        /// The directory.
        path: PathBuf,
        /// What the file system asks for.
        align_bytes: u32,
        /// What our buffers have.
        align_bytes_max: u32,
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
            | Finding::NoDirectIo { .. }
            | Finding::DirectBlockTooLarge { .. } => true,
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

/// Each way to raise the limit of locked memory. Never to a number: what rings and buffers are charged
/// differs from kernel to kernel, and a number that is enough for the one fails at the next.
const MEMLOCK_ADVICE: &str = "systemd LimitMEMLOCK=infinity, docker --ulimit memlock=-1, elsewhere \
     \"* - memlock unlimited\" in /etc/security/limits.conf";
