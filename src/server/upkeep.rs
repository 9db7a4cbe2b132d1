//! Upkeep of a shard's files while it runs: runs, snapshots, segments that are not needed any more.
//! Kind: shell
//!
//! Blocking, on a thread for it; the simulator performs the same. What fails is tried again: the log
//! holds everything, so that nothing is lost by it but memory and time.

use std::ops::Range;

use engine::consumequeue::{EncodedRun, RunHead};
use engine::shard::Slice;
use runtime::file::FileSystem;

use super::messages::ToCore;
use super::runs::{self, ShardPlace};

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
    /// Remove the segments with these first log offsets, and runs below the other.
    RemoveBelow(Vec<u64>, u64),
}

/// What became of it.
#[derive(Debug)]
pub struct Done<F> {
    /// What the core is to be told.
    pub messages: Vec<ToCore<F>>,
    /// What is to be tried again after a while.
    pub again: Option<Upkeep>,
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
        Upkeep::WriteEncoded(encoded) => match runs::write_encoded(files, place, &encoded) {
            Ok(file) => {
                let is_full = encoded.head.range.end.is_multiple_of(place.shape.segment_bytes);
                let mut done = written(shard, encoded.head, file);
                if is_full {
                    let folded = perform(files, place, shard, Upkeep::Fold);
                    done.messages.extend(folded.messages);
                    done.again = folded.again;
                }
                done
            }
            Err(error) => {
                let reason = format!("write queue entries to {}", place.directory.display());
                tracing::warn!(shard, %error, "{reason}; tried again");
                Done { messages: Vec::new(), again: Some(Upkeep::WriteEncoded(encoded)) }
            }
        },
        Upkeep::Fold => match runs::fold(files, place) {
            Ok(safe_below) => {
                Done { messages: vec![ToCore::Snapshot { shard, safe_below }], again: None }
            }
            Err(error) => {
                let reason = format!("write a snapshot to {}", place.directory.display());
                tracing::warn!(shard, %error, "{reason}; tried again");
                Done { messages: Vec::new(), again: Some(Upkeep::Fold) }
            }
        },
        Upkeep::RemoveBelow(segments, start) => {
            let removed = runs::expire(files, place, start)
                .map_err(|error| error.to_string())
                .and_then(|()| {
                    let removed = runs::remove_below(files, place, &segments, start);
                    removed.map_err(|error| error.to_string())
                });
            match removed {
                Ok(()) => Done { messages: Vec::new(), again: None },
                Err(error) => {
                    tracing::warn!(shard, error, "old segments cannot be removed; tried again");
                    let again = Some(Upkeep::RemoveBelow(segments, start));
                    Done { messages: Vec::new(), again }
                }
            }
        }
        Upkeep::RemakeRun(range) => match runs::remake_run(files, place, &range) {
            Ok((head, file)) => written(shard, head, file),
            Err(error) => {
                tracing::error!(shard, %error, "queue entries cannot be made again; tried again");
                Done { messages: Vec::new(), again: Some(Upkeep::RemakeRun(range)) }
            }
        },
    }
}

fn written<F>(shard: usize, head: RunHead, file: F) -> Done<F> {
    Done { messages: vec![ToCore::RunWritten { shard, head, file }], again: None }
}
