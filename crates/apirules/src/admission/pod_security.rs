//! PodSecurity: the level that a namespace's labels ask for, enforced on pods and warned about on their templates.

use serde_json::Value;

use super::levels::{Level, violations};
use super::{Lookup, Operation, Refusal, Request, Warnings};
use crate::path::go_quote;
use crate::read::Read;

const PREFIX: &str = "pod-security.kubernetes.io/";

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
            let why = format!("violates PodSecurity {}: {}", enforce.named(), found.join(", "));
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
        found.join(", ")
    )])
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
