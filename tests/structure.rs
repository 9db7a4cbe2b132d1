//! The structure that the documents promise: paths exist, imports point one way, `unsafe` stays in
//! its place. Each check is a function from text to complaints, and is shown to complain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Documents whose paths are checked.
const DOCUMENTS: [&str; 5] =
    ["ARCHITECTURE.md", "README.md", "deploy/README.md", "docs/operating.md", "docs/questions.md"];

/// What each crate may import of the workspace.
const CRATES: [(&str, &[&str]); 5] = [
    ("proto", &[]),
    ("shards/runtime", &[]),
    ("shards/engine", &["proto", "runtime"]),
    ("bench", &["proto", "runtime"]),
    ("tests/fuzz", &["proto", "engine"]),
];

/// Nouns of the engine: one does not import another.
const NOUNS: [&str; 13] = [
    "carried",
    "catalog",
    "coldread",
    "commitlog",
    "consumequeue",
    "delay",
    "filter",
    "hold",
    "messageindex",
    "offsets",
    "retention",
    "transaction",
    "timer",
];

/// The small leaf of shared types, by module, that nouns may import: limits and plain data.
const LEAVES: [(&str, &[&str]); 7] = [
    ("limits", &["*"]),
    ("ticket", &["Ticket"]),
    ("page", &["*"]),
    ("consumequeue", &["QueueEntry", "QueueKey"]),
    ("filter", &["MessageFilter"]),
    ("hold", &["HeldPull"]),
    // Upward, but a number: the queue key of SCHEDULE_TOPIC_XXXX.
    ("shard", &["SCHEDULE_TOPIC_INCARNATION"]),
];

/// Where `unsafe` may be.
const UNSAFE_PLACES: [&str; 3] =
    ["shards/runtime/src/", "proto/src/generated/", "proto/src/generated.rs"];

#[test]
fn documents_name_paths_that_exist() {
    let all: Vec<String> = files(&["rs", "md", "toml", "fbs", "java"]).map(|it| it.0).collect();
    let top = |path: &str| root().join(path.split('/').next().unwrap_or_default()).exists();
    // `append.rs` is short for a file in a folder that the text named.
    let is_end = |path: &str| all.iter().any(|it| it.ends_with(&format!("/{path}")));
    let exists = |path: &str| root().join(path).exists() || !top(path) && is_end(path);
    let mut complaints = Vec::new();
    for document in DOCUMENTS {
        complaints.extend(missing_paths(document, &read(&root().join(document)), exists));
    }
    none(&complaints);
}

#[test]
fn questions_name_functions_that_exist() {
    let document = "docs/questions.md";
    let source = |path: &str| std::fs::read_to_string(root().join(path)).unwrap_or_default();
    none(&missing_functions(document, &read(&root().join(document)), source));
}

#[test]
fn crates_import_downwards() {
    let mut complaints = Vec::new();
    for (folder, allowed) in CRATES {
        let manifest = read(&root().join(folder).join("Cargo.toml"));
        complaints.extend(upward_dependencies(folder, &manifest, allowed));
    }
    none(&complaints);
}

#[test]
fn nouns_of_the_engine_do_not_import_each_other() {
    let source = root().join("shards/engine/src");
    let mut complaints = Vec::new();
    for (path, text) in files(&["rs"]).filter(|(path, _)| path.starts_with("shards/engine/src/")) {
        let inner = &path["shards/engine/src/".len()..];
        let noun = inner.split(['/', '.']).next().unwrap_or_default();
        if NOUNS.contains(&noun) {
            complaints.extend(sideways_imports(&path, noun, &text));
        }
    }
    for noun in NOUNS {
        assert!(source.join(format!("{noun}.rs")).exists(), "the noun {noun} moved");
    }
    none(&complaints);
}

#[test]
fn every_module_of_the_engine_is_a_noun_a_verb_or_a_leaf() {
    let known: BTreeSet<_> =
        NOUNS.into_iter().chain(["limits", "page", "shard", "ticket"]).collect();
    let text = code_of(&read(&root().join("shards/engine/src/lib.rs")));
    let modules = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    assert_eq!(modules.collect::<BTreeSet<_>>(), known);
}

#[test]
fn unsafe_stays_in_its_place() {
    let mut complaints = Vec::new();
    for (path, text) in files(&["rs"]) {
        if !UNSAFE_PLACES.iter().any(|place| path.starts_with(place)) {
            complaints.extend(unsafe_lines(&path, &text));
        }
    }
    none(&complaints);
}

