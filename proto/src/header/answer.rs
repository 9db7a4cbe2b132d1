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
            let numbers = table.numbers();
            let transaction_id = flat::bytes(table.transaction_id());
            return Ok(Self {
                message_id: flat::text(table.message_id()),
                queue_id: numbers.queue_id(),
                queue_offset: numbers.queue_offset(),
                transaction_id: (!transaction_id.is_empty()).then_some(transaction_id),
                recall_handle: flat::text_optional(table.recall_handle()),
                region: flat::text_optional(table.region()),
                trace_on: numbers.trace_on(),
            });
        }
        let mut fields = SendAnswerFields::default();
        for (key, value) in command.ext.iter() {
            let field = match key.raw() {
                b"msgId" => &mut fields.message_id,
                b"queueId" => &mut fields.queue_id,
                b"queueOffset" => &mut fields.queue_offset,
                b"transactionId" => &mut fields.transaction_id,
                b"recallHandle" => &mut fields.recall_handle,
                b"MSG_REGION" => &mut fields.region,
                b"TRACE_ON" => &mut fields.trace_on,
                _ => continue,
            };
            *field = Field(Some(value));
        }
        Ok(Self {
            message_id: fields.message_id.text("msgId")?,
            queue_id: fields.queue_id.i32("queueId")?,
            queue_offset: fields.queue_offset.i64("queueOffset")?,
            transaction_id: fields.transaction_id.text_optional(),
            recall_handle: fields.recall_handle.text_optional(),
            region: fields.region.text_optional(),
            trace_on: fields.trace_on.bool(),
        })
    }
}

#[derive(Default)]
struct SendAnswerFields<'a> {
    message_id: Field<'a>,
    queue_id: Field<'a>,
    queue_offset: Field<'a>,
    transaction_id: Field<'a>,
    recall_handle: Field<'a>,
    region: Field<'a>,
    trace_on: Field<'a>,
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
            let numbers = table.numbers();
            return Ok(Self {
                suggest_which_broker_id: numbers.suggest_which_broker_id(),
                next_begin_offset: numbers.next_begin_offset(),
                min_offset: numbers.min_offset(),
                max_offset: numbers.max_offset(),
                topic_sys_flag: numbers.topic_sys_flag(),
                group_sys_flag: numbers.group_sys_flag(),
            });
        }
        let mut fields = PullAnswerFields::default();
        for (key, value) in command.ext.iter() {
            let field = match key.raw() {
                b"suggestWhichBrokerId" => &mut fields.suggest_which_broker_id,
                b"nextBeginOffset" => &mut fields.next_begin_offset,
                b"minOffset" => &mut fields.min_offset,
                b"maxOffset" => &mut fields.max_offset,
                b"topicSysFlag" => &mut fields.topic_sys_flag,
                b"groupSysFlag" => &mut fields.group_sys_flag,
                _ => continue,
            };
            *field = Field(Some(value));
        }
        Ok(Self {
            suggest_which_broker_id: fields.suggest_which_broker_id.i64("suggestWhichBrokerId")?,
            next_begin_offset: fields.next_begin_offset.i64("nextBeginOffset")?,
            min_offset: fields.min_offset.i64("minOffset")?,
            max_offset: fields.max_offset.i64("maxOffset")?,
            topic_sys_flag: fields.topic_sys_flag.i32_optional("topicSysFlag")?.unwrap_or(0),
            group_sys_flag: fields.group_sys_flag.i32_optional("groupSysFlag")?.unwrap_or(0),
        })
    }
}

#[derive(Default)]
struct PullAnswerFields<'a> {
    suggest_which_broker_id: Field<'a>,
    next_begin_offset: Field<'a>,
    min_offset: Field<'a>,
    max_offset: Field<'a>,
    topic_sys_flag: Field<'a>,
    group_sys_flag: Field<'a>,
}
