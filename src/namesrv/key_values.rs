//! The key-value configuration that operators keep at a NameServer.
//! Owns: namespace, key and value. Lives on: the control thread.
//! Kind: machine
//! Invariants: `bytes` is what the table takes, at most [`KEY_VALUE_BYTES_MAX`].

use std::collections::BTreeMap;

use super::limits::KEY_VALUE_BYTES_MAX;
use super::reply::Refusal;

/// What an entry of either map costs beside its texts, so that empty ones are bounded too.
const ENTRY_BYTES: usize = 32;

/// The table. A namespace stays when its last key goes, as at Apache: an empty answer tells
/// brokers that no topic is ordered any more, none would leave them as they are.
#[derive(Debug, Default)]
pub(super) struct KeyValues {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    bytes: usize,
}

impl KeyValues {
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
        let full =
            (0..KEY_VALUE_BYTES_MAX).position(|n| table.put(&n.to_string(), "", "").is_err());
        assert!(full.is_some(), "empty values are bounded as well");
    }
}
