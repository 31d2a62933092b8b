//! Revisions: one ControllerRevision per distinct content, named, numbered and kept as Kruise does.
//!
//! Contents are compared by meaning (null is absent, key order is nothing), so that a revision another
//! controller wrote is found again instead of being doubled.
use super::{go_json, hash};
use model::selector::label_value_problem;
use model::sidecarset::{SidecarSet, SidecarSetSpec, V1BETA1, keys};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What deciders need of a ControllerRevision.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Wire")]
pub struct Revision {
    pub name: String,
    pub resource_version: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// `.revision`: the larger, the newer.
    pub revision: i64,
    pub data: Value,
}

/// What to do about revisions; actions carry whole objects or patches.
#[derive(Debug, Clone, PartialEq)]
pub enum RevisionAction {
    /// The whole object; its namespace is the caller's.
    Create {
        object: Value,
    },
    /// A merge patch.
    Patch {
        name: String,
        resource_version: String,
        patch: Value,
    },
    Delete {
        name: String,
        resource_version: String,
    },
}

/// The plan, and the name of the revision that holds the current content (maybe not created yet).
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionPlan {
    pub actions: Vec<RevisionAction>,
    pub current: String,
    pub collision_count: i32,
}

impl Revision {
    /// The content as a spec; only what a revision keeps is set.
    pub fn spec(&self) -> Result<SidecarSetSpec, serde_json::Error> {
        serde_json::from_value(self.data.get("spec").cloned().unwrap_or(Value::Null))
    }

    pub(super) fn is_of(&self, set: &str) -> bool {
        self.labels
            .get(keys::REVISION_OWNER)
            .is_some_and(|owner| owner == set)
    }
}

/// What must be done so that the current content has a revision, custom versions are labelled, and history is
/// within its limit. `revisions`: those of this SidecarSet; `in_use`: names that matched pods carry.
pub fn plan(set: &SidecarSet, revisions: &[Revision], in_use: &BTreeSet<String>) -> RevisionPlan {
    let mut own: Vec<&Revision> = revisions.iter().filter(|r| r.is_of(&set.metadata.name)).collect();
    own.sort_by(|a, b| (a.revision, &a.name).cmp(&(b.revision, &b.name)));
    let newest = own.last().map_or(0, |r| r.revision);
    let data = data(&set.spec);
    let mut collisions = set.status.collision_count.unwrap_or(0);
    let mut actions = Vec::new();
    // Of several with equal content (a crash, or two controllers) the newest counts.
    let equal = own.iter().rev().find(|r| meaning(&r.data) == meaning(&data));
    let current = match equal {
        Some(found) => {
            actions.extend(refresh(set, found, newest));
            found.name.clone()
        }
        None => {
            let mut name = revision_name(&set.metadata.name, &data, collisions);
            while revisions.iter().any(|r| r.name == name) {
                collisions = collisions.wrapping_add(1);
                name = revision_name(&set.metadata.name, &data, collisions);
            }
            actions.push(RevisionAction::Create {
                object: object(set, &name, data, newest + 1),
            });
            name
        }
    };
    let count = own.len() + usize::from(equal.is_none());
    actions.extend(truncate(set, &own, count, &current, in_use));
    RevisionPlan {
        actions,
        current,
        collision_count: collisions,
    }
}

/// The revision new pods are pinned to; `Err` says why it cannot be had.
pub fn pinned<'a>(set: &SidecarSet, revisions: &'a [Revision]) -> Result<Option<&'a Revision>, String> {
    let Some(pin) = &set.spec.injection_strategy.revision else {
        return Ok(None);
    };
    if let Some(name) = &pin.revision_name {
        let found = revisions.iter().find(|r| r.name == *name);
        return found
            .map(Some)
            .ok_or_else(|| format!("no revision is named {name:?}"));
    }
    let Some(version) = &pin.custom_version else {
        return Ok(None);
    };
    let carries =
        |r: &&Revision| r.is_of(&set.metadata.name) && r.labels.get(keys::CUSTOM_VERSION) == Some(version);
    let found = revisions.iter().filter(carries).max_by_key(|r| r.revision);
    found
        .map(Some)
        .ok_or_else(|| format!("no revision has the custom version {version:?}"))
}

/// `{"spec":{"$patch":"replace",...}}`: absent lists are null.
pub fn data(spec: &SidecarSetSpec) -> Value {
    let list = |items: Vec<Value>| {
        if items.is_empty() {
            Value::Null
        } else {
            Value::Array(items)
        }
    };
    let containers = |all: &[model::sidecarset::SidecarContainer]| {
        list(all.iter().map(hash::canonical_container).collect())
    };
    let patches = spec.patch_pod_metadata.iter().map(|p| json!(p)).collect();
    json!({"spec": {
        "$patch": "replace",
        "containers": containers(&spec.containers),
        "imagePullSecrets": list(spec.image_pull_secrets.clone()),
        "initContainers": containers(&spec.init_containers),
        "patchPodMetadata": list(patches),
        "volumes": list(spec.volumes.clone()),
    }})
}

