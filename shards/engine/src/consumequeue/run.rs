//! A run: the entries of all queues that lie in one slice of the log, in a file
//! (docs/decisions/0006-runs-and-snapshots.md has the bytes).

use std::ops::Range;

use super::{QueueEntry, QueueKey};
use crate::page::{
    FileError, FileIdentity, FirstPage, PAGE_BYTES, PAGE_HEAD_BYTES, open_page, seal_page, u32_at,
    u64_at,
};

const MAGIC: [u8; 8] = *b"RINGRUN\x01";
const ENTRY_BYTES: usize = 24;
const QUEUE_BYTES: usize = 24;
const TIMER_FIRST_BYTES: usize = 16;

/// Entries of one page.
pub const ENTRIES_PER_PAGE: u64 = ((PAGE_BYTES - PAGE_HEAD_BYTES) / ENTRY_BYTES) as u64;

/// Queues and entries above this are not a run's: a segment holds fewer records.
const COUNT_MAX: u64 = 1 << 28;

/// Bytes of notes above this are not a run's.
const NOTES_BYTES_MAX: u64 = 1 << 31;

/// The entries of one queue in a run: they follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunQueue {
    /// The queue.
    pub key: QueueKey,
    /// Queue offset of the first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Number of the first among all entries of the run.
    pub start: u64,
}

/// What a run says before its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunHead {
    /// The slice of the log.
    pub range: Range<u64>,
    /// Store timestamps of its oldest and newest message, ms; (0, 0) without any.
    pub stored_ms: (u64, u64),
    /// Bytes of the file before its pages.
    pub pages_start: u64,
    /// Pages of entries.
    pub pages: u64,
    /// Its queues, in order of their keys.
    pub queues: Vec<RunQueue>,
    /// What the log's own records in the slice amount to: a state of `proto::state`.
    pub notes: Vec<u8>,
    /// Messages in it that wait for a time of their own, in pages behind those of the queues.
    pub timers: RunTimers,
}

/// The timers of a run, in order of (due time, log offset); docs/decisions/0010-timers.md.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunTimers {
    /// How many.
    pub count: u64,
    /// For each page the due time (ms) and log offset of its first.
    pub firsts: Vec<(u64, u64)>,
    /// Those of the last.
    pub last: (u64, u64),
}

impl RunTimers {
    fn pages(&self) -> u64 {
        self.count.div_ceil(ENTRIES_PER_PAGE)
    }
}

/// Entries on their way into a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunDraft {
    range: Range<u64>,
    queues: Vec<RunQueue>,
    entries: Vec<QueueEntry>,
    timers: Vec<QueueEntry>,
}

/// A run as a file's content.
#[derive(Debug)]
pub struct EncodedRun {
    /// All bytes, whole pages.
    pub bytes: Vec<u8>,
    /// What they begin with.
    pub head: RunHead,
}

impl RunDraft {
    /// A run of this slice without entries.
    pub fn new(range: Range<u64>) -> RunDraft {
        RunDraft { range, queues: Vec::new(), entries: Vec::new(), timers: Vec::new() }
    }

    /// The slice's messages that wait for a time of their own, in any order, with that time in place of
    /// the store timestamp.
    pub fn set_timers(&mut self, timers: Vec<QueueEntry>) {
        self.timers = timers;
    }

    /// The slice of the log.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Adds entries of a queue from a queue offset on; each queue once.
    pub fn add(&mut self, key: QueueKey, first: u64, copy: impl FnOnce(&mut Vec<QueueEntry>)) {
        let start = self.entries.len() as u64;
        copy(&mut self.entries);
        let count = self.entries.len() as u64 - start;
        self.queues.push(RunQueue { key, first, count, start });
    }

