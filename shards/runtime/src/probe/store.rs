//! What the file system of the store takes.
//! Kind: shell

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::{Finding, read_text};

/// Alignment for direct I/O where nobody tells, and the largest that our buffers have.
pub const DIRECT_ALIGN_ASSUMED: u32 = 4096;

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

/// One block for the trial write: aligned for every device.
#[repr(align(4096))]
struct Block([u8; DIRECT_ALIGN_ASSUMED as usize]);

/// What the store's file system takes: tried out on a file of its own, because neither its name nor
/// its flags tell (an overlay is what lies below it, tmpfs takes O_DIRECT since 6.6 and ignores it).
pub(super) fn probe_store(store_dir: &Path) -> Result<(StoreReport, Option<Finding>), Finding> {
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
    let align_bytes = memory_align.max(offset_align);
    if align_bytes > DIRECT_ALIGN_ASSUMED {
        let path = path.to_owned();
        let align_bytes_max = DIRECT_ALIGN_ASSUMED;
        return Err(Finding::DirectBlockTooLarge { path, align_bytes, align_bytes_max });
    }
    let block = Box::new(Block([0; DIRECT_ALIGN_ASSUMED as usize]));
    match rustix::io::pwrite(&file, &block.0, 0) {
        // A full disk takes direct I/O, too; whether the store can be opened on it is the store's matter.
        Ok(_) | Err(Errno::NOSPC) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_is_found_by_its_mount() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      28 22 0:24 / /dev/shm rw shared:2 master:7 - tmpfs tmpfs rw,size=1g\n\
                      no mount\n41 22 0:50 / /data rw - overlay overlay rw,lowerdir=/a - b\n";
        assert_eq!(file_system_of(mounts, 22), Some("ext4"));
        assert_eq!(file_system_of(mounts, 28), Some("tmpfs"));
        assert_eq!(file_system_of(mounts, 41), Some("overlay"));
        assert_eq!(file_system_of(mounts, 2), None);
        assert_eq!(file_system_of("", 22), None);
    }

    #[test]
    fn a_store_that_is_not_there_yet_is_probed_at_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(nearest_existing(&dir.path().join("a/b/c")), dir.path());
        assert_eq!(nearest_existing(dir.path()), dir.path());
        assert_eq!(nearest_existing(Path::new("a-store-that-is-not-there/x")), Path::new("."));
    }

    /// Wherever the tests run: the probe either finds an alignment or names the file system.
    #[test]
    fn a_directory_is_probed_and_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        match probe_store(dir.path()) {
            Ok((store, _)) => {
                assert_eq!(store.path, dir.path());
                assert!(store.memory_align.is_power_of_two());
                assert!(store.offset_align.is_power_of_two());
            }
            Err(Finding::NoDirectIo { path, file_system }) => {
                assert_eq!(path, dir.path());
                assert!(!file_system.is_empty());
            }
            Err(finding) => panic!("{finding}"),
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_of_the_store_is_reported() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let finding = probe_store(file.path()).unwrap_err();
        assert!(matches!(finding, Finding::StoreUnusable { .. }), "{finding}");
        assert!(finding.is_fatal());
    }
}
