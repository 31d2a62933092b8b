//! The node life cycle controller's part that scheduling needs: taints follow the Ready condition and
//! `spec.unschedulable`. (Admission taints every new node as not ready.)

use cluster::resource::NODES;
use cluster::{ObjectKey, PatchKind, WriteReceipt};
use serde_json::{Value, json};

use super::{Next, Outcome, World};
use crate::scheduler::Node;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

pub(super) async fn reconcile(world: &World, key: &ObjectKey) -> Outcome {
    let Some(node) = world.nodes.get(key) else {
        return Ok(Next::Quiet);
    };
    if !world.nodes.is_current_for(key) {
        return Ok(Next::Stale);
    }
    if wanted(&node)
        .iter()
        .all(|(taint, wanted)| has(&node, taint) == *wanted)
    {
        return Ok(Next::Quiet);
    }
    // The whole node: taints of others have fields that the cache leaves out.
    let found = world.door.get(&NODES, None, &node.metadata.name).await?;
    let mut taints: Vec<Value> = found["spec"]["taints"].as_array().cloned().unwrap_or_default();
    for (key, wanted) in wanted(&node) {
        taints.retain(|t| !(t["key"] == key && t["effect"] == "NoSchedule"));
        if wanted {
            taints.push(json!({"key": key, "effect": "NoSchedule"}));
        }
    }
    let patch = json!({
        "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
        "spec": {"taints": taints},
    });
    let receipt: WriteReceipt = world
        .door
        .patch_as(&NODES, None, &node.metadata.name, PatchKind::Merge, &patch, None)
        .await?;
    world.nodes.observe(&receipt);
    Ok(Next::Quiet)
}

fn wanted(node: &Node) -> [(&'static str, bool); 2] {
    [
        (NOT_READY, !node.is_ready()),
        (UNSCHEDULABLE, node.spec.unschedulable),
    ]
}

fn has(node: &Node, key: &str) -> bool {
    node.spec
        .taints
        .iter()
        .any(|t| t.key == key && t.effect == "NoSchedule")
}
