//! Answers to sends and pulls, as a client reads them.

use super::{Field, HeaderError, Typed, flat};
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
    /// Handle with which a timer message can be recalled.
    pub recall_handle: Option<Text<'a>>,
    /// Region of the broker.
    pub region: Option<Text<'a>>,
    /// Whether the message shall be traced.
    pub trace_on: bool,
}

impl<'a> SendAnswer<'a> {
    /// Reads the answer to a send whose code is 0, 10, 11 or 12.
    ///
    /// # Errors
    /// [`HeaderError::Missing`], as for every other code, and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        if let Some(Typed::SendAnswer(table)) = &command.typed {
            let transaction_id = flat::bytes(table.transaction_id());
            return Ok(Self {
                message_id: flat::text(table.message_id()),
                queue_id: table.queue_id(),
                queue_offset: table.queue_offset(),
                transaction_id: (!transaction_id.is_empty()).then_some(transaction_id),
                recall_handle: flat::text_optional(table.recall_handle()),
                region: flat::text_optional(table.region()),
                trace_on: table.trace_on(),
            });
        }
        Ok(Self {
            message_id: Field::find(command, "msgId").text()?,
            queue_id: Field::find(command, "queueId").i32()?,
            queue_offset: Field::find(command, "queueOffset").i64()?,
            transaction_id: Field::find(command, "transactionId").text_optional(),
            recall_handle: Field::find(command, "recallHandle").text_optional(),
            region: Field::find(command, "MSG_REGION").text_optional(),
            trace_on: Field::find(command, "TRACE_ON").bool(),
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
    /// System flag of the topic; 0 if absent.
    pub topic_sys_flag: i32,
    /// System flag of the group; 0 if absent.
    pub group_sys_flag: i32,
}

impl PullAnswer {
    /// Reads the answer to a pull whose code is 0, 19, 20 or 21.
    ///
    /// # Errors
    /// [`HeaderError::Missing`], as for every other code, and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'_>) -> Result<Self, HeaderError> {
        if let Some(Typed::PullAnswer(table)) = &command.typed {
            return Ok(Self {
                suggest_which_broker_id: table.suggest_which_broker_id(),
                next_begin_offset: table.next_begin_offset(),
                min_offset: table.min_offset(),
                max_offset: table.max_offset(),
                topic_sys_flag: table.topic_sys_flag(),
                group_sys_flag: table.group_sys_flag(),
            });
        }
        let topic_sys_flag = Field::find(command, "topicSysFlag");
        let group_sys_flag = Field::find(command, "groupSysFlag");
        Ok(Self {
            suggest_which_broker_id: Field::find(command, "suggestWhichBrokerId").i64()?,
            next_begin_offset: Field::find(command, "nextBeginOffset").i64()?,
            min_offset: Field::find(command, "minOffset").i64()?,
            max_offset: Field::find(command, "maxOffset").i64()?,
            topic_sys_flag: topic_sys_flag.i32_optional()?.unwrap_or(0),
            group_sys_flag: group_sys_flag.i32_optional()?.unwrap_or(0),
        })
    }
}
