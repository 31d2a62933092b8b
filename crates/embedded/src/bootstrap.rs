//! What every cluster has from the start: namespaces, roles, priority classes, the API's own Service.

use model::time::rfc3339_seconds;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalog::StorageKey;
use crate::fields;
use crate::metadata;
use crate::server::ApiServer;
use crate::status::Status;
use crate::store::{Change, CommitError, Expect, object_key};

const NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

#[derive(Deserialize)]
struct Recorded {
    group: String,
    plural: String,
    object: Value,
}

/// Creates what is missing.
pub(crate) async fn ensure(server: &ApiServer) -> Result<(), Status> {
    for name in NAMESPACES {
        let namespace = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        ensure_object(server, "", "namespaces", namespace)?;
        crate::controllers::furnish_namespace(server, name)?;
    }
    ensure_object(server, "", "services", api_service())?;
    let recorded: Vec<Recorded> =
        serde_json::from_str(include_str!("../data/bootstrap.json")).map_err(Status::internal)?;
    for Recorded {
        group,
        plural,
        object,
    } in recorded
    {
        ensure_object(server, &group, &plural, object)?;
    }
    server
        .inner
        .store
        .settled(server.inner.store.revision())
        .await
        .map_err(Status::internal)
}

/// Stores an object as it is, with a uid and a date, unless it is there.
pub(crate) fn ensure_object(
    server: &ApiServer,
    group: &str,
    plural: &str,
    mut object: Value,
) -> Result<(), Status> {
    let table = StorageKey::new(group, plural);
    let namespace = Some(metadata::text(&object, "namespace")).filter(|n| !n.is_empty());
    let key = object_key(namespace, metadata::name(&object));
    if server.inner.store.get(&table, &key).is_some() {
        return Ok(());
    }
    metadata::set(&mut object, "uid", server.new_uid());
    metadata::set(&mut object, "creationTimestamp", rfc3339_seconds(server.now()));
    let extract = fields::extractor(&table);
    match server
        .inner
        .store
        .commit(&table, &key, Expect::Absent, Change::Put(object), extract)
    {
        Ok(_) | Err(CommitError::Exists) => Ok(()),
        Err(other) => Err(Status::internal(other)),
    }
}

fn api_service() -> Value {
    json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
            "sessionAffinity": "None", "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    })
}
