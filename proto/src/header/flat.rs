//! Our flatbuffers header (`schema/remoting.fbs`): verified, then read in place.

use flatbuffers::VerifierOptions;

use super::{HeaderError, Typed};
use crate::command::Command;
use crate::frame::Encoding;
use crate::generated::{self, Typed as Tag};
use crate::language::Language;
use crate::limits::{EXT_FIELDS_MAX, HEADER_BYTES_MAX};
use crate::text::Text;

/// What the verifier follows: a command, its typed table and its fields, none of them nested
/// deeper; and no more bytes than a header has, however often it points at the same ones.
const VERIFIER: VerifierOptions = VerifierOptions {
    max_depth: 8,
    max_tables: EXT_FIELDS_MAX + 3,
    max_apparent_size: HEADER_BYTES_MAX,
    ignore_missing_null_terminator: false,
};

/// Decodes a flatbuffers header.
pub(crate) fn decode(header: &[u8]) -> Result<Command<'_>, HeaderError> {
    let table = generated::root_as_command_with_opts(&VERIFIER, header)?;
    let mut command = Command::over(header, Encoding::Flat);
    command.code = table.code();
    command.opaque = table.opaque();
    command.flag = table.flag();
    command.version = table.version();
    command.language = Language::from_code(table.language());
    command.remark = table.remark().map(text);
    for field in table.ext_fields().iter().flatten() {
        command.ext.push(text(field.key()), text(field.value()))?;
    }
    // A tag from a later schema has no accessor here: such a command has no typed table for us.
    command.typed = match table.typed_type() {
        Tag::SendRequest => table.typed_as_send_request().map(Typed::SendRequest),
        Tag::SendAnswer => table.typed_as_send_answer().map(Typed::SendAnswer),
        Tag::PullRequest => table.typed_as_pull_request().map(Typed::PullRequest),
        Tag::PullAnswer => table.typed_as_pull_answer().map(Typed::PullAnswer),
        _ => None,
    };
    Ok(command)
}

/// Text of a flatbuffers string.
pub(super) fn text(value: &str) -> Text<'_> {
    Text::plain(value.as_bytes())
}

/// Text that is absent if it is empty, as in the other encodings.
pub(super) fn text_optional(value: Option<&str>) -> Option<Text<'_>> {
    value.filter(|value| !value.is_empty()).map(text)
}

/// Bytes of a vector; empty if it is absent.
pub(super) fn bytes(value: Option<flatbuffers::Vector<'_, u8>>) -> Text<'_> {
    value.map_or(Text::EMPTY, |value| Text::plain(value.bytes()))
}
