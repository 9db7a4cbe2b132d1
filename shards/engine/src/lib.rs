//! What a shard owns: CommitLog, ConsumeQueue, consumer offsets, held pulls, delays, timers, transactions, catalog.
//!
//! State machines: no I/O, no clock, no randomness, no threads. The driver tells what happened and
//! what time it is, and pulls what is to be done (docs/decisions/0003-events-and-effects.md).

pub mod carried;
pub mod catalog;
pub mod coldread;
pub mod commitlog;
pub mod consumequeue;
pub mod delay;
pub mod filter;
pub mod hold;
pub mod limits;
pub mod messageindex;
pub mod offsets;
pub mod page;
pub mod retention;
pub mod shard;
pub mod ticket;
pub mod timer;
pub mod transaction;
