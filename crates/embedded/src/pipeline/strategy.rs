//! How registries treat kinds, where it is not validation.

use serde_json::{Value, json};

use crate::catalog::Resource;
use crate::custom::CLEANUP;
use crate::metadata;
use crate::route::Target;

/// Kinds that an update creates where they are absent; of services even one of the status.
pub(crate) fn creates_on_update(target: &Target) -> bool {
    let resource = &target.resource;
    let whole = match target.subresource.as_deref() {
        None => true,
        Some(name) => name == "status" && resource.is("", "services"),
    };
    whole
        && matches!(
            (resource.group.as_str(), resource.plural.as_str()),
            ("", "events" | "limitranges" | "endpoints" | "services")
                | ("events.k8s.io", "events")
                | ("coordination.k8s.io", "leases")
                | ("rbac.authorization.k8s.io", _)
                | ("discovery.k8s.io", "endpointslices")
        )
}

/// Kinds that may be updated without naming the version that was read.
pub(crate) fn updates_unconditionally(resource: &Resource) -> bool {
    resource.custom.is_none()
        && !matches!(
            (resource.group.as_str(), resource.plural.as_str()),
            ("coordination.k8s.io", "leases")
                | ("discovery.k8s.io", "endpointslices")
                | ("apiextensions.k8s.io" | "apiregistration.k8s.io", _)
                | ("admissionregistration.k8s.io", _)
                | ("policy", "poddisruptionbudgets")
                | ("scheduling.k8s.io", "priorityclasses")
        )
}

/// A marked object without finalizers may go; namespaces wait for their own finalizers.
pub(crate) fn may_vanish(resource: &Resource, object: &Value) -> bool {
    if !resource.is("", "namespaces") {
        return true;
    }
    object
        .pointer("/spec/finalizers")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
}

/// A namespace carries its name as a label, and the finalizer that empties it.
pub(crate) fn prepare_namespace(resource: &Resource, value: &mut Value) {
    if !resource.is("", "namespaces") {
        return;
    }
    let name = metadata::name(value).to_owned();
    if let Some(metadata) = metadata::map(value) {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        labels["kubernetes.io/metadata.name"] = name.into();
    }
    let finalizers = &mut value["spec"]["finalizers"];
    let has = finalizers
        .as_array()
        .is_some_and(|l| l.iter().any(|f| f == "kubernetes"));
    if !has {
        match finalizers.as_array_mut() {
            Some(list) => list.push(json!("kubernetes")),
            None => *finalizers = json!(["kubernetes"]),
        }
    }
    value["status"]["phase"] = "Active".into();
}

/// The finalizers an object has from its deletion on: a definition waits for the objects of its kind.
pub(crate) fn finalizers_of_deletion(
    resource: &Resource,
    object: &Value,
    mut finalizers: Vec<String>,
) -> Vec<String> {
    let begins = is_definition(resource) && !metadata::is_deleting(object);
    if begins && !finalizers.iter().any(|f| f == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
    }
    finalizers
}

pub(crate) fn is_definition(resource: &Resource) -> bool {
    resource.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// A definition's names are filled in from its kind.
pub(crate) fn default_definition(resource: &Resource, value: &mut Value) {
    if !is_definition(resource) {
        return;
    }
    let Some(kind) = value
        .pointer("/spec/names/kind")
        .and_then(Value::as_str)
        .map(str::to_owned)
    else {
        return;
    };
    let names = &mut value["spec"]["names"];
    let absent = |v: &Value| v.as_str().is_none_or(str::is_empty);
    if absent(&names["singular"]) {
        names["singular"] = kind.to_lowercase().into();
    }
    if absent(&names["listKind"]) {
        names["listKind"] = format!("{kind}List").into();
    }
    if value["spec"]["conversion"].is_null() {
        value["spec"]["conversion"] = json!({"strategy": "None"});
    }
}
