//! Letters: what the broker of one core asks that of another, and is answered.
//! Kind: machine

use std::sync::Arc;

use engine::shard::{FoundMessage, KeyQuery};
use proto::ids::Position;

/// A letter.
#[derive(Clone, Debug)]
pub enum Letter {
    /// Which messages of the receiver's shards have a key?
    Find {
        /// The sender's number of the question.
        number: u64,
        /// The question.
        query: Arc<KeyQuery>,
        /// Until when the answer is of use, monotonic ms: all cores read one clock.
        until_ms: u64,
    },
    /// Nobody waits for the answer to this question any more.
    Forget {
        /// The number of the question.
        number: u64,
    },
    /// The answer.
    Found {
        /// The number of the question.
        number: u64,
        /// What was found, or why that is not known.
        outcome: Result<FoundByKey, String>,
    },
}

/// Messages that have a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundByKey {
    /// The newest first, as many as were asked for.
    pub messages: Vec<FoundMessage>,
    /// When the newest message of the index was stored, ms, and a position behind it.
    pub index_end: (u64, Position),
}
