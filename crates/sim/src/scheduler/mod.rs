//! A scheduler: binds pods to nodes that fit, the emptiest for its owner first.
//!
//! Fit: not cordoned, ready, taints tolerated, node selector and required node affinity, required anti-affinity
//! by host name, cpu, memory and number of pods. What does not fit is marked Unschedulable and tried again when
//! a node changes or a pod goes.
mod fit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cluster::resource::PODS;
use cluster::{ApiError, Cache, Door, ObjectKey, PatchKind, WriteReceipt};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use model::time::{Clock, rfc3339_seconds};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::controllers::{Object, Shared};
use crate::pod::Pod;
pub use fit::Node;
pub(crate) use fit::wanted_by_pod;
use fit::{Demand, Placed};

const IN_FLIGHT: usize = 64;
/// A pod whose binding was refused, for whatever reason, is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
const NAME: &str = "default-scheduler";

struct Scheduler {
    door: Door,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    claims: Cache<Object>,
    clock: Arc<dyn Clock>,
    /// Pods on nodes, also those whose binding we sent and have not seen yet.
    placed: BTreeMap<ObjectKey, Placed>,
    /// What each node carries.
    carries: BTreeMap<String, Demand>,
    /// How many pods of one owner each node carries.
    owners: BTreeMap<(String, String), u32>,
    waiting: BTreeSet<ObjectKey>,
    bindings: FuturesUnordered<BoxFuture<'static, (ObjectKey, Result<(), ApiError>)>>,
    /// Pods whose binding was refused, until they are tried again.
    refused: FuturesUnordered<BoxFuture<'static, ObjectKey>>,
}

/// Schedules until `shutdown`.
pub async fn run(door: Door, shared: Shared, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
    let mut this = Scheduler {
        door,
        pods: shared.pods,
        nodes: shared.nodes,
        claims: shared.claims,
        clock,
        placed: BTreeMap::new(),
        carries: BTreeMap::new(),
        owners: BTreeMap::new(),
        waiting: BTreeSet::new(),
        bindings: FuturesUnordered::new(),
        refused: FuturesUnordered::new(),
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = this.play() => {}
    }
}

impl Scheduler {
    async fn play(&mut self) {
        self.nodes.synced().await;
        self.claims.synced().await;
        let mut pods = self.pods.changes();
        let mut nodes = self.nodes.changes();
        let mut claims = self.claims.changes();
        // What waits is tried when something may have changed; a turn in which nothing fits ends it.
        let mut worth_trying = BTreeSet::new();
        loop {
            while self.bindings.len() < IN_FLIGHT {
                let Some(key) = worth_trying.pop_first() else {
                    break;
                };
                self.place(&key);
            }
            tokio::select! {
                biased;
                Some((key, answer)) = self.bindings.next(), if !self.bindings.is_empty() => {
                    self.bound(&key, answer);
                }
                Some(key) = self.refused.next(), if !self.refused.is_empty() => {
                    worth_trying.insert(key);
                }
                key = pods.next() => {
                    let Some(key) = key else { return };
                    if self.notice(&key) {
                        worth_trying.extend(self.waiting.iter().cloned());
                    }
                    if self.waiting.contains(&key) {
                        worth_trying.insert(key);
                    }
                }
                changed = async { tokio::select! { biased; key = nodes.next() => key, key = claims.next() => key } } => {
                    if changed.is_none() {
                        return;
                    }
                    worth_trying.extend(self.waiting.iter().cloned());
                }
            }
        }
    }

    /// Keeps the books; whether room was made.
    fn notice(&mut self, key: &ObjectKey) -> bool {
        let pod = self.pods.get(key);
        let pod = pod.filter(|pod| !pod.is_finished());
        let Some(pod) = pod else {
            self.waiting.remove(key);
            return self.forget(key);
        };
        if self
            .placed
            .get(key)
            .is_some_and(|placed| placed.uid != pod.metadata.uid)
        {
            self.forget(key);
        }
        if !pod.spec.node_name.is_empty() {
            self.waiting.remove(key);
            self.carry(key, &pod, &pod.spec.node_name);
        } else if is_ours(&pod) && !self.placed.contains_key(key) {
            self.waiting.insert(key.clone());
        } else {
            self.waiting.remove(key);
        }
        false
    }

    fn carry(&mut self, key: &ObjectKey, pod: &Pod, node: &str) {
        if self.placed.get(key).is_some_and(|placed| placed.node == node) {
            return;
        }
        self.forget(key);
        let placed = Placed::new(pod, node);
        self.carries
            .entry(node.to_owned())
            .or_default()
            .add(&placed.demand);
        *self
            .owners
            .entry((placed.owner.clone(), node.to_owned()))
            .or_default() += 1;
        self.placed.insert(key.clone(), placed);
    }

