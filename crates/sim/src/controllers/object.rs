//! A workload object as it is, without the bookkeeping of its field managers.
use std::collections::BTreeMap;

use cluster::{ApiError, Cache, ObjectKey, PatchKind, Resource, Watched};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::World;
use crate::pod::Meta;

/// Counts of a status that are there also when they are zero.
const KEPT_ZEROS: [&str; 4] = ["terminatingReplicas", "terminating", "collisionCount", "ready"];

#[derive(Clone, Debug, Default)]
pub struct Object {
    pub meta: Meta,
    pub annotations: BTreeMap<String, String>,
    pub value: Value,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(from)?;
        if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
        let meta = Meta::deserialize(&value["metadata"]).map_err(serde::de::Error::custom)?;
        let annotations =
            Option::deserialize(&value["metadata"]["annotations"]).map_err(serde::de::Error::custom)?;
        Ok(Self {
            meta,
            annotations: annotations.unwrap_or_default(),
            value,
        })
    }
}

impl Object {
    pub fn spec(&self) -> &Value {
        &self.value["spec"]
    }

    pub fn status(&self) -> &Value {
        &self.value["status"]
    }

    /// A count of the spec.
    pub fn count(&self, field: &str, default: i64) -> i64 {
        self.spec()[field].as_i64().unwrap_or(default)
    }

    /// `spec.replicas`, 1 if absent.
    pub fn replicas(&self) -> usize {
        usize::try_from(self.count("replicas", 1)).unwrap_or(0)
    }

    /// An ownerReference to this object.
    pub fn as_owner(&self) -> Value {
        json!({"apiVersion": self.value["apiVersion"], "kind": self.value["kind"], "name": self.meta.name,
            "uid": self.meta.uid, "controller": true, "blockOwnerDeletion": true})
    }
}

impl World {
    /// Writes those fields of `status` that differ, if any do. Fields set to null go.
    pub(super) async fn write_status(
        &self,
        cache: &Cache<Object>,
        resource: &Resource,
        object: &Object,
        status: Value,
    ) -> Result<(), ApiError> {
        let mut change = Map::new();
        for (key, value) in status.as_object().into_iter().flatten() {
            let before = object.status().get(key).unwrap_or(&Value::Null);
            let empty = *value == json!(0) || *value == json!("");
            // The API server leaves zeros out, but for these fields.
            let same = before == value || (before.is_null() && empty && !KEPT_ZEROS.contains(&key.as_str()));
            if !same {
                change.insert(key.clone(), value.clone());
            }
        }
        if change.is_empty() {
            return Ok(());
        }
        let body = json!({"metadata": {"uid": object.meta.uid, "resourceVersion": object.meta.resource_version},
            "status": change});
        self.patch(cache, resource, object, &body, Some("status")).await
    }

    /// A merge patch whose answer the cache awaits.
    pub(super) async fn patch(
        &self,
        cache: &Cache<Object>,
        resource: &Resource,
        object: &Object,
        body: &Value,
        subresource: Option<&str>,
    ) -> Result<(), ApiError> {
        let key = object.meta.key();
        let (ns, name) = (key.namespace(), key.name.as_str());
        let answer = self
            .door
            .patch_as(resource, ns, name, PatchKind::Merge, body, subresource)
            .await;
        match answer {
            Ok(receipt) => cache.observe(&receipt),
            Err(error) => {
                if error.is_unknown() {
                    cache.observe_unknown(&key);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Creates an object whose answer the cache awaits; one that is there already is as good.
    pub(super) async fn create(
        &self,
        cache: &Cache<Object>,
        resource: &Resource,
        ns: &str,
        body: &Value,
    ) -> Result<(), ApiError> {
        match self.door.create(resource, Some(ns), body).await {
            Ok(answer) => cache.observe_answer(&answer),
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Watched for Object {
    fn key(&self) -> ObjectKey {
        self.meta.key()
    }

    fn resource_version(&self) -> &str {
        &self.meta.resource_version
    }

    fn uid(&self) -> &str {
        &self.meta.uid
    }
}
