//! What fastjson 1.2.83 accepts and writes; the expectations were taken from its answers.

use proptest::prelude::*;

use super::*;

/// Writes a document again, so that expectations read as text. Numbers that do not fit an integer
/// come out as written.
fn rewrite(value: &Value<'_>) -> String {
    let joined = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => (*number).to_owned(),
        Value::Text(text) => {
            let mut out = Vec::new();
            Writer::new(&mut out, Style::Plain).text(text);
            String::from_utf8(out).unwrap()
        }
        Value::Array(items) => format!("[{}]", joined(items.iter().map(rewrite).collect())),
        Value::Object(object) => {
            let entry = |(key, value): &(Key<'_>, Value<'_>)| {
                let key = match key {
                    Key::Text(text) => rewrite(&Value::Text(text.clone())),
                    Key::Value(value) => rewrite(value),
                };
                format!("{key}:{}", rewrite(value))
            };
            format!("{{{}}}", joined(object.entries.iter().map(entry).collect()))
        }
    }
}

fn check(input: &str, expect: &str) {
    let found = parse(input.as_bytes()).map_or_else(|error| error.to_string(), |v| rewrite(&v));
    assert_eq!(found, expect, "{input}");
}

#[test]
fn values() {
    check("{}", "{}");
    check(" [ ] ", "[]");
    check("5", "5");
    check("[true,false,null,undefined,NaN]", "[true,false,null,null,null]");
    check("[01,-0,-7,9223372036854775807]", "[1,0,-7,9223372036854775807]");
    check(
        "[9223372036854775808,1.50,-2e5,1E+5,1.5e-3]",
        "[9223372036854775808,1.50,-2e5,1E+5,1.5e-3]",
    );
    check("[\x0c\x08\t\r\n1]", "[1]");
}

