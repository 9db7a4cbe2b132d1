//! Clients: 34 HEART_BEAT, 35 UNREGISTER_CLIENT, 38 GET_CONSUMER_LIST_BY_GROUP; 40 to the members.
//! Kind: machine
//!
//! Source: ClientManageProcessor and ConsumerManager of 5.3.3.

use engine::filter::SqlFilter;
use proto::body::{CheckClientRequestBody, ConsumerData, ConsumerList, HeartbeatData};
use proto::code::{request, response};
use proto::command::{Command, FLAG_ONEWAY};
use proto::frame::Encoding;
use proto::header::{ConsumerListHeader, UnregisterClientHeader};
use proto::names;
use proto::reply::{RequestHead, write_request};
use runtime::ConnectionId;
use runtime::clock::Now;

use super::super::dispatch::{Handled, Stop, answer, answer_body_with};
use super::super::membership::{Client, MembershipFull};
use super::super::{Asker, Broker, Refusal};
use super::pull::{check_expression_type, no_expression};
use crate::net::outbox::Outboxes;

impl Broker {
    pub(in crate::broker) fn heartbeat(
        &mut self,
        now: Now,
        asker: &Asker,
        command: &Command<'_>,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let data = HeartbeatData::parse(body)
            .map_err(|error| Refusal::new(response::SYSTEM_ERROR, format!("heartbeat: {error}")))?;
        // What may have to wait for room in the log comes first: a frame that comes again must find
        // nothing half done.
        let mut refused = None;
        for consumer in &data.consumer_data_set {
            match self.prepare_group(now, consumer) {
                Ok(()) => {}
                Err(stop @ (Stop::Wait | Stop::Elsewhere(_))) => return Err(stop),
                // A full disk refuses new groups. Those that exist stay alive with this heartbeat,
                // or they would stop consuming because of another group of their client.
                Err(Stop::Refuse(refusal)) => refused = Some(refusal),
            }
        }
        let client = Client {
            id: data.client_id.clone(),
            language: command.language,
            version: command.version,
            peer: asker.peer,
        };
        let connection = asker.connection.to_bits();
        // Groups that find no room do not keep the others out.
        let full = |error: MembershipFull| Refusal::new(response::SYSTEM_ERROR, error.to_string());
        let mut sub_changed = data.heartbeat_fingerprint == 0;
        for consumer in &data.consumer_data_set {
            if self.catalog.group(&consumer.group_name).is_none() {
                continue; // may not be created: skipped in silence, as in RocketMQ
            }
            let change = self.membership.heartbeat_consumer(
                now.monotonic_ms(),
                connection,
                &client,
                consumer,
                data.heartbeat_fingerprint,
                data.without_sub,
            );
            let change = match change {
                Ok(change) => change,
                Err(error) => {
                    refused = Some(full(error));
                    continue;
                }
            };
            sub_changed |= change.sub_changed;
            let config = self.catalog.group(&consumer.group_name);
            let is_told = config.is_none_or(|config| config.notify_consumer_ids_changed_enable);
            if change.notify && is_told {
                self.notify_members(&consumer.group_name, outboxes);
            }
        }
        for producer in &data.producer_data_set {
            let heard = self.membership.heartbeat_producer(
                now.monotonic_ms(),
                connection,
                &client,
                &producer.group_name,
            );
            refused = heard.map_err(full).err().or(refused);
        }
        self.copy_consumers();
        if let Some(refusal) = refused {
            return Err(refusal.into());
        }
        let changed = if sub_changed { "true" } else { "false" };
        let ext = [("IS_SUPPORT_HEART_BEAT_V2", "true"), ("IS_SUB_CHANGE", changed)];
        answer(asker, response::SUCCESS, None, Some(&ext), &[], outboxes);
        Ok(())
    }

    /// Makes sure that a consumer group and its retry topic exist, if they may.
    fn prepare_group(&mut self, now: Now, consumer: &ConsumerData) -> Result<(), Stop> {
        let group = &consumer.group_name;
        if let Some(rules) = self.ensure_group(now, group)? {
            let retry_topic = names::retry_topic(group);
            self.ensure_group_topic(now, &retry_topic, rules.retry_queue_nums)?;
        }
        Ok(())
    }

    /// Tells the members of a group to look at their queues again (40).
    pub(in crate::broker) fn notify_members(&self, group: &str, outboxes: &mut Outboxes) {
        let head = RequestHead {
            code: request::NOTIFY_CONSUMER_IDS_CHANGED,
            opaque: 0,
            flag: FLAG_ONEWAY,
        };
        for member in self.membership.notify_targets(group) {
            if let Some(outbox) = outboxes.of(ConnectionId::from_bits(member)) {
                let ext = [("consumerGroup", group)];
                // JSON, whatever the client speaks: every client reads it.
                write_request(outbox.bytes(), Encoding::Json, &head, Some(&ext), &[]);
            }
        }
    }

    pub(in crate::broker) fn unregister_client(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = UnregisterClientHeader::parse(command)?;
        let producer = header.producer_group.map(|group| group.to_cow());
        let consumer = header.consumer_group.map(|group| group.to_cow());
        let not_empty = |group: &&str| !group.is_empty();
        let changed = self.membership.unregister(
            asker.connection.to_bits(),
            &header.client_id.to_cow(),
            producer.as_deref().filter(not_empty),
            consumer.as_deref().filter(not_empty),
        );
        let is_told = |group: &String| {
            let config = self.catalog.group(group);
            config.is_none_or(|config| config.notify_consumer_ids_changed_enable)
        };
        if let Some(group) = changed.filter(is_told) {
            self.notify_members(&group, outboxes);
        }
        self.copy_consumers();
        answer(asker, response::SUCCESS, None, None, &[], outboxes);
        Ok(())
    }

    /// Whether a subscription can be served.
    pub(in crate::broker) fn check_client_config(
        &mut self,
        asker: &Asker,
        body: &[u8],
        outboxes: &mut Outboxes,
    ) -> Handled {
        let asked = CheckClientRequestBody::parse(body).map_err(|error| {
            Refusal::new(response::SYSTEM_ERROR, format!("client config: {error}"))
        })?;
        if let Some(data) = asked.subscription_data.filter(|data| !data.is_tag_type()) {
            self.check_property_filter(&data.expression_type)?;
            check_expression_type(&data.expression_type)?;
            SqlFilter::compile(&data.sub_string).map_err(|error| no_expression(&error))?;
        }
        answer(asker, response::SUCCESS, None, None, &[], outboxes);
        Ok(())
    }

    pub(in crate::broker) fn consumer_list(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = ConsumerListHeader::parse(command)?;
        let group = header.consumer_group.to_cow();
        let Some(consumer_id_list) = self.membership.consumer_ids(&group) else {
            return Err(Refusal::new(
                response::SYSTEM_ERROR,
                format!("no consumer for this group, {group}"),
            )
            .into());
        };
        let mut body = Vec::new();
        ConsumerList { consumer_id_list }.write(&mut body);
        answer_body_with(asker, Some(&[]), &body, outboxes)
    }
}
