//! DaemonSets: a pod on every node that wants one.
mod rollout;

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::resource::DAEMON_SETS;
use serde_json::{Value, json};

use super::pods::{Counts, pod_of};
use super::revision::{Revision, forget_old, revisions};
use super::{Next, Object, Outcome, World};
use crate::pod::Pod;
use crate::scheduler::{Node, wanted_by_pod};

const HASH: &str = "controller-revision-hash";
/// Taints that a daemon's pods put up with: the node's own troubles.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

pub(super) async fn reconcile(world: &World, set: &Object) -> Outcome {
    let Some(all) = revisions(world, set).await? else {
        return Ok(Next::Stale);
    };
    let Some(update) = all.last() else {
        return Ok(Next::Quiet);
    };
    let mut by_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    let Some(pods) = world.claim_pods(set, |_| true).await? else {
        return Ok(Next::Stale);
    };
    for pod in pods {
        by_node.entry(target(&pod)).or_default().push(pod);
    }
    let nodes = world.nodes.snapshot();
    let model = model_pod(set, &update.template);
    let wanted: Vec<&str> = nodes
        .values()
        .filter(|node| belongs(&model, node))
        .map(|node| node.metadata.name.as_str())
        .collect();
    let turn = rollout::turn(set, update, &wanted, &by_node, world.clock.now());
    let make = turn.make.iter().map(|node| pod_for(world, set, update, node));
    world.create_pods(set, make.collect()).await?;
    world.delete_pods(turn.remove).await?;
    let next = write_status(world, set, update, &wanted, &by_node).await?;
    let in_use: Vec<_> = by_node
        .values()
        .flatten()
        .filter_map(|pod| pod.metadata.labels.get(HASH))
        .collect();
    let in_use: Vec<_> = all
        .iter()
        .filter(|revision| revision.number == update.number || in_use.contains(&&revision.hash))
        .map(|revision| revision.name.as_str())
        .collect();
    forget_old(world, set, &all, &in_use).await?;
    Ok(next)
}

/// The node a pod is on, or made for.
fn target(pod: &Pod) -> String {
    if !pod.spec.node_name.is_empty() {
        return pod.spec.node_name.clone();
    }
    let path = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values/0";
    let name = pod.spec.affinity.pointer(path).and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

fn tolerations(template: &Value) -> Value {
    let mut all = template["spec"]["tolerations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for (key, effect) in TOLERATED {
        let toleration = json!({"key": key, "operator": "Exists", "effect": effect});
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    Value::Array(all)
}

/// A pod of the template as the scheduler would see it.
fn model_pod(set: &Object, template: &Value) -> Pod {
    let mut body = pod_of(set, template, "model", &[]);
    body["spec"]["tolerations"] = tolerations(template);
    serde_json::from_value(body).unwrap_or_default()
}

fn belongs(model: &Pod, node: &Node) -> bool {
    node.repels(&model.spec.tolerations).is_none() && wanted_by_pod(model, node)
}

fn pod_for(world: &World, set: &Object, revision: &Revision, node: &str) -> Value {
    let generation = set.annotations.get("deprecated.daemonset.template.generation");
    let generation = generation.map_or("1", String::as_str);
    let name = format!("{}-{}", set.meta.name, world.suffix());
    let labels = [
        (HASH, revision.hash.as_str()),
        ("pod-template-generation", generation),
    ];
    let mut pod = pod_of(set, &revision.template, &name, &labels);
    pod["spec"]["tolerations"] = tolerations(&revision.template);
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": terms});
    pod
}

async fn write_status(
    world: &World,
    set: &Object,
    update: &Revision,
    wanted: &[&str],
    by_node: &BTreeMap<String, Vec<Arc<Pod>>>,
) -> Outcome {
    let now = world.clock.now();
    let on = |node: &str| {
        // The oldest: while it is replaced, the node's daemon is still that one.
        let active = by_node.get(node)?.iter().filter(|pod| pod.is_active());
        active.min_by_key(|pod| pod.metadata.creation_timestamp)
    };
    let there: Vec<_> = wanted.iter().filter_map(|node| on(node)).collect();
    let counts = Counts::of(there.iter().copied(), set.count("minReadySeconds", 0), now);
    let updated = there
        .iter()
        .filter(|pod| pod.metadata.labels.get(HASH) == Some(&update.hash))
        .count();
    let misplaced = by_node
        .iter()
        .filter(|(node, pods)| !wanted.contains(&node.as_str()) && pods.iter().any(|pod| pod.is_active()))
        .count();
    let status = json!({
        "observedGeneration": set.meta.generation,
        "desiredNumberScheduled": wanted.len(),
        "currentNumberScheduled": there.len(),
        "numberMisscheduled": misplaced,
        "numberReady": counts.ready,
        "numberAvailable": counts.available,
        "numberUnavailable": wanted.len() - counts.available.min(wanted.len()),
        "updatedNumberScheduled": updated,
    });
    world
        .write_status(&world.daemon_sets, &DAEMON_SETS, set, status)
        .await?;
    Ok(counts.next.map_or(Next::Quiet, Next::At))
}
