//! Numbers in the text of a property, as Java reads them: `Integer.valueOf`, `Long.valueOf` and
//! `Double.valueOf`.

/// The zeros of the decimal digits of Unicode's basic plane besides ASCII's: `Character.digit` takes them
/// in integers. Java looks at 16-bit characters, so digits of other planes are none.
const ZEROS: [u16; 36] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66,
    0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90,
    0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

/// `Integer.parseInt`: an optional sign and digits, nothing else.
pub(super) fn parse_integer(text: &[u8]) -> Option<i32> {
    i32::try_from(parse_long(text)?).ok()
}

/// `Long.parseLong`.
pub(super) fn parse_long(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    // Counted below zero, where there is one number more.
    let mut number = 0_i64;
    let mut add = |digit: u8| {
        number = number.checked_mul(10)?.checked_sub(i64::from(digit))?;
        Some(())
    };
    if digits.is_ascii() {
        for byte in digits {
            add(byte.is_ascii_digit().then(|| byte - b'0')?)?;
        }
    } else {
        for character in std::str::from_utf8(digits).ok()?.chars() {
            add(digit_of(character)?)?;
        }
    }
    if is_negative { Some(number) } else { number.checked_neg() }
}

fn digit_of(character: char) -> Option<u8> {
    if let Some(digit) = character.to_digit(10) {
        return Some(digit as u8);
    }
    let code = u16::try_from(u32::from(character)).ok()?;
    let zero = ZEROS.iter().rev().find(|zero| **zero <= code)?;
    u8::try_from(code - zero).ok().filter(|digit| *digit < 10)
}

/// `Double.parseDouble`: blanks around it, a sign, `NaN`, `Infinity`, decimal or hexadecimal, an `f` or
/// `d` behind it.
pub(super) fn parse_double(text: &[u8]) -> Option<f64> {
    let (sign, unsigned) = match trim(text) {
        [b'-', rest @ ..] => (-1.0, rest),
        [b'+', rest @ ..] => (1.0, rest),
        rest => (1.0, rest),
    };
    let magnitude = match unsigned {
        b"NaN" => f64::NAN,
        b"Infinity" => f64::INFINITY,
        [b'0', b'x' | b'X', rest @ ..] => parse_hexadecimal(rest)?,
        [digits @ .., b'f' | b'F' | b'd' | b'D'] => parse_decimal(digits)?,
        digits => parse_decimal(digits)?,
    };
    Some(sign * magnitude)
}

/// Java's `String.trim`: everything up to the blank goes.
fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| *byte > b' ').unwrap_or(text.len());
    let end = text.iter().rposition(|byte| *byte > b' ').map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// Digits, a point and an exponent: what Rust and Java read alike, once words and signs are gone.
