//! Pods and pod templates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{address, ports};
use crate::path::go_quote;
use crate::quantity::Quantity;
use crate::read::Read as _;

const DEPRECATED_LABELS: [(&str, &str); 8] = [
    (
        "beta.kubernetes.io/arch",
        r#"deprecated since v1.14; use "kubernetes.io/arch" instead"#,
    ),
    (
        "beta.kubernetes.io/os",
        r#"deprecated since v1.14; use "kubernetes.io/os" instead"#,
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        r#"deprecated since v1.17; use "topology.kubernetes.io/region" instead"#,
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        r#"deprecated since v1.17; use "topology.kubernetes.io/zone" instead"#,
    ),
    (
        "beta.kubernetes.io/instance-type",
        r#"deprecated since v1.17; use "node.kubernetes.io/instance-type" instead"#,
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    (
        "node-role.kubernetes.io/master",
        r#"use "node-role.kubernetes.io/control-plane" instead"#,
    ),
];
const NO_POD: &str = "a null labelSelector results in matching no pod";
const SECCOMP: &str = r#"non-functional in v1.27+; use the "seccompProfile" field instead"#;
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

pub(super) fn apparmor(at: &str, key: &str) -> String {
    format!(
        r#"{at}metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead"#
    )
}

/// `at` stands before `metadata` and `spec`, with its dot.
pub(super) fn of(pod: &Value, at: &str, out: &mut Vec<String>) {
    let spec = pod.at("spec");
    node_labels(spec, at, out);
    spread(spec, at, out);
    duplicates(spec, at, out);
    fractional(spec.at("overhead"), &format!("{at}spec.overhead"), &BYTES, out);
    let annotations = pod.at("metadata").at("annotations");
    let has_profile = |holder: &Value| holder.at("securityContext").has("seccompProfile");
    if !has_profile(spec) && annotations.has(SECCOMP_POD) {
        out.push(format!("{at}metadata.annotations[{SECCOMP_POD}]: {SECCOMP}"));
    }
    let containers = containers(spec, at);
    if !at.is_empty() {
        let keys = crate::validation::deprecated_apparmor(pod);
        out.extend(keys.iter().map(|key| apparmor(at, key)));
    }
    for (path, container) in &containers {
        let key = format!("{SECCOMP_CONTAINER}{}", container.text("name"));
        if !has_profile(container) && annotations.has(&key) {
            out.push(format!("{at}metadata.annotations[{key}]: {SECCOMP}"));
        }
        for part in ["limits", "requests"] {
            let amounts = container.at("resources").at(part);
            fractional(amounts, &format!("{path}.resources.{part}"), &BYTES[..1], out);
        }
        for part in ["limits", "requests"] {
            let amounts = container.at("resources").at(part);
            fractional(amounts, &format!("{path}.resources.{part}"), &BYTES[1..], out);
        }
        hidden_variables(container, path, out);
    }
    ports::of(&containers, out);
    if spec.int("terminationGracePeriodSeconds").is_some_and(|s| s < 0) {
        out.push(format!(
            "{at}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated \
             as 1"
        ));
    }
    pod_affinity(spec, at, out);
    for (i, server) in spec.at("dnsConfig").list("nameservers").iter().enumerate() {
        let path = format!("{at}spec.dnsConfig.nameservers[{i}]");
        address(&path, server.as_str().unwrap_or_default(), out);
    }
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        address(&format!("{at}spec.hostAliases[{i}].ip"), alias.text("ip"), out);
    }
}

const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// Bytes cannot be split.
pub(super) fn fractional(amounts: &Value, at: &str, names: &[&str], out: &mut Vec<String>) {
    for name in names {
        let Some(amount) = Quantity::parse(amounts.text(name)) else {
            continue;
        };
        if amount.milli() % 1000 != 0 {
            let shown = go_quote(&amount.to_string());
            out.push(format!(
                "{at}[{name}]: fractional byte value {shown} is invalid, must be an integer"
            ));
        }
    }
}

