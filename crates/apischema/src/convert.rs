//! The built-in kinds that 1.36 serves in two versions: Event and HorizontalPodAutoscaler.

use serde_json::{Map, Value, json};

use crate::metrics;
use crate::types::GroupVersionKind;

type Object = Map<String, Value>;

/// Core's name of an event field, and the name in `events.k8s.io`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

// What v1 has no fields for, it carries in annotations.
pub(crate) const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const DEFAULT_CPU_PERCENT: i64 = 80;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    #[error("no conversion from {from} to {to}")]
    Unknown { from: String, to: String },
    #[error("{kind} to convert is not an object")]
    NotAnObject { kind: String },
}

/// Converts an object between two served versions of its kind.
pub fn convert(from: &GroupVersionKind, to: &GroupVersionKind, value: Value) -> Result<Value, ConvertError> {
    if from == to {
        return Ok(value);
    }
    let Value::Object(mut object) = value else {
        return Err(ConvertError::NotAnObject {
            kind: from.kind.clone(),
        });
    };
    let route = |gvk: &GroupVersionKind| (gvk.group.clone(), gvk.version.clone());
    let same_kind = from.kind == to.kind;
    match (from.kind.as_str(), route(from), route(to)) {
        ("Event", (a, _), (b, _)) if same_kind && a.is_empty() && b == "events.k8s.io" => {
            rename_event(&mut object, true)
        }
        ("Event", (a, _), (b, _)) if same_kind && b.is_empty() && a == "events.k8s.io" => {
            rename_event(&mut object, false)
        }
        ("HorizontalPodAutoscaler", (_, a), (_, b)) if same_kind && a == "v1" && b == "v2" => {
            to_v2(&mut object)
        }
        ("HorizontalPodAutoscaler", (_, a), (_, b)) if same_kind && a == "v2" && b == "v1" => {
            to_v1(&mut object)
        }
        _ => {
            return Err(ConvertError::Unknown {
                from: name(from),
                to: name(to),
            });
        }
    }
    let api_version = if to.group.is_empty() {
        to.version.clone()
    } else {
        format!("{}/{}", to.group, to.version)
    };
    object.insert("apiVersion".to_owned(), Value::from(api_version));
    let mut value = Value::Object(object);
    let table = &crate::builtin().table;
    if let Some(ty) = table.kind(to) {
        crate::decode::decode(table, ty, &mut value);
    }
    Ok(value)
}

fn name(gvk: &GroupVersionKind) -> String {
    format!("{}/{} {}", gvk.group, gvk.version, gvk.kind)
}

fn rename_event(object: &mut Object, from_core: bool) {
    for (core, events) in EVENT_FIELDS {
        let (old, new) = if from_core { (core, events) } else { (events, core) };
        if let Some(value) = object.remove(old) {
            object.insert(new.to_owned(), value);
        }
    }
}

