//! Typed bodies: the JSON documents in requests and responses.
//!
//! Each type is one class of Apache RocketMQ 5.3.3 and is named after it; its documentation says
//! which and which request codes carry it. All have `parse(&[u8])`, which reads what fastjson would
//! read (unknown fields ignored, absent fields at Java's defaults, null like absent, unknown enum
//! names as nothing), and `write(&mut Vec<u8>)`, which writes what fastjson would write: fields in
//! alphabetical order, nothing for what is `None`, no white space. Maps and sets are written in
//! ascending order, where Java's order is that of a hash table and means nothing.

mod admin;
mod base64;
mod connection;
mod group;
mod heartbeat;
mod json;
mod lock;
mod offsets;
mod pop;
mod queue;
mod register;
mod route;
#[cfg(test)]
mod sample;
mod static_topic;
mod stats;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;
mod version;

pub use admin::*;
pub use connection::*;
pub use group::*;
pub use heartbeat::*;
pub use lock::*;
pub use offsets::*;
pub use pop::*;
pub use queue::*;
pub use register::*;
pub use route::*;
pub use static_topic::*;
pub use stats::*;
pub use subscription::*;
pub use topic::*;
pub use version::*;

use crate::dialect;

/// Why a body is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not fastjson's dialect.
    #[error("malformed body: {0}")]
    Syntax(#[from] dialect::Error),
    /// A value of the wrong type, or out of its type's range.
    #[error("field {field}: expected {expected}, found {found}")]
    Type {
        /// JSON name of the innermost field that has a name; empty at the top.
        field: &'static str,
        /// What the field needs.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A compressed body that does not inflate, or ends early.
    #[error("compressed body does not inflate: {reason}")]
    Inflate {
        /// What the inflater says.
        reason: String,
    },
    /// A compressed body that inflates beyond a bound.
    #[error("compressed body holds more than {limit} {unit}")]
    TooLarge {
        /// The bound.
        limit: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// A topic in a compressed body that is not `name readQ writeQ perm filterType {attributes}`.
    #[error("compressed body: malformed topic entry {entry:?}")]
    TopicEntry {
        /// The entry, shortened.
        entry: String,
    },
}
