//! Every body against what Apache RocketMQ 5.3.3 sent, and against its own inverse.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::sample::{Sample, Source};
use super::*;
use crate::dialect::{self, Key, Value};
use crate::version::{V4_9_3, V4_9_4, V5_0_0, V5_3_3};

/// Calls a macro with every body.
macro_rules! every_body {
    ($call:ident) => {
        $call!(
            BatchAckMessageRequestBody,
            BrokerMemberGroup,
            BrokerStatsData,
            CheckClientRequestBody,
            ClusterInfo,
            ConsumeStats,
            ConsumeStatsList,
            ConsumerConnection,
            ConsumerList,
            ConsumerOffsetSerializeWrapper,
            CreateTopicListRequestBody,
            DataVersion,
            DelayOffsetSerializeWrapper,
            GetBrokerMemberGroupResponseBody,
            GetConsumerStatusBody,
            GroupForbidden,
            GroupList,
            HARuntimeInfo,
            HeartbeatData,
            KVTable,
            LockBatchRequestBody,
            LockBatchResponseBody,
            MessageQueue,
            MessageRequestModeSerializeWrapper,
            ProducerConnection,
            ProducerTableInfo,
            QueryAssignmentRequestBody,
            QueryAssignmentResponseBody,
            QueryConsumeQueueResponseBody,
            QueryConsumeTimeSpanBody,
            QueryCorrectionOffsetBody,
            QuerySubscriptionResponseBody,
            RegisterBrokerBody,
            ResetOffsetBody,
            ResetOffsetBodyForC,
            SetMessageRequestModeRequestBody,
            SubscriptionData,
            SubscriptionGroupConfig,
            SubscriptionGroupList,
            SubscriptionGroupWrapper,
            TimerMetricsSerializeWrapper,
            TopicConfig,
            TopicConfigAndMappingSerializeWrapper,
            TopicConfigAndQueueMapping,
            TopicConfigSerializeWrapper,
            TopicList,
            TopicQueueMappingDetail,
            TopicRouteData,
            TopicStatsTable
        )
    };
}

/// The body of a golden frame. By hand: the frame codec has tests of its own.
fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    let hex: Vec<u8> = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into_iter()
        .filter(u8::is_ascii_hexdigit)
        .collect();
    let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    let frame: Vec<u8> = hex.chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect();
    let header_bytes = u32::from_be_bytes([0, frame[5], frame[6], frame[7]]) as usize;
    frame[8 + header_bytes..].to_vec()
}

