//! Text of HTML that is also well-formed XML, with everything escaped.

use serde_json::Value;

/// Head of a page: no script can run in it, and nothing is loaded.
const HEAD: &str = "<meta charset=\"utf-8\"/>\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
    <meta name=\"color-scheme\" content=\"light dark\"/>\n";

/// A text in which no character means anything to HTML or XML; those that XML forbids become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            _ if character.is_control() => out.push('\u{FFFD}'),
            _ => out.push(character),
        }
    }
    out
}

/// A whole page; `body` is HTML already.
pub fn page(title: &str, body: &str) -> String {
    let style = include_str!("style.css");
    let title = escape(title);
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n{HEAD}<title>{title}</title>\n<style>\n{style}</style>\n\
         </head>\n<body>\n{body}<footer>ringmq-bench {version}. Every number has its place in the JSON \
         beside this page as its <code>data-json</code>.</footer>\n</body>\n</html>\n"
    )
}

/// How a number is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// As it is, with a comma every three digits.
    Count,
    /// From µs, in ms.
    Ms,
    /// From bytes, in MiB.
    Mib,
    /// From bytes a second, in MB/s.
    MbPerSecond,
    /// Three decimals.
    Thousandths,
    /// From a share, in percent.
    Percent,
}

impl Unit {
    /// The number as people read it.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Count => with_commas(value, 0),
            Unit::Ms => with_commas(value / 1000.0, 3),
            Unit::Mib => with_commas(value / f64::from(1 << 20), 0),
            Unit::MbPerSecond => with_commas(value / 1e6, 1),
            Unit::Thousandths => with_commas(value, 3),
            Unit::Percent => with_commas(value * 100.0, 0),
        }
    }

    /// What stands behind it, with a comma and a blank before, or nothing.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Count | Unit::Thousandths => "",
            Unit::Ms => ", ms",
            Unit::Mib => ", MiB",
            Unit::MbPerSecond => ", MB/s",
            Unit::Percent => ", %",
        }
    }
}

fn with_commas(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let mut out = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// The number at a place of the JSON, with the place; `None` if there is none.
pub fn number(json: &Value, pointer: &str, unit: Unit) -> Option<String> {
    let value = json.pointer(pointer)?.as_f64()?;
    let (pointer, text) = (escape(pointer), unit.show(value));
    Some(format!("<data value=\"{value}\" data-json=\"{pointer}\">{text}</data>"))
}

/// A table of two columns; `value` is HTML already.
pub fn pairs<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut out = "<div class=\"wide\"><table>\n".to_owned();
    for (name, value) in rows {
        out += &format!("<tr><th scope=\"row\">{}</th><td>{value}</td></tr>\n", escape(name));
    }
    out + "</table></div>\n"
}

/// Names and values of an object, those of inner objects behind theirs, as text.
pub fn flatten(value: &Value) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    flatten_into("", value, &mut rows);
    rows
}

fn flatten_into(name: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            let name = if name.is_empty() { key.clone() } else { format!("{name} {key}") };
            flatten_into(&name, value, rows);
        }),
        Value::Null => {}
        Value::String(text) => rows.push((name.to_owned(), text.clone())),
        other => rows.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::wellformed;

    #[test]
    fn nothing_that_is_printed_means_anything() {
        let nasty = "<script>alert('\"&')</script>\u{1}\u{1F}]]>";
        let out = page(nasty, &format!("<p title=\"{}\">x</p>", escape(nasty)));
        let elements = wellformed::check(&out).expect("well-formed");
        assert!(!elements.iter().any(|element| element.name == "script"));
        assert!(!out.contains("<script"));
    }

    #[test]
    fn numbers_are_as_people_read_them() {
        let show = |unit: Unit, value: f64| unit.show(value);
        assert_eq!(show(Unit::Count, 1_234_567.4), "1,234,567");
        assert_eq!(show(Unit::Count, 12.0), "12");
        assert_eq!(show(Unit::Ms, 1_234_567.8), "1,234.568");
        assert_eq!(show(Unit::Ms, 0.5), "0.001");
        assert_eq!(show(Unit::Mib, f64::from(5 << 20)), "5");
        assert_eq!(show(Unit::Thousandths, -1234.5), "-1,234.500");
        let json = serde_json::json!({"a": {"b": 1500.5}});
        let cell = number(&json, "/a/b", Unit::Count).expect("a number");
        assert_eq!(cell, "<data value=\"1500.5\" data-json=\"/a/b\">1,500</data>");
        assert_eq!(number(&json, "/a/c", Unit::Count), None);
    }
}
