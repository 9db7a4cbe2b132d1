//! Tells the NameServers which topics this broker serves, and keeps telling them.
//! Owns: a connection to each NameServer.        Lives on: the control thread
//! Kind: shell
//! Invariants:
//! - a connection stays open between registrations: a NameServer forgets a broker whose connection
//!   closes, and so do we what it was told;
//! - a change is only sent to a NameServer that was told the whole table over the same connection;
//! - no NameServer keeps another one waiting longer than the timeouts below.
//!
//! Requests are those of Apache's `BrokerOuterAPI.registerBrokerAll` and `unregisterBrokerAll`,
//! 5.3.3.

mod connection;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use proto::body::{DataVersion, RegisterBrokerBody, TopicConfig};
use proto::code::{request, response};
use proto::frame::Encoding;
use proto::limits::FRAME_BYTES_MAX;
use proto::record::body_crc;
use proto::reply::{RequestHead, write_request};

use connection::{Answer, Connection};

pub use connection::ConnectionError;

/// How long a NameServer has to take a connection, its name's resolution included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a NameServer has to answer a registration. Apache's broker waits 24 s; a table of ten
/// thousand topics takes a NameServer a tenth of a second.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a NameServer has to take note that the broker leaves; after that the closed connection
/// tells it.
pub const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(1);

/// What an Apache NameServer answers if one topic comes from a broker that it does not know
/// (`DefaultRequestProcessor.registerBroker`); code 1 has other reasons too.
const NOT_REGISTERED_REMARK: &str = "register broker failed";

/// Who registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerIdentity {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub name: String,
    /// `brokerId`; 0 is the master.
    pub id: i64,
    /// What clients dial, `ip:port`.
    pub address: String,
    /// What slaves dial, `ip:port`.
    pub ha_address: String,
}

/// Which topics a registration names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All of the broker's.
    Whole,
    /// Those that are new or changed.
    Changed,
}

/// A NameServer that did not take a request.
#[derive(Debug, thiserror::Error)]
#[error("name server {name_server}: {failure}")]
pub struct RegistrationError {
    /// Its address, as configured.
    pub name_server: String,
    /// Why not.
    pub failure: RegistrationFailure,
}

/// Why a NameServer did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationFailure {
    /// It is not reached, does not answer, or does not speak the protocol.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// It does not know this broker, so that the whole table must come before a change to it.
    #[error("it does not know this broker: the whole topic table must be sent")]
    WholeTableNeeded,
    /// It did not take the last whole table, so a change to it was not sent. The next whole table
    /// will show whether it is back; sending one for each change would only add to its trouble.
    #[error("it did not take the last whole topic table")]
    Unregistered,
    /// It refuses.
    #[error("it refuses with code {code}: {remark}")]
    Refused {
        /// Response code.
        code: i32,
        /// Its reason.
        remark: String,
    },
    /// The topics do not fit one frame, so nothing was sent.
    #[error("{topics} topics make a frame of {found_bytes} bytes, more than {limit_bytes}")]
    TableTooLarge {
        /// How many topics there are.
        topics: usize,
        /// The frame.
        found_bytes: usize,
        /// What a NameServer reads.
        limit_bytes: usize,
    },
}

/// See the module's first lines.
#[derive(Debug)]
pub struct Registrar {
    identity: BrokerIdentity,
    links: Vec<Link>,
    opaque: i32,
    patience: Patience,
}

/// How long a NameServer is waited for; shorter in tests.
#[derive(Debug, Clone, Copy)]
struct Patience {
    connect: Duration,
    answer: Duration,
    unregister: Duration,
}

/// One NameServer.
#[derive(Debug)]
struct Link {
    name_server: String,
    /// Absent while a request is under way: what becomes of a connection that is abandoned in the
    /// middle nobody knows.
    connection: Option<Connection>,
    /// Whether the whole table was taken over this connection.
    is_registered: bool,
    health: Health,
}

/// What the log said last of a NameServer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Untried,
    Up,
    Down,
}

/// A frame for every NameServer, and how long each has to take a connection and to answer.
#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    frame: &'a [u8],
    opaque: i32,
    connect_timeout: Duration,
    answer_timeout: Duration,
}

impl Registrar {
    /// Nothing is connected yet. `name_servers` are `host:port`.
    pub fn new(identity: BrokerIdentity, name_servers: Vec<String>) -> Registrar {
        let links = name_servers.into_iter().map(Link::new).collect();
        let patience = Patience {
            connect: CONNECT_TIMEOUT,
            answer: ANSWER_TIMEOUT,
            unregister: UNREGISTER_TIMEOUT,
        };
        Registrar { identity, links, opaque: 0, patience }
    }

