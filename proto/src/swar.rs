//! Search for a byte, eight at a time in a plain integer.
//!
//! Keys and values of a header are short: a call to a vectorised search costs more than they do.

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The first place at or behind `from` that holds one of two bytes.
#[inline]
pub(crate) fn find_either(bytes: &[u8], from: usize, first: u8, second: u8) -> Option<usize> {
    let first_word = LOW_BITS * u64::from(first);
    let second_word = LOW_BITS * u64::from(second);
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let hits = zeros(word ^ first_word) | zeros(word ^ second_word);
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|&byte| byte == first || byte == second).map(|found| at + found)
}

/// The first place at or behind `from` that holds the byte.
#[inline]
pub(crate) fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    find_either(bytes, from, wanted, wanted)
}

/// The first place at or behind `from` that a JSON string may not hold as it is: below a blank, a
/// quote, a backslash, or DEL and above, which is not ASCII and must be looked at.
#[inline]
pub(crate) fn find_escapable(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        // Adding 1 carries DEL over to the high bit. Sums and differences may reach into the byte
        // above only where the lower one is itself a hit, and the lowest hit is what counts.
        let high = (word | word.wrapping_add(LOW_BITS)) & HIGH_BITS;
        let low = word.wrapping_sub(LOW_BITS * 0x20) & !word & HIGH_BITS;
        let quote = zeros(word ^ (LOW_BITS * u64::from(b'"')));
        let backslash = zeros(word ^ (LOW_BITS * u64::from(b'\\')));
        let hits = high | low | quote | backslash;
        if hits != 0 {
            return Some(at + (hits.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|&byte| is_escapable(byte)).map(|found| at + found)
}

const fn is_escapable(byte: u8) -> bool {
    matches!(byte, 0..=0x1F | b'"' | b'\\' | 0x7F..)
}

/// The high bit of each byte that is zero; above the lowest of them some may be wrong.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn search_for_escapes_agrees_with_a_loop(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            plain in "[ !#a-z~]{0,40}",
            from in 0..90_usize,
        ) {
            let bytes = [plain.as_bytes(), &bytes[..]].concat();
            let expect = (from..bytes.len()).find(|&at| is_escapable(bytes[at]));
            prop_assert_eq!(find_escapable(&bytes, from), expect);
        }

        #[test]
        fn search_agrees_with_a_loop(
            bytes in prop::collection::vec(prop_oneof![0..4_u8, 0x7F..0x82_u8, Just(0xFF)], 0..40),
            from in 0..45_usize,
            first in prop_oneof![0..4_u8, 0x7F..0x82_u8],
            second in prop_oneof![0..4_u8, Just(0xFF)],
        ) {
            let expect = (from..bytes.len()).find(|&at| bytes[at] == first || bytes[at] == second);
            prop_assert_eq!(find_either(&bytes, from, first, second), expect);
            let expect = (from..bytes.len()).find(|&at| bytes[at] == first);
            prop_assert_eq!(find(&bytes, from, first), expect);
        }
    }
}
