//! A kubelet's view of one pod, as a pure state machine.
//!
//! [`step`] is told the pod and the time, and answers with the status to write, whether the pod is gone, and
//! when it wants to be asked again. As in the real one, work on a pod is serial: a *sync* first publishes what
//! the containers look like, then carries out a plan (kill, create the sandbox, pull, start) one act after
//! another, during which nothing else is published; what the plan changed shows at the next sync, when the
//! kubelet has looked at its containers again. So an image change shows the old container running until the
//! new one runs or its pull has failed.
mod conditions;
mod container;
mod plan;
mod status;
mod stop;
mod work;

use std::collections::{BTreeMap, VecDeque};

use model::time::Timestamp;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::pod::Pod;
use crate::script::Script;
use container::ContainerState;
use plan::Act;
use status::Shown;

/// What one simulated node knows beyond its pods.
#[derive(Clone, Debug, Default)]
pub struct NodeState {
    pub name: String,
    /// `status.hostIP`.
    pub address: String,
    /// `10.64.3`: pod addresses are counted up below it.
    pub pod_network: String,
    next_pod: u32,
    /// Images that were pulled, as the runtime names them.
    images: std::collections::BTreeSet<String>,
}

impl NodeState {
    pub fn new(name: impl Into<String>, address: impl Into<String>, pod_network: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            pod_network: pod_network.into(),
            ..Self::default()
        }
    }

    /// An address that a pod already has is not given out again.
    fn keep_pod_ip(&mut self, ip: &str) {
        let own = ip.strip_prefix(self.pod_network.as_str());
        let numbers = own.and_then(|rest| rest.strip_prefix('.')?.split_once('.'));
        let parsed = numbers.and_then(|(high, low)| Some((high.parse().ok()?, low.parse::<u32>().ok()?)));
        if let Some((high, low)) =
            parsed.filter(|(high, low): &(u32, u32)| *high < 250 && (1..=250).contains(low))
        {
            self.next_pod = self.next_pod.max(high * 250 + low - 1);
        }
    }

    fn next_pod_ip(&mut self) -> String {
        self.next_pod += 1;
        let n = self.next_pod;
        format!("{}.{}.{}", self.pod_network, (n / 250) % 250, n % 250 + 1)
    }
}

/// What a simulated kubelet remembers of one pod.
#[derive(Clone, Debug, Default)]
pub struct PodState {
    containers: BTreeMap<String, ContainerState>,
    sandbox: Sandbox,
    ip: Option<String>,
    start_time: Option<Timestamp>,
    plan: VecDeque<Act>,
    busy_until: Option<Timestamp>,
    /// A plan failed; try again then at the latest.
    retry_at: Option<Timestamp>,
    /// Changes the plan made to what runs; the kubelet gets an event for each.
    changed_by_plan: u32,
    /// There was more than one: it syncs once more after the next sync.
    sync_again: bool,
    sync_at: Option<Timestamp>,
    seen: Option<Seen>,
    life: Life,
    shown: Shown,
    sent: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sandbox {
    #[default]
    None,
    Ready,
    Stopped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Running,
    /// All its containers are being stopped.
    Stopping,
    /// Nothing of it runs any more.
    Stopped,
    /// Its object may go.
    Removed,
}

/// What of the pod's object makes a kubelet look again.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    generation: i64,
    deleting: bool,
    gates: Vec<String>,
}

/// What a step came to.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// A new `status`, whole, if it differs from the last one; several when more than one was published.
    pub statuses: Vec<Value>,
    /// Nothing of the pod is left on the node: delete its object with grace period 0.
    pub remove: bool,
    /// When something happens next by itself.
    pub wake: Option<Timestamp>,
}

/// Everything a step may use besides the pod's own state.
pub(crate) struct Around<'a> {
    pub pod: &'a Pod,
    pub node: &'a mut NodeState,
    pub now: Timestamp,
    pub script: &'a Script,
    pub rng: &'a mut StdRng,
    pub statuses: Vec<Value>,
}

