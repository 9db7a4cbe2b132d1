//! Files and a ring that hold back what was not synced. What and what not: the README.

pub mod files;
pub mod ring;
