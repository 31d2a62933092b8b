//! Metrics of HorizontalPodAutoscalers: `autoscaling/v1` says those it has no fields for in annotations, in a form of
//! its own.

use serde_json::{Map, Value, json};

/// Field of a v1 metric source for the amount `kind` of a v2 target (`what`) or current value.
const AMOUNTS: [(&str, &str, &str); 3] = [
    ("AverageUtilization", "averageUtilization", "Utilization"),
    ("AverageValue", "averageValue", "AverageValue"),
    ("Value", "value", "Value"),
];
/// In the order of Go's fields, which JSON keeps.
const ORDER: [&str; 30] = [
    "type",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetAverageUtilization",
    "targetValue",
    "targetAverageValue",
    "currentAverageUtilization",
    "currentValue",
    "currentAverageValue",
    "container",
    "selector",
    "averageValue",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
];

/// A metric of v2 in the form of v1; `what` is `target` (spec) or `current` (status).
pub(crate) fn to_v1(mut metric: Value, what: &str) -> Value {
    let Some((kind, source)) = source_of(&mut metric) else {
        return metric;
    };
    let amounts = source.remove(what).unwrap_or_default();
    if let Some(Value::Object(named)) = source.remove("metric") {
        let selector = if kind == "external" {
            "metricSelector"
        } else {
            "selector"
        };
        for (from, to) in [("name", "metricName"), ("selector", selector)] {
            if let Some(value) = named.get(from) {
                source.insert(to.to_owned(), value.clone());
            }
        }
    }
    if let Some(described) = source.remove("describedObject") {
        source.insert("target".to_owned(), described);
    }
    for (suffix, from, _) in AMOUNTS {
        let Some(value) = amounts.get(from).filter(|v| !v.is_null()) else {
            continue;
        };
        let to = match (kind.as_str(), from) {
            ("object", "averageValue") => "averageValue".to_owned(),
            _ => format!("{what}{suffix}"),
        };
        source.insert(to, value.clone());
    }
    if kind == "object" && !source.contains_key(&format!("{what}Value")) {
        source.insert(format!("{what}Value"), json!("0"));
    }
    metric
}

/// The way back.
pub(crate) fn to_v2(metric: &mut Value, what: &str) {
    let Some((kind, source)) = source_of(metric) else {
        return;
    };
    if source.contains_key(what) && kind != "object" {
        // It was written in the form of v2 already.
        return;
    }
    let selector = if kind == "external" {
        "metricSelector"
    } else {
        "selector"
    };
    let mut named = Map::new();
    for (from, to) in [("metricName", "name"), (selector, "selector")] {
        if let Some(value) = source.remove(from) {
            named.insert(to.to_owned(), value);
        }
    }
    if let Some(described) = source.remove("target").filter(|_| kind == "object") {
        source.insert("describedObject".to_owned(), described);
    }
    let mut amounts = Map::new();
    for (suffix, to, name) in AMOUNTS {
        let from = match (kind.as_str(), to) {
            ("object", "averageValue") => "averageValue".to_owned(),
            _ => format!("{what}{suffix}"),
        };
        let Some(value) = source.remove(&from).filter(|v| !v.is_null()) else {
            continue;
        };
        if to == "value" && amounts.contains_key("averageValue") {
            continue;
        }
        amounts.insert(to.to_owned(), value);
        if what == "target" {
            amounts.insert("type".to_owned(), json!(name));
        }
    }
    if !named.is_empty() {
        source.insert("metric".to_owned(), Value::Object(named));
    }
    source.insert(what.to_owned(), Value::Object(amounts));
}

fn source_of(metric: &mut Value) -> Option<(String, &mut Map<String, Value>)> {
    let kind = metric["type"].as_str()?.to_owned();
    let mut letters = kind.chars();
    let field: String = letters.next()?.to_lowercase().chain(letters).collect();
    Some((field.clone(), metric.get_mut(&field)?.as_object_mut()?))
}

/// The behaviour is kept as Go's internal type, whose fields have no names of their own in JSON.
pub(crate) fn renamed(value: Value, rename: fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(k, v)| (rename(&k), renamed(v, rename)))
            .collect(),
        Value::Array(items) => items.into_iter().map(|item| renamed(item, rename)).collect(),
        other => other,
    }
}

pub(crate) fn upper(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect()
}

pub(crate) fn lower(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_lowercase)
        .chain(letters)
        .collect()
}

/// JSON with the fields in Go's order.
pub(crate) fn go_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<(&String, &Value)> = map.iter().collect();
            fields.sort_by_key(|(name, _)| ORDER.iter().position(|o| o == name).unwrap_or(ORDER.len()));
            let written: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), go_json(value)))
                .collect();
            format!("{{{}}}", written.join(","))
        }
        Value::Array(items) => {
            let written: Vec<String> = items.iter().map(go_json).collect();
            format!("[{}]", written.join(","))
        }
        other => other.to_string(),
    }
}
