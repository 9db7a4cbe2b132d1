//! Brokers that come, change, fall silent and leave.

use super::*;

#[test]
fn a_full_registration_makes_routes() {
    let mut desk = Desk::new();
    assert_eq!(desk.shown("T"), "none");
    assert_eq!(desk.register(&master()), done());
    assert_eq!(desk.shown("T"), "a 6 0=a0:1");
    assert_eq!(desk.topics(), "T U");
    let route = desk.route("T").unwrap();
    assert_eq!(route.queue_datas[0].read_queue_nums, 4);
}

#[test]
fn one_topic_of_an_unregistered_broker_is_premature_and_leaves_nothing() {
    let mut desk = Desk::new();
    let one = Visitor { topics: vec!["T"], ..master() };
    assert_eq!(desk.register(&one), refused(1, "register broker failed"));
    let clusters = desk.ask(request::GET_BROKER_CLUSTER_INFO, &[], b"");
    assert_eq!(ClusterInfo::parse(&clusters.body), Ok(ClusterInfo::default()));
    desk.register(&master());
    assert_eq!(desk.register(&Visitor { topics: vec!["V"], counter: 2, ..master() }), done());
    assert_eq!(desk.topics(), "T U V", "topics that a change leaves out are kept");
}

#[test]
fn topics_are_taken_again_only_when_the_version_changed_or_they_are_new() {
    let mut desk = Desk::new();
    desk.register(&master());
    desk.register(&Visitor { perm: 4, topics: vec!["T", "U", "V"], ..master() });
    assert_eq!(desk.shown("T"), "a 6 0=a0:1");
    assert_eq!(desk.shown("V"), "a 4 0=a0:1");
    desk.register(&Visitor { perm: 4, counter: 2, ..master() });
    assert_eq!(desk.shown("T"), "a 4 0=a0:1");
}

#[test]
fn a_registration_deletes_topics_only_if_told_to() {
    let config = NameServerConfig { registration_deletes_topics: true, ..Default::default() };
    let mut desk = Desk::with(config);
    desk.register(&master());
    desk.register(&Visitor { name: "b", address: "b0:1", topics: vec!["U", "V"], ..master() });
    desk.register(&Visitor { topics: vec!["T", "W"], counter: 2, ..master() });
    assert_eq!(desk.topics(), "T U V W");
    assert_eq!(desk.shown("U"), "b 6 0=b0:1");
}

#[test]
fn a_slave_adds_its_address_and_hears_of_its_master() {
    let mut desk = Desk::new();
    assert_eq!(desk.register(&slave()), done(), "no master yet");
    assert_eq!(desk.shown("T"), "a 6 1=a1:1", "the smallest id brings the topics");
    desk.register(&Visitor { counter: 2, ..master() });
    let answer = desk.register(&Visitor { topics: vec!["X", "Y"], counter: 3, ..slave() });
    assert_eq!(answer.ext.get("masterAddr").map(String::as_str), Some("a0:1"));
    assert_eq!(answer.ext.get("haServerAddr").map(String::as_str), Some(HA_ADDRESS));
    assert_eq!(desk.shown("T"), "a 6 0=a0:1 1=a1:1");
    assert_eq!(desk.shown("X"), "none", "a slave beside its master brings none");
    let old = Visitor { name: "b", acting_master: None, ..slave() };
    let old = Visitor { topics: vec!["O", "P"], address: "b1:1", ..old };
    desk.register(&old);
    assert_eq!(desk.shown("O"), "none", "a slave that does not know of acting masters");
}

#[test]
fn a_role_switch_keeps_one_id_for_an_address() {
    let mut desk = Desk::new();
    desk.register(&master());
    desk.register(&slave());
    desk.register(&Visitor { id: 0, counter: 2, ..slave() });
    assert_eq!(desk.shown("T"), "a 6 0=a1:1");
    desk.register(&Visitor { id: 1, counter: 3, ..master() });
    assert_eq!(desk.shown("T"), "a 6 0=a1:1 1=a0:1");
}

