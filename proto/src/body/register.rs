//! Body of 103: what a broker tells a NameServer, as plain JSON or compressed.
//!
//! ```text
//! compressed: one zlib stream of
//!   i32 length; DataVersion as JSON
//!   i32 topics; for each: i32 length;
//!     "name readQueueNums writeQueueNums perm filterType {attributes}"
//!   i32 length; filter server list as JSON
//!   from brokers since 5.0.0: i32 mappings; for each: i32 length; TopicQueueMappingInfo as JSON
//! ```

use std::io::{Read, Write as _};

use flate2::Compression;
use flate2::bufread::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::BodyError;
use super::json::{Json, json_object};
use super::static_topic::TopicQueueMappingInfo;
use super::topic::{
    TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicConfigSerializeWrapper,
};
use super::version::DataVersion;
use crate::dialect;
use crate::version::{V3_0_11, V5_0_0};

/// Most bytes that a compressed body may inflate to. Plain bodies end at the frame limit of 16 MiB;
/// topics in text form are a third of their JSON, so this is six times what a broker can say
/// plainly.
pub const INFLATED_BYTES_MAX: usize = 32 << 20;

/// Most topics or mappings in a compressed body. The plain form ends at about 93 000 for want of
/// space.
pub const INFLATED_ENTRIES_MAX: usize = 1 << 18;

/// First byte of a zlib stream with the usual window. No JSON text begins so.
const ZLIB_MAGIC: u8 = 0x78;

json_object! {
    /// Registration of a broker. `remoting/protocol/body/RegisterBrokerBody`.
    #[derive(Eq)]
    pub struct RegisterBrokerBody up to TABLE_VALUES_MAX values {
        /// Filter servers: gone.
        "filterServerList" filter_server_list: Vec<String>,
        /// The topics.
        "topicConfigSerializeWrapper" topic_config_serialize_wrapper:
            TopicConfigAndMappingSerializeWrapper,
    }
}

impl RegisterBrokerBody {
    /// Reads the body of a REGISTER_BROKER request as `DefaultRequestProcessor.registerBroker`
    /// does: by the header's `compressed` and the version of the broker. A body that begins like
    /// zlib is inflated whatever the header says, because brokers of 5.3.3 with
    /// `compressedRegister` say `compressed=false` (and never get registered at Apache's
    /// NameServer). No body is an empty one.
    ///
    /// # Errors
    /// As `parse`; for compressed bodies also what does not inflate, or inflates beyond
    /// [`INFLATED_BYTES_MAX`] or [`INFLATED_ENTRIES_MAX`].
    pub fn parse_request(
        bytes: &[u8],
        compressed: bool,
        broker_version: i32,
    ) -> Result<Self, BodyError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        if broker_version < V3_0_11 {
            let topics = TopicConfigSerializeWrapper::parse(bytes)?;
            return Ok(Self {
                topic_config_serialize_wrapper: topics.into(),
                filter_server_list: Vec::new(),
            });
        }
        if compressed || bytes.first() == Some(&ZLIB_MAGIC) {
            return Self::parse_compressed(bytes, broker_version);
        }
        Self::parse(bytes)
    }

    /// Reads the compressed form (`RegisterBrokerBody.decode`).
    fn parse_compressed(bytes: &[u8], broker_version: i32) -> Result<Self, BodyError> {
        let mut inflater =
            Inflater { decoder: ZlibDecoder::new(bytes), bytes_left: INFLATED_BYTES_MAX };
        let mut body = Self::default();
        let topics = &mut body.topic_config_serialize_wrapper;
        topics.data_version = DataVersion::parse(&inflater.entry()?)?;
        for _ in 0..inflater.count()? {
            let topic = read_topic(&inflater.entry()?)?;
            topics.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        // What is no list of texts counts as an empty one: Apache logs it and goes on.
        let filter_servers = inflater.entry()?;
        body.filter_server_list = dialect::parse(&filter_servers)
            .ok()
            .and_then(|value| Json::read(&value).ok())
            .unwrap_or_default();
        if broker_version >= V5_0_0 {
            for _ in 0..inflater.count()? {
                let mapping = TopicQueueMappingInfo::parse(&inflater.entry()?)?;
                let topic = mapping.topic.clone().unwrap_or_default();
                topics.topic_queue_mapping_info_map.insert(topic, mapping);
            }
        }
        Ok(body)
    }

    /// Appends the compressed form (`RegisterBrokerBody.encode`), which carries neither order nor
    /// topicSysFlag nor whole mappings; mappings at all only from brokers since 5.0.0.
    pub fn write_compressed(&self, broker_version: i32, out: &mut Vec<u8>) {
        let topics = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        write_entry(&mut plain, |out| topics.data_version.write(out));
        write_count(&mut plain, topics.topic_config_table.len());
        for topic in topics.topic_config_table.values() {
            write_entry(&mut plain, |out| write_topic(topic, out));
        }
        write_entry(&mut plain, |out| {
            let mut writer = dialect::Writer::new(out, dialect::Style::Plain);
            self.filter_server_list.emit(&mut writer);
        });
        if broker_version >= V5_0_0 {
            write_count(&mut plain, topics.topic_queue_mapping_info_map.len());
            for mapping in topics.topic_queue_mapping_info_map.values() {
                write_entry(&mut plain, |out| mapping.write(out));
            }
        }
        let mut encoder = ZlibEncoder::new(out, Compression::best());
        encoder
            .write_all(&plain)
            .and_then(|()| encoder.finish().map(|_| ()))
            .expect("a vector takes every write");
    }
}

