//! The segment files of a shard, as many of them in the ring's table as it has room for.
//! Owns: the files of one shard.          Lives on: the shard's core
//! Kind: shell

use std::collections::BTreeMap;
use std::io;

use runtime::file::StoreFile;
use runtime::{FileSlot, Ring};

/// Files of a shard by first log offset.
#[derive(Debug)]
pub struct Segments<F> {
    segment_bytes: u64,
    files: BTreeMap<u64, Segment<F>>,
    uses: u64,
}

#[derive(Debug)]
struct Segment<F> {
    file: F,
    attached: Option<Attached>,
}

#[derive(Clone, Copy, Debug)]
struct Attached {
    slot: FileSlot,
    used: u64,
}

impl<F: StoreFile> Segments<F> {
    /// The files of a shard.
    pub fn new(segment_bytes: u64, files: Vec<(u64, F)>) -> Segments<F> {
        let mut segments = Segments { segment_bytes, files: BTreeMap::new(), uses: 0 };
        files.into_iter().for_each(|(first, file)| segments.add(first, file));
        segments
    }

    /// A new segment's file.
    pub fn add(&mut self, first: u64, file: F) {
        self.files.insert(first, Segment { file, attached: None });
    }

    /// The slot of the segment that holds a log offset, and the offset in its file. `None`: there is
    /// no such segment.
    ///
    /// # Errors
    /// The ring refuses the file.
    pub fn slot(
        &mut self,
        ring: &mut impl Ring<File = F>,
        offset: u64,
    ) -> io::Result<Option<(FileSlot, u64)>> {
        let first = offset / self.segment_bytes * self.segment_bytes;
        self.uses += 1;
        let Some(segment) = self.files.get_mut(&first) else { return Ok(None) };
        if let Some(attached) = &mut segment.attached {
            attached.used = self.uses;
            return Ok(Some((attached.slot, offset - first)));
        }
        let file = segment.file.try_clone()?;
        let slot = match ring.attach_file(file)? {
            Some(slot) => slot,
            None => self.attach_instead(ring, first)?,
        };
        let segment = self.files.get_mut(&first).expect("found above");
        segment.attached = Some(Attached { slot, used: self.uses });
        Ok(Some((slot, offset - first)))
    }

    /// Attaches a segment in the place of the one that was used longest ago.
    fn attach_instead(
        &mut self,
        ring: &mut impl Ring<File = F>,
        first: u64,
    ) -> io::Result<FileSlot> {
        let attached = self.files.values_mut().filter(|segment| segment.attached.is_some());
        let oldest = attached
            .min_by_key(|segment| segment.attached.map(|attached| attached.used))
            .and_then(|segment| segment.attached.take());
        if let Some(oldest) = oldest {
            ring.detach_file(oldest.slot)?;
        }
        let file = self.files[&first].file.try_clone()?;
        Ok(ring.attach_file(file)?.ok_or(io::ErrorKind::OutOfMemory)?)
    }
}
