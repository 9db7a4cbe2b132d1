//! The exchange: one core's traffic with all others.
//! Owns: the core's port of the mesh; for each other core what is being packed for it, what is on its
//! way there, and what came from there and was not handled yet.
//! Lives on: every core
//! Kind: machine
//! Invariants:
//!   frames carry the number of their crossings, and each number has its own queue and its own room.
//!     A frame that crosses again takes room of the next number only, and the last number is always
//!     handled where it arrives: so no circle of cores can wait for each other's room
//!   room is taken when a frame is packed and comes back, with the parcel's memory, when it was handled
//!   a connection's end is handled behind the frames that came before it
//!   copies of what the home core knows are in every other core's ring before any answer is

use std::collections::VecDeque;
use std::net::SocketAddr;

use proto::frame::Frame;
use runtime::ConnectionId;
use runtime::mesh::Port;

use super::Origin;
use super::letter::Letter;
use super::limits::{CROSSING_BYTES_MAX, PARCELS_KEPT};
use super::parcel::{Answers, Frames};

/// How often a frame may cross. Almost all do at most once. A message sent back may need five times: to
/// the home core that makes its retry topic, to the owner of the message, to the owner of the retry topic,
/// home if that did not hear of the topic yet, and back behind the copy. One is to spare.
pub const CROSSINGS_MAX: usize = 6;

/// What one core tells another. `S`: a socket. `C`: a copy of what the home core knows.
#[derive(Debug)]
pub enum ToPeer<S, C> {
    /// A connection for the receiver.
    Connection {
        /// The socket.
        socket: S,
        /// The other end.
        peer: SocketAddr,
    },
    /// A connection that the receiver accepted for the sender is no more.
    ConnectionEnded,
    /// Frames that the receiver owns, with the number of their crossings.
    Frames(usize, Frames),
    /// These were handled: memory and room come home.
    Handled {
        /// The crossings.
        crossings: usize,
        /// The frames themselves.
        frames: Frames,
    },
    /// Answers for connections of the receiver.
    Answers(Answers),
    /// Memory of answers comes home.
    Sent(Answers),
    /// A connection of the sender, of which the receiver had frames, is no more.
    Ended(ConnectionId),
    /// A connection of the receiver is to be closed.
    Close(ConnectionId),
    /// Something that the home core knows.
    Copy(C),
    /// A question, or the answer to one.
    Letter(Letter),
}

/// What came from another core and is for the caller to handle at once.
#[derive(Debug)]
pub enum Arrived<S, C> {
    /// See [`ToPeer::Connection`]; from this core.
    Connection(usize, S, SocketAddr),
    /// See [`ToPeer::ConnectionEnded`]; of this core.
    ConnectionEnded(usize),
    /// See [`ToPeer::Answers`]; from this core, to which they go back when they were sent.
    Answers(usize, Answers),
    /// See [`ToPeer::Close`].
    Close(ConnectionId),
    /// See [`ToPeer::Copy`].
    Copy(C),
    /// See [`ToPeer::Letter`]; from this core.
    Letter(usize, Letter),
    /// A pull of this core's connection was handled elsewhere for the first time: its answer is here with
    /// this turn's, if it has one already.
    PullHandled(ConnectionId),
}

/// What waits in line for the caller.
#[derive(Debug)]
pub enum Incoming {
    /// Frames; those below `next` were handled.
    Frames {
        /// Them all.
        frames: Frames,
        /// The next one.
        next: usize,
    },
    /// The end of a connection.
    Ended(ConnectionId),
}

