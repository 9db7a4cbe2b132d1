//! What the control thread and a core tell each other, over two bounded rings. A shard goes by its
//! number in the store.

use std::io;
use std::ops::Range;

use engine::consumequeue::RunHead;
use engine::messageindex::{IndexHead, IndexWork};
use engine::retention::DiskLook;
use engine::shard::Slice;
use proto::body::{DataVersion, TopicConfig};
use runtime::probe;

use super::store::CleanEnd;
use crate::observe::{Ask, CoreFigures};

/// From a core to the control thread.
#[derive(Debug)]
pub enum ToControl {
    /// Prepare space of a shard's log: create segments, write zeros, make them durable.
    PrepareSpace {
        /// The shard.
        shard: usize,
        /// Log offsets, within one segment.
        range: Range<u64>,
    },
    /// Write a slice's queue entries and notes as a run, and make a snapshot when its segment is full.
    WriteRun {
        /// The shard.
        shard: usize,
        /// What to write.
        slice: Slice,
    },
    /// A run was found damaged: make it again from the log.
    RemakeRun {
        /// The shard.
        shard: usize,
        /// The slice of the log.
        range: Range<u64>,
    },
    /// Write an index file, make one again, or make one of several.
    KeepIndex {
        /// The shard.
        shard: usize,
        /// What to do.
        work: IndexWork,
    },
    /// Remove the segments and runs below a log offset: the log begins there now.
    RemoveBelow {
        /// The shard.
        shard: usize,
        /// First log offsets of the segments, rising.
        segments: Vec<u64>,
        /// Log offset.
        start: u64,
    },
    /// Tell the NameServers of topics.
    RegisterTopics {
        /// Their configurations: all, or those that changed.
        topics: Vec<TopicConfig>,
        /// Version of the whole table.
        version: DataVersion,
        /// To be given back; `None`: nobody waits.
        number: Option<u64>,
        /// Whether `topics` is the whole table.
        is_full: bool,
    },
    /// What a [`ToCore::Figures`] asked for.
    Figures(Box<CoreFigures>),
    /// The core serves.
    Serving,
    /// After a `Stop`: what the core was asked is answered. It goes on for the others' sake.
    Drained,
    /// The core stopped: everything is on disk and sent. How its shards ended, but for those that failed.
    Stopped(Vec<ShardEnd>),
}

/// A shard that was stopped cleanly.
#[derive(Debug)]
pub struct ShardEnd {
    /// Its number.
    pub shard: usize,
    /// Where its log ended.
    pub end: CleanEnd,
    /// What no run holds yet.
    pub slices: Vec<Slice>,
    /// What no index file holds yet.
    pub keys: Vec<IndexWork>,
}

/// What a segment cannot be made without.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// Room on the disk, or a disk that does as it is told.
    Space,
    /// A descriptor: as many files are open as RLIMIT_NOFILE allows.
    Descriptors,
    /// Time: the broker stops, and none is made any more.
    Time,
}

impl Lack {
    /// What was missing when a preparation failed.
    pub fn of(error: &io::Error) -> Lack {
        if probe::is_want_of_descriptors(error) { Lack::Descriptors } else { Lack::Space }
    }
}

/// From the control thread to a core.
#[derive(Debug)]
pub enum ToCore<F> {
    /// Space is ready.
    SpacePrepared {
        /// The shard.
        shard: usize,
        /// Log offsets that are ready.
        range: Range<u64>,
        /// The segment's file, when the range begins a segment.
        segment: Option<F>,
    },
    /// Space could not be prepared now; it will be tried again, unless the broker stops.
    SpaceDelayed {
        /// The shard.
        shard: usize,
        /// What is missing.
        lack: Lack,
        /// Why.
        reason: String,
    },
    /// A run is durable.
    RunWritten {
        /// The shard.
        shard: usize,
        /// What it begins with.
        head: RunHead,
        /// Its file.
        file: F,
    },
    /// A run that was damaged could not be made again now.
    RunDelayed {
        /// The shard.
        shard: usize,
        /// Why.
        reason: String,
    },
    /// An index file is durable.
    IndexWritten {
        /// The shard.
        shard: usize,
        /// What it begins with.
        head: IndexHead,
        /// Its file.
        file: F,
    },
    /// An index file could not be written now, or not be made from the log.
    IndexDelayed {
        /// The shard.
        shard: usize,
        /// Why.
        reason: String,
    },
    /// An index file is damaged, so that what was asked cannot be done.
    IndexDamaged {
        /// The shard.
        shard: usize,
        /// Its part of the log.
        range: Range<u64>,
    },
    /// Segments below this log offset may be removed: two snapshots hold what they said.
    Snapshot {
        /// The shard.
        shard: usize,
        /// Log offset.
        safe_below: u64,
    },
    /// The segments of a RemoveBelow are gone.
    Removed {
        /// The shard.
        shard: usize,
    },
    /// The disk and the clock were looked at: see what may go.
    Disk(DiskLook),
    /// The NameServers were told of the topics of a RegisterTopics.
    Registered {
        /// Its number.
        number: u64,
    },
    /// NameServers say that these topics are ordered.
    OrderedTopics {
        /// Their names, known here or not.
        names: Vec<String>,
    },
    /// Somebody asks over HTTP how the core is.
    Figures(Ask),
    /// Give the whole table of topics: it is time to register again.
    SendAllTopics {
        /// To be given back with it: who told of changes with this number was asked for all.
        number: Option<u64>,
    },
    /// Take no more requests, and finish those in progress.
    Stop,
    /// All cores have: stop.
    End,
}