/// Brings `state` to `now`.
pub fn step(
    pod: &Pod,
    state: &mut PodState,
    node: &mut NodeState,
    now: Timestamp,
    script: &Script,
    rng: &mut StdRng,
) -> Step {
    let statuses = Vec::new();
    let mut around = Around {
        pod,
        node,
        now,
        script,
        rng,
        statuses,
    };
    state.notice(&mut around);
    // Each turn handles what is due; instant acts make further things due at once. Bounded, so that a script
    // without any delay (a container that exits in no time) cannot hold the thread.
    for _ in 0..64 {
        if !state.turn(&mut around) {
            break;
        }
    }
    Step {
        statuses: around.statuses,
        remove: state.life == Life::Removed,
        wake: state.next_wake(),
    }
}

impl PodState {
    /// Lines the container has "printed" so far; the same for the same pod and time.
    pub fn log(&self, container: &str) -> Vec<String> {
        self.containers
            .get(container)
            .map(ContainerState::log)
            .unwrap_or_default()
    }

    /// Looks at the object: what is new there asks for a sync.
    fn notice(&mut self, around: &mut Around<'_>) {
        let pod = around.pod;
        let gates = pod.spec.readiness_gates.iter().filter_map(|gate| {
            pod.condition(&gate.condition_type)
                .map(|condition| condition.status.clone())
        });
        let seen = Seen {
            generation: pod.metadata.generation,
            deleting: pod.metadata.deletion_timestamp.is_some(),
            gates: gates.collect(),
        };
        if self.seen.is_none() {
            self.adopt(around);
        }
        if self.seen.as_ref() != Some(&seen) {
            self.seen = Some(seen);
            self.sync_at = Some(around.now);
        }
    }

    /// Takes over a pod that ran before this process did, from its status.
    fn adopt(&mut self, around: &mut Around<'_>) {
        let pod = around.pod;
        self.start_time = pod.status.start_time;
        self.ip = (!pod.status.pod_ip.is_empty()).then(|| pod.status.pod_ip.clone());
        around.node.keep_pod_ip(&pod.status.pod_ip);
        let statuses = pod
            .status
            .init_container_statuses
            .iter()
            .chain(&pod.status.container_statuses);
        for status in statuses {
            let Some(container) = pod.container(&status.name) else {
                continue;
            };
            let script = around.script.container_of(pod, &status.name);
            let adopted = ContainerState::adopt(status, container, &script);
            self.containers.insert(status.name.clone(), adopted);
            around.node.images.insert(status.image.clone());
        }
        self.shown.adopt(pod);
        if pod.is_finished() {
            self.life = Life::Stopped;
            self.sandbox = Sandbox::Stopped;
        } else if pod
            .condition("PodReadyToStartContainers")
            .is_some_and(|c| c.status == "True")
        {
            self.sandbox = Sandbox::Ready;
        }
    }

    /// Handles one thing that is due; whether there was any.
    fn turn(&mut self, around: &mut Around<'_>) -> bool {
        let now = around.now;
        if self.let_containers_run(around) {
            return true;
        }
        if around.pod.metadata.deletion_timestamp.is_some() && self.life == Life::Running {
            self.begin_to_stop(around);
            return true;
        }
        if let Some(until) = self.busy_until {
            if until > now {
                return false;
            }
            self.busy_until = None;
            self.finish_act(around, until);
            return true;
        }
        if !self.plan.is_empty() {
            self.begin_act(around);
            return true;
        }
        match self.sync_at {
            Some(at) if at <= now => {
                self.sync_at = None;
                self.sync(around);
                true
            }
            _ => false,
        }
    }

    /// A sync: publish, then plan.
    fn sync(&mut self, around: &mut Around<'_>) {
        match self.life {
            Life::Running => {
                self.start_time.get_or_insert(around.now);
                self.retry_at = None;
                self.changed_by_plan = 0;
                let again = std::mem::take(&mut self.sync_again);
                if self.observe_and_publish(around) {
                    self.finish_by_itself(around);
                } else {
                    self.make_plan(around);
                    if again {
                        let at = around.now + around.script.until_relist(around.rng);
                        self.ask_for_sync(at);
                    }
                }
            }
            Life::Stopping | Life::Removed => {}
            Life::Stopped => {
                if around.pod.metadata.deletion_timestamp.is_some() {
                    self.life = Life::Removed;
                }
            }
        }
    }

    fn next_wake(&self) -> Option<Timestamp> {
        let own = [
            self.busy_until,
            self.sync_at.filter(|_| self.busy_until.is_none()),
        ];
        let containers = self.containers.values().filter_map(ContainerState::next_event);
        own.into_iter().flatten().chain(containers).min()
    }
}
