//! HTTP for health and metrics: one GET or HEAD a connection, bounded in bytes, time and number.
//! Kind: shell, with the parsing of a request as plain functions
//!
//! RFC 9112. No keep-alive: a probe comes every few seconds at the most, and what is closed needs no
//! place.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};

use super::Observed;
use super::limits::{
    CONNECTION_TIME_MAX, CONNECTIONS_MAX, DRAINED_BYTES_MAX, FIELDS_MAX, HEAD_BYTES_MAX,
};
use super::name_server::ObservedNameServer;

/// Pause when a connection cannot be accepted (no file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Reply {
    status: Status,
    content_type: &'static str,
    body: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    ContentTooLarge,
    HeadTooLarge,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
        }
    }
}

impl Reply {
    pub(super) fn ok(text: String) -> Reply {
        Reply { status: Status::Ok, content_type: TEXT, body: text + "\n" }
    }

    pub(super) fn unavailable(reason: String) -> Reply {
        Reply { status: Status::Unavailable, ..Reply::ok(reason) }
    }

    pub(super) fn metrics(body: String) -> Reply {
        // The version of Prometheus' text format.
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        Reply { status: Status::Ok, content_type, body }
    }

    fn wrong(status: Status) -> Reply {
        Reply { status, ..Reply::ok(status.line().to_owned()) }
    }

    fn bytes(&self, body: Body) -> Vec<u8> {
        let Reply { status, content_type, body: text } = self;
        let (line, length) = (status.line(), text.len());
        let allow = match status {
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {line}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        if body == Body::Wanted {
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

/// Whether the answer's body is sent: not to HEAD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    Wanted,
    Unwanted,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Page {
    Live,
    Ready,
    Metrics,
}

#[derive(PartialEq, Eq, Debug)]
enum Parsed {
    /// More bytes are needed.
    Partial,
    Asked(Page, Body),
    Wrong(Status),
}

fn parse(bytes: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Parsed::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Wrong(Status::HeadTooLarge);
        }
        Err(_) => return Parsed::Wrong(Status::BadRequest),
    }
    let body = match request.method {
        Some("GET") => Body::Wanted,
        Some("HEAD") => Body::Unwanted,
        _ => return Parsed::Wrong(Status::MethodNotAllowed),
    };
    let has_body = |field: &&mut httparse::Header<'_>| {
        field.name.eq_ignore_ascii_case("transfer-encoding")
            || field.name.eq_ignore_ascii_case("content-length") && field.value != b"0"
    };
    if request.headers.iter_mut().any(|field| has_body(&field)) {
        return Parsed::Wrong(Status::ContentTooLarge);
    }
    let path = request.path.unwrap_or_default();
    match path.split_once('?').map_or(path, |(path, _)| path) {
        "/health/live" => Parsed::Asked(Page::Live, body),
        "/health/ready" => Parsed::Asked(Page::Ready, body),
        "/metrics" => Parsed::Asked(Page::Metrics, body),
        _ => Parsed::Wrong(Status::NotFound),
    }
}

/// Whom it is about.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// A broker, with or without a NameServer beside it.
    Broker(Rc<Observed>),
    /// A NameServer alone.
    NameServer(Rc<ObservedNameServer>),
}

impl Subject {
    async fn reply(&self, page: Page) -> Reply {
        match (self, page) {
            (Subject::Broker(it), Page::Live) => it.live().await,
            (Subject::Broker(it), Page::Ready) => it.ready().await,
            (Subject::Broker(it), Page::Metrics) => it.metrics().await,
            (Subject::NameServer(it), Page::Live) => it.live().await,
            (Subject::NameServer(it), Page::Ready) => it.ready().await,
            (Subject::NameServer(it), Page::Metrics) => it.metrics().await,
        }
    }
}

