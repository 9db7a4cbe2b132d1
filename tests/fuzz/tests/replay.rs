//! Feeds every target its corpus and a fixed number of mutations of it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use fuzz::mutate::Mutator;
use fuzz::{Target, targets};

/// Mutations a target in CI: all targets together take a few seconds in a debug build.
const MUTATIONS: u64 = 400;

/// Shows the input that made a target panic, in the form in which a corpus keeps it.
struct Shown<'a> {
    target: &'a str,
    input: &'a [u8],
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.input.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("target {} failed on {hex}", self.target);
        }
    }
}

fn feed(target: &Target, input: &[u8]) {
    let _shown = Shown { target: target.name, input };
    (target.run)(input);
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn replay(target: &Target) {
    let corpus = target.corpus();
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    corpus.iter().for_each(|input| feed(target, input));
    let mutations = number_from_environment("FUZZ_MUTATIONS").unwrap_or(MUTATIONS);
    let mut hasher = DefaultHasher::new();
    target.name.hash(&mut hasher);
    number_from_environment("FUZZ_SEED").hash(&mut hasher);
    let mut mutator = Mutator::new(hasher.finish(), &corpus, target.dictionary);
    for _ in 0..mutations {
        feed(target, &mutator.next_input());
    }
}

/// Two tests, so that two cores share the work.
#[test]
fn targets_of_the_first_half_keep_their_promises() {
    targets().step_by(2).for_each(replay);
}

#[test]
fn targets_of_the_second_half_keep_their_promises() {
    targets().skip(1).step_by(2).for_each(replay);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = targets().map(|target| target.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// A corpus file that no target has would be replayed by nobody.
#[test]
fn every_corpus_has_a_target() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for file in std::fs::read_dir(folder).expect("the corpus is committed") {
        let path = file.expect("the folder can be listed").path();
        assert!(targets().any(|target| target.corpus_path() == path), "{}", path.display());
    }
}
