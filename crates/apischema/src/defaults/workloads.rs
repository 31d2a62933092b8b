//! Controllers of pods: what depends on the strategy's type or on other fields.

use serde_json::{Value, json};

use super::{Object, at, is_set, made, pods, set_default, text};

pub(super) fn apply(kind: &str, object: &mut Object) {
    match kind {
        "Deployment" => {
            rolling_update(
                object,
                "strategy",
                &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))],
            );
        }
        "DaemonSet" => {
            rolling_update(
                object,
                "updateStrategy",
                &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))],
            );
            // No pointers in Go's internal type: they are always written.
            if let Some(rolling) = at(object, &["spec", "updateStrategy", "rollingUpdate"]) {
                set_default(rolling, "maxUnavailable", 0);
                set_default(rolling, "maxSurge", 0);
            }
            // Kept from the days when DaemonSets counted their templates; creation and updates move it on.
            if let Some(annotations) = made(object, "metadata").and_then(|m| made(m, "annotations")) {
                set_default(annotations, "deprecated.daemonset.template.generation", "0");
            }
        }
        "StatefulSet" => stateful_set(object),
        "Job" => job(object),
        "CronJob" => {
            if let Some(template) = at(object, &["spec", "jobTemplate", "spec"]) {
                pods::template(template.get_mut("template"));
            }
            return;
        }
        "ReplicaSet" => {}
        _ => return,
    }
    if let Some(spec) = at(object, &["spec"]) {
        pods::template(spec.get_mut("template"));
    }
}

/// Selector and labels come from the template where they are not said.
pub(super) fn replication_controller(object: &mut Object) {
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    pods::template(spec.get_mut("template"));
    if let Some(labels) = pods::template_labels(spec) {
        let unset = spec
            .get("selector")
            .and_then(Value::as_object)
            .is_none_or(serde_json::Map::is_empty);
        if unset {
            spec.insert("selector".to_owned(), labels.clone());
        }
        label(object, labels);
    }
}

fn rolling_update(object: &mut Object, strategy: &str, defaults: &[(&str, Value)]) {
    let Some(strategy) = at(object, &["spec", strategy]) else {
        return;
    };
    if text(strategy, "type") != "RollingUpdate" {
        return;
    }
    if let Some(rolling) = made(strategy, "rollingUpdate") {
        for (name, value) in defaults {
            set_default(rolling, name, value.clone());
        }
    }
}

/// Runs before the type itself is filled in: only then does an absent `rollingUpdate` appear.
pub(super) fn stateful_set_without_type(object: &mut Object) {
    if let Some(strategy) = at(object, &["spec"]).and_then(|spec| made(spec, "updateStrategy"))
        && text(strategy, "type").is_empty()
    {
        made(strategy, "rollingUpdate");
    }
}

fn stateful_set(object: &mut Object) {
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    for claim in super::each(spec, "volumeClaimTemplates") {
        set_default(claim, "kind", "PersistentVolumeClaim");
        set_default(claim, "apiVersion", "v1");
    }
    let Some(strategy) = at(spec, &["updateStrategy"]) else {
        return;
    };
    // Whatever the type: the internal version's partition is a plain number.
    if let Some(rolling) = at(strategy, &["rollingUpdate"]) {
        set_default(rolling, "partition", 0);
    }
}

fn job(object: &mut Object) {
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    if !is_set(spec, "completions") && !is_set(spec, "parallelism") {
        set_default(spec, "completions", 1);
    }
    set_default(spec, "parallelism", 1);
    let per_index = is_set(spec, "backoffLimitPerIndex");
    set_default(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    let replacement = if is_set(spec, "podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    set_default(spec, "podReplacementPolicy", replacement);
    if let Some(labels) = pods::template_labels(spec) {
        label(object, labels);
    }
}

fn label(object: &mut Object, labels: Value) {
    if let Some(metadata) = made(object, "metadata")
        && !is_set(metadata, "labels")
    {
        metadata.insert("labels".to_owned(), labels);
    }
}
