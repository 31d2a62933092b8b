//! Probes, lifecycle hooks and their handlers.

use serde_json::Value;

use super::SpecContext;
use crate::path::{Errors, Path};
use crate::read::Read;
use crate::validation::names::{header_name, port_name, port_number};

pub(super) fn validate_probes(
    context: &SpecContext<'_>,
    container: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (probe, path) = (container.at(kind), path.child(kind));
        if probe.is_null() {
            continue;
        }
        validate_handler(context, probe, &PROBE_HANDLERS, &path, errors);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            if let Some(value) = probe.int(field).filter(|v| *v < 0) {
                errors.invalid(&path.child(field), value, "must be greater than or equal to 0");
            }
        }
        let grace = probe.int("terminationGracePeriodSeconds");
        let at = path.child("terminationGracePeriodSeconds");
        if let Some(value) = grace.filter(|v| *v <= 0) {
            errors.invalid(&at, value, "must be greater than 0");
        }
        if kind == "readinessProbe" {
            if let Some(value) = grace {
                errors.invalid(&at, value, "must not be set for readinessProbes");
            }
        } else {
            let threshold = probe.int("successThreshold").unwrap_or(0);
            if threshold != 1 {
                errors.invalid(&path.child("successThreshold"), threshold, "must be 1");
            }
        }
    }
}

const PROBE_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const HOOK_HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

pub(super) fn validate_lifecycle(
    context: &SpecContext<'_>,
    container: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    let (lifecycle, path) = (container.at("lifecycle"), path.child("lifecycle"));
    for hook in ["postStart", "preStop"] {
        if lifecycle.has(hook) {
            validate_handler(
                context,
                lifecycle.at(hook),
                &HOOK_HANDLERS,
                &path.child(hook),
                errors,
            );
        }
    }
    if lifecycle.has("stopSignal") && !context.spec.has("os") {
        errors.forbidden(
            &path.child("stopSignal"),
            "may not be set for containers with empty `spec.os.name`",
        );
    }
}

fn validate_handler(
    context: &SpecContext<'_>,
    handler: &Value,
    kinds: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    let mut found = false;
    for kind in kinds {
        let (action, at) = (handler.at(kind), path.child(kind));
        if action.is_null() {
            continue;
        }
        if found {
            errors.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        found = true;
        match *kind {
            "exec" => {
                if action.list("command").is_empty() {
                    errors.required(&at.child("command"), "");
                }
            }
            "httpGet" => validate_http(action, &at, errors),
            "sleep" => {
                let seconds = action.int("seconds").unwrap_or(0);
                if let Some(grace) = context.grace.filter(|g| seconds < 0 || seconds > *g) {
                    let detail =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.invalid(&at, seconds, detail);
                }
            }
            _ => validate_port(action.at("port"), &at.child("port"), errors),
        }
    }
    if !found {
        errors.required(path, "must specify a handler type");
    }
}

fn validate_http(action: &Value, path: &Path, errors: &mut Errors) {
    if action.text("path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    validate_port(action.at("port"), &path.child("port"), errors);
    let scheme = action.text("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in action.list("httpHeaders") {
        let name = header.text("name");
        errors.invalid_each(&path.child("httpHeaders"), name, header_name(name));
    }
}

/// A port by number or by name.
pub(crate) fn validate_port(port: &Value, path: &Path, errors: &mut Errors) {
    match port {
        Value::String(name) => errors.invalid_each(path, name, port_name(name)),
        other => {
            let number = other.as_i64().unwrap_or(0);
            for message in port_number(number) {
                errors.invalid(path, number, message);
            }
        }
    }
}
