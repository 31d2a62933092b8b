//! What may change in a running pod.

use serde_json::{Value, json};

use super::difference::{difference, same_internal};
use super::scheduling::validate_tolerations;
use super::{validate_annotation_updates, validate_meta_and_spec};
use crate::path::{Errors, Path};
use crate::read::{Read, copy_field};
use crate::validation::meta::validate_meta_update;

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(crate) fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    validate_meta_update(new, old, errors);
    validate_meta_and_spec(new, errors);
    validate_annotation_updates(new, old, errors);
    let path = Path::new("spec");
    let (new, old) = (new.at("spec"), old.at("spec"));
    for list in ["containers", "initContainers"] {
        if !validate_images(new.list(list), old.list(list), &path.child(list), errors) {
            return;
        }
    }
    if !validate_deadline(new, old, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    validate_added_tolerations(new, old, &path.child("tolerations"), errors);
    validate_deleted_gates(new, old, &path.child("schedulingGates"), errors);
    if same_internal(new, old, "PodSpec") {
        return;
    }
    let mut masked = new.clone();
    mask_updatable(&mut masked, old);
    if !old.list("schedulingGates").is_empty() {
        mask_gated(&mut masked, old, &path, errors);
    }
    if !same_internal(&masked, old, "PodSpec") {
        let diff = difference(old, &masked, "PodSpec");
        errors.forbidden(
            &path,
            format!("pod updates may not change fields other than {UPDATABLE}\n{diff}"),
        );
    }
}

fn validate_images(new: &[Value], old: &[Value], path: &Path, errors: &mut Errors) -> bool {
    if new.len() != old.len() {
        errors.forbidden(path, "pod updates may not add or remove containers");
        return false;
    }
    for (i, container) in new.iter().enumerate() {
        let (image, at) = (container.text("image"), path.index(i).child("image"));
        if image.is_empty() {
            errors.required(&at, "");
        }
        if image.trim().len() != image.len() {
            errors.invalid(&at, image, "must not have leading or trailing whitespace");
        }
    }
    true
}

/// Deadlines may be set and shortened; false where nothing more need be said.
fn validate_deadline(new: &Value, old: &Value, path: &Path, errors: &mut Errors) -> bool {
    let (after, before) = (new.int("activeDeadlineSeconds"), old.int("activeDeadlineSeconds"));
    match (after, before) {
        (Some(after), _) if !(0..=i64::from(i32::MAX)).contains(&after) => {
            errors.invalid(path, after, "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(after), Some(before)) if before < after => {
            errors.invalid(path, after, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(
                path,
                Value::Null,
                "must not update from a positive integer to nil value",
            );
            true
        }
        _ => true,
    }
}

fn validate_added_tolerations(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let tolerations = new.list("tolerations");
    let kept = |old: &Value| {
        tolerations.iter().any(|new| {
            let mut old = old.clone();
            copy_field(&mut old, new, "tolerationSeconds");
            same_internal(&old, new, "Toleration")
        })
    };
    if !old.list("tolerations").iter().all(kept) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        return errors.forbidden(path, detail);
    }
    validate_tolerations(tolerations, path, errors);
}

fn validate_deleted_gates(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let known: Vec<&str> = old
        .list("schedulingGates")
        .iter()
        .map(|g| g.text("name"))
        .collect();
    for (i, gate) in new.list("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !known.contains(&name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&path.index(i).child("name"), detail);
        }
    }
}

/// Puts the old value into every field that may change.
fn mask_updatable(masked: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let Some(containers) = masked.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (container, old) in containers.iter_mut().zip(old.list(list)) {
            copy_field(container, old, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        copy_field(masked, old, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if old.int(grace).is_some_and(|g| g < 0) && masked.int(grace) == Some(1) {
        copy_field(masked, old, grace);
    }
}

/// A pod that is still gated may be directed to fewer nodes.
fn mask_gated(masked: &mut Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (new_selector, old_selector) = (masked.at("nodeSelector").clone(), old.at("nodeSelector"));
    if new_selector != *old_selector {
        let lost = old_selector
            .as_object()
            .into_iter()
            .flatten()
            .any(|(k, v)| new_selector.at(k) != v);
        if lost {
            let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.invalid(&path.child("nodeSelector"), new_selector, detail);
        }
        copy_field(masked, old, "nodeSelector");
    }
    let before = old.at("affinity").at("nodeAffinity").clone();
    let after = masked.at("affinity").at("nodeAffinity").clone();
    if before == after {
        return;
    }
    validate_node_affinity_change(
        &after,
        &before,
        &path.child("affinity").child("nodeAffinity"),
        errors,
    );
    let other = ["podAffinity", "podAntiAffinity"]
        .iter()
        .any(|f| masked.at("affinity").has(f));
    let Some(spec) = masked.as_object_mut() else {
        return;
    };
    if !old.has("affinity") && !other {
        spec.remove("affinity");
        return;
    }
    let mut affinity = spec
        .remove("affinity")
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}));
    copy_field(&mut affinity, &json!({"nodeAffinity": before}), "nodeAffinity");
    spec.insert("affinity".to_owned(), affinity);
}

fn validate_node_affinity_change(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let (before, after) = (
        old.at(required).list("nodeSelectorTerms"),
        new.at(required).list("nodeSelectorTerms"),
    );
    let path = path.child(required).child("nodeSelectorTerms");
    if before.is_empty() {
        return;
    }
    if before.len() != after.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown: Vec<String> = after
            .iter()
            .map(|t| super::difference::internal_json(t, "NodeSelectorTerm"))
            .collect();
        let given = new.at(required).at("nodeSelectorTerms").is_array();
        let shown = if after.is_empty() && !given {
            "null".to_owned()
        } else {
            format!("[{}]", shown.join(","))
        };
        return errors.invalid_json(&path, shown, detail);
    }
    for (i, (old, new)) in before.iter().zip(after).enumerate() {
        let lists = ["matchExpressions", "matchFields"];
        let was_empty = lists.iter().all(|l| old.list(l).is_empty());
        let grew = lists.iter().any(|l| !new.list(l).is_empty());
        let kept = lists.iter().all(|l| new.list(l).starts_with(old.list(l)));
        if (was_empty && grew) || !kept {
            let shown = super::difference::internal_json(new, "NodeSelectorTerm");
            errors.invalid_json(
                &path.index(i),
                shown,
                "only additions are allowed (no mutations or deletions)",
            );
        }
    }
}
