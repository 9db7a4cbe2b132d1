//! SQL92: an expression that the properties of a message make true, false or unknown.
//!
//! Grammar, refusals and null semantics are those of Apache's rocketmq-filter 5.3.3 (`SelectorParser`,
//! `expression/*`): compared with its own classes line by line of `tests/golden/sql92.tsv`. One thing
//! differs: there whatever follows the first complete expression is passed over in silence, so that
//! `a > 1 + 2` means `a > 1`. Here it is refused.
//!
//! ```text
//! text ── lexer ──► tokens ── parser ──► nodes, children first ── run ──► Outcome
//! ```
//! A program is compiled once per subscription and evaluated on the properties text as it lies in the
//! record: one pass finds the properties it names, nothing is allocated.

mod lexer;
mod numbers;
mod parser;
mod program;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod table;
mod value;

use program::Program;

use crate::limits::{SQL_DEPTH_MAX, SQL_NAMES_MAX, SQL_TEXT_BYTES_MAX};

/// Why a text is no expression, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {mistake}")]
pub struct SqlError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong there.
    pub mistake: SqlMistake,
}

/// What is wrong with an expression.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SqlMistake {
    /// A character that begins nothing.
    #[error("no expression has the character {0:?} here")]
    Character(char),
    /// A string or comment that does not end.
    #[error("the {0} does not end")]
    Unclosed(&'static str),
    /// Something else is due.
    #[error("found {found}, expected {expected}")]
    Unexpected {
        /// What stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// The expression is complete and something follows.
    #[error("{0} follows a complete expression: there is no arithmetic, no LIKE and no function")]
    Trailing(String),
    /// An integer beyond 64 bits, or a float that is 0, infinite or too small.
    #[error("the number {0} is out of range")]
    NumberRange(String),
    /// A number or a string where a condition is due.
    #[error("a condition is due here, not a number or a string")]
    NotBoolean,
    /// `<`, `<=`, `>`, `>=` and BETWEEN compare numbers and properties only.
    #[error("only numbers and properties can be compared by size")]
    NotComparable,
    /// `= NULL`, `<> NULL`.
    #[error("NULL is compared by IS NULL and IS NOT NULL")]
    ComparedNull,
    /// `TRUE = 1`.
    #[error("TRUE and FALSE are not compared with a number or a string")]
    ComparedBoolean,
    /// BETWEEN 2 AND 1.
    #[error("the lower bound of BETWEEN is above the upper one")]
    BetweenBounds,
    /// IN behind something else.
    #[error("IN belongs to a property")]
    InWithoutProperty,
    /// Longer than [`SQL_TEXT_BYTES_MAX`].
    #[error("the expression has more than {SQL_TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// Nested deeper than [`SQL_DEPTH_MAX`].
    #[error("more than {SQL_DEPTH_MAX} conditions are nested in each other")]
    TooDeep,
    /// More different properties than [`SQL_NAMES_MAX`].
    #[error("the expression names more than {SQL_NAMES_MAX} properties")]
    TooManyNames,
}

/// What became of an expression on one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The message is wanted.
    True,
    /// It is not.
    False,
    /// NULL: it is not.
    Unknown,
    /// Apache throws, as for `a > 1` where `a` is no number: it is not.
    Failed,
}

/// A compiled expression.
#[derive(Debug)]
pub struct SqlFilter {
    text: Box<str>,
    program: Program,
}

/// The same text is the same program.
impl PartialEq for SqlFilter {
    fn eq(&self, other: &SqlFilter) -> bool {
        self.text == other.text
    }
}

impl Eq for SqlFilter {}

impl SqlFilter {
    /// Memory of a program per byte of its text, at the most: a node, a constant and a search.
    pub const MEMORY_PER_TEXT_BYTE: usize = 24;

    /// Compiles a text.
    ///
    /// # Errors
    /// Where it is wrong, and how.
    pub fn compile(text: &str) -> Result<SqlFilter, SqlError> {
        let program = parser::parse(text).map_err(|fault| fault.in_text(text))?;
        Ok(SqlFilter { text: text.into(), program })
    }

    /// The text that was compiled.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a message with this properties text (`name 0x01 value 0x02 …`) is wanted.
    pub fn matches(&self, properties: &[u8]) -> bool {
        self.evaluate(properties) == Outcome::True
    }

    /// What the expression is on a properties text.
    pub fn evaluate(&self, properties: &[u8]) -> Outcome {
        self.program.run(properties)
    }

    /// At the most what an evaluation on that many bytes of properties costs, in bytes looked at: a core
    /// bounds by it what one pull may filter in a turn.
    pub fn cost(&self, properties_bytes: usize) -> usize {
        self.program.cost(properties_bytes)
    }
}

/// A mistake and its byte in the text.
#[derive(Debug)]
struct Fault {
    at: usize,
    mistake: SqlMistake,
}

impl Fault {
    fn in_text(self, text: &str) -> SqlError {
        let before = text.get(..self.at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        SqlError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            mistake: self.mistake,
        }
    }
}
