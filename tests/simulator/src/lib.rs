//! A core's own turn, its broker, its shard and its recovery, over a disk, a network and a clock that
//! misbehave from a seed: everything in one thread, so that a seed that fails fails again.

mod audit;
pub mod client;
pub mod corruption;
pub mod disk;
mod faults;
pub mod ledger;
pub mod marks;
pub mod mortal;
pub mod names;
pub mod orderly;
pub mod place;
pub mod ring;
mod search;
pub mod workload;
pub mod world;
