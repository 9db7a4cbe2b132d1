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

mod answer;
mod broker;
mod consumer;
mod pull;
mod queue;
mod send;
mod topic;

pub use answer::{PullAnswer, SendAnswer};
pub use broker::{
    QueryDataVersionHeader, RegisterBrokerHeader, RouteHeader, UnregisterBrokerHeader,
};
pub use consumer::{
    ConsumerListHeader, QueryOffsetHeader, SendBackHeader, UnregisterClientHeader,
    UpdateOffsetHeader,
};
pub use pull::PullHeader;
pub use queue::{Boundary, QueueHeader};
pub use send::SendHeader;
pub use topic::CreateTopicHeader;

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
    FlatInvalid(#[from] flatbuffers::InvalidFlatbuffer),
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

/// A field of a typed header while its entries are walked through: name and value, if seen.
///
/// Typed headers are read in one pass over the entries with a `match` on the key, not with a search
/// for each field; this is where the value waits for its type.
#[derive(Clone, Copy)]
struct Field<'a> {
    name: &'static str,
    value: Option<Text<'a>>,
}

impl<'a> Field<'a> {
    const fn named(name: &'static str) -> Self {
        Self { name, value: None }
    }

    /// The field of that name by a search, for headers that are not on the message path.
    fn find(command: &Command<'a>, name: &'static str) -> Self {
        Self { name, value: command.ext.get(name) }
    }

    fn set(&mut self, value: Text<'a>) {
        self.value = Some(value);
    }

    fn text(self) -> Result<Text<'a>, HeaderError> {
        self.value.ok_or(HeaderError::Missing { field: self.name })
    }

    /// An absent and an empty text are the same: the C++ client writes empty ones.
    fn text_optional(self) -> Option<Text<'a>> {
        self.value.filter(|text| !text.is_empty())
    }

    fn i32(self) -> Result<i32, HeaderError> {
        let text = self.text()?;
        text.parse_i32().map_err(|_| self.invalid(text))
    }

    fn i64(self) -> Result<i64, HeaderError> {
        let text = self.text()?;
        text.parse_i64().map_err(|_| self.invalid(text))
    }

    fn i32_optional(self) -> Result<Option<i32>, HeaderError> {
        self.text_optional()
            .map(|text| text.parse_i32().map_err(|_| self.invalid(text)))
            .transpose()
    }

    fn i64_optional(self) -> Result<Option<i64>, HeaderError> {
        self.text_optional()
            .map(|text| text.parse_i64().map_err(|_| self.invalid(text)))
            .transpose()
    }

    /// An absent boolean is false.
    fn bool(self) -> bool {
        self.value.is_some_and(|text| text.parse_bool())
    }

    fn bool_optional(self) -> Option<bool> {
        self.text_optional().map(|text| text.parse_bool())
    }

    fn invalid(self, found: Text<'a>) -> HeaderError {
        HeaderError::Invalid { field: self.name, found: Excerpt::of(found) }
    }
}
