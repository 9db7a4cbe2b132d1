//! Registering with real NameServers on loopback that restart, forget, keep silent, talk nonsense.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use glommio::{LocalExecutorBuilder, Placement};
use proto::body::TopicRouteData;
use proto::command::{Command, FLAG_ONEWAY};
use proto::frame::{Frame, Scan, scan};
use proto::reply::{ResponseHead, write_response};

use super::*;
use crate::namesrv::{Beginning, ConnectionKey, NameServer};

/// Enough for an answer on loopback on a busy machine, short enough to wait for in vain.
const PATIENCE: Duration = Duration::from_secs(2);

/// A NameServer on a port of its own, until the process ends.
struct Place {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    server: NameServer,
    connections: Vec<TcpStream>,
}

impl Place {
    fn start() -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared { server: empty(), connections: Vec::new() }));
        let serving = shared.clone();
        thread::spawn(move || {
            for (stream, key) in listener.incoming().zip(1..) {
                let (stream, shared) = (stream.unwrap(), serving.clone());
                lock(&shared).connections.push(stream.try_clone().unwrap());
                thread::spawn(move || serve(stream, ConnectionKey(key), &shared));
            }
        });
        Place { address, shared }
    }

    /// As a new process: nothing is known, no connection is left.
    fn restart(&self) {
        let mut shared = lock(&self.shared);
        for connection in shared.connections.drain(..) {
            connection.shutdown(Shutdown::Both).unwrap();
        }
        shared.server = empty();
    }

    /// The connections stay.
    fn forget(&self) {
        lock(&self.shared).server = empty();
    }

    /// How many queues of the topic the route shows; none without a route.
    fn queues(&self, topic: &str) -> Option<i32> {
        let mut request = Vec::new();
        let head = RequestHead { code: request::GET_ROUTEINFO_BY_TOPIC, opaque: 0, flag: 0 };
        write_request(&mut request, Encoding::Json, &head, Some(&[("topic", topic)]), b"");
        let answer = lock(&self.shared).answer(ConnectionKey(0), &frame_of(&request));
        let answer = frame_of(&answer);
        if Command::decode(&answer).unwrap().code == response::TOPIC_NOT_EXIST {
            return None;
        }
        let route = TopicRouteData::parse(answer.body).unwrap();
        assert_eq!(route.broker_datas[0].broker_addrs[&0], "10.0.0.1:10911");
        Some(route.queue_datas[0].read_queue_nums)
    }
}

impl Shared {
    fn answer(&mut self, key: ConnectionKey, frame: &Frame<'_>) -> Vec<u8> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let command = Command::decode(frame).unwrap();
        let mut out = Vec::new();
        self.server.handle(0, key, peer, &command, frame.body, &mut out);
        out
    }
}

fn empty() -> NameServer {
    NameServer::new(0, Beginning::default())
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap()
}

fn serve(mut stream: TcpStream, key: ConnectionKey, shared: &Mutex<Shared>) {
    while let Some(request) = read_frame(&mut stream) {
        let answer = lock(shared).answer(key, &frame_of(&request));
        if stream.write_all(&answer).is_err() {
            break;
        }
    }
    lock(shared).server.connection_closed(0, key);
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let total = u32::from_be_bytes(frame[..4].try_into().unwrap());
    frame.resize(4 + total as usize, 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

fn frame_of(bytes: &[u8]) -> Frame<'_> {
    match scan(bytes, FRAME_BYTES_MAX) {
        Ok(Scan::Frame { frame, size_bytes }) if size_bytes == bytes.len() => frame,
        other => panic!("{other:?}"),
    }
}

/// A peer that takes one request on each connection and does `act`, given its opaque.
fn peer(act: impl Fn(&mut TcpStream, i32) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read_frame(&mut stream).unwrap();
            act(&mut stream, Command::decode(&frame_of(&request)).unwrap().opaque);
            // Until the registrar closes.
            let _ = stream.read(&mut [0]);
        }
    });
    address
}

