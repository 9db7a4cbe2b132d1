//! Answer to a send.

use super::{flat, strings};
use crate::command::FLAG_RESPONSE;
use crate::frame::{self, Encoding};
use crate::header::Head;
use crate::text::escape_into;
use crate::version;

/// Apache's `SendMessageResponseHeader` and what every answer of the send handler carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendReply<'a> {
    /// Opaque of the request.
    pub opaque: i32,
    /// 0, 10, 11 or 12 if the message is stored, else the reason why not.
    pub code: i32,
    /// Text for the client; a failure always has one.
    pub remark: Option<&'a str>,
    /// Where the message is; absent if it is nowhere.
    pub stored: Option<Stored<'a>>,
    /// `regionId` of the broker.
    pub region: &'a str,
    /// `traceOn` of the broker.
    pub trace_on: bool,
}

/// Where a message was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// offsetMsgId in uppercase hexadecimal digits; several with commas between them for a batch.
    pub message_id: &'a [u8],
    /// Queue that took it.
    pub queue_id: i32,
    /// Offset there, that of the first one for a batch.
    pub queue_offset: i64,
    /// UNIQ_KEY of the message; empty if it has none.
    pub transaction_id: &'a [u8],
    /// Handle with which a timer message can be recalled.
    pub recall_handle: Option<&'a str>,
}

/// Appends the answer to a send, whole.
pub fn write_send_response(out: &mut Vec<u8>, encoding: Encoding, reply: &SendReply<'_>) {
    let head =
        Head { code: reply.code, opaque: reply.opaque, flag: FLAG_RESPONSE, remark: reply.remark };
    let mark = frame::begin(out);
    match encoding {
        Encoding::Json if reply.remark.is_none() => write_success_json(out, reply),
        Encoding::Flat => flat::write_send_reply(out, &head, reply),
        Encoding::Json => {
            strings::write_json(out, &head, |fields| write_send_response_fields(fields, reply))
        }
        Encoding::Binary => {
            strings::write_binary(out, &head, |fields| write_send_response_fields(fields, reply))
        }
    }
    frame::finish(out, mark, encoding, 0);
}

/// What `write_send_response_fields` writes in JSON, with all constant text between two values in one
/// piece: the answer that a broker writes most by far.
fn write_success_json(out: &mut Vec<u8>, reply: &SendReply<'_>) {
    let mut digits = itoa::Buffer::new();
    out.reserve(SUCCESS_JSON_BYTES);
    out.extend_from_slice(b"{\"code\":");
    out.extend_from_slice(digits.format(reply.code).as_bytes());
    out.extend_from_slice(b",\"extFields\":{");
    if let Some(stored) = &reply.stored {
        out.extend_from_slice(b"\"queueId\":\"");
        out.extend_from_slice(digits.format(stored.queue_id).as_bytes());
        if !stored.transaction_id.is_empty() {
            out.extend_from_slice(b"\",\"transactionId\":\"");
            escape_into(out, stored.transaction_id);
        }
        out.extend_from_slice(b"\",\"msgId\":\"");
        out.extend_from_slice(stored.message_id);
        if let Some(handle) = stored.recall_handle {
            out.extend_from_slice(b"\",\"recallHandle\":\"");
            escape_into(out, handle.as_bytes());
        }
        out.extend_from_slice(b"\",\"queueOffset\":\"");
        out.extend_from_slice(digits.format(stored.queue_offset).as_bytes());
        out.extend_from_slice(b"\",");
    }
    let trace = if reply.trace_on { "true" } else { "false" };
    out.extend_from_slice(b"\"TRACE_ON\":\"");
    out.extend_from_slice(trace.as_bytes());
    out.extend_from_slice(b"\",\"MSG_REGION\":\"");
    escape_into(out, reply.region.as_bytes());
    out.extend_from_slice(b"\"},\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    out.extend_from_slice(digits.format(reply.opaque).as_bytes());
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.extend_from_slice(digits.format(version::CURRENT).as_bytes());
    out.push(b'}');
}

/// Room for an answer with a key of the usual length.
const SUCCESS_JSON_BYTES: usize = 512;

fn write_send_response_fields(fields: &mut strings::Fields<'_>, reply: &SendReply<'_>) {
    fields.open();
    if let Some(stored) = &reply.stored {
        fields.integer("queueId", stored.queue_id);
        if !stored.transaction_id.is_empty() {
            fields.text("transactionId", stored.transaction_id);
        }
        fields.plain("msgId", stored.message_id);
        if let Some(handle) = stored.recall_handle {
            fields.text("recallHandle", handle.as_bytes());
        }
        fields.integer("queueOffset", stored.queue_offset);
    }
    fields.boolean("TRACE_ON", reply.trace_on);
    fields.text("MSG_REGION", reply.region.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_writes_what_the_general_one_does() {
        let stored = Stored {
            message_id: b"7F00000100002A9F0000000000000000",
            queue_id: 3,
            queue_offset: 1_234_567,
            transaction_id: b"0A00\x02\"",
            recall_handle: None,
        };
        let with_handle = Stored { transaction_id: b"", recall_handle: Some("h\\"), ..stored };
        for stored in [None, Some(stored), Some(with_handle)] {
            for (code, opaque, trace_on) in [(0, -1, true), (11, 4711, false)] {
                let reply =
                    SendReply { opaque, code, remark: None, stored, region: "r\"", trace_on };
                let head = Head { code, opaque, flag: FLAG_RESPONSE, remark: None };
                let (mut short, mut general) = (Vec::new(), Vec::new());
                write_success_json(&mut short, &reply);
                strings::write_json(&mut general, &head, |fields| {
                    write_send_response_fields(fields, &reply);
                });
                assert_eq!(String::from_utf8(short), String::from_utf8(general));
            }
        }
    }
}
