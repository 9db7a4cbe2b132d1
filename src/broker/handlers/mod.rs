//! One file per family of requests: checks against this core's catalog, then the shard that owns it.

mod all_groups;
mod call;
mod client;
mod counted;
mod forbid;
mod group;
mod lock;
mod offset;
mod pull;
mod query;
mod reply;
mod reset;
mod resume;
mod runtime;
mod send;
mod sendback;
mod settings;
mod stats;
mod tell;
mod timer;
mod topic;
mod transaction;

pub(super) use call::{Direct, is_readable};
pub(super) use offset::TimeQuestion;
pub(super) use query::{EntriesQuestion, ViewQuestion};
pub(super) use resume::Resume;
pub(super) use runtime::Told;
pub(super) use sendback::SendBack;
pub(super) use stats::Then;
pub(super) use transaction::EndTransaction;

/// What a ticket's answer is.
pub(super) mod form {
    use engine::ticket::Ticket;

    /// A send: `SendMessageResponseHeader`.
    pub const SEND: u8 = 1;
    /// A batch: the same, naming the batch's own key.
    pub const SEND_BATCH: u8 = 5;
    /// A message that waits for its time: the same, with the handle to call it back.
    pub const SEND_TIMER: u8 = 6;
    /// A recall: `RecallMessageResponseHeader`.
    pub const RECALL: u8 = 7;
    /// Code 0 and nothing else.
    pub const PLAIN: u8 = 2;
    /// A pull.
    pub const PULL: u8 = 4;
    /// Beside one of these: the answer is kept back until the NameServers were told.
    pub const WHEN_ANNOUNCED: u8 = 0x80;
    /// Code 0 when the NameServers were told.
    pub const ANNOUNCED: u8 = PLAIN | WHEN_ANNOUNCED;

    /// What a ticket's answer is, whenever it leaves.
    pub fn of(ticket: &Ticket) -> u8 {
        ticket.form & !WHEN_ANNOUNCED
    }

    /// Whether the answer is kept back until the NameServers were told.
    pub fn is_when_announced(ticket: &Ticket) -> bool {
        ticket.form & WHEN_ANNOUNCED != 0
    }
}
