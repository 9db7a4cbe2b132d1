//! Makes `proto/src/generated/remoting.rs` from `proto/schema/remoting.fbs`.
//!
//! `cargo run` writes it, `cargo test` checks that what is committed is what flatc makes. Its first
//! line has the checksum of the schema, which a unit test of `proto` compares: a changed schema
//! without a new module fails there, without flatc.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let module = generate()?;
    std::fs::create_dir_all(module_path().parent().ok_or("the module has no folder")?)?;
    std::fs::write(module_path(), module)?;
    println!("wrote {}", module_path().display());
    Ok(())
}

fn generate() -> Result<String, Box<dyn Error>> {
    let schema_path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../remoting.fbs");
    let folder = tempfile::tempdir()?;
    let status = Command::new(flatc_fork::flatc())
        .arg("--rust")
        .arg("-o")
        .arg(folder.path())
        .arg(&schema_path)
        .status()?;
    if !status.success() {
        return Err(format!("flatc failed: {status}").into());
    }
    let module = std::fs::read_to_string(folder.path().join("remoting_generated.rs"))?;
    let crc = crc32fast::hash(&std::fs::read(&schema_path)?);
    Ok(format!("// remoting.fbs has crc32 {crc:#010x}\n{module}"))
}

fn module_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/generated/remoting.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_module_is_what_flatc_makes() -> Result<(), Box<dyn Error>> {
        let committed = std::fs::read_to_string(module_path())?;
        assert!(committed == generate()?, "run `cargo run` here and commit what it writes");
        Ok(())
    }
}