#[test]
fn a_newcomer_with_an_older_state_is_ignored() {
    let mut desk = Desk::new();
    desk.register(&Visitor { state_version: 5, ..master() });
    let newcomer = Visitor { address: "n:1", state_version: 4, topics: vec!["X", "Y"], ..master() };
    assert_eq!(desk.register(&newcomer), done(), "as if all were well");
    assert_eq!(desk.shown("T"), "a 6 0=a0:1");
    assert_eq!(desk.shown("X"), "none");
    assert_eq!(desk.register(&Visitor { state_version: 5, ..newcomer }), done());
    assert_eq!(desk.shown("X"), "a 6 0=n:1");
}

#[test]
fn an_address_under_another_name_leaves_the_old_one() {
    let mut desk = Desk::new();
    desk.register(&master());
    desk.register(&Visitor { name: "b", topics: vec!["T", "V"], ..master() });
    assert_eq!(desk.shown("T"), "b 6 0=a0:1");
    assert_eq!(desk.shown("U"), "none");
}

/// Found by the property test in `model`: `a0:1` of broker `a` was never to expire.
#[test]
fn an_ignored_newcomer_leaves_its_old_name_too() {
    let mut desk = Desk::new();
    desk.register(&master());
    desk.register(&Visitor { name: "b", address: "b0:1", state_version: 5, ..master() });
    assert_eq!(desk.register(&Visitor { name: "b", ..master() }), done());
    assert_eq!(desk.shown("T"), "b 6 0=b0:1");
}

