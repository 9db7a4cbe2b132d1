//! Header of a producer's word on a half message: code 37.

use super::{Fields, HeaderError};
use crate::command::Command;
use crate::text::Text;

/// Apache's `EndTransactionRequestHeader` (37).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTransactionHeader<'a> {
    /// Group of the producer.
    pub producer_group: Text<'a>,
    /// Queue offset of the half message.
    pub half_queue_offset: i64,
    /// Position of the half message.
    pub half_position: i64,
    /// The word, as transaction bits of a system flag: commit, rollback or none.
    pub sys_flag: i32,
    /// Whether it answers a check; false if absent.
    pub from_check: bool,
    /// The client's message id.
    pub message_id: Text<'a>,
}

impl<'a> EndTransactionHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            producer_group: fields.text("producerGroup")?,
            half_queue_offset: fields.i64("tranStateTableOffset")?,
            half_position: fields.i64("commitLogOffset")?,
            sys_flag: fields.i32("commitOrRollback")?,
            from_check: fields.bool("fromTransactionCheck"),
            message_id: fields.text("msgId")?,
        })
    }
}
