//! Which broker serves the topic: created there if need be, asked of the NameServer or given.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proto::body::{BrokerData, ClusterInfo, TopicRouteData};
use proto::code::{request, response};
use serde::{Deserialize, Serialize};

use crate::arguments::Target;
use crate::control::Control;
use crate::error::Error;
use crate::wire::resolve;

/// How long a NameServer may take to learn of a topic that a broker created.
const ROUTE_SECONDS: u64 = 30;

/// How long to wait before the NameServer is asked again.
const ROUTE_PAUSE: Duration = Duration::from_millis(100);

/// Id of the master among the replicas of a broker name.
const MASTER: i64 = 0;

/// Where the load goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Route {
    pub address: SocketAddr,
    pub address_text: String,
    /// `None` if nobody told: requests then do not carry it.
    pub broker_name: Option<String>,
    pub queue_count: u32,
}

/// Finds the broker and creates the topic.
///
/// # Errors
/// Whatever prevents it.
pub fn find(target: &Target) -> Result<Route, Error> {
    match (&target.broker, &target.namesrv) {
        (Some(broker), _) => {
            if creates(target) {
                create_topics(broker, target)?;
            }
            Ok(Route {
                address: resolve(broker)?,
                address_text: broker.clone(),
                broker_name: target.broker_name.clone(),
                queue_count: target.queues,
            })
        }
        (None, Some(namesrv)) => of_namesrv(namesrv, target),
        (None, None) => unreachable!("clap requires one of them"),
    }
}

fn of_namesrv(namesrv: &str, target: &Target) -> Result<Route, Error> {
    let mut control = Control::connect(namesrv)?;
    if target.no_create {
        let first = target.topic_names().name(0);
        let reply = control.demand(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", &first)])?;
        let route = parse_route(namesrv, &reply.body)?;
        let broker = choose(route.broker_datas.iter(), namesrv, target)?;
        return queues_of(&route, broker).ok_or_else(|| Error::NotServed {
            topic: first,
            broker: broker.broker_name.clone(),
        })?;
    }
    let reply = control.demand(request::GET_BROKER_CLUSTER_INFO, &[])?;
    let cluster = ClusterInfo::parse(&reply.body).map_err(|error| Error::Incomplete {
        address: namesrv.to_owned(),
        request: "GET_BROKER_CLUSTER_INFO",
        missing: format!("a readable body: {error}"),
    })?;
    let broker = choose(cluster.broker_addr_table.values(), namesrv, target)?;
    let address_text = broker.broker_addrs[&MASTER].clone();
    if target.auto_create {
        return Ok(Route {
            address: resolve(&address_text)?,
            address_text,
            broker_name: Some(broker.broker_name.clone()),
            queue_count: target.queues,
        });
    }
    create_topics(&address_text, target)?;
    wait_for_route(&mut control, namesrv, target, broker)
}

/// Whether topics are created before anything is sent.
fn creates(target: &Target) -> bool {
    !target.no_create && !target.auto_create
}

/// The broker that was named, or the first one that has a master.
fn choose<'a>(
    mut brokers: impl Iterator<Item = &'a BrokerData>,
    namesrv: &str,
    target: &Target,
) -> Result<&'a BrokerData, Error> {
    let named = target.broker_name.as_deref();
    let is_meant = |broker: &&BrokerData| {
        named.is_none_or(|name| name == broker.broker_name)
            && broker.broker_addrs.contains_key(&MASTER)
    };
    brokers.find(is_meant).ok_or_else(|| Error::NoBroker {
        namesrv: namesrv.to_owned(),
        named: named.map_or(String::new(), |name| format!(" named {name} with a master")),
    })
}

/// One request for each topic, all over one connection.
fn create_topics(broker: &str, target: &Target) -> Result<(), Error> {
    let queues = target.queues.to_string();
    let mut control = Control::connect(broker)?;
    for topic in target.topic_names().each() {
        let ext = [
            ("topic", topic.as_str()),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        control.demand(request::UPDATE_AND_CREATE_TOPIC, &ext)?;
    }
    Ok(())
}

/// Waits for the route of the topic that was created last: those before it are known by then.
fn wait_for_route(
    control: &mut Control,
    namesrv: &str,
    target: &Target,
    broker: &BrokerData,
) -> Result<Route, Error> {
    let deadline = Instant::now() + Duration::from_secs(ROUTE_SECONDS);
    let names = target.topic_names();
    let last = names.name(names.count() - 1);
    let topic = [("topic", last.as_str())];
    while Instant::now() < deadline {
        let reply = control.call(request::GET_ROUTEINFO_BY_TOPIC, &topic)?;
        if reply.code == response::SUCCESS {
            let route = parse_route(namesrv, &reply.body)?;
            if let Some(route) = queues_of(&route, broker) {
                let route = route?;
                if route.queue_count == target.queues {
                    return Ok(route);
                }
            }
        }
        std::thread::sleep(ROUTE_PAUSE);
    }
    Err(Error::NoRoute {
        namesrv: namesrv.to_owned(),
        topic: last,
        queues: target.queues,
        broker: broker.broker_name.clone(),
        seconds: ROUTE_SECONDS,
    })
}

fn parse_route(namesrv: &str, body: &[u8]) -> Result<TopicRouteData, Error> {
    TopicRouteData::parse(body).map_err(|error| Error::Incomplete {
        address: namesrv.to_owned(),
        request: "GET_ROUTEINFO_BY_TOPIC",
        missing: format!("a readable body: {error}"),
    })
}

/// The route to the queues that a broker has of the topic, if it has any.
fn queues_of(route: &TopicRouteData, broker: &BrokerData) -> Option<Result<Route, Error>> {
    let name = &broker.broker_name;
    let queues = route.queue_datas.iter().find(|queues| &queues.broker_name == name)?;
    let queue_count = u32::try_from(queues.write_queue_nums).ok().filter(|count| *count > 0)?;
    let address_text = broker.broker_addrs[&MASTER].clone();
    Some(resolve(&address_text).map(|address| Route {
        address,
        address_text,
        broker_name: Some(name.clone()),
        queue_count,
    }))
}
