//! Parcels: many small things on their way to another core, in one message.
//! Kind: machine

use std::net::SocketAddr;

use proto::frame::{Encoding, Frame};
use runtime::ConnectionId;

use super::Origin;
use super::limits::PARCEL_BYTES_KEPT;

/// Bytes with a label on each piece.
#[derive(Debug)]
pub struct Parcel<L> {
    /// What each piece is, and where it begins.
    labels: Vec<(L, usize)>,
    bytes: Vec<u8>,
}

/// Answers on their way to the core of the connections that wait for them.
pub type Answers = Parcel<ConnectionId>;

/// Frames on their way to the core that owns what they are about.
pub type Frames = Parcel<Asked>;

/// Who sent a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The connection.
    pub connection: ConnectionId,
    /// Its other end.
    pub peer: SocketAddr,
    /// Encoding of the frame's header.
    pub encoding: Encoding,
    /// Bytes of its header; the body follows.
    pub header_bytes: usize,
    /// It is a pull, whose answer may be much larger than it.
    pub is_pull: bool,
    /// See [`Origin::has_record`](super::Origin).
    pub has_record: bool,
}

impl<L> Default for Parcel<L> {
    fn default() -> Self {
        Parcel { labels: Vec::new(), bytes: Vec::new() }
    }
}

impl<L: Copy> Parcel<L> {
    /// A parcel of bytes that were labelled elsewhere: where each piece begins, rising from 0.
    pub fn new(labels: Vec<(L, usize)>, bytes: Vec<u8>) -> Parcel<L> {
        Parcel { labels, bytes }
    }

    /// Begins a piece; its bytes are appended to what is returned.
    pub fn add(&mut self, label: L) -> &mut Vec<u8> {
        self.labels.push((label, self.bytes.len()));
        &mut self.bytes
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of all pieces.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A piece.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn piece(&self, index: usize) -> (L, &[u8]) {
        let (label, start) = self.labels[index];
        let end = self.labels.get(index + 1).map_or(self.bytes.len(), |(_, start)| *start);
        (label, &self.bytes[start..end])
    }

    /// All pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = (L, &[u8])> {
        (0..self.len()).map(|index| self.piece(index))
    }

    /// Empties it; of its memory it keeps what the next ones need.
    pub fn clear(&mut self) {
        self.labels.clear();
        self.bytes.clear();
        self.bytes.shrink_to(PARCEL_BYTES_KEPT);
    }

    /// Its parts, to be filled by somebody else.
    pub fn into_parts(self) -> (Vec<(L, usize)>, Vec<u8>) {
        (self.labels, self.bytes)
    }
}

impl Frames {
    /// Connections whose pulls it holds, one for each pull.
    pub fn pulls(&self) -> impl Iterator<Item = ConnectionId> {
        let pulls = self.labels.iter().filter(|(asked, _)| asked.is_pull);
        pulls.map(|(asked, _)| asked.connection)
    }

    /// Adds a frame.
    pub fn add_frame(&mut self, origin: Origin, frame: &Frame<'_>, is_pull: bool) {
        let Origin { connection, peer, has_record, .. } = origin;
        let (encoding, header_bytes) = (frame.encoding, frame.header.len());
        let bytes =
            self.add(Asked { connection, peer, encoding, header_bytes, is_pull, has_record });
        bytes.extend_from_slice(frame.header);
        bytes.extend_from_slice(frame.body);
    }

    /// A frame.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn frame(&self, index: usize) -> (Asked, Frame<'_>) {
        let (asked, bytes) = self.piece(index);
        let (header, body) = bytes.split_at(asked.header_bytes);
        (asked, Frame { encoding: asked.encoding, header, body })
    }
}
