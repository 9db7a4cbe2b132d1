//! POP and rebalance in the broker (200151, 400 to 402).

use std::collections::BTreeMap;

use super::BodyError;
use super::base64;
use super::heartbeat::MessageModel;
use super::json::{Json, defaulting, json_enum, json_object, mismatch, nullable};
use super::queue::MessageQueue;
use crate::dialect::{Value, Writer};

json_enum! {
    /// How consumers of a topic and group ask. `common/message/MessageRequestMode`.
    #[derive(Default)]
    pub enum MessageRequestMode {
        /// By PULL_MESSAGE.
        #[default]
        Pull = "PULL",
        /// By POP_MESSAGE.
        Pop = "POP",
    }
}
defaulting!(MessageRequestMode);

json_object! {
    /// Body of 401. `remoting/protocol/body/SetMessageRequestModeRequestBody`.
    #[derive(Eq)]
    pub struct SetMessageRequestModeRequestBody {
        /// Name of the group.
        "consumerGroup" consumer_group: Option<String>,
        /// The mode.
        "mode" mode: MessageRequestMode,
        /// Queues that members share; not positive for all.
        "popShareQueueNum" pop_share_queue_num: i32,
        /// Name of the topic.
        "topic" topic: Option<String>,
    }
}

json_object! {
    /// Answer to 402. `remoting/protocol/body/MessageRequestModeSerializeWrapper`.
    #[derive(Eq)]
    pub struct MessageRequestModeSerializeWrapper up to TABLE_VALUES_MAX values {
        /// Topic name to group name to mode.
        "messageRequestModeMap" message_request_mode_map:
            BTreeMap<String, BTreeMap<String, SetMessageRequestModeRequestBody>>,
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
        "mode" mode: MessageRequestMode,
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
        let bytes = value.as_text().and_then(base64::decode);
        let mut bytes = bytes.ok_or_else(|| mismatch("base64", value))?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(Self { bytes })
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        writer.text(&base64::encode(&self.bytes));
    }
}

json_object! {
    /// Acknowledged messages of one pop. `remoting/protocol/body/BatchAck`, whose long field names
    /// are read too.
    #[derive(Eq)]
    pub struct BatchAck {
        /// Which offsets from `so` on.
        "b" | "bitSet" bits: BitSet,
        /// Name of the group.
        "c" | "consumerGroup" consumer_group: String,
        /// How long they were invisible, ms.
        "it" | "invisibleTime" invisible_time: i64,
        /// When they were popped, ms.
        "pt" | "popTime" pop_time: i64,
        /// Queue id.
        "q" | "queueId" queue_id: i32,
        /// `0` normal topic, `1` and `2` retry topics.
        "r" | "retry" retry: String,
        /// Revive queue id.
        "rq" | "reviveQueueId" revive_queue_id: i32,
        /// First offset of the pop.
        "so" | "startOffset" start_offset: i64,
        /// Name of the topic.
        "t" | "topic" topic: String,
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
