//! The one table of configuration keys: what each means here, its type, range and default.
//!
//! Every key of RocketMQ 5.3.3 (`BrokerConfig`, `MessageStoreConfig`, `NettyServerConfig`,
//! `NettyClientConfig`, `AuthConfig`, `NamesrvConfig`) is in one of four classes, so that a file
//! from a running broker either does what it says, or is told what it does not do. Keys of our
//! own begin with `ringmq`.

mod harmless;
mod honoured;
mod not_yet;
mod promises;
mod readers;

use std::sync::LazyLock;

use super::Program;
use super::limits::{NEAREST_KEY_BYTES_MAX, SHOWN_CHARS_MAX};

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It does what it says.
    Honoured,
    /// It has no effect here, for the reason given; said at start when a file sets it.
    Harmless(&'static str),
    /// It belongs to something that is not there yet; said at start when a file sets it. Asking
    /// for the thing itself gets an error answer, so that nobody is deceived.
    NotYet(&'static str),
    /// It promises something that is not there: any value but the default refuses the start.
    Promise(&'static str),
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A count, a port, a bit set: the name of the key says it.
    None,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Hours.
    Hours,
    /// Percent.
    Percent,
}

/// Which numbers of a range are values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All.
    One,
    /// Multiples of this.
    Of(i64),
    /// Powers of two.
    PowerOfTwo,
}

/// The type of a value, with its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// 1 to 127 of the characters that RocketMQ allows in a topic, and `.`.
    Name,
    /// `true` or `false`, in any case as Java reads it.
    Boolean,
    /// A whole number, both ends included.
    Integer {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
        /// Which numbers between them.
        step: Step,
        /// What it counts.
        unit: Unit,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address.
    Address,
    /// `host:port` joined by `;`.
    Endpoints,
    /// A path in the file system.
    Path,
    /// Delays such as `1s 5m 2h`, joined by blanks.
    Delays,
    /// Hours of the day joined by `;`.
    Hours,
}

/// The value of a key that nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This text, in the syntax of the file.
    Fixed(&'static str),
    /// Found out at start; the text says how.
    Computed(&'static str),
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As it is written in the file.
    pub name: &'static str,
    /// What becomes of it.
    pub class: Class,
    /// Its type and range.
    pub kind: Kind,
    /// What holds when it is not set.
    pub default: Fallback,
    /// One line for the reference.
    pub doc: &'static str,
}

/// Honoured keys about one subject.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Heading of the reference.
    pub title: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// Keys that share their class and the reason for it.
struct Group {
    class: Class,
    /// `name=default`, as RocketMQ's own lists have it. The default tells the type: a boolean, an
    /// integer, else text; a number in quotation marks is text.
    keys: &'static [&'static str],
}

/// What each program reads, the honoured keys first.
#[derive(Debug)]
struct Tables {
    server: Vec<Key>,
    broker: Vec<Key>,
    namesrv: Vec<Key>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let groups = harmless::GROUPS.iter().chain(not_yet::GROUPS).chain(promises::GROUPS);
    let grouped = groups.flat_map(|group| group.keys.iter().map(|row| group.key(row)));
    let honoured = honoured::SECTIONS.iter().flat_map(|section| section.keys).copied();
    let server: Vec<Key> = honoured.chain(grouped).collect();
    let read_by = |program| {
        let read = server.iter().filter(move |key| readers::reads(program, key.name));
        read.map(move |key| as_read_by(program, key)).collect()
    };
    Tables { broker: read_by(Program::Broker), namesrv: read_by(Program::Namesrv), server }
});

/// `listenPort` is the NameServer's where there is no broker, and there is no store to keep files in.
fn as_read_by(program: Program, key: &Key) -> Key {
    let alone = honoured::NAMESRV_ALONE.iter().find(|alone| alone.name == key.name);
    *alone.filter(|_| program == Program::Namesrv).unwrap_or(key)
}

impl Group {
    fn key(&self, row: &'static str) -> Key {
        let (name, default) = row.split_once('=').expect("a row is name=default");
        let (Class::Harmless(doc) | Class::NotYet(doc) | Class::Promise(doc)) = self.class else {
            unreachable!("honoured keys are rows of their own")
        };
        let kind = if matches!(default, "true" | "false") {
            Kind::Boolean
        } else if default.parse::<i64>().is_ok() {
            Kind::Integer { min: i64::MIN, max: i64::MAX, step: Step::One, unit: Unit::None }
        } else {
            Kind::Text
        };
        let default = Fallback::Fixed(default.trim_matches('"'));
        Key { name, class: self.class, kind, default, doc }
    }
}

/// Every key that a program reads, the honoured ones first.
pub fn of(program: Program) -> &'static [Key] {
    match program {
        Program::Server => &TABLES.server,
        Program::Broker => &TABLES.broker,
        Program::Namesrv => &TABLES.namesrv,
    }
}

