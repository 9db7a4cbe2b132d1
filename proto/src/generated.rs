//! flatc's output for the schemas in `schema/`; `schema/regenerate` makes it.
//!
//! The one place of this crate with `unsafe`: reads in a buffer that its verifier has accepted.
//! Everything goes through `root_as_…_with_opts`; the unchecked entry points are never used.

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
mod store;

pub(crate) use remoting::remoting::*;
pub(crate) use store::store as on_disk;

#[cfg(test)]
mod tests {
    #[test]
    fn modules_were_made_from_these_schemas() {
        let check = |name: &str, schema: &[u8], module: &str| {
            let expected = format!("// {name}.fbs has crc32 {:#010x}", crc32fast::hash(schema));
            assert_eq!(module.lines().next(), Some(expected.as_str()));
        };
        let remoting = include_bytes!("../schema/remoting.fbs");
        check("remoting", remoting, include_str!("generated/remoting.rs"));
        let store = include_bytes!("../schema/store.fbs");
        check("store", store, include_str!("generated/store.rs"));
    }
}
