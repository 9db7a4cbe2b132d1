//! Queue locks of orderly consumption (41, 42).

use std::collections::BTreeSet;

use super::json::json_object;
use super::queue::MessageQueue;

json_object! {
    /// Body of 41 and, alike, of 42. `remoting/protocol/body/LockBatchRequestBody` and
    /// `UnlockBatchRequestBody`.
    #[derive(Eq)]
    pub struct LockBatchRequestBody {
        /// Client id of the owner.
        "clientId" client_id: String,
        /// Name of the group.
        "consumerGroup" consumer_group: String,
        /// The queues.
        "mqSet" mq_set: BTreeSet<MessageQueue>,
        /// Do not ask the other replicas.
        "onlyThisBroker" only_this_broker: bool,
    }
}

json_object! {
    /// Answer to 41: what is locked now. `remoting/protocol/body/LockBatchResponseBody`.
    #[derive(Eq)]
    pub struct LockBatchResponseBody {
        /// The queues.
        "lockOKMQSet" lock_ok_mq_set: BTreeSet<MessageQueue>,
    }
}
