//! The program `ringmq`, its server only, over files and a ring that hold back what was not synced.

use std::process::ExitCode;

use clap::Parser;
use holdback::files::HeldFiles;
use holdback::ring::{Bug, HeldRing};
use ringmq::config::{self, Command, Config, Flags};
use ringmq::server;

fn main() -> ExitCode {
    let Command::Server(flags) = Flags::parse().command else {
        eprintln!("holdback: only `server`");
        return ExitCode::from(2);
    };
    let bug = match std::env::var("HOLDBACK_BUG").as_deref() {
        Err(_) => None,
        Ok("drop-dsync") => Some(Bug::DropsDsync),
        Ok("drop-sync") => Some(Bug::DropsSync),
        Ok(other) => {
            eprintln!("holdback: no bug {other}");
            return ExitCode::from(2);
        }
    };
    let config = match config::load(&flags.invocation()) {
        Ok(Config::Server(config)) => *config,
        Ok(Config::Namesrv(_)) => unreachable!("flags of a server"),
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("holdback: {error}"));
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt()
        .with_max_level(config.log_level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let made = server::run_on(config, HeldFiles::default(), move |config| {
        Ok(HeldRing::new(server::core::new_reactor(config)?, bug))
    });
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdback: {error}");
            ExitCode::FAILURE
        }
    }
}
