//! A send that is encoded once and then only patched.
//!
//! All frames of a run are equally long: numbers that change keep their count of digits. Where they
//! lie is not computed but found, by encoding the request twice with two values whose bytes differ
//! everywhere and comparing the frames: whatever the encoding, the crate `proto` has the last word.

use std::ops::Range;

use crc32fast::Hasher;
use proto::code::request;
use proto::frame::Encoding;
use proto::ids::UniqueKey;
use proto::properties::{NAME_END, VALUE_END, name};
use proto::reply::{RequestHead, SendRequest, write_send_request};

use crate::stamp::{STAMP_BYTES, Stamp, filler_hasher};

/// The first opaque: from here on they have ten digits, up to [`OPAQUE_END`].
pub const OPAQUE_FIRST: i32 = 1_000_000_000;
/// No opaque reaches it.
pub const OPAQUE_END: i32 = 2_000_000_000;

/// Digits of a bornTimestamp until the year 2286.
const BORN_DIGITS: usize = 13;

/// Hexadecimal digits of a UNIQ_KEY that are patched: its month_ms and counter, the last 6 bytes.
const UNIQUE_DIGITS: usize = 12;

/// What is the same in all messages of a run.
#[derive(Debug, Clone, Copy)]
pub struct Fixed<'a> {
    pub encoding: Encoding,
    pub topic: &'a str,
    pub group: &'a str,
    pub broker_name: Option<&'a str>,
    /// Queues of the topic: their greatest id decides how many digits every queue id has.
    pub queue_count: u32,
    /// Bytes of a body, at least [`STAMP_BYTES`].
    pub body_bytes: usize,
    /// Tells the UNIQ_KEYs of two runs apart.
    pub run: u32,
}

/// What differs from message to message.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    pub opaque: i32,
    pub born_ms: u64,
    /// Number of the message in the run, for its UNIQ_KEY; 48 bits of it.
    pub unique: u64,
    pub stamp: Stamp,
}

/// The frame of a send and the places in it that change.
#[derive(Debug)]
pub struct SendTemplate {
    frame: Vec<u8>,
    opaque: Place,
    queue_id: Place,
    born_ms: Place,
    unique_at: usize,
    body_at: usize,
    filler: Hasher,
}

/// A number in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// ASCII digits, with leading zeros.
    Decimal {
        at: usize,
        digits: usize,
    },
    BigEndian32 {
        at: usize,
    },
    LittleEndian32 {
        at: usize,
    },
    LittleEndian64 {
        at: usize,
    },
}

impl SendTemplate {
    /// Encodes the request and finds its places.
    ///
    /// # Panics
    /// If two values of a field do not differ in one unbroken place: `proto` encodes it in a way
    /// that this module does not know.
    pub fn new(fixed: &Fixed<'_>) -> SendTemplate {
        assert!(fixed.body_bytes >= STAMP_BYTES);
        let [ones, twos] = [1, 2].map(|digit| Example::of(fixed, digit));
        let mut frame = ones.encode(fixed);
        let find = |other: Example| differing(&frame, &other.encode(fixed));
        let opaque = find(Example { opaque: twos.opaque, ..ones });
        let queue_id = find(Example { queue_id: twos.queue_id, ..ones });
        let born_ms = find(Example { born_ms: twos.born_ms, ..ones });
        let unique = find(Example { unique: twos.unique, ..ones });
        assert!(unique.len() == UNIQUE_DIGITS);
        let body_at = frame.len();
        frame.extend((0..fixed.body_bytes).map(filler_byte));
        let filler = filler_hasher(&frame[body_at + STAMP_BYTES..]);
        let decimal = |range: Range<usize>| Place::Decimal { at: range.start, digits: range.len() };
        let (opaque, queue_id, born_ms) = match fixed.encoding {
            Encoding::Json => (decimal(opaque), decimal(queue_id), decimal(born_ms)),
            Encoding::Binary => (big_endian_32(opaque), decimal(queue_id), decimal(born_ms)),
            Encoding::Flat => {
                (little_endian_32(opaque), little_endian_32(queue_id), little_endian_64(born_ms))
            }
        };
        SendTemplate { frame, opaque, queue_id, born_ms, unique_at: unique.start, body_at, filler }
    }

