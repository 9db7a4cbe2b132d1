//! What the operator said: flags, a file in RocketMQ's form, defaults; checked as a whole.
//!
//! Nothing is guessed and nothing is dropped: a key that is unknown, misspelt, twice there, of
//! the wrong type or out of range refuses the start, and so does a promise that cannot be kept.
//! All that is wrong is told at once, each with its place and the way out.

pub mod check;
mod error;
pub mod file;
mod flags;
mod host;
pub mod keys;
pub mod limits;
mod notice;
mod program;
mod server;
mod settings;
pub mod value;

use std::io::Read;
use std::path::Path;

pub use error::{ConfigError, Place};
pub use file::Malformed;
pub use flags::{
    BrokerFlags, Command, Flags, Flush, Given, Invocation, NamesrvFlags, Print, ServerFlags,
};
pub use host::Host;
pub use notice::Notice;
pub use program::Program;
pub use server::{FlushMode, NameServerOptions, NamesrvConfig, ServerConfig};
pub use settings::{Effective, printed, shown};
pub use value::Endpoint;

use limits::FILE_BYTES_MAX;
use settings::Settings;

/// What to run, with everything decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// A broker, perhaps with a NameServer beside it.
    Server(Box<ServerConfig>),
    /// A NameServer alone.
    Namesrv(NamesrvConfig),
}

impl Config {
    /// How much to log.
    pub fn log_level(&self) -> tracing::Level {
        match self {
            Self::Server(config) => config.log_level,
            Self::Namesrv(config) => config.log_level,
        }
    }

    /// Every key as it holds.
    pub fn effective(&self) -> &[Effective] {
        match self {
            Self::Server(config) => &config.effective,
            Self::Namesrv(config) => &config.effective,
        }
    }

    /// What the operator should hear at start.
    pub fn notices(&self) -> &[Notice] {
        match self {
            Self::Server(config) => &config.notices,
            Self::Namesrv(config) => &config.notices,
        }
    }
}

/// Reads the file that the command line names, asks the machine, and resolves both.
///
/// # Errors
/// All that is wrong, in the order of the file, then of the flags, then what does not go together.
pub fn load(invocation: &Invocation) -> Result<Config, Vec<ConfigError>> {
    let host = Host::observe();
    match &invocation.config {
        None => resolve(invocation, None, &host),
        Some(path) => {
            let bytes = read(path).map_err(|error| vec![error])?;
            resolve(invocation, Some((path, &bytes)), &host)
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
    invocation: &Invocation,
    file: Option<(&Path, &[u8])>,
    host: &Host,
) -> Result<Config, Vec<ConfigError>> {
    let settings = Settings::gather(invocation.program, file, &invocation.given);
    if invocation.program.has_broker() {
        return ServerConfig::resolve(settings, host)
            .map(|config| Config::Server(Box::new(config)));
    }
    NamesrvConfig::resolve(settings, host).map(Config::Namesrv)
}

#[cfg(test)]
mod tests;
