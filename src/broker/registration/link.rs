//! The conversation with one NameServer.
//! Owns: the connection to it.        Lives on: the control thread, a task of its own
//! Kind: shell

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use glommio::channels::local_channel::{LocalReceiver, LocalSender};
use proto::body::KVTable;
use proto::code::response;

use super::connection::{Answer, Connection, ConnectionError};
use super::frames::Frame;
use super::resolver::{LookUp, Resolver};
use super::{Coverage, Patience, RegistrationFailure};

/// What an Apache NameServer answers if one topic comes from a broker that it does not know
/// (`DefaultRequestProcessor.registerBroker`); code 1 has other reasons too.
const NOT_REGISTERED_REMARK: &str = "register broker failed";

/// What is to be told, and where the outcome goes; nobody may wait for it any more.
#[derive(Debug)]
pub(super) enum Job {
    Register {
        frames: Rc<[Frame]>,
        coverage: Coverage,
        is_single: bool,
        /// Which one it is, from 1.
        number: u64,
        done: LocalSender<Registered>,
    },
    Leave {
        frame: Rc<Frame>,
        done: LocalSender<Result<(), RegistrationFailure>>,
    },
}

/// The ordered topics in the answer, or why there is none.
pub(super) type Registered = Result<BTreeSet<String>, RegistrationFailure>;

/// What the registrar and the task see of each other.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) health: Cell<Health>,
    /// Number of the last registration for which there was no room; 0: none.
    pub(super) missed: Cell<u64>,
}

/// What the log said last of a NameServer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Untried,
    Up,
    Down,
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Link {
    name_server: String,
    resolver: Resolver,
    /// Absent while a request is under way: what becomes of a connection that is abandoned in the
    /// middle nobody knows.
    connection: Option<Connection>,
    /// The whole table that was taken over this connection: its number.
    whole: Option<u64>,
    seen: Rc<Seen>,
    patience: Patience,
}

impl Link {
    pub(super) fn new(
        name_server: String,
        seen: Rc<Seen>,
        patience: Patience,
        look_up: LookUp,
    ) -> Link {
        let resolver = Resolver::new(name_server.clone(), look_up);
        Link { name_server, resolver, connection: None, whole: None, seen, patience }
    }

    /// Tells what is to be told, in order, until nobody asks any more.
    pub(super) async fn run(mut self, due: LocalReceiver<Job>) {
        while let Some(job) = due.recv().await {
            match job {
                Job::Register { frames, coverage, is_single, number, done } => {
                    let result = self.register(&frames, coverage, is_single, number).await;
                    self.log(&result);
                    done.try_send(result).ok();
                }
                Job::Leave { frame, done } => {
                    done.try_send(self.unregister(&frame).await).ok();
                }
            }
        }
    }

    async fn register(
        &mut self,
        frames: &[Frame],
        coverage: Coverage,
        is_single: bool,
        number: u64,
    ) -> Registered {
        let whole = self.whole.take();
        let kept = self.connection.take();
        let missed = self.seen.missed.get();
        // A change behind one that was left out would hide that something is missing.
        let is_registered = whole.is_some_and(|whole| missed <= whole || number < missed);
        if coverage == Coverage::Changed && !(is_registered && kept.is_some()) {
            self.connection = kept;
            return Err(match self.seen.health.get() {
                Health::Down => RegistrationFailure::Unregistered,
                Health::Untried | Health::Up => RegistrationFailure::WholeTableNeeded,
            });
        }
        let answer = match kept {
            Some(connection) => match self.ask_all(connection, frames).await {
                // It was restarted, or something between us dropped an idle connection.
                Err(error) if error.is_stale() && coverage == Coverage::Changed => {
                    return Err(RegistrationFailure::WholeTableNeeded);
                }
                Err(error) if error.is_stale() => self.connect_and_ask(frames).await?,
                answer => answer?,
            },
            None => self.connect_and_ask(frames).await?,
        };
        if answer.code == response::SUCCESS {
            self.whole = if coverage == Coverage::Whole { Some(number) } else { whole };
            return Ok(ordered_topics(&answer.body));
        }
        if is_single
            && coverage == Coverage::Changed
            && answer.code == response::SYSTEM_ERROR
            && answer.remark == NOT_REGISTERED_REMARK
        {
            return Err(RegistrationFailure::WholeTableNeeded);
        }
        // A refused change leaves the table that was taken before.
        self.whole = whole;
        Err(RegistrationFailure::Refused { code: answer.code, remark: answer.remark })
    }

    async fn unregister(&mut self, frame: &Frame) -> Result<(), RegistrationFailure> {
        self.whole = None;
        // Where there is no connection the broker is not known.
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let wait = self.patience.unregister;
        let answer = connection.ask(&frame.bytes, frame.opaque, wait).await?;
        if answer.code == response::SUCCESS {
            return Ok(());
        }
        Err(RegistrationFailure::Refused { code: answer.code, remark: answer.remark })
    }

    async fn connect_and_ask(&mut self, frames: &[Frame]) -> Result<Answer, ConnectionError> {
        let addresses = self.resolver.resolve(self.patience.connect).await?;
        let connection = Connection::open(&addresses, self.patience.connect).await?;
        self.ask_all(connection, frames).await
    }

    /// Sends one after the other until one is refused, and keeps the connection if all went well.
    async fn ask_all(
        &mut self,
        mut connection: Connection,
        frames: &[Frame],
    ) -> Result<Answer, ConnectionError> {
        let (last, before) = frames.split_last().expect("a registration has a frame");
        let wait = self.patience.answer;
        for frame in before {
            let answer = connection.ask(&frame.bytes, frame.opaque, wait).await?;
            if answer.code != response::SUCCESS {
                self.connection = Some(connection);
                return Ok(answer);
            }
        }
        let answer = connection.ask(&last.bytes, last.opaque, wait).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Says when a NameServer goes and when it is back, not every time that it is still away.
    fn log(&self, result: &Registered) {
        let name_server = self.name_server.as_str();
        let health = &self.seen.health;
        match (result, health.get()) {
            // What the caller has to do next, nothing to worry an operator.
            (Err(RegistrationFailure::WholeTableNeeded), _)
            | (Ok(_), Health::Up)
            | (Err(_), Health::Down) => {}
            (Ok(_), Health::Untried) => {
                tracing::info!(name_server, "registered");
                health.set(Health::Up);
            }
            (Ok(_), Health::Down) => {
                tracing::info!(name_server, "registered again");
                health.set(Health::Up);
            }
            (Err(failure), Health::Untried | Health::Up) => {
                tracing::warn!(name_server, %failure, "not registered, trying on");
                health.set(Health::Down);
            }
        }
    }
}

/// The topics in the answer to a registration, the table of ORDER_TOPIC_CONFIG. What cannot be read
/// says nothing of any topic.
fn ordered_topics(body: &[u8]) -> BTreeSet<String> {
    if body.is_empty() {
        return BTreeSet::new();
    }
    KVTable::parse(body).map(|table| table.table.into_keys().collect()).unwrap_or_default()
}
