//! A doorbell between threads: what a sleeping core waits on and its peers ring.
//! Owns: one eventfd of the kernel.          Lives on: every core; peers hold duplicates
//! Kind: shell
//! Invariants: a signal is never lost: it stays in the counter until `drain` or `readable` takes it.
//!             many signals before one look are one wake-up.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use glommio::io::BufferedFile;
use rustix::event::EventfdFlags;
use rustix::io::Errno;

/// Size of the counter that one read of an eventfd returns.
const COUNTER_BYTES: usize = 8;

/// An eventfd: non-blocking, closed on exec, one read takes all signals (no semaphore).
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// Creates an eventfd that holds no signal.
    ///
    /// # Errors
    /// What the kernel says, in practice only that the limit of open files is reached.
    pub fn new() -> io::Result<EventFd> {
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(EventFd { fd })
    }

    /// A second handle to the same counter, for a peer.
    ///
    /// # Errors
    /// The limit of open files is reached.
    pub fn try_clone(&self) -> io::Result<EventFd> {
        Ok(EventFd { fd: self.fd.try_clone()? })
    }

    /// Wakes whoever waits in [`readable`], or lets the next wait return at once. Any thread.
    ///
    /// # Panics
    /// If the descriptor is no eventfd any more: somebody closed what this value owns.
    pub fn signal(&self) {
        loop {
            match rustix::io::write(&self.fd, &1u64.to_ne_bytes()) {
                Ok(written) => {
                    assert!(written == COUNTER_BYTES, "an eventfd takes its 8 bytes or none");
                    return;
                }
                // The counter is at its maximum of 2^64 - 2: the sleeper is as signalled as can be.
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(error) => panic!("signal eventfd {}: {error}", self.fd.as_raw_fd()),
            }
        }
    }

    /// Takes the signals that came so far and returns how many there were, 0 if none.
    ///
    /// # Panics
    /// If the descriptor is no eventfd any more: somebody closed what this value owns.
    pub fn drain(&self) -> u64 {
        let mut counter = [0u8; COUNTER_BYTES];
        loop {
            match rustix::io::read(&self.fd, &mut counter) {
                Ok(read) => {
                    assert!(read == COUNTER_BYTES, "an eventfd gives its 8 bytes or none");
                    return u64::from_ne_bytes(counter);
                }
                Err(Errno::AGAIN) => return 0,
                Err(Errno::INTR) => {}
                Err(error) => panic!("drain eventfd {}: {error}", self.fd.as_raw_fd()),
            }
        }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits, in a task of a core's executor, until `event` has been signalled; takes the signals and
/// returns how many there were. If no other task can run, glommio parks the thread meanwhile.
///
/// The wait is a read of the eventfd in glommio's own ring: no signal, no completion; no thread of
/// its blocking pool, no timer, no busy loop. To park and wake once costs eight io_uring_enter and a
/// membarrier, which interrupts every core of the process that runs at that moment: look for work
/// before you wait.
///
/// Not cancel-safe: a read that is dropped half-way may still take the signal that comes next. Await
/// it to its end, and keep at most one on an eventfd.
///
/// # Errors
/// What the kernel says to the read; an eventfd in good order gives none.
///
/// # Panics
/// Outside a glommio executor.
pub async fn readable(event: &EventFd) -> io::Result<u64> {
    // SAFETY: the descriptor is open as long as `event` is borrowed, which is until this future is
    // gone; a read already with the kernel holds the file itself. ManuallyDrop, kept by this
    // function, makes sure that glommio never closes what it does not own.
    let file = ManuallyDrop::new(unsafe { BufferedFile::from_raw_fd(event.as_raw_fd()) });
    let counter = file.read_at(0, COUNTER_BYTES).await.map_err(io::Error::from)?;
    let counter = counter.as_ref().try_into().expect("an eventfd gives its 8 bytes or none");
    Ok(u64::from_ne_bytes(counter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_add_up_until_they_are_taken() {
        let event = EventFd::new().unwrap();
        assert_eq!(event.drain(), 0);
        let peer = event.try_clone().unwrap();
        peer.signal();
        peer.signal();
        event.signal();
        assert_eq!(event.drain(), 3);
        assert_eq!(event.drain(), 0);
    }

    #[test]
    fn a_full_counter_takes_a_signal_without_blocking() {
        let event = EventFd::new().unwrap();
        rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        event.signal();
        assert_eq!(event.drain(), u64::MAX - 1);
    }
}
