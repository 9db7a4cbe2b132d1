//! Changes on their way to disk: what an operator sets is answered when it is durable.
//! Owns: key-values and overrides as they are on disk, changes that wait, changes being written.
//! Lives on: the NameServer's thread.
//! Kind: machine
//! Invariants:
//! - what is shown is on disk, and what is on disk is shown, the moment of the change apart;
//! - at most one file is being written; what was asked meanwhile is in the next writing, together;
//! - a change is answered once, in the order of asking, and only when its outcome is known.
//!
//! Apache's NameServer answers success whatever becomes of its file (`KVConfigManager.persist`, 5.3.3).

use std::collections::VecDeque;

use proto::code::response;
use proto::command::Command;
use proto::frame::Encoding;

use super::ConnectionKey;
use super::key_values::KeyValues;
use super::limits::{CHANGES_WAITING_BYTES_MAX, CHANGES_WAITING_MAX};
use super::reply::{Refusal, Reply};
use super::settings::Overrides;

/// Whom to answer, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) connection: ConnectionKey,
    pub(super) opaque: i32,
    pub(super) encoding: Encoding,
    pub(super) is_oneway: bool,
}

/// What is to be set.
#[derive(Debug)]
pub(super) enum Change {
    /// 100, or 102 without a value.
    KeyValue { namespace: String, key: String, value: Option<String> },
    /// 318.
    Settings(Overrides),
}

/// One of the two files that a NameServer keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptFile {
    /// The key-value configuration, `kvConfig.json`.
    KeyValues,
    /// What was set over the wire, `namesrv.properties`.
    Settings,
}

/// A file to be written whole, durably, in the place of the one before.
#[derive(Debug)]
pub struct Save {
    /// Which.
    pub file: KeptFile,
    /// All of it.
    pub content: Vec<u8>,
}

/// An answer that had to wait.
#[derive(Debug)]
pub struct Answer {
    /// Over which connection.
    pub connection: ConnectionKey,
    /// The frame.
    pub frame: Vec<u8>,
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) key_values: KeyValues,
    pub(super) overrides: Overrides,
    waiting: VecDeque<(Asker, Change)>,
    waiting_bytes: usize,
    saving: Option<Saving>,
}

#[derive(Debug)]
struct Saving {
    next: Next,
    asked: Vec<(Asker, Result<(), Refusal>)>,
}

/// A file's content to be, as values.
#[derive(Debug)]
enum Next {
    KeyValues(KeyValues),
    Settings(Overrides),
}

impl Kept {
    pub(super) fn new(key_values: KeyValues, overrides: Overrides) -> Kept {
        Kept { key_values, overrides, ..Kept::default() }
    }

    /// Takes a change up.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) fn ask(&mut self, asker: Asker, change: Change) -> Result<(), Refusal> {
        let bytes = self.waiting_bytes + change.bytes();
        if self.waiting.len() >= CHANGES_WAITING_MAX || bytes > CHANGES_WAITING_BYTES_MAX {
            // As Apache says when the queue of its executor is full.
            let remark = "[OVERLOAD]system busy, start flow control for a while".to_owned();
            return Err(Refusal { code: response::SYSTEM_BUSY, remark });
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back((asker, change));
        Ok(())
    }

    /// What is to be written now: as many of the waiting changes as concern the same file.
    pub(super) fn next_save(&mut self) -> Option<Save> {
        if self.saving.is_some() {
            return None;
        }
        let file = self.waiting.front()?.1.file();
        let mut next = match file {
            KeptFile::KeyValues => Next::KeyValues(self.key_values.clone()),
            KeptFile::Settings => Next::Settings(self.overrides.clone()),
        };
        let mut asked = Vec::new();
        while let Some((asker, change)) = self.waiting.pop_front_if(|it| it.1.file() == file) {
            self.waiting_bytes -= change.bytes();
            asked.push((asker, next.apply(&change)));
        }
        let content = match &next {
            Next::KeyValues(key_values) => key_values.to_file(),
            Next::Settings(overrides) => overrides.to_file(),
        };
        self.saving = Some(Saving { next, asked });
        Some(Save { file, content })
    }

    /// The outcome of the last [`Save`], and so of the changes in it; whether the settings changed.
    ///
    /// # Panics
    /// If nothing was being written.
    pub(super) fn saved(&mut self, outcome: Result<(), String>) -> (Vec<Answer>, bool) {
        let Saving { next, asked } = self.saving.take().expect("a save was given out");
        let changes_settings = outcome.is_ok() && matches!(next, Next::Settings(_));
        match (&outcome, next) {
            (Ok(()), Next::KeyValues(key_values)) => self.key_values = key_values,
            (Ok(()), Next::Settings(overrides)) => self.overrides = overrides,
            (Err(_), _) => {}
        }
        let failed = outcome.err().map(|reason| {
            Refusal::system_error(format!("the name server could not keep the change: {reason}"))
        });
        let answers = asked.into_iter().filter(|(asker, _)| !asker.is_oneway);
        let answers = answers.map(|(asker, result)| {
            let result = result.and(failed.clone().map_or(Ok(()), Err));
            let reply = result.map_or_else(Reply::from, |()| Reply::done());
            let mut frame = Vec::new();
            reply.write(asker.opaque, asker.encoding, &mut frame);
            Answer { connection: asker.connection, frame }
        });
        (answers.collect(), changes_settings)
    }
}

impl Next {
    fn apply(&mut self, change: &Change) -> Result<(), Refusal> {
        match (self, change) {
            (Next::KeyValues(table), Change::KeyValue { namespace, key, value: Some(value) }) => {
                table.put(namespace, key, value)
            }
            (Next::KeyValues(table), Change::KeyValue { namespace, key, value: None }) => {
                table.remove(namespace, key);
                Ok(())
            }
            (Next::Settings(overrides), Change::Settings(newer)) => {
                overrides.extend(newer);
                Ok(())
            }
            _ => unreachable!("the changes of one save concern one file"),
        }
    }
}

impl Change {
    fn file(&self) -> KeptFile {
        match self {
            Change::KeyValue { .. } => KeptFile::KeyValues,
            Change::Settings(_) => KeptFile::Settings,
        }
    }

    /// About what it takes while it waits.
    fn bytes(&self) -> usize {
        match self {
            Change::KeyValue { namespace, key, value } => {
                namespace.len() + key.len() + value.as_ref().map_or(0, String::len)
            }
            Change::Settings(overrides) => overrides.iter().map(|it| it.0.len() + it.1.len()).sum(),
        }
    }
}

impl Asker {
    pub(super) fn of(connection: ConnectionKey, command: &Command<'_>) -> Asker {
        Asker {
            connection,
            opaque: command.opaque,
            encoding: command.encoding,
            is_oneway: command.is_oneway(),
        }
    }
}
