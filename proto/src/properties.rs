//! The properties text of a message: `name 0x01 value 0x02`, repeated.
//!
//! Rules of `MessageDecoder.string2messageProperties` (5.3.3): the first 0x01 of an item ends its
//! name; an item without it, without a name or without a value is no property; of two with one
//! name the last one counts; the last item may lack its 0x02.

use std::num::NonZeroU32;
use std::ops::Range;

use crate::swar;
use crate::text::{Text, TextError};

pub mod name;

/// Ends a name.
pub const NAME_END: u8 = 0x01;

/// Ends a value.
pub const VALUE_END: u8 = 0x02;

/// One property and where it stands in its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property<'a> {
    /// Its name; never empty.
    pub name: &'a [u8],
    /// Its value; never empty.
    pub value: &'a [u8],
    /// The bytes of the whole item, the 0x02 included if it is there.
    pub item: Range<usize>,
}

/// All properties of a text in order, duplicates included, malformed items left out.
pub fn iter(text: &[u8]) -> Properties<'_> {
    Properties { text, at: 0 }
}

/// The value of `name`: of several the last.
pub fn find<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let name = name.as_bytes();
    iter(text).filter(|property| property.name == name).map(|property| property.value).last()
}

/// Appends a property. The text must be empty or end in 0x02, see [`terminate`].
pub fn append(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    text.extend_from_slice(name.as_bytes());
    text.push(NAME_END);
    text.extend_from_slice(value);
    text.push(VALUE_END);
}

/// Adds the 0x02 that the last item of a text may lack.
pub fn terminate(text: &mut Vec<u8>) {
    if text.last().is_some_and(|&last| last != VALUE_END) {
        text.push(VALUE_END);
    }
}

/// Appends a property whose value stands in the text already. The text as for [`append`].
///
/// # Panics
/// When `value` is not within the text.
pub fn append_copy(text: &mut Vec<u8>, name: &str, value: Range<usize>) {
    text.extend_from_slice(name.as_bytes());
    text.push(NAME_END);
    text.extend_from_within(value);
    text.push(VALUE_END);
}

/// Removes every property called `name`.
pub fn remove(text: &mut Vec<u8>, name: &str) {
    remove_all(text, &[name]);
}

/// Removes every property that has one of these names.
pub fn remove_all(text: &mut Vec<u8>, names: &[&str]) {
    let is_one = |it: &Property<'_>| names.iter().any(|name| it.name == name.as_bytes());
    let mut at = 0;
    while let Some(Property { item, .. }) = (Properties { text, at }).find(is_one) {
        at = item.start;
        text.drain(item);
    }
}

/// Gives the property `name` that value, at the end of the text.
pub fn set(text: &mut Vec<u8>, name: &str, value: &[u8]) {
    remove(text, name);
    terminate(text);
    append(text, name, value);
}

/// Iterator over a properties text.
#[derive(Debug, Clone)]
pub struct Properties<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Properties<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        loop {
            let start = self.at;
            let end = match swar::find_either(self.text, start, NAME_END, VALUE_END) {
                Some(middle) if self.text.get(middle) == Some(&NAME_END) => {
                    let end = swar::find(self.text, middle + 1, VALUE_END);
                    let value_end = end.unwrap_or(self.text.len());
                    self.at = end.map_or(self.text.len(), |end| end + 1);
                    let name = self.text.get(start..middle).unwrap_or_default();
                    let value = self.text.get(middle + 1..value_end).unwrap_or_default();
                    if !name.is_empty() && !value.is_empty() {
                        return Some(Property { name, value, item: start..self.at });
                    }
                    continue;
                }
                end => end,
            };
            // An item without a name, or the end of the text.
            self.at = end? + 1;
        }
    }
}

/// Where a property that [`WellKnown`] found stands in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    value_start: NonZeroU32,
    value_end: u32,
}

impl Known {
    /// A value in a text of at most 4 GiB. `value_start` is behind a name, so it is not 0.
    fn at(value_start: usize, value_end: usize) -> Option<Self> {
        let value_start = NonZeroU32::new(value_start as u32)?;
        Some(Self { value_start, value_end: value_end as u32 })
    }

    /// The bytes of the value; never empty.
    pub fn value_range(&self) -> Range<usize> {
        self.value_start.get() as usize..self.value_end as usize
    }

    /// The value in the text in which it was found.
    pub fn value<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.value_range()).unwrap_or_default()
    }
}

