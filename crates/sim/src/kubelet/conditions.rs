//! Phase, conditions and container statuses, from what each container looks like.
use std::collections::BTreeMap;

use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Map, Value, json};

use super::container::Incarnation;
use crate::pod::{Container, Pod};

/// What one container's status says.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    name: String,
    image: String,
    image_id: String,
    pub id: String,
    restarts: u32,
    pub ready: bool,
    pub started: bool,
    resources: Value,
    state: Value,
    last: Value,
}

impl View {
    pub fn waiting(container: &Container, reason: &str) -> Self {
        Self {
            name: container.name.clone(),
            image: container.image.clone(),
            state: json!({"waiting": {"reason": reason}}),
            last: json!({}),
            ..Self::default()
        }
    }

    pub fn take(&mut self, current: &Incarnation, previous: Option<Value>) {
        self.image.clone_from(&current.image);
        self.image_id.clone_from(&current.image_id);
        self.id.clone_from(&current.id);
        self.restarts = current.restarts;
        self.resources.clone_from(&current.resources);
        self.last = previous.unwrap_or_else(|| json!({}));
        if current.ended.is_some() {
            self.state = current.terminated_json();
        } else {
            self.state = json!({"running": {"startedAt": rfc3339_seconds(current.started_at)}});
            self.started = current.started;
            self.ready = current.started && current.ready;
        }
    }

    /// It should run, but: how it ended moves to the last state.
    pub fn wait_for(&mut self, reason: &str, message: &str) {
        if self.exit_code().is_some() {
            self.last = std::mem::take(&mut self.state);
        }
        self.state = json!({"waiting": {"reason": reason, "message": message}});
    }

    /// An init container is ready when it has done its work, not while it runs.
    pub fn keep_ready_semantics(&mut self, regular_init: bool) {
        if regular_init {
            self.ready = self.exit_code() == Some(0);
        }
    }

    /// It never ran, and never will.
    pub fn lost(&mut self) {
        let message = "The container could not be located when the pod was terminated";
        self.state = json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown",
            "message": message, "startedAt": null, "finishedAt": null}});
    }

    pub fn json(&self, container: &Container) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
        if !self.id.is_empty() {
            put("containerID", json!(self.id));
            put("resources", resources(&self.resources));
            if let Some(requests) = container.resources.get("requests") {
                put("allocatedResources", requests.clone());
            }
        }
        put("image", json!(self.image));
        put("imageID", json!(self.image_id));
        put("lastState", self.last.clone());
        put("name", json!(self.name));
        put("ready", json!(self.ready));
        put("restartCount", json!(self.restarts));
        put("started", json!(self.started));
        put("state", self.state.clone());
        Value::Object(out)
    }

    fn is_running(&self) -> bool {
        self.state.get("running").is_some()
    }

    fn is_waiting(&self) -> bool {
        self.state.get("waiting").is_some()
    }

    fn exit_code(&self) -> Option<i64> {
        self.state["terminated"]["exitCode"].as_i64()
    }

    /// The exit code that counts for the phase: a waiting container counts by how it last ended.
    fn ended_with(&self) -> Option<i64> {
        self.exit_code().or_else(|| {
            self.is_waiting()
                .then(|| self.last["terminated"]["exitCode"].as_i64())
                .flatten()
        })
    }
}

pub(super) struct ConditionMade {
    pub kind: &'static str,
    pub status: &'static str,
    reason: &'static str,
    message: String,
}

impl ConditionMade {
    fn new(kind: &'static str, holds: bool) -> Self {
        Self {
            kind,
            status: if holds { "True" } else { "False" },
            reason: "",
            message: String::new(),
        }
    }

    fn because(mut self, reason: &'static str, message: impl Into<String>) -> Self {
        self.reason = reason;
        self.message = message.into();
        self
    }

    pub fn json(self, since: Timestamp, generation: i64) -> Value {
        let mut out = json!({"type": self.kind, "status": self.status, "lastProbeTime": null,
            "lastTransitionTime": rfc3339_seconds(since), "observedGeneration": generation});
        if !self.reason.is_empty() {
            out["reason"] = json!(self.reason);
        }
        if !self.message.is_empty() {
            out["message"] = json!(self.message);
        }
        out
    }
}

/// The conditions a kubelet owns, in its order.
pub(super) fn conditions(
    pod: &Pod,
    views: &BTreeMap<String, View>,
    phase: &str,
    sandbox: bool,
) -> Vec<ConditionMade> {
    let containers_ready = containers_ready(pod, views, phase, "ContainersReady");
    vec![
        ConditionMade::new("PodReadyToStartContainers", sandbox),
        initialized(pod, views, phase),
        ready(pod, views, phase),
        containers_ready,
        ConditionMade::new("PodScheduled", true),
    ]
}

/// Containers are being given other resources.
pub(super) fn resizing() -> ConditionMade {
    ConditionMade::new("PodResizeInProgress", true)
}

