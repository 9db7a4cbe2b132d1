//! `ringmq-bench consume`: the loop of a run that pulls, and checks what it gets.

use proto::code::request;

use crate::Verdict;
use crate::arguments::{Begin, Command, Consume, Pull, Target};
use crate::checker::{Checker, Findings, First, Order};
use crate::clock::{self, SECOND_NS};
use crate::consumer::{Consumer, ConsumerSettings, PullTally, Shown};
use crate::control::Control;
use crate::error::Error;
use crate::measure::{ClientCost, Cost, Progress, ServerCost};
use crate::produce::idle;
use crate::report::{
    CheckResults, Distribution, Found, Latencies, ReceiveResults, Report, Results,
};
use crate::route::{self, Route};
use crate::window::Window;
use crate::wire::Wire;

/// How long the server may hold a pull: short, as the end is near when there is nothing to send.
const SUSPEND_MS: i64 = 1000;

/// How long nothing must come for the CPU time so far to be that of the messages: what is used later,
/// while waiting for more, is not theirs.
const PAUSE_NS: u64 = SECOND_NS / 20;

/// Pulls, checks, reports.
///
/// # Errors
/// Whatever prevents a result; differences are none.
pub fn run(arguments: &Consume) -> Result<Verdict, Error> {
    // A topic that is not there must not be made by looking for it.
    let route = route::find(&Target { no_create: true, ..arguments.target.clone() })?;
    let offsets = offsets(arguments, &route)?;
    let order = order(&arguments.pull);
    let topics = arguments.target.topic_names();
    let of_topics = topics.each().zip(offsets.chunks(route.queue_count as usize));
    let checkers = of_topics.map(|(topic, offsets)| {
        let is_whole = offsets.iter().all(|offset| *offset == 0);
        let first = if is_whole { First::Zero } else { First::Any };
        Checker::new(&topic, first, order, None, offsets.to_vec())
    });
    let checkers = checkers.collect();
    let mut wire = Wire::new(idle(&arguments.output))?;
    for _ in 0..arguments.pull.pull_connections {
        wire.connect(route.address)?;
    }
    let began_ns = clock::monotonic_ns();
    let settings = ConsumerSettings {
        encoding: arguments.target.encoding.into(),
        topics,
        queue_count: route.queue_count,
        group: arguments.pull.group.clone(),
        broker_name: route.broker_name.clone(),
        pull_count_max: arguments.pull.pull_count as i32,
        suspend_ms: SUSPEND_MS,
        commits: arguments.commit,
        // Send times of another run: there is no latency to learn from them.
        window: Window { start_ns: u64::MAX, end_ns: u64::MAX },
        first_link: 0,
        link_count: arguments.pull.pull_connections as usize,
        address: route.address,
    };
    let mut consumer = Consumer::new(settings, &offsets, checkers, began_ns);
    let (client, server) = pull_all(arguments, &route, &mut wire, &mut consumer)?;
    if arguments.commit {
        commit(arguments, &route, &consumer)?;
    }
    consumer.end_interval(clock::monotonic_ns(), Shown::Pull);
    let Consumer { checkers, tally, .. } = consumer;
    let findings = findings(checkers, arguments.count, tally.messages);
    let window = Window { start_ns: began_ns, end_ns: tally.last_message_ns.max(began_ns + 1) };
    let PullTally { messages, body_bytes, .. } = tally;
    let received = Received { messages, body_bytes, end_to_end: None };
    let wall_seconds = window.seconds();
    let found = Found {
        results: Results {
            wall_seconds,
            receive: Some(receive_results(&tally, window, received)),
            check: Some(CheckResults::from(&findings)),
            notes: client.notes(server.as_ref(), wall_seconds, idle(&arguments.output)),
            client: Some(client),
            server,
            ..Results::default()
        },
        warm_up_seconds: 0.0,
        timeline: tally.timeline.points(),
        distribution: Distribution {
            of: "of a pull, from request to answer".to_owned(),
            corrected: None,
            uncorrected: tally.pull,
        },
    };
    let settings = Command::Consume(arguments.clone());
    Report::new(&settings, &arguments.output, found).publish(&arguments.output)?;
    Ok(verdict(&findings))
}

/// What all checkers found; `expected` messages were to come of which `found` came.
fn findings(checkers: Vec<Checker>, expected: Option<u64>, found: u64) -> Findings {
    let mut checkers = checkers.into_iter();
    let mut first = checkers.next().expect("there is a topic");
    first.expect_count(expected.unwrap_or(0), found);
    let mut findings = first.finish();
    checkers.for_each(|checker| findings.merge(checker.finish()));
    findings
}

