//! Frames captured from Apache RocketMQ 5.3.3: its requests in, its answers expected.

use std::path::Path;

use proto::dialect::{Key, Value, parse};

use super::*;

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = std::fs::read_to_string(path.with_extension("hex")).unwrap();
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// The value with the entries of every object in order: Java's is that of a hash table.
fn ordered(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Object(mut object) => {
            let entries = object.entries.drain(..).map(|(key, value)| (key, ordered(value)));
            let mut entries: Vec<_> = entries.collect();
            entries.sort_by_key(|(key, _)| match key {
                Key::Text(text) => text.to_string(),
                Key::Value(value) => format!("{value:?}"),
            });
            object.entries = entries;
            Value::Object(object)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(ordered).collect()),
        other => other,
    }
}

/// Feeds a captured request, or one made of it by `change`, and compares the answer with the
/// captured one: its header as a value, its body to the byte.
#[track_caller]
fn check(desk: &mut Desk, request: &str, change: impl Fn(&mut Command<'_>), expect: &str) {
    let (request, expect) = (golden(request), golden(expect));
    let (request, expect) = (frame_of(&request), frame_of(&expect));
    let mut command = Command::decode(&request).unwrap();
    command.opaque = Command::decode(&expect).unwrap().opaque;
    change(&mut command);
    let mut out = Vec::new();
    desk.server.handle(desk.now_ms, desk.connection, PEER, &command, request.body, &mut out);
    let found = frame_of(&out);
    assert_eq!(found.encoding, expect.encoding);
    if found.encoding == Encoding::Json {
        let header = |frame: &Frame<'_>| format!("{:?}", ordered(parse(frame.header).unwrap()));
        assert_eq!(header(&found), header(&expect));
    } else {
        assert_eq!(found.header, expect.header);
    }
    let text = |frame: &Frame<'_>| String::from_utf8(frame.body.to_vec()).unwrap();
    assert_eq!(text(&found), text(&expect));
}

/// A NameServer with broker `vb-a` of the capture.
fn with_vb_a() -> Desk {
    let mut desk = Desk::new();
    feed(&mut desk, "ns-103-req-full");
    desk
}

/// Feeds a captured request and gives the answer's code.
fn feed(desk: &mut Desk, request: &str) -> i32 {
    let request = golden(request);
    let frame = frame_of(&request);
    let command = Command::decode(&frame).unwrap();
    let mut out = Vec::new();
    desk.server.handle(desk.now_ms, desk.connection, PEER, &command, frame.body, &mut out);
    Command::decode(&frame_of(&out)).unwrap().code
}

/// The brokers of the hand-made capture: `rb1`, master and slave, in cluster RC.
fn rb1(id: i64) -> Visitor {
    Visitor {
        cluster: "RC",
        name: "rb1",
        id,
        address: if id == 0 { "127.0.0.1:31001" } else { "127.0.0.1:31002" },
        acting_master: None,
        ..master()
    }
}

#[test]
fn routes_are_those_of_rocketmq() {
    let mut desk = with_vb_a();
    let request = "ns-105-req-json-v479";
    check(&mut desk, request, |_| {}, "ns-105-resp-v479");
    check(&mut desk, request, |command| command.version = 400, "ns-105-resp-v400");

    let mut desk = Desk::new();
    desk.register(&Visitor { topics: vec!["TBW102", "T"], ..rb1(0) });
    check(&mut desk, "ns-105-req-binary", |_| {}, "ns-105-resp-binary");
}

#[test]
fn unknown_topics_are_answered_as_by_rocketmq() {
    for (encoding, topic, expect) in [
        (Encoding::Json, "NOPE_T", "ns-105-resp-17"),
        (Encoding::Binary, "NOPE", "ns-105-resp-17-binary"),
    ] {
        let expect = golden(expect);
        let opaque = Command::decode(&frame_of(&expect)).unwrap().opaque;
        let head = RequestHead { code: 105, opaque, flag: 0 };
        let mut request = Vec::new();
        write_request(&mut request, encoding, &head, Some(&[("topic", topic)]), b"");
        let command = frame_of(&request);
        let command = Command::decode(&command).unwrap();
        let (mut desk, mut out) = (with_vb_a(), Vec::new());
        desk.server.handle(desk.now_ms, desk.connection, PEER, &command, b"", &mut out);
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expect));
    }
}

#[test]
fn clusters_and_unknown_codes_are_answered_as_by_rocketmq() {
    let mut desk = with_vb_a();
    let request = "ns-105-req-json-v479";
    check(&mut desk, request, |command| command.code = 106, "ns-106-resp");
    check(&mut desk, request, |command| command.code = 9999, "ns-unknown-code-resp");
}

#[test]
fn registrations_of_rocketmq_are_taken() {
    let mut desk = Desk::new();
    check(&mut desk, "ns-103-req-incremental", |_| {}, "ns-103-resp-1");
    assert_eq!(feed(&mut desk, "ns-103-req-full"), 0);
    assert_eq!(desk.shown("VTopicA"), "none");
    assert_eq!(feed(&mut desk, "ns-103-req-incremental"), 0);
    assert_eq!(desk.shown("VTopicA"), "vb-a 6 0=127.0.0.1:21911");
    assert_eq!(desk.shown("TBW102"), "vb-a 7 0=127.0.0.1:21911");
}

/// Apache answers 1: its own broker says `compressed=false`, and its NameServer believes it.
#[test]
fn a_compressed_registration_is_taken_whatever_its_header_says() {
    let mut desk = Desk::new();
    assert_eq!(feed(&mut desk, "ns-103-req-compressed-defect"), 0);
    assert!(desk.server.topics.len() > 1);
}

#[test]
fn a_slave_is_answered_as_by_rocketmq() {
    let mut desk = Desk::new();
    desk.register(&rb1(0));
    let answer = desk.register(&rb1(1));
    let expect = golden("ns-103-resp-slave");
    let expect = Command::decode(&frame_of(&expect)).unwrap();
    assert_eq!(answer.ext.len(), expect.ext.len());
    for (key, value) in expect.ext.iter() {
        assert_eq!(answer.ext[key.to_cow().as_ref()], value.to_cow());
    }
    check(&mut desk, "ns-322-req", |_| {}, "ns-322-resp");

    desk.version = 400;
    let answer = desk.ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")], b"");
    let expect = golden("ns-105-resp-slave-v400");
    let expect = frame_of(&expect).body;
    assert_eq!(String::from_utf8_lossy(&answer.body), String::from_utf8_lossy(expect));
}
