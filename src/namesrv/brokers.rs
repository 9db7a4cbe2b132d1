//! Which brokers there are, where, and since when they have been silent.
//! Owns: brokers by name, clusters, live registrations. Lives on: the NameServer's thread.
//! Kind: machine
//! Invariants:
//! - a broker has at least one address, and its name is in exactly one cluster's set;
//! - an address of a broker stands under one id, and is live under that name, so that it expires;
//! - a cluster in the table has at least one broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::body::{BrokerData, DataVersion};

use super::ConnectionKey;

/// The id of a master (`MixAll.MASTER_ID`).
pub(super) const MASTER_ID: i64 = 0;

/// The replicas of one broker name: Apache's `BrokerData`.
#[derive(Debug, Clone, Default)]
pub(super) struct Broker {
    pub(super) cluster: String,
    pub(super) addresses: BTreeMap<i64, String>,
    pub(super) zone: Option<String>,
    pub(super) acting_master: bool,
}

/// What a registration is known by: Apache's `BrokerAddrInfo`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) cluster: String,
    pub(super) address: String,
}

/// A registration that has not expired: Apache's `BrokerLiveInfo`.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) broker: Arc<str>,
    pub(super) last_ms: u64,
    pub(super) timeout_ms: u64,
    pub(super) version: DataVersion,
    pub(super) connection: ConnectionKey,
    pub(super) ha_address: String,
    /// Brokers before 5.0 could have some (`filterServerNums`).
    pub(super) filter_servers: Vec<String>,
}

/// What a departure did to a broker name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// No replica is left, and the name is gone.
    Nobody,
    /// Others are left.
    Replicas,
}

/// The tables; see the module's invariants.
#[derive(Debug, Default)]
pub(super) struct Brokers {
    by_name: BTreeMap<Arc<str>, Broker>,
    clusters: BTreeMap<String, BTreeSet<Arc<str>>>,
    live: BTreeMap<Place, Live>,
    /// Not after the first of them expires; perhaps before, because signs of life do not move it.
    expires_at_ms: Option<u64>,
    /// Some replica came with filter servers, once. Without, routes need not look for any.
    had_filter_servers: bool,
}

impl Broker {
    /// As it stands in a route.
    pub(super) fn data(&self, name: &str) -> BrokerData {
        BrokerData {
            broker_addrs: self.addresses.clone(),
            broker_name: name.to_owned(),
            cluster: self.cluster.clone(),
            enable_acting_master: self.acting_master,
            zone_name: self.zone.clone(),
        }
    }

    pub(super) fn has_master(&self) -> bool {
        self.addresses.contains_key(&MASTER_ID)
    }
}

impl Live {
    /// The first moment at which it has been silent for longer than its timeout.
    fn expires_at_ms(&self) -> u64 {
        self.last_ms.saturating_add(self.timeout_ms).saturating_add(1)
    }
}

impl Brokers {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Broker> {
        self.by_name.get(name)
    }

    /// Every broker, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &Broker)> {
        self.by_name.iter()
    }

    /// The names in each cluster.
    pub(super) fn clusters(&self) -> &BTreeMap<String, BTreeSet<Arc<str>>> {
        &self.clusters
    }

    /// The shared copy of a name, new if it is not known.
    pub(super) fn shared_name(&self, name: &str) -> Arc<str> {
        self.by_name.get_key_value(name).map_or_else(|| Arc::from(name), |(name, _)| name.clone())
    }

    /// Stores a broker as a registration left it.
    pub(super) fn put(&mut self, name: &Arc<str>, broker: Broker) {
        assert!(!broker.addresses.is_empty());
        let names = self.clusters.entry(broker.cluster.clone()).or_default();
        names.insert(name.clone());
        self.by_name.insert(name.clone(), broker);
    }

    pub(super) fn live(&self, place: &Place) -> Option<&Live> {
        self.live.get(place)
    }

    pub(super) fn set_live(&mut self, place: Place, live: Live) {
        let at_ms = live.expires_at_ms();
        self.expires_at_ms = Some(self.expires_at_ms.map_or(at_ms, |first| first.min(at_ms)));
        self.had_filter_servers |= !live.filter_servers.is_empty();
        self.live.insert(place, live);
    }

    /// When to look for silent ones next; `None` if nobody is live.
    pub(super) fn expires_at_ms(&self) -> Option<u64> {
        self.expires_at_ms
    }

    /// Address and filter servers of those replicas that have some.
    pub(super) fn filter_servers(&self, broker: &Broker) -> Vec<(String, Vec<String>)> {
        if !self.had_filter_servers {
            return Vec::new();
        }
        let place =
            |address: &String| Place { cluster: broker.cluster.clone(), address: address.clone() };
        let servers = broker.addresses.values().filter_map(|address| {
            let live = self.live.get(&place(address))?;
            Some((address.clone(), live.filter_servers.clone()))
        });
        servers.filter(|(_, servers)| !servers.is_empty()).collect()
    }

    pub(super) fn forget_live(&mut self, place: &Place) {
        self.live.remove(place);
    }

    /// Notes a sign of life, if the broker is known.
    pub(super) fn touch(&mut self, place: &Place, now_ms: u64) {
        if let Some(live) = self.live.get_mut(place) {
            live.last_ms = now_ms;
        }
    }

    /// Registrations that came over this connection.
    pub(super) fn of_connection(&self, key: ConnectionKey) -> Vec<(Place, Arc<str>)> {
        let lives = self.live.iter().filter(|(_, live)| live.connection == key);
        lives.map(|(place, live)| (place.clone(), live.broker.clone())).collect()
    }

    /// Registrations that have been silent for longer than their timeout, and their connections.
    pub(super) fn expired(&mut self, now_ms: u64) -> Vec<(Place, Arc<str>, ConnectionKey)> {
        let is_silent = |live: &Live| live.expires_at_ms() <= now_ms;
        let others = self.live.values().filter(|live| !is_silent(live));
        self.expires_at_ms = others.map(Live::expires_at_ms).min();
        let lives = self.live.iter().filter(|(_, live)| is_silent(live));
        lives.map(|(place, live)| (place.clone(), live.broker.clone(), live.connection)).collect()
    }

    /// Takes an address out of a broker name; `None` if the name is unknown.
    pub(super) fn remove(&mut self, place: &Place, name: &str) -> Option<Left> {
        // What is live under another name must stay, or that name would never expire.
        if self.live.get(place).is_some_and(|live| *live.broker == *name) {
            self.live.remove(place);
        }
        let broker = self.by_name.get_mut(name)?;
        broker.addresses.retain(|_, address| *address != place.address);
        if !broker.addresses.is_empty() {
            return Some(Left::Replicas);
        }
        let broker = self.by_name.remove(name)?;
        let names = self.clusters.get_mut(&broker.cluster)?;
        names.remove(name);
        if names.is_empty() {
            self.clusters.remove(&broker.cluster);
        }
        Some(Left::Nobody)
    }

    /// Checks the module's invariants.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        let in_clusters: usize = self.clusters.values().map(BTreeSet::len).sum();
        assert_eq!(in_clusters, self.by_name.len());
        for (name, broker) in &self.by_name {
            assert!(self.clusters.get(&broker.cluster).unwrap().contains(name));
            let distinct: BTreeSet<_> = broker.addresses.values().collect();
            assert!(!distinct.is_empty());
            assert_eq!(distinct.len(), broker.addresses.len());
            for address in distinct {
                let mut lives = self.live.iter();
                assert!(
                    lives.any(|(place, live)| place.address == *address && live.broker == *name)
                );
            }
        }
    }
}
