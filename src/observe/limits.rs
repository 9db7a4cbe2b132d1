//! Limits of health and figures, each with its unit and reason.

use std::time::Duration;

/// How long a core may take to answer. A turn takes less than a millisecond; one that takes this long
/// serves nobody, and Prometheus gives up after 10 s.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// How long an HTTP connection may take in all: the cores' answer, and a slow network on both ways.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

/// HTTP connections at one time and port; one more is closed at once. Some scrapers and probes, with
/// room for those that hang until their time is up.
pub const CONNECTIONS_MAX: usize = 32;

/// Bytes of a request's head.
pub const HEAD_BYTES_MAX: usize = 8192;

/// Header fields of a request.
pub const FIELDS_MAX: usize = 64;

/// Bytes that are read and dropped after an answer, so that its end is not lost to a reset.
pub const DRAINED_BYTES_MAX: usize = 64 * 1024;

/// Samples of one name on a page: some 2 MiB of text. What is left out is counted.
pub const FAMILY_SAMPLES_MAX: usize = 10_000;

/// Topics that a core counts one by one: a store with more has figures that no screen shows.
pub const TOPICS_COUNTED_MAX: usize = 8192;

/// Pairs of a group and a topic that a core counts one by one.
pub const CONSUMERS_COUNTED_MAX: usize = 8192;

/// Codes that sends are refused with: there are not twenty.
pub const CODES_COUNTED_MAX: usize = 64;

const _: () = assert!(ANSWER_TIME_MAX.as_millis() < CONNECTION_TIME_MAX.as_millis());
