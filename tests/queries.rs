//! Messages are found by key, unique key, position and place in their queue: the same ones whatever the
//! numbers of shards and cores, after kill -9, without index files, and with damaged ones; and those that
//! are gone are not.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use proto::ids::{OffsetMessageId, Position};
use support::{Client, DEADLINE, Reply, Server, decoded, write_config};

const TOPIC: &str = "QueriedTopic";
const QUEUES: u32 = 7;
const SEGMENT_BYTES: u64 = 16 << 20;

const SEND_MESSAGE: i32 = 10;
const QUERY_MESSAGE: i32 = 12;
const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
const VIEW_MESSAGE_BY_ID: i32 = 33;
const QUERY_CONSUME_QUEUE: i32 = 321;
const SUCCESS: i32 = 0;
const SYSTEM_ERROR: i32 = 1;
const QUERY_NOT_FOUND: i32 = 22;

/// What a message was sent with, and where it went.
#[derive(Clone, Debug)]
struct Sent {
    number: u32,
    unique: String,
    keys: Vec<String>,
    position: Position,
    queue: i32,
    queue_offset: i64,
}

/// A message as a query gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Given {
    number: u32,
    stored_ms: i64,
    position: i64,
}

fn body(number: u32, bytes: usize) -> Vec<u8> {
    let mut body = format!("{number:012} ").into_bytes();
    body.resize(bytes.max(body.len()), b'x');
    body
}

fn properties(unique: &str, keys: &[String]) -> String {
    format!("UNIQ_KEY\u{1}{unique}\u{2}KEYS\u{1}{}\u{2}TAGS\u{1}Tag\u{2}", keys.join(" "))
}

/// Sends messages, many at a time, over one connection.
fn send(client: &mut Client, numbers: std::ops::Range<u32>, bytes: usize) -> Vec<Sent> {
    let keys = |number: u32| vec![format!("key{}", number % 50), "all".to_owned()];
    send_with(client, numbers, bytes, keys)
}

fn send_with(
    client: &mut Client,
    numbers: std::ops::Range<u32>,
    bytes: usize,
    keys: impl Fn(u32) -> Vec<String>,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    for chunk in numbers.collect::<Vec<_>>().chunks(50) {
        let mut asked = BTreeMap::new();
        for number in chunk {
            let (unique, keys) = (format!("{number:032X}"), keys(*number));
            let text = properties(&unique, &keys);
            let queue = (number % QUEUES).to_string();
            let fields = [
                ("producerGroup", "Producers"),
                ("topic", TOPIC),
                ("defaultTopic", "TBW102"),
                ("defaultTopicQueueNums", "4"),
                ("queueId", &queue),
                ("sysFlag", "0"),
                ("bornTimestamp", "1"),
                ("flag", "0"),
                ("properties", &text),
            ];
            let opaque = client.write(SEND_MESSAGE, &fields, &body(*number, bytes));
            asked.insert(opaque, (*number, unique, keys));
        }
        while !asked.is_empty() {
            let reply = client.read().expect("an answer");
            assert_eq!(reply.code, SUCCESS, "{}", reply.remark);
            let (number, unique, keys) = asked.remove(&reply.opaque).expect("asked");
            let id = reply.field("msgId").expect("an id").as_bytes();
            sent.push(Sent {
                number,
                unique,
                keys,
                position: OffsetMessageId::decode(id).expect("an id").position,
                queue: reply.number("queueId") as i32,
                queue_offset: reply.number("queueOffset"),
            });
        }
    }
    sent.sort_by_key(|it| it.number);
    sent
}

fn given(bytes: &[u8]) -> Vec<Given> {
    let given = decoded(bytes).into_iter().map(|fields| {
        let text = std::str::from_utf8(&fields.body[..12]).expect("text");
        Given {
            number: text.parse().expect("a number"),
            stored_ms: fields.store_timestamp,
            position: fields.physic_offset,
        }
    });
    given.collect()
}

