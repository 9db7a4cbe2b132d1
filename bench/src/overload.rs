//! `ringmq-bench overload`: more than a server can take, and whether it keeps what it promised.
//!
//! The schedule does not wait for the server. What no connection has room for is given up soon, so that
//! what is measured is the server's line and not ours; connections that end are made again, and
//! counted by reason.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::Verdict;
use crate::arguments::{Command, Overload, Produce, Span};
use crate::checker::{Checker, Findings};
use crate::clock::{self, SECOND_NS};
use crate::consume;
use crate::consumer::{Consumer, ConsumerSettings, Shown};
use crate::e2e;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::measure::{Cost, Progress};
use crate::produce::{self, Loop, Sent};
use crate::producer::{Memory, Pace, Producer, ProducerSettings};
use crate::report::{CheckResults, OverloadResults, Report};
use crate::route::{self, Route};
use crate::schedule::Schedule;
use crate::tally::SendTally;
use crate::window::Window;
use crate::wire::{Endings, LinkIndex, Wire};

/// Seconds of load before the peak is measured.
const PEAK_WARM_UP_SECONDS: u64 = 2;

/// How often connections that are being made are looked after.
const LOOK_NS: u64 = SECOND_NS / 100;

/// Between an attempt to connect that failed and the next.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// How long an attempt may take.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Nothing new for so long while messages are to come: they do not.
const QUIET_NS: u64 = 30 * SECOND_NS;

/// How long the server may hold a pull while it is looked whether all is there.
const SUSPEND_MS: i64 = 1000;

/// Connections that look.
const PULL_CONNECTIONS: usize = 4;

/// Measures the peak, sends a multiple of it, checks, reports.
///
/// # Errors
/// Whatever prevents a result; messages that are missing are none.
pub fn run(arguments: &Overload) -> Result<Verdict, Error> {
    produce::check_bounds(&arguments.target, &arguments.load)?;
    let route = route::find(&arguments.target)?;
    let peak_per_second = match arguments.peak {
        Some(peak) => peak as f64,
        None => peak(arguments, &route)?,
    };
    let rate = (peak_per_second * arguments.multiple).round().max(1.0) as u64;
    note(arguments, &format!("{rate} messages/s for {} s", arguments.duration));
    // What the peak left behind is not looked at.
    let starts = e2e::ends_of_queues(&route, &arguments.target.topic_names())?;
    let run = produce::run_number();
    let (sent, ledgers) = send(arguments, &route, rate, run)?;
    produce::give_up_if_all_is_refused(&sent.tally, &route)?;
    let in_time_ns = arguments.timeout_ms * 1_000_000;
    let in_time = sent.tally.corrected.total().count_between(0, in_time_ns);
    let results = OverloadResults {
        peak_per_second,
        offered_per_second: rate as f64,
        in_time,
        goodput_per_second: in_time as f64 / sent.window.seconds(),
    };
    let mut found = produce::found(sent, Loop::Open, produce::idle(&arguments.output));
    found.results.overload = Some(results);
    let mut verdict = Verdict::AsSent;
    if !arguments.no_verify {
        let count: u64 = ledgers.iter().map(Ledger::acknowledged_count).sum();
        note(arguments, &format!("looking whether each of {count} acknowledged messages is there"));
        let findings = verify(arguments, &route, run, &starts, ledgers)?;
        verdict = consume::verdict(&findings);
        found.results.check = Some(CheckResults::from(&findings));
    }
    let settings = Command::Overload(arguments.clone());
    Report::new(&settings, &arguments.output, found).publish(&arguments.output)?;
    Ok(verdict)
}

fn note(arguments: &Overload, text: &str) {
    if !arguments.output.quiet {
        eprintln!("overload: {text}");
    }
}

/// What the server takes from as many connections in a closed loop, in messages a second.
fn peak(arguments: &Overload, route: &Route) -> Result<f64, Error> {
    let seconds = arguments.peak_seconds;
    note(arguments, &format!("measuring the peak for {seconds} s"));
    let mut output = arguments.output.clone();
    (output.json, output.hgrm, output.report) = (None, None, None);
    let closed = Produce {
        target: arguments.target.clone(),
        load: arguments.load.clone(),
        rate: None,
        give_up_ms: None,
        processes: 1,
        share: false,
        span: Span { warm_up: PEAK_WARM_UP_SECONDS, duration: seconds, count: None },
        output,
    };
    let sent = produce::alone(&closed, route)?;
    Ok(sent.tally.acked as f64 / sent.window.seconds())
}

