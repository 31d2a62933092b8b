//! StorageObjectInUseProtection: what may be in use gets a finalizer, which a controller takes off.

use serde_json::{Value, json};

use super::{Operation, Request};

/// The finalizer that objects of the resource get.
#[must_use]
pub fn protection(group: &str, resource: &str) -> Option<&'static str> {
    match (group, resource) {
        ("", "persistentvolumeclaims") => Some("kubernetes.io/pvc-protection"),
        ("", "persistentvolumes") => Some("kubernetes.io/pv-protection"),
        ("storage.k8s.io", "volumeattributesclasses") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

pub(super) fn mutate(request: &Request<'_>, object: &mut Value) {
    if request.operation != Operation::Create || !request.subresource.is_empty() {
        return;
    }
    let Some(finalizer) = protection(request.group, request.resource) else {
        return;
    };
    match object["metadata"]["finalizers"].as_array_mut() {
        Some(all) if all.iter().any(|f| f == finalizer) => {}
        Some(all) => all.push(finalizer.into()),
        None => object["metadata"]["finalizers"] = json!([finalizer]),
    }
}
