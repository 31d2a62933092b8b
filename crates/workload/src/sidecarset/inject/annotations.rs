//! What injection writes into the pod's annotations.
use super::build::Built;
use super::patch::{PatchOp, escape};
use super::{PodParts, PreparedContainer, PreparedRevision, PreparedSidecarSet, is_injected, name_of};
use model::sidecarset::{PatchPodMetadata, PodHash, PodHashes, keys, parse_pod_hashes, pod_hashes_text};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What the pod has, and what changes.
pub(super) struct Annotations<'a> {
    existing: Option<&'a Map<String, Value>>,
    changes: BTreeMap<String, String>,
    hashes: PodHashes,
    hashes_without_image: PodHashes,
}

impl<'a> Annotations<'a> {
    pub(super) fn read(pod: &PodParts<'a>) -> Result<Self, String> {
        let hashes = |key: &str| {
            let text = pod.annotation(key).unwrap_or_default();
            parse_pod_hashes(text).map_err(|e| format!("annotation {key} cannot be read: {e}"))
        };
        Ok(Self {
            existing: pod
                .metadata
                .and_then(|m| m.get("annotations"))
                .and_then(Value::as_object),
            changes: BTreeMap::new(),
            hashes: hashes(keys::HASH)?,
            hashes_without_image: hashes(keys::HASH_WITHOUT_IMAGE)?,
        })
    }

    /// Whether the pod already is what this SidecarSet, as it is now, would make of it.
    pub(super) fn is_injected(&self, set: &PreparedSidecarSet, pod: &PodParts<'_>) -> bool {
        let listed = pod
            .annotation(keys::INJECTED_LIST)
            .is_some_and(|l| l.split(',').any(|n| n == set.name));
        let content = self
            .hashes
            .get(&set.name)
            .and_then(|entry| set.content_with_hash(&entry.hash));
        let Some(content) = content.filter(|_| listed) else {
            return false;
        };
        // The annotations alone prove nothing: they may have been copied without the containers.
        let has = |list: &[Value], c: &PreparedContainer| match &c.hot {
            Some(_) => [1, 2]
                .iter()
                .all(|slot| find(list, &format!("{}-{slot}", c.name)).is_some()),
            None => find(list, &c.name).is_some_and(|there| there.get("image") == c.body.get("image")),
        };
        content.containers.iter().all(|c| has(pod.containers, c))
            && content
                .init_containers
                .iter()
                .all(|c| has(pod.init_containers, c))
    }

    /// Applies patchPodMetadata.
    pub(super) fn patch(&mut self, patches: &[PatchPodMetadata]) -> Result<(), String> {
        let existing = self.existing;
        let get = |key: &str| existing.and_then(|e| e.get(key)).and_then(Value::as_str);
        patch_annotations(patches, get, &mut self.changes)
    }

    pub(super) fn record(&mut self, set: &str, content: &PreparedRevision, now: &str) {
        let entry = |hash: &String, controller_revision: String| PodHash {
            update_timestamp: Some(now.to_owned()),
            hash: hash.clone(),
            sidecarset: set.to_owned(),
            sidecars: Some(content.sidecar_list.clone()),
            controller_revision,
        };
        self.hashes.insert(
            set.to_owned(),
            entry(&content.hash, content.controller_revision.clone()),
        );
        self.hashes_without_image
            .insert(set.to_owned(), entry(&content.hash_without_image, String::new()));
        let before = self.current(keys::INJECTED_LIST).unwrap_or_default().to_owned();
        let names: BTreeSet<&str> = before.split(',').chain([set]).filter(|n| !n.is_empty()).collect();
        let list = names.into_iter().collect::<Vec<_>>().join(",");
        self.changes.insert(keys::INJECTED_LIST.into(), list);
    }

    /// Versions and working slots of hot-upgrade containers.
    pub(super) fn slots(&mut self, built: &Built) {
        if built.hot.is_empty() {
            return;
        }
        let known = self.current(keys::WORKING_HOT_CONTAINER).unwrap_or_default();
        let mut working: BTreeMap<String, String> = serde_json::from_str(known).unwrap_or_default();
        for name in &built.hot {
            for (slot, version, alt) in [(format!("{name}-1"), "1", "0"), (format!("{name}-2"), "0", "1")] {
                self.changes
                    .insert(format!("{}{slot}", keys::VERSION_PREFIX), version.into());
                self.changes
                    .insert(format!("{}{slot}", keys::VERSION_ALT_PREFIX), alt.into());
            }
            working.insert(name.clone(), format!("{name}-1"));
        }
        let text = serde_json::to_string(&working).unwrap_or_default();
        self.changes.insert(keys::WORKING_HOT_CONTAINER.into(), text);
    }

    pub(super) fn write(self, pod: &Value, ops: &mut Vec<PatchOp>) {
        let Self {
            existing,
            mut changes,
            hashes,
            hashes_without_image,
        } = self;
        changes.insert(keys::HASH.into(), pod_hashes_text(&hashes));
        changes.insert(
            keys::HASH_WITHOUT_IMAGE.into(),
            pod_hashes_text(&hashes_without_image),
        );
        if existing.is_none() {
            let all: Map<String, Value> = changes.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
            if pod.get("metadata").is_some_and(Value::is_object) {
                ops.push(PatchOp::add("/metadata/annotations", Value::Object(all)));
            } else {
                ops.push(PatchOp::add(
                    "/metadata",
                    serde_json::json!({ "annotations": all }),
                ));
            }
            return;
        }
        for (key, value) in changes {
            if existing.and_then(|e| e.get(&key)).and_then(Value::as_str) != Some(&value) {
                ops.push(PatchOp::add(
                    format!("/metadata/annotations/{}", escape(&key)),
                    Value::String(value),
                ));
            }
        }
    }

    fn current(&self, key: &str) -> Option<&str> {
        let existing = self.existing.and_then(|e| e.get(key)).and_then(Value::as_str);
        self.changes.get(key).map(String::as_str).or(existing)
    }
}

/// The injected container of this name.
fn find<'v>(list: &'v [Value], name: &str) -> Option<&'v Value> {
    list.iter().find(|c| name_of(c) == name && is_injected(c))
}

/// Applies patchPodMetadata entries in order to `changes`, over what `existing` has.
pub fn patch_annotations<'a>(
    patches: &[PatchPodMetadata],
    existing: impl Fn(&str) -> Option<&'a str>,
    changes: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for patch in patches {
        for (key, value) in &patch.annotations {
            let have = changes.get(key).map(String::as_str).or_else(|| existing(key));
            match (patch.patch_policy.as_str(), have) {
                ("Retain", None) | ("Overwrite", _) | ("MergePatchJson", None) => {
                    changes.insert(key.clone(), value.clone());
                }
                ("MergePatchJson", Some(have)) => {
                    let merged = merge_text(have, value).map_err(|e| {
                        format!("patchPodMetadata: annotation {key} cannot be merged as JSON: {e}")
                    })?;
                    changes.insert(key.clone(), merged);
                }
                // Retain keeps what is there; an unknown policy does nothing.
                _ => {}
            }
        }
    }
    Ok(())
}

fn merge_text(have: &str, patch: &str) -> Result<String, serde_json::Error> {
    let mut target: Value = serde_json::from_str(have)?;
    merge(&mut target, serde_json::from_str(patch)?);
    serde_json::to_string(&target)
}

/// RFC 7386.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(&key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), value);
        }
    }
}
