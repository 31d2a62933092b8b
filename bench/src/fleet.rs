//! A cluster under test: a real API server, simulated nodes in a process of their own, the operator, and pods that
//! got two sidecars from its webhook.

use std::path::Path;
use std::time::{Duration, Instant};

use cluster::resource::{NAMESPACES, PODS, SERVICE_ACCOUNTS, SIDECAR_SETS};
use cluster::{DeleteOptions, Door, DoorOptions, PatchKind};
use futures::{StreamExt as _, TryStreamExt as _};
use model::sidecarset::{SidecarSet, keys};
use serde_json::{Value, json};

use crate::child::Part;
use crate::operator_process::OperatorProcess;
use crate::server::RealServer;
use crate::{BenchError, api};

pub const NAMESPACE: &str = "fleet";
pub const SET: &str = "bench";
/// How the simulated nodes call themselves in requests.
pub const NODES_AGENT: &str = "tidegate-nodes";
const NODES: usize = 20;
const CREATES_IN_FLIGHT: usize = 48;

pub struct Fleet {
    pub operator: OperatorProcess,
    pub door: Door,
    pub pods: usize,
    _nodes: Part,
    pub server: RealServer,
}

impl Fleet {
    /// Starts all of it, and waits until every pod is injected and ready.
    pub async fn start(name: &str, pods: usize) -> Result<Self, BenchError> {
        let server = RealServer::start(name)?;
        let kubeconfig = server.kubeconfig();
        let door = door(&kubeconfig, "tidegate-bench").await?;
        let operator = OperatorProcess::start(&kubeconfig, &server.dir, &door).await?;
        let path = kubeconfig.display().to_string();
        let count = NODES.to_string();
        let arguments = ["nodes", "--kubeconfig", &path, "--count", &count];
        let mut nodes = Part::start(&arguments, &server.dir.join("nodes.log"))?;
        nodes.line()?;
        let mut fleet = Self {
            operator,
            door,
            pods: 0,
            _nodes: nodes,
            server,
        };
        fleet.prepare().await?;
        fleet.add(pods).await?;
        Ok(fleet)
    }

