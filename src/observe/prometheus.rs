//! Figures as Prometheus' text format, with RocketMQ's names where RocketMQ has one.
//! Kind: machine
//!
//! Names and labels: BrokerMetricsConstant, DefaultStoreMetricsConstant and the places that record
//! them, 5.3.3. The format: Prometheus, "Exposition formats", version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::About;
use super::figures::{Answered, Clients, CoreFigures, Ended, MessageType, ShardFigures, Traffic};
use super::histogram::{FINISH_S, Histogram, RPC_MS};
use super::limits::FAMILY_SAMPLES_MAX;
use super::name_server::NameServerFigures;
use proto::names;

/// What is known of the broker.
pub(super) struct Node<'a> {
    pub about: &'a About,
    /// How full the disk is in percent, and its size in bytes.
    pub disk: Option<(f64, u64)>,
    /// `None`: the core does not answer.
    pub cores: Vec<Option<&'a CoreFigures>>,
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text, family by family.
struct Page {
    text: String,
    /// Labels that every sample has.
    node: String,
    /// Samples for which there was no room.
    left_out: u64,
}

impl Page {
    fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let Page { text, .. } = self;
        writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("text takes text");
        Family { page: self, name, count: 0 }
    }
}

struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
    count: usize,
}

impl Family<'_> {
    fn add(&mut self, labels: &[(&str, &str)], value: u64) -> &mut Self {
        self.add_part("", labels, value)
    }

    /// The samples of a histogram whose buckets have these upper ends.
    fn add_histogram(&mut self, labels: &[(&str, &str)], bounds: &[u64], of: &Histogram) {
        let mut labels = labels.to_vec();
        for (bucket, bound) in bounds.iter().enumerate() {
            let bound = bound.to_string();
            let bounded: Vec<_> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.add_part("_bucket", &bounded, of.up_to(bucket));
        }
        labels.push(("le", "+Inf"));
        self.add_part("_bucket", &labels, of.count());
        labels.pop();
        self.add_part("_sum", &labels, of.sum());
        self.add_part("_count", &labels, of.count());
    }

    fn add_part(&mut self, part: &str, labels: &[(&str, &str)], value: u64) -> &mut Self {
        if self.count == FAMILY_SAMPLES_MAX {
            self.page.left_out += 1;
            return self;
        }
        self.count += 1;
        let Page { text, node, .. } = &mut *self.page;
        write!(text, "{}{part}{{{node}", self.name).expect("text takes text");
        for (label, value) in labels {
            text.push(',');
            write_label(text, label, value);
        }
        writeln!(text, "}} {value}").expect("text takes text");
        self
    }
}

fn write_label(text: &mut String, label: &str, value: &str) {
    text.push_str(label);
    text.push_str("=\"");
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn is_retry_or_dead(topic: &str) -> bool {
    names::is_retry_topic(topic) || names::is_dlq_topic(topic)
}

/// All figures.
pub(super) fn render(node: &Node<'_>) -> String {
    let mut labels = String::new();
    write_label(&mut labels, "cluster", &node.about.cluster);
    labels.push(',');
    write_label(&mut labels, "node_type", "broker");
    labels.push(',');
    write_label(&mut labels, "node_id", &node.about.broker);
    let mut page = Page { text: String::new(), node: labels, left_out: 0 };
    write_messages_in(&mut page, node);
    write_messages_out(&mut page, node);
    write_lags(&mut page, node);
    write_clients(&mut page, node);
    write_broker(&mut page, node);
    write_rpc(&mut page, node);
    write_transactions(&mut page, node);
    write_storage(&mut page, node);
    write_timers(&mut page, node);
    write_shards(&mut page, node);
    write_cores(&mut page, node);
    let left_out = page.left_out;
    let help = "Samples that this page leaves out, because a name has too many.";
    page.family(Kind::Gauge, "ringmq_samples_left_out", help).add(&[], left_out);
    page.text
}

/// The figures of a NameServer, which in RocketMQ has none.
pub(super) fn name_server(address: &str, figures: &NameServerFigures) -> String {
    let mut labels = String::new();
    write_label(&mut labels, "node_type", "nameserver");
    labels.push(',');
    write_label(&mut labels, "node_id", address);
    let mut page = Page { text: String::new(), node: labels, left_out: 0 };
    let mut gauge = |name, help, value| _ = page.family(Kind::Gauge, name, help).add(&[], value);
    gauge("ringmq_namesrv_brokers", "Brokers that are registered.", figures.brokers);
    gauge("ringmq_namesrv_topics", "Topics that have a route.", figures.topics);
    gauge("ringmq_namesrv_connections", "Open connections.", figures.connections);
    let help = "Requests that were handled.";
    page.family(Kind::Counter, "ringmq_namesrv_requests_total", help).add(&[], figures.requests);
    page.text
}

impl<'a> Node<'a> {
    fn answers(&self) -> impl Iterator<Item = &'a CoreFigures> {
        self.cores.iter().filter_map(|core| *core)
    }

    fn shards(&self) -> Vec<&'a ShardFigures> {
        let mut shards: Vec<_> = self.answers().flat_map(|core| &core.shards).collect();
        shards.sort_unstable_by_key(|shard| shard.shard);
        shards
    }
}

