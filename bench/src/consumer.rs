//! Pulls from all queues of a topic and hands every message to the checker.
//! Owns: one pull of each queue, its offset, the latencies.
//! Kind: machine, apart from handing bytes to the wire
//! Invariants:
//!   at most one pull of a queue is out at any time
//!   the offset of a pull is the one the server named with the pull before

use std::net::SocketAddr;

use proto::code::{request, response};
use proto::command::Command;
use proto::frame::{Encoding, Frame};
use proto::header::{PullAnswer, PullHeader};
use proto::record::Record;
use proto::reply::{PullRequest, RequestHead, write_pull_request};

use crate::checker::Checker;
use crate::clock::SECOND_NS;
use crate::error::Error;
use crate::latency::Latency;
use crate::refusals::Refusals;
use crate::template::{OPAQUE_END, OPAQUE_FIRST};
use crate::timeline::Timeline;
use crate::topics::TopicNames;
use crate::window::Window;
use crate::wire::{LinkIndex, Wire};

/// How long a queue rests after its pull was refused.
const REFUSED_PAUSE_NS: u64 = SECOND_NS / 10;

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    pub encoding: Encoding,
    pub topics: TopicNames,
    /// Queues of each topic.
    pub queue_count: u32,
    pub group: String,
    pub broker_name: Option<String>,
    /// Messages of one pull, at most.
    pub pull_count_max: i32,
    /// How long the server may hold a pull.
    pub suspend_ms: i64,
    /// Whether pulls commit the offset they begin at.
    pub commits: bool,
    /// Messages whose intended send time lies in it are measured.
    pub window: Window,
    /// Link of the first connection, and how many there are.
    pub first_link: usize,
    pub link_count: usize,
    /// The broker, for messages.
    pub address: SocketAddr,
}

/// What the pulls of a run came to.
#[derive(Debug)]
pub struct PullTally {
    /// All messages, and their bodies.
    pub messages: u64,
    pub body_bytes: u64,
    /// Pulls that brought messages, and others that were answered.
    pub found: u64,
    pub empty: u64,
    /// Of pulls that brought messages.
    pub pull: Latency,
    /// From intended and from actual send time to receipt, for messages of the window.
    pub corrected: Latency,
    pub uncorrected: Latency,
    /// Bodies of messages of the window.
    pub window_body_bytes: u64,
    pub refusals: Refusals,
    pub last_message_ns: u64,
    /// All of the run, second by second.
    pub timeline: Timeline,
}

/// The latencies that a timeline shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Of pulls.
    Pull,
    /// From intended send time to receipt.
    EndToEnd,
}

/// See the module's first lines.
pub struct Consumer {
    settings: ConsumerSettings,
    /// Names of the topics, by index.
    names: Vec<String>,
    /// Of all topics: those of the first one, then those of the next.
    queues: Vec<Puller>,
    /// Queues whose next pull may go out.
    ready: Vec<usize>,
    /// Queues that rest, in order of the time at which they go on.
    resting: std::collections::VecDeque<(u64, usize)>,
    /// Requests of one turn for each link.
    out: Vec<Vec<u8>>,
    /// Of each topic.
    pub checkers: Vec<Checker>,
    /// What the timeline has counted.
    told_messages: u64,
    told_errors: u64,
    pub tally: PullTally,
}

#[derive(Debug)]
struct Puller {
    next_offset: i64,
    /// Of the pull that is out, or of the one that will be next.
    opaque: i32,
    is_out: bool,
    sent_ns: u64,
}

impl Consumer {
    /// Will pull from these offsets, one for each queue of each topic.
    pub fn new(
        settings: ConsumerSettings,
        offsets: &[i64],
        checkers: Vec<Checker>,
        now_ns: u64,
    ) -> Consumer {
        assert!(checkers.len() == settings.topics.count() as usize);
        assert!(offsets.len() == checkers.len() * settings.queue_count as usize);
        let puller = |(index, offset): (usize, &i64)| Puller {
            next_offset: *offset,
            opaque: OPAQUE_FIRST + index as i32,
            is_out: false,
            sent_ns: 0,
        };
        Consumer {
            queues: offsets.iter().enumerate().map(puller).collect(),
            ready: (0..offsets.len()).collect(),
            resting: std::collections::VecDeque::new(),
            out: vec![Vec::new(); settings.link_count],
            names: settings.topics.each().collect(),
            settings,
            checkers,
            told_messages: 0,
            told_errors: 0,
            tally: PullTally {
                messages: 0,
                body_bytes: 0,
                found: 0,
                empty: 0,
                pull: Latency::new(),
                corrected: Latency::new(),
                uncorrected: Latency::new(),
                window_body_bytes: 0,
                refusals: Refusals::default(),
                last_message_ns: now_ns,
                timeline: Timeline::new(now_ns),
            },
        }
    }

