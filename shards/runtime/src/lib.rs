//! A core: one thread, one ring, its sockets, files, buffers and clock.
//!
//! The only crate with `unsafe`, and it knows nothing of RocketMQ: bytes come in, bytes go out.

pub mod cache;
pub mod clock;
pub mod eventfd;
pub mod executor;
pub mod file;
pub mod limits;
pub mod listener;
pub mod memory;
pub mod memory_limit;
pub mod mesh;
pub mod placement;
pub mod probe;
pub mod rare;
pub mod reactor;
mod receive;
pub mod ring;
pub mod socket;
pub mod write_buffer;

pub use memory::DirectBuffer;
pub use reactor::{
    ConnectionId, Events, Fallbacks, FileEvent, FileSlot, NetEvent, Reactor, ReactorConfig,
    WriteSync,
};
pub use receive::Received;
pub use ring::{ParkingRing, Ring};
pub use write_buffer::{Frozen, WriteBuffer};
