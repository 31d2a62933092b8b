//! Claims and volumes in use outlive their deletion: their protection finalizer goes when nothing uses them.

use apirules::admission::protection;
use serde_json::{Value, json};

use super::{Work, change, push, target};
use crate::catalog::{Resource, StorageKey};
use crate::server::ApiServer;
use crate::status::Status;
use crate::store::Stored;

const PROTECTED: [(&str, &str); 3] = [
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

/// After a start: what was on its way out still is.
pub(super) fn scan(server: &ApiServer) {
    for (group, plural) in PROTECTED {
        waiting(server, &StorageKey::new(group, plural), "");
    }
}

/// A protected object that is being deleted may be free already.
pub(super) fn concern(server: &ApiServer, resource: &Resource, object: &Stored) {
    if object.deleting && protection(&resource.group, &resource.plural).is_some() {
        push(
            server,
            Work::Protected(resource.storage.clone(), object.key.to_string()),
        );
    }
}

/// A pod no longer uses what it used.
pub(super) fn user_gone(server: &ApiServer, pod: &Stored) {
    if let Some(namespace) = pod.namespace() {
        waiting(server, &claims(), &format!("{namespace}/"));
    }
}

pub(super) async fn release(server: &ApiServer, table: &StorageKey, key: &str) -> Result<(), Status> {
    let (Some(resource), Some(found)) = (server.stored_resource(table), server.inner.store.get(table, key))
    else {
        return Ok(());
    };
    let Some(finalizer) = protection(&resource.group, &resource.plural) else {
        return Ok(());
    };
    if !found.deleting || in_use(server, &resource, &found) {
        return Ok(());
    }
    let component = "system:serviceaccount:kube-system:pvc-protection-controller";
    let at = target(&resource, key);
    change(server, component, &at, |old| without(old, finalizer)).await
}

fn claims() -> StorageKey {
    StorageKey::new("", "persistentvolumeclaims")
}

fn waiting(server: &ApiServer, table: &StorageKey, prefix: &str) {
    let (_, all) = server.inner.store.snapshot(table, prefix);
    for object in all.iter().filter(|o| o.deleting) {
        push(server, Work::Protected(table.clone(), object.key.to_string()));
    }
}

fn in_use(server: &ApiServer, resource: &Resource, object: &Stored) -> bool {
    match resource.plural.as_str() {
        "persistentvolumeclaims" => is_mounted(server, object),
        "persistentvolumes" => object.bare()["status"]["phase"] == "Bound",
        _ => {
            let (_, volumes) = server
                .inner
                .store
                .snapshot(&StorageKey::new("", "persistentvolumes"), "");
            let class = json!(object.name());
            volumes
                .iter()
                .any(|v| v.bare()["spec"]["volumeAttributesClassName"] == class)
        }
    }
}

/// By a pod that has a node and has not ended. A pod without a node may never come to use it.
fn is_mounted(server: &ApiServer, claim: &Stored) -> bool {
    let Some(namespace) = claim.namespace() else {
        return false;
    };
    let (_, pods) = server
        .inner
        .store
        .snapshot(&StorageKey::new("", "pods"), &format!("{namespace}/"));
    pods.iter().any(|pod| {
        let pod = pod.bare();
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        pod["spec"]["nodeName"].is_string() && !ended && names(&pod, claim.name())
    })
}

fn names(pod: &Value, claim: &str) -> bool {
    let own = pod["metadata"]["name"].as_str().unwrap_or_default();
    pod["spec"]["volumes"].as_array().into_iter().flatten().any(|v| {
        let ephemeral = v["ephemeral"].is_object()
            && v["name"]
                .as_str()
                .is_some_and(|name| claim == format!("{own}-{name}"));
        v["persistentVolumeClaim"]["claimName"] == claim || ephemeral
    })
}

fn without(old: &Value, finalizer: &str) -> Value {
    let mut next = old.clone();
    if let Some(all) = next["metadata"]["finalizers"].as_array_mut() {
        all.retain(|f| f != finalizer);
    }
    next
}
