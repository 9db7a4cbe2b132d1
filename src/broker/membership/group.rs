//! A consumer group: its members, what they subscribe to, and how they consume.
//! Kind: machine

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use engine::filter::TagFilter;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use proto::body::{ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel};
use proto::body::{SUB_ALL, SubscriptionData};

use super::Client;

/// What a subscription takes besides its texts: two copies of its topic's string header, the entry
/// in the table, allocations.
const SUBSCRIPTION_BYTES: usize = 512;

/// What a tag takes besides its text: its string, its hash twice, shares of the sets' nodes.
const TAG_BYTES: usize = 64;

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
}

/// What a group wants of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// When the client made it, ms; a pull with a later one finds it too old.
    pub version: i64,
    /// Which tags it wants; all of them if the expression is not one of tags.
    pub filter: TagFilter,
    /// What the client said.
    pub data: SubscriptionData,
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
    pub(super) fn subscribe(&mut self, stated: &[SubscriptionData]) -> Subscribed {
        let mut done = Subscribed::default();
        for data in stated {
            let known = self.subscriptions.get(&data.topic);
            if known.is_some_and(|known| known.version >= data.sub_version) {
                continue;
            }
            done.is_other = true;
            // Copied if other cores have the table as it was.
            let known = Arc::make_mut(&mut self.subscriptions).get_mut(&data.topic);
            self.subscription_bytes += bytes_of(data);
            let subscription = Subscription::new(data.clone());
            if let Some(known) = known {
                let old = mem::replace(known, subscription);
                self.subscription_bytes -= bytes_of(&old.data);
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
                self.subscription_bytes -= bytes_of(&gone.data);
            }
            done = Subscribed { is_other: true, topics_changed: true };
        }
        done
    }

    /// The fingerprint of the heartbeat before this one, of whichever member.
    pub(super) fn replace_fingerprint(&mut self, fingerprint: i32) -> Option<i32> {
        self.fingerprint.replace(fingerprint)
    }
}

/// What a heartbeat did to a group's subscriptions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscribed {
    /// Topics came or went.
    pub topics_changed: bool,
    /// Anything changed, expressions included: pulls are to know of it.
    pub is_other: bool,
}

impl Subscription {
    fn new(data: SubscriptionData) -> Self {
        Self { version: data.sub_version, filter: filter_of(&data), data }
    }
}

/// The filter that `DefaultMessageFilter.isMatchedByConsumeQueue` is: by the hashes that the client
/// sends, whatever its text says, so tags without hashes match nothing.
fn filter_of(data: &SubscriptionData) -> TagFilter {
    let is_all = data.sub_string == SUB_ALL || data.sub_string.is_empty();
    if is_all || data.class_filter_mode || !data.is_tag_type() {
        return TagFilter::All;
    }
    TagFilter::Codes(data.code_set.iter().copied().collect())
}

/// At the most what a group's subscriptions take after such a heartbeat: per topic what it takes
/// now or would take, whichever is more.
pub(super) fn bytes_after(group: Option<&ConsumerGroup>, stated: &[SubscriptionData]) -> usize {
    let bytes = stated.iter().map(|data| {
        let known = group.and_then(|group| group.subscription(&data.topic));
        bytes_of(data).max(known.map_or(0, |known| bytes_of(&known.data)))
    });
    bytes.sum()
}

fn bytes_of(data: &SubscriptionData) -> usize {
    let texts = 2 * data.topic.len() + data.sub_string.len() + data.expression_type.len();
    let tags: usize = data.tags_set.iter().map(|tag| tag.len() + TAG_BYTES).sum();
    SUBSCRIPTION_BYTES + texts + tags + data.code_set.len() * TAG_BYTES
}
