//! MessageIndex: by which keys the messages of a shard are found, without their bytes.
//! Owns: hashes of the keys of messages that no index file holds; the directories of index files; what
//! is to be done to files: written, made again, merged.
//! Lives on: every shard
//! Kind: machine
//! Invariants:
//!   derived from the log and never believed over it: a hit is a place to look at
//!   a slice of the log that is sealed is in memory, in a file, or known to be missing
//!   one piece of work is on its way at a time; nothing waits for it
//!   memory is bounded: what does not fit is left to a file that is made from the log
//!
//! RocketMQ: IndexService and IndexFile. Bytes: docs/decisions/0008-index.md.

mod draft;
mod file;
mod files;
mod key;
mod merge;
mod probe;
mod recent;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

pub use draft::{EncodedIndex, IndexDraft};
pub use file::{ENTRIES_PER_INDEX_PAGE, IndexEntry, IndexHead, read_entries};
pub use files::{IndexFiles, Located};
pub use key::{has_key, key_hash, keys_of};
pub use merge::{Merge, MergeError, MergeStep};
pub use probe::{Probe, Wanted};
use recent::Recent;

use crate::limits::{INDEX_MERGED_FILES_MAX, INDEX_UNWRITTEN_ENTRIES_MAX};

/// Something that the driver is to do with a shard's index files.
#[derive(Clone, Debug)]
pub enum IndexWork {
    /// Write what memory has.
    Write(IndexDraft),
    /// Make one from the log, where memory has nothing.
    Make(Range<u64>),
    /// Make one of these, which follow each other.
    Merge(Vec<Range<u64>>),
}

/// A sealed slice of the log.
#[derive(Clone, Debug)]
struct Sealed {
    range: Range<u64>,
    /// What memory has of it; `None`: nothing, or a file holds it.
    draft: Option<IndexDraft>,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct MessageIndex {
    is_enabled: bool,
    seed: u32,
    segment_bytes: u64,
    recent: Recent,
    /// Keys that may be in memory; what is beyond is left out.
    entries_max: usize,
    /// The first and the last payload whose keys were left out and that are not sealed: memory was full.
    left_out: Option<(u64, u64)>,
    /// Slices that no file holds, in the log's order.
    unwritten: VecDeque<Sealed>,
    unwritten_entries: usize,
    files: IndexFiles,
    /// The range of what is being done.
    in_work: Option<Range<u64>>,
    /// Nothing is to be done until something has changed.
    is_delayed: bool,
    /// Files and slices are as they were when there was nothing to do: they are not gone through again,
    /// because a core asks in every turn.
    is_idle: bool,
    was_delay_told: bool,
}

impl MessageIndex {
    /// An index of a log with this seed and segment size. One that is not enabled notes nothing, and
    /// finds what files hold.
    pub fn new(seed: u32, segment_bytes: u64, is_enabled: bool) -> MessageIndex {
        MessageIndex {
            is_enabled,
            seed,
            segment_bytes,
            recent: Recent::default(),
            entries_max: INDEX_UNWRITTEN_ENTRIES_MAX,
            left_out: None,
            unwritten: VecDeque::new(),
            unwritten_entries: 0,
            files: IndexFiles::default(),
            in_work: None,
            is_delayed: false,
            is_idle: false,
            was_delay_told: false,
        }
    }

    /// Leaves nothing out: for one slice that is made from the log, which nobody would make again.
    pub fn without_limit(self) -> MessageIndex {
        MessageIndex { entries_max: usize::MAX, ..self }
    }

    /// Whether keys are noted.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// The hash of a key of a topic's incarnation.
    pub fn hash(&self, topic: u32, key: &[u8]) -> u32 {
        key_hash(self.seed, topic, key)
    }

    /// Notes the keys of a message whose payload is at a log offset above all before. `keys` is the
    /// value of KEYS.
    pub fn note(&mut self, topic: u32, unique_key: &[u8], keys: &[u8], payload: u64, ms: u64) {
        if !self.is_enabled {
            return;
        }
        if self.recent.len() + self.unwritten_entries >= self.entries_max {
            let first = self.left_out.map_or(payload, |(first, _)| first);
            self.left_out = Some((first, payload));
            return;
        }
        if !unique_key.is_empty() {
            self.recent.push(key_hash(self.seed, topic, unique_key), payload, ms);
        }
        if !keys.is_empty() {
            for key in keys.split(|byte| *byte == b' ').filter(|key| !key.is_empty()) {
                self.recent.push(key_hash(self.seed, topic, key), payload, ms);
            }
        }
    }

    /// Keys noted since the last cut.
    pub fn recent_entries(&self) -> usize {
        self.recent.len()
    }

    /// A slice of the log is sealed: what was noted of it waits for its file.
    pub fn seal(&mut self, range: Range<u64>) {
        let chunks = self.recent.cut(range.end);
        self.try_again();
        self.is_idle = false;
        // Messages of slices behind this one may lack, too: then it is still known when those are sealed.
        let lacks = |(first, last): (u64, u64)| first < range.end && range.start <= last;
        let is_incomplete = self.left_out.is_some_and(lacks);
        self.left_out.take_if(|(_, last)| *last < range.end);
        if !self.is_enabled || self.files.holds(&range) {
            return;
        }
        let draft = IndexDraft::new(range.clone(), Arc::from(chunks));
        let draft = (!is_incomplete).then_some(draft);
        self.unwritten_entries += draft.as_ref().map_or(0, IndexDraft::entries);
        self.unwritten.push_back(Sealed { range, draft });
    }

