//! Requests as every client here writes them; each says what is different about its own.

use proto::reply::{PullRequest, SendRequest};

/// Fields of what makes a topic with so many queues.
pub fn topic_fields<'a>(topic: &'a str, queues: &'a str) -> [(&'a str, &'a str); 7] {
    [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ]
}

/// A send to a topic that no send makes.
pub fn plain_send<'a>(
    group: &'a str,
    topic: &'a str,
    queue: u32,
    properties: &'a [u8],
) -> SendRequest<'a> {
    SendRequest {
        producer_group: group,
        topic,
        default_topic: "none",
        default_topic_queue_count: 1,
        queue_id: queue as i32,
        sys_flag: 0,
        born_timestamp: 1,
        flag: 0,
        properties,
        reconsume_times: 0,
        unit_mode: false,
        max_reconsume_times: None,
        batch: false,
        broker_name: None,
    }
}

/// A pull of whatever is in a queue from an offset on, that brings its subscription and does not wait.
pub fn plain_pull<'a>(group: &'a str, topic: &'a str, queue: u32, from: u64) -> PullRequest<'a> {
    PullRequest {
        consumer_group: group,
        topic,
        queue_id: queue as i32,
        queue_offset: from as i64,
        message_count_max: 32,
        sys_flag: 4,
        commit_offset: 0,
        suspend_timeout_ms: 0,
        subscription: Some("*"),
        subscription_version: 0,
        expression_type: Some("TAG"),
        message_bytes_max: None,
        broker_name: None,
    }
}
