//! A service becomes another: what it keeps, and what no longer means anything.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::addresses::{remove, unchanged};
use crate::path::{Errors, Path};
use crate::read::Read as _;

pub fn needs_node_ports(spec: &Value) -> bool {
    matches!(spec.text("type"), "NodePort" | "LoadBalancer")
}

pub fn needs_health_check(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

pub(super) fn externally_accessible(spec: &Value) -> bool {
    needs_node_ports(spec) || spec.text("type") == "ClusterIP" && !spec.list("externalIPs").is_empty()
}

fn needs_address(spec: &Value) -> bool {
    spec.text("type") != "ExternalName"
}

/// An update that leaves out what the server gave out keeps it.
pub fn keep_allocated(new: &mut Value, old: &Value) {
    let before = old.at("spec");
    let after = new.at("spec").clone();
    if needs_address(before) && needs_address(&after) {
        if after.text("clusterIP").is_empty() && before.has("clusterIP") {
            new["spec"]["clusterIP"] = before.at("clusterIP").clone();
        }
        if after.list("clusterIPs").is_empty() && !before.list("clusterIPs").is_empty() {
            new["spec"]["clusterIPs"] = before.at("clusterIPs").clone();
        }
    }
    if needs_node_ports(before) && needs_node_ports(&after) {
        let used: BTreeSet<i64> = node_ports(before)
            .intersection(&node_ports(&after))
            .copied()
            .collect();
        let by_name: BTreeMap<&str, i64> = before
            .list("ports")
            .iter()
            .map(|p| (p.text("name"), p.int("nodePort").unwrap_or(0)))
            .collect();
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            let had = by_name.get(port.text("name")).copied().unwrap_or(0);
            if port.int("nodePort").unwrap_or(0) == 0 && had != 0 && !used.contains(&had) {
                port["nodePort"] = json!(had);
            }
        }
    }
    if needs_health_check(before)
        && needs_health_check(&after)
        && after.int("healthCheckNodePort").unwrap_or(0) == 0
        && before.has("healthCheckNodePort")
    {
        new["spec"]["healthCheckNodePort"] = before.at("healthCheckNodePort").clone();
    }
}

/// Fields that say nothing for the new type go, unless they were changed in the same request (then they are refused).
pub(crate) fn drop_unused(new: &mut Value, old: &Value) {
    let (before, after) = (old.at("spec"), new.at("spec").clone());
    let same = |field: &str| before.at(field) == after.at(field);
    if needs_address(before) && !needs_address(&after) {
        if same("clusterIP") && same("clusterIPs") {
            remove(new, "clusterIP");
            remove(new, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if same(field) {
                remove(new, field);
            }
        }
    }
    if needs_node_ports(before)
        && !needs_node_ports(&after)
        && node_ports(before).is_superset(&node_ports(&after))
    {
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.remove("nodePort");
            }
        }
    }
    let balanced = |spec: &Value| spec.text("type") == "LoadBalancer";
    for (field, was, is) in [
        (
            "healthCheckNodePort",
            needs_health_check(before),
            needs_health_check(&after),
        ),
        (
            "allocateLoadBalancerNodePorts",
            balanced(before),
            balanced(&after),
        ),
        ("loadBalancerClass", balanced(before), balanced(&after)),
        (
            "externalTrafficPolicy",
            externally_accessible(before),
            externally_accessible(&after),
        ),
    ] {
        if was && !is && same(field) {
            remove(new, field);
        }
    }
    if !balanced(&after) {
        new["status"]["loadBalancer"] = json!({});
    }
}

fn node_ports(spec: &Value) -> BTreeSet<i64> {
    let numbers = spec.list("ports").iter().filter_map(|p| p.int("nodePort"));
    numbers.filter(|number| *number != 0).collect()
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut Errors) {
    let (before, after) = (old.at("spec"), new.at("spec"));
    let path = Path::new("spec");
    unchanged(before, after, errors);
    let balanced = |spec: &Value| spec.text("type") == "LoadBalancer";
    if balanced(before) && balanced(after) && before.at("loadBalancerClass") != after.at("loadBalancerClass")
    {
        let class = after.at("loadBalancerClass").clone();
        errors.invalid(&path.child("loadBalancerClass"), class, "may not change once set");
    }
    let class = path.child("loadBalancerClass");
    match after.at("loadBalancerClass").as_str() {
        Some(text) if balanced(after) => {
            errors.invalid_each(&class, text, crate::validation::names::qualified_name(text));
        }
        Some(_) => errors.forbidden(&class, "may only be used when `type` is 'LoadBalancer'"),
        None => {}
    }
    if needs_health_check(before)
        && needs_health_check(after)
        && before.at("healthCheckNodePort") != after.at("healthCheckNodePort")
    {
        errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
    }
}
