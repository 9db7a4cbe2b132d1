//! Headers that a NameServer reads: codes 103, 104, 105 and 322.

use super::{Fields, HeaderError};
use crate::command::Command;
use crate::text::Text;

/// Apache's `RegisterBrokerRequestHeader` (103).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterBrokerHeader<'a> {
    /// Name that master and slaves share.
    pub broker_name: Text<'a>,
    /// Address that clients dial.
    pub broker_addr: Text<'a>,
    /// Cluster of the broker.
    pub cluster_name: Text<'a>,
    /// Address of its replication port.
    pub ha_server_addr: Text<'a>,
    /// 0 the master, others slaves.
    pub broker_id: i64,
    /// After which silence the registration expires, in milliseconds.
    pub heartbeat_timeout_ms: Option<i64>,
    /// Whether a slave may act as master.
    pub enable_acting_master: Option<bool>,
    /// Whether the body is compressed, as the sender says; 5.3.3 says false even if it is.
    pub compressed: bool,
    /// CRC-32 of the body with the top bit cleared; 0 is not checked.
    pub body_crc32: i32,
    /// Zone of the broker (`__ZONE_NAME`).
    pub zone_name: Option<Text<'a>>,
}

impl<'a> RegisterBrokerHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            broker_name: fields.text("brokerName")?,
            broker_addr: fields.text("brokerAddr")?,
            cluster_name: fields.text("clusterName")?,
            ha_server_addr: fields.text("haServerAddr")?,
            broker_id: fields.i64("brokerId")?,
            heartbeat_timeout_ms: fields.i64_optional("heartbeatTimeoutMillis")?,
            enable_acting_master: fields.bool_optional("enableActingMaster"),
            compressed: fields.bool("compressed"),
            body_crc32: fields.i32_optional("bodyCrc32")?.unwrap_or(0),
            zone_name: fields.text_optional("__ZONE_NAME"),
        })
    }
}

/// Apache's `UnRegisterBrokerRequestHeader` (104).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnregisterBrokerHeader<'a> {
    /// Name that master and slaves share.
    pub broker_name: Text<'a>,
    /// Address that clients dial.
    pub broker_addr: Text<'a>,
    /// Cluster of the broker.
    pub cluster_name: Text<'a>,
    /// 0 the master, others slaves.
    pub broker_id: i64,
}

impl<'a> UnregisterBrokerHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            broker_name: fields.text("brokerName")?,
            broker_addr: fields.text("brokerAddr")?,
            cluster_name: fields.text("clusterName")?,
            broker_id: fields.i64("brokerId")?,
        })
    }
}

/// Apache's `GetRouteInfoRequestHeader` (105).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteHeader<'a> {
    /// Topic whose route is asked for.
    pub topic: Text<'a>,
    /// Whether the client wants quoted broker ids whatever its version is.
    pub accept_standard_json_only: bool,
    /// Zone of the client (`__ZONE_NAME`).
    pub zone_name: Option<Text<'a>>,
    /// Whether the client wants only its zone's brokers (`__ZONE_MODE`).
    pub zone_mode: bool,
}

impl<'a> RouteHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let fields = Fields(command);
        Ok(Self {
            topic: fields.text("topic")?,
            accept_standard_json_only: fields.bool("acceptStandardJsonOnly"),
            zone_name: fields.text_optional("__ZONE_NAME"),
            zone_mode: fields.bool("__ZONE_MODE"),
        })
    }
}

/// Apache's `QueryDataVersionRequestHeader` (322).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryDataVersionHeader<'a> {
    /// Name that master and slaves share.
    pub broker_name: Text<'a>,
    /// Address that clients dial.
    pub broker_addr: Text<'a>,
    /// Cluster of the broker.
    pub cluster_name: Text<'a>,
    /// 0 the master, others slaves.
    pub broker_id: i64,
}

impl<'a> QueryDataVersionHeader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`HeaderError::Missing`] and [`HeaderError::Invalid`].
    pub fn parse(command: &Command<'a>) -> Result<Self, HeaderError> {
        let UnregisterBrokerHeader { broker_name, broker_addr, cluster_name, broker_id } =
            UnregisterBrokerHeader::parse(command)?;
        Ok(Self { broker_name, broker_addr, cluster_name, broker_id })
    }
}
