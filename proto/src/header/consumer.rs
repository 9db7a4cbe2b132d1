//! Headers of consumers: codes 14, 15, 35, 36, 38 and 40.

use super::{Fields, HeaderError};
use crate::command::Command;
use crate::text::Text;

/// Apache's `QueryConsumerOffsetRequestHeader` (14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryOffsetHeader<'a> {
    /// Group whose offset is asked for.
    pub consumer_group: Text<'a>,
    /// Topic of the queue.
    pub topic: Text<'a>,
    /// The queue.
    pub queue_id: i32,
    /// False forbids the answer 0 to a group without an offset; true if absent.
    pub set_zero_if_not_found: bool,
}

impl<'a> QueryOffsetHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            consumer_group: fields.text("consumerGroup")?,
            topic: fields.text("topic")?,
            queue_id: fields.i32("queueId")?,
            set_zero_if_not_found: fields.bool_optional("setZeroIfNotFound").unwrap_or(true),
        })
    }
}

/// Apache's `UpdateConsumerOffsetRequestHeader` (15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateOffsetHeader<'a> {
    /// Group that commits.
    pub consumer_group: Text<'a>,
    /// Topic of the queue.
    pub topic: Text<'a>,
    /// The queue.
    pub queue_id: i32,
    /// The consumer offset: next queue offset the group will read.
    pub commit_offset: i64,
}

impl<'a> UpdateOffsetHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            consumer_group: fields.text("consumerGroup")?,
            topic: fields.text("topic")?,
            queue_id: fields.i32("queueId")?,
            commit_offset: fields.i64("commitOffset")?,
        })
    }
}

/// Apache's `ConsumerSendMsgBackRequestHeader` (36).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendBackHeader<'a> {
    /// Position of the message that was not consumed.
    pub offset: i64,
    /// Group that did not consume it.
    pub group: Text<'a>,
    /// Negative: dead letter; 0: the broker chooses by the number of retries; else a delay level.
    pub delay_level: i32,
    /// First message id of the retry chain.
    pub origin_message_id: Option<Text<'a>>,
    /// Topic that the consumer had it from.
    pub origin_topic: Option<Text<'a>>,
    /// Legacy of unitised deployments.
    pub unit_mode: bool,
    /// Retries after which the message is dead; the group's own number if absent.
    pub max_reconsume_times: Option<i32>,
    /// Name of the broker that the client means.
    pub broker_name: Option<Text<'a>>,
}

impl<'a> SendBackHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            offset: fields.i64("offset")?,
            group: fields.text("group")?,
            delay_level: fields.i32("delayLevel")?,
            origin_message_id: fields.text_optional("originMsgId"),
            origin_topic: fields.text_optional("originTopic"),
            unit_mode: fields.bool("unitMode"),
            max_reconsume_times: fields.i32_optional("maxReconsumeTimes")?,
            broker_name: fields.text_optional("bname"),
        })
    }
}

/// Apache's `UnregisterClientRequestHeader` (35).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnregisterClientHeader<'a> {
    /// The client that goes.
    pub client_id: Text<'a>,
    /// Producer group it leaves; the C++ client sends an empty text for none.
    pub producer_group: Option<Text<'a>>,
    /// Consumer group it leaves; the C++ client sends an empty text for none.
    pub consumer_group: Option<Text<'a>>,
}

impl<'a> UnregisterClientHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            client_id: fields.text("clientID")?,
            producer_group: fields.text_optional("producerGroup"),
            consumer_group: fields.text_optional("consumerGroup"),
        })
    }
}

/// Apache's `GetConsumerListByGroupRequestHeader` (38) and `NotifyConsumerIdsChangedRequestHeader`
/// (40).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerListHeader<'a> {
    /// The group.
    pub consumer_group: Text<'a>,
}

impl<'a> ConsumerListHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        Ok(Self { consumer_group: Fields(command).text("consumerGroup")? })
    }
}
