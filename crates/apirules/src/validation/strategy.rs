//! What the server itself decides about an object when it is written.

use model::time::Timestamp;
use serde_json::{Value, json};

use super::{ResourceRef, pod, services};
use crate::read::{Read, copy_field, object_mut};

/// How a kind treats status and generation.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Manners {
    /// Status belongs to its own endpoint.
    status: bool,
    generation: bool,
    /// Changed annotations raise the generation too.
    annotations: bool,
}

const PLAIN: Manners = Manners {
    status: false,
    generation: false,
    annotations: false,
};
const STATUS: Manners = Manners {
    status: true,
    ..PLAIN
};
const BOTH: Manners = Manners {
    status: true,
    generation: true,
    annotations: false,
};
const GENERATION: Manners = Manners {
    generation: true,
    ..PLAIN
};

fn manners(resource: &ResourceRef<'_>) -> Manners {
    match (resource.group, resource.resource) {
        ("apps", "deployments") => Manners {
            annotations: true,
            ..BOTH
        },
        ("apps", "replicasets" | "statefulsets" | "daemonsets")
        | ("batch", "jobs" | "cronjobs")
        | ("policy", "poddisruptionbudgets")
        | ("", "replicationcontrollers")
        | ("networking.k8s.io", "ingresses")
        | ("flowcontrol.apiserver.k8s.io" | "apiextensions.k8s.io", _) => BOTH,
        ("networking.k8s.io", "networkpolicies" | "ingressclasses")
        | ("discovery.k8s.io", "endpointslices") => GENERATION,
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => BOTH,
        ("admissionregistration.k8s.io", _) => GENERATION,
        ("autoscaling", _)
        | ("certificates.k8s.io", "certificatesigningrequests")
        | ("apiregistration.k8s.io", _)
        | ("networking.k8s.io", "servicecidrs")
        | ("storage.k8s.io", "volumeattachments")
        | ("resource.k8s.io", "resourceclaims")
        | (
            "",
            "services"
            | "resourcequotas"
            | "namespaces"
            | "nodes"
            | "persistentvolumes"
            | "persistentvolumeclaims",
        ) => STATUS,
        _ => PLAIN,
    }
}

pub(super) fn prepare_create(resource: &ResourceRef<'_>, object: &mut Value, now: Timestamp) {
    match (resource.group, resource.resource, resource.subresource) {
        ("", "pods", "") => {
            pod::prepare_create(object, now);
            set_generation(object, 1);
            return;
        }
        ("", "namespaces", "") => prepare_namespace(object),
        ("", "nodes", "") => {
            drop_fields(object, &Value::Null, &["configSource"]);
            return;
        }
        ("", "serviceaccounts", "") => name_secrets_alone(object),
        ("coordination.k8s.io", "leases", "") => drop_fields(object, &Value::Null, &LEASE_FIELDS),
        // Counted from the start, but never on.
        ("scheduling.k8s.io", "priorityclasses", "") => set_generation(object, 1),
        ("apiextensions.k8s.io", "customresourcedefinitions", "") => {
            prepare_definition(object);
            set_generation(object, 1);
        }
        ("apps", "daemonsets", "") => {
            clear_status(resource, object);
            set_generation(object, 1);
            set_template_generation(object, template_generation(object).max(1));
        }
        ("apps", "statefulsets", "") => {
            drop_max_unavailable(object, &Value::Null);
            clear_status(resource, object);
            set_generation(object, 1);
        }
        ("", "persistentvolumes", "") => {
            object["status"] = json!({"phase": "Pending",
                "lastPhaseTransitionTime": model::time::rfc3339_seconds(now)});
        }
        ("", "persistentvolumeclaims", "") => object["status"] = json!({"phase": "Pending"}),
        _ if resource.subresource.is_empty() => {
            let manners = manners(resource);
            if manners.status {
                clear_status(resource, object);
            }
            if manners.generation {
                set_generation(object, 1);
            }
        }
        _ => {}
    }
    if (resource.group, resource.resource) == ("batch", "jobs") {
        super::jobs::prepare_job(object);
    }
}

/// Of what its secrets are called only the name counts.
fn name_secrets_alone(object: &mut Value) {
    for secret in object
        .get_mut("secrets")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        *secret = match secret.text("name") {
            "" => json!({}),
            name => json!({"name": name}),
        };
    }
}

