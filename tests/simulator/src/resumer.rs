//! Half messages that nobody says a word on until they are given up, and that an operator then has wait again:
//! for a word, or until they are given up once more.
//!
//! What must hold: what was given up waits again as often as that was answered with success, whatever
//! crashed, and not more often than it was asked for; its producer is asked again, from the first time on; a
//! word is taken as for any half message; nothing else than what was given up is made a half message.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use proto::code::{request, response};
use proto::ids::{OffsetMessageId, Position};
use proto::properties::{self, name};
use proto::record::{Record, sys_flag};
use proto::reply::SendRequest;

use crate::ledger::{MessageKey, key_of};
use crate::link::{Arrived, Link};
use crate::marks;
use crate::place::{Place, TRANSACTIONS, Topic};
use crate::requests::{plain_pull, plain_send, topic_fields};
use crate::search::Seen;
use crate::world::{Finding, Life, World};

/// Where they are to come.
pub const TOPIC: &str = "SimResumed";

/// Who sends them, in keys.
const PRODUCER: u32 = 1_002;

const GROUP: &str = "SimResumer";

const QUEUES: u32 = 2;

/// How many there may be: each waits for as long as it takes to be given up, twice or more.
const MESSAGES_MAX: u32 = 24;

/// What the client asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    MakeTopic,
    /// It produces for the group, and is asked.
    Join,
    Send {
        number: u32,
    },
    /// What was given up, of a shard.
    LookUp {
        shard: u8,
        from: u64,
    },
    Resume {
        number: u32,
        position: i64,
    },
    /// Of a message that was not given up.
    ResumeWrong {
        position: i64,
    },
    End {
        number: u32,
        half: (u64, i64),
        is_commit: bool,
    },
}

/// What is known of one.
#[derive(Clone, Default, Debug)]
struct Half {
    /// Where it waited first, if that was answered.
    first: Option<(u64, i64)>,
    /// How often it was made to wait again: at least, and at the most.
    resumed: (usize, usize),
    /// Its word was said, and this one …
    told: Option<bool>,
    /// … was taken, or was said of one that had been given up meanwhile.
    is_told: bool,
    /// Where it waits now, as its producer was asked …
    open: Option<(u64, i64)>,
    /// … since it was resumed, which was when its log had got there.
    behind: Option<i64>,
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub struct Resumer {
    link: Option<Link>,
    asked: Option<(i32, Act)>,
    has_topic: bool,
    has_joined: bool,
    halves: BTreeMap<u32, Half>,
    numbers: u32,
    /// Given up and not resumed yet: which one, and where it is.
    given_up: VecDeque<(u32, i64)>,
    /// Up to where given-up messages of each shard were looked up.
    looked_up: BTreeMap<u8, u64>,
}

impl Act {
    fn write(self, link: &mut Link) -> Vec<u8> {
        match self {
            Act::MakeTopic => {
                let queues = QUEUES.to_string();
                let ext = topic_fields(TOPIC, &queues);
                link.request(request::UPDATE_AND_CREATE_TOPIC, &ext, b"")
            }
            Act::Join => {
                let body = format!(
                    r#"{{"clientID":"resumer","consumerDataSet":[],"producerDataSet":[{{"groupName":"{GROUP}"}}]}}"#
                );
                link.request(request::HEART_BEAT, &[], body.as_bytes())
            }
            Act::Send { number } => {
                let key = MessageKey { producer: PRODUCER, sequence: number };
                let mut text = Vec::new();
                marks::append(&mut text, key);
                properties::append(&mut text, name::TRAN_MSG, b"true");
                properties::append(&mut text, name::PGROUP, GROUP.as_bytes());
                let send = SendRequest {
                    sys_flag: sys_flag::TRANSACTION_PREPARED,
                    ..plain_send(GROUP, TOPIC, number % QUEUES, &text)
                };
                let body = [PRODUCER.to_be_bytes(), number.to_be_bytes()].concat();
                link.send(request::SEND_MESSAGE_V2, &send, &body)
            }
            Act::LookUp { shard, from } => {
                let topic = Topic::GivenUp.name();
                pull(link, &topic, u32::from(shard), from)
            }
            Act::Resume { position, .. } | Act::ResumeWrong { position } => {
                let host = SocketAddr::from(([127, 0, 0, 1], 10911));
                let position = Position::from_i64(position).expect("the broker named it");
                let id = OffsetMessageId { host, position }.encode();
                link.request(request::RESUME_CHECK_HALF_MESSAGE, &[("msgId", id.as_str())], b"")
            }
            Act::End { half: (offset, position), is_commit, .. } => {
                let (offset, position) = (offset.to_string(), position.to_string());
                let word = match is_commit {
                    true => sys_flag::TRANSACTION_COMMIT,
                    false => sys_flag::TRANSACTION_ROLLBACK,
                };
                let ext = [
                    ("producerGroup", GROUP),
                    ("tranStateTableOffset", &*offset),
                    ("commitLogOffset", &*position),
                    ("commitOrRollback", &*word.to_string()),
                    ("fromTransactionCheck", "true"),
                    ("msgId", "id"),
                ];
                link.request(request::END_TRANSACTION, &ext, b"")
            }
        }
    }
}

fn pull(link: &mut Link, topic: &str, queue: u32, from: u64) -> Vec<u8> {
    link.pull(request::PULL_MESSAGE, &plain_pull(GROUP, topic, queue, from))
}

/// Which of ours a body is.
fn number_of(body: &[u8]) -> Option<u32> {
    key_of(body).filter(|key| key.producer == PRODUCER).map(|key| key.sequence)
}

impl Resumer {
    /// Whether an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// The broker's life ends.
    pub fn ends(&mut self) {
        self.loses_connection();
    }

