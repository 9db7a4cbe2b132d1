//! `ringmq-bench produce`: the loop of a run that sends.

use crate::arguments::{Command, Load, Output, Produce, Span, Target};
use crate::clock::{self, SECOND_NS};
use crate::error::Error;
use crate::measure::{ClientCost, Cost, Progress, ServerCost};
use crate::producer::{Memory, Pace, Producer, ProducerSettings};
use crate::report::{Distribution, Found, Latencies, Report, Results, SendResults};
use crate::route::{self, Route};
use crate::schedule::Schedule;
use crate::share::{self, Share};
use crate::tally::SendTally;
use crate::template::Fixed;
use crate::topics::TopicNames;
use crate::window::Window;
use crate::wire::{Idle, Wire};

/// How long to wait for answers to what was sent, after the last send.
pub const DRAIN_NS: u64 = 10 * SECOND_NS;

/// Group of all our producers.
pub const GROUP: &str = "ringmq-bench-producer";

/// Bytes that frames in flight may take on our side if no socket takes any.
const IN_FLIGHT_BYTES_MAX: u64 = 1 << 30;

/// Bytes of the requests that are kept ready, one for each size and count of digits in a topic.
const PREPARED_BYTES_MAX: u64 = 256 << 20;

/// Bytes of a batch: RocketMQ's `maxMessageSize` counts all of it.
const BATCH_BYTES_MAX: u64 = 4 << 20;

/// Sequences that are counted, one for each connection and queue of each topic: 128 MiB.
const STREAMS_MAX: u64 = 16 << 20;

/// What the sending of all processes came to.
pub struct Sent {
    pub tally: SendTally,
    pub unanswered: u64,
    pub frame_bytes: usize,
    pub client: ClientCost,
    pub server: Option<ServerCost>,
    pub began_ns: u64,
    pub window: Window,
}

/// Sends, measures, reports.
///
/// # Errors
/// Whatever prevents a result.
pub fn run(arguments: &Produce) -> Result<(), Error> {
    if arguments.share {
        return share::serve(arguments);
    }
    check_bounds(&arguments.target, &arguments.load)?;
    share::check(arguments)?;
    let route = route::find(&arguments.target)?;
    let sent = if arguments.processes == 1 {
        alone(arguments, &route)?
    } else {
        share::run(arguments, &route)?
    };
    let found = found(sent, kind(arguments), idle(&arguments.output));
    let settings = Command::Produce(arguments.clone());
    Report::new(&settings, &arguments.output, found).publish(&arguments.output)
}

/// Sends in this process.
///
/// # Errors
/// Whatever prevents a result.
pub fn alone(arguments: &Produce, route: &Route) -> Result<Sent, Error> {
    let share = Share::whole(arguments, route);
    let mut wire = connect(arguments, &share)?;
    let began_ns = clock::monotonic_ns();
    let mut producer = producer(arguments, &share, began_ns);
    measure(arguments, &share, &mut wire, &mut producer, began_ns)
}

/// The connections of a share.
pub fn connect(arguments: &Produce, share: &Share) -> Result<Wire, Error> {
    let mut wire = Wire::new(idle(&arguments.output))?;
    for _ in 0..share.connections {
        wire.connect(share.route.address)?;
    }
    Ok(wire)
}

/// The producer of a share.
pub fn producer(arguments: &Produce, share: &Share, began_ns: u64) -> Producer {
    let topics = arguments.target.topic_names();
    let give_up_ns = arguments.give_up_ms.map(|ms| ms * 1_000_000);
    let pace = share.rate.map_or(Pace::Closed, |rate| {
        let schedule = Schedule::new(began_ns + share.offset_ns, rate);
        Pace::Open { schedule, give_up_ns }
    });
    Producer::new(ProducerSettings {
        fixed: fixed(&arguments.target, &arguments.load, &topics, &share.route, share.run),
        sizes: &arguments.load.size,
        connections: share.connections,
        in_flight: arguments.load.in_flight,
        pace,
        began_ns,
        window: window(&arguments.span, began_ns),
        count: share.count.unwrap_or(u64::MAX),
        memory: Memory::Nothing,
        process: share.index,
        first_lane: share.first_lane,
        first_link: 0,
        address: share.route.address,
    })
}

