//! A run in several processes: the first starts copies of itself, each sends its share, and what they
//! found is added up.
//! Owns: the other processes and their pipes.
//! Kind: shell
//! Invariants:
//!   all processes begin at one moment of the machine's monotonic clock
//!   the shares' connections, rates and counts add up to those of the run
//!
//! ```text
//! first process                       another one: the same arguments and --share
//!   its share, a line of JSON  ──►    connects
//!                              ◄──    "ready"
//!   when to begin, in ns       ──►    sends, waits for its answers
//!                              ◄──    what it found, a line of JSON
//! ```

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arguments::Produce;
use crate::clock::{self, SECOND_NS};
use crate::error::Error;
use crate::measure::{ClientCost, Cost};
use crate::produce::{self, Sent};
use crate::route::Route;
use crate::tally::SendTally;

/// Between the order to begin and the beginning: more than any of them needs to be there.
const LEAD_NS: u64 = SECOND_NS / 5;

/// How often the first process looks whether the others are alive.
const LOOK: Duration = Duration::from_millis(50);

/// What one process does of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Share {
    pub index: u32,
    pub route: Route,
    /// Tells the messages of two runs apart.
    pub run: u32,
    pub connections: u32,
    /// Number of its first connection in the run.
    pub first_lane: u32,
    /// Messages a second, the first one `offset_ns` after the beginning.
    pub rate: Option<u64>,
    pub offset_ns: u64,
    /// Messages to send.
    pub count: Option<u64>,
}

/// What a process found.
#[derive(Serialize, Deserialize)]
struct Part {
    tally: SendTally,
    unanswered: u64,
    frame_bytes: usize,
    client: ClientCost,
}

impl Share {
    /// All of it.
    pub fn whole(arguments: &Produce, route: &Route) -> Share {
        Share {
            index: 0,
            route: route.clone(),
            run: produce::run_number(),
            connections: arguments.load.connections,
            first_lane: 0,
            rate: arguments.rate,
            offset_ns: 0,
            count: arguments.span.count,
        }
    }

    /// Cuts it into as equal shares as can be.
    fn cut(&self, processes: u32) -> Vec<Share> {
        let part = |amount: u64, index: u32| {
            amount / u64::from(processes)
                + u64::from(u64::from(index) < amount % u64::from(processes))
        };
        let mut first_lane = 0;
        let share = |index: u32| {
            let connections = part(u64::from(self.connections), index) as u32;
            let share = Share {
                index,
                connections,
                first_lane,
                rate: self.rate.map(|rate| part(rate, index)),
                // The processes' messages interleave instead of coming all at once.
                offset_ns: self.rate.map_or(0, |rate| u64::from(index) * SECOND_NS / rate),
                count: self.count.map(|count| part(count, index)),
                ..self.clone()
            };
            first_lane += connections;
            share
        };
        (0..processes).map(share).collect()
    }
}

/// Whether each process would have something to do.
///
/// # Errors
/// [`Error::TooManyProcesses`]
pub fn check(arguments: &Produce) -> Result<(), Error> {
    let processes = arguments.processes;
    let shared = [
        (Some(u64::from(arguments.load.connections)), "connections"),
        (arguments.rate, "messages a second"),
        (arguments.span.count, "messages"),
    ];
    for (amount, what) in shared {
        if let Some(amount) = amount.filter(|amount| *amount < u64::from(processes)) {
            return Err(Error::TooManyProcesses { processes, amount, what });
        }
    }
    Ok(())
}

/// Runs all shares, each in a process of its own.
///
/// # Errors
/// Whatever prevents a result in one of them; the others are ended then.
pub fn run(arguments: &Produce, route: &Route) -> Result<Sent, Error> {
    let shares = Share::whole(arguments, route).cut(arguments.processes);
    let mut workers = shares.iter().map(Worker::start).collect::<Result<Vec<_>, _>>()?;
    for worker in &mut workers {
        worker.expect_ready()?;
    }
    let began_ns = clock::monotonic_ns() + LEAD_NS;
    for worker in &mut workers {
        worker.tell(&began_ns.to_string())?;
    }
    let mut window = produce::window(&arguments.span, began_ns);
    sleep_until(window.start_ns, &mut workers)?;
    let cost = Cost::begin(arguments.output.server_pid)?;
    let at_end = if arguments.span.count.is_none() {
        sleep_until(window.end_ns, &mut workers)?;
        Some(cost.end(0)?)
    } else {
        None
    };
    let parts = workers.iter_mut().map(Worker::part).collect::<Result<Vec<_>, _>>()?;
    let (_, server) = at_end.map_or_else(|| cost.end(0), Ok)?;
    let mut sent = add_up(parts, began_ns, window);
    if arguments.span.count.is_some() {
        window.end_ns = sent.tally.last_ack_ns.max(window.start_ns + 1);
    }
    (sent.window, sent.server) = (window, server.map(|server| server.per(sent.tally.acked)));
    Ok(sent)
}