fn write_messages_in(page: &mut Page, node: &Node<'_>) {
    let mut topics = BTreeMap::<&str, [Traffic; MessageType::ALL.len()]>::new();
    for topic in node.answers().flat_map(|core| &core.topics) {
        let merged = topics.entry(&topic.topic).or_default();
        merged.iter_mut().zip(topic.traffic).for_each(|(sum, more)| sum.merge(more));
    }
    // RocketMQ counts neither what is sent back nor dead letters.
    topics.retain(|topic, _| !is_retry_or_dead(topic));
    let mut write = |name, help, value: fn(Traffic) -> u64| {
        let mut family = page.family(Kind::Counter, name, help);
        for (topic, traffic) in &topics {
            let is_system = truth(names::is_system_topic(topic));
            for (kind, traffic) in MessageType::ALL.into_iter().zip(traffic) {
                if traffic.messages > 0 {
                    let labels = [
                        ("topic", *topic),
                        ("message_type", kind.name()),
                        ("is_system", is_system),
                    ];
                    family.add(&labels, value(*traffic));
                }
            }
        }
    };
    write("rocketmq_messages_in_total", "Messages that were sent and appended.", |it| it.messages);
    write("rocketmq_throughput_in_total", "Bytes of their records.", |it| it.bytes);
}

fn write_messages_out(page: &mut Page, node: &Node<'_>) {
    let mut consumers = BTreeMap::<(&str, &str), Traffic>::new();
    for consumer in node.answers().flat_map(|core| &core.consumers) {
        consumers.entry((&consumer.topic, &consumer.group)).or_default().merge(consumer.traffic);
    }
    consumers.retain(|(topic, _), traffic| !is_retry_or_dead(topic) && traffic.messages > 0);
    let mut write = |name, help, value: fn(Traffic) -> u64| {
        let mut family = page.family(Kind::Counter, name, help);
        for ((topic, group), traffic) in &consumers {
            let labels = [
                ("topic", *topic),
                ("consumer_group", *group),
                ("is_system", system(topic, group)),
            ];
            family.add(&labels, value(*traffic));
        }
    };
    write("rocketmq_messages_out_total", "Messages that pulls were answered with.", |it| {
        it.messages
    });
    write("rocketmq_throughput_out_total", "Bytes of their records.", |it| it.bytes);
    let (mut others_in, mut others_out) = (0, 0);
    for core in node.answers() {
        others_in += core.others.0.messages;
        others_out += core.others.1.messages;
    }
    page.family(
        Kind::Counter,
        "ringmq_messages_unnamed_total",
        "Messages of topics and groups that have no series of their own, because too many have.",
    )
    .add(&[("direction", "in")], others_in)
    .add(&[("direction", "out")], others_out);
}

fn system(topic: &str, group: &str) -> &'static str {
    truth(names::is_system_topic(topic) || names::is_system_group(group))
}

