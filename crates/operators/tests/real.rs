//! The operator against a real API server: pods are injected by its webhook and upgraded in place, their kubelets
//! played by the test.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "support/kubelet.rs"]
mod kubelet;
#[path = "support/server.rs"]
mod server;

use cluster::resource::{PODS, SIDECAR_SETS};
use cluster::{ApiError, Door, PatchKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::ApiServer;
use tidegate_operators::{self as operators, Metrics, Options, Webhook};
use tokio::sync::oneshot;

const SLOW: Duration = Duration::from_secs(60);

struct World {
    door: Door,
    _server: ApiServer,
    stop: Option<oneshot::Sender<()>>,
    operator: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    async fn start(name: &str) -> World {
        let (server, _) = server::start(&format!("operators-{name}")).await;
        let door = server::door(&server.kubeconfig()).await;
        server::create_namespace(&door, "apps", "default").await;
        let mut world = World {
            door,
            _server: server,
            stop: None,
            operator: None,
        };
        world.operate();
        world
    }

    fn operate(&mut self) {
        let port = server::free_port();
        let mut options = Options::new("tidegate-system");
        options.listen = Some(([127, 0, 0, 1], port).into());
        options.webhook = Webhook::Url(format!("https://127.0.0.1:{port}"));
        options.install = true;
        options.lease = None;
        options.status_every = Duration::from_millis(100);
        let (stop, stopped) = oneshot::channel();
        let door = self.door.clone();
        self.stop = Some(stop);
        self.operator = Some(tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            operators::run(door, options, Arc::new(Metrics::new()), shutdown)
                .await
                .unwrap();
        }));
    }

    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&Door) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(&self.door).await {
                return found;
            }
            if began.elapsed() > SLOW {
                let sets = self.door.list(&SIDECAR_SETS, None, &Default::default()).await;
                panic!("still not: {what}; {:?}", sets.map(|l| l.items));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Once the webhooks are there.
    async fn create_set(&self, spec: Value) {
        let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
            "metadata": {"name": "log"}, "spec": spec});
        self.until(
            "the SidecarSet is defaulted by the webhook",
            async |door| match door.create(&SIDECAR_SETS, None, &set).await {
                Ok(made) if made["metadata"]["annotations"]["kruise.io/sidecarset-hash"].is_string() => {
                    Some(())
                }
                Ok(_) => {
                    door.delete(&SIDECAR_SETS, None, "log", &Default::default())
                        .await
                        .unwrap();
                    None
                }
                Err(_) => None,
            },
        )
        .await;
    }

    async fn create_pod(&self, name: &str) -> Value {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "apps", "labels": {"app": "web"}},
            "spec": {"nodeName": "node-1", "automountServiceAccountToken": false,
                "containers": [{"name": "app", "image": "app:1"}]}});
        self.until("the pod is injected", async |door| {
            let made = door.create(&PODS, Some("apps"), &pod).await.unwrap();
            if made["spec"]["containers"].as_array().unwrap().len() == 2 {
                return Some(made);
            }
            let now = cluster::DeleteOptions {
                grace_period_seconds: Some(0),
                ..Default::default()
            };
            door.delete(&PODS, Some("apps"), name, &now).await.unwrap();
            None
        })
        .await
    }

    /// A kubelet's turn: every container runs what the spec says.
    async fn kubelet(&self, name: &str, ready: bool) {
        let pod = self.door.get(&PODS, Some("apps"), name).await.unwrap();
        let patch = kubelet::runs_its_spec(&pod, ready);
        self.door
            .patch(
                &PODS,
                Some("apps"),
                name,
                PatchKind::Strategic,
                &patch,
                Some("status"),
            )
            .await
            .unwrap();
    }

    async fn images(&self) -> BTreeMap<String, String> {
        let pods = self
            .door
            .list(&PODS, Some("apps"), &Default::default())
            .await
            .unwrap();
        let sidecar = |pod: &Value| {
            let containers = pod["spec"]["containers"].as_array().unwrap().clone();
            let found = containers.into_iter().find(|c| c["name"] == "log").unwrap();
            found["image"].as_str().unwrap().to_owned()
        };
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        pods.items.iter().map(|p| (name(p), sidecar(p))).collect()
    }

    async fn patch_set(&self, patch: Value) -> Result<Value, ApiError> {
        self.door
            .patch(&SIDECAR_SETS, None, "log", PatchKind::Merge, &patch, None)
            .await
    }

    async fn set(&self) -> Value {
        self.door.get(&SIDECAR_SETS, None, "log").await.unwrap()
    }

    async fn until_line(&self, line: &str) {
        self.until(line, async |_| {
            let set = self.set().await;
            let current = set["status"]["observedGeneration"] == set["metadata"]["generation"];
            let waiting = set["status"]["waiting"].as_array().cloned().unwrap_or_default();
            let found = waiting
                .iter()
                .any(|w| w["message"].as_str().unwrap().starts_with(line));
            (current && found).then_some(())
        })
        .await;
    }

    async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.operator.take().unwrap().abort();
    }
}

