//! The ring of a simulated core: sockets without a network, files on a simulated disk, and nothing
//! happens before the world says so.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;

use fastrand::Rng;
use runtime::{
    ConnectionId, DirectBuffer, Events, FileEvent, FileSlot, NetEvent, Received, Ring, WriteBuffer,
    WriteSync,
};

use crate::disk::{Crash, DiskFile, SyncBegun};

/// What is written into a receive buffer that was given back: who looks at it later reads this.
const RELEASED: u8 = 0xDB;

/// A driver that does its part wrong, to see that the auditor notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Bug {
    /// A log write is reported as complete before it is on the disk.
    AcknowledgesBeforeWrite,
    /// DSYNC writes are plain ones.
    SkipsDsync,
    /// fdatasync and fsync do nothing.
    SyncsLie,
    /// Directories are never synced.
    DirectorySyncsLie,
    /// The driver writes the newest log bytes one block too far down.
    WritesElsewhere,
    /// A failed write is reported as done.
    HidesErrors,
    /// A log write lands without its last sector.
    ShortWrites,
    /// Answers are cut and sent again from the start.
    RepeatsAnswers,
}

/// Bytes that the network takes for a client that reads at once: more than any answer has.
pub const WINDOW_OPEN_BYTES: usize = 1 << 26;

/// A connection between a client and a core, as the network has it.
#[derive(Default, Debug)]
pub struct Connection {
    generation: u32,
    is_open: bool,
    is_closing: bool,
    is_paused: bool,
    wants_writable: bool,
    /// The client writes no more: behind the last byte comes the end.
    is_half_closed: bool,
    /// Nothing of it arrives for so many deliveries.
    delayed: u32,
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    /// Bytes that the socket takes before the client reads.
    window: usize,
}

struct Operation {
    /// It does not end before so many others have.
    stuck: u32,
    what: What,
}

enum What {
    Write {
        slot: FileSlot,
        offset: u64,
        bytes: Vec<u8>,
        sync: WriteSync,
        range: Range<u64>,
        token: u64,
    },
    Read {
        slot: FileSlot,
        offset: u64,
        buffer: DirectBuffer,
        token: u64,
    },
    Sync {
        slot: FileSlot,
        begun: SyncBegun,
        token: u64,
    },
}

/// See the module's first lines.
#[derive(Default)]
pub struct SimRing {
    connections: Vec<Connection>,
    free: Vec<u32>,
    /// Their end is among the events of the last poll.
    freed: Vec<u32>,
    buffers: Vec<Vec<u8>>,
    free_buffers: Vec<u16>,
    files: Vec<Option<DiskFile>>,
    operations: Vec<Operation>,
    ready: Events,
    deadline_ns: Option<u64>,
    listens: bool,
    core: u8,
    bug: Option<Bug>,
}

impl SimRing {
    /// A core's ring without sockets and files.
    pub fn new(core: u8, bug: Option<Bug>) -> SimRing {
        SimRing { core, bug, ..SimRing::default() }
    }

    // ---- what the world does --------------------------------------------------------------------

    /// A client connects; `None`: nobody listens.
    pub fn connect(&mut self, peer: SocketAddr, window: usize) -> Option<ConnectionId> {
        if !self.listens {
            return None;
        }
        let connection = self.insert(Connection { is_open: true, window, ..Connection::default() });
        self.ready.net.push(NetEvent::Accepted { listener: 0, connection, peer });
        Some(connection)
    }

