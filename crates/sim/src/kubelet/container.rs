//! What a node's container runtime knows of one container of a pod, and how it fares by its script.
use std::time::Duration;

use model::time::{Timestamp, rfc3339_seconds};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::image;
use crate::pod::{Container, ContainerStatus, TerminatedState};
use crate::script::{ContainerScript, seconds_to_duration};

/// From a container's first status to its first probe's answer.
const FIRST_PROBE: Duration = Duration::from_millis(50);

/// A container's name in its pod stays; what runs under it is replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct ContainerState {
    /// The newest container made under this name.
    pub current: Option<Incarnation>,
    /// How the one before it ended.
    pub previous: Option<Value>,
    /// Why it was not started: reason and message.
    pub waiting: Option<(String, String)>,
    pub crash_backoff: Backoff,
    pub pull_backoff: Backoff,
    pub pull_error: String,
}

#[derive(Clone, Debug)]
pub(super) struct Incarnation {
    pub id: String,
    /// As the pod's spec named it.
    pub asked_image: String,
    pub image: String,
    pub image_id: String,
    pub resources: Value,
    pub restarts: u32,
    pub started_at: Timestamp,
    pub ended: Option<Ended>,
    /// The startup probe has succeeded, or there is none.
    pub started: bool,
    /// The readiness probe has succeeded, or there is none.
    pub ready: bool,
    pub unlive: bool,
    /// A status has shown it running: probes begin then.
    shown: bool,
    exit_at: Option<(Timestamp, i32)>,
    started_probe_at: Option<Timestamp>,
    ready_probe_at: Option<Timestamp>,
    unlive_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub at: Timestamp,
    pub code: i32,
}

/// What happened to a container by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Exited,
    ProbesChanged,
    Unlive,
}

impl ContainerState {
    pub fn is_running(&self) -> bool {
        self.current.as_ref().is_some_and(|c| c.ended.is_none())
    }

    pub fn exit_code(&self) -> Option<i32> {
        self.current
            .as_ref()
            .and_then(|c| c.ended.as_ref())
            .map(|e| e.code)
    }

    /// Makes the container run from `now` on.
    pub fn start(&mut self, container: &Container, script: &ContainerScript, made: Made, now: Timestamp) {
        let restarts = self.current.as_ref().map_or(0, |old| old.restarts + 1);
        if let Some(old) = self.current.take() {
            self.previous = Some(old.terminated_json());
        }
        self.waiting = None;
        self.current = Some(Incarnation::new(container, script, made, restarts, now));
    }

    /// The running container ends at `at` with `code`.
    pub fn end(&mut self, at: Timestamp, code: i32) {
        if let Some(current) = self.current.as_mut().filter(|c| c.ended.is_none()) {
            current.ended = Some(Ended { at, code });
        }
    }

    /// Lets the container do what its script says until `now`.
    pub fn run_until(&mut self, now: Timestamp) -> Option<Event> {
        let current = self.current.as_mut().filter(|c| c.ended.is_none())?;
        if let Some((at, code)) = current.exit_at.filter(|(at, _)| *at <= now) {
            current.ended = Some(Ended { at, code });
            return Some(Event::Exited);
        }
        if !current.shown {
            return None;
        }
        if take_due(&mut current.started_probe_at, now) {
            current.started = true;
            return Some(Event::ProbesChanged);
        }
        if current.started && take_due(&mut current.ready_probe_at, now) {
            current.ready = true;
            return Some(Event::ProbesChanged);
        }
        if take_due(&mut current.unlive_at, now) {
            current.unlive = true;
            return Some(Event::Unlive);
        }
        None
    }

    /// Its status is being shown; the first probes come a little later.
    pub fn show(&mut self, now: Timestamp) {
        if let Some(c) = self.current.as_mut().filter(|c| c.ended.is_none() && !c.shown) {
            c.shown = true;
            // The probes of a container that replaces another are already at work.
            let first = if c.restarts > 0 { now } else { now + FIRST_PROBE };
            for at in [&mut c.started_probe_at, &mut c.ready_probe_at] {
                *at = at.map(|at| at.max(first));
            }
        }
    }

    pub fn next_event(&self) -> Option<Timestamp> {
        let c = self.current.as_ref().filter(|c| c.ended.is_none())?;
        let ready = c.ready_probe_at.filter(|_| c.started);
        let probes = [c.started_probe_at, ready, c.unlive_at];
        let probes = probes.into_iter().flatten().filter(|_| c.shown);
        probes.chain(c.exit_at.map(|(at, _)| at)).min()
    }

    /// As it was when another process simulated it.
    pub fn adopt(status: &ContainerStatus, container: &Container, script: &ContainerScript) -> Self {
        let mut out = Self {
            previous: status.last_state.terminated.as_ref().map(terminated_json_of),
            ..Self::default()
        };
        let running = status.state.running.as_ref().and_then(|r| r.started_at);
        let ended = status
            .state
            .terminated
            .as_ref()
            .or(status.last_state.terminated.as_ref());
        let Some(started_at) = running.or(ended.and_then(|e| e.started_at)) else {
            return out;
        };
        if status.container_id.is_empty() {
            return out;
        }
        // The spec may have changed since: what runs is then replaced at the first sync.
        let same = image::canonical(&container.image) == status.image;
        let made = Made {
            id: status.container_id.clone(),
            image_id: status.image_id.clone(),
        };
        let mut current = Incarnation::new(container, script, made, status.restart_count, started_at);
        if !same {
            current.asked_image = status.image.clone();
            current.image = status.image.clone();
        }
        if running.is_some() {
            current.started = status.started.unwrap_or(true);
            current.ready = status.ready;
        } else if let Some(ended) = ended {
            let at = ended.finished_at.unwrap_or(started_at);
            current.ended = Some(Ended {
                at,
                code: ended.exit_code,
            });
        }
        out.current = Some(current);
        out
    }

