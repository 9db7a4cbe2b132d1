//! Values and how they compare: `ComparisonExpression.__compare` of rocketmq-filter 5.3.3.

use std::cmp::Ordering;

use super::numbers::{parse_double, parse_integer, parse_long};

/// A value that is not NULL. Properties are always text; conditions are Boolean.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Value<'a> {
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    Text(&'a [u8]),
}

/// Apache's expression throws, so the message is not wanted, whatever else it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Threw;

impl Value<'_> {
    /// `UnaryExpression.negate`; NULL of what is no number.
    pub fn negated(self) -> Option<Value<'static>> {
        match self {
            Value::Integer(number) => Some(Value::Integer(number.wrapping_neg())),
            Value::Long(number) => Some(Value::Long(number.wrapping_neg())),
            Value::Double(number) => Some(Value::Double(-number)),
            Value::Boolean(_) | Value::Text(_) => None,
        }
    }
}

/// Compares two values. Text is made what the other side is; if it cannot be, Apache throws. What cannot
/// be compared at all counts as less.
pub(super) fn compare(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Threw> {
    use Value::{Boolean, Double, Integer, Long, Text};
    Ok(match (left, right) {
        (Boolean(left), Boolean(right)) => left.cmp(&right),
        // There a Boolean is cast to a String by mistake.
        (Boolean(_), Text(_)) => return Err(Threw),
        (Text(left), Boolean(right)) => left.eq_ignore_ascii_case(b"true").cmp(&right),
        (Boolean(_), _) | (_, Boolean(_)) => Ordering::Less,
        (Text(left), Text(right)) => left.cmp(right),

        (Integer(left), Integer(right)) => left.cmp(&right),
        (Integer(left), Long(right)) => i64::from(left).cmp(&right),
        (Long(left), Integer(right)) => left.cmp(&i64::from(right)),
        (Long(left), Long(right)) => left.cmp(&right),
        (Integer(left), Double(right)) => compare_doubles(f64::from(left), right),
        (Double(left), Integer(right)) => compare_doubles(left, f64::from(right)),
        (Long(left), Double(right)) => compare_doubles(left as f64, right),
        (Double(left), Long(right)) => compare_doubles(left, right as f64),
        (Double(left), Double(right)) => compare_doubles(left, right),

        (Text(left), Integer(right)) => parse_integer(left).ok_or(Threw)?.cmp(&right),
        (Integer(left), Text(right)) => left.cmp(&parse_integer(right).ok_or(Threw)?),
        (Text(left), Long(right)) => parse_long(left).ok_or(Threw)?.cmp(&right),
        (Long(left), Text(right)) => left.cmp(&parse_long(right).ok_or(Threw)?),
        (Text(left), Double(right)) => compare_doubles(parse_double(left).ok_or(Threw)?, right),
        (Double(left), Text(right)) => compare_doubles(left, parse_double(right).ok_or(Threw)?),
    })
}

/// As [`compare`], for `<`, `<=`, `>` and `>=`: two texts are compared as doubles.
pub(super) fn compare_sizes(left: Value<'_>, right: Value<'_>) -> Result<Ordering, Threw> {
    if let (Value::Text(left), Value::Text(right)) = (left, right) {
        let left = parse_double(left).ok_or(Threw)?;
        return Ok(compare_doubles(left, parse_double(right).ok_or(Threw)?));
    }
    compare(left, right)
}

/// `Double.compareTo`: NaN equals itself and is above all, -0 is below 0.
pub(super) fn compare_doubles(left: f64, right: f64) -> Ordering {
    let one_nan = |number: f64| if number.is_nan() { f64::NAN.copysign(1.0) } else { number };
    one_nan(left).total_cmp(&one_nan(right))
}
