//! Tells the NameServers which topics this broker serves, and keeps telling them.
//! Owns: a task and a connection for each NameServer.        Lives on: the control thread
//! Kind: shell
//! Invariants:
//! - a connection stays open between registrations: a NameServer forgets a broker whose connection
//!   closes, and so do we what it was told;
//! - a change is only sent to a NameServer that was told the whole table over the same connection;
//! - no NameServer keeps another one waiting, and nobody waits for one that is down; the DNS server keeps
//!   nobody waiting but who asks it.
//!
//! Requests are those of Apache's `BrokerOuterAPI.registerBrokerAll` and `unregisterBrokerAll`,
//! 5.3.3; what an answer says of ordered topics is passed on as in `handleRegisterBrokerResult`.

mod connection;
mod frames;
mod link;
mod resolver;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use glommio::Task;
use glommio::channels::local_channel::{self, LocalReceiver, LocalSender};
use proto::body::{DataVersion, TopicConfig};
use proto::limits::FRAME_BYTES_MAX;

use super::limits::REGISTRATIONS_WAITING_MAX;
use frames::Frame;
use link::{Health, Job, Link, Seen};
use resolver::{LookUp, look_up};

pub use connection::ConnectionError;
pub use frames::{write_registration, write_unregistration};

/// How long a NameServer's name may take to be resolved before the addresses that it had are tried, and how
/// long it then has to take a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a NameServer has to answer a registration. Apache's broker waits 24 s; a table of ten
/// thousand topics takes a NameServer a tenth of a second.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a NameServer has to take note that the broker leaves; after that the closed connection
/// tells it.
pub const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(1);

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
    /// A topic does not fit one frame, so nothing was sent.
    #[error("one of {topics} topics makes a frame of {found_bytes} bytes, more than {limit_bytes}")]
    TableTooLarge {
        /// How many topics there are in all.
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
    /// Most topics in one request.
    split: usize,
    lines: Vec<Line>,
    opaque: i32,
    /// Of the last registration, from 1.
    number: u64,
    patience: Patience,
}

/// How long a NameServer is waited for; shorter in tests.
#[derive(Debug, Clone, Copy)]
struct Patience {
    connect: Duration,
    answer: Duration,
    unregister: Duration,
}

/// One NameServer: what waits for it, and the task that talks to it.
#[derive(Debug)]
struct Line {
    name_server: String,
    jobs: LocalSender<Job>,
    seen: Rc<Seen>,
    /// Cancelled when it is dropped.
    _task: Task<()>,
}

/// A registration on its way.
#[derive(Debug)]
#[must_use = "what failed is told at its end"]
pub struct Registering {
    awaited: Vec<(String, LocalReceiver<link::Registered>)>,
    errors: Vec<RegistrationError>,
}

/// What became of a registration.
#[derive(Debug, Default)]
pub struct Outcome {
    /// NameServers that did not take it, or were down before and are not waited for.
    pub errors: Vec<RegistrationError>,
    /// Topics that some NameServer says are ordered (`ORDER_TOPIC_CONFIG`), known here or not.
    pub ordered_topics: BTreeSet<String>,
}

impl Registrar {
    /// Nothing is connected yet. `name_servers` are `host:port`; a request has `split` topics at the
    /// most. To be called inside a glommio executor.
    pub fn new(identity: BrokerIdentity, name_servers: Vec<String>, split: usize) -> Registrar {
        let patience = Patience {
            connect: CONNECT_TIMEOUT,
            answer: ANSWER_TIMEOUT,
            unregister: UNREGISTER_TIMEOUT,
        };
        Registrar::with(identity, name_servers, split, patience, look_up)
    }

    fn with(
        identity: BrokerIdentity,
        name_servers: Vec<String>,
        split: usize,
        patience: Patience,
        look_up: LookUp,
    ) -> Registrar {
        assert!(split > 1, "a NameServer that does not know a broker refuses one topic");
        let lines = name_servers.into_iter().map(|it| Line::start(it, patience, look_up)).collect();
        Registrar { identity, split, lines, opaque: 0, number: 0, patience }
    }

