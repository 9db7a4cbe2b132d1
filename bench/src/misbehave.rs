//! `ringmq-bench misbehave`: connections that do what no client should, and what a good client sees
//! meanwhile.
//!
//! Blocking and simple: nothing here is measured but the good client, which has a thread of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::code::request;
use proto::frame::Encoding;
use proto::header::PullHeader;
use proto::limits::FRAME_BYTES_MAX;
use proto::reply::{PullRequest, RequestHead, write_pull_request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::Serialize;

use crate::arguments::{HeaderEncoding, Load, Misbehave, Mischief, Output, Produce, Span, Target};
use crate::clock::{self, SECOND_NS};
use crate::control::Control;
use crate::error::Error;
use crate::latency::{Latency, Summary};
use crate::produce;
use crate::report::write_file;
use crate::route;
use crate::usage;
use crate::wire::resolve;

/// Messages that never-read pulls again and again: together what one pull brings at most.
const FILL_COUNT: u64 = 32;
const FILL_BYTES: u32 = 8000;

/// Pulls that are written at once.
const PULLS_AT_ONCE: usize = 64;

/// How long an attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two looks at all connections, and between two requests of the good client.
const LOOK: Duration = Duration::from_millis(10);
const GOOD_PAUSE: Duration = Duration::from_millis(20);

/// Between two bytes of trickle.
const TRICKLE_NS: u64 = SECOND_NS / 10;

/// Open files beside the connections.
const SPARE_FILES: u64 = 100;

/// What came of it.
#[derive(Debug, Serialize)]
struct Found {
    how: Mischief,
    connections: u32,
    seconds: f64,
    /// Connections made in all, and attempts that failed, by reason.
    connected: u64,
    not_connected: BTreeMap<String, u64>,
    /// Connections that the server ended, by reason.
    closed: BTreeMap<String, u64>,
    open_in_the_end: u64,
    sent_bytes: u64,
    good: Good,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
}

/// What the good client saw: one request at a time on a connection of its own.
#[derive(Debug, Serialize)]
struct Good {
    answered: Summary,
    failed: BTreeMap<String, u64>,
}

/// What the server's process used.
#[derive(Debug, Serialize)]
struct Server {
    cpu_seconds: f64,
    resident_bytes_before: u64,
    resident_bytes_during: u64,
    resident_bytes_peak: u64,
    open_files_before: u64,
    open_files_during: u64,
    /// Two seconds after the last connection was closed by us.
    open_files_after: u64,
    resident_bytes_after: u64,
}

/// Misbehaves, watches, reports.
///
/// # Errors
/// Whatever prevents it; that the server defends itself is none.
pub fn run(arguments: &Misbehave) -> Result<(), Error> {
    allow_files(u64::from(arguments.connections) + SPARE_FILES)?;
    fill(arguments)?;
    let address = resolve(&arguments.broker)?;
    let before = look_at(arguments.server_pid)?;
    let good = GoodClient::start(arguments.broker.clone(), arguments.topic.clone());
    let began_ns = clock::monotonic_ns();
    let mut crowd = Crowd::new(arguments, address);
    let end_ns = began_ns + arguments.duration * SECOND_NS;
    while clock::monotonic_ns() < end_ns {
        crowd.round(end_ns);
    }
    let seconds = (clock::monotonic_ns() - began_ns) as f64 / 1e9;
    let during = look_at(arguments.server_pid)?;
    let good = good.stop();
    let open_in_the_end = crowd.open_count();
    crowd.bad.clear();
    let Crowd { connected, not_connected, closed, sent_bytes, .. } = crowd;
    let after = if before.is_some() {
        std::thread::sleep(Duration::from_secs(2));
        look_at(arguments.server_pid)?
    } else {
        None
    };
    let found = Found {
        how: arguments.how,
        connections: arguments.connections,
        seconds,
        connected,
        not_connected,
        closed,
        open_in_the_end,
        sent_bytes,
        good,
        server: server([before, during, after]),
    };
    print!("{}", found.text());
    let Some(path) = &arguments.json else { return Ok(()) };
    let mut json = serde_json::to_string_pretty(&found).expect("names are text");
    json.push('\n');
    write_file(path, json.as_bytes())
}

/// A process at one moment: what it used, and its open files.
fn look_at(pid: Option<u32>) -> Result<Option<(usage::Usage, u64)>, Error> {
    let Some(pid) = pid else { return Ok(None) };
    let usage = usage::of_process(pid)?;
    let what = "fd";
    let files = fs::read_dir(format!("/proc/{pid}/fd")).map_err(|source| Error::Process {
        what,
        pid,
        source,
    })?;
    Ok(Some((usage, files.count() as u64)))
}

fn server(looks: [Option<(usage::Usage, u64)>; 3]) -> Option<Server> {
    let [Some((before, files_before)), Some((during, files_during)), Some((after, files_after))] =
        looks
    else {
        return None;
    };
    let cpu = |usage: &usage::Usage| usage.user_seconds + usage.system_seconds;
    Some(Server {
        cpu_seconds: cpu(&during) - cpu(&before),
        resident_bytes_before: before.resident_bytes,
        resident_bytes_during: during.resident_bytes,
        resident_bytes_peak: after.resident_peak_bytes,
        open_files_before: files_before,
        open_files_during: files_during,
        open_files_after: files_after,
        resident_bytes_after: after.resident_bytes,
    })
}

/// Raises the limit of open files as far as this process may.
fn allow_files(wanted: u64) -> Result<(), Error> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit)
        .map_err(|error| Error::OpenFiles { wanted, source: error.into() })
}

