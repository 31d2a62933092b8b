//! Containers and volumes.
use super::super::expression::{Expression, Resource};
use super::{Verdict, as_pod, mounts};
use model::field::FieldError;
use model::sidecarset::{ResourcesPolicy, SidecarContainer, SidecarSet, keys};
use regex::Regex;
use serde_json::json;

pub(super) fn validate(set: &SidecarSet, old: Option<&SidecarSet>, verdict: &mut Verdict) {
    let spec = &set.spec;
    if spec.containers.is_empty() && spec.init_containers.is_empty() {
        let why = "SidecarSet must have at least one container or init container";
        verdict.errors.push(FieldError::required("spec.containers", why));
    }
    for (field, list) in [
        ("initContainers", &spec.init_containers),
        ("containers", &spec.containers),
    ] {
        for (i, c) in list.iter().enumerate() {
            let path = format!("spec.{field}[{i}]");
            let before = old.and_then(|old| {
                let list = if field == "containers" {
                    &old.spec.containers
                } else {
                    &old.spec.init_containers
                };
                list.iter().find(|b| b.name() == c.name())
            });
            sidecar(&path, field == "containers", c, before, verdict);
        }
    }
    as_a_pod(set, old, verdict);
    mounts::validate(set, verdict);
    if let Some(old) = old {
        changes(set, old, verdict);
    }
}

/// What an API server refuses, refused before pods are; what was accepted once, by rules that were others, is a
/// warning.
fn as_a_pod(set: &SidecarSet, old: Option<&SidecarSet>, verdict: &mut Verdict) {
    let accepted = old.filter(|old| old.metadata.annotations.contains_key(keys::HASH));
    let same = |old: &SidecarSet| {
        let (old, new) = (&old.spec, &set.spec);
        old.containers == new.containers
            && old.init_containers == new.init_containers
            && old.volumes == new.volumes
    };
    if accepted.is_some_and(same) {
        return;
    }
    let errors = as_pod::errors(set);
    let known = match accepted {
        Some(old) if !errors.is_empty() => as_pod::errors(old),
        _ => Vec::new(),
    };
    for error in errors {
        verdict.stricter(!known.contains(&error), error);
    }
}

/// Containers cannot be added or renamed, and stay cold or hot; init containers may change freely.
fn changes(set: &SidecarSet, old: &SidecarSet, verdict: &mut Verdict) {
    for (i, c) in set.spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{i}]");
        let Some(before) = old.spec.containers.iter().find(|b| b.name() == c.name()) else {
            verdict.errors.push(FieldError::invalid(
                format!("{path}.name"),
                json!(c.name()).to_string(),
                "containers cannot be added or renamed after creation",
            ));
            continue;
        };
        if before.upgrade_strategy.upgrade_type != c.upgrade_strategy.upgrade_type {
            verdict.errors.push(FieldError::invalid(
                format!("{path}.upgradeStrategy.upgradeType"),
                json!(c.upgrade_strategy.upgrade_type).to_string(),
                "field is immutable",
            ));
        }
    }
}

fn sidecar(
    path: &str,
    regular: bool,
    c: &SidecarContainer,
    old: Option<&SidecarContainer>,
    verdict: &mut Verdict,
) {
    let one_of = |field: &str, value: &str, known: [&str; 2]| {
        let why = format!("must be {} or {}", known[0], known[1]);
        (!known.contains(&value))
            .then(|| FieldError::invalid(format!("{path}.{field}"), json!(value).to_string(), why))
    };
    let placed = one_of(
        "podInjectPolicy",
        &c.pod_inject_policy,
        ["BeforeAppContainer", "AfterAppContainer"],
    );
    let shared = one_of(
        "shareVolumePolicy.type",
        &c.share_volume_policy.kind,
        ["enabled", "disabled"],
    );
    for error in placed.into_iter().chain(shared) {
        // Kruise checks init containers for neither.
        let changed = regular || old.is_none_or(|o| o.pod_inject_policy != c.pod_inject_policy);
        verdict.stricter(changed, error);
    }
    if let Some(policy) = &c.share_volume_device_policy {
        let changed = old.is_none_or(|o| o.share_volume_device_policy.as_ref() != Some(policy));
        if let Some(error) = one_of(
            "shareVolumeDevicePolicy.type",
            &policy.kind,
            ["enabled", "disabled"],
        ) {
            verdict.stricter(changed, error);
        }
    }
    upgrade(path, regular, c, old, verdict);
    transfers(path, regular, c, old, verdict);
    if let Some(policy) = &c.resources_policy {
        let changed = old.is_none_or(|o| o.resources_policy.as_ref() != Some(policy));
        resources(path, regular, c, policy, changed, verdict);
    }
}

