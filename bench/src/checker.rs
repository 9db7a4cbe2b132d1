//! Whether what is consumed is what was sent: nothing lost, twice, damaged or out of order.
//! Owns: what is expected next of each queue and of each producer in it, and the differences found.
//! Kind: machine
//! Invariants:
//!   a sequence below `next` of its stream was received, or lies in exactly one missing range
//!   every difference is counted, the first ones are kept as examples

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use proto::record::{Record, RecordError};

use crate::lane::{LANE_BITS, Refused};
use crate::ledger::{Gap, Ledger};
use crate::stamp::{Stamp, StampError};

/// Differences that are kept to be printed; of the others only the number is.
const EXAMPLES_MAX: usize = 20;

/// Gaps of one stream that are remembered in case their messages come late: those beyond count as
/// lost at once. A server that reorders does so within what a client has in flight.
const MISSING_RANGES_MAX: usize = 65_536;

/// Where the sequence of a producer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// At 0: everything was kept from the start.
    Zero,
    /// Anywhere: older messages may have expired or been consumed.
    Any,
}

/// Whether the messages of one producer must come in the order in which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Within their queue they must.
    Kept,
    /// Apache RocketMQ keeps it only for a producer that waits for each answer.
    Any,
}

/// A place where consumed and sent do not agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Bytes of a pull that are no record.
    Undecodable { queue_id: u32, offset: i64, error: RecordError },
    /// The server's CRC does not fit the body.
    StoredCrc { queue_id: u32, offset: i64, stored: u32, found: u32 },
    /// The body is not what was sent.
    Stamp { queue_id: u32, offset: i64, error: StampError },
    /// The message belongs to another queue, by its record or by its stamp.
    WrongQueue { queue_id: u32, offset: i64, record: i32, stamp: u32 },
    /// The message belongs to another topic.
    WrongTopic { queue_id: u32, offset: i64, found: String },
    /// The offset is not the next one of the queue.
    Offset { queue_id: u32, expected: i64, found: i64 },
    /// The server says that the next message has another offset than the one behind the last.
    NextOffset { queue_id: u32, expected: i64, found: i64 },
    /// The server moved the consumer.
    Moved { queue_id: u32, from: i64, to: i64 },
    /// A message of that producer came before.
    Duplicate { queue_id: u32, offset: i64, producer: u32, sequence: u64 },
    /// A message came behind a later one.
    Reordered { queue_id: u32, offset: i64, producer: u32, sequence: u64, next: u64 },
    /// Messages that never came.
    Lost { queue_id: u32, producer: u32, first: u64, last: u64, lost: u64 },
    /// Fewer messages than were asked for.
    TooFew { expected: u64, found: u64 },
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undecodable { queue_id, offset, error } => {
                write!(out, "queue {queue_id} from offset {offset}: {error}")
            }
            Self::StoredCrc { queue_id, offset, stored, found } => write!(
                out,
                "queue {queue_id} offset {offset}: body CRC {found:#010x}, the record says {stored:#010x}"
            ),
            Self::Stamp { queue_id, offset, error } => {
                write!(out, "queue {queue_id} offset {offset}: {error}")
            }
            Self::WrongQueue { queue_id, offset, record, stamp } => write!(
                out,
                "queue {queue_id} offset {offset}: record of queue {record}, sent to queue {stamp}"
            ),
            Self::WrongTopic { queue_id, offset, found } => {
                write!(out, "queue {queue_id} offset {offset}: message of topic {found}")
            }
            Self::Offset { queue_id, expected, found } => {
                write!(out, "queue {queue_id}: offset {found} where {expected} was next")
            }
            Self::NextOffset { queue_id, expected, found } => {
                write!(out, "queue {queue_id}: next offset {found}, not {expected}")
            }
            Self::Moved { queue_id, from, to } => {
                write!(out, "queue {queue_id}: the server moved the offset from {from} to {to}")
            }
            Self::Duplicate { queue_id, offset, producer, sequence } => write!(
                out,
                "queue {queue_id} offset {offset}: message {sequence} of producer {producer:#x} again"
            ),
            Self::Reordered { queue_id, offset, producer, sequence, next } => write!(
                out,
                "queue {queue_id} offset {offset}: message {sequence} of producer {producer:#x} late, \
                 {next} was next"
            ),
            Self::Lost { queue_id, producer, first, last, lost } => write!(
                out,
                "queue {queue_id}: {lost} of the messages {first} to {last} of producer {producer:#x} \
                 never came"
            ),
            Self::TooFew { expected, found } => {
                write!(out, "{found} messages came where {expected} were asked for")
            }
        }
    }
}

