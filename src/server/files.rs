//! The files of a shard, as many of them in the ring's table as it has room for.
//! Owns: the files of one shard.          Lives on: the shard's core
//! Kind: shell

use std::collections::BTreeMap;
use std::io;

use runtime::file::StoreFile;
use runtime::limits::FILE_SLOTS;
use runtime::{FileSlot, Ring};

/// All files of a shard.
#[derive(Debug)]
pub struct ShardFiles<F> {
    /// Segments, by log offset.
    pub log: Files<F>,
    /// Runs of queue entries, by their addresses.
    pub runs: Files<F>,
    /// Index files, by theirs.
    pub indexes: Files<F>,
}

/// Files that together hold a range of offsets, each from its start on.
#[derive(Debug)]
pub struct Files<F> {
    files: BTreeMap<u64, OpenFile<F>>,
    /// Slots of the ring's table that they may take.
    slots_max: usize,
    slots: usize,
    uses: u64,
}

#[derive(Debug)]
struct OpenFile<F> {
    file: F,
    bytes: u64,
    attached: Option<Attached>,
}

#[derive(Clone, Copy, Debug)]
struct Attached {
    slot: FileSlot,
    used: u64,
}

impl<F> ShardFiles<F> {
    /// No files yet, of one of `shards` shards on a core.
    pub fn new(shards: usize) -> ShardFiles<F> {
        let slots_max = (FILE_SLOTS as usize / 3 / shards).max(1);
        let files = || Files::new(slots_max);
        ShardFiles { log: files(), runs: files(), indexes: files() }
    }
}

impl<F> Files<F> {
    fn new(slots_max: usize) -> Files<F> {
        Files { files: BTreeMap::new(), slots_max, slots: 0, uses: 0 }
    }
}

impl<F: StoreFile> Files<F> {
    /// A file that holds `bytes` from `start` on.
    pub fn add(&mut self, start: u64, bytes: u64, file: F) {
        self.files.insert(start, OpenFile { file, bytes, attached: None });
    }

    /// Closes the file that begins at `start`.
    ///
    /// # Errors
    /// What the ring says.
    pub fn remove(&mut self, ring: &mut impl Ring<File = F>, start: u64) -> io::Result<()> {
        let removed = self.files.remove(&start);
        if let Some(attached) = removed.and_then(|open| open.attached) {
            ring.detach_file(attached.slot)?;
            self.slots -= 1;
        }
        Ok(())
    }

    /// Closes the files that hold nothing at or above `start`.
    ///
    /// # Errors
    /// What the ring says.
    pub fn expire(&mut self, ring: &mut impl Ring<File = F>, start: u64) -> io::Result<()> {
        while let Some(first) = self.files.first_entry()
            && first.key() + first.get().bytes <= start
        {
            if let Some(attached) = first.remove().attached {
                ring.detach_file(attached.slot)?;
                self.slots -= 1;
            }
        }
        Ok(())
    }

    /// The slot of the file that holds an offset, and where in it. `None`: no file does.
    ///
    /// # Errors
    /// The ring refuses the file.
    pub fn slot(
        &mut self,
        ring: &mut impl Ring<File = F>,
        offset: u64,
    ) -> io::Result<Option<(FileSlot, u64)>> {
        self.uses += 1;
        let Some((start, open)) = self.files.range_mut(..=offset).next_back() else {
            return Ok(None);
        };
        let start = *start;
        if offset >= start + open.bytes {
            return Ok(None);
        }
        if let Some(attached) = &mut open.attached {
            attached.used = self.uses;
            return Ok(Some((attached.slot, offset - start)));
        }
        if self.slots == self.slots_max {
            self.detach_oldest(ring)?;
        }
        let open = self.files.get_mut(&start).expect("found above");
        let slot = ring.attach_file(&open.file)?.ok_or(io::ErrorKind::OutOfMemory)?;
        open.attached = Some(Attached { slot, used: self.uses });
        self.slots += 1;
        Ok(Some((slot, offset - start)))
    }

    /// Takes the file that was used longest ago out of the ring's table.
    fn detach_oldest(&mut self, ring: &mut impl Ring<File = F>) -> io::Result<()> {
        let attached = self.files.values_mut().filter(|open| open.attached.is_some());
        let oldest = attached
            .min_by_key(|open| open.attached.map(|attached| attached.used))
            .and_then(|open| open.attached.take());
        if let Some(oldest) = oldest {
            ring.detach_file(oldest.slot)?;
            self.slots -= 1;
        }
        Ok(())
    }
}
