//! The memory of a log's tail: appended to, written to disk from, and read from.
//! Owns: a ring over log offsets; byte `o` of the log lives at `o mod size`.
//! Lives on: the thread of its shard.
//! Kind: machine (the memory), with the kernel as a reader of what is frozen
//! Invariants:
//!   floor ≤ tail; tail − floor ≤ size; what lies in [floor, tail) can be read
//!   a byte below `tail` does not change until the ring comes round to it
//!   the ring never comes round to a byte of a write in flight

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::limits::{WRITE_REGION_BYTES, WRITES_IN_FLIGHT_MAX};
use crate::memory::Mapping;

/// The tail of a log in memory. See `docs/decisions/0002-life-of-a-buffer.md`.
pub struct WriteBuffer {
    memory: Arc<Mapping>,
    size: u64,
    floor: u64,
    tail: u64,
    in_flight: Vec<Range<u64>>,
    registration: Option<Registration>,
}

/// Where the regions of a buffer stand in the ring's buffer table, and which are registered yet.
pub(crate) struct Registration {
    pub(crate) first_slot: u32,
    pub(crate) registered: Vec<bool>,
}

impl WriteBuffer {
    /// A buffer of `size_bytes` (a power of two of whole regions) for a log that goes on at `start`.
    ///
    /// # Errors
    /// Not enough memory or address space.
    pub fn new(size_bytes: u64, start: u64) -> io::Result<WriteBuffer> {
        assert!(size_bytes.is_power_of_two());
        assert!(size_bytes >= WRITE_REGION_BYTES);
        let memory = Mapping::new(usize::try_from(size_bytes).expect("64-bit address space"))?;
        memory.prefer_huge_pages();
        Ok(WriteBuffer {
            memory: Arc::new(memory),
            size: size_bytes,
            floor: start,
            tail: start,
            in_flight: Vec::with_capacity(WRITES_IN_FLIGHT_MAX),
            registration: None,
        })
    }

    /// Size of the ring in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// The oldest log offset that can still be read.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The log offset behind the last appended byte.
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Bytes left before the ring's wrap, which no record crosses.
    pub fn bytes_before_wrap(&self) -> u64 {
        self.size - (self.tail & (self.size - 1))
    }

    /// Appends `len` bytes made by `fill`, which gets exactly that much memory with old content.
    ///
    /// What lies a ring's length behind is gone afterwards.
    ///
    /// # Panics
    /// When the bytes would cross the wrap or run over a write in flight: the CommitLog asks
    /// `bytes_before_wrap` and keeps its unwritten bytes below the size of the ring.
    pub fn append<T>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> T) -> T {
        let length = len as u64;
        assert!(length <= self.bytes_before_wrap());
        let end = self.tail + length;
        let overrun = end.saturating_sub(self.size);
        assert!(self.in_flight.iter().all(|write| write.start >= overrun));
        self.floor = self.floor.max(overrun);
        let at = usize::try_from(self.tail & (self.size - 1)).expect("below the ring's size");
        // SAFETY: [at, at + len) lies inside the mapping (asserted against the wrap); it is above the
        // tail, so neither a reader (borrows self) nor a write in flight (asserted) uses it.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.memory.at(at), len) };
        let filled = fill(memory);
        self.tail = end;
        filled
    }

    /// The appended bytes `[offset, offset + len)`, or `None` when they are no longer (or not yet) here.
    pub fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let at = offset & (self.size - 1);
        if offset < self.floor || offset + len as u64 > self.tail || at + len as u64 > self.size {
            return None;
        }
        let at = usize::try_from(at).expect("below the ring's size");
        // SAFETY: the range lies inside the mapping and in [floor, tail), where bytes only change
        // through `append`, which needs &mut self.
        Some(unsafe { std::slice::from_raw_parts(self.memory.at(at), len) })
    }

    /// Writes in flight.
    pub fn writes_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Marks bytes as read by the disk until they are thawed.
    ///
    /// # Panics
    /// If they are not all here, not in one region, or too many writes are in flight.
    pub fn freeze(&mut self, range: Range<u64>) -> Frozen {
        assert!(range.start >= self.floor);
        assert!(range.end <= self.tail);
        assert!(range.start < range.end);
        assert!(self.in_flight.len() < WRITES_IN_FLIGHT_MAX);
        let region = range.start / WRITE_REGION_BYTES;
        assert!((range.end - 1) / WRITE_REGION_BYTES == region);
        let at = usize::try_from(range.start & (self.size - 1)).expect("below the ring's size");
        self.in_flight.push(range);
        Frozen { memory: Arc::clone(&self.memory), at }
    }

    /// The disk is done with a range that was frozen, whatever came of it.
    ///
    /// # Panics
    /// If it was not frozen.
    pub fn thaw(&mut self, range: &Range<u64>) {
        let index = self.in_flight.iter().position(|write| write == range);
        self.in_flight.swap_remove(index.expect("only frozen ranges are thawed"));
    }

    pub(crate) fn region_of(&self, offset: u64) -> usize {
        usize::try_from((offset & (self.size - 1)) / WRITE_REGION_BYTES).expect("small")
    }

    pub(crate) fn regions(&self) -> usize {
        usize::try_from(self.size / WRITE_REGION_BYTES).expect("small")
    }

    pub(crate) fn region_address(&self, region: usize) -> *mut u8 {
        self.memory.at(region * WRITE_REGION_BYTES as usize)
    }

    pub(crate) fn registration(&mut self) -> &mut Option<Registration> {
        &mut self.registration
    }
}