fn write_lags(page: &mut Page, node: &Node<'_>) {
    let mut lags = BTreeMap::<(&str, &str), (u64, u64)>::new();
    // A lag is that of all queues or is not told: half of one would look like a group that keeps up.
    let below = node.answers().filter_map(|core| core.lags_below.as_deref()).min();
    let is_whole = |group: &str| below.is_none_or(|below| group < below);
    let told = node.answers().flat_map(|core| &core.lags).filter(|lag| is_whole(&lag.group));
    for lag in told {
        let sum = lags.entry((&lag.group, &lag.topic)).or_default();
        *sum = (sum.0 + lag.messages, sum.1.max(lag.latency_ms));
    }
    let mut write = |name, help, value: fn(&(u64, u64)) -> u64| {
        let mut family = page.family(Kind::Gauge, name, help);
        for ((group, topic), lag) in &lags {
            let labels = [
                ("consumer_group", *group),
                ("topic", *topic),
                ("is_retry", truth(names::is_retry_topic(topic))),
                ("is_system", system(topic, group)),
            ];
            family.add(&labels, value(lag));
        }
    };
    write(
        "rocketmq_consumer_lag_messages",
        "Messages above what the group committed.",
        |(messages, _)| *messages,
    );
    write(
        "rocketmq_consumer_lag_latency",
        "Milliseconds since the oldest of them was stored; at least so old if it has left memory.",
        |(_, latency_ms)| *latency_ms,
    );
    let left_out = node.answers().map(|core| core.lags_left_out as u64).sum();
    page.family(
        Kind::Gauge,
        "ringmq_consumer_lag_left_out",
        "Committed offsets that were not looked at, because there are too many; of whole groups.",
    )
    .add(&[], left_out);
}

fn write_clients(page: &mut Page, node: &Node<'_>) {
    let mut family =
        page.family(Kind::Gauge, "rocketmq_producer_connections", "Producers, from heartbeats.");
    for Clients { language, version, count, .. } in node.answers().flat_map(|it| &it.producers) {
        let labels =
            [("language", &**language), ("version", version), ("protocol_type", "remoting")];
        family.add(&labels, *count);
    }
    let mut family =
        page.family(Kind::Gauge, "rocketmq_consumer_connections", "Consumers, from heartbeats.");
    for clients in node.answers().flat_map(|core| &core.consumer_clients) {
        let labels = [
            ("consumer_group", &*clients.group),
            ("language", &*clients.language),
            ("version", &*clients.version),
            ("consume_mode", clients.consume_mode),
            ("protocol_type", "remoting"),
            ("is_system", truth(names::is_system_group(&clients.group))),
        ];
        family.add(&labels, clients.count);
    }
}

fn write_broker(page: &mut Page, node: &Node<'_>) {
    let shards = node.shards();
    let waiting = shards.iter().map(|shard| shard.waiting_records as u64).sum();
    let held = shards.iter().map(|shard| shard.held_pulls as u64).sum();
    let parked = node.answers().map(|core| core.parked_requests as u64).sum();
    page.family(
        Kind::Gauge,
        "rocketmq_processor_watermark",
        "Requests that wait: sends for the disk, pulls for messages, queries for the disk.",
    )
    .add(&[("processor", "send")], waiting)
    .add(&[("processor", "pull")], held)
    .add(&[("processor", "query_message")], parked);
    // As it is now: 25 UPDATE_BROKER_CONFIG changes it.
    let permission = node.answers().find_map(|core| core.permission);
    let permission = u64::try_from(permission.unwrap_or(node.about.permission)).unwrap_or(0);
    page.family(
        Kind::Gauge,
        "rocketmq_broker_permission",
        "What clients may do: 4 read, 2 write, 6 both.",
    )
    .add(&[], permission);
    let topics = node.answers().map(|core| core.topic_count as u64).sum();
    page.family(Kind::Gauge, "rocketmq_topic_number", "Topics.").add(&[], topics);
    let groups = node.answers().map(|core| core.group_count as u64).sum();
    page.family(Kind::Gauge, "rocketmq_consumer_group_number", "Consumer groups.").add(&[], groups);
    let mut refusals = BTreeMap::<i32, u64>::new();
    for (code, count) in node.answers().flat_map(|core| &core.refusals) {
        *refusals.entry(*code).or_default() += count;
    }
    let mut family = page.family(
        Kind::Counter,
        "ringmq_sends_refused_total",
        "Sends refused, by response code: 13 illegal, 14 not available, 16 no permission.",
    );
    for (code, count) in refusals {
        family.add(&[("response_code", &code.to_string())], count);
    }
}

fn write_rpc(page: &mut Page, node: &Node<'_>) {
    let mut answered = [Histogram::default(); Answered::ALL.len()];
    for core in node.answers() {
        answered.iter_mut().zip(&core.answered).for_each(|(sum, more)| sum.merge(more));
    }
    let help = "Milliseconds from when a send was appended to when it was answered.";
    let mut family = page.family(Kind::Histogram, "rocketmq_rpc_latency", help);
    for (what, histogram) in Answered::ALL.into_iter().zip(&answered) {
        let (request_code, response_code) = what.names();
        let labels = [
            ("protocol_type", "remoting"),
            ("request_code", request_code),
            ("response_code", response_code),
            ("is_long_polling", "false"),
            ("result", "success"),
        ];
        if histogram.count() > 0 {
            family.add_histogram(&labels, RPC_MS, histogram);
        }
    }
}

