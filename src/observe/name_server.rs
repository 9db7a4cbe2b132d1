//! Health and figures of a NameServer that is a process of its own.
//! Owns: the pulse, which its thread and the one that serves HTTP reach.
//! Lives on: the thread health
//! Kind: shell
//! Invariants: nobody asks, nothing is done but to look at one number a turn

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use runtime::eventfd::{EventFd, readable};
use runtime::executor::{CoreError, CoreHandle, CoreOptions, spawn_core};
use runtime::listener::listener_of;
use runtime::placement::Placement;

use super::http::{self, Reply, Subject};
use super::limits::ANSWER_TIME_MAX;
use super::prometheus;

/// How often it is looked whether the NameServer has answered.
const LOOK_PERIOD: Duration = Duration::from_millis(2);

/// What a NameServer says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct NameServerFigures {
    /// Brokers that are registered.
    pub brokers: u64,
    /// Topics that have a route.
    pub topics: u64,
    /// Open connections.
    pub connections: u64,
    /// Frames that were handled.
    pub requests: u64,
    /// Whether routes are refused yet (`needWaitForService`).
    pub is_waiting: bool,
}

/// Questions to a NameServer's thread and its answers.
#[derive(Debug, Default)]
pub struct Pulse {
    asked: AtomicU64,
    answered: AtomicU64,
    brokers: AtomicU64,
    topics: AtomicU64,
    connections: AtomicU64,
    requests: AtomicU64,
    is_waiting: AtomicBool,
}

impl Pulse {
    /// The NameServer turns: it says how it is, if somebody asks.
    pub fn answer(&self, figures: impl FnOnce() -> NameServerFigures) {
        let asked = self.asked.load(Ordering::Acquire);
        if asked == self.answered.load(Ordering::Relaxed) {
            return;
        }
        let figures = figures();
        self.brokers.store(figures.brokers, Ordering::Relaxed);
        self.topics.store(figures.topics, Ordering::Relaxed);
        self.connections.store(figures.connections, Ordering::Relaxed);
        self.requests.store(figures.requests, Ordering::Relaxed);
        self.is_waiting.store(figures.is_waiting, Ordering::Relaxed);
        self.answered.store(asked, Ordering::Release);
    }

    fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The answer to a question, or to a later one.
    fn answer_to(&self, question: u64) -> Option<NameServerFigures> {
        let is_answered = self.answered.load(Ordering::Acquire) >= question;
        is_answered.then(|| NameServerFigures {
            brokers: self.brokers.load(Ordering::Relaxed),
            topics: self.topics.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            is_waiting: self.is_waiting.load(Ordering::Relaxed),
        })
    }
}

/// Who is observed.
#[derive(Debug)]
pub(super) struct ObservedNameServer {
    /// Where it listens: the label `node_id`.
    address: String,
    pulse: Arc<Pulse>,
    doorbell: EventFd,
}

impl ObservedNameServer {
    /// How it is now; `None`: it has not turned in time.
    async fn figures(&self) -> Option<NameServerFigures> {
        let question = self.pulse.ask();
        self.doorbell.signal();
        let until = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let figures = self.pulse.answer_to(question);
            if figures.is_some() || Instant::now() >= until {
                return figures;
            }
            glommio::timer::sleep(LOOK_PERIOD).await;
        }
    }

    pub(super) async fn live(&self) -> Reply {
        match self.figures().await {
            Some(_) => Reply::ok("the NameServer turns".to_owned()),
            None => silent(),
        }
    }

    pub(super) async fn ready(&self) -> Reply {
        match self.figures().await {
            Some(figures) if figures.is_waiting => {
                Reply::unavailable("waiting for brokers: needWaitForService".to_owned())
            }
            Some(_) => Reply::ok("serving".to_owned()),
            None => silent(),
        }
    }

    pub(super) async fn metrics(&self) -> Reply {
        match self.figures().await {
            Some(figures) => Reply::metrics(prometheus::name_server(&self.address, &figures)),
            None => silent(),
        }
    }
}

fn silent() -> Reply {
    let seconds = ANSWER_TIME_MAX.as_secs();
    Reply::unavailable(format!("the NameServer has not turned within {seconds} s"))
}

/// The thread that answers about a NameServer.
#[derive(Debug)]
pub struct HealthThread {
    handle: CoreHandle<()>,
    is_over: EventFd,
}

impl HealthThread {
    /// Starts it. `doorbell` wakes the NameServer.
    ///
    /// # Errors
    /// As of [`spawn_core`]; or the machine gives no eventfd.
    pub fn start(
        listener: OwnedFd,
        address: String,
        pulse: Arc<Pulse>,
        doorbell: EventFd,
    ) -> Result<HealthThread, HealthError> {
        let is_over = EventFd::new()?;
        let over = is_over.try_clone()?;
        let options = CoreOptions::new(Placement::Free);
        let handle = spawn_core::<(), io::Error, _, _>("health", options, move || async move {
            let observed = Rc::new(ObservedNameServer { address, pulse, doorbell });
            let served = http::serve(listener_of(listener), Subject::NameServer(observed));
            glommio::spawn_local(served).detach();
            readable(&over).await.map(drop)
        })?;
        Ok(HealthThread { handle, is_over })
    }

    /// Ends it.
    ///
    /// # Errors
    /// What it failed with.
    pub fn stop(self) -> Result<(), CoreError> {
        self.is_over.signal();
        self.handle.join()
    }
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// No eventfd.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No thread.
    #[error(transparent)]
    Core(#[from] CoreError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_asked_answers_and_the_answer_is_not_older_than_the_question() {
        let pulse = Pulse::default();
        pulse.answer(|| unreachable!("nobody asks"));
        let first = pulse.ask();
        assert_eq!(pulse.answer_to(first), None);
        let figures = NameServerFigures { brokers: 1, topics: 2, ..NameServerFigures::default() };
        pulse.answer(|| figures);
        assert_eq!(pulse.answer_to(first), Some(figures));
        pulse.answer(|| unreachable!("nobody asks again"));
        assert_eq!(pulse.answer_to(pulse.ask()), None);
    }
}
