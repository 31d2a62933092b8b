//! What a Job says of pods that fail: limits for each index, and a policy by exit code or condition.

use serde_json::{Value, json};

use super::names::{dns_subdomain, qualified_name};
use super::workloads::non_negative;
use crate::path::{Errors, Path, go_quote_list};
use crate::read::Read as _;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const CONDITION_STATUS: [&str; 3] = ["False", "True", "Unknown"];
const MAX_RULES: usize = 20;
const MAX_VALUES: usize = 255;
const MAX_FAILED_INDEXES: i64 = 100_000;
const MAX_PARALLELISM: i64 = 100_000;

pub(super) fn validate(spec: &Value, path: &Path, errors: &mut Errors) {
    indexes(spec, path, errors);
    managed_by(spec, path, errors);
    let policy = spec.at("podFailurePolicy");
    if !policy.is_null() {
        failure_policy(spec, policy, &path.child("podFailurePolicy"), errors);
    }
    if spec.has("successPolicy") && spec.text("completionMode") != "Indexed" {
        errors.invalid_json(
            &path.child("successPolicy"),
            shown_success(spec.at("successPolicy")),
            "requires indexed completion mode",
        );
    }
    let replacement = spec.text("podReplacementPolicy");
    let allowed: &[&str] = match policy.is_null() {
        true => &["Failed", "TerminatingOrFailed"],
        false => &["Failed"],
    };
    if spec.has("podReplacementPolicy") && !allowed.contains(&replacement) {
        errors.not_supported(&path.child("podReplacementPolicy"), replacement, allowed);
    }
}

fn managed_by(spec: &Value, path: &Path, errors: &mut Errors) {
    let (at, Some(name)) = (path.child("managedBy"), spec.at("managedBy").as_str()) else {
        return;
    };
    match name.split_once('/') {
        _ if name.is_empty() => errors.required(&at, ""),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            errors.invalid_each(&at, domain, dns_subdomain(domain));
        }
        _ => errors.invalid(
            &at,
            name,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        ),
    }
    if name.len() > 63 {
        errors.too_long(&at, 63);
    }
}

fn indexes(spec: &Value, path: &Path, errors: &mut Errors) {
    non_negative(spec, &["backoffLimitPerIndex", "maxFailedIndexes"], path, errors);
    let (failed, at) = (spec.int("maxFailedIndexes"), path.child("maxFailedIndexes"));
    if failed.is_some() && !spec.has("backoffLimitPerIndex") {
        let why = "when maxFailedIndexes is specified";
        errors.required(&path.child("backoffLimitPerIndex"), why);
    }
    if spec.text("completionMode") == "Indexed" {
        if let Some(count) = spec.int("parallelism").filter(|n| *n > MAX_PARALLELISM) {
            let why =
                format!("must be less than or equal to {MAX_PARALLELISM} when completion mode is Indexed");
            errors.invalid(&path.child("parallelism"), count, why);
        }
        if let (Some(failed), Some(all)) = (failed, spec.int("completions"))
            && failed > all
        {
            errors.invalid(&at, failed, "must be less than or equal to completions");
        }
        if let Some(failed) = failed.filter(|n| *n > MAX_FAILED_INDEXES) {
            errors.invalid(
                &at,
                failed,
                format!("must be less than or equal to {MAX_FAILED_INDEXES}"),
            );
        }
    } else if matches!(spec.text("completionMode"), "" | "NonIndexed") {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(number) = spec.int(field) {
                errors.invalid(&path.child(field), number, "requires indexed completion mode");
            }
        }
    }
}

fn failure_policy(spec: &Value, policy: &Value, path: &Path, errors: &mut Errors) {
    let (rules, at) = (policy.list("rules"), path.child("rules"));
    if rules.len() > MAX_RULES {
        errors.too_many(&at, rules.len(), MAX_RULES);
    }
    for (i, rule) in rules.iter().enumerate() {
        failure_rule(spec, rule, &at.index(i), errors);
    }
}

