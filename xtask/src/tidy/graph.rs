//! The arrows between our crates against a golden file: a new one is a decision somebody sees in review.

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

use super::{TidyError, read, write};

const GOLDEN: &str = "xtask/tidy/graph.txt";

pub fn check(root: &Path, bless: bool) -> Result<Vec<String>, TidyError> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()?;
    let mut arrows = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let marker = match dependency.kind {
                DependencyKind::Development => " (tests)",
                _ => "",
            };
            arrows.insert(format!("{} -> {}{marker}", package.name, dependency.name));
        }
    }
    let path = root.join(GOLDEN);
    let current: String = arrows.iter().map(|a| format!("{a}\n")).collect();
    if bless {
        write(&path, &current)?;
        return Ok(Vec::new());
    }
    let golden = read(&path)?;
    let golden: BTreeSet<String> = golden.lines().map(str::to_owned).collect();
    let added = arrows
        .difference(&golden)
        .map(|a| format!("{GOLDEN}: new arrow {a}"));
    let gone = golden
        .difference(&arrows)
        .map(|a| format!("{GOLDEN}: arrow no longer there: {a}"));
    Ok(added.chain(gone).collect())
}
