//! `SubscriptionData`: what a group wants of a topic.

use std::collections::BTreeSet;

use super::BodyError;
use super::json::{Json, json_object, nullable};
use crate::dialect::{Value, Writer};
use crate::ids::java_hash;

/// Expression type of tags.
pub const TAG: &str = "TAG";
/// Expression type of SQL.
pub const SQL92: &str = "SQL92";
/// The expression that takes everything.
pub const SUB_ALL: &str = "*";

json_object! {
    /// Subscription of a group to a topic. `remoting/protocol/heartbeat/SubscriptionData`; in 34,
    /// 46, 203, 345.
    #[derive(Eq)]
    pub struct SubscriptionData {
        /// Filter by a class on a filter server: gone, always false.
        "classFilterMode" class_filter_mode: bool,
        /// Java hashes of the tags.
        "codeSet" code_set: BTreeSet<i32>,
        /// [`TAG`] (also when absent, null or empty) or [`SQL92`].
        "expressionType" expression_type: String = TAG.to_owned(),
        /// The expression's text.
        "subString" sub_string: String,
        /// When the client made it, ms; greater replaces less.
        "subVersion" sub_version: i64,
        /// The tags; empty for everything.
        "tagsSet" tags_set: BTreeSet<String>,
        /// Name of the topic.
        "topic" topic: String,
    }
}
nullable!(SubscriptionData);

/// Why a TAG expression cannot be compiled. Displays as Apache's exception text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// Nothing but separators, such as `||`.
    #[error("subString split error")]
    OnlySeparators,
    /// An empty expression of a type other than TAG.
    #[error("Expression can't be null!")]
    Empty,
}

impl SubscriptionData {
    /// Compiles a TAG expression (`FilterAPI.buildSubscriptionData`): `*` or nothing for
    /// everything, else tags separated by `||`. `sub_version` is the clock in Apache; here the
    /// caller says.
    ///
    /// # Errors
    /// An expression of separators only.
    pub fn tags(
        topic: &str,
        expression: &str,
        sub_version: i64,
    ) -> Result<Self, SubscriptionError> {
        let mut subscription = Self {
            topic: topic.to_owned(),
            sub_string: expression.to_owned(),
            sub_version,
            ..Self::default()
        };
        if expression.is_empty() || expression == SUB_ALL {
            subscription.sub_string = SUB_ALL.to_owned();
            return Ok(subscription);
        }
        // Java's split drops empty strings at the end, so only separators leave nothing at all.
        if expression.split("||").all(str::is_empty) {
            return Err(SubscriptionError::OnlySeparators);
        }
        for tag in expression.split("||").map(java_trim).filter(|tag| !tag.is_empty()) {
            subscription.code_set.insert(java_hash(tag.as_bytes()));
            subscription.tags_set.insert(tag.to_owned());
        }
        Ok(subscription)
    }

    /// Compiles an expression of any type (`FilterAPI.build`); none means TAG. The text of other
    /// types is kept as it is.
    ///
    /// # Errors
    /// As [`SubscriptionData::tags`], or an empty expression of another type.
    pub fn build(
        topic: &str,
        expression: &str,
        expression_type: Option<&str>,
        sub_version: i64,
    ) -> Result<Self, SubscriptionError> {
        match expression_type {
            None | Some(TAG) => Self::tags(topic, expression, sub_version),
            Some(_) if expression.is_empty() => Err(SubscriptionError::Empty),
            Some(other) => Ok(Self {
                topic: topic.to_owned(),
                sub_string: expression.to_owned(),
                expression_type: other.to_owned(),
                sub_version,
                ..Self::default()
            }),
        }
    }

    /// Whether the expression is one of tags (`ExpressionType.isTagType`).
    pub fn is_tag_type(&self) -> bool {
        self.expression_type.is_empty() || self.expression_type == TAG
    }
}

/// Java's `String.trim`: everything up to and including the blank.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}
