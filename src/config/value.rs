//! A value of each type, read from the text of a file or a flag.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use engine::limits::DELAY_LEVELS_MAX;

use super::keys::{Kind, Step, Unit};
use super::limits::{NAME_BYTES_MAX, NAME_SERVERS_MAX};

/// Host and port of a server; the host is a name or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    /// TCP port, not 0.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// A checked value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of `Text`, `Name` and `Choice`.
    Text(String),
    /// Of `Boolean`.
    Boolean(bool),
    /// Of `Integer`.
    Integer(i64),
    /// Of `Address`.
    Address(IpAddr),
    /// Of `Endpoints`.
    Endpoints(Vec<Endpoint>),
    /// Of `Path`.
    Path(PathBuf),
    /// Of `Delays`, in milliseconds.
    Delays(Vec<u64>),
    /// Of `Hours`, of the day.
    Hours(Vec<u8>),
}

/// Why a text is not a value; the text says what would be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Not of the type.
    Type(String),
    /// Of the type, but not in its range.
    Range(String),
}

impl Value {
    /// Reads a value of this kind.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::Type(expected(kind));
        match kind {
            Kind::Text => Ok(Self::Text(text.to_owned())),
            Kind::Name => parse_name(text).map(Self::Text),
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Self::Boolean(true)),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Self::Boolean(false)),
            Kind::Boolean => Err(wrong()),
            Kind::Integer { .. } => parse_integer(kind, text).map(Self::Integer),
            Kind::Choice(words) if words.contains(&text) => Ok(Self::Text(text.to_owned())),
            Kind::Choice(_) => Err(wrong()),
            Kind::Address => text.parse().map(Self::Address).map_err(|_| wrong()),
            Kind::Endpoints => parse_endpoints(text).map(Self::Endpoints),
            // A shell would have replaced the tilde; here it would become a directory's name.
            Kind::Path if text.is_empty() || text.starts_with('~') || text.contains('\0') => {
                Err(wrong())
            }
            Kind::Path => Ok(Self::Path(PathBuf::from(text))),
            Kind::Delays => parse_delays(text).map(Self::Delays),
            Kind::Hours => parse_hours(text).map(Self::Hours).ok_or_else(wrong),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Boolean(yes) => write!(out, "{yes}"),
            Self::Integer(number) => write!(out, "{number}"),
            Self::Address(address) => write!(out, "{address}"),
            Self::Path(path) => write!(out, "{}", path.display()),
            Self::Endpoints(endpoints) => {
                let texts: Vec<_> = endpoints.iter().map(Endpoint::to_string).collect();
                out.write_str(&texts.join(";"))
            }
            Self::Delays(delays_ms) => {
                let texts: Vec<_> = delays_ms.iter().map(|ms| delay_text(*ms)).collect();
                out.write_str(&texts.join(" "))
            }
            Self::Hours(hours) => {
                let texts: Vec<_> = hours.iter().map(|hour| format!("{hour:02}")).collect();
                out.write_str(&texts.join(";"))
            }
        }
    }
}

/// What a value of this kind looks like, for an error and for the reference.
pub fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Name => {
            format!("1 to {NAME_BYTES_MAX} of the letters, digits and . _ - % |")
        }
        Kind::Boolean => "true or false".to_owned(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Address => "an IP address such as 192.0.2.1".to_owned(),
        Kind::Endpoints => {
            format!("at most {NAME_SERVERS_MAX} host:port joined by ;")
        }
        Kind::Path => "a path; ~ is not replaced".to_owned(),
        Kind::Delays => {
            format!("1 to {DELAY_LEVELS_MAX} delays such as 30s 5m 2h 1d joined by blanks")
        }
        Kind::Hours => "hours of the day from 0 to 23 joined by ;".to_owned(),
        Kind::Integer { min, max, step, unit } => {
            let unit = match unit {
                Unit::None => "",
                Unit::Bytes => " bytes",
                Unit::Microseconds => " µs",
                Unit::Milliseconds => " ms",
                Unit::Seconds => " s",
                Unit::Hours => " h",
                Unit::Percent => " %",
            };
            let step = match step {
                Step::One => String::new(),
                Step::Of(step) => format!(" in steps of {step}"),
                Step::PowerOfTwo => ", a power of two".to_owned(),
            };
            match (min, max) {
                (i64::MIN, i64::MAX) => format!("a whole number{unit}"),
                _ => format!("a whole number from {min} to {max}{unit}{step}"),
            }
        }
    }
}