    /// A slice was sealed in an earlier life; it is made from the log if no file holds it.
    pub fn sealed_before(&mut self, range: Range<u64>) {
        self.is_idle = false;
        if self.is_enabled && !self.files.holds(&range) {
            self.unwritten.push_back(Sealed { range, draft: None });
        }
    }

    /// A file found on disk when the shard is opened, before any slice is told. The address of its bytes.
    pub fn found_file(&mut self, head: &IndexHead) -> u64 {
        self.is_idle = false;
        self.files.add(head).0
    }

    /// What is to be done next; one piece at a time.
    pub fn next_work(&mut self) -> Option<IndexWork> {
        if self.in_work.is_some() || self.is_delayed || self.is_idle || !self.is_enabled {
            return None;
        }
        let Some(work) = self.choose() else {
            self.is_idle = true;
            return None;
        };
        self.in_work = Some(match &work {
            IndexWork::Write(draft) => draft.range(),
            IndexWork::Make(range) => range.clone(),
            IndexWork::Merge(ranges) => match (ranges.first(), ranges.last()) {
                (Some(first), Some(last)) => first.start..last.end,
                _ => return None,
            },
        });
        Some(work)
    }

    /// What memory has and nobody is writing.
    pub fn last_work(&self) -> Vec<IndexWork> {
        let others = self.unwritten.iter().filter(|it| self.in_work.as_ref() != Some(&it.range));
        others.filter_map(|sealed| sealed.draft.clone()).map(IndexWork::Write).collect()
    }

    /// What memory has first, because that is given back; then what makes questions cheaper; then what
    /// is missing, the newest first, because it is asked for most.
    fn choose(&self) -> Option<IndexWork> {
        if let Some(draft) = self.unwritten.iter().find_map(|sealed| sealed.draft.clone()) {
            return Some(IndexWork::Write(draft));
        }
        let is_missing =
            |range: &Range<u64>| self.unwritten.iter().any(|it| overlap(&it.range, range));
        let merged = self.files.mergeable(self.segment_bytes, INDEX_MERGED_FILES_MAX, is_missing);
        if let Some(ranges) = merged {
            return Some(IndexWork::Merge(ranges));
        }
        self.unwritten.back().map(|sealed| IndexWork::Make(sealed.range.clone()))
    }

    /// A piece of work is done: the file is there. The address of its bytes, and those of files that it
    /// takes the place of; `None`: its part of the log is gone, the file is of no use.
    pub fn file_written(&mut self, head: &IndexHead) -> Option<(u64, Vec<u64>)> {
        let in_work = self.in_work.take()?;
        self.is_idle = false;
        self.was_delay_told = false;
        assert_eq!(in_work, head.range, "one piece of work at a time");
        let was_sealed = self.unwritten.len();
        self.forget_unwritten(|range| overlap(range, &head.range));
        let is_known = was_sealed > self.unwritten.len() || self.files.covers(&head.range);
        is_known.then(|| self.files.add(head))
    }

    fn forget_unwritten(&mut self, is_gone: impl Fn(&Range<u64>) -> bool) {
        self.unwritten.retain(|sealed| !is_gone(&sealed.range));
        let entries = self.unwritten.iter().filter_map(|sealed| sealed.draft.as_ref());
        self.unwritten_entries = entries.map(IndexDraft::entries).sum();
    }

    /// A piece of work cannot be done now. Whether this is the first time since one was done.
    pub fn work_delayed(&mut self) -> bool {
        self.in_work = None;
        self.is_delayed = true;
        !std::mem::replace(&mut self.was_delay_told, true)
    }

    /// What could not be done may be done now.
    pub fn try_again(&mut self) {
        self.is_delayed = false;
    }

    /// A piece of work cannot be done: another is chosen.
    pub fn work_failed(&mut self) {
        self.in_work = None;
        self.is_idle = false;
    }

    /// A file was found damaged: the slices in it, as given, are made again. The address that it had.
    pub fn damaged(
        &mut self,
        file: &Range<u64>,
        slices: impl Iterator<Item = Range<u64>>,
    ) -> Option<u64> {
        let address = self.files.remove(file)?;
        self.is_idle = false;
        if self.is_enabled {
            let missing = slices.filter(|slice| overlap(slice, file));
            self.unwritten.extend(missing.map(|range| Sealed { range, draft: None }));
            self.unwritten.make_contiguous().sort_unstable_by_key(|sealed| sealed.range.start);
        }
        Some(address)
    }

    /// Forgets what lies below `start`, which is gone. The addresses of the files that were.
    pub fn expire(&mut self, start: u64) -> Vec<u64> {
        self.is_idle = false;
        self.forget_unwritten(|range| range.end <= start);
        self.files.expire(start)
    }

    /// Looks through what memory has, the newest first, from below a log offset; goes on at `below` when
    /// called again. At most `budget` entries are looked at. Whether it is through.
    pub fn scan(
        &self,
        wanted: &Wanted,
        below: &mut u64,
        budget: &mut usize,
        hits: &mut Vec<u64>,
    ) -> bool {
        let drafts = self.unwritten.iter().filter_map(|sealed| sealed.draft.as_ref());
        let sealed = drafts.rev().flat_map(|draft| draft.chunks().iter().rev());
        recent::scan(self.recent.chunks().rev().chain(sealed), wanted, below, budget, hits)
    }

    /// The index files.
    pub fn files(&self) -> &IndexFiles {
        &self.files
    }

    /// Slices that wait for their file.
    pub fn unwritten(&self) -> usize {
        self.unwritten.len()
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

#[cfg(test)]
mod tests;
