//! Headers of those who look for messages: codes 12, 33 and 321.

use super::{Fields, HeaderError};
use crate::command::Command;
use crate::text::Text;

/// Apache's `QueryMessageRequestHeader` (12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryMessageHeader<'a> {
    /// Topic of the messages.
    pub topic: Text<'a>,
    /// A UNIQ_KEY or one of KEYS.
    pub key: Text<'a>,
    /// Messages at the most.
    pub count_max: i32,
    /// Stored then or later, ms.
    pub begin_ms: i64,
    /// Stored then or before, ms.
    pub end_ms: i64,
    /// The key is a UNIQ_KEY, says the client (`_UNIQUE_KEY_QUERY`): the broker's own number of messages
    /// holds.
    pub is_unique_key: bool,
}

impl<'a> QueryMessageHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        let unique = fields.text_optional("_UNIQUE_KEY_QUERY");
        Ok(Self {
            topic: fields.text("topic")?,
            key: fields.text("key")?,
            count_max: fields.i32("maxNum")?,
            begin_ms: fields.i64("beginTimestamp")?,
            end_ms: fields.i64("endTimestamp")?,
            is_unique_key: unique.is_some_and(|text| text.raw() == b"true"),
        })
    }
}

/// Apache's `ViewMessageRequestHeader` (33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewMessageHeader {
    /// Position of the message.
    pub offset: i64,
}

impl ViewMessageHeader {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'_>) -> Result<Self, HeaderError> {
        Ok(Self { offset: Fields(command).i64("offset")? })
    }
}

/// Apache's `QueryConsumeQueueRequestHeader` (321). Its numbers are Java's primitives: 0 if absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryConsumeQueueHeader<'a> {
    /// Topic of the queue.
    pub topic: Text<'a>,
    /// The queue.
    pub queue_id: i32,
    /// Queue offset of the first entry.
    pub index: i64,
    /// Entries at the most.
    pub count: i32,
    /// Group whose subscription is wanted, too.
    pub consumer_group: Option<Text<'a>>,
}

impl<'a> QueryConsumeQueueHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        let number = |name: &'static str| super::Field(fields.text_optional(name));
        Ok(Self {
            topic: fields.text("topic")?,
            queue_id: fields.i32_optional("queueId")?.unwrap_or(0),
            index: number("index").i64_optional("index")?.unwrap_or(0),
            count: fields.i32_optional("count")?.unwrap_or(0),
            consumer_group: fields.text_optional("consumerGroup"),
        })
    }
}
