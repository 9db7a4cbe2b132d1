//! Recalls: messages that were called back before their time.
//! Owns: for each its due time, and the topic and unique key that name it.

use std::collections::BTreeSet;

/// Bytes that name a recalled message: its topic, `+`, its unique key (`TimerMessageStore.buildDeleteKey`).
pub type RecallName = Box<[u8]>;

/// See the module's first lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recalls {
    names: BTreeSet<(u64, RecallName)>,
}

impl Recalls {
    /// A message of this time is not to come.
    pub fn insert(&mut self, due_ms: u64, name: &[u8]) {
        self.names.insert((due_ms, name.into()));
    }

    /// Whether any message of this time was recalled.
    pub fn has_any(&self, due_ms: u64) -> bool {
        let first = self.names.range((due_ms, RecallName::default())..).next();
        first.is_some_and(|(at, _)| *at == due_ms)
    }

    /// Whether this one was.
    pub fn contains(&self, due_ms: u64, name: &[u8]) -> bool {
        self.names.contains(&(due_ms, name.into()))
    }

    /// Nothing that is due before this time is pending.
    pub fn forget_before(&mut self, due_ms: u64) {
        while self.first_ms().is_some_and(|first| first < due_ms) {
            self.names.pop_first();
        }
    }

    /// When the first is due.
    pub fn first_ms(&self) -> Option<u64> {
        self.names.first().map(|(due_ms, _)| *due_ms)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All of them, as payloads of *recalled* records.
    pub fn payloads(&self) -> impl Iterator<Item = Vec<u8>> {
        self.names.iter().map(|(due_ms, name)| write_recalled(*due_ms, name))
    }
}

/// Layout of a *recalled* record: due u64, little endian, then the name.
pub fn write_recalled(due_ms: u64, name: &[u8]) -> Vec<u8> {
    [&due_ms.to_le_bytes(), name].concat()
}

/// Reads what [`write_recalled`] wrote; `None`: it is malformed.
pub fn read_recalled(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (due_ms, name) = payload.split_first_chunk()?;
    Some((u64::from_le_bytes(*due_ms), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_named_is_recalled() {
        let mut recalls = Recalls::default();
        recalls.insert(500, b"A+1");
        recalls.insert(700, b"A+2");
        assert!(recalls.contains(500, b"A+1"));
        assert!(!recalls.contains(500, b"A+2") && !recalls.contains(501, b"A+1"));
        assert!(recalls.has_any(700) && !recalls.has_any(600) && !recalls.has_any(701));
        recalls.forget_before(500);
        assert_eq!(recalls.len(), 2);
        recalls.forget_before(501);
        assert_eq!((recalls.len(), recalls.first_ms()), (1, Some(700)));
        let payload = recalls.payloads().next().expect("one");
        assert_eq!(read_recalled(&payload), Some((700, &b"A+2"[..])));
        assert_eq!(read_recalled(&payload[..7]), None);
    }
}
