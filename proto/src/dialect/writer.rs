//! Values to text, byte for byte as fastjson 1.2.83 writes them: `SerializeWriter`,
//! `MapSerializer`.

use std::io::Write as _;

/// How to write what fastjson's features change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `JSON.toJSONString(object)`: all bodies but one. Characters outside ASCII stay, map keys
    /// that are numbers or objects are not quoted.
    Plain,
    /// With `SerializerFeature.BrowserCompatible`: the route for clients from 4.9.4 on. ASCII only,
    /// `/` escaped, every key quoted, integers that JavaScript cannot hold quoted.
    BrowserCompatible,
}

/// Largest integer that BrowserCompatible leaves unquoted, 2^53 - 1 (`SerializeWriter.writeLong`).
const BROWSER_INTEGER_MAX: u64 = (1 << 53) - 1;

/// Appends one document to a buffer. Commas are placed by looking at what was written last, so
/// calls need only be properly nested.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    /// Where the document begins in `out`.
    start: usize,
    style: Style,
}

impl<'b> Writer<'b> {
    /// A writer that appends to `out`.
    pub fn new(out: &'b mut Vec<u8>, style: Style) -> Self {
        let start = out.len();
        Self { out, start, style }
    }

    /// `{`
    pub fn open_object(&mut self) {
        self.separate();
        self.out.push(b'{');
    }

    /// `}`
    pub fn close_object(&mut self) {
        self.out.push(b'}');
    }

    /// `[`
    pub fn open_array(&mut self) {
        self.separate();
        self.out.push(b'[');
    }

    /// `]`
    pub fn close_array(&mut self) {
        self.out.push(b']');
    }

    /// A quoted key and its colon.
    pub fn key(&mut self, name: &str) {
        self.text(name);
        self.out.push(b':');
    }

    /// An integer as key and its colon.
    pub fn integer_key(&mut self, key: i64) {
        self.separate();
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(key).as_bytes();
        match self.style {
            Style::Plain => self.out.extend_from_slice(digits),
            Style::BrowserCompatible => {
                self.out.push(b'"');
                self.out.extend_from_slice(digits);
                self.out.push(b'"');
            }
        }
        self.out.push(b':');
    }

    /// The colon after an object that was just written where a key belongs.
    ///
    /// Only for [`Style::Plain`]: BrowserCompatible would quote the object, but no body that is
    /// written so has one.
    pub fn object_was_key(&mut self) {
        debug_assert_eq!(self.style, Style::Plain);
        self.out.push(b':');
    }

    /// `null`
    pub fn null(&mut self) {
        self.literal(b"null");
    }

    /// `true` or `false`
    pub fn boolean(&mut self, value: bool) {
        self.literal(if value { b"true" } else { b"false" });
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        let quoted =
            self.style == Style::BrowserCompatible && value.unsigned_abs() > BROWSER_INTEGER_MAX;
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value);
        if quoted {
            self.text(digits);
        } else {
            self.literal(digits.as_bytes());
        }
    }

    /// A floating-point number as fastjson's `RyuDouble` prints it: `0.0`, `12.5`, `1.0E10`. What
    /// is not a number or infinite is written `null`. Where two shortest texts lie equally near
    /// (one value in four thousand, all above 10^13) the last digit may differ by one; both read
    /// back alike.
    pub fn double(&mut self, value: f64) {
        if !value.is_finite() {
            return self.null();
        }
        self.separate();
        let magnitude = value.abs();
        let written = if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
            write!(self.out, "{value:?}")
        } else {
            // Rust prints the shortest digits as Java does, but without the `.0` of a single digit.
            let scientific = format!("{value:E}");
            match scientific.split_once('E') {
                Some((digits, exponent)) if !digits.contains('.') => {
                    write!(self.out, "{digits}.0E{exponent}")
                }
                _ => write!(self.out, "{scientific}"),
            }
        };
        written.expect("a vector takes every write");
    }

    /// A quoted string.
    pub fn text(&mut self, text: &str) {
        self.separate();
        self.out.push(b'"');
        match self.style {
            Style::Plain => self.escape_plain(text),
            Style::BrowserCompatible => self.escape_for_browsers(text),
        }
        self.out.push(b'"');
    }

    fn literal(&mut self, bytes: &[u8]) {
        self.separate();
        self.out.extend_from_slice(bytes);
    }

    /// A comma, unless this is the first item of its array or object, a value after its key, or the
    /// document's first byte. Strings end with a quote, so the last byte tells structure only.
    fn separate(&mut self) {
        let first =
            self.out.len() == self.start || matches!(self.out.last(), Some(b'{' | b'[' | b':'));
        if !first {
            self.out.push(b',');
        }
    }

    /// Escapes what fastjson escapes by default (`IOUtils.specicalFlags_doubleQuotes`): quote,
    /// backslash, control characters, U+007F to U+009F, and the line separators U+2028 and U+2029.
    fn escape_plain(&mut self, text: &str) {
        let mut plain_from = 0;
        for (index, c) in text.char_indices() {
            let control = matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}');
            if control || matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}') {
                self.plain(text, plain_from, index);
                self.escape(c);
                plain_from = index + c.len_utf8();
            }
        }
        self.plain(text, plain_from, text.len());
    }

    fn escape_for_browsers(&mut self, text: &str) {
        let mut plain_from = 0;
        for (index, c) in text.char_indices() {
            let plain = matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '/');
            if !plain {
                self.plain(text, plain_from, index);
                self.escape(c);
                plain_from = index + c.len_utf8();
            }
        }
        self.plain(text, plain_from, text.len());
    }

    fn plain(&mut self, text: &str, from: usize, to: usize) {
        self.out.extend_from_slice(text.as_bytes().get(from..to).unwrap_or_default());
    }

    fn escape(&mut self, c: char) {
        let short = match c {
            '\u{8}' => b'b',
            '\t' => b't',
            '\n' => b'n',
            '\u{c}' => b'f',
            '\r' => b'r',
            '"' => b'"',
            '/' => b'/',
            '\\' => b'\\',
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(self.out, "\\u{unit:04X}").expect("a vector takes every write");
                }
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }
}
