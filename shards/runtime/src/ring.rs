//! What a core's turn needs of its ring: the seam at which the simulator takes the place of the kernel.
//! Kind: interface

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;

use crate::eventfd::EventFd;
use crate::file::{DirectFile, StoreFile};
use crate::memory::DirectBuffer;
use crate::reactor::{ConnectionId, Events, FileSlot, Reactor, WriteSync};
use crate::receive::Received;
use crate::write_buffer::WriteBuffer;

/// Sockets, files and deadlines of one thread. [`Reactor`] is the kernel's; what its methods say holds
/// for every other.
pub trait Ring {
    /// A file that can be put into the ring's table.
    type File: StoreFile;
    /// A socket that listens.
    type Listener;
    /// A connected socket on its way from one core to another.
    type Socket: Send + std::fmt::Debug;

    /// See [`Reactor::poll`].
    ///
    /// # Errors
    /// The ring is broken; the process cannot go on.
    fn poll(&mut self, events: &mut Events) -> io::Result<()>;
    /// See [`Reactor::wake_at`].
    fn wake_at(&mut self, monotonic_ns: u64);

    /// See [`Reactor::listen`].
    fn listen(&mut self, socket: Self::Listener) -> u32;
    /// See [`Reactor::stop_listening`].
    fn stop_listening(&mut self);
    /// See [`Reactor::take_socket`].
    fn take_socket(&mut self, connection: ConnectionId) -> Self::Socket;
    /// See [`Reactor::adopt`].
    fn adopt(&mut self, socket: Self::Socket, peer: SocketAddr) -> ConnectionId;
    /// See [`Reactor::open_connections`].
    fn open_connections(&self) -> u32;
    /// See [`Reactor::bytes`].
    fn bytes(&self, received: &Received) -> &[u8];
    /// See [`Reactor::release`].
    fn release(&mut self, received: Received);
    /// See [`Reactor::send`].
    ///
    /// # Errors
    /// The socket is broken or the connection is not open.
    fn send(&mut self, connection: ConnectionId, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    /// See [`Reactor::await_writable`].
    fn await_writable(&mut self, connection: ConnectionId);
    /// See [`Reactor::pause`].
    fn pause(&mut self, connection: ConnectionId);
    /// See [`Reactor::resume`].
    fn resume(&mut self, connection: ConnectionId);
    /// See [`Reactor::close`].
    fn close(&mut self, connection: ConnectionId);

    /// See [`Reactor::attach_file`].
    ///
    /// # Errors
    /// What the registration says.
    fn attach_file(&mut self, file: &Self::File) -> io::Result<Option<FileSlot>>;
    /// See [`Reactor::detach_file`].
    ///
    /// # Errors
    /// What the registration says.
    fn detach_file(&mut self, slot: FileSlot) -> io::Result<()>;
    /// See [`Reactor::write_log`].
    fn write_log(
        &mut self,
        slot: FileSlot,
        file_offset: u64,
        buffer: &mut WriteBuffer,
        range: Range<u64>,
        sync: WriteSync,
        token: u64,
    );
    /// See [`Reactor::read_file`].
    fn read_file(&mut self, slot: FileSlot, offset: u64, buffer: DirectBuffer, token: u64);
    /// See [`Reactor::sync_file`].
    fn sync_file(&mut self, slot: FileSlot, token: u64);
}

/// A ring that a thread parks in.
pub trait ParkingRing: Ring {
    /// See [`Reactor::watch`].
    fn watch(&mut self, event: EventFd);
    /// See [`Reactor::wait`].
    ///
    /// # Errors
    /// The ring is broken; the process cannot go on.
    fn wait(&mut self) -> io::Result<()>;
}

impl ParkingRing for Reactor {
    fn watch(&mut self, event: EventFd) {
        Reactor::watch(self, event);
    }

    fn wait(&mut self) -> io::Result<()> {
        Reactor::wait(self)
    }
}

impl Ring for Reactor {
    type File = DirectFile;
    type Listener = OwnedFd;
    type Socket = OwnedFd;

    fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        Reactor::poll(self, events)
    }

    fn wake_at(&mut self, monotonic_ns: u64) {
        Reactor::wake_at(self, monotonic_ns);
    }

    fn listen(&mut self, socket: OwnedFd) -> u32 {
        Reactor::listen(self, socket)
    }

    fn stop_listening(&mut self) {
        Reactor::stop_listening(self);
    }

    fn take_socket(&mut self, connection: ConnectionId) -> OwnedFd {
        Reactor::take_socket(self, connection)
    }

    fn adopt(&mut self, socket: OwnedFd, peer: SocketAddr) -> ConnectionId {
        Reactor::adopt(self, socket, peer)
    }

    fn open_connections(&self) -> u32 {
        Reactor::open_connections(self)
    }

    fn bytes(&self, received: &Received) -> &[u8] {
        Reactor::bytes(self, received)
    }

    fn release(&mut self, received: Received) {
        Reactor::release(self, received);
    }

    fn send(&mut self, connection: ConnectionId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Reactor::send(self, connection, slices)
    }

    fn await_writable(&mut self, connection: ConnectionId) {
        Reactor::await_writable(self, connection);
    }

    fn pause(&mut self, connection: ConnectionId) {
        Reactor::pause(self, connection);
    }

    fn resume(&mut self, connection: ConnectionId) {
        Reactor::resume(self, connection);
    }

    fn close(&mut self, connection: ConnectionId) {
        Reactor::close(self, connection);
    }

    fn attach_file(&mut self, file: &DirectFile) -> io::Result<Option<FileSlot>> {
        Reactor::attach_file(self, file)
    }

    fn detach_file(&mut self, slot: FileSlot) -> io::Result<()> {
        Reactor::detach_file(self, slot)
    }

    fn write_log(
        &mut self,
        slot: FileSlot,
        file_offset: u64,
        buffer: &mut WriteBuffer,
        range: Range<u64>,
        sync: WriteSync,
        token: u64,
    ) {
        Reactor::write_log(self, slot, file_offset, buffer, range, sync, token);
    }

    fn read_file(&mut self, slot: FileSlot, offset: u64, buffer: DirectBuffer, token: u64) {
        Reactor::read_file(self, slot, offset, buffer, token);
    }

    fn sync_file(&mut self, slot: FileSlot, token: u64) {
        Reactor::sync_file(self, slot, token);
    }
}
