//! Carrying out a plan, and letting containers run by their script.
use std::time::Duration;

use model::time::Timestamp;
use rand::Rng;

use super::container::{ContainerState, Event, Made};
use super::plan::Act;
use super::{Around, Life, PodState, Sandbox};
use crate::image;
use crate::script::seconds_to_duration;

/// A failed sync is tried again after this long, half as much again at random.
const RETRY: Duration = Duration::from_secs(10);

impl PodState {
    /// Handles one event of a container, if any is due.
    pub(super) fn let_containers_run(&mut self, around: &mut Around<'_>) -> bool {
        let now = around.now;
        let due = self
            .containers
            .iter_mut()
            .find_map(|(name, c)| c.run_until(now).map(|event| (name.clone(), event)));
        let Some((name, event)) = due else { return false };
        match event {
            Event::Exited => {
                let at = now + around.script.until_relist(around.rng);
                self.ask_for_sync(at);
            }
            Event::ProbesChanged => {
                self.publish_probe(around, &name);
                self.ask_for_sync(now);
            }
            Event::Unlive => self.ask_for_sync(now),
        }
        true
    }

    pub(super) fn ask_for_sync(&mut self, at: Timestamp) {
        self.sync_at = Some(self.sync_at.map_or(at, |before| before.min(at)));
        // What happens while a plan is carried out is looked at afterwards anyway.
        self.changed_by_plan += u32::from(self.busy_until.is_some() || !self.plan.is_empty());
    }

    /// Takes the next act of the plan and works out how long it takes.
    pub(super) fn begin_act(&mut self, around: &mut Around<'_>) {
        let Some(act) = self.plan.front().cloned() else {
            return;
        };
        let timing = around.script.timing;
        let takes = match &act {
            Act::Sandbox => around.script.takes(timing.sandbox, around.rng),
            Act::Kill { container } => self.stop_time(around, container).0,
            Act::KillAll { containers } => containers
                .iter()
                .map(|c| self.stop_time(around, c).0)
                .max()
                .unwrap_or_default(),
            Act::Launch { .. } | Act::StopSandbox | Act::Stopped => Duration::ZERO,
            Act::Pull { container } => self.pull_time(around, container),
            Act::Resize { .. } => around.script.takes(timing.start, around.rng),
            Act::Start { container } => {
                let script = around.script.container_of(around.pod, container);
                around
                    .script
                    .takes(script.start.unwrap_or(timing.start), around.rng)
            }
            Act::PostStart { container } => {
                let script = around.script.container_of(around.pod, container);
                seconds_to_duration(script.post_start_takes.unwrap_or(0.0))
            }
        };
        self.busy_until = Some(around.now + takes);
    }

    /// The act at the head of the plan is done.
    pub(super) fn finish_act(&mut self, around: &mut Around<'_>, at: Timestamp) {
        let Some(act) = self.plan.pop_front() else { return };
        match act {
            Act::Sandbox => self.sandbox_made(around),
            Act::Kill { container } => self.kill(around, &container, at),
            Act::KillAll { containers } => containers.iter().for_each(|c| self.kill(around, c, at)),
            Act::Launch { container, replaced } => self.launch_checked(around, container, replaced),
            Act::Pull { container } => self.pulled(around, container),
            Act::Start { container } => self.started(around, container, at),
            Act::PostStart { container } => self.post_started(around, &container, at),
            Act::Resize { container } => self.resize(around, &container),
            Act::StopSandbox => {
                self.sandbox = Sandbox::Stopped;
                self.changed_by_plan += 1;
            }
            Act::Stopped => return self.stopped(around),
        }
        if self.plan.is_empty() && self.life == Life::Running {
            self.plan_done(around);
        }
    }

    fn plan_done(&mut self, around: &mut Around<'_>) {
        if self.changed_by_plan > 0 {
            let at = around.now + around.script.until_relist(around.rng);
            self.sync_at = Some(at);
            self.sync_again = self.changed_by_plan > 1;
        }
        if let Some(retry) = self.retry_at.take() {
            self.ask_for_sync(retry);
        }
    }

