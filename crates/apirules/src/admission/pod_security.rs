//! PodSecurity: the level that a namespace's labels ask for, enforced on pods and warned about on their templates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::levels::{Level, Violation, violations};
use super::{Lookup, Operation, Refusal, Request, Warnings};
use crate::path::go_quote;
use crate::read::Read;

const PREFIX: &str = "pod-security.kubernetes.io/";

#[derive(PartialEq)]
struct Policy {
    level: Level,
    version: String,
    minor: u32,
}

fn policy(labels: &Value, mode: &str) -> Policy {
    let level = match labels.text(&format!("{PREFIX}{mode}")) {
        "baseline" => Level::Baseline,
        "restricted" => Level::Restricted,
        _ => Level::Privileged,
    };
    let version = match labels.text(&format!("{PREFIX}{mode}-version")) {
        "" => "latest".to_owned(),
        version => version.to_owned(),
    };
    let minor = version.strip_prefix("v1.").and_then(|minor| minor.parse().ok());
    Policy {
        level,
        version,
        minor: minor.unwrap_or(u32::MAX),
    }
}

impl Policy {
    fn named(&self) -> String {
        go_quote(&format!("{}:{}", self.level.name(), self.version))
    }
}

pub(super) fn validate(
    request: &Request<'_>,
    object: &Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<Warnings, Refusal> {
    let Some(namespace) = request.namespace else {
        return Ok(Vec::new());
    };
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Ok(Vec::new());
    }
    if (request.group, request.resource, request.subresource) == ("", "namespaces", "") {
        return Ok(old.map_or_else(Vec::new, |old| tightened(object, old, lookup)));
    }
    let is_pod = request.is_pod();
    if is_pod && !["", "ephemeralcontainers"].contains(&request.subresource) {
        return Ok(Vec::new());
    }
    let template = if is_pod {
        Some(object)
    } else {
        template(request, object)
    };
    let Some(template) = template else {
        return Ok(Vec::new());
    };
    if let Some(old) = old.filter(|_| is_pod)
        && !significant(object, old)
    {
        return Ok(Vec::new());
    }
    let Some(found) = lookup.get("", "namespaces", None, namespace) else {
        return Ok(Vec::new());
    };
    let labels = found.at("metadata").at("labels");
    let enforce = policy(labels, "enforce");
    if is_pod {
        let found = violations(enforce.level, enforce.minor, template);
        if !found.is_empty() {
            let why = format!("violates PodSecurity {}: {}", enforce.named(), explained(&found));
            return Err(Refusal::forbidden(request, &why));
        }
    }
    let warn = policy(labels, "warn");
    let found = violations(warn.level, warn.minor, template);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "would violate PodSecurity {}: {}",
        warn.named(),
        explained(&found)
    )])
}

fn explained(found: &[Violation]) -> String {
    found
        .iter()
        .map(Violation::explained)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The most pods that a changed namespace is held against.
const MOST_PODS: usize = 3000;

/// Warnings about the pods that a namespace's new level would not take.
fn tightened(namespace: &Value, old: &Value, lookup: &dyn Lookup) -> Warnings {
    let enforced = |namespace: &Value| policy(namespace.at("metadata").at("labels"), "enforce");
    let (now, before) = (enforced(namespace), enforced(old));
    let relaxed = now.version == before.version && now.level <= before.level;
    if now == before || now.level == Level::Privileged || relaxed {
        return Vec::new();
    }
    let name = namespace.at("metadata").text("name");
    let pods = lookup.list("", "pods", Some(name));
    let (total, pods) = (pods.len(), one_of_each_owner_first(&pods));
    let mut failing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(MOST_PODS) {
        let found = violations(now.level, now.minor, pod);
        let reasons: Vec<&str> = found.iter().map(|v| v.reason).collect();
        if !reasons.is_empty() {
            let pods = failing.entry(reasons.join(", ")).or_default();
            pods.push(pod.at("metadata").text("name"));
        }
    }
    let mut out = Vec::new();
    if total > MOST_PODS {
        out.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST_PODS} of {total} existing pods"
        ));
    }
    if !failing.is_empty() {
        let (name, level) = (go_quote(name), now.named());
        out.push(format!(
            "existing pods in namespace {name} violate the new PodSecurity enforce level {level}"
        ));
    }
    let mut lines: Vec<String> = failing.iter().map(|(why, pods)| line(why, pods)).collect();
    lines.sort_unstable();
    out.append(&mut lines);
    out
}

fn line(why: &str, pods: &[&str]) -> String {
    let first = pods.iter().min().copied().unwrap_or_default();
    match pods.len() {
        1 => format!("{first}: {why}"),
        2 => format!("{first} (and 1 other pod): {why}"),
        many => format!("{first} (and {} other pods): {why}", many - 1),
    }
}

/// Pods of one controller are alike: the rest of them come last.
fn one_of_each_owner_first(pods: &[Value]) -> Vec<&Value> {
    let mut seen = BTreeSet::new();
    let (mut first, rest): (Vec<&Value>, Vec<&Value>) = pods.iter().partition(|pod| {
        let owners = pod.at("metadata").list("ownerReferences");
        match owners.iter().find(|o| o.flag("controller")) {
            Some(owner) => seen.insert(owner.text("uid")),
            None => true,
        }
    });
    first.extend(rest);
    first
}

/// The pod template of a workload kind.
fn template<'a>(request: &Request<'_>, object: &'a Value) -> Option<&'a Value> {
    if !request.subresource.is_empty() {
        return None;
    }
    let spec = object.at("spec");
    let template = match (request.group, request.resource) {
        ("apps", "deployments" | "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs")
        | ("", "replicationcontrollers") => spec.at("template"),
        ("batch", "cronjobs") => spec.at("jobTemplate").at("spec").at("template"),
        ("", "podtemplates") => object.at("template"),
        _ => return None,
    };
    template.is_object().then_some(template)
}

/// Of what may change in a pod only other containers or images can make it less secure.
fn significant(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value, list: &str| -> Vec<String> {
        let all = pod.at("spec").list(list).iter();
        all.map(|c| c.text("image").to_owned()).collect()
    };
    let same = |list: &str| images(new, list) == images(old, list);
    !(same("containers") && same("initContainers") && same("ephemeralContainers"))
}