fn send(
    arguments: &Overload,
    route: &Route,
    rate: u64,
    run: u32,
) -> Result<(Sent, Vec<Ledger>), Error> {
    let mut wire = Wire::new(produce::idle(&arguments.output))?;
    for _ in 0..arguments.load.connections {
        wire.connect(route.address)?;
    }
    wire.set_endings(Endings::Note);
    let reconnector = Reconnector::start(route.address, arguments.load.connections as usize);
    let topics = arguments.target.topic_names();
    let began_ns = clock::monotonic_ns();
    let window = Window { start_ns: began_ns, end_ns: began_ns + arguments.duration * SECOND_NS };
    let ledgers = (0..topics.count()).map(|_| Ledger::default()).collect();
    let producer = Producer::new(ProducerSettings {
        fixed: produce::fixed(&arguments.target, &arguments.load, &topics, route, run),
        sizes: &arguments.load.size,
        connections: arguments.load.connections,
        in_flight: arguments.load.in_flight,
        pace: Pace::Open {
            schedule: Schedule::new(began_ns, rate),
            give_up_ns: Some(arguments.wait_ms * 1_000_000),
        },
        began_ns,
        window,
        count: u64::MAX,
        memory: Memory::Acknowledged(ledgers),
        process: 0,
        first_lane: 0,
        first_link: 0,
        address: route.address,
    });
    let mut sender = Sender { wire, producer, reconnector };
    let cost = Cost::begin(arguments.output.server_pid)?;
    let mut progress = Progress::new(began_ns, arguments.output.quiet);
    sender.send_until(window.end_ns, &mut progress)?;
    let (client, server) = cost.end(sender.producer.tally.acked)?;
    sender.producer.give_up_rest();
    sender.drain()?;
    progress.end();
    let Sender { mut producer, .. } = sender;
    producer.end_interval(clock::monotonic_ns());
    let Memory::Acknowledged(ledgers) = producer.take_memory() else {
        unreachable!("it was told to remember what was acknowledged")
    };
    let (unanswered, frame_bytes) = (producer.in_flight(), producer.frame_bytes());
    let tally = std::mem::replace(&mut producer.tally, SendTally::new(began_ns, window));
    let sent = Sent { tally, unanswered, frame_bytes, client, server, began_ns, window };
    Ok((sent, ledgers))
}

/// A producer whose connections come back.
struct Sender {
    wire: Wire,
    producer: Producer,
    reconnector: Reconnector,
}

impl Sender {
    fn send_until(&mut self, end_ns: u64, progress: &mut Progress) -> Result<(), Error> {
        loop {
            let now_ns = clock::monotonic_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            self.producer.pump(&mut self.wire, now_ns)?;
            if progress.is_due(now_ns) {
                let p99_ns = self.producer.end_interval(now_ns);
                let tally = &self.producer.tally;
                let (count, errors) = (tally.acked_in_all, tally.error_count());
                progress.write(now_ns, "overload", count, p99_ns, errors);
            }
            let due_ns = self.producer.next_due_ns();
            self.turn(progress.next_ns().min(end_ns).min(due_ns), now_ns)?;
        }
    }

    /// Waits for the answers to what is in flight.
    fn drain(&mut self) -> Result<(), Error> {
        let deadline_ns = clock::monotonic_ns() + produce::DRAIN_NS;
        while self.producer.in_flight() > 0 && clock::monotonic_ns() < deadline_ns {
            self.turn(deadline_ns, clock::monotonic_ns())?;
        }
        Ok(())
    }

    fn turn(&mut self, until_ns: u64, now_ns: u64) -> Result<(), Error> {
        let Sender { wire, producer, reconnector } = self;
        let look_ns = if reconnector.is_busy() { now_ns + LOOK_NS } else { u64::MAX };
        wire.turn(until_ns.min(look_ns), |link, frame, now_ns| {
            producer.answer(link, frame, now_ns)
        })?;
        for (link, reason) in wire.take_ended() {
            producer.closed(link, &reason);
            reconnector.want(link);
        }
        while let Some((link, made)) = reconnector.take() {
            match made {
                Ok(socket) => {
                    wire.reopen(link, socket);
                    producer.reopened(link);
                }
                Err(reason) => {
                    count(&mut producer.tally.closed, format!("not made again: {reason}"));
                    reconnector.want(link);
                }
            }
        }
        Ok(())
    }
}

