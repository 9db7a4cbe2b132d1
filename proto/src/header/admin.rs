//! Headers of tools that ask about topics, groups and clients, or change them.

use super::{Fields, HeaderError};
use crate::command::Command;
use crate::text::Text;

/// A topic: Apache's `DeleteTopicRequestHeader` (215), `GetTopicConfigRequestHeader` (351),
/// `GetTopicStatsInfoRequestHeader` (202), `QueryTopicConsumeByWhoRequestHeader` (300).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicHeader<'a> {
    /// Its name.
    pub topic: Text<'a>,
}

/// A group, and a topic where the request is about both: Apache's
/// `GetSubscriptionGroupConfigRequestHeader` (352), `QueryTopicsByConsumerRequestHeader` (343),
/// `QuerySubscriptionByConsumerRequestHeader` (345), `QueryConsumeTimeSpanRequestHeader` (303),
/// `GetConsumerStatusRequestHeader` (223).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHeader<'a> {
    /// Name of the group.
    pub group: Text<'a>,
    /// Name of the topic.
    pub topic: Option<Text<'a>>,
    /// Of 223: only this client.
    pub client_address: Option<Text<'a>>,
}

/// Apache's `DeleteSubscriptionGroupRequestHeader` (207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeleteGroupHeader<'a> {
    /// Name of the group.
    pub group: Text<'a>,
    /// Whether its offsets go, too.
    pub clean_offset: bool,
}

/// Apache's `GetConsumerConnectionListRequestHeader` (203), `GetConsumeStatsRequestHeader` (208),
/// `GetConsumerRunningInfoRequestHeader` (307), `ConsumeMessageDirectlyResultRequestHeader` (309).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerHeader<'a> {
    /// Name of the group.
    pub group: Text<'a>,
    /// Of 307 and 309: which of its members.
    pub client_id: Option<Text<'a>>,
    /// Of 309: the message, as offsetMsgId.
    pub message_id: Option<Text<'a>>,
    /// Of 208 and 309: a topic.
    pub topic: Option<Text<'a>>,
    /// Of 208: topics with `;` between them.
    pub topic_list: Option<Text<'a>>,
}

/// Apache's `GetProducerConnectionListRequestHeader` (204).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerHeader<'a> {
    /// Name of the group.
    pub group: Text<'a>,
}

/// Apache's `ResetOffsetRequestHeader` (222).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetOffsetHeader<'a> {
    /// Name of the group.
    pub group: Text<'a>,
    /// Name of the topic.
    pub topic: Text<'a>,
    /// One queue; negative or absent: all of them.
    pub queue_id: i32,
    /// Queue offset to go to, of one queue; -1 or absent: the one of `timestamp`.
    pub offset: Option<i64>,
    /// Store time to go to, ms; negative: behind the newest message.
    pub timestamp: i64,
    /// Whether a group may go forward, too; only without `useServerSideResetOffset`.
    pub is_force: bool,
}

/// Apache's `CloneGroupOffsetRequestHeader` (314).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloneOffsetHeader<'a> {
    /// Whose offsets.
    pub source_group: Text<'a>,
    /// Who gets them.
    pub target_group: Text<'a>,
    /// Of this topic; absent: of all.
    pub topic: Option<Text<'a>>,
    /// Whether it does not matter what the group subscribes to now.
    pub offline: bool,
}

/// Apache's `QueryCorrectionOffsetHeader` (308).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorrectionOffsetHeader<'a> {
    /// Groups that do not count, with `,` between them.
    pub filter_groups: Option<Text<'a>>,
    /// Group that others are compared with.
    pub compare_group: Text<'a>,
    /// Name of the topic.
    pub topic: Text<'a>,
}

/// Apache's `ViewBrokerStatsDataRequestHeader` (315).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerStatsHeader<'a> {
    /// What is counted.
    pub name: Text<'a>,
    /// Of what: a topic, or `topic@group`.
    pub key: Text<'a>,
}

/// Apache's `GetConsumeStatsInBrokerHeader` (317).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerConsumeStatsHeader {
    /// Only ordered topics.
    pub is_order: bool,
}

/// Apache's `UpdateGroupForbiddenRequestHeader` (353).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupForbiddenHeader<'a> {
    /// Name of the group.
    pub group: Text<'a>,
    /// Name of the topic.
    pub topic: Text<'a>,
    /// Whether the group may read the topic from now on; absent: nothing changes.
    pub readable: Option<bool>,
}

/// Apache's `ResumeCheckHalfMessageRequestHeader` (323).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeCheckHeader<'a> {
    /// The message, as offsetMsgId.
    pub message_id: Option<Text<'a>>,
}

impl<'a> BrokerStatsHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self { name: fields.text("statsName")?, key: fields.text("statsKey")? })
    }
}

impl BrokerConsumeStatsHeader {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'_>) -> Result<Self, HeaderError> {
        Ok(Self { is_order: Fields(command).text("isOrder")?.parse_bool() })
    }
}

impl<'a> GroupForbiddenHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            group: fields.text("group")?,
            topic: fields.text("topic")?,
            readable: fields.bool_optional("readable"),
        })
    }
}

impl<'a> ResumeCheckHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// None: Apache's has no required field.
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        Ok(Self { message_id: Fields(command).text_optional("msgId") })
    }
}

impl<'a> TopicHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        Ok(Self { topic: Fields(command).text("topic")? })
    }
}

impl<'a> GroupHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            group: fields.text("group")?,
            topic: fields.text_optional("topic"),
            client_address: fields.text_optional("clientAddr"),
        })
    }
}

impl<'a> DeleteGroupHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self { group: fields.text("groupName")?, clean_offset: fields.bool("cleanOffset") })
    }
}

impl<'a> ConsumerHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            group: fields.text("consumerGroup")?,
            client_id: fields.text_optional("clientId"),
            message_id: fields.text_optional("msgId"),
            topic: fields.text_optional("topic"),
            topic_list: fields.text_optional("topicList"),
        })
    }
}

impl<'a> ProducerHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        Ok(Self { group: Fields(command).text("producerGroup")? })
    }
}

impl<'a> ResetOffsetHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            group: fields.text("group")?,
            topic: fields.text("topic")?,
            queue_id: fields.i32_optional("queueId")?.unwrap_or(-1),
            offset: fields.i64_optional("offset")?.filter(|offset| *offset != -1),
            timestamp: fields.i64("timestamp")?,
            is_force: fields.bool("isForce"),
        })
    }
}

impl<'a> CloneOffsetHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            source_group: fields.text("srcGroup")?,
            target_group: fields.text("destGroup")?,
            topic: fields.text_optional("topic"),
            offline: fields.bool("offline"),
        })
    }
}

impl<'a> CorrectionOffsetHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            filter_groups: fields.text_optional("filterGroups"),
            compare_group: fields.text("compareGroup")?,
            topic: fields.text("topic")?,
        })
    }
}
