//! Apache's binary header (`RocketMQSerializable`, 5.3.3).
//!
//! ```text
//! i16 code | i8 language | i16 version | i32 opaque | i32 flag
//! i32 remark bytes, remark
//! i32 map bytes, { i16 key bytes, key, i32 value bytes, value } until they are used up
//! ```

use super::HeaderError;
use crate::command::Command;
use crate::language::Language;
use crate::text::Text;

/// Decodes a binary header.
pub(crate) fn decode<'a>(header: &'a [u8], command: &mut Command<'a>) -> Result<(), HeaderError> {
    let mut reader = Reader { rest: header, header_bytes: header.len() };
    command.code = i32::from(reader.i16()?);
    let [language] = reader.array()?;
    command.language = Language::from_code(language);
    command.version = i32::from(reader.i16()?);
    command.opaque = reader.i32()?;
    command.flag = reader.i32()?;
    let remark_bytes = reader.i32()?;
    let remark = reader.bytes("remark", remark_bytes)?;
    command.remark = (!remark.is_empty()).then_some(Text::plain(remark));
    let map_bytes = reader.i32()?;
    let map = reader.bytes("extFields", map_bytes)?;
    let mut map = Reader { rest: map, header_bytes: header.len() };
    while !map.rest.is_empty() {
        let key_bytes = i32::from(map.i16()?);
        let key = map.bytes("key", key_bytes)?;
        let value_bytes = map.i32()?;
        let value = map.bytes("value", value_bytes)?;
        // Java reads an empty string as null, and a null key or value is no entry.
        if !key.is_empty() && !value.is_empty() {
            command.ext.push(Text::plain(key), Text::plain(value))?;
        }
    }
    Ok(())
}

struct Reader<'a> {
    rest: &'a [u8],
    header_bytes: usize,
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (array, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(HeaderError::Truncated { at: self.header_bytes })?;
        self.rest = rest;
        Ok(*array)
    }

    fn i16(&mut self) -> Result<i16, HeaderError> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, HeaderError> {
        self.array().map(i32::from_be_bytes)
    }

    fn bytes(&mut self, what: &'static str, length: i32) -> Result<&'a [u8], HeaderError> {
        let split = usize::try_from(length).ok().and_then(|at| self.rest.split_at_checked(at));
        let Some((bytes, rest)) = split else {
            let found = i64::from(length);
            return Err(HeaderError::LengthBeyond { what, found, left: self.rest.len() });
        };
        self.rest = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Encoding, Frame};

    /// Header of appendix A of the protocol notes: route of TBW102.
    const ROUTE: &[u8] =
        b"\0\x69\0\x01\xDF\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x11\0\x05topic\0\0\0\x06TBW102";

    fn decode(header: &[u8]) -> Result<Command<'_>, HeaderError> {
        Command::decode(&Frame { encoding: Encoding::Binary, header, body: b"" })
    }

    fn check(header: &[u8], expect: Result<&str, HeaderError>) {
        let found = decode(header).map(|command| format!("{} {:?}", command.code, command.ext));
        assert_eq!(found.as_deref().map_err(Clone::clone), expect, "{header:?}");
    }

    fn patched(at: usize, byte: u8) -> Vec<u8> {
        let mut header = ROUTE.to_vec();
        header[at] = byte;
        header
    }

    #[test]
    fn header_is_read() {
        check(ROUTE, Ok(r#"105 {"topic": "TBW102"}"#));
        check(&patched(0, 0xFF), Ok(r#"-151 {"topic": "TBW102"}"#));
        let command = decode(ROUTE).unwrap();
        assert_eq!((command.version, command.opaque, command.flag), (479, 1, 0));
        assert_eq!((command.language, command.remark), (Some(Language::Java), None));
    }

    #[test]
    fn empty_keys_and_values_are_no_fields() {
        let map = b"\0\0\0\0\0\x01v\0\x01k\0\0\0\0\0\x01a\0\0\0\x01b";
        let mut header = ROUTE[..17].to_vec();
        header.extend_from_slice(&(map.len() as u32).to_be_bytes());
        header.extend_from_slice(map);
        check(&header, Ok(r#"105 {"a": "b"}"#));
    }

    #[test]
    fn lengths_beyond_the_header_are_refused() {
        for length in 0..21 {
            check(&ROUTE[..length], Err(HeaderError::Truncated { at: length }));
        }
        let beyond = |what, found, left| Err(HeaderError::LengthBeyond { what, found, left });
        check(&patched(13, 0x80), beyond("remark", -0x8000_0000, 21));
        check(&patched(16, 22), beyond("remark", 22, 21));
        check(&patched(20, 18), beyond("extFields", 18, 17));
        check(&patched(21, 0x80), beyond("key", -32763, 15));
        check(&patched(31, 7), beyond("value", 7, 6));
        check(&patched(20, 1), Err(HeaderError::Truncated { at: ROUTE.len() }));
    }
}
