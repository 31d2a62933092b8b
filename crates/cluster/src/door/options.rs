//! What writes are told, and what they answer.
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ObjectKey;

/// The four patch types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    /// Server-side apply.
    Apply {
        manager: String,
        force: bool,
    },
}

/// What must hold for a delete to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub preconditions: Preconditions,
    pub propagation: Option<Propagation>,
    pub grace_period_seconds: Option<u32>,
}

impl DeleteOptions {
    /// Only the very object that was looked at.
    pub fn of_uid(uid: impl Into<String>) -> Self {
        let preconditions = Preconditions {
            uid: Some(uid.into()),
            resource_version: None,
        };
        Self {
            preconditions,
            ..Self::default()
        }
    }
}

/// A delete that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Deleted {
    /// The object as the server showed it, where it did: with a deletionTimestamp it may still be there.
    pub object: Option<Value>,
}

/// The little of a write's answer that caches need: see [`crate::Cache::observe_write`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WriteReceipt {
    pub metadata: ReceiptMeta,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReceiptMeta {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
}

impl WriteReceipt {
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.metadata.namespace, &self.metadata.name)
    }
}

impl PatchKind {
    pub(super) fn content_type(&self) -> &'static str {
        match self {
            PatchKind::Json => "application/json-patch+json",
            PatchKind::Merge => "application/merge-patch+json",
            PatchKind::Strategic => "application/strategic-merge-patch+json",
            // JSON is YAML.
            PatchKind::Apply { .. } => "application/apply-patch+yaml",
        }
    }
}

impl DeleteOptions {
    pub(super) fn body(&self) -> Value {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = json!(format!("{propagation:?}"));
        }
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(uid) = &self.preconditions.uid {
            body["preconditions"]["uid"] = json!(uid);
        }
        if let Some(version) = &self.preconditions.resource_version {
            body["preconditions"]["resourceVersion"] = json!(version);
        }
        body
    }
}
