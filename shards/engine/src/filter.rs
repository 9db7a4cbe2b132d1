//! Which messages of a queue a pull wants, by tag hash (RocketMQ's ExpressionMessageFilter, TAG).

use std::sync::Arc;

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
}
