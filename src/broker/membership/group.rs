//! A consumer group: its members, what they subscribe to, and how they consume.
//! Kind: machine

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use engine::filter::{SqlFilter, TagFilter};
use engine::limits::SQL_TEXT_BYTES_MAX;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use proto::body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel};
use proto::body::{SQL92, SUB_ALL, SubscriptionData};

use super::Client;

/// What a subscription takes besides its texts: two copies of its topic's string header, the entry
/// in the table, allocations.
const SUBSCRIPTION_BYTES: usize = 512;

/// What a tag takes besides its text: its string, its hash twice, shares of the sets' nodes.
const TAG_BYTES: usize = 64;

/// Time between two lines in the log about conflicts of one group, ms: two heartbeats of a client.
const CONFLICT_INTERVAL_MS: u64 = 60_000;

/// A consumer group that has members. The last heartbeat of any of them decides for all.
#[derive(Debug, Default)]
pub struct ConsumerGroup {
    /// Whether members share the messages; not known if the client wrote none that exists.
    pub message_model: Option<MessageModel>,
    /// How they get their messages.
    pub consume_type: Option<ConsumeType>,
    /// Where they begin if the group is new.
    pub consume_from_where: Option<ConsumeFromWhere>,
    fingerprint: Option<i32>,
    members: BTreeMap<u64, Client>,
    /// Shared with the copies that other cores have.
    subscriptions: Arc<HashMap<String, Subscription, RandomState>>,
    subscription_bytes: usize,
    /// When the last conflict went into the log.
    conflict_told_ms: Option<u64>,
}

/// What pulls need to know of a group that has members.
#[derive(Debug, Clone)]
pub struct GroupWants {
    /// Whether every member gets every message.
    pub is_broadcasting: bool,
    subscriptions: Arc<HashMap<String, Subscription, RandomState>>,
}

impl GroupWants {
    /// What the group wants of a topic.
    pub fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    /// The topics for which it has an expression that was compiled.
    pub fn expressions(&self) -> impl Iterator<Item = (&str, &Arc<SqlFilter>)> {
        let subscriptions = self.subscriptions.values();
        subscriptions.filter_map(|it| Some((&*it.data.topic, &it.compiled()?.filter)))
    }
}

/// What a group wants of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// When the client made it, ms; a pull with a later one finds it too old.
    pub version: i64,
    /// What its expression means.
    pub filter: GroupFilter,
    /// What the client said.
    pub data: SubscriptionData,
    /// The connection of the member that said it.
    stated_by: u64,
}

/// What a subscription's expression means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupFilter {
    /// Which tags are wanted.
    Tags(TagFilter),
    /// An expression on properties; `None`: it cannot be compiled.
    Sql(Option<CompiledFilter>),
}

/// An expression that was compiled (`ConsumerFilterData`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledFilter {
    /// Version of the subscription that it was compiled for: an older one than the subscription's if
    /// that has no text.
    pub version: i64,
    /// The program.
    pub filter: Arc<SqlFilter>,
}

impl ConsumerGroup {
    /// Whether every member gets every message; such groups need not know who is in them.
    pub fn is_broadcasting(&self) -> bool {
        self.message_model == Some(MessageModel::Broadcasting)
    }

    /// What pulls need to know of it.
    pub fn wants(&self) -> GroupWants {
        let subscriptions = Arc::clone(&self.subscriptions);
        GroupWants { is_broadcasting: self.is_broadcasting(), subscriptions }
    }

    /// Members by connection, in order.
    pub fn members(&self) -> impl Iterator<Item = (u64, &Client)> {
        self.members.iter().map(|(connection, client)| (*connection, client))
    }

