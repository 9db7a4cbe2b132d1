//! The key-value configuration that operators keep at a NameServer.
//! Owns: namespace, key and value. Lives on: the NameServer's thread.
//! Kind: machine
//! Invariants: `bytes` is what the table takes, at most [`KEY_VALUE_BYTES_MAX`].
//!
//! Its file is Apache's `kvConfig.json` (`KVConfigSerializeWrapper`, 5.3.3) with a checksum beside the
//! table, which fastjson passes over, so that either server reads the file of the other:
//!
//! ```text
//! {"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"}},"crc32":1234567890}
//! ```
//!
//! A file without checksum is one that Apache or a person wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::limits::{KEY_VALUE_BYTES_MAX, NAME_BYTES_MAX, TOPIC_BYTES_MAX};
use super::reply::Refusal;

/// What an entry of either map costs beside its texts, so that empty ones are bounded too.
const ENTRY_BYTES: usize = 32;

type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// The table. A namespace stays when its last key goes, as at Apache: an empty answer tells
/// brokers that no topic is ordered any more, none would leave them as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyValues {
    namespaces: Namespaces,
    bytes: usize,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyValuesError {
    /// It is no such table.
    #[error("it is no table of namespaces, keys and values: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is not as it was written.
    #[error("its checksum is {found}, that of its table {expected}")]
    Checksum {
        /// In the file.
        found: u32,
        /// Of what is in the file.
        expected: u32,
    },
    /// It has more than a NameServer keeps.
    #[error(
        "it has more than {KEY_VALUE_BYTES_MAX} bytes, a namespace of more than {NAME_BYTES_MAX} or \
         a key of more than {TOPIC_BYTES_MAX}"
    )]
    TooLarge,
}

/// The file, see the module's first lines.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<T> {
    config_table: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    crc32: Option<u32>,
}

impl KeyValues {
    /// Reads a file.
    ///
    /// # Errors
    /// [`KeyValuesError`]: it is damaged, or not ours to take.
    pub fn parse(bytes: &[u8]) -> Result<KeyValues, KeyValuesError> {
        let File { config_table, crc32 } = serde_json::from_slice::<File<Namespaces>>(bytes)?;
        let expected = checksum(&config_table);
        if let Some(found) = crc32.filter(|found| *found != expected) {
            return Err(KeyValuesError::Checksum { found, expected });
        }
        let mut table = KeyValues::default();
        for (namespace, keys) in config_table {
            if namespace.len() > NAME_BYTES_MAX
                || keys.keys().any(|key| key.len() > TOPIC_BYTES_MAX)
            {
                return Err(KeyValuesError::TooLarge);
            }
            table.bytes += namespace.len() + ENTRY_BYTES;
            table.bytes += keys.iter().map(|(key, value)| entry_bytes(key, value)).sum::<usize>();
            table.namespaces.insert(namespace, keys);
        }
        if table.bytes > KEY_VALUE_BYTES_MAX {
            return Err(KeyValuesError::TooLarge);
        }
        Ok(table)
    }

    /// The content of its file.
    pub(super) fn to_file(&self) -> Vec<u8> {
        let crc32 = Some(checksum(&self.namespaces));
        let file = File { config_table: &self.namespaces, crc32 };
        serde_json::to_vec(&file).expect("texts and a number are JSON")
    }

    pub(super) fn get(&self, namespace: &str, key: &str) -> Option<&String> {
        self.namespaces.get(namespace)?.get(key)
    }