fn to_v2(object: &mut Object) {
    let mut metrics = take_annotation(object, METRICS)
        .and_then(as_list)
        .unwrap_or_default();
    metrics.iter_mut().for_each(|m| metrics::to_v2(m, "target"));
    let behavior = take_annotation(object, BEHAVIOR).map(|b| metrics::renamed(b, metrics::lower));
    let current = take_annotation(object, CURRENT_METRICS).map(|mut list| {
        let all = list.as_array_mut().into_iter().flatten();
        all.for_each(|m| metrics::to_v2(m, "current"));
        list
    });
    let conditions = take_annotation(object, CONDITIONS);
    if let Some(spec) = field(object, "spec") {
        if let Some(percent) = spec
            .remove("targetCPUUtilizationPercentage")
            .filter(|p| !p.is_null())
        {
            metrics.push(cpu_metric(
                "target",
                json!({ "type": "Utilization", "averageUtilization": percent }),
            ));
        }
        if metrics.is_empty() {
            let target = json!({ "type": "Utilization", "averageUtilization": DEFAULT_CPU_PERCENT });
            metrics.push(cpu_metric("target", target));
        }
        spec.insert("metrics".to_owned(), Value::Array(metrics));
        if let Some(behavior) = behavior {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if let Some(status) = field(object, "status") {
        let percent = status
            .remove("currentCPUUtilizationPercentage")
            .filter(|p| !p.is_null());
        let from_percent =
            percent.map(|p| json!([cpu_metric("current", json!({ "averageUtilization": p }))]));
        if let Some(current) = current.or(from_percent) {
            status.insert("currentMetrics".to_owned(), current);
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
}

fn to_v1(object: &mut Object) {
    let mut annotations = Object::new();
    let mut keep = |name: &str, value: Value| {
        annotations.insert(name.to_owned(), Value::String(metrics::go_json(&value)));
    };
    if let Some(spec) = field(object, "spec") {
        let metrics = spec.remove("metrics").and_then(as_list).unwrap_or_default();
        let (cpu, others): (Vec<_>, Vec<_>) = metrics.into_iter().partition(is_cpu_utilization);
        if let Some(first) = cpu.first() {
            let percent = first["resource"]["target"]["averageUtilization"].clone();
            spec.insert("targetCPUUtilizationPercentage".to_owned(), percent);
        }
        if !others.is_empty() {
            let others = others.into_iter().map(|m| metrics::to_v1(m, "target"));
            keep(METRICS, others.collect());
        }
        if let Some(behavior) = spec.remove("behavior").filter(|b| !b.is_null()) {
            keep(BEHAVIOR, metrics::renamed(behavior, metrics::upper));
        }
    }
    if let Some(status) = field(object, "status") {
        if let Some(current) = status
            .remove("currentMetrics")
            .and_then(as_list)
            .filter(|list| !list.is_empty())
        {
            let cpu = current.iter().find(|m| m["resource"]["name"] == "cpu");
            if let Some(percent) = cpu.map(|m| m["resource"]["current"]["averageUtilization"].clone()) {
                status.insert("currentCPUUtilizationPercentage".to_owned(), percent);
            }
            let current = current.into_iter().map(|m| metrics::to_v1(m, "current"));
            keep(CURRENT_METRICS, current.collect());
        }
        if let Some(conditions) = status.remove("conditions").filter(|c| !c.is_null()) {
            keep(CONDITIONS, conditions);
        }
    }
    if annotations.is_empty() {
        return;
    }
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    if let Some(kept) = metadata
        .as_object_mut()
        .map(|m| m.entry("annotations").or_insert_with(|| json!({})))
        && let Some(kept) = kept.as_object_mut()
    {
        kept.extend(annotations);
    }
}

fn cpu_metric(field: &str, value: Value) -> Value {
    json!({ "type": "Resource", "resource": { "name": "cpu", field: value } })
}

fn is_cpu_utilization(metric: &Value) -> bool {
    metric["type"] == "Resource"
        && metric["resource"]["name"] == "cpu"
        && metric["resource"]["target"]["averageUtilization"].is_number()
}

fn take_annotation(object: &mut Object, name: &str) -> Option<Value> {
    let metadata = field(object, "metadata")?;
    let text = field(metadata, "annotations")?.remove(name)?;
    serde_json::from_str(text.as_str()?).ok()
}

fn field<'a>(object: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    object.get_mut(name)?.as_object_mut()
}

fn as_list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gvk(group: &str, version: &str, kind: &str) -> GroupVersionKind {
        GroupVersionKind {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }
    }

    #[test]
    fn events_come_back_from_the_other_group_as_they_went() {
        let (core, new) = (gvk("", "v1", "Event"), gvk("events.k8s.io", "v1", "Event"));
        let mut event = json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e" },
            "involvedObject": { "kind": "Pod", "name": "p" }, "message": "m", "count": 3, "reason": "r" });
        let table = &crate::builtin().table;
        crate::decode::decode(table, table.kind(&core).unwrap(), &mut event);
        let there = convert(&core, &new, event.clone()).unwrap();
        assert_eq!(there["note"], "m");
        assert_eq!(there["regarding"]["name"], "p");
        assert_eq!(convert(&new, &core, there).unwrap(), event);
    }

    #[test]
    fn an_autoscaler_of_v1_is_one_cpu_metric_in_v2() {
        let (v1, v2) = (
            gvk("autoscaling", "v1", "HorizontalPodAutoscaler"),
            gvk("autoscaling", "v2", "HorizontalPodAutoscaler"),
        );
        let hpa = json!({ "spec": { "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
            "scaleTargetRef": { "kind": "Deployment", "name": "d" } } });
        let there = convert(&v1, &v2, hpa).unwrap();
        assert_eq!(
            there["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
            50
        );
        let back = convert(&v2, &v1, there).unwrap();
        assert_eq!(back["spec"]["targetCPUUtilizationPercentage"], 50);
        let memory = json!({ "spec": { "maxReplicas": 3, "scaleTargetRef": { "kind": "Deployment", "name": "d" },
            "metrics": [{ "type": "Resource", "resource": { "name": "memory",
                "target": { "type": "Utilization", "averageUtilization": 60 } } }] } });
        let told = convert(&v2, &v1, memory.clone()).unwrap();
        assert_eq!(
            told["metadata"]["annotations"][METRICS],
            r#"[{"type":"Resource","resource":{"name":"memory","targetAverageUtilization":60}}]"#
        );
        assert_eq!(convert(&v1, &v2, told).unwrap()["spec"], memory["spec"]);
        assert!(convert(&v1, &gvk("apps", "v1", "Deployment"), json!({})).is_err());
    }
}
