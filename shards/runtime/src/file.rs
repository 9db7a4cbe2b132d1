//! Files opened for O_DIRECT, directories that are synced, and the store's lock.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::limits::DIRECT_ALIGNMENT;
use crate::memory::DirectBuffer;

/// A file read and written past the page cache, at aligned offsets and sizes only.
#[derive(Debug)]
pub struct DirectFile {
    fd: OwnedFd,
    path: PathBuf,
}

/// How to open a [`DirectFile`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// It must exist.
    Existing,
    /// It is created when it does not exist.
    OrCreate,
    /// It must exist, and is not written.
    ReadOnly,
}

impl DirectFile {
    /// # Errors
    /// What open says; EINVAL means that the file system knows no O_DIRECT.
    pub fn open(path: &Path, mode: OpenMode) -> io::Result<DirectFile> {
        let access = match mode {
            OpenMode::Existing => OFlags::RDWR,
            OpenMode::OrCreate => OFlags::RDWR | OFlags::CREATE,
            OpenMode::ReadOnly => OFlags::RDONLY,
        };
        let flags = access | OFlags::DIRECT | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
        Ok(DirectFile { fd, path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size in bytes as the file system has it.
    ///
    /// # Errors
    /// What fstat says.
    pub fn size_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Reserves `[0, bytes)` on the disk and sets the file's size to at least that.
    ///
    /// # Errors
    /// ENOSPC when the disk is full, EOPNOTSUPP on file systems that cannot.
    pub fn allocate(&self, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.fd, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
    }

    /// Reads into the whole buffer at `offset`, blocking: for recovery and tools. Short at the end.
    ///
    /// # Errors
    /// What pread says.
    pub fn read_at(&self, buffer: &mut DirectBuffer, offset: u64) -> io::Result<usize> {
        assert!(offset.is_multiple_of(DIRECT_ALIGNMENT as u64));
        let mut filled = 0;
        while filled < buffer.size() {
            let rest = &mut buffer.bytes_mut()[filled..];
            match rustix::io::retry_on_intr(|| {
                rustix::io::pread(&self.fd, &mut *rest, offset + filled as u64)
            })? {
                0 => break,
                read => filled += read,
            }
            if !filled.is_multiple_of(DIRECT_ALIGNMENT) {
                break; // the end of a file that is not a whole number of blocks
            }
        }
        Ok(filled)
    }

    /// Writes the first `len` bytes of the buffer at `offset`, blocking: for recovery and preparation.
    ///
    /// # Errors
    /// What pwrite says; a short write is an error (WriteZero).
    pub fn write_at(&self, buffer: &DirectBuffer, len: usize, offset: u64) -> io::Result<()> {
        assert!(offset.is_multiple_of(DIRECT_ALIGNMENT as u64));
        assert!(len.is_multiple_of(DIRECT_ALIGNMENT));
        let mut written = 0;
        while written < len {
            let rest = &buffer.bytes()[written..len];
            let count = rustix::io::retry_on_intr(|| {
                rustix::io::pwrite(&self.fd, rest, offset + written as u64)
            })?;
            if count == 0 || !count.is_multiple_of(DIRECT_ALIGNMENT) {
                return Err(io::ErrorKind::WriteZero.into());
            }
            written += count;
        }
        Ok(())
    }

    /// Makes what was written durable, with the metadata needed to find it.
    ///
    /// # Errors
    /// What fdatasync says: what was written since the last sync may be lost, for good.
    pub fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.fd)?)
    }

    /// A second handle of the same open file.
    ///
    /// # Errors
    /// EMFILE above the limit of open files.
    pub fn try_clone(&self) -> io::Result<DirectFile> {
        Ok(DirectFile { fd: self.fd.try_clone()?, path: self.path.clone() })
    }
}

impl AsFd for DirectFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A file system as the store uses it, in steps that a crash can fall between: the seam at which the
/// simulator's disk takes the place of the kernel's.
pub trait FileSystem {
    /// A file of the log.
    type File: StoreFile;

