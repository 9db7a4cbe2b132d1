//! Copies: what every core needs of what the home core knows, and how it gets there.
//! Owns: on the home core what is not confirmed yet and what is to be sent; everywhere what consumer
//! groups want.
//! Kind: machine
//! Invariants:
//!   a topic is known to other cores, and takes messages in other shards than the home's, only when the
//!     record that made it is confirmed: no message can outlive its topic
//!   a copy leaves before the answer to who changed it (`Core` sees to that)
//!   what shards keep of a topic that was deleted goes when its deletion is durable

use std::collections::VecDeque;
use std::sync::Arc;

use engine::catalog::{Placement, is_deletion, is_setting};
use engine::consumequeue::QueueKey;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use proto::names::perm;

use super::Broker;
use super::dispatch::Stop;
use super::inquiry::{Part, Question};
use super::membership::GroupWants;

/// Something that the home core knows, for all others.
#[derive(Clone, Debug)]
pub enum HomeCopy {
    /// A record of the catalog.
    Catalog {
        /// The incarnation it is filed under.
        incarnation: u32,
        /// As the log has it.
        payload: Arc<[u8]>,
    },
    /// The home core asks something of each.
    Question(u64, Question),
    /// What a core answers: to the home core.
    Part(u64, Part),
    /// The deletion of a topic is durable: what shards have of it goes.
    Forget(u32),
    /// Until when a group's members hold queues, monotonic ms; 0: they hold none.
    Locked(Arc<str>, u64),
    /// What a group of consumers wants; `None`: it has no members any more.
    Consumers(Arc<str>, Option<GroupWants>),
    /// A send made a topic, of which the NameServers hear with the changes of a number.
    Made {
        /// The topic's incarnation.
        topic: u32,
        /// See `TopicChanges`.
        number: u64,
    },
    /// The NameServers were told of the changes up to a number, or cannot be reached.
    Announced(u64),
    /// Somebody may not read any more, this topic or anything: held pulls are answered, and looked at again when they
    /// come again.
    MayNotRead(Option<u32>),
}

/// See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Copies {
    wants: HashMap<Arc<str>, GroupWants, RandomState>,
    /// Until when members of groups that consume in order hold queues, monotonic ms.
    locked_until_ms: HashMap<Arc<str>, u64, RandomState>,
    /// Topics whose records are not confirmed, in the log's order.
    unconfirmed: VecDeque<Unconfirmed>,
    /// Deleted topics whose deletions are not durable, with the log offset behind each, in order.
    deleted: VecDeque<(u64, u32)>,
    to_send: Vec<HomeCopy>,
    sweep_at_ms: u64,
}

/// A topic's record on its way to the disk.
#[derive(Debug)]
struct Unconfirmed {
    /// Log offset of its end.
    end: u64,
    incarnation: u32,
    payload: Arc<[u8]>,
}

/// How often locks that ran out are forgotten, ms.
const SWEEP_MS: u64 = 60_000;

impl Copies {
    /// Whether a member of a group holds a queue: it consumes in order.
    pub fn is_locked(&self, now_ms: u64, group: &str) -> bool {
        self.locked_until_ms.get(group).is_some_and(|until_ms| now_ms <= *until_ms)
    }

    /// Forgets locks that ran out.
    pub fn tick(&mut self, now_ms: u64) {
        if now_ms >= self.sweep_at_ms {
            self.sweep_at_ms = now_ms + SWEEP_MS;
            self.locked_until_ms.retain(|_, until_ms| now_ms <= *until_ms);
        }
    }

    /// What a group of consumers wants; `None`: it has no members.
    pub fn wants(&self, group: &str) -> Option<&GroupWants> {
        self.wants.get(group)
    }
}

impl Broker {
    /// What is to be sent to every other core, before any answer of this turn.
    pub fn copies_to_send(&mut self) -> &mut Vec<HomeCopy> {
        &mut self.copies.to_send
    }

    /// Takes what the home core sent.
    pub fn apply_copy(&mut self, copy: HomeCopy) {
        match copy {
            HomeCopy::Catalog { incarnation, payload } => {
                if is_deletion(&payload) {
                    self.topic_is_gone(incarnation);
                }
                let was_readable = self.is_readable(incarnation);
                let applied = self.catalog.replay(incarnation, &payload);
                applied.expect("the home core encoded it");
                if is_setting(&payload) {
                    self.settings = self.configured.with(&self.catalog);
                }
                if was_readable && !self.is_readable(incarnation) {
                    self.wake_readers(Some(incarnation));
                }
            }
            HomeCopy::Question(id, question) => self.inquiries.ask(id, question),
            HomeCopy::Part(id, part) => self.inquiries.arrive(id, part),
            HomeCopy::Forget(topic) => {
                self.shards.iter_mut().for_each(|shard| shard.forget_topic(topic));
            }
            HomeCopy::Locked(group, 0) => _ = self.copies.locked_until_ms.remove(&group),
            HomeCopy::Locked(group, until_ms) => {
                self.copies.locked_until_ms.insert(group, until_ms);
            }
            HomeCopy::Consumers(group, Some(wants)) => {
                self.copies.wants.insert(group, wants);
            }
            HomeCopy::Consumers(group, None) => _ = self.copies.wants.remove(&group),
            HomeCopy::Made { topic, number } => self.announcements.made(topic, number),
            HomeCopy::Announced(number) => self.announcements.announced(number),
            HomeCopy::MayNotRead(topic) => self.wake_readers(topic),
        }
    }