/// Makes the topic and what a pull of it brings.
fn fill(arguments: &Misbehave) -> Result<(), Error> {
    let target = Target {
        namesrv: None,
        broker: Some(arguments.broker.clone()),
        broker_name: None,
        topic: arguments.topic.clone(),
        topics: 1,
        queues: 1,
        no_create: false,
        auto_create: false,
        encoding: HeaderEncoding::Json,
    };
    let size = FILL_BYTES.to_string().parse().expect("a size in range");
    let produce = Produce {
        load: Load {
            connections: 1,
            in_flight: 8,
            size,
            batch: 1,
            tags: 0,
            keys: false,
            delay_ms: 0,
        },
        rate: None,
        give_up_ms: None,
        processes: 1,
        share: false,
        span: Span { warm_up: 0, duration: 10, count: Some(FILL_COUNT) },
        output: Output {
            json: None,
            hgrm: None,
            report: None,
            server_pid: None,
            server_store: None,
            spin: false,
            quiet: true,
        },
        target,
    };
    let route = route::find(&produce.target)?;
    produce::alone(&produce, &route).map(|_| ())
}

/// All bad connections.
struct Crowd {
    how: Mischief,
    address: SocketAddr,
    /// What each of them sends, over and over or once.
    bytes: Vec<u8>,
    bad: Vec<Bad>,
    connected: u64,
    not_connected: BTreeMap<String, u64>,
    closed: BTreeMap<String, u64>,
    sent_bytes: u64,
}

/// One bad connection.
struct Bad {
    stream: Option<TcpStream>,
    /// Bytes of `bytes` that were sent.
    at: usize,
    next_ns: u64,
}

impl Crowd {
    fn new(arguments: &Misbehave, address: SocketAddr) -> Crowd {
        let bad = (0..arguments.connections).map(|_| Bad { stream: None, at: 0, next_ns: 0 });
        Crowd {
            how: arguments.how,
            address,
            bytes: bytes(arguments),
            bad: bad.collect(),
            connected: 0,
            not_connected: BTreeMap::new(),
            closed: BTreeMap::new(),
            sent_bytes: 0,
        }
    }

    fn open_count(&self) -> u64 {
        self.bad.iter().filter(|bad| bad.stream.is_some()).count() as u64
    }

    /// Lets each connection do its mischief once, then looks who was thrown out.
    fn round(&mut self, end_ns: u64) {
        for index in 0..self.bad.len() {
            if clock::monotonic_ns() >= end_ns {
                return;
            }
            self.connect(index);
            self.send(index);
        }
        self.look();
    }

    /// Only who is thrown out for garbage, or leaves by itself, comes again.
    fn comes_again(&self) -> bool {
        matches!(self.how, Mischief::Garbage | Mischief::Flood)
    }

