//! ServiceAccount: every pod runs as one, with its token mounted and its pull secrets.

use serde_json::{Value, json};

use super::{Lookup, Operation, Refusal, Request};
use crate::read::Read;
use crate::validation::names::path_segment;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "kubernetes.io/config.mirror";

fn applies(request: &Request<'_>) -> bool {
    request.is_pod() && request.subresource.is_empty() && request.operation == Operation::Create
}

pub(super) fn mutate(
    request: &Request<'_>,
    pod: &mut Value,
    lookup: &dyn Lookup,
    suffix: &mut dyn FnMut() -> String,
) -> Result<(), Refusal> {
    if !applies(request) || !pod.at("spec").is_object() {
        return Ok(());
    }
    if pod.at("metadata").at("annotations").has(MIRROR) {
        return mirror(request, pod);
    }
    let given = match pod.at("spec").text("serviceAccountName") {
        "" => pod.at("spec").text("serviceAccount"),
        name => name,
    };
    let name = if given.is_empty() {
        "default".to_owned()
    } else {
        given.to_owned()
    };
    pod["spec"]["serviceAccountName"] = json!(name);
    pod["spec"]["serviceAccount"] = json!(name);
    let account = account(request, &name, lookup)?;
    let own = pod.at("spec").at("automountServiceAccountToken").as_bool();
    let wanted = own
        .or_else(|| account.at("automountServiceAccountToken").as_bool())
        .unwrap_or(true);
    if wanted {
        mount_token(pod, suffix);
    }
    if pod.at("spec").list("imagePullSecrets").is_empty() && !account.list("imagePullSecrets").is_empty() {
        let secrets = account
            .list("imagePullSecrets")
            .iter()
            .map(|s| json!({"name": s.text("name")}));
        pod["spec"]["imagePullSecrets"] = Value::Array(secrets.collect());
    }
    Ok(())
}

pub(super) fn validate(request: &Request<'_>, pod: &Value, lookup: &dyn Lookup) -> Result<(), Refusal> {
    if !applies(request) || pod.at("metadata").at("annotations").has(MIRROR) {
        return Ok(());
    }
    let name = pod.at("spec").text("serviceAccountName");
    if name.is_empty() {
        return Err(Refusal::forbidden(
            request,
            "no service account specified for pod",
        ));
    }
    account(request, name, lookup).map(drop)
}

fn account(request: &Request<'_>, name: &str, lookup: &dyn Lookup) -> Result<Value, Refusal> {
    let found = lookup.get("", "serviceaccounts", request.namespace, name);
    found.ok_or_else(|| {
        let namespace = request.namespace.unwrap_or_default();
        let why = match path_segment(name).as_slice() {
            [] => format!("serviceaccount {name:?} not found"),
            // A real server asks itself as a client does, and a client does not send such a name.
            unfit => format!("invalid resource name {name:?}: [{}]", unfit.join(" ")),
        };
        let why = format!("error looking up service account {namespace}/{name}: {why}");
        Refusal::forbidden(request, &why)
    })
}

/// Copies of static pods refer to no API objects.
fn mirror(request: &Request<'_>, pod: &Value) -> Result<(), Refusal> {
    if !pod.at("spec").text("serviceAccountName").is_empty() {
        return Err(Refusal::forbidden(
            request,
            "a mirror pod may not reference service accounts",
        ));
    }
    for volume in pod.at("spec").list("volumes") {
        let sources = volume.at("projected").list("sources");
        if sources.iter().any(|s| s.has("serviceAccountToken")) {
            let why = "a mirror pod may not use ServiceAccountToken volume projections";
            return Err(Refusal::forbidden(request, why));
        }
    }
    Ok(())
}

fn mount_token(pod: &mut Value, suffix: &mut dyn FnMut() -> String) {
    let volumes = pod.at("spec").list("volumes");
    let existing = volumes
        .iter()
        .map(|v| v.text("name"))
        .find(|n| n.starts_with(PREFIX))
        .map(str::to_owned);
    let has_volume = existing.is_some();
    let name = existing.unwrap_or_else(|| format!("{PREFIX}{}", suffix()));
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT});
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = pod
            .get_mut("spec")
            .and_then(|s| s.get_mut(list))
            .and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if container
                .list("volumeMounts")
                .iter()
                .any(|m| m.text("mountPath") == MOUNT)
            {
                continue;
            }
            needed = true;
            append(container, "volumeMounts", mount.clone());
        }
    }
    if needed && !has_volume {
        append(&mut pod["spec"], "volumes", token_volume(&name));
    }
}

fn append(object: &mut Value, list: &str, item: Value) {
    match object.get_mut(list).and_then(Value::as_array_mut) {
        Some(items) => items.push(item),
        None => object[list] = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
        },
    })
}
