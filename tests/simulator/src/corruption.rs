//! Changed bytes in a store that was stopped cleanly: copies of it are damaged and started.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use engine::commitlog::{Kind, PREFIX_BYTES};
use ringmq::server::recovery::Replayed;
use ringmq::server::runs::DamagedFile;
use ringmq::server::store::{inspect, segment_path, shard_directory};

use crate::disk::Disk;
use crate::place::all_places;
use crate::world::{Finding, SEGMENT_BYTES, STORE, World};

/// What was changed.
#[derive(Clone, Debug, Default)]
struct Flips {
    /// Bytes of records.
    records: usize,
    /// Bytes of the log that no record needs: padding, what a filler skips, space ahead.
    free: usize,
    /// Bytes of runs, index files and snapshots.
    derived: usize,
    /// Bytes of STORE and EPOCHS.
    documents: usize,
    /// Bytes of CLEAN.
    ends: usize,
    places: Vec<(PathBuf, u64)>,
}

impl Flips {
    /// Files of a kind that were changed.
    fn files(&self, kind: FileKind) -> usize {
        let files: BTreeSet<_> = self.places.iter().map(|(path, _)| path).collect();
        files.into_iter().filter(|path| FileKind::of(path) == kind).count()
    }
}

/// Kinds of files, by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    Segment,
    Run,
    Index,
    Snapshot,
    Document,
    End,
}

impl FileKind {
    pub fn of(path: &Path) -> FileKind {
        match path.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
            name if name.len() == 20 => FileKind::Segment,
            name if name.starts_with("queues-") => FileKind::Run,
            name if name.starts_with("index-") => FileKind::Index,
            name if name.starts_with("snapshot-") => FileKind::Snapshot,
            "CLEAN" => FileKind::End,
            _ => FileKind::Document,
        }
    }

    /// Its bytes are in pages, not a small file's text.
    fn has_pages(self) -> bool {
        matches!(self, FileKind::Segment | FileKind::Run | FileKind::Index)
    }
}

/// What a run of corruptions did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Corruptions {
    /// The damaged store was served, what was damaged left out.
    pub started: u64,
    /// The start was refused.
    pub refused: u64,
    /// Messages that were damaged and therefore gone.
    pub gone: u64,
    /// Stores of which only runs or snapshots were damaged.
    pub derived: u64,
    /// Stores of which only free space was changed.
    pub free: u64,
}

/// Whether a byte of a segment belongs to what a record says.
fn is_used(used: &[Vec<Range<u64>>], path: &Path, place: u64) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
    let name = path.file_name().and_then(|name| name.to_str());
    let shard = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let shard = number(shard.and_then(|name| name.strip_prefix("shard-"))).unwrap_or(0);
    let offset = number(name).expect("a segment") + place;
    let ranges = &used[shard as usize];
    let behind = ranges.partition_point(|range| range.start <= offset);
    behind > 0 && ranges[behind - 1].contains(&offset)
}

impl World {
    /// Fills a store, stops it cleanly, and then starts copies of it with some bytes changed.
    ///
    /// # Errors
    /// The finding: a body that nobody sent, more messages gone than bytes were changed, no answer.
    pub fn run_corruptions(mut self, count: u32) -> Result<Corruptions, Finding> {
        let mut life = self.start()?;
        self.serve(&mut life)?;
        for _ in 0..self.plan.steps_max {
            self.step(&mut life, true)?;
        }
        self.quiet(&mut life)?;
        self.deliver_all(&mut life)?;
        self.stop(&mut life)?;
        self.end(life);
        let whole = self.disk.clone();
        let used = self.used_by_records(&whole)?;
        let mut done = Corruptions::default();
        for number in 0..count {
            self.disk = whole.fork();
            let flips = self.corrupt(&used);
            let outcome = self.corrupted(&flips, &mut done);
            outcome.map_err(|finding| format!("corruption {number}, {flips:?}: {finding}"))?;
        }
        Ok(done)
    }

    /// For each shard the log offsets that hold what a record says: all but padding and what fillers skip.
    fn used_by_records(&self, disk: &Disk) -> Result<Vec<Vec<Range<u64>>>, Finding> {
        let mut used = vec![Vec::new(); usize::from(self.plan.shards)];
        let inspected = inspect(disk, Path::new(STORE), |_, shard, found| {
            let Replayed::Record { offset, prefix, .. } = found else { return };
            let bytes = match prefix.kind {
                Kind::Filler => PREFIX_BYTES as u64,
                _ => PREFIX_BYTES as u64 + u64::from(prefix.len),
            };
            used[shard].push(offset..offset + bytes);
        });
        let inspected = inspected.map_err(|error| error.to_string())?;
        match inspected.shards.iter().find(|shard| !shard.damaged.is_empty()) {
            Some(shard) => Err(format!("a whole store is called damaged: {:?}", shard.damaged)),
            None => Ok(used),
        }
    }

