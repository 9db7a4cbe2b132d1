//! Our flatbuffers header (`schema/remoting.fbs`): verified, then read in place.

use flatbuffers::VerifierOptions;

use super::{HeaderError, Typed};
use crate::command::Command;
use crate::generated::{self, Typed as Tag};
use crate::language::Language;
use crate::limits::{EXT_FIELDS_MAX, READ_HEADER_BYTES_MAX};
use crate::text::Text;

/// What the verifier follows: a command, its typed table and its fields, none of them nested
/// deeper; and no more bytes than a header has, however often it points at the same ones.
const VERIFIER: VerifierOptions = VerifierOptions {
    max_depth: 8,
    max_tables: EXT_FIELDS_MAX + 3,
    max_apparent_size: READ_HEADER_BYTES_MAX,
    ignore_missing_null_terminator: false,
};

/// Decodes a flatbuffers header.
pub(crate) fn decode<'a>(header: &'a [u8], command: &mut Command<'a>) -> Result<(), HeaderError> {
    let table = generated::root_as_command_with_opts(&VERIFIER, header)
        .map_err(|error| HeaderError::FlatInvalid(Box::new(error)))?;
    let head = table.head();
    command.code = head.code();
    command.opaque = head.opaque();
    command.flag = head.flag();
    command.version = head.version();
    command.language = Language::from_code(head.language());
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
    Ok(())
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

#[cfg(test)]
mod tests {
    use flatbuffers::FlatBufferBuilder;

    use super::*;
    use crate::frame::{Encoding, Frame};
    use crate::generated::{
        CommandArgs, CommandHead, ExtField, ExtFieldArgs, SendNumbers, SendRequest, SendRequestArgs,
    };
    use crate::header::SendHeader;

    fn decode(header: &[u8]) -> Result<Command<'_>, HeaderError> {
        Command::decode(&Frame { encoding: Encoding::Flat, header, body: b"" })
    }

    /// A command with its fields in a map, made by flatc's builder.
    fn generic(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| {
                let key = Some(builder.create_string(key));
                let value = Some(builder.create_string(value));
                ExtField::create(&mut builder, &ExtFieldArgs { key, value })
            })
            .collect();
        let ext_fields = Some(builder.create_vector(&fields));
        let remark = Some(builder.create_string("why"));
        let head = CommandHead::new(38, -1, 1, 479, 9);
        let args = CommandArgs { head: Some(&head), ext_fields, remark, ..Default::default() };
        let root = generated::Command::create(&mut builder, &args);
        generated::finish_command_buffer(&mut builder, root);
        builder.finished_data().to_vec()
    }

    #[test]
    fn what_flatc_builds_is_read() {
        let header = generic(&[("consumerGroup", "CG"), ("empty", "")]);
        let command = decode(&header).unwrap();
        assert_eq!((command.code, command.opaque), (38, -1));
        assert_eq!((command.flag, command.version), (1, 479));
        assert_eq!(command.language, Some(Language::Go));
        assert_eq!(command.remark, Some(Text::plain(b"why")));
        assert_eq!(command.ext.get("consumerGroup"), Some(Text::plain(b"CG")));
        assert_eq!(command.ext.get("empty"), Some(Text::EMPTY));
    }

    /// A field that is there once may be named often: what is read of a header is no longer than a header.
    #[test]
    fn a_field_that_is_named_often_counts_as_often() {
        let with_fields = |count: usize, bytes: usize| {
            let mut builder = FlatBufferBuilder::new();
            let key = Some(builder.create_string("key"));
            let value = Some(builder.create_string(&"x".repeat(bytes)));
            let field = ExtField::create(&mut builder, &ExtFieldArgs { key, value });
            let ext_fields = Some(builder.create_vector(&vec![field; count]));
            let head = CommandHead::new(307, 1, 0, 479, 0);
            let args = CommandArgs { head: Some(&head), ext_fields, ..Default::default() };
            let root = generated::Command::create(&mut builder, &args);
            generated::finish_command_buffer(&mut builder, root);
            builder.finished_data().to_vec()
        };
        assert!(decode(&with_fields(60, 30_000)).is_ok(), "1.8 MB");
        let long = with_fields(60, 250_000);
        let refused = decode(&long);
        assert!(matches!(refused, Err(HeaderError::FlatInvalid(_))), "15 MB");
    }

    #[test]
    fn typed_table_that_flatc_builds_is_read() {
        let mut builder = FlatBufferBuilder::new();
        let numbers = SendNumbers::new(1, 4, -1, 0, 0, 0, false, true);
        let args = SendRequestArgs {
            producer_group: Some(builder.create_string("PG")),
            topic: Some(builder.create_string("T")),
            default_topic: Some(builder.create_string("TBW102")),
            numbers: Some(&numbers),
            ..Default::default()
        };
        let send = SendRequest::create(&mut builder, &args).as_union_value();
        let args = CommandArgs {
            head: Some(&CommandHead::new(320, 1, 0, 479, 0)),
            typed_type: Tag::SendRequest,
            typed: Some(send),
            ..Default::default()
        };
        let root = generated::Command::create(&mut builder, &args);
        generated::finish_command_buffer(&mut builder, root);
        let command = decode(builder.finished_data()).unwrap();
        let send = SendHeader::parse(&command).unwrap();
        assert_eq!(send.topic, Text::plain(b"T"));
        assert_eq!((send.queue_id, send.batch, send.max_reconsume_times), (-1, true, None));
        assert!(send.properties.is_empty());
    }

    #[test]
    fn what_the_verifier_refuses_is_an_error() {
        let is_refused = |header: &[u8]| matches!(decode(header), Err(HeaderError::FlatInvalid(_)));
        let header = generic(&[("k", "v")]);
        // The last bytes are padding, which nobody misses.
        for length in 0..header.len() - 3 {
            assert!(is_refused(&header[..length]), "{length}");
        }
        let fields = [("k", "v"); EXT_FIELDS_MAX];
        assert!(decode(&generic(&fields)).is_ok());
        assert!(is_refused(&generic(&[("k", "v"); EXT_FIELDS_MAX + 3])));
        let over = decode(&generic(&[("k", "v"); EXT_FIELDS_MAX + 1])).err();
        assert_eq!(over, Some(HeaderError::TooManyExtFields { max: EXT_FIELDS_MAX }));
    }
}
