//! Who produces and who consumes: the members of each group, by their connections.
//! Owns: consumer groups with what they subscribe to, producer groups, when each member was heard.
//! Lives on: the home core
//! Kind: machine
//! Invariants:
//! - a group exists as long as it has a member, and is told to nobody but its members;
//! - each connection knows its groups and each group its connections: neither without the other;
//! - a heartbeat that finds no room changes nothing.
//!
//! The rules are those of `ConsumerManager`, `ConsumerGroupInfo` and `ProducerManager` of Apache
//! RocketMQ 5.3.3. Two differences: whoever asks to leave a group that it is not in disturbs
//! nobody, and members hear of one that fell silent, because its connection is closed like any
//! other.

mod group;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use proto::body::{ConsumerData, SubscriptionData};
use proto::language::Language;

use group::Conflict;
pub use group::{CompiledFilter, ConsumerGroup, GroupFilter, GroupWants, Subscription};

/// Most pairs of a group and a member. One takes half a kilobyte, so all of them 64 MiB. A machine
/// with Apache's broker holds some ten thousand.
pub const MEMBERS_MAX: usize = 1 << 17;

/// Most groups of one connection, so that one client cannot fill the table. Clients share a
/// connection between all groups of a process, which has some tens of them.
pub const GROUPS_PER_CONNECTION_MAX: usize = 1024;

/// Most memory of one group's subscriptions in bytes: thousands of topics, or of tags.
pub const GROUP_SUBSCRIPTION_BYTES_MAX: usize = 1 << 20;

/// Most memory of all subscriptions together in bytes. One to a single tag takes 0.6 KiB.
pub const SUBSCRIPTION_BYTES_MAX: usize = 128 << 20;

/// Longest client id and group name in bytes. Java's ids are `address@process#nanoseconds@unit`.
pub const NAME_BYTES_MAX: usize = 255;

/// Time between looks for members that fell silent, ms (`ClientHousekeepingService`).
pub const SCAN_INTERVAL_MS: u64 = 10_000;

/// Producers of a group that are looked at for one that takes a check
/// (`ProducerManager.GET_AVAILABLE_CHANNEL_RETRY_COUNT`).
const PRODUCERS_LOOKED_AT_MAX: usize = 3;

/// Silence after which a member is gone, ms (`channelExpiredTimeout`): four heartbeats of a client.
const EXPIRED_MS_DEFAULT: u64 = 120_000;

/// How long a producer may send no heartbeat, ms (`ProducerManager.CHANNEL_EXPIRED_TIMEOUT`): nobody sets it.
pub const PRODUCER_EXPIRED_MS: u64 = 120_000;

const _: () = assert!(GROUPS_PER_CONNECTION_MAX <= MEMBERS_MAX);
const _: () = assert!(GROUP_SUBSCRIPTION_BYTES_MAX <= SUBSCRIPTION_BYTES_MAX);
const _: () = assert!(SCAN_INTERVAL_MS < EXPIRED_MS_DEFAULT);

/// What a client says of itself in a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Client id; several connections may have the same.
    pub id: String,
    /// Language of its frames.
    pub language: Option<Language>,
    /// Version of its frames, `MQVersion` ordinal.
    pub version: i32,
    /// Its end of the connection.
    pub peer: SocketAddr,
}

/// What a heartbeat did to a consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The group's members are to be told (40), the new one too. The group's own
    /// `notifyConsumerIdsChangedEnable` is the caller's to ask.
    pub notify: bool,
    /// `IS_SUB_CHANGE` of the answer, if true for any group: the client is to send all
    /// subscriptions the next time.
    pub sub_changed: bool,
}

/// A heartbeat that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room in the broker's membership: more than {limit} {what}")]
pub struct MembershipFull {
    /// What is limited.
    pub what: &'static str,
    /// The limit.
    pub limit: usize,
}

