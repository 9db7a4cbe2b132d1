//! Writers of whole frames: answers in the encoding of their request, pushes, and a client's
//! requests.
//!
//! Everything is appended to a buffer that the caller keeps; nothing is allocated unless it must
//! grow. A body may follow later or be gathered from elsewhere: its length is then given.
//! The JSON is compact, its keys in the order of fastjson's, its ext values always strings.

use crate::frame::{self, Encoding};
use crate::header;

mod flat;
mod pull;
mod request;
mod send;
mod strings;

pub use pull::{PullReply, write_pull_response};
pub use request::{PullRequest, SendRequest, write_pull_request, write_send_request};
pub use send::{SendReply, Stored, write_send_response};

/// What an answer says besides its fields and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// Opaque of the request.
    pub opaque: i32,
    /// Response code.
    pub code: i32,
    /// Text for the client; a failure always has one.
    pub remark: Option<&'a str>,
}

/// What a request says besides its fields and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    /// Request code. One above 32767 cannot travel in the binary encoding.
    pub code: i32,
    /// Correlation id that the answer will carry.
    pub opaque: i32,
    /// 0, or [`FLAG_ONEWAY`](crate::command::FLAG_ONEWAY) if there shall be no answer.
    pub flag: i32,
}

/// Appends an answer. `ext` of `None` leaves `extFields` out, an empty one writes `{}`: Java's
/// clients need the difference, see each request's description.
pub fn write_response(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: &ResponseHead<'_>,
    ext: Option<&[(&str, &str)]>,
    body: &[u8],
) {
    let head = header::Head {
        code: head.code,
        opaque: head.opaque,
        flag: crate::command::FLAG_RESPONSE,
        remark: head.remark,
    };
    write_generic(out, encoding, &head, ext, body);
}

/// Appends a request, or a push to a client.
pub fn write_request(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: &RequestHead,
    ext: Option<&[(&str, &str)]>,
    body: &[u8],
) {
    let head = header::Head { code: head.code, opaque: head.opaque, flag: head.flag, remark: None };
    write_generic(out, encoding, &head, ext, body);
}

fn write_generic(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: &header::Head<'_>,
    ext: Option<&[(&str, &str)]>,
    body: &[u8],
) {
    let mark = frame::begin(out);
    match encoding {
        Encoding::Flat => flat::write_generic(out, head, ext.unwrap_or_default()),
        Encoding::Json => strings::write_json(out, head, |fields| write_ext(fields, ext)),
        Encoding::Binary => strings::write_binary(out, head, |fields| write_ext(fields, ext)),
    }
    frame::finish(out, mark, encoding, body.len());
    out.extend_from_slice(body);
}

