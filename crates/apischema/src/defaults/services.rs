//! Services and network policies.

use serde_json::{Value, json};

use super::{Object, at, each, is_set, set_default, text};

const CLIENT_IP_SECONDS: i64 = 10800;

pub(super) fn service(object: &mut Object) {
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    session_affinity(spec);
    for port in each(spec, "ports") {
        let target = port.get("targetPort").cloned().unwrap_or(Value::Null);
        if target.is_null() || target == json!(0) || target == json!("") {
            let number = port.get("port").cloned().unwrap_or(json!(0));
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = text(spec, "type").to_owned();
    let balanced = kind == "LoadBalancer";
    let external_ips = spec
        .get("externalIPs")
        .and_then(Value::as_array)
        .is_some_and(|ips| !ips.is_empty());
    let reachable = balanced || kind == "NodePort" || kind == "ClusterIP" && external_ips;
    if reachable && text(spec, "externalTrafficPolicy").is_empty() {
        spec.insert("externalTrafficPolicy".to_owned(), json!("Cluster"));
    }
    if balanced || kind == "NodePort" || kind == "ClusterIP" {
        set_default(spec, "internalTrafficPolicy", "Cluster");
    }
    if balanced {
        set_default(spec, "allocateLoadBalancerNodePorts", true);
        if let Some(balancer) = at(object, &["status", "loadBalancer"]) {
            for ingress in each(balancer, "ingress") {
                if !text(ingress, "ip").is_empty() {
                    set_default(ingress, "ipMode", "VIP");
                }
            }
        }
    }
}

fn session_affinity(spec: &mut Object) {
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let said = spec
                .get("sessionAffinityConfig")
                .and_then(|c| c.pointer("/clientIP/timeoutSeconds"));
            if said.is_none_or(Value::is_null) {
                let config = json!({ "clientIP": { "timeoutSeconds": CLIENT_IP_SECONDS } });
                spec.insert("sessionAffinityConfig".to_owned(), config);
            }
        }
        _ => {}
    }
}

pub(super) fn network_policy(object: &mut Object) {
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    if is_set(spec, "policyTypes") {
        return;
    }
    let egress = spec
        .get("egress")
        .and_then(Value::as_array)
        .is_some_and(|rules| !rules.is_empty());
    let types = if egress {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    };
    spec.insert("policyTypes".to_owned(), types);
}
