//! Questions by key among many messages, one at a time: `find ADDRESS TOPIC MESSAGES [QUESTIONS]`.
//!
//! TOPIC was filled by one `ringmq-bench produce --keys` of one process with MESSAGES messages at least. Each
//! question is for a message by its key, then for the same by its unique key, then for a key that no message
//! has; whatever is not found, or found without having been sent, ends the run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::properties::{self, name};
use proto::record::Record;
use proto::reply::{RequestHead, write_request};

const QUERY_MESSAGE: i32 = 12;
const NOT_FOUND: i32 = 22;
const QUESTIONS: u64 = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let address: SocketAddr = arguments.get(1).and_then(|it| it.parse().ok()).expect("ADDRESS");
    let topic = arguments.get(2).expect("TOPIC");
    let messages: u64 = arguments.get(3).and_then(|it| it.parse().ok()).expect("MESSAGES");
    let questions = arguments.get(4).map_or(QUESTIONS, |it| it.parse().expect("QUESTIONS"));
    let mut client = Client::connect(address);
    let [mut by_key, mut by_unique_key, mut absent] =
        [(); 3].map(|()| Histogram::<u64>::new(3).expect("three digits"));
    // Far from each other: a step that has no factor in common with a power of two.
    for question in 0..questions {
        let number = question.wrapping_mul(0x9E37_79B9_7F4A_7C15) % messages;
        let key = format!("key-{number:012X}");
        let (took, found) = client.find(topic, &key, false);
        by_key.record(took).expect("below its limit");
        let unique = unique_key(&found, &key).unwrap_or_else(|| panic!("{key} is not found"));
        let (took, found) = client.find(topic, &unique, true);
        by_unique_key.record(took).expect("below its limit");
        assert_eq!(unique_key(&found, &key), Some(unique), "found by its unique key");
        let (took, found) = client.find(topic, &format!("key-{:012X}", number + (1 << 47)), false);
        absent.record(took).expect("below its limit");
        assert!(found.is_empty(), "a key that was not sent");
    }
    println!("{questions} questions each among {messages} messages, µs");
    for (name, histogram) in
        [("by key", by_key), ("by unique key", by_unique_key), ("absent key", absent)]
    {
        let at = |percentile| histogram.value_at_percentile(percentile);
        println!(
            "{name:<14} p50 {:>8} p90 {:>8} p99 {:>8} p99.9 {:>8} max {:>8}",
            at(50.0),
            at(90.0),
            at(99.0),
            at(99.9),
            histogram.max()
        );
    }
}

/// UNIQ_KEY of the record that has this key.
fn unique_key(records: &[u8], key: &str) -> Option<String> {
    let mut left = records;
    while !left.is_empty() {
        let (record, size_bytes) = Record::decode(left).expect("records");
        let text = record.fields().properties;
        if properties::find(text, name::KEYS) == Some(key.as_bytes()) {
            let unique = properties::find(text, name::UNIQ_KEY)?;
            return Some(String::from_utf8(unique.to_vec()).expect("it is text"));
        }
        left = &left[size_bytes..];
    }
    None
}

struct Client {
    stream: TcpStream,
    opaque: i32,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_nodelay(true).expect("an option can be set");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("an option can be set");
        Client { stream, opaque: 0 }
    }

    /// Microseconds and records.
    fn find(&mut self, topic: &str, key: &str, is_unique: bool) -> (u64, Vec<u8>) {
        self.opaque += 1;
        let is_unique = if is_unique { "true" } else { "false" };
        let fields = [
            ("topic", topic),
            ("key", key),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
            ("_UNIQUE_KEY_QUERY", is_unique),
        ];
        let mut bytes = Vec::new();
        let head = RequestHead { code: QUERY_MESSAGE, opaque: self.opaque, flag: 0 };
        write_request(&mut bytes, Encoding::Json, &head, Some(&fields), &[]);
        let asked = Instant::now();
        self.stream.write_all(&bytes).expect("the connection is open");
        bytes.clear();
        loop {
            let mut chunk = [0; 64 * 1024];
            let count = self.stream.read(&mut chunk).expect("an answer within 30 s");
            assert!(count > 0, "the broker closed the connection");
            bytes.extend_from_slice(&chunk[..count]);
            let Ok(Scan::Frame { frame, .. }) = scan(&bytes, 16 << 20) else { continue };
            let took_us = u64::try_from(asked.elapsed().as_micros()).expect("below 30 s");
            let answer = Command::decode(&frame).expect("an answer");
            assert_eq!(answer.opaque, self.opaque);
            if answer.code == NOT_FOUND {
                return (took_us, Vec::new());
            }
            assert_eq!(answer.code, 0, "{:?}", answer.remark);
            return (took_us, frame.body.to_vec());
        }
    }
}