/// What was found in the end.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The first differences.
    pub examples: Vec<Difference>,
    /// All of them; a range of lost messages is one.
    pub count: u64,
    /// Messages that never came.
    pub lost: u64,
    /// Messages that came late, which is a difference only if order was to be kept.
    pub late: u64,
    /// Messages of other runs, not looked at any further.
    pub foreign: u64,
    /// Messages that came without having been acknowledged, where a ledger decides.
    pub unasked: u64,
}

impl Findings {
    /// Adds those of another topic.
    pub fn merge(&mut self, other: Findings) {
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
        self.count += other.count;
        self.lost += other.lost;
        self.late += other.late;
        self.foreign += other.foreign;
        self.unasked += other.unasked;
    }
}

/// See the module's first lines.
pub struct Checker {
    topic: String,
    first: First,
    order: Order,
    only_run: Option<u32>,
    next_offsets: Vec<i64>,
    streams: HashMap<(u32, u32), Stream>,
    /// What was acknowledged, if that is what decides; then the streams stay empty.
    ledger: Option<Ledger>,
    excused: HashSet<(u32, u32, u64)>,
    ours: u64,
    findings: Findings,
}

/// The messages of one producer in one queue.
#[derive(Debug)]
struct Stream {
    next: u64,
    /// Below it nothing is known.
    base: u64,
    /// First sequence of a gap to the one behind its last.
    missing: BTreeMap<u64, u64>,
}

impl Checker {
    /// Expects the queues to go on from these offsets. With `only_run` producers of other runs are
    /// left aside.
    pub fn new(
        topic: &str,
        first: First,
        order: Order,
        only_run: Option<u32>,
        next_offsets: Vec<i64>,
    ) -> Checker {
        Checker {
            topic: topic.to_owned(),
            first,
            order,
            only_run,
            next_offsets,
            streams: HashMap::new(),
            ledger: None,
            excused: HashSet::new(),
            ours: 0,
            findings: Findings::default(),
        }
    }

    /// Expects exactly what the ledger says was acknowledged, in any order; other messages of the run
    /// may come too.
    pub fn of_ledger(topic: &str, ledger: Ledger, run: u32, next_offsets: Vec<i64>) -> Checker {
        let checker = Checker::new(topic, First::Any, Order::Any, Some(run), next_offsets);
        Checker { ledger: Some(ledger), ..checker }
    }

    /// Differences so far.
    pub fn difference_count(&self) -> u64 {
        self.findings.count
    }

    /// Messages so far that have an intact stamp of a run that is looked at, duplicates included.
    pub fn ours(&self) -> u64 {
        self.ours
    }

