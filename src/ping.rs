//! `ringmq ping`: whether a running broker and its NameServer answer, for probes of containers.
//! Kind: shell
//!
//! A connection alone proves nothing: the kernel takes it for a program that hangs. So both are asked
//! what only a thread that serves can answer. Exit status: 0 both did, 1 one did not.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use proto::code::request;
use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use proto::names::SELF_TEST_TOPIC;
use proto::reply::{RequestHead, write_request};

/// Flags of `ringmq ping`.
#[derive(Debug, Args)]
pub struct PingFlags {
    /// Where the broker listens; empty: it is not asked
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:10911")]
    broker: String,

    /// Where the NameServer listens; empty: it is not asked
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9876")]
    namesrv: String,

    /// How long each may take to answer, in milliseconds
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: u64,
}

/// Asks both, and says what each answered.
pub fn run(flags: &PingFlags) -> ExitCode {
    let timeout = Duration::from_millis(flags.timeout_ms);
    // Every broker has this topic from its start on; the question goes to the shard that owns its queue.
    let queue = [("topic", SELF_TEST_TOPIC), ("queueId", "0")];
    let questions = [
        ("NameServer", &flags.namesrv, request::GET_BROKER_CLUSTER_INFO, None),
        ("broker", &flags.broker, request::GET_MAX_OFFSET, Some(&queue[..])),
    ];
    let mut exit = ExitCode::SUCCESS;
    for (who, address, code, ext) in questions.into_iter().filter(|it| !it.1.is_empty()) {
        match ask(address, code, ext, timeout) {
            Ok(0) => println!("{who} {address} answers"),
            Ok(code) => {
                eprintln!("ringmq: {who} {address} answers with code {code}");
                exit = ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("ringmq: {who} {address} does not answer: {error}");
                exit = ExitCode::FAILURE;
            }
        }
    }
    exit
}

/// The response code.
fn ask(
    address: &str,
    code: i32,
    ext: Option<&[(&str, &str)]>,
    timeout: Duration,
) -> io::Result<i32> {
    let resolved = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&resolved, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut request = Vec::new();
    let head = RequestHead { code, opaque: 1, flag: 0 };
    write_request(&mut request, Encoding::Json, &head, ext, &[]);
    stream.write_all(&request)?;
    let mut received = Vec::new();
    let mut bytes = [0; 16 * 1024];
    loop {
        let not_ours = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
        match scan(&received, FRAME_BYTES_MAX).map_err(|error| not_ours(&error))? {
            Scan::Frame { frame, .. } => {
                return Ok(Command::decode(&frame).map_err(|error| not_ours(&error))?.code);
            }
            Scan::Incomplete { .. } => {}
        }
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => received.extend_from_slice(&bytes[..count]),
        }
    }
}
