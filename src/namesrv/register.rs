//! A broker comes (103), says that it is still there (322, 904), or leaves (104, silence, a closed
//! connection).
//! Kind: machine

use std::sync::Arc;

use proto::body::{
    DataVersion, KVTable, RegisterBrokerBody, TopicConfigAndMappingSerializeWrapper,
};
use proto::command::Command;
use proto::header::{QueryDataVersionHeader, RegisterBrokerHeader, UnregisterBrokerHeader};
use proto::names::ORDER_TOPIC_CONFIG;
use proto::record::body_crc;
use proto::text::Text;

use super::brokers::{Broker, Left, Live, MASTER_ID, Place};
use super::limits::{
    BROKER_EXPIRED_MS, BROKER_EXPIRED_MS_MAX, BROKER_NAMES_MAX, FILTER_SERVERS_MAX,
    MAPPED_QUEUES_MAX, MAPPINGS_MAX, NAME_BYTES_MAX, REPLICAS_MAX, ROUTES_MAX, TOPIC_BYTES_MAX,
    TOPICS_MAX,
};
use super::reply::{Refusal, Reply, bounded, required};
use super::topics::{Queues, without_write};
use super::{ConnectionKey, NameServer};

/// A registration, its texts taken out of the frame.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) id: i64,
    pub(super) ha_address: String,
    pub(super) zone: Option<String>,
    pub(super) timeout_ms: u64,
    /// `None` from brokers that do not know of it.
    pub(super) acting_master: Option<bool>,
    pub(super) topics: TopicConfigAndMappingSerializeWrapper,
    pub(super) filter_servers: Vec<String>,
}

/// What becomes of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// It holds; a slave is told its master, if that lives.
    Registered(Option<Master>),
    /// Another address holds the id with a later state; the newcomer is answered as if all were
    /// well, and forgotten.
    Outrun,
    /// One topic from a broker that is not registered: a change that came before the whole.
    Premature,
}

/// What a slave needs of its master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Master {
    pub(super) address: String,
    pub(super) ha_address: String,
}

impl NameServer {
    /// 103, `DefaultRequestProcessor.registerBroker`.
    pub(super) fn register_broker(
        &mut self,
        now_ms: u64,
        connection: ConnectionKey,
        command: &Command<'_>,
        body: &[u8],
    ) -> Result<Reply, Refusal> {
        let header = RegisterBrokerHeader::parse(command)?;
        if header.body_crc32 != 0 && i64::from(header.body_crc32) != i64::from(body_crc(body)) {
            return Ok(Reply::failed_with_header(Refusal::system_error("crc32 not match")));
        }
        let body = RegisterBrokerBody::parse_request(body, header.compressed, command.version)?;
        let registration = Registration::read(&header, body)?;
        let master = match self.admit(now_ms, connection, registration)? {
            Admission::Registered(master) => master,
            Admission::Outrun => None,
            Admission::Premature => {
                let refusal = Refusal::system_error("register broker failed");
                return Ok(Reply::failed_with_header(refusal));
            }
        };
        let ext = master.map_or_else(Vec::new, |master| {
            vec![("haServerAddr", master.ha_address), ("masterAddr", master.address)]
        });
        let mut reply = Reply::with_ext(ext);
        if self.config.order_to_brokers
            && let Some(keys) = self.kept.key_values.namespace(ORDER_TOPIC_CONFIG)
        {
            KVTable { table: keys.clone() }.write(&mut reply.body);
        }
        Ok(reply)
    }

    /// `RouteInfoManager.registerBroker`. Two differences: a registration that is not accepted
    /// leaves no empty broker name behind, and an address that comes back under another name is
    /// taken from the old one, which nothing else would ever expire.
    pub(super) fn admit(
        &mut self,
        now_ms: u64,
        connection: ConnectionKey,
        registration: Registration,
    ) -> Result<Admission, Refusal> {
        let Registration { place, id, topics, .. } = &registration;
        let id = *id;
        let known = self.brokers.get(&registration.name).cloned();
        let mut addresses =
            known.as_ref().map(|broker| broker.addresses.clone()).unwrap_or_default();

        // A slave that became master, or the reverse: an address has one id.
        addresses.retain(|other, address| *other == id || *address != place.address);
        if let Some(rival) = addresses.get(&id).filter(|address| **address != place.address) {
            let rival = Place { cluster: place.cluster.clone(), address: rival.clone() };
            let new = topics.data_version.state_version;
            if self.brokers.live(&rival).is_some_and(|live| live.version.state_version > new) {
                let known = known.expect("a rival has the same name");
                let name = self.brokers.shared_name(&registration.name);
                self.brokers.put(&name, Broker { addresses, ..known });
                self.leave_other_name(place, &name);
                self.brokers.forget_live(place);
                return Ok(Admission::Outrun);
            }
        }
        if !addresses.contains_key(&id) && topics.topic_config_table.len() == 1 {
            return Ok(Admission::Premature);
        }
        let replicas = addresses.len() + usize::from(!addresses.contains_key(&id));
        self.keep_limits(&registration, replicas)?;

        self.leave_other_name(place, &registration.name);
        let name = self.brokers.shared_name(&registration.name);
        let is_first = addresses.insert(id, place.address.clone()).is_none_or(|old| old.is_empty());
        let broker = Broker {
            // The cluster of a name is that of its first registration, as at Apache.
            cluster: known.map_or_else(|| place.cluster.clone(), |broker| broker.cluster),
            addresses,
            zone: registration.zone.clone(),
            acting_master: registration.acting_master.unwrap_or(false),
        };
        if is_first {
            tracing::info!(broker = %name, id, address = place.address, "broker registered");
        }
        self.store_topics(&name, &broker, &registration, is_first);
        let master = master_of(self, &broker, &registration);
        self.brokers.put(&name, broker);
        self.brokers.set_live(
            registration.place,
            Live {
                broker: name,
                last_ms: now_ms,
                timeout_ms: registration.timeout_ms,
                version: registration.topics.data_version,
                connection,
                ha_address: registration.ha_address,
                filter_servers: registration.filter_servers,
            },
        );
        Ok(Admission::Registered(master))
    }

