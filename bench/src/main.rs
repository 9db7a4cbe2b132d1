//! `ringmq-bench`: measures a RocketMQ server over the wire, RingMQ's or Apache's, and checks what it
//! delivers. See README.md.

mod answer;
mod arguments;
mod clock;
mod control;
mod error;
mod latency;
mod measure;
mod produce;
mod producer;
mod refusals;
mod report;
mod route;
mod schedule;
mod stamp;
mod template;
mod usage;
mod window;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

/// Exit code of a run that could not be made.
const EXIT_ERROR: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Command::Produce(produce) => produce::run(produce),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq-bench: {error}");
            ExitCode::from(EXIT_ERROR)
        }
    }
}
