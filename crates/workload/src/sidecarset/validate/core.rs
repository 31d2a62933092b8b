//! What core pod validation would refuse in a container or volume, as far as it can be told without a pod.
use super::Verdict;
use model::field::{FieldError, FieldErrorKind};
use model::quantity::Quantity;
use model::sidecarset::SidecarSet;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";

pub(super) fn container(path: &str, body: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    name(&format!("{path}.name"), body.get("name"), errors);
    let image = text(body, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        let at = format!("{path}.image");
        errors.push(FieldError::invalid(
            at,
            json!(image).to_string(),
            "must not have leading or trailing whitespace",
        ));
    }
    for (field, known) in [
        ("imagePullPolicy", &["Always", "IfNotPresent", "Never"][..]),
        ("terminationMessagePolicy", &["File", "FallbackToLogsOnError"][..]),
    ] {
        supported(&format!("{path}.{field}"), text(body, field), known, errors);
    }
    environment(path, body, errors);
    ports(path, body, errors);
    mounts(path, body, errors);
    quantities(path, body, errors);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe_body) = body.get(probe).and_then(Value::as_object) {
            handler(
                &format!("{path}.{probe}"),
                probe_body,
                &["exec", "httpGet", "tcpSocket", "grpc"],
                errors,
            );
        }
    }
    let lifecycle = body.get("lifecycle").and_then(Value::as_object);
    for hook in ["postStart", "preStop"] {
        if let Some(hook_body) = lifecycle.and_then(|l| l.get(hook)).and_then(Value::as_object) {
            let at = format!("{path}.lifecycle.{hook}");
            handler(&at, hook_body, &["exec", "httpGet", "tcpSocket", "sleep"], errors);
        }
    }
}

/// Volumes, and mounts of volumes that are not there. Kruise refuses the latter; a pod may bring the volume, so
/// that it is a warning here.
pub(super) fn volumes(set: &SidecarSet, verdict: &mut Verdict) {
    let mut names = BTreeSet::new();
    for (i, volume) in set.spec.volumes.iter().enumerate() {
        let path = format!("spec.volumes[{i}]");
        let Some(fields) = volume.as_object() else {
            verdict
                .errors
                .push(FieldError::invalid(path, volume.to_string(), "must be an object"));
            continue;
        };
        name(&format!("{path}.name"), fields.get("name"), &mut verdict.errors);
        if !names.insert(text(fields, "name")) {
            let at = format!("{path}.name");
            verdict
                .errors
                .push(FieldError::duplicate(at, json!(text(fields, "name")).to_string()));
        }
        let sources = fields
            .iter()
            .filter(|(field, value)| *field != "name" && !value.is_null())
            .count();
        if sources > 1 {
            let why = "may not specify more than 1 volume type";
            verdict.errors.push(FieldError::forbidden(path, why));
        }
    }
    let lists = [
        ("initContainers", &set.spec.init_containers),
        ("containers", &set.spec.containers),
    ];
    for (field, list) in lists {
        for (i, c) in list.iter().enumerate() {
            for mounts in ["volumeMounts", "volumeDevices"] {
                for (j, mount) in items(&c.body, mounts).enumerate() {
                    let volume = text(mount, "name");
                    if !volume.is_empty() && !names.contains(volume) {
                        verdict.warnings.push(format!(
                            "spec.{field}[{i}].{mounts}[{j}].name: {volume:?} is not in spec.volumes: pods must bring it"
                        ));
                    }
                }
            }
        }
    }
}

fn name(path: &str, value: Option<&Value>, errors: &mut Vec<FieldError>) {
    let name = value.and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let alnum = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    let fits = bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if !fits || !alnum(bytes.first()) || !alnum(bytes.last()) {
        errors.push(FieldError::invalid(path, json!(name).to_string(), LABEL));
    } else if name.len() > 63 {
        errors.push(FieldError::invalid(
            path,
            json!(name).to_string(),
            "must be no more than 63 bytes",
        ));
    }
}

fn environment(path: &str, body: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    for (i, env) in items(body, "env").enumerate() {
        let at = format!("{path}.env[{i}]");
        let name = text(env, "name");
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        } else if !name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=') {
            let why = "must consist of printable ASCII characters other than '='";
            errors.push(FieldError::invalid(
                format!("{at}.name"),
                json!(name).to_string(),
                why,
            ));
        }
        let from = env.get("valueFrom").and_then(Value::as_object);
        if from.is_some_and(|f| !f.is_empty()) && !text(env, "value").is_empty() {
            let why = "may not be specified when `value` is not empty";
            errors.push(FieldError::invalid(format!("{at}.valueFrom"), "\"\"", why));
        }
    }
}

