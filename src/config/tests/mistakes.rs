//! Each mistake in each type of key: unknown, twice there, of the wrong type, out of range; in a
//! file and, where there is a flag, on the command line.

use proptest::prelude::*;

use super::*;

/// A key of some type, and what it does not take.
struct Row {
    key: &'static str,
    misspelt: &'static str,
    good: &'static str,
    expected: &'static str,
    /// Values of another type.
    of_other_type: &'static [&'static str],
    /// Values beyond either end; the second text is what is expected, where it differs.
    out_of_range: &'static [&'static str],
}

const ROWS: &[Row] = &[
    // A boolean has no range.
    Row {
        key: "traceOn",
        misspelt: "traceon",
        good: "FALSE",
        expected: "true or false",
        of_other_type: &["", "yes", "1", "ture", "true false"],
        out_of_range: &[],
    },
    // A number.
    Row {
        key: "defaultTopicQueueNums",
        misspelt: "defaultTopicQueueNum",
        good: "16",
        expected: "a whole number from 1 to 1024",
        of_other_type: &["", "many", "8.0", "0x8", "8q"],
        out_of_range: &["0", "-1", "1025", "99999999999999999999"],
    },
    // A port.
    Row {
        key: "listenPort",
        misspelt: "listen.port",
        good: "10921",
        expected: "a whole number from 0 to 65535",
        of_other_type: &["", ":10911", "127.0.0.1:10911"],
        out_of_range: &["-1", "65536"],
    },
    // Bytes, in steps.
    Row {
        key: "mappedFileSizeCommitLog",
        misspelt: "mapedFileSizeCommitLog",
        good: "67108864",
        expected: "a whole number from 16777216 to 2147483648 bytes in steps of 1048576",
        of_other_type: &["64M", "1GiB", "1024 * 1024", ""],
        out_of_range: &["0", "15728640", "67108865", "2148532224"],
    },
    // Bytes, a power of two.
    Row {
        key: "ringmqWriteBufferBytes",
        misspelt: "ringmqWriteBufferByte",
        good: "33554432",
        expected: "a whole number from 16777216 to 68719476736 bytes, a power of two",
        of_other_type: &["64M"],
        out_of_range: &["8388608", "50331648", "137438953472"],
    },
    // A duration in milliseconds.
    Row {
        key: "flushIntervalCommitLog",
        misspelt: "flushIntervalCommitlogs",
        good: "200",
        expected: "a whole number from 1 to 60000 ms",
        of_other_type: &["500ms", "0.5", ""],
        out_of_range: &["0", "-500", "60001"],
    },
    // In microseconds.
    Row {
        key: "ringmqSpinMicros",
        misspelt: "ringmqSpinMicro",
        good: "50",
        expected: "a whole number from 0 to 1000 µs",
        of_other_type: &["50µs", "0.5"],
        out_of_range: &["-1", "1001"],
    },
    // In seconds.
    Row {
        key: "serverChannelMaxIdleTimeSeconds",
        misspelt: "serverChannelMaxIdleTimeSecond",
        good: "60",
        expected: "a whole number from 1 to 86400 s",
        of_other_type: &["2m"],
        out_of_range: &["0", "86401"],
    },
    // In hours.
    Row {
        key: "fileReservedTime",
        misspelt: "fileReserveTime",
        good: "48",
        expected: "a whole number from 1 to 1000000 h",
        of_other_type: &["3d"],
        out_of_range: &["0", "1000001"],
    },
    // A part of a hundred.
    Row {
        key: "diskMaxUsedSpaceRatio",
        misspelt: "diskMaxUsedSpaceRation",
        good: "60",
        expected: "a whole number from 10 to 95 %",
        of_other_type: &["0.75", "75%"],
        out_of_range: &["9", "96"],
    },
    // A name.
    Row {
        key: "brokerName",
        misspelt: "brokername_",
        good: "broker-a",
        expected: "1 to 127 of the letters, digits and . _ - % |",
        of_other_type: &["", "a b", "../a", "größe"],
        out_of_range: &[LONG_NAME],
    },
    // An address.
    Row {
        key: "brokerIP1",
        misspelt: "brokerIp",
        good: "127.0.0.1",
        expected: "an IP address such as 192.0.2.1",
        of_other_type: &["", "localhost", "10.0.0.256", "10.0.0.1:10911"],
        out_of_range: &[],
    },
    // A list of addresses with ports.
    Row {
        key: "namesrvAddr",
        misspelt: "nameSrvAddrs",
        good: "ns-1:9876;192.0.2.2:9876",
        expected: "at most 16 host:port joined by ;",
        of_other_type: &["ns-1", "ns-1:0", "ns-1:70000", "ns-1:9876,ns-2:9876", "http://ns:80"],
        out_of_range: &["a:1;a:2;a:3;a:4;a:5;a:6;a:7;a:8;a:9;b:1;b:2;b:3;b:4;b:5;b:6;b:7;b:8"],
    },
    // A list of delays.
    Row {
        key: "messageDelayLevel",
        misspelt: "messageDelayLevels",
        good: "1s 5s 1m",
        expected: "1 to 64 delays such as 30s 5m 2h 1d joined by blanks",
        of_other_type: &["1s,5s", "5 m", "5x", "-1s"],
        out_of_range: &[""],
    },
    // A list of hours.
    Row {
        key: "deleteWhen",
        misspelt: "deletewhen1",
        good: "04;16",
        expected: "hours of the day from 0 to 23 joined by ;",
        of_other_type: &["4am", "04,16", "24", "-1"],
        out_of_range: &[],
    },
    // One of some words.
    Row {
        key: "flushDiskType",
        misspelt: "flushDisktyp",
        good: "ASYNC_FLUSH",
        expected: "one of SYNC_FLUSH, ASYNC_FLUSH",
        of_other_type: &["", "async", "async_flush", "SYNC"],
        out_of_range: &[],
    },
    // A path.
    Row {
        key: "storePathRootDir",
        misspelt: "storePathRootdirs",
        good: "/data/store",
        expected: "a path; ~ is not replaced",
        of_other_type: &["", "~/store"],
        out_of_range: &[],
    },
    // Keys without effect and promises are looked at as strictly.
    Row {
        key: "brokerFastFailureEnable",
        misspelt: "brokerFastFailEnable",
        good: "false",
        expected: "true or false",
        of_other_type: &["on"],
        out_of_range: &[],
    },
    Row {
        key: "sendMessageThreadPoolNums",
        misspelt: "sendMessageThreadPoolNum",
        good: "64",
        expected: "a whole number",
        of_other_type: &["many", "", "4.5"],
        out_of_range: &["9223372036854775808"],
    },
    Row {
        key: "aclEnable",
        misspelt: "aclEnabled",
        good: "false",
        expected: "true or false",
        of_other_type: &["0", ""],
        out_of_range: &[],
    },
];

