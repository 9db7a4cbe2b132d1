//! Old segments of the real program go by a budget; what they said stays: topics, queue offsets, committed
//! offsets, messages that wait for their time.

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use support::{Client, Server, records, write_config};

const TOPIC: &str = "RetainedTopic";
const SEGMENT_BYTES: u64 = 16 << 20;
const BUDGET_BYTES: u64 = 40 << 20;

/// Codes of RocketMQ.
const SEND_MESSAGE: i32 = 10;
const UPDATE_CONSUMER_OFFSET: i32 = 15;
const QUERY_CONSUMER_OFFSET: i32 = 14;
const GET_MAX_OFFSET: i32 = 30;
const GET_MIN_OFFSET: i32 = 31;
const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
const GET_EARLIEST_MSG_STORETIME: i32 = 32;
const PULL_OFFSET_MOVED: i32 = 21;
const PULL_NOT_FOUND: i32 = 19;

fn body(number: i64) -> Vec<u8> {
    let mut body = format!("{number:012} ").into_bytes();
    body.resize(40_000 + (number % 7) as usize * 1000, b'x');
    body
}

/// Sends messages so that the one with offset `n` has the body of `n`.
fn send(client: &mut Client, offsets: std::ops::Range<i64>) {
    for number in offsets {
        client.write_send(TOPIC, 0, &body(number)).expect("open");
        let reply = client.read().expect("an answer");
        assert_eq!((reply.code, reply.number("queueOffset")), (0, number), "{}", reply.remark);
    }
}

/// Sends a message that waits: delay level 2.
fn send_delayed(client: &mut Client, queue: &str, body: &[u8]) {
    let fields = [
        ("producerGroup", "Producers"),
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", queue),
        ("sysFlag", "0"),
        ("bornTimestamp", "1"),
        ("flag", "0"),
        ("properties", "DELAY\u{1}2\u{2}"),
    ];
    let reply = client.ask(SEND_MESSAGE, &fields, body);
    assert_eq!(reply.code, 0, "{}", reply.remark);
}

