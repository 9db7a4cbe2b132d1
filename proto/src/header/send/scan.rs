//! The header of a send as Java's client and its kin write it, read in one pass.
//!
//! [`Command::decode`](crate::command::Command::decode) keeps every entry of the map to look them up
//! afterwards, which is most of what a small send costs. Here each value goes from its place in the
//! JSON text into its field: keys of one letter (codes 310 and 320), every value in double quotes, no
//! white space. Anything else is `None`, and the general decoder has the word. What is read means the
//! same to both: `tests::what_is_scanned_means_the_same`, and the fuzz target `header-json`.

use super::SendHeader;
use crate::code::request;
use crate::command::FLAG_RESPONSE;
use crate::frame::{Encoding, Frame, PREFIX_BYTES};
use crate::swar;
use crate::text::{Escapes, Text};

/// A send read without a [`Command`](crate::command::Command).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScannedSend<'a> {
    /// 310 or 320.
    pub code: i32,
    /// Correlation id.
    pub opaque: i32,
    /// [`FLAG_ONEWAY`](crate::command::FLAG_ONEWAY) or 0.
    pub flag: i32,
    /// `MQVersion` ordinal of the sender.
    pub version: i32,
    /// The typed header.
    pub header: SendHeader<'a>,
}

impl<'a> ScannedSend<'a> {
    /// Reads the header of a frame, if it is a send in the usual form.
    pub fn scan(frame: &Frame<'a>) -> Option<Self> {
        if frame.encoding != Encoding::Json {
            return None;
        }
        let (code, mut rest) = integer(frame.header.strip_prefix(b"{\"code\":")?)?;
        if code != request::SEND_MESSAGE_V2 && code != request::SEND_BATCH_MESSAGE {
            return None;
        }
        let (mut opaque, mut flag, mut version) = (0, 0, 0);
        let mut header = None;
        while let [b',', b'"', letter, ..] = rest {
            match letter {
                b'e' => {
                    let fields = rest.strip_prefix(b",\"extFields\":{")?;
                    if header.is_some() {
                        return None; // the second map would replace the first
                    }
                    let (read, next) = Fields::default().read(fields)?;
                    (header, rest) = (Some(read), next);
                }
                b'f' => (flag, rest) = integer(rest.strip_prefix(b",\"flag\":")?)?,
                b'o' => (opaque, rest) = integer(rest.strip_prefix(b",\"opaque\":")?)?,
                b'v' => (version, rest) = integer(rest.strip_prefix(b",\"version\":")?)?,
                b'l' => (_, rest) = plain(rest.strip_prefix(b",\"language\":\"")?)?,
                b's' => {
                    rest = rest.strip_prefix(b",\"serializeTypeCurrentRPC\":\"JSON\"")?;
                }
                b'r' => rest = rest.strip_prefix(b",\"remark\":\"\"")?,
                _ => return None,
            }
        }
        (rest == b"}" && flag & FLAG_RESPONSE == 0).then_some(())?;
        Some(Self { code, opaque, flag, version, header: header? })
    }
}

/// The topic of the send that received bytes begin with, if it is as Java's client writes it. A hint for whoever
/// wants to ask for memory early: the frame is neither checked nor whole.
pub fn peek_topic(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(PREFIX_BYTES..bytes.len().min(PEEKED_BYTES))?;
    let group = header.strip_prefix(b"{\"code\":310,\"extFields\":{\"a\":\"")?;
    let (_, rest) = plain(group)?;
    let (topic, _) = plain(rest.strip_prefix(b",\"b\":\"")?)?;
    Some(topic.raw())
}

/// A group's and a topic's name lie before, at their usual lengths.
const PEEKED_BYTES: usize = 256;

/// The fields of the map as far as they have been read.
#[derive(Default)]
struct Fields<'a> {
    producer_group: Option<Text<'a>>,
    topic: Option<Text<'a>>,
    default_topic: Option<Text<'a>>,
    default_topic_queue_count: Option<i32>,
    queue_id: Option<i32>,
    sys_flag: Option<i32>,
    born_timestamp: Option<i64>,
    flag: Option<i32>,
    properties: Option<Text<'a>>,
    reconsume_times: Option<i32>,
    unit_mode: bool,
    max_reconsume_times: Option<i32>,
    batch: bool,
    broker_name: Option<Text<'a>>,
}

