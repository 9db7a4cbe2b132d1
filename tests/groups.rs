//! Groups and their offsets as tools see and set them, and calls that go through the broker to its clients:
//! the same with one shard and with several, whichever connection asks.

mod support;

use std::path::Path;
use std::time::Instant;

use proto::body::{
    ConsumeStats, ConsumerConnection, GetConsumerStatusBody, GroupList, MessageQueue,
    ProducerConnection, QueryConsumeTimeSpanBody, QueryCorrectionOffsetBody, ResetOffsetBody,
    SubscriptionGroupConfig, SubscriptionGroupWrapper, TopicConfigAndMappingSerializeWrapper,
    TopicList, TopicStatsTable,
};
use proto::frame::Encoding;
use proto::reply::{ResponseHead, write_response};
use support::tools::{MESSAGES, QUEUES, SIZES, Tools};
use support::{Client, DEADLINE, Reply, Server, decoded, records, write_config};

impl Tools {
    fn committed(&mut self, group: &str, topic: &str) -> Vec<Option<i64>> {
        let of_queue = |queue: i32| {
            let queue = queue.to_string();
            let ext = [
                ("consumerGroup", group),
                ("topic", topic),
                ("queueId", &*queue),
                ("setZeroIfNotFound", "false"),
            ];
            let reply = self.ask(14, &ext, &[]);
            (reply.code == 0).then(|| reply.number("offset"))
        };
        (0..QUEUES).map(of_queue).collect()
    }

    fn reset(&mut self, ext: &[(&str, &str)]) -> Reply {
        let mut all = vec![("group", "g"), ("isForce", "true")];
        all.extend_from_slice(ext);
        self.ask(222, &all, &[])
    }
}

fn start(directory: &Path, (shards, cores): (&str, &str), more: &str) -> Server {
    let config = write_config(directory, 16 << 20, &format!("brokerName = b\n{more}"));
    let flags = ["--shards", shards, "--cores", cores, "-c", &config, "--log-level", "error"];
    Server::start(&directory.join("store"), &flags)
}

fn on_each_size(more: &str, test: impl Fn(&Path, &dyn Fn() -> Server)) {
    for size in SIZES {
        let directory = tempfile::tempdir().expect("a temporary directory");
        test(directory.path(), &|| start(directory.path(), size, more));
    }
}

fn group(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: name.to_owned(), ..Default::default() }
}

fn bytes(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn queue(topic: &str, queue: i32) -> MessageQueue {
    MessageQueue::new(topic, "b", queue)
}

#[test]
fn a_group_is_made_changed_and_deleted_for_good() {
    on_each_size("autoCreateSubscriptionGroup = false", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("T");
        assert_eq!(tools.next().pull_as("g", "T", 0, 0).code, 26, "nobody made it");
        let config = SubscriptionGroupConfig { retry_max_times: 3, ..group("g") };
        tools.granted(200, &[], &bytes(|out| config.write(out)));
        for _ in 0..4 {
            assert_eq!(tools.next().pull_as("g", "T", 0, 0).code, 0, "every core knows it");
        }
        let found = tools.granted(352, &[("group", "g")], &[]);
        assert_eq!(SubscriptionGroupConfig::parse(&found).expect("a group"), config);
        let list =
            br#"{"groupConfigList":[{"groupName":"h"},{"groupName":"g","consumeEnable":false}]}"#;
        tools.granted(225, &[], list);
        assert_eq!(tools.next().pull_as("g", "T", 0, 0).code, 16, "it may not consume");
        assert_eq!(tools.next().pull_as("h", "T", 0, 0).code, 0);
        let all = SubscriptionGroupWrapper::parse(&tools.granted(201, &[], &[])).expect("a table");
        assert!(all.subscription_group_table.contains_key("h"));
        for queue in 0..QUEUES {
            tools.commit("g", "T", queue, 2);
            tools.commit("h", "T", queue, 3);
        }
        server.kill();

        let server = start();
        let mut tools = Tools::new(&server);
        assert_eq!(tools.next().pull_as("g", "T", 0, 0).code, 16, "it is remembered");
        assert_eq!(tools.committed("g", "T"), [Some(2); QUEUES as usize]);
        // One keeps its offsets, the other does not.
        tools.granted(207, &[("groupName", "g"), ("cleanOffset", "true")], &[]);
        tools.granted(207, &[("groupName", "h")], &[]);
        tools.granted(207, &[("groupName", "never")], &[]);
        for _ in 0..4 {
            assert_eq!(tools.next().pull_as("g", "T", 0, 0).code, 26);
            assert_eq!(tools.next().pull_as("h", "T", 0, 0).code, 26);
        }
        server.kill();

        let server = start();
        let mut tools = Tools::new(&server);
        assert_eq!(tools.ask(352, &[("group", "g")], &[]).code, 26);
        assert_eq!(tools.committed("g", "T"), [None; QUEUES as usize]);
        assert_eq!(tools.committed("h", "T"), [Some(3); QUEUES as usize]);
        server.stop();
    });
}

