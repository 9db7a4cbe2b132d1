//! Targets for fastjson's dialect and every body.

use std::io::Write as _;

use proto::body::*;
use proto::dialect;
use proto::version::{V5_0_0, V5_3_3};

use crate::{Target, seeds};

/// Writes the table: a target for each body, named after it, and those with a function of their
/// own.
macro_rules! targets {
    ($($body:ident,)* ; $($other:expr,)*) => {
        /// See [`crate::targets`].
        pub(crate) const TARGETS: &[Target] = &[
            $($other,)*
            $(Target {
                name: stringify!($body),
                run: |bytes| {
                    if let Ok(body) = $body::parse(bytes) {
                        let mut written = Vec::new();
                        body.write(&mut written);
                        assert_eq!($body::parse(&written), Ok(body));
                    }
                },
                seeds: seeds::json_bodies,
                dictionary: JSON_BODY,
            },)*
        ];
    };
}

targets! {
    BatchAckMessageRequestBody,
    BrokerMemberGroup,
    BrokerStatsData,
    CheckClientRequestBody,
    ClusterInfo,
    ConsumeStats,
    ConsumeStatsList,
    ConsumerConnection,
    ConsumerList,
    ConsumerOffsetSerializeWrapper,
    CreateTopicListRequestBody,
    DataVersion,
    DelayOffsetSerializeWrapper,
    GetBrokerMemberGroupResponseBody,
    GetConsumerStatusBody,
    GroupForbidden,
    GroupList,
    HARuntimeInfo,
    HeartbeatData,
    KVTable,
    LockBatchRequestBody,
    LockBatchResponseBody,
    MessageQueue,
    MessageRequestModeSerializeWrapper,
    ProducerConnection,
    ProducerTableInfo,
    QueryAssignmentRequestBody,
    QueryAssignmentResponseBody,
    QueryConsumeQueueResponseBody,
    QueryConsumeTimeSpanBody,
    QueryCorrectionOffsetBody,
    QuerySubscriptionResponseBody,
    RegisterBrokerBody,
    ResetOffsetBody,
    ResetOffsetBodyForC,
    SetMessageRequestModeRequestBody,
    SubscriptionData,
    SubscriptionGroupConfig,
    SubscriptionGroupList,
    SubscriptionGroupWrapper,
    TopicConfig,
    TopicConfigAndMappingSerializeWrapper,
    TopicConfigAndQueueMapping,
    TopicConfigSerializeWrapper,
    TopicList,
    TopicQueueMappingDetail,
    TopicRouteData,
    TopicStatsTable,
    ;
    Target { name: "dialect", run: read_dialect, seeds: seeds::json_bodies, dictionary: JSON_BODY },
    Target {
        name: "route-for-browsers",
        run: route_for_browsers,
        seeds: seeds::json_bodies,
        dictionary: JSON_BODY,
    },
    Target {
        name: "tag-expression",
        run: tag_expression,
        seeds: || vec![b"A || B".to_vec(), b"*".to_vec(), "标签||x".as_bytes().to_vec()],
        dictionary: &[b"||", b"|", b" ", b"*"],
    },
    Target {
        name: "registration",
        run: registration,
        seeds: || [seeds::compressed_bodies(), seeds::json_bodies()].concat(),
        dictionary: &[],
    },
    Target {
        name: "registration-inflated",
        run: |plain| registration(&deflate(plain)),
        seeds: inflated_registrations,
        dictionary: &[b"\0\0\0\0", b"\0\0\0\x02{}", b" ", b"SINGLE_TAG ", b"T 8 8 6 SINGLE_TAG {}"],
    },
}

const JSON_BODY: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"'",
    b"\\u",
    b"\\ud83d",
    b"\\x",
    b"null",
    b"true",
    b"-1",
    b"1e9",
    b"0.5",
    b"9223372036854775808",
    b"{{",
    b"}:",
    b"{0:",
    b"//",
    b"/*",
    b"*/",
    b"\"$ref\":\"$\"",
    b"\"topic\":",
    b"\"brokerName\":\"a\"",
    b"\"queueId\":1",
    b"\"attributes\":{",
    b"\"offsetTable\":{",
    b"\"subscriptionDataSet\":[{",
    b"\"table\":{",
];

fn read_dialect(bytes: &[u8]) {
    if let Err(error) = dialect::parse(bytes) {
        assert!(error.position <= bytes.len());
    }
}

/// Both forms of a route mean the same.
fn route_for_browsers(bytes: &[u8]) {
    if let Ok(route) = TopicRouteData::parse(bytes) {
        let mut written = Vec::new();
        route.write_for(V5_3_3, false, &mut written);
        assert!(written.is_ascii());
        assert_eq!(TopicRouteData::parse(&written), Ok(route));
    }
}

fn tag_expression(bytes: &[u8]) {
    let expression = String::from_utf8_lossy(bytes);
    if let Ok(subscription) = SubscriptionData::build("T", &expression, None, 1) {
        assert!(subscription.code_set.len() <= subscription.tags_set.len());
        let mut written = Vec::new();
        subscription.write(&mut written);
        assert_eq!(SubscriptionData::parse(&written), Ok(subscription));
    }
}

fn registration(bytes: &[u8]) {
    for version in [0, V5_0_0 - 1, V5_3_3] {
        for compressed in [false, true] {
            let _ = RegisterBrokerBody::parse_request(bytes, compressed, version);
        }
    }
}

fn inflated_registrations() -> Vec<Vec<u8>> {
    let inflate = |body: Vec<u8>| {
        let mut decoder = flate2::write::ZlibDecoder::new(Vec::new());
        decoder.write_all(&body).and_then(|()| decoder.finish()).expect("a captured body inflates")
    };
    seeds::compressed_bodies().into_iter().map(inflate).collect()
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(plain).and_then(|()| encoder.finish()).expect("a vector takes every write")
}
