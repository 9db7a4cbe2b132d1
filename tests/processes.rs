//! The real program in parts: brokers and NameServers that are processes of their own, what they
//! register where, and what the command line prints and refuses.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{Client, DEADLINE, Process, ringmq, write_config};

/// RocketMQ's request codes.
const GET_ROUTE: i32 = 105;
const GET_CLUSTER: i32 = 106;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

/// `ringmq` in an environment without NameServers, and in no home in which one kept something.
fn program(arguments: &[&str]) -> Command {
    let mut program = ringmq();
    program.env("HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-home"));
    program.env_remove("NAMESRV_ADDR").args(arguments);
    program
}

fn start(command: &mut Command) -> Process {
    Process::start(command).unwrap_or_else(|status| panic!("it ended before: {status}"))
}

fn name_server(port: u16) -> (Process, SocketAddr) {
    let port = port.to_string();
    let process =
        start(&mut program(&["namesrv", "--namesrv-port", &port, "--log-level", "error"]));
    let address = process.address("NameServer").expect("it says where it listens");
    (process, address)
}

fn broker(directory: &tempfile::TempDir, name_servers: &str, further: &str) -> Command {
    let lines = format!("brokerName = broker-a\n{further}ringmqLogLevel = error");
    let config = write_config(directory.path(), 64 << 20, &lines);
    let mut command = program(&["broker", "--broker-port", "0"]);
    command.arg("-c").arg(config).arg("--store").arg(directory.path().join("store"));
    if !name_servers.is_empty() {
        command.args(["-n", name_servers]);
    }
    command
}