    /// Changes bytes anywhere in what is used, most of them in the log.
    fn corrupt(&mut self, used: &[Vec<Range<u64>>]) -> Flips {
        let mut flips = Flips::default();
        let files = self.disk.used();
        for _ in 0..self.rng.u32(1..4) {
            let wanted = match self.rng.u8(..10) {
                0..5 => FileKind::Segment,
                5 => FileKind::Run,
                6 => FileKind::Index,
                7 => FileKind::Snapshot,
                8 => FileKind::End,
                _ => FileKind::Document,
            };
            let files: Vec<_> =
                files.iter().filter(|(path, _)| FileKind::of(path) == wanted).collect();
            let Some((path, places)) = self.rng.choice(files) else { continue };
            let Some(place) = self.rng.choice(places) else { continue };
            let place = place + if wanted.has_pages() { self.rng.u64(..4096) } else { 0 };
            // Now and then the log's end, of which nothing behind it tells.
            let is_end = wanted == FileKind::Segment && self.rng.u8(..6) == 0;
            let (path, place) = match is_end {
                true => self.near_the_end(used),
                false => (path.clone(), place),
            };
            let path = &path;
            if flips.places.iter().any(|(other, at)| other == path && *at == place) {
                continue; // the same bit twice would change nothing
            }
            let bit = 1 << self.rng.u8(..8);
            if wanted.has_pages() {
                self.disk.corrupt(path, place, |byte| byte ^ bit).expect("a place in use");
            } else {
                self.disk.corrupt_text(path, place as usize, |byte| byte ^ bit);
            }
            match wanted {
                FileKind::Segment if is_used(used, path, place) => flips.records += 1,
                FileKind::Segment => flips.free += 1,
                FileKind::Run | FileKind::Index | FileKind::Snapshot => flips.derived += 1,
                FileKind::Document => flips.documents += 1,
                FileKind::End => flips.ends += 1,
            }
            flips.places.push((path.clone(), place));
        }
        flips
    }

    /// A byte of one of the last two records of a log: the mark of its end, and the padding behind it.
    fn near_the_end(&mut self, used: &[Vec<Range<u64>>]) -> (PathBuf, u64) {
        let shard = self.rng.usize(..used.len());
        let last = used[shard].iter().rev().nth(self.rng.usize(..2)).expect("a log of records");
        let at = self.rng.u64(last.clone());
        let first = at / SEGMENT_BYTES * SEGMENT_BYTES;
        let directory = shard_directory(Path::new(STORE), shard as u16);
        (segment_path(&directory, first), at - first)
    }

    fn corrupted(&mut self, flips: &Flips, done: &mut Corruptions) -> Result<(), Finding> {
        self.check_inspection(flips)?;
        let mut life = match self.start() {
            Ok(life) => life,
            Err(_) if flips.documents > 0 => {
                done.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if flips.documents > 0 {
            return Err("a damaged document was taken for a whole one".to_owned());
        }
        self.serve(&mut life)?;
        // A pull that comes upon a damaged run is refused until the run was made again.
        life.reads_failed = flips.derived > 0;
        let (mut gone, mut topics_gone) = (0, BTreeSet::new());
        for place in all_places(self.plan.shards) {
            match self.read_queue(&mut life, place, true, None)? {
                Some(messages) => gone += self.ledger.audits_damaged(place, &messages)?,
                // The record that made the topic, or gave it this queue.
                None if self.ledger.must_exist(place) => _ = topics_gone.insert(place.topic),
                None => {}
            }
        }
        gone += topics_gone.len();
        if gone > flips.records {
            return Err(format!(
                "{} records were changed and {gone} messages are gone",
                flips.records
            ));
        }
        done.started += 1;
        done.gone += gone as u64;
        let is_only = |count| count > 0 && count == flips.places.len();
        done.derived += u64::from(is_only(flips.derived));
        done.free += u64::from(is_only(flips.free));
        self.end(life);
        Ok(())
    }

    /// Whoever looks at the stopped store is told of every changed byte that matters, and of no other.
    fn check_inspection(&self, flips: &Flips) -> Result<(), Finding> {
        let mut damaged_records = 0;
        let inspected = inspect(&self.disk, Path::new(STORE), |_, _, found| {
            damaged_records += usize::from(matches!(found, Replayed::Damage(_)));
        });
        let inspected = match inspected {
            Ok(inspected) if flips.documents == 0 => inspected,
            Err(_) if flips.documents > 0 => return Ok(()),
            Ok(_) => return Err("a damaged document is called whole".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let damaged_files = inspected.shards.iter().map(|shard| shard.damaged.len()).sum::<usize>();
        let is_end = |file: &DamagedFile| FileKind::of(&file.path) == FileKind::End;
        let all_damaged = inspected.shards.iter().flat_map(|shard| &shard.damaged);
        if all_damaged.filter(|file| is_end(file)).count() != flips.files(FileKind::End) {
            return Err("a note where the log ended is damaged and not reported".to_owned());
        }
        // Without that note, damage of the log's last record is a torn tail.
        let may_be_torn = flips.ends > 0 && flips.records > 0;
        if (damaged_records > 0) != (flips.records > 0) && !may_be_torn {
            return Err(format!(
                "{} bytes of records were changed, {damaged_records} places are reported",
                flips.records
            ));
        }
        // Padding within them is nobody's, but nothing else is reported.
        if damaged_files > flips.files(FileKind::End) && flips.derived == 0 && flips.records == 0 {
            return Err(format!("{damaged_files} whole files are called damaged"));
        }
        Ok(())
    }
}
