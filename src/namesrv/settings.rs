//! What of a NameServer's configuration is shown (319) and changed (318) over the wire.
//! Owns: what was set over the wire. Lives on: the NameServer's thread.
//! Kind: machine
//! Invariants: only keys of the table below are ever set, with values in their range.
//!
//! Whoever reaches the port may ask for a change, so only what decides how requests are answered
//! can be changed. No path, address or list of forbidden keys is among it. What was set is kept in
//! a file of its own and is stronger than broker.conf, which is the operator's: Apache's NameServer
//! writes its whole configuration over the operator's file instead (`Configuration.persist`, 5.3.3).

use std::collections::BTreeMap;

use super::config::NameServerConfig;
use super::limits::{SCAN_INTERVAL_MS_MAX, SCAN_INTERVAL_MS_MIN, WAIT_FOR_SERVICE_SECONDS_MAX};
use crate::config::file::{Malformed, parse};

/// Keys that 318 refuses with code 16 (`DefaultRequestProcessor.initConfigBlackList` and the default
/// of `NamesrvConfig.configBlackList`).
pub(super) const FORBIDDEN: [&str; 4] =
    ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

/// A key that can be changed.
struct Key {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    Boolean(fn(&mut NameServerConfig) -> &mut bool),
    /// Smallest and largest value, and how many of the configuration's units one of the key's is.
    Number(u64, u64, u64, fn(&mut NameServerConfig) -> &mut u64),
}

#[rustfmt::skip] // A table: one row a key.
const KEYS: [Key; 9] = [
    Key { name: "deleteTopicWithBrokerRegistration", kind: Kind::Boolean(|it| &mut it.registration_deletes_topics) },
    Key { name: "enableAllTopicList", kind: Kind::Boolean(|it| &mut it.lists_all_topics) },
    Key { name: "enableTopicList", kind: Kind::Boolean(|it| &mut it.lists_topics) },
    Key { name: "needWaitForService", kind: Kind::Boolean(|it| &mut it.waits_for_service) },
    Key { name: "orderMessageEnable", kind: Kind::Boolean(|it| &mut it.order_in_routes) },
    Key { name: "returnOrderTopicConfigToBroker", kind: Kind::Boolean(|it| &mut it.order_to_brokers) },
    Key { name: "scanNotActiveBrokerInterval", kind:
        Kind::Number(SCAN_INTERVAL_MS_MIN, SCAN_INTERVAL_MS_MAX, 1, |it| &mut it.scan_interval_ms) },
    Key { name: "supportActingMaster", kind: Kind::Boolean(|it| &mut it.acting_master) },
    Key { name: "waitSecondsForService", kind:
        Kind::Number(0, WAIT_FOR_SERVICE_SECONDS_MAX, 1000, |it| &mut it.wait_for_service_ms) },
];

/// What was set over the wire, by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    values: BTreeMap<&'static str, String>,
}

/// Why a setting is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A value that the key does not take.
    #[error("{key}={found}: {expected} is expected")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        found: String,
        /// What it takes.
        expected: String,
    },
    /// A key that cannot be set over the wire.
    #[error("{key} is no key that can be set here")]
    Key {
        /// The key.
        key: String,
    },
    /// A line that is no `key=value`.
    #[error("line {line}: {why}")]
    Line {
        /// Counted from 1.
        line: u32,
        /// What is wrong with it.
        why: Malformed,
    },
}

/// What a text of properties asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing that can be changed here.
    Nothing,
    /// A key that must not be.
    Forbidden,
    /// The text cannot be read.
    Unreadable,
    /// These.
    Changes(Overrides),
}

impl Overrides {
    /// Reads the file.
    ///
    /// # Errors
    /// Whatever is in it that [`Overrides::to_file`] would not have written: the first of it.
    pub fn parse(bytes: &[u8]) -> Result<Overrides, SettingError> {
        let (entries, malformed) = parse(bytes);
        if let Some((line, why)) = malformed.first() {
            return Err(SettingError::Line { line: *line, why: *why });
        }
        let mut overrides = Overrides::default();
        for entry in entries {
            let key = KEYS.iter().find(|key| key.name == entry.key);
            let key = key.ok_or(SettingError::Key { key: entry.key })?;
            overrides.values.insert(key.name, key.checked(&entry.value)?);
        }
        Ok(overrides)
    }

    /// The content of the file.
    pub(super) fn to_file(&self) -> Vec<u8> {
        let mut text = String::from(
            "# Set over the wire (updateNamesrvConfig, request code 318); stronger than broker.conf.\n\
             # Remove a line and start again to undo it.\n",
        );
        for (key, value) in &self.values {
            text.push_str(&format!("{key}={value}\n"));
        }
        text.into_bytes()
    }

    /// Sets what was set.
    pub fn apply(&self, config: &mut NameServerConfig) {
        for key in &KEYS {
            if let Some(value) = self.values.get(key.name) {
                key.set(config, value);
            }
        }
    }

    /// Takes over newer settings.
    pub(super) fn extend(&mut self, newer: &Overrides) {
        self.values.extend(newer.values.iter().map(|(key, value)| (*key, value.clone())));
    }

    /// Every key and value, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(key, value)| (*key, value.as_str()))
    }
}

