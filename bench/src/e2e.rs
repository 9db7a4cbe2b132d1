//! `ringmq-bench e2e`: sends on a schedule, pulls what it sent, measures from one to the other.

use proto::code::request;

use crate::Verdict;
use crate::arguments::{Command, E2e};
use crate::checker::{Checker, Findings, First};
use crate::clock::{self, SECOND_NS};
use crate::consume::{self, Received};
use crate::consumer::{Consumer, ConsumerSettings, Shown};
use crate::control::Control;
use crate::error::Error;
use crate::measure::{ClientCost, Cost, Progress, ServerCost};
use crate::produce;
use crate::produce::Loop;
use crate::producer::{Memory, Pace, Producer, ProducerSettings};
use crate::report::{CheckResults, Distribution, Found, Latencies, Report, Results};
use crate::route::{self, Route};
use crate::schedule::Schedule;
use crate::topics::TopicNames;
use crate::window::Window;
use crate::wire::Wire;

/// How long the server may hold a pull, as Java's push consumers ask.
const SUSPEND_MS: i64 = 15_000;

/// How long the pulls may take to be out before the first message is sent.
const SETTLE_NS: u64 = SECOND_NS / 2;

/// How long to wait for messages that were acknowledged, after the last send.
const ARRIVE_NS: u64 = 10 * SECOND_NS;

/// Both ends of a run, on one thread and one ring.
struct Ends {
    wire: Wire,
    producer: Producer,
    consumer: Consumer,
}

/// Sends, pulls, checks, reports.
///
/// # Errors
/// Whatever prevents a result; differences are none.
pub fn run(arguments: &E2e) -> Result<Verdict, Error> {
    produce::check_bounds(&arguments.target, &arguments.load)?;
    let route = route::find(&arguments.target)?;
    let offsets = ends_of_queues(&route, &arguments.target.topic_names())?;
    let mut wire = Wire::new(produce::idle(&arguments.output))?;
    for _ in 0..arguments.load.connections + arguments.pull.pull_connections {
        wire.connect(route.address)?;
    }
    let began_ns = clock::monotonic_ns() + SETTLE_NS;
    let window = produce::window(&arguments.span, began_ns);
    let run = produce::run_number();
    let producer = producer(arguments, &route, run, began_ns, window);
    let consumer = consumer(arguments, &route, run, window, &offsets);
    let mut ends = Ends { wire, producer, consumer };
    let (client, server) = ends.measure(arguments, &route, window)?;
    ends.settle()?;
    report(arguments, ends, window, client, server)
}

fn producer(arguments: &E2e, route: &Route, run: u32, began_ns: u64, window: Window) -> Producer {
    let topics = arguments.target.topic_names();
    let schedule = Schedule::new(began_ns, arguments.rate);
    Producer::new(ProducerSettings {
        fixed: produce::fixed(&arguments.target, &arguments.load, &topics, route, run),
        sizes: &arguments.load.size,
        connections: arguments.load.connections,
        in_flight: arguments.load.in_flight,
        pace: Pace::Open { schedule, give_up_ns: None },
        began_ns,
        window,
        count: arguments.span.count.unwrap_or(u64::MAX),
        memory: Memory::Refused(Vec::new()),
        process: 0,
        first_lane: 0,
        first_link: 0,
        address: route.address,
    })
}

fn consumer(arguments: &E2e, route: &Route, run: u32, window: Window, offsets: &[i64]) -> Consumer {
    let topics = arguments.target.topic_names();
    let order = consume::order(&arguments.pull);
    let of_topics = topics.each().zip(offsets.chunks(route.queue_count as usize));
    let checkers = of_topics.map(|(topic, offsets)| {
        Checker::new(&topic, First::Zero, order, Some(run), offsets.to_vec())
    });
    let checkers = checkers.collect();
    let settings = ConsumerSettings {
        encoding: arguments.target.encoding.into(),
        topics,
        queue_count: route.queue_count,
        group: arguments.pull.group.clone(),
        broker_name: route.broker_name.clone(),
        pull_count_max: arguments.pull.pull_count as i32,
        suspend_ms: SUSPEND_MS,
        commits: false,
        window,
        first_link: arguments.load.connections as usize,
        link_count: arguments.pull.pull_connections as usize,
        address: route.address,
    };
    Consumer::new(settings, offsets, checkers, clock::monotonic_ns())
}

/// The offset behind the last message of each queue of each topic: where messages of a run will begin.
///
/// # Errors
/// What the broker says.
pub fn ends_of_queues(route: &Route, topics: &TopicNames) -> Result<Vec<i64>, Error> {
    let mut control = Control::connect(&route.address_text)?;
    let mut ends = Vec::new();
    for topic in topics.each() {
        for queue in 0..route.queue_count {
            let queue = [("topic", topic.as_str()), ("queueId", &queue.to_string())];
            ends.push(control.offset(request::GET_MAX_OFFSET, &queue)?.unwrap_or(0));
        }
    }
    Ok(ends)
}

impl Ends {
    fn turn(&mut self, until_ns: u64) -> Result<(), Error> {
        let Ends { wire, producer, consumer } = self;
        wire.turn(until_ns, |link, frame, now_ns| {
            if producer.owns(link) {
                producer.answer(link, frame, now_ns)
            } else {
                consumer.answer(frame, now_ns)
            }
        })
    }

