//! What leaves: the replies of a turn for each connection, and what its socket did not take yet.
//! Owns: reply bytes, references to records in the tail's memory until the turn ends, backlogs.
//! Lives on: every core, for its own connections; what answers other cores' connections is gathered per
//! core
//! Kind: machine
//! Invariants:
//!   bytes leave in the order they were written
//!   a reference to a record does not outlive the turn: what the socket does not take is copied

use std::io::IoSlice;

use engine::shard::{Piece, Shard};
use runtime::ConnectionId;

use crate::router::parcel::Answers;

use super::limits::{
    BACKLOG_BYTES_MAX, BACKLOG_BYTES_PAUSE, OUTBOX_BYTES_KEPT, REMOTE_BYTES_PER_TURN,
};

/// Output of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    connection: Option<ConnectionId>,
    /// Bytes written in this turn.
    bytes: Vec<u8>,
    /// Records to be sent between them: behind this many of the bytes, this piece of this shard.
    pieces: Vec<(usize, usize, Piece)>,
    /// Bytes of these records.
    piece_bytes: usize,
    /// Bytes that the socket did not take in earlier turns.
    backlog: Vec<u8>,
    is_dirty: bool,
}

/// What is to be done with a connection after its output was offered to the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flushed {
    /// All was taken.
    All,
    /// Some waits until the socket is writable again.
    Waits {
        /// So much waits that reading from the connection is to stop meanwhile.
        pause: bool,
    },
    /// So much waits that the connection is to be closed.
    TooMuch {
        /// Bytes that wait.
        bytes: usize,
    },
}

impl Outbox {
    /// Where reply bytes go.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Puts a record behind what was written so far.
    pub fn piece(&mut self, shard: usize, piece: Piece) {
        self.pieces.push((self.bytes.len(), shard, piece));
        self.piece_bytes += piece.size_bytes as usize;
    }

    /// Bytes of this turn, records included.
    fn gathered_bytes(&self) -> usize {
        self.bytes.len() + self.piece_bytes
    }

    fn waiting_bytes(&self) -> usize {
        self.backlog.len()
    }

    /// The slices of this turn, in order, for as long as the turn lasts.
    fn gather<'a>(&'a self, shards: &'a [Shard], slices: &mut Vec<IoSlice<'a>>) {
        let mut from = 0;
        for (behind, shard, piece) in &self.pieces {
            if *behind > from {
                slices.push(IoSlice::new(&self.bytes[from..*behind]));
                from = *behind;
            }
            let record = shards[*shard].piece(piece.payload, piece.size_bytes);
            slices.push(IoSlice::new(record));
        }
        if self.bytes.len() > from {
            slices.push(IoSlice::new(&self.bytes[from..]));
        }
    }

    /// Bytes of this turn, and those that the socket did not take in earlier ones.
    fn bytes_to_send(&self) -> usize {
        self.gathered_bytes() + self.waiting_bytes()
    }

    /// Offers everything to the socket through `send`, which says how many bytes it took.
    fn flush(
        &mut self,
        shards: &[Shard],
        mut send: impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<Flushed> {
        self.is_dirty = false;
        let rest = if self.bytes_to_send() > BACKLOG_BYTES_MAX {
            // Not even offered: copying what the socket leaves would cost everybody else's turn.
            return Ok(Flushed::TooMuch { bytes: self.bytes_to_send() });
        } else if self.pieces.is_empty() && self.waiting_bytes() == 0 {
            // The usual turn of a producer's connection: one slice, nothing allocated.
            let taken = send(&[IoSlice::new(&self.bytes)])?;
            self.bytes.split_off(taken)
        } else {
            self.send_gathered(shards, &mut send)?
        };
        self.backlog = rest;
        self.forget_bytes();
        Ok(match self.waiting_bytes() {
            0 => Flushed::All,
            bytes => Flushed::Waits { pause: bytes > BACKLOG_BYTES_PAUSE },
        })
    }
}