fn containers<'a>(spec: &'a Value, at: &str) -> Vec<(String, &'a Value)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let each = lists.iter().flat_map(|list| {
        let all = spec.list(list).iter().enumerate();
        all.map(move |(i, container)| (format!("{at}spec.{list}[{i}]"), container))
    });
    each.collect()
}

fn deprecated(label: &str) -> Option<&'static str> {
    DEPRECATED_LABELS
        .iter()
        .find_map(|(name, why)| (*name == label).then_some(*why))
}

fn node_labels(spec: &Value, at: &str, out: &mut Vec<String>) {
    for label in spec.map("nodeSelector").into_iter().flatten().map(|(key, _)| key) {
        if let Some(why) = deprecated(label) {
            out.push(format!("{at}spec.nodeSelector[{label}]: {why}"));
        }
    }
    let affinity = spec.at("affinity").at("nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let path = format!("{at}spec.affinity.nodeAffinity");
    for (i, term) in affinity.at(required).list("nodeSelectorTerms").iter().enumerate() {
        expressions(term, &format!("{path}.{required}.nodeSelectorTerms[{i}]"), out);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (i, weighed) in affinity.list(preferred).iter().enumerate() {
        expressions(
            weighed.at("preference"),
            &format!("{path}.{preferred}[{i}].preference"),
            out,
        );
    }
}

fn expressions(term: &Value, at: &str, out: &mut Vec<String>) {
    for (i, expression) in term.list("matchExpressions").iter().enumerate() {
        let key = expression.text("key");
        if let Some(why) = deprecated(key) {
            out.push(format!("{at}.matchExpressions[{i}].key: {key} is {why}"));
        }
    }
}

fn spread(spec: &Value, at: &str, out: &mut Vec<String>) {
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let path = format!("{at}spec.topologySpreadConstraints[{i}]");
        let key = constraint.text("topologyKey");
        if let Some(why) = deprecated(key) {
            out.push(format!("{path}.topologyKey: {key} is {why}"));
        }
        if !constraint.has("labelSelector") {
            out.push(format!("{path}.labelSelector: {NO_POD}"));
        }
    }
}

fn duplicates(spec: &Value, at: &str, out: &mut Vec<String>) {
    let mut repeated = |list: &str, field: &str| {
        let mut seen = BTreeSet::new();
        for (i, item) in spec.list(list).iter().enumerate() {
            let value = item.text(field);
            if !seen.insert(value) {
                let value = go_quote(value);
                out.push(format!("{at}spec.{list}[{i}].{field}: duplicate {field} {value}"));
            }
        }
    };
    repeated("hostAliases", "ip");
    repeated("imagePullSecrets", "name");
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            out.push(format!(
                "{at}spec.imagePullSecrets[{i}].name: invalid empty name \"\""
            ));
        }
    }
}

/// A variable given twice is no mistake where the second value is made of the first.
fn hidden_variables(container: &Value, at: &str, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, variable) in container.list("env").iter().enumerate() {
        let name = variable.text("name");
        if seen.insert(name) {
            continue;
        }
        let (reference, value) = (format!("$({name})"), variable.text("value"));
        if variable.has("valueFrom") || value == reference || !value.contains(&reference) {
            let name = go_quote(name);
            out.push(format!(
                "{at}.env[{i}]: hides previous definition of {name}, which may be dropped when using apply"
            ));
        }
    }
}

fn pod_affinity(spec: &Value, at: &str, out: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.at("affinity").at(kind);
        let path = format!("{at}spec.affinity.{kind}");
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (i, term) in affinity.list(required).iter().enumerate() {
            if !term.has("labelSelector") {
                out.push(format!("{path}.{required}[{i}].labelSelector: {NO_POD}"));
            }
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (i, weighed) in affinity.list(preferred).iter().enumerate() {
            if !weighed.at("podAffinityTerm").has("labelSelector") {
                out.push(format!(
                    "{path}.{preferred}[{i}].podAffinityTerm.labelSelector: {NO_POD}"
                ));
            }
        }
    }
}