/// What a broker looks for in the properties of a message, collected in one pass: of several with one
/// name the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WellKnown {
    /// TAGS
    pub tags: Option<Known>,
    /// UNIQ_KEY
    pub unique_key: Option<Known>,
    /// KEYS
    pub keys: Option<Known>,
    /// DELAY
    pub delay: Option<Known>,
    /// TRAN_MSG
    pub transaction: Option<Known>,
    /// TIMER_DELAY_SEC, TIMER_DELAY_MS or TIMER_DELIVER_MS
    pub timer: Option<Known>,
    /// POP_CK
    pub pop_receipt: Option<Known>,
    /// __SHARDINGKEY
    pub sharding_key: Option<Known>,
    /// PGROUP
    pub producer_group: Option<Known>,
    /// CHECK_IMMUNITY_TIME_IN_SECONDS
    pub check_immunity: Option<Known>,
    /// \_\_transactionId\_\_
    pub transaction_id: Option<Known>,
    /// REAL_TOPIC
    pub real_topic: Option<Known>,
    /// REAL_QID
    pub real_queue: Option<Known>,
}

impl WellKnown {
    /// Collects them from a text of at most 4 GiB.
    pub fn collect(text: &[u8]) -> Self {
        let mut known = Self::default();
        for Property { name, value, item } in iter(text) {
            let value_start = item.start + name.len() + 1;
            known.note(name, Known::at(value_start, value_start + value.len()));
        }
        known
    }

    /// Makes `out` the properties text that a header holds, and collects them on the way.
    ///
    /// # Errors
    /// An escape that is none.
    pub fn unescape(text: Text<'_>, out: &mut Vec<u8>) -> Result<Self, TextError> {
        out.clear();
        if let Some(plain) = text.as_plain() {
            // What looks like an escape is none.
            out.extend_from_slice(plain);
            return Ok(Self::collect(out));
        }
        if let Some(known) = Self::unescape_separators(text, out) {
            return Ok(known);
        }
        out.clear();
        text.unescape_into(out)?;
        Ok(Self::collect(out))
    }

    /// The usual text: ASCII, and nothing is escaped but the separators.
    fn unescape_separators(text: Text<'_>, out: &mut Vec<u8>) -> Option<Self> {
        const NAME_END_ESCAPED: &[u8] = b"\\u0001";
        const VALUE_END_ESCAPED: &[u8] = b"\\u0002";
        let mut known = Self::default();
        let mut rest = text.raw();
        out.reserve(rest.len());
        while !rest.is_empty() {
            let (name, behind) = rest.split_at_checked(swar::find_escapable(rest, 0)?)?;
            let behind = behind.strip_prefix(NAME_END_ESCAPED)?;
            let (value, behind) = behind.split_at_checked(swar::find_escapable(behind, 0)?)?;
            rest = behind.strip_prefix(VALUE_END_ESCAPED)?;
            if name.is_empty() || value.is_empty() {
                return None;
            }
            out.extend_from_slice(name);
            out.push(NAME_END);
            let value_start = out.len();
            out.extend_from_slice(value);
            known.note(name, Known::at(value_start, out.len()));
            out.push(VALUE_END);
        }
        Some(known)
    }