#[test]
fn tools_see_how_far_topics_and_groups_are() {
    on_each_size("", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("T");
        tools.fill("U");
        assert_eq!(tools.next().pull_as("g", "T", 0, 0).code, 0, "it makes the group");
        assert_eq!(tools.next().pull_as("h", "T", 0, 0).code, 0);
        for queue in 0..QUEUES {
            tools.commit("g", "T", queue, i64::from(queue));
            tools.commit("h", "T", queue, 2);
        }
        tools.commit("g", "U", 3, 1);

        let check = |tools: &mut Tools| {
            let stats = tools.granted(202, &[("topic", "T")], &[]);
            let stats = TopicStatsTable::parse(&stats).expect("a table");
            assert_eq!(stats.offset_table.len(), QUEUES as usize);
            for (_, offset) in stats.offset_table {
                assert_eq!((offset.min_offset, offset.max_offset), (0, MESSAGES));
                assert!(offset.last_update_timestamp > 0);
            }
            let stats = tools.granted(208, &[("consumerGroup", "g")], &[]);
            let stats = ConsumeStats::parse(&stats).expect("a table");
            assert_eq!(stats.offset_table.len(), 2 * QUEUES as usize, "of both topics");
            let of_queue = &stats.offset_table[&queue("T", 3)];
            assert_eq!((of_queue.broker_offset, of_queue.consumer_offset), (MESSAGES, 3));
            assert!(of_queue.last_timestamp > 0);
            assert_eq!(stats.offset_table[&queue("T", 0)].last_timestamp, 0);
            let one = tools.granted(208, &[("consumerGroup", "g"), ("topic", "U")], &[]);
            let one = ConsumeStats::parse(&one).expect("a table");
            assert_eq!(one.offset_table[&queue("U", 3)].consumer_offset, 1);
            assert_eq!(one.offset_table.len(), QUEUES as usize);
            let span = tools.granted(303, &[("group", "g"), ("topic", "T")], &[]);
            let span = QueryConsumeTimeSpanBody::parse(&span).expect("a table");
            assert_eq!(span.consume_time_span_set.len(), QUEUES as usize);
            for span in span.consume_time_span_set {
                assert!(span.min_time_stamp > 0 && span.min_time_stamp <= span.max_time_stamp);
                assert!(span.consume_time_stamp >= span.min_time_stamp);
            }
            let topics = tools.granted(343, &[("group", "g")], &[]);
            let topics = TopicList::parse(&topics).expect("a list").topic_list;
            assert_eq!(topics.into_iter().collect::<Vec<_>>(), ["T", "U"]);
            let groups = tools.granted(300, &[("topic", "T")], &[]);
            let groups = GroupList::parse(&groups).expect("a list").group_list;
            assert_eq!(groups.into_iter().collect::<Vec<_>>(), ["g", "h"]);
            // Queues 0 and 1: g is the lowest; 2: both; 3 and 4: h is below g.
            let of = |out: &str, group: &str, tools: &mut Tools| {
                let ext = [("topic", "T"), ("compareGroup", group), ("filterGroups", out)];
                let found = tools.granted(308, &ext, &[]);
                let found = QueryCorrectionOffsetBody::parse(&found).expect("a table");
                found.correction_offsets.into_values().collect::<Vec<_>>()
            };
            assert_eq!(of("", "g", tools), [0, 1, 2, 2, 2]);
            assert_eq!(of("h", "none", tools), [0, 1, 2, 3, 4]);
            let topics = tools.granted(21, &[], &[]);
            let topics = TopicConfigAndMappingSerializeWrapper::parse(&topics).expect("a table");
            assert_eq!(topics.topic_config_table["U"].read_queue_nums, QUEUES);
            let config = tools.granted(351, &[("topic", "U")], &[]);
            assert!(String::from_utf8_lossy(&config).contains(r#""topicName":"U""#));
            let system = TopicList::parse(&tools.granted(305, &[], &[])).expect("a list");
            assert!(system.topic_list.contains("TBW102") && !system.topic_list.contains("T"));
        };
        check(&mut tools);
        assert_eq!(tools.ask(202, &[("topic", "none")], &[]).code, 17);
        assert_eq!(tools.ask(303, &[("group", "g"), ("topic", "none")], &[]).code, 17);
        assert_eq!(tools.ask(351, &[("topic", "none")], &[]).code, 17);
        server.kill();
        // From disk, too.
        let server = start();
        check(&mut Tools::new(&server));
        server.stop();
    });
}

#[test]
fn offsets_are_reset_cloned_and_told() {
    on_each_size("", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("T");
        for name in ["g", "h"] {
            assert_eq!(tools.next().pull_as(name, "T", 0, 0).code, 0, "it makes the group");
        }
        for queue in 0..QUEUES {
            tools.commit("g", "T", queue, 1);
        }
        tools.commit("h", "T", 2, 3);

        // To the end, all queues.
        let reply = tools.reset(&[("topic", "T"), ("timestamp", "-1")]);
        assert_eq!(reply.code, 0, "{}", reply.remark);
        let body = ResetOffsetBody::parse(&reply.body).expect("a table");
        let expect = (0..QUEUES).map(|it| (queue("T", it), MESSAGES)).collect();
        assert_eq!(body.offset_table, expect);
        assert_eq!(tools.committed("g", "T"), [Some(MESSAGES); QUEUES as usize]);
        // Who does not know of it yet cannot undo it, and is told with its next pull.
        tools.commit("g", "T", 1, 2);
        assert_eq!(tools.committed("g", "T")[1], Some(MESSAGES));
        let told = tools.next().pull_as("g", "T", 1, 1);
        assert_eq!((told.code, told.number("nextBeginOffset")), (21, MESSAGES));
        assert_eq!(told.remark, "OFFSET_RESET");
        assert_eq!(tools.next().pull_as("g", "T", 1, 1).code, 0, "once");
        tools.commit("g", "T", 1, 2);
        assert_eq!(tools.committed("g", "T")[1], Some(2));

        // To the beginning by time; to an offset of one queue.
        let reply = tools.reset(&[("topic", "T"), ("timestamp", "0")]);
        assert_eq!(reply.code, 0, "{}", reply.remark);
        let one = [("topic", "T"), ("timestamp", "0"), ("queueId", "3"), ("offset", "2")];
        let reply = tools.reset(&one);
        let body = ResetOffsetBody::parse(&reply.body).expect("a table");
        assert_eq!(body.offset_table, [(queue("T", 3), 2)].into());
        let expect = [Some(0), Some(0), Some(0), Some(2), Some(0)];
        assert_eq!(tools.committed("g", "T"), expect);
        for (ext, code, remark) in [
            (
                &[("topic", "T"), ("timestamp", "0"), ("queueId", "3"), ("offset", "6")][..],
                1,
                "Target offset 6 not in consume queue range [0-4]",
            ),
            (&[("topic", "T"), ("timestamp", "0"), ("queueId", "99")], 29, "has no queue 99"),
            (&[("topic", "none"), ("timestamp", "0")], 17, "Topic none does not exist"),
        ] {
            let reply = tools.reset(ext);
            assert_eq!(reply.code, code);
            assert!(reply.remark.contains(remark), "{}", reply.remark);
        }
        let ext = [("group", "none"), ("topic", "T"), ("timestamp", "0"), ("isForce", "true")];
        assert_eq!(tools.ask(222, &ext, &[]).code, 26);

        // Cloned whole: what only the target had is gone.
        let ext = [("srcGroup", "g"), ("destGroup", "h"), ("topic", "T"), ("offline", "true")];
        tools.granted(314, &ext, &[]);
        assert_eq!(tools.committed("h", "T"), expect);
        // Also where the source has none, whichever shard that is.
        assert_eq!(tools.next().pull_as("i", "T", 0, 0).code, 0, "it makes the group");
        tools.commit("i", "T", 1, 4);
        let from_one = [("srcGroup", "i"), ("destGroup", "h"), ("offline", "true")];
        let with_topic = [&from_one[..], &[("topic", "T")]].concat();
        for one in [&from_one[..], &with_topic] {
            tools.granted(314, &ext, &[]);
            tools.granted(314, one, &[]);
            assert_eq!(tools.committed("h", "T"), [None, Some(4), None, None, None]);
        }
        // A group without offsets gives none.
        let none = [("srcGroup", "none"), ("destGroup", "h"), ("topic", "T"), ("offline", "true")];
        tools.granted(314, &none, &[]);
        assert_eq!(tools.committed("h", "T")[1], Some(4));
        tools.granted(314, &ext, &[]);
        server.kill();

        let server = start();
        let mut tools = Tools::new(&server);
        assert_eq!(tools.committed("g", "T"), expect, "answered is durable");
        assert_eq!(tools.committed("h", "T"), expect);
        server.stop();
    });
}

