//! Requests as frames, answers as values; Apache's own frames; brokers that come and go at random.

mod admin;
mod golden;
mod kept;
mod model;
mod register;
mod route;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use proto::body::{
    ClusterInfo, DataVersion, KVTable, RegisterBrokerBody, TopicConfig, TopicList,
    TopicQueueMappingInfo, TopicRouteData,
};
use proto::command::{Command, FLAG_ONEWAY};
use proto::frame::{Encoding, Frame, Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use proto::record::body_crc;
use proto::reply::{RequestHead, write_request};

use super::*;

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40000);

/// Every broker's replication address.
const HA_ADDRESS: &str = "127.0.0.1:1";

/// When every broker's topics changed last.
const CHANGED_MS: i64 = 1_690_000_000_000;

/// A NameServer, its disk, the time, and a client that sets what a request has besides its fields.
struct Desk {
    server: NameServer,
    /// What was saved last: key-values and settings. `disk_error` keeps the rest from it.
    disk: (Vec<u8>, Vec<u8>),
    disk_error: Option<&'static str>,
    now_ms: u64,
    connection: ConnectionKey,
    version: i32,
}

/// An answer, taken out of its frame.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reply {
    code: i32,
    remark: Option<String>,
    ext: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// What a broker says of itself.
#[derive(Debug, Clone)]
struct Visitor {
    cluster: &'static str,
    name: &'static str,
    id: i64,
    address: &'static str,
    acting_master: Option<bool>,
    state_version: i64,
    counter: i64,
    perm: i32,
    queue_count: i32,
    topics: Vec<&'static str>,
}

/// Master of broker `a`, with two topics.
fn master() -> Visitor {
    Visitor {
        cluster: "C",
        name: "a",
        id: 0,
        address: "a0:1",
        acting_master: Some(false),
        state_version: 0,
        counter: 1,
        perm: 6,
        queue_count: 4,
        topics: vec!["T", "U"],
    }
}

fn slave() -> Visitor {
    Visitor { id: 1, address: "a1:1", ..master() }
}

/// An answer's number and what it says.
fn read(answer: &[u8]) -> (i32, Reply) {
    let frame = frame_of(answer);
    let command = Command::decode(&frame).unwrap();
    assert!(command.is_response());
    let text = |text: proto::text::Text<'_>| text.to_cow().into_owned();
    let reply = Reply {
        code: command.code,
        remark: command.remark.map(text),
        ext: command.ext.iter().map(|(key, value)| (text(key), text(value))).collect(),
        body: frame.body.to_vec(),
    };
    (command.opaque, reply)
}

fn frame_of(bytes: &[u8]) -> Frame<'_> {
    match scan(bytes, FRAME_BYTES_MAX) {
        Ok(Scan::Frame { frame, size_bytes }) if size_bytes == bytes.len() => frame,
        other => panic!("{other:?}"),
    }
}

impl Desk {
    fn new() -> Self {
        Self::with(NameServerConfig::default())
    }

    fn with(config: NameServerConfig) -> Self {
        let now_ms = 1_000_000;
        let server = NameServer::new(now_ms, Beginning { config, ..Beginning::default() });
        let version = proto::version::CURRENT;
        let disk = Default::default();
        Self { server, disk, disk_error: None, now_ms, connection: ConnectionKey(1), version }
    }

    /// As a new process over the same files.
    fn restart(&mut self) {
        let (key_values, overrides) = &self.disk;
        let key_values = match key_values.as_slice() {
            b"" => KeyValues::default(),
            bytes => KeyValues::parse(bytes).unwrap(),
        };
        let overrides = Overrides::parse(overrides).unwrap();
        let beginning = Beginning { key_values, overrides, ..Beginning::default() };
        self.server = NameServer::new(self.now_ms, beginning);
    }

    /// Writes what is to be written, and gives the answers that waited for it.
    fn save(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(Save { file, content }) = self.server.next_save() {
            let outcome = self.disk_error.map_or(Ok(()), |error| Err(error.to_owned()));
            match (&outcome, file) {
                (Err(_), _) => {}
                (Ok(()), KeptFile::KeyValues) => self.disk.0 = content,
                (Ok(()), KeptFile::Settings) => self.disk.1 = content,
            }
            answers.extend(self.server.saved(outcome));
        }
        answers
    }

