//! Health and figures of the real program: what they say is what happened.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::{Client, DEADLINE, Server, ringmq, write_config};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

const CONFIG: &str = "metricsExporterType = PROM
metricsPromExporterPort = 0
brokerName = observed
";

/// A store's folder, a configuration with `more` in it, and a log.
fn prepare(directory: &Path, more: &str) -> (PathBuf, String, PathBuf) {
    let config = write_config(directory, 64 << 20, &format!("{CONFIG}{more}"));
    (directory.join("store"), config, directory.join("log"))
}

/// Waits until the program has said where it serves HTTP.
fn http_address(log: &Path) -> SocketAddr {
    let until = Instant::now() + DEADLINE;
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let line = text.lines().rfind(|line| line.contains("/metrics are served address="));
        let address = line.and_then(|line| line.split("address=").nth(1)?.trim().parse().ok());
        if let Some(address) = address {
            return address;
        }
        assert!(Instant::now() < until, "no address in {text}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends bytes, and reads status and body until the connection ends.
fn exchange(address: SocketAddr, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    stream.write_all(request).expect("the connection is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, String) {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
}

/// Name and labels of a sample.
type Series = (String, BTreeMap<String, String>);

/// A page of the text format, read strictly.
struct Page(BTreeMap<Series, f64>);

impl Page {
    fn scrape(address: SocketAddr) -> Page {
        let (status, body) = get(address, "/metrics");
        assert_eq!(status, 200, "{body}");
        Page::parse(&body)
    }

    fn parse(text: &str) -> Page {
        assert!(text.ends_with('\n'));
        let (mut helped, mut typed) = (BTreeSet::new(), BTreeSet::new());
        let mut histograms = BTreeSet::new();
        let mut samples = BTreeMap::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("name and help");
                assert!(!text.is_empty() && helped.insert(name), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("name and type");
                assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
                assert!(helped.contains(name), "{line}");
                if kind == "histogram" {
                    histograms.insert(name);
                }
                assert!(typed.insert(name), "{line}");
            } else {
                let (series, value) = sample(line);
                let parts = ["_bucket", "_sum", "_count"];
                let family = parts.iter().find_map(|part| series.0.strip_suffix(part));
                let is_part = family.is_some_and(|family| histograms.contains(family));
                assert!(is_part || typed.contains(&*series.0), "{line}");
                assert!(samples.insert(series, value).is_none(), "twice: {line}");
            }
        }
        Page(samples)
    }

    /// The sum of the samples of a name that have these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| found.get(*label).is_some_and(|it| it == value))
        };
        let samples = self.0.iter().filter(|((of, found), _)| of == name && has(found));
        samples.map(|(_, value)| value).sum()
    }

    fn count(&self, name: &str) -> usize {
        self.0.keys().filter(|(of, _)| of == name).count()
    }
}

