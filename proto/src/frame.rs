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

use crate::limits::{HEADER_BYTES_MAX, READ_HEADER_BYTES_MAX};

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
    /// The header is longer than allowed.
    #[error("header of {found} bytes is longer than {READ_HEADER_BYTES_MAX}")]
    HeaderAboveLimit {
        /// Header length in the mark.
        found: usize,
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
    if header_bytes > READ_HEADER_BYTES_MAX {
        return Err(FrameError::HeaderAboveLimit { found: header_bytes });
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 1024;

    fn check(bytes: &[u8], expect: Result<Scan<'_>, FrameError>) {
        assert_eq!(scan(bytes, MAX), expect, "{bytes:?}");
    }

    fn incomplete(needed_bytes: usize) -> Result<Scan<'static>, FrameError> {
        Ok(Scan::Incomplete { needed_bytes })
    }

    #[test]
    fn frames_are_found_or_refused_as_early_as_possible() {
        check(b"", incomplete(4));
        check(&[0, 0, 0], incomplete(4));
        check(&[0, 0, 0, 9], incomplete(13));
        check(&[0, 0, 0, 9, 1, 0, 0, 2, b'h'], incomplete(13));
        let whole = [0, 0, 0, 9, 1, 0, 0, 2, b'h', b'H', b'x', b'y', b'z', 0xFF];
        let frame = Frame { encoding: Encoding::Binary, header: b"hH", body: b"xyz" };
        check(&whole, Ok(Scan::Frame { frame, size_bytes: 13 }));
        let empty = Frame { encoding: Encoding::Json, header: b"", body: b"" };
        check(&[0, 0, 0, 4, 0, 0, 0, 0], Ok(Scan::Frame { frame: empty, size_bytes: 8 }));
        check(&[0, 0, 0, 3], Err(FrameError::TooShort { found: 3 }));
        check(&[0, 0, 4, 0], Err(FrameError::TooLong { found: MAX + 4, max: MAX }));
        check(&[0, 0, 3, 0xFC], incomplete(MAX));
        check(&[0xFF; 4], Err(FrameError::TooLong { found: u32::MAX as usize + 4, max: MAX }));
        check(&[0, 0, 0, 9, 3, 0, 0, 2], Err(FrameError::UnknownEncoding { found: 3 }));
        let found = READ_HEADER_BYTES_MAX + 1;
        let large = [&(16_u32 << 20).to_be_bytes()[..], &(found as u32).to_be_bytes()].concat();
        let refused = scan(&large, 32 << 20);
        assert_eq!(refused, Err(FrameError::HeaderAboveLimit { found }));
        let too_long = FrameError::HeaderTooLong { header: 6, frame: 5 };
        check(&[0, 0, 0, 9, 0, 0, 0, 6], Err(too_long));
        check(&[0x16], Err(FrameError::TlsHandshake));
        check(b"GET / HTTP/1.1\r\n", Err(FrameError::TooLong { found: 0x4745_5424, max: MAX }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_found(
            before in prop::collection::vec(any::<u8>(), 0..9),
            header in prop::collection::vec(any::<u8>(), 0..99),
            body in prop::collection::vec(any::<u8>(), 0..99),
        ) {
            let mut out = before.clone();
            let mark = begin(&mut out);
            out.extend_from_slice(&header);
            finish(&mut out, mark, Encoding::Flat, body.len());
            out.extend_from_slice(&body);
            let written = &out[before.len()..];
            let frame = Frame { encoding: Encoding::Flat, header: &header, body: &body };
            prop_assert_eq!(scan(written, MAX), Ok(Scan::Frame { frame, size_bytes: written.len() }));
            for length in 0..written.len() {
                let expect = if length < 4 { 4 } else { written.len() };
                prop_assert_eq!(scan(&written[..length], MAX), incomplete(expect));
            }
        }

        #[test]
        fn any_bytes_are_scanned_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = scan(&bytes, MAX);
        }
    }
}
