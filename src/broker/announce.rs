//! Announce: topics that the NameServers are to be told of, and answers that are kept back until they were.
//! Owns: on the home core the topics to be told of; everywhere those that sends have just made, and answers
//! Kind: machine
//! Invariants:
//!   answers that are kept back are bounded; what keeps them back is bounded in time by whoever tells the
//!     NameServers, for sends by a second
//!   of the sends to a new topic one is kept back, so that a NameServer that is silent holds up no stream
//!
//! Apache's broker tells its NameServers before it goes on with the send that made a topic
//! (TopicConfigManager.createTopicInSendMessageMethod of 5.3.3): who hears that a message was stored can ask
//! for the route to it.

use std::collections::VecDeque;

use engine::ticket::Ticket;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use proto::body::{DataVersion, TopicConfig};
use runtime::clock::Now;

use super::Broker;
use super::copies::HomeCopy;
use super::limits::{ANSWERS_KEPT_BACK_MAX, FIRST_SEND_KEPT_BACK_MS};

/// Topics to be told to the NameServers.
#[derive(Debug)]
pub struct TopicChanges {
    /// The configurations as they are now.
    pub topics: Vec<TopicConfig>,
    /// The version of the whole table.
    pub version: DataVersion,
    /// To be given back when the NameServers know.
    pub number: u64,
    /// Whether these are all topics: some are no more.
    pub is_full: bool,
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Announcements {
    /// Topics created or changed since the control thread was told.
    changed: Vec<TopicConfig>,
    /// One was deleted since, or what the broker permits changed: they are to be told of all.
    are_all: bool,
    /// Number of the changes that the control thread has.
    given: u64,
    /// The NameServers were told of everything up to this number.
    told: u64,
    /// Topics that sends made, by their incarnations, with the numbers of the changes that tell of them.
    made: HashMap<u32, u64, RandomState>,
    /// By their numbers, rising.
    kept_back: VecDeque<KeptBack>,
    /// When the first of them waits no longer, monotonic ms.
    wake_at_ms: u64,
}

/// The answer to a request whose effect the NameServers are to know.
#[derive(Debug)]
struct KeptBack {
    /// It leaves when they were told of the changes of this number.
    number: u64,
    /// Or now, monotonic ms.
    until_ms: u64,
    connection: u64,
    opaque: i32,
    /// The frame; empty as long as the log has not confirmed the request.
    answer: Vec<u8>,
}

impl Default for Announcements {
    fn default() -> Announcements {
        Announcements {
            changed: Vec::new(),
            are_all: false,
            given: 0,
            told: 0,
            made: HashMap::default(),
            kept_back: VecDeque::new(),
            wake_at_ms: u64::MAX,
        }
    }
}

impl Announcements {
    /// A topic was made or changed on the home core.
    pub fn changed(&mut self, topic: TopicConfig) {
        self.changed.push(topic);
    }

    /// A topic was deleted on the home core.
    pub fn deleted(&mut self, name: &str) {
        // What was on its way to the NameServers must not bring it back.
        self.changed.retain(|changed| changed.topic_name != name);
        self.all_changed();
    }

    /// What is to be told of each topic changed.
    pub fn all_changed(&mut self) {
        self.are_all = true;
    }

    /// Number of the changes that have, on the home core, everything up to now.
    pub fn number(&self) -> u64 {
        self.given + u64::from(self.are_all || !self.changed.is_empty())
    }

    /// A send made a topic.
    pub fn made(&mut self, topic: u32, number: u64) {
        if number > self.told && self.made.len() < ANSWERS_KEPT_BACK_MAX {
            self.made.insert(topic, number);
        }
    }

    /// Whether a send to a topic is the first here since another made it, and is to be kept back.
    pub fn is_first_send(&self, topic: u32) -> bool {
        !self.made.is_empty()
            && self.made.contains_key(&topic)
            && self.kept_back.len() < ANSWERS_KEPT_BACK_MAX
    }

    /// That send was appended.
    pub fn keep_first_send(&mut self, now: Now, topic: u32, ticket: &Ticket) {
        if let Some(number) = self.made.remove(&topic) {
            self.keep(number, now.monotonic_ms() + FIRST_SEND_KEPT_BACK_MS, ticket);
        }
    }