fn containers_ready(
    pod: &Pod,
    views: &BTreeMap<String, View>,
    phase: &str,
    kind: &'static str,
) -> ConditionMade {
    match phase {
        "Succeeded" => return ConditionMade::new(kind, false).because("PodCompleted", ""),
        "Failed" => return ConditionMade::new(kind, false).because("PodFailed", ""),
        _ => {}
    }
    let sidecars = pod.spec.init_containers.iter().filter(|c| c.is_native_sidecar());
    let unready = sidecars
        .chain(&pod.spec.containers)
        .map(|c| c.name.as_str())
        .filter(|name| !views.get(*name).is_some_and(|view| view.ready));
    let unready: Vec<_> = unready.collect();
    if unready.is_empty() {
        return ConditionMade::new(kind, true);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    ConditionMade::new(kind, false).because("ContainersNotReady", message)
}

fn ready(pod: &Pod, views: &BTreeMap<String, View>, phase: &str) -> ConditionMade {
    let containers = containers_ready(pod, views, phase, "Ready");
    if containers.status == "False" {
        return containers;
    }
    let missing: Vec<_> = pod
        .spec
        .readiness_gates
        .iter()
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match pod.condition(kind) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{kind}\" does not exist."
                )),
                Some(c) if c.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                    c.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if missing.is_empty() {
        return containers;
    }
    ConditionMade::new("Ready", false).because("ReadinessGatesNotReady", missing.join(", "))
}

fn initialized(pod: &Pod, views: &BTreeMap<String, View>, phase: &str) -> ConditionMade {
    let done = ConditionMade::new("Initialized", true);
    if phase == "Succeeded" {
        return done.because("PodCompleted", "");
    }
    let ran = |c: &Container| {
        views
            .get(&c.name)
            .is_some_and(|v| v.is_running() || v.exit_code().is_some() || v.ended_with().is_some())
    };
    if pod.spec.containers.iter().any(ran) {
        return done;
    }
    let incomplete = pod.spec.init_containers.iter().filter(|c| {
        !views.get(&c.name).is_some_and(|view| {
            if c.is_native_sidecar() {
                view.started
            } else {
                view.ready
            }
        })
    });
    let incomplete: Vec<_> = incomplete.map(|c| c.name.as_str()).collect();
    if incomplete.is_empty() {
        return done;
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    ConditionMade::new("Initialized", false).because("ContainersNotInitialized", message)
}

/// `stopping`: nothing will be started any more.
pub(super) fn phase(pod: &Pod, views: &BTreeMap<String, View>, stopping: bool) -> &'static str {
    let policy = pod.spec.restart_policy.as_str();
    let restartable = |code: i64| match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    };
    let view = |c: &Container| views.get(&c.name).cloned().unwrap_or_default();
    let (mut pending_init, mut pending_sidecar) = (0, 0);
    let (mut running, mut waiting, mut stopped, mut final_stops, mut succeeded) = (0, 0, 0, 0, 0);
    for container in &pod.spec.init_containers {
        let view = view(container);
        if container.is_native_sidecar() {
            if view.is_running() {
                running += 1;
                pending_sidecar += usize::from(!view.started);
            } else if view.ended_with().is_none() {
                pending_sidecar += 1;
                waiting += 1;
            }
            continue;
        }
        match view.ended_with() {
            Some(0) => {}
            Some(code) if !restartable(code) => return "Failed",
            Some(_) => {}
            None => pending_init += 1,
        }
    }
    for container in &pod.spec.containers {
        let view = view(container);
        match view.ended_with() {
            _ if view.is_running() => running += 1,
            Some(code) => {
                stopped += 1;
                succeeded += usize::from(code == 0);
                final_stops += usize::from(!restartable(code));
            }
            None => waiting += 1,
        }
    }
    let ran = stopped > 0 || pod.spec.containers.iter().any(|c| view(c).is_running());
    if pending_init > 0 || (pending_sidecar > 0 && !ran) || waiting > 0 {
        return "Pending";
    }
    if running > 0 {
        return "Running";
    }
    match (stopped > 0, stopping || stopped == final_stops) {
        (false, _) => "Pending",
        (true, true) if stopped == succeeded => "Succeeded",
        (true, true) => "Failed",
        (true, false) => "Running",
    }
}

/// BestEffort, Burstable or Guaranteed, by the containers' resources.
pub(super) fn qos_class(pod: &Pod) -> &'static str {
    let set = |c: &Container, kind: &str, resource: &str| {
        c.resources[kind]
            .get(resource)
            .filter(|v| v.as_str().is_none_or(|text| text != "0"))
            .cloned()
    };
    let mut any = false;
    let mut guaranteed = true;
    for container in pod.all_containers() {
        for resource in ["cpu", "memory"] {
            let limit = set(container, "limits", resource);
            let request = set(container, "requests", resource);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn resources(of: &Value) -> Value {
    let mut out = Map::new();
    for kind in ["limits", "requests"] {
        if let Some(value) = of.get(kind) {
            out.insert(kind.to_owned(), value.clone());
        }
    }
    Value::Object(out)
}
