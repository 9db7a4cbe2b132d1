//! What has an unusual length: IPv6 addresses, and topics of more than 127 bytes.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use proto::batch::BatchRecord;
use proto::ids::OffsetMessageId;
use proto::properties::{find, name};
use proto::record::{MAGIC_V1, MAGIC_V2, Record, sys_flag};
use support::{Client, Reply, Server, write_config};

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const BOTH: i32 = sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn needs_ipv6() {
    let bound = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    assert!(bound.is_ok(), "this test needs IPv6, and this machine cannot bind ::1: {bound:?}");
}

/// A server with so many shards and cores.
fn start(directory: &Path, (shards, cores): (&str, &str), flags: &[&str]) -> Server {
    let config = write_config(directory, 64 << 20, "");
    let shape = ["--shards", shards, "--cores", cores, "--log-level", "error", "-c", &config];
    Server::start(&directory.join("store"), &[&shape[..], flags].concat())
}

/// Sends one message without a UNIQ_KEY, or a batch.
fn send(client: &mut Client, topic: &str, (flag, batch): (i32, &str), body: &[u8]) -> Reply {
    let flag = flag.to_string();
    let fields = [
        ("a", "producers"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", &*flag),
        ("g", "1"),
        ("h", "0"),
        ("i", ""),
        ("m", batch),
    ];
    client.ask(310, &fields, body)
}

fn send_one(client: &mut Client, topic: &str) -> Reply {
    let reply = send(client, topic, (0, "false"), b"body");
    assert_eq!(reply.code, 0, "{}", reply.remark);
    reply
}

/// The position in a message id, which names this host.
fn position(id: &str, host: SocketAddr) -> i64 {
    let id = OffsetMessageId::decode(id.as_bytes()).expect("a message id");
    assert_eq!(id.host, host);
    id.position.to_i64()
}

/// Waits for a message behind `from` in queue 0 of a topic: the answer that has it.
fn pull_when_there(client: &mut Client, topic: &str, from: i64) -> Reply {
    let from = from.to_string();
    let fields = [
        ("consumerGroup", "test"),
        ("topic", topic),
        ("queueId", "0"),
        ("queueOffset", &*from),
        ("maxMsgNums", "32"),
        ("sysFlag", "6"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "30000"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    let reply = client.ask(11, &fields, &[]);
    assert_eq!(reply.code, 0, "{topic}: {}", reply.remark);
    reply
}

fn send_back(client: &mut Client, group: &str, position: i64, level: &str) -> Reply {
    let offset = position.to_string();
    let fields = [
        ("offset", &*offset),
        ("group", group),
        ("delayLevel", level),
        ("originTopic", "any"),
        ("maxReconsumeTimes", "16"),
    ];
    client.ask(36, &fields, &[])
}

/// The only record of an answer, whose hosts are these.
fn only<'a>(reply: &'a Reply, born: IpAddr, store: SocketAddr) -> Record<'a> {
    let (record, size) = Record::decode(&reply.body).expect("a record");
    assert_eq!(size, reply.body.len(), "one record");
    assert!(record.is_body_intact());
    let fields = record.fields();
    assert_eq!((fields.born_host.ip(), fields.store_host), (born, store));
    let mut flags = 0;
    flags |= if born.is_ipv6() { sys_flag::BORN_HOST_V6 } else { 0 };
    flags |= if store.is_ipv6() { sys_flag::STORE_HOST_V6 } else { 0 };
    assert_eq!(fields.sys_flag & BOTH, flags);
    record
}

fn magic(record: &Record<'_>) -> u32 {
    let bytes = record.bytes()[4..8].try_into().expect("four bytes");
    u32::from_be_bytes(bytes)
}

#[test]
fn a_broker_on_an_ipv6_address_names_itself_so() {
    needs_ipv6();
    for shape in [("1", "1"), ("3", "2")] {
        let directory = folder();
        let server = start(directory.path(), shape, &["--listen", "::1"]);
        let host = server.broker;
        assert_eq!(host.ip(), V6);
        let mut client = Client::connect(host);
        client.create_topic("Six", 4);

        // How Java writes and reads it: NetworkUtil.normalizeHostAddress and string2SocketAddress.
        let mut asker = Client::connect(server.name_server);
        let route = asker.ask(105, &[("topic", "Six")], &[]);
        let text = String::from_utf8(route.body).expect("JSON");
        assert!(text.contains(&format!("\"[::1]:{}\"", host.port())), "{text}");

        let sent = send_one(&mut client, "Six");
        let id = sent.field("msgId").expect("an id").to_owned();
        assert_eq!(id.len(), 56);
        let at = position(&id, host);
        // The broker's own key has an IPv4 address, which there is none of.
        let key = sent.field("transactionId").expect("a key").to_owned();
        assert!(key.len() == 32 && key.starts_with("00000000"), "{key}");
        let other = send_one(&mut client, "SixMore");
        assert_ne!(other.field("transactionId"), Some(&*key));

        let pulled = client.pull("Six", 0, 0);
        let record = only(&pulled, V6, host);
        assert_eq!((record.fields().physic_offset, record.fields().body), (at, &b"body"[..]));
        assert_eq!(find(record.fields().properties, name::UNIQ_KEY), Some(key.as_bytes()));

        let mut batch = Vec::new();
        for body in [b"one", b"two"] {
            BatchRecord { flag: 0, body, properties: b"" }.encode(&mut batch);
        }
        let sent = send(&mut client, "SixBatch", (0, "true"), &batch);
        let ids: Vec<_> = sent.field("msgId").expect("ids").split(',').collect();
        assert_eq!(ids.len(), 2);
        assert!(position(ids[0], host) < position(ids[1], host));

        let member = "::1@77#88";
        assert_eq!(client.heartbeat(member, &["six"], "Six").code, 0);
        let list = client.ask(38, &[("consumerGroup", "six")], &[]);
        assert_eq!(list.body, format!(r#"{{"consumerIdList":["{member}"]}}"#).as_bytes());

        assert_eq!(send_back(&mut client, "six", at, "1").code, 0);
        let pulled = pull_when_there(&mut client, "%RETRY%six", 0);
        let again = *only(&pulled, V6, host).fields();
        assert_eq!((again.reconsume_times, again.body), (1, &b"body"[..]));
        assert_eq!(find(again.properties, name::ORIGIN_MESSAGE_ID), Some(id.as_bytes()));
        server.stop();

        // Another port: what is stored keeps the address that it was stored under.
        let server = start(directory.path(), shape, &["--listen", "::1"]);
        let mut client = Client::connect(server.broker);
        only(&client.pull("Six", 0, 0), V6, host);
        only(&client.pull("%RETRY%six", 0, 0), V6, host);
        server.stop();
    }
}

#[test]
fn each_host_of_a_record_has_its_own_kind_of_address() {
    needs_ipv6();
    for (advertised, store) in [("::1", V6), ("127.0.0.1", V4)] {
        let directory = folder();
        let server =
            start(directory.path(), ("3", "2"), &["--listen", "::", "--advertise", advertised]);
        let store = SocketAddr::new(store, server.broker.port());
        for (topic, born) in [("BornFour", V4), ("BornSix", V6)] {
            let mut client = Client::connect(SocketAddr::new(born, server.broker.port()));
            for claimed in [0, BOTH] {
                let sent = send(&mut client, topic, (claimed, "false"), b"x");
                assert_eq!(sent.code, 0, "{}", sent.remark);
                let id = sent.field("msgId").expect("an id");
                assert_eq!(id.len(), if store.is_ipv6() { 56 } else { 32 });
                let at = position(id, store);
                let from = sent.number("queueOffset");
                let pulled = client.pull(topic, 0, from);
                assert_eq!(only(&pulled, born, store).fields().physic_offset, at);
            }
        }
        server.stop();
    }
}

#[test]
fn topics_of_long_groups_are_stored_with_two_bytes_of_length() {
    for shape in [("1", "1"), ("3", "2")] {
        let directory = folder();
        let server = start(directory.path(), shape, &[]);
        let host = server.broker;
        let mut client = Client::connect(host);
        let groups = [120, 121, 122, 123, 255].map(|length| "g".repeat(length));
        for group in &groups {
            assert_eq!(client.heartbeat("client", &[group], "Sent").code, 0);
            let sent = send_one(&mut client, "Sent");
            let at = position(sent.field("msgId").expect("an id"), host);
            let back = send_back(&mut client, group, at, "1");
            assert_eq!(back.code, 0, "{} bytes: {}", group.len(), back.remark);
        }
        for group in &groups {
            let (retry, dead) = (format!("%RETRY%{group}"), format!("%DLQ%{group}"));
            let pulled = pull_when_there(&mut client, &retry, 0);
            let record = only(&pulled, V4, host);
            assert_eq!(record.fields().topic, retry.as_bytes());
            assert_eq!(magic(&record), if retry.len() > 127 { MAGIC_V2 } else { MAGIC_V1 });

            let back = send_back(&mut client, group, record.fields().physic_offset, "-1");
            assert_eq!(back.code, 0, "{} bytes: {}", group.len(), back.remark);
            let pulled = pull_when_there(&mut client, &dead, 0);
            let record = only(&pulled, V4, host);
            assert_eq!(
                (record.fields().topic, record.fields().reconsume_times),
                (dead.as_bytes(), 2)
            );
            assert_eq!(magic(&record), if dead.len() > 127 { MAGIC_V2 } else { MAGIC_V1 });
            let origin = find(record.fields().properties, name::RETRY_TOPIC);
            assert_eq!(origin, Some(&b"Sent"[..]));
        }
        let long = &groups[4];
        // Producers are not let in: TopicValidator.validateTopic comes first.
        for topic in [format!("%RETRY%{long}"), format!("%DLQ%{long}"), "t".repeat(128)] {
            let refused = send(&mut client, &topic, (0, "false"), b"x");
            assert_eq!(refused.code, 29, "{}", refused.remark);
            assert!(refused.remark.contains("longer than topic max length"), "{}", refused.remark);
        }
        let widest = "t".repeat(127);
        send_one(&mut client, &widest);
        assert_eq!(magic(&only(&client.pull(&widest, 0, 0), V4, host)), MAGIC_V1);
        // A group of 256 characters is none: its heartbeat is passed over, its message refused.
        let none = "g".repeat(256);
        assert_eq!(client.heartbeat("client", &[&none], "Sent").code, 0);
        assert_eq!(client.ask(38, &[("consumerGroup", &none)], &[]).code, 1);
        assert_eq!(send_back(&mut client, &none, 0, "1").code, 26);
        server.stop();

        let server = start(directory.path(), shape, &[]);
        let mut client = Client::connect(server.broker);
        for topic in [format!("%RETRY%{long}"), format!("%DLQ%{long}"), widest] {
            let pulled = client.pull(&topic, 0, 0);
            assert_eq!((pulled.code, pulled.number("maxOffset")), (0, 1), "{}", pulled.remark);
            assert_eq!(only(&pulled, V4, host).fields().topic, topic.as_bytes());
        }
        server.stop();
    }
}
