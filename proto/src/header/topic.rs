//! Header of code 17.

use super::{Fields, HeaderError};
use crate::command::Command;
use crate::text::Text;

/// Apache's `CreateTopicRequestHeader` (17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateTopicHeader<'a> {
    /// Topic to create or change.
    pub topic: Text<'a>,
    /// Template topic; without effect here.
    pub default_topic: Option<Text<'a>>,
    /// Queues that consumers read.
    pub read_queue_count: i32,
    /// Queues that producers write.
    pub write_queue_count: i32,
    /// Permission bits: 4 read, 2 write, 1 inherit, 8 priority.
    pub perm: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    pub topic_filter_type: Option<Text<'a>>,
    /// Unit bits; 0 if absent.
    pub topic_sys_flag: i32,
    /// Whether the topic is ordered.
    pub order: bool,
    /// Changes of attributes: `+key=value,-key`.
    pub attributes: Option<Text<'a>>,
    /// Apply even if nothing changes.
    pub force: bool,
}

impl<'a> CreateTopicHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            topic: fields.text("topic")?,
            default_topic: fields.text_optional("defaultTopic"),
            read_queue_count: fields.i32("readQueueNums")?,
            write_queue_count: fields.i32("writeQueueNums")?,
            perm: fields.i32("perm")?,
            topic_filter_type: fields.text_optional("topicFilterType"),
            topic_sys_flag: fields.i32_optional("topicSysFlag")?.unwrap_or(0),
            order: fields.bool("order"),
            attributes: fields.text_optional("attributes"),
            force: fields.bool("force"),
        })
    }
}
