//! What a request is answered with, as a value.

use proto::body::BodyError;
use proto::code::response;
use proto::command::Command;
use proto::frame::Encoding;
use proto::header::HeaderError;
use proto::reply::{ResponseHead, write_response};
use proto::text::Text;

use super::limits::ANSWER_BODY_BYTES_MAX;

/// A refusal: the peer asked for something that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i32,
    pub(super) remark: String,
}

/// An answer, good or bad.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: i32,
    pub(super) remark: Option<String>,
    /// `None` if Apache answers without a typed header, which leaves `extFields` out.
    pub(super) ext: Option<Vec<(&'static str, String)>>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// Success without more.
    pub(super) fn done() -> Self {
        Self { code: response::SUCCESS, ..Self::default() }
    }

    /// Success with a body.
    pub(super) fn with_body(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut body = Vec::new();
        write(&mut body);
        Self { body, ..Self::done() }
    }

    /// Success with a typed header.
    pub(super) fn with_ext(ext: Vec<(&'static str, String)>) -> Self {
        Self { ext: Some(ext), ..Self::done() }
    }

    /// A failure that has a typed header, whose fields are all null.
    pub(super) fn failed_with_header(refusal: Refusal) -> Self {
        Self { ext: Some(Vec::new()), ..Self::from(refusal) }
    }

    /// Appends the frame, with the number and in the encoding of the request.
    pub(super) fn write(&self, opaque: i32, encoding: Encoding, out: &mut Vec<u8>) {
        let found = self.body.len();
        if found > ANSWER_BODY_BYTES_MAX {
            let remark = format!(
                "answer of {found} bytes is longer than the limit of {ANSWER_BODY_BYTES_MAX}"
            );
            return Self::from(Refusal::system_error(remark)).write(opaque, encoding, out);
        }
        let head = ResponseHead { opaque, code: self.code, remark: self.remark.as_deref() };
        let ext: Option<Vec<(&str, &str)>> = self
            .ext
            .as_ref()
            .map(|ext| ext.iter().map(|(key, value)| (*key, value.as_str())).collect());
        write_response(out, encoding, &head, ext.as_deref(), &self.body);
    }
}

impl From<Refusal> for Reply {
    fn from(Refusal { code, remark }: Refusal) -> Self {
        Self { code, remark: Some(remark), ..Self::default() }
    }
}

impl Refusal {
    /// Code 1, what Apache makes of an exception.
    pub(super) fn system_error(remark: impl Into<String>) -> Self {
        Self { code: response::SYSTEM_ERROR, remark: remark.into() }
    }

    /// A table is full.
    pub(super) fn full(what: &str, limit: usize) -> Self {
        Self::system_error(format!("the name server holds its limit of {limit} {what}"))
    }

    /// A header field is not there.
    fn missing(field: &str) -> Self {
        // `RemotingCommand.decodeCommandCustomHeader`, as `RemotingHelper.exceptionSimpleDesc`
        // shows it, without the stack frame.
        let exception = "org.apache.rocketmq.remoting.exception.RemotingCommandException";
        Self::system_error(format!("{exception}: the custom field <{field}> is null"))
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Missing { field } => Self::missing(field),
            other => Self::system_error(other.to_string()),
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        Self::system_error(error.to_string())
    }
}

/// A header field that must be there, of bounded length.
pub(super) fn required(
    command: &Command<'_>,
    field: &'static str,
    bytes_max: usize,
) -> Result<String, Refusal> {
    let text = command.ext.get(field).ok_or_else(|| Refusal::missing(field))?;
    bounded(text, field, bytes_max)
}

/// The value of a header field, of bounded length.
pub(super) fn bounded(text: Text<'_>, field: &str, bytes_max: usize) -> Result<String, Refusal> {
    let value = text.to_cow().into_owned();
    if value.len() > bytes_max {
        let found = value.len();
        return Err(Refusal::system_error(format!(
            "the custom field <{field}> of {found} bytes is longer than the limit of {bytes_max}"
        )));
    }
    Ok(value)
}
