//! Text borrowed from a header, perhaps with JSON escapes in it.
//!
//! A header value is looked at far more often than it is copied, so it stays where it arrived and
//! remembers whether it holds a backslash. Escapes are those that fastjson 1.2.83 reads
//! (`JSONLexerBase.scanString`) and writes (`SerializeWriter.writeStringWithDoubleQuote`).

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use crate::swar;

/// A string value of a header: raw bytes, and whether these contain JSON escapes.
///
/// The bytes are not checked for UTF-8: topics and groups are checked against their own alphabet,
/// properties and bodies are stored as they came.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a [u8],
    escapes: Escapes,
}

/// Whether raw text contains JSON escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// The bytes are the value.
    None,
    /// At least one backslash: the value must be unescaped.
    Json,
}

/// Why a text is not the value it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// A backslash is followed by something that fastjson does not know.
    #[error("invalid JSON escape at byte {at} of the value")]
    EscapeInvalid {
        /// Offset of the backslash.
        at: usize,
    },
    /// Not a decimal integer of the wanted width.
    #[error("not a decimal integer within its range")]
    IntegerInvalid,
}

impl<'a> Text<'a> {
    /// The empty text.
    pub const EMPTY: Text<'static> = Text::plain(b"");

    /// Text whose bytes are its value.
    pub const fn plain(raw: &'a [u8]) -> Self {
        Self { raw, escapes: Escapes::None }
    }

    /// Text as it stands in JSON, between the quotes.
    pub const fn json(raw: &'a [u8], escapes: Escapes) -> Self {
        Self { raw, escapes }
    }

    /// True if the value has no characters.
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The bytes as they arrived, escapes included.
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The value, if it needs no unescaping. Names of topics and groups never do.
    pub fn as_plain(&self) -> Option<&'a [u8]> {
        (self.escapes == Escapes::None).then_some(self.raw)
    }

    /// The value, if it needs no unescaping and is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        self.as_plain().and_then(|raw| std::str::from_utf8(raw).ok())
    }

    /// Appends the value to `out`; allocates only if `out` must grow.
    ///
    /// A lone surrogate becomes `?`, as when Java encodes its string.
    ///
    /// # Errors
    /// [`TextError::EscapeInvalid`]; `out` then holds what came before.
    pub fn unescape_into(&self, out: &mut Vec<u8>) -> Result<(), TextError> {
        match self.escapes {
            Escapes::None => out.extend_from_slice(self.raw),
            Escapes::Json => unescape(self.raw, out)?,
        }
        Ok(())
    }

    /// The value for places off the message path: invalid UTF-8 is replaced by U+FFFD, as Java does,
    /// and a text with an invalid escape stays as it is.
    pub fn to_cow(&self) -> Cow<'a, str> {
        if self.escapes == Escapes::None {
            return String::from_utf8_lossy(self.raw);
        }
        let mut value = Vec::with_capacity(self.raw.len());
        match unescape(self.raw, &mut value) {
            Ok(()) => Cow::Owned(String::from_utf8_lossy(&value).into_owned()),
            Err(_) => String::from_utf8_lossy(self.raw),
        }
    }

    /// Whether the value is `other`.
    pub fn eq_str(&self, other: &str) -> bool {
        match self.escapes {
            Escapes::None => self.raw == other.as_bytes(),
            Escapes::Json => self.to_cow() == other,
        }
    }

    /// `Integer.parseInt`: decimal digits with an optional sign.
    ///
    /// # Errors
    /// [`TextError::IntegerInvalid`] if it is anything else or out of range.
    pub fn parse_i32(&self) -> Result<i32, TextError> {
        parse_i64(self.raw)
            .and_then(|value| i32::try_from(value).ok())
            .ok_or(TextError::IntegerInvalid)
    }

    /// `Long.parseLong`: decimal digits with an optional sign.
    ///
    /// # Errors
    /// [`TextError::IntegerInvalid`] if it is anything else or out of range.
    pub fn parse_i64(&self) -> Result<i64, TextError> {
        parse_i64(self.raw).ok_or(TextError::IntegerInvalid)
    }

    /// `Boolean.parseBoolean`: `true` in any case is true, all else is false.
    pub fn parse_bool(&self) -> bool {
        self.raw.eq_ignore_ascii_case(b"true")
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_cow())
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_cow())
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.as_plain(), other.as_plain()) {
            (Some(left), Some(right)) => left == right,
            _ => self.to_cow() == other.to_cow(),
        }
    }
}

impl Eq for Text<'_> {}