    fn connect(&mut self, index: usize) {
        let bad = &mut self.bad[index];
        if bad.stream.is_some() || bad.next_ns == u64::MAX {
            return;
        }
        let stream = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT);
        match stream.and_then(|stream| stream.set_nonblocking(true).map(|()| stream)) {
            Ok(stream) => {
                self.connected += 1;
                *bad = Bad { stream: Some(stream), at: 0, next_ns: 0 };
            }
            Err(error) => count(&mut self.not_connected, error.to_string()),
        }
    }

    fn send(&mut self, index: usize) {
        let bad = &mut self.bad[index];
        let Some(stream) = &mut bad.stream else { return };
        let now_ns = clock::monotonic_ns();
        if now_ns < bad.next_ns || self.how == Mischief::Silent {
            return;
        }
        let rest = &self.bytes[bad.at..];
        let piece = if self.how == Mischief::Trickle { &rest[..rest.len().min(1)] } else { rest };
        match stream.write(piece) {
            Ok(sent) => {
                self.sent_bytes += sent as u64;
                bad.at += sent;
            }
            // That it is full is what never-read wants; that it is closed `look` will tell.
            Err(_) => return,
        }
        match self.how {
            Mischief::Trickle => bad.next_ns = now_ns + TRICKLE_NS,
            Mischief::Flood => {
                // A linger of 0 makes it a reset, which leaves nothing behind on our side.
                sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).ok();
                bad.stream = None;
                return;
            }
            _ => {}
        }
        let is_over = bad.at == self.bytes.len();
        if is_over && matches!(self.how, Mischief::HalfOpen | Mischief::Promise) {
            bad.next_ns = u64::MAX - 1;
        } else if is_over {
            bad.at = 0;
        }
    }

    /// Waits a little and takes note of the connections that the server ended.
    fn look(&mut self) {
        let open: Vec<usize> =
            (0..self.bad.len()).filter(|index| self.bad[*index].stream.is_some()).collect();
        let flags = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let streams = open.iter().filter_map(|index| self.bad[*index].stream.as_ref());
        let mut fds: Vec<PollFd<'_>> =
            streams.map(|stream| PollFd::from_borrowed_fd(stream.as_fd(), flags)).collect();
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut fds, Some(&no_wait)).is_err() {
            return;
        }
        let ended: Vec<usize> = fds
            .iter()
            .zip(&open)
            .filter(|(fd, _)| fd.revents().intersects(flags))
            .map(|(_, index)| *index)
            .collect();
        let again = self.comes_again();
        for index in ended {
            let bad = &mut self.bad[index];
            let error = bad.stream.take().and_then(|stream| stream.take_error().ok().flatten());
            let reason = error.map_or("in order".to_owned(), |error| error.to_string());
            count(&mut self.closed, reason);
            bad.next_ns = if again { 0 } else { u64::MAX };
        }
        std::thread::sleep(LOOK);
    }
}

fn count(counts: &mut BTreeMap<String, u64>, reason: String) {
    *counts.entry(reason).or_default() += 1;
}

/// What a connection of this kind sends.
fn bytes(arguments: &Misbehave) -> Vec<u8> {
    let pull = pull(&arguments.topic);
    match arguments.how {
        Mischief::NeverRead => pull.repeat(PULLS_AT_ONCE),
        Mischief::HalfOpen => pull[..pull.len() / 2].to_vec(),
        Mischief::Trickle | Mischief::Flood | Mischief::Silent => pull,
        // No length of a frame begins so: it would be 4 GiB.
        Mischief::Garbage => vec![0xFF; 4096],
        Mischief::Promise => {
            // i32 length of what follows, then the mark of a JSON header of 100 bytes.
            let mut bytes = (FRAME_BYTES_MAX as i32 - 4).to_be_bytes().to_vec();
            bytes.extend_from_slice(&[0, 0, 0, 100]);
            bytes
        }
    }
}

fn pull(topic: &str) -> Vec<u8> {
    let pull = PullRequest {
        consumer_group: "ringmq-bench-misbehave",
        topic,
        queue_id: 0,
        queue_offset: 0,
        message_count_max: 32,
        sys_flag: PullHeader::FLAG_SUBSCRIPTION,
        commit_offset: 0,
        suspend_timeout_ms: 0,
        subscription: Some("*"),
        subscription_version: 0,
        expression_type: Some("TAG"),
        message_bytes_max: None,
        broker_name: None,
    };
    let head = RequestHead { code: request::PULL_MESSAGE, opaque: 1, flag: 0 };
    let mut out = Vec::new();
    write_pull_request(&mut out, Encoding::Json, &head, &pull);
    out
}

