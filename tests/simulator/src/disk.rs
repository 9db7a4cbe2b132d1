//! A disk that loses what it may lose.
//!
//! The fault model. Reads see the newest bytes; what of them survives is decided at the crash:
//!
//! - **Power cut**: each sector of 512 bytes written since the last sync of its file is independently
//!   kept or lost, in any combination, whatever the order of the writes. A sector of a write in flight
//!   may also be destroyed: random bytes. A small file that was not synced is empty, cut short, or whole.
//!   An entry of a directory (a file made, a file renamed over another) that was not synced is kept or
//!   lost, each by itself; a rename is whole or not at all.
//! - **Process crash** (kill -9): what was written stays; each sector of a write in flight is kept or lost.
//! - A DSYNC write that completed, and everything written to a file before a sync of it completed, survives.
//! - A failing write keeps any of its sectors. After a failing sync what it should have made durable stays
//!   readable and is not durable, and no later sync makes it so (Linux since 4.13 marks the pages clean).
//! - Bytes that change at rest: `corrupt`, between two lives.
//!
//! - A full disk (`fill`): files do not grow and space that was only reserved is not written, in part or
//!   not at all; log writes go where zeros are, and are not hit.
//! - Space that is allocated holds what was last removed, as if files were used again: a new segment is
//!   full of a removed one's records wherever nothing was written yet.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use fastrand::Rng;
use runtime::DirectBuffer;
use runtime::file::{FileSystem, OpenMode, StoreFile};

const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
const SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;

type Page = Box<[u8; PAGE_BYTES]>;

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// The machine loses power.
    Power,
    /// The process dies, the machine goes on.
    Process,
}

/// Bytes of one page: what is durable, and what reads see if that is newer.
#[derive(Clone, Default)]
struct Pages {
    durable: Option<Page>,
    newer: Option<Page>,
    /// The newer bytes can be made durable by a sync; not after one failed.
    is_syncable: bool,
}

impl Pages {
    /// The newest bytes, on the disk for ever.
    fn at_rest(&self) -> Pages {
        let newest = self.newer.as_ref().or(self.durable.as_ref());
        Pages { durable: newest.cloned(), ..Pages::default() }
    }
}

#[derive(Clone, Default)]
struct Inode {
    pages: BTreeMap<u64, Pages>,
    size: u64,
    is_allocated: bool,
    /// Small files: what is durable, if anything is, and what reads see.
    durable_text: Option<Vec<u8>>,
    text: Vec<u8>,
}

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    /// Entries as reads see them.
    entries: BTreeMap<PathBuf, usize>,
    /// Entries as they survive a power cut.
    durable_entries: BTreeMap<PathBuf, usize>,
    operations_left: Option<u32>,
    syncs_lie: bool,
    directory_syncs_lie: bool,
    is_full: bool,
    /// Content of the allocated file that was removed last: the next one begins with it.
    removed: BTreeMap<u64, Pages>,
}

/// A disk; clones are the same one.
#[derive(Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

/// An open file of a disk.
#[derive(Clone)]
pub struct DiskFile {
    disk: Disk,
    inode: usize,
    path: PathBuf,
}

/// Bytes that a sync in progress covers.
pub struct SyncBegun(Vec<(u64, Page)>);

impl Disk {
    /// After so many more operations the process that does them is dead: they fail and do nothing.
    pub fn die_after(&self, operations: Option<u32>) {
        self.lock().operations_left = operations;
    }

