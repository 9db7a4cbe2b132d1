//! The real program on free ports in a temporary folder, and a plain client for it.

#![allow(dead_code, reason = "each test uses its part")]

pub mod load;
pub mod tools;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::command::Command as Answer;
use proto::frame::{Encoding, Scan, scan};
use proto::record::{Record, RecordFields};
use proto::reply::{
    PullRequest, RequestHead, SendRequest, write_pull_request, write_request, write_send_request,
};

/// How long anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Writes a `broker.conf` for segments of this many bytes, with these lines more; its path.
///
/// A disk that other programs have nearly filled takes no message away from a test.
pub fn write_config(directory: &Path, segment_bytes: u64, lines: &str) -> String {
    let path = directory.join("broker.conf");
    let text = format!(
        "{lines}\nmappedFileSizeCommitLog = {segment_bytes}\ncleanFileForciblyEnable = false\n"
    );
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("text").to_owned()
}

/// A running program that said that it is ready; killed when it is dropped.
pub struct Process {
    child: Child,
    /// What it said on stdout until then.
    lines: Vec<String>,
}

impl Process {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// It ended before it was ready; with which status.
    pub fn start(command: &mut Command) -> Result<Process, ExitStatus> {
        let command = command.stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = Vec::new();
        for line in stdout.lines() {
            lines.push(line.expect("the program's output is text"));
            if lines.last().is_some_and(|line| line.starts_with("ready")) {
                return Ok(Process { child, lines });
            }
        }
        Err(child.wait().expect("it ends"))
    }

