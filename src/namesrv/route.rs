//! Where a topic is served (105), and who there is (106, 901).
//! Kind: machine

use proto::body::{
    BrokerMemberGroup, ClusterInfo, GetBrokerMemberGroupResponseBody, TopicRouteData,
};
use proto::code::response;
use proto::command::Command;
use proto::header::RouteHeader;
use proto::names::{ORDER_TOPIC_CONFIG, SYNC_BROKER_MEMBER_TOPIC_PREFIX, perm};

use super::NameServer;
use super::brokers::MASTER_ID;
use super::limits::{NAME_BYTES_MAX, TOPIC_BYTES_MAX};
use super::reply::{Refusal, Reply, bounded, required};
use super::topics::Route;

impl NameServer {
    /// 105, `ClientRequestProcessor.getRouteInfoByTopic`, with `ZoneRouteRPCHook` behind it.
    pub(super) fn route_of_topic(
        &self,
        now_ms: u64,
        command: &Command<'_>,
    ) -> Result<Reply, Refusal> {
        if self.is_waiting(now_ms) {
            return Err(Refusal::system_error("name server not ready"));
        }
        let header = RouteHeader::parse(command)?;
        let topic = bounded(header.topic, "topic", TOPIC_BYTES_MAX)?;
        let Some(mut route) = self.pick_route(&topic) else { return Err(no_route(&topic)) };
        if self.config.order_in_routes {
            route.order_topic_conf = self.kept.key_values.get(ORDER_TOPIC_CONFIG, &topic).cloned();
        }
        let zone =
            header.zone_name.map(|zone| zone.to_cow()).filter(|zone| !zone.trim().is_empty());
        if let (true, Some(zone)) = (header.zone_mode, zone) {
            keep_zone(&mut route, &zone);
            // The hook decodes the answer and encodes it anew, in the old form for everybody.
            return Ok(Reply::with_body(|out| route.write(out)));
        }
        let standard_json_only = header.accept_standard_json_only;
        Ok(Reply::with_body(|out| route.write_for(command.version, standard_json_only, out)))
    }

    /// `RouteInfoManager.pickupTopicRouteData`.
    fn pick_route(&self, topic: &str) -> Option<TopicRouteData> {
        let served = self.topics.get(topic)?;
        let mut route = TopicRouteData::default();
        for Route { broker: name, queues } in &served.routes {
            route.queue_datas.push(queues.data(name));
            if let Some(broker) = self.brokers.get(name) {
                route.filter_server_table.extend(self.brokers.filter_servers(broker));
                route.broker_datas.push(broker.data(name));
            }
        }
        if route.broker_datas.is_empty() {
            return None;
        }
        if !served.mappings.is_empty() {
            route.topic_queue_mapping_by_broker = Some(served.mappings.clone());
        }
        if self.config.acting_master && !topic.starts_with(SYNC_BROKER_MEMBER_TOPIC_PREFIX) {
            appoint_acting_masters(&mut route);
        }
        Some(route)
    }

    /// 106: all clusters and brokers, in the old form for everybody.
    pub(super) fn cluster_info(&self) -> Reply {
        let names = |names: &std::collections::BTreeSet<std::sync::Arc<str>>| {
            names.iter().map(|name| name.to_string()).collect()
        };
        let brokers = self.brokers.all();
        let clusters = self.brokers.clusters().iter();
        let info = ClusterInfo {
            broker_addr_table: brokers
                .map(|(name, broker)| (name.to_string(), broker.data(name)))
                .collect(),
            cluster_addr_table: clusters
                .map(|(cluster, members)| (cluster.clone(), names(members)))
                .collect(),
        };
        Reply::with_body(|out| info.write(out))
    }

    /// 901: the replicas of a name; none if it is unknown.
    pub(super) fn broker_member_group(&self, command: &Command<'_>) -> Result<Reply, Refusal> {
        let cluster = required(command, "clusterName", NAME_BYTES_MAX)?;
        let broker_name = required(command, "brokerName", NAME_BYTES_MAX)?;
        let broker = self.brokers.get(&broker_name);
        let broker_addrs = broker.map(|broker| broker.addresses.clone()).unwrap_or_default();
        let group = BrokerMemberGroup { broker_addrs, broker_name, cluster };
        let body = GetBrokerMemberGroupResponseBody { broker_member_group: group };
        Ok(Reply::with_body(|out| body.write(out)))
    }
}

fn no_route(topic: &str) -> Refusal {
    let remark = format!(
        "No topic route info in name server for the topic: {topic}\n\
         See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    );
    Refusal { code: response::TOPIC_NOT_EXIST, remark }
}

/// A broker without master whose queues only read shows its smallest replica as the master, so
/// that clients go on consuming there.
fn appoint_acting_masters(route: &mut TopicRouteData) {
    for broker in &mut route.broker_datas {
        let addresses = &mut broker.broker_addrs;
        if addresses.contains_key(&MASTER_ID) || !broker.enable_acting_master {
            continue;
        }
        let queues = route.queue_datas.iter().find(|data| data.broker_name == broker.broker_name);
        if queues.is_none_or(|queues| perm::writable(queues.perm)) {
            continue;
        }
        if let Some((_, address)) = addresses.pop_first() {
            addresses.insert(MASTER_ID, address);
        }
    }
}

/// Keeps the brokers of one zone, and those without master, which are read from wherever they are.
fn keep_zone(route: &mut TopicRouteData, zone: &str) {
    let mut dropped = Vec::new();
    let filter_servers = &mut route.filter_server_table;
    route.broker_datas.retain(|broker| {
        let is_near =
            broker.zone_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(zone));
        let keep = is_near || !broker.broker_addrs.contains_key(&MASTER_ID);
        if !keep {
            filter_servers
                .retain(|address, _| !broker.broker_addrs.values().any(|it| it == address));
            dropped.push(broker.broker_name.clone());
        }
        keep
    });
    route.queue_datas.retain(|queues| !dropped.contains(&queues.broker_name));
}