    fn loses_connection(&mut self) {
        (self.link, self.asked, self.has_joined) = (None, None, false);
    }

    /// Something is asked for.
    fn asks(&mut self, act: Act) {
        match act {
            Act::Send { number } => _ = self.halves.insert(number, Half::default()),
            Act::Resume { number, position } => {
                let half = self.half(number);
                half.resumed.1 += 1;
                (half.open, half.behind) = (None, Some(position));
            }
            Act::End { number, is_commit, .. } => self.half(number).told = Some(is_commit),
            _ => {}
        }
    }

    fn half(&mut self, number: u32) -> &mut Half {
        self.halves.get_mut(&number).expect("was sent")
    }

    fn learns(&mut self, life: &Life, act: Act, arrived: &Arrived) -> Result<(), Finding> {
        let finding = |what: &str| Err(format!("resumer: {what}: {act:?} is answered {arrived:?}"));
        let is_refused = match arrived.code {
            response::SERVICE_NOT_AVAILABLE => life.was_full() || life.is_poisoned(),
            response::GO_AWAY => life.stops(),
            response::FLUSH_DISK_TIMEOUT => matches!(act, Act::Send { .. }),
            response::SYSTEM_ERROR if arrived.remark == "FLUSH_DISK_TIMEOUT" => true,
            // Records are read before anything is done with them.
            response::SYSTEM_ERROR => {
                life.has_failed_reads() && !matches!(act, Act::Send { .. } | Act::Join)
            }
            _ => false,
        };
        if is_refused {
            return Ok(());
        }
        let is_done = arrived.code == response::SUCCESS;
        match act {
            Act::MakeTopic if is_done => self.has_topic = true,
            Act::Join if is_done => self.has_joined = true,
            Act::Send { number } if is_done => {
                let place = arrived.number("queueOffset").zip(arrived.position());
                let Some((offset, position)) = place else { return finding("it has no place") };
                self.half(number).first = Some((offset as u64, position));
            }
            Act::LookUp { shard, from } if [0, 19].contains(&arrived.code) => {
                let (mut at, mut body) = (from, &arrived.body[..]);
                while !body.is_empty() {
                    let (record, size) = Record::decode(body).map_err(|error| error.to_string())?;
                    let fields = record.fields();
                    if let Some(number) = number_of(fields.body) {
                        self.given_up.push_back((number, fields.physic_offset));
                    }
                    at = fields.queue_offset as u64 + 1;
                    body = &body[size..];
                }
                self.looked_up.insert(shard, at);
            }
            Act::Resume { number, .. } if is_done => {
                self.half(number).resumed.0 += 1;
            }
            Act::ResumeWrong { .. } if arrived.code == response::SYSTEM_ERROR => {}
            Act::End { number, .. } if is_done => self.half(number).is_told = true,
            _ => return finding("not as it must be"),
        }
        Ok(())
    }