/// Decimal digits with an optional sign, as Java's parsers read them; `None` if anything else or
/// out of range.
#[inline]
pub fn parse_i64(digits: &[u8]) -> Option<i64> {
    let (negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, digits),
    };
    // 18 digits cannot overflow, and no client writes more.
    if digits.is_empty() || digits.len() > 18 {
        return parse_long(negative, digits);
    }
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

#[cold]
fn parse_long(negative: bool, digits: &[u8]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    // Accumulated downwards because i64::MIN has no positive counterpart.
    let mut value: i64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Bytes of `raw` with JSON escapes resolved.
fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
    let mut from = 0;
    while let Some(at) = swar::find(raw, from, b'\\') {
        out.extend_from_slice(raw.get(from..at).unwrap_or_default());
        let escape = raw.get(at..).unwrap_or_default();
        // The separators of properties, far more frequent than all others.
        if let [_, b'u', b'0', b'0', b'0', digit @ b'0'..=b'9', ..] = *escape {
            out.push(digit - b'0');
            from = at + 6;
            continue;
        }
        from = at + unescape_one(escape, out).ok_or(TextError::EscapeInvalid { at })?;
    }
    out.extend_from_slice(raw.get(from..).unwrap_or_default());
    Ok(())
}

/// Resolves the escape that `escape` begins with and returns its length.
fn unescape_one(escape: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let letter = *escape.get(1)?;
    let byte = match letter {
        b'u' => return unescape_unit(escape, out),
        b'x' => return unescape_hex(escape, out),
        b'0'..=b'7' => letter - b'0',
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 0x0B,
        b'f' | b'F' => 0x0C,
        b'r' => b'\r',
        b'"' | b'\'' | b'/' | b'\\' => letter,
        _ => return None,
    };
    out.push(byte);
    Some(2)
}

/// `\uXXXX`, or a pair of them that is one character outside the basic plane.
fn unescape_unit(escape: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let unit = hex_u16(escape.get(2..6)?)?;
    if unit < 0x80 {
        out.push(unit as u8);
        return Some(6);
    }
    let low = match escape.get(6..12) {
        Some([b'\\', b'u', digits @ ..]) => hex_u16(digits),
        _ => None,
    };
    let (character, used) = match (unit, low) {
        (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
            let code = 0x10000 + ((u32::from(unit) & 0x3FF) << 10) + (u32::from(low) & 0x3FF);
            (char::from_u32(code)?, 12)
        }
        (0xD800..=0xDFFF, _) => ('?', 6),
        _ => (char::from_u32(u32::from(unit))?, 6),
    };
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(used)
}

/// `\xXX`: a character below 256, which is fastjson's own.
fn unescape_hex(escape: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let code = match escape.get(2..4)? {
        &[high, low] => hex_digit(high)? << 4 | hex_digit(low)?,
        _ => return None,
    };
    out.extend_from_slice(char::from(code).encode_utf8(&mut [0; 4]).as_bytes());
    Some(4)
}

fn hex_u16(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |value: u16, &digit| Some(value << 4 | u16::from(hex_digit(digit)?)))
}

/// Value of one hexadecimal digit of either case.
pub(crate) const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends `value` between double quotes as fastjson writes it.
pub fn write_json_string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    escape_into(out, value);
    out.push(b'"');
}

/// Appends `value` with fastjson's escapes: control characters, quote, backslash, U+007F to U+009F,
/// U+2028 and U+2029. All else stays UTF-8.
pub fn escape_into(out: &mut Vec<u8>, value: &[u8]) {
    let mut copied = 0;
    let mut from = 0;
    while let Some(at) = swar::find_escapable(value, from) {
        from = at + 1;
        let byte = value.get(at).copied().unwrap_or_default();
        let (unit, used) = match byte {
            0..=0x1F | b'"' | b'\\' | 0x7F => (u16::from(byte), 1),
            0xC2 => match value.get(at + 1) {
                Some(&low @ 0x80..=0x9F) => (u16::from(low), 2),
                _ => continue,
            },
            0xE2 => match value.get(at + 1..at + 3) {
                Some(&[0x80, low @ (0xA8 | 0xA9)]) => (0x2000 | u16::from(low & 0x3F), 3),
                _ => continue,
            },
            _ => continue,
        };
        out.extend_from_slice(value.get(copied..at).unwrap_or_default());
        escape_one(out, unit);
        from = at + used;
        copied = from;
    }
    out.extend_from_slice(value.get(copied..).unwrap_or_default());
}