fn spec(image: &str) -> Value {
    json!({"selector": {"matchLabels": {"app": "web"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}},
        "updateStrategy": {"type": "RollingUpdate", "maxUnavailable": 1},
        "containers": [{"name": "log", "image": image}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_are_injected_and_upgraded_in_place_one_by_one_up_to_the_partition() {
    let world = World::start("story").await;
    world.create_set(spec("log:1")).await;
    for name in ["a", "b", "c"] {
        world.create_pod(name).await;
        world.kubelet(name, true).await;
    }
    world
        .until("three pods are matched, updated and ready", async |_| {
            let status = world.set().await["status"].clone();
            (status["matchedPods"] == 3 && status["updatedPods"] == 3 && status["readyPods"] == 3)
                .then_some(())
        })
        .await;

    let change = json!({"spec": {"containers": [{"name": "log", "image": "log:2"}],
        "updateStrategy": {"partition": 1}}});
    world.patch_set(change).await.unwrap();
    let first = world
        .until("one pod has the new image", async |_| {
            let images = world.images().await;
            images
                .iter()
                .find(|(_, image)| *image == "log:2")
                .map(|(name, _)| name.clone())
        })
        .await;
    world.until_line("1 of 1 unavailable: apps/").await;
    let updated = |images: &BTreeMap<String, String>| images.values().filter(|i| *i == "log:2").count();
    assert_eq!(updated(&world.images().await), 1);

    world.kubelet(&first, true).await;
    let second = world
        .until("a second pod has the new image", async |_| {
            let images = world.images().await;
            images
                .iter()
                .find(|(n, i)| **n != first && *i == "log:2")
                .map(|(n, _)| n.clone())
        })
        .await;
    world.kubelet(&second, true).await;
    world.until_line("partition holds 1 pod back").await;
    assert_eq!(updated(&world.images().await), 2);

    let pod = world.door.get(&PODS, Some("apps"), &first).await.unwrap();
    let state: Value = serde_json::from_str(
        pod["metadata"]["annotations"]["kruise.io/sidecarset-inplace-update-state"]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(
        state["log"]["lastContainerStatuses"]["log"]["imageID"],
        "log:1@sha256:log:1"
    );
    world
        .until("the pod is marked upgradable", async |door| {
            let pod = door.get(&PODS, Some("apps"), &first).await.unwrap();
            let conditions = pod["status"]["conditions"].as_array().unwrap().clone();
            let found = conditions.iter().find(|c| c["type"] == "SidecarSetUpgradable")?;
            (found["status"] == "True" && found["message"] == "{\"log\":true}").then_some(())
        })
        .await;

    world
        .patch_set(json!({"spec": {"updateStrategy": {"partition": 0, "paused": true}}}))
        .await
        .unwrap();
    world.until_line("paused: 1 pod not updated").await;
    assert_eq!(updated(&world.images().await), 2);

    let env = json!({"spec": {"updateStrategy": {"paused": false},
        "containers": [{"name": "log", "image": "log:3", "env": [{"name": "E", "value": "1"}]}]}});
    world.patch_set(env).await.unwrap();
    world
        .until_line("waiting for 3 pods to be recreated: env changed")
        .await;
    let latest = world.set().await["status"]["latestRevision"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(latest.starts_with("log-"), "{latest}");
    world.stop().await;
}
