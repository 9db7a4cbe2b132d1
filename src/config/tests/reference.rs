//! The reference files in `deploy/config` and the table of keys say the same.

use std::fmt::Write;

use super::*;
use crate::config::keys::{Fallback, Key};
use crate::config::value::expected;

/// To be set to 1 for a test run that writes the files anew.
const WRITE: &str = "RINGMQ_WRITE_REFERENCE";

const BROKER_HEAD: &str = "\
# Every key that `ringmq broker` and `ringmq server` honour, with its default: each line may be left
# out. The syntax is that of Java properties, as in RocketMQ's broker.conf; values have no units,
# the line above says which is meant. `ringmq check-config FILE` says what a file means and what is
# wrong with it, `ringmq broker -p -c FILE` what holds in the end. A flag wins over its key.
# A key without a value here wants one when its # is taken away: to leave it empty is a mistake.
#
# A test compares this file with the program; it is written from the table of keys.
";

const NAMESRV_HEAD: &str = "\
# Every key that `ringmq namesrv` honours, with its default: each line may be left out. The syntax
# is that of Java properties, as in RocketMQ's namesrv.conf. `ringmq check-config FILE` says what a
# file means and what is wrong with it, `ringmq namesrv -p -c FILE` what holds in the end. A flag
# wins over its key.
#
# A test compares this file with the program; it is written from the table of keys.
";

fn reference(program: Program) -> String {
    let head = if program.has_broker() { BROKER_HEAD } else { NAMESRV_HEAD };
    let mut text = head.to_owned();
    for (title, keys) in keys::sections(program) {
        let for_server_only = program.has_broker() && title == "The NameServer";
        let note =
            if for_server_only { " of `ringmq server`; alone it has namesrv.conf" } else { "" };
        writeln!(text, "\n\n# ---- {title}{note}").unwrap();
        for Key { name, kind, default, doc, .. } in keys {
            match default {
                Fallback::Fixed(value) => {
                    let line = format!("#{name} = {value}");
                    let line = line.trim_end();
                    writeln!(text, "\n# {doc}\n# {}\n{line}", expected(kind)).unwrap();
                }
                Fallback::Computed(how) => {
                    let line = format!("# {doc}\n# {}; default: {how}", expected(kind));
                    writeln!(text, "\n{line}\n#{name} =").unwrap();
                }
            }
        }
    }
    text
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config").join(name)
}

fn committed(name: &str) -> String {
    std::fs::read_to_string(path(name)).expect("the reference is there")
}

const FILES: [(&str, Program); 2] =
    [("broker.conf", Program::Server), ("namesrv.conf", Program::Namesrv)];

/// The number of the first line in which two texts differ, and both.
fn first_difference(left: &str, right: &str) -> Option<(usize, String, String)> {
    let (mut left, mut right, mut number) = (left.lines(), right.lines(), 0);
    loop {
        let lines = (left.next(), right.next());
        number += 1;
        if lines == (None, None) {
            return None;
        }
        if lines.0 != lines.1 {
            let text = |line: Option<&str>| line.unwrap_or("nothing").to_owned();
            return Some((number, text(lines.0), text(lines.1)));
        }
    }
}

#[test]
fn the_reference_files_are_what_the_table_says() {
    for (name, program) in FILES {
        let expect = reference(program);
        if std::env::var(WRITE).is_ok_and(|value| value == "1") {
            std::fs::write(path(name), &expect).unwrap();
        }
        let found = committed(name);
        let differs = first_difference(&found, &expect);
        assert!(
            differs.is_none(),
            "deploy/config/{name} differs from the table of keys, first {differs:?}; \
             {WRITE}=1 cargo test -p ringmq reference writes it anew"
        );
    }
}

/// Does not believe the writer above: names and values are read from the files as an operator
/// would use them, without the mark before each line.
#[test]
fn a_reference_file_with_every_line_used_changes_nothing() {
    for (name, program) in FILES {
        let text = committed(name);
        let lines = text.lines().filter(|line| line.starts_with('#') && !line.starts_with("# "));
        let (mut honoured, mut used) = (Vec::new(), String::new());
        for line in lines.filter(|line| line.len() > 1) {
            let (key, value) = line[1..].split_once(" =").expect("key = value");
            honoured.push(key);
            let row = keys::find(program, key).expect("a key");
            if !matches!(row.default, Fallback::Computed(_)) {
                writeln!(used, "{key} ={value}").unwrap();
            }
        }
        let expect = keys::of(program).iter().filter(|key| key.class == keys::Class::Honoured);
        let mut expect: Vec<_> = expect.map(|key| key.name).collect();
        honoured.sort_unstable();
        expect.sort_unstable();
        assert_eq!(honoured, expect, "{name}");

        let plain = Invocation::plain(program);
        let file = Some((Path::new(name), used.as_bytes()));
        let (used, unused) = (resolve(&plain, file, &host()), resolve(&plain, None, &host()));
        let (used, unused) = (used.unwrap(), unused.unwrap());
        let printed = |config: &Config| printed(config.effective(), Print::All);
        assert_eq!(first_difference(&printed(&used), &printed(&unused)), None, "{name}");
    }
}

#[test]
fn the_reference_files_are_configuration_files_of_their_programs() {
    for program in [Program::Server, Program::Broker] {
        let text = committed("broker.conf");
        assert!(broker(&Invocation::plain(program), Some(&text), &host()).is_ok());
    }
    let text = committed("namesrv.conf");
    let file = Some((Path::new("namesrv.conf"), text.as_bytes()));
    assert!(resolve(&Invocation::plain(Program::Namesrv), file, &host()).is_ok());
}
