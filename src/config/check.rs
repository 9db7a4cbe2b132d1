//! `ringmq check-config`: what a configuration file means, line by line, and what is wrong with it.
//! Kind: shell

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::error::{ConfigError, Place};
use super::keys::{self, Class, Fallback};
use super::settings::{Setting, Settings};
use super::value::expected;
use super::{Host, Invocation, Notice, Program, read, resolve};

/// Flags of `ringmq check-config`.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 if the program would start with the file, 1 if it would \
                        refuse, 2 if the file cannot be read.")]
pub struct CheckFlags {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Which program reads it [default: namesrv for a file named namesrv.conf, else server]
    #[arg(long = "for", value_name = "PROGRAM")]
    pub program: Option<Program>,
}

/// Exit status of a file that refuses the start.
const WRONG: u8 = 1;

/// Exit status of a file that cannot be read, as of a command line that cannot.
const UNREADABLE: u8 = 2;

/// Prints the report on a file. Nothing is started, bound or written.
pub fn run(flags: &CheckFlags) -> ExitCode {
    let program = flags.program.unwrap_or_else(|| Program::of_file(&flags.file));
    let bytes = match read(&flags.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("ringmq: {error}");
            return ExitCode::from(UNREADABLE);
        }
    };
    let report = Report::of(program, &flags.file, &bytes, &Host::observe());
    // Whoever closed the pipe has read enough; the status still tells.
    let _ = std::io::stdout().write_all(report.text.as_bytes());
    if report.mistakes == 0 { ExitCode::SUCCESS } else { ExitCode::from(WRONG) }
}

/// What there is to say about a file.
#[derive(Debug)]
struct Report {
    text: String,
    mistakes: usize,
}

impl Report {
    fn of(program: Program, path: &Path, bytes: &[u8], host: &Host) -> Report {
        let settings = Settings::gather(program, Some((path, bytes)), &[]);
        let resolved = resolve(&Invocation::plain(program), Some((path, bytes)), host);
        let (notices, errors) = match &resolved {
            Ok(config) => (config.notices(), &[][..]),
            Err(errors) => (&[][..], errors.as_slice()),
        };
        let mut text = format!("{}, as {program} reads it\n", path.display());
        let of_class = |is_of: fn(&Class) -> bool| {
            settings.all().iter().filter(move |setting| is_of(&setting.key.class))
        };
        write_settings(&mut text, "honoured", of_class(|class| *class == Class::Honoured));
        let without = |class: &Class| matches!(class, Class::Harmless(_) | Class::NotYet(_));
        write_settings(&mut text, "without effect", of_class(without));
        let promises = |class: &Class| matches!(class, Class::Promise(_));
        write_settings(&mut text, "not there, and not asked for", of_class(promises));
        write_notices(&mut text, program, notices);
        write_errors(&mut text, errors);
        let verdict = match errors.len() {
            0 => format!("{program} would start with it"),
            1 => format!("{program} would not start with it: 1 mistake"),
            count => format!("{program} would not start with it: {count} mistakes"),
        };
        let _ = writeln!(text, "\n{verdict}");
        Report { text, mistakes: errors.len() }
    }
}

// Writing to a string does not fail, so the results below are nothing to look at.

fn write_settings<'a>(text: &mut String, title: &str, settings: impl Iterator<Item = &'a Setting>) {
    let mut settings = settings.peekable();
    if settings.peek().is_some() {
        let _ = writeln!(text, "\n{title}:");
    }
    for Setting { key, value, place, .. } in settings {
        let Place::File(_, line) = place else { continue };
        let shown = keys::shown(key.name, &value.to_string());
        let _ = writeln!(text, "  line {line}: {} = {shown}", key.name);
        let _ = match (key.class, key.default) {
            (Class::Honoured, Fallback::Fixed(default)) => {
                let default = if default.is_empty() { "empty" } else { default };
                writeln!(text, "    {}; {}; default {default}", key.doc, expected(key.kind))
            }
            (Class::Honoured, Fallback::Computed(how)) => {
                writeln!(text, "    {}; {}; default {how}", key.doc, expected(key.kind))
            }
            _ => writeln!(text, "    {}", key.doc),
        };
    }
}

/// Keys without effect stand in the list above; a value without effect of one that has some does not.
fn write_notices(text: &mut String, program: Program, notices: &[Notice]) {
    let is_honoured =
        |name| keys::find(program, name).is_some_and(|key| key.class == Class::Honoured);
    let is_further = |notice: &&Notice| match notice {
        Notice::WithoutEffect { key, .. } => is_honoured(key),
        _ => true,
    };
    let mut notices = notices.iter().filter(is_further).peekable();
    if notices.peek().is_some() {
        let _ = writeln!(text, "\nto know:");
    }
    for notice in notices {
        let _ = writeln!(text, "  {notice}");
    }
}