    /// The file's content; `notes` as in [`RunHead::notes`].
    pub fn encode(mut self, identity: &FileIdentity, notes: Vec<u8>) -> EncodedRun {
        self.queues.sort_unstable_by_key(|queue| queue.key);
        let directory = PAGE_BYTES + self.queues.len() * QUEUE_BYTES;
        let notes_start = directory.next_multiple_of(PAGE_BYTES);
        let firsts_start = (notes_start + notes.len()).next_multiple_of(PAGE_BYTES);
        let timers = sort_timers(&mut self.timers);
        let firsts_end = firsts_start + timers.firsts.len() * TIMER_FIRST_BYTES;
        let pages_start = firsts_end.next_multiple_of(PAGE_BYTES);
        let entry_pages = (self.entries.len() as u64).div_ceil(ENTRIES_PER_PAGE);
        let pages = entry_pages + timers.pages();
        let mut bytes = vec![0; pages_start + pages as usize * PAGE_BYTES];
        let (mut oldest, mut newest) = (u64::MAX, 0);
        let mut at = 0;
        let mut queues = Vec::with_capacity(self.queues.len());
        for (index, queue) in self.queues.iter().enumerate() {
            let place = PAGE_BYTES + index * QUEUE_BYTES;
            let to = &mut bytes[place..place + QUEUE_BYTES];
            to[0..4].copy_from_slice(&queue.key.topic.to_le_bytes());
            to[4..8].copy_from_slice(&queue.key.queue.to_le_bytes());
            to[8..16].copy_from_slice(&queue.first.to_le_bytes());
            to[16..24].copy_from_slice(&queue.count.to_le_bytes());
            queues.push(RunQueue { start: at, ..*queue });
            let entries = &self.entries[queue.start as usize..(queue.start + queue.count) as usize];
            for entry in entries {
                write_entry(&mut bytes[pages_start..], at, entry);
                oldest = oldest.min(entry.stored_ms);
                newest = newest.max(entry.stored_ms);
                at += 1;
            }
        }
        bytes[notes_start..notes_start + notes.len()].copy_from_slice(&notes);
        let places = bytes[firsts_start..firsts_end].chunks_exact_mut(TIMER_FIRST_BYTES);
        for ((due_ms, position), place) in timers.firsts.iter().zip(places) {
            place[0..8].copy_from_slice(&due_ms.to_le_bytes());
            place[8..16].copy_from_slice(&position.to_le_bytes());
        }
        let timers_start = pages_start + entry_pages as usize * PAGE_BYTES;
        for (number, timer) in (0..).zip(&self.timers) {
            write_entry(&mut bytes[timers_start..], number, timer);
        }
        for page in 0..pages {
            let place = pages_start + page as usize * PAGE_BYTES;
            let bytes = &mut bytes[place..place + PAGE_BYTES];
            seal_page(identity.seed, self.range.start, page, bytes);
        }
        let stored_ms = if at == 0 { (0, 0) } else { (oldest, newest) };
        let head = RunHead {
            range: self.range,
            stored_ms,
            pages_start: pages_start as u64,
            pages: entry_pages,
            queues,
            notes,
            timers,
        };
        let firsts_sum = identity.sum(&bytes[firsts_start..firsts_end]);
        head.write(identity, at, firsts_sum, &mut bytes);
        EncodedRun { bytes, head }
    }
}

/// Brings a run's timers into their order: what its head says of them.
fn sort_timers(timers: &mut [QueueEntry]) -> RunTimers {
    let key = |timer: &QueueEntry| (timer.stored_ms, timer.payload);
    timers.sort_unstable_by_key(key);
    let pages = timers.chunks(ENTRIES_PER_PAGE as usize);
    RunTimers {
        count: timers.len() as u64,
        firsts: pages.map(|page| key(&page[0])).collect(),
        last: timers.last().map(key).unwrap_or_default(),
    }
}

/// A queue among those of a run, which are in order of their keys.
pub(super) fn find_queue(queues: &[RunQueue], key: QueueKey) -> Option<&RunQueue> {
    let index = queues.binary_search_by_key(&key, |queue| queue.key).ok()?;
    Some(&queues[index])
}

impl RunHead {
    /// Bytes of the head of a file whose first page this is: what [`RunHead::read`] wants.
    ///
    /// # Errors
    /// It is no run of this shard.
    pub fn measure(identity: &FileIdentity, page: &[u8]) -> Result<u64, FileError> {
        Ok(Sizes::read(identity, page)?.pages_start)
    }

