//! What the server sets itself when a pod is written.

use model::time::Timestamp;
use serde_json::{Value, json};

use super::difference::same_internal;
use super::resources::quantities;
use crate::quantity::Quantity;
use crate::read::{Read, copy_field};

pub(crate) fn prepare_create(pod: &mut Value, now: Timestamp) {
    drop_disabled(pod);
    super::apparmor::from_annotations(pod);
    let class = computed_qos(pod.at("spec"));
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if !pod.at("spec").list("schedulingGates").is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": model::time::rfc3339_seconds(now),
        }]);
    }
    if let Some(map) = pod.as_object_mut() {
        map.insert("status".to_owned(), status);
    }
    merge_label_keys(pod);
}

pub(crate) fn prepare_update(subresource: &str, new: &mut Value, old: &Value) {
    drop_disabled(new);
    match subresource {
        "status" => {
            copy_field(new, old, "spec");
            if let Some(meta) = new.get_mut("metadata") {
                copy_field(meta, old.at("metadata"), "ownerReferences");
                copy_field(meta, old.at("metadata"), "deletionTimestamp");
            }
            keep_observed(new, old);
        }
        "ephemeralcontainers" => {
            let wanted = new.at("spec").at("ephemeralContainers").clone();
            keep_all_but_status_meta(new, old);
            let mut spec = old.at("spec").clone();
            copy_field(
                &mut spec,
                &json!({"ephemeralContainers": wanted}),
                "ephemeralContainers",
            );
            new["spec"] = spec;
        }
        "resize" => prepare_resize(new, old),
        _ => copy_field(new, old, "status"),
    }
}

/// Fields whose feature is off by default vanish: a container's own stop signal.
fn drop_disabled(pod: &mut Value) {
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("schedulingGroup");
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = pod
            .get_mut("spec")
            .and_then(|s| s.get_mut(list))
            .and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
                lifecycle.remove("stopSignal");
            }
        }
    }
}

/// Whether the generation rises.
pub(crate) fn spec_changed(new: &Value, old: &Value) -> bool {
    !same_internal(new.at("spec"), old.at("spec"), "PodSpec")
}

fn keep_all_but_status_meta(new: &mut Value, old: &Value) {
    copy_field(new, old, "status");
    crate::validation::keep_status_meta(new, old);
}

fn prepare_resize(new: &mut Value, old: &Value) {
    let lists = ["containers", "initContainers"];
    if lists
        .iter()
        .any(|l| new.at("spec").list(l).len() != old.at("spec").list(l).len())
    {
        return;
    }
    let mut spec = old.at("spec").clone();
    copy_field(&mut spec, new.at("spec"), "resources");
    for list in lists {
        let (wanted, had) = (new.at("spec").list(list), old.at("spec").list(list));
        let renamed = wanted
            .iter()
            .zip(had)
            .any(|(w, h)| w.text("name") != h.text("name"));
        if renamed {
            copy_field(&mut spec, new.at("spec"), list);
            continue;
        }
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (container, wanted) in containers.iter_mut().zip(wanted) {
            copy_field(container, wanted, "resources");
            copy_field(container, wanted, "resizePolicy");
        }
    }
    keep_all_but_status_meta(new, old);
    new["spec"] = spec;
}

/// An update that leaves out observedGeneration or qosClass does not clear it.
fn keep_observed(new: &mut Value, old: &Value) {
    let before = old.at("status");
    let Some(status) = new.get_mut("status").filter(|s| s.is_object()) else {
        new["status"] = json!({});
        copy_field(&mut new["status"], before, "qosClass");
        copy_field(&mut new["status"], before, "observedGeneration");
        return;
    };
    if status.text("qosClass").is_empty() {
        copy_field(status, before, "qosClass");
    }
    if status.int("observedGeneration").unwrap_or(0) == 0 {
        copy_field(status, before, "observedGeneration");
    }
    let mut used = Vec::new();
    for condition in status
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let kind = condition.text("type").to_owned();
        let same = before.list("conditions").iter().enumerate();
        let mut same = same;
        let matching = same.find(|(i, c)| c.text("type") == kind && !used.contains(i));
        let Some((i, old)) = matching else { continue };
        used.push(i);
        if condition.int("observedGeneration").unwrap_or(0) == 0 {
            copy_field(condition, old, "observedGeneration");
        }
    }
}

/// `matchLabelKeys` become requirements of the selector, with this pod's own label values.
fn merge_label_keys(pod: &mut Value) {
    let labels = pod.at("metadata").at("labels").clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for constraint in spec
        .get_mut("topologySpreadConstraints")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        merge_keys(constraint, &labels);
    }
    let Some(affinity) = spec.get_mut("affinity") else {
        return;
    };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(rules) = affinity.get_mut(kind) else {
            continue;
        };
        let required = rules.get_mut("requiredDuringSchedulingIgnoredDuringExecution");
        for term in required.and_then(Value::as_array_mut).into_iter().flatten() {
            merge_keys(term, &labels);
        }
        let preferred = rules.get_mut("preferredDuringSchedulingIgnoredDuringExecution");
        for weighted in preferred.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                merge_keys(term, &labels);
            }
        }
    }
}

fn merge_keys(term: &mut Value, labels: &Value) {
    if !term.at("labelSelector").is_object() {
        return;
    }
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let keys: Vec<String> = term
            .list(field)
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        for key in keys {
            let Some(value) = labels.get(&key).cloned() else {
                continue;
            };
            let requirement = json!({"key": key, "operator": operator, "values": [value]});
            let selector = &mut term["labelSelector"];
            match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
                Some(list) => list.push(requirement),
                None => selector["matchExpressions"] = json!([requirement]),
            }
        }
    }
}

/// The class recorded in status, or the computed one.
pub(crate) fn qos_class(pod: &Value) -> String {
    match pod.at("status").text("qosClass") {
        "" => computed_qos(pod.at("spec")).to_owned(),
        class => class.to_owned(),
    }
}

pub(super) fn computed_qos(spec: &Value) -> &'static str {
    let (mut requests, mut limits) = ([Quantity::ZERO; 2], [Quantity::ZERO; 2]);
    let mut guaranteed = true;
    let own = spec.at("resources");
    let holders: Vec<&Value> = if own.is_null() {
        let all = spec.list("containers").iter().chain(spec.list("initContainers"));
        all.map(|c| c.at("resources")).collect()
    } else {
        vec![own]
    };
    for holder in holders {
        let (wanted, allowed) = (
            quantities(holder.map("requests")),
            quantities(holder.map("limits")),
        );
        for (i, name) in ["cpu", "memory"].into_iter().enumerate() {
            requests[i] = requests[i].plus(wanted.get(name).copied().unwrap_or(Quantity::ZERO));
            limits[i] = limits[i].plus(allowed.get(name).copied().unwrap_or(Quantity::ZERO));
        }
        guaranteed &= ["cpu", "memory"]
            .iter()
            .all(|n| allowed.get(n).is_some_and(|q| !q.is_zero()));
    }
    let none = |list: &[Quantity; 2]| list.iter().all(|q| q.is_zero());
    if none(&requests) && none(&limits) {
        return "BestEffort";
    }
    let equal = requests
        .iter()
        .zip(&limits)
        .all(|(r, l)| r.partial_cmp(l) == Some(std::cmp::Ordering::Equal));
    if guaranteed && equal {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