/// The honoured keys that a program reads, by subject.
pub fn sections(program: Program) -> impl Iterator<Item = (&'static str, Vec<Key>)> {
    let sections = honoured::SECTIONS.iter().map(move |section| {
        let read = section.keys.iter().filter(|key| readers::reads(program, key.name));
        (section.title, read.map(|key| as_read_by(program, key)).collect::<Vec<Key>>())
    });
    sections.filter(|(_, keys)| !keys.is_empty())
}

/// The key of that name; names are case sensitive, as in RocketMQ.
pub fn find(program: Program, name: &str) -> Option<&'static Key> {
    of(program).iter().find(|key| key.name == name)
}

/// Where a key belongs that a program does not read, but another one does.
pub fn home(name: &str) -> Option<(&'static Key, &'static str)> {
    find(Program::Server, name).map(|key| (key, readers::home(name)))
}

/// Whether `-m` prints a key.
pub fn is_important(name: &str) -> bool {
    readers::is_important(name)
}

/// Whether the value of a key is nobody's business.
pub fn is_secret(name: &str) -> bool {
    readers::is_secret(name)
}

/// The value of a key as a log or a message may show it: no secret, and enough to find it, not a
/// page.
pub fn shown(name: &str, value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        _ if readers::is_secret(name) && !value.is_empty() => "(not shown)".to_owned(),
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// The key that somebody who wrote `name` probably meant: the one with the fewest edits, a wrong
/// case counting none, if they are at most a third of the name.
pub fn nearest(program: Program, name: &str) -> Option<&'static str> {
    if name.len() > NEAREST_KEY_BYTES_MAX {
        return None;
    }
    let edits = |key: &Key| (edit_distance(name, key.name), key.name);
    let (edits, found) = of(program).iter().map(edits).min_by_key(|(edits, _)| *edits)?;
    (edits * 3 <= name.len()).then_some(found)
}

/// Levenshtein's distance, one row at a time.
fn edit_distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, byte) in left.bytes().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(right) {
            let replaced = diagonal + usize::from(!byte.eq_ignore_ascii_case(other));
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(before + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(left.len())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::value::Value;
    use super::*;

    #[test]
    fn a_name_stands_in_the_table_once() {
        let mut seen = HashSet::new();
        for key in of(Program::Server) {
            assert!(seen.insert(key.name), "{} stands twice", key.name);
            assert!(key.name.len() <= NEAREST_KEY_BYTES_MAX, "{}", key.name);
        }
        assert!(seen.len() > 480, "a key of RocketMQ's was lost: {}", seen.len());
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        for key in of(Program::Server) {
            if let Fallback::Fixed(default) = key.default {
                let value = Value::parse(key.kind, default);
                assert!(value.is_ok(), "{} = {default}: {value:?}", key.name);
            }
        }
    }

    #[test]
    fn every_key_has_a_line_for_the_reference() {
        for key in of(Program::Server) {
            assert!(!key.doc.is_empty() && !key.doc.contains('\n'), "{}", key.name);
            assert!(!key.doc.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn a_misspelt_key_finds_the_one_meant() {
        assert_eq!(nearest(Program::Server, "brokerIp1"), Some("brokerIP1"));
        assert_eq!(nearest(Program::Server, "flushDiskTyp"), Some("flushDiskType"));
        assert_eq!(nearest(Program::Server, "namesrvAdrr"), Some("namesrvAddr"));
        assert_eq!(nearest(Program::Server, "ringmqShard"), Some("ringmqShards"));
        assert_eq!(nearest(Program::Server, "somethingElseAltogether"), None);
        assert_eq!(nearest(Program::Server, &"x".repeat(100_000)), None);
        assert_eq!(nearest(Program::Server, ""), None);
    }

    #[test]
    fn the_nearest_key_is_one_that_the_program_reads() {
        assert_eq!(
            nearest(Program::Namesrv, "scanNotActiveBrokerIntervall"),
            Some("scanNotActiveBrokerInterval")
        );
        assert_eq!(nearest(Program::Broker, "scanNotActiveBrokerIntervall"), None);
        assert_eq!(nearest(Program::Namesrv, "brokerNmae"), None);
    }

    #[test]
    fn listen_port_is_the_port_of_what_runs() {
        let default = |program| find(program, "listenPort").expect("a key").default;
        assert_eq!(default(Program::Server), Fallback::Fixed("10911"));
        assert_eq!(default(Program::Broker), Fallback::Fixed("10911"));
        assert_eq!(default(Program::Namesrv), Fallback::Fixed("9876"));
    }

    #[test]
    fn edit_distance_is_levenshteins() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", ""), 3);
        assert_eq!(edit_distance("ABC", "abc"), 0);
    }
}
