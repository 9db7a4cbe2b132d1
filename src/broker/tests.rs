//! Refusals that no request of today can provoke through the wire, and a topic that is not durable yet.

use std::net::SocketAddr;

use engine::catalog::{Catalog, Placement};
use engine::commitlog::{CommitLog, Epochs, FlushMode, LogShape, SegmentIdentity};
use engine::shard::{Opening, OpeningSettings, SealLimits};
use proto::body::SubscriptionGroupConfig;
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
const NOW: Now = Now { wall_ms: 1, monotonic_ns: 1 };

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

fn shard() -> Shard {
    let mut epochs = Epochs::default();
    let life = epochs.raise(0, SHAPE.block_bytes);
    let buffer = WriteBuffer::new(16 << 20, life.first).expect("memory");
    let identity = SegmentIdentity { format: 1, store_id: 7, shard: 0 };
    let mut log = CommitLog::new(SHAPE, FlushMode::Sync, identity, life, buffer);
    log.space_found(1 << 40);
    let seal = SealLimits::default();
    let settings = OpeningSettings {
        delays_ms: Vec::new(),
        transaction_timeout_ms: 6_000,
        read_cache_bytes: 1 << 20,
    };
    Opening::new(seal, SHAPE.segment_bytes, 0, 0).finish(ShardIndex(0), log, &settings).0
}

fn settings() -> BrokerSettings {
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
        short_polling_ms: 1_000,
        consumer_expired_ms: 120_000,
        notify_consumer_ids_changed: true,
        delay_levels_ms: Vec::new(),
        transactions: TransactionSettings::default(),
        timer_wheel: true,
        timer_delay_ms_max: 259_200_000,
        recall: true,
        recall_when_read_only: true,
        memory_bytes: 1 << 30,
        process_tag: 1,
    }
}

/// A broker on the first of `cores`, with a topic of two queues and a group.
fn broker(cores: usize, group: SubscriptionGroupConfig) -> Broker {
    let mut catalog = Catalog::default();
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
    Broker::new(settings(), Router::new(0, cores, cores), vec![shard()], catalog, NOW)
}

fn group() -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: "group".to_owned(), ..Default::default() }
}

fn origin(number: u64, crossings: usize) -> Origin {
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    Origin { connection: ConnectionId::from_bits(number), peer, crossings, has_record: false }
}

fn request(code: i32, ext: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = RequestHead { code, opaque: 1, flag: 0 };
    write_request(&mut bytes, Encoding::Json, &head, Some(ext), body);
    bytes
}

/// What a connection was answered, if anything: code and remark.
fn answer(outboxes: &mut Outboxes, connection: ConnectionId) -> Option<(i32, String)> {
    let bytes = outboxes.of(connection).expect("open").bytes();
    let Ok(Scan::Frame { frame, .. }) = scan(bytes, bytes.len()) else { return None };
    let command = Command::decode(&frame).expect("an answer");
    let remark = command.remark.map(|remark| remark.to_cow().into_owned());
    Some((command.code, remark.unwrap_or_default()))
}

/// Asks on a connection of its own.
fn ask(broker: &mut Broker, origin: Origin, bytes: &[u8]) -> Option<(i32, String)> {
    let mut outboxes = Outboxes::default();
    outboxes.open(origin.connection);
    let Ok(Scan::Frame { frame, .. }) = scan(bytes, bytes.len()) else { panic!("a frame") };
    let flow = broker.handle(NOW, origin, &frame, &mut outboxes).expect("a request");
    assert_eq!(flow, Flow::Done);
    answer(&mut outboxes, origin.connection)
}

