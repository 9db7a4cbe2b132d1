//! Header of a send: codes 10, 310, 320 and the replies 324, 325.

use super::{Field, HeaderError, Typed, flat};
use crate::command::Command;
use crate::generated;
use crate::text::Text;

mod scan;

pub use scan::{ScannedSend, peek_topic};

/// Apache's `SendMessageRequestHeader`, long names (10, 324) and short ones (310, 320, 325) alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendHeader<'a> {
    /// Group of the producer.
    pub producer_group: Text<'a>,
    /// Topic to send to.
    pub topic: Text<'a>,
    /// Topic whose settings a new topic takes, normally TBW102.
    pub default_topic: Text<'a>,
    /// Queues that a new topic should have.
    pub default_topic_queue_count: i32,
    /// Target queue; negative lets the broker choose.
    pub queue_id: i32,
    /// System flag: compression, transaction.
    pub sys_flag: i32,
    /// When the message was made, in milliseconds.
    pub born_timestamp: i64,
    /// The user's flag.
    pub flag: i32,
    /// Properties text; empty if absent. JSON writes its separators as escapes.
    pub properties: Text<'a>,
    /// How often a `%RETRY%` message was retried; 0 if absent.
    pub reconsume_times: i32,
    /// Legacy of unitised deployments.
    pub unit_mode: bool,
    /// Retries after which a `%RETRY%` message is dead; the group's own number if absent.
    pub max_reconsume_times: Option<i32>,
    /// Whether the body is a batch. This flag decides, not the code.
    pub batch: bool,
    /// Name of the broker that the client means.
    pub broker_name: Option<Text<'a>>,
}

impl<'a> SendHeader<'a> {
    /// Reads the header of a send.
    ///
    /// Long and short names are taken alike whatever the code is; none means two things.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        if let Some(Typed::SendRequest(table)) = &command.typed {
            return Ok(Self::from_flat(table));
        }
        let mut fields = SendFields::default();
        for (key, value) in command.ext.iter() {
            if let Some(field) = fields.slot(key.raw()) {
                *field = Field(Some(value));
            }
        }
        fields.header()
    }

    fn from_flat(table: &generated::SendRequest<'a>) -> Self {
        let numbers = table.numbers();
        Self {
            producer_group: flat::text(table.producer_group()),
            topic: flat::text(table.topic()),
            default_topic: flat::text(table.default_topic()),
            default_topic_queue_count: numbers.default_topic_queue_count(),
            queue_id: numbers.queue_id(),
            sys_flag: numbers.sys_flag(),
            born_timestamp: numbers.born_timestamp(),
            flag: numbers.flag(),
            properties: flat::bytes(table.properties()),
            reconsume_times: numbers.reconsume_times(),
            unit_mode: numbers.unit_mode(),
            max_reconsume_times: table.max_reconsume_times(),
            batch: numbers.batch(),
            broker_name: flat::text_optional(table.broker_name()),
        }
    }
}

#[derive(Default)]
struct SendFields<'a> {
    producer_group: Field<'a>,
    topic: Field<'a>,
    default_topic: Field<'a>,
    default_topic_queue_count: Field<'a>,
    queue_id: Field<'a>,
    sys_flag: Field<'a>,
    born_timestamp: Field<'a>,
    flag: Field<'a>,
    properties: Field<'a>,
    reconsume_times: Field<'a>,
    unit_mode: Field<'a>,
    max_reconsume_times: Field<'a>,
    batch: Field<'a>,
    broker_name: Field<'a>,
}

impl<'a> SendFields<'a> {
    fn slot(&mut self, key: &[u8]) -> Option<&mut Field<'a>> {
        match *key {
            [letter] => self.slot_of_letter(letter),
            _ => self.slot_of_name(key),
        }
    }

    fn slot_of_letter(&mut self, letter: u8) -> Option<&mut Field<'a>> {
        Some(match letter {
            b'a' => &mut self.producer_group,
            b'b' => &mut self.topic,
            b'c' => &mut self.default_topic,
            b'd' => &mut self.default_topic_queue_count,
            b'e' => &mut self.queue_id,
            b'f' => &mut self.sys_flag,
            b'g' => &mut self.born_timestamp,
            b'h' => &mut self.flag,
            b'i' => &mut self.properties,
            b'j' => &mut self.reconsume_times,
            b'k' => &mut self.unit_mode,
            b'l' => &mut self.max_reconsume_times,
            b'm' => &mut self.batch,
            b'n' => &mut self.broker_name,
            _ => return None,
        })
    }

    fn slot_of_name(&mut self, name: &[u8]) -> Option<&mut Field<'a>> {
        Some(match name {
            b"producerGroup" => &mut self.producer_group,
            b"topic" => &mut self.topic,
            b"defaultTopic" => &mut self.default_topic,
            b"defaultTopicQueueNums" => &mut self.default_topic_queue_count,
            b"queueId" => &mut self.queue_id,
            b"sysFlag" => &mut self.sys_flag,
            b"bornTimestamp" => &mut self.born_timestamp,
            b"flag" => &mut self.flag,
            b"properties" => &mut self.properties,
            b"reconsumeTimes" => &mut self.reconsume_times,
            b"unitMode" => &mut self.unit_mode,
            b"maxReconsumeTimes" => &mut self.max_reconsume_times,
            b"batch" => &mut self.batch,
            b"bname" => &mut self.broker_name,
            _ => return None,
        })
    }

    fn header(&self) -> Result<SendHeader<'a>, HeaderError> {
        Ok(SendHeader {
            producer_group: self.producer_group.text("producerGroup")?,
            topic: self.topic.text("topic")?,
            default_topic: self.default_topic.text("defaultTopic")?,
            default_topic_queue_count: self
                .default_topic_queue_count
                .i32("defaultTopicQueueNums")?,
            queue_id: self.queue_id.i32("queueId")?,
            sys_flag: self.sys_flag.i32("sysFlag")?,
            born_timestamp: self.born_timestamp.i64("bornTimestamp")?,
            flag: self.flag.i32("flag")?,
            properties: self.properties.text_optional().unwrap_or(Text::EMPTY),
            reconsume_times: self.reconsume_times.i32_optional("reconsumeTimes")?.unwrap_or(0),
            unit_mode: self.unit_mode.bool(),
            max_reconsume_times: self.max_reconsume_times.i32_optional("maxReconsumeTimes")?,
            batch: self.batch.bool(),
            broker_name: self.broker_name.text_optional(),
        })
    }
}
