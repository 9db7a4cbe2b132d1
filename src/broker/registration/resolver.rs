//! The addresses of a NameServer, looked up on a thread that a slow DNS server keeps for as long as it likes.
//! Owns: the addresses that were found last, and the look-up under way.        Lives on: the control thread
//! Kind: shell
//! Invariants:
//! - a name has one look-up under way at the most, and so one thread;
//! - nobody waits for a thread: neither what glommio's one thread for blocking calls is there for, which is
//!   the preparation of segments, nor the end of the process.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use glommio::timer::timeout;
use runtime::eventfd::{EventFd, readable};

use super::connection::ConnectionError;

/// Finds the addresses of `host:port`, in any order; takes its time. Another one in tests.
pub(super) type LookUp = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Asks the operating system, which mostly asks a DNS server.
///
/// # Errors
/// The name has no address, or nobody answers.
pub(super) fn look_up(name: &str) -> io::Result<Vec<SocketAddr>> {
    name.to_socket_addrs().map(Vec::from_iter)
}

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Resolver {
    /// `host:port`.
    name: String,
    look_up: LookUp,
    /// What was found last; empty: nothing yet.
    known: Vec<SocketAddr>,
    under_way: Option<UnderWay>,
}

/// A look-up whose outcome was not taken.
#[derive(Debug)]
struct UnderWay {
    outcome: Receiver<io::Result<Vec<SocketAddr>>>,
    /// Rung when the outcome is there.
    done: EventFd,
}

impl Resolver {
    pub(super) fn new(name: String, look_up: LookUp) -> Resolver {
        Resolver { name, look_up, known: Vec::new(), under_way: None }
    }

    /// The addresses of the name now; those that were found last if they are not found within `wait`.
    ///
    /// # Errors
    /// The name has no address, or none is known in time.
    pub(super) async fn resolve(
        &mut self,
        wait: Duration,
    ) -> Result<Vec<SocketAddr>, ConnectionError> {
        if let Ok(address) = self.name.parse() {
            return Ok(vec![address]);
        }
        self.take_what_came_late();
        let was_late = self.under_way.is_some();
        let under_way = match &mut self.under_way {
            Some(under_way) => under_way,
            none => none.insert(
                UnderWay::start(&self.name, self.look_up).map_err(ConnectionError::Resolve)?,
            ),
        };
        // Who was late before is not waited for again if there is something to go on with.
        if !was_late || self.known.is_empty() {
            let done = async { Ok(readable(&under_way.done).await) };
            // What it says, or that it was late, is looked at below.
            timeout(wait, done).await.ok();
        }
        match under_way.outcome() {
            Some(outcome) => {
                self.under_way = None;
                self.known = outcome.map_err(ConnectionError::Resolve)?;
            }
            None if self.known.is_empty() => return Err(ConnectionError::ConnectTimeout(wait)),
            None if !was_late => tracing::warn!(
                name_server = self.name,
                ?wait,
                addresses = ?self.known,
                "its name is not resolved in time: the addresses that it had are tried"
            ),
            None => {}
        }
        Ok(self.known.clone())
    }

    /// What an earlier call has not waited for may be as old as the connection that was made without
    /// it: it is kept for when the next look-up is late, too.
    fn take_what_came_late(&mut self) {
        if let Some(outcome) = self.under_way.as_ref().and_then(UnderWay::outcome) {
            self.under_way = None;
            self.known = outcome.unwrap_or(std::mem::take(&mut self.known));
        }
    }
}

impl UnderWay {
    /// Starts the thread, which ends with its look-up.
    fn start(name: &str, look_up: LookUp) -> io::Result<UnderWay> {
        let done = EventFd::new()?;
        let (sender, outcome) = channel();
        let (name, ring) = (name.to_owned(), done.try_clone()?);
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let mut found = look_up(&name);
            if let Ok(addresses) = &mut found {
                // As in Java: `localhost` is both, and NameServers mostly listen on IPv4.
                addresses.sort_by_key(SocketAddr::is_ipv6);
            }
            // Nobody may want to know any more.
            if sender.send(found).is_ok() {
                ring.signal();
            }
        })?;
        Ok(UnderWay { outcome, done })
    }

    /// The outcome, if it is there. It comes once.
    fn outcome(&self) -> Option<io::Result<Vec<SocketAddr>>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("a look-up ends with its outcome"),
        }
    }
}
