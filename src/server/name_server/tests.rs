//! The loop over sockets that take as much as a test says: who does not read, and who sends in part.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::ops::Range;

use proto::body::{DataVersion, TopicConfig};
use proto::code::request;
use proto::frame::{Encoding, Scan, scan};
use proto::reply::{RequestHead, write_request};
use runtime::file::DirectFile;
use runtime::{DirectBuffer, FileSlot, WriteBuffer, WriteSync};

use super::*;
use crate::broker::registration::{BrokerIdentity, write_registration};
use crate::net::limits::{BACKLOG_BYTES_PAUSE, FRAME_BYTES_MAX};

/// Topics that the list names: an answer has 300 KiB.
const TOPICS: usize = 3_000;

/// Bytes that frames in part may have in these tests.
const ASSEMBLING_BYTES_MAX: usize = 1 << 20;

/// The other end of a connection.
#[derive(Default)]
struct Peer {
    /// Bytes that the socket takes yet.
    window: usize,
    taken: Vec<u8>,
    /// Most that was ever to be sent to it at once.
    offered_max: usize,
    wants_writable: bool,
    is_paused: bool,
    is_closed: bool,
}

/// Sockets without a network.
#[derive(Default)]
struct Wire {
    peers: Vec<Peer>,
    buffers: Vec<Vec<u8>>,
    ready: Vec<NetEvent>,
}

fn server() -> Loop<Wire> {
    let limits = ConnectionLimits {
        connections_max: 100,
        idle_ms: 120_000,
        assembling_bytes_max: ASSEMBLING_BYTES_MAX,
    };
    Loop::new(Wire::default(), NOW, Beginning::default(), limits)
}

const NOW: Now = Now { wall_ms: 1_795_341_911_000, monotonic_ns: 7_000_000_000 };

impl Loop<Wire> {
    fn connect(&mut self, window: usize) -> ConnectionId {
        let connection = ConnectionId::from_bits(self.ring.peers.len() as u64);
        self.ring.peers.push(Peer { window, ..Peer::default() });
        let peer = SocketAddr::from(([127, 0, 0, 1], 2));
        self.ring.ready.push(NetEvent::Accepted { listener: 0, connection, peer });
        connection
    }

    /// Bytes arrive; nobody has looked at them yet.
    fn receive_bytes(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let buffer = self.ring.buffers.len() as u16;
        self.ring.buffers.push(bytes.to_vec());
        let received = Received::new(buffer, bytes.len() as u32);
        self.ring.ready.push(NetEvent::Received { connection, received });
    }

    /// Turns until the thread would park.
    fn run(&mut self) {
        while self.step(NOW).unwrap() {}
    }

    fn peer(&mut self, connection: ConnectionId) -> &mut Peer {
        &mut self.ring.peers[connection.index()]
    }

    /// The client reads what has come; its socket takes as many bytes more.
    fn read(&mut self, connection: ConnectionId) -> Vec<u8> {
        let peer = self.peer(connection);
        let bytes = std::mem::take(&mut peer.taken);
        peer.window += bytes.len();
        if std::mem::take(&mut peer.wants_writable) {
            self.ring.ready.push(NetEvent::Writable { connection });
        }
        self.run();
        bytes
    }

    /// Registers the topics, over a connection that stays.
    fn register(&mut self) {
        let broker = self.connect(usize::MAX);
        let topic = |number| TopicConfig {
            topic_name: format!("{number:0>90}"),
            read_queue_nums: 1,
            write_queue_nums: 1,
            ..TopicConfig::default()
        };
        let topics: Vec<_> = (0..TOPICS).map(topic).collect();
        let identity = BrokerIdentity {
            cluster: "c".to_owned(),
            name: "b".to_owned(),
            id: 0,
            address: "10.0.0.1:10911".to_owned(),
            ha_address: "10.0.0.1:10912".to_owned(),
        };
        let mut frame = Vec::new();
        write_registration(&mut frame, &identity, 1, &topics, DataVersion::default());
        self.receive_bytes(broker, &frame);
        self.run();
        assert_eq!(self.name_server.figures(0).1, TOPICS);
    }
}