/// Bytes of a write in flight: keeps their memory as long as the kernel may read it.
pub struct Frozen {
    memory: Arc<Mapping>,
    at: usize,
}

impl Frozen {
    pub(crate) fn address(&self) -> *const u8 {
        self.memory.at(self.at)
    }
}

impl std::fmt::Debug for WriteBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBuffer")
            .field("size", &self.size)
            .field("floor", &self.floor)
            .field("tail", &self.tail)
            .field("in_flight", &self.in_flight)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 2 * WRITE_REGION_BYTES;

    fn append(buffer: &mut WriteBuffer, len: usize, byte: u8) {
        buffer.append(len, |memory| memory.fill(byte));
    }

    #[test]
    fn ring_keeps_the_newest_bytes() {
        let mut buffer = WriteBuffer::new(SIZE, 4096).expect("memory");
        append(&mut buffer, 8192, 1);
        assert_eq!(buffer.slice(4096, 8192), Some(&[1; 8192][..]));
        assert_eq!(buffer.slice(0, 16), None, "before the start");
        assert_eq!(buffer.slice(4096, 8193), None, "not appended yet");
        let rest = buffer.bytes_before_wrap() as usize;
        append(&mut buffer, rest, 2);
        append(&mut buffer, 8192, 3);
        assert_eq!(buffer.floor(), 8192, "half of the first append was run over");
        assert_eq!(buffer.slice(4096, 8), None);
        assert_eq!(buffer.slice(8192, 4096), Some(&[1; 4096][..]));
        assert_eq!(buffer.slice(SIZE, 8192), Some(&[3; 8192][..]));
    }

    #[test]
    fn append_over_a_write_in_flight_is_refused() {
        let mut buffer = WriteBuffer::new(SIZE, 0).expect("memory");
        append(&mut buffer, 4096, 1);
        let _frozen = buffer.freeze(0..4096);
        let rest = buffer.bytes_before_wrap() as usize;
        append(&mut buffer, rest, 2);
        let overrun = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            append(&mut buffer, 4096, 3);
        }));
        assert!(overrun.is_err());
        buffer.thaw(&(0..4096));
        append(&mut buffer, 4096, 3);
        assert_eq!(buffer.slice(SIZE, 4096), Some(&[3; 4096][..]));
    }
}
