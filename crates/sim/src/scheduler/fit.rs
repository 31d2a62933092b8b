//! Whether a pod fits a node.
use std::collections::BTreeMap;

use cluster::{ObjectKey, Watched};
use serde::Deserialize;
use serde_json::Value;

use crate::labels::{expression, selects};
use crate::pod::{Condition, Container, Meta, Pod, Toleration};
use crate::quantity::milli;

/// What scheduling needs of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpec {
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatus {
    pub allocatable: BTreeMap<String, String>,
    pub conditions: Vec<Condition>,
}

impl Node {
    pub fn is_ready(&self) -> bool {
        self.status
            .conditions
            .iter()
            .any(|c| c.kind == "Ready" && c.status == "True")
    }

    fn allocatable(&self, resource: &str) -> i128 {
        self.status
            .allocatable
            .get(resource)
            .and_then(|q| milli(q))
            .unwrap_or(0)
    }

    /// The first taint that keeps this pod away.
    pub fn repels(&self, tolerations: &[Toleration]) -> Option<&Taint> {
        let hard = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
        self.spec
            .taints
            .iter()
            .filter(hard)
            .find(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
    }
}

impl Watched for Node {
    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn uid(&self) -> &str {
        &self.metadata.uid
    }
}

/// What a pod asks for, or a node carries, in thousandths.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand {
    cpu: i128,
    memory: i128,
    pods: i128,
}

impl Demand {
    fn of(pod: &Pod) -> Self {
        let sum = |resource: &str| {
            let ask = |c: &Container| {
                let found = c.resources.get("requests").and_then(|r| r.get(resource));
                found.and_then(|q| milli(q.as_str()?)).unwrap_or(0)
            };
            let main: i128 = pod.spec.containers.iter().map(ask).sum();
            let mut sidecars = 0;
            let mut peak = 0;
            for init in &pod.spec.init_containers {
                if init.is_native_sidecar() {
                    sidecars += ask(init);
                    peak = peak.max(sidecars);
                } else {
                    peak = peak.max(sidecars + ask(init));
                }
            }
            (main + sidecars).max(peak)
        };
        Self {
            cpu: sum("cpu"),
            memory: sum("memory"),
            pods: 1000,
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.pods += other.pods;
    }

    pub fn subtract(&mut self, other: &Self) {
        self.cpu -= other.cpu;
        self.memory -= other.memory;
        self.pods -= other.pods;
    }

    /// How full the node is, in millionths of its cpu or pods, whichever is more.
    pub fn share_of(&self, node: &Node) -> i128 {
        let share = |used: i128, of: i128| used * 1_000_000 / of.max(1);
        share(self.cpu, node.allocatable("cpu")).max(share(self.pods, node.allocatable("pods")))
    }
}

/// A pod on a node.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub uid: String,
    pub node: String,
    pub owner: String,
    pub demand: Demand,
}

impl Placed {
    pub fn new(pod: &Pod, node: &str) -> Self {
        Self {
            uid: pod.metadata.uid.clone(),
            node: node.to_owned(),
            owner: pod
                .metadata
                .controller()
                .map(|o| o.uid.clone())
                .unwrap_or_default(),
            demand: Demand::of(pod),
        }
    }
}

/// Why the pod does not fit, in the words a scheduler uses after a count of nodes.
pub(super) fn misfit<I: Iterator<Item = std::sync::Arc<Pod>>>(
    pod: &Pod,
    demand: &Demand,
    node: &Node,
    carries: &Demand,
    neighbours: impl Fn() -> I,
) -> Option<String> {
    if node.spec.unschedulable && !tolerates_cordon(pod) {
        return Some("node(s) were unschedulable".to_owned());
    }
    if let Some(taint) = node.repels(&pod.spec.tolerations) {
        return Some(format!(
            "node(s) had untolerated taint(s) {{{}: {}}}",
            taint.key, taint.value
        ));
    }
    if !node.is_ready() {
        return Some("node(s) were not ready".to_owned());
    }
    if !wanted_by_pod(pod, node) {
        return Some("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    for (resource, asked, carried) in [
        ("cpu", demand.cpu, carries.cpu),
        ("memory", demand.memory, carries.memory),
        ("pods", demand.pods, carries.pods),
    ] {
        if asked > 0 && asked + carried > node.allocatable(resource) {
            return Some(if resource == "pods" {
                "Too many pods".to_owned()
            } else {
                format!("Insufficient {resource}")
            });
        }
    }
    let avoided = required(&pod.spec.affinity, "podAntiAffinity");
    let meets = |term: &Value| {
        term["topologyKey"] == "kubernetes.io/hostname"
            && neighbours().any(|other| {
                other.metadata.namespace == pod.metadata.namespace
                    && selects(&term["labelSelector"], &other.metadata.labels)
            })
    };
    if avoided.into_iter().flatten().any(meets) {
        return Some("node(s) didn't match pod anti-affinity rules".to_owned());
    }
    None
}

/// Whether the pod's node selector and required node affinity allow the node.
pub(crate) fn wanted_by_pod(pod: &Pod, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let selected = pod
        .spec
        .node_selector
        .iter()
        .all(|(k, v)| labels.get(k) == Some(v));
    let affinity = &pod.spec.affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let fields = BTreeMap::from([("metadata.name".to_owned(), node.metadata.name.clone())]);
    let holds = |all: &Value, of: &BTreeMap<String, String>| {
        all.as_array()
            .is_none_or(|all| all.iter().all(|e| expression(e, of)))
    };
    let term = |term: &Value| {
        let any = term["matchExpressions"].is_array() || term["matchFields"].is_array();
        any && holds(&term["matchExpressions"], labels) && holds(&term["matchFields"], &fields)
    };
    selected && affinity.as_array().is_none_or(|terms| terms.iter().any(term))
}

fn required<'a>(affinity: &'a Value, kind: &str) -> Option<&'a Vec<Value>> {
    affinity
        .get(kind)?
        .get("requiredDuringSchedulingIgnoredDuringExecution")?
        .as_array()
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    let key = toleration.key.is_empty() || toleration.key == taint.key;
    let value = toleration.operator == "Exists" || toleration.value == taint.value;
    effect && key && value && (!toleration.key.is_empty() || toleration.operator == "Exists")
}

fn tolerates_cordon(pod: &Pod) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        value: String::new(),
    };
    pod.spec.tolerations.iter().any(|t| tolerates(t, &taint))
}
