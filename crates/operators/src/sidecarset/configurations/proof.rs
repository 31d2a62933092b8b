//! Whether the API server acts by the configuration as we wrote it: it follows its configurations by a watch of its
//! own, so what is stored is in force only a moment later. An entry for an object of ours that is never created, only
//! rehearsed, tells by its path which state of the configuration it belongs to.
use super::Stored;
use super::announcing::path;
use cluster::Door;
use cluster::resource::LEASES;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const LEASE: &str = "tidegate-in-force";
const PATH: &str = "/in-force/";
/// An API server that has not seen a change of its configurations for so long has other troubles.
const PATIENCE: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

const NAME: &str = "in-force.tidegate.dev";

/// The entry of this configuration as it is; none where it has none.
pub(super) fn entry(namespace: &str, found: &Stored, client_config: &dyn Fn(&str) -> Value) -> Option<Value> {
    state(found).map(|state| of(namespace, &state, client_config))
}

/// The entry of whatever replaces this. Only one write can replace a version: it gives the new state its name.
pub(super) fn entry_after(
    namespace: &str,
    found: Option<&Stored>,
    client_config: &dyn Fn(&str) -> Value,
) -> Value {
    let next = found.map_or_else(
        || "first".to_owned(),
        |f| format!("after-{}", f.metadata.resource_version),
    );
    of(namespace, &next, client_config)
}

/// The state that a configuration says it is of.
pub(super) fn state(found: &Stored) -> Option<String> {
    let entry = found.body["webhooks"]
        .as_array()?
        .iter()
        .find(|entry| is(entry))?;
    path(entry)?.strip_prefix(PATH).map(str::to_owned)
}

pub(super) fn is(entry: &Value) -> bool {
    entry["name"] == NAME
}

fn of(namespace: &str, state: &str, client_config: &dyn Fn(&str) -> Value) -> Value {
    json!({
        "name": NAME,
        "admissionReviewVersions": ["v1"],
        "clientConfig": client_config(&format!("{PATH}{state}")),
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "matchConditions": [{"name": "the-probe", "expression": format!("object.metadata.name == '{LEASE}'")}],
        "rules": [{"apiGroups": ["coordination.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["leases"], "scope": "Namespaced"}],
        "sideEffects": "None",
        "timeoutSeconds": 5,
    })
}

/// What is answered on the entry's path, by any replica; `None` where it is no such path.
pub(in crate::sidecarset) fn answer(path: &str, body: &[u8]) -> Option<Vec<u8>> {
    let state = path.strip_prefix(PATH)?;
    let review: Value = serde_json::from_slice(body).ok()?;
    let status = json!({"code": 403, "message": says(state)});
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": false, "status": status}});
    Some(answer.to_string().into_bytes())
}

/// Asks until the API server answers by this state, or for as long as that may take; then says what it said last.
pub(super) async fn in_force(door: &Door, namespace: &str, state: &str) -> Result<(), String> {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": namespace}, "spec": {}});
    let end = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        let last = match door.rehearse_create(&LEASES, Some(namespace), &lease).await {
            Err(error) if error.message.contains(&says(state)) => return Ok(()),
            Err(error) => error.to_string(),
            Ok(_) => "nobody was asked about it".to_owned(),
        };
        if Instant::now() + pause >= end {
            return Err(last);
        }
        // Nothing tells when another process has read what we wrote: there is nothing to wait for.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn says(state: &str) -> String {
    format!("Tidegate is asked by state {state} of its webhook configuration")
}
