//! A core and its files: what is written, synced and read.
//! Kind: shell

use std::io;

use engine::coldread::ColdReads;
use engine::shard::Shard;
use runtime::clock::Now;
use runtime::{FileEvent, Ring, WriteSync};

use super::Core;
use crate::server::files::{Files, ShardFiles};

/// A sync of all files that it concerns.
#[derive(Debug)]
pub(super) struct SyncInFlight {
    shard: usize,
    left: usize,
    failure: Option<String>,
}

impl<R: Ring> Core<R> {
    pub(super) fn file_event(&mut self, event: FileEvent) {
        match event {
            FileEvent::Wrote { token, range, result } => {
                let shard = &mut self.broker.shards[token as usize];
                shard.log_mut().buffer_mut().thaw(&range);
                let result = result.map_err(|error| error.to_string());
                shard.log_mut().write_completed(&range, result);
            }
            FileEvent::Read { token, buffer, result } => {
                let (shard, kind, offset) = read_of(token);
                let shard = &mut self.broker.shards[shard];
                let result = result.map_err(|error| error.to_string());
                kind.reads(shard).read_completed(offset, buffer, result);
            }
            FileEvent::Synced { token, result } => self.synced(token as usize, result),
        }
    }

    fn synced(&mut self, shard: usize, result: io::Result<()>) {
        let Some(index) = self.syncs.iter().position(|sync| sync.shard == shard) else { return };
        let sync = &mut self.syncs[index];
        sync.left -= 1;
        if let Err(error) = result {
            sync.failure.get_or_insert(error.to_string());
        }
        if sync.left == 0 {
            let sync = self.syncs.swap_remove(index);
            let result = sync.failure.map_or(Ok(()), Err);
            self.broker.shards[shard].log_mut().sync_completed(result);
        }
    }

    /// Starts the writes and syncs that are due.
    pub(super) fn pump(&mut self, now: Now) -> io::Result<()> {
        let sync_now = now.monotonic_ms() >= self.next_sync_ms;
        if sync_now {
            self.next_sync_ms = now.monotonic_ms() + self.config.flush_interval_ms;
        }
        let router = *self.broker.router();
        for index in 0..self.broker.shards.len() {
            let shard = &mut self.broker.shards[index];
            while let Some(write) = shard.log_mut().next_write() {
                let place = self.files[index].log.slot(&mut self.ring, write.range.start)?;
                let (slot, at) = place.expect("space is prepared before it is written to");
                let sync = if write.durable { WriteSync::Durable } else { WriteSync::Written };
                let buffer = shard.log_mut().buffer_mut();
                self.ring.write_log(slot, at, buffer, write.range, sync, index as u64);
            }
            if sync_now && let Some(sync) = shard.log_mut().next_sync() {
                let segment_bytes = shard.log().shape().segment_bytes;
                let mut left = 0;
                let mut at = sync.range.start / segment_bytes * segment_bytes;
                while at < sync.range.end {
                    let place = self.files[index].log.slot(&mut self.ring, at)?;
                    let (slot, _) = place.expect("written segments exist");
                    self.ring.sync_file(slot, index as u64);
                    left += 1;
                    at += segment_bytes;
                }
                self.syncs.push(SyncInFlight { shard: index, left, failure: None });
            }
            if !self.poison_told[index]
                && let Some(poison) = shard.log().poisoned()
            {
                self.poison_told[index] = true;
                let store = self.config.store.display();
                let shard = router.number(index);
                tracing::error!(shard, %store, %poison, "sends are refused from now on");
            }
        }
        Ok(())
    }

    pub(super) fn start_cold_reads(&mut self) -> io::Result<()> {
        for (index, shard) in self.broker.shards.iter_mut().enumerate() {
            for kind in [ReadKind::Log, ReadKind::Runs, ReadKind::Indexes] {
                while let Some(read) = kind.reads(shard).next_read() {
                    let place =
                        kind.files(&mut self.files[index]).slot(&mut self.ring, read.offset);
                    match place {
                        Ok(Some((slot, at))) => {
                            let token = read_token(index, kind, read.offset);
                            self.ring.read_file(slot, at, read.buffer, token);
                        }
                        Ok(None) => {
                            let gone = Err("the file does not exist any more".to_owned());
                            kind.reads(shard).read_completed(read.offset, read.buffer, gone);
                        }
                        // With very many shards: the reader is told, and may ask again.
                        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                            let many =
                                Err("too many files are read at once (LimitNOFILE)".to_owned());
                            kind.reads(shard).read_completed(read.offset, read.buffer, many);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a cold read reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReadKind {
    Log,
    Runs,
    Indexes,
}

impl ReadKind {
    fn reads(self, shard: &mut Shard) -> &mut ColdReads {
        match self {
            ReadKind::Log => shard.cold_mut(),
            ReadKind::Runs => shard.cold_runs_mut(),
            ReadKind::Indexes => shard.cold_index_mut(),
        }
    }

    fn files<F>(self, files: &mut ShardFiles<F>) -> &mut Files<F> {
        match self {
            ReadKind::Log => &mut files.log,
            ReadKind::Runs => &mut files.runs,
            ReadKind::Indexes => &mut files.indexes,
        }
    }
}

/// Cold reads start on multiples of this; keeps their offsets below 46 bits of a token.
const READ_UNIT: u64 = engine::limits::INDEX_READ_BYTES as u64;

const _: () = assert!((engine::limits::READ_BLOCK_BYTES as u64).is_multiple_of(READ_UNIT));

fn read_token(shard: usize, kind: ReadKind, offset: u64) -> u64 {
    let kind = match kind {
        ReadKind::Log => 0,
        ReadKind::Runs => 1,
        ReadKind::Indexes => 2,
    };
    ((shard as u64) << 48) | (kind << 46) | (offset / READ_UNIT)
}

fn read_of(token: u64) -> (usize, ReadKind, u64) {
    let kind = match token >> 46 & 3 {
        0 => ReadKind::Log,
        1 => ReadKind::Runs,
        _ => ReadKind::Indexes,
    };
    ((token >> 48) as usize, kind, (token & ((1 << 46) - 1)) * READ_UNIT)
}
