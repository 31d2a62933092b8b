//! An API server and an operator in this process, in virtual time; the kubelets' part is played by the tests.
use crate::{Metrics, Options, Webhook, sidecarset::Operator};
use bytes::Bytes;
use cluster::lease::TokioBootClock;
use cluster::resource::{
    EVENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS, SIDECAR_SETS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{Clocks, DeleteOptions, Door, DoorOptions, PatchKind};
use embedded::{ApiServer, Config, ResponseBody, UserInfo};
use futures::{Stream, StreamExt as _};
use http_body_util::Full;
use model::time::{Clock, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const HOST: &str = "operator.test";

struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.0.elapsed().as_millis()).unwrap();
        Timestamp::from_millisecond(1_800_000_000_000 + elapsed).unwrap()
    }
}

pub struct World {
    pub server: ApiServer,
    pub door: Door,
    pub metrics: Arc<Metrics>,
    pub options: Options,
    running: Option<(CancellationToken, JoinHandle<()>)>,
    deaf: Option<(CancellationToken, JoinHandle<()>)>,
}

impl World {
    /// A server with the namespace `apps`, and no operator yet.
    pub async fn empty() -> World {
        let clock = Arc::new(VirtualClock(Instant::now()));
        let config = Config {
            clock: clock.clone(),
            seed: Some(7),
            ..Config::default()
        };
        let server = ApiServer::start(config).await.unwrap();
        let metrics = Arc::new(Metrics::new());
        let door = DoorOptions {
            seed: Some(7),
            stall_timeout: None,
            observer: metrics.clone(),
            ..DoorOptions::default()
        };
        let door = Door::in_process_with(server.service(UserInfo::admin()), door);
        let mut options = Options::new("tidegate-system");
        options.webhook = Webhook::Url(format!("https://{HOST}"));
        options.install = true;
        options.lease = None;
        options.seed = Some(7);
        options.clocks = Clocks {
            boot: Arc::new(TokioBootClock::start()),
            wall: clock,
        };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}});
        door.create(&NAMESPACES, None, &namespace).await.unwrap();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": "apps"}});
        let _ = door.create(&SERVICE_ACCOUNTS, Some("apps"), &account).await;
        World {
            server,
            door,
            metrics,
            options,
            running: None,
            deaf: None,
        }
    }

    pub async fn with_operator() -> World {
        let mut world = Self::empty().await;
        world.operate().await;
        world
    }

    /// An operator that leads: another stands by.
    pub async fn with_leader() -> World {
        let mut world = Self::empty().await;
        world.options.lease = Some("tidegate-operator".to_owned());
        world.operate().await;
        world
    }

    pub async fn operate(&mut self) {
        self.running = Some(self.start(self.door.clone(), self.options.clone()).await);
        self.until("the webhook of SidecarSets is there", async |w| {
            let name = &w.options.mutating_configuration;
            let there = w
                .door
                .get(&cluster::resource::MUTATING_WEBHOOK_CONFIGURATIONS, None, name)
                .await;
            there.ok().map(drop)
        })
        .await;
    }

    /// An operator that answers all reviews from now on.
    async fn start(&self, door: Door, options: Options) -> (CancellationToken, JoinHandle<()>) {
        let operator = Operator::start(door, options, self.metrics.clone())
            .await
            .unwrap();
        let admission = operator.admission();
        let stop = CancellationToken::new();
        let told = stop.clone();
        let task = tokio::spawn(async move {
            operator.run(told.cancelled_owned()).await.unwrap();
        });
        admission.ready().await;
        let handler: embedded::WebhookHandler = Arc::new(move |request| {
            let admission = admission.clone();
            Box::pin(async move {
                let answer = admission.answer(&request.path, &request.body).await;
                answer
                    .map(Bytes::from)
                    .map_err(|status| format!("status {status}"))
            })
        });
        self.server.register_webhook_service(HOST, handler);
        (stop, task)
    }

    /// A second replica answers all reviews from now on. It has read what there is, and no watch of this resource tells
    /// it anything more.
    pub async fn answer_by_one_who_hears_nothing_of(&mut self, resource: &str) {
        let service = self.server.service(UserInfo::admin());
        let path = format!("/{resource}");
        let service = tower::service_fn(move |request: http::Request<Full<Bytes>>| {
            let service = service.clone();
            let uri = request.uri().clone();
            let deaf = uri.path().ends_with(&path);
            async move {
                let mut answer = service.answer(request).await;
                if deaf && let ResponseBody::Stream(events) = answer.body_mut() {
                    let events = std::mem::replace(events, Box::pin(futures::stream::empty()));
                    let lists = uri.query().is_some_and(|q| q.contains("sendInitialEvents=true"));
                    *answer.body_mut() = ResponseBody::Stream(Box::pin(only_the_list(events, lists)));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let options = self.door.options().clone();
        let door = Door::in_process_with(service, options);
        let mut options = self.options.clone();
        options.identity = "second".to_owned();
        let running = self.start(door, options).await;
        self.deaf = Some(running);
    }

    /// A webhook of somebody else refuses every SidecarSet.
    pub async fn refuse_sidecarsets_after_us(&self) {
        let handler: embedded::WebhookHandler = Arc::new(|request| {
            Box::pin(async move {
                let review: Value = serde_json::from_slice(&request.body).unwrap();
                let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
                    "uid": review["request"]["uid"], "allowed": false, "status": {"code": 403, "message": "not today"}}});
                Ok(Bytes::from(answer.to_string()))
            })
        });
        self.server.register_webhook_service("another.test", handler);
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "zzz"},
            "webhooks": [{"name": "refuses.another.test", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"url": "https://another.test/"},
                "rules": [{"apiGroups": ["apps.kruise.io"], "apiVersions": ["*"], "operations": ["CREATE"],
                    "resources": ["sidecarsets"]}]}]});
        let webhooks = &VALIDATING_WEBHOOK_CONFIGURATIONS;
        self.door.create(webhooks, None, &configuration).await.unwrap();
    }

    /// As a crash would: nothing is given back.
    pub async fn kill_operator(&mut self) {
        let (_, task) = self.running.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&World) -> Option<T>) -> T {
        for _ in 0..12_000 {
            if let Some(found) = look(self).await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let sets = self.door.list(&SIDECAR_SETS, None, &Default::default()).await;
        panic!("still not: {what}; {:?}", sets.map(|l| l.items));
    }

    pub async fn rest(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// A SidecarSet for pods with the label `app: NAME`, which upgrades them.
    pub async fn create_set(&self, name: &str, max_unavailable: Value) -> Value {
        let mut set = sidecar_set(name);
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "maxUnavailable": max_unavailable});
        self.door.create(&SIDECAR_SETS, None, &set).await.unwrap()
    }

    pub async fn set(&self, name: &str) -> Value {
        self.door.get(&SIDECAR_SETS, None, name).await.unwrap()
    }

    pub async fn patch_set(&self, name: &str, patch: Value) {
        let kind = PatchKind::Merge;
        self.door
            .patch(&SIDECAR_SETS, None, name, kind, &patch, None)
            .await
            .unwrap();
    }

    pub async fn set_image(&self, name: &str, image: &str) {
        let containers = json!([{"name": "side", "image": image}]);
        self.patch_set(name, json!({"spec": {"containers": containers}}))
            .await;
    }

    pub async fn condition(&self, name: &str, kind: &str) -> Option<Value> {
        let set = self.set(name).await;
        let all = set["status"]["conditions"].as_array()?.clone();
        all.into_iter().find(|c| c["type"] == kind)
    }

    pub async fn until_condition(&self, name: &str, kind: &str, status: &str, reason: &str) {
        self.until(&format!("{name}: {kind}={status} {reason}"), async |w| {
            let condition = w.condition(name, kind).await?;
            (condition["status"] == status && condition["reason"] == reason).then_some(())
        })
        .await;
    }

    /// Ready pods of a SidecarSet.
    pub async fn create_pods(&self, set: &str, names: &[&str]) {
        for name in names {
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "apps", "labels": {"app": set}},
                "spec": {"nodeName": "node-1", "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "main:1"}]}});
            let made = self.door.create(&PODS, Some("apps"), &pod).await.unwrap();
            assert_eq!(
                made["spec"]["containers"].as_array().unwrap().len(),
                2,
                "{name} is injected"
            );
            self.kubelet(name).await;
        }
        self.until("the pods are matched and ready", async |w| {
            let status = w.set(set).await["status"].clone();
            (status["matchedPods"] == names.len() && status["readyPods"] == names.len()).then_some(())
        })
        .await;
    }

    pub async fn delete_set(&self, name: &str) {
        let gone = DeleteOptions::default();
        self.door.delete(&SIDECAR_SETS, None, name, &gone).await.unwrap();
    }

    /// A kubelet's turn: every container runs what the spec says, and is ready.
    pub async fn kubelet(&self, name: &str) {
        let pod = self.door.get(&PODS, Some("apps"), name).await.unwrap();
        let generation = pod["metadata"]["generation"].as_i64().unwrap();
        let containers = pod["spec"]["containers"].as_array().unwrap();
        let statuses: Vec<Value> = containers
            .iter()
            .map(|c| {
                let image = c["image"].as_str().unwrap();
                json!({"name": c["name"], "image": image, "imageID": format!("{image}@sha256:{image}"),
                    "containerID": format!("containerd://{}-{image}", c["name"]), "ready": true,
                    "started": true, "restartCount": 0, "state": {"running": {}}})
            })
            .collect();
        let patch = json!({"status": {"phase": "Running", "observedGeneration": generation,
            "containerStatuses": statuses,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let kind = PatchKind::Strategic;
        self.door
            .patch(&PODS, Some("apps"), name, kind, &patch, Some("status"))
            .await
            .unwrap();
    }

    /// Image of the sidecar, by pod.
    pub async fn images(&self) -> BTreeMap<String, String> {
        let pods = self.door.list(&PODS, Some("apps"), &Default::default()).await;
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let of = |pod: &Value| {
            let containers = pod["spec"]["containers"].as_array().unwrap();
            let side = containers.iter().find(|c| c["name"] == "side").unwrap();
            (text(&pod["metadata"]["name"]), text(&side["image"]))
        };
        pods.unwrap().items.iter().map(of).collect()
    }

    pub async fn upgraded(&self, image: &str) -> Vec<String> {
        let images = self.images().await.into_iter();
        images.filter(|(_, i)| i == image).map(|(name, _)| name).collect()
    }

    /// Reasons of all events about an object, in order of time.
    pub async fn events(&self, about: &str) -> Vec<String> {
        let events = self.door.list(&EVENTS, None, &Default::default()).await.unwrap();
        let mut found: Vec<(String, String)> = events
            .items
            .iter()
            .filter(|e| e["regarding"]["name"] == about)
            .map(|e| {
                (
                    e["eventTime"].to_string(),
                    e["reason"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, reason)| reason).collect()
    }
}

/// A SidecarSet for pods with the label `app: NAME`.
pub fn sidecar_set(name: &str) -> Value {
    json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "containers": [{"name": "side", "image": "side:1"}]}})
}

/// The events of a watch up to the end of the list it begins with, and then silence.
fn only_the_list(events: impl Stream<Item = Bytes>, lists: bool) -> impl Stream<Item = Bytes> {
    let mut ended = !lists;
    let first = events.take_while(move |event| {
        let more = !ended;
        ended |= event.windows(END.len()).any(|part| part == END);
        std::future::ready(more)
    });
    first.chain(futures::stream::pending())
}

const END: &[u8] = b"k8s.io/initial-events-end";
