//! Services: rules, and what a server works out before them.
mod addresses;
mod change;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::names::{dns_label, dns_subdomain, port_number, qualified_name};
use super::{labels, pod};
use crate::path::{Errors, Path};
use crate::read::Read as _;

pub use addresses::{address_errors, normalise_addresses};
pub(crate) use change::drop_unused;
pub use change::{keep_allocated, needs_health_check, needs_node_ports};

const DEFAULT_TIMEOUT_MAX: i64 = 86_400;

/// What is wrong with a service, and with its change.
pub(crate) fn validate(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    if let Some(old) = old {
        change::validate(new, old, errors);
    }
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    let kind = spec.text("type");
    if spec.list("ports").is_empty() && !headless(spec) && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    by_type(spec, &path, errors);
    let mut names = BTreeSet::new();
    let ports = spec.list("ports");
    for (i, one) in ports.iter().enumerate() {
        port(
            one,
            ports.len() > 1,
            &mut names,
            &path.child("ports").index(i),
            errors,
        );
    }
    labels::validate_labels(spec.at("selector"), &path.child("selector"), errors);
    affinity(spec, &path, errors);
    addresses::validate(spec, &path, errors);
    external_addresses(spec, &path, errors);
    match kind {
        "" => errors.required(&path.child("type"), ""),
        "ClusterIP" | "ExternalName" | "LoadBalancer" | "NodePort" => {}
        other => errors.not_supported(
            &path.child("type"),
            other,
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ),
    }
    port_numbers(spec, &path, errors);
    balancer(spec, &path, errors);
    traffic(spec, &path, errors);
}

/// What is wrong with a changed status.
pub(crate) fn validate_status(new: &Value, errors: &mut Errors) {
    let all = new.at("status").at("loadBalancer").list("ingress");
    let path = Path::new("status").child("loadBalancer").child("ingress");
    if new.at("spec").text("type") != "LoadBalancer" {
        if !all.is_empty() {
            errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        return;
    }
    for (i, ingress) in all.iter().enumerate() {
        let at = path.index(i);
        let (ip, host) = (ingress.text("ip"), ingress.text("hostname"));
        if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
            errors.invalid(&at.child("ip"), ip, addresses::NO_ADDRESS);
        }
        match ingress.at("ipMode").as_str() {
            None if !ip.is_empty() => {
                errors.required(&at.child("ipMode"), "must be specified when `ip` is set")
            }
            Some(_) if ip.is_empty() => {
                errors.forbidden(&at.child("ipMode"), "may not be specified when `ip` is not set");
            }
            Some(mode) if !matches!(mode, "VIP" | "Proxy") => {
                errors.not_supported(&at.child("ipMode"), mode, &["Proxy", "VIP"]);
            }
            _ => {}
        }
        if !host.is_empty() {
            errors.invalid_each(&at.child("hostname"), host, dns_subdomain(host));
            if host.parse::<std::net::IpAddr>().is_ok() {
                errors.invalid(
                    &at.child("hostname"),
                    host,
                    "must be a DNS name, not an IP address",
                );
            }
        }
    }
}

pub(super) fn headless(spec: &Value) -> bool {
    matches!(spec.list("clusterIPs"), [only] if only == "None")
}

fn by_type(spec: &Value, path: &Path, errors: &mut Errors) {
    match spec.text("type") {
        kind @ ("LoadBalancer" | "NodePort") if headless(spec) => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), "None", why);
        }
        "ExternalName" => {
            for (field, set) in [
                ("clusterIPs", !spec.list("clusterIPs").is_empty()),
                ("ipFamilies", !spec.list("ipFamilies").is_empty()),
                ("ipFamilyPolicy", spec.has("ipFamilyPolicy")),
            ] {
                if set {
                    errors.forbidden(&path.child(field), "may not be set for ExternalName services");
                }
            }
            let name = spec.text("externalName");
            let name = name.strip_suffix('.').unwrap_or(name);
            let at = path.child("externalName");
            match name {
                "" => errors.required(&at, ""),
                name => errors.invalid_each(&at, name, dns_subdomain(name)),
            }
        }
        _ => {}
    }
}

fn port<'a>(port: &'a Value, named: bool, names: &mut BTreeSet<&'a str>, at: &Path, errors: &mut Errors) {
    let name = port.text("name");
    if name.is_empty() {
        if named {
            errors.required(&at.child("name"), "");
        }
    } else {
        errors.invalid_each(&at.child("name"), name, dns_label(name));
        if !names.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
    }
    let number = port.int("port").unwrap_or(0);
    for message in port_number(number) {
        errors.invalid(&at.child("port"), number, message);
    }
    match port.text("protocol") {
        "" => errors.required(&at.child("protocol"), ""),
        "TCP" | "UDP" | "SCTP" => {}
        other => errors.not_supported(&at.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
    }
    pod::validate_port(port.at("targetPort"), &at.child("targetPort"), errors);
    if let Some(protocol) = port.at("appProtocol").as_str() {
        errors.invalid_each(&at.child("appProtocol"), protocol, qualified_name(protocol));
    }
}

