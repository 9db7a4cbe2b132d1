//! Writers of whole frames: answers in the encoding of their request, pushes, and a client's
//! requests.
//!
//! Everything is appended to a buffer that the caller keeps; nothing is allocated unless it must
//! grow. A body may follow later or be gathered from elsewhere: its length is then given.
//! The JSON is compact, its keys in the order of fastjson's, its ext values always strings.

use crate::frame::{self, Encoding};
use crate::header;

mod flat;
mod pull;
mod request;
mod send;
mod strings;

pub use pull::{PullReply, write_pull_response};
pub use request::{PullRequest, SendRequest, write_pull_request, write_send_request};
pub use send::{SendReply, Stored, write_send_response};

/// What an answer says besides its fields and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// Opaque of the request.
    pub opaque: i32,
    /// Response code.
    pub code: i32,
    /// Text for the client; a failure always has one.
    pub remark: Option<&'a str>,
}

/// What a request says besides its fields and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead {
    /// Request code. One above 32767 cannot travel in the binary encoding.
    pub code: i32,
    /// Correlation id that the answer will carry.
    pub opaque: i32,
    /// 0, or [`FLAG_ONEWAY`](crate::command::FLAG_ONEWAY) if there shall be no answer.
    pub flag: i32,
}

/// Appends an answer. `ext` of `None` leaves `extFields` out, an empty one writes `{}`: Java's
/// clients need the difference, see each request's description.
pub fn write_response(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: &ResponseHead<'_>,
    ext: Option<&[(&str, &str)]>,
    body: &[u8],
) {
    let head = header::Head {
        code: head.code,
        opaque: head.opaque,
        flag: crate::command::FLAG_RESPONSE,
        remark: head.remark,
    };
    write_generic(out, encoding, &head, ext, body);
}

/// Appends a request, or a push to a client.
pub fn write_request(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: &RequestHead,
    ext: Option<&[(&str, &str)]>,
    body: &[u8],
) {
    let head = header::Head { code: head.code, opaque: head.opaque, flag: head.flag, remark: None };
    write_generic(out, encoding, &head, ext, body);
}

fn write_generic(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: &header::Head<'_>,
    ext: Option<&[(&str, &str)]>,
    body: &[u8],
) {
    let mark = frame::begin(out);
    match encoding {
        Encoding::Flat => flat::write_generic(out, head, ext.unwrap_or_default()),
        Encoding::Json => strings::write_json(out, head, |fields| write_ext(fields, ext)),
        Encoding::Binary => strings::write_binary(out, head, |fields| write_ext(fields, ext)),
    }
    frame::finish(out, mark, encoding, body.len());
    out.extend_from_slice(body);
}

fn write_ext(fields: &mut strings::Fields<'_>, ext: Option<&[(&str, &str)]>) {
    let Some(ext) = ext else { return };
    fields.open();
    for (key, value) in ext {
        fields.text(key, value.as_bytes());
    }
}
