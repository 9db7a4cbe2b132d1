//! What the home core knows: 21 GET_ALL_TOPIC_CONFIG, 351 GET_TOPIC_CONFIG,
//! 305 GET_SYSTEM_TOPIC_LIST_FROM_BROKER, 203 GET_CONSUMER_CONNECTION_LIST, 204 GET_PRODUCER_CONNECTION_LIST,
//! 328 GET_ALL_PRODUCER_INFO, 345 QUERY_SUBSCRIPTION_BY_CONSUMER.
//! Kind: machine
//!
//! Source: AdminBrokerProcessor of 5.3.3.

use proto::body::{
    Connection, ConsumerConnection, ProducerConnection, ProducerTableInfo,
    QuerySubscriptionResponseBody, TopicConfigAndMappingSerializeWrapper,
    TopicConfigAndQueueMapping, TopicList,
};
use proto::code::response;
use proto::command::Command;
use proto::header::{ConsumerHeader, GroupHeader, ProducerHeader, TopicHeader};
use runtime::clock::Now;

use super::super::dispatch::{Handled, answer_body};
use super::super::membership::Client;
use super::super::{Asker, Broker, Refusal};
use crate::net::outbox::Outboxes;

impl Broker {
    pub(in crate::broker) fn all_topics(
        &mut self,
        asker: &Asker,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let topics = self.catalog.topics().map(|it| &it.config);
        let topics = topics.map(|config| (config.topic_name.clone(), config.clone()));
        let table = TopicConfigAndMappingSerializeWrapper {
            data_version: self.catalog.topics_version(),
            topic_config_table: topics.collect(),
            ..TopicConfigAndMappingSerializeWrapper::default()
        };
        answer_body(asker, |body| table.write(body), outboxes)
    }

    pub(in crate::broker) fn topic_config(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let name = TopicHeader::parse(command)?.topic.to_cow();
        let Some(topic) = self.catalog.topic(&name) else {
            let remark = format!("No topic in this broker. topic: {name}");
            return Err(Refusal::new(response::TOPIC_NOT_EXIST, remark).into());
        };
        answer_body(
            asker,
            |body| TopicConfigAndQueueMapping::from(topic.config.clone()).write(body),
            outboxes,
        )
    }

    pub(in crate::broker) fn system_topics_of_broker(
        &mut self,
        asker: &Asker,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let names = self.catalog.topics().map(|it| &*it.config.topic_name);
        let own = names.filter(|name| self.is_system_topic(name));
        let all = own.chain(proto::names::SYSTEM_TOPICS).map(str::to_owned);
        answer_body(
            asker,
            |body| TopicList { broker_addr: None, topic_list: all.collect() }.write(body),
            outboxes,
        )
    }

    // ---- clients --------------------------------------------------------------------------------

    pub(in crate::broker) fn consumer_connections(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let name = ConsumerHeader::parse(command)?.group.to_cow();
        let Some(group) = self.membership.group(&name) else {
            let remark = format!("the consumer group[{name}] not online");
            return Err(Refusal::new(response::CONSUMER_NOT_ONLINE, remark).into());
        };
        let subscriptions = group.subscriptions();
        let found = ConsumerConnection {
            connection_set: group.members().map(|(_, client)| connection_of(client)).collect(),
            consume_from_where: group.consume_from_where,
            consume_type: group.consume_type,
            message_model: group.message_model,
            subscription_table: subscriptions
                .map(|it| (it.data.topic.clone(), it.data.clone()))
                .collect(),
        };
        answer_body(asker, |body| found.write(body), outboxes)
    }

    pub(in crate::broker) fn producer_connections(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let name = ProducerHeader::parse(command)?.group.to_cow();
        let members = self.membership.producers(&name).map(|(_, client)| connection_of(client));
        let connection_set: Vec<_> = members.collect();
        if connection_set.is_empty() {
            let remark = format!("the producer group[{name}] not exist");
            return Err(Refusal::new(response::SYSTEM_ERROR, remark).into());
        }
        answer_body(asker, |body| ProducerConnection { connection_set }.write(body), outboxes)
    }

    pub(in crate::broker) fn all_producers(
        &mut self,
        now: Now,
        asker: &Asker,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let mut table = ProducerTableInfo::default();
        for (group, client, heard_ms) in self.membership.producer_groups() {
            let silent_ms = now.monotonic_ms().saturating_sub(heard_ms);
            let heard_ms = now.wall_ms.saturating_sub(silent_ms);
            table.data.entry(group.to_owned()).or_default().push(proto::body::ProducerInfo {
                client_id: client.id.clone(),
                language: client.language,
                last_update_timestamp: i64::try_from(heard_ms).unwrap_or(i64::MAX),
                remote_ip: format!("/{}", client.peer),
                version: client.version,
            });
        }
        answer_body(asker, |body| table.write(body), outboxes)
    }

    pub(in crate::broker) fn subscription_of(
        &mut self,
        asker: &Asker,
        command: &Command<'_>,
        outboxes: &mut Outboxes,
    ) -> Handled {
        self.check_home()?;
        let header = GroupHeader::parse(command)?;
        let group = header.group.to_cow().into_owned();
        let topic = header.topic.map(|topic| topic.to_cow().into_owned());
        let subscription = self.membership.subscription(&group, topic.as_deref().unwrap_or(""));
        let found = QuerySubscriptionResponseBody {
            subscription_data: subscription.map(|it| it.data.clone()),
            group: Some(group),
            topic,
        };
        answer_body(asker, |body| found.write(body), outboxes)
    }
}

fn connection_of(client: &Client) -> Connection {
    Connection {
        client_addr: client.peer.to_string(),
        client_id: client.id.clone(),
        language: client.language,
        version: client.version,
    }
}