    pub fn log(&self) -> Vec<String> {
        let Some(current) = &self.current else {
            return Vec::new();
        };
        let start = format!(
            "{} started {} (restart {})",
            rfc3339_seconds(current.started_at),
            current.image,
            current.restarts
        );
        let end = current
            .ended
            .as_ref()
            .map(|e| format!("{} exited with {}", rfc3339_seconds(e.at), e.code));
        std::iter::once(start).chain(end).collect()
    }
}

/// What the runtime answers when a container is made.
pub(super) struct Made {
    pub id: String,
    pub image_id: String,
}

impl Made {
    pub fn new(asked_image: &str, content: Option<&str>, rng: &mut StdRng) -> Self {
        let bytes: [u8; 32] = rng.random();
        Self {
            id: format!("containerd://{}", image::hex(&bytes)),
            image_id: image::image_id(asked_image, content),
        }
    }
}

impl Incarnation {
    fn new(
        container: &Container,
        script: &ContainerScript,
        made: Made,
        restarts: u32,
        now: Timestamp,
    ) -> Self {
        let after = |seconds: f64| now + seconds_to_duration(seconds);
        let exits = script
            .while_image
            .as_ref()
            .is_none_or(|image| *image == container.image);
        let startup = container.startup_probe.as_ref();
        let probed = |seconds: Option<f64>, probe: Option<&crate::pod::Probe>| {
            probe.map(|probe| {
                let delay = f64::from(probe.initial_delay_seconds);
                after(seconds.unwrap_or(0.0).max(delay + 0.05))
            })
        };
        let mut ready_probe_at = probed(script.ready_after, container.readiness_probe.as_ref());
        if script.never_ready {
            ready_probe_at = None;
        }
        Self {
            id: made.id,
            asked_image: container.image.clone(),
            image: image::canonical(&container.image),
            image_id: made.image_id,
            resources: container.resources.clone(),
            restarts,
            started_at: now,
            ended: None,
            started: startup.is_none(),
            ready: container.readiness_probe.is_none(),
            unlive: false,
            shown: false,
            exit_at: script
                .exit_after
                .filter(|_| exits)
                .map(|s| (after(s), script.exit_code)),
            started_probe_at: probed(script.started_after, startup),
            ready_probe_at,
            unlive_at: script
                .unlive_after
                .filter(|_| container.liveness_probe.is_some())
                .map(after),
        }
    }

    /// `state.terminated` of a container that has ended.
    pub fn terminated_json(&self) -> Value {
        let (at, code) = self
            .ended
            .as_ref()
            .map_or((self.started_at, 0), |e| (e.at, e.code));
        terminated(&self.id, code, Some(self.started_at), Some(at))
    }
}

fn terminated_json_of(state: &TerminatedState) -> Value {
    terminated(
        &state.container_id,
        state.exit_code,
        state.started_at,
        state.finished_at,
    )
}

fn terminated(id: &str, code: i32, started: Option<Timestamp>, finished: Option<Timestamp>) -> Value {
    let reason = if code == 0 { "Completed" } else { "Error" };
    let time = |t: Option<Timestamp>| t.map(rfc3339_seconds);
    json!({"terminated": {"containerID": id, "exitCode": code, "reason": reason,
        "startedAt": time(started), "finishedAt": time(finished)}})
}

fn take_due(at: &mut Option<Timestamp>, now: Timestamp) -> bool {
    let due = at.is_some_and(|at| at <= now);
    if due {
        *at = None;
    }
    due
}

/// Doubling waits from 10 s to 5 min, forgotten after a quiet time of twice the longest.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    /// What failed; another thing starts afresh.
    of: String,
    wait: Duration,
    updated: Option<Timestamp>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_secs(10);
    const LAST: Duration = Duration::from_secs(300);

    /// Until when `of` must wait, counting from `since` (or from its last failure).
    pub fn waits_until(&self, of: &str, since: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let updated = self.updated.filter(|_| self.of == of)?;
        let since = since.unwrap_or(updated);
        if since.duration_since(updated).unsigned_abs() > Self::LAST * 2 {
            return None;
        }
        Some(since + self.wait).filter(|until| *until > now)
    }

    pub fn wait(&self) -> Duration {
        self.wait
    }

    pub fn failed(&mut self, of: &str, now: Timestamp) {
        let fresh = self.of != of
            || self
                .updated
                .is_none_or(|at| now.duration_since(at).unsigned_abs() > Self::LAST * 2);
        self.wait = if fresh {
            Self::FIRST
        } else {
            (self.wait * 2).min(Self::LAST)
        };
        self.of = of.to_owned();
        self.updated = Some(now);
    }
}