#[test]
fn what_leaves_is_forgotten_to_the_last_topic() {
    let mut desk = Desk::new();
    desk.register(&master());
    desk.register(&slave());
    desk.register(&Visitor { name: "b", address: "b0:1", topics: vec!["U", "V"], ..master() });
    assert_eq!(desk.unregister(&master()), done());
    assert_eq!(desk.shown("T"), "a 6 1=a1:1");
    desk.unregister(&slave());
    assert_eq!(desk.topics(), "U V");
    let info = desk.ask(request::GET_BROKER_CLUSTER_INFO, &[], b"");
    let info = ClusterInfo::parse(&info.body).unwrap();
    assert_eq!(info.broker_addr_table.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(desk.unregister(&master()), done(), "whoever is not there may leave");
}

#[test]
fn silence_expires_a_broker_and_any_sign_of_life_puts_it_off() {
    let mut desk = Desk::new();
    desk.register(&master());
    let place = [("clusterName", "C"), ("brokerAddr", "a0:1"), ("brokerName", "a")];
    desk.now_ms += 100_000;
    assert_eq!(desk.ask(request::BROKER_HEARTBEAT, &place, b""), done());
    desk.now_ms += 100_000;
    let ext = [place.as_slice(), &[("brokerId", "0")]].concat();
    assert_eq!(desk.ask(request::QUERY_DATA_VERSION, &ext, b"").code, 0);
    desk.now_ms += 119_999;
    assert_eq!(desk.server.tick(desk.now_ms), []);
    assert_eq!(desk.server.tick_at_ms(), Some(desk.now_ms + 5000));
    desk.now_ms += 2;
    assert_eq!(desk.server.tick(desk.now_ms), [], "the next look is not due");
    assert_eq!(desk.shown("T"), "a 6 0=a0:1");
    desk.now_ms += 4998;
    assert_eq!(desk.server.tick(desk.now_ms), [ConnectionKey(1)]);
    assert_eq!(desk.shown("T"), "none");
}

#[test]
fn it_wakes_up_for_brokers_only_and_for_those_rarely() {
    let mut desk = Desk::new();
    assert_eq!(desk.server.tick_at_ms(), None, "nobody can expire");
    let registered_ms = desk.now_ms;
    desk.register(&master());
    desk.register(&slave());
    let mut looks = 0;
    for _ in 0..120 {
        desk.now_ms += 30_000;
        desk.register(&master());
        while desk.server.tick_at_ms().unwrap() <= desk.now_ms {
            desk.server.tick(desk.now_ms);
            looks += 1;
        }
        desk.register(&slave());
    }
    assert_eq!(desk.shown("T"), "a 6 0=a0:1 1=a1:1");
    let minutes = (desk.now_ms - registered_ms) / 60_000;
    assert!(looks <= minutes, "{looks} looks in {minutes} minutes");
    desk.unregister(&master());
    desk.unregister(&slave());
    desk.now_ms += 200_000;
    assert_eq!(desk.server.tick(desk.now_ms), []);
    assert_eq!(desk.server.tick_at_ms(), None);
}

#[test]
fn a_broker_sets_its_own_timeout_within_bounds() {
    for (asked, until_ms) in [("10000", 10_000), ("-1", 0), ("999999999999", 3_600_000)] {
        let mut desk = Desk::new();
        let mut body = Vec::new();
        master().body().write(&mut body);
        let ext = [
            ("brokerName", "a"),
            ("brokerAddr", "a0:1"),
            ("clusterName", "C"),
            ("haServerAddr", ""),
            ("brokerId", "0"),
            ("heartbeatTimeoutMillis", asked),
        ];
        assert_eq!(desk.ask(request::REGISTER_BROKER, &ext, &body), done());
        let registered_ms = desk.now_ms;
        let expired =
            |server: &mut NameServer, after: u64| server.brokers.expired(registered_ms + after);
        assert!(expired(&mut desk.server, until_ms).is_empty(), "{asked}");
        assert_eq!(expired(&mut desk.server, until_ms + 1).len(), 1, "{asked}");
    }
}

#[test]
fn a_closed_connection_takes_its_brokers_along_and_no_others() {
    let mut desk = Desk::new();
    desk.register(&master());
    desk.connection = ConnectionKey(2);
    desk.register(&slave());
    desk.close(ConnectionKey(3));
    desk.close(ConnectionKey(1));
    assert_eq!(desk.shown("T"), "a 6 1=a1:1");
    desk.connection = ConnectionKey(4);
    desk.register(&slave());
    desk.close(ConnectionKey(2));
    assert_eq!(desk.shown("T"), "a 6 1=a1:1", "it has come back over another one");
    desk.close(ConnectionKey(4));
    assert_eq!(desk.shown("T"), "none");
}

#[test]
fn data_versions_tell_whether_to_register_again() {
    let mut desk = Desk::new();
    let ext =
        [("clusterName", "C"), ("brokerAddr", "a0:1"), ("brokerName", "a"), ("brokerId", "0")];
    let version = |counter| {
        format!("{{\"counter\":{counter},\"stateVersion\":0,\"timestamp\":{CHANGED_MS}}}")
    };
    let ask = |desk: &mut Desk, body: &str| {
        let answer = desk.ask(request::QUERY_DATA_VERSION, &ext, body.as_bytes());
        (answer.ext["changed"].clone(), String::from_utf8(answer.body).unwrap())
    };
    assert_eq!(ask(&mut desk, &version(1)), ("true".to_owned(), String::new()));
    desk.register(&master());
    assert_eq!(ask(&mut desk, &version(1)), ("false".to_owned(), version(1)));
    assert_eq!(ask(&mut desk, &version(2)), ("true".to_owned(), version(1)));
    assert_eq!(ask(&mut desk, ""), ("true".to_owned(), version(1)));
}

#[test]
fn a_damaged_body_is_refused() {
    let mut desk = Desk::new();
    let ext = [
        ("brokerName", "a"),
        ("brokerAddr", "a0:1"),
        ("clusterName", "C"),
        ("haServerAddr", ""),
        ("brokerId", "0"),
        ("bodyCrc32", "1"),
    ];
    assert_eq!(desk.ask(request::REGISTER_BROKER, &ext, b"{}"), refused(1, "crc32 not match"));
    let answer = desk.ask(request::REGISTER_BROKER, &ext[..5], b"{\"x\":");
    assert_eq!(answer.code, 1);
    assert!(answer.remark.unwrap().starts_with("malformed body"));
}

#[test]
fn a_registration_beyond_a_limit_is_refused_whole() {
    let mut desk = Desk::new();
    let addresses: Vec<String> = (0..=limits::REPLICAS_MAX).map(|id| format!("a{id}:1")).collect();
    for (id, address) in addresses.iter().enumerate() {
        let address: &'static str = address.clone().leak();
        let answer = desk.register(&Visitor { id: id as i64, address, ..master() });
        if id < limits::REPLICAS_MAX {
            assert_eq!(answer.code, 0);
        } else {
            let remark = "the name server holds its limit of 16 replicas of a broker";
            assert_eq!(answer, refused(1, remark));
        }
    }
    assert_eq!(desk.server.brokers.get("a").unwrap().addresses.len(), limits::REPLICAS_MAX);

    let mut body = master().body();
    let queues = (0..=limits::MAPPED_QUEUES_MAX as i32).map(|id| (id, id)).collect();
    let mapping = TopicQueueMappingInfo { curr_id_map: queues, ..Default::default() };
    let mappings = &mut body.topic_config_serialize_wrapper.topic_queue_mapping_info_map;
    mappings.insert("T".to_owned(), mapping);
    let answer = desk.register_body(&Visitor { name: "b", address: "b0:1", ..master() }, &body);
    let remark = "the name server holds its limit of 1024 queues of a static topic";
    assert_eq!(answer, refused(1, remark));
    assert!(desk.server.brokers.get("b").is_none());
}

#[test]
fn filter_servers_of_old_brokers_are_in_routes_until_they_leave() {
    let mut desk = Desk::new();
    let with = |servers: &[&str]| {
        let mut body = master().body();
        body.filter_server_list = servers.iter().map(|it| (*it).to_owned()).collect();
        body
    };
    let table = |desk: &mut Desk| desk.route("T").unwrap().filter_server_table;
    desk.register(&Visitor { name: "b", address: "b0:1", ..master() });
    assert_eq!(desk.register_body(&master(), &with(&["f:1", "f:2"])), done());
    let expect = [("a0:1".to_owned(), vec!["f:1".to_owned(), "f:2".to_owned()])];
    assert_eq!(table(&mut desk), expect.into());
    assert_eq!(desk.register_body(&master(), &with(&[])), done());
    assert_eq!(table(&mut desk), BTreeMap::new());
    desk.register_body(&master(), &with(&["f:1"]));
    desk.unregister(&master());
    assert_eq!(table(&mut desk), BTreeMap::new());

    let many = vec!["f:1"; limits::FILTER_SERVERS_MAX + 1];
    let remark = "the name server holds its limit of 64 filter servers of a broker";
    assert_eq!(desk.register_body(&master(), &with(&many)), refused(1, remark));
}

/// The forms of a registration's body: without one, of before 3.0.11, compressed with and without the
/// static topics that 5.0 brought.
#[test]
fn bodies_of_all_ages_are_taken() {
    let ext = |compressed: &'static str| {
        [
            ("brokerName", "a"),
            ("brokerAddr", "a0:1"),
            ("clusterName", "C"),
            ("haServerAddr", ""),
            ("brokerId", "0"),
            ("compressed", compressed),
        ]
    };
    let registers = |version: i32, compressed, body: &[u8]| {
        let mut desk = Desk::new();
        desk.version = version;
        assert_eq!(desk.ask(request::REGISTER_BROKER, &ext(compressed), body), done(), "{version}");
        desk.topics()
    };
    let current = proto::version::CURRENT;
    assert_eq!(registers(current, "false", b""), "", "it is known, and serves nothing");
    let body = master().body();
    let (mut plain, mut ancient) = (Vec::new(), Vec::new());
    body.write(&mut plain);
    let start = b"{\"filterServerList\":[],\"topicConfigSerializeWrapper\":";
    ancient.extend_from_slice(&plain[start.len()..plain.len() - 1]);
    for version in [37, 353, 401, current] {
        assert_eq!(registers(version, "false", &plain), "T U", "{version}");
    }
    assert_eq!(registers(36, "false", &ancient), "T U");
    assert_eq!(registers(36, "false", b""), "");
    for version in [37, 409, 413, current] {
        let mut compressed = Vec::new();
        body.write_compressed(version, &mut compressed);
        assert_eq!(registers(version, "true", &compressed), "T U", "{version}");
    }
}

#[test]
fn the_ordered_topics_are_left_out_when_brokers_shall_not_hear_of_them() {
    let config = NameServerConfig { order_to_brokers: false, ..Default::default() };
    let mut desk = Desk::with(config);
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "a:4")];
    assert_eq!(desk.ask(request::PUT_KV_CONFIG, &order, b""), done());
    assert_eq!(desk.register(&master()), done());
}
