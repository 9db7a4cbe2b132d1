//! Text into tokens: longest match, as Apache's generated `SelectorParserTokenManager` has it.

use super::{Fault, SqlMistake};

/// One token. Words of the language are recognized in any case.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Token<'a> {
    And,
    Or,
    Not,
    Between,
    In,
    Is,
    Null,
    True,
    False,
    Contains,
    StartsWith,
    EndsWith,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    /// Digits, without the L that may follow.
    Decimal(&'a str),
    Float(&'a str),
    /// What is between the quotes; a quote in it stands twice.
    Text(&'a str),
    Name(&'a str),
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexed<'a> {
    pub token: Token<'a>,
    pub at: usize,
    pub end: usize,
}

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

const WORDS: [(&str, Token<'static>); 12] = [
    ("AND", Token::And),
    ("OR", Token::Or),
    ("NOT", Token::Not),
    ("BETWEEN", Token::Between),
    ("IN", Token::In),
    ("IS", Token::Is),
    ("NULL", Token::Null),
    ("TRUE", Token::True),
    ("FALSE", Token::False),
    ("CONTAINS", Token::Contains),
    ("STARTSWITH", Token::StartsWith),
    ("ENDSWITH", Token::EndsWith),
];

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// The next token; at the end [`Token::End`], again and again.
    pub fn next(&mut self) -> Result<Lexed<'a>, Fault> {
        self.skip_blanks()?;
        let at = self.at;
        let token = self.token()?;
        assert!(self.at > at || token == Token::End);
        Ok(Lexed { token, at, end: self.at })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).expect("tokens end where characters do")
    }

    /// Blanks and comments. A comment of two dashes needs an end of line: without one they are two minus
    /// signs.
    fn skip_blanks(&mut self) -> Result<(), Fault> {
        loop {
            let rest = self.rest();
            let comment = if rest.starts_with("/*") {
                let end = rest.get(2..).and_then(|inner| inner.find("*/"));
                end.ok_or_else(|| self.fault(SqlMistake::Unclosed("comment")))? + 4
            } else if rest.starts_with("--") {
                rest.find(['\n', '\r']).map_or(0, |end| end + 1)
            } else {
                rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']).len()
            };
            if comment == 0 {
                return Ok(());
            }
            self.at += comment;
        }
    }

    fn token(&mut self) -> Result<Token<'a>, Fault> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        let (token, bytes) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '+' => (Token::Plus, 1),
            '-' => (Token::Minus, 1),
            '=' => (Token::Equal, 1),
            '<' if rest.starts_with("<>") => (Token::NotEqual, 2),
            '<' if rest.starts_with("<=") => (Token::LessEqual, 2),
            '<' => (Token::Less, 1),
            '>' if rest.starts_with(">=") => (Token::GreaterEqual, 2),
            '>' => (Token::Greater, 1),
            '\'' => string(rest).ok_or_else(|| self.fault(SqlMistake::Unclosed("string")))?,
            '0'..='9' | '.' => {
                number(rest).ok_or_else(|| self.fault(SqlMistake::Character(first)))?
            }
            'a'..='z' | 'A'..='Z' | '_' | '$' => word(rest),
            other => return Err(self.fault(SqlMistake::Character(other))),
        };
        self.at += bytes;
        Ok(token)
    }

    fn fault(&self, mistake: SqlMistake) -> Fault {
        Fault { at: self.at, mistake }
    }
}

/// A quote that stands twice is one of the string's.
fn string(text: &str) -> Option<(Token<'_>, usize)> {
    let mut end = 1;
    loop {
        end += text.get(end..)?.find('\'')? + 1;
        if text.as_bytes().get(end) != Some(&b'\'') {
            return Some((Token::Text(text.get(1..end - 1)?), end));
        }
        end += 1;
    }
}