/// A client as it should be, on a thread of its own.
struct GoodClient {
    thread: std::thread::JoinHandle<Good>,
    is_over: Arc<AtomicBool>,
}

impl GoodClient {
    fn start(broker: String, topic: String) -> GoodClient {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || be_good(&broker, &topic, &over));
        GoodClient { thread, is_over }
    }

    fn stop(self) -> Good {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn be_good(broker: &str, topic: &str, is_over: &AtomicBool) -> Good {
    let mut latency = Latency::new();
    let mut failed = BTreeMap::new();
    let mut control = None;
    while !is_over.load(Ordering::Relaxed) {
        let began_ns = clock::monotonic_ns();
        match ask(broker, topic, &mut control) {
            Ok(()) => latency.record(clock::monotonic_ns() - began_ns),
            Err(error) => {
                control = None;
                count(&mut failed, error.to_string());
            }
        }
        std::thread::sleep(GOOD_PAUSE);
    }
    latency.end_interval();
    Good { answered: latency.summary(), failed }
}

fn ask(broker: &str, topic: &str, control: &mut Option<Control>) -> Result<(), Error> {
    let control = match control {
        Some(control) => control,
        None => control.insert(Control::connect(broker)?),
    };
    let ext = [("topic", topic), ("queueId", "0")];
    control.offset(request::GET_MAX_OFFSET, &ext).map(|_| ())
}

impl Found {
    fn text(&self) -> String {
        let mut lines = vec![format!(
            "{:?}: {} connections made in {:.1} s, {} open in the end, {:.1} MB sent",
            self.how,
            self.connected,
            self.seconds,
            self.open_in_the_end,
            self.sent_bytes as f64 / 1e6
        )];
        let counts = |counts: &BTreeMap<String, u64>, what: &str| {
            counts.iter().map(|(why, count)| format!("  {count} {what}: {why}")).collect::<Vec<_>>()
        };
        lines.extend(counts(&self.not_connected, "not connected"));
        lines.extend(counts(&self.closed, "closed by the server"));
        let Summary { count, p50_us, p99_us, max_us, .. } = self.good.answered;
        lines.push(format!(
            "good client: {count} requests answered, p50 {p50_us:.0} µs, p99 {p99_us:.0} µs, \
             greatest {max_us:.0} µs"
        ));
        lines.extend(counts(&self.good.failed, "of its requests failed"));
        if let Some(server) = &self.server {
            let mib = |bytes: u64| bytes >> 20;
            lines.push(format!(
                "server: {:.2} CPU s; resident {} MiB before, {} during, {} after, {} at its peak; open \
                 files {} before, {} during, {} after",
                server.cpu_seconds,
                mib(server.resident_bytes_before),
                mib(server.resident_bytes_during),
                mib(server.resident_bytes_after),
                mib(server.resident_bytes_peak),
                server.open_files_before,
                server.open_files_during,
                server.open_files_after
            ));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use proto::frame::{Scan, scan};

    use super::*;

    #[test]
    fn each_kind_is_as_bad_as_it_says() {
        let bytes_of = |how| {
            bytes(&Misbehave {
                broker: String::new(),
                how,
                connections: 1,
                duration: 1,
                topic: "t".to_owned(),
                server_pid: None,
                json: None,
            })
        };
        let is_frame =
            |bytes: &[u8]| matches!(scan(bytes, FRAME_BYTES_MAX), Ok(Scan::Frame { .. }));
        let is_begun =
            |bytes: &[u8]| matches!(scan(bytes, FRAME_BYTES_MAX), Ok(Scan::Incomplete { .. }));
        assert!(is_frame(&bytes_of(Mischief::NeverRead)));
        assert!(is_frame(&bytes_of(Mischief::Flood)));
        assert!(is_begun(&bytes_of(Mischief::HalfOpen)));
        assert!(is_begun(&bytes_of(Mischief::Promise)));
        assert!(scan(&bytes_of(Mischief::Garbage), FRAME_BYTES_MAX).is_err());
    }
}
