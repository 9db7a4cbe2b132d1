//! Producers that send as fast as the broker takes it, and the ledger of what they were told.
//!
//! What a message holds follows from its producer and number, so that the ledger keeps these only and
//! whatever is read can be compared whole, acknowledged or not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Client, Reply, records};

/// Queues of a topic under load.
pub const QUEUES: i32 = 4;

/// Bytes of the longest body.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the shortest: producer, number and its own length.
const BODY_BYTES_MIN: usize = 12;

/// Bytes that bodies are cut from: nothing in them repeats, so a block in the wrong place shows.
const POOL_BYTES: usize = 1 << 20;

/// How long a producer that was refused waits before it sends again.
const REFUSED_PAUSE: Duration = Duration::from_millis(2);

/// A message: the `number`th of its producer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Message {
    /// Which connection, never used twice for one store.
    pub producer: u32,
    /// From 0.
    pub number: u32,
}

impl Message {
    /// The queue that it goes to.
    pub fn queue(self) -> i32 {
        self.number.cast_signed() % QUEUES
    }

    fn mixed(self) -> usize {
        let both = u64::from(self.producer) << 32 | u64::from(self.number);
        (both.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) as usize
    }

    /// Its body, of up to `bytes_max`: from some bytes to several blocks, so that records lie
    /// everywhere in theirs.
    pub fn body(self, bytes_max: usize) -> Vec<u8> {
        assert!((BODY_BYTES_MIN + 1..=BODY_BYTES_MAX).contains(&bytes_max));
        let size = BODY_BYTES_MIN + self.mixed() % (bytes_max - BODY_BYTES_MIN);
        self.sized_body(size)
    }

    fn sized_body(self, size: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(size);
        body.extend_from_slice(&self.producer.to_le_bytes());
        body.extend_from_slice(&self.number.to_le_bytes());
        body.extend_from_slice(&u32::try_from(size).expect("small").to_le_bytes());
        let at = self.mixed() % (POOL_BYTES - BODY_BYTES_MAX);
        body.extend_from_slice(&pool()[at..at + size - BODY_BYTES_MIN]);
        body
    }

    /// The message that a body is of, if each of its bytes is right.
    pub fn of(body: &[u8]) -> Option<Message> {
        let word = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().expect("four bytes")))
        };
        let message = Message { producer: word(0)?, number: word(4)? };
        let size = word(8)? as usize;
        let is_whole = size == body.len() && size <= BODY_BYTES_MAX;
        (is_whole && message.sized_body(size) == body).then_some(message)
    }
}

fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut bytes = Vec::with_capacity(POOL_BYTES);
        while bytes.len() < POOL_BYTES {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes
    })
}

/// What producers send, and what they put up with.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Where to; it has [`QUEUES`] queues.
    pub topic: &'static str,
    /// Sends without an answer, per connection.
    pub in_flight: usize,
    /// Bytes of the longest body.
    pub body_bytes_max: usize,
    /// Code 14 is an answer, not a failure of the test.
    pub may_refuse: bool,
}

/// What one producer was told.
#[derive(Default, Debug)]
pub struct Told {
    acknowledged: Vec<((i32, i64), Message, Instant)>,
    refused: Vec<Message>,
    remarks: BTreeSet<String>,
}

#[derive(Default)]
struct Counters {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

/// Connections that send until they are told to stop or the broker is gone.
pub struct Producers {
    threads: Vec<JoinHandle<Told>>,
    counters: Arc<Counters>,
}

impl Producers {
    /// Starts them; their numbers begin with `first`.
    pub fn start(broker: SocketAddr, load: Load, count: u32, first: u32) -> Producers {
        let counters: Arc<Counters> = Arc::default();
        let threads = (first..first + count).map(|producer| {
            let client = Client::connect(broker);
            let counters = Arc::clone(&counters);
            std::thread::spawn(move || produce(client, producer, load, &counters))
        });
        Producers { threads: threads.collect(), counters }
    }

    /// Sends acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.counters.acknowledged.load(Ordering::Relaxed)
    }

    /// Sends refused so far.
    pub fn refused(&self) -> u64 {
        self.counters.refused.load(Ordering::Relaxed)
    }

