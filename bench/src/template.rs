//! A send that is encoded once and then only patched.
//!
//! Frames of a template are equally long: numbers that change keep their count of digits. Where they
//! lie is not computed but found, by encoding the request twice with two values whose bytes differ
//! everywhere and comparing the frames: whatever the encoding, the crate `proto` has the last word.
//! Sizes of bodies and counts of digits in a topic's name each have a template of their own.

use std::ops::Range;

use crc32fast::Hasher;
use proto::batch::BatchRecord;
use proto::code::request;
use proto::frame::Encoding;
use proto::ids::UniqueKey;
use proto::properties::{NAME_END, VALUE_END, name};
use proto::reply::{RequestHead, SendRequest, write_send_request};

use crate::stamp::{STAMP_BYTES, Stamp, filler_hasher};
use crate::topics::{TopicNames, digits_of};

/// The first opaque: from here on they have ten digits, up to [`OPAQUE_END`].
pub const OPAQUE_FIRST: i32 = 1_000_000_000;
/// No opaque reaches it.
pub const OPAQUE_END: i32 = 2_000_000_000;

/// Digits of a bornTimestamp until the year 2286.
const BORN_DIGITS: usize = 13;

/// Hexadecimal digits of a UNIQ_KEY that are patched: its month_ms and counter, the last 6 bytes. A
/// key of ours has as many.
const UNIQUE_DIGITS: usize = 12;

/// Where the body of a record of a batch begins: behind sizes, magic, CRC and flag.
const BATCH_BODY_AT: usize = 20;

/// What is the same in all messages of a run.
#[derive(Debug, Clone, Copy)]
pub struct Fixed<'a> {
    pub encoding: Encoding,
    pub topics: &'a TopicNames,
    pub group: &'a str,
    pub broker_name: Option<&'a str>,
    /// Queues of each topic: their greatest id decides how many digits every queue id has.
    pub queue_count: u32,
    /// Messages of a request: 1 is a plain send, more are a batch.
    pub batch_count: u32,
    /// Tags `tag-0` and so on, padded to equal length; 0 for messages without.
    pub tag_count: u32,
    /// How long each message is to wait, ms; 0 for not.
    pub delay_ms: u64,
    /// Whether each message has a key of its own.
    pub has_keys: bool,
    /// Tells the UNIQ_KEYs of two runs apart.
    pub run: u32,
}

/// What tells the templates of a run apart.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Digits behind the topic's prefix; 0 for the prefix alone.
    pub topic_digits: usize,
    /// Bytes of each body, at least [`STAMP_BYTES`].
    pub body_bytes: usize,
}

/// What differs from request to request. The messages of a batch count on from the first one's
/// `unique` and sequence.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    pub opaque: i32,
    pub born_ms: u64,
    /// Index of the topic; any number where there is one topic.
    pub topic: u32,
    /// Number of the message in the run, for its UNIQ_KEY, its key and its tag; 48 bits of it.
    pub unique: u64,
    pub stamp: Stamp,
}

/// The frame of a send and the places in it that change.
#[derive(Debug)]
pub struct SendTemplate {
    frame: Vec<u8>,
    opaque: Place,
    topic: Option<Place>,
    queue_id: Place,
    born_ms: Place,
    /// Places of the first message; those of the next lie `stride` bytes behind.
    unique_at: usize,
    key_at: Option<usize>,
    tag: Option<Place>,
    tag_count: u64,
    body_at: usize,
    body_bytes: usize,
    count: usize,
    stride: usize,
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
    pub fn new(fixed: &Fixed<'_>, shape: Shape) -> SendTemplate {
        assert!(shape.body_bytes >= STAMP_BYTES);
        assert!(fixed.batch_count > 0);
        let maker = Maker { fixed, shape };
        let [ones, twos] = [1, 2].map(|digit| maker.example(digit));
        let header = maker.header(&ones);
        let find = |other: Example| differing(&header, &maker.header(&other));
        let opaque = find(Example { opaque: twos.opaque, ..ones });
        let queue_id = find(Example { queue_id: twos.queue_id, ..ones });
        let born_ms = find(Example { born_ms: twos.born_ms, ..ones });
        let topic = (shape.topic_digits > 0).then(|| find(Example { topic: twos.topic, ..ones }));
        let messages = maker.messages(&ones);
        let find = |other: Example| differing(&messages.part, &maker.messages(&other).part);
        let unique = find(Example { unique: twos.unique, ..ones });
        let key = fixed.has_keys.then(|| find(Example { key: twos.key, ..ones }));
        let tag = (fixed.tag_count > 0).then(|| find(Example { tag: twos.tag, ..ones }));
        assert!([Some(&unique), key.as_ref()].iter().flatten().all(|it| it.len() == UNIQUE_DIGITS));
        let filler = filler_hasher(&maker.body()[STAMP_BYTES..]);
        let decimal = |range: Range<usize>| Place::Decimal { at: range.start, digits: range.len() };
        let (opaque, queue_id, born_ms) = match fixed.encoding {
            Encoding::Json => (decimal(opaque), decimal(queue_id), decimal(born_ms)),
            Encoding::Binary => (big_endian_32(opaque), decimal(queue_id), decimal(born_ms)),
            Encoding::Flat => {
                (little_endian_32(opaque), little_endian_32(queue_id), little_endian_64(born_ms))
            }
        };
        let begin = messages.part_at;
        SendTemplate {
            opaque,
            topic: topic.map(decimal),
            queue_id,
            born_ms,
            unique_at: begin + unique.start,
            key_at: key.map(|range| begin + range.start),
            tag: tag.map(|range| decimal(begin + range.start..begin + range.end)),
            tag_count: u64::from(fixed.tag_count),
            body_at: messages.body_at,
            body_bytes: shape.body_bytes,
            count: fixed.batch_count as usize,
            stride: messages.stride,
            filler,
            frame: messages.frame,
        }
    }

