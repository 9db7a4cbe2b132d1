//! flatc's output for `schema/remoting.fbs`; `schema/regenerate` makes it.
//!
//! The one place of this crate with `unsafe`: reads in a buffer that its verifier has accepted.
//! Everything goes through `root_as_command_with_opts`; the unchecked entry points are never used.

#[allow(
    clippy::all,
    clippy::unwrap_used,
    deprecated,
    missing_docs,
    unsafe_code,
    unused,
    reason = "machine-made"
)]
#[rustfmt::skip]
mod remoting;

pub(crate) use remoting::remoting::*;

#[cfg(test)]
mod tests {
    #[test]
    fn module_was_made_from_this_schema() {
        let schema = include_bytes!("../schema/remoting.fbs");
        let module = include_str!("generated/remoting.rs");
        let expected = format!("// remoting.fbs has crc32 {:#010x}", crc32fast::hash(schema));
        assert_eq!(module.lines().next(), Some(expected.as_str()));
    }
}
