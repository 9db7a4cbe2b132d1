//! `ringmq-bench`: measures a RocketMQ server over the wire, RingMQ's or Apache's, and checks what it
//! delivers. See README.md.

mod answer;
mod arena;
mod arguments;
mod checker;
mod clock;
mod compare;
mod consume;
mod consumer;
mod control;
mod e2e;
mod error;
mod folder;
mod lane;
mod latency;
mod ledger;
mod measure;
mod misbehave;
mod overload;
mod page;
mod produce;
mod producer;
mod refusals;
mod report;
mod route;
mod schedule;
mod share;
mod sizes;
mod stamp;
mod tally;
mod template;
mod timeline;
mod topics;
mod usage;
mod window;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

/// Exit code of a run whose messages are not as they were sent.
const EXIT_DIFFERENT: u8 = 1;

/// Exit code of a run that could not be made.
const EXIT_ERROR: u8 = 2;

/// How a run ended that could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing is amiss with the messages, as far as the command looks.
    AsSent,
    /// The checker found differences; they were printed.
    Different,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Command::Produce(produce) => produce::run(produce).map(|()| Verdict::AsSent),
        Command::Consume(consume) => consume::run(consume),
        Command::E2e(e2e) => e2e::run(e2e),
        Command::Overload(overload) => overload::run(overload),
        Command::Misbehave(misbehave) => misbehave::run(misbehave).map(|()| Verdict::AsSent),
        Command::Compare(compare) => compare::run(compare).map(|()| Verdict::AsSent),
    };
    match done {
        Ok(Verdict::AsSent) => ExitCode::SUCCESS,
        Ok(Verdict::Different) => ExitCode::from(EXIT_DIFFERENT),
        Err(error) => {
            eprintln!("ringmq-bench: {error}");
            ExitCode::from(EXIT_ERROR)
        }
    }
}
