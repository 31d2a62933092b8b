//! A pod's spec as a whole; containers, volumes and scheduling have rooms of their own.

use serde_json::Value;

use super::containers::{EphemeralList, validate_containers, validate_ephemeral, validate_init};
use super::resources::{validate_pod_resources, validate_requirements};
use super::scheduling::{validate_affinity, validate_spread, validate_tolerations};
use super::security::validate_pod_security;
use super::volumes::validate_volumes;
use super::windows;
use super::{Mode, SpecContext};
use crate::path::{Errors, Path};
use crate::read::{Read, texts};
use crate::validation::labels::validate_labels;
use crate::validation::names::{dns_label, dns_search, dns_subdomain, in_range, qualified_name};

const MAX_I32: i64 = i32::MAX as i64;

/// Validates a pod spec: a pod's own (`Mode::Pod`) or a template's.
pub(crate) fn validate_spec(spec: &Value, meta: &Value, path: &Path, mode: Mode, errors: &mut Errors) {
    let grace = spec.int("terminationGracePeriodSeconds");
    if grace.is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = validate_volumes(spec.list("volumes"), meta, &path.child("volumes"), errors);
    let context = SpecContext {
        spec,
        volumes,
        grace,
        host_users: spec.at("hostUsers").as_bool().unwrap_or(true),
        restart_policy: spec.text("restartPolicy"),
    };
    validate_claims(spec.list("resourceClaims"), &path.child("resourceClaims"), errors);
    validate_containers(&context, &path.child("containers"), errors);
    validate_init(&context, &path.child("initContainers"), errors);
    let ephemeral = EphemeralList {
        path: path.child("ephemeralContainers"),
    };
    validate_ephemeral(&context, &ephemeral, errors);
    validate_pod_resources(spec, path, errors);
    validate_host_ports(spec, path, mode, errors);
    validate_choices(spec, path, errors);
    validate_labels(spec.at("nodeSelector"), &path.child("nodeSelector"), errors);
    validate_pod_security(spec, &path.child("securityContext"), errors);
    validate_affinity(spec.at("affinity"), &path.child("affinity"), errors);
    validate_dns(spec, &path.child("dnsConfig"), errors);
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let kind = gate.text("conditionType");
        let path = path.child("readinessGates").index(i).child("conditionType");
        errors.invalid_each(&path, kind, qualified_name(kind));
    }
    validate_gates(
        spec.list("schedulingGates"),
        &path.child("schedulingGates"),
        errors,
    );
    let spread = path.child("topologySpreadConstraints");
    validate_spread(spec.list("topologySpreadConstraints"), &spread, errors);
    windows::validate_host_process(spec, path, errors);
    validate_host_users(spec, path, errors);
    validate_host_name(spec, path, errors);
    validate_names(spec, path, errors);
    validate_tolerations(spec.list("tolerations"), &path.child("tolerations"), errors);
    validate_aliases(spec.list("hostAliases"), &path.child("hostAliases"), errors);
    validate_classes(spec, path, errors);
    if spec.has("overhead") {
        let limits = serde_json::json!({"limits": spec.at("overhead")});
        validate_requirements(&limits, &Value::Null, &path.child("overhead"), errors);
    }
    validate_os(spec, path, errors);
}

fn validate_choices(spec: &Value, path: &Path, errors: &mut Errors) {
    let choose = |name: &str, supported: &[&str], errors: &mut Errors| {
        let value = spec.text(name);
        if value.is_empty() {
            errors.required(&path.child(name), "");
        } else if !supported.contains(&value) {
            errors.not_supported(&path.child(name), value, supported);
        }
    };
    choose("restartPolicy", &["Always", "OnFailure", "Never"], errors);
    choose(
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        errors,
    );
}

fn validate_names(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut named = |name: &str, rule: fn(&str) -> Vec<String>| {
        let value = spec.text(name);
        if !value.is_empty() {
            errors.invalid_each(&path.child(name), value, rule(value));
        }
    };
    named("serviceAccountName", dns_subdomain);
    named("nodeName", dns_subdomain);
    if let Some(seconds) = spec.int("activeDeadlineSeconds") {
        for message in in_range(seconds, 1, MAX_I32) {
            errors.invalid(&path.child("activeDeadlineSeconds"), seconds, message);
        }
    }
    let mut named = |name: &str, rule: fn(&str) -> Vec<String>| {
        let value = spec.text(name);
        if !value.is_empty() {
            errors.invalid_each(&path.child(name), value, rule(value));
        }
    };
    named("hostname", dns_label);
    named("subdomain", dns_label);
}

fn validate_classes(spec: &Value, path: &Path, errors: &mut Errors) {
    let class = spec.text("priorityClassName");
    if !class.is_empty() {
        errors.invalid_each(&path.child("priorityClassName"), class, dns_subdomain(class));
    }
    if spec.has("runtimeClassName") {
        let class = spec.text("runtimeClassName");
        errors.invalid_each(&path.child("runtimeClassName"), class, dns_subdomain(class));
    }
    if spec.has("preemptionPolicy") {
        let (policy, supported) = (spec.text("preemptionPolicy"), ["PreemptLowerPriority", "Never"]);
        if policy.is_empty() {
            errors.required(&path.child("preemptionPolicy"), "");
        } else if !supported.contains(&policy) {
            errors.not_supported(&path.child("preemptionPolicy"), policy, &supported);
        }
    }
}

