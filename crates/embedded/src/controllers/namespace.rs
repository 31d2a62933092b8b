//! Namespaces: furnished when made, emptied before they go.

use model::time::rfc3339_seconds;
use serde_json::{Value, json};

use super::{Work, internal_call, push, target};
use crate::bootstrap::ensure_object;
use crate::catalog::StorageKey;
use crate::handlers::delete::{self, DeleteOptions};
use crate::handlers::update::Edit;
use crate::query::WriteOptions;
use crate::server::ApiServer;
use crate::status::Status;

/// The default ServiceAccount, and the certificate that pods trust.
pub(crate) fn furnish(server: &ApiServer, namespace: &str) -> Result<(), Status> {
    if !server.inner.controllers.enabled {
        return Ok(());
    }
    let account = json!({"metadata": {"name": "default", "namespace": namespace}});
    ensure_object(server, "", "serviceaccounts", account)?;
    let about = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such \
                 as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                 distributions of Kubernetes clusters.";
    let bundle = json!({
        "metadata": {
            "name": "kube-root-ca.crt", "namespace": namespace,
            "annotations": {"kubernetes.io/description": about},
        },
        "data": {"ca.crt": server.ca_certificate()},
    });
    ensure_object(server, "", "configmaps", bundle)
}

/// After a start: namespaces that were on their way out still are.
pub(super) fn scan(server: &ApiServer) {
    let (_, namespaces) = server
        .inner
        .store
        .snapshot(&StorageKey::new("", "namespaces"), "");
    for namespace in namespaces.iter().filter(|n| n.deleting) {
        push(server, Work::Namespace(namespace.name().to_owned()));
    }
}

/// Empties a namespace that is being deleted; when nothing is left it is finalized.
pub(super) async fn sync(server: &ApiServer, name: &str) -> Result<(), Status> {
    let Some(resource) = server.resource("", "v1", "namespaces") else {
        return Ok(());
    };
    let store = &server.inner.store;
    match store.get(&resource.storage, name) {
        Some(namespace) if namespace.deleting => {}
        _ => return Ok(()),
    }
    let call = internal_call(server, "system:serviceaccount:kube-system:namespace-controller");
    let prefix = format!("{name}/");
    let background = DeleteOptions::from_object(&json!({"propagationPolicy": "Background"}));
    for content in server.stored_resources().iter().filter(|r| r.namespaced) {
        let (_, objects) = store.snapshot(&content.storage, &prefix);
        for object in objects.iter().filter(|o| !o.deleting) {
            match delete::delete(&call, &target(content, &object.key), &background).await {
                Ok(_) => {}
                Err(status) if status.code == 404 => {}
                Err(status) => tracing::warn!(object = &*object.key, %status, "namespace content stays"),
            }
        }
    }
    let left = remaining(server, &prefix);
    let mut namespace = target(&resource, name);
    namespace.subresource = Some(if left.is_empty() { "finalize" } else { "status" }.to_owned());
    let options = WriteOptions::internal(false);
    let edit = Edit {
        call: &call,
        target: &namespace,
        options: &options,
        options_kind: "UpdateOptions",
        track: false,
        wants_version: false,
    };
    let now = rfc3339_seconds(server.now());
    edit.run(|old| {
        let next = if left.is_empty() {
            finalized(old)
        } else {
            with_conditions(old, &left, &now)
        };
        Ok((next, Vec::new()))
    })
    .await?;
    Ok(())
}

/// What is left, as (resource, objects, finalizers of them).
type Left = Vec<(String, usize, Vec<String>)>;

fn remaining(server: &ApiServer, prefix: &str) -> Left {
    let mut out = Vec::new();
    for resource in server.stored_resources().iter().filter(|r| r.namespaced) {
        let (_, objects) = server.inner.store.snapshot(&resource.storage, prefix);
        if !objects.is_empty() {
            let name = match resource.group.is_empty() {
                true => resource.plural.clone() + ".",
                false => format!("{}.{}", resource.plural, resource.group),
            };
            let finalizers = objects
                .iter()
                .flat_map(|o| crate::metadata::finalizers(&o.bare()))
                .collect();
            out.push((name, objects.len(), finalizers));
        }
    }
    out
}

fn finalized(old: &Value) -> Value {
    let mut next = old.clone();
    if let Some(list) = next.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut) {
        list.retain(|f| f != "kubernetes");
    }
    next
}

fn with_conditions(old: &Value, left: &Left, now: &str) -> Value {
    let mut next = old.clone();
    let content: Vec<String> = left
        .iter()
        .map(|(name, count, _)| format!("{name} has {count} resource instances"))
        .collect();
    let mut finalizers: Vec<(String, usize)> = Vec::new();
    for name in left.iter().flat_map(|(_, _, f)| f) {
        match finalizers.iter_mut().find(|(n, _)| n == name) {
            Some((_, count)) => *count += 1,
            None => finalizers.push((name.clone(), 1)),
        }
    }
    let held: Vec<String> = finalizers
        .iter()
        .map(|(n, c)| format!("{n} in {c} resource instances"))
        .collect();
    let remain = format!("Some resources are remaining: {}", content.join(", "));
    let held_text = format!(
        "Some content in the namespace has finalizers remaining: {}",
        held.join(", ")
    );
    let no_finalizers = "All content-preserving finalizers finished".to_owned();
    let conditions = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain", remain),
        match held.is_empty() {
            true => (
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                no_finalizers,
            ),
            false => (
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                held_text,
            ),
        },
    ];
    let before = old
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let list: Vec<Value> = conditions
        .into_iter()
        .map(|(kind, status, reason, message)| {
            let same = before.iter().find(|c| c["type"] == kind && c["status"] == status);
            let since = same.map_or_else(|| json!(now), |c| c["lastTransitionTime"].clone());
            json!({
                "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
            })
        })
        .collect();
    next["status"]["conditions"] = Value::Array(list);
    next
}