    /// What the group wants of a topic.
    pub fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    /// What the group wants of all topics, in no order.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.values()
    }

    pub(super) fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// Memory of the subscriptions.
    pub(super) fn subscription_bytes(&self) -> usize {
        self.subscription_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member's heartbeat, subscriptions aside (`ConsumerGroupInfo.updateChannel`). Whether pulls
    /// are to know of it.
    pub(super) fn enter(&mut self, connection: u64, client: &Client, data: &ConsumerData) -> bool {
        let is_other = self.is_empty() || self.message_model != data.message_model;
        self.message_model = data.message_model;
        self.consume_type = data.consume_type;
        self.consume_from_where = data.consume_from_where;
        // Another client id on a known connection replaces the first one and is no change.
        if self.members.get(&connection).is_none_or(|known| known.id != client.id) {
            self.members.insert(connection, client.clone());
        }
        is_other
    }

    /// Whether the connection was a member.
    pub(super) fn leave(&mut self, connection: u64) -> bool {
        self.members.remove(&connection).is_some()
    }

    /// Takes a heartbeat's subscriptions for all that the group wants, and says whether topics came
    /// or went. Another expression for a known topic is no such change, and counts only if it is newer
    /// (`ConsumerGroupInfo.updateSubscription`).
    pub(super) fn subscribe(
        &mut self,
        name: &str,
        connection: u64,
        stated: &[SubscriptionData],
    ) -> Subscribed {
        let mut done =
            Subscribed { conflict: self.conflict(connection, stated), ..Subscribed::default() };
        for data in stated {
            let known = self.subscriptions.get(&data.topic);
            if known.is_some_and(|known| known.version >= data.sub_version) {
                continue;
            }
            done.is_other = true;
            let subscription = Subscription::new(name, connection, data, known);
            self.subscription_bytes += subscription.bytes();
            // Copied if other cores have the table as it was.
            let known = Arc::make_mut(&mut self.subscriptions).get_mut(&data.topic);
            if let Some(known) = known {
                let old = mem::replace(known, subscription);
                self.subscription_bytes -= old.bytes();
            } else {
                let subscriptions = Arc::make_mut(&mut self.subscriptions);
                subscriptions.insert(data.topic.clone(), subscription);
                done.topics_changed = true;
            }
        }
        let topics: HashSet<&str, RandomState> =
            stated.iter().map(|data| data.topic.as_str()).collect();
        let is_gone = |topic: &str| !topics.contains(topic);
        if self.subscriptions.keys().any(|topic| is_gone(topic)) {
            let subscriptions = Arc::make_mut(&mut self.subscriptions);
            for (_, gone) in subscriptions.extract_if(|topic, _| is_gone(topic)) {
                self.subscription_bytes -= gone.bytes();
            }
            done = Subscribed { is_other: true, topics_changed: true, ..done };
        }
        done
    }

    /// The first topic of which another member wants something else. The group has one table for all
    /// its members: with a conflict, what each of them gets depends on who was heard last, and a topic
    /// that one of them does not name is consumed by nobody in between.
    fn conflict(&self, connection: u64, stated: &[SubscriptionData]) -> Option<Conflict> {
        let client = &self.members.get(&connection)?.id;
        let other_of = |known: &Subscription| {
            let other = self.members.get(&known.stated_by)?;
            (other.id != *client).then(|| other.clone())
        };
        let known_of = |data: &SubscriptionData| self.subscriptions.get(&data.topic);
        let differing = stated.iter().find_map(|data| {
            let known = known_of(data).filter(|known| !is_same(&known.data, data))?;
            Some((known, data.sub_string.clone(), other_of(known)?))
        });
        let missing = || {
            let topics: HashSet<&str, RandomState> =
                stated.iter().map(|data| data.topic.as_str()).collect();
            let unnamed =
                self.subscriptions.values().filter(|it| !topics.contains(it.data.topic.as_str()));
            unnamed.filter_map(|known| Some((known, String::new(), other_of(known)?))).next()
        };
        let (known, wants, other) = differing.or_else(missing)?;
        let topic = known.data.topic.clone();
        Some(Conflict { topic, wants, other, other_wants: known.data.sub_string.clone() })
    }

    /// Whether a conflict is to be told now: once in [`CONFLICT_INTERVAL_MS`], since it comes again with
    /// every heartbeat.
    pub(super) fn tells_conflict(&mut self, now_ms: u64) -> bool {
        let told_ms = self.conflict_told_ms;
        let is_due = told_ms.is_none_or(|told| now_ms.saturating_sub(told) >= CONFLICT_INTERVAL_MS);
        if is_due {
            self.conflict_told_ms = Some(now_ms);
        }
        is_due
    }

    /// The fingerprint of the heartbeat before this one, of whichever member.
    pub(super) fn replace_fingerprint(&mut self, fingerprint: i32) -> Option<i32> {
        self.fingerprint.replace(fingerprint)
    }
}

/// What a heartbeat did to a group's subscriptions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Subscribed {
    /// Topics came or went.
    pub topics_changed: bool,
    /// Anything changed, expressions included: pulls are to know of it.
    pub is_other: bool,
    /// Another member wants something else.
    pub conflict: Option<Conflict>,
}

