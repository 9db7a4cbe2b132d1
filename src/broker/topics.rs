//! Topics and groups that come into being: on request, by the first send, pull or heartbeat, when a
//! message comes back or is given up, at start.
//! Kind: machine
//!
//! Rules: TopicConfigManager and SubscriptionGroupManager of Apache RocketMQ 5.3.3.

use std::collections::BTreeMap;

use engine::catalog::CatalogFull;
use engine::limits::CATALOG_BYTES_MAX;
use engine::shard::{
    CHECK_MAX_TIME_TOPIC_INCARNATION, HALF_TOPIC_INCARNATION, SCHEDULE_TOPIC_INCARNATION,
    TIMER_TOPIC_INCARNATION,
};
use engine::ticket::Ticket;
use proto::body::{SubscriptionGroupConfig, TopicConfig};
use proto::code::response;
use proto::names::{self, perm};
use runtime::clock::Now;

use super::copies::HomeCopy;
use super::dispatch::Stop;
use super::limits::QUEUES_PER_TOPIC_MAX;
use super::{Broker, BrokerSettings, Refusal};

/// What requests need to know of a group's configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupRules {
    pub retry_queue_nums: i32,
    pub retry_max_times: i32,
    pub consume_enable: bool,
}

impl GroupRules {
    fn of(config: &SubscriptionGroupConfig) -> GroupRules {
        GroupRules {
            retry_queue_nums: config.retry_queue_nums,
            retry_max_times: config.retry_max_times,
            consume_enable: config.consume_enable,
        }
    }
}

impl Broker {
    /// Creates or changes a topic on the home core; the ticket, if any, is confirmed with it.
    pub(super) fn put_topic(
        &mut self,
        now: Now,
        config: TopicConfig,
        ticket: Option<Ticket>,
    ) -> Result<(), Stop> {
        self.shards[0].has_room(CATALOG_BYTES_MAX)?;
        let reserved = reserved_incarnation(&config.topic_name);
        let mut payload = std::mem::take(&mut self.scratch.payload);
        let placement = self.router.place(self.catalog.topics().count() as u32);
        let registered = self.as_registered(&config);
        let is_readable = perm::readable(config.perm);
        let put = self.catalog.put_topic(now.wall_ms, config, placement, reserved, &mut payload);
        let appended = put.map_err(|full| Stop::from(not_put(full))).and_then(|incarnation| {
            let appended = self.shards[0].append_catalog(incarnation, &payload, ticket);
            appended.map(|()| incarnation).map_err(Stop::from)
        });
        if let Ok(incarnation) = appended {
            self.copy_catalog(incarnation, &payload);
            if !is_readable {
                self.wake_readers(Some(incarnation)); // on other cores: when they know it
            }
        }
        self.scratch.payload = payload;
        appended?;
        self.announcements.changed(registered);
        Ok(())
    }

    /// Deletes a topic on the home core; the ticket is confirmed with it. `false`: there is none.
    pub(super) fn delete_topic(
        &mut self,
        now: Now,
        name: &str,
        ticket: Option<Ticket>,
    ) -> Result<bool, Stop> {
        self.shards[0].has_room(CATALOG_BYTES_MAX)?;
        let mut payload = std::mem::take(&mut self.scratch.payload);
        let deleted = self.catalog.delete_topic(now.wall_ms, name, &mut payload);
        if let Some(topic) = deleted {
            let appended = self.shards[0].append_catalog(topic, &payload, ticket);
            appended.expect("there was room for more");
            self.copy_deletion(topic, &payload);
            // What was on its way to the NameServers must not bring it back.
            self.announcements.deleted(name);
        }
        self.scratch.payload = payload;
        Ok(deleted.is_some())
    }

    /// Whether a topic is one that every broker has (`TopicValidator.isSystemTopic`, with what
    /// `TopicConfigManager.init` adds).
    pub(super) fn is_system_topic(&self, name: &str) -> bool {
        let BrokerSettings { cluster_name, broker_name, trace_topic, .. } = &self.settings;
        names::is_system_topic(name)
            || name == cluster_name
            || name == broker_name
            || name == names::reply_topic(cluster_name)
            || trace_topic.as_deref() == Some(name)
    }

