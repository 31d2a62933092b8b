//! Which rules belong to which kind.

use serde_json::Value;

use super::ResourceRef;
use super::meta::{IMMUTABLE, validate_finalizer_kinds, validate_meta, validate_meta_update};
use super::names::{config_key, dns_label, dns_subdomain, path_segment, qualified_name};
use super::pod;
use super::{workload_status, workloads};
use crate::path::{Errors, Path};
use crate::read::Read;

/// The name rule of a kind.
fn name_rule(resource: &ResourceRef<'_>) -> fn(&str) -> Vec<String> {
    match (resource.group, resource.resource) {
        ("policy", _) => path_segment,
        ("", "namespaces") | ("apps", "statefulsets") | ("", "services") => dns_label,
        ("rbac.authorization.k8s.io" | "flowcontrol.apiserver.k8s.io", _) | ("", "componentstatuses") => {
            path_segment
        }
        ("batch", "cronjobs") => cron_job_name,
        _ => dns_subdomain,
    }
}

/// The controller appends eleven characters, which must fit into 63.
fn cron_job_name(name: &str) -> Vec<String> {
    let mut out = dns_subdomain(name);
    if name.len() > 52 {
        out.push("must be no more than 52 characters".to_owned());
    }
    out
}

pub(super) fn create(resource: &ResourceRef<'_>, object: &Value, errors: &mut Errors) {
    match (resource.group, resource.resource, resource.subresource) {
        ("", "pods", "binding") | ("", "bindings", _) => return pod::validate_binding(object, errors),
        ("", "pods", "") => return pod::validate_create(object, errors),
        (_, _, subresource) if !subresource.is_empty() => return,
        _ => {}
    }
    let namespaced = !object.at("metadata").text("namespace").is_empty();
    // These kinds have no rules of their own for metadata: only the rules of all kinds, once theirs are obeyed.
    if resource.group == "policy" {
        content(resource, object, None, errors);
        if errors.is_empty() {
            validate_meta(object, namespaced, path_segment, errors);
        }
        return;
    }
    validate_meta(object, namespaced, name_rule(resource), errors);
    if !resource.group.contains('.') {
        validate_finalizer_kinds(object, errors);
    }
    content(resource, object, None, errors);
}

/// A real server looks at metadata once for all kinds, twice over, and again by the rules of the kind; each look adds
/// its causes.
pub(super) fn update(resource: &ResourceRef<'_>, new: &Value, old: &Value, errors: &mut Errors) {
    let namespaced = !new.at("metadata").text("namespace").is_empty();
    validate_meta(new, namespaced, path_segment, errors);
    validate_meta_update(new, old, errors);
    if (resource.group, resource.resource) == ("", "pods") {
        return match resource.subresource {
            "status" => pod::validate_status_update(new, old, errors),
            "ephemeralcontainers" => pod::validate_ephemeral_update(new, old, errors),
            "resize" => pod::validate_resize(new, old, errors),
            _ => pod::validate_update(new, old, errors),
        };
    }
    if resource.group != "policy" {
        validate_meta_update(new, old, errors);
    }
    if resource.subresource == "status" {
        workload_status::validate_status(resource, new, old, errors);
        return;
    }
    if rereads_metadata(resource) {
        validate_meta(new, namespaced, name_rule(resource), errors);
    }
    content(resource, new, Some(old), errors);
}

/// Kinds whose update obeys all rules of their creation.
fn rereads_metadata(resource: &ResourceRef<'_>) -> bool {
    match resource.group {
        "" => ["configmaps", "namespaces", "nodes", "secrets", "services"].contains(&resource.resource),
        "batch" => resource.resource == "jobs",
        group => group == "rbac.authorization.k8s.io",
    }
}

fn content(resource: &ResourceRef<'_>, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    match (resource.group, resource.resource) {
        ("apps" | "batch" | "policy", _) => workloads::validate(resource, new, old, errors),
        ("", "secrets") => secret(new, old, errors),
        ("", "configmaps") => config_map(new, old, errors),
        ("", "serviceaccounts") => {}
        ("", "namespaces") => namespace(new, errors),
        ("", "nodes") => super::nodes::node(new, old, errors),
        ("", "services") => service(new, old, errors),
        ("", "events") | ("events.k8s.io", "events") => event(resource, new, errors),
        ("coordination.k8s.io", "leases") => lease(new, errors),
        ("scheduling.k8s.io", "priorityclasses") => priority_class(new, old, errors),
        ("rbac.authorization.k8s.io", _) => rbac(resource, new, old, errors),
        _ => {}
    }
}

const MAX_DATA: usize = 1024 * 1024;