    /// An answer is to leave when the NameServers know what changed on the home core up to now.
    pub fn keep_back(&mut self, ticket: &Ticket) {
        if self.kept_back.len() < ANSWERS_KEPT_BACK_MAX {
            self.keep(self.number(), u64::MAX, ticket);
        }
    }

    fn keep(&mut self, number: u64, until_ms: u64, ticket: &Ticket) {
        if number <= self.told {
            return;
        }
        let Ticket { connection, opaque, .. } = *ticket;
        let kept = KeptBack { number, until_ms, connection, opaque, answer: Vec::new() };
        let behind = self.kept_back.partition_point(|kept| kept.number <= number);
        self.kept_back.insert(behind, kept);
        self.wake_at_ms = self.wake_at_ms.min(until_ms);
    }

    /// Takes the answer to a request, or gives it back: it is to leave now.
    pub fn offer(&mut self, ticket: &Ticket, answer: Vec<u8>) -> Option<Vec<u8>> {
        let of = (ticket.connection, ticket.opaque);
        let is_its =
            |kept: &&mut KeptBack| (kept.connection, kept.opaque) == of && kept.answer.is_empty();
        let Some(kept) = self.kept_back.iter_mut().find(is_its) else { return Some(answer) };
        kept.answer = answer;
        None
    }

    /// The NameServers were told of the changes up to a number, or cannot be reached.
    pub fn announced(&mut self, number: u64) {
        self.told = self.told.max(number);
        self.made.retain(|_, number| *number > self.told);
    }

    /// Nothing is kept back from now on.
    pub fn hurry(&mut self) {
        self.announced(u64::MAX);
    }

    /// The next answer that is to leave, and its connection.
    pub fn next_due(&mut self, now: Now) -> Option<(u64, Vec<u8>)> {
        if self.kept_back.is_empty() {
            self.wake_at_ms = u64::MAX;
            return None;
        }
        if now.monotonic_ms() >= self.wake_at_ms {
            self.give_up_waiting(now.monotonic_ms());
        }
        loop {
            let kept = self.kept_back.pop_front_if(|kept| kept.number <= self.told)?;
            // Not confirmed yet: nothing keeps it back when it is.
            if !kept.answer.is_empty() {
                return Some((kept.connection, kept.answer));
            }
        }
    }

    fn give_up_waiting(&mut self, now_ms: u64) {
        for kept in self.kept_back.iter_mut().filter(|kept| kept.until_ms <= now_ms) {
            (kept.number, kept.until_ms) = (0, u64::MAX);
        }
        self.kept_back.make_contiguous().sort_by_key(|kept| kept.number);
        self.wake_at_ms = self.kept_back.iter().map(|kept| kept.until_ms).min().unwrap_or(u64::MAX);
    }

    /// When [`Announcements::next_due`] has something by itself, monotonic ms.
    pub fn wake_at_ms(&self) -> Option<u64> {
        (self.wake_at_ms != u64::MAX).then_some(self.wake_at_ms)
    }
}

impl Broker {
    /// A topic as NameServers get it: with no more permission than the broker has.
    pub(super) fn as_registered(&self, config: &TopicConfig) -> TopicConfig {
        TopicConfig { perm: config.perm & self.settings.permission, ..config.clone() }
    }

    /// All topics as NameServers get them, with the version of the table.
    pub fn registered_topics(&self) -> (Vec<TopicConfig>, DataVersion) {
        let topics = self.catalog.topics().map(|topic| self.as_registered(&topic.config));
        (topics.collect(), self.catalog.topics_version())
    }

    /// Topics that changed since the last call, to be told to the NameServers.
    pub fn next_topic_changes(&mut self) -> Option<TopicChanges> {
        let number = self.announcements.number();
        if number == self.announcements.given {
            return None;
        }
        self.announcements.given = number;
        let mut topics = std::mem::take(&mut self.announcements.changed);
        // Only the whole table can say that one is missing.
        let is_full = std::mem::take(&mut self.announcements.are_all);
        if is_full {
            topics = self.registered_topics().0;
        }
        let version = self.catalog.topics_version();
        Some(TopicChanges { topics, version, number, is_full })
    }

    /// The NameServers know the topics of the changes up to a number, or cannot be reached.
    pub fn announced(&mut self, number: u64) {
        self.share(HomeCopy::Announced(number));
    }
}
