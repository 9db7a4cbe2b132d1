//! Answers to sends and pulls, as a client reads them.

use super::{Field, HeaderError};
use crate::command::Command;
use crate::text::Text;

/// Apache's `SendMessageResponseHeader`, if the message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendAnswer<'a> {
    /// offsetMsgId; several with commas between them for a batch.
    pub message_id: Text<'a>,
    /// Queue that took the message.
    pub queue_id: i32,
    /// Its offset there, that of the first one for a batch.
    pub queue_offset: i64,
    /// UNIQ_KEY of the message.
    pub transaction_id: Option<Text<'a>>,
}

impl<'a> SendAnswer<'a> {
    /// Reads the answer to a send whose code is 0, 10, 11 or 12.
    ///
    /// # Errors
    /// [`HeaderError::Missing`], as for every other code, and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        Ok(Self {
            message_id: Field::find(command, "msgId").text()?,
            queue_id: Field::find(command, "queueId").i32()?,
            queue_offset: Field::find(command, "queueOffset").i64()?,
            transaction_id: Field::find(command, "transactionId").text_optional(),
        })
    }
}

/// Apache's `PullMessageResponseHeader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullAnswer {
    /// Broker id to pull from next time; 0 the master.
    pub suggest_which_broker_id: i64,
    /// Queue offset to ask for next.
    pub next_begin_offset: i64,
    /// First queue offset there is.
    pub min_offset: i64,
    /// Next queue offset to be written.
    pub max_offset: i64,
}

impl PullAnswer {
    /// Reads the answer to a pull whose code is 0, 19, 20 or 21.
    ///
    /// # Errors
    /// [`HeaderError::Missing`], as for every other code, and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'_>) -> Result<Self, HeaderError> {
        Ok(Self {
            suggest_which_broker_id: Field::find(command, "suggestWhichBrokerId").i64()?,
            next_begin_offset: Field::find(command, "nextBeginOffset").i64()?,
            min_offset: Field::find(command, "minOffset").i64()?,
            max_offset: Field::find(command, "maxOffset").i64()?,
        })
    }
}
