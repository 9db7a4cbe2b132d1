//! The NameServer: which broker serves which topic. Brokers register, clients and tools ask.
//! Owns: brokers, topics, key-values. Lives on: the NameServer's thread.
//! Kind: machine
//! Invariants:
//! - every route names a broker that is known, and every address of a broker expires;
//! - what is registered is gone once its broker is silent for its timeout or its connection is;
//! - every table is bounded, and a registration is stored whole or not at all;
//! - what an operator set is answered once it is on disk, and only then shown.
//!
//! NameServers do not talk to each other. Routes are in memory: brokers register again within
//! 30 s of a restart. Key-values and settings are in files, which whoever drives the NameServer
//! writes ([`NameServer::next_save`]). Request codes and algorithms follow `RouteInfoManager`,
//! `DefaultRequestProcessor`, `ClientRequestProcessor`, `KVConfigManager` and `ZoneRouteRPCHook` of
//! Apache RocketMQ 5.3.3.

mod admin;
mod brokers;
mod config;
mod kept;
mod key_values;
pub mod limits;
mod register;
mod reply;
mod route;
mod settings;
mod topics;

use std::net::SocketAddr;

use proto::code::{request, response};
use proto::command::Command;

pub use config::NameServerConfig;
pub use kept::{Answer, KeptFile, Save};
pub use key_values::{KeyValues, KeyValuesError};
pub use settings::{Overrides, SettingError};

use admin::UnitList;
use brokers::Brokers;
use kept::{Asker, Kept};
use reply::{Refusal, Reply};
use topics::Topics;

/// A connection, as whoever drives the NameServer numbers them; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionKey(pub u64);

/// The NameServer's state.
#[derive(Debug)]
pub struct NameServer {
    config: NameServerConfig,
    /// Shown by 319 beside what can be set.
    fixed: Vec<(&'static str, String)>,
    started_ms: u64,
    scanned_ms: u64,
    brokers: Brokers,
    topics: Topics,
    kept: Kept,
}

/// What a NameServer starts from.
#[derive(Debug, Default)]
pub struct Beginning {
    /// What it was told, without what was set over the wire.
    pub config: NameServerConfig,
    /// Settings that hold as long as it runs, to be shown.
    pub fixed: Vec<(&'static str, String)>,
    /// What its file of key-values says.
    pub key_values: KeyValues,
    /// What its file of settings says.
    pub overrides: Overrides,
}

impl NameServer {
    /// A NameServer that knows nobody. All times are of one clock that does not go back.
    pub fn new(now_ms: u64, beginning: Beginning) -> Self {
        let Beginning { mut config, fixed, key_values, overrides } = beginning;
        overrides.apply(&mut config);
        Self {
            config,
            fixed,
            started_ms: now_ms,
            scanned_ms: now_ms,
            brokers: Brokers::default(),
            topics: Topics::default(),
            kept: Kept::new(key_values, overrides),
        }
    }

    /// Brokers that are registered, topics that have a route, and whether routes are refused yet.
    pub fn figures(&self, now_ms: u64) -> (usize, usize, bool) {
        (self.brokers.len(), self.topics.len(), self.is_waiting(now_ms))
    }

    /// Whether `needWaitForService` keeps routes back.
    pub(crate) fn is_waiting(&self, now_ms: u64) -> bool {
        let runs_ms = now_ms.saturating_sub(self.started_ms);
        self.config.waits_for_service && runs_ms < self.config.wait_for_service_ms
    }

    /// Does what a request asks and appends the answer to `out`; a oneway request has none, and
    /// neither has a response, which nobody here waits for. One that sets something is answered by
    /// [`saved`](Self::saved).
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
        let asker = Asker::of(connection, command);
        let reply = match command.code {
            request::PUT_KV_CONFIG => self.put_key_value(asker, command),
            request::DELETE_KV_CONFIG => self.delete_key_value(asker, command),
            request::UPDATE_NAMESRV_CONFIG => self.update_settings(asker, peer, body),
            _ => self.dispatch(now_ms, connection, command, body).map(Some),
        };
        let reply = reply.unwrap_or_else(|refusal| {
            let Refusal { code, remark } = &refusal;
            tracing::debug!(%peer, request = command.code, code, remark, "refused");
            Some(Reply::from(refusal))
        });
        if let Some(reply) = reply.filter(|_| !asker.is_oneway) {
            reply.write(asker.opaque, asker.encoding, out);
        }
    }

    /// A file to be written; the next one is given out when the outcome of this is known.
    pub fn next_save(&mut self) -> Option<Save> {
        self.kept.next_save()
    }

    /// The outcome of a [`Save`], or why it failed. Returns the answers that waited for it.
    ///
    /// # Panics
    /// If no save was given out.
    pub fn saved(&mut self, outcome: Result<(), String>) -> Vec<Answer> {
        let (answers, changes_settings) = self.kept.saved(outcome);
        if changes_settings {
            self.kept.overrides.apply(&mut self.config);
        }
        answers
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
            request::GET_KV_CONFIG => self.key_value(command),
            request::GET_KVLIST_BY_NAMESPACE => self.key_values_of_namespace(command),
            request::GET_NAMESRV_CONFIG => Ok(self.settings()),
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

    /// Forgets brokers that have been silent for too long, at most once in a scan interval, and
    /// returns their connections, which are to be closed.
    pub fn tick(&mut self, now_ms: u64) -> Vec<ConnectionKey> {
        if self.tick_at_ms().is_none_or(|at_ms| now_ms < at_ms) {
            return Vec::new();
        }
        self.scanned_ms = now_ms;
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

    /// When to call [`tick`](Self::tick) next: not after something is due, perhaps before, because signs
    /// of life since the last look are not counted in. `None` without brokers.
    pub fn tick_at_ms(&self) -> Option<u64> {
        let scan_at_ms = self.scanned_ms.saturating_add(self.config.scan_interval_ms);
        self.brokers.expires_at_ms().map(|at_ms| at_ms.max(scan_at_ms))
    }
}

#[cfg(test)]
mod tests;
