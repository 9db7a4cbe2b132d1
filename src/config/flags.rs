//! The command line.
//!
//! Values that a configuration file can hold as well stay text here: the table of keys checks a
//! flag and a line of the file by the same rule, and reports both in one list.

use std::path::PathBuf;

use super::Program;
use super::check::CheckFlags;
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
    /// Run a broker alone; it registers with the NameServers of -n, as mqbroker does.
    Broker(BrokerFlags),
    /// Run a NameServer alone, as mqnamesrv does.
    Namesrv(NamesrvFlags),
    /// Say what a configuration file means and what is wrong with it; runs nothing.
    CheckConfig(CheckFlags),
    /// Look into a stopped store: verify it, explain a position, a queue or a segment.
    Inspect(InspectFlags),
    /// Ask a running broker and its NameServer whether they answer.
    Ping(PingFlags),
}

/// Flags of `ringmq server`; each wins over its key in the file.
#[derive(Debug, Default, Args)]
pub struct ServerFlags {
    /// Those of the broker.
    #[command(flatten)]
    pub broker: BrokerFlags,

    /// TCP port of the NameServer [default: 9876]
    #[arg(long, value_name = "N")]
    pub namesrv_port: Option<String>,
}

/// Flags of `ringmq broker`; each wins over its key in the file.
#[derive(Debug, Default, Args)]
pub struct BrokerFlags {
    /// NameServers to register with, as '192.0.2.1:9876;192.0.2.2:9876'; any may be down. Of ringmq
    /// broker, NAMESRV_ADDR of the environment if neither flag nor file names one
    #[arg(short = 'n', long = "namesrv", alias = "namesrvAddr", value_name = "HOST:PORT;…")]
    pub name_servers: Option<String>,

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

    /// Number of shards of the store: more can be added, none taken away [default: those that it has, of a
    /// new one as many as cores]
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,

    /// Number of threads that run shards [default: CPUs but one]
    #[arg(long, value_name = "N")]
    pub cores: Option<String>,

    /// When a send is acknowledged: after it is on the disk, or before [default: sync]
    #[arg(long, value_name = "MODE")]
    pub flush: Option<Flush>,

    /// File of RocketMQ's broker.conf form with further settings
    #[arg(short = 'c', long = "config", alias = "configFile", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How much to log: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Print every key as it holds, as key=value, and exit
    #[arg(short = 'p', long = "print", alias = "printConfigItem")]
    pub print: bool,

    /// Print the important keys as they hold, and exit; -p wins
    #[arg(short = 'm', long = "print-important", alias = "printImportantConfig")]
    pub print_important: bool,
}

/// Flags of `ringmq namesrv`; each wins over its key in the file.
#[derive(Debug, Default, Args)]
pub struct NamesrvFlags {
    /// IP address to accept connections on; 0.0.0.0 is every interface [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// TCP port [default: 9876]
    #[arg(long, value_name = "N")]
    pub namesrv_port: Option<String>,

    /// File of RocketMQ's namesrv.conf form with further settings
    #[arg(short = 'c', long = "config", alias = "configFile", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How much to log: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Print every key as it holds, as key=value, and exit
    #[arg(short = 'p', long = "print", alias = "printConfigItem")]
    pub print: bool,
}

/// Which settings to print instead of running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Print {
    /// `-p`: every key.
    All,
    /// `-m`: RocketMQ's important ones, and all of ours.
    Important,
}

/// A program, and what its command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to run.
    pub program: Program,
    /// The file of `-c`.
    pub config: Option<PathBuf>,
    /// The flags that stand for keys.
    pub given: Vec<Given>,
    /// Print these instead.
    pub print: Option<Print>,
}

impl Invocation {
    /// A program without file and flags.
    pub fn plain(program: Program) -> Self {
        Self { program, config: None, given: Vec::new(), print: None }
    }
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

type Row<'a> = (&'static str, &'static str, &'a Option<String>);

fn given<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Vec<Given> {
    let given = rows.into_iter().filter_map(|(flag, key, value)| {
        value.as_ref().map(|value| Given { flag, key, value: value.trim().to_owned() })
    });
    given.collect()
}

impl ServerFlags {
    /// What they say.
    pub fn invocation(&self) -> Invocation {
        let mut invocation = self.broker.invocation();
        invocation.program = Program::Server;
        invocation.given.extend(given([(
            "--namesrv-port",
            "ringmqNamesrvPort",
            &self.namesrv_port,
        )]));
        invocation
    }
}