/// A document as text in which neither the order of entries nor of items matters.
fn canonical(value: &Value<'_>) -> String {
    let joined = |mut parts: Vec<String>| {
        parts.sort();
        parts.join(",")
    };
    match value {
        Value::Array(items) => format!("[{}]", joined(items.iter().map(canonical).collect())),
        Value::Object(object) => {
            let entry = |(key, value): &(Key<'_>, Value<'_>)| match key {
                Key::Text(text) => format!("{text:?}:{}", canonical(value)),
                Key::Value(key) => format!("{}:{}", canonical(key), canonical(value)),
            };
            format!("{{{}}}", joined(object.entries.iter().map(entry).collect()))
        }
        other => format!("{other:?}"),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Nothing in the body comes from a hash table, or only one entry of each.
    Defined,
    /// Entries may be permuted.
    Any,
}

/// Parses a golden body, writes it again and compares.
macro_rules! check_golden {
    ($type:ident, $file:literal, $order:expr) => {{
        let captured = golden($file);
        let body = $type::parse(&captured).expect($file);
        let mut written = Vec::new();
        body.write(&mut written);
        compare($file, &captured, &written, $order);
        body
    }};
}

fn compare(file: &str, captured: &[u8], written: &[u8], order: Order) {
    if order == Order::Defined {
        assert_eq!(String::from_utf8_lossy(written), String::from_utf8_lossy(captured), "{file}");
    }
    let canonical = |bytes: &[u8]| canonical(&dialect::parse(bytes).expect(file));
    assert_eq!(canonical(written), canonical(captured), "{file}");
    assert_eq!(written.len(), captured.len(), "{file}");
}

#[test]
fn heartbeat_of_the_java_client() {
    let body = check_golden!(HeartbeatData, "broker-34-req-java.hex", Order::Any);
    assert_eq!(body.client_id, "127.0.0.1@capC");
    assert_eq!(body.producer_data_set[0].group_name, "CLIENT_INNER_PRODUCER");
    let consumer = &body.consumer_data_set[0];
    assert_eq!(consumer.group_name, "CG_JAVA");
    assert_eq!(consumer.consume_type, Some(ConsumeType::ConsumePassively));
    assert_eq!(consumer.message_model, Some(MessageModel::Clustering));
    assert_eq!(consumer.consume_from_where, Some(ConsumeFromWhere::ConsumeFromFirstOffset));
    let topics: Vec<&str> =
        consumer.subscription_data_set.iter().map(|subscription| &*subscription.topic).collect();
    assert_eq!(topics, ["%RETRY%CG_JAVA", "JTopic"]);
}

#[test]
fn routes_for_old_and_new_clients() {
    for (file, version) in [
        ("ns-105-resp-v479.hex", V5_3_3),
        ("ns-105-resp-v400.hex", 400),
        ("ns-105-resp-to-binary.hex", V4_9_4),
        ("ns-105-resp-binary.hex", V5_3_3),
        ("ns-105-resp-slave-v400.hex", V4_9_3),
    ] {
        let captured = golden(file);
        let route = TopicRouteData::parse(&captured).expect(file);
        let mut written = Vec::new();
        route.write_for(version, false, &mut written);
        compare(file, &captured, &written, Order::Defined);
    }
    let route = TopicRouteData::parse(&golden("ns-105-resp-slave-v400.hex")).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&1], "127.0.0.1:31002");
    let (mut asked, mut new) = (Vec::new(), Vec::new());
    route.write_for(333, true, &mut asked);
    route.write_for(V5_3_3, false, &mut new);
    assert_eq!(asked, new);
}

#[test]
fn registrations() {
    let full = check_golden!(RegisterBrokerBody, "ns-103-req-full.hex", Order::Any);
    let topics = &full.topic_config_serialize_wrapper.topic_config_table;
    assert_eq!(topics.len(), 13);
    assert_eq!(topics["TBW102"].perm, 7);
    assert_eq!(topics["BenchmarkTest"].read_queue_nums, 1024);
    check_golden!(RegisterBrokerBody, "ns-103-req-incremental.hex", Order::Defined);
}

/// The header of this request says `compressed=false`.
#[test]
fn compressed_registration_of_a_5_3_3_broker() {
    let captured = golden("ns-103-req-compressed-defect.hex");
    let body = RegisterBrokerBody::parse_request(&captured, false, V5_3_3).unwrap();
    let topics = &body.topic_config_serialize_wrapper.topic_config_table;
    assert!(topics.len() > 10, "{} topics", topics.len());
    assert_eq!(topics["SCHEDULE_TOPIC_XXXX"].write_queue_nums, 18);
    assert!(body.topic_config_serialize_wrapper.data_version.timestamp > 1_690_000_000_000);

    let mut again = Vec::new();
    body.write_compressed(V5_3_3, &mut again);
    assert_eq!(RegisterBrokerBody::parse_request(&again, true, V5_3_3), Ok(body.clone()));

    // A broker before 5.0.0 ends after the filter servers; asking it for mappings would fail.
    let mut old = Vec::new();
    body.write_compressed(V5_0_0 - 1, &mut old);
    assert_eq!(RegisterBrokerBody::parse_request(&old, true, V5_0_0 - 1), Ok(body));
    assert!(RegisterBrokerBody::parse_request(&old, true, V5_0_0).is_err());
}

