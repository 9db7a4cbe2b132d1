//! A decoded command header, request or response, borrowed from its frame.

use crate::ext::ExtFields;
use crate::frame::{Encoding, Frame};
use crate::header::{self, HeaderError};
use crate::language::Language;
use crate::text::Text;

/// Bit of `flag` that tells a response from a request.
pub const FLAG_RESPONSE: i32 = 0x1;

/// Bit of `flag` of a request that must not be answered, whatever happens.
pub const FLAG_ONEWAY: i32 = 0x2;

/// The header of a frame: Apache's `RemotingCommand` without its body.
///
/// Fields that the sender left out are zero, as numbers of a Java object are.
#[derive(Debug, Clone)]
pub struct Command<'a> {
    /// Request code, or response code if [`is_response`](Self::is_response).
    pub code: i32,
    /// Language of the sender, if Apache knows it.
    pub language: Option<Language>,
    /// `MQVersion` ordinal of the sender.
    pub version: i32,
    /// Correlation id; a response carries that of its request.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Free text, mostly the reason of a failure.
    pub remark: Option<Text<'a>>,
    /// String map; empty for the typed tables of [`Encoding::Flat`], which are read in place.
    pub ext: ExtFields<'a>,
    /// Encoding of the header, in which the answer should be.
    pub encoding: Encoding,
    /// Typed table of a flatbuffers header.
    pub(crate) typed: Option<header::Typed<'a>>,
}

impl<'a> Command<'a> {
    /// Decodes the header of a frame.
    ///
    /// # Errors
    /// A header that cannot be decoded: the connection must be closed, nothing is answered.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, HeaderError> {
        let mut command = Self::over(frame);
        match frame.encoding {
            Encoding::Json => header::json::decode(frame.header, &mut command)?,
            Encoding::Binary => header::binary::decode(frame.header, &mut command)?,
            Encoding::Flat => header::flat::decode(frame.header, &mut command)?,
        }
        Ok(command)
    }

    /// A command with nothing set, for the decoders to fill.
    fn over(frame: &Frame<'a>) -> Self {
        Self {
            code: 0,
            language: None,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: ExtFields::over(frame.header),
            encoding: frame.encoding,
            typed: None,
        }
    }

    /// True for a response, false for a request.
    pub const fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// True if the sender expects no answer.
    pub const fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}
