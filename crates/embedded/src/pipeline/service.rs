//! Services: addresses and node ports are the server's to give.

use std::collections::{BTreeMap, BTreeSet};

use apirules::validation::services::{
    address_errors, keep_allocated, needs_health_check, needs_node_ports, normalise_addresses,
};
use model::field::FieldError;
use serde_json::{Value, json};

use crate::catalog::StorageKey;
use crate::metadata;
use crate::server::ApiServer;
use crate::status::Status;

const NODE_PORTS: std::ops::Range<u64> = 30_000..32_768;
const ADDRESSES: u64 = 65_000;

/// Gives a service its cluster address and node ports: a new one, or one that becomes another.
pub(super) fn allocate(server: &ApiServer, service: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    if let Some(old) = old {
        keep_allocated(service, old);
    }
    normalise_addresses(service, old);
    if text(service, "type") == "ExternalName" {
        if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("internalTrafficPolicy");
        }
        return Ok(());
    }
    families(service, old).map_err(|errors| refused(service, &errors))?;
    let (_, services) = server.inner.store.snapshot(&StorageKey::new("", "services"), "");
    let own = metadata::text(service, "uid").to_owned();
    let others: Vec<Value> = services.iter().map(|s| s.bare()).collect();
    let others: Vec<&Value> = others
        .iter()
        .filter(|s| own.is_empty() || metadata::text(s, "uid") != own)
        .collect();
    address(server, service, old, &others).map_err(|error| refused(service, &[error]))?;
    if needs_node_ports(&service["spec"]) {
        node_ports(service, old, &others).map_err(|error| refused(service, &[error]))?;
    }
    if needs_health_check(&service["spec"])
        && service["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0) == 0
    {
        let used = used_ports(others.iter().copied().chain([&*service]));
        if let Some(free) = NODE_PORTS.clone().rev().find(|p| !used.contains(p)) {
            service["spec"]["healthCheckNodePort"] = free.into();
        }
    }
    Ok(())
}

fn refused(service: &Value, errors: &[FieldError]) -> Status {
    Status::invalid("", "Service", metadata::name(service), errors)
}

fn text<'a>(service: &'a Value, field: &str) -> &'a str {
    service["spec"][field].as_str().unwrap_or_default()
}

