//! One ring: sockets and files of a core, driven by one thread.
//! Owns: the io_uring, receive buffers, connections' sockets, the file table, operations in flight.
//! Lives on: the thread that created it.
//! Kind: shell
//! Invariants:
//!   a buffer given to the kernel stays in `operations` (or frozen in its WriteBuffer) until it completes
//!   a connection's slot is reused only when no operation on its socket is in flight
//!   a file's slot is emptied or reused only when no operation on the file is in flight
//!   what completes for an older generation of a slot is dropped
//!
//! The caller's turn: [`Reactor::poll`] fills [`Events`]; file events are to be handled first, because
//! they make the room that received bytes need.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::types::{Fd, Fixed, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue, types};

use crate::clock::Clock;
use crate::eventfd::EventFd;
use crate::file::DirectFile;
use crate::limits::{
    ACCEPT_PAUSE, COMPLETION_ENTRIES, FILE_OPERATIONS, FILE_SLOTS, FILE_SLOTS_LINGERING_MAX,
    FILES_PART, REGION_SLOTS, RING_ENTRIES, SLICES_PER_SEND_MAX, WRITE_REGION_BYTES,
};
use crate::memory::DirectBuffer;
use crate::probe::OPEN_FILES_ADVICE;
use crate::rare::RareLine;
use crate::receive::{ReceiveBuffers, Received};
use crate::socket;
use crate::write_buffer::{Frozen, Registration, WriteBuffer};

/// A connection of a core's reactor. Never used again for another one: it carries a generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ConnectionId {
    index: u32,
    /// 24 bits.
    generation: u32,
    core: u8,
}

impl ConnectionId {
    /// The slot, dense from 0: an index into the caller's own tables.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// The core whose reactor it is: only that one can send to it.
    pub fn core(self) -> usize {
        usize::from(self.core)
    }

    /// All parts in one number, for tables and logs: 8 bits of core, 24 of generation, 32 of slot.
    pub fn to_bits(self) -> u64 {
        u64::from(self.core) << 56 | u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The inverse of [`ConnectionId::to_bits`].
    pub fn from_bits(bits: u64) -> ConnectionId {
        ConnectionId {
            index: bits as u32,
            generation: (bits >> 32) as u32 & GENERATION_MASK,
            core: (bits >> 56) as u8,
        }
    }
}

/// A slot of the ring's file table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileSlot(u32);

impl FileSlot {
    /// The slot with this number: for rings only.
    pub fn new(index: u32) -> FileSlot {
        FileSlot(index)
    }

    /// Its number.
    pub fn index(self) -> u32 {
        self.0
    }
}

/// Whether a write is complete when it is on the device's media (RWF_DSYNC) or when it is handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteSync {
    /// Complete when durable.
    Durable,
    /// Complete when the device has it; a sync follows some time.
    Written,
}

/// Something about a socket or the timer.
#[derive(Debug)]
pub enum NetEvent {
    /// A listener got a connection. Reading begins with the next poll, unless it is taken out before.
    Accepted {
        /// The number `listen` was given.
        listener: u32,
        /// The new connection.
        connection: ConnectionId,
        /// The other end.
        peer: SocketAddr,
    },
    /// Bytes arrived; they must be given back with [`Reactor::release`].
    Received {
        /// From whom.
        connection: ConnectionId,
        /// Where the bytes lie.
        received: Received,
    },
    /// The peer closed or the socket failed; the id is dead, its slot may be reused.
    Closed {
        /// Which.
        connection: ConnectionId,
        /// `None`: the peer closed in order.
        error: Option<io::Error>,
    },
    /// The socket takes bytes again (after [`Reactor::await_writable`]).
    Writable {
        /// Which.
        connection: ConnectionId,
    },
    /// The deadline given to [`Reactor::wake_at`] passed.
    Deadline,
}

/// Something about a file.
#[derive(Debug)]
pub enum FileEvent {
    /// A log write ended: all of its bytes, or an error. A short write is an error.
    Wrote {
        /// The caller's number.
        token: u64,
        /// The log offsets written; thaw them with [`WriteBuffer::thaw`].
        range: Range<u64>,
        /// What came of it.
        result: io::Result<()>,
    },
    /// A read ended; how many bytes it got.
    Read {
        /// The caller's number.
        token: u64,
        /// The buffer, back in the caller's hands.
        buffer: DirectBuffer,
        /// Bytes read.
        result: io::Result<usize>,
    },
    /// A sync ended.
    Synced {
        /// The caller's number.
        token: u64,
        /// What came of it.
        result: io::Result<()>,
    },
}

/// What one poll found, in two lists because files go first.
#[derive(Default, Debug)]
pub struct Events {
    /// Completions of file operations.
    pub files: Vec<FileEvent>,
    /// Completions of socket operations and the timer.
    pub net: Vec<NetEvent>,
}

impl Events {
    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.net.is_empty()
    }
}

/// What the kernel did not give, for one line at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fallbacks {
    /// SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1): without them a frame costs half as much again.
    pub plain_ring: bool,
    /// Registered buffers, because of RLIMIT_MEMLOCK: 10–15 % CPU of log writes.
    pub plain_writes: bool,
}

/// Settings of a reactor.
#[derive(Clone, Copy, Debug)]
pub struct ReactorConfig {
    /// The core that it is, for the ids of its connections.
    pub core: u8,
    /// Connections above this are closed when they arrive.
    pub connections_max: u32,
}

