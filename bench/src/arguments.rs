//! The command line. What is out of range is refused here, so that nothing behind has to check.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use proto::frame::Encoding;
use serde::Serialize;

/// Measures a RocketMQ server over the wire, or checks what it delivers.
#[derive(Debug, Parser)]
#[command(name = "ringmq-bench", version, about)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One scenario.
#[derive(Debug, Clone, Subcommand, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Send messages, one in a request, many in flight.
    Produce(Produce),
    /// Pull what a topic holds, and check every message: exit code 1 if anything is amiss.
    Consume(Consume),
    /// Send and pull at a fixed rate; latency from intended send time to receipt; checks as consume.
    E2e(E2e),
}

/// Settings of `produce`.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Produce {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: Load,
    /// Messages a second on a fixed schedule, whatever the server does; without it each connection
    /// sends as soon as it gets an answer.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    #[command(flatten)]
    pub span: Span,
    #[command(flatten)]
    pub output: Output,
}

/// Settings of `consume`.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Consume {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub pull: Pull,
    /// Where to begin.
    #[arg(long, value_enum, default_value_t = Begin::Min)]
    pub from: Begin,
    /// Commit the offset of every pull for the group.
    #[arg(long)]
    pub commit: bool,
    /// Messages to consume; fewer are a difference. Without it: until nothing comes any more.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Seconds without a message after which there are no more.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub idle: u64,
    #[command(flatten)]
    pub output: Output,
}

/// Settings of `e2e`.
#[derive(Debug, Clone, Args, Serialize)]
pub struct E2e {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: Load,
    /// Messages a second on a fixed schedule, whatever the server does.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: u64,
    #[command(flatten)]
    pub pull: Pull,
    #[command(flatten)]
    pub span: Span,
    #[command(flatten)]
    pub output: Output,
}

/// How messages are pulled.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Pull {
    /// Consumer group.
    #[arg(long, default_value = "ringmq-bench-consumer")]
    pub group: String,
    /// Connections that pull; queues are spread over them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub pull_connections: u32,
    /// Messages of one pull, at most.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub pull_count: u32,
    /// Do not count it as a difference if messages of one producer swap places in their queue.
    /// Apache RocketMQ keeps the order only for producers with one message in flight.
    #[arg(long)]
    pub any_order: bool,
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// At the first message there is.
    Min,
    /// Where the group stopped; at the first message if it never began.
    Committed,
}

/// Where to.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Target {
    /// A NameServer, host:port: it is asked for the broker.
    #[arg(long, required_unless_present = "broker", conflicts_with = "broker")]
    pub namesrv: Option<String>,
    /// The broker itself, host:port: no NameServer is asked.
    #[arg(long)]
    pub broker: Option<String>,
    /// Which of the NameServer's brokers; with --broker, the name that requests carry.
    #[arg(long)]
    pub broker_name: Option<String>,
    /// Topic to use.
    #[arg(long, default_value = "ringmq-bench", value_parser = topic)]
    pub topic: String,
    /// Queues of the topic, read and write.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub queues: u32,
    /// Take the topic as it is instead of creating it.
    #[arg(long)]
    pub no_create: bool,
    /// Encoding of request headers. Apache RocketMQ knows json and binary.
    #[arg(long, value_enum, default_value_t = HeaderEncoding::Json)]
    pub encoding: HeaderEncoding,
}

/// How much of it.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Load {
    /// Connections that send.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub connections: u32,
    /// Unanswered messages of each connection, at most.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Bytes of a body, of which 44 say who sent it when.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(44..=4_194_304))]
    pub size: u32,
}

/// For how long.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Span {
    /// Seconds of load before anything is measured.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub warm_up: u64,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub duration: u64,
    /// Messages to measure, instead of seconds.
    #[arg(long, conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// What to watch and where to write it.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Output {
    /// Write settings, machine and results to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Write the percentile distribution to this file; in an open loop the uncorrected one goes to a
    /// second file, FILE with `uncorrected.hgrm` for its extension.
    #[arg(long)]
    pub hgrm: Option<PathBuf>,
    /// The server's process, on this machine: report its CPU time and memory.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Never sleep, poll without a break: a CPU of its own for less latency.
    #[arg(long)]
    pub spin: bool,
    /// No live line on stderr.
    #[arg(long)]
    pub quiet: bool,
}

/// How headers are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderEncoding {
    /// RocketMQ's default.
    Json,
    /// RocketMQ's own binary form (`ROCKETMQ`).
    Binary,
    /// RingMQ's flatbuffers.
    Flat,
}

impl From<HeaderEncoding> for Encoding {
    fn from(encoding: HeaderEncoding) -> Encoding {
        match encoding {
            HeaderEncoding::Json => Encoding::Json,
            HeaderEncoding::Binary => Encoding::Binary,
            HeaderEncoding::Flat => Encoding::Flat,
        }
    }
}

/// RocketMQ's rule (`TopicValidator`): a server would refuse the rest.
fn topic(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"%|_-".contains(&byte);
    if text.is_empty() || text.len() > proto::limits::TOPIC_BYTES_MAX {
        return Err("a topic has 1 to 127 characters".to_owned());
    }
    if !text.bytes().all(allowed) {
        return Err("a topic has letters, digits and the characters % | _ - only".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &str, expect_ok: bool) {
        let words = std::iter::once("ringmq-bench").chain(arguments.split_whitespace());
        assert_eq!(Arguments::try_parse_from(words).is_ok(), expect_ok, "{arguments}");
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        check("produce --broker a:1", true);
        check("produce --namesrv a:1 --rate 1000 --count 5", true);
        check("produce", false);
        check("produce --broker a:1 --namesrv a:2", false);
        check("produce --broker a:1 --size 43", false);
        check("produce --broker a:1 --size 4194305", false);
        check("produce --broker a:1 --rate 0", false);
        check("produce --broker a:1 --connections 0", false);
        check("produce --broker a:1 --in-flight 0", false);
        check("produce --broker a:1 --queues 0", false);
        check("produce --broker a:1 --count 1 --duration 1", false);
        check("produce --broker a:1 --topic a.b", false);
        check("produce --broker a:1 --encoding xml", false);
        check("consume --broker a:1 --from committed --commit", true);
        check("consume --broker a:1 --pull-count 33", false);
        check("consume --broker a:1 --idle 0", false);
        check("e2e --broker a:1 --rate 1000", true);
        check("e2e --broker a:1", false);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
