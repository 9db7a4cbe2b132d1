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
    /// JSON in the map; each entry ends with a comma, the last of which is taken back.
    Json,
    Binary,
}

// Keys are constants, and what is appended of them becomes a few stores where the compiler knows
// that: hence the inlining.
impl Fields<'_> {
    /// Begins the map; without it there will be none, which JSON tells from an empty one.
    pub(super) fn open(&mut self) {
        if self.form == Form::JsonAbsent {
            self.out.extend_from_slice(b",\"extFields\":{");
            self.form = Form::Json;
        }
    }

    /// An entry whose key and value may need escapes.
    pub(super) fn entry(&mut self, key: &str, value: &[u8]) {
        if self.form == Form::Binary {
            return self.binary(key, value);
        }
        write_json_string(self.out, key.as_bytes());
        self.out.push(b':');
        write_json_string(self.out, value);
        self.out.push(b',');
    }

    /// An entry whose value may need escapes.
    #[inline(always)]
    pub(super) fn text(&mut self, key: &str, value: &[u8]) {
        if self.form == Form::Binary {
            return self.binary(key, value);
        }
        self.json_key(key);
        escape_into(self.out, value);
        self.out.extend_from_slice(b"\",");
    }

    /// An entry whose value is known to need no escapes.
    #[inline(always)]
    pub(super) fn plain(&mut self, key: &str, value: &[u8]) {
        if self.form == Form::Binary {
            return self.binary(key, value);
        }
        self.json_key(key);
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\",");
    }

    /// An entry with a number.
    #[inline(always)]
    pub(super) fn integer(&mut self, key: &str, value: impl itoa::Integer) {
        self.plain(key, itoa::Buffer::new().format(value).as_bytes());
    }

    /// An entry with a truth value.
    #[inline(always)]
    pub(super) fn boolean(&mut self, key: &str, value: bool) {
        self.plain(key, if value { b"true" } else { b"false" });
    }

    #[inline(always)]
    fn json_key(&mut self, key: &str) {
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":\"");
    }

    fn close(&mut self) {
        if self.form == Form::Json {
            if self.out.last() == Some(&b',') {
                self.out.pop();
            }
            self.out.push(b'}');
        }
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
    fields.close();
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