    /// The frame before anything was patched into it.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Makes `frame`, a copy of [`SendTemplate::frame`], the frame of a message.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn patch(&self, frame: &mut [u8], message: &Message) {
        assert!(frame.len() == self.frame.len());
        assert!((OPAQUE_FIRST..OPAQUE_END).contains(&message.opaque));
        self.opaque.write(frame, message.opaque as u64);
        self.queue_id.write(frame, u64::from(message.stamp.queue_id));
        self.born_ms.write(frame, message.born_ms);
        write_hex(&mut frame[self.unique_at..self.unique_at + UNIQUE_DIGITS], message.unique);
        let body = &mut frame[self.body_at..];
        let body_bytes = body.len() as u32;
        let stamp = body.first_chunk_mut().expect("a body holds its stamp");
        message.stamp.write(stamp, body_bytes, &self.filler);
    }
}

/// Values of the places that the template looks for.
#[derive(Clone, Copy)]
struct Example {
    opaque: i32,
    queue_id: i32,
    born_ms: i64,
    unique: u8,
}

impl Example {
    /// Numbers whose every digit, or every byte where they are not text, is `digit`: those of 1 and
    /// of 2 differ everywhere, and proto writes none of them shorter than another.
    fn of(fixed: &Fixed<'_>, digit: u8) -> Example {
        let bytes = u64::from(digit) * 0x0101_0101_0101_0101;
        let queue_id = repeat(digit, digits_of(fixed.queue_count - 1)) as i32;
        let born_ms = repeat(digit, BORN_DIGITS) as i64;
        let opaque = bytes as i32;
        let unique = b'0' + digit;
        match fixed.encoding {
            // Ten twos are more than an i32 holds.
            Encoding::Json if digit == 2 => {
                Example { opaque: OPAQUE_END, queue_id, born_ms, unique }
            }
            Encoding::Json => Example { opaque: 1_111_111_111, queue_id, born_ms, unique },
            Encoding::Binary => Example { opaque, queue_id, born_ms, unique },
            Encoding::Flat => {
                Example { opaque, queue_id: bytes as i32, born_ms: bytes as i64, unique }
            }
        }
    }

    fn encode(self, fixed: &Fixed<'_>) -> Vec<u8> {
        let head = RequestHead { code: request::SEND_MESSAGE_V2, opaque: self.opaque, flag: 0 };
        let properties = properties(fixed.run, self.unique);
        let send = SendRequest {
            producer_group: fixed.group,
            topic: fixed.topic,
            default_topic: "TBW102",
            default_topic_queue_count: 4,
            queue_id: self.queue_id,
            sys_flag: 0,
            born_timestamp: self.born_ms,
            flag: 0,
            properties: &properties,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: fixed.broker_name,
        };
        let mut out = Vec::new();
        write_send_request(&mut out, fixed.encoding, &head, &send, fixed.body_bytes);
        out
    }
}

/// What the Java client writes for a message without keys and tags.
fn properties(run: u32, unique_digit: u8) -> Vec<u8> {
    let key = UniqueKey {
        ip: std::net::Ipv4Addr::LOCALHOST,
        pid: std::process::id() as u16,
        generator: run,
        month_ms: 0,
        counter: 0,
    };
    let mut key = key.encode();
    key[UniqueKey::CHARACTERS - UNIQUE_DIGITS..].fill(unique_digit);
    let mut text = Vec::new();
    for (name, value) in [(name::UNIQ_KEY, &key[..]), (name::WAIT, b"true")] {
        text.extend_from_slice(name.as_bytes());
        text.push(NAME_END);
        text.extend_from_slice(value);
        text.push(VALUE_END);
    }
    text
}

/// The filler: bytes that no compression finds trivial and no misplaced copy leaves the same.
fn filler_byte(index: usize) -> u8 {
    ((index as u32).wrapping_mul(2_654_435_761) >> 24) as u8
}

fn differing(one: &[u8], other: &[u8]) -> Range<usize> {
    assert!(one.len() == other.len());
    let differs = |at: &usize| one[*at] != other[*at];
    let start = (0..one.len()).find(differs).expect("two values differ");
    let end = (0..one.len()).rfind(differs).expect("two values differ") + 1;
    assert!((start..end).all(|at| differs(&at)));
    start..end
}

fn big_endian_32(range: Range<usize>) -> Place {
    assert!(range.len() == 4);
    Place::BigEndian32 { at: range.start }
}

fn little_endian_32(range: Range<usize>) -> Place {
    assert!(range.len() == 4);
    Place::LittleEndian32 { at: range.start }
}

fn little_endian_64(range: Range<usize>) -> Place {
    assert!(range.len() == 8);
    Place::LittleEndian64 { at: range.start }
}

