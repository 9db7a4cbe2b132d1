//! How many connections the limit of open files leaves room for.
//! Kind: machine
//!
//! Files come first: a broker that refuses connections can be mended, one that cannot open the next
//! segment refuses every send. So connections get at most half of the descriptors, and fewer when the
//! store has many files; and however many files come later, the ring gives no connection one of the
//! last quarter ([`FILES_PART`]).

use std::fmt;

use runtime::limits::FILES_PART;
use runtime::probe::{OPEN_FILES_ADVICE, OPEN_FILES_WANTED};

/// Connections get at most one descriptor of so many.
const CONNECTIONS_PART: u64 = 2;

/// Descriptors that come after the count, beside files and connections: the rings and eventfds of the
/// threads that are about to start, about 16 of each, and 32 connections for health and metrics.
const OTHERS: u64 = 128;

/// So many connections at the most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connections {
    /// To the broker.
    pub broker: u32,
    /// To the NameServer in the process.
    pub name_server: u32,
}

impl Connections {
    /// As many of these as `limit` descriptors leave room for, of which `open` are taken: all, or else
    /// an equal share for broker and NameServer, less what one of them does not want.
    pub fn within(self, limit: u64, open: u64) -> Connections {
        let beside = limit - limit / FILES_PART;
        let room = beside.saturating_sub(open + OTHERS).min(limit / CONNECTIONS_PART);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let share = |own: u32, other: u32| own.min((room / 2).max(room.saturating_sub(other)));
        // One at least: who wants to know what is wrong must be able to ask.
        let share = |own, other| share(own, other).max(own.min(1));
        Connections {
            broker: share(self.broker, self.name_server),
            name_server: share(self.name_server, self.broker),
        }
    }
}

/// Fewer connections are taken than are configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FewerConnections {
    /// RLIMIT_NOFILE.
    pub limit: u64,
    /// `ringmqConnectionsMax`.
    pub configured: Connections,
    /// What there is room for.
    pub allowed: Connections,
}

impl fmt::Display for FewerConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FewerConnections { limit, configured, allowed } = self;
        write!(f, "the limit of open files (RLIMIT_NOFILE) is {limit}: at most ")?;
        for (index, (allowed, configured, whose)) in [
            (allowed.broker, configured.broker, "the broker"),
            (allowed.name_server, configured.name_server, "the NameServer"),
        ]
        .into_iter()
        .filter(|(_, configured, _)| *configured > 0)
        .enumerate()
        {
            let separator = if index == 0 { "" } else { " and " };
            write!(f, "{separator}{allowed} connections to {whose} are taken, not {configured}")?;
        }
        let wanted = u64::from(configured.broker) + u64::from(configured.name_server);
        let needed = (wanted * CONNECTIONS_PART).max(OPEN_FILES_WANTED);
        write!(f, " (ringmqConnectionsMax), the rest is for files; ")?;
        if needed == OPEN_FILES_WANTED {
            return f.write_str(OPEN_FILES_ADVICE);
        }
        write!(f, "raise it to {needed}, or lower ringmqConnectionsMax")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: (u32, u32), limit: u64, open: u64, expect: (u32, u32)) {
        let connections = |(broker, name_server)| Connections { broker, name_server };
        let within = connections(wanted).within(limit, open);
        assert_eq!(within, connections(expect), "of {wanted:?}, {limit} with {open} open");
    }

    #[test]
    fn connections_get_what_files_leave() {
        check((10_000, 10_000), 65_536, 500, (10_000, 10_000));
        check((10_000, 10_000), 1024, 20, (256, 256));
        check((10_000, 0), 1024, 20, (512, 0));
        check((0, 10_000), 1024, 20, (0, 512));
        check((10_000, 50), 1024, 20, (462, 50));
        check((50, 10_000), 1024, 20, (50, 462));
        // 1024 - 256 - 500 - 128
        check((10_000, 10_000), 1024, 500, (70, 70));
        check((10_000, 10_000), 1024, 900, (1, 1));
        check((10_000, 10_000), 256, 20, (22, 22));
        check((1_000_000, 1_000_000), u64::MAX, 20, (1_000_000, 1_000_000));
    }

    #[test]
    fn the_warning_says_how_many_and_what_to_do() {
        let configured = Connections { broker: 10_000, name_server: 10_000 };
        let allowed = configured.within(1024, 20);
        let said = FewerConnections { limit: 1024, configured, allowed }.to_string();
        assert!(
            said.contains("is 1024: at most 256 connections to the broker are taken"),
            "{said}"
        );
        assert!(said.contains("and 256 connections to the NameServer are taken, not"), "{said}");
        assert!(said.ends_with(OPEN_FILES_ADVICE), "{said}");
        let configured = Connections { broker: 0, name_server: 1_000_000 };
        let allowed = configured.within(65_536, 20);
        let said = FewerConnections { limit: 65_536, configured, allowed }.to_string();
        assert!(said.contains("at most 32768 connections to the NameServer"), "{said}");
        assert!(!said.contains("to the broker"), "{said}");
        assert!(said.contains("raise it to 2000000, or lower ringmqConnectionsMax"), "{said}");
    }
}
