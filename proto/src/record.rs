//! A message as it is stored and pulled.
//!
//! ```text
//!  0 i32 record bytes          20 i64 queueOffset        48 bornHost: 4 or 16 bytes, i32 port
//!  4 u32 magic                 28 i64 physicOffset          i64 storeTimestamp
//!  8 i32 bodyCRC               36 i32 sysFlag               storeHost: 4 or 16 bytes, i32 port
//! 12 i32 queueId               40 i64 bornTimestamp         i32 reconsumeTimes
//! 16 i32 flag                                               i64 preparedTransactionOffset
//!    i32 body bytes, body | i8 (V1) or i16 (V2) topic bytes, topic | i16 properties bytes, properties
//! ```
//! Source: `MessageExtEncoder.encode` and `MessageDecoder.decode`, 5.3.3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use thiserror::Error;

use crate::limits::{PROPERTIES_BYTES_MAX, TOPIC_BYTES_MAX};

/// Magic of a record whose topic length is one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length is two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;

/// Bits of `sysFlag`.
pub mod sys_flag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 0x1;
    /// The topic has several tags a message.
    pub const MULTI_TAGS: i32 = 0x2;
    /// Mask of the transaction bits.
    pub const TRANSACTION_MASK: i32 = 0xC;
    /// Half message.
    pub const TRANSACTION_PREPARED: i32 = 0x4;
    /// Committed message.
    pub const TRANSACTION_COMMIT: i32 = 0x8;
    /// Rolled back.
    pub const TRANSACTION_ROLLBACK: i32 = 0xC;
    /// `bornHost` is an IPv6 address.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// `storeHost` is an IPv6 address.
    pub const STORE_HOST_V6: i32 = 0x20;
    /// The consumer must unwrap a batch.
    pub const NEED_UNWRAP: i32 = 0x40;
    /// Inner batch.
    pub const INNER_BATCH: i32 = 0x80;
    /// Mask of the compression type: 0 and 3 ZLIB, 1 LZ4, 2 ZSTD.
    pub const COMPRESSION_MASK: i32 = 0x700;
}

/// Bytes of a V1 record between IPv4 hosts without topic, body and properties.
pub const RECORD_BYTES_MIN: usize = 91;

const QUEUE_OFFSET_AT: usize = 20;
const PHYSIC_OFFSET_AT: usize = 28;
const SYS_FLAG_AT: usize = 36;
const BORN_HOST_AT: usize = 48;

/// What a record is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFields<'a> {
    /// Queue of the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Number of the message in its queue.
    pub queue_offset: i64,
    /// Position of the record.
    pub physic_offset: i64,
    /// System flag; bits 4 and 5 follow from the hosts, whatever is given.
    pub sys_flag: i32,
    /// When the producer made the message, in milliseconds.
    pub born_timestamp: i64,
    /// Address of the producer.
    pub born_host: SocketAddr,
    /// When the broker stored it, in milliseconds.
    pub store_timestamp: i64,
    /// Advertised address of the broker.
    pub store_host: SocketAddr,
    /// Retries so far.
    pub reconsume_times: i32,
    /// Position of the half message that this one commits.
    pub prepared_transaction_offset: i64,
    /// The body, compressed as it came.
    pub body: &'a [u8],
    /// [`body_crc`] of the body.
    pub body_crc: u32,
    /// The topic.
    pub topic: &'a [u8],
    /// The properties text.
    pub properties: &'a [u8],
}

/// CRC-32 of a body with the top bit cleared, as RocketMQ keeps it (`UtilAll.crc32`).
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & 0x7FFF_FFFF
}

