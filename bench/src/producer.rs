//! Sends messages over several connections and measures their acknowledgement.
//! Owns: templates, the slots of unanswered messages, sequences, the schedule, the latencies.
//! Kind: machine, apart from handing bytes to the wire
//! Invariants:
//!   a connection never has more requests in flight than it has slots
//!   a message of an open loop has the time of the schedule, however late it leaves
//!   sequences of a (producer, queue) leave in order on one connection

use std::net::SocketAddr;

use proto::command::Command;
use proto::frame::Frame;
use proto::header::SendAnswer;

use crate::answer;
use crate::arena::Arena;
use crate::clock;
use crate::error::Error;
use crate::lane::{LANE_BITS, Lane, Refused, Slot};
use crate::ledger::Ledger;
use crate::schedule::Schedule;
use crate::sizes::{Picker, Sizes};
use crate::stamp::Stamp;
use crate::tally::SendTally;
use crate::template::{Fixed, Message, SendTemplate, Shape};
use crate::topics::TopicNames;
use crate::window::Window;
use crate::wire::{LinkIndex, Wire};

/// Bits of a message's number in its process: 2^40 of them, in each of at most 256 processes.
const UNIQUE_BITS: u32 = 40;

/// When messages are sent.
#[derive(Debug, Clone)]
pub enum Pace {
    /// As soon as an answer frees a slot.
    Closed,
    /// On a schedule of messages; a batch is due when its last one is.
    Open {
        schedule: Schedule,
        /// After how long a message is dropped for which there was no slot; `None`: never.
        give_up_ns: Option<u64>,
    },
}

/// What is remembered of single messages, for a checker.
#[derive(Debug)]
pub enum Memory {
    Nothing,
    /// Those that were refused.
    Refused(Vec<Refused>),
    /// Those that were acknowledged, by topic.
    Acknowledged(Vec<Ledger>),
}

/// See the module's first lines.
pub struct Producer {
    /// By count of a topic's digits, then by size.
    templates: Vec<SendTemplate>,
    size_count: usize,
    picker: Picker,
    /// The size of the next request, if there was no room for it.
    picked: Option<usize>,
    arena: Arena,
    lanes: Vec<Lane>,
    /// Lanes with free slots that nobody has looked at since.
    ready: Vec<usize>,
    next_lane: usize,
    /// Of the lanes that are open.
    free_slots: usize,
    /// Requests sent and not answered.
    requests_out: u64,
    pace: Pace,
    window: Window,
    /// Messages of the window that may still be sent.
    left: u64,
    topics: TopicNames,
    queue_count: u32,
    /// Messages of a request.
    batch_count: u64,
    /// Number of the first message, for its UNIQ_KEY.
    first_unique: u64,
    /// What is to be added to monotonic milliseconds to get those of the wall.
    wall_offset_ms: u64,
    first_link: usize,
    address: SocketAddr,
    memory: Memory,
    /// What the timeline has counted.
    told_messages: u64,
    told_errors: u64,
    pub tally: SendTally,
}

/// Settings of a producer.
#[derive(Debug)]
pub struct ProducerSettings<'a> {
    pub fixed: Fixed<'a>,
    pub sizes: &'a Sizes,
    pub connections: u32,
    /// Requests in flight of each connection.
    pub in_flight: u32,
    pub pace: Pace,
    /// When the run began, or will.
    pub began_ns: u64,
    pub window: Window,
    /// Messages to send within the window; `u64::MAX` if its end decides.
    pub count: u64,
    pub memory: Memory,
    /// Index of this process among those of the run, from 0, and of its first connection.
    pub process: u32,
    pub first_lane: u32,
    /// Link of the first connection; the others follow it.
    pub first_link: usize,
    /// The broker, for messages.
    pub address: SocketAddr,
}

