//! `cargo xtask schema`: records the built-in tables of the apischema crate.
//!
//! A real API server (from the testbed) tells discovery and OpenAPI; a small Go program (`go/`), built against
//! the same Kubernetes version, tells what only Go knows: omission rules, names in errors, and defaulting.

mod defaults;
mod discovery;
mod openapi;
mod source;
mod types;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Runs the command; `args` must be empty.
pub fn run(args: &[String]) -> Result<(), Box<dyn Error>> {
    if !args.is_empty() {
        return Err("usage: cargo xtask schema".into());
    }
    let work = source::work_dir()?;
    let facts = source::record(&work)?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/apischema/data");
    std::fs::create_dir_all(&data)?;

    let table = types::table(&facts.types)?;
    let defaults = defaults::tree(&facts.defaults, &table)?;
    let resources = discovery::resources(&facts.discovery)?;
    let builtin = apischema::Builtin {
        table,
        resources,
        defaults,
    };
    pack(&data, "builtin.bin", &builtin)?;

    deflate(&data, "openapi_v2.bin", &facts.openapi_v2)?;
    let (archive, index) = openapi::archive(&facts.openapi_v3)?;
    pack(&data, "openapi_v3.bin", &archive)?;
    pack(&data, "openapi_v3_index.bin", &index)?;

    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/apischema/tests/data");
    std::fs::create_dir_all(&tests)?;
    deflate(&tests, "defaulting.json.deflate", &facts.corpus)
}

fn pack(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), Box<dyn Error>> {
    deflate(dir, name, &postcard::to_stdvec(value)?)
}

fn deflate(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let path: PathBuf = dir.join(name);
    let file = std::fs::File::create(&path)?;
    let mut encoder = flate2::write::DeflateEncoder::new(file, flate2::Compression::best());
    encoder.write_all(bytes)?;
    let file = encoder.finish()?;
    println!("{name}: {} bytes from {}", file.metadata()?.len(), bytes.len());
    Ok(())
}
