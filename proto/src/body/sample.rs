//! Values made of bytes, so that a property test can try every body and shrink what fails.

use std::collections::{BTreeMap, BTreeSet};

use super::json::JsonKey;
use super::pop::BitSet;
use super::queue::MessageQueue;
use crate::language::Language;

/// Bytes that decide; once they run out everything is the simplest.
pub struct Source<'a> {
    bytes: &'a [u8],
}

impl<'a> Source<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        self.bytes = rest;
        *first
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }
}

/// A type that can be made of bytes.
pub trait Sample: Sized {
    fn sample(source: &mut Source<'_>) -> Self;
}

impl Sample for i32 {
    fn sample(source: &mut Source<'_>) -> Self {
        source.pick(&[0, 1, -1, 7, 65, i32::MAX, i32::MIN, 479])
    }
}

impl Sample for i64 {
    fn sample(source: &mut Source<'_>) -> Self {
        source.pick(&[0, 1, -1, 1_690_000_000_000, i64::MAX, i64::MIN, 1 << 53, 1 << 55])
    }
}

impl Sample for f64 {
    fn sample(source: &mut Source<'_>) -> Self {
        source.pick(&[0.0, 1.5, -2.25, 1e-3, 9e-4, 9_999_999.5, 1e7, 1.25e300, 5e-324, 0.1])
    }
}

impl Sample for bool {
    fn sample(source: &mut Source<'_>) -> Self {
        source.byte() % 2 == 1
    }
}

impl Sample for String {
    fn sample(source: &mut Source<'_>) -> Self {
        const LETTERS: [char; 24] = [
            'a', 'Z', '0', '9', ' ', '/', '"', '\\', '\'', '\n', '\t', '\u{1}', '\u{7f}', '\u{85}',
            '\u{a0}', '\u{2028}', 'é', '标', '😀', '%', '{', ']', ':', ',',
        ];
        let length = source.byte() % 6;
        (0..length).map(|_| source.pick(&LETTERS)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source<'_>) -> Self {
        bool::sample(source).then(|| T::sample(source))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source<'_>) -> Self {
        (0..source.byte() % 4).map(|_| T::sample(source)).collect()
    }
}

impl<T: Sample + Ord> Sample for BTreeSet<T> {
    fn sample(source: &mut Source<'_>) -> Self {
        Vec::sample(source).into_iter().collect()
    }
}

impl<K: Sample + JsonKey, V: Sample> Sample for BTreeMap<K, V> {
    fn sample(source: &mut Source<'_>) -> Self {
        (0..source.byte() % 4).map(|_| (K::sample(source), V::sample(source))).collect()
    }
}

impl Sample for MessageQueue {
    fn sample(source: &mut Source<'_>) -> Self {
        Self {
            topic: Sample::sample(source),
            broker_name: Sample::sample(source),
            queue_id: Sample::sample(source),
        }
    }
}

impl Sample for BitSet {
    fn sample(source: &mut Source<'_>) -> Self {
        BitSet::new(Vec::<u8>::sample(source).into_iter().map(u16::from))
    }
}

impl Sample for u8 {
    fn sample(source: &mut Source<'_>) -> Self {
        source.byte()
    }
}

impl Sample for Language {
    fn sample(source: &mut Source<'_>) -> Self {
        source.pick(&Language::ALL)
    }
}
