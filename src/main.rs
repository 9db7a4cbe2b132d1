//! The program `ringmq`: reads the command line, sets up the log, runs what was asked for.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use ringmq::config::{self, Command, Flags};
use ringmq::{inspect, ping, server};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let flags = match flags.command {
        Command::Server(flags) => flags,
        Command::Inspect(flags) => return inspect::run(&flags),
        Command::Ping(flags) => return ping::run(&flags),
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
        // Colours in a file or in the journal are noise that no search finds its way through.
        .with_ansi(is_coloured())
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

/// On a terminal, unless NO_COLOR is set (no-color.org).
fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}
