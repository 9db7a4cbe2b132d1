//! Messages that wait for a time of their own, in the real program: order, never early, kill -9 and
//! downtime, being called back, bad times.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use proto::properties::{self, name};
use proto::recall::RecallHandle;
use support::{Client, Reply, Server, decoded, now_ms, write_config};

/// Shards and cores.
const SIZES: [(&str, &str); 2] = [("1", "1"), ("3", "2")];

const TOPIC: &str = "Timers";
const QUEUES: i32 = 5;

/// How long anything may take that has nothing to wait for.
const DEADLINE: Duration = Duration::from_secs(60);

fn start(directory: &Path, (shards, cores): (&str, &str), config: &str) -> Server {
    let config = write_config(directory, 16 << 20, &format!("brokerName = broker-t\n{config}"));
    let flags = ["--shards", shards, "--cores", cores, "-c", &config, "--log-level", "error"];
    Server::start(&directory.join(format!("store-{shards}")), &flags)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn send(client: &mut Client, topic: &str, queue: i32, text: &[(&str, &str)], body: &str) -> Reply {
    let mut properties = Vec::new();
    text.iter()
        .for_each(|(name, value)| properties::append(&mut properties, name, value.as_bytes()));
    let properties = String::from_utf8(properties).expect("text");
    let queue = queue.to_string();
    let ext = [
        ("a", "producers"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "5"),
        ("e", &*queue),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", &*properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
    ];
    client.ask(310, &ext, body.as_bytes())
}

/// Sends a message that waits; the handle to call it back.
fn send_at(client: &mut Client, queue: i32, key: &str, at_ms: i64) -> String {
    let at = at_ms.to_string();
    let text = [(name::TIMER_DELIVER_MS, &*at), (name::UNIQ_KEY, key)];
    let reply = send(client, TOPIC, queue, &text, key);
    assert_eq!(reply.code, 0, "{}", reply.remark);
    assert_eq!(reply.number("queueId"), i64::from(queue), "the queue it is for");
    reply.field("recallHandle").expect("a handle").to_owned()
}

fn recall(client: &mut Client, topic: &str, handle: &str) -> Reply {
    client.ask(370, &[("producerGroup", "p"), ("topic", topic), ("recallHandle", handle)], b"")
}

/// What came.
#[derive(Clone, Debug)]
struct Came {
    key: String,
    stored_ms: i64,
    properties: Vec<u8>,
}

impl Came {
    fn property(&self, name: &str) -> Option<String> {
        let value = properties::find(&self.properties, name)?;
        Some(String::from_utf8(value.to_vec()).expect("text"))
    }
}

/// Everything in a queue.
fn read(client: &mut Client, topic: &str, queue: i32) -> Vec<Came> {
    let mut all = Vec::new();
    loop {
        let reply = client.pull(topic, queue, all.len() as i64);
        if reply.code != 0 {
            return all;
        }
        all.extend(decoded(&reply.body).into_iter().map(|fields| Came {
            key: String::from_utf8(fields.body.to_vec()).expect("text"),
            stored_ms: fields.store_timestamp,
            properties: fields.properties.to_vec(),
        }));
    }
}

fn read_until(client: &mut Client, queue: i32, count: usize) -> Vec<Came> {
    let started = Instant::now();
    loop {
        let all = read(client, TOPIC, queue);
        if all.len() >= count {
            return all;
        }
        assert!(started.elapsed() < DEADLINE, "{} of {count} in queue {queue}", all.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn they_come_in_order_not_early_with_rocketmqs_properties() {
    let directory = folder();
    for size in SIZES {
        let server = start(directory.path(), size, "");
        let mut client = Client::connect(server.broker);
        client.create_topic(TOPIC, QUEUES);
        let from_ms = now_ms() + 4_000;
        for queue in 0..QUEUES {
            for number in [3, 1, 4, 0, 2] {
                let key = format!("key-{queue}-{number}");
                send_at(&mut client, queue, &key, from_ms + number * 40);
            }
        }
        let text = [(name::TIMER_DELAY_SEC, "1"), (name::UNIQ_KEY, "seconds"), (name::TAGS, "A")];
        assert_eq!(send(&mut client, TOPIC, 0, &text, "seconds").code, 0);
        let past = [(name::TIMER_DELIVER_MS, "5"), (name::UNIQ_KEY, "past")];
        let reply = send(&mut client, TOPIC, 1, &past, "past");
        assert_eq!((reply.code, reply.field("recallHandle")), (0, None));
        assert_eq!(read(&mut client, TOPIC, 1).len(), 1, "a time in the past: at once");
        for queue in 0..QUEUES {
            let extra = usize::from(queue < 2);
            let came = read_until(&mut client, queue, 5 + extra);
            let mut keys: Vec<_> = came.iter().filter(|it| it.key.starts_with("key")).collect();
            assert!(keys.is_sorted_by_key(|it| &it.key), "{came:?}");
            for (number, it) in (0..).zip(keys.drain(..)) {
                assert_eq!(it.key, format!("key-{queue}-{number}"));
                let due_ms = from_ms + number * 40;
                assert!(it.stored_ms >= due_ms, "{} ms early", due_ms - it.stored_ms);
                let out = (due_ms - 1).to_string();
                assert_eq!(it.property(name::TIMER_OUT_MS), Some(out));
                assert_eq!(it.property(name::TIMER_DELIVER_MS), Some(due_ms.to_string()));
                assert_eq!(it.property(name::REAL_TOPIC).as_deref(), Some(TOPIC), "as there");
                assert!(it.property(name::TIMER_DEQUEUE_MS).is_some());
            }
            assert_eq!(came.len(), 5 + extra, "each comes once");
        }
        // Tools may look at the topic in which they waited.
        let (shards, _) = size;
        let shards: i32 = shards.parse().expect("a number");
        let waited = (0..shards).map(|queue| read(&mut client, "rmq_sys_wheel_timer", queue));
        let waited: Vec<_> = waited.flatten().collect();
        assert_eq!(waited.len(), 26);
        assert!(waited.iter().all(|it| it.property(name::REAL_TOPIC).as_deref() == Some(TOPIC)));
        server.stop();
    }
}

#[test]
fn what_waits_survives_kills_and_comes_late_but_in_order_after_downtime() {
    let directory = folder();
    for size in SIZES {
        let server = start(directory.path(), size, "");
        let mut client = Client::connect(server.broker);
        client.create_topic(TOPIC, QUEUES);
        let sent_ms = now_ms();
        let mut due = std::collections::BTreeMap::new();
        for number in 0..400i64 {
            let key = format!("{number:03}");
            let due_ms = sent_ms + 6_000 + number * 7_919 % 2_000;
            send_at(&mut client, (number % 5) as i32, &key, due_ms);
            due.insert(key, due_ms);
        }
        // Killed while they wait, then while they fire, then down while they are due.
        server.kill();
        let server = start(directory.path(), size, "");
        let mut client = Client::connect(server.broker);
        while now_ms() < sent_ms + 6_500 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let before: usize = (0..QUEUES).map(|queue| read(&mut client, TOPIC, queue).len()).sum();
        server.kill();
        while now_ms() < sent_ms + 8_500 {
            std::thread::sleep(Duration::from_millis(20));
        }
        let server = start(directory.path(), size, "");
        let mut client = Client::connect(server.broker);
        for queue in 0..QUEUES {
            let came = read_until(&mut client, queue, 80);
            let times: Vec<_> = came.iter().map(|it| due[&it.key]).collect();
            assert!(times.is_sorted(), "queue {queue}: {times:?}");
            assert!(came.iter().all(|it| it.stored_ms >= due[&it.key]), "early");
            let mut keys: Vec<_> = came.iter().map(|it| &it.key).collect();
            keys.dedup();
            assert_eq!(keys.len(), 80, "each comes once");
        }
        assert!(before > 0, "some came before the second kill");
        let again = read(&mut client, TOPIC, 0).len();
        assert_eq!(again, 80);
        server.stop();
    }
}

#[test]
fn what_is_called_back_never_comes() {
    let directory = folder();
    for size in SIZES {
        let config = "recallMessageEnable = true\n";
        let server = start(directory.path(), size, config);
        let mut client = Client::connect(server.broker);
        client.create_topic(TOPIC, QUEUES);
        let due_ms = now_ms() + 6_000;
        for queue in 0..QUEUES {
            for name in ["stays", "goes"] {
                let key = format!("{name}-{queue}");
                let handle = send_at(&mut client, queue, &key, due_ms);
                if name == "goes" {
                    let reply = recall(&mut client, TOPIC, &handle);
                    assert_eq!(reply.code, 0, "{}", reply.remark);
                    assert_eq!(reply.field("msgId"), Some(&*key));
                    assert_eq!(reply.field("MSG_REGION"), Some("DefaultRegion"));
                }
            }
        }
        server.kill();
        let server = start(directory.path(), size, config);
        let mut client = Client::connect(server.broker);
        for queue in 0..QUEUES {
            let came = read_until(&mut client, queue, 1);
            assert_eq!(came[0].key, format!("stays-{queue}"));
        }
        // Everything of that time has fired, and nothing else came.
        let after_ms = now_ms() + 2_000;
        for queue in 0..QUEUES {
            send_at(&mut client, queue, "after", after_ms);
        }
        for queue in 0..QUEUES {
            let keys: Vec<_> =
                read_until(&mut client, queue, 2).into_iter().map(|it| it.key).collect();
            assert_eq!(keys, [format!("stays-{queue}"), "after".to_owned()]);
        }
        server.stop();
    }
}

/// With what it answers.
fn refused(reply: &Reply, expect: (i32, &str)) {
    assert!(
        reply.code == expect.0 && reply.remark.contains(expect.1),
        "{} {:?}, not {expect:?}",
        reply.code,
        reply.remark
    );
}

#[test]
fn bad_times_are_refused() {
    let directory = folder();
    for size in SIZES {
        let server = start(directory.path(), size, "timerMaxDelaySec = 100\n");
        let mut client = Client::connect(server.broker);
        client.create_topic(TOPIC, QUEUES);
        let far = (now_ms() + 200_000).to_string();
        for (name, value) in [
            (name::TIMER_DELAY_SEC, "101"),
            (name::TIMER_DELAY_SEC, "9223372036854775807"),
            (name::TIMER_DELAY_MS, "100001"),
            (name::TIMER_DELAY_MS, "soon"),
            (name::TIMER_DELIVER_MS, "1e3"),
            (name::TIMER_DELIVER_MS, &*far),
            (name::TIMER_DELIVER_MS, "9223372036854775807"),
        ] {
            let reply = send(&mut client, TOPIC, 1, &[(name, value)], "x");
            refused(&reply, (13, "should not be bigger than the max delay 100000ms"));
        }
        let cancel = [(name::TIMER_DELIVER_MS, "7"), (name::TIMER_DEL_UNIQKEY, "Timers+x")];
        refused(&send(&mut client, TOPIC, 1, &cancel, "x"), (13, "or if set del msg"));
        assert_eq!(read(&mut client, TOPIC, 1).len(), 0);
        // A level beside it counts, and the time is forgotten.
        let both = [(name::TIMER_DELAY_SEC, "90"), (name::DELAY, "1")];
        assert_eq!(send(&mut client, TOPIC, 2, &both, "level").code, 0);
        let came = read_until(&mut client, 2, 1);
        assert_eq!(came[0].property(name::TIMER_DELAY_SEC), None);
        server.stop();

        let server = start(directory.path(), size, "timerWheelEnable = false\n");
        let mut client = Client::connect(server.broker);
        let reply = send(&mut client, TOPIC, 1, &[(name::TIMER_DELAY_SEC, "5")], "x");
        refused(&reply, (1, "accurate timer message is not enabled, timerWheelEnable is false"));
        server.stop();
    }
}

#[test]
fn bad_recalls_are_refused() {
    let directory = folder();
    for size in SIZES {
        let server = start(directory.path(), size, "");
        let mut client = Client::connect(server.broker);
        client.create_topic(TOPIC, QUEUES);
        let handle = send_at(&mut client, 1, "key", now_ms() + 50_000);
        let forbidden = (16, "recall failed, operation is forbidden");
        refused(&recall(&mut client, TOPIC, &handle), forbidden);
        server.stop();

        let config = "recallMessageEnable = true\nallowRecallWhenBrokerNotWriteable = false\n";
        let read_only = format!("{config}brokerPermission = 4\n");
        let server = start(directory.path(), size, &read_only);
        let mut client = Client::connect(server.broker);
        let unavailable = (14, "recall failed, broker service not available");
        refused(&recall(&mut client, TOPIC, &handle), unavailable);
        server.stop();

        let server = start(directory.path(), size, config);
        let mut client = Client::connect(server.broker);
        let good = RecallHandle::decode(&handle).expect("ours");
        assert_eq!((&*good.topic, &*good.broker_name), (TOPIC, "broker-t"));
        assert_eq!(good.queue_id, (size.0 != "1").then_some(1));
        let changed = |change: fn(&mut RecallHandle)| {
            let mut handle = good.clone();
            change(&mut handle);
            handle.encode().expect("no blanks")
        };
        let past = changed(|it| it.due_ms = Some(7));
        let far = changed(|it| it.due_ms = it.due_ms.map(|due_ms| due_ms + 400_000_000));
        let broker = changed(|it| it.broker_name = "other".to_owned());
        let topic = changed(|it| it.topic = "Other".to_owned());
        let long = changed(|it| it.unique_key = "k".repeat(256));
        for (handle, expect) in [
            ("", "recall handle is invalid"),
            ("no handle", "recall handle is invalid"),
            (&*long, "recall handle is invalid"),
            (&*topic, "recall failed, topic not match"),
            (&*broker, "recall failed, broker service not available"),
            (&*past, "recall failed, timestamp invalid"),
            (&*far, "recall failed, timestamp invalid"),
        ] {
            refused(&recall(&mut client, TOPIC, handle), (604, expect));
        }
        let without = changed(|it| it.queue_id = None);
        let reply = recall(&mut client, TOPIC, &without);
        match size.0 {
            "1" => assert_eq!(reply.code, 0, "{}", reply.remark),
            _ => refused(&reply, (604, "recall handle is invalid")),
        }
        let unknown = (17, "recall failed, the topic[Unknown] not exist");
        refused(&recall(&mut client, "Unknown", &handle), unknown);
        assert_eq!(recall(&mut client, TOPIC, &handle).code, 0);
        server.stop();

        let server = start(directory.path(), size, &format!("{config}timerWheelEnable = false\n"));
        let mut client = Client::connect(server.broker);
        refused(&recall(&mut client, TOPIC, &handle), (1, "recall failed, execute error"));
        server.stop();
    }
}
