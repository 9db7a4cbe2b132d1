//! Inquiries: what the home core asks all cores, because queues and committed offsets are where their
//! shards are.
//! Owns: on the home core what was asked and which answers are there; on every core what it is asked.
//! Lives on: every core
//! Kind: machine
//! Invariants:
//!   a question travels as a copy does: behind everything that the home core knew before
//!   each core answers each question once, so each is concluded once; there are no more than
//!     [`INQUIRIES_MAX`]
//!   no turn looks at more than [`FACTS_PER_TURN`] queues

mod part;
mod runtime_part;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proto::code::response;
use runtime::clock::Now;

use super::copies::HomeCopy;
use super::dispatch::{Handled, Stop, refuse};
use super::handlers::Then;
use super::limits::{FACTS_PER_TURN, INQUIRIES_MAX};
use super::{Asker, Broker, Refusal};
use crate::net::outbox::Outboxes;
use crate::observe::{Course, Span};
use part::Asked;
pub(super) use runtime_part::{Runtime, ShardRuntime};

/// What every core is asked about its own shards.
#[derive(Clone, Debug)]
pub enum Question {
    /// For which topics a group committed offsets.
    TopicsOf(Arc<str>),
    /// Which groups committed offsets for a topic.
    GroupsOf(Arc<str>),
    /// How it is with the queues of some topics.
    Queues(Arc<QueueQuestion>),
    /// Set a group's offsets of a topic to these, until it was told so.
    Reset(Arc<ResetOffsets>),
    /// Give a group the offsets that another one has of some topics.
    Clone(Arc<CloneOffsets>),
    /// A group is no more: its offsets go.
    RemoveGroup(Arc<str>),
    /// Every committed offset.
    Offsets,
    /// How it is and what it counted.
    Runtime,
    /// What was counted of one thing.
    Counted(Arc<Counted>),
    /// Old segments may go at any hour for a while.
    Clean,
    /// Everything that is in its logs is confirmed.
    Confirmed,
}

/// See [`Question::Queues`].
#[derive(Clone, Debug)]
pub struct QueueQuestion {
    /// Of which group committed offsets are wanted.
    pub group: Arc<str>,
    /// The topics, each with the number of its queues.
    pub topics: Vec<(Arc<str>, u32)>,
    /// Which times are wanted.
    pub times: Times,
}

/// Store times that a question wants of each queue: they may have to be read from disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// None.
    Nothing,
    /// Of the newest message.
    Newest,
    /// Of the last message that the group consumed.
    Consumed,
    /// Of the oldest, the newest, the last consumed and the next message.
    Span,
}

/// See [`Question::Reset`].
#[derive(Clone, Debug)]
pub struct ResetOffsets {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// Its queues, from 0.
    pub queues: u32,
    /// Only this one of them, or another one.
    pub only: Option<u32>,
    /// Where to.
    pub target: Target,
    /// Whether the offsets are set here; otherwise they are only looked up.
    pub is_done: bool,
}

/// Where a group's offsets are set to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// This queue offset.
    Offset(i64),
    /// The first message stored at this time or later, ms.
    Time(u64),
    /// Behind the newest message.
    End,
}

/// See [`Question::Clone`].
#[derive(Clone, Debug)]
pub struct CloneOffsets {
    /// Whose offsets.
    pub source: Arc<str>,
    /// Who gets them.
    pub target: Arc<str>,
    /// Of these topics, of each of which the source has some.
    pub topics: Vec<Arc<str>>,
}

/// What a core answers.
#[derive(Clone, Debug)]
pub enum Part {
    /// Names of topics or groups.
    Names(Vec<Arc<str>>),
    /// Of the queues that are in its shards.
    Queues(Vec<QueueFacts>),
    /// Committed offsets.
    Offsets(Vec<CommittedOffset>),
    /// How it is.
    Runtime(Box<Runtime>),
    /// Over the last minute, hour and day; `None`: it counted nothing of the kind.
    Counted(Option<[Course; Span::ALL.len()]>),
    /// It is done, as safely as a message is stored.
    Done,
    /// It cannot.
    Refused(Refusal),
}

/// What [`Question::Counted`] is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Counted {
    /// What came in for a topic.
    Topic(Arc<str>),
    /// What a group pulled from a topic.
    Group(Arc<str>, Arc<str>),
    /// Everything that came in.
    Incoming,
    /// Everything that was pulled.
    Outgoing,
}

/// An offset that a group committed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CommittedOffset {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// RocketMQ's queue id.
    pub queue: u32,
    /// The next queue offset that it will read.
    pub offset: u64,
}

