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

#[derive(Clone, Copy, Default)]
struct Entry {
    key: Span,
    value: Span,
}

/// A text of a header by its place there: half the size of a slice, so that scanners pass it around
/// in a register.
#[derive(Clone, Copy, Default)]
pub(crate) struct Span {
    start: u32,
    /// Length, and in the top bit whether there are escapes.
    length: u32,
}

impl Span {
    const ESCAPES_BIT: u32 = 1 << 31;

    /// The text between two places of a header, which is at most 16 MiB long.
    #[inline]
    pub(crate) fn between(start: usize, end: usize, escapes: Escapes) -> Self {
        let escapes = if escapes == Escapes::None { 0 } else { Self::ESCAPES_BIT };
        Self { start: start as u32, length: (end - start) as u32 | escapes }
    }

    /// The place of a text that lies in the header.
    fn of(text: Text<'_>, header: &[u8]) -> Self {
        let raw = text.raw();
        if raw.is_empty() {
            return Self::default();
        }
        let start = (raw.as_ptr() as usize).wrapping_sub(header.as_ptr() as usize);
        debug_assert!(start + raw.len() <= header.len());
        let escapes = if text.as_plain().is_some() { Escapes::None } else { Escapes::Json };
        Self::between(start, start + raw.len(), escapes)
    }

    /// The text in its header.
    #[inline]
    pub(crate) fn text(self, header: &[u8]) -> Text<'_> {
        let start = self.start as usize;
        let end = start + (self.length & !Self::ESCAPES_BIT) as usize;
        let escapes =
            if self.length & Self::ESCAPES_BIT == 0 { Escapes::None } else { Escapes::Json };
        Text::json(header.get(start..end).unwrap_or_default(), escapes)
    }
}

impl<'a> ExtFields<'a> {
    /// No entries yet, over the header that they will point into.
    pub(crate) fn over(header: &'a [u8]) -> Self {
        Self { header, entries: [Entry::default(); EXT_FIELDS_MAX], count: 0 }
    }

    /// Appends an entry; both texts must be parts of the header.
    pub(crate) fn push(&mut self, key: Text<'a>, value: Text<'a>) -> Result<(), HeaderError> {
        self.push_spans(Span::of(key, self.header), Span::of(value, self.header))
    }

    /// Appends an entry.
    #[inline]
    pub(crate) fn push_spans(&mut self, key: Span, value: Span) -> Result<(), HeaderError> {
        let slot = self.entries.get_mut(self.count);
        let slot = slot.ok_or(HeaderError::TooManyExtFields { max: EXT_FIELDS_MAX })?;
        *slot = Entry { key, value };
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
        let found = self.entries().iter().rev().find(|it| it.key.text(self.header).eq_str(key));
        found.map(|entry| entry.value.text(self.header))
    }

    /// All entries in the order in which they were sent.
    pub fn iter(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> + '_ {
        let header = self.header;
        self.entries().iter().map(move |entry| (entry.key.text(header), entry.value.text(header)))
    }

    fn entries(&self) -> &[Entry] {
        self.entries.get(..self.count).unwrap_or_default()
    }
}

impl fmt::Debug for ExtFields<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}
