//! Headers that ask about one queue: codes 29, 30, 31 and 32.

use super::{Field, Fields, HeaderError, invalid};
use crate::command::Command;
use crate::text::Text;

/// Apache's `SearchOffsetRequestHeader`, `GetMaxOffsetRequestHeader`, `GetMinOffsetRequestHeader`
/// and `GetEarliestMsgStoretimeRequestHeader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueHeader<'a> {
    /// Topic of the queue.
    pub topic: Text<'a>,
    /// The queue.
    pub queue_id: i32,
    /// Time searched for in milliseconds; only code 29 has it.
    pub timestamp: Option<i64>,
    /// Which side of `timestamp` is wanted; [`Boundary::Lower`] if absent.
    pub boundary: Boundary,
    /// Of code 30: whether uncommitted messages do not count.
    pub committed: Option<bool>,
}

/// Which message a search by time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// The first one stored at that time or later.
    #[default]
    Lower,
    /// The last one stored at that time or earlier.
    Upper,
}

impl<'a> QueueHeader<'a> {
    /// Reads the header.
    ///
    /// Pre-releases of the Go client write `Topic` and `QueueId`.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        let either = |name: &str, other: &str| {
            Field(fields.text_optional(name).or_else(|| fields.text_optional(other)))
        };
        Ok(Self {
            topic: either("topic", "Topic").text("topic")?,
            queue_id: either("queueId", "QueueId").i32("queueId")?,
            timestamp: either("timestamp", "Timestamp").i64_optional("timestamp")?,
            boundary: boundary_of(fields.text_optional("boundaryType"))?,
            committed: fields.bool_optional("committed"),
        })
    }
}

fn boundary_of(text: Option<Text<'_>>) -> Result<Boundary, HeaderError> {
    match text {
        None => Ok(Boundary::Lower),
        Some(text) if text.raw().eq_ignore_ascii_case(b"lower") => Ok(Boundary::Lower),
        Some(text) if text.raw().eq_ignore_ascii_case(b"upper") => Ok(Boundary::Upper),
        Some(text) => Err(invalid("boundaryType", text)),
    }
}