fn write_errors(text: &mut String, errors: &[ConfigError]) {
    if !errors.is_empty() {
        let _ = writeln!(text, "\nwrong:");
    }
    for error in errors {
        let _ = writeln!(text, "  {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(program: Program, file: &str, expect: &str) {
        let (name, home) = (Some("node-7".to_owned()), Some("/operator".into()));
        let host = Host { name, home, outward: None, cpus: 4, name_servers: None };
        let report = Report::of(program, Path::new("it.conf"), file.as_bytes(), &host);
        assert_eq!(report.text, expect);
        assert_eq!(report.mistakes == 0, expect.contains("would start"));
    }

    #[test]
    fn a_good_file_is_explained() {
        check(
            Program::Server,
            "brokerName = a\n\nfileReservedTime=48\nsendMessageThreadPoolNums=8\naclEnable=false\n\
             brokerIP1=192.0.2.9",
            "it.conf, as ringmq server reads it\n\
             \n\
             honoured:\n  \
               line 1: brokerName = a\n    \
                 name under which clients know this broker; part of every route; 1 to 127 of the \
                 letters, digits and . _ - % |; default the host name\n  \
               line 3: fileReservedTime = 48\n    \
                 age at which a segment may be removed: that of its newest message; a whole number \
                 from 1 to 1000000 h; default 72\n  \
               line 6: brokerIP1 = 192.0.2.9\n    \
                 address that clients are told to connect to; an IP address such as 192.0.2.1; \
                 default bindAddress; for 0.0.0.0 the address of the way out\n\
             \n\
             without effect:\n  \
               line 4: sendMessageThreadPoolNums = 8\n    \
                 there are no thread pools and no queues before them: a core is a thread\n\
             \n\
             not there, and not asked for:\n  \
               line 5: aclEnable = false\n    \
                 access control is not there yet: everybody who can connect may do all\n\
             \n\
             to know:\n  \
               clients are told to connect to 192.0.2.9, but the server listens on 127.0.0.1 only; \
               set --listen 0.0.0.0 (bindAddress) unless something forwards to it\n\
             \n\
             ringmq server would start with it\n",
        );
    }

    #[test]
    fn what_is_wrong_is_told_beside_what_is_right() {
        check(
            Program::Namesrv,
            "listenPort = 9877\nscanNotActiveBrokerIntervall = 1\nbrokerName = a\n",
            "it.conf, as ringmq namesrv reads it\n\
             \n\
             honoured:\n  \
               line 1: listenPort = 9877\n    \
                 TCP port of the NameServer; 0 takes a free one; a whole number from 0 to 65535; \
                 default 9876\n\
             \n\
             wrong:\n  \
               it.conf:2: scanNotActiveBrokerIntervall is not a key; did you mean \
               scanNotActiveBrokerInterval?\n  \
               it.conf:3: brokerName is no key of ringmq namesrv: it belongs to broker.conf; \
               remove the line\n\
             \n\
             ringmq namesrv would not start with it: 2 mistakes\n",
        );
        check(
            Program::Broker,
            "needWaitForService=true",
            "it.conf, as ringmq broker reads it\n\
             \n\
             wrong:\n  \
               it.conf:1: needWaitForService is no key of ringmq broker: it belongs to \
               namesrv.conf; remove the line\n\
             \n\
             ringmq broker would not start with it: 1 mistake\n",
        );
    }

    #[test]
    fn a_value_without_effect_is_told() {
        let (name, home) = (Some("node-7".to_owned()), Some("/operator".into()));
        let host = Host { name, home, outward: None, cpus: 4, name_servers: None };
        let (program, path) = (Program::Server, Path::new("it.conf"));
        let report = Report::of(program, path, b"metricsExporterType=LOG", &host);
        let expect = "to know:\n  it.conf:1: metricsExporterType = LOG has no effect: not yet";
        assert!(report.text.contains(expect), "{}", report.text);
    }

    #[test]
    fn an_empty_file_is_a_good_one() {
        let expect = "it.conf, as ringmq server reads it\n\nringmq server would start with it\n";
        check(Program::Server, "# nothing\n", expect);
    }

    #[test]
    fn a_file_says_by_its_name_whose_it_is() {
        assert_eq!(Program::of_file(Path::new("/etc/namesrv.conf")), Program::Namesrv);
        assert_eq!(Program::of_file(Path::new("broker.conf")), Program::Server);
        assert_eq!(Program::of_file(Path::new("..")), Program::Server);
    }
}
