//! The catalog: topics and consumer groups, and what changed them; what operators set while the broker ran.
//! Owns: their configurations, the topics' incarnations and placement, the version of both tables, which
//! groups may not read which topics, settings that are stronger than the configuration.
//! Lives on: written on shard 0, copied to every core
//! Kind: machine
//! Invariants:
//!   an incarnation is never used for a second topic, nor for the same name after a deletion
//!   a change is in the log before any record that depends on it
//!   names were checked at the edge and never become paths

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use proto::body::{
    BodyError, DataVersion, GroupForbidden, SubscriptionGroupConfig, TopicConfig, TopicFilterType,
};

use crate::limits::{CATALOG_BYTES_MAX, FORBIDDEN_MAX, GROUPS_MAX, TOPICS_MAX};

/// Incarnations below are reserved for internal topics that exist once per shard.
pub const FIRST_INCARNATION: u32 = 64;

/// A topic.
#[derive(Clone, PartialEq, Debug)]
pub struct Topic {
    /// Its configuration as clients and tools see it.
    pub config: TopicConfig,
    /// The number its records carry.
    pub incarnation: u32,
    /// Queue `q` lives in shard `(first + q) mod count`, as it was when the topic was made.
    pub placement: Placement,
}

/// What a send has to know of its topic, in one cache line: with many topics each message finds its own cold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(64))]
pub struct SendTarget {
    /// [`Topic::incarnation`].
    pub incarnation: u32,
    /// Queues that are read.
    pub read_queue_count: i32,
    /// Queues that are written to.
    pub write_queue_count: i32,
    /// [`Topic::placement`].
    pub placement: Placement,
    /// It is one of ordered messages.
    pub is_ordered: bool,
    /// Its records say that they may have several tags (`topicFilterType` MULTI_TAG).
    pub has_multi_tags: bool,
    name_len: u8,
    /// Its name, if it is not longer than this: else the line is not in a table.
    name: [u8; SHORT_NAME_BYTES],
}

/// Bytes of the longest name that a [`SendTarget`] holds.
const SHORT_NAME_BYTES: usize = 47;

const _: () = assert!(size_of::<SendTarget>() == 64);

impl SendTarget {
    fn of(topic: &Topic) -> SendTarget {
        let config = &topic.config;
        let text = config.topic_name.as_bytes();
        let mut name = [0; SHORT_NAME_BYTES];
        let held = text.len().min(SHORT_NAME_BYTES);
        name[..held].copy_from_slice(&text[..held]);
        SendTarget {
            incarnation: topic.incarnation,
            read_queue_count: config.read_queue_nums,
            write_queue_count: config.write_queue_nums,
            placement: topic.placement,
            is_ordered: config.order,
            has_multi_tags: config.topic_filter_type == TopicFilterType::MultiTag,
            name_len: held as u8,
            name,
        }
    }

    fn short_name(&self) -> &[u8] {
        &self.name[..usize::from(self.name_len)]
    }
}

/// The topics whose names are short, by name. What is searched is small enough to stay in the CPU's caches;
/// the lines themselves are not read to find one, so that they can be asked for early.
#[derive(Clone, Debug, Default)]
struct SendTargets {
    hasher: RandomState,
    places: HashTable<TargetPlace>,
    lines: Vec<SendTarget>,
    /// Lines of no topic.
    unused: Vec<u32>,
}

/// Where the line of a name with this hash is.
#[derive(Clone, Copy, Debug)]
struct TargetPlace {
    hash: u32,
    line: u32,
}

impl TargetPlace {
    fn is_of(self, hash: u64, name: &[u8], lines: &[SendTarget]) -> bool {
        self.hash == hash as u32 && lines[self.line as usize].short_name() == name
    }
}

impl SendTargets {
    fn find(&self, name: &[u8]) -> Option<&SendTarget> {
        let hash = self.hasher.hash_one(name);
        let place = self.places.find(hash, |place| place.is_of(hash, name, &self.lines))?;
        Some(&self.lines[place.line as usize])
    }

    fn prefetch(&self, name: &[u8]) {
        let hash = self.hasher.hash_one(name);
        if let Some(place) = self.places.find(hash, |place| place.hash == hash as u32) {
            runtime::cache::prefetch(&self.lines[place.line as usize]);
        }
    }

