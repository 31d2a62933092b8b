//! Containers of the three sorts.

use serde_json::Value;

use super::SpecContext;
use super::env::{validate_env, validate_env_from};
use super::mounts::{validate_devices, validate_mounts};
use super::probes::{validate_lifecycle, validate_probes};
use super::resources::validate_requirements;
use super::security::validate_container_security;
use crate::path::{Errors, Path};
use crate::read::Read;
use crate::validation::names::{dns_label, port_name, port_number};

/// Where the ephemeral containers live.
pub(super) struct EphemeralList {
    pub path: Path,
}

pub(super) fn validate_containers(context: &SpecContext<'_>, path: &Path, errors: &mut Errors) {
    let containers = context.spec.list("containers");
    if containers.is_empty() {
        return errors.required(path, "");
    }
    let mut names = Vec::new();
    for (i, container) in containers.iter().enumerate() {
        let path = path.index(i);
        validate_common(context, container, &path, errors);
        let name = container.text("name");
        if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            names.push(name);
        }
        validate_lifecycle(context, container, &path, errors);
        validate_probes(context, container, &path, errors);
        validate_restart_rules(container, &path, errors);
    }
    let mut ports = Vec::new();
    check_host_ports(containers, path, &mut ports, errors);
}

pub(super) fn validate_init(context: &SpecContext<'_>, path: &Path, errors: &mut Errors) {
    let mut names: Vec<&str> = context
        .spec
        .list("containers")
        .iter()
        .map(|c| c.text("name"))
        .collect();
    for (i, container) in context.spec.list("initContainers").iter().enumerate() {
        let at = path.index(i);
        validate_common(context, container, &at, errors);
        let restarts = container.text("restartPolicy") == "Always";
        validate_restart_rules(container, &at, errors);
        let name = container.text("name");
        if names.contains(&name) {
            errors.duplicate(&at.child("name"), name);
        } else if !name.is_empty() {
            names.push(name);
        }
        check_host_ports(std::slice::from_ref(container), path, &mut Vec::new(), errors);
        if restarts {
            validate_lifecycle(context, container, &at, errors);
            validate_probes(context, container, &at, errors);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(field) {
                    let detail = "may not be set for init containers without restartPolicy=Always";
                    errors.forbidden(&at.child(field), detail);
                }
            }
            for (j, policy) in container.list("resizePolicy").iter().enumerate() {
                let value = policy.text("restartPolicy");
                if value == "RestartContainer" {
                    let path = at.child("resizePolicy").index(j).child("restartPolicy");
                    let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    errors.invalid(&path, value, detail);
                }
            }
        }
    }
}

/// Fields an ephemeral container may not have, in the order of Kubernetes' own type.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