#[test]
fn no_file_names_a_developers_machine() {
    let places = machine_places(&root());
    let mut complaints = Vec::new();
    let kinds = ["rs", "md", "toml", "java", "xml", "sh", "fbs", "yml", "yaml", "json", "run", ""];
    for (path, text) in files(&kinds) {
        complaints.extend(machine_paths(&path, &text, &places));
    }
    none(&complaints);
}

#[test]
fn every_dependency_has_its_line() {
    let lines = read(&root().join("docs/decisions/dependencies.md"));
    let mut complaints = Vec::new();
    for (path, text) in files(&["toml"]).filter(|(path, _)| path.ends_with("Cargo.toml")) {
        complaints.extend(unexplained(&path, &text, &lines));
    }
    none(&complaints);
}

// ---- the checks ---------------------------------------------------------------------------------

/// Paths in backticks that do not exist. A path has a slash or a known ending, and no space; one that
/// begins with `./`, `/`, `-` or a `<` is an argument or a URL, and is left alone.
fn missing_paths(document: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, token) in backticked(text) {
        for path in alternatives(token) {
            if looks_like_path(&path) && !exists(path.trim_end_matches('/')) {
                complaints.push(format!("{document}:{number}: {path} does not exist"));
            }
        }
    }
    complaints
}

fn looks_like_path(token: &str) -> bool {
    let plain = token.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-./".contains(&it));
    let relative = token.starts_with(|it: char| it.is_ascii_alphanumeric())
        || token.starts_with(".ci/") && token.len() > 4;
    let ending = [".rs", ".md", ".toml", ".fbs", ".java"].iter().any(|it| token.ends_with(it));
    plain && relative && (token.contains('/') || ending)
}

/// `a/{b,c}.rs` stands for `a/b.rs` and `a/c.rs`.
fn alternatives(token: &str) -> Vec<String> {
    let Some((before, rest)) = token.split_once('{') else { return vec![token.to_owned()] };
    let Some((inside, behind)) = rest.split_once('}') else { return vec![token.to_owned()] };
    inside.split(',').map(|one| format!("{before}{one}{behind}")).collect()
}

/// `name()` in backticks must be a function of the file that was named last before it.
fn missing_functions(document: &str, text: &str, source: impl Fn(&str) -> String) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut file = None;
    for (number, token) in backticked(text) {
        if token.ends_with(".rs") {
            file = Some((token, source(token)));
        } else if let Some(name) = token.strip_suffix("()") {
            let name = name.rsplit("::").next().unwrap_or(name);
            let Some((path, code)) = &file else {
                complaints.push(format!("{document}:{number}: {name}() comes before any file"));
                continue;
            };
            let found = [format!("fn {name}("), format!("fn {name}<")];
            if !found.iter().any(|it| code.contains(it.as_str())) {
                complaints.push(format!("{document}:{number}: {path} has no function {name}"));
            }
        }
    }
    complaints
}

/// Tokens between single backticks, with their line numbers. Indented blocks are no prose.
fn backticked(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let prose = text.lines().enumerate().filter(|(_, line)| !line.starts_with("    "));
    prose.flat_map(|(index, line)| {
        line.split('`').skip(1).step_by(2).map(move |token| (index + 1, token))
    })
}

/// Crates of the workspace that a manifest's `[dependencies]` name and may not.
fn upward_dependencies(folder: &str, manifest: &str, allowed: &[&str]) -> Vec<String> {
    let ours = ["proto", "runtime", "engine", "ringmq", "ringmq-bench", "fuzz"];
    let named = dependencies(manifest, |section| section == "dependencies");
    let upward = named.into_iter().filter(|it| ours.contains(&&**it) && !allowed.contains(&&**it));
    upward.map(|it| format!("{folder} imports {it}: only {allowed:?} lie below it")).collect()
}

/// Names in the sections of a manifest that `wanted` picks.
fn dependencies(manifest: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            inside = wanted(section.trim_end_matches(']'));
            continue;
        }
        let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
        if inside && !name.is_empty() && !name.starts_with('#') {
            names.push(name.to_owned());
        }
    }
    names
}

