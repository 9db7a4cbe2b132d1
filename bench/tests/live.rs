//! The load generator against the real program: what it sends arrives, and what it says is true.
//!
//! `ringmq` is taken from beside `ringmq-bench`, where a build of the workspace puts both, or from the
//! environment's `RINGMQ`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

#[path = "../src/page/wellformed.rs"]
mod wellformed;

const BENCH: &str = env!("CARGO_BIN_EXE_ringmq-bench");

/// A running server with a store of its own; killed when it is dropped.
struct Server {
    child: Child,
    broker: String,
    name_server: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let (child, broker, name_server) = spawn(folder.path(), ["0", "0"]);
        Server { child, broker, name_server, folder }
    }

    /// kill -9, and another one with its store and its addresses.
    fn replace(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        let ports =
            [&self.broker, &self.name_server].map(|it| it.rsplit(':').next().expect("port"));
        self.child = spawn(self.folder.path(), ports).0;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

/// Starts a server on these ports, of broker and NameServer, and waits until it is ready.
fn spawn(folder: &Path, ports: [&str; 2]) -> (Child, String, String) {
    let mut child = Command::new(ringmq())
        .args(["server", "--broker-port", ports[0], "--namesrv-port", ports[1]])
        .args(["--flush", "async", "--log-level", "error", "--store"])
        .arg(folder.join("store"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let (mut broker, mut name_server) = (None, None);
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        let mut words = line.split([' ', ',']).filter(|word| !word.is_empty());
        match words.next() {
            Some("broker") => broker = words.next().map(str::to_owned),
            Some("NameServer") => name_server = words.next().map(str::to_owned),
            Some("ready") => break,
            _ => {}
        }
    }
    let broker = broker.expect("it says where the broker listens");
    (child, broker, name_server.expect("it says where the NameServer listens"))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn ringmq() -> PathBuf {
    let beside = || Path::new(BENCH).with_file_name("ringmq");
    let path = std::env::var_os("RINGMQ").map_or_else(beside, PathBuf::from);
    assert!(path.exists(), "{} is missing: cargo build, or set RINGMQ", path.display());
    path
}

/// Runs the load generator, which must end with this exit code.
fn bench(expect: i32, arguments: &str, more: &[&str]) -> String {
    let output = Command::new(BENCH).args(arguments.split_whitespace()).args(more).output();
    let Output { status, stdout, stderr } = output.expect("the program runs");
    let stdout = String::from_utf8(stdout).expect("UTF-8");
    let stderr = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(expect), "{arguments} {more:?}: {stdout}{stderr}");
    stdout
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

fn number(json: &Value, pointer: &str) -> f64 {
    json.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer}"))
}

/// The page is well-formed, and its numbers are those of the JSON; how many there are.
fn check_page(page: &Path, json: &Value) -> usize {
    let text = std::fs::read_to_string(page).expect("a page");
    let elements = wellformed::check(&text).expect("well-formed");
    assert!(elements.iter().all(|it| it.name != "script" && it.attribute("src").is_none()));
    assert!(elements.iter().any(|it| it.name == "svg"));
    let numbers: Vec<_> = elements.iter().filter(|it| it.name == "data").collect();
    for element in &numbers {
        let pointer = element.attribute("data-json").expect("a place");
        let value: f64 = element.attribute("value").and_then(|it| it.parse().ok()).expect("number");
        // The machine of a comparison is that of a report, whose JSON lies elsewhere.
        if !pointer.starts_with("/machine") {
            assert!((number(json, pointer) - value).abs() <= value.abs() * 1e-12, "{pointer}");
        }
    }
    numbers.len()
}

#[test]
fn processes_topics_sizes_and_batches_arrive_whole() {
    let server = Server::start();
    let (plain, batch) = (server.path("plain"), server.path("batch"));
    let plain_text = plain.to_str().expect("UTF-8");
    let batch_text = batch.to_str().expect("UTF-8");
    let common = ["--namesrv", &server.name_server, "--quiet"];
    let store = server.path("store");
    let watch = ["--server-pid", &server.pid(), "--server-store", store.to_str().expect("UTF-8")];
    bench(
        0,
        "produce --topic plain --topics 12 --queues 2 --size 100..4096 --keys --tags 3 --processes 3 \
         --warm-up 0 --count 3000 --report",
        &[&[plain_text][..], &common, &watch].concat(),
    );
    bench(
        0,
        "produce --topic batch --topics 2 --batch 10 --size 256:80,4096:20 --rate 4000 --encoding flat \
         --warm-up 0 --count 2000 --report",
        &[&[batch_text][..], &common].concat(),
    );
    bench(0, "consume --topic plain --topics 12 --count 3000", &common);
    bench(0, "consume --topic batch --topics 2 --count 2000 --idle 1", &common);
    // One too many is a difference.
    bench(1, "consume --topic batch --topics 2 --count 2001 --idle 1", &common);

    let report = json(&plain.join("report.json"));
    assert_eq!(number(&report, "/results/send/messages"), 3000.0);
    assert_eq!(number(&report, "/results/send/acknowledgement/uncorrected/count"), 3000.0);
    assert_eq!(number(&report, "/results/client/processes"), 3.0);
    assert!(report.pointer("/machine/file_system").is_some_and(Value::is_string));
    assert!(check_page(&plain.join("report.html"), &report) > 20);
    let report = json(&batch.join("report.json"));
    assert_eq!(number(&report, "/results/send/acknowledgement/corrected/count"), 2000.0);
    check_page(&batch.join("report.html"), &report);

    let page = server.path("comparison.html");
    let (plain, batch) = (format!("load/plain={plain_text}"), format!("load/batch={batch_text}"));
    bench(0, "compare --report", &[page.to_str().expect("UTF-8"), &plain, &batch]);
    check_page(&page, &json(&page.with_extension("json")));
}

#[test]
fn topics_made_by_sending_are_checked_end_to_end() {
    let server = Server::start();
    let report = server.path("report");
    let common =
        ["--broker", &server.broker, "--quiet", "--report", report.to_str().expect("UTF-8")];
    // The first sends make the topics; their queues have to be there before they are pulled from.
    bench(
        0,
        "produce --topic made --topics 3 --queues 4 --auto-create --warm-up 0 --count 60",
        &common,
    );
    bench(
        0,
        "e2e --topic made --topics 3 --queues 4 --no-create --rate 1000 --batch 5 --size 44..300 \
         --warm-up 0 --duration 1",
        &common,
    );
    let report_json = json(&report.join("report.json"));
    assert_eq!(number(&report_json, "/results/check/differences"), 0.0);
    assert_eq!(number(&report_json, "/results/send/sent_in_all"), 1000.0);
    check_page(&report.join("report.html"), &report_json);
}

#[test]
fn what_overload_acknowledged_is_there() {
    let server = Server::start();
    let report = server.path("report");
    let more = ["--broker", &server.broker, "--report", report.to_str().expect("UTF-8")];
    bench(
        0,
        "overload --topic over --topics 2 --queues 2 --connections 4 --in-flight 16 --size 200 --batch 2 \
         --peak 1000 --multiple 50 --duration 1 --wait-ms 50 --quiet",
        &more,
    );
    let report_json = json(&report.join("report.json"));
    let results = |name: &str| number(&report_json, &format!("/results/{name}"));
    assert_eq!(results("overload/offered_per_second"), 50_000.0);
    assert_eq!(results("check/differences"), 0.0);
    let sent = results("send/sent_in_all");
    assert_eq!(sent + results("send/given_up"), 50_000.0);
    assert!(results("overload/in_time") <= results("send/acknowledged_in_all"));
    assert!(
        results("send/acknowledged_in_all") > 0.0 && results("send/acknowledged_in_all") <= sent
    );
    check_page(&report.join("report.html"), &report_json);
}

#[test]
fn connections_come_back_and_what_was_acknowledged_survives_a_kill() {
    let mut server = Server::start();
    let report = server.path("report.json");
    let mut load = Command::new(BENCH)
        .args(["overload", "--topic", "killed", "--connections", "4", "--size", "100"])
        .args(["--peak", "1000", "--multiple", "5", "--duration", "5", "--broker", &server.broker])
        .arg("--json")
        .arg(&report)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(load.stderr.take().expect("piped")).lines();
    // The line of the first second says that messages flow.
    let flows = lines.by_ref().map_while(Result::ok).any(|line| line.contains(" s overload"));
    assert!(flows, "it ended before");
    server.replace();
    // Nobody may block on a full pipe.
    lines.by_ref().map_while(Result::ok).for_each(drop);
    let status = load.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "every acknowledged message is there");
    let report = json(&report);
    let closed = report.pointer("/results/send/closed").and_then(Value::as_object);
    assert!(closed.is_some_and(|closed| !closed.is_empty()));
    assert_eq!(number(&report, "/results/check/differences"), 0.0);
    let sent = number(&report, "/results/send/sent_in_all");
    let answered = number(&report, "/results/send/acknowledged_in_all");
    assert!(answered > 0.0 && answered <= sent);
}

#[test]
fn a_good_client_is_answered_beside_bad_ones() {
    let server = Server::start();
    let report = server.path("found.json");
    // One that never reads is enough to look at; what many of them cost is no matter of a test.
    let few =
        ["half-open", "trickle", "silent", "flood", "garbage", "promise"].map(|how| (how, "3"));
    for (how, count) in few.into_iter().chain([("never-read", "1")]) {
        let pid = server.pid();
        let more = ["--how", how, "--broker", &server.broker, "--server-pid", &pid];
        let path = ["--connections", count, "--json", report.to_str().expect("UTF-8")];
        bench(0, "misbehave --duration 1", &[&more[..], &path].concat());
        let found = json(&report);
        assert_eq!(found["how"], how);
        let count: f64 = count.parse().expect("a number");
        assert!(number(&found, "/connected") >= count, "{how}");
        assert!(number(&found, "/good/answered/count") > 0.0, "{how}");
    }
}
