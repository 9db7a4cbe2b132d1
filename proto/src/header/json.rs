//! fastjson's dialect of a command header, read in one pass.
//!
//! Accepted beyond JSON, as fastjson 1.2.83 does: unquoted and single-quoted keys, numbers and
//! booleans in quotes or bare, trailing commas, comments. Commas are passed over, not demanded.
//! Unknown keys are skipped with their values.

use super::{Excerpt, HeaderError};
use crate::command::Command;
use crate::frame::Encoding;
use crate::language::Language;
use crate::limits::JSON_DEPTH_MAX;
use crate::swar;
use crate::text::{Escapes, Text};

/// Decodes a JSON header.
pub(crate) fn decode(header: &[u8]) -> Result<Command<'_>, HeaderError> {
    let mut command = Command::over(header, Encoding::Json);
    Scanner { bytes: header, at: 0 }.command(&mut command).map_err(|fault| *fault)?;
    Ok(command)
}

/// What is wrong, boxed so that the many small results of a scan stay small.
type Fault = Box<HeaderError>;

/// A position in the header.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn command(mut self, command: &mut Command<'a>) -> Result<(), Fault> {
        self.expect(b'{')?;
        while let Some(key) = self.key()? {
            match key.raw() {
                b"code" => command.code = self.integer("code")?,
                b"extFields" => self.ext_fields(command)?,
                b"flag" => command.flag = self.integer("flag")?,
                b"language" => command.language = self.language()?,
                b"opaque" => command.opaque = self.integer("opaque")?,
                b"remark" => command.remark = self.value()?,
                b"version" => command.version = self.integer("version")?,
                _ => {
                    self.value()?;
                }
            }
        }
        self.end()
    }

    /// The next key of the object that is open and the colon behind it, or `None` at its end.
    fn key(&mut self) -> Result<Option<Text<'a>>, Fault> {
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
    fn value(&mut self) -> Result<Option<Text<'a>>, Fault> {
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
    fn integer(&mut self, field: &'static str) -> Result<i32, Fault> {
        let Some(text) = self.value()? else { return Ok(0) };
        text.parse_i32().map_err(|_| Self::invalid(field, text))
    }

    /// An enum name, or its ordinal as fastjson reads one.
    fn language(&mut self) -> Result<Option<Language>, Fault> {
        let Some(text) = self.value()? else { return Ok(None) };
        let by_name = text.as_str().and_then(Language::from_name);
        let code = || text.parse_i32().ok().and_then(|code| u8::try_from(code).ok());
        Ok(by_name.or_else(|| code().and_then(Language::from_code)))
    }

    fn ext_fields(&mut self, command: &mut Command<'a>) -> Result<(), Fault> {
        command.ext.clear();
        if self.token()? != b'{' {
            return match self.value()? {
                None => Ok(()),
                Some(text) => Err(Self::invalid("extFields", text)),
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
    #[inline]
    fn string(&mut self, quote: u8) -> Result<Text<'a>, Fault> {
        let start = self.at + 1;
        let mut from = start;
        let mut escapes = Escapes::None;
        loop {
            let found = swar::find_either(self.bytes, from, quote, b'\\');
            let Some(at) = found else { return Err(self.truncated()) };
            if self.bytes.get(at) == Some(&quote) {
                self.at = at + 1;
                return Ok(Text::json(self.bytes.get(start..at).unwrap_or_default(), escapes));
            }
            escapes = Escapes::Json;
            from = at + 2;
        }
    }

    /// A number, a literal or an unquoted key: everything up to a separator.
    fn bare(&mut self) -> Result<Text<'a>, Fault> {
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
    fn nested(&mut self) -> Result<Text<'a>, Fault> {
        let start = self.at;
        // One bit for each open bracket: 1 for an object, 0 for an array.
        let mut open: u64 = 0;
        let mut depth = 0;
        loop {
            let byte = self.token()?;
            match byte {
                b'{' | b'[' => {
                    if depth == JSON_DEPTH_MAX {
                        let deep = HeaderError::TooDeep { at: self.at, max: JSON_DEPTH_MAX };
                        return Err(Box::new(deep));
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
    #[inline]
    fn token(&mut self) -> Result<u8, Fault> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte > b'/' || byte == b'"' || byte == b',' => Ok(byte),
            _ => self.token_behind_space(),
        }
    }

    fn token_behind_space(&mut self) -> Result<u8, Fault> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'/') => self.comment()?,
                Some(&byte) => return Ok(byte),
                None => return Err(self.truncated()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), Fault> {
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

    fn expect(&mut self, wanted: u8) -> Result<(), Fault> {
        if self.token()? != wanted {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but white space may follow.
    fn end(&mut self) -> Result<(), Fault> {
        match self.token() {
            Ok(_) => Err(self.unexpected()),
            Err(fault) if matches!(*fault, HeaderError::Truncated { .. }) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    #[cold]
    fn invalid(field: &'static str, text: Text<'a>) -> Fault {
        Box::new(HeaderError::Invalid { field, found: Excerpt::of(text) })
    }

    #[cold]
    fn truncated(&self) -> Fault {
        Box::new(HeaderError::Truncated { at: self.bytes.len() })
    }

    #[cold]
    fn unexpected(&self) -> Fault {
        self.unexpected_at(self.at)
    }

    #[cold]
    fn unexpected_at(&self, at: usize) -> Fault {
        let found = self.bytes.get(at).copied().unwrap_or_default();
        Box::new(HeaderError::Unexpected { at, found })
    }
}

/// Characters of numbers, literals and unquoted names.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | b'+' | b'.') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code, opaque and ext of a header, as text.
    fn check(header: &str, expect: Result<&str, HeaderError>) {
        let found = decode(header.as_bytes())
            .map(|command| format!("{} {} {:?}", command.code, command.opaque, command.ext));
        assert_eq!(found.as_deref().map_err(Clone::clone), expect, "{header}");
    }

    #[test]
    fn fastjson_dialect_is_read() {
        check("{}", Ok("0 0 {}"));
        check(r#"{"code":11,"opaque":-7}"#, Ok("11 -7 {}"));
        check(" {\t\"code\" : 11 ,\r\n \"opaque\":\"7\" } \n", Ok("11 7 {}"));
        check("{code:11,'opaque':7,}", Ok("11 7 {}"));
        check("{,code:11,,opaque:7}", Ok("11 7 {}"));
        check("{/* c */code:11,// c\nopaque:7}", Ok("11 7 {}"));
        check(r#"{"opaque":7,"extFields":null,"code":null}"#, Ok("0 7 {}"));
        check(r#"{"extFields":{},"code":1}"#, Ok("1 0 {}"));
        let ext = r#"{"extFields":{"a":"x","b":3,"c":true,"d":null,"e":-1.5e3,'f':'y"',g:""}}"#;
        check(
            ext,
            Ok(r#"0 0 {"a": "x", "b": "3", "c": "true", "e": "-1.5e3", "f": "y\"", "g": ""}"#),
        );
        check(r#"{"extFields":{"a":{"b":["}",1]}}}"#, Ok(r#"0 0 {"a": "{\"b\":[\"}\",1]}"}"#));
        check(r#"{"extFields":{"a":"1"},"extFields":{"b":"2"}}"#, Ok(r#"0 0 {"b": "2"}"#));
        let unknown = r#"{"x":{"code":1,"y":[{"code":2}]},"z":"}","code":3,"w":[1,2]}"#;
        check(unknown, Ok("3 0 {}"));
        check(r#"{"extFields":{"a":"\"\\\u0041"}}"#, Ok(r#"0 0 {"a": "\"\\A"}"#));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let truncated = |at| Err(HeaderError::Truncated { at });
        let unexpected = |at, found| Err(HeaderError::Unexpected { at, found });
        for header in ["", " ", "{", r#"{"code""#, r#"{"code":"#, r#"{"code":1"#, r#"{"a":"b\"}"#] {
            check(header, truncated(header.len()));
        }
        check("[]", unexpected(0, b'['));
        check("{}x", unexpected(2, b'x'));
        check("{}/x", unexpected(2, b'/'));
        check(r#"{"a" 1}"#, unexpected(5, b'1'));
        check(r#"{"a":}"#, unexpected(5, b'}'));
        check(r#"{"a":nope}"#, unexpected(5, b'n'));
        check(r#"{"a":[1}}"#, unexpected(7, b'}'));
        let found = Excerpt::of(Text::plain(b"x1"));
        check(r#"{"code":"x1"}"#, Err(HeaderError::Invalid { field: "code", found }));
        let found = Excerpt::of(Text::plain(b"2147483648"));
        check(r#"{"opaque":2147483648}"#, Err(HeaderError::Invalid { field: "opaque", found }));
        let found = Excerpt::of(Text::plain(b"[]"));
        check(r#"{"extFields":[]}"#, Err(HeaderError::Invalid { field: "extFields", found }));
    }

    #[test]
    fn nesting_and_fields_are_bounded() {
        let nested =
            |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        check(&nested(JSON_DEPTH_MAX), Ok("0 0 {}"));
        let at = 5 + JSON_DEPTH_MAX;
        check(&nested(JSON_DEPTH_MAX + 1), Err(HeaderError::TooDeep { at, max: JSON_DEPTH_MAX }));
        let max = crate::limits::EXT_FIELDS_MAX;
        let fields = |count: usize| {
            let fields: Vec<_> = (0..count).map(|index| format!("\"{index}\":1")).collect();
            format!("{{\"extFields\":{{{}}}}}", fields.join(","))
        };
        assert_eq!(decode(fields(max).as_bytes()).unwrap().ext.len(), max);
        check(&fields(max + 1), Err(HeaderError::TooManyExtFields { max }));
    }

    #[test]
    fn unknown_languages_are_none() {
        let check = |language: &str, expect| {
            let header = format!("{{\"language\":{language}}}");
            assert_eq!(decode(header.as_bytes()).unwrap().language, expect, "{language}");
        };
        check("\"GO\"", Some(Language::Go));
        check("\"COBOL\"", None);
        check("1", Some(Language::Cpp));
        check("null", None);
    }
}
