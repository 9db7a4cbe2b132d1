//! A file system over the kernel's that holds back what was not synced.
//! Kind: shell

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use runtime::DirectBuffer;
use runtime::file::{DirectFile, FileSystem, OpenMode, StoreFile, SystemFiles};

/// Bytes held together: the unit of every write to the log.
const PAGE_BYTES: usize = 4096;

/// Bytes written to the file at once by a sync.
const FLUSH_BYTES: usize = 1 << 20;

/// Bytes of one file that were written and not synced, by page.
#[derive(Default, Debug)]
pub struct Pages {
    held: BTreeMap<u64, Box<[u8]>>,
    /// Behind the last byte ever held: reads see this size.
    end: u64,
}

impl Pages {
    /// Holds bytes back.
    pub fn hold(&mut self, offset: u64, bytes: &[u8]) {
        assert!(offset.is_multiple_of(PAGE_BYTES as u64) && bytes.len().is_multiple_of(PAGE_BYTES));
        for (page, bytes) in (offset / PAGE_BYTES as u64..).zip(bytes.chunks_exact(PAGE_BYTES)) {
            self.held.insert(page, bytes.into());
        }
        self.end = self.end.max(offset + bytes.len() as u64);
    }

    /// Bytes that are written through replace what is held of them.
    pub fn forget(&mut self, range: Range<u64>) {
        let pages = range.start / PAGE_BYTES as u64..range.end.div_ceil(PAGE_BYTES as u64);
        let keys: Vec<_> = self.held.range(pages).map(|(page, _)| *page).collect();
        for page in keys {
            self.held.remove(&page);
        }
    }

    /// What is held of a range: offset and bytes.
    pub fn copy(&self, range: Range<u64>) -> Vec<(u64, Box<[u8]>)> {
        let pages = range.start / PAGE_BYTES as u64..range.end.div_ceil(PAGE_BYTES as u64);
        let found = self.held.range(pages);
        found.map(|(page, bytes)| (page * PAGE_BYTES as u64, bytes.clone())).collect()
    }

    /// Where the file ends for those who read it, if it was written here.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Writes everything to the file.
    fn flush(&mut self, file: &DirectFile) -> io::Result<()> {
        let mut buffer = DirectBuffer::new(FLUSH_BYTES)?;
        let (mut start, mut len) = (0, 0);
        for (page, bytes) in std::mem::take(&mut self.held) {
            let offset = page * PAGE_BYTES as u64;
            if len > 0 && (offset != start + len as u64 || len == FLUSH_BYTES) {
                file.write_at(&buffer, len, start)?;
                len = 0;
            }
            if len == 0 {
                start = offset;
            }
            buffer.bytes_mut()[len..len + PAGE_BYTES].copy_from_slice(&bytes);
            len += PAGE_BYTES;
        }
        if len > 0 { file.write_at(&buffer, len, start) } else { Ok(()) }
    }
}

/// Puts held pages over what was read from the file; how many bytes there are then.
pub fn lay_over(
    buffer: &mut DirectBuffer,
    offset: u64,
    read: usize,
    held: &[(u64, Box<[u8]>)],
    end: u64,
) -> usize {
    let size = buffer.size();
    let total = read.max(size.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(size)));
    buffer.bytes_mut()[read..total].fill(0);
    for (at, bytes) in held {
        let from = usize::try_from(at - offset).expect("inside the range that was asked for");
        let count = bytes.len().min(size - from);
        buffer.bytes_mut()[from..from + count].copy_from_slice(&bytes[..count]);
    }
    total
}

/// A file whose unsynced bytes are held.
#[derive(Debug)]
pub struct HeldFile {
    file: DirectFile,
    pages: Arc<Mutex<Pages>>,
}

impl HeldFile {
    /// The kernel's file.
    pub fn direct(&self) -> &DirectFile {
        &self.file
    }

    /// A second handle of the same open file.
    ///
    /// # Errors
    /// EMFILE above the limit of open files.
    pub fn try_clone(&self) -> io::Result<HeldFile> {
        Ok(HeldFile { file: self.file.try_clone()?, pages: Arc::clone(&self.pages) })
    }

    /// What is held, and not by another thread now.
    pub fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("no panic while it was held")
    }
}

impl StoreFile for HeldFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.size_bytes()?.max(self.pages().end()))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.file.allocate(bytes)
    }

    fn read_at(&self, buffer: &mut DirectBuffer, offset: u64) -> io::Result<usize> {
        let pages = self.pages();
        let read = self.file.read_at(buffer, offset)?;
        let held = pages.copy(offset..offset + buffer.size() as u64);
        Ok(lay_over(buffer, offset, read, &held, pages.end()))
    }

    fn write_at(&self, buffer: &DirectBuffer, len: usize, offset: u64) -> io::Result<()> {
        self.pages().hold(offset, &buffer.bytes()[..len]);
        Ok(())
    }

    /// Hands over what is held: the process may die then, the kernel has it. Whether the device has it
    /// is not what is tested here.
    fn sync_data(&self) -> io::Result<()> {
        self.pages().flush(&self.file)
    }
}

