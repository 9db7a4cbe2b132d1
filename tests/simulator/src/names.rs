//! A NameServer beside the broker, on a machine and clock of its own: the real loop over simulated sockets.
//! The broker registers, its connection breaks or goes silent, time passes, the NameServer restarts; the
//! auditor asks for routes.
//!
//! What must hold: a broker that registered is shown with the queues that it said, for as long as its
//! connection lasts and its registrations come in time; one that left, whose connection closed or that was
//! silent for longer than its timeout is not; a table that changed has another version.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fastrand::Rng;
use proto::body::{DataVersion, TopicConfig, TopicRouteData};
use proto::code::{request, response};
use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use proto::reply::{RequestHead, write_request};
use ringmq::broker::registration::{BrokerIdentity, write_registration, write_unregistration};
use ringmq::namesrv::Beginning;
use ringmq::namesrv::limits::BROKER_EXPIRED_MS;
use ringmq::server::name_server::{ConnectionLimits, Loop};
use runtime::clock::Now;
use runtime::{ConnectionId, Ring};

use crate::disk::Crash;
use crate::ring::SimRing;
use crate::world::{Finding, Life, World};

/// How late a NameServer may notice silence, ms: its scan's interval, and what `audit` lets pass before.
const NOTICED_MS: u64 = 5_000 + 2_000;

/// Connections that ask nothing are closed, ms. Longer than a registration lasts.
const IDLE_MS: u64 = 4 * BROKER_EXPIRED_MS;

/// Steps until an answer must be there.
const STEPS_MAX: u32 = 1_000;

/// What the broker calls itself.
const BROKER: &str = "sim";

/// Queues of each topic.
type Table = BTreeMap<String, i32>;

/// A connection to the NameServer and what is asked on it.
#[derive(Debug)]
struct Link {
    connection: ConnectionId,
    received: Vec<u8>,
    opaque: i32,
}

/// What a NameServer was told and answered.
#[derive(Debug)]
struct Told {
    table: Table,
    at_ms: u64,
}

/// See the module's first lines.
pub struct Names {
    server: Loop<SimRing>,
    now: Now,
    /// The broker's connection, kept between registrations.
    registrar: Option<Link>,
    /// The last registration that was answered, while its connection lasts.
    told: Option<Told>,
    /// Since when nobody keeps the registration alive, though the NameServer was not told.
    silent_since_ms: Option<u64>,
    /// The newest table that was sent, and its version.
    sent: Option<(Table, DataVersion)>,
}

impl Names {
    /// A NameServer that knows nobody.
    pub fn new() -> Names {
        let now = Now { wall_ms: 1_795_341_911_000, monotonic_ns: 7_000_000_000 };
        Names {
            server: server(now),
            now,
            registrar: None,
            told: None,
            silent_since_ms: None,
            sent: None,
        }
    }

    /// The broker's process or machine ended. A machine without power says nothing to anybody.
    pub fn broker_ends(&mut self, crash: Crash, rng: &mut Rng) {
        if crash == Crash::Power && rng.bool() {
            self.go_silent();
        } else {
            self.hang_up();
        }
    }

    fn go_silent(&mut self) {
        self.registrar = None;
        self.silent_since_ms = self.told.as_ref().map(|told| told.at_ms);
    }

    fn hang_up(&mut self) {
        if let Some(link) = self.registrar.take() {
            self.server.ring().client_closes(link.connection, None);
            // A registration over another connection, gone silent before, is not ended by this.
            if self.silent_since_ms.is_none() {
                self.told = None;
            }
        }
    }

    /// Something happens.
    fn live(&mut self, rng: &mut Rng, tables: impl Fn() -> Tables) -> Result<(), Finding> {
        match rng.u16(..400) {
            0 => self.pass(rng.u64(..2 * BROKER_EXPIRED_MS)),
            1..40 => self.pass(rng.u64(..20_000)),
            40..140 => self.register(rng, &tables())?,
            140..146 => self.hang_up(),
            146..150 => self.go_silent(),
            150..152 => {
                *self = Names { now: self.now, sent: self.sent.take(), ..Names::new() };
                self.server = server(self.now);
            }
            152..200 => self.audit(rng)?,
            _ => self.pass(rng.u64(..100)),
        }
        self.turn(rng)
    }

