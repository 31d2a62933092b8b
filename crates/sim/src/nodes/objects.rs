//! Node and Lease objects of simulated nodes.
use cluster::resource::{LEASES, NODES};
use cluster::{ApiError, Door, PatchKind, WriteReceipt};
use model::time::{Timestamp, rfc3339_micros, rfc3339_seconds};
use serde_json::{Value, json};

use super::NodesOptions;
use crate::kubelet::NodeState;

pub(super) const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The node with this number, before it has pods.
pub(super) fn state(options: &NodesOptions, number: usize) -> NodeState {
    let address = format!("10.240.{}.{}", number / 250, number % 250 + 1);
    // Addresses of pods repeat beyond 180 nodes; nothing routes to them.
    let network = format!("10.{}", 20 + number % 180);
    NodeState::new(format!("{}{number}", options.name_prefix), address, network)
}

/// Makes the Node and its Lease, or makes them ours again. What fails is told, and seen again at the next start.
pub(super) async fn register(door: &Door, options: &NodesOptions, node: &NodeState) {
    if let Err(error) = register_node(door, options, node).await {
        tracing::warn!(node = node.name, %error, "node not registered");
    }
    if options.heartbeats.is_some()
        && let Err(error) = register_lease(door, options, node).await
    {
        tracing::warn!(node = node.name, %error, "lease not made");
    }
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
    let Some(beats) = options.heartbeats else {
        return Ok(());
    };
    let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node.name, "namespace": LEASE_NAMESPACE},
        "spec": {"holderIdentity": node.name, "leaseDurationSeconds": beats.lease.as_secs(),
            "renewTime": rfc3339_micros(options.clock.now())}});
    match door.create(&LEASES, Some(LEASE_NAMESPACE), &body).await {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}

/// A lease's renewal, as a merge patch.
pub(super) fn renewal(now: Timestamp) -> Value {
    json!({"spec": {"renewTime": rfc3339_micros(now)}})
}
