//! The pod's JSON as far as a view needs it; `null` counts as absent everywhere, as in Go.
use super::intern::{intern_containers, intern_pairs};
use super::{
    ConditionStatus, ContainerStatusView, ContainerView, KEPT_ANNOTATION_PREFIXES, PodPhase, PodView,
    ReadyCondition, RestartPolicy, TextMap, UpgradableCondition, Waiting, intern,
};
use crate::time::Timestamp;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, de};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

const MESSAGE_BYTES: usize = 256;
const OWN_PREFIX: &str = "tidegate.dev/";

#[derive(Deserialize)]
pub(super) struct Pod {
    #[serde(default, deserialize_with = "null_default")]
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "null_default")]
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    #[serde(deserialize_with = "shared")]
    namespace: Arc<str>,
    #[serde(deserialize_with = "null_default")]
    name: Box<str>,
    #[serde(deserialize_with = "null_default")]
    uid: Box<str>,
    #[serde(deserialize_with = "null_default")]
    resource_version: Box<str>,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "null_default")]
    generation: i64,
    #[serde(deserialize_with = "labels")]
    labels: TextMap,
    #[serde(deserialize_with = "kept_annotations")]
    annotations: TextMap,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "shared")]
    node_name: Arc<str>,
    #[serde(deserialize_with = "null_default")]
    restart_policy: Cow<'static, str>,
    #[serde(deserialize_with = "null_default")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "null_default")]
    init_containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default, deserialize_with = "shared")]
    name: Arc<str>,
    #[serde(default, deserialize_with = "shared")]
    image: Arc<str>,
    #[serde(default)]
    restart_policy: Option<Cow<'static, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "null_default")]
    phase: Cow<'static, str>,
    #[serde(deserialize_with = "null_default")]
    observed_generation: i64,
    #[serde(deserialize_with = "null_default")]
    conditions: Vec<Condition>,
    #[serde(deserialize_with = "null_default")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "null_default")]
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default, rename = "type", deserialize_with = "shared")]
    kind: Arc<str>,
    #[serde(default, deserialize_with = "shared")]
    status: Arc<str>,
    #[serde(default)]
    last_transition_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "null_default")]
    message: Box<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default, deserialize_with = "shared")]
    name: Arc<str>,
    #[serde(default, deserialize_with = "shared")]
    image: Arc<str>,
    #[serde(default, rename = "imageID", deserialize_with = "shared")]
    image_id: Arc<str>,
    #[serde(default, rename = "containerID", deserialize_with = "null_default")]
    container_id: Box<str>,
    #[serde(default, deserialize_with = "null_default")]
    ready: bool,
    #[serde(default, deserialize_with = "null_default")]
    started: bool,
    #[serde(default, deserialize_with = "null_default")]
    restart_count: i32,
    #[serde(default)]
    state: Option<State>,
}

#[derive(Deserialize)]
struct State {
    #[serde(default)]
    waiting: Option<WaitingState>,
}

#[derive(Deserialize)]
struct WaitingState {
    #[serde(default, deserialize_with = "shared")]
    reason: Arc<str>,
    #[serde(default, deserialize_with = "null_default")]
    message: Box<str>,
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> Self {
        let Pod {
            metadata,
            spec,
            status,
        } = pod;
        let mut ready = None;
        let mut upgradable = None;
        for condition in status.conditions {
            let status = condition_status(&condition.status);
            match &*condition.kind {
                "Ready" => {
                    ready = Some(ReadyCondition {
                        status,
                        last_transition_time: condition.last_transition_time,
                    });
                }
                "SidecarSetUpgradable" => {
                    upgradable = Some(UpgradableCondition {
                        status,
                        message: condition.message,
                    });
                }
                _ => {}
            }
        }
        Self {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            generation: metadata.generation,
            observed_generation: status.observed_generation,
            labels: metadata.labels,
            annotations: metadata.annotations,
            node_name: Some(spec.node_name).filter(|n| !n.is_empty()),
            restart_policy: match &*spec.restart_policy {
                "OnFailure" => RestartPolicy::OnFailure,
                "Never" => RestartPolicy::Never,
                _ => RestartPolicy::Always,
            },
            phase: phase(&status.phase),
            ready,
            upgradable,
            containers: containers(spec.containers),
            init_containers: containers(spec.init_containers),
            container_statuses: status
                .container_statuses
                .into_iter()
                .map(container_status)
                .collect(),
            init_container_statuses: status
                .init_container_statuses
                .into_iter()
                .map(container_status)
                .collect(),
        }
    }
}