fn pull_all(
    arguments: &Consume,
    route: &Route,
    wire: &mut Wire,
    consumer: &mut Consumer,
) -> Result<(ClientCost, Option<ServerCost>), Error> {
    let cost = Cost::begin(arguments.output.server_pid)?;
    let mut costs = None;
    let mut progress = Progress::new(clock::monotonic_ns(), arguments.output.quiet);
    loop {
        let now_ns = clock::monotonic_ns();
        let last_ns = consumer.tally.last_message_ns;
        let (pause_ns, idle_ns) = (last_ns + PAUSE_NS, last_ns + arguments.idle * SECOND_NS);
        if now_ns < pause_ns {
            costs = None;
        } else if costs.is_none() {
            costs = Some(cost.end(consumer.tally.messages)?);
        }
        if now_ns >= idle_ns
            || arguments.count.is_some_and(|count| consumer.tally.messages >= count)
        {
            break;
        }
        consumer.pump(wire, now_ns)?;
        if progress.is_due(now_ns) {
            let p99_ns = consumer.end_interval(now_ns, Shown::Pull);
            let errors = consumer.tally.refusals.total() + consumer.difference_count();
            progress.write(now_ns, "pull", consumer.tally.messages, p99_ns, errors);
            give_up_if_all_is_refused(&consumer.tally, route)?;
        }
        let edge_ns = if costs.is_none() { pause_ns } else { idle_ns };
        let until_ns = progress.next_ns().min(edge_ns).min(consumer.next_due_ns());
        wire.turn(until_ns, |_, frame, now_ns| consumer.answer(frame, now_ns))?;
    }
    progress.end();
    give_up_if_all_is_refused(&consumer.tally, route)?;
    costs.map_or_else(|| cost.end(consumer.tally.messages), Ok)
}

/// Commits what was consumed: pulls commit the offset they begin at, so that of the last one of each
/// queue is still to come.
fn commit(arguments: &Consume, route: &Route, consumer: &Consumer) -> Result<(), Error> {
    let mut control = Control::connect(&route.address_text)?;
    let topics = arguments.target.topic_names();
    for (queue, offset) in consumer.next_offsets().enumerate() {
        let queue = queue as u32;
        let (topic, queue_id) = (queue / route.queue_count, queue % route.queue_count);
        let ext = [
            ("consumerGroup", arguments.pull.group.as_str()),
            ("topic", &topics.name(topic)),
            ("queueId", &queue_id.to_string()),
            ("commitOffset", &offset.to_string()),
        ];
        control.demand(request::UPDATE_CONSUMER_OFFSET, &ext)?;
    }
    Ok(())
}

/// Ends a run in which no pull was ever answered with messages or with there being none.
pub fn give_up_if_all_is_refused(tally: &PullTally, route: &Route) -> Result<(), Error> {
    if tally.found + tally.empty > 0 {
        return Ok(());
    }
    tally.refusals.as_error(&route.address_text, "PULL_MESSAGE").map_or(Ok(()), Err)
}

/// Where each queue of each topic is to begin.
fn offsets(arguments: &Consume, route: &Route) -> Result<Vec<i64>, Error> {
    let mut control = Control::connect(&route.address_text)?;
    let mut offsets = Vec::new();
    for topic in arguments.target.topic_names().each() {
        for queue in 0..route.queue_count {
            let queue = queue.to_string();
            let here = [("topic", topic.as_str()), ("queueId", &queue)];
            let min = control.offset(request::GET_MIN_OFFSET, &here)?.unwrap_or(0);
            let group = [("consumerGroup", arguments.pull.group.as_str()), here[0], here[1]];
            let committed = match arguments.from {
                Begin::Min => None,
                Begin::Committed => control.offset(request::QUERY_CONSUMER_OFFSET, &group)?,
            };
            offsets.push(committed.unwrap_or(min).max(min));
        }
    }
    Ok(offsets)
}

/// Whether order is checked.
pub fn order(pull: &Pull) -> Order {
    if pull.any_order { Order::Any } else { Order::Kept }
}

/// How the run ended.
pub fn verdict(findings: &Findings) -> Verdict {
    if findings.count == 0 { Verdict::AsSent } else { Verdict::Different }
}

/// What was received within the window.
#[derive(Debug)]
pub struct Received {
    pub messages: u64,
    pub body_bytes: u64,
    pub end_to_end: Option<Latencies>,
}

/// The figures of the receiving side, whose intervals ended.
pub fn receive_results(tally: &PullTally, window: Window, received: Received) -> ReceiveResults {
    let Received { messages, body_bytes, end_to_end } = received;
    ReceiveResults {
        messages,
        messages_per_second: messages as f64 / window.seconds(),
        body_bytes,
        body_bytes_per_second: body_bytes as f64 / window.seconds(),
        received_in_all: tally.messages,
        pulls_found: tally.found,
        pulls_empty: tally.empty,
        refused: tally.refusals.list(),
        pull: tally.pull.summary(),
        end_to_end,
    }
}
