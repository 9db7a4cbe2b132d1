//! `ringmq-bench produce`: the loop of a run that sends.

use crate::arguments::{Command, Load, Output, Produce, Span};
use crate::clock::{self, SECOND_NS};
use crate::error::Error;
use crate::measure::{Cost, Progress};
use crate::producer::{Pace, Producer, ProducerSettings};
use crate::report::{self, Latencies, Report, Results, SendResults};
use crate::route::{self, Route};
use crate::schedule::Schedule;
use crate::template::Fixed;
use crate::window::Window;
use crate::wire::{Idle, Wire};

/// How long to wait for answers to what was sent, after the last send.
pub const DRAIN_NS: u64 = 10 * SECOND_NS;

/// Group of all our producers.
pub const GROUP: &str = "ringmq-bench-producer";

/// Bytes that frames in flight may take on our side if no socket takes any.
const IN_FLIGHT_BYTES_MAX: u64 = 1 << 30;

/// Sends, measures, reports.
///
/// # Errors
/// Whatever prevents a result.
pub fn run(arguments: &Produce) -> Result<(), Error> {
    check_bounds(&arguments.load)?;
    let route = route::find(&arguments.target)?;
    let mut wire = Wire::new(idle(&arguments.output))?;
    for _ in 0..arguments.load.connections {
        wire.connect(route.address)?;
    }
    let began_ns = clock::monotonic_ns();
    let window = window(&arguments.span, began_ns);
    let fixed = Fixed {
        encoding: arguments.target.encoding.into(),
        topic: &arguments.target.topic,
        group: GROUP,
        broker_name: route.broker_name.as_deref(),
        queue_count: route.queue_count,
        body_bytes: arguments.load.size as usize,
        run: run_number(),
    };
    let mut producer = Producer::new(ProducerSettings {
        fixed,
        connections: arguments.load.connections,
        in_flight: arguments.load.in_flight,
        pace: pace(arguments.rate, began_ns),
        window,
        count: arguments.span.count.unwrap_or(u64::MAX),
        keep_refused: false,
        first_link: 0,
        address: route.address,
    });
    let results = measure(arguments, &route, &mut wire, &mut producer, window)?;
    let report = Report::new(Command::Produce(arguments.clone()), results);
    print!("{}", report.text());
    report.write_json(&arguments.output)?;
    let is_open = arguments.rate.is_some();
    let tally = &producer.tally;
    report::write_hgrm(&arguments.output, is_open.then_some(&tally.corrected), &tally.uncorrected)
}

fn measure(
    arguments: &Produce,
    route: &Route,
    wire: &mut Wire,
    producer: &mut Producer,
    mut window: Window,
) -> Result<Results, Error> {
    let server_pid = arguments.output.server_pid;
    let mut progress = Progress::new(clock::monotonic_ns(), arguments.output.quiet);
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
            give_up_if_all_is_refused(producer, route)?;
        }
        let edge_ns = if is_measuring { window.end_ns } else { window.start_ns };
        let until_ns = progress.next_ns().min(edge_ns).min(producer.next_due_ns());
        wire.turn(until_ns, |link, frame, now_ns| producer.answer(link, frame, now_ns))?;
    }
    let (client, server) = cost.end(producer.tally.acked)?;
    drain(wire, producer)?;
    progress.end();
    give_up_if_all_is_refused(producer, route)?;
    if arguments.span.count.is_some() {
        window.end_ns = producer.tally.last_ack_ns.max(window.start_ns + 1);
    }
    let kind = if arguments.rate.is_some() { Loop::Open } else { Loop::Closed };
    let send = send_results(producer, window, &arguments.load, kind);
    let wall_seconds = window.seconds();
    Ok(Results {
        wall_seconds,
        send: Some(send),
        client: Some(client),
        server,
        ..Results::default()
    })
}

/// Waits for the answers to what is in flight.
pub fn drain(wire: &mut Wire, producer: &mut Producer) -> Result<(), Error> {
    let deadline_ns = clock::monotonic_ns() + DRAIN_NS;
    while producer.in_flight() > 0 && clock::monotonic_ns() < deadline_ns {
        wire.turn(deadline_ns, |link, frame, now_ns| producer.answer(link, frame, now_ns))?;
    }
    Ok(())
}

fn report_progress(producer: &mut Producer, progress: &mut Progress, phase: &str, now_ns: u64) {
    let tally = &mut producer.tally;
    let corrected_ns = tally.corrected.end_interval();
    tally.uncorrected.end_interval();
    let errors = tally.refusals.total() + tally.unknown_answers;
    progress.write(now_ns, phase, tally.acked_in_all, corrected_ns, errors);
}

/// Ends a run in which no message was ever stored.
pub fn give_up_if_all_is_refused(producer: &Producer, route: &Route) -> Result<(), Error> {
    if producer.tally.acked_in_all > 0 {
        return Ok(());
    }
    let refusals = &producer.tally.refusals;
    refusals.as_error(&route.address_text, "SEND_MESSAGE_V2").map_or(Ok(()), Err)
}

/// Whether there are intended send times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    Open,
    Closed,
}

/// The figures of the sending side.
pub fn send_results(
    producer: &mut Producer,
    window: Window,
    load: &Load,
    kind: Loop,
) -> SendResults {
    let (frame_bytes, unanswered) = (producer.frame_bytes(), producer.in_flight());
    let tally = &mut producer.tally;
    tally.corrected.end_interval();
    tally.uncorrected.end_interval();
    let body_bytes = tally.acked * u64::from(load.size);
    SendResults {
        messages: tally.acked,
        messages_per_second: tally.acked as f64 / window.seconds(),
        body_bytes,
        body_bytes_per_second: body_bytes as f64 / window.seconds(),
        frame_bytes,
        sent_in_all: tally.sent_in_all,
        acknowledged_in_all: tally.acked_in_all,
        unanswered,
        unknown_answers: tally.unknown_answers,
        refused: tally.refusals.list(),
        acknowledgement: Latencies {
            corrected: (kind == Loop::Open).then(|| tally.corrected.summary()),
            uncorrected: tally.uncorrected.summary(),
        },
    }
}

/// Refuses loads that would need more memory than a load generator should take.
pub fn check_bounds(load: &Load) -> Result<(), Error> {
    let Load { connections, in_flight, size } = *load;
    let bytes = u64::from(connections) * u64::from(in_flight) * u64::from(size);
    if bytes <= IN_FLIGHT_BYTES_MAX {
        return Ok(());
    }
    Err(Error::TooMuchInFlight { connections, in_flight, size, bytes, max: IN_FLIGHT_BYTES_MAX })
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

fn pace(rate: Option<u64>, began_ns: u64) -> Pace {
    rate.map_or(Pace::Closed, |rate| Pace::Open(Schedule::new(began_ns, rate)))
}

/// Tells the messages of two runs apart; 20 bits are left of it beside the connection.
pub fn run_number() -> u32 {
    (clock::wall_ms() as u32).wrapping_mul(2_654_435_761) ^ std::process::id()
}