    /// Marks topics as ordered that a NameServer says are (`TopicConfigManager.updateOrderTopicConfig`,
    /// 5.3.3); none is ever unmarked by it. What finds no room now is told again with the next
    /// registration.
    pub fn order_topics(&mut self, now: Now, names: &[String]) {
        for name in names {
            let known = self.catalog.topic(name).map(|topic| &topic.config);
            let Some(config) = known.filter(|config| !config.order) else { continue };
            let config = TopicConfig { order: true, ..config.clone() };
            if self.put_topic(now, config, None).is_err() {
                return;
            }
            tracing::info!(topic = name, "topic is ordered now, a NameServer says");
        }
    }

    /// The topic of a send, created if that is allowed (`createTopicInSendMessageMethod`).
    pub(super) fn ensure_topic_for_send(
        &mut self,
        now: Now,
        name: &str,
        default_topic: &str,
        default_queue_count: i32,
    ) -> Result<(), Stop> {
        if self.catalog.topic(name).is_some() {
            return Ok(());
        }
        self.check_home()?;
        names::validate_topic(name)
            .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
        let template = self.catalog.topic(default_topic).map(|topic| &topic.config);
        let inherits = template.filter(|config| {
            perm::inherited(config.perm)
                && (default_topic != names::AUTO_CREATE_TOPIC || self.settings.auto_create_topic)
        });
        let config = match inherits {
            Some(template) => {
                let count = default_queue_count.min(template.write_queue_nums).max(0);
                TopicConfig {
                    topic_name: name.to_owned(),
                    read_queue_nums: count,
                    write_queue_nums: count,
                    perm: template.perm & !perm::INHERIT,
                    topic_filter_type: template.topic_filter_type,
                    ..TopicConfig::default()
                }
            }
            None if names::is_retry_topic(name) => retry_config(name, 1),
            None => return Err(Refusal::no_topic(name, self.settings.advertised).into()),
        };
        tracing::info!(topic = name, queues = config.write_queue_nums, "topic created by a send");
        self.put_topic(now, config, None)?;
        let made = self.catalog.topic(name).expect("just made").incarnation;
        self.share(HomeCopy::Made { topic: made, number: self.announcements.number() });
        Ok(())
    }

    /// A topic of a group (`%RETRY%`, `%DLQ%`), created when it is missing.
    pub(super) fn ensure_group_topic(
        &mut self,
        now: Now,
        name: &str,
        queue_count: i32,
    ) -> Result<(), Stop> {
        if self.catalog.topic(name).is_some() {
            return Ok(());
        }
        self.check_home()?;
        self.put_topic(now, retry_config(name, queue_count), None)
    }

    /// A group's rules; it is created if that is allowed
    /// (`SubscriptionGroupManager.findSubscriptionGroupConfig`). `None`: it is not.
    pub(super) fn ensure_group(
        &mut self,
        now: Now,
        name: &str,
    ) -> Result<Option<GroupRules>, Stop> {
        if let Some(config) = self.catalog.group(name) {
            return Ok(Some(GroupRules::of(config)));
        }
        let may_create = self.settings.auto_create_group || names::is_system_group(name);
        if !may_create || names::validate_group(name).is_err() {
            return Ok(None);
        }
        self.check_home()?;
        let config = SubscriptionGroupConfig { group_name: name.to_owned(), ..Default::default() };
        let rules = GroupRules::of(&config);
        self.put_group(now, config, None)?;
        tracing::info!(group = name, "consumer group created");
        Ok(Some(rules))
    }

