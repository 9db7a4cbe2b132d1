//! Group administration: 200 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, 225 …_LIST,
//! 201 GET_ALL_SUBSCRIPTIONGROUP_CONFIG, 207 DELETE_SUBSCRIPTIONGROUP, 352 GET_SUBSCRIPTIONGROUP_CONFIG.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor and SubscriptionGroupManager of 5.3.3.

use std::sync::Arc;

use engine::catalog;
use proto::body::{SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupWrapper};
use proto::code::response;
use proto::command::Command;
use proto::header::{DeleteGroupHeader, GroupHeader};
use proto::names;
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, answer_body};
use super::super::inquiry::Question;
use super::super::limits::QUEUES_PER_TOPIC_MAX;
use super::super::topics::not_put;
use super::super::{Asker, Broker, Refusal};
use super::{Then, form};
use crate::net::outbox::Outboxes;

impl Broker {
    pub(in crate::broker) fn create_group(
        &mut self,
        now: Now,
        asker: &Asker,
        body: &[u8],
    ) -> Handled {
        self.check_home()?;
        let config = SubscriptionGroupConfig::parse(body).map_err(|error| {
            Refusal::new(response::SYSTEM_ERROR, format!("subscription group: {error}"))
        })?;
        self.put_groups(now, asker, vec![config])
    }

    /// Several groups: all of them or none.
    pub(in crate::broker) fn create_groups(
        &mut self,
        now: Now,
        asker: &Asker,
        body: &[u8],
    ) -> Handled {
        self.check_home()?;
        let asked = SubscriptionGroupList::parse(body).map_err(|error| {
            Refusal::new(response::SYSTEM_ERROR, format!("list of subscription groups: {error}"))
        })?;
        self.put_groups(now, asker, asked.group_config_list)
    }

    fn put_groups(
        &mut self,
        now: Now,
        asker: &Asker,
        mut configs: Vec<SubscriptionGroupConfig>,
    ) -> Handled {
        configs.iter().try_for_each(check_group)?;
        configs.iter().try_for_each(catalog::check_group).map_err(not_put)?;
        let last = configs.last().cloned();
        // A frame that comes again finds some of them made.
        configs.retain(|config| self.catalog.group(&config.group_name) != Some(config));
        let ticket = (!asker.is_oneway).then(|| asker.ticket(form::PLAIN));
        let Some(last) = configs.pop().or(last) else {
            return Ok(self.shards[0].append_offsets(ticket)?);
        };
        for config in configs {
            self.change_group(now, asker, config, None)?;
        }
        self.change_group(now, asker, last, ticket)
    }

    fn change_group(
        &mut self,
        now: Now,
        asker: &Asker,
        config: SubscriptionGroupConfig,
        ticket: Option<engine::ticket::Ticket>,
    ) -> Handled {
        let group = config.group_name.clone();
        let (consumes, retries) = (config.consume_enable, config.retry_max_times);
        self.put_group(now, config, ticket)?;
        tracing::info!(group, consumes, retries, peer = %asker.peer, "consumer group created or changed");
        Ok(())
    }

    pub(in crate::broker) fn delete_group(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
    ) -> Handled {
        self.check_home()?;
        let header = DeleteGroupHeader::parse(command)?;
        let group = header.group.to_cow();
        let ticket = (!asker.is_oneway).then(|| asker.ticket(form::PLAIN));
        // With its offsets the answer comes behind both.
        let is_deleted = self.remove_group(now, &group, ticket.filter(|_| !header.clean_offset))?;
        if is_deleted {
            tracing::info!(group = &*group, peer = %asker.peer, "consumer group deleted");
        }
        if header.clean_offset {
            let question = Question::RemoveGroup(Arc::from(&*group));
            return self.ask_all(asker, question, Then::Done);
        }
        if !is_deleted {
            self.shards[0].append_offsets(ticket)?;
        }
        Ok(())
    }

    pub(in crate::broker) fn all_groups(
        &mut self,
        asker: &Asker,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let groups = self.catalog.groups().map(|it| (it.group_name.clone(), it.clone()));
        let table = SubscriptionGroupWrapper {
            data_version: self.catalog.groups_version(),
            subscription_group_table: groups.collect(),
            forbidden_table: self.forbidden_table(),
        };
        answer_body(asker, |body| table.write(body), outboxes)
    }

    pub(in crate::broker) fn group_config(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let group = GroupHeader::parse(command)?.group.to_cow();
        // Created if that is allowed, as by a consumer.
        self.ensure_group(now, &group)?;
        let Some(config) = self.catalog.group(&group) else {
            let remark = "No group in this broker";
            return Err(Refusal::new(response::SUBSCRIPTION_GROUP_NOT_EXIST, remark).into());
        };
        answer_body(asker, |body| config.write(body), outboxes)
    }
}

/// Checks a group's configuration. Apache takes any; what nobody could consume with is refused here.
fn check_group(config: &SubscriptionGroupConfig) -> Result<(), Stop> {
    names::validate_group(&config.group_name)
        .map_err(|error| Refusal::new(response::INVALID_PARAMETER, error.to_string()))?;
    if let Some(key) = config.attributes.keys().next() {
        let remark = format!("unsupported key: {}", key.trim_start_matches(['+', '-']));
        return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
    }
    let count = config.retry_queue_nums;
    if count > QUEUES_PER_TOPIC_MAX {
        let remark = format!(
            "retryQueueNums {count}: {QUEUES_PER_TOPIC_MAX} queues are allowed at the most"
        );
        return Err(Refusal::new(response::INVALID_PARAMETER, remark).into());
    }
    Ok(())
}
