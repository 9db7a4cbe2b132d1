//! How cores talk to each other: bounded one-way rings, and a doorbell only for those who sleep.
//! Owns: the rings and each participant's sleeping flag.          Lives on: every core and control
//! Kind: machine, but for the signal to a sleeper (`SleepFlag`)
//! Invariants: what was flushed is seen: by the receiver's last look before it parks, or it is woken.
//!             who waits for room is woken when room is made.
//!             nothing is allocated after the ring is made, and nothing grows.
//!
//! A participant's turn:
//!
//! ```text
//!     take the inboxes (pop_batch) ── work, push to peers ── flush        … as long as there is work
//!     sleep.prepare_to_sleep()      flag up, full fence
//!     enter the ring, look at completions, inboxes and blocked peers (has_work) once more
//!         something there:  sleep.wake_up(), go on
//!         nothing:          wait in the ring, which reads the doorbell too, sleep.wake_up(), go on
//! ```
//!
//! The order of memory accesses is checked by loom (about a minute):
//! `RUSTFLAGS="--cfg loom" cargo test -p runtime --release mesh`

use std::collections::VecDeque;

pub use sleep::SleepFlag;
pub use spsc::{Receiver, Sender, ring};

mod sleep;
mod spsc;
mod sync;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

/// The sending end to one participant, which is woken when it sleeps.
#[derive(Debug)]
pub struct Peer<T> {
    sender: Sender<T>,
    receiver_sleep: SleepFlag,
}

impl<T> Peer<T> {
    /// Puts a message into the ring. The other side sees it after the next [`Peer::flush`].
    ///
    /// # Errors
    /// The ring is full and the message comes back. What was pushed before is flushed, and this side
    /// will be woken when there is room: see [`Peer::has_room_again`].
    pub fn push(&mut self, message: T) -> Result<(), T> {
        match self.sender.push_or_wait(message) {
            Ok(()) => Ok(()),
            Err(message) => {
                self.flush();
                Err(message)
            }
        }
    }

    /// Moves messages from the front of `batch` into the ring while there is room, and returns how
    /// many. If some stay behind this is like a [`Peer::push`] that failed.
    pub fn push_batch(&mut self, batch: &mut VecDeque<T>) -> usize {
        let mut count = 0;
        while let Some(message) = batch.pop_front() {
            if let Err(message) = self.push(message) {
                batch.push_front(message);
                break;
            }
            count += 1;
        }
        count
    }

    /// Shows the other side all that was pushed, and wakes it if it sleeps. Once a turn is enough.
    /// Returns whether it had to be woken (a system call).
    pub fn flush(&mut self) -> bool {
        self.sender.publish() && self.receiver_sleep.wake()
    }

    /// Pushes one message and flushes: for channels where messages are rare.
    ///
    /// # Errors
    /// The ring is full and the message comes back.
    pub fn send(&mut self, message: T) -> Result<(), T> {
        self.push(message)?;
        self.flush();
        Ok(())
    }

    /// Whether the last push failed and the receiver has made room since: part of the last look
    /// before parking.
    pub fn has_room_again(&self) -> bool {
        self.sender.has_room_again()
    }

    /// Whether the other side is gone, so that nothing will ever be taken out.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<T> Drop for Peer<T> {
    fn drop(&mut self) {
        self.sender.close();
        self.receiver_sleep.wake();
    }
}

/// The receiving end from one participant, which is woken when it waits for room.
#[derive(Debug)]
pub struct Inbox<T> {
    receiver: Receiver<T>,
    sender_sleep: SleepFlag,
}

impl<T> Inbox<T> {
    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<T> {
        let message = self.receiver.pop()?;
        self.make_room();
        Some(message)
    }

    /// Moves messages to the end of `batch`, as many as fit without making it grow, and returns how
    /// many.
    pub fn pop_batch(&mut self, batch: &mut Vec<T>) -> usize {
        let count_max = batch.capacity() - batch.len();
        let mut count = 0;
        while count < count_max
            && let Some(message) = self.receiver.pop()
        {
            batch.push(message);
            count += 1;
        }
        if count > 0 {
            self.make_room();
        }
        count
    }

    /// Whether nothing is there to take.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Whether the other side is gone. What it sent before can still be taken.
    pub fn is_closed(&self) -> bool {
        self.receiver.is_closed()
    }

    fn make_room(&mut self) {
        if self.receiver.release() {
            self.sender_sleep.wake();
        }
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        self.receiver.close();
        self.sender_sleep.wake();
    }
}

/// A one-way channel for up to `capacity` messages, between two participants that may both sleep.
///
/// # Panics
/// If `capacity` is no power of two.
pub fn pair<T: Send>(
    sender_sleep: &SleepFlag,
    receiver_sleep: &SleepFlag,
    capacity: usize,
) -> (Peer<T>, Inbox<T>) {
    let (sender, receiver) = ring(capacity);
    let peer = Peer { sender, receiver_sleep: receiver_sleep.clone() };
    let inbox = Inbox { receiver, sender_sleep: sender_sleep.clone() };
    (peer, inbox)
}

/// Joins the participants with these sleeping flags, each to each, by rings of `capacity` messages,
/// and returns one port for each, in their order.
///
/// # Panics
/// If `capacity` is no power of two.
pub fn mesh<T: Send>(participants: &[SleepFlag], capacity: usize) -> Vec<Port<T>> {
    let count = participants.len();
    let mut ports: Vec<Port<T>> = (0..count)
        .map(|index| Port {
            index,
            peers: Vec::with_capacity(count),
            inboxes: Vec::with_capacity(count),
        })
        .collect();
    for (from, sender_sleep) in participants.iter().enumerate() {
        for (to, receiver_sleep) in participants.iter().enumerate() {
            let (peer, inbox) = if from == to {
                (None, None)
            } else {
                let (peer, inbox) = pair(sender_sleep, receiver_sleep, capacity);
                (Some(peer), Some(inbox))
            };
            // Row by row: the peers of one participant, and in each row one inbox of every participant.
            ports[from].peers.push(peer);
            ports[to].inboxes.push(inbox);
        }
    }
    ports
}

/// One participant's ends of a mesh: a peer and an inbox for each of the others.
#[derive(Debug)]
pub struct Port<T> {
    index: usize,
    peers: Vec<Option<Peer<T>>>,
    inboxes: Vec<Option<Inbox<T>>>,
}

impl<T> Port<T> {
    /// Which participant this is, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many participants there are, this one included.
    pub fn count(&self) -> usize {
        self.peers.len()
    }

    /// The way to the participant `index`.
    ///
    /// # Panics
    /// If that is this participant or none.
    pub fn peer(&mut self, index: usize) -> &mut Peer<T> {
        assert!(index < self.peers.len(), "a participant of the mesh");
        self.peers[index].as_mut().expect("nobody sends to itself over the mesh")
    }

    /// The inboxes with the participants they come from.
    pub fn inboxes(&mut self) -> impl Iterator<Item = (usize, &mut Inbox<T>)> {
        self.inboxes
            .iter_mut()
            .enumerate()
            .filter_map(|(from, inbox)| inbox.as_mut().map(|inbox| (from, inbox)))
    }

    /// Flushes every peer; the end of a turn.
    pub fn flush(&mut self) {
        for peer in self.peers.iter_mut().flatten() {
            peer.flush();
        }
    }

    /// Whether there is a message to take, or room for one that did not fit: the last look before
    /// parking.
    pub fn has_work(&self) -> bool {
        self.inboxes.iter().flatten().any(|inbox| !inbox.is_empty())
            || self.peers.iter().flatten().any(Peer::has_room_again)
    }
}
