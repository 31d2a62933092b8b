//! Tolerations, affinity and topology spread.

use serde_json::Value;

use crate::path::{Errors, Path};
use crate::read::{Read, texts};
use crate::validation::labels::validate_selector;
use crate::validation::names::{dns_label, dns_subdomain, label_value, qualified_name};

pub(super) fn validate_tolerations(tolerations: &[Value], path: &Path, errors: &mut Errors) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let at = path.index(i);
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        if !key.is_empty() {
            errors.invalid_each(&at.child("key"), key, qualified_name(key));
        } else if operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&at.child("operator"), operator, detail);
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&at.child("effect"), effect, detail);
        }
        match operator {
            "" | "Equal" => {
                let problems = label_value(value);
                if !problems.is_empty() {
                    errors.invalid(&at.child("operator"), value, problems.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.invalid(&at.child("operator"), value, detail);
                }
            }
            "Lt" | "Gt" if COMPARISONS => {}
            "Lt" | "Gt" => {
                errors.not_supported(&at.child("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]);
            }
            other => errors.not_supported(&at.child("operator"), other, &["Equal", "Exists"]),
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !effect.is_empty() && !effects.contains(&effect) {
            errors.not_supported(&at.child("effect"), effect, &effects);
        }
    }
}

/// `Lt` and `Gt` tolerations are behind a feature that is off in 1.36.
const COMPARISONS: bool = false;

pub(super) fn validate_affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    if affinity.has("nodeAffinity") {
        validate_node_affinity(affinity.at("nodeAffinity"), &path.child("nodeAffinity"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (rules, path) = (affinity.at(kind), path.child(kind));
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in rules.list(required).iter().enumerate() {
            validate_pod_term(term, &path.child(required).index(i), errors);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (i, weighted) in rules.list(preferred).iter().enumerate() {
            let path = path.child(preferred).index(i);
            validate_weight(weighted, &path, errors);
            validate_pod_term(
                weighted.at("podAffinityTerm"),
                &path.child("podAffinityTerm"),
                errors,
            );
        }
    }
}

fn validate_weight(weighted: &Value, path: &Path, errors: &mut Errors) {
    let weight = weighted.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn validate_node_affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    if affinity.has(required) {
        let (terms, path) = (
            affinity.at(required).list("nodeSelectorTerms"),
            path.child(required).child("nodeSelectorTerms"),
        );
        if terms.is_empty() {
            errors.required(&path, "must have at least one node selector term");
        }
        for (i, term) in terms.iter().enumerate() {
            validate_node_term(term, false, &path.index(i), errors);
        }
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (i, weighted) in affinity.list(preferred).iter().enumerate() {
        let path = path.child(preferred).index(i);
        validate_weight(weighted, &path, errors);
        validate_node_term(weighted.at("preference"), true, &path.child("preference"), errors);
    }
}

fn validate_node_term(term: &Value, any_value: bool, path: &Path, errors: &mut Errors) {
    for (i, requirement) in term.list("matchExpressions").iter().enumerate() {
        let at = path.child("matchExpressions").index(i);
        let values = requirement.list("values");
        match requirement.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(&at.child("values"), detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at.child("values"), detail);
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(&at.child("values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        let key = requirement.text("key");
        errors.invalid_each(&at.child("key"), key, qualified_name(key));
        if !any_value {
            for (j, value) in texts(values).into_iter().enumerate() {
                errors.invalid_each(&at.child("values").index(j), value, label_value(value));
            }
        }
    }
    for (i, requirement) in term.list("matchFields").iter().enumerate() {
        let at = path.child("matchFields").index(i);
        let values = requirement.list("values");
        match requirement.text("operator") {
            "In" | "NotIn" => {
                if values.len() != 1 {
                    let detail =
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.required(&at.child("values"), detail);
                }
            }
            other => errors.invalid(&at.child("operator"), other, "not a valid selector operator"),
        }
        if requirement.text("key") != "metadata.name" {
            let key = requirement.text("key");
            errors.invalid(&at.child("key"), key, "not a valid field selector key");
            continue;
        }
        for (j, value) in texts(values).into_iter().enumerate() {
            errors.invalid_each(&at.child("values").index(j), value, dns_subdomain(value));
        }
    }
}

fn validate_pod_term(term: &Value, path: &Path, errors: &mut Errors) {
    validate_selector(term.at("labelSelector"), &path.child("labelSelector"), errors);
    validate_selector(
        term.at("namespaceSelector"),
        &path.child("namespaceSelector"),
        errors,
    );
    for name in texts(term.list("namespaces")) {
        errors.invalid_each(&path.child("namespace"), name, dns_label(name));
    }
    validate_label_keys(term, path, errors);
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    errors.invalid_each(&path.child("topologyKey"), key, qualified_name(key));
}

fn validate_label_keys(term: &Value, path: &Path, errors: &mut Errors) {
    let selector = term.at("labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = texts(term.list(field));
        if keys.is_empty() {
            continue;
        }
        if selector.is_null() {
            errors.forbidden(
                &path.child(field),
                "must not be specified when labelSelector is not set",
            );
            continue;
        }
        for (i, key) in keys.into_iter().enumerate() {
            errors.invalid_each(&path.child(field).index(i), key, qualified_name(key));
        }
    }
    let matched = texts(term.list("matchLabelKeys"));
    let mut seen: Vec<&str> = selector
        .map("matchLabels")
        .into_iter()
        .flatten()
        .map(|(k, _)| k.as_str())
        .collect();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        if let Some(i) = matched
            .iter()
            .rposition(|m| *m == key)
            .filter(|_| seen.contains(&key))
        {
            errors.invalid(
                &path.index(i),
                key,
                "exists in both matchLabelKeys and labelSelector",
            );
        }
        seen.push(key);
    }
    let mismatched = texts(term.list("mismatchLabelKeys"));
    for (i, key) in matched.iter().enumerate().filter(|(_, k)| mismatched.contains(k)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(&path.child("matchLabelKeys").index(i), *key, detail);
    }
}

pub(super) fn validate_spread(constraints: &[Value], path: &Path, errors: &mut Errors) {
    for (i, constraint) in constraints.iter().enumerate() {
        let at = path.index(i);
        let skew = constraint.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        let (key, action) = (
            constraint.text("topologyKey"),
            constraint.text("whenUnsatisfiable"),
        );
        if key.is_empty() {
            errors.required(&at.child("topologyKey"), "can not be empty");
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            errors.not_supported(&at.child("whenUnsatisfiable"), action, &actions);
        }
        let repeated = constraints[i + 1..]
            .iter()
            .any(|c| c.text("topologyKey") == key && c.text("whenUnsatisfiable") == action);
        if repeated {
            errors.duplicate(
                &at.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{key}, {action}}}"),
            );
        }
        if let Some(domains) = constraint.int("minDomains") {
            if domains <= 0 {
                errors.invalid(&at.child("minDomains"), domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(&at.child("minDomains"), domains, detail);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = constraint.text(field);
            if constraint.has(field) && !["Honor", "Ignore"].contains(&policy) {
                errors.not_supported(&at.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        validate_label_keys(constraint, &at, errors);
        validate_selector(constraint.at("labelSelector"), &at.child("labelSelector"), errors);
    }
}