/// Accepts and answers until the executor ends.
pub(super) async fn serve(listener: TcpListener, observed: Subject) {
    let open = Rc::new(Cell::new(0));
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection for health and metrics is not accepted");
                glommio::timer::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if open.get() >= CONNECTIONS_MAX {
            continue; // dropped, so closed
        }
        open.set(open.get() + 1);
        let (open, observed) = (Rc::clone(&open), observed.clone());
        let answered = async move {
            let in_time = async {
                glommio::timer::sleep(CONNECTION_TIME_MAX).await;
                Err(io::ErrorKind::TimedOut.into())
            };
            if let Err(error) = future::or(answer(stream, &observed), in_time).await {
                tracing::debug!(%error, "a connection for health and metrics failed");
            }
            open.set(open.get() - 1);
        };
        glommio::spawn_local(answered).detach();
    }
}

async fn answer(mut stream: TcpStream, observed: &Subject) -> io::Result<()> {
    let mut head = Vec::new();
    let parsed = loop {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        head.extend_from_slice(&bytes[..count]);
        match parse(&head) {
            Parsed::Partial => {}
            parsed => break parsed,
        }
    };
    let (reply, body) = match parsed {
        Parsed::Asked(page, body) => (observed.reply(page).await, body),
        Parsed::Wrong(status) => (Reply::wrong(status), Body::Wanted),
        Parsed::Partial => unreachable!("the loop goes on for it"),
    };
    stream.write_all(&reply.bytes(body)).await?;
    stream.shutdown(std::net::Shutdown::Write).await.map_err(io::Error::from)?;
    let mut drained = 0;
    while drained < DRAINED_BYTES_MAX {
        let mut bytes = [0; 1024];
        match stream.read(&mut bytes).await? {
            0 => break,
            count => drained += count,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: &str, expect: Parsed) {
        assert_eq!(parse(request.as_bytes()), expect, "{request:?}");
    }

    #[test]
    fn requests_are_taken_or_refused_with_their_status() {
        check("GET /metrics HTTP/1.1\r\n\r\n", Parsed::Asked(Page::Metrics, Body::Wanted));
        check("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Parsed::Asked(Page::Metrics, Body::Wanted));
        check(
            "HEAD /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
            Parsed::Asked(Page::Live, Body::Unwanted),
        );
        check(
            "GET /health/ready HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            Parsed::Asked(Page::Ready, Body::Wanted),
        );
        check("GET /metri", Parsed::Partial);
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n", Parsed::Partial);
        check("GET / HTTP/1.1\r\n\r\n", Parsed::Wrong(Status::NotFound));
        check("GET /metrics/ HTTP/1.1\r\n\r\n", Parsed::Wrong(Status::NotFound));
        check("POST /metrics HTTP/1.1\r\n\r\n", Parsed::Wrong(Status::MethodNotAllowed));
        check("\u{1}\u{2}\u{3}", Parsed::Wrong(Status::BadRequest));
        check("GET /metrics HTTP/9.9\r\n\r\n", Parsed::Wrong(Status::BadRequest));
        check(
            "GET /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\n",
            Parsed::Wrong(Status::ContentTooLarge),
        );
        check(
            "GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            Parsed::Wrong(Status::ContentTooLarge),
        );
    }

    #[test]
    fn a_head_is_bounded_in_bytes_and_fields() {
        let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "x".repeat(HEAD_BYTES_MAX));
        check(&long, Parsed::Wrong(Status::HeadTooLarge));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX + 1));
        check(&many, Parsed::Wrong(Status::HeadTooLarge));
    }

    #[test]
    fn head_gets_the_length_and_no_body() {
        let reply = Reply::ok("serving".to_owned());
        let text = String::from_utf8(reply.bytes(Body::Unwanted)).expect("text");
        assert!(text.contains("Content-Length: 8\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        let text = String::from_utf8(reply.bytes(Body::Wanted)).expect("text");
        assert!(text.ends_with("\r\n\r\nserving\n"), "{text}");
    }
}
