//! Written traces: what clients do on purpose, and chance draws too rarely. `written/*.txt` holds them.
//!
//! A trace starts with `=== name` (and `alone`, where it changes what other traces see); a request is a verb and a
//! path, then its body in YAML until an empty line. `AS name` before a verb impersonates. Beside HTTP's, the verbs
//! are `UPDATE` and `STALE` (read, merge the change in, put; with an older resourceVersion), `MERGE`, `STRATEGIC`,
//! `JSONPATCH` and `APPLY` (patches), `TABLE` and `META` (reads in another form), `WATCH` (for a second), and `UNTIL
//! words`, which repeats the request after it, uncompared, until the reply has the words: a real server's admission
//! looks at caches.

use std::path::Path;

use serde_json::Value;

use crate::generate::{Body, JSON, METADATA, Operation, TABLE};

pub struct Written {
    pub name: String,
    pub alone: bool,
    pub steps: Vec<Step>,
}

pub struct Step {
    pub operation: Operation,
    /// Not compared: repeated until the reply has these words.
    pub until: Option<String>,
}

/// All of them, or those with `only` in their names.
pub fn all(only: Option<&str>) -> Vec<Written> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/written");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|f| {
            let text = std::fs::read_to_string(f).unwrap();
            text.split("\n=== ").skip(1).map(written).collect::<Vec<_>>()
        })
        .filter(|w| only.is_none_or(|only| w.name.contains(only)))
        .collect()
}

fn written(text: &str) -> Written {
    let (title, rest) = text.split_once('\n').unwrap();
    let (name, alone) = match title.trim().strip_suffix(" alone") {
        Some(name) => (name, true),
        None => (title.trim(), false),
    };
    let mut steps = Vec::new();
    let mut until = None;
    for block in rest.split("\n\n") {
        let lines: Vec<&str> = block
            .lines()
            .filter(|l| !l.starts_with('#') && !l.is_empty())
            .collect();
        let Some((first, body)) = lines.split_first() else {
            continue;
        };
        if let Some(words) = first.strip_prefix("UNTIL ") {
            until = Some(words.to_owned());
            if let Some((first, body)) = body.split_first() {
                steps.push(step(name, first, body, until.take()));
            }
            continue;
        }
        steps.push(step(name, first, body, until.take()));
    }
    Written {
        name: name.to_owned(),
        alone,
        steps,
    }
}

fn step(name: &str, first: &str, body: &[&str], until: Option<String>) -> Step {
    let (user, request) = match first.strip_prefix("AS ") {
        Some(rest) => {
            let (user, request) = rest.split_once(' ').unwrap();
            // Tests end soon enough.
            (Some(&*user.to_owned().leak()), request)
        }
        None => (None, first),
    };
    let (verb, path) = request
        .split_once(' ')
        .unwrap_or_else(|| panic!("{name}: {first} has no path"));
    let value: Value =
        serde_yaml_ng::from_str(&body.join("\n")).unwrap_or_else(|error| panic!("{name}: {first}: {error}"));
    let (method, content_type, accept) = form(verb);
    let body = match verb {
        _ if body.is_empty() => Body::None,
        "UPDATE" => Body::ReadModify(value),
        "STALE" => Body::StaleModify(value),
        _ => Body::Json(value),
    };
    let path = match (verb, path.contains('?')) {
        ("APPLY", false) => format!("{path}?fieldManager=writer"),
        ("WATCH", true) => format!("{path}&watch=true&timeoutSeconds=1"),
        ("WATCH", false) => format!("{path}?watch=true&timeoutSeconds=1"),
        _ => path.to_owned(),
    };
    let operation = Operation {
        method,
        path,
        content_type,
        accept,
        user,
        follow: false,
        body,
    };
    Step { operation, until }
}

fn form(verb: &str) -> (&'static str, &'static str, &'static str) {
    match verb {
        "GET" | "WATCH" => ("GET", JSON, JSON),
        "TABLE" => ("GET", JSON, TABLE),
        "META" => ("GET", JSON, METADATA),
        "POST" => ("POST", JSON, JSON),
        "PUT" | "UPDATE" | "STALE" => ("PUT", JSON, JSON),
        "MERGE" => ("PATCH", "application/merge-patch+json", JSON),
        "STRATEGIC" => ("PATCH", "application/strategic-merge-patch+json", JSON),
        "JSONPATCH" => ("PATCH", "application/json-patch+json", JSON),
        "APPLY" => ("PATCH", "application/apply-patch+yaml", JSON),
        "DELETE" => ("DELETE", JSON, JSON),
        other => panic!("{other} is no verb"),
    }
}
