//! Sends messages over several connections and measures their acknowledgement.
//! Owns: templates, the slots of unanswered messages, sequences, the schedule, the latencies.
//! Kind: machine, apart from handing bytes to the wire
//! Invariants:
//!   a connection never has more messages in flight than it has slots
//!   a message of an open loop has the time of the schedule, however late it leaves
//!   sequences of a (producer, queue) leave in order on one connection

use std::net::SocketAddr;

use proto::command::Command;
use proto::frame::Frame;
use proto::header::SendAnswer;

use crate::answer;
use crate::clock;
use crate::error::Error;
use crate::latency::Latency;
use crate::refusals::Refusals;
use crate::schedule::Schedule;
use crate::stamp::Stamp;
use crate::template::{Fixed, Message, OPAQUE_END, OPAQUE_FIRST, SendTemplate};
use crate::window::Window;
use crate::wire::{LinkIndex, Wire};

/// Bytes of frames that one send gathers: more would fall out of the second-level cache.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Bits of a producer's number that tell connections of a run apart; 4096 is their greatest count.
pub const LANE_BITS: u32 = 12;

/// When messages are sent.
#[derive(Debug, Clone)]
pub enum Pace {
    /// As soon as an answer frees a slot.
    Closed,
    /// On a schedule.
    Open(Schedule),
}

/// What the sends of a run came to.
#[derive(Debug)]
pub struct SendTally {
    /// From the intended send time; only an open loop has one of its own.
    pub corrected: Latency,
    /// From the actual send time.
    pub uncorrected: Latency,
    /// Messages acknowledged within the window.
    pub acked: u64,
    /// When the last of them was.
    pub last_ack_ns: u64,
    /// Messages sent and acknowledged from the start to the end of the run.
    pub sent_in_all: u64,
    pub acked_in_all: u64,
    pub refusals: Refusals,
    /// Answers to questions that nobody asked, or asked once and had answered.
    pub unknown_answers: u64,
}

/// A message that was not stored: nobody will consume it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub producer: u32,
    pub queue_id: u32,
    pub sequence: u64,
}

/// See the module's first lines.
pub struct Producer {
    template: SendTemplate,
    /// Copies of the template, patched and sent together.
    arena: Vec<u8>,
    batch_count_max: usize,
    lanes: Vec<Lane>,
    /// Lanes with free slots that nobody has looked at since.
    ready: Vec<usize>,
    next_lane: usize,
    free_slots: usize,
    pace: Pace,
    window: Window,
    /// Messages of the window that may still be sent.
    left: u64,
    queue_count: u32,
    /// What is to be added to monotonic milliseconds to get those of the wall.
    wall_offset_ms: u64,
    first_link: usize,
    address: SocketAddr,
    keep_refused: bool,
    refused: Vec<Refused>,
    pub tally: SendTally,
}

/// What one connection has in flight.
struct Lane {
    producer: u32,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Next sequence of each queue.
    sequences: Vec<u64>,
    next_queue: u32,
    is_ready: bool,
    has_answered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Of the message in flight, or of the one that will be next.
    opaque: i32,
    is_busy: bool,
    queue_id: u32,
    sequence: u64,
    intended_ns: u64,
    sent_ns: u64,
}

/// Settings of a producer.
#[derive(Debug)]
pub struct ProducerSettings<'a> {
    pub fixed: Fixed<'a>,
    pub connections: u32,
    pub in_flight: u32,
    pub pace: Pace,
    pub window: Window,
    /// Messages to send within the window; `u64::MAX` if its end decides.
    pub count: u64,
    /// Whether [`Producer::take_refused`] will be asked.
    pub keep_refused: bool,
    /// Link of the first connection; the others follow it.
    pub first_link: usize,
    /// The broker, for messages.
    pub address: SocketAddr,
}

impl Producer {
    /// Makes everything that sending needs; nothing is allocated later.
    pub fn new(settings: ProducerSettings<'_>) -> Producer {
        let template = SendTemplate::new(&settings.fixed);
        let frame_bytes = template.frame().len();
        let batch_count_max = (BATCH_BYTES_MAX / frame_bytes).clamp(1, settings.in_flight as usize);
        let queue_count = settings.fixed.queue_count;
        let lanes = (0..settings.connections)
            .map(|index| {
                // The run in the upper bits; neighbours begin at neighbouring queues.
                let producer = settings.fixed.run << LANE_BITS | index;
                Lane::new(producer, settings.in_flight, queue_count, index % queue_count)
            })
            .collect::<Vec<_>>();
        let monotonic_ms = clock::monotonic_ns() / 1_000_000;
        Producer {
            arena: template.frame().repeat(batch_count_max),
            template,
            batch_count_max,
            ready: (0..lanes.len()).collect(),
            next_lane: 0,
            free_slots: lanes.len() * settings.in_flight as usize,
            lanes,
            pace: settings.pace,
            window: settings.window,
            left: settings.count,
            queue_count,
            wall_offset_ms: clock::wall_ms() - monotonic_ms,
            first_link: settings.first_link,
            address: settings.address,
            keep_refused: settings.keep_refused,
            refused: Vec::new(),
            tally: SendTally {
                corrected: Latency::new(),
                uncorrected: Latency::new(),
                acked: 0,
                last_ack_ns: settings.window.start_ns,
                sent_in_all: 0,
                acked_in_all: 0,
                refusals: Refusals::default(),
                unknown_answers: 0,
            },
        }
    }

