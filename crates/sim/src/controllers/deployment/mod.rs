//! Deployments: a ReplicaSet per template, the newest scaled up while the others go.
mod status;

use std::sync::Arc;

use cluster::resource::{DEPLOYMENTS, REPLICA_SETS};
use cluster::{ApiError, DeleteOptions};
use serde_json::json;

use super::revision::{hash, without_label};
use super::rollout::resolve;
use super::{Next, Object, Outcome, World};

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

struct Sets {
    new: Option<Arc<Object>>,
    old: Vec<Arc<Object>>,
}

/// How many more, and how many fewer, there may be for a while.
struct Slack {
    surge: usize,
    unavailable: usize,
}

pub(super) async fn reconcile(world: &World, deployment: &Object) -> Outcome {
    let Some(claimed) = world.claim_sets(deployment).await? else {
        return Ok(Next::Stale);
    };
    let sets = sets_of(deployment, claimed);
    let paused = deployment.spec()["paused"] == true;
    let recreate = deployment.spec()["strategy"]["type"] == "Recreate";
    let slack = slack(deployment);
    let mut wait_for_old = false;
    if !paused && recreate {
        for old in sets.old.iter().filter(|old| old.replicas() > 0) {
            scale(world, deployment, old, 0, &slack).await?;
        }
        let alive = |old: &Arc<Object>| world.pods_of(old).iter().any(|pod| !pod.is_finished());
        wait_for_old = sets.old.iter().any(alive);
    }
    match &sets.new {
        None if !paused && !wait_for_old => {
            create_set(world, deployment, &sets, recreate, &slack).await?;
        }
        Some(new) => {
            keep_revision(world, deployment, new, &sets.old).await?;
            if paused {
                scale_paused(world, deployment, new, &sets, &slack).await?;
            } else if recreate {
                if !wait_for_old {
                    scale(world, deployment, new, deployment.replicas(), &slack).await?;
                }
            } else {
                roll(world, deployment, new, &sets.old, &slack).await?;
            }
            clean_up(world, deployment, &sets.old).await?;
        }
        None => {}
    }
    status::write_status(world, deployment, &sets, &slack).await
}

fn slack(deployment: &Object) -> Slack {
    let rolling = &deployment.spec()["strategy"]["rollingUpdate"];
    let total = deployment.replicas();
    let surge = resolve(&rolling["maxSurge"], "25%", total, true);
    let mut unavailable = resolve(&rolling["maxUnavailable"], "25%", total, false).min(total);
    if deployment.spec()["strategy"]["type"] == "Recreate" {
        return Slack {
            surge: 0,
            unavailable: 0,
        };
    }
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    Slack { surge, unavailable }
}

fn sets_of(deployment: &Object, mut all: Vec<Arc<Object>>) -> Sets {
    let template = &deployment.spec()["template"];
    all.retain(|set| set.meta.deletion_timestamp.is_none());
    all.sort_by(|a, b| {
        (a.meta.creation_timestamp, &a.meta.name).cmp(&(b.meta.creation_timestamp, &b.meta.name))
    });
    let is_new = |set: &Arc<Object>| without_label(&set.spec()["template"], HASH_LABEL) == *template;
    let new = all.iter().position(is_new).map(|at| all.remove(at));
    Sets { new, old: all }
}

fn revision_of(set: &Object) -> i64 {
    set.annotations
        .get(REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn total(sets: &[Arc<Object>]) -> usize {
    sets.iter().map(|set| set.replicas()).sum()
}

fn status_count(set: &Object, field: &str) -> usize {
    set.status()[field]
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(0)
}

async fn create_set(
    world: &World,
    deployment: &Object,
    sets: &Sets,
    recreate: bool,
    slack: &Slack,
) -> Result<(), ApiError> {
    let collisions = deployment.status()["collisionCount"].as_i64().unwrap_or(0);
    let mut template = deployment.spec()["template"].clone();
    let hash = hash(&template, collisions);
    template["metadata"]["labels"][HASH_LABEL] = json!(hash);
    let mut selector = deployment.spec()["selector"].clone();
    selector["matchLabels"][HASH_LABEL] = json!(hash);
    let wanted = deployment.replicas();
    let replicas = if recreate {
        wanted
    } else {
        wanted.min((wanted + slack.surge).saturating_sub(total(&sets.old)))
    };
    let revision = sets.old.iter().map(|set| revision_of(set)).max().unwrap_or(0) + 1;
    let name = format!("{}-{hash}", deployment.meta.name);
    let mut annotations = json!({REVISION: revision.to_string(), DESIRED: wanted.to_string(),
        MAX: (wanted + slack.surge).to_string()});
    if let Some(cause) = deployment.annotations.get("kubernetes.io/change-cause") {
        annotations["kubernetes.io/change-cause"] = json!(cause);
    }
    let body = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": deployment.meta.namespace, "labels": template["metadata"]["labels"],
            "annotations": annotations, "ownerReferences": [deployment.as_owner()]},
        "spec": {"replicas": replicas, "minReadySeconds": deployment.count("minReadySeconds", 0),
            "selector": selector, "template": template}});
    let (cache, ns) = (&world.replica_sets, &deployment.meta.namespace);
    world.create(cache, &REPLICA_SETS, ns, &body).await?;
    annotate(world, deployment, revision).await
}