#[test]
fn registrations_of_other_ages() {
    let empty = RegisterBrokerBody::parse_request(b"", false, V5_3_3);
    assert_eq!(empty, Ok(RegisterBrokerBody::default()));
    let ancient = br#"{"dataVersion":{"counter":3},"topicConfigTable":{"T":{"topicName":"T"}}}"#;
    let body = RegisterBrokerBody::parse_request(ancient, false, 36).unwrap();
    assert_eq!(body.topic_config_serialize_wrapper.data_version.counter, 3);
    assert_eq!(body.topic_config_serialize_wrapper.topic_config_table["T"].perm, 6);
}

/// A flood of empty entries costs a hundred bytes for each of theirs; a broker's tables are large.
#[test]
fn only_tables_of_brokers_may_be_large() {
    let entries = |count: usize| vec!["{}"; count].join(",");
    let heartbeat = format!(r#"{{"producerDataSet":[{}]}}"#, entries(dialect::VALUES_MAX));
    let error = HeartbeatData::parse(heartbeat.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "malformed body: more than 65536 values at byte 196622");

    let topics: Vec<String> = (0..dialect::VALUES_MAX).map(|id| format!("\"T{id}\"")).collect();
    let topics = format!(r#"{{"topicList":[{}]}}"#, topics.join(","));
    assert_eq!(TopicList::parse(topics.as_bytes()).unwrap().topic_list.len(), dialect::VALUES_MAX);
}

/// 32 MiB of zeros fit in 32 KiB of zlib.
#[test]
fn compressed_registration_cannot_fill_the_memory() {
    use std::io::Write as _;
    let deflate = |plain: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let parse = |plain: &[u8]| RegisterBrokerBody::parse_request(&deflate(plain), true, V5_3_3);
    let too_large = |result: &Result<_, _>| matches!(result, Err(BodyError::TooLarge { .. }));

    let mut lengthy = i32::try_from(INFLATED_BYTES_MAX).unwrap().to_be_bytes().to_vec();
    lengthy.resize(INFLATED_BYTES_MAX, 0);
    assert!(too_large(&parse(&lengthy)));
    assert!(too_large(&parse(&i32::MAX.to_be_bytes())));
    let mut many = b"\0\0\0\x02{}".to_vec();
    many.extend_from_slice(&i32::MAX.to_be_bytes());
    assert!(too_large(&parse(&many)));
    assert!(matches!(parse(&[0xff; 4]), Err(BodyError::Inflate { .. })));
    assert!(matches!(parse(b"\0\0\0\x09{}"), Err(BodyError::Inflate { .. })));
}

#[test]
fn bodies_of_a_name_server() {
    check_golden!(ClusterInfo, "ns-106-resp.hex", Order::Defined);
    check_golden!(DataVersion, "ns-322-req.hex", Order::Defined);
    check_golden!(DataVersion, "ns-322-resp.hex", Order::Defined);
}

#[test]
fn bodies_of_a_broker() {
    let stats = check_golden!(TopicStatsTable, "broker-202-resp.hex", Order::Any);
    assert_eq!(stats.offset_table[&MessageQueue::new("VTopicA", "vb-a", 3)].max_offset, 22);
    let stats = check_golden!(ConsumeStats, "broker-208-resp.hex", Order::Any);
    assert_eq!(stats.offset_table[&MessageQueue::new("VTopicA", "vb-a", 0)].consumer_offset, 3);
    let locked = check_golden!(LockBatchResponseBody, "broker-41-resp.hex", Order::Any);
    assert_eq!(locked.lock_ok_mq_set.len(), 2);
    let offsets = check_golden!(ConsumerOffsetSerializeWrapper, "broker-43-resp.hex", Order::Any);
    assert_eq!(offsets.offset_table["VTopicA@CG_HB1"][&99], 1);
    let reset = check_golden!(ResetOffsetBody, "broker-222-resp.hex", Order::Any);
    assert_eq!(reset.offset_table.len(), 4);
    check_golden!(ResetOffsetBodyForC, "broker-220-push-cpp.hex", Order::Defined);
}

/// The vectors of Apache's behaviour that no captured frame has.
#[test]
fn tables_keyed_by_queues() {
    let text = concat!(
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:"#,
        r#"{"lastUpdateTimestamp":1690000000123,"maxOffset":8,"minOffset":0}},"topicPutTps":0.0}"#
    );
    let body = TopicStatsTable::parse(text.as_bytes()).unwrap();
    let queue = MessageQueue::new("T", "broker-a", 0);
    assert_eq!(body.offset_table[&queue].last_update_timestamp, 1_690_000_000_123);
    let mut written = Vec::new();
    body.write(&mut written);
    assert_eq!(String::from_utf8(written).unwrap(), text);

    // Standard JSON has only strings as keys; fastjson reads the object inside.
    let quoted =
        br#"{"offsetTable":{"{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"T\"}":5}}"#;
    assert_eq!(ResetOffsetBody::parse(quoted).unwrap().offset_table[&queue], 5);
}

#[test]
fn acknowledgements_are_bit_sets() {
    let long =
        br#"{"acks":[{"consumerGroup":"g","topic":"T","retry":"0","startOffset":5,"queueId":1,
        "reviveQueueId":2,"popTime":3,"invisibleTime":4,"bitSet":"CQI="}]}"#;
    let body = BatchAckMessageRequestBody::parse(long).unwrap();
    assert_eq!(body.acks[0].bits.iter().collect::<Vec<_>>(), [0, 3, 9]);
    let mut written = Vec::new();
    body.write(&mut written);
    let short =
        r#"{"acks":[{"b":"CQI=","c":"g","it":4,"pt":3,"q":1,"r":"0","rq":2,"so":5,"t":"T"}]}"#;
    assert_eq!(String::from_utf8(written).unwrap(), short);
}

