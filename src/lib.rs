//! RingMQ: Apache RocketMQ for Linux bare metal, NameServer and broker in one program.
//!
//! This crate holds what makes processes of the crates below it: configuration, connections, router,
//! NameServer, broker, start and stop. See ARCHITECTURE.md.

pub mod broker;
pub mod config;
pub mod inspect;
pub mod namesrv;
pub mod net;
pub mod observe;
pub mod ping;
pub mod router;
pub mod server;
