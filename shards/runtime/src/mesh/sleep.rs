//! Whether a participant sleeps, and the bell that wakes it.
//! Owns: the flag and the eventfd.          Lives on: its core; every peer holds a handle
//! Kind: shell
//! Invariants: a signal is sent only to a participant whose flag was up, and takes the flag down.
//!
//! Why no wake-up is lost. Both sides write, then fence, then read what the other one wrote:
//!
//! ```text
//!     sleeper                                   peer
//!     prepare_to_sleep:  sleeping = true        publish:  tail = n
//!                        full fence             wake:     full fence
//!     last look:         read tail                        read sleeping
//! ```
//!
//! Of the two fences one comes first. If it is the sleeper's, the peer reads `true` and signals; if it
//! is the peer's, the sleeper reads the new tail and does not park. With less than a full fence both
//! could read the old values: the write of each may still wait in its own store buffer.
//!
//! Every change of a flag is a swap, though a store would do: loom puts stores of two threads in no
//! order unless one has seen the other, and then finds wake-ups lost that no machine can lose.

use super::sync::{Arc, AtomicBool, EventFd, Ordering, fence};

/// One participant's sleeping flag and eventfd. Clones are handles to the same.
#[derive(Debug, Clone)]
pub struct SleepFlag {
    shared: Arc<Shared>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shared {
    sleeping: AtomicBool,
    event: EventFd,
}

impl SleepFlag {
    /// The flag of a participant that is awake and will wait for `event`.
    pub fn new(event: EventFd) -> SleepFlag {
        SleepFlag { shared: Arc::new(Shared { sleeping: AtomicBool::new(false), event }) }
    }

    /// The eventfd that peers signal; the participant may register the same one with its ring.
    pub fn event(&self) -> &EventFd {
        &self.shared.event
    }

    /// First step to sleep, by the participant itself: peers signal from here on. Afterwards it must
    /// look once more at everything that peers write, and park only if nothing is there.
    pub fn prepare_to_sleep(&self) {
        self.shared.sleeping.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The participant is awake, or does not park after all: peers need not signal. A signal already
    /// under way makes its next wait return at once, which does no harm.
    pub fn wake_up(&self) {
        self.shared.sleeping.swap(false, Ordering::Relaxed);
    }

    /// By a peer, after it wrote what the participant should see: signals if it sleeps. Returns
    /// whether it did.
    pub fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        // Read before the swap: an awake participant's flag stays shared in every core's cache.
        let signals = self.shared.sleeping.load(Ordering::Relaxed)
            && self.shared.sleeping.swap(false, Ordering::Relaxed);
        if signals {
            self.shared.event.signal();
        }
        signals
    }
}