    /// Adds one whose name is not there.
    fn insert(&mut self, target: SendTarget) {
        let line = self.unused.pop().unwrap_or_else(|| {
            self.lines.push(target);
            self.lines.len() as u32 - 1
        });
        self.lines[line as usize] = target;
        let hash = self.hasher.hash_one(target.short_name());
        let hash_of = |place: &TargetPlace| {
            self.hasher.hash_one(self.lines[place.line as usize].short_name())
        };
        self.places.insert_unique(hash, TargetPlace { hash: hash as u32, line }, hash_of);
    }

    fn remove(&mut self, name: &[u8]) {
        let hash = self.hasher.hash_one(name);
        let is_it = |place: &TargetPlace| place.is_of(hash, name, &self.lines);
        if let Ok(entry) = self.places.find_entry(hash, is_it) {
            let (place, _) = entry.remove();
            self.unused.push(place.line);
        }
    }
}

/// Over which shards a topic's queues are spread: stored, so that shards can be added later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Shard of queue 0.
    pub first: u8,
    /// Number of shards.
    pub count: u8,
}

impl Placement {
    /// The shard of a queue.
    pub fn shard(self, queue: u32) -> u8 {
        let count = u32::from(self.count.max(1));
        u8::try_from((u32::from(self.first) + queue) % count).expect("below 256")
    }
}

/// A change, as the log holds it behind one byte of kind, two of placement and one of zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Change {
    PutTopic = 1,
    DeleteTopic = 2,
    PutGroup = 3,
    DeleteGroup = 4,
    Forbid = 5,
    Set = 6,
}

/// From so many topics on a send's own is not in the CPU's nearer caches.
const LARGE_CATALOG_TOPICS: usize = 1_000;

/// Bytes before the JSON of a change.
const HEAD_BYTES: usize = 4;

/// What a shard that has not the catalog notes of a topic that is no more: it has no name there.
pub const NO_MORE: [u8; HEAD_BYTES] = [Change::DeleteTopic as u8, 0, 0, 0];

/// Whether a record of the catalog says that its topic is no more.
pub fn is_deletion(payload: &[u8]) -> bool {
    payload.first() == Some(&(Change::DeleteTopic as u8))
}

/// Whether a record of the catalog changes settings.
pub fn is_setting(payload: &[u8]) -> bool {
    payload.first() == Some(&(Change::Set as u8))
}

/// Why a catalog record cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It is of a kind that this version does not know.
    #[error("unknown kind of change {0}")]
    UnknownChange(u8),
    /// It is too short.
    #[error("{0} bytes are too short for a change")]
    Short(usize),
    /// The configuration in it cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A name is not UTF-8.
    #[error("a name is not UTF-8")]
    Name,
    /// What is forbidden has no group or no topic.
    #[error("the group or the topic of what is forbidden is missing")]
    Forbidden,
}

/// Why a change is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CatalogFull {
    /// As many topics as allowed exist.
    #[error("the broker has {0} topics, as many as it takes")]
    Topics(usize),
    /// As many groups as allowed exist.
    #[error("the broker has {0} consumer groups, as many as it takes")]
    Groups(usize),
    /// As much as allowed is forbidden.
    #[error("{0} topics are forbidden to groups, as many as it takes")]
    Forbidden(usize),
    /// The configuration of a topic or group is too long.
    #[error("the configuration takes {0} bytes, more than the {max} that are kept", max = CATALOG_BYTES_MAX)]
    TooLong(usize),
}

/// See the module's first lines.
#[derive(Clone, Debug)]
pub struct Catalog {
    topics: HashMap<Box<str>, Topic, RandomState>,
    targets: SendTargets,
    names: HashMap<u32, Box<str>, RandomState>,
    groups: HashMap<Box<str>, SubscriptionGroupConfig, RandomState>,
    /// Topics by groups that may not read them (`SubscriptionGroupManager.forbiddenTable`).
    forbidden: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// How many of all groups.
    forbidden_count: usize,
    /// By key.
    settings: BTreeMap<Box<str>, Box<str>>,
    next_incarnation: u32,
    topics_version: DataVersion,
    groups_version: DataVersion,
    topics_max: usize,
    groups_max: usize,
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog::with_room_for(TOPICS_MAX, GROUPS_MAX)
    }
}