#[derive(Default, Debug)]
struct State {
    /// Files of the log, by the name that the kernel has.
    pages: BTreeMap<PathBuf, Arc<Mutex<Pages>>>,
    /// Small files that were not synced.
    texts: BTreeMap<PathBuf, Vec<u8>>,
    /// Renames that were not synced: new name to the one that the kernel has.
    renames: BTreeMap<PathBuf, PathBuf>,
}

impl State {
    /// The name that the kernel has.
    fn real(&self, path: &Path) -> PathBuf {
        self.renames.get(path).cloned().unwrap_or_else(|| path.to_owned())
    }

    fn is_renamed_away(&self, path: &Path) -> bool {
        !self.renames.contains_key(path) && self.renames.values().any(|it| it == path)
    }
}

/// A file system that holds back; clones are the same one.
#[derive(Clone, Default, Debug)]
pub struct HeldFiles {
    state: Arc<Mutex<State>>,
}

impl HeldFiles {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it was held")
    }
}

impl FileSystem for HeldFiles {
    type File = HeldFile;

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.create_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let mut names = SystemFiles.list(directory)?;
        names.retain(|name| !state.is_renamed_away(&directory.join(name)));
        for new in state.renames.keys().filter(|it| it.parent() == Some(directory)) {
            let name = new.file_name().expect("a file has one").to_string_lossy().into_owned();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<HeldFile> {
        let mut state = self.state();
        let path = state.real(path);
        let file = SystemFiles.open(&path, mode)?;
        let pages = Arc::clone(state.pages.entry(path).or_default());
        Ok(HeldFile { file, pages })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        if state.is_renamed_away(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let path = state.real(path);
        match state.texts.get(&path) {
            Some(text) => Ok(text.clone()),
            None => SystemFiles.read(&path),
        }
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        // A new file under a name whose rename is pending: the rename happens first.
        if state.is_renamed_away(path) {
            settle(&mut state, |_, old| old == path)?;
        }
        let path = state.real(path);
        SystemFiles.write(&path, &content[..content.len() / 2])?;
        state.texts.insert(path, content.to_vec());
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let path = state.real(path);
        match state.texts.remove(&path) {
            Some(text) => SystemFiles.write(&path, &text),
            None => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        // One pending rename to a name at a time; an earlier one happens now.
        settle(&mut state, |new, _| new == to || new == from)?;
        state.renames.insert(to.to_owned(), from.to_owned());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        settle(&mut state, |new, old| new == path || old == path)?;
        state.texts.remove(path);
        state.pages.remove(path);
        SystemFiles.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        settle(&mut self.state(), |new, _| new.parent() == Some(path))
    }
}

/// Performs pending renames.
fn settle(state: &mut State, which: impl Fn(&Path, &Path) -> bool) -> io::Result<()> {
    let due: Vec<_> = state.renames.iter().filter(|(new, old)| which(new, old)).collect();
    let due: Vec<_> = due.into_iter().map(|(new, old)| (new.clone(), old.clone())).collect();
    for (new, old) in due {
        SystemFiles.rename(&old, &new)?;
        state.renames.remove(&new);
        state.texts.remove(&new);
        if let Some(text) = state.texts.remove(&old) {
            state.texts.insert(new.clone(), text);
        }
        state.pages.remove(&new);
        if let Some(pages) = state.pages.remove(&old) {
            state.pages.insert(new, pages);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_synced_is_seen_and_not_on_disk() {
        let folder = tempfile::tempdir_in(".").expect("a folder");
        let path = folder.path().join("log");
        let files = HeldFiles::default();
        let file = files.open(&path, OpenMode::OrCreate).expect("O_DIRECT");
        let mut buffer = DirectBuffer::new(8192).expect("memory");
        buffer.bytes_mut().fill(7);
        file.write_at(&buffer, 8192, 4096).expect("held");
        assert_eq!(std::fs::read(&path).expect("a file").len(), 0);
        let mut read = DirectBuffer::new(16384).expect("memory");
        assert_eq!(file.read_at(&mut read, 0).expect("readable"), 12288);
        assert!(read.bytes()[..4096].iter().all(|byte| *byte == 0));
        assert!(read.bytes()[4096..12288].iter().all(|byte| *byte == 7));
        files.open(&path, OpenMode::Existing).expect("again").sync_data().expect("written");
        assert_eq!(std::fs::read(&path).expect("a file")[4096..], [7; 8192]);
    }

    #[test]
    fn a_rename_before_the_syncs_leaves_what_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let (aside, path) = (folder.path().join("STORE.new"), folder.path().join("STORE"));
        let files = HeldFiles::default();
        files.write(&aside, b"content").expect("held");
        files.rename(&aside, &path).expect("held");
        assert_eq!(files.read(&path).expect("there"), b"content");
        assert_eq!(files.list(folder.path()).expect("names"), ["STORE"]);
        assert!(!path.exists());
        files.sync_directory(folder.path()).expect("renamed");
        assert_eq!(std::fs::read(&path).expect("there"), b"con");
        files.sync(&path).expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), b"content");
    }
}