    /// The frame before anything was patched into it.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Bytes of all bodies of a request.
    pub fn body_bytes(&self) -> u64 {
        (self.body_bytes * self.count) as u64
    }

    /// Makes `frame`, a copy of [`SendTemplate::frame`], the frame of a message or a batch.
    ///
    /// # Panics
    /// If `frame` is shorter.
    pub fn patch(&self, frame: &mut [u8], message: &Message) {
        assert!(frame.len() == self.frame.len());
        assert!((OPAQUE_FIRST..OPAQUE_END).contains(&message.opaque));
        self.opaque.write(frame, message.opaque as u64);
        self.queue_id.write(frame, u64::from(message.stamp.queue_id));
        self.born_ms.write(frame, message.born_ms);
        if let Some(topic) = self.topic {
            topic.write(frame, u64::from(message.topic));
        }
        for index in 0..self.count {
            let at = index * self.stride;
            let unique = message.unique + index as u64;
            let sequence = message.stamp.sequence + index as u64;
            self.patch_message(&mut frame[at..], unique, &Stamp { sequence, ..message.stamp });
        }
    }

    /// `frame` begins a stride behind that of the message before.
    fn patch_message(&self, frame: &mut [u8], unique: u64, stamp: &Stamp) {
        write_hex(&mut frame[self.unique_at..self.unique_at + UNIQUE_DIGITS], unique);
        if let Some(at) = self.key_at {
            write_hex(&mut frame[at..at + UNIQUE_DIGITS], unique);
        }
        if let Some(tag) = self.tag {
            tag.write(frame, unique % self.tag_count);
        }
        let body = &mut frame[self.body_at..self.body_at + self.body_bytes];
        let place = body.first_chunk_mut().expect("a body holds its stamp");
        stamp.write(place, self.body_bytes as u32, &self.filler);
    }
}

/// Values of the places that the template looks for.
#[derive(Clone, Copy)]
struct Example {
    opaque: i32,
    queue_id: i32,
    born_ms: i64,
    topic: u64,
    unique: u8,
    key: u8,
    tag: u64,
}

/// Encodes examples.
struct Maker<'a> {
    fixed: &'a Fixed<'a>,
    shape: Shape,
}

/// A whole request, and the part of it that holds the first message's properties.
struct Messages {
    frame: Vec<u8>,
    part: Vec<u8>,
    part_at: usize,
    body_at: usize,
    stride: usize,
}