/// The newest set has the highest revision, also when it is an older one again.
async fn keep_revision(
    world: &World,
    deployment: &Object,
    new: &Arc<Object>,
    old: &[Arc<Object>],
) -> Result<(), ApiError> {
    let highest = old.iter().map(|set| revision_of(set)).max().unwrap_or(0);
    let mut revision = revision_of(new);
    if revision <= highest {
        let mut annotations = json!({REVISION: (highest + 1).to_string()});
        if revision > 0 {
            let had = new
                .annotations
                .get(HISTORY)
                .map(|had| format!("{had},"))
                .unwrap_or_default();
            annotations[HISTORY] = json!(format!("{had}{revision}"));
        }
        revision = highest + 1;
        let body = json!({"metadata": {"annotations": annotations}});
        world
            .patch(&world.replica_sets, &REPLICA_SETS, new, &body, None)
            .await?;
    }
    annotate(world, deployment, revision).await
}

async fn annotate(world: &World, deployment: &Object, revision: i64) -> Result<(), ApiError> {
    if revision_of(deployment) == revision {
        return Ok(());
    }
    let body = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}});
    world
        .patch(&world.deployments, &DEPLOYMENTS, deployment, &body, None)
        .await
}

async fn scale(
    world: &World,
    deployment: &Object,
    set: &Object,
    to: usize,
    slack: &Slack,
) -> Result<(), ApiError> {
    let desired = deployment.replicas();
    let annotation = set.annotations.get(DESIRED);
    let known = annotation.is_some_and(|text| *text == desired.to_string());
    if set.replicas() == to && (known || to == 0) {
        return Ok(());
    }
    let body = json!({"metadata": {"uid": set.meta.uid, "resourceVersion": set.meta.resource_version,
            "annotations": {DESIRED: desired.to_string(), MAX: (desired + slack.surge).to_string()}},
        "spec": {"replicas": to}});
    world
        .patch(&world.replica_sets, &REPLICA_SETS, set, &body, None)
        .await
}

/// While paused only the number of replicas follows: it goes to the newest set that has any.
async fn scale_paused(
    world: &World,
    deployment: &Object,
    new: &Arc<Object>,
    sets: &Sets,
    slack: &Slack,
) -> Result<(), ApiError> {
    let all = total(&sets.old) + new.replicas();
    if all == deployment.replicas() || total(&sets.old) > 0 {
        return Ok(());
    }
    scale(world, deployment, new, deployment.replicas(), slack).await
}

/// One turn of a rolling update: up within the surge, then down within what may be unavailable.
async fn roll(
    world: &World,
    deployment: &Object,
    new: &Arc<Object>,
    old: &[Arc<Object>],
    slack: &Slack,
) -> Result<(), ApiError> {
    let wanted = deployment.replicas();
    let all = total(old) + new.replicas();
    let limit = wanted + slack.surge;
    let up = if new.replicas() >= wanted {
        wanted
    } else {
        wanted.min(new.replicas() + limit.saturating_sub(all))
    };
    if up != new.replicas() {
        return scale(world, deployment, new, up, slack).await;
    }
    scale(world, deployment, new, up, slack).await?;
    let least = wanted - slack.unavailable.min(wanted);
    let new_unavailable = new
        .replicas()
        .saturating_sub(status_count(new, "availableReplicas"));
    let mut may_go = all.saturating_sub(least + new_unavailable);
    // What is not available hurts nobody.
    let mut left: Vec<usize> = old.iter().map(|set| set.replicas()).collect();
    for (set, left) in old.iter().zip(&mut left) {
        let broken = left.saturating_sub(status_count(set, "availableReplicas"));
        let down = broken.min(may_go);
        *left -= down;
        may_go -= down;
    }
    let available: usize = old
        .iter()
        .chain([new])
        .map(|set| status_count(set, "availableReplicas"))
        .sum();
    let mut healthy = available.saturating_sub(least);
    for (set, left) in old.iter().zip(&mut left) {
        let down = (*left)
            .min(healthy)
            .min(status_count(set, "availableReplicas"))
            .min(may_go);
        *left -= down;
        healthy -= down;
        may_go -= down;
        if *left != set.replicas() {
            scale(world, deployment, set, *left, slack).await?;
        }
    }
    Ok(())
}

/// Empty sets beyond the history limit go, oldest revision first.
async fn clean_up(world: &World, deployment: &Object, old: &[Arc<Object>]) -> Result<(), ApiError> {
    let limit = usize::try_from(deployment.count("revisionHistoryLimit", 10)).unwrap_or(10);
    let mut empty: Vec<_> = old
        .iter()
        .filter(|set| set.replicas() == 0 && status_count(set, "replicas") == 0)
        .collect();
    empty.sort_by_key(|set| revision_of(set));
    for set in empty.iter().take(empty.len().saturating_sub(limit)) {
        let (key, options) = (set.meta.key(), DeleteOptions::of_uid(&set.meta.uid));
        let answer = world
            .door
            .delete(&REPLICA_SETS, key.namespace(), &key.name, &options)
            .await;
        match answer {
            Ok(deleted) => world.replica_sets.observe_delete(&key, &set.meta.uid, &deleted),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
