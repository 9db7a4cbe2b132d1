//! How long bodies are: one size, a range, or a weighted list.
//! Kind: machine
//! Invariants: the share of each size over many messages is its weight; the order is the same for the same seed.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::stamp::STAMP_BYTES;

/// Bytes of the longest body: RocketMQ's `maxMessageSize` is 4 MiB.
const BODY_BYTES_MAX: u32 = 4 << 20;

/// Sizes that a range is cut into: each is a request of its own that is kept ready.
const RANGE_STEPS_MAX: u32 = 32;

/// Sizes of a list.
const LIST_MAX: usize = 32;

/// Sum of the weights of a list, so that percentages with two decimals fit.
const WEIGHTS_MAX: u32 = 10_000;

/// Lengths of bodies in bytes, from 44 to 4 MiB, and how often each comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    text: String,
    /// Bytes and weight, at least one.
    sizes: Vec<(u32, u32)>,
}

impl FromStr for Sizes {
    type Err = String;

    /// `1024`, `100..4096` (both included) or `256:80,4096:20`.
    fn from_str(text: &str) -> Result<Sizes, String> {
        let sizes = if let Some((from, to)) = text.split_once("..") {
            range(bytes(from)?, bytes(to)?)?
        } else if text.contains(':') {
            list(text)?
        } else {
            vec![(bytes(text)?, 1)]
        };
        Ok(Sizes { text: text.to_owned(), sizes })
    }
}

fn bytes(text: &str) -> Result<u32, String> {
    let size = text.trim().parse::<u32>().map_err(|_| {
        format!("'{text}' is no size: write 1024, 100..4096 or 256:80,4096:20, in bytes")
    })?;
    if !(STAMP_BYTES as u32..=BODY_BYTES_MAX).contains(&size) {
        return Err(format!("a body has {STAMP_BYTES} to {BODY_BYTES_MAX} bytes, not {size}"));
    }
    Ok(size)
}

fn range(from: u32, to: u32) -> Result<Vec<(u32, u32)>, String> {
    if from > to {
        return Err(format!("the range {from}..{to} ends before it begins"));
    }
    let span = to - from;
    let steps = (span + 1).min(RANGE_STEPS_MAX);
    let at = |step: u32| match steps {
        1 => from,
        _ => from + (u64::from(span) * u64::from(step) / u64::from(steps - 1)) as u32,
    };
    Ok((0..steps).map(|step| (at(step), 1)).collect())
}

fn list(text: &str) -> Result<Vec<(u32, u32)>, String> {
    let sizes = text.split(',').map(|part| {
        let wanted = || format!("'{part}' is no SIZE:WEIGHT such as 256:80");
        let (size, weight) = part.split_once(':').ok_or_else(wanted)?;
        let weight = weight.trim().parse::<u32>().ok().filter(|weight| *weight > 0);
        Ok((bytes(size)?, weight.ok_or_else(wanted)?))
    });
    let sizes = sizes.collect::<Result<Vec<_>, String>>()?;
    let weights: u64 = sizes.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if sizes.len() > LIST_MAX || weights > u64::from(WEIGHTS_MAX) {
        return Err(format!("a list has at most {LIST_MAX} sizes with weights of {WEIGHTS_MAX}"));
    }
    Ok(sizes)
}

impl Sizes {
    /// One size, for tests and for what has no choice.
    #[cfg(test)]
    pub fn of(size_bytes: u32) -> Sizes {
        Sizes { text: size_bytes.to_string(), sizes: vec![(size_bytes, 1)] }
    }

    /// Each size in bytes, at least one.
    pub fn each(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.sizes.iter().map(|(size, _)| *size)
    }

    /// The longest, in bytes.
    pub fn longest(&self) -> u32 {
        self.each().max().expect("there is a size")
    }

    /// Who chooses one for every message.
    pub fn picker(&self, seed: u64) -> Picker {
        let each = self.sizes.iter().enumerate();
        let table = each.flat_map(|(index, (_, weight))| (0..*weight).map(move |_| index as u16));
        Picker { table: table.collect(), state: seed }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Serialize for Sizes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A single size stays the number that it was before there were others.
        match self.sizes[..] {
            [(size, _)] if !self.text.contains([':', '.']) => serializer.serialize_u32(size),
            _ => serializer.serialize_str(&self.text),
        }
    }
}

/// Chooses sizes by their weights.
#[derive(Debug, Clone)]
pub struct Picker {
    /// The index of a size as often as its weight says.
    table: Vec<u16>,
    state: u64,
}

impl Picker {
    /// The index of the next message's size.
    pub fn next(&mut self) -> usize {
        if let [only] = self.table[..] {
            return usize::from(only);
        }
        // SplitMix64: three multiplications, and every seed is a good one.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let index = (u128::from(mixed) * self.table.len() as u128) >> 64;
        usize::from(self.table[index as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&[(u32, u32)]>) {
        let found = text.parse::<Sizes>().ok().map(|sizes| sizes.sizes);
        assert_eq!(found.as_deref(), expect, "{text}");
    }

    #[test]
    fn sizes_are_read() {
        check("1024", Some(&[(1024, 1)]));
        check("44..45", Some(&[(44, 1), (45, 1)]));
        check("100..100", Some(&[(100, 1)]));
        check("256:80,4096:20", Some(&[(256, 80), (4096, 20)]));
        for wrong in
            ["", "43", "4194305", "x", "9..100", "200..100", "256:0", "256:1,", "256:10001"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn a_range_has_both_ends_and_steps_between() {
        let sizes: Sizes = "100..4096".parse().expect("a range");
        let each: Vec<u32> = sizes.each().collect();
        assert_eq!((each[0], each[each.len() - 1], each.len()), (100, 4096, 32));
        assert!(each.is_sorted());
        assert_eq!(sizes.longest(), 4096);
    }

    #[test]
    fn each_size_comes_as_often_as_its_weight_says() {
        let sizes: Sizes = "256:80,4096:20".parse().expect("a list");
        let mut picker = sizes.picker(1);
        let small = (0..100_000).filter(|_| picker.next() == 0).count();
        assert!((79_000..81_000).contains(&small), "{small}");
        assert_eq!(Sizes::of(100).picker(7).next(), 0);
    }
}
