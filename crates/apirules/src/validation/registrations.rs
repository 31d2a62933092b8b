//! Webhook configurations and admission policies: what they are asked for, and when.

use serde_json::Value;

use super::ResourceRef;
use super::labels::validate_selector;
use super::names::{dns_label, dns_subdomain, qualified_name};
use crate::path::{Errors, Path};
use crate::read::Read;

const MAX_CONDITIONS: usize = 64;

pub(super) fn validate(resource: &ResourceRef<'_>, new: &Value, errors: &mut Errors) {
    match resource.resource {
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => webhooks(new, errors),
        "validatingadmissionpolicies" => policy(new, "validations", errors),
        "mutatingadmissionpolicies" => policy(new, "mutations", errors),
        "validatingadmissionpolicybindings" => binding(new, true, errors),
        "mutatingadmissionpolicybindings" => binding(new, false, errors),
        _ => {}
    }
}

fn webhooks(new: &Value, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, hook) in new.list("webhooks").iter().enumerate() {
        let path = Path::new("webhooks").index(i);
        webhook(hook, &path, errors);
        let name = hook.text("name");
        if seen.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        }
        seen.push(name);
    }
}

fn webhook(hook: &Value, path: &Path, errors: &mut Errors) {
    let name = hook.text("name");
    let at = path.child("name");
    if name.is_empty() {
        errors.required(&at, "");
    } else if !dns_subdomain(name).is_empty() {
        errors.invalid_each(&at, name, dns_subdomain(name));
    } else if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        errors.invalid(&at, name, detail);
    }
    for (i, rule) in hook.list("rules").iter().enumerate() {
        rule_with_operations(rule, &path.child("rules").index(i), errors);
    }
    one_of(hook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    one_of(hook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    one_of(hook, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
    if hook.text("sideEffects").is_empty() {
        let detail = "must specify one of None, NoneOnDryRun";
        errors.required(&path.child("sideEffects"), detail);
    }
    one_of(hook, "sideEffects", &["None", "NoneOnDryRun"], path, errors);
    if let Some(seconds) = hook.int("timeoutSeconds").filter(|s| !(1..=30).contains(s)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, detail);
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        if hook.has(selector) {
            validate_selector(hook.at(selector), &path.child(selector), errors);
        }
    }
    client(hook.at("clientConfig"), &path.child("clientConfig"), errors);
    review_versions(hook, path, errors);
    conditions(hook.list("matchConditions"), path, errors);
}

/// Present and another than these.
fn one_of(object: &Value, field: &str, known: &[&str], path: &Path, errors: &mut Errors) {
    let given = object.text(field);
    if object.has(field) && !given.is_empty() && !known.contains(&given) {
        errors.not_supported(&path.child(field), given, known);
    }
}

pub(super) fn client(client: &Value, path: &Path, errors: &mut Errors) {
    match (client.has("url"), client.at("service").is_object()) {
        (true, false) => url(client.text("url"), &path.child("url"), errors),
        (false, true) => service(client.at("service"), &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

fn url(text: &str, path: &Path, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid(path, scheme, detail);
    }
    let rest = if scheme.is_empty() { "" } else { rest };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        errors.invalid(path, host, format!("host must be specified{FORM}"));
    }
    if let Some((user, _)) = host.rsplit_once('@') {
        let detail = "user information is not permitted in the URL";
        errors.invalid(path, user, detail);
    }
    if !fragment.is_empty() {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

fn service(service: &Value, path: &Path, errors: &mut Errors) {
    // A real server mixes the two up: without the one it asks for the other.
    for (given, asked) in [("name", "namespace"), ("namespace", "name")] {
        if service.text(given).is_empty() {
            errors.required(&path.child(asked), "");
        }
    }
    if let Some(port) = service.int("port").filter(|p| !(1..=65535).contains(p)) {
        let detail = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&path.child("port"), port, detail);
    }
    let given = service.text("path");
    let at = path.child("path");
    if given.is_empty() {
        return;
    }
    if !given.starts_with('/') {
        errors.invalid(&at, given, "must start with a '/'");
    }
    let inner = given.trim_start_matches('/').trim_end_matches('/');
    for (i, segment) in inner.split('/').enumerate().filter(|_| !inner.is_empty()) {
        match segment {
            "" => errors.invalid(&at, given, format!("segment[{i}] may not be empty")),
            _ => {
                for problem in dns_subdomain(segment) {
                    errors.invalid(&at, given, format!("segment[{i}]: {problem}"));
                }
            }
        }
    }
}

fn review_versions(hook: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("admissionReviewVersions");
    let given = hook.list("admissionReviewVersions");
    if given.is_empty() {
        errors.required(&at, "must specify one of v1, v1beta1");
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, version) in given.iter().filter_map(Value::as_str).enumerate() {
        if seen.contains(&version) {
            errors.invalid(&at.index(i), version, "duplicate version");
        }
        errors.invalid_each(&at.index(i), version, dns_label(version));
        seen.push(version);
    }
    if !seen.iter().any(|v| ["v1", "v1beta1"].contains(v)) {
        let detail = "must include at least one of v1, v1beta1";
        errors.invalid(&at, Value::from(given.to_vec()), detail);
    }
}

fn conditions(all: &[Value], path: &Path, errors: &mut Errors) {
    let at = path.child("matchConditions");
    if all.len() > MAX_CONDITIONS {
        errors.too_many(&at, all.len(), MAX_CONDITIONS);
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in all.iter().enumerate() {
        let (at, name) = (at.index(i), condition.text("name"));
        if condition.text("expression").trim().is_empty() {
            errors.required(&at.child("expression"), "");
        }
        match name {
            "" => errors.required(&at.child("name"), ""),
            _ => errors.invalid_each(&at.child("name"), name, qualified_name(name)),
        }
        if !name.is_empty() && seen.contains(&name) {
            errors.duplicate(&at.child("name"), name);
        }
        seen.push(name);
    }
}

fn rule_with_operations(rule: &Value, path: &Path, errors: &mut Errors) {
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let operations = rule.list("operations");
    let at = path.child("operations");
    alone(operations, "operations", &at, errors);
    for (i, operation) in operations.iter().filter_map(Value::as_str).enumerate() {
        if !OPERATIONS.contains(&operation) {
            errors.not_supported(&at.index(i), operation, &OPERATIONS);
        }
    }
    for (field, plural) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let at = path.child(field);
        alone(rule.list(field), plural, &at, errors);
    }
    for (i, version) in rule.list("apiVersions").iter().enumerate() {
        if version == "" {
            errors.required(&path.child("apiVersions").index(i), "");
        }
    }
    resources(rule.list("resources"), &path.child("resources"), errors);
    one_of(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

fn alone(items: &[Value], plural: &str, path: &Path, errors: &mut Errors) {
    if items.is_empty() {
        errors.required(path, "");
    }
    if items.len() > 1 && items.iter().any(|i| i == "*") {
        let detail = format!("if '*' is present, must not specify other {plural}");
        errors.invalid(path, Value::from(items.to_vec()), detail);
    }
}

fn resources(items: &[Value], path: &Path, errors: &mut Errors) {
    if items.is_empty() {
        errors.required(path, "");
    }
    let all: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
    for (i, item) in all.iter().enumerate() {
        let at = path.index(i);
        let (resource, subresource) = item.split_once('/').unwrap_or((item, ""));
        if item.is_empty() {
            errors.required(&at, "");
        } else if *item != "*/*" && !resource.is_empty() && item.contains('/') {
            let covered = |other: &&&str| {
                **other == format!("*/{subresource}") && resource != "*"
                    || **other == format!("{resource}/*") && subresource != "*"
            };
            if let Some(other) = all[..i].iter().find(covered) {
                errors.invalid(
                    &at,
                    *item,
                    format!("if '{other}' is present, must not specify {item}"),
                );
            }
        }
    }
    if all.len() > 1 && all.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        errors.invalid(path, Value::from(items.to_vec()), detail);
    }
    // A real server remembers only the last one without a subresource.
    let last = all.iter().rfind(|r| !r.is_empty() && !r.contains('/'));
    if all.contains(&"*") && last.is_some_and(|r| *r != "*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, Value::from(items.to_vec()), detail);
    }
}

fn policy(new: &Value, steps: &str, errors: &mut Errors) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    if spec.text("failurePolicy").is_empty() {
        errors.required(&path.child("failurePolicy"), "");
    }
    one_of(spec, "failurePolicy", &["Fail", "Ignore"], &path, errors);
    conditions(spec.list("matchConditions"), &path, errors);
    let at = path.child("matchConstraints");
    match spec.at("matchConstraints").is_object() {
        true => match_resources(spec.at("matchConstraints"), &at, true, errors),
        false => errors.required(&at, ""),
    }
    let audits = spec.list("auditAnnotations");
    if spec.list(steps).is_empty() && (steps == "mutations" || audits.is_empty()) {
        let (fields, detail): (&[&str], &str) = match steps {
            "mutations" => (&["mutations"], "mutations must contain at least one item"),
            _ => (
                &["validations", "auditAnnotations"],
                "validations or auditAnnotations must contain at least one item",
            ),
        };
        for field in fields {
            errors.required(&path.child(field), detail);
        }
    }
    if steps == "mutations" {
        let given = spec.text("reinvocationPolicy");
        if given.is_empty() {
            errors.required(&path.child("reinvocationPolicy"), "");
        }
        one_of(spec, "reinvocationPolicy", &["IfNeeded", "Never"], &path, errors);
        for (i, one) in spec.list("mutations").iter().enumerate() {
            mutation(one, &path.child("mutations").index(i), errors);
        }
    }
    for (i, validation) in spec.list("validations").iter().enumerate() {
        let at = path.child("validations").index(i);
        if validation.text("expression").trim().is_empty() {
            errors.required(&at.child("expression"), "expression is not specified");
        }
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
        one_of(validation, "reason", &reasons, &at, errors);
    }
}

fn mutation(mutation: &Value, path: &Path, errors: &mut Errors) {
    let kind = mutation.text("patchType");
    let (own, other) = match kind {
        "" => return errors.required(&path.child("patchType"), ""),
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => {
            let known = ["ApplyConfiguration", "JSONPatch"];
            return errors.not_supported(&path.child("patchType"), kind, &known);
        }
    };
    if !mutation.has(own) {
        let why = format!("must be specified when patchType is {kind}");
        errors.required(&path.child(own), &why);
    } else if mutation.at(own).text("expression").trim().is_empty() {
        errors.required(&path.child(own).child("expression"), "");
    }
    if mutation.has(other) {
        let why = format!("must not be specified when patchType is {kind}");
        errors.invalid(&path.child(other), format!("{{{other}}}"), why);
    }
}

fn match_resources(limits: &Value, path: &Path, wants_rules: bool, errors: &mut Errors) {
    one_of(limits, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    for selector in ["namespaceSelector", "objectSelector"] {
        if limits.has(selector) {
            validate_selector(limits.at(selector), &path.child(selector), errors);
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in limits.list(list).iter().enumerate() {
            rule_with_operations(rule, &path.child(list).index(i), errors);
        }
    }
    if wants_rules && limits.list("resourceRules").is_empty() {
        errors.required(&path.child("resourceRules"), "");
    }
}

fn binding(new: &Value, validating: bool, errors: &mut Errors) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    if spec.text("policyName").is_empty() {
        errors.required(&path.child("policyName"), "");
    }
    let at = path.child("matchResources");
    if spec.at("matchResources").is_object() {
        match_resources(spec.at("matchResources"), &at, false, errors);
    }
    if !validating {
        return;
    }
    let at = path.child("validationActions");
    let actions: Vec<&str> = spec
        .list("validationActions")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if actions.is_empty() {
        errors.required(&at, "at least one validation action is required");
    }
    for (i, action) in actions.iter().enumerate() {
        let known = ["Audit", "Deny", "Warn"];
        if !known.contains(action) {
            errors.not_supported(&at.index(i), action, &known);
        }
        if actions[..i].contains(action) {
            errors.duplicate(&at.index(i), *action);
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the \
                      API response and headers serves no purpose)";
        errors.invalid(&at, Value::from(actions), detail);
    }
}
