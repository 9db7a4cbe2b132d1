//! What clients are told.

use super::*;

#[test]
fn a_replica_stands_in_for_its_master_where_both_sides_agree() {
    let config = NameServerConfig { acting_master: true, ..Default::default() };
    for (config, expect) in
        [(config, "a 4 0=a1:1 2=a2:1"), (Default::default(), "a 4 1=a1:1 2=a2:1")]
    {
        let mut desk = Desk::with(config);
        let agreed = Visitor { acting_master: Some(true), ..master() };
        desk.register(&agreed);
        desk.register(&Visitor { id: 1, address: "a1:1", ..agreed.clone() });
        desk.register(&Visitor { id: 2, address: "a2:1", ..agreed.clone() });
        assert_eq!(desk.shown("T"), "a 6 0=a0:1 1=a1:1 2=a2:1");
        desk.unregister(&agreed);
        assert_eq!(desk.shown("T"), expect);
        let again = Visitor { id: 1, address: "a1:1", counter: 2, ..agreed };
        desk.register(&again);
        assert_eq!(desk.shown("T"), expect, "what it registers is read only too");
    }
}

#[test]
fn missing_fields_unknown_codes_and_oneway_requests() {
    let mut desk = Desk::new();
    let missing = "org.apache.rocketmq.remoting.exception.RemotingCommandException: \
                   the custom field <topic> is null";
    assert_eq!(desk.ask(request::GET_ROUTEINFO_BY_TOPIC, &[], b""), refused(1, missing));
    // Of brokers, controllers and containers: no NameServer serves them (`DefaultRequestProcessor`).
    for code in [10, 17, 34, 902, 903, 905, 906, 907, 908, 1005, 1009, 1010, -1, 9999] {
        let remark = format!(" request type {code} not supported");
        assert_eq!(desk.ask(code, &[], b""), refused(3, &remark));
    }
    assert_eq!(desk.send(9999, FLAG_ONEWAY, &[], b""), b"");
    assert_eq!(desk.send(0, proto::command::FLAG_RESPONSE, &[], b""), b"");
    let long = "t".repeat(limits::TOPIC_BYTES_MAX + 1);
    let answer = desk.ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", &long)], b"");
    let remark = "the custom field <topic> of 263 bytes is longer than the limit of 262";
    assert_eq!(answer, refused(1, remark));
}

#[test]
fn routes_are_held_back_until_brokers_had_time_to_come() {
    let config = NameServerConfig { waits_for_service: true, ..Default::default() };
    let mut desk = Desk::with(config);
    desk.register(&master());
    let topic = [("topic", "T")];
    let answer = desk.ask(request::GET_ROUTEINFO_BY_TOPIC, &topic, b"");
    assert_eq!(answer, refused(1, "name server not ready"));
    desk.now_ms += 45_000;
    assert_eq!(desk.shown("T"), "a 6 0=a0:1");
}

#[test]
fn broker_ids_are_quoted_for_whom_it_does_not_harm() {
    let mut desk = Desk::new();
    desk.register(&master());
    for (version, standard, quoted) in
        [(401, "false", true), (400, "false", false), (317, "true", true), (317, "false", false)]
    {
        desk.version = version;
        let ext = [("topic", "T"), ("acceptStandardJsonOnly", standard)];
        let answer = desk.ask(request::GET_ROUTEINFO_BY_TOPIC, &ext, b"");
        let body = String::from_utf8(answer.body).unwrap();
        let expect = if quoted { r#"{"0":"a0:1"}"# } else { r#"{0:"a0:1"}"# };
        assert!(body.contains(expect), "{version} {standard}: {body}");
        assert!(body.contains(r#""filterServerTable":{}"#));
    }
}

#[test]
fn a_zone_keeps_its_own_brokers_and_those_without_master() {
    let mut desk = Desk::new();
    let zones = [("near", "n:1", 0, "Z"), ("far", "f:1", 0, "y"), ("headless", "h:1", 1, "y")];
    for (name, address, id, zone) in zones {
        let mut body = Vec::new();
        master().body().write(&mut body);
        let id = format!("{id}");
        let ext = [
            ("brokerName", name),
            ("brokerAddr", address),
            ("clusterName", "C"),
            ("haServerAddr", ""),
            ("brokerId", id.as_str()),
            ("enableActingMaster", "false"),
            ("__ZONE_NAME", zone),
        ];
        assert_eq!(desk.ask(request::REGISTER_BROKER, &ext, &body).code, 0);
    }
    let mut names = |ext: &[(&str, &str)]| {
        let ext = [&[("topic", "T")], ext].concat();
        let answer = desk.ask(request::GET_ROUTEINFO_BY_TOPIC, &ext, b"");
        let route = TopicRouteData::parse(&answer.body).unwrap();
        let brokers: Vec<_> =
            route.broker_datas.iter().map(|data| data.broker_name.clone()).collect();
        let queues: Vec<_> =
            route.queue_datas.iter().map(|data| data.broker_name.clone()).collect();
        assert_eq!(brokers, queues);
        (brokers.join(" "), String::from_utf8(answer.body).unwrap())
    };
    assert_eq!(names(&[("__ZONE_NAME", "z")]).0, "far headless near");
    assert_eq!(names(&[("__ZONE_NAME", "z"), ("__ZONE_MODE", "false")]).0, "far headless near");
    assert_eq!(names(&[("__ZONE_NAME", " "), ("__ZONE_MODE", "true")]).0, "far headless near");
    let (kept, body) = names(&[("__ZONE_NAME", "z"), ("__ZONE_MODE", "true")]);
    assert_eq!(kept, "headless near");
    assert!(body.contains("{0:\"n:1\"}"), "in the old form for every version: {body}");
    assert_eq!(names(&[("__ZONE_NAME", "x"), ("__ZONE_MODE", "true")]).0, "headless");
}

#[test]
fn a_static_mapping_lives_as_long_as_its_broker() {
    let mut desk = Desk::new();
    desk.register(&Visitor { name: "b", address: "b0:1", ..master() });
    let mut body = master().body();
    for (topic, broker) in [("T", "a"), ("U", "somebody else"), ("not served", "a")] {
        let mapping =
            TopicQueueMappingInfo { bname: Some(broker.to_owned()), ..Default::default() };
        let mappings = &mut body.topic_config_serialize_wrapper.topic_queue_mapping_info_map;
        mappings.insert(topic.to_owned(), mapping);
    }
    assert_eq!(desk.register_body(&master(), &body), done());
    let mapped = desk.route("T").unwrap().topic_queue_mapping_by_broker.unwrap();
    assert_eq!(mapped.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(desk.route("U").unwrap().topic_queue_mapping_by_broker, None);
    desk.unregister(&master());
    assert_eq!(desk.route("T").unwrap().topic_queue_mapping_by_broker, None);
}
