//! Pods: what may be created, and what may change in a running one.
mod apparmor;
mod containers;
mod difference;
mod env;
mod mounts;
mod prepare;
mod probes;
mod resize;
pub(crate) mod resources;
mod scheduling;
mod security;
mod spec;
mod status;
mod subresources;
mod unified;
mod update;
mod volumes;
mod windows;

use serde_json::Value;

pub(crate) use apparmor::{ANNOTATION as APPARMOR_ANNOTATION, deprecated as deprecated_apparmor};
pub(crate) use difference::{internal_json, same_internal};
pub(crate) use prepare::{prepare_create, prepare_update, qos_class, spec_changed};
pub(crate) use probes::validate_port;
pub(crate) use resize::validate_resize;
pub(crate) use spec::{validate_ip, validate_spec};
pub(crate) use status::validate_status_update;
pub(crate) use subresources::{validate_binding, validate_ephemeral_update};
pub(crate) use update::validate_update;

use crate::path::{Errors, Path};
use crate::read::Read;
use crate::validation::meta::{validate_finalizer_kinds, validate_meta};
use crate::validation::names::dns_subdomain;

/// A pod's own spec, or a template's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pod,
    Template,
}

/// What the rules of one container need to know of its pod.
struct SpecContext<'a> {
    spec: &'a Value,
    /// The sound ones.
    volumes: Vec<&'a Value>,
    grace: Option<i64>,
    host_users: bool,
    restart_policy: &'a str,
}

pub(crate) fn validate_create(pod: &Value, errors: &mut Errors) {
    validate_meta_and_spec(pod, errors);
    let (spec, path) = (pod.at("spec"), Path::new("spec"));
    if !spec.list("ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.text("nodeName").is_empty() && !spec.list("schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden(&path.child("nodeName"), detail);
    }
}

fn validate_meta_and_spec(pod: &Value, errors: &mut Errors) {
    let (spec, path) = (pod.at("spec"), Path::new("spec"));
    validate_meta(pod, true, dns_subdomain, errors);
    validate_finalizer_kinds(pod, errors);
    validate_annotations(pod, errors);
    validate_spec(spec, pod.at("metadata"), &path, Mode::Pod, errors);
    if spec.text("serviceAccountName").is_empty() {
        for (i, volume) in spec.list("volumes").iter().enumerate() {
            for (j, source) in volume.at("projected").list("sources").iter().enumerate() {
                if source.has("serviceAccountToken") {
                    let at = path
                        .child("volumes")
                        .index(i)
                        .child("projected")
                        .child("sources")
                        .index(j);
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.forbidden(&at.child("serviceAccountToken"), detail);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            containers::validate_pod_image(container, &path.child(list).index(i), errors);
        }
    }
}

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn validate_annotations(pod: &Value, errors: &mut Errors) {
    let annotations = pod.at("metadata").at("annotations");
    let path = Path::new("metadata").child("annotations");
    if annotations.has(MIRROR) && pod.at("spec").text("nodeName").is_empty() {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&path.key(MIRROR), annotations.text(MIRROR), detail);
    }
    if annotations.has(DELETION_COST) {
        let cost = annotations.text(DELETION_COST);
        let canonical =
            !cost.starts_with('+') && (cost == "0" || !cost.trim_start_matches('-').starts_with('0'));
        if !canonical || cost.parse::<i32>().is_err() {
            errors.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
}

/// Annotations that stay as they were once the pod exists.
fn validate_annotation_updates(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("metadata").child("annotations");
    let (new, old) = (
        new.at("metadata").at("annotations"),
        old.at("metadata").at("annotations"),
    );
    let guarded = |key: &str| key == MIRROR || key.starts_with(apparmor::ANNOTATION);
    let what = |key: &str| {
        if key == MIRROR {
            "mirror pod annotation"
        } else {
            "AppArmor annotations"
        }
    };
    for (key, value) in old.as_object().into_iter().flatten().filter(|(k, _)| guarded(k)) {
        if new.at(key) != value {
            errors.forbidden(&path.key(key), format!("may not remove or update {}", what(key)));
        }
    }
    for (key, _) in new.as_object().into_iter().flatten().filter(|(k, _)| guarded(k)) {
        if !old.has(key) {
            errors.forbidden(&path.key(key), format!("may not add {}", what(key)));
        }
    }
}