/// What all requests of a run have in common.
pub fn fixed<'a>(
    target: &Target,
    load: &Load,
    topics: &'a TopicNames,
    route: &'a Route,
    run: u32,
) -> Fixed<'a> {
    Fixed {
        encoding: target.encoding.into(),
        topics,
        group: GROUP,
        broker_name: route.broker_name.as_deref(),
        queue_count: route.queue_count,
        batch_count: load.batch,
        tag_count: load.tags,
        delay_ms: load.delay_ms,
        has_keys: load.keys,
        run,
    }
}

/// Sends a share from beginning to end.
pub fn measure(
    arguments: &Produce,
    share: &Share,
    wire: &mut Wire,
    producer: &mut Producer,
    began_ns: u64,
) -> Result<Sent, Error> {
    let server_pid = arguments.output.server_pid;
    let mut window = window(&arguments.span, began_ns);
    let mut progress = Progress::new(began_ns, arguments.output.quiet);
    let mut cost = Cost::begin(server_pid)?;
    let mut is_measuring = false;
    loop {
        let now_ns = clock::monotonic_ns();
        if !is_measuring && now_ns >= window.start_ns {
            is_measuring = true;
            cost = Cost::begin(server_pid)?;
        }
        if now_ns >= window.end_ns || producer.is_done() {
            break;
        }
        producer.pump(wire, now_ns)?;
        if progress.is_due(now_ns) {
            let phase = if is_measuring { "measure" } else { "warm-up" };
            report_progress(producer, &mut progress, phase, now_ns);
            give_up_if_all_is_refused(&producer.tally, &share.route)?;
        }
        let edge_ns = if is_measuring { window.end_ns } else { window.start_ns };
        let until_ns = progress.next_ns().min(edge_ns).min(producer.next_due_ns());
        wire.turn(until_ns, |link, frame, now_ns| producer.answer(link, frame, now_ns))?;
    }
    let (client, server) = cost.end(producer.tally.acked)?;
    drain(wire, producer)?;
    progress.end();
    producer.end_interval(clock::monotonic_ns());
    give_up_if_all_is_refused(&producer.tally, &share.route)?;
    if arguments.span.count.is_some() {
        window.end_ns = producer.tally.last_ack_ns.max(window.start_ns + 1);
    }
    let tally = std::mem::replace(&mut producer.tally, SendTally::new(began_ns, window));
    let (unanswered, frame_bytes) = (producer.in_flight(), producer.frame_bytes());
    Ok(Sent { tally, unanswered, frame_bytes, client, server, began_ns, window })
}

/// Sends what is late, and waits for the answers.
fn drain(wire: &mut Wire, producer: &mut Producer) -> Result<(), Error> {
    let mut now_ns = clock::monotonic_ns();
    let deadline_ns = now_ns + DRAIN_NS;
    while (producer.in_flight() > 0 || producer.is_late()) && now_ns < deadline_ns {
        producer.pump(wire, now_ns)?;
        wire.turn(deadline_ns, |link, frame, now_ns| producer.answer(link, frame, now_ns))?;
        now_ns = clock::monotonic_ns();
    }
    producer.give_up_rest();
    Ok(())
}

fn report_progress(producer: &mut Producer, progress: &mut Progress, phase: &str, now_ns: u64) {
    let p99_ns = producer.end_interval(now_ns);
    let tally = &producer.tally;
    progress.write(now_ns, phase, tally.acked_in_all, p99_ns, tally.error_count());
}

/// Ends a run in which no message was ever stored.
pub fn give_up_if_all_is_refused(tally: &SendTally, route: &Route) -> Result<(), Error> {
    if tally.acked_in_all > 0 {
        return Ok(());
    }
    tally.refusals.as_error(&route.address_text, "send").map_or(Ok(()), Err)
}

/// Whether there are intended send times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    Open,
    Closed,
}

fn kind(arguments: &Produce) -> Loop {
    if arguments.rate.is_some() { Loop::Open } else { Loop::Closed }
}