    /// The address in the line that begins with this word.
    pub fn address(&self, word: &str) -> Option<SocketAddr> {
        let words = |line: &str| -> Vec<String> {
            line.split([' ', ',']).filter(|it| !it.is_empty()).map(str::to_owned).collect()
        };
        let line = self.lines.iter().map(|line| words(line)).find(|line| line[0] == word)?;
        line.get(1)?.parse().ok()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Sends a signal; it must end by itself, with success.
    pub fn stop(mut self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(status.expect("kill runs").success());
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                assert!(status.success(), "a clean stop ends with success, not {status}");
                return;
            }
            assert!(Instant::now() < until, "the program does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A running `ringmq server`; killed when it is dropped.
pub struct Server {
    process: Process,
    /// Where the broker listens.
    pub broker: SocketAddr,
    /// Where the NameServer listens.
    pub name_server: SocketAddr,
}

impl Server {
    /// Starts it and waits until it says that it is ready.
    pub fn start(store: &Path, flags: &[&str]) -> Server {
        Server::spawn(ringmq(), store, flags, Stdio::inherit())
            .unwrap_or_else(|status| panic!("the program ended before it was ready: {status}"))
    }

    /// As [`Server::start`], with what it says on stderr appended to a file.
    ///
    /// # Errors
    /// It ended before it was ready; with which status.
    pub fn start_logged(store: &Path, flags: &[&str], log: &Path) -> Result<Server, ExitStatus> {
        let log = File::options().create(true).append(true).open(log).expect("a log file");
        Server::spawn(ringmq(), store, flags, log.into())
    }

    /// Starts a program that takes the arguments of `ringmq`, and waits until it is ready.
    ///
    /// # Errors
    /// It ended before it was ready; with which status.
    pub fn spawn(
        mut program: Command,
        store: &Path,
        flags: &[&str],
        log: Stdio,
    ) -> Result<Server, ExitStatus> {
        program
            .arg("server")
            .args(["--broker-port", "0", "--namesrv-port", "0", "--store"])
            .arg(store)
            .args(flags)
            .stderr(log);
        let process = Process::start(&mut program)?;
        let broker = process.address("broker");
        let broker = broker.expect("the program says where the broker listens before it is ready");
        let name_server = process.address("NameServer");
        let name_server = name_server.expect("the program says where the NameServer listens");
        Ok(Server { process, broker, name_server })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// kill -9.
    pub fn kill(self) {
        self.process.kill();
    }

    /// SIGTERM; it must end by itself, with success.
    pub fn stop(self) {
        self.process.stop("TERM");
    }
}

/// The program under test. Only tests of the package that it belongs to know where it is.
pub fn ringmq() -> Command {
    match option_env!("CARGO_BIN_EXE_ringmq") {
        Some(path) => Command::new(path),
        None => panic!("another package's tests name their program: Server::spawn"),
    }
}

/// One connection that asks and waits, or writes and reads apart.
pub struct Client {
    stream: TcpStream,
    /// Bytes from the broker; those before `taken` were given out.
    received: Vec<u8>,
    taken: usize,
    /// Sends that were queued and not written yet.
    unsent: Vec<u8>,
    opaque: i32,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its request's number.
    pub opaque: i32,
    /// Response code.
    pub code: i32,
    /// What it says.
    pub remark: String,
    /// Its fields.
    pub ext: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A field.
    pub fn field(&self, key: &str) -> Option<&str> {
        self.ext.iter().find(|(name, _)| name == key).map(|(_, value)| &**value)
    }

    /// A field that is a number.
    pub fn number(&self, key: &str) -> i64 {
        self.field(key)
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{key} in {self:?}"))
    }
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("an option can be set");
        Client { stream, received: Vec::new(), taken: 0, unsent: Vec::new(), opaque: 0 }
    }

    /// Writes a request; its number.
    pub fn write(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> i32 {
        self.opaque += 1;
        let mut frame = Vec::new();
        let head = RequestHead { code, opaque: self.opaque, flag: 0 };
        write_request(&mut frame, Encoding::Json, &head, Some(ext), body);
        self.stream.write_all(&frame).expect("the connection is open");
        self.opaque
    }

    /// Writes bytes as they are.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection is open");
    }

    /// Writes a request whose header is these bytes, whatever they are.
    pub fn write_header(&mut self, json: &[u8]) {
        let length = u32::try_from(json.len()).expect("small");
        self.write_raw(&[&(4 + length).to_be_bytes()[..], &length.to_be_bytes(), json].concat());
    }

    /// Asks and waits for the answer. What the broker asks of its own meanwhile is dropped.
    pub fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Reply {
        let opaque = self.write(code, ext, body);
        loop {
            let reply = self.read().expect("an answer");
            if reply.opaque == opaque {
                return reply;
            }
        }
    }

    /// Tells the broker that a client with these consumer groups is alive.
    pub fn heartbeat(&mut self, client: &str, groups: &[&str], topic: &str) -> Reply {
        let consumers: Vec<_> = groups
            .iter()
            .map(|group| {
                format!(
                    r#"{{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"{group}","messageModel":"CLUSTERING","subscriptionDataSet":[{{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":"{topic}"}}],"unitMode":false}}"#
                )
            })
            .collect();
        let body = format!(
            r#"{{"clientID":"{client}","consumerDataSet":[{}],"producerDataSet":[]}}"#,
            consumers.join(",")
        );
        self.ask(34, &[], body.as_bytes())
    }

    /// Commits an offset and waits for the answer.
    pub fn commit(&mut self, group: &str, topic: &str, queue: i32, offset: i64) {
        let (queue, offset) = (queue.to_string(), offset.to_string());
        let ext = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", &*queue),
            ("commitOffset", &*offset),
        ];
        let reply = self.ask(15, &ext, &[]);
        assert_eq!(reply.code, 0, "{}", reply.remark);
    }

    /// Makes a topic, or changes it.
    pub fn create_topic(&mut self, topic: &str, queues: i32) {
        let queues = queues.to_string();
        let ext = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &*queues),
            ("writeQueueNums", &*queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        let reply = self.ask(17, &ext, &[]);
        assert_eq!(reply.code, 0, "{}", reply.remark);
    }

    /// Writes a send of one message; its number.
    pub fn write_send(&mut self, topic: &str, queue: i32, body: &[u8]) -> std::io::Result<i32> {
        let opaque = self.queue_send(topic, queue, body);
        self.write_queued()?;
        Ok(opaque)
    }

    /// Makes a send of one message that [`Client::write_queued`] writes; its number.
    pub fn queue_send(&mut self, topic: &str, queue: i32, body: &[u8]) -> i32 {
        self.opaque += 1;
        let properties = format!("UNIQ_KEY\u{1}{:032X}\u{2}", self.opaque);
        let request = SendRequest {
            producer_group: "test",
            topic,
            default_topic: "TBW102",
            default_topic_queue_count: 4,
            queue_id: queue,
            sys_flag: 0,
            born_timestamp: now_ms(),
            flag: 0,
            properties: properties.as_bytes(),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: None,
        };
        let head = RequestHead { code: 310, opaque: self.opaque, flag: 0 };
        write_send_request(&mut self.unsent, Encoding::Json, &head, &request, body.len());
        self.unsent.extend_from_slice(body);
        self.opaque
    }

    /// Writes the sends that were queued, in one piece.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn write_queued(&mut self) -> std::io::Result<()> {
        let written = self.stream.write_all(&self.unsent);
        self.unsent.clear();
        written
    }

    /// Pulls without waiting for messages.
    pub fn pull(&mut self, topic: &str, queue: i32, from: i64) -> Reply {
        self.pull_as("test", topic, queue, from)
    }

    /// As [`Client::pull`], for a consumer group, which is created if it does not exist.
    pub fn pull_as(&mut self, group: &str, topic: &str, queue: i32, from: i64) -> Reply {
        self.opaque += 1;
        let request = PullRequest {
            consumer_group: group,
            topic,
            queue_id: queue,
            queue_offset: from,
            message_count_max: 32,
            sys_flag: 4,
            commit_offset: 0,
            suspend_timeout_ms: 0,
            subscription: Some("*"),
            subscription_version: 0,
            expression_type: Some("TAG"),
            message_bytes_max: None,
            broker_name: None,
        };
        let mut frame = Vec::new();
        let head = RequestHead { code: 11, opaque: self.opaque, flag: 0 };
        write_pull_request(&mut frame, Encoding::Json, &head, &request);
        self.stream.write_all(&frame).expect("the connection is open");
        self.read().expect("an answer")
    }

    /// The next answer; `None`: the other end closed the connection.
    pub fn read(&mut self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.next_received() {
                return Some(reply);
            }
            self.received.drain(..std::mem::take(&mut self.taken));
            let mut bytes = [0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer within {DEADLINE:?}: {error}"),
            }
        }
    }

