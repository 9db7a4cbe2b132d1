//! What a thread knows of each of its open connections, by the connection's slot.

use std::net::SocketAddr;

use runtime::ConnectionId;

use super::intake::Intake;

/// One open connection, or an empty slot.
#[derive(Debug, Default)]
pub struct Connected {
    /// Which one; `None`: the slot is empty.
    pub id: Option<ConnectionId>,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// The beginning of a frame that has not wholly arrived.
    pub intake: Intake,
    /// When it sent something last, monotonic ms.
    pub active_ms: u64,
    /// It is not read from while its backlog is large, or much of it is held.
    pub is_paused: bool,
    /// What was received when its backlog had become too large, or too many of its pulls were on their way to
    /// other cores: it is looked at when that is over.
    pub held: Vec<u8>,
    /// It is in the list of those of which something is held.
    pub is_held: bool,
    /// The core that accepted it, if not this one.
    pub accepted_by: Option<usize>,
    /// Pulls of it that other cores have not handled yet.
    pub crossing_pulls: u32,
    /// Other cores had frames of it, and are to know of its end.
    pub crossed: bool,
}

/// Fills the slot of a connection that was accepted.
pub fn open(slots: &mut Vec<Connected>, id: ConnectionId, peer: SocketAddr, now_ms: u64) {
    if slots.len() <= id.index() {
        slots.resize_with(id.index() + 1, Connected::default);
    }
    slots[id.index()] =
        Connected { id: Some(id), peer: Some(peer), active_ms: now_ms, ..Connected::default() };
}

/// Connections that have sent nothing since `oldest_ms`.
pub fn silent_since(slots: &[Connected], oldest_ms: u64) -> Vec<ConnectionId> {
    let silent = slots.iter().filter(|connected| connected.active_ms < oldest_ms);
    silent.filter_map(|connected| connected.id).collect()
}
