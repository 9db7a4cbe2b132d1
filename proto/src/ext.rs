//! `extFields`: the string map of a header, in the order in which it was sent.

use std::fmt;

use crate::header::HeaderError;
use crate::limits::EXT_FIELDS_MAX;
use crate::text::{Escapes, Text};

/// Up to [`EXT_FIELDS_MAX`] entries borrowed from one header, in a fixed array.
///
/// Entries are offsets into the header rather than slices, which keeps the array at 1 KiB: it is
/// cleared for every request.
#[derive(Clone)]
pub struct ExtFields<'a> {
    header: &'a [u8],
    entries: [Entry; EXT_FIELDS_MAX],
    count: usize,
}

/// Offsets and lengths of one entry; the top bit of a length says that the text has escapes.
#[derive(Clone, Copy, Default)]
struct Entry {
    key: Span,
    value: Span,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
}

const ESCAPES_BIT: u32 = 1 << 31;

impl<'a> ExtFields<'a> {
    /// No entries yet, over the header that they will point into.
    pub(crate) fn over(header: &'a [u8]) -> Self {
        Self { header, entries: [Entry::default(); EXT_FIELDS_MAX], count: 0 }
    }

    /// Appends an entry; both texts must be parts of the header.
    pub(crate) fn push(&mut self, key: Text<'a>, value: Text<'a>) -> Result<(), HeaderError> {
        let entry = Entry { key: self.span(key), value: self.span(value) };
        let slot = self
            .entries
            .get_mut(self.count)
            .ok_or(HeaderError::TooManyExtFields { max: EXT_FIELDS_MAX })?;
        *slot = entry;
        self.count += 1;
        Ok(())
    }

    /// Forgets all entries.
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// How many entries there are, duplicates included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True without entries; `{}`, `null` and an absent `extFields` are not told apart.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value of `key`; the last one if it was sent twice, as in Java's map.
    pub fn get(&self, key: &str) -> Option<Text<'a>> {
        self.entries()
            .iter()
            .rev()
            .find_map(|entry| self.text(entry.key).eq_str(key).then(|| self.text(entry.value)))
    }

    /// All entries in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> + '_ {
        self.entries().iter().map(|entry| (self.text(entry.key), self.text(entry.value)))
    }

    fn entries(&self) -> &[Entry] {
        self.entries.get(..self.count).unwrap_or_default()
    }

    fn text(&self, span: Span) -> Text<'a> {
        let start = span.start as usize;
        let end = start + (span.length & !ESCAPES_BIT) as usize;
        let escapes = if span.length & ESCAPES_BIT == 0 { Escapes::None } else { Escapes::Json };
        Text::json(self.header.get(start..end).unwrap_or_default(), escapes)
    }

    fn span(&self, text: Text<'a>) -> Span {
        let raw = text.raw();
        if raw.is_empty() {
            return Span::default();
        }
        // Both lie in one header of at most 16 MiB, so their addresses differ by its length at most.
        let start = (raw.as_ptr() as usize).wrapping_sub(self.header.as_ptr() as usize);
        debug_assert!(start + raw.len() <= self.header.len());
        let escapes = if text.as_plain().is_some() { 0 } else { ESCAPES_BIT };
        Span { start: start as u32, length: raw.len() as u32 | escapes }
    }
}

impl fmt::Debug for ExtFields<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}
