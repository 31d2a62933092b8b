//! Status of the workload kinds: counts that fit together.

use serde_json::Value;

use super::ResourceRef;
use super::workloads::non_negative;
use crate::path::{Errors, Path};
use crate::read::Read;

/// Status of the workload kinds: counts that fit together.
pub(super) fn validate_status(resource: &ResourceRef<'_>, new: &Value, old: &Value, errors: &mut Errors) {
    let (status, path) = (new.at("status"), Path::new("status"));
    let Some((counts, bounded)) = counted(resource) else {
        return;
    };
    non_negative(status, counts, &path, errors);
    let count = |field: &str| status.int(field).unwrap_or(0);
    for field in bounded.iter().filter(|f| count(f) > count("replicas")) {
        errors.invalid(
            &path.child(field),
            count(field),
            "cannot be greater than status.replicas",
        );
    }
    if !bounded.is_empty() && count("availableReplicas") > count("readyReplicas") {
        let full = if resource.resource == "statefulsets" {
            "status.readyReplicas"
        } else {
            "readyReplicas"
        };
        let detail = format!("cannot be greater than {full}");
        errors.invalid(
            &path.child("availableReplicas"),
            count("availableReplicas"),
            detail,
        );
    }
    let collisions = old.at("status").int("collisionCount");
    if collisions.is_some_and(|before| count("collisionCount") < before) {
        errors.invalid(
            &path.child("collisionCount"),
            count("collisionCount"),
            "cannot be decremented",
        );
    }
}

type Counts = &'static [&'static str];

/// The fields that count, and those of them that are no more than the replicas.
fn counted(resource: &ResourceRef<'_>) -> Option<(Counts, Counts)> {
    let fields: (Counts, Counts) = match (resource.group, resource.resource) {
        ("apps", "deployments") => (
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
        ),
        ("apps", "replicasets") => (
            &[
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "observedGeneration",
            ],
            &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        ),
        ("apps", "statefulsets") => (
            &[
                "replicas",
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
                "observedGeneration",
                "collisionCount",
            ],
            &[
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
            ],
        ),
        ("apps", "daemonsets") => (
            &[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
                "observedGeneration",
                "updatedNumberScheduled",
                "numberAvailable",
                "numberUnavailable",
                "collisionCount",
            ],
            &[],
        ),
        ("policy", "poddisruptionbudgets") => (
            &[
                "disruptionsAllowed",
                "currentHealthy",
                "desiredHealthy",
                "expectedPods",
            ],
            &[],
        ),
        _ => return None,
    };
    Some(fields)
}
