//! Kinds with a single conditional default.

use serde_json::{Value, json};

use super::{Object, at, each, made, set_default, text};

pub(super) fn core(kind: &str, object: &mut Object) {
    match kind {
        "Namespace" => namespace(object),
        "Node" => node(object),
        "Secret" => secret(object),
        "LimitRange" => limit_range(object),
        _ => {}
    }
}

pub(super) fn apply(group: &str, kind: &str, object: &mut Object) {
    match (group, kind) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => custom_resource_definition(object),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => queuing(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => subjects(object),
        ("resource.k8s.io", "ResourceClaim") => device_requests(at(object, &["spec", "devices"])),
        ("resource.k8s.io", "ResourceClaimTemplate") => {
            device_requests(at(object, &["spec", "spec", "devices"]))
        }
        _ => {}
    }
}

fn namespace(object: &mut Object) {
    let Some(metadata) = at(object, &["metadata"]) else {
        return;
    };
    let name = text(metadata, "name").to_owned();
    if !name.is_empty()
        && let Some(labels) = made(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), Value::from(name));
    }
}

fn node(object: &mut Object) {
    if let Some(spec) = at(object, &["spec"]) {
        let single = text(spec, "podCIDR").to_owned();
        let first = spec
            .get("podCIDRs")
            .and_then(|c| c.get(0))
            .and_then(Value::as_str)
            .map(str::to_owned);
        match first {
            Some(first) if single.is_empty() && !first.is_empty() => {
                spec.insert("podCIDR".to_owned(), Value::from(first));
            }
            Some(first) if single.is_empty() || first == single => {}
            _ if single.is_empty() => {}
            _ => {
                spec.insert("podCIDRs".to_owned(), json!([single]));
            }
        }
    }
    if let Some(status) = at(object, &["status"])
        && let Some(capacity) = status.get("capacity").filter(|c| !c.is_null()).cloned()
    {
        set_default(status, "allocatable", capacity);
    }
}

/// `stringData` is written once and never read back.
fn secret(object: &mut Object) {
    use base64::Engine;
    let Some(Value::Object(plain)) = object.remove("stringData") else {
        return;
    };
    if let Some(data) = made(object, "data") {
        for (name, value) in plain {
            let bytes = value.as_str().unwrap_or_default().as_bytes();
            let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
            data.insert(name, Value::String(encoded));
        }
    }
}

fn limit_range(object: &mut Object) {
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    for limit in each(spec, "limits") {
        if text(limit, "type") != "Container" {
            continue;
        }
        fill(limit, "default", "max");
        fill(limit, "defaultRequest", "default");
        fill(limit, "defaultRequest", "min");
    }
}

fn fill(limit: &mut Object, list: &str, from: &str) {
    let Some(Value::Object(amounts)) = limit.get(from).cloned() else {
        return;
    };
    if amounts.is_empty() {
        return;
    }
    if let Some(into) = made(limit, list) {
        for (name, amount) in amounts {
            into.entry(name).or_insert(amount);
        }
    }
}

fn custom_resource_definition(object: &mut Object) {
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    if let Some(names) = at(spec, &["names"]) {
        let kind = text(names, "kind").to_owned();
        if text(names, "singular").is_empty() && !kind.is_empty() {
            names.insert("singular".to_owned(), Value::from(kind.to_lowercase()));
        }
        if text(names, "listKind").is_empty() && !kind.is_empty() {
            names.insert("listKind".to_owned(), Value::from(format!("{kind}List")));
        }
    }
    let storage = each(spec, "versions")
        .find(|version| version.get("storage") == Some(&Value::Bool(true)))
        .map(|version| text(version, "name").to_owned());
    if let (Some(status), Some(storage)) = (made(object, "status"), storage)
        && status
            .get("storedVersions")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
    {
        status.insert("storedVersions".to_owned(), json!([storage]));
    }
}

/// Users and groups are the authorizer's; service accounts are of the core group.
fn subjects(object: &mut Object) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if let Some(role) = at(object, &["roleRef"])
        && text(role, "apiGroup").is_empty()
    {
        role.insert("apiGroup".to_owned(), Value::from(GROUP));
    }
    for subject in each(object, "subjects") {
        if text(subject, "apiGroup").is_empty() && matches!(text(subject, "kind"), "User" | "Group") {
            subject.insert("apiGroup".to_owned(), Value::from(GROUP));
        }
    }
}

fn queuing(object: &mut Object) {
    let Some(queuing) = at(object, &["spec", "limited", "limitResponse", "queuing"]) else {
        return;
    };
    for (name, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
        if queuing.get(name).and_then(Value::as_i64).unwrap_or(0) == 0 {
            queuing.insert(name.to_owned(), Value::from(value));
        }
    }
}

fn device_requests(devices: Option<&mut Object>) {
    let Some(devices) = devices else {
        return;
    };
    for request in each(devices, "requests") {
        if let Some(exactly) = at(request, &["exactly"]) {
            count(exactly);
        }
        for sub in each(request, "firstAvailable") {
            count(sub);
        }
    }
}

fn count(request: &mut Object) {
    if text(request, "allocationMode") == "ExactCount" {
        set_default(request, "count", 1);
    }
}
