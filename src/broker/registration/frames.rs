//! The frames of a registration and of leaving.
//! Kind: machine

use proto::body::{DataVersion, RegisterBrokerBody, TopicConfig};
use proto::code::request;
use proto::frame::Encoding;
use proto::limits::FRAME_BYTES_MAX;
use proto::record::body_crc;
use proto::reply::{RequestHead, write_request};

use super::BrokerIdentity;

/// A request and the number that its answer has.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) opaque: i32,
}

/// The requests of a registration: one, or several if there are more than `split` topics or they do
/// not fit a frame. Their versions differ, or a NameServer would take the topics of the first only:
/// the others it knows, and of a version that has not changed. The last one has the version of the
/// table. Apache's broker counts its version up with every part (`buildSerializeWrapper`), so that no
/// two of its registrations have the same.
///
/// # Errors
/// The size of a frame in bytes that holds one topic and is too large.
pub(super) fn registration(
    identity: &BrokerIdentity,
    opaque: &mut i32,
    topics: &[TopicConfig],
    split: usize,
    version: DataVersion,
) -> Result<Vec<Frame>, usize> {
    let mut frames: Vec<Frame> = Vec::new();
    // The parts that are left, the next one last.
    let mut parts: Vec<&[TopicConfig]> = topics.chunks(split).rev().collect();
    if parts.is_empty() {
        parts.push(&[]);
    }
    while let Some(part) = parts.pop() {
        let mut bytes = Vec::new();
        let number = opaque.wrapping_add(1);
        let is_last = parts.is_empty();
        // A part has a topic, so no two come out alike, nor like the table's.
        let before = if is_last { 0 } else { topics.len() - frames.len() };
        let before = i64::try_from(before).expect("a table has a length");
        let version = DataVersion { timestamp: version.timestamp - before, ..version };
        write_registration(&mut bytes, identity, number, part, version);
        if bytes.len() <= FRAME_BYTES_MAX {
            *opaque = number;
            frames.push(Frame { bytes, opaque: number });
            continue;
        }
        if part.len() < 2 {
            return Err(bytes.len());
        }
        let (first, second) = part.split_at(part.len() / 2);
        parts.extend([second, first]);
    }
    Ok(frames)
}

/// The request of a broker that leaves.
pub(super) fn unregistration(identity: &BrokerIdentity, opaque: &mut i32) -> Frame {
    *opaque = opaque.wrapping_add(1);
    let mut bytes = Vec::new();
    write_unregistration(&mut bytes, identity, *opaque);
    Frame { bytes, opaque: *opaque }
}

/// Appends a registration (103).
pub fn write_registration(
    out: &mut Vec<u8>,
    identity: &BrokerIdentity,
    opaque: i32,
    topics: &[TopicConfig],
    version: DataVersion,
) {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version = version;
    table.topic_config_table =
        topics.iter().map(|topic| (topic.topic_name.clone(), topic.clone())).collect();
    let mut bytes = Vec::new();
    body.write(&mut bytes);

    let head = RequestHead { code: request::REGISTER_BROKER, opaque, flag: 0 };
    let id = identity.id.to_string();
    let crc = body_crc(&bytes).to_string();
    let ext = [
        ("brokerId", id.as_str()),
        ("bodyCrc32", crc.as_str()),
        ("clusterName", identity.cluster.as_str()),
        ("brokerAddr", identity.address.as_str()),
        ("enableActingMaster", "false"),
        ("haServerAddr", identity.ha_address.as_str()),
        ("compressed", "false"),
        ("brokerName", identity.name.as_str()),
    ];
    write_request(out, Encoding::Json, &head, Some(&ext), &bytes);
}

/// Appends the request of a broker that leaves (104).
pub fn write_unregistration(out: &mut Vec<u8>, identity: &BrokerIdentity, opaque: i32) {
    let head = RequestHead { code: request::UNREGISTER_BROKER, opaque, flag: 0 };
    let id = identity.id.to_string();
    let ext = [
        ("brokerId", id.as_str()),
        ("clusterName", identity.cluster.as_str()),
        ("brokerAddr", identity.address.as_str()),
        ("brokerName", identity.name.as_str()),
    ];
    write_request(out, Encoding::Json, &head, Some(&ext), b"");
}