/// A port that was free a moment ago and on which nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// What a NameServer knows of the clusters, as text.
fn cluster(name_server: SocketAddr) -> String {
    let reply = Client::connect(name_server).ask(GET_CLUSTER, &[], &[]);
    assert_eq!(reply.code, 0, "{}", reply.remark);
    String::from_utf8(reply.body).expect("JSON")
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Passes on what is said to a NameServer, late, and nothing once it is told to be silent.
fn slow_line(name_server: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&is_silent);
    std::thread::spawn(move || {
        while let Ok((broker, _)) = listener.accept() {
            let there = TcpStream::connect(name_server).expect("it listens");
            let back = (there.try_clone().expect("open"), broker.try_clone().expect("open"));
            std::thread::spawn(move || pass_on(back.0, back.1, || true));
            let silent = Arc::clone(&silent);
            std::thread::spawn(move || {
                pass_on(broker, there, || {
                    std::thread::sleep(Duration::from_millis(200));
                    !silent.load(Ordering::Relaxed)
                });
            });
        }
    });
    (address, is_silent)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, mut is_passed: impl FnMut() -> bool) {
    let mut bytes = [0; 64 << 10];
    while let Ok(count) = from.read(&mut bytes)
        && count > 0
    {
        if is_passed() && to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

fn output(command: &mut Command) -> (Output, String, String) {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said, complained)
}

/// Who hears that the message that made a topic is stored can ask for the topic's route, whichever core
/// stored it; and a NameServer that is silent keeps no message back for good.
#[test]
fn a_route_is_there_when_the_send_that_made_its_topic_is_answered() {
    let (_name_server, address) = name_server(0);
    for (shards, cores) in [("1", "1"), ("3", "2")] {
        let directory = folder();
        let (line, is_silent) = slow_line(address);
        let mut command = broker(&directory, &line.to_string(), "");
        let process = start(command.args(["--shards", shards, "--cores", cores]));
        let to = process.address("broker").expect("it says where it listens");
        let mut clients = [(); 2].map(|()| Client::connect(to));
        let mut asker = Client::connect(address);
        let mut send = |number: usize| {
            let topic = format!("Made{shards}-{number}");
            let client = &mut clients[number % 2];
            client.write_send(&topic, number as i32 / 2 % 4, b"first").expect("it listens");
            let reply = client.read().expect("an answer");
            assert_eq!(reply.code, 0, "{}", reply.remark);
            topic
        };
        for number in 0..8 {
            let topic = send(number);
            let route = asker.ask(GET_ROUTE, &[("topic", &topic)], &[]);
            assert_eq!(route.code, 0, "{topic}: {}", route.remark);
        }
        is_silent.store(true, Ordering::Relaxed);
        let topic = send(8);
        let route = asker.ask(GET_ROUTE, &[("topic", &topic)], &[]);
        assert_eq!(route.code, 17, "{topic} was not told of");
    }
}

#[test]
fn a_broker_alone_registers_with_all_name_servers_and_one_that_was_down_comes_later() {
    let directory = folder();
    let ((first, first_address), (second, second_address)) = (name_server(0), name_server(0));
    let late_port = closed_port();
    let all = format!("{first_address};127.0.0.1:{late_port};{second_address}");
    let mut command = broker(&directory, &all, "registerNameServerPeriod = 10000\n");
    let running = start(&mut command);
    assert_eq!(running.address("NameServer"), None, "there is none in the process");
    let address = running.address("broker").expect("it says where it listens");

    let mut client = Client::connect(address);
    client.create_topic("Orders", 4);
    client.write_send("Orders", 0, b"x").expect("open");
    assert_eq!(client.read().expect("an answer").code, 0);
    for name_server in [first_address, second_address] {
        assert!(cluster(name_server).contains(&address.to_string()));
        let route = Client::connect(name_server).ask(GET_ROUTE, &[("topic", "Orders")], &[]);
        assert_eq!(route.code, 0, "{}", route.remark);
        assert!(String::from_utf8_lossy(&route.body).contains("broker-a"));
    }

    let (late, late_address) = name_server(late_port);
    wait_until("the registration with the late one", || {
        cluster(late_address).contains(&address.to_string())
    });
    let route = Client::connect(late_address).ask(GET_ROUTE, &[("topic", "Orders")], &[]);
    assert_eq!(route.code, 0, "the whole table: {}", route.remark);

    running.stop("TERM");
    for name_server in [first_address, second_address, late_address] {
        assert!(!cluster(name_server).contains(&address.to_string()), "it said that it leaves");
    }
    first.stop("TERM");
    second.stop("INT");
    late.stop("TERM");
}

#[test]
fn a_broker_serves_while_every_name_server_is_down_or_none_is_named() {
    let nobody = format!("127.0.0.1:{};127.0.0.1:{}", closed_port(), closed_port());
    for name_servers in [nobody.as_str(), ""] {
        let directory = folder();
        let running = start(&mut broker(&directory, name_servers, ""));
        let mut client = Client::connect(running.address("broker").expect("it listens"));
        client.write_send("Orders", 0, b"x").expect("open");
        assert_eq!(client.read().expect("an answer").code, 0);
        running.stop("INT");
    }
}

#[test]
fn the_environment_names_a_brokers_name_servers() {
    let directory = folder();
    let (process, address) = name_server(0);
    let mut command = broker(&directory, "", "");
    let running = start(command.env("NAMESRV_ADDR", address.to_string()));
    let broker = running.address("broker").expect("it listens");
    assert!(cluster(address).contains(&broker.to_string()));
    running.stop("TERM");
    process.stop("TERM");
}

#[test]
fn a_server_registers_with_its_own_name_server_and_with_others() {
    let directory = folder();
    let config = write_config(directory.path(), 64 << 20, "");
    let (process, address) = name_server(0);
    let mut command = program(&["server", "--broker-port", "0", "--namesrv-port", "0"]);
    command.args(["--log-level", "error", "-n"]).arg(address.to_string()).arg("-c").arg(config);
    let running = start(command.arg("--store").arg(directory.path().join("store")));
    let broker = running.address("broker").expect("it listens").to_string();
    let own = running.address("NameServer").expect("it has one");
    assert!(cluster(own).contains(&broker) && cluster(address).contains(&broker));
    running.stop("TERM");
    process.stop("TERM");
}

#[test]
fn a_name_server_alone_takes_its_port_from_its_file_and_leaves_no_file() {
    let (directory, empty) = (folder(), folder());
    let port = closed_port();
    let text = format!("listenPort = {port}\nbindAddress = 127.0.0.1\nringmqLogLevel = error\n");
    let config = file(&directory, "namesrv.conf", &text);
    let mut command = program(&["namesrv", "-c"]);
    let process = start(command.arg(&config).current_dir(empty.path()).env("HOME", empty.path()));
    let address = process.address("NameServer").expect("it says where it listens");
    assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], port)));
    let reply = Client::connect(address).ask(GET_ROUTE, &[("topic", "Missing")], &[]);
    assert_eq!(reply.code, 17, "{}", reply.remark);

    let (output, said, complained) = output(program(&["namesrv", "-c"]).arg(&config));
    assert_eq!(output.status.code(), Some(1));
    assert!(complained.contains(&format!("listen on {address} for the NameServer")));
    assert!(complained.contains("--namesrv-port"), "{complained}");
    assert_eq!(said, "");

    process.stop("INT");
    assert_eq!(std::fs::read_dir(empty.path()).expect("it is there").count(), 0);
}

