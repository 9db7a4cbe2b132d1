//! Header of a send: codes 10, 310, 320 and the replies 324, 325.

use super::{Field, HeaderError, Typed, flat};
use crate::command::Command;
use crate::generated;
use crate::text::Text;

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
        let mut fields = Fields::NONE;
        for (key, value) in command.ext.iter() {
            if let Some(field) = fields.named(key.raw()) {
                field.set(value);
            }
        }
        fields.parse()
    }

    fn from_flat(table: &generated::SendRequest<'a>) -> Self {
        Self {
            producer_group: flat::text(table.producer_group()),
            topic: flat::text(table.topic()),
            default_topic: flat::text(table.default_topic()),
            default_topic_queue_count: table.default_topic_queue_count(),
            queue_id: table.queue_id(),
            sys_flag: table.sys_flag(),
            born_timestamp: table.born_timestamp(),
            flag: table.flag(),
            properties: flat::bytes(table.properties()),
            reconsume_times: table.reconsume_times(),
            unit_mode: table.unit_mode(),
            max_reconsume_times: table.max_reconsume_times(),
            batch: table.batch(),
            broker_name: flat::text_optional(table.broker_name()),
        }
    }
}

struct Fields<'a> {
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

impl<'a> Fields<'a> {
    const NONE: Self = Self {
        producer_group: Field::named("producerGroup"),
        topic: Field::named("topic"),
        default_topic: Field::named("defaultTopic"),
        default_topic_queue_count: Field::named("defaultTopicQueueNums"),
        queue_id: Field::named("queueId"),
        sys_flag: Field::named("sysFlag"),
        born_timestamp: Field::named("bornTimestamp"),
        flag: Field::named("flag"),
        properties: Field::named("properties"),
        reconsume_times: Field::named("reconsumeTimes"),
        unit_mode: Field::named("unitMode"),
        max_reconsume_times: Field::named("maxReconsumeTimes"),
        batch: Field::named("batch"),
        broker_name: Field::named("bname"),
    };

    fn named(&mut self, key: &[u8]) -> Option<&mut Field<'a>> {
        Some(match key {
            b"a" | b"producerGroup" => &mut self.producer_group,
            b"b" | b"topic" => &mut self.topic,
            b"c" | b"defaultTopic" => &mut self.default_topic,
            b"d" | b"defaultTopicQueueNums" => &mut self.default_topic_queue_count,
            b"e" | b"queueId" => &mut self.queue_id,
            b"f" | b"sysFlag" => &mut self.sys_flag,
            b"g" | b"bornTimestamp" => &mut self.born_timestamp,
            b"h" | b"flag" => &mut self.flag,
            b"i" | b"properties" => &mut self.properties,
            b"j" | b"reconsumeTimes" => &mut self.reconsume_times,
            b"k" | b"unitMode" => &mut self.unit_mode,
            b"l" | b"maxReconsumeTimes" => &mut self.max_reconsume_times,
            b"m" | b"batch" => &mut self.batch,
            b"n" | b"bname" => &mut self.broker_name,
            _ => return None,
        })
    }

    fn parse(self) -> Result<SendHeader<'a>, HeaderError> {
        Ok(SendHeader {
            producer_group: self.producer_group.text()?,
            topic: self.topic.text()?,
            default_topic: self.default_topic.text()?,
            default_topic_queue_count: self.default_topic_queue_count.i32()?,
            queue_id: self.queue_id.i32()?,
            sys_flag: self.sys_flag.i32()?,
            born_timestamp: self.born_timestamp.i64()?,
            flag: self.flag.i32()?,
            properties: self.properties.text_optional().unwrap_or(Text::EMPTY),
            reconsume_times: self.reconsume_times.i32_optional()?.unwrap_or(0),
            unit_mode: self.unit_mode.bool(),
            max_reconsume_times: self.max_reconsume_times.i32_optional()?,
            batch: self.batch.bool(),
            broker_name: self.broker_name.text_optional(),
        })
    }
}
