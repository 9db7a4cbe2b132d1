//! The NameServer: which broker serves which topic. Brokers register, clients and tools ask.
//! Owns: brokers, topics, key-values. Lives on: the NameServer's thread.
//! Kind: machine
//! Invariants:
//! - every route names a broker that is known, and every address of a broker expires;
//! - what is registered is gone once its broker is silent for its timeout or its connection is;
//! - every table is bounded, and a registration is stored whole or not at all.
//!
//! NameServers do not talk to each other. Everything is in memory: brokers register again within
//! 30 s of a restart. The key-value configuration is in memory too, where Apache keeps a file:
//! not yet. Request codes and algorithms follow `RouteInfoManager`, `DefaultRequestProcessor` and
//! `ClientRequestProcessor` of Apache RocketMQ 5.3.3. Filter servers are gone, so the table in a
//! route is always empty.

mod admin;
mod brokers;
mod config;
mod key_values;
pub mod limits;
mod register;
mod reply;
mod route;
mod topics;

use std::net::SocketAddr;

use proto::code::{request, response};
use proto::command::Command;

pub use config::NameServerConfig;

use admin::UnitList;
use brokers::Brokers;
use key_values::KeyValues;
use reply::{Refusal, Reply};
use topics::Topics;

/// A connection, as whoever drives the NameServer numbers them; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey(pub u64);

/// The NameServer's state.
#[derive(Debug)]
pub struct NameServer {
    config: NameServerConfig,
    started_ms: u64,
    scan_at_ms: u64,
    brokers: Brokers,
    topics: Topics,
    key_values: KeyValues,
}

impl NameServer {
    /// A NameServer that knows nobody. All times are of one clock that does not go back.
    pub fn new(now_ms: u64, config: NameServerConfig) -> Self {
        let scan_at_ms = now_ms.saturating_add(config.scan_interval_ms);
        Self {
            config,
            started_ms: now_ms,
            scan_at_ms,
            brokers: Brokers::default(),
            topics: Topics::default(),
            key_values: KeyValues::default(),
        }
    }

    /// Does what a request asks and appends the answer to `out`; a oneway request has none, and
    /// neither has a response, which nobody here waits for.
    pub fn handle(
        &mut self,
        now_ms: u64,
        connection: ConnectionKey,
        peer: SocketAddr,
        command: &Command<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        if command.is_response() {
            return;
        }
        let reply = self.dispatch(now_ms, connection, command, body).unwrap_or_else(|refusal| {
            let Refusal { code, remark } = &refusal;
            tracing::debug!(%peer, request = command.code, code, remark, "refused");
            Reply::from(refusal)
        });
        if !command.is_oneway() {
            reply.write(command, out);
        }
    }

    fn dispatch(
        &mut self,
        now_ms: u64,
        connection: ConnectionKey,
        command: &Command<'_>,
        body: &[u8],
    ) -> Result<Reply, Refusal> {
        match command.code {
            request::REGISTER_BROKER => self.register_broker(now_ms, connection, command, body),
            request::UNREGISTER_BROKER => self.unregister_broker(command),
            request::QUERY_DATA_VERSION => self.query_data_version(now_ms, command, body),
            request::BROKER_HEARTBEAT => self.broker_heartbeat(now_ms, command),
            request::GET_ROUTEINFO_BY_TOPIC => self.route_of_topic(now_ms, command),
            request::GET_BROKER_CLUSTER_INFO => Ok(self.cluster_info()),
            request::GET_BROKER_MEMBER_GROUP => self.broker_member_group(command),
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => self.all_topics(),
            request::GET_TOPICS_BY_CLUSTER => self.topics_of_cluster(command),
            request::GET_SYSTEM_TOPIC_LIST_FROM_NS => Ok(self.system_topics()),
            request::GET_UNIT_TOPIC_LIST => self.unit_topics(UnitList::Units),
            request::GET_HAS_UNIT_SUB_TOPIC_LIST => self.unit_topics(UnitList::Subscribed),
            request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                self.unit_topics(UnitList::SubscribedOnly)
            }
            request::WIPE_WRITE_PERM_OF_BROKER => self.wipe_write_perm(command),
            request::ADD_WRITE_PERM_OF_BROKER => self.add_write_perm(command),
            request::DELETE_TOPIC_IN_NAMESRV => self.delete_topic(command),
            request::REGISTER_TOPIC_IN_NAMESRV => self.register_topic(command, body),
            request::PUT_KV_CONFIG => self.put_key_value(command),
            request::GET_KV_CONFIG => self.key_value(command),
            request::DELETE_KV_CONFIG => self.delete_key_value(command),
            request::GET_KVLIST_BY_NAMESPACE => self.key_values_of_namespace(command),
            code => Err(Refusal {
                code: response::REQUEST_CODE_NOT_SUPPORTED,
                remark: format!(" request type {code} not supported"),
            }),
        }
    }

    /// Forgets at once what registered over a connection that is no more. Every event comes with
    /// its time; nothing here depends on it so far.
    pub fn connection_closed(&mut self, _now_ms: u64, connection: ConnectionKey) {
        let leaving = self.brokers.of_connection(connection);
        if !leaving.is_empty() {
            self.depart(leaving);
        }
    }

    /// Forgets brokers that have been silent for too long, once every scan interval, and returns
    /// their connections, which are to be closed.
    pub fn tick(&mut self, now_ms: u64) -> Vec<ConnectionKey> {
        if now_ms < self.scan_at_ms {
            return Vec::new();
        }
        self.scan_at_ms = now_ms.saturating_add(self.config.scan_interval_ms);
        let expired = self.brokers.expired(now_ms);
        let mut connections: Vec<_> =
            expired.iter().map(|(_, _, connection)| *connection).collect();
        connections.sort_unstable();
        connections.dedup();
        if !expired.is_empty() {
            self.depart(expired.into_iter().map(|(place, name, _)| (place, name)));
        }
        connections
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn tick_at_ms(&self) -> u64 {
        self.scan_at_ms
    }
}

#[cfg(test)]
mod tests;
