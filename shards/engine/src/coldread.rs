//! Cold reads: messages that the tail's memory no longer holds, read from disk into bounded blocks.
//! Owns: the block cache, the reads wanted and in flight, the pulls that wait for them.
//! Lives on: every shard
//! Kind: machine
//! Invariants:
//!   at most `capacity` buffers exist; a block that an active pull waits for is not evicted
//!   a block serves only bytes that were on disk when its read began
//!   always asynchronous: who needs a block that is not here waits as a value, not as a thread

use std::collections::VecDeque;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use runtime::DirectBuffer;

use crate::hold::HeldPull;
use crate::limits::{
    COLD_PULLS_MAX, COLD_READS_IN_FLIGHT_MAX, PAYLOAD_BYTES_MAX, READ_BLOCK_BYTES,
};

/// Blocks that the largest record can touch.
const RECORD_BLOCKS_MAX: usize = PAYLOAD_BYTES_MAX as usize / READ_BLOCK_BYTES + 2;

/// Reads in a row that end before what is on disk: then the file does.
const SHORT_READS_MAX: u8 = 16;

/// Blocks read beyond what a pull asked for: a reader that is behind reads on.
const READ_AHEAD_BLOCKS: u64 = 4;

/// A read the driver is to start; the whole buffer is to be filled.
#[derive(Debug)]
pub struct ColdRead {
    /// Log offset of the block, a multiple of its size.
    pub offset: u64,
    /// Where it goes.
    pub buffer: DirectBuffer,
}

/// What became of a copy out of the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cold {
    /// The bytes were appended.
    Copied,
    /// They are being read.
    Wanted,
    /// They cannot be read: the operating system's words.
    Failed(String),
}

#[derive(Debug)]
enum Block {
    /// `shorts`: how often it was read in vain, each time shorter than what is on disk.
    Wanted {
        shorts: u8,
    },
    /// `expected`: how much of it is on disk.
    Reading {
        expected: usize,
        shorts: u8,
    },
    Ready {
        buffer: DirectBuffer,
        valid: usize,
        used: u64,
        expected: usize,
        shorts: u8,
    },
    Failed(String),
}

#[derive(Debug)]
struct WaitingPull {
    pull: HeldPull,
    blocks: Range<u64>,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct ColdReads {
    /// Bytes of a block.
    block: u64,
    /// Blocks that whoever waits may need at once.
    reach: usize,
    capacity: usize,
    buffers: usize,
    free: Vec<DirectBuffer>,
    blocks: HashMap<u64, Block, RandomState>,
    wanted: VecDeque<u64>,
    in_flight: usize,
    active: Vec<WaitingPull>,
    queued: VecDeque<WaitingPull>,
    woken: Vec<HeldPull>,
    uses: u64,
    completed: u64,
    on_disk: u64,
}

impl ColdReads {
    /// A cache of `bytes`, at least what two of the largest records touch.
    pub fn new(bytes: u64) -> ColdReads {
        let reach = RECORD_BLOCKS_MAX + READ_AHEAD_BLOCKS as usize;
        let blocks = usize::try_from(bytes / READ_BLOCK_BYTES as u64).unwrap_or(usize::MAX);
        ColdReads::with(READ_BLOCK_BYTES, reach, blocks.max(2 * reach))
    }

    /// A cache of so many blocks of a size, for those who look at one here and one there.
    pub fn of_pages(block_bytes: usize, blocks: usize) -> ColdReads {
        ColdReads::with(block_bytes, 1, blocks)
    }

    fn with(block_bytes: usize, reach: usize, capacity: usize) -> ColdReads {
        ColdReads {
            block: block_bytes as u64,
            reach,
            capacity,
            buffers: 0,
            free: Vec::new(),
            blocks: HashMap::default(),
            wanted: VecDeque::new(),
            in_flight: 0,
            active: Vec::new(),
            queued: VecDeque::new(),
            woken: Vec::new(),
            uses: 0,
            completed: 0,
            on_disk: 0,
        }
    }

    /// Everything below this log offset is on disk.
    pub fn written(&mut self, offset: u64) {
        self.on_disk = offset;
    }

