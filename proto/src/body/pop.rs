//! POP and rebalance in the broker (151, 400 to 402).

use std::collections::BTreeMap;

use super::BodyError;
use super::heartbeat::MessageModel;
use super::json::{Json, json_enum, json_object, mismatch, nullable};
use super::queue::MessageQueue;
use crate::dialect::{Value, Writer};

json_enum! {
    /// How consumers of a topic and group ask. `common/message/MessageRequestMode`.
    pub enum MessageRequestMode {
        /// By PULL_MESSAGE.
        Pull = "PULL",
        /// By POP_MESSAGE.
        Pop = "POP",
    }
}

json_object! {
    /// Body of 401. `remoting/protocol/body/SetMessageRequestModeRequestBody`.
    #[derive(Eq)]
    pub struct SetMessageRequestModeRequestBody {
        /// Name of the group.
        "consumerGroup" consumer_group: Option<String>,
        /// The mode.
        "mode" mode: Option<MessageRequestMode> = Some(MessageRequestMode::Pull),
        /// Queues that members share; not positive for all.
        "popShareQueueNum" pop_share_queue_num: i32,
        /// Name of the topic.
        "topic" topic: Option<String>,
    }
}

json_object! {
    /// Answer to 402. `remoting/protocol/body/MessageRequestModeSerializeWrapper`.
    #[derive(Eq)]
    pub struct MessageRequestModeSerializeWrapper {
        /// Topic name to group name to mode.
        "messageRequestModeMap" message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>,
    }
}

json_object! {
    /// Body of 400. `remoting/protocol/body/QueryAssignmentRequestBody`.
    #[derive(Eq)]
    pub struct QueryAssignmentRequestBody {
        /// Client id.
        "clientId" client_id: Option<String>,
        /// Name of the group.
        "consumerGroup" consumer_group: Option<String>,
        /// Whether members share the messages.
        "messageModel" message_model: Option<MessageModel>,
        /// How to share: `AVG` and others.
        "strategyName" strategy_name: Option<String>,
        /// Name of the topic.
        "topic" topic: Option<String>,
    }
}

json_object! {
    /// A queue for a client. `common/message/MessageQueueAssignment`.
    #[derive(Eq)]
    pub struct MessageQueueAssignment {
        /// More about it.
        "attachments" attachments: Option<BTreeMap<String, String>>,
        /// The queue.
        "messageQueue" message_queue: MessageQueue,
        /// How to ask.
        "mode" mode: Option<MessageRequestMode> = Some(MessageRequestMode::Pull),
    }
}
nullable!(BTreeMap<String, String>);

json_object! {
    /// Answer to 400. `remoting/protocol/body/QueryAssignmentResponseBody`.
    #[derive(Eq)]
    pub struct QueryAssignmentResponseBody {
        /// The queues; `None` if they cannot be computed.
        "messageQueueAssignments" message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
    }
}
nullable!(Vec<MessageQueueAssignment>);

/// A `java.util.BitSet` as `BitSetSerializerDeserializer` writes it: base64 of its bytes, bit n is
/// mask `1 << (n % 8)` of byte `n / 8`, no zero bytes at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BitSet {
    bytes: Vec<u8>,
}

impl BitSet {
    /// The set of these bits.
    pub fn new(bits: impl IntoIterator<Item = u16>) -> Self {
        let mut set = Self::default();
        for bit in bits {
            let index = usize::from(bit / 8);
            if set.bytes.len() <= index {
                set.bytes.resize(index + 1, 0);
            }
            set.bytes[index] |= 1 << (bit % 8);
        }
        set
    }

    /// The set bits in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.bytes.iter().enumerate().flat_map(|(index, byte)| {
            (0..8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| index * 8 + bit)
        })
    }

    /// Whether no bit is set.
    pub fn is_empty(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }
}

impl Json for BitSet {
    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        let bytes = value.as_text().and_then(base64_decode);
        let mut bytes = bytes.ok_or_else(|| mismatch("base64", value))?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(Self { bytes })
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.text(&base64_encode(&self.bytes));
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let sextet = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= chunk.len() { char::from(BASE64[sextet]) } else { '=' });
        }
    }
    text
}

/// Java's basic decoder: padding may be missing, nothing else is forgiven.
fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let mut bits: u32 = 0;
    for (index, digit) in digits.bytes().enumerate() {
        let sextet = BASE64.iter().position(|candidate| *candidate == digit)?;
        bits = bits << 6 | u32::try_from(sextet).ok()?;
        let filled = (index % 4) * 6 + 6;
        if filled >= 8 {
            let spare = 24 - (index % 4) * 6 - 6;
            let _ = spare;
            bytes.push((bits >> (filled % 8)) as u8);
        }
    }
    Some(bytes)
}

json_object! {
    /// Acknowledged messages of one pop. `remoting/protocol/body/BatchAck`, whose long field names are
    /// read too.
    #[derive(Eq)]
    pub struct BatchAck {
        /// Which offsets from `so` on.
        "b" bits: BitSet,
        /// Name of the group.
        "c" consumer_group: String,
        /// How long they were invisible, ms.
        "it" invisible_time: i64,
        /// When they were popped, ms.
        "pt" pop_time: i64,
        /// Queue id.
        "q" queue_id: i32,
        /// `0` normal topic, `1` and `2` retry topics.
        "r" retry: String,
        /// Revive queue id.
        "rq" revive_queue_id: i32,
        /// First offset of the pop.
        "so" start_offset: i64,
        /// Name of the topic.
        "t" topic: String,
    }
}

json_object! {
    /// Body of 200151. `remoting/protocol/body/BatchAckMessageRequestBody`.
    #[derive(Eq)]
    pub struct BatchAckMessageRequestBody {
        /// The acknowledgements.
        "acks" acks: Vec<BatchAck>,
        /// Name of the broker.
        "brokerName" broker_name: Option<String>,
    }
}