#[derive(Debug)]
struct Connection {
    socket: Option<OwnedFd>,
    generation: u32,
    peer: SocketAddr,
    reading: Reading,
    paused: bool,
    writable_armed: bool,
    closing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reading {
    /// A multishot receive is in flight.
    Armed,
    /// None is; `starved` lists those that want one.
    Idle,
    /// Idle because receive buffers ran out, or because it is new: the next poll arms it.
    Starved,
}

enum Operation {
    Write { token: u64, range: Range<u64>, _frozen: Frozen },
    Read { token: u64, buffer: DirectBuffer },
    Sync { token: u64 },
}

/// A slot of the ring's table. The kernel looks into it when it begins an operation, not when the
/// operation is pushed; a sync begins on another thread, some time after it was submitted.
#[derive(Clone, Copy, Default, Debug)]
struct TableSlot {
    is_attached: bool,
    in_flight: u32,
}

impl TableSlot {
    fn is_free(self) -> bool {
        !self.is_attached && self.in_flight == 0
    }
}

// The kinds in the top byte of user_data; the rest is generation (24 bits) and index (32 bits).
const KIND_ACCEPT: u64 = 1;
const KIND_RECEIVE: u64 = 2;
const KIND_WRITABLE: u64 = 3;
const KIND_FILE: u64 = 4;
const KIND_DEADLINE: u64 = 5;
const KIND_CANCEL: u64 = 6;
const KIND_WAKE: u64 = 7;
const KIND_ACCEPT_PAUSE: u64 = 8;

const ENTER_GETEVENTS: u32 = 1; // IORING_ENTER_GETEVENTS
const ENTER_NO_IOWAIT: u32 = 1 << 7; // IORING_ENTER_NO_IOWAIT, Linux 6.15

const GENERATION_MASK: u32 = 0x00FF_FFFF;

fn user_data(kind: u64, generation: u32, index: u32) -> u64 {
    kind << 56 | u64::from(generation & GENERATION_MASK) << 32 | u64::from(index)
}

/// One core's ring. See the module's first lines.
pub struct Reactor {
    // Dropped first: closing the ring ends every operation before any memory goes away.
    ring: IoUring,
    receive: ReceiveBuffers,
    connections: Vec<Connection>,
    free_connections: Vec<u32>,
    /// Freed since the last poll: whose end is among its events must not be taken for a newer one.
    freed_connections: Vec<u32>,
    starved: Vec<ConnectionId>,
    listeners: Vec<OwnedFd>,
    files: Vec<TableSlot>,
    operations: Vec<Option<(FileSlot, Operation)>>,
    free_operations: Vec<u32>,
    regions_used: u32,
    deadline: Option<u64>,
    // Boxed: the kernel gets their addresses.
    #[allow(clippy::vec_box)]
    timespecs: Vec<Box<Timespec>>,
    backlog: Vec<squeue::Entry>,
    fallbacks: Fallbacks,
    config: ReactorConfig,
    open_connections: u32,
    /// Sockets with this number or a higher one are closed, see [`FILES_PART`].
    descriptors_end: i32,
    turned_away: RareLine,
    accept_failed: RareLine,
    doorbell: Option<EventFd>,
    doorbell_armed: bool,
    enter_flags: u32,
}

impl Reactor {
    /// Creates the ring on the calling thread, which is the only one that may use it.
    ///
    /// # Errors
    /// EPERM or ENOSYS when io_uring is switched off (sysctl, seccomp), ENOMEM below the memlock limit.
    pub fn new(config: ReactorConfig) -> io::Result<Reactor> {
        Reactor::make(config).map_err(with_advice)
    }

    fn make(config: ReactorConfig) -> io::Result<Reactor> {
        let mut fallbacks = Fallbacks::default();
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(RING_ENTRIES);
        let ring = match ring {
            Ok(ring) => ring,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                fallbacks.plain_ring = true;
                IoUring::builder().setup_cqsize(COMPLETION_ENTRIES).build(RING_ENTRIES)?
            }
            Err(error) => return Err(error),
        };
        let table_slots = table_slots();
        ring.submitter().register_files_sparse(table_slots)?;
        ring.submitter().register_buffers_sparse(REGION_SLOTS)?;
        let receive = ReceiveBuffers::register(&ring.submitter())?;
        Ok(Reactor {
            ring,
            receive,
            connections: Vec::new(),
            free_connections: Vec::new(),
            freed_connections: Vec::new(),
            starved: Vec::new(),
            listeners: Vec::new(),
            files: vec![TableSlot::default(); table_slots as usize],
            operations: (0..FILE_OPERATIONS).map(|_| None).collect(),
            free_operations: (0..FILE_OPERATIONS as u32).rev().collect(),
            regions_used: 0,
            deadline: None,
            timespecs: Vec::new(),
            backlog: Vec::new(),
            fallbacks,
            config,
            open_connections: 0,
            descriptors_end: descriptors_end(),
            turned_away: RareLine::default(),
            accept_failed: RareLine::default(),
            doorbell: None,
            doorbell_armed: false,
            enter_flags: ENTER_GETEVENTS | ENTER_NO_IOWAIT,
        })
    }

    /// What the kernel did not give.
    pub fn fallbacks(&self) -> Fallbacks {
        self.fallbacks
    }

    /// Makes signals of `event` end a [`Reactor::wait`]: how peers wake this thread.
    pub fn watch(&mut self, event: EventFd) {
        self.doorbell = Some(event);
    }

    // ---- the turn -------------------------------------------------------------------------------

