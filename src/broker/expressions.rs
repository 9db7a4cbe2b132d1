//! Expressions that pulls bring with them, compiled: a client that assigns queues to itself sends the
//! same text with each pull (Apache: `SelectorParser.PARSE_CACHE`).
//! Owns: the programs that were asked for last.
//! Lives on: every core
//! Kind: machine
//! Invariants: at most `EXPRESSIONS_MAX` programs of together `EXPRESSIONS_TEXT_BYTES_MAX` bytes of text

use std::sync::Arc;

use engine::filter::{SqlError, SqlFilter};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::limits::{EXPRESSIONS_MAX, EXPRESSIONS_TEXT_BYTES_MAX};

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    compiled: HashMap<Box<str>, Arc<SqlFilter>, RandomState>,
    text_bytes: usize,
}

impl Expressions {
    /// The program of a text.
    ///
    /// # Errors
    /// It is no expression.
    pub fn compiled(&mut self, text: &str) -> Result<Arc<SqlFilter>, SqlError> {
        if let Some(known) = self.compiled.get(text) {
            return Ok(Arc::clone(known));
        }
        let filter = Arc::new(SqlFilter::compile(text)?);
        let is_full = self.compiled.len() >= EXPRESSIONS_MAX
            || self.text_bytes + text.len() > EXPRESSIONS_TEXT_BYTES_MAX;
        if is_full {
            // All go: which is used least is not worth being kept in mind.
            self.compiled.clear();
            self.text_bytes = 0;
        }
        self.text_bytes += text.len();
        self.compiled.insert(text.into(), Arc::clone(&filter));
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use engine::limits::SQL_TEXT_BYTES_MAX;

    use super::*;

    #[test]
    fn a_text_is_compiled_once_and_memory_is_bounded() {
        let mut expressions = Expressions::default();
        let first = expressions.compiled("a > 0 OR b > 1").expect("an expression");
        let again = expressions.compiled("a > 0 OR b > 1").expect("an expression");
        assert!(Arc::ptr_eq(&first, &again));
        assert!(expressions.compiled("a >").is_err());
        for number in 0..3 * EXPRESSIONS_MAX {
            expressions.compiled(&format!("a > {number}")).expect("an expression");
            assert!(expressions.compiled.len() <= EXPRESSIONS_MAX);
        }
        for number in 0..EXPRESSIONS_MAX {
            let long = format!("a = '{number}{}'", "x".repeat(SQL_TEXT_BYTES_MAX - 16));
            expressions.compiled(&long).expect("an expression");
            let bytes: usize = expressions.compiled.keys().map(|text| text.len()).sum();
            assert_eq!(bytes, expressions.text_bytes);
            assert!(bytes <= EXPRESSIONS_TEXT_BYTES_MAX);
        }
    }
}