#[test]
fn members_are_told_of_a_reset_when_the_broker_does_not_do_it() {
    on_each_size("useServerSideResetOffset = false", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("T");
        assert_eq!(tools.next().pull_as("g", "T", 0, 0).code, 0);
        for queue in 0..QUEUES {
            tools.commit("g", "T", queue, 3);
        }
        let ext = [("topic", "T"), ("timestamp", "0")];
        let reply = tools.ask(222, &[("group", "x"), ("topic", "T"), ("timestamp", "0")], &[]);
        assert_eq!((reply.code, &*reply.remark), (1, "THe consumer group <x> not exist"));
        assert_eq!(tools.reset(&ext).code, 206, "nobody is there");
        let mut members: Vec<_> = (0..3).map(|_| Client::connect(server.broker)).collect();
        for (number, member) in members.iter_mut().enumerate() {
            assert_eq!(member.heartbeat(&format!("m{number}"), &["g"], "T").code, 0);
        }
        let reply = tools.reset(&ext);
        assert_eq!(reply.code, 0, "{}", reply.remark);
        for member in &mut members {
            let told = std::iter::from_fn(|| member.read()).find(|told| told.code == 220);
            let told = told.expect("it is told");
            assert_eq!(told.field("topic"), Some("T"));
            assert_eq!(told.body, reply.body);
            let body = ResetOffsetBody::parse(&told.body).expect("a table");
            assert!(body.offset_table.values().all(|offset| *offset == 0));
        }
        assert_eq!(tools.committed("g", "T"), [Some(3); QUEUES as usize], "it is theirs to do");
        server.stop();
    });
}