/// An address at which nobody listens any more.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn identity() -> BrokerIdentity {
    BrokerIdentity {
        cluster: "DefaultCluster".to_owned(),
        name: "broker-a".to_owned(),
        id: 0,
        address: "10.0.0.1:10911".to_owned(),
        ha_address: "10.0.0.1:10912".to_owned(),
    }
}

fn registrar(name_servers: &[SocketAddr]) -> Registrar {
    let name_servers = name_servers.iter().map(SocketAddr::to_string).collect();
    let mut registrar = Registrar::new(identity(), name_servers);
    registrar.patience = Patience { connect: PATIENCE, answer: PATIENCE, unregister: PATIENCE };
    registrar
}

fn topics(queues: &[(&str, i32)]) -> Vec<TopicConfig> {
    let topic = |(name, count): &(&str, i32)| TopicConfig {
        topic_name: (*name).to_owned(),
        read_queue_nums: *count,
        write_queue_nums: *count,
        ..TopicConfig::default()
    };
    queues.iter().map(topic).collect()
}

fn version(counter: i64) -> DataVersion {
    DataVersion { counter, state_version: 0, timestamp: 1 }
}

fn run<T: 'static>(test: impl Future<Output = T> + 'static) -> T {
    let builder = LocalExecutorBuilder::new(Placement::Unbound);
    builder.io_memory(64 << 10).ring_depth(64).make().unwrap().run(test)
}

fn texts(errors: &[RegistrationError]) -> Vec<String> {
    errors.iter().map(|error| error.failure.to_string()).collect()
}

const UNKNOWN: &str = "it does not know this broker: the whole topic table must be sent";

#[test]
fn registered_topics_are_in_the_route() {
    run(async {
        let places = [Place::start(), Place::start()];
        let mut registrar = registrar(&places.each_ref().map(|place| place.address));
        let whole = topics(&[("T", 4), ("U", 8)]);
        let errors = registrar.register(&whole, Coverage::Whole, version(1)).await;
        assert_eq!(texts(&errors), [""; 0]);
        let change = topics(&[("U", 16), ("V", 2)]);
        let errors = registrar.register(&change, Coverage::Changed, version(2)).await;
        assert_eq!(texts(&errors), [""; 0]);
        for place in &places {
            let queues = ["T", "U", "V", "W"].map(|topic| place.queues(topic));
            assert_eq!(queues, [Some(4), Some(16), Some(2), None]);
            assert_eq!(lock(&place.shared).connections.len(), 1);
        }
        assert_eq!(texts(&registrar.unregister().await), [""; 0]);
        for place in &places {
            assert_eq!(place.queues("T"), None);
        }
        // It knows nobody any more: nothing to be done, and nothing that fails.
        assert_eq!(texts(&registrar.unregister().await), [""; 0]);
        let errors = registrar.register(&whole, Coverage::Whole, version(3)).await;
        assert_eq!(texts(&errors), [""; 0]);
        assert_eq!(places[1].queues("T"), Some(4));
    });
}

#[test]
fn restarted_name_server_is_told_everything_again() {
    run(async {
        let place = Place::start();
        let mut registrar = registrar(&[place.address]);
        let (whole, change) = (topics(&[("T", 4), ("U", 8)]), topics(&[("V", 4), ("W", 8)]));
        assert!(registrar.register(&whole, Coverage::Whole, version(1)).await.is_empty());
        place.restart();
        assert_eq!(place.queues("T"), None);
        assert!(registrar.register(&whole, Coverage::Whole, version(1)).await.is_empty());
        assert_eq!(place.queues("T"), Some(4));
        place.restart();
        for _ in 0..2 {
            let errors = registrar.register(&change, Coverage::Changed, version(2)).await;
            assert_eq!(texts(&errors), [UNKNOWN]);
            assert_eq!(place.queues("V"), None);
        }
        assert!(registrar.register(&whole, Coverage::Whole, version(2)).await.is_empty());
        assert!(registrar.register(&change, Coverage::Changed, version(3)).await.is_empty());
        assert_eq!([place.queues("U"), place.queues("V")], [Some(8), Some(4)]);
    });
}

