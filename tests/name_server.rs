//! The NameServer in the real program: what operators set survives, what is damaged is told, an idle
//! one sleeps, and the broker beside it hears of ordered topics.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use proto::body::{DataVersion, TopicConfig};
use proto::frame::Encoding;
use proto::reply::{RequestHead, write_request};
use ringmq::broker::registration::{BrokerIdentity, write_registration};
use support::{Client, DEADLINE, Process, Server, ringmq, write_config};

const PUT_KV_CONFIG: i32 = 100;
const GET_KV_CONFIG: i32 = 101;
const GET_ROUTE: i32 = 105;
const GET_ALL_TOPICS: i32 = 206;
const UPDATE_NAMESRV_CONFIG: i32 = 318;
const GET_NAMESRV_CONFIG: i32 = 319;
const UPDATE_TOPIC: i32 = 17;
const GET_MAX_OFFSET: i32 = 30;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// A server on small files, with these lines in its configuration.
fn start(directory: &Path, lines: &str) -> Server {
    let config = write_config(directory, 64 << 20, lines);
    Server::start(&directory.join("store"), &["-c", &config, "--log-level", "warn"])
}

fn key_value<'a>(key: &'a str, value: &'a str) -> [(&'a str, &'a str); 3] {
    [("namespace", "ORDER_TOPIC_CONFIG"), ("key", key), ("value", value)]
}

#[test]
fn what_was_set_survives_a_kill_and_damage_refuses_the_start() {
    let directory = folder();
    let server = start(directory.path(), "");
    let mut client = Client::connect(server.name_server);
    let put = key_value("T", "broker-a:4");
    assert_eq!(client.ask(GET_KV_CONFIG, &put[..2], &[]).code, 22);
    assert_eq!(client.ask(PUT_KV_CONFIG, &put, &[]).code, 0);
    let settings = b"enableTopicList=false\nscanNotActiveBrokerInterval=700\n";
    assert_eq!(client.ask(UPDATE_NAMESRV_CONFIG, &[], settings).code, 0);
    let refused = client.ask(UPDATE_NAMESRV_CONFIG, &[], b"kvConfigPath=/tmp/x");
    assert_eq!(refused.code, 16, "{}", refused.remark);
    server.kill();

    let server = start(directory.path(), "enableTopicList = true\n");
    let mut client = Client::connect(server.name_server);
    assert_eq!(client.ask(GET_KV_CONFIG, &put[..2], &[]).field("value"), Some("broker-a:4"));
    let shown = client.ask(GET_NAMESRV_CONFIG, &[], &[]);
    let shown = String::from_utf8(shown.body).expect("text");
    let path = directory.path().join("store/namesrv/kvConfig.json");
    for line in [
        "enableTopicList=false".to_owned(),
        "scanNotActiveBrokerInterval=700".to_owned(),
        format!("listenPort={}", server.name_server.port()),
        format!("kvConfigPath={}", path.display()),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
    }
    server.stop();

    let content = std::fs::read_to_string(&path).expect("it is there");
    std::fs::write(&path, content.replace("broker-a:4", "broker-a:5")).expect("it is ours");
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["server", "--namesrv-port", "0", "--broker-port", "0", "--store"])
        .arg(directory.path().join("store"))
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    let expect =
        "kvConfig.json, the NameServer's key-value configuration, is damaged: its checksum is";
    assert!(said.contains(expect), "{said}");
    assert!(said.contains("put a good copy in its place, or move it away"), "{said}");
}