impl RecordFields<'_> {
    /// Size of the record.
    pub fn encoded_bytes(&self) -> usize {
        let address_bytes =
            |host: SocketAddr| if host.ip().to_canonical().is_ipv4() { 4 } else { 16 };
        RECORD_BYTES_MIN - 8
            + address_bytes(self.born_host)
            + address_bytes(self.store_host)
            + self.body.len()
            + usize::from(self.topic.len() > TOPIC_BYTES_MAX)
            + self.topic.len()
            + self.properties.len()
    }

    /// Writes the record, all of `out`.
    ///
    /// # Panics
    /// If `out` is not [`encoded_bytes`](Self::encoded_bytes) long, or a part is longer than its
    /// length field can say; limits are checked before a message gets here.
    pub fn encode(&self, out: &mut [u8]) {
        assert!(out.len() == self.encoded_bytes());
        assert!(i32::try_from(out.len()).is_ok());
        assert!(i16::try_from(self.topic.len()).is_ok());
        assert!(self.properties.len() <= PROPERTIES_BYTES_MAX);
        let born_ip = self.born_host.ip().to_canonical();
        let store_ip = self.store_host.ip().to_canonical();
        let is_v2 = self.topic.len() > TOPIC_BYTES_MAX;
        let size_bytes = out.len() as i32;
        let mut writer = Writer { out, at: 0 };
        writer.put(&size_bytes.to_be_bytes());
        writer.put(&if is_v2 { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        writer.put(&self.body_crc.to_be_bytes());
        writer.put(&self.queue_id.to_be_bytes());
        writer.put(&self.flag.to_be_bytes());
        writer.put(&self.queue_offset.to_be_bytes());
        writer.put(&self.physic_offset.to_be_bytes());
        writer.put(&host_bits(self.sys_flag, born_ip, store_ip).to_be_bytes());
        writer.put(&self.born_timestamp.to_be_bytes());
        writer.host(born_ip, self.born_host.port());
        writer.put(&self.store_timestamp.to_be_bytes());
        writer.host(store_ip, self.store_host.port());
        writer.put(&self.reconsume_times.to_be_bytes());
        writer.put(&self.prepared_transaction_offset.to_be_bytes());
        writer.put(&(self.body.len() as i32).to_be_bytes());
        writer.put(self.body);
        if is_v2 {
            writer.put(&(self.topic.len() as i16).to_be_bytes());
        } else {
            writer.put(&[self.topic.len() as u8]);
        }
        writer.put(self.topic);
        writer.put(&(self.properties.len() as i16).to_be_bytes());
        writer.put(self.properties);
        assert!(writer.at == writer.out.len());
    }
}

/// `sys_flag` with the host bits set and cleared as the hosts demand. A client may have set them;
/// 5.3.3 keeps such bits and then cannot read the record.
fn host_bits(sys_flag: i32, born_ip: IpAddr, store_ip: IpAddr) -> i32 {
    let mut bits = sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
    if born_ip.is_ipv6() {
        bits |= sys_flag::BORN_HOST_V6;
    }
    if store_ip.is_ipv6() {
        bits |= sys_flag::STORE_HOST_V6;
    }
    bits
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    fn host(&mut self, ip: IpAddr, port: u16) {
        match ip {
            IpAddr::V4(address) => self.put(&address.octets()),
            IpAddr::V6(address) => self.put(&address.octets()),
        }
        self.put(&i32::from(port).to_be_bytes());
    }
}

/// The queue offset that a record says; `None`: it is too short to say one.
pub fn queue_offset(record: &[u8]) -> Option<i64> {
    let bytes = record.get(QUEUE_OFFSET_AT..)?.first_chunk()?;
    Some(i64::from_be_bytes(*bytes))
}

/// The properties text of a record, without looking at anything else; `None`: its lengths do not fit it.
pub fn properties(record: &[u8]) -> Option<&[u8]> {
    let sys_flag = be_i32(record, SYS_FLAG_AT)?;
    let host_bytes = |flag| if sys_flag & flag == 0 { 8 } else { 20 };
    let body_at = BORN_HOST_AT
        + host_bytes(sys_flag::BORN_HOST_V6)
        + 8
        + host_bytes(sys_flag::STORE_HOST_V6)
        + 4
        + 8;
    let body_bytes = usize::try_from(be_i32(record, body_at)?).ok()?;
    let topic = record.get(body_at + 4..)?.get(body_bytes..)?;
    let topic = match be_i32(record, 4)? as u32 {
        MAGIC_V1 => topic.get(1 + usize::from(*topic.first()?)..)?,
        MAGIC_V2 => topic.get(2 + usize::from(u16::from_be_bytes(*topic.first_chunk()?))..)?,
        _ => return None,
    };
    let (length, properties) = topic.split_first_chunk()?;
    properties.get(..usize::try_from(i16::from_be_bytes(*length)).ok()?)
}

/// Writes another queue offset into an encoded record.
///
/// # Panics
/// If `record` is shorter than a record.
pub fn patch_queue_offset(record: &mut [u8], queue_offset: i64) {
    patch_i64(record, QUEUE_OFFSET_AT, queue_offset);
}

/// Writes another position into an encoded record.
///
/// # Panics
/// If `record` is shorter than a record.
pub fn patch_physic_offset(record: &mut [u8], physic_offset: i64) {
    patch_i64(record, PHYSIC_OFFSET_AT, physic_offset);
}

/// Writes another store timestamp into an encoded record.
///
/// # Panics
/// If `record` is shorter than a record.
pub fn patch_store_timestamp(record: &mut [u8], store_timestamp: i64) {
    let sys_flag = be_i32(record, SYS_FLAG_AT).expect("a record has a sysFlag");
    let address_bytes = if sys_flag & sys_flag::BORN_HOST_V6 == 0 { 4 } else { 16 };
    patch_i64(record, BORN_HOST_AT + address_bytes + 4, store_timestamp);
}

fn patch_i64(record: &mut [u8], at: usize, value: i64) {
    assert!(record.len() >= RECORD_BYTES_MIN);
    record[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("record of {expected} bytes where {found} are left")]
    Truncated {
        /// Size that the record says, or that of the smallest one.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The record says that it is shorter than any can be.
    #[error("record of {found} bytes is shorter than any")]
    TooShort {
        /// Size that it says.
        found: i32,
    },
    /// Neither of the two magics.
    #[error("record with the unknown magic {found:#010x}")]
    MagicUnknown {
        /// Magic found.
        found: u32,
    },
    /// The lengths of the parts do not add up to the size of the record.
    #[error("record of {size} bytes whose {part} of {found} bytes does not fit it")]
    PartMisfit {
        /// Which part.
        part: &'static str,
        /// Its length field.
        found: i64,
        /// Size of the record.
        size: usize,
    },
    /// A port that does not exist.
    #[error("record with the impossible port {found}")]
    PortInvalid {
        /// Port found.
        found: i32,
    },
}

/// One stored record, checked, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    bytes: &'a [u8],
    fields: RecordFields<'a>,
    body_start: usize,
}

impl<'a> Record<'a> {
    /// Reads the record at the beginning of `bytes` and its size; the next one begins there.
    ///
    /// # Errors
    /// [`RecordError`]; the CRC of the body is not among what is checked.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), RecordError> {
        let found = bytes.len();
        let size = be_i32(bytes, 0).ok_or(RecordError::Truncated { expected: 4, found })?;
        let expected = usize::try_from(size).unwrap_or(0);
        if expected < RECORD_BYTES_MIN {
            return Err(RecordError::TooShort { found: size });
        }
        let bytes = bytes.get(..expected).ok_or(RecordError::Truncated { expected, found })?;
        let record = Reader { bytes, rest: bytes }.record()?;
        Ok((record, expected))
    }

    /// The record's bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What it is made of.
    pub fn fields(&self) -> &RecordFields<'a> {
        &self.fields
    }

    /// Where the body lies in the record. What is before and behind it is everything else.
    pub fn body_range(&self) -> Range<usize> {
        self.body_start..self.body_start + self.fields.body.len()
    }

    /// CRC of the body as it is now, to be compared with the stored one.
    pub fn crc_of_body(&self) -> u32 {
        body_crc(self.fields.body)
    }

    /// Whether the body is what it was when the CRC was made.
    pub fn is_body_intact(&self) -> bool {
        self.crc_of_body() == self.fields.body_crc
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn record(mut self) -> Result<Record<'a>, RecordError> {
        self.i32()?;
        let magic = self.i32()? as u32;
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::MagicUnknown { found: magic });
        }
        let body_crc = self.i32()? as u32;
        let queue_id = self.i32()?;
        let flag = self.i32()?;
        let queue_offset = self.i64()?;
        let physic_offset = self.i64()?;
        let sys_flag = self.i32()?;
        let born_timestamp = self.i64()?;
        let born_host = self.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp = self.i64()?;
        let store_host = self.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = self.i32()?;
        let prepared_transaction_offset = self.i64()?;
        let body_bytes = i64::from(self.i32()?);
        let body_start = self.bytes.len() - self.rest.len();
        let body = self.part("body", body_bytes)?;
        let topic_bytes =
            if magic == MAGIC_V2 { i64::from(self.i16()?) } else { i64::from(self.i8()?) };
        let topic = self.part("topic", topic_bytes)?;
        let properties_bytes = i64::from(self.i16()?);
        let properties = self.part("properties", properties_bytes)?;
        if !self.rest.is_empty() {
            return Err(self.misfit("properties", properties_bytes));
        }
        let fields = RecordFields {
            queue_id,
            flag,
            queue_offset,
            physic_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            body_crc,
            topic,
            properties,
        };
        Ok(Record { bytes: self.bytes, fields, body_start })
    }

    fn host(&mut self, is_v6: bool) -> Result<SocketAddr, RecordError> {
        let ip = if is_v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        let port = self.i32()?;
        let port = u16::try_from(port).map_err(|_| RecordError::PortInvalid { found: port })?;
        Ok(SocketAddr::new(ip, port))
    }

    fn part(&mut self, part: &'static str, length: i64) -> Result<&'a [u8], RecordError> {
        let split = usize::try_from(length).ok().and_then(|at| self.rest.split_at_checked(at));
        let (bytes, rest) = split.ok_or_else(|| self.misfit(part, length))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (array, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.misfit("length of a part", N as i64))?;
        self.rest = rest;
        Ok(*array)
    }

    fn i8(&mut self) -> Result<i8, RecordError> {
        self.array().map(i8::from_be_bytes)
    }

    fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    fn misfit(&self, part: &'static str, found: i64) -> RecordError {
        RecordError::PartMisfit { part, found, size: self.bytes.len() }
    }
}

