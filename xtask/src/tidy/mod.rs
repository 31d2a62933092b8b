//! Holds the house in order: arrows between crates, sizes as a ratchet, words and calls that do not belong.
mod bans;
mod graph;
mod sizes;

use std::path::{Path, PathBuf};

/// What tidy found, or why it could not look.
#[derive(Debug, thiserror::Error)]
pub enum TidyError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cargo metadata: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    #[error("{path}: {source}")]
    Syntax { path: PathBuf, source: syn::Error },
    #[error("tidy: unknown argument {0:?}")]
    Argument(String),
    #[error("{}", .0.join("\n"))]
    Untidy(Vec<String>),
}

pub fn run(args: &[String]) -> Result<(), TidyError> {
    let bless = match args {
        [] => false,
        [flag] if flag == "--bless" => true,
        [other, ..] => return Err(TidyError::Argument(other.clone())),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."));
    let sources = sources(root)?;
    let mut findings = graph::check(root, bless)?;
    findings.extend(sizes::check(root, &sources, bless)?);
    findings.extend(bans::check(&sources));
    if findings.is_empty() {
        println!("tidy: {} source files in order", sources.len());
        return Ok(());
    }
    Err(TidyError::Untidy(findings))
}

/// A Rust file of ours.
pub struct Source {
    /// Relative to the root, with forward slashes.
    pub path: String,
    pub text: String,
}

impl Source {
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.contains("/benches/") || self.path.contains("/examples/")
    }
}

fn sources(root: &Path) -> Result<Vec<Source>, TidyError> {
    let mut found = Vec::new();
    for entry in ignore::WalkBuilder::new(root).build().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let text = read(path)?;
        let relative = path
            .strip_prefix(root)
            .unwrap_or(path)
            .to_string_lossy()
            .replace('\\', "/");
        found.push(Source { path: relative, text });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn read(path: &Path) -> Result<String, TidyError> {
    std::fs::read_to_string(path).map_err(|source| TidyError::Io {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), TidyError> {
    std::fs::write(path, text).map_err(|source| TidyError::Io {
        path: path.to_owned(),
        source,
    })
}
