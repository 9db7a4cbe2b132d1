//! Whole files and command lines, and each way in which they can be wrong.

mod mistakes;
mod programs;
mod reference;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use engine::retention::Retention;

use super::*;

fn host() -> Host {
    let outward = Some(IpAddr::from([10, 1, 2, 3]));
    let home = Some(PathBuf::from("/operator"));
    Host { name: Some("node-7".to_owned()), home, outward, cpus: 4, name_servers: None }
}

/// The configuration of `ringmq server` or `ringmq broker`.
fn broker(
    invocation: &Invocation,
    text: Option<&str>,
    host: &Host,
) -> Result<ServerConfig, Vec<ConfigError>> {
    let file = text.map(|text| (Path::new("broker.conf"), text.as_bytes()));
    match resolve(invocation, file, host)? {
        Config::Server(config) => Ok(*config),
        Config::Namesrv(_) => panic!("{} has a broker", invocation.program),
    }
}

fn from_file(text: &str) -> Result<ServerConfig, Vec<ConfigError>> {
    broker(&Invocation::plain(Program::Server), Some(text), &host())
}

fn with_flags(program: Program, flags: &[(&'static str, &'static str, &str)]) -> Invocation {
    let given = flags.iter().map(|(flag, key, value)| Given { flag, key, value: (*value).into() });
    Invocation { given: given.collect(), ..Invocation::plain(program) }
}

/// The messages for a file, one by one.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let errors = from_file(text).map_or_else(|errors| errors, |_| Vec::new());
    let found: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
    assert_eq!(found, expect, "{text}");
}

#[test]
fn without_file_and_flags_the_defaults_are_safe() {
    let config = broker(&Invocation::plain(Program::Server), None, &host()).unwrap();
    assert_eq!(config.broker_name, "node-7");
    assert_eq!(config.cluster_name, "DefaultCluster");
    assert!(config.listen.is_loopback());
    assert_eq!(config.advertise, config.listen);
    let name_server = config.name_server.unwrap();
    assert_eq!((config.broker_port, name_server.port), (10911, 9876));
    assert_eq!(name_server.settings, crate::namesrv::NameServerConfig::default());
    assert_eq!(config.flush, FlushMode::Sync);
    assert_eq!(config.store, PathBuf::from("./ringmq-store"));
    assert_eq!((config.shard_count, config.spin_us), (None, 0));
    assert_eq!(config.core_count, 3, "all CPUs but one");
    assert_eq!(config.segment_bytes, 1 << 30);
    assert_eq!(config.message_bytes_max, 4 << 20);
    assert_eq!(config.delay_levels_ms.len(), 18);
    assert_eq!(config.delay_levels_ms.first(), Some(&1000));
    assert_eq!(config.connection_idle_ms, 120_000);
    assert_eq!(config.log_level, tracing::Level::INFO);
    assert_eq!(config.notices, []);
    assert!(config.effective.iter().all(|line| line.place == Place::Default));
}

#[test]
fn a_file_of_rocketmq_is_taken_with_its_blanks() {
    let config = from_file(
        "brokerClusterName = DefaultCluster\n\
         brokerName = broker-a \n\
         brokerId = 0\n\
         brokerRole = ASYNC_MASTER\n\
         flushDiskType = ASYNC_FLUSH  \n\
         autoCreateTopicEnable=FALSE \n\
         messageDelayLevel = 1s \\\n  1m\n\
         namesrvAddr = 127.0.0.1:9876;ns-2:9876\n\
         storePathRootDir = /data/store\n\
         storePathCommitLog = /data/store/commitlog\n",
    );
    let config = config.unwrap();
    assert_eq!(config.broker_name, "broker-a");
    assert_eq!(config.flush, FlushMode::Async);
    assert!(!config.auto_create_topic);
    assert_eq!(config.delay_levels_ms, [1000, 60_000]);
    let further: Vec<_> = config.name_servers.iter().map(Endpoint::to_string).collect();
    assert_eq!(further, ["ns-2:9876"], "the one inside is not registered with twice");
}

