//! Tables that are full: what is refused then, and that nothing else is.

use engine::commitlog::{Kind, Prefix};
use engine::consumequeue::QueueKey;
use engine::limits::{CATALOG_BYTES_MAX, FORBIDDEN_MAX, OPEN_TRANSACTIONS_MAX, RECALLS_MAX};
use engine::offsets::ConsumerOffsets;
use engine::timer::write_recalled;
use engine::transaction::Transactions;
use proto::limits::{PROPERTIES_BYTES_MAX, READ_HEADER_BYTES_MAX};
use proto::record::{RecordFields, body_crc};

use super::*;
use crate::broker::limits::{
    CALL_BYTES_MAX, CALLS_MAX, INQUIRIES_MAX, OFFSETS_TOLD_MAX, QUERIES_WAITING_MAX, RESETS_MAX,
};
use crate::broker::membership::{GROUPS_PER_CONNECTION_MAX, MEMBERS_MAX};

/// Asks again and again; nothing is refused, and one more is.
fn check_full(core: &mut Core, count: usize, ask: Ask<'_>, (code, remark): (i32, &str)) {
    let (request, ext, body) = ask;
    for number in 0..count {
        let connection = core.ask(request, ext, body);
        assert_eq!(core.answer(connection), None, "the {number}th {request}");
    }
    let connection = core.ask(request, ext, body);
    assert_eq!(core.answer(connection), Some((code, remark.to_owned())), "{request}");
}

/// Request code, fields and body.
type Ask<'a> = (i32, &'a [(&'a str, &'a str)], &'a [u8]);

