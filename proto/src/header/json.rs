//! fastjson's dialect of a command header, read in one pass.
//!
//! Accepted beyond JSON, as fastjson 1.2.83 does: unquoted and single-quoted keys, numbers and
//! booleans in quotes or bare, trailing commas, comments. Commas are passed over, not demanded.
//! Unknown keys are skipped with their values.

use super::{Excerpt, HeaderError};
use crate::command::Command;
use crate::ext::Span;
use crate::language::Language;
use crate::limits::JSON_DEPTH_MAX;
use crate::swar;
use crate::text::Escapes;

/// Decodes a JSON header.
pub(crate) fn decode<'a>(header: &'a [u8], command: &mut Command<'a>) -> Result<(), HeaderError> {
    Scanner { bytes: header, at: 0 }.command(command).map_err(|fault| *fault)
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
            match key.text(self.bytes).raw() {
                b"code" => command.code = self.integer("code")?,
                b"extFields" => self.ext_fields(command)?,
                b"flag" => command.flag = self.integer("flag")?,
                b"language" => command.language = self.language()?,
                b"opaque" => command.opaque = self.integer("opaque")?,
                b"remark" => command.remark = self.value()?.map(|value| value.text(self.bytes)),
                b"version" => command.version = self.integer("version")?,
                _ => {
                    self.value()?;
                }
            }
        }
        self.end()
    }

    fn ext_fields(&mut self, command: &mut Command<'a>) -> Result<(), Fault> {
        command.ext.clear();
        if self.token()? != b'{' {
            return match self.value()? {
                None => Ok(()),
                Some(value) => Err(self.invalid("extFields", value)),
            };
        }
        self.at += 1;
        loop {
            while let Some((key, value, next)) = plain_pair(self.bytes, self.at) {
                command.ext.push_spans(key, value)?;
                self.at = next;
            }
            let Some(key) = self.key()? else { return Ok(()) };
            if let Some(value) = self.value()? {
                command.ext.push_spans(key, value)?;
            }
        }
    }

    /// The next key of the object that is open and the colon behind it, or `None` at its end.
    #[inline]
    fn key(&mut self) -> Result<Option<Span>, Fault> {
        if let Some((key, next)) = plain_key(self.bytes, self.at) {
            self.at = next;
            return Ok(Some(key));
        }
        self.any_key()
    }

    fn any_key(&mut self) -> Result<Option<Span>, Fault> {
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
    #[inline]
    fn value(&mut self) -> Result<Option<Span>, Fault> {
        if let Some((value, next)) = plain_string(self.bytes, self.at) {
            self.at = next;
            return Ok(Some(value));
        }
        self.any_value()
    }

    fn any_value(&mut self) -> Result<Option<Span>, Fault> {
        match self.token()? {
            quote @ (b'"' | b'\'') => self.string(quote).map(Some),
            b'{' | b'[' => self.nested().map(Some),
            _ => self.literal(),
        }
    }

    /// A number, a truth value or null.
    fn literal(&mut self) -> Result<Option<Span>, Fault> {
        let start = self.at;
        let value = self.bare()?;
        match value.text(self.bytes).raw() {
            b"null" => Ok(None),
            b"true" | b"false" | [b'0'..=b'9' | b'-' | b'+' | b'.', ..] => Ok(Some(value)),
            _ => Err(self.unexpected_at(start)),
        }
    }

    /// A number, perhaps in quotes; null is 0.
    fn integer(&mut self, field: &'static str) -> Result<i32, Fault> {
        if let Some((number, next)) = plain_integer(self.bytes, self.at) {
            self.at = next;
            return Ok(number);
        }
        let Some(value) = self.value()? else { return Ok(0) };
        value.text(self.bytes).parse_i32().map_err(|_| self.invalid(field, value))
    }

    /// An enum name, or its ordinal as fastjson reads one.
    fn language(&mut self) -> Result<Option<Language>, Fault> {
        let Some(value) = self.value()? else { return Ok(None) };
        let text = value.text(self.bytes);
        if text.raw() == b"JAVA" {
            return Ok(Some(Language::Java));
        }
        let by_name = text.as_str().and_then(Language::from_name);
        let code = || text.parse_i32().ok().and_then(|code| u8::try_from(code).ok());
        Ok(by_name.or_else(|| code().and_then(Language::from_code)))
    }

    /// The string that begins at the quote under the cursor.
    fn string(&mut self, quote: u8) -> Result<Span, Fault> {
        let (span, next) = string_at(self.bytes, self.at, quote).ok_or_else(|| self.truncated())?;
        self.at = next;
        Ok(span)
    }

    /// A number, a literal or an unquoted key: everything up to a separator.
    fn bare(&mut self) -> Result<Span, Fault> {
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let length = rest.iter().position(|&byte| !is_bare(byte));
        let Some(length) = length else { return Err(self.truncated()) };
        if length == 0 {
            return Err(self.unexpected());
        }
        self.at += length;
        Ok(Span::between(start, self.at, Escapes::None))
    }

    /// An object or array, skipped with whatever is in it; its text is the value.
    fn nested(&mut self) -> Result<Span, Fault> {
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
                        return Ok(Span::between(start, self.at, Escapes::None));
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

    /// Nothing but white space and comments may follow.
    fn end(&mut self) -> Result<(), Fault> {
        if self.at == self.bytes.len() {
            return Ok(());
        }
        match self.token() {
            Ok(_) => Err(self.unexpected()),
            Err(fault) if matches!(*fault, HeaderError::Truncated { .. }) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    #[cold]
    fn invalid(&self, field: &'static str, found: Span) -> Fault {
        let found = Excerpt::of(found.text(self.bytes));
        Box::new(HeaderError::Invalid { field, found })
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

// What follows reads a header as all clients but one write it: double quotes, no white space. The
// functions take and return a place instead of moving the scanner, so that it stays in a register;
// `None` is anything else, which the scanner then looks into.

/// `"key":"value"`, perhaps behind a comma.
#[inline]
fn plain_pair(bytes: &[u8], at: usize) -> Option<(Span, Span, usize)> {
    let (key, at) = plain_key(bytes, at)?;
    let (value, at) = plain_string(bytes, at)?;
    Some((key, value, at))
}

/// `"key":`, perhaps behind a comma.
#[inline(always)]
fn plain_key(bytes: &[u8], at: usize) -> Option<(Span, usize)> {
    let at = if bytes.get(at) == Some(&b',') { at + 1 } else { at };
    let (key, at) = plain_string(bytes, at)?;
    (bytes.get(at) == Some(&b':')).then_some((key, at + 1))
}

/// A number of at most 9 digits, which cannot overflow, with what ends it.
#[inline]
fn plain_integer(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let mut number: i32 = 0;
    for (index, &byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        match byte {
            b'0'..=b'9' if index < 9 => number = number * 10 + i32::from(byte - b'0'),
            b',' | b'}' if index > 0 => return Some((number, at + index)),
            _ => return None,
        }
    }
    None
}

/// The string between double quotes at `at`.
#[inline]
fn plain_string(bytes: &[u8], at: usize) -> Option<(Span, usize)> {
    match bytes.get(at..)? {
        // Half of the texts of a send are one character: a branch guessed right takes no search.
        [b'"', character, b'"', ..] if !matches!(character, b'"' | b'\\') => {
            Some((Span::between(at + 1, at + 2, Escapes::None), at + 3))
        }
        [b'"', ..] => string_at(bytes, at, b'"'),
        _ => None,
    }
}

/// The string that begins with the quote at `at`, and where it ends; `None` if it does not.
#[inline]
fn string_at(bytes: &[u8], at: usize, quote: u8) -> Option<(Span, usize)> {
    let start = at + 1;
    let mut from = start;
    let mut escapes = Escapes::None;
    loop {
        let end = swar::find_either(bytes, from, quote, b'\\')?;
        if bytes.get(end) == Some(&quote) {
            return Some((Span::between(start, end, escapes), end + 1));
        }
        escapes = Escapes::Json;
        from = end + 2;
    }
}

/// Characters of numbers, literals and unquoted names.
fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | b'+' | b'.') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Encoding, Frame};
    use crate::text::Text;

    fn decode(header: &[u8]) -> Result<Command<'_>, HeaderError> {
        Command::decode(&Frame { encoding: Encoding::Json, header, body: b"" })
    }

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
