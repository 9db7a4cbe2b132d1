//! Requests of a client: sends and pulls, as the load generator writes them.

use super::RequestHead;
use super::{flat, strings};
use crate::frame::{self, Encoding};
use crate::header::Head;

/// Apache's `SendMessageRequestHeaderV2`: codes 310, 320 and 325.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendRequest<'a> {
    /// Group of the producer.
    pub producer_group: &'a str,
    /// Topic to send to.
    pub topic: &'a str,
    /// Topic whose settings a new topic takes, normally TBW102.
    pub default_topic: &'a str,
    /// Queues that a new topic should have.
    pub default_topic_queue_count: i32,
    /// Target queue; negative lets the broker choose.
    pub queue_id: i32,
    /// System flag: compression, transaction.
    pub sys_flag: i32,
    /// When the message was made, in milliseconds.
    pub born_timestamp: i64,
    /// The user's flag.
    pub flag: i32,
    /// Properties text.
    pub properties: &'a [u8],
    /// Retries so far.
    pub reconsume_times: i32,
    /// Legacy of unitised deployments.
    pub unit_mode: bool,
    /// Retries after which a `%RETRY%` message is dead.
    pub max_reconsume_times: Option<i32>,
    /// Whether the body is a batch.
    pub batch: bool,
    /// Name of the broker that is meant.
    pub broker_name: Option<&'a str>,
}

/// Appends a send except its body, of which `body_bytes` must follow on the wire.
pub fn write_send_request(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: &RequestHead,
    request: &SendRequest<'_>,
    body_bytes: usize,
) {
    let head = Head { code: head.code, opaque: head.opaque, flag: head.flag, remark: None };
    let mark = frame::begin(out);
    match encoding {
        Encoding::Flat => flat::write_send_request(out, &head, request),
        Encoding::Json => {
            strings::write_json(out, &head, |fields| write_send_request_fields(fields, request))
        }
        Encoding::Binary => {
            strings::write_binary(out, &head, |fields| write_send_request_fields(fields, request))
        }
    }
    frame::finish(out, mark, encoding, body_bytes);
}

fn write_send_request_fields(fields: &mut strings::Fields<'_>, request: &SendRequest<'_>) {
    fields.open();
    fields.text("a", request.producer_group.as_bytes());
    fields.text("b", request.topic.as_bytes());
    fields.text("c", request.default_topic.as_bytes());
    fields.integer("d", request.default_topic_queue_count);
    fields.integer("e", request.queue_id);
    fields.integer("f", request.sys_flag);
    fields.integer("g", request.born_timestamp);
    fields.integer("h", request.flag);
    fields.text("i", request.properties);
    fields.integer("j", request.reconsume_times);
    fields.boolean("k", request.unit_mode);
    if let Some(max_reconsume_times) = request.max_reconsume_times {
        fields.integer("l", max_reconsume_times);
    }
    fields.boolean("m", request.batch);
    if let Some(broker_name) = request.broker_name {
        fields.text("n", broker_name.as_bytes());
    }
}

/// Apache's `PullMessageRequestHeader`: codes 11 and 361.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullRequest<'a> {
    /// Group that pulls.
    pub consumer_group: &'a str,
    /// Topic to pull from.
    pub topic: &'a str,
    /// Queue to pull from.
    pub queue_id: i32,
    /// First queue offset wanted.
    pub queue_offset: i64,
    /// Most messages wanted.
    pub message_count_max: i32,
    /// [`PullHeader::FLAG_COMMIT`](crate::header::PullHeader::FLAG_COMMIT) and its neighbours.
    pub sys_flag: i32,
    /// Consumer offset to commit, if the flag says so.
    pub commit_offset: i64,
    /// How long the broker may hold the request, in milliseconds.
    pub suspend_timeout_ms: i64,
    /// Filter expression, if the flag says so.
    pub subscription: Option<&'a str>,
    /// Version of the subscription.
    pub subscription_version: i64,
    /// `TAG` or `SQL92`.
    pub expression_type: Option<&'a str>,
    /// Most bytes wanted.
    pub message_bytes_max: Option<i32>,
    /// Name of the broker that is meant.
    pub broker_name: Option<&'a str>,
}

/// Appends a pull; it has no body.
pub fn write_pull_request(
    out: &mut Vec<u8>,
    encoding: Encoding,
    head: &RequestHead,
    request: &PullRequest<'_>,
) {
    let head = Head { code: head.code, opaque: head.opaque, flag: head.flag, remark: None };
    let mark = frame::begin(out);
    match encoding {
        Encoding::Flat => flat::write_pull_request(out, &head, request),
        Encoding::Json => {
            strings::write_json(out, &head, |fields| write_pull_request_fields(fields, request))
        }
        Encoding::Binary => {
            strings::write_binary(out, &head, |fields| write_pull_request_fields(fields, request))
        }
    }
    frame::finish(out, mark, encoding, 0);
}

fn write_pull_request_fields(fields: &mut strings::Fields<'_>, request: &PullRequest<'_>) {
    fields.open();
    fields.text("consumerGroup", request.consumer_group.as_bytes());
    fields.text("topic", request.topic.as_bytes());
    fields.integer("queueId", request.queue_id);
    fields.integer("queueOffset", request.queue_offset);
    fields.integer("maxMsgNums", request.message_count_max);
    fields.integer("sysFlag", request.sys_flag);
    fields.integer("commitOffset", request.commit_offset);
    fields.integer("suspendTimeoutMillis", request.suspend_timeout_ms);
    fields.integer("subVersion", request.subscription_version);
    if let Some(subscription) = request.subscription {
        fields.text("subscription", subscription.as_bytes());
    }
    if let Some(expression_type) = request.expression_type {
        fields.text("expressionType", expression_type.as_bytes());
    }
    if let Some(message_bytes_max) = request.message_bytes_max {
        fields.integer("maxMsgBytes", message_bytes_max);
    }
    if let Some(broker_name) = request.broker_name {
        fields.text("bname", broker_name.as_bytes());
    }
}
