//! Makes the modules of `proto/src/generated` from the schemas beside it.
//!
//! `cargo run` writes them, `cargo test` checks that what is committed is what flatc makes. Their first
//! line has the checksum of the schema, which a unit test of `proto` compares: a changed schema
//! without a new module fails there, without flatc.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

const SCHEMAS: [&str; 2] = ["remoting", "store"];

fn main() -> Result<(), Box<dyn Error>> {
    for schema in SCHEMAS {
        let module = generate(schema)?;
        let path = module_path(schema);
        std::fs::create_dir_all(path.parent().ok_or("the module has no folder")?)?;
        std::fs::write(&path, module)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn generate(schema: &str) -> Result<String, Box<dyn Error>> {
    let schema_path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../{schema}.fbs"));
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
    let module = std::fs::read_to_string(folder.path().join(format!("{schema}_generated.rs")))?;
    let crc = crc32fast::hash(&std::fs::read(&schema_path)?);
    Ok(format!("// {schema}.fbs has crc32 {crc:#010x}\n{module}"))
}

fn module_path(schema: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../src/generated/{schema}.rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_modules_are_what_flatc_makes() -> Result<(), Box<dyn Error>> {
        for schema in SCHEMAS {
            let committed = std::fs::read_to_string(module_path(schema))?;
            assert!(committed == generate(schema)?, "run `cargo run` here and commit what it writes");
        }
        Ok(())
    }
}