    // One thread uses it; the channel between a core and control asks for more than an Rc.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it was held")
    }

    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match &mut state.operations_left {
            Some(0) => return Err(io::Error::other("the process died here")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }

    /// The disk has no space left, or has some again.
    pub fn fill(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// A disk that says synced and does nothing: a seeded bug.
    pub fn let_syncs_lie(&self) {
        self.lock().syncs_lie = true;
    }

    /// As above, for directories: a seeded bug.
    pub fn let_directory_syncs_lie(&self) {
        self.lock().directory_syncs_lie = true;
    }

    /// The life ends: what is not durable is kept or lost. Writes in flight are the ring's, see
    /// [`DiskFile::write_some`]; they come before this.
    pub fn crash(&self, crash: Crash, rng: &mut Rng) {
        if crash == Crash::Process {
            return;
        }
        let mut state = self.lock();
        let State { inodes, entries, durable_entries, .. } = &mut *state;
        for inode in inodes.iter_mut() {
            for pages in inode.pages.values_mut() {
                let Some(newer) = pages.newer.take() else { continue };
                let durable = pages.durable.get_or_insert_with(zeros);
                // Often all or nothing, as when a whole write did or did not make it.
                let mask: u8 = match rng.u8(..4) {
                    0 => 0,
                    1 => 0xFF,
                    _ => rng.u8(..),
                };
                for sector in (0..SECTORS).filter(|sector| mask >> sector & 1 == 1) {
                    let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                    durable[range.clone()].copy_from_slice(&newer[range]);
                }
            }
            let lost = std::mem::take(&mut inode.text);
            inode.text = match &inode.durable_text {
                Some(durable) => durable.clone(),
                None => lost[..rng.usize(..=lost.len())].to_vec(),
            };
            inode.durable_text = Some(inode.text.clone());
        }
        let names: std::collections::BTreeSet<_> =
            entries.keys().chain(durable_entries.keys()).cloned().collect();
        for name in names {
            if entries.get(&name) == durable_entries.get(&name) || rng.bool() {
                continue; // as reads saw it
            }
            match durable_entries.get(&name) {
                Some(inode) => entries.insert(name, *inode),
                None => entries.remove(&name),
            };
        }
        *durable_entries = entries.clone();
    }

    /// Another disk with the same bytes.
    pub fn fork(&self) -> Disk {
        Disk { state: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Files that hold something, with the places of their bytes that are not zero in whole pages.
    pub fn used(&self) -> Vec<(PathBuf, Vec<u64>)> {
        let state = self.lock();
        let used = |inode: &Inode| match inode.text.len() {
            0 => inode.pages.keys().map(|page| page * PAGE_BYTES as u64).collect(),
            len => (0..len as u64).collect(),
        };
        state.entries.iter().map(|(path, at)| (path.clone(), used(&state.inodes[*at]))).collect()
    }

    /// The first byte at or above a log offset that is not zero, or would not be after a power cut, in the
    /// segments of a directory.
    pub fn first_used(&self, directory: &Path, from: u64) -> Option<u64> {
        let state = self.lock();
        let is_zero = |page: &Option<Page>, within: usize| {
            page.as_ref().is_none_or(|page| page[within..].iter().all(|byte| *byte == 0))
        };
        let segments = state.entries.iter().filter_map(|(path, inode)| {
            let name = path.file_name()?.to_str().filter(|name| name.len() == 20)?;
            (path.parent() == Some(directory)).then_some((name.parse::<u64>().ok()?, *inode))
        });
        for (first, inode) in segments {
            let from = from.saturating_sub(first);
            for (page, pages) in state.inodes[inode].pages.range(from / PAGE_BYTES as u64..) {
                let start = page * PAGE_BYTES as u64;
                let within = from.saturating_sub(start) as usize;
                if !is_zero(&pages.durable, within) || !is_zero(&pages.newer, within) {
                    return Some(first + start);
                }
            }
        }
        None
    }

    /// A file is lost at rest.
    pub fn lose(&self, path: &Path) {
        let mut state = self.lock();
        state.entries.remove(path);
        state.durable_entries.remove(path);
    }

    /// A byte of a small file, changed at rest.
    pub fn corrupt_text(&self, path: &Path, offset: usize, change: impl FnOnce(u8) -> u8) {
        let mut state = self.lock();
        let inode = state.entries[path];
        let byte = &mut state.inodes[inode].text[offset];
        *byte = change(*byte);
    }

    /// Bytes of a file of the log, changed at rest; what was there.
    pub fn corrupt(&self, path: &Path, offset: u64, change: impl FnOnce(u8) -> u8) -> Option<u8> {
        let mut state = self.lock();
        let inode = *state.entries.get(path)?;
        let pages = state.inodes[inode].pages.get_mut(&(offset / PAGE_BYTES as u64))?;
        let page = pages.newer.as_mut().or(pages.durable.as_mut())?;
        let byte = &mut page[offset as usize % PAGE_BYTES];
        let before = *byte;
        *byte = change(before);
        Some(before)
    }
}

fn zeros() -> Page {
    Box::new([0; PAGE_BYTES])
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28) // ENOSPC
}

impl State {
    fn entry(&self, path: &Path) -> io::Result<usize> {
        self.entries.get(path).copied().ok_or_else(|| not_found(path))
    }

    fn make(&mut self, path: &Path) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.entries.insert(path.to_owned(), inode);
        inode
    }
}

impl Inode {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        assert!(offset.is_multiple_of(SECTOR_BYTES as u64));
        let end = offset + bytes.len() as u64;
        self.size = self.size.max(end);
        let first = offset / PAGE_BYTES as u64;
        let is_new = self.pages.range(first..end.div_ceil(PAGE_BYTES as u64)).next().is_none();
        if is_new && bytes.chunks(PAGE_BYTES).all(|chunk| *chunk == [0; PAGE_BYTES][..chunk.len()])
        {
            return; // zeros over zeros
        }
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            let within = (place % PAGE_BYTES as u64) as usize;
            let len = (PAGE_BYTES - within).min(bytes.len() - at);
            let pages = self.pages.entry(place / PAGE_BYTES as u64).or_default();
            let newer =
                pages.newer.get_or_insert_with(|| pages.durable.clone().unwrap_or_else(zeros));
            newer[within..within + len].copy_from_slice(&bytes[at..at + len]);
            pages.is_syncable = true;
            at += len;
        }
    }

    fn sync(&mut self, pages: Range<u64>) {
        for pages in self.pages.range_mut(pages).map(|(_, pages)| pages) {
            if pages.is_syncable && pages.newer.is_some() {
                pages.durable = pages.newer.take();
            }
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) {
        let mut at = 0;
        while at < out.len() {
            let place = offset + at as u64;
            let within = (place % PAGE_BYTES as u64) as usize;
            let len = (PAGE_BYTES - within).min(out.len() - at);
            let page = self
                .pages
                .get(&(place / PAGE_BYTES as u64))
                .and_then(|pages| pages.newer.as_ref().or(pages.durable.as_ref()));
            match page {
                Some(page) => out[at..at + len].copy_from_slice(&page[within..within + len]),
                None => out[at..at + len].fill(0),
            }
            at += len;
        }
    }
}