/// Traffic with one other core.
#[derive(Debug)]
struct Lane<S, C> {
    packing: [Frames; CROSSINGS_MAX],
    on_way_bytes: [usize; CROSSINGS_MAX],
    incoming: [VecDeque<Incoming>; CROSSINGS_MAX],
    /// Connections that ended behind the frames that are packed.
    ended: Vec<ConnectionId>,
    unsent: VecDeque<ToPeer<S, C>>,
    emptied_frames: Vec<Frames>,
    emptied_answers: Vec<Answers>,
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Exchange<S, C> {
    port: Port<ToPeer<S, C>>,
    lanes: Vec<Lane<S, C>>,
    /// Some copies found no room in a ring.
    copies_wait: bool,
    crossed: Crossed,
}

/// Frames that crossed since the start.
#[derive(Clone, Copy, Default, Debug)]
pub struct Crossed {
    /// To other cores.
    pub out: u64,
    /// From other cores, handled here.
    pub into: u64,
}

impl<S, C> Default for Lane<S, C> {
    fn default() -> Self {
        Lane {
            packing: Default::default(),
            on_way_bytes: [0; CROSSINGS_MAX],
            incoming: Default::default(),
            ended: Vec::new(),
            unsent: VecDeque::new(),
            emptied_frames: Vec::new(),
            emptied_answers: Vec::new(),
        }
    }
}

impl<S, C: Clone> Exchange<S, C> {
    /// The exchange of the core whose port this is.
    pub fn new(port: Port<ToPeer<S, C>>) -> Exchange<S, C> {
        let lanes = (0..port.count()).map(|_| Lane::default()).collect();
        Exchange { port, lanes, copies_wait: false, crossed: Crossed::default() }
    }

    /// All cores but this one.
    pub fn others(&self) -> impl Iterator<Item = usize> + use<S, C> {
        self.others_from(0)
    }

    /// The same in another order for each number, so that nobody is always the last.
    pub fn others_from(&self, number: u64) -> impl Iterator<Item = usize> + use<S, C> {
        let (own, count) = (self.port.index(), self.lanes.len());
        let first = (number % count.max(1) as u64) as usize;
        (0..count).map(move |step| (first + step) % count).filter(move |core| *core != own)
    }

    // ---- to others ------------------------------------------------------------------------------

    /// Packs a frame for the core that owns it. `false`: so much is on its way there that it has to wait.
    ///
    /// # Panics
    /// When it crossed [`CROSSINGS_MAX`] times before.
    pub fn send_on(
        &mut self,
        core: usize,
        origin: Origin,
        frame: &Frame<'_>,
        is_pull: bool,
    ) -> bool {
        let crossings = origin.crossings + 1;
        let lane = &mut self.lanes[core];
        let bytes = frame.header.len() + frame.body.len();
        let on_way = &mut lane.on_way_bytes[crossings - 1];
        if *on_way > 0 && *on_way + bytes > CROSSING_BYTES_MAX {
            return false;
        }
        *on_way += bytes;
        // Handed over at the turn's end, behind the copies of what the frame may need.
        lane.packing[crossings - 1].add_frame(origin, frame, is_pull);
        self.crossed.out += 1;
        true
    }

    /// Sends something small.
    pub fn tell(&mut self, core: usize, message: ToPeer<S, C>) {
        self.lanes[core].unsent.push_back(message);
    }

    /// A connection of this core ended that others have frames of.
    pub fn ended(&mut self, connection: ConnectionId) {
        for core in self.others() {
            self.lanes[core].ended.push(connection);
        }
    }

    /// Memory for answers to a core.
    pub fn empty_answers(&mut self, core: usize) -> Answers {
        self.lanes[core].emptied_answers.pop().unwrap_or_default()
    }

    /// Puts copies into the rings of all others, and shows them. `false`: one has no room; nothing that
    /// depends on them may leave yet, call again.
    pub fn send_copies(&mut self, copies: &mut Vec<C>) -> bool {
        if copies.is_empty() && !self.copies_wait {
            return true; // the usual turn: what is packed leaves with its answers
        }
        for core in self.others() {
            self.lanes[core].unsent.extend(copies.iter().cloned().map(ToPeer::Copy));
        }
        copies.clear();
        self.flush();
        let mut unsent = self.lanes.iter().flat_map(|lane| &lane.unsent);
        self.copies_wait = unsent.any(|message| matches!(message, ToPeer::Copy(_)));
        !self.copies_wait
    }

    /// Hands over all that is packed; wakes those who sleep. The end of a turn.
    pub fn flush(&mut self) {
        for core in self.others() {
            let lane = &mut self.lanes[core];
            for crossings in 1..=CROSSINGS_MAX {
                lane.hand_over(crossings);
            }
            lane.unsent.extend(lane.ended.drain(..).map(ToPeer::Ended));
            if !lane.unsent.is_empty() {
                let peer = self.port.peer(core);
                peer.push_batch(&mut lane.unsent);
                peer.flush();
            }
        }
    }

