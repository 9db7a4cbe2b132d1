//! A bounded ring between exactly two threads: one pushes, one pops.
//! Owns: the messages between the two ends.          Lives on: two threads, one end on each
//! Kind: machine
//! Invariants: head ≤ tail ≤ head + capacity; slots [head, tail) hold a message, the others none.
//!             `tail` is written by the sender only, `head` by the receiver only.
//!             while `blocked` is up the sender found the ring full; only the receiver takes it down,
//!             after it has made room.

use std::{fmt, mem::MaybeUninit};

use super::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell, fence};

/// Two cache lines: the prefetcher of x86 fetches them in pairs, and some ARM cores have lines of 128.
#[repr(align(128))]
struct Padded<T>(T);

struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Next to be popped. Counts on for ever and wraps; the slot is its low bits.
    head: Padded<AtomicUsize>,
    /// Next to be pushed, of what is published.
    tail: Padded<AtomicUsize>,
    blocked: Padded<AtomicBool>,
    sender_closed: AtomicBool,
    receiver_closed: AtomicBool,
}

// SAFETY: the two ends share it, and each slot is touched by one of them at a time: by the sender
// outside [head, tail), by the receiver inside, handed over by release and acquire of tail and head.
// So messages go from thread to thread (T: Send) but are never looked at from two.
unsafe impl<T: Send> Sync for Shared<T> {}

/// Makes a ring for up to `capacity` messages.
///
/// # Panics
/// If `capacity` is no power of two.
pub fn ring<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity.is_power_of_two(), "the capacity of a ring is a power of two");
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        head: Padded(AtomicUsize::new(0)),
        tail: Padded(AtomicUsize::new(0)),
        blocked: Padded(AtomicBool::new(false)),
        sender_closed: AtomicBool::new(false),
        receiver_closed: AtomicBool::new(false),
    });
    let sender = Sender { shared: shared.clone(), tail: 0, published: 0, head: 0, waits: false };
    let receiver = Receiver { shared, head: 0, tail: 0 };
    (sender, receiver)
}

impl<T> Shared<T> {
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }

    /// Writes a message into a slot that the sender owns.
    fn write(&self, index: usize, message: T) {
        self.slot(index).with_mut(|slot| {
            // SAFETY: `Sender::push` calls this for its own tail, after it saw that the receiver has
            // left this slot (tail - head < capacity, head acquired), and shows it only afterwards.
            let slot = unsafe { &mut *slot };
            slot.write(message);
        });
    }

    /// Takes the message out of a slot that holds one.
    fn take(&self, index: usize) -> T {
        self.slot(index).with(|slot| {
            // SAFETY: called for the head, below an acquired tail, where the sender does not write:
            // by `Receiver::pop`, and by `drop` when both ends are gone.
            let slot = unsafe { &*slot };
            // SAFETY: the sender wrote a message there, and both callers move the head on at once, so
            // that each is taken once.
            unsafe { slot.assume_init_read() }
        })
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.0.load(Ordering::Relaxed);
        let mut head = self.head.0.load(Ordering::Relaxed);
        while head != tail {
            drop(self.take(head));
            head = head.wrapping_add(1);
        }
    }
}

/// The pushing end. There is one: not `Clone`.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    /// Next slot to write.
    tail: usize,
    /// The tail that the receiver may see: below it all is its own.
    published: usize,
    /// The receiver's head as last seen: it may be further by now, never behind.
    head: usize,
    /// The last push failed: `blocked` went up.
    waits: bool,
}

impl<T> Sender<T> {
    /// How many messages the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Puts a message behind the others; the receiver sees it after [`Sender::publish`].
    ///
    /// # Errors
    /// The ring is full: the message comes back.
    pub fn push(&mut self, message: T) -> Result<(), T> {
        if self.is_full() {
            self.head = self.shared.head.0.load(Ordering::Acquire);
            if self.is_full() {
                return Err(message);
            }
        }
        self.shared.write(self.tail, message);
        self.tail = self.tail.wrapping_add(1);
        self.waits = false;
        Ok(())
    }

    /// Like [`Sender::push`]; but when the ring is full the receiver's next [`Receiver::release`]
    /// tells its caller to wake this side.
    pub(super) fn push_or_wait(&mut self, message: T) -> Result<(), T> {
        let Err(message) = self.push(message) else { return Ok(()) };
        // Raise the flag, then look again: the same pattern as in sleep.rs, for the other direction.
        self.shared.blocked.0.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let result = self.push(message);
        self.waits = result.is_err();
        result
    }

    /// Lets the receiver see what was pushed. Returns whether there was anything new.
    pub fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        self.shared.tail.0.store(self.tail, Ordering::Release);
        self.published = self.tail;
        true
    }

    /// Whether the last push failed and the receiver made room since.
    ///
    /// It asks the flag, not the head: a flag that was raised again while the receiver was still
    /// answering the raise before may be taken down by that answer. Then nobody would come a second
    /// time, so this side must not sleep but try once more.
    pub(super) fn has_room_again(&self) -> bool {
        self.waits && !self.shared.blocked.0.load(Ordering::Relaxed)
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&mut self) {
        self.publish();
        self.shared.sender_closed.store(true, Ordering::Release);
    }

    fn is_full(&self) -> bool {
        let count = self.tail.wrapping_sub(self.head);
        assert!(count <= self.capacity(), "the tail is at most a capacity ahead");
        count == self.capacity()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("capacity", &self.capacity())
            .field("tail", &self.tail)
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

/// The popping end. There is one: not `Clone`.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Next slot to take.
    head: usize,
    /// The sender's tail as last seen: it may be further by now, never behind.
    tail: usize,
}

impl<T> Receiver<T> {
    /// Takes the oldest message. Its slot is free for the sender after [`Receiver::release`].
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail {
            self.tail = self.shared.tail.0.load(Ordering::Acquire);
            if self.head == self.tail {
                return None;
            }
        }
        assert!(self.tail.wrapping_sub(self.head) <= self.shared.slots.len());
        let message = self.shared.take(self.head);
        self.head = self.head.wrapping_add(1);
        Some(message)
    }

    /// Gives the popped slots back. Returns whether the sender waits for room and must be woken.
    pub fn release(&mut self) -> bool {
        self.shared.head.0.store(self.head, Ordering::Release);
        fence(Ordering::SeqCst);
        // Read before the swap, as in sleep.rs: mostly nobody waits.
        self.shared.blocked.0.load(Ordering::Relaxed)
            && self.shared.blocked.0.swap(false, Ordering::Relaxed)
    }

    /// Whether nothing is there to take.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail && self.head == self.shared.tail.0.load(Ordering::Acquire)
    }

    /// Whether the sender is gone. Ask before a last `pop`, not after it.
    pub fn is_closed(&self) -> bool {
        self.shared.sender_closed.load(Ordering::Acquire)
    }

    /// Says that nobody will take anything any more. A sender that waits for room tries once more.
    pub(super) fn close(&mut self) {
        self.shared.receiver_closed.store(true, Ordering::Release);
        self.release();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("capacity", &self.shared.slots.len())
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
