//! PodDisruptionBudgets: how many of the selected pods may be evicted now.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::ObjectKey;
use cluster::resource::POD_DISRUPTION_BUDGETS;
use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Map, Value, json};

use super::rollout::resolve;
use super::{Next, Object, Outcome, World};
use crate::labels::selects;
use crate::pod::Pod;

/// An evicted pod that is still there after this long is believed to stay.
const EVICTION_TAKES: Duration = Duration::from_secs(120);

pub(super) async fn reconcile(world: &World, budget: &Object) -> Outcome {
    let pods: Vec<Arc<Pod>> = world
        .pods
        .snapshot()
        .in_namespace(&budget.meta.namespace)
        .filter(|(_, pod)| selects(&budget.spec()["selector"], &pod.metadata.labels))
        .map(|(_, pod)| pod.clone())
        .collect();
    let now = world.clock.now();
    let (expected, desired) = match demand(world, budget, &pods) {
        Ok(demand) => demand,
        Err(message) => {
            let condition = condition(budget, "SyncFailed", &message, now);
            let status = json!({"disruptionsAllowed": 0, "observedGeneration": budget.meta.generation,
                "conditions": [condition]});
            write(world, budget, status).await?;
            return Ok(Next::Quiet);
        }
    };
    let (evicted, next) = still_going(budget, &pods, now);
    let healthy = |pod: &&Arc<Pod>| {
        pod.metadata.deletion_timestamp.is_none()
            && !evicted.contains_key(&pod.metadata.name)
            && pod.is_ready()
    };
    let healthy = pods.iter().filter(healthy).count();
    let allowed = if expected == 0 {
        0
    } else {
        healthy.saturating_sub(desired)
    };
    let reason = if allowed > 0 {
        "SufficientPods"
    } else {
        "InsufficientPods"
    };
    let mut status = json!({
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "disruptionsAllowed": allowed,
        "observedGeneration": budget.meta.generation,
        "conditions": [condition(budget, reason, "", now)],
    });
    let before = budget.status()["disruptedPods"].as_object();
    let settled: Map<String, Value> = before
        .into_iter()
        .flatten()
        .filter(|(name, _)| !evicted.contains_key(*name))
        .map(|(name, _)| (name.clone(), Value::Null))
        .collect();
    if !settled.is_empty() {
        // In a merge patch null takes an entry out.
        status["disruptedPods"] = if evicted.is_empty() {
            Value::Null
        } else {
            json!(settled)
        };
    }
    write(world, budget, status).await?;
    Ok(next.map_or(Next::Quiet, Next::At))
}

/// How many pods there should be, and how many of them healthy.
fn demand(world: &World, budget: &Object, pods: &[Arc<Pod>]) -> Result<(usize, usize), String> {
    let (most, least) = (&budget.spec()["maxUnavailable"], &budget.spec()["minAvailable"]);
    if !most.is_null() {
        let expected = expected_scale(world, pods)?;
        return Ok((
            expected,
            expected.saturating_sub(resolve(most, "0", expected, true)),
        ));
    }
    if least.is_string() {
        let expected = expected_scale(world, pods)?;
        return Ok((expected, resolve(least, "0", expected, true)));
    }
    Ok((pods.len(), resolve(least, "0", pods.len(), true)))
}

/// The replicas of everything that controls these pods. Pods that nobody controls do not count.
fn expected_scale(world: &World, pods: &[Arc<Pod>]) -> Result<usize, String> {
    let mut scales: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.metadata.controller() else {
            continue;
        };
        if scales.contains_key(&owner.uid) {
            continue;
        }
        let key = ObjectKey::new(&pod.metadata.namespace, &owner.name);
        let found = match owner.kind.as_str() {
            "StatefulSet" => world.stateful_sets.get(&key),
            "ReplicaSet" => world.replica_sets.get(&key),
            _ => None,
        };
        let found = found.filter(|set| set.meta.uid == owner.uid);
        let Some(set) = found else {
            return Err(format!("found no controllers for pod {:?}", pod.metadata.name));
        };
        // A Deployment stands for its sets: while it rolls, they ask for more than it does.
        let above = set.meta.controller().filter(|above| above.kind == "Deployment");
        let deployment = above.and_then(|above| {
            let key = ObjectKey::new(&pod.metadata.namespace, &above.name);
            world.deployments.get(&key).filter(|d| d.meta.uid == above.uid)
        });
        let scaled = deployment.unwrap_or(set);
        scales.insert(owner.uid.clone(), 0);
        scales.insert(scaled.meta.uid.clone(), scaled.replicas());
    }
    Ok(scales.values().sum())
}

/// Evictions that were granted and have not shown yet, and when the first is given up.
fn still_going(
    budget: &Object,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (Map<String, Value>, Option<Timestamp>) {
    let (mut going, mut next) = (Map::new(), None);
    let granted = budget.status()["disruptedPods"].as_object();
    for (name, at) in granted.into_iter().flatten() {
        let there = pods.iter().find(|pod| pod.metadata.name == *name);
        let gives_up = at
            .as_str()
            .and_then(|at| at.parse::<Timestamp>().ok())
            .map(|at| at + EVICTION_TAKES);
        let Some(gives_up) = gives_up.filter(|at| *at > now) else {
            continue;
        };
        if there.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()) {
            going.insert(name.clone(), at.clone());
            next = Some(next.map_or(gives_up, |next: Timestamp| next.min(gives_up)));
        }
    }
    (going, next)
}

fn condition(budget: &Object, reason: &str, message: &str, now: Timestamp) -> Value {
    let status = if reason == "SufficientPods" {
        "True"
    } else {
        "False"
    };
    let all = budget.status()["conditions"].as_array();
    let known = all.and_then(|all| all.iter().find(|c| c["type"] == "DisruptionAllowed"));
    let since = known.filter(|c| c["status"] == status);
    let since = since.map_or_else(
        || json!(rfc3339_seconds(now)),
        |c| c["lastTransitionTime"].clone(),
    );
    json!({"type": "DisruptionAllowed", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since, "observedGeneration": budget.meta.generation})
}

async fn write(world: &World, budget: &Object, status: Value) -> Result<(), cluster::ApiError> {
    world
        .write_status(&world.budgets, &POD_DISRUPTION_BUDGETS, budget, status)
        .await
}
