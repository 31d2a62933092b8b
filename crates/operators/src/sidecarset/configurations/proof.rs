//! Whether the API server acts by the configuration as we wrote it: it follows its configurations by a watch of its
//! own, so what is stored is in force only a moment later. An entry for an object of ours that is never created, only
//! rehearsed, tells by its path which state of the configuration it belongs to.
use super::Stored;
use super::announcing::path;
use cluster::Door;
use cluster::resource::LEASES;
use serde_json::{Value, json};
use std::time::Duration;

const LEASE: &str = "tidegate-in-force";
const PATH: &str = "/in-force/";
/// An API server that has not seen a change of its configurations for so long has other troubles.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(2);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(200);

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
        "matchConditions": [{"name": "the-probe", "expression":
            format!("has(object.metadata.name) && object.metadata.name == '{LEASE}'")}],
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

/// The state that the API server acts by; or what it said instead.
pub(super) async fn heard(door: &Door, namespace: &str) -> Result<String, String> {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": namespace}, "spec": {}});
    let resource = LEASES;
    let rehearsed = door.rehearse_create(&resource, Some(namespace), &lease);
    match tokio::time::timeout(PATIENCE, rehearsed).await {
        Ok(Ok(_)) => Err("nobody was asked about it".to_owned()),
        Ok(Err(error)) => match said(&error.message) {
            Some(state) => Ok(state.to_owned()),
            None => Err(error.to_string()),
        },
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn says(state: &str) -> String {
    format!("{SAYS}{state}{OF}")
}

fn said(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(SAYS)?;
    Some(rest.split_once(OF)?.0)
}

const SAYS: &str = "Tidegate is asked by state ";
const OF: &str = " of its webhook configuration";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_answered_is_understood_behind_whatever_the_api_server_puts_before_it() {
        let review = json!({"request": {"uid": "u"}}).to_string();
        let answer: Value =
            serde_json::from_slice(&answer("/in-force/after-12", review.as_bytes()).unwrap()).unwrap();
        assert_eq!(answer["response"]["allowed"], false);
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        let whole = format!("admission webhook \"in-force.tidegate.dev\" denied the request: {message}");
        assert_eq!(said(&whole), Some("after-12"));
        assert_eq!(said("leases is forbidden"), None);
    }
}