    /// Differences found so far, in all topics.
    pub fn difference_count(&self) -> u64 {
        self.checkers.iter().map(Checker::difference_count).sum()
    }

    /// Messages so far that have an intact stamp of a run that is looked at, duplicates included.
    pub fn ours(&self) -> u64 {
        self.checkers.iter().map(Checker::ours).sum()
    }

    /// Ends an interval of the latencies and enters it into the timeline; the 99th percentile of the
    /// shown ones in ns.
    pub fn end_interval(&mut self, now_ns: u64, shown: Shown) -> u64 {
        let errors = self.tally.refusals.total() + self.difference_count();
        let tally = &mut self.tally;
        let latencies = match shown {
            Shown::Pull => tally.pull.interval(),
            Shown::EndToEnd => tally.corrected.interval(),
        };
        let messages = tally.messages - self.told_messages;
        tally.timeline.add(now_ns, messages, errors - self.told_errors, latencies);
        (self.told_messages, self.told_errors) = (tally.messages, errors);
        let pull_ns = tally.pull.end_interval();
        let corrected_ns = tally.corrected.end_interval();
        tally.uncorrected.end_interval();
        match shown {
            Shown::Pull => pull_ns,
            Shown::EndToEnd => corrected_ns,
        }
    }

    /// The topic of a queue, and its id there.
    fn place(&self, queue: usize) -> (usize, u32) {
        let queue_count = self.settings.queue_count as usize;
        (queue / queue_count, (queue % queue_count) as u32)
    }

    fn checker(&mut self, queue: usize) -> (&mut Checker, u32) {
        let (topic, queue_id) = self.place(queue);
        (&mut self.checkers[topic], queue_id)
    }

