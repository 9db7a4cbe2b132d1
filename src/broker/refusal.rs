//! Why a request is refused: RocketMQ's code and a remark that says what, and which limit.

use proto::code::response;
use proto::header::HeaderError;

/// A request that is the peer's mistake, or that the broker cannot serve now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Response code.
    pub code: i32,
    /// What the client reads.
    pub remark: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: i32, remark: impl Into<String>) -> Refusal {
        Refusal { code, remark: remark.into() }
    }

    /// RocketMQ's answer to a topic that it does not have.
    pub fn no_topic(topic: &str, advertised: std::net::SocketAddr) -> Refusal {
        Refusal::new(
            response::TOPIC_NOT_EXIST,
            format!(
                "topic[{topic}] not exist, apply first please! See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details. [{advertised}]"
            ),
        )
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}