/// Requests for the list of all topics.
fn lists(opaques: Range<i32>) -> Vec<u8> {
    let mut out = Vec::new();
    for opaque in opaques {
        let head =
            RequestHead { code: request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, opaque, flag: 0 };
        write_request(&mut out, Encoding::Json, &head, None, b"");
    }
    out
}

/// A request that nobody knows: its answer is short.
fn short(opaque: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let head = RequestHead { code: 9999, opaque, flag: 0 };
    write_request(&mut out, Encoding::Json, &head, None, b"");
    out
}

/// The numbers of whole answers, which go out of `bytes`.
fn opaques(bytes: &mut Vec<u8>) -> Vec<i32> {
    let (mut at, mut found) = (0, Vec::new());
    while let Ok(Scan::Frame { frame, size_bytes }) = scan(&bytes[at..], FRAME_BYTES_MAX) {
        found.push(Command::decode(&frame).unwrap().opaque);
        at += size_bytes;
    }
    bytes.drain(..at);
    found
}

#[test]
fn who_does_not_read_is_not_asked_further_and_gets_all_answers_later() {
    let mut server = server();
    server.register();
    let greedy = server.connect(100_000);
    server.receive_bytes(greedy, &lists(0..60));
    server.receive_bytes(greedy, &lists(60..70));
    server.run();
    assert!(server.requests < 10, "{} were handled", server.requests);
    assert!(server.peer(greedy).is_paused);
    assert!(server.assembling_bytes > 0);
    // What was on its way when reading ended, cut.
    let rest = lists(70..100);
    for part in rest.chunks(1000) {
        server.receive_bytes(greedy, part);
    }
    let other = server.connect(usize::MAX);
    server.receive_bytes(other, &short(7));
    server.run();
    assert_eq!(opaques(&mut server.read(other)), [7], "others are answered");

    let (mut bytes, mut answered) = (Vec::new(), Vec::new());
    while answered.len() < 100 {
        let more = server.read(greedy);
        assert!(!more.is_empty(), "{} answers came", answered.len());
        bytes.extend(more);
        answered.extend(opaques(&mut bytes));
    }
    assert_eq!(answered, Vec::from_iter(0..100), "each once, in order");
    let offered_max = server.peer(greedy).offered_max;
    assert!(offered_max < BACKLOG_BYTES_PAUSE + 2 * 100 * TOPICS, "{offered_max} bytes");
    assert_eq!((server.assembling_bytes, server.held.len()), (0, 0));
    assert!(!server.peer(greedy).is_paused, "it is read from again");
    server.receive_bytes(greedy, &short(100));
    server.run();
    assert_eq!(opaques(&mut server.read(greedy)), [100]);
}

/// No Writable event comes then: the turns go on by themselves.
#[test]
fn what_is_held_goes_on_when_the_socket_takes_all_at_once() {
    let mut server = server();
    server.register();
    let quick = server.connect(usize::MAX);
    let mut requests = lists(0..50);
    requests.extend(&short(50)[..10]);
    server.receive_bytes(quick, &requests);
    assert!(server.step(NOW).unwrap());
    assert!(server.peer(quick).is_paused, "nothing more is read before these are answered");
    server.run();
    assert!(!server.peer(quick).is_paused);
    assert_eq!(server.assembling_bytes, 10, "the beginning of the last");
    server.receive_bytes(quick, &short(50)[10..]);
    server.run();
    let mut bytes = std::mem::take(&mut server.peer(quick).taken);
    assert_eq!(opaques(&mut bytes), Vec::from_iter(0..51));
    assert!(server.peer(quick).offered_max < BACKLOG_BYTES_PAUSE + 2 * 100 * TOPICS);
}