    /// Waits until `done`, which must come within the deadline while all producers go on.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Producers) -> bool) {
        let deadline = Instant::now() + super::DEADLINE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what} did not come");
            assert!(self.threads.iter().all(|it| !it.is_finished()), "a producer ended");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends them, with the last answers or with the broker, and enters what they were told.
    pub fn finish(self, ledger: &mut Ledger) {
        self.counters.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            ledger.enter(thread.join().expect("producers saw nothing wrong"));
        }
    }
}

fn produce(mut client: Client, producer: u32, load: Load, counters: &Counters) -> Told {
    let (mut told, mut waiting, mut number) = (Told::default(), HashMap::new(), 0);
    loop {
        let is_over = counters.is_over.load(Ordering::Relaxed);
        while !is_over && waiting.len() < load.in_flight {
            let message = Message { producer, number };
            number += 1;
            let body = message.body(load.body_bytes_max);
            waiting.insert(client.queue_send(load.topic, message.queue(), &body), message);
        }
        if waiting.is_empty() || client.write_queued().is_err() {
            return told;
        }
        let Some(reply) = client.read() else { return told };
        let (acknowledged, refused) = (told.acknowledged.len(), told.refused.len());
        let mut next = Some(reply);
        while let Some(reply) = next {
            let message = waiting.remove(&reply.opaque).expect("answers belong to requests");
            told.answered(message, &reply, load);
            next = client.next_received();
        }
        let acknowledged = (told.acknowledged.len() - acknowledged) as u64;
        let refused = (told.refused.len() - refused) as u64;
        counters.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        counters.refused.fetch_add(refused, Ordering::Relaxed);
        if refused > 0 {
            std::thread::sleep(REFUSED_PAUSE);
        }
    }
}

impl Told {
    fn answered(&mut self, message: Message, reply: &Reply, load: Load) {
        match reply.code {
            0 => {
                let place = (reply.number("queueId") as i32, reply.number("queueOffset"));
                self.acknowledged.push((place, message, Instant::now()));
            }
            14 if load.may_refuse => {
                self.refused.push(message);
                self.remarks.insert(reply.remark.clone());
            }
            10 => {} // FLUSH_DISK_TIMEOUT: the outcome is unknown
            code => panic!("{message:?}: code {code} {}", reply.remark),
        }
    }
}

/// Which messages to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// From the start of each queue.
    Whole,
    /// What came since the last verification.
    New,
}

/// Where the verification of a queue stands.
#[derive(Default, Clone, Debug)]
struct Progress {
    next: i64,
    /// The newest message of each producer.
    newest: HashMap<u32, u32>,
}

/// A message that was acknowledged and is not there.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// Queue and queue offset.
    pub place: (i32, i64),
    /// Which.
    pub message: Message,
    /// When its producer read the answer.
    pub acknowledged: Instant,
}

/// What all producers of a store were told.
#[derive(Default, Debug)]
pub struct Ledger {
    acknowledged: BTreeMap<(i32, i64), (Message, Instant)>,
    refused: HashSet<Message>,
    remarks: BTreeSet<String>,
    progress: [Progress; QUEUES as usize],
}

impl Ledger {
    /// Enters what a producer was told.
    pub fn enter(&mut self, told: Told) {
        for (place, message, at) in told.acknowledged {
            let before = self.acknowledged.insert(place, (message, at));
            assert!(before.is_none(), "two messages were acknowledged at {place:?}");
        }
        self.refused.extend(told.refused);
        self.remarks.extend(told.remarks);
    }

    /// Messages acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Messages refused.
    pub fn refused(&self) -> usize {
        self.refused.len()
    }

    /// What refusals said, each text once.
    pub fn remarks(&self) -> &BTreeSet<String> {
        &self.remarks
    }

    /// A place and the message there, some way through what was acknowledged.
    pub fn some(&self, part: usize) -> Option<((i32, i64), Message)> {
        let queue = part.cast_signed() as i32 & (QUEUES - 1);
        let (last, _) = self.acknowledged.range((queue, 0)..(queue + 1, 0)).next_back()?;
        let from = (part / 4) as i64 % (last.1 + 1);
        let (place, (message, _)) = self.acknowledged.range((queue, from)..).next()?;
        Some((*place, *message))
    }

