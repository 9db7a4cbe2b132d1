//! A broker that stores nothing: what `ringmq-bench produce` can do at most, and what it costs itself.
//!
//! `cargo run --release --example sink -- 127.0.0.1:20911`, then
//! `ringmq-bench produce --broker 127.0.0.1:20911`. A thread for each connection, which answers every
//! frame it finds with success, as a broker answers a send.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use proto::command::Command;
use proto::frame::{Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use proto::reply::{SendReply, Stored, write_send_response};

/// Bytes of one read: some tens of pipelined sends.
const READ_BYTES: usize = 256 * 1024;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:20911".to_owned());
    for stream in TcpListener::bind(&address)?.incoming() {
        let stream = stream?;
        std::thread::spawn(move || answer_all(stream));
    }
    Ok(())
}

fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = Vec::new();
    let mut output = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read_bytes = stream.read(&mut buffer)?;
        if read_bytes == 0 {
            return Ok(());
        }
        input.extend_from_slice(&buffer[..read_bytes]);
        let mut at = 0;
        while let Scan::Frame { frame, size_bytes } =
            scan(&input[at..], FRAME_BYTES_MAX).map_err(io::Error::other)?
        {
            let command = Command::decode(&frame).map_err(io::Error::other)?;
            write_send_response(&mut output, frame.encoding, &stored(command.opaque));
            at += size_bytes;
        }
        input.drain(..at);
        stream.write_all(&output)?;
        output.clear();
    }
}

fn stored(opaque: i32) -> SendReply<'static> {
    let stored = Stored {
        message_id: b"7F00000100002A9F0000000000000000",
        queue_id: 0,
        queue_offset: 0,
        transaction_id: b"7F0000010000ABCD1234000000000000",
        recall_handle: None,
    };
    SendReply {
        opaque,
        code: 0,
        remark: None,
        stored: Some(stored),
        region: "DefaultRegion",
        trace_on: true,
    }
}
