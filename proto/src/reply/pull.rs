//! Answer to a pull.

use super::{flat, strings};
use crate::command::FLAG_RESPONSE;
use crate::frame::{self, Encoding};
use crate::header::Head;

/// Apache's `PullMessageResponseHeader`, for the codes 0, 19, 20 and 21.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullReply<'a> {
    /// Opaque of the request.
    pub opaque: i32,
    /// 0 with messages, else why there are none.
    pub code: i32,
    /// Name of the `GetMessageStatus`, which 5.3.3 sends even on success.
    pub remark: Option<&'a str>,
    /// Broker id to pull from next time; 0 the master.
    pub suggest_which_broker_id: i64,
    /// Queue offset to ask for next.
    pub next_begin_offset: i64,
    /// First queue offset there is.
    pub min_offset: i64,
    /// Next queue offset to be written.
    pub max_offset: i64,
    /// System flag of the topic.
    pub topic_sys_flag: i32,
    /// System flag of the group.
    pub group_sys_flag: i32,
}

/// Appends the answer to a pull except its body, of which `body_bytes` must follow on the wire.
pub fn write_pull_response(
    out: &mut Vec<u8>,
    encoding: Encoding,
    reply: &PullReply<'_>,
    body_bytes: usize,
) {
    let head =
        Head { code: reply.code, opaque: reply.opaque, flag: FLAG_RESPONSE, remark: reply.remark };
    let mark = frame::begin(out);
    match encoding {
        Encoding::Flat => flat::write_pull_reply(out, &head, reply),
        Encoding::Json => {
            strings::write_json(out, &head, |fields| write_pull_response_fields(fields, reply))
        }
        Encoding::Binary => {
            strings::write_binary(out, &head, |fields| write_pull_response_fields(fields, reply))
        }
    }
    frame::finish(out, mark, encoding, body_bytes);
}

fn write_pull_response_fields(fields: &mut strings::Fields<'_>, reply: &PullReply<'_>) {
    fields.open();
    fields.integer("suggestWhichBrokerId", reply.suggest_which_broker_id);
    fields.integer("groupSysFlag", reply.group_sys_flag);
    fields.integer("nextBeginOffset", reply.next_begin_offset);
    fields.integer("maxOffset", reply.max_offset);
    fields.integer("minOffset", reply.min_offset);
    fields.integer("topicSysFlag", reply.topic_sys_flag);
}
