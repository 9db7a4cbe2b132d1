//! The real program: what it answers, what it refuses, how it starts and stops.

mod support;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use support::{Client, Server, decoded, write_config};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn small(directory: &tempfile::TempDir) -> (PathBuf, String) {
    (directory.path().join("store"), write_config(directory.path(), 64 << 20, ""))
}

#[test]
fn messages_offsets_and_topics_survive_a_clean_restart() {
    let directory = folder();
    let (store, config) = small(&directory);
    let flags = ["-c", &config, "--log-level", "warn"];
    let server = Server::start(&store, &flags);
    let mut client = Client::connect(server.broker);
    for number in 0..100 {
        client.write_send("Kept", number % 4, format!("body {number}").as_bytes()).expect("open");
    }
    for _ in 0..100 {
        assert_eq!(client.read().expect("an answer").code, 0);
    }
    let group = [("consumerGroup", "keeper"), ("topic", "Kept"), ("queueId", "1")];
    assert_eq!(client.pull("Kept", 1, 0).code, 0);
    let unknown = client.ask(15, &[&group[..], &[("commitOffset", "7")]].concat(), &[]);
    assert_eq!(unknown.code, 26, "a commit does not create a group: {}", unknown.remark);
    let known = [("consumerGroup", "test"), ("topic", "Kept"), ("queueId", "1")];
    assert_eq!(client.ask(15, &[&known[..], &[("commitOffset", "7")]].concat(), &[]).code, 0);
    server.stop();
    let server = Server::start(&store, &flags);
    let mut client = Client::connect(server.broker);
    for queue in 0..4 {
        let reply = client.pull("Kept", queue, 0);
        assert_eq!((reply.code, reply.number("maxOffset")), (0, 25));
    }
    assert_eq!(client.ask(14, &known, &[]).number("offset"), 7);
    server.stop();
}

#[test]
fn a_held_pull_is_answered_when_its_message_comes() {
    let directory = folder();
    let (store, config) = small(&directory);
    let server = Server::start(&store, &["-c", &config, "--log-level", "warn"]);
    let mut producer = Client::connect(server.broker);
    producer.write_send("Held", 0, b"first").expect("open");
    assert_eq!(producer.read().expect("an answer").code, 0);
    let mut consumer = Client::connect(server.broker);
    let pull = [
        ("consumerGroup", "g"),
        ("topic", "Held"),
        ("queueId", "0"),
        ("queueOffset", "1"),
        ("maxMsgNums", "32"),
        ("sysFlag", "6"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "30000"),
        ("subscription", "*"),
        ("subVersion", "0"),
    ];
    consumer.write(11, &pull, &[]);
    // Held: the connection still answers other requests.
    let bounds = [("topic", "Held"), ("queueId", "0")];
    assert_eq!(consumer.ask(30, &bounds, &[]).number("offset"), 1);
    producer.write_send("Held", 0, b"second").expect("open");
    let reply = consumer.read().expect("an answer");
    assert_eq!((reply.code, reply.number("nextBeginOffset")), (0, 2));
    let mut short = pull;
    short[3].1 = "2";
    short[7].1 = "50";
    assert_eq!(consumer.ask(11, &short, &[]).code, 19, "time is up");
    for (from, code, next) in [(2, 19, 2), (3, 21, 2), (-1, 21, 0)] {
        let reply = consumer.pull("Held", 0, from);
        assert_eq!((reply.code, reply.number("nextBeginOffset")), (code, next), "from {from}");
    }
    for (from, code) in [(0, 19), (5, 21), (-1, 21)] {
        assert_eq!(consumer.pull("Held", 3, from).code, code, "empty queue from {from}");
    }
    server.stop();
}

/// Else a delay would end early by the difference. Many connections, so that requests come while a
/// core looks at its ring.
#[test]
fn no_message_is_stored_before_it_was_sent() {
    let directory = folder();
    let (store, config) = small(&directory);
    for size in ["1", "2"] {
        let store = store.with_extension(size);
        let flags = ["--shards", size, "--cores", size, "-c", &config, "--log-level", "warn"];
        let server = Server::start(&store, &flags);
        let senders = (0..8).map(|queue| {
            let mut client = Client::connect(server.broker);
            client.create_topic("Stamped", 8);
            std::thread::spawn(move || {
                for _ in 0..2_000 {
                    client.write_send("Stamped", queue, b"now").expect("open");
                    assert_eq!(client.read().expect("an answer").code, 0);
                }
                client
            })
        });
        for (queue, sender) in (0..).zip(senders.collect::<Vec<_>>()) {
            let mut client = sender.join().expect("it sent all");
            let mut offset = 0;
            while offset < 2_000 {
                let reply = client.pull("Stamped", queue, offset);
                for fields in decoded(&reply.body) {
                    assert!(fields.store_timestamp >= fields.born_timestamp, "{fields:?}");
                    offset = fields.queue_offset + 1;
                }
            }
        }
        server.stop();
    }
}

