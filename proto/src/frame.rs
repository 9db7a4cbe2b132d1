//! The frame: total length, mark, header, body.
//!
//! ```text
//! 0      4     i32 total = bytes after this field (4 + header + body)
//! 4      4     u32 mark  = encoding << 24 | header bytes
//! 8      hLen  header
//! 8+hLen rest  body
//! ```
//! Source: `NettyDecoder`, `RemotingCommand.decode` and `markProtocolType`, 5.3.3. Encoding 2 is ours.

use thiserror::Error;

use crate::limits::HEADER_BYTES_MAX;

/// Bytes of `total` and `mark` together.
pub const PREFIX_BYTES: usize = 8;

/// First byte of a TLS handshake record; a frame begins with 0x00 or 0x01.
const TLS_HANDSHAKE: u8 = 0x16;

/// How a header is encoded: the high byte of `mark`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// fastjson's JSON, which every client understands.
    Json = 0,
    /// Apache's `RocketMQSerializable`. Never sent to a peer that spoke JSON: the C++ client breaks.
    Binary = 1,
    /// Our flatbuffers encoding, see `schema/remoting.fbs`.
    Flat = 2,
}

impl Encoding {
    /// The encoding of a mark's high byte.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Json),
            1 => Some(Self::Binary),
            2 => Some(Self::Flat),
            _ => None,
        }
    }
}

/// One frame, borrowed from a receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Encoding of `header`.
    pub encoding: Encoding,
    /// The undecoded header.
    pub header: &'a [u8],
    /// What follows it; may be empty.
    pub body: &'a [u8],
}

/// What the beginning of a receive buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan<'a> {
    /// More bytes are needed before anything can be said.
    Incomplete {
        /// Size of the whole frame once its length is known, else how many bytes would tell (4).
        needed_bytes: usize,
    },
    /// A whole frame.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Its size; the next frame begins there.
        size_bytes: usize,
    },
}

/// Why a connection's bytes are no frames; it must be closed, as Apache does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The peer begins a TLS handshake.
    #[error("the peer begins a TLS handshake")]
    TlsHandshake,
    /// The frame is longer than allowed.
    #[error("frame of {found} bytes is longer than {max}")]
    TooLong {
        /// Whole frame.
        found: usize,
        /// Limit.
        max: usize,
    },
    /// The frame has no room for its mark.
    #[error("frame length {found} has no room for the 4 bytes of its mark")]
    TooShort {
        /// The length field.
        found: usize,
    },
    /// The header is longer than its frame.
    #[error("header of {header} bytes in a frame that has room for {frame}")]
    HeaderTooLong {
        /// Header length in the mark.
        header: usize,
        /// Bytes behind the mark.
        frame: usize,
    },
    /// The mark names an encoding that does not exist.
    #[error("unknown header encoding {found}")]
    UnknownEncoding {
        /// High byte of the mark.
        found: u8,
    },
}

/// Looks for a frame at the beginning of `bytes`.
///
/// Whatever can be refused early is: the length after 4 bytes, the mark after 8, so that nothing
/// is buffered for a peer that speaks something else.
///
/// # Errors
/// [`FrameError`]; the connection cannot be resynchronised.
pub fn scan(bytes: &[u8], frame_bytes_max: usize) -> Result<Scan<'_>, FrameError> {
    if bytes.first() == Some(&TLS_HANDSHAKE) {
        return Err(FrameError::TlsHandshake);
    }
    let Some((total, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(Scan::Incomplete { needed_bytes: 4 });
    };
    // A negative Java int becomes a huge length here and is refused as such.
    let total = u32::from_be_bytes(*total) as usize;
    let size_bytes = total + 4;
    if size_bytes > frame_bytes_max {
        return Err(FrameError::TooLong { found: size_bytes, max: frame_bytes_max });
    }
    if total < 4 {
        return Err(FrameError::TooShort { found: total });
    }
    let Some((mark, _)) = rest.split_first_chunk::<4>() else {
        return Ok(Scan::Incomplete { needed_bytes: size_bytes });
    };
    let [code, a, b, c] = *mark;
    let encoding = Encoding::from_code(code).ok_or(FrameError::UnknownEncoding { found: code })?;
    let header_bytes = u32::from_be_bytes([0, a, b, c]) as usize;
    let rest_bytes = total - 4;
    if header_bytes > rest_bytes {
        return Err(FrameError::HeaderTooLong { header: header_bytes, frame: rest_bytes });
    }
    let Some(rest) = bytes.get(PREFIX_BYTES..size_bytes) else {
        return Ok(Scan::Incomplete { needed_bytes: size_bytes });
    };
    let (header, body) = rest.split_at(header_bytes);
    Ok(Scan::Frame { frame: Frame { encoding, header, body }, size_bytes })
}

/// Where a frame under construction begins in its buffer.
#[derive(Debug, Clone, Copy)]
#[must_use = "a frame begun must be finished"]
pub struct FrameMark(usize);

/// Begins a frame at the end of `out`; the header is appended next.
pub fn begin(out: &mut Vec<u8>) -> FrameMark {
    let mark = FrameMark(out.len());
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    mark
}

/// Ends the header of the frame begun at `mark`: everything in `out` since is header, and
/// `body_bytes` will follow it on the wire, in `out` or gathered from elsewhere.
///
/// # Panics
/// If the header or the frame does not fit its length field; both are our own output.
pub fn finish(out: &mut [u8], mark: FrameMark, encoding: Encoding, body_bytes: usize) {
    let begin = mark.0 + PREFIX_BYTES;
    assert!(begin <= out.len());
    let header_bytes = out.len() - begin;
    assert!(header_bytes <= HEADER_BYTES_MAX);
    let total = i32::try_from(4 + header_bytes + body_bytes).expect("a frame is below 2 GiB");
    let mark_word = (encoding as u32) << 24 | header_bytes as u32;
    let prefix = &mut out[mark.0..begin];
    prefix[..4].copy_from_slice(&total.to_be_bytes());
    prefix[4..].copy_from_slice(&mark_word.to_be_bytes());
}