#[test]
fn the_name_servers_key_values_are_in_the_store_or_where_the_file_says() {
    let paths = |lines: &str| {
        let name_server = from_file(lines).unwrap().name_server.unwrap();
        [name_server.key_values_path, name_server.settings_path]
    };
    let settings = "/s/namesrv/namesrv.properties";
    assert_eq!(
        paths("storePathRootDir=/s"),
        ["/s/namesrv/kvConfig.json", settings].map(PathBuf::from)
    );
    let elsewhere = "storePathRootDir=/s\nkvConfigPath=/etc/kv.json";
    assert_eq!(paths(elsewhere), ["/etc/kv.json", settings].map(PathBuf::from));
    check(
        "storePathRootDir=/s\nkvConfigPath=/s/namesrv/namesrv.properties",
        &["broker.conf:2: kvConfigPath = /s/namesrv/namesrv.properties: what is set at the \
           NameServer over the wire is kept there; give another name"],
    );
    // Apache's names the operator's own file, which is never written here.
    let notices = from_file("configStorePath=/etc/namesrv.properties").unwrap().notices;
    assert!(matches!(notices[..], [Notice::WithoutEffect { key: "configStorePath", .. }]));
}

#[test]
fn registrations_are_split_on_demand() {
    let split = |lines: &str| from_file(lines).unwrap().registration_topics_max;
    assert_eq!(split("splitRegistrationSize=3"), None);
    assert_eq!(split("enableSplitRegistration=true"), Some(800));
    assert_eq!(split("enableSplitRegistration=true\nsplitRegistrationSize=3"), Some(3));
    check(
        "splitRegistrationSize=1",
        &["broker.conf:1: splitRegistrationSize = 1: expected a whole number from 2 to 100000"],
    );
}

#[test]
fn a_flag_wins_over_the_file_and_the_log_shows_both() {
    let flags = with_flags(
        Program::Server,
        &[("--broker-port", "listenPort", "11911"), ("--flush", "flushDiskType", "ASYNC_FLUSH")],
    );
    let config = broker(&flags, Some("\nlistenPort=20911\n"), &host()).unwrap();
    assert_eq!((config.broker_port, config.flush), (11911, FlushMode::Async));
    let line = |key| config.effective.iter().find(|line| line.key.name == key).unwrap().to_string();
    assert_eq!(
        line("listenPort"),
        "listenPort = 11911 (--broker-port, overrides 20911 of broker.conf:2)"
    );
    assert_eq!(line("flushDiskType"), "flushDiskType = ASYNC_FLUSH (--flush)");
    assert_eq!(line("brokerName"), "brokerName = node-7 (default)");
}

#[test]
fn a_wrong_flag_is_told_like_a_wrong_line() {
    let flags = with_flags(
        Program::Server,
        &[("--listen", "bindAddress", "localhost"), ("--cores", "ringmqCores", "65")],
    );
    let errors = broker(&flags, None, &host()).unwrap_err();
    let found: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
    let expect = [
        "--listen: bindAddress = localhost: expected an IP address such as 192.0.2.1",
        "--cores: ringmqCores = 65: expected a whole number from 0 to 64",
    ];
    assert_eq!(found, expect);
}

