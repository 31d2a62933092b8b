//! Every kind of Kruise, and what becomes of its objects in a take-over.
use serde_json::Value;

/// The API groups whose kinds are Kruise's.
pub const GROUPS: [&str; 2] = ["apps.kruise.io", "policy.kruise.io"];

/// A kind as the cluster serves it, and how much of it there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InUse {
    pub group: String,
    pub kind: String,
    pub objects: usize,
    /// Objects that work only through Kruise's webhook for pods.
    pub need_pod_webhook: Vec<String>,
}

/// What is in use of Kruise beside the objects of its kinds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    pub kinds: Vec<InUse>,
    /// `kind namespace/name` of objects Kruise protects from deletion.
    pub protected: Vec<String>,
    /// Pods made with the help of Kruise's webhook for pods.
    pub pods: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    TakenOver,
    Stays,
    /// What Kruise writes for itself.
    Bookkeeping,
    Unused,
    /// Works only through the webhook that must go.
    Refused,
}

impl InUse {
    pub fn fate(&self) -> Fate {
        match (self.kind.as_str(), self.objects) {
            ("SidecarSet", _) => Fate::TakenOver,
            (_, 0) => Fate::Unused,
            ("NodeImage" | "NodePodProbe", _) => Fate::Bookkeeping,
            _ if self.need_pod_webhook.is_empty() => Fate::Stays,
            _ => Fate::Refused,
        }
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TakenOver => "run by Tidegate",
            Self::Stays => "stays with Kruise",
            Self::Bookkeeping => "Kruise's own records, left alone",
            Self::Unused => "not in use",
            Self::Refused => "needs Kruise's webhook for pods: in the way",
        })
    }
}

impl Usage {
    /// Whether Kruise's manager is needed for anything but SidecarSets.
    pub fn needs_kruise(&self) -> bool {
        let fate = |f: Fate| self.kinds.iter().any(|k| k.fate() == f);
        fate(Fate::Stays) || fate(Fate::Refused) || !self.protected.is_empty() || !self.pods.is_empty()
    }
}

/// Whether an object works only as long as Kruise's webhook sees pods.
pub fn needs_pod_webhook(kind: &str, object: &Value) -> bool {
    match kind {
        "WorkloadSpread" | "PodUnavailableBudget" | "PersistentPodState" => true,
        "CloneSet" | "StatefulSet" | "DaemonSet" | "UnitedDeployment" => {
            marks_pods_not_ready(&object["spec"]) || launches_in_order(&object["spec"])
        }
        _ => false,
    }
}

/// Whether a pod was made with something only Kruise's webhook for pods writes, beside sidecars.
pub fn was_made_by_pod_webhook(pod: &Value) -> bool {
    let annotation = |key: &str| pod["metadata"]["annotations"].get(key).is_some();
    annotation("apps.kruise.io/using-enhanced-liveness") || launches_in_order(pod)
}

/// Through the readiness gate KruisePodReady, which that webhook gives to pods of Kruise's workloads.
fn marks_pods_not_ready(value: &Value) -> bool {
    any(value, &|key, value| {
        key == "markPodNotReady" && *value == Value::Bool(true)
    })
}

/// By barriers which that webhook writes into containers' environments.
fn launches_in_order(value: &Value) -> bool {
    any(value, &|key, value| match key {
        "apps.kruise.io/container-launch-priority" => true,
        "name" => {
            ["KRUISE_CONTAINER_PRIORITY", "KRUISE_CONTAINER_BARRIER"].contains(&value.as_str().unwrap_or(""))
        }
        _ => false,
    })
}

fn any(value: &Value, holds: &dyn Fn(&str, &Value) -> bool) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(k, v)| holds(k, v) || any(v, holds)),
        Value::Array(items) => items.iter().any(|v| any(v, holds)),
        _ => false,
    }
}
