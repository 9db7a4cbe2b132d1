//! What the operator asks, as requests.

use proto::code::request;
use proto::reply::PullRequest;

use super::{GROUPS, POLLING, PRODUCER, QUEUES, TOPIC, TRACE, group_name};
use crate::ledger::MessageKey;
use crate::link::Link;
use crate::marks;
use crate::requests::{plain_pull, plain_send, topic_fields};

/// What he asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    MakeTopic,
    MakeGroup {
        group: usize,
    },
    /// He is a member of all groups, over this connection.
    Join,
    Set {
        is_traced: Option<bool>,
        polling_ms: Option<u64>,
    },
    /// With a key that is not taken, or that nobody may change.
    SetWrong {
        is_traced: bool,
        is_forbidden: bool,
    },
    ShowSettings,
    Forbid {
        group: usize,
        is_readable: bool,
    },
    AskForbidden {
        group: usize,
    },
    /// As a member, by the group's subscription: of this a group may be forbidden.
    PullAsMember {
        group: usize,
        queue: usize,
        from: usize,
    },
    Send {
        queue: usize,
        number: u32,
    },
    Read {
        group: usize,
        queue: usize,
        from: usize,
    },
    Commit {
        group: usize,
        queue: usize,
        offset: u64,
    },
    /// To the first message then or later, or behind the newest; of one queue or all.
    Reset {
        group: usize,
        queue: Option<usize>,
        time_ms: Option<u64>,
    },
    Clone {
        source: usize,
        target: usize,
        names_topic: bool,
    },
    Query {
        group: usize,
        queue: usize,
    },
    AllOffsets,
    /// The lowest offset of all groups in each queue.
    Lowest {
        left_out: Option<usize>,
    },
}

impl Act {
    /// It changes something that must not change back when it comes a second time later.
    pub fn is_change(self) -> bool {
        matches!(
            self,
            Act::Set { .. }
                | Act::Forbid { .. }
                | Act::Commit { .. }
                | Act::Reset { .. }
                | Act::Clone { .. }
        )
    }