    /// The producer is asked.
    fn is_checked(&mut self, arrived: &Arrived) -> Result<(), Finding> {
        let finding = |what: &str| Err(format!("resumer: {what}: it is asked {arrived:?}"));
        let (record, _) = Record::decode(&arrived.body).map_err(|error| error.to_string())?;
        let fields = record.fields();
        let place = (fields.queue_offset as u64, fields.physic_offset);
        let told = (arrived.number("tranStateTableOffset"), arrived.number("commitLogOffset"));
        let checks = properties::find(fields.properties, name::TRANSACTION_CHECK_TIMES);
        let checks = checks.and_then(proto::text::parse_i64).unwrap_or(0);
        let Some(half) = number_of(fields.body).and_then(|it| self.halves.get_mut(&it)) else {
            return finding("of nobody's message");
        };
        if told != (Some(place.0 as i64), Some(place.1))
            || fields.topic != TOPIC.as_bytes()
            || !(1..=i64::from(TRANSACTIONS.checks_max)).contains(&checks)
        {
            return finding("not as it must be");
        }
        let is_first = half.first.is_none_or(|first| first == place);
        if !is_first && half.resumed.1 == 0 {
            return finding("of one that waits at another place, and nobody resumed it");
        }
        if half.behind.is_some_and(|behind| behind < place.1) {
            half.open = Some(place);
        }
        Ok(())
    }

    /// Everything was read: compares how often each waited, was given up and is there.
    fn compare(
        &self,
        read: &[(Place, Vec<Seen>)],
        came: &BTreeMap<u32, usize>,
        is_over: bool,
    ) -> Result<(), Finding> {
        let count = |topic: Topic, number: u32| {
            let places = read.iter().filter(|(place, _)| place.topic == topic);
            let is_it =
                |seen: &&Seen| seen.key() == MessageKey { producer: PRODUCER, sequence: number };
            places.flat_map(|(_, seen)| seen).filter(is_it).count()
        };
        for (number, half) in &self.halves {
            let waited = count(Topic::Half, *number);
            let given_up = count(Topic::GivenUp, *number);
            let came = came.get(number).copied().unwrap_or(0);
            let (least, most) = half.resumed;
            let is_sent = half.first.is_some();
            let may_come = usize::from(half.told == Some(true));
            let may_end = usize::from(half.told.is_some());
            let is_right = (usize::from(is_sent) + least..=1 + most).contains(&waited)
                && came <= may_come
                && given_up + came <= waited
                // All others were given up when nothing waits any more.
                && (!is_over || given_up + may_end >= waited);
            // What was committed is there, if it was not given up before.
            let is_missed = half.told == Some(true) && half.is_told && came == 0;
            if !is_right || is_missed && given_up < waited {
                return Err(format!(
                    "resumer: {number} waited {waited} times, was given up {given_up} times and came {came} times: {half:?}"
                ));
            }
        }
        Ok(())
    }
}

impl World {
    /// The client asks something, or loses its connection.
    pub(crate) fn resumer_acts(&mut self, life: &mut Life) -> Result<(), Finding> {
        if self.plan.retains || !life.serves() {
            return Ok(()); // what is removed with its segment is others' to tell
        }
        let Some(link) = &self.resumer.link else {
            self.resumer.link = self.connect_link(life);
            return Ok(());
        };
        let connection = link.connection;
        if self.rng.u8(..40) == 0 {
            life.ring(connection).client_closes(connection, None);
            self.resumer.loses_connection();
            return Ok(());
        }
        if self.resumer.is_waiting() {
            return Ok(());
        }
        let act = self.choose_resumption();
        self.resumer.asks(act);
        let link = self.resumer.link.as_mut().expect("looked at above");
        let bytes = act.write(link);
        self.resumer.asked = Some((link.last(), act));
        life.ring(connection).client_writes(connection, &bytes);
        Ok(())
    }

