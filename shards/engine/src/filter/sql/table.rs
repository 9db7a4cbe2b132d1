//! The table that Apache's own parser is asked, too (`Sql92TableTest` of the Java clients), and limits.

use super::{Outcome, SqlError, SqlFilter, SqlMistake};
use crate::limits::{SQL_DEPTH_MAX, SQL_NAMES_MAX, SQL_TEXT_BYTES_MAX};

const TABLE: &str = include_str!("../../../../../tests/golden/sql92.tsv");

fn properties_text(column: &str) -> Vec<u8> {
    let mut text = Vec::new();
    for pair in column.split(';').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').expect("name=value");
        proto::properties::append(&mut text, name, unescaped(value).as_bytes());
    }
    text
}

/// `\n`, `\t` and `\r` stand for themselves.
fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
}

#[test]
fn agrees_with_apache_line_by_line() {
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let columns: Vec<_> = line.split('\t').collect();
        let [expression, properties, apache, rest @ ..] = &columns[..] else {
            panic!("{line}: three columns, or four")
        };
        let expect = *rest.first().unwrap_or(apache);
        let found = match SqlFilter::compile(&unescaped(expression)) {
            Err(_) => "refused",
            Ok(filter) => match filter.evaluate(&properties_text(properties)) {
                Outcome::True => "true",
                Outcome::False => "false",
                Outcome::Unknown => "null",
                Outcome::Failed => "throws",
            },
        };
        rows += 1;
        if found != expect {
            wrong.push(format!("{line}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(rows >= 150, "{rows} rows");
}

fn refused(text: &str) -> SqlError {
    SqlFilter::compile(text).expect_err(text)
}

#[test]
fn refusals_say_where_and_why() {
    for (text, expect) in [
        (
            "a > 1 + 2",
            "line 1, column 7: + follows a complete expression: there is no arithmetic, no LIKE and no function",
        ),
        (
            "a = 1 AND\n  b LIKE 'x'",
            "line 2, column 5: LIKE follows a complete expression: there is no arithmetic, no LIKE and no function",
        ),
        ("é", "line 1, column 1: no expression has the character 'é' here"),
        (
            "'é' = ",
            "line 1, column 7: found the end, expected a property, a number, a string, TRUE, FALSE, NULL, NOT, +, - or (",
        ),
        ("a = 'b", "line 1, column 5: the string does not end"),
        ("a /* b", "line 1, column 3: the comment does not end"),
        (
            "a = 9223372036854775808",
            "line 1, column 5: the number 9223372036854775808 is out of range",
        ),
        ("a = 0.0", "line 1, column 5: the number 0.0 is out of range"),
        ("a = 1 OR 5", "line 1, column 10: a condition is due here, not a number or a string"),
        ("a > '5'", "line 1, column 3: only numbers and properties can be compared by size"),
        ("a = NULL", "line 1, column 3: NULL is compared by IS NULL and IS NOT NULL"),
        ("TRUE = 1", "line 1, column 6: TRUE and FALSE are not compared with a number or a string"),
        (
            "a BETWEEN 2 AND 1",
            "line 1, column 3: the lower bound of BETWEEN is above the upper one",
        ),
        ("1 IN ('1')", "line 1, column 3: IN belongs to a property"),
        (
            "a NOT 5",
            "line 1, column 7: found 5, expected BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH",
        ),
    ] {
        assert_eq!(refused(text).to_string(), expect);
    }
}

#[test]
fn limits_are_kept() {
    let long = format!("a IN ('{}')", "x".repeat(SQL_TEXT_BYTES_MAX));
    assert_eq!(refused(&long).mistake, SqlMistake::TooLong);

    let nested = |count: usize| format!("{}a{}", "(".repeat(count), ")".repeat(count));
    assert!(SqlFilter::compile(&nested(SQL_DEPTH_MAX)).is_ok());
    assert_eq!(refused(&nested(SQL_DEPTH_MAX + 1)).mistake, SqlMistake::TooDeep);
    assert_eq!(refused(&"-".repeat(SQL_TEXT_BYTES_MAX)).mistake, SqlMistake::TooDeep);
    let chained = |count: usize| format!("a{}", " IS NULL".repeat(count));
    assert!(SqlFilter::compile(&chained(SQL_DEPTH_MAX)).is_ok());
    assert_eq!(refused(&chained(SQL_DEPTH_MAX + 1)).mistake, SqlMistake::TooDeep);
    // Not nested, however long.
    let flat = "a = '1' OR ".repeat(2000) + "b = '2'";
    assert!(SqlFilter::compile(&flat).expect("flat").matches(b"b\x012\x02"));

    let names = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("p{number} = '{number}'")).collect();
        names.join(" AND ")
    };
    let filter = SqlFilter::compile(&names(SQL_NAMES_MAX)).expect("as many as allowed");
    let all: String =
        (0..SQL_NAMES_MAX).map(|number| format!("p{number}\u{1}{number}\u{2}")).collect();
    assert!(filter.matches(all.as_bytes()));
    assert_eq!(refused(&names(SQL_NAMES_MAX + 1)).mistake, SqlMistake::TooManyNames);
}

#[test]
fn costs_grow_with_searches() {
    let cost = |text: &str| SqlFilter::compile(text).expect(text).cost(1000);
    assert!(cost("a = '1'") >= 1000 && cost("a = '1'") < 1100);
    assert!(cost("a CONTAINS 'x' OR b CONTAINS 'y'") >= 3000);
}
