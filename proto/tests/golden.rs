//! Frames captured from Apache RocketMQ 5.3.3 (`tests/golden`): decoded, compared with what
//! `index.md` says of them, and written again byte for byte.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proto::batch::BatchRecords;
use proto::command::Command;
use proto::frame::{self, Encoding, Frame, Scan};
use proto::header::{
    ConsumerListHeader, CreateTopicHeader, PullAnswer, PullHeader, QueryDataVersionHeader,
    QueryOffsetHeader, QueueHeader, RegisterBrokerHeader, RouteHeader, SendAnswer, SendBackHeader,
    SendHeader, UnregisterBrokerHeader, UnregisterClientHeader, UpdateOffsetHeader,
};
use proto::language::Language;
use proto::limits::FRAME_BYTES_MAX;
use proto::record::Record;
use proto::reply::{self, RequestHead, ResponseHead};
use proto::{properties, version};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

fn bytes_of(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    let digits: Vec<char> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    let byte = |pair: &[char]| {
        pair.iter().try_fold(0, |byte, digit| Some(byte << 4 | digit.to_digit(16)?))
    };
    digits.chunks(2).map(|pair| byte(pair).unwrap() as u8).collect()
}

fn frame_of(bytes: &[u8]) -> Frame<'_> {
    match frame::scan(bytes, FRAME_BYTES_MAX).unwrap() {
        Scan::Frame { frame, size_bytes } => {
            assert_eq!(size_bytes, bytes.len());
            frame
        }
        Scan::Incomplete { needed_bytes } => panic!("{needed_bytes} of {} bytes", bytes.len()),
    }
}

/// What `index.md` says of a frame.
struct Expect {
    name: String,
    bytes: usize,
    encoding: Encoding,
    code: i32,
    flag: i32,
}

