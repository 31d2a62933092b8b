//! From a stored definition to the resources it serves.

use std::sync::Arc;

use apiextensions::{Crd, CrdVersion, Scale};
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

impl ScalePaths {
    pub(super) fn of(scale: &Scale) -> Self {
        let pointer = |path: &str| path.replace('.', "/");
        Self {
            spec: pointer(&scale.spec_replicas),
            status: pointer(&scale.status_replicas),
            selector: scale.label_selector.as_deref().map(pointer),
        }
    }
}

/// What a definition serves: one resource for each served version, the most stable one first.
pub(super) fn resources(crd: Arc<Crd>) -> Vec<Resource> {
    let Some(storage) = crd.storage_version().map(|v| v.name.clone()) else {
        return Vec::new();
    };
    let served = crd.versions.iter().filter(|v| v.served);
    let mut all: Vec<Resource> = served.map(|version| resource(&crd, version, &storage)).collect();
    all.sort_by(|a, b| by_priority(&b.version, &a.version));
    all
}

fn resource(crd: &Arc<Crd>, version: &CrdVersion, storage: &str) -> Resource {
    let verbs = || ["get", "patch", "update"].map(str::to_owned).to_vec();
    let mut subresources = Vec::new();
    if version.status {
        subresources.push(Subresource {
            name: "status".to_owned(),
            group: crd.group.clone(),
            version: version.name.clone(),
            kind: crd.kind.clone(),
            verbs: verbs(),
        });
    }
    if version.scale.is_some() {
        subresources.push(Subresource {
            name: "scale".to_owned(),
            group: "autoscaling".to_owned(),
            version: "v1".to_owned(),
            kind: "Scale".to_owned(),
            verbs: verbs(),
        });
    }
    Resource {
        storage: StorageKey::new(&crd.group, &crd.plural),
        storage_group: crd.group.clone(),
        storage_version: storage.to_owned(),
        storage_version_hash: Some(version_hash(&crd.group, storage, &crd.kind)),
        singular: crd.singular.clone(),
        short_names: crd.short_names.clone(),
        categories: crd.categories.clone(),
        namespaced: crd.namespaced,
        verbs: VERBS.map(str::to_owned).to_vec(),
        subresources,
        group: crd.group.clone(),
        version: version.name.clone(),
        kind: crd.kind.clone(),
        plural: crd.plural.clone(),
        custom: Some(Arc::new(CustomVersion {
            list_kind: crd.list_kind.clone(),
            version: version.name.clone(),
            crd: crd.clone(),
        })),
    }
}

/// As discovery shows it: the start of a hash of the storage version.
fn version_hash(group: &str, version: &str, kind: &str) -> String {
    use base64::Engine;
    let digest = Sha256::digest(format!("{group}/{version}/{kind}").as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// Versions as Kubernetes ranks them: `v2` over `v1` over `v1beta1` over `v1alpha1` over anything else.
pub(super) fn by_priority(a: &str, b: &str) -> std::cmp::Ordering {
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