/// All groups. See the module's first lines.
#[derive(Debug)]
pub struct Membership {
    consumer_expired_ms: u64,
    producer_expired_ms: u64,
    notifies: bool,
    consumers: HashMap<Arc<str>, ConsumerGroup, RandomState>,
    producers: HashMap<Arc<str>, ProducerGroup, RandomState>,
    /// Where producers are, by client id (`ProducerManager.clientChannelTable`).
    producer_clients: HashMap<String, u64, RandomState>,
    seats: BTreeMap<u64, Seat>,
    member_count: usize,
    subscription_bytes: usize,
    scan_at_ms: u64,
    /// Groups whose [`GroupWants`] changed since they were asked for.
    changed: Vec<Arc<str>>,
}

/// A producer group that has members.
#[derive(Debug, Default)]
struct ProducerGroup {
    members: BTreeMap<u64, Client>,
    /// The connection that was asked last what became of a half message.
    asked: u64,
}

/// The groups of one connection, with when it was last heard in each, ms. A client that leaves a
/// group without saying so is silent in it, whatever it says elsewhere.
#[derive(Debug, Default)]
struct Seat {
    consumer_groups: BTreeMap<Arc<str>, u64>,
    producer_groups: BTreeMap<Arc<str>, u64>,
}

#[derive(Clone, Copy)]
enum Role {
    Consumer,
    Producer,
}

impl Default for Membership {
    fn default() -> Self {
        Self::new(EXPIRED_MS_DEFAULT, PRODUCER_EXPIRED_MS, true)
    }
}

impl Membership {
    /// No groups yet. Consumers are gone after `consumer_expired_ms` of silence (`channelExpiredTimeout`),
    /// producers after `producer_expired_ms`; without `notify_consumer_ids_changed`, the broker's
    /// `notifyConsumerIdsChangedEnable`, nobody is ever told of a change.
    pub fn new(
        consumer_expired_ms: u64,
        producer_expired_ms: u64,
        notify_consumer_ids_changed: bool,
    ) -> Self {
        Self {
            consumer_expired_ms,
            producer_expired_ms,
            notifies: notify_consumer_ids_changed,
            consumers: HashMap::default(),
            producers: HashMap::default(),
            producer_clients: HashMap::default(),
            seats: BTreeMap::new(),
            member_count: 0,
            subscription_bytes: 0,
            scan_at_ms: 0,
            changed: Vec::new(),
        }
    }

    /// One consumer group of a heartbeat, whose configuration and retry topic exist.
    ///
    /// `fingerprint` and `without_sub` are the heartbeat's: with a fingerprint that is not 0 the
    /// subscriptions may be left out, and those that are known stay.
    ///
    /// # Errors
    /// There is no room; nothing changed, and a known member stays as old as it was.
    pub fn heartbeat_consumer(
        &mut self,
        now_ms: u64,
        connection: u64,
        client: &Client,
        data: &ConsumerData,
        fingerprint: i32,
        without_sub: bool,
    ) -> Result<Change, MembershipFull> {
        let name = data.group_name.as_str();
        let is_without = fingerprint != 0 && without_sub;
        self.check_room(connection, Role::Consumer, name, client)?;
        if !is_without {
            self.check_subscription_room(name, &data.subscription_data_set)?;
        }

        let shared = shared_name(&self.consumers, name);
        let is_new = self.hear(now_ms, connection, Role::Consumer, shared.clone());
        let group = self.consumers.entry(shared.clone()).or_default();
        let mut is_other = group.enter(connection, client, data);
        let mut is_changed = is_new;
        if !is_without {
            self.subscription_bytes -= group.subscription_bytes();
            let subscribed = group.subscribe(name, connection, &data.subscription_data_set);
            self.subscription_bytes += group.subscription_bytes();
            if let Some(conflict) = subscribed.conflict.as_ref()
                && group.tells_conflict(now_ms)
            {
                told_conflict(name, client, conflict);
            }
            is_changed |= subscribed.topics_changed;
            is_other |= subscribed.is_other;
        }
        if is_other {
            self.changed.push(shared);
        }
        if is_changed {
            let (client, topics) = (client.id.as_str(), group.subscription_count());
            tracing::info!(group = name, client, connection, is_new, topics, "consumers changed");
        }
        let notify = is_changed && self.notifies && !group.is_broadcasting();
        let sub_changed = match group.replace_fingerprint(fingerprint) {
            _ if fingerprint == 0 => true,
            Some(known) => known != fingerprint,
            // Apache says false and never asks for what the group's first client left out because
            // it had told it to the broker before this one's restart.
            None => is_without,
        };
        Ok(Change { notify, sub_changed })
    }