impl Maker<'_> {
    /// Numbers whose every digit, or every byte where they are not text, is `digit`: those of 1 and
    /// of 2 differ everywhere, and proto writes none of them shorter than another.
    fn example(&self, digit: u8) -> Example {
        let bytes = u64::from(digit) * 0x0101_0101_0101_0101;
        let example = Example {
            opaque: bytes as i32,
            queue_id: repeat(digit, digits_of(self.fixed.queue_count - 1)) as i32,
            born_ms: repeat(digit, BORN_DIGITS) as i64,
            topic: repeat(digit, self.shape.topic_digits),
            unique: b'0' + digit,
            key: b'0' + digit,
            tag: repeat(digit, digits_of(self.fixed.tag_count.saturating_sub(1))),
        };
        match self.fixed.encoding {
            // Ten twos are more than an i32 holds.
            Encoding::Json if digit == 2 => Example { opaque: OPAQUE_END, ..example },
            Encoding::Json => Example { opaque: 1_111_111_111, ..example },
            Encoding::Binary => example,
            Encoding::Flat => Example { queue_id: bytes as i32, born_ms: bytes as i64, ..example },
        }
    }

    fn is_batch(&self) -> bool {
        self.fixed.batch_count > 1
    }

    /// The frame without its body.
    fn header(&self, example: &Example) -> Vec<u8> {
        let Fixed { topics, group, broker_name, encoding, .. } = *self.fixed;
        let code =
            if self.is_batch() { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
        let head = RequestHead { code, opaque: example.opaque, flag: 0 };
        let topic = match self.shape.topic_digits {
            0 => topics.prefix().to_owned(),
            _ => topics.numbered(example.topic),
        };
        // Of a batch the header says what holds for all of it, as Java's MessageBatch does.
        let properties =
            if self.is_batch() { text(&[(name::WAIT, b"true")]) } else { self.properties(example) };
        let send = SendRequest {
            producer_group: group,
            topic: &topic,
            default_topic: "TBW102",
            default_topic_queue_count: self.fixed.queue_count as i32,
            queue_id: example.queue_id,
            sys_flag: 0,
            born_timestamp: example.born_ms,
            flag: 0,
            properties: &properties,
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: self.is_batch(),
            broker_name,
        };
        let body_bytes = if self.is_batch() {
            self.record(example).len() * self.fixed.batch_count as usize
        } else {
            self.shape.body_bytes
        };
        let mut out = Vec::new();
        write_send_request(&mut out, encoding, &head, &send, body_bytes);
        out
    }

    fn messages(&self, example: &Example) -> Messages {
        let mut frame = self.header(example);
        let header_bytes = frame.len();
        if self.is_batch() {
            let part = self.record(example);
            frame.extend_from_slice(&part.repeat(self.fixed.batch_count as usize));
            let (body_at, stride) = (header_bytes + BATCH_BODY_AT, part.len());
            return Messages { frame, part, part_at: header_bytes, body_at, stride };
        }
        let part = frame.clone();
        frame.extend_from_slice(&self.body());
        Messages { frame, part, part_at: 0, body_at: header_bytes, stride: 0 }
    }

    fn record(&self, example: &Example) -> Vec<u8> {
        let (body, properties) = (self.body(), self.properties(example));
        let mut out = Vec::new();
        BatchRecord { flag: 0, body: &body, properties: &properties }.encode(&mut out);
        out
    }

    fn body(&self) -> Vec<u8> {
        (0..self.shape.body_bytes).map(filler_byte).collect()
    }

    /// What the Java client writes for a message.
    fn properties(&self, example: &Example) -> Vec<u8> {
        let unique = UniqueKey {
            ip: std::net::Ipv4Addr::LOCALHOST,
            pid: std::process::id() as u16,
            generator: self.fixed.run,
            month_ms: 0,
            counter: 0,
        };
        let mut unique = unique.encode();
        unique[UniqueKey::CHARACTERS - UNIQUE_DIGITS..].fill(example.unique);
        let mut key = *b"key-------------";
        key[4..].fill(example.key);
        let digits = digits_of(self.fixed.tag_count.saturating_sub(1));
        let tag = format!("tag-{:0digits$}", example.tag);
        let mut properties = Vec::new();
        if self.fixed.has_keys {
            properties.push((name::KEYS, &key[..]));
        }
        if self.fixed.tag_count > 0 {
            properties.push((name::TAGS, tag.as_bytes()));
        }
        let delay_ms = self.fixed.delay_ms.to_string();
        if self.fixed.delay_ms > 0 {
            properties.push((name::TIMER_DELAY_MS, delay_ms.as_bytes()));
        }
        properties.extend([(name::UNIQ_KEY, &unique[..]), (name::WAIT, b"true")]);
        text(&properties)
    }
}