    /// Looks at the next message of a queue; its stamp, if it is one of ours and intact.
    pub fn record(&mut self, queue_id: u32, record: &Record<'_>) -> Option<Stamp> {
        let fields = record.fields();
        let offset = fields.queue_offset;
        let expected = std::mem::replace(&mut self.next_offsets[queue_id as usize], offset + 1);
        if offset != expected {
            self.differ(Difference::Offset { queue_id, expected, found: offset });
        }
        if fields.topic != self.topic.as_bytes() {
            let found = String::from_utf8_lossy(fields.topic).into_owned();
            self.differ(Difference::WrongTopic { queue_id, offset, found });
        }
        let found = record.crc_of_body();
        if found != fields.body_crc {
            let stored = fields.body_crc;
            self.differ(Difference::StoredCrc { queue_id, offset, stored, found });
        }
        let stamp = match Stamp::read(fields.body) {
            Ok(stamp) => stamp,
            Err(error) => {
                self.differ(Difference::Stamp { queue_id, offset, error });
                return None;
            }
        };
        if self.only_run.is_some_and(|run| run_of(stamp.producer) != run_of(run << LANE_BITS)) {
            self.findings.foreign += 1;
            return None;
        }
        if stamp.queue_id != queue_id || fields.queue_id != queue_id as i32 {
            let (record, stamp) = (fields.queue_id, stamp.queue_id);
            self.differ(Difference::WrongQueue { queue_id, offset, record, stamp });
            return None;
        }
        self.ours += 1;
        self.sequence(&stamp, offset);
        Some(stamp)
    }

    fn sequence(&mut self, stamp: &Stamp, offset: i64) {
        let Stamp { producer, queue_id, sequence, .. } = *stamp;
        if let Some(ledger) = &mut self.ledger {
            if !ledger.see(producer, queue_id, sequence) {
                self.differ(Difference::Duplicate { queue_id, offset, producer, sequence });
            }
            return;
        }
        let start = if self.first == First::Zero { 0 } else { sequence };
        let stream = self.streams.entry((producer, queue_id)).or_insert_with(|| Stream {
            next: start,
            base: start,
            missing: BTreeMap::new(),
        });
        let next = stream.next;
        if sequence >= next {
            stream.next = sequence + 1;
            if sequence > next && !stream.miss(next, sequence) {
                self.lose(producer, queue_id, next, sequence);
            }
        } else if sequence < stream.base || stream.arrive(sequence) {
            self.findings.late += 1;
            if self.order == Order::Kept {
                let late = Difference::Reordered { queue_id, offset, producer, sequence, next };
                self.differ(late);
            }
        } else {
            self.differ(Difference::Duplicate { queue_id, offset, producer, sequence });
        }
    }

    /// The server says where the queue goes on behind the messages it gave.
    pub fn next_offset(&mut self, queue_id: u32, found: i64) {
        let expected = std::mem::replace(&mut self.next_offsets[queue_id as usize], found);
        if expected != found {
            self.differ(Difference::NextOffset { queue_id, expected, found });
        }
    }

    /// The server refused an offset and named another one.
    pub fn moved(&mut self, queue_id: u32, to: i64) {
        let from = std::mem::replace(&mut self.next_offsets[queue_id as usize], to);
        self.differ(Difference::Moved { queue_id, from, to });
    }

    /// Bytes that are no record; the rest of the pull is lost with them.
    pub fn undecodable(&mut self, queue_id: u32, error: RecordError) {
        let offset = self.next_offsets[queue_id as usize];
        self.differ(Difference::Undecodable { queue_id, offset, error });
    }

    /// Messages that the server refused need not come; they may all the same.
    pub fn excuse(&mut self, refused: &Refused) {
        let Refused { producer, queue_id, sequence, count, .. } = *refused;
        let each = (sequence..sequence + count).map(|number| (producer, queue_id, number));
        self.excused.extend(each);
    }

    /// All messages below `next` of this producer and queue were sent, whatever was received.
    pub fn expect_until(&mut self, producer: u32, queue_id: u32, next: u64) {
        let stream = self.streams.entry((producer, queue_id)).or_insert_with(|| Stream {
            next: 0,
            base: 0,
            missing: BTreeMap::new(),
        });
        if next > stream.next {
            let from = std::mem::replace(&mut stream.next, next);
            if !stream.miss(from, next) {
                self.lose(producer, queue_id, from, next);
            }
        }
    }

