//! Read: messages of a queue for a pull, or one record by its position.
//! Kind: machine
//!
//! Status and limits follow DefaultMessageStore.getMessage (5.3.3); its limit of 8 messages for reads
//! from disk is not kept (design, *Semantics kept on purpose*).

use super::Shard;
use crate::coldread::Cold;
use crate::commitlog::{Kind, PREFIX_BYTES, Prefix, verify};
use crate::consumequeue::{QueueEntry, QueueKey};
use crate::filter::TagFilter;
use crate::hold::HeldPull;
use crate::limits::{PAYLOAD_BYTES_MAX, SCANNED_ENTRIES_MAX};

/// What a pull asks for, checked by the broker.
#[derive(Clone, Copy, Debug)]
pub struct PullRequest<'a> {
    /// The queue.
    pub queue: QueueKey,
    /// First queue offset wanted.
    pub from: u64,
    /// Messages at the most; 0 acts like 1.
    pub count_max: u32,
    /// Bytes at the most; the first message always fits.
    pub bytes_max: u32,
    /// Which tags.
    pub filter: &'a TagFilter,
}

/// GetMessageStatus of RocketMQ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullStatus {
    /// At least one message.
    Found,
    /// Scanned, none wanted.
    NoMatchedMessage,
    /// The messages scanned are gone.
    MessageWasRemoving,
    /// From below the queue's minimum.
    OffsetTooSmall,
    /// From the queue's maximum: nothing new.
    OffsetOverflowOne,
    /// From above the maximum.
    OffsetOverflowBadly,
    /// The queue is empty.
    NoMessageInQueue,
}

/// What a pull is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// How it went.
    pub status: PullStatus,
    /// Where to go on.
    pub next_begin: u64,
    /// The queue's bounds.
    pub min: u64,
    /// The queue's bounds.
    pub max: u64,
}

/// What became of a pull.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pulled {
    /// Answer it.
    Answered(Answer),
    /// Its messages are being read: park it with [`Shard::wait_cold`].
    Cold(std::ops::Range<u64>),
    /// Its messages cannot be read now: the operating system's words.
    Failed(String),
}

/// A record of a reply that lies in the tail's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Log offset of the RocketMQ record.
    pub payload: u64,
    /// Its bytes.
    pub size_bytes: u32,
}

/// Records of one reply: pieces to gather, or bytes that were copied from disk blocks.
#[derive(Debug, Default)]
pub struct Replies {
    /// Records in the tail's memory.
    pub pieces: Vec<Piece>,
    /// Records from disk, one after the other.
    pub bytes: Vec<u8>,
    /// Bytes in all.
    pub total_bytes: usize,
}

impl Replies {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.bytes.clear();
        self.total_bytes = 0;
    }
}

/// What became of a look at one position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// The record was appended to the caller's bytes.
    Found,
    /// It is being read: try again when cold reads have completed.
    Cold,
    /// There is no message at that position, or its bytes are damaged.
    None,
    /// The disk does not give it: why. Later it may.
    Failed(String),
}

impl Shard {
    /// Looks for messages of a queue; records go into `replies` (cleared before).
    pub fn pull(&mut self, request: &PullRequest<'_>, replies: &mut Replies) -> Pulled {
        replies.clear();
        let Some(queue) = self.queues.find(request.queue) else {
            return Pulled::Answered(Answer::outside(PullStatus::NoMessageInQueue, 0, 0, 0));
        };
        let (min, max) = (queue.min(), queue.max());
        let outside = |status, next| Pulled::Answered(Answer::outside(status, next, min, max));
        if max == 0 {
            return outside(PullStatus::NoMessageInQueue, 0);
        }
        if request.from < min {
            return outside(PullStatus::OffsetTooSmall, min);
        }
        if request.from == max {
            return outside(PullStatus::OffsetOverflowOne, max);
        }
        if request.from > max {
            return outside(PullStatus::OffsetOverflowBadly, max);
        }
        self.scan(request, min, max, replies)
    }

