//! Topic administration: 17 UPDATE_AND_CREATE_TOPIC, 18 UPDATE_AND_CREATE_TOPIC_LIST,
//! 215 DELETE_TOPIC_IN_BROKER.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor and TopicConfigManager of 5.3.3.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine::catalog::check_topic;
use engine::ticket::Ticket;
use proto::body::{CreateTopicListRequestBody, TopicConfig, TopicFilterType};
use proto::code::response;
use proto::command::Command;
use proto::header::{CreateTopicHeader, TopicHeader};
use proto::names;
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, answer};
use super::super::topics::{check_queue_count, not_put, reserved_incarnation};
use super::super::{Asker, Broker, Refusal};
use super::form;
use crate::net::outbox::Outboxes;
use crate::observe::MessageType;

/// Changes of attributes, with the sign before the key.
type Modifications<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl Broker {
    /// A message of a topic that says which type its messages have is of that type, if that is asked for
    /// (`DefaultTopicMessageTypeValidator` of RocketMQ's proxy; its brokers do not look).
    pub(super) fn check_message_type(&self, topic: &str, found: MessageType) -> Result<(), Stop> {
        if !self.settings.check_message_type
            || names::is_retry_topic(topic)
            || names::is_dlq_topic(topic)
        {
            return Ok(());
        }
        let config = self.catalog.topic(topic).map(|topic| &topic.config);
        let expected = config.and_then(|config| config.attributes.get("message.type"));
        match expected.map(String::as_str) {
            None | Some("UNSPECIFIED" | "MIXED") => Ok(()),
            Some(expected) if expected.eq_ignore_ascii_case(found.name()) => Ok(()),
            Some(expected) => {
                let found = found.name().to_uppercase();
                let remark = format!(
                    "TopicMessageType validate failed, the expected type is {expected}, but actual type is {found}"
                );
                Err(Refusal::new(response::MESSAGE_ILLEGAL, remark).into())
            }
        }
    }

    pub(in crate::broker) fn create_topic(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = CreateTopicHeader::parse(command)?;
        let name = header.topic.to_cow();
        self.check_topic_name(&name)?;
        let filter = header.topic_filter_type.map(|text| text.to_cow());
        let topic_filter_type = filter.map_or(Ok(TopicFilterType::default()), |text| {
            TopicFilterType::from_name(&text).ok_or_else(|| {
                let remark = format!("topicFilterType = [{text}] value invalid");
                Refusal::new(response::SYSTEM_ERROR, remark)
            })
        })?;
        let attributes = header.attributes.map(|text| text.to_cow()).unwrap_or_default();
        let config = TopicConfig {
            topic_name: name.into_owned(),
            read_queue_nums: header.read_queue_count,
            write_queue_nums: header.write_queue_count,
            perm: header.perm,
            topic_filter_type,
            topic_sys_flag: header.topic_sys_flag,
            order: header.order,
            attributes: BTreeMap::new(),
        };
        let config = self.altered(config, parse_modifications(&attributes)?)?;
        self.put_topics(now, asker, vec![config], outboxes)
    }

    /// Several topics: all of them or none.
    pub(in crate::broker) fn create_topics(
        &mut self,
        now: Now,
        asker: &Asker,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let asked = CreateTopicListRequestBody::parse(body).map_err(|error| {
            Refusal::new(response::SYSTEM_ERROR, format!("list of topics: {error}"))
        })?;
        let mut configs = Vec::with_capacity(asked.topic_config_list.len());
        for mut config in asked.topic_config_list {
            self.check_topic_name(&config.topic_name)?;
            let attributes = std::mem::take(&mut config.attributes);
            let attributes = attributes.into_iter().map(|(key, value)| (key.into(), value.into()));
            configs.push(self.altered(config, attributes.collect())?);
        }
        self.put_topics(now, asker, configs, outboxes)
    }

    fn check_topic_name(&self, name: &str) -> Result<(), Stop> {
        names::validate_topic(name)
            .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
        self.check_no_system_topic(name)
    }

    fn check_no_system_topic(&self, name: &str) -> Result<(), Stop> {
        // What shards write to by themselves stays as it is, whatever the setting says.
        let is_kept = reserved_incarnation(name).is_some();
        if is_kept || self.settings.validate_system_topic && self.is_system_topic(name) {
            let remark = format!("The topic[{name}] is conflict with system topic.");
            return Err(Refusal::new(response::INVALID_PARAMETER, remark).into());
        }
        Ok(())
    }

    /// The configuration with the attributes that the topic has after the change.
    fn altered(
        &self,
        config: TopicConfig,
        modifications: Modifications<'_>,
    ) -> Result<TopicConfig, Stop> {
        let name = &config.topic_name;
        check_queue_count(name, config.read_queue_nums)?;
        check_queue_count(name, config.write_queue_nums)?;
        let is_mixed = |(key, value): &(Cow<'_, str>, Cow<'_, str>)| {
            key == "+message.type" && value == "MIXED"
        };
        if !self.settings.mixed_message_type && modifications.iter().any(is_mixed) {
            let remark = "MIXED message type is not supported.";
            return Err(Refusal::new(response::INVALID_PARAMETER, remark).into());
        }
        let known = self.catalog.topic(name).map(|topic| &topic.config.attributes);
        let attributes = alter_attributes(known, &modifications)?;
        Ok(TopicConfig { attributes, ..config })
    }

    fn put_topics(
        &mut self,
        now: Now,
        asker: &Asker,
        mut configs: Vec<TopicConfig>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        configs.iter().try_for_each(check_topic).map_err(not_put)?;
        let known = |name: &str| self.catalog.topic(name).map(|topic| &topic.config);
        configs.retain(|config| known(&config.topic_name) != Some(config));
        let Some(last) = configs.pop() else {
            return self.answer_unchanged(asker, form::ANNOUNCED, outboxes);
        };
        for config in configs {
            self.change_topic(now, asker, config, None)?;
        }
        let ticket = (!asker.is_oneway).then(|| asker.ticket(form::ANNOUNCED));
        self.change_topic(now, asker, last, ticket)
    }

    fn change_topic(
        &mut self,
        now: Now,
        asker: &Asker,
        config: TopicConfig,
        ticket: Option<Ticket>,
    ) -> Handled {
        let name = config.topic_name.clone();
        let (read_queues, write_queues) = (config.read_queue_nums, config.write_queue_nums);
        let perm = config.perm;
        self.put_topic(now, config, ticket)?;
        let peer = asker.peer;
        tracing::info!(topic = name, read_queues, write_queues, perm, %peer, "topic created or changed");
        Ok(())
    }

    pub(in crate::broker) fn delete_topic_in_broker(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = TopicHeader::parse(command)?;
        let name = header.topic.to_cow();
        if name.trim().is_empty() {
            let remark = names::TopicNameError::Blank.to_string();
            return Err(Refusal::new(response::INVALID_PARAMETER, remark).into());
        }
        self.check_no_system_topic(&name)?;
        let ticket = (!asker.is_oneway).then(|| asker.ticket(form::ANNOUNCED));
        if self.delete_topic(now, &name, ticket)? {
            tracing::info!(topic = &*name, peer = %asker.peer, "topic deleted");
            return Ok(());
        }
        self.answer_unchanged(asker, form::ANNOUNCED, outboxes)
    }

    /// Answers what changes nothing of the catalog. The record that says the same may still be on its way, and
    /// the answer comes behind it; or have failed, and success would promise what a start does not find.
    pub(super) fn answer_unchanged(
        &mut self,
        asker: &Asker,
        form: u8,
        outboxes: &mut Outboxes,
    ) -> Handled {
        if !asker.is_oneway && !self.is_catalog_stored() {
            return Ok(self.shards[0].append_offsets(Some(asker.ticket(form)))?);
        }
        answer(asker, response::SUCCESS, None, None, &[], outboxes);
        Ok(())
    }

    /// Whether a start would find everything that the catalog has.
    fn is_catalog_stored(&self) -> bool {
        let shard = &self.shards[0];
        shard.is_settled() && shard.log().poisoned().is_none()
    }
}

