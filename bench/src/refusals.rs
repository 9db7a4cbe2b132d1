//! Answers that were no success, counted by code.

use std::collections::BTreeMap;

use proto::command::Command;
use proto::frame::Frame;
use serde::Serialize;

use crate::error::{Error, code_name, hint_for, one_line};

/// What a server refused. A handful of codes exist, so the table stays small.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    by_code: BTreeMap<i32, Refusal>,
}

/// One response code.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    pub code: i32,
    pub name: &'static str,
    pub count: u64,
    /// Remark of the first one.
    pub remark: String,
}

impl Refusals {
    /// Counts an answer.
    pub fn count(&mut self, code: i32, frame: &Frame<'_>) {
        let refusal = self.by_code.entry(code).or_insert_with(|| Refusal {
            code,
            name: code_name(code),
            count: 0,
            remark: remark_of(frame),
        });
        refusal.count += 1;
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
            name: most.name,
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
