//! The one write that upgrades a pod, and the one that marks it.
//!
//! Both are JSON patches bound to the pod and to what they replace, so that a write sent late, or by a leader that
//! is none any more, is refused instead of undoing what came after.
use super::REPLACED_CONTAINERS;
use super::annotations::{WaitList, replaced_containers, with_hash, with_recorded, with_replaced};
use super::completion::same_reference;
use super::facts::PodFacts;
use super::plan::Plan;
use model::pod::{ConditionStatus, ContainerView, PodView};
use model::sidecarset::{PatchPodMetadata, keys};
use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An image that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageChange {
    pub container: String,
    pub from: String,
    pub to: String,
}

/// Upgrades one pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodUpgrade {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub images: Vec<ImageChange>,
    /// JSON patch of the pod. As text: it waits for its turn beside hundreds of others, and its tree is seven times as
    /// large.
    pub patch: Box<str>,
    /// patchPodMetadata entries that need the pod's other annotations to be read first.
    pub metadata: Arc<[PatchPodMetadata]>,
}

/// Writes the pod's SidecarSetUpgradable condition.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusPatch {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub upgradable: bool,
    /// Strategic merge patch of the status subresource, as text.
    pub patch: Box<str>,
}

pub(super) fn upgrade(plan: &Plan, hash: &str, facts: &PodFacts, now: Timestamp) -> PodUpgrade {
    let pod = &*facts.pod;
    let mut operations = vec![json!({"op": "test", "path": "/metadata/uid", "value": &*pod.uid})];
    let mut images = Vec::new();
    let mut recorded = BTreeMap::new();
    let mut replaced = replaced_containers(pod, &plan.name);
    let cold = plan
        .containers
        .iter()
        .filter(|c| !c.hot)
        .map(|c| ("containers", &pod.containers, c));
    let natives = plan
        .natives
        .iter()
        .map(|c| ("initContainers", &pod.init_containers, c));
    for (field, list, sidecar) in cold.chain(natives) {
        let Some((index, there)) = find(list, &sidecar.name) else {
            continue;
        };
        record(
            pod,
            sidecar.name.as_str(),
            &sidecar.image,
            &mut recorded,
            &mut replaced,
        );
        operations.extend(is_still(pod, &sidecar.name, &replaced));
        if *there.image == *sidecar.image {
            continue;
        }
        let at = format!("/spec/{field}/{index}");
        operations.push(json!({"op": "test", "path": format!("{at}/name"), "value": sidecar.name}));
        operations.push(json!({"op": "test", "path": format!("{at}/image"), "value": &*there.image}));
        operations.push(json!({"op": "replace", "path": format!("{at}/image"), "value": sidecar.image}));
        images.push(ImageChange {
            container: sidecar.name.clone(),
            from: there.image.to_string(),
            to: sidecar.image.clone(),
        });
    }
    annotate(&mut operations, pod, keys::HASH, with_hash(pod, plan, hash, now));
    let state = with_recorded(pod, &plan.name, hash, &recorded, now);
    annotate(&mut operations, pod, keys::INPLACE_UPDATE_STATE, state);
    if let Some(ids) = with_replaced(pod, &plan.name, &replaced) {
        annotate(&mut operations, pod, REPLACED_CONTAINERS, ids);
    }
    PodUpgrade {
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        uid: pod.uid.to_string(),
        images,
        patch: Value::Array(operations).to_string().into(),
        metadata: plan.metadata.clone(),
    }
}

/// What the container runs now, to tell later whether it was replaced. Where the runtime says already what the
/// spec will say, as after a change that was taken back in time, no replacement needs to come; and one that does come,
/// as the kubelet is still busy with the spec before, is no proof of anything.
fn record<'a>(
    pod: &'a PodView,
    name: &'a str,
    image: &str,
    images: &mut BTreeMap<&'a str, &'a str>,
    replaced: &mut WaitList,
) {
    let Some(status) = pod
        .container_status(name)
        .or_else(|| pod.init_container_status(name))
    else {
        images.insert(name, "");
        return;
    };
    if same_reference(&status.image, image) {
        images.insert(name, "");
        replaced.remove(name);
        return;
    }
    images.insert(name, &status.image_id);
    if status.container_id.is_empty() {
        replaced.remove(name);
    } else {
        replaced.insert(name.to_owned(), status.container_id.to_string());
    }
}

