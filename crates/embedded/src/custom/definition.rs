//! From a stored definition to the resources it serves.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::CustomVersion;
use crate::catalog::{Resource, StorageKey, Subresource};

const VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// Where a custom kind keeps its replicas, as JSON pointers.
#[derive(Debug, Clone)]
pub(crate) struct ScalePaths {
    pub spec: String,
    pub status: String,
    pub selector: Option<String>,
}

/// What a definition serves: one resource for each served version, if its names are accepted.
pub(super) fn resources(definition: &Value) -> Vec<Resource> {
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(storage) = versions.iter().find(|v| v["storage"] == true) else {
        return Vec::new();
    };
    let served = versions.iter().filter(|v| v["served"] == true);
    let mut all: Vec<Resource> = served
        .map(|version| resource(definition, version, storage))
        .collect();
    all.sort_by(|a, b| by_priority(&b.version, &a.version));
    all
}

fn resource(definition: &Value, version: &Value, storage: &Value) -> Resource {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let strings = |v: &Value| -> Vec<String> {
        v.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let (group, plural, kind) = (text(&spec["group"]), text(&names["plural"]), text(&names["kind"]));
    let or = |value: String, other: String| if value.is_empty() { other } else { value };
    let scale = scale_paths(&version["subresources"]["scale"]);
    let has_status = version["subresources"]["status"].is_object();
    let name = text(&version["name"]);
    let mut subresources = Vec::new();
    let verbs = || ["get", "patch", "update"].map(str::to_owned).to_vec();
    if has_status {
        let (group, version, kind) = (group.clone(), name.clone(), kind.clone());
        subresources.push(Subresource {
            name: "status".to_owned(),
            group,
            version,
            kind,
            verbs: verbs(),
        });
    }
    if scale.is_some() {
        subresources.push(Subresource {
            name: "scale".to_owned(),
            group: "autoscaling".to_owned(),
            version: "v1".to_owned(),
            kind: "Scale".to_owned(),
            verbs: verbs(),
        });
    }
    let list_kind = or(text(&names["listKind"]), format!("{kind}List"));
    Resource {
        storage: StorageKey::new(&group, &plural),
        storage_group: group.clone(),
        storage_version: text(&storage["name"]),
        storage_version_hash: Some(version_hash(&group, &text(&storage["name"]), &kind)),
        singular: or(text(&names["singular"]), kind.to_lowercase()),
        short_names: strings(&names["shortNames"]),
        categories: strings(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        verbs: VERBS.map(str::to_owned).to_vec(),
        subresources,
        group,
        version: name,
        kind,
        plural,
        custom: Some(Arc::new(CustomVersion {
            list_kind,
            has_status,
            scale,
        })),
    }
}

fn scale_paths(scale: &Value) -> Option<ScalePaths> {
    let pointer = |name: &str| scale[name].as_str().map(|path| path.replace('.', "/"));
    Some(ScalePaths {
        spec: pointer("specReplicasPath")?,
        status: pointer("statusReplicasPath")?,
        selector: pointer("labelSelectorPath"),
    })
}

/// As discovery shows it: the start of a hash of the storage version.
fn version_hash(group: &str, version: &str, kind: &str) -> String {
    use base64::Engine;
    let digest = Sha256::digest(format!("{group}/{version}/{kind}").as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// Versions as Kubernetes ranks them: `v2` over `v1` over `v1beta1` over `v1alpha1` over anything else.
fn by_priority(a: &str, b: &str) -> std::cmp::Ordering {
    rank(a).cmp(&rank(b)).then_with(|| b.cmp(a))
}

fn rank(version: &str) -> (u8, u64, u64) {
    let Some(rest) = version.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let Ok(major) = rest[..digits].parse::<u64>() else {
        return (0, 0, 0);
    };
    let tail = &rest[digits..];
    let minor = |name: &str| tail.strip_prefix(name).and_then(|n| n.parse::<u64>().ok());
    if tail.is_empty() {
        (3, major, 0)
    } else if let Some(minor) = minor("beta") {
        (2, major, minor)
    } else if let Some(minor) = minor("alpha") {
        (1, major, minor)
    } else {
        (0, 0, 0)
    }
}