    /// What was registered at this address under another name is no more.
    fn leave_other_name(&mut self, place: &Place, name: &str) {
        let old_name = self.brokers.live(place).map(|live| live.broker.clone());
        if let Some(old_name) = old_name.filter(|old_name| **old_name != *name) {
            self.depart([(place.clone(), old_name)]);
        }
    }

    /// Whether all of it has room, asked before any of it is stored.
    fn keep_limits(&self, registration: &Registration, replicas: usize) -> Result<(), Refusal> {
        let name = registration.name.as_str();
        if self.brokers.get(name).is_none() && self.brokers.len() >= BROKER_NAMES_MAX {
            return Err(Refusal::full("broker names", BROKER_NAMES_MAX));
        }
        if replicas > REPLICAS_MAX {
            return Err(Refusal::full("replicas of a broker", REPLICAS_MAX));
        }
        let (mut topics, mut routes) = (self.topics.len(), self.topics.route_count());
        for topic in registration.topics.topic_config_table.values() {
            topics += usize::from(self.topics.get(&topic.topic_name).is_none());
            routes += usize::from(!self.topics.is_served_by(&topic.topic_name, name));
        }
        if topics > TOPICS_MAX {
            return Err(Refusal::full("topics", TOPICS_MAX));
        }
        if routes > ROUTES_MAX {
            return Err(Refusal::full("pairs of topic and broker", ROUTES_MAX));
        }
        let mappings = &registration.topics.topic_queue_mapping_info_map;
        if mappings.values().any(|mapping| mapping.curr_id_map.len() > MAPPED_QUEUES_MAX) {
            return Err(Refusal::full("queues of a static topic", MAPPED_QUEUES_MAX));
        }
        // Counted only for whoever brings some: static topics are rare.
        if !mappings.is_empty() && self.topics.mapping_count() + mappings.len() > MAPPINGS_MAX {
            return Err(Refusal::full("mappings of static topics", MAPPINGS_MAX));
        }
        Ok(())
    }

    /// Takes over the topics of a master, or of the replica that stands in for it.
    fn store_topics(
        &mut self,
        name: &Arc<str>,
        broker: &Broker,
        registration: &Registration,
        is_first: bool,
    ) {
        let id = registration.id;
        let is_smallest = broker.addresses.keys().next() == Some(&id);
        let stands_in = id != MASTER_ID && registration.acting_master.is_some() && is_smallest;
        if id != MASTER_ID && !stands_in {
            return;
        }
        let topics = &registration.topics;
        let mappings = &topics.topic_queue_mapping_info_map;
        if self.config.registration_deletes_topics && mappings.is_empty() {
            let table = &topics.topic_config_table;
            self.topics.retain(|topic, other| other != name || table.contains_key(topic));
        }
        let is_new = is_first || self.is_changed(&registration.place, Some(topics.data_version));
        for topic in topics.topic_config_table.values() {
            if !is_new && self.topics.is_served_by(&topic.topic_name, name) {
                continue;
            }
            let reads_only = stands_in && broker.acting_master;
            let queues = Queues {
                read_count: topic.read_queue_nums,
                write_count: topic.write_queue_nums,
                perm: if reads_only { without_write(topic.perm) } else { topic.perm },
                sys_flag: topic.topic_sys_flag,
            };
            self.topics.put(&topic.topic_name, name, queues);
        }
        if is_new {
            for (topic, mapping) in mappings {
                self.topics.put_mapping(topic, name, mapping);
            }
        }
    }

    /// `isBrokerTopicConfigChanged`: whether what we hold of a broker is of another version.
    fn is_changed(&self, place: &Place, version: Option<DataVersion>) -> bool {
        match self.brokers.live(place) {
            Some(live) => Some(live.version) != version,
            None => true,
        }
    }

    /// 104. Done at once, where Apache's goes through a queue.
    pub(super) fn unregister_broker(&mut self, command: &Command<'_>) -> Result<Reply, Refusal> {
        let header = UnregisterBrokerHeader::parse(command)?;
        let place = place(header.cluster_name, header.broker_addr)?;
        let name = bounded(header.broker_name, "brokerName", NAME_BYTES_MAX)?;
        let name = self.brokers.shared_name(&name);
        self.depart([(place, name)]);
        Ok(Reply::done())
    }

