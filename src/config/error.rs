//! What can be wrong with a configuration, told so that the operator can mend it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::Malformed;
use super::program::Program;

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// A line of a file, counted from 1.
    File(Arc<PathBuf>, u32),
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path, line) => write!(out, "{}:{line}", path.display()),
            Self::Flag(flag) => out.write_str(flag),
            Self::Environment(variable) => write!(out, "environment variable {variable}"),
        }
    }
}

/// One thing that is wrong. Every message names place, key, what was found and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file of `-c` cannot be read.
    #[error("{}: cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file of `-c` is no configuration file.
    #[error("{}: expected at most {expected_bytes} bytes, found {found_bytes}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The limit.
        expected_bytes: usize,
        /// Its size.
        found_bytes: usize,
    },
    /// A line is not `key = value`.
    #[error("{place}: {reason}")]
    Malformed {
        /// Where.
        place: Place,
        /// Why.
        reason: Malformed,
    },
    /// Nothing has this name.
    #[error("{place}: {key} is not a key{}", did_you_mean(*nearest))]
    UnknownKey {
        /// Where.
        place: Place,
        /// As it is written.
        key: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// Another program has a key of this name.
    #[error("{place}: {key} is no key of {program}: it belongs to {home}; remove the line")]
    OtherPrograms {
        /// Where.
        place: Place,
        /// The key.
        key: &'static str,
        /// What reads the file.
        program: Program,
        /// Where it belongs.
        home: &'static str,
    },
    /// There is so much wrong that reading stopped.
    #[error("{place}: reading stops here, after {count} mistakes")]
    TooMany {
        /// The first line that was not read.
        place: Place,
        /// How many were found.
        count: usize,
    },
    /// A key stands twice in a file; RocketMQ would silently take the second.
    #[error("{place}: {key} is set already at {first}: remove one of the two")]
    Duplicate {
        /// Where the second is.
        place: Place,
        /// The key.
        key: &'static str,
        /// Where the first is.
        first: Place,
    },
    /// The value is of another type.
    #[error("{place}: {key} = {found}: expected {expected}{}", comment_advice(found))]
    WrongType {
        /// Where.
        place: Place,
        /// The key.
        key: &'static str,
        /// The value as it is written.
        found: String,
        /// The type.
        expected: String,
    },
    /// The value is of the type, but too small, too large or between the steps.
    #[error("{place}: {key} = {found}: expected {expected}{}", comment_advice(found))]
    OutOfRange {
        /// Where.
        place: Place,
        /// The key.
        key: &'static str,
        /// The value as it is written.
        found: String,
        /// The range.
        expected: String,
    },
    /// The value asks for something that is not there.
    #[error("{place}: {key} = {found}: {reason}; the only value so far is {}", quoted(expected))]
    NotThere {
        /// Where.
        place: Place,
        /// The key.
        key: &'static str,
        /// The value as it is written.
        found: String,
        /// What it could be.
        expected: String,
        /// What is missing.
        reason: &'static str,
    },
    /// Two settings cannot both hold.
    #[error("{place}: {key} = {found}: {reason}")]
    Conflict {
        /// Where the one is that should probably change.
        place: Place,
        /// Its key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What is in its way, and the fix.
        reason: String,
    },
}

fn comment_advice(found: &str) -> &'static str {
    if found.contains(" #") { "; a comment needs a line of its own" } else { "" }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

fn quoted(text: &str) -> &str {
    if text.is_empty() { "none at all: remove the line" } else { text }
}
