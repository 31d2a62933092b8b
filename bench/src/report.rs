//! One benchmark's outcome: lines for people, JSON for later.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{BenchError, io, machine};

pub struct Report {
    name: &'static str,
    load_before: f64,
    figures: Vec<Value>,
}

impl Report {
    pub fn new(name: &'static str) -> Self {
        println!("{name}, on {}, load {}", machine::describe(), machine::load());
        Self {
            name,
            load_before: machine::load(),
            figures: Vec::new(),
        }
    }

    /// Prints a figure and keeps it. What is to be shown at the end of a line is `note`: a bar, where it comes from.
    pub fn figure(&mut self, what: &str, value: f64, unit: &str, note: &str) {
        let shown = match note {
            "" => String::new(),
            note => format!("  ({note})"),
        };
        println!("  {what:<74} {value:>12.3} {unit}{shown}");
        self.figures
            .push(json!({"figure": what, "value": rounded(value), "unit": unit, "note": note}));
    }

    /// Writes results/NAME.json, and the page that shows all there are.
    pub fn write(self) -> Result<(), BenchError> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        fs::create_dir_all(&dir).map_err(io(format!("creating {}", dir.display())))?;
        let path = dir.join(format!("{}.json", self.name));
        let text = json!({"bench": self.name, "machine": machine::describe(), "figures": self.figures,
            "load average": {"before": self.load_before, "after": machine::load()},
            "versions": {"tidegate": env!("CARGO_PKG_VERSION"), "kubernetes": testbed::DEFAULT_VERSION}});
        fs::write(&path, format!("{text:#}\n")).map_err(io(format!("writing {}", path.display())))?;
        let page = dir.join("README.md");
        fs::write(&page, pages(&dir)?).map_err(io(format!("writing {}", page.display())))
    }
}

/// All results there are, as one page.
fn pages(dir: &Path) -> Result<String, BenchError> {
    let reading = || io(format!("reading {}", dir.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(reading())? {
        let path = entry.map_err(reading())?.path();
        if path.extension().is_some_and(|e| e == "json") {
            files.push(path);
        }
    }
    files.sort();
    let mut page = "# Figures\n\nWritten by `cargo xtask bench NAME`; ratios hold, absolute times vary by machine. A load \
        average far above what the benchmark itself makes means that others used the machine.\n"
        .to_owned();
    for path in files {
        let text = fs::read_to_string(&path).map_err(reading())?;
        // Of an older form: shown again when it is measured again.
        let result: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(figures) = result["figures"].as_array() {
            page.push_str(&section(&result, figures));
        }
    }
    Ok(page)
}

fn section(result: &Value, figures: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let machine = &result["machine"];
    let load = &result["load average"];
    let mut out = format!(
        "\n## {}\n\n{} cores of {}, Kubernetes {}, load average {} before and {} after.\n\n| figure | value | |\n|---|---:|---|\n",
        text(&result["bench"]),
        machine["cores"],
        text(&machine["cpu"]),
        text(&result["versions"]["kubernetes"]),
        load["before"],
        load["after"],
    );
    for figure in figures {
        let unit = text(&figure["unit"]);
        let line = format!(
            "| {} | {} {unit} | {} |\n",
            text(&figure["figure"]),
            figure["value"],
            text(&figure["note"])
        );
        out.push_str(&line);
    }
    out
}

/// To what a figure can say: four digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

/// Nearest-rank percentile of sorted values.
pub fn percentile(sorted: &[u64], percent: f64) -> u64 {
    if sorted.is_empty() {
        return 0;
    }
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}
