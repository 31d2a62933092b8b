//! The one place where requests meet the rules: schemas, defaults, validation, merging.

use model::field::FieldError;
use serde_json::Value;

use crate::catalog::Resource;
use crate::server::ApiServer;
use crate::status::Status;

/// Removes unknown fields; returns what makes the body unreadable, and what was unknown.
pub(crate) fn prune(resource: &Resource, value: &mut Value) -> (Vec<String>, Vec<String>) {
    prune_kind(&resource.group, &resource.version, &resource.kind, value)
}

pub(crate) fn prune_kind(
    _group: &str,
    _version: &str,
    _kind: &str,
    _value: &mut Value,
) -> (Vec<String>, Vec<String>) {
    (Vec::new(), Vec::new())
}

pub(crate) fn default(_resource: &Resource, _value: &mut Value) {}

/// From the stored version to the served one.
pub(crate) fn from_storage(resource: &Resource, value: Value) -> Result<Value, Status> {
    if !resource.converts() {
        return Ok(value);
    }
    relabel(value, &resource.api_version())
}

/// From the served version to the stored one.
pub(crate) fn to_storage(resource: &Resource, value: Value) -> Result<Value, Status> {
    if !resource.converts() {
        return Ok(value);
    }
    let version = crate::catalog::group_version(&resource.storage_group, &resource.storage_version);
    relabel(value, &version)
}

fn relabel(mut value: Value, version: &str) -> Result<Value, Status> {
    value["apiVersion"] = version.into();
    Ok(value)
}

/// What a registry does to a new object before validation.
pub(crate) fn prepare_for_create(_server: &ApiServer, resource: &Resource, value: &mut Value) {
    if value.get("spec").is_some() && resource.subresource("status").is_some() {
        value["metadata"]["generation"] = 1.into();
    }
}

pub(crate) fn validate_create(_resource: &Resource, value: &Value) -> Vec<FieldError> {
    let named = value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .is_some_and(|n| !n.is_empty());
    match named {
        true => Vec::new(),
        false => vec![FieldError::required(
            "metadata.name",
            "name or generateName is required",
        )],
    }
}

/// What a registry does to a changed object before validation: the parts this (sub)resource may not write
/// are taken from the old one, and the generation counts changes of the rest.
pub(crate) fn prepare_for_update(resource: &Resource, subresource: &str, new: &mut Value, old: &Value) {
    match subresource {
        "status" => {
            let mut out = old.clone();
            put_or_remove(&mut out, "status", new.get("status"));
            let managed = new.pointer("/metadata/managedFields").cloned();
            put_or_remove(&mut out["metadata"], "managedFields", managed.as_ref());
            let version = new.pointer("/metadata/resourceVersion").cloned();
            put_or_remove(&mut out["metadata"], "resourceVersion", version.as_ref());
            *new = out;
        }
        "" if resource.subresource("status").is_some() => {
            put_or_remove(new, "status", old.get("status"));
            if new.get("spec") != old.get("spec") {
                let generation = old
                    .pointer("/metadata/generation")
                    .and_then(Value::as_i64)
                    .unwrap_or(0);
                new["metadata"]["generation"] = (generation + 1).into();
            }
        }
        _ => {}
    }
}

pub(crate) fn validate_update(
    _resource: &Resource,
    _subresource: &str,
    _new: &Value,
    _old: &Value,
) -> Vec<FieldError> {
    Vec::new()
}

fn put_or_remove(object: &mut Value, name: &str, value: Option<&Value>) {
    let Some(map) = object.as_object_mut() else { return };
    match value {
        Some(value) => {
            map.insert(name.to_owned(), value.clone());
        }
        None => {
            map.remove(name);
        }
    }
}

/// Who writes, for managedFields.
#[derive(Debug, Clone)]
pub(crate) struct Writer<'a> {
    pub manager: &'a str,
    pub subresource: &'a str,
    pub now: String,
}

/// Records in managedFields what an update changed.
pub(crate) fn track_update(_resource: &Resource, _live: &Value, _new: &mut Value, _writer: &Writer<'_>) {}

/// Server-side apply.
pub(crate) fn apply(
    _resource: &Resource,
    _live: &Value,
    _applied: &Value,
    _writer: &Writer<'_>,
    _force: bool,
) -> Result<Value, Status> {
    Err(Status::not_implemented("server-side apply"))
}

pub(crate) fn json_patch(live: &Value, patch: &[u8], target: &crate::route::Target) -> Result<Value, Status> {
    let _ = (live, patch, target);
    Err(Status::not_implemented("JSON patch"))
}

pub(crate) fn merge_patch(live: &Value, patch: &Value) -> Value {
    let (Some(live_map), Some(patch_map)) = (live.as_object(), patch.as_object()) else {
        return patch.clone();
    };
    let mut out = live_map.clone();
    for (key, value) in patch_map {
        if value.is_null() {
            out.remove(key);
        } else {
            let merged = merge_patch(out.get(key).unwrap_or(&Value::Object(Default::default())), value);
            out.insert(key.clone(), merged);
        }
    }
    Value::Object(out)
}

pub(crate) fn strategic_patch(_resource: &Resource, live: &Value, patch: &Value) -> Result<Value, Status> {
    Ok(merge_patch(live, patch))
}

/// Kinds that an update creates where they are absent.
pub(crate) fn creates_on_update(resource: &Resource) -> bool {
    matches!(
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

/// Warnings about a valid new object.
pub(crate) fn create_warnings(_resource: &Resource, _object: &Value) -> Vec<String> {
    Vec::new()
}

pub(crate) fn update_warnings(
    _resource: &Resource,
    _subresource: &str,
    _new: &Value,
    _old: &Value,
) -> Vec<String> {
    Vec::new()
}