/// `<set>-<hash>`, the set's name cut at 223 bytes.
pub fn revision_name(set: &str, data: &Value, collision_count: i32) -> String {
    format!(
        "{}-{}",
        &set[..set.floor_char_boundary(223)],
        revision_hash(data, collision_count)
    )
}

fn revision_hash(data: &Value, collision_count: i32) -> String {
    let mut text = Vec::new();
    go_json::write_any(&mut text, data);
    text.extend(collision_count.to_string().into_bytes());
    let fnv1 = text.iter().fold(2_166_136_261_u32, |h, b| {
        h.wrapping_mul(16_777_619) ^ u32::from(*b)
    });
    hash::safe_encode(&fnv1.to_string())
}

/// Numbers a returning content anew and moves a changed custom version along.
fn refresh(set: &SidecarSet, found: &Revision, newest: i64) -> Option<RevisionAction> {
    let mut patch = Map::new();
    if found.revision < newest {
        patch.insert("revision".into(), (newest + 1).into());
    }
    let wanted = custom_version(set);
    if !wanted.is_empty() && found.labels.get(keys::CUSTOM_VERSION).map(String::as_str) != Some(wanted) {
        patch.insert(
            "metadata".into(),
            json!({"labels": {keys::CUSTOM_VERSION: wanted}}),
        );
    }
    (!patch.is_empty()).then(|| RevisionAction::Patch {
        name: found.name.clone(),
        resource_version: found.resource_version.clone(),
        patch: Value::Object(patch),
    })
}

/// As a label; empty where it cannot be one.
fn custom_version(set: &SidecarSet) -> &str {
    let version = set.spec.custom_version.as_str();
    match label_value_problem(version) {
        None => version,
        Some(_) => "",
    }
}

fn object(set: &SidecarSet, name: &str, data: Value, revision: i64) -> Value {
    let mut labels = set.metadata.labels.clone();
    let hash = name.rsplit('-').next().unwrap_or_default();
    labels.insert(keys::REVISION_HASH.into(), hash.into());
    labels.insert(keys::REVISION_OWNER.into(), set.metadata.name.clone());
    if !custom_version(set).is_empty() {
        labels.insert(keys::CUSTOM_VERSION.into(), custom_version(set).into());
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": set.metadata.annotations,
            "ownerReferences": [{
                "apiVersion": V1BETA1, "kind": "SidecarSet", "name": set.metadata.name, "uid": set.metadata.uid,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "data": data,
        "revision": revision,
    })
}

/// Oldest first, never the current one, one a pod carries, or the pinned one.
fn truncate(
    set: &SidecarSet,
    own: &[&Revision],
    count: usize,
    current: &str,
    in_use: &BTreeSet<String>,
) -> Vec<RevisionAction> {
    let limit = usize::try_from(set.spec.revision_history_limit.unwrap_or(10).max(1)).unwrap_or(10);
    let candidates: Vec<Revision> = own.iter().map(|r| (*r).clone()).collect();
    let pin = pinned(set, &candidates).ok().flatten().map(|r| r.name.clone());
    own.iter()
        .filter(|r| r.name != current && !in_use.contains(&r.name) && pin.as_ref() != Some(&r.name))
        .take(count.saturating_sub(limit))
        .map(|r| RevisionAction::Delete {
            name: r.name.clone(),
            resource_version: r.resource_version.clone(),
        })
        .collect()
}

/// The content without what means nothing: nulls, empty values, `creationTimestamp`.
fn meaning(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(key, _)| *key != "creationTimestamp")
                .filter_map(|(key, value)| {
                    let value = meaning(value);
                    let empty = match &value {
                        Value::Null => true,
                        Value::Array(a) => a.is_empty(),
                        // `emptyDir: {}` means something; `resources: {}` does not.
                        Value::Object(o) => {
                            o.is_empty()
                                && ["resources", "upgradeStrategy", "shareVolumePolicy"]
                                    .contains(&key.as_str())
                        }
                        _ => false,
                    };
                    (!empty).then(|| (key.clone(), value))
                });
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(meaning).collect()),
        plain => plain.clone(),
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: WireMeta,
    #[serde(default)]
    revision: i64,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireMeta {
    name: String,
    resource_version: String,
    #[serde(deserialize_with = "model::json::null_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "model::json::null_default")]
    annotations: BTreeMap<String, String>,
}

impl From<Wire> for Revision {
    fn from(wire: Wire) -> Self {
        Self {
            name: wire.metadata.name,
            resource_version: wire.metadata.resource_version,
            labels: wire.metadata.labels,
            annotations: wire.metadata.annotations,
            revision: wire.revision,
            data: wire.data,
        }
    }
}

#[cfg(test)]
mod tests;