fn text(properties: &[(&str, &[u8])]) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in properties {
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

/// A number of `digits` times the same digit.
fn repeat(digit: u8, digits: usize) -> u64 {
    (0..digits).fold(0, |number, _| number * 10 + u64::from(digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::batch::BatchRecords;
    use proto::command::Command;
    use proto::frame::{Scan, scan};
    use proto::header::SendHeader;
    use proto::properties::find;

    use super::*;

    /// What a test chooses of a run.
    #[derive(Debug, Clone, Copy)]
    struct Choice {
        encoding: Encoding,
        topic_count: u32,
        queue_count: u32,
        batch_count: u32,
        tag_count: u32,
        has_keys: bool,
        is_named: bool,
    }

    const RUN: u32 = 0xABCD_1234;

    /// A patched frame, decoded as a server does, says what was meant.
    fn check(choice: Choice, message: &Message) {
        let topics = TopicNames::new("topic-1111111111", choice.topic_count);
        let fixed = Fixed {
            encoding: choice.encoding,
            topics: &topics,
            group: "group",
            broker_name: choice.is_named.then_some("broker-a"),
            queue_count: choice.queue_count,
            batch_count: choice.batch_count,
            tag_count: choice.tag_count,
            delay_ms: 0,
            has_keys: choice.has_keys,
            run: RUN,
        };
        let class = topics.digit_class(message.topic);
        let topic_digits = topics.digit_counts().nth(class).expect("a class");
        let template = SendTemplate::new(&fixed, Shape { topic_digits, body_bytes: 300 });
        let mut bytes = template.frame().to_vec();
        template.patch(&mut bytes, &Message { unique: 77, opaque: OPAQUE_FIRST, ..*message });
        template.patch(&mut bytes, message);
        let scanned = scan(&bytes, 1 << 20).expect("a frame");
        let Scan::Frame { frame, size_bytes } = scanned else { panic!("incomplete") };
        assert_eq!(size_bytes, bytes.len());
        let command = Command::decode(&frame).expect("a header");
        assert_eq!(command.opaque, message.opaque);
        assert!(!command.is_response() && !command.is_oneway());
        let header = SendHeader::parse(&command).expect("a send");
        assert_eq!(header.topic.as_str(), Some(topics.name(message.topic).as_str()));
        assert_eq!(header.queue_id, message.stamp.queue_id as i32);
        assert_eq!(header.born_timestamp, message.born_ms as i64);
        assert_eq!(header.batch, choice.batch_count > 1);
        let mut properties = Vec::new();
        header.properties.unescape_into(&mut properties).expect("escapes");
        assert_eq!(find(&properties, "WAIT"), Some(&b"true"[..]));
        if choice.batch_count == 1 {
            assert_eq!(command.code, request::SEND_MESSAGE_V2);
            return check_message(choice, message, 0, &properties, frame.body);
        }
        assert_eq!(command.code, request::SEND_BATCH_MESSAGE);
        let records = BatchRecords::new(frame.body);
        assert_eq!(records.count_checked(), Ok(choice.batch_count as usize));
        for (index, record) in records.enumerate() {
            let record = record.expect("counted");
            check_message(choice, message, index as u64, record.properties, record.body);
        }
    }

    fn check_message(
        choice: Choice,
        message: &Message,
        index: u64,
        properties: &[u8],
        body: &[u8],
    ) {
        let unique = (message.unique + index) & 0xFFFF_FFFF_FFFF;
        let key = find(properties, "UNIQ_KEY").expect("a UNIQ_KEY");
        assert_eq!(key.len(), 32);
        assert_eq!(&key[12..], format!("{RUN:08X}{unique:012X}").as_bytes());
        let key = choice.has_keys.then(|| format!("key-{unique:012X}").into_bytes());
        assert_eq!(find(properties, "KEYS"), key.as_deref());
        let digits = digits_of(choice.tag_count.saturating_sub(1));
        let tag = (message.unique + index).checked_rem(u64::from(choice.tag_count));
        let tag = tag.map(|tag| format!("tag-{tag:0digits$}").into_bytes());
        assert_eq!(find(properties, "TAGS"), tag.as_deref());
        let sequence = message.stamp.sequence + index;
        assert_eq!(Stamp::read(body), Ok(Stamp { sequence, ..message.stamp }));
        assert_eq!(body.len(), 300);
    }

    proptest! {
        #[test]
        fn patched_frames_say_what_was_meant(
            encoding in 0u8..3,
            (queue_count, queue_id) in (1u32..20_000).prop_flat_map(|n| (Just(n), 0..n)),
            (topic_count, topic) in (1u32..20_000).prop_flat_map(|n| (Just(n), 0..n)),
            batch_count in prop_oneof![Just(1u32), 2u32..20],
            tag_count in prop_oneof![Just(0u32), 1u32..1000],
            opaque in OPAQUE_FIRST..OPAQUE_END,
            born_ms in 1_000_000_000_000u64..9_999_999_999_999,
            unique in 0u64..1 << 60,
            has_keys: bool,
            is_named: bool,
        ) {
            let encoding = Encoding::from_code(encoding).expect("three encodings");
            let stamp = Stamp { producer: 1, queue_id, sequence: 2, intended_ns: 3, sent_ns: 4 };
            let message = Message { opaque, born_ms, topic, unique, stamp };
            let choice = Choice {
                encoding, topic_count, queue_count, batch_count, tag_count, has_keys, is_named,
            };
            check(choice, &message);
        }
    }
}