#[test]
fn everything_wrong_is_told_at_once() {
    check(
        "brokerIp1=10.0.0.1\n\
         listenPort=70000\n\
         autoCreateTopicEnable=yes\n\
         aclEnable=true\n\
         =5\n\
         traceOn=true\n\
         traceOn=true\n\
         maxMessageSize=4M\n",
        &[
            "broker.conf:5: a value without a key",
            "broker.conf:1: brokerIp1 is not a key; did you mean brokerIP1?",
            "broker.conf:2: listenPort = 70000: expected a whole number from 0 to 65535",
            "broker.conf:3: autoCreateTopicEnable = yes: expected true or false",
            "broker.conf:4: aclEnable = true: access control is not there yet: everybody who can \
             connect may do all; the only value so far is false",
            "broker.conf:7: traceOn is set already at broker.conf:6: remove one of the two",
            "broker.conf:8: maxMessageSize = 4M: expected a whole number from 1024 to 4194304 \
             bytes",
        ],
    );
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_one_if_there_is_one() {
    check("brokerNmae=a", &["broker.conf:1: brokerNmae is not a key; did you mean brokerName?"]);
    check("completelyUnheardOf=a", &["broker.conf:1: completelyUnheardOf is not a key"]);
    check("\\u0000=a", &["broker.conf:1: \0 is not a key"]);
    let long = "k".repeat(500);
    let expect = format!("broker.conf:1: {}… is not a key", "k".repeat(80));
    check(&long, &[&expect]);
}

#[test]
fn a_promise_that_is_not_kept_refuses_the_start() {
    for (line, key) in [
        ("brokerRole=SYNC_MASTER", "brokerRole"),
        ("brokerRole=SLAVE", "brokerRole"),
        ("brokerId=1", "brokerId"),
        ("inSyncReplicas=2", "inSyncReplicas"),
        ("authenticationEnabled=true", "authenticationEnabled"),
        ("tls.server.mode=enforcing", "tls.server.mode"),
        ("tls.server.certPath=/c.pem", "tls.server.certPath"),
        ("enableControllerMode=true", "enableControllerMode"),
        ("enableDLegerCommitLog=true", "enableDLegerCommitLog"),
        ("storePathCommitLog=/fast/commitlog", "storePathCommitLog"),
        ("clusterTopicEnable=false", "clusterTopicEnable"),
    ] {
        match from_file(line).unwrap_err().as_slice() {
            [ConfigError::NotThere { key: found, .. }] => assert_eq!(*found, key),
            other => panic!("{line}: {other:?}"),
        }
    }
    for line in ["aclEnable=False", "brokerRole=ASYNC_MASTER", "tls.server.mode=disabled"] {
        check(line, &[]);
    }
}

#[test]
fn the_same_key_twice_is_no_matter_of_the_last_one() {
    for line in ["listenPort=1", "brokerName=a", "aclEnable=false", "fileReservedTime=1"] {
        let (key, _) = line.split_once('=').unwrap();
        let expect =
            format!("broker.conf:3: {key} is set already at broker.conf:1: remove one of the two");
        check(&format!("{line}\n\n{line}"), &[&expect]);
    }
}

#[test]
fn keys_without_effect_are_told_and_do_not_refuse() {
    let config = from_file("enableCleanExpiredOffset=true\nsendMessageThreadPoolNums=64").unwrap();
    let told: Vec<String> = config.notices.iter().map(Notice::to_string).collect();
    let expect = [
        "broker.conf:1: enableCleanExpiredOffset = true has no effect: not yet: offsets of queues \
         that are gone are kept",
        "broker.conf:2: sendMessageThreadPoolNums = 64 has no effect: there are no thread pools \
         and no queues before them: a core is a thread",
    ];
    assert_eq!(told, expect);
}

#[test]
fn retention_is_what_the_file_says() {
    let text = "fileReservedTime=48\ndeleteWhen=03;15\ncleanFileForciblyEnable=false\n\
                diskMaxUsedSpaceRatio=60\nringmqLogBytesMax=1000000000";
    let expect = Retention {
        reserved_ms: 48 * 3_600_000,
        hours: vec![3, 15],
        delete_percent: 60,
        force_percent: None,
        full_percent: 90,
        writable_percent: 85,
        bytes_max: Some(1_000_000_000),
    };
    assert_eq!(from_file(text).unwrap().retention, expect);
    let default = from_file("").unwrap().retention;
    assert_eq!((default.force_percent, default.bytes_max), (Some(85), None));
    let low = from_file("diskSpaceWarningLevelRatio=60").unwrap().retention;
    assert_eq!((low.full_percent, low.writable_percent), (60, 60), "never full and writable");
}

#[test]
fn the_stronger_of_two_flush_settings_holds() {
    let mode = |text| from_file(text).unwrap().flush;
    assert_eq!(mode("transientStorePoolEnable=true"), FlushMode::Sync);
    assert_eq!(mode("transientStorePoolEnable=true\nflushDiskType=ASYNC_FLUSH"), FlushMode::Memory);
    let told = from_file("transientStorePoolEnable=true").unwrap().notices;
    assert!(told.contains(&Notice::TransientPoolUnused));
}

#[test]
fn an_address_that_clients_can_dial_is_found_or_asked_for() {
    let advertised = |text: &str| from_file(text).map(|config| config.advertise.to_string());
    assert_eq!(advertised("bindAddress=10.0.0.9").unwrap(), "10.0.0.9");
    assert_eq!(advertised("bindAddress=0.0.0.0").unwrap(), "10.1.2.3");
    assert_eq!(advertised("bindAddress=0.0.0.0\nbrokerIP1=192.0.2.9").unwrap(), "192.0.2.9");
    check(
        "brokerIP1=0.0.0.0",
        &["broker.conf:1: brokerIP1 = 0.0.0.0: nobody can connect to it; give an address of this \
           machine"],
    );
    let told = from_file("brokerIP1=192.0.2.9").unwrap().notices;
    assert!(told.iter().any(|notice| matches!(notice, Notice::OnlyLocal { .. })));

    let alone = Host { name: None, home: None, outward: None, cpus: 1, name_servers: None };
    let flags = with_flags(Program::Server, &[("--listen", "bindAddress", "0.0.0.0")]);
    let errors = broker(&flags, None, &alone).unwrap_err();
    assert_eq!(errors.len(), 2, "neither a name nor an address: {errors:?}");
    assert!(errors.iter().any(|error| error.to_string().contains("--advertise (brokerIP1)")));
}

#[test]
fn ports_have_to_go_together() {
    check(
        "listenPort=9876",
        &["broker.conf:1: listenPort = 9876: ringmqNamesrvPort is the same (default); broker and \
           NameServer need a port each"],
    );
    check(
        "ringmqNamesrvPort=10911",
        &[
            "broker.conf:1: ringmqNamesrvPort = 10911: listenPort is the same (default); broker and \
           NameServer need a port each",
        ],
    );
    check("listenPort=0\nringmqNamesrvPort=0", &[]);
    check(
        "listenPort=8080\nringmqHttpPort=8080",
        &[
            "broker.conf:1: listenPort = 8080: ringmqHttpPort is the same (broker.conf:2); health and \
           metrics need a port of their own",
        ],
    );
    check(
        "ringmqHttpPort=9876",
        &[
            "broker.conf:1: ringmqHttpPort = 9876: ringmqNamesrvPort is the same (default); health and \
           metrics need a port of their own",
        ],
    );
    check(
        "metricsExporterType=PROM\nmetricsPromExporterPort=10911",
        &[
            "broker.conf:2: metricsPromExporterPort = 10911: listenPort is the same (default); health \
           and metrics need a port of their own",
        ],
    );
    check("metricsPromExporterPort=10911", &[]);
    check("metricsExporterType=PROM\nringmqHttpPort=5557", &[]);
    check(
        "metricsExporterType=PROM\nringmqHttpPort=5557\nmetricsPromExporterHost=0.0.0.0",
        &[
            "broker.conf:2: ringmqHttpPort = 5557: metricsPromExporterPort is the same (default); one of \
           two addresses holds the other, see bindAddress",
        ],
    );
}

#[test]
fn a_file_is_read_up_to_its_limit_and_a_missing_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.conf");
    let plain = Invocation::plain(Program::Server);
    let invocation = Invocation { config: Some(path.clone()), ..plain };

    let errors = load(&invocation).unwrap_err();
    assert!(matches!(errors.as_slice(), [ConfigError::Unreadable { .. }]), "{errors:?}");

    std::fs::write(&path, "brokerName = from-file\n").unwrap();
    let Config::Server(config) = load(&invocation).unwrap() else { panic!("a server") };
    assert_eq!(config.broker_name, "from-file");

    std::fs::write(&path, vec![b'#'; FILE_BYTES_MAX + 1]).unwrap();
    let errors = load(&invocation).unwrap_err();
    assert!(matches!(errors.as_slice(), [ConfigError::TooLong { .. }]), "{errors:?}");
}