    /// Appends log bytes to `out`, or has them read.
    pub fn copy(&mut self, range: Range<u64>, out: &mut Vec<u8>) -> Cold {
        let mut all = true;
        for number in self.blocks_of(&range) {
            let start = number * self.block;
            let needed =
                usize::try_from(range.end.min(start + self.block) - start).expect("a block");
            match self.blocks.get(&number) {
                Some(Block::Ready { valid, .. }) if *valid >= needed => {}
                Some(Block::Ready { expected, shorts, .. }) => {
                    // A read may be short without a reason; again and again so the file is.
                    let shorts = if *expected >= needed { shorts + 1 } else { 0 };
                    self.forget(number);
                    self.want(number, shorts);
                    all = false;
                }
                Some(Block::Failed(reason)) => {
                    let reason = reason.clone();
                    self.blocks.remove(&number);
                    if self.is_waited_for(number) {
                        self.want(number, 0); // told once; who waits for other blocks too has it tried again
                    }
                    return Cold::Failed(reason);
                }
                Some(Block::Wanted { .. } | Block::Reading { .. }) => all = false,
                None => {
                    self.want(number, 0);
                    all = false;
                }
            }
        }
        if !all {
            return Cold::Wanted;
        }
        self.uses += 1;
        for number in self.blocks_of(&range) {
            let Some(Block::Ready { buffer, used, .. }) = self.blocks.get_mut(&number) else {
                unreachable!("checked above")
            };
            *used = self.uses;
            let start = number * self.block;
            let from = range.start.max(start) - start;
            let to = range.end.min(start + self.block) - start;
            out.extend_from_slice(&buffer.bytes()[from as usize..to as usize]);
        }
        Cold::Copied
    }

    /// Has blocks behind `offset` read too.
    pub fn read_ahead(&mut self, offset: u64) {
        if self.wanted.len() >= COLD_READS_IN_FLIGHT_MAX {
            return;
        }
        let first = offset.div_ceil(self.block);
        for number in first..first + READ_AHEAD_BLOCKS {
            if (number + 1) * self.block <= self.on_disk && !self.blocks.contains_key(&number) {
                self.want(number, 0);
            }
        }
    }

    fn want(&mut self, number: u64, shorts: u8) {
        self.blocks.insert(number, Block::Wanted { shorts });
        self.wanted.push_back(number);
    }

    fn forget(&mut self, number: u64) {
        if let Some(Block::Ready { buffer, .. }) = self.blocks.remove(&number) {
            self.free.push(buffer);
        }
    }

    /// Parks a pull until the blocks of `range` are here.
    ///
    /// # Errors
    /// The pull, when as many as allowed wait.
    pub fn wait(&mut self, pull: HeldPull, range: Range<u64>) -> Result<(), HeldPull> {
        if self.queued.len() >= COLD_PULLS_MAX {
            return Err(pull);
        }
        self.queued.push_back(WaitingPull { pull, blocks: self.blocks_of(&range) });
        self.activate();
        Ok(())
    }

    /// A connection ended: its pulls do not wait any more.
    pub fn connection_closed(&mut self, connection: u64) {
        self.active.retain(|waiting| waiting.pull.ticket.connection != connection);
        self.queued.retain(|waiting| waiting.pull.ticket.connection != connection);
        self.woken.retain(|pull| pull.ticket.connection != connection);
        self.activate();
    }

    fn is_waited_for(&self, number: u64) -> bool {
        self.active.iter().any(|waiting| waiting.blocks.contains(&number))
    }

    /// Pulls that are next wait for their blocks, and wake at once if others have had them read.
    fn activate(&mut self) {
        let active_max = (self.capacity / self.reach).max(1);
        while self.active.len() < active_max {
            let Some(waiting) = self.queued.pop_front() else { return };
            for number in waiting.blocks.clone() {
                if !self.blocks.contains_key(&number) {
                    self.want(number, 0);
                }
            }
            if self.are_here(&waiting.blocks) {
                self.woken.push(waiting.pull);
            } else {
                self.active.push(waiting);
            }
        }
    }

    fn are_here(&self, blocks: &Range<u64>) -> bool {
        blocks.clone().all(|number| {
            matches!(self.blocks.get(&number), Some(Block::Ready { .. } | Block::Failed(_)))
        })
    }

    /// The next read to start.
    pub fn next_read(&mut self) -> Option<ColdRead> {
        if self.in_flight >= COLD_READS_IN_FLIGHT_MAX {
            return None;
        }
        let number = *self.wanted.front()?;
        let buffer = self.take_buffer()?;
        self.wanted.pop_front();
        let offset = number * self.block;
        let shorts = match self.blocks.get(&number) {
            Some(Block::Wanted { shorts }) => *shorts,
            _ => 0,
        };
        let expected = self.on_disk.saturating_sub(offset).min(self.block) as usize;
        self.blocks.insert(number, Block::Reading { expected, shorts });
        self.in_flight += 1;
        Some(ColdRead { offset, buffer })
    }