    /// Reads the queues and compares each record: no gap, no body that was not sent, each producer's
    /// messages in the order it sent them, none twice, none that was refused, and each acknowledged
    /// message in its place. How many were read.
    pub fn verify(&mut self, broker: SocketAddr, topic: &str, extent: Extent) -> u64 {
        let (read, lost) = self.verify_what_is_left(broker, topic, extent);
        assert!(lost.is_empty(), "{} acknowledged are lost, first {:?}", lost.len(), lost[0]);
        read
    }

    /// As [`Ledger::verify`], but what was acknowledged may be missing at the ends of the queues: it is
    /// given back and forgotten.
    pub fn verify_what_is_left(
        &mut self,
        broker: SocketAddr,
        topic: &str,
        extent: Extent,
    ) -> (u64, Vec<Lost>) {
        let mut client = Client::connect(broker);
        let (mut read, mut lost) = (0, Vec::new());
        for queue in 0..QUEUES {
            let mut progress = std::mem::take(&mut self.progress[queue as usize]);
            if extent == Extent::Whole {
                progress = Progress::default();
            }
            let first = progress.next;
            while self.verify_pull(&mut client, topic, queue, &mut progress) {}
            read += (progress.next - first) as u64;
            let gone: Vec<_> = self
                .acknowledged
                .range((queue, progress.next)..(queue + 1, 0))
                .map(|(place, (message, at))| Lost {
                    place: *place,
                    message: *message,
                    acknowledged: *at,
                })
                .collect();
            for it in &gone {
                self.acknowledged.remove(&it.place);
            }
            lost.extend(gone);
            self.progress[queue as usize] = progress;
        }
        (read, lost)
    }

    /// Acknowledged messages that are not served in their places, for a store that is known to be
    /// broken: whatever it serves is looked at, over gaps.
    pub fn missing(&self, broker: SocketAddr, topic: &str) -> Vec<Lost> {
        let mut client = Client::connect(broker);
        let mut served = HashMap::new();
        for queue in 0..QUEUES {
            let mut next = 0;
            loop {
                let reply = client.pull(topic, queue, next);
                if reply.code == 0 {
                    for (offset, body) in records(&reply.body) {
                        served.insert((queue, offset), Message::of(&body));
                    }
                }
                let further = reply.field("nextBeginOffset").and_then(|it| it.parse().ok());
                match further {
                    Some(further) if further > next && reply.code != 19 => next = further,
                    _ => break,
                }
            }
        }
        let entries = self.acknowledged.iter().map(|(place, (message, at))| Lost {
            place: *place,
            message: *message,
            acknowledged: *at,
        });
        entries.filter(|it| served.get(&it.place) != Some(&Some(it.message))).collect()
    }

    /// Whether there may be more.
    fn verify_pull(
        &self,
        client: &mut Client,
        topic: &str,
        queue: i32,
        progress: &mut Progress,
    ) -> bool {
        let reply = client.pull(topic, queue, progress.next);
        match reply.code {
            0 => {}
            19 => return false,
            code => panic!("queue {queue} at {}: code {code} {}", progress.next, reply.remark),
        }
        for (offset, body) in records(&reply.body) {
            let place = (queue, offset);
            assert_eq!(offset, progress.next, "queue {queue} has a gap");
            let message =
                Message::of(&body).unwrap_or_else(|| panic!("what is at {place:?} was never sent"));
            assert_eq!(message.queue(), queue, "{message:?} is at {place:?}");
            assert!(!self.refused.contains(&message), "{message:?} was refused and is stored");
            if let Some((expected, _)) = self.acknowledged.get(&place) {
                assert_eq!(message, *expected, "another message is at {place:?}");
            }
            let newest = progress.newest.insert(message.producer, message.number);
            assert!(newest.is_none_or(|it| it < message.number), "{message:?} comes too late");
            progress.next += 1;
        }
        assert_eq!(reply.number("nextBeginOffset"), progress.next);
        true
    }
}
