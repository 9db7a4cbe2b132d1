//! What the program says and how it exits when it cannot do what it is told.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use proto::code::response;
use proto::frame::{Scan, scan};
use proto::reply::{ResponseHead, write_response};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-bench"));
    command.args(arguments).output().expect("the program runs")
}

/// Exit code 2 and one line that holds all of `expect`.
fn check(arguments: &[&str], expect: &[&str]) {
    let output = run(arguments);
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    let line = text.lines().find(|line| line.starts_with("ringmq-bench: ")).unwrap_or(&text);
    for word in expect {
        assert!(line.contains(word), "{word:?} is missing: {text}");
    }
}

/// A broker that answers each request of its connections with the same code, until the test ends.
fn refusing(code: i32, remark: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut input = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(read_bytes @ 1..) = stream.read(&mut buffer) {
                    input.extend_from_slice(&buffer[..read_bytes]);
                    let mut output = Vec::new();
                    while let Ok(Scan::Frame { frame, size_bytes }) = scan(&input, 1 << 20) {
                        let command = proto::command::Command::decode(&frame).expect("a header");
                        let head =
                            ResponseHead { opaque: command.opaque, code, remark: Some(remark) };
                        write_response(&mut output, frame.encoding, &head, None, b"");
                        input.drain(..size_bytes);
                    }
                    if stream.write_all(&output).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let free = free.to_string();
    let expect = ["connect to", free.as_str(), "is a server running there"];
    check(&["produce", "--broker", &free], &expect);
    check(&["produce", "--namesrv", &free], &expect);
    check(&["consume", "--broker", &free], &expect);
    check(&["e2e", "--rate", "10", "--broker", &free], &expect);
    check(&["produce", "--broker", "127.0.0.1"], &["resolve 127.0.0.1", "host:port"]);
}

#[test]
fn a_refusal_is_told_with_code_remark_and_advice() {
    let broker = refusing(response::TOPIC_NOT_EXIST, "topic[t] not exist");
    let expect = [broker.as_str(), "17 TOPIC_NOT_EXIST", "topic[t] not exist", "--no-create"];
    let quick = ["--quiet", "--warm-up", "0", "--duration", "1", "--no-create", "--topic", "t"];
    let sends = [&["produce", "--broker", &broker][..], &quick].concat();
    check(&sends, &expect);
    check(&["consume", "--broker", &broker, "--topic", "t"], &expect[..3]);
    check(&["produce", "--namesrv", &broker, "--topic", "t", "--no-create"], &expect[..3]);
}

#[test]
fn a_server_process_that_is_not_there_is_named() {
    let broker = refusing(response::SUCCESS, "");
    let arguments = ["produce", "--broker", &broker, "--server-pid", "4294967295", "--quiet"];
    check(&arguments, &["process 4294967295", "--server-pid"]);
}

#[test]
fn a_load_that_nobody_can_send_is_told_with_its_limit() {
    let broker = ["--broker", "127.0.0.1:1"];
    let check_load = |load: &str, expect: &[&str]| {
        let words: Vec<&str> = load.split(' ').chain(broker).collect();
        check(&words, expect);
    };
    check_load("produce --connections 2 --processes 3", &["3 processes", "2 connections"]);
    check_load("produce --rate 2 --processes 3", &["3 processes", "2 messages a second"]);
    check_load("produce --batch 1000 --size 44..8192", &["8192", "4194304", "--batch"]);
    check_load("produce --size 4194304 --connections 64", &["64 connections", "1073741824"]);
    check_load("produce --topics 100000 --connections 64", &["100000 topics", "16777216"]);
    let long = format!("produce --topics 10 --topic {}", "x".repeat(126));
    check_load(&long, &["127 characters", "shorten"]);
    check_load("overload --size 4194304 --connections 64", &["64 connections"]);
}

#[test]
fn a_report_that_is_not_there_is_named() {
    let page = std::env::temp_dir().join("never-written.html");
    let page = page.to_str().expect("UTF-8");
    check(
        &["compare", "/no/such/report", "--report", page],
        &["/no/such/report", "--report wrote"],
    );
    check(&["compare", "=x", "--report", page], &["SCENARIO/NAME="]);
}