    fn insert(&mut self, connection: Connection) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(Connection::default());
            self.connections.len() as u32 - 1
        });
        let slot = &mut self.connections[index as usize];
        *slot = Connection { generation: slot.generation, ..connection };
        id(self.core, index, slot.generation)
    }

    /// A client writes; the bytes arrive later.
    pub fn client_writes(&mut self, connection: ConnectionId, bytes: &[u8]) {
        if let Some(slot) = self.slot(connection) {
            slot.to_server.extend(bytes);
        }
    }

    /// Whether a connection is still there.
    pub fn is_connected(&mut self, connection: ConnectionId) -> bool {
        self.slot(connection).is_some()
    }

    /// A client reads what has come; `None`: the connection is gone.
    pub fn client_reads(&mut self, connection: ConnectionId) -> Option<Vec<u8>> {
        let slot = self.slot(connection)?;
        let bytes = std::mem::take(&mut slot.to_client);
        if !bytes.is_empty() && std::mem::take(&mut slot.wants_writable) {
            self.ready.net.push(NetEvent::Writable { connection });
        }
        Some(bytes)
    }

    /// The network takes whatever the server has for a client, read or not.
    pub fn client_opens_window(&mut self, connection: ConnectionId) {
        if let Some(slot) = self.slot(connection) {
            slot.window = WINDOW_OPEN_BYTES;
            if std::mem::take(&mut slot.wants_writable) {
                self.ready.net.push(NetEvent::Writable { connection });
            }
        }
    }

    /// A client closes.
    pub fn client_closes(&mut self, connection: ConnectionId, error: Option<io::Error>) {
        if self.slot(connection).is_some() {
            self.ready.net.push(NetEvent::Closed { connection, error });
            self.end(connection);
        }
    }

    /// A client writes no more, but reads on.
    pub fn client_half_closes(&mut self, connection: ConnectionId) {
        if let Some(slot) = self.slot(connection) {
            slot.is_half_closed = true;
        }
    }

    /// The network keeps a connection's bytes for so many deliveries of others.
    pub fn delay(&mut self, connection: ConnectionId, deliveries: u32) {
        if let Some(slot) = self.slot(connection) {
            slot.delayed = deliveries;
        }
    }

    /// Some bytes of some connection arrive, or its end. Whether there were any.
    pub fn deliver(&mut self, rng: &mut Rng) -> bool {
        for slot in &mut self.connections {
            slot.delayed = slot.delayed.saturating_sub(1);
        }
        let waiting: Vec<_> = (0..self.connections.len())
            .filter(|index| {
                let slot = &self.connections[*index];
                let has_news = !slot.to_server.is_empty() || slot.is_half_closed;
                slot.is_open && !slot.is_paused && slot.delayed == 0 && has_news
            })
            .collect();
        let Some(index) = rng.choice(&waiting) else { return false };
        let slot = &mut self.connections[*index];
        let whole = slot.to_server.len();
        if whole == 0 {
            let connection = id(self.core, *index as u32, slot.generation);
            self.client_closes(connection, None);
            return true;
        }
        let len = if rng.u8(..3) > 0 { whole } else { rng.usize(1..=whole) };
        let bytes: Vec<u8> = slot.to_server.drain(..len.min(64 * 1024)).collect();
        let connection = id(self.core, *index as u32, slot.generation);
        let buffer = self.free_buffers.pop().unwrap_or_else(|| {
            self.buffers.push(Vec::new());
            (self.buffers.len() - 1) as u16
        });
        let received = Received::new(buffer, bytes.len() as u32);
        self.buffers[usize::from(buffer)] = bytes;
        self.ready.net.push(NetEvent::Received { connection, received });
        true
    }

    /// Some operation on a file ends, with success. Whether there was one.
    pub fn complete(&mut self, rng: &mut Rng) -> bool {
        let Some(what) = self.take_operation(rng, |_| true) else { return false };
        let event = match what {
            What::Write { slot, offset, bytes, sync, range, token } => {
                let file = self.file(slot);
                match self.bug {
                    Some(Bug::WritesElsewhere) if rng.u8(..8) == 0 => {
                        file.write(offset + 4096, &bytes);
                    }
                    Some(Bug::ShortWrites) if bytes.len() > 512 => {
                        file.write(offset, &bytes[..bytes.len() - 512]);
                    }
                    Some(Bug::AcknowledgesBeforeWrite) if rng.bool() => {}
                    _ => file.write(offset, &bytes),
                }
                if sync == WriteSync::Durable && self.bug != Some(Bug::SkipsDsync) {
                    file.sync_range(offset..offset + bytes.len() as u64);
                }
                FileEvent::Wrote { token, range, result: Ok(()) }
            }
            What::Read { slot, offset, mut buffer, token } => {
                // Reads may be short, of whole blocks.
                let size = buffer.bytes_mut().len();
                let len = if rng.u8(..16) == 0 { rng.usize(1..=size / 4096) * 4096 } else { size };
                let result = Ok(self.file(slot).read(offset, &mut buffer.bytes_mut()[..len]));
                FileEvent::Read { token, buffer, result }
            }
            What::Sync { slot, begun, token } => {
                self.file(slot).end_sync(begun);
                FileEvent::Synced { token, result: Ok(()) }
            }
        };
        self.ready.files.push(event);
        true
    }

    /// Some operation that can end, by a kind of them.
    fn take_operation(&mut self, rng: &mut Rng, is_wanted: fn(&What) -> bool) -> Option<What> {
        for operation in &mut self.operations {
            operation.stuck = operation.stuck.saturating_sub(1);
        }
        let able: Vec<_> = (0..self.operations.len())
            .filter(|at| self.operations[*at].stuck == 0 && is_wanted(&self.operations[*at].what))
            .collect();
        let at = *rng.choice(&able)?;
        Some(self.operations.swap_remove(at).what)
    }

    /// Some operation on a file does not end before so many others have. Whether there was one.
    pub fn stick(&mut self, operations: u32, rng: &mut Rng) -> bool {
        let stuck = rng.choice(&mut self.operations).map(|operation| operation.stuck = operations);
        stuck.is_some()
    }

    /// Some read fails. Whether there was one.
    pub fn fail_read(&mut self, rng: &mut Rng) -> bool {
        let read = self.take_operation(rng, |what| matches!(what, What::Read { .. }));
        let Some(What::Read { buffer, token, .. }) = read else { return false };
        let result = Err(io::Error::from_raw_os_error(5)); // EIO
        self.ready.files.push(FileEvent::Read { token, buffer, result });
        true
    }

    /// Some operation on a file fails. Whether there was one.
    pub fn fail(&mut self, rng: &mut Rng) -> bool {
        let Some(what) = self.take_operation(rng, |_| true) else { return false };
        let error = io::Error::from_raw_os_error(5); // EIO
        let hides = self.bug == Some(Bug::HidesErrors);
        let event = match what {
            What::Write { slot, offset, bytes, range, token, .. } => {
                self.file(slot).write_some(offset, &bytes, false, rng);
                FileEvent::Wrote { token, range, result: if hides { Ok(()) } else { Err(error) } }
            }
            What::Read { buffer, token, .. } => {
                FileEvent::Read { token, buffer, result: Err(error) }
            }
            What::Sync { slot, token, .. } => {
                self.file(slot).fail_sync();
                FileEvent::Synced { token, result: if hides { Ok(()) } else { Err(error) } }
            }
        };
        self.ready.files.push(event);
        true
    }

    /// Whether a log write or sync is in flight.
    pub fn has_writes(&self) -> bool {
        self.operations.iter().any(|it| !matches!(it.what, What::Read { .. }))
    }

    /// The deadline passed, if one was set for by now.
    pub fn pass_time(&mut self, now_ns: u64) {
        if self.deadline_ns.is_some_and(|at_ns| at_ns <= now_ns) {
            self.deadline_ns = None;
            self.ready.net.push(NetEvent::Deadline);
        }
    }

    /// When the deadline is.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// The life ends: writes in flight leave what they leave.
    pub fn crash(&mut self, crash: Crash, rng: &mut Rng) {
        for operation in std::mem::take(&mut self.operations) {
            if let What::Write { slot, offset, bytes, .. } = operation.what {
                self.file(slot).write_some(offset, &bytes, crash == Crash::Power, rng);
            }
        }
    }

    // ---- the rest -------------------------------------------------------------------------------

    fn slot(&mut self, connection: ConnectionId) -> Option<&mut Connection> {
        let core = self.core;
        let slot = self.connections.get_mut(connection.index())?;
        (slot.is_open && id(core, connection.index() as u32, slot.generation) == connection)
            .then_some(slot)
    }

    fn end(&mut self, connection: ConnectionId) {
        if let Some(slot) = self.slot(connection) {
            slot.is_open = false;
            slot.is_closing = true;
        }
    }

    fn file(&self, slot: FileSlot) -> &DiskFile {
        self.files[slot.index() as usize].as_ref().expect("attached")
    }
}