    /// Of each queue, the first offset that was not received.
    pub fn next_offsets(&self) -> impl Iterator<Item = i64> + '_ {
        self.queues.iter().map(|puller| puller.next_offset)
    }

    /// When there is something to send without an answer arriving before.
    pub fn next_due_ns(&self) -> u64 {
        self.resting.front().map_or(u64::MAX, |(due_ns, _)| *due_ns)
    }

    /// Sends the pulls that may go out.
    ///
    /// # Errors
    /// A socket is broken.
    pub fn pump(&mut self, wire: &mut Wire, now_ns: u64) -> Result<(), Error> {
        while let Some(&(due_ns, queue)) = self.resting.front()
            && due_ns <= now_ns
        {
            self.resting.pop_front();
            self.ready.push(queue);
        }
        let mut ready = std::mem::take(&mut self.ready);
        for queue in ready.drain(..) {
            self.write_pull(queue, now_ns);
        }
        self.ready = ready;
        for (index, out) in self.out.iter_mut().enumerate() {
            if !out.is_empty() {
                wire.send(LinkIndex(self.settings.first_link + index), out)?;
                out.clear();
            }
        }
        Ok(())
    }

    fn write_pull(&mut self, queue: usize, now_ns: u64) {
        let (topic, queue_id) = self.place(queue);
        let puller = &mut self.queues[queue];
        assert!(!puller.is_out);
        (puller.is_out, puller.sent_ns) = (true, now_ns);
        let settings = &self.settings;
        let commit = if settings.commits { PullHeader::FLAG_COMMIT } else { 0 };
        let pull = PullRequest {
            consumer_group: &settings.group,
            topic: &self.names[topic],
            queue_id: queue_id as i32,
            queue_offset: puller.next_offset,
            message_count_max: settings.pull_count_max,
            sys_flag: commit | PullHeader::FLAG_SUSPEND | PullHeader::FLAG_SUBSCRIPTION,
            commit_offset: if settings.commits { puller.next_offset } else { 0 },
            suspend_timeout_ms: settings.suspend_ms,
            subscription: Some("*"),
            subscription_version: 0,
            expression_type: Some("TAG"),
            message_bytes_max: None,
            broker_name: settings.broker_name.as_deref(),
        };
        let head = RequestHead { code: request::PULL_MESSAGE, opaque: puller.opaque, flag: 0 };
        let out = &mut self.out[queue % settings.link_count];
        write_pull_request(out, settings.encoding, &head, &pull);
    }

    /// Takes the answer to a pull.
    ///
    /// # Errors
    /// An answer that cannot be read.
    pub fn answer(&mut self, frame: &Frame<'_>, now_ns: u64) -> Result<(), Error> {
        let address = self.settings.address;
        let unreadable = |source| Error::Header { address: address.to_string(), source };
        let command = Command::decode(frame).map_err(unreadable)?;
        if !command.is_response() {
            return Ok(());
        }
        let Some(queue) = self.finish(command.opaque) else { return Ok(()) };
        match command.code {
            response::SUCCESS => {
                let answer = PullAnswer::parse(&command).map_err(unreadable)?;
                self.take_messages(queue, frame.body, now_ns);
                let (checker, queue_id) = self.checker(queue);
                checker.next_offset(queue_id, answer.next_begin_offset);
                self.queues[queue].next_offset = answer.next_begin_offset;
                self.ready.push(queue);
            }
            response::PULL_NOT_FOUND | response::PULL_RETRY_IMMEDIATELY => {
                let answer = PullAnswer::parse(&command).map_err(unreadable)?;
                self.tally.empty += 1;
                let (checker, queue_id) = self.checker(queue);
                checker.next_offset(queue_id, answer.next_begin_offset);
                self.queues[queue].next_offset = answer.next_begin_offset;
                self.ready.push(queue);
            }
            response::PULL_OFFSET_MOVED => {
                let answer = PullAnswer::parse(&command).map_err(unreadable)?;
                self.tally.empty += 1;
                let (checker, queue_id) = self.checker(queue);
                checker.moved(queue_id, answer.next_begin_offset);
                self.queues[queue].next_offset = answer.next_begin_offset;
                self.resting.push_back((now_ns + REFUSED_PAUSE_NS, queue));
            }
            code => {
                self.tally.refusals.count(code, 1, frame);
                self.resting.push_back((now_ns + REFUSED_PAUSE_NS, queue));
            }
        }
        Ok(())
    }

    fn take_messages(&mut self, queue: usize, body: &[u8], now_ns: u64) {
        self.tally.found += 1;
        self.tally.pull.record(now_ns - self.queues[queue].sent_ns);
        let (topic, queue_id) = self.place(queue);
        let checker = &mut self.checkers[topic];
        let mut rest = body;
        while !rest.is_empty() {
            let (record, size_bytes) = match Record::decode(rest) {
                Ok(decoded) => decoded,
                Err(error) => return checker.undecodable(queue_id, error),
            };
            rest = &rest[size_bytes..];
            self.tally.messages += 1;
            let body_bytes = record.fields().body.len() as u64;
            self.tally.body_bytes += body_bytes;
            let Some(stamp) = checker.record(queue_id, &record) else { continue };
            if self.settings.window.contains(stamp.intended_ns) {
                self.tally.window_body_bytes += body_bytes;
                self.tally.corrected.record(now_ns.saturating_sub(stamp.intended_ns));
                self.tally.uncorrected.record(now_ns.saturating_sub(stamp.sent_ns));
            }
        }
        self.tally.last_message_ns = now_ns;
    }

    /// The queue whose pull this opaque is of; `None` if none is out with it.
    fn finish(&mut self, opaque: i32) -> Option<usize> {
        let number = usize::try_from(opaque.checked_sub(OPAQUE_FIRST)?).ok()?;
        let queue = number % self.queues.len();
        let queue_count = self.queues.len() as i32;
        let puller = &mut self.queues[queue];
        if puller.opaque != opaque || !puller.is_out {
            return None;
        }
        puller.is_out = false;
        let next = puller.opaque + queue_count;
        puller.opaque = if next < OPAQUE_END { next } else { OPAQUE_FIRST + queue as i32 };
        Some(queue)
    }
}