fn query(
    client: &mut Client,
    topic: &str,
    key: &str,
    count: i64,
    (begin, end): (i64, i64),
    unique: bool,
) -> Reply {
    let (count, begin, end) = (count.to_string(), begin.to_string(), end.to_string());
    let fields = [
        ("topic", topic),
        ("key", key),
        ("maxNum", &count),
        ("beginTimestamp", &begin),
        ("endTimestamp", &end),
        ("_UNIQUE_KEY_QUERY", if unique { "true" } else { "false" }),
    ];
    client.ask(QUERY_MESSAGE, &fields, &[])
}

const EVER: (i64, i64) = (0, i64::MAX);

/// What is found; nothing is code 22.
fn find(client: &mut Client, key: &str, count: i64, time: (i64, i64), unique: bool) -> Vec<Given> {
    let reply = query(client, TOPIC, key, count, time, unique);
    if reply.code == QUERY_NOT_FOUND {
        assert_eq!(reply.remark, "can not find message, maybe time range not correct");
        assert_eq!(reply.number("indexLastUpdateTimestamp"), 0);
        return Vec::new();
    }
    assert_eq!(reply.code, SUCCESS, "{}", reply.remark);
    let found = given(&reply.body);
    assert!(found.is_sorted_by_key(|it| (it.stored_ms, it.position)), "the oldest first");
    let newest = found.last().map_or(0, |it| it.stored_ms);
    assert!(reply.number("indexLastUpdateTimestamp") >= newest);
    found
}

fn numbers(found: &[Given]) -> BTreeSet<u32> {
    found.iter().map(|it| it.number).collect()
}

/// All that was sent is found, and nothing else.
fn verify(server: &Server, sent: &[Sent]) {
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.broker)).collect();
    for (index, it) in sent.iter().enumerate().step_by(sent.len() / 97 + 1) {
        let client = &mut clients[index % 3];
        let found = find(client, &it.unique, 1, EVER, true);
        assert_eq!(numbers(&found), BTreeSet::from([it.number]), "{it:?}");
        assert_eq!(found[0].position, it.position.to_i64());
        let at = (found[0].stored_ms, found[0].stored_ms);
        assert_eq!(find(client, &it.unique, 1, at, true), found, "its very time");
        assert!(find(client, &it.unique, 1, (at.0 + 1, i64::MAX), true).is_empty());
        assert!(find(client, &it.unique, 1, (0, at.0 - 1), true).is_empty());
        let offset = it.position.to_i64().to_string();
        let viewed = client.ask(VIEW_MESSAGE_BY_ID, &[("offset", &offset)], &[]);
        assert_eq!((viewed.code, given(&viewed.body)), (SUCCESS, found), "{}", viewed.remark);
    }
    for (index, client) in clients.iter_mut().enumerate() {
        let key = format!("key{}", 7 + index);
        let expected: BTreeSet<_> =
            sent.iter().filter(|it| it.keys.contains(&key)).map(|it| it.number).collect();
        assert!((1..=64).contains(&expected.len()), "the test fits one answer");
        let found = find(client, &key, 64, EVER, false);
        assert_eq!((numbers(&found), found.len()), (expected.clone(), expected.len()), "{key}");
        // The newest few of them; as many as the limit of all.
        let fewer = find(client, &key, 5, EVER, false);
        assert_eq!(fewer, found[found.len() - 5..]);
        let newest = find(client, "all", 100_000, EVER, false);
        assert_eq!(newest.len(), 64);
        assert!(newest[0].stored_ms >= found[0].stored_ms);
        // Two of the answers to the same question are the same, and a part of the time is a part of it.
        let middle = (found[found.len() / 3].stored_ms, found[found.len() / 2].stored_ms);
        let expected: Vec<_> = found
            .iter()
            .filter(|it| (middle.0..=middle.1).contains(&it.stored_ms))
            .cloned()
            .collect();
        assert_eq!(find(client, &key, 64, middle, false), expected);
    }
}

