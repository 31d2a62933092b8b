//! What an API server would refuse in every pod that gets these containers and volumes: they are read, defaulted and
//! validated as a pod of their own, in which they have the paths that they have in the SidecarSet.
use apirules::validation::{self, ResourceRef};
use apischema::GroupVersionKind;
use model::field::{FieldError, FieldErrorKind};
use model::sidecarset::{SidecarContainer, SidecarSet};
use serde_json::{Value, json};

/// Lists longer than this are refused without a look at what is in them: names are compared one with another.
const LONGEST_LIST: usize = 1_000;

pub(super) fn errors(set: &SidecarSet) -> Vec<FieldError> {
    let mut pod = pod_of(&set.spec.containers, &set.spec.init_containers, &set.spec.volumes);
    if let Some(too_long) = longer_list("spec", &pod["spec"]) {
        return vec![too_long];
    }
    let mistaken = types(&mut pod);
    if !mistaken.is_empty() {
        return mistaken;
    }
    let read = pod.clone();
    apischema::defaults::apply(&pod_kind(), &mut pod);
    undo_requests(&mut pod, &read);
    let mut errors = validation::validate_create(&ResourceRef::new("", "pods", ""), &pod);
    // A pod may bring the volume.
    let of_mount = |path: &str| path.contains(".volumeMounts[") || path.contains(".volumeDevices[");
    errors.retain(|e| !(e.kind == FieldErrorKind::NotFound && of_mount(&e.path)));
    errors
}

/// Requests that are as limits by default: what is wrong with a limit is told once.
fn undo_requests(pod: &mut Value, read: &Value) {
    for list in ["containers", "initContainers"] {
        let before = read["spec"][list].as_array().into_iter().flatten();
        let after = pod["spec"][list].as_array_mut().into_iter().flatten();
        for (before, after) in before.zip(after) {
            if let Some(resources) = before.get("resources") {
                after["resources"] = resources.clone();
            }
        }
    }
}

/// The first value of a type that no pod may have there; `object` is a SidecarSet of any version.
pub(in super::super) fn mistyped(object: &Value) -> Option<FieldError> {
    let list = |field: &str| object["spec"][field].as_array().cloned().unwrap_or_default();
    let mut pod = empty_pod();
    for field in ["containers", "initContainers", "volumes"] {
        pod["spec"][field] = list(field).into();
    }
    types(&mut pod).into_iter().next()
}

fn types(pod: &mut Value) -> Vec<FieldError> {
    let table = &apischema::builtin().table;
    let Some(ty) = table.kind(&pod_kind()) else {
        return Vec::new();
    };
    let read = apischema::decode::decode(table, ty, pod);
    let found = read.places.into_iter().zip(read.errors);
    found
        .map(|(place, why)| FieldError::new(place, FieldErrorKind::TypeInvalid, String::new(), why))
        .collect()
}

fn pod_of(containers: &[SidecarContainer], init: &[SidecarContainer], volumes: &[Value]) -> Value {
    let bodies = |list: &[SidecarContainer]| -> Value { list.iter().map(|c| c.body.clone()).collect() };
    let mut pod = empty_pod();
    pod["spec"]["initContainers"] = bodies(init);
    pod["spec"]["volumes"] = volumes.into();
    if !containers.is_empty() {
        pod["spec"]["containers"] = bodies(containers);
    }
    pod
}

/// One that is valid without what a SidecarSet brings.
fn empty_pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "any", "namespace": "default"},
        "spec": {
            "serviceAccountName": "default",
            "containers": [{"name": "the-pods-own", "image": "any"}],
        },
    })
}

fn pod_kind() -> GroupVersionKind {
    GroupVersionKind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Pod".to_owned(),
    }
}

fn longer_list(path: &str, value: &Value) -> Option<FieldError> {
    match value {
        Value::Array(items) if items.len() > LONGEST_LIST => {
            let why = format!("must have at most {LONGEST_LIST} items");
            let count = items.len().to_string();
            Some(FieldError::new(path, FieldErrorKind::TooMany, count, why))
        }
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(i, item)| longer_list(&format!("{path}[{i}]"), item))
        }
        Value::Object(fields) => fields
            .iter()
            .find_map(|(field, value)| longer_list(&format!("{path}.{field}"), value)),
        _ => None,
    }
}