fn validate_claims(claims: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = Vec::new();
    for (i, claim) in claims.iter().enumerate() {
        let (path, name) = (path.index(i), claim.text("name"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if seen.contains(&name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            errors.invalid_each(&path.child("name"), name, dns_label(name));
            seen.push(name);
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if claim.has(field) {
                let value = claim.text(field);
                errors.invalid_each(&path.child(field), value, dns_subdomain(value));
            }
        }
    }
}

fn validate_gates(gates: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = Vec::new();
    for (i, gate) in gates.iter().enumerate() {
        let name = gate.text("name");
        errors.invalid_each(&path.index(i), name, qualified_name(name));
        if seen.contains(&name) {
            errors.duplicate(&path.index(i), name);
        }
        seen.push(name);
    }
}

fn validate_host_ports(spec: &Value, path: &Path, mode: Mode, errors: &mut Errors) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate() {
            let host = port.int("hostPort").unwrap_or(0);
            if (mode == Mode::Pod || host != 0) && host != port.int("containerPort").unwrap_or(0) {
                let path = path
                    .child("containers")
                    .index(i)
                    .child("ports")
                    .index(j)
                    .child("hostPort");
                errors.invalid(
                    &path,
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn validate_dns(spec: &Value, path: &Path, errors: &mut Errors) {
    let config = spec.at("dnsConfig");
    let servers = config.list("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            return errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.required(&path.child("nameservers"), detail);
        }
    }
    if servers.len() > 3 {
        let bad = Value::Array(servers.to_vec());
        errors.invalid(
            &path.child("nameservers"),
            bad,
            "must not have more than 3 nameservers",
        );
    }
    for (i, server) in texts(servers).into_iter().enumerate() {
        validate_ip(server, &path.child("nameservers").index(i), errors);
    }
    let searches = texts(config.list("searches"));
    let bad = || Value::Array(config.list("searches").to_vec());
    if searches.len() > 32 {
        errors.invalid(
            &path.child("searches"),
            bad(),
            "must not have more than 32 search paths",
        );
    }
    if searches.join(" ").len() > 2048 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&path.child("searches"), bad(), detail);
    }
    for (i, search) in searches.into_iter().enumerate().filter(|(_, s)| *s != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        errors.invalid_each(&path.child("searches").index(i), search, dns_search(search));
    }
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.required(&path.child("options").index(i), "must not be empty");
        }
    }
}

pub(crate) fn validate_ip(text: &str, path: &Path, errors: &mut Errors) {
    if text.parse::<std::net::IpAddr>().is_err() {
        errors.invalid(
            path,
            text,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
    }
}

fn validate_aliases(aliases: &[Value], path: &Path, errors: &mut Errors) {
    for (i, alias) in aliases.iter().enumerate() {
        let path = path.index(i);
        validate_ip(alias.text("ip"), &path.child("ip"), errors);
        for (j, name) in texts(alias.list("hostnames")).into_iter().enumerate() {
            errors.invalid_each(&path.child("hostnames").index(j), name, dns_subdomain(name));
        }
    }
}

fn validate_host_users(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec.at("hostUsers").as_bool() != Some(false) {
        return;
    }
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if spec.flag(field) {
            errors.forbidden(&path.child(shown), "when `hostUsers` is false");
        }
    }
    for (container, path) in all_containers(spec, path) {
        if !container.list("volumeDevices").is_empty() {
            errors.forbidden(&path.child("volumeDevices"), "when `hostUsers` is false");
        }
    }
}

fn validate_host_name(spec: &Value, path: &Path, errors: &mut Errors) {
    if !spec.has("hostnameOverride") {
        return;
    }
    let (path, name) = (path.child("hostnameOverride"), spec.text("hostnameOverride"));
    if spec.flag("setHostnameAsFQDN") {
        errors.forbidden(&path, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.flag("hostNetwork") {
        errors.forbidden(&path, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        errors.too_long(&path, 64);
    }
    errors.invalid_each(&path, name, dns_subdomain(name));
}

fn validate_os(spec: &Value, path: &Path, errors: &mut Errors) {
    if !spec.has("os") {
        return;
    }
    let (os, os_path) = (spec.at("os").text("name"), path.child("os"));
    match os {
        "" => errors.required(&os_path.child("name"), "cannot be empty"),
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            if spec.at("securityContext").has("windowsOptions") {
                errors.forbidden(&path.child("securityContext").child("windowsOptions"), detail);
            }
            for (container, path) in all_containers(spec, path) {
                if container.at("securityContext").has("windowsOptions") {
                    errors.forbidden(&path.child("securityContext").child("windowsOptions"), detail);
                }
            }
        }
        "windows" => {}
        other => errors.not_supported(&os_path, other, &["linux", "windows"]),
    }
}

/// Init, regular and ephemeral containers with their paths, in the order Kubernetes visits them.
pub(super) fn all_containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let mut out = Vec::new();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let path = path.child(list);
        out.extend(
            spec.list(list)
                .iter()
                .enumerate()
                .map(|(i, c)| (c, path.index(i))),
        );
    }
    out
}
