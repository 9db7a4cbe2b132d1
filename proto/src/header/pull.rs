//! Header of a pull: codes 11 and 361.

use super::{Field, HeaderError, Typed, flat};
use crate::command::Command;
use crate::generated;
use crate::text::Text;

/// Apache's `PullMessageRequestHeader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullHeader<'a> {
    /// Group that pulls.
    pub consumer_group: Text<'a>,
    /// Topic to pull from.
    pub topic: Text<'a>,
    /// Queue to pull from.
    pub queue_id: i32,
    /// First queue offset wanted.
    pub queue_offset: i64,
    /// Most messages wanted.
    pub message_count_max: i32,
    /// `FLAG_COMMIT` and the bits after it.
    pub sys_flag: i32,
    /// Consumer offset to commit, if [`commits`](Self::commits).
    pub commit_offset: i64,
    /// How long the broker may hold the request, in milliseconds. Old Go clients send nanoseconds.
    pub suspend_timeout_ms: i64,
    /// Filter expression, if the header carries one.
    pub subscription: Option<Text<'a>>,
    /// Version of the subscription that the client pulls with.
    pub subscription_version: i64,
    /// `TAG`, `SQL92` or absent.
    pub expression_type: Option<Text<'a>>,
    /// Most bytes wanted; the 5.3.3 broker ignores it.
    pub message_bytes_max: Option<i32>,
    /// -1 a client, 0 to 2 a proxy.
    pub request_source: Option<i32>,
    /// Client behind a proxy (Apache's spelling: `proxyFrowardClientId`).
    pub proxy_forward_client_id: Option<Text<'a>>,
    /// Name of the broker that the client means.
    pub broker_name: Option<Text<'a>>,
}

impl<'a> PullHeader<'a> {
    /// sysFlag bit: commit `commit_offset`.
    pub const FLAG_COMMIT: i32 = 0x1;
    /// sysFlag bit: the request may be held until messages arrive.
    pub const FLAG_SUSPEND: i32 = 0x2;
    /// sysFlag bit: `subscription` is in the header.
    pub const FLAG_SUBSCRIPTION: i32 = 0x4;
    /// sysFlag bit: class filter, gone since 4.x.
    pub const FLAG_CLASS_FILTER: i32 = 0x8;
    /// sysFlag bit: lite pull.
    pub const FLAG_LITE_PULL: i32 = 0x10;

    /// Reads the header of a pull.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        if let Some(Typed::PullRequest(table)) = &command.typed {
            return Ok(Self::from_flat(table));
        }
        let mut fields = PullFields::default();
        for (key, value) in command.ext.iter() {
            if let Some(field) = fields.slot(key.raw()) {
                *field = Field(Some(value));
            }
        }
        fields.header()
    }

    fn from_flat(table: &generated::PullRequest<'a>) -> Self {
        let numbers = table.numbers();
        Self {
            consumer_group: flat::text(table.consumer_group()),
            topic: flat::text(table.topic()),
            queue_id: numbers.queue_id(),
            queue_offset: numbers.queue_offset(),
            message_count_max: numbers.message_count_max(),
            sys_flag: numbers.sys_flag(),
            commit_offset: numbers.commit_offset(),
            suspend_timeout_ms: numbers.suspend_timeout_ms(),
            subscription: flat::text_optional(table.subscription()),
            subscription_version: numbers.subscription_version(),
            expression_type: flat::text_optional(table.expression_type()),
            message_bytes_max: table.message_bytes_max(),
            request_source: table.request_source(),
            proxy_forward_client_id: None,
            broker_name: flat::text_optional(table.broker_name()),
        }
    }

    /// Whether `commit_offset` is to be committed.
    pub const fn commits(&self) -> bool {
        self.sys_flag & Self::FLAG_COMMIT != 0
    }

    /// Whether the request may be held until messages arrive.
    pub const fn may_suspend(&self) -> bool {
        self.sys_flag & Self::FLAG_SUSPEND != 0
    }

    /// Whether the filter is in the header and not in the heartbeat's subscription.
    pub const fn has_subscription(&self) -> bool {
        self.sys_flag & Self::FLAG_SUBSCRIPTION != 0
    }
}

#[derive(Default)]
struct PullFields<'a> {
    consumer_group: Field<'a>,
    topic: Field<'a>,
    queue_id: Field<'a>,
    queue_offset: Field<'a>,
    message_count_max: Field<'a>,
    sys_flag: Field<'a>,
    commit_offset: Field<'a>,
    suspend_timeout_ms: Field<'a>,
    subscription: Field<'a>,
    subscription_version: Field<'a>,
    expression_type: Field<'a>,
    message_bytes_max: Field<'a>,
    request_source: Field<'a>,
    proxy_forward_client_id: Field<'a>,
    broker_name: Field<'a>,
}

impl<'a> PullFields<'a> {
    fn slot(&mut self, key: &[u8]) -> Option<&mut Field<'a>> {
        Some(match key {
            b"consumerGroup" => &mut self.consumer_group,
            b"topic" => &mut self.topic,
            b"queueId" => &mut self.queue_id,
            b"queueOffset" => &mut self.queue_offset,
            b"maxMsgNums" => &mut self.message_count_max,
            b"sysFlag" => &mut self.sys_flag,
            b"commitOffset" => &mut self.commit_offset,
            b"suspendTimeoutMillis" => &mut self.suspend_timeout_ms,
            b"subscription" => &mut self.subscription,
            b"subVersion" => &mut self.subscription_version,
            b"expressionType" => &mut self.expression_type,
            b"maxMsgBytes" => &mut self.message_bytes_max,
            b"requestSource" => &mut self.request_source,
            b"proxyFrowardClientId" => &mut self.proxy_forward_client_id,
            b"bname" => &mut self.broker_name,
            _ => return None,
        })
    }

    fn header(&self) -> Result<PullHeader<'a>, HeaderError> {
        Ok(PullHeader {
            consumer_group: self.consumer_group.text("consumerGroup")?,
            topic: self.topic.text("topic")?,
            queue_id: self.queue_id.i32("queueId")?,
            queue_offset: self.queue_offset.i64("queueOffset")?,
            message_count_max: self.message_count_max.i32("maxMsgNums")?,
            sys_flag: self.sys_flag.i32("sysFlag")?,
            commit_offset: self.commit_offset.i64("commitOffset")?,
            suspend_timeout_ms: self.suspend_timeout_ms.i64("suspendTimeoutMillis")?,
            subscription: self.subscription.text_optional(),
            subscription_version: self.subscription_version.i64("subVersion")?,
            expression_type: self.expression_type.text_optional(),
            message_bytes_max: self.message_bytes_max.i32_optional("maxMsgBytes")?,
            request_source: self.request_source.i32_optional("requestSource")?,
            proxy_forward_client_id: self.proxy_forward_client_id.text_optional(),
            broker_name: self.broker_name.text_optional(),
        })
    }
}
