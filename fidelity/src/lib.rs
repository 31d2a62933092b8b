//! Tests only: see `tests/`.

use std::path::Path;

/// Differences that have a reason: lines `- PREFIX `WHAT`: reason` of the embedded server's DIFFERENCES.md.
#[must_use]
pub fn explained(prefix: &str) -> Vec<String> {
    let start = format!("- {prefix} `");
    listed("../crates/embedded/DIFFERENCES.md", |line| {
        line.strip_prefix(&start)?.split_once('`').map(|(what, _)| what)
    })
}

/// Differences nobody has mended yet: lines `unfixed PREFIX WHAT` of known-differences.txt. The list may only shrink.
#[must_use]
pub fn unfixed(prefix: &str) -> Vec<String> {
    let start = format!("unfixed {prefix} ");
    listed("known-differences.txt", |line| line.strip_prefix(&start))
}

fn listed(file: &str, entry: impl Fn(&str) -> Option<&str>) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(entry).map(str::to_owned).collect()
}
