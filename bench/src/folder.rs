//! The directory that `--report` writes, and `compare` reads.
//!
//! ```text
//! report.html    the page               latency.hgrm   percentiles, for HdrHistogram's plotter
//! report.json    everything, exact      latency.hlog   the histogram in V2, as its log tools read it
//! ```

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde_json::Value;

use crate::error::Error;
use crate::page;
use crate::report::{Report, write_file};

/// Bytes of a report.json that is read: more than one with a timeline of full length has.
const JSON_BYTES_MAX: u64 = 64 << 20;

const JSON: &str = "report.json";

/// Writes the files into the directory, which is made if it is not there.
///
/// # Errors
/// [`Error::Write`]
pub fn write(directory: &Path, report: &Report) -> Result<(), Error> {
    fs::create_dir_all(directory)
        .map_err(|source| Error::Write { path: directory.to_owned(), source })?;
    let text = report.json();
    // The page is made of what programs will read, so that both say the same.
    let json: Value = serde_json::from_str(&text).expect("it was just written");
    write_file(&directory.join(JSON), text.as_bytes())?;
    write_file(&directory.join("report.html"), page::run::html(report, &json).as_bytes())?;
    report.write_hgrm(&directory.join("latency.hgrm"))?;
    write_file(&directory.join("latency.hlog"), &interval_log(report))
}

/// One interval, the measured one, in ms as the tools expect.
fn interval_log(report: &Report) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let made = UNIX_EPOCH + Duration::from_millis(report.made_ms);
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("latencies in ns; the column of maxima in ms");
    builder.with_max_value_divisor(1e6).with_start_time(made).with_base_time(made);
    let mut writer =
        builder.begin_log_with(&mut out, &mut serializer).expect("memory takes everything");
    let length = Duration::from_secs_f64(report.results.wall_seconds);
    writer
        .write_histogram(report.distribution.main().total(), Duration::ZERO, length, None)
        .expect("memory takes everything");
    out
}

/// Reads a report again, and its JSON as it is.
///
/// # Errors
/// [`Error::Read`]
pub fn read(directory: &Path) -> Result<(Report, Value), Error> {
    let path = directory.join(JSON);
    let failed = |reason: String| Error::Read { path: path.clone(), reason };
    let size = fs::metadata(&path).map_err(|error| failed(error.to_string()))?.len();
    if size > JSON_BYTES_MAX {
        return Err(failed(format!("{size} bytes, more than {JSON_BYTES_MAX}")));
    }
    let text = fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let json: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    let report = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    Ok((report, json))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::report::example;

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let report = example("busy");
        write(&directory.path().join("a/b"), &report).expect("written");
        let (found, json) = read(&directory.path().join("a/b")).expect("read");
        assert_eq!(found.json(), report.json());
        assert_eq!(found.distribution.main().total(), report.distribution.main().total());
        assert_eq!(json["results"]["send"]["messages"], 3_480_688);
        let hgrm = fs::read_to_string(directory.path().join("a/b/latency.hgrm")).expect("hgrm");
        assert!(hgrm.contains("1/(1-Percentile)"));
        assert!(matches!(read(directory.path()), Err(Error::Read { .. })));
    }

    #[test]
    fn the_log_holds_the_histogram() {
        let report = example("busy");
        let log = interval_log(&report);
        let entries = IntervalLogIterator::new(&log).map(|entry| entry.expect("a line"));
        let intervals: Vec<_> = entries
            .filter_map(|entry| match entry {
                LogEntry::Interval(interval) => Some(interval.encoded_histogram().to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(intervals.len(), 1);
        let bytes =
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &intervals[0]);
        let bytes = bytes.expect("base64");
        let histogram: Histogram<u64> =
            Deserializer::new().deserialize(&mut &bytes[..]).expect("a histogram");
        assert_eq!(&histogram, report.distribution.main().total());
    }
}
