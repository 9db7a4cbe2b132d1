//! Requests that nobody sends by accident: how they are refused, and that nothing else is harmed by them.

use engine::shard::HALF_TOPIC_INCARNATION;
use proto::names;

use super::*;

/// Commits an offset of `group` in the first queue of `topic`.
fn commit(core: &mut Core, queue: &str, offset: &str) {
    let ext = [
        ("consumerGroup", "group"),
        ("topic", "topic"),
        ("queueId", queue),
        ("commitOffset", offset),
    ];
    core.granted(request::UPDATE_CONSUMER_OFFSET, &ext, b"");
}

/// A broker with the topics that every broker has.
fn with_system_topics(settings: BrokerSettings) -> Core {
    let router = Router::new(0, 1, 1);
    let mut core = Core::alone();
    let shards = std::mem::take(&mut core.broker.shards);
    let catalog = catalog(1, group(), Catalog::default());
    core.broker = Broker::new(settings, router, shards, catalog, START);
    while !core.broker.create_system_topics(core.now) {
        core.turn();
    }
    core.turn();
    core
}

#[test]
fn offsets_are_cloned_to_what_may_be_a_groups_name_only() {
    let mut core = Core::alone();
    commit(&mut core, "0", "3");
    let too_long = "the specified group is longer than group max length 255.";
    for bytes in [256, 9_000, 70_000] {
        let target = "x".repeat(bytes);
        let ext = [
            ("srcGroup", "group"),
            ("destGroup", &*target),
            ("topic", "topic"),
            ("offline", "true"),
        ];
        let refused = (response::INVALID_PARAMETER, too_long);
        core.check(request::CLONE_GROUP_OFFSET, &ext, b"", refused);
    }
    let ext =
        [("srcGroup", "group"), ("destGroup", "other"), ("topic", "topic"), ("offline", "true")];
    let cloned = core.ask(request::CLONE_GROUP_OFFSET, &ext, b"");
    // All are asked where there are offsets, then for these, then the disk takes them.
    (0..3).for_each(|_| core.turn());
    assert_eq!(core.answer(cloned), Some((response::SUCCESS, String::new())));
}

#[test]
fn a_broker_may_have_the_name_of_its_cluster() {
    let names = BrokerSettings { broker_name: "cluster".to_owned(), ..settings() };
    let mut core = with_system_topics(names);
    let changes = core.broker.catalog.changes();
    assert!(core.broker.create_system_topics(core.now));
    assert_eq!(core.broker.catalog.changes(), changes, "they are all there");
    let queues =
        |core: &Core| core.broker.catalog.topic("cluster").expect("made").config.write_queue_nums;
    assert_eq!(queues(&core), 1, "the broker's own, as in Apache's table");
}

#[test]
fn what_shards_write_to_by_themselves_is_neither_changed_nor_deleted() {
    let mut core =
        with_system_topics(BrokerSettings { validate_system_topic: false, ..settings() });
    for name in [
        names::SCHEDULE_TOPIC,
        names::TRANS_HALF_TOPIC,
        names::TRANS_CHECK_MAX_TIME_TOPIC,
        names::WHEEL_TIMER_TOPIC,
    ] {
        let remark = format!("The topic[{name}] is conflict with system topic.");
        let refused = (response::INVALID_PARAMETER, &*remark);
        core.check(request::UPDATE_AND_CREATE_TOPIC, &topic_fields(name), b"", refused);
        core.check(request::DELETE_TOPIC_IN_BROKER, &[("topic", name)], b"", refused);
    }
    let others = topic_fields(names::BENCHMARK_TOPIC);
    assert_eq!(core.asked(request::UPDATE_AND_CREATE_TOPIC, &others, b""), None, "to be announced");
}

#[test]
fn a_queue_that_only_the_catalog_has_is_no_queue() {
    let mut catalog = catalog(1, group(), Catalog::default());
    let config = TopicConfig {
        topic_name: names::TRANS_HALF_TOPIC.to_owned(),
        read_queue_nums: 1_000,
        write_queue_nums: 1_000,
        perm: 6,
        ..TopicConfig::default()
    };
    let placement = Placement { first: 0, count: 1 };
    let put =
        catalog.put_topic(1, config, placement, Some(HALF_TOPIC_INCARNATION), &mut Vec::new());
    put.expect("room");
    let mut core = Core::new(1, catalog, opened(opening(), 0));
    let mut pull = PULL;
    pull[1].1 = names::TRANS_HALF_TOPIC;
    pull[2].1 = "999";
    let (code, remark) = core.asked(request::PULL_MESSAGE, &pull, b"").expect("answered");
    assert_eq!(code, response::INVALID_PARAMETER, "{remark}");
}

