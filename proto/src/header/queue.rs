//! Headers that ask about one queue: codes 29, 30, 31 and 32.

use super::{Excerpt, Field, HeaderError};
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
        let mut topic = Field::named("topic");
        let mut queue_id = Field::named("queueId");
        let mut timestamp = Field::named("timestamp");
        let mut boundary = Field::named("boundaryType");
        let mut committed = Field::named("committed");
        for (key, value) in command.ext.iter() {
            match key.raw() {
                b"topic" | b"Topic" => topic.set(value),
                b"queueId" | b"QueueId" => queue_id.set(value),
                b"timestamp" | b"Timestamp" => timestamp.set(value),
                b"boundaryType" => boundary.set(value),
                b"committed" => committed.set(value),
                _ => {}
            }
        }
        Ok(Self {
            topic: topic.text()?,
            queue_id: queue_id.i32()?,
            timestamp: timestamp.i64_optional()?,
            boundary: boundary_of(boundary)?,
            committed: committed.bool_optional(),
        })
    }
}

fn boundary_of(field: Field<'_>) -> Result<Boundary, HeaderError> {
    match field.text_optional() {
        None => Ok(Boundary::Lower),
        Some(text) if text.raw().eq_ignore_ascii_case(b"lower") => Ok(Boundary::Lower),
        Some(text) if text.raw().eq_ignore_ascii_case(b"upper") => Ok(Boundary::Upper),
        Some(text) => Err(HeaderError::Invalid { field: field.name, found: Excerpt::of(text) }),
    }
}
