//! Several shards on several cores answer as one does: the same codes, contents, order and offsets,
//! whichever core a client's connection is on; and shards can be added to a store.

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use proto::ids::Position;
use support::{Client, DEADLINE, Server, records, write_config};

/// Shards, cores, and how long a core without work looks for some before it sleeps, µs.
const SIZES: [(&str, &str, u32); 5] =
    [("1", "1", 0), ("2", "2", 0), ("5", "2", 0), ("3", "3", 0), ("3", "2", 200)];

/// Connections, more than there are cores: each is on another core than its neighbour.
const CONNECTIONS: usize = 6;

/// Queues of a topic, more than there are shards.
const QUEUES: i32 = 7;

/// Messages of a queue.
const MESSAGES: i64 = 20;

fn start(directory: &Path, name: &str, shards: &str, cores: &str) -> Server {
    start_spinning(directory, name, (shards, cores, 0))
}

fn start_spinning(
    directory: &Path,
    name: &str,
    (shards, cores, spin_us): (&str, &str, u32),
) -> Server {
    // A delay that a test can wait for.
    let lines = format!("messageDelayLevel = 1s 1s 1s\nringmqSpinMicros = {spin_us}");
    let config = write_config(directory, 16 << 20, &lines);
    let flags = ["--shards", shards, "--cores", cores, "-c", &config, "--log-level", "error"];
    Server::start(&directory.join(name), &flags)
}

/// Everything a client may ask, each time over another connection, and what was answered, without what
/// differs between any two runs: times, ids, positions.
struct Script {
    connections: Vec<Client>,
    asked: usize,
    transcript: String,
}

impl Script {
    fn new(server: &Server) -> Script {
        let connections = (0..CONNECTIONS).map(|_| Client::connect(server.broker)).collect();
        Script { connections, asked: 0, transcript: String::new() }
    }

    fn next(&mut self) -> &mut Client {
        self.asked += 1;
        let index = self.asked % CONNECTIONS;
        &mut self.connections[index]
    }

    fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8], shown: &[&str]) {
        let reply = self.next().ask(code, ext, body);
        let fields: Vec<_> = shown.iter().map(|key| (key, reply.field(key))).collect();
        let remark = if reply.code == 0 { "" } else { &*reply.remark };
        writeln!(self.transcript, "{code} {ext:?}: {} {remark} {fields:?}", reply.code)
            .expect("memory");
    }

    fn of_queue(&mut self, code: i32, topic: &str, queue: i32, shown: &[&str]) {
        let queue = queue.to_string();
        self.ask(code, &[("topic", topic), ("queueId", &queue)], &[], shown);
    }

    fn send(&mut self, topic: &str, queue: i32, body: &str) -> String {
        let client = self.next();
        client.write_send(topic, queue, body.as_bytes()).expect("the connection is open");
        let reply = client.read().expect("an answer");
        let (queue, offset) = (reply.field("queueId"), reply.field("queueOffset"));
        let id = reply.field("msgId").unwrap_or_default().to_owned();
        writeln!(self.transcript, "send {topic} {body}: {} {queue:?} {offset:?}", reply.code)
            .expect("memory");
        id
    }

    fn read(&mut self, topic: &str, queue: i32) {
        let mut from = 0;
        loop {
            let reply = self.next().pull(topic, queue, from);
            let next = reply.field("nextBeginOffset").map(ToOwned::to_owned);
            let found: Vec<_> = records(&reply.body)
                .into_iter()
                .map(|(offset, body)| (offset, String::from_utf8(body).expect("text")))
                .collect();
            writeln!(
                self.transcript,
                "pull {topic} {queue} {from}: {} {next:?} {found:?}",
                reply.code
            )
            .expect("memory");
            if reply.code != 0 {
                return;
            }
            from = next.and_then(|next| next.parse().ok()).expect("a number");
        }
    }

    /// Until a topic's queue holds so many messages.
    fn await_messages(&mut self, topic: &str, queue: i32, count: i64) {
        let id = queue.to_string();
        for _ in 0..1000 {
            let reply = self.next().ask(30, &[("topic", topic), ("queueId", &*id)], &[]);
            if reply.number("offset") >= count {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{topic} queue {queue} does not come to {count} messages");
    }
}

fn play(server: &Server) -> String {
    let mut script = Script::new(server);
    script.next().create_topic("Made", QUEUES);
    let mut ids = Vec::new();
    for number in 0..MESSAGES {
        for queue in 0..QUEUES {
            ids.push(script.send("Made", queue, &format!("made {queue} {number}")));
        }
    }
    for queue in 0..4 {
        script.send("FirstSendMakesIt", queue, &format!("auto {queue}"));
    }
    script.send("Made", QUEUES, "a queue too far");
    for queue in 0..=QUEUES {
        script.read("Made", queue);
        for code in [30, 31] {
            script.of_queue(code, "Made", queue, &["offset"]);
        }
    }
    for queue in 0..4 {
        script.read("FirstSendMakesIt", queue);
    }
    script.read("Nowhere", 0);
    // A group: what one connection says, all know.
    let heartbeat = script.next().heartbeat("client", &["group"], "Made");
    assert_eq!(heartbeat.code, 0, "{}", heartbeat.remark);
    script.ask(38, &[("consumerGroup", "group")], &[], &[]);
    for queue in 0..QUEUES {
        let (id, offset) = (queue.to_string(), (queue + 3).to_string());
        let place = [("consumerGroup", "group"), ("topic", "Made"), ("queueId", &*id)];
        script.ask(14, &place, &[], &["offset"]);
        let commit = [&place[..], &[("commitOffset", &*offset)]].concat();
        script.ask(15, &commit, &[], &[]);
        script.ask(14, &place, &[], &["offset"]);
    }
    let locks = r#"{"clientId":"client","consumerGroup":"group","mqSet":[{"brokerName":"b","queueId":1,"topic":"Made"}]}"#;
    let reply = script.next().ask(41, &[], locks.as_bytes());
    writeln!(script.transcript, "lock: {} {}", reply.code, String::from_utf8_lossy(&reply.body))
        .expect("memory");
    let others = locks.replace(r#""clientId":"client""#, r#""clientId":"other""#);
    let reply = script.next().ask(41, &[], others.as_bytes());
    writeln!(script.transcript, "lock: {} {}", reply.code, String::from_utf8_lossy(&reply.body))
        .expect("memory");
    script.ask(42, &[], locks.as_bytes(), &[]);
    // Messages that come back, from every shard, and one that is given up.
    for (number, id) in ids.iter().take(QUEUES as usize).enumerate() {
        let position = i64::from_str_radix(&id[16..], 16).expect("hex").to_string();
        let delay = if number == 0 { "-1" } else { "1" };
        let ext = [("offset", &*position), ("group", "group"), ("delayLevel", delay)];
        // Only a core may send the record along: what a client puts there is nothing.
        let body: &[u8] = if number % 2 == 0 { &[] } else { b"not a record" };
        let reply = script.next().ask(36, &ext, body);
        writeln!(script.transcript, "back {number}: {} {}", reply.code, reply.remark)
            .expect("memory");
    }
    script.await_messages("%DLQ%group", 0, 1);
    script.read("%DLQ%group", 0);
    script.await_messages("%RETRY%group", 0, i64::from(QUEUES - 1));
    // They may come in any order: each is in the log of its own time.
    script.of_queue(30, "%RETRY%group", 0, &["offset"]);
    script.transcript
}

#[test]
fn any_number_of_cores_answers_like_one() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut expected: Option<String> = None;
    for size in SIZES {
        let (shards, cores, spin_us) = size;
        let name = format!("store-{shards}-{cores}-{spin_us}");
        let server = start_spinning(directory.path(), &name, size);
        let transcript = play(&server);
        server.stop();
        let expected = expected.get_or_insert_with(|| transcript.clone());
        for (found, expected) in transcript.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "{size:?}");
        }
        assert_eq!(transcript.len(), expected.len(), "{size:?}");
    }
    let transcript = expected.expect("played");
    assert!(transcript.contains(r#"(19, "made 6 19")"#), "the script did something:\n{transcript}");
    for number in 0..QUEUES {
        assert!(transcript.contains(&format!("back {number}: 0 ")), "comes back:\n{transcript}");
    }
}

fn shard_of(id: &str) -> u8 {
    let position = i64::from_str_radix(&id[16..], 16).expect("hex");
    Position::from_i64(position).expect("a position").shard().0
}

#[test]
fn shards_are_added_and_never_taken_away() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let send_all = |server: &Server, topic: &str, number: i64| -> Vec<u8> {
        let mut script = Script::new(server);
        let send =
            |queue| shard_of(&script.send(topic, queue, &format!("{topic} {queue} {number}")));
        (0..QUEUES).map(send).collect()
    };
    let create = |server: &Server, topic: &str| {
        Client::connect(server.broker).create_topic(topic, QUEUES);
    };
    let server = start(directory.path(), "store", "1", "1");
    create(&server, "Old");
    assert_eq!(send_all(&server, "Old", 0), [0; QUEUES as usize]);
    server.stop();

    let server = start(directory.path(), "store", "3", "2");
    assert_eq!(send_all(&server, "Old", 1), [0; QUEUES as usize], "a topic stays where it is");
    create(&server, "New");
    let mut shards = send_all(&server, "New", 0);
    shards.sort_unstable();
    shards.dedup();
    assert_eq!(shards, [0, 1, 2], "a new one uses all shards");
    server.stop();

    // Any number of cores, at each start.
    for cores in ["1", "3"] {
        let server = start(directory.path(), "store", "3", cores);
        let mut script = Script::new(&server);
        for queue in 0..QUEUES {
            script.read("Old", queue);
            script.read("New", queue);
        }
        for queue in 0..QUEUES {
            // In one pull or two: each life's entries are in a run of their own.
            for (topic, offset) in [("Old", 0), ("Old", 1), ("New", 0)] {
                let message = format!(r#"({offset}, "{topic} {queue} {offset}")"#);
                assert!(script.transcript.contains(&message), "{}", script.transcript);
            }
        }
        server.stop();
    }

    let log = directory.path().join("log");
    let store = directory.path().join("store");
    let refused = Server::start_logged(&store, &["--shards", "2"], &log);
    assert!(refused.is_err_and(|status| !status.success()));
    let told = std::fs::read_to_string(&log).expect("a log");
    assert!(told.contains("has 3 shards, --shards asks for 2"), "{told}");
}

/// Connections that end while others are handed to their core: whoever is gone is no member any more.
#[test]
fn members_that_come_and_go_at_once_leave_nobody_behind() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let server = start(directory.path(), "churn", "2", "2");
    let mut asker = Client::connect(server.broker);
    asker.create_topic("Churn", 4);
    let mut members: Vec<Client> = Vec::new();
    for round in 0..60 {
        let gone = std::mem::take(&mut members);
        let end = std::thread::spawn(move || drop(gone));
        for number in 0..20 {
            let mut member = Client::connect(server.broker);
            let id = format!("m-{round}-{number}");
            assert_eq!(member.heartbeat(&id, &["churning"], "Churn").code, 0);
            members.push(member);
        }
        end.join().expect("closed");
    }
    let mut expected: Vec<_> = (0..20).map(|number| format!("m-59-{number}")).collect();
    expected.sort();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let reply = asker.ask(38, &[("consumerGroup", "churning")], &[]);
        let body = String::from_utf8(reply.body).expect("text");
        let mut found: Vec<_> = body.split('"').filter(|it| it.starts_with("m-")).collect();
        found.sort_unstable();
        if found == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.stop();
}