fn parse_decimal(text: &[u8]) -> Option<f64> {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.first()?.is_ascii_digit() && text.first() != Some(&b'.') || !text.iter().all(is_part) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `h.hhhp±d`, behind `0x`, rounded to the nearest double, to the even one of two.
fn parse_hexadecimal(text: &[u8]) -> Option<f64> {
    // The exponent's digits are decimal, so a letter behind them is the suffix.
    let text = match text {
        [rest @ .., b'f' | b'F' | b'd' | b'D'] => rest,
        all => all,
    };
    let split = text.iter().position(|byte| matches!(byte, b'p' | b'P'))?;
    let (mantissa, exponent) = (text.get(..split)?, text.get(split + 1..)?);
    let mut exponent = parse_exponent(exponent)?;
    let mut significand = 0_u64;
    let (mut has_digit, mut has_point, mut is_inexact) = (false, false, false);
    for byte in mantissa {
        if *byte == b'.' && !has_point {
            has_point = true;
            continue;
        }
        let digit = u64::from(char::from(*byte).to_digit(16)?);
        has_digit = true;
        if significand >> 60 == 0 {
            significand = significand << 4 | digit;
            exponent -= 4 * i64::from(has_point);
        } else {
            is_inexact |= digit != 0;
            exponent += 4 * i64::from(!has_point);
        }
    }
    has_digit.then(|| round_to_double(significand, is_inexact, exponent))
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: i64, byte: &u8| (sum * 10 + i64::from(byte - b'0')).min(1 << 40);
    Some(sign * digits.iter().fold(0, add))
}

/// `significand × 2^exponent`, and a little more if it is not exact.
fn round_to_double(significand: u64, is_inexact: bool, exponent: i64) -> f64 {
    if significand == 0 {
        return 0.0;
    }
    // The highest bit to bit 63.
    let shift = significand.leading_zeros();
    let (bits, top) = (significand << shift, exponent - i64::from(shift) + 63);
    if top > 1023 {
        return f64::INFINITY;
    }
    // 53 bits are kept, fewer below the smallest normal double.
    let kept = if top >= -1022 { 53 } else { 53 - (-1022 - top) };
    if kept < 0 {
        return 0.0;
    }
    let dropped = 64 - kept as u32;
    let whole = bits.checked_shr(dropped).unwrap_or(0);
    let rest = if dropped == 64 { bits } else { bits & ((1 << dropped) - 1) };
    let half = 1_u64 << (dropped - 1);
    let is_up = rest > half || rest == half && (is_inexact || whole & 1 == 1);
    let whole = whole + u64::from(is_up);
    // A normal double's exponent counts from -1022, and its highest bit is not stored: adding lets a carry
    // of the rounding raise the exponent, up to infinity.
    let biased = if top >= -1022 { (top + 1022) as u64 } else { 0 };
    f64::from_bits((biased << 52) + whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_javas() {
        for (text, expect) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("+7", Some(7)),
            ("007", Some(7)),
            ("2147483647", Some(i32::MAX)),
            ("-2147483648", Some(i32::MIN)),
            ("2147483648", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("+-1", None),
            (" 1", None),
            ("1.0", None),
            ("1L", None),
            ("٣٤", Some(34)),
            ("1１", Some(11)),
            ("𝟏", None),
            ("é", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), expect, "{text}");
        }
        assert_eq!(parse_long(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_long(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_long(b"9223372036854775808"), None);
        assert_eq!(parse_long(b"1\xff"), None);
    }

    #[test]
    fn doubles_are_javas() {
        for (text, expect) in [
            ("1", Some(1.0)),
            ("\u{3} -1.5 \t", Some(-1.5)),
            ("1.", Some(1.0)),
            (".5e1", Some(5.0)),
            ("1e400", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("1f", Some(1.0)),
            ("1.5D", Some(1.5)),
            ("0x1p3", Some(8.0)),
            ("-0X1.8P+1f", Some(-3.0)),
            ("0x.1p4", Some(1.0)),
            ("0x1.p0", Some(1.0)),
            ("0x1.fffffffffffff8p0", Some(2.0)),
            ("0x1.fffffffffffff7p0", Some(2.0 - f64::EPSILON)),
            ("0x10000000000000800000000000000001p0", Some((1.0 + f64::EPSILON) * 2_f64.powi(124))),
            ("0x1p-1074", Some(f64::from_bits(1))),
            ("0x1p-1075", Some(0.0)),
            ("0x1.8p-1075", Some(f64::from_bits(1))),
            ("0x1p-1022", Some(f64::MIN_POSITIVE)),
            ("0x1.fffffffffffffp1023", Some(f64::MAX)),
            ("0x1.fffffffffffff8p1023", Some(f64::INFINITY)),
            ("0x1p99999999999999999999", Some(f64::INFINITY)),
            ("0x0p99999999999999999999", Some(0.0)),
            ("", None),
            (" ", None),
            ("nan", None),
            ("inf", None),
            ("infinity", None),
            ("1e", None),
            (".", None),
            ("e5", None),
            ("f", None),
            ("1ff", None),
            ("+-1", None),
            ("1_0", None),
            ("0x", None),
            ("0x1", None),
            ("0x.p1", None),
            ("0x1..p1", None),
            ("0x1p", None),
            ("٣", None),
        ] {
            assert_eq!(parse_double(text.as_bytes()), expect, "{text}");
        }
        assert!(parse_double(b"-NaN").expect("a number").is_nan());
    }
}
