//! What only real kubelets and a real containerd can tell: native sidecars, one image under two names, digests, and an
//! operator that dies at the moment of its patch. The operator runs in this process.
//!
//! Needs root and a few Debian packages (testbed/install-packages.sh); elsewhere it says so in one line and passes.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use bytes::Bytes;
use cluster::resource::{NAMESPACES, PODS, SIDECAR_SETS};
use cluster::{DeleteOptions, Door, DoorOptions, PatchKind};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::{Bed, BedOptions};
use tidegate_operators::{self as operators, Metrics, Options, Webhook};
use tokio::task::JoinHandle;

const SPACE: &str = "kubelet-story";
const SYSTEM: &str = "kubelet-story-system";
const LISTEN: &str = "127.0.0.1:19543";
const SLOW: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_complete_on_real_kubelets_whatever_the_image_is_called() {
    if let Err(why) = Bed::nodes_available() {
        println!("not tested here: {why}");
        return;
    }
    let up = || Bed::up(&BedOptions::default(), &mut |line| eprintln!("{line}"));
    let bed = tokio::task::spawn_blocking(up).await.unwrap().unwrap();
    let mut story = Story::begin(bed).await;
    story.native_sidecars_are_replaced_alone().await;
    story.the_same_image_under_another_tag_completes().await;
    story.a_digest_completes().await;
    story
        .an_operator_that_dies_at_its_patch_is_followed_by_one_that_goes_on()
        .await;
    story.end().await;
}

struct Story {
    bed: Bed,
    door: Door,
    operator: JoinHandle<()>,
}

