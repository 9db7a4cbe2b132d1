//! Answers that were no success, counted by code.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proto::command::Command;
use proto::frame::Frame;
use serde::{Deserialize, Serialize};

use crate::error::{Error, code_name, hint_for, one_line};

/// What a server refused. A handful of codes exist, so the table stays small.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Refusals {
    by_code: BTreeMap<i32, Refusal>,
}

/// One response code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: i32,
    pub name: String,
    /// Messages, or pulls.
    pub count: u64,
    /// Remark of the first one.
    pub remark: String,
}

impl Refusals {
    /// Counts an answer to a request with so many messages.
    pub fn count(&mut self, code: i32, count: u64, frame: &Frame<'_>) {
        let refusal = self.by_code.entry(code).or_insert_with(|| Refusal {
            code,
            name: code_name(code).to_owned(),
            count: 0,
            remark: remark_of(frame),
        });
        refusal.count += count;
    }

    /// Adds those of another process.
    pub fn merge(&mut self, other: Refusals) {
        for (code, refusal) in other.by_code {
            match self.by_code.entry(code) {
                Entry::Occupied(mut mine) => mine.get_mut().count += refusal.count,
                Entry::Vacant(place) => {
                    place.insert(refusal);
                }
            }
        }
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.by_code.values().map(|refusal| refusal.count).sum()
    }

    /// All of them, by code.
    pub fn list(&self) -> Vec<Refusal> {
        self.by_code.values().cloned().collect()
    }

    /// The error to end with when nothing else came.
    pub fn as_error(&self, address: &str, request: &str) -> Option<Error> {
        let most = self.by_code.values().max_by_key(|refusal| refusal.count)?;
        Some(Error::Refused {
            address: address.to_owned(),
            request: format!("every {request} ({} of them)", self.total()),
            code: most.code,
            name: code_name(most.code),
            remark: most.remark.clone(),
            hint: hint_for(most.code),
        })
    }
}

fn remark_of(frame: &Frame<'_>) -> String {
    let command = Command::decode(frame).ok();
    let remark = command.as_ref().and_then(|command| command.remark);
    remark.map(|text| one_line(&text.to_cow())).unwrap_or_default()
}