    // ---- from others ----------------------------------------------------------------------------

    /// Empties the inboxes: what is to be handled in line joins the line, the rest goes to `arrived`.
    pub fn take(&mut self, arrived: &mut Vec<Arrived<S, C>>) {
        for (from, inbox) in self.port.inboxes() {
            let lane = &mut self.lanes[from];
            while let Some(message) = inbox.pop() {
                match message {
                    ToPeer::Frames(crossings, frames) => {
                        lane.incoming[crossings - 1]
                            .push_back(Incoming::Frames { frames, next: 0 });
                    }
                    ToPeer::Ended(connection) => {
                        lane.incoming[0].push_back(Incoming::Ended(connection));
                    }
                    ToPeer::Handled { crossings, mut frames } => {
                        lane.on_way_bytes[crossings - 1] -= frames.size_bytes();
                        if crossings == 1 {
                            arrived.extend(frames.pulls().map(Arrived::PullHandled));
                        }
                        frames.clear();
                        keep(&mut lane.emptied_frames, frames);
                    }
                    ToPeer::Sent(emptied) => keep(&mut lane.emptied_answers, emptied),
                    ToPeer::Connection { socket, peer } => {
                        arrived.push(Arrived::Connection(from, socket, peer));
                    }
                    ToPeer::ConnectionEnded => arrived.push(Arrived::ConnectionEnded(from)),
                    ToPeer::Answers(answers) => arrived.push(Arrived::Answers(from, answers)),
                    ToPeer::Close(connection) => arrived.push(Arrived::Close(connection)),
                    ToPeer::Copy(copy) => arrived.push(Arrived::Copy(copy)),
                    ToPeer::Letter(letter) => arrived.push(Arrived::Letter(from, letter)),
                }
            }
        }
    }

    /// The oldest thing in line that came from a core with so many crossings.
    pub fn next_incoming(&mut self, from: usize, crossings: usize) -> Option<Incoming> {
        self.lanes[from].incoming[crossings - 1].pop_front()
    }

    /// The frame `next` has to wait: it is the first in line again.
    pub fn put_back(&mut self, from: usize, crossings: usize, frames: Frames, next: usize) {
        self.lanes[from].incoming[crossings - 1].push_front(Incoming::Frames { frames, next });
    }

    /// All of these frames were handled.
    pub fn handled(&mut self, from: usize, crossings: usize, frames: Frames) {
        self.crossed.into += frames.len() as u64;
        self.tell(from, ToPeer::Handled { crossings, frames });
    }

    // ---- rest -----------------------------------------------------------------------------------

    /// How many frames crossed so far.
    pub fn crossed(&self) -> Crossed {
        self.crossed
    }

    /// Whether there is something to take, or room for what did not fit: the last look before parking.
    pub fn has_work(&self) -> bool {
        self.port.has_work()
    }

    /// Whether nothing is under way to others or waits here.
    pub fn is_quiet(&self) -> bool {
        self.lanes.iter().all(|lane| {
            lane.unsent.is_empty()
                && lane.on_way_bytes.iter().all(|bytes| *bytes == 0)
                && lane.incoming.iter().all(VecDeque::is_empty)
        })
    }
}

impl<S, C> Lane<S, C> {
    fn hand_over(&mut self, crossings: usize) {
        let packing = &mut self.packing[crossings - 1];
        if packing.is_empty() {
            return;
        }
        let empty = self.emptied_frames.pop().unwrap_or_default();
        self.unsent.push_back(ToPeer::Frames(crossings, std::mem::replace(packing, empty)));
    }
}

fn keep<T>(kept: &mut Vec<T>, emptied: T) {
    if kept.len() < PARCELS_KEPT {
        kept.push(emptied);
    }
}

#[cfg(test)]
mod tests {
    use proto::frame::Encoding;
    use runtime::eventfd::EventFd;
    use runtime::mesh::{SleepFlag, mesh};

    use super::*;

    type Ends = Exchange<(), u32>;

