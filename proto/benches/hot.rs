//! What the message path costs per message: `cargo bench -p proto --bench hot [-- part of a name]`.
//!
//! Prints the least and the median of many short batches, in nanoseconds for one call. A batch is
//! far shorter than a time slice, so that the least is true on a busy machine too; the median tells
//! how busy it was. No framework: these are pure functions, and two numbers say all we ask.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use proto::command::Command;
use proto::frame::{Encoding, Frame, Scan, scan};
use proto::header::{PullHeader, ScannedSend, SendAnswer, SendHeader};
use proto::ids::{LogOffset, OffsetMessageId, Position, ShardIndex};
use proto::limits::FRAME_BYTES_MAX;
use proto::properties::WellKnown;
use proto::record::{Record, RecordFields, body_crc};
use proto::reply::{
    PullReply, PullRequest, RequestHead, SendReply, SendRequest, Stored, write_pull_request,
    write_pull_response, write_send_request, write_send_response,
};

const PROPERTIES: &[u8] =
    b"TAGS\x01TagA\x02UNIQ_KEY\x010A00000100002A139A55000000000A0B\x02KEYS\x01k1 k2\x02WAIT\x01true\x02";

const ENCODINGS: [(&str, Encoding); 3] =
    [("json", Encoding::Json), ("binary", Encoding::Binary), ("flat", Encoding::Flat)];

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    let text = std::fs::read_to_string(path).expect("the golden frames are in the repository");
    let digits: Vec<u8> =
        text.bytes().filter_map(|byte| (byte as char).to_digit(16)).map(|it| it as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn frame_of(bytes: &[u8]) -> Frame<'_> {
    match scan(bytes, FRAME_BYTES_MAX) {
        Ok(Scan::Frame { frame, .. }) => frame,
        other => panic!("{other:?}"),
    }
}

fn send_request() -> SendRequest<'static> {
    SendRequest {
        producer_group: "producer-group",
        topic: "BenchTopic",
        default_topic: "TBW102",
        default_topic_queue_count: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp: 1_795_341_911_569,
        flag: 0,
        properties: PROPERTIES,
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: Some("broker-a"),
    }
}

fn pull_request() -> PullRequest<'static> {
    PullRequest {
        consumer_group: "consumer-group",
        topic: "BenchTopic",
        queue_id: 3,
        queue_offset: 1_234_567,
        message_count_max: 32,
        sys_flag: 3,
        commit_offset: 1_234_500,
        suspend_timeout_ms: 15_000,
        subscription: None,
        subscription_version: 1_795_341_911_569,
        expression_type: Some("TAG"),
        message_bytes_max: None,
        broker_name: Some("broker-a"),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Without `--bench` this runs as a test, to see that it runs.
    let is_measuring = arguments.iter().any(|argument| argument == "--bench");
    let filter = arguments.into_iter().find(|argument| !argument.starts_with("--"));
    let batch_count = if is_measuring { 2000 } else { 1 };
    let bench = Bench { filter: filter.unwrap_or_default(), batch_count };
    println!("{:<36}{:>10}{:>10}", "ns for one call", "least", "median");
    requests(&bench);
    answers(&bench);
    records(&bench);
    texts(&bench);
}

struct Bench {
    /// Only what has this in its name.
    filter: String,
    batch_count: usize,
}

impl Bench {
    /// Calls of a batch: a few microseconds, against 20 ns for looking at the clock.
    const BATCH_CALLS: u32 = 64;

    fn time<T>(&self, name: &str, mut call: impl FnMut() -> T) {
        if !name.contains(&self.filter) {
            return;
        }
        let batch = |_| {
            let start = Instant::now();
            for _ in 0..Self::BATCH_CALLS {
                black_box(call());
            }
            start.elapsed().as_nanos() as f64 / f64::from(Self::BATCH_CALLS)
        };
        let mut times: Vec<f64> = (0..self.batch_count).map(batch).collect();
        times.sort_by(f64::total_cmp);
        println!("{name:<36}{:>10.1}{:>10.1}", times[0], times[self.batch_count / 2]);
    }
}

