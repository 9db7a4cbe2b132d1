//! Which broker serves how many queues of which topic.
//! Owns: queues by topic and broker, static mappings. Lives on: the NameServer's thread.
//! Kind: machine
//! Invariants:
//! - a topic in the table has at least one route, and at most one to a broker;
//! - a mapping belongs to a broker that has a route;
//! - `route_count` is the number of routes of all topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::body::{QueueData, TopicQueueMappingInfo};
use proto::names::perm;

/// The queues of a topic on one broker: Apache's `QueueData` without the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queues {
    pub(super) read_count: i32,
    pub(super) write_count: i32,
    pub(super) perm: i32,
    pub(super) sys_flag: i32,
}

/// A broker that serves a topic.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) broker: Arc<str>,
    pub(super) queues: Queues,
}

/// Where a topic is served.
#[derive(Debug, Default)]
pub(super) struct Topic {
    /// By broker name. A vector, because most topics have one or two and there are many topics.
    pub(super) routes: Vec<Route>,
    /// By broker name; empty unless the topic is static.
    pub(super) mappings: BTreeMap<String, TopicQueueMappingInfo>,
}

/// The table; see the module's invariants.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: BTreeMap<String, Topic>,
    route_count: usize,
}

impl Queues {
    /// As they stand in a route's answer.
    pub(super) fn data(&self, broker: &str) -> QueueData {
        QueueData {
            broker_name: broker.to_owned(),
            perm: self.perm,
            read_queue_nums: self.read_count,
            topic_sys_flag: self.sys_flag,
            write_queue_nums: self.write_count,
        }
    }
}

impl Topic {
    /// Where the route to a broker is, or would be.
    fn find(&self, broker: &str) -> Result<usize, usize> {
        self.routes.binary_search_by(|route| (*route.broker).cmp(broker))
    }

    fn is_served_by(&self, broker: &str) -> bool {
        self.find(broker).is_ok()
    }

    /// Keeps some routes and their mappings, and says how many others there were.
    fn retain(&mut self, keep: impl Fn(&Arc<str>) -> bool) -> usize {
        let before = self.routes.len();
        self.routes.retain(|route| keep(&route.broker));
        let mut mappings = std::mem::take(&mut self.mappings);
        mappings.retain(|broker, _| self.is_served_by(broker));
        self.mappings = mappings;
        before - self.routes.len()
    }
}

impl Topics {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Routes of all topics.
    pub(super) fn route_count(&self) -> usize {
        self.route_count
    }

    pub(super) fn get(&self, topic: &str) -> Option<&Topic> {
        self.by_name.get(topic)
    }

    /// Every topic, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Topic)> {
        self.by_name.iter()
    }

    pub(super) fn is_served_by(&self, topic: &str, broker: &str) -> bool {
        self.get(topic).is_some_and(|topic| topic.is_served_by(broker))
    }

    pub(super) fn put(&mut self, topic: &str, broker: &Arc<str>, queues: Queues) {
        let route = Route { broker: broker.clone(), queues };
        let Some(served) = self.by_name.get_mut(topic) else {
            let topic_new = Topic { routes: vec![route], ..Topic::default() };
            self.by_name.insert(topic.to_owned(), topic_new);
            self.route_count += 1;
            return;
        };
        match served.find(broker) {
            Ok(index) => served.routes[index] = route,
            Err(index) => {
                served.routes.insert(index, route);
                self.route_count += 1;
            }
        }
    }

    /// Stores the static mapping of a topic that a broker serves; one that names another broker,
    /// which Apache's brokers never send, is dropped.
    pub(super) fn put_mapping(
        &mut self,
        topic: &str,
        broker: &Arc<str>,
        mapping: &TopicQueueMappingInfo,
    ) {
        let Some(served) = self.by_name.get_mut(topic) else { return };
        if mapping.bname.as_deref() == Some(broker) && served.is_served_by(broker) {
            served.mappings.insert(broker.to_string(), mapping.clone());
        }
    }

    /// Static mappings of all topics.
    pub(super) fn mapping_count(&self) -> usize {
        self.by_name.values().map(|topic| topic.mappings.len()).sum()
    }

    /// Forgets a topic wherever it is served.
    pub(super) fn remove(&mut self, topic: &str) {
        if let Some(topic) = self.by_name.remove(topic) {
            self.route_count -= topic.routes.len();
        }
    }

    /// Forgets a topic on the brokers that `keep` refuses.
    pub(super) fn retain_of(&mut self, topic: &str, keep: impl Fn(&Arc<str>) -> bool) {
        let Some(served) = self.by_name.get_mut(topic) else { return };
        self.route_count -= served.retain(keep);
        if served.routes.is_empty() {
            self.by_name.remove(topic);
        }
    }

    /// Forgets the routes of all topics that `keep` refuses.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &Arc<str>) -> bool) {
        let removed = &mut 0;
        self.by_name.retain(|name, topic| {
            *removed += topic.retain(|broker| keep(name, broker));
            !topic.routes.is_empty()
        });
        self.route_count -= *removed;
    }

    /// Changes the permission of every topic of a broker, and says of how many.
    pub(super) fn change_perm(&mut self, broker: &str, change: impl Fn(i32) -> i32) -> usize {
        let mut changed = 0;
        for topic in self.by_name.values_mut() {
            if let Some(route) = topic.find(broker).ok().and_then(|at| topic.routes.get_mut(at)) {
                route.queues.perm = change(route.queues.perm);
                changed += 1;
            }
        }
        changed
    }

    /// Checks the module's invariants.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        for topic in self.by_name.values() {
            assert!(!topic.routes.is_empty());
            assert!(topic.routes.is_sorted_by(|left, right| left.broker < right.broker));
            assert!(topic.mappings.keys().all(|broker| topic.is_served_by(broker)));
        }
        let routes: usize = self.by_name.values().map(|topic| topic.routes.len()).sum();
        assert_eq!(routes, self.route_count);
    }
}

/// The permission without writing.
pub(super) fn without_write(bits: i32) -> i32 {
    bits & !perm::WRITE
}
