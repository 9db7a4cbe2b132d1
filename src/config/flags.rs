//! The command line.
//!
//! Values that a configuration file can hold as well stay text here: the table of keys checks a
//! flag and a line of the file by the same rule, and reports both in one list.

use std::path::PathBuf;

use crate::inspect::InspectFlags;
use crate::ping::PingFlags;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Apache RocketMQ rebuilt for Linux: NameServer and broker in one program.
#[derive(Debug, Parser)]
#[command(name = "ringmq", version, about, arg_required_else_help = true)]
pub struct Flags {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run NameServer and broker in this process; nothing else is needed.
    Server(ServerFlags),
    /// Look into a stopped store: verify it, explain a position, a queue or a segment.
    Inspect(InspectFlags),
    /// Ask a running broker and its NameServer whether they answer.
    Ping(PingFlags),
}

/// Flags of `ringmq server`; each wins over its key in the file.
#[derive(Debug, Default, Args)]
pub struct ServerFlags {
    /// Directory of the store; made if it is not there [default: ./ringmq-store]
    #[arg(long, value_name = "DIR")]
    pub store: Option<String>,

    /// IP address to accept connections on; 0.0.0.0 is every interface [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// IP address that clients are told to connect to [default: the address of --listen]
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<String>,

    /// TCP port of the broker [default: 10911]
    #[arg(long, value_name = "N")]
    pub broker_port: Option<String>,

    /// TCP port of the NameServer [default: 9876]
    #[arg(long, value_name = "N")]
    pub namesrv_port: Option<String>,

    /// Number of shards of a new store; an existing store keeps its own [default: 1, the only number so far]
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,

    /// Number of threads that run shards; only 1 so far [default: 1]
    #[arg(long, value_name = "N")]
    pub cores: Option<String>,

    /// When a send is acknowledged: after it is on the disk, or before [default: sync]
    #[arg(long, value_name = "MODE")]
    pub flush: Option<Flush>,

    /// File of RocketMQ's broker.conf form with further settings
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How much to log: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// The values of `--flush`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flush {
    /// Acknowledge what would survive a loss of power.
    Sync,
    /// Acknowledge what is written but perhaps still in the device's cache.
    Async,
}

/// A flag that was given: its name, the key that it stands for and its value as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The flag as the operator wrote it, such as `--listen`.
    pub flag: &'static str,
    /// The key of the file with the same meaning.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

impl ServerFlags {
    /// The flags that were given, as settings of keys.
    pub fn given(&self) -> Vec<Given> {
        let flush = self.flush.map(|flush| match flush {
            Flush::Sync => "SYNC_FLUSH".to_owned(),
            Flush::Async => "ASYNC_FLUSH".to_owned(),
        });
        let all = [
            ("--store", "storePathRootDir", &self.store),
            ("--listen", "bindAddress", &self.listen),
            ("--advertise", "brokerIP1", &self.advertise),
            ("--broker-port", "listenPort", &self.broker_port),
            ("--namesrv-port", "ringmqNamesrvPort", &self.namesrv_port),
            ("--shards", "ringmqShards", &self.shards),
            ("--cores", "ringmqCores", &self.cores),
            ("--flush", "flushDiskType", &flush),
            ("--log-level", "ringmqLogLevel", &self.log_level),
        ];
        let given = all.into_iter().filter_map(|(flag, key, value)| {
            value.as_ref().map(|value| Given { flag, key, value: value.trim().to_owned() })
        });
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn server(arguments: &str) -> ServerFlags {
        let words = ["ringmq", "server"].into_iter().chain(arguments.split_whitespace());
        let Command::Server(flags) = Flags::try_parse_from(words).unwrap().command else {
            panic!("the words of a server")
        };
        flags
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Flags::command().debug_assert();
    }

    #[test]
    fn every_flag_stands_for_a_key() {
        let flags = server(
            "--store /s --listen 0.0.0.0 --advertise 10.0.0.1 --broker-port 1 --namesrv-port 2 \
             --shards 3 --cores 1 --flush async --log-level debug -c broker.conf",
        );
        let given = flags.given();
        assert_eq!(given.len(), 9);
        for Given { key, .. } in &given {
            assert!(super::super::keys::find(key).is_some(), "{key}");
        }
        assert_eq!(flags.config, Some(PathBuf::from("broker.conf")));
        assert!(
            given.iter().any(|given| given.key == "flushDiskType" && given.value == "ASYNC_FLUSH")
        );
    }

    #[test]
    fn no_subcommand_prints_help_that_explains_every_flag() {
        use clap::error::ErrorKind;
        let nothing = Flags::try_parse_from(["ringmq"]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
        let help = Flags::try_parse_from(["ringmq", "--help"]).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        let server = Flags::command();
        let server = server.find_subcommand("server").unwrap();
        for flag in server.get_arguments() {
            assert!(flag.get_help().is_some(), "{}", flag.get_id());
        }
    }
}
