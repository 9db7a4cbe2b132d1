//! What tools ask a NameServer for: lists of topics, permissions, routes by hand, key-values, its
//! configuration.
//! Kind: machine

use std::collections::BTreeSet;
use std::net::SocketAddr;

use proto::body::{KVTable, TopicList, TopicRouteData};
use proto::code::response;
use proto::command::Command;
use proto::names::perm;

use super::NameServer;
use super::kept::{Asker, Change};
use super::limits::{
    KEY_VALUE_BYTES_MAX, NAME_BYTES_MAX, ROUTES_MAX, SETTINGS_BYTES_MAX, TOPIC_BYTES_MAX,
    TOPICS_MAX,
};
use super::reply::{Refusal, Reply, required};
use super::settings::{self, Asked};
use super::topics::{Queues, Topic, without_write};

/// Bit of a topic's flags: unit (`TopicSysFlag.FLAG_UNIT`).
const FLAG_UNIT: i32 = 1;

/// Bit of a topic's flags: has a unit subscription (`TopicSysFlag.FLAG_UNIT_SUB`).
const FLAG_UNIT_SUB: i32 = 1 << 1;

/// Which topics 311, 312 and 313 list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitList {
    /// 311: unit topics.
    Units,
    /// 312: topics with a unit subscription.
    Subscribed,
    /// 313: those of them that are not unit topics.
    SubscribedOnly,
}

impl NameServer {
    /// 206: the names of all topics.
    pub(super) fn all_topics(&self) -> Result<Reply, Refusal> {
        if !self.config.lists_all_topics {
            return Err(Refusal::system_error("disable"));
        }
        Ok(topic_list(None, self.topics.all().map(|(name, _)| name.clone()).collect()))
    }

    /// 224: the topics that some broker of a cluster serves; none if there is no such cluster.
    pub(super) fn topics_of_cluster(&self, command: &Command<'_>) -> Result<Reply, Refusal> {
        self.require_topic_lists()?;
        let cluster = required(command, "cluster", NAME_BYTES_MAX)?;
        let names = self.brokers.clusters().get(&cluster);
        let is_there = |topic: &Topic| {
            names
                .is_some_and(|names| topic.routes.iter().any(|route| names.contains(&route.broker)))
        };
        let topics = self.topics.all().filter(|(_, topic)| is_there(topic));
        Ok(topic_list(None, topics.map(|(name, _)| name.clone()).collect()))
    }

    /// 304: names of clusters and brokers, which are topics too, and the address of some broker.
    pub(super) fn system_topics(&self) -> Reply {
        let clusters = self.brokers.clusters();
        let mut names: BTreeSet<String> = clusters.keys().cloned().collect();
        names.extend(self.brokers.all().map(|(name, _)| name.to_string()));
        let mut addresses = self.brokers.all().flat_map(|(_, broker)| broker.addresses.values());
        topic_list(addresses.next().cloned(), names)
    }

    /// 311, 312, 313: topics by the flags that some broker gave them.
    pub(super) fn unit_topics(&self, list: UnitList) -> Result<Reply, Refusal> {
        self.require_topic_lists()?;
        let fits = |flags: i32| match list {
            UnitList::Units => flags & FLAG_UNIT != 0,
            UnitList::Subscribed => flags & FLAG_UNIT_SUB != 0,
            UnitList::SubscribedOnly => flags & (FLAG_UNIT | FLAG_UNIT_SUB) == FLAG_UNIT_SUB,
        };
        let first_fits =
            |topic: &Topic| topic.routes.first().is_some_and(|route| fits(route.queues.sys_flag));
        let topics = self.topics.all().filter(|(_, topic)| first_fits(topic));
        Ok(topic_list(None, topics.map(|(name, _)| name.clone()).collect()))
    }

    fn require_topic_lists(&self) -> Result<(), Refusal> {
        if self.config.lists_topics { Ok(()) } else { Err(Refusal::system_error("disable")) }
    }

    /// 205: nobody writes to the topics of a broker any more, until it registers a change.
    pub(super) fn wipe_write_perm(&mut self, command: &Command<'_>) -> Result<Reply, Refusal> {
        let broker = required(command, "brokerName", NAME_BYTES_MAX)?;
        let count = self.topics.change_perm(&broker, without_write);
        Ok(Reply::with_ext(vec![("wipeTopicCount", count.to_string())]))
    }

    /// 327: everybody reads and writes them; what they had before is not known.
    pub(super) fn add_write_perm(&mut self, command: &Command<'_>) -> Result<Reply, Refusal> {
        let broker = required(command, "brokerName", NAME_BYTES_MAX)?;
        let count = self.topics.change_perm(&broker, |_| perm::READ | perm::WRITE);
        Ok(Reply::with_ext(vec![("addTopicCount", count.to_string())]))
    }

    /// 216: forgets a topic, everywhere or on the brokers of one cluster.
    pub(super) fn delete_topic(&mut self, command: &Command<'_>) -> Result<Reply, Refusal> {
        let topic = required(command, "topic", TOPIC_BYTES_MAX)?;
        let cluster = command.ext.get("clusterName").filter(|cluster| !cluster.is_empty());
        match cluster {
            None => self.topics.remove(&topic),
            Some(cluster) => {
                let names = self.brokers.clusters().get(cluster.to_cow().as_ref());
                self.topics
                    .retain_of(&topic, |broker| names.is_none_or(|names| !names.contains(broker)));
            }
        }
        Ok(Reply::done())
    }