    fn forget(&mut self, key: &ObjectKey) -> bool {
        let Some(placed) = self.placed.remove(key) else {
            return false;
        };
        if let Some(carries) = self.carries.get_mut(&placed.node) {
            carries.subtract(&placed.demand);
        }
        let of_owner = (placed.owner, placed.node);
        if let Some(count) = self.owners.get_mut(&of_owner) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&of_owner);
            }
        }
        true
    }

    fn place(&mut self, key: &ObjectKey) {
        let Some(pod) = self.pods.get(key).filter(|_| self.waiting.contains(key)) else {
            return;
        };
        let nodes = self.nodes.snapshot();
        if let Some(reason) = self.awaits_volume(key, &pod) {
            return self.explain(key, &pod, nodes.len(), &reason);
        }
        let placed = Placed::new(&pod, "");
        let mut reasons = BTreeMap::new();
        let mut best: Option<(u32, i128, &str)> = None;
        for node in nodes.values() {
            let empty = Demand::default();
            let carries = self.carries.get(&node.metadata.name).unwrap_or(&empty);
            let neighbours = || {
                self.placed
                    .iter()
                    .filter(|(_, p)| p.node == node.metadata.name)
                    .filter_map(|(key, _)| self.pods.get(key))
            };
            if let Some(reason) = fit::misfit(&pod, &placed.demand, node, carries, neighbours) {
                *reasons.entry(reason).or_insert(0u32) += 1;
                continue;
            }
            let of_owner = (placed.owner.clone(), node.metadata.name.clone());
            let peers = self.owners.get(&of_owner).copied().unwrap_or(0);
            let score = (peers, carries.share_of(node), node.metadata.name.as_str());
            if best.is_none_or(|best| score < best) {
                best = Some(score);
            }
        }
        match best {
            Some((_, _, node)) => self.bind(key, &pod, node.to_owned()),
            None => {
                let parts: Vec<_> = reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
                self.explain(key, &pod, nodes.len(), &parts.join(", "));
            }
        }
    }

    /// A claim of the pod that has no volume yet.
    fn awaits_volume(&self, key: &ObjectKey, pod: &Pod) -> Option<String> {
        pod.spec.volumes.iter().find_map(|volume| {
            let name = &volume.persistent_volume_claim.as_ref()?.claim_name;
            match self.claims.get(&ObjectKey::new(&key.namespace, name)) {
                None => Some(format!("persistentvolumeclaim {name:?} not found")),
                Some(claim) if claim.status()["phase"] == "Bound" => None,
                Some(_) => Some("pod has unbound immediate PersistentVolumeClaims".to_owned()),
            }
        })
    }

    fn bind(&mut self, key: &ObjectKey, pod: &Pod, node: String) {
        self.waiting.remove(key);
        self.carry(key, pod, &node);
        let door = self.door.clone();
        let key = key.clone();
        let body = json!({"apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
        self.bindings.push(Box::pin(async move {
            let answer = door
                .create_subresource(&PODS, key.namespace(), &key.name, "binding", &body)
                .await;
            (key, answer.map(drop))
        }));
    }

    fn bound(&mut self, key: &ObjectKey, answer: Result<(), ApiError>) {
        let Err(error) = answer else { return };
        tracing::debug!(pod = %key, %error, "not bound");
        // Whatever it was: what the cache says now decides, and what it says when the pod is tried again.
        self.forget(key);
        self.notice(key);
        let key = key.clone();
        self.refused.push(Box::pin(async move {
            tokio::time::sleep(RETRY).await;
            key
        }));
    }

    /// Tells why it waits, if that is not told already.
    fn explain(&mut self, key: &ObjectKey, pod: &Pod, nodes: usize, reasons: &str) {
        let message = if nodes == 0 {
            "no nodes available to schedule pods".to_owned()
        } else {
            format!("0/{nodes} nodes are available: {reasons}.")
        };
        let known = pod.condition("PodScheduled");
        if known.is_some_and(|c| c.reason == "Unschedulable" && c.message == message) {
            return;
        }
        let since = known
            .filter(|c| c.status == "False")
            .and_then(|c| c.last_transition_time)
            .unwrap_or_else(|| self.clock.now());
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": message, "lastProbeTime": null, "lastTransitionTime": rfc3339_seconds(since),
            "observedGeneration": pod.metadata.generation});
        let body = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let door = self.door.clone();
        let key = key.clone();
        self.bindings.push(Box::pin(async move {
            let (ns, name, kind) = (key.namespace(), key.name.as_str(), PatchKind::Strategic);
            let answer: Result<WriteReceipt, _> =
                door.patch_as(&PODS, ns, name, kind, &body, Some("status")).await;
            if let Err(error) = answer {
                tracing::debug!(pod = %key, %error, "not marked unschedulable");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (key, Ok(()))
        }));
    }
}

fn is_ours(pod: &Pod) -> bool {
    let name = pod.spec.scheduler_name.as_str();
    pod.metadata.deletion_timestamp.is_none()
        && pod.spec.scheduling_gates.is_empty()
        && (name.is_empty() || name == NAME)
}