    /// One producer group of a heartbeat.
    ///
    /// # Errors
    /// There is no room; nothing changed.
    pub fn heartbeat_producer(
        &mut self,
        now_ms: u64,
        connection: u64,
        client: &Client,
        group: &str,
    ) -> Result<(), MembershipFull> {
        self.check_room(connection, Role::Producer, group, client)?;
        let shared = shared_name(&self.producers, group);
        if self.hear(now_ms, connection, Role::Producer, shared.clone()) {
            tracing::info!(group, client = client.id, connection, "new producer");
            let group = self.producers.entry(shared).or_default();
            group.members.insert(connection, client.clone());
            self.producer_clients.insert(client.id.clone(), connection);
        }
        Ok(())
    }

    /// A client leaves groups (35). Returns the consumer group if its members are to be told (40).
    pub fn unregister(
        &mut self,
        connection: u64,
        client_id: &str,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Option<String> {
        let seat = self.seats.get_mut(&connection)?;
        let produced = producer_group.and_then(|group| seat.producer_groups.remove_entry(group));
        let consumed = consumer_group.and_then(|group| seat.consumer_groups.remove_entry(group));
        if seat.is_empty() {
            self.seats.remove(&connection);
        }
        if let Some((group, _)) = produced {
            tracing::info!(%group, client = client_id, connection, "producer unregistered");
            self.leave_producer(connection, &group);
        }
        let (group, _) = consumed?;
        tracing::info!(%group, client = client_id, connection, "consumer unregistered");
        self.leave_consumer(connection, &group).then(|| group.to_string())
    }

    /// A connection is no more. Returns the groups whose members are to be told (40).
    pub fn closed(&mut self, connection: u64) -> Vec<String> {
        let Some(seat) = self.seats.remove(&connection) else { return Vec::new() };
        for group in seat.producer_groups.keys() {
            self.leave_producer(connection, group);
        }
        let mut to_notify = Vec::new();
        for group in seat.consumer_groups.keys() {
            if self.leave_consumer(connection, group) {
                to_notify.push(group.to_string());
            }
        }
        to_notify
    }

    /// Looks for members that fell silent, once every [`SCAN_INTERVAL_MS`], and returns their
    /// connections. These are to be closed; until [`closed`](Self::closed) they remain members.
    pub fn expire(&mut self, now_ms: u64) -> Vec<u64> {
        if now_ms < self.scan_at_ms {
            return Vec::new();
        }
        self.scan_at_ms = now_ms.saturating_add(SCAN_INTERVAL_MS);
        let is_silent = |heard_ms: &u64, expired_ms| now_ms.saturating_sub(*heard_ms) > expired_ms;
        let silent = self.seats.iter().filter(|(_, seat)| {
            let mut consumers = seat.consumer_groups.values();
            let mut producers = seat.producer_groups.values();
            consumers.any(|heard_ms| is_silent(heard_ms, self.consumer_expired_ms))
                || producers.any(|heard_ms| is_silent(heard_ms, self.producer_expired_ms))
        });
        silent.map(|(connection, _)| *connection).collect()
    }

    /// When [`expire`](Self::expire) has something to look at.
    pub fn wake_at_ms(&self) -> Option<u64> {
        (!self.seats.is_empty()).then_some(self.scan_at_ms)
    }

    /// A group that pulls are to know something new of: what, or that it has no members any more.
    pub fn next_changed(&mut self) -> Option<(Arc<str>, Option<GroupWants>)> {
        let group = self.changed.pop()?;
        let wants = self.consumers.get(&group).map(ConsumerGroup::wants);
        Some((group, wants))
    }

    /// Client ids of a group's members, one twice if it has two connections; none of an unknown
    /// group.
    pub fn consumer_ids(&self, group: &str) -> Option<Vec<String>> {
        let group = self.consumers.get(group)?;
        Some(group.members().map(|(_, client)| client.id.clone()).collect())
    }

    /// Connections of a consumer group's members.
    pub fn members(&self, group: &str) -> impl Iterator<Item = u64> + '_ {
        let group = self.consumers.get(group);
        group.into_iter().flat_map(ConsumerGroup::members).map(|(connection, _)| connection)
    }