    fn turn(&mut self, rng: &mut Rng) -> Result<(), Finding> {
        self.server.ring().deliver(rng);
        self.server.step(self.now).map_err(|error| error.to_string())?;
        Ok(())
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic_ns += ms * 1_000_000;
        self.now.wall_ms += ms;
    }

    fn connect(&mut self) -> Link {
        let peer = SocketAddr::from(([127, 0, 0, 1], 2));
        let connection = self.server.ring().connect(peer, 1 << 26).expect("it listens");
        Link { connection, received: Vec::new(), opaque: 0 }
    }

    /// Asks and waits: code and body of the answer; `None`: the connection is gone.
    fn ask(
        &mut self,
        rng: &mut Rng,
        link: &mut Link,
        bytes: &[u8],
    ) -> Result<Option<(i32, Vec<u8>)>, Finding> {
        self.server.ring().client_writes(link.connection, bytes);
        for _ in 0..STEPS_MAX {
            self.turn(rng)?;
            match self.server.ring().client_reads(link.connection) {
                Some(bytes) => link.received.extend_from_slice(&bytes),
                None => return Ok(None),
            }
            let Ok(Scan::Frame { frame, size_bytes }) = scan(&link.received, FRAME_BYTES_MAX)
            else {
                continue;
            };
            let command = Command::decode(&frame).map_err(|error| error.to_string())?;
            if command.opaque != link.opaque {
                return Err(format!("the NameServer answers {}", command.opaque));
            }
            let answer = (command.code, frame.body.to_vec());
            link.received.drain(..size_bytes);
            return Ok(Some(answer));
        }
        Err("the NameServer does not answer".to_owned())
    }

    fn register(&mut self, rng: &mut Rng, tables: &Tables) -> Result<(), Finding> {
        let table: Table = tables
            .topics
            .iter()
            .map(|topic| (topic.topic_name.clone(), topic.write_queue_nums))
            .collect();
        if let Some((before, version)) = &self.sent
            && *before != table
            && *version == tables.version
        {
            return Err(format!("the topics changed, their version did not: {version:?}"));
        }
        self.sent = Some((table.clone(), tables.version));
        let mut link = match self.registrar.take() {
            Some(link) => link,
            None => self.connect(),
        };
        link.opaque += 1;
        let mut bytes = Vec::new();
        let identity = identity();
        write_registration(&mut bytes, &identity, link.opaque, &tables.topics, tables.version);
        match self.ask(rng, &mut link, &bytes)? {
            Some((response::SUCCESS, _)) => {
                self.told = Some(Told { table, at_ms: self.now.monotonic_ms() });
                self.silent_since_ms = None;
                self.registrar = Some(link);
                Ok(())
            }
            Some((code, _)) => Err(format!("a registration is answered with code {code}")),
            // Silent for too long: the NameServer closed the connection.
            None => {
                self.told = None;
                Ok(())
            }
        }
    }

    /// The broker leaves for good.
    fn unregister(&mut self, rng: &mut Rng) -> Result<(), Finding> {
        let mut link = match self.registrar.take() {
            Some(link) => link,
            None => self.connect(),
        };
        link.opaque += 1;
        let mut bytes = Vec::new();
        write_unregistration(&mut bytes, &identity(), link.opaque);
        match self.ask(rng, &mut link, &bytes)? {
            Some((response::SUCCESS, _)) | None => {}
            Some((code, _)) => return Err(format!("leaving is answered with code {code}")),
        }
        self.server.ring().client_closes(link.connection, None);
        (self.told, self.silent_since_ms) = (None, None);
        self.audit(rng)
    }