    /// Makes a directory and those above it, if they are not there.
    ///
    /// # Errors
    /// What the file system says; so with all that follow.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, in any order.
    ///
    /// # Errors
    /// As above.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Opens a file of the log.
    ///
    /// # Errors
    /// As above.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Self::File>;
    /// The whole of a small file.
    ///
    /// # Errors
    /// As above; NotFound if there is none.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Makes a small file with this content, which a crash may lose until it is synced.
    ///
    /// # Errors
    /// As above.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Makes the content of a small file durable.
    ///
    /// # Errors
    /// As above.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Puts a file in the place of another one, which a crash may undo until the directory is synced.
    ///
    /// # Errors
    /// As above.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, which a crash may undo until the directory is synced.
    ///
    /// # Errors
    /// As above; NotFound if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable: files created, renamed or removed in it.
    ///
    /// # Errors
    /// As above.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
}

/// A file system that several threads use, each with a handle of its own.
pub trait SharedFiles: FileSystem<File: Send> + Clone + Send + 'static {}

impl<S: FileSystem<File: Send> + Clone + Send + 'static> SharedFiles for S {}

/// A file of the log, read and written in whole blocks. What [`DirectFile`]'s methods say holds for
/// every other.
pub trait StoreFile: Sized {
    /// See [`DirectFile::path`].
    fn path(&self) -> &Path;
    /// See [`DirectFile::size_bytes`].
    ///
    /// # Errors
    /// What the file system says.
    fn size_bytes(&self) -> io::Result<u64>;
    /// See [`DirectFile::allocate`].
    ///
    /// # Errors
    /// ENOSPC when the disk is full.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// See [`DirectFile::read_at`].
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, buffer: &mut DirectBuffer, offset: u64) -> io::Result<usize>;
    /// See [`DirectFile::write_at`].
    ///
    /// # Errors
    /// What the disk says; a short write is an error.
    fn write_at(&self, buffer: &DirectBuffer, len: usize, offset: u64) -> io::Result<()>;
    /// See [`DirectFile::sync_data`].
    ///
    /// # Errors
    /// What was written since the last sync may be lost, for good.
    fn sync_data(&self) -> io::Result<()>;
}

impl StoreFile for DirectFile {
    fn path(&self) -> &Path {
        DirectFile::path(self)
    }

    fn size_bytes(&self) -> io::Result<u64> {
        DirectFile::size_bytes(self)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        DirectFile::allocate(self, bytes)
    }

    fn read_at(&self, buffer: &mut DirectBuffer, offset: u64) -> io::Result<usize> {
        DirectFile::read_at(self, buffer, offset)
    }