fn write_ext(fields: &mut strings::Fields<'_>, ext: Option<&[(&str, &str)]>) {
    let Some(ext) = ext else { return };
    fields.open();
    for (key, value) in ext {
        fields.entry(key, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{Command, FLAG_ONEWAY};
    use crate::frame::{Frame, Scan, scan};
    use crate::header::{PullAnswer, PullHeader, SendAnswer, SendHeader};
    use crate::limits::FRAME_BYTES_MAX;
    use crate::text::Text;

    const ENCODINGS: [Encoding; 3] = [Encoding::Json, Encoding::Binary, Encoding::Flat];

    fn frame_of(bytes: &[u8]) -> Frame<'_> {
        match scan(bytes, FRAME_BYTES_MAX) {
            Ok(Scan::Frame { frame, size_bytes }) if size_bytes == bytes.len() => frame,
            other => panic!("{other:?}"),
        }
    }

    /// Text of the value that `text` has, without escapes, to be compared with another.
    fn value(text: Text<'_>) -> String {
        text.to_cow().into_owned()
    }

    fn optional(text: Option<Text<'_>>) -> Option<String> {
        text.map(value)
    }

    #[test]
    fn route_request_is_that_of_rocketmq() {
        let head = RequestHead { code: 105, opaque: 1, flag: 0 };
        let ext = Some(&[("topic", "TBW102")][..]);
        let mut out = Vec::new();
        write_request(&mut out, Encoding::Binary, &head, ext, b"");
        let expect = b"\0\0\0\x2A\x01\0\0\x26\0\x69\0\x01\xDF\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x11\
            \0\x05topic\0\0\0\x06TBW102";
        assert_eq!(out, expect);
        out.clear();
        write_request(&mut out, Encoding::Json, &head, ext, b"");
        let expect = b"\0\0\0\x84\0\0\0\x80{\"code\":105,\"extFields\":{\"topic\":\"TBW102\"},\
            \"flag\":0,\"language\":\"JAVA\",\"opaque\":1,\"serializeTypeCurrentRPC\":\"JSON\",\
            \"version\":479}";
        assert_eq!(out, expect);
    }

    fn check_json(remark: Option<&str>, ext: Option<&[(&str, &str)]>, expect: &str) {
        let mut out = b"before".to_vec();
        let head = ResponseHead { opaque: -7, code: 1, remark };
        write_response(&mut out, Encoding::Json, &head, ext, b"body");
        let frame = frame_of(&out[6..]);
        assert_eq!(std::str::from_utf8(frame.header), Ok(expect));
        assert_eq!(frame.body, b"body");
    }

    #[test]
    fn json_tells_no_fields_from_none() {
        let tail = r#""serializeTypeCurrentRPC":"JSON","version":479}"#;
        let head = r#""flag":1,"language":"JAVA","opaque":-7,"#;
        check_json(None, None, &format!(r#"{{"code":1,{head}{tail}"#));
        check_json(None, Some(&[]), &format!(r#"{{"code":1,"extFields":{{}},{head}{tail}"#));
        let remark = format!(r#"{{"code":1,{head}"remark":"a\"\n",{tail}"#);
        check_json(Some("a\"\n"), None, &remark);
        let ext = format!(r#"{{"code":1,"extFields":{{"k":"\t","l":"x"}},{head}{tail}"#);
        check_json(None, Some(&[("k", "\t"), ("l", "x")]), &ext);
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-zA-Z0-9_%-]{1,20}", "[\u{1}\u{2}\"\\\\a-c\u{e9}\u{1f600}\u{2028}]{1,20}"]
    }

    proptest! {
        #[test]
        fn commands_are_read_back(
            numbers: (i16, i32),
            remark in prop::option::of(text()),
            ext in prop::collection::vec((text(), text()), 0..9),
            body: Vec<u8>,
        ) {
            let ext: Vec<(&str, &str)> = ext.iter().map(|(key, text)| (&key[..], &text[..])).collect();
            let code = i32::from(numbers.0);
            let head = ResponseHead { opaque: numbers.1, code, remark: remark.as_deref() };
            for encoding in ENCODINGS {
                let mut out = Vec::new();
                write_response(&mut out, encoding, &head, Some(&ext), &body);
                let frame = frame_of(&out);
                prop_assert_eq!(frame.body, &body);
                let command = Command::decode(&frame).unwrap();
                prop_assert_eq!((command.code, command.opaque), (code, numbers.1));
                prop_assert!(command.is_response() && !command.is_oneway());
                prop_assert_eq!(command.encoding, encoding);
                prop_assert_eq!(optional(command.remark), remark.clone());
                let found: Vec<_> = command.ext.iter().map(|(k, v)| (value(k), value(v))).collect();
                let found: Vec<_> = found.iter().map(|(k, v)| (&k[..], &v[..])).collect();
                prop_assert_eq!(&found, &ext);
            }
        }

        #[test]
        fn sends_are_read_back(
            names in (text(), text(), text(), prop::option::of(text())),
            numbers: (i32, i32, i32, i64, i32, i32, Option<i32>),
            flags: (bool, bool),
            properties in text(),
        ) {
            let request = SendRequest {
                producer_group: &names.0,
                topic: &names.1,
                default_topic: &names.2,
                default_topic_queue_count: numbers.0,
                queue_id: numbers.1,
                sys_flag: numbers.2,
                born_timestamp: numbers.3,
                flag: numbers.4,
                properties: properties.as_bytes(),
                reconsume_times: numbers.5,
                unit_mode: flags.0,
                max_reconsume_times: numbers.6,
                batch: flags.1,
                broker_name: names.3.as_deref(),
            };
            let head = RequestHead { code: 310, opaque: 9, flag: FLAG_ONEWAY };
            for encoding in ENCODINGS {
                let mut out = Vec::new();
                write_send_request(&mut out, encoding, &head, &request, 4);
                out.extend_from_slice(b"body");
                let command = Command::decode(&frame_of(&out)).unwrap();
                prop_assert!(command.is_oneway() && !command.is_response());
                let found = SendHeader::parse(&command).unwrap();
                let broker_name = optional(found.broker_name);
                let found_properties = value(found.properties);
                let again = SendRequest {
                    producer_group: &value(found.producer_group),
                    topic: &value(found.topic),
                    default_topic: &value(found.default_topic),
                    default_topic_queue_count: found.default_topic_queue_count,
                    queue_id: found.queue_id,
                    sys_flag: found.sys_flag,
                    born_timestamp: found.born_timestamp,
                    flag: found.flag,
                    properties: found_properties.as_bytes(),
                    reconsume_times: found.reconsume_times,
                    unit_mode: found.unit_mode,
                    max_reconsume_times: found.max_reconsume_times,
                    batch: found.batch,
                    broker_name: broker_name.as_deref(),
                };
                prop_assert_eq!(again, request);
            }
        }

        #[test]
        fn pulls_are_read_back(
            names in (text(), text(), prop::option::of(text())),
            numbers: (i32, i64, i32, i32, i64, i64, i64, Option<i32>),
        ) {
            let request = PullRequest {
                consumer_group: &names.0,
                topic: &names.1,
                queue_id: numbers.0,
                queue_offset: numbers.1,
                message_count_max: numbers.2,
                sys_flag: numbers.3,
                commit_offset: numbers.4,
                suspend_timeout_ms: numbers.5,
                subscription: names.2.as_deref(),
                subscription_version: numbers.6,
                expression_type: Some("TAG"),
                message_bytes_max: numbers.7,
                broker_name: names.2.as_deref(),
            };
            let head = RequestHead { code: 11, opaque: 9, flag: 0 };
            for encoding in ENCODINGS {
                let mut out = Vec::new();
                write_pull_request(&mut out, encoding, &head, &request);
                let command = Command::decode(&frame_of(&out)).unwrap();
                let found = PullHeader::parse(&command).unwrap();
                let subscription = optional(found.subscription);
                let expression_type = optional(found.expression_type);
                let broker_name = optional(found.broker_name);
                let again = PullRequest {
                    consumer_group: &value(found.consumer_group),
                    topic: &value(found.topic),
                    queue_id: found.queue_id,
                    queue_offset: found.queue_offset,
                    message_count_max: found.message_count_max,
                    sys_flag: found.sys_flag,
                    commit_offset: found.commit_offset,
                    suspend_timeout_ms: found.suspend_timeout_ms,
                    subscription: subscription.as_deref(),
                    subscription_version: found.subscription_version,
                    expression_type: expression_type.as_deref(),
                    message_bytes_max: found.message_bytes_max,
                    broker_name: broker_name.as_deref(),
                };
                prop_assert_eq!(again, request);
            }
        }

        #[test]
        fn answers_are_read_back(
            numbers: (i32, i64, i64, i64, i64, i32, i32),
            transaction_id in prop_oneof![Just(String::new()), text()],
            handle in prop::option::of(text()),
            remark in prop::option::of(text()),
            trace_on: bool,
        ) {
            let stored = Stored {
                message_id: b"7F000001000055970000000000000000",
                queue_id: numbers.0,
                queue_offset: numbers.1,
                transaction_id: transaction_id.as_bytes(),
                recall_handle: handle.as_deref(),
            };
            let send = SendReply {
                opaque: 5,
                code: 10,
                remark: remark.as_deref(),
                stored: Some(stored),
                region: "DefaultRegion",
                trace_on,
            };
            let pull = PullReply {
                opaque: 5,
                code: 19,
                remark: remark.as_deref(),
                suggest_which_broker_id: numbers.1,
                next_begin_offset: numbers.2,
                min_offset: numbers.3,
                max_offset: numbers.4,
                topic_sys_flag: numbers.5,
                group_sys_flag: numbers.6,
            };
            for encoding in ENCODINGS {
                let mut out = Vec::new();
                write_send_response(&mut out, encoding, &send);
                let command = Command::decode(&frame_of(&out)).unwrap();
                prop_assert_eq!((command.code, command.opaque), (10, 5));
                prop_assert_eq!(optional(command.remark), remark.clone());
                let found = SendAnswer::parse(&command).unwrap();
                prop_assert_eq!(found.message_id.raw(), stored.message_id);
                prop_assert_eq!(found.queue_id, stored.queue_id);
                prop_assert_eq!(found.queue_offset, stored.queue_offset);
                let found_id = optional(found.transaction_id).unwrap_or_default();
                prop_assert_eq!(&found_id, &transaction_id);
                prop_assert_eq!(optional(found.recall_handle), handle.clone());
                prop_assert_eq!(found.region, Some(Text::plain(b"DefaultRegion")));
                prop_assert_eq!(found.trace_on, trace_on);

                let refused = SendReply { code: 13, stored: None, ..send };
                out.clear();
                write_send_response(&mut out, encoding, &refused);
                let command = Command::decode(&frame_of(&out)).unwrap();
                prop_assert!(SendAnswer::parse(&command).is_err());
                prop_assert_eq!(command.ext.get("MSG_REGION"), Some(Text::plain(b"DefaultRegion")));

                out.clear();
                write_pull_response(&mut out, encoding, &pull, 3);
                out.extend_from_slice(b"xyz");
                let command = Command::decode(&frame_of(&out)).unwrap();
                let expect = PullAnswer {
                    suggest_which_broker_id: numbers.1,
                    next_begin_offset: numbers.2,
                    min_offset: numbers.3,
                    max_offset: numbers.4,
                    topic_sys_flag: numbers.5,
                    group_sys_flag: numbers.6,
                };
                prop_assert_eq!(PullAnswer::parse(&command), Ok(expect));
                prop_assert_eq!(optional(command.remark), remark.clone());
            }
        }
    }
}
