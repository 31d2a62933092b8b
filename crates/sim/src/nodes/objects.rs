//! Node and Lease objects of simulated nodes.
use std::time::Duration;

use cluster::resource::{LEASES, NODES};
use cluster::{ApiError, Door, PatchKind, WriteReceipt};
use model::time::{Timestamp, rfc3339_micros, rfc3339_seconds};
use serde_json::{Value, json};

use super::{Heartbeats, NodesOptions};
use crate::kubelet::NodeState;

const LEASE_NAMESPACE: &str = "kube-node-lease";
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// The node with this number, before it has pods.
pub(super) fn state(options: &NodesOptions, number: usize) -> NodeState {
    let address = format!("10.240.{}.{}", number / 250, number % 250 + 1);
    // Addresses of pods repeat beyond 180 nodes; nothing routes to them.
    let network = format!("10.{}", 20 + number % 180);
    NodeState::new(format!("{}{number}", options.name_prefix), address, network)
}

/// Makes the Node and its Lease, or makes them ours again, as a kubelet does: again and again. What fails for long is
/// told, and tried again at the next start.
pub(super) async fn register(door: &Door, options: &NodesOptions, node: &NodeState) {
    for left in (0..TRIES).rev() {
        match register_once(door, options, node).await {
            Ok(()) => return,
            Err(error) if left == 0 => tracing::warn!(node = node.name, %error, "not registered"),
            Err(_) => tokio::time::sleep(BETWEEN_TRIES).await,
        }
    }
}

async fn register_once(door: &Door, options: &NodesOptions, node: &NodeState) -> Result<(), ApiError> {
    register_node(door, options, node).await?;
    register_lease(door, options, node).await
}

async fn register_node(door: &Door, options: &NodesOptions, node: &NodeState) -> Result<(), ApiError> {
    let mut labels = json!({
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": node.name,
        "kubernetes.io/os": "linux",
        "sim.tidegate.dev/node": "true",
    });
    for (key, value) in &options.labels {
        labels[key] = json!(value);
    }
    let status = status(options, node);
    let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name, "labels": labels},
        "spec": {"taints": options.taints}, "status": status});
    match door.create(&NODES, None, &body).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() => {
            let body = json!({"status": status});
            let kind = PatchKind::Strategic;
            let _: WriteReceipt = door
                .patch_as(&NODES, None, &node.name, kind, &body, Some("status"))
                .await?;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn status(options: &NodesOptions, node: &NodeState) -> Value {
    let now = rfc3339_seconds(options.clock.now());
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    let resources = json!({"cpu": options.cpu, "memory": options.memory, "pods": options.pods.to_string(),
        "ephemeral-storage": "1Ti"});
    json!({
        "addresses": [{"type": "InternalIP", "address": node.address}, {"type": "Hostname", "address": node.name}],
        "capacity": resources, "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "nodeInfo": {"architecture": "amd64", "bootID": "", "containerRuntimeVersion": "containerd://2.2.9",
            "kernelVersion": "6.18.0", "kubeProxyVersion": "", "kubeletVersion": options.kubelet_version,
            "machineID": "", "operatingSystem": "linux", "osImage": "simulated", "systemUUID": ""},
    })
}

async fn register_lease(door: &Door, options: &NodesOptions, node: &NodeState) -> Result<(), ApiError> {
    match options.heartbeats {
        Some(beats) => make_lease(door, &node.name, beats, options.clock.now()).await,
        None => Ok(()),
    }
}

async fn make_lease(door: &Door, node: &str, beats: Heartbeats, now: Timestamp) -> Result<(), ApiError> {
    let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": node, "leaseDurationSeconds": beats.lease.as_secs(),
            "renewTime": rfc3339_micros(now)}});
    match door.create(&LEASES, Some(LEASE_NAMESPACE), &body).await {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}

/// Renews a node's lease; one that is gone is made again.
pub(super) async fn renew(
    door: &Door,
    node: &str,
    beats: Heartbeats,
    now: Timestamp,
) -> Result<(), ApiError> {
    let body = json!({"spec": {"renewTime": rfc3339_micros(now)}});
    let answer: Result<WriteReceipt, _> = door
        .patch_as(
            &LEASES,
            Some(LEASE_NAMESPACE),
            node,
            PatchKind::Merge,
            &body,
            None,
        )
        .await;
    match answer {
        Err(error) if error.is_not_found() => make_lease(door, node, beats, now).await,
        answer => answer.map(drop),
    }
}