/// What has come to queue 1, as soon as there are `count` messages.
fn come(client: &mut Client, count: i64) -> Vec<(i64, Vec<u8>)> {
    let begun = Instant::now();
    let bounds = [("queueId", "1"), ("topic", TOPIC)];
    loop {
        let max = client.ask(GET_MAX_OFFSET, &bounds, &[]).number("offset");
        if max >= count {
            assert_eq!(max, count, "each came once");
            return records(&client.pull(TOPIC, 1, 0).body);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{max} of {count} came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ask_offset(client: &mut Client, code: i32, more: &[(&str, &str)], key: &str) -> i64 {
    let ext = [&[("topic", TOPIC), ("queueId", "0")], more].concat();
    let reply = client.ask(code, &ext, &[]);
    assert_eq!(reply.code, 0, "{}", reply.remark);
    reply.number(key)
}

fn min_offset(client: &mut Client) -> i64 {
    ask_offset(client, GET_MIN_OFFSET, &[], "offset")
}

fn log_bytes(store: &Path) -> u64 {
    let names = std::fs::read_dir(store.join("shard-000")).expect("a shard");
    let is_segment = |name: &str| name.len() == 20;
    names
        .filter(|it| is_segment(&it.as_ref().expect("an entry").file_name().to_string_lossy()))
        .count() as u64
        * SEGMENT_BYTES
}

/// Everything from the oldest message on is what was sent.
fn read_all(client: &mut Client, max: i64) -> i64 {
    let min = min_offset(client);
    let moved = client.pull(TOPIC, 0, 0);
    assert_eq!((moved.code, moved.number("nextBeginOffset")), (PULL_OFFSET_MOVED, min));
    let mut next = min;
    while next < max {
        let reply = client.pull(TOPIC, 0, next);
        assert_eq!(reply.code, 0, "{next}: {}", reply.remark);
        for (offset, found) in records(&reply.body) {
            assert_eq!(offset, next);
            assert!(found == body(offset), "{offset} has another body");
            next += 1;
        }
    }
    assert_eq!(client.pull(TOPIC, 0, max).code, PULL_NOT_FOUND);
    min
}

#[test]
fn old_segments_go_and_what_they_said_stays() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let store = folder.path().join("store");
    let lines = format!("ringmqLogBytesMax = {BUDGET_BYTES}\nmessageDelayLevel = 1s 1h");
    let config = write_config(folder.path(), SEGMENT_BYTES, &lines);
    let flags = ["-c", &config, "--log-level", "warn"];
    let server = Server::start(&store, &flags);
    let mut client = Client::connect(server.broker);
    client.create_topic(TOPIC, 2);
    assert_eq!(client.pull_as("Readers", TOPIC, 0, 0).code, PULL_NOT_FOUND, "the group is made");
    // In the first segment, which goes long before their hour has come.
    let waiting = [body(1_000_000), b"a small one".to_vec(), body(1_000_002)];
    waiting.iter().for_each(|body| send_delayed(&mut client, "1", body));
    send(&mut client, 0..100);
    let commit =
        [("consumerGroup", "Readers"), ("topic", TOPIC), ("queueId", "0"), ("commitOffset", "77")];
    assert_eq!(client.ask(UPDATE_CONSUMER_OFFSET, &commit, &[]).code, 0);
    // 115 MB: the topic, the commit and the first messages are in segments that go.
    send(&mut client, 100..2700);
    let begun = Instant::now();
    // A message has 43,000 bytes on average: until what is left fits into the budget, more is to go.
    while log_bytes(&store) > BUDGET_BYTES + 2 * SEGMENT_BYTES + (128 << 20)
        || (2700 - min_offset(&mut client)) * 43_000 > BUDGET_BYTES as i64
    {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "old segments stay: {}",
            log_bytes(&store)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let min = read_all(&mut client, 2700);
    let committed = |client: &mut Client| {
        ask_offset(client, QUERY_CONSUMER_OFFSET, &[("consumerGroup", "Readers")], "offset")
    };
    assert_eq!(committed(&mut client), 77);
    let oldest_ms = ask_offset(&mut client, GET_EARLIEST_MSG_STORETIME, &[], "timestamp");
    assert!(oldest_ms > 0);
    let at = |client: &mut Client, time_ms: i64| {
        let time = time_ms.to_string();
        ask_offset(client, SEARCH_OFFSET_BY_TIMESTAMP, &[("timestamp", &time)], "offset")
    };
    assert_eq!(at(&mut client, 0), min);
    assert_eq!(at(&mut client, oldest_ms), min);
    assert_eq!(at(&mut client, i64::MAX), 2700);
    server.kill();

    for stop in [Server::kill as fn(Server), Server::stop] {
        let server = Server::start(&store, &flags);
        let mut client = Client::connect(server.broker);
        assert_eq!(read_all(&mut client, 2700), min, "queues begin and end where they did");
        assert_eq!(committed(&mut client), 77);
        assert_eq!(ask_offset(&mut client, GET_MAX_OFFSET, &[], "offset"), 2700);
        stop(server);
    }
    let server = Server::start(&store, &flags);
    let mut client = Client::connect(server.broker);
    send(&mut client, 2700..2710);
    assert!(read_all(&mut client, 2710) >= min);
    assert_eq!(client.pull(TOPIC, 1, 0).code, PULL_NOT_FOUND, "nothing comes before its time");
    server.kill();

    // Their hour becomes a second, which is long over.
    write_config(folder.path(), SEGMENT_BYTES, &lines.replace("1s 1h", "1s 1s"));
    for stop in [Server::kill as fn(Server), Server::stop] {
        let server = Server::start(&store, &flags);
        let mut client = Client::connect(server.broker);
        let came = come(&mut client, 3);
        assert!(came.iter().map(|(_, body)| body).eq(&waiting), "what waited came whole, in order");
        stop(server);
    }
}
