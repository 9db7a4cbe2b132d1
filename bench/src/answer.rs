//! Opaque and code of an answer, as fast as can be had.
//!
//! The two are all that an answered send costs the load generator. A JSON header is decided by its
//! first and last bytes when it is exactly what Java writes for a success:
//! ```text
//! {"code":0, … ,"flag":1,"language":"JAVA","opaque":1234567890,"serializeTypeCurrentRPC":"JSON","version":479}
//! ```
//! The last `}` of a header closes it, so the entries before it are its own, not those of a nested
//! object, and no string can hold them, since quotes in strings are escaped. Everything else goes
//! through the full decoder.

use proto::command::{Command, FLAG_RESPONSE};
use proto::frame::{Encoding, Frame};
use proto::header::HeaderError;

const JSON_START: &[u8] = b"{\"code\":0,";
const JSON_BEFORE_OPAQUE: &[u8] = b",\"flag\":1,\"language\":\"JAVA\",\"opaque\":";
const JSON_AFTER_OPAQUE: &[u8] = b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}";

/// All our opaques have as many digits, see [`crate::template::OPAQUE_FIRST`].
const OPAQUE_DIGITS: usize = 10;

/// Bytes of a binary header without remark and fields.
const BINARY_BYTES_MIN: usize = 21;

/// What an answer says to whoever waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub opaque: i32,
    pub code: i32,
}

/// Reads an answer's header. `None`: it is a request of the server to us, which has no business here.
///
/// # Errors
/// A header that nobody could read.
pub fn read(frame: &Frame<'_>) -> Result<Option<Answer>, HeaderError> {
    let fast = match frame.encoding {
        Encoding::Json => json_success(frame.header),
        Encoding::Binary => binary(frame.header),
        Encoding::Flat => None,
    };
    if fast.is_some() {
        return Ok(fast);
    }
    let command = Command::decode(frame)?;
    let answer = Answer { opaque: command.opaque, code: command.code };
    Ok(command.is_response().then_some(answer))
}

fn json_success(header: &[u8]) -> Option<Answer> {
    let rest = header.strip_prefix(JSON_START)?.strip_suffix(JSON_AFTER_OPAQUE)?;
    let (rest, digits) = rest.split_last_chunk::<OPAQUE_DIGITS>()?;
    // The comma before "flag" is the one after the code if the header has no fields.
    let before = JSON_BEFORE_OPAQUE;
    if !(rest.ends_with(before) || rest == &before[1..]) {
        return None;
    }
    let mut opaque: i32 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        opaque = opaque.checked_mul(10)?.checked_add(i32::from(digit))?;
    }
    Some(Answer { opaque, code: 0 })
}

/// i16 code, i8 language, i16 version, i32 opaque, i32 flag.
fn binary(header: &[u8]) -> Option<Answer> {
    if header.len() < BINARY_BYTES_MIN {
        return None;
    }
    let (code, rest) = header.split_first_chunk::<2>()?;
    let (opaque, rest) = rest.get(3..)?.split_first_chunk::<4>()?;
    let (flag, _) = rest.split_first_chunk::<4>()?;
    if i32::from_be_bytes(*flag) & FLAG_RESPONSE == 0 {
        return None;
    }
    let code = i32::from(i16::from_be_bytes(*code));
    Some(Answer { opaque: i32::from_be_bytes(*opaque), code })
}

#[cfg(test)]
mod tests {
    use proto::frame::{Scan, scan};
    use proto::reply::{RequestHead, ResponseHead, write_request, write_response};

    use super::*;

    fn check_json(header: &str, expect_fast: bool, expect: Option<Answer>) {
        let frame = Frame { encoding: Encoding::Json, header: header.as_bytes(), body: b"" };
        assert_eq!(json_success(header.as_bytes()).is_some(), expect_fast, "{header}");
        assert_eq!(read(&frame), Ok(expect), "{header}");
    }

    #[test]
    fn success_is_read_without_decoding() {
        let answer = Some(Answer { opaque: 1_234_567_890, code: 0 });
        let tail = "\"flag\":1,\"language\":\"JAVA\",\"opaque\":1234567890,\
                    \"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}";
        check_json(&format!("{{\"code\":0,\"extFields\":{{\"a\":\"b\"}},{tail}"), true, answer);
        check_json(&format!("{{\"code\":0,{tail}"), true, answer);
        let failed = Some(Answer { opaque: 1_234_567_890, code: 2 });
        check_json(&format!("{{\"code\":2,{tail}"), false, failed);
    }

    #[test]
    fn anything_unusual_is_decoded() {
        let remark = "{\"code\":0,\"flag\":1,\"language\":\"JAVA\",\"opaque\":1234567890,\
                      \"remark\":\"x\",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}";
        check_json(remark, false, Some(Answer { opaque: 1_234_567_890, code: 0 }));
        let request = "{\"code\":0,\"flag\":0,\"language\":\"JAVA\",\"opaque\":1234567890,\
                       \"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}";
        check_json(request, false, None);
        let short = "{\"code\":0,\"flag\":1,\"language\":\"JAVA\",\"opaque\":7,\
                     \"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}";
        check_json(short, false, Some(Answer { opaque: 7, code: 0 }));
        let spaced = "{ \"opaque\": 1234567890, \"flag\": 1, \"code\": 0 }";
        check_json(spaced, false, Some(Answer { opaque: 1_234_567_890, code: 0 }));
    }

    #[test]
    fn every_encoding_is_read() {
        for encoding in [Encoding::Json, Encoding::Binary, Encoding::Flat] {
            let head = ResponseHead { opaque: 1_999_999_999, code: 14, remark: Some("full") };
            let mut out = Vec::new();
            write_response(&mut out, encoding, &head, None, b"");
            let Ok(Scan::Frame { frame, .. }) = scan(&out, 1 << 20) else { panic!("no frame") };
            assert_eq!(read(&frame), Ok(Some(Answer { opaque: 1_999_999_999, code: 14 })));
            let mut out = Vec::new();
            let head = RequestHead { code: 40, opaque: 1, flag: 2 };
            write_request(&mut out, encoding, &head, None, b"");
            let Ok(Scan::Frame { frame, .. }) = scan(&out, 1 << 20) else { panic!("no frame") };
            assert_eq!(read(&frame), Ok(None));
        }
    }
}
