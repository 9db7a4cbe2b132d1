//! Text to values: fastjson's `DefaultJSONParser` and `JSONLexerBase` (1.2.83), as far as a body
//! can meet them. Type names (`@type`), `Set[..]` and number suffixes, which only appear when a
//! writer asks for Java class names, are not read.

use std::borrow::Cow;

use super::{DEPTH_MAX, Error, Key, Object, Problem, Value};

/// Reads a whole document.
pub(super) fn read_document(text: &str, values_max: usize) -> Result<Value<'_>, Error> {
    let mut reader = Reader { text, position: 0, depth: 0, values: 0, values_max };
    reader.skip_blank()?;
    let value = reader.value()?;
    reader.skip_blank()?;
    if reader.position < text.len() {
        return reader.expected("the end");
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
    values: usize,
    values_max: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value<'a>, Error> {
        self.values += 1;
        if self.values > self.values_max {
            return self.fail(Problem::TooManyValues { max: self.values_max });
        }
        match self.peek() {
            Some(b'{') => self.nested(Reader::object),
            Some(b'[') => self.nested(Reader::array),
            Some(quote @ (b'"' | b'\'')) => Ok(Value::Text(self.string(quote)?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.word_value(),
            None => self.expected("a value"),
        }
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Value<'a>, Error>,
    ) -> Result<Value<'a>, Error> {
        if self.depth == DEPTH_MAX {
            return self.fail(Problem::TooDeep);
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value<'a>, Error> {
        self.position += 1;
        let mut entries = Vec::new();
        loop {
            self.skip_commas()?;
            if self.take(b'}') {
                return Ok(Value::Object(Object { entries }));
            }
            let key = self.key()?;
            self.skip_blank()?;
            if !self.take(b':') {
                return self.expected("':' after a key");
            }
            self.skip_blank()?;
            let value = self.value()?;
            entries.push((key, value));
            self.skip_blank()?;
            if !matches!(self.peek(), Some(b',' | b'}')) {
                return self.expected("',' or '}'");
            }
        }
    }

    fn array(&mut self) -> Result<Value<'a>, Error> {
        self.position += 1;
        let mut items = Vec::new();
        loop {
            self.skip_commas()?;
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            items.push(self.value()?);
            self.skip_blank()?;
            if !matches!(self.peek(), Some(b',' | b']')) {
                return self.expected("',' or ']'");
            }
        }
    }

    fn key(&mut self) -> Result<Key<'a>, Error> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => Ok(Key::Text(self.string(quote)?)),
            Some(b'{' | b'[') => Ok(Key::Value(Box::new(self.value()?))),
            Some(b'-' | b'0'..=b'9') => Ok(Key::Text(Cow::Borrowed(self.number_text()?))),
            _ => Ok(Key::Text(Cow::Borrowed(self.word("a key")?))),
        }
    }

    fn word_value(&mut self) -> Result<Value<'a>, Error> {
        let start = self.position;
        match self.word("a value")? {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "null" | "undefined" | "NaN" => Ok(Value::Null),
            _ => {
                self.position = start;
                self.expected("a value")
            }
        }
    }

    /// A bare word: a letter, `_`, `$` or anything outside ASCII, then those and digits.
    fn word(&mut self, what: &'static str) -> Result<&'a str, Error> {
        let starts = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'$' | 0x80..);
        if !self.peek().is_some_and(starts) {
            return self.expected(what);
        }
        Ok(self.take_while(|byte| starts(byte) || byte.is_ascii_digit()))
    }

    fn number(&mut self) -> Result<Value<'a>, Error> {
        let text = self.number_text()?;
        Ok(text.parse().map_or(Value::Number(text), Value::Integer))
    }

    /// `-`, digits, a fraction, an exponent. Leading zeros pass, as in fastjson.
    fn number_text(&mut self) -> Result<&'a str, Error> {
        let start = self.position;
        self.take(b'-');
        self.digits()?;
        if self.take(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.position += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(self.slice(start, self.position))
    }

    fn digits(&mut self) -> Result<(), Error> {
        if self.take_while(|byte| byte.is_ascii_digit()).is_empty() {
            return self.expected("a digit");
        }
        Ok(())
    }

    /// A string in double or single quotes; borrowed unless it has escapes.
    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>, Error> {
        self.position += 1;
        let mut decoded: Option<String> = None;
        loop {
            let plain = self.take_while(|byte| byte != quote && byte != b'\\');
            if let Some(decoded) = &mut decoded {
                decoded.push_str(plain);
            }
            match self.peek() {
                Some(b'\\') => {
                    self.position += 1;
                    let escaped = self.escape()?;
                    decoded.get_or_insert_with(|| plain.to_owned()).push(escaped);
                }
                Some(_) => {
                    self.position += 1;
                    return Ok(decoded.map_or(Cow::Borrowed(plain), Cow::Owned));
                }
                None => return self.expected("the string's closing quote"),
            }
        }
    }

    /// What follows a backslash. `\0` to `\7` are the characters 0 to 7; `\v`, `\F`, `\'` and
    /// `\xHH` exist besides JSON's (`JSONLexerBase.scanString`).
    fn escape(&mut self) -> Result<char, Error> {
        let Some(byte) = self.peek() else {
            return self.expected("an escape");
        };
        let escaped = match byte {
            b'0'..=b'7' => char::from(byte - b'0'),
            b'b' => '\u{8}',
            b't' => '\t',
            b'n' => '\n',
            b'v' => '\u{b}',
            b'f' | b'F' => '\u{c}',
            b'r' => '\r',
            b'"' | b'\'' | b'/' | b'\\' => char::from(byte),
            b'x' => {
                self.position += 1;
                return Ok(char::from_u32(self.hex(2)?).unwrap_or('?'));
            }
            b'u' => {
                self.position += 1;
                return self.unicode();
            }
            _ => return self.expected("an escape"),
        };
        self.position += 1;
        Ok(escaped)
    }

    /// The digits of `\uXXXX`, and of a second one if the first is the high half of a pair. A half
    /// without its other half becomes `?`, which is what Java's UTF-8 encoder makes of it.
    fn unicode(&mut self) -> Result<char, Error> {
        let first = self.hex(4)?;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with(b"\\u") {
            let after_first = self.position;
            self.position += 2;
            let second = self.hex(4)?;
            if (0xdc00..0xe000).contains(&second) {
                let scalar = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(scalar).unwrap_or('?'));
            }
            self.position = after_first;
        }
        Ok(char::from_u32(first).unwrap_or('?'))
    }

    fn hex(&mut self, digits: usize) -> Result<u32, Error> {
        let mut number = 0;
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.expected("a hexadecimal digit");
            };
            number = number * 16 + digit;
            self.position += 1;
        }
        Ok(number)
    }

    /// White space, comments and any number of commas (`Feature.AllowArbitraryCommas`).
    fn skip_commas(&mut self) -> Result<(), Error> {
        self.skip_blank()?;
        while self.take(b',') {
            self.skip_blank()?;
        }
        Ok(())
    }

    fn skip_blank(&mut self) -> Result<(), Error> {
        loop {
            self.take_while(|byte| {
                matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b'\x0c' | b'\x08')
            });
            if self.peek() != Some(b'/') {
                return Ok(());
            }
            self.comment()?;
        }
    }

    fn comment(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let length = match rest.get(1) {
            Some(b'/') => Some(rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())),
            Some(b'*') => {
                let body = rest.get(2..).unwrap_or_default();
                body.windows(2).position(|pair| pair == b"*/").map(|at| at + 4)
            }
            _ => None,
        };
        match length {
            Some(length) => {
                self.position += length;
                Ok(())
            }
            None => self.expected("a whole comment"),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.position..).unwrap_or_default()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.position += usize::from(taken);
        taken
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let start = self.position;
        let rest = self.rest();
        let length = rest.iter().position(|&byte| !accept(byte)).unwrap_or(rest.len());
        self.position += length;
        self.slice(start, self.position)
    }

    /// Part of the input. Both ends are at ASCII bytes or the input's ends, never inside a
    /// character.
    fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn expected<T>(&self, what: &'static str) -> Result<T, Error> {
        self.fail(Problem::Expected(what))
    }

    fn fail<T>(&self, problem: Problem) -> Result<T, Error> {
        Err(Error { position: self.position, problem })
    }
}