/// Waits for a call of the broker, and answers it.
fn answer_call(
    member: &mut Client,
    code: i32,
    answer: i32,
    ext: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let call = std::iter::from_fn(|| member.read()).find(|call| call.code == code);
    let call = call.expect("the broker calls");
    let head = ResponseHead { opaque: call.opaque, code: answer, remark: Some("said") };
    let written = bytes(|out| write_response(out, Encoding::Json, &head, Some(ext), body));
    member.write_raw(&written);
    call
}

#[test]
fn calls_go_through_to_members_and_their_answers_back() {
    on_each_size("", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("T");
        let mut members: Vec<_> = (0..3).map(|_| Client::connect(server.broker)).collect();
        for (number, member) in members.iter_mut().enumerate() {
            assert_eq!(member.heartbeat(&format!("m{number}"), &["g"], "T").code, 0);
        }
        let found = tools.granted(203, &[("consumerGroup", "g")], &[]);
        let found = ConsumerConnection::parse(&found).expect("a table");
        assert_eq!(found.connection_set.len(), 3);
        assert!(found.connection_set.iter().all(|it| it.client_addr.starts_with("127.0.0.1:")));
        assert_eq!(found.subscription_table["T"].sub_string, "*");
        assert_eq!(tools.ask(203, &[("consumerGroup", "none")], &[]).code, 206);
        tools.granted(345, &[("group", "g"), ("topic", "T")], &[]);

        let mut last = String::new();
        for (number, member) in members.iter_mut().enumerate() {
            let id = format!("m{number}");
            let ext = [("consumerGroup", "g"), ("clientId", &*id), ("jstackEnable", "false")];
            let asker = tools.next();
            asker.write(307, &ext, &[]);
            let call = answer_call(member, 307, 0, &[("k", "v")], b"running");
            assert_eq!(call.field("clientId"), Some(&*id));
            let reply = asker.read().expect("an answer");
            assert_eq!((reply.code, &*reply.remark, &*reply.body), (0, "said", &b"running"[..]));
            assert_eq!(reply.field("k"), Some("v"));

            // A message of each queue, and so of each shard.
            for queue in 0..QUEUES {
                let asker = tools.next();
                asker.write_send("T", queue, b"direct").expect("open");
                let sent = asker.read().expect("an answer");
                let message = sent.field("msgId").expect("an id").to_owned();
                let ext = [("consumerGroup", "g"), ("clientId", &*id), ("msgId", &*message)];
                let asker = tools.next();
                asker.write(309, &ext, &[]);
                let call = answer_call(member, 309, 0, &[], b"CR_SUCCESS");
                assert_eq!(records(&call.body)[0].1, b"direct");
                assert_eq!(call.field("brokerName"), Some("b"));
                assert_eq!(asker.read().expect("an answer").body, b"CR_SUCCESS");
                last = message;
            }
        }
        // What is no UTF-8 takes three times as much when it is passed on.
        let mut large = format!(
            r#"{{"code":309,"extFields":{{"consumerGroup":"g","clientId":"m0","msgId":"{last}","x":""#
        )
        .into_bytes();
        large.resize(large.len() + 900_000, 0xFF);
        large.extend_from_slice(br#""},"flag":0,"opaque":1,"version":479}"#);
        let asker = tools.next();
        asker.write_header(&large);
        let reply = asker.read().expect("an answer");
        let expect = "the fields of the request are too long to be passed on";
        assert_eq!((reply.code, &*reply.remark), (1, expect));

        let ext = [("consumerGroup", "g"), ("clientId", "m9")];
        let reply = tools.ask(307, &ext, &[]);
        assert_eq!((reply.code, &*reply.remark), (1, "The Consumer <g> <m9> not online"));

        // Of all members at once; one does not know.
        let asker = tools.next();
        asker.write(223, &[("topic", "T"), ("group", "g")], &[]);
        for (number, member) in members.iter_mut().enumerate() {
            let mut status = GetConsumerStatusBody::default();
            status.message_queue_table.insert(queue("T", 1), number as i64);
            let code = if number == 2 { 1 } else { 0 };
            answer_call(member, 221, code, &[], &bytes(|out| status.write(out)));
        }
        let reply = asker.read().expect("an answer");
        let status = GetConsumerStatusBody::parse(&reply.body).expect("a table");
        let offsets: Vec<_> = status.consumer_table.into_iter().collect();
        assert_eq!(offsets[0], ("m0".to_owned(), [(queue("T", 1), 0)].into()));
        assert_eq!((offsets[1].1[&queue("T", 1)], offsets.len()), (1, 2));

        // Who goes away answers nothing, and nobody waits for it.
        let asker = tools.next();
        asker.write(307, &[("consumerGroup", "g"), ("clientId", "m0")], &[]);
        let call = std::iter::from_fn(|| members[0].read()).find(|call| call.code == 307);
        assert!(call.is_some());
        drop(members.remove(0));
        let reply = asker.read().expect("an answer");
        assert!(reply.code == 1 && reply.remark.contains("closed its connection"), "{reply:?}");
        // An answer that nobody asked for costs nobody anything.
        let head = ResponseHead { opaque: 1, code: 0, remark: None };
        members[0].write_raw(&bytes(|out| write_response(out, Encoding::Json, &head, None, b"")));
        assert_eq!(members[0].heartbeat("m1", &["g"], "T").code, 0);
        server.stop();
    });
}

