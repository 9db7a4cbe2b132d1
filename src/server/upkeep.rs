//! Upkeep of a shard's files while it runs: runs, snapshots, segments that are not needed any more.
//! Kind: shell
//!
//! Blocking, on a thread for it; the simulator performs the same. What fails is tried again: the log
//! holds everything, so that nothing is lost by it but memory and time.

use std::ops::Range;

use engine::consumequeue::EncodedRun;
use engine::messageindex::IndexWork;
use engine::shard::Slice;
use runtime::file::FileSystem;

use super::index::{self, IndexFailure};
use super::messages::{ShardEnd, ToCore};
use super::runs::{self, ShardPlace};
use super::store;

/// A piece of work.
#[derive(Debug)]
pub enum Upkeep {
    /// Write the run of a slice.
    WriteRun(Slice),
    /// The same, encoded before.
    WriteEncoded(EncodedRun),
    /// Make a snapshot: a segment is full.
    Fold,
    /// Make a damaged run again from the log.
    RemakeRun(Range<u64>),
    /// Write an index file, make one again, or make one of several.
    KeepIndex(IndexWork),
    /// Remove the segments with these first log offsets, and runs below the other.
    RemoveBelow(Vec<u64>, u64),
}

impl Upkeep {
    /// Whether a stop waits for it: only memory has what it writes, the next start would have to read the log for it.
    pub fn is_due_at_stop(&self) -> bool {
        matches!(
            self,
            Upkeep::WriteRun(_) | Upkeep::WriteEncoded(_) | Upkeep::KeepIndex(IndexWork::Write(_))
        )
    }
}

/// Notes where the log of a shard ended that was stopped; what is left to do then. With runs of what was in none the
/// next start has nothing to replay, and numbers of messages are known that are damaged until then.
pub fn close(files: &impl FileSystem, place: &ShardPlace, ended: ShardEnd) -> Vec<Upkeep> {
    store::mark_clean_end(files, &place.directory, ended.end);
    let runs = ended.slices.into_iter().map(Upkeep::WriteRun);
    runs.chain(ended.keys.into_iter().map(Upkeep::KeepIndex)).collect()
}

/// What became of it.
#[derive(Debug)]
pub struct Done<F> {
    /// What the core is to be told.
    pub messages: Vec<ToCore<F>>,
    /// What is to be tried again after a while, and why.
    pub again: Option<(Upkeep, String)>,
}

impl<F> Done<F> {
    fn with(message: ToCore<F>) -> Done<F> {
        Done { messages: vec![message], again: None }
    }

    fn failed(upkeep: Upkeep, what: &str, error: &dyn std::error::Error) -> Done<F> {
        Done { messages: Vec::new(), again: Some((upkeep, format!("{what}: {error}"))) }
    }
}

/// Performs a piece of work.
pub fn perform<F: FileSystem>(
    files: &F,
    place: &ShardPlace,
    shard: usize,
    upkeep: Upkeep,
) -> Done<F::File> {
    match upkeep {
        Upkeep::WriteRun(slice) => {
            let encoded = slice.encode(&place.identity);
            perform(files, place, shard, Upkeep::WriteEncoded(encoded))
        }
        Upkeep::WriteEncoded(encoded) => match runs::write_run(files, place, &encoded) {
            Ok(file) => {
                let is_full = encoded.head.range.end.is_multiple_of(place.shape.segment_bytes);
                let mut done = Done::with(ToCore::RunWritten { shard, head: encoded.head, file });
                if is_full {
                    let folded = perform(files, place, shard, Upkeep::Fold);
                    done.messages.extend(folded.messages);
                    done.again = folded.again;
                }
                done
            }
            Err(error) => Done::failed(
                Upkeep::WriteEncoded(encoded),
                "queue entries cannot be written",
                &error,
            ),
        },
        Upkeep::Fold => match runs::fold(files, place) {
            Ok(safe_below) => Done::with(ToCore::Snapshot { shard, safe_below }),
            Err(error) => Done::failed(Upkeep::Fold, "a snapshot cannot be written", &error),
        },
        Upkeep::RemoveBelow(segments, start) => {
            let what = "old segments cannot be removed";
            if let Err(error) = runs::expire(files, place, start) {
                return Done::failed(Upkeep::RemoveBelow(segments, start), what, &error);
            }
            match runs::remove_below(files, place, &segments, start) {
                Ok(()) => Done::with(ToCore::Removed { shard }),
                Err(error) => Done::failed(Upkeep::RemoveBelow(segments, start), what, &error),
            }
        }
        Upkeep::KeepIndex(work) => match index::perform(files, place, &work) {
            Ok((head, file)) => Done::with(ToCore::IndexWritten { shard, head, file }),
            Err(IndexFailure::Damaged(range, reason)) => {
                tracing::error!(
                    shard,
                    from = range.start,
                    to = range.end,
                    reason,
                    "the index of keys of this part of the log is damaged on disk; it is made again from the log"
                );
                Done::with(ToCore::IndexDamaged { shard, range })
            }
            // Not tried again from here: runs wait behind it.
            Err(IndexFailure::Failed(reason)) => Done::with(ToCore::IndexDelayed { shard, reason }),
        },
        Upkeep::RemakeRun(range) => match runs::remake_run(files, place, &range) {
            Ok((head, file)) => Done::with(ToCore::RunWritten { shard, head, file }),
            // Not tried again from here: other runs wait behind it.
            Err(error) => Done::with(ToCore::RunDelayed { shard, reason: error.to_string() }),
        },
    }
}
