//! The resize subresource: cpu and memory, of containers and of the pod.

use serde_json::{Map, Value, json};

use super::difference::same_internal;
use super::prepare::computed_qos;
use super::{MIRROR, validate_meta_and_spec};
use crate::path::{Errors, Path};
use crate::read::Read;
use crate::validation::meta::validate_meta_update;

pub(crate) fn validate_resize(new: &Value, old: &Value, errors: &mut Errors) {
    validate_meta_update(new, old, errors);
    validate_meta_and_spec(new, errors);
    let only = |text: &str, errors: &mut Errors| {
        errors.0.clear();
        // How a real server writes a path of one empty name.
        errors.forbidden(&Path::new("[]"), text);
    };
    if old.at("metadata").at("annotations").has(MIRROR) {
        return only("static pods cannot be resized", errors);
    }
    if old.at("spec").at("os").text("name") == "windows" {
        return only("windows pods cannot be resized", errors);
    }
    let path = Path::new("spec");
    if super::qos_class(old) != computed_qos(new.at("spec")) {
        let class = new.at("status").text("qosClass");
        errors.invalid(
            &path,
            class,
            "Pod QOS Class may not change as a result of resizing",
        );
    }
    if !node_can_resize(old) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    let (new, old) = (new.at("spec"), old.at("spec"));
    let mut masked = new.clone();
    validate_pod_level(old, &mut masked, &path, errors);
    if !validate_order(new, old, &path, errors) {
        return;
    }
    for list in ["initContainers", "containers"] {
        for (i, (new, old)) in new.list(list).iter().zip(old.list(list)).enumerate() {
            let at = path.child(list).index(i).child("resources");
            for kind in ["requests", "limits"] {
                if removed(new.at("resources").map(kind), old.at("resources").map(kind)) {
                    let what = kind.trim_end_matches('s');
                    errors.forbidden(&at.child(kind), format!("resource {what}s cannot be removed"));
                }
            }
        }
    }
    mask_containers(&mut masked, old, &path, errors);
    if errors.is_empty() && !same_internal(&masked, old, "PodSpec") {
        errors.forbidden(&path, "only cpu and memory resources are mutable");
    }
}

fn node_can_resize(pod: &Value) -> bool {
    let statuses = pod.at("status").list("containerStatuses");
    let running = statuses.iter().find(|s| s.at("state").has("running"));
    running.is_none_or(|s| s.has("resources"))
}

fn validate_order(new: &Value, old: &Value, path: &Path, errors: &mut Errors) -> bool {
    let before = errors.0.len();
    for list in ["containers", "initContainers"] {
        let (new, old, at) = (new.list(list), old.list(list), path.child(list));
        if new.len() != old.len() {
            errors.forbidden(&at, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (i, (new, old)) in new.iter().zip(old).enumerate() {
            if new.text("name") != old.text("name") {
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.forbidden(&at.index(i).child("name"), detail);
            }
        }
    }
    errors.0.len() == before
}

fn removed(new: Option<&Map<String, Value>>, old: Option<&Map<String, Value>>) -> bool {
    let mut names = old.into_iter().flatten().map(|(k, _)| k);
    names.any(|name| new.is_none_or(|n| !n.contains_key(name)))
}

/// cpu and memory as before, everything else as it is.
fn with_old_compute(new: &Value, old: &Value) -> Value {
    let mut out = json!({});
    for kind in ["requests", "limits"] {
        let mut list = new.map(kind).cloned().unwrap_or_default();
        for name in ["cpu", "memory"] {
            list.remove(name);
            if let Some(value) = old.at(kind).get(name) {
                list.insert(name.to_owned(), value.clone());
            }
        }
        out[kind] = Value::Object(list);
    }
    out
}

fn validate_pod_level(old: &Value, masked: &mut Value, path: &Path, errors: &mut Errors) {
    let new = masked.at("resources").clone();
    let old = old.at("resources");
    let set = |r: &Value| {
        ["requests", "limits"]
            .iter()
            .any(|k| r.map(k).is_some_and(|m| !m.is_empty()))
    };
    if !set(&new) && !set(old) {
        return;
    }
    let at = path.child("resources");
    if !old.is_null() && new.is_null() {
        return errors.forbidden(&at, "pod-level resources cannot be removed");
    }
    for kind in ["requests", "limits"] {
        if removed(new.map(kind), old.map(kind)) {
            errors.forbidden(
                &at.child(kind),
                format!("pod-level resource {kind} cannot be removed"),
            );
        }
    }
    let mut kept = with_old_compute(&new, old);
    if new.has("claims") {
        kept["claims"] = new.at("claims").clone();
    }
    if old.is_null() && !set(&kept) {
        kept = Value::Null;
    }
    if !same_internal(&kept, old, "*ResourceRequirements") {
        errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
    }
    if let Some(map) = masked.as_object_mut() {
        map.insert("resources".to_owned(), kept);
    }
}

fn mask_containers(masked: &mut Value, old: &Value, path: &Path, errors: &mut Errors) {
    for list in ["containers", "initContainers"] {
        let Some(containers) = masked.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (i, (container, old)) in containers.iter_mut().zip(old.list(list)).enumerate() {
            let init = list == "initContainers";
            let modified = !same_internal(container, old, "Container");
            container["resources"] = with_old_compute(container.at("resources"), old.at("resources"));
            let at = path.child(list).index(i);
            if !same_internal(container, old, "Container") {
                if init {
                    let detail = "only cpu and memory resources for init or sidecar containers are mutable";
                    errors.forbidden(&at, detail);
                } else {
                    errors.forbidden(path, "only cpu and memory resources are mutable");
                }
            }
            if init && modified && container.text("restartPolicy") != "Always" {
                let restarts = container.list("resizePolicy").iter();
                for _ in restarts.filter(|p| p.text("restartPolicy") == "RestartContainer") {
                    let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                    errors.forbidden(&at, detail);
                }
            }
        }
    }
}