/// A heartbeat as an old client sends it.
fn write_old_heartbeat(member: &mut Client, id: &str, version: i32) {
    let header = format!(
        r#"{{"code":34,"extFields":{{}},"flag":0,"language":"JAVA","opaque":7,"version":{version}}}"#
    );
    let body = format!(
        r#"{{"clientID":"{id}","consumerDataSet":[{{"groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[]}}],"producerDataSet":[]}}"#
    );
    let mut frame = Vec::new();
    let length = u32::try_from(4 + header.len() + body.len()).expect("small");
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&u32::try_from(header.len()).expect("small").to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(body.as_bytes());
    member.write_raw(&frame);
    let reply = std::iter::from_fn(|| member.read()).find(|reply| reply.opaque == 7);
    assert_eq!(reply.expect("an answer").code, 0);
}

#[test]
fn members_that_are_too_old_are_not_called() {
    on_each_size("useServerSideResetOffset = false", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("T");
        let mut members: Vec<_> = (0..2).map(|_| Client::connect(server.broker)).collect();
        write_old_heartbeat(&mut members[0], "old", 61);
        let ask = [("consumerGroup", "g"), ("clientId", "old")];
        let reply = tools.ask(307, &ask, &[]);
        assert!(reply.code == 1 && reply.remark.contains("too low to finish"), "{reply:?}");
        write_old_heartbeat(&mut members[1], "oldest", 27);
        let expect = "the client does not support this feature. version=V3_0_6";
        for (code, ext) in
            [(223, [("topic", "T"), ("group", "g")]), (222, [("topic", "T"), ("timestamp", "0")])]
        {
            for queue in 0..QUEUES {
                tools.commit("g", "T", queue, 1);
            }
            let reply = match code {
                222 => tools.reset(&ext),
                _ => tools.ask(code, &ext, &[]),
            };
            assert_eq!((reply.code, &*reply.remark), (1, expect));
        }
        server.stop();
    });
}