#[test]
fn a_reply_goes_to_no_topic_that_only_the_broker_writes_to() {
    let mut core = Core::alone();
    let mut reply = send("0", "REPLY_TO_CLIENT\u{1}member\u{2}");
    reply[1].1 = names::WHEEL_TIMER_TOPIC;
    let remark = "Sending message to topic[rmq_sys_wheel_timer] is forbidden.";
    let code = request::SEND_REPLY_MESSAGE_V2;
    core.check(code, &reply, b"body", (response::NO_PERMISSION, remark));
    assert!(core.broker.catalog.topic(names::WHEEL_TIMER_TOPIC).is_none());
}

#[test]
fn a_group_that_finds_no_room_does_not_hide_the_others_of_its_client() {
    let mut core = Core::alone();
    let consumer = |group: &str, kind: &str, expression: &str| {
        let topics = ["topic", "other"].map(|topic| {
            format!(
                r#"{{"expressionType":"{kind}","subString":"{expression}","subVersion":0,"topic":"{topic}"}}"#
            )
        });
        format!(
            r#"{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"BROADCASTING","subscriptionDataSet":[{}],"unitMode":false}}"#,
            topics.join(",")
        )
    };
    let sql = format!("a = '{}'", "x".repeat(32_000));
    let (first, last) = (consumer("group", "TAG", "*"), consumer("last", "TAG", "*"));
    let large = consumer("large", "SQL92", &sql);
    let body = format!(
        r#"{{"clientID":"member","consumerDataSet":[{first},{large},{last}],"producerDataSet":[{{"groupName":"producers"}}]}}"#
    );
    let (code, remark) =
        core.asked(request::HEART_BEAT, &[], body.as_bytes()).expect("it is answered");
    assert_eq!(code, response::SYSTEM_ERROR);
    assert!(remark.contains("bytes of a group's subscriptions"), "{remark}");
    for group in ["group", "last"] {
        let mut pull = PULL;
        pull[0].1 = group;
        let (code, remark) = core.asked(request::PULL_MESSAGE, &pull, b"").expect("answered");
        assert_eq!(code, response::PULL_NOT_FOUND, "{group}: {remark}");
    }
    let produces = core.broker.membership.producer_groups().map(|(group, ..)| group.to_owned());
    assert_eq!(produces.collect::<Vec<_>>(), ["producers"]);
}

