//! A core's own turn, its broker, its shard and its recovery, over a disk, a network and a clock that
//! misbehave from a seed: everything in one thread, so that a seed that fails fails again.

mod audit;
pub mod client;
pub mod corruption;
pub mod dialog;
pub mod disk;
mod fact;
mod faults;
pub mod ledger;
pub mod link;
pub mod marks;
pub mod mortal;
pub mod names;
pub mod operator;
pub mod orderly;
pub mod place;
mod requests;
pub mod resumer;
pub mod ring;
mod search;
pub mod workload;
pub mod world;