fn sample(line: &str) -> (Series, f64) {
    let (name, rest) = line.split_once('{').expect("every sample has labels");
    assert!(name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_'), "{line}");
    let (mut labels, mut rest) = (BTreeMap::new(), rest);
    loop {
        let (label, behind) = rest.split_once("=\"").expect("a label");
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, character) in behind.char_indices() {
            match (escaped, character) {
                (true, 'n') => value.push('\n'),
                (true, '\\' | '"') | (false, ' '..='!' | '#'..='[' | ']'..) => {
                    value.push(character)
                }
                (false, '\\') => {}
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                _ => panic!("{line}"),
            }
            escaped = !escaped && character == '\\';
        }
        assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
        rest = &behind[end.expect("the value ends") + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    let value = rest.strip_prefix("} ").expect("a value").parse().expect("a number");
    for (label, value) in [("cluster", "DefaultCluster"), ("node_type", "broker")] {
        assert_eq!(labels[label], value, "{line}");
    }
    assert_eq!(labels["node_id"], "observed", "{line}");
    ((name.to_owned(), labels), value)
}

fn send(client: &mut Client, topic: &str, queue: i32, count: usize) {
    for number in 0..count {
        client.write_send(topic, queue, format!("body {number}").as_bytes()).expect("open");
    }
    for _ in 0..count {
        let reply = client.read().expect("an answer");
        assert_eq!(reply.code, 0, "{}", reply.remark);
    }
}

fn commit(client: &mut Client, group: &str, topic: &str, queue: &str, offset: &str) {
    let ext =
        [("consumerGroup", group), ("topic", topic), ("queueId", queue), ("commitOffset", offset)];
    assert_eq!(client.ask(15, &ext, &[]).code, 0);
}

#[test]
fn figures_say_exactly_what_happened() {
    let directory = folder();
    let (store, config, log) = prepare(directory.path(), "ringmqCores = 1\n");
    let server = Server::start_logged(&store, &["-c", &config], &log).expect("it starts");
    let http = http_address(&log);
    let mut client = Client::connect(server.broker);
    client.create_topic("Counted", 4);
    send(&mut client, "Counted", 0, 5);
    send(&mut client, "Counted", 1, 7);
    client.write_send("Counted", 9, b"no such queue").expect("open");
    assert_eq!(client.read().expect("an answer").code, 29);
    let before = Page::scrape(http);
    let topic = [("topic", "Counted"), ("message_type", "normal"), ("is_system", "false")];
    assert_eq!(before.sum("rocketmq_messages_in_total", &topic), 12.0);
    assert_eq!(before.sum("rocketmq_messages_in_total", &[]), 12.0, "nothing else came in");
    assert_eq!(before.count("rocketmq_messages_out_total"), 0);
    let refused = before.sum("ringmq_sends_refused_total", &[("response_code", "29")]);
    assert_eq!(refused, 1.0);

    let first = client.pull("Counted", 0, 0);
    let second = client.pull("Counted", 1, 0);
    assert_eq!((first.code, second.code), (0, 0));
    commit(&mut client, "test", "Counted", "0", "5");
    commit(&mut client, "test", "Counted", "1", "3");
    assert_eq!(client.heartbeat("one", &["test"], "Counted").code, 0);
    let page = Page::scrape(http);
    let consumer = [("topic", "Counted"), ("consumer_group", "test")];
    assert_eq!(page.sum("rocketmq_messages_out_total", &consumer), 12.0);
    let bytes = (first.body.len() + second.body.len()) as f64;
    assert_eq!(page.sum("rocketmq_throughput_out_total", &consumer), bytes);
    assert_eq!(page.sum("rocketmq_throughput_in_total", &topic), bytes, "what came in went out");
    assert_eq!(page.sum("rocketmq_consumer_lag_messages", &consumer), 4.0);
    assert!(page.sum("rocketmq_consumer_lag_latency", &consumer) < 60_000.0);
    assert_eq!(page.sum("rocketmq_consumer_connections", &[("consumer_group", "test")]), 1.0);
    assert_eq!(page.sum("rocketmq_broker_permission", &[]), 6.0);
    assert_eq!(page.sum("ringmq_connections", &[("core", "0")]), 1.0);
    assert_eq!(page.sum("ringmq_shard_refuses", &[]), 0.0);
    assert_eq!(page.count("rocketmq_processor_watermark"), 3);
    assert!(page.sum("ringmq_disk_free_bytes", &[]) > 0.0);
    let written = page.sum("ringmq_log_written_bytes_total", &[]);
    assert!(written > bytes && written <= page.sum("ringmq_log_appended_bytes_total", &[]));
    for (series, value) in before.0.iter().filter(|((name, _), _)| name.ends_with("_total")) {
        assert!(page.0[series] >= *value, "{series:?} went back");
    }
    commit(&mut client, "test", "Counted", "1", "7");
    let lag = Page::scrape(http).sum("rocketmq_consumer_lag_messages", &consumer);
    assert_eq!(lag, 0.0);
    server.stop();
}

#[test]
fn kinds_of_messages_are_told_apart() {
    let directory = folder();
    let (store, config, log) = prepare(directory.path(), "ringmqCores = 1\n");
    let server = Server::start_logged(&store, &["-c", &config], &log).expect("it starts");
    let http = http_address(&log);
    let mut client = Client::connect(server.broker);
    let kinds = ["", "__SHARDINGKEY\u{1}a\u{2}", "DELAY\u{1}18\u{2}"];
    for (count, kind) in [1, 2, 3].into_iter().zip(kinds) {
        for _ in 0..count {
            let ext = [
                ("a", "producers"),
                ("b", "Kinds"),
                ("c", "TBW102"),
                ("d", "4"),
                ("e", "0"),
                ("f", "0"),
                ("g", "1"),
                ("h", "0"),
                ("i", kind),
                ("j", "0"),
                ("k", "false"),
            ];
            let reply = client.ask(310, &ext, b"body");
            assert_eq!(reply.code, 0, "{}", reply.remark);
        }
    }
    let page = Page::scrape(http);
    for (count, kind) in [(1.0, "normal"), (2.0, "fifo"), (3.0, "delay")] {
        let labels = [("topic", "Kinds"), ("message_type", kind)];
        assert_eq!(page.sum("rocketmq_messages_in_total", &labels), count, "{kind}");
    }
    server.stop();
}

#[test]
fn half_messages_timers_and_the_time_of_sends_are_told() {
    for size in [("1", "1"), ("3", "2")] {
        let directory = folder();
        let more = format!("ringmqShards = {}\nringmqCores = {}\n", size.0, size.1);
        let (store, config, log) = prepare(directory.path(), &more);
        let server = Server::start_logged(&store, &["-c", &config], &log).expect("it starts");
        let http = http_address(&log);
        let mut client = Client::connect(server.broker);
        client.create_topic("Halves", 5);
        send(&mut client, "Halves", 0, 4);
        let mut send_with = |queue: usize, flags: &str, properties: &str| {
            let ext = [
                ("producerGroup", "p"),
                ("topic", "Halves"),
                ("defaultTopic", "TBW102"),
                ("defaultTopicQueueNums", "4"),
                ("queueId", &*queue.to_string()),
                ("sysFlag", flags),
                ("bornTimestamp", "1"),
                ("flag", "0"),
                ("properties", properties),
            ];
            let reply = client.ask(10, &ext, b"body");
            assert_eq!(reply.code, 0, "{}", reply.remark);
            reply
        };
        let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}p\u{2}";
        let halves: Vec<_> = (0..5).map(|queue| send_with(queue, "4", half)).collect();
        for queue in 0..3 {
            send_with(queue, "0", "TIMER_DELAY_SEC\u{1}3000\u{2}");
        }
        for (reply, word) in halves.iter().zip(["8", "8", "8", "12"]) {
            let id = reply.field("msgId").expect("an id");
            let id = proto::ids::OffsetMessageId::decode(id.as_bytes()).expect("an id");
            let ext = [
                ("producerGroup", "p"),
                ("tranStateTableOffset", reply.field("queueOffset").expect("one")),
                ("commitLogOffset", &*id.position.to_i64().to_string()),
                ("commitOrRollback", word),
                ("fromTransactionCheck", "false"),
                ("msgId", "x"),
            ];
            assert_eq!(client.ask(37, &ext, &[]).code, 0);
        }
        let page = Page::scrape(http);
        let topic = [("topic", "Halves")];
        assert_eq!(page.sum("rocketmq_half_messages", &[]), 1.0);
        assert_eq!(page.sum("rocketmq_commit_messages_total", &topic), 3.0);
        assert_eq!(page.sum("rocketmq_rollback_messages_total", &topic), 1.0);
        assert_eq!(page.sum("rocketmq_finish_message_latency_count", &topic), 3.0);
        let day = [("topic", "Halves"), ("le", "86400")];
        assert_eq!(page.sum("rocketmq_finish_message_latency_bucket", &day), 0.0, "born in 1970");
        let all = [("topic", "Halves"), ("le", "+Inf")];
        assert_eq!(page.sum("rocketmq_finish_message_latency_bucket", &all), 3.0);
        assert!(page.sum("rocketmq_finish_message_latency_sum", &topic) > 3e9);
        assert_eq!(page.sum("rocketmq_timing_messages", &[]), 3.0);
        assert_eq!(page.sum("rocketmq_timer_enqueue_total", &[]), 3.0);
        assert_eq!(page.sum("rocketmq_timer_dequeue_total", &[]), 0.0);
        assert_eq!(page.sum("rocketmq_timer_dequeue_latency", &[]), 0.0);
        let sends = [("request_code", "SEND_MESSAGE_V2"), ("response_code", "SUCCESS")];
        assert_eq!(page.sum("rocketmq_rpc_latency_count", &sends), 12.0);
        let all = [sends[0], sends[1], ("le", "+Inf")];
        assert_eq!(page.sum("rocketmq_rpc_latency_bucket", &all), 12.0);
        let mut before = 0.0;
        for bound in ["1", "3", "5", "7", "10", "100", "1000", "2000", "3000", "+Inf"] {
            let bucket = [sends[0], sends[1], ("le", bound)];
            let count = page.sum("rocketmq_rpc_latency_bucket", &bucket);
            assert!(count >= before, "buckets grow");
            before = count;
        }
        assert_eq!(client.ask(25, &[], b"brokerPermission=4").code, 0);
        let permission = Page::scrape(http).sum("rocketmq_broker_permission", &[]);
        assert_eq!(permission, 4.0, "as it is now");
        server.stop();
    }
}

#[test]
fn two_cores_add_up() {
    let directory = folder();
    let more = "ringmqCores = 2\nringmqShards = 2\n";
    let (store, config, log) = prepare(directory.path(), more);
    let server = Server::start_logged(&store, &["-c", &config], &log).expect("it starts");
    let http = http_address(&log);
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(server.broker)).collect();
    clients[0].create_topic("Spread", 8);
    for (number, client) in clients.iter_mut().enumerate() {
        for queue in 0..8 {
            send(client, "Spread", queue, 3 + number);
        }
    }
    let sent: f64 = (0..4).map(|number| 8.0 * f64::from(3 + number)).sum();
    for queue in 0..8 {
        assert_eq!(clients[3].pull("Spread", queue, 0).code, 0);
        commit(&mut clients[3], "test", "Spread", &queue.to_string(), "8");
    }
    let page = Page::scrape(http);
    let topic = [("topic", "Spread")];
    assert_eq!(page.sum("rocketmq_messages_in_total", &topic), sent);
    assert_eq!(page.sum("rocketmq_messages_out_total", &topic), sent);
    assert_eq!(page.sum("rocketmq_consumer_lag_messages", &topic), sent - 8.0 * 8.0);
    assert_eq!(page.count("ringmq_log_appended_bytes_total"), 2);
    assert_eq!(page.sum("ringmq_core_up", &[]), 2.0);
    assert_eq!(page.sum("ringmq_connections", &[]), 4.0);
    let out = page.sum("ringmq_crossings_out_total", &[]);
    assert!(out > 0.0, "half of the queues are the other core's");
    assert_eq!(page.sum("ringmq_crossings_in_total", &[]), out, "none is under way");
    server.stop();
}