/// What a run that only sends has to report.
pub fn found(sent: Sent, kind: Loop, idle: Idle) -> Found {
    let Sent { tally, unanswered, frame_bytes, client, server, began_ns, window } = sent;
    let wall_seconds = window.seconds();
    let notes = client.notes(server.as_ref(), wall_seconds, idle);
    Found {
        results: Results {
            wall_seconds,
            send: Some(send_results(&tally, window, kind, unanswered, frame_bytes)),
            client: Some(client),
            server,
            notes,
            ..Results::default()
        },
        distribution: Distribution {
            of: "from send to acknowledgement".to_owned(),
            corrected: (kind == Loop::Open).then_some(tally.corrected),
            uncorrected: tally.uncorrected,
        },
        warm_up_seconds: window.start_ns.saturating_sub(began_ns) as f64 / 1e9,
        timeline: tally.timeline.points(),
    }
}

/// The figures of the sending side, whose intervals ended.
pub fn send_results(
    tally: &SendTally,
    window: Window,
    kind: Loop,
    unanswered: u64,
    frame_bytes: usize,
) -> SendResults {
    SendResults {
        messages: tally.acked,
        messages_per_second: tally.acked as f64 / window.seconds(),
        body_bytes: tally.body_bytes,
        body_bytes_per_second: tally.body_bytes as f64 / window.seconds(),
        frame_bytes,
        sent_in_all: tally.sent_in_all,
        acknowledged_in_all: tally.acked_in_all,
        unanswered,
        unknown_answers: tally.unknown_answers,
        refused: tally.refusals.list(),
        given_up: tally.given_up,
        cut_off: tally.cut_off,
        closed: tally.closed.clone(),
        acknowledgement: Latencies {
            corrected: (kind == Loop::Open).then(|| tally.corrected.summary()),
            uncorrected: tally.uncorrected.summary(),
        },
    }
}

/// Refuses loads that would need more memory than a load generator should take, or that no server
/// takes.
///
/// # Errors
/// Which of the settings is too large, and what its limit is.
pub fn check_bounds(target: &Target, load: &Load) -> Result<(), Error> {
    let Load { connections, in_flight, batch, .. } = *load;
    let topics = target.topic_names();
    let longest = topics.name(topics.count() - 1);
    let max = proto::limits::TOPIC_BYTES_MAX;
    if longest.len() > max {
        let (topic, count) = (target.topic.clone(), target.topics);
        return Err(Error::TopicTooLong { topic, count, max });
    }
    let size = load.size.longest();
    let bytes_each = u64::from(size) * u64::from(batch);
    if batch > 1 && bytes_each > BATCH_BYTES_MAX {
        return Err(Error::BatchTooLong { batch, size, max: BATCH_BYTES_MAX });
    }
    let bytes = u64::from(connections) * u64::from(in_flight) * bytes_each;
    if bytes > IN_FLIGHT_BYTES_MAX {
        let max = IN_FLIGHT_BYTES_MAX;
        return Err(Error::TooMuchInFlight { connections, in_flight, bytes_each, bytes, max });
    }
    let of_one_name: u64 = load.size.each().map(|size| u64::from(size) * u64::from(batch)).sum();
    let bytes = of_one_name * topics.digit_counts().count() as u64;
    if bytes > PREPARED_BYTES_MAX {
        let (sizes, topics, max) = (load.size.each().len(), topics.count(), PREPARED_BYTES_MAX);
        return Err(Error::TooMuchPrepared { sizes, topics, bytes, max });
    }
    let (topics, queues) = (target.topics, target.queues);
    let streams = u64::from(connections) * u64::from(topics) * u64::from(queues);
    if streams > STREAMS_MAX {
        let max = STREAMS_MAX;
        return Err(Error::TooManyStreams { connections, topics, queues, streams, max });
    }
    Ok(())
}

/// What to do while nothing happens.
pub fn idle(output: &Output) -> Idle {
    if output.spin { Idle::Spin } else { Idle::Park }
}

/// The window of a run that begins at `began_ns`.
pub fn window(span: &Span, began_ns: u64) -> Window {
    let start_ns = began_ns + span.warm_up * SECOND_NS;
    let end_ns = match span.count {
        Some(_) => u64::MAX,
        None => start_ns + span.duration * SECOND_NS,
    };
    Window { start_ns, end_ns }
}

/// Tells the messages of two runs apart; 20 bits are left of it beside the connection.
pub fn run_number() -> u32 {
    (clock::wall_ms() as u32).wrapping_mul(2_654_435_761) ^ std::process::id()
}