#[test]
fn frames_in_part_beyond_the_limit_cost_only_the_connection_that_brings_them() {
    let mut server = server();
    let whole = |opaque, size| {
        let mut frame = Vec::new();
        let head = RequestHead { code: 9999, opaque, flag: 0 };
        write_request(&mut frame, Encoding::Json, &head, None, &vec![b'x'; size]);
        frame
    };
    let (early, late, other) =
        (server.connect(usize::MAX), server.connect(usize::MAX), server.connect(usize::MAX));
    let frame = whole(1, ASSEMBLING_BYTES_MAX);
    let (begin, end) = frame.split_at(ASSEMBLING_BYTES_MAX - 1000);
    server.receive_bytes(early, begin);
    server.receive_bytes(late, &whole(2, 2000)[..900]);
    server.run();
    assert!(!server.peer(late).is_closed, "no more than the limit");
    server.receive_bytes(late, &[b'x'; 200]);
    server.run();
    assert!(server.peer(late).is_closed);
    server.receive_bytes(other, &short(3));
    server.receive_bytes(early, end);
    server.run();
    assert_eq!(opaques(&mut server.read(other)), [3]);
    assert_eq!(opaques(&mut server.read(early)), [1]);
    assert_eq!(server.assembling_bytes, 0, "closed and complete ones are not counted");
}

/// Held requests are bytes that wait, too, and are not counted any more when their connection is gone.
#[test]
fn held_requests_beyond_the_limit_cost_their_connection() {
    let mut server = server();
    server.register();
    let greedy = server.connect(0);
    let requests = lists(0..1_000);
    while !server.peer(greedy).is_closed {
        assert!(server.assembling_bytes <= ASSEMBLING_BYTES_MAX);
        server.receive_bytes(greedy, &requests);
        server.run();
    }
    assert_eq!((server.assembling_bytes, server.held.len()), (0, 0));
    let other = server.connect(usize::MAX);
    server.receive_bytes(other, &short(1));
    server.run();
    assert_eq!(opaques(&mut server.read(other)), [1]);
}

impl Ring for Wire {
    type File = DirectFile;
    type Listener = ();
    type Socket = ();

    fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        events.net.clear();
        events.net.append(&mut self.ready);
        Ok(())
    }

    fn open_connections(&self) -> u32 {
        self.peers.len() as u32
    }

    fn bytes(&self, received: &Received) -> &[u8] {
        &self.buffers[usize::from(received.buffer())]
    }

    fn release(&mut self, received: Received) {
        self.buffers[usize::from(received.buffer())] = Vec::new();
    }

    fn send(&mut self, connection: ConnectionId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let peer = &mut self.peers[connection.index()];
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        peer.offered_max = peer.offered_max.max(offered);
        let before = peer.window;
        for slice in slices {
            let len = slice.len().min(peer.window);
            peer.taken.extend_from_slice(&slice[..len]);
            peer.window -= len;
        }
        Ok(before - peer.window)
    }

    fn await_writable(&mut self, connection: ConnectionId) {
        self.peers[connection.index()].wants_writable = true;
    }

    fn pause(&mut self, connection: ConnectionId) {
        self.peers[connection.index()].is_paused = true;
    }

    fn resume(&mut self, connection: ConnectionId) {
        self.peers[connection.index()].is_paused = false;
    }

    fn close(&mut self, connection: ConnectionId) {
        self.peers[connection.index()].is_closed = true;
    }

    fn wake_at(&mut self, _: u64) {}

    fn listen(&mut self, (): ()) -> u32 {
        0
    }

    fn stop_listening(&mut self) {}

    fn take_socket(&mut self, _: ConnectionId) {}

    fn adopt(&mut self, (): (), _: SocketAddr) -> ConnectionId {
        unreachable!("a NameServer has one thread")
    }

    fn attach_file(&mut self, _: &DirectFile) -> io::Result<Option<FileSlot>> {
        unreachable!("a NameServer has no files on its ring")
    }

    fn detach_file(&mut self, _: FileSlot) -> io::Result<()> {
        unreachable!("as above")
    }

    fn write_log(
        &mut self,
        _: FileSlot,
        _: u64,
        _: &mut WriteBuffer,
        _: Range<u64>,
        _: WriteSync,
        _: u64,
    ) {
        unreachable!("as above")
    }

    fn read_file(&mut self, _: FileSlot, _: u64, _: DirectBuffer, _: u64) {
        unreachable!("as above")
    }

    fn sync_file(&mut self, _: FileSlot, _: u64) {
        unreachable!("as above")
    }
}