/// Crates from outside that have no line in the table of dependencies.
fn unexplained(path: &str, manifest: &str, table: &str) -> Vec<String> {
    let ours = ["proto", "runtime", "engine", "ringmq"];
    let rows: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .flat_map(|line| line.split([' ', ',']).take_while(|word| *word != "|"))
        .collect();
    let names = dependencies(manifest, |section| section.ends_with("dependencies"));
    let missing = names.iter().filter(|it| !ours.contains(&&***it) && !rows.contains(&***it));
    missing
        .map(|it| format!("{path}: {it} has no line in docs/decisions/dependencies.md"))
        .collect()
}

/// Imports of one noun that lead to another one, leaf types aside. Tests may build what they like.
fn sideways_imports(path: &str, noun: &str, text: &str) -> Vec<String> {
    let code = code_of(text);
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let mut complaints = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let name: String = rest.chars().take_while(|it| is_word(*it)).collect();
        let items = rest[name.len()..].strip_prefix("::").map_or(Vec::new(), imported);
        let allowed: &[&str] =
            LEAVES.iter().find(|(leaf, _)| *leaf == name).map_or(&[], |(_, items)| *items);
        let is_leaf = |item: &String| allowed.contains(&"*") || allowed.contains(&&**item);
        let are_leaves = !items.is_empty() && items.iter().all(is_leaf);
        if name != noun && !are_leaves {
            complaints.push(format!("{path}: the noun {noun} imports {name}::{items:?}"));
        }
    }
    complaints
}

/// First words of `A`, `A::B` or `{A, b::C}` behind a module's name.
fn imported(rest: &str) -> Vec<String> {
    let list = match rest.strip_prefix('{') {
        Some(rest) => rest.split('}').next().unwrap_or_default(),
        None => rest.split(|it: char| !is_word(it)).next().unwrap_or_default(),
    };
    let first_word = |item: &str| item.trim().chars().take_while(|it| is_word(*it)).collect();
    list.split(',').map(first_word).filter(|item: &String| !item.is_empty()).collect()
}

/// Lines of code with the word that no other crate may use.
fn unsafe_lines(path: &str, text: &str) -> Vec<String> {
    let code = code_of(text);
    let with_word = code
        .lines()
        .enumerate()
        .filter(|(_, line)| line.split(|it: char| !is_word(it)).any(|word| word == "unsafe"));
    with_word.map(|(index, line)| format!("{path}:{}: {}", index + 1, line.trim())).collect()
}

/// Paths that exist on somebody's machine only: homes, this checkout and the folder around it.
fn machine_places(checkout: &Path) -> Vec<String> {
    let mut places: Vec<_> =
        ["home", "Users", "root"].into_iter().map(|it| format!("/{it}/")).collect();
    places.push(format!("{}/", checkout.display()));
    let common = ["/", "/mnt", "/opt", "/src", "/srv", "/tmp", "/usr", "/var"];
    if let Some(around) = checkout.parent().filter(|it| !common.iter().any(|c| it == &Path::new(c)))
    {
        places.push(format!("{}/", around.display()));
    }
    places
}

fn machine_paths(path: &str, text: &str, places: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for place in places {
            // Behind a letter or a slash it is the end of some other path or of a URL.
            let begins = |at: usize| {
                line[..at].chars().next_back().is_none_or(|it| !is_word(it) && !"./}".contains(it))
            };
            if line.match_indices(place.as_str()).any(|(at, _)| begins(at)) {
                complaints.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    complaints
}

// ---- reading ------------------------------------------------------------------------------------

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Text files of the repository with one of these endings (`""`: none), by their path in it.
fn files(endings: &[&str]) -> impl Iterator<Item = (String, String)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder that was just listed");
        for path in entries.map(|entry| entry.expect("an entry of it").path()) {
            let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
            let ending = path.extension().and_then(|it| it.to_str()).unwrap_or_default();
            if path.is_symlink() || [".git", "target", "ringmq-store"].contains(&name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if endings.contains(&ending)
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let inner = path.strip_prefix(root()).expect("below the root");
                found.insert(inner.display().to_string(), text);
            }
        }
    }
    found.into_iter()
}

fn is_word(it: char) -> bool {
    it.is_alphanumeric() || it == '_'
}