impl<'a> Fields<'a> {
    /// Reads the entries up to and with the closing bracket; the header, and what is behind it.
    #[inline(always)]
    fn read(mut self, mut rest: &'a [u8]) -> Option<(SendHeader<'a>, &'a [u8])> {
        loop {
            let [b'"', letter, b'"', b':', b'"', value @ ..] = rest else { return None };
            let next;
            match letter {
                b'a' => (self.producer_group, next) = some(plain(value)?),
                b'b' => (self.topic, next) = some(plain(value)?),
                b'c' => (self.default_topic, next) = some(plain(value)?),
                b'd' => (self.default_topic_queue_count, next) = some(quoted_integer(value)?),
                b'e' => (self.queue_id, next) = some(quoted_integer(value)?),
                b'f' => (self.sys_flag, next) = some(quoted_integer(value)?),
                b'g' => (self.born_timestamp, next) = some(quoted_digits(value)?),
                b'h' => (self.flag, next) = some(quoted_integer(value)?),
                b'i' => (self.properties, next) = some(perhaps_escaped(value)?),
                b'j' => (self.reconsume_times, next) = some(quoted_integer(value)?),
                b'k' => (self.unit_mode, next) = quoted_bool(value)?,
                b'l' => (self.max_reconsume_times, next) = some(quoted_integer(value)?),
                b'm' => (self.batch, next) = quoted_bool(value)?,
                b'n' => (self.broker_name, next) = some(plain(value)?),
                _ => return None,
            }
            rest = match next {
                [b',', next @ ..] => next,
                [b'}', next @ ..] => return Some((self.header()?, next)),
                _ => return None,
            };
        }
    }

    fn header(self) -> Option<SendHeader<'a>> {
        Some(SendHeader {
            producer_group: self.producer_group?,
            topic: self.topic?,
            default_topic: self.default_topic?,
            default_topic_queue_count: self.default_topic_queue_count?,
            queue_id: self.queue_id?,
            sys_flag: self.sys_flag?,
            born_timestamp: self.born_timestamp?,
            flag: self.flag?,
            properties: self.properties.filter(|it| !it.is_empty()).unwrap_or(Text::EMPTY),
            reconsume_times: self.reconsume_times.unwrap_or(0),
            unit_mode: self.unit_mode,
            max_reconsume_times: self.max_reconsume_times,
            batch: self.batch,
            broker_name: self.broker_name.filter(|it| !it.is_empty()),
        })
    }
}

// Each of these takes what begins with a value, and returns it with what is behind it.

#[inline(always)]
fn some<T>((value, rest): (T, &[u8])) -> (Option<T>, &[u8]) {
    (Some(value), rest)
}

/// A bare number, and what is behind it from the comma or bracket on.
#[inline(always)]
fn integer(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (number, rest) = digits(bytes, I32_DIGITS)?;
    matches!(rest.first(), Some(b',' | b'}')).then_some(())?;
    Some((i32::try_from(number).ok()?, rest))
}

/// A number in quotes of which the first is passed.
#[inline(always)]
fn quoted_integer(bytes: &[u8]) -> Option<(i32, &[u8])> {
    // Most of them are one digit: a branch guessed right.
    if let [digit @ b'0'..=b'9', b'"', rest @ ..] = bytes {
        return Some((i32::from(digit - b'0'), rest));
    }
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    let (number, rest) = digits(bytes, I32_DIGITS)?;
    let number = i32::try_from(number).ok()?;
    Some((if negative { -number } else { number }, rest.strip_prefix(b"\"")?))
}

/// A time in quotes of which the first is passed.
#[inline(always)]
fn quoted_digits(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (number, rest) = digits(bytes, I64_DIGITS)?;
    Some((number, rest.strip_prefix(b"\"")?))
}

/// Digits of `i32::MAX`; what is above it is found afterwards.
const I32_DIGITS: usize = 10;
/// As many digits as cannot overflow an i64.
const I64_DIGITS: usize = 18;

/// At least one digit and at the most `count_max`.
#[inline(always)]
fn digits(bytes: &[u8], count_max: usize) -> Option<(i64, &[u8])> {
    let mut number: i64 = 0;
    let mut count = 0;
    while let Some(digit @ b'0'..=b'9') = bytes.get(count) {
        if count == count_max {
            return None;
        }
        number = number * 10 + i64::from(digit - b'0');
        count += 1;
    }
    (count > 0).then(|| (number, bytes.get(count..).unwrap_or_default()))
}

#[inline(always)]
fn quoted_bool(bytes: &[u8]) -> Option<(bool, &[u8])> {
    match bytes {
        [b'f', b'a', b'l', b's', b'e', b'"', rest @ ..] => Some((false, rest)),
        [b't', b'r', b'u', b'e', b'"', rest @ ..] => Some((true, rest)),
        _ => None,
    }
}

/// A text without escapes.
#[inline(always)]
fn plain(bytes: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let end = swar::find_either(bytes, 0, b'"', b'\\')?;
    match bytes.get(end..)? {
        [b'"', rest @ ..] => Some((Text::plain(bytes.get(..end)?), rest)),
        _ => None,
    }
}