impl Producer {
    /// Makes everything that sending needs; nothing is allocated later.
    pub fn new(settings: ProducerSettings<'_>) -> Producer {
        let fixed = settings.fixed;
        let shape = |topic_digits| {
            let sizes = settings.sizes.each();
            sizes.map(move |size| Shape { topic_digits, body_bytes: size as usize })
        };
        let shapes = fixed.topics.digit_counts().flat_map(shape);
        let templates: Vec<_> = shapes.map(|shape| SendTemplate::new(&fixed, shape)).collect();
        let stream_count = fixed.topics.count() as usize * fixed.queue_count as usize;
        let lanes = (settings.first_lane..settings.first_lane + settings.connections)
            .map(|index| {
                // The run in the upper bits; neighbours begin at neighbouring topics and queues.
                let producer = fixed.run << LANE_BITS | index;
                let mut lane = Lane::new(producer, settings.in_flight, stream_count);
                lane.next_topic = index % fixed.topics.count();
                lane.next_queue = index / fixed.topics.count() % fixed.queue_count;
                lane
            })
            .collect::<Vec<_>>();
        let monotonic_ms = clock::monotonic_ns() / 1_000_000;
        let seed = u64::from(fixed.run) << 32 | u64::from(settings.first_lane);
        Producer {
            arena: Arena::new(&templates, settings.in_flight as usize),
            templates,
            size_count: settings.sizes.each().len(),
            picker: settings.sizes.picker(seed),
            picked: None,
            ready: (0..lanes.len()).collect(),
            next_lane: 0,
            free_slots: lanes.len() * settings.in_flight as usize,
            requests_out: 0,
            lanes,
            pace: settings.pace,
            window: settings.window,
            left: settings.count,
            topics: fixed.topics.clone(),
            queue_count: fixed.queue_count,
            batch_count: u64::from(fixed.batch_count),
            first_unique: u64::from(settings.process) << UNIQUE_BITS,
            wall_offset_ms: clock::wall_ms() - monotonic_ms,
            first_link: settings.first_link,
            address: settings.address,
            memory: settings.memory,
            told_messages: 0,
            told_errors: 0,
            tally: SendTally::new(settings.began_ns, settings.window),
        }
    }

    /// Messages sent and not answered.
    pub fn in_flight(&self) -> u64 {
        self.requests_out * self.batch_count
    }

