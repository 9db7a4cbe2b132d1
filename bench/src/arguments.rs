//! The command line. What is out of range is refused here, so that nothing behind has to check.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use proto::frame::Encoding;
use serde::Serialize;

use crate::sizes::Sizes;
use crate::topics::{TOPICS_MAX, TopicNames};

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
    /// Send messages, many in flight: how much, or with --rate how long.
    Produce(Produce),
    /// Pull what a topic holds, and check every message: exit code 1 if anything is amiss.
    Consume(Consume),
    /// Send and pull at a fixed rate; latency from intended send time to receipt; checks as consume.
    E2e(E2e),
    /// Measure the peak, then send a multiple of it; afterwards every acknowledged message must be
    /// there: exit code 1 if one is not.
    Overload(Overload),
    /// Be the client that nobody wants, and watch what a good one sees meanwhile.
    Misbehave(Misbehave),
    /// Put several --report directories on one page.
    Compare(Compare),
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
    /// With --rate: drop a message for which no connection had room for so many milliseconds, as a
    /// client's timeout would. Without it, it is sent however late.
    #[arg(long, requires = "rate", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub give_up_ms: Option<u64>,
    /// Processes that share connections, rate and count: one is one core's worth of load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub processes: u32,
    /// This process is one of several: its share comes on stdin.
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub share: bool,
    #[command(flatten)]
    pub span: Span,
    #[command(flatten)]
    pub output: Output,
}

/// Settings of `overload`.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Overload {
    #[command(flatten)]
    pub target: Target,
    #[command(flatten)]
    pub load: Load,
    /// How many times what the server took at its peak is sent, on a fixed schedule.
    #[arg(long, default_value_t = 3.0, value_parser = multiple)]
    pub multiple: f64,
    /// The peak in messages a second, if it is known; otherwise it is measured first.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub peak: Option<u64>,
    /// Seconds for which the peak is measured, in a closed loop with all connections.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub peak_seconds: u64,
    /// Milliseconds that a message waits for a connection with room, before it is given up: longer,
    /// and the figures are those of our own line.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub wait_ms: u64,
    /// Milliseconds after which an acknowledgement is of no use: the timeout of Java's client.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=99_999))]
    pub timeout_ms: u64,
    /// Seconds of overload.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub duration: u64,
    /// Do not look afterwards whether every acknowledged message is there.
    #[arg(long)]
    pub no_verify: bool,
    #[command(flatten)]
    pub output: Output,
}

/// Settings of `misbehave`.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Misbehave {
    /// The broker, host:port.
    #[arg(long)]
    pub broker: String,
    /// What the connections do.
    #[arg(long, value_enum)]
    pub how: Mischief,
    /// Connections that do it at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// Seconds for which they do it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub duration: u64,
    /// Topic that never-read pulls from; it is made and filled.
    #[arg(long, default_value = "ringmq-bench-misbehave", value_parser = topic)]
    pub topic: String,
    /// The server's process, on this machine: report its CPU time, memory and open files.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// Write what was found to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What a bad client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mischief {
    /// Sends pulls for 256 KiB each, as fast as the server takes them, and reads no answer.
    NeverRead,
    /// Sends half of a request's frame and then nothing.
    HalfOpen,
    /// Sends a frame a byte at a time, ten a second.
    Trickle,
    /// Connects and says nothing.
    Silent,
    /// Connects, sends a request and resets the connection, over and over.
    Flood,
    /// Sends bytes that are no frame, and connects again when it is thrown out.
    Garbage,
    /// Announces the longest frame that a server may accept, and does not send it.
    Promise,
}

/// Settings of `compare`.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Compare {
    /// Directories that --report wrote, each as DIR, NAME=DIR or SCENARIO/NAME=DIR. Runs of one
    /// scenario and name are put together; each scenario has a section.
    #[arg(required = true, value_name = "[[SCENARIO/]NAME=]DIR", num_args = 1..=1000)]
    pub runs: Vec<String>,
    /// HTML file to write; its figures go beside it as .json.
    #[arg(long, value_name = "FILE")]
    pub report: PathBuf,
    /// Heading of the page.
    #[arg(long, default_value = "Comparison")]
    pub title: String,
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
    /// Topic to use; with --topics what their names begin with.
    #[arg(long, default_value = "ringmq-bench", value_parser = topic)]
    pub topic: String,
    /// Topics to use: TOPIC-0, TOPIC-1 and so on if there are several; messages go to all in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(TOPICS_MAX)))]
    pub topics: u32,
    /// Queues of each topic, read and write.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub queues: u32,
    /// Take the topics as they are instead of creating them.
    #[arg(long)]
    pub no_create: bool,
    /// Let the first send create each topic, as the broker's TBW102 allows; it has to allow as many
    /// queues as --queues.
    #[arg(long, conflicts_with = "no_create")]
    pub auto_create: bool,
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
    /// Unanswered requests of each connection, at most; a request is a message or a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,
    /// Bytes of a body, of which 44 say who sent it when: 1024, 100..4096 (up to 32 sizes from one to
    /// the other, equally often) or 256:80,4096:20 (sizes and their weights).
    #[arg(long, default_value = "1024")]
    pub size: Sizes,
    /// Messages of one request; from 2 on it is a batch (request code 320), all of one size and to one
    /// queue.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Tags that messages have in turn, tag-0 and so on; 0 for none.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub tags: u32,
    /// Give each message a key of its own.
    #[arg(long)]
    pub keys: bool,
    /// Have each message wait for so many ms (TIMER_DELAY_MS); 0 for none. Latencies then have it in them.
    #[arg(long, default_value_t = 0)]
    pub delay_ms: u64,
}

impl Target {
    /// Names of the topics.
    pub fn topic_names(&self) -> TopicNames {
        TopicNames::new(&self.topic, self.topics)
    }
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
    /// Messages to measure, instead of seconds; each process sends whole batches.
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
    /// Write a page (report.html), settings, machine and results (report.json) and the histogram
    /// (latency.hgrm, latency.hlog) to this directory; it is made.
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// The server's process, on this machine: report its CPU time and memory.
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// The server's store, on this machine: report its file system.
    #[arg(long, value_name = "DIR")]
    pub server_store: Option<PathBuf>,
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

/// More than once, and no more than anybody can mean.
fn multiple(text: &str) -> Result<f64, String> {
    let multiple = text.parse::<f64>().ok().filter(|it| (0.1..=100.0).contains(it));
    multiple.ok_or_else(|| "a multiple is a number from 0.1 to 100, such as 3".to_owned())
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
        check(
            "produce --broker a:1 --size 100..4096 --topics 1000 --batch 32 --tags 3 --keys",
            true,
        );
        check("produce --broker a:1 --size 256:80,4096:20 --processes 4", true);
        check("produce --broker a:1 --size 9..4096", false);
        check("produce --broker a:1 --topics 0", false);
        check("produce --broker a:1 --topics 100001", false);
        check("produce --broker a:1 --batch 4097", false);
        check("produce --broker a:1 --processes 0", false);
        check("produce --broker a:1 --give-up-ms 10", false);
        check("produce --broker a:1 --auto-create --no-create", false);
        check(
            "overload --broker a:1 --multiple 3 --duration 300 --wait-ms 10 --timeout-ms 500",
            true,
        );
        check("overload --broker a:1 --multiple 0", false);
        check("misbehave --broker a:1 --how never-read", true);
        check("misbehave --broker a:1", false);
        check("compare a b --report c.html", true);
        check("compare --report c.html", false);
        check("compare a", false);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
