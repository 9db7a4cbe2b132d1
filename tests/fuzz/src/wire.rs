//! Targets for frames, headers, records and the other formats that are not JSON bodies.

use proto::batch::{BatchRecord, BatchRecords};
use proto::command::Command;
use proto::frame::{Encoding, Frame, PREFIX_BYTES, Scan, scan};
use proto::header;
use proto::ids::{OffsetMessageId, java_hash};
use proto::limits::FRAME_BYTES_MAX;
use proto::properties::{self, WellKnown};
use proto::record::Record;
use proto::text::{Escapes, Text};

use crate::{Target, seeds};

/// See [`crate::targets`].
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "frame", run: frame, seeds: seeds::frames, dictionary: &[b"\0\0\0", b"\x16"] },
    Target {
        name: "header-json",
        run: |bytes| header(Encoding::Json, bytes),
        seeds: || seeds::headers(Encoding::Json),
        dictionary: JSON_HEADER,
    },
    Target {
        name: "header-binary",
        run: |bytes| header(Encoding::Binary, bytes),
        seeds: || seeds::headers(Encoding::Binary),
        dictionary: &[b"\0\0\0\0", b"\0\x05topic", b"\xff\xff"],
    },
    Target {
        name: "header-flat",
        run: |bytes| header(Encoding::Flat, bytes),
        seeds: || seeds::headers(Encoding::Flat),
        dictionary: &[b"\0\0\0\0", b"\x04\0\0\0", b"\xfc\xff\xff\xff"],
    },
    Target { name: "record", run: record, seeds: seeds::records, dictionary: &[b"\0\0\0\0"] },
    Target {
        name: "properties",
        run: properties,
        seeds: seeds::properties,
        dictionary: &[b"\x01", b"\x02", b"TAGS\x01a\x02", b"DELAY", b"WAIT", b"UNIQ_KEY"],
    },
    Target { name: "batch", run: batch, seeds: seeds::batches, dictionary: &[b"\0\0\0\0"] },
    Target {
        name: "message-id",
        run: message_id,
        seeds: || vec![b"0A00000100002A9F000000000001E240".to_vec(), vec![b'0'; 56]],
        dictionary: &[b"FFFFFFFF", b"0"],
    },
    Target {
        name: "text",
        run: text,
        seeds: || vec![br"a\u0001b\ud83d\ude00\n".to_vec(), b"-9223372036854775808".to_vec()],
        dictionary: &[b"\\u", b"\\ud83d", b"\\", b"-", b"9999999999"],
    },
];

const JSON_HEADER: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"'",
    b"\\u00",
    b"null",
    b"true",
    b"-1",
    b"1e9",
    b"{{",
    b"//",
    b"/*",
    b"\"extFields\":{",
    b"\"code\":",
    b"\"flag\":1",
    b"\"remark\":",
    b"\"serializeTypeCurrentRPC\":\"JSON\"",
];

/// A whole frame covers exactly what it says, and no shorter input is one.
fn frame(bytes: &[u8]) {
    let Ok(Scan::Frame { frame, size_bytes }) = scan(bytes, FRAME_BYTES_MAX) else { return };
    assert_eq!(PREFIX_BYTES + frame.header.len() + frame.body.len(), size_bytes);
    let shorter = bytes.get(..size_bytes - 1).expect("a frame has a prefix");
    assert!(matches!(scan(shorter, FRAME_BYTES_MAX), Ok(Scan::Incomplete { .. })));
    if let Ok(command) = Command::decode(&frame) {
        read_everything(&command);
    }
}

fn header(encoding: Encoding, bytes: &[u8]) {
    let frame = Frame { encoding, header: bytes, body: &[] };
    // What the short way reads of a send must be what the general one reads.
    if let Some(scanned) = header::ScannedSend::scan(&frame) {
        let command = Command::decode(&frame).expect("what is scanned can be decoded");
        assert_eq!(scanned.code, command.code);
        assert_eq!(scanned.opaque, command.opaque);
        assert_eq!(scanned.flag, command.flag);
        assert_eq!(scanned.version, command.version);
        assert_eq!(Ok(scanned.header), header::SendHeader::parse(&command));
    }
    if let Ok(command) = Command::decode(&frame) {
        read_everything(&command);
    }
}