/// Coordinated leader election is not switched on by default.
const LEASE_FIELDS: [&str; 2] = ["strategy", "preferredHolder"];

/// Fields of features that are off, or gone, stay where they are already.
fn drop_fields(new: &mut Value, old: &Value, fields: &[&str]) {
    for field in fields {
        if !old.at("spec").has(field)
            && let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut)
        {
            spec.remove(*field);
        }
    }
}

/// Objects of a new kind are stored in its storage version.
fn prepare_definition(object: &mut Value) {
    let versions = object.at("spec").list("versions").iter();
    let mut storage = versions.filter(|v| v.flag("storage")).map(|v| v.text("name"));
    let storage: Vec<&str> = storage.next().into_iter().collect();
    object["status"] = json!({"storedVersions": storage});
}

/// From now on objects are stored in it.
fn add_storage_version(object: &mut Value) {
    let versions = object.at("spec").list("versions").iter();
    let mut storage = versions.filter(|v| v.flag("storage")).map(|v| v.text("name"));
    let Some(storage) = storage.next().map(str::to_owned) else {
        return;
    };
    if let Some(status) = object_mut(object, "status") {
        let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
        match stored.as_array_mut() {
            Some(all) if all.iter().any(|v| *v == storage) => {}
            Some(all) => all.push(storage.into()),
            None => *stored = json!([storage]),
        }
    }
}

/// Several pods at once is a feature of stateful sets that is off by default.
fn drop_max_unavailable(new: &mut Value, old: &Value) {
    const AT: &str = "/spec/updateStrategy/rollingUpdate";
    if old.pointer(AT).is_some_and(|r| r.has("maxUnavailable")) {
        return;
    }
    if let Some(rolling) = new.pointer_mut(AT).and_then(Value::as_object_mut) {
        rolling.remove("maxUnavailable");
    }
}

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Daemon sets counted their templates once; the count lives on in an annotation.
fn template_generation(object: &Value) -> i64 {
    let annotations = object.at("metadata").at("annotations");
    annotations.text(TEMPLATE_GENERATION).parse().unwrap_or(0)
}

fn set_template_generation(object: &mut Value, count: i64) {
    if let Some(annotations) = object
        .get_mut("metadata")
        .and_then(|m| object_mut(m, "annotations"))
    {
        annotations.insert(TEMPLATE_GENERATION.to_owned(), json!(count.to_string()));
    }
}

fn prepare_namespace(object: &mut Value) {
    object["status"] = json!({"phase": "Active"});
    let name = object.at("metadata").text("name").to_owned();
    if let Some(spec) = object_mut(object, "spec") {
        let list = spec.entry("finalizers").or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut().filter(|l| !l.contains(&json!("kubernetes"))) {
            list.push(json!("kubernetes"));
        }
    }
    if let Some(labels) = object
        .get_mut("metadata")
        .and_then(|m| object_mut(m, "labels"))
        .filter(|_| !name.is_empty())
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
    }
}

/// Kinds print an empty status as their type does; those whose status has required fields show zeros.
fn clear_status(resource: &ResourceRef<'_>, object: &mut Value) {
    let empty = match resource.resource {
        "replicasets" | "statefulsets" | "replicationcontrollers" => json!({"replicas": 0}),
        "daemonsets" => json!({"currentNumberScheduled": 0, "numberMisscheduled": 0,
            "desiredNumberScheduled": 0, "numberReady": 0}),
        "poddisruptionbudgets" => json!({"disruptionsAllowed": 0, "currentHealthy": 0,
            "desiredHealthy": 0, "expectedPods": 0}),
        "services" | "ingresses" => json!({"loadBalancer": {}}),
        "horizontalpodautoscalers" => json!({"desiredReplicas": 0, "currentMetrics": null}),
        _ => json!({}),
    };
    if let Some(map) = object.as_object_mut() {
        map.insert("status".to_owned(), empty);
    }
}

fn set_generation(object: &mut Value, generation: i64) {
    if let Some(meta) = object_mut(object, "metadata") {
        meta.insert("generation".to_owned(), json!(generation));
    }
}