    /// Reads a head; `bytes` may go on behind it.
    ///
    /// # Errors
    /// [`FileError`]: it is not the run of this slice.
    pub fn read(
        identity: &FileIdentity,
        range: &Range<u64>,
        bytes: &[u8],
    ) -> Result<RunHead, FileError> {
        let sizes = Sizes::read(identity, bytes)?;
        if sizes.first.range != *range {
            return Err(FileError::Foreign);
        }
        let short = FileError::Short(bytes.len());
        let directory_end = PAGE_BYTES + sizes.queues as usize * QUEUE_BYTES;
        let directory = bytes.get(PAGE_BYTES..directory_end).ok_or(short.clone())?;
        let notes_start = directory_end.next_multiple_of(PAGE_BYTES);
        let notes_end = notes_start + sizes.notes_bytes as usize;
        let notes = bytes.get(notes_start..notes_end).ok_or(short.clone())?;
        let firsts_start = notes_end.next_multiple_of(PAGE_BYTES);
        let firsts_end = firsts_start + sizes.timer_pages() as usize * TIMER_FIRST_BYTES;
        let firsts = bytes.get(firsts_start..firsts_end).ok_or(short)?;
        if sizes.timers > 0 && identity.sum(firsts) != sizes.timers_sum {
            return Err(FileError::Checksum("timer directory"));
        }
        let firsts: Vec<_> = firsts
            .chunks_exact(TIMER_FIRST_BYTES)
            .map(|first| (u64_at(first, 0), u64_at(first, 8)))
            .collect();
        if identity.sum(directory) != sizes.directory_sum {
            return Err(FileError::Checksum("directory"));
        }
        if identity.sum(notes) != sizes.notes_sum {
            return Err(FileError::Checksum("notes"));
        }
        let mut queues = Vec::with_capacity(sizes.queues as usize);
        let mut start = 0u64;
        for item in directory.chunks_exact(QUEUE_BYTES) {
            let key = QueueKey { topic: u32_at(item, 0), queue: u32_at(item, 4) };
            let (first, count) = (u64_at(item, 8), u64_at(item, 16));
            queues.push(RunQueue { key, first, count, start });
            start = start.checked_add(count).ok_or(FileError::Numbers)?;
            first.checked_add(count).ok_or(FileError::Numbers)?;
        }
        let rises = queues.windows(2).all(|pair| pair[0].key < pair[1].key);
        let timers_rise =
            firsts.is_sorted() && firsts.last().is_none_or(|it| *it <= sizes.timers_last);
        if !rises || !timers_rise || start != sizes.entries {
            return Err(FileError::Numbers);
        }
        Ok(RunHead {
            range: sizes.first.range,
            stored_ms: sizes.first.stored_ms,
            pages_start: sizes.pages_start,
            pages: sizes.entries.div_ceil(ENTRIES_PER_PAGE),
            queues,
            notes: notes.to_vec(),
            timers: RunTimers { count: sizes.timers, firsts, last: sizes.timers_last },
        })
    }

    /// The number of a message's entry among all of the run.
    pub fn index(&self, key: QueueKey, queue_offset: u64) -> Option<u64> {
        let queue = find_queue(&self.queues, key)?;
        let within =
            queue_offset.checked_sub(queue.first).filter(|within| *within < queue.count)?;
        Some(queue.start + within)
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.pages_start + (self.pages + self.timers.pages()) * PAGE_BYTES as u64
    }

    fn write(&self, identity: &FileIdentity, entries: u64, firsts_sum: u32, bytes: &mut [u8]) {
        let directory_end = PAGE_BYTES + self.queues.len() * QUEUE_BYTES;
        let directory_sum = identity.sum(&bytes[PAGE_BYTES..directory_end]);
        let notes_sum = identity.sum(&self.notes);
        let page = &mut bytes[..PAGE_BYTES];
        page[64..72].copy_from_slice(&entries.to_le_bytes());
        page[72..80].copy_from_slice(&(self.queues.len() as u64).to_le_bytes());
        page[80..88].copy_from_slice(&(self.notes.len() as u64).to_le_bytes());
        page[88..92].copy_from_slice(&directory_sum.to_le_bytes());
        page[92..96].copy_from_slice(&notes_sum.to_le_bytes());
        if self.timers.count > 0 {
            page[96..104].copy_from_slice(&self.timers.count.to_le_bytes());
            page[104..108].copy_from_slice(&firsts_sum.to_le_bytes());
            page[112..120].copy_from_slice(&self.timers.last.0.to_le_bytes());
            page[120..128].copy_from_slice(&self.timers.last.1.to_le_bytes());
        }
        let first = FirstPage { range: self.range.clone(), stored_ms: self.stored_ms };
        first.write(&MAGIC, identity, page);
    }
}

/// The numbers of a run's first page.
struct Sizes {
    first: FirstPage,
    entries: u64,
    queues: u64,
    notes_bytes: u64,
    directory_sum: u32,
    notes_sum: u32,
    timers: u64,
    timers_sum: u32,
    timers_last: (u64, u64),
    pages_start: u64,
}

