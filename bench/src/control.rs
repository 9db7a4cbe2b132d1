//! Requests that are not load: routes, topics, offsets. One at a time, over a blocking socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use proto::code::{request, response};
use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use proto::reply::{RequestHead, write_request};

use crate::error::{Error, code_name, hint_for, one_line};
use crate::wire::{CONNECT_SECONDS, resolve};

/// How long an answer may take.
const ANSWER_SECONDS: u64 = 10;

/// A connection for requests that wait for their answers.
pub struct Control {
    stream: TcpStream,
    address: String,
    opaque: i32,
}

/// An answer, whatever its code.
#[derive(Debug, Default)]
pub struct Reply {
    pub code: i32,
    pub remark: String,
    pub ext: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Control {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// [`Error::Resolve`] and [`Error::Connect`]
    pub fn connect(address: &str) -> Result<Control, Error> {
        let failed = |source| Error::Connect { address: address.to_owned(), source };
        let connect_timeout = Duration::from_secs(CONNECT_SECONDS);
        let stream =
            TcpStream::connect_timeout(&resolve(address)?, connect_timeout).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS))).map_err(failed)?;
        Ok(Control { stream, address: address.to_owned(), opaque: 0 })
    }

    /// Sends a request and waits for its answer. JSON, which every server reads.
    ///
    /// # Errors
    /// No answer, or one that cannot be read.
    pub fn call(&mut self, code: i32, ext: &[(&str, &str)]) -> Result<Reply, Error> {
        self.opaque += 1;
        let mut bytes = Vec::new();
        let head = RequestHead { code, opaque: self.opaque, flag: 0 };
        write_request(&mut bytes, Encoding::Json, &head, Some(ext), b"");
        let name = request::name(code).unwrap_or("request");
        let failed = |source| Error::NoAnswer {
            address: self.address.clone(),
            request: name,
            seconds: ANSWER_SECONDS,
            source,
        };
        self.stream.write_all(&bytes).map_err(failed)?;
        let mut input = Vec::new();
        loop {
            let scanned = scan(&input, FRAME_BYTES_MAX)
                .map_err(|source| Error::Frame { address: self.address.clone(), source })?;
            match scanned {
                Scan::Incomplete { needed_bytes } => {
                    let have_bytes = input.len();
                    input.resize(needed_bytes, 0);
                    self.stream.read_exact(&mut input[have_bytes..]).map_err(failed)?;
                }
                Scan::Frame { frame, size_bytes } => {
                    let command = Command::decode(&frame).map_err(|source| Error::Header {
                        address: self.address.clone(),
                        source,
                    })?;
                    if command.is_response() && command.opaque == self.opaque {
                        return Ok(Reply::of(&command, frame.body));
                    }
                    // A push, such as 40 after a heartbeat: not for us.
                    input.drain(..size_bytes);
                }
            }
        }
    }

    /// [`Control::call`], for which anything but success is an error.
    ///
    /// # Errors
    /// Those of `call`, and [`Error::Refused`].
    pub fn demand(&mut self, code: i32, ext: &[(&str, &str)]) -> Result<Reply, Error> {
        let reply = self.call(code, ext)?;
        if reply.code == response::SUCCESS {
            return Ok(reply);
        }
        let subject = ext.first().map_or(String::new(), |(key, value)| format!(" ({key} {value})"));
        Err(Error::Refused {
            address: self.address.clone(),
            request: format!("{}{subject}", request::name(code).unwrap_or("request")),
            code: reply.code,
            name: code_name(reply.code),
            remark: one_line(&reply.remark),
            hint: hint_for(reply.code),
        })
    }

    /// An offset that a queue or group has: the answer's field `offset`. `None` for code 22.
    ///
    /// # Errors
    /// Any other code, or an answer without the field.
    pub fn offset(&mut self, code: i32, ext: &[(&str, &str)]) -> Result<Option<i64>, Error> {
        let reply = match self.demand(code, ext) {
            Err(Error::Refused { code: response::QUERY_NOT_FOUND, .. }) => return Ok(None),
            reply => reply?,
        };
        let offset = reply.ext.get("offset").and_then(|text| text.parse().ok());
        offset.map(Some).ok_or_else(|| Error::Incomplete {
            address: self.address.clone(),
            request: request::name(code).unwrap_or("request"),
            missing: "an offset".to_owned(),
        })
    }
}

impl Reply {
    fn of(command: &Command<'_>, body: &[u8]) -> Reply {
        let texts = command.ext.iter();
        Reply {
            code: command.code,
            remark: command.remark.map(|text| text.to_cow().into_owned()).unwrap_or_default(),
            ext: texts.map(|(k, v)| (k.to_cow().into_owned(), v.to_cow().into_owned())).collect(),
            body: body.to_vec(),
        }
    }
}