/// How it is with a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFacts {
    /// Place of the topic in the question.
    pub topic: usize,
    /// RocketMQ's queue id.
    pub queue: u32,
    /// The oldest kept queue offset.
    pub min: u64,
    /// The queue offset behind the newest message.
    pub max: u64,
    /// What the group committed; of a reset, where it was before.
    pub committed: Option<u64>,
    /// Of a reset, where it goes.
    pub target: u64,
    /// Store time of the oldest message, ms, if it is wanted and there is one.
    pub oldest_ms: Option<u64>,
    /// Store time of the newest message.
    pub newest_ms: Option<u64>,
    /// Store time of the last message that the group consumed.
    pub consumed_ms: Option<u64>,
    /// Store time of the next message that the group will consume.
    pub next_ms: Option<u64>,
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    /// On the home core: what was asked.
    waiting: BTreeMap<u64, Inquiry>,
    asked_so_far: u64,
    /// On every core: what it is asked.
    asked: VecDeque<Asked>,
    /// On the home core: answers of this turn.
    arrived: Vec<(u64, Part)>,
    /// On other cores: answers on their way to it.
    to_send: Vec<(u64, Part)>,
}

#[derive(Debug)]
struct Inquiry {
    asker: Asker,
    cores_left: usize,
    parts: Vec<Part>,
    then: Then,
}

impl Inquiries {
    /// A question to this core.
    pub fn ask(&mut self, id: u64, question: Question) {
        self.asked.push_back(Asked::new(id, question));
    }

    /// An answer to this core.
    pub fn arrive(&mut self, id: u64, part: Part) {
        self.arrived.push((id, part));
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.asked.is_empty()
            && self.arrived.is_empty()
            && self.to_send.is_empty()
    }
}

impl Broker {
    /// Asks all cores on behalf of a request; goes on with `then` when all have answered.
    pub(super) fn ask_all(&mut self, asker: &Asker, question: Question, then: Then) -> Handled {
        self.check_home()?;
        if self.inquiries.waiting.len() >= INQUIRIES_MAX {
            let remark =
                format!("{INQUIRIES_MAX} questions to all cores are asked already, try again");
            return Err(Refusal::new(response::SYSTEM_BUSY, remark).into());
        }
        self.inquiries.asked_so_far += 1;
        let id = self.inquiries.asked_so_far;
        let cores_left = self.router.core_count();
        let inquiry = Inquiry { asker: *asker, cores_left, parts: Vec::new(), then };
        self.inquiries.waiting.insert(id, inquiry);
        self.share(HomeCopy::Question(id, question));
        Ok(())
    }

    /// Goes on with what is asked. Whether the next turn has more to do, whatever happens.
    pub fn inquire(&mut self, now: Now, outboxes: &mut Outboxes) -> bool {
        if self.inquiries.asked.is_empty() && self.inquiries.arrived.is_empty() {
            return false;
        }
        let mut left = FACTS_PER_TURN;
        for mut asked in std::mem::take(&mut self.inquiries.asked) {
            match self.answer_part(now, &mut asked, &mut left) {
                None => self.inquiries.asked.push_back(asked),
                Some(part) if self.router.is_home() => self.inquiries.arrive(asked.id, part),
                Some(part) => self.inquiries.to_send.push((asked.id, part)),
            }
        }
        for (id, part) in std::mem::take(&mut self.inquiries.arrived) {
            let inquiry = self.inquiries.waiting.get_mut(&id).expect("asked once, answered once");
            inquiry.parts.push(part);
            inquiry.cores_left -= 1;
            if inquiry.cores_left == 0 {
                let Inquiry { asker, parts, then, .. } =
                    self.inquiries.waiting.remove(&id).expect("it was there");
                self.conclude(now, &asker, parts, then, outboxes);
            }
        }
        // A conclusion may ask again.
        left == 0 || self.inquiries.asked.iter().any(Asked::is_new)
    }

    fn conclude(
        &mut self,
        now: Now,
        asker: &Asker,
        parts: Vec<Part>,
        then: Then,
        outboxes: &mut Outboxes,
    ) {
        let refused = parts.iter().find_map(|part| match part {
            Part::Refused(refusal) => Some(refusal.clone()),
            _ => None,
        });
        let concluded = match refused {
            Some(refusal) => Err(refusal.into()),
            None => self.go_on(now, asker, parts, then, outboxes),
        };
        match concluded {
            Ok(()) => {}
            Err(Stop::Refuse(refusal)) => refuse(asker, &refusal, outboxes),
            Err(stop) => unreachable!("a conclusion needs no room and nothing of others: {stop:?}"),
        }
    }

    /// The next answer to the home core.
    pub fn next_part(&mut self) -> Option<HomeCopy> {
        let (id, part) = self.inquiries.to_send.pop()?;
        Some(HomeCopy::Part(id, part))
    }
}

/// The names in all parts.
pub(super) fn names_in(parts: Vec<Part>) -> impl Iterator<Item = Arc<str>> {
    let names = parts.into_iter().map(|part| match part {
        Part::Names(names) => names,
        _ => Vec::new(),
    });
    names.flatten()
}

/// The queues in all parts, in order.
pub(super) fn queues_in(parts: Vec<Part>) -> Vec<QueueFacts> {
    let mut queues: Vec<_> = parts
        .into_iter()
        .flat_map(|part| match part {
            Part::Queues(queues) => queues,
            _ => Vec::new(),
        })
        .collect();
    queues.sort_unstable_by_key(|facts| (facts.topic, facts.queue));
    queues
}
