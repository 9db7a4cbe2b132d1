//! Whom to answer when something that waits is done. The engine keeps it and never looks inside.

/// Plain data of a request that is answered later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ticket {
    /// The connection, with its generation.
    pub connection: u64,
    /// The request's correlation id.
    pub opaque: i32,
    /// The header encoding to answer in.
    pub encoding: u8,
    /// What to answer: the broker's own number.
    pub form: u8,
    /// The queue id to name in the answer: the one asked for, where messages take a detour.
    pub queue_id: i32,
}