fn write_transactions(page: &mut Page, node: &Node<'_>) {
    let mut topics = BTreeMap::<&str, Ended>::new();
    for figures in node.answers().flat_map(|core| &core.transactions) {
        let sum = topics.entry(&figures.topic).or_default();
        sum.committed.merge(&figures.ended.committed);
        sum.rolled_back += figures.ended.rolled_back;
    }
    let open = node.shards().iter().map(|shard| shard.half_messages).sum();
    page.family(
        Kind::Gauge,
        "rocketmq_half_messages",
        "Half messages whose producer said nothing.",
    )
    .add(&[], open);
    let mut write = |name, help, value: fn(&Ended) -> u64| {
        let mut family = page.family(Kind::Counter, name, help);
        for (topic, ended) in topics.iter().filter(|(_, ended)| value(ended) > 0) {
            family.add(&[("topic", topic)], value(ended));
        }
    };
    write("rocketmq_commit_messages_total", "Half messages that were committed.", |ended| {
        ended.committed.count()
    });
    write("rocketmq_rollback_messages_total", "Half messages that were rolled back.", |ended| {
        ended.rolled_back
    });
    let help = "Seconds from when committed half messages were born.";
    let mut family = page.family(Kind::Histogram, "rocketmq_finish_message_latency", help);
    for (topic, ended) in topics.iter().filter(|(_, ended)| ended.committed.count() > 0) {
        family.add_histogram(&[("topic", topic)], FINISH_S, &ended.committed);
    }
}

fn write_timers(page: &mut Page, node: &Node<'_>) {
    let shards = node.shards();
    let waiting = shards.iter().map(|shard| shard.timers).sum();
    let help = "Messages that wait for a time of their own; of those on disk to within a page.";
    page.family(Kind::Gauge, "rocketmq_timing_messages", help).add(&LOCAL, waiting);
    let late_ms = shards.iter().map(|shard| shard.timers_late_ms).max().unwrap_or(0);
    let help = "Milliseconds for which the first of them is due.";
    page.family(Kind::Gauge, "rocketmq_timer_dequeue_latency", help).add(&LOCAL, late_ms);
    let sum = |of: fn(&CoreFigures) -> u64| node.answers().map(of).sum();
    let help = "Messages that began to wait for a time of their own.";
    page.family(Kind::Counter, "rocketmq_timer_enqueue_total", help)
        .add(&LOCAL, sum(|core| core.timers.0));
    let help = "Messages whose time came, called back ones among them.";
    page.family(Kind::Counter, "rocketmq_timer_dequeue_total", help)
        .add(&LOCAL, sum(|core| core.timers.1));
}

/// The labels that RocketMQ's stores have.
const LOCAL: [(&str, &str); 2] = [("storage_type", "local"), ("storage_medium", "disk")];

fn write_storage(page: &mut Page, node: &Node<'_>) {
    let shards = node.shards();
    let sum = |value: fn(&ShardFigures) -> u64| shards.iter().map(|shard| value(shard)).sum();
    let size = sum(|shard| shard.appended - shard.start);
    page.family(Kind::Gauge, "rocketmq_storage_size", "Bytes of all logs that messages are in.")
        .add(&LOCAL, size);
    page.family(
        Kind::Gauge,
        "rocketmq_storage_flush_behind_bytes",
        "Bytes appended and not durable.",
    )
    .add(&LOCAL, sum(|shard| shard.appended.saturating_sub(shard.durable)));
    page.family(
        Kind::Gauge,
        "rocketmq_storage_dispatch_behind_bytes",
        "Bytes appended that consumers do not see yet.",
    )
    .add(&LOCAL, sum(|shard| shard.appended.saturating_sub(shard.confirmed)));
    if let Some((used_percent, size_bytes)) = node.disk {
        let free = (size_bytes as f64 * (100.0 - used_percent) / 100.0) as u64;
        page.family(Kind::Gauge, "ringmq_disk_size_bytes", "Size of the store's file system.")
            .add(&[], size_bytes);
        page.family(Kind::Gauge, "ringmq_disk_free_bytes", "What of it is free.").add(&[], free);
    }
}

