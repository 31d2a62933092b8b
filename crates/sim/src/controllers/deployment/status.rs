//! A Deployment's status: counts, Available, Progressing.
use std::time::Duration;

use cluster::resource::DEPLOYMENTS;
use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Value, json};

use super::{Sets, Slack, status_count, total};
use crate::controllers::{Next, Object, Outcome, World};

pub(super) async fn write_status(world: &World, deployment: &Object, sets: &Sets, slack: &Slack) -> Outcome {
    let sum = |field: &str| -> usize {
        let all = sets.old.iter().chain(&sets.new);
        all.map(|set| status_count(set, field)).sum()
    };
    let wanted = deployment.replicas();
    let (replicas, available) = (sum("replicas"), sum("availableReplicas"));
    let updated = sets.new.as_ref().map_or(0, |set| status_count(set, "replicas"));
    let asked = total(&sets.old) + sets.new.as_ref().map_or(0, |set| set.replicas());
    let progress = Progress {
        complete: updated == wanted && replicas == wanted && available == wanted,
        changed: [
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
        ]
        .iter()
        .zip([replicas, updated, sum("readyReplicas"), available])
        .any(|(field, now)| status_count(deployment, field) != now),
        new_set: sets.new.as_ref().map(|set| set.meta.name.clone()),
        enough: available + slack.unavailable.min(wanted) >= wanted,
    };
    let now = world.clock.now();
    let (conditions, next) = progress.conditions(deployment, now);
    let status = json!({
        "observedGeneration": deployment.meta.generation,
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": sum("readyReplicas"),
        "availableReplicas": available,
        "terminatingReplicas": sum("terminatingReplicas"),
        "unavailableReplicas": asked.saturating_sub(available),
        "conditions": conditions,
    });
    world
        .write_status(&world.deployments, &DEPLOYMENTS, deployment, status)
        .await?;
    Ok(next.map_or(Next::Quiet, Next::At))
}

struct Progress {
    complete: bool,
    changed: bool,
    enough: bool,
    new_set: Option<String>,
}

impl Progress {
    /// Available and Progressing, and when the progress deadline passes.
    fn conditions(&self, deployment: &Object, now: Timestamp) -> (Value, Option<Timestamp>) {
        let before = |kind: &str| {
            let all = deployment.status()["conditions"].as_array();
            all.and_then(|all| all.iter().find(|c| c["type"] == kind))
                .cloned()
        };
        let make = |kind: &str, status: &str, reason: &str, message: String, fresh: bool| {
            let known = before(kind).filter(|c| c["status"] == status);
            let now = json!(rfc3339_seconds(now));
            let since = known
                .as_ref()
                .map_or(now.clone(), |c| c["lastTransitionTime"].clone());
            let same = known.filter(|c| c["reason"] == reason && !fresh);
            let updated = same.map_or(now, |c| c["lastUpdateTime"].clone());
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": since, "lastUpdateTime": updated})
        };
        let (status, reason, text) = if self.enough {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        let available = make("Available", status, reason, text.to_owned(), false);
        let set = self.new_set.clone().unwrap_or_default();
        let known = before("Progressing");
        let deadline = self.deadline(deployment, known.as_ref());
        let was_complete = known
            .as_ref()
            .is_some_and(|c| c["reason"] == "NewReplicaSetAvailable");
        let progressing = if deployment.spec()["paused"] == true {
            let text = "Deployment is paused".to_owned();
            make("Progressing", "Unknown", "DeploymentPaused", text, false)
        } else if self.complete {
            let text = format!("ReplicaSet \"{set}\" has successfully progressed.");
            make("Progressing", "True", "NewReplicaSetAvailable", text, false)
        } else if self.changed || known.is_none() {
            let text = format!("ReplicaSet \"{set}\" is progressing.");
            make("Progressing", "True", "ReplicaSetUpdated", text, true)
        } else if deadline.is_some_and(|at| at <= now) && !was_complete {
            let text = format!("ReplicaSet \"{set}\" has timed out progressing.");
            make("Progressing", "False", "ProgressDeadlineExceeded", text, false)
        } else {
            known.unwrap_or(Value::Null)
        };
        let next = deadline.filter(|at| !self.complete && *at > now);
        (json!([available, progressing]), next)
    }

    fn deadline(&self, deployment: &Object, known: Option<&Value>) -> Option<Timestamp> {
        let seconds = u64::try_from(deployment.count("progressDeadlineSeconds", 600)).ok()?;
        let updated: Timestamp = known?["lastUpdateTime"].as_str()?.parse().ok()?;
        updated.checked_add(Duration::from_secs(seconds)).ok()
    }
}