/// A text that may hold escapes, but not of a quote. That saves a stop at each backslash: a quote
/// behind something else than a backslash ends the text.
#[inline(always)]
fn perhaps_escaped(bytes: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let end = memchr::memchr(b'"', bytes)?;
    let text = bytes.get(..end)?;
    if text.last() == Some(&b'\\') {
        return None;
    }
    let escapes = match swar::find(text, 0, b'\\') {
        Some(_) => Escapes::Json,
        None => Escapes::None,
    };
    Some((Text::json(text, escapes), bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::Command;
    use crate::reply::{RequestHead, SendRequest, write_send_request};

    fn frame(header: &[u8]) -> Frame<'_> {
        Frame { encoding: Encoding::Json, header, body: b"" }
    }

    /// What is scanned must be what the general decoder reads.
    fn check(header: &[u8]) -> bool {
        let Some(scanned) = ScannedSend::scan(&frame(header)) else { return false };
        let command = Command::decode(&frame(header)).expect("what is scanned can be decoded");
        let decoded = ScannedSend {
            code: command.code,
            opaque: command.opaque,
            flag: command.flag,
            version: command.version,
            header: SendHeader::parse(&command).expect("and parsed"),
        };
        assert_eq!(scanned, decoded);
        true
    }

    const JAVA: &str = r#"{"code":310,"extFields":{"a":"PG_V","b":"VTopicA","c":"TBW102","d":"4","e":"-1","f":"0","g":"1795341911569","h":"0","i":"TAGS\u0001TagA\u0002WAIT\u0001true\u0002","j":"0","k":"false","m":"false","n":"vb-a"},"flag":0,"language":"JAVA","opaque":101,"serializeTypeCurrentRPC":"JSON","version":479}"#;
    const GO: &str = r#"{"code":310,"language":"GO","version":317,"opaque":5,"flag":0,"remark":"","extFields":{"a":"g","b":"t","c":"TBW102","d":"4","e":"3","f":"0","g":"1795341911569","h":"0","i":"","j":"0","k":"false","l":"16","m":"true"}}"#;

    #[test]
    fn official_clients_are_scanned() {
        assert!(check(JAVA.as_bytes()));
        assert!(check(GO.as_bytes()));
    }

    #[test]
    fn the_topic_is_seen_in_what_arrived_of_a_frame() {
        let mut bytes = vec![0; PREFIX_BYTES];
        bytes.extend_from_slice(JAVA.as_bytes());
        let end = bytes.windows(7).position(|it| it == b"VTopicA").expect("it is there") + 8;
        assert_eq!(peek_topic(&bytes), Some(&b"VTopicA"[..]));
        assert_eq!(peek_topic(&bytes[..end]), Some(&b"VTopicA"[..]));
        for cut in 0..end {
            assert_eq!(peek_topic(&bytes[..cut]), None, "{cut}");
        }
        let long = String::from_utf8(bytes).expect("text").replace("PG_V", &"g".repeat(250));
        assert_eq!(peek_topic(long.as_bytes()), None);
    }

    #[test]
    fn the_unusual_is_left_to_the_decoder() {
        let without = |from: &str, to: &str| {
            assert!(JAVA.contains(from), "{from}");
            JAVA.replacen(from, to, 1)
        };
        for header in [
            without("310", "11"),
            without(r#""a":"PG_V","#, ""),
            without(r#""a":"PG_V""#, r#""a":"PG\u0041""#),
            without(r#""d":"4""#, r#""d":4"#),
            without(r#""d":"4""#, r#""d":"4x""#),
            without(r#""d":"4""#, r#""d":"4000000000""#),
            without(r#""flag":0"#, r#""flag":1"#),
            without(r#""flag":0"#, r#""flag": 0"#),
            without(r#"true\u0002"#, r#"\""#),
            without(r#""opaque""#, r#""other""#),
            format!("{JAVA} "),
        ] {
            assert!(ScannedSend::scan(&frame(header.as_bytes())).is_none(), "{header}");
        }
    }

    proptest! {
        #[test]
        fn what_is_scanned_means_the_same(
            cut in 0usize..400,
            replaced in prop::collection::vec((0usize..400, "[\"\\\\{}:,0-9a-z-]"), 0..4),
        ) {
            for text in [JAVA, GO] {
                let mut header = text.as_bytes().to_vec();
                check(header.get(..cut).unwrap_or(&header));
                for (at, byte) in &replaced {
                    if let Some(place) = header.get_mut(*at) {
                        *place = byte.as_bytes()[0];
                    }
                }
                check(&header);
            }
        }

        #[test]
        fn what_we_write_is_scanned(
            opaque in 0i32..,
            queue_id in -2_147_483_647i32..,
            properties in "([A-Z]{1,10}\u{1}[ -~]{0,40}\u{2}){0,5}",
            batch: bool,
        ) {
            let request = SendRequest {
                producer_group: "group",
                topic: "topic",
                default_topic: "TBW102",
                default_topic_queue_count: 4,
                queue_id,
                sys_flag: 0,
                born_timestamp: 1_795_341_911_569,
                flag: 7,
                properties: properties.as_bytes(),
                reconsume_times: 0,
                unit_mode: false,
                max_reconsume_times: None,
                batch,
                broker_name: Some("broker-a"),
            };
            let head = RequestHead { code: request::SEND_MESSAGE_V2, opaque, flag: 0 };
            let mut bytes = Vec::new();
            write_send_request(&mut bytes, Encoding::Json, &head, &request, 0);
            let Ok(crate::frame::Scan::Frame { frame, .. }) = crate::frame::scan(&bytes, 1 << 20)
            else { panic!("we write frames") };
            let is_scanned = check(frame.header);
            prop_assert_eq!(is_scanned, !properties.contains('"'));
        }
    }
}