fn index_files(store: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for shard in fs::read_dir(store).expect("a store").filter_map(Result::ok) {
        let Ok(files) = fs::read_dir(shard.path()) else { continue };
        let paths = files.filter_map(Result::ok).map(|it| it.path());
        found.extend(paths.filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("index-") && !name.ends_with(".new")
        }));
    }
    found.sort();
    found
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Store {
    folder: tempfile::TempDir,
    store: PathBuf,
    config: String,
    sizes: (&'static str, &'static str),
}

impl Store {
    fn new(sizes: (&'static str, &'static str), more: &str) -> Store {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let store = folder.path().join("store");
        let config = write_config(folder.path(), SEGMENT_BYTES, more);
        Store { folder, store, config, sizes }
    }

    fn start(&self) -> Server {
        let (shards, cores) = self.sizes;
        let flags =
            ["--shards", shards, "--cores", cores, "-c", &self.config, "--log-level", "error"];
        Server::start(&self.store, &flags)
    }

    fn inspect(&self) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
            .args(["inspect", "--store"])
            .arg(&self.store)
            .arg("verify")
            .output()
            .expect("the program runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn found_through_everything(sizes: (&'static str, &'static str)) {
    let store = Store::new(sizes, "");
    let server = store.start();
    let mut client = Client::connect(server.broker);
    client.create_topic(TOPIC, QUEUES as i32);
    let mut sent = send(&mut client, 0..2500, 24_000);
    verify(&server, &sent);
    let shards: usize = sizes.0.parse().expect("a number");
    until("full segments have index files", || index_files(&store.store).len() >= shards);
    verify(&server, &sent);
    server.kill();

    let server = store.start();
    verify(&server, &sent);
    let mut client = Client::connect(server.broker);
    sent.extend(send(&mut client, 2500..2600, 100));
    verify(&server, &sent);
    server.stop();
    let (is_whole, text) = store.inspect();
    assert!(is_whole, "{text}");

    // Without files: they are made again, in the background, and everything is found.
    let files = index_files(&store.store);
    files.iter().for_each(|path| fs::remove_file(path).expect("a file"));
    let server = store.start();
    until("index files are made again", || index_files(&store.store) == files);
    until("nothing is missing", || {
        let mut client = Client::connect(server.broker);
        let mut is_found = |it: &Sent| find(&mut client, &it.unique, 1, EVER, true).len() == 1;
        sent.iter().step_by(100).all(&mut is_found)
    });
    verify(&server, &sent);
    server.kill();

    // One with a damaged head, which the start finds, one with damaged pages, which a query finds.
    let whole: Vec<_> = files.iter().map(|path| fs::read(path).expect("a file")).collect();
    let (first, last) = (files.first().expect("a file"), files.last().expect("a file"));
    let damage = |path: &Path, at: u64| {
        let file = File::options().write(true).open(path).expect("a file");
        file.write_all_at(b"damaged", at).expect("written");
    };
    damage(first, 50);
    if first != last {
        let pages = fs::metadata(last).expect("a file").len() / 4096 - 2;
        (0..pages).for_each(|page| damage(last, 8192 + page * 4096 + 100));
    }
    let (is_whole, text) = store.inspect();
    assert!(!is_whole && text.contains("index-"), "{text}");
    let server = store.start();
    until("nothing is missing", || {
        let mut client = Client::connect(server.broker);
        let mut is_found = |it: &Sent| find(&mut client, &it.unique, 1, EVER, true).len() == 1;
        sent.iter().step_by(50).all(&mut is_found)
    });
    verify(&server, &sent);
    until("they are what they were", || {
        files.iter().zip(&whole).all(|(path, whole)| fs::read(path).is_ok_and(|it| it == *whole))
    });
    server.stop();
    let (is_whole, text) = store.inspect();
    assert!(is_whole, "{text}");
}

#[test]
fn found_through_everything_on_one_shard() {
    found_through_everything(("1", "1"));
}

#[test]
fn found_through_everything_on_three_shards_and_two_cores() {
    found_through_everything(("3", "2"));
}

#[test]
fn what_cannot_be_found_is_said_so() {
    for sizes in [("1", "1"), ("3", "2")] {
        let store = Store::new(sizes, "");
        let server = store.start();
        let mut client = Client::connect(server.broker);
        client.create_topic(TOPIC, QUEUES as i32);
        let sent = send(&mut client, 0..50, 100);
        let none = |reply: Reply| {
            assert_eq!((reply.code, reply.body.len()), (QUERY_NOT_FOUND, 0), "{}", reply.remark);
        };
        none(query(&mut client, TOPIC, "nobody's", 32, EVER, false));
        none(query(&mut client, "NoSuchTopic", "all", 32, EVER, false));
        none(query(&mut client, "TBW102", "all", 32, EVER, false));
        none(query(&mut client, TOPIC, "all", 0, EVER, false));
        none(query(&mut client, TOPIC, "all", -1, EVER, false));
        none(query(&mut client, TOPIC, "", 32, EVER, false));
        none(query(&mut client, TOPIC, "all", 32, (i64::MAX, 0), false));
        none(query(&mut client, TOPIC, "all", 32, (i64::MIN, -1), false));
        none(query(&mut client, TOPIC, "all", 32, (i64::MAX, i64::MAX), false));
        let all = find(&mut client, "all", 64, (i64::MIN, i64::MAX), false);
        assert_eq!(all.len(), 50, "from before time began");
        // A unique key is one of the keys; how many are wanted is then the broker's affair.
        assert_eq!(find(&mut client, &sent[3].unique, 64, EVER, false).len(), 1);
        assert_eq!(find(&mut client, "all", -5, EVER, true).len(), 32);
        let missing = client.ask(QUERY_MESSAGE, &[("topic", TOPIC), ("key", "all")], &[]);
        assert_eq!(missing.code, SYSTEM_ERROR);
        let mut view = |offset: i64| {
            let offset = offset.to_string();
            client.ask(VIEW_MESSAGE_BY_ID, &[("offset", &offset), ("topic", TOPIC)], &[])
        };
        let position = sent[9].position.to_i64();
        assert_eq!(given(&view(position).body)[0].number, 9);
        for offset in [position + 8, position - 32, position + 1, 0, -1, 1 << 54, i64::MAX] {
            let reply = view(offset);
            let remark = format!("can not find message by the offset, {offset}");
            assert_eq!((reply.code, reply.remark), (SYSTEM_ERROR, remark));
        }
        server.kill();
    }
}

#[test]
fn queue_entries_are_shown() {
    for sizes in [("1", "1"), ("3", "2")] {
        let store = Store::new(sizes, "");
        let server = store.start();
        let mut client = Client::connect(server.broker);
        client.create_topic(TOPIC, QUEUES as i32);
        let sent = send(&mut client, 0..1400, 15_000);
        let queue: Vec<_> = sent.iter().filter(|it| it.queue == 3).collect();
        assert_eq!(queue.len(), 200);
        let mut ask = |more: &[(&str, &str)]| {
            let fields = [&[("topic", TOPIC), ("queueId", "3")], more].concat();
            client.ask(QUERY_CONSUME_QUEUE, &fields, &[])
        };
        type Body = proto::body::QueryConsumeQueueResponseBody;
        for (index, count, expected) in
            [(0, 10, 10), (150, 100, 50), (199, 1, 1), (5, 0, 0), (5, -1, 0)]
        {
            let (from, wanted) = (index.to_string(), count.to_string());
            let reply = ask(&[("index", &from), ("count", &wanted)]);
            assert_eq!(reply.code, SUCCESS, "{}", reply.remark);
            let shown = Body::parse(&reply.body).expect("a body");
            assert_eq!((shown.min_queue_index, shown.max_queue_index), (0, 200));
            assert_eq!((shown.filter_data, shown.subscription_data), (None, None));
            assert_eq!(shown.queue_data.len(), expected);
            for (offset, entry) in (index..).zip(&shown.queue_data) {
                let sent = queue.iter().find(|it| it.queue_offset == offset).expect("sent");
                assert_eq!(entry.physic_offset, sent.position.to_i64());
                assert_eq!(entry.tags_code, i64::from(proto::ids::java_hash(b"Tag")));
                assert!(entry.physic_size > 15_000 && entry.msg.is_none());
            }
        }
        let offline = ask(&[("index", "0"), ("count", "1"), ("consumerGroup", "Nobody")]);
        let shown = Body::parse(&offline.body).expect("a body");
        assert_eq!(shown.filter_data.as_deref(), Some("Nobody@QueriedTopic is not online!"));
        for index in ["200", "-1", "9223372036854775807"] {
            let reply = ask(&[("index", index), ("count", "1")]);
            let remark = format!("Index {index} of 3@QueriedTopic is not exist!");
            assert_eq!((reply.code, reply.remark, reply.body.len()), (SUCCESS, remark, 0));
        }
        let unknown =
            client.ask(QUERY_CONSUME_QUEUE, &[("topic", "Unknown"), ("queueId", "1")], &[]);
        assert_eq!((unknown.code, &*unknown.remark), (SYSTEM_ERROR, "1@Unknown is not exist!"));
        client.heartbeat("client", &["Somebody"], TOPIC);
        let fields =
            [("topic", TOPIC), ("queueId", "3"), ("count", "1"), ("consumerGroup", "Somebody")];
        let online = client.ask(QUERY_CONSUME_QUEUE, &fields, &[]);
        let shown = Body::parse(&online.body).expect("a body");
        assert_eq!(shown.filter_data.as_deref(), Some("null"), "as Java prints no filter");
        assert_eq!(shown.subscription_data.expect("it is online").sub_string, "*");
        server.kill();
    }
}

/// By time in a queue: both boundaries, as `ConsumeQueue.getOffsetInQueueByTime` has them.
#[test]
fn both_boundaries_of_a_time_are_found() {
    let store = Store::new(("3", "2"), "");
    let server = store.start();
    let mut client = Client::connect(server.broker);
    client.create_topic(TOPIC, 1);
    let keys = |_: u32| Vec::new();
    let mut times = Vec::new();
    for number in 0..30 {
        // Only queue 0 exists: one at a time, some in the same millisecond.
        let sent = send_with(&mut client, number * QUEUES..number * QUEUES + 1, 100, keys);
        let offset = sent[0].position.to_i64().to_string();
        let viewed = client.ask(VIEW_MESSAGE_BY_ID, &[("offset", &offset)], &[]);
        times.push(given(&viewed.body)[0].stored_ms);
        if number % 3 == 0 {
            std::thread::sleep(Duration::from_millis(4));
        }
    }
    let mut search = |time: i64, boundary: &str| {
        let time = time.to_string();
        let fields =
            [("topic", TOPIC), ("queueId", "0"), ("timestamp", &*time), ("boundaryType", boundary)];
        let reply = client.ask(SEARCH_OFFSET_BY_TIMESTAMP, &fields, &[]);
        assert_eq!(reply.code, SUCCESS, "{}", reply.remark);
        reply.number("offset")
    };
    for time in times[0] - 2..times[29] + 3 {
        let lower = times.partition_point(|it| *it < time) as i64;
        let upper = (times.partition_point(|it| *it <= time) as i64 - 1).max(0);
        assert_eq!((search(time, "lower"), search(time, "upper")), (lower, upper), "{time}");
    }
    server.kill();
}

#[test]
fn many_keys_make_many_files_that_become_one() {
    let store = Store::new(("1", "1"), "");
    let server = store.start();
    let mut client = Client::connect(server.broker);
    client.create_topic(TOPIC, QUEUES as i32);
    // 10,000 keys each, some three million in a segment.
    let keys = |number: u32| {
        let mut keys: Vec<_> = (0..10_000).map(|key| format!("{key:02x}")).collect();
        keys.truncate(6000 + number as usize % 50);
        keys.push(format!("own{number}"));
        keys
    };
    let sent = send_with(&mut client, 0..700, 100, keys);
    let names = || -> Vec<String> {
        let files = index_files(&store.store);
        files.iter().map(|it| it.file_name().expect("a name").to_string_lossy().into()).collect()
    };
    let merged = format!("index-{:020}-{SEGMENT_BYTES:020}", 0);
    until("the first segment's files are merged", || names().contains(&merged));
    let verify = |server: &Server| {
        let mut client = Client::connect(server.broker);
        for it in sent.iter().step_by(23) {
            for key in [&it.unique, it.keys.last().expect("its own")] {
                assert_eq!(numbers(&find(&mut client, key, 5, EVER, false)), [it.number].into());
            }
        }
        let newest = find(&mut client, "00", 20, EVER, false);
        assert_eq!(numbers(&newest), (680..700).collect());
        let (begin, end) = (newest[0].stored_ms, newest[19].stored_ms);
        assert!(find(&mut client, "01", 20, (begin, end), false).len() == 20);
    };
    verify(&server);
    server.kill();
    let server = store.start();
    verify(&server);
    server.stop();
    let (is_whole, text) = store.inspect();
    assert!(is_whole, "{text}");
}

#[test]
fn what_is_removed_is_not_found() {
    let store = Store::new(("1", "1"), &format!("ringmqLogBytesMax = {}\n", 40 << 20));
    let server = store.start();
    let mut client = Client::connect(server.broker);
    client.create_topic(TOPIC, QUEUES as i32);
    let sent = send(&mut client, 0..3000, 40_000);
    let first = sent.first().expect("sent");
    until("the first message is removed", || {
        find(&mut client, &first.unique, 1, EVER, true).is_empty()
    });
    let gone = first.position.to_i64().to_string();
    assert_eq!(client.ask(VIEW_MESSAGE_BY_ID, &[("offset", &gone)], &[]).code, SYSTEM_ERROR);
    let oldest = index_files(&store.store);
    until("its index files, too", || {
        index_files(&store.store)
            .first()
            .is_none_or(|file| !file.ends_with(format!("index-{:020}-{SEGMENT_BYTES:020}", 0)))
    });
    assert!(oldest.len() < 8, "{oldest:?}");
    let last = sent.last().expect("sent");
    let verify = |server: Server| {
        let mut client = Client::connect(server.broker);
        assert_eq!(find(&mut client, &last.unique, 1, EVER, true).len(), 1);
        assert!(find(&mut client, &first.unique, 1, EVER, true).is_empty());
        server.kill();
    };
    verify(server);
    verify(store.start());
}

#[test]
fn without_an_index_nothing_is_found_until_it_is_there() {
    let store = Store::new(("1", "1"), "messageIndexEnable = false\n");
    let server = store.start();
    let mut client = Client::connect(server.broker);
    client.create_topic(TOPIC, QUEUES as i32);
    let sent = send(&mut client, 0..1000, 24_000);
    assert!(find(&mut client, &sent[0].unique, 1, EVER, true).is_empty());
    let offset = sent[0].position.to_i64().to_string();
    assert_eq!(client.ask(VIEW_MESSAGE_BY_ID, &[("offset", &offset)], &[]).code, SUCCESS);
    server.kill();
    assert!(index_files(&store.store).is_empty());
    write_config(store.folder.path(), SEGMENT_BYTES, "");
    let server = store.start();
    let mut client = Client::connect(server.broker);
    until("what was stored before is indexed", || {
        [0, 500, 999]
            .iter()
            .all(|at| find(&mut client, &sent[*at].unique, 1, EVER, true).len() == 1)
    });
    server.kill();
}
