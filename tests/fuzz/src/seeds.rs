//! Inputs to begin with: the frames captured from Apache RocketMQ, taken apart.

use std::fs;
use std::path::Path;

use proto::frame::{Encoding, Frame, Scan, scan};
use proto::limits::FRAME_BYTES_MAX;
use proto::record::Record;
use proto::reply::{self, RequestHead};

/// Text of hexadecimal digits to bytes.
///
/// # Panics
/// If it has other characters than digits and white space.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a corpus has hexadecimal digits only") as u8)
        .collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

/// Every captured frame.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    let files = fs::read_dir(&folder).expect("captured frames lie beside this crate");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| unhex(&fs::read_to_string(path).expect("a file that was listed")))
        .collect()
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    match scan(bytes, FRAME_BYTES_MAX) {
        Ok(Scan::Frame { frame, .. }) => frame,
        other => panic!("a captured frame is whole: {other:?}"),
    }
}

/// Headers in one encoding: those captured in it, and every other one translated.
pub(crate) fn headers(encoding: Encoding) -> Vec<Vec<u8>> {
    frames().iter().map(|bytes| header_in(&frame(bytes), encoding)).collect()
}

fn header_in(source: &Frame<'_>, encoding: Encoding) -> Vec<u8> {
    if source.encoding == encoding {
        return source.header.to_vec();
    }
    let command =
        proto::command::Command::decode(source).expect("a captured header can be decoded");
    let ext: Vec<(String, String)> = command
        .ext
        .iter()
        .map(|(key, value)| (key.to_cow().into_owned(), value.to_cow().into_owned()))
        .collect();
    let ext: Vec<(&str, &str)> = ext.iter().map(|(key, value)| (&**key, &**value)).collect();
    let head = RequestHead { code: command.code, opaque: command.opaque, flag: command.flag };
    let mut out = Vec::new();
    reply::write_request(&mut out, encoding, &head, Some(&ext), &[]);
    frame(&out).header.to_vec()
}

/// Bodies that are JSON.
pub(crate) fn json_bodies() -> Vec<Vec<u8>> {
    bodies(|body| body.first() == Some(&b'{'))
}

/// Bodies that are compressed registrations.
pub(crate) fn compressed_bodies() -> Vec<Vec<u8>> {
    bodies(|body| body.first() == Some(&0x78))
}

/// Bodies that are stored messages.
pub(crate) fn records() -> Vec<Vec<u8>> {
    bodies(|body| Record::decode(body).is_ok())
}

/// Bodies that are batches to be sent: no other body here is one.
pub(crate) fn batches() -> Vec<Vec<u8>> {
    bodies(|body| {
        Record::decode(body).is_err()
            && proto::batch::BatchRecords::new(body).count_checked().is_ok_and(|count| count > 1)
    })
}

/// Properties texts of stored messages.
pub(crate) fn properties() -> Vec<Vec<u8>> {
    let of_first = |body: Vec<u8>| {
        Record::decode(&body).map(|(record, _)| record.fields().properties.to_vec()).ok()
    };
    records().into_iter().filter_map(of_first).collect()
}

fn bodies(accept: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = frames()
        .iter()
        .map(|bytes| frame(bytes).body.to_vec())
        .filter(|body| !body.is_empty() && accept(body))
        .collect();
    bodies.sort();
    bodies.dedup();
    bodies
}
