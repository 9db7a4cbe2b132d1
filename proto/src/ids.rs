//! Numbers and texts that name a message: positions, offsetMsgId, UNIQ_KEY, and Java's string hash.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::text::hex_digit;

/// A shard of this broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u8);

/// An address within one shard's commit log, in bytes; below 2^55.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogOffset(u64);

impl LogOffset {
    /// Bits of an offset: at 1 GB/s they last for more than a year.
    pub const BITS: u32 = 55;
    /// The highest offset.
    pub const MAX: LogOffset = LogOffset((1 << Self::BITS) - 1);

    /// The offset, if it is in range.
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes <= Self::MAX.0 { Some(Self(bytes)) } else { None }
    }

    /// The offset in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Byte address of a record, shard included: what RocketMQ calls the physical or commit-log offset.
///
/// `shard << 55 | offset`, never negative; shard 0's positions are RocketMQ's plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(i64);

impl Position {
    /// The position of an offset in a shard's log.
    pub const fn new(shard: ShardIndex, offset: LogOffset) -> Self {
        Self(((shard.0 as u64) << LogOffset::BITS | offset.0) as i64)
    }

    /// The position that a peer or a file names; `None` if negative.
    pub const fn from_i64(wire: i64) -> Option<Self> {
        if wire >= 0 { Some(Self(wire)) } else { None }
    }

    /// As it travels and is stored.
    pub const fn to_i64(self) -> i64 {
        self.0
    }

    /// The shard whose log it is in.
    pub const fn shard(self) -> ShardIndex {
        ShardIndex((self.0 >> LogOffset::BITS) as u8)
    }

    /// The address in that log.
    pub const fn offset(self) -> LogOffset {
        LogOffset(self.0 as u64 & LogOffset::MAX.0)
    }
}

/// Why a text is no offsetMsgId.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MessageIdError {
    /// Neither 32 nor 56 characters.
    #[error("a message id has 32 or 56 characters, not {found}")]
    Length {
        /// Characters found.
        found: usize,
    },
    /// A character that is no hexadecimal digit.
    #[error("byte {at} of the message id is no hexadecimal digit")]
    Digit {
        /// Its offset.
        at: usize,
    },
    /// A port beyond 65535 or a negative position: no server made it.
    #[error("the message id names the impossible port {port} or position {position}")]
    Range {
        /// Port found.
        port: i32,
        /// Position found.
        position: i64,
    },
}

/// A message id as text, on the stack: 32 characters for IPv4, 56 for IPv6.
#[derive(Clone, Copy)]
pub struct MessageIdText {
    hex: [u8; 56],
    length: u8,
}

impl MessageIdText {
    /// The characters, all of them uppercase hexadecimal digits.
    pub fn as_bytes(&self) -> &[u8] {
        self.hex.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The characters as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// offsetMsgId: where a message is stored, as clients dial it.
///
/// Apache's `MessageDecoder.createMessageId` and `decodeMessageId`: address, i32 port, i64 position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetMessageId {
    /// Advertised address of the broker.
    pub host: SocketAddr,
    /// Where the record is.
    pub position: Position,
}

impl OffsetMessageId {
    /// The id as text.
    pub fn encode(&self) -> MessageIdText {
        let mut text = MessageIdText { hex: [0; 56], length: 0 };
        let port = i32::from(self.host.port()).to_be_bytes();
        let position = self.position.to_i64().to_be_bytes();
        let mut at = 0;
        let mut put = |bytes: &[u8]| at += write_hex(bytes, text.hex.get_mut(at..));
        match self.host.ip().to_canonical() {
            IpAddr::V4(address) => put(&address.octets()),
            IpAddr::V6(address) => put(&address.octets()),
        }
        put(&port);
        put(&position);
        text.length = at as u8;
        text
    }

