//! What a pod gets when it is created: a minimal JSON patch.
//!
//! Order of sidecars, volumes, env and everything written follow Kruise 1.9. Two departures: a container of the
//! pod's own is never overwritten, and a pod that already has what it would get (a copy, or the second call of a
//! reinvocation) is left alone.
mod annotations;
mod build;
mod patch;
mod resources;
mod sharing;

use super::prepare::{Choice, Prepared, PreparedContainer, PreparedRevision, PreparedSidecarSet};
use annotations::Annotations;
use build::Built;
use model::time::{Timestamp, rfc3339_seconds};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

pub use annotations::patch_annotations;
pub use patch::{PatchOp, Written};

/// One pod at creation, and the world as far as injection depends on it.
#[derive(Clone, Copy)]
pub struct InjectInput<'a> {
    pub pod: &'a Value,
    /// The request's namespace; empty means `default`.
    pub namespace: &'a str,
    /// `None` where the namespace cannot be read: no namespaceSelector matches then.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
    pub sets: &'a [Arc<PreparedSidecarSet>],
    pub now: Timestamp,
    /// A fresh random number, for SidecarSets that pin a revision partially.
    pub draw: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Injection {
    /// Empty where the pod stays as it is.
    pub patch: Vec<PatchOp>,
    /// SidecarSets injected now.
    pub injected: Vec<String>,
    /// SidecarSets with failure policy `Ignore` that could not be injected, and why.
    pub skipped: Vec<Denied>,
}

/// The pod must not be created, because a SidecarSet that matches it cannot be injected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("SidecarSet {set:?} cannot be injected into pod {pod:?}: {why}")]
pub struct Denied {
    pub set: String,
    pub pod: String,
    pub why: String,
}

pub fn inject(input: &InjectInput<'_>) -> Result<Injection, Denied> {
    let pod = PodParts::of(input.pod);
    if !pod.is_active() {
        return Ok(Injection::default());
    }
    let mut matched = matching(input);
    let mut skipped = Vec::new();
    loop {
        match inject_all(input, &pod, &matched) {
            Ok(injection) => return Ok(Injection { skipped, ..injection }),
            Err(denied) => {
                let at = matched
                    .iter()
                    .position(|s| s.name == denied.set && s.ignores_failure);
                let Some(at) = at else { return Err(denied) };
                matched.remove(at);
                skipped.push(denied);
            }
        }
    }
}

fn inject_all(
    input: &InjectInput<'_>,
    pod: &PodParts<'_>,
    matched: &[&PreparedSidecarSet],
) -> Result<Injection, Denied> {
    let Some(first) = matched.first() else {
        return Ok(Injection::default());
    };
    let denied = |set: &str, why: String| Denied {
        set: set.to_owned(),
        pod: pod.display_name(),
        why,
    };
    if !pod.spec.is_some_and(Value::is_object) {
        return Err(denied(&first.name, "the pod has no spec".to_owned()));
    }
    let mut annotations = Annotations::read(pod).map_err(|why| denied(&first.name, why))?;
    let mut chosen = Vec::new();
    for (i, set) in matched.iter().enumerate() {
        if annotations.is_injected(set, pod) {
            continue;
        }
        let content = choose(set, pod, mix(input.draw, i as u64));
        chosen.push((
            *set,
            content.as_ref().map_err(|why| denied(&set.name, why.clone()))?,
        ));
    }
    let declared: HashSet<&str> = matched
        .iter()
        .flat_map(|s| &s.declared_names)
        .map(String::as_str)
        .collect();
    let mut built = Built::default();
    for (set, content) in &chosen {
        built
            .add(set, content, pod, &declared)
            .map_err(|why| denied(&set.name, why))?;
        annotations
            .patch(&content.patches)
            .map_err(|why| denied(&set.name, why))?;
    }
    if built.is_empty() {
        return Ok(Injection::default());
    }
    let now = rfc3339_seconds(input.now);
    for (set, content) in &chosen {
        annotations.record(&set.name, content, &now);
    }
    annotations.slots(&built);
    let mut patch = Vec::new();
    built
        .write(pod, &mut patch)
        .map_err(|(set, why)| denied(&set, why))?;
    annotations.write(input.pod, &mut patch);
    Ok(Injection {
        skipped: Vec::new(),
        patch,
        injected: chosen.iter().map(|(set, _)| set.name.clone()).collect(),
    })
}