fn containers(all: Vec<Container>) -> Arc<[ContainerView]> {
    let all: Vec<ContainerView> = all.into_iter().map(container).collect();
    intern_containers(&all)
}

fn container(c: Container) -> ContainerView {
    ContainerView {
        name: c.name,
        image: c.image,
        restart_always: c.restart_policy.as_deref() == Some("Always"),
    }
}

fn container_status(c: ContainerStatus) -> ContainerStatusView {
    let waiting = c.state.and_then(|s| s.waiting).map(|w| {
        let message = Box::from(&w.message[..w.message.floor_char_boundary(MESSAGE_BYTES)]);
        Box::new(Waiting {
            reason: w.reason,
            message,
        })
    });
    ContainerStatusView {
        name: c.name,
        image: c.image,
        image_id: c.image_id,
        container_id: c.container_id,
        ready: c.ready,
        started: c.started,
        restart_count: c.restart_count,
        waiting,
    }
}

fn condition_status(text: &str) -> ConditionStatus {
    match text {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        _ => ConditionStatus::Unknown,
    }
}

fn phase(text: &str) -> PodPhase {
    match text {
        "Running" => PodPhase::Running,
        "Succeeded" => PodPhase::Succeeded,
        "Failed" => PodPhase::Failed,
        "" | "Pending" => PodPhase::Pending,
        _ => PodPhase::Unknown,
    }
}

fn null_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

fn shared<'de, D: Deserializer<'de>>(input: D) -> Result<Arc<str>, D::Error> {
    struct Shared;
    impl Visitor<'_> for Shared {
        type Value = Arc<str>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<str>, E> {
            Ok(intern(text))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Arc<str>, E> {
            Ok(intern(""))
        }
    }
    input.deserialize_any(Shared)
}

fn labels<'de, D: Deserializer<'de>>(input: D) -> Result<TextMap, D::Error> {
    input.deserialize_any(Pairs {
        keeps: |_| true,
        is_own: |_| false,
    })
}

fn kept_annotations<'de, D: Deserializer<'de>>(input: D) -> Result<TextMap, D::Error> {
    let keeps = |key: &str| KEPT_ANNOTATION_PREFIXES.iter().any(|p| key.starts_with(p));
    // Pods that were injected or updated in the same second from the same revision say the same of it, to the byte.
    // What we write ourselves names containers of one pod, and is nobody else's.
    let is_own = |key: &str| key.starts_with(OWN_PREFIX);
    input.deserialize_any(Pairs { keeps, is_own })
}

/// A JSON object of text; entries that are not kept are skipped without a copy.
struct Pairs {
    keeps: fn(&str) -> bool,
    /// The value is of this pod alone.
    is_own: fn(&str) -> bool,
}

impl<'de> Visitor<'de> for Pairs {
    type Value = TextMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_unit<E: de::Error>(self) -> Result<TextMap, E> {
        Ok(TextMap::default())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<TextMap, M::Error> {
        let mut entries: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        let mut has_own = false;
        while let Some(key) = map.next_key::<Key>()? {
            if !(self.keeps)(&key.0) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let text = map.next_value::<Option<Key>>()?.map(|v| v.0).unwrap_or_default();
            let is_own = (self.is_own)(&key.0);
            has_own |= is_own;
            let value = if is_own { Arc::from(&*text) } else { intern(&text) };
            match entries.binary_search_by(|(have, _)| (**have).cmp(&key.0)) {
                Ok(at) => entries[at].1 = value,
                Err(at) => entries.insert(at, (intern(&key.0), value)),
            }
        }
        Ok(TextMap(match has_own {
            true => entries.into(),
            false => intern_pairs(&entries),
        }))
    }
}

/// Text that lives in a buffer of its own only while it is looked at.
#[derive(Default)]
struct Key(compact_str::CompactString);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        compact_str::CompactString::deserialize(input).map(Key)
    }
}
