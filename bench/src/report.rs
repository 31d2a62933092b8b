//! One benchmark's outcome: lines for people, JSON for later.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{BenchError, io, machine};

pub struct Report {
    name: &'static str,
    figures: Map<String, Value>,
}

impl Report {
    pub fn new(name: &'static str) -> Self {
        println!("{name}, on {}", machine::describe());
        Self {
            name,
            figures: Map::new(),
        }
    }

    /// Prints a figure and keeps it.
    pub fn figure(&mut self, what: &str, value: f64, unit: &str, note: &str) {
        let note = if note.is_empty() {
            String::new()
        } else {
            format!("  ({note})")
        };
        println!("  {what:<58} {value:>12.3} {unit}{note}");
        self.figures
            .insert(what.to_owned(), json!({"value": value, "unit": unit}));
    }

    pub fn write(self) -> Result<(), BenchError> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        fs::create_dir_all(&dir).map_err(io(format!("creating {}", dir.display())))?;
        let path = dir.join(format!("{}.json", self.name));
        let text = json!({"bench": self.name, "machine": machine::describe(), "figures": self.figures});
        fs::write(&path, format!("{text:#}\n")).map_err(io(format!("writing {}", path.display())))
    }
}

/// Nearest-rank percentile of sorted values.
pub fn percentile(sorted: &[u64], percent: f64) -> u64 {
    if sorted.is_empty() {
        return 0;
    }
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}