    /// The next answer that has arrived already, if there is one.
    pub fn next_received(&mut self) -> Option<Reply> {
        let bytes = &self.received[self.taken..];
        let Scan::Frame { frame, size_bytes } = scan(bytes, 16 << 20).expect("frames") else {
            return None;
        };
        let answer = Answer::decode(&frame).expect("a header");
        let text = |text: &proto::text::Text<'_>| text.to_cow().into_owned();
        let reply = Reply {
            opaque: answer.opaque,
            code: answer.code,
            remark: answer.remark.map(|remark| text(&remark)).unwrap_or_default(),
            ext: answer.ext.iter().map(|(key, value)| (text(&key), text(&value))).collect(),
            body: frame.body.to_vec(),
        };
        self.taken += size_bytes;
        Some(reply)
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("small")
}

/// The records of a pull's answer, whose checksums are right.
pub fn decoded(mut bytes: &[u8]) -> Vec<RecordFields<'_>> {
    let mut decoded = Vec::new();
    while !bytes.is_empty() {
        let (record, size) = Record::decode(bytes).expect("whole records");
        let fields = *record.fields();
        assert!(record.is_body_intact(), "a broken body was served at {}", fields.queue_offset);
        decoded.push(fields);
        bytes = &bytes[size..];
    }
    decoded
}

/// The same: queue offset and body of each.
pub fn records(bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
    decoded(bytes).iter().map(|fields| (fields.queue_offset, fields.body.to_vec())).collect()
}