    async fn prepare(&self) -> Result<(), BenchError> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        self.door
            .create(&NAMESPACES, None, &namespace)
            .await
            .map_err(api("the namespace"))?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": NAMESPACE}});
        let made = self
            .door
            .create(&SERVICE_ACCOUNTS, Some(NAMESPACE), &account)
            .await;
        made.map_err(api("the service account"))?;
        create_set(&self.door).await?;
        // Pods created before the webhook covers them would never be injected.
        let deadline = Instant::now() + Duration::from_secs(60);
        while crate::operator_process::webhook(&self.door, "pods")
            .await
            .is_none()
        {
            if Instant::now() > deadline {
                return Err(BenchError::Setup(
                    "no webhook for pods within a minute".to_owned(),
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The API server itself follows its webhook configurations with some delay.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(())
    }

    async fn add(&mut self, pods: usize) -> Result<(), BenchError> {
        let began = Instant::now();
        let creates = (self.pods..self.pods + pods).map(|i| {
            let door = &self.door;
            async move {
                let pod = pod(i);
                door.create(&PODS, Some(NAMESPACE), &pod).await.map(drop)
            }
        });
        futures::stream::iter(creates)
            .buffer_unordered(CREATES_IN_FLIGHT)
            .try_collect::<()>()
            .await
            .map_err(api("creating pods"))?;
        println!(
            "  {pods} pods created and injected in {:.1} s",
            began.elapsed().as_secs_f64()
        );
        self.pods += pods;
        let all = self.pods as i64;
        self.wait("all pods ready", |status| {
            status["matchedPods"] == all && status["updatedReadyPods"] == all
        })
        .await
    }

    /// Changes the SidecarSet's first image, and perhaps whether it is paused, in one write.
    pub async fn change(&self, image: &str, paused: bool) -> Result<(), BenchError> {
        let patch = json!([
            {"op": "replace", "path": "/spec/containers/0/image", "value": image},
            {"op": "add", "path": "/spec/updateStrategy/paused", "value": paused},
        ]);
        self.patch(&patch).await
    }

    pub async fn pause(&self, paused: bool) -> Result<(), BenchError> {
        self.patch(&json!([{"op": "add", "path": "/spec/updateStrategy/paused", "value": paused}]))
            .await
    }

    async fn patch(&self, patch: &Value) -> Result<(), BenchError> {
        self.door
            .patch(&SIDECAR_SETS, None, SET, PatchKind::Json, patch, None)
            .await
            .map_err(api("changing the SidecarSet"))
            .map(drop)
    }

    pub async fn set(&self) -> Result<SidecarSet, BenchError> {
        self.door
            .get_as(&SIDECAR_SETS, None, SET)
            .await
            .map_err(api("the SidecarSet"))
    }

    /// Waits until status is as wanted.
    pub async fn wait(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<(), BenchError> {
        self.watch(what, is_so, |_| ()).await
    }

    /// As [`Fleet::wait`]; `seen` gets each status looked at, two a second.
    pub async fn watch(
        &self,
        what: &str,
        is_so: impl Fn(&Value) -> bool,
        mut seen: impl FnMut(&Value),
    ) -> Result<(), BenchError> {
        // A machine with other work to do gets through five pods a second.
        let patience = Duration::from_secs(600.max(self.pods as u64 / 5));
        let deadline = Instant::now() + patience;
        loop {
            let set = self
                .door
                .get(&SIDECAR_SETS, None, SET)
                .await
                .map_err(api("the SidecarSet"))?;
            let status = &set["status"];
            seen(status);
            if status["observedGeneration"] == set["metadata"]["generation"] && is_so(status) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.operator.log.display();
                return Err(BenchError::Setup(format!(
                    "{what}: not within {} s; status {status}; {log}",
                    patience.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// A door with a name of its own in the audit log.
pub async fn door(kubeconfig: &Path, agent: &str) -> Result<Door, BenchError> {
    let options = DoorOptions {
        user_agent: agent.to_owned(),
        ..DoorOptions::default()
    };
    Door::from_kubeconfig(Some(kubeconfig), options)
        .await
        .map_err(|e| BenchError::Setup(e.to_string()))
}

/// Creates the SidecarSet. The API server follows its webhook configurations with some delay: one that was created past
/// our webhooks has no hash, and is created again.
pub async fn create_set(door: &Door) -> Result<(), BenchError> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let made = door.create(&SIDECAR_SETS, None, &sidecar_set()).await;
        match made {
            Ok(made) if made["metadata"]["annotations"][keys::HASH].is_string() => return Ok(()),
            Ok(_) => {
                let gone = door
                    .delete(&SIDECAR_SETS, None, SET, &DeleteOptions::default())
                    .await;
                gone.map_err(api("deleting the SidecarSet"))?;
            }
            Err(error) if Instant::now() > deadline => return Err(api("the SidecarSet")(error)),
            Err(_) => {}
        }
        if Instant::now() > deadline {
            return Err(BenchError::Setup(
                "the SidecarSet got no hash within a minute".to_owned(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Two sidecars, as in the peer's recorded figures, and nothing that holds an upgrade back.
pub fn sidecar_set() -> Value {
    json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": SET}, "spec": {
        "selector": {"matchLabels": {"app": "bench"}},
        "containers": [
            {"name": "log-agent", "image": "registry.example/log-agent:1.0",
                "env": [{"name": "LEVEL", "value": "info"}],
                "volumeMounts": [{"name": "logs", "mountPath": "/var/log/app"}]},
            {"name": "proxy", "image": "registry.example/proxy:1.0"}],
        "volumes": [{"name": "logs", "emptyDir": {}}],
        "updateStrategy": {"type": "RollingUpdate", "partition": 0, "maxUnavailable": "100%"}}})
}

/// A pod of one container, bound to a simulated node.
pub fn pod(index: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("bench-5d89bdfbf9-{index:06}"), "namespace": NAMESPACE,
            "labels": {"app": "bench", "pod-template-hash": "5d89bdfbf9"}},
        "spec": {"nodeName": format!("sim-{}", index % NODES), "containers": [
            {"name": "app", "image": "nginx:1.20",
                "env": [{"name": "TZ", "value": "Europe/Lisbon"}, {"name": "MODE", "value": "production"}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}})
}