fn ports(path: &str, body: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    for (i, port) in items(body, "ports").enumerate() {
        let at = format!("{path}.ports[{i}]");
        let number = |field: &str| port.get(field).and_then(Value::as_i64).unwrap_or(0);
        for (field, required) in [("containerPort", true), ("hostPort", false)] {
            let n = number(field);
            if n == 0 && required {
                errors.push(FieldError::required(format!("{at}.{field}"), ""));
            } else if n != 0 && !(1..=65535).contains(&n) {
                let why = "must be between 1 and 65535, inclusive";
                errors.push(FieldError::invalid(format!("{at}.{field}"), n.to_string(), why));
            }
        }
        supported(
            &format!("{at}.protocol"),
            text(port, "protocol"),
            &["TCP", "UDP", "SCTP"],
            errors,
        );
    }
}

fn mounts(path: &str, body: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    let mut paths = BTreeSet::new();
    for (list, field) in [("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")] {
        for (i, mount) in items(body, list).enumerate() {
            let at = format!("{path}.{list}[{i}]");
            if text(mount, "name").is_empty() {
                errors.push(FieldError::required(format!("{at}.name"), ""));
            }
            let target = text(mount, field);
            if target.is_empty() {
                errors.push(FieldError::required(format!("{at}.{field}"), ""));
            } else if !paths.insert(target) {
                let value = json!(target).to_string();
                errors.push(FieldError::invalid(
                    format!("{at}.{field}"),
                    value,
                    "must be unique",
                ));
            }
            if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
                let value = json!(text(mount, "subPathExpr")).to_string();
                let at = format!("{at}.subPathExpr");
                errors.push(FieldError::invalid(
                    at,
                    value,
                    "subPathExpr and subPath are mutually exclusive",
                ));
            }
        }
    }
}

fn quantities(path: &str, body: &Map<String, Value>, errors: &mut Vec<FieldError>) {
    let resources = body.get("resources").and_then(Value::as_object);
    let read = |value: &Value| match value {
        Value::String(text) => Quantity::parse(text.trim()),
        other => Quantity::parse(&other.to_string()),
    };
    for block in ["limits", "requests"] {
        let Some(map) = resources.and_then(|r| r.get(block)).and_then(Value::as_object) else {
            continue;
        };
        for (resource, value) in map {
            let at = format!("{path}.resources.{block}[{resource}]");
            match read(value) {
                Err(e) => errors.push(FieldError::invalid(at, value.to_string(), e.to_string())),
                Ok(q) if q.is_negative() => {
                    let why = "must be greater than or equal to 0";
                    errors.push(FieldError::invalid(at, value.to_string(), why));
                }
                Ok(q) => {
                    let limit = resources
                        .and_then(|r| r.get("limits"))
                        .and_then(|l| l.get(resource));
                    let limit = limit.and_then(|l| read(l).ok()).filter(|_| block == "requests");
                    if let Some(limit) = limit.filter(|limit| q > *limit) {
                        let why = format!("must be less than or equal to {resource} limit of {limit}");
                        errors.push(FieldError::invalid(at, value.to_string(), why));
                    }
                }
            }
        }
    }
}

/// Exactly one of the known handlers.
fn handler(path: &str, body: &Map<String, Value>, known: &[&str], errors: &mut Vec<FieldError>) {
    match known
        .iter()
        .filter(|h| body.get(**h).is_some_and(|v| !v.is_null()))
        .count()
    {
        0 => errors.push(FieldError::required(path, "must specify a handler type")),
        1 => {}
        _ => errors.push(FieldError::forbidden(
            path,
            "may not specify more than 1 handler type",
        )),
    }
}

/// Empty is left to defaulting.
fn supported(path: &str, value: &str, known: &[&str], errors: &mut Vec<FieldError>) {
    if !value.is_empty() && !known.contains(&value) {
        let listed: Vec<String> = known.iter().map(|k| format!("{k:?}")).collect();
        errors.push(FieldError::new(
            path,
            FieldErrorKind::NotSupported,
            json!(value).to_string(),
            format!("supported values: {}", listed.join(", ")),
        ));
    }
}

fn items<'a>(body: &'a Map<String, Value>, field: &str) -> impl Iterator<Item = &'a Map<String, Value>> {
    body.get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
}

fn text<'a>(body: &'a Map<String, Value>, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or_default()
}
