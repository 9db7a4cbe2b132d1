//! `DataVersion`: how a broker's tables say that they changed.

use super::BodyError;
use super::json::{Json, json_object, nullable};
use crate::dialect::{Value, Writer};

json_object! {
    /// Version of a table. `remoting/protocol/DataVersion`; alone the body of 322.
    ///
    /// Two versions are the same if all three fields are.
    #[derive(Copy, Eq, Hash)]
    pub struct DataVersion {
        /// How often the table changed.
        "counter" counter: i64,
        /// State machine version of the store, 0 without a controller.
        "stateVersion" state_version: i64,
        /// When it changed last, ms.
        "timestamp" timestamp: i64,
    }
}
nullable!(DataVersion);

impl DataVersion {
    /// After one more change at `now_ms` (`DataVersion.nextVersion`).
    #[must_use]
    pub fn next(self, state_version: i64, now_ms: i64) -> Self {
        Self { counter: self.counter.wrapping_add(1), state_version, timestamp: now_ms }
    }
}
