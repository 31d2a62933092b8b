//! Server-side printing: the Table of built-in kinds (`kubectl get`).
//!
//! Column definitions are recorded from a real API server (`data/columns.json`); what stands in a row follows
//! `pkg/printers/internalversion` of Kubernetes. Custom resources have printer columns of their own.
mod cells;
mod cluster_kinds;
mod pods;
mod workloads;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use model::time::Timestamp;
use serde_json::{Value, json};

/// Column definitions of a built-in resource: `group_version` is `v1` or `apps/v1`. A kind without columns of its
/// own prints its name and when it was created, as a real server does.
pub fn columns(group_version: &str, plural: &str) -> Vec<Value> {
    recorded()
        .get(&format!("{group_version}/{plural}"))
        .cloned()
        .unwrap_or_else(default_columns)
}

/// A Scale; those of custom kinds are described in words of their own.
pub fn scale(scale: &Value, of_custom: bool, now: Timestamp) -> Value {
    let defaults = default_columns();
    let column = |name: &str, kind: &str, format: &str, about: &Value| json!({"name": name, "type": kind, "format": format, "priority": 0, "description": about});
    let (desired, available, format, age) = match of_custom {
        true => (
            "Number of desired replicas",
            "Number of actual replicas",
            "name",
            "date",
        ),
        false => (
            "replicas is the desired number of instances for the scaled object.",
            "replicas is the actual number of observed instances of the scaled object.",
            "",
            "string",
        ),
    };
    let columns = [
        column("Name", "string", format, &defaults[0]["description"]),
        column("Desired", "integer", "", &json!(desired)),
        column("Available", "integer", "", &json!(available)),
        column("Age", age, "", &defaults[1]["description"]),
    ];
    let row = Row { object: scale, now };
    let cells = [
        row.name(),
        json!(row.int("/spec/replicas")),
        json!(row.int("/status/replicas")),
        row.age(),
    ];
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": scale.pointer("/metadata/resourceVersion")},
        "columnDefinitions": columns,
        "rows": [{"cells": cells, "object": crate::show::partial(scale)}],
    })
}

/// Whether a kind has columns of its own.
pub fn is_known(group_version: &str, plural: &str) -> bool {
    let columns = recorded().get(&format!("{group_version}/{plural}"));
    columns.is_some_and(|all| all.iter().all(|column| column["name"] != "Created At"))
}

/// The cells of one object, as many as there are [`columns`].
pub fn cells(group_version: &str, plural: &str, object: &Value, now: Timestamp) -> Vec<Value> {
    let row = Row { object, now };
    let known = recorded().contains_key(&format!("{group_version}/{plural}"));
    let special = if known {
        dispatch(group_version, plural, &row)
    } else {
        None
    };
    special.unwrap_or_else(|| vec![row.name(), json!(row.text("/metadata/creationTimestamp"))])
}

/// The condition of a row whose pod has ended.
pub fn ended(pod: &Value) -> Option<Value> {
    let (reason, message) = match pod.pointer("/status/phase")?.as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

fn dispatch(group_version: &str, plural: &str, row: &Row<'_>) -> Option<Vec<Value>> {
    let group = group_version.rsplit_once('/').map_or("", |(group, _)| group);
    match (group, plural) {
        ("", "pods") => Some(pods::pod(row)),
        ("" | "events.k8s.io", "events") => Some(cluster_kinds::event(row, group)),
        ("", _) => cells::core(plural, row),
        ("apps" | "batch" | "policy" | "autoscaling", _) => workloads::workload(plural, row),
        _ => cluster_kinds::other(plural, row),
    }
}

fn recorded() -> &'static BTreeMap<String, Vec<Value>> {
    static RECORDED: OnceLock<BTreeMap<String, Vec<Value>>> = OnceLock::new();
    // Part of this binary; a test reads it.
    RECORDED.get_or_init(|| serde_json::from_str(include_str!("../../data/columns.json")).unwrap_or_default())
}

fn default_columns() -> Vec<Value> {
    vec![
        json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
            "description": "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"}),
        json!({"name": "Created At", "type": "date", "format": "", "priority": 0,
            "description": "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"}),
    ]
}

/// An object about to be printed.
struct Row<'a> {
    object: &'a Value,
    now: Timestamp,
}

const UNKNOWN: &str = "<unknown>";
const NONE: &str = "<none>";

impl Row<'_> {
    fn name(&self) -> Value {
        json!(self.text("/metadata/name"))
    }

    fn at(&self, pointer: &str) -> &Value {
        self.object.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_default()
    }

    fn text_or(&self, pointer: &str, otherwise: &'static str) -> String {
        match self.text(pointer) {
            "" => otherwise.to_owned(),
            text => text.to_owned(),
        }
    }

    fn int(&self, pointer: &str) -> i64 {
        self.at(pointer).as_i64().unwrap_or_default()
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.at(pointer).as_array().map_or(&[], Vec::as_slice)
    }

    fn len(&self, pointer: &str) -> usize {
        let at = self.at(pointer);
        at.as_array()
            .map(Vec::len)
            .or_else(|| at.as_object().map(serde_json::Map::len))
            .unwrap_or_default()
    }

    fn age(&self) -> Value {
        json!(self.since("/metadata/creationTimestamp"))
    }

    /// How long ago a time of the object was, or `<unknown>`.
    fn since(&self, pointer: &str) -> String {
        since(self.text(pointer), self.now)
    }
}

fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => human_duration(now.as_second() - then.as_second()),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// As `k8s.io/apimachinery/pkg/util/duration.HumanDuration`: two units at most, fewer the longer it is.
pub(crate) fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |high: i64, high_unit: &str, low: i64, low_unit: &str| {
        if low == 0 {
            format!("{high}{high_unit}")
        } else {
            format!("{high}{high_unit}{low}{low_unit}")
        }
    };
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

/// `a=1,b=2`, or `<none>`.
fn format_labels(labels: &Value) -> String {
    match labels.as_object() {
        Some(map) if !map.is_empty() => map
            .iter()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(","),
        _ => NONE.to_owned(),
    }
}

/// A LabelSelector as `metav1.FormatLabelSelector` writes it.
fn format_selector(selector: &Value) -> String {
    let mut terms: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        values.sort_unstable();
        terms.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    terms.sort();
    if terms.is_empty() {
        NONE.to_owned()
    } else {
        terms.join(",")
    }
}

/// Names and images of a pod template's containers, comma-joined.
fn containers_and_images(spec: &Value) -> (String, String) {
    let join = |field: &str| {
        spec["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| c[field].as_str().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(",")
    };
    (join("name"), join("image"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_resource_prints_as_many_cells_as_it_has_columns() {
        let now = Timestamp::UNIX_EPOCH;
        for (key, columns) in recorded() {
            let (group_version, plural) = key.rsplit_once('/').unwrap_or_default();
            let printed = cells(group_version, plural, &json!({"metadata": {"name": "x"}}), now);
            assert_eq!(printed.len(), columns.len(), "{key}");
        }
        assert!(recorded().len() > 50);
    }

    #[test]
    fn durations_are_as_coarse_as_kubectl_prints_them() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (185, "3m5s"),
            (3600, "60m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 120, "3h2m"),
            (9 * 3600, "9h"),
            (2 * 86_400, "2d"),
            (2 * 86_400 + 7200, "2d2h"),
            (30 * 86_400, "30d"),
            (800 * 86_400, "2y70d"),
            (-5, "<invalid>"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
