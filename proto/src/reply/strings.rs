//! Headers whose fields are a map of strings: JSON, and Apache's binary one.

use crate::header::Head;
use crate::language::Language;
use crate::text::{escape_into, write_json_string};
use crate::version;

/// The map of a header under construction.
pub(super) struct Fields<'o> {
    out: &'o mut Vec<u8>,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// JSON without a map so far.
    JsonAbsent,
    /// JSON, before the first entry.
    JsonFirst,
    /// JSON, behind an entry.
    JsonNext,
    Binary,
}

impl Fields<'_> {
    /// Begins the map; without it there will be none, which JSON tells from an empty one.
    pub(super) fn open(&mut self) {
        if self.form == Form::JsonAbsent {
            self.out.extend_from_slice(b",\"extFields\":{");
            self.form = Form::JsonFirst;
        }
    }

    /// An entry whose key and value may need escapes.
    pub(super) fn entry(&mut self, key: &str, value: &[u8]) {
        if self.form == Form::Binary {
            self.binary(key, value);
        } else {
            self.json_quote();
            escape_into(self.out, key.as_bytes());
            self.out.extend_from_slice(b"\":\"");
            escape_into(self.out, value);
            self.out.push(b'"');
        }
    }

    /// An entry whose value may need escapes.
    pub(super) fn text(&mut self, key: &str, value: &[u8]) {
        if self.form == Form::Binary {
            self.binary(key, value);
        } else {
            self.json_key(key);
            escape_into(self.out, value);
            self.out.push(b'"');
        }
    }

    /// An entry whose value is known to need no escapes.
    pub(super) fn plain(&mut self, key: &str, value: &[u8]) {
        if self.form == Form::Binary {
            self.binary(key, value);
        } else {
            self.json_key(key);
            self.out.extend_from_slice(value);
            self.out.push(b'"');
        }
    }

    /// An entry with a number.
    pub(super) fn integer(&mut self, key: &str, value: impl itoa::Integer) {
        self.plain(key, itoa::Buffer::new().format(value).as_bytes());
    }

    /// An entry with a truth value.
    pub(super) fn boolean(&mut self, key: &str, value: bool) {
        self.plain(key, if value { b"true" } else { b"false" });
    }

    fn json_quote(&mut self) {
        let open: &[u8] = if self.form == Form::JsonNext { b",\"" } else { b"\"" };
        self.form = Form::JsonNext;
        self.out.extend_from_slice(open);
    }

    fn json_key(&mut self, key: &str) {
        self.json_quote();
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":\"");
    }

    fn binary(&mut self, key: &str, value: &[u8]) {
        // A key is one of ours or a short name; lengths are bounded by the frame.
        self.out.extend_from_slice(&(key.len() as i16).to_be_bytes());
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(&(value.len() as i32).to_be_bytes());
        self.out.extend_from_slice(value);
    }
}

/// Writes a JSON header; `write_fields` writes its map, if it opens one.
pub(super) fn write_json(
    out: &mut Vec<u8>,
    head: &Head<'_>,
    write_fields: impl FnOnce(&mut Fields<'_>),
) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"{\"code\":");
    out.extend_from_slice(digits.format(head.code).as_bytes());
    let mut fields = Fields { out, form: Form::JsonAbsent };
    write_fields(&mut fields);
    let has_map = fields.form != Form::JsonAbsent;
    if has_map {
        out.push(b'}');
    }
    out.extend_from_slice(b",\"flag\":");
    out.extend_from_slice(digits.format(head.flag).as_bytes());
    out.extend_from_slice(b",\"language\":\"JAVA\",\"opaque\":");
    out.extend_from_slice(digits.format(head.opaque).as_bytes());
    if let Some(remark) = head.remark {
        out.extend_from_slice(b",\"remark\":");
        write_json_string(out, remark.as_bytes());
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.extend_from_slice(digits.format(version::CURRENT).as_bytes());
    out.push(b'}');
}

/// Writes a binary header; `write_fields` writes its map.
pub(super) fn write_binary(
    out: &mut Vec<u8>,
    head: &Head<'_>,
    write_fields: impl FnOnce(&mut Fields<'_>),
) {
    let remark = head.remark.unwrap_or_default();
    // The code is cut to 16 bits, as Java does: those above never travel in this encoding.
    out.extend_from_slice(&(head.code as i16).to_be_bytes());
    out.push(Language::Java.code());
    out.extend_from_slice(&(version::CURRENT as i16).to_be_bytes());
    out.extend_from_slice(&head.opaque.to_be_bytes());
    out.extend_from_slice(&head.flag.to_be_bytes());
    out.extend_from_slice(&(remark.len() as i32).to_be_bytes());
    out.extend_from_slice(remark.as_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    write_fields(&mut Fields { out, form: Form::Binary });
    let map_bytes = (out.len() - length_at - 4) as i32;
    out[length_at..length_at + 4].copy_from_slice(&map_bytes.to_be_bytes());
}
