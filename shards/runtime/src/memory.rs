//! Anonymous, page-aligned memory that the kernel may read or write while Rust does not look.

use std::io;
use std::ptr::NonNull;

use memmap2::MmapMut;

use crate::limits::DIRECT_ALIGNMENT;

/// A fixed block of zeroed anonymous memory, touched only through raw pointers.
///
/// Pages are taken from the kernel when they are first used, so a large mapping costs nothing idle.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    // Keeps the pages; never dereferenced, so that no Rust reference aliases the kernel's accesses.
    _pages: MmapMut,
}

// SAFETY: a Mapping is plain memory without thread affinity; every access goes through the types
// that own it, and those decide who may touch which bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared Mapping only hands out its address.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// # Errors
    /// What mmap says, normally that there is not enough address space or memory.
    pub(crate) fn new(len: usize) -> io::Result<Mapping> {
        assert!(len > 0);
        let mut pages = MmapMut::map_anon(len)?;
        let base = NonNull::new(pages.as_mut_ptr()).expect("mmap never returns null");
        assert!((base.as_ptr() as usize).is_multiple_of(DIRECT_ALIGNMENT));
        Ok(Mapping { base, len, _pages: pages })
    }

    /// Asks for huge pages: fewer TLB misses when the log streams through it. Best effort.
    pub(crate) fn prefer_huge_pages(&self) {
        if let Err(error) = self._pages.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "no huge pages for buffers");
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The address of byte `at`.
    pub(crate) fn at(&self, at: usize) -> *mut u8 {
        assert!(at <= self.len);
        // SAFETY: `at` is at most the length of the mapping, so the address is inside or one past it.
        unsafe { self.base.as_ptr().add(at) }
    }
}

/// One aligned buffer for a direct read, owned by whoever holds it: the kernel while in flight.
pub struct DirectBuffer {
    pages: Mapping,
}

impl DirectBuffer {
    /// # Errors
    /// What mmap says.
    pub fn new(bytes: usize) -> io::Result<DirectBuffer> {
        assert!(bytes.is_multiple_of(DIRECT_ALIGNMENT));
        Ok(DirectBuffer { pages: Mapping::new(bytes)? })
    }

    /// A buffer of whole huge pages of 2 MiB, where the system gives them: the kernel gathers a write
    /// from few large pieces.
    ///
    /// # Errors
    /// What mmap says.
    pub fn huge(bytes: usize) -> io::Result<DirectBuffer> {
        let buffer = DirectBuffer::new(bytes)?;
        buffer.pages.prefer_huge_pages();
        // Touched, so that the page is there and not the shared one of zeros, in small pieces.
        // SAFETY: the mapping is `bytes` long, was just made, and nobody else knows it.
        unsafe { buffer.pages.at(0).write_bytes(0, bytes) };
        Ok(buffer)
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.pages.len()
    }

    /// All bytes of the buffer; behind what was read they are what was there before.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the memory lives as long as self, and the kernel writes to it only while an
        // operation owns the buffer by value, when nobody can hold this borrow.
        unsafe { std::slice::from_raw_parts(self.pages.at(0), self.pages.len()) }
    }

    /// All bytes, to be filled by hand (tests, the simulator's disk).
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and &mut self makes it the only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.pages.at(0), self.pages.len()) }
    }

    pub(crate) fn address(&mut self) -> *mut u8 {
        self.pages.at(0)
    }
}

impl std::fmt::Debug for DirectBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectBuffer").field("bytes", &self.size()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_buffer_is_aligned_and_zeroed() {
        let mut buffer = DirectBuffer::new(8192).expect("memory");
        assert!(buffer.bytes().iter().all(|byte| *byte == 0));
        assert!((buffer.address() as usize).is_multiple_of(DIRECT_ALIGNMENT));
        buffer.bytes_mut()[8191] = 7;
        assert_eq!(buffer.bytes()[8191], 7);
    }
}