impl Sizes {
    fn read(identity: &FileIdentity, bytes: &[u8]) -> Result<Sizes, FileError> {
        let (first, page) = FirstPage::read(&MAGIC, identity, bytes)?;
        let (entries, queues, notes_bytes) = (u64_at(page, 64), u64_at(page, 72), u64_at(page, 80));
        let timers = u64_at(page, 96);
        if entries > COUNT_MAX
            || queues > entries
            || notes_bytes > NOTES_BYTES_MAX
            || timers > COUNT_MAX
        {
            return Err(FileError::Numbers);
        }
        let directory_end = PAGE_BYTES as u64 + queues * QUEUE_BYTES as u64;
        let notes_end = directory_end.next_multiple_of(PAGE_BYTES as u64) + notes_bytes;
        let firsts_start = notes_end.next_multiple_of(PAGE_BYTES as u64);
        let firsts_end =
            firsts_start + timers.div_ceil(ENTRIES_PER_PAGE) * TIMER_FIRST_BYTES as u64;
        Ok(Sizes {
            first,
            entries,
            queues,
            notes_bytes,
            directory_sum: u32_at(page, 88),
            notes_sum: u32_at(page, 92),
            timers,
            timers_sum: u32_at(page, 104),
            timers_last: (u64_at(page, 112), u64_at(page, 120)),
            pages_start: firsts_end.next_multiple_of(PAGE_BYTES as u64),
        })
    }

    fn timer_pages(&self) -> u64 {
        self.timers.div_ceil(ENTRIES_PER_PAGE)
    }
}

/// Appends entries of a page, from one to before another of its own; `start` is the log offset where
/// the run's slice begins.
///
/// # Errors
/// The page is damaged.
pub fn read_page(
    seed: u32,
    start: u64,
    page: u64,
    bytes: &[u8],
    wanted: Range<usize>,
    out: &mut Vec<QueueEntry>,
) -> Result<(), FileError> {
    let entries = open_page(seed, start, page, bytes)?;
    for index in wanted {
        let entry = &entries[index * ENTRY_BYTES..][..ENTRY_BYTES];
        out.push(QueueEntry {
            payload: u64_at(entry, 0),
            size_bytes: u32_at(entry, 8),
            tag: u32_at(entry, 12) as i32,
            stored_ms: u64_at(entry, 16),
        });
    }
    Ok(())
}

