//! A core without a ring: the disk, the clock and the clients are the test. What is refused here no client
//! could provoke in a test of the real program: reads that fail, tables that are full, time that passes.

mod announce;
mod disk;
mod full;
mod hostile;
mod time;

use std::net::SocketAddr;

use engine::catalog::{Catalog, Placement};
use engine::commitlog::{CommitLog, Epochs, FlushMode, LogShape, SegmentIdentity};
use engine::messageindex::MessageIndex;
use engine::shard::{Opening, OpeningSettings, SealLimits};
use proto::body::{SubscriptionGroupConfig, TopicConfig};
use proto::code::{request, response};
use proto::command::Command;
use proto::frame::{Scan, scan};
use proto::ids::ShardIndex;
use proto::properties::{self, name};
use proto::reply::{RequestHead, write_request};
use runtime::WriteBuffer;

use super::*;
use crate::router::exchange::CROSSINGS_MAX;

const SHAPE: LogShape = LogShape { seed: 5, block_bytes: 4096, segment_bytes: 16 << 20 };
const START: Now = Now { wall_ms: 1_000_000, monotonic_ns: 1 };

const PULL: [(&str, &str); 9] = [
    ("consumerGroup", "group"),
    ("topic", "topic"),
    ("queueId", "1"),
    ("queueOffset", "0"),
    ("maxMsgNums", "32"),
    ("sysFlag", "0"),
    ("commitOffset", "0"),
    ("suspendTimeoutMillis", "0"),
    ("subVersion", "0"),
];

/// What the disk says when it fails.
const REASON: &str = "Input/output error (os error 5)";

/// Consumes `topic` as `group`, and produces as `group`.
const HEARTBEAT: &[u8] = br#"{"clientID":"member","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"group","messageModel":"BROADCASTING","subscriptionDataSet":[{"expressionType":"TAG","subString":"*","subVersion":0,"topic":"topic"}],"unitMode":false}],"producerDataSet":[{"groupName":"group"}]}"#;

/// What a start finds: nothing. Queues leave memory as soon as they may.
fn opening() -> Opening {
    let seal = SealLimits { entries: 1, ..SealLimits::default() };
    let keys = MessageIndex::new(SHAPE.seed, SHAPE.segment_bytes, true);
    Opening::new(seal, SHAPE.segment_bytes, 0, 0).with_index(keys)
}

/// The shard of what was found, whose log goes on at a block and holds its last MiB in memory.
fn opened(opening: Opening, start: u64) -> Shard {
    opened_with(opening, start, 1 << 40)
}

/// The same, with prepared space up to there.
fn opened_with(opening: Opening, start: u64, space_end: u64) -> Shard {
    let mut epochs = Epochs::default();
    let life = epochs.raise(start, SHAPE.block_bytes);
    let buffer = WriteBuffer::new(1 << 20, life.first).expect("memory");
    let identity = SegmentIdentity { format: 1, store_id: 7, shard: 0 };
    let mut log = CommitLog::new(SHAPE, FlushMode::Sync, identity, life, buffer);
    log.space_found(space_end);
    let settings = OpeningSettings {
        delays_ms: Vec::new(),
        transaction_timeout_ms: 6_000,
        read_cache_bytes: 1 << 20,
    };
    opening.finish(ShardIndex(0), log, &settings).0
}

pub(super) fn settings() -> BrokerSettings {
    BrokerSettings {
        broker_name: "broker".to_owned(),
        cluster_name: "cluster".to_owned(),
        region_id: "region".to_owned(),
        trace_on: false,
        trace_topic: None,
        advertised: SocketAddr::from(([127, 0, 0, 1], 10911)),
        permission: 6,
        message_bytes_max: 4 << 20,
        auto_create_topic: true,
        validate_system_topic: true,
        mixed_message_type: false,
        store_replies: true,
        reset_at_server: true,
        auto_create_group: true,
        default_topic_queue_count: 8,
        pull_messages_max: 32,
        pull_bytes_max: 256 * 1024,
        long_polling: true,
        query_messages_max: 64,
        unique_query_messages_max: 32,
        property_filter: true,
        filter_retries: false,
        check_message_type: false,
        short_polling_ms: 1_000,
        consumer_expired_ms: 120_000,
        producer_expired_ms: 120_000,
        notify_consumer_ids_changed: true,
        delay_levels_ms: Vec::new(),
        transactions: TransactionSettings::default(),
        timer_wheel: true,
        timer_delay_ms_max: 259_200_000,
        recall: true,
        recall_when_read_only: true,
        memory_bytes: 1 << 30,
        process_tag: 1,
        shown: Arc::default(),
    }
}