impl Catalog {
    /// An empty catalog that takes so many topics and groups: a broker's takes [`TOPICS_MAX`] and
    /// [`GROUPS_MAX`], which are too many for a test.
    pub fn with_room_for(topics_max: usize, groups_max: usize) -> Catalog {
        Catalog {
            topics: HashMap::default(),
            targets: SendTargets::default(),
            names: HashMap::default(),
            groups: HashMap::default(),
            forbidden: BTreeMap::new(),
            forbidden_count: 0,
            settings: BTreeMap::new(),
            next_incarnation: FIRST_INCARNATION,
            topics_version: DataVersion::default(),
            groups_version: DataVersion::default(),
            topics_max,
            groups_max,
        }
    }

    /// A topic by its name.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// What a send to a topic has to know of it.
    pub fn send_target(&self, name: &str) -> Option<SendTarget> {
        let text = name.as_bytes();
        if text.len() > SHORT_NAME_BYTES {
            return self.topics.get(name).map(SendTarget::of);
        }
        self.targets.find(text).copied()
    }

    /// A send to a topic of this name comes in a moment: asks for the memory that it needs.
    pub fn prefetch_send_target(&self, name: &[u8]) {
        self.targets.prefetch(name);
    }

    /// Whether there are so many topics that a send finds its own in cold memory.
    pub fn is_large(&self) -> bool {
        self.topics.len() >= LARGE_CATALOG_TOPICS
    }

    /// A topic's name by its incarnation.
    pub fn topic_name(&self, incarnation: u32) -> Option<&str> {
        self.names.get(&incarnation).map(|name| &**name)
    }

    /// All topics, in no order.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// A group's configuration.
    pub fn group(&self, name: &str) -> Option<&SubscriptionGroupConfig> {
        self.groups.get(name)
    }

