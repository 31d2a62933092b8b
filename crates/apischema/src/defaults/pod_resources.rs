//! Requests of a pod's containers from their limits, and the pod's own from its containers'.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Object, at, each, text};
use crate::quantity::Quantity;

type Amounts = BTreeMap<String, Quantity>;

pub(super) fn apply(spec: &mut Object) {
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            if let Some(resources) = at(container, &["resources"]) {
                requests_from_limits(resources);
            }
        }
    }
    let requests = aggregate(spec, "requests");
    let limits = aggregate(spec, "limits");
    if let Some(resources) = at(spec, &["resources"]) {
        pod_level(resources, &requests, &limits);
    }
}

fn requests_from_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if limits.is_empty() {
        return;
    }
    fill(resources, "requests", &limits);
}

fn pod_level(resources: &mut Object, container_requests: &Amounts, container_limits: &Amounts) {
    let is_empty = |list: Option<&Value>| list.and_then(Value::as_object).is_none_or(Map::is_empty);
    if !is_empty(resources.get("limits")) || !is_empty(resources.get("requests")) {
        let huge = as_json(container_limits, |name| name.starts_with("hugepages-"));
        fill(resources, "limits", &huge);
    }
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if limits.is_empty() {
        return;
    }
    let from_containers = as_json(container_requests, |name| matches!(name, "cpu" | "memory"));
    fill(resources, "requests", &from_containers);
    let supported = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let from_limits = limits.into_iter().filter(|(name, _)| supported(name)).collect();
    fill(resources, "requests", &from_limits);
}

fn fill(resources: &mut Object, list: &str, from: &Object) {
    if from.is_empty() {
        return;
    }
    let Some(into) = super::made(resources, list) else {
        return;
    };
    for (name, amount) in from {
        into.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

/// What all containers need at once: the running ones together, or the largest init container beside the
/// sidecars that started before it.
fn aggregate(spec: &Object, list: &str) -> Amounts {
    let mut running = Amounts::new();
    for container in objects(spec, "containers") {
        add(&mut running, &amounts(container, list));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in objects(spec, "initContainers") {
        let mut needed = amounts(container, list);
        if text(container, "restartPolicy") == "Always" {
            add(&mut sidecars, &needed);
            needed = sidecars.clone();
        } else {
            add(&mut needed, &sidecars);
        }
        raise(&mut starting, &needed);
    }
    add(&mut running, &sidecars);
    raise(&mut running, &starting);
    running
}

fn objects<'a>(spec: &'a Object, list: &str) -> impl Iterator<Item = &'a Object> {
    let items = spec.get(list).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_object)
}

fn amounts(container: &Object, list: &str) -> Amounts {
    let Some(Value::Object(amounts)) = container.get("resources").and_then(|r| r.get(list)) else {
        return Amounts::new();
    };
    let parsed = amounts
        .iter()
        .filter_map(|(name, v)| Some((name.clone(), v.as_str()?.parse().ok()?)));
    parsed.collect()
}

fn add(into: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = into.get(name).map_or(*amount, |had| had.plus(*amount));
        into.insert(name.clone(), sum);
    }
}

fn raise(into: &mut Amounts, to: &Amounts) {
    for (name, amount) in to {
        if into.get(name).is_none_or(|had| had < amount) {
            into.insert(name.clone(), *amount);
        }
    }
}

fn as_json(amounts: &Amounts, wanted: impl Fn(&str) -> bool) -> Object {
    let kept = amounts.iter().filter(|(name, _)| wanted(name));
    kept.map(|(name, amount)| (name.clone(), Value::String(amount.to_string())))
        .collect()
}