    fn measure(
        &mut self,
        arguments: &E2e,
        route: &Route,
        window: Window,
    ) -> Result<(ClientCost, Option<ServerCost>), Error> {
        let server_pid = arguments.output.server_pid;
        let mut progress = Progress::new(clock::monotonic_ns(), arguments.output.quiet);
        let mut cost = Cost::begin(server_pid)?;
        let mut received_before = 0;
        let mut is_measuring = false;
        loop {
            let now_ns = clock::monotonic_ns();
            if !is_measuring && now_ns >= window.start_ns {
                is_measuring = true;
                received_before = self.consumer.tally.messages;
                cost = Cost::begin(server_pid)?;
            }
            if now_ns >= window.end_ns || self.producer.is_done() {
                break;
            }
            self.consumer.pump(&mut self.wire, now_ns)?;
            self.producer.pump(&mut self.wire, now_ns)?;
            if progress.is_due(now_ns) {
                self.report_progress(&mut progress, is_measuring, now_ns);
                produce::give_up_if_all_is_refused(&self.producer.tally, route)?;
                consume::give_up_if_all_is_refused(&self.consumer.tally, route)?;
            }
            let edge_ns = if is_measuring { window.end_ns } else { window.start_ns };
            let due_ns = self.producer.next_due_ns().min(self.consumer.next_due_ns());
            self.turn(progress.next_ns().min(edge_ns).min(due_ns))?;
        }
        progress.end();
        cost.end(self.consumer.tally.messages - received_before)
    }

    /// Sends what is late, and waits for all that was sent to be answered and to arrive.
    fn settle(&mut self) -> Result<(), Error> {
        let deadline_ns = clock::monotonic_ns() + ARRIVE_NS.max(produce::DRAIN_NS);
        let mut now_ns = clock::monotonic_ns();
        while now_ns < deadline_ns && self.is_waiting() {
            self.producer.pump(&mut self.wire, now_ns)?;
            self.consumer.pump(&mut self.wire, now_ns)?;
            self.turn(deadline_ns.min(self.consumer.next_due_ns()))?;
            now_ns = clock::monotonic_ns();
        }
        self.producer.give_up_rest();
        Ok(())
    }

    /// Counting is enough to know when to stop; whether they are the right ones the checker says.
    fn is_waiting(&self) -> bool {
        let arrived = self.consumer.ours();
        self.producer.is_late()
            || self.producer.in_flight() > 0
            || arrived < self.producer.tally.acked_in_all
    }

    fn report_progress(&mut self, progress: &mut Progress, is_measuring: bool, now_ns: u64) {
        self.producer.end_interval(now_ns);
        let p99_ns = self.consumer.end_interval(now_ns, Shown::EndToEnd);
        let (sent, pulled) = (&self.producer.tally, &self.consumer.tally);
        let errors =
            sent.error_count() + pulled.refusals.total() + self.consumer.difference_count();
        let phase = if is_measuring { "measure" } else { "warm-up" };
        progress.write(now_ns, phase, pulled.messages, p99_ns, errors);
    }
}

fn report(
    arguments: &E2e,
    ends: Ends,
    mut window: Window,
    client: ClientCost,
    server: Option<ServerCost>,
) -> Result<Verdict, Error> {
    let Ends { mut producer, mut consumer, .. } = ends;
    if arguments.span.count.is_some() {
        window.end_ns = producer.tally.last_ack_ns.max(window.start_ns + 1);
    }
    let now_ns = clock::monotonic_ns();
    producer.end_interval(now_ns);
    consumer.end_interval(now_ns, Shown::EndToEnd);
    let Consumer { checkers, tally, .. } = consumer;
    let findings = finish(&mut producer, checkers);
    let (unanswered, frame_bytes) = (producer.in_flight(), producer.frame_bytes());
    let uncorrected = tally.uncorrected.summary();
    let received = Received {
        messages: uncorrected.count,
        body_bytes: tally.window_body_bytes,
        end_to_end: Some(Latencies { corrected: Some(tally.corrected.summary()), uncorrected }),
    };
    let wall_seconds = window.seconds();
    let send = produce::send_results(&producer.tally, window, Loop::Open, unanswered, frame_bytes);
    let found = Found {
        results: Results {
            wall_seconds,
            send: Some(send),
            receive: Some(consume::receive_results(&tally, window, received)),
            check: Some(CheckResults::from(&findings)),
            notes: client.notes(server.as_ref(), wall_seconds, produce::idle(&arguments.output)),
            client: Some(client),
            server,
            ..Results::default()
        },
        warm_up_seconds: (arguments.span.warm_up * SECOND_NS + SETTLE_NS) as f64 / 1e9,
        timeline: tally.timeline.points(),
        distribution: Distribution {
            of: "from send to receipt".to_owned(),
            corrected: Some(tally.corrected),
            uncorrected: tally.uncorrected,
        },
    };
    let settings = Command::E2e(arguments.clone());
    Report::new(&settings, &arguments.output, found).publish(&arguments.output)?;
    Ok(consume::verdict(&findings))
}

/// Tells the checkers what was sent, so that messages missing at the end of a queue are found too.
fn finish(producer: &mut Producer, mut checkers: Vec<Checker>) -> Findings {
    if let Memory::Refused(refused) = producer.take_memory() {
        refused.iter().for_each(|it| checkers[it.topic as usize].excuse(it));
    }
    producer.unanswered().for_each(|it| checkers[it.topic as usize].excuse(&it));
    for (producer, topic, queue_id, next) in producer.sequences().filter(|it| it.3 > 0) {
        checkers[topic as usize].expect_until(producer, queue_id, next);
    }
    let mut findings = Findings::default();
    checkers.into_iter().for_each(|checker| findings.merge(checker.finish()));
    findings
}
