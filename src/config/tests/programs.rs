//! What each program reads, and what `-p` and `-m` print of it.

use super::*;

fn namesrv(
    flags: &[(&'static str, &'static str, &str)],
    text: Option<&str>,
) -> Result<NamesrvConfig, Vec<ConfigError>> {
    let file = text.map(|text| (Path::new("namesrv.conf"), text.as_bytes()));
    match resolve(&with_flags(Program::Namesrv, flags), file, &host())? {
        Config::Namesrv(config) => Ok(config),
        Config::Server(_) => panic!("a NameServer alone"),
    }
}

fn names(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints.iter().map(Endpoint::to_string).collect()
}

#[test]
fn a_name_server_alone_has_its_own_listen_port() {
    let config = namesrv(&[], None).unwrap();
    assert_eq!(config.name_server.port, 9876);
    assert!(config.name_server.listen.is_loopback());
    assert_eq!(config.name_server.settings, crate::namesrv::NameServerConfig::default());
    assert_eq!(config.notices, []);

    let text = "listenPort=19876\nbindAddress=0.0.0.0\nscanNotActiveBrokerInterval=2000\n\
                needWaitForService=true\nserverChannelMaxIdleTimeSeconds=30\n\
                ringmqConnectionsMax=50\nringmqLogLevel=debug\nserverWorkerThreads=8";
    let config = namesrv(&[], Some(text)).unwrap();
    let NameServerOptions { listen, port, connections_max, connection_idle_ms, settings, .. } =
        config.name_server;
    assert_eq!((port, connections_max, connection_idle_ms), (19876, 50, 30_000));
    assert!(listen.is_unspecified());
    assert_eq!((settings.scan_interval_ms, settings.wait_for_service_ms), (2000, 45_000));
    assert_eq!(config.log_level, tracing::Level::DEBUG);
    let told: Vec<String> = config.notices.iter().map(Notice::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("namesrv.conf:8: serverWorkerThreads = 8 has no effect"));

    let config = namesrv(&[("--namesrv-port", "listenPort", "1")], Some(text)).unwrap();
    assert_eq!(config.name_server.port, 1);
}

#[test]
fn a_name_server_alone_keeps_its_files_where_rocketmq_has_them_or_where_its_file_says() {
    let paths = |text| {
        let name_server = namesrv(&[], text).unwrap().name_server;
        [name_server.key_values_path, name_server.settings_path]
    };
    let at_home = ["namesrv/kvConfig.json", "namesrv/namesrv.properties"];
    assert_eq!(paths(None), at_home.map(|path| Path::new("/operator").join(path)));
    let told = ["/var/lib/names/kv.json", "/var/lib/names/namesrv.properties"];
    assert_eq!(paths(Some("kvConfigPath=/var/lib/names/kv.json")), told.map(PathBuf::from));

    let (plain, homeless) = (Invocation::plain(Program::Namesrv), Host { home: None, ..host() });
    let errors = resolve(&plain, None, &homeless).unwrap_err();
    let found: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
    assert_eq!(
        found,
        ["default: kvConfigPath = ~/namesrv/kvConfig.json: this user has no home directory \
          (HOME); give the path of a file"]
    );
    let text = Some((Path::new("namesrv.conf"), &b"kvConfigPath=/var/lib/names/kv.json"[..]));
    assert!(resolve(&plain, text, &homeless).is_ok());
    for program in [Program::Broker, Program::Server] {
        assert!(broker(&Invocation::plain(program), None, &homeless).is_ok(), "{program}");
    }
}

