//! Headers: the three encodings of a command, and typed requests and answers read from one.
//!
//! Each typed header names the Apache class that it stands for. Parsing allocates nothing; values
//! stay borrowed from the frame.

use std::fmt;

use thiserror::Error;

use crate::command::Command;
use crate::generated;
use crate::text::Text;

pub(crate) mod binary;
pub(crate) mod flat;
pub(crate) mod json;

mod admin;
mod answer;
mod broker;
mod consumer;
mod pull;
mod query;
mod queue;
mod recall;
mod send;
mod topic;
mod transaction;

pub use admin::{
    BrokerConsumeStatsHeader, BrokerStatsHeader, CloneOffsetHeader, ConsumerHeader,
    CorrectionOffsetHeader, DeleteGroupHeader, GroupForbiddenHeader, GroupHeader, ProducerHeader,
    ResetOffsetHeader, ResumeCheckHeader, TopicHeader,
};
pub use answer::{PullAnswer, SendAnswer};
pub use broker::{
    QueryDataVersionHeader, RegisterBrokerHeader, RouteHeader, UnregisterBrokerHeader,
};
pub use consumer::{
    ConsumerListHeader, QueryOffsetHeader, SendBackHeader, UnregisterClientHeader,
    UpdateOffsetHeader,
};
pub use pull::PullHeader;
pub use query::{QueryConsumeQueueHeader, QueryMessageHeader, ViewMessageHeader};
pub use queue::{Boundary, QueueHeader};
pub use recall::RecallHeader;
pub use send::{ScannedSend, SendHeader, peek_topic};
pub use topic::CreateTopicHeader;
pub use transaction::EndTransactionHeader;

/// The typed table of a flatbuffers header, if it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Typed<'a> {
    SendRequest(generated::SendRequest<'a>),
    SendAnswer(generated::SendAnswer<'a>),
    PullRequest(generated::PullRequest<'a>),
    PullAnswer(generated::PullAnswer<'a>),
}

/// What every header says, whatever its encoding and its fields, as the writers take it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) code: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) remark: Option<&'a str>,
}

/// Why a header cannot be decoded, or lacks what its request needs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The header ends in the middle of something.
    #[error("header ends at byte {at} before it is complete")]
    Truncated {
        /// Length of the header.
        at: usize,
    },
    /// A byte that JSON, fastjson's dialect of it, has no use for there.
    #[error("unexpected byte {found:#04x} at byte {at} of the JSON header")]
    Unexpected {
        /// Its offset.
        at: usize,
        /// The byte.
        found: u8,
    },
    /// Values nested deeper than we follow.
    #[error("JSON header nested deeper than {max} levels at byte {at}")]
    TooDeep {
        /// Offset of the bracket.
        at: usize,
        /// Limit.
        max: usize,
    },
    /// More `extFields` than we keep.
    #[error("more than {max} extFields")]
    TooManyExtFields {
        /// Limit.
        max: usize,
    },
    /// A length in a binary header points behind its end.
    #[error("{what} of {found} bytes where {left} are left")]
    LengthBeyond {
        /// What the length is of.
        what: &'static str,
        /// The length field.
        found: i64,
        /// Bytes that are left.
        left: usize,
    },
    /// The flatbuffers verifier refused the header.
    #[error("invalid flatbuffers header: {0}")]
    FlatInvalid(Box<flatbuffers::InvalidFlatbuffer>),
    /// A required field is absent.
    #[error("the required field {field} is missing")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field has a value that its type does not.
    #[error("the field {field} has the invalid value '{found}'")]
    Invalid {
        /// Its name.
        field: &'static str,
        /// The beginning of its value.
        found: Excerpt,
    },
}

/// The first bytes of a text from a peer, kept for an error message without allocating.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; Excerpt::BYTES_MAX],
    count: u8,
}

impl Excerpt {
    const BYTES_MAX: usize = 32;

    /// The first bytes of `text`.
    pub fn of(text: Text<'_>) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        let count = bytes.iter_mut().zip(text.raw()).map(|(to, from)| *to = *from).count();
        Self { bytes, count: count as u8 }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.get(..usize::from(self.count)).unwrap_or_default();
        write!(formatter, "{}", bytes.escape_ascii())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "\"{self}\"")
    }
}

/// A field of a typed header, if it has been seen.
///
/// Headers of the message path are read in one pass over the entries, with a `match` on the key and
/// not with a search for each field; this is where a value waits for its type.
#[derive(Clone, Copy, Default)]
struct Field<'a>(Option<Text<'a>>);

impl<'a> Field<'a> {
    fn text(self, name: &'static str) -> Result<Text<'a>, HeaderError> {
        self.0.ok_or(HeaderError::Missing { field: name })
    }

    /// An absent and an empty text are the same: the C++ client writes empty ones.
    fn text_optional(self) -> Option<Text<'a>> {
        self.0.filter(|text| !text.is_empty())
    }

    fn i32(self, name: &'static str) -> Result<i32, HeaderError> {
        let text = self.text(name)?;
        text.parse_i32().map_err(|_| invalid(name, text))
    }

    fn i64(self, name: &'static str) -> Result<i64, HeaderError> {
        let text = self.text(name)?;
        text.parse_i64().map_err(|_| invalid(name, text))
    }

    fn i32_optional(self, name: &'static str) -> Result<Option<i32>, HeaderError> {
        let number = |text: Text<'a>| text.parse_i32().map_err(|_| invalid(name, text));
        self.text_optional().map(number).transpose()
    }

    fn i64_optional(self, name: &'static str) -> Result<Option<i64>, HeaderError> {
        let number = |text: Text<'a>| text.parse_i64().map_err(|_| invalid(name, text));
        self.text_optional().map(number).transpose()
    }

    /// An absent boolean is false.
    fn bool(self) -> bool {
        self.0.is_some_and(|text| text.parse_bool())
    }

    fn bool_optional(self) -> Option<bool> {
        self.text_optional().map(|text| text.parse_bool())
    }
}

#[cold]
fn invalid(field: &'static str, found: Text<'_>) -> HeaderError {
    HeaderError::Invalid { field, found: Excerpt::of(found) }
}

/// Fields found by a search for each, for headers that are not on the message path.
#[derive(Clone, Copy)]
struct Fields<'c, 'a>(&'c Command<'a>);

impl<'a> Fields<'_, 'a> {
    fn field(self, name: &str) -> Field<'a> {
        Field(self.0.ext.get(name))
    }

    fn text(self, name: &'static str) -> Result<Text<'a>, HeaderError> {
        self.field(name).text(name)
    }

    fn text_optional(self, name: &str) -> Option<Text<'a>> {
        self.field(name).text_optional()
    }

    fn i32(self, name: &'static str) -> Result<i32, HeaderError> {
        self.field(name).i32(name)
    }

    fn i64(self, name: &'static str) -> Result<i64, HeaderError> {
        self.field(name).i64(name)
    }

    fn i32_optional(self, name: &'static str) -> Result<Option<i32>, HeaderError> {
        self.field(name).i32_optional(name)
    }

    fn i64_optional(self, name: &'static str) -> Result<Option<i64>, HeaderError> {
        self.field(name).i64_optional(name)
    }

    fn bool(self, name: &str) -> bool {
        self.field(name).bool()
    }

    fn bool_optional(self, name: &str) -> Option<bool> {
        self.field(name).bool_optional()
    }
}