impl Story {
    async fn begin(bed: Bed) -> Story {
        let door = Door::from_kubeconfig(Some(&bed.kubeconfig()), DoorOptions::default())
            .await
            .unwrap();
        let operator = operate(&door);
        let story = Story { bed, door, operator };
        story.clean().await;
        for name in [SPACE, SYSTEM] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            story
                .until("the namespace", async |s| {
                    let made = s.door.create(&NAMESPACES, None, &namespace).await;
                    made.is_ok_and(|_| true).then_some(())
                })
                .await;
        }
        story
    }

    async fn end(self) {
        self.clean().await;
        self.operator.abort();
        for (resource, name) in [
            (cluster::resource::MUTATING_WEBHOOK_CONFIGURATIONS, "mutating"),
            (cluster::resource::VALIDATING_WEBHOOK_CONFIGURATIONS, "validating"),
        ] {
            let name = format!("tidegate-{name}-webhook-configuration");
            self.door
                .delete(&resource, None, &name, &DeleteOptions::default())
                .await
                .unwrap();
        }
    }

    async fn clean(&self) {
        for set in ["native", "plain"] {
            let _ = self
                .door
                .delete(&SIDECAR_SETS, None, set, &DeleteOptions::default())
                .await;
        }
        for name in [SPACE, SYSTEM] {
            let _ = self
                .door
                .delete(&NAMESPACES, None, name, &DeleteOptions::default())
                .await;
            self.until("the namespace is gone", async |s| {
                let found = s.door.get(&NAMESPACES, None, name).await;
                found.err().filter(cluster::ApiError::is_not_found).map(drop)
            })
            .await;
        }
    }

    async fn native_sidecars_are_replaced_alone(&self) {
        let init = |tag: &str| {
            json!([{"name": "native", "image": format!("tidegate/sidecar:{tag}"), "restartPolicy": "Always",
                "env": [{"name": "PORT", "value": "8082"}]}])
        };
        self.create_set("native", json!({"initContainers": init("v1")}))
            .await;
        self.create_pods("native", 2).await;
        self.change("native", json!({"initContainers": init("v2")})).await;
        self.until_updated("native", 2).await;
        for pod in self.pods("native").await {
            let statuses = &pod["status"];
            assert_eq!(restarts(&statuses["initContainerStatuses"], "native"), 1);
            assert_eq!(
                restarts(&statuses["containerStatuses"], "main"),
                0,
                "nothing else restarts"
            );
            assert_eq!(pod["spec"]["initContainers"][0]["image"], "tidegate/sidecar:v2");
        }
        self.forget("native").await;
    }

    async fn the_same_image_under_another_tag_completes(&self) {
        self.create_set("plain", json!({"containers": side("tidegate/sidecar:v1")}))
            .await;
        self.create_pods("plain", 2).await;
        self.retag("tidegate/sidecar", "v1", "v1-again").await;
        self.change("plain", json!({"containers": side("tidegate/sidecar:v1-again")}))
            .await;
        self.until_updated("plain", 2).await;
    }

    async fn a_digest_completes(&self) {
        let pods = self.pods("plain").await;
        let statuses = pods[0]["status"]["containerStatuses"].as_array().unwrap();
        let of_side = statuses.iter().find(|s| s["name"] == "side").unwrap();
        let id = of_side["imageID"].as_str().unwrap();
        let (_, digest) = id.split_once('@').unwrap();
        // The image that runs already, by its digest; then another by its tag.
        self.change(
            "plain",
            json!({"containers": side(&format!("tidegate/sidecar@{digest}"))}),
        )
        .await;
        self.until_updated("plain", 2).await;
        self.change("plain", json!({"containers": side("tidegate/sidecar:v2")}))
            .await;
        self.until_updated("plain", 2).await;
        for pod in self.pods("plain").await {
            assert_eq!(restarts(&pod["status"]["containerStatuses"], "main"), 0);
        }
    }

    async fn an_operator_that_dies_at_its_patch_is_followed_by_one_that_goes_on(&mut self) {
        self.change("plain", json!({"containers": side("tidegate/sidecar:v1")}))
            .await;
        self.until("one pod is patched", async |s| {
            let pods = s.pods("plain").await;
            let patched = |pod: &Value| {
                let all = pod["spec"]["containers"].as_array().unwrap().iter();
                all.filter(|c| c["image"] == "tidegate/sidecar:v1").count() == 1
            };
            pods.iter().any(patched).then_some(())
        })
        .await;
        self.operator.abort();
        let _ = (&mut self.operator).await;
        self.operator = operate(&self.door);
        self.until_updated("plain", 2).await;
        for pod in self.pods("plain").await {
            assert_eq!(restarts(&pod["status"]["containerStatuses"], "main"), 0);
        }
    }

    async fn create_set(&self, name: &str, mut spec: Value) {
        spec["selector"] = json!({"matchLabels": {"app": name}});
        spec["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": SPACE}});
        spec["updateStrategy"] = json!({"type": "RollingUpdate", "maxUnavailable": 1});
        let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
            "metadata": {"name": name}, "spec": spec});
        self.until("the SidecarSet is accepted", async |s| {
            s.door.create(&SIDECAR_SETS, None, &set).await.ok()
        })
        .await;
        self.until("injection is in force", async |s| {
            let set = s.door.get(&SIDECAR_SETS, None, name).await.ok()?;
            let conditions = set["status"]["conditions"].as_array()?;
            let ready = |c: &Value| c["type"] == "InjectionReady" && c["status"] == "True";
            conditions.iter().any(ready).then_some(())
        })
        .await;
    }

    async fn create_pods(&self, set: &str, count: usize) {
        for n in 0..count {
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("{set}-{n}"), "namespace": SPACE, "labels": {"app": set}},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "main", "image": "nginx:1.20"}]}});
            self.until("the pod is created", async |s| {
                s.door.create(&PODS, Some(SPACE), &pod).await.ok()
            })
            .await;
        }
        self.until("all pods are injected and ready", async |s| {
            let status = s.status(set).await?;
            (status["readyPods"] == count).then_some(())
        })
        .await;
    }

    async fn change(&self, set: &str, spec: Value) {
        let patch = json!({"spec": spec});
        let changed = self
            .door
            .patch(&SIDECAR_SETS, None, set, PatchKind::Merge, &patch, None)
            .await;
        changed.unwrap();
    }

    async fn forget(&self, set: &str) {
        self.door
            .delete(&SIDECAR_SETS, None, set, &DeleteOptions::default())
            .await
            .unwrap();
    }

    /// Status, once it is about the latest spec.
    async fn status(&self, set: &str) -> Option<Value> {
        let set = self.door.get(&SIDECAR_SETS, None, set).await.ok()?;
        let current = set["status"]["observedGeneration"] == set["metadata"]["generation"];
        current.then(|| set["status"].clone())
    }

    async fn until_updated(&self, set: &str, count: usize) {
        let began = Instant::now();
        self.until(&format!("all pods of {set} are updated and ready"), async |s| {
            (s.status(set).await?["updatedReadyPods"] == count).then_some(())
        })
        .await;
        println!("{set}: {count} pods in {:.1} s", began.elapsed().as_secs_f64());
    }

    async fn pods(&self, set: &str) -> Vec<Value> {
        let options = cluster::ListOptions {
            label_selector: Some(format!("app={set}")),
            ..Default::default()
        };
        self.door.list(&PODS, Some(SPACE), &options).await.unwrap().items
    }

    /// One more name for an image in the registry.
    async fn retag(&self, repository: &str, from: &str, to: &str) {
        const KINDS: &str = "application/vnd.oci.image.manifest.v1+json, \
                             application/vnd.docker.distribution.manifest.v2+json";
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let at = |tag: &str| format!("http://{}/v2/{repository}/manifests/{tag}", self.bed.registry());
        let get = http::Request::get(at(from)).header(http::header::ACCEPT, KINDS);
        let found = client.request(get.body(Full::default()).unwrap()).await.unwrap();
        assert!(found.status().is_success(), "{:?}", found.status());
        let kind = found.headers()[http::header::CONTENT_TYPE].clone();
        let manifest = found.into_body().collect().await.unwrap().to_bytes();
        let put = http::Request::put(at(to)).header(http::header::CONTENT_TYPE, kind);
        let made = client
            .request(put.body(Full::new(manifest)).unwrap())
            .await
            .unwrap();
        assert!(made.status().is_success(), "{:?}", made.status());
    }

    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&Story) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self).await {
                return found;
            }
            if began.elapsed() > SLOW {
                let sets = self.door.list(&SIDECAR_SETS, None, &Default::default()).await;
                let pods = self.door.list(&PODS, Some(SPACE), &Default::default()).await;
                let pods = pods.map(|l| l.items.iter().map(|p| p["status"].clone()).collect::<Vec<_>>());
                panic!("still not: {what}; {:?}; {pods:?}", sets.map(|l| l.items));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn side(image: &str) -> Value {
    json!([{"name": "side", "image": image, "env": [{"name": "PORT", "value": "8081"}]}])
}

fn restarts(statuses: &Value, name: &str) -> i64 {
    let all = statuses.as_array().unwrap();
    let status = all.iter().find(|s| s["name"] == name).unwrap();
    status["restartCount"].as_i64().unwrap()
}

fn operate(door: &Door) -> JoinHandle<()> {
    let mut options = Options::new(SYSTEM);
    options.listen = Some(LISTEN.parse().unwrap());
    options.webhook = Webhook::Url(format!("https://{LISTEN}"));
    options.install = true;
    options.lease = None;
    options.status_every = Duration::from_millis(200);
    let door = door.clone();
    tokio::spawn(async move {
        let run = operators::run(door, options, Arc::new(Metrics::new()), std::future::pending());
        run.await.unwrap();
    })
}