    /// Whether this is a topic that may be read.
    pub(super) fn is_readable(&self, topic: u32) -> bool {
        let found = self.catalog.topic_name(topic).and_then(|name| self.catalog.topic(name));
        found.is_some_and(|topic| perm::readable(topic.config.perm))
    }

    /// Held pulls of a topic, or all, are answered.
    pub(super) fn wake_readers(&mut self, topic: Option<u32>) {
        for shard in &mut self.shards {
            match topic {
                Some(topic) => shard.wake_topic(topic),
                None => shard.wake_held(),
            }
        }
    }

    /// A topic is no more: who waits for its messages hears so.
    pub(super) fn topic_is_gone(&mut self, topic: u32) {
        self.shards.iter_mut().for_each(|shard| shard.wake_topic(topic));
        self.resets.retain(|(_, queue), _| queue.topic != topic);
    }

    /// A record that deletes a topic was appended on the home core.
    pub(super) fn copy_deletion(&mut self, topic: u32, payload: &[u8]) {
        self.copy_catalog(topic, payload);
        self.copies.deleted.push_back((self.shards[0].log().appended(), topic));
        self.topic_is_gone(topic);
    }

    /// A record of the catalog was appended on the home core. Topics wait until it is confirmed; groups,
    /// whose names are all that other shards keep of them, do not.
    pub(super) fn copy_catalog(&mut self, incarnation: u32, payload: &[u8]) {
        if self.router.shard_count() == 1 {
            return;
        }
        let payload = payload.into();
        if incarnation == 0 {
            self.send_copy(HomeCopy::Catalog { incarnation, payload });
        } else {
            let end = self.shards[0].log().appended();
            self.copies.unconfirmed.push_back(Unconfirmed { end, incarnation, payload });
        }
    }

    /// Tells all cores of groups whose wants changed.
    pub(super) fn copy_consumers(&mut self) {
        while let Some((group, wants)) = self.membership.next_changed() {
            self.share(HomeCopy::Consumers(group, wants));
        }
    }

    /// Tells all cores until when a group's members hold queues.
    pub(super) fn copy_locks(&mut self, group: &str) {
        self.share(HomeCopy::Locked(group.into(), self.locks.held_until_ms(group)));
    }

    /// Sends the topics whose records were confirmed.
    pub(super) fn copy_confirmed(&mut self) {
        let confirmed = self.shards.first().map_or(0, |shard| shard.log().confirmed());
        while let Some(topic) = self.copies.unconfirmed.pop_front_if(|topic| topic.end <= confirmed)
        {
            let Unconfirmed { incarnation, payload, .. } = topic;
            self.send_copy(HomeCopy::Catalog { incarnation, payload });
        }
        // Not when it is confirmed: under ASYNC_FLUSH a power cut may yet undo the deletion.
        let durable = self.shards.first().map_or(0, |shard| shard.log().durable());
        while let Some((_, topic)) = self.copies.deleted.pop_front_if(|(end, _)| *end <= durable) {
            self.share(HomeCopy::Forget(topic));
        }
    }

    /// Of this core and of all others.
    pub(super) fn share(&mut self, copy: HomeCopy) {
        self.apply_copy(copy.clone());
        self.send_copy(copy);
    }

    fn send_copy(&mut self, copy: HomeCopy) {
        if self.router.core_count() > 1 {
            self.copies.to_send.push(copy);
        }
    }

    /// The place here of the shard that takes a queue's messages, which must not outlive the record that
    /// made their topic.
    ///
    /// # Errors
    /// They have to wait for it, or it will never be confirmed, or the shard is elsewhere.
    pub(super) fn place_to_append(
        &mut self,
        queue: QueueKey,
        placement: Placement,
    ) -> Result<usize, Stop> {
        // Before anything goes to another core, which would not know the topic. What lies behind the
        // topic's record in the same log cannot outlive it.
        if placement.shard(queue.queue) != 0 {
            self.check_confirmed(queue.topic)?;
        }
        self.place_of(placement, queue.queue)
    }

    /// Other cores know a topic, so that a request that needs it may go there.
    ///
    /// # Errors
    /// It has to wait, or they never will.
    pub(super) fn check_copied(&mut self, topic: &str) -> Result<(), Stop> {
        let topic = self.catalog.topic(topic).map(|topic| topic.incarnation);
        topic.map_or(Ok(()), |topic| self.check_confirmed(topic))
    }

    /// Whether other cores know all topics.
    pub fn is_copied(&self) -> bool {
        self.copies.unconfirmed.is_empty()
    }

    fn check_confirmed(&mut self, incarnation: u32) -> Result<(), Stop> {
        if self.copies.unconfirmed.iter().all(|topic| topic.incarnation != incarnation) {
            return Ok(());
        }
        self.shards[0].has_room(0)?; // says so if the log is poisoned
        Err(Stop::Wait)
    }
}
