//! What the operator said: flags, a file in RocketMQ's form, defaults; checked as a whole.
//!
//! Nothing is guessed and nothing is dropped: a key that is unknown, misspelt, twice there, of
//! the wrong type or out of range refuses the start, and so does a promise that cannot be kept.
//! All that is wrong is told at once, each with its place and the way out.

mod error;
pub mod file;
mod flags;
mod host;
pub mod keys;
pub mod limits;
mod server;
mod settings;
mod value;

use std::io::Read;
use std::path::Path;

pub use error::{ConfigError, Place};
pub use file::Malformed;
pub use flags::{Command, Flags, Flush, ServerFlags};
pub use host::Host;
pub use server::{FlushMode, Notice, ServerConfig};
pub use settings::Effective;
pub use value::Endpoint;

use limits::FILE_BYTES_MAX;
use settings::Settings;

/// Reads the file that the flags name, asks the machine, and resolves both.
///
/// # Errors
/// All that is wrong, in the order of the file, then of the flags, then what does not go together.
pub fn load(flags: &ServerFlags) -> Result<ServerConfig, Vec<ConfigError>> {
    let host = Host::observe();
    match &flags.config {
        None => resolve(flags, None, &host),
        Some(path) => {
            let bytes = read(path).map_err(|error| vec![error])?;
            resolve(flags, Some((path, &bytes)), &host)
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |reason: std::io::Error| ConfigError::Unreadable {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // A device or a pipe has no length to ask for: read one byte more than allowed at most.
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        let (path, found_bytes) = (path.to_owned(), bytes.len());
        return Err(ConfigError::TooLong { path, expected_bytes: FILE_BYTES_MAX, found_bytes });
    }
    Ok(bytes)
}

/// The configuration that flags, the text of a file and the machine make together.
///
/// # Errors
/// As [`load`].
pub fn resolve(
    flags: &ServerFlags,
    file: Option<(&Path, &[u8])>,
    host: &Host,
) -> Result<ServerConfig, Vec<ConfigError>> {
    ServerConfig::resolve(Settings::gather(file, &flags.given()), host)
}

#[cfg(test)]
mod tests;