    /// All groups, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &SubscriptionGroupConfig> {
        self.groups.values()
    }

    /// The version of the topics, as NameServers compare it.
    pub fn topics_version(&self) -> DataVersion {
        self.topics_version
    }

    /// The version of the groups.
    pub fn groups_version(&self) -> DataVersion {
        self.groups_version
    }

    /// Creates or changes a topic and encodes the change; the caller appends `payload` to shard 0's
    /// log under the incarnation that is returned. `reserved`: the incarnation of an internal topic.
    ///
    /// # Errors
    /// As many topics as allowed exist, or it is too long; nothing changed then.
    pub fn put_topic(
        &mut self,
        now_ms: u64,
        config: TopicConfig,
        placement: Placement,
        reserved: Option<u32>,
        payload: &mut Vec<u8>,
    ) -> Result<u32, CatalogFull> {
        let known = self.topics.get(config.topic_name.as_str());
        if known.is_none() && self.topics.len() >= self.topics_max {
            return Err(CatalogFull::Topics(self.topics_max));
        }
        let placement = known.map_or(placement, |topic| topic.placement);
        let incarnation =
            known.map(|topic| topic.incarnation).or(reserved).unwrap_or(self.next_incarnation);
        encode_topic(&config, placement, payload);
        check_length(payload)?;
        self.insert_topic(Topic { config, incarnation, placement });
        self.topics_version = self.topics_version.next(0, now_ms as i64);
        Ok(incarnation)
    }

    /// Deletes a topic and encodes the change; `None`: there is none of that name.
    pub fn delete_topic(&mut self, now_ms: u64, name: &str, payload: &mut Vec<u8>) -> Option<u32> {
        let topic = self.remove_topic(name)?;
        self.names.remove(&topic.incarnation);
        payload.clear();
        payload.extend_from_slice(&[Change::DeleteTopic as u8, 0, 0, 0]);
        payload.extend_from_slice(name.as_bytes());
        self.topics_version = self.topics_version.next(0, now_ms as i64);
        Some(topic.incarnation)
    }

    /// Creates or changes a group and encodes the change.
    ///
    /// # Errors
    /// As many groups as allowed exist, or it is too long; nothing changed then.
    pub fn put_group(
        &mut self,
        now_ms: u64,
        config: SubscriptionGroupConfig,
        payload: &mut Vec<u8>,
    ) -> Result<(), CatalogFull> {
        let is_new = !self.groups.contains_key(config.group_name.as_str());
        if is_new && self.groups.len() >= self.groups_max {
            return Err(CatalogFull::Groups(self.groups_max));
        }
        encode_group(&config, payload);
        check_length(payload)?;
        self.groups.insert(config.group_name.as_str().into(), config);
        self.groups_version = self.groups_version.next(0, now_ms as i64);
        Ok(())
    }

    /// Deletes a group and encodes the change. `false`: there is none of that name.
    pub fn delete_group(&mut self, now_ms: u64, name: &str, payload: &mut Vec<u8>) -> bool {
        if self.groups.remove(name).is_none() {
            return false;
        }
        self.allow_all(name);
        payload.clear();
        payload.extend_from_slice(&[Change::DeleteGroup as u8, 0, 0, 0]);
        payload.extend_from_slice(name.as_bytes());
        self.groups_version = self.groups_version.next(0, now_ms as i64);
        true
    }

    /// Whether a group may not read a topic.
    pub fn is_forbidden(&self, group: &str, topic: &str) -> bool {
        // Hardly anybody forbids anything.
        !self.forbidden.is_empty()
            && self.forbidden.get(group).is_some_and(|topics| topics.contains(topic))
    }

    /// Topics that groups may not read, with the groups.
    pub fn forbidden(&self) -> impl Iterator<Item = (&str, &str)> {
        self.forbidden
            .iter()
            .flat_map(|(group, topics)| topics.iter().map(move |topic| (&**group, &**topic)))
    }

    /// Forbids a group to read a topic, or allows it, and encodes the change; `None`: it is so already.
    ///
    /// # Errors
    /// As much as allowed is forbidden.
    pub fn forbid(
        &mut self,
        now_ms: u64,
        (group, topic): (&str, &str),
        is_readable: bool,
        payload: &mut Vec<u8>,
    ) -> Result<Option<()>, CatalogFull> {
        if self.is_forbidden(group, topic) != is_readable {
            return Ok(None);
        }
        if !is_readable && self.forbidden_count >= FORBIDDEN_MAX {
            return Err(CatalogFull::Forbidden(FORBIDDEN_MAX));
        }
        encode_forbidden(group, topic, is_readable, payload);
        self.set_forbidden(group, topic, is_readable);
        self.groups_version = self.groups_version.next(0, now_ms as i64);
        Ok(Some(()))
    }

    fn set_forbidden(&mut self, group: &str, topic: &str, is_readable: bool) {
        if !is_readable {
            let is_new = self.forbidden.entry(group.into()).or_default().insert(topic.into());
            self.forbidden_count += usize::from(is_new);
        } else if let Some(topics) = self.forbidden.get_mut(group) {
            self.forbidden_count -= usize::from(topics.remove(topic));
            if topics.is_empty() {
                self.forbidden.remove(group);
            }
        }
    }

    /// A group is no more.
    fn allow_all(&mut self, group: &str) {
        let topics = self.forbidden.remove(group);
        self.forbidden_count -= topics.map_or(0, |topics| topics.len());
    }

    /// What operators set while the broker ran, by key.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Sets keys, or, without a value, leaves them to the configuration again, and encodes the change. No key
    /// has a `=` in it, and no key or value a line's end.
    pub fn set<'a>(
        &mut self,
        now_ms: u64,
        changes: impl Iterator<Item = (&'a str, Option<&'a str>)>,
        payload: &mut Vec<u8>,
    ) {
        payload.clear();
        payload.extend_from_slice(&[Change::Set as u8, 0, 0, 0]);
        for (key, value) in changes {
            encode_setting(key, value, payload);
            self.put_setting(key, value);
        }
        // The broker's permission is told with its topics.
        self.topics_version = self.topics_version.next(0, now_ms as i64);
    }

    fn put_setting(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => _ = self.settings.insert(key.into(), value.into()),
            None => _ = self.settings.remove(key),
        }
    }

    /// Applies a record of the log (recovery).
    ///
    /// # Errors
    /// [`CatalogError`]: the record was written by another version.
    pub fn replay(&mut self, incarnation: u32, payload: &[u8]) -> Result<(), CatalogError> {
        let short = CatalogError::Short(payload.len());
        let (head, body) = payload.split_at_checked(HEAD_BYTES).ok_or(short)?;
        let name = || std::str::from_utf8(body).map_err(|_| CatalogError::Name);
        match head[0] {
            kind if kind == Change::PutTopic as u8 => {
                let config = TopicConfig::parse(body)?;
                let placement = Placement { first: head[1], count: head[2] };
                self.insert_topic(Topic { config, incarnation, placement });
            }
            kind if kind == Change::DeleteTopic as u8 => {
                let name = name()?;
                if self.topics.get(name).is_some_and(|topic| topic.incarnation == incarnation) {
                    self.remove_topic(name);
                }
                self.names.remove(&incarnation);
            }
            kind if kind == Change::PutGroup as u8 => {
                let config = SubscriptionGroupConfig::parse(body)?;
                self.groups.insert(config.group_name.as_str().into(), config);
            }
            kind if kind == Change::DeleteGroup as u8 => {
                let name = name()?;
                self.groups.remove(name);
                self.allow_all(name);
            }
            kind if kind == Change::Forbid as u8 => {
                let GroupForbidden { group, topic, readable } = GroupForbidden::parse(body)?;
                let (Some(group), Some(topic)) = (group, topic) else {
                    return Err(CatalogError::Forbidden);
                };
                self.set_forbidden(&group, &topic, readable.unwrap_or(false));
            }
            kind if kind == Change::Set as u8 => {
                for line in name()?.lines() {
                    let (key, value) = line
                        .split_once('=')
                        .map_or((line, None), |(key, value)| (key, Some(value)));
                    self.put_setting(key, value);
                }
            }
            other => return Err(CatalogError::UnknownChange(other)),
        }
        // Rising over restarts, which is all that NameServers compare.
        self.topics_version.counter += 1;
        self.groups_version.counter += 1;
        Ok(())
    }

    /// Everything as changes that make it again: for each the incarnation of its record and its payload.
    pub fn write_all(&self, mut emit: impl FnMut(u32, &[u8])) {
        let mut payload = Vec::new();
        // In the order of their making, so that the same catalog is always the same bytes.
        let mut topics: Vec<_> = self.topics.values().collect();
        topics.sort_unstable_by_key(|topic| topic.incarnation);
        for topic in topics {
            encode_topic(&topic.config, topic.placement, &mut payload);
            emit(topic.incarnation, &payload);
        }
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_unstable_by(|one, other| one.group_name.cmp(&other.group_name));
        for group in groups {
            encode_group(group, &mut payload);
            emit(0, &payload);
        }
        for (group, topic) in self.forbidden() {
            encode_forbidden(group, topic, false, &mut payload);
            emit(0, &payload);
        }
        if !self.settings.is_empty() {
            payload.clear();
            payload.extend_from_slice(&[Change::Set as u8, 0, 0, 0]);
            for (key, value) in self.settings() {
                encode_setting(key, Some(value), &mut payload);
            }
            emit(0, &payload);
        }
    }

    /// Changes so far: versions rise with them.
    pub fn changes(&self) -> u64 {
        u64::try_from(self.topics_version.counter.max(self.groups_version.counter)).unwrap_or(0)
    }

    /// The number that the next new topic gets.
    pub fn next_incarnation(&self) -> u32 {
        self.next_incarnation
    }

    /// A record of this incarnation is in the log: it is never used again, even if what made it is lost.
    pub fn saw_incarnation(&mut self, incarnation: u32) {
        self.next_incarnation = self.next_incarnation.max(incarnation.saturating_add(1));
    }

    /// What its tables do not say: how many changes made it, and which incarnations were used.
    pub fn restore(&mut self, changes: u64, next_incarnation: u32) {
        let counter = i64::try_from(changes).unwrap_or(i64::MAX);
        self.topics_version.counter = counter;
        self.groups_version.counter = counter;
        self.next_incarnation = self.next_incarnation.max(next_incarnation);
    }

    fn insert_topic(&mut self, topic: Topic) {
        self.next_incarnation = self.next_incarnation.max(topic.incarnation + 1);
        let name: Box<str> = topic.config.topic_name.as_str().into();
        self.names.insert(topic.incarnation, name.clone());
        self.targets.remove(name.as_bytes());
        if name.len() <= SHORT_NAME_BYTES {
            self.targets.insert(SendTarget::of(&topic));
        }
        self.topics.insert(name, topic);
    }

    fn remove_topic(&mut self, name: &str) -> Option<Topic> {
        self.targets.remove(name.as_bytes());
        self.topics.remove(name)
    }

    /// The tables are loaded: their versions count from now (`DataVersion`).
    pub fn opened(&mut self, now_ms: u64) {
        self.topics_version = self.topics_version.next(0, now_ms as i64);
        self.groups_version = self.groups_version.next(0, now_ms as i64);
    }
}

