//! A ring over the kernel's that holds back log writes without DSYNC until their file is synced.
//! Kind: shell

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;

use runtime::eventfd::EventFd;
use runtime::file::StoreFile;
use runtime::{
    ConnectionId, DirectBuffer, Events, FileEvent, FileSlot, ParkingRing, Reactor, Received, Ring,
    WriteBuffer, WriteSync,
};

use crate::files::{HeldFile, lay_over};

/// A bug that is put in on purpose, to show that tests find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// DSYNC writes are held back as if they were plain.
    DropsDsync,
    /// Syncs of the log say that they are done and do nothing.
    DropsSync,
}

/// What was held of the range of a read when the read began.
struct ReadBegun {
    token: u64,
    offset: u64,
    held: Vec<(u64, Box<[u8]>)>,
    end: u64,
}

/// The ring. Sockets go to the kernel's as they come.
pub struct HeldRing {
    reactor: Reactor,
    bug: Option<Bug>,
    /// Files of the ring's table.
    files: Vec<Option<HeldFile>>,
    reads: Vec<ReadBegun>,
    done: VecDeque<FileEvent>,
}

impl HeldRing {
    /// A ring over the kernel's.
    pub fn new(reactor: Reactor, bug: Option<Bug>) -> HeldRing {
        let (files, reads, done) = (Vec::new(), Vec::new(), VecDeque::new());
        HeldRing { reactor, bug, files, reads, done }
    }

    fn file(&self, slot: FileSlot) -> &HeldFile {
        self.files[slot.index() as usize].as_ref().expect("an attached file")
    }

    fn finish_read(&mut self, event: FileEvent) -> FileEvent {
        let FileEvent::Read { token, mut buffer, result } = event else { return event };
        let begun = self.reads.iter().position(|it| it.token == token).expect("it was begun");
        let begun = self.reads.swap_remove(begun);
        let result =
            result.map(|read| lay_over(&mut buffer, begun.offset, read, &begun.held, begun.end));
        FileEvent::Read { token, buffer, result }
    }
}

impl ParkingRing for HeldRing {
    fn watch(&mut self, event: EventFd) {
        self.reactor.watch(event);
    }

    fn wait(&mut self) -> io::Result<()> {
        if self.done.is_empty() { self.reactor.wait() } else { Ok(()) }
    }
}

impl Ring for HeldRing {
    type File = HeldFile;
    type Listener = OwnedFd;
    type Socket = OwnedFd;

    fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        self.reactor.poll(events)?;
        let found = std::mem::take(&mut events.files);
        events.files = found.into_iter().map(|event| self.finish_read(event)).collect();
        events.files.extend(self.done.drain(..));
        Ok(())
    }

    fn wake_at(&mut self, monotonic_ns: u64) {
        self.reactor.wake_at(monotonic_ns);
    }

    fn listen(&mut self, socket: OwnedFd) -> u32 {
        self.reactor.listen(socket)
    }

    fn stop_listening(&mut self) {
        self.reactor.stop_listening();
    }

    fn take_socket(&mut self, connection: ConnectionId) -> OwnedFd {
        self.reactor.take_socket(connection)
    }

    fn adopt(&mut self, socket: OwnedFd, peer: SocketAddr) -> ConnectionId {
        self.reactor.adopt(socket, peer)
    }

    fn open_connections(&self) -> u32 {
        self.reactor.open_connections()
    }

    fn bytes(&self, received: &Received) -> &[u8] {
        self.reactor.bytes(received)
    }

    fn release(&mut self, received: Received) {
        self.reactor.release(received);
    }

    fn send(&mut self, connection: ConnectionId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.reactor.send(connection, slices)
    }

    fn await_writable(&mut self, connection: ConnectionId) {
        self.reactor.await_writable(connection);
    }

    fn pause(&mut self, connection: ConnectionId) {
        self.reactor.pause(connection);
    }

    fn resume(&mut self, connection: ConnectionId) {
        self.reactor.resume(connection);
    }

    fn close(&mut self, connection: ConnectionId) {
        self.reactor.close(connection);
    }

    fn attach_file(&mut self, file: &HeldFile) -> io::Result<Option<FileSlot>> {
        let kept = file.try_clone()?;
        let Some(slot) = self.reactor.attach_file(file.direct())? else { return Ok(None) };
        let index = slot.index() as usize;
        if self.files.len() <= index {
            self.files.resize_with(index + 1, || None);
        }
        self.files[index] = Some(kept);
        Ok(Some(slot))
    }

    fn detach_file(&mut self, slot: FileSlot) -> io::Result<()> {
        self.files[slot.index() as usize] = None;
        self.reactor.detach_file(slot)
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
        let len = range.end - range.start;
        if sync == WriteSync::Durable && self.bug != Some(Bug::DropsDsync) {
            self.file(slot).pages().forget(file_offset..file_offset + len);
            self.reactor.write_log(slot, file_offset, buffer, range, sync, token);
            return;
        }
        let bytes = buffer.slice(range.start, usize::try_from(len).expect("at most a region"));
        self.file(slot).pages().hold(file_offset, bytes.expect("it was appended"));
        // Whoever gets the event thaws; the memory is not needed any more.
        drop(buffer.freeze(range.clone()));
        self.done.push_back(FileEvent::Wrote { token, range, result: Ok(()) });
    }

    fn read_file(&mut self, slot: FileSlot, offset: u64, buffer: DirectBuffer, token: u64) {
        let pages = self.file(slot).pages();
        let held = pages.copy(offset..offset + buffer.size() as u64);
        let end = pages.end();
        drop(pages);
        self.reads.push(ReadBegun { token, offset, held, end });
        self.reactor.read_file(slot, offset, buffer, token);
    }

    /// Blocks the core, which is no matter here.
    fn sync_file(&mut self, slot: FileSlot, token: u64) {
        let result = match self.bug {
            Some(Bug::DropsSync) => Ok(()),
            _ => self.file(slot).sync_data(),
        };
        self.done.push_back(FileEvent::Synced { token, result });
    }
}
