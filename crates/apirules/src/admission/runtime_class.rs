//! RuntimeClass: what a class of runtimes costs, and where it runs.

use serde_json::Value;

use super::{Lookup, Operation, Refusal, Request};
use crate::read::{Read, copy_field};

/// A new pod gets its class's overhead, node selector and tolerations.
pub(super) fn mutate(request: &Request<'_>, pod: &mut Value, lookup: &dyn Lookup) -> Result<(), Refusal> {
    let Some(class) = class_of(request, pod, lookup)? else {
        return Ok(());
    };
    let Some(spec) = pod.get_mut("spec").filter(|s| s.is_object()) else {
        return Ok(());
    };
    let overhead = class.at("overhead");
    if !overhead.is_null() {
        let own = spec.map("overhead").is_some_and(|o| !o.is_empty());
        if own && spec.at("overhead") != overhead.at("podFixed") {
            return Err(Refusal::forbidden(request, OTHER_OVERHEAD));
        }
        let fixed = serde_json::json!({"overhead": overhead.at("podFixed")});
        copy_field(spec, &fixed, "overhead");
    }
    let scheduling = class.at("scheduling");
    for (key, value) in scheduling.map("nodeSelector").into_iter().flatten() {
        let own = spec.at("nodeSelector").text(key);
        if spec.at("nodeSelector").has(key) && value != own {
            let value = value.as_str().unwrap_or_default();
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(Refusal::forbidden(request, &why));
        }
        spec["nodeSelector"][key.as_str()] = value.clone();
    }
    for toleration in scheduling.list("tolerations") {
        if spec.list("tolerations").contains(toleration) {
            continue;
        }
        match spec.get_mut("tolerations").and_then(Value::as_array_mut) {
            Some(list) => list.push(toleration.clone()),
            None => spec["tolerations"] = Value::from(vec![toleration.clone()]),
        }
    }
    Ok(())
}

/// Nothing but a class gives a pod an overhead.
pub(super) fn validate(request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Refusal> {
    if !applies(request) {
        return Ok(());
    }
    let own = pod.at("spec").at("overhead");
    let class = class_of(request, pod, lookup)?.unwrap_or_default();
    if class.has("overhead") {
        return match class.at("overhead").at("podFixed") == own {
            true => Ok(()),
            false => Err(Refusal::forbidden(request, OTHER_OVERHEAD)),
        };
    }
    match own.is_null() {
        true => Ok(()),
        false => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(Refusal::forbidden(request, why))
        }
    }
}

const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn applies(request: &Request<'_>) -> bool {
    request.writes_pod() && request.operation == Operation::Create
}

fn class_of(request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<Option<Value>, Refusal> {
    let Some(name) = pod
        .at("spec")
        .at("runtimeClassName")
        .as_str()
        .filter(|_| applies(request))
    else {
        return Ok(None);
    };
    if name.is_empty() {
        // A real server asks itself as a client does, and a client does not ask for nothing.
        return Err(Refusal {
            code: 500,
            reason: "",
            message: "resource name may not be empty".to_owned(),
            details: Value::Null,
        });
    }
    match lookup.get("node.k8s.io", "runtimeclasses", None, name) {
        Some(class) => Ok(Some(class)),
        None => {
            let why = format!("pod rejected: RuntimeClass {name:?} not found");
            Err(Refusal::forbidden(request, &why))
        }
    }
}
