//! Keys: which ones a message has, and their hashes.

use proto::properties::{self, name};

/// Odd numbers without a pattern (digits of π and e).
const FIRST: u64 = 0x243F_6A88_85A3_08D3;
const SECOND: u64 = 0xB7E1_5162_8AED_2A6B;

/// The hash of a key of a topic's incarnation. Index files hold it: it never changes. Begun at the
/// store's random seed, so that nobody can choose keys that meet in it.
pub fn key_hash(seed: u32, topic: u32, key: &[u8]) -> u32 {
    let begun = u64::from(seed) << 32 | u64::from(topic);
    let mut state = fold(begun ^ FIRST, SECOND ^ key.len() as u64);
    let mut words = key.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("8 bytes"));
        state = fold(state ^ word, FIRST);
    }
    let mut rest = [0; 8];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    state = fold(state ^ u64::from_le_bytes(rest), SECOND);
    (state >> 32) as u32
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

/// The values of UNIQ_KEY and KEYS in a properties text, empty without one.
pub fn keys_of(text: &[u8]) -> (&[u8], &[u8]) {
    let (mut unique_key, mut keys) = (&[][..], &[][..]);
    for property in properties::iter(text) {
        if property.name == name::UNIQ_KEY.as_bytes() {
            unique_key = property.value;
        } else if property.name == name::KEYS.as_bytes() {
            keys = property.value;
        }
    }
    (unique_key, keys)
}

/// Whether a message with this properties text has a key: its UNIQ_KEY is it, or one of its KEYS
/// (`IndexService.buildIndex` of 5.3.3).
pub fn has_key(text: &[u8], wanted: &[u8]) -> bool {
    let (unique_key, keys) = keys_of(text);
    !wanted.is_empty()
        && (unique_key == wanted || keys.split(|byte| *byte == b' ').any(|key| key == wanted))
}
