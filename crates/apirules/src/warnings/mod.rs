//! What a server says of a valid object that will probably not do what its author wants.
mod pods;
mod ports;
mod services;

use serde_json::Value;

use crate::path::go_quote;
use crate::read::Read as _;
use crate::validation::{self, ResourceRef, names};

/// Warnings about a valid new object.
pub fn on_create(resource: &ResourceRef<'_>, object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    match (resource.group, resource.resource) {
        ("", "pods") => {
            name_is_label(object, "the Pod's hostname", &mut out);
            pods::of(object, "", &mut out);
        }
        ("apps", "deployments" | "replicasets") | ("", "replicationcontrollers") => {
            name_is_label(object, "Pod names and hostnames", &mut out);
            pods::of(object.at("spec").at("template"), "spec.template.", &mut out);
        }
        ("apps", "statefulsets") => stateful_set(object, true, &mut out),
        ("apps", "daemonsets") => pods::of(object.at("spec").at("template"), "spec.template.", &mut out),
        ("batch", "jobs") => {
            name_is_label(object, "Pod names and hostnames", &mut out);
            job(object.at("spec"), "spec", &mut out);
        }
        ("batch", "cronjobs") => {
            name_is_label(object, "Pod names and hostnames", &mut out);
            cron_job(object, &mut out);
        }
        ("", "services") => services::of(object, &mut out),
        ("", "secrets") => secret(object, &mut out),
        ("", "nodes") => node(object, &mut out),
        ("", "endpoints") => endpoints(object, &mut out),
        _ => {}
    }
    out
}

/// Warnings about an object as it was sent, before the server sets anything.
pub fn before_create(resource: &ResourceRef<'_>, object: &Value) -> Vec<String> {
    match (resource.group, resource.resource) {
        ("", "pods") => {
            let keys = validation::deprecated_apparmor(object);
            keys.iter().map(|key| pods::apparmor("", key)).collect()
        }
        _ => Vec::new(),
    }
}

fn endpoints(object: &Value, out: &mut Vec<String>) {
    for (i, subset) in object.list("subsets").iter().enumerate() {
        for list in ["addresses", "notReadyAddresses"] {
            for (j, one) in subset.list(list).iter().enumerate() {
                address(&format!("subsets[{i}].{list}[{j}].ip"), one.text("ip"), out);
            }
        }
    }
}

fn node(object: &Value, out: &mut Vec<String>) {
    let spec = object.at("spec");
    if spec.has("configSource") {
        out.push("spec.configSource: the feature is removed".to_owned());
    }
    if !spec.text("externalID").is_empty() {
        out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
}

/// Warnings about a valid change; templates are looked at again only where the spec changed.
pub fn on_update(resource: &ResourceRef<'_>, new: &Value, old: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if !resource.subresource.is_empty() {
        return out;
    }
    let changed = new.at("metadata").int("generation") != old.at("metadata").int("generation");
    match (resource.group, resource.resource) {
        ("apps", "deployments" | "replicasets") | ("", "replicationcontrollers") if changed => {
            pods::of(new.at("spec").at("template"), "spec.template.", &mut out);
        }
        ("apps", "daemonsets") => {
            let count = |o: &Value| {
                let all = o.at("metadata").at("annotations");
                all.text("deprecated.daemonset.template.generation").to_owned()
            };
            if count(new) != count(old) {
                pods::of(new.at("spec").at("template"), "spec.template.", &mut out);
            }
        }
        ("apps", "statefulsets") => stateful_set(new, changed, &mut out),
        ("batch", "jobs") if changed => job(new.at("spec"), "spec", &mut out),
        ("batch", "cronjobs") => {
            if changed {
                cron_job(new, &mut out);
            }
            if new.at("spec").text("schedule").contains("TZ") {
                out.push(
                    "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                     https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                        .to_owned(),
                );
            }
        }
        ("", "services") => services::of(new, &mut out),
        ("", "secrets") => secret(new, &mut out),
        ("", "endpoints") => endpoints(new, &mut out),
        _ => {}
    }
    out
}

fn name_is_label(object: &Value, whose: &str, out: &mut Vec<String>) {
    let wrong = names::dns_label(object.at("metadata").text("name"));
    if !wrong.is_empty() {
        out.push(format!(
            "metadata.name: this is used in {whose}, which can result in surprising behavior; a DNS label is \
             recommended: {}",
            go_list(&wrong)
        ));
    }
}

fn stateful_set(object: &Value, template: bool, out: &mut Vec<String>) {
    let spec = object.at("spec");
    if template {
        pods::of(spec.at("template"), "spec.template.", out);
    }
    for (i, claim) in spec.list("volumeClaimTemplates").iter().enumerate() {
        pods::fractional(
            claim.at("spec").at("resources").at("requests"),
            &format!("spec.volumeClaimTemplates[{i}].spec.resources.requests"),
            &["storage"],
            out,
        );
    }
    if spec.int("revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        out.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
             recommended"
                .to_owned(),
        );
    }
}

fn cron_job(object: &Value, out: &mut Vec<String>) {
    job(
        object.at("spec").at("jobTemplate").at("spec"),
        "spec.jobTemplate.spec",
        out,
    );
}

fn job(spec: &Value, at: &str, out: &mut Vec<String>) {
    let many = |name: &str, limit: i64| spec.int(name).is_some_and(|n| n > limit);
    if spec.text("completionMode") == "Indexed" && many("completions", 100_000) && many("parallelism", 10_000)
    {
        out.push(format!(
            "{at}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    pods::of(spec.at("template"), &format!("{at}.template."), out);
}

/// A key pair that cannot be one is said to be none; whether the two fit each other is not looked at.
fn secret(object: &Value, out: &mut Vec<String>) {
    use base64::Engine as _;
    if object.text("type") != "kubernetes.io/tls" {
        return;
    }
    let coded = object.at("data").text("tls.crt");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(coded)
        .unwrap_or_default();
    if !String::from_utf8_lossy(&bytes).contains("-----BEGIN") {
        out.push("tls: failed to find any PEM data in certificate input".to_owned());
    }
}

/// An address that some programs read otherwise than others.
pub(crate) fn address(at: &str, value: &str, out: &mut Vec<String>) {
    let Ok(parsed) = value.parse::<std::net::IpAddr>() else {
        return;
    };
    let std::net::IpAddr::V6(six) = parsed else {
        return;
    };
    if let Some(four) = six.to_ipv4_mapped() {
        out.push(format!(
            "{at}: non-standard IP address {} is invalid: use {}",
            go_quote(value),
            go_quote(&four.to_string())
        ));
    } else if six.to_string() != value {
        out.push(format!(
            "{at}: IPv6 address {} should be in RFC 5952 canonical format ({})",
            go_quote(value),
            go_quote(&six.to_string())
        ));
    }
}

/// A list of texts as Go's `%v` prints it.
fn go_list(texts: &[String]) -> String {
    format!("[{}]", texts.join(" "))
}