/// Rust without comments and the insides of strings, line by line as it was.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_before = code.chars().next_back().is_some_and(is_word);
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if first == '"' {
            string_bytes(rest)
        } else if (rest.starts_with("r\"") || rest.starts_with("r#")) && !word_before {
            raw_string_bytes(rest).unwrap_or(0)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find("\"'").map_or(1, |at| at + 3)
        } else {
            0
        };
        let taken = if skipped == 0 { first.len_utf8() } else { skipped };
        if skipped == 0 {
            code.push(first);
        } else {
            code.extend(rest[..skipped].chars().filter(|it| *it == '\n'));
        }
        rest = &rest[taken..];
    }
    code
}

fn string_bytes(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `None`: it is a raw identifier.
fn raw_string_bytes(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|it| *it == b'#').count();
    let inside = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(inside.find(&end).map_or(text.len(), |at| 2 + hashes + at + end.len()))
}

// ---- each check can fail ------------------------------------------------------------------------

mod made_up {
    use super::*;

    #[test]
    fn a_path_that_is_gone() {
        let text =
            "see `src/gone.rs`, `src/{here,lost}.rs`, `lone.md`,\n`--flag/x`, `a b/c`, `f()`";
        let complaints = missing_paths("D", text, |path| path == "src/here.rs");
        let expected = ["src/gone.rs", "src/lost.rs", "lone.md"];
        assert_eq!(complaints, expected.map(|it| format!("D:1: {it} does not exist")));
    }

    #[test]
    fn a_function_that_is_gone() {
        let text = "`early()` then `a.rs` `here()`, `Type::gone()`";
        let source = |_: &str| "pub fn here(x: u8) {}".to_owned();
        let complaints = missing_functions("D", text, source);
        let expected = ["D:1: early() comes before any file", "D:1: a.rs has no function gone"];
        assert_eq!(complaints, expected);
    }

    #[test]
    fn a_crate_that_looks_up() {
        let manifest = "[package]\nname = \"engine\"\n[dependencies]\nproto.workspace = true\n\
                        engine = { path = \"x\" }\nserde = \"1\"\n[dev-dependencies]\nringmq = \"1\"";
        assert_eq!(upward_dependencies("x", manifest, &["proto"]).len(), 1);
        assert_eq!(upward_dependencies("x", manifest, &[]).len(), 2);
    }

    #[test]
    fn a_noun_that_knows_another() {
        let check = |text: &str| sideways_imports("p", "offsets", text).len();
        assert_eq!(check("use crate::consumequeue::QueueKey;\nuse crate::limits::{A, B};"), 0);
        assert_eq!(check("use crate::consumequeue::{QueueKey, ConsumeQueues};"), 1);
        assert_eq!(check("fn f() { crate::commitlog::room(); }"), 1);
        assert_eq!(check("use crate::shard::Shard;\nuse crate::catalog;"), 2);
        assert_eq!(check("use crate::offsets::X; // crate::shard::Shard"), 0);
        assert_eq!(check("#[cfg(test)]\nmod tests { use crate::shard::Shard; }"), 0);
    }

    #[test]
    fn an_unsafe_block_outside() {
        let text = "fn f() {\n    unsafe { g() }\n}";
        assert_eq!(unsafe_lines("p", text), ["p:2: unsafe { g() }"]);
        let quiet = "// unsafe\n/* unsafe */ let a = \"unsafe \\\" unsafe\"; let b = r#\"unsafe\"#;\n\
                     let c = '\"'; #[allow(unsafe_code)] let d = '\\\"';";
        assert_eq!(unsafe_lines("p", quiet), [""; 0]);
        assert_eq!(unsafe_lines("p", &format!("{quiet}\n{text}")).len(), 1);
    }

    #[test]
    fn a_path_of_a_machine() {
        let places = machine_places(Path::new("/build/me/ringmq"));
        let check = |text: &str| machine_paths("p", text, &places).len();
        assert_eq!(check(&format!("see /{}/me/notes", "home")), 1);
        assert_eq!(check("(/build/me/other/file)"), 1);
        assert_eq!(check("https://example.org/home/page, src/root/x, ${x}/home/y"), 0);
        assert_eq!(machine_places(Path::new("/tmp/ringmq")).len(), 4);
    }

    #[test]
    fn a_dependency_without_a_line() {
        let manifest = "[workspace.dependencies]\nproto = { path = \"proto\" }\nleft-pad = \"1\"\n\
                        [dependencies]\nserde.workspace = true\n[features]\nx = []";
        let table = "| name | what for |\n|---|---|\n| serde, serde_json | JSON |";
        let complaints = unexplained("Cargo.toml", manifest, table);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].contains("left-pad"));
    }
}