/// Whether a topic's configuration is short enough: to be asked where several change or none.
///
/// # Errors
/// [`CatalogFull::TooLong`].
pub fn check_topic(config: &TopicConfig) -> Result<(), CatalogFull> {
    let mut payload = Vec::new();
    encode_topic(config, Placement { first: 0, count: 1 }, &mut payload);
    check_length(&mut payload)
}

/// The same of a group's.
///
/// # Errors
/// [`CatalogFull::TooLong`].
pub fn check_group(config: &SubscriptionGroupConfig) -> Result<(), CatalogFull> {
    let mut payload = Vec::new();
    encode_group(config, &mut payload);
    check_length(&mut payload)
}

/// A change that is too long leaves nothing behind.
fn check_length(payload: &mut Vec<u8>) -> Result<(), CatalogFull> {
    let bytes = payload.len();
    if bytes <= CATALOG_BYTES_MAX {
        return Ok(());
    }
    *payload = Vec::new();
    Err(CatalogFull::TooLong(bytes))
}

fn encode_topic(config: &TopicConfig, placement: Placement, payload: &mut Vec<u8>) {
    payload.clear();
    payload.extend_from_slice(&[Change::PutTopic as u8, placement.first, placement.count, 0]);
    config.write(payload);
}

fn encode_group(config: &SubscriptionGroupConfig, payload: &mut Vec<u8>) {
    payload.clear();
    payload.extend_from_slice(&[Change::PutGroup as u8, 0, 0, 0]);
    config.write(payload);
}