#[test]
fn what_is_wrong_refuses_the_start_before_anything_is_touched() {
    let directory = folder();
    let store = directory.path().join("store");
    let text = "brokerNmae = a\nlistenPort = 70000\nbrokerRole = SLAVE\n";
    let config = file(&directory, "broker.conf", text);
    for command in ["broker", "server"] {
        let mut command = program(&[command, "-n", "ns-1", "-c"]);
        let (output, said, complained) = output(command.arg(&config).arg("--store").arg(&store));
        assert_eq!((output.status.code(), said.as_str()), (Some(2), ""));
        let place = config.display();
        let expect = [
            format!("ringmq: {place}:1: brokerNmae is not a key; did you mean brokerName?"),
            format!(
                "ringmq: {place}:2: listenPort = 70000: expected a whole number from 0 to 65535"
            ),
            format!("ringmq: {place}:3: brokerRole = SLAVE: replication is not there yet"),
            "ringmq: -n: namesrvAddr = ns-1: expected at most 16 host:port joined by ;".to_owned(),
        ];
        assert_eq!(complained.lines().count(), expect.len(), "{complained}");
        for (line, expect) in complained.lines().zip(expect) {
            assert!(line.starts_with(&expect), "{line}");
        }
        assert!(!store.exists());
    }
}

#[test]
fn what_is_set_and_what_has_no_effect_is_listed_at_start() {
    let directory = folder();
    let log = directory.path().join("log");
    let mut command = broker(&directory, "", "sendMessageThreadPoolNums = 16\n");
    let stderr = std::fs::File::create(&log).expect("a log file");
    start(command.args(["--log-level", "info"]).stderr(stderr)).stop("TERM");
    let said = std::fs::read_to_string(&log).expect("it is text");
    for expect in [
        "broker.conf:2: sendMessageThreadPoolNums = 16 has no effect: there are no thread pools",
        "brokerName = broker-a (",
        "this broker registers with no NameServer",
    ] {
        assert!(said.contains(expect), "{expect}: {said}");
    }
}

#[test]
fn settings_are_printed_as_javas_and_nothing_is_started() {
    let directory = folder();
    let store = directory.path().join("store");
    let text = "brokerName = broker-a\nfileReservedTime = 48\nbrokerFastFailureEnable = false\n";
    let config = file(&directory, "broker.conf", text);
    let printed = |arguments: &[&str], config: &Path| {
        let mut command = program(arguments);
        let (output, said, complained) = output(command.arg("-c").arg(config));
        assert_eq!((output.status.code(), complained.as_str()), (Some(0), ""));
        said
    };
    let store_text = store.to_str().expect("text");
    let all = printed(&["broker", "-p", "-n", "ns-1:9876", "--store", store_text], &config);
    for line in ["brokerName=broker-a", "fileReservedTime=48", "brokerFastFailureEnable=false"] {
        assert!(all.lines().any(|printed| printed == line), "{line}");
    }
    assert!(all.lines().any(|printed| printed == "namesrvAddr=ns-1:9876"));
    assert!(all.lines().all(|line| line.contains('=')));
    let important = printed(&["broker", "-m"], &config);
    assert!(important.contains("brokerName=broker-a\n") && important.contains("deleteWhen=04\n"));
    assert!(!important.contains("brokerFastFailureEnable"));
    assert!(!store.exists());

    let config = file(&directory, "namesrv.conf", "listenPort = 19876\n");
    assert!(printed(&["namesrv", "-p"], &config).contains("listenPort=19876\n"));
}

#[test]
fn check_config_tells_scripts_by_its_status() {
    let directory = folder();
    let check = |path: &Path, further: &[&str]| {
        let mut command = program(&["check-config"]);
        let (output, said, complained) = output(command.arg(path).args(further));
        (output.status.code(), said, complained)
    };
    let good = file(&directory, "broker.conf", "brokerName = a\nlistenPort = 10911\n");
    let (status, said, _) = check(&good, &["--for", "broker"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.ends_with("\nringmq broker would start with it\n"), "{said}");

    let (status, said, _) = check(&good, &["--for", "namesrv"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("brokerName is no key of ringmq namesrv"), "{said}");

    let names = file(&directory, "namesrv.conf", "listenPort = 9876\n");
    let (status, said, _) = check(&names, &[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("as ringmq namesrv reads it"), "{said}");

    let (status, said, complained) = check(&directory.path().join("missing.conf"), &[]);
    assert_eq!((status, said.as_str()), (Some(2), ""));
    assert!(complained.contains("missing.conf: cannot be read"), "{complained}");
}