#[test]
fn who_does_not_answer_in_time_is_waited_for_no_longer() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let server = start(directory.path(), ("3", "2"), "");
    let mut member = Client::connect(server.broker);
    assert_eq!(member.heartbeat("m", &["g"], "T").code, 0);
    let mut asker = Client::connect(server.broker);
    asker.write(307, &[("consumerGroup", "g"), ("clientId", "m")], &[]);
    let reply = asker.read().expect("an answer");
    assert_eq!(
        (reply.code, &*reply.remark),
        (207, "consumer <g> <m> Timeout: no answer in 10000 ms")
    );
    // Nor does a stop wait for it.
    asker.write(307, &[("consumerGroup", "g"), ("clientId", "m")], &[]);
    assert_eq!(asker.ask(30, &[("topic", "T"), ("queueId", "0")], &[]).code, 0);
    server.stop();
}

fn reply_fields<'a>(properties: &'a str, topic: &'a str) -> [(&'a str, &'a str); 11] {
    [
        ("a", "group"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "7"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
    ]
}

#[test]
fn a_reply_is_pushed_to_who_asked_and_stored() {
    on_each_size("", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        let mut requesters: Vec<_> = (0..3).map(|_| Client::connect(server.broker)).collect();
        for (number, requester) in requesters.iter_mut().enumerate() {
            let body = format!(
                r#"{{"clientID":"r{number}","consumerDataSet":[],"producerDataSet":[{{"groupName":"p"}}]}}"#
            );
            assert_eq!(requester.ask(34, &[], body.as_bytes()).code, 0);
        }
        let found = tools.granted(204, &[("producerGroup", "p")], &[]);
        assert_eq!(ProducerConnection::parse(&found).expect("a table").connection_set.len(), 3);
        assert_eq!(tools.ask(204, &[("producerGroup", "none")], &[]).code, 1);
        assert!(tools.granted(328, &[], &[]).starts_with(br#"{"data":{"p":["#));

        let topic = "DefaultCluster_REPLY_TOPIC";
        for (number, requester) in requesters.iter_mut().enumerate() {
            let text =
                format!("CORRELATION_ID\u{1}c{number}\u{2}REPLY_TO_CLIENT\u{1}r{number}\u{2}");
            let asker = tools.next();
            asker.write(325, &reply_fields(&text, topic), b"reply");
            let call = answer_call(requester, 326, 0, &[], b"");
            assert_eq!(call.body, b"reply");
            assert_eq!(
                (call.field("topic"), call.field("bornTimestamp")),
                (Some(topic), Some("7"))
            );
            let properties = call.field("properties").expect("text");
            assert!(properties.starts_with(&text) && properties.contains("PUSH_REPLY_TIME\u{1}"));
            let reply = asker.read().expect("an answer");
            assert_eq!((reply.code, reply.number("queueOffset")), (0, number as i64));
            assert_eq!(reply.field("MSG_REGION"), Some("DefaultRegion"));
        }
        // Refused by its receiver; to nobody; for nobody. They are stored all the same.
        let text = "REPLY_TO_CLIENT\u{1}r0\u{2}";
        let asker = tools.next();
        asker.write(325, &reply_fields(text, topic), b"refused");
        answer_call(&mut requesters[0], 326, 1, &[], b"");
        let reply = asker.read().expect("an answer");
        assert_eq!((reply.code, &*reply.remark), (1, "push reply message to r0fail."));
        let gone = tools.ask(325, &reply_fields("REPLY_TO_CLIENT\u{1}r9\u{2}", topic), b"gone");
        let expect = "push reply message fail, channel of <r9> not found.";
        assert_eq!((gone.code, &*gone.remark), (1, expect));
        let none = tools.ask(325, &reply_fields("A\u{1}b\u{2}", topic), b"none");
        let expect = "reply message properties[REPLY_TO_CLIENT] is null";
        assert_eq!((none.code, &*none.remark), (1, expect));
        let mut fields = reply_fields(text, topic);
        let long = "g".repeat(256);
        (fields[0].1, fields[8].1) = (&long, text);
        let refused = tools.ask(325, &fields, b"no group");
        let expect = "the producer group has 256 bytes, more than 255";
        assert_eq!((refused.code, &*refused.remark), (13, expect));
        // Delivered, and refused when it is stored: whoever replied has done its part.
        let unstored = "REPLY_TO_CLIENT\u{1}r0\u{2}DELAY\u{1}soon\u{2}";
        let asker = tools.next();
        asker.write(325, &reply_fields(unstored, topic), b"unstored");
        answer_call(&mut requesters[0], 326, 0, &[], b"");
        let reply = asker.read().expect("an answer");
        assert_eq!((reply.code, reply.field("msgId")), (0, Some("0")));
        // Behind what is stored without an answer.
        let asker = tools.next();
        asker.write(325, &reply_fields(text, topic), b"last");
        answer_call(&mut requesters[0], 326, 0, &[], b"");
        assert_eq!(asker.read().expect("an answer").number("queueOffset"), 6);
        let stored = records(&tools.next().pull(topic, 0, 0).body);
        let stored: Vec<_> = stored.iter().map(|(_, body)| String::from_utf8_lossy(body)).collect();
        assert_eq!(stored, ["reply", "reply", "reply", "refused", "gone", "none", "last"]);
        server.stop();
    });
}

#[test]
fn what_is_sent_back_comes_to_all_retry_queues_of_its_group() {
    on_each_size("messageDelayLevel = 1s", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        tools.fill("again");
        tools.granted(200, &[], br#"{"groupName":"many","retryQueueNums":4}"#);
        for queue in 0..QUEUES {
            let found = tools.next().pull("again", queue, 0).body;
            for fields in decoded(&found) {
                let position = fields.physic_offset.to_string();
                let ext = [("group", "many"), ("offset", &*position), ("delayLevel", "1")];
                tools.granted(36, &ext, &[]);
            }
        }
        let expected = i64::from(QUEUES) * MESSAGES;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let ends: Vec<_> = (0..4)
                .map(|queue: i32| {
                    let ext = [("topic", "%RETRY%many"), ("queueId", &*queue.to_string())];
                    tools.ask(30, &ext, &[]).number("offset")
                })
                .collect();
            if ends.iter().sum::<i64>() == expected {
                assert!(ends.iter().all(|end| *end > 0), "each gets some: {ends:?}");
                break;
            }
            assert!(Instant::now() < deadline, "{expected} are to come back: {ends:?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        server.stop();
    });
}

#[test]
fn a_reply_is_not_stored_when_that_is_off() {
    on_each_size("storeReplyMessageEnable = false", |_, start| {
        let server = start();
        let mut tools = Tools::new(&server);
        let mut requester = Client::connect(server.broker);
        let body =
            br#"{"clientID":"r","consumerDataSet":[],"producerDataSet":[{"groupName":"p"}]}"#;
        assert_eq!(requester.ask(34, &[], body).code, 0);
        let topic = "DefaultCluster_REPLY_TOPIC";
        let asker = tools.next();
        asker.write(325, &reply_fields("REPLY_TO_CLIENT\u{1}r\u{2}", topic), b"reply");
        answer_call(&mut requester, 326, 0, &[], b"");
        let reply = asker.read().expect("an answer");
        assert_eq!((reply.code, reply.field("msgId")), (0, Some("0")));
        assert_eq!(tools.next().pull(topic, 0, 0).code, 19, "it is empty");
        server.stop();
    });
}