#[test]
fn change_never_comes_before_the_whole_table() {
    run(async {
        let place = Place::start();
        let mut registrar = registrar(&[place.address]);
        let change = topics(&[("T", 4)]);
        let errors = registrar.register(&change, Coverage::Changed, version(1)).await;
        assert_eq!(texts(&errors), [UNKNOWN]);
        let whole = topics(&[("T", 4), ("U", 4)]);
        assert!(registrar.register(&whole, Coverage::Whole, version(1)).await.is_empty());
        // The connection stands, but another one's request made the NameServer forget the broker.
        place.forget();
        for _ in 0..2 {
            let errors = registrar.register(&change, Coverage::Changed, version(2)).await;
            assert_eq!(texts(&errors), [UNKNOWN]);
        }
        assert!(registrar.register(&whole, Coverage::Whole, version(2)).await.is_empty());
        assert!(registrar.register(&change, Coverage::Changed, version(3)).await.is_empty());
        assert_eq!(place.queues("T"), Some(4));
    });
}

#[test]
fn whole_table_of_one_topic_is_refused() {
    run(async {
        let place = Place::start();
        let mut registrar = registrar(&[place.address]);
        let errors = registrar.register(&topics(&[("T", 4)]), Coverage::Whole, version(1)).await;
        assert_eq!(texts(&errors), ["it refuses with code 1: register broker failed"]);
    });
}

#[test]
fn name_server_that_fails_costs_the_others_nothing() {
    run(async {
        let place = Place::start();
        let silent = peer(|_, _| {});
        let nonsense = peer(|stream, _| stream.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap());
        let rude = peer(|stream, _| stream.shutdown(Shutdown::Both).unwrap());
        let mut registrar = registrar(&[silent, nobody(), place.address, nonsense, rude]);
        let whole = topics(&[("T", 4), ("U", 8)]);
        for _ in 0..2 {
            let errors = registrar.register(&whole, Coverage::Whole, version(1)).await;
            assert_eq!(place.queues("T"), Some(4));
            let failed = |at: &SocketAddr| {
                let address = at.to_string();
                let error = errors.iter().find(|error| error.name_server == address);
                error.unwrap().failure.to_string()
            };
            assert_eq!(errors.len(), 4);
            assert_eq!(failed(&silent), format!("no answer within {PATIENCE:?}"));
            assert!(failed(&nonsense).starts_with("it speaks another protocol: "));
            assert_eq!(failed(&rude), "the connection broke: unexpected end of file");
        }
        // Changes are for those that took the whole table; nobody waits for the others.
        let change = topics(&[("V", 2)]);
        let errors = registrar.register(&change, Coverage::Changed, version(2)).await;
        assert_eq!(texts(&errors), ["it did not take the last whole topic table"; 4]);
        assert_eq!(place.queues("V"), Some(2));
        assert!(registrar.unregister().await.is_empty());
        assert_eq!(place.queues("T"), None);
    });
}

#[test]
fn only_the_answer_with_its_opaque_counts() {
    run(async {
        let chatty = peer(|stream, opaque| {
            let mut out = Vec::new();
            let head = RequestHead { code: 40, opaque, flag: FLAG_ONEWAY };
            write_request(&mut out, Encoding::Json, &head, None, b"pushed");
            let stale = ResponseHead { opaque: opaque - 1, code: 1, remark: Some("too late") };
            write_response(&mut out, Encoding::Json, &stale, None, b"");
            let answer = ResponseHead { opaque, code: 0, remark: None };
            write_response(&mut out, Encoding::Json, &answer, Some(&[]), &[b'x'; 9000]);
            // In pieces, as a network has it.
            for piece in out.chunks(50) {
                stream.write_all(piece).unwrap();
            }
        });
        let mut registrar = registrar(&[chatty]);
        let whole = topics(&[("T", 4), ("U", 8)]);
        assert!(registrar.register(&whole, Coverage::Whole, version(1)).await.is_empty());
    });
}