    fn sandbox_made(&mut self, around: &mut Around<'_>) {
        self.sandbox = Sandbox::Ready;
        let ip = if around.pod.spec.host_network {
            around.node.address.clone()
        } else {
            around.node.next_pod_ip()
        };
        self.ip.get_or_insert(ip);
        self.changed_by_plan += 1;
        self.publish_sandbox(around);
    }

    /// How long SIGTERM, and after the grace period SIGKILL, take to end it, and with which code.
    fn stop_time(&self, around: &mut Around<'_>, name: &str) -> (Duration, i32) {
        let meta = &around.pod.metadata;
        let grace = meta
            .deletion_grace_period_seconds
            .filter(|_| meta.deletion_timestamp.is_some())
            .or(around.pod.spec.termination_grace_period_seconds)
            .unwrap_or(30);
        // Killing at once would still take a moment; and no time may overflow.
        let grace = Duration::from_secs(grace.clamp(1, 1 << 24).unsigned_abs());
        let script = around.script.container_of(around.pod, name);
        let wanted = script.stop_after.unwrap_or(around.script.timing.stop);
        let takes = around.script.takes(wanted, around.rng);
        if takes > grace {
            (grace, 137)
        } else {
            (takes, script.stop_code)
        }
    }

    fn kill(&mut self, around: &mut Around<'_>, name: &str, at: Timestamp) {
        let code = self.stop_time(around, name).1;
        if let Some(state) = self.containers.get_mut(name) {
            state.end(at, code);
            self.changed_by_plan += 1;
        }
    }

    fn resize(&mut self, around: &mut Around<'_>, name: &str) {
        let current = self.containers.get_mut(name).and_then(|c| c.current.as_mut());
        if let (Some(current), Some(container)) = (current, around.pod.container(name)) {
            current.resources.clone_from(&container.resources);
            self.changed_by_plan += 1;
        }
    }

    /// Start now, or wait because it crashed too often or its image could not be pulled.
    fn launch_checked(&mut self, around: &mut Around<'_>, name: String, replaced: bool) {
        let Some(container) = around.pod.container(&name) else {
            return;
        };
        let now = around.now;
        let state = self.containers.entry(name.clone()).or_default();
        let key = format!("{}/{}", container.image, container.resources);
        let ended = state.current.as_ref().and_then(|c| c.ended.clone());
        if let Some(ended) = ended.filter(|_| !replaced) {
            if let Some(until) = state.crash_backoff.waits_until(&key, Some(ended.at), now) {
                let wait = state.crash_backoff.wait().as_secs();
                let pod = &around.pod.metadata;
                let message = format!(
                    "back-off {} restarting failed container={name} pod={}_{}({})",
                    go_seconds(wait),
                    pod.name,
                    pod.namespace,
                    pod.uid
                );
                state.waiting = Some(("CrashLoopBackOff".to_owned(), message));
                return self.fail_until(around, until);
            }
            state.crash_backoff.failed(&key, now);
        }
        if !image::is_valid(&container.image) {
            let message = format!(
                "Failed to apply default image tag \"{}\": couldn't parse image name \"{}\": invalid reference format",
                container.image, container.image
            );
            state.waiting = Some(("InvalidImageName".to_owned(), message));
            return self.fail(around);
        }
        let canonical = image::canonical(&container.image);
        let present = around.node.images.contains(&canonical);
        if present && container.image_pull_policy != "Always" {
            return self.plan.push_front(Act::Start { container: name });
        }
        if container.image_pull_policy == "Never" {
            let message = format!(
                "Container image \"{}\" is not present with pull policy of Never",
                container.image
            );
            state.waiting = Some(("ErrImageNeverPull".to_owned(), message));
            return self.fail(around);
        }
        if state
            .pull_backoff
            .waits_until(&container.image, None, now)
            .is_some()
        {
            let message = format!(
                "Back-off pulling image \"{}\": ErrImagePull: {}",
                container.image, state.pull_error
            );
            state.waiting = Some(("ImagePullBackOff".to_owned(), message));
            return self.fail(around);
        }
        self.plan.push_front(Act::Pull { container: name });
    }

