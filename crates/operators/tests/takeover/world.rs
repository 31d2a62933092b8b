//! A real API server with a Kruise in it, our operator beside it, pods that come all the time, and kubelets played by
//! the test.
use crate::fixtures::{access, clone_sets, mutating, sidecar_sets_of_kruise, validating};
use crate::kruise::{self, settled};
use crate::life::{Admissions, Kubelet};
use crate::server::{self, free_port};
use cluster::resource::{
    CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, MUTATING_WEBHOOK_CONFIGURATIONS, PODS, SIDECAR_SETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{Door, PatchKind};
use model::sidecarset::keys;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testbed::ApiServer;
use tidegate_operators::takeover::{Mover, MoverOptions};
use tidegate_operators::{self as operators, Metrics, Options, Webhook};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use workload::takeover::{entries, manager};

pub const KRUISE: &str = "kruise-system";
const SLOW: Duration = Duration::from_secs(90);

pub struct World {
    pub door: Door,
    pub user: Door,
    /// Until the end: it ends before its directory goes.
    server: Option<ApiServer>,
    dir: PathBuf,
    pub tasks: Vec<JoinHandle<()>>,
    pub kubelet: Arc<Mutex<Kubelet>>,
    pub admissions: Arc<Mutex<Admissions>>,
}

impl World {
    pub async fn start(name: &str) -> World {
        let (server, dir) = server::start(name).await;
        let admin = server.kubeconfig();
        let door = server::door(&admin).await;
        server::create_namespace(&door, "apps", "default").await;
        server::create_namespace(&door, KRUISE, "kruise-manager").await;
        let access = access(&server, &door, &admin, &dir).await;
        let user = server::door(&access.kubeconfig).await;
        let mut world = World {
            door,
            user,
            server: Some(server),
            dir,
            tasks: Vec::new(),
            kubelet: Arc::default(),
            admissions: Arc::default(),
        };
        let door = world.door.clone();
        world
            .tasks
            .push(tokio::spawn(kruise::supervise(door, Arc::new(access))));
        world.install_kruise().await;
        world
    }

    /// Kruise as its chart leaves it: CRDs, configurations without authorities, a Deployment.
    async fn install_kruise(&self) {
        let configurations: Vec<Value> = match std::env::var_os("TIDEGATE_KRUISE") {
            Some(dir) => {
                let dir = PathBuf::from(dir);
                let mut apply = self.server.as_ref().expect("a server").kubectl();
                let done = apply
                    .args(["create", "-f"])
                    .arg(dir.join("crds"))
                    .status()
                    .unwrap();
                assert!(done.success());
                let text = std::fs::read_to_string(dir.join("webhooks.yaml")).unwrap();
                let documents = serde_yaml_ng::Deserializer::from_str(&text);
                documents
                    .map(|d| serde::Deserialize::deserialize(d).unwrap())
                    .collect()
            }
            None => {
                for crd in [sidecar_sets_of_kruise(), clone_sets()] {
                    self.door
                        .create(&CUSTOM_RESOURCE_DEFINITIONS, None, &crd)
                        .await
                        .unwrap();
                }
                vec![mutating(), validating()]
            }
        };
        for (resource, object) in [MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS]
            .iter()
            .zip(&configurations)
        {
            self.door.create(resource, None, object).await.unwrap();
        }
        let labels = json!({"control-plane": "controller-manager"});
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": manager::DEPLOYMENT, "namespace": KRUISE},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"serviceAccountName": "kruise-manager", "containers": [{"name": "manager",
                    "image": "openkruise/kruise-manager:v1.9.0",
                    "args": ["--enable-leader-election", "--feature-gates=ImagePullJobGate=true"]}]}}}});
        self.door
            .create(&DEPLOYMENTS, Some(KRUISE), &deployment)
            .await
            .unwrap();
        self.until("Kruise serves", async |w| {
            let found = w
                .door
                .get(&MUTATING_WEBHOOK_CONFIGURATIONS, None, entries::MUTATING)
                .await
                .ok()?;
            found["webhooks"][0]["clientConfig"]["caBundle"]
                .is_string()
                .then_some(())
        })
        .await;
    }

    /// Our operator, as it is started anywhere.
    pub fn operate(&mut self) {
        let port = free_port();
        let mut options = Options::new("tidegate-system");
        options.listen = Some(([127, 0, 0, 1], port).into());
        options.webhook = Webhook::Url(format!("https://127.0.0.1:{port}"));
        options.install = true;
        options.status_every = Duration::from_millis(200);
        let door = self.door.clone();
        self.tasks.push(tokio::spawn(async move {
            operators::run(door, options, Arc::new(Metrics::new()), std::future::pending())
                .await
                .unwrap();
        }));
    }

    pub fn mover(&self) -> Mover {
        let mut options = MoverOptions::new("tidegate-system");
        options.settle = Duration::from_millis(500);
        options.patience = SLOW;
        Mover::new(self.door.clone(), options)
    }

    pub async fn create_set(&self) {
        let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "log"},
            "spec": {"selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "clone"]}]},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "apps"}},
                "updateStrategy": {"type": "RollingUpdate", "maxUnavailable": 1},
                "containers": [{"name": "log", "image": "log:1"}]}});
        self.until("the SidecarSet is made", async |w| {
            w.door.create(&SIDECAR_SETS, None, &set).await.ok()
        })
        .await;
    }

    pub async fn create_pods(&self, count: usize) {
        self.until("pods are injected", async |w| {
            let made = w.door.rehearse_create(&PODS, Some("apps"), &pod("p")).await;
            injected(&made).filter(|&i| i)
        })
        .await;
        for n in 0..count {
            let made = self
                .door
                .create(&PODS, Some("apps"), &pod(&format!("web-{n}")))
                .await
                .unwrap();
            assert_eq!(made["spec"]["containers"].as_array().unwrap().len(), 2, "{made}");
        }
        self.until("all pods run", async |w| {
            w.pods().await.iter().all(settled).then_some(())
        })
        .await;
    }

    /// Those that stay.
    pub async fn pods(&self) -> Vec<Value> {
        let all = self
            .door
            .list(&PODS, Some("apps"), &Default::default())
            .await
            .unwrap()
            .items;
        all.into_iter()
            .filter(|p| p["metadata"]["name"].as_str().unwrap().starts_with("web-"))
            .collect()
    }

    pub async fn with_image(&self, image: &str) -> usize {
        let runs = |p: &&Value| {
            p["spec"]["containers"]
                .as_array()
                .unwrap()
                .iter()
                .any(|c| c["image"] == image)
        };
        self.pods().await.iter().filter(runs).count()
    }

    pub async fn set(&self) -> Value {
        self.door.get(&SIDECAR_SETS, None, "log").await.unwrap()
    }

    pub async fn patch_set(&self, patch: Value) {
        self.door
            .patch(&SIDECAR_SETS, None, "log", PatchKind::Merge, &patch, None)
            .await
            .unwrap();
    }

    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&World) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self).await {
                return found;
            }
            assert!(began.elapsed() < SLOW, "still not: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        drop(self.server.take());
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

pub fn metadata_hash(set: &Value) -> String {
    set["metadata"]["annotations"][keys::HASH]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Status of a plain HTTP GET.
pub async fn status_of(address: &str, path: &str) -> Option<u16> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "apps", "labels": {"app": "web"}},
        "spec": {"nodeName": "node-1", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "app", "image": "app:1"}]}})
}

pub fn injected(made: &Result<Value, cluster::ApiError>) -> Option<bool> {
    Some(made.as_ref().ok()?["spec"]["containers"].as_array()?.len() == 2)
}