/// The characters of `TopicValidator`, because the name becomes a topic, and the dot of hosts.
/// Nothing that is a path can be written with them: there is no separator, and `..` is refused.
fn parse_name(text: &str) -> Result<String, Wrong> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-%|".contains(&byte);
    if text.is_empty() || text.bytes().all(|byte| byte == b'.') || !text.bytes().all(allowed) {
        return Err(Wrong::Type(expected(Kind::Name)));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(Wrong::Range(expected(Kind::Name)));
    }
    Ok(text.to_owned())
}

fn parse_integer(kind: Kind, text: &str) -> Result<i64, Wrong> {
    let Kind::Integer { min, max, step, .. } = kind else {
        unreachable!("only called for integers")
    };
    // Wider than any range, so that a number with too many digits is out of range, not no number.
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::Type(expected(kind)));
    }
    let is_step = |number: i64| match step {
        Step::One => true,
        Step::Of(step) => number % step == 0,
        Step::PowerOfTwo => number.count_ones() == 1,
    };
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) && is_step(number) => Ok(number),
        _ => Err(Wrong::Range(expected(kind))),
    }
}

fn parse_endpoints(text: &str) -> Result<Vec<Endpoint>, Wrong> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    let endpoints: Option<Vec<_>> = parts.map(parse_endpoint).collect();
    let endpoints = endpoints.ok_or_else(|| Wrong::Type(expected(Kind::Endpoints)))?;
    if endpoints.len() > NAME_SERVERS_MAX {
        return Err(Wrong::Range(expected(Kind::Endpoints)));
    }
    Ok(endpoints)
}

fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().ok().map(|_| address)?,
        None => Some(host).filter(|host| is_host_name(host))?,
    };
    Some(Endpoint { host: host.to_owned(), port })
}

fn is_host_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !text.is_empty() && text.len() <= 253 && text.bytes().all(allowed)
}

/// `ScheduleMessageService.parseDelayLevel`, without its silence about levels it cannot read.
fn parse_delays(text: &str) -> Result<Vec<u64>, Wrong> {
    let delays: Option<Vec<u64>> = text.split_whitespace().map(parse_delay).collect();
    match delays {
        None => Err(Wrong::Type(expected(Kind::Delays))),
        Some(delays) if delays.is_empty() || delays.len() > DELAY_LEVELS_MAX => {
            Err(Wrong::Range(expected(Kind::Delays)))
        }
        Some(delays) => Ok(delays),
    }
}

/// `UtilAll.isItTimeToDo`, without its silence about what is no hour.
fn parse_hours(text: &str) -> Option<Vec<u8>> {
    let hour = |part: &str| part.trim().parse().ok().filter(|hour: &u8| *hour < 24);
    text.split(';').filter(|part| !part.trim().is_empty()).map(hour).collect()
}

const DELAY_UNITS_MS: [(char, u64); 4] =
    [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1000)];

fn parse_delay(text: &str) -> Option<u64> {
    let (_, unit_ms) = *DELAY_UNITS_MS.iter().find(|(unit, _)| text.ends_with(*unit))?;
    let number: u32 = text.get(..text.len() - 1)?.parse().ok()?;
    Some(u64::from(number) * unit_ms)
}