    /// Deletes a group on the home core; the ticket is confirmed with it. `false`: there is none.
    pub(super) fn remove_group(
        &mut self,
        now: Now,
        name: &str,
        ticket: Option<Ticket>,
    ) -> Result<bool, Stop> {
        self.shards[0].has_room(CATALOG_BYTES_MAX)?;
        let mut payload = std::mem::take(&mut self.scratch.payload);
        let is_deleted = self.catalog.delete_group(now.wall_ms, name, &mut payload);
        if is_deleted {
            let appended = self.shards[0].append_catalog(0, &payload, ticket);
            appended.expect("there was room for more");
            self.copy_catalog(0, &payload);
            self.share(HomeCopy::MayNotRead(None));
        }
        self.scratch.payload = payload;
        Ok(is_deleted)
    }

    /// There is room in the log for a change of the catalog.
    pub(super) fn catalog_room(&mut self) -> Result<(), Stop> {
        Ok(self.shards[0].has_room(CATALOG_BYTES_MAX)?)
    }

    /// Creates or changes a group on the home core; the ticket, if any, is confirmed with it.
    pub(super) fn put_group(
        &mut self,
        now: Now,
        config: SubscriptionGroupConfig,
        ticket: Option<Ticket>,
    ) -> Result<(), Stop> {
        self.shards[0].has_room(CATALOG_BYTES_MAX)?;
        let mut payload = std::mem::take(&mut self.scratch.payload);
        let before = self.catalog.group(&config.group_name);
        let is_less = before.is_some_and(|before| {
            before.consume_enable && !config.consume_enable
                || before.consume_broadcast_enable && !config.consume_broadcast_enable
        });
        let put = self.catalog.put_group(now.wall_ms, config, &mut payload);
        let appended = put
            .map_err(|full| Stop::from(not_put(full)))
            .and_then(|()| self.shards[0].append_catalog(0, &payload, ticket).map_err(Stop::from));
        if appended.is_ok() {
            self.copy_catalog(0, &payload);
            if is_less {
                self.share(HomeCopy::MayNotRead(None));
            }
        }
        self.scratch.payload = payload;
        appended
    }

    /// Topics and groups that every broker has (`TopicConfigManager` and `SubscriptionGroupManager`,
    /// constructors). `false`: the log has no room yet, call again. Without those that are refused (full disk)
    /// the others are served all the same.
    pub fn create_system_topics(&mut self, now: Now) -> bool {
        match self.system_topics(now) {
            Ok(()) => true,
            Err(Stop::Refuse(refusal)) => {
                let reason = refusal.remark;
                tracing::error!(
                    %reason,
                    "not all topics that every broker has can be made or changed: it starts without, the next start tries again"
                );
                true
            }
            Err(Stop::Wait | Stop::Elsewhere(_)) => false,
        }
    }

    fn system_topics(&mut self, now: Now) -> Result<(), Stop> {
        let (rw, inherited) = (perm::READ | perm::WRITE, perm::READ | perm::WRITE | perm::INHERIT);
        let (cluster, broker) =
            (self.settings.cluster_name.clone(), self.settings.broker_name.clone());
        // Each shard has a queue for each level: tools see them one behind the other.
        let levels = self.settings.delay_levels_ms.len() * self.router.shard_count();
        let levels = i32::try_from(levels).expect("few levels");
        let shards = i32::try_from(self.router.shard_count()).expect("at most 256");
        let mut topics = vec![
            (names::SELF_TEST_TOPIC.to_owned(), 1, rw),
            (names::BENCHMARK_TOPIC.to_owned(), 1024, rw),
            (cluster.clone(), 16, inherited),
            (broker, 1, inherited),
            (names::OFFSET_MOVED_EVENT.to_owned(), 1, rw),
            (names::SCHEDULE_TOPIC.to_owned(), levels, rw),
            (names::TRANS_HALF_TOPIC.to_owned(), shards, rw),
            (names::TRANS_CHECK_MAX_TIME_TOPIC.to_owned(), shards, rw),
            (names::reply_topic(&cluster), 1, rw),
        ];
        if self.settings.timer_wheel {
            let shards = i32::try_from(self.router.shard_count()).expect("few shards");
            topics.push((names::WHEEL_TIMER_TOPIC.to_owned(), shards, rw));
        }
        if self.settings.auto_create_topic {
            topics.push(self.auto_create_topic());
        }
        topics.extend(self.settings.trace_topic.clone().map(|name| (name, 1, rw)));
        // A broker may have its cluster's name: the last one counts, as in Apache's table.
        let last: BTreeMap<_, _> =
            topics.into_iter().map(|(name, queues, perm)| (name, (queues, perm))).collect();
        let topics = last.into_iter().map(|(name, (queues, perm))| (name, queues, perm));
        self.ensure_topics(now, topics)?;
        for group in names::DEFAULT_GROUPS {
            if self.catalog.group(group).is_none() {
                let config =
                    SubscriptionGroupConfig { group_name: group.to_owned(), ..Default::default() };
                self.put_group(now, config, None)?;
            }
        }
        Ok(())
    }

