//! Header of 370 RECALL_MESSAGE.

use super::{Fields, HeaderError};
use crate::command::Command;
use crate::text::Text;

/// Apache's `RecallMessageRequestHeader` (370).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecallHeader<'a> {
    /// Topic of the message.
    pub topic: Text<'a>,
    /// What the answer to its send had: a [`RecallHandle`](crate::recall::RecallHandle).
    pub handle: Text<'a>,
}

impl<'a> RecallHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self { topic: fields.text("topic")?, handle: fields.text("recallHandle")? })
    }
}