/// 128 bytes.
const LONG_NAME: &str = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\
                         nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
const _: () = assert!(LONG_NAME.len() == limits::NAME_BYTES_MAX + 1);

/// What `ringmq broker` says of a file.
fn told(text: &str) -> Vec<String> {
    let found = broker(&Invocation::plain(Program::Broker), Some(text), &host());
    found.map_or_else(|errors| errors.iter().map(ConfigError::to_string).collect(), |_| Vec::new())
}

fn shown(value: &str) -> String {
    keys::shown("", value)
}

#[test]
fn every_type_of_key_is_here() {
    let kind = |name: &str| keys::find(Program::Broker, name).expect("a key").kind;
    let tested: Vec<_> = ROWS.iter().map(|row| std::mem::discriminant(&kind(row.key))).collect();
    for key in keys::of(Program::Broker).iter().filter(|key| key.class == keys::Class::Honoured) {
        // Any text is a value of the one key of that type; what it may be is judged as a whole.
        let is_tested = tested.contains(&std::mem::discriminant(&key.kind));
        assert!(is_tested || key.kind == keys::Kind::Text, "{}", key.name);
    }
}

#[test]
fn good_values_are_taken() {
    for Row { key, good, .. } in ROWS {
        assert_eq!(told(&format!("\n{key} = {good}")), [""; 0], "{key}");
    }
}

#[test]
fn a_misspelt_key_refuses_and_names_the_one_meant() {
    for Row { key, misspelt, good, .. } in ROWS {
        let expect = format!("broker.conf:2: {misspelt} is not a key; did you mean {key}?");
        assert_eq!(told(&format!("\n{misspelt} = {good}")), [expect]);
    }
}

#[test]
fn a_key_twice_refuses_even_with_one_value() {
    for Row { key, good, .. } in ROWS {
        let expect =
            format!("broker.conf:3: {key} is set already at broker.conf:1: remove one of the two");
        assert_eq!(told(&format!("{key} = {good}\n\n{key} = {good}")), [expect]);
    }
}

#[test]
fn a_value_of_another_type_or_beyond_the_range_refuses_and_names_what_is_expected() {
    for row in ROWS {
        for value in row.of_other_type.iter().chain(row.out_of_range) {
            let Row { key, expected, .. } = row;
            let value = shown(value);
            let expect = format!("{key} = {value}: expected {expected}");
            let (line, found) = (format!("broker.conf:2: {expect}"), format!("\n{key} = {value}"));
            // What is cut in the message is whole in the file.
            let whole = row.out_of_range.iter().find(|whole| shown(whole) == value);
            let text = whole.map_or(found, |whole| format!("\n{key} = {whole}"));
            assert_eq!(told(&text), [line]);
        }
    }
}

