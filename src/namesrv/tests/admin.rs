//! What tools can do.

use super::*;

#[test]
fn permissions_are_wiped_and_given_back_by_broker() {
    let mut desk = Desk::new();
    desk.register(&Visitor { perm: 7, ..master() });
    desk.register(&Visitor { name: "b", address: "b0:1", ..master() });
    let broker = [("brokerName", "a")];
    let answer = desk.ask(request::WIPE_WRITE_PERM_OF_BROKER, &broker, b"");
    assert_eq!(answer.ext["wipeTopicCount"], "2");
    assert_eq!(desk.shown("T"), "a 5 0=a0:1; b 6 0=b0:1");
    let answer = desk.ask(request::ADD_WRITE_PERM_OF_BROKER, &broker, b"");
    assert_eq!(answer.ext["addTopicCount"], "2");
    assert_eq!(desk.shown("T"), "a 6 0=a0:1; b 6 0=b0:1");
    let answer = desk.ask(request::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "x")], b"");
    assert_eq!(answer.ext["wipeTopicCount"], "0");
}

#[test]
fn topics_are_deleted_everywhere_or_in_one_cluster() {
    let mut desk = Desk::new();
    desk.register(&master());
    desk.register(&Visitor { cluster: "D", name: "d", address: "d0:1", ..master() });
    let ext = [("topic", "T"), ("clusterName", "C")];
    assert_eq!(desk.ask(request::DELETE_TOPIC_IN_NAMESRV, &ext, b""), done());
    assert_eq!(desk.shown("T"), "d 6 0=d0:1");
    assert_eq!(desk.ask(request::DELETE_TOPIC_IN_NAMESRV, &[("topic", "U")], b""), done());
    assert_eq!(desk.topics(), "T");
    assert_eq!(desk.ask(request::DELETE_TOPIC_IN_NAMESRV, &[("topic", "X")], b""), done());
}

#[test]
fn a_topic_is_registered_by_hand_on_known_brokers_only() {
    let mut desk = Desk::new();
    desk.register(&master());
    let queues = |broker: &str| format!("{{\"brokerName\":\"{broker}\",\"perm\":6}}");
    let put = |desk: &mut Desk, topic: &str, brokers: &[&str]| {
        let queues: Vec<_> = brokers.iter().map(|broker| queues(broker)).collect();
        let body = format!("{{\"queueDatas\":[{}]}}", queues.join(","));
        let answer =
            desk.ask(request::REGISTER_TOPIC_IN_NAMESRV, &[("topic", topic)], body.as_bytes());
        assert_eq!(answer, done());
    };
    put(&mut desk, "X", &["a"]);
    put(&mut desk, "Y", &["a", "b"]);
    put(&mut desk, "Z", &[]);
    assert_eq!(desk.topics(), "T U X");
    assert_eq!(desk.ask(request::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "Z")], b""), done());
}

