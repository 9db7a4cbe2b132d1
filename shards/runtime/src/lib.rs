//! A core: one thread, one ring, its sockets, files, buffers and clock.
//!
//! The only crate with `unsafe`, and it knows nothing of RocketMQ: bytes come in, bytes go out.

pub mod file;
pub mod limits;
pub mod memory;
pub mod reactor;
mod receive;
pub mod socket;
pub mod write_buffer;

pub use memory::DirectBuffer;
pub use reactor::{
    ConnectionId, Events, Fallbacks, FileEvent, FileSlot, NetEvent, Reactor, ReactorConfig,
    WriteSync,
};
pub use receive::Received;
pub use write_buffer::WriteBuffer;
