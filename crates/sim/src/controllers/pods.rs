//! Making and removing pods, and counting them.
use std::sync::Arc;

use cluster::resource::PODS;
use cluster::{ApiError, DeleteOptions, ObjectKey};
use futures::{StreamExt, stream};
use model::time::Timestamp;
use serde_json::{Map, Value, json};

use super::{Object, World};
use crate::pod::Pod;

/// Creates or deletes in flight for one object.
const AT_ONCE: usize = 32;

impl World {
    /// Pods this object controls, those being deleted too, by name.
    pub(super) fn pods_of(&self, owner: &Object) -> Vec<Arc<Pod>> {
        self.pods
            .snapshot()
            .in_namespace(&owner.meta.namespace)
            .map(|(_, pod)| pod.clone())
            .filter(|pod| pod.metadata.is_controlled_by(&owner.meta.uid))
            .collect()
    }

    pub(super) async fn create_pods(&self, owner: &Object, bodies: Vec<Value>) -> Result<(), ApiError> {
        let ns = owner.meta.namespace.as_str();
        let make = |body: Value| async move {
            match self.door.create(&PODS, Some(ns), &body).await {
                Ok(answer) => self.pods.observe_answer(&answer),
                // A name of ours that is taken is an error too: the next try takes another.
                Err(error) => {
                    if error.is_unknown() {
                        let name = body["metadata"]["name"].as_str().unwrap_or_default();
                        self.pods.observe_unknown(&ObjectKey::new(ns, name));
                    }
                    return Err(error);
                }
            }
            Ok(())
        };
        let answers: Vec<_> = stream::iter(bodies)
            .map(make)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        answers.into_iter().collect()
    }

    pub(super) async fn delete_pods(&self, pods: Vec<Arc<Pod>>) -> Result<(), ApiError> {
        let remove = |pod: Arc<Pod>| async move {
            let key = pod.metadata.key();
            let options = DeleteOptions::of_uid(&pod.metadata.uid);
            match self
                .door
                .delete(&PODS, key.namespace(), &key.name, &options)
                .await
            {
                Ok(deleted) => self.pods.observe_delete(&key, &pod.metadata.uid, &deleted),
                Err(error) if error.is_not_found() || error.is_conflict() => {}
                Err(error) => return Err(error),
            }
            Ok(())
        };
        let answers: Vec<_> = stream::iter(pods)
            .map(remove)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        answers.into_iter().collect()
    }
}

/// A pod of `template`, owned by `owner`.
pub(super) fn pod_of(owner: &Object, template: &Value, name: &str, labels: &[(&str, &str)]) -> Value {
    let mut metadata = Map::new();
    for field in ["labels", "annotations", "finalizers"] {
        if template["metadata"][field].is_object() || template["metadata"][field].is_array() {
            metadata.insert(field.to_owned(), template["metadata"][field].clone());
        }
    }
    metadata.insert("name".to_owned(), json!(name));
    metadata.insert("generateName".to_owned(), json!(format!("{}-", owner.meta.name)));
    metadata.insert("namespace".to_owned(), json!(owner.meta.namespace));
    metadata.insert("ownerReferences".to_owned(), json!([owner.as_owner()]));
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
    for (key, value) in labels {
        pod["metadata"]["labels"][*key] = json!(value);
    }
    pod
}

/// Ready for `min_ready_seconds`; otherwise when it will be, if it goes on like this.
pub(super) fn available(pod: &Pod, min_ready_seconds: i64, now: Timestamp) -> Result<(), Option<Timestamp>> {
    let Some(since) = pod.ready_since() else {
        return if pod.is_ready() && min_ready_seconds == 0 {
            Ok(())
        } else {
            Err(None)
        };
    };
    let wait = std::time::Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or(0));
    match since.checked_add(wait) {
        Ok(at) if wait.is_zero() || at <= now => Ok(()),
        at => Err(at.ok()),
    }
}

/// What a workload's status counts, and when the next pod becomes available.
#[derive(Default)]
pub(super) struct Counts {
    pub ready: usize,
    pub available: usize,
    pub next: Option<Timestamp>,
}

impl Counts {
    pub fn of<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>, min_ready: i64, now: Timestamp) -> Self {
        let mut counts = Self::default();
        for pod in pods {
            counts.ready += usize::from(pod.is_ready());
            match available(pod, min_ready, now) {
                Ok(()) => counts.available += 1,
                Err(at) => counts.next = [counts.next, at].into_iter().flatten().min(),
            }
        }
        counts
    }
}

/// Those that hurt least first: not on a node, not running, not ready, on crowded nodes, lately ready, restarted.
pub(super) fn dispensable_first(pods: &mut [Arc<Pod>]) {
    let mut on_node = std::collections::BTreeMap::<String, usize>::new();
    for pod in pods.iter() {
        *on_node.entry(pod.spec.node_name.clone()).or_default() += 1;
    }
    let rank = |pod: &Arc<Pod>| {
        let phase = match pod.status.phase.as_str() {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let crowd = on_node.get(&pod.spec.node_name).copied().unwrap_or(0);
        let restarts = pod.status.container_statuses.iter().map(|c| c.restart_count);
        (
            !pod.spec.node_name.is_empty(),
            phase,
            pod.is_ready(),
            std::cmp::Reverse(crowd),
            std::cmp::Reverse(pod.ready_since()),
            std::cmp::Reverse(restarts.max()),
            std::cmp::Reverse(pod.metadata.creation_timestamp),
            pod.metadata.name.clone(),
        )
    };
    pods.sort_by_cached_key(rank);
}
