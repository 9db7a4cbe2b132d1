//! The programs that read a configuration.

use std::fmt;
use std::path::Path;

use clap::ValueEnum;

/// Who reads a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// NameServer and broker in one process: reads the keys of both
    Server,
    /// A broker alone: reads broker.conf
    Broker,
    /// A NameServer alone: reads namesrv.conf
    Namesrv,
}

impl Program {
    /// The program that a file of this name is for, if nobody says so.
    pub fn of_file(path: &Path) -> Self {
        match path.file_name() {
            Some(name) if name == "namesrv.conf" => Self::Namesrv,
            _ => Self::Server,
        }
    }

    /// Whether a broker is in it.
    pub fn has_broker(self) -> bool {
        matches!(self, Self::Server | Self::Broker)
    }

    /// Whether a NameServer is in it.
    pub fn has_name_server(self) -> bool {
        matches!(self, Self::Server | Self::Namesrv)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Server => "ringmq server",
            Self::Broker => "ringmq broker",
            Self::Namesrv => "ringmq namesrv",
        })
    }
}
