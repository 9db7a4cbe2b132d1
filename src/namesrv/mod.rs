//! The NameServer: which broker serves which topic.

mod config;

pub use config::NameServerConfig;
