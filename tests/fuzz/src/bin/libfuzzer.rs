//! libFuzzer on the target that the environment's FUZZ_TARGET names. Built and run by `tests/fuzz/run`.

#![no_main]

use std::env;
use std::sync::OnceLock;

use fuzz::Target;

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names the target");
        fuzz::target(&name).expect("FUZZ_TARGET is a target's name")
    });
    (target.run)(bytes);
});