/// A figure of a shard: its kind, name, help and value.
type ShardFigure = (Kind, &'static str, &'static str, fn(&ShardFigures) -> u64);

const SHARD_FIGURES: [ShardFigure; 14] = [
    (Kind::Gauge, "ringmq_log_start_bytes", "Log offset at which the log begins.", |it| it.start),
    (
        Kind::Counter,
        "ringmq_log_appended_bytes_total",
        "Log offset behind the newest record.",
        |it| it.appended,
    ),
    (Kind::Counter, "ringmq_log_written_bytes_total", "Log offset up to which is written.", |it| {
        it.written
    }),
    (Kind::Counter, "ringmq_log_durable_bytes_total", "Log offset up to which is durable.", |it| {
        it.durable
    }),
    (Kind::Counter, "ringmq_log_prepared_bytes_total", "Log offset up to which has space.", |it| {
        it.prepared
    }),
    (Kind::Gauge, "ringmq_log_unsealed_bytes", "Bytes that a start after a crash replays.", |it| {
        it.unsealed_bytes
    }),
    (Kind::Gauge, "ringmq_snapshot_behind_bytes", "Bytes that no two snapshots hold yet.", |it| {
        it.appended.saturating_sub(it.safe_below)
    }),
    (Kind::Gauge, "ringmq_write_buffer_bytes", "Size of the log's tail in memory.", |it| {
        it.buffer_bytes
    }),
    (Kind::Gauge, "ringmq_write_buffer_used_bytes", "Bytes in it that are not confirmed.", |it| {
        it.appended.saturating_sub(it.confirmed)
    }),
    (Kind::Gauge, "ringmq_sends_waiting", "Records that wait for the disk.", |it| {
        it.waiting_records as u64
    }),
    (Kind::Gauge, "ringmq_pulls_held", "Pulls that wait for messages.", |it| it.held_pulls as u64),
    (Kind::Counter, "ringmq_cold_reads_total", "Reads of the disk for consumers.", |it| {
        it.cold_reads
    }),
    (Kind::Gauge, "ringmq_queue_runs", "Files of queue entries.", |it| it.runs as u64),
    (Kind::Gauge, "ringmq_shard_refuses", "1: it refuses sends, see /health/ready.", |it| {
        u64::from(it.refuses.is_some())
    }),
];

fn write_shards(page: &mut Page, node: &Node<'_>) {
    let shards = node.shards();
    for (kind, name, help, value) in SHARD_FIGURES {
        let mut family = page.family(kind, name, help);
        for shard in &shards {
            family.add(&[("shard", &shard.shard.to_string())], value(shard));
        }
    }
}

/// A figure of a core: its kind, name, help and value.
type CoreFigure = (Kind, &'static str, &'static str, fn(&CoreFigures) -> u64);

const CORE_FIGURES: [CoreFigure; 5] = [
    (Kind::Gauge, "ringmq_connections", "Connections that the core serves.", |it| {
        u64::from(it.connections)
    }),
    (Kind::Counter, "ringmq_turns_total", "Turns of the core.", |it| it.turns),
    (Kind::Counter, "ringmq_parks_total", "How often the core slept.", |it| it.parks),
    (Kind::Counter, "ringmq_crossings_out_total", "Frames given to other cores.", |it| {
        it.crossed_out
    }),
    (Kind::Counter, "ringmq_crossings_in_total", "Frames taken from other cores.", |it| {
        it.crossed_in
    }),
];

