//! Receive buffers that the kernel chooses from as bytes arrive (provided buffer ring).
//! Owns: the memory of all receive buffers of a core and the ring that offers them to the kernel.
//! Kind: shell
//! Invariants: a buffer is either offered to the kernel, lent out as one `Received`, or free.
//!
//! The kernel takes buffers in the order in which they were offered. With all of them in its ring each
//! receive would go to the memory that was used longest ago, which is in no cache any more: 10 % of
//! what a send of 1 KiB costs. So a few are offered at a time, those used last, and more only while
//! the kernel runs out of them.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, RECEIVE_BUFFERS_HOT};
use crate::memory::Mapping;

/// Bytes the kernel put into a receive buffer: not Clone, so it goes back exactly once.
#[derive(Debug)]
pub struct Received {
    buffer: u16,
    len: u32,
}

impl Received {
    /// Bytes in a buffer of the ring that lends it: for rings only.
    pub fn new(buffer: u16, len: u32) -> Received {
        Received { buffer, len }
    }

    /// The number of the buffer.
    pub fn buffer(&self) -> u16 {
        self.buffer
    }

    /// How many bytes arrived.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Never: an empty receive is the end of a connection, not a `Received`.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

pub(crate) struct ReceiveBuffers {
    memory: Mapping,
    entries: Mapping,
    tail: u16,
    /// Neither offered nor lent; the one used last on top.
    free: Vec<u16>,
    /// In the kernel's ring.
    offered: u16,
    /// How many should be there.
    target: u16,
    /// Publications since the kernel last ran out.
    calm: u32,
}

/// After so many publications without running out, fewer are offered again: seconds under load.
const CALM_PUBLICATIONS: u32 = 1 << 15;

impl ReceiveBuffers {
    /// The buffer group of a core's ring; there is one.
    pub(crate) const GROUP: u16 = 0;

    pub(crate) fn register(submitter: &Submitter<'_>) -> io::Result<ReceiveBuffers> {
        let memory = Mapping::new(usize::from(RECEIVE_BUFFERS) * RECEIVE_BUFFER_BYTES)?;
        let entries = Mapping::new(usize::from(RECEIVE_BUFFERS) * size_of::<BufRingEntry>())?;
        let address = entries.at(0) as u64;
        // SAFETY: the ring's memory is page-aligned, as large as the entries, and lives in self, which
        // the Reactor drops after its ring.
        unsafe {
            submitter.register_buf_ring_with_flags(address, RECEIVE_BUFFERS, Self::GROUP, 0)
        }?;
        let mut buffers = ReceiveBuffers {
            memory,
            entries,
            tail: 0,
            free: (0..RECEIVE_BUFFERS).rev().collect(),
            offered: 0,
            target: RECEIVE_BUFFERS_HOT,
            calm: 0,
        };
        buffers.publish();
        Ok(buffers)
    }

    /// Puts a buffer into the ring; the kernel sees it after `publish`.
    fn offer(&mut self, buffer: u16) {
        let index = usize::from(self.tail & (RECEIVE_BUFFERS - 1));
        let entry = self.entries.at(index * size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: the index is below the number of entries, the mapping is aligned, and the kernel
        // does not read an entry at or above the published tail.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.memory.at(usize::from(buffer) * RECEIVE_BUFFER_BYTES) as u64);
        entry.set_len(RECEIVE_BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.offered += 1;
    }

    /// The kernel found no buffer: more are offered from now on.
    pub(crate) fn ran_out(&mut self) {
        self.target = (self.target * 2).min(RECEIVE_BUFFERS);
        self.calm = 0;
    }

    /// Offers the kernel buffers up to the number that it should have.
    pub(crate) fn publish(&mut self) {
        self.calm += 1;
        if self.calm == CALM_PUBLICATIONS {
            self.target = (self.target / 2).max(RECEIVE_BUFFERS_HOT);
            self.calm = 0;
        }
        while self.offered < self.target
            && let Some(buffer) = self.free.pop()
        {
            self.offer(buffer);
        }
        // SAFETY: the ring's base is the mapping that was registered.
        let tail = unsafe { BufRingEntry::tail(self.entries.at(0).cast::<BufRingEntry>()) };
        // SAFETY: the tail is an aligned u16 inside the mapping that only this thread writes.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    pub(crate) fn taken(&mut self, buffer: u16, len: u32) -> Received {
        assert!(buffer < RECEIVE_BUFFERS);
        self.offered -= 1;
        Received { buffer, len }
    }

    pub(crate) fn release(&mut self, received: Received) {
        self.free.push(received.buffer);
    }

    pub(crate) fn has_free(&self) -> bool {
        self.offered > 0 || !self.free.is_empty()
    }

    pub(crate) fn bytes(&self, received: &Received) -> &[u8] {
        let start = self.memory.at(usize::from(received.buffer) * RECEIVE_BUFFER_BYTES);
        // SAFETY: the buffer is lent out, so the kernel does not write to it until it is released,
        // which takes the Received by value and thus ends this borrow.
        unsafe { std::slice::from_raw_parts(start, received.len()) }
    }
}
