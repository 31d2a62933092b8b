//! What the SidecarSet operator holds of each kind it watches.
use cluster::resource::{CONFIG_MAPS, CONTROLLER_REVISIONS, NAMESPACES, NODES, PODS, SIDECAR_SETS};
use cluster::{Cache, Door, ObjectKey, WatchScope, Watched};
use model::json::null_default;
use model::pod::PodView;
use model::sidecarset::{SidecarSet, keys};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use workload::sidecarset::revision::Revision;
use workload::sidecarset::validate::Whitelist;

/// Everything the operator watches.
#[derive(Clone)]
pub(super) struct Caches {
    pub pods: Cache<Pod>,
    pub sets: Cache<Set>,
    pub namespaces: Cache<Namespace>,
    pub nodes: Cache<Node>,
    pub revisions: Cache<StoredRevision>,
    pub whitelists: Cache<Configuration>,
}

impl Caches {
    pub fn start(door: &Door, namespace: &str) -> Self {
        let all = WatchScope::default();
        let revisions = WatchScope {
            namespace: Some(namespace.to_owned()),
            label_selector: Some(keys::REVISION_OWNER.to_owned()),
            field_selector: None,
        };
        Self {
            pods: Cache::start(door, PODS, all.clone()),
            sets: Cache::start(door, SIDECAR_SETS, all.clone()),
            namespaces: Cache::start(door, NAMESPACES, all.clone()),
            nodes: Cache::start(door, NODES, all),
            revisions: Cache::start(door, CONTROLLER_REVISIONS, revisions),
            whitelists: Configuration::watch(door, namespace),
        }
    }

    pub async fn synced(&self) {
        tokio::join!(
            self.pods.synced(),
            self.sets.synced(),
            self.namespaces.synced(),
            self.nodes.synced(),
            self.revisions.synced(),
            self.whitelists.synced()
        );
    }

    pub fn are_synced(&self) -> bool {
        self.pods.is_synced()
            && self.sets.is_synced()
            && self.namespaces.is_synced()
            && self.revisions.is_synced()
            && self.whitelists.is_synced()
    }

    /// What pods are written by, and is in doubt since its watch was cut.
    pub fn in_doubt(&self) -> Option<&'static str> {
        match (self.pods.is_sure(), self.sets.is_sure()) {
            (false, _) => Some("pods"),
            (_, false) => Some("sidecarsets"),
            _ => None,
        }
    }

    /// Waits until neither pods nor SidecarSets are in doubt.
    pub async fn sure(&self) {
        while self.in_doubt().is_some() {
            tokio::join!(self.pods.sure(), self.sets.sure());
        }
    }

    /// Waits until there is a doubt.
    pub async fn doubted(&self) {
        tokio::select! {
            () = self.pods.doubted() => {}
            () = self.sets.doubted() => {}
        }
    }

    pub fn report_ages(&self, metrics: &crate::Metrics) {
        metrics.cache_age("pods", self.pods.age());
        metrics.cache_age("sidecarsets", self.sets.age());
        metrics.cache_age("namespaces", self.namespaces.age());
        metrics.cache_age("nodes", self.nodes.age());
        metrics.cache_age("controllerrevisions", self.revisions.age());
    }

    /// What everybody, a former leader above all, wrote before this call is seen after it.
    pub async fn refresh(&self) {
        tokio::join!(
            self.pods.refresh(),
            self.sets.refresh(),
            self.namespaces.refresh(),
            self.revisions.refresh(),
            self.whitelists.refresh()
        );
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Pod(pub Arc<PodView>);

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Set(pub Arc<SidecarSet>);

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    #[serde(deserialize_with = "null_default")]
    pub namespace: String,
    #[serde(deserialize_with = "null_default")]
    pub uid: String,
    #[serde(deserialize_with = "null_default")]
    pub resource_version: String,
    #[serde(deserialize_with = "null_default")]
    pub labels: Arc<BTreeMap<String, String>>,
}

/// An object held whole.
#[derive(Deserialize)]
#[serde(from = "serde_json::Value")]
pub(super) struct Stored {
    pub metadata: Meta,
    pub body: serde_json::Value,
}

impl From<serde_json::Value> for Stored {
    fn from(body: serde_json::Value) -> Self {
        let metadata = Meta::deserialize(&body["metadata"]).unwrap_or_default();
        Self { metadata, body }
    }
}

/// The ConfigMap in our namespace that says which pod annotations SidecarSets may write.
#[derive(Deserialize)]
pub(super) struct Configuration {
    pub metadata: Meta,
    #[serde(default, deserialize_with = "null_default")]
    data: BTreeMap<String, String>,
}

impl Configuration {
    pub fn watch(door: &Door, namespace: &str) -> Cache<Self> {
        let scope = WatchScope {
            namespace: Some(namespace.to_owned()),
            label_selector: None,
            field_selector: Some(format!("metadata.name={}", keys::CONFIGURATION)),
        };
        Cache::start(door, CONFIG_MAPS, scope)
    }

    /// One that cannot be read allows nothing.
    pub fn whitelist(&self) -> Option<Whitelist> {
        let text = self.data.get(keys::WHITELIST_KEY)?;
        match Whitelist::parse(text) {
            Ok(whitelist) => Some(whitelist),
            Err(error) => {
                tracing::warn!(%error, configmap = keys::CONFIGURATION, "the whitelist cannot be read");
                None
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Namespace {
    pub metadata: Meta,
}

#[derive(Deserialize)]
pub(super) struct Node {
    pub metadata: Meta,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    node_info: NodeInfo,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    kubelet_version: String,
}

/// From this minor version on native sidecars are a finished feature, restarted when their image changes.
const RESTARTS_NATIVE_SINCE: u32 = 33;

impl Node {
    pub fn restarts_native_sidecars(&self) -> bool {
        let version = self.status.node_info.kubelet_version.trim_start_matches('v');
        let mut parts = version.split('.');
        let major: u32 = parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
        let minor = parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
        major > 1 || (major == 1 && minor >= RESTARTS_NATIVE_SINCE)
    }
}

/// A ControllerRevision of a SidecarSet.
pub(super) struct StoredRevision {
    pub metadata: Meta,
    pub revision: Revision,
}

impl<'de> Deserialize<'de> for StoredRevision {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let whole = serde_json::Value::deserialize(input)?;
        Ok(Self {
            metadata: Meta::deserialize(&whole["metadata"]).map_err(D::Error::custom)?,
            revision: serde_json::from_value(whole).map_err(D::Error::custom)?,
        })
    }
}

impl Watched for Pod {
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.0.namespace, &self.0.name)
    }
    fn resource_version(&self) -> &str {
        &self.0.resource_version
    }
    fn uid(&self) -> &str {
        &self.0.uid
    }
}

impl Watched for Set {
    fn key(&self) -> ObjectKey {
        ObjectKey::cluster(&self.0.metadata.name)
    }
    fn resource_version(&self) -> &str {
        &self.0.metadata.resource_version
    }
    fn uid(&self) -> &str {
        &self.0.metadata.uid
    }
}

macro_rules! watched_by_meta {
    ($($kind:ty),*) => {$(
        impl Watched for $kind {
            fn key(&self) -> ObjectKey {
                ObjectKey::new(&self.metadata.namespace, &self.metadata.name)
            }
            fn resource_version(&self) -> &str {
                &self.metadata.resource_version
            }
            fn uid(&self) -> &str {
                &self.metadata.uid
            }
        }
    )*};
}

watched_by_meta!(Namespace, Node, StoredRevision, Stored, Configuration);
