//! fastjson's dialect of a command header, read in one pass.
//!
//! Accepted beyond JSON, as fastjson 1.2.83 does: unquoted and single-quoted keys, numbers and
//! booleans in quotes or bare, trailing commas, comments. Unknown keys are skipped with their values.

use super::{Excerpt, HeaderError};
use crate::command::Command;
use crate::frame::Encoding;
use crate::language::Language;
use crate::limits::JSON_DEPTH_MAX;
use crate::text::{Escapes, Text};

/// Decodes a JSON header.
pub(crate) fn decode(header: &[u8]) -> Result<Command<'_>, HeaderError> {
    let mut command = Command::over(header, Encoding::Json);
    let mut scanner = Scanner { bytes: header, at: 0 };
    scanner.expect(b'{')?;
    while let Some(key) = scanner.key()? {
        match key.raw() {
            b"code" => command.code = scanner.integer("code")?,
            b"extFields" => scanner.ext_fields(&mut command)?,
            b"flag" => command.flag = scanner.integer("flag")?,
            b"language" => command.language = scanner.language()?,
            b"opaque" => command.opaque = scanner.integer("opaque")?,
            b"remark" => command.remark = scanner.value()?,
            b"version" => command.version = scanner.integer("version")?,
            _ => {
                scanner.value()?;
            }
        }
    }
    scanner.end()?;
    Ok(command)
}

/// A position in the header.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The next key of the object that is open and the colon behind it, or `None` at its end.
    fn key(&mut self) -> Result<Option<Text<'a>>, HeaderError> {
        let mut next = self.token()?;
        while next == b',' {
            self.at += 1;
            next = self.token()?;
        }
        let key = match next {
            b'}' => {
                self.at += 1;
                return Ok(None);
            }
            b'"' | b'\'' => self.string(next)?,
            _ => self.bare()?,
        };
        self.expect(b':')?;
        Ok(Some(key))
    }

    /// The next value as text; `None` for null. A nested value is its own JSON text.
    fn value(&mut self) -> Result<Option<Text<'a>>, HeaderError> {
        match self.token()? {
            quote @ (b'"' | b'\'') => self.string(quote).map(Some),
            b'{' | b'[' => self.nested().map(Some),
            _ => {
                let text = self.bare()?;
                match text.raw() {
                    b"null" => Ok(None),
                    b"true" | b"false" | [b'0'..=b'9' | b'-' | b'+' | b'.', ..] => Ok(Some(text)),
                    _ => Err(self.unexpected_at(self.at - text.raw().len())),
                }
            }
        }
    }

    /// A number, perhaps in quotes; null is 0.
    fn integer(&mut self, field: &'static str) -> Result<i32, HeaderError> {
        let Some(text) = self.value()? else { return Ok(0) };
        text.parse_i32().map_err(|_| HeaderError::Invalid { field, found: Excerpt::of(text) })
    }

    /// An enum name, or its ordinal as fastjson reads one.
    fn language(&mut self) -> Result<Option<Language>, HeaderError> {
        let Some(text) = self.value()? else { return Ok(None) };
        let by_name = text.as_str().and_then(Language::from_name);
        let code = || text.parse_i32().ok().and_then(|code| u8::try_from(code).ok());
        Ok(by_name.or_else(|| code().and_then(Language::from_code)))
    }

    fn ext_fields(&mut self, command: &mut Command<'a>) -> Result<(), HeaderError> {
        command.ext.clear();
        if self.token()? != b'{' {
            return match self.value()? {
                None => Ok(()),
                Some(text) => {
                    Err(HeaderError::Invalid { field: "extFields", found: Excerpt::of(text) })
                }
            };
        }
        self.at += 1;
        while let Some(key) = self.key()? {
            if let Some(value) = self.value()? {
                command.ext.push(key, value)?;
            }
        }
        Ok(())
    }

    /// The string that begins at the quote under the cursor.
    fn string(&mut self, quote: u8) -> Result<Text<'a>, HeaderError> {
        let start = self.at + 1;
        let mut at = start;
        let mut escapes = Escapes::None;
        loop {
            match self.bytes.get(at) {
                Some(&byte) if byte == quote => break,
                Some(b'\\') => {
                    escapes = Escapes::Json;
                    at += 2;
                }
                Some(_) => at += 1,
                None => return Err(self.truncated()),
            }
        }
        self.at = at + 1;
        Ok(Text::json(self.bytes.get(start..at).unwrap_or_default(), escapes))
    }

    /// A number, a literal or an unquoted key: everything up to a separator.
    fn bare(&mut self) -> Result<Text<'a>, HeaderError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length =
            rest.iter().position(|&byte| !is_bare(byte)).ok_or_else(|| self.truncated())?;
        if length == 0 {
            return Err(self.unexpected());
        }
        self.at += length;
        Ok(Text::plain(rest.get(..length).unwrap_or_default()))
    }

    /// An object or array, skipped with whatever is in it; its text is the value.
    fn nested(&mut self) -> Result<Text<'a>, HeaderError> {
        let start = self.at;
        // One bit for each open bracket: 1 for an object, 0 for an array.
        let mut open: u64 = 0;
        let mut depth = 0;
        loop {
            let byte = self.token()?;
            match byte {
                b'{' | b'[' => {
                    if depth == JSON_DEPTH_MAX {
                        return Err(HeaderError::TooDeep { at: self.at, max: JSON_DEPTH_MAX });
                    }
                    open = open << 1 | u64::from(byte == b'{');
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    if open & 1 != u64::from(byte == b'}') {
                        return Err(self.unexpected());
                    }
                    open >>= 1;
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        let raw = self.bytes.get(start..self.at).unwrap_or_default();
                        return Ok(Text::plain(raw));
                    }
                }
                b'"' | b'\'' => {
                    self.string(byte)?;
                }
                b',' | b':' => self.at += 1,
                _ => {
                    self.bare()?;
                }
            }
        }
    }

    /// Skips white space and comments; the byte that the cursor then is on.
    fn token(&mut self) -> Result<u8, HeaderError> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'/') => self.comment()?,
                Some(&byte) => return Ok(byte),
                None => return Err(self.truncated()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), HeaderError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = match rest {
            [b'/', b'/', text @ ..] => {
                text.iter().position(|&byte| byte == b'\n').map(|end| end + 3)
            }
            [b'/', b'*', text @ ..] => {
                text.windows(2).position(|pair| pair == b"*/").map(|end| end + 4)
            }
            [_, _, ..] => return Err(self.unexpected()),
            _ => None,
        };
        self.at += length.ok_or_else(|| self.truncated())?;
        Ok(())
    }

    fn expect(&mut self, wanted: u8) -> Result<(), HeaderError> {
        if self.token()? != wanted {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but white space may follow.
    fn end(&mut self) -> Result<(), HeaderError> {
        match self.token() {
            Ok(_) => Err(self.unexpected()),
            Err(HeaderError::Truncated { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn truncated(&self) -> HeaderError {
        HeaderError::Truncated { at: self.bytes.len() }
    }

    fn unexpected(&self) -> HeaderError {
        self.unexpected_at(self.at)
    }

    fn unexpected_at(&self, at: usize) -> HeaderError {
        let found = self.bytes.get(at).copied().unwrap_or_default();
        HeaderError::Unexpected { at, found }
    }
}

/// Characters of numbers, literals and unquoted names.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | b'+' | b'.') || byte >= 0x80
}
