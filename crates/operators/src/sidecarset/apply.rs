//! Sending what was decided. Every write asks, at the last moment, whether it is still wanted.
use super::sight::Sight;
use super::views::{Caches, Pod};
use cluster::door::WriteGate;
use cluster::resource::PODS;
use cluster::{ApiError, Cache, Door, LeaderGuard, ObjectKey, PatchKind, WriteReceipt};
use model::sidecarset::{PatchPodMetadata, SidecarSet};
use serde_json::{Map, Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use workload::upgrade::{Action, PodUpgrade};

/// Lets a write through only while we lead and the spec it was decided on is the one there is. This is what makes a
/// pause take effect at once, whatever is queued. And only while neither pods nor SidecarSets are in doubt: a server
/// that is put back to an earlier state cuts its watches, and then what was decided is decided on what never was.
pub(super) struct Gate {
    pub leader: Option<Arc<LeaderGuard>>,
    pub caches: Caches,
    pub sight: Arc<Sight>,
    /// What it was decided on.
    pub set: Arc<SidecarSet>,
}

impl WriteGate for Gate {
    fn look(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(self.sight.look())
    }

    fn may_write(&self) -> Result<Duration, String> {
        let left = match &self.leader {
            Some(leader) => leader.may_write()?,
            None => Duration::from_secs(3600),
        };
        if let Some(kind) = self.caches.in_doubt() {
            return Err(format!(
                "the watch of {kind} was cut, and they are not listed yet"
            ));
        }
        let decided = &self.set;
        let (name, uid, generation) = (
            &decided.metadata.name,
            &decided.metadata.uid,
            decided.metadata.generation,
        );
        let current = self.caches.sets.get(&ObjectKey::cluster(name.as_str()));
        let unchanged = current.is_some_and(|set| {
            let meta = &set.0.metadata;
            // Generations are counted anew after a server was put back: the same number may be of another spec.
            let same = meta.uid == *uid && meta.generation == generation && set.0.spec == decided.spec;
            same && meta.deletion_timestamp.is_none()
        });
        match unchanged && self.sight.is(uid, generation) {
            true => Ok(left),
            false => Err(format!("sidecarset {name} changed meanwhile")),
        }
    }
}

/// What became of a write to a pod.
pub(super) enum Landed {
    Done,
    /// It may have happened.
    Unknown(ApiError),
    /// Not sent: no longer wanted.
    Unwanted,
    /// There is no such pod any more; the cache will show it.
    Gone,
    Refused(ApiError),
}

/// Sends one action and tells the cache of it.
pub(super) async fn send(door: &Door, pods: &Cache<Pod>, action: &Action) -> (ObjectKey, Landed) {
    let (key, answer): (_, Result<WriteReceipt, ApiError>) = match action {
        Action::Upgrade(upgrade) => {
            let key = ObjectKey::new(&upgrade.namespace, &upgrade.name);
            (key, upgrade_pod(door, upgrade).await)
        }
        Action::Mark(mark) => {
            let key = ObjectKey::new(&mark.namespace, &mark.name);
            let namespace = Some(mark.namespace.as_str());
            let kind = PatchKind::Strategic;
            let answer = door
                .patch_text_as(
                    &PODS,
                    namespace,
                    &mark.name,
                    kind,
                    mark.patch.clone().into(),
                    Some("status"),
                )
                .await;
            (key, answer)
        }
    };
    let landed = match answer {
        Ok(receipt) => {
            pods.observe(&receipt);
            Landed::Done
        }
        Err(error) if error.reason == "Fenced" => Landed::Unwanted,
        Err(error) if error.is_not_found() => {
            pods.observe_unknown(&key);
            Landed::Gone
        }
        Err(error) if error.is_unknown() => {
            pods.observe_unknown(&key);
            Landed::Unknown(error)
        }
        Err(error) => Landed::Refused(error),
    };
    (key, landed)
}

async fn upgrade_pod(door: &Door, upgrade: &PodUpgrade) -> Result<WriteReceipt, ApiError> {
    let (namespace, name) = (Some(upgrade.namespace.as_str()), upgrade.name.as_str());
    if let Some(operations) = unread(&upgrade.metadata) {
        let patch = extended(&upgrade.patch, &operations);
        let sent = door
            .patch_text_as(&PODS, namespace, name, PatchKind::Json, patch, None)
            .await;
        match sent {
            Err(error) if error.code == 422 && !upgrade.metadata.is_empty() => {}
            other => return other,
        }
    }
    // Other annotations are not watched: they are read where they must be merged with.
    let pod = door.get(&PODS, namespace, name).await?;
    let there = pod["metadata"]["annotations"].as_object().cloned();
    let patch = extended(
        &upgrade.patch,
        &merged(&upgrade.metadata, there.unwrap_or_default()),
    );
    door.patch_text_as(&PODS, namespace, name, PatchKind::Json, patch, None)
        .await
}

/// A JSON patch with more operations at its end.
fn extended(patch: &str, more: &[Value]) -> String {
    let mut text = patch.to_owned();
    for operation in more {
        // A patch of a pod is never empty: it is bound to the pod's uid.
        let end = text.pop();
        debug_assert_eq!(end, Some(']'), "{patch}");
        text.push(',');
        text.push_str(&operation.to_string());
        text.push(']');
    }
    text
}

/// The operations that do it without a look at the pod, if they apply: what is to be retained was put there by
/// injection, which its copy onto itself asserts. `None` where a value must be merged with.
fn unread(patches: &[PatchPodMetadata]) -> Option<Vec<Value>> {
    let mut operations = Vec::new();
    for patch in patches {
        for (key, value) in &patch.annotations {
            let path = annotation_path(key);
            operations.push(match patch.patch_policy.as_str() {
                "Retain" | "" => json!({"op": "copy", "from": path, "path": path}),
                "Overwrite" => json!({"op": "add", "path": path, "value": value}),
                "MergePatchJson" => return None,
                _ => continue,
            });
        }
    }
    Some(operations)
}

fn annotation_path(key: &str) -> String {
    format!(
        "/metadata/annotations/{}",
        key.replace('~', "~0").replace('/', "~1")
    )
}

/// The operations that bring patchPodMetadata into a pod's annotations, each bound to what was read.
fn merged(patches: &[PatchPodMetadata], there: Map<String, Value>) -> Vec<Value> {
    let mut wanted = there.clone();
    for patch in patches {
        for (key, value) in &patch.annotations {
            let old = wanted.get(key).and_then(Value::as_str);
            let new = match (patch.patch_policy.as_str(), old) {
                ("Retain" | "", Some(_)) => continue,
                ("Retain" | "" | "Overwrite", _) | ("MergePatchJson", None) => value.clone(),
                ("MergePatchJson", Some(old)) => match json_merge(old, value) {
                    Some(merged) => merged,
                    None => continue,
                },
                _ => continue,
            };
            wanted.insert(key.clone(), json!(new));
        }
    }
    let mut operations = Vec::new();
    for (key, value) in wanted {
        let old = there.get(&key);
        if old == Some(&value) {
            continue;
        }
        let path = annotation_path(&key);
        if let Some(old) = old {
            operations.push(json!({"op": "test", "path": path, "value": old}));
        }
        operations.push(json!({"op": "add", "path": path, "value": value}));
    }
    operations
}

fn json_merge(old: &str, patch: &str) -> Option<String> {
    let mut old: Value = serde_json::from_str(old).ok()?;
    merge(&mut old, &serde_json::from_str(patch).ok()?);
    Some(old.to_string())
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(policy: &str, key: &str, value: &str) -> PatchPodMetadata {
        PatchPodMetadata {
            annotations: [(key.to_owned(), value.to_owned())].into(),
            patch_policy: policy.to_owned(),
        }
    }

    #[test]
    fn what_patch_pod_metadata_adds_comes_after_what_was_decided() {
        let decided = json!([{"op": "test", "path": "/metadata/uid", "value": "]"}]);
        assert_eq!(extended(&decided.to_string(), &[]), decided.to_string());
        let more = [
            json!({"op": "add", "path": "/a", "value": "1"}),
            json!({"op": "add", "path": "/b", "value": "2"}),
        ];
        let whole: Value = serde_json::from_str(&extended(&decided.to_string(), &more)).unwrap_or_default();
        assert_eq!(whole, json!([decided[0], more[0], more[1]]));
    }

    #[test]
    fn annotations_are_retained_overwritten_or_merged() {
        let there = json!({"a": "1", "b": "1", "c": "{\"x\":1,\"y\":2}"});
        let Value::Object(there) = there else { return };
        let patches = [
            patch("Retain", "a", "2"),
            patch("Retain", "new/key", "2"),
            patch("Overwrite", "b", "2"),
            patch("MergePatchJson", "c", "{\"x\":null,\"z\":3}"),
        ];
        let operations = merged(&patches, there);
        let added: Vec<(&str, &str)> = operations
            .iter()
            .filter(|o| o["op"] == "add")
            .map(|o| {
                (
                    o["path"].as_str().unwrap_or_default(),
                    o["value"].as_str().unwrap_or_default(),
                )
            })
            .collect();
        assert_eq!(
            added,
            [
                ("/metadata/annotations/b", "2"),
                ("/metadata/annotations/c", "{\"y\":2,\"z\":3}"),
                ("/metadata/annotations/new~1key", "2"),
            ]
        );
    }
}
