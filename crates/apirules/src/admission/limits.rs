//! LimitRanger: defaults for containers, then bounds for containers and pods.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Lookup, Operation, Refusal, Request};
use crate::quantity::Quantity;
use crate::read::{Read, object_mut};
use crate::validation::pod::resources::{container_limits, container_requests, quantities};

fn applies(request: &Request<'_>) -> bool {
    request.is_pod()
        && match request.subresource {
            "" => request.operation == Operation::Create,
            "resize" => request.operation == Operation::Update,
            _ => false,
        }
}

fn ranges(request: &Request<'_>, lookup: &dyn Lookup) -> Vec<Value> {
    lookup.list("", "limitranges", request.namespace)
}

pub(super) fn apply_defaults(request: &Request<'_>, pod: &mut Value, lookup: &dyn Lookup) {
    if !applies(request) || !request.subresource.is_empty() {
        return;
    }
    for range in ranges(request, lookup) {
        let (mut requests, mut limits) = (Map::new(), Map::new());
        for limit in range
            .at("spec")
            .list("limits")
            .iter()
            .filter(|l| l.text("type") == "Container")
        {
            requests.extend(limit.map("defaultRequest").cloned().unwrap_or_default());
            limits.extend(limit.map("default").cloned().unwrap_or_default());
        }
        if !requests.is_empty() || !limits.is_empty() {
            fill(pod, &requests, &limits);
        }
    }
}

fn fill(pod: &mut Value, requests: &Map<String, Value>, limits: &Map<String, Value>) {
    let mut notes = Vec::new();
    for (list, sort) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod
            .get_mut("spec")
            .and_then(|s| s.get_mut(list))
            .and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container.text("name").to_owned();
            for (kind, defaults) in [("requests", requests), ("limits", limits)] {
                let set = fill_list(container, kind, defaults);
                if !set.is_empty() {
                    let what = kind.trim_end_matches('s');
                    notes.push(format!("{} {what} for {sort} {name}", set.join(", ")));
                }
            }
        }
    }
    if notes.is_empty() {
        return;
    }
    let annotations = pod.get_mut("metadata").and_then(|m| object_mut(m, "annotations"));
    if let Some(annotations) = annotations {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        annotations.insert("kubernetes.io/limit-ranger".to_owned(), json!(text));
    }
}

fn fill_list(container: &mut Value, kind: &str, defaults: &Map<String, Value>) -> Vec<String> {
    if defaults.is_empty() {
        return Vec::new();
    }
    let Some(resources) = object_mut(container, "resources") else {
        return Vec::new();
    };
    let list = resources.entry(kind).or_insert_with(|| json!({}));
    let Some(list) = list.as_object_mut() else {
        return Vec::new();
    };
    let missing: Vec<&String> = defaults.keys().filter(|k| !list.contains_key(*k)).collect();
    let names = missing.iter().map(|k| (*k).clone()).collect();
    for key in missing {
        list.insert(key.clone(), defaults[key].clone());
    }
    names
}

pub(super) fn validate(request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Refusal> {
    if !applies(request) {
        return Ok(());
    }
    for range in ranges(request, lookup) {
        let mut problems = Vec::new();
        for limit in range.at("spec").list("limits") {
            check(limit, pod.at("spec"), &mut problems);
        }
        match problems.as_slice() {
            [] => {}
            [one] => return Err(Refusal::forbidden(request, one)),
            many => return Err(Refusal::forbidden(request, &format!("[{}]", many.join(", ")))),
        }
    }
    Ok(())
}

/// What a claim asks for is bounded too; that nothing is asked for says nothing.
pub(super) fn validate_claim(
    request: &Request<'_>,
    claim: &Value,
    lookup: &dyn Lookup,
) -> Result<(), Refusal> {
    let is_claim = request.group.is_empty() && request.resource == "persistentvolumeclaims";
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !is_claim || !writes || !request.subresource.is_empty() {
        return Ok(());
    }
    let requests = quantities(claim.at("spec").at("resources").map("requests"));
    for range in ranges(request, lookup) {
        let limits = range.at("spec").list("limits").iter();
        for limit in limits.filter(|l| l.text("type") == "PersistentVolumeClaim") {
            let problem = claim_bounds(limit, &requests);
            if let Some(why) = problem {
                return Err(Refusal::forbidden(request, &why));
            }
        }
    }
    Ok(())
}

fn claim_bounds(limit: &Value, requests: &BTreeMap<&str, Quantity>) -> Option<String> {
    let kind = "PersistentVolumeClaim";
    for (name, min) in quantities(limit.map("min")) {
        match requests.get(name) {
            Some(asked) if *asked < min => {
                return Some(format!(
                    "minimum {name} usage per {kind} is {min}, but request is {asked}"
                ));
            }
            _ => {}
        }
    }
    for (name, max) in quantities(limit.map("max")) {
        match requests.get(name) {
            Some(asked) if *asked > max => {
                return Some(format!(
                    "maximum {name} usage per {kind} is {max}, but request is {asked}"
                ));
            }
            _ => {}
        }
    }
    None
}

type Amounts = BTreeMap<String, Quantity>;

fn check(limit: &Value, spec: &Value, problems: &mut Vec<String>) {
    let owned = |map: Option<&Map<String, Value>>| -> Amounts {
        quantities(map)
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect()
    };
    match limit.text("type") {
        "Container" => {
            for container in spec.list("containers").iter().chain(spec.list("initContainers")) {
                let resources = container.at("resources");
                let (requests, limits) = (owned(resources.map("requests")), owned(resources.map("limits")));
                bounds(limit, "Container", &requests, &limits, problems);
            }
        }
        "Pod" => bounds(
            limit,
            "Pod",
            &container_requests(spec),
            &container_limits(spec),
            problems,
        ),
        _ => {}
    }
}

fn bounds(limit: &Value, kind: &str, requests: &Amounts, limits: &Amounts, problems: &mut Vec<String>) {
    for (name, min) in quantities(limit.map("min")) {
        let rule = format!("minimum {name} usage per {kind} is {min}");
        match (requests.get(name), limits.get(name)) {
            (None, _) => problems.push(format!("{rule}.  No request is specified")),
            (Some(request), _) if *request < min => {
                problems.push(format!("{rule}, but request is {request}"))
            }
            (_, Some(limit)) if *limit < min => problems.push(format!("{rule}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, max) in quantities(limit.map("max")) {
        let rule = format!("maximum {name} usage per {kind} is {max}");
        match (requests.get(name), limits.get(name)) {
            (_, None) => problems.push(format!("{rule}.  No limit is specified")),
            (_, Some(limit)) if *limit > max => problems.push(format!("{rule}, but limit is {limit}")),
            (Some(request), _) if *request > max => {
                problems.push(format!("{rule}, but request is {request}"))
            }
            _ => {}
        }
    }
    for (name, ratio) in quantities(limit.map("maxLimitRequestRatio")) {
        let rule = format!("{name} max limit to request ratio per {kind} is {ratio}");
        let nonzero = |amounts: &Amounts| amounts.get(name).copied().filter(|q| !q.is_zero());
        match (nonzero(requests), nonzero(limits)) {
            (None, _) => problems.push(format!("{rule}, but no request is specified or request is 0")),
            (_, None) => problems.push(format!("{rule}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let observed = limit.as_f64() / request.as_f64();
                if observed > ratio.as_f64() {
                    problems.push(format!("{rule}, but provided ratio is {observed:.6}"));
                }
            }
        }
    }
}