/// Reads `+k=v,-k2` (`AttributeParser.parseToMap`, 5.3.3).
fn parse_modifications(text: &str) -> Result<Modifications<'_>, Refusal> {
    let refusal = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
    let mut modifications: Modifications<'_> = Vec::new();
    for item in text.split(',').filter(|_| !text.is_empty()) {
        let (key, value) = match item.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return Err(refusal(format!("add/alter attribute format is wrong: {key}")));
            }
            Some((key, "")) => return Err(refusal(format!("the attribute {key} has no value"))),
            Some(pair) => pair,
            None if !item.contains('-') => {
                return Err(refusal(format!("delete attribute format is wrong: {item}")));
            }
            None => (item, ""),
        };
        if modifications.iter().any(|(known, _)| known == key) {
            return Err(refusal(format!("key duplication: {key}")));
        }
        modifications.push((key.into(), value.into()));
    }
    Ok(modifications)
}

/// Applies changes to the attributes of a topic, or of a new one
/// (`AttributeUtil.alterCurrentAttributes`, 5.3.3).
fn alter_attributes(
    known: Option<&BTreeMap<String, String>>,
    modifications: &Modifications<'_>,
) -> Result<BTreeMap<String, String>, Refusal> {
    let refusal = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
    let mut attributes = known.cloned().unwrap_or_default();
    let mut seen: Vec<&str> = Vec::new();
    for (key, value) in modifications {
        let mut characters = key.chars();
        let sign = characters.next();
        let name = characters.as_str();
        if name.is_empty() || name.contains(['+', '-']) {
            return Err(refusal("kv string format wrong.".to_owned()));
        }
        if seen.contains(&name) {
            return Err(refusal(format!("alter duplication key. key: {name}")));
        }
        seen.push(name);
        let is_added = match sign {
            Some('+') => true,
            _ if known.is_none() => {
                return Err(refusal(format!(
                    "only add attribute is supported while creating topic. key: {name}"
                )));
            }
            Some('-') if known.is_some_and(|known| !known.contains_key(name)) => {
                return Err(refusal(format!("attempt to delete a nonexistent key: {name}")));
            }
            Some('-') => false,
            _ => return Err(refusal(format!("wrong format key: {name}"))),
        };
        let is_changeable = match name {
            "queue.type" | "cleanup.policy" => false,
            "message.type" | "reserve.time" => true,
            _ => return Err(refusal(format!("unsupported key: {name}"))),
        };
        if known.is_some() && !is_changeable {
            return Err(refusal(format!(
                "attempt to update an unchangeable attribute. key: {name}"
            )));
        }
        if is_added {
            check_attribute(name, value)?;
            attributes.insert(name.to_owned(), value.to_string());
        } else {
            attributes.remove(name);
        }
    }
    Ok(attributes)
}

/// Checks an attribute's value (`TopicAttributes`, 5.3.3).
fn check_attribute(name: &str, value: &str) -> Result<(), Refusal> {
    let refusal = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
    match (name, value) {
        ("queue.type", "BatchCQ") | ("cleanup.policy", "COMPACTION") => {
            Err(refusal(format!("{name}={value} is not supported yet")))
        }
        ("queue.type", "SimpleCQ")
        | ("cleanup.policy", "DELETE")
        | ("message.type", "UNSPECIFIED" | "NORMAL" | "FIFO" | "DELAY" | "TRANSACTION" | "MIXED") => {
            Ok(())
        }
        ("reserve.time", _) if value.parse::<i64>().is_ok_and(|time| time >= -1) => Ok(()),
        ("reserve.time", _) => Err(refusal(format!("value is not in range(-1, {})", i64::MAX))),
        _ => Err(refusal(format!("value is not in set: {name}={value}"))),
    }
}
