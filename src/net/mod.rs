//! Connections as bytes: frames out of what arrives, replies gathered into what leaves.
//!
//! The same code serves the broker's cores and the NameServer.

pub mod connected;
pub mod flush;
pub mod intake;
pub mod limits;
pub mod outbox;
