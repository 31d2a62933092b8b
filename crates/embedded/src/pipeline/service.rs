//! Services: addresses and node ports are the server's to give.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::catalog::StorageKey;
use crate::server::ApiServer;

const NODE_PORTS: std::ops::Range<u64> = 30_000..32_768;

/// Gives a new service its cluster address and node ports.
pub(super) fn allocate(server: &ApiServer, service: &mut Value) {
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if kind == "ExternalName" {
        return;
    }
    let (_, services) = server.inner.store.snapshot(&StorageKey::new("", "services"), "");
    let all: Vec<Value> = services.iter().map(|s| s.bare()).collect();
    let spec = &mut service["spec"];
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        let taken: BTreeSet<&str> = all
            .iter()
            .filter_map(|s| s["spec"]["clusterIP"].as_str())
            .collect();
        let start = server.random_u64() % 65_000;
        let free = (0..65_000)
            .map(|i| (start + i) % 65_000 + 256)
            .map(|n| format!("10.96.{}.{}", n / 256, n % 256))
            .find(|address| !taken.contains(address.as_str()));
        if let Some(address) = free {
            spec["clusterIP"] = address.into();
        }
    }
    spec["clusterIPs"] = json!([spec["clusterIP"]]);
    for (field, value) in [
        ("ipFamilies", json!(["IPv4"])),
        ("ipFamilyPolicy", json!("SingleStack")),
    ] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        let mut used: BTreeSet<u64> = all
            .iter()
            .filter_map(|s| s["spec"]["ports"].as_array())
            .flatten()
            .filter_map(|p| p["nodePort"].as_u64())
            .collect();
        for port in spec["ports"].as_array_mut().into_iter().flatten() {
            if port["nodePort"].as_u64().unwrap_or(0) == 0
                && let Some(free) = NODE_PORTS.clone().find(|p| !used.contains(p))
            {
                used.insert(free);
                port["nodePort"] = free.into();
            }
        }
    }
}

/// An update that leaves out what was allocated keeps it.
pub(super) fn keep_allocated(server: &ApiServer, new: &mut Value, old: &Value) {
    if new["spec"]["type"] == "ExternalName" || old["spec"]["type"] == "ExternalName" {
        if new["spec"]["type"] != "ExternalName" {
            allocate(server, new);
        }
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let absent = new["spec"][field].as_str().is_none_or(str::is_empty) && !new["spec"][field].is_array();
        if absent && !old["spec"][field].is_null() {
            new["spec"][field] = old["spec"][field].clone();
        }
    }
    let before = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let same = before
            .iter()
            .find(|p| p["port"] == port["port"] && p["protocol"] == port["protocol"]);
        if let Some(number) = same.map(|p| p["nodePort"].clone()).filter(|n| !n.is_null())
            && port["nodePort"].is_null()
        {
            port["nodePort"] = number;
        }
    }
    allocate(server, new);
}