/// What the body of a 318 asks for (`DefaultRequestProcessor.updateConfig`). Keys that decide
/// nothing here, or that are known to nobody, are passed over as there.
pub(super) fn asked(body: &[u8]) -> Result<Asked, SettingError> {
    let (entries, malformed) = parse(body);
    if malformed.iter().any(|(_, why)| matches!(why, Malformed::BadEscape)) {
        return Ok(Asked::Unreadable);
    }
    if entries.iter().any(|entry| FORBIDDEN.contains(&entry.key.as_str())) {
        return Ok(Asked::Forbidden);
    }
    let mut changes = Overrides::default();
    for entry in &entries {
        if let Some(key) = KEYS.iter().find(|key| key.name == entry.key) {
            changes.values.insert(key.name, key.checked(&entry.value)?);
        }
    }
    Ok(if changes.values.is_empty() { Asked::Nothing } else { Asked::Changes(changes) })
}

/// The answer to 319: every key with the value that holds, sorted, with what is fixed at the start
/// (`Configuration.getAllConfigsFormatString`).
pub(super) fn shown(config: &NameServerConfig, fixed: &[(&'static str, String)]) -> String {
    let mut config = config.clone();
    let mut all: BTreeMap<&str, String> =
        fixed.iter().map(|(key, value)| (*key, value.clone())).collect();
    all.insert("configBlackList", FORBIDDEN.join(";"));
    for key in &KEYS {
        all.insert(key.name, key.shown(&mut config));
    }
    all.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

impl Key {
    /// The value as it is kept.
    fn checked(&self, text: &str) -> Result<String, SettingError> {
        let text = text.trim();
        let (good, expected) = match self.kind {
            Kind::Boolean(_) => {
                (boolean(text).map(|it| it.to_string()), "true or false".to_owned())
            }
            Kind::Number(min, max, ..) => {
                let number = text.parse().ok().filter(|number| (min..=max).contains(number));
                (number.map(|it| it.to_string()), format!("a whole number from {min} to {max}"))
            }
        };
        // What a remark and a log line repeat is bounded.
        let found = text.chars().take(64).collect();
        good.ok_or(SettingError::Value { key: self.name, found, expected })
    }

    fn set(&self, config: &mut NameServerConfig, value: &str) {
        match self.kind {
            Kind::Boolean(field) => *field(config) = value == "true",
            Kind::Number(_, _, factor, field) => {
                let number: u64 = value.parse().expect("checked when it was taken");
                *field(config) = number * factor;
            }
        }
    }

    fn shown(&self, config: &mut NameServerConfig) -> String {
        match self.kind {
            Kind::Boolean(field) => field(config).to_string(),
            Kind::Number(_, _, factor, field) => (*field(config) / factor).to_string(),
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file that a body leaves behind, without its comment, or what is said instead.
    fn check(body: &str, expect: &str) {
        let found = match asked(body.as_bytes()) {
            Ok(Asked::Changes(changes)) => {
                let file = changes.to_file();
                assert_eq!(Overrides::parse(&file), Ok(changes));
                let text = String::from_utf8(file).unwrap();
                text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ")
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expect, "{body}");
    }

    #[test]
    fn a_body_asks_for_what_can_be_changed() {
        check("orderMessageEnable=true\n", "orderMessageEnable=true");
        check(
            "enableTopicList = FALSE\nscanNotActiveBrokerInterval: 700 \n",
            "enableTopicList=false scanNotActiveBrokerInterval=700",
        );
        check("waitSecondsForService=1\nwaitSecondsForService=2", "waitSecondsForService=2");
        check("", "Nothing");
        check("listenPort=1\nclientRequestThreadPoolNums=9\nwhatever=x", "Nothing");
        check("listenPort=1\nsupportActingMaster=true", "supportActingMaster=true");
        for key in FORBIDDEN {
            check(&format!("enableTopicList=false\n{key}=/etc/passwd"), "Forbidden");
        }
        check("a=\\u00", "Unreadable");
        check("enableTopicList=ja", "enableTopicList=ja: true or false is expected");
        let range = "a whole number from 100 to 600000 is expected";
        for value in ["99", "600001", "-1", "x", ""] {
            let expect = format!("scanNotActiveBrokerInterval={value}: {range}");
            check(&format!("scanNotActiveBrokerInterval={value}"), &expect);
        }
    }

    #[test]
    fn a_file_says_what_is_wrong_with_it() {
        let check = |file: &[u8], expect: &str| {
            assert_eq!(Overrides::parse(file).unwrap_err().to_string(), expect);
        };
        check(b"kvConfigPath=/x", "kvConfigPath is no key that can be set here");
        check(b"\nenableTopicList=\xff", "line 2: not UTF-8");
        check(b"enableTopicList=maybe", "enableTopicList=maybe: true or false is expected");
    }

    #[test]
    fn what_was_set_holds_and_is_shown() {
        let mut config = NameServerConfig::default();
        let every = KEYS.map(|key| match key.kind {
            Kind::Boolean(field) => format!("{}={}\n", key.name, !*field(&mut config)),
            Kind::Number(_, max, ..) => format!("{}={max}\n", key.name),
        });
        let overrides = Overrides::parse(every.concat().as_bytes()).unwrap();
        overrides.apply(&mut config);
        assert_eq!((config.scan_interval_ms, config.wait_for_service_ms), (600_000, 3_600_000));
        let fixed = [("listenPort", "9876".to_owned())];
        let text = shown(&config, &fixed);
        for line in every.iter().map(String::as_str).chain(["listenPort=9876\n"]) {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.lines().is_sorted());
    }
}
