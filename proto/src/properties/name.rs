//! Reserved names of properties (Apache's `MessageConst`, 5.3.3).

/// Blank-separated index keys.
pub const KEYS: &str = "KEYS";
/// The tag to filter by.
pub const TAGS: &str = "TAGS";
/// `false`: the producer does not wait for flush and replication.
pub const WAIT: &str = "WAIT";
/// Delay level, 1 to 18.
pub const DELAY: &str = "DELAY";
/// Original topic of a retried message.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// Topic that a delayed, timer or half message is for.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// Queue that a delayed, timer or half message is for.
pub const REAL_QID: &str = "REAL_QID";
/// `true`: half message.
pub const TRAN_MSG: &str = "TRAN_MSG";
/// Producer group of a transaction.
pub const PGROUP: &str = "PGROUP";
/// Least queue offset at pull time; set by clients.
pub const MIN_OFFSET: &str = "MIN_OFFSET";
/// Greatest queue offset at pull time; set by clients.
pub const MAX_OFFSET: &str = "MAX_OFFSET";
/// Legacy, passed through.
pub const BUYER_ID: &str = "BUYER_ID";
/// Legacy, passed through.
pub const TRANSFER_FLAG: &str = "TRANSFER_FLAG";
/// Legacy, passed through.
pub const CORRECTION_FLAG: &str = "CORRECTION_FLAG";
/// Legacy, passed through.
pub const MQ2_FLAG: &str = "MQ2_FLAG";
/// First message id of a retry chain.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// Retries so far, of a retry that a client sends itself.
pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
/// Retries allowed, of a retry that a client sends itself.
pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
/// Region of the broker; added on send.
pub const MSG_REGION: &str = "MSG_REGION";
/// Whether clients trace the message; added on send.
pub const TRACE_ON: &str = "TRACE_ON";
/// The client's message id; added on send if missing.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Hint for deduplication.
pub const EXTEND_UNIQ_INFO: &str = "EXTEND_UNIQ_INFO";
/// Hint for deduplication.
pub const DUP_INFO: &str = "DUP_INFO";
/// When consumption began; set by clients.
pub const CONSUME_START_TIME: &str = "CONSUME_START_TIME";
/// Messages in an inner batch.
pub const INNER_NUM: &str = "INNER_NUM";
/// First queue offset of an inner batch.
pub const INNER_BASE: &str = "INNER_BASE";
/// Seconds before the first transaction check.
pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// Half-topic offset of a half message before it was put back.
pub const TRAN_PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// Copy of UNIQ_KEY on half messages.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// Transaction checks so far.
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// Namespace instance of the client.
pub const INSTANCE_ID: &str = "INSTANCE_ID";
/// Joins a reply to its request.
pub const CORRELATION_ID: &str = "CORRELATION_ID";
/// Client id to push a reply to.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// Life of a request in milliseconds.
pub const TTL: &str = "TTL";
/// `reply` on replies.
pub const MSG_TYPE: &str = "MSG_TYPE";
/// When a reply arrived.
pub const ARRIVE_TIME: &str = "ARRIVE_TIME";
/// When a reply was pushed.
pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
/// Cluster of the broker; added on send.
pub const CLUSTER: &str = "CLUSTER";
/// Pop receipt; stripped on send.
pub const POP_CK: &str = "POP_CK";
/// Offset of a pop receipt.
pub const POP_CK_OFFSET: &str = "POP_CK_OFFSET";
/// When a message was first popped.
pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
/// Key of FIFO messages.
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
/// Queue that a proxy forwards to.
pub const PROPERTY_FORWARD_QUEUE_ID: &str = "PROPERTY_FORWARD_QUEUE_ID";
/// Redirection by a proxy.
pub const REDIRECT: &str = "REDIRECT";
/// Light queues of the message.
pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// Its offsets in the light queues.
pub const INNER_MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";
/// Trace of a client.
pub const TRACE_CONTEXT: &str = "TRACE_CONTEXT";
/// Delay in seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// Delay in milliseconds.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Delivery time in milliseconds.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// Delivery time as the broker took it.
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// When the timer took the message.
pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
/// When the timer gave it back.
pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
/// How often it went round the wheel.
pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
/// Delay level served by the timer.
pub const TIMER_DELAY_LEVEL: &str = "TIMER_DELAY_LEVEL";
/// Cancels the timer of `<topic>+<unique key>`.
pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
/// Born host that a proxy passes on.
pub const BORN_HOST: &str = "__BORNHOST";
/// Born time that a proxy passes on.
pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";
/// CRC of the whole record.
pub const CRC32: &str = "__CRC32#";
/// Topic that a dead letter was for.
pub const DLQ_ORIGIN_TOPIC: &str = "DLQ_ORIGIN_TOPIC";
/// Message id that a dead letter had.
pub const DLQ_ORIGIN_MESSAGE_ID: &str = "DLQ_ORIGIN_MESSAGE_ID";
/// Delivery time of legacy clients.
pub const START_DELIVER_TIME: &str = "__STARTDELIVERTIME";
/// Names that begin so are never stored.
pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";