    /// Connections that a change of the group is told to (40): none of a broadcasting group.
    pub fn notify_targets(&self, group: &str) -> impl Iterator<Item = u64> + '_ {
        let group = self.consumers.get(group).filter(|group| !group.is_broadcasting());
        let group = group.filter(|_| self.notifies);
        group.into_iter().flat_map(ConsumerGroup::members).map(|(connection, _)| connection)
    }

    /// A consumer group that has members.
    pub fn group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// All consumer groups that have members, in no order.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &ConsumerGroup)> {
        self.consumers.iter().map(|(name, group)| (&**name, group))
    }

    /// What a group wants of a topic. Asked for each pull: two look-ups, nothing allocated.
    pub fn subscription(&self, group: &str, topic: &str) -> Option<&Subscription> {
        self.consumers.get(group)?.subscription(topic)
    }

    /// Members of a producer group by connection.
    pub fn producers(&self, group: &str) -> impl Iterator<Item = (u64, &Client)> {
        let group = self.producers.get(group);
        let members = group.into_iter().flat_map(|group| &group.members);
        members.map(|(connection, client)| (*connection, client))
    }

    /// The connection of a producer group's member to ask next: they take turns. One that takes no more
    /// now is passed over, unless all those looked at do so.
    pub fn next_producer(&mut self, group: &str, takes_more: impl Fn(u64) -> bool) -> Option<u64> {
        let group = self.producers.get_mut(group)?;
        let after = group.members.range((Bound::Excluded(group.asked), Bound::Unbounded));
        let in_turn = after.chain(&group.members).map(|(connection, _)| *connection);
        let mut looked_at = in_turn.take(PRODUCERS_LOOKED_AT_MAX).peekable();
        let first = looked_at.peek().copied();
        let chosen = looked_at.find(|connection| takes_more(*connection)).or(first)?;
        group.asked = chosen;
        Some(chosen)
    }

    /// The connection of a producer by its client id: the one that it spoke on last.
    pub fn producer_of(&self, client_id: &str) -> Option<u64> {
        self.producer_clients.get(client_id).copied()
    }

    /// Every member of every producer group with the group and when it was last heard in it, monotonic ms.
    pub fn producer_groups(&self) -> impl Iterator<Item = (&str, &Client, u64)> {
        self.producers.iter().flat_map(move |(group, members)| {
            members.members.iter().map(move |(connection, client)| {
                let seat = self.seats.get(connection).expect("each member has a seat");
                (&**group, client, seat.producer_groups[group])
            })
        })
    }

    /// Every member of every producer group, in no order.
    pub fn all_producers(&self) -> impl Iterator<Item = &Client> {
        self.producers.values().flat_map(|group| group.members.values())
    }

    fn check_room(
        &self,
        connection: u64,
        role: Role,
        group: &str,
        client: &Client,
    ) -> Result<(), MembershipFull> {
        let seat = self.seats.get(&connection);
        let is_member = seat.is_some_and(|seat| seat.groups(role).contains_key(group));
        let seat_count = seat.map_or(0, Seat::group_count);
        keep_limit(group.len(), NAME_BYTES_MAX, "bytes of a group's name")?;
        keep_limit(client.id.len(), NAME_BYTES_MAX, "bytes of a client id")?;
        if is_member {
            return Ok(());
        }
        keep_limit(self.member_count + 1, MEMBERS_MAX, "members of groups")?;
        keep_limit(seat_count + 1, GROUPS_PER_CONNECTION_MAX, "groups of a connection")
    }

    fn check_subscription_room(
        &self,
        group: &str,
        stated: &[SubscriptionData],
    ) -> Result<(), MembershipFull> {
        let group = self.consumers.get(group);
        let old_bytes = group.map_or(0, ConsumerGroup::subscription_bytes);
        let bytes = group::bytes_after(group, stated);
        keep_limit(bytes, GROUP_SUBSCRIPTION_BYTES_MAX, "bytes of a group's subscriptions")?;
        let all_bytes = self.subscription_bytes - old_bytes + bytes;
        keep_limit(all_bytes, SUBSCRIPTION_BYTES_MAX, "bytes of subscriptions")
    }

    /// Notes that a connection was heard in a group, and says whether for the first time.
    fn hear(&mut self, now_ms: u64, connection: u64, role: Role, group: Arc<str>) -> bool {
        let seat = self.seats.entry(connection).or_default();
        let is_new = seat.groups_mut(role).insert(group, now_ms).is_none();
        self.member_count += usize::from(is_new);
        is_new
    }

    /// Takes a member out of a group, and says whether the others are to be told.
    fn leave_consumer(&mut self, connection: u64, name: &str) -> bool {
        let group = self.consumers.get_mut(name).expect("a seat's groups exist");
        let is_left = group.leave(connection);
        assert!(is_left, "a group has the members that say so");
        self.member_count -= 1;
        let is_told = self.notifies && !group.is_broadcasting();
        if group.is_empty() {
            self.subscription_bytes -= group.subscription_bytes();
            self.changed.extend(self.consumers.remove_entry(name).map(|(name, _)| name));
            tracing::info!(group = name, "consumer group has no members any more");
            return false;
        }
        is_told
    }

    fn leave_producer(&mut self, connection: u64, name: &str) {
        let group = self.producers.get_mut(name).expect("a seat's groups exist");
        let left = group.members.remove(&connection);
        let left = left.expect("a group has the members that say so");
        if group.members.is_empty() {
            self.producers.remove(name);
        }
        // A connection may have named another client in another group.
        let groups =
            self.seats.get(&connection).into_iter().flat_map(|it| it.producer_groups.keys());
        let mut others =
            groups.filter_map(|group| self.producers.get(group)?.members.get(&connection));
        let is_last = others.all(|other| other.id != left.id);
        if is_last && self.producer_clients.get(&left.id) == Some(&connection) {
            self.producer_clients.remove(&left.id);
        }
        self.member_count -= 1;
    }
}

