//! Targets for SQL92: the parser, and the evaluation of whatever it takes.

use engine::filter::{Outcome, SqlFilter};

use crate::Target;

/// See [`crate::targets`].
pub(crate) const TARGETS: &[Target] = &[Target {
    name: "sql92",
    run: sql92,
    seeds: table,
    dictionary: &[
        b" AND ",
        b" OR ",
        b"NOT ",
        b" BETWEEN ",
        b" IN ('",
        b"','",
        b"')",
        b" IS NULL",
        b" IS NOT NULL",
        b" CONTAINS '",
        b" STARTSWITH '",
        b" ENDSWITH '",
        b"TRUE",
        b"FALSE",
        b"NULL",
        b"<>",
        b">=",
        b"<=",
        b"''",
        b"2147483648",
        b"9223372036854775807",
        b"1e308",
        b".5",
        b"--",
        b"/*",
        b"*/",
        b"\0a\x01",
        b"\x02b\x01",
        b"NaN",
        b"0x1p-1074",
        b"-",
        b"(",
        b")",
    ],
}];

/// The rows of the table that Apache's own parser is asked, too: expression, 0x00, properties text.
fn table() -> Vec<Vec<u8>> {
    let table = include_str!("../../golden/sql92.tsv");
    let rows = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|line| {
        let (expression, rest) = line.split_once('\t').expect("columns");
        let properties = rest.split('\t').next().unwrap_or_default();
        let pairs = properties.replace('=', "\u{1}").replace(';', "\u{2}");
        format!("{expression}\0{pairs}\u{2}").into_bytes()
    })
    .collect()
}

/// An expression is refused at a place in it, or is the same each time that it is evaluated, whatever the
/// properties; NOT turns it round.
fn sql92(bytes: &[u8]) {
    let middle = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (expression, properties) = bytes.split_at(middle);
    let properties = properties.get(1..).unwrap_or_default();
    let Ok(text) = std::str::from_utf8(expression) else { return };
    let filter = match SqlFilter::compile(text) {
        Ok(filter) => filter,
        Err(error) => {
            let line = text.split('\n').nth(error.line - 1).expect("a line of the text");
            assert!((1..=line.chars().count() + 1).contains(&error.column), "{error}");
            return;
        }
    };
    let found = filter.evaluate(properties);
    assert_eq!(found, filter.evaluate(properties));
    assert_eq!(filter.matches(properties), found == Outcome::True);
    assert!(filter.cost(properties.len()) >= properties.len());
    // Unless it is nested as deep as allowed, or what follows is its comment.
    let Ok(negated) = SqlFilter::compile(&format!("NOT (\n{text}\n)")) else { return };
    let expect = match found {
        Outcome::True => Outcome::False,
        Outcome::False => Outcome::True,
        other => other,
    };
    assert_eq!(negated.evaluate(properties), expect, "{text}");
}
