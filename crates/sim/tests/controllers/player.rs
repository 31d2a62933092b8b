//! Who tells a story: writes, waits for what must come, and looks at everything when it has come to rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::resource::{
    CONTROLLER_REVISIONS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, NAMESPACES, NODES,
    POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, SERVICE_ACCOUNTS, STATEFUL_SETS,
};
use cluster::{
    ApiError, Cache, DeleteOptions, Door, ListOptions, PatchKind, Propagation, Resource, WatchScope,
};
use serde_json::{Value, json};
use tidegate_sim::controllers::Object;
use tokio_util::sync::DropGuard;

use crate::normal;

const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Nothing changed for this long: at rest.
const REST: Duration = Duration::from_millis(2500);

pub struct Player {
    pub door: Door,
    _stop: DropGuard,
}

/// One story in a namespace of its own.
pub struct Stage<'a> {
    door: &'a Door,
    pub namespace: String,
    pub seen: Vec<Value>,
    order: Arc<Mutex<Vec<String>>>,
    _watching: AbortOnDrop,
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Player {
    pub async fn new(door: Door, stop: DropGuard) -> Self {
        let player = Self { door, _stop: stop };
        wait("three nodes that pods can go to", || async {
            let nodes = player
                .door
                .list(&NODES, None, &ListOptions::default())
                .await
                .unwrap();
            nodes.items.len() == 3 && nodes.items.iter().all(|n| n["spec"]["taints"].is_null())
        })
        .await;
        player
    }

    pub async fn stage(&self, namespace: &str) -> Stage<'_> {
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        self.door.create(&NAMESPACES, None, &body).await.unwrap();
        wait("the namespace's service account", || async {
            self.door
                .get(&SERVICE_ACCOUNTS, Some(namespace), "default")
                .await
                .is_ok()
        })
        .await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let pods: Cache<Object> = Cache::start(&self.door, PODS, WatchScope::default());
        let watching = tokio::spawn(note_order(pods, namespace.to_owned(), order.clone()));
        Stage {
            door: &self.door,
            namespace: namespace.to_owned(),
            seen: Vec::new(),
            order,
            _watching: AbortOnDrop(watching),
        }
    }
}

/// The order in which pods came, became ready, were told to go, and went.
async fn note_order(pods: Cache<Object>, namespace: String, order: Arc<Mutex<Vec<String>>>) {
    let mut known: BTreeMap<String, (String, &'static str)> = BTreeMap::new();
    let mut changes = pods.changes();
    while let Some(key) = changes.next().await {
        if key.namespace != namespace {
            continue;
        }
        let name = key.name.to_string();
        let now = pods.get(&key).map(|pod| (pod.meta.uid.clone(), state(&pod)));
        let mut order = order.lock().unwrap();
        let before = match &now {
            Some(now) => known.insert(name.clone(), now.clone()),
            None => known.remove(&name),
        };
        match (before, now) {
            (Some(before), Some(now)) if before.0 == now.0 && before.1 == now.1 => {}
            (Some(before), Some(now)) if before.0 == now.0 => order.push(format!("{name} {}", now.1)),
            (before, now) => {
                // One that went and came again between two looks did both.
                order.extend(before.map(|_| format!("{name} gone")));
                order.extend(now.map(|_| format!("{name} made")));
            }
        }
    }
}

fn state(pod: &Object) -> &'static str {
    let conditions = pod.status()["conditions"].as_array();
    let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    if pod.meta.deletion_timestamp.is_some() {
        "told to go"
    } else if conditions.is_some_and(|all| all.iter().any(ready)) {
        "ready"
    } else {
        "not ready"
    }
}