/// What clients other than Java's send.
#[test]
fn heartbeats_are_read_leniently() {
    let parse = |text: &str| HeartbeatData::parse(text.as_bytes());
    assert_eq!(parse("{}"), Ok(HeartbeatData::default()));
    let nulls = r#"{"clientID":null,"producerDataSet":null,"consumerDataSet":null,
        "heartbeatFingerprint":null,"withoutSub":null}"#;
    assert_eq!(parse(nulls), Ok(HeartbeatData::default()));

    let old_go = r#"{"clientID":"c","consumerDataSet":[{"groupName":"g",
        "consumeType":"CONSUME_PASSIVELY","messageModel":"Clustering",
        "consumeFromWhere":"NOWHERE","extra":{"a":[1]},
        "subscriptionDataSet":[{"topic":"t","subString":"*","tagsSet":null,"codeSet":null,
        "subVersion":"15","filterClassSource":null}]}]}"#;
    let consumer = &parse(old_go).unwrap().consumer_data_set[0];
    assert_eq!(consumer.message_model, None);
    assert_eq!(consumer.consume_from_where, None);
    assert_eq!(consumer.subscription_data_set[0].sub_version, 15);
    assert_eq!(consumer.subscription_data_set[0].expression_type, TAG);
    assert!(!consumer.unit_mode);

    // fastjson ignores case, `_`, `-` and a leading `is` in names.
    let odd = parse(r#"{client_id:'c',"isWithoutSub":true,"PRODUCERDATASET":[{"groupname":1}],}"#)
        .unwrap();
    assert_eq!(odd.client_id, "c");
    assert!(odd.without_sub);
    assert_eq!(odd.producer_data_set[0].group_name, "1");
}

#[test]
fn wrong_types_are_named() {
    let check = |text: &str, expect: &str| {
        let error = HeartbeatData::parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.to_string(), expect, "{text}");
    };
    check("[]", "field : expected an object, found an array");
    check(r#"{"clientID":{}}"#, "field clientID: expected a string, found an object");
    check(
        r#"{"consumerDataSet":[{"subscriptionDataSet":[{"codeSet":[1,2147483648]}]}]}"#,
        "field codeSet: expected an integer of 32 bits, found an integer",
    );
    check("{", "malformed body: expected a key at byte 1");
}

