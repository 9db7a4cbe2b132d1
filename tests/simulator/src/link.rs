//! A connection of a client that writes requests itself and reads whatever comes, answers and calls.

use std::collections::BTreeMap;

use proto::command::Command;
use proto::frame::{Encoding, Scan, scan};
use proto::header::{PullAnswer, SendAnswer};
use proto::ids::OffsetMessageId;
use proto::limits::FRAME_BYTES_MAX;
use proto::reply::{
    PullRequest, RequestHead, ResponseHead, SendRequest, write_pull_request, write_request,
    write_response, write_send_request,
};
use proto::text::Text;
use runtime::ConnectionId;

use crate::world::{Finding, Life, QUIET_STEPS_MAX, World};

/// See the module's first lines.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub connection: ConnectionId,
    encoding: Encoding,
    received: Vec<u8>,
    opaque: i32,
}

/// A frame that came.
#[derive(Clone)]
pub struct Arrived {
    /// It answers a request; otherwise it is one, of the broker.
    pub is_answer: bool,
    /// Request or response code.
    pub code: i32,
    /// Which request.
    pub opaque: i32,
    /// Text for people, empty without one.
    pub remark: String,
    /// Fields.
    pub ext: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Arrived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Arrived { code, remark, ext, body, .. } = self;
        let kind = if self.is_answer { "code" } else { "request" };
        let body = String::from_utf8_lossy(&body[..body.len().min(400)]);
        write!(f, "{kind} {code} {remark:?} {ext:?} {body:?}")
    }
}

impl Arrived {
    /// A field that is a number.
    pub fn number(&self, key: &str) -> Option<i64> {
        self.ext.get(key)?.parse().ok()
    }

    /// Of a send: where its record is.
    pub fn position(&self) -> Option<i64> {
        let id = OffsetMessageId::decode(self.ext.get("msgId")?.as_bytes()).ok()?;
        Some(id.position.to_i64())
    }
}

impl Link {
    /// A connection that was just made.
    pub fn new(connection: ConnectionId, encoding: Encoding) -> Link {
        Link { connection, encoding, received: Vec::new(), opaque: 0 }
    }

    fn head(&mut self, code: i32) -> RequestHead {
        self.opaque += 1;
        RequestHead { code, opaque: self.opaque, flag: 0 }
    }

    /// The number of the request that was written last.
    pub fn last(&self) -> i32 {
        self.opaque
    }

    /// The bytes of a request.
    pub fn request(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let head = self.head(code);
        write_request(&mut bytes, self.encoding, &head, Some(ext), body);
        bytes
    }

    /// The bytes of a send, or of a reply.
    pub fn send(&mut self, code: i32, request: &SendRequest<'_>, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let head = self.head(code);
        write_send_request(&mut bytes, self.encoding, &head, request, body.len());
        bytes.extend_from_slice(body);
        bytes
    }

    /// The bytes of a pull.
    pub fn pull(&mut self, code: i32, request: &PullRequest<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let head = self.head(code);
        write_pull_request(&mut bytes, self.encoding, &head, request);
        bytes
    }

    /// The bytes of an answer to what the broker asked.
    pub fn answer(&self, opaque: i32, code: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let head = ResponseHead { opaque, code, remark: None };
        write_response(&mut bytes, self.encoding, &head, None, b"");
        bytes
    }

    /// Bytes came.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// What the broker wrote is none.
    pub fn next_frame(&mut self) -> Result<Option<Arrived>, Finding> {
        let (frame, size) = match scan(&self.received, FRAME_BYTES_MAX) {
            Ok(Scan::Frame { frame, size_bytes }) => (frame, size_bytes),
            Ok(Scan::Incomplete { .. }) => return Ok(None),
            Err(error) => return Err(format!("the broker wrote no frame: {error}")),
        };
        let command = Command::decode(&frame).map_err(|error| format!("a frame: {error}"))?;
        let text = |text: Text<'_>| text.to_cow().into_owned();
        let arrived = Arrived {
            is_answer: command.is_response(),
            code: command.code,
            opaque: command.opaque,
            remark: command.remark.map(text).unwrap_or_default(),
            ext: fields_of(&command),
            body: frame.body.to_vec(),
        };
        self.received.drain(..size);
        Ok(Some(arrived))
    }
}

/// Fields, those of the typed tables of flatbuffers headers by their names elsewhere.
fn fields_of(command: &Command<'_>) -> BTreeMap<String, String> {
    let fields = |fields: &[(&str, String)]| {
        fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    };
    if let (Encoding::Flat, Ok(answer)) = (command.encoding, SendAnswer::parse(command)) {
        return fields(&[
            ("msgId", answer.message_id.to_cow().into_owned()),
            ("queueId", answer.queue_id.to_string()),
            ("queueOffset", answer.queue_offset.to_string()),
            ("TRACE_ON", answer.trace_on.to_string()),
        ]);
    }
    if let (Encoding::Flat, Ok(answer)) = (command.encoding, PullAnswer::parse(command)) {
        return fields(&[
            ("nextBeginOffset", answer.next_begin_offset.to_string()),
            ("minOffset", answer.min_offset.to_string()),
            ("maxOffset", answer.max_offset.to_string()),
        ]);
    }
    let text = |text: Text<'_>| text.to_cow().into_owned();
    command.ext.iter().map(|(key, value)| (text(key), text(value))).collect()
}

impl World {
    /// A client of any language connects to any core, if somebody listens.
    pub(crate) fn connect_link(&mut self, life: &mut Life) -> Option<Link> {
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 996));
        let encoding = match self.rng.u8(..4) {
            0 => Encoding::Binary,
            1 => Encoding::Flat,
            _ => Encoding::Json,
        };
        let connection = life.any_ring(&mut self.rng).connect(peer, 1 << 20)?;
        Some(Link::new(connection, encoding))
    }

    /// The auditor writes a request over a connection to any core and waits for its answer.
    pub(crate) fn ask_over_link(
        &mut self,
        life: &mut Life,
        write: impl FnOnce(&mut Link) -> Vec<u8>,
    ) -> Result<Arrived, Finding> {
        let link = self.connect_link(life);
        let mut link = link.ok_or("nobody listens")?;
        let bytes = write(&mut link);
        life.ring(link.connection).client_writes(link.connection, &bytes);
        for _ in 0..QUIET_STEPS_MAX {
            self.step(life, false)?;
            match life.ring(link.connection).client_reads(link.connection) {
                Some(bytes) => link.receive(&bytes),
                None => return Err("the connection of an auditor was closed".to_owned()),
            }
            if let Some(arrived) = link.next_frame()? {
                life.ring(link.connection).client_closes(link.connection, None);
                return Ok(arrived);
            }
        }
        Err("an auditor's request is not answered".to_owned())
    }
}