#[test]
fn a_key_of_another_program_refuses_the_start_and_says_where_it_belongs() {
    let told = |errors: Vec<ConfigError>| -> Vec<String> {
        errors.iter().map(ConfigError::to_string).collect()
    };
    let text =
        "brokerName=a\nringmqNamesrvPort=1\nbrokerRole=SLAVE\nenableControllerInNamesrv=true";
    assert_eq!(
        told(namesrv(&[], Some(text)).unwrap_err()),
        [
            "namesrv.conf:1: brokerName is no key of ringmq namesrv: it belongs to broker.conf; \
             remove the line",
            "namesrv.conf:2: ringmqNamesrvPort is no key of ringmq namesrv: it belongs to the \
             configuration of ringmq server; ringmq namesrv has listenPort; remove the line",
            "namesrv.conf:3: brokerRole is no key of ringmq namesrv: it belongs to broker.conf; \
             remove the line",
            "namesrv.conf:4: enableControllerInNamesrv = true: replication is not there yet: every \
             message has one copy; the only value so far is false",
        ]
    );
    let plain = Invocation::plain(Program::Broker);
    let found = broker(&plain, Some("scanNotActiveBrokerInterval=1000"), &host());
    assert_eq!(
        told(found.unwrap_err()),
        ["broker.conf:1: scanNotActiveBrokerInterval is no key of ringmq broker: it belongs to \
          namesrv.conf; remove the line"]
    );
    let server = Invocation::plain(Program::Server);
    assert!(broker(&server, Some("scanNotActiveBrokerInterval=1000"), &host()).is_ok());
}

#[test]
fn a_broker_alone_registers_with_all_that_are_named_once() {
    let text = "namesrvAddr=127.0.0.1:9876;ns-2:9876;127.0.0.1:9876\nlistenPort=9876";
    let plain = Invocation::plain(Program::Broker);
    let config = broker(&plain, Some(text), &host()).unwrap();
    assert_eq!(names(&config.name_servers), ["127.0.0.1:9876", "ns-2:9876"]);
    assert_eq!(config.name_server, None);
    assert_eq!(config.broker_port, 9876, "no NameServer in the process wants that port");

    let flags = with_flags(Program::Broker, &[("-n", "namesrvAddr", "ns-3:9876")]);
    let config = broker(&flags, Some(text), &host()).unwrap();
    assert_eq!(names(&config.name_servers), ["ns-3:9876"], "-n wins, as with mqbroker");
}

#[test]
fn the_environment_names_the_name_servers_of_a_broker_that_nobody_told() {
    let host = Host { name_servers: Some("ns-env:9876".to_owned()), ..host() };
    let plain = Invocation::plain(Program::Broker);
    let config = broker(&plain, None, &host).unwrap();
    assert_eq!(names(&config.name_servers), ["ns-env:9876"]);
    let config = broker(&plain, Some("namesrvAddr=ns-file:9876"), &host).unwrap();
    assert_eq!(names(&config.name_servers), ["ns-file:9876"]);
    let server = Invocation::plain(Program::Server);
    let config = broker(&server, None, &host).unwrap();
    assert_eq!(names(&config.name_servers), [""; 0], "a server of one machine stays by itself");

    let host = Host { name_servers: Some("ns-env".to_owned()), ..host };
    let errors = broker(&plain, None, &host).unwrap_err();
    let found: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
    assert_eq!(
        found,
        ["environment variable NAMESRV_ADDR: namesrvAddr = ns-env: expected at most 16 host:port \
          joined by ;"]
    );
}

#[test]
fn a_broker_that_nobody_finds_is_told_so() {
    let notices = |text: &str| {
        broker(&Invocation::plain(Program::Broker), Some(text), &host()).unwrap().notices
    };
    assert_eq!(notices(""), [Notice::NoNameServer]);
    assert_eq!(notices("namesrvAddr=localhost:9876"), []);
    let told = notices("namesrvAddr=127.0.0.1:9876;ns-2:9876");
    assert!(matches!(told.as_slice(), [Notice::LocalAddressElsewhere { .. }]), "{told:?}");
    assert!(told[0].to_string().contains("NameServer ns-2:9876 is told"), "{}", told[0]);
    assert_eq!(notices("namesrvAddr=ns-2:9876\nbindAddress=0.0.0.0"), []);
    assert_eq!(from_file("").unwrap().notices, [], "a server has its own");
}