/// A catalog with a topic of two queues and a group.
fn catalog(cores: usize, group: SubscriptionGroupConfig, mut catalog: Catalog) -> Catalog {
    let topic = TopicConfig {
        topic_name: "topic".to_owned(),
        read_queue_nums: 2,
        write_queue_nums: 2,
        perm: 6,
        ..TopicConfig::default()
    };
    let placement = Placement { first: 0, count: u8::try_from(cores).expect("few") };
    let mut payload = Vec::new();
    catalog.put_topic(1, topic, placement, None, &mut payload).expect("room");
    catalog.put_group(1, group, &mut payload).expect("room");
    catalog
}

fn group() -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: "group".to_owned(), ..Default::default() }
}

fn request(code: i32, ext: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = RequestHead { code, opaque: 1, flag: 0 };
    write_request(&mut bytes, Encoding::Json, &head, Some(ext), body);
    bytes
}

/// Fields of a send to `topic` in their short names.
fn send<'a>(queue: &'a str, properties: &'a str) -> [(&'a str, &'a str); 10] {
    [
        ("a", "group"),
        ("b", "topic"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", queue),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", properties),
        ("m", "false"),
    ]
}

/// What becomes of writes to the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    Done,
    Hang,
    Fail,
}

/// See the first lines.
struct Core {
    broker: Broker,
    outboxes: Outboxes,
    now: Now,
    writes: Writes,
    /// The log as it was written.
    log: Vec<u8>,
    connections: u64,
}

impl Core {
    /// The only core.
    fn alone() -> Core {
        Core::of(opened(opening(), 0))
    }

    /// The only core, with this shard.
    fn of(shard: Shard) -> Core {
        Core::new(1, catalog(1, group(), Catalog::default()), shard)
    }

    /// The first of so many cores.
    fn new(cores: usize, catalog: Catalog, shard: Shard) -> Core {
        let router = Router::new(0, cores, cores);
        Core {
            broker: Broker::new(settings(), router, vec![shard], catalog, START),
            outboxes: Outboxes::default(),
            now: START,
            writes: Writes::Done,
            log: Vec::new(),
            connections: 0,
        }
    }

    /// The other end of a connection that begins.
    fn connect(&mut self) -> Origin {
        let connection = ConnectionId::from_bits(self.connections);
        self.connections += 1;
        self.outboxes.open(connection);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        Origin { connection, peer, crossings: 0, has_record: false }
    }

    /// Asks on a connection.
    fn ask_on(&mut self, origin: Origin, code: i32, ext: &[(&str, &str)], body: &[u8]) {
        self.take(origin, &request(code, ext, body));
    }

    /// A frame comes.
    fn take(&mut self, origin: Origin, bytes: &[u8]) {
        let Ok(Scan::Frame { frame, .. }) = scan(bytes, bytes.len()) else { panic!("a frame") };
        let flow = self.broker.handle(self.now, origin, &frame, &mut self.outboxes);
        assert_eq!(flow.expect("a request"), Flow::Done);
    }

    /// Asks on a connection of its own.
    fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> ConnectionId {
        let origin = self.connect();
        self.ask_on(origin, code, ext, body);
        origin.connection
    }

    /// What a connection was answered, if anything: code and remark.
    fn answer(&mut self, connection: ConnectionId) -> Option<(i32, String)> {
        let bytes = self.outboxes.of(connection).expect("open").bytes();
        let Ok(Scan::Frame { frame, .. }) = scan(bytes, bytes.len()) else { return None };
        let command = Command::decode(&frame).expect("an answer");
        let remark = command.remark.map(|remark| remark.to_cow().into_owned());
        Some((command.code, remark.unwrap_or_default()))
    }

    /// A field of an answer.
    fn field(&mut self, connection: ConnectionId, name: &str) -> String {
        let bytes = self.outboxes.of(connection).expect("open").bytes();
        let Ok(Scan::Frame { frame, .. }) = scan(bytes, bytes.len()) else { panic!("no answer") };
        let command = Command::decode(&frame).expect("an answer");
        let found = command.ext.iter().find(|(key, _)| key.eq_str(name));
        found.expect("it is there").1.to_cow().into_owned()
    }

    /// Asks, and is answered when the log's writes are done.
    fn asked(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Option<(i32, String)> {
        let connection = self.ask(code, ext, body);
        self.turn();
        self.turn();
        self.answer(connection)
    }

    /// Asks, and is answered so: code and remark.
    fn check(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8], expect: (i32, &str)) {
        let answered = self.asked(code, ext, body);
        assert_eq!(answered, Some((expect.0, expect.1.to_owned())), "{code}");
    }