    /// Registers with every NameServer at once (103). The permissions of the topics are as they shall
    /// be seen. Registrations reach each NameServer in the order of these calls, whether their ends
    /// are waited for or not.
    ///
    /// A NameServer that says [`RegistrationFailure::WholeTableNeeded`] to changes wants
    /// [`Coverage::Whole`] now; whatever else failed is tried again with the next period's.
    pub fn register(
        &mut self,
        topics: &[TopicConfig],
        coverage: Coverage,
        version: DataVersion,
    ) -> Registering {
        self.number += 1;
        let mut registering = Registering { awaited: Vec::new(), errors: Vec::new() };
        let frames =
            frames::registration(&self.identity, &mut self.opaque, topics, self.split, version);
        let frames: Rc<[Frame]> = match frames {
            Ok(frames) => frames.into(),
            Err(found_bytes) => {
                registering.errors = self.too_large(topics.len(), found_bytes);
                return registering;
            }
        };
        let is_single = topics.len() == 1;
        for line in &self.lines {
            let (done, outcome) = local_channel::new_bounded(1);
            let (frames, number) = (Rc::clone(&frames), self.number);
            let job = Job::Register { frames, coverage, is_single, number, done };
            let is_down = line.seen.health.get() == Health::Down;
            let has_room = line.jobs.try_send(job).is_ok();
            if !has_room {
                line.seen.missed.set(number);
            }
            let name_server = line.name_server.clone();
            if has_room && !is_down {
                registering.awaited.push((name_server, outcome));
            } else {
                let failure = RegistrationFailure::Unregistered;
                registering.errors.push(RegistrationError { name_server, failure });
            }
        }
        registering
    }

    /// Tells every NameServer that knows this broker that it leaves (104), and closes the
    /// connections. Returns those that did not answer; they forget it a moment later.
    pub async fn unregister(&mut self) -> Vec<RegistrationError> {
        let frame: Rc<Frame> = frames::unregistration(&self.identity, &mut self.opaque).into();
        let mut awaited = Vec::new();
        for line in &self.lines {
            let (done, outcome) = local_channel::new_bounded(1);
            // Without room it has not answered for long and will not answer now.
            line.jobs.try_send(Job::Leave { frame: Rc::clone(&frame), done }).ok();
            awaited.push((line.name_server.clone(), outcome));
        }
        let wait = self.patience.unregister;
        let until = std::time::Instant::now() + wait;
        let mut errors = Vec::new();
        for (name_server, outcome) in awaited {
            // Whoever is still busy with something before is not waited for.
            let left = until.saturating_duration_since(std::time::Instant::now());
            let answer = glommio::timer::timeout(left, async { Ok(outcome.recv().await) }).await;
            let failure = match answer {
                Ok(Some(Ok(()))) => continue,
                Ok(Some(Err(failure))) => failure,
                Ok(None) | Err(_) => ConnectionError::AnswerTimeout(wait).into(),
            };
            errors.push(RegistrationError { name_server, failure });
        }
        errors
    }

    fn too_large(&self, topics: usize, found_bytes: usize) -> Vec<RegistrationError> {
        let error = |line: &Line| RegistrationError {
            name_server: line.name_server.clone(),
            failure: RegistrationFailure::TableTooLarge {
                topics,
                found_bytes,
                limit_bytes: FRAME_BYTES_MAX,
            },
        };
        self.lines.iter().map(error).collect()
    }
}

impl Registering {
    /// Waits for the NameServers that were not down when it began.
    pub async fn finish(self) -> Outcome {
        let Registering { awaited, errors } = self;
        let mut outcome = Outcome { errors, ..Outcome::default() };
        for (name_server, answer) in awaited {
            match answer.recv().await.unwrap_or(Err(RegistrationFailure::Unregistered)) {
                Ok(ordered_topics) => outcome.ordered_topics.extend(ordered_topics),
                Err(failure) => outcome.errors.push(RegistrationError { name_server, failure }),
            }
        }
        outcome
    }
}

impl Line {
    fn start(name_server: String, patience: Patience, look_up: LookUp) -> Line {
        let (jobs, due) = local_channel::new_bounded(REGISTRATIONS_WAITING_MAX);
        let seen = Rc::new(Seen { health: Cell::new(Health::Untried), missed: Cell::new(0) });
        let link = Link::new(name_server.clone(), Rc::clone(&seen), patience, look_up);
        let task = glommio::spawn_local(link.run(due));
        Line { name_server, jobs, seen, _task: task }
    }
}

#[cfg(test)]
mod tests;