fn secret(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in new.map("data").into_iter().flatten() {
        errors.invalid_each(&path.key(key), key, config_key(key));
        size += value
            .as_str()
            .map_or(0, |v| v.trim_end_matches('=').len() * 3 / 4);
    }
    if size > MAX_DATA {
        errors.too_long(&path, MAX_DATA);
    }
    let required: &[&str] = match new.text("type") {
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if new.at("metadata").at("annotations").text(annotation).is_empty() {
                errors.required(&Path::new("metadata").child("annotations").key(annotation), "");
            }
            &[]
        }
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/basic-auth" => {
            let present = ["username", "password"].iter().any(|k| new.at("data").has(k));
            if present { &[] } else { &["username", "password"] }
        }
        _ => &[],
    };
    for key in required.iter().filter(|k| !new.at("data").has(k)) {
        errors.required(&path.key(key), "");
    }
    let Some(old) = old else { return };
    if new.text("type") != old.text("type") {
        errors.invalid(&Path::new("type"), new.text("type"), IMMUTABLE);
    }
    immutable_data(new, old, &["data"], errors);
}

fn immutable_data(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    if !old.flag("immutable") {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    if !new.flag("immutable") {
        errors.forbidden(&Path::new("immutable"), detail);
    }
    for field in fields.iter().filter(|f| new.at(f) != old.at(f)) {
        errors.forbidden(&Path::new(field), detail);
    }
}

fn config_map(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        let path = Path::new(field);
        for (key, value) in new.map(field).into_iter().flatten() {
            errors.invalid_each(&path.key(key), key, config_key(key));
            if field == "data" && new.at("binaryData").has(key) {
                let detail = "duplicate of key present in binaryData";
                errors.invalid(&path.key(key), key.as_str(), detail);
            }
            size += value.as_str().map_or(0, str::len);
        }
    }
    if size > MAX_DATA {
        errors.too_long(&Path::new(""), MAX_DATA);
    }
    if let Some(old) = old {
        immutable_data(new, old, &["data", "binaryData"], errors);
    }
}

fn namespace(new: &Value, errors: &mut Errors) {
    for finalizer in new.at("spec").list("finalizers").iter().filter_map(Value::as_str) {
        let path = Path::new("spec").child("finalizers");
        errors.invalid_each(&path, finalizer, qualified_name(finalizer));
        if !finalizer.contains('/') && finalizer != "kubernetes" {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path, finalizer, detail);
        }
    }
}

fn service(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    let kind = spec.text("type");
    let headless = spec.text("clusterIP") == "None";
    if spec.list("ports").is_empty() && !headless && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    let ports = spec.list("ports");
    let mut names: Vec<&str> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let (at, name) = (path.child("ports").index(i), port.text("name"));
        if name.is_empty() && ports.len() > 1 {
            errors.required(&at.child("name"), "");
        } else if !name.is_empty() {
            errors.invalid_each(&at.child("name"), name, dns_label(name));
            if names.contains(&name) {
                errors.duplicate(&at.child("name"), name);
            }
            names.push(name);
        }
        let number = port.int("port").unwrap_or(0);
        for message in super::names::port_number(number) {
            errors.invalid(&at.child("port"), number, message);
        }
        let protocol = port.text("protocol");
        if !["TCP", "UDP", "SCTP"].contains(&protocol) && !protocol.is_empty() {
            errors.not_supported(&at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        }
        if port.has("targetPort") {
            pod::validate_port(port.at("targetPort"), &at.child("targetPort"), errors);
        }
    }
    super::labels::validate_labels(spec.at("selector"), &path.child("selector"), errors);
    let Some(old) = old else { return };
    let (before, after) = (old.at("spec"), new.at("spec"));
    let external = |s: &Value| s.text("type") == "ExternalName";
    let (was, is) = (before.text("clusterIP"), after.text("clusterIP"));
    if !external(before) && !external(after) && !was.is_empty() && was != is {
        let list = after.at("clusterIPs").clone();
        errors.invalid(
            &path.child("clusterIPs").index(0),
            list,
            "may not change once set",
        );
    }
}

fn event(resource: &ResourceRef<'_>, new: &Value, errors: &mut Errors) {
    let involved = if resource.group.is_empty() {
        "involvedObject"
    } else {
        "regarding"
    };
    let (own, about) = (
        new.at("metadata").text("namespace"),
        new.at(involved).text("namespace"),
    );
    let matches = if about.is_empty() {
        own == "default" || own == "kube-system"
    } else {
        own == about
    };
    if !matches {
        let detail = if about.is_empty() {
            "not allowed"
        } else {
            "does not match event.namespace"
        };
        errors.invalid(&Path::new("involvedObject").child("namespace"), about, detail);
    }
}