#[test]
fn the_lag_of_all_groups_together_may_be_more_than_a_number_holds() {
    let mut core = Core::alone();
    for queue in ["0", "1"] {
        commit(&mut core, queue, "9223372036854775807");
    }
    let heartbeat = String::from_utf8_lossy(HEARTBEAT).replace("BROADCASTING", "CLUSTERING");
    core.ask(request::HEART_BEAT, &[], heartbeat.as_bytes());
    core.turn();
    let ext = [("isOrder", "false")];
    let told = core.granted(request::GET_BROKER_CONSUME_STATS, &ext, b"");
    let bytes = core.outboxes.of(told).expect("open").bytes();
    let text = String::from_utf8_lossy(bytes);
    assert!(text.contains(r#""totalDiff":-9223372036854775808"#), "{text}");
}

#[test]
fn members_answers_that_no_frame_holds_are_refused() {
    let mut core = Core::alone();
    let members: Vec<_> = (0..3).map(|_| core.connect()).collect();
    for (number, member) in members.iter().enumerate() {
        let body = String::from_utf8_lossy(HEARTBEAT)
            .replace(r#""member""#, &format!(r#""member{number}""#));
        core.ask_on(*member, request::HEART_BEAT, &[], body.as_bytes());
        core.outboxes.of(member.connection).expect("open").bytes().clear();
    }
    let ext = [("group", "group"), ("topic", "topic")];
    for (bytes, expected) in [
        (100, None),
        // Each takes six times as much when it is written again.
        (1 << 20, Some("the answer takes ")),
        (8 << 20, Some("what the members answer together is longer than an answer may be")),
    ] {
        let asked = core.ask(request::INVOKE_BROKER_TO_GET_CONSUMER_STATUS, &ext, b"");
        for member in &members {
            let call = std::mem::take(core.outboxes.of(member.connection).expect("open").bytes());
            let Ok(Scan::Frame { frame, .. }) = scan(&call, call.len()) else { panic!("a call") };
            let opaque = Command::decode(&frame).expect("a call").opaque;
            let topic = "\u{1}".repeat(bytes);
            let body = format!(
                r#"{{"messageQueueTable":{{{{"brokerName":"b","queueId":0,"topic":"{topic}"}}:1}}}}"#
            );
            let mut answer = Vec::new();
            let head = RequestHead { code: response::SUCCESS, opaque, flag: 1 };
            write_request(&mut answer, Encoding::Json, &head, None, body.as_bytes());
            core.take(*member, &answer);
        }
        let (code, remark) = core.answer(asked).expect("all have answered");
        match expected {
            None => assert_eq!((code, &*remark), (response::SUCCESS, "")),
            Some(expected) => {
                assert_eq!(code, response::SYSTEM_ERROR);
                assert!(remark.starts_with(expected), "{remark}");
            }
        }
        assert!(core.broker.calls.is_empty(), "{bytes} bytes each");
    }
}

#[test]
fn a_pull_for_whose_answer_nobody_waits_has_none() {
    let mut core = Core::alone();
    core.granted(request::HEART_BEAT, &[], HEARTBEAT);
    let origin = core.connect();
    let mut bytes = Vec::new();
    let head = RequestHead { code: request::PULL_MESSAGE, opaque: 1, flag: 2 };
    write_request(&mut bytes, Encoding::Json, &head, Some(&PULL), b"");
    core.take(origin, &bytes);
    core.turn();
    assert_eq!(core.answer(origin.connection), None);
    assert_eq!(core.broker.shards[0].held_pulls(), 0);
}

#[test]
fn what_one_encoding_takes_and_another_does_not_is_refused() {
    let mut core = Core::alone();
    let member = core.connect();
    core.ask_on(member, request::HEART_BEAT, &[], HEARTBEAT);
    core.outboxes.of(member.connection).expect("open").bytes().clear();
    for (value_bytes, key_bytes, expected) in
        [(40_000, 3, None), (3, 40_000, Some("cannot be passed on"))]
    {
        let asker = core.connect();
        let mut bytes = Vec::new();
        let head = RequestHead { code: request::GET_CONSUMER_RUNNING_INFO, opaque: 1, flag: 0 };
        let ext = [("consumerGroup", "group"), ("clientId", "member")];
        write_request(&mut bytes, Encoding::Binary, &head, Some(&ext), b"");
        core.take(asker, &bytes);
        let call = std::mem::take(core.outboxes.of(member.connection).expect("open").bytes());
        let Ok(Scan::Frame { frame, .. }) = scan(&call, call.len()) else { panic!("a call") };
        let opaque = Command::decode(&frame).expect("a call").opaque;
        let (key, value) = ("k".repeat(key_bytes), "v".repeat(value_bytes));
        let head = RequestHead { code: response::SUCCESS, opaque, flag: 1 };
        let mut answer = Vec::new();
        write_request(&mut answer, Encoding::Json, &head, Some(&[(&key, &value)]), b"{}");
        core.take(member, &answer);
        let (code, remark) = core.answer(asker.connection).expect("one that can be read");
        match expected {
            None => assert_eq!(code, response::SUCCESS, "{remark}"),
            Some(expected) => assert!(remark.ends_with(expected), "{code} {remark}"),
        }
    }
}

#[test]
fn a_start_leaves_topics_as_somebody_made_them() {
    let mut core = Core::alone();
    let mut made = topic_fields("SELF_TEST_TOPIC");
    made[4].1 = "4";
    core.broker.configured.validate_system_topic = false;
    core.broker.settings.validate_system_topic = false;
    let of = |core: &Core, name: &str| {
        let config = &core.broker.catalog.topic(name).expect("it is there").config;
        (config.write_queue_nums, config.perm)
    };
    core.asked(request::UPDATE_AND_CREATE_TOPIC, &made, b"");
    let changes = core.broker.next_topic_changes().expect("the topic");
    core.broker.announced(changes.number);
    assert_eq!(of(&core, "SELF_TEST_TOPIC"), (4, 4));
    core.broker.settings.default_topic_queue_count = 3;
    while !core.broker.create_system_topics(core.now) {
        core.turn();
    }
    assert_eq!(of(&core, "SELF_TEST_TOPIC"), (4, 4), "and it was 1 with 6");
    assert_eq!(of(&core, "TBW102").0, 3, "follows the configuration");
}