#[test]
fn bad_requests_get_their_code_and_harm_nobody() {
    let directory = folder();
    let (store, config) = small(&directory);
    let server = Server::start(&store, &["-c", &config, "--log-level", "error"]);
    let mut good = Client::connect(server.broker);
    good.write_send("Good", 0, b"x").expect("open");
    assert_eq!(good.read().expect("an answer").code, 0);

    let unknown = good.ask(9999, &[], &[]);
    assert_eq!(unknown.code, 3);
    assert_eq!(unknown.remark, " request type 9999 not supported");
    good.write_send("Good", 4, b"x").expect("open");
    let reply = good.read().expect("an answer");
    assert_eq!(reply.code, 29);
    assert!(reply.remark.contains("queueId[4] is illegal"), "{}", reply.remark);
    good.write_send("no blanks", 0, b"x").expect("open");
    assert_eq!(good.read().expect("an answer").code, 29);
    good.write_send(&"t".repeat(128), 0, b"x").expect("open");
    assert_eq!(good.read().expect("an answer").code, 29);
    good.write_send("SCHEDULE_TOPIC_XXXX", 0, b"x").expect("open");
    assert_eq!(good.read().expect("an answer").code, 16);
    good.write_send("Good", 0, &vec![b'x'; (4 << 20) + 1]).expect("open");
    let reply = good.read().expect("an answer");
    assert_eq!(reply.code, 13);
    assert!(reply.remark.contains("4194304B"), "{}", reply.remark);
    assert_eq!(good.ask(38, &[("consumerGroup", "nobody")], &[]).code, 1);
    assert_eq!(good.ask(310, &[("a", "g")], &[]).code, 1, "missing fields");
    assert_eq!(good.pull("Missing", 0, 0).code, 17);

    // What a refusal repeats of a request is longer there: each of these bytes takes three.
    for code in [11, 38, 307] {
        let mut header = format!("{{\"code\":{code},\"extFields\":{{").into_bytes();
        for key in ["consumerGroup", "topic", "clientId"] {
            header.extend_from_slice(format!("\"{key}\":\"").as_bytes());
            header.resize(header.len() + 300_000, 0xFF);
            header.extend_from_slice(b"\",");
        }
        header.extend_from_slice(b"\"queueId\":\"0\",\"queueOffset\":\"0\",\"maxMsgNums\":\"1\",");
        header.extend_from_slice(b"\"sysFlag\":\"0\",\"commitOffset\":\"0\",\"subVersion\":\"0\",");
        header.extend_from_slice(
            b"\"suspendTimeoutMillis\":\"0\"},\"flag\":0,\"opaque\":7,\"version\":479}",
        );
        let mut client = Client::connect(server.broker);
        client.write_header(&header);
        let reply = client.read().expect("an answer");
        assert!(reply.opaque == 7 && reply.code != 0 && reply.remark.len() <= 4096, "{reply:?}");
        good.write_send("Good", 4, b"x").expect("open");
        assert_eq!(good.read().expect("an answer").code, 29);
    }

    for hostile in [
        &b"\x00\x30\x00\x00\x00\x20\x00\x01"[..],
        &b"\x16\x03\x01\x02\x00\x01\x00\x01"[..],
        &b"\x7F\xFF\xFF\xFF\x00\x00\x00\x10"[..],
        &b"\x00\x00\x00\x08\x00\x00\x00\x10abcd"[..],
        &b"\x00\x00\x00\x08\x00\x00\x00\x04{{{{"[..],
        &b"\x00\x00\x00\x08\x09\x00\x00\x04{{{{"[..],
        &b"GET / HTTP/1.1\r\n\r\n"[..],
    ] {
        let mut client = Client::connect(server.broker);
        client.write_raw(hostile);
        assert!(client.read().is_none(), "closed after {hostile:?}");
    }
    good.write_send("Good", 0, b"x").expect("open");
    assert_eq!(good.read().expect("an answer").number("queueOffset"), 1);
    server.stop();
}

#[test]
fn a_store_in_use_and_a_taken_port_refuse_the_start() {
    let directory = folder();
    let (store, config) = small(&directory);
    let server = Server::start(&store, &["-c", &config, "--log-level", "warn"]);
    let start = |store: &PathBuf, port: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
            .args([
                "server",
                "--namesrv-port",
                "0",
                "--broker-port",
                port,
                "-c",
                &config,
                "--store",
            ])
            .arg(store)
            .output()
            .expect("the program starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = start(&store, "0");
    assert!(said.contains(&format!("in use by process {}", server.pid())), "{said}");
    let port = server.broker.port().to_string();
    let said = start(&directory.path().join("other"), &port);
    assert!(said.contains("listen on 127.0.0.1") && said.contains("--broker-port"), "{said}");
    server.stop();
}

#[test]
fn a_damaged_store_file_refuses_the_start() {
    let directory = folder();
    let (store, config) = small(&directory);
    Server::start(&store, &["-c", &config, "--log-level", "warn"]).stop();
    let path = store.join("STORE");
    let text = std::fs::read_to_string(&path).expect("STORE is text");
    let mut file = std::fs::File::create(&path).expect("writable");
    file.write_all(text.replace("\"shards\": 1", "\"shards\": 2").as_bytes()).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["server", "--namesrv-port", "0", "--broker-port", "0", "--store"])
        .arg(&store)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("STORE is damaged") && said.contains("checksum"), "{said}");
}
