//! ResourceQuota status: what is used, counted again when something may have been given back.

use apirules::admission::{self as rules, Lookup, Operation, Request};
use serde_json::{Map, Value, json};

use super::{Work, change, push, target};
use crate::catalog::{Resource, StorageKey};
use crate::server::ApiServer;
use crate::status::Status;

/// More than anybody has: a count is never refused.
const PLENTY: &str = "1000000000000000";

fn quotas() -> StorageKey {
    StorageKey::new("", "resourcequotas")
}

/// Has the quotas of a namespace counted again, if there are any.
pub(super) fn concern(server: &ApiServer, namespace: Option<&str>) {
    let Some(namespace) = namespace else { return };
    if server.inner.store.count(&quotas(), &format!("{namespace}/")) > 0 {
        push(server, Work::Quota(namespace.to_owned()));
    }
}

pub(super) async fn recount(server: &ApiServer, namespace: &str) -> Result<(), Status> {
    let Some(resource) = server.stored_resource(&quotas()) else {
        return Ok(());
    };
    let prefix = format!("{namespace}/");
    for stored in server.inner.store.snapshot(&quotas(), &prefix).1 {
        let mut at = target(&resource, &stored.key);
        at.subresource = Some("status".to_owned());
        let component = "system:serviceaccount:kube-system:resourcequota-controller";
        change(server, component, &at, |old| counted(server, old, namespace)).await?;
    }
    Ok(())
}

/// The quota with its status as of now.
fn counted(server: &ApiServer, quota: &Value, namespace: &str) -> Value {
    let mut next = quota.clone();
    let hard = quota
        .pointer("/spec/hard")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let zero: Map<String, Value> = hard.keys().map(|name| (name.clone(), json!("0"))).collect();
    let mut running = quota.clone();
    let plenty: Map<String, Value> = hard.keys().map(|name| (name.clone(), json!(PLENTY))).collect();
    running["spec"]["hard"] = Value::Object(plenty.clone());
    running["status"] = json!({"hard": plenty, "used": zero});
    for resource in server
        .stored_resources()
        .iter()
        .filter(|r| r.namespaced && counts(r, &hard))
    {
        for object in server
            .inner
            .store
            .snapshot(&resource.storage, &format!("{namespace}/"))
            .1
        {
            add(&mut running, resource, namespace, object.name(), &object.bare());
        }
    }
    next["status"]["hard"] = Value::Object(hard);
    next["status"]["used"] = running["status"]["used"].clone();
    next
}

/// Some hard limit counts objects of this resource.
fn counts(resource: &Resource, hard: &Map<String, Value>) -> bool {
    let named = match resource.group.is_empty() {
        true => format!("count/{}", resource.plural),
        false => format!("count/{}.{}", resource.plural, resource.group),
    };
    hard.contains_key(&named)
        || (resource.group.is_empty()
            && matches!(
                resource.plural.as_str(),
                "pods"
                    | "services"
                    | "configmaps"
                    | "secrets"
                    | "persistentvolumeclaims"
                    | "replicationcontrollers"
                    | "resourcequotas"
            ))
}

fn add(quota: &mut Value, resource: &Resource, namespace: &str, name: &str, object: &Value) {
    let request = Request {
        operation: Operation::Create,
        group: &resource.group,
        resource: &resource.plural,
        subresource: "",
        namespace: Some(namespace),
        name,
    };
    let only = Only(quota.clone());
    // A pod that is older than the quota may lack what the quota asks for; it counts for nothing then.
    if let Ok(evaluation) = rules::quota(&request, Some(object), None, &only)
        && let Some(charge) = evaluation.charges.into_iter().next()
    {
        quota["status"]["used"] = Value::Object(charge.used);
    }
}

/// A world of one quota.
struct Only(Value);

impl Lookup for Only {
    fn get(&self, _: &str, _: &str, _: Option<&str>, _: &str) -> Option<Value> {
        None
    }

    fn list(&self, _: &str, resource: &str, _: Option<&str>) -> Vec<Value> {
        match resource {
            "resourcequotas" => vec![self.0.clone()],
            _ => Vec::new(),
        }
    }
}
