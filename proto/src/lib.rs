//! RocketMQ's bytes: frames, command headers, message records, properties and bodies.
//!
//! No I/O, no clock, no state: every item turns bytes into values or values into bytes.
//! Everything multi-byte on RocketMQ's wire is big endian and signed.
//! Formats follow Apache RocketMQ 5.3.3; each module names the class it was read from.

pub mod batch;
pub mod body;
pub mod code;
pub mod command;
pub mod dialect;
pub mod ext;
pub mod frame;
mod generated;
pub mod header;
pub mod ids;
pub mod language;
pub mod limits;
pub mod names;
pub mod properties;
pub mod recall;
pub mod record;
pub mod reply;
pub mod state;
mod swar;
pub mod text;
pub mod version;
