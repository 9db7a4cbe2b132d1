//! What one connection has in flight.
//! Owns: the slots of its unanswered requests, the sequences of its messages.
//! Kind: machine
//! Invariants:
//!   a slot is busy or in `free`, never both
//!   no two requests in flight have the same opaque

use crate::template::{OPAQUE_END, OPAQUE_FIRST};

/// Bits of a producer's number that tell connections of a run apart; 4096 is their greatest count.
pub const LANE_BITS: u32 = 12;

/// Messages of one request that were not stored: nobody will consume them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub producer: u32,
    pub topic: u32,
    pub queue_id: u32,
    /// Of the first.
    pub sequence: u64,
    pub count: u64,
}

/// See the module's first lines.
pub struct Lane {
    pub producer: u32,
    pub slots: Vec<Slot>,
    pub free: Vec<u32>,
    /// Next sequence of each queue of each topic.
    pub sequences: Vec<u64>,
    pub next_topic: u32,
    pub next_queue: u32,
    pub is_open: bool,
    pub is_ready: bool,
    pub has_answered: bool,
}

/// A request in flight, or room for one.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Of the request in flight, or of the one that will be next.
    pub opaque: i32,
    pub is_busy: bool,
    pub topic: u32,
    pub queue_id: u32,
    pub sequence: u64,
    pub body_bytes: u64,
    pub intended_ns: u64,
    pub sent_ns: u64,
}

impl Slot {
    /// The messages of the request.
    pub fn messages(&self, producer: u32, count: u64) -> Refused {
        let Slot { topic, queue_id, sequence, .. } = *self;
        Refused { producer, topic, queue_id, sequence, count }
    }
}

impl Lane {
    /// Of a producer with this number, that counts its messages in so many queues of topics.
    pub fn new(producer: u32, in_flight: u32, stream_count: usize) -> Lane {
        let slot = |index: u32| Slot {
            opaque: OPAQUE_FIRST + index as i32,
            is_busy: false,
            topic: 0,
            queue_id: 0,
            sequence: 0,
            body_bytes: 0,
            intended_ns: 0,
            sent_ns: 0,
        };
        Lane {
            producer,
            slots: (0..in_flight).map(slot).collect(),
            free: (0..in_flight).rev().collect(),
            sequences: vec![0; stream_count],
            next_topic: 0,
            next_queue: 0,
            is_open: true,
            is_ready: true,
            has_answered: false,
        }
    }

    /// Requests that may be sent now.
    pub fn open_slots(&self) -> usize {
        if self.is_open { self.free.len() } else { 0 }
    }

    /// The topic and queue of the next request: all topics in turn, then the next queue of each.
    pub fn next_stream(&mut self, topic_count: u32, queue_count: u32) -> (u32, u32) {
        let stream = (self.next_topic, self.next_queue);
        self.next_topic += 1;
        if self.next_topic == topic_count {
            self.next_topic = 0;
            self.next_queue =
                if self.next_queue + 1 == queue_count { 0 } else { self.next_queue + 1 };
        }
        stream
    }

    /// Takes a free slot for the next request of this lane and returns its opaque.
    pub fn begin(&mut self, request: Slot) -> i32 {
        let index = self.free.pop().expect("callers send no more than there are slots");
        let slot = &mut self.slots[index as usize];
        let opaque = slot.opaque;
        *slot = Slot { opaque, ..request };
        opaque
    }

    /// Frees the slot of an answer; `None` if no request waits for it.
    pub fn finish(&mut self, opaque: i32) -> Option<Slot> {
        let number = usize::try_from(opaque.checked_sub(OPAQUE_FIRST)?).ok()?;
        let index = number % self.slots.len();
        let slot = self.slots[index];
        if slot.opaque != opaque || !slot.is_busy {
            return None;
        }
        self.free(index);
        Some(slot)
    }

    fn free(&mut self, index: usize) {
        let slot_count = self.slots.len() as i32;
        let slot = &mut self.slots[index];
        slot.is_busy = false;
        // The next request of the slot has another opaque: a late second answer is not taken for its.
        let next = slot.opaque + slot_count;
        slot.opaque = if next < OPAQUE_END { next } else { OPAQUE_FIRST + index as i32 };
        self.free.push(index as u32);
    }

    /// Frees all slots without an answer; how many.
    pub fn abandon(&mut self) -> u64 {
        let busy: Vec<usize> =
            (0..self.slots.len()).filter(|index| self.slots[*index].is_busy).collect();
        busy.iter().for_each(|index| self.free(*index));
        busy.len() as u64
    }
}
