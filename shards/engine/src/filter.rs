//! Which messages of a queue a pull wants (RocketMQ's MessageFilter): by tag hash or by SQL92.
//!
//! A tag hash is in the queue's entry, so a message whose tag is not wanted is never looked at. SQL92
//! is evaluated on the properties text of the record. Source: ExpressionMessageFilter, 5.3.3.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::properties::{self, name};

mod sql;

pub use sql::{Outcome, SqlError, SqlFilter, SqlMistake};

/// What a pull wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MessageFilter {
    /// Messages with certain tags, or all.
    Tags(TagFilter),
    /// Messages whose properties make an expression true.
    Sql(Arc<SqlFilter>),
    /// Messages sent back, whose properties make the expression true that their group has for the topic
    /// that they came from (`ExpressionForRetryMessageFilter`); all of topics for which it has none.
    Retried(Arc<Expressions>),
}

/// A group's expressions, by topic.
pub type Expressions = BTreeMap<Box<[u8]>, Arc<SqlFilter>>;

impl MessageFilter {
    /// All messages.
    pub const ALL: MessageFilter = MessageFilter::Tags(TagFilter::All);

    /// Whether a message with this tag hash may be wanted: what the queue's entry alone can tell
    /// (`isMatchedByConsumeQueue`).
    pub fn may_want(&self, tag: i32) -> bool {
        match self {
            MessageFilter::Tags(tags) => tags.matches(tag),
            MessageFilter::Sql(_) | MessageFilter::Retried(_) => true,
        }
    }

    /// Whether a message's properties have to be looked at (`isMatchedByCommitLog`).
    pub fn reads_properties(&self) -> bool {
        !matches!(self, MessageFilter::Tags(_))
    }

    /// The expression that these properties must make true, if there is one.
    fn expression(&self, properties: &[u8]) -> Option<&SqlFilter> {
        match self {
            MessageFilter::Tags(_) => None,
            MessageFilter::Sql(sql) => Some(sql),
            MessageFilter::Retried(by_topic) => {
                let topic = properties::find(properties, name::RETRY_TOPIC)?;
                by_topic.get(topic).map(|sql| &**sql)
            }
        }
    }

    /// Whether a message with these properties is wanted, and what asking may cost: see
    /// [`SqlFilter::cost`].
    pub fn wants(&self, properties: &[u8]) -> (bool, usize) {
        let Some(sql) = self.expression(properties) else { return (true, properties.len()) };
        (sql.matches(properties), sql.cost(properties.len()))
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
        let wants = |properties: &[u8]| filter.reads_properties() && filter.wants(properties).0;
        assert!(wants(b"a\x011\x02") && !wants(b"a\x012\x02") && !wants(b""));
        assert!(MessageFilter::ALL.may_want(7) && !MessageFilter::ALL.reads_properties());
    }

    #[test]
    fn what_was_sent_back_is_judged_by_the_topic_that_it_came_from() {
        let sql = |text| Arc::new(SqlFilter::compile(text).expect(text));
        let by_topic = [("one", sql("a = '1'")), ("two", sql("a = '2'"))];
        let by_topic = by_topic.into_iter().map(|(topic, sql)| (topic.as_bytes().into(), sql));
        let filter = MessageFilter::Retried(Arc::new(by_topic.collect()));
        let wants = |text: &str| filter.wants(text.as_bytes()).0;
        assert!(filter.may_want(7) && filter.reads_properties());
        assert!(wants("RETRY_TOPIC\x01one\x02a\x011\x02"));
        assert!(!wants("RETRY_TOPIC\x01two\x02a\x011\x02"));
        assert!(wants("RETRY_TOPIC\x01three\x02a\x011\x02"), "it has no expression for it");
        assert!(wants("a\x013\x02"), "nobody knows where it came from");
    }
}