    fn send(&mut self, code: i32, flag: i32, ext: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut out = self.post(code, 7, flag, ext, body);
        for answer in self.save() {
            assert_eq!(answer.connection, self.connection);
            out.extend(answer.frame);
        }
        out
    }

    /// Sends, and saves nothing.
    fn post(
        &mut self,
        code: i32,
        opaque: i32,
        flag: i32,
        ext: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<u8> {
        let mut request = Vec::new();
        let head = RequestHead { code, opaque, flag };
        write_request(&mut request, Encoding::Json, &head, Some(ext), body);
        let frame = frame_of(&request);
        let mut command = Command::decode(&frame).unwrap();
        command.version = self.version;
        let mut out = Vec::new();
        self.server.handle(self.now_ms, self.connection, PEER, &command, frame.body, &mut out);
        self.server.brokers.assert_consistent();
        self.server.topics.assert_consistent();
        out
    }

    fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Reply {
        let (opaque, reply) = read(&self.send(code, 0, ext, body));
        assert_eq!(opaque, 7);
        reply
    }

    fn register(&mut self, visitor: &Visitor) -> Reply {
        self.register_body(visitor, &visitor.body())
    }

    fn register_body(&mut self, visitor: &Visitor, registration: &RegisterBrokerBody) -> Reply {
        let mut body = Vec::new();
        registration.write(&mut body);
        let id = visitor.id.to_string();
        let crc = body_crc(&body).to_string();
        let mut ext = vec![
            ("brokerName", visitor.name),
            ("brokerAddr", visitor.address),
            ("clusterName", visitor.cluster),
            ("haServerAddr", HA_ADDRESS),
            ("brokerId", id.as_str()),
            ("bodyCrc32", crc.as_str()),
        ];
        if let Some(acting_master) = visitor.acting_master {
            ext.push(("enableActingMaster", if acting_master { "true" } else { "false" }));
        }
        self.ask(request::REGISTER_BROKER, &ext, &body)
    }

    fn unregister(&mut self, visitor: &Visitor) -> Reply {
        let id = visitor.id.to_string();
        let ext = [
            ("brokerName", visitor.name),
            ("brokerAddr", visitor.address),
            ("clusterName", visitor.cluster),
            ("brokerId", id.as_str()),
        ];
        self.ask(request::UNREGISTER_BROKER, &ext, b"")
    }

    fn close(&mut self, connection: ConnectionKey) {
        self.server.connection_closed(self.now_ms, connection);
    }

    fn route(&mut self, topic: &str) -> Option<TopicRouteData> {
        let answer = self.ask(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)], b"");
        match answer.code {
            0 => Some(TopicRouteData::parse(&answer.body).unwrap()),
            17 => None,
            other => panic!("{other}: {:?}", answer.remark),
        }
    }

    /// The route of a topic in short: `broker perm id=address …`, joined by `;`.
    fn shown(&mut self, topic: &str) -> String {
        let Some(route) = self.route(topic) else { return "none".to_owned() };
        let brokers = route.queue_datas.iter().map(|queues| {
            let mut brokers = route.broker_datas.iter();
            let broker = brokers.find(|broker| broker.broker_name == queues.broker_name);
            let broker = broker.unwrap();
            let addresses = broker.broker_addrs.iter().map(|(id, addr)| format!(" {id}={addr}"));
            format!("{} {}{}", queues.broker_name, queues.perm, addresses.collect::<String>())
        });
        brokers.collect::<Vec<_>>().join("; ")
    }

    fn topics(&mut self) -> String {
        let answer = self.ask(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, &[], b"");
        let list = TopicList::parse(&answer.body).unwrap().topic_list;
        list.into_iter().collect::<Vec<_>>().join(" ")
    }
}

impl Visitor {
    fn body(&self) -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        let (counter, state_version) = (self.counter, self.state_version);
        wrapper.data_version = DataVersion { counter, state_version, timestamp: CHANGED_MS };
        for topic in &self.topics {
            let topic_name = (*topic).to_owned();
            let config = TopicConfig {
                topic_name,
                perm: self.perm,
                read_queue_nums: self.queue_count,
                write_queue_nums: self.queue_count,
                ..TopicConfig::default()
            };
            wrapper.topic_config_table.insert((*topic).to_owned(), config);
        }
        body
    }
}

/// Success without anything.
fn done() -> Reply {
    Reply::default()
}

fn refused(code: i32, remark: &str) -> Reply {
    Reply { code, remark: Some(remark.to_owned()), ..Reply::default() }
}
