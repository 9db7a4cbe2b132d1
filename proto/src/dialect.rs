//! fastjson's dialect of JSON: what the bodies of RocketMQ are written in.
//!
//! Apache RocketMQ 5.3.3 reads and writes bodies with fastjson 1.2.83 in its default configuration
//! (`JSON.DEFAULT_PARSER_FEATURE`, `JSON.DEFAULT_GENERATE_FEATURE`). It accepts more than JSON, and
//! writes more: keys without quotes, numbers and even objects as keys. [`parse`] reads that into a
//! small document of values that borrow from the input; [`Writer`] writes it byte for byte.
//!
//! ```text
//! {"offsetTable":{{"brokerName":"a","queueId":0,"topic":"T"}:{"maxOffset":8},...},"tps":0.0}
//! {"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},...}
//! ```
//!
//! Bodies are not per message, so a document is affordable. Hostile input is not trusted with
//! memory or stack: depth and number of values are bounded.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::borrow::Cow;

pub use writer::{Style, Writer};

/// Deepest nesting of arrays and objects. Apache's own bodies have at most eight levels; fastjson
/// itself would overflow its stack somewhere above a thousand.
pub const DEPTH_MAX: usize = 64;

/// Most values in a document from a client. The largest known are heartbeats: 5000 subscriptions are
/// 50 000 values. The emptiest entry of a body costs some 300 bytes once it is typed, so this many
/// cost 20 MiB while a request is handled.
pub const VALUES_MAX: usize = 1 << 16;

/// Most values in a document that holds a whole table of a broker. A registration fills a 16 MiB
/// frame with about 900 000.
pub const TABLE_VALUES_MAX: usize = 1 << 20;

const _: () = assert!(VALUES_MAX < TABLE_VALUES_MAX);

/// One value of a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`; also `undefined` and `NaN`, which fastjson reads as null.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits.
    Integer(i64),
    /// Any other number, as written: a fraction, an exponent, or an integer beyond 64 bits.
    Number(&'a str),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// The key of an object's entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Key<'a> {
    /// A quoted key, a bare word or a bare number, as text.
    Text(Cow<'a, str>),
    /// An object (or array) that serves as key, as in tables by message queue.
    Value(Box<Value<'a>>),
}

/// An object: its entries in the order of the input, duplicates included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a> {
    /// Keys and values as they came.
    pub entries: Vec<(Key<'a>, Value<'a>)>,
}

/// Why a text is not this dialect, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {position}")]
pub struct Error {
    /// Offset in the input of the byte that does not fit.
    pub position: usize,
    /// What does not fit.
    pub problem: Problem,
}

/// What does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else was needed here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// The input is not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// More than [`DEPTH_MAX`] levels.
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More values than were allowed.
    #[error("more than {max} values")]
    TooManyValues {
        /// How many were.
        max: usize,
    },
}

/// Reads one value of at most [`VALUES_MAX`] values in all, and nothing after it but white space and
/// comments.
///
/// # Errors
/// The first place where the input leaves the dialect or its bounds.
pub fn parse(input: &[u8]) -> Result<Value<'_>, Error> {
    parse_up_to(VALUES_MAX, input)
}

/// Reads one value of at most `values_max` values in all.
///
/// # Errors
/// As [`parse`].
pub fn parse_up_to(values_max: usize, input: &[u8]) -> Result<Value<'_>, Error> {
    let text = std::str::from_utf8(input)
        .map_err(|error| Error { position: error.valid_up_to(), problem: Problem::NotUtf8 })?;
    reader::read_document(text, values_max)
}

impl<'a> Value<'a> {
    /// The object, if this is one.
    pub fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The items, if this is an array.
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Null, or fastjson's `{"$ref":".."}`, which stands for an object that was written before.
    ///
    /// fastjson writes it when a Java object appears twice in one graph (topic configurations that
    /// share their attributes map). What it points to cannot be had without the graph; every field
    /// where Apache could write one is optional, so it counts as absent.
    pub fn is_null(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Object(object) => object.is_reference(),
            _ => false,
        }
    }

    /// What this is, for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

impl<'a> Object<'a> {
    /// The value of a key, the last one if it appears more than once.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.last(|key| key == name)
    }

    /// The value of a bean's field, found as leniently as fastjson finds it: by its name, else by
    /// the name without regard to case, `_` and `-`, else with a leading `is` left out
    /// (`JavaBeanDeserializer.smartMatch`).
    pub fn field(&self, name: &str) -> Option<&Value<'a>> {
        self.get(name).or_else(|| {
            self.last(|key| {
                alike(key, name) || key.strip_prefix("is").is_some_and(|rest| alike(rest, name))
            })
        })
    }

    /// Whether this is `{"$ref":path}`, where a path is `..`, or begins with `$` or `@`.
    fn is_reference(&self) -> bool {
        let is_path = |text: &str| text.starts_with(['$', '@']) || text == "..";
        self.entries.iter().any(|(key, value)| match (key, value) {
            (Key::Text(key), Value::Text(path)) => key == "$ref" && is_path(path),
            _ => false,
        })
    }

    fn last(&self, matches: impl Fn(&str) -> bool) -> Option<&Value<'a>> {
        self.entries.iter().rev().find_map(|(key, value)| match key {
            Key::Text(text) if matches(text) => Some(value),
            _ => None,
        })
    }
}

/// Equal but for ASCII case, `_` and `-`.
fn alike(key: &str, name: &str) -> bool {
    fn folded(text: &str) -> impl Iterator<Item = u8> {
        let bytes = text.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
        bytes.map(|byte| byte.to_ascii_lowercase())
    }
    folded(key).eq(folded(name))
}