/// fastjson writes a reference where one Java object appears twice; nothing can be resolved here.
#[test]
fn references_count_as_absent() {
    let text = br#"{"topicConfigTable":{"a":{"attributes":{"+k":"v"},"topicName":"a"},
        "b":{"attributes":{"$ref":"$.topicConfigTable.a.attributes"},"topicName":"b"}}}"#;
    let body = TopicConfigSerializeWrapper::parse(text).unwrap();
    assert_eq!(body.topic_config_table["a"].attributes["+k"], "v");
    assert!(body.topic_config_table["b"].attributes.is_empty());
}

/// What Java writes for objects straight from their constructors, from the getters of 5.3.3.
#[test]
fn defaults_are_javas() {
    let check = |write: &dyn Fn(&mut Vec<u8>), expect: &str| {
        let mut written = Vec::new();
        write(&mut written);
        assert_eq!(String::from_utf8(written).unwrap(), expect);
    };
    let group = SubscriptionGroupConfig { group_name: "G".to_owned(), ..Default::default() };
    check(
        &|out| group.write(out),
        concat!(
            r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"#,
            r#""consumeFromMinEnable":true,"consumeMessageOrderly":false,"#,
            r#""consumeTimeoutMinute":15,"#,
            r#""groupName":"G","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"#,
            r#""notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"#,
            r#""whichBrokerWhenConsumeSlowly":1}"#
        ),
    );
    let topic = TopicConfig { topic_name: "T".to_owned(), ..Default::default() };
    check(
        &|out| topic.write(out),
        concat!(
            r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":16,"#,
            r#""topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"#,
            r#""writeQueueNums":16}"#
        ),
    );
    check(
        &|out| TopicRouteData::default().write(out),
        r#"{"brokerDatas":[],"filterServerTable":{},"queueDatas":[]}"#,
    );
    check(
        &|out| LockBatchRequestBody::default().write(out),
        r#"{"clientId":"","consumerGroup":"","mqSet":[],"onlyThisBroker":false}"#,
    );
}

#[test]
fn tag_expressions_compile_as_in_java() {
    let check = |expression: &str, tags: &[&str], sub_string: &str| {
        let subscription = SubscriptionData::tags("T", expression, 7).expect(expression);
        assert!(subscription.tags_set.iter().eq(tags), "{expression}");
        assert_eq!(subscription.code_set.len(), tags.len(), "{expression}");
        assert_eq!(subscription.sub_string, sub_string);
        assert_eq!((subscription.sub_version, &*subscription.expression_type), (7, TAG));
    };
    check("", &[], "*");
    check("*", &[], "*");
    check("A", &["A"], "A");
    check("a || b", &["a", "b"], "a || b");
    check("b||a||||a ", &["a", "b"], "b||a||||a ");
    check("|| ", &[], "|| ");
    check("a|b", &["a|b"], "a|b");
    check("* || a", &["*", "a"], "* || a");
    assert_eq!(SubscriptionData::tags("T", "||", 7), Err(SubscriptionError::OnlySeparators));
    assert_eq!(SubscriptionData::tags("T", "||||", 7), Err(SubscriptionError::OnlySeparators));

    let codes: Vec<i32> =
        SubscriptionData::tags("T", "TagA||标签", 0).unwrap().code_set.into_iter().collect();
    assert_eq!(codes, [857_175, 2_598_919]);

    let sql = SubscriptionData::build("T", "a > 1", Some(SQL92), 0).unwrap();
    assert_eq!((&*sql.sub_string, sql.is_tag_type()), ("a > 1", false));
    assert_eq!(SubscriptionData::build("T", "", Some(SQL92), 0), Err(SubscriptionError::Empty));
    assert!(SubscriptionData::build("T", "a", None, 0).unwrap().is_tag_type());
}

/// Parses `bytes` as every body. Succeeding or failing are both fine.
fn parse_as_everything(bytes: &[u8]) {
    macro_rules! parse {
        ($($type:ident),*) => {{ $(let _ = $type::parse(bytes);)* }};
    }
    every_body!(parse);
    for version in [0, V5_0_0 - 1, V5_3_3] {
        let _ = RegisterBrokerBody::parse_request(bytes, true, version);
        let _ = RegisterBrokerBody::parse_request(bytes, false, version);
    }
}