fn delay_text(delay_ms: u64) -> String {
    let fits = DELAY_UNITS_MS.iter().find(|(_, unit_ms)| delay_ms.is_multiple_of(*unit_ms));
    let (unit, unit_ms) = fits.copied().unwrap_or(('s', 1000));
    format!("{}{unit}", delay_ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Kind = Kind::Integer { min: 0, max: 65_535, step: Step::One, unit: Unit::None };
    const PAGES: Kind =
        Kind::Integer { min: 4096, max: 1 << 40, step: Step::Of(4096), unit: Unit::Bytes };

    #[track_caller]
    fn check(kind: Kind, text: &str, expect: &str) {
        let found = match Value::parse(kind, text) {
            Ok(value) => value.to_string(),
            Err(Wrong::Type(_)) => "wrong type".to_owned(),
            Err(Wrong::Range(_)) => "out of range".to_owned(),
        };
        assert_eq!(found, expect, "{kind:?} {text:?}");
    }

    #[test]
    fn hours() {
        check(Kind::Hours, "04", "04");
        check(Kind::Hours, "4; 16;", "04;16");
        check(Kind::Hours, "", "");
        check(Kind::Hours, "24", "wrong type");
        check(Kind::Hours, "4,5", "wrong type");
    }

    #[test]
    fn numbers() {
        check(PORT, "0", "0");
        check(PORT, "+65535", "65535");
        check(PORT, "65536", "out of range");
        check(PORT, "-1", "out of range");
        check(PORT, "99999999999999999999999", "out of range");
        for text in ["", "+", "1k", "0x10", "1.5", "1 0"] {
            check(PORT, text, "wrong type");
        }
        check(PAGES, "8192", "8192");
        check(PAGES, "8193", "out of range");
        let power = Kind::Integer { min: 2, max: 9, step: Step::PowerOfTwo, unit: Unit::None };
        check(power, "8", "8");
        check(power, "6", "out of range");
        check(power, "16", "out of range");
    }

    #[test]
    fn booleans_as_java_but_nothing_silently_false() {
        check(Kind::Boolean, "TRUE", "true");
        check(Kind::Boolean, "false", "false");
        for text in ["", "yes", "1", "ture"] {
            check(Kind::Boolean, text, "wrong type");
        }
    }

    #[test]
    fn names_cannot_become_paths() {
        check(Kind::Name, "broker-a.example_1%|", "broker-a.example_1%|");
        for text in ["", "..", "a/b", "a b", "é", "a\0"] {
            check(Kind::Name, text, "wrong type");
        }
        check(Kind::Name, &"x".repeat(127), &"x".repeat(127));
        check(Kind::Name, &"x".repeat(128), "out of range");
    }

    #[test]
    fn addresses_and_endpoints() {
        check(Kind::Address, "10.0.0.1", "10.0.0.1");
        check(Kind::Address, "::1", "::1");
        check(Kind::Address, "localhost", "wrong type");
        check(Kind::Endpoints, "", "");
        check(Kind::Endpoints, "a:1; 10.0.0.1:2;[::1]:3;", "a:1;10.0.0.1:2;[::1]:3");
        for text in ["a", "a:", ":1", "a:0", "a:65536", "a b:1", "[a]:1", "::1:9876", "http://a:1"]
        {
            check(Kind::Endpoints, text, "wrong type");
        }
        check(Kind::Endpoints, &"a:1;".repeat(17), "out of range");
    }

    #[test]
    fn choices_paths_and_delays() {
        check(Kind::Choice(&["A", "B"]), "A", "A");
        check(Kind::Choice(&["A", "B"]), "a", "wrong type");
        check(Kind::Path, "/store", "/store");
        check(Kind::Path, "~/store", "wrong type");
        check(Kind::Path, "", "wrong type");
        check(Kind::Delays, "1s  90s 5m 2h 48h", "1s 90s 5m 2h 2d");
        check(Kind::Delays, "0s", "0d");
        for text in ["1", "s", "1x", "-1s", "1s,2s", "é"] {
            check(Kind::Delays, text, "wrong type");
        }
        check(Kind::Delays, "", "out of range");
        check(Kind::Delays, &"1s ".repeat(65), "out of range");
    }
}
