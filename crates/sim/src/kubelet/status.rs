//! From what the containers look like to `status`.
use std::collections::BTreeMap;

use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Map, Value, json};

use super::conditions::{self, View};
use super::container::ContainerState;
use super::{Around, Life, PodState, Sandbox};
use crate::pod::{Container, Pod};

/// What was last published, beside the status itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    views: BTreeMap<String, View>,
    sandbox: bool,
    resizing: bool,
    phase: String,
    generation: i64,
    ip: Option<String>,
    /// Status and time of its last change, per condition.
    transitions: BTreeMap<String, (String, Timestamp)>,
}

impl Shown {
    /// Times of transitions go on from where another process left them.
    pub fn adopt(&mut self, pod: &Pod) {
        self.phase.clone_from(&pod.status.phase);
        self.transitions = pod
            .status
            .conditions
            .iter()
            .filter_map(|c| Some((c.kind.clone(), (c.status.clone(), c.last_transition_time?))))
            .collect();
    }
}

impl PodState {
    /// Publishes what there is; whether the pod is done for good.
    pub(super) fn observe_and_publish(&mut self, around: &mut Around<'_>) -> bool {
        self.observe(around);
        let phase = conditions::phase(around.pod, &self.shown.views, false);
        let done = matches!(phase, "Succeeded" | "Failed");
        let before = self.shown.phase.clone();
        self.shown.generation = around.pod.metadata.generation;
        self.shown.sandbox = self.sandbox == Sandbox::Ready;
        self.shown.ip.clone_from(&self.ip);
        self.shown.resizing = !self.resizes(around.pod).is_empty();
        // The phase becomes final only when nothing can run any more; the conditions tell before.
        self.shown.phase = phase.to_owned();
        self.publish(around, done.then_some(before.as_str()));
        done
    }

    /// The sandbox is there: told at once, without looking at the containers.
    pub(super) fn publish_sandbox(&mut self, around: &mut Around<'_>) {
        self.shown.sandbox = true;
        self.publish(around, None);
    }

    /// A probe changed its mind: told at once, without looking at the other containers.
    pub(super) fn publish_probe(&mut self, around: &mut Around<'_>, name: &str) {
        let Some(current) = self.containers.get(name).and_then(|c| c.current.as_ref()) else {
            return;
        };
        let Some(view) = self.shown.views.get_mut(name) else {
            return;
        };
        if view.id != current.id {
            return;
        }
        let regular_init = around
            .pod
            .spec
            .init_containers
            .iter()
            .any(|c| c.name == name && !c.is_native_sidecar());
        view.started = current.started;
        view.ready = current.started && current.ready && !regular_init;
        // In the same instant as another status it takes that one's place.
        around.statuses.pop();
        self.publish(around, None);
    }

    /// The last status of all.
    pub(super) fn publish_end(&mut self, around: &mut Around<'_>) {
        let never_started: Vec<_> = around
            .pod
            .all_containers()
            .filter(|c| {
                self.containers
                    .get(&c.name)
                    .is_none_or(|state| state.current.is_none())
            })
            .map(|c| c.name.clone())
            .collect();
        self.observe(around);
        self.shown.sandbox = false;
        if around.pod.metadata.deletion_timestamp.is_some() && !never_started.is_empty() {
            // First the sandbox goes, then what never ran is called lost.
            self.publish(around, None);
            for name in &never_started {
                if let Some(view) = self.shown.views.get_mut(name) {
                    view.lost();
                }
            }
            self.shown.phase = "Failed".to_owned();
            return self.publish_frozen(around);
        }
        self.shown.phase = conditions::phase(around.pod, &self.shown.views, true).to_owned();
        self.publish(around, None);
    }

    /// Looks at every container.
    fn observe(&mut self, around: &Around<'_>) {
        let pod = around.pod;
        let mut views = BTreeMap::new();
        for (container, is_init) in with_kind(pod) {
            let state = self.containers.get(&container.name);
            let mut view = self.view(pod, container, is_init, state);
            view.keep_ready_semantics(is_init && !container.is_native_sidecar());
            views.insert(container.name.clone(), view);
        }
        for state in self.containers.values_mut() {
            state.show(around.now);
        }
        self.shown.views = views;
    }