fn write_cores(page: &mut Page, node: &Node<'_>) {
    let mut family =
        page.family(Kind::Gauge, "ringmq_core_up", "1: the core answered, what follows is its.");
    for (number, core) in node.cores.iter().enumerate() {
        family.add(&[("core", &number.to_string())], u64::from(core.is_some()));
    }
    for (kind, name, help, value) in CORE_FIGURES {
        let mut family = page.family(kind, name, help);
        for (number, core) in node.cores.iter().enumerate() {
            if let Some(core) = core {
                family.add(&[("core", &number.to_string())], value(core));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::figures::{Lag, TopicFigures};
    use super::*;

    fn about() -> About {
        About {
            cluster: "c\"l\\u\ns".to_owned(),
            broker: "b".to_owned(),
            permission: 6,
            store: "/store".into(),
        }
    }

    fn figures(topic: &str, messages: u64) -> CoreFigures {
        let mut traffic = [Traffic::default(); MessageType::ALL.len()];
        traffic[0] = Traffic { messages, bytes: messages * 10 };
        let lag = Lag {
            group: "g".to_owned(),
            topic: topic.to_owned(),
            messages,
            latency_ms: messages * 100,
        };
        CoreFigures {
            topics: vec![TopicFigures { topic: topic.to_owned(), traffic }],
            lags: vec![lag],
            shards: vec![ShardFigures { appended: 10, ..ShardFigures::default() }],
            ..CoreFigures::default()
        }
    }

    fn rendered(cores: &[CoreFigures]) -> String {
        let about = about();
        let cores = cores.iter().map(Some).collect();
        render(&Node { about: &about, disk: Some((50.0, 1000)), cores })
    }

    #[test]
    fn label_values_are_escaped() {
        let mut text = String::new();
        write_label(&mut text, "l", "a\\b\"c\nd€");
        assert_eq!(text, "l=\"a\\\\b\\\"c\\nd€\"");
        let page = rendered(&[figures("T", 1)]);
        assert!(page.lines().all(|line| line.starts_with('#') || line.contains("c\\\"l\\\\u\\ns")));
    }

    #[test]
    fn each_family_has_help_and_type_once_and_before_its_samples() {
        let text = rendered(&[figures("T", 1), figures("T", 2)]);
        let mut seen = BTreeSet::new();
        let (mut current, mut is_histogram) = ("", false);
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                current = help.split(' ').next().expect("a name");
                assert!(seen.insert(current), "{current} twice");
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of.split_once(' ').expect("name and type");
                assert_eq!(name, current);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
                is_histogram = kind == "histogram";
            } else {
                let name = line.split('{').next().expect("a name");
                let parts = ["_bucket", "_sum", "_count"];
                let family = parts.iter().find_map(|part| name.strip_suffix(part));
                let family = family.filter(|_| is_histogram).unwrap_or(name);
                assert_eq!(family, current, "{line}");
            }
        }
    }

    #[test]
    fn cores_add_up_and_the_oldest_message_counts() {
        let text = rendered(&[figures("T", 2), figures("T", 3)]);
        let line = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).expect("a sample");
            line.rsplit(' ').next().expect("a value").to_owned()
        };
        assert_eq!(line("rocketmq_messages_in_total{"), "5");
        assert_eq!(line("rocketmq_throughput_in_total{"), "50");
        assert_eq!(line("rocketmq_consumer_lag_messages{"), "5");
        assert_eq!(line("rocketmq_consumer_lag_latency{"), "300");
        assert_eq!(line("rocketmq_storage_size{"), "20");
        assert_eq!(line("ringmq_disk_free_bytes{"), "500");
    }

    #[test]
    fn a_lag_that_a_core_left_out_is_not_told_in_part() {
        let lag = |group: &str| Lag {
            group: group.to_owned(),
            topic: "T".to_owned(),
            messages: 1,
            latency_ms: 1,
        };
        let all =
            CoreFigures { lags: vec![lag("a"), lag("b"), lag("c")], ..CoreFigures::default() };
        let some = CoreFigures {
            lags: vec![lag("a")],
            lags_below: Some("b".to_owned()),
            lags_left_out: 2,
            ..CoreFigures::default()
        };
        let text = rendered(&[all, some]);
        let lags = text.lines().filter(|line| line.starts_with("rocketmq_consumer_lag_messages{"));
        let lags: Vec<_> = lags.collect();
        assert!(lags.len() == 1 && lags[0].ends_with(" 2"), "{lags:?}");
    }

    #[test]
    fn a_name_has_so_many_samples_and_no_more() {
        let one = figures("T", 1);
        let many = FAMILY_SAMPLES_MAX + 5;
        let topics =
            (0..many).map(|it| TopicFigures { topic: it.to_string(), ..one.topics[0].clone() });
        let text = rendered(&[CoreFigures { topics: topics.collect(), ..one.clone() }]);
        let samples = text.lines().filter(|line| line.starts_with("rocketmq_messages_in_total{"));
        assert_eq!(samples.count(), FAMILY_SAMPLES_MAX);
        let left_out = text.lines().find(|line| line.starts_with("ringmq_samples_left_out{"));
        assert!(left_out.is_some_and(|line| line.ends_with(" 10")), "of messages and of bytes");
    }

    #[test]
    fn retries_and_dead_letters_are_not_sends() {
        let text = rendered(&[figures("%RETRY%g", 2), figures("%DLQ%g", 3)]);
        assert!(!text.contains("rocketmq_messages_in_total{"), "{text}");
    }
}
