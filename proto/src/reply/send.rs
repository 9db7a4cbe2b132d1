//! Answer to a send.

use super::{flat, strings};
use crate::command::FLAG_RESPONSE;
use crate::frame::{self, Encoding};
use crate::header::Head;

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