    #[inline]
    fn note(&mut self, name: &[u8], found: Option<Known>) {
        match name {
            b"TAGS" => self.tags = found,
            b"UNIQ_KEY" => self.unique_key = found,
            b"KEYS" => self.keys = found,
            b"DELAY" => self.delay = found,
            b"TRAN_MSG" => self.transaction = found,
            b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" => self.timer = found,
            b"POP_CK" => self.pop_receipt = found,
            b"__SHARDINGKEY" => self.sharding_key = found,
            b"PGROUP" => self.producer_group = found,
            b"CHECK_IMMUNITY_TIME_IN_SECONDS" => self.check_immunity = found,
            b"__transactionId__" => self.transaction_id = found,
            b"REAL_TOPIC" => self.real_topic = found,
            b"REAL_QID" => self.real_queue = found,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::text::{Escapes, escape_into};

    /// Java's parser, line by line, as the model.
    fn model(text: &[u8]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut map = BTreeMap::new();
        for item in text.split(|&byte| byte == VALUE_END).filter(|item| item.len() >= 3) {
            let middle = item.iter().position(|&byte| byte == NAME_END);
            if let Some(middle) = middle.filter(|&at| at > 0 && at < item.len() - 1) {
                map.insert(item[..middle].to_vec(), item[middle + 1..].to_vec());
            }
        }
        map
    }

    fn check(text: &str, expect: &[(&str, &str)]) {
        let found: Vec<_> = iter(text.as_bytes()).map(|it| (it.name, it.value)).collect();
        let expect: Vec<_> =
            expect.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn malformed_items_are_no_properties() {
        check("", &[]);
        check("TAGS\u{1}A\u{2}KEYS\u{1}a b\u{2}", &[("TAGS", "A"), ("KEYS", "a b")]);
        check("TAGS\u{1}A", &[("TAGS", "A")]);
        check("\u{2}\u{2}a\u{1}\u{2}\u{1}b\u{2}ab\u{2}c\u{1}d\u{2}", &[("c", "d")]);
        check("a\u{1}b\u{1}c\u{2}", &[("a", "b\u{1}c")]);
        check("a\u{1}1\u{2}a\u{1}2\u{2}", &[("a", "1"), ("a", "2")]);
    }

    /// A header that is not JSON has no escapes: what looks like one is text.
    #[test]
    fn only_json_has_escapes() {
        let raw = br"A\u0001b\u0002";
        let mut out = Vec::new();
        WellKnown::unescape(Text::plain(raw), &mut out).expect("text");
        assert_eq!(out, raw);
        WellKnown::unescape(Text::json(raw, Escapes::Json), &mut out).expect("text");
        assert_eq!(out, b"A\x01b\x02");
    }

    #[test]
    fn last_duplicate_wins() {
        let text = b"TAGS\x01A\x02WAIT\x01x\x02TAGS\x01B\x02";
        assert_eq!(find(text, "TAGS"), Some(&b"B"[..]));
        assert_eq!(find(text, "KEYS"), None);
        let known = WellKnown::collect(text);
        assert_eq!(known.tags.map(|tags| tags.value(text)), Some(&b"B"[..]));
        assert_eq!(known.tags.map(|tags| tags.value_range()), Some(19..20));
        assert_eq!(known.unique_key, None);
    }

    #[test]
    fn properties_are_set_and_removed() {
        let mut text = b"A\x01b\x02C\x01d".to_vec();
        set(&mut text, "E", b"f");
        assert_eq!(text, b"A\x01b\x02C\x01d\x02E\x01f\x02");
        set(&mut text, "A", b"g");
        assert_eq!(text, b"C\x01d\x02E\x01f\x02A\x01g\x02");
        remove(&mut text, "C");
        remove(&mut text, "X");
        assert_eq!(text, b"E\x01f\x02A\x01g\x02");
        let mut doubled = b"A\x01b\x02C\x01d\x02A\x01e".to_vec();
        remove(&mut doubled, "A");
        assert_eq!(doubled, b"C\x01d\x02");
        let mut many = b"\x02A\x01b\x02A\x01c\x02E\x01\x02C\x01d\x02D\x01e\x02A\x01f".to_vec();
        remove_all(&mut many, &["A", "D", "X"]);
        assert_eq!(many, b"\x02E\x01\x02C\x01d\x02");
        append_copy(&mut many, "F", 6..7);
        assert_eq!(many, b"\x02E\x01\x02C\x01d\x02F\x01d\x02");
    }

    proptest! {
        #[test]
        fn parser_agrees_with_java(text in "[\u{1}\u{2}abTAGS]{0,40}") {
            let text = text.as_bytes();
            let expect = model(text);
            let found: BTreeMap<_, _> =
                iter(text).map(|it| (it.name.to_vec(), it.value.to_vec())).collect();
            prop_assert_eq!(&found, &expect);
            for (name, value) in &expect {
                let name = std::str::from_utf8(name).unwrap();
                prop_assert_eq!(find(text, name), Some(&value[..]));
            }
        }

        /// In one pass or in two, the same text and the same places come out.
        #[test]
        fn unescaped_and_collected_in_one_pass(
            text in "((TAGS|UNIQ_KEY|DELAY|POP_CK|x)?\u{1}?[a-z0-9\"\u{1}\u{2}\u{3}\u{e9}\u{7f}]{0,12}\u{2}?){0,5}",
        ) {
            let mut escaped = Vec::new();
            escape_into(&mut escaped, text.as_bytes());
            let escapes = if escaped.contains(&b'\\') { Escapes::Json } else { Escapes::None };
            for given in [Text::json(&escaped, escapes), Text::plain(text.as_bytes())] {
                let mut out = b"left over".to_vec();
                let known = WellKnown::unescape(given, &mut out);
                prop_assert_eq!(&out, text.as_bytes());
                prop_assert_eq!(known, Ok(WellKnown::collect(text.as_bytes())));
            }
        }

        #[test]
        fn set_then_find(text in "[\u{1}\u{2}abTAGS]{0,40}", value in "[a-z]{1,9}") {
            let mut bytes = text.into_bytes();
            let mut expect = model(&bytes);
            set(&mut bytes, "TAGS", value.as_bytes());
            expect.insert(b"TAGS".to_vec(), value.into_bytes());
            prop_assert_eq!(model(&bytes), expect);
        }
    }
}
