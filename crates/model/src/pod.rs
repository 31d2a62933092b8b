//! [`PodView`]: what deciders need to know of a pod, and nothing else.
//!
//! A view is decoded straight from the pod's JSON (unknown fields are skipped) and stays below about 1.5 KiB
//! for a typical pod, because a hundred thousand of them are held at once. Text that many pods share (label
//! keys, images, node names) is interned.
mod intern;
mod wire;

use crate::time::Timestamp;
use serde::Deserialize;
use std::sync::Arc;

pub use intern::intern;

/// Prefixes of the annotations a view keeps; all others are dropped.
pub const KEPT_ANNOTATION_PREFIXES: [&str; 5] = [
    "kruise.io/",
    "apps.kruise.io/",
    "version.sidecarset.kruise.io/",
    "versionalt.sidecarset.kruise.io/",
    "tidegate.dev/",
];

/// A compact projection of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "wire::Pod")]
pub struct PodView {
    pub namespace: Arc<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub creation_timestamp: Option<Timestamp>,
    pub deletion_timestamp: Option<Timestamp>,
    /// `metadata.generation`; 0 when absent.
    pub generation: i64,
    /// `status.observedGeneration`; 0 when absent (kubelets before 1.34 do not report it).
    pub observed_generation: i64,
    pub labels: TextMap,
    /// Only those with one of [`KEPT_ANNOTATION_PREFIXES`].
    pub annotations: TextMap,
    /// `spec.nodeName`; `None` while the pod is not bound.
    pub node_name: Option<Arc<str>>,
    pub restart_policy: RestartPolicy,
    pub phase: PodPhase,
    pub ready: Option<ReadyCondition>,
    /// Condition `SidecarSetUpgradable`.
    pub upgradable: Option<UpgradableCondition>,
    /// Shared, as labels are: pods of one template have the same.
    pub containers: Arc<[ContainerView]>,
    pub init_containers: Arc<[ContainerView]>,
    pub container_statuses: Box<[ContainerStatusView]>,
    pub init_container_statuses: Box<[ContainerStatusView]>,
}

impl PodView {
    /// Neither finished nor being deleted.
    pub fn is_active(&self) -> bool {
        self.deletion_timestamp.is_none() && !matches!(self.phase, PodPhase::Succeeded | PodPhase::Failed)
    }

    /// Condition `Ready` is `True`.
    pub fn is_ready(&self) -> bool {
        self.ready
            .as_ref()
            .is_some_and(|c| c.status == ConditionStatus::True)
    }

    pub fn container(&self, name: &str) -> Option<&ContainerView> {
        self.containers.iter().find(|c| &*c.name == name)
    }

    pub fn init_container(&self, name: &str) -> Option<&ContainerView> {
        self.init_containers.iter().find(|c| &*c.name == name)
    }

    pub fn container_status(&self, name: &str) -> Option<&ContainerStatusView> {
        self.container_statuses.iter().find(|c| &*c.name == name)
    }

    pub fn init_container_status(&self, name: &str) -> Option<&ContainerStatusView> {
        self.init_container_statuses.iter().find(|c| &*c.name == name)
    }

    /// Bytes this view owns beside its own size; what is interned is not counted, because it is shared.
    pub fn owned_bytes(&self) -> usize {
        let statuses = self
            .container_statuses
            .iter()
            .chain(&self.init_container_statuses);
        self.name.len()
            + self.uid.len()
            + self.resource_version.len()
            + self.annotations.owned_bytes()
            + statuses.map(ContainerStatusView::owned_bytes).sum::<usize>()
            + self.upgradable.as_ref().map_or(0, |c| c.message.len())
    }
}

/// A container of `spec.containers` or `spec.initContainers`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerView {
    pub name: Arc<str>,
    pub image: Arc<str>,
    /// `restartPolicy: Always`: an init container that keeps running (native sidecar).
    pub restart_always: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatusView {
    pub name: Arc<str>,
    pub image: Arc<str>,
    /// Empty until the kubelet has resolved the image.
    pub image_id: Arc<str>,
    /// Empty until the container was started once.
    pub container_id: Box<str>,
    pub ready: bool,
    pub started: bool,
    pub restart_count: i32,
    pub waiting: Option<Box<Waiting>>,
}

impl ContainerStatusView {
    fn owned_bytes(&self) -> usize {
        let waiting = self
            .waiting
            .as_ref()
            .map_or(0, |w| size_of::<Waiting>() + w.message.len());
        size_of::<Self>() + self.container_id.len() + waiting
    }
}

/// Why a container does not run (`state.waiting`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub reason: Arc<str>,
    /// Cut at 256 bytes.
    pub message: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyCondition {
    pub status: ConditionStatus,
    pub last_transition_time: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradableCondition {
    pub status: ConditionStatus,
    pub message: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConditionStatus {
    True,
    False,
    #[default]
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PodPhase {
    /// An absent phase is `Pending`, as an API server defaults it.
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

/// A small sorted map of text with interned keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextMap(Arc<[(Arc<str>, Arc<str>)]>);

impl TextMap {
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn owned_bytes(&self) -> usize {
        // Many values are shared, yet counted to stay on the safe side.
        self.0.iter().map(|(_, v)| 32 + v.len()).sum()
    }
}

/// Later duplicates of a key win, as they do in JSON.
impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for TextMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut entries: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for (k, v) in pairs {
            match entries.binary_search_by(|(have, _)| (**have).cmp(k.as_ref())) {
                Ok(at) => entries[at].1 = Arc::from(v.as_ref()),
                Err(at) => entries.insert(at, (intern(k.as_ref()), Arc::from(v.as_ref()))),
            }
        }
        Self(entries.into())
    }
}

#[cfg(test)]
mod tests;