/// Rows of the table: `| file | bytes | header, code n, flag n | what |`.
fn index() -> Vec<Expect> {
    let text = std::fs::read_to_string(folder().join("index.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1).filter(|name| name.ends_with(".hex"))?;
        let header: Vec<&str> = cells[3].split(", ").collect();
        Some(Expect {
            name: (*name).to_owned(),
            bytes: cells[2].parse().unwrap(),
            encoding: if header[0] == "JSON" { Encoding::Json } else { Encoding::Binary },
            code: header[1].strip_prefix("code ").unwrap().parse().unwrap(),
            flag: header[2].strip_prefix("flag ").unwrap().parse().unwrap(),
        })
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_frame_is_what_the_index_says() {
    let index = index();
    assert!(index.len() > 50);
    for expect in index {
        let bytes = bytes_of(&expect.name);
        assert_eq!(bytes.len(), expect.bytes, "{}", expect.name);
        let frame = frame_of(&bytes);
        assert_eq!(frame.encoding, expect.encoding, "{}", expect.name);
        let command = Command::decode(&frame).unwrap();
        assert_eq!(command.code, expect.code, "{}", expect.name);
        assert_eq!(command.flag, expect.flag, "{}", expect.name);
        assert_eq!(command.is_response(), expect.flag == 1);
        assert_eq!(command.is_oneway(), expect.flag == 2);
    }
}

/// Writes what was decoded; the fields in the order in which they came.
fn write_again(command: &Command<'_>, encoding: Encoding, body: &[u8]) -> Vec<u8> {
    let ext: Vec<(String, String)> =
        command.ext.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let ext: Vec<(&str, &str)> = ext.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let ext = (!ext.is_empty()).then_some(&ext[..]);
    let remark = command.remark.map(|remark| remark.to_string());
    let mut out = Vec::new();
    if command.is_response() {
        let head =
            ResponseHead { opaque: command.opaque, code: command.code, remark: remark.as_deref() };
        reply::write_response(&mut out, encoding, &head, ext, body);
    } else {
        let head = RequestHead { code: command.code, opaque: command.opaque, flag: command.flag };
        reply::write_request(&mut out, encoding, &head, ext, body);
    }
    out
}

#[test]
fn every_frame_is_written_as_it_was() {
    let mut compared_count = 0;
    for Expect { name, .. } in index() {
        let bytes = bytes_of(&name);
        let frame = frame_of(&bytes);
        let command = Command::decode(&frame).unwrap();
        // Ours always says Java and 5.3.3; its fields are always strings, and none leaves out `{}`.
        let differs = command.version != version::CURRENT
            || command.language != Some(Language::Java)
            || frame.header.windows(16).any(|text| text == b"\"extFields\":{},\"");
        if !differs {
            compared_count += 1;
            let again = write_again(&command, frame.encoding, frame.body);
            assert_eq!(
                again.escape_ascii().to_string(),
                bytes.escape_ascii().to_string(),
                "{name}"
            );
        }
    }
    assert!(compared_count > 50, "{compared_count}");
}

#[test]
fn every_header_passes_through_every_encoding() {
    for Expect { name, .. } in index() {
        let bytes = bytes_of(&name);
        let frame = frame_of(&bytes);
        let expect = Command::decode(&frame).unwrap();
        for encoding in [Encoding::Json, Encoding::Binary, Encoding::Flat] {
            if encoding == Encoding::Binary && i16::try_from(expect.code).is_err() {
                continue;
            }
            let again = write_again(&expect, encoding, frame.body);
            let frame = frame_of(&again);
            let found = Command::decode(&frame).unwrap();
            assert_eq!(frame.encoding, encoding);
            assert_eq!((found.code, found.opaque), (expect.code, expect.opaque), "{name}");
            assert_eq!((found.flag, found.remark), (expect.flag, expect.remark), "{name}");
            assert!(found.ext.iter().eq(expect.ext.iter()), "{name}");
        }
    }
}

fn with_command<T>(name: &str, look: impl FnOnce(&Command<'_>, &[u8]) -> T) -> T {
    let bytes = bytes_of(name);
    let frame = frame_of(&bytes);
    look(&Command::decode(&frame).unwrap(), frame.body)
}

#[test]
fn sends_have_their_fields() {
    let check = |name: &str, topic: &str, queue_id, properties: &str, body: &[u8]| {
        with_command(name, |command, found_body| {
            let send = SendHeader::parse(command).unwrap();
            assert_eq!(send.topic.to_cow(), topic, "{name}");
            assert_eq!(send.default_topic.to_cow(), "TBW102");
            assert_eq!(send.default_topic_queue_count, 4);
            assert_eq!(send.queue_id, queue_id);
            assert_eq!(send.properties.to_cow(), properties);
            assert_eq!((send.sys_flag, send.flag, send.reconsume_times), (0, 0, 0));
            assert_eq!((send.unit_mode, send.max_reconsume_times), (false, None));
            assert!(send.born_timestamp > 1_795_000_000_000);
            assert_eq!(found_body, body);
            (send.batch, send.broker_name.map(|name| name.to_string()))
        })
    };
    let uniq =
        "TAGS\u{1}TagA\u{2}UNIQ_KEY\u{1}0A00000100002A139A55000000000A0B\u{2}KEYS\u{1}k1 k2\u{2}";
    let found = check("broker-310-req.hex", "VTopicA", 0, uniq, b"Hello RocketMQ");
    assert_eq!(found, (false, None));
    let found = check("broker-10-req.hex", "VTopicA", 1, "TAGS\u{1}TagB\u{2}", b"v1 body");
    assert_eq!(found, (false, None));
    let numeric = "broker-310-req-numeric-ext.hex";
    assert_eq!(check(numeric, "VTopicA", 0, "TAGS\u{1}TagA\u{2}", b"numeric"), (false, None));
    with_command(numeric, |command, _| {
        assert_eq!((command.language, command.version), (Some(Language::Cpp), 333));
    });
    with_command("broker-310-req-binary-java.hex", |command, _| {
        let send = SendHeader::parse(command).unwrap();
        assert_eq!(command.language, Some(Language::Java));
        assert_eq!(send.broker_name.map(|name| name.to_string()).as_deref(), Some("vb-a"));
        assert!(properties::find(send.properties.raw(), "UNIQ_KEY").is_some());
    });
    with_command("broker-325-req-java.hex", |command, body| {
        let send = SendHeader::parse(command).unwrap();
        assert_eq!(send.producer_group.to_cow(), "PG_REPLY");
        let text = send.properties.to_cow();
        let client = properties::find(text.as_bytes(), "REPLY_TO_CLIENT");
        assert_eq!(client, Some(&b"127.0.0.1@capP"[..]));
        assert_eq!(body, b"the answer");
    });
}

#[test]
fn batch_has_its_records() {
    with_command("broker-320-req-java.hex", |command, body| {
        assert!(SendHeader::parse(command).unwrap().batch);
        let records: Vec<_> = BatchRecords::new(body).map(Result::unwrap).collect();
        let bodies: Vec<_> = records.iter().map(|record| record.body).collect();
        assert_eq!(bodies, [b"b0", b"b1", b"b2"]);
        let tags = properties::find(records[0].properties, "TAGS");
        assert_eq!(tags, Some(&b"TagB"[..]));
        let mut again = Vec::new();
        records.iter().for_each(|record| record.encode(&mut again));
        assert_eq!(again, body);
    });
}

#[test]
fn answers_have_their_fields() {
    with_command("broker-310-resp.hex", |command, _| {
        let answer = SendAnswer::parse(command).unwrap();
        assert_eq!(answer.message_id.to_cow(), "7F000001000055970000000000000000");
        assert_eq!((answer.queue_id, answer.queue_offset), (0, 0));
        let transaction_id = answer.transaction_id.map(|id| id.to_string());
        assert_eq!(transaction_id.as_deref(), Some("0A00000100002A139A55000000000A0B"));
        assert_eq!(
            answer.region.map(|region| region.to_string()).as_deref(),
            Some("DefaultRegion")
        );
        assert!(answer.trace_on);
    });
    with_command("broker-11-resp-found.hex", |command, _| {
        let answer = PullAnswer::parse(command).unwrap();
        let expect = PullAnswer {
            suggest_which_broker_id: 0,
            next_begin_offset: 1,
            min_offset: 0,
            max_offset: 5,
            topic_sys_flag: 0,
            group_sys_flag: 0,
        };
        assert_eq!(answer, expect);
        assert_eq!(command.remark.map(|remark| remark.to_string()).as_deref(), Some("FOUND"));
    });
    with_command("broker-310-resp-29-queueid.hex", |command, _| {
        assert!(SendAnswer::parse(command).is_err());
        assert_eq!(command.code, 29);
    });
}

#[test]
fn other_requests_have_their_fields() {
    with_command("broker-11-req-binary-java.hex", |command, _| {
        let pull = PullHeader::parse(command).unwrap();
        assert_eq!((pull.queue_offset, pull.message_count_max), (1, 32));
        assert!(pull.may_suspend());
        assert_eq!(pull.suspend_timeout_ms, 15_000);
        assert_eq!(pull.broker_name.map(|name| name.to_string()).as_deref(), Some("vb-a"));
    });
    with_command("broker-36-req-java.hex", |command, _| {
        let back = SendBackHeader::parse(command).unwrap();
        assert_eq!((back.offset, back.delay_level), (4_213_422, 0));
        assert_eq!(back.group.to_cow(), "CG_JAVA");
        assert_eq!(back.max_reconsume_times, Some(16));
        assert_eq!(back.origin_topic.map(|topic| topic.to_string()).as_deref(), Some("JTopic"));
    });
    with_command("broker-40-push.hex", |command, _| {
        assert_eq!(ConsumerListHeader::parse(command).unwrap().consumer_group.to_cow(), "CG_HB1");
    });
    with_command("ns-105-req-binary.hex", |command, _| {
        assert_eq!(RouteHeader::parse(command).unwrap().topic.to_cow(), "TBW102");
    });
    with_command("ns-103-req-full.hex", |command, body| {
        let register = RegisterBrokerHeader::parse(command).unwrap();
        assert_eq!(register.broker_name.to_cow(), "vb-a");
        assert_eq!(register.broker_id, 0);
        assert!(!register.compressed);
        assert_eq!(register.body_crc32 as u32, proto::record::body_crc(body));
    });
    with_command("ns-322-req.hex", |command, _| {
        let query = QueryDataVersionHeader::parse(command).unwrap();
        assert_eq!(query.broker_name.to_cow(), "rb1");
    });
}

#[test]
fn pulled_records_are_written_as_they_were() {
    let mut record_count = 0;
    for Expect { name, .. } in index() {
        if !name.starts_with("broker-11-resp") && !name.starts_with("broker-200050-resp") {
            continue;
        }
        let bytes = bytes_of(&name);
        let mut rest = frame_of(&bytes).body;
        while !rest.is_empty() {
            let (record, size_bytes) = Record::decode(rest).unwrap();
            assert!(record.is_body_intact(), "{name}");
            assert_eq!(record.fields().encoded_bytes(), size_bytes);
            let mut again = vec![0; size_bytes];
            record.fields().encode(&mut again);
            assert_eq!(again, record.bytes(), "{name}");
            assert!(properties::find(record.fields().properties, "MSG_REGION").is_some());
            rest = &rest[size_bytes..];
            record_count += 1;
        }
    }
    assert!(record_count > 15, "{record_count}");
}

/// Everything that reads bytes from a peer.
fn read_all(bytes: &[u8]) {
    let Ok(Scan::Frame { frame, .. }) = frame::scan(bytes, FRAME_BYTES_MAX) else { return };
    let _ = BatchRecords::new(frame.body).count_checked();
    let _ = Record::decode(frame.body);
    let Ok(command) = Command::decode(&frame) else { return };
    if let Ok(send) = SendHeader::parse(&command) {
        let _ = send.properties.unescape_into(&mut Vec::new());
    }
    let _ = PullHeader::parse(&command);
    let _ = SendAnswer::parse(&command);
    let _ = PullAnswer::parse(&command);
    let _ = QueryOffsetHeader::parse(&command);
    let _ = UpdateOffsetHeader::parse(&command);
    let _ = QueueHeader::parse(&command);
    let _ = CreateTopicHeader::parse(&command);
    let _ = SendBackHeader::parse(&command);
    let _ = UnregisterClientHeader::parse(&command);
    let _ = ConsumerListHeader::parse(&command);
    let _ = RegisterBrokerHeader::parse(&command);
    let _ = UnregisterBrokerHeader::parse(&command);
    let _ = RouteHeader::parse(&command);
    let _ = QueryDataVersionHeader::parse(&command);
    let _ = format!("{command:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_frames_never_panic(
        which: prop::sample::Index,
        encoding in prop::sample::select(vec![Encoding::Json, Encoding::Binary, Encoding::Flat]),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let index = index();
        let bytes = bytes_of(&which.get(&index).name);
        let frame = frame_of(&bytes);
        let command = Command::decode(&frame).unwrap();
        let mut bytes = write_again(&command, encoding, frame.body);
        let header_end = bytes.len() - frame.body.len();
        for (at, byte) in mutations {
            bytes[8 + at.index(header_end - 8)] = byte;
        }
        read_all(&bytes);
    }

    #[test]
    fn any_header_never_panics(
        encoding in 0..3_u8,
        header in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = (header.len() as u32 + 4).to_be_bytes().to_vec();
        bytes.extend_from_slice(&(u32::from(encoding) << 24 | header.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&header);
        read_all(&bytes);
    }
}
