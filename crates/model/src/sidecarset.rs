//! SidecarSet (`apps.kruise.io`), in its stored form v1beta1, and every key it writes elsewhere.
//!
//! Container bodies and volumes stay JSON: what this code does not know of a container is kept and injected.
mod conversion;
mod int_or_percent;
pub mod keys;
mod pod_hash;
mod strategy;

use crate::json::null_default;
use crate::selector::LabelSelector;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

pub use conversion::{ConversionError, to_v1alpha1, to_v1beta1};
pub use int_or_percent::{IntOrPercent, PercentError};
pub use pod_hash::{PodHash, PodHashes, parse_pod_hashes, pod_hashes_text};
pub use strategy::{
    InjectRevision, InjectionStrategy, OrderTerm, PriorityStrategy, ScatterTerm, UpdateStrategy, WeightTerm,
};

pub const GROUP: &str = "apps.kruise.io";
pub const V1BETA1: &str = "apps.kruise.io/v1beta1";
pub const V1ALPHA1: &str = "apps.kruise.io/v1alpha1";
pub const KIND: &str = "SidecarSet";

/// The CustomResourceDefinition, as YAML.
pub const CRD: &str = include_str!("../crds/sidecarsets.apps.kruise.io.yaml");

/// A SidecarSet as v1beta1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSet {
    #[serde(deserialize_with = "null_default")]
    pub api_version: String,
    #[serde(deserialize_with = "null_default")]
    pub kind: String,
    #[serde(deserialize_with = "null_default")]
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "null_default")]
    pub spec: SidecarSetSpec,
    #[serde(deserialize_with = "null_default")]
    pub status: SidecarSetStatus,
}

/// The parts of ObjectMeta deciders look at; the rest (managedFields, ...) is skipped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(deserialize_with = "null_default")]
    pub generation: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<jiff::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<jiff::Timestamp>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSetSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// `None` selects all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<SidecarContainer>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<SidecarContainer>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Value>,
    #[serde(deserialize_with = "null_default")]
    pub update_strategy: UpdateStrategy,
    #[serde(deserialize_with = "null_default")]
    pub injection_strategy: InjectionStrategy,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub patch_pod_metadata: Vec<PatchPodMetadata>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub custom_version: String,
}

/// A container of the pod, and how it is injected and upgraded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarContainer {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub pod_inject_policy: String,
    #[serde(deserialize_with = "null_default")]
    pub upgrade_strategy: UpgradeStrategy,
    #[serde(deserialize_with = "null_default")]
    pub share_volume_policy: ShareVolumePolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_volume_device_policy: Option<ShareVolumePolicy>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub transfer_env: Vec<TransferEnv>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources_policy: Option<ResourcesPolicy>,
    /// The core Container: name, image, and everything else.
    #[serde(flatten)]
    pub body: Map<String, Value>,
}

impl SidecarContainer {
    pub fn name(&self) -> &str {
        self.text("name")
    }

    pub fn image(&self) -> &str {
        self.text("image")
    }

    /// `restartPolicy: Always`, which in an init container makes a native sidecar.
    pub fn is_native(&self) -> bool {
        self.text("restartPolicy") == "Always"
    }

    pub fn is_hot(&self) -> bool {
        self.upgrade_strategy.upgrade_type == "HotUpgrade"
    }

    /// Name and image of the two slots of a hot-upgrade container.
    pub fn hot_slots(&self) -> [String; 2] {
        [format!("{}-1", self.name()), format!("{}-2", self.name())]
    }

    fn text(&self, field: &str) -> &str {
        self.body.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpgradeStrategy {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub upgrade_type: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub hot_upgrade_empty_image: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShareVolumePolicy {
    #[serde(
        rename = "type",
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub kind: String,
}

impl ShareVolumePolicy {
    pub fn is_enabled(&self) -> bool {
        self.kind == "enabled"
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransferEnv {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub source_container_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_container_name_from: Option<SourceContainerName>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub env_name: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub env_names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceContainerName {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_ref: Option<FieldRef>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FieldRef {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(deserialize_with = "null_default")]
    pub field_path: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourcesPolicy {
    #[serde(deserialize_with = "null_default")]
    pub target_containers_mode: String,
    #[serde(deserialize_with = "null_default")]
    pub target_containers_name_regex: String,
    #[serde(deserialize_with = "null_default")]
    pub resources_expr: ResourcesExpr,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourcesExpr {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceExprs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceExprs>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceExprs {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub cpu: String,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub memory: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchPodMetadata {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub patch_policy: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSetStatus {
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub observed_generation: i64,
    #[serde(deserialize_with = "null_default")]
    pub matched_pods: i32,
    #[serde(deserialize_with = "null_default")]
    pub updated_pods: i32,
    #[serde(deserialize_with = "null_default")]
    pub ready_pods: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub updated_ready_pods: i32,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub latest_revision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collision_count: Option<i32>,
    /// Ours: Kruise has none.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Value>,
    /// Ours: what an upgrade waits for, one line each.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Value>,
}

fn is_zero<T: Default + PartialEq>(n: &T) -> bool {
    *n == T::default()
}

#[cfg(test)]
mod tests;
