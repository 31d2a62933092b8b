//! The checks of what pods have of their node.

use std::collections::BTreeSet;

use serde_json::Value;

use super::levels::{View, Violation, containers, found, plural, quoted};
use crate::read::Read;

pub(super) fn namespaces(view: &View<'_>) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let used: Vec<String> = fields
        .iter()
        .filter(|f| view.spec.flag(f))
        .map(|f| format!("{f}=true"))
        .collect();
    if used.is_empty() {
        None
    } else {
        found("host namespaces", &used.join(", "))
    }
}

pub(super) fn paths(view: &View<'_>) -> Option<Violation> {
    let volumes = view.spec.list("volumes").iter().filter(|v| v.has("hostPath"));
    let names: Vec<&str> = volumes.map(|v| v.text("name")).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
    found("hostPath volumes", &detail)
}

pub(super) fn ports(view: &View<'_>) -> Option<Violation> {
    let uses = |c: &&&Value| {
        c.list("ports")
            .iter()
            .any(|p| p.int("hostPort").unwrap_or(0) != 0)
    };
    let names: Vec<&str> = view
        .containers
        .iter()
        .filter(uses)
        .map(|c| c.text("name"))
        .collect();
    if names.is_empty() {
        return None;
    }
    let ports = view
        .containers
        .iter()
        .flat_map(|c| c.list("ports"))
        .filter_map(|p| p.int("hostPort"));
    let mut ports: Vec<String> = ports.filter(|p| *p != 0).map(|p| p.to_string()).collect();
    ports.sort_unstable();
    ports.dedup();
    let uses = plural("uses", "use", names.len());
    let word = plural("hostPort", "hostPorts", ports.len());
    found(
        "hostPort",
        &format!("{} {uses} {word} {}", containers(&names), ports.join(", ")),
    )
}

/// Probes and hooks that make a kubelet call another host than the pod.
pub(super) fn handlers(view: &View<'_>) -> Option<Violation> {
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in &view.containers {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|p| container.at(p));
        let hooks = ["postStart", "preStop"].map(|h| container.at("lifecycle").at(h));
        for handler in probes.into_iter().chain(hooks) {
            for action in ["httpGet", "tcpSocket"] {
                let host = handler.at(action).text("host");
                if !host.is_empty() {
                    names.insert(container.text("name"));
                    hosts.insert(host);
                }
            }
        }
    }
    if names.is_empty() {
        return None;
    }
    let (names, hosts) = (Vec::from_iter(names), Vec::from_iter(hosts));
    let detail = format!(
        "{} {} {} {}",
        containers(&names),
        plural("uses", "use", names.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
        quoted(&hosts)
    );
    found("probe or lifecycle host", &detail)
}