    /// So many messages were to come.
    pub fn expect_count(&mut self, expected: u64, found: u64) {
        if found < expected {
            self.differ(Difference::TooFew { expected, found });
        }
    }

    /// Nothing more will come: what is missing is lost.
    pub fn finish(mut self) -> Findings {
        let mut streams: Vec<_> = std::mem::take(&mut self.streams).into_iter().collect();
        streams.sort_by_key(|(key, _)| *key);
        for ((producer, queue_id), stream) in streams {
            for (first, end) in stream.missing {
                self.lose(producer, queue_id, first, end);
            }
        }
        if let Some(ledger) = self.ledger.take() {
            self.findings.unasked = ledger.unasked_count();
            for Gap { producer, queue_id, first, last } in ledger.gaps() {
                let lost = last - first + 1;
                self.findings.lost += lost;
                self.differ(Difference::Lost { queue_id, producer, first, last, lost });
            }
        }
        self.findings
    }

    /// Counts the messages of a gap as lost, those apart that were refused.
    fn lose(&mut self, producer: u32, queue_id: u32, first: u64, end: u64) {
        let is_here = |(of, queue, sequence): &&(u32, u32, u64)| {
            (*of, *queue) == (producer, queue_id) && (first..end).contains(sequence)
        };
        let excused = self.excused.iter().filter(is_here).count() as u64;
        let lost = end - first - excused;
        if lost > 0 {
            self.findings.lost += lost;
            self.differ(Difference::Lost { queue_id, producer, first, last: end - 1, lost });
        }
    }

    fn differ(&mut self, difference: Difference) {
        self.findings.count += 1;
        if self.findings.examples.len() < EXAMPLES_MAX {
            self.findings.examples.push(difference);
        }
    }
}

/// A producer's number without its connection.
fn run_of(producer: u32) -> u32 {
    producer >> LANE_BITS
}

impl Stream {
    /// Remembers a gap; false if there are too many.
    fn miss(&mut self, first: u64, end: u64) -> bool {
        let has_room = self.missing.len() < MISSING_RANGES_MAX;
        if has_room {
            self.missing.insert(first, end);
        }
        has_room
    }

