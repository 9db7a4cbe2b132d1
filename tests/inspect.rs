//! `ringmq inspect` on stores that the real program made, whole and damaged, and the program on them.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use support::{Client, Server};

const TOPIC: &str = "InspectTopic";
const MESSAGES: u32 = 50;

fn inspect(store: &Path, arguments: &[&str]) -> (i32, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["inspect", "--store"])
        .arg(store)
        .args(arguments)
        .output()
        .expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it exits"), String::from_utf8(text).expect("text"))
}

fn body(number: u32) -> Vec<u8> {
    format!("message {number:04} ").repeat(20).into_bytes()
}

/// A stopped store with messages in queue 0; the message id of number 10.
fn fill(store: &Path) -> String {
    let server = Server::start(store, &[]);
    let mut client = Client::connect(server.broker);
    let mut id = String::new();
    for number in 0..MESSAGES {
        client.write_send(TOPIC, 0, &body(number)).expect("the broker reads");
        let reply = client.read().expect("an answer");
        assert_eq!(reply.code, 0, "{}", reply.remark);
        if number == 10 {
            id = reply.field("msgId").expect("a message id").to_owned();
        }
    }
    server.stop();
    id
}

#[test]
fn a_whole_store_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let id = fill(&store);
    let (code, text) = inspect(&store, &["verify"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("          50 messages"), "{text}");
    assert!(text.contains("stopped cleanly") && text.ends_with("whole\n"), "{text}");
    let (code, text) = inspect(&store, &["position", &id]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("topic {TOPIC}, queue 0, queue offset 10")), "{text}");
    assert!(text.contains(&format!("offsetMsgId: {id}")), "{text}");
    let (code, text) = inspect(&store, &["queue", TOPIC, "0"]);
    assert!(code == 0 && text.contains("50 messages, offsets up to 50"), "{text}");
    assert_eq!(inspect(&store, &["queue", TOPIC, "1"]).0, 1);
    let (code, text) = inspect(&store, &["segment", "00000000000000000000"]);
    assert!(code == 0 && text.contains("          50 messages"), "{text}");
    for arguments in [&["position", "x"][..], &["segment", "x"]] {
        assert_eq!(inspect(&store, arguments).0, 2);
    }
    let (code, text) = inspect(&store, &["segment", "1"]);
    let there = "there is no segment 00000000000000000001 in shard 0; there are ";
    assert!(code == 2 && text.contains(there), "{text}");
    let (code, text) = inspect(&store, &["segment", "0", "--shard", "7"]);
    assert!(code == 2 && text.contains("there is no shard 7; there are 1"), "{text}");
    let (code, text) = inspect(&store, &["--help"]);
    assert!(code == 0 && text.contains("Exit status: 0"), "{text}");
    let (code, text) = inspect(folder.path(), &["verify"]);
    assert!(code == 2 && text.contains("is no store"), "{text}");
}

#[test]
fn a_store_in_use_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let server = Server::start(&store, &[]);
    let (code, text) = inspect(&store, &["verify"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains(&format!("in use by process {}", server.pid())), "{text}");
    server.stop();
}

#[test]
fn a_damaged_message_is_named_and_costs_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let id = fill(&store);
    let segment = store.join("shard-000/00000000000000000000");
    let mut bytes = fs::read(&segment).expect("the segment");
    let needle = body(10);
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("stored");
    bytes[at + 5] ^= 0x10;
    fs::write(&segment, &bytes).expect("written back");

    let (code, text) = inspect(&store, &["verify"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("DAMAGED: shard 0, log offsets"), "{text}");
    assert!(
        text.contains(&format!("GONE: topic {TOPIC}, queue 0, offsets 10 to 10 (1 message)")),
        "{text}"
    );
    assert!(text.contains("          49 messages"), "{text}");
    let (code, text) = inspect(&store, &["position", &id]);
    assert!(code == 1 && text.contains("damaged bytes"), "{text}");

    let server = Server::start(&store, &[]);
    let mut client = Client::connect(server.broker);
    let (mut found, mut from) = (Vec::new(), 0);
    while found.len() < MESSAGES as usize - 1 {
        let reply = client.pull(TOPIC, 0, from);
        if reply.code == 0 {
            found.extend(support::records(&reply.body));
        }
        let next = reply.number("nextBeginOffset");
        assert!(next > from, "{reply:?} from {from} after {}", found.len());
        from = next;
    }
    let expected: Vec<_> = (0..MESSAGES).filter(|number| *number != 10).collect();
    let offsets: Vec<_> = found.iter().map(|(offset, _)| *offset as u32).collect();
    assert_eq!(offsets, expected);
    for (offset, found) in &found {
        assert_eq!(*found, body(*offset as u32));
    }
    server.stop();
}

#[test]
fn a_copy_without_its_lock_is_read_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    fill(&store);
    fs::remove_file(store.join("LOCK")).expect("removed");
    let (code, text) = inspect(&store, &["verify"]);
    assert!(code == 0 && text.contains("read without the lock"), "{text}");
    assert!(!store.join("LOCK").exists());
    fs::remove_file(store.join("STORE")).expect("removed");
    let (code, text) = inspect(&store, &["verify"]);
    assert!(code == 2 && text.contains("STORE is damaged: it is missing; restore it"), "{text}");
}

#[test]
fn damage_of_padding_is_told_from_that_of_a_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    fill(&store);
    let segment = store.join("shard-000/00000000000000000000");
    let mut bytes = fs::read(&segment).expect("the segment");
    // Behind the last message: the padding of the block that it ends in.
    let needle = body(MESSAGES - 1);
    let at = bytes.windows(needle.len()).rposition(|window| window == needle).expect("stored");
    let block = (at + needle.len()).next_multiple_of(4096) - 4096;
    let is_filler = |at: &usize| bytes[at + 8] == 2 && bytes[at + 4..at + 8] != [0; 4];
    let from = (at + needle.len()).next_multiple_of(8);
    let filler = (from..block + 4096).step_by(8).find(is_filler).expect("a lone write is padded");
    bytes[filler + 20] ^= 1;
    fs::write(&segment, &bytes).expect("written back");
    let (code, text) = inspect(&store, &["verify"]);
    assert!(code == 1 && text.contains("a filler, no message was in it"), "{text}");
    assert!(!text.contains("GONE"), "{text}");
}

#[test]
fn a_store_of_apache_rocketmq_is_refused_and_left_alone() {
    for name in ["commitlog", "consumequeue", "config/topics.json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        fs::create_dir_all(store.join(name)).expect("a folder");
        fs::create_dir_all(store.join("lost+found")).expect("a folder");
        let log = folder.path().join("log");
        let started = Server::start_logged(&store, &[], &log).map(Server::kill);
        let code = started.map_err(|status| status.code());
        assert_eq!(code, Err(Some(1)), "{name}");
        let said = fs::read_to_string(&log).expect("a log");
        let reason = format!("holds a store of Apache RocketMQ ({name})");
        assert!(said.contains(&reason), "{said}");
        assert!(!store.join("STORE").exists() && !store.join("LOCK").exists());
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    fs::create_dir_all(store.join("lost+found")).expect("a folder");
    Server::start(&store, &[]).stop();
}