pub(super) fn prepare_update(resource: &ResourceRef<'_>, new: &mut Value, old: &Value) {
    let generation = old.at("metadata").int("generation");
    restore_system_fields(new, old, generation);
    if (resource.group, resource.resource) == ("", "pods") {
        pod::prepare_update(resource.subresource, new, old);
        if resource.subresource != "status" && pod::spec_changed(new, old) {
            set_generation(new, generation.unwrap_or(0) + 1);
        }
        return;
    }
    let manners = manners(resource);
    if resource.subresource == "status" {
        prepare_status(resource, new, old);
        return;
    }
    if !resource.subresource.is_empty() && resource.subresource != "scale" {
        return;
    }
    match (resource.group, resource.resource) {
        ("", "namespaces") => {
            copy_field(new, old, "spec");
            prepare_namespace_update(new);
        }
        ("", "nodes") => drop_fields(new, old, &["configSource"]),
        ("coordination.k8s.io", "leases") => drop_fields(new, old, &LEASE_FIELDS),
        ("", "serviceaccounts") => name_secrets_alone(new),
        _ => {}
    }
    if manners.status {
        copy_field(new, old, "status");
    }
    match (resource.group, resource.resource) {
        ("", "services") => services::drop_unused(new, old),
        ("apiextensions.k8s.io", "customresourcedefinitions") => add_storage_version(new),
        ("apps", "statefulsets") => drop_max_unavailable(new, old),
        _ => {}
    }
    if (resource.group, resource.resource) == ("apps", "daemonsets") {
        let same = new.at("spec").at("template") == old.at("spec").at("template");
        set_template_generation(new, template_generation(old) + i64::from(!same));
    }
    if manners.generation && changed(manners, new, old) {
        set_generation(new, generation.unwrap_or(0) + 1);
    }
}

fn prepare_namespace_update(new: &mut Value) {
    let name = new.at("metadata").text("name").to_owned();
    if let Some(labels) = new.get_mut("metadata").and_then(|m| object_mut(m, "labels")) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
    }
}

/// Everything but metadata and status counts.
fn changed(manners: Manners, new: &Value, old: &Value) -> bool {
    let content = |object: &Value| -> Vec<(String, Value)> {
        let fields = object.as_object().into_iter().flatten();
        let counted =
            fields.filter(|(k, _)| !["metadata", "status", "apiVersion", "kind"].contains(&k.as_str()));
        counted.map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let annotations = |object: &Value| {
        object
            .at("metadata")
            .at("annotations")
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    content(new) != content(old) || (manners.annotations && annotations(new) != annotations(old))
}

fn prepare_status(resource: &ResourceRef<'_>, new: &mut Value, old: &Value) {
    let fields: Vec<String> = old
        .as_object()
        .into_iter()
        .chain(new.as_object())
        .flatten()
        .map(|(k, _)| k.clone())
        .filter(|k| !["metadata", "status", "apiVersion", "kind"].contains(&k.as_str()))
        .collect();
    for field in fields {
        copy_field(new, old, &field);
    }
    if resource.group == "apps"
        && resource.resource == "deployments"
        && let Some(meta) = new.get_mut("metadata")
    {
        copy_field(meta, old.at("metadata"), "labels");
    }
}

/// As the server does before any strategy: what the client may leave out, and what it may never set.
fn restore_system_fields(new: &mut Value, old: &Value, generation: Option<i64>) {
    let before = old.at("metadata");
    let Some(meta) = new.get_mut("metadata").filter(|m| m.is_object()) else {
        return;
    };
    if let Some(generation) = generation {
        meta["generation"] = json!(generation);
    }
    if meta.text("namespace").is_empty() {
        copy_field(meta, before, "namespace");
    }
    if meta.text("uid").is_empty() {
        copy_field(meta, before, "uid");
    }
    if before.has("creationTimestamp") {
        copy_field(meta, before, "creationTimestamp");
    }
    if before.has("deletionTimestamp") {
        copy_field(meta, before, "deletionTimestamp");
    }
    if before.has("deletionGracePeriodSeconds") && !meta.has("deletionGracePeriodSeconds") {
        copy_field(meta, before, "deletionGracePeriodSeconds");
    }
}

/// Endpoints that may change one part only keep all of metadata but resourceVersion and managedFields.
pub(crate) fn keep_status_meta(new: &mut Value, old: &Value) {
    let Some(meta) = new.get_mut("metadata") else {
        return;
    };
    for field in [
        "deletionTimestamp",
        "generation",
        "selfLink",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
    ] {
        copy_field(meta, old.at("metadata"), field);
    }
}
