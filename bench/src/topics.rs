//! The topics of a run: one with the name given, or several, numbered behind it.

use serde::{Deserialize, Serialize};

/// Topics of a run, at the most: what creating them one by one still does in minutes.
pub const TOPICS_MAX: u32 = 100_000;

/// Names of the topics of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicNames {
    prefix: String,
    count: u32,
}

impl TopicNames {
    /// `count` topics from 1 on; with one its name is `prefix`, with more they are `prefix-0` and so on.
    pub fn new(prefix: &str, count: u32) -> TopicNames {
        assert!(count > 0);
        TopicNames { prefix: prefix.to_owned(), count }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Name of the topic with this index.
    pub fn name(&self, index: u32) -> String {
        assert!(index < self.count);
        match self.count {
            1 => self.prefix.clone(),
            _ => self.numbered(u64::from(index)),
        }
    }

    /// All names, by index.
    pub fn each(&self) -> impl ExactSizeIterator<Item = String> + '_ {
        (0..self.count).map(|index| self.name(index))
    }

    /// Counts of digits that names end with; 0 for the one topic without a number.
    pub fn digit_counts(&self) -> std::ops::RangeInclusive<usize> {
        match self.count {
            1 => 0..=0,
            _ => 1..=digits_of(self.count - 1),
        }
    }

    /// Which of [`TopicNames::digit_counts`] a topic's name has, from 0.
    pub fn digit_class(&self, index: u32) -> usize {
        if self.count == 1 { 0 } else { digits_of(index) - 1 }
    }

    /// The name that a topic with this number would have, whether or not there is one.
    pub fn numbered(&self, number: u64) -> String {
        format!("{}-{number}", self.prefix)
    }

    /// The name without a number.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Decimal digits of a number.
pub fn digits_of(value: u32) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_topic_has_no_number_and_several_have() {
        let one = TopicNames::new("t", 1);
        assert_eq!(
            (one.name(0), one.digit_counts(), one.digit_class(0)),
            ("t".to_owned(), 0..=0, 0)
        );
        let many = TopicNames::new("t", 1000);
        assert_eq!((many.name(0), many.name(999)), ("t-0".to_owned(), "t-999".to_owned()));
        assert_eq!(many.digit_counts(), 1..=3);
        let classes: Vec<usize> = [0, 9, 10, 99, 100].map(|index| many.digit_class(index)).into();
        assert_eq!(classes, [0, 0, 1, 1, 2]);
        assert_eq!(many.each().len(), 1000);
    }
}
