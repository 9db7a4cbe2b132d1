//! One connection to a NameServer: a request, its answer, nothing else at a time.
//! Kind: shell

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::GlommioError;
use glommio::net::TcpStream;
use glommio::timer::timeout;
use proto::command::Command;
use proto::frame::{FrameError, Scan, scan};
use proto::header::HeaderError;
use proto::limits::FRAME_BYTES_MAX;

/// How much is read at once: an answer to a registration, unless it carries order topics.
const READ_BYTES: usize = 4096;

/// What is wrong with a connection; it is closed then.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The name has no address.
    #[error("its name does not resolve: {0}")]
    Resolve(io::Error),
    /// Nobody is there.
    #[error("it does not take a connection: {0}")]
    Connect(io::Error),
    /// It took no connection in time, or its name has no address yet.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// It took a request and did not answer in time.
    #[error("no answer within {0:?}")]
    AnswerTimeout(Duration),
    /// What it sends are no frames.
    #[error("it speaks another protocol: {0}")]
    Frame(#[from] FrameError),
    /// A frame's header cannot be read.
    #[error("it speaks another protocol: {0}")]
    Header(#[from] HeaderError),
}

impl ConnectionError {
    /// Whether a new connection may do better at once: this one was dropped at the other end while
    /// it was idle.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self, ConnectionError::Broken(_))
    }
}

/// What an answer says besides its fields.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) remark: String,
    /// A registration's names the ordered topics.
    pub(super) body: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Received and not yet read: the beginning of a frame.
    received: Vec<u8>,
}

impl Connection {
    /// Connects to the first of the addresses that answers, all within `wait`.
    pub(super) async fn open(
        addresses: &[SocketAddr],
        wait: Duration,
    ) -> Result<Connection, ConnectionError> {
        let opening = async { Ok(Self::open_patiently(addresses).await) };
        timeout(wait, opening).await.unwrap_or(Err(ConnectionError::ConnectTimeout(wait)))
    }

    async fn open_patiently(addresses: &[SocketAddr]) -> Result<Connection, ConnectionError> {
        let mut failure = io::ErrorKind::NotFound.into();
        for address in addresses {
            match Self::open_address(*address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = io_error(error),
            }
        }
        Err(ConnectionError::Connect(failure))
    }

    async fn open_address(address: SocketAddr) -> Result<Connection, GlommioError<()>> {
        let stream = TcpStream::connect(address).await?;
        // Nagle's algorithm would hold back the end of a large registration.
        stream.set_nodelay(true)?;
        Ok(Connection { stream, received: Vec::new() })
    }

    /// Sends a request and waits for the answer to it, passing over whatever else comes.
    pub(super) async fn ask(
        &mut self,
        frame: &[u8],
        opaque: i32,
        wait: Duration,
    ) -> Result<Answer, ConnectionError> {
        let asking = async { Ok(self.ask_patiently(frame, opaque).await) };
        timeout(wait, asking).await.unwrap_or(Err(ConnectionError::AnswerTimeout(wait)))
    }

    async fn ask_patiently(
        &mut self,
        frame: &[u8],
        opaque: i32,
    ) -> Result<Answer, ConnectionError> {
        self.stream.write_all(frame).await.map_err(ConnectionError::Broken)?;
        let mut bytes = [0; READ_BYTES];
        loop {
            if let Some(answer) = self.take_answer(opaque)? {
                return Ok(answer);
            }
            let count = self.stream.read(&mut bytes).await.map_err(ConnectionError::Broken)?;
            if count == 0 {
                return Err(ConnectionError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            let received = bytes.get(..count).expect("a read fills what it was given");
            self.received.extend_from_slice(received);
        }
    }

    /// Takes frames out of what was received, up to the answer if it is among them.
    fn take_answer(&mut self, opaque: i32) -> Result<Option<Answer>, ConnectionError> {
        while let Scan::Frame { frame, size_bytes } = scan(&self.received, FRAME_BYTES_MAX)? {
            let command = Command::decode(&frame)?;
            let is_it = command.is_response() && command.opaque == opaque;
            let answer = is_it.then(|| Answer::of(&command, frame.body));
            self.received.drain(..size_bytes);
            if answer.is_some() {
                return Ok(answer);
            }
        }
        Ok(None)
    }
}

impl Answer {
    fn of(command: &Command<'_>, body: &[u8]) -> Answer {
        let remark = command.remark.map(|remark| remark.to_cow().into_owned());
        Answer { code: command.code, remark: remark.unwrap_or_default(), body: body.to_vec() }
    }
}

fn io_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(error) | GlommioError::EnhancedIoError { source: error, .. } => error,
        other => io::Error::other(other.to_string()),
    }
}
