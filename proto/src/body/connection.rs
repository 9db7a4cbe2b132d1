//! Who is connected (203, 204, 328).

use std::collections::BTreeMap;

use super::BodyError;
use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel};
use super::json::{Json, json_object};
use super::subscription::SubscriptionData;
use crate::dialect::{Value, Writer};
use crate::language::Language;

/// As Java's enum `LanguageCode`; in 203, 204, 328.
impl Json for Option<Language> {
    const NULLABLE: bool = true;

    fn read(value: &Value<'_>) -> Result<Self, BodyError> {
        Ok(match value {
            Value::Text(name) => Language::from_name(name),
            Value::Integer(ordinal) => u8::try_from(*ordinal).ok().and_then(Language::from_code),
            _ => None,
        })
    }

    fn emit(&self, writer: &mut Writer<'_>) {
        match self {
            Some(language) => writer.text(language.name()),
            None => writer.null(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

json_object! {
    /// One connection of a client. `remoting/protocol/body/Connection`.
    #[derive(Eq)]
    pub struct Connection {
        /// Its address, `ip:port`.
        "clientAddr" client_addr: String,
        /// Its client id.
        "clientId" client_id: String,
        /// Its language.
        "language" language: Option<Language>,
        /// Its version ordinal.
        "version" version: i32,
    }
}

json_object! {
    /// Answer to 203. `remoting/protocol/body/ConsumerConnection`.
    #[derive(Eq)]
    pub struct ConsumerConnection {
        /// The members' connections.
        "connectionSet" connection_set: Vec<Connection>,
        /// Where a new group begins.
        "consumeFromWhere" consume_from_where: Option<ConsumeFromWhere>,
        /// How it gets its messages.
        "consumeType" consume_type: Option<ConsumeType>,
        /// Whether members share the messages.
        "messageModel" message_model: Option<MessageModel>,
        /// Topic name to subscription.
        "subscriptionTable" subscription_table: BTreeMap<String, SubscriptionData>,
    }
}

json_object! {
    /// Answer to 204. `remoting/protocol/body/ProducerConnection`.
    #[derive(Eq)]
    pub struct ProducerConnection {
        /// The members' connections.
        "connectionSet" connection_set: Vec<Connection>,
    }
}

json_object! {
    /// One producer. `remoting/protocol/body/ProducerInfo`.
    #[derive(Eq)]
    pub struct ProducerInfo {
        /// Its client id.
        "clientId" client_id: String,
        /// Its language.
        "language" language: Option<Language>,
        /// Its last heartbeat, ms.
        "lastUpdateTimestamp" last_update_timestamp: i64,
        /// Its address, `/ip:port`.
        "remoteIP" remote_ip: String,
        /// Its version ordinal.
        "version" version: i32,
    }
}

json_object! {
    /// Answer to 328. `remoting/protocol/body/ProducerTableInfo`.
    #[derive(Eq)]
    pub struct ProducerTableInfo up to TABLE_VALUES_MAX values {
        /// Group name to producers.
        "data" data: BTreeMap<String, Vec<ProducerInfo>>,
    }
}
