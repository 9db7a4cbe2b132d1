//! Topic administration: 17 UPDATE_AND_CREATE_TOPIC.
//! Kind: machine

use std::collections::BTreeMap;

use proto::body::{TopicConfig, TopicFilterType};
use proto::code::response;
use proto::command::Command;
use proto::header::CreateTopicHeader;
use proto::names;
use runtime::clock::Now;

use super::super::dispatch::{Handled, answer};
use super::super::topics::check_queue_count;
use super::super::{Asker, Broker, Refusal};
use super::form;
use crate::net::outbox::Outboxes;

impl Broker {
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
        names::validate_topic(&name)
            .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
        if names::is_system_topic(&name) {
            return Err(Refusal::new(
                response::INVALID_PARAMETER,
                format!("The topic[{name}] is conflict with system topic."),
            )
            .into());
        }
        check_queue_count(&name, header.read_queue_count)?;
        check_queue_count(&name, header.write_queue_count)?;
        let attributes = header.attributes.map(|text| text.to_cow()).unwrap_or_default();
        let known = self.catalog.topic(&name).map(|topic| &topic.config);
        let config = TopicConfig {
            topic_name: name.clone().into_owned(),
            read_queue_nums: header.read_queue_count,
            write_queue_nums: header.write_queue_count,
            perm: header.perm,
            topic_filter_type: header
                .topic_filter_type
                .and_then(|text| TopicFilterType::from_name(&text.to_cow()))
                .unwrap_or_default(),
            topic_sys_flag: header.topic_sys_flag,
            order: header.order,
            attributes: alter_attributes(known, &attributes)?,
        };
        // The record that made it may still be on its way, or have failed: success would promise more.
        let shard = &self.shards[0];
        let is_stored = shard.is_settled() && shard.log().poisoned().is_none();
        if known == Some(&config) && is_stored {
            answer(asker, response::SUCCESS, None, None, &[], outboxes);
            return Ok(());
        }
        tracing::info!(
            topic = &*name,
            read_queues = config.read_queue_nums,
            write_queues = config.write_queue_nums,
            perm = config.perm,
            peer = %asker.peer,
            "topic created or changed"
        );
        let ticket = (!asker.is_oneway).then(|| asker.ticket(form::REGISTERED));
        self.put_topic(now, config, ticket)
    }
}

/// Applies `+k=v,-k2` (`AttributeParser.parseToMap`, `AttributeUtil.alterCurrentAttributes`, 5.3.3).
fn alter_attributes(
    known: Option<&TopicConfig>,
    text: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    let refusal = |remark: String| Refusal::new(response::SYSTEM_ERROR, remark);
    let mut attributes = known.map(|config| config.attributes.clone()).unwrap_or_default();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        let (is_added, name) = match (key.strip_prefix('+'), key.strip_prefix('-')) {
            (Some(name), _) if key != item => (true, name),
            (_, Some(name)) if key == item => (false, name),
            _ => return Err(refusal(format!("add/alter/delete format is wrong: {item}"))),
        };
        if !is_added && known.is_none() {
            return Err(refusal(format!(
                "only add attribute is supported while creating topic. key: {name}"
            )));
        }
        if !is_added && !attributes.contains_key(name) {
            return Err(refusal(format!("attempt to delete a nonexistent key: {name}")));
        }
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
            attributes.insert(name.to_owned(), value.to_owned());
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
        // Allowed with enableMixedMessageType only.
        ("message.type", "MIXED") => {
            Err(Refusal::new(response::INVALID_PARAMETER, "MIXED message type is not supported."))
        }
        ("queue.type", "SimpleCQ")
        | ("cleanup.policy", "DELETE")
        | ("message.type", "UNSPECIFIED" | "NORMAL" | "FIFO" | "DELAY" | "TRANSACTION") => Ok(()),
        ("reserve.time", _) if value.parse::<i64>().is_ok_and(|time| time >= -1) => Ok(()),
        ("reserve.time", _) => Err(refusal(format!("value is not in range(-1, {})", i64::MAX))),
        _ => Err(refusal(format!("value is not in set: {name}={value}"))),
    }
}