impl BrokerFlags {
    /// What they say.
    pub fn invocation(&self) -> Invocation {
        let flush = self.flush.map(|flush| match flush {
            Flush::Sync => "SYNC_FLUSH".to_owned(),
            Flush::Async => "ASYNC_FLUSH".to_owned(),
        });
        let given = given([
            ("-n", "namesrvAddr", &self.name_servers),
            ("--store", "storePathRootDir", &self.store),
            ("--listen", "bindAddress", &self.listen),
            ("--advertise", "brokerIP1", &self.advertise),
            ("--broker-port", "listenPort", &self.broker_port),
            ("--shards", "ringmqShards", &self.shards),
            ("--cores", "ringmqCores", &self.cores),
            ("--flush", "flushDiskType", &flush),
            ("--log-level", "ringmqLogLevel", &self.log_level),
        ]);
        let print = match (self.print, self.print_important) {
            (true, _) => Some(Print::All),
            (false, true) => Some(Print::Important),
            (false, false) => None,
        };
        Invocation { program: Program::Broker, config: self.config.clone(), given, print }
    }
}

impl NamesrvFlags {
    /// What they say.
    pub fn invocation(&self) -> Invocation {
        let given = given([
            ("--listen", "bindAddress", &self.listen),
            ("--namesrv-port", "listenPort", &self.namesrv_port),
            ("--log-level", "ringmqLogLevel", &self.log_level),
        ]);
        let print = self.print.then_some(Print::All);
        Invocation { program: Program::Namesrv, config: self.config.clone(), given, print }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn invocation(command_line: &str) -> Invocation {
        let words = ["ringmq"].into_iter().chain(command_line.split_whitespace());
        match Flags::try_parse_from(words).unwrap().command {
            Command::Server(flags) => flags.invocation(),
            Command::Broker(flags) => flags.invocation(),
            Command::Namesrv(flags) => flags.invocation(),
            other => panic!("{other:?} runs nothing"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Flags::command().debug_assert();
    }

    #[test]
    fn every_flag_stands_for_a_key_that_its_program_reads() {
        let broker = "--store /s --listen 0.0.0.0 --advertise 10.0.0.1 --broker-port 1 \
                      --shards 3 --cores 1 --flush async --log-level debug -n a:1;b:2";
        for (command_line, count) in [
            (format!("server {broker} --namesrv-port 2"), 10),
            (format!("broker {broker}"), 9),
            ("namesrv --listen 0.0.0.0 --namesrv-port 2 --log-level debug".to_owned(), 3),
        ] {
            let found = invocation(&command_line);
            assert_eq!(found.given.len(), count, "{command_line}");
            for Given { key, flag, .. } in &found.given {
                let key = super::super::keys::find(found.program, key);
                assert!(key.is_some(), "{flag} of {}", found.program);
            }
        }
        let given = invocation("broker --flush async").given;
        assert_eq!(given.first().map(|given| given.value.as_str()), Some("ASYNC_FLUSH"));
    }

    #[test]
    fn the_letters_are_those_of_mqbroker_and_mqnamesrv() {
        let broker = invocation("broker -n 192.0.2.1:9876;ns:9876 -c broker.conf");
        assert_eq!(broker.program, Program::Broker);
        assert_eq!(broker.config, Some(PathBuf::from("broker.conf")));
        let name_servers = broker.given.first().map(|given| (given.key, given.value.as_str()));
        assert_eq!(name_servers, Some(("namesrvAddr", "192.0.2.1:9876;ns:9876")));
        let long = "broker --namesrvAddr 192.0.2.1:9876;ns:9876 --configFile broker.conf";
        assert_eq!(invocation(long), broker);

        assert_eq!(invocation("broker -p -m").print, Some(Print::All), "as mqbroker looks at it");
        assert_eq!(invocation("broker -m").print, Some(Print::Important));
        assert_eq!(invocation("broker --printImportantConfig").print, Some(Print::Important));
        assert_eq!(invocation("broker --printConfigItem").print, Some(Print::All));
        assert_eq!(invocation("broker").print, None);

        let namesrv = invocation("namesrv -c namesrv.conf -p");
        assert_eq!((namesrv.program, namesrv.print), (Program::Namesrv, Some(Print::All)));
        assert_eq!(namesrv.config, Some(PathBuf::from("namesrv.conf")));
        for refused in
            ["namesrv -n a:1", "namesrv -m", "broker -c a -c b", "broker --namesrv-port 1"]
        {
            let words = ["ringmq"].into_iter().chain(refused.split_whitespace());
            assert!(Flags::try_parse_from(words).is_err(), "{refused}");
        }
    }

    #[test]
    fn no_subcommand_prints_help_that_explains_every_flag() {
        use clap::error::ErrorKind;
        let nothing = Flags::try_parse_from(["ringmq"]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
        let help = Flags::try_parse_from(["ringmq", "--help"]).unwrap_err();
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        for command in Flags::command().get_subcommands() {
            for flag in command.get_arguments() {
                assert!(flag.get_help().is_some(), "{}", flag.get_id());
            }
        }
    }
}