impl Outbox {
    /// Sends backlog, bytes and pieces in order; what the socket did not take, copied.
    fn send_gathered(
        &self,
        shards: &[Shard],
        send: &mut impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> std::io::Result<Vec<u8>> {
        let total = self.bytes_to_send();
        let mut slices = Vec::with_capacity(2 * self.pieces.len() + 2);
        if self.waiting_bytes() > 0 {
            slices.push(IoSlice::new(&self.backlog));
        }
        self.gather(shards, &mut slices);
        let mut taken = send(&slices)?;
        let mut rest = Vec::new();
        if taken < total {
            rest.reserve_exact(total - taken);
            for slice in &slices {
                let skipped = taken.min(slice.len());
                taken -= skipped;
                rest.extend_from_slice(&slice[skipped..]);
            }
        }
        Ok(rest)
    }

    /// Copies bytes and records, in order, to `memory`, which is what is to be sent now; gives back the
    /// memory that the bytes had.
    fn copy_records(&mut self, shards: &[Shard], mut memory: Vec<u8>) -> Vec<u8> {
        let mut slices = Vec::with_capacity(2 * self.pieces.len() + 1);
        self.gather(shards, &mut slices);
        memory.reserve(self.gathered_bytes());
        slices.iter().for_each(|slice| memory.extend_from_slice(slice));
        self.pieces.clear();
        self.piece_bytes = 0;
        let mut bytes = std::mem::replace(&mut self.bytes, memory);
        bytes.clear();
        bytes
    }

    /// Empties what was sent; memory beyond what the next turns need is given back.
    fn forget_bytes(&mut self) {
        self.pieces.clear();
        self.piece_bytes = 0;
        self.bytes.clear();
        self.bytes.shrink_to(OUTBOX_BYTES_KEPT);
    }
}

/// Answers to connections of one other core.
#[derive(Debug, Default)]
struct Remote {
    /// Whose bytes begin where.
    labels: Vec<(ConnectionId, usize)>,
    outbox: Outbox,
}

/// Outboxes of all connections of a core.
#[derive(Debug, Default)]
pub struct Outboxes {
    core: usize,
    slots: Vec<Outbox>,
    dirty: Vec<ConnectionId>,
    /// By core; this one's own stays empty.
    remote: Vec<Remote>,
}

impl Outboxes {
    /// Outboxes of one of so many cores.
    pub fn new(core: usize, core_count: usize) -> Outboxes {
        let remote = (0..core_count).map(|_| Remote::default()).collect();
        Outboxes { core, remote, ..Outboxes::default() }
    }