pub(super) fn validate_ephemeral(context: &SpecContext<'_>, list: &EphemeralList, errors: &mut Errors) {
    let lists = ["containers", "initContainers"];
    let others: Vec<&str> = lists
        .iter()
        .flat_map(|l| context.spec.list(l))
        .map(|c| c.text("name"))
        .collect();
    let mut names = others.clone();
    for (i, container) in context.spec.list("ephemeralContainers").iter().enumerate() {
        let path = list.path.index(i);
        validate_common(context, container, &path, errors);
        validate_pod_image(container, &path, errors);
        let (name, target) = (container.text("name"), container.text("targetContainerName"));
        if names.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            names.push(name);
        }
        if !target.is_empty() && !others.contains(&target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for field in NOT_EPHEMERAL {
            let set = match container.at(field) {
                Value::Null => false,
                Value::Object(map) => !map.is_empty() || field != "resources",
                Value::Array(items) => !items.is_empty(),
                _ => true,
            };
            if set {
                errors.forbidden(&path.child(field), "cannot be set for an Ephemeral Container");
            }
        }
        for (j, mount) in container.list("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    let path = path.child("volumeMounts").index(j).child(field);
                    errors.forbidden(&path, "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

/// What a pod's containers must obey beyond a template's.
pub(super) fn validate_pod_image(container: &Value, path: &Path, errors: &mut Errors) {
    let image = container.text("image");
    if image.trim().len() != image.len() {
        errors.invalid(
            &path.child("image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
}

fn validate_common(context: &SpecContext<'_>, container: &Value, path: &Path, errors: &mut Errors) {
    let name = container.text("name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), name, dns_label(name));
    }
    if container.text("image").is_empty() {
        errors.required(&path.child("image"), "");
    }
    let supported = ["File", "FallbackToLogsOnError"];
    validate_choice(container, "terminationMessagePolicy", &supported, path, errors);
    validate_ports(container.list("ports"), &path.child("ports"), errors);
    validate_env(container.list("env"), &path.child("env"), errors);
    validate_env_from(container.list("envFrom"), &path.child("envFrom"), errors);
    validate_mounts(context, container, &path.child("volumeMounts"), errors);
    validate_devices(context, container, &path.child("volumeDevices"), errors);
    validate_choice(
        container,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
        path,
        errors,
    );
    validate_requirements(
        container.at("resources"),
        context.spec,
        &path.child("resources"),
        errors,
    );
    validate_resize_policy(
        context,
        container.list("resizePolicy"),
        &path.child("resizePolicy"),
        errors,
    );
    let security = container.at("securityContext");
    validate_container_security(
        security,
        &path.child("securityContext"),
        context.host_users,
        errors,
    );
}

fn validate_choice(value: &Value, field: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    let chosen = value.text(field);
    if chosen.is_empty() {
        errors.required(&path.child(field), "");
    } else if !supported.contains(&chosen) {
        errors.not_supported(&path.child(field), chosen, supported);
    }
}

fn validate_ports(ports: &[Value], path: &Path, errors: &mut Errors) {
    let mut names = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(i), port.text("name"));
        if !name.is_empty() {
            let problems = port_name(name);
            if !problems.is_empty() {
                errors.invalid_each(&path.child("name"), name, problems);
            } else if names.contains(&name) {
                errors.duplicate(&path.child("name"), name);
            } else {
                names.push(name);
            }
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => errors.required(&path.child("containerPort"), ""),
            number => {
                for message in port_number(number) {
                    errors.invalid(&path.child("containerPort"), number, message);
                }
            }
        }
        if let Some(number) = port.int("hostPort").filter(|n| *n != 0) {
            for message in port_number(number) {
                errors.invalid(&path.child("hostPort"), number, message);
            }
        }
        validate_choice(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
    }
}

fn check_host_ports(containers: &[Value], path: &Path, seen: &mut Vec<String>, errors: &mut Errors) {
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate() {
            let Some(number) = port.int("hostPort").filter(|n| *n != 0) else {
                continue;
            };
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if seen.contains(&key) {
                errors.duplicate(&path.index(i).child("ports").index(j).child("hostPort"), key);
            } else {
                seen.push(key);
            }
        }
    }
}

fn validate_resize_policy(context: &SpecContext<'_>, list: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = Vec::new();
    for (i, policy) in list.iter().enumerate() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if seen.contains(&resource) {
            errors.duplicate(&path.index(i), resource);
        }
        seen.push(resource);
        match resource {
            "cpu" | "memory" => {}
            "" => errors.required(path, ""),
            other => errors.not_supported(path, other, &["cpu", "memory"]),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.required(path, ""),
            other => errors.not_supported(path, other, &["NotRequired", "RestartContainer"]),
        }
        if context.restart_policy == "Never" && restart != "NotRequired" {
            errors.invalid(
                path,
                restart,
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            );
        }
    }
}

fn validate_restart_rules(container: &Value, path: &Path, errors: &mut Errors) {
    let rules = container.list("restartPolicyRules");
    let at = path.child("restartPolicy");
    if !container.has("restartPolicy") {
        if !rules.is_empty() {
            errors.required(&at, "must specify restartPolicy when restart rules are used");
        }
        if rules.is_empty() {
            return;
        }
    } else {
        let supported = ["Always", "Never", "OnFailure"];
        let policy = container.text("restartPolicy");
        if !supported.contains(&policy) {
            errors.not_supported(&at, policy, &supported);
        }
    }
    if rules.len() > 20 {
        errors.too_many(&path.child("restartPolicyRules"), rules.len(), 20);
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = path.child("restartPolicyRules").index(i);
        let actions = ["Restart", "RestartAllContainers"];
        if !actions.contains(&rule.text("action")) {
            errors.not_supported(&at.child("action"), rule.text("action"), &actions);
        }
        let codes = rule.at("exitCodes");
        if codes.is_null() {
            errors.required(&at.child("exitCodes"), "must be specified");
            continue;
        }
        if !["In", "NotIn"].contains(&codes.text("operator")) {
            let path = at.child("exitCodes").child("operator");
            errors.not_supported(&path, codes.text("operator"), &["In", "NotIn"]);
        }
        if codes.list("values").len() > 255 {
            errors.too_many(
                &at.child("exitCodes").child("values"),
                codes.list("values").len(),
                255,
            );
        }
    }
}