fn id(core: u8, index: u32, generation: u32) -> ConnectionId {
    ConnectionId::from_bits(u64::from(core) << 56 | u64::from(generation) << 32 | u64::from(index))
}

impl Ring for SimRing {
    type File = DiskFile;
    type Listener = ();
    type Socket = Connection;

    fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        events.files.clear();
        events.net.clear();
        events.files.append(&mut self.ready.files);
        events.net.append(&mut self.ready.net);
        // Slots whose end was told in an earlier poll may be used again.
        self.free.append(&mut self.freed);
        for (index, slot) in self.connections.iter_mut().enumerate() {
            if std::mem::take(&mut slot.is_closing) {
                slot.generation += 1;
                self.freed.push(index as u32);
            }
        }
        Ok(())
    }

    fn wake_at(&mut self, monotonic_ns: u64) {
        self.deadline_ns =
            Some(self.deadline_ns.map_or(monotonic_ns, |at_ns| at_ns.min(monotonic_ns)));
    }

    fn listen(&mut self, (): ()) -> u32 {
        self.listens = true;
        0
    }

    fn stop_listening(&mut self) {
        self.listens = false;
    }

    fn take_socket(&mut self, connection: ConnectionId) -> Connection {
        let slot = self.slot(connection).expect("accepted in this turn");
        let generation = slot.generation + 1;
        let taken = std::mem::replace(slot, Connection { generation, ..Connection::default() });
        self.free.push(connection.index() as u32);
        taken
    }

    fn adopt(&mut self, socket: Connection, _: SocketAddr) -> ConnectionId {
        self.insert(socket)
    }

    fn open_connections(&self) -> u32 {
        self.connections.iter().filter(|slot| slot.is_open).count() as u32
    }

    fn bytes(&self, received: &Received) -> &[u8] {
        &self.buffers[usize::from(received.buffer())]
    }

    fn release(&mut self, received: Received) {
        assert!(!self.free_buffers.contains(&received.buffer()), "a buffer goes back once");
        self.buffers[usize::from(received.buffer())].fill(RELEASED);
        self.free_buffers.push(received.buffer());
    }

    fn send(&mut self, connection: ConnectionId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let repeats = self.bug == Some(Bug::RepeatsAnswers);
        let slot = self.slot(connection).ok_or(io::ErrorKind::NotConnected)?;
        let mut sent = 0;
        for slice in slices {
            let room = slot.window.saturating_sub(slot.to_client.len());
            let len = slice.len().min(room);
            slot.to_client.extend_from_slice(&slice[..len]);
            sent += len;
            if len < slice.len() {
                break;
            }
        }
        Ok(if repeats && sent % 7 == 3 { 0 } else { sent })
    }

    fn await_writable(&mut self, connection: ConnectionId) {
        if let Some(slot) = self.slot(connection) {
            slot.wants_writable = true;
        }
    }

    fn pause(&mut self, connection: ConnectionId) {
        if let Some(slot) = self.slot(connection) {
            slot.is_paused = true;
        }
    }

    fn resume(&mut self, connection: ConnectionId) {
        if let Some(slot) = self.slot(connection) {
            slot.is_paused = false;
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        self.end(connection);
    }

    fn attach_file(&mut self, file: &DiskFile) -> io::Result<Option<FileSlot>> {
        self.files.push(Some(file.clone()));
        Ok(Some(FileSlot::new(self.files.len() as u32 - 1)))
    }

    fn detach_file(&mut self, _slot: FileSlot) -> io::Result<()> {
        Ok(())
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
        let len = (range.end - range.start) as usize;
        let bytes = buffer.slice(range.start, len).expect("what is written is in memory").to_vec();
        drop(buffer.freeze(range.clone()));
        let what = What::Write { slot, offset: file_offset, bytes, sync, range, token };
        self.operations.push(Operation { stuck: 0, what });
    }

    fn read_file(&mut self, slot: FileSlot, offset: u64, buffer: DirectBuffer, token: u64) {
        let what = What::Read { slot, offset, buffer, token };
        self.operations.push(Operation { stuck: 0, what });
    }

    fn sync_file(&mut self, slot: FileSlot, token: u64) {
        let begun = self.file(slot).begin_sync();
        self.operations.push(Operation { stuck: 0, what: What::Sync { slot, begun, token } });
    }
}
