//! A shard for tests, with the disk played by hand.
//! Kind: machine

use proto::ids::ShardIndex;
use runtime::WriteBuffer;

use super::{FoundBy, NewMessage, Opening, OpeningSettings, SealLimits, Shard};
use crate::commitlog::{CommitLog, Epochs, FlushMode, LogShape, LogWrite, SegmentIdentity};
use crate::consumequeue::QueueKey;

/// Shape of its log.
pub const SHAPE: LogShape = LogShape { seed: 5, block_bytes: 4096, segment_bytes: 16 << 20 };

/// Where [`message`] goes.
pub const QUEUE: QueueKey = QueueKey { topic: 9, queue: 0 };

/// Delay of its only level.
pub const DELAY_MS: u64 = 1000;

/// When the producer of a half message is asked.
pub const TIMEOUT_MS: u64 = 6000;

/// An empty shard that acknowledges what is durable.
pub fn shard() -> Shard {
    shard_in(FlushMode::Sync)
}

/// An empty shard of this flush mode.
pub fn shard_in(mode: FlushMode) -> Shard {
    open(Opening::new(SealLimits::default(), SHAPE.segment_bytes, 0, 0), mode)
}

/// A shard of what was found, with a log of its own.
pub fn open(opening: Opening, mode: FlushMode) -> Shard {
    let mut epochs = Epochs::default();
    let life = epochs.raise(0, SHAPE.block_bytes);
    // Several segments: nothing has to be read from disk.
    let buffer = WriteBuffer::new(64 << 20, life.first).expect("memory");
    let identity = SegmentIdentity { format: 1, store_id: 7, shard: 0 };
    let mut log = CommitLog::new(SHAPE, mode, identity, life, buffer);
    log.space_found(1 << 40);
    let settings = OpeningSettings {
        delays_ms: vec![DELAY_MS],
        transaction_timeout_ms: TIMEOUT_MS,
        read_cache_bytes: 1 << 20,
    };
    opening.finish(ShardIndex(0), log, &settings).0
}

/// A small message.
pub fn message() -> NewMessage<'static> {
    NewMessage {
        queue: QUEUE,
        topic: b"topic",
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "127.0.0.1:1".parse().expect("an address"),
        store_host: "127.0.0.1:2".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"body",
        body_crc: None,
        properties: b"UNIQ_KEY\x01key\x02",
        found_by: FoundBy { tag: 0, unique_key: (9, 3), keys: (0, 0) },
    }
}

/// Writes that are due begin.
pub fn start_writes(shard: &mut Shard) -> Vec<LogWrite> {
    std::iter::from_fn(|| shard.log_mut().next_write()).collect()
}

/// Writes that are due are done, and those that are due then.
pub fn complete(shard: &mut Shard) {
    let mut writes = start_writes(shard);
    while !writes.is_empty() {
        for write in writes {
            shard.log_mut().write_completed(&write.range, Ok(()));
        }
        writes = start_writes(shard);
    }
}