fn escape_one(out: &mut Vec<u8>, unit: u16) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |shift: u16| DIGITS[usize::from(unit >> shift & 0xF)];
    let letter = match unit {
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        0x22 => b'"',
        0x5C => b'\\',
        _ => return out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_unescape(json: &str, expect: Option<&str>) {
        let text = Text::json(json.as_bytes(), Escapes::Json);
        let mut value = Vec::new();
        let result = text.unescape_into(&mut value);
        let found = result.is_ok().then(|| String::from_utf8_lossy(&value).into_owned());
        assert_eq!(found.as_deref(), expect, "{json}");
        if let Some(expect) = expect {
            assert_eq!(text.to_cow(), expect);
            assert!(text.eq_str(expect));
        }
    }

    #[test]
    fn escapes_are_those_of_fastjson() {
        check_unescape(r"TAGS\u0001TagA\u0002", Some("TAGS\u{1}TagA\u{2}"));
        check_unescape(r#"\b\t\n\v\f\F\r\"\'\/\\"#, Some("\u{8}\t\n\u{b}\u{c}\u{c}\r\"'/\\"));
        check_unescape(r"\0\7\x41\xe9", Some("\0\u{7}A\u{e9}"));
        check_unescape(r"\u00e9\u20AC\uFFFF", Some("\u{e9}\u{20ac}\u{ffff}"));
        check_unescape(r"\ud83d\ude00!", Some("\u{1f600}!"));
        check_unescape(r"\ud83d!", Some("?!"));
        check_unescape(r"\ude00\ud83d", Some("??"));
        check_unescape(r"\ud83dA", Some("?A"));
        check_unescape("", Some(""));
        for broken in [r"\", r"\8", r"\q", r"\u12", r"\u12g4", r"\x4", r"\x4g"] {
            check_unescape(broken, None);
        }
    }

    #[test]
    fn output_is_escaped_as_fastjson_does() {
        let mut out = Vec::new();
        write_json_string(
            &mut out,
            "a\"\\/\u{0}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}\u{9f}".as_bytes(),
        );
        let expect = r#""a\"\\/\u0000\b\t\n\u000B\f\r\u001F\u007F\u009F""#;
        assert_eq!(String::from_utf8_lossy(&out), expect);
        out.clear();
        write_json_string(&mut out, "\u{a0}é\u{2027}\u{2028}\u{2029}\u{202a}标签".as_bytes());
        let expect = "\"\u{a0}é\u{2027}\\u2028\\u2029\u{202a}标签\"";
        assert_eq!(String::from_utf8_lossy(&out), expect);
    }

    fn check_integer(text: &str, expect: Option<i64>) {
        let text = Text::plain(text.as_bytes());
        assert_eq!(text.parse_i64().ok(), expect, "{text}");
        let narrow = expect.and_then(|value| i32::try_from(value).ok());
        assert_eq!(text.parse_i32().ok(), narrow, "{text}");
    }

    #[test]
    fn integers_are_those_of_java() {
        check_integer("0", Some(0));
        check_integer("-1", Some(-1));
        check_integer("+7", Some(7));
        check_integer("007", Some(7));
        check_integer("2147483648", Some(2_147_483_648));
        check_integer("9223372036854775807", Some(i64::MAX));
        check_integer("-9223372036854775808", Some(i64::MIN));
        check_integer("00000000000000000000000009", Some(9));
        for broken in ["", "-", "+", " 1", "1 ", "1.0", "0x1", "--1", "1e3", "９"] {
            check_integer(broken, None);
        }
        check_integer("9223372036854775808", None);
        check_integer("-9223372036854775809", None);
        check_integer("92233720368547758070", None);
    }

    #[test]
    fn booleans_are_those_of_java() {
        for (text, expect) in [("true", true), ("TRUE", true), ("false", false), ("1", false)] {
            assert_eq!(Text::plain(text.as_bytes()).parse_bool(), expect, "{text}");
        }
    }

    proptest! {
        #[test]
        fn escaping_is_undone(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut json = Vec::new();
            escape_into(&mut json, &value);
            let mut back = Vec::new();
            prop_assert!(Text::json(&json, Escapes::Json).unescape_into(&mut back).is_ok());
            prop_assert_eq!(back, value);
        }

        #[test]
        fn integers_agree_with_std(value: i64, text in "[-+]?[0-9]{1,20}") {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
            prop_assert_eq!(parse_i64(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn unescaping_never_panics(json in r#"[\\ux0-9a-fntDC"]{0,40}"#) {
            let text = Text::json(json.as_bytes(), Escapes::Json);
            let mut out = Vec::new();
            let _ = text.unescape_into(&mut out);
            let _ = text.to_cow();
        }
    }
}
