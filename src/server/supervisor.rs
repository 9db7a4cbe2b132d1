//! What systemd, or whoever set NOTIFY_SOCKET, is told of start and stop (sd_notify(3)).
//! Kind: shell
//!
//! Without NOTIFY_SOCKET nothing happens. There is no watchdog: the pings would come from the control
//! thread, and would say nothing of the core, which is the one that must not hang.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sd_notify::NotifyState;

/// The store is being read: the longest part of a start after a crash.
pub fn tell_opening(store: &Path) {
    tell(&[NotifyState::Status(&format!("opening {}", store.display()))]);
}

/// How far the log was read, as log offsets.
pub fn tell_replaying(position: u64, end: u64) {
    REPLAYED.store(position, Ordering::Relaxed);
    REPLAY_END.store(end, Ordering::Relaxed);
    tell(&[NotifyState::Status(&format!("replaying the log, {position} of {end}"))]);
}

/// What the last [`tell_replaying`] said, for whoever asks over HTTP; `None`: nothing yet.
pub fn replaying() -> Option<(u64, u64)> {
    let end = REPLAY_END.load(Ordering::Relaxed);
    (end > 0).then(|| (REPLAYED.load(Ordering::Relaxed), end))
}

// Of the process, as NOTIFY_SOCKET is: written while its one store is opened, never afterwards.
static REPLAYED: AtomicU64 = AtomicU64::new(0);
static REPLAY_END: AtomicU64 = AtomicU64::new(0);

/// The broker listens and is registered, as far as the NameServers could be reached.
pub fn tell_ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// A stop was asked for; what is in memory is written.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing answers, closing the store")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the supervisor at NOTIFY_SOCKET cannot be told of start and stop");
    }
}
