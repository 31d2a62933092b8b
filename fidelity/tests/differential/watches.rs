//! Watchers beside a trace: what they saw of its objects, in order.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::compare::Masks;
use crate::generate::{METADATA, TABLE};
use crate::side::Side;

/// A collection and how it is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    pub collection: &'static str,
    query: &'static str,
    accept: &'static str,
}

const END: &str = "the-end";
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG_MAPS: &str = "/api/v1/namespaces/{ns}/configmaps";
const PODS: &str = "/api/v1/namespaces/{ns}/pods";
const GADGETS: &str = "/apis/differential.example/v1/namespaces/{ns}/gadgets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/{ns}/deployments";

const WATCHES: [Watch; 10] = [
    watch(PODS, "", "application/json"),
    watch(CONFIG_MAPS, "", "application/json"),
    watch(GADGETS, "", "application/json"),
    watch(DEPLOYMENTS, "", "application/json"),
    watch(PODS, "&labelSelector=tier%3Dgold", "application/json"),
    watch(
        CONFIG_MAPS,
        "&labelSelector=tier%20in%20(gold,silver)",
        "application/json",
    ),
    watch(GADGETS, "&labelSelector=tier", METADATA),
    watch(PODS, "&fieldSelector=spec.nodeName%3D", "application/json"),
    watch(PODS, "", TABLE),
    watch(DEPLOYMENTS, "", METADATA),
];

const fn watch(collection: &'static str, query: &'static str, accept: &'static str) -> Watch {
    Watch {
        collection,
        query,
        accept,
    }
}

/// Some of the ways to watch, others for each seed.
pub fn chosen(seed: u64) -> Vec<Watch> {
    let start = usize::try_from(seed).unwrap_or_default();
    (0..4).map(|n| WATCHES[(start + n * 3) % WATCHES.len()]).collect()
}

/// Starts watching at `from`; the stream ends with the object that `end` creates.
pub fn follow(side: &Side, watch: Watch, namespace: &str, from: &str) -> JoinHandle<Vec<Value>> {
    let client = side.client.clone();
    let path = watch.collection.replace("{ns}", namespace);
    let url = format!("{path}?watch=true&resourceVersion={from}{}", watch.query);
    tokio::spawn(async move { client.watch(&url, watch.accept, PATIENCE, is_end).await })
}

/// The same from the beginning, now that everything has happened; and as an informer of today begins.
pub async fn replay(side: &Side, watch: Watch, namespace: &str, from: &str) -> Vec<Value> {
    let path = watch.collection.replace("{ns}", namespace);
    let url = format!("{path}?watch=true&resourceVersion={from}{}", watch.query);
    let patience = Duration::from_secs(20);
    let mut events = side.client.watch(&url, watch.accept, patience, is_end).await;
    let url = format!(
        "{path}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true{}",
        watch.query
    );
    let synced = |event: &Value| event["type"] == "BOOKMARK" || event["type"] == "ERROR";
    events.extend(side.client.watch(&url, watch.accept, patience, synced).await);
    events
}

/// Creates the object after which no watcher reads on.
pub async fn end(side: &Side, namespace: &str) {
    // A trace may have deleted it, and no pod is made without.
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    side.client.post(&accounts, &account).await;
    for collection in [CONFIG_MAPS, PODS, GADGETS, DEPLOYMENTS] {
        let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x",
            "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "500m"}}}]}});
        let mut object = match collection {
            GADGETS => {
                json!({"apiVersion": "differential.example/v1", "kind": "Gadget", "spec": {"size": 1}})
            }
            PODS => json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}),
            DEPLOYMENTS => json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template}}),
            _ => json!({"apiVersion": "v1", "kind": "ConfigMap"}),
        };
        object["metadata"] = json!({"name": END, "labels": {"tier": "gold"}});
        let reply = side
            .client
            .post(&collection.replace("{ns}", namespace), &object)
            .await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
    }
}

pub fn masked(mut events: Vec<Value>) -> Value {
    events.retain(|event| !is_timed_bookmark(event));
    let mut events = Value::Array(events);
    Masks::default().mask(&mut events);
    events
}

/// Bookmarks come by the clock, but for the one that ends the initial state.
pub fn is_timed_bookmark(event: &Value) -> bool {
    event["type"] == "BOOKMARK" && !event.to_string().contains("k8s.io/initial-events-end")
}

/// The types and names of a watch stream's events.
pub fn outline(events: &Value) -> String {
    let told = |e: &Value| {
        let name = e["object"]["metadata"]["name"].as_str().unwrap_or("?");
        format!("{} {name}", e["type"].as_str().unwrap_or("?"))
    };
    let all: Vec<String> = events.as_array().into_iter().flatten().map(told).collect();
    all.join(", ")
}

fn is_end(event: &Value) -> bool {
    let object = &event["object"];
    object["metadata"]["name"] == END || object["rows"][0]["object"]["metadata"]["name"] == END
}
