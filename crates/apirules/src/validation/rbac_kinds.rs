//! Roles and their bindings.

use serde_json::Value;

use super::ResourceRef;
use super::names::path_segment;
use crate::path::{Errors, Path};
use crate::read::Read;

pub(super) fn validate(resource: &ResourceRef<'_>, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let namespaced = resource.resource.starts_with("role");
    rules(new, namespaced, errors);
    aggregation(new, errors);
    if resource.resource.ends_with("bindings") {
        binding(new, old, namespaced, errors);
    }
}

fn rules(new: &Value, namespaced: bool, errors: &mut Errors) {
    for (i, rule) in new.list("rules").iter().enumerate() {
        let path = Path::new("rules").index(i);
        if rule.list("verbs").is_empty() {
            errors.required(&path.child("verbs"), "verbs must contain at least one value");
        }
        let urls = rule.list("nonResourceURLs");
        if !urls.is_empty() {
            let at = path.child("nonResourceURLs");
            let bad = || Value::Array(urls.to_vec());
            if namespaced {
                errors.invalid(&at, bad(), "namespaced rules cannot apply to non-resource URLs");
            }
            let resources = ["apiGroups", "resources", "resourceNames"];
            if resources.iter().any(|f| !rule.list(f).is_empty()) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&at, bad(), detail);
            }
            continue;
        }
        if rule.list("apiGroups").is_empty() {
            errors.required(
                &path.child("apiGroups"),
                "resource rules must supply at least one api group",
            );
        }
        if rule.list("resources").is_empty() {
            errors.required(
                &path.child("resources"),
                "resource rules must supply at least one resource",
            );
        }
    }
}

fn aggregation(new: &Value, errors: &mut Errors) {
    let (rule, path) = (
        new.at("aggregationRule"),
        Path::new("aggregationRule").child("clusterRoleSelectors"),
    );
    if !rule.is_null() && rule.list("clusterRoleSelectors").is_empty() {
        errors.required(
            &path,
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        );
    }
    for (i, selector) in rule.list("clusterRoleSelectors").iter().enumerate() {
        let before = errors.0.len();
        super::labels::validate_selector(selector, &path.index(i), errors);
        if errors.0.len() != before {
            errors.invalid_json(&path.index(i), "null".to_owned(), "invalid label selector.");
        }
    }
}

fn binding(new: &Value, old: Option<&Value>, namespaced: bool, errors: &mut Errors) {
    let (role, path) = (new.at("roleRef"), Path::new("roleRef"));
    if role.text("apiGroup") != "rbac.authorization.k8s.io" {
        errors.not_supported(
            &path.child("apiGroup"),
            role.text("apiGroup"),
            &["rbac.authorization.k8s.io"],
        );
    }
    let kinds: &[&str] = if namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&role.text("kind")) {
        errors.not_supported(&path.child("kind"), role.text("kind"), kinds);
    }
    match role.text("name") {
        "" => errors.required(&path.child("name"), ""),
        name => errors.invalid_each(&path.child("name"), name, path_segment(name)),
    }
    for (i, subject) in new.list("subjects").iter().enumerate() {
        let at = Path::new("subjects").index(i);
        let kinds = ["ServiceAccount", "User", "Group"];
        if subject.text("name").is_empty() {
            errors.required(&at.child("name"), "");
        }
        let group = if subject.text("kind") == "ServiceAccount" {
            ""
        } else {
            "rbac.authorization.k8s.io"
        };
        if kinds.contains(&subject.text("kind")) && subject.text("apiGroup") != group {
            errors.not_supported(&at.child("apiGroup"), subject.text("apiGroup"), &[group]);
        }
        if !kinds.contains(&subject.text("kind")) {
            errors.not_supported(&at.child("kind"), subject.text("kind"), &kinds);
        } else if subject.text("kind") == "ServiceAccount"
            && !namespaced
            && subject.text("namespace").is_empty()
        {
            errors.required(&at.child("namespace"), "");
        }
    }
    if old.is_some_and(|old| old.at("roleRef") != role) {
        let shown = format!(
            "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
            Value::from(role.text("apiGroup")),
            Value::from(role.text("kind")),
            Value::from(role.text("name"))
        );
        errors.invalid_json(&path, shown, "cannot change roleRef");
    }
}
