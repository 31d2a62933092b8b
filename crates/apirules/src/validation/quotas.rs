//! ResourceQuota and LimitRange.

use std::collections::BTreeMap;

use serde_json::Value;

use super::meta::IMMUTABLE;
use super::names::qualified_name;
use super::pod::resources::{is_standard, quantities};
use crate::path::{Errors, Path};
use crate::quantity::Quantity;
use crate::read::Read;

/// Standard for quotas alone.
const OF_QUOTAS: [&str; 3] = ["services.nodeports", "services.loadbalancers", "count"];
const WHOLE: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const COMPUTE: [&str; 7] = [
    "pods",
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

pub(super) fn quota(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    for (name, amount) in quantities(spec.map("hard")) {
        let at = path.child("hard").key(name);
        resource_name(name, &at, errors);
        if amount < Quantity::ZERO {
            errors.invalid(&at, amount.to_string(), "must be greater than or equal to 0");
        }
        let whole = WHOLE.contains(&name) || name.starts_with("count/");
        if whole && amount.as_f64().fract() != 0.0 {
            errors.invalid(&at, amount.to_string(), "must be an integer");
        }
    }
    let scopes: Vec<&str> = spec.list("scopes").iter().filter_map(Value::as_str).collect();
    scope_set(spec, &scopes, &path.child("scopes"), errors);
    selector(spec, &path, errors);
    if let Some(old) = old {
        let before = old.at("spec").at("scopes");
        if before != spec.at("scopes") && !(before.is_null() && scopes.is_empty()) {
            errors.invalid(&path.child("scopes"), spec.at("scopes").clone(), IMMUTABLE);
        }
    }
}

fn resource_name(name: &str, at: &Path, errors: &mut Errors) {
    errors.invalid_each(at, name, qualified_name(name));
    if name.contains('/') {
        return;
    }
    if !is_standard(name) && !OF_QUOTAS.contains(&name) {
        errors.invalid(at, name, "must be a standard resource type or fully qualified");
        errors.invalid(at, name, "must be a standard resource for quota");
    }
}

fn scope_set(spec: &Value, scopes: &[&str], at: &Path, errors: &mut Errors) {
    if scopes.is_empty() {
        return;
    }
    let shown = || spec.at("scopes").clone();
    for scope in scopes {
        if !SCOPES.contains(scope) {
            errors.invalid(at, shown(), "unsupported scope");
        }
        if spec
            .map("hard")
            .into_iter()
            .flatten()
            .any(|(r, _)| !allows(scope, r))
        {
            errors.invalid(at, shown(), "unsupported scope applied to resource");
        }
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            errors.invalid(at, shown(), "conflicting scopes");
        }
    }
}

fn allows(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => resource == "persistentvolumeclaims" || resource == "requests.storage",
        _ => COMPUTE.contains(&resource) || resource.starts_with("requests.") || resource.contains('/'),
    }
}

fn selector(spec: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("scopeSelector").child("matchExpressions");
    for rule in spec.at("scopeSelector").list("matchExpressions") {
        let (scope, operator) = (rule.text("scopeName"), rule.text("operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&at.child("scopeName"), scope, "unsupported scope");
        }
        let fixed = [
            "BestEffort",
            "NotBestEffort",
            "Terminating",
            "NotTerminating",
            "CrossNamespacePodAffinity",
        ];
        if fixed.contains(&scope) && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                          ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                          ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&at.child("operator"), operator, detail);
        }
        let values = rule.list("values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&at.child("values"), detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail =
                    "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
                errors.invalid(&at.child("values"), Value::from(values.to_vec()), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&at.child("operator"), operator, "not a valid selector operator"),
        }
    }
}

pub(super) fn limit_range(new: &Value, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, limit) in new.at("spec").list("limits").iter().enumerate() {
        let path = Path::new("spec").child("limits").index(i);
        let kind = limit.text("type");
        if seen.contains(&kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        seen.push(kind);
        item(limit, kind, &path, errors);
    }
}

fn item(limit: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let lists = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
    let amounts = |list: &str| quantities(limit.map(list));
    if kind == "Pod" {
        for list in ["default", "defaultRequest"] {
            if limit.map(list).is_some_and(|m| !m.is_empty()) {
                let detail = "may not be specified when `type` is 'Pod'";
                errors.forbidden(&path.child(list), detail);
            }
        }
    }
    if kind == "PersistentVolumeClaim" {
        let (min, max) = (amounts("min"), amounts("max"));
        if !min.contains_key("storage") && !max.contains_key("storage") {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.required(&path.child("limits"), detail);
        }
    }
    let all: BTreeMap<&str, BTreeMap<&str, Quantity>> =
        lists.iter().map(|list| (*list, amounts(list))).collect();
    let mut names: Vec<&str> = all.values().flat_map(|m| m.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let get = |list: &str| all[list].get(name).copied();
        ordered(name, &get, path, errors);
        ratio(name, &get, path, errors);
    }
}

type Amount<'a> = &'a dyn Fn(&str) -> Option<Quantity>;

/// min <= defaultRequest <= default <= max.
fn ordered(name: &str, get: Amount<'_>, path: &Path, errors: &mut Errors) {
    let mut check = |low: &str, high: &str, at: &str, words: [&str; 2]| {
        let (Some(a), Some(b)) = (get(low), get(high)) else {
            return;
        };
        if a > b {
            let bad = if at == "defaultRequest" && at == high {
                b
            } else {
                a
            };
            let detail = format!("{} value {a} is greater than {} value {b}", words[0], words[1]);
            errors.invalid(&path.child(at).key(name), bad.to_string(), detail);
        }
    };
    check("min", "max", "min", ["min", "max"]);
    check(
        "min",
        "defaultRequest",
        "defaultRequest",
        ["min", "default request"],
    );
    check(
        "defaultRequest",
        "max",
        "defaultRequest",
        ["default request", "max"],
    );
    check(
        "defaultRequest",
        "default",
        "defaultRequest",
        ["default request", "default limit"],
    );
    check("min", "default", "default", ["min", "default"]);
    check("default", "max", "default", ["default", "max"]);
}

fn ratio(name: &str, get: Amount<'_>, path: &Path, errors: &mut Errors) {
    let Some(ratio) = get("maxLimitRequestRatio") else {
        return;
    };
    let at = path.child("maxLimitRequestRatio").key(name);
    if ratio < Quantity::from_int(1) {
        let detail = format!("ratio {ratio} is less than 1");
        errors.invalid(&at, ratio.to_string(), detail);
    }
    if let (Some(min), Some(max)) = (get("min"), get("max"))
        && !min.is_zero()
    {
        let widest = max.as_f64() / min.as_f64();
        if ratio.as_f64() > widest {
            let detail = format!("ratio {ratio} is greater than max/min = {widest:.6}");
            errors.invalid(&at, ratio.to_string(), detail);
        }
    }
}
