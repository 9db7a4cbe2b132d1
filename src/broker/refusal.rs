//! Why a request is refused: RocketMQ's code and a remark that says what, and which limit.

use proto::code::response;
use proto::header::HeaderError;

use super::limits::REMARK_BYTES_MAX;

/// Who forbids a pull (`ForbiddenType` of 5.3.3); clients find its number in the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ForbiddenType {
    /// The broker.
    Broker,
    /// The group may not consume.
    Group,
    /// The topic.
    Topic,
    /// The group may not broadcast.
    Broadcasting,
    /// The group may not read the topic.
    Subscription,
}

impl ForbiddenType {
    /// The number as an answer's field says it.
    pub fn number(self) -> &'static str {
        match self {
            ForbiddenType::Broker => "1",
            ForbiddenType::Group => "2",
            ForbiddenType::Topic => "3",
            ForbiddenType::Broadcasting => "4",
            ForbiddenType::Subscription => "5",
        }
    }
}

/// A request that is the peer's mistake, or that the broker cannot serve now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Response code.
    pub code: i32,
    /// What the client reads.
    pub remark: String,
    /// Who forbids it; of pulls only.
    pub forbidden: Option<ForbiddenType>,
}

impl Refusal {
    /// A refusal. Of a remark that repeats very much of the request the beginning is told.
    pub fn new(code: i32, remark: impl Into<String>) -> Refusal {
        let mut remark = remark.into();
        remark.truncate(remark.floor_char_boundary(REMARK_BYTES_MAX));
        Refusal { code, remark, forbidden: None }
    }

    /// The same, with who forbids it.
    #[must_use]
    pub fn by(self, forbidden: ForbiddenType) -> Refusal {
        Refusal { forbidden: Some(forbidden), ..self }
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

    /// The disk does not give what is asked for: what that is, and the operating system's words. Apache
    /// has no code for it: its files are mapped, and a read that fails is a fault of the JVM's memory.
    pub fn unreadable(what: &str, reason: &str) -> Refusal {
        let remark = format!("{what} cannot be read from disk now: {reason}");
        Refusal::new(response::SYSTEM_ERROR, remark)
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Refusal {
        Refusal::new(response::SYSTEM_ERROR, error.to_string())
    }
}