    /// The bytes of the request.
    pub fn write(self, link: &mut Link) -> Vec<u8> {
        match self {
            Act::MakeTopic => {
                let queues = QUEUES.to_string();
                let ext = topic_fields(TOPIC, &queues);
                link.request(request::UPDATE_AND_CREATE_TOPIC, &ext, b"")
            }
            Act::MakeGroup { group } => {
                let body = format!(r#"{{"groupName":"{}"}}"#, group_name(group));
                let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
                link.request(code, &[], body.as_bytes())
            }
            Act::Join => {
                let consumer = |group| {
                    format!(
                        r#"{{"groupName":"{}","messageModel":"CLUSTERING","subscriptionDataSet":[{{"expressionType":"TAG","subString":"*","subVersion":1,"topic":"{TOPIC}"}}]}}"#,
                        group_name(group)
                    )
                };
                let consumers = (0..GROUPS).map(consumer).collect::<Vec<_>>().join(",");
                let body = format!(
                    r#"{{"clientID":"operator","consumerDataSet":[{consumers}],"producerDataSet":[]}}"#
                );
                link.request(request::HEART_BEAT, &[], body.as_bytes())
            }
            Act::Set { is_traced, polling_ms } => {
                let mut body = String::new();
                if let Some(is_traced) = is_traced {
                    body += &format!("{TRACE}={is_traced}\n");
                }
                if let Some(polling_ms) = polling_ms {
                    body += &format!("{POLLING}={polling_ms}\n");
                }
                link.request(request::UPDATE_BROKER_CONFIG, &[], body.as_bytes())
            }
            Act::SetWrong { is_traced, is_forbidden } => {
                let wrong = if is_forbidden { "rocketmqHome=/" } else { "noSuchKey=1" };
                let body = format!("{TRACE}={is_traced}\n{wrong}\n");
                link.request(request::UPDATE_BROKER_CONFIG, &[], body.as_bytes())
            }
            Act::ShowSettings => link.request(request::GET_BROKER_CONFIG, &[], b""),
            Act::Forbid { group, is_readable } => {
                let (group, readable) = (group_name(group), is_readable.to_string());
                let ext = [("group", &*group), ("topic", TOPIC), ("readable", &*readable)];
                link.request(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &ext, b"")
            }
            Act::AskForbidden { group } => {
                let group = group_name(group);
                let ext = [("group", &*group), ("topic", TOPIC)];
                link.request(request::UPDATE_AND_GET_GROUP_FORBIDDEN, &ext, b"")
            }
            Act::PullAsMember { group, queue, from } => pull(link, group, queue, from, None),
            Act::Read { group, queue, from } => pull(link, group, queue, from, Some("*")),
            Act::Send { queue, number } => {
                let key = MessageKey { producer: PRODUCER, sequence: number };
                let mut text = Vec::new();
                marks::append(&mut text, key);
                let send = plain_send("SimOperator", TOPIC, queue as u32, &text);
                let body = [PRODUCER.to_be_bytes(), number.to_be_bytes()].concat();
                link.send(request::SEND_MESSAGE_V2, &send, &body)
            }
            Act::Commit { group, queue, offset } => {
                let (group, queue, offset) =
                    (group_name(group), queue.to_string(), offset.to_string());
                let ext = [
                    ("consumerGroup", &*group),
                    ("topic", TOPIC),
                    ("queueId", &*queue),
                    ("commitOffset", &*offset),
                ];
                link.request(request::UPDATE_CONSUMER_OFFSET, &ext, b"")
            }
            Act::Reset { group, queue, time_ms } => {
                let group = group_name(group);
                let queue = queue.map_or_else(|| "-1".to_owned(), |queue| queue.to_string());
                let time = time_ms.map_or_else(|| "-1".to_owned(), |time_ms| time_ms.to_string());
                let ext = [
                    ("group", &*group),
                    ("topic", TOPIC),
                    ("queueId", &*queue),
                    ("timestamp", &*time),
                    ("isForce", "true"),
                ];
                link.request(request::INVOKE_BROKER_TO_RESET_OFFSET, &ext, b"")
            }
            Act::Clone { source, target, names_topic } => {
                let (source, target) = (group_name(source), group_name(target));
                let ext = [
                    ("srcGroup", &*source),
                    ("destGroup", &*target),
                    ("offline", "true"),
                    ("topic", TOPIC),
                ];
                let ext = &ext[..if names_topic { 4 } else { 3 }];
                link.request(request::CLONE_GROUP_OFFSET, ext, b"")
            }
            Act::Query { group, queue } => {
                let (group, queue) = (group_name(group), queue.to_string());
                let ext = [
                    ("consumerGroup", &*group),
                    ("topic", TOPIC),
                    ("queueId", &*queue),
                    ("setZeroIfNotFound", "false"),
                ];
                link.request(request::QUERY_CONSUMER_OFFSET, &ext, b"")
            }
            Act::AllOffsets => link.request(request::GET_ALL_CONSUMER_OFFSET, &[], b""),
            Act::Lowest { left_out } => {
                let (left_out, compared) = (left_out.map(group_name), group_name(0));
                let ext = [
                    ("topic", TOPIC),
                    ("compareGroup", &*compared),
                    ("filterGroups", left_out.as_deref().unwrap_or("")),
                ];
                link.request(request::QUERY_CORRECTION_OFFSET, &ext, b"")
            }
        }
    }
}

fn pull(
    link: &mut Link,
    group: usize,
    queue: usize,
    from: usize,
    subscription: Option<&str>,
) -> Vec<u8> {
    let group = group_name(group);
    let pull = PullRequest {
        sys_flag: if subscription.is_some() { 4 } else { 0 },
        subscription,
        expression_type: subscription.map(|_| "TAG"),
        ..plain_pull(&group, TOPIC, queue as u32, from as u64)
    };
    link.pull(request::PULL_MESSAGE, &pull)
}