    /// Whether all messages asked for were sent and answered.
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.requests_out == 0
    }

    /// Bytes of one request, of the longest one.
    pub fn frame_bytes(&self) -> usize {
        self.templates.iter().map(|it| it.frame().len()).max().expect("there is a template")
    }

    /// When there is something to send without an answer arriving before.
    pub fn next_due_ns(&self) -> u64 {
        match &self.pace {
            Pace::Open { schedule, .. } if self.free_slots > 0 && self.left > 0 => {
                schedule.nth_ns(self.batch_count - 1)
            }
            Pace::Open { .. } | Pace::Closed => u64::MAX,
        }
    }

    /// Of each producer, topic and queue, how many messages were sent: all sequences below.
    pub fn sequences(&self) -> impl Iterator<Item = (u32, u32, u32, u64)> + '_ {
        let queue_count = self.queue_count;
        self.lanes.iter().flat_map(move |lane| {
            lane.sequences.iter().enumerate().map(move |(stream, next)| {
                let (topic, queue) = (stream as u32 / queue_count, stream as u32 % queue_count);
                (lane.producer, topic, queue, *next)
            })
        })
    }

    /// What was remembered; nothing is from now on.
    pub fn take_memory(&mut self) -> Memory {
        std::mem::replace(&mut self.memory, Memory::Nothing)
    }

    /// Messages whose answer has not come: they may be stored or not.
    pub fn unanswered(&self) -> impl Iterator<Item = Refused> + '_ {
        self.lanes.iter().flat_map(|lane| {
            let busy = lane.slots.iter().filter(|slot| slot.is_busy);
            busy.map(|slot| slot.messages(lane.producer, self.batch_count))
        })
    }

    /// Whether frames of this link are answers for this producer.
    pub fn owns(&self, link: LinkIndex) -> bool {
        (self.first_link..self.first_link + self.lanes.len()).contains(&link.0)
    }

    /// Ends an interval of the latencies and enters it into the timeline; its 99th percentile in ns,
    /// corrected if there is a schedule.
    pub fn end_interval(&mut self, now_ns: u64) -> u64 {
        let tally = &mut self.tally;
        let messages = tally.acked_in_all - self.told_messages;
        let errors = tally.error_count();
        let latencies = match self.pace {
            Pace::Closed => tally.uncorrected.interval(),
            Pace::Open { .. } => tally.corrected.interval(),
        };
        tally.timeline.add(now_ns, messages, errors - self.told_errors, latencies);
        (self.told_messages, self.told_errors) = (tally.acked_in_all, errors);
        let uncorrected_ns = tally.uncorrected.end_interval();
        match self.pace {
            Pace::Closed => uncorrected_ns,
            Pace::Open { .. } => tally.corrected.end_interval(),
        }
    }

    // ---- connections ----------------------------------------------------------------------------

    /// A connection ended: what was in flight on it may be stored or not.
    pub fn closed(&mut self, link: LinkIndex, reason: &str) {
        let lane = &mut self.lanes[link.0 - self.first_link];
        if !std::mem::replace(&mut lane.is_open, false) {
            return;
        }
        self.free_slots -= lane.free.len();
        let cut_off = lane.abandon();
        self.requests_out -= cut_off;
        self.tally.cut_off += cut_off * self.batch_count;
        match self.tally.closed.get_mut(reason) {
            Some(count) => *count += 1,
            None => {
                self.tally.closed.insert(reason.to_owned(), 1);
            }
        }
    }

    /// The connection was made again.
    pub fn reopened(&mut self, link: LinkIndex) {
        let index = link.0 - self.first_link;
        let lane = &mut self.lanes[index];
        if std::mem::replace(&mut lane.is_open, true) {
            return;
        }
        self.free_slots += lane.free.len();
        if !std::mem::replace(&mut lane.is_ready, true) {
            self.ready.push(index);
        }
    }

    // ---- answers --------------------------------------------------------------------------------

    /// Takes the answer to a send.
    ///
    /// # Errors
    /// An answer that cannot be read.
    pub fn answer(&mut self, link: LinkIndex, frame: &Frame<'_>, now_ns: u64) -> Result<(), Error> {
        let unreadable = |source| Error::Header { address: self.address.to_string(), source };
        let Some(answer) = answer::read(frame).map_err(unreadable)? else { return Ok(()) };
        let lane_index = link.0 - self.first_link;
        let lane = &mut self.lanes[lane_index];
        let Some(slot) = lane.finish(answer.opaque) else {
            self.tally.unknown_answers += 1;
            return Ok(());
        };
        self.free_slots += 1;
        self.requests_out -= 1;
        if !std::mem::replace(&mut lane.is_ready, true) {
            self.ready.push(lane_index);
        }
        if answer.code != proto::code::response::SUCCESS {
            self.tally.refusals.count(answer.code, self.batch_count, frame);
            if let Memory::Refused(refused) = &mut self.memory {
                refused.push(slot.messages(lane.producer, self.batch_count));
            }
            return Ok(());
        }
        if !std::mem::replace(&mut lane.has_answered, true) {
            // The fast path looks at two fields; once for each connection all must be there.
            let command = Command::decode(frame).map_err(unreadable)?;
            SendAnswer::parse(&command).map_err(unreadable)?;
        }
        if let Memory::Acknowledged(ledgers) = &mut self.memory {
            let Slot { topic, queue_id, sequence, .. } = slot;
            let ledger = &mut ledgers[topic as usize];
            ledger.acknowledge(lane.producer, queue_id, sequence, self.batch_count);
        }
        self.tally.acknowledge(&slot, self.batch_count, self.window, now_ns);
        Ok(())
    }

    /// Whether messages were due within the window and are not sent: what a stall at its end delays
    /// must not be left out.
    pub fn is_late(&self) -> bool {
        match &self.pace {
            Pace::Open { schedule, .. } => {
                self.left > 0 && schedule.nth_ns(self.batch_count - 1) < self.window.end_ns
            }
            Pace::Closed => false,
        }
    }

    /// Gives up what was due within the window and is not sent: the run is over.
    pub fn give_up_rest(&mut self) {
        if let Pace::Open { schedule, .. } = &mut self.pace
            && self.window.end_ns != u64::MAX
        {
            self.tally.given_up += schedule.drop_before(self.window.end_ns, self.batch_count);
        }
    }

    // ---- sends ----------------------------------------------------------------------------------

    /// Sends what may be sent now.
    ///
    /// # Errors
    /// A socket is broken.
    pub fn pump(&mut self, wire: &mut Wire, now_ns: u64) -> Result<(), Error> {
        match &self.pace {
            Pace::Closed => self.pump_closed(wire, now_ns),
            Pace::Open { schedule, .. } if schedule.next_ns() <= now_ns => {
                self.pump_open(wire, now_ns)
            }
            Pace::Open { .. } => Ok(()),
        }
    }

    fn pump_closed(&mut self, wire: &mut Wire, now_ns: u64) -> Result<(), Error> {
        if now_ns >= self.window.end_ns {
            return Ok(());
        }
        let mut ready = std::mem::take(&mut self.ready);
        for lane in ready.drain(..) {
            self.lanes[lane].is_ready = false;
            let count = self.lanes[lane].open_slots();
            self.send(wire, lane, count, now_ns)?;
        }
        self.ready = ready;
        Ok(())
    }

    /// Spreads what is due over the lanes that have slots, so that each gets about as much.
    fn pump_open(&mut self, wire: &mut Wire, now_ns: u64) -> Result<(), Error> {
        if let Pace::Open { schedule, give_up_ns: Some(give_up_ns) } = &mut self.pace {
            let before_ns = now_ns.saturating_sub(*give_up_ns).min(self.window.end_ns);
            self.tally.given_up += schedule.drop_before(before_ns, self.batch_count);
        }
        while self.free_slots > 0 && self.left > 0 {
            let Pace::Open { schedule, .. } = &self.pace else { return Ok(()) };
            let due = schedule.due(now_ns.min(self.window.end_ns - 1)) / self.batch_count;
            if due == 0 {
                return Ok(());
            }
            let share = (due as usize).div_ceil(self.lanes.len());
            for _ in 0..self.lanes.len() {
                let lane = self.next_lane;
                self.next_lane = (lane + 1) % self.lanes.len();
                let count = share.min(self.lanes[lane].open_slots());
                if count > 0 {
                    self.send(wire, lane, count, now_ns)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends up to `count` requests on a lane that has as many slots.
    fn send(
        &mut self,
        wire: &mut Wire,
        lane: usize,
        count: usize,
        now_ns: u64,
    ) -> Result<(), Error> {
        let link = LinkIndex(self.first_link + lane);
        let left = usize::try_from(self.left.div_ceil(self.batch_count)).unwrap_or(usize::MAX);
        let mut rest = count.min(left);
        while rest > 0 {
            let written = self.write_requests(lane, rest, now_ns);
            self.free_slots -= written;
            self.requests_out += written as u64;
            rest -= written;
            wire.send(link, self.arena.taken())?;
            self.arena.clear();
        }
        Ok(())
    }

    /// Writes as many of `count` requests as there is room for; how many.
    fn write_requests(&mut self, lane: usize, count: usize, now_ns: u64) -> usize {
        let lane = &mut self.lanes[lane];
        let born_ms = now_ns / 1_000_000 + self.wall_offset_ms;
        for written in 0..count {
            let class = self.topics.digit_class(lane.next_topic);
            let size = self.picked.take().unwrap_or_else(|| self.picker.next());
            let template = &self.templates[class * self.size_count + size];
            let Some(frame) = self.arena.take(template) else {
                self.picked = Some(size);
                return written;
            };
            let intended_ns = match &mut self.pace {
                Pace::Closed => now_ns,
                Pace::Open { schedule, .. } => schedule.take_many(self.batch_count),
            };
            if intended_ns >= self.window.start_ns && self.left != u64::MAX {
                self.left = self.left.saturating_sub(self.batch_count);
            }
            let (topic, queue_id) = lane.next_stream(self.topics.count(), self.queue_count);
            let stream = (topic * self.queue_count + queue_id) as usize;
            let sequence = lane.sequences[stream];
            lane.sequences[stream] += self.batch_count;
            let body_bytes = template.body_bytes();
            let slot = Slot {
                opaque: 0,
                is_busy: true,
                topic,
                queue_id,
                sequence,
                body_bytes,
                intended_ns,
                sent_ns: now_ns,
            };
            let opaque = lane.begin(slot);
            let unique = self.first_unique + self.tally.sent_in_all;
            let stamp =
                Stamp { producer: lane.producer, queue_id, sequence, intended_ns, sent_ns: now_ns };
            template.patch(frame, &Message { opaque, born_ms, topic, unique, stamp });
            self.tally.sent_in_all += self.batch_count;
        }
        count
    }
}
