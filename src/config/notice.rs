//! What is no error, but should not pass in silence.

use std::fmt;
use std::net::IpAddr;

use super::error::Place;
use super::value::Endpoint;

/// Something that is no error, but should not pass in silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A key that is without effect, or whose subject is not there yet.
    WithoutEffect {
        /// Where it is set.
        place: Place,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// `transientStorePoolEnable` beside `SYNC_FLUSH`: the stronger promise holds.
    TransientPoolUnused,
    /// Clients elsewhere are told an address that this server does not listen on.
    OnlyLocal {
        /// What they are told.
        advertise: IpAddr,
        /// Where the server listens.
        listen: IpAddr,
    },
    /// A NameServer elsewhere is told an address that only this machine can dial.
    LocalAddressElsewhere {
        /// What it is told.
        advertise: IpAddr,
        /// The NameServer.
        name_server: Endpoint,
    },
    /// A broker without NameServers.
    NoNameServer,
}

impl fmt::Display for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutEffect { place, key, value, reason } => {
                write!(out, "{place}: {key} = {value} has no effect: {reason}")
            }
            Self::TransientPoolUnused => out.write_str(
                "transientStorePoolEnable = true has no effect: flushDiskType is SYNC_FLUSH; \
                 set ASYNC_FLUSH if messages may be lost in a crash",
            ),
            Self::OnlyLocal { advertise, listen } => write!(
                out,
                "clients are told to connect to {advertise}, but the server listens on {listen} \
                 only; set --listen 0.0.0.0 (bindAddress) unless something forwards to it",
            ),
            Self::LocalAddressElsewhere { advertise, name_server } => write!(
                out,
                "the NameServer {name_server} is told that this broker is at {advertise}, where \
                 clients on other machines find themselves; set --listen 0.0.0.0 (bindAddress) or \
                 --advertise (brokerIP1) unless all of them run here",
            ),
            Self::NoNameServer => out.write_str(
                "this broker registers with no NameServer, so no client finds it by a topic; set \
                 -n (namesrvAddr)",
            ),
        }
    }
}