/// The longest of `0`, `[1-9][0-9]*[lL]?`, and a float with a point or an exponent. So `007` are three
/// numbers, and `1e` is a number and a name.
fn number(text: &str) -> Option<(Token<'_>, usize)> {
    let digits = digits_from(text, 0);
    let behind_point = (text.as_bytes().get(digits) == Some(&b'.'))
        .then(|| digits + 1 + digits_from(text, digits + 1))
        .filter(|end| *end > 1);
    let mantissa = behind_point.unwrap_or(digits);
    let end = exponent_end(text, mantissa).or(behind_point);
    if let Some(end) = end {
        return Some((Token::Float(text.get(..end)?), end));
    }
    if digits == 0 {
        return None;
    }
    if text.starts_with('0') {
        return Some((Token::Decimal(text.get(..1)?), 1));
    }
    let suffix = usize::from(matches!(text.as_bytes().get(digits), Some(b'l' | b'L')));
    Some((Token::Decimal(text.get(..digits)?), digits + suffix))
}

fn digits_from(text: &str, from: usize) -> usize {
    let rest = text.as_bytes().get(from..).unwrap_or_default();
    rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Where an exponent behind a mantissa ends, if there is one.
fn exponent_end(text: &str, mantissa: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if mantissa == 0 || !matches!(bytes.get(mantissa), Some(b'e' | b'E')) {
        return None;
    }
    let sign = usize::from(matches!(bytes.get(mantissa + 1), Some(b'+' | b'-')));
    let digits = digits_from(text, mantissa + 1 + sign);
    (digits > 0).then_some(mantissa + 1 + sign + digits)
}

fn word(text: &str) -> (Token<'_>, usize) {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let bytes = text.bytes().take_while(|byte| is_part(byte)).count();
    let name = text.get(..bytes).unwrap_or_default();
    let word = WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
    (word.map_or(Token::Name(name), |(_, token)| *token), bytes)
}

#[cfg(test)]
mod tests {
    use super::Token::*;
    use super::*;

    fn check(text: &str, expect: &[Token<'_>]) {
        let mut lexer = Lexer::new(text);
        let mut found = Vec::new();
        loop {
            match lexer.next().expect(text).token {
                End => break,
                token => found.push(token),
            }
        }
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn longest_match_wins() {
        check("", &[]);
        check("a<=b<>c>=1<2>3", &{
            [
                Name("a"),
                LessEqual,
                Name("b"),
                NotEqual,
                Name("c"),
                GreaterEqual,
                Decimal("1"),
                Less,
                Decimal("2"),
                Greater,
                Decimal("3"),
            ]
        });
        check("NOTx not nOt $_1 In IS", &[Name("NOTx"), Not, Not, Name("$_1"), In, Is]);
        check("007 12l 3L 0l", &{
            [Decimal("0"), Decimal("0"), Decimal("7"), Decimal("12"), Decimal("3")]
                .into_iter()
                .chain([Decimal("0"), Name("l")])
                .collect::<Vec<_>>()
        });
        check("1.5 .5 5. 1e5 1.e-5 .5E+1 00.5 1e 1.5.5", &{
            ["1.5", ".5", "5.", "1e5", "1.e-5", ".5E+1", "00.5"]
                .map(Float)
                .into_iter()
                .chain([Decimal("1"), Name("e"), Float("1.5"), Float(".5")])
                .collect::<Vec<_>>()
        });
    }

    #[test]
    fn strings_and_comments() {
        check("'' 'it''s' 'a\\' 'é'", &[Text(""), Text("it''s"), Text("a\\"), Text("é")]);
        check("a/* b * / ** */c -- d\n e--\rf", &["a", "c", "e", "f"].map(Name));
        check("- -5 --5", &[Minus, Minus, Decimal("5"), Minus, Minus, Decimal("5")]);
    }

    #[test]
    fn what_is_no_token_has_a_place() {
        for (text, at) in
            [("a != b", 2), ("a /* b", 2), ("'a''", 0), ("a = .", 4), ("é", 0), ("a\u{b}b", 1)]
        {
            let mut lexer = Lexer::new(text);
            let fault = loop {
                match lexer.next() {
                    Ok(lexed) => assert_ne!(lexed.token, End, "{text}"),
                    Err(fault) => break fault,
                }
            };
            assert_eq!(fault.at, at, "{text}");
        }
    }
}