#[test]
fn a_topic_that_is_there_is_answered_when_it_is_durable() {
    let mut broker = broker(1, group());
    let ext = [
        ("topic", "made"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "4"),
        ("writeQueueNums", "4"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    let bytes = request(request::UPDATE_AND_CREATE_TOPIC, &ext, b"");
    assert_eq!(ask(&mut broker, origin(0, 0), &bytes), None, "its record is not written");
    assert_eq!(ask(&mut broker, origin(1, 0), &bytes), None, "it is the same record");
    let log = broker.shards[0].log_mut();
    while let Some(write) = log.next_write() {
        log.write_completed(&write.range, Ok(()));
    }
    broker.answer_confirmed(&mut Outboxes::default());
    let answered = ask(&mut broker, origin(2, 0), &bytes);
    assert_eq!(answered.map(|(code, _)| code), Some(response::SUCCESS));
}

#[test]
fn a_group_that_may_not_consume_is_refused() {
    let mut broker = broker(1, SubscriptionGroupConfig { consume_enable: false, ..group() });
    let refused = ask(&mut broker, origin(0, 0), &request(request::PULL_MESSAGE, &PULL, b""));
    let remark = "subscription group no permission, group".to_owned();
    assert_eq!(refused, Some((response::NO_PERMISSION, remark)));
}

#[test]
fn a_group_that_may_not_broadcast_is_refused() {
    let config = SubscriptionGroupConfig { consume_broadcast_enable: false, ..group() };
    let mut broker = broker(1, config);
    let body = br#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"group","messageModel":"BROADCASTING","subscriptionDataSet":[{"expressionType":"TAG","subString":"*","subVersion":0,"topic":"topic"}],"unitMode":false}],"producerDataSet":[]}"#;
    let known = ask(&mut broker, origin(0, 0), &request(request::HEART_BEAT, &[], body));
    assert_eq!(known.map(|(code, _)| code), Some(response::SUCCESS));
    let refused = ask(&mut broker, origin(1, 0), &request(request::PULL_MESSAGE, &PULL, b""));
    let remark = "the consumer group[group] can not consume by broadcast way".to_owned();
    assert_eq!(refused, Some((response::NO_PERMISSION, remark)));
}

#[test]
fn a_request_that_crossed_too_often_is_refused() {
    let mut broker = broker(2, group());
    let bytes = request(request::PULL_MESSAGE, &PULL, b"");
    let (code, remark) =
        ask(&mut broker, origin(0, CROSSINGS_MAX), &bytes).expect("queue 1 is not here");
    assert_eq!(code, response::SYSTEM_BUSY);
    assert!(remark.starts_with("what the request is about moved"), "{remark}");
}

#[test]
fn while_it_stops_new_clients_are_sent_away_and_old_ones_hear_nothing() {
    let mut broker = broker(1, group());
    let mut turned_away = |number, version: &[u8]| {
        let mut bytes = request(request::PULL_MESSAGE, &PULL, b"");
        let key = b"\"version\":";
        let at = bytes.windows(key.len()).position(|it| it == key).expect("it says its version");
        bytes[at + key.len()..][..3].copy_from_slice(version);
        let Ok(Scan::Frame { frame, .. }) = scan(&bytes, bytes.len()) else { panic!("a frame") };
        let (origin, mut outboxes) = (origin(number, 0), Outboxes::default());
        outboxes.open(origin.connection);
        broker.turn_away(origin, &frame, &mut outboxes);
        answer(&mut outboxes, origin.connection)
    };
    assert_eq!(turned_away(0, b"476"), Some((response::GO_AWAY, "please go away".to_owned())));
    assert_eq!(turned_away(1, b"475"), None);
}

/// Found by the simulator: a topic was deleted while messages waited for their time, and made again in other
/// shards. The first of them was tried again for ever, and all behind it waited.
#[test]
fn what_waits_for_a_topic_that_is_elsewhere_now_goes_nowhere() {
    let queue_of = |broker: &mut Broker, topic: &str, queue: &str| {
        let mut text = Vec::new();
        properties::append(&mut text, name::REAL_TOPIC, topic.as_bytes());
        properties::append(&mut text, name::REAL_QID, queue.as_bytes());
        broker.real_queue(NOW, 0, &text).expect("it does not wait").map(|(_, queue)| queue.queue)
    };
    let mut home = broker(2, group());
    assert_eq!(queue_of(&mut home, "topic", "0"), Some(0));
    assert_eq!(queue_of(&mut home, "topic", "1"), None, "is in the other core's shard");
    assert_eq!(queue_of(&mut home, "deleted", "0"), None);
    assert_eq!(queue_of(&mut broker(1, group()), "%RETRY%group", "0"), Some(0), "is made again");
    let mut other = broker(2, group());
    other.router = Router::new(1, 2, 2);
    assert_eq!(queue_of(&mut other, "%RETRY%deleted", "0"), None, "only home makes topics");
}
