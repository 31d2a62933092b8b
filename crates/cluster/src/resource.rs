//! Which objects there are: group, version, plural, kind, and whether they live in namespaces.
use std::borrow::Cow;
use std::fmt;

/// A kind as the API server serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub namespaced: bool,
}

impl Resource {
    /// A kind whose objects live in namespaces.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced: true,
        }
    }

    /// A cluster-scoped kind.
    pub const fn cluster(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        let mut resource = Self::namespaced(group, version, plural, kind);
        resource.namespaced = false;
        resource
    }

    /// `v1`, `apps/v1`: as objects write it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods`, `deployments.apps`: as people and RBAC write it.
    pub fn name(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The path of the collection, or of one object in it, or of its subresource.
    pub fn path(&self, namespace: Option<&str>, name: Option<&str>, subresource: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace.filter(|n| self.namespaced && !n.is_empty()) {
            path.push_str("/namespaces/");
            push_escaped(&mut path, namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        for part in [name, subresource].into_iter().flatten() {
            path.push('/');
            push_escaped(&mut path, part);
        }
        path
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub(crate) fn push_escaped(out: &mut String, part: &str) {
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => {
                out.push('%');
                for nibble in [byte >> 4, byte & 15] {
                    out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
                }
            }
        }
    }
}

pub const NAMESPACES: Resource = Resource::cluster("", "v1", "namespaces", "Namespace");
pub const NODES: Resource = Resource::cluster("", "v1", "nodes", "Node");
pub const PODS: Resource = Resource::namespaced("", "v1", "pods", "Pod");
pub const CORE_EVENTS: Resource = Resource::namespaced("", "v1", "events", "Event");
pub const EVENTS: Resource = Resource::namespaced("events.k8s.io", "v1", "events", "Event");
pub const SECRETS: Resource = Resource::namespaced("", "v1", "secrets", "Secret");
pub const CONFIG_MAPS: Resource = Resource::namespaced("", "v1", "configmaps", "ConfigMap");
pub const SERVICES: Resource = Resource::namespaced("", "v1", "services", "Service");
pub const SERVICE_ACCOUNTS: Resource = Resource::namespaced("", "v1", "serviceaccounts", "ServiceAccount");
pub const LEASES: Resource = Resource::namespaced("coordination.k8s.io", "v1", "leases", "Lease");
pub const DEPLOYMENTS: Resource = Resource::namespaced("apps", "v1", "deployments", "Deployment");
pub const REPLICA_SETS: Resource = Resource::namespaced("apps", "v1", "replicasets", "ReplicaSet");
pub const STATEFUL_SETS: Resource = Resource::namespaced("apps", "v1", "statefulsets", "StatefulSet");
pub const DAEMON_SETS: Resource = Resource::namespaced("apps", "v1", "daemonsets", "DaemonSet");
pub const CONTROLLER_REVISIONS: Resource =
    Resource::namespaced("apps", "v1", "controllerrevisions", "ControllerRevision");
pub const JOBS: Resource = Resource::namespaced("batch", "v1", "jobs", "Job");
pub const CRON_JOBS: Resource = Resource::namespaced("batch", "v1", "cronjobs", "CronJob");
pub const POD_DISRUPTION_BUDGETS: Resource =
    Resource::namespaced("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget");
pub const PERSISTENT_VOLUME_CLAIMS: Resource =
    Resource::namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim");
pub const PERSISTENT_VOLUMES: Resource = Resource::cluster("", "v1", "persistentvolumes", "PersistentVolume");
pub const STORAGE_CLASSES: Resource =
    Resource::cluster("storage.k8s.io", "v1", "storageclasses", "StorageClass");
pub const CUSTOM_RESOURCE_DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
pub const MUTATING_WEBHOOK_CONFIGURATIONS: Resource = Resource::cluster(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
);
pub const VALIDATING_WEBHOOK_CONFIGURATIONS: Resource = Resource::cluster(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
);
/// `apps.kruise.io/v1beta1` SidecarSet, the storage version.
pub const SIDECAR_SETS: Resource =
    Resource::cluster("apps.kruise.io", "v1beta1", "sidecarsets", "SidecarSet");