impl Stage<'_> {
    pub async fn create(&self, res: &Resource, mut body: Value) -> Value {
        body["apiVersion"] = json!(res.api_version());
        body["kind"] = json!(res.kind);
        self.door.create(res, Some(&self.namespace), &body).await.unwrap()
    }

    pub async fn get(&self, res: &Resource, name: &str) -> Result<Value, ApiError> {
        self.door.get(res, Some(&self.namespace), name).await
    }

    pub async fn patch(&self, res: &Resource, name: &str, body: Value) {
        let patched = self
            .door
            .patch(res, Some(&self.namespace), name, PatchKind::Merge, &body, None);
        patched.await.unwrap();
    }

    pub async fn delete(&self, res: &Resource, name: &str, propagation: Propagation) {
        let options = DeleteOptions {
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        let deleted = self.door.delete(res, Some(&self.namespace), name, &options);
        deleted.await.unwrap();
    }

    /// The answer's code: 201, or 429 while a budget forbids it.
    pub async fn evict(&self, pod: &str) -> u16 {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
        let ns = Some(self.namespace.as_str());
        match self
            .door
            .create_subresource(&PODS, ns, pod, "eviction", &body)
            .await
        {
            Ok(_) => 201,
            Err(error) => error.code,
        }
    }

    pub async fn list(&self, res: &Resource) -> Vec<Value> {
        let options = ListOptions::default();
        let listed = self.door.list(res, Some(&self.namespace), &options);
        listed.await.unwrap().items
    }

    /// Waits until all these fields have these values.
    pub async fn until(&self, res: &Resource, name: &str, fields: &[(&str, Value)]) {
        let what = format!("{}: {name} with {fields:?}", self.namespace);
        wait(&what, || async {
            let Ok(found) = self.get(res, name).await else {
                return false;
            };
            let current = found["status"]["observedGeneration"].is_null()
                || found["status"]["observedGeneration"] == found["metadata"]["generation"];
            current
                && fields
                    .iter()
                    .all(|(path, value)| found.pointer(path).unwrap_or(&Value::Null) == value)
        })
        .await;
    }

    /// Waits until nothing moves any more, and writes down everything there is.
    pub async fn rest(&mut self, moment: &str) {
        let mut last = String::new();
        let mut quiet_since = tokio::time::Instant::now();
        let deadline = quiet_since + PATIENCE;
        let all = loop {
            let all = self.everything().await;
            let versions: Vec<_> = all
                .iter()
                .map(|o| o["metadata"]["resourceVersion"].to_string())
                .collect();
            let versions = versions.join(",");
            let now = tokio::time::Instant::now();
            if versions != last {
                (last, quiet_since) = (versions, now);
            } else if now - quiet_since >= REST {
                break all;
            }
            assert!(
                now < deadline,
                "{}: {moment} does not come to rest",
                self.namespace
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let objects = normal::of(all);
        self.seen.push(json!({"moment": moment, "objects": objects}));
    }

    /// Writes down the order of pods since the last time.
    pub fn order(&mut self, moment: &str) {
        let order = std::mem::take(&mut *self.order.lock().unwrap());
        // Readiness lost on the way out says nothing of the controllers.
        let order: Vec<_> = order
            .into_iter()
            .filter(|line| !line.ends_with("not ready"))
            .collect();
        self.seen
            .push(json!({"moment": format!("order of {moment}"), "order": order}));
    }

    pub fn forget_order(&self) {
        self.order.lock().unwrap().clear();
    }

    async fn everything(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for res in [
            &DEPLOYMENTS,
            &REPLICA_SETS,
            &STATEFUL_SETS,
            &DAEMON_SETS,
            &JOBS,
            &CRON_JOBS,
            &POD_DISRUPTION_BUDGETS,
            &CONTROLLER_REVISIONS,
            &PODS,
            &cluster::resource::PERSISTENT_VOLUME_CLAIMS,
        ] {
            let listed = self.list(res).await;
            all.extend(listed.into_iter().map(|mut object| {
                object["kind"] = json!(res.kind);
                object
            }));
        }
        all
    }
}

/// Looks again and again; in virtual time that costs nothing.
pub async fn wait<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