/// `key=value` lines as `MixAll.printObjectProperties` writes them, and every one can be read back.
#[test]
fn what_is_printed_is_every_key_as_it_holds_and_a_configuration_file() {
    let text = "brokerName=broker-a\nflushDiskType=ASYNC_FLUSH\nmessageDelayLevel=1s 2m\n\
                deleteWhen=03;15\nnamesrvAddr=a:1;[::1]:2\nsendMessageThreadPoolNums=64\n";
    for program in [Program::Server, Program::Broker] {
        let config = broker(&Invocation::plain(program), Some(text), &host()).unwrap();
        let all = printed(&config.effective, Print::All);
        assert_eq!(all.lines().count(), keys::of(program).len());
        for line in text.lines() {
            assert!(all.lines().any(|printed| printed == line), "{line}");
        }
        assert!(all.contains("\nlistenPort=10911\n") && all.contains("\naclEnable=false\n"));
        let again = broker(&Invocation::plain(program), Some(&all), &host()).unwrap();
        assert_eq!(printed(&again.effective, Print::All), all);

        let important = printed(&config.effective, Print::Important);
        assert!(important.lines().count() < all.lines().count() / 4);
        for line in ["brokerName=broker-a", "brokerRole=ASYNC_MASTER", "ringmqShards=0"] {
            assert!(important.lines().any(|printed| printed == line), "{line}");
        }
        assert!(!important.contains("sendMessageThreadPoolNums"));
    }
    let config = namesrv(&[], Some("listenPort=1\n")).unwrap();
    let all = printed(&config.effective, Print::All);
    assert_eq!(all.lines().count(), keys::of(Program::Namesrv).len());
    assert!(all.contains("listenPort=1\n") && !all.contains("brokerName"));
    let again = namesrv(&[], Some(&all)).unwrap();
    assert_eq!(printed(&again.effective, Print::All), all);
}

/// Files of the distribution, without their comments: what Apache's broker runs with, this runs with
/// or says why not.
#[test]
fn example_files_of_the_distribution() {
    let masters = "brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerId=0\n\
                   deleteWhen=04\nfileReservedTime=48\nbrokerRole=ASYNC_MASTER\n\
                   flushDiskType=ASYNC_FLUSH\n";
    let plain = Invocation::plain(Program::Broker);
    assert!(broker(&plain, Some(masters), &host()).is_ok(), "conf/broker.conf");
    let slave = masters.replace("brokerId=0", "brokerId=1").replace("ASYNC_MASTER", "SLAVE");
    let errors = broker(&plain, Some(&slave), &host()).unwrap_err();
    let refused = |key| move |error: &ConfigError| matches!(error, ConfigError::NotThere { key: found, .. } if *found == key);
    assert_eq!(errors.len(), 2, "conf/2m-2s-async/broker-a-s.properties");
    assert!(errors.iter().any(refused("brokerId")) && errors.iter().any(refused("brokerRole")));

    let container = "listenPort=10811\nnamesrvAddr=192.0.2.1:9876\n\
                     fetchNamesrvAddrByAddressServer=false\nbrokerConfigPaths=/a.conf:/b.conf\n";
    let errors = broker(&plain, Some(container), &host()).unwrap_err();
    assert_eq!(errors.len(), 1, "conf/container/2container-2m-2s/broker-container1.conf");
    assert!(errors.iter().any(refused("brokerConfigPaths")));

    let controller = "enableControllerInNamesrv = true\ncontrollerDLegerGroup = group1\n\
                      controllerDLegerPeers = n0-127.0.0.1:9877\ncontrollerDLegerSelfId = n0\n";
    let errors = namesrv(&[], Some(controller)).unwrap_err();
    assert_eq!(errors.len(), 1, "conf/controller/quick-start/namesrv.conf");
    assert!(errors.iter().any(refused("enableControllerInNamesrv")));
}