fn encode_forbidden(group: &str, topic: &str, is_readable: bool, payload: &mut Vec<u8>) {
    payload.clear();
    payload.extend_from_slice(&[Change::Forbid as u8, 0, 0, 0]);
    let forbidden = GroupForbidden {
        group: Some(group.to_owned()),
        readable: Some(is_readable),
        topic: Some(topic.to_owned()),
    };
    forbidden.write(payload);
}

/// A line `key=value`, or `key` alone.
fn encode_setting(key: &str, value: Option<&str>, payload: &mut Vec<u8>) {
    payload.extend_from_slice(key.as_bytes());
    if let Some(value) = value {
        payload.push(b'=');
        payload.extend_from_slice(value.as_bytes());
    }
    payload.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(name: &str, queues: i32) -> TopicConfig {
        TopicConfig {
            topic_name: name.to_owned(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            ..TopicConfig::default()
        }
    }

    #[test]
    fn replayed_changes_give_the_same_catalog() {
        let placement = Placement { first: 1, count: 3 };
        let mut catalog = Catalog::default();
        let mut again = Catalog::default();
        let mut payload = Vec::new();
        let mut put = |catalog: &mut Catalog, again: &mut Catalog, name: &str, queues| {
            let incarnation = catalog
                .put_topic(5, config(name, queues), placement, None, &mut payload)
                .expect("room");
            again.replay(incarnation, &payload).expect("whole");
            incarnation
        };
        let first = put(&mut catalog, &mut again, "A", 4);
        assert_eq!(put(&mut catalog, &mut again, "A", 8), first, "a change keeps the incarnation");
        let other = put(&mut catalog, &mut again, "B", 1);
        assert_ne!(first, other);
        let mut payload = Vec::new();
        assert_eq!(catalog.delete_topic(6, "A", &mut payload), Some(first));
        again.replay(first, &payload).expect("whole");
        assert_eq!(again.topic("A"), None);
        assert_eq!(again.topic_name(other), Some("B"));
        let reborn =
            catalog.put_topic(7, config("A", 4), placement, None, &mut payload).expect("room");
        again.replay(reborn, &payload).expect("whole");
        assert!(reborn > other, "an incarnation is never used again");
        assert_eq!(again.topic("A"), catalog.topic("A"));
        let group = SubscriptionGroupConfig { group_name: "G".to_owned(), ..Default::default() };
        catalog.put_group(8, group, &mut payload).expect("room");
        again.replay(0, &payload).expect("whole");
        assert_eq!(again.group("G"), catalog.group("G"));
        assert!(catalog.delete_group(9, "G", &mut payload));
        again.replay(0, &payload).expect("whole");
        assert_eq!(again.group("G"), None);
        assert!(!catalog.delete_group(9, "G", &mut payload), "there is none");
        again.replay(reborn, &NO_MORE).expect("whole");
        assert!(again.topic("A").is_some(), "another shard's note has no name");
        assert!(matches!(again.replay(0, &[9, 0, 0, 0]), Err(CatalogError::UnknownChange(9))));
        assert!(matches!(again.replay(0, &[1]), Err(CatalogError::Short(1))));
    }

    proptest! {
        /// Names of any length, made, changed and deleted: a send finds what the table of topics has.
        #[test]
        fn a_send_finds_each_topic_as_it_is(
            changes in proptest::collection::vec((0..8_usize, 0..6_i32), 1..60),
        ) {
            let lengths = [1, SHORT_NAME_BYTES, SHORT_NAME_BYTES + 1, 127];
            let names = lengths.map(|length| ["t", "u"].map(|last| "t".repeat(length - 1) + last));
            let names = names.as_flattened();
            let (mut catalog, mut again) = (Catalog::default(), Catalog::default());
            let (mut payload, placement) = (Vec::new(), Placement { first: 1, count: 3 });
            for (name, queues) in changes {
                let incarnation = if queues == 0 {
                    catalog.delete_topic(1, &names[name], &mut payload)
                } else {
                    let config = config(&names[name], queues);
                    catalog.put_topic(1, config, placement, None, &mut payload).ok()
                };
                if let Some(incarnation) = incarnation {
                    again.replay(incarnation, &payload).expect("whole");
                }
                for catalog in [&catalog, &again] {
                    for name in names {
                        let expected = catalog.topic(name).map(SendTarget::of);
                        prop_assert_eq!(catalog.send_target(name), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_forbidden_and_set_is_replayed_and_ends_with_its_group() {
        let (mut catalog, mut payload) = (Catalog::default(), Vec::new());
        let mut again = Catalog::default();
        let mut forbid = |catalog: &mut Catalog, again: &mut Catalog, pair, is_readable| {
            let changed = catalog.forbid(1, pair, is_readable, &mut payload).expect("room");
            if changed.is_some() {
                again.replay(0, &payload).expect("whole");
            }
            changed.is_some()
        };
        assert!(forbid(&mut catalog, &mut again, ("G", "A"), false));
        assert!(!forbid(&mut catalog, &mut again, ("G", "A"), false), "it is so already");
        assert!(forbid(&mut catalog, &mut again, ("G", "B"), false));
        assert!(forbid(&mut catalog, &mut again, ("H", "A"), false));
        assert!(forbid(&mut catalog, &mut again, ("G", "A"), true), "B stays forbidden");
        assert!(!forbid(&mut catalog, &mut again, ("X", "A"), true));
        let mut payload = Vec::new();
        catalog.set(
            2,
            [("a", Some("1=2")), ("b", Some("")), ("c", Some("3"))].into_iter(),
            &mut payload,
        );
        assert!(is_setting(&payload));
        again.replay(0, &payload).expect("whole");
        catalog.set(3, [("c", None)].into_iter(), &mut payload);
        again.replay(0, &payload).expect("whole");
        let mut from_all = Catalog::default();
        catalog.write_all(|_, payload| from_all.replay(0, payload).expect("whole"));
        let group = SubscriptionGroupConfig { group_name: "G".to_owned(), ..Default::default() };
        for catalog in [&mut catalog, &mut again, &mut from_all] {
            let all: Vec<_> = catalog.forbidden().collect();
            assert_eq!(all, [("G", "B"), ("H", "A")]);
            assert!(catalog.is_forbidden("G", "B") && !catalog.is_forbidden("G", "A"));
            assert_eq!(catalog.settings().collect::<Vec<_>>(), [("a", "1=2"), ("b", "")]);
            catalog.put_group(4, group.clone(), &mut payload).expect("room");
            assert!(catalog.delete_group(5, "G", &mut payload));
            assert_eq!(catalog.forbidden().collect::<Vec<_>>(), [("H", "A")]);
            assert_eq!(catalog.forbidden_count, 1);
        }
        from_all.set_forbidden("G", "B", false);
        from_all.replay(0, &payload).expect("whole");
        assert!(!from_all.is_forbidden("G", "B"), "the group's deletion is replayed, too");
        let broken = from_all.replay(0, b"\x05\0\0\0{}");
        assert!(matches!(broken, Err(CatalogError::Forbidden)));
    }

    #[test]
    fn queues_are_spread_over_the_shards_of_the_placement() {
        let placement = Placement { first: 2, count: 3 };
        assert_eq!([0, 1, 2, 3].map(|queue| placement.shard(queue)), [2, 0, 1, 2]);
    }
}
