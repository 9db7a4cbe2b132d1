//! SQL92 through the wire of the real program, with one shard on one core and with three on two: what is
//! wanted comes and nothing else, from the tail's memory and from disk after a kill; pulls look at a
//! bounded number of messages and bytes and say where they got to; held ones wake for what they want.

mod support;

use std::path::Path;

use proto::batch::BatchRecord;
use proto::record::{Record, sys_flag};
use support::{Client, Reply, Server, records, write_config};

/// Shards and cores.
const SIZES: [(&str, &str); 2] = [("1", "1"), ("3", "2")];

/// Queues of a topic, so that each shard and core has some.
const QUEUES: i32 = 3;

const SEND_BATCH: i32 = 320;
const PULL_RETRY_IMMEDIATELY: i32 = 20;

fn on_each_size(check: impl Fn(&dyn Fn() -> Server)) {
    for (shards, cores) in SIZES {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        check(&|| start(directory.path(), shards, cores));
    }
}

fn start(directory: &Path, shards: &str, cores: &str) -> Server {
    let config = write_config(directory, 64 << 20, "messageDelayLevel = 1s");
    let flags = ["--shards", shards, "--cores", cores, "-c", &config, "--log-level", "error"];
    Server::start(&directory.join("store"), &flags)
}

/// Connections enough that one is on each core.
fn connections(server: &Server) -> Vec<Client> {
    (0..4).map(|_| Client::connect(server.broker)).collect()
}

/// Fields of a send of one message to a queue.
fn send<'a>(topic: &'a str, queue: &'a str, properties: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("a", "producers"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", properties),
        ("m", "false"),
    ]
}

/// Sends messages without waiting for each answer.
fn send_all(client: &mut Client, topic: &str, queue: &str, messages: &[(String, Vec<u8>)]) {
    for (properties, body) in messages {
        client.write(310, &send(topic, queue, properties), body);
    }
    for _ in messages {
        let reply = client.read().expect("an answer");
        assert_eq!(reply.code, 0, "{}", reply.remark);
    }
}