fn list(service: &Value, field: &str) -> Vec<String> {
    let all = service["spec"][field].as_array().into_iter().flatten();
    all.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// This cluster has IPv4 alone.
fn families(service: &mut Value, old: Option<&Value>) -> Result<(), Vec<FieldError>> {
    let selectorless = service["spec"]["selector"]
        .as_object()
        .is_none_or(|s| s.is_empty());
    let headless = text(service, "clusterIP") == "None";
    if service["spec"]["ipFamilyPolicy"].is_null() {
        let before = old
            .map(|o| o["spec"]["ipFamilyPolicy"].clone())
            .unwrap_or_default();
        service["spec"]["ipFamilyPolicy"] = match before {
            Value::Null if headless && selectorless => json!("RequireDualStack"),
            Value::Null => json!("SingleStack"),
            before => before,
        };
    }
    let errors = address_errors(service);
    if !errors.is_empty() {
        return Err(errors);
    }
    let policy = text(service, "ipFamilyPolicy").to_owned();
    let mut errors = single_stack_errors(service, &policy);
    let mut all = list(service, "ipFamilies");
    for (i, address) in list(service, "clusterIPs").iter().enumerate().skip(all.len()) {
        match address.as_str() {
            "None" => break,
            six if six.contains(':') => errors.push(FieldError::invalid(
                format!("spec.clusterIPs[{i}]"),
                service["spec"]["clusterIPs"].to_string(),
                "IPv6 is not configured on this cluster",
            )),
            _ => all.push("IPv4".to_owned()),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if headless && selectorless {
        service["spec"]["ipFamilies"] = json!(of_anything(all, &policy));
        return Ok(());
    }
    if policy == "RequireDualStack" {
        errors.push(FieldError::invalid(
            "spec.ipFamilyPolicy",
            json!(policy).to_string(),
            "this cluster is not configured for dual-stack services",
        ));
    }
    for (i, family) in all.iter().enumerate().filter(|(_, f)| *f != "IPv4") {
        let at = format!("spec.ipFamilies[{i}]");
        errors.push(FieldError::invalid(
            at,
            json!(family).to_string(),
            "not configured on this cluster",
        ));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if all.is_empty() {
        all.push("IPv4".to_owned());
    }
    service["spec"]["ipFamilies"] = json!(all);
    Ok(())
}

/// Of a service without addresses and pods of its own, nobody knows the families.
fn of_anything(mut all: Vec<String>, policy: &str) -> Vec<String> {
    if all.is_empty() {
        all.push("IPv4".to_owned());
    }
    if all.len() < 2 && policy != "SingleStack" {
        let other = if all[0] == "IPv4" { "IPv6" } else { "IPv4" };
        all.push(other.to_owned());
    }
    all
}

fn single_stack_errors(service: &Value, policy: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if policy == "SingleStack" && list(service, field).len() == 2 {
            let why =
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified");
            errors.push(FieldError::invalid(
                "spec.ipFamilyPolicy",
                json!(policy).to_string(),
                why,
            ));
        }
    }
    errors
}

fn address(
    server: &ApiServer,
    service: &mut Value,
    old: Option<&Value>,
    others: &[&Value],
) -> Result<(), FieldError> {
    let had_one = old.is_some_and(|o| text(o, "type") != "ExternalName");
    if had_one || list(service, "clusterIPs").first().is_some_and(|ip| ip == "None") {
        return Ok(());
    }
    let taken: BTreeSet<&str> = others.iter().map(|s| text(s, "clusterIP")).collect();
    let wanted = text(service, "clusterIP").to_owned();
    if !wanted.is_empty() {
        let why = if !wanted.starts_with("10.96.") {
            "the provided network does not match the current range"
        } else if taken.contains(wanted.as_str()) {
            "provided IP is already allocated"
        } else {
            return Ok(());
        };
        let shown = service["spec"]["clusterIPs"].to_string();
        let why = format!("failed to allocate IP {wanted}: {why}");
        return Err(FieldError::invalid("spec.clusterIPs", shown, why));
    }
    let start = server.random_u64() % ADDRESSES;
    let free = (0..ADDRESSES)
        .map(|i| (start + i) % ADDRESSES + 256)
        .map(|n| format!("10.96.{}.{}", n / 256, n % 256))
        .find(|address| !taken.contains(address.as_str()));
    if let Some(free) = &free
        && metadata::name(service).is_empty()
    {
        // The address is recorded with the name of who has it.
        let why = format!(
            "failed to allocate IP: IPAddress.networking.k8s.io {free:?} is invalid: spec.parentRef.name: Required value"
        );
        return Err(FieldError::invalid(
            "spec.clusterIPs",
            json!([""]).to_string(),
            why,
        ));
    }
    if let Some(free) = free {
        service["spec"]["clusterIPs"] = json!([free]);
        service["spec"]["clusterIP"] = free.into();
    }
    Ok(())
}

fn node_port(port: &Value) -> u64 {
    port["nodePort"].as_u64().unwrap_or(0)
}

fn used_ports<'a>(services: impl Iterator<Item = &'a Value>) -> BTreeSet<u64> {
    let mut used = BTreeSet::new();
    for service in services {
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        used.extend(ports.map(node_port).filter(|p| *p != 0));
        used.extend(service["spec"]["healthCheckNodePort"].as_u64());
    }
    used
}

/// Ports of one number share a node port, whatever their protocol.
fn node_ports(service: &mut Value, old: Option<&Value>, others: &[&Value]) -> Result<(), FieldError> {
    let mut used = used_ports(others.iter().copied());
    let own = used_ports(old.into_iter());
    let gives =
        service["spec"]["allocateLoadBalancerNodePorts"] != false || text(service, "type") != "LoadBalancer";
    let mut given: BTreeMap<u64, u64> = BTreeMap::new();
    let ports = service["spec"]["ports"].as_array_mut().into_iter().flatten();
    for (i, port) in ports.enumerate() {
        let (number, wanted) = (port["port"].as_u64().unwrap_or(0), node_port(port));
        if wanted != 0 {
            let shared = given.values().any(|p| *p == wanted);
            let why = if !NODE_PORTS.contains(&wanted) {
                "provided port is not in the valid range. The range of valid ports is 30000-32767"
            } else if used.contains(&wanted) && !shared && !own.contains(&wanted) {
                "provided port is already allocated"
            } else {
                given.insert(number, wanted);
                used.insert(wanted);
                continue;
            };
            let at = format!("spec.ports[{i}].nodePort");
            return Err(FieldError::invalid(at, wanted.to_string(), why));
        }
        if !gives {
            continue;
        }
        let free = match given.get(&number) {
            Some(same) if old.is_none() => Some(*same),
            _ => NODE_PORTS.clone().find(|p| !used.contains(p) && !own.contains(p)),
        };
        if let Some(free) = free {
            given.insert(number, free);
            used.insert(free);
            port["nodePort"] = free.into();
        }
    }
    Ok(())
}
