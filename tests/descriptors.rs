//! More connections than the limit of open files has room for: those that are open are served, the log
//! goes on, and whoever comes when others have gone is served.

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Client, DEADLINE, Server, write_config};

/// The smallest segment of a test's store.
const SEGMENT_BYTES: u64 = 16 << 20;

/// A body of which a segment holds sixteen at the most.
static BODY: [u8; 1 << 20] = [b'x'; 1 << 20];

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// A server with so many descriptors, and where its log is.
fn start(directory: &Path, descriptors: u32) -> (Server, PathBuf) {
    let config = write_config(directory, SEGMENT_BYTES, "");
    let log = directory.join("log");
    let mut program = Command::new("prlimit");
    program.arg(format!("--nofile={descriptors}:{descriptors}"));
    program.arg(env!("CARGO_BIN_EXE_ringmq"));
    let file = std::fs::File::create(&log).expect("a log file");
    let flags = ["-c", &config, "--cores", "2", "--shards", "2"];
    let server = Server::spawn(program, &directory.join("store"), &flags, file.into());
    (server.unwrap_or_else(|status| panic!("the program ended: {status}")), log)
}

fn lines_with(log: &Path, words: &str) -> Vec<String> {
    let text = std::fs::read_to_string(log).expect("the log is text");
    text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

#[track_caller]
fn is_short(log: &Path) {
    let lines = lines_with(log, "");
    assert!(lines.len() < 100, "{} lines: {:?}", lines.len(), &lines[..20]);
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Connections that say nothing.
fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).expect("the backlog has room")).collect()
}

/// Whether the other end has closed it.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    match stream.peek(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn send(client: &mut Client, queue: i32, body: &[u8]) -> i32 {
    client.write_send("Kept", queue, body).expect("open");
    client.read().expect("an answer").code
}

/// A client is served: its connection is not closed, its question answered.
fn is_served(address: SocketAddr, code: i32) -> bool {
    let mut client = Client::connect(address);
    client.write(code, &[], &[]);
    client.read().is_some()
}

#[test]
fn silent_connections_leave_the_files_their_descriptors() {
    let directory = folder();
    let (server, log) = start(directory.path(), 384);
    let warned = lines_with(&log, "the limit of open files (RLIMIT_NOFILE) is 384: at most ");
    assert!(warned.len() == 1 && warned[0].contains("LimitNOFILE"), "{warned:?}");
    let mut client = Client::connect(server.broker);
    assert_eq!(send(&mut client, 0, b"first"), 0);

    let (mut to_broker, mut to_name_server) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        to_broker.extend(silent(server.broker, 30));
        to_name_server.extend(silent(server.name_server, 30));
        // Several segments in the end, each with a new file, on both shards.
        for number in 0..6 {
            assert_eq!(send(&mut client, number % 2, &BODY), 0);
        }
    }
    for silent in [&to_broker, &to_name_server] {
        let is_most_closed = || silent.iter().filter(|it| is_closed(it)).count() >= 150;
        wait_until("those above the limit are closed", is_most_closed);
        assert!(!is_closed(&silent[0]), "those before are kept");
    }
    assert!(!lines_with(&log, "as many as allowed are open (ringmqConnectionsMax)").is_empty());
    is_short(&log);

    drop((to_broker, to_name_server));
    wait_until("a new client is served", || is_served(server.broker, 28));
    wait_until("by the NameServer, too", || is_served(server.name_server, 206));
    assert_eq!(send(&mut client, 0, b"last"), 0);
    server.stop();
}

/// Descriptors run out although connections leave some, as they do when a log gets too many segments.
#[test]
fn without_a_descriptor_for_a_segment_pulls_go_on_and_sends_wait() {
    let directory = folder();
    let (server, log) = start(directory.path(), 4096);
    let pid = server.pid();
    let mut client = Client::connect(server.broker);
    assert_eq!(send(&mut client, 0, b"first"), 0);
    let old = silent(server.broker, 30);
    wait_until("they are accepted", || is_served(server.broker, 28));

    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u64>().ok());
    let numbers: BTreeSet<_> = numbers.collect();
    // Two are left.
    let limit = (0..).filter(|number| !numbers.contains(number)).nth(2).expect("there is no end");
    assert!(limit > 30, "above those of the connections");
    let limit = format!("--nofile={limit}:4096");
    let lowered = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(lowered.expect("prlimit runs").success());
    let mut sent = 0;
    while send(&mut client, 0, &BODY[..64 << 10]) == 0 {
        sent += 1;
        assert!(sent < 5_000, "a segment more needs a descriptor");
    }
    let lacking = lines_with(&log, "too many files are open for a segment more");
    assert!((1..=2).contains(&lacking.len()), "once for each shard: {lacking:?}");
    assert!(lacking[0].contains("LimitNOFILE"), "{lacking:?}");
    assert!(lines_with(&log, "no space for the log").is_empty());
    assert_eq!(client.pull("Kept", 0, 0).code, 0, "pulls go on");
    is_short(&log);

    drop(old);
    wait_until("sends are taken again", || send(&mut client, 0, b"again") == 0);
    server.stop();
}