#[test]
fn names_are_resolved() {
    run(async {
        let place = Place::start();
        let name = format!("localhost:{}", place.address.port());
        let names = vec![name, "no-such-host.invalid:9876".to_owned(), "nonsense".to_owned()];
        let mut registrar = Registrar::new(identity(), names);
        let whole = topics(&[("T", 4), ("U", 8)]);
        let errors = registrar.register(&whole, Coverage::Whole, version(1)).await;
        assert_eq!(place.queues("T"), Some(4));
        assert_eq!(errors.len(), 2, "{errors:?}");
    });
}

#[test]
fn table_that_fits_no_frame_is_not_sent() {
    run(async {
        let place = Place::start();
        let mut registrar = registrar(&[place.address]);
        let names: Vec<String> = (0..9).map(|n| n.to_string().repeat(2 << 20)).collect();
        let table: Vec<_> = names.iter().map(|name| (name.as_str(), 4)).collect();
        let errors = registrar.register(&topics(&table), Coverage::Whole, version(1)).await;
        assert!(matches!(
            errors[0].failure,
            RegistrationFailure::TableTooLarge { topics: 9, limit_bytes: FRAME_BYTES_MAX, .. }
        ));
        assert_eq!(lock(&place.shared).connections.len(), 0);
    });
}

/// A registration that Apache's broker sent, and ours of the same topics.
#[test]
fn registration_is_that_of_rocketmq() {
    let golden = bytes_of(include_str!("../../../tests/golden/ns-103-req-full.hex"));
    let golden = frame_of(&golden);
    let theirs = Command::decode(&golden).unwrap();
    let mut body = RegisterBrokerBody::parse(golden.body).unwrap();
    let table = &mut body.topic_config_serialize_wrapper;
    let topics: Vec<_> = table.topic_config_table.values().cloned().collect();
    let identity = BrokerIdentity {
        cluster: "DefaultCluster".to_owned(),
        name: "vb-a".to_owned(),
        id: 0,
        address: "127.0.0.1:21911".to_owned(),
        ha_address: "127.0.0.1:21912".to_owned(),
    };
    let mut out = Vec::new();
    write_registration(&mut out, &identity, theirs.opaque, &topics, table.data_version);
    let ours = frame_of(&out);

    // Static topics, which we do not have, are versioned by the start of their broker.
    table.mapping_data_version = DataVersion::default();
    assert_eq!(RegisterBrokerBody::parse(ours.body).unwrap(), body);
    let command = Command::decode(&ours).unwrap();
    assert_eq!((command.code, command.flag), (theirs.code, theirs.flag));
    assert_eq!((command.version, command.language), (theirs.version, theirs.language));
    let crc = |frame: &Frame<'_>| body_crc(frame.body).to_string();
    assert_eq!(fields_of(&theirs, &crc(&golden)), fields_of(&command, &crc(&ours)));
}

/// The fields but the checksum, which is compared with what it should be.
fn fields_of(command: &Command<'_>, crc: &str) -> Vec<(String, String)> {
    let text = |text: proto::text::Text<'_>| text.to_cow().into_owned();
    let fields = command.ext.iter().map(|(key, value)| (text(key), text(value)));
    let (sums, mut fields): (Vec<_>, Vec<_>) = fields.partition(|(key, _)| key == "bodyCrc32");
    assert_eq!(sums, [("bodyCrc32".to_owned(), crc.to_owned())]);
    fields.sort();
    fields
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