    fn take_buffer(&mut self) -> Option<DirectBuffer> {
        if let Some(buffer) = self.free.pop() {
            return Some(buffer);
        }
        if self.buffers < self.capacity {
            // A failed allocation leaves the read wanted; the next turn tries again.
            let buffer = DirectBuffer::new(self.block as usize).ok()?;
            self.buffers += 1;
            return Some(buffer);
        }
        let oldest = self
            .blocks
            .iter()
            .filter_map(|(number, block)| match block {
                Block::Ready { used, .. } if !self.is_waited_for(*number) => Some((*used, *number)),
                _ => None,
            })
            .min();
        self.forget(oldest?.1);
        self.free.pop()
    }

    /// A read ended; `bytes` of the buffer were filled.
    pub fn read_completed(
        &mut self,
        offset: u64,
        mut buffer: DirectBuffer,
        result: Result<usize, String>,
    ) {
        let number = offset / self.block;
        self.in_flight -= 1;
        self.completed += 1;
        let Some(Block::Reading { expected, shorts }) = self.blocks.get(&number) else {
            unreachable!("a block stays in its state while it is read")
        };
        let (expected, shorts) = (*expected, *shorts);
        let block = match result {
            Ok(bytes) => {
                let mut valid = bytes.min(expected);
                if shorts == SHORT_READS_MAX {
                    // The file was cut short. What it lacks is damage like any other: verified, told,
                    // skipped.
                    buffer.bytes_mut()[valid..expected].fill(0);
                    valid = expected;
                }
                Block::Ready { buffer, valid, used: self.uses, expected, shorts }
            }
            Err(reason) => {
                self.free.push(buffer);
                Block::Failed(reason)
            }
        };
        self.blocks.insert(number, block);
        let mut index = 0;
        while index < self.active.len() {
            if self.are_here(&self.active[index].blocks) {
                self.woken.push(self.active.swap_remove(index).pull);
            } else {
                index += 1;
            }
        }
        self.activate();
    }

    /// A pull whose blocks are here, to be executed again in this turn.
    pub fn next_woken_pull(&mut self) -> Option<HeldPull> {
        self.woken.pop()
    }

    /// Reads that ended so far: who looked for a record in vain tries again when this has moved.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Bytes of all buffers.
    pub fn memory_bytes(&self) -> usize {
        self.buffers * self.block as usize
    }