    fn two(ring: usize) -> (Ends, Ends) {
        let sleeps = [(); 2].map(|()| SleepFlag::new(EventFd::new().expect("an eventfd")));
        let mut ports = mesh(&sleeps, ring).into_iter().map(Exchange::new);
        (ports.next().expect("two"), ports.next().expect("two"))
    }

    fn origin(number: u64, crossings: usize) -> Origin {
        let connection = ConnectionId::from_bits(number);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        Origin { connection, peer, crossings, has_record: false }
    }

    fn send(from: &mut Ends, number: u64, crossings: usize, body: &[u8], is_pull: bool) -> bool {
        let frame = Frame { encoding: Encoding::Json, header: b"header", body };
        from.send_on(1, origin(number, crossings), &frame, is_pull)
    }

    fn take(to: &mut Ends) -> Vec<Arrived<(), u32>> {
        let mut arrived = Vec::new();
        to.take(&mut arrived);
        arrived
    }

    /// Handles all frames in one line: connections and body lengths.
    fn handle(to: &mut Ends, crossings: usize) -> Vec<(u64, usize)> {
        let mut handled = Vec::new();
        while let Some(incoming) = to.next_incoming(0, crossings) {
            let Incoming::Frames { frames, next } = incoming else {
                handled.push((u64::MAX, 0));
                continue;
            };
            for at in next..frames.len() {
                let (asked, frame) = frames.frame(at);
                assert_eq!(frame.header, b"header");
                handled.push((asked.connection.to_bits(), frame.body.len()));
            }
            to.handled(0, crossings, frames);
        }
        handled
    }

    #[test]
    fn room_is_taken_by_what_is_on_its_way_and_comes_back() {
        let (mut one, mut other) = two(16);
        let half = vec![7; CROSSING_BYTES_MAX / 2];
        assert!(send(&mut one, 1, 0, &half, false));
        assert!(!send(&mut one, 2, 0, &half, false), "the header is too much");
        assert!(send(&mut one, 2, 1, &half, false), "another number has its own room");
        one.flush();
        assert!(!one.is_quiet());
        assert!(take(&mut other).is_empty());
        assert_eq!(handle(&mut other, 1), [(1, half.len())]);
        assert_eq!(handle(&mut other, 2), [(2, half.len())]);
        other.flush();
        take(&mut one);
        assert!(one.is_quiet());
        let huge = vec![7; 4 * CROSSING_BYTES_MAX];
        assert!(send(&mut one, 3, 0, &huge, false), "one frame goes, whatever its size");
        assert!(!send(&mut one, 3, 0, b"", false));
    }

    #[test]
    fn a_connections_end_is_behind_its_frames() {
        let (mut one, mut other) = two(16);
        one.ended(ConnectionId::from_bits(1));
        assert!(send(&mut one, 1, 0, b"last", false), "packed after it was told");
        one.flush();
        take(&mut other);
        assert_eq!(handle(&mut other, 1), [(1, 4), (u64::MAX, 0)]);
    }

    #[test]
    fn what_waits_is_first_in_line_again() {
        let (mut one, mut other) = two(16);
        for number in 0..3 {
            assert!(send(&mut one, number, 0, b"body", number == 1));
        }
        one.flush();
        take(&mut other);
        let Some(Incoming::Frames { frames, next: 0 }) = other.next_incoming(0, 1) else {
            panic!("frames")
        };
        other.put_back(0, 1, frames, 1);
        assert_eq!(handle(&mut other, 1), [(1, 4), (2, 4)]);
        other.flush();
        let arrived = take(&mut one);
        let pull = ConnectionId::from_bits(1);
        assert!(matches!(arrived[..], [Arrived::PullHandled(connection)] if connection == pull));
    }

    #[test]
    fn answers_wait_for_copies_that_find_no_room() {
        let (mut home, mut other) = two(2);
        let mut copies = vec![1, 2, 3];
        assert!(!home.send_copies(&mut copies), "two fit");
        assert!(copies.is_empty(), "they are the exchange's now");
        assert!(!home.send_copies(&mut copies), "nobody took them");
        assert_eq!(take(&mut other).len(), 2);
        assert!(home.send_copies(&mut copies));
        assert!(matches!(take(&mut other)[..], [Arrived::Copy(3)]));
    }
}
