//! The files of a shard, as many of them in the ring's table as it has room for.
//! Owns: the files of one shard.          Lives on: the shard's core
//! Kind: shell

use std::collections::BTreeMap;
use std::io;

use runtime::file::StoreFile;
use runtime::limits::FILE_SLOTS;
use runtime::{FileSlot, Ring};

/// Kinds of files of a shard.
const KINDS: usize = 3;

/// Shards of a core, at the most: each needs a slot of the ring's table for each kind of files.
pub const SHARDS_PER_CORE_MAX: u16 = (FILE_SLOTS as usize / KINDS) as u16;

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
    ///
    /// # Panics
    /// When they are more than [`SHARDS_PER_CORE_MAX`].
    pub fn new(shards: usize) -> ShardFiles<F> {
        let slots_max = FILE_SLOTS as usize / KINDS / shards;
        assert!(slots_max > 0, "at most {SHARDS_PER_CORE_MAX} shards of a core");
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

#[cfg(test)]
mod tests {
    use runtime::file::{DirectFile, OpenMode};
    use runtime::{
        DirectBuffer, Events, FileEvent, Reactor, ReactorConfig, WriteBuffer, WriteSync,
    };

    use super::*;

    #[test]
    fn a_file_gives_up_its_slot_in_the_turn_in_which_it_is_written() {
        const BYTES: u64 = 1 << 20;
        let directory = tempfile::tempdir_in(".").unwrap();
        let path = |start: u64| directory.path().join(start.to_string());
        let mut files = Files::new(1);
        for (start, byte) in [(0, 1), (BYTES, 7)] {
            std::fs::write(path(start), [byte; 8192]).unwrap();
            files.add(start, BYTES, DirectFile::open(&path(start), OpenMode::Existing).unwrap());
        }
        let mut ring = Reactor::new(ReactorConfig { core: 0, connections_max: 1 }).unwrap();
        let mut buffer = WriteBuffer::new(BYTES, BYTES).unwrap();
        buffer.append(4096, |memory| memory.fill(9));

        let (slot, at) = files.slot(&mut ring, BYTES).unwrap().unwrap();
        ring.write_log(slot, at, &mut buffer, BYTES..BYTES + 4096, WriteSync::Durable, 1);
        let (slot, at) = files.slot(&mut ring, 4096).unwrap().unwrap();
        ring.read_file(slot, at, DirectBuffer::new(4096).unwrap(), 2);
        let (slot, at) = files.slot(&mut ring, BYTES + 4096).unwrap().unwrap();
        ring.read_file(slot, at, DirectBuffer::new(4096).unwrap(), 3);

        let (mut events, mut read) = (Events::default(), Vec::new());
        while ring.file_operations() > 0 {
            ring.poll(&mut events).unwrap();
            for event in events.files.drain(..) {
                if let FileEvent::Read { token, buffer, .. } = event {
                    let first = buffer.bytes()[0];
                    assert!(buffer.bytes().iter().all(|byte| *byte == first));
                    read.push((token, first));
                }
            }
        }
        read.sort();
        assert_eq!(read, [(2, 1), (3, 7)]);
        assert!(std::fs::read(path(0)).unwrap() == [1; 8192]);
        assert!(std::fs::read(path(BYTES)).unwrap()[..4096] == [9; 4096]);
    }
}