    fn blocks_of(&self, range: &Range<u64>) -> Range<u64> {
        range.start / self.block..range.end.div_ceil(self.block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumequeue::QueueKey;
    use crate::filter::MessageFilter;
    use crate::ticket::Ticket;

    const BLOCK: u64 = READ_BLOCK_BYTES as u64;

    fn pull(connection: u64) -> HeldPull {
        HeldPull {
            ticket: Ticket { connection, ..Ticket::default() },
            queue: QueueKey { topic: 1, queue: 0 },
            from: 0,
            count_max: 1,
            filter: MessageFilter::ALL,
            scanned: crate::hold::Scanned::default(),
            deadline_ms: 0,
            is_first: true,
            tally: 0,
        }
    }

    /// Performs one read; each block is filled with its number.
    fn perform(cold: &mut ColdReads) -> Option<u64> {
        let mut read = cold.next_read()?;
        let number = read.offset / BLOCK;
        read.buffer.bytes_mut().fill(number as u8);
        cold.read_completed(read.offset, read.buffer, Ok(READ_BLOCK_BYTES));
        Some(number)
    }

    #[test]
    fn a_range_over_two_blocks_is_read_and_copied() {
        let mut cold = ColdReads::new(0);
        cold.written(10 * BLOCK);
        let range = 2 * BLOCK - 3..2 * BLOCK + 2;
        let mut out = Vec::new();
        assert_eq!(cold.copy(range.clone(), &mut out), Cold::Wanted);
        cold.wait(pull(1), range.clone()).expect("room");
        assert_eq!((perform(&mut cold), perform(&mut cold)), (Some(1), Some(2)));
        assert_eq!(cold.next_woken_pull().map(|pull| pull.ticket.connection), Some(1));
        assert_eq!(cold.copy(range, &mut out), Cold::Copied);
        assert_eq!(out, [1, 1, 1, 2, 2]);
    }

    #[test]
    fn memory_is_bounded_and_every_pull_wakes() {
        let mut cold = ColdReads::new(0);
        cold.written(10_000 * BLOCK);
        let limit = cold.capacity * READ_BLOCK_BYTES;
        for number in 0..500 {
            let range = number * 3 * BLOCK..(number * 3 + 2) * BLOCK;
            cold.wait(pull(number), range).expect("room");
        }
        let mut woken = 0;
        while perform(&mut cold).is_some() {
            while cold.next_woken_pull().is_some() {
                woken += 1;
            }
            assert!(cold.memory_bytes() <= limit);
        }
        assert_eq!(woken, 500);
    }

    #[test]
    fn pulls_are_bounded_and_leave_with_their_connection() {
        let mut cold = ColdReads::new(0);
        cold.written(10 * BLOCK);
        let mut count = 0;
        while cold.wait(pull(count % 2), 0..BLOCK).is_ok() {
            count += 1;
        }
        assert!(count as usize >= COLD_PULLS_MAX);
        cold.connection_closed(1);
        cold.wait(pull(2), 0..BLOCK).expect("half of them left");
        while perform(&mut cold).is_some() {}
        let mut woken = [0; 3];
        while let Some(pull) = cold.next_woken_pull() {
            woken[pull.ticket.connection as usize] += 1;
            while perform(&mut cold).is_some() {}
        }
        assert_eq!(woken[1], 0);
        assert!(woken[0] > 0);
    }

    #[test]
    fn a_queued_pull_wakes_when_others_had_its_blocks_read() {
        let mut cold = ColdReads::new(0);
        cold.written(10 * BLOCK);
        let count = 20;
        for number in 0..count {
            cold.wait(pull(number), 0..BLOCK).expect("room");
        }
        assert_eq!(perform(&mut cold), Some(0));
        assert_eq!(std::iter::from_fn(|| cold.next_woken_pull()).count() as u64, count);
    }

    #[test]
    fn a_pull_wakes_although_another_was_told_that_its_block_failed() {
        let mut cold = ColdReads::new(0);
        cold.written(10 * BLOCK);
        cold.wait(pull(1), 0..2 * BLOCK).expect("room");
        let read = cold.next_read().expect("wanted");
        cold.read_completed(read.offset, read.buffer, Err("bad sector".to_owned()));
        let told = cold.copy(0..10, &mut Vec::new());
        assert_eq!(told, Cold::Failed("bad sector".to_owned()));
        while perform(&mut cold).is_some() {}
        assert!(cold.next_woken_pull().is_some());
    }

    #[test]
    fn bytes_that_were_not_on_disk_are_read_again() {
        let mut cold = ColdReads::new(0);
        let mut out = Vec::new();
        cold.written(BLOCK / 2);
        cold.copy(0..10, &mut out);
        assert_eq!(perform(&mut cold), Some(0));
        assert_eq!(cold.copy(0..10, &mut out), Cold::Copied);
        cold.written(BLOCK);
        assert_eq!(cold.copy(0..BLOCK, &mut out), Cold::Wanted);
        assert_eq!(perform(&mut cold), Some(0));
        assert_eq!(cold.copy(0..BLOCK, &mut out), Cold::Copied);
    }

    #[test]
    fn what_a_file_lacks_that_was_cut_short_is_zeros() {
        let mut cold = ColdReads::new(0);
        cold.written(BLOCK);
        let mut out = Vec::new();
        let mut reads = 0;
        loop {
            match cold.copy(0..10_000, &mut out) {
                Cold::Wanted => {}
                Cold::Failed(reason) => panic!("{reason}"),
                Cold::Copied => break,
            }
            let mut read = cold.next_read().expect("wanted");
            read.buffer.bytes_mut().fill(7);
            cold.read_completed(read.offset, read.buffer, Ok(4096));
            reads += 1;
        }
        assert_eq!(reads, SHORT_READS_MAX + 1);
        assert_eq!((&out[..4096], &out[4096..]), (&[7; 4096][..], &[0; 5904][..]));
    }

    #[test]
    fn a_failed_read_is_told_once() {
        let mut cold = ColdReads::new(0);
        cold.written(BLOCK);
        let mut out = Vec::new();
        cold.copy(0..10, &mut out);
        let read = cold.next_read().expect("wanted");
        cold.read_completed(read.offset, read.buffer, Err("bad sector".to_owned()));
        assert_eq!(cold.copy(0..10, &mut out), Cold::Failed("bad sector".to_owned()));
        assert_eq!(cold.copy(0..10, &mut out), Cold::Wanted, "the next reader tries again");
    }
}