#[test]
fn wrong_requests_get_their_status_and_slow_clients_wait_alone() {
    let directory = folder();
    let (store, config, log) = prepare(directory.path(), "ringmqCores = 1\n");
    let server = Server::start_logged(&store, &["-c", &config], &log).expect("it starts");
    let http = http_address(&log);
    // One that says nothing, one that stops half-way, one that never reads.
    let _silent = TcpStream::connect(http).expect("it listens");
    let mut half = TcpStream::connect(http).expect("it listens");
    half.write_all(b"GET /metrics HTT").expect("open");
    let mut deaf = TcpStream::connect(http).expect("it listens");
    deaf.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("open");
    let asked = Instant::now();
    assert_eq!(get(http, "/health/live").0, 200);
    assert_eq!(get(http, "/health/ready"), (200, "serving\n".to_owned()));
    Page::scrape(http);
    assert!(asked.elapsed() < Duration::from_secs(5), "they waited for the slow ones");
    assert_eq!(get(http, "/").0, 404);
    assert_eq!(exchange(http, b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n").0, 405);
    assert_eq!(exchange(http, b"\x01\x02\x03\r\n\r\n").0, 400);
    let body = b"GET /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(exchange(http, body).0, 413);
    let long = format!("GET /metrics HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(10_000));
    assert_eq!(exchange(http, long.as_bytes()).0, 431);
    let head = exchange(http, b"HEAD /health/ready HTTP/1.1\r\n\r\n");
    assert_eq!(head, (200, String::new()));
    // What was half-way goes on.
    half.write_all(b"P/1.1\r\n\r\n").expect("open");
    let mut answer = String::new();
    half.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    server.stop();
}

#[test]
fn a_broker_is_ready_when_its_store_is_open() {
    let directory = folder();
    let (store, config, log) = prepare(directory.path(), "ringmqCores = 1\n");
    let server = Server::start_logged(&store, &["-c", &config], &log).expect("it starts");
    let mut client = Client::connect(server.broker);
    let body = vec![b'x'; 100_000];
    for _ in 0..20 {
        for _ in 0..50 {
            client.queue_send("Large", 0, &body);
        }
        client.write_queued().expect("open");
        for _ in 0..50 {
            assert_eq!(client.read().expect("an answer").code, 0);
        }
    }
    server.kill();
    std::fs::remove_file(&log).expect("it was written");
    let starting = std::thread::scope(|scope| {
        let started = scope.spawn(|| Server::start_logged(&store, &["-c", &config], &log));
        let http = http_address(&log);
        let opening = get(http, "/health/ready");
        let live = get(http, "/health/live").0;
        let until = Instant::now() + DEADLINE;
        while get(http, "/health/ready").0 != 200 {
            assert!(Instant::now() < until, "it does not get ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        started.join().expect("it starts").expect("it serves").stop();
        (opening, live)
    });
    let ((status, reason), live) = starting;
    assert_eq!((status, live), (503, 200), "{reason}");
    assert!(reason.starts_with("opening ") || reason.starts_with("starting"), "{reason}");
}

#[test]
fn without_a_port_nothing_listens_and_a_taken_one_refuses_the_start() {
    let directory = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let config = directory.path().join("broker.conf");
    std::fs::write(&config, format!("ringmqHttpPort = {port}\n")).expect("a file");
    let mut program = ringmq();
    program.args(["server", "--broker-port", "0", "--namesrv-port", "0", "--store"]);
    program.arg(directory.path().join("store")).arg("-c").arg(&config);
    let ended = program.output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("for health and metrics"), "{said}");
    assert!(!directory.path().join("store/STORE").exists(), "nothing was touched");
}

/// A NameServer alone, and where it serves HTTP.
fn name_server(directory: &Path, more: &str) -> (support::Process, SocketAddr, SocketAddr) {
    let (config, log) = (directory.join("namesrv.conf"), directory.join("log"));
    let store = directory.join("kvConfig.json");
    // A port that was free a moment ago: 0 is none.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let port = free.expect("a free port").port();
    let text = format!(
        "listenPort = 0\nkvConfigPath = {}\nringmqHttpPort = {port}\n{more}",
        store.display()
    );
    std::fs::write(&config, text).expect("a file");
    let stderr = std::fs::File::create(&log).expect("a log file");
    let mut command = ringmq();
    command.args(["namesrv", "-c"]).arg(&config).stderr(stderr);
    let process = support::Process::start(&mut command).expect("it starts");
    let address = process.address("NameServer").expect("it says where it listens");
    (process, address, http_address(&log))
}

fn value(page: &str, name: &str) -> u64 {
    let line = page.lines().find(|line| line.starts_with(&format!("{name}{{")));
    let line = line.unwrap_or_else(|| panic!("{name} in {page}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn a_name_server_alone_says_how_it_is() {
    let directory = folder();
    let (process, address, http) = name_server(directory.path(), "");
    assert_eq!(get(http, "/health/live"), (200, "the NameServer turns\n".to_owned()));
    assert_eq!(get(http, "/health/ready"), (200, "serving\n".to_owned()));
    assert_eq!(get(http, "/nothing").0, 404);
    let (status, before) = get(http, "/metrics");
    assert_eq!(status, 200);
    assert!(
        before.contains(&format!("node_type=\"nameserver\",node_id=\"{address}\"")),
        "{before}"
    );
    assert_eq!(value(&before, "ringmq_namesrv_brokers"), 0);
    let mut client = Client::connect(address);
    assert_eq!(client.ask(105, &[("topic", "none")], &[]).code, 17);
    // A broker registers with it.
    let (store, log) = (directory.path().join("store"), directory.path().join("broker.log"));
    let config = write_config(directory.path(), 16 << 20, &format!("namesrvAddr = {address}\n"));
    let server = Server::start_logged(&store, &["-c", &config], &log).expect("it starts");
    let until = Instant::now() + DEADLINE;
    loop {
        let (_, page) = get(http, "/metrics");
        let all = ["brokers", "topics", "connections", "requests_total"];
        let all = all.map(|name| value(&page, &format!("ringmq_namesrv_{name}")));
        if all[0] == 1 && all[1] > 5 && all[2] >= 2 && all[3] >= 2 {
            break;
        }
        assert!(Instant::now() < until, "{page}");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.stop();
    process.stop("TERM");
}

#[test]
fn a_name_server_that_waits_for_brokers_is_not_ready() {
    let directory = folder();
    let more = "needWaitForService = true\nwaitSecondsForService = 3600\n";
    let (process, _, http) = name_server(directory.path(), more);
    assert_eq!(get(http, "/health/live").0, 200);
    let (status, reason) = get(http, "/health/ready");
    assert_eq!((status, &*reason), (503, "waiting for brokers: needWaitForService\n"));
    process.stop("TERM");
}