fn upgrade(
    path: &str,
    regular: bool,
    c: &SidecarContainer,
    old: Option<&SidecarContainer>,
    verdict: &mut Verdict,
) {
    let strategy = &c.upgrade_strategy;
    let changed = old.is_none_or(|o| o.upgrade_strategy != *strategy);
    let kind = json!(strategy.upgrade_type).to_string();
    let at = format!("{path}.upgradeStrategy.upgradeType");
    if !matches!(strategy.upgrade_type.as_str(), "" | "ColdUpgrade" | "HotUpgrade") {
        let error = FieldError::invalid(at, kind, "must be ColdUpgrade or HotUpgrade");
        verdict.stricter(changed, error);
    } else if c.is_hot() && !regular {
        let error = FieldError::invalid(at, kind, "an init container cannot be upgraded hot");
        verdict.stricter(changed, error);
    }
    if c.is_hot() && strategy.hot_upgrade_empty_image.is_empty() {
        let at = format!("{path}.upgradeStrategy.hotUpgradeEmptyImage");
        let error = FieldError::required(at, "HotUpgrade needs an image for the slot that does not work");
        verdict.stricter(changed, error);
    }
}

fn transfers(
    path: &str,
    regular: bool,
    c: &SidecarContainer,
    old: Option<&SidecarContainer>,
    verdict: &mut Verdict,
) {
    for (i, transfer) in c.transfer_env.iter().enumerate() {
        let from = transfer
            .source_container_name_from
            .as_ref()
            .and_then(|f| f.field_ref.as_ref());
        let Some(field) = from else { continue };
        let keyed = ["metadata.labels['", "metadata.annotations['"].iter().any(|p| {
            field
                .field_path
                .strip_prefix(p)
                .and_then(|r| r.strip_suffix("']"))
                .is_some_and(|k| !k.is_empty())
        });
        if !keyed {
            let error = FieldError::invalid(
                format!("{path}.transferEnv[{i}].sourceContainerNameFrom.fieldRef.fieldPath"),
                json!(field.field_path).to_string(),
                "must be metadata.labels['KEY'] or metadata.annotations['KEY']",
            );
            let changed = regular || old.is_none_or(|o| o.transfer_env != c.transfer_env);
            verdict.stricter(changed, error);
        }
    }
}

fn resources(
    path: &str,
    regular: bool,
    c: &SidecarContainer,
    policy: &ResourcesPolicy,
    changed: bool,
    verdict: &mut Verdict,
) {
    let at = format!("{path}.resourcesPolicy");
    let has = |field: &str| {
        let block = c
            .body
            .get("resources")
            .and_then(|r| r.get(field))
            .and_then(|b| b.as_object());
        block.is_some_and(|b| !b.is_empty())
    };
    if has("limits") || has("requests") {
        let why = "cannot be used together with resources.limits or resources.requests";
        verdict.errors.push(FieldError::forbidden(at.clone(), why));
    }
    if !regular && !c.is_native() {
        let why = "an init container needs restartPolicy Always to have a resourcesPolicy";
        verdict.errors.push(FieldError::forbidden(at.clone(), why));
    }
    let mode = &policy.target_containers_mode;
    if !matches!(mode.as_str(), "sum" | "max") {
        let error = FieldError::invalid(
            format!("{at}.targetContainersMode"),
            json!(mode).to_string(),
            "must be sum or max",
        );
        verdict.errors.push(error);
    }
    let regex = &policy.target_containers_name_regex;
    let regex_at = format!("{at}.targetContainersNameRegex");
    if regex.is_empty() {
        verdict
            .errors
            .push(FieldError::required(regex_at, "must not be empty"));
    } else if let Err(e) = Regex::new(regex) {
        verdict.errors.push(FieldError::invalid(
            regex_at,
            json!(regex).to_string(),
            e.to_string(),
        ));
    }
    let exprs = &policy.resources_expr;
    if exprs.limits.is_none() && exprs.requests.is_none() {
        let why = "limits or requests must be set";
        verdict
            .errors
            .push(FieldError::required(format!("{at}.resourcesExpr"), why));
    }
    for (block, exprs) in [("limits", &exprs.limits), ("requests", &exprs.requests)] {
        let Some(exprs) = exprs else { continue };
        for (name, resource, text) in [
            ("cpu", Resource::Cpu, &exprs.cpu),
            ("memory", Resource::Memory, &exprs.memory),
        ] {
            if !text.is_empty() {
                expression(
                    &format!("{at}.resourcesExpr.{block}.{name}"),
                    resource,
                    text,
                    changed,
                    verdict,
                );
            }
        }
    }
}

fn expression(at: &str, resource: Resource, text: &str, changed: bool, verdict: &mut Verdict) {
    let invalid = |why: String| FieldError::invalid(at, json!(text).to_string(), why);
    match Expression::parse(text) {
        Err(e) => verdict.errors.push(invalid(e.to_string())),
        Ok(parsed) => {
            // Kruise lets these pass, and then denies every pod or counts them as zero.
            if let Err(e) = parsed.check(resource) {
                verdict.stricter(changed, invalid(e.to_string()));
            }
            if let Some(odd) = parsed.odd_literals().first() {
                let why = format!("{odd:?} has an unknown suffix and would count as 0");
                verdict.stricter(changed, invalid(why));
            }
        }
    }
}