    fn choose_resumption(&mut self) -> Act {
        let it = &mut self.resumer;
        if !it.has_topic {
            return Act::MakeTopic;
        }
        if !it.has_joined && self.rng.u8(..3) == 0 {
            return Act::Join;
        }
        let choice = self.rng.u8(..10);
        if choice < 4
            && let Some((number, position)) = it.given_up.pop_front()
            && it.halves[&number].told.is_none()
        {
            return Act::Resume { number, position };
        }
        let untold = it.halves.iter().filter(|(_, half)| half.told.is_none());
        let open = untold.filter_map(|(number, half)| Some((*number, half.open?)));
        let open = open.collect::<Vec<_>>();
        if choice < 6
            && let Some((number, half)) = self.rng.choice(open)
        {
            return Act::End { number, half, is_commit: self.rng.u8(..4) > 0 };
        }
        let places = it.halves.values().filter_map(|half| half.first);
        if choice == 6
            && let Some((_, position)) = self.rng.choice(places.collect::<Vec<_>>())
        {
            return Act::ResumeWrong { position };
        }
        if choice == 7 && it.numbers < MESSAGES_MAX {
            it.numbers += 1;
            return Act::Send { number: it.numbers };
        }
        let shard = self.rng.u16(..self.plan.shards) as u8;
        Act::LookUp { shard, from: it.looked_up.get(&shard).copied().unwrap_or(0) }
    }

    /// The client reads what came for it.
    pub(crate) fn resumer_reads(&mut self, life: &mut Life) -> Result<(), Finding> {
        let Some(link) = &mut self.resumer.link else { return Ok(()) };
        match life.ring(link.connection).client_reads(link.connection) {
            Some(bytes) => link.receive(&bytes),
            None if life.is_poisoned() || life.stops() => self.resumer.loses_connection(),
            None => return Err("the broker closed the resumer's connection".to_owned()),
        }
        while let Some(link) = &mut self.resumer.link
            && let Some(arrived) = link.next_frame()?
        {
            if !arrived.is_answer {
                self.resumer.is_checked(&arrived)?;
                continue;
            }
            let asked = self.resumer.asked.take_if(|(opaque, _)| *opaque == arrived.opaque);
            let Some((_, act)) = asked else {
                return Err(format!("resumer: nobody asked for {arrived:?}"));
            };
            self.resumer.learns(life, act, &arrived)?;
        }
        Ok(())
    }

    /// Everything was read, and what became of these half messages is now. `is_over`: nothing waits any more.
    pub(crate) fn audit_resumer(
        &mut self,
        life: &mut Life,
        read: &[(Place, Vec<Seen>)],
        is_over: bool,
    ) -> Result<(), Finding> {
        if self.plan.retains || self.resumer.halves.is_empty() {
            return Ok(());
        }
        let mut came: BTreeMap<u32, usize> = BTreeMap::new();
        for queue in 0..QUEUES {
            let (mut from, mut end) = (0, 1);
            while from < end {
                let write = |link: &mut Link| pull(link, TOPIC, queue, from);
                let arrived = self.ask_over_link(life, write)?;
                match arrived.code {
                    response::SUCCESS => {}
                    response::PULL_NOT_FOUND => break,
                    response::SYSTEM_ERROR if life.has_failed_reads() => return Ok(()),
                    _ => return Err(format!("resumer: {TOPIC} queue {queue}: {arrived:?}")),
                }
                end = arrived.number("maxOffset").map_or(0, |end| end as u64);
                let mut body = &arrived.body[..];
                while !body.is_empty() {
                    let (record, size) = Record::decode(body).map_err(|error| error.to_string())?;
                    let number = number_of(record.fields().body);
                    *came.entry(number.ok_or("resumer: nobody's message")?).or_default() += 1;
                    (from, body) = (from + 1, &body[size..]);
                }
            }
        }
        self.resumer.compare(read, &came, is_over)
    }
}