    fn auto_create_topic(&self) -> (String, i32, i32) {
        let perm = perm::READ | perm::WRITE | perm::INHERIT;
        (names::AUTO_CREATE_TOPIC.to_owned(), self.settings.default_topic_queue_count, perm)
    }

    /// What topics that are made by sends are made like is there.
    pub(super) fn ensure_auto_create_topic(&mut self, now: Now) -> Result<(), Stop> {
        self.ensure_topics(now, [self.auto_create_topic()])
    }

    /// Topics are there: those that follow the configuration with so many queues and such permissions, others as
    /// somebody made or changed them (`TopicConfigManager.init`, then what is on disk is put over it).
    fn ensure_topics(
        &mut self,
        now: Now,
        topics: impl IntoIterator<Item = (String, i32, i32)>,
    ) -> Result<(), Stop> {
        for (name, queues, perm) in topics {
            let follows = name == names::AUTO_CREATE_TOPIC || reserved_incarnation(&name).is_some();
            let is_there = self.catalog.topic(&name).is_some_and(|topic| {
                !follows || topic.config.write_queue_nums == queues && topic.config.perm == perm
            });
            if !is_there {
                self.put_topic(now, config(&name, queues, perm), None)?;
            }
        }
        Ok(())
    }
}

/// The incarnation of a topic that shards write to without asking the catalog; `None`: it is none of these.
pub(super) fn reserved_incarnation(topic: &str) -> Option<u32> {
    match topic {
        names::SCHEDULE_TOPIC => Some(SCHEDULE_TOPIC_INCARNATION),
        names::TRANS_HALF_TOPIC => Some(HALF_TOPIC_INCARNATION),
        names::TRANS_CHECK_MAX_TIME_TOPIC => Some(CHECK_MAX_TIME_TOPIC_INCARNATION),
        names::WHEEL_TIMER_TOPIC => Some(TIMER_TOPIC_INCARNATION),
        _ => None,
    }
}

/// How a topic or group is refused that the catalog does not take.
pub(super) fn not_put(refused: CatalogFull) -> Refusal {
    match refused {
        CatalogFull::TooLong(_) => {
            Refusal::new(response::INVALID_PARAMETER, format!("too long: {refused}"))
        }
        full => Refusal::new(response::SYSTEM_ERROR, full.to_string()),
    }
}

/// Checks the queue count of a topic to be created.
pub(super) fn check_queue_count(name: &str, count: i32) -> Result<(), Refusal> {
    if (0..=QUEUES_PER_TOPIC_MAX).contains(&count) {
        return Ok(());
    }
    Err(Refusal::new(
        response::INVALID_PARAMETER,
        format!("topic[{name}] with {count} queues: from 0 to {QUEUES_PER_TOPIC_MAX} are allowed"),
    ))
}

fn config(name: &str, queues: i32, perm: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        ..TopicConfig::default()
    }
}

fn retry_config(name: &str, queues: i32) -> TopicConfig {
    config(name, queues, perm::READ | perm::WRITE)
}