/// SidecarSets that match the pod, in the order they inject: those that pin its namespace by name first.
pub fn matching<'a>(input: &InjectInput<'a>) -> Vec<&'a PreparedSidecarSet> {
    let labels = input.pod.get("metadata").and_then(|m| m.get("labels"));
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
    let namespace = if input.namespace.is_empty() {
        "default"
    } else {
        input.namespace
    };
    let mut matched: Vec<&PreparedSidecarSet> = input
        .sets
        .iter()
        .map(|set| &**set)
        .filter(|set| !set.injection_paused && set.matches(label, input.namespace_labels))
        .collect();
    matched.sort_by(|a, b| {
        let rank = |s: &PreparedSidecarSet| !s.pins_namespace(namespace);
        (rank(a), &a.name).cmp(&(rank(b), &b.name))
    });
    matched
}

fn choose<'a>(set: &'a PreparedSidecarSet, pod: &PodParts<'_>, draw: u64) -> &'a Prepared {
    match &set.choice {
        Choice::Current(current) => current,
        Choice::Pinned { pinned, .. } => pinned,
        Choice::Partial {
            pinned,
            current,
            selector,
            pinned_percent,
        } => {
            let left_out = selector
                .as_ref()
                .is_some_and(|s| !s.matches(|key| pod.label(key)));
            if left_out || draw % 100 < u64::from(*pinned_percent) {
                pinned
            } else {
                current
            }
        }
    }
}

/// An independent draw for each SidecarSet (splitmix64).
fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Borrowed views of what is read of a pod; whatever has another shape counts as absent.
struct PodParts<'a> {
    metadata: Option<&'a Value>,
    status: Option<&'a Value>,
    spec: Option<&'a Value>,
    containers: &'a [Value],
    init_containers: &'a [Value],
}

impl<'a> PodParts<'a> {
    fn of(pod: &'a Value) -> Self {
        let spec = pod.get("spec");
        let list = |field| {
            spec.and_then(|s| s.get(field))
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice)
        };
        Self {
            metadata: pod.get("metadata"),
            status: pod.get("status"),
            spec,
            containers: list("containers"),
            init_containers: list("initContainers"),
        }
    }

    fn is_active(&self) -> bool {
        let phase = self.status.and_then(|s| s.get("phase")).and_then(Value::as_str);
        let deleted = self
            .metadata
            .and_then(|m| m.get("deletionTimestamp"))
            .is_some_and(|t| !t.is_null());
        !deleted && !matches!(phase, Some("Succeeded" | "Failed"))
    }

    fn label(&self, key: &str) -> Option<&'a str> {
        self.metadata?.get("labels")?.get(key)?.as_str()
    }

    fn annotation(&self, key: &str) -> Option<&'a str> {
        self.metadata?.get("annotations")?.get(key)?.as_str()
    }

    fn display_name(&self) -> String {
        let text = |field: &str| self.metadata.and_then(|m| m.get(field)).and_then(Value::as_str);
        text("name")
            .or_else(|| text("generateName"))
            .unwrap_or_default()
            .to_owned()
    }

    fn items(&self, field: &str) -> &'a [Value] {
        self.spec
            .and_then(|s| s.get(field))
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The pod's own containers, without injected ones.
    fn app_containers(&self) -> impl Iterator<Item = &'a Value> {
        self.containers.iter().filter(|c| !is_injected(c))
    }
}

fn name_of(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn is_injected(container: &Value) -> bool {
    let env = container
        .get("env")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    env.iter().any(|e| {
        name_of(e) == model::sidecarset::keys::ENV_INJECTED
            && e.get("value").and_then(Value::as_str) == Some("true")
    })
}

#[cfg(test)]
mod tests;
