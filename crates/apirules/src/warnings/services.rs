//! Services.

use serde_json::Value;

use super::address;
use crate::read::{Read as _, texts};

pub(super) fn of(service: &Value, out: &mut Vec<String>) {
    let spec = service.at("spec");
    let kind = spec.text("type");
    if service
        .at("metadata")
        .at("annotations")
        .has("service.kubernetes.io/topology-aware-hints")
    {
        out.push(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
             service.kubernetes.io/topology-mode instead"
                .to_owned(),
        );
    }
    let external = texts(spec.list("externalIPs"));
    if !matches!(spec.text("clusterIP"), "" | "None") {
        each(&texts(spec.list("clusterIPs")), "spec.clusterIPs", out);
    }
    let headless = kind == "ClusterIP" && spec.text("clusterIP") == "None";
    if headless {
        if !spec.text("loadBalancerIP").is_empty() {
            out.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !external.is_empty() {
            out.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if spec.text("sessionAffinity") != "None" {
            out.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    each(&external, "spec.externalIPs", out);
    if !external.is_empty() && !headless && kind != "ExternalName" {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    address("spec.loadBalancerIP", spec.text("loadBalancerIP"), out);
    if kind == "ExternalName" && !external.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !spec.text("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
}

fn each(addresses: &[&str], at: &str, out: &mut Vec<String>) {
    for (i, text) in addresses.iter().enumerate() {
        address(&format!("{at}[{i}]"), text, out);
    }
}
