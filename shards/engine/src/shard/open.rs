//! Open: a shard is rebuilt from the records of its log.
//! Kind: machine

use std::collections::VecDeque;

use proto::ids::ShardIndex;
use proto::{properties, record};

use super::{AnsweredKey, Shard};
use crate::catalog::{Catalog, CatalogError};
use crate::coldread::ColdReads;
use crate::commitlog::{CommitLog, FLAG_CONTINUES, FLAG_MORE, Kind, PREFIX_BYTES, Prefix};
use crate::consumequeue::{ConsumeQueues, QueueEntry, QueueKey};
use crate::delay::Delays;
use crate::hold::HeldPulls;
use crate::offsets::ConsumerOffsets;

/// A record of the log that is whole and yet says what cannot be.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A record of our own cannot be read.
    #[error(
        "the {kind:?} record at log offset {offset} is whole but malformed: it was written by another version"
    )]
    Malformed {
        /// Its kind.
        kind: Kind,
        /// Where it is.
        offset: u64,
    },
    /// A catalog record does not fit what came before.
    #[error("the catalog record at log offset {offset} cannot be applied: {source}")]
    Catalog {
        /// Where it is.
        offset: u64,
        /// Why.
        source: CatalogError,
    },
}

/// What replayed records amount to so far; becomes a [`Shard`].
#[derive(Debug)]
pub struct Opening {
    queues: ConsumeQueues,
    offsets: ConsumerOffsets,
    delays: Vec<(u64, Vec<u8>)>,
    stored_ms: u64,
    messages: u64,
    group: Vec<(u64, Prefix, Vec<u8>)>,
}

impl Opening {
    /// Nothing replayed yet.
    pub fn new() -> Opening {
        Opening {
            queues: ConsumeQueues::default(),
            offsets: ConsumerOffsets::default(),
            delays: Vec::new(),
            stored_ms: 0,
            messages: 0,
            group: Vec::new(),
        }
    }

    /// Messages replayed so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Applies one record; catalog records go to `catalog`. Records of a group are kept until it is
    /// whole.
    ///
    /// # Errors
    /// [`OpenError`]: the store was written by another version.
    pub fn record(
        &mut self,
        offset: u64,
        prefix: Prefix,
        payload: &[u8],
        catalog: &mut Catalog,
    ) -> Result<(), OpenError> {
        // They lie inside a group that goes on behind a segment's end or the buffer's wrap.
        if matches!(prefix.kind, Kind::Filler | Kind::Segment) {
            return Ok(());
        }
        if prefix.flags & FLAG_CONTINUES == 0 {
            self.group.clear(); // an unfinished group of an earlier life
        }
        if prefix.flags & FLAG_MORE != 0 {
            self.group.push((offset, prefix, payload.to_vec()));
            return Ok(());
        }
        for (offset, prefix, payload) in std::mem::take(&mut self.group) {
            self.apply(offset, prefix, &payload, catalog)?;
        }
        self.apply(offset, prefix, payload, catalog)
    }

