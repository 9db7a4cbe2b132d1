//! A configuration file in the syntax of Java properties, read with line numbers.
//!
//! Two departures from `java.util.Properties`, both in the reader's favour: the file is UTF-8
//! rather than Latin-1, and blanks behind a value are dropped. Java keeps them, so that `true `
//! is false (rocketmq#5267).

/// One `key = value` of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where the entry starts, counted from 1.
    pub line: u32,
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved, blanks at both ends dropped.
    pub value: String,
}

/// Why a line is not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes are no text.
    #[error("not UTF-8")]
    NotUtf8,
    /// `\u` without four hexadecimal digits, or half of a surrogate pair.
    #[error("\\u needs four hexadecimal digits that name a character")]
    BadEscape,
    /// A separator with nothing before it.
    #[error("a value without a key")]
    NoKey,
}

/// The entries of a file in their order, and the lines that are none.
pub fn parse(bytes: &[u8]) -> (Vec<Entry>, Vec<(u32, Malformed)>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut entries, mut malformed) = (Vec::new(), Vec::new());
    let mut lines = split_lines(bytes);
    while let Some((number, line)) = lines.next() {
        let start = trim_start(line);
        if matches!(start.first(), None | Some(b'#' | b'!')) {
            continue;
        }
        let mut logical = start.to_vec();
        while continues(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.extend_from_slice(trim_start(next)),
                None => break,
            }
        }
        match entry(&logical) {
            Ok((key, value)) => entries.push(Entry { line: number, key, value }),
            Err(why) => malformed.push((number, why)),
        }
    }
    (entries, malformed)
}

/// Lines end with `\n`, `\r` or both, as Java reads them.
fn split_lines(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = Some(bytes);
    let mut number = 0;
    std::iter::from_fn(move || {
        let bytes = rest?;
        number += 1;
        let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            rest = None;
            return Some((number, bytes));
        };
        let (line, tail) = bytes.split_at(end);
        let tail = tail.strip_prefix(b"\r\n").or(tail.get(1..));
        rest = tail;
        Some((number, line))
    })
}

fn trim_start(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|byte| is_blank(**byte)).count();
    line.get(blanks..).unwrap_or_default()
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

/// An odd number of backslashes at the end joins the next line.
fn continues(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn entry(line: &[u8]) -> Result<(String, String), Malformed> {
    let text = std::str::from_utf8(line).map_err(|_| Malformed::NotUtf8)?;
    let (key, rest) = text.split_at(key_end(text));
    if key.is_empty() {
        return Err(Malformed::NoKey);
    }
    let rest = rest.trim_start_matches([' ', '\t', '\x0c']);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    Ok((unescape(key)?, unescape(rest)?.trim().to_owned()))
}

/// A key ends before the first separator or blank that is not escaped.
fn key_end(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        if !escaped && (is_blank(byte) || matches!(byte, b'=' | b':')) {
            return index;
        }
        escaped = !escaped && byte == b'\\';
    }
    text.len()
}

fn unescape(text: &str) -> Result<String, Malformed> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        if next != '\\' {
            plain.push(next);
            continue;
        }
        match rest.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\x0c'),
            Some('u') => plain.push(unicode(&mut rest)?),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain)
}

/// Java writes characters beyond the 16-bit plane as two escapes, a surrogate pair.
fn unicode(rest: &mut std::str::Chars<'_>) -> Result<char, Malformed> {
    let first = four_digits(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).ok_or(Malformed::BadEscape);
    }
    if rest.next() != Some('\\') || rest.next() != Some('u') {
        return Err(Malformed::BadEscape);
    }
    let second = four_digits(rest)?;
    if !(0xdc00..0xe000).contains(&second) {
        return Err(Malformed::BadEscape);
    }
    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(code).ok_or(Malformed::BadEscape)
}

fn four_digits(rest: &mut std::str::Chars<'_>) -> Result<u32, Malformed> {
    let mut code = 0;
    for _ in 0..4 {
        let digit = rest.next().and_then(|next| next.to_digit(16));
        code = code * 16 + digit.ok_or(Malformed::BadEscape)?;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[(u32, &str, &str)]) {
        let (entries, malformed) = parse(text.as_bytes());
        assert_eq!(malformed, []);
        let found: Vec<_> =
            entries.iter().map(|e| (e.line, e.key.as_str(), e.value.as_str())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn entries_are_read_as_java_reads_them() {
        check("", &[]);
        check("# a\n! b\n  # c\n\n \t\n", &[]);
        check(
            "a=1\nb: 2\nc 3\nd\t=\t4",
            &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3"), (4, "d", "4")],
        );
        check("a=b=c\nd = e:f", &[(1, "a", "b=c"), (2, "d", "e:f")]);
        check("a\nb=", &[(1, "a", ""), (2, "b", "")]);
        check("a=1\r\nb=2\rc=3", &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3")]);
        check("\u{feff}a=1", &[(1, "a", "1")]);
    }

    #[test]
    fn blanks_behind_a_value_are_dropped() {
        check("aclEnable=true \t\nb=1 2  ", &[(1, "aclEnable", "true"), (2, "b", "1 2")]);
    }

    #[test]
    fn a_backslash_joins_lines_and_the_next_entry_keeps_its_number() {
        check("a=1s \\\n   5s\nb=2", &[(1, "a", "1s 5s"), (3, "b", "2")]);
        check("a=1\\\\\nb=2", &[(1, "a", "1\\"), (2, "b", "2")]);
        check("# no\\\na=1", &[(2, "a", "1")]);
        check("a=1\\", &[(1, "a", "1")]);
    }

    #[test]
    fn escapes_are_resolved() {
        check("a\\=b\\ c = \\t1\\u00e9\\q", &[(1, "a=b c", "1éq")]);
        check("a=\\ud83d\\ude00", &[(1, "a", "😀")]);
        check("a=C:\\\\store", &[(1, "a", "C:\\store")]);
    }

    #[test]
    fn malformed_lines_are_told_apart_and_do_not_stop_the_reading() {
        let (entries, malformed) = parse(b"=1\na=\\u12\nb=\\ud83dx\nc=\xff\nd=4\ne=\\ud83d\\u0041");
        assert_eq!(entries, [Entry { line: 5, key: "d".into(), value: "4".into() }]);
        let expect = [
            (1, Malformed::NoKey),
            (2, Malformed::BadEscape),
            (3, Malformed::BadEscape),
            (4, Malformed::NotUtf8),
            (6, Malformed::BadEscape),
        ];
        assert_eq!(malformed, expect);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_crash(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&bytes);
        }

        #[test]
        fn plain_entries_survive(
            pairs in prop::collection::vec(
                ("[a-zA-Z][a-zA-Z0-9.]{0,20}", "[!-~&&[^\\\\]]{0,20}"),
                0..20,
            )
        ) {
            let lines = pairs.iter().map(|(key, value)| format!("{key} = {value} \n"));
            let text: String = lines.collect();
            let (entries, malformed) = parse(text.as_bytes());
            prop_assert!(malformed.is_empty());
            let found: Vec<_> = entries.into_iter().map(|e| (e.key, e.value)).collect();
            prop_assert_eq!(found, pairs);
        }
    }
}