/// Every typed header of every command: which one belongs to it only the code says, which is a
/// peer's word.
fn read_everything(command: &Command<'_>) {
    let _ = (command.is_response(), command.is_oneway(), format!("{command:?}"));
    command.remark.iter().for_each(|remark| read_text(*remark));
    assert_eq!(command.ext.iter().count(), command.ext.len());
    for (key, value) in command.ext.iter() {
        read_text(key);
        read_text(value);
        assert!(command.ext.get(&key.to_cow()).is_some() || key.as_str().is_none());
    }
    let _ = header::SendHeader::parse(command);
    let _ = header::SendAnswer::parse(command);
    let _ = header::PullHeader::parse(command);
    let _ = header::PullAnswer::parse(command);
    let _ = header::QueueHeader::parse(command);
    let _ = header::QueryMessageHeader::parse(command);
    let _ = header::ViewMessageHeader::parse(command);
    let _ = header::QueryConsumeQueueHeader::parse(command);
    let _ = header::QueryOffsetHeader::parse(command);
    let _ = header::UpdateOffsetHeader::parse(command);
    let _ = header::SendBackHeader::parse(command);
    let _ = header::EndTransactionHeader::parse(command);
    let _ = header::UnregisterClientHeader::parse(command);
    let _ = header::ConsumerListHeader::parse(command);
    let _ = header::CreateTopicHeader::parse(command);
    let _ = header::RegisterBrokerHeader::parse(command);
    let _ = header::UnregisterBrokerHeader::parse(command);
    let _ = header::RouteHeader::parse(command);
    let _ = header::QueryDataVersionHeader::parse(command);
}

fn read_text(text: Text<'_>) {
    let (shown, cow) = (format!("{text:?}{text}"), text.to_cow());
    assert!(!shown.is_empty());
    if let Some(plain) = text.as_str() {
        assert_eq!(plain, cow);
    }
    if text.parse_i32().is_ok() {
        assert!(text.parse_i64().is_ok());
    }
    let _ = text.parse_bool();
    let mut unescaped = Vec::new();
    if text.unescape_into(&mut unescaped).is_ok()
        && let Ok(unescaped) = std::str::from_utf8(&unescaped)
    {
        assert!(text.eq_str(unescaped));
    }
}

/// What is written again from a record's fields is a record with the same fields.
fn record(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok((record, size_bytes)) = Record::decode(rest) {
        assert_eq!(record.bytes().len(), size_bytes);
        assert_eq!(record.bytes().get(record.body_range()), Some(record.fields().body));
        let _ = record.is_body_intact();
        let fields = *record.fields();
        let mut again = vec![0; fields.encoded_bytes()];
        fields.encode(&mut again);
        let (record, _) = Record::decode(&again).expect("our own record");
        assert_eq!(record.fields().properties, fields.properties);
        assert_eq!(record.fields().topic, fields.topic);
        assert_eq!(record.fields().body, fields.body);
        rest = rest.get(size_bytes..).unwrap_or_default();
    }
}

/// What the iterator shows, the search finds; what is set is found; what is removed is not.
fn properties(text: &[u8]) {
    for property in properties::iter(text) {
        assert!(!property.name.is_empty() && !property.value.is_empty());
        if let Ok(name) = std::str::from_utf8(property.name) {
            assert!(properties::find(text, name).is_some());
        }
    }
    let _ = WellKnown::collect(text);
    let mut edited = text.to_vec();
    properties::set(&mut edited, "TAGS", b"x");
    assert_eq!(properties::find(&edited, "TAGS"), Some(&b"x"[..]));
    properties::remove(&mut edited, "TAGS");
    assert_eq!(properties::find(&edited, "TAGS"), None);
}

/// A batch that is written again from its records has the same records.
fn batch(bytes: &[u8]) {
    let records: Result<Vec<BatchRecord<'_>>, _> = BatchRecords::new(bytes).collect();
    let count = BatchRecords::new(bytes).count_checked();
    let Ok(records) = records else {
        assert!(count.is_err());
        return;
    };
    assert_eq!(count, Ok(records.len()));
    let mut again = Vec::new();
    records.iter().for_each(|record| record.encode(&mut again));
    assert!(BatchRecords::new(&again).eq(records.into_iter().map(Ok)));
}

fn message_id(bytes: &[u8]) {
    if let Ok(id) = OffsetMessageId::decode(bytes) {
        // An IPv4 address in IPv6 form is written in the short form.
        let again = OffsetMessageId::decode(id.encode().as_bytes()).expect("our own id");
        assert_eq!(again.position, id.position);
        assert_eq!(again.host.port(), id.host.port());
        assert_eq!(again.host.ip().to_canonical(), id.host.ip().to_canonical());
    }
}

fn text(bytes: &[u8]) {
    read_text(Text::plain(bytes));
    read_text(Text::json(bytes, Escapes::None));
    read_text(Text::json(bytes, Escapes::Json));
    let _ = java_hash(bytes);
    if let Some(number) = proto::text::parse_i64(bytes) {
        assert_eq!(proto::text::parse_i64(number.to_string().as_bytes()), Some(number));
    }
    let text = String::from_utf8_lossy(bytes);
    let mut json = Vec::new();
    proto::text::write_json_string(&mut json, text.as_bytes());
    let read = proto::dialect::parse(&json).expect("our own string");
    assert_eq!(read.as_text(), Some(&*text));
}
