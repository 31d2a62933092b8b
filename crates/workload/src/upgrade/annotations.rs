//! What pods carry of their SidecarSets, read leniently and written exactly.
use model::pod::PodView;
use model::sidecarset::keys;
use model::time::{Timestamp, rfc3339_seconds};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

use super::REPLACED_CONTAINERS;
use super::plan::Plan;

/// Containers by name, with the id each had when it was told to change.
pub type WaitList = BTreeMap<String, String>;

/// One SidecarSet's entry in a hash annotation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HashEntry {
    pub hash: String,
    pub updated: Option<Timestamp>,
    pub revision: String,
}

/// Reads `name`'s entry of one of the two hash annotations; the form of old, `{"name":"hash"}`, too.
pub(super) fn hash_entry(pod: &PodView, key: &str, name: &str) -> Result<HashEntry, String> {
    let Some(text) = pod.annotations.get(key).filter(|t| !t.is_empty()) else {
        return Ok(HashEntry::default());
    };
    let mut reader = serde_json::Deserializer::from_str(text);
    let entry = EntryOf(name).deserialize(&mut reader).and_then(|entry| {
        reader.end()?;
        Ok(entry)
    });
    Ok(match entry.map_err(|e| format!("annotation {key}: {e}"))? {
        Some(Entry::Now(entry)) => HashEntry {
            hash: entry.hash.unwrap_or_default(),
            updated: entry.update_timestamp.and_then(|t| t.parse().ok()),
            revision: entry.controller_revision.unwrap_or_default(),
        },
        Some(Entry::Old(hash)) => HashEntry {
            hash,
            ..HashEntry::default()
        },
        _ => HashEntry::default(),
    })
}

/// Reads one entry of a map and skips the others without a copy: a hundred thousand pods are read at a start.
struct EntryOf<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for EntryOf<'_> {
    type Value = Option<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EntryOf<'_> {
    type Value = Option<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of SidecarSets")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether the pod says it got `name`'s sidecars.
pub(super) fn is_injected(pod: &PodView, name: &str) -> bool {
    let list = pod.annotations.get(keys::INJECTED_LIST).unwrap_or_default();
    list.split(',').any(|n| n == name)
}

/// imageIDs recorded at updates, by container; `None` where the SidecarSet never updated the pod.
pub(super) fn recorded_images(pod: &PodView, name: &str) -> Option<BTreeMap<String, String>> {
    let state = object(pod, keys::INPLACE_UPDATE_STATE);
    let containers = state.get(name)?.get("lastContainerStatuses")?.as_object()?;
    Some(
        containers
            .iter()
            .map(|(c, s)| (c.clone(), s["imageID"].as_str().unwrap_or_default().to_owned()))
            .collect(),
    )
}

pub(super) fn replaced_containers(pod: &PodView, name: &str) -> WaitList {
    let all = object(pod, REPLACED_CONTAINERS);
    let ids = all.get(name).and_then(Value::as_object);
    ids.into_iter()
        .flatten()
        .map(|(c, id)| (c.clone(), id.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// The hash annotation with the plan's entry as of `now`; other SidecarSets' entries stay as they are.
pub(super) fn with_hash(pod: &PodView, plan: &Plan, hash: &str, now: Timestamp) -> String {
    let mut all = object(pod, keys::HASH);
    let mut entry = json!({
        "updateTimestamp": rfc3339_seconds(now), "hash": hash,
        "sidecarSetName": plan.name, "sidecarList": plan.sidecar_names(),
    });
    if !plan.revision.is_empty() {
        entry["controllerRevision"] = json!(plan.revision);
    }
    all.insert(plan.name.clone(), entry);
    Value::Object(all).to_string()
}

/// The update state with these containers' imageIDs; records of earlier updates, and their dates, stay.
pub(super) fn with_recorded(
    pod: &PodView,
    name: &str,
    hash: &str,
    images: &BTreeMap<&str, &str>,
    now: Timestamp,
) -> String {
    let mut all = object(pod, keys::INPLACE_UPDATE_STATE);
    let entry = all.entry(name).or_insert_with(
        || json!({"revision": hash, "updateTimestamp": rfc3339_seconds(now), "lastContainerStatuses": {}}),
    );
    if !entry.is_object() {
        *entry = json!({});
    }
    if !entry["lastContainerStatuses"].is_object() {
        entry["lastContainerStatuses"] = json!({});
    }
    for (container, id) in images {
        entry["lastContainerStatuses"][*container] = json!({"imageID": id});
    }
    Value::Object(all).to_string()
}

pub(super) fn with_replaced(pod: &PodView, name: &str, ids: &WaitList) -> Option<String> {
    let mut all = object(pod, REPLACED_CONTAINERS);
    if ids.is_empty() {
        all.remove(name)?;
    } else {
        all.insert(name.to_owned(), json!(ids));
    }
    Some(Value::Object(all).to_string())
}

/// An annotation that is a JSON object; one that is not counts as empty where it is written anew.
fn object(pod: &PodView, key: &str) -> Map<String, Value> {
    let text = pod.annotations.get(key).filter(|t| !t.is_empty());
    text.and_then(|t| serde_json::from_str(t).ok())
        .unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Now(EntryFields),
    Old(String),
    /// Another's entry may hold anything.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryFields {
    #[serde(default)]
    hash: Option<String>,
    #[serde(default)]
    update_timestamp: Option<String>,
    #[serde(default)]
    controller_revision: Option<String>,
}
