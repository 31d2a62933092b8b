//! Environment variables and the downward API.

use serde_json::Value;

use crate::path::{Errors, Path};
use crate::quantity::Quantity;
use crate::read::Read;
use crate::validation::names::{config_key, dns_label, dns_subdomain, env_name, qualified_name};

pub(super) fn validate_env(vars: &[Value], path: &Path, errors: &mut Errors) {
    for (i, var) in vars.iter().enumerate() {
        let (path, name) = (path.index(i), var.text("name"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.invalid_each(&path.child("name"), name, env_name(name));
        }
        validate_value_from(var, &path.child("valueFrom"), errors);
    }
}

pub(super) fn validate_env_from(sources: &[Value], path: &Path, errors: &mut Errors) {
    for (i, source) in sources.iter().enumerate() {
        let at = path.index(i);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            errors.invalid_each(&at.child("prefix"), prefix, env_name(prefix));
        }
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            if !source.has(field) {
                continue;
            }
            count += 1;
            let (path, name) = (at.child(field).child("name"), source.at(field).text("name"));
            if name.is_empty() {
                errors.required(&path, "");
            } else {
                errors.invalid_each(&path, name, dns_subdomain(name));
            }
        }
        match count {
            0 => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
}

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn validate_value_from(var: &Value, path: &Path, errors: &mut Errors) {
    let from = var.at("valueFrom");
    if from.is_null() {
        return;
    }
    let mut count = 0;
    if from.has("fieldRef") {
        count += 1;
        validate_field_ref(from.at("fieldRef"), &ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if from.has("resourceFieldRef") {
        count += 1;
        validate_resource_ref(
            from.at("resourceFieldRef"),
            false,
            &path.child("resourceFieldRef"),
            errors,
        );
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        if from.has(field) {
            count += 1;
            validate_key_ref(from.at(field), &path.child(field), errors);
        }
    }
    if from.has("fileKeyRef") {
        count += 1;
        validate_file_ref(from.at("fileKeyRef"), &path.child("fileKeyRef"), errors);
    }
    if count == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(path, "", detail);
    } else if !var.text("value").is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

fn validate_key_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    let (name, key) = (reference.text("name"), reference.text("key"));
    errors.invalid_each(&path.child("name"), name, dns_subdomain(name));
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.invalid_each(&path.child("key"), key, config_key(key));
    }
}

fn validate_file_ref(reference: &Value, path: &Path, errors: &mut Errors) {
    for (field, rule) in [
        ("key", env_name as fn(&str) -> Vec<String>),
        ("volumeName", dns_label),
        ("path", no_backsteps),
    ] {
        let value = reference.text(field);
        if value.is_empty() {
            errors.required(&path.child(field), "");
        } else {
            errors.invalid_each(&path.child(field), value, rule(value));
        }
    }
}

pub(super) fn no_backsteps(path: &str) -> Vec<String> {
    let steps_back = path.split('/').any(|part| part == "..");
    if steps_back {
        vec!["must not contain '..'".to_owned()]
    } else {
        Vec::new()
    }
}

pub(super) fn validate_field_ref(reference: &Value, supported: &[&str], path: &Path, errors: &mut Errors) {
    if reference.text("apiVersion").is_empty() {
        return errors.required(&path.child("apiVersion"), "");
    }
    let field = reference.text("fieldPath");
    if field.is_empty() {
        return errors.required(&path.child("fieldPath"), "");
    }
    if !is_downward_field(field) {
        let detail = format!(
            "error converting fieldPath: field label not supported: {}",
            bare(field)
        );
        return errors.invalid(&path.child("fieldPath"), field, detail);
    }
    let Some((base, subscript)) = subscripted(field) else {
        if !supported.contains(&field) {
            errors.not_supported(&path.child("fieldPath"), field, &sorted(supported));
        }
        return;
    };
    match base {
        "metadata.annotations" => {
            let lower = subscript.to_lowercase();
            errors.invalid_each(path, &lower, qualified_name(&lower));
        }
        "metadata.labels" => errors.invalid_each(path, subscript, qualified_name(subscript)),
        other => errors.invalid(path, other, "does not support subscript"),
    }
}

fn sorted<'a>(items: &[&'a str]) -> Vec<&'a str> {
    let mut out = items.to_vec();
    out.sort_unstable();
    out
}

fn subscripted(field: &str) -> Option<(&str, &str)> {
    let (base, rest) = field.split_once("['")?;
    Some((base, rest.strip_suffix("']")?))
}

fn bare(field: &str) -> &str {
    subscripted(field).map_or(field, |(base, _)| base)
}

fn is_downward_field(field: &str) -> bool {
    if subscripted(field).is_some() {
        return ["metadata.annotations", "metadata.labels"].contains(&bare(field));
    }
    [
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.serviceAccountName",
        "spec.schedulerName",
        "status.phase",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
        "spec.host",
    ]
    .contains(&field)
}

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn validate_resource_ref(reference: &Value, volume: bool, path: &Path, errors: &mut Errors) {
    let resource = reference.text("resource");
    if volume && reference.text("containerName").is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource)
        && !resource.starts_with("limits.hugepages-")
        && !resource.starts_with("requests.hugepages-")
    {
        errors.not_supported(&path.child("resource"), resource, &RESOURCES);
    }
    let divisor = reference.text("divisor");
    if Quantity::parse(divisor).is_none_or(Quantity::is_zero) {
        return;
    }
    let (allowed, shown): (&[&str], &str) = match resource.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => (&["1m", "1"], "1m and 1 are supported with the cpu resource"),
        "memory" => (
            &SIZES,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
        ),
        "ephemeral-storage" => (
            &SIZES,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource",
        ),
        other if other.starts_with("hugepages-") => (
            &SIZES,
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource",
        ),
        _ => return,
    };
    if !allowed.contains(&divisor) {
        errors.invalid(
            &path.child("divisor"),
            resource,
            format!("only divisor's values {shown}"),
        );
    }
}

const SIZES: [&str; 13] = [
    "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
];