/// `ringmq namesrv` has no store: it keeps its files in the home directory, or where its file says.
#[test]
fn a_name_server_alone_keeps_what_was_set() {
    let directory = folder();
    let config = directory.path().join("namesrv.conf");
    let told = directory.path().join("var/names/kv.json");
    let at_home = directory.path().join("namesrv/kvConfig.json");
    for (line, path) in
        [(String::new(), at_home), (format!("kvConfigPath = {}", told.display()), told)]
    {
        std::fs::write(&config, line).expect("a file");
        let mut command = ringmq();
        command.args(["namesrv", "--namesrv-port", "0", "--log-level", "warn", "-c"]);
        command.arg(&config).env("HOME", directory.path());
        let mut start = || {
            let process = Process::start(&mut command).expect("it serves");
            let client = Client::connect(process.address("NameServer").expect("it says where"));
            (process, client)
        };
        let (process, mut client) = start();
        let put = key_value("T", "broker-a:4");
        let parent = path.parent().expect("a folder");
        assert!(!parent.exists(), "nothing is made before something is set");
        assert_eq!(client.ask(PUT_KV_CONFIG, &put, &[]).code, 0);
        assert_eq!(client.ask(UPDATE_NAMESRV_CONFIG, &[], b"enableTopicList=false\n").code, 0);
        process.kill();

        let (process, mut client) = start();
        assert_eq!(client.ask(GET_KV_CONFIG, &put[..2], &[]).field("value"), Some("broker-a:4"));
        let shown = client.ask(GET_NAMESRV_CONFIG, &[], &[]);
        let shown = String::from_utf8(shown.body).expect("text");
        let settings = parent.join("namesrv.properties");
        for line in [
            "enableTopicList=false".to_owned(),
            format!("kvConfigPath={}", path.display()),
            format!("configStorePath={}", settings.display()),
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line} in {shown}");
        }
        assert!(path.is_file() && settings.is_file());
        process.stop("TERM");
    }
}

#[test]
fn what_the_disk_does_not_take_is_refused() {
    let directory = folder();
    let server = start(directory.path(), "");
    let mut client = Client::connect(server.name_server);
    // Where the file is put aside before it is renamed there is a directory.
    std::fs::create_dir_all(directory.path().join("store/namesrv/kvConfig.new")).expect("ours");
    let put = key_value("T", "broker-a:4");
    let refused = client.ask(PUT_KV_CONFIG, &put, &[]);
    assert_eq!(refused.code, 1);
    assert!(refused.remark.starts_with("the name server could not keep the change: write "));
    assert_eq!(client.ask(GET_KV_CONFIG, &put[..2], &[]).code, 22);
    assert_eq!(client.ask(GET_ROUTE, &[("topic", "TBW102")], &[]).code, 0, "the rest goes on");
    server.stop();
}

/// Ordered topics come with the answer to a registration, here that of a topic created later. Every
/// core hears of them.
#[test]
fn the_broker_hears_which_topics_are_ordered() {
    let directory = folder();
    let lines = "brokerPermission = 4\nringmqCores = 3\nringmqShards = 3\n";
    let server = start(directory.path(), lines);
    // A new connection goes to the core that has the fewest.
    let mut brokers = [(); 3].map(|()| Client::connect(server.broker));
    let mut names = Client::connect(server.name_server);
    let topic = |name: &'static str| {
        [
            ("topic", name),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ]
    };
    assert_eq!(brokers[0].ask(UPDATE_TOPIC, &topic("Ordered"), &[]).code, 0);
    let send = |broker: &mut Client, name: &str| {
        broker.write_send(name, 0, b"x").expect("open");
        broker.read().expect("an answer")
    };
    for broker in &mut brokers {
        assert_eq!(send(broker, "Ordered").code, 0, "only ordered topics are refused");
    }
    assert_eq!(names.ask(PUT_KV_CONFIG, &key_value("Ordered", "b:1"), &[]).code, 0);
    let mut other = Client::connect(server.broker);
    assert_eq!(other.ask(UPDATE_TOPIC, &topic("Other"), &[]).code, 0);
    let until = Instant::now() + DEADLINE;
    for broker in &mut brokers {
        let refused = loop {
            let answer = send(broker, "Ordered");
            if answer.code != 0 {
                break answer;
            }
            assert!(Instant::now() < until, "the topic is not ordered");
        };
        assert_eq!(refused.code, 16);
        assert_eq!(refused.remark, "the broker[127.0.0.1] sending message is forbidden");
    }
    assert_eq!(send(&mut brokers[2], "Other").code, 0);
    let bounds = [("topic", "Other"), ("queueId", "0")];
    assert_eq!(other.ask(GET_MAX_OFFSET, &bounds, &[]).number("offset"), 1);
    server.stop();
}