/// Both sides, so that an operator finds the two programs. Apache has this only in what tools ask for.
fn told_conflict(group: &str, client: &Client, conflict: &Conflict) {
    let Conflict { topic, wants, other, other_wants } = conflict;
    tracing::warn!(
        group,
        topic,
        client = client.id,
        peer = %client.peer,
        wants,
        other = other.id,
        other_peer = %other.peer,
        other_wants,
        "consumers of one group subscribe differently: each gets what the last heartbeat asked for"
    );
}

impl Seat {
    fn groups(&self, role: Role) -> &BTreeMap<Arc<str>, u64> {
        match role {
            Role::Consumer => &self.consumer_groups,
            Role::Producer => &self.producer_groups,
        }
    }

    fn groups_mut(&mut self, role: Role) -> &mut BTreeMap<Arc<str>, u64> {
        match role {
            Role::Consumer => &mut self.consumer_groups,
            Role::Producer => &mut self.producer_groups,
        }
    }

    fn group_count(&self) -> usize {
        self.consumer_groups.len() + self.producer_groups.len()
    }

    fn is_empty(&self) -> bool {
        self.group_count() == 0
    }
}

/// The one copy of a group's name, made if the group is new.
fn shared_name<T>(groups: &HashMap<Arc<str>, T, RandomState>, group: &str) -> Arc<str> {
    groups.get_key_value(group).map_or_else(|| Arc::from(group), |(name, _)| name.clone())
}

fn keep_limit(found: usize, limit: usize, what: &'static str) -> Result<(), MembershipFull> {
    if found <= limit { Ok(()) } else { Err(MembershipFull { what, limit }) }
}

#[cfg(test)]
mod tests;