    fn pull_time(&self, around: &mut Around<'_>, name: &str) -> Duration {
        let Some(container) = around.pod.container(name) else {
            return Duration::ZERO;
        };
        let script = around.script.image_of(around.pod, &container.image);
        let seconds = script.pull.unwrap_or(around.script.timing.pull);
        around.script.takes(seconds, around.rng)
    }

    fn pulled(&mut self, around: &mut Around<'_>, name: String) {
        let Some(container) = around.pod.container(&name) else {
            return;
        };
        let script = around.script.image_of(around.pod, &container.image);
        let rate = script
            .fail_rate
            .unwrap_or(if script.error.is_some() { 1.0 } else { 0.0 });
        if rate <= 0.0 || around.rng.random::<f64>() >= rate {
            around.node.images.insert(image::canonical(&container.image));
            return self.plan.push_front(Act::Start { container: name });
        }
        let why = script
            .error
            .unwrap_or_else(|| "the registry did not answer".to_owned());
        let reference = image::canonical(&container.image);
        let message = format!("failed to pull and unpack image \"{reference}\": {why}");
        let state = self.containers.entry(name).or_default();
        state.pull_backoff.failed(&container.image, around.now);
        state.waiting = Some(("ErrImagePull".to_owned(), message.clone()));
        state.pull_error = message;
        self.fail(around);
    }

    fn started(&mut self, around: &mut Around<'_>, name: String, at: Timestamp) {
        let Some(container) = around.pod.container(&name) else {
            return;
        };
        let script = around.script.container_of(around.pod, &name);
        let image = around.script.image_of(around.pod, &container.image);
        let made = Made::new(&container.image, image.content.as_deref(), around.rng);
        let state = self.containers.entry(name.clone()).or_default();
        state.start(container, &script, made, at);
        self.changed_by_plan += 1;
        if container.lifecycle.post_start.is_some() {
            self.plan.push_front(Act::PostStart { container: name });
        }
    }

    fn post_started(&mut self, around: &mut Around<'_>, name: &str, at: Timestamp) {
        let script = around.script.container_of(around.pod, name);
        if !script.post_start_fails {
            return;
        }
        if let Some(state) = self.containers.get_mut(name) {
            state.end(at, 137);
            state.waiting = Some(("PostStartHookError".to_owned(), "PostStartHook failed".to_owned()));
        }
        self.fail(around);
    }

    fn fail(&mut self, around: &mut Around<'_>) {
        let wait = RETRY.mul_f64(1.0 + around.rng.random_range(0.0..0.5));
        self.retry_by(around.now + wait);
        self.drop_init_launches(around);
    }

    fn fail_until(&mut self, around: &mut Around<'_>, until: Timestamp) {
        let wait = until.duration_since(around.now).unsigned_abs();
        self.retry_by(around.now + wait.mul_f64(1.0 + around.rng.random_range(0.0..0.5)));
        self.drop_init_launches(around);
    }

    fn retry_by(&mut self, at: Timestamp) {
        self.retry_at = Some(self.retry_at.map_or(at, |before| before.min(at)));
    }

    /// An init container that fails to start ends the sync before the main ones, unless they have run before.
    fn drop_init_launches(&mut self, around: &Around<'_>) {
        let started = |name: &str| self.containers.get(name).is_some_and(|c| c.current.is_some());
        let spec = &around.pod.spec;
        if !spec.init_containers.is_empty() && !spec.containers.iter().any(|c| started(&c.name)) {
            self.plan.retain(|act| !matches!(act, Act::Launch { .. }));
        }
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (&String, &ContainerState)> {
        self.containers.iter().filter(|(_, c)| c.is_running())
    }
}

/// `10s`, `2m40s`: as Go prints durations of whole seconds.
fn go_seconds(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, s) => format!("{s}s"),
        (m, s) => format!("{m}m{s}s"),
    }
}
