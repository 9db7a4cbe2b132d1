//! kill -9 under load: what was acknowledged is there afterwards, whole, in order, once.
//!
//! `RINGMQ_KILLS=20 cargo test --release --test crash` runs more rounds than the usual three per mode.
//! The process dies, not the machine: this tests the recovery and the order of acknowledgements, not
//! the device's cache.

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::record::Record;
use support::{Client, Server};

const TOPIC: &str = "CrashTopic";
const QUEUES: i32 = 4;
const PRODUCERS: u32 = 3;
const IN_FLIGHT: usize = 64;

/// Acknowledged messages: (queue, queue offset) to body.
type Acknowledged = BTreeMap<(i32, i64), Vec<u8>>;

fn body(producer: u32, number: u32) -> Vec<u8> {
    // Sizes from some bytes to several blocks, so that records lie everywhere in theirs.
    let size = 24 + (number as usize * 7919 + producer as usize * 104_729) % 9000;
    let mut body = format!("{producer} {number} ").into_bytes();
    body.resize(size.max(body.len()), b'a' + (number % 26) as u8);
    body
}

/// Sends until the server is gone, with many unanswered, and notes what was acknowledged.
fn produce(mut client: Client, producer: u32, acknowledged: &Mutex<Acknowledged>) {
    let mut waiting = BTreeMap::new();
    let mut number = 0;
    loop {
        while waiting.len() < IN_FLIGHT {
            let body = body(producer, number);
            let queue = (number % QUEUES as u32) as i32;
            number += 1;
            match client.write_send(TOPIC, queue, &body) {
                Ok(opaque) => waiting.insert(opaque, body),
                Err(_) => return,
            };
        }
        let Some(reply) = client.read() else { return };
        assert_eq!(reply.code, 0, "{}", reply.remark);
        let body = waiting.remove(&reply.opaque).expect("answers belong to requests");
        let place = (reply.number("queueId") as i32, reply.number("queueOffset"));
        let before = acknowledged.lock().expect("no producer panics").insert(place, body);
        assert!(before.is_none(), "two messages were acknowledged at {place:?}");
    }
}

/// Reads all queues whole: no gap, every body whole, and each acknowledged message in its place.
fn verify(server: &Server, acknowledged: &Acknowledged) -> usize {
    let mut client = Client::connect(server.broker);
    let mut stored: Acknowledged = BTreeMap::new();
    for queue in 0..QUEUES {
        let mut next = 0;
        loop {
            let reply = client.pull(TOPIC, queue, next);
            match reply.code {
                0 => {}
                19 => break,
                20 => {
                    next = reply.number("nextBeginOffset");
                    continue;
                }
                code => panic!("queue {queue} at {next}: code {code} {}", reply.remark),
            }
            let mut rest = &reply.body[..];
            while !rest.is_empty() {
                let (record, size) = Record::decode(rest).expect("whole records");
                let fields = record.fields();
                assert!(record.is_body_intact());
                assert_eq!(fields.queue_offset, next, "queue {queue} has a gap");
                stored.insert((queue, next), fields.body.to_vec());
                next += 1;
                rest = &rest[size..];
            }
            assert_eq!(reply.number("nextBeginOffset"), next);
        }
    }
    for (place, body) in acknowledged {
        let found = stored.get(place).unwrap_or_else(|| panic!("acknowledged {place:?} is lost"));
        assert!(found == body, "another message is at {place:?}");
    }
    stored.len()
}

fn kill_under_load(flush: &str) {
    let kills: u32 =
        std::env::var("RINGMQ_KILLS").map_or(3, |text| text.parse().expect("a number"));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let store = directory.path().join("store");
    let config = directory.path().join("broker.conf");
    std::fs::write(&config, "mappedFileSizeCommitLog = 67108864\n").expect("a file");
    let config = config.to_str().expect("text").to_owned();
    let flags = ["--flush", flush, "-c", &config, "--log-level", "warn"];
    let acknowledged: Arc<Mutex<Acknowledged>> = Arc::default();
    for round in 0..kills {
        let server = Server::start(&store, &flags);
        if round > 0 {
            verify(&server, &acknowledged.lock().expect("no producer panics"));
        } else {
            let mut client = Client::connect(server.broker);
            let queues = QUEUES.to_string();
            let ext = [
                ("topic", TOPIC),
                ("defaultTopic", "TBW102"),
                ("readQueueNums", &*queues),
                ("writeQueueNums", &*queues),
                ("perm", "6"),
                ("topicFilterType", "SINGLE_TAG"),
                ("topicSysFlag", "0"),
                ("order", "false"),
            ];
            assert_eq!(client.ask(17, &ext, &[]).code, 0);
        }
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let client = Client::connect(server.broker);
                let acknowledged = Arc::clone(&acknowledged);
                std::thread::spawn(move || {
                    produce(client, round * PRODUCERS + producer, &acknowledged)
                })
            })
            .collect();
        let before = acknowledged.lock().expect("no producer panics").len();
        let enough = before + 3000 + 1700 * round as usize % 5000;
        while acknowledged.lock().expect("no producer panics").len() < enough {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.kill();
        for producer in producers {
            producer.join().expect("producers saw nothing wrong");
        }
    }
    let server = Server::start(&store, &flags);
    let acknowledged = acknowledged.lock().expect("no producer panics");
    let stored = verify(&server, &acknowledged);
    println!("{flush}: {kills} kills, {} acknowledged, {stored} stored", acknowledged.len());
    server.stop();
    let server = Server::start(&store, &flags);
    assert_eq!(verify(&server, &acknowledged), stored, "a clean stop and start keeps everything");
    server.stop();
}

#[test]
fn acked_survives_kill_in_sync_flush() {
    kill_under_load("sync");
}

#[test]
fn acked_survives_kill_in_async_flush() {
    kill_under_load("async");
}
