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
    if resource.group == "policy" || (resource.group, resource.resource) == ("", "events") {
        content(resource, object, None, errors);
        if errors.is_empty() {
            validate_meta(object, namespaced, path_segment, errors);
        }
        return;
    }
    validate_meta(object, namespaced, name_rule(resource), errors);
    if knows_finalizers(resource) {
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
    if knows_finalizers(resource) {
        validate_finalizer_kinds(new, errors);
    }
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
    if resource.subresource == "status" && resource.resource == "services" {
        return super::services::validate_status(new, errors);
    }
    if resource.subresource == "status" && (resource.group, resource.resource) == ("", "namespaces") {
        return namespace_status(new, errors);
    }
    if resource.subresource == "status" && (resource.group, resource.resource) == ("batch", "jobs") {
        return super::job_status::validate(new, old, errors);
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

/// Kinds that take qualified finalizers and the few standard ones alone.
fn knows_finalizers(resource: &ResourceRef<'_>) -> bool {
    match resource.group {
        "" => resource.resource != "events",
        "apps" | "batch" | "autoscaling" => true,
        "networking.k8s.io" | "rbac.authorization.k8s.io" | "scheduling.k8s.io" | "storage.k8s.io" => true,
        _ => false,
    }
}

/// Kinds whose update obeys all rules of their creation.
fn rereads_metadata(resource: &ResourceRef<'_>) -> bool {
    match resource.group {
        "" => [
            "configmaps",
            "limitranges",
            "namespaces",
            "nodes",
            "secrets",
            "serviceaccounts",
            "services",
        ]
        .contains(&resource.resource),
        "batch" => resource.resource == "jobs",
        "autoscaling" | "networking.k8s.io" | "scheduling.k8s.io" | "storage.k8s.io" => true,
        group => group == "rbac.authorization.k8s.io",
    }
}

fn content(resource: &ResourceRef<'_>, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    match (resource.group, resource.resource) {
        ("apps" | "batch" | "policy", _) => workloads::validate(resource, new, old, errors),
        ("", "secrets") => super::secrets::validate(new, old, errors),
        ("", "configmaps") => config_map(new, old, errors),
        ("", "serviceaccounts") => {}
        ("", "namespaces") => namespace(new, errors),
        ("", "nodes") => super::nodes::node(new, old, errors),
        ("", "services") => super::services::validate(new, old, errors),
        ("", "endpoints") => super::endpoints::validate(new, old, errors),
        ("", "resourcequotas") => super::quotas::quota(new, old, errors),
        ("", "limitranges") => super::quotas::limit_range(new, errors),
        ("", "persistentvolumeclaims") => claim(new, old, errors),
        ("", "events") | ("events.k8s.io", "events") => event(resource, new, errors),
        ("coordination.k8s.io", "leases") => lease(new, errors),
        ("scheduling.k8s.io", "priorityclasses") => priority_class(new, old, errors),
        ("admissionregistration.k8s.io", _) => super::registrations::validate(resource, new, errors),
        ("rbac.authorization.k8s.io", _) => super::rbac_kinds::validate(resource, new, old, errors),
        _ => {}
    }
}

pub(super) const MAX_DATA: usize = 1024 * 1024;

pub(super) fn immutable_data(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
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
    security_labels(new, errors);
    for finalizer in new.at("spec").list("finalizers").iter().filter_map(Value::as_str) {
        let path = Path::new("spec").child("finalizers");
        errors.invalid_each(&path, finalizer, qualified_name(finalizer));
        if !finalizer.contains('/') && finalizer != "kubernetes" {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path, finalizer, detail);
        }
    }
}

/// The PodSecurity plugin's, which says it as a field error.
fn security_labels(new: &Value, errors: &mut Errors) {
    let labels = new.at("metadata").at("labels");
    let path = Path::new("metadata").child("labels");
    for mode in ["enforce", "audit", "warn"] {
        let key = format!("pod-security.kubernetes.io/{mode}");
        let level = labels.text(&key);
        if labels.has(&key) && !["privileged", "baseline", "restricted"].contains(&level) {
            let detail = "must be one of privileged, baseline, restricted";
            errors.invalid(&path.key(&key), level, detail);
        }
        let key = format!("{key}-version");
        let version = labels.text(&key);
        let minor = version.strip_prefix("v1.").unwrap_or_default();
        let is_minor = minor.parse::<u32>().is_ok_and(|n| n.to_string() == minor);
        if labels.has(&key) && version != "latest" && !is_minor {
            let detail = "must be \"latest\" or \"v1.x\"";
            errors.invalid(&path.key(&key), version, detail);
        }
    }
}

fn namespace_status(new: &Value, errors: &mut Errors) {
    let (phase, path) = (new.at("status").text("phase"), Path::new("status").child("Phase"));
    match new.at("metadata").has("deletionTimestamp") {
        false if phase != "Active" => {
            let detail = "may only be 'Active' if `deletionTimestamp` is empty";
            errors.invalid(&path, phase, detail);
        }
        true if phase != "Terminating" => {
            let detail = "may only be 'Terminating' if `deletionTimestamp` is not empty";
            errors.invalid(&path, phase, detail);
        }
        _ => {}
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
    let timed = new.has("eventTime");
    let matches = match about {
        "" => own == "default" || timed && own == "kube-system",
        about => timed || own == about,
    };
    if !matches {
        let at = Path::new("involvedObject").child("namespace");
        errors.invalid(&at, about, "does not match event.namespace");
    }
}

/// Only what a bound claim asks for may change.
fn claim(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let Some(old) = old else { return };
    let bound = old.at("status").text("phase") == "Bound";
    let annotations = old.at("metadata").at("annotations");
    let may_be_classed = !old.at("spec").has("storageClassName")
        && new.at("spec").has("storageClassName")
        && annotations
            .text("volume.beta.kubernetes.io/storage-class")
            .is_empty();
    let rest = |claim: &Value| {
        let mut spec = claim.at("spec").clone();
        if let Some(spec) = spec.as_object_mut() {
            // A binder sets it once.
            if old.at("spec").text("volumeName").is_empty() {
                spec.remove("volumeName");
            }
            // A class that became the default later is given to claims that named none.
            if may_be_classed {
                spec.remove("storageClassName");
            }
            if bound {
                spec.remove("volumeAttributesClassName");
            }
        }
        if bound
            && let Some(requests) = spec
                .pointer_mut("/resources/requests")
                .and_then(Value::as_object_mut)
        {
            requests.remove("storage");
        }
        spec
    };
    if rest(new) != rest(old) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims";
        errors.forbidden(&Path::new("spec"), detail);
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
            format!("{detail}{name} is not a known system priority class"),
        );
    }
    if old.is_none() && value > 1_000_000_000 && !name.starts_with("system-") {
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

pub(super) fn controller_revision(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    super::workloads::non_negative(new, &["revision"], &Path::new(""), errors);
    let path = Path::new("data");
    match old {
        None if new.at("data").is_null() => errors.required(&path, "data is mandatory"),
        None if !new.at("data").is_object() => errors.required(&path, "data must be a valid JSON object"),
        Some(old) if old.at("data") != new.at("data") => {
            errors.invalid(&path, new.at("data").clone(), IMMUTABLE);
        }
        _ => {}
    }
}
