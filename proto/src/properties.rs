//! The properties text of a message: `name 0x01 value 0x02`, repeated.
//!
//! Rules of `MessageDecoder.string2messageProperties` (5.3.3): the first 0x01 of an item ends its
//! name; an item without it, without a name or without a value is no property; of two with one
//! name the last one counts; the last item may lack its 0x02.

use std::ops::Range;

use crate::swar;

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

/// Removes every property called `name`.
pub fn remove(text: &mut Vec<u8>, name: &str) {
    while let Some(item) = iter(text).find(|it| it.name == name.as_bytes()).map(|it| it.item) {
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

/// A value that [`WellKnown`] found, and the item it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known<'a> {
    /// The value; never empty.
    pub value: &'a [u8],
    start: u32,
    end: u32,
}

impl Known<'_> {
    /// The bytes of the whole item in its text, so that it may be removed.
    pub fn item(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What a broker looks for in the properties of a send, collected in one pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WellKnown<'a> {
    /// TAGS
    pub tags: Option<Known<'a>>,
    /// KEYS
    pub keys: Option<Known<'a>>,
    /// UNIQ_KEY
    pub unique_key: Option<Known<'a>>,
    /// DELAY
    pub delay: Option<Known<'a>>,
    /// WAIT
    pub wait: Option<Known<'a>>,
    /// TRAN_MSG
    pub transaction: Option<Known<'a>>,
    /// TIMER_DELAY_SEC
    pub timer_delay_sec: Option<Known<'a>>,
    /// TIMER_DELAY_MS
    pub timer_delay_ms: Option<Known<'a>>,
    /// TIMER_DELIVER_MS
    pub timer_deliver_ms: Option<Known<'a>>,
    /// TIMER_DEL_UNIQKEY
    pub timer_del_unique_key: Option<Known<'a>>,
    /// RETRY_TOPIC
    pub retry_topic: Option<Known<'a>>,
    /// REAL_TOPIC
    pub real_topic: Option<Known<'a>>,
    /// REAL_QID
    pub real_queue_id: Option<Known<'a>>,
    /// ORIGIN_MESSAGE_ID
    pub origin_message_id: Option<Known<'a>>,
    /// POP_CK
    pub pop_receipt: Option<Known<'a>>,
    /// MSG_REGION
    pub region: Option<Known<'a>>,
    /// TRACE_ON
    pub trace_on: Option<Known<'a>>,
    /// CLUSTER
    pub cluster: Option<Known<'a>>,
    /// INNER_NUM
    pub inner_count: Option<Known<'a>>,
    /// How many properties there are, known or not, duplicates included.
    pub property_count: u32,
    /// Whether one of the known names occurs twice; then one range does not remove it.
    pub has_duplicates: bool,
}

impl<'a> WellKnown<'a> {
    /// Collects them from a text of at most 4 GiB.
    pub fn collect(text: &'a [u8]) -> Self {
        let mut known = Self::default();
        for Property { name, value, item } in iter(text) {
            known.property_count += 1;
            if let Some(slot) = known.slot(name) {
                let duplicate = slot.is_some();
                *slot = Some(Known { value, start: item.start as u32, end: item.end as u32 });
                known.has_duplicates |= duplicate;
            }
        }
        known
    }

    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<Known<'a>>> {
        Some(match name {
            b"TAGS" => &mut self.tags,
            b"KEYS" => &mut self.keys,
            b"UNIQ_KEY" => &mut self.unique_key,
            b"DELAY" => &mut self.delay,
            b"WAIT" => &mut self.wait,
            b"TRAN_MSG" => &mut self.transaction,
            b"TIMER_DELAY_SEC" => &mut self.timer_delay_sec,
            b"TIMER_DELAY_MS" => &mut self.timer_delay_ms,
            b"TIMER_DELIVER_MS" => &mut self.timer_deliver_ms,
            b"TIMER_DEL_UNIQKEY" => &mut self.timer_del_unique_key,
            b"RETRY_TOPIC" => &mut self.retry_topic,
            b"REAL_TOPIC" => &mut self.real_topic,
            b"REAL_QID" => &mut self.real_queue_id,
            b"ORIGIN_MESSAGE_ID" => &mut self.origin_message_id,
            b"POP_CK" => &mut self.pop_receipt,
            b"MSG_REGION" => &mut self.region,
            b"TRACE_ON" => &mut self.trace_on,
            b"CLUSTER" => &mut self.cluster,
            b"INNER_NUM" => &mut self.inner_count,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

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

    #[test]
    fn last_duplicate_wins() {
        let text = b"TAGS\x01A\x02WAIT\x01x\x02TAGS\x01B\x02";
        assert_eq!(find(text, "TAGS"), Some(&b"B"[..]));
        assert_eq!(find(text, "KEYS"), None);
        let known = WellKnown::collect(text);
        assert_eq!(known.tags.map(|tags| tags.value), Some(&b"B"[..]));
        assert_eq!(known.tags.map(|tags| tags.item()), Some(14..21));
        assert_eq!(known.property_count, 3);
        assert!(known.has_duplicates);
        assert_eq!(known.keys, None);
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

        #[test]
        fn known_items_can_be_cut_out(
            names in prop::sample::subsequence(vec!["TAGS", "KEYS", "POP_CK", "x"], 0..=4),
        ) {
            let mut text = Vec::new();
            names.iter().for_each(|name| append(&mut text, name, b"value"));
            if let Some(receipt) = WellKnown::collect(&text).pop_receipt {
                text.drain(receipt.item());
            }
            let mut expect = Vec::new();
            for name in names.iter().filter(|&&name| name != "POP_CK") {
                append(&mut expect, name, b"value");
            }
            prop_assert_eq!(text, expect);
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