    /// 217: the queues of one topic. Those up to the first unknown broker are taken if the topic
    /// is known, none if it is not; the answer is the same.
    pub(super) fn register_topic(
        &mut self,
        command: &Command<'_>,
        body: &[u8],
    ) -> Result<Reply, Refusal> {
        let topic = required(command, "topic", TOPIC_BYTES_MAX)?;
        if body.is_empty() {
            return Ok(Reply::done());
        }
        let queue_datas = TopicRouteData::parse(body)?.queue_datas;
        let is_known = |name: &str| self.brokers.get(name).is_some();
        let known = queue_datas.iter().take_while(|queues| is_known(&queues.broker_name)).count();
        let is_new = self.topics.get(&topic).is_none();
        let taken = if is_new && known < queue_datas.len() { 0 } else { known };
        let taken = queue_datas.get(..taken).unwrap_or_default();
        if is_new && self.topics.len() >= TOPICS_MAX {
            return Err(Refusal::full("topics", TOPICS_MAX));
        }
        if self.topics.route_count() + taken.len() > ROUTES_MAX {
            return Err(Refusal::full("pairs of topic and broker", ROUTES_MAX));
        }
        for data in taken {
            let broker = self.brokers.shared_name(&data.broker_name);
            let queues = Queues {
                read_count: data.read_queue_nums,
                write_count: data.write_queue_nums,
                perm: data.perm,
                sys_flag: data.topic_sys_flag,
            };
            self.topics.put(&topic, &broker, queues);
        }
        Ok(Reply::done())
    }

    /// 100. Answered when it is on disk.
    pub(super) fn put_key_value(
        &mut self,
        asker: Asker,
        command: &Command<'_>,
    ) -> Result<Option<Reply>, Refusal> {
        let (namespace, key) = namespace_and_key(command)?;
        let value = Some(required(command, "value", KEY_VALUE_BYTES_MAX)?);
        self.kept.ask(asker, Change::KeyValue { namespace, key, value }).map(|()| None)
    }

    /// 101.
    pub(super) fn key_value(&self, command: &Command<'_>) -> Result<Reply, Refusal> {
        let (namespace, key) = namespace_and_key(command)?;
        if let Some(value) = self.kept.key_values.get(&namespace, &key) {
            return Ok(Reply::with_ext(vec![("value", value.clone())]));
        }
        let remark = format!("No config item, Namespace: {namespace} Key: {key}");
        let refusal = Refusal { code: response::QUERY_NOT_FOUND, remark };
        Ok(Reply::failed_with_header(refusal))
    }

    /// 102. Answered when it is on disk; also if there is nothing of that name.
    pub(super) fn delete_key_value(
        &mut self,
        asker: Asker,
        command: &Command<'_>,
    ) -> Result<Option<Reply>, Refusal> {
        let (namespace, key) = namespace_and_key(command)?;
        self.kept.ask(asker, Change::KeyValue { namespace, key, value: None }).map(|()| None)
    }

    /// 219.
    pub(super) fn key_values_of_namespace(&self, command: &Command<'_>) -> Result<Reply, Refusal> {
        let namespace = required(command, "namespace", NAME_BYTES_MAX)?;
        let Some(keys) = self.kept.key_values.namespace(&namespace) else {
            let remark = format!("No config item, Namespace: {namespace}");
            return Err(Refusal { code: response::QUERY_NOT_FOUND, remark });
        };
        let table = KVTable { table: keys.clone() };
        Ok(Reply::with_body(|out| table.write(out)))
    }

    /// 318. Answered when it is on disk, at once if there is nothing to change.
    pub(super) fn update_settings(
        &mut self,
        asker: Asker,
        peer: SocketAddr,
        body: &[u8],
    ) -> Result<Option<Reply>, Refusal> {
        if body.len() > SETTINGS_BYTES_MAX {
            return Err(Refusal::system_error(format!(
                "{} bytes of configuration are more than the limit of {SETTINGS_BYTES_MAX}",
                body.len()
            )));
        }
        let asked = settings::asked(body).map_err(|error| {
            // Apache passes over it and answers success.
            Refusal::system_error(error.to_string())
        })?;
        match asked {
            Asked::Nothing => Ok(Some(Reply::done())),
            Asked::Unreadable => Err(Refusal::system_error("string2Properties error")),
            Asked::Forbidden => Err(Refusal {
                code: response::NO_PERMISSION,
                remark: "Can not update config in black list.".to_owned(),
            }),
            Asked::Changes(changes) => {
                for (key, value) in changes.iter() {
                    tracing::info!(%peer, key, value, "setting changed over the wire");
                }
                self.kept.ask(asker, Change::Settings(changes)).map(|()| None)
            }
        }
    }

    /// 319.
    pub(super) fn settings(&self) -> Reply {
        let text = settings::shown(&self.config, &self.fixed);
        Reply::with_body(|out| out.extend_from_slice(text.as_bytes()))
    }
}

fn namespace_and_key(command: &Command<'_>) -> Result<(String, String), Refusal> {
    // A key of ORDER_TOPIC_CONFIG is a topic.
    let namespace = required(command, "namespace", NAME_BYTES_MAX)?;
    Ok((namespace, required(command, "key", TOPIC_BYTES_MAX)?))
}

fn topic_list(broker_addr: Option<String>, topic_list: BTreeSet<String>) -> Reply {
    let list = TopicList { broker_addr, topic_list };
    Reply::with_body(|out| list.write(out))
}
