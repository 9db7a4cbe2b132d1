//! Why a run could not be made. Each message says what, where, and what to do; the exit code is 2.

use std::io;
use std::path::PathBuf;

use proto::frame::FrameError;
use proto::header::HeaderError;
use thiserror::Error;

/// What ends a run without a result.
#[derive(Debug, Error)]
pub enum Error {
    #[error("resolve {address}: {source} (write it as host:port)")]
    Resolve { address: String, source: io::Error },
    #[error(
        "connect to {address}: {source} (is a server running there, and listening on that address?)"
    )]
    Connect { address: String, source: io::Error },
    #[error(
        "set up io_uring: {source} (needs Linux 6.1, io_uring not disabled by sysctl or seccomp)"
    )]
    Ring { source: io::Error },
    #[error("wait for the ring: {source}")]
    Wait { source: io::Error },
    #[error("send to {address}: {source}")]
    Send { address: String, source: io::Error },
    #[error("{address} closed the connection: {reason} (its log says why)")]
    Closed { address: String, reason: String },
    #[error("{address} did not answer {request} within {seconds} s: {source}")]
    NoAnswer { address: String, request: &'static str, seconds: u64, source: io::Error },
    #[error("{address} sent bytes that are no frame: {source}")]
    Frame { address: String, source: FrameError },
    #[error("{address} sent an answer that cannot be read: {source}")]
    Header { address: String, source: HeaderError },
    #[error("{address} answered {request} with code {code} {name}: '{remark}'{hint}")]
    Refused {
        address: String,
        request: String,
        code: i32,
        name: &'static str,
        remark: String,
        hint: &'static str,
    },
    #[error("{address} answered {request} without {missing}")]
    Incomplete { address: String, request: &'static str, missing: String },
    #[error(
        "the NameServer {namesrv} knows no broker{named} (is one registered there? try --broker)"
    )]
    NoBroker { namesrv: String, named: String },
    #[error(
        "the NameServer {namesrv} gave no route of topic {topic} with {queues} queues on {broker} \
         within {seconds} s"
    )]
    NoRoute { namesrv: String, topic: String, queues: u32, broker: String, seconds: u64 },
    #[error("topic {topic} is not served by broker {broker} (leave --no-create out to create it)")]
    NotServed { topic: String, broker: String },
    #[error("read {what} of process {pid}: {source} (is --server-pid a process that runs?)")]
    Process { what: &'static str, pid: u32, source: io::Error },
    #[error("write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("read {path}: {reason} (is it a directory that --report wrote?)")]
    Read { path: PathBuf, reason: String },
    #[error(
        "{connections} connections with {in_flight} requests of {bytes_each} bytes in flight would \
         buffer {bytes} bytes, more than {max}: lower one of them"
    )]
    TooMuchInFlight { connections: u32, in_flight: u32, bytes_each: u64, bytes: u64, max: u64 },
    #[error(
        "a batch of {batch} messages of {size} bytes has more than {max} bytes, which no server takes: \
         lower --batch or --size"
    )]
    BatchTooLong { batch: u32, size: u32, max: u64 },
    #[error(
        "{sizes} sizes of body in {topics} topics take {bytes} bytes of prepared requests, more than \
         {max}: use fewer sizes or lower --batch"
    )]
    TooMuchPrepared { sizes: usize, topics: u32, bytes: u64, max: u64 },
    #[error(
        "{connections} connections that each count their messages in {topics} topics of {queues} queues \
         need {streams} counters, more than {max}: lower one of them"
    )]
    TooManyStreams { connections: u32, topics: u32, queues: u32, streams: u64, max: u64 },
    #[error(
        "--topic {topic} with {count} topics makes names of more than {max} characters: shorten it"
    )]
    TopicTooLong { topic: String, count: u32, max: usize },
    #[error("{processes} processes cannot share {amount} {what}: use at most {amount} processes")]
    TooManyProcesses { processes: u32, amount: u64, what: &'static str },
    #[error("process {index} of this run: {reason}")]
    Share { index: u32, reason: String },
    #[error("allow {wanted} open files: {source} (raise the limit: ulimit -n {wanted})")]
    OpenFiles { wanted: u64, source: io::Error },
}

/// The name of a response code, for people.
pub fn code_name(code: i32) -> &'static str {
    proto::code::response::name(code).unwrap_or("UNKNOWN_CODE")
}

/// A server's text in one line.
pub fn one_line(remark: &str) -> String {
    remark.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What to do about a refusal, with a blank and brackets around it, or nothing.
pub fn hint_for(code: i32) -> &'static str {
    use proto::code::response as codes;
    match code {
        codes::TOPIC_NOT_EXIST => " (produce creates it, unless told --no-create)",
        codes::SYSTEM_BUSY => " (flow control: lower --rate, --in-flight or --connections)",
        codes::MESSAGE_ILLEGAL => " (is --size above the server's maxMessageSize?)",
        codes::SERVICE_NOT_AVAILABLE => {
            " (the store takes no writes: disk full, failed or shutting down)"
        }
        codes::INVALID_PARAMETER => " (a topic name it does not allow, or --queues above its own)",
        _ => "",
    }
}
