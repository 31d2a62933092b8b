//! StatefulSets.

use serde_json::{Value, json};

use super::names::dns_label;
use super::workloads::{
    always_restarts, at_most_whole, int_or_percent, non_negative, required_selector, shown_strategy,
    validate_matched_template,
};
use crate::path::{Errors, Path};
use crate::read::{Read, object_mut, texts};

const MUTABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

pub(super) fn validate(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    match spec.text("podManagementPolicy") {
        "" => errors.required(&path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => {
            let at = path.child("podManagementPolicy");
            errors.invalid(&at, other, "must be 'OrderedReady' or 'Parallel'");
        }
    }
    strategy_rules(spec.at("updateStrategy"), &path.child("updateStrategy"), errors);
    let retention = spec.at("persistentVolumeClaimRetentionPolicy");
    for field in ["whenDeleted", "whenScaled"] {
        let policy = retention.text(field);
        if !retention.is_null() && !["Retain", "Delete"].contains(&policy) {
            let at = path.child("persistentVolumeClaimRetentionPolicy").child(field);
            errors.not_supported(&at, policy, &["Retain", "Delete"]);
        }
    }
    non_negative(spec, &["replicas", "minReadySeconds"], &path, errors);
    if let Some(start) = spec.at("ordinals").int("start").filter(|s| *s < 0) {
        errors.invalid(
            &path.child("ordinals.start"),
            start,
            "must be greater than or equal to 0",
        );
    }
    let service = spec.text("serviceName");
    if old.is_none() && !service.is_empty() {
        errors.invalid_each(&path.child("serviceName"), service, dns_label(service));
    }
    if old.is_none() {
        claim_templates(
            spec.list("volumeClaimTemplates"),
            &path.child("volumeClaimTemplates"),
            errors,
        );
    }
    required_selector(spec, "statefulset", &path, errors);
    validate_matched_template(&with_claim_volumes(spec), &path, "", errors);
    always_restarts(spec, "StatefulSet", &path, errors);
    let Some(old) = old else { return };
    let keys = spec
        .as_object()
        .into_iter()
        .chain(old.as_object())
        .flatten()
        .map(|(k, _)| k.as_str());
    let mut fixed = keys.filter(|k| !MUTABLE.contains(k));
    if fixed.any(|k| spec.at(k) != old.at(k)) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.forbidden(&path, detail);
    }
}

fn strategy_rules(strategy: &Value, path: &Path, errors: &mut Errors) {
    let (rolling, at) = (strategy.at("rollingUpdate"), path.child("rollingUpdate"));
    match strategy.text("type") {
        "" => errors.required(path, ""),
        "OnDelete" => {
            if !rolling.is_null() {
                let shown = format!(
                    "{{\"Partition\":{},\"MaxUnavailable\":{}}}",
                    rolling.int("partition").unwrap_or(0),
                    rolling.at("maxUnavailable")
                );
                errors.invalid_json(&at, shown, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            non_negative(rolling, &["partition"], &at, errors);
            if rolling.has("maxUnavailable") {
                let at = at.child("maxUnavailable");
                if int_or_percent(rolling.at("maxUnavailable"), &at, errors) == 0 {
                    errors.invalid(&at, rolling.at("maxUnavailable").clone(), "cannot be 0");
                }
                at_most_whole(rolling.at("maxUnavailable"), &at, errors);
            }
        }
        other => {
            let shown = shown_strategy(other, rolling, &["partition", "maxUnavailable"]);
            errors.invalid_json(path, shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}

fn claim_templates(claims: &[Value], path: &Path, errors: &mut Errors) {
    for (i, claim) in claims.iter().enumerate() {
        let (spec, path) = (claim.at("spec"), path.index(i).child("spec"));
        if spec.list("accessModes").is_empty() {
            errors.required(&path.child("accessModes"), "at least 1 access mode is required");
        }
        let modes = [
            "ReadOnlyMany",
            "ReadWriteMany",
            "ReadWriteOnce",
            "ReadWriteOncePod",
        ];
        for mode in texts(spec.list("accessModes"))
            .into_iter()
            .filter(|m| !modes.contains(m))
        {
            errors.not_supported(&path.child("accessModes"), mode, &modes);
        }
        if !spec.at("resources").at("requests").has("storage") {
            errors.required(&path.child("resources").key("storage"), "");
        }
        let mode = spec.text("volumeMode");
        if spec.has("volumeMode") && !["Block", "Filesystem"].contains(&mode) {
            errors.not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]);
        }
    }
}

/// Claims of the set appear as volumes of its pods.
fn with_claim_volumes(spec: &Value) -> Value {
    let mut out = spec.clone();
    let claims = spec.list("volumeClaimTemplates");
    if claims.is_empty() {
        return out;
    }
    let name_of = |claim: &Value| claim.at("metadata").text("name").to_owned();
    let first = |(i, claim): &(usize, &Value)| !claims[..*i].iter().any(|c| name_of(c) == name_of(claim));
    let mut volumes: Vec<Value> = claims
        .iter()
        .enumerate()
        .filter(first)
        .map(|(_, c)| c)
        .map(|c| json!({"name": name_of(c), "persistentVolumeClaim": {"claimName": name_of(c)}}))
        .collect();
    let own = spec.at("template").at("spec").list("volumes").iter();
    volumes.extend(
        own.filter(|v| !claims.iter().any(|c| name_of(c) == v.text("name")))
            .cloned(),
    );
    if let Some(pod) = out.get_mut("template").and_then(|t| object_mut(t, "spec")) {
        pod.insert("volumes".to_owned(), Value::Array(volumes));
    }
    out
}