#[test]
fn lists_of_topics_clusters_and_members() {
    let mut desk = Desk::new();
    let list = |desk: &mut Desk, code, ext: &[(&str, &str)]| {
        let list = TopicList::parse(&desk.ask(code, ext, b"").body).unwrap();
        (list.topic_list.into_iter().collect::<Vec<_>>().join(" "), list.broker_addr)
    };
    assert_eq!(list(&mut desk, request::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]), (String::new(), None));
    desk.register(&master());
    desk.register(&Visitor {
        cluster: "D",
        name: "d",
        address: "d:1",
        topics: vec!["V", "W"],
        ..master()
    });
    let cluster = [("cluster", "D")];
    assert_eq!(list(&mut desk, request::GET_TOPICS_BY_CLUSTER, &cluster).0, "V W");
    assert_eq!(list(&mut desk, request::GET_TOPICS_BY_CLUSTER, &[("cluster", "x")]).0, "");
    let system = list(&mut desk, request::GET_SYSTEM_TOPIC_LIST_FROM_NS, &[]);
    assert_eq!(system, ("C D a d".to_owned(), Some("a0:1".to_owned())));
    assert_eq!(list(&mut desk, request::GET_UNIT_TOPIC_LIST, &[]).0, "");

    let mut members = |name: &str| {
        let ext = [("clusterName", "C"), ("brokerName", name)];
        String::from_utf8(desk.ask(request::GET_BROKER_MEMBER_GROUP, &ext, b"").body).unwrap()
    };
    let expect =
        r#"{"brokerMemberGroup":{"brokerAddrs":{0:"a0:1"},"brokerName":"a","cluster":"C"}}"#;
    assert_eq!(members("a"), expect);
    assert!(members("x").contains(r#""brokerAddrs":{}"#));
}

#[test]
fn unit_topics_are_told_by_their_flags() {
    let mut desk = Desk::new();
    let mut body = master().body();
    let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
    for (topic, flags) in [("none", 0), ("unit", 1), ("sub", 2), ("both", 3)] {
        let config = TopicConfig {
            topic_name: topic.to_owned(),
            topic_sys_flag: flags,
            ..TopicConfig::default()
        };
        table.insert(topic.to_owned(), config);
    }
    assert_eq!(desk.register_body(&master(), &body), done());
    for (code, expect) in [
        (request::GET_UNIT_TOPIC_LIST, "both unit"),
        (request::GET_HAS_UNIT_SUB_TOPIC_LIST, "both sub"),
        (request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, "sub"),
    ] {
        let list = TopicList::parse(&desk.ask(code, &[], b"").body).unwrap().topic_list;
        assert_eq!(list.into_iter().collect::<Vec<_>>().join(" "), expect);
    }
}

#[test]
fn lists_can_be_disabled() {
    let config =
        NameServerConfig { lists_all_topics: false, lists_topics: false, ..Default::default() };
    let mut desk = Desk::with(config);
    for code in [206, 224, 311, 312, 313] {
        assert_eq!(desk.ask(code, &[("cluster", "C")], b""), refused(1, "disable"));
    }
}

#[test]
fn key_values_are_kept_and_brokers_hear_of_the_ordered_topics() {
    let config = NameServerConfig { order_in_routes: true, ..Default::default() };
    let mut desk = Desk::with(config);
    let key = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T")];
    let put = [key.as_slice(), &[("value", "a:4")]].concat();
    let not_there = "No config item, Namespace: ORDER_TOPIC_CONFIG Key: T";
    assert_eq!(desk.ask(request::GET_KV_CONFIG, &key, b""), refused(22, not_there));
    let list = |desk: &mut Desk| desk.ask(request::GET_KVLIST_BY_NAMESPACE, &key[..1], b"");
    let not_there = "No config item, Namespace: ORDER_TOPIC_CONFIG";
    assert_eq!(list(&mut desk), refused(22, not_there));
    assert_eq!(desk.register(&master()), done());

    assert_eq!(desk.ask(request::PUT_KV_CONFIG, &put, b""), done());
    assert_eq!(desk.ask(request::GET_KV_CONFIG, &key, b"").ext["value"], "a:4");
    let table = KVTable { table: [("T".to_owned(), "a:4".to_owned())].into() };
    assert_eq!(KVTable::parse(&list(&mut desk).body), Ok(table.clone()));
    assert_eq!(KVTable::parse(&desk.register(&master()).body), Ok(table));
    assert_eq!(desk.route("T").unwrap().order_topic_conf.as_deref(), Some("a:4"));
    assert_eq!(desk.route("U").unwrap().order_topic_conf, None);

    assert_eq!(desk.ask(request::DELETE_KV_CONFIG, &key, b""), done());
    assert_eq!(list(&mut desk).body, b"{\"table\":{}}");
    assert_eq!(desk.register(&master()).body, b"{\"table\":{}}");
}

#[test]
fn required_fields_are_asked_for_one_by_one() {
    let place = [("brokerName", "a"), ("brokerAddr", "a0:1"), ("clusterName", "C")];
    let placed = [&place[..], &[("brokerId", "0")]].concat();
    let registered = [&placed[..], &[("haServerAddr", "")]].concat();
    let codes: [(i32, &[(&str, &str)]); 12] = [
        (request::REGISTER_BROKER, &registered),
        (request::UNREGISTER_BROKER, &placed),
        (request::QUERY_DATA_VERSION, &placed),
        (request::BROKER_HEARTBEAT, &place),
        (request::GET_BROKER_MEMBER_GROUP, &[("clusterName", "C"), ("brokerName", "a")]),
        (request::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")]),
        (request::WIPE_WRITE_PERM_OF_BROKER, &[("brokerName", "a")]),
        (request::ADD_WRITE_PERM_OF_BROKER, &[("brokerName", "a")]),
        (request::GET_TOPICS_BY_CLUSTER, &[("cluster", "C")]),
        (request::DELETE_TOPIC_IN_NAMESRV, &[("topic", "V")]),
        (request::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "V")]),
        (request::GET_KVLIST_BY_NAMESPACE, &[("namespace", "n")]),
    ];
    for (code, fields) in codes {
        let mut desk = Desk::new();
        desk.register(&master());
        for missing in 0..fields.len() {
            let mut ext = fields.to_vec();
            let (name, _) = ext.remove(missing);
            let remark = format!(
                "org.apache.rocketmq.remoting.exception.RemotingCommandException: the custom field \
                 <{name}> is null"
            );
            assert_eq!(desk.ask(code, &ext, b""), refused(1, &remark), "{code}");
        }
        let code_if_all_are_there = if code == request::GET_KVLIST_BY_NAMESPACE { 22 } else { 0 };
        assert_eq!(desk.ask(code, fields, b"").code, code_if_all_are_there, "{code}");
    }
}

#[test]
fn whoever_is_unknown_harms_nothing() {
    let mut desk = Desk::new();
    desk.register(&master());
    let nobody = [("brokerName", "x"), ("brokerAddr", "x:1"), ("clusterName", "X")];
    assert_eq!(desk.ask(request::BROKER_HEARTBEAT, &nobody, b""), done());
    let topic = [("topic", "T"), ("clusterName", "X")];
    assert_eq!(desk.ask(request::DELETE_TOPIC_IN_NAMESRV, &topic, b""), done());
    let answer = desk.ask(request::ADD_WRITE_PERM_OF_BROKER, &nobody[..1], b"");
    assert_eq!((answer.code, answer.ext["addTopicCount"].as_str()), (0, "0"));
    assert_eq!(desk.shown("T"), "a 6 0=a0:1");
    // A known topic is taken up to the first unknown broker, with success.
    desk.register(&Visitor { name: "b", address: "b0:1", topics: vec!["V", "W"], ..master() });
    let body = br#"{"queueDatas":[{"brokerName":"b","perm":4},{"brokerName":"x","perm":4},{"brokerName":"a","perm":4}]}"#;
    assert_eq!(desk.ask(request::REGISTER_TOPIC_IN_NAMESRV, &[("topic", "T")], body), done());
    assert_eq!(desk.shown("T"), "a 6 0=a0:1; b 4 0=b0:1");
}
