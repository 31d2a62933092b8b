//! Field selectors: which fields of which kind can be selected on.

use serde_json::Value;

use crate::catalog::StorageKey;
use crate::store::FieldExtractor;

type Fields = Vec<(&'static str, String)>;

/// The function that reads the selectable fields of a kind when it is stored.
pub fn extractor(table: &StorageKey) -> FieldExtractor {
    match (table.group.as_str(), table.plural.as_str()) {
        ("", "pods") => pod,
        ("", "nodes") => node,
        ("", "events") => event,
        ("", "secrets") => secret,
        ("", "namespaces") => namespace,
        ("", "services") => service,
        ("", "replicationcontrollers") => replicas,
        ("batch", "jobs") => job,
        ("certificates.k8s.io", "certificatesigningrequests") => signing_request,
        _ => none,
    }
}

/// The label under which a requested field is kept, or `None` where this kind has no such field.
pub fn supported(table: &StorageKey, group: &str, field: &str) -> Option<String> {
    if matches!(field, "metadata.name" | "metadata.namespace") {
        return Some(field.to_owned());
    }
    let known = extractor(table)(&Value::Null);
    let stored = if group == "events.k8s.io" {
        event_field(field)
    } else {
        field.to_owned()
    };
    known.iter().any(|(name, _)| *name == stored).then_some(stored)
}

/// Kinds of the core group with their own list of labels word the refusal shortly.
pub fn unsupported_message(table: &StorageKey, field: &str) -> String {
    if table.plural == "jobs" {
        return format!("field label {field:?} not supported for Job");
    }
    let custom = !crate::catalog::builtin()
        .resources
        .values()
        .any(|r| r.storage == *table);
    let own_list = custom || !extractor(table)(&Value::Null).is_empty();
    if own_list {
        format!("field label not supported: {field}")
    } else {
        format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    }
}

fn event_field(field: &str) -> String {
    match field {
        "reportingController" => "reportingComponent".to_owned(),
        other => other.replacen("regarding.", "involvedObject.", 1),
    }
}

fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn flag(value: &Value, pointer: &str) -> String {
    let set = value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
    set.to_string()
}

fn number(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or(0)
        .to_string()
}

fn none(_: &Value) -> Fields {
    Vec::new()
}

fn pod(v: &Value) -> Fields {
    vec![
        ("spec.nodeName", text(v, "/spec/nodeName")),
        ("spec.restartPolicy", text(v, "/spec/restartPolicy")),
        ("spec.schedulerName", text(v, "/spec/schedulerName")),
        ("spec.serviceAccountName", text(v, "/spec/serviceAccountName")),
        ("spec.hostNetwork", flag(v, "/spec/hostNetwork")),
        ("status.phase", text(v, "/status/phase")),
        ("status.podIP", text(v, "/status/podIP")),
        ("status.podIPs", text(v, "/status/podIP")),
        ("status.nominatedNodeName", text(v, "/status/nominatedNodeName")),
    ]
}

fn node(v: &Value) -> Fields {
    vec![("spec.unschedulable", flag(v, "/spec/unschedulable"))]
}

fn secret(v: &Value) -> Fields {
    vec![("type", text(v, "/type"))]
}

fn namespace(v: &Value) -> Fields {
    vec![("status.phase", text(v, "/status/phase"))]
}

fn service(v: &Value) -> Fields {
    vec![
        ("spec.clusterIP", text(v, "/spec/clusterIP")),
        ("spec.type", text(v, "/spec/type")),
    ]
}

fn replicas(v: &Value) -> Fields {
    vec![("status.replicas", number(v, "/status/replicas"))]
}

fn job(v: &Value) -> Fields {
    vec![("status.successful", number(v, "/status/succeeded"))]
}

fn signing_request(v: &Value) -> Fields {
    vec![("spec.signerName", text(v, "/spec/signerName"))]
}

fn event(v: &Value) -> Fields {
    let source = match text(v, "/source/component") {
        empty if empty.is_empty() => text(v, "/reportingComponent"),
        component => component,
    };
    vec![
        ("involvedObject.kind", text(v, "/involvedObject/kind")),
        ("involvedObject.namespace", text(v, "/involvedObject/namespace")),
        ("involvedObject.name", text(v, "/involvedObject/name")),
        ("involvedObject.uid", text(v, "/involvedObject/uid")),
        ("involvedObject.apiVersion", text(v, "/involvedObject/apiVersion")),
        (
            "involvedObject.resourceVersion",
            text(v, "/involvedObject/resourceVersion"),
        ),
        ("involvedObject.fieldPath", text(v, "/involvedObject/fieldPath")),
        ("reason", text(v, "/reason")),
        ("reportingComponent", text(v, "/reportingComponent")),
        ("source", source),
        ("type", text(v, "/type")),
    ]
}