fn add_up(parts: Vec<Part>, began_ns: u64, window: crate::window::Window) -> Sent {
    let mut parts = parts.into_iter();
    let Part { mut tally, mut unanswered, mut frame_bytes, mut client } =
        parts.next().expect("there is a process");
    for part in parts {
        tally.merge(part.tally);
        unanswered += part.unanswered;
        frame_bytes = frame_bytes.max(part.frame_bytes);
        client.merge(part.client, tally.acked);
    }
    Sent { tally, unanswered, frame_bytes, client, server: None, began_ns, window }
}

fn sleep_until(ns: u64, workers: &mut [Worker]) -> Result<(), Error> {
    while clock::monotonic_ns() < ns {
        workers.iter_mut().try_for_each(Worker::check_alive)?;
        let left = Duration::from_nanos(ns.saturating_sub(clock::monotonic_ns()));
        std::thread::sleep(left.min(LOOK));
    }
    Ok(())
}

/// Does the share that comes on stdin.
///
/// # Errors
/// Whatever prevents a result.
pub fn serve(arguments: &Produce) -> Result<(), Error> {
    let mut lines = std::io::stdin().lock().lines();
    let broken = |index: u32, reason: &str| Error::Share { index, reason: reason.to_owned() };
    let mut read = |index: u32| match lines.next() {
        Some(Ok(line)) => Ok(line),
        Some(Err(error)) => Err(broken(index, &error.to_string())),
        None => Err(broken(index, "the first process is gone")),
    };
    let share = read(0)?;
    let share: Share =
        serde_json::from_str(&share).map_err(|error| broken(0, &error.to_string()))?;
    let mut arguments = arguments.clone();
    (arguments.output.quiet, arguments.output.server_pid) = (true, None);
    let mut wire = produce::connect(&arguments, &share)?;
    println!("ready");
    let begin = read(share.index)?;
    let began_ns: u64 =
        begin.parse().map_err(|_| broken(share.index, "no time to begin at was given"))?;
    let mut producer = produce::producer(&arguments, &share, began_ns);
    let early = Duration::from_nanos(began_ns.saturating_sub(clock::monotonic_ns()));
    std::thread::sleep(early);
    let sent = produce::measure(&arguments, &share, &mut wire, &mut producer, began_ns)?;
    let Sent { tally, unanswered, frame_bytes, client, .. } = sent;
    let part = Part { tally, unanswered, frame_bytes, client };
    println!("{}", serde_json::to_string(&part).expect("a part has text keys only"));
    Ok(())
}

/// Another process of the run; it ends with this value.
struct Worker {
    index: u32,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(share: &Share) -> Result<Worker, Error> {
        let index = share.index;
        let failed = |error: std::io::Error| Error::Share { index, reason: error.to_string() };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(std::env::args_os().skip(1)).arg("--share");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let input = child.stdin.take().expect("stdin was asked for");
        let output = BufReader::new(child.stdout.take().expect("stdout was asked for"));
        let mut worker = Worker { index, child, input, output };
        worker.tell(&serde_json::to_string(share).expect("a share has text keys only"))?;
        Ok(worker)
    }

    fn tell(&mut self, line: &str) -> Result<(), Error> {
        writeln!(self.input, "{line}").and_then(|()| self.input.flush()).map_err(|_| self.ended())
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(1..) => Ok(line),
            Ok(0) | Err(_) => Err(self.ended()),
        }
    }

    fn expect_ready(&mut self) -> Result<(), Error> {
        self.line().map(|_| ())
    }

    fn part(&mut self) -> Result<Part, Error> {
        let line = self.line()?;
        serde_json::from_str(&line)
            .map_err(|error| Error::Share { index: self.index, reason: error.to_string() })
    }

    fn check_alive(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            // One that was successful is done: a count may be reached early.
            Ok(Some(status)) if !status.success() => Err(self.ended()),
            _ => Ok(()),
        }
    }

    /// It said why on stderr, which is ours too.
    fn ended(&mut self) -> Error {
        let reason = match self.child.wait() {
            Ok(status) => format!("it ended with {status}; its own message is above"),
            Err(error) => error.to_string(),
        };
        Error::Share { index: self.index, reason }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Gone already if all went well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(connections: u32, rate: Option<u64>, count: Option<u64>) -> Share {
        let address: std::net::SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let route =
            Route { address, address_text: address.to_string(), broker_name: None, queue_count: 1 };
        let (index, run, first_lane, offset_ns) = (0, 7, 0, 0);
        Share { index, route, run, connections, first_lane, rate, offset_ns, count }
    }

    proptest! {
        #[test]
        fn shares_add_up_and_do_not_overlap(
            processes in 1u32..64,
            connections in 64u32..4096,
            rate in 64u64..10_000_000,
            count in 64u64..1_000_000,
        ) {
            let shares = whole(connections, Some(rate), Some(count)).cut(processes);
            prop_assert_eq!(shares.iter().map(|it| it.connections).sum::<u32>(), connections);
            prop_assert_eq!(shares.iter().filter_map(|it| it.rate).sum::<u64>(), rate);
            prop_assert_eq!(shares.iter().filter_map(|it| it.count).sum::<u64>(), count);
            let mut lane = 0;
            for share in &shares {
                prop_assert_eq!(share.first_lane, lane);
                prop_assert!(share.connections > 0 && share.offset_ns < SECOND_NS);
                lane += share.connections;
            }
        }
    }
}