    fn write_at(&self, buffer: &DirectBuffer, len: usize, offset: u64) -> io::Result<()> {
        DirectFile::write_at(self, buffer, len, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        DirectFile::sync_data(self)
    }
}

/// The kernel's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemFiles;

impl FileSystem for SystemFiles {
    type File = DirectFile;

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(directory)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<DirectFile> {
        DirectFile::open(path, mode)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        std::fs::write(path, content)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// The kernel's file system for those who only look, also at a file system that is read-only: whatever would
/// change something fails.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnlyFiles;

impl FileSystem for ReadOnlyFiles {
    type File = DirectFile;

    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        SystemFiles.list(directory)
    }

    fn open(&self, path: &Path, _mode: OpenMode) -> io::Result<DirectFile> {
        DirectFile::open(path, OpenMode::ReadOnly)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemFiles.read(path)
    }

    fn write(&self, _path: &Path, _content: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Writes a small file aside, syncs it, renames it into place and syncs the directory.
///
/// # Errors
/// What any of these steps says; the old file is then still whole.
pub fn replace_file(files: &impl FileSystem, path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    files.write(&aside, content)?;
    files.sync(&aside)?;
    files.rename(&aside, path)?;
    files.sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// An exclusive lock on a file, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock and writes the process id into the file, or says who holds it.
    ///
    /// # Errors
    /// WouldBlock when another process holds it (its pid is in the message), else what open says.
    pub fn take(path: &Path) -> io::Result<FileLock> {
        use std::io::{Read, Seek, Write};
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            return Err(io::Error::new(io::ErrorKind::WouldBlock, holder.trim().to_owned()));
        }
        file.set_len(0)?;
        file.rewind()?;
        match write!(file, "{}", std::process::id()) {
            // The lock counts; a full disk must not keep a store from being read.
            Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(error),
            _ => Ok(FileLock { _file: file }),
        }
    }
}

impl FileLock {
    /// Keeps writers away from what can only be read: the lock of a file that may not be written. No process
    /// id can be left in it.
    ///
    /// # Errors
    /// WouldBlock as of [`FileLock::take`], else what open and flock say.
    pub fn take_unwritten(path: &Path) -> io::Result<FileLock> {
        use std::io::Read;
        let mut file = File::open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(FileLock { _file: file }),
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::WouldBlock => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                Err(io::Error::new(io::ErrorKind::WouldBlock, holder.trim().to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The smallest unit of direct I/O on this file system, in bytes (`statx(2)`, STATX_DIOALIGN).
///
/// # Errors
/// Unsupported when the file system knows no direct I/O; else what open and statx say.
pub fn direct_io_block_bytes(directory: &Path) -> io::Result<u64> {
    let probe = directory.join(format!(".direct-io-{}", std::process::id()));
    let file = DirectFile::open(&probe, OpenMode::OrCreate);
    let removed = std::fs::remove_file(&probe);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Err(error) => return Err(error),
    };
    removed?;
    let answer = rustix::fs::statx(
        &file.fd,
        "",
        rustix::fs::AtFlags::EMPTY_PATH,
        rustix::fs::StatxFlags::from_bits_retain(libc::STATX_DIOALIGN),
    )?;
    let align = u64::from(answer.stx_dio_offset_align);
    Ok(if align == 0 { DIRECT_ALIGNMENT as u64 } else { align })
}

/// How much of a file system is used, in percent of what users who are not root may use, and its size
/// in bytes (`statvfs(3)`; as `df` counts).
///
/// # Errors
/// What statvfs says.
pub fn disk_use(directory: &Path) -> io::Result<(f64, u64)> {
    let stat = rustix::fs::statvfs(directory)?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let usable = used + stat.f_bavail;
    let percent = if usable == 0 { 100.0 } else { used as f64 / usable as f64 * 100.0 };
    Ok((percent, usable * stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_names_its_holder() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("LOCK");
        let held = FileLock::take(&path).expect("first");
        let refused = FileLock::take(&path).expect_err("second");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(refused.to_string(), std::process::id().to_string());
        drop(held);
        FileLock::take(&path).expect("after release");
    }

    #[test]
    fn lock_that_cannot_be_written_keeps_writers_away() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("LOCK");
        std::fs::write(&path, "1").expect("written");
        let held = FileLock::take_unwritten(&path).expect("first");
        let also = FileLock::take_unwritten(&path).expect("who only looks, too");
        assert!(FileLock::take(&path).is_err());
        drop((held, also));
        let _writes = FileLock::take(&path).expect("after release");
        let refused = FileLock::take_unwritten(&path).expect_err("it is written");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(refused.to_string(), std::process::id().to_string());
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        std::fs::write(&path, [7; 4096]).expect("written");
        let file = ReadOnlyFiles.open(&path, OpenMode::OrCreate).expect("it is there");
        let mut buffer = DirectBuffer::new(4096).expect("memory");
        assert_eq!(file.read_at(&mut buffer, 0).expect("read"), 4096);
        assert!(file.write_at(&buffer, 4096, 0).is_err());
        assert!(ReadOnlyFiles.remove(&path).is_err() && path.exists());
        let none = ReadOnlyFiles.open(&directory.path().join("none"), OpenMode::OrCreate);
        assert_eq!(none.expect_err("not made").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn replaced_file_is_whole() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("STORE");
        replace_file(&SystemFiles, &path, b"one").expect("create");
        replace_file(&SystemFiles, &path, b"two").expect("replace");
        assert_eq!(std::fs::read(&path).expect("read"), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).expect("list").count(), 1);
    }
}