fn be_i32(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> RecordFields<'static> {
        RecordFields {
            queue_id: 3,
            flag: 0,
            queue_offset: 7,
            physic_offset: 123_456,
            sys_flag: 0,
            born_timestamp: 1_690_000_000_000,
            born_host: "10.0.0.9:50000".parse().unwrap(),
            store_timestamp: 1_690_000_000_123,
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"Hello",
            body_crc: body_crc(b"Hello"),
            topic: b"T",
            properties: b"TAGS\x01TagA\x02UNIQ_KEY\x010A00000100002A139A55000000000A0B\x02",
        }
    }

    /// Appendix A of the protocol notes.
    const EXAMPLE: &str = "\
        00000095daa320a777d1898200000003000000000000000000000007000000000001e240\
        00000000000001897bd984000a0000090000c350000001897bd9847b0a00000100002a9f\
        0000000000000000000000000000000548656c6c6f015400345441475301546167410255\
        4e49515f4b45590130413030303030313030303032413133394135353030303030303030\
        3041304202";

    fn encode(fields: &RecordFields<'_>) -> Vec<u8> {
        let mut out = vec![0xEE; fields.encoded_bytes()];
        fields.encode(&mut out);
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn example_is_encoded_as_rocketmq_does() {
        let bytes = encode(&example());
        assert_eq!(bytes.len(), 149);
        assert_eq!(hex(&bytes), EXAMPLE);
        let (record, size_bytes) = Record::decode(&bytes).unwrap();
        assert_eq!(size_bytes, 149);
        assert_eq!(record.fields(), &example());
        assert_eq!(&record.bytes()[record.body_range()], b"Hello");
        assert!(record.is_body_intact());
    }

    #[test]
    fn crc_has_no_sign() {
        assert_eq!(body_crc(b"Hello RocketMQ"), 1_774_740_973);
        assert_eq!(body_crc(b"a"), 1_756_872_259);
    }

    #[test]
    fn smallest_record_has_91_bytes() {
        let fields = RecordFields { body: b"", topic: b"", properties: b"", ..example() };
        assert_eq!(fields.encoded_bytes(), RECORD_BYTES_MIN);
        assert_eq!(Record::decode(&encode(&fields)).map(|(_, size)| size), Ok(RECORD_BYTES_MIN));
    }

    #[test]
    fn host_bits_follow_the_hosts() {
        let sys_flag = sys_flag::BORN_HOST_V6 | sys_flag::COMPRESSED;
        let fields = RecordFields { sys_flag, ..example() };
        let bytes = encode(&fields);
        let (record, _) = Record::decode(&bytes).unwrap();
        assert_eq!(record.fields().sys_flag, sys_flag::COMPRESSED);
        let store_host = "[fd00::1]:10911".parse().unwrap();
        let born_host = "[::ffff:10.0.0.9]:50000".parse().unwrap();
        let bytes = encode(&RecordFields { born_host, store_host, ..fields });
        let (record, _) = Record::decode(&bytes).unwrap();
        let expect = sys_flag::COMPRESSED | sys_flag::STORE_HOST_V6;
        assert_eq!(record.fields().sys_flag, expect);
        assert_eq!(record.fields().store_host, store_host);
        assert_eq!(record.fields().born_host, example().born_host);
    }

    #[test]
    fn long_topics_make_v2() {
        for (length, magic) in [(127, MAGIC_V1), (128, MAGIC_V2), (255, MAGIC_V2)] {
            let topic = vec![b't'; length];
            let bytes = encode(&RecordFields { topic: &topic, ..example() });
            assert_eq!(bytes[4..8], magic.to_be_bytes());
            let (record, _) = Record::decode(&bytes).unwrap();
            assert_eq!(record.fields().topic, &topic[..]);
        }
    }

    #[test]
    fn patches_hit_their_fields() {
        for born_host in ["10.0.0.9:50000", "[fd00::9]:50000"] {
            let fields = RecordFields { born_host: born_host.parse().unwrap(), ..example() };
            let mut bytes = encode(&fields);
            assert_eq!(queue_offset(&bytes), Some(7));
            patch_queue_offset(&mut bytes, 71);
            assert_eq!(queue_offset(&bytes), Some(71));
            patch_physic_offset(&mut bytes, 72);
            patch_store_timestamp(&mut bytes, 73);
            let expect = RecordFields {
                queue_offset: 71,
                physic_offset: 72,
                store_timestamp: 73,
                sys_flag: Record::decode(&bytes).unwrap().0.fields().sys_flag,
                ..fields
            };
            assert_eq!(Record::decode(&bytes).unwrap().0.fields(), &expect);
        }
    }

    fn check_refused(patch: &[(usize, u8)], expect: RecordError) {
        let mut bytes = encode(&example());
        patch.iter().for_each(|&(at, byte)| bytes[at] = byte);
        assert_eq!(Record::decode(&bytes).err(), Some(expect), "{patch:?}");
    }

    #[test]
    fn broken_records_are_refused() {
        let misfit = |part, found| RecordError::PartMisfit { part, found, size: 149 };
        check_refused(&[(3, 90)], RecordError::TooShort { found: 90 });
        check_refused(&[(0, 0x80)], RecordError::TooShort { found: i32::MIN + 149 });
        check_refused(&[(3, 150)], RecordError::Truncated { expected: 150, found: 149 });
        check_refused(&[(7, 0)], RecordError::MagicUnknown { found: 0xDAA3_2000 });
        check_refused(&[(53, 1)], RecordError::PortInvalid { found: 0x0001_C350 });
        check_refused(&[(84, 0xFF)], misfit("body", -16_777_211));
        check_refused(&[(87, 62)], misfit("body", 62));
        check_refused(&[(93, 0x80)], misfit("topic", -128));
        check_refused(&[(96, 51)], misfit("properties", 51));
        check_refused(&[(96, 53)], misfit("properties", 53));
        let bytes = encode(&example());
        let truncated = RecordError::Truncated { expected: 149, found: 148 };
        assert_eq!(Record::decode(&bytes[..148]).err(), Some(truncated));
        let truncated = RecordError::Truncated { expected: 4, found: 3 };
        assert_eq!(Record::decode(&bytes[..3]).err(), Some(truncated));
    }

    proptest! {
        #[test]
        fn records_are_read_back(
            numbers: (i32, i32, i64, i64, i32, i64, i64, i32, i64),
            hosts: (std::net::Ipv4Addr, std::net::Ipv6Addr, u16, bool),
            body in prop::collection::vec(any::<u8>(), 0..300),
            topic in prop::collection::vec(any::<u8>(), 0..300),
            properties in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let (v4, v6, port, swap) = hosts;
            let v4 = SocketAddr::from((v4, port));
            let v6 = SocketAddr::new(IpAddr::V6(v6).to_canonical(), port);
            let (born_host, store_host) = if swap { (v6, v4) } else { (v4, v6) };
            let fields = RecordFields {
                queue_id: numbers.0,
                flag: numbers.1,
                queue_offset: numbers.2,
                physic_offset: numbers.3,
                sys_flag: host_bits(numbers.4, born_host.ip(), store_host.ip()),
                born_timestamp: numbers.5,
                born_host,
                store_timestamp: numbers.6,
                store_host,
                reconsume_times: numbers.7,
                prepared_transaction_offset: numbers.8,
                body: &body,
                body_crc: body_crc(&body),
                topic: &topic,
                properties: &properties,
            };
            let mut bytes = encode(&fields);
            let size_bytes = bytes.len();
            bytes.extend_from_slice(b"next");
            let (record, size) = Record::decode(&bytes).unwrap();
            prop_assert_eq!(size, size_bytes);
            prop_assert_eq!(record.fields(), &fields);
            prop_assert_eq!(&record.bytes()[record.body_range()], &body[..]);
            prop_assert_eq!(super::properties(record.bytes()), Some(fields.properties));
        }

        #[test]
        fn mutated_records_never_panic(at in 0..149_usize, byte: u8, length in 0..150_usize) {
            let mut bytes = encode(&example());
            bytes[at] = byte;
            let _ = Record::decode(&bytes);
            let _ = Record::decode(&bytes[..length.min(149)]);
            let _ = properties(&bytes);
            let _ = properties(&bytes[..length.min(149)]);
        }
    }
}
