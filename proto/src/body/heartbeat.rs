//! Heartbeats (34) and who is in a group (38, 46).

use super::json::{json_enum, json_object};
use super::subscription::SubscriptionData;

json_enum! {
    /// How a group gets its messages. `remoting/protocol/heartbeat/ConsumeType`.
    pub enum ConsumeType {
        /// The application pulls.
        ConsumeActively = "CONSUME_ACTIVELY",
        /// The client library pulls and pushes to a listener.
        ConsumePassively = "CONSUME_PASSIVELY",
        /// By POP.
        ConsumePop = "CONSUME_POP",
    }
}

json_enum! {
    /// Whether members share the messages. `remoting/protocol/heartbeat/MessageModel`.
    pub enum MessageModel {
        /// Every member gets every message.
        Broadcasting = "BROADCASTING",
        /// Each message goes to one member.
        Clustering = "CLUSTERING",
    }
}

json_enum! {
    /// Where a new group begins. `common/consumer/ConsumeFromWhere`.
    pub enum ConsumeFromWhere {
        /// At the end.
        ConsumeFromLastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated; like the end.
        ConsumeFromLastOffsetAndFromMinWhenBootFirst =
            "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated; like the end.
        ConsumeFromMinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated; like the end.
        ConsumeFromMaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        ConsumeFromFirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time that the client keeps.
        ConsumeFromTimestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

json_object! {
    /// One producer group. `remoting/protocol/heartbeat/ProducerData`.
    #[derive(Eq)]
    pub struct ProducerData {
        /// Name of the group.
        "groupName" group_name: String,
    }
}

json_object! {
    /// One consumer group. `remoting/protocol/heartbeat/ConsumerData`.
    ///
    /// What a client writes in another spelling (old Go releases: `Clustering`) is `None`.
    #[derive(Eq)]
    pub struct ConsumerData {
        /// Where a new group begins.
        "consumeFromWhere" consume_from_where: Option<ConsumeFromWhere>,
        /// How it gets its messages.
        "consumeType" consume_type: Option<ConsumeType>,
        /// Name of the group.
        "groupName" group_name: String,
        /// Whether members share the messages.
        "messageModel" message_model: Option<MessageModel>,
        /// What it wants; empty if absent or null.
        "subscriptionDataSet" subscription_data_set: Vec<SubscriptionData>,
        /// Unit of a unitised deployment.
        "unitMode" unit_mode: bool,
    }
}

json_object! {
    /// Body of 34. `remoting/protocol/heartbeat/HeartbeatData`. Null or absent sets are empty.
    #[derive(Eq)]
    pub struct HeartbeatData {
        /// Client id.
        "clientID" client_id: String,
        /// Consumer groups of the client.
        "consumerDataSet" consumer_data_set: Vec<ConsumerData>,
        /// Fingerprint of everything but versions and the client id; 0 for heartbeats of the old
        /// kind.
        "heartbeatFingerprint" heartbeat_fingerprint: i32,
        /// Producer groups of the client.
        "producerDataSet" producer_data_set: Vec<ProducerData>,
        /// With a fingerprint: subscriptions are left out because they did not change.
        "withoutSub" without_sub: bool,
    }
}

json_object! {
    /// Answer to 38: client ids of a group. `GetConsumerListByGroupResponseBody`.
    #[derive(Eq)]
    pub struct ConsumerList {
        /// Client ids; one twice if it has two connections.
        "consumerIdList" consumer_id_list: Vec<String>,
    }
}

json_object! {
    /// Body of 46. `remoting/protocol/body/CheckClientRequestBody`.
    #[derive(Eq)]
    pub struct CheckClientRequestBody {
        /// Client id.
        "clientId" client_id: Option<String>,
        /// Name of the group.
        "group" group: Option<String>,
        /// Namespace, if the client has one.
        "namespace" namespace: Option<String>,
        /// The expression to check.
        "subscriptionData" subscription_data: Option<SubscriptionData>,
    }
}