impl Place {
    fn write(self, frame: &mut [u8], value: u64) {
        match self {
            Place::Decimal { at, digits } => write_decimal(&mut frame[at..at + digits], value),
            Place::BigEndian32 { at } => {
                frame[at..at + 4].copy_from_slice(&(value as u32).to_be_bytes());
            }
            Place::LittleEndian32 { at } => {
                frame[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
            }
            Place::LittleEndian64 { at } => {
                frame[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
    }
}

/// "00" to "99": two digits at a time halve what was the dearest part of a message on our side.
const DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut value = 0;
    while value < pairs.len() {
        pairs[value] = [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8];
        value += 1;
    }
    pairs
};

fn write_decimal(digits: &mut [u8], value: u64) {
    let mut rest = value;
    let mut pairs = digits.rchunks_exact_mut(2);
    for pair in &mut pairs {
        pair.copy_from_slice(&DIGIT_PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if let [digit] = pairs.into_remainder() {
        *digit = b'0' + (rest % 10) as u8;
    }
}

fn write_hex(digits: &mut [u8], value: u64) {
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(rest & 0xF) as usize];
        rest >>= 4;
    }
}

fn digits_of(value: u32) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

/// A number of `digits` times the same digit.
fn repeat(digit: u8, digits: usize) -> u64 {
    (0..digits).fold(0, |number, _| number * 10 + u64::from(digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::command::Command;
    use proto::frame::{Scan, scan};
    use proto::header::SendHeader;
    use proto::properties::WellKnown;

    use super::*;

    fn fixed(encoding: Encoding, queue_count: u32, broker_name: Option<&str>) -> Fixed<'_> {
        Fixed {
            encoding,
            topic: "topic-1111111111",
            group: "group",
            broker_name,
            queue_count,
            body_bytes: 300,
            run: 0xABCD_1234,
        }
    }

    /// A patched frame, decoded as a server does, says what was meant.
    fn check(fixed: &Fixed<'_>, message: &Message) {
        let template = SendTemplate::new(fixed);
        let mut bytes = template.frame().to_vec();
        template.patch(&mut bytes, &Message { unique: 77, opaque: OPAQUE_FIRST, ..*message });
        template.patch(&mut bytes, message);
        let scanned = scan(&bytes, 1 << 20).expect("a frame");
        let Scan::Frame { frame, size_bytes } = scanned else { panic!("incomplete") };
        assert_eq!(size_bytes, bytes.len());
        let command = Command::decode(&frame).expect("a header");
        assert_eq!(command.code, request::SEND_MESSAGE_V2);
        assert_eq!(command.opaque, message.opaque);
        assert!(!command.is_response() && !command.is_oneway());
        let header = SendHeader::parse(&command).expect("a send");
        assert_eq!(header.topic.as_str(), Some(fixed.topic));
        assert_eq!(header.queue_id, message.stamp.queue_id as i32);
        assert_eq!(header.born_timestamp, message.born_ms as i64);
        let mut properties = Vec::new();
        header.properties.unescape_into(&mut properties).expect("escapes");
        let known = WellKnown::collect(&properties);
        let key = known.unique_key.expect("a UNIQ_KEY").value(&properties);
        let digits = format!("{:012X}", message.unique & 0xFFFF_FFFF_FFFF);
        assert_eq!(key.len(), 32);
        assert_eq!(&key[12..], format!("{:08X}{digits}", fixed.run).as_bytes());
        assert_eq!(Stamp::read(frame.body), Ok(message.stamp));
    }

    proptest! {
        #[test]
        fn patched_frames_say_what_was_meant(
            encoding in 0u8..3,
            (queue_count, queue_id) in (1u32..20_000).prop_flat_map(|n| (Just(n), 0..n)),
            opaque in OPAQUE_FIRST..OPAQUE_END,
            born_ms in 1_000_000_000_000u64..9_999_999_999_999,
            unique: u64,
            named: bool,
        ) {
            let encoding = Encoding::from_code(encoding).expect("three encodings");
            let stamp = Stamp { producer: 1, queue_id, sequence: 2, intended_ns: 3, sent_ns: 4 };
            let message = Message { opaque, born_ms, unique, stamp };
            check(&fixed(encoding, queue_count, named.then_some("broker-a")), &message);
        }
    }

    #[test]
    fn frames_are_equally_long() {
        for encoding in [Encoding::Json, Encoding::Binary, Encoding::Flat] {
            let template = SendTemplate::new(&fixed(encoding, 8, None));
            assert!(template.frame().len() > 300);
            assert!(template.frame().ends_with(&[filler_byte(298), filler_byte(299)]));
        }
    }
}