fn failure_rule(spec: &Value, rule: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("action");
    match rule.text("action") {
        "" => errors.required(&at, &format!("valid values: {}", go_quote_list(&ACTIONS))),
        "FailIndex" if !spec.has("backoffLimitPerIndex") => {
            errors.invalid(&at, "FailIndex", "requires the backoffLimitPerIndex to be set");
        }
        action if !ACTIONS.contains(&action) => errors.not_supported(&at, action, &ACTIONS),
        _ => {}
    }
    let (codes, conditions) = (rule.at("onExitCodes"), rule.list("onPodConditions"));
    if !codes.is_null() {
        exit_codes(spec, codes, &path.child("onExitCodes"), errors);
    }
    for (i, pattern) in conditions.iter().enumerate() {
        let at = path.child("onPodConditions").index(i);
        errors.invalid_each(
            &at.child("type"),
            pattern.text("type"),
            qualified_name(pattern.text("type")),
        );
        match pattern.text("status") {
            "" => errors.required(
                &at.child("status"),
                &format!("valid values: {}", go_quote_list(&CONDITION_STATUS)),
            ),
            status if !CONDITION_STATUS.contains(&status) => {
                errors.not_supported(&at.child("status"), status, &CONDITION_STATUS);
            }
            _ => {}
        }
    }
    match (codes.is_null(), conditions.is_empty()) {
        (false, false) => errors.invalid_json(
            path,
            String::new(),
            "specifying both OnExitCodes and OnPodConditions is not supported",
        ),
        (true, true) => errors.invalid_json(
            path,
            String::new(),
            "specifying one of OnExitCodes and OnPodConditions is required",
        ),
        _ => {}
    }
}

fn exit_codes(spec: &Value, codes: &Value, path: &Path, errors: &mut Errors) {
    let operator = codes.text("operator");
    match operator {
        "" => errors.required(
            &path.child("operator"),
            &format!("valid values: {}", go_quote_list(&OPERATORS)),
        ),
        other if !OPERATORS.contains(&other) => {
            errors.not_supported(&path.child("operator"), other, &OPERATORS)
        }
        _ => {}
    }
    let pod = spec.at("template").at("spec");
    let all = pod.list("containers").iter().chain(pod.list("initContainers"));
    let names: Vec<&str> = all.map(|c| c.text("name")).collect();
    if let Some(name) = codes.at("containerName").as_str()
        && !names.contains(&name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, why);
    }
    let (values, at) = (codes.list("values"), path.child("values"));
    if values.is_empty() {
        errors.invalid(&at, codes.at("values").clone(), "at least one value is required");
    } else if values.len() > MAX_VALUES {
        errors.too_many(&at, values.len(), MAX_VALUES);
    }
    let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    for (i, number) in numbers.iter().enumerate() {
        if operator == "In" && *number == 0 {
            errors.invalid(&at.index(i), 0, "must not be 0 for the In operator");
        }
        if numbers[..i].contains(number) {
            errors.duplicate(&at.index(i), *number);
        }
    }
    if !numbers.is_sorted() {
        errors.invalid(&at, json!(numbers), "must be ordered");
    }
}

/// A success policy as Go's internal type prints it.
pub(super) fn shown_success(policy: &Value) -> String {
    let rule = |rule: &Value| {
        let (indexes, count) = (rule.at("succeededIndexes"), rule.at("succeededCount"));
        format!("{{\"SucceededIndexes\":{indexes},\"SucceededCount\":{count}}}")
    };
    let rules: Vec<String> = policy.list("rules").iter().map(rule).collect();
    format!("{{\"Rules\":[{}]}}", rules.join(","))
}

/// A failure policy as Go's internal type prints it.
pub(super) fn shown(policy: &Value) -> String {
    let text = |value: &Value| value.to_string();
    let rule = |rule: &Value| {
        let codes = match rule.at("onExitCodes") {
            Value::Null => "null".to_owned(),
            codes => format!(
                "{{\"ContainerName\":{},\"Operator\":{},\"Values\":{}}}",
                text(codes.at("containerName")),
                json!(codes.text("operator")),
                text(codes.at("values"))
            ),
        };
        let conditions = match rule.at("onPodConditions") {
            Value::Array(all) => {
                let all = all.iter().map(|c| {
                    let (kind, status) = (json!(c.text("type")), json!(c.text("status")));
                    format!("{{\"Type\":{kind},\"Status\":{status}}}")
                });
                format!("[{}]", all.collect::<Vec<_>>().join(","))
            }
            _ => "null".to_owned(),
        };
        let action = json!(rule.text("action"));
        format!("{{\"Action\":{action},\"OnExitCodes\":{codes},\"OnPodConditions\":{conditions}}}")
    };
    if policy.is_null() {
        return "null".to_owned();
    }
    let rules: Vec<String> = policy.list("rules").iter().map(rule).collect();
    format!("{{\"Rules\":[{}]}}", rules.join(","))
}