    /// Submits what was prepared, runs the kernel's pending work and collects what completed.
    ///
    /// # Errors
    /// Only what means a broken ring; the process cannot go on.
    pub fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        events.files.clear();
        events.net.clear();
        self.free_connections.append(&mut self.freed_connections);
        self.receive.publish();
        self.rearm_starved();
        self.enter(0)?;
        self.collect(events);
        Ok(())
    }

    /// Parks the thread until something completes, a deadline passes or the doorbell rings. Poll
    /// afterwards. See docs/decisions/0004-parking.md for why the thread parks here.
    ///
    /// # Errors
    /// As [`Reactor::poll`].
    pub fn wait(&mut self) -> io::Result<()> {
        if !self.doorbell_armed
            && let Some(doorbell) = &self.doorbell
        {
            let poll = opcode::PollAdd::new(Fd(doorbell.as_raw_fd()), libc::POLLIN as u32)
                .build()
                .user_data(user_data(KIND_WAKE, 0, 0));
            self.doorbell_armed = true;
            self.push(&poll);
        }
        self.receive.publish();
        self.rearm_starved();
        if self.backlog.is_empty() { self.enter(1) } else { self.enter(0) }
    }

    fn enter(&mut self, wanted: u32) -> io::Result<()> {
        let pending = {
            let mut queue = self.ring.submission();
            let mut moved = 0;
            while moved < self.backlog.len() && !queue.is_full() {
                // SAFETY: entries in the backlog were built by this module with memory that stays
                // valid until completion (the module's first invariant).
                unsafe { queue.push(&self.backlog[moved]) }.expect("the queue is not full");
                moved += 1;
            }
            self.backlog.drain(..moved);
            queue.sync();
            queue.len()
        };
        let submitter = self.ring.submitter();
        // SAFETY: no argument is passed, and the entries submitted obey the module's first invariant.
        let entered = unsafe {
            submitter.enter::<libc::sigset_t>(
                u32::try_from(pending).expect("a queue of 1024"),
                wanted,
                self.enter_flags,
                None,
            )
        };
        match entered {
            Ok(submitted) => {
                // The kernel stops at an entry that it cannot prepare: those behind it are read later.
                if self.backlog.is_empty() && submitted == pending {
                    self.timespecs.clear();
                }
                Ok(())
            }
            Err(error)
                if error.raw_os_error() == Some(libc::EINVAL)
                    && self.enter_flags & ENTER_NO_IOWAIT != 0 =>
            {
                // An older kernel: a parked core shows as waiting for I/O, which is harmless.
                self.enter_flags &= !ENTER_NO_IOWAIT;
                Ok(())
            }
            // EBUSY, EAGAIN: the completion queue is full or memory is short; collect and come again.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: every entry is built by this module with memory that stays valid until its
            // completion (the module's first invariant).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push(entry.clone());
    }

    fn collect(&mut self, events: &mut Events) {
        loop {
            let mut batch = [const { None }; 64];
            let mut count = 0;
            for entry in self.ring.completion() {
                batch[count] = Some(entry);
                count += 1;
                if count == batch.len() {
                    break;
                }
            }
            for entry in batch.iter().take(count).flatten() {
                self.complete(entry, events);
            }
            if count < batch.len() {
                return;
            }
        }
    }

    fn complete(&mut self, entry: &cqueue::Entry, events: &mut Events) {
        let data = entry.user_data();
        let index = data as u32;
        let generation = (data >> 32) as u32 & GENERATION_MASK;
        match data >> 56 {
            KIND_RECEIVE => self.received(index, generation, entry, events),
            KIND_FILE => self.file_done(index, entry.result(), events),
            KIND_ACCEPT => self.accepted(index, entry, events),
            KIND_WRITABLE => self.writable(index, generation, entry.result(), events),
            KIND_WAKE => {
                self.doorbell_armed = false;
                self.doorbell.as_ref().map(EventFd::drain);
            }
            KIND_ACCEPT_PAUSE => self.arm_accept(index),
            KIND_DEADLINE => {
                self.deadline = None;
                events.net.push(NetEvent::Deadline);
            }
            _ => {}
        }
    }

    // ---- sockets --------------------------------------------------------------------------------

    /// Accepts connections on `socket` from now on; events carry the number that is returned.
    pub fn listen(&mut self, socket: OwnedFd) -> u32 {
        let listener = u32::try_from(self.listeners.len()).expect("few listeners");
        self.listeners.push(socket);
        self.arm_accept(listener);
        listener
    }

    /// Stops accepting on all listeners (they stay bound until the reactor is dropped).
    pub fn stop_listening(&mut self) {
        for listener in 0..self.listeners.len() as u32 {
            let target = user_data(KIND_ACCEPT, 0, listener);
            let cancel = opcode::AsyncCancel::new(target).build();
            self.push(&cancel.user_data(user_data(KIND_CANCEL, 0, 0)));
        }
        self.listeners.clear();
    }

    fn arm_accept(&mut self, listener: u32) {
        let Some(socket) = self.listeners.get(listener as usize) else { return };
        let accept = opcode::AcceptMulti::new(Fd(socket.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(KIND_ACCEPT, 0, listener));
        self.push(&accept);
    }

    fn accepted(&mut self, listener: u32, entry: &cqueue::Entry, events: &mut Events) {
        let mut has_failed = false;
        if entry.result() >= 0 {
            // SAFETY: a successful accept gives a new descriptor that nobody else owns.
            let socket = unsafe { OwnedFd::from_raw_fd(entry.result()) };
            if self.has_room_for(&socket)
                && let Ok(peer) = socket::peer_address(&socket)
            {
                let connection = self.adopt(socket, peer);
                events.net.push(NetEvent::Accepted { listener, connection, peer });
            }
        } else {
            has_failed = self.failed_to_accept(-entry.result());
        }
        match cqueue::more(entry.flags()) {
            true => {}
            false if has_failed => self.arm_accept_later(listener),
            false => self.arm_accept(listener),
        }
    }

    /// Whether one connection more may be taken; a line says why not.
    fn has_room_for(&mut self, socket: &OwnedFd) -> bool {
        let connections_max = self.config.connections_max;
        let is_full = self.open_connections >= connections_max;
        // Descriptors are given out from below: all lower ones are taken.
        let is_short = socket.as_raw_fd() >= self.descriptors_end;
        if (is_full || is_short)
            && let Some(left_out) = self.turned_away.take(Clock.now().monotonic_ms())
        {
            if is_full {
                tracing::warn!(
                    connections_max,
                    left_out,
                    "connection closed: as many as allowed are open (ringmqConnectionsMax)"
                );
            } else {
                tracing::warn!(
                    left_out,
                    "connection closed: what is left of the limit of open files (RLIMIT_NOFILE) is for files; {OPEN_FILES_ADVICE}"
                );
            }
        }
        !is_full && !is_short
    }

    /// Whether it is to be tried again later only: the machine lacks something. At once it would find the
    /// same connection, and fail again.
    fn failed_to_accept(&mut self, errno: i32) -> bool {
        if matches!(errno, libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
            return false;
        }
        if let Some(left_out) = self.accept_failed.take(Clock.now().monotonic_ms()) {
            let error = io::Error::from_raw_os_error(errno);
            let advice = if matches!(errno, libc::EMFILE | libc::ENFILE) {
                OPEN_FILES_ADVICE
            } else {
                "those that are open are served"
            };
            tracing::warn!(%error, left_out, "accept failed, it is tried again: {advice}");
        }
        true
    }

    fn arm_accept_later(&mut self, listener: u32) {
        let pause = Box::new(Timespec::from(ACCEPT_PAUSE));
        let entry = opcode::Timeout::new(&raw const *pause).build();
        // Kept until the entry was submitted: the kernel copies the time then.
        self.timespecs.push(pause);
        self.push(&entry.user_data(user_data(KIND_ACCEPT_PAUSE, 0, listener)));
    }

    /// Takes over a connected socket; reading begins with the next poll.
    pub fn adopt(&mut self, socket: OwnedFd, peer: SocketAddr) -> ConnectionId {
        if let Err(error) = socket::set_no_delay(&socket) {
            tracing::debug!(%error, %peer, "TCP_NODELAY was refused");
        }
        let index = self.free_connections.pop().unwrap_or_else(|| {
            self.connections.push(Connection {
                socket: None,
                generation: 0,
                peer,
                reading: Reading::Idle,
                paused: false,
                writable_armed: false,
                closing: false,
            });
            self.connections.len() as u32 - 1
        });
        let slot = &mut self.connections[index as usize];
        slot.socket = Some(socket);
        slot.peer = peer;
        slot.paused = false;
        slot.closing = false;
        slot.reading = Reading::Starved;
        let connection =
            ConnectionId { index, generation: slot.generation, core: self.config.core };
        self.open_connections += 1;
        self.starved.push(connection);
        connection
    }

    /// Takes the socket of a connection out again, in the turn that accepted it.
    ///
    /// # Panics
    /// When reading has begun: bytes would be lost.
    pub fn take_socket(&mut self, connection: ConnectionId) -> OwnedFd {
        let slot = self.slot_mut(connection).expect("accepted in this turn");
        assert!(slot.reading == Reading::Starved, "reading has not begun");
        slot.reading = Reading::Idle;
        let socket = slot.socket.take().expect("an open slot has a socket");
        self.free_slot(connection.index);
        socket
    }

    fn slot(&self, connection: ConnectionId) -> Option<&Connection> {
        let slot = self.connections.get(connection.index())?;
        (slot.generation == connection.generation && !slot.closing && slot.socket.is_some())
            .then_some(slot)
    }

    fn slot_mut(&mut self, connection: ConnectionId) -> Option<&mut Connection> {
        self.slot(connection)?;
        self.connections.get_mut(connection.index())
    }

    fn arm_receive(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slot_mut(connection) else { return };
        if slot.paused || slot.reading == Reading::Armed {
            return;
        }
        slot.reading = Reading::Armed;
        let socket = slot.socket.as_ref().expect("an open slot has a socket").as_raw_fd();
        let receive = opcode::RecvMulti::new(Fd(socket), ReceiveBuffers::GROUP)
            .build()
            .user_data(user_data(KIND_RECEIVE, connection.generation, connection.index));
        self.push(&receive);
    }

    fn rearm_starved(&mut self) {
        if self.starved.is_empty() || !self.receive.has_free() {
            return;
        }
        for connection in std::mem::take(&mut self.starved) {
            self.arm_receive(connection);
        }
    }

    fn received(
        &mut self,
        index: u32,
        generation: u32,
        entry: &cqueue::Entry,
        events: &mut Events,
    ) {
        let result = entry.result();
        let received = cqueue::buffer_select(entry.flags())
            .map(|buffer| self.receive.taken(buffer, u32::try_from(result).unwrap_or(0)));
        let slot = &mut self.connections[index as usize];
        let core = self.config.core;
        let connection = ConnectionId { index, generation: slot.generation, core };
        if slot.generation & GENERATION_MASK != generation {
            // A slot is reused only when nothing is in flight, so this cannot be; keep the buffer safe.
            received.into_iter().for_each(|received| self.receive.release(received));
            return;
        }
        if !cqueue::more(entry.flags()) {
            slot.reading = Reading::Idle;
        }
        if slot.closing {
            received.into_iter().for_each(|received| self.receive.release(received));
            self.finish_close(index);
            return;
        }
        match (result, received) {
            (1.., Some(received)) => {
                events.net.push(NetEvent::Received { connection, received });
                self.arm_receive(connection);
            }
            (_, received) => {
                received.into_iter().for_each(|received| self.receive.release(received));
                match -result {
                    libc::ENOBUFS => {
                        self.receive.ran_out();
                        self.connections[index as usize].reading = Reading::Starved;
                        self.starved.push(connection);
                    }
                    libc::ECANCELED | libc::EINTR | libc::EAGAIN => self.arm_receive(connection),
                    0 => self.closed_by_peer(connection, None, events),
                    errno => {
                        let error = io::Error::from_raw_os_error(errno);
                        self.closed_by_peer(connection, Some(error), events);
                    }
                }
            }
        }
    }

    fn closed_by_peer(
        &mut self,
        connection: ConnectionId,
        error: Option<io::Error>,
        events: &mut Events,
    ) {
        events.net.push(NetEvent::Closed { connection, error });
        self.close(connection);
    }

    /// The bytes of a received event.
    pub fn bytes(&self, received: &Received) -> &[u8] {
        self.receive.bytes(received)
    }

    /// Gives the memory of a received event back to the kernel.
    pub fn release(&mut self, received: Received) {
        self.receive.release(received);
    }

    /// Where the other end of a connection is.
    pub fn peer(&self, connection: ConnectionId) -> Option<SocketAddr> {
        self.slot(connection).map(|slot| slot.peer)
    }

    /// Sends what the socket takes without waiting; 0 when it takes nothing now.
    ///
    /// # Errors
    /// The socket is broken (its Closed event follows) or the connection is not open.
    pub fn send(&mut self, connection: ConnectionId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slot = self.slot(connection).ok_or(io::ErrorKind::NotConnected)?;
        let socket = slot.socket.as_ref().expect("an open slot has a socket");
        let mut sent = 0;
        for batch in slices.chunks(SLICES_PER_SEND_MAX) {
            let wanted: usize = batch.iter().map(|slice| slice.len()).sum();
            let count = match send_slices(socket, batch) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(error) => return Err(error),
            };
            sent += count;
            if count < wanted {
                break;
            }
        }
        Ok(sent)
    }

    /// Asks for one Writable event when the socket takes bytes again.
    pub fn await_writable(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slot_mut(connection) else { return };
        if std::mem::replace(&mut slot.writable_armed, true) {
            return;
        }
        let socket = slot.socket.as_ref().expect("an open slot has a socket").as_raw_fd();
        let poll = opcode::PollAdd::new(Fd(socket), libc::POLLOUT as u32)
            .build()
            .user_data(user_data(KIND_WRITABLE, connection.generation, connection.index));
        self.push(&poll);
    }

    fn writable(&mut self, index: u32, generation: u32, result: i32, events: &mut Events) {
        let slot = &mut self.connections[index as usize];
        if slot.generation & GENERATION_MASK != generation {
            return;
        }
        slot.writable_armed = false;
        if slot.closing {
            self.finish_close(index);
        } else if result != -libc::ECANCELED {
            let core = self.config.core;
            let connection = ConnectionId { index, generation: slot.generation, core };
            events.net.push(NetEvent::Writable { connection });
        }
    }

    /// Stops reading from a connection; bytes that arrived already may still come as events.
    pub fn pause(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slot_mut(connection) else { return };
        if std::mem::replace(&mut slot.paused, true) || slot.reading != Reading::Armed {
            return;
        }
        let target = user_data(KIND_RECEIVE, connection.generation, connection.index);
        let cancel = opcode::AsyncCancel::new(target).build();
        self.push(&cancel.user_data(user_data(KIND_CANCEL, 0, 0)));
    }

    /// Reads from a paused connection again.
    pub fn resume(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slot_mut(connection) else { return };
        slot.paused = false;
        self.arm_receive(connection);
    }

    /// Closes a connection; no more events come for it.
    pub fn close(&mut self, connection: ConnectionId) {
        let Some(slot) = self.slot_mut(connection) else { return };
        slot.closing = true;
        let socket = slot.socket.as_ref().expect("an open slot has a socket");
        // Ends the operations in flight; an error means that the peer was first.
        rustix::net::shutdown(socket, rustix::net::Shutdown::Both).ok();
        if slot.reading == Reading::Starved {
            slot.reading = Reading::Idle;
        }
        self.finish_close(connection.index);
    }

    fn finish_close(&mut self, index: u32) {
        let slot = &mut self.connections[index as usize];
        if !slot.closing || slot.reading == Reading::Armed || slot.writable_armed {
            return;
        }
        slot.socket = None;
        slot.closing = false;
        self.free_slot(index);
    }

    fn free_slot(&mut self, index: u32) {
        let slot = &mut self.connections[index as usize];
        slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
        self.open_connections -= 1;
        self.freed_connections.push(index);
    }

    /// Connections that are open.
    pub fn open_connections(&self) -> u32 {
        self.open_connections
    }

    // ---- files ----------------------------------------------------------------------------------

    /// Puts a file into the ring's table, which has a reference of its own to it and takes no
    /// descriptor. `None`: the table is full.
    ///
    /// # Errors
    /// What the registration says.
    pub fn attach_file(&mut self, file: &DirectFile) -> io::Result<Option<FileSlot>> {
        use std::os::fd::AsFd;
        let free = self.files.iter().position(|slot| slot.is_free());
        let Some(index) = free else { return Ok(None) };
        let descriptor = file.as_fd().as_raw_fd();
        self.ring.submitter().register_files_update(index as u32, &[descriptor])?;
        self.files[index].is_attached = true;
        Ok(Some(FileSlot(index as u32)))
    }

    /// Takes a file out of the table, as soon as the operations on it that were started have ended.
    ///
    /// # Errors
    /// What the registration says.
    pub fn detach_file(&mut self, slot: FileSlot) -> io::Result<()> {
        let entry = &mut self.files[slot.0 as usize];
        assert!(std::mem::take(&mut entry.is_attached), "an attached file");
        if entry.is_free() { self.empty_slot(slot) } else { Ok(()) }
    }

    fn empty_slot(&mut self, slot: FileSlot) -> io::Result<()> {
        self.ring.submitter().register_files_update(slot.0, &[-1])?;
        Ok(())
    }

    /// Starts to write `range` of the log at `file_offset`. The range lies in one region, is aligned
    /// to the device's block and below the buffer's tail.
    pub fn write_log(
        &mut self,
        slot: FileSlot,
        file_offset: u64,
        buffer: &mut WriteBuffer,
        range: Range<u64>,
        sync: WriteSync,
        token: u64,
    ) {
        let registered = self.registered_region(buffer, range.start);
        let frozen = buffer.freeze(range.clone());
        let address = frozen.address();
        let len = u32::try_from(range.end - range.start).expect("at most a region");
        let rw_flags = if sync == WriteSync::Durable { libc::RWF_DSYNC } else { 0 };
        let operation = self.begin(slot, Operation::Write { token, range, _frozen: frozen });
        let file = Fixed(slot.0);
        let entry = match registered {
            Some(region) => opcode::WriteFixed::new(file, address, len, region)
                .offset(file_offset)
                .rw_flags(rw_flags)
                .build(),
            None => opcode::Write::new(file, address, len)
                .offset(file_offset)
                .rw_flags(rw_flags)
                .build(),
        };
        self.push(&entry.user_data(operation));
    }

    /// The registered buffer that holds `offset`, registering it when it is used for the first time.
    fn registered_region(&mut self, buffer: &mut WriteBuffer, offset: u64) -> Option<u16> {
        if self.fallbacks.plain_writes {
            return None;
        }
        let regions = buffer.regions();
        let region = buffer.region_of(offset);
        let address = buffer.region_address(region);
        if buffer.registration().is_none() {
            if self.regions_used as usize + regions > REGION_SLOTS as usize {
                return None;
            }
            let first_slot = self.regions_used;
            self.regions_used += regions as u32;
            *buffer.registration() =
                Some(Registration { first_slot, registered: vec![false; regions] });
        }
        let registration = buffer.registration().as_mut().expect("set above");
        let index = registration.first_slot + region as u32;
        if !registration.registered[region] {
            let vector =
                libc::iovec { iov_base: address.cast(), iov_len: WRITE_REGION_BYTES as usize };
            // SAFETY: the region lies in the buffer's mapping, which the kernel pins; it is only
            // read through it while a write is in flight, and writes keep the mapping alive.
            let done =
                unsafe { self.ring.submitter().register_buffers_update(index, &[vector], None) };
            if let Err(error) = done {
                tracing::warn!(%error, "log buffers cannot be registered, writing without: raise \
                     RLIMIT_MEMLOCK (LimitMEMLOCK=infinity in the systemd unit)");
                self.fallbacks.plain_writes = true;
                return None;
            }
            registration.registered[region] = true;
        }
        Some(u16::try_from(index).expect("REGION_SLOTS fit 16 bits"))
    }

    /// Starts to read into the whole buffer; [`FileEvent::Read`] gives it back.
    pub fn read_file(&mut self, slot: FileSlot, offset: u64, mut buffer: DirectBuffer, token: u64) {
        let address = buffer.address();
        let len = u32::try_from(buffer.size()).expect("small buffers");
        let operation = self.begin(slot, Operation::Read { token, buffer });
        let entry = opcode::Read::new(Fixed(slot.0), address, len).offset(offset).build();
        self.push(&entry.user_data(operation));
    }

    /// Starts an fdatasync.
    pub fn sync_file(&mut self, slot: FileSlot, token: u64) {
        let operation = self.begin(slot, Operation::Sync { token });
        let entry = opcode::Fsync::new(Fixed(slot.0)).flags(types::FsyncFlags::DATASYNC).build();
        self.push(&entry.user_data(operation));
    }

    fn begin(&mut self, slot: FileSlot, operation: Operation) -> u64 {
        let index = self.free_operations.pop().unwrap_or_else(|| {
            self.operations.push(None);
            self.operations.len() as u32 - 1
        });
        self.operations[index as usize] = Some((slot, operation));
        let entry = &mut self.files[slot.0 as usize];
        assert!(entry.is_attached, "an attached file");
        entry.in_flight += 1;
        user_data(KIND_FILE, 0, index)
    }

    fn file_done(&mut self, index: u32, result: i32, events: &mut Events) {
        let (slot, operation) = self.operations[index as usize].take().expect("completes once");
        self.free_operations.push(index);
        self.file_used(slot);
        let outcome = if result < 0 {
            Err(io::Error::from_raw_os_error(-result))
        } else {
            Ok(result as usize)
        };
        events.files.push(match operation {
            Operation::Write { token, range, .. } => {
                let wanted = (range.end - range.start) as usize;
                let result = outcome.and_then(|count| {
                    if count == wanted { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
                });
                FileEvent::Wrote { token, range, result }
            }
            Operation::Read { token, buffer } => FileEvent::Read { token, buffer, result: outcome },
            Operation::Sync { token } => FileEvent::Synced { token, result: outcome.map(|_| ()) },
        });
    }

    /// An operation on a file ended; the slot of one that was detached before is emptied with the last.
    fn file_used(&mut self, slot: FileSlot) {
        let entry = &mut self.files[slot.0 as usize];
        entry.in_flight -= 1;
        if entry.is_free()
            && let Err(error) = self.empty_slot(slot)
        {
            tracing::warn!(%error, "a file stays open until its place in the ring's table is taken");
        }
    }

    /// File operations in flight.
    pub fn file_operations(&self) -> usize {
        self.operations.len() - self.free_operations.len()
    }

    // ---- time -----------------------------------------------------------------------------------

    /// Asks for a Deadline event at this reading of CLOCK_MONOTONIC, unless an earlier one is set.
    pub fn wake_at(&mut self, monotonic_ns: u64) {
        if self.deadline.is_some_and(|deadline| deadline <= monotonic_ns) {
            return;
        }
        self.deadline = Some(monotonic_ns);
        let at = Timespec::new()
            .sec(monotonic_ns / 1_000_000_000)
            .nsec((monotonic_ns % 1_000_000_000) as u32);
        let at = Box::new(at);
        let entry = opcode::Timeout::new(&raw const *at)
            .flags(types::TimeoutFlags::ABS)
            .build()
            .user_data(user_data(KIND_DEADLINE, 0, 0));
        // Kept until the entry was submitted: the kernel copies the time then.
        self.timespecs.push(at);
        self.push(&entry);
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Memory of operations in flight must outlive them: closing the ring cancels and waits, but
        // what the kernel may still hold is not given back to the allocator.
        for operation in self.operations.iter_mut().filter_map(Option::take) {
            std::mem::forget(operation);
        }
    }
}

/// As many slots as the ring's file table may have: the kernel wants RLIMIT_NOFILE not to be below.
fn table_slots() -> u32 {
    let limit = crate::probe::open_files().soft.and_then(|limit| u32::try_from(limit).ok());
    let wanted = FILE_SLOTS + FILE_SLOTS_LINGERING_MAX;
    limit.map_or(wanted, |limit| limit.clamp(FILE_SLOTS, wanted))
}

/// Where the descriptors that connections may take end.
fn descriptors_end() -> i32 {
    let limit = crate::probe::open_files().soft.unwrap_or(u64::MAX);
    i32::try_from(limit - limit / FILES_PART).unwrap_or(i32::MAX)
}

fn send_slices(socket: &OwnedFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: a msghdr of zeros is a valid empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // IoSlice is guaranteed to have the layout of iovec, and sendmsg only reads through it.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    loop {
        // SAFETY: `message` points to `slices`, which outlive the call.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, flags) };
        if let Ok(sent) = usize::try_from(sent) {
            return Ok(sent);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// The limits that a ring meets first, in the operator's words.
fn with_advice(error: io::Error) -> io::Error {
    let advice = match error.raw_os_error() {
        Some(libc::ENOMEM) => {
            "raise the limit of locked memory: systemd LimitMEMLOCK=infinity, docker --ulimit memlock=-1"
        }
        Some(libc::EMFILE) => OPEN_FILES_ADVICE,
        _ => return error,
    };
    io::Error::new(error.kind(), format!("make the ring of a thread: {error}; {advice}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::file::OpenMode;

    fn reactor() -> Reactor {
        Reactor::new(ReactorConfig { core: 0, connections_max: 2 }).expect("io_uring")
    }

    /// Polls until `found` gives something, for at most some seconds of polls.
    fn until<T>(
        reactor: &mut Reactor,
        mut found: impl FnMut(&mut Reactor, &mut Events) -> Option<T>,
    ) -> T {
        let mut events = Events::default();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while std::time::Instant::now() < deadline {
            reactor.poll(&mut events).expect("poll");
            if let Some(result) = found(reactor, &mut events) {
                return result;
            }
        }
        panic!("nothing came");
    }

    #[test]
    fn bytes_go_in_and_come_back() {
        let mut reactor = reactor();
        let listener = socket::listen("127.0.0.1:0".parse().expect("address")).expect("listen");
        let address = socket::local_address(&listener).expect("bound");
        reactor.listen(listener);
        let mut client = TcpStream::connect(address).expect("connect");
        client.write_all(&[7; 200_000]).expect("write");
        let mut got = 0;
        let connection = until(&mut reactor, |reactor, events| {
            let mut last = None;
            for event in events.net.drain(..) {
                if let NetEvent::Received { connection, received } = event {
                    assert!(reactor.bytes(&received).iter().all(|byte| *byte == 7));
                    got += received.len();
                    reactor.release(received);
                    last = Some(connection);
                }
            }
            last.filter(|_| got == 200_000)
        });
        let sent = reactor.send(connection, &[IoSlice::new(b"ab"), IoSlice::new(b"cd")]);
        assert_eq!(sent.expect("send"), 4);
        let mut answer = [0; 4];
        client.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"abcd");
        drop(client);
        let closed = until(&mut reactor, |_, events| {
            events.net.drain(..).find_map(|event| match event {
                NetEvent::Closed { connection, .. } => Some(connection),
                _ => None,
            })
        });
        assert_eq!(closed, connection);
        assert!(reactor.peer(connection).is_none());
        assert_eq!(reactor.open_connections(), 0);
    }

    /// Whoever adopts one before it looks at the events of the poll would take the end of the old one for none.
    #[test]
    fn the_slot_of_a_closed_connection_is_free_after_the_next_poll() {
        let mut reactor = reactor();
        let listener = socket::listen("127.0.0.1:0".parse().expect("address")).expect("listen");
        let address = socket::local_address(&listener).expect("bound");
        reactor.listen(listener);
        drop(TcpStream::connect(address).expect("connect"));
        let closed = until(&mut reactor, |_, events| {
            events.net.drain(..).find_map(|event| match event {
                NetEvent::Closed { connection, .. } => Some(connection),
                _ => None,
            })
        });
        let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let elsewhere = other.local_addr().expect("bound");
        let socket = || OwnedFd::from(TcpStream::connect(elsewhere).expect("connect"));
        let adopted = reactor.adopt(socket(), address);
        assert_ne!(adopted.index(), closed.index());
        reactor.poll(&mut Events::default()).expect("poll");
        let adopted = reactor.adopt(socket(), address);
        assert_eq!(adopted.index(), closed.index());
        assert_ne!(adopted, closed);
    }

    #[test]
    fn connections_above_the_limit_are_closed() {
        let mut reactor = reactor();
        let listener = socket::listen("127.0.0.1:0".parse().expect("address")).expect("listen");
        let address = socket::local_address(&listener).expect("bound");
        reactor.listen(listener);
        let _kept = [TcpStream::connect(address), TcpStream::connect(address)];
        let mut third = TcpStream::connect(address).expect("connect");
        let mut accepted = 0;
        until(&mut reactor, |_, events| {
            accepted +=
                events.net.drain(..).filter(|e| matches!(e, NetEvent::Accepted { .. })).count();
            (accepted == 2).then_some(())
        });
        third.set_read_timeout(Some(std::time::Duration::from_secs(5))).expect("timeout");
        until(&mut reactor, |_, _| Some(()));
        assert_eq!(third.read(&mut [0; 1]).expect("closed in order"), 0);
    }

    #[test]
    fn log_bytes_reach_the_file_and_are_read_back() {
        let directory = tempfile::tempdir_in(".").expect("temporary directory");
        let path = directory.path().join("segment");
        let file = DirectFile::open(&path, OpenMode::OrCreate).expect("O_DIRECT");
        file.allocate(WRITE_REGION_BYTES).expect("space");
        let mut reactor = reactor();
        let slot = reactor.attach_file(&file).expect("register").expect("room");
        let mut buffer = WriteBuffer::new(WRITE_REGION_BYTES, 0).expect("memory");
        buffer.append(8192, |memory| memory.fill(9));
        reactor.write_log(slot, 0, &mut buffer, 0..8192, WriteSync::Durable, 5);
        assert_eq!(buffer.writes_in_flight(), 1);
        let range = until(&mut reactor, |_, events| {
            events.files.drain(..).find_map(|event| match event {
                FileEvent::Wrote { token: 5, range, result } => {
                    result.expect("write");
                    Some(range)
                }
                _ => None,
            })
        });
        buffer.thaw(&range);
        reactor.read_file(slot, 4096, DirectBuffer::new(4096).expect("memory"), 6);
        let read = until(&mut reactor, |_, events| {
            events.files.drain(..).find_map(|event| match event {
                FileEvent::Read { token: 6, buffer, result } => {
                    assert_eq!(result.expect("read"), 4096);
                    Some(buffer)
                }
                _ => None,
            })
        });
        assert!(read.bytes().iter().all(|byte| *byte == 9));
        assert_eq!(reactor.file_operations(), 0);
    }

    #[test]
    fn what_was_started_on_a_file_reaches_it_though_it_was_detached() {
        let directory = tempfile::tempdir_in(".").expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        let make = |name| {
            let file = DirectFile::open(&path(name), OpenMode::OrCreate).expect("O_DIRECT");
            file.allocate(8192).expect("space");
            file
        };
        let (first, second) = (make("first"), make("second"));
        let mut reactor = reactor();
        let mut buffer = WriteBuffer::new(WRITE_REGION_BYTES, 0).expect("memory");
        buffer.append(4096, |memory| memory.fill(9));
        let slot = reactor.attach_file(&first).expect("register").expect("room");
        reactor.write_log(slot, 0, &mut buffer, 0..4096, WriteSync::Durable, 1);
        reactor.read_file(slot, 4096, DirectBuffer::new(4096).expect("memory"), 2);
        reactor.sync_file(slot, 3);
        reactor.detach_file(slot).expect("attached");
        let other = reactor.attach_file(&second).expect("register").expect("room");
        assert_ne!(other, slot, "operations on the first file are not submitted yet");
        until(&mut reactor, |reactor, _| (reactor.file_operations() == 0).then_some(()));
        assert!(std::fs::read(path("first")).expect("a file")[..4096] == [9; 4096]);
        assert!(std::fs::read(path("second")).expect("a file") == [0; 8192]);
        // None of them is in flight any more.
        let again = reactor.attach_file(&first).expect("register").expect("room");
        assert_eq!(again, slot);
        reactor.detach_file(again).expect("attached");
        assert_eq!(reactor.attach_file(&first).expect("register"), Some(slot));
    }

    #[test]
    fn a_parked_thread_is_woken_by_its_doorbell_and_by_deadlines() {
        let mut reactor = reactor();
        let doorbell = EventFd::new().expect("eventfd");
        reactor.watch(doorbell.try_clone().expect("second handle"));
        let mut events = Events::default();
        for _ in 0..3 {
            let ringer = doorbell.try_clone().expect("second handle");
            let thread = std::thread::spawn(move || ringer.signal());
            reactor.wait().expect("wait");
            reactor.poll(&mut events).expect("poll");
            assert!(events.is_empty());
            thread.join().expect("rang");
        }
        reactor.wake_at(1);
        until(&mut reactor, |reactor, events| {
            let passed = events.net.drain(..).find(|event| matches!(event, NetEvent::Deadline));
            if passed.is_none() {
                reactor.wait().expect("wait");
            }
            passed
        });
    }

    #[test]
    fn deadline_passes() {
        let mut reactor = reactor();
        reactor.wake_at(1);
        until(&mut reactor, |_, events| {
            events.net.drain(..).find(|event| matches!(event, NetEvent::Deadline))
        });
    }
}
