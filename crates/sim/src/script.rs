//! How simulated containers and images behave: by script of the whole simulation, by annotation of one pod.
//!
//! | annotation of a pod | value |
//! |---|---|
//! | `sim.tidegate.dev/container-NAME` | [`ContainerScript`] as JSON: `{"exitAfter": 2, "exitCode": 1}` |
//! | `sim.tidegate.dev/images` | image pattern (`*` matches anything) to [`ImageScript`] as JSON: `{"app:bad*": {"error": "no such tag"}}` |
//!
//! Times are seconds. An annotation that cannot be read is ignored with a warning.
use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde::Deserialize;

use crate::pod::{ANNOTATION_PREFIX, Pod};

/// So that no time overflows.
const TEN_YEARS: f64 = 315_360_000.0;

/// The whole simulation's script.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub timing: Timing,
    /// Patterns of images; the longest that matches counts.
    pub images: BTreeMap<String, ImageScript>,
    /// Patterns of `namespace/pod/container`; the longest that matches counts.
    pub containers: BTreeMap<String, ContainerScript>,
}

/// How long a node takes for things, in seconds, and how much longer at random (0.2: up to a fifth).
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub sandbox: f64,
    pub pull: f64,
    pub start: f64,
    pub stop: f64,
    /// The kubelet looks at its containers this often.
    pub relist: f64,
    pub jitter: f64,
}

impl Default for Timing {
    /// As seen on a real node with a near registry.
    fn default() -> Self {
        Self {
            sandbox: 0.25,
            pull: 0.2,
            start: 0.1,
            stop: 0.05,
            relist: 1.0,
            jitter: 0.2,
        }
    }
}

impl Timing {
    /// Everything at once: for benchmarks and for tests of others.
    pub fn instant() -> Self {
        Self {
            sandbox: 0.0,
            pull: 0.0,
            start: 0.0,
            stop: 0.0,
            relist: 0.0,
            jitter: 0.0,
        }
    }
}

/// How images of a pattern behave.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageScript {
    /// Seconds a pull takes.
    pub pull: Option<f64>,
    /// Pulls fail with this message.
    pub error: Option<String>,
    /// Share of pulls that fail (with `error`, or a plain message).
    pub fail_rate: Option<f64>,
    /// References with the same value here have the same digest.
    pub content: Option<String>,
}

/// How a container behaves.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerScript {
    /// Exits by itself after so many seconds.
    pub exit_after: Option<f64>,
    pub exit_code: i32,
    /// The exit happens only while it runs this image.
    pub while_image: Option<String>,
    /// Seconds from SIGTERM to its exit; past the grace period it is killed (137).
    pub stop_after: Option<f64>,
    pub stop_code: i32,
    /// Seconds its postStart hook takes.
    pub post_start_takes: Option<f64>,
    pub post_start_fails: bool,
    /// Seconds from its start until a probe finds it ready, started, no longer alive.
    pub ready_after: Option<f64>,
    pub started_after: Option<f64>,
    pub unlive_after: Option<f64>,
    /// Seconds from creation to running.
    pub start: Option<f64>,
    /// Never ready by its readiness probe.
    pub never_ready: bool,
}

impl Script {
    /// `image` matching `pattern` behaves like this.
    pub fn image(mut self, pattern: impl Into<String>, script: ImageScript) -> Self {
        self.images.insert(pattern.into(), script);
        self
    }

    /// Containers whose `namespace/pod/container` matches `pattern` behave like this.
    pub fn container(mut self, pattern: impl Into<String>, script: ContainerScript) -> Self {
        self.containers.insert(pattern.into(), script);
        self
    }

    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    pub(crate) fn image_of(&self, pod: &Pod, image: &str) -> ImageScript {
        let annotated = annotation::<BTreeMap<String, ImageScript>>(pod, "images").unwrap_or_default();
        let found = longest_match(&annotated, image).or_else(|| longest_match(&self.images, image));
        found.cloned().unwrap_or_default()
    }

    pub(crate) fn container_of(&self, pod: &Pod, name: &str) -> ContainerScript {
        if let Some(script) = annotation(pod, &format!("container-{name}")) {
            return script;
        }
        if self.containers.is_empty() {
            return ContainerScript::default();
        }
        let path = format!("{}/{}/{name}", pod.metadata.namespace, pod.metadata.name);
        longest_match(&self.containers, &path)
            .cloned()
            .unwrap_or_default()
    }

    /// `seconds` and up to the jitter's share more.
    pub(crate) fn takes(&self, seconds: f64, rng: &mut StdRng) -> Duration {
        let share = if self.timing.jitter > 0.0 {
            rng.random_range(0.0..self.timing.jitter)
        } else {
            0.0
        };
        seconds_to_duration(seconds * (1.0 + share))
    }

    /// Until the kubelet next looks at its containers.
    pub(crate) fn until_relist(&self, rng: &mut StdRng) -> Duration {
        if self.timing.relist <= 0.0 {
            return Duration::ZERO;
        }
        seconds_to_duration(rng.random_range(0.05..=1.0) * self.timing.relist)
    }
}

/// A duration from a script's number, ten years at most; what makes no sense counts as none at all.
pub(crate) fn seconds_to_duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.min(TEN_YEARS)).unwrap_or(Duration::ZERO)
}

fn annotation<T: for<'de> Deserialize<'de>>(pod: &Pod, name: &str) -> Option<T> {
    if pod.metadata.annotations.is_empty() {
        return None;
    }
    let text = pod
        .metadata
        .annotations
        .get(&format!("{ANNOTATION_PREFIX}{name}"))?;
    match serde_json::from_str(text) {
        Ok(script) => Some(script),
        Err(error) => {
            tracing::warn!(pod = %pod.metadata.key(), annotation = name, %error, "script annotation ignored");
            None
        }
    }
}

fn longest_match<'a, T>(patterns: &'a BTreeMap<String, T>, text: &str) -> Option<&'a T> {
    patterns
        .iter()
        .filter(|(pattern, _)| matches(pattern, text))
        .max_by_key(|(pattern, _)| pattern.len())
        .map(|(_, found)| found)
}

/// Whether `text` is `pattern`, where `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_star_stands_for_anything() {
        assert!(super::matches("nginx:*", "nginx:1.20"));
        assert!(super::matches("*", ""));
        assert!(super::matches("a*b*c", "axxbyyc"));
        assert!(!super::matches("a*b*c", "axxbyy"));
        assert!(!super::matches("nginx", "nginx:1"));
    }
}