fn requests(bench: &Bench) {
    let head = RequestHead { code: 310, opaque: 4711, flag: 0 };
    let captured = golden("broker-310-req.hex");
    bench.time("send header, json, captured", || {
        let command = Command::decode(&frame_of(black_box(&captured))).expect("it is valid");
        SendHeader::parse(&command).expect("it is valid").queue_id
    });
    for (name, encoding) in ENCODINGS {
        let mut bytes = Vec::new();
        write_send_request(&mut bytes, encoding, &head, &send_request(), 0);
        let frame = frame_of(&bytes);
        bench.time(&format!("send header, {name}, decode"), || {
            Command::decode(black_box(&frame)).expect("it is valid").code
        });
        bench.time(&format!("send header, {name}, and parse"), || {
            let command = Command::decode(black_box(&frame)).expect("it is valid");
            SendHeader::parse(&command).expect("it is valid").queue_id
        });
        if encoding == Encoding::Json {
            bench.time("send header, json, scanned", || {
                ScannedSend::scan(black_box(&frame)).expect("in the usual form").header.queue_id
            });
        }
        let mut bytes = Vec::new();
        let pull_head = RequestHead { code: 11, ..head };
        write_pull_request(&mut bytes, encoding, &pull_head, &pull_request());
        let frame = frame_of(&bytes);
        bench.time(&format!("pull header, {name}, and parse"), || {
            let command = Command::decode(black_box(&frame)).expect("it is valid");
            PullHeader::parse(&command).expect("it is valid").queue_id
        });
        let mut out = Vec::with_capacity(4096);
        bench.time(&format!("send request, {name}, write"), || {
            out.clear();
            write_send_request(&mut out, encoding, &head, black_box(&send_request()), 1024);
            out.len()
        });
    }
}

fn answers(bench: &Bench) {
    let host = "10.0.0.1:10911".parse().expect("it is valid");
    let offset = LogOffset::new(123_456_789).expect("it is in range");
    let id = OffsetMessageId { host, position: Position::new(ShardIndex(1), offset) };
    bench.time("offsetMsgId, encode", || black_box(&id).encode());
    for (name, encoding) in ENCODINGS {
        let mut out = Vec::with_capacity(4096);
        let write_send = |out: &mut Vec<u8>| {
            out.clear();
            let message_id = black_box(&id).encode();
            let reply = SendReply {
                opaque: 4711,
                code: 0,
                remark: None,
                stored: Some(Stored {
                    message_id: message_id.as_bytes(),
                    queue_id: 3,
                    queue_offset: 1_234_567,
                    transaction_id: b"0A00000100002A139A55000000000A0B",
                    recall_handle: None,
                }),
                region: "DefaultRegion",
                trace_on: true,
            };
            write_send_response(out, encoding, black_box(&reply));
        };
        bench.time(&format!("send answer, {name}, write"), || write_send(&mut out));
        write_send(&mut out);
        let bytes = out.clone();
        let frame = frame_of(&bytes);
        bench.time(&format!("send answer, {name}, decode, parse"), || {
            let command = Command::decode(black_box(&frame)).expect("it is valid");
            SendAnswer::parse(&command).expect("it is valid").queue_offset
        });
        let reply = PullReply {
            opaque: 4711,
            code: 0,
            remark: Some("FOUND"),
            suggest_which_broker_id: 0,
            next_begin_offset: 1_234_567,
            min_offset: 0,
            max_offset: 1_234_999,
            topic_sys_flag: 0,
            group_sys_flag: 0,
        };
        bench.time(&format!("pull answer, {name}, write"), || {
            out.clear();
            write_pull_response(&mut out, encoding, black_box(&reply), 32 * 1024);
            out.len()
        });
    }
}

fn records(bench: &Bench) {
    let body = vec![0x42; 1024];
    let fields = RecordFields {
        queue_id: 3,
        flag: 0,
        queue_offset: 1_234_567,
        physic_offset: 123_456_789,
        sys_flag: 0,
        born_timestamp: 1_795_341_911_569,
        born_host: "10.0.0.9:50000".parse().expect("it is valid"),
        store_timestamp: 1_795_341_911_570,
        store_host: "10.0.0.1:10911".parse().expect("it is valid"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        body_crc: body_crc(&body),
        topic: b"BenchTopic",
        properties: PROPERTIES,
    };
    let mut bytes = vec![0; fields.encoded_bytes()];
    bench.time("record of 1 KiB, encode", || black_box(&fields).encode(black_box(&mut bytes)));
    bench.time("record of 1 KiB, decode", || {
        let (record, size_bytes) = Record::decode(black_box(&bytes)).expect("it is valid");
        record.fields().queue_offset + size_bytes as i64
    });
    bench.time("body of 1 KiB, crc", || body_crc(black_box(&body)));
}

fn texts(bench: &Bench) {
    let mut bytes = Vec::new();
    let head = RequestHead { code: 310, opaque: 4711, flag: 0 };
    write_send_request(&mut bytes, Encoding::Json, &head, &send_request(), 0);
    let command = Command::decode(&frame_of(&bytes)).expect("it is valid");
    let text = SendHeader::parse(&command).expect("it is valid").properties;
    let mut out = Vec::with_capacity(4096);
    bench.time("properties, unescape", || {
        out.clear();
        black_box(text).unescape_into(&mut out).expect("it is valid");
        out.len()
    });
    bench.time("properties, collect the known", || {
        WellKnown::collect(black_box(PROPERTIES)).unique_key
    });
    bench.time("properties, both in one pass", || {
        WellKnown::unescape(black_box(text), &mut out).expect("it is valid").unique_key
    });
}