/// Two members of a group that do not want the same of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    /// The topic.
    pub topic: String,
    /// The expression of the one that is heard now; empty if it does not name the topic.
    pub wants: String,
    /// The other one.
    pub other: Client,
    /// Its expression.
    pub other_wants: String,
}

impl Subscription {
    /// `known` is the older one that it replaces.
    fn new(
        group: &str,
        connection: u64,
        data: &SubscriptionData,
        known: Option<&Subscription>,
    ) -> Self {
        let filter = if data.is_tag_type() {
            GroupFilter::Tags(tags_of(data))
        } else {
            GroupFilter::Sql(compiled(group, data, known.and_then(Subscription::compiled)))
        };
        Self { version: data.sub_version, filter, data: data.clone(), stated_by: connection }
    }

    pub(in crate::broker) fn compiled(&self) -> Option<&CompiledFilter> {
        match &self.filter {
            GroupFilter::Tags(_) => None,
            GroupFilter::Sql(compiled) => compiled.as_ref(),
        }
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.data) + self.compiled_bytes()
    }

    fn compiled_bytes(&self) -> usize {
        self.compiled().map_or(0, |compiled| program_bytes(compiled.filter.text()))
    }
}

/// Whether two expressions for a topic mean the same; tags may come in any order.
fn is_same(one: &SubscriptionData, other: &SubscriptionData) -> bool {
    if one.is_tag_type() && other.is_tag_type() && !one.tags_set.is_empty() {
        return one.tags_set == other.tags_set;
    }
    one.is_tag_type() == other.is_tag_type() && one.sub_string == other.sub_string
}

/// The filter that `DefaultMessageFilter.isMatchedByConsumeQueue` is: by the hashes that the client
/// sends, whatever its text says, so tags without hashes match nothing.
fn tags_of(data: &SubscriptionData) -> TagFilter {
    let is_all = data.sub_string == SUB_ALL || data.sub_string.is_empty();
    if is_all || data.class_filter_mode {
        return TagFilter::All;
    }
    TagFilter::Codes(data.code_set.iter().copied().collect())
}

/// `ConsumerFilterManager.register`: without a text what is known stays, as old as it is; the same text
/// need not be compiled again; what cannot be compiled leaves nothing, and pulls are told.
fn compiled(
    group: &str,
    data: &SubscriptionData,
    known: Option<&CompiledFilter>,
) -> Option<CompiledFilter> {
    let (version, text) = (data.sub_version, data.sub_string.as_str());
    if text.is_empty() {
        return known.cloned();
    }
    if let Some(same) = known.filter(|known| known.filter.text() == text) {
        return Some(CompiledFilter { version, filter: Arc::clone(&same.filter) });
    }
    let (topic, kind) = (data.topic.as_str(), data.expression_type.as_str());
    if kind != SQL92 {
        tracing::warn!(group, topic, kind, "a consumer's expression is of an unknown type");
        return None;
    }
    match SqlFilter::compile(text) {
        Ok(filter) => Some(CompiledFilter { version, filter: Arc::new(filter) }),
        Err(error) => {
            tracing::warn!(group, topic, %error, "a consumer's expression cannot be compiled");
            None
        }
    }
}

/// At the most what a group's subscriptions take after such a heartbeat: per topic what it takes
/// now or would take, whichever is more.
pub(super) fn bytes_after(group: Option<&ConsumerGroup>, stated: &[SubscriptionData]) -> usize {
    let bytes = stated.iter().map(|data| {
        let known = group.and_then(|group| group.subscription(&data.topic));
        let program = if data.is_tag_type() { 0 } else { program_bytes(&data.sub_string) };
        let known_data = known.map_or(0, |known| bytes_of(&known.data));
        let known_program = known.map_or(0, Subscription::compiled_bytes);
        bytes_of(data).max(known_data) + program.max(known_program)
    });
    bytes.sum()
}

/// What the program of a text takes, at the most; a longer text has none.
fn program_bytes(text: &str) -> usize {
    text.len().min(SQL_TEXT_BYTES_MAX) * SqlFilter::MEMORY_PER_TEXT_BYTE
}

fn bytes_of(data: &SubscriptionData) -> usize {
    let texts = 2 * data.topic.len() + data.sub_string.len() + data.expression_type.len();
    let tags: usize = data.tags_set.iter().map(|tag| tag.len() + TAG_BYTES).sum();
    SUBSCRIPTION_BYTES + texts + tags + data.code_set.len() * TAG_BYTES
}