    /// Asks, and is answered with success and nothing to remark.
    fn granted(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> ConnectionId {
        let connection = self.ask(code, ext, body);
        self.turn();
        self.turn();
        assert_eq!(self.answer(connection), Some((response::SUCCESS, String::new())), "{code}");
        connection
    }

    /// It is so much later.
    fn wait_ms(&mut self, ms: u64) {
        self.now.wall_ms += ms;
        self.now.monotonic_ns += ms * 1_000_000;
    }

    /// What a core does in a turn, with the log's writes done at once unless they hang.
    fn turn(&mut self) {
        let Core { broker, outboxes, now, log, writes, .. } = self;
        for shard in &mut broker.shards {
            while *writes != Writes::Hang
                && let Some(write) = shard.log_mut().next_write()
            {
                if *writes == Writes::Fail {
                    shard.log_mut().write_completed(&write.range, Err(REASON.to_owned()));
                    continue;
                }
                let (start, end) = (write.range.start as usize, write.range.end as usize);
                let bytes = shard.log().tail_bytes(write.range.start, end - start);
                log.resize(end.max(log.len()), 0);
                log[start..end].copy_from_slice(bytes.expect("not written yet"));
                shard.log_mut().write_completed(&write.range, Ok(()));
            }
        }
        broker.answer_confirmed(*now, outboxes);
        broker.retry_parked(*now, outboxes);
        broker.answer_queries(*now, outboxes);
        broker.tick(*now);
        broker.answer_overdue(*now, outboxes);
        broker.fire_timers(*now);
        broker.answer_woken(*now, outboxes);
        broker.inquire(*now, outboxes);
        broker.attend_calls(*now, outboxes);
        broker.shards.iter_mut().for_each(Shard::turn_ended);
    }
}

/// What makes a topic with 4 queues.
fn topic_fields(name: &str) -> [(&str, &str); 7] {
    [
        ("topic", name),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ]
}

#[test]
fn a_topic_that_is_there_is_answered_when_it_is_durable() {
    let mut core = Core::alone();
    let ext = topic_fields("made");
    let code = request::UPDATE_AND_CREATE_TOPIC;
    let made = core.ask(code, &ext, b"");
    assert_eq!(core.answer(made), None, "its record is not written");
    let again = core.ask(code, &ext, b"");
    assert_eq!(core.answer(again), None, "it is the same record");
    core.turn();
    let behind = core.ask(code, &ext, b"");
    assert_eq!(core.answer(behind), Some((response::SUCCESS, String::new())));
}

/// Found by the simulator: who asked a second time was told of success before the first time was durable, and a
/// power cut undid both.
#[test]
fn what_is_set_or_forbidden_already_is_answered_when_that_is_durable() {
    let forbidden = [("group", "group"), ("topic", "topic"), ("readable", "false")];
    for (code, ext, body) in [
        (request::UPDATE_BROKER_CONFIG, &[][..], &b"traceOn=true"[..]),
        (request::UPDATE_AND_GET_GROUP_FORBIDDEN, &forbidden, b""),
    ] {
        let mut core = Core::alone();
        core.writes = Writes::Hang;
        let set = core.ask(code, ext, body);
        let again = core.ask(code, ext, body);
        core.turn();
        assert_eq!(core.answer(set), None, "{code}: its record is not written");
        assert_eq!(core.answer(again), None, "{code}: it is the same record");
        core.writes = Writes::Done;
        core.turn();
        core.turn();
        let done = Some((response::SUCCESS, String::new()));
        assert_eq!([core.answer(set), core.answer(again)], [done.clone(), done], "{code}");
        core.granted(code, ext, body);
    }
}

#[test]
fn what_a_failed_disk_has_not_deleted_is_not_called_deleted() {
    let mut core = Core::alone();
    core.writes = Writes::Fail;
    let fields = [("topic", "topic")];
    let deleted = core.ask(request::DELETE_TOPIC_IN_BROKER, &fields, b"");
    core.turn();
    assert_eq!(core.answer(deleted), None, "its connection is closed");
    let (code, _) = core.asked(request::DELETE_TOPIC_IN_BROKER, &fields, b"").expect("an answer");
    assert_eq!(code, response::SERVICE_NOT_AVAILABLE);
}

#[test]
fn a_group_that_may_not_consume_is_refused() {
    let group = SubscriptionGroupConfig { consume_enable: false, ..group() };
    let mut core = Core::new(1, catalog(1, group, Catalog::default()), opened(opening(), 0));
    let expect = (response::NO_PERMISSION, "subscription group no permission, group");
    core.check(request::PULL_MESSAGE, &PULL, b"", expect);
}

#[test]
fn a_group_that_may_not_broadcast_is_refused() {
    let group = SubscriptionGroupConfig { consume_broadcast_enable: false, ..group() };
    let mut core = Core::new(1, catalog(1, group, Catalog::default()), opened(opening(), 0));
    core.granted(request::HEART_BEAT, &[], HEARTBEAT);
    let remark = "the consumer group[group] can not consume by broadcast way";
    core.check(request::PULL_MESSAGE, &PULL, b"", (response::NO_PERMISSION, remark));
}

#[test]
fn properties_of_a_reply_that_are_no_utf_8_are_pushed_as_java_reads_them() {
    let mut core = Core::alone();
    let member = core.granted(request::HEART_BEAT, &[], HEARTBEAT);
    core.outboxes.of(member).expect("open").bytes().clear();
    let text = "REPLY_TO_CLIENT\u{1}member\u{2}K\u{1}a~~b\u{2}";
    let mut bytes = request(request::SEND_REPLY_MESSAGE_V2, &send("0", text), b"reply");
    let at = bytes.windows(2).position(|it| it == b"~~").expect("a value");
    bytes[at..at + 2].copy_from_slice(b"\xFF\xC3");
    let origin = core.connect();
    core.take(origin, &bytes);
    assert_eq!(core.answer(origin.connection), None, "the requester is to answer first");
    let pushed = core.field(member, "properties");
    assert!(pushed.contains("K\u{1}a\u{FFFD}\u{FFFD}b\u{2}"), "{pushed}");
}

#[test]
fn a_request_that_crossed_too_often_is_refused() {
    let mut core = Core::new(2, catalog(2, group(), Catalog::default()), opened(opening(), 0));
    let origin = Origin { crossings: CROSSINGS_MAX, ..core.connect() };
    core.ask_on(origin, request::PULL_MESSAGE, &PULL, b""); // queue 1 is not here
    let (code, remark) = core.answer(origin.connection).expect("an answer");
    assert_eq!(code, response::SYSTEM_BUSY);
    assert!(remark.starts_with("what the request is about moved"), "{remark}");
}

#[test]
fn while_it_stops_new_clients_are_sent_away_and_old_ones_hear_nothing() {
    let mut core = Core::alone();
    let mut turned_away = |version: &[u8]| {
        let mut bytes = request(request::PULL_MESSAGE, &PULL, b"");
        let key = b"\"version\":";
        let at = bytes.windows(key.len()).position(|it| it == key).expect("it says its version");
        bytes[at + key.len()..][..3].copy_from_slice(version);
        let Ok(Scan::Frame { frame, .. }) = scan(&bytes, bytes.len()) else { panic!("a frame") };
        let origin = core.connect();
        core.broker.turn_away(origin, &frame, &mut core.outboxes);
        core.answer(origin.connection)
    };
    assert_eq!(turned_away(b"476"), Some((response::GO_AWAY, "please go away".to_owned())));
    assert_eq!(turned_away(b"475"), None);
}

/// Found by the simulator: a topic was deleted while messages waited for their time, and made again in other
/// shards. The first of them was tried again for ever, and all behind it waited.
#[test]
fn what_waits_for_a_topic_that_is_elsewhere_now_goes_nowhere() {
    let queue_of = |broker: &mut Broker, topic: &str, queue: &str| {
        let mut text = Vec::new();
        properties::append(&mut text, name::REAL_TOPIC, topic.as_bytes());
        properties::append(&mut text, name::REAL_QID, queue.as_bytes());
        broker.real_queue(START, 0, &text).expect("it does not wait").map(|(_, queue)| queue.queue)
    };
    let broker = |cores| {
        Core::new(cores, catalog(cores, group(), Catalog::default()), opened(opening(), 0)).broker
    };
    let mut home = broker(2);
    assert_eq!(queue_of(&mut home, "topic", "0"), Some(0));
    assert_eq!(queue_of(&mut home, "topic", "1"), None, "is in the other core's shard");
    assert_eq!(queue_of(&mut home, "deleted", "0"), None);
    assert_eq!(queue_of(&mut broker(1), "%RETRY%group", "0"), Some(0), "is made again");
    let mut other = broker(2);
    other.router = Router::new(1, 2, 2);
    assert_eq!(queue_of(&mut other, "%RETRY%deleted", "0"), None, "only home makes topics");
}