    fn scan(
        &mut self,
        request: &PullRequest<'_>,
        min: u64,
        max: u64,
        replies: &mut Replies,
    ) -> Pulled {
        let count_max = request.count_max.max(1) as usize;
        let scan_end = request.from + (SCANNED_ENTRIES_MAX.max(count_max)) as u64;
        let floor = self.log.tail_floor();
        let mut next = request.from;
        let mut found = 0;
        let mut was_damaged = false;
        while next < scan_end.min(max) && found < count_max {
            let queue = self.queues.find(request.queue).expect("found by the caller");
            let entry = queue.entry(next).expect("between min and max");
            if entry.size_bytes == 0 {
                was_damaged = true;
                next += 1;
                continue;
            }
            if !request.filter.matches(entry.tag) {
                next += 1;
                continue;
            }
            if found > 0
                && replies.total_bytes + entry.size_bytes as usize > request.bytes_max as usize
            {
                break;
            }
            let start = entry.payload - PREFIX_BYTES as u64;
            if start >= floor {
                if !replies.bytes.is_empty() {
                    break; // a reply is gathered or copied, not both
                }
                self.pinned_from = self.pinned_from.min(start);
                replies.pieces.push(Piece { payload: entry.payload, size_bytes: entry.size_bytes });
            } else {
                let before = replies.bytes.len();
                match self.copy_cold(&entry, &mut replies.bytes) {
                    Cold::Copied if replies.bytes.len() == before => {
                        was_damaged = true;
                        next += 1;
                        continue;
                    }
                    Cold::Copied => {}
                    Cold::Wanted if found > 0 => {
                        replies.bytes.truncate(before);
                        break;
                    }
                    Cold::Wanted => {
                        return Pulled::Cold(start..entry.payload + u64::from(entry.size_bytes));
                    }
                    Cold::Failed(_) if found > 0 => break,
                    Cold::Failed(reason) => return Pulled::Failed(reason),
                }
            }
            replies.total_bytes += entry.size_bytes as usize;
            found += 1;
            next += 1;
        }
        let status = match (found, was_damaged) {
            (1.., _) => PullStatus::Found,
            (0, true) => PullStatus::MessageWasRemoving,
            (0, false) => PullStatus::NoMatchedMessage,
        };
        Pulled::Answered(Answer { status, next_begin: next, min, max })
    }

    /// Copies a record from disk blocks and verifies it; nothing is added when it is damaged.
    fn copy_cold(&mut self, entry: &QueueEntry, out: &mut Vec<u8>) -> Cold {
        let start = entry.payload - PREFIX_BYTES as u64;
        let end = entry.payload + u64::from(entry.size_bytes);
        let before = out.len();
        self.cold.written(self.log.written());
        let cold = self.cold.copy(start..end, out);
        self.cold.read_ahead(end);
        if cold != Cold::Copied {
            return cold;
        }
        let record = &out[before..];
        let whole = Prefix::read(record).is_some_and(|prefix| {
            prefix.len == entry.size_bytes && verify(self.log.shape().seed, start, &prefix, record)
        });
        if whole {
            out.drain(before..before + PREFIX_BYTES);
        } else {
            tracing::error!(
                shard = self.index.0,
                offset = start,
                bytes = end - start,
                "a message on disk is damaged and is skipped; restore the disk or the segment from a copy"
            );
            out.truncate(before);
        }
        Cold::Copied
    }

    /// Parks a pull until the log bytes it needs were read.
    ///
    /// # Errors
    /// The pull, when as many as allowed wait already.
    pub fn wait_cold(
        &mut self,
        pull: HeldPull,
        range: std::ops::Range<u64>,
    ) -> Result<(), HeldPull> {
        self.cold.wait(pull, range)
    }

    /// Appends the message whose record is at a payload's log offset, verified, to `out`.
    pub fn lookup(&mut self, payload: u64, out: &mut Vec<u8>) -> Lookup {
        let Some(start) = payload.checked_sub(PREFIX_BYTES as u64) else { return Lookup::None };
        if payload >= self.log.confirmed() || !start.is_multiple_of(crate::commitlog::ALIGNMENT) {
            return Lookup::None;
        }
        let before = out.len();
        let prefix = match self.bytes_at(start..payload, out) {
            Cold::Copied => Prefix::read(&out[before..]),
            Cold::Wanted => return Lookup::Cold,
            Cold::Failed(reason) => return Lookup::Failed(reason),
        };
        out.truncate(before);
        let Some(prefix) =
            prefix.filter(|prefix| prefix.kind == Kind::Message && prefix.len <= PAYLOAD_BYTES_MAX)
        else {
            return Lookup::None;
        };
        let end = payload + u64::from(prefix.len);
        if end > self.log.confirmed() {
            return Lookup::None;
        }
        match self.bytes_at(start..end, out) {
            Cold::Copied => {}
            Cold::Wanted => return Lookup::Cold,
            Cold::Failed(reason) => return Lookup::Failed(reason),
        }
        if verify(self.log.shape().seed, start, &prefix, &out[before..]) {
            out.drain(before..before + PREFIX_BYTES);
            Lookup::Found
        } else {
            out.truncate(before);
            Lookup::None
        }
    }

    fn bytes_at(&mut self, range: std::ops::Range<u64>, out: &mut Vec<u8>) -> Cold {
        let len = usize::try_from(range.end - range.start).expect("a record");
        if let Some(bytes) = self.log.tail_bytes(range.start, len) {
            out.extend_from_slice(bytes);
            return Cold::Copied;
        }
        self.cold.written(self.log.written());
        self.cold.copy(range, out)
    }
}

impl Answer {
    fn outside(status: PullStatus, next_begin: u64, min: u64, max: u64) -> Answer {
        Answer { status, next_begin, min, max }
    }
}