const GOLDEN_BODIES: [&str; 15] = [
    "broker-202-resp.hex",
    "broker-208-resp.hex",
    "broker-220-push-cpp.hex",
    "broker-222-resp.hex",
    "broker-34-req-java.hex",
    "broker-41-resp.hex",
    "broker-43-resp.hex",
    "ns-103-req-compressed-defect.hex",
    "ns-103-req-full.hex",
    "ns-103-req-incremental.hex",
    "ns-105-resp-slave-v400.hex",
    "ns-105-resp-v400.hex",
    "ns-105-resp-v479.hex",
    "ns-106-resp.hex",
    "ns-322-req.hex",
];

#[test]
fn deep_nesting_is_refused() {
    for bracket in ["[", "{", "{a:", "[[{", "{{", "[{a:["] {
        parse_as_everything(bracket.repeat(100_000).as_bytes());
        let mut text = String::from(r#"{"consumerDataSet":"#);
        write!(text, "{}", bracket.repeat(10_000)).unwrap();
        assert!(HeartbeatData::parse(text.as_bytes()).is_err());
    }
}

macro_rules! check_inverse {
    ($($type:ident),*) => {
        |bytes: &[u8]| {
            $({
                let body = $type::sample(&mut Source::new(bytes));
                let mut written = Vec::new();
                body.write(&mut written);
                let text = String::from_utf8_lossy(&written);
                prop_assert_eq!($type::parse(&written), Ok(body), "{}", text);
            })*
            Ok(())
        }
    };
}

proptest! {
    #[test]
    fn parse_is_the_inverse_of_write(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let check: fn(&[u8]) -> Result<(), TestCaseError> = every_body!(check_inverse);
        check(&bytes)?;
    }

    #[test]
    fn routes_mean_the_same_to_all_clients(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let route = TopicRouteData::sample(&mut Source::new(&bytes));
        for version in [V4_9_3, V4_9_4] {
            let mut written = Vec::new();
            route.write_for(version, false, &mut written);
            prop_assert_eq!(TopicRouteData::parse(&written), Ok(route.clone()));
            if version == V4_9_4 {
                prop_assert!(written.is_ascii());
            }
        }
    }

    #[test]
    fn compressed_is_the_inverse_too(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let source = &mut Source::new(&bytes);
        let mut body = RegisterBrokerBody::default();
        let topics = &mut body.topic_config_serialize_wrapper;
        topics.data_version = DataVersion::sample(source);
        for _ in 0..source.byte() % 5 {
            let mut topic = TopicConfig::sample(source);
            // Names have no blanks; what the text form does not carry stays at its default.
            topic.topic_name = format!("T{}", source.byte());
            (topic.order, topic.topic_sys_flag) = (false, 0);
            topic.attributes.retain(|key, value| !key.contains(' ') && !value.contains(' '));
            topics.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        for mut mapping in Vec::<TopicQueueMappingInfo>::sample(source) {
            let topic = format!("T{}", source.byte());
            mapping.topic = Some(topic.clone());
            topics.topic_queue_mapping_info_map.insert(topic, mapping);
        }
        body.filter_server_list = Vec::sample(source);
        let mut written = Vec::new();
        body.write_compressed(V5_3_3, &mut written);
        prop_assert_eq!(RegisterBrokerBody::parse_request(&written, true, V5_3_3), Ok(body));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse_as_everything(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in r#"[{}\[\]:,"'0-9a-f\\u/*. \-]{0,100}"#) {
        parse_as_everything(text.as_bytes());
    }

    #[test]
    fn damaged_bodies_never_panic(
        file in proptest::sample::select(&GOLDEN_BODIES[..]),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut body = golden(file);
        for (index, byte) in damage {
            let at = index.index(body.len());
            body[at] = byte;
        }
        parse_as_everything(&body);
        body.truncate(cut.index(body.len()));
        parse_as_everything(&body);
    }
}
