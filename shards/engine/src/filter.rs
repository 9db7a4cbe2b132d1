//! Which messages of a queue a pull wants (RocketMQ's MessageFilter): by tag hash or by SQL92.
//!
//! A tag hash is in the queue's entry, so a message whose tag is not wanted is never looked at. SQL92
//! is evaluated on the properties text of the record. Source: ExpressionMessageFilter, 5.3.3.

use std::sync::Arc;

mod sql;

pub use sql::{Outcome, SqlError, SqlFilter, SqlMistake};

/// What a pull wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MessageFilter {
    /// Messages with certain tags, or all.
    Tags(TagFilter),
    /// Messages whose properties make an expression true.
    Sql(Arc<SqlFilter>),
}

impl MessageFilter {
    /// All messages.
    pub const ALL: MessageFilter = MessageFilter::Tags(TagFilter::All);

    /// Whether a message with this tag hash may be wanted: what the queue's entry alone can tell
    /// (`isMatchedByConsumeQueue`).
    pub fn may_want(&self, tag: i32) -> bool {
        match self {
            MessageFilter::Tags(tags) => tags.matches(tag),
            MessageFilter::Sql(_) => true,
        }
    }

    /// The expression that the properties must make true, if there is one (`isMatchedByCommitLog`).
    pub fn sql(&self) -> Option<&SqlFilter> {
        match self {
            MessageFilter::Tags(_) => None,
            MessageFilter::Sql(sql) => Some(sql),
        }
    }
}

/// A subscription's tags as hashes; clients compare the text again, so collisions do no harm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TagFilter {
    /// `*`, or none.
    All,
    /// Only these hashes, sorted.
    Codes(Arc<[i32]>),
}

impl TagFilter {
    /// A filter for the given hashes; none means all, as in RocketMQ.
    pub fn from_codes(codes: impl IntoIterator<Item = i32>) -> TagFilter {
        let mut codes: Vec<i32> = codes.into_iter().collect();
        codes.sort_unstable();
        codes.dedup();
        if codes.is_empty() { TagFilter::All } else { TagFilter::Codes(codes.into()) }
    }

    /// Whether a message with this tag hash is wanted.
    pub fn matches(&self, tag: i32) -> bool {
        match self {
            TagFilter::All => true,
            TagFilter::Codes(codes) => codes.binary_search(&tag).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_tags_match() {
        let filter = TagFilter::from_codes([66, 65, 66]);
        assert!(filter.matches(65) && filter.matches(66));
        assert!(!filter.matches(67) && !filter.matches(0));
        assert_eq!(TagFilter::from_codes([]), TagFilter::All);
        assert!(TagFilter::All.matches(0));
    }

    #[test]
    fn the_entry_of_a_queue_tells_nothing_about_properties() {
        let sql = SqlFilter::compile("a = '1'").expect("an expression");
        let filter = MessageFilter::Sql(Arc::new(sql));
        assert!(filter.may_want(0) && filter.may_want(65));
        let wants = |properties: &[u8]| filter.sql().is_some_and(|sql| sql.matches(properties));
        assert!(wants(b"a\x011\x02") && !wants(b"a\x012\x02") && !wants(b""));
        assert!(MessageFilter::ALL.may_want(7) && MessageFilter::ALL.sql().is_none());
    }
}
