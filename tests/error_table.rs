//! docs/errors.md and the sources of the broker say the same. Each check is a function from texts to
//! complaints, and is shown to complain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where refusals are made. What speaks to NameServers answers nobody.
const SOURCES: &str = "src/broker/";
const NOT_ANSWERS: &str = "registration";

/// Calls that make a refusal whose text is in refusal.rs: a row names both, and what the call says.
const OF_ONE_TEXT: [&str; 2] = ["Refusal::no_topic(", "Refusal::unreadable("];

/// A fragment of a remark is at least so long, so that it names one.
const FRAGMENT_BYTES_MIN: usize = 5;

/// A row of the table.
struct Row {
    line: usize,
    code: String,
    fragments: Vec<String>,
    /// Paths from the root.
    files: Vec<String>,
    tests: String,
}

/// A place in a source that refuses something.
#[derive(Debug)]
struct Site {
    line: usize,
    /// Name of the response code, if it says one.
    code: Option<String>,
    /// The remark's text; without one the expression that makes it.
    remark: String,
}

#[test]
fn every_refusal_has_a_row_and_every_row_a_refusal() {
    let document = read(&root().join("docs/errors.md"));
    let (rows, mut complaints) = rows(&document);
    assert!(rows.len() > 60, "{} rows", rows.len());
    let named = |path: &str| std::fs::read_to_string(root().join(path)).unwrap_or_default();
    complaints.extend(rows.iter().flat_map(|row| row_without_source(row, named)));
    let sources: Vec<_> = files(&root().join(SOURCES)).collect();
    assert!(sources.len() > 15, "the broker's sources moved");
    for (path, text) in &sources {
        let code = product_code(text);
        complaints.extend(sites(&code).iter().filter_map(|site| unnamed_site(&rows, path, site)));
        complaints.extend(unnamed_codes(&rows, path, &code));
    }
    let dispatch = named("src/broker/dispatch.rs");
    complaints.extend(unnamed_requests(&document, &product_code(&dispatch)));
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_test_in_the_table_exists_and_every_test_of_refusals_is_in_it() {
    let (rows, _) = rows(&read(&root().join("docs/errors.md")));
    let mut tests = BTreeSet::new();
    for folder in ["src", "tests", "shards", "proto"] {
        for (_, text) in files(&root().join(folder)) {
            tests.extend(tests_of(&text));
        }
    }
    let mut complaints: Vec<_> = rows.iter().flat_map(|row| unknown_tests(row, &tests)).collect();
    let named: BTreeSet<_> = rows.iter().flat_map(|row| backticked(&row.tests)).collect();
    for test in tests_of(&read(&root().join("tests/errors.rs"))) {
        let is_refusal = test.contains("refused");
        if is_refusal && !named.contains(&test) && test != ONEWAY {
            complaints.push(format!("docs/errors.md: no row names {test} of tests/errors.rs"));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The one test there that belongs to no row: of answers that do not come.
const ONEWAY: &str = "a_oneway_request_that_is_refused_gets_no_answer";

// ---- the checks ---------------------------------------------------------------------------------

/// The rows of all tables; what is wrong with their form.
fn rows(document: &str) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut complaints) = (Vec::new(), Vec::new());
    for (number, text) in (1..).zip(document.lines()) {
        let Some(inner) = text.strip_prefix('|').and_then(|it| it.strip_suffix('|')) else {
            continue;
        };
        let cells: Vec<_> = inner.split('|').map(str::trim).collect();
        if cells[0] == "code" || cells[0].starts_with("---") {
            continue;
        }
        let [code, when, remark, place, apache, tests] = cells[..] else {
            complaints.push(format!("docs/errors.md:{number}: {} cells", cells.len()));
            continue;
        };
        let name = code.split_once(' ').map_or("", |(_, name)| name);
        if proto::code::response::ALL.iter().all(|it| format!("{} {}", it.0, it.1) != code) {
            complaints.push(format!("docs/errors.md:{number}: {code} is no code and its name"));
        }
        let fragments = backticked(remark);
        if [when, place, apache, tests].iter().any(|cell| cell.is_empty()) || fragments.is_empty() {
            complaints.push(format!("docs/errors.md:{number}: an empty cell"));
        }
        let path = |file: &str| match file.contains("/src/") {
            true => file.to_owned(),
            false => format!("{SOURCES}{file}"),
        };
        rows.push(Row {
            line: number,
            code: name.to_owned(),
            fragments,
            files: place.split(' ').map(path).collect(),
            tests: tests.to_owned(),
        });
    }
    (rows, complaints)
}

/// A row whose fragments are not in the files that it names.
fn row_without_source(row: &Row, source: impl Fn(&str) -> String) -> Vec<String> {
    let texts: Vec<_> =
        row.files.iter().map(|path| squeezed(&product_code(&source(path)))).collect();
    let mut complaints = Vec::new();
    for (path, _) in row.files.iter().zip(&texts).filter(|(_, text)| text.is_empty()) {
        complaints.push(format!("docs/errors.md:{}: {path} is no source", row.line));
    }
    for fragment in &row.fragments {
        let is_there = texts.iter().any(|text| text.contains(&squeezed(fragment)));
        if !is_there || fragment.len() < FRAGMENT_BYTES_MIN {
            complaints.push(format!("docs/errors.md:{}: no source has {fragment:?}", row.line));
        }
    }
    complaints
}

/// A place that refuses and that no row names.
fn unnamed_site(rows: &[Row], path: &str, site: &Site) -> Option<String> {
    let names_it = |row: &Row| {
        let remark = squeezed(&site.remark);
        row.files.iter().any(|file| file == path)
            && site.code.as_ref().is_none_or(|code| *code == row.code)
            && row.fragments.iter().any(|fragment| remark.contains(&squeezed(fragment)))
    };
    let Site { line, code, remark } = site;
    (!rows.iter().any(names_it))
        .then(|| format!("{path}:{line}: docs/errors.md has no row for {code:?} {remark:?}"))
}

/// Response codes that a file gives and no row of its has.
fn unnamed_codes(rows: &[Row], path: &str, code: &str) -> Vec<String> {
    // Not those that a code is compared with.
    let given = code.replace("== response::", "");
    let found: BTreeSet<_> = given.split("response::").skip(1).map(word).collect();
    let is_named = |name: &str| {
        rows.iter().any(|row| row.code == name && row.files.iter().any(|file| file == path))
    };
    let is_code = |name: &&str| name.starts_with(|c: char| c.is_ascii_uppercase());
    let unnamed = found.into_iter().filter(is_code).filter(|it| *it != "SUCCESS" && !is_named(it));
    unnamed.map(|name| format!("{path}: docs/errors.md has no row for its {name}")).collect()
}

/// Requests that have a handler and no heading.
fn unnamed_requests(document: &str, dispatch: &str) -> Vec<String> {
    let headings: Vec<_> = document.lines().filter(|line| line.starts_with("## ")).collect();
    let requests: BTreeSet<_> = dispatch.split("request::").skip(1).map(word).collect();
    assert!(requests.len() > 15, "{requests:?}");
    let mut complaints = Vec::new();
    for name in requests {
        let number = proto::code::request::ALL.iter().find(|it| it.1 == name).map_or(-1, |it| it.0);
        let title = format!(" {number} {name}");
        if !headings.iter().any(|it| it.contains(&title) && !it.contains(&format!("{title}_"))) {
            complaints.push(format!("docs/errors.md: no heading has{title}"));
        }
    }
    complaints
}

/// Tests of a row that do not exist; a row that names none.
fn unknown_tests(row: &Row, tests: &BTreeSet<String>) -> Vec<String> {
    let named = backticked(&row.tests);
    if named.is_empty() {
        return vec![format!("docs/errors.md:{}: no test", row.line)];
    }
    let unknown = named.into_iter().filter(|name| !tests.contains(name));
    unknown.map(|name| format!("docs/errors.md:{}: there is no test {name}", row.line)).collect()
}

// ---- the sources --------------------------------------------------------------------------------

/// The places that refuse: calls that make a `Refusal`, and calls of functions that are handed the
/// remark of one.
fn sites(code: &str) -> Vec<Site> {
    let passing = passing_functions(code);
    let mut openers: Vec<(String, Option<String>)> =
        ["Refusal::new("].iter().chain(&OF_ONE_TEXT).map(|it| ((*it).to_owned(), None)).collect();
    openers.extend(passing.iter().map(|(name, code)| (format!("{name}("), code.clone())));
    let mut found = Vec::new();
    for (opener, default_code) in &openers {
        for (at, _) in code.match_indices(opener.as_str()) {
            let before = &code[..at];
            let is_part = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_part || before.ends_with("fn ") {
                continue;
            }
            let call = &code[at..at + call_bytes(&code[at..])];
            let named = call.split_once("response::").map(|(_, rest)| word(rest).to_owned());
            let Some(remark) = remark_of(before, call) else { continue };
            let line = before.lines().count();
            found.push(Site { line, code: named.or_else(|| default_code.clone()), remark });
        }
    }
    found
}

/// Functions and closures that make a refusal of a remark that they are given, with its code.
fn passing_functions(code: &str) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    for parameter in ["remark: String", "what: &str"] {
        for (at, _) in code.match_indices(parameter) {
            let before = &code[..at];
            // The field of a struct has no function before it.
            let Some(start) = before.rfind("fn ").max(before.rfind("let ")) else { continue };
            let name = before[start..].split_once(' ').map_or("", |(_, rest)| word(rest));
            let body = &code[at..];
            let named = body.split_once("response::").map(|(_, rest)| word(rest).to_owned());
            found.insert(name.to_owned(), named.filter(|_| parameter.starts_with("remark")));
        }
    }
    found
}

/// The text of a call's remark: its first literal, that of the `remark` before it, or the call itself.
/// `None`: the function around it is handed the remark.
fn remark_of(before: &str, call: &str) -> Option<String> {
    if OF_ONE_TEXT.iter().any(|it| call.starts_with(it)) {
        return Some(call.to_owned());
    }
    if let Some(text) = literal(call) {
        return Some(text.to_owned());
    }
    let ends_so = |it: &str| call.trim_end_matches([')', ',', ' ', '\n']).ends_with(it);
    let made = ["let remark =", "let remark:"].iter().filter_map(|it| before.rfind(it)).max();
    match (made, before.rfind("remark: String")) {
        (made, given) if ends_so("remark") && given > made => None,
        (Some(made), _) if ends_so("remark") => literal(&before[made..]).map(str::to_owned),
        _ => Some(call.to_owned()),
    }
}

/// Bytes of a call from its name to the parenthesis that closes it. A literal may hold some.
fn call_bytes(text: &str) -> usize {
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// The first string literal.
fn literal(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('"')?;
    rest.split('"').next()
}

/// A source without its tests and comments.
fn product_code(text: &str) -> String {
    let product = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = product.lines().map(|line| match line.trim_start().starts_with("//") {
        true => "",
        false => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn tests_of(text: &str) -> BTreeSet<String> {
    let names = text.split("#[test]\n").skip(1).filter_map(|rest| rest.split_once("fn "));
    names.map(|(_, rest)| word(rest).to_owned()).collect()
}

/// What stands in backticks, blanks at its ends included.
fn backticked(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Without the white space, so that where a line breaks does not matter.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files below a folder, by their path from the root. Files of tests only are left out where
/// refusals are looked for.
fn files(folder: &Path) -> impl Iterator<Item = (String, String)> {
    let is_broker = folder.ends_with(SOURCES);
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder that was just listed");
        for path in entries.map(|entry| entry.expect("an entry of it").path()) {
            let inner = path.strip_prefix(root()).expect("below the root").display().to_string();
            let is_left_out =
                ["/tests.rs", "/tests/", NOT_ANSWERS].iter().any(|it| inner.contains(it));
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if inner.ends_with(".rs") && !(is_broker && is_left_out) {
                found.insert(inner, read(&path));
            }
        }
    }
    found.into_iter()
}

// ---- the checks complain ------------------------------------------------------------------------

const SOURCE: &str = r#"
fn a() -> Stop {
    if x { return Err(Refusal::new(response::NO_PERMISSION, format!("the topic (it) {name} is closed"))); }
    let remark = format!("moved {}", f(x));
    Refusal::new(response::SYSTEM_ERROR, remark);
    b().map_err(|error| Refusal::new(response::SYSTEM_ERROR, error.to_string()));
    c().map_err(|reason| Refusal::unreadable("the log", &reason));
    return Err(illegal("too long".to_owned()));
}

fn illegal(remark: String) -> Stop {
    Refusal::new(response::MESSAGE_ILLEGAL, remark).into()
}

#[cfg(test)]
mod tests {
    // Refusal::new(response::GO_AWAY, "in a test")
}
"#;

fn row(code: &str, remark: &str) -> String {
    format!("| {code} | when | `{remark}` | a.rs | as there | `b` |\n")
}

fn complaints(table: &str) -> Vec<String> {
    let (rows, mut complaints) = rows(table);
    complaints.extend(rows.iter().flat_map(|row| row_without_source(row, |_| SOURCE.to_owned())));
    let code = product_code(SOURCE);
    let sites = sites(&code);
    complaints.extend(sites.iter().filter_map(|it| unnamed_site(&rows, "src/broker/a.rs", it)));
    complaints.extend(unnamed_codes(&rows, "src/broker/a.rs", &code));
    complaints
}

#[test]
fn a_refusal_without_a_row_is_found() {
    let all = [
        row("16 NO_PERMISSION", "the topic (it) {name} is closed"),
        row("1 SYSTEM_ERROR", "moved {}"),
        row("1 SYSTEM_ERROR", "error.to_string()"),
        row("1 SYSTEM_ERROR", "Refusal::unreadable(\"the log\""),
        row("13 MESSAGE_ILLEGAL", "too long"),
    ];
    assert_eq!(complaints(&all.concat()), [""; 0]);
    for left_out in 0..all.len() {
        let mut table = all.clone();
        table[left_out].clear();
        assert!(!complaints(&table.concat()).is_empty(), "without row {left_out}");
    }
    let wrong_code = row("1 SYSTEM_ERROR", "too long");
    assert_eq!(complaints(&[&all[..4].concat(), &*wrong_code].concat()).len(), 2);
}

#[test]
fn a_row_without_a_refusal_is_found() {
    let (found, form) = rows(&row("16 NO_PERMISSION", "never said"));
    assert!(form.is_empty());
    assert_eq!(row_without_source(&found[0], |_| SOURCE.to_owned()).len(), 1);
    assert_eq!(row_without_source(&found[0], |_| String::new()).len(), 2);
    for bad in [
        row("16 NO_PERMISSIONS", "never said"),
        row("16 NO_PERMISSION", "x").replace("as there", ""),
        row("16 NO_PERMISSION", "x").replace("`x`", "x"),
        row("16 NO_PERMISSION", "x").replace("| when ", ""),
    ] {
        assert_eq!(rows(&bad).1.len(), 1, "{bad}");
    }
}

#[test]
fn a_row_without_a_test_is_found() {
    let known = tests_of("#[test]\nfn b() {}\n#[test]\n#[cfg(unix)]\nfn c() {}\nfn d() {}");
    let check = |tests: &str, expect: usize| {
        let (found, _) = rows(&row("16 NO_PERMISSION", "x").replace("`b`", tests));
        assert_eq!(unknown_tests(&found[0], &known).len(), expect, "{tests}");
    };
    check("`b` `c`", 0);
    check("`b` `d`", 1);
    check("here and there", 1);
}

#[test]
fn a_request_without_a_heading_is_found() {
    let code: String = proto::code::request::ALL[..20]
        .iter()
        .map(|(_, name)| format!("request::{name} => handle(),\n"))
        .collect();
    let headings: String = proto::code::request::ALL[..19]
        .iter()
        .map(|(number, name)| format!("## Some: {number} {name}, 9 OTHER\n"))
        .collect();
    assert_eq!(unnamed_requests(&headings, &code).len(), 1);
}