fn count(counts: &mut BTreeMap<String, u64>, reason: String) {
    *counts.entry(reason).or_default() += 1;
}

/// A thread that connects, since connecting may wait.
struct Reconnector {
    wanted: SyncSender<LinkIndex>,
    made: Receiver<(LinkIndex, Result<TcpStream, String>)>,
    /// Links that are out.
    out: usize,
}

impl Reconnector {
    fn start(address: SocketAddr, link_count: usize) -> Reconnector {
        // A link is in one of them at most.
        let (wanted, wanted_here) = sync_channel::<LinkIndex>(link_count);
        let (made_here, made) = sync_channel(link_count);
        // It ends with the channel, when the run does.
        std::thread::spawn(move || {
            for link in wanted_here {
                let socket = TcpStream::connect_timeout(&address, RECONNECT_TIMEOUT);
                if socket.is_err() {
                    std::thread::sleep(RECONNECT_PAUSE);
                }
                let socket = socket.map_err(|error| error.to_string());
                if made_here.send((link, socket)).is_err() {
                    return;
                }
            }
        });
        Reconnector { wanted, made, out: 0 }
    }

    fn want(&mut self, link: LinkIndex) {
        match self.wanted.try_send(link) {
            Ok(()) => self.out += 1,
            Err(TrySendError::Full(_)) => unreachable!("there is room for every link"),
            Err(TrySendError::Disconnected(_)) => unreachable!("the thread lives as long as we"),
        }
    }

    fn is_busy(&self) -> bool {
        self.out > 0
    }

    fn take(&mut self) -> Option<(LinkIndex, Result<TcpStream, String>)> {
        let made = self.made.try_recv().ok()?;
        self.out -= 1;
        Some(made)
    }
}

/// Pulls all that came since `starts` and compares it with what was acknowledged.
fn verify(
    arguments: &Overload,
    route: &Route,
    run: u32,
    starts: &[i64],
    ledgers: Vec<Ledger>,
) -> Result<Findings, Error> {
    let topics = arguments.target.topic_names();
    let ends = e2e::ends_of_queues(route, &topics)?;
    let of_topics = topics.each().zip(starts.chunks(route.queue_count as usize)).zip(ledgers);
    let checkers = of_topics
        .map(|((topic, starts), ledger)| Checker::of_ledger(&topic, ledger, run, starts.to_vec()))
        .collect();
    let mut wire = Wire::new(produce::idle(&arguments.output))?;
    for _ in 0..PULL_CONNECTIONS {
        wire.connect(route.address)?;
    }
    let began_ns = clock::monotonic_ns();
    let settings = ConsumerSettings {
        encoding: arguments.target.encoding.into(),
        topics,
        queue_count: route.queue_count,
        group: "ringmq-bench-verifier".to_owned(),
        broker_name: route.broker_name.clone(),
        pull_count_max: 32,
        suspend_ms: SUSPEND_MS,
        commits: false,
        window: Window { start_ns: u64::MAX, end_ns: u64::MAX },
        first_link: 0,
        link_count: PULL_CONNECTIONS,
        address: route.address,
    };
    let mut consumer = Consumer::new(settings, starts, checkers, began_ns);
    let mut progress = Progress::new(began_ns, arguments.output.quiet);
    loop {
        let now_ns = clock::monotonic_ns();
        let is_behind = consumer.next_offsets().zip(&ends).any(|(next, end)| next < *end);
        if !is_behind || now_ns >= consumer.tally.last_message_ns + QUIET_NS {
            break;
        }
        consumer.pump(&mut wire, now_ns)?;
        if progress.is_due(now_ns) {
            let p99_ns = consumer.end_interval(now_ns, Shown::Pull);
            let errors = consumer.tally.refusals.total() + consumer.difference_count();
            progress.write(now_ns, "verify", consumer.tally.messages, p99_ns, errors);
            consume::give_up_if_all_is_refused(&consumer.tally, route)?;
        }
        let until_ns = progress.next_ns().min(consumer.next_due_ns());
        wire.turn(until_ns, |_, frame, now_ns| consumer.answer(frame, now_ns))?;
    }
    progress.end();
    let mut findings = Findings::default();
    consumer.checkers.into_iter().for_each(|checker| findings.merge(checker.finish()));
    Ok(findings)
}