    /// Reads an id, in digits of either case.
    ///
    /// # Errors
    /// [`MessageIdError`]: not an offsetMsgId; tools then try it as a UNIQ_KEY.
    pub fn decode(text: &[u8]) -> Result<Self, MessageIdError> {
        let mut bytes = [0; 28];
        let bytes = match text.len() {
            32 => bytes.get_mut(..16),
            56 => Some(&mut bytes[..]),
            _ => None,
        };
        let bytes = bytes.ok_or(MessageIdError::Length { found: text.len() })?;
        read_hex(text, bytes)?;
        let (address, rest) = bytes.split_at(bytes.len() - 12);
        let (port, position) = rest.split_at(4);
        let port = i32::from_be_bytes(port.try_into().expect("4 bytes were split off"));
        let position = i64::from_be_bytes(position.try_into().expect("8 bytes are left of 12"));
        let ip = match <[u8; 4]>::try_from(address) {
            Ok(octets) => IpAddr::V4(Ipv4Addr::from(octets)),
            Err(_) => IpAddr::V6(Ipv6Addr::from(
                <[u8; 16]>::try_from(address).expect("16 bytes are left of 28"),
            )),
        };
        match (u16::try_from(port), Position::from_i64(position)) {
            (Ok(port), Some(position)) => Ok(Self { host: SocketAddr::new(ip, port), position }),
            _ => Err(MessageIdError::Range { port, position }),
        }
    }
}

/// What makes a UNIQ_KEY unique (Apache's `MessageClientIDSetter`, 5.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueKey {
    /// IPv4 address of the maker.
    pub ip: Ipv4Addr,
    /// Its process id, as many bits as fit.
    pub pid: u16,
    /// Hash that tells two generators in one process apart.
    pub generator: u32,
    /// Milliseconds since the first day of the current month.
    pub month_ms: u32,
    /// Counts the keys of one generator and wraps around.
    pub counter: u16,
}

impl UniqueKey {
    /// Characters of a key.
    pub const CHARACTERS: usize = 32;

    /// Milliseconds from the beginning of its month, UTC, to a time after 1970. Tools reckon from them
    /// when a message was made (`MessageClientIDSetter.getNearlyTimeFromID`), in their own time zone.
    pub const fn month_ms(wall_ms: u64) -> u32 {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        // Years begin in March, so that a leap day is the last; 400 of them are an era of 146097 days,
        // and 719468 days lie between the first one's beginning and 1970.
        let day_of_era = (wall_ms / DAY_MS + 719_468) % 146_097;
        let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
        let year = (day_of_era - leap_days) / 365;
        let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
        // Five months from March on have 153 days, whichever they are.
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5;
        (day * DAY_MS + wall_ms % DAY_MS) as u32
    }

    /// The key as text.
    pub fn encode(&self) -> [u8; Self::CHARACTERS] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.ip.octets());
        bytes[4..6].copy_from_slice(&self.pid.to_be_bytes());
        bytes[6..10].copy_from_slice(&self.generator.to_be_bytes());
        bytes[10..14].copy_from_slice(&self.month_ms.to_be_bytes());
        bytes[14..].copy_from_slice(&self.counter.to_be_bytes());
        let mut text = [0; Self::CHARACTERS];
        write_hex(&bytes, Some(&mut text));
        text
    }
}

/// Java's `String.hashCode` of the string that `utf8` encodes: over UTF-16 units, wrapping.
/// Invalid UTF-8 counts as U+FFFD, which is what Java would have decoded.
pub fn java_hash(utf8: &[u8]) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    if utf8.is_ascii() {
        return utf8.iter().fold(0, |hash, &byte| step(hash, u16::from(byte)));
    }
    let mut units = [0; 2];
    let mut hash = 0;
    for chunk in utf8.utf8_chunks() {
        for character in chunk.valid().chars() {
            hash = character
                .encode_utf16(&mut units)
                .iter()
                .fold(hash, |hash, &unit| step(hash, unit));
        }
        if !chunk.invalid().is_empty() {
            hash = step(hash, 0xFFFD);
        }
    }
    hash
}

/// What a consume queue entry keeps of a tag, and a subscription's codeSet: 0 without a tag.
pub fn tags_code(tag: &[u8]) -> i64 {
    i64::from(java_hash(tag))
}

/// Writes two digits for each byte and returns how many; nothing if `to` is too short.
fn write_hex(bytes: &[u8], to: Option<&mut [u8]>) -> usize {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let pairs = to.unwrap_or_default().chunks_exact_mut(2);
    for (pair, &byte) in pairs.zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xF)]]);
    }
    bytes.len() * 2
}