#[test]
fn the_kind_of_mistake_can_be_told_apart() {
    let error = |row: &Row, value: &str| {
        let text = format!("{} = {value}", row.key);
        let found = broker(&Invocation::plain(Program::Broker), Some(&text), &host());
        found.expect_err("a mistake").remove(0)
    };
    for row in ROWS {
        for value in row.of_other_type {
            let error = error(row, value);
            assert!(matches!(error, ConfigError::WrongType { .. }), "{error}");
        }
        for value in row.out_of_range {
            let error = error(row, value);
            assert!(matches!(error, ConfigError::OutOfRange { .. }), "{error}");
        }
    }
}

#[test]
fn every_promise_that_is_not_kept_refuses_and_its_default_does_not() {
    for program in [Program::Server, Program::Namesrv] {
        let told = |text: String| -> Vec<ConfigError> {
            let file = Some((Path::new("it.conf"), text.as_bytes()));
            resolve(&Invocation::plain(program), file, &host()).err().unwrap_or_default()
        };
        for key in keys::of(program) {
            let keys::Class::Promise(reason) = key.class else { continue };
            let keys::Fallback::Fixed(default) = key.default else { panic!("{}", key.name) };
            assert_eq!(told(format!("{} = {default}", key.name)), [], "{}", key.name);
            let other = match key.kind {
                keys::Kind::Boolean if default == "true" => "false",
                keys::Kind::Boolean => "true",
                _ => "7",
            };
            match told(format!("{} = {other}", key.name)).as_slice() {
                [ConfigError::NotThere { key: found, expected, reason: told, .. }] => {
                    assert_eq!((*found, expected.as_str(), *told), (key.name, default, reason));
                }
                others => panic!("{}: {others:?}", key.name),
            }
        }
    }
}

#[test]
fn a_secret_is_in_no_message() {
    let secret = "tls.server.keyPassword = hunter2\ninitAuthenticationUser = hunter2\n";
    let told = told(secret).join("\n");
    assert!(told.contains("tls.server.keyPassword = (not shown): TLS is not there yet"), "{told}");
    assert!(!told.contains("hunter2"));
    let header = "metricsGrpcExporterHeader = token:hunter2\nnamesrvAddr=localhost:1";
    let config = broker(&Invocation::plain(Program::Broker), Some(header), &host()).unwrap();
    let shown = config.effective.iter().map(Effective::to_string);
    let all: Vec<String> = shown.chain(config.notices.iter().map(Notice::to_string)).collect();
    assert!(all.iter().any(|line| line.contains("(not shown)")));
    assert!(!all.iter().any(|line| line.contains("hunter2")));
}

proptest! {
    #[test]
    fn whatever_a_file_sets_is_taken_or_told_and_never_ends_the_program(
        picked in prop::collection::vec((any::<prop::sample::Index>(), "[ -~]{0,12}"), 0..30),
    ) {
        for program in [Program::Server, Program::Broker, Program::Namesrv] {
            let names = keys::of(Program::Server);
            let lines = picked.iter().map(|(index, value)| {
                // Half of the values are good ones, so that files get as far as being resolved.
                let key = index.get(names);
                match key.default {
                    keys::Fallback::Fixed(default) if value.len() % 2 == 0 => {
                        format!("{}={default}\n", key.name)
                    }
                    _ => format!("{}={value}\n", key.name),
                }
            });
            let text: String = lines.collect();
            let file = Some((Path::new("it.conf"), text.as_bytes()));
            if let Err(errors) = resolve(&Invocation::plain(program), file, &host()) {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(error.to_string().starts_with("it.conf:"), "{}", error);
                }
            }
        }
    }
}

#[test]
fn a_flag_is_judged_by_the_same_rule() {
    for (flag, key) in [
        ("-n", "namesrvAddr"),
        ("--store", "storePathRootDir"),
        ("--advertise", "brokerIP1"),
        ("--broker-port", "listenPort"),
    ] {
        let row = ROWS.iter().find(|row| row.key == key).expect("a row");
        for value in row.of_other_type.iter().chain(row.out_of_range) {
            let flags = with_flags(Program::Broker, &[(flag, key, value)]);
            let errors = broker(&flags, None, &host()).expect_err("a mistake");
            let found: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
            let expected = row.expected;
            assert_eq!(found, [format!("{flag}: {key} = {}: expected {expected}", shown(value))]);
        }
    }
}

#[test]
fn so_many_mistakes_are_told_and_no_more() {
    let text: String = (0..1000).map(|number| format!("unheardOf{number}=1\n")).collect();
    let told = told(&text);
    assert_eq!(told.len(), limits::MISTAKES_MAX + 1);
    let last = told.last().expect("mistakes");
    assert_eq!(last, "broker.conf:101: reading stops here, after 100 mistakes");
}