    /// Takes a sequence out of its gap; false if it lies in none.
    fn arrive(&mut self, sequence: u64) -> bool {
        let Some((&first, &end)) = self.missing.range(..=sequence).next_back() else {
            return false;
        };
        if sequence >= end {
            return false;
        }
        self.missing.remove(&first);
        if first < sequence {
            self.missing.insert(first, sequence);
        }
        if sequence + 1 < end {
            self.missing.insert(sequence + 1, end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use proto::record::{RecordFields, body_crc};

    use super::*;
    use crate::stamp::{STAMP_BYTES, filler_hasher};

    const QUEUE: u32 = 1;

    /// A message as it is pulled: which offset it has, and what its body says.
    #[derive(Debug, Clone)]
    struct Stored {
        offset: i64,
        body: Vec<u8>,
        crc: u32,
    }

    fn stored(offset: i64, producer: u32, sequence: u64) -> Stored {
        let mut body = vec![5; STAMP_BYTES + 16];
        let filler = filler_hasher(&body[STAMP_BYTES..]);
        let stamp = Stamp { producer, queue_id: QUEUE, sequence, intended_ns: 1, sent_ns: 2 };
        let body_bytes = body.len() as u32;
        stamp.write(body.first_chunk_mut().expect("long enough"), body_bytes, &filler);
        let crc = body_crc(&body);
        Stored { offset, body, crc }
    }

    /// Two producers that take turns, `count` messages in all, from offset 100.
    fn sent(count: usize) -> Vec<Stored> {
        (0..count).map(|i| stored(100 + i as i64, 7 + (i as u32 & 1), i as u64 / 2)).collect()
    }

    fn encode(stored: &Stored, topic: &str, queue_id: i32) -> Vec<u8> {
        let host: SocketAddr = "127.0.0.1:1".parse().expect("address");
        let fields = RecordFields {
            queue_id,
            flag: 0,
            queue_offset: stored.offset,
            physic_offset: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: host,
            store_timestamp: 0,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &stored.body,
            body_crc: stored.crc,
            topic: topic.as_bytes(),
            properties: b"",
        };
        let mut out = vec![0; fields.encoded_bytes()];
        fields.encode(&mut out);
        out
    }

    fn checker(first: First, order: Order) -> Checker {
        Checker::new("t", first, order, None, vec![0, 100])
    }

    fn feed(checker: &mut Checker, messages: &[Stored]) {
        for message in messages {
            let bytes = encode(message, "t", QUEUE as i32);
            let (record, _) = Record::decode(&bytes).expect("a record");
            checker.record(QUEUE, &record);
        }
    }

    fn found(messages: &[Stored], order: Order) -> Findings {
        let mut checker = checker(First::Zero, order);
        feed(&mut checker, messages);
        checker.finish()
    }

    /// Offsets as a server gives them that lost, doubled or swapped messages before it stored them.
    fn renumber(messages: &mut [Stored]) {
        messages.iter_mut().zip(100..).for_each(|(message, offset)| message.offset = offset);
    }

    #[test]
    fn what_was_sent_is_accepted() {
        let findings = found(&sent(100), Order::Kept);
        assert_eq!((findings.count, findings.late, findings.lost), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn a_lost_message_is_found(at in 0usize..96, renumbered: bool) {
            let mut messages = sent(100);
            messages.remove(at);
            if renumbered {
                renumber(&mut messages);
            }
            let findings = found(&messages, Order::Any);
            prop_assert_eq!(findings.lost, 1);
            prop_assert_eq!(findings.count, if renumbered { 1 } else { 2 });
        }

        #[test]
        fn a_message_lost_at_the_end_is_found_if_its_producer_tells(tail in 1usize..40) {
            let mut checker = checker(First::Zero, Order::Kept);
            feed(&mut checker, &sent(100)[..100 - tail]);
            (7..=8).for_each(|producer| checker.expect_until(producer, QUEUE, 50));
            prop_assert_eq!(checker.finish().lost, tail as u64);
        }

        #[test]
        fn a_duplicate_is_found(at in 0usize..100, again in 0usize..100) {
            let mut messages = sent(100);
            let (at, again) = (at.min(again), at.max(again));
            messages.insert(again + 1, messages[at].clone());
            renumber(&mut messages);
            let findings = found(&messages, Order::Any);
            prop_assert_eq!(findings.count, 1);
            let is_duplicate = matches!(findings.examples[0], Difference::Duplicate { .. });
            prop_assert!(is_duplicate);
        }

        #[test]
        fn swapped_messages_are_found(at in 0usize..98) {
            let mut messages = sent(100);
            // The neighbour of the same producer.
            messages.swap(at, at + 2);
            let out_of_place = found(&messages, Order::Any);
            prop_assert!(out_of_place.count >= 3, "offsets");
            renumber(&mut messages);
            let findings = found(&messages, Order::Kept);
            prop_assert_eq!((findings.count, findings.late, findings.lost), (1, 1, 0));
            let is_reordered = matches!(findings.examples[0], Difference::Reordered { .. });
            prop_assert!(is_reordered);
            prop_assert_eq!(found(&messages, Order::Any).count, 0);
        }

        #[test]
        fn a_damaged_body_is_found(at in 0usize..100, bit in 0usize..480, refreshed: bool) {
            let mut messages = sent(100);
            messages[at].body[bit / 8] ^= 1 << (bit % 8);
            if refreshed {
                // Damaged on its way to the server, which then made its CRC of the damage.
                messages[at].crc = body_crc(&messages[at].body);
            }
            let findings = found(&messages, Order::Kept);
            let is_stamp = |d: &Difference| matches!(d, Difference::Stamp { .. });
            let is_crc = |d: &Difference| matches!(d, Difference::StoredCrc { .. });
            prop_assert!(findings.examples.iter().any(is_stamp));
            prop_assert_eq!(findings.examples.iter().any(is_crc), !refreshed);
        }

        #[test]
        fn any_order_of_everything_is_accepted_if_order_does_not_matter(
            order in Just((0..60usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let messages = sent(60);
            let mut shuffled: Vec<_> = order.iter().map(|at| messages[*at].clone()).collect();
            renumber(&mut shuffled);
            prop_assert_eq!(found(&shuffled, Order::Any).count, 0);
        }
    }

    #[test]
    fn a_message_of_another_queue_or_topic_is_found() {
        let message = stored(100, 7, 0);
        for (topic, queue_id) in [("t", 2), ("u", QUEUE as i32)] {
            let mut checker = checker(First::Zero, Order::Kept);
            let bytes = encode(&message, topic, queue_id);
            checker.record(QUEUE, &Record::decode(&bytes).expect("a record").0);
            assert_eq!(checker.finish().count, 1);
        }
    }

    #[test]
    fn refused_messages_need_not_come() {
        let mut messages = sent(100);
        messages.remove(50);
        renumber(&mut messages);
        let mut checker = checker(First::Zero, Order::Kept);
        let (producer, queue_id, sequence) = (7, QUEUE, 25);
        checker.excuse(&Refused { producer, topic: 0, queue_id, sequence, count: 1 });
        feed(&mut checker, &messages);
        assert_eq!(checker.finish().count, 0);
    }

    #[test]
    fn only_what_was_acknowledged_must_come() {
        let mut ledger = Ledger::default();
        ledger.acknowledge(7, QUEUE, 0, 50);
        ledger.acknowledge(8, QUEUE, 0, 40);
        let mut messages = sent(100);
        // The 20th of producer 7 and, behind what of it was acknowledged, the 45th of producer 8.
        messages.retain(|it| it.offset != 100 + 40 && it.offset != 100 + 91);
        renumber(&mut messages);
        let run = 7 >> LANE_BITS;
        let mut checker = Checker::of_ledger("t", ledger, run, vec![0, 100]);
        feed(&mut checker, &messages);
        let findings = checker.finish();
        assert_eq!((findings.count, findings.lost, findings.unasked), (1, 1, 9));
    }

    #[test]
    fn older_messages_may_be_gone_if_so_said() {
        let mut messages = sent(100);
        messages.drain(..20);
        renumber(&mut messages);
        assert_eq!(found(&messages, Order::Kept).lost, 20);
        let mut checker = checker(First::Any, Order::Kept);
        feed(&mut checker, &messages);
        assert_eq!(checker.finish().count, 0);
    }

    #[test]
    fn other_runs_are_left_aside() {
        let mut messages = vec![stored(100, 9 << LANE_BITS, 5), stored(101, 3 << LANE_BITS, 0)];
        messages.push(stored(102, 3 << LANE_BITS | 1, 0));
        let mut checker = Checker::new("t", First::Zero, Order::Kept, Some(3), vec![0, 100]);
        feed(&mut checker, &messages);
        let findings = checker.finish();
        assert_eq!((findings.count, findings.foreign), (0, 1));
    }

    #[test]
    fn a_server_that_skips_is_found() {
        let mut checker = checker(First::Zero, Order::Kept);
        feed(&mut checker, &sent(4));
        checker.next_offset(QUEUE, 104);
        assert_eq!(checker.difference_count(), 0);
        checker.next_offset(QUEUE, 105);
        checker.moved(QUEUE, 90);
        checker.expect_count(5, 4);
        checker.expect_count(4, 4);
        assert_eq!(checker.finish().count, 3);
    }
}