    /// Registers with every NameServer at once (103) and returns those that did not take it. The
    /// permissions of the topics are as they shall be seen.
    ///
    /// A NameServer that says [`RegistrationFailure::WholeTableNeeded`] to changes wants
    /// [`Coverage::Whole`] now; whatever else failed is tried again with the next period's.
    pub async fn register(
        &mut self,
        topics: &[TopicConfig],
        coverage: Coverage,
        version: DataVersion,
    ) -> Vec<RegistrationError> {
        self.opaque = self.opaque.wrapping_add(1);
        let mut frame = Vec::new();
        write_registration(&mut frame, &self.identity, self.opaque, topics, version);
        if frame.len() > FRAME_BYTES_MAX {
            return self.too_large(topics.len(), frame.len());
        }
        let request = self.request(&frame, self.patience.answer);
        let is_single = topics.len() == 1;
        each(&mut self.links, |link| link.register(request, coverage, is_single)).await
    }

    /// Tells every NameServer that knows this broker that it leaves (104), and closes the
    /// connections. Returns those that did not answer; they forget it a moment later.
    pub async fn unregister(&mut self) -> Vec<RegistrationError> {
        self.opaque = self.opaque.wrapping_add(1);
        let mut frame = Vec::new();
        write_unregistration(&mut frame, &self.identity, self.opaque);
        let request = self.request(&frame, self.patience.unregister);
        each(&mut self.links, |link| link.unregister(request)).await
    }

    fn request<'a>(&self, frame: &'a [u8], answer_timeout: Duration) -> Request<'a> {
        let connect_timeout = self.patience.connect;
        Request { frame, opaque: self.opaque, connect_timeout, answer_timeout }
    }

    fn too_large(&self, topics: usize, found_bytes: usize) -> Vec<RegistrationError> {
        let error = |link: &Link| RegistrationError {
            name_server: link.name_server.clone(),
            failure: RegistrationFailure::TableTooLarge {
                topics,
                found_bytes,
                limit_bytes: FRAME_BYTES_MAX,
            },
        };
        self.links.iter().map(error).collect()
    }
}

impl Link {
    fn new(name_server: String) -> Link {
        Link { name_server, connection: None, is_registered: false, health: Health::Untried }
    }

    async fn register(
        &mut self,
        request: Request<'_>,
        coverage: Coverage,
        is_single: bool,
    ) -> Result<(), RegistrationFailure> {
        let result = self.try_register(request, coverage, is_single).await;
        self.log(&result);
        result
    }

    async fn try_register(
        &mut self,
        request: Request<'_>,
        coverage: Coverage,
        is_single: bool,
    ) -> Result<(), RegistrationFailure> {
        let was_registered = std::mem::take(&mut self.is_registered);
        let kept = self.connection.take();
        if coverage == Coverage::Changed && !(was_registered && kept.is_some()) {
            self.connection = kept;
            return Err(match self.health {
                Health::Down => RegistrationFailure::Unregistered,
                Health::Untried | Health::Up => RegistrationFailure::WholeTableNeeded,
            });
        }
        let answer = match kept {
            Some(connection) => match self.ask(connection, request).await {
                // It was restarted, or something between us dropped an idle connection.
                Err(error) if error.is_stale() && coverage == Coverage::Changed => {
                    return Err(RegistrationFailure::WholeTableNeeded);
                }
                Err(error) if error.is_stale() => self.connect_and_ask(request).await?,
                answer => answer?,
            },
            None => self.connect_and_ask(request).await?,
        };
        if answer.code == response::SUCCESS {
            self.is_registered = true;
            return Ok(());
        }
        if is_single
            && coverage == Coverage::Changed
            && answer.code == response::SYSTEM_ERROR
            && answer.remark == NOT_REGISTERED_REMARK
        {
            return Err(RegistrationFailure::WholeTableNeeded);
        }
        // A refused change leaves the table that was taken before.
        self.is_registered = was_registered;
        Err(RegistrationFailure::Refused { code: answer.code, remark: answer.remark })
    }