/// That the container which is to be replaced runs when this arrives: another one there would pass for the new one.
fn is_still(pod: &PodView, name: &str, replaced: &WaitList) -> Option<Value> {
    let id = replaced.get(name)?;
    let lists = [
        ("containerStatuses", &pod.container_statuses),
        ("initContainerStatuses", &pod.init_container_statuses),
    ];
    lists.into_iter().find_map(|(field, list)| {
        let index = list.iter().position(|status| &*status.name == name)?;
        let path = format!("/status/{field}/{index}/containerID");
        Some(json!({"op": "test", "path": path, "value": id}))
    })
}

fn find<'a>(list: &'a [ContainerView], name: &str) -> Option<(usize, &'a ContainerView)> {
    list.iter().enumerate().find(|(_, c)| *c.name == *name)
}

/// Sets an annotation, if it still is what was read: another SidecarSet may write its own entry at any time.
fn annotate(operations: &mut Vec<Value>, pod: &PodView, key: &str, value: String) {
    let path = format!(
        "/metadata/annotations/{}",
        key.replace('~', "~0").replace('/', "~1")
    );
    if let Some(old) = pod.annotations.get(key) {
        operations.push(json!({"op": "test", "path": path, "value": old}));
    }
    operations.push(json!({"op": "add", "path": path, "value": value}));
}

/// What the pod's condition says of a SidecarSet.
pub(super) fn marked(pod: &PodView, name: &str) -> Option<bool> {
    // Only a mark that has entries is parsed: most pods have none.
    let message = pod
        .upgradable
        .as_ref()
        .map(|c| &c.message)
        .filter(|m| !m.is_empty())?;
    let entries: BTreeMap<String, Value> = serde_json::from_str(message).ok()?;
    entries.get(name).and_then(Value::as_bool)
}

/// The condition patch that makes `plan`'s entry say `upgradable`, unless it says so already.
pub(super) fn mark(plan: &Plan, facts: &PodFacts, upgradable: bool, now: Timestamp) -> Option<StatusPatch> {
    let pod = &*facts.pod;
    let message = pod.upgradable.as_ref().map_or("", |c| &c.message);
    let mut entries: BTreeMap<String, Value> = serde_json::from_str(message).unwrap_or_default();
    if entries.get(&plan.name).and_then(Value::as_bool) == Some(upgradable) {
        return None;
    }
    // Entries of SidecarSets that are not in the pod would keep it marked for ever.
    let injected = pod.annotations.get(keys::INJECTED_LIST).unwrap_or_default();
    entries.retain(|name, value| value.is_boolean() && injected.split(',').any(|n| n == name));
    entries.insert(plan.name.clone(), json!(upgradable));
    let all = entries.values().all(|v| *v == json!(true));
    let (status, reason) = match all {
        true => ("True", "AllSidecarsetUpgradable"),
        false => ("False", "UpdateImmutableField"),
    };
    let mut condition = json!({"type": keys::UPGRADABLE_CONDITION, "status": status, "reason": reason,
        "message": json!(entries).to_string()});
    let before = pod.upgradable.as_ref().map(|c| c.status == ConditionStatus::True);
    if before != Some(all) {
        condition["lastTransitionTime"] = json!(rfc3339_seconds(now));
    }
    Some(StatusPatch {
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        uid: pod.uid.to_string(),
        upgradable,
        patch: json!({"metadata": {"uid": &*pod.uid}, "status": {"conditions": [condition]}})
            .to_string()
            .into(),
    })
}
