//! What differed: counted by shape, held against the lists of what is known.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_fidelity::{explained, unfixed};

use crate::generate::{Body, Operation};

/// Differences by shape, with their count and the first example.
#[derive(Default)]
pub struct Found {
    shapes: BTreeMap<String, (usize, String)>,
    pub echoes: usize,
}

impl Found {
    pub fn note(&mut self, shape: String, example: String) {
        self.shapes.entry(shape).or_insert((0, example)).0 += 1;
    }

    pub fn add(&mut self, other: Self) {
        self.echoes += other.echoes;
        for (shape, (count, example)) in other.shapes {
            self.shapes.entry(shape).or_insert((0, example)).0 += count;
        }
    }

    /// Only what is neither explained nor known as unfixed fails; so does an entry of the list that is known to be
    /// out of date (`DIFFERENTIAL_SHRINK=1`: the run is long enough to say so).
    pub fn judge(self) {
        let (explained, unfixed) = (explained("differential"), unfixed("differential"));
        let gone: Vec<&String> = unfixed.iter().filter(|u| !self.shapes.contains_key(*u)).collect();
        println!(
            "{} shapes are listed as unfixed; {} of them did not appear: {gone:#?}\n{} echoes of earlier differences",
            unfixed.len(),
            gone.len(),
            self.echoes
        );
        assert!(
            gone.is_empty() || std::env::var("DIFFERENTIAL_SHRINK").is_err(),
            "take out of known-differences.txt what no longer appears"
        );
        let mut ranked: Vec<_> = self.shapes.into_iter().collect();
        ranked.retain(|(shape, _)| !explained.iter().any(|e| shape.contains(e.as_str())));
        if std::env::var("DIFFERENTIAL_SHOW").is_err() {
            ranked.retain(|(shape, _)| !unfixed.contains(shape));
        }
        ranked.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        let total: usize = ranked.iter().map(|(_, (count, _))| count).sum();
        let text: Vec<String> = ranked
            .iter()
            .map(|(what, (count, example))| format!("{count} x {what}\n{example}"))
            .collect();
        assert!(
            ranked.is_empty(),
            "{total} unexplained differences of {} shapes, most frequent first:\n\n{}",
            ranked.len(),
            text.join("\n\n")
        );
    }
}

/// Objects whose states parted on the two servers by a difference that is already counted: what is said of them from
/// then on follows from it.
#[derive(Default)]
pub struct Parted {
    objects: Vec<(String, String)>,
}

impl Parted {
    /// A write that both refused changed nothing. (A dry run that one refused gave out a uid all the same.)
    pub fn note(&mut self, operation: &Operation, real: &Value, embedded: &Value) {
        let changed = |reply: &Value| reply["status"].as_u64().is_some_and(|s| s < 300);
        if operation.method != "GET" && (changed(real) || changed(embedded)) {
            self.objects.push(object(operation));
        }
    }

    pub fn covers(&self, operation: &Operation) -> bool {
        let (collection, name) = object(operation);
        self.objects
            .iter()
            .any(|(c, n)| *c == collection && (*n == name || n.is_empty() || name.is_empty()))
    }

    pub fn covers_collection(&self, path: &str) -> bool {
        self.objects.iter().any(|(c, _)| c == path)
    }
}

/// Collection and name; no name stands for any.
fn object(operation: &Operation) -> (String, String) {
    let (head, parts) = parts(&operation.path);
    let in_body = match &operation.body {
        Body::Json(body) => body["metadata"]["name"].as_str().unwrap_or_default(),
        _ => "",
    };
    let name = parts.get(1).copied().unwrap_or(in_body);
    let plural = parts.first().copied().unwrap_or_default();
    (format!("{head}/{plural}"), name.to_owned())
}

/// What stands before the plural name, and the segments from it on.
fn parts(path: &str) -> (&str, Vec<&str>) {
    let path = path.split('?').next().unwrap_or_default();
    let depth = if path.starts_with("/api/") { 2 } else { 3 };
    let namespaced = path.contains("/namespaces/{ns}/");
    let depth = if namespaced { depth + 2 } else { depth };
    let at = path
        .match_indices('/')
        .nth(depth)
        .map_or(path.len(), |(index, _)| index);
    let (head, tail) = path.split_at(at);
    (head, tail.split('/').filter(|p| !p.is_empty()).collect())
}

/// Differences of one shape are one entry: verb, resource, and the path that differs without its indexes; where the
/// codes differ, what the refusal speaks of.
pub fn shape(operation: &Operation, real: &Value, embedded: &Value, difference: &str) -> String {
    let (_, parts) = parts(&operation.path);
    let resource = match parts.as_slice() {
        [plural, _, subresource, ..] => format!("{plural}/{subresource}"),
        [plural, ..] => (*plural).to_owned(),
        [] => String::new(),
    };
    let how = operation.content_type.trim_start_matches("application/");
    let place = match real["status"] == embedded["status"] {
        true => place_of(difference),
        false => format!("{} / {}", answer(real), answer(embedded)),
    };
    format!("{} {how} {resource} {place}", operation.method)
}

fn answer(reply: &Value) -> String {
    let cause = &reply["body"]["details"]["causes"][0];
    let field = place_of(cause["field"].as_str().unwrap_or_default());
    let reason = cause["reason"].as_str().unwrap_or_default();
    format!("{} {field} {reason}", reply["status"])
        .trim_end()
        .to_owned()
}

pub fn place_of(difference: &str) -> String {
    let path = difference.split(": ").next().unwrap_or_default();
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}