    /// Messages sent and not answered.
    pub fn in_flight(&self) -> u64 {
        self.tally.sent_in_all - self.tally.acked_in_all - self.tally.refusals.total()
    }

    /// Whether all messages asked for were sent and answered.
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.in_flight() == 0
    }

    /// Bytes of one request.
    pub fn frame_bytes(&self) -> usize {
        self.template.frame().len()
    }

    /// When there is something to send without an answer arriving before.
    pub fn next_due_ns(&self) -> u64 {
        match &self.pace {
            Pace::Open(schedule) if self.free_slots > 0 && self.left > 0 => schedule.next_ns(),
            Pace::Open(_) | Pace::Closed => u64::MAX,
        }
    }

    /// Of each producer and queue, how many messages were sent: all sequences below.
    pub fn sequences(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        self.lanes.iter().flat_map(|lane| {
            let of_queue = |(queue, next): (usize, &u64)| (lane.producer, queue as u32, *next);
            lane.sequences.iter().enumerate().map(of_queue)
        })
    }

    /// Messages that were refused since the last call.
    pub fn take_refused(&mut self) -> Vec<Refused> {
        std::mem::take(&mut self.refused)
    }

    /// Messages whose answer has not come: they may be stored or not.
    pub fn unanswered(&self) -> impl Iterator<Item = Refused> + '_ {
        self.lanes.iter().flat_map(|lane| {
            let busy = lane.slots.iter().filter(|slot| slot.is_busy);
            busy.map(|slot| Refused {
                producer: lane.producer,
                queue_id: slot.queue_id,
                sequence: slot.sequence,
            })
        })
    }

    /// Whether frames of this link are answers for this producer.
    pub fn owns(&self, link: LinkIndex) -> bool {
        (self.first_link..self.first_link + self.lanes.len()).contains(&link.0)
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
        if !std::mem::replace(&mut lane.is_ready, true) {
            self.ready.push(lane_index);
        }
        if answer.code != proto::code::response::SUCCESS {
            self.tally.refusals.count(answer.code, frame);
            if self.keep_refused {
                let Slot { queue_id, sequence, .. } = slot;
                self.refused.push(Refused { producer: lane.producer, queue_id, sequence });
            }
            return Ok(());
        }
        if !std::mem::replace(&mut lane.has_answered, true) {
            // The fast path looks at two fields; once for each connection all must be there.
            let command = Command::decode(frame).map_err(unreadable)?;
            SendAnswer::parse(&command).map_err(unreadable)?;
        }
        self.tally.acknowledge(&slot, self.window, now_ns);
        Ok(())
    }

    // ---- sends ----------------------------------------------------------------------------------

    /// Sends what may be sent now.
    ///
    /// # Errors
    /// A socket is broken.
    pub fn pump(&mut self, wire: &mut Wire, now_ns: u64) -> Result<(), Error> {
        match &self.pace {
            Pace::Closed => self.pump_closed(wire, now_ns),
            Pace::Open(schedule) if schedule.next_ns() <= now_ns => self.pump_open(wire, now_ns),
            Pace::Open(_) => Ok(()),
        }
    }

    fn pump_closed(&mut self, wire: &mut Wire, now_ns: u64) -> Result<(), Error> {
        if now_ns >= self.window.end_ns {
            return Ok(());
        }
        let mut ready = std::mem::take(&mut self.ready);
        for lane in ready.drain(..) {
            self.lanes[lane].is_ready = false;
            let count = self.lanes[lane].free.len();
            self.send(wire, lane, count, now_ns)?;
        }
        self.ready = ready;
        Ok(())
    }

    /// Spreads what is due over the lanes that have slots, so that each gets about as much.
    fn pump_open(&mut self, wire: &mut Wire, now_ns: u64) -> Result<(), Error> {
        while self.free_slots > 0 && self.left > 0 {
            let Pace::Open(schedule) = &self.pace else { return Ok(()) };
            let due = schedule.due(now_ns.min(self.window.end_ns - 1)) as usize;
            if due == 0 {
                return Ok(());
            }
            let share = due.div_ceil(self.lanes.len());
            for _ in 0..self.lanes.len() {
                let lane = self.next_lane;
                self.next_lane = (lane + 1) % self.lanes.len();
                let count = share.min(self.lanes[lane].free.len());
                if count > 0 {
                    self.send(wire, lane, count, now_ns)?;
                    break;
                }
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        wire: &mut Wire,
        lane: usize,
        count: usize,
        now_ns: u64,
    ) -> Result<(), Error> {
        let mut rest = count.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let link = LinkIndex(self.first_link + lane);
        while rest > 0 {
            let batch = rest.min(self.batch_count_max);
            let frame_bytes = self.template.frame().len();
            for index in 0..batch {
                let intended_ns = match &mut self.pace {
                    Pace::Closed => now_ns,
                    Pace::Open(schedule) => schedule.take(),
                };
                if intended_ns >= self.window.start_ns && self.left != u64::MAX {
                    self.left -= 1;
                }
                let born_ms = now_ns / 1_000_000 + self.wall_offset_ms;
                let unique = self.tally.sent_in_all;
                let lane = &mut self.lanes[lane];
                let message = lane.begin(self.queue_count, intended_ns, now_ns, born_ms, unique);
                let at = index * frame_bytes;
                self.template.patch(&mut self.arena[at..at + frame_bytes], &message);
                self.tally.sent_in_all += 1;
            }
            wire.send(link, &self.arena[..batch * frame_bytes])?;
            self.free_slots -= batch;
            rest -= batch;
        }
        Ok(())
    }
}

impl SendTally {
    fn acknowledge(&mut self, slot: &Slot, window: Window, now_ns: u64) {
        self.acked_in_all += 1;
        if window.counts(slot.intended_ns, now_ns) {
            self.acked += 1;
            self.last_ack_ns = now_ns;
        }
        // A message belongs to the window it was meant for, however late its answer.
        if window.contains(slot.intended_ns) {
            self.corrected.record(now_ns - slot.intended_ns);
            self.uncorrected.record(now_ns - slot.sent_ns);
        }
    }
}

impl Lane {
    fn new(producer: u32, in_flight: u32, queue_count: u32, first_queue: u32) -> Lane {
        let slot = |index: u32| Slot {
            opaque: OPAQUE_FIRST + index as i32,
            is_busy: false,
            queue_id: 0,
            sequence: 0,
            intended_ns: 0,
            sent_ns: 0,
        };
        Lane {
            producer,
            slots: (0..in_flight).map(slot).collect(),
            free: (0..in_flight).rev().collect(),
            sequences: vec![0; queue_count as usize],
            next_queue: first_queue,
            is_ready: true,
            has_answered: false,
        }
    }

    /// Takes a free slot for the next message of this lane.
    fn begin(
        &mut self,
        queue_count: u32,
        intended_ns: u64,
        now_ns: u64,
        born_ms: u64,
        unique: u64,
    ) -> Message {
        let queue_id = self.next_queue;
        self.next_queue = if queue_id + 1 == queue_count { 0 } else { queue_id + 1 };
        let sequence = &mut self.sequences[queue_id as usize];
        let index = self.free.pop().expect("callers send no more than there are slots");
        let slot = &mut self.slots[index as usize];
        *slot = Slot {
            opaque: slot.opaque,
            is_busy: true,
            queue_id,
            sequence: *sequence,
            intended_ns,
            sent_ns: now_ns,
        };
        let stamp = Stamp {
            producer: self.producer,
            queue_id,
            sequence: *sequence,
            intended_ns,
            sent_ns: now_ns,
        };
        *sequence += 1;
        Message { opaque: slot.opaque, born_ms, unique, stamp }
    }

    /// Frees the slot of an answer; `None` if no message waits for it.
    fn finish(&mut self, opaque: i32) -> Option<Slot> {
        let number = usize::try_from(opaque.checked_sub(OPAQUE_FIRST)?).ok()?;
        let index = number % self.slots.len();
        let slot_count = self.slots.len() as i32;
        let slot = &mut self.slots[index];
        if slot.opaque != opaque || !slot.is_busy {
            return None;
        }
        let finished = *slot;
        slot.is_busy = false;
        // The next message of the slot has another opaque: a late second answer is not taken for its.
        let next = slot.opaque + slot_count;
        slot.opaque = if next < OPAQUE_END { next } else { OPAQUE_FIRST + index as i32 };
        self.free.push(index as u32);
        Some(finished)
    }
}
