//! Deployments, ReplicaSets, DaemonSets, PodDisruptionBudgets; what they share with StatefulSets, Jobs and CronJobs.

use serde_json::{Value, json};

use super::ResourceRef;
use super::jobs::{cron_job, job};
use super::labels::{is_empty_selector, selector_matches, validate_labels, validate_selector};
use super::meta::{IMMUTABLE, validate_annotations};
use super::pod::{Mode, validate_spec};
use crate::path::{Errors, Path};
use crate::read::Read;

pub(super) fn validate(resource: &ResourceRef<'_>, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (spec, before) = (new.at("spec"), old.map(|o| o.at("spec")));
    match resource.resource {
        "deployments" => deployment(spec, before, errors),
        "replicasets" => replica_set(spec, before, errors),
        "statefulsets" => super::stateful::validate(spec, before, errors),
        "daemonsets" => daemon_set(spec, before, errors),
        "controllerrevisions" => super::kinds::controller_revision(new, old, errors),
        "jobs" => job(new, old, errors),
        "cronjobs" => cron_job(spec, errors),
        "poddisruptionbudgets" => disruption_budget(spec, errors),
        _ => {}
    }
}

pub(super) fn non_negative(object: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        if let Some(value) = object.int(field).filter(|v| *v < 0) {
            errors.invalid(&path.child(field), value, "must be greater than or equal to 0");
        }
    }
}

pub(super) fn unchanged(new: &Value, old: Option<&Value>, field: &str, path: &Path, errors: &mut Errors) {
    if old.is_some_and(|old| old.at(field) != new.at(field)) {
        match field {
            "selector" if new.has(field) => {
                let shown = super::labels::as_go_writes(new.at(field));
                errors.invalid_json(&path.child(field), shown, IMMUTABLE);
            }
            _ => errors.invalid(&path.child(field), new.at(field).clone(), IMMUTABLE),
        }
    }
}

pub(super) fn required_selector(spec: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let (selector, at) = (spec.at("selector"), path.child("selector"));
    if selector.is_null() {
        return errors.required(&at, "");
    }
    validate_selector(selector, &at, errors);
    if is_empty_selector(selector) {
        let detail = format!("empty selector is invalid for {kind}");
        errors.invalid(&at, selector.clone(), detail);
    }
}

/// A template whose labels the selector matches; `unreadable` is said of a selector that cannot be read.
pub(super) fn validate_matched_template(spec: &Value, path: &Path, unreadable: &str, errors: &mut Errors) {
    let selector_path = path.child("selector");
    let (template, path) = (spec.at("template"), path.child("template"));
    let meta = template.at("metadata");
    let selector = spec.at("selector");
    let mut selector_errors = Errors::default();
    validate_selector(selector, &path, &mut selector_errors);
    if !selector_errors.is_empty() {
        // A selector that cannot be read selects nothing that could be compared.
        errors.invalid_json(&selector_path, super::labels::as_go_writes(selector), unreadable);
        return;
    }
    let missed = selector.is_null()
        || (!is_empty_selector(selector) && !selector_matches(selector, meta.at("labels")));
    if missed {
        let at = path.child("metadata").child("labels");
        let labels = meta.at("labels").clone();
        errors.invalid(&at, labels, "`selector` does not match template `labels`");
    }
    validate_pod_template(template, &path, errors);
}

pub(super) fn validate_pod_template(template: &Value, path: &Path, errors: &mut Errors) {
    let meta = template.at("metadata");
    validate_labels(meta.at("labels"), &path.child("labels"), errors);
    validate_annotations(meta.at("annotations"), &path.child("annotations"), errors);
    validate_spec(
        template.at("spec"),
        &Value::Null,
        &path.child("spec"),
        Mode::Template,
        errors,
    );
    if !template.at("spec").list("ephemeralContainers").is_empty() {
        let at = path.child("spec").child("ephemeralContainers");
        errors.forbidden(&at, "ephemeral containers not allowed in pod template");
    }
}