    /// Asks for a route of each topic that was ever sent.
    fn audit(&mut self, rng: &mut Rng) -> Result<(), Finding> {
        let Some((sent, _)) = self.sent.clone() else { return Ok(()) };
        // What was cut off is noticed, what is due is done.
        self.turn(rng)?;
        self.pass(1_001);
        self.turn(rng)?;
        let now_ms = self.now.monotonic_ms();
        let age_ms = self.told.as_ref().map(|told| now_ms - told.at_ms);
        let is_shown = match age_ms {
            None => Some(false),
            Some(age_ms) if age_ms <= BROKER_EXPIRED_MS => Some(true),
            Some(age_ms) if age_ms > BROKER_EXPIRED_MS + NOTICED_MS => Some(false),
            Some(_) => None,
        };
        let mut link = self.connect();
        for topic in sent.keys() {
            link.opaque += 1;
            let head =
                RequestHead { code: request::GET_ROUTEINFO_BY_TOPIC, opaque: link.opaque, flag: 0 };
            let mut bytes = Vec::new();
            write_request(&mut bytes, Encoding::Json, &head, Some(&[("topic", topic)]), b"");
            let answer = self.ask(rng, &mut link, &bytes)?;
            let (code, body) = answer.ok_or("the NameServer closes a connection that asks")?;
            self.judge(topic, is_shown, code, &body).map_err(|finding| {
                let told_ms = self.told.as_ref().map(|told| told.at_ms);
                format!("route of {topic} at {now_ms}, registered at {told_ms:?}: {finding}")
            })?;
        }
        self.server.ring().client_closes(link.connection, None);
        if is_shown == Some(false) && self.silent_since_ms.is_some() {
            (self.told, self.silent_since_ms) = (None, None);
        }
        Ok(())
    }

    fn judge(
        &self,
        topic: &str,
        is_shown: Option<bool>,
        code: i32,
        body: &[u8],
    ) -> Result<(), Finding> {
        let is_expected = self.told.as_ref().and_then(|told| told.table.get(topic));
        match (code, is_shown) {
            (response::SUCCESS, Some(false)) => Err("a broker that is gone is shown".to_owned()),
            (response::SUCCESS, _) => {
                let route = TopicRouteData::parse(body).map_err(|error| error.to_string())?;
                let addresses = route.broker_datas.iter().map(|it| it.broker_addrs.get(&0));
                let is_address_right = addresses.eq([Some(&identity().address)]);
                let queues: Vec<_> =
                    route.queue_datas.iter().map(|it| it.write_queue_nums).collect();
                match is_expected {
                    Some(expected) if queues != [*expected] || !is_address_right => {
                        Err(format!("{route:?}, registered were {expected} queues"))
                    }
                    _ => Ok(()),
                }
            }
            (response::TOPIC_NOT_EXIST, Some(true)) if is_expected.is_some() => {
                Err("a broker that is there is not shown".to_owned())
            }
            (response::TOPIC_NOT_EXIST, _) => Ok(()),
            (code, _) => Err(format!("code {code}")),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Names::new()
    }
}

/// What a broker tells.
struct Tables {
    topics: Vec<TopicConfig>,
    version: DataVersion,
}

impl World {
    /// The NameServer's part of a step.
    pub(crate) fn mind_names(&mut self, life: &Life) -> Result<(), Finding> {
        let tables = || {
            let (topics, version) = life.home().registered_topics();
            Tables { topics, version }
        };
        self.names.live(&mut self.rng, tables)
    }

    /// The broker was stopped: it leaves.
    pub(crate) fn leave_names(&mut self) -> Result<(), Finding> {
        self.names.unregister(&mut self.rng)
    }
}

fn server(now: Now) -> Loop<SimRing> {
    let mut ring = SimRing::new(0, None);
    ring.listen(());
    let limits =
        ConnectionLimits { connections_max: 100, idle_ms: IDLE_MS, assembling_bytes_max: 64 << 20 };
    Loop::new(ring, now, Beginning::default(), limits)
}

fn identity() -> BrokerIdentity {
    BrokerIdentity {
        cluster: "DefaultCluster".to_owned(),
        name: BROKER.to_owned(),
        id: 0,
        address: "127.0.0.1:10911".to_owned(),
        ha_address: "127.0.0.1:10912".to_owned(),
    }
}