impl FileSystem for Disk {
    type File = DiskFile;

    fn create_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.live()?;
        let names = state.entries.keys().filter(|path| path.parent() == Some(directory));
        Ok(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<DiskFile> {
        let mut state = self.live()?;
        let inode = match state.entry(path) {
            Ok(inode) => inode,
            Err(_) if mode == OpenMode::OrCreate => state.make(path),
            Err(error) => return Err(error),
        };
        drop(state);
        Ok(DiskFile { disk: self.clone(), inode, path: path.to_owned() })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.live()?;
        Ok(state.inodes[state.entry(path)?].text.clone())
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut state = self.live()?;
        let content = if state.is_full { &content[..content.len() / 2] } else { content };
        // Truncated and written again, the same file if there is one.
        let inode = state.entry(path).unwrap_or_else(|_| state.make(path));
        let inode = &mut state.inodes[inode];
        inode.text = content.to_vec();
        inode.durable_text = None;
        if state.is_full { Err(no_space()) } else { Ok(()) }
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        let inode = state.entry(path)?;
        if !state.syncs_lie {
            let inode = &mut state.inodes[inode];
            inode.durable_text = Some(inode.text.clone());
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        let inode = state.entries.remove(from).ok_or_else(|| not_found(from))?;
        state.entries.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        let inode = state.entries.remove(path).ok_or_else(|| not_found(path))?;
        let Inode { pages, is_allocated, .. } = &state.inodes[inode];
        if *is_allocated {
            state.removed = pages.iter().map(|(number, page)| (*number, page.at_rest())).collect();
        }
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let mut state = self.live()?;
        if state.directory_syncs_lie {
            return Ok(());
        }
        let State { entries, durable_entries, .. } = &mut *state;
        durable_entries.retain(|name, _| name.parent() != Some(path));
        let here = entries.iter().filter(|(name, _)| name.parent() == Some(path));
        durable_entries.extend(here.map(|(name, inode)| (name.clone(), *inode)));
        Ok(())
    }
}

impl DiskFile {
    /// Writes bytes, as a write that completes.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.disk.lock().inodes[self.inode].write(offset, bytes);
    }

    /// Writes any of the sectors, as a write that fails or is cut short; with `destroys` some of them
    /// hold random bytes then.
    pub fn write_some(&self, offset: u64, bytes: &[u8], destroys: bool, rng: &mut Rng) {
        let kind = rng.u8(..6);
        let sectors = bytes.len().div_ceil(SECTOR_BYTES);
        let kept = rng.usize(..=sectors);
        for (index, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
            let place = offset + (index * SECTOR_BYTES) as u64;
            match kind {
                0 => {}
                1 => self.write(place, sector),
                // From its start to somewhere.
                2 | 3 if index < kept => self.write(place, sector),
                2 | 3 => {}
                _ if destroys && rng.u8(..16) == 0 => {
                    let garbage: Vec<u8> = sector.iter().map(|_| rng.u8(..)).collect();
                    self.write(place, &garbage);
                }
                _ if rng.bool() => self.write(place, sector),
                _ => {}
            }
        }
    }

    /// Makes bytes durable, as a DSYNC write or an fdatasync that completes.
    pub fn sync_range(&self, bytes: Range<u64>) {
        let mut state = self.disk.lock();
        if !state.syncs_lie {
            let pages = bytes.start / PAGE_BYTES as u64..bytes.end.div_ceil(PAGE_BYTES as u64);
            state.inodes[self.inode].sync(pages);
        }
    }

    /// What a sync that begins now will make durable.
    pub fn begin_sync(&self) -> SyncBegun {
        let state = self.disk.lock();
        let pages = state.inodes[self.inode].pages.iter();
        let newer = pages.filter(|(_, pages)| pages.is_syncable);
        SyncBegun(newer.filter_map(|(at, pages)| Some((*at, pages.newer.clone()?))).collect())
    }

    /// A sync ends with success: bytes written after it began are not its business.
    pub fn end_sync(&self, begun: SyncBegun) {
        let mut state = self.disk.lock();
        if state.syncs_lie {
            return;
        }
        for (at, page) in begun.0 {
            let pages = state.inodes[self.inode].pages.entry(at).or_default();
            if pages.newer.as_ref() == Some(&page) {
                pages.newer = None;
            }
            pages.durable = Some(page);
        }
    }

    /// A sync of the file fails: what it should have made durable will never be.
    pub fn fail_sync(&self) {
        for pages in self.disk.lock().inodes[self.inode].pages.values_mut() {
            pages.is_syncable = false;
        }
    }

    /// Reads bytes; zeros where nothing was written, short behind the end.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let state = self.disk.lock();
        let inode = &state.inodes[self.inode];
        let len = usize::try_from(inode.size.saturating_sub(offset)).unwrap_or(0).min(out.len());
        inode.read(offset, &mut out[..len]);
        len
    }
}

impl StoreFile for DiskFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.live()?.inodes[self.inode].size)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.live()?;
        if state.is_full {
            return Err(no_space());
        }
        let removed = std::mem::take(&mut state.removed);
        let inode = &mut state.inodes[self.inode];
        if inode.size == 0 {
            inode.pages = removed;
        }
        inode.is_allocated = true;
        inode.size = inode.size.max(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut DirectBuffer, offset: u64) -> io::Result<usize> {
        drop(self.disk.live()?);
        Ok(self.read(offset, buffer.bytes_mut()))
    }

    fn write_at(&self, buffer: &DirectBuffer, len: usize, offset: u64) -> io::Result<()> {
        let is_full = self.disk.live()?.is_full;
        let len = if is_full { len / 2 / SECTOR_BYTES * SECTOR_BYTES } else { len };
        self.write(offset, &buffer.bytes()[..len]);
        if is_full { Err(no_space()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        drop(self.disk.live()?);
        self.sync_range(0..u64::MAX / 2);
        Ok(())
    }
}
