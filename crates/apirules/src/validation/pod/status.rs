//! The status subresource of a pod.

use serde_json::Value;

use super::spec::validate_ip;
use super::validate_annotation_updates;
use crate::path::{Errors, Path};
use crate::read::Read;
use crate::validation::meta::{IMMUTABLE, validate_meta_update};
use crate::validation::names::{dns_subdomain, qualified_name};

pub(crate) fn validate_status_update(new: &Value, old: &Value, errors: &mut Errors) {
    validate_meta_update(new, old, errors);
    validate_annotation_updates(new, old, errors);
    let path = Path::new("status");
    let spec = old.at("spec");
    let (after, before) = (new.at("status"), old.at("status"));
    for (i, condition) in after.list("conditions").iter().enumerate() {
        let at = path.child("conditions").index(i);
        if condition.int("observedGeneration").is_some_and(|g| g < 0) {
            let bad = condition.at("observedGeneration").clone();
            errors.invalid(
                &at.child("observedGeneration"),
                bad,
                "must be a non-negative integer",
            );
        }
        let kind = condition.text("type");
        errors.invalid_each(&at.child("Type"), kind, qualified_name(kind));
    }
    nomination(after, before, spec, errors);
    if let Some(generation) = after.int("observedGeneration").filter(|g| *g < 0) {
        let at = path.child("observedGeneration");
        errors.invalid(&at, generation, "must be a non-negative integer");
    }
    if after.text("qosClass") != before.text("qosClass") {
        errors.invalid(&path.child("qosClass"), after.text("qosClass"), IMMUTABLE);
    }
    for (list, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ] {
        validate_transitions(
            after.list(list),
            before.list(list),
            spec,
            Some(containers),
            &path.child(list),
            errors,
        );
    }
    let list = "ephemeralContainerStatuses";
    validate_transitions(
        after.list(list),
        before.list(list),
        spec,
        None,
        &path.child(list),
        errors,
    );
    validate_ips(
        after.list("podIPs"),
        before.list("podIPs"),
        &path.child("podIPs"),
        errors,
    );
    let hosts = after.list("hostIPs");
    if let Some(first) = hosts
        .first()
        .map(|h| h.text("ip"))
        .filter(|ip| *ip != after.text("hostIP"))
    {
        let at = path.child("hostIPs").index(0).child("ip");
        errors.invalid(&at, first, "must be equal to `hostIP`");
    }
    validate_ips(hosts, before.list("hostIPs"), &path.child("hostIPs"), errors);
}

/// A node that is to be made free for the pod.
fn nomination(after: &Value, before: &Value, spec: &Value, errors: &mut Errors) {
    let nominated = after.text("nominatedNodeName");
    if nominated == before.text("nominatedNodeName") || nominated.is_empty() {
        return;
    }
    let at = Path::new("status").child("nominatedNodeName");
    errors.invalid_each(&at, nominated, dns_subdomain(nominated));
    if !spec.text("nodeName").is_empty() {
        let detail = "may not be set on pods that are already bound to a node";
        errors.forbidden(&at, detail);
    }
}

/// A terminated container runs again only where its restart policy says so.
fn validate_transitions(
    new: &[Value],
    old: &[Value],
    spec: &Value,
    containers: Option<&str>,
    path: &Path,
    errors: &mut Errors,
) {
    if containers.is_some() && any_restarts_all(spec) {
        return;
    }
    for (i, before) in old.iter().enumerate() {
        let terminated = before.at("state").at("terminated");
        let Some(after) = new.iter().find(|n| n.text("name") == before.text("name")) else {
            continue;
        };
        if terminated.is_null() || after.at("state").has("terminated") {
            continue;
        }
        let container = containers.and_then(|l| {
            spec.list(l)
                .iter()
                .find(|c| c.text("name") == before.text("name"))
        });
        let code = terminated.int("exitCode").unwrap_or(0);
        if !container.is_some_and(|c| may_restart(c, spec, code)) {
            let at = path.index(i).child("state");
            errors.forbidden(&at, "may not be transitioned to non-terminated state");
        }
    }
}

fn any_restarts_all(spec: &Value) -> bool {
    let all = spec.list("containers").iter().chain(spec.list("initContainers"));
    let mut rules = all.flat_map(|c| c.list("restartPolicyRules"));
    rules.any(|r| r.text("action") == "RestartAllContainers")
}

fn may_restart(container: &Value, spec: &Value, code: i64) -> bool {
    for rule in container.list("restartPolicyRules") {
        let codes = rule.at("exitCodes");
        let listed = codes.list("values").iter().any(|v| v.as_i64() == Some(code));
        let hit = match codes.text("operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if hit {
            return true;
        }
    }
    let own = container.text("restartPolicy");
    match if own.is_empty() {
        spec.text("restartPolicy")
    } else {
        own
    } {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

fn validate_ips(ips: &[Value], old: &[Value], path: &Path, errors: &mut Errors) {
    let all: Vec<&str> = ips.iter().map(|i| i.text("ip")).collect();
    for (i, ip) in all.iter().enumerate() {
        if !old.iter().any(|o| o.text("ip") == *ip) {
            validate_ip(ip, &path.index(i), errors);
        }
    }
    if all.len() < 2 {
        return;
    }
    let sixes = all.iter().filter(|ip| ip.contains(':')).count();
    if all.len() > 2 || sixes != 1 {
        let shown: Vec<String> = all.iter().map(|ip| format!("{{\"IP\":{ip:?}}}")).collect();
        let detail = "may specify no more than one IP for each IP family";
        errors.invalid_json(path, format!("[{}]", shown.join(",")), detail);
    }
}
