//! One connection's output offered to its socket, and what follows from what the socket took.
//! Kind: shell

use engine::shard::Shard;
use runtime::{ConnectionId, Ring};

use super::connected::Connected;
use super::outbox::{Flushed, Outboxes};

/// Why a connection is to be closed after its output was offered.
#[derive(Debug)]
pub enum Unsendable {
    /// It does not read its answers: so many bytes wait.
    TooMuchWaits(usize),
    /// The socket is broken.
    Broken(std::io::Error),
}

/// Sends what a connection has; stops or resumes reading from it as its backlog grows and goes. One that is
/// paused stays so while something of it is held, whatever the socket takes.
///
/// # Errors
/// The connection is to be closed.
pub fn flush(
    ring: &mut impl Ring,
    outboxes: &mut Outboxes,
    shards: &[Shard],
    connection: ConnectionId,
    connected: &mut Connected,
) -> Result<(), Unsendable> {
    let sent = outboxes.flush(connection, shards, |slices| ring.send(connection, slices));
    let Some(sent) = sent else { return Ok(()) };
    let pause = match sent.map_err(Unsendable::Broken)? {
        Flushed::All => false,
        Flushed::Waits { pause } => {
            ring.await_writable(connection);
            pause || connected.is_paused
        }
        Flushed::TooMuch { bytes } => return Err(Unsendable::TooMuchWaits(bytes)),
    };
    if connected.is_paused && connected.is_held {
        return Ok(());
    }
    match (std::mem::replace(&mut connected.is_paused, pause), pause) {
        (false, true) => ring.pause(connection),
        (true, false) => ring.resume(connection),
        _ => {}
    }
    Ok(())
}
