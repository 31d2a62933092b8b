//! What a sync decides to do: which containers to kill, which to start, in which order.
use crate::pod::{Container, Pod};

use super::container::ContainerState;
use super::{Around, PodState, Sandbox};

/// One act of a plan. A plan is carried out one act after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Sandbox,
    Kill {
        container: String,
    },
    /// Checks the back-offs, then pulls and starts.
    Launch {
        container: String,
        /// Killed just before, by the same plan: it has not crashed.
        replaced: bool,
    },
    Pull {
        container: String,
    },
    Start {
        container: String,
    },
    PostStart {
        container: String,
    },
    /// Other resources without a restart.
    Resize {
        container: String,
    },
    /// All of these end at the same time; part of stopping the pod.
    KillAll {
        containers: Vec<String>,
    },
    /// Nothing is left to run: the sandbox goes.
    StopSandbox,
    Stopped,
}

impl PodState {
    pub(super) fn make_plan(&mut self, around: &Around<'_>) {
        let pod = around.pod;
        if self.sandbox != Sandbox::Ready {
            self.plan.push_back(Act::Sandbox);
            match pod.spec.init_containers.first() {
                Some(first) => self.launch(first),
                None => pod.spec.containers.iter().for_each(|c| self.launch(c)),
            }
            return;
        }
        let (kill, start, initialized) = self.init_actions(pod);
        let mut kills = kill;
        let mut starts = start;
        if initialized && self.all_done(pod) {
            let running: Vec<_> = self.running().map(|(name, _)| name.clone()).collect();
            let kills = running.into_iter().map(|container| Act::Kill { container });
            self.plan.extend(kills.chain([Act::StopSandbox]));
            return;
        }
        if initialized {
            for container in &pod.spec.containers {
                match self.containers.get(&container.name).filter(|c| c.is_running()) {
                    Some(running) if must_replace(container, running) => {
                        kills.push(container.name.clone());
                        if must_restart(container, running, pod) {
                            starts.push(container.name.clone());
                        }
                    }
                    Some(_) => {}
                    None if self.should_restart(container, pod) => starts.push(container.name.clone()),
                    None => {}
                }
            }
        }
        let starts = starts.into_iter().map(|container| Act::Launch {
            replaced: kills.contains(&container),
            container,
        });
        let starts: Vec<_> = starts.collect();
        let kills = kills.into_iter().map(|container| Act::Kill { container });
        let resizes = self.resizes(pod).into_iter();
        let resizes: Vec<_> = resizes.map(|container| Act::Resize { container }).collect();
        self.plan.extend(kills.chain(resizes).chain(starts));
    }

    /// Running containers whose resources are no longer those of the pod, and need no restart for it.
    pub(super) fn resizes(&self, pod: &Pod) -> Vec<String> {
        let differs = |container: &&Container| {
            let running = self.containers.get(&container.name).filter(|c| c.is_running());
            running.is_some_and(|state| {
                let resources = state.current.as_ref().map(|c| &c.resources);
                resources != Some(&container.resources) && !must_replace(container, state)
            })
        };
        let changed = pod.all_containers().filter(differs);
        changed.map(|container| container.name.clone()).collect()
    }

    /// No container but sidecars runs, or will.
    fn all_done(&self, pod: &Pod) -> bool {
        pod.spec.containers.iter().all(|container| {
            let state = self.containers.get(&container.name);
            match state.filter(|state| state.is_running()) {
                Some(running) => must_replace(container, running) && !must_restart(container, running, pod),
                None => !self.should_restart(container, pod),
            }
        })
    }

    /// Whether a container that does not run should.
    pub(super) fn should_restart(&self, container: &Container, pod: &Pod) -> bool {
        if pod.metadata.deletion_timestamp.is_some() {
            return false;
        }
        let Some(code) = self
            .containers
            .get(&container.name)
            .and_then(ContainerState::exit_code)
        else {
            return !self
                .containers
                .get(&container.name)
                .is_some_and(ContainerState::is_running);
        };
        if container.is_native_sidecar() {
            return true;
        }
        match pod.spec.restart_policy.as_str() {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => true,
        }
    }

    /// What to kill and to start among init containers, and whether the others may run.
    fn init_actions(&self, pod: &Pod) -> (Vec<String>, Vec<String>, bool) {
        let inits = &pod.spec.init_containers;
        if inits.is_empty() {
            return (Vec::new(), Vec::new(), true);
        }
        let (mut kill, mut start) = (Vec::new(), Vec::new());
        let began = |c: &Container| self.containers.get(&c.name).filter(|s| s.current.is_some());
        let mut initialized = pod.spec.containers.iter().any(|c| began(c).is_some());
        let mut reached = initialized;
        for (i, container) in inits.iter().enumerate().rev() {
            let is_last = i + 1 == inits.len();
            let next = |start: &mut Vec<String>, initialized: &mut bool, reached: bool| {
                if is_last {
                    *initialized = true;
                } else if !reached {
                    start.push(inits[i + 1].name.clone());
                }
            };
            let Some(state) = began(container) else {
                if reached && container.is_native_sidecar() {
                    start.push(container.name.clone());
                }
                continue;
            };
            if reached && !container.is_native_sidecar() {
                continue;
            }
            match (state.is_running(), container.is_native_sidecar()) {
                (true, false) => {}
                (true, true) => {
                    if state.current.as_ref().is_some_and(|c| c.started) {
                        next(&mut start, &mut initialized, reached);
                        if must_replace(container, state) {
                            kill.push(container.name.clone());
                            start.push(container.name.clone());
                        }
                    }
                }
                (false, true) => start.push(container.name.clone()),
                (false, false) if state.exit_code() == Some(0) => {
                    next(&mut start, &mut initialized, reached);
                }
                (false, false) => {
                    if self.should_restart(container, pod) {
                        start.push(container.name.clone());
                    }
                }
            }
            reached = true;
        }
        if !reached {
            start.push(inits[0].name.clone());
        }
        start.reverse();
        (kill, start, initialized)
    }

    fn launch(&mut self, container: &Container) {
        self.plan.push_back(Act::Launch {
            container: container.name.clone(),
            replaced: false,
        });
    }
}

/// A running container that its pod no longer describes, or that fails its liveness probe.
fn must_replace(container: &Container, state: &ContainerState) -> bool {
    let Some(current) = &state.current else {
        return false;
    };
    current.asked_image != container.image || current.unlive || resize_restarts(container, state)
}

/// A changed image restarts whatever restartPolicy says; a failed probe does not.
fn must_restart(container: &Container, state: &ContainerState, pod: &Pod) -> bool {
    let changed = state
        .current
        .as_ref()
        .is_some_and(|c| c.asked_image != container.image);
    changed || resize_restarts(container, state) || pod.spec.restart_policy != "Never"
}

/// Whether new resources need a new container, by its resizePolicy.
fn resize_restarts(container: &Container, state: &ContainerState) -> bool {
    let Some(current) = &state.current else {
        return false;
    };
    let differs = |resource: &str| {
        ["requests", "limits"]
            .iter()
            .any(|kind| container.resources[kind][resource] != current.resources[kind][resource])
    };
    container
        .resize_policy
        .iter()
        .any(|policy| policy.restart_policy == "RestartContainer" && differs(&policy.resource_name))
}