impl From<TopicConfigSerializeWrapper> for TopicConfigAndMappingSerializeWrapper {
    fn from(topics: TopicConfigSerializeWrapper) -> Self {
        Self {
            data_version: topics.data_version,
            topic_config_table: topics.topic_config_table,
            ..Self::default()
        }
    }
}

/// Reads lengths and entries from a zlib stream, never more than allowed.
struct Inflater<'a> {
    decoder: ZlibDecoder<&'a [u8]>,
    bytes_left: usize,
}

impl Inflater<'_> {
    fn count(&mut self) -> Result<usize, BodyError> {
        let count = self.integer()?;
        if count > INFLATED_ENTRIES_MAX {
            return Err(BodyError::TooLarge { limit: INFLATED_ENTRIES_MAX, unit: "entries" });
        }
        Ok(count)
    }

    fn entry(&mut self) -> Result<Vec<u8>, BodyError> {
        let bytes = self.integer()?;
        self.take(bytes)
    }

    /// A count or length, which Java's broker never writes negative.
    fn integer(&mut self) -> Result<usize, BodyError> {
        let bytes = self.take(4)?;
        let number = bytes.try_into().ok().map(i32::from_be_bytes);
        number
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| BodyError::Inflate { reason: "negative length".to_owned() })
    }

    /// The next bytes. Grows with what is there, not with what a length claims.
    fn take(&mut self, bytes: usize) -> Result<Vec<u8>, BodyError> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes)
            .ok_or(BodyError::TooLarge { limit: INFLATED_BYTES_MAX, unit: "bytes" })?;
        let mut taken = Vec::new();
        let mut part = self.decoder.by_ref().take(bytes as u64);
        part.read_to_end(&mut taken)
            .map_err(|error| BodyError::Inflate { reason: error.to_string() })?;
        if taken.len() < bytes {
            return Err(BodyError::Inflate { reason: "it ends early".to_owned() });
        }
        Ok(taken)
    }
}

/// Reads a topic as `TopicConfig.decode` does. Attributes that do not parse (because they hold a
/// blank, which separates) are left out there and here.
fn read_topic(entry: &[u8]) -> Result<TopicConfig, BodyError> {
    let malformed = || BodyError::TopicEntry {
        entry: String::from_utf8_lossy(entry).chars().take(200).collect(),
    };
    let text = std::str::from_utf8(entry).map_err(|_| malformed())?;
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or_else(malformed);
    let mut topic = TopicConfig { topic_name: word()?.to_owned(), ..TopicConfig::default() };
    for number in [&mut topic.read_queue_nums, &mut topic.write_queue_nums, &mut topic.perm] {
        *number = word()?.parse().map_err(|_| malformed())?;
    }
    topic.topic_filter_type =
        super::topic::TopicFilterType::from_name(word()?).ok_or_else(malformed)?;
    if let Some(attributes) = words.next()
        && let Ok(attributes) = dialect::parse(attributes.as_bytes())
    {
        topic.attributes = Json::read(&attributes).unwrap_or_default();
    }
    Ok(topic)
}

/// Writes a topic as `TopicConfig.encode` does.
fn write_topic(topic: &TopicConfig, out: &mut Vec<u8>) {
    let TopicConfig { topic_name, read_queue_nums, write_queue_nums, perm, .. } = topic;
    let filter = topic.topic_filter_type.name();
    write!(out, "{topic_name} {read_queue_nums} {write_queue_nums} {perm} {filter} ")
        .expect("a vector takes every write");
    topic.attributes.emit(&mut dialect::Writer::new(out, dialect::Style::Plain));
}

fn write_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("tables are bounded by limits far below");
    out.extend_from_slice(&count.to_be_bytes());
}

fn write_entry(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut entry = Vec::new();
    write(&mut entry);
    write_count(out, entry.len());
    out.extend_from_slice(&entry);
}