/// A pull that brings its expression; `wait_ms` is how long it may be held.
fn pull(topic: &str, queue: i32, from: i64, sql: &str, wait_ms: u32) -> Vec<(String, String)> {
    let flags = if wait_ms > 0 { "6" } else { "4" };
    let fields = [
        ("consumerGroup", "pullers"),
        ("topic", topic),
        ("queueId", &queue.to_string()),
        ("queueOffset", &from.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", flags),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", &wait_ms.to_string()),
        ("subscription", sql),
        ("subVersion", "0"),
        ("expressionType", "SQL92"),
    ];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn ask_pull(client: &mut Client, topic: &str, queue: i32, from: i64, sql: &str) -> Reply {
    let fields = pull(topic, queue, from, sql, 0);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    client.ask(11, &fields, b"")
}

/// All that an expression takes of a queue, by queue offset, and how many pulls it took.
fn read(client: &mut Client, topic: &str, queue: i32, sql: &str, max: i64) -> (Vec<i64>, usize) {
    let (mut from, mut found, mut pulls) = (0, Vec::new(), 0);
    while from < max {
        let reply = ask_pull(client, topic, queue, from, sql);
        assert!([0, PULL_RETRY_IMMEDIATELY].contains(&reply.code), "{reply:?}");
        found.extend(records(&reply.body).into_iter().map(|(offset, _)| offset));
        assert!(
            reply.number("nextBeginOffset") > from,
            "a pull that finds nothing goes on: {reply:?}"
        );
        from = reply.number("nextBeginOffset");
        pulls += 1;
    }
    (found, pulls)
}

fn heartbeat(client: &mut Client, group: &str, topic: &str, sql: &str, version: i64) {
    heartbeat_of(client, "c", group, topic, sql, version);
}

fn heartbeat_of(client: &mut Client, id: &str, group: &str, topic: &str, sql: &str, version: i64) {
    let body = format!(
        r#"{{"clientID":"{id}","consumerDataSet":[{{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"CLUSTERING","subscriptionDataSet":[{{"classFilterMode":false,"codeSet":[],"expressionType":"SQL92","subString":"{sql}","subVersion":{version},"tagsSet":[],"topic":"{topic}"}}],"unitMode":false}}],"producerDataSet":[]}}"#
    );
    let reply = client.ask(34, &[], body.as_bytes());
    assert_eq!(reply.code, 0, "{}", reply.remark);
}

#[test]
fn wanted_messages_come_from_memory_and_from_disk() {
    on_each_size(|start| {
        let server = start();
        let mut producer = Client::connect(server.broker);
        producer.create_topic("Wanted", QUEUES);
        // 2000 messages a queue, more than a pull looks at; every 500th has what is wanted.
        let messages: Vec<_> = (0..2000)
            .map(|number| {
                let region = if number % 500 == 499 { "eu" } else { "us" };
                (
                    format!("n\u{1}{number}\u{2}region\u{1}{region}\u{2}TAGS\u{1}T\u{2}"),
                    vec![b'x'; 100],
                )
            })
            .collect();
        for queue in 0..QUEUES {
            send_all(&mut producer, "Wanted", &queue.to_string(), &messages);
        }
        let check = |server: &Server| {
            for (index, client) in connections(server).iter_mut().enumerate() {
                let queue = index as i32 % QUEUES;
                let mut read = |sql| read(client, "Wanted", queue, sql, 2000);
                let rare = "region = 'eu' AND n BETWEEN 0 AND 1500 AND TAGS IN ('T', 'U')";
                assert_eq!(read(rare).0, [499, 999, 1499]);
                assert_eq!(read("n < 3 OR n > 1998").0, [0, 1, 2, 1999]);
                // None: 800 at a time.
                let (none, pulls) = read("missing IS NOT NULL");
                assert!(none.is_empty());
                assert!((3..=20).contains(&pulls), "{pulls} pulls");
                assert_eq!(read("UNIQ_KEY IS NOT NULL").0, (0..2000).collect::<Vec<_>>());
            }
        };
        check(&server);
        let mut client = Client::connect(server.broker);
        let reply = ask_pull(&mut client, "Wanted", 0, 0, "missing = 1");
        let found = (reply.code, &*reply.remark, reply.number("nextBeginOffset"));
        assert_eq!(found, (PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE", 800));
        // After the kill nothing is in the tail's memory.
        server.kill();
        let server = start();
        check(&server);
        server.stop();
    });
}

#[test]
fn a_pull_reads_a_bounded_number_of_bytes_from_disk() {
    on_each_size(|start| {
        let server = start();
        let mut producer = Client::connect(server.broker);
        producer.create_topic("Large", QUEUES);
        let messages: Vec<_> =
            (0..24).map(|number| (format!("n\u{1}{number}\u{2}"), vec![b'x'; 1 << 20])).collect();
        send_all(&mut producer, "Large", "1", &messages);
        server.kill();
        let server = start();
        let mut client = Client::connect(server.broker);
        let reply = ask_pull(&mut client, "Large", 1, 0, "n = 23");
        let next = reply.number("nextBeginOffset");
        assert_eq!(reply.code, PULL_RETRY_IMMEDIATELY, "{}", reply.remark);
        assert!((7..=9).contains(&next), "8 MiB and no more: {next} messages");
        assert_eq!(read(&mut client, "Large", 1, "n = 23", 24).0, [23]);
        server.stop();
    });
}

#[test]
fn held_pulls_wake_for_what_they_want() {
    on_each_size(|start| {
        let server = start();
        let mut producer = Client::connect(server.broker);
        producer.create_topic("Held", QUEUES);
        for (queue, client) in connections(&server).iter_mut().enumerate() {
            let (queue, name) = (queue as i32 % QUEUES, queue.to_string());
            let number = (queue % QUEUES).to_string();
            let from = producer.ask(30, &[("topic", "Held"), ("queueId", &number)], b"");
            let from = from.number("offset");
            let wanted = format!("name = '{name}'");
            let fields = pull("Held", queue, from, &wanted, 30_000);
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let asked = client.write(11, &fields, b"");
            // Held: the connection still answers other requests.
            let bounds = [("topic", "Held"), ("queueId", &*number)];
            assert_eq!(client.ask(30, &bounds, b"").number("offset"), from);
            let foreign = vec![("name\u{1}x\u{2}".to_owned(), b"foreign".to_vec()); 3];
            send_all(&mut producer, "Held", &number, &foreign);
            // Three came and it still waits.
            assert_eq!(client.ask(30, &bounds, b"").number("offset"), from + 3);
            let own = vec![(format!("name\u{1}{name}\u{2}"), b"own".to_vec())];
            send_all(&mut producer, "Held", &number, &own);
            let reply = client.read().expect("an answer");
            assert_eq!((reply.opaque, reply.code), (asked, 0), "{}", reply.remark);
            assert_eq!(records(&reply.body), [(from + 3, b"own".to_vec())]);
        }
        // One whose time is up says where it got to.
        let mut client = Client::connect(server.broker);
        let from = client.ask(30, &[("topic", "Held"), ("queueId", "0")], b"").number("offset");
        let fields = pull("Held", 0, from, "name = 'nobody'", 300);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let asked = client.write(11, &fields, b"");
        client.ask(30, &[("topic", "Held"), ("queueId", "0")], b"");
        send_all(&mut producer, "Held", "0", &[("name\u{1}x\u{2}".to_owned(), b"x".to_vec())]);
        let reply = client.read().expect("an answer");
        assert_eq!((reply.opaque, reply.code), (asked, PULL_RETRY_IMMEDIATELY), "{}", reply.remark);
        assert_eq!(reply.number("nextBeginOffset"), from + 1);
        server.stop();
    });
}

#[test]
fn every_core_knows_what_a_group_wants() {
    on_each_size(|start| {
        let server = start();
        let mut producer = Client::connect(server.broker);
        producer.create_topic("Shared", QUEUES);
        let messages: Vec<_> =
            (0..10).map(|number| (format!("n\u{1}{number}\u{2}"), b"x".to_vec())).collect();
        for queue in 0..QUEUES {
            send_all(&mut producer, "Shared", &queue.to_string(), &messages);
        }
        let mut all = connections(&server);
        for (version, sql, expect) in [(1, "n >= 8", vec![8, 9]), (2, "n IN ('3')", vec![3])] {
            heartbeat(&mut all[0], "wanters", "Shared", sql, version);
            let version = version.to_string();
            for client in &mut all {
                for queue in 0..QUEUES {
                    let mut fields = pull("Shared", queue, 0, "", 0);
                    for (name, value) in &mut fields {
                        match name.as_str() {
                            "consumerGroup" => "wanters".clone_into(value),
                            "sysFlag" => "0".clone_into(value),
                            "subVersion" => value.clone_from(&version),
                            _ => {}
                        }
                    }
                    let fields: Vec<_> =
                        fields.iter().map(|(name, value)| (&**name, &**value)).collect();
                    let reply = client.ask(11, &fields, b"");
                    assert_eq!(reply.code, 0, "{}", reply.remark);
                    let found: Vec<_> =
                        records(&reply.body).into_iter().map(|(offset, _)| offset).collect();
                    assert_eq!(found, expect, "queue {queue}");
                }
            }
        }
        server.stop();
    });
}

/// The whole line: who finds it in the log knows which two programs to compare.
#[test]
fn members_that_subscribe_differently_are_logged_with_both_sides() {
    for (shards, cores) in SIZES {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let config = write_config(directory.path(), 64 << 20, "");
        let flags = ["--shards", shards, "--cores", cores, "-c", &config, "--log-level", "warn"];
        let log = directory.path().join("log");
        let server = Server::start_logged(&directory.path().join("store"), &flags, &log);
        let server = server.expect("a new store");
        let (mut one, mut other) = (Client::connect(server.broker), Client::connect(server.broker));
        heartbeat_of(&mut one, "client-one", "Readers", "T", "colour = 'red'", 1);
        heartbeat_of(&mut one, "client-one", "Agreeing", "T", "colour = 'red'", 1);
        for _ in 0..3 {
            heartbeat_of(&mut other, "client-two", "Readers", "T", "colour = 'blue'", 2);
            heartbeat_of(&mut one, "client-one", "Readers", "T", "colour = 'red'", 1);
        }
        heartbeat_of(&mut other, "client-two", "Agreeing", "T", "colour = 'red'", 2);
        server.stop();
        let log = std::fs::read_to_string(log).expect("a log");
        let lines: Vec<_> = log.lines().filter(|line| line.contains("differently")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        for part in
            ["Readers", "client-one", "client-two", "red", "blue", "topic=\"T\"", "127.0.0.1"]
        {
            assert!(lines[0].contains(part), "{part} is missing: {}", lines[0]);
        }
    }
}

#[test]
fn batches_and_delayed_messages_are_filtered_one_by_one() {
    on_each_size(|start| {
        let server = start();
        let mut client = Client::connect(server.broker);
        client.create_topic("Many", QUEUES);
        let mut body = Vec::new();
        for number in 0..6 {
            let properties = format!("n\u{1}{number}\u{2}");
            let record = BatchRecord { flag: 0, body: b"x", properties: properties.as_bytes() };
            record.encode(&mut body);
        }
        let mut fields = send("Many", "2", "");
        fields.retain(|(name, _)| *name != "m");
        fields.push(("m", "true"));
        let reply = client.ask(SEND_BATCH, &fields, &body);
        assert_eq!(reply.code, 0, "{}", reply.remark);
        assert_eq!(read(&mut client, "Many", 2, "n = 1 OR n = 4", 6).0, [1, 4]);

        // A held pull waits for the delayed message's own topic, and knows it by its properties.
        let delayed = vec![("n\u{1}7\u{2}DELAY\u{1}1\u{2}".to_owned(), b"late".to_vec())];
        send_all(&mut client, "Many", "2", &delayed);
        let fields = pull("Many", 2, 6, "n = 7 AND DELAY IS NOT NULL", 30_000);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let reply = client.ask(11, &fields, b"");
        assert_eq!(records(&reply.body), [(6, b"late".to_vec())], "{}", reply.remark);
        server.stop();
    });
}

#[test]
fn records_of_topics_with_several_tags_say_so() {
    on_each_size(|start| {
        let server = start();
        let mut client = Client::connect(server.broker);
        for (topic, kind, expect) in
            [("Several", "MULTI_TAG", sys_flag::MULTI_TAGS), ("Single", "SINGLE_TAG", 0)]
        {
            let fields = [
                ("topic", topic),
                ("defaultTopic", "TBW102"),
                ("readQueueNums", "3"),
                ("writeQueueNums", "3"),
                ("perm", "6"),
                ("topicFilterType", kind),
                ("order", "false"),
            ];
            assert_eq!(client.ask(17, &fields, b"").code, 0);
            let tags = vec![("TAGS\u{1}A||B\u{2}".to_owned(), b"x".to_vec())];
            for queue in 0..QUEUES {
                send_all(&mut client, topic, &queue.to_string(), &tags);
                let reply = ask_pull(&mut client, topic, queue, 0, "TAGS CONTAINS 'B'");
                let (record, _) = Record::decode(&reply.body).expect("a record");
                assert_eq!(record.fields().sys_flag & sys_flag::MULTI_TAGS, expect, "{topic}");
            }
        }
        server.stop();
    });
}

/// What was sent back, as a pull with an expression on the retry topic finds it: queue offsets.
fn sent_back(config: &str) -> Vec<i64> {
    let mut found = Vec::new();
    for (shards, cores) in SIZES {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let config = write_config(directory.path(), 64 << 20, config);
        let flags = ["--shards", shards, "--cores", cores, "-c", &config, "--log-level", "error"];
        let server = Server::start(&directory.path().join("store"), &flags);
        let mut client = Client::connect(server.broker);
        client.create_topic("Origin", QUEUES);
        heartbeat(&mut client, "retriers", "Origin", "a = 1", 1);
        let text = |origin: &str, a: i32, b: i32| {
            let text = format!("a\u{1}{a}\u{2}b\u{1}{b}\u{2}RETRY_TOPIC\u{1}{origin}\u{2}");
            (text, b"again".to_vec())
        };
        let messages =
            [text("Origin", 1, 2), text("Origin", 2, 1), text("Other", 2, 1), text("Other", 2, 2)];
        send_all(&mut client, "%RETRY%retriers", "0", &messages);
        for client in &mut connections(&server) {
            let (offsets, _) = read(client, "%RETRY%retriers", 0, "b = 1", 4);
            assert!(found.is_empty() || found == offsets, "the same on each core");
            found = offsets;
        }
    }
    found
}

#[test]
fn what_was_sent_back_is_filtered_as_the_configuration_says() {
    assert_eq!(sent_back(""), [1, 2], "by the expression of the pull");
    // By the group's expression for the topic that it came from; it has none for the other.
    assert_eq!(sent_back("filterSupportRetry = true"), [0, 2, 3]);
}

#[test]
fn entries_of_a_queue_are_shown_with_the_groups_filter() {
    on_each_size(|start| {
        let server = start();
        let mut client = Client::connect(server.broker);
        client.create_topic("Shown", QUEUES);
        heartbeat(&mut client, "viewers", "Shown", "a > 1", 7);
        for queue in 0..QUEUES {
            send_all(&mut client, "Shown", &queue.to_string(), &[(String::new(), b"x".to_vec())]);
        }
        for (queue, client) in (0..QUEUES).zip(&mut connections(&server)) {
            let queue = queue.to_string();
            let mut shown = |group: &str| {
                let fields = [
                    ("topic", "Shown"),
                    ("queueId", &*queue),
                    ("index", "0"),
                    ("count", "10"),
                    ("consumerGroup", group),
                ];
                let reply = client.ask(321, &fields, b"");
                let body = proto::body::QueryConsumeQueueResponseBody::parse(&reply.body);
                body.expect("entries")
            };
            let entries = shown("viewers");
            assert_eq!(entries.queue_data.len(), 1);
            assert_eq!(entries.subscription_data.expect("it is online").sub_string, "a > 1");
            let filter = [
                "{",
                "\t\"clientVersion\":7,",
                "\t\"consumerGroup\":\"viewers\",",
                "\t\"dead\":false,",
                "\t\"deadTime\":0,",
                "\t\"expression\":\"a > 1\",",
                "\t\"expressionType\":\"SQL92\",",
                "\t\"topic\":\"Shown\"",
                "}",
            ];
            assert_eq!(entries.filter_data, Some(filter.join("\n")));
            let nobody = shown("nobody").filter_data;
            assert_eq!(nobody.as_deref(), Some("nobody@Shown is not online!"));
        }
    });
}