#[test]
fn one_topic_or_group_more_than_there_may_be_is_refused() {
    let full = catalog(1, group(), Catalog::with_room_for(1, 1));
    let mut core = Core::new(1, full, opened(opening(), 0));
    let remark = "the broker has 1 topics, as many as it takes";
    let code = request::UPDATE_AND_CREATE_TOPIC;
    core.check(code, &topic_fields("other"), b"", (response::SYSTEM_ERROR, remark));
    assert_eq!(core.asked(code, &topic_fields("topic"), b""), None, "stored, and to be announced");
    let changed = core.broker.catalog.topic("topic").map(|topic| topic.config.read_queue_nums);
    assert_eq!(changed, Some(4), "one that is there may be changed");

    let remark = "the broker has 1 consumer groups, as many as it takes";
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    let other = br#"{"groupName":"other"}"#;
    core.check(code, &[], other, (response::SYSTEM_ERROR, remark));
    let mut pull = PULL;
    pull[0].1 = "other";
    core.check(request::PULL_MESSAGE, &pull, b"", (response::SYSTEM_ERROR, remark));
    core.granted(code, &[], br#"{"groupName":"group","retryQueueNums":2}"#);
}

#[test]
fn a_configuration_that_is_too_long_is_refused_and_changes_nothing() {
    let mut core = Core::alone();
    let refused = |core: &mut Core, code, ext: &[(&str, &str)], body: &str, bytes: usize| {
        let versions = |core: &Core| {
            let catalog = &core.broker.catalog;
            (catalog.topics().count(), catalog.groups().count(), catalog.changes())
        };
        let before = versions(core);
        let (found, remark) = core.asked(code, ext, body.as_bytes()).expect("an answer");
        assert_eq!(found, response::INVALID_PARAMETER, "{remark}");
        let rest = remark.strip_prefix("too long: the configuration takes ").expect("how much");
        let (taken, rest) = rest.split_once(' ').expect("a number");
        assert!(taken.parse::<usize>().is_ok_and(|taken| taken > bytes), "{taken}");
        assert_eq!(rest, "bytes, more than the 65536 that are kept");
        assert_eq!(versions(core), before);
        core.granted(request::SEND_MESSAGE_V2, &send("0", ""), b"message");
    };
    let group = |name: &str, bytes: usize| {
        let expression = "x".repeat(bytes);
        format!(
            r#"{{"groupName":"{name}","subscriptionDataSet":[{{"topic":"topic","expression":"{expression}"}}]}}"#
        )
    };
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    // More than the catalog takes, than a record of the log, than a group of them.
    for bytes in [CATALOG_BYTES_MAX, 5 << 20, 7 << 20] {
        refused(&mut core, code, &[], &group("long", bytes), bytes);
        refused(&mut core, code, &[], &group("group", bytes), bytes);
        let both = [group("short", 9), group("long", bytes)].join(",");
        let list = format!(r#"{{"groupConfigList":[{both}]}}"#);
        let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
        refused(&mut core, code, &[], &list, bytes);
    }
    core.granted(code, &[], group("group", CATALOG_BYTES_MAX - 1024).as_bytes());

    for bytes in [CATALOG_BYTES_MAX, 1 << 20, 5 << 20, 7 << 20] {
        let time = format!("{}1", "0".repeat(bytes));
        let attributes = format!("+reserve.time={time}");
        let mut ext = topic_fields("long").to_vec();
        ext.push(("attributes", &attributes));
        // A longer header is not read.
        if bytes < READ_HEADER_BYTES_MAX {
            refused(&mut core, request::UPDATE_AND_CREATE_TOPIC, &ext, "", bytes);
        }
        let topic = |name, time: &str| {
            format!(
                r#"{{"topicName":"{name}","readQueueNums":4,"writeQueueNums":4,"perm":6,"attributes":{{"+reserve.time":"{time}"}}}}"#
            )
        };
        let list = [topic("short", "1"), topic("long", &time)].join(",");
        let list = format!(r#"{{"topicConfigList":[{list}]}}"#);
        refused(&mut core, request::UPDATE_AND_CREATE_TOPIC_LIST, &[], &list, bytes);
    }
}

#[test]
fn one_offset_more_than_a_shard_keeps_is_refused() {
    let mut core = Core::alone();
    *core.broker.shards[0].offsets_mut() = ConsumerOffsets::with_room_for(1);
    let commit = |queue, offset| {
        [
            ("consumerGroup", "group"),
            ("topic", "topic"),
            ("queueId", queue),
            ("commitOffset", offset),
        ]
    };
    core.granted(request::UPDATE_CONSUMER_OFFSET, &commit("0", "1"), b"");
    let expect = (response::SYSTEM_ERROR, "consumer offsets are kept for 1 queues at most");
    core.check(request::UPDATE_CONSUMER_OFFSET, &commit("1", "1"), b"", expect);
    core.granted(request::UPDATE_CONSUMER_OFFSET, &commit("0", "2"), b"");
}

#[test]
fn an_offset_that_finds_no_room_is_not_changed() {
    let mut core = Core::of(opened_with(opening(), 0, 256 << 10));
    let place = [("consumerGroup", "group"), ("topic", "topic"), ("queueId", "0")];
    let commit = |offset| [&place[..], &[("commitOffset", offset)]].concat();
    core.granted(request::UPDATE_CONSUMER_OFFSET, &commit("1"), b"");
    core.broker.shards[0].log_mut().space_delayed("No space left on device".to_owned());
    // What is left takes messages, and no whole record of offsets.
    core.granted(request::SEND_MESSAGE_V2, &send("0", ""), &vec![b'x'; 120 << 10]);
    let remark = "service not available now: the disk has no space: No space left on device";
    let expect = (response::SERVICE_NOT_AVAILABLE, remark);
    core.check(request::UPDATE_CONSUMER_OFFSET, &commit("2"), b"", expect);
    core.check(request::UPDATE_CONSUMER_OFFSET, &commit("3"), b"", expect);
    core.granted(request::SEND_MESSAGE_V2, &send("0", ""), b"another");
    let asked = core.granted(request::QUERY_CONSUMER_OFFSET, &place, b"");
    assert_eq!(core.field(asked, "offset"), "1");
}

/// A send with these properties and as many bytes of another one as are taken.
fn send_longest(core: &mut Core, text: &str) -> ConnectionId {
    let (mut taken, mut refused) = (0, PROPERTIES_BYTES_MAX);
    let mut longest = None;
    while taken + 1 < refused {
        let bytes = (taken + refused) / 2;
        let padded = format!("{text}PADDING\u{1}{}\u{2}", "x".repeat(bytes));
        let connection = core.ask(request::SEND_MESSAGE_V2, &send("0", &padded), b"long");
        core.turn();
        core.turn();
        let (code, remark) = core.answer(connection).expect("an answer");
        match code {
            response::SUCCESS => (taken, longest) = (bytes, Some(connection)),
            response::MESSAGE_ILLEGAL => refused = bytes,
            _ => panic!("{code} {remark}"),
        }
    }
    longest.expect("some are taken")
}

#[test]
fn what_waits_with_as_many_properties_as_there_may_be_comes_all_the_same() {
    let mut core = Core::alone();
    core.granted(request::HEART_BEAT, &[], HEARTBEAT);
    let topic = core.broker.catalog.topic("topic").expect("it is there").incarnation;
    let queue = QueueKey { topic, queue: 0 };
    let end = |core: &Core| core.broker.shards[0].queues().bounds(queue).map_or(0, |it| it.1);

    let due_ms = START.wall_ms + 1_000;
    send_longest(&mut core, &format!("TIMER_DELIVER_MS\u{1}{due_ms}\u{2}"));
    assert_eq!(end(&core), 0);
    core.wait_ms(1_000);
    core.turn();
    core.turn();
    let fired = end(&core);
    assert!(fired > 0, "they have come");

    let half = send_longest(&mut core, "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}group\u{2}");
    let position = super::disk::position_in(&core.field(half, "msgId"));
    let offset = core.field(half, "queueOffset");
    core.wait_ms(60_000);
    let Core { broker, outboxes, now, .. } = &mut core;
    while broker.check_due(*now, outboxes) {}
    core.turn();
    let word = [
        ("producerGroup", "group"),
        ("tranStateTableOffset", &*offset),
        ("commitLogOffset", &*position),
        ("commitOrRollback", "8"),
        ("fromTransactionCheck", "true"),
        ("msgId", "unique"),
    ];
    core.granted(request::END_TRANSACTION, &word, b"");
    assert_eq!(end(&core), fired + 1);
}

/// A record as a start finds it.
fn found(opening: &mut Opening, at: u64, kind: Kind, queue: QueueKey, payload: &[u8]) {
    let len = u32::try_from(payload.len()).expect("short");
    let QueueKey { topic, queue } = queue;
    let prefix = Prefix { len, kind, flags: 0, epoch: 1, durable: 0, topic, queue };
    opening.record(at, prefix, payload).expect("well formed");
}

#[test]
fn one_half_message_more_than_may_be_open_is_refused() {
    let mut opening = opening();
    // The first and the last: those between them are open as well.
    for (at, queue_offset) in [(0, 0), (4096, OPEN_TRANSACTIONS_MAX as i64 - 2)] {
        let host = SocketAddr::from(([127, 0, 0, 1], 1));
        let half = RecordFields {
            queue_id: 0,
            flag: 0,
            queue_offset,
            physic_offset: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_timestamp: 1,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"half",
            body_crc: body_crc(b"half"),
            topic: proto::names::TRANS_HALF_TOPIC.as_bytes(),
            properties: b"",
        };
        let mut payload = vec![0; half.encoded_bytes()];
        half.encode(&mut payload);
        found(&mut opening, at, Kind::Message, Transactions::half_queue(0), &payload);
    }
    let mut core = Core::of(opened(opening, 8192));
    let half = send("0", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}group\u{2}");
    core.granted(request::SEND_MESSAGE_V2, &half, b"half");
    let remark = "[TRANSACTIONS]broker busy, 1048576 half messages of the queue's shard are open already, try again later";
    let expect = (response::SYSTEM_BUSY, remark);
    core.check(request::SEND_MESSAGE_V2, &half, b"half", expect);
    core.granted(request::SEND_MESSAGE_V2, &send("0", ""), b"whole");
}

#[test]
fn one_message_more_than_may_be_called_back_is_refused() {
    let mut opening = opening();
    let due_ms = START.wall_ms + 1_000_000;
    for number in 1..RECALLS_MAX as u64 {
        let payload = write_recalled(due_ms, format!("topic+{number}").as_bytes());
        found(&mut opening, number * 64, Kind::Recalled, QueueKey { topic: 0, queue: 0 }, &payload);
    }
    let mut core = Core::of(opened(opening, 32 << 20));
    let handle = super::time::recall_handle(due_ms);
    let recall = [("producerGroup", "group"), ("topic", "topic"), ("recallHandle", &*handle)];
    let granted = (response::SUCCESS, "not set any response code");
    core.check(request::RECALL_MESSAGE, &recall, b"", granted);
    let expect = (response::SYSTEM_ERROR, "recall failed, execute error");
    core.check(request::RECALL_MESSAGE, &recall, b"", expect);
    let remark = "timer message is under flow control, 262144 messages of the queue's shard are called back already";
    let cancel = cancel(due_ms, "topic+other");
    let appended = core.broker.shards[0].log().appended();
    let expect = (response::SYSTEM_ERROR, remark);
    core.check(request::SEND_MESSAGE_V2, &send("0", &cancel), b"cancel", expect);
    assert_eq!(core.broker.shards[0].log().appended(), appended, "nothing is appended");
    core.wait_ms(2_000_000); // their time has passed
    core.turn();
    core.turn();
    let handle = super::time::recall_handle(core.now.wall_ms + 1_000);
    let recall = [("producerGroup", "group"), ("topic", "topic"), ("recallHandle", &*handle)];
    core.check(request::RECALL_MESSAGE, &recall, b"", granted);
}

/// Properties of a message that calls another one back.
fn cancel(due_ms: u64, name: &str) -> String {
    format!("TIMER_DELIVER_MS\u{1}{due_ms}\u{2}TIMER_DEL_UNIQKEY\u{1}{name}\u{2}")
}

#[test]
fn a_name_to_call_back_that_is_too_long_is_refused() {
    let mut core = Core::alone();
    let due_ms = START.wall_ms + 1_000_000;
    let remark = "TIMER_DEL_UNIQKEY has 300 bytes, 255 are allowed";
    let long = cancel(due_ms, &"x".repeat(300));
    let expect = (response::MESSAGE_ILLEGAL, remark);
    core.check(request::SEND_MESSAGE_V2, &send("0", &long), b"cancel", expect);
    assert!(core.broker.shards[0].timers().recalls().is_empty());
    let longest = cancel(due_ms, &"x".repeat(255));
    core.granted(request::SEND_MESSAGE_V2, &send("0", &longest), b"cancel");
    assert_eq!(core.broker.shards[0].timers().recalls().len(), 1);
}

#[test]
fn a_send_that_finds_no_room_calls_nothing_back() {
    let mut core = Core::of(opened_with(opening(), 0, 256 << 10));
    core.broker.shards[0].log_mut().space_delayed("No space left on device".to_owned());
    let cancel = cancel(START.wall_ms + 1_000_000, "topic+key");
    let appended = core.broker.shards[0].log().appended();
    let remark = "service not available now: the disk has no space: No space left on device";
    let expect = (response::SERVICE_NOT_AVAILABLE, remark);
    core.check(request::SEND_MESSAGE_V2, &send("0", &cancel), &[b'x'; 300 << 10], expect);
    assert_eq!(core.broker.shards[0].log().appended(), appended);
    assert!(core.broker.shards[0].timers().recalls().is_empty());
    core.granted(request::SEND_MESSAGE_V2, &send("0", &cancel), b"cancel");
    assert_eq!(core.broker.shards[0].timers().recalls().len(), 1);
}

#[test]
fn queries_that_wait_for_their_turn_are_bounded() {
    let mut core = Core::alone();
    let ext = [
        ("topic", "topic"),
        ("key", "key"),
        ("maxNum", "1"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9"),
    ];
    let ask = (request::QUERY_MESSAGE, &ext[..], &b""[..]);
    let remark = "1024 queries by key wait already, try again";
    check_full(&mut core, QUERIES_WAITING_MAX, ask, (response::SYSTEM_BUSY, remark));
    core.turn(); // some have their answers
    let connection = core.ask(ask.0, ask.1, ask.2);
    assert_eq!(core.answer(connection), None);
}

#[test]
fn questions_to_all_cores_are_bounded() {
    let mut core = Core::alone();
    let ask = (request::QUERY_TOPICS_BY_CONSUMER, &[("group", "group")][..], &b""[..]);
    let remark = "64 questions to all cores are asked already, try again";
    check_full(&mut core, INQUIRIES_MAX, ask, (response::SYSTEM_BUSY, remark));
    core.turn();
    core.granted(ask.0, ask.1, ask.2);
}

#[test]
fn resets_that_groups_have_not_heard_of_are_bounded() {
    let mut core = Core::alone();
    // But one of as many as there may be: of other groups, for topics that are no more.
    let other = Arc::<str>::from("other");
    let queues = (1..u32::try_from(RESETS_MAX).expect("a million"))
        .map(|queue| ((Arc::clone(&other), QueueKey { topic: 9, queue }), 0));
    core.broker.resets.extend(queues);
    let reset = |queue| {
        [
            ("topic", "topic"),
            ("group", "group"),
            ("timestamp", "-1"),
            ("isForce", "true"),
            ("queueId", queue),
        ]
    };
    let code = request::INVOKE_BROKER_TO_RESET_OFFSET;
    let remark = "1048576 queues wait for groups that are to hear of a reset";
    core.check(code, &reset("-1"), b"", (response::SYSTEM_ERROR, remark));
    core.granted(code, &reset("0"), b"");
}

#[test]
fn calls_that_clients_have_not_answered_are_bounded() {
    let mut core = Core::alone();
    let member = core.granted(request::HEART_BEAT, &[], HEARTBEAT);
    let remark = "16384 calls to clients wait for answers already, try again";
    let busy = (response::SYSTEM_BUSY, remark);
    let ext = [("consumerGroup", "group"), ("clientId", "member"), ("jstackEnable", "false")];
    let ask = (request::GET_CONSUMER_RUNNING_INFO, &ext[..], &b""[..]);
    check_full(&mut core, CALLS_MAX, ask, busy);
    let topic = [("group", "group"), ("topic", "topic")];
    core.check(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &topic, b"", busy);
    core.broker.closed(member, &mut core.outboxes);
    assert!(core.broker.has_nothing_parked(), "who is gone answers nothing");

    // Far fewer of them, with more bytes than may be kept.
    core.granted(request::HEART_BEAT, &[], HEARTBEAT);
    let reply = send("0", "REPLY_TO_CLIENT\u{1}member\u{2}");
    let body = vec![b'x'; 4 << 20];
    let ask = (request::SEND_REPLY_MESSAGE_V2, &reply[..], &body[..]);
    check_full(&mut core, CALL_BYTES_MAX / body.len(), ask, busy);
}

#[test]
fn members_and_subscriptions_for_which_there_is_no_room_are_refused() {
    let mut core = Core::alone();
    let groups: Vec<_> = (0..GROUPS_PER_CONNECTION_MAX)
        .map(|number| format!(r#"{{"groupName":"p{number}"}}"#))
        .collect();
    let body = format!(r#"{{"clientID":"c","producerDataSet":[{}]}}"#, groups.join(","));
    for _ in 0..MEMBERS_MAX / GROUPS_PER_CONNECTION_MAX {
        core.granted(request::HEART_BEAT, &[], body.as_bytes());
    }
    let remark = "no room in the broker's membership: more than 131072 members of groups";
    core.check(request::HEART_BEAT, &[], HEARTBEAT, (response::SYSTEM_ERROR, remark));

    // An expression takes much more when it is compiled.
    let mut core = Core::alone();
    let sql = format!("a = '{}'", "x".repeat(32_000));
    let member = core.connect();
    let remark = "no room in the broker's membership: more than 134217728 bytes of subscriptions";
    let refused = (0..GROUPS_PER_CONNECTION_MAX).find_map(|number| {
        let body = String::from_utf8_lossy(HEARTBEAT)
            .replace(r#""groupName":"group""#, &format!(r#""groupName":"g{number}""#))
            .replace(r#""TAG","subString":"*""#, &format!(r#""SQL92","subString":"{sql}""#));
        core.ask_on(member, request::HEART_BEAT, &[], body.as_bytes());
        core.turn();
        let answer = core.answer(member.connection).expect("an answer");
        core.outboxes.of(member.connection).expect("open").bytes().clear();
        (answer.0 != response::SUCCESS).then_some((number, answer))
    });
    let (taken, answer) = refused.expect("there is an end");
    assert_eq!(answer, (response::SYSTEM_ERROR, remark.to_owned()));
    assert!(taken > 100, "{taken}");
}

#[test]
fn tables_that_do_not_fit_a_frame_are_refused() {
    let mut core = Core::alone();
    let long = "x".repeat(CATALOG_BYTES_MAX - 600);
    let (mut payload, placement) = (Vec::new(), Placement { first: 0, count: 1 });
    for number in 0..260 {
        let topic = TopicConfig {
            topic_name: format!("topic{number}"),
            attributes: [("long".to_owned(), long.clone())].into(),
            ..TopicConfig::default()
        };
        let group = SubscriptionGroupConfig {
            group_name: format!("group{number}"),
            attributes: [("long".to_owned(), long.clone())].into(),
            ..SubscriptionGroupConfig::default()
        };
        let catalog = &mut core.broker.catalog;
        catalog.put_topic(1, topic, placement, None, &mut payload).expect("room");
        catalog.put_group(1, group, &mut payload).expect("room");
    }
    for code in [request::GET_ALL_TOPIC_CONFIG, request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG] {
        let (found, remark) = core.asked(code, &[], b"").expect("an answer");
        assert_eq!(found, response::SYSTEM_ERROR, "{code}");
        let rest = remark.strip_prefix("the answer takes ").expect("how much it takes");
        let (bytes, rest) = rest.split_once(' ').expect("a number");
        assert!(bytes.parse::<usize>().is_ok_and(|bytes| bytes > 16 << 20), "{remark}");
        assert_eq!(rest, "bytes, more than the 16777216 of a frame");
    }
    // A few less do fit.
    for number in 0..8 {
        let name = format!("topic{number}");
        core.broker.catalog.delete_topic(1, &name, &mut payload).expect("it is there");
    }
    core.granted(request::GET_ALL_TOPIC_CONFIG, &[], b"");
}

#[test]
fn as_much_can_be_forbidden_as_may_be() {
    let mut full = catalog(1, group(), Catalog::default());
    for number in 0..FORBIDDEN_MAX {
        let topic = number.to_string();
        full.forbid(1, ("group", &topic), false, &mut Vec::new()).expect("room");
    }
    let mut core = Core::new(1, full, opened(opening(), 0));
    let forbid = |readable| [("group", "group"), ("topic", "topic"), ("readable", readable)];
    let code = request::UPDATE_AND_GET_GROUP_FORBIDDEN;
    let remark = "65536 topics are forbidden to groups, as many as it takes";
    core.check(code, &forbid("false"), b"", (response::SYSTEM_ERROR, remark));
    core.granted(code, &forbid("true"), b"");
    core.granted(code, &[("group", "group"), ("topic", "7"), ("readable", "true")], b"");
    core.granted(code, &forbid("false"), b"");
}

/// Asks, and takes turns until it is answered.
fn answered(core: &mut Core, code: i32, ext: &[(&str, &str)]) -> (i32, String) {
    let connection = core.ask(code, ext, b"");
    for _ in 0..10_000 {
        core.turn();
        if let Some(answer) = core.answer(connection) {
            return answer;
        }
    }
    panic!("{code} is not answered");
}

#[test]
fn more_offsets_than_are_told_at_once_are_refused() {
    let mut core = Core::alone();
    let topic = core.broker.catalog.topic("topic").expect("made").incarnation;
    let offsets = core.broker.shards[0].offsets_mut();
    for number in 0..=OFFSETS_TOLD_MAX {
        // Of some groups: one of them is told at once.
        let (group, queue) = ((number / 1000).to_string(), (number % 1000) as u32);
        offsets.commit(1, &group, QueueKey { topic, queue }, 1).expect("room");
    }
    let remark = "more than 262144 offsets are committed, as many as are told at once";
    let refused = (response::SYSTEM_ERROR, remark.to_owned());
    assert_eq!(answered(&mut core, request::GET_ALL_CONSUMER_OFFSET, &[]), refused);
    let every = [("isOrder", "false")];
    assert_eq!(answered(&mut core, request::GET_BROKER_CONSUME_STATS, &every), refused);
}

#[test]
fn more_queues_than_an_answer_tells_of_are_refused() {
    let mut core = Core::alone();
    let mut payload = Vec::new();
    let placement = Placement { first: 0, count: 1 };
    for name in ["wide", "wider"] {
        let config = TopicConfig {
            topic_name: name.to_owned(),
            read_queue_nums: 40_000,
            write_queue_nums: 40_000,
            perm: 6,
            ..TopicConfig::default()
        };
        let made = core.broker.catalog.put_topic(1, config, placement, None, &mut payload);
        let queue = QueueKey { topic: made.expect("room"), queue: 0 };
        core.broker.shards[0].offsets_mut().commit(1, "group", queue, 0).expect("room");
    }
    let remark = "all groups together consume more than 65536 queues, as many as an answer tells of: ask for one group";
    let every = [("isOrder", "false")];
    let refused = answered(&mut core, request::GET_BROKER_CONSUME_STATS, &every);
    assert_eq!(refused, (response::SYSTEM_ERROR, remark.to_owned()));
}