fn affinity(spec: &Value, path: &Path, errors: &mut Errors) {
    let (at, config) = (
        path.child("sessionAffinityConfig"),
        spec.at("sessionAffinityConfig"),
    );
    match spec.text("sessionAffinity") {
        "" => errors.required(&path.child("sessionAffinity"), ""),
        "None" => {
            if !config.is_null() {
                errors.forbidden(&at, "must not be set when session affinity is None");
            }
        }
        "ClientIP" => {
            let why = "when session affinity type is ClientIP";
            if config.is_null() {
                errors.required(&at, why);
            } else if !config.has("clientIP") {
                errors.required(&at.child("clientIP"), why);
            } else {
                let at = at.child("clientIP").child("timeoutSeconds");
                match config.at("clientIP").int("timeoutSeconds") {
                    None => errors.required(&at, why),
                    Some(seconds) if seconds <= 0 || seconds > DEFAULT_TIMEOUT_MAX => {
                        let why = format!("must be greater than 0 and less than {DEFAULT_TIMEOUT_MAX}");
                        errors.invalid(&at, seconds, why);
                    }
                    Some(_) => {}
                }
            }
        }
        other => errors.not_supported(&path.child("sessionAffinity"), other, &["ClientIP", "None"]),
    }
}

fn external_addresses(spec: &Value, path: &Path, errors: &mut Errors) {
    for (i, address) in spec.list("externalIPs").iter().enumerate() {
        let (at, text) = (
            path.child("externalIPs").index(i),
            address.as_str().unwrap_or_default(),
        );
        match text.parse::<std::net::IpAddr>() {
            Err(_) => errors.invalid(&at, text, addresses::NO_ADDRESS),
            Ok(ip) => {
                for why in addresses::special(ip, text) {
                    errors.invalid(&at, text, why);
                }
            }
        }
    }
}

fn port_numbers(spec: &Value, path: &Path, errors: &mut Errors) {
    let (ports, at) = (spec.list("ports"), path.child("ports"));
    let node_port = |port: &Value| port.int("nodePort").unwrap_or(0);
    if spec.text("type") == "ClusterIP" {
        for (i, _) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.forbidden(&at.index(i).child("nodePort"), why);
        }
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0) {
        if !seen.insert((port.text("protocol"), node_port(port))) {
            errors.duplicate(&at.index(i).child("nodePort"), node_port(port));
        }
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let (protocol, number) = (port.text("protocol"), port.int("port").unwrap_or(0));
        if !seen.insert((protocol, number)) {
            let shown = format!(
                r#"{{"Name":"","Protocol":{},"AppProtocol":null,"Port":{number},"TargetPort":0,"NodePort":0}}"#,
                json!(protocol)
            );
            errors.duplicate_json(&at.index(i), shown);
        }
    }
}

fn balancer(spec: &Value, path: &Path, errors: &mut Errors) {
    let balanced = spec.text("type") == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    let ranges = spec.list("loadBalancerSourceRanges");
    let at = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !balanced {
        errors.forbidden(&at, only);
    }
    for (i, range) in ranges.iter().enumerate() {
        let text = range.as_str().unwrap_or_default().trim();
        if !addresses::is_network(text) {
            errors.invalid(&at.index(i), text, addresses::NO_NETWORK);
        }
    }
    if spec.has("allocateLoadBalancerNodePorts") && !balanced {
        errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), only);
    }
    if balanced && !spec.has("allocateLoadBalancerNodePorts") {
        errors.required(&Path::new("allocateLoadBalancerNodePorts"), "");
    }
    let at = path.child("loadBalancerClass");
    match spec.at("loadBalancerClass").as_str() {
        Some(class) if balanced => errors.invalid_each(&at, class, qualified_name(class)),
        Some(_) => errors.forbidden(&at, only),
        None => {}
    }
}

fn traffic(spec: &Value, path: &Path, errors: &mut Errors) {
    let (at, policy) = (
        path.child("externalTrafficPolicy"),
        spec.text("externalTrafficPolicy"),
    );
    match (change::externally_accessible(spec), policy) {
        (false, "") | (true, "Cluster" | "Local") => {}
        (false, policy) => errors.invalid(&at, policy, "may only be set for externally-accessible services"),
        (true, "") => errors.required(&at, ""),
        (true, other) => errors.not_supported(&at, other, &["Cluster", "Local"]),
    }
    let at = path.child("healthCheckNodePort");
    let number = spec.int("healthCheckNodePort").unwrap_or(0);
    match (change::needs_health_check(spec), number) {
        (false, 0) => {}
        (false, number) => errors.invalid(
            &at,
            number,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        ),
        (true, 0) => errors.required(&at, ""),
        (true, number) => {
            for message in port_number(number) {
                errors.invalid(&at, number, message);
            }
        }
    }
    let at = path.child("internalTrafficPolicy");
    match spec.at("internalTrafficPolicy").as_str() {
        Some("Cluster" | "Local") => {}
        Some(other) => errors.not_supported(&at, other, &["Cluster", "Local"]),
        None if matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer") => {
            errors.required(&at, "");
        }
        None => {}
    }
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(wanted) = spec.at("trafficDistribution").as_str()
        && !distributions.contains(&wanted)
    {
        errors.not_supported(&path.child("trafficDistribution"), wanted, &distributions);
    }
}
