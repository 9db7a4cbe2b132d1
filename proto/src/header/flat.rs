//! Our flatbuffers header.

use super::HeaderError;
use crate::command::Command;

pub(crate) fn decode(header: &[u8]) -> Result<Command<'_>, HeaderError> {
    Err(HeaderError::Truncated { at: header.len() })
}