pub(super) fn always_restarts(spec: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let (pod, path) = (
        spec.at("template").at("spec"),
        path.child("template").child("spec"),
    );
    if pod.text("restartPolicy") != "Always" {
        errors.not_supported(
            &path.child("restartPolicy"),
            pod.text("restartPolicy"),
            &["Always"],
        );
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&path.child("activeDeadlineSeconds"), detail);
    }
}

pub(super) fn int_or_percent(value: &Value, path: &Path, errors: &mut Errors) -> i64 {
    match value {
        Value::String(text) => {
            let digits = text
                .strip_suffix('%')
                .filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
            if digits.is_none() {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                errors.invalid(path, text.as_str(), detail);
            }
            digits.and_then(|d| d.parse().ok()).unwrap_or(0)
        }
        other => {
            let value = other.as_i64().unwrap_or(0);
            if value < 0 {
                errors.invalid(path, value, "must be greater than or equal to 0");
            }
            value
        }
    }
}

pub(super) fn at_most_whole(value: &Value, path: &Path, errors: &mut Errors) {
    let percent = value
        .as_str()
        .and_then(|t| t.strip_suffix('%'))
        .and_then(|d| d.parse::<i64>().ok());
    if percent.is_some_and(|p| p > 100) {
        errors.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

fn deployment(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    non_negative(spec, &["replicas"], &path, errors);
    required_selector(spec, "deployment", &path, errors);
    validate_matched_template(spec, &path, "invalid label selector", errors);
    always_restarts(spec, "ReplicaSet", &path, errors);
    let (strategy, at) = (spec.at("strategy"), path.child("strategy"));
    let (rolling, rolling_path) = (strategy.at("rollingUpdate"), at.child("rollingUpdate"));
    match strategy.text("type") {
        "Recreate" => {
            if !rolling.is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                errors.forbidden(&rolling_path, detail);
            }
        }
        "RollingUpdate" => {
            if rolling.is_null() {
                errors.required(&rolling_path, "this should be defaulted and never be nil");
            } else {
                let down = rolling_path.child("maxUnavailable");
                let unavailable = int_or_percent(rolling.at("maxUnavailable"), &down, errors);
                let surge = int_or_percent(rolling.at("maxSurge"), &rolling_path.child("maxSurge"), errors);
                if unavailable == 0 && surge == 0 {
                    let bad = rolling.at("maxUnavailable").clone();
                    errors.invalid(&down, bad, "may not be 0 when `maxSurge` is 0");
                }
                at_most_whole(rolling.at("maxUnavailable"), &down, errors);
            }
        }
        other => {
            let shown = shown_strategy(other, rolling, &["maxUnavailable", "maxSurge"]);
            unsupported_object(&at, shown, &["Recreate", "RollingUpdate"], errors);
        }
    }
    let fields = [
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ];
    non_negative(spec, &fields, &path, errors);
    let ready = spec.int("minReadySeconds").unwrap_or(0);
    if let Some(deadline) = spec.int("progressDeadlineSeconds").filter(|d| *d <= ready) {
        let at = path.child("progressDeadlineSeconds");
        errors.invalid(&at, deadline, "must be greater than minReadySeconds");
    }
    unchanged(spec, old, "selector", &path, errors);
}

/// A strategy as Kubernetes' internal type prints it.
pub(super) fn shown_strategy(kind: &str, rolling: &Value, fields: &[&str]) -> String {
    if rolling.is_null() {
        return format!("{{\"Type\":{},\"RollingUpdate\":null}}", json!(kind));
    }
    let capital = |name: &str| name[..1].to_uppercase() + &name[1..];
    let shown: Vec<String> = fields
        .iter()
        .map(|f| format!("{}:{}", json!(capital(f)), rolling.at(f)))
        .collect();
    format!(
        "{{\"Type\":{},\"RollingUpdate\":{{{}}}}}",
        json!(kind),
        shown.join(",")
    )
}

fn unsupported_object(path: &Path, shown: String, supported: &[&str], errors: &mut Errors) {
    errors.not_supported(path, "", supported);
    if let Some(last) = errors.0.last_mut() {
        last.bad_value = shown;
    }
}

fn replica_set(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    non_negative(spec, &["replicas", "minReadySeconds"], &path, errors);
    required_selector(spec, "deployment", &path, errors);
    validate_matched_template(spec, &path, "invalid label selector", errors);
    always_restarts(spec, "ReplicaSet", &path, errors);
    unchanged(spec, old, "selector", &path, errors);
}

fn daemon_set(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    unchanged(spec, old, "selector", &path, errors);
    let before = errors.0.len();
    validate_selector(spec.at("selector"), &path.child("selector"), errors);
    let readable = errors.0.len() == before;
    let labels = spec.at("template").at("metadata").at("labels");
    let selector = spec.at("selector");
    if readable && (selector.is_null() || !is_empty_selector(selector) && !selector_matches(selector, labels))
    {
        let at = path.child("template").child("metadata").child("labels");
        errors.invalid(&at, labels.clone(), "`selector` does not match template `labels`");
    }
    if !selector.is_null() && is_empty_selector(selector) {
        let detail = "empty selector is invalid for daemonset";
        errors.invalid(&path.child("selector"), selector.clone(), detail);
    }
    validate_pod_template(spec.at("template"), &path.child("template"), errors);
    always_restarts(spec, "DaemonSet", &path, errors);
    non_negative(spec, &["minReadySeconds"], &path, errors);
    let (strategy, at) = (spec.at("updateStrategy"), path.child("updateStrategy"));
    match strategy.text("type") {
        "OnDelete" => {}
        "RollingUpdate" => daemon_rolling(strategy.at("rollingUpdate"), &at.child("rollingUpdate"), errors),
        other => {
            let rolling = strategy.at("rollingUpdate");
            let shown = shown_strategy(other, rolling, &["maxUnavailable", "maxSurge"]);
            unsupported_object(&at, shown, &["RollingUpdate", "OnDelete"], errors);
        }
    }
    non_negative(spec, &["revisionHistoryLimit"], &path, errors);
}

fn daemon_rolling(rolling: &Value, path: &Path, errors: &mut Errors) {
    if rolling.is_null() {
        return errors.required(path, "");
    }
    let (down, up) = (path.child("maxUnavailable"), path.child("maxSurge"));
    let unavailable = int_or_percent(rolling.at("maxUnavailable"), &down, errors);
    let surge = int_or_percent(rolling.at("maxSurge"), &up, errors);
    at_most_whole(rolling.at("maxUnavailable"), &down, errors);
    at_most_whole(rolling.at("maxSurge"), &up, errors);
    if unavailable != 0 && surge != 0 {
        let bad = rolling.at("maxSurge").clone();
        errors.invalid(&up, bad, "may not be set when maxUnavailable is non-zero");
    } else if unavailable == 0 && surge == 0 {
        errors.required(&down, "cannot be 0 when maxSurge is 0");
    }
}

fn disruption_budget(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let shown = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
            spec.at("minAvailable"),
            spec.at("selector"),
            spec.at("maxUnavailable"),
            spec.at("unhealthyPodEvictionPolicy")
        );
        errors.invalid_json(&path, shown, "minAvailable and maxUnavailable cannot be both set");
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if spec.has(field) {
            int_or_percent(spec.at(field), &path.child(field), errors);
            at_most_whole(spec.at(field), &path.child(field), errors);
        }
    }
    validate_selector(spec.at("selector"), &path.child("selector"), errors);
    let policy = spec.text("unhealthyPodEvictionPolicy");
    let supported = ["AlwaysAllow", "IfHealthyBudget"];
    if spec.has("unhealthyPodEvictionPolicy") && !supported.contains(&policy) {
        errors.not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &supported);
    }
}