    pub(super) fn namespace(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    /// # Errors
    /// If it does not fit.
    pub(super) fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<(), Refusal> {
        let before = self.get(namespace, key).map_or(0, |old| entry_bytes(key, old));
        let is_new = !self.namespaces.contains_key(namespace);
        let opened = if is_new { namespace.len() + ENTRY_BYTES } else { 0 };
        let bytes = self.bytes - before + opened + entry_bytes(key, value);
        if bytes > KEY_VALUE_BYTES_MAX {
            return Err(Refusal::full("bytes of key-value configuration", KEY_VALUE_BYTES_MAX));
        }
        self.bytes = bytes;
        let keys = self.namespaces.entry(namespace.to_owned()).or_default();
        keys.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    pub(super) fn remove(&mut self, namespace: &str, key: &str) {
        let keys = self.namespaces.get_mut(namespace);
        if let Some(old) = keys.and_then(|keys| keys.remove(key)) {
            self.bytes -= entry_bytes(key, &old);
        }
    }
}

fn entry_bytes(key: &str, value: &str) -> usize {
    key.len() + value.len() + ENTRY_BYTES
}

/// CRC-32 of the table as this module writes it: its entries in order, no blanks.
fn checksum(namespaces: &Namespaces) -> u32 {
    let text = serde_json::to_vec(namespaces).expect("texts are JSON");
    crc32fast::hash(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_outlives_its_keys() {
        let mut table = KeyValues::default();
        table.put("n", "k", "v").unwrap();
        assert_eq!(table.get("n", "k").map(String::as_str), Some("v"));
        table.remove("n", "k");
        table.remove("n", "k");
        table.remove("m", "k");
        assert_eq!(table.get("n", "k"), None);
        assert!(table.namespace("n").is_some_and(BTreeMap::is_empty));
        assert_eq!(table.namespace("m"), None);
        assert_eq!(table.bytes, 1 + ENTRY_BYTES);
        assert_eq!(KeyValues::parse(&table.to_file()).unwrap(), table);
    }

    #[test]
    fn it_fills_up_and_empties_again() {
        let mut table = KeyValues::default();
        let half = "v".repeat(KEY_VALUE_BYTES_MAX / 2);
        table.put("n", "a", &half).unwrap();
        assert!(table.put("n", "b", &half).is_err());
        assert_eq!(table.get("n", "b"), None);
        table.put("n", "a", &half).unwrap();
        table.put("n", "a", "").unwrap();
        table.put("n", "b", &half).unwrap();
        assert_eq!(KeyValues::parse(&table.to_file()).unwrap(), table);
        let full =
            (0..KEY_VALUE_BYTES_MAX).position(|n| table.put(&n.to_string(), "", "").is_err());
        assert!(full.is_some(), "empty values are bounded as well");
    }

    /// What its file says, or why it is refused.
    fn check(file: &str, expect: Result<&str, &str>) {
        let found = KeyValues::parse(file.as_bytes());
        match (found, expect) {
            (Ok(table), Ok(expect)) => assert_eq!(format!("{:?}", table.namespaces), expect),
            (Err(error), Err(expect)) => {
                let error = error.to_string();
                assert!(error.contains(expect), "{file}: {error}");
            }
            (found, expect) => panic!("{file}: {found:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn its_file_is_that_of_rocketmq_and_damage_in_it_is_found() {
        // As Apache RocketMQ 5.3.3 writes it.
        let theirs = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"},"empty":{}}}"#;
        check(theirs, Ok(r#"{"ORDER_TOPIC_CONFIG": {"T": "broker-a:4"}, "empty": {}}"#));
        let table = KeyValues::parse(theirs.as_bytes()).unwrap();
        let ours = String::from_utf8(table.to_file()).unwrap();
        assert_eq!(KeyValues::parse(ours.as_bytes()).unwrap(), table);
        check(&ours.replace("broker-a:4", "broker-a:5"), Err("its checksum is"));
        check(&ours[..ours.len() - 1], Err("no table of namespaces, keys and values: EOF"));
        for (file, why) in [
            ("", "EOF"),
            ("{}", "missing field `configTable`"),
            ("[]", "invalid length 0"),
            (r#"{"configTable":{"n":"v"}}"#, "invalid type: string"),
            (r#"{"configTable":{"n":{"k":1}}}"#, "invalid type: integer"),
        ] {
            check(file, Err(why));
        }
        let long = format!(r#"{{"configTable":{{"{}":{{}}}}}}"#, "n".repeat(NAME_BYTES_MAX + 1));
        check(&long, Err("it has more than"));
    }
}