fn lease(new: &Value, errors: &mut Errors) {
    let (spec, path) = (new.at("spec"), Path::new("spec"));
    if let Some(seconds) = spec.int("leaseDurationSeconds").filter(|s| *s <= 0) {
        errors.invalid(
            &path.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        );
    }
    if let Some(count) = spec.int("leaseTransitions").filter(|s| *s < 0) {
        let detail = "must be greater than or equal to 0";
        errors.invalid(&path.child("leaseTransitions"), count, detail);
    }
}

fn priority_class(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let name = new.at("metadata").text("name");
    let value = new.int("value").unwrap_or(0);
    if old.is_none()
        && name.starts_with("system-")
        && !["system-node-critical", "system-cluster-critical"].contains(&name)
    {
        let detail = "priority class names with 'system-' prefix are reserved for system use only. error: ";
        errors.forbidden(
            &Path::new("metadata").child("name"),
            format!("{detail}{name} is not a system priority class"),
        );
    }
    if value > 1_000_000_000 && !name.starts_with("system-") {
        let detail = "maximum allowed value of a user defined priority is 1000000000";
        errors.forbidden(&Path::new("value"), detail);
    }
    let policy = new.text("preemptionPolicy");
    let Some(old) = old else {
        if new.has("preemptionPolicy") && policy.is_empty() {
            errors.required(&Path::new("preemptionPolicy"), "");
        } else if !policy.is_empty() && !["PreemptLowerPriority", "Never"].contains(&policy) {
            let supported = ["PreemptLowerPriority", "Never"];
            errors.not_supported(&Path::new("preemptionPolicy"), policy, &supported);
        }
        return;
    };
    if old.int("value").unwrap_or(0) != value {
        errors.forbidden(&Path::new("value"), "may not be changed in an update.");
    }
    if old.text("preemptionPolicy") != new.text("preemptionPolicy") {
        errors.invalid(
            &Path::new("preemptionPolicy"),
            new.text("preemptionPolicy"),
            IMMUTABLE,
        );
    }
}

fn rbac(resource: &ResourceRef<'_>, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let namespaced = resource.resource.starts_with("role");
    for (i, rule) in new.list("rules").iter().enumerate() {
        let path = Path::new("rules").index(i);
        if rule.list("verbs").is_empty() {
            errors.required(&path.child("verbs"), "verbs must contain at least one value");
        }
        let urls = rule.list("nonResourceURLs");
        if !urls.is_empty() {
            let at = path.child("nonResourceURLs");
            let bad = || Value::Array(urls.to_vec());
            if namespaced {
                errors.invalid(&at, bad(), "namespaced rules cannot apply to non-resource URLs");
            }
            let resources = ["apiGroups", "resources", "resourceNames"];
            if resources.iter().any(|f| !rule.list(f).is_empty()) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(&at, bad(), detail);
            }
            continue;
        }
        if rule.list("apiGroups").is_empty() {
            errors.required(
                &path.child("apiGroups"),
                "resource rules must supply at least one api group",
            );
        }
        if rule.list("resources").is_empty() {
            errors.required(
                &path.child("resources"),
                "resource rules must supply at least one resource",
            );
        }
    }
    if !resource.resource.ends_with("bindings") {
        return;
    }
    let (role, path) = (new.at("roleRef"), Path::new("roleRef"));
    if role.text("apiGroup") != "rbac.authorization.k8s.io" {
        errors.not_supported(
            &path.child("apiGroup"),
            role.text("apiGroup"),
            &["rbac.authorization.k8s.io"],
        );
    }
    let kinds: &[&str] = if namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    if !kinds.contains(&role.text("kind")) {
        errors.not_supported(&path.child("kind"), role.text("kind"), kinds);
    }
    if role.text("name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    for (i, subject) in new.list("subjects").iter().enumerate() {
        let at = Path::new("subjects").index(i);
        let kinds = ["ServiceAccount", "User", "Group"];
        if subject.text("name").is_empty() {
            errors.required(&at.child("name"), "");
        }
        let group = if subject.text("kind") == "ServiceAccount" {
            ""
        } else {
            "rbac.authorization.k8s.io"
        };
        if kinds.contains(&subject.text("kind")) && subject.text("apiGroup") != group {
            errors.not_supported(&at.child("apiGroup"), subject.text("apiGroup"), &[group]);
        }
        if !kinds.contains(&subject.text("kind")) {
            errors.not_supported(&at.child("kind"), subject.text("kind"), &kinds);
        } else if subject.text("kind") == "ServiceAccount"
            && !namespaced
            && subject.text("namespace").is_empty()
        {
            errors.required(&at.child("namespace"), "");
        }
    }
    if old.is_some_and(|old| old.at("roleRef") != role) {
        let shown = format!(
            "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
            Value::from(role.text("apiGroup")),
            Value::from(role.text("kind")),
            Value::from(role.text("name"))
        );
        errors.invalid_json(&path, shown, "cannot change roleRef");
    }
}
