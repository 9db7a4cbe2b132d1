//! The CPU's caches.

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for the memory of a value that is needed some hundred nanoseconds later. A hint: nothing is read,
/// and on CPUs other than x86-64 nothing happens.
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        for at in (0..size_of::<T>()).step_by(LINE_BYTES) {
            // SAFETY: it is a hint that touches nothing, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
