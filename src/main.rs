//! The program `ringmq`: reads the command line, sets up the log, runs what was asked for.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use ringmq::config::{self, Command, Config, Effective, Flags, Notice, Place, check, printed};
use ringmq::server::name_server_thread;
use ringmq::{inspect, ping, server};

/// Lines of the log that wait to be written, at the most; more are left out.
const LOG_LINES_MAX: usize = 16_384;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let invocation = match flags.command {
        Command::Server(flags) => flags.invocation(),
        Command::Broker(flags) => flags.invocation(),
        Command::Namesrv(flags) => flags.invocation(),
        Command::CheckConfig(flags) => return check::run(&flags),
        Command::Inspect(flags) => return inspect::run(&flags),
        Command::Ping(flags) => return ping::run(&flags),
    };
    let config = match config::load(&invocation) {
        Ok(config) => config,
        Err(errors) => {
            for error in errors {
                eprintln!("ringmq: {error}");
            }
            return ExitCode::from(2);
        }
    };
    if let Some(print) = invocation.print {
        let text = printed(config.effective(), print);
        return match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE, // nobody reads it
        };
    }
    // Whoever reads stderr may be slow, and a file of it on a disk that others use slower: cores do not wait for it.
    let (writer, written) = tracing_appender::non_blocking::NonBlockingBuilder::default()
        .buffered_lines_limit(LOG_LINES_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    tracing_subscriber::fmt()
        .with_max_level(config.log_level())
        .with_writer(writer)
        // Colours in a file or in the journal are noise that no search finds its way through.
        .with_ansi(is_coloured())
        .with_target(false)
        .init();
    say(&config);
    let ran = match config {
        Config::Server(config) => server::run(*config),
        Config::Namesrv(config) => name_server_thread::run(config.name_server, config.http_address),
    };
    drop(written); // all of the log, then the last word
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was set, by whom, and what does not have the effect that its author expected.
fn say(config: &Config) {
    let is_set = |line: &&Effective| line.place != Place::Default;
    for line in config.effective().iter().filter(is_set) {
        tracing::info!("{line}");
    }
    for notice in config.notices() {
        match notice {
            Notice::WithoutEffect { .. } => tracing::info!("{notice}"),
            _ => tracing::warn!("{notice}"),
        }
    }
}

/// On a terminal, unless NO_COLOR is set (no-color.org).
fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}