/// Answers that nobody reads cost no memory beyond a connection's share, and nobody else an answer.
#[test]
fn who_asks_and_does_not_read_costs_little_memory() {
    const LISTS: usize = 200;
    const TOPICS: usize = 5_000;
    let directory = folder();
    let mut command = ringmq();
    command.args(["namesrv", "--namesrv-port", "0", "--log-level", "warn"]);
    let process = Process::start(command.env("HOME", directory.path())).expect("it serves");
    let address = process.address("NameServer").expect("it says where");
    let topic = |number| TopicConfig {
        topic_name: format!("{number:0>120}"),
        read_queue_nums: 1,
        write_queue_nums: 1,
        ..TopicConfig::default()
    };
    let topics: Vec<_> = (0..TOPICS).map(topic).collect();
    let identity = BrokerIdentity {
        cluster: "c".to_owned(),
        name: "b".to_owned(),
        id: 0,
        address: "10.0.0.1:10911".to_owned(),
        ha_address: "10.0.0.1:10912".to_owned(),
    };
    let mut registration = Vec::new();
    write_registration(&mut registration, &identity, 1, &topics, DataVersion::default());
    let mut broker = Client::connect(address);
    broker.write_raw(&registration);
    assert_eq!(broker.read().expect("an answer").code, 0);

    let mut greedy = Client::connect(address);
    let mut requests = Vec::new();
    for opaque in 1..=LISTS as i32 {
        let head = RequestHead { code: GET_ALL_TOPICS, opaque, flag: 0 };
        write_request(&mut requests, Encoding::Json, &head, None, &[]);
    }
    greedy.write_raw(&requests);
    // Behind what the NameServer takes of it in a turn.
    assert_eq!(Client::connect(address).ask(GET_ROUTE, &[("topic", "none")], &[]).code, 17);
    for opaque in 1..=LISTS as i32 {
        let reply = greedy.read().expect("all answers come");
        assert_eq!((reply.opaque, reply.code), (opaque, 0), "{}", reply.remark);
        assert!(reply.body.len() > TOPICS * 120);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak = line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok());
    let peak_mib = peak.expect("a number") / 1024;
    assert!(
        peak_mib < 64,
        "{peak_mib} MiB, and all answers are {} MB",
        LISTS * TOPICS * 120 / 1_000_000
    );
    process.stop("TERM");
}

/// It slept for at most a second before; now it sleeps until the next registration.
#[test]
fn an_idle_name_server_sleeps() {
    let directory = folder();
    let server = start(directory.path(), "registerNameServerPeriod = 60000\n");
    let tasks = format!("/proc/{}/task", server.pid());
    let switches = || {
        let tasks = std::fs::read_dir(&tasks).expect("it runs");
        let task = tasks.map(|task| task.expect("a task").path()).find(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "namesrv")
        });
        let status = std::fs::read_to_string(task.expect("its thread").join("status"));
        let status = status.expect("it runs");
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
        let count = line.and_then(|line| line.split_whitespace().nth(1));
        count.and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    // The answers to the first registrations are on their way.
    let (mut before, mut since) = (switches(), Instant::now());
    let until = Instant::now() + DEADLINE;
    while since.elapsed().as_secs() < 4 {
        assert!(Instant::now() < until, "it does not sleep for 4 s");
        std::thread::sleep(std::time::Duration::from_millis(50));
        let now = switches();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    server.stop();
}
