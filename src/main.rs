//! The program `ringmq`: reads the command line, sets up the log, runs what was asked for.

use std::process::ExitCode;

use clap::Parser;
use ringmq::config::{self, Command, Flags};
use ringmq::{inspect, server};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let flags = match flags.command {
        Command::Server(flags) => flags,
        Command::Inspect(flags) => return inspect::run(&flags),
    };
    let config = match config::load(&flags) {
        Ok(config) => config,
        Err(errors) => {
            for error in errors {
                eprintln!("ringmq: {error}");
            }
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_max_level(config.log_level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    for notice in &config.notices {
        tracing::info!("{notice}");
    }
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq: {error}");
            ExitCode::FAILURE
        }
    }
}