    /// A connection begins.
    pub fn open(&mut self, connection: ConnectionId) {
        let index = connection.index();
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Outbox::default);
        }
        self.slots[index] = Outbox { connection: Some(connection), ..Outbox::default() };
    }

    /// A connection ended: what was to leave is dropped.
    pub fn close(&mut self, connection: ConnectionId) {
        if let Some(outbox) = self.slot(connection) {
            *outbox = Outbox::default();
        }
    }

    fn slot(&mut self, connection: ConnectionId) -> Option<&mut Outbox> {
        self.slots
            .get_mut(connection.index())
            .filter(|outbox| outbox.connection == Some(connection))
    }

    /// The outbox to write a reply into; `None`: the connection ended meanwhile.
    pub fn of(&mut self, connection: ConnectionId) -> Option<&mut Outbox> {
        if connection.core() != self.core {
            return self.remote.get_mut(connection.core()).map(|remote| remote.of(connection));
        }
        let outbox = self
            .slots
            .get_mut(connection.index())
            .filter(|outbox| outbox.connection == Some(connection))?;
        if !outbox.is_dirty {
            outbox.is_dirty = true;
            self.dirty.push(connection);
        }
        Some(outbox)
    }

    /// Whether a connection has so much to read that no further request of it is to be taken.
    pub fn is_full(&self, connection: ConnectionId) -> bool {
        let slot = self.slots.get(connection.index());
        slot.is_some_and(|outbox| outbox.bytes_to_send() > BACKLOG_BYTES_PAUSE)
    }

    /// Whether so much is gathered for another core's connections that their requests are to wait for
    /// the next turn.
    pub fn is_remote_full(&self, core: usize) -> bool {
        self.remote[core].outbox.bytes_to_send() > REMOTE_BYTES_PER_TURN
    }

    /// Whether that holds for any other core.
    pub fn is_any_remote_full(&self) -> bool {
        (0..self.remote.len()).any(|core| self.is_remote_full(core))
    }

    /// The next connection that has something to say.
    pub fn next_dirty(&mut self) -> Option<ConnectionId> {
        self.dirty.pop()
    }

    /// Offers what a connection has to its socket. `None`: it ended, or has nothing.
    pub fn flush(
        &mut self,
        connection: ConnectionId,
        shards: &[Shard],
        send: impl FnMut(&[IoSlice<'_>]) -> std::io::Result<usize>,
    ) -> Option<std::io::Result<Flushed>> {
        let outbox = self.slot(connection)?;
        if outbox.bytes.is_empty() && outbox.pieces.is_empty() && outbox.waiting_bytes() == 0 {
            outbox.is_dirty = false;
            return None;
        }
        Some(outbox.flush(shards, send))
    }

    /// Copies the records that are to leave later than this turn.
    pub fn keep(&mut self, shards: &[Shard]) {
        let remote = self.remote.iter_mut().map(|remote| &mut remote.outbox);
        for outbox in self.slots.iter_mut().chain(remote) {
            if !outbox.pieces.is_empty() {
                outbox.copy_records(shards, Vec::new());
            }
        }
    }

    /// What this turn has for connections of another core, records copied: they do not outlive the turn.
    /// `None`: nothing. `memory` is an emptied parcel.
    pub fn take_remote(
        &mut self,
        core: usize,
        shards: &[Shard],
        memory: impl FnOnce() -> Answers,
    ) -> Option<Answers> {
        let remote = &mut self.remote[core];
        (!remote.labels.is_empty()).then(|| remote.take(shards, memory()))
    }

    /// Whether no connection has bytes to send or waiting.
    pub fn is_empty(&self) -> bool {
        let is_empty = |outbox: &Outbox| outbox.bytes.is_empty() && outbox.waiting_bytes() == 0;
        self.slots.iter().all(is_empty) && self.remote.iter().all(|it| it.labels.is_empty())
    }
}

impl Remote {
    fn of(&mut self, connection: ConnectionId) -> &mut Outbox {
        if self.labels.last().is_none_or(|(last, _)| *last != connection) {
            self.labels.push((connection, self.outbox.gathered_bytes()));
        }
        &mut self.outbox
    }

    /// Gives away what was gathered and goes on with an empty parcel's memory.
    fn take(&mut self, shards: &[Shard], empty: Answers) -> Answers {
        let (labels, mut memory) = empty.into_parts();
        if !self.outbox.pieces.is_empty() {
            memory = self.outbox.copy_records(shards, memory);
        }
        let labels = std::mem::replace(&mut self.labels, labels);
        Answers::new(labels, std::mem::replace(&mut self.outbox.bytes, memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTION: u64 = 3;

    #[test]
    fn what_the_socket_does_not_take_leaves_later_in_order() {
        let connection = ConnectionId::from_bits(CONNECTION);
        let mut outboxes = Outboxes::default();
        outboxes.open(connection);
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for turn in 0..50u8 {
            let bytes = vec![turn; 100];
            expected.extend_from_slice(&bytes);
            outboxes.of(connection).expect("open").bytes().extend_from_slice(&bytes);
            assert_eq!(outboxes.next_dirty(), Some(connection));
            let flushed = outboxes.flush(connection, &[], |slices| {
                let offered: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = offered.len().min(70);
                wire.extend_from_slice(&offered[..taken]);
                Ok(taken)
            });
            let waits = matches!(flushed, Some(Ok(Flushed::Waits { pause: false })));
            assert!(waits);
        }
        let flushed = outboxes.flush(connection, &[], |slices| {
            let all: usize = slices.iter().map(|slice| slice.len()).sum();
            slices.iter().for_each(|slice| wire.extend_from_slice(slice));
            Ok(all)
        });
        assert!(matches!(flushed, Some(Ok(Flushed::All))));
        assert_eq!(wire, expected);
        assert!(outboxes.is_empty());
    }

    #[test]
    fn an_ended_connection_takes_nothing() {
        let connection = ConnectionId::from_bits(CONNECTION);
        let mut outboxes = Outboxes::default();
        outboxes.open(connection);
        outboxes.close(connection);
        assert!(outboxes.of(connection).is_none());
        outboxes.open(ConnectionId::from_bits(CONNECTION | 1 << 32));
        assert!(outboxes.of(connection).is_none(), "another generation of the same slot");
    }
}