    /// 322: whether the broker has to register again; also a sign of life.
    pub(super) fn query_data_version(
        &mut self,
        now_ms: u64,
        command: &Command<'_>,
        body: &[u8],
    ) -> Result<Reply, Refusal> {
        let header = QueryDataVersionHeader::parse(command)?;
        let place = place(header.cluster_name, header.broker_addr)?;
        let version = if body.is_empty() { None } else { Some(DataVersion::parse(body)?) };
        let is_changed = self.is_changed(&place, version);
        self.brokers.touch(&place, now_ms);
        let mut reply = Reply::with_ext(vec![("changed", is_changed.to_string())]);
        if let Some(live) = self.brokers.live(&place) {
            live.version.write(&mut reply.body);
        }
        Ok(reply)
    }

    /// 904: a sign of life; an unknown broker is answered in the same way.
    pub(super) fn broker_heartbeat(
        &mut self,
        now_ms: u64,
        command: &Command<'_>,
    ) -> Result<Reply, Refusal> {
        let cluster = required(command, "clusterName", NAME_BYTES_MAX)?;
        let address = required(command, "brokerAddr", NAME_BYTES_MAX)?;
        required(command, "brokerName", NAME_BYTES_MAX)?;
        self.brokers.touch(&Place { cluster, address }, now_ms);
        Ok(Reply::done())
    }

    /// `RouteInfoManager.unRegisterBroker`, for any number of registrations with one walk over
    /// the topics.
    pub(super) fn depart(&mut self, leaving: impl IntoIterator<Item = (Place, Arc<str>)>) {
        let (mut gone, mut read_only) = (Vec::new(), Vec::new());
        for (place, name) in leaving {
            match self.brokers.remove(&place, &name) {
                Some(Left::Nobody) => {
                    tracing::info!(broker = %name, address = place.address, "broker is gone");
                    gone.push(name);
                }
                Some(Left::Replicas) => {
                    tracing::info!(broker = %name, address = place.address, "replica is gone");
                    read_only.push(name);
                }
                None => {}
            }
        }
        if !gone.is_empty() {
            self.topics.retain(|_, broker| !gone.contains(broker));
        }
        for name in read_only {
            let has_no_master = |broker: &Broker| broker.acting_master && !broker.has_master();
            if self.brokers.get(&name).is_some_and(has_no_master) {
                self.topics.change_perm(&name, without_write);
            }
        }
    }
}

impl Registration {
    fn read(header: &RegisterBrokerHeader<'_>, body: RegisterBrokerBody) -> Result<Self, Refusal> {
        let mut topics = body.topic_config_serialize_wrapper;
        for (key, topic) in &mut topics.topic_config_table {
            // Apache goes by the name in the configuration, which its brokers never leave out.
            if topic.topic_name.is_empty() {
                topic.topic_name.clone_from(key);
            }
            bounded(Text::plain(topic.topic_name.as_bytes()), "topicName", TOPIC_BYTES_MAX)?;
        }
        let filter_servers = body.filter_server_list;
        if filter_servers.len() > FILTER_SERVERS_MAX {
            return Err(Refusal::full("filter servers of a broker", FILTER_SERVERS_MAX));
        }
        for server in &filter_servers {
            bounded(Text::plain(server.as_bytes()), "filterServerList", NAME_BYTES_MAX)?;
        }
        let timeout_ms = header.heartbeat_timeout_ms.map_or(BROKER_EXPIRED_MS, |timeout_ms| {
            u64::try_from(timeout_ms).unwrap_or(0).min(BROKER_EXPIRED_MS_MAX)
        });
        let zone = header.zone_name.map(|zone| bounded(zone, "__ZONE_NAME", NAME_BYTES_MAX));
        Ok(Self {
            place: place(header.cluster_name, header.broker_addr)?,
            name: bounded(header.broker_name, "brokerName", NAME_BYTES_MAX)?,
            id: header.broker_id,
            ha_address: bounded(header.ha_server_addr, "haServerAddr", NAME_BYTES_MAX)?,
            zone: zone.transpose()?,
            timeout_ms,
            acting_master: header.enable_acting_master,
            topics,
            filter_servers,
        })
    }
}

fn place(cluster: Text<'_>, address: Text<'_>) -> Result<Place, Refusal> {
    Ok(Place {
        cluster: bounded(cluster, "clusterName", NAME_BYTES_MAX)?,
        address: bounded(address, "brokerAddr", NAME_BYTES_MAX)?,
    })
}

/// The master of a slave, if it has registered and has not expired.
fn master_of(server: &NameServer, broker: &Broker, registration: &Registration) -> Option<Master> {
    if registration.id == MASTER_ID {
        return None;
    }
    let address = broker.addresses.get(&MASTER_ID)?.clone();
    let place = Place { cluster: registration.place.cluster.clone(), address };
    let live = server.brokers.live(&place)?;
    Some(Master { address: place.address, ha_address: live.ha_address.clone() })
}