fn write_entry(pages: &mut [u8], number: u64, entry: &QueueEntry) {
    let page = (number / ENTRIES_PER_PAGE) as usize * PAGE_BYTES;
    let at = page + PAGE_HEAD_BYTES + (number % ENTRIES_PER_PAGE) as usize * ENTRY_BYTES;
    let to = &mut pages[at..at + ENTRY_BYTES];
    to[0..8].copy_from_slice(&entry.payload.to_le_bytes());
    to[8..12].copy_from_slice(&entry.size_bytes.to_le_bytes());
    to[12..16].copy_from_slice(&entry.tag.to_le_bytes());
    to[16..24].copy_from_slice(&entry.stored_ms.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDENTITY: FileIdentity = FileIdentity { store_id: 77, shard: 2, seed: 9 };

    fn draft(counts: &[u64]) -> RunDraft {
        let mut draft = RunDraft::new(4096..1 << 20);
        // Given in any order, kept in the keys'.
        for (index, count) in counts.iter().enumerate().rev() {
            let key = QueueKey { topic: index as u32 / 3, queue: index as u32 % 3 };
            draft.add(key, 100 * index as u64, |out| {
                out.extend((0..*count).map(|number| entry(key, number)));
            });
        }
        let total: u64 = counts.iter().sum();
        // In the log's order, due in another.
        draft.set_timers(
            (0..total).map(|number| timer(number * 7919 % (total + 1), number)).collect(),
        );
        draft
    }

    fn timer(stored_ms: u64, number: u64) -> QueueEntry {
        QueueEntry { payload: 9000 + number, size_bytes: 77, tag: 0, stored_ms }
    }

    fn entry(key: QueueKey, number: u64) -> QueueEntry {
        QueueEntry {
            payload: 5000 + u64::from(key.topic) * 1000 + number * 8,
            size_bytes: 100 + key.queue,
            tag: -(number as i32),
            stored_ms: 1_000_000 + number,
        }
    }

    fn all(encoded: &EncodedRun, head: &RunHead) -> Result<Vec<QueueEntry>, FileError> {
        let mut out = Vec::new();
        let total: u64 = head.queues.iter().map(|queue| queue.count).sum();
        for page in 0..head.pages {
            let at = head.pages_start as usize + page as usize * PAGE_BYTES;
            let here = (total - page * ENTRIES_PER_PAGE).min(ENTRIES_PER_PAGE) as usize;
            let bytes = &encoded.bytes[at..at + PAGE_BYTES];
            read_page(IDENTITY.seed, head.range.start, page, bytes, 0..here, &mut out)?;
        }
        for index in 0..head.timers.pages() {
            let page = head.pages + index;
            let at = head.pages_start as usize + page as usize * PAGE_BYTES;
            let here =
                (head.timers.count - index * ENTRIES_PER_PAGE).min(ENTRIES_PER_PAGE) as usize;
            let bytes = &encoded.bytes[at..at + PAGE_BYTES];
            let first = out.len();
            read_page(IDENTITY.seed, head.range.start, page, bytes, 0..here, &mut out)?;
            assert_eq!(
                (out[first].stored_ms, out[first].payload),
                head.timers.firsts[index as usize]
            );
        }
        Ok(out)
    }

    proptest! {
        #[test]
        fn a_run_is_read_back(counts in prop::collection::vec(1u64..400, 0..9), notes in prop::collection::vec(any::<u8>(), 0..9000)) {
            let encoded = draft(&counts).encode(&IDENTITY, notes.clone());
            prop_assert_eq!(encoded.bytes.len() as u64, encoded.head.file_bytes());
            let measured = RunHead::measure(&IDENTITY, &encoded.bytes[..PAGE_BYTES]);
            prop_assert_eq!(measured, Ok(encoded.head.pages_start));
            let head = RunHead::read(&IDENTITY, &(4096..1 << 20), &encoded.bytes).expect("whole");
            prop_assert_eq!(&head, &encoded.head);
            prop_assert_eq!(&head.notes, &notes);
            let mut expected: Vec<_> = head
                .queues
                .iter()
                .flat_map(|queue| (0..queue.count).map(|number| entry(queue.key, number)))
                .collect();
            let total: u64 = counts.iter().sum();
            let mut timers: Vec<_> =
                (0..total).map(|number| timer(number * 7919 % (total + 1), number)).collect();
            timers.sort_by_key(|timer| (timer.stored_ms, timer.payload));
            let last = timers.last().map_or((0, 0), |timer| (timer.stored_ms, timer.payload));
            prop_assert_eq!((head.timers.count, head.timers.last), (total, last));
            expected.extend(timers);
            prop_assert_eq!(all(&encoded, &head), Ok(expected));
        }

        #[test]
        fn any_flipped_bit_is_found(place in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut encoded = draft(&[300, 5, 200]).encode(&IDENTITY, vec![7; 5000]);
            let at = place.index(encoded.bytes.len());
            let whole = encoded.bytes.clone();
            encoded.bytes[at] ^= 1 << bit;
            let read = RunHead::read(&IDENTITY, &(4096..1 << 20), &encoded.bytes);
            let found = read.and_then(|head| all(&encoded, &head));
            let head = RunHead::read(&IDENTITY, &(4096..1 << 20), &whole).expect("whole");
            encoded.bytes = whole;
            // Padding behind directory and notes is nobody's.
            match found {
                Ok(entries) => prop_assert_eq!(Ok(entries), all(&encoded, &head)),
                Err(error) => prop_assert!(matches!(error, FileError::Checksum(_)), "{}", error),
            }
        }
    }

    #[test]
    fn a_run_of_another_place_or_store_is_none() {
        let encoded = draft(&[3]).encode(&IDENTITY, Vec::new());
        let read = |identity: &FileIdentity, start| {
            RunHead::read(identity, &(start..1 << 20), &encoded.bytes).map(|_| ())
        };
        assert_eq!(read(&IDENTITY, 4096), Ok(()));
        assert_eq!(read(&IDENTITY, 0), Err(FileError::Foreign));
        assert_eq!(read(&FileIdentity { shard: 1, ..IDENTITY }, 4096), Err(FileError::Foreign));
        let short = RunHead::read(&IDENTITY, &(4096..1 << 20), &encoded.bytes[..100]);
        assert_eq!(short, Err(FileError::Short(100)));
    }
}