#[test]
fn keys() {
    check(r#"{"a" : 1}"#, r#"{"a":1}"#);
    check("{a:1,$b_9:2,标:3,null:4}", r#"{"a":1,"$b_9":2,"标":3,"null":4}"#);
    check("{'a':'b'}", r#"{"a":"b"}"#);
    check(
        "{0:1,-1:2,99999999999999999999:3,1.5:4}",
        r#"{"0":1,"-1":2,"99999999999999999999":3,"1.5":4}"#,
    );
    check(r#"{{"b":1} : 2,[1]:3,{{}:1}:4}"#, r#"{{"b":1}:2,[1]:3,{{}:1}:4}"#);
    check(r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#);
}

#[test]
fn commas_and_comments() {
    check("[,]", "[]");
    check("[,,1,,2,,]", "[1,2]");
    check(r#"{,"a":1,,"b":2,,}"#, r#"{"a":1,"b":2}"#);
    check("/*x*/{/**/\"a\"/*y*/:/*z**/1//w\n}// end", r#"{"a":1}"#);
    check("//", "expected a value at byte 2");
    check("[1/* ]", "expected a whole comment at byte 2");
    check("[1/]", "expected a whole comment at byte 2");
}

#[test]
fn strings() {
    check(r#"["it's",'x"y']"#, r#"["it's","x\"y"]"#);
    check("[\"a\tb\"]", r#"["a\tb"]"#);
    check(
        r#"["\u0041\x42\101\0\7\v\F\f\/\b\n\r\t\\\"\'"]"#,
        r#"["AB\u000101\u0000\u0007\u000B\f\f/\b\n\r\t\\\"'"]"#,
    );
    check(r#"["\ud83d\ude00"]"#, r#"["😀"]"#);
    check(r#"["\ud83d","\ud83dx","\ud83d\u0041","\ude00"]"#, r#"["?","?x","?A","?"]"#);
    check(r#"["\q"]"#, "expected an escape at byte 3");
    check(r#"["\u12"]"#, "expected a hexadecimal digit at byte 6");
    check(r#"["a"#, "expected the string's closing quote at byte 3");
    check(r#"["a\"#, "expected an escape at byte 4");
}

#[test]
fn refusals() {
    check("", "expected a value at byte 0");
    check("nul", "expected a value at byte 0");
    check("[TRUE]", "expected a value at byte 1");
    check("[-]", "expected a digit at byte 2");
    check("[.5]", "expected a value at byte 1");
    check("[1e]", "expected a digit at byte 3");
    check("[1", "expected ',' or ']' at byte 2");
    check("{a-b:1}", "expected ':' after a key at byte 2");
    check(r#"{"a"}"#, "expected ':' after a key at byte 4");
    check(r#"{"a":}"#, "expected a value at byte 5");
    check("{:1}", "expected a key at byte 1");
    check(r#"{"a":1 "b":2}"#, "expected ',' or '}' at byte 7");
    check(r#"{"a":1}}"#, "expected the end at byte 7");
    let latin1 = parse(b"[\"\xe9\"]").unwrap_err();
    assert_eq!(latin1, Error { position: 2, problem: Problem::NotUtf8 });
}

#[test]
fn bounds() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
    let deep = parse(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(deep, Error { position: DEPTH_MAX, problem: Problem::TooDeep });

    // Objects as keys count as depth too, and what is closed no longer does.
    let keys = "{".repeat(DEPTH_MAX + 1);
    assert_eq!(parse(keys.as_bytes()).unwrap_err().problem, Problem::TooDeep);
    let siblings = format!("[{}]", "[[]],".repeat(1000));
    assert!(parse(siblings.as_bytes()).is_ok());

    let many = |values: usize| format!("[{}]", "0,".repeat(values - 1));
    assert!(parse(many(VALUES_MAX).as_bytes()).is_ok());
    let too_many = parse(many(VALUES_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(too_many.problem, Problem::TooManyValues { max: VALUES_MAX });
    assert!(parse_up_to(VALUES_MAX + 1, many(VALUES_MAX + 1).as_bytes()).is_ok());
}

/// Comments and white space must not recurse or rescan.
#[test]
fn long_blanks_are_linear() {
    check(&("/**/ \n".repeat(200_000) + "1"), "1");
    check(&("[".to_owned() + &",".repeat(1_000_000) + "]"), "[]");
}

#[test]
fn fields_are_found_as_fastjson_finds_them() {
    let value = parse(br#"{"client_id":1,"isOrder":2,"TOPIC":3,"topic":4,"a":5,"a":6}"#).unwrap();
    let object = value.as_object().unwrap();
    let field = |name| object.field(name).map(rewrite);
    assert_eq!(field("clientID"), Some("1".to_owned()));
    assert_eq!(field("order"), Some("2".to_owned()));
    assert_eq!(field("topic"), Some("4".to_owned()));
    assert_eq!(field("a"), Some("6".to_owned()));
    assert_eq!(field("b"), None);
    assert_eq!(object.get("clientID"), None);
}

/// All of `{text: text}` for the text `a/CbC` and both styles, spelt for the characters that
/// matter.
#[test]
fn escapes() {
    let check = |c: char, plain: &str, browser: &str| {
        for (style, expect) in [(Style::Plain, plain), (Style::BrowserCompatible, browser)] {
            let mut out = Vec::new();
            Writer::new(&mut out, style).text(&format!("a{c}b{c}"));
            let expect = format!("\"a{expect}b{expect}\"");
            assert_eq!(String::from_utf8(out).unwrap(), expect, "{c:?} {style:?}");
        }
    };
    check('x', "x", "x");
    check('/', "/", "\\/");
    check('"', "\\\"", "\\\"");
    check('\\', "\\\\", "\\\\");
    check('\'', "'", "'");
    check('<', "<", "<");
    check('\0', "\\u0000", "\\u0000");
    check('\u{1}', "\\u0001", "\\u0001");
    check('\u{8}', "\\b", "\\b");
    check('\t', "\\t", "\\t");
    check('\n', "\\n", "\\n");
    check('\u{b}', "\\u000B", "\\u000B");
    check('\u{c}', "\\f", "\\f");
    check('\r', "\\r", "\\r");
    check('\u{1f}', "\\u001F", "\\u001F");
    check('~', "~", "~");
    check('\u{7f}', "\\u007F", "\\u007F");
    check('\u{9f}', "\\u009F", "\\u009F");
    check('\u{a0}', "\u{a0}", "\\u00A0");
    check('é', "é", "\\u00E9");
    check('标', "标", "\\u6807");
    check('\u{2028}', "\\u2028", "\\u2028");
    check('\u{2029}', "\\u2029", "\\u2029");
    check('😀', "😀", "\\uD83D\\uDE00");
}

#[test]
fn numbers_are_javas() {
    let check = |value: f64, expect: &str| {
        let mut out = Vec::new();
        Writer::new(&mut out, Style::Plain).double(value);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    };
    check(0.0, "0.0");
    check(-0.0, "-0.0");
    check(1.0, "1.0");
    check(0.1, "0.1");
    check(100.0, "100.0");
    check(1e-3, "0.001");
    check(9.99e-4, "9.99E-4");
    check(3e-5, "3.0E-5");
    check(9_999_999.999, "9999999.999");
    check(1e7, "1.0E7");
    check(123_456_789.125, "1.23456789125E8");
    check(-1e21, "-1.0E21");
    check(f64::MAX, "1.7976931348623157E308");
    check(f64::NAN, "null");
    check(f64::NEG_INFINITY, "null");
}

/// Only the last byte decides about commas, whatever stood in the buffer before.
#[test]
fn structure() {
    for style in [Style::Plain, Style::BrowserCompatible] {
        let mut out = b"before[".to_vec();
        let mut writer = Writer::new(&mut out, style);
        writer.open_object();
        writer.key("a");
        writer.open_array();
        writer.text("{");
        writer.text("");
        writer.integer(i64::MIN);
        writer.integer((1 << 53) - 1);
        writer.open_array();
        writer.close_array();
        writer.null();
        writer.close_array();
        writer.integer_key(-1);
        writer.boolean(true);
        writer.key("c");
        writer.open_object();
        writer.close_object();
        writer.close_object();
        let (least, key) = match style {
            Style::Plain => ("-9223372036854775808", "-1"),
            Style::BrowserCompatible => (r#""-9223372036854775808""#, r#""-1""#),
        };
        let array = format!(r#"["{{","",{least},9007199254740991,[],null]"#);
        let expect = format!(r#"before[{{"a":{array},{key}:true,"c":{{}}}}"#);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }
}

proptest! {
    #[test]
    fn any_text_survives(text in any::<String>()) {
        for style in [Style::Plain, Style::BrowserCompatible] {
            let mut out = Vec::new();
            Writer::new(&mut out, style).text(&text);
            prop_assert_eq!(parse(&out), Ok(Value::Text(text.as_str().into())));
        }
    }

    #[test]
    fn any_finite_double_survives(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let mut out = Vec::new();
        Writer::new(&mut out, Style::Plain).double(value);
        let text = std::str::from_utf8(&out).unwrap();
        prop_assert_eq!(text.parse::<f64>(), Ok(value), "{}", text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = parse(&bytes) {
            prop_assert!(error.position <= bytes.len());
        }
    }

    /// What is read and written again reads the same.
    #[test]
    fn reading_is_stable(
        text in r#"([\[\]{},:]|"[a\\nu0]{0,4}"|'[b"]{0,2}'|[0-9]{1,3}|true|/\*x?\*/|k){0,40}"#,
    ) {
        if let Ok(value) = parse(text.as_bytes()) {
            let again = rewrite(&value);
            prop_assert_eq!(rewrite(&parse(again.as_bytes()).unwrap()), again);
        }
    }
}