fn read_hex(text: &[u8], bytes: &mut [u8]) -> Result<(), MessageIdError> {
    for (index, (pair, byte)) in text.chunks_exact(2).zip(bytes).enumerate() {
        let digit = |offset: usize| {
            let digit = pair.get(offset).copied().and_then(hex_digit);
            digit.ok_or(MessageIdError::Digit { at: index * 2 + offset })
        };
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn months_begin_where_the_calendar_says() {
        const DAY_MS: u64 = 86_400_000;
        let every = |year: u64, count| year.is_multiple_of(count);
        let is_leap = |year| every(year, 4) && (!every(year, 100) || every(year, 400));
        let mut day = 0;
        for year in 1970..2401 {
            let february = if is_leap(year) { 29 } else { 28 };
            for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                for of_month in 0..length {
                    let at = day * DAY_MS + 1;
                    assert_eq!(u64::from(UniqueKey::month_ms(at)), of_month * DAY_MS + 1, "{at}");
                    day += 1;
                }
            }
        }
        // 2026-11-23T03:12:48Z
        assert_eq!(UniqueKey::month_ms(1_795_403_568_000), 1_912_368_000);
    }

    fn position(shard: u8, offset: u64) -> Position {
        Position::new(ShardIndex(shard), LogOffset::new(offset).unwrap())
    }

    fn check_hash(text: &str, expect: i32) {
        assert_eq!(java_hash(text.as_bytes()), expect, "{text}");
        assert_eq!(tags_code(text.as_bytes()), i64::from(expect));
    }

    #[test]
    fn hashes_are_those_of_java() {
        check_hash("", 0);
        check_hash("TagA", 2_598_919);
        check_hash("*", 42);
        check_hash("A", 65);
        check_hash("标签", 857_175);
        check_hash("polygenelubricants", i32::MIN);
        check_hash("\u{1f600}", 0xD83D * 31 + 0xDE00);
        assert_eq!(java_hash(b"a\xFFb"), java_hash("a\u{fffd}b".as_bytes()));
    }

    #[test]
    fn shard_zero_has_plain_offsets() {
        assert_eq!(position(0, 123_456).to_i64(), 123_456);
        assert_eq!(position(1, 0).to_i64(), 1 << 55);
        assert_eq!(position(255, LogOffset::MAX.bytes()).to_i64(), i64::MAX);
        assert_eq!(Position::from_i64(-1), None);
        assert_eq!(LogOffset::new(1 << 55), None);
    }

    fn check_message_id(id: OffsetMessageId, expect: &str) {
        assert_eq!(id.encode().as_str(), expect);
        assert_eq!(OffsetMessageId::decode(expect.as_bytes()), Ok(id));
        assert_eq!(OffsetMessageId::decode(expect.to_lowercase().as_bytes()), Ok(id));
    }

    #[test]
    fn message_ids_are_those_of_rocketmq() {
        let host = "10.0.0.1:10911".parse().unwrap();
        let id = OffsetMessageId { host, position: position(0, 123_456) };
        check_message_id(id, "0A00000100002A9F000000000001E240");
        let host = "[fd00::25c]:10911".parse().unwrap();
        let id = OffsetMessageId { host, position: position(3, 1) };
        check_message_id(id, "FD00000000000000000000000000025C00002A9F0180000000000001");
    }

    #[test]
    fn foreign_message_ids_are_refused() {
        let check = |text: &str, expect| {
            assert_eq!(OffsetMessageId::decode(text.as_bytes()), Err(expect), "{text}");
        };
        check("", MessageIdError::Length { found: 0 });
        check("0A00000100002A9F000000000001E24G", MessageIdError::Digit { at: 31 });
        let range = MessageIdError::Range { port: 65536, position: 0 };
        check("0A000001000100000000000000000000", range);
        let range = MessageIdError::Range { port: 1, position: -1 };
        check("0A00000100000001FFFFFFFFFFFFFFFF", range);
    }

    #[test]
    fn unique_keys_are_laid_out_as_in_java() {
        let key = UniqueKey {
            ip: Ipv4Addr::new(10, 0, 0, 1),
            pid: 0x1234,
            generator: 0x5678_9ABC,
            month_ms: 0xDEF0_1234,
            counter: 0x5678,
        };
        assert_eq!(&key.encode(), b"0A000001123456789ABCDEF012345678");
    }

    proptest! {
        #[test]
        fn positions_keep_shard_and_offset(shard: u8, offset in 0..=LogOffset::MAX.bytes()) {
            let position = position(shard, offset);
            prop_assert!(position.to_i64() >= 0);
            prop_assert_eq!(Position::from_i64(position.to_i64()), Some(position));
            prop_assert_eq!(position.shard(), ShardIndex(shard));
            prop_assert_eq!(position.offset().bytes(), offset);
        }

        #[test]
        fn message_ids_are_read_back(ip: Ipv4Addr, port: u16, at in 0..i64::MAX) {
            let host = SocketAddr::from((ip, port));
            let id = OffsetMessageId { host, position: Position::from_i64(at).unwrap() };
            prop_assert_eq!(OffsetMessageId::decode(id.encode().as_bytes()), Ok(id));
        }

        #[test]
        fn any_text_is_decoded_without_panic(text in "[0-9A-Fg]{0,60}") {
            let _ = OffsetMessageId::decode(text.as_bytes());
        }

        #[test]
        fn hash_agrees_with_utf16(text: String) {
            let expect = text.encode_utf16().fold(0_i32, |hash, unit| {
                hash.wrapping_mul(31).wrapping_add(i32::from(unit))
            });
            prop_assert_eq!(java_hash(text.as_bytes()), expect);
        }
    }
}
