//! Fuzz targets for every decoder of bytes from outside, and what feeds them.
//!
//! A target panics if and only if its decoder broke a promise. `cargo test` feeds each one its
//! corpus and a fixed number of mutations; `tests/fuzz/run` lets libFuzzer loose on it.

pub mod mutate;

mod bodies;
mod filters;
mod seeds;
mod wire;

use std::fs;
use std::path::PathBuf;

/// One decoder under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name on the command line and of the corpus file.
    pub name: &'static str,
    /// Feeds the decoder.
    pub run: fn(&[u8]),
    /// Inputs derived from captured frames.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Tokens that mutations insert.
    pub dictionary: &'static [&'static [u8]],
}

/// All targets.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    wire::TARGETS.iter().chain(bodies::TARGETS).chain(filters::TARGETS)
}

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    targets().find(|target| target.name == name)
}

impl Target {
    /// Seeds, then the inputs of the corpus file.
    ///
    /// # Panics
    /// If the file has a line that is not hex.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let mut corpus = (self.seeds)();
        let text = fs::read_to_string(self.corpus_path()).unwrap_or_default();
        corpus.extend(text.lines().map(seeds::unhex));
        corpus
    }

    /// Where the inputs that fuzzing found are kept.
    pub fn corpus_path(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(self.name)
            .with_extension("hex")
    }
}
