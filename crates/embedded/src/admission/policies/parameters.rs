//! The objects that a binding names as a policy's parameters.

use apirules::validation::selector_matches;
use serde_json::Value;

use super::Bound;
use crate::admission::Sight;

use crate::catalog::{Resource, group_version};
use crate::store::object_key;

/// One evaluation for each; null where the policy or the binding wants none.
pub(super) fn parameters(sight: &Sight<'_>, bound: &Bound<'_>) -> Result<Vec<Value>, String> {
    let kind = &bound.policy["spec"]["paramKind"];
    let reference = &bound.binding["spec"]["paramRef"];
    if !kind.is_object() || !reference.is_object() {
        return Ok(vec![Value::Null]);
    }
    let Some(resource) = resource(sight, kind) else {
        return Err(format!(
            "failed to find resource referenced by paramKind: '{}, Kind={}'",
            kind["apiVersion"].as_str().unwrap_or_default(),
            kind["kind"].as_str().unwrap_or_default()
        ));
    };
    let given = reference["namespace"].as_str().filter(|n| !n.is_empty());
    let namespace = match (resource.namespaced, given) {
        (true, Some(given)) => Some(given),
        (true, None) => match sight.attributes.namespace.as_deref() {
            Some(own) if sight.attributes.namespaced => Some(own),
            _ => {
                let why =
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
                return Err(why.to_owned());
            }
        },
        (false, Some(_)) => {
            return Err(
                "paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned(),
            );
        }
        (false, None) => None,
    };
    let found = find(sight, &resource, namespace, reference);
    if found.is_empty() && reference["parameterNotFoundAction"] != "Allow" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found)
}

fn resource(sight: &Sight<'_>, kind: &Value) -> Option<std::sync::Arc<Resource>> {
    let is_it = |r: &&std::sync::Arc<Resource>| {
        kind["kind"] == r.kind.as_str() && kind["apiVersion"] == group_version(&r.group, &r.version).as_str()
    };
    let custom = sight.server.custom();
    let all = crate::catalog::builtin()
        .resources
        .values()
        .chain(custom.resources.values());
    all.into_iter().find(is_it).cloned()
}

fn find(sight: &Sight<'_>, resource: &Resource, namespace: Option<&str>, reference: &Value) -> Vec<Value> {
    let store = sight.server.store();
    if let Some(name) = reference["name"].as_str().filter(|n| !n.is_empty()) {
        let found = store.get(&resource.storage, &object_key(namespace, name));
        return found.into_iter().map(|o| o.bare()).collect();
    }
    let prefix = namespace.map(|n| format!("{n}/")).unwrap_or_default();
    let (_, all) = store.snapshot(&resource.storage, &prefix);
    let selected = |o: &Value| selector_matches(&reference["selector"], &o["metadata"]["labels"]);
    all.iter().map(|o| o.bare()).filter(selected).collect()
}