    fn view(&self, pod: &Pod, container: &Container, is_init: bool, state: Option<&ContainerState>) -> View {
        let waiting = if pod.spec.init_containers.is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        let mut view = View::waiting(container, waiting);
        let Some(state) = state else { return view };
        if let Some(current) = &state.current {
            view.take(current, state.previous.clone());
        }
        // True of native sidecars too: one that exited with 0 does not show why it is not started again.
        let done_init = is_init && state.exit_code() == Some(0);
        let stopping = self.life != Life::Running;
        if let Some((reason, message)) = &state.waiting
            && !done_init
            && !stopping
            && self.should_restart(container, pod)
        {
            view.wait_for(reason, message);
        }
        view
    }

    /// Makes the status and tells it, if it is another one. `phase` overrules.
    fn publish(&mut self, around: &mut Around<'_>, phase: Option<&str>) {
        let mut made = conditions::conditions(
            around.pod,
            &self.shown.views,
            &self.shown.phase,
            self.shown.sandbox,
        );
        let mut list = Vec::with_capacity(made.len());
        if self.shown.resizing {
            made.insert(0, conditions::resizing());
        } else {
            self.shown.transitions.remove("PodResizeInProgress");
        }
        for condition in made {
            let since = self.transition(condition.kind, condition.status, around.now);
            list.push(condition.json(since, self.shown.generation));
        }
        let status = self.status_json(around, phase, Value::Array(list));
        self.tell(around, status);
    }

    /// As [`Self::publish`], with the conditions that were last told.
    fn publish_frozen(&mut self, around: &mut Around<'_>) {
        let list = self
            .sent
            .as_ref()
            .map_or(Value::Null, |sent| sent["conditions"].clone());
        let status = self.status_json(around, None, list);
        self.tell(around, status);
    }

    fn tell(&mut self, around: &mut Around<'_>, status: Value) {
        if self.sent.as_ref() != Some(&status) {
            self.sent = Some(status.clone());
            around.statuses.push(status);
        }
    }

    fn transition(&mut self, kind: &str, status: &str, now: Timestamp) -> Timestamp {
        match self.shown.transitions.get(kind) {
            Some((before, since)) if before == status => *since,
            _ => {
                let entry = (status.to_owned(), now);
                self.shown.transitions.insert(kind.to_owned(), entry);
                now
            }
        }
    }

    fn status_json(&self, around: &Around<'_>, phase: Option<&str>, conditions: Value) -> Value {
        let pod = around.pod;
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
        put("conditions", conditions);
        put("hostIP", json!(around.node.address));
        put("hostIPs", json!([{"ip": around.node.address}]));
        put("observedGeneration", json!(self.shown.generation));
        put("phase", json!(phase.unwrap_or(&self.shown.phase)));
        if let Some(ip) = &self.shown.ip {
            put("podIP", json!(ip));
            put("podIPs", json!([{"ip": ip}]));
        }
        put("qosClass", json!(conditions::qos_class(pod)));
        put("startTime", json!(self.start_time.map(rfc3339_seconds)));
        let views = |containers: &[Container]| {
            containers
                .iter()
                .filter_map(|c| Some(self.shown.views.get(&c.name)?.json(c)))
                .collect::<Vec<_>>()
        };
        let mut main = views(&pod.spec.containers);
        main.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        put("containerStatuses", Value::Array(main));
        if !pod.spec.init_containers.is_empty() {
            put(
                "initContainerStatuses",
                Value::Array(views(&pod.spec.init_containers)),
            );
        }
        Value::Object(out)
    }
}

fn with_kind(pod: &Pod) -> impl Iterator<Item = (&Container, bool)> {
    let init = pod.spec.init_containers.iter().map(|c| (c, true));
    init.chain(pod.spec.containers.iter().map(|c| (c, false)))
}