    /// Bytes that were durable are damaged. A group that is cut short by them had been confirmed as a
    /// whole: what is left of it counts.
    ///
    /// # Errors
    /// As [`Opening::record`].
    pub fn damaged(&mut self, catalog: &mut Catalog) -> Result<(), OpenError> {
        for (offset, prefix, payload) in std::mem::take(&mut self.group) {
            self.apply(offset, prefix, &payload, catalog)?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        offset: u64,
        prefix: Prefix,
        payload: &[u8],
        catalog: &mut Catalog,
    ) -> Result<(), OpenError> {
        let malformed = || OpenError::Malformed { kind: prefix.kind, offset };
        match prefix.kind {
            Kind::Message => {
                let (message, _) = record::Record::decode(payload).map_err(|_| malformed())?;
                let fields = message.fields();
                let tag = properties::find(fields.properties, properties::name::TAGS)
                    .map_or(0, proto::ids::java_hash);
                let queue = QueueKey { topic: prefix.topic, queue: prefix.queue };
                let slot = self.queues.slot(queue);
                let queue_offset = u64::try_from(fields.queue_offset).map_err(|_| malformed())?;
                let stored_ms = u64::try_from(fields.store_timestamp).map_err(|_| malformed())?;
                if queue_offset < self.queues.queue(slot).max() {
                    return Err(malformed());
                }
                let entry = QueueEntry {
                    payload: offset + PREFIX_BYTES as u64,
                    size_bytes: prefix.len,
                    tag,
                    stored_ms,
                };
                self.queues.arrive(slot, queue_offset, entry);
                self.stored_ms = self.stored_ms.max(stored_ms);
                self.messages += 1;
            }
            Kind::Offsets => {
                if !self.offsets.replay(payload) {
                    return Err(malformed());
                }
            }
            Kind::Catalog => catalog
                .replay(prefix.topic, payload)
                .map_err(|source| OpenError::Catalog { offset, source })?,
            Kind::Settled => self.delays.push((offset, payload.to_vec())),
            Kind::Filler | Kind::Segment | Kind::End => {}
        }
        Ok(())
    }

    /// The shard, open, with the log that goes on.
    ///
    /// # Errors
    /// [`OpenError`]: a settlement is malformed.
    pub fn finish(
        self,
        index: ShardIndex,
        log: CommitLog,
        delays_ms: &[u64],
        read_cache_bytes: u64,
    ) -> Result<Shard, OpenError> {
        let mut shard = Shard {
            index,
            log,
            queues: self.queues,
            offsets: self.offsets,
            held: HeldPulls::default(),
            delays: Delays::new(delays_ms),
            cold: ColdReads::new(read_cache_bytes),
            line: VecDeque::with_capacity(4096),
            group: Vec::new(),
            sent: Vec::new(),
            answered_key: AnsweredKey::default(),
            stored_ms: self.stored_ms,
            pinned_from: u64::MAX,
            scratch: Vec::new(),
            flush_timeout_ms: None,
            marks: VecDeque::new(),
            overdue: 0,
            told_overdue: 0,
            ticked_ms: 0,
        };
        for (offset, payload) in self.delays {
            if !shard.replay_settled(&payload) {
                return Err(OpenError::Malformed { kind: Kind::Settled, offset });
            }
        }
        for level in 1..=shard.delays.levels() {
            let cursor = shard.delays.cursor(level);
            let queue = shard.queues.find(Delays::queue(level));
            let head = queue.and_then(|queue| queue.entry(cursor)).map(|entry| entry.stored_ms);
            shard.delays.settle(level, cursor, head);
        }
        Ok(shard)
    }
}

impl Default for Opening {
    fn default() -> Self {
        Opening::new()
    }
}

#[cfg(test)]
mod tests {
    use proto::record::RecordFields;

    use super::*;

    const QUEUE: QueueKey = QueueKey { topic: 7, queue: 0 };

    fn prefix(kind: Kind, flags: u8, len: usize) -> Prefix {
        let QueueKey { topic, queue } = QUEUE;
        Prefix { len: len as u32, kind, flags, epoch: 1, durable: 0, topic, queue }
    }

    fn message(queue_offset: i64) -> Vec<u8> {
        let host = "127.0.0.1:1".parse().expect("an address");
        let fields = RecordFields {
            queue_id: 0,
            flag: 0,
            queue_offset,
            physic_offset: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_timestamp: 1,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"body",
            body_crc: record::body_crc(b"body"),
            topic: b"topic",
            properties: b"",
        };
        let mut bytes = vec![0; fields.encoded_bytes()];
        fields.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_group_goes_on_behind_the_end_of_its_segment() {
        let mut opening = Opening::new();
        let mut catalog = Catalog::default();
        let (first, second) = (message(0), message(1));
        let records = [
            (prefix(Kind::Message, FLAG_MORE, first.len()), &first[..]),
            (prefix(Kind::Filler, 0, 100), &[]),
            (prefix(Kind::Segment, 0, 24), &[0; 24]),
            (prefix(Kind::Message, FLAG_CONTINUES, second.len()), &second),
        ];
        for (at, (prefix, payload)) in (0..).zip(records) {
            opening.record(at * 4096, prefix, payload, &mut catalog).expect("well formed");
        }
        assert_eq!(opening.messages(), 2);
    }
}
