//! Registering with real NameServers on loopback that restart, forget, keep silent, talk nonsense.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use glommio::{LocalExecutorBuilder, Placement};
use proto::body::{RegisterBrokerBody, TopicRouteData};
use proto::code::{request, response};
use proto::command::{Command, FLAG_ONEWAY};
use proto::frame::{Encoding, Frame, Scan, scan};
use proto::record::body_crc;
use proto::reply::{RequestHead, ResponseHead, write_request, write_response};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};

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
        Place::start_on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn start_on(listener: TcpListener) -> Place {
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

    /// Says of a topic that it is ordered.
    fn put_ordered(&self, topic: &str) {
        let mut request = Vec::new();
        let head = RequestHead { code: request::PUT_KV_CONFIG, opaque: 0, flag: 0 };
        let ext = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", topic), ("value", "broker-a:4")];
        write_request(&mut request, Encoding::Json, &head, Some(&ext), b"");
        let mut shared = lock(&self.shared);
        shared.answer(ConnectionKey(0), &frame_of(&request));
        assert!(shared.server.next_save().is_some());
        shared.server.saved(Ok(()));
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
    registrar_of(name_servers.iter().map(SocketAddr::to_string).collect(), ALL)
}

/// No registration has so many topics.
const ALL: usize = 1 << 20;

fn registrar_of(name_servers: Vec<String>, split: usize) -> Registrar {
    let patience = Patience { connect: PATIENCE, answer: PATIENCE, unregister: PATIENCE };
    Registrar::with(identity(), name_servers, split, patience, look_up)
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

const DOWN: &str = "it did not take the last whole topic table";

const UNKNOWN: &str = "it does not know this broker: the whole topic table must be sent";

#[test]
fn registered_topics_are_in_the_route() {
    run(async {
        let places = [Place::start(), Place::start()];
        let mut registrar = registrar(&places.each_ref().map(|place| place.address));
        let whole = topics(&[("T", 4), ("U", 8)]);
        let errors = registrar.register(&whole, Coverage::Whole, version(1)).finish().await.errors;
        assert_eq!(texts(&errors), [""; 0]);
        let change = topics(&[("U", 16), ("V", 2)]);
        let errors =
            registrar.register(&change, Coverage::Changed, version(2)).finish().await.errors;
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
        let errors = registrar.register(&whole, Coverage::Whole, version(3)).finish().await.errors;
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
        assert!(
            registrar
                .register(&whole, Coverage::Whole, version(1))
                .finish()
                .await
                .errors
                .is_empty()
        );
        place.restart();
        assert_eq!(place.queues("T"), None);
        assert!(
            registrar
                .register(&whole, Coverage::Whole, version(1))
                .finish()
                .await
                .errors
                .is_empty()
        );
        assert_eq!(place.queues("T"), Some(4));
        place.restart();
        for _ in 0..2 {
            let errors =
                registrar.register(&change, Coverage::Changed, version(2)).finish().await.errors;
            assert_eq!(texts(&errors), [UNKNOWN]);
            assert_eq!(place.queues("V"), None);
        }
        assert!(
            registrar
                .register(&whole, Coverage::Whole, version(2))
                .finish()
                .await
                .errors
                .is_empty()
        );
        assert!(
            registrar
                .register(&change, Coverage::Changed, version(3))
                .finish()
                .await
                .errors
                .is_empty()
        );
        assert_eq!([place.queues("U"), place.queues("V")], [Some(8), Some(4)]);
    });
}

#[test]
fn change_never_comes_before_the_whole_table() {
    run(async {
        let place = Place::start();
        let mut registrar = registrar(&[place.address]);
        let change = topics(&[("T", 4)]);
        let errors =
            registrar.register(&change, Coverage::Changed, version(1)).finish().await.errors;
        assert_eq!(texts(&errors), [UNKNOWN]);
        let whole = topics(&[("T", 4), ("U", 4)]);
        assert!(
            registrar
                .register(&whole, Coverage::Whole, version(1))
                .finish()
                .await
                .errors
                .is_empty()
        );
        // The connection stands, but another one's request made the NameServer forget the broker.
        place.forget();
        for _ in 0..2 {
            let errors =
                registrar.register(&change, Coverage::Changed, version(2)).finish().await.errors;
            assert_eq!(texts(&errors), [UNKNOWN]);
        }
        assert!(
            registrar
                .register(&whole, Coverage::Whole, version(2))
                .finish()
                .await
                .errors
                .is_empty()
        );
        assert!(
            registrar
                .register(&change, Coverage::Changed, version(3))
                .finish()
                .await
                .errors
                .is_empty()
        );
        assert_eq!(place.queues("T"), Some(4));
    });
}

#[test]
fn whole_table_of_one_topic_is_refused() {
    run(async {
        let place = Place::start();
        let mut registrar = registrar(&[place.address]);
        let errors = registrar
            .register(&topics(&[("T", 4)]), Coverage::Whole, version(1))
            .finish()
            .await
            .errors;
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
        let errors = registrar.register(&whole, Coverage::Whole, version(1)).finish().await.errors;
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

        // Whole tables are offered to them again, but nobody waits; changes are for the others.
        let started = Instant::now();
        let whole = topics(&[("T", 5), ("U", 8)]);
        let errors = registrar.register(&whole, Coverage::Whole, version(2)).finish().await.errors;
        assert_eq!(texts(&errors), [DOWN; 4]);
        assert_eq!(place.queues("T"), Some(5));
        let change = topics(&[("V", 2)]);
        let errors =
            registrar.register(&change, Coverage::Changed, version(3)).finish().await.errors;
        assert_eq!(texts(&errors), [DOWN; 4]);
        assert_eq!(place.queues("V"), Some(2));
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        registrar.unregister().await;
        assert_eq!(place.queues("T"), None);
    });
}

/// One that hangs, not known to be down yet: whoever waits for the outcome waits, the others are told.
#[test]
fn name_server_that_hangs_holds_back_no_other() {
    run(async {
        let place = Place::start();
        let silent = peer(|_, _| {});
        let mut registrar = registrar(&[silent, place.address]);
        let whole = topics(&[("T", 4), ("U", 8)]);
        let started = Instant::now();
        let first = registrar.register(&whole, Coverage::Whole, version(1));
        let changes: Vec<_> = (0..2 * REGISTRATIONS_WAITING_MAX as i32)
            .map(|queues| {
                let change = topics(&[("V", queues)]);
                registrar.register(&change, Coverage::Changed, version(2 + i64::from(queues)))
            })
            .collect();
        // There was room for some of them only: the tasks have had no turn yet.
        while place.queues("V").is_none_or(|queues| queues < 60) {
            assert!(started.elapsed() < PATIENCE, "{:?}", place.queues("V"));
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        let errors = first.finish().await.errors;
        assert_eq!(texts(&errors), [format!("no answer within {PATIENCE:?}")]);
        for change in changes {
            change.finish().await;
        }
        // What was left out made it ask for the whole table again.
        let change = topics(&[("V", 1)]);
        let errors =
            registrar.register(&change, Coverage::Changed, version(200)).finish().await.errors;
        assert_eq!(texts(&errors), [DOWN, UNKNOWN]);
        let whole = topics(&[("T", 4), ("V", 1)]);
        let errors =
            registrar.register(&whole, Coverage::Whole, version(201)).finish().await.errors;
        assert_eq!(texts(&errors), [DOWN]);
        assert_eq!(place.queues("V"), Some(1));
    });
}

#[test]
fn name_server_that_comes_back_is_told_with_the_next_whole_table() {
    run(async {
        let place = Place::start();
        // Bound, so that nobody else takes the port, but not listening.
        let later = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&later, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let later = TcpListener::from(later);
        let mut registrar = registrar(&[later.local_addr().unwrap(), place.address]);
        let whole = topics(&[("T", 4), ("U", 8)]);
        let errors = registrar.register(&whole, Coverage::Whole, version(1)).finish().await.errors;
        assert_eq!(errors.len(), 1);
        listen(&later, 16).unwrap();
        let back = Place::start_on(later);
        let errors = registrar.register(&whole, Coverage::Whole, version(1)).finish().await.errors;
        assert_eq!(texts(&errors), [DOWN], "it was down when this began");
        let started = Instant::now();
        while back.queues("T") != Some(4) {
            assert!(started.elapsed() < PATIENCE);
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        // Its answer is on the way back; after that it is waited for again.
        loop {
            let registering = registrar.register(&whole, Coverage::Whole, version(1));
            let errors = registering.finish().await.errors;
            if errors.is_empty() {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{:?}", texts(&errors));
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn large_tables_are_registered_in_parts_and_changes_in_any_part_are_seen() {
    run(async {
        let place = Place::start();
        let mut registrar = registrar_of(vec![place.address.to_string()], 3);
        let names: Vec<String> = (0..10).map(|number| format!("T{number}")).collect();
        for (round, queues) in [(1, 4), (2, 8), (2, 8), (3, 2)] {
            let table: Vec<_> = names.iter().map(|name| (name.as_str(), queues)).collect();
            let table = topics(&table);
            let registering = registrar.register(&table, Coverage::Whole, version(round));
            assert_eq!(texts(&registering.finish().await.errors), [""; 0]);
            for name in &names {
                assert_eq!(place.queues(name), Some(queues), "{name} in round {round}");
            }
        }
        assert_eq!(lock(&place.shared).connections.len(), 1);
        let change = topics(&[("T0", 16)]);
        let errors =
            registrar.register(&change, Coverage::Changed, version(4)).finish().await.errors;
        assert_eq!(texts(&errors), [""; 0]);
        assert_eq!([place.queues("T0"), place.queues("T9")], [Some(16), Some(2)]);
    });
}

#[test]
fn answers_say_which_topics_are_ordered() {
    run(async {
        let places = [Place::start(), Place::start()];
        places[0].put_ordered("T");
        places[0].put_ordered("elsewhere");
        places[1].put_ordered("U");
        let mut registrar = registrar(&places.each_ref().map(|place| place.address));
        let whole = topics(&[("T", 4), ("U", 8)]);
        let outcome = registrar.register(&whole, Coverage::Whole, version(1)).finish().await;
        let ordered: Vec<_> = outcome.ordered_topics.into_iter().collect();
        assert_eq!(ordered, ["T", "U", "elsewhere"]);
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
        assert!(
            registrar
                .register(&whole, Coverage::Whole, version(1))
                .finish()
                .await
                .errors
                .is_empty()
        );
    });
}

#[test]
fn names_are_resolved() {
    run(async {
        let place = Place::start();
        let name = format!("localhost:{}", place.address.port());
        let names = vec![name, "no-such-host.invalid:9876".to_owned(), "nonsense".to_owned()];
        let mut registrar = registrar_of(names, ALL);
        let whole = topics(&[("T", 4), ("U", 8)]);
        let errors = registrar.register(&whole, Coverage::Whole, version(1)).finish().await.errors;
        assert_eq!(place.queues("T"), Some(4));
        assert_eq!(errors.len(), 2, "{errors:?}");
    });
}

/// How long the DNS server of these tests takes when it is slow: longer than any of them.
const SLOW: Duration = Duration::from_secs(20);

/// Registers with a NameServer whose name is found by `look_up`, which is given up soon.
fn registrar_by(look_up: LookUp) -> Registrar {
    let connect = Duration::from_millis(200);
    let patience = Patience { connect, answer: PATIENCE, unregister: PATIENCE };
    Registrar::with(identity(), vec!["name:9876".to_owned()], ALL, patience, look_up)
}

#[test]
fn a_slow_dns_server_keeps_no_blocking_call_waiting_and_is_asked_once() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    run(async {
        let mut registrar = registrar_by(|_| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            thread::sleep(SLOW);
            Err(io::ErrorKind::NotFound.into())
        });
        let whole = topics(&[("T", 4), ("U", 8)]);
        let started = Instant::now();
        let registering = registrar.register(&whole, Coverage::Whole, version(1));
        while ASKED.load(Ordering::SeqCst) == 0 {
            assert!(started.elapsed() < SLOW);
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        let prepared = glommio::executor().spawn_blocking(Instant::now).await;
        assert!(prepared - started < Duration::from_secs(2), "{:?}", prepared - started);
        let errors = registering.finish().await.errors;
        assert_eq!(texts(&errors), ["no connection within 200ms"]);
        // The next round ends as the first, before the registrar is told that it is over.
        let errors = registrar.register(&whole, Coverage::Whole, version(1)).finish().await.errors;
        assert_eq!(texts(&errors), [DOWN]);
        assert_eq!(texts(&registrar.unregister().await), [""; 0]);
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn addresses_that_were_found_serve_while_the_dns_server_is_slow() {
    static FOUND: Mutex<Option<SocketAddr>> = Mutex::new(None);
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    run(async {
        let place = Place::start();
        *FOUND.lock().unwrap() = Some(place.address);
        let mut registrar = registrar_by(|_| {
            if ASKED.fetch_add(1, Ordering::SeqCst) > 0 {
                thread::sleep(SLOW);
            }
            Ok(FOUND.lock().unwrap().iter().copied().collect())
        });
        for (queues, asked) in [(4, 1), (5, 2), (6, 2)] {
            let whole = topics(&[("T", queues), ("U", 8)]);
            let registering = registrar.register(&whole, Coverage::Whole, version(queues.into()));
            assert_eq!(texts(&registering.finish().await.errors), [""; 0]);
            assert_eq!(place.queues("T"), Some(queues));
            assert_eq!(ASKED.load(Ordering::SeqCst), asked, "for {queues} queues");
            place.restart();
        }
    });
}

#[test]
fn topic_that_fits_no_frame_is_not_sent() {
    run(async {
        let place = Place::start();
        let mut registrar = registrar(&[place.address]);
        let name = "n".repeat(FRAME_BYTES_MAX);
        let table = [("T", 4), (name.as_str(), 4)];
        let errors =
            registrar.register(&topics(&table), Coverage::Whole, version(1)).finish().await.errors;
        assert!(matches!(
            errors[0].failure,
            RegistrationFailure::TableTooLarge { topics: 2, limit_bytes: FRAME_BYTES_MAX, .. }
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