    async fn unregister(&mut self, request: Request<'_>) -> Result<(), RegistrationFailure> {
        self.is_registered = false;
        // Where there is no connection the broker is not known.
        let Some(connection) = self.connection.take() else { return Ok(()) };
        let answer = self.ask(connection, request).await?;
        self.connection = None;
        if answer.code == response::SUCCESS {
            return Ok(());
        }
        Err(RegistrationFailure::Refused { code: answer.code, remark: answer.remark })
    }

    async fn connect_and_ask(&mut self, request: Request<'_>) -> Result<Answer, ConnectionError> {
        let connection = Connection::open(&self.name_server, request.connect_timeout).await?;
        self.ask(connection, request).await
    }

    /// Keeps the connection if all went well.
    async fn ask(
        &mut self,
        mut connection: Connection,
        request: Request<'_>,
    ) -> Result<Answer, ConnectionError> {
        let answer = connection.ask(request.frame, request.opaque, request.answer_timeout).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Says when a NameServer goes and when it is back, not every time that it is still away.
    fn log(&mut self, result: &Result<(), RegistrationFailure>) {
        let name_server = self.name_server.as_str();
        match (result, self.health) {
            // What the caller has to do next, nothing to worry an operator.
            (Err(RegistrationFailure::WholeTableNeeded), _)
            | (Ok(()), Health::Up)
            | (Err(_), Health::Down) => {}
            (Ok(()), Health::Untried) => {
                tracing::info!(name_server, "registered");
                self.health = Health::Up;
            }
            (Ok(()), Health::Down) => {
                tracing::info!(name_server, "registered again");
                self.health = Health::Up;
            }
            (Err(failure), Health::Untried | Health::Up) => {
                tracing::warn!(name_server, %failure, "not registered, trying on");
                self.health = Health::Down;
            }
        }
    }
}

/// Does the same with all NameServers at once, and collects what failed.
async fn each<'a, F>(
    links: &'a mut [Link],
    mut act: impl FnMut(&'a mut Link) -> F,
) -> Vec<RegistrationError>
where
    F: Future<Output = Result<(), RegistrationFailure>> + 'a,
{
    let names: Vec<String> = links.iter().map(|link| link.name_server.clone()).collect();
    let mut running: Vec<Option<Pin<Box<F>>>> =
        links.iter_mut().map(|link| Some(Box::pin(act(link)))).collect();
    let mut errors = Vec::new();
    poll_fn(|task| {
        for (action, name_server) in running.iter_mut().zip(&names) {
            let Some(future) = action else { continue };
            let Poll::Ready(result) = future.as_mut().poll(task) else { continue };
            *action = None;
            if let Err(failure) = result {
                errors.push(RegistrationError { name_server: name_server.clone(), failure });
            }
        }
        if running.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    errors
}

/// Appends a registration (103).
pub fn write_registration(
    out: &mut Vec<u8>,
    identity: &BrokerIdentity,
    opaque: i32,
    topics: &[TopicConfig],
    version: DataVersion,
) {
    let mut body = RegisterBrokerBody::default();
    let table = &mut body.topic_config_serialize_wrapper;
    table.data_version = version;
    table.topic_config_table =
        topics.iter().map(|topic| (topic.topic_name.clone(), topic.clone())).collect();
    let mut bytes = Vec::new();
    body.write(&mut bytes);

    let head = RequestHead { code: request::REGISTER_BROKER, opaque, flag: 0 };
    let id = identity.id.to_string();
    let crc = body_crc(&bytes).to_string();
    let ext = [
        ("brokerId", id.as_str()),
        ("bodyCrc32", crc.as_str()),
        ("clusterName", identity.cluster.as_str()),
        ("brokerAddr", identity.address.as_str()),
        ("enableActingMaster", "false"),
        ("haServerAddr", identity.ha_address.as_str()),
        ("compressed", "false"),
        ("brokerName", identity.name.as_str()),
    ];
    write_request(out, Encoding::Json, &head, Some(&ext), &bytes);
}

/// Appends the request of a broker that leaves (104).
pub fn write_unregistration(out: &mut Vec<u8>, identity: &BrokerIdentity, opaque: i32) {
    let head = RequestHead { code: request::UNREGISTER_BROKER, opaque, flag: 0 };
    let id = identity.id.to_string();
    let ext = [
        ("brokerId", id.as_str()),
        ("clusterName", identity.cluster.as_str()),
        ("brokerAddr", identity.address.as_str()),
        ("brokerName", identity.name.as_str()),
    ];
    write_request(out, Encoding::Json, &head, Some(&ext), b"");
}

#[cfg(test)]
mod tests;
